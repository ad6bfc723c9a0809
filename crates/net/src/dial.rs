//! Connections that we open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_http::{Config, Protocol};

use crate::{TlsConnectorConfig, tls};

/// Whereto a connection is opened, and what it is to speak. See [`Conns::dial`](crate::Conns::dial).
#[derive(Clone, Debug)]
pub struct Dial {
    /// The address.
    pub addr: SocketAddr,
    /// In cleartext or by TLS, and what is spoken there.
    pub security: DialSecurity,
    /// Settings and limits of the connection's engine.
    pub proto: Arc<Config>,
    /// From the call until TCP and TLS are done; zero: as long as the system likes.
    pub timeout: Duration,
    /// Octets that go out in front of everything else, in cleartext: a PROXY protocol header.
    pub preamble: Vec<u8>,
}

/// What lies below HTTP on a connection that we open.
#[derive(Clone, Debug)]
pub enum DialSecurity {
    /// Cleartext. Of HTTP/2 it needs to be known that the other end takes it (RFC 9113 §3.3).
    Plain(Protocol),
    /// TLS.
    Tls {
        /// Whom to trust.
        config: Arc<TlsConnectorConfig>,
        /// The name that the certificate must be for.
        name: ServerName<'static>,
        /// What is offered by ALPN: only this; both if it is `None`.
        only: Option<Protocol>,
    },
}

impl DialSecurity {
    /// What is offered by ALPN.
    pub(crate) fn alpn(only: Option<Protocol>) -> Vec<Vec<u8>> {
        let offered: &[&[u8]] = match only {
            Some(Protocol::Http2) => &[tls::H2],
            Some(Protocol::Http1) => &[tls::HTTP_1_1],
            None => &[tls::H2, tls::HTTP_1_1],
        };
        offered.iter().map(|name| name.to_vec()).collect()
    }
}
