//! The command line as a whole: messages that help with likely mistakes, and warnings about flags
//! that have no effect.

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::config::{Address, ConfigError};
use crate::document::FileError;
use crate::flags::{Flags, Listen, Route, RouteTarget, Switch, as_upstream};
use crate::proxy::target::{Scheme, UpstreamTarget};
use crate::push::Mode;
use crate::router::covers;
use crate::settings::{self, Origins};

/// The parsed command line, and the configuration file that it names.
#[derive(Debug)]
pub struct CommandLine {
    /// The flags, with the values that the file has for them.
    pub flags: Flags,
    /// The lines of the file that values came from.
    pub origins: Origins,
    /// Sentences about likely mistakes that don't keep the server from starting.
    pub warnings: Vec<String>,
}

impl CommandLine {
    /// Reads arguments; the first is the name of the program.
    ///
    /// # Errors
    /// An error of clap, with a better message for likely mistakes, or a mistake in the file.
    /// `--help` and `--version` are errors of clap too.
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let (words, origins) = settings::joined(&arguments).map_err(Error::File)?;
        let read = || {
            let matches = Flags::command().try_get_matches_from(&words)?;
            let flags = Flags::from_arg_matches(&matches)?;
            let warnings = warnings(&flags, &matches, &origins);
            Ok((flags, warnings))
        };
        let (flags, warnings) =
            read().map_err(|error| Error::Typed(in_better_words(error, &arguments)))?;
        Ok(Self {
            flags,
            origins,
            warnings,
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
    } else if Flags::command().find_subcommand(typed).is_some() {
        return error;
    } else if typed.contains('/') || typed.starts_with('.') || Path::new(typed).is_dir() {
        format!("{typed} isn't expected here: to serve a directory, write --root {typed}")
    } else {
        return error;
    };
    Flags::command().error(ErrorKind::UnknownArgument, sentence)
}

/// Returns warnings about flags without effect, and about routes that lead back to this server.
fn warnings(flags: &Flags, matches: &ArgMatches, origins: &Origins) -> Vec<String> {
    let command = Flags::command();
    let given: Vec<&clap::Arg> = command
        .get_arguments()
        .filter(|argument| {
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
        .collect();
    let routes = flags.route.iter().enumerate();
    let upstreams: Vec<(usize, &Route, &UpstreamTarget)> = routes
        .filter_map(|(place, route)| match &route.target {
            RouteTarget::Upstream(target) => Some((place, route, target)),
            _ => None,
        })
        .collect();
    let has = |scheme| upstreams.iter().any(|(.., target)| target.scheme == scheme);
    let (has_tls, has_h2c) = (has(Scheme::Https), has(Scheme::H2c));
    let is_none = |listen: &[Listen]| matches!(listen, [Listen::None, ..]);
    let has_list = !flags.preload.is_empty() || flags.preload_file.is_some();
    let has_own_site = flags.root.is_some() || !flags.route.is_empty();

    let why_in_vain = |argument: &clap::Arg| match argument.get_id().as_str() {
        "cert" | "key" if is_none(&flags.listen) => Some("--listen none leaves no port for TLS"),
        "h2c_upgrade" if is_none(&flags.listen_h2c) => {
            Some("--listen-h2c none leaves no port in cleartext")
        }
        "early_hints" if !has_list && has_own_site => {
            Some("no --preload or --preload-file lists what pages need")
        }
        "preload" if is_unused(flags) => Some("neither --early-hints nor --push is on"),
        "min_body_rate" if flags.body_timeout.is_zero() => {
            Some("--body-timeout 0 leaves no time after which to judge")
        }
        // `Config::new` makes this an error.
        "websocket" => None,
        _ if argument.get_help_heading() == Some("Upstreams") && upstreams.is_empty() => {
            Some("no --route leads to an upstream")
        }
        "upstream_ca" | "upstream_cert" | "upstream_key" | "upstream_name" if !has_tls => {
            Some("no --route leads to an upstream with https://")
        }
        // gRPC needs HTTP/2.
        "tunnel_timeout" if flags.websocket.is_empty() && !has_tls && !has_h2c => Some(
            "it is for WebSockets and gRPC, and there is neither --websocket nor an upstream that \
             speaks HTTP/2",
        ),
        "max_connections_per_client"
            if flags
                .max_connections
                .is_some_and(|all| flags.max_connections_per_client >= all) =>
        {
            Some("--max-connections allows no more to all clients together")
        }
        _ => None,
    };
    let in_vain = given.iter().filter_map(|argument| {
        let (name, why) = (argument.get_long()?, why_in_vain(argument)?);
        Some(format!("{} has no effect: {why}", origins.named(name, 0)))
    });
    let websockets = flags.websocket.iter().enumerate();
    let websockets = websockets.filter_map(|(place, path)| {
        let others = flags.websocket.iter().enumerate();
        let (_, other) = others
            .filter(|(other, _)| *other != place)
            .find(|(at, other)| {
                // The second of two equal paths has no effect.
                covers(other.trim_end_matches('/').as_bytes(), path.as_bytes())
                    && (*other != path || *at < place)
            })?;
        let named = origins.named("websocket", place);
        Some(format!(
            "{named} {path} has no effect: --websocket {other} covers it"
        ))
    });
    let circles = upstreams
        .iter()
        .filter(|(.., target)| target.hosts.iter().any(|host| is_own(flags, host)))
        .map(|(place, route, target)| {
            format!(
                "{} {}={target} leads back to this server, which listens there: requests go round \
                 in circles",
                origins.named("route", *place),
                route.path
            )
        });
    in_vain.chain(websockets).chain(circles).collect()
}

/// Checks that no flags contradict each other.
///
/// # Errors
/// A contradiction, whose sentence names the flags.
pub fn check(flags: &Flags, addresses: &[Address]) -> Result<(), ConfigError> {
    let contradiction = |flag, nth, sentence| {
        let contradiction = ConfigError::Contradiction(sentence);
        Err(contradiction.about(flag, nth))
    };
    for (flag, typed) in [("listen", &flags.listen), ("listen-h2c", &flags.listen_h2c)] {
        let none = typed.iter().position(|listen| *listen == Listen::None);
        if let Some(nth) = none
            && typed.len() > 1
        {
            let sentence = format!(
                "--{flag} none means no such port: leave it out, or leave out the other --{flag}"
            );
            return contradiction(flag, nth, sentence);
        }
    }
    // The kernel would distribute the connections to an address over both listeners.
    for (place, address) in addresses.iter().enumerate() {
        let other = &addresses[..place];
        if address.first.port() != 0 && other.contains(address) {
            let sentence = format!(
                "can't listen on {} twice: leave out one --listen or --listen-h2c",
                address.first
            );
            // The addresses for TLS are first.
            let before = flags.listen.len().max(1);
            return match place.checked_sub(before) {
                Some(nth) if !flags.listen_h2c.is_empty() => {
                    contradiction("listen-h2c", nth, sentence)
                }
                _ => contradiction("listen", place.min(before - 1), sentence),
            };
        }
    }
    let path = |route: &Route| route.path.trim_end_matches('/').to_owned();
    for (place, route) in flags.route.iter().enumerate() {
        if route.path == "/" && flags.root.is_some() {
            let sentence = "--root and --route / are for the same path: leave out one";
            return contradiction("route", place, sentence.into());
        }
        let mut others = flags.route[..place].iter();
        if others.any(|other| path(other) == path(route)) {
            let sentence = format!("two routes are for {}: leave out one --route", route.path);
            return contradiction("route", place, sentence);
        }
    }
    Ok(())
}

/// Whether a preload list would have no effect.
fn is_unused(flags: &Flags) -> bool {
    (flags.push, flags.early_hints) == (Mode::Off, Some(Switch::Off))
}

/// Whether the server itself listens on this address.
fn is_own(flags: &Flags, (host, port): &(String, u16)) -> bool {
    let ip = if host == "localhost" {
        Some(IpAddr::from([127, 0, 0, 1]))
    } else {
        host.parse().ok()
    };
    let is_here = |listen: &Listen| match (listen, ip) {
        (Listen::Everywhere(own), Some(ip)) => own == port && ip.is_loopback(),
        (Listen::At(own), Some(ip)) => {
            let is_same = own.ip() == ip || own.ip().is_unspecified() && ip.is_loopback();
            own.port() == *port && is_same
        }
        _ => false,
    };
    let ports = |typed: &[Listen], default| match typed {
        [] => is_here(&Listen::Everywhere(default)),
        typed => typed.iter().any(is_here),
    };
    *port != 0 && (ports(&flags.listen, 8443) || ports(&flags.listen_h2c, 8080))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

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

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let config = |line: &str| Config::new(&read(line).unwrap().flags);
        for (line, says) in [
            ("--route /a=status --route /a=echo", "two routes are for /a"),
            (
                "--route /a=status --route /a/=echo",
                "two routes are for /a/",
            ),
            (
                "--route /a~=status --route /%61%7e=echo",
                "two routes are for /a~",
            ),
            ("--root . --route /=status", "--root and --route /"),
            ("--listen none --listen 1", "--listen none means"),
            (
                "--listen-h2c 1 --listen-h2c none",
                "--listen-h2c none means",
            ),
            (
                "--listen 127.0.0.1:1 --listen 127.0.0.1:1",
                "can't listen on 127.0.0.1:1 twice",
            ),
            ("--listen 8080", "can't listen on [::]:8080 twice"),
        ] {
            let error = config(line)
                .err()
                .unwrap_or_else(|| panic!("{line} is fine"));
            assert!(error.to_string().contains(says), "{line}: {error}");
            assert_eq!(error.exit_status(), 2, "{line}");
        }
        let several = "--listen none --listen-h2c 127.0.0.1:0 --listen-h2c 127.0.0.1:0 --root . \
                       --route /a=status --route /a/b=echo";
        assert!(config(several).is_ok());
        let no_directory = config("--listen none --route /=localhost").err().unwrap();
        assert!(
            no_directory.to_string().contains("http://"),
            "{no_directory}"
        );
    }

    #[test]
    fn flags_without_effect_get_a_warning() {
        for (line, says) in [
            (
                "--listen none --cert c --key k",
                "--cert has no effect: --listen none",
            ),
            (
                "--listen-h2c none --h2c-upgrade",
                "--h2c-upgrade has no effect",
            ),
            (
                "--route /=status --upstream-name x",
                "--upstream-name has no effect: no --route",
            ),
            (
                "--trust-forwarded-from 10.0.0.0/8",
                "--trust-forwarded-from has no effect",
            ),
            ("--upstream-timeout 60s", "--upstream-timeout has no effect"),
            (
                "--route /=http://a --upstream-ca c",
                "no --route leads to an upstream with https://",
            ),
            (
                "--route /=status --early-hints on",
                "--early-hints has no effect",
            ),
            (
                "--route /=http://a --tunnel-timeout 5s",
                "--tunnel-timeout has no effect",
            ),
            (
                "--max-connections 10 --max-connections-per-client 10",
                "--max-connections-per-client has no effect",
            ),
            (
                "--route /=http://a --websocket /a --websocket /a",
                "--websocket /a has no effect: --websocket /a covers it",
            ),
            (
                "--route /=http://a --websocket /a/b --websocket /a",
                "--websocket /a/b has no effect: --websocket /a covers it",
            ),
            (
                "--route /=http://a --websocket / --websocket /a",
                "--websocket /a has no effect: --websocket / covers it",
            ),
            (
                "--body-timeout 0 --min-body-rate 1",
                "--min-body-rate has no effect",
            ),
            (
                "--route /a=http://localhost:8080",
                "--route /a=http://localhost:8080 leads back",
            ),
            (
                "--listen 127.0.0.2:1 --route /=https://127.0.0.2:1",
                "leads back",
            ),
        ] {
            let warnings = read(line).unwrap().warnings;
            assert!(
                warnings.iter().any(|warning| warning.contains(says)),
                "{line}: {warnings:?}"
            );
        }
        for line in [
            "",
            "--cert c --key k",
            "--route /=http://a:8080 --upstream-timeout 1s --trust-forwarded-from ::1",
            "--route /=http://b --route /a=https://a --upstream-name a",
            "--listen none --listen-h2c 127.0.0.1:1 --route /=http://127.0.0.1:2,127.0.0.2:1",
            "--early-hints on",
            "--route /=http://a --websocket /a --websocket /ab --tunnel-timeout 1s",
            "--route /=h2c://a --tunnel-timeout 1s",
            "--route /=h2c://a --upstream-max-connections 5",
            "--max-connections 10 --max-connections-per-client 9",
            "get http://a",
        ] {
            let warnings = read(line).unwrap().warnings;
            assert!(warnings.is_empty(), "{line}: {warnings:?}");
        }
    }
}
