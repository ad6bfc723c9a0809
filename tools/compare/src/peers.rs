//! The servers that are compared, and which of them can do what.

use std::path::PathBuf;
use std::process::Command;

use clap::ValueEnum;

use crate::process::{Result, find};
use crate::site::{File, Site};
use crate::{built, configs};

/// A server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    Tidegate,
    H2o,
    Nginx,
    Nghttpd,
    Nghttpx,
    Haproxy,
    Apache,
    Caddy,
    /// Go's net/http: tools/upstream-go.
    Go,
    /// The HTTP library for Rust: tools/compare/peers/hyper.
    Hyper,
    /// Canned answers, by the same system calls and the same TLS: `floor.rs`.
    Floor,
}

/// How bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/2 in cleartext.
    H2c,
    /// HTTP/2 over TLS 1.3.
    Tls,
    /// HTTP/1.1 in cleartext, for WebSockets.
    Http1,
}

impl Transport {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H2c => "h2c",
            Self::Tls => "TLS",
            Self::Http1 => "HTTP/1.1",
        }
    }
}

/// The work of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Serve one file.
    File(File),
    /// Serve any of the site's files.
    Files,
    /// Answer `/status` with a small JSON document that no file holds.
    Status,
    /// Take bodies at `/discard`, and answer when they have ended.
    Discard,
    /// Send bodies back at `/echo` as they arrive.
    Echo,
    /// Forward requests for a small file to a server that speaks this.
    Proxy(Transport),
    /// Forward WebSockets at `/websocket`.
    WebSocket,
}

/// One server to start.
pub(crate) struct Start<'a> {
    pub(crate) site: &'a Site,
    pub(crate) task: Task,
    pub(crate) transport: Transport,
    pub(crate) workers: usize,
    /// Where to listen.
    pub(crate) address: std::net::SocketAddr,
    /// The server behind a proxy.
    pub(crate) upstream: Option<std::net::SocketAddr>,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::H2o => "h2o",
            Self::Nginx => "nginx",
            Self::Nghttpd => "nghttpd",
            Self::Nghttpx => "nghttpx",
            Self::Haproxy => "haproxy",
            Self::Apache => "Apache",
            Self::Caddy => "caddy",
            Self::Go => "Go",
            Self::Hyper => "hyper",
            Self::Floor => "floor",
        }
    }

    /// Returns the server's program, made first if there is none.
    ///
    /// # Errors
    /// Returns an error if the program isn't installed, or can't be built.
    pub(crate) fn program(self, site: &Site, task: Task) -> Result<PathBuf> {
        let installed = |name: &str| find(name).ok_or_else(|| "not installed".into());
        match self {
            Self::Tidegate if task == Task::Discard => Ok(std::env::current_exe()?),
            Self::Tidegate if site.tidegate.is_file() => Ok(site.tidegate.clone()),
            Self::Tidegate => Err(format!(
                "{} doesn't exist; build it with: cargo build --release",
                site.tidegate.display()
            )
            .into()),
            Self::Apache => installed("apache2"),
            Self::H2o | Self::Nginx | Self::Nghttpd | Self::Nghttpx | Self::Haproxy => {
                installed(self.name())
            }
            Self::Caddy => installed("caddy"),
            Self::Go => built::go(site),
            Self::Hyper => built::hyper(site),
            Self::Floor => Ok(std::env::current_exe()?),
        }
    }

    /// Whether the server can do that. What it can't do is shown as a dash.
    pub(crate) fn can(self, task: Task, transport: Transport) -> bool {
        let is_http2 = transport != Transport::Http1;
        match self {
            Self::Tidegate => true,
            Self::H2o => {
                matches!(
                    task,
                    Task::File(_) | Task::Files | Task::Status | Task::Discard
                ) || task == Task::Proxy(Transport::Http1)
            }
            Self::Nginx => !matches!(
                task,
                Task::Discard | Task::Echo | Task::Proxy(Transport::H2c)
            ),
            Self::Nghttpd => is_http2 && matches!(task, Task::File(_) | Task::Files),
            Self::Nghttpx => is_http2 && matches!(task, Task::Proxy(_)),
            Self::Haproxy => match task {
                // What it answers by itself has to fit into one of its buffers.
                Task::File(File(_, size)) => size <= 10 << 10,
                Task::Status | Task::Proxy(_) | Task::WebSocket => true,
                Task::Files | Task::Discard | Task::Echo => false,
            },
            Self::Apache => matches!(task, Task::File(_) | Task::Files | Task::Proxy(_)),
            Self::Caddy => !matches!(task, Task::Discard | Task::Echo),
            Self::Go => !matches!(task, Task::Proxy(_) | Task::WebSocket),
            Self::Hyper => is_http2 && !matches!(task, Task::Proxy(_) | Task::WebSocket),
            Self::Floor => is_http2 && matches!(task, Task::File(_) | Task::Status | Task::Discard),
        }
    }

    /// Whether valgrind can run the server. Go's programs move their stacks about.
    pub(crate) fn can_be_counted(self) -> bool {
        !matches!(self, Self::Go | Self::Caddy)
    }

    /// Returns the command that starts the server.
    pub(crate) fn command(self, start: &Start<'_>) -> Result<Command> {
        let mut command = Command::new(self.program(start.site, start.task)?);
        match self {
            Self::Tidegate if start.task == Task::Discard => {
                configs::own(&mut command, "discard", start);
            }
            Self::Tidegate => configs::tidegate(&mut command, start),
            Self::H2o => configs::h2o(&mut command, start)?,
            Self::Nginx => configs::nginx(&mut command, start)?,
            Self::Nghttpd => configs::nghttpd(&mut command, start),
            Self::Nghttpx => configs::nghttpx(&mut command, start),
            Self::Haproxy => configs::haproxy(&mut command, start)?,
            Self::Apache => configs::apache(&mut command, start)?,
            Self::Caddy => configs::caddy(&mut command, start)?,
            Self::Go => configs::go(&mut command, start),
            Self::Hyper => configs::hyper(&mut command, start),
            Self::Floor => configs::own(&mut command, "floor", start),
        }
        Ok(command)
    }
}
