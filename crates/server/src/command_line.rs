//! The command line as a whole: messages that help with likely mistakes.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches};

use crate::config::{ConfigError, Whose};
use crate::document::FileError;
use crate::flags::{Arguments, Command, Flags, Listen, as_upstream};
use crate::settings::{self, Joined, Origins, SiteSettings, UpstreamSettings, warnings};

/// The parsed command line, and the configuration file that it names.
#[derive(Debug)]
pub struct CommandLine {
    /// A command to run instead of the server.
    pub command: Option<Command>,
    /// The flags, with the values that the file has for them.
    pub flags: Flags,
    /// The lines of the file that values came from.
    pub origins: Origins,
    /// The sites, at least one. The flags describe the default site.
    pub sites: Vec<SiteSettings>,
    /// The upstreams that have names.
    pub upstreams: Vec<UpstreamSettings>,
    /// Sentences about likely mistakes that don't keep the server from starting.
    pub warnings: Vec<String>,
    /// Whether the configuration is to be checked, not served.
    pub is_check: bool,
    /// The configuration in effect as a file, if it is to be checked.
    pub effective: String,
}

impl CommandLine {
    /// Reads arguments; the first is the name of the program.
    ///
    /// # Errors
    /// An error of clap, with a better message for likely mistakes, or a mistake in the file.
    /// `--help` and `--version` are errors of clap too.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let mut arguments: Vec<OsString> = arguments.into_iter().collect();
        let is_check = arguments.get(1).is_some_and(|word| word == "check");
        if is_check {
            let help = Arguments::command().try_get_matches_from(&arguments);
            if let Err(error) = help
                && error.kind() == ErrorKind::DisplayHelp
            {
                return Err(Error::Typed(error));
            }
            // What follows is the command line to check.
            arguments.remove(1);
        }
        let Joined {
            words,
            origins,
            sites: tables,
            upstreams: upstream_tables,
        } = settings::joined(&arguments).map_err(Error::File)?;
        let read = || {
            let matches = Arguments::command().try_get_matches_from(&words)?;
            let Arguments { command, flags } = Arguments::from_arg_matches(&matches)?;
            let mut sites = Vec::new();
            if tables.is_empty() || flags.root.is_some() || !flags.route.is_empty() {
                sites.push(SiteSettings::default_of(&flags, &origins));
            }
            for table in &tables {
                sites.push(table.settings(&flags, &origins)?);
            }
            let upstreams = upstream_tables.iter();
            let upstreams = upstreams.map(|table| table.settings(&flags, &origins));
            let upstreams = upstreams.collect::<Result<Vec<_>, _>>()?;
            let effective = if is_check {
                settings::effective::text(&matches, &origins, &upstream_tables, &tables)
            } else {
                String::new()
            };
            let given = settings::typed(&matches);
            let warnings = warnings::all(&flags, &given, &origins, &sites, &upstreams);
            Ok((command, flags, sites, upstreams, warnings, effective))
        };
        let (command, flags, sites, upstreams, warnings, effective) =
            read().map_err(|error| Error::Typed(in_better_words(error, &arguments)))?;
        Ok(Self {
            command,
            flags,
            origins,
            sites,
            upstreams,
            warnings,
            is_check,
            effective,
        })
    }

    /// Reads the arguments of this process again, with the configuration file as it is now.
    ///
    /// # Errors
    /// A sentence about the mistake in the file.
    pub fn again() -> Result<Self, String> {
        Self::read(std::env::args_os()).map_err(|error| match error {
            Error::File(error) => error.to_string(),
            Error::Typed(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                first.trim_start_matches("error: ").to_owned()
            }
        })
    }

    /// Returns the addresses to listen on, for sentences about them.
    pub fn ports(&self) -> Ports {
        Ports {
            listen: self.flags.listen.clone(),
            listen_h2c: self.flags.listen_h2c.clone(),
            origins: self.origins.clone(),
        }
    }

    /// Returns a sentence about a problem with the configuration, with the line of the file if the
    /// problem is there.
    pub fn sentence(&self, error: &ConfigError) -> String {
        let origins = match error.whose() {
            Whose::Server => Some(&self.origins),
            Whose::Site(site) => self.sites.get(site).map(|site| &site.origins),
            Whose::Route(site, route) => {
                let routes = self.sites.get(site).map(|site| &site.routes);
                let route = routes.and_then(|routes| routes.get(route));
                route.map(|route| &route.origins)
            }
            Whose::Upstream(upstream) => {
                let upstream = self.upstreams.get(upstream);
                upstream.map(|upstream| &upstream.origins)
            }
        };
        let place = error.flag().zip(origins);
        let place = place.and_then(|((flag, nth), origins)| origins.place(flag, nth));
        format!("{}{error}", place.unwrap_or_default())
    }
}

/// The addresses to listen on, and where they are written.
#[derive(Debug)]
pub struct Ports {
    listen: Vec<Listen>,
    listen_h2c: Vec<Listen>,
    origins: Origins,
}

impl Ports {
    /// Returns the beginning of a sentence about an address, if the file has it.
    pub fn place(&self, addr: SocketAddr) -> Option<String> {
        let is_meant = |listen: &Listen| match *listen {
            Listen::None => false,
            Listen::Everywhere(port, _) => addr.ip().is_unspecified() && addr.port() == port,
            Listen::At(at, _) => at == addr,
        };
        [("listen", &self.listen), ("listen-h2c", &self.listen_h2c)]
            .into_iter()
            .find_map(|(flag, all)| {
                let nth = all.iter().position(is_meant)?;
                self.origins.place(flag, nth)
            })
    }
}

/// Why the command line can't be used.
#[derive(Debug)]
pub enum Error {
    /// The words that were typed are wrong, or ask for help.
    Typed(clap::Error),
    /// The configuration file can't be used.
    File(FileError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Typed(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Flags of other servers, and those with the same effect here.
const ELSEWHERE: [(&[&str], &str); 8] = [
    (
        &["-p", "--port", "--bind", "--host", "--address", "--addr"],
        "--listen or --listen-h2c",
    ),
    (&["--certificate", "--tls-cert", "--ssl-cert"], "--cert"),
    (&["--tls-key", "--ssl-key", "--private-key"], "--key"),
    (
        &["-d", "--dir", "--directory", "--docroot", "--htdocs"],
        "--root",
    ),
    (
        &["--proxy", "--backend", "--upstream", "--reverse-proxy"],
        "--route /=http://HOST:PORT",
    ),
    (&["-t", "--threads", "--processes"], "--workers"),
    (&["-v", "--verbose", "--debug"], "--log debug"),
    (&["-c", "--conf", "--config-file"], "--config"),
];

/// Replaces clap's message with one that names what was probably meant.
fn in_better_words(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let context = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        // After flags, clap takes any word as a subcommand, which is a conflict.
        ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => {
            ContextKind::InvalidSubcommand
        }
        _ => return error,
    };
    let Some(ContextValue::String(typed)) = error.get(context) else {
        return error;
    };
    if arguments.get(1).is_some_and(|word| word == "get") {
        return error;
    }
    let mut elsewhere = ELSEWHERE.iter();
    let sentence = if let Some((_, here)) = elsewhere.find(|(names, _)| names.contains(&&**typed)) {
        format!("there is no flag {typed}: use {here}")
    } else if let Some(value) = typed.strip_prefix('-') {
        if !value.starts_with(|first: char| first.is_ascii_digit()) {
            return error;
        }
        // Clap takes the negative number for a flag, and names only its first character.
        let place = arguments.iter().position(|argument| {
            let argument = argument.to_string_lossy();
            argument.starts_with(typed.as_str())
        });
        let argument = |place: usize| arguments.get(place).map(|word| word.to_string_lossy());
        let place = place.unwrap_or(0);
        format!(
            "{} can't be {}: numbers, times and sizes begin at 0",
            argument(place.saturating_sub(1)).unwrap_or_default(),
            argument(place).unwrap_or_default(),
        )
    } else if let Some(url) = as_upstream(typed) {
        format!("{typed} isn't expected here: to forward requests to it, write --route /={url}")
    } else if Arguments::command().find_subcommand(typed).is_some() {
        return error;
    } else if typed.contains('/') || typed.starts_with('.') || Path::new(typed).is_dir() {
        format!("{typed} isn't expected here: to serve a directory, write --root {typed}")
    } else {
        return error;
    };
    Arguments::command().error(ErrorKind::UnknownArgument, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<CommandLine, clap::Error> {
        let words = std::iter::once("tidegate").chain(line.split_whitespace());
        match CommandLine::read(words.map(OsString::from)) {
            Ok(command_line) => Ok(command_line),
            Err(Error::Typed(error)) => Err(error),
            Err(Error::File(error)) => panic!("{line}: {error}"),
        }
    }

    #[test]
    fn likely_mistakes_get_help() {
        for (line, says) in [
            ("./public", "--root ./public"),
            ("--listen 1 ./public", "--root ./public"),
            ("--listen 1 get http://a", "cannot be used with"),
            ("/srv/www", "--root /srv/www"),
            ("localhost:3000", "--route /=http://localhost:3000"),
            ("http://localhost:3000", "--route /=http://localhost:3000"),
            ("--tunnel-timeout -1s", "--tunnel-timeout can't be -1s"),
            ("--max-streams -5", "--max-streams can't be -5"),
            ("--rout /=status", "--route"),
            ("--port 80", "use --listen or --listen-h2c"),
            ("-p 80", "use --listen or --listen-h2c"),
            ("--conf a", "use --config"),
            ("get -p 80", "unexpected argument"),
            ("--workers auto", "a number from 1 to 1024"),
            ("--workers 0", "a number from 1 to 1024"),
            ("--max-streams many", "a number from 1 to"),
            ("--log tidegate=loud", "debug"),
            ("--log loud", "debug"),
            ("--max-stream-window 0", "64K"),
            ("--route /x=localhost:3000", "write http://localhost:3000"),
            ("--route /x=[::1]:3000/api", "write http://[::1]:3000/api"),
            ("--route /x=:3000", "write http://127.0.0.1:3000"),
            ("--route /x=http:/localhost", "write http://localhost"),
            ("--route /x=ws://localhost", "--websocket"),
            ("--route /../x=status", "/../x"),
            ("--route /=http://a/../b", "/../b"),
            ("--websocket socket", "/socket"),
        ] {
            let error = read(line).expect_err(line);
            let text = error.to_string();
            assert!(text.contains(says), "{line}: {text}");
            assert_eq!(error.exit_code(), 2, "{line}");
            let said = text.split("Usage:").next().unwrap();
            for poor in ["invalid digit", "unexpected argument '-"] {
                assert!(
                    ["--rout ", "get "].iter().any(|known| line.contains(known))
                        || !said.contains(poor),
                    "{line}: {text}"
                );
            }
        }
    }
}
