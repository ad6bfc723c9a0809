//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use mio::net::{TcpListener, UnixListener};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;
use socket2::{Domain, Protocol, Socket, Type};

use crate::socket::Socket as Accepted;
use crate::{Protocols, TlsAcceptorConfig};

/// Connections that the kernel keeps until they are accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// The layer below HTTP on a listener's connections.
#[derive(Clone)]
pub enum Security {
    /// Cleartext: HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Plain,
    /// TLS with ALPN.
    Tls(Arc<TlsAcceptorConfig>),
}

/// The connections that a socket for all IPv6 addresses (`[::]`) accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The system's default. On Linux that includes IPv4, unless the administrator changed it.
    Dual,
    /// Only IPv6 (IPV6_V6ONLY), so that another socket may listen on the same port of IPv4.
    V6Only,
}

/// Whether a port may be shared with other processes of the same user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// A port that another process has is an error, even if that process would share it.
    Own,
    /// The kernel spreads connections over all processes that listen there with SO_REUSEPORT.
    Shared,
}

/// The address of both ends of a connection to a Unix socket, which has no other.
const NO_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket that listens.
enum Listens {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A listening socket of one worker.
pub struct Listener {
    socket: Arc<Listens>,
    pub(crate) security: Security,
    pub(crate) protocols: Protocols,
    addr: SocketAddr,
}

impl Listener {
    /// Binds and listens with SO_REUSEPORT: each worker has its own socket for the same address,
    /// and the kernel spreads connections over them. For port 0, bind once and give the other
    /// workers [`Listener::local_addr`].
    ///
    /// # Errors
    /// Returns the system's error. With SO_REUSEPORT the system accepts another process of the same
    /// user that listens there too; [`Listener::bind_group`] doesn't.
    pub fn bind(addr: SocketAddr, security: Security) -> io::Result<Self> {
        Self::bind_stack(addr, security, Stack::Dual)
    }

    fn bind_stack(addr: SocketAddr, security: Security, stack: Stack) -> io::Result<Self> {
        let socket = open(addr, stack)?;
        #[cfg(unix)]
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Self::from_std(socket.into(), security)
    }

    /// Takes a socket that listens already, for example one that another process has opened.
    ///
    /// # Errors
    /// Returns the system's error if the socket has no address or can't be made non-blocking.
    pub fn from_std(socket: std::net::TcpListener, security: Security) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        Ok(Self {
            socket: Arc::new(Listens::Tcp(TcpListener::from_std(socket))),
            security,
            protocols: Protocols::Both,
            addr,
        })
    }

    /// Takes a Unix socket that listens, for cleartext. Its connections and itself have the address
    /// 127.0.0.1:0.
    ///
    /// # Errors
    /// Returns the system's error if the socket can't be made non-blocking.
    pub fn from_unix(socket: std::os::unix::net::UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(Listens::Unix(UnixListener::from_std(socket))),
            security: Security::Plain,
            protocols: Protocols::Both,
            addr: NO_ADDR,
        })
    }

    /// Returns a listener on the same socket, for another worker, or to keep it open or to pass it
    /// on. Loops that share a socket take the connections of its one queue as they wake up. The
    /// socket closes with the last listener on it.
    pub fn share(&self) -> Self {
        Self {
            socket: Arc::clone(&self.socket),
            security: self.security.clone(),
            protocols: self.protocols,
            addr: self.addr,
        }
    }

    /// Makes one listener for each of `workers` workers, all on the same address and port, even for
    /// port 0.
    ///
    /// # Errors
    /// Returns the system's error, for example if the address is in use, even if only by a process
    /// that also set SO_REUSEPORT.
    pub fn bind_group(
        addr: SocketAddr,
        security: &Security,
        workers: usize,
    ) -> io::Result<Vec<Self>> {
        Self::bind_group_of(addr, security, workers, Stack::Dual, Port::Own)
    }

    /// Does the same as [`Listener::bind_group`]; `stack` says which connections a socket for all
    /// IPv6 addresses accepts, and `port` whether other processes may listen there.
    ///
    /// # Errors
    /// As for [`Listener::bind_group`].
    pub fn bind_group_of(
        addr: SocketAddr,
        security: &Security,
        workers: usize,
        stack: Stack,
        port: Port,
    ) -> io::Result<Vec<Self>> {
        if addr.port() != 0 && port == Port::Own {
            // A socket without SO_REUSEPORT finds out whether another process has the port.
            open(addr, stack)?.bind(&addr.into())?;
        }
        let mut listeners = Vec::with_capacity(workers);
        let mut bound = addr;
        for _ in 0..workers {
            let listener = Self::bind_stack(bound, security.clone(), stack)?;
            bound = listener.local_addr();
            listeners.push(listener);
        }
        Ok(listeners)
    }

    /// Returns the same listener for these protocols alone. A client of another one is refused: in
    /// the TLS handshake if it uses ALPN, else by a 505.
    pub fn speaking(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Returns the address that the listener listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Registers the socket for events.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let socket = self.as_fd().as_raw_fd();
        registry.register(&mut SourceFd(&socket), token, Interest::READABLE)
    }

    /// Ends the events. Another listener on the socket may keep it open.
    pub(crate) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        let socket = self.as_fd().as_raw_fd();
        registry.deregister(&mut SourceFd(&socket))
    }

    /// Sets TCP_NOTSENT_LOWAT for future connections: they inherit it from the listening socket, so
    /// it costs them no system call. 0 keeps the system's value.
    pub(crate) fn set_notsent_lowat(&self, bytes: u32) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if bytes > 0
            && let Listens::Tcp(socket) = &*self.socket
        {
            SockRef::from(socket).set_tcp_notsent_lowat(bytes)?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = bytes;
        Ok(())
    }

    /// Accepts the next connection and turns Nagle's algorithm off, because the engine already
    /// gathers what one turn produced.
    pub(crate) fn accept(&self) -> io::Result<(Accepted, SocketAddr)> {
        match &*self.socket {
            Listens::Tcp(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), peer))
            }
            Listens::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok((Accepted::Unix(stream), NO_ADDR))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.socket {
            Listens::Tcp(socket) => socket.as_fd(),
            Listens::Unix(socket) => socket.as_fd(),
        }
    }
}

fn open(addr: SocketAddr, stack: Stack) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() && stack == Stack::V6Only {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process in TIME_WAIT don't block the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_shares_one_port_and_others_are_told_that_it_is_taken() -> io::Result<()> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let group = Listener::bind_group(any, &Security::Plain, 3)?;
        let addr = group[0].local_addr();
        assert_ne!(addr.port(), 0);
        assert!(group.iter().all(|listener| listener.local_addr() == addr));
        let error = Listener::bind_group(addr, &Security::Plain, 1).map(|_| ());
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        Ok(())
    }

    #[test]
    fn one_port_of_both_families() -> io::Result<()> {
        let v4 = SocketAddr::from(([0, 0, 0, 0], 0));
        let group = Listener::bind_group(v4, &Security::Plain, 2)?;
        let v6 = SocketAddr::from(([0; 16], group[0].local_addr().port()));
        match Listener::bind_group_of(v6, &Security::Plain, 2, Stack::V6Only, Port::Own) {
            Ok(group) => assert_eq!(group.len(), 2),
            // A system without IPv6 can't show it.
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::AddrInUse),
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_take_over_what_the_listener_has() -> io::Result<()> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let system = SockRef::from(&open(any, Stack::Dual)?).tcp_notsent_lowat()?;
        for (bytes, expected) in [(0, system), (50_000, 50_000)] {
            let listener = Listener::bind(any, Security::Plain)?;
            listener.set_notsent_lowat(bytes)?;
            let _client = std::net::TcpStream::connect(listener.local_addr())?;
            let (accepted, _) = listener.accept()?;
            let Accepted::Tcp(accepted) = accepted else {
                panic!("not TCP");
            };
            let socket = SockRef::from(&accepted);
            assert_eq!(socket.tcp_notsent_lowat()?, expected);
        }
        Ok(())
    }
}
