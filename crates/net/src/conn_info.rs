//! Which connection, and what is known of it from its transport.

use std::net::SocketAddr;
use std::time::Instant;

/// A connection of this worker: its place and the generation of that place. Not used for another connection before
/// the place had 2^32 others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// What is known of a connection from its transport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnInfo {
    /// Who has opened it.
    pub origin: Origin,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Our address: the one that the peer connected to, or that we connected from.
    pub local: SocketAddr,
    /// The proxy through which it came, if that has told the two others by a PROXY protocol header.
    pub via: Option<SocketAddr>,
    /// What TLS came to, once its handshake is done; `None` for cleartext.
    pub tls: Option<Box<TlsInfo>>,
    /// When it was accepted or dialled.
    pub began_at: Instant,
}

/// Who has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer, which is the client.
    Accepted,
    /// We, by [`Conns::dial`].
    Dialled,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    /// The cipher suite's name, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The protocol that ALPN picked: `h2`, `http/1.1`, `http/1.0`, or none if the client offered none.
    pub alpn: Option<&'static str>,
    /// The name that the client asked for (SNI).
    pub sni: Option<String>,
    /// Whether an earlier session was resumed by its ticket.
    pub resumed: bool,
}
