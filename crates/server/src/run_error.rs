//! Why the server ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Why the server ended. `Display` gives one sentence.
#[derive(Debug)]
pub enum RunError {
    /// An address can't be listened on.
    Bind(SocketAddr, io::Error),
    /// The system gave no thread, epoll instance or signal handler.
    Start(io::Error),
    /// A worker ended.
    Worker(io::Error),
    /// A worker panicked, which is a bug.
    WorkerPanicked,
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
            Self::Bind(addr, error) => write!(f, "can't listen on {addr}: {error}"),
            Self::Start(error) => write!(f, "can't start: {error}"),
            Self::Worker(error) => write!(f, "a worker failed: {error}"),
            Self::WorkerPanicked => f.write_str("a worker panicked; please report this as a bug"),
        }
    }
}

impl std::error::Error for RunError {}
