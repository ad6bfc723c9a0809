//! Why the server ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::admin::AdminAddress;
use crate::user::UserError;

/// Why the server ended. `Display` gives one sentence.
#[derive(Debug)]
pub enum RunError {
    /// An address can't be listened on.
    Bind(SocketAddr, io::Error),
    /// An address can't be listened on, because this server still listens on the second one.
    OwnPort(SocketAddr, SocketAddr),
    /// An address can't be listened on, because this server still listens there with IPv4 and
    /// should do so without it, or the other way round.
    OtherStack(SocketAddr),
    /// A descriptor that the service manager passed isn't a socket that listens.
    Given(usize, io::Error),
    /// The service manager passed a socket on an address that no flag names, perhaps with a name.
    Unnamed(SocketAddr, String),
    /// The process before this one passed no sockets.
    TakeOver(io::Error),
    /// The server can't become the user that it should.
    User(UserError),
    /// The file with the number of the process can't be written.
    PidFile(PathBuf, io::Error),
    /// The admin listener can't listen on its address.
    Admin(AdminAddress, io::Error),
    /// The system gave no thread, epoll instance or signal handler.
    Start(io::Error),
    /// A worker ended.
    Worker(io::Error),
    /// A worker panicked, which is a bug.
    WorkerPanicked,
}

impl RunError {
    /// Returns the address that can't be listened on, if that is why.
    pub fn port(&self) -> Option<SocketAddr> {
        match self {
            Self::Bind(addr, _) | Self::OwnPort(addr, _) | Self::OtherStack(addr) => Some(*addr),
            _ => None,
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(addr, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "can't listen on {addr}: the port is taken by another process; choose another one \
                 with --listen or --listen-h2c"
            ),
            Self::Bind(addr, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "can't listen on {addr}: ports below 1024 need privileges (CAP_NET_BIND_SERVICE); \
                 grant them, or choose another port with --listen or --listen-h2c"
            ),
            Self::OwnPort(addr, own) => write!(
                f,
                "can't listen on {addr}: this server itself still listens on {own}; restart it to \
                 change that"
            ),
            Self::OtherStack(addr) => write!(
                f,
                "can't listen on {addr}: this server itself still listens there, and whether that \
                 includes IPv4 can't change; restart it to change that"
            ),
            Self::Bind(addr, error) => write!(f, "can't listen on {addr}: {error}"),
            Self::Given(descriptor, error) => write!(
                f,
                "can't use descriptor {descriptor}, which LISTEN_FDS announces: {error}"
            ),
            Self::Unnamed(addr, name) => {
                write!(f, "LISTEN_FDS passes a socket on {addr}")?;
                if !name.is_empty() {
                    write!(f, " ({name})")?;
                }
                write!(
                    f,
                    ", but no --listen or --listen-h2c names that address: add one, or take the \
                     socket out of the service manager's unit"
                )
            }
            Self::TakeOver(error) => {
                write!(f, "can't take over from the process before: {error}")
            }
            Self::User(error) => error.fmt(f),
            Self::PidFile(path, error) => {
                write!(f, "can't write the pid file {}: {error}", path.display())
            }
            Self::Admin(address, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "the admin listener can't listen on {address}: it is taken; choose another address \
                 with --admin"
            ),
            Self::Admin(address, error) => {
                write!(f, "the admin listener can't listen on {address}: {error}")
            }
            Self::Start(error) => write!(f, "can't start: {error}"),
            Self::Worker(error) => write!(f, "a worker failed: {error}"),
            Self::WorkerPanicked => f.write_str("a worker panicked; please report this as a bug"),
        }
    }
}

impl std::error::Error for RunError {}
