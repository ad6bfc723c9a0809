//! The readiness of a socket, as epoll reports it.

use mio::event::Event as Readiness;

/// Changes to the readiness of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

impl From<&Readiness> for Ready {
    fn from(readiness: &Readiness) -> Self {
        Self {
            readable: readiness.is_readable(),
            writable: readiness.is_writable(),
            read_closed: readiness.is_read_closed(),
            error: readiness.is_error(),
        }
    }
}
