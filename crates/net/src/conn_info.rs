//! The identity of a connection, and the facts that its transport has about it.

use std::net::SocketAddr;
use std::time::Instant;

use rustls::pki_types::CertificateDer;

/// A connection of this worker: its slot and the generation of that slot. A slot is used 2^32 times
/// before an id is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// Returns the id as a number, which no other connection of this worker has.
    pub fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// Returns the id of this number. The connection may be gone, or never have been.
    pub fn numbered(number: u64) -> Self {
        Self {
            slot: number as u32,
            generation: (number >> 32) as u32,
        }
    }
}

/// Facts about a connection from its transport.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnInfo {
    /// Which end opened the connection.
    pub origin: Origin,
    /// The peer's address.
    pub peer: SocketAddr,
    /// Our address, which the peer connected to or which we connected from.
    pub local: SocketAddr,
    /// The proxy that opened the connection, if a PROXY protocol header named the other two
    /// addresses.
    pub via: Option<SocketAddr>,
    /// The result of the TLS handshake, once it is done; `None` for cleartext.
    pub tls: Option<Box<TlsInfo>>,
    /// When the connection was accepted or dialled.
    pub began_at: Instant,
}

/// The end that opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The peer, which is the client.
    Accepted,
    /// We are the client, by [`Conns::dial`](crate::Conns::dial).
    Dialled,
}

/// The result of a TLS handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    /// The cipher suite's name, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The protocol that ALPN picked: `h2`, `http/1.1`, `http/1.0`, or `None` if the client offered
    /// none.
    pub alpn: Option<&'static str>,
    /// The name that the client requested (SNI).
    pub sni: Option<String>,
    /// Whether the handshake resumed an earlier session by its ticket.
    pub resumed: bool,
    /// The chain that a client has shown, its own certificate first. Empty if it has shown none,
    /// and for a connection that this end opened.
    pub client_certificates: Vec<CertificateDer<'static>>,
}
