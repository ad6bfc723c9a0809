//! What octets go through: a socket of the system, or one end of a pipe in memory.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::SockRef;

use crate::memory_socket::MemorySocket;
use crate::round_trip::round_trip;

/// A connection's socket.
pub(crate) enum Socket {
    /// One of the system's.
    Tcp(TcpStream),
    /// One in memory, for simulators.
    Memory(MemorySocket),
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// So many octets came; with `more`, there may be more.
    Octets { count: usize, more: bool },
    /// Nothing there: the socket will tell when there is.
    Blocked,
    /// The peer sends nothing more.
    Eof,
}

impl Socket {
    /// Reads once.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<ReadOutcome> {
        loop {
            let result = match self {
                Self::Tcp(socket) => socket.read(room),
                Self::Memory(socket) => socket.read(room),
            };
            match result {
                Ok(0) => return Ok(ReadOutcome::Eof),
                // With edge-triggered epoll, a short read means that the socket is empty and that what comes next is told as
                // an event: the read that would find nothing can be spared (epoll(7), question 9).
                Ok(count) => {
                    let more = count == room.len();
                    return Ok(ReadOutcome::Octets { count, more });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ReadOutcome::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks at what a read would bring, and leaves it there.
    pub(crate) fn peek(&mut self, room: &mut [u8]) -> io::Result<ReadOutcome> {
        let result = match self {
            Self::Tcp(socket) => socket.peek(room),
            Self::Memory(socket) => socket.peek(room),
        };
        match result {
            Ok(0) => Ok(ReadOutcome::Eof),
            Ok(count) => Ok(ReadOutcome::Octets { count, more: false }),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(ReadOutcome::Blocked)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes as much as the socket takes; `None` when it takes nothing now.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        loop {
            let result = match (&mut *self, slices) {
                (Self::Tcp(socket), [slice]) => socket.write(slice),
                (Self::Tcp(socket), slices) => socket.write_vectored(slices),
                (Self::Memory(socket), slices) => socket.write(slices),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Does for a connection that was dialled what a listener does for those that are accepted: Nagle's algorithm off, since the
    /// engine already gathers what one turn produced, and TCP_NOTSENT_LOWAT.
    pub(crate) fn tune(&self, notsent_lowat: u32) -> io::Result<()> {
        let Self::Tcp(socket) = self else {
            return Ok(());
        };
        socket.set_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if notsent_lowat > 0 {
            SockRef::from(socket).set_tcp_notsent_lowat(notsent_lowat)?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = notsent_lowat;
        Ok(())
    }

    /// Ends our side.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            // As Linux does it.
            Self::Memory(socket) if socket.is_failed() => Err(io::ErrorKind::NotConnected.into()),
            Self::Memory(socket) => {
                socket.shut_down();
                Ok(())
            }
        }
    }

    /// Has the socket end by a reset and not in order, so that the peer can't take what it has for everything.
    pub(crate) fn reset(&mut self) {
        match self {
            // Where that fails the socket is gone already.
            Self::Tcp(socket) => {
                let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            }
            Self::Memory(socket) => socket.reset(),
        }
    }

    /// What went wrong with it, such as that nobody listens where it was to connect to. Told once.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match self {
            Self::Tcp(socket) => socket.take_error().unwrap_or_else(Some),
            Self::Memory(socket) => socket.take_error(),
        }
    }

    /// Whether the connection that was dialled has come about.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.peer_addr().is_ok(),
            Self::Memory(socket) => socket.is_connected(),
        }
    }

    /// Our address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Memory(_) => None,
        }
    }

    /// The transport's estimate of the round-trip time.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Tcp(socket) => round_trip(socket),
            Self::Memory(socket) => socket.round_trip(),
        }
    }
}
