//! Why the server can't start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use tidegate_net::TlsError;

use crate::document::FileError;
use crate::push::PreloadError;

/// Why the server can't start. `Display` gives one sentence.
#[derive(Debug)]
pub enum ConfigError {
    /// Both `--listen none` and `--listen-h2c none`.
    NothingToListenOn,
    /// Two flags contradict each other. The sentence names them.
    Contradiction(String),
    /// A value is out of range.
    Engine(tidegate_http::ConfigError),
    /// A certificate or key file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A directory to serve can't be read.
    NoDirectory(PathBuf, io::Error),
    /// The system doesn't report how many files may be open.
    Descriptors(io::Error),
    /// The access log can't be opened.
    NoAccessLog(PathBuf, io::Error),
    /// The file of the trace can't be opened.
    NoTrace(PathBuf, io::Error),
    /// Certificate and key can't be used.
    Tls {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why they can't be used.
        error: TlsError,
    },
    /// A file for TLS can't be used.
    TlsFile(PathBuf, TlsError),
    /// The settings of TLS don't fit each other.
    TlsSettings(TlsError),
    /// No certificate could be made.
    SelfSigned(String),
    /// The preload list's file can't be used.
    PreloadFile(FileError),
    /// The preload list can't be used.
    Preload(PreloadError),
    /// No route leads to this path of the preload list, or the route's target can't be preloaded.
    PreloadUnrouted(String),
    /// Pushes are wanted, but there is no list.
    NothingToPush,
    /// An upstream's name can't be in a certificate.
    UpstreamName(String),
    /// The files for TLS with upstreams can't be used.
    UpstreamTls(String, TlsError),
    /// No upstream serves this path of `--websocket`.
    WebSocketUnrouted(String),
    /// A problem with one of the values of a flag. The number counts them from 0.
    About(&'static str, usize, Box<Self>),
    /// A problem of a site or an upstream.
    Of(Whose, Box<Self>),
    /// No `[upstream.NAME]` has this name. The other one was probably meant.
    UnknownUpstream(String, Option<String>),
}

/// The table whose settings have a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// None: the problem is with the whole server.
    Server,
    /// The site with this index.
    Site(usize),
    /// A route: the index of its site, and its own one there.
    Route(usize, usize),
    /// The upstream that has a name, with this index.
    Upstream(usize),
}

impl ConfigError {
    /// Returns this problem as one with the `nth` value of a flag.
    pub fn about(self, flag: &'static str, nth: usize) -> Self {
        Self::About(flag, nth, Box::new(self))
    }

    /// Returns this problem as one of a site, counted from 0.
    pub fn of_site(self, site: usize) -> Self {
        Self::Of(Whose::Site(site), Box::new(self))
    }

    /// Returns this problem as one of a route of the first site, counted from 0.
    pub fn of_route(self, route: usize) -> Self {
        Self::Of(Whose::Route(0, route), Box::new(self))
    }

    /// Returns this problem as one of an upstream that has a name, counted from 0.
    pub fn of_upstream(self, upstream: usize) -> Self {
        Self::Of(Whose::Upstream(upstream), Box::new(self))
    }

    /// Returns the table whose settings have the problem.
    pub fn whose(&self) -> Whose {
        match self {
            Self::Of(Whose::Site(site), problem) => match problem.whose() {
                Whose::Route(_, route) => Whose::Route(*site, route),
                _ => Whose::Site(*site),
            },
            Self::Of(whose, _) => *whose,
            Self::About(.., problem) => problem.whose(),
            _ => Whose::Server,
        }
    }

    /// Returns the flag, without dashes, whose value is the problem, and which of its values it is.
    pub fn flag(&self) -> Option<(&'static str, usize)> {
        match self {
            Self::About(flag, nth, _) => Some((flag, *nth)),
            Self::Of(_, problem) => problem.flag(),
            Self::NothingToListenOn => Some(("listen", 0)),
            Self::NoAccessLog(..) => Some(("access-log", 0)),
            Self::NoTrace(..) => Some(("trace", 0)),
            Self::Tls { .. } => Some(("cert", 0)),
            Self::NothingToPush => Some(("push", 0)),
            Self::Engine(error) => match error.field {
                "max_concurrent_streams" => Some(("max-streams", 0)),
                "max_stream_window_size" => Some(("max-stream-window", 0)),
                "min_body_rate" => Some(("min-body-rate", 0)),
                _ => None,
            },
            Self::PreloadFile(FileError::Unreadable(..)) => Some(("preload-file", 0)),
            _ => None,
        }
    }

    /// Returns the process's exit status: 2 for a wrong command line, 1 for an error of the system.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::About(.., problem) | Self::Of(_, problem) => problem.exit_status(),
            Self::NothingToListenOn
            | Self::Contradiction(_)
            | Self::Engine(_)
            | Self::TlsSettings(_)
            | Self::PreloadFile(FileError::Line(..))
            | Self::Preload(_)
            | Self::PreloadUnrouted(_)
            | Self::UpstreamName(_)
            | Self::UnknownUpstream(..)
            | Self::WebSocketUnrouted(_)
            | Self::NothingToPush => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::About(.., problem) | Self::Of(_, problem) => problem.fmt(f),
            Self::NothingToListenOn => f.write_str(
                "there is nothing to listen on: --listen and --listen-h2c are both none",
            ),
            Self::Contradiction(sentence) => f.write_str(sentence),
            Self::Engine(error) => error.fmt(f),
            Self::Unreadable(path, error) => write!(f, "can't read {}: {error}", path.display()),
            Self::NoDirectory(path, error) => {
                write!(f, "can't serve the directory {}: {error}", path.display())?;
                if path.components().count() == 1 && path.is_relative() {
                    f.write_str("; an upstream begins with http://, h2c:// or https://")?;
                }
                Ok(())
            }
            Self::Descriptors(error) => {
                write!(f, "can't find out how many files may be open: {error}")
            }
            Self::NoAccessLog(path, error) => {
                write!(f, "can't write the access log {}: {error}", path.display())
            }
            Self::NoTrace(path, error) => {
                write!(f, "can't write the trace {}: {error}", path.display())
            }
            Self::Tls { cert, key, error } => write!(
                f,
                "can't use the certificate {} with the key {}: {error}",
                cert.display(),
                key.display()
            ),
            Self::TlsFile(path, error) => write!(f, "can't use {}: {error}", path.display()),
            Self::TlsSettings(error) => write!(f, "TLS can't be set up: {error}"),
            Self::SelfSigned(error) => write!(f, "can't make a certificate: {error}"),
            Self::PreloadFile(error) => error.fmt(f),
            Self::Preload(error) => error.fmt(f),
            Self::PreloadUnrouted(path) => write!(
                f,
                "{path} can't be preloaded, because no route serves it: add a --route, or give its \
                 content in the --preload-file"
            ),
            Self::UpstreamName(name) => write!(
                f,
                "{name} can't be the name in an upstream's certificate: give a DNS name or an \
                 address with --upstream-name"
            ),
            Self::UnknownUpstream(name, alike) => {
                write!(f, "there is no upstream {name}: ")?;
                match alike {
                    Some(alike) => write!(f, "did you mean {alike}?"),
                    None => write!(f, "describe it in [upstream.{name}] of the --config file"),
                }
            }
            Self::UpstreamTls(what, error) => {
                write!(f, "can't use {what} for upstreams: {error}")
            }
            Self::WebSocketUnrouted(path) => write!(
                f,
                "--websocket {path} needs a --route that leads from {path} to an upstream"
            ),
            Self::NothingToPush => f.write_str(
                "there is nothing to push: list what pages need with --preload or --preload-file",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
