//! The socket of a connection: the system's, or one end of a pipe in memory.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use rustix::net::RecvFlags;
#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::net::SendFlags;
use socket2::SockRef;

use crate::memory_socket::MemorySocket;
use crate::round_trip::round_trip;

/// A connection's socket.
pub(crate) enum Socket {
    /// A socket of the system.
    Tcp(TcpStream),
    /// A Unix socket of the system.
    Unix(UnixStream),
    /// A socket in memory, for simulators.
    Memory(MemorySocket),
}

/// The result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// The read brought `count` bytes. With `more`, there may be more.
    Bytes { count: usize, more: bool },
    /// Nothing was there. An event will say when there is.
    Blocked,
    /// The peer has ended its side.
    Eof,
}

impl Socket {
    /// Reads once.
    pub(crate) fn read(&mut self, room: &mut [u8]) -> io::Result<ReadOutcome> {
        loop {
            let result = match self {
                Self::Tcp(socket) => receive(socket, room),
                Self::Unix(socket) => socket.read(room),
                Self::Memory(socket) => socket.read(room),
            };
            match result {
                Ok(0) => return Ok(ReadOutcome::Eof),
                // With edge-triggered epoll, a short read means that the socket is empty and that
                // an event announces the next bytes. So the read that would find nothing is spared
                // (epoll(7), question 9).
                Ok(count) => {
                    let more = count == room.len();
                    return Ok(ReadOutcome::Bytes { count, more });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(ReadOutcome::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns what a read would bring, and leaves it there.
    pub(crate) fn peek(&mut self, room: &mut [u8]) -> io::Result<ReadOutcome> {
        let result = match self {
            Self::Tcp(socket) => socket.peek(room),
            Self::Unix(socket) => peek(socket, room),
            Self::Memory(socket) => socket.peek(room),
        };
        match result {
            Ok(0) => Ok(ReadOutcome::Eof),
            Ok(count) => Ok(ReadOutcome::Bytes { count, more: false }),
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

    /// Writes as much as the socket takes; `None` if it takes nothing now.
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        loop {
            let result = match (&mut *self, slices) {
                (Self::Tcp(socket), [slice]) => send(socket, slice),
                (Self::Tcp(socket), slices) => socket.write_vectored(slices),
                (Self::Unix(socket), slices) => socket.write_vectored(slices),
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

    /// Sets a dialled connection up as a listener does an accepted one: without Nagle's algorithm,
    /// because the engine already gathers what one turn produced, and with TCP_NOTSENT_LOWAT.
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
            Self::Unix(socket) => socket.shutdown(Shutdown::Write),
            // Linux does this.
            Self::Memory(socket) if socket.is_failed() => Err(io::ErrorKind::NotConnected.into()),
            Self::Memory(socket) => {
                socket.shut_down();
                Ok(())
            }
        }
    }

    /// Makes the socket end by a reset, so that the peer can't take what it has for everything.
    pub(crate) fn reset(&mut self) {
        match self {
            // If this fails, the socket is already gone.
            Self::Tcp(socket) => {
                let _ = SockRef::from(&*socket).set_linger(Some(Duration::ZERO));
            }
            // The peer of a Unix socket sees an end either way.
            Self::Unix(_) => {}
            Self::Memory(socket) => socket.reset(),
        }
    }

    /// Takes the socket's error, for example that nobody listens at the address. Later calls return
    /// `None`.
    pub(crate) fn take_error(&mut self) -> Option<io::Error> {
        match self {
            Self::Tcp(socket) => socket.take_error().unwrap_or_else(Some),
            Self::Unix(socket) => socket.take_error().unwrap_or_else(Some),
            Self::Memory(socket) => socket.take_error(),
        }
    }

    /// Whether a dialled connection is established.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.peer_addr().is_ok(),
            Self::Unix(socket) => socket.peer_addr().is_ok(),
            Self::Memory(socket) => socket.is_connected(),
        }
    }

    /// Returns our address.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) | Self::Memory(_) => None,
        }
    }

    /// Returns the transport's estimate of the round-trip time.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self {
            Self::Tcp(socket) => round_trip(socket),
            Self::Unix(_) => None,
            Self::Memory(socket) => socket.round_trip(),
        }
    }
}

/// Returns what a read would bring, and leaves it there.
fn peek(socket: &UnixStream, room: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, room, RecvFlags::PEEK)?;
    Ok(count)
}

/// Reads by the system call itself. libc's function is a point where a thread can be cancelled, and
/// preparing for that costs more instructions than the call.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn receive(socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, room, RecvFlags::empty())?;
    Ok(count)
}

/// Writes by the system call itself, as [`receive`] reads.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn receive(mut socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    socket.read(room)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send(mut socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.write(bytes)
}
