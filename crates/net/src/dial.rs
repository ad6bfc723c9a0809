//! The targets of connections that we open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_http::{Config, Protocol};

use crate::{TlsConnectorConfig, tls};

/// The target of a connection that we open, and its protocol. See
/// [`Conns::dial`](crate::Conns::dial).
#[derive(Clone, Debug)]
pub struct Dial {
    /// The address.
    pub addr: SocketAddr,
    /// Cleartext or TLS, and the protocol.
    pub security: DialSecurity,
    /// Settings and limits of the connection's engine.
    pub engine: Arc<Config>,
    /// The time limit from the call until TCP and TLS are done. Zero means as long as the system
    /// allows.
    pub timeout: Duration,
    /// Bytes that are sent before everything else, in cleartext: a PROXY protocol header.
    pub preamble: Vec<u8>,
}

/// The layer below HTTP on a connection that we open.
#[derive(Clone, Debug)]
pub enum DialSecurity {
    /// Cleartext. For HTTP/2 the owner must know that the server takes it (RFC 9113 §3.3).
    Plain(Protocol),
    /// TLS.
    Tls {
        /// The certificates that are trusted.
        config: Arc<TlsConnectorConfig>,
        /// The name that the certificate must be for.
        name: ServerName<'static>,
        /// The only protocol to offer by ALPN. `None` offers both.
        only: Option<Protocol>,
    },
}

impl DialSecurity {
    /// Returns the protocols to offer by ALPN.
    pub(crate) fn alpn(only: Option<Protocol>) -> Vec<Vec<u8>> {
        let offered: &[&[u8]] = match only {
            Some(Protocol::Http2) => &[tls::H2],
            Some(Protocol::Http1) => &[tls::HTTP_1_1],
            None => &[tls::H2, tls::HTTP_1_1],
        };
        offered.iter().map(|name| name.to_vec()).collect()
    }
}
