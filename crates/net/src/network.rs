//! The network that connections are opened on: the system's or one in memory.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::memory_socket::Dialled;
use crate::socket::Socket;

/// The network that connections are opened on.
pub(crate) enum Network {
    System(Registry),
    /// A simulator's network: the connections dialled and not yet taken by it, and how much each of
    /// them buffers.
    Memory {
        dialled: Vec<Dialled>,
        capacity: usize,
    },
}

impl Network {
    /// Begins to connect to `addr`. Events of the connection carry `token`.
    pub(crate) fn connect(&mut self, addr: SocketAddr, token: Token) -> io::Result<Socket> {
        match self {
            Self::System(registry) => {
                let mut socket = Socket::Tcp(TcpStream::connect(addr)?);
                register(registry, &mut socket, token)?;
                Ok(socket)
            }
            Self::Memory { dialled, capacity } => {
                let (socket, other) = Dialled::new(addr, *capacity);
                dialled.push(other);
                Ok(Socket::Memory(socket))
            }
        }
    }

    /// Registers an accepted connection, whose events carry `token`.
    pub(crate) fn register(&self, socket: &mut Socket, token: Token) -> io::Result<()> {
        match self {
            Self::System(registry) => register(registry, socket, token),
            Self::Memory { .. } => Ok(()),
        }
    }
}

fn register(registry: &Registry, socket: &mut Socket, token: Token) -> io::Result<()> {
    let both = Interest::READABLE | Interest::WRITABLE;
    match socket {
        Socket::Tcp(socket) => registry.register(socket, token, both),
        Socket::Unix(socket) => registry.register(socket, token, both),
        Socket::Memory(_) => Ok(()),
    }
}
