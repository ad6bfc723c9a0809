//! Where requests go, and within which limits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_http::Config;
use tidegate_net::TlsConnectorConfig;

/// The default of [`Options::request_timeout`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A server, at one address or several that are as good as each other.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in logs, such as `h2c://10.0.0.1:9000`.
    pub name: String,
    /// Where it listens. Without one, requests fail; see [`Pool::set_addresses`](crate::Pool::set_addresses).
    pub addresses: Vec<Address>,
    /// What it speaks.
    pub security: Security,
}

/// An address of an upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Where it is.
    pub addr: SocketAddr,
    /// The name that its certificate must be for, and that is sent as SNI; `None`: the upstream's.
    pub name: Option<ServerName<'static>>,
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, name: None }
    }
}

/// What an upstream speaks.
#[derive(Clone, Debug)]
pub enum Security {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, with prior knowledge (RFC 9113 §3.3).
    H2c,
    /// TLS; ALPN decides between HTTP/2 and HTTP/1.1.
    Tls {
        /// Whom to trust.
        config: Arc<TlsConnectorConfig>,
        /// The name that the certificate must be for, of addresses that have none of their own.
        name: ServerName<'static>,
    },
}

/// An upstream of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub(crate) usize);

/// How a pool behaves. The numbers are per pool, which is per worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Settings and limits of the connections' engines. `timeouts.idle` is how long a connection is kept without a request,
    /// `timeouts.probe` how long one may be silent that has some.
    pub proto: Arc<Config>,
    /// Until TCP and TLS of a connection are done. Default 3 s.
    pub connect_timeout: Duration,
    /// How long nothing of a request may move, in either direction, until it fails; zero: no limit. Default 60 s.
    pub request_timeout: Duration,
    /// The same for tunnels and other conversations, whose ends may have nothing to say for long. Default 1 h.
    pub conversation_timeout: Duration,
    /// Connections without a request; more are closed, those that were used longest ago first. Default 100.
    pub max_idle: usize,
    /// Connections of HTTP/2 to one address, or with [`Options::proxy_protocol`] for one client. Default 8.
    pub max_http2_connections: usize,
    /// Connections to one address, over all clients and protocols. One of HTTP/1.1 carries one request at a time. Default 256.
    pub max_connections: usize,
    /// Bytes that the windows of responses may come to at one address: when it takes more requests at once than those
    /// allow, the others wait for a place. 16 have one in any case. Windows of HTTP/2 count in the size
    /// that they may grow to; for a client without a place, in the size that they begin with. 0: no
    /// limit. Default 0.
    pub max_response_windows: u64,
    /// Requests of clients that wait for a place, at all upstreams together. Default 8,192.
    pub max_waiting: usize,
    /// Bytes of a request's body that are kept until the response begins, so that the request can be sent again, and that are collected
    /// before a request takes a connection of HTTP/1.1. Default 64 KiB.
    pub replay_limit: usize,
    /// After an address has failed, how long no request goes there; it doubles with each further failure. Default 100 ms.
    pub backoff: Duration,
    /// What that grows to. Default 5 s.
    pub max_backoff: Duration,
    /// Requests that an address has left unanswered lately, from which on it is left alone too, if those are most of its requests
    /// and there is another address. Default 5.
    pub max_faults: u32,
    /// Version of the PROXY protocol header that connections begin with, 1 or 2. With it each connection is for one client only.
    /// Default none.
    pub proxy_protocol: Option<u8>,
}

impl Options {
    /// The defaults, with these settings for the engines: see [`client_config`].
    pub fn new(proto: Arc<Config>) -> Self {
        Self {
            proto,
            connect_timeout: Duration::from_secs(3),
            request_timeout: REQUEST_TIMEOUT,
            conversation_timeout: Duration::from_secs(3600),
            max_idle: 100,
            max_http2_connections: 8,
            max_connections: 256,
            max_response_windows: 0,
            max_waiting: 8192,
            replay_limit: 64 << 10,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            max_faults: 5,
            proxy_protocol: None,
        }
    }
}

/// Settings and limits for the engines of a pool's connections: a connection is kept for 90 s without a request, and probed after
/// 10 s of silence if it has some. How long a response may take is the pool's business, not the engines'. So they wait as long for what
/// an upstream has to say for itself, its SETTINGS and what it acknowledges: one with a single thread says nothing while it computes.
/// See [`wait_for_answers`] for another [`Options::request_timeout`] than the default.
pub fn client_config() -> Config {
    let mut config = Config::client();
    config.timeouts.idle = Duration::from_secs(90);
    config.timeouts.probe = Duration::from_secs(10);
    wait_for_answers(&mut config, REQUEST_TIMEOUT);
    config.timeouts.body = Duration::ZERO;
    config.timeouts.write = Duration::ZERO;
    config
}

/// Has the engines wait so long for an upstream's SETTINGS, their acknowledgement and that of a PING, and for the rest of a header
/// block; zero: no limit. It should be
/// [`Options::request_timeout`]: no less, or requests that have time left are lost with their connection.
pub fn wait_for_answers(config: &mut Config, limit: Duration) {
    config.timeouts.handshake = limit;
    config.timeouts.settings_ack = limit;
    config.timeouts.header_block = limit;
    config.timeouts.probe_answer = limit;
}
