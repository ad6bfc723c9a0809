//! The upstreams of a pool, and its options.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_http::Config;
use tidegate_net::TlsConnectorConfig;

/// The default of [`Options::request_timeout`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A server, at one address or at several that are interchangeable.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The name for logs, such as `h2c://10.0.0.1:9000`.
    pub name: String,
    /// The addresses. Without one, requests fail. See
    /// [`Pool::set_addresses`](crate::Pool::set_addresses).
    pub addresses: Vec<Address>,
    /// The protocol.
    pub security: Security,
    /// Limits and settings of its connections and requests. Upstreams may share them.
    pub options: Arc<Options>,
}

/// An address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub addr: SocketAddr,
    /// The name that the certificate must have, and that is sent as SNI; `None`: the upstream's.
    pub name: Option<ServerName<'static>>,
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, name: None }
    }
}

/// The protocol of an upstream.
#[derive(Clone, Debug)]
pub enum Security {
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/2 in cleartext, with prior knowledge (RFC 9113 §3.3).
    H2c,
    /// TLS; ALPN decides between HTTP/2 and HTTP/1.1.
    Tls {
        /// The certificates to trust.
        config: Arc<TlsConnectorConfig>,
        /// The name that the certificate must have, for addresses without a name of their own.
        name: ServerName<'static>,
    },
}

/// Identifies an upstream of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub(crate) usize);

/// The limits of a pool on all its upstreams together. All numbers are for one pool, so for one
/// worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The most connections without a request. If there are more, those that have been idle for
    /// longest are closed. Default 100.
    pub max_idle: usize,
    /// The most requests of clients that wait for a place. Default 8,192.
    pub max_waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_idle: 100,
            max_waiting: 8192,
        }
    }
}

/// The options of an upstream. All numbers are for one pool, so for one worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Settings and limits of the connections' engines. A connection without a request is kept for
    /// `timeouts.idle`; one with requests may be silent for `timeouts.probe`.
    pub engine: Arc<Config>,
    /// The time for TCP and TLS of a new connection. Default 3 s.
    pub connect_timeout: Duration,
    /// Fail a request after this long without progress in either direction; zero: no limit.
    /// Default 60 s.
    pub request_timeout: Duration,
    /// The same for tunnels and conversations, where long silences are normal. Default 1 h.
    pub conversation_timeout: Duration,
    /// The most HTTP/2 connections to one address, or with [`Options::proxy_protocol`] for one
    /// client. Default 8.
    pub max_http2_connections: usize,
    /// The most connections to one address, for all clients and protocols. An HTTP/1.1 connection
    /// carries one request at a time. Default 256.
    pub max_connections: usize,
    /// The most bytes of all response windows at one address; requests beyond that wait for a
    /// place, but 16 always have one. HTTP/2 windows count with the size that they may grow to.
    /// Clients without a place get one, each, while twice as many windows fit of the size that
    /// they begin with. 0: no limit. Default 0.
    pub max_response_windows: u64,
    /// The bytes of a request's body that are kept until the response begins, so that the request
    /// can be sent again. As many are collected before a request takes an HTTP/1.1 connection.
    /// Default 64 KiB.
    pub replay_limit: usize,
    /// Skip an address for this long after it failed. The time doubles with each further failure.
    /// Default 100 ms.
    pub backoff: Duration,
    /// The most that `backoff` grows to. Default 5 s.
    pub max_backoff: Duration,
    /// Skip an address also after it left this many requests unanswered, if those are most of its
    /// recent requests and there is another address. Default 5.
    pub max_faults: u32,
    /// The version of the PROXY protocol header that begins each connection, 1 or 2. With it, each
    /// connection is for one client only. Default none.
    pub proxy_protocol: Option<u8>,
}

impl Options {
    /// Returns the defaults, with these settings for the engines. See [`client_config`].
    pub fn new(engine: Arc<Config>) -> Self {
        Self {
            engine,
            connect_timeout: Duration::from_secs(3),
            request_timeout: REQUEST_TIMEOUT,
            conversation_timeout: Duration::from_secs(3600),
            max_http2_connections: 8,
            max_connections: 256,
            max_response_windows: 0,
            replay_limit: 64 << 10,
            backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            max_faults: 5,
            proxy_protocol: None,
        }
    }
}

/// Returns settings and limits for the engines of a pool's connections. A connection is kept for
/// 90 s without a request, and probed after 10 s of silence if it has requests.
///
/// The pool limits how long a response may take; the engines don't. They wait as long for SETTINGS
/// and acknowledgements, because an upstream with a single thread is silent while it computes. If
/// [`Options::request_timeout`] isn't the default, call [`wait_for_answers`].
pub fn client_config() -> Config {
    let mut config = Config::client();
    config.timeouts.idle = Duration::from_secs(90);
    config.timeouts.probe = Duration::from_secs(10);
    wait_for_answers(&mut config, REQUEST_TIMEOUT);
    config.timeouts.body = Duration::ZERO;
    config.timeouts.write = Duration::ZERO;
    config
}

/// Has the engines wait for `limit` for an upstream's SETTINGS, for acknowledgements of SETTINGS
/// and PING, and for the rest of a header block; zero: no limit. `limit` should be
/// [`Options::request_timeout`]. If it is less, requests that have time left are lost with their
/// connection.
pub fn wait_for_answers(config: &mut Config, limit: Duration) {
    config.timeouts.handshake = limit;
    config.timeouts.settings_ack = limit;
    config.timeouts.header_block = limit;
    config.timeouts.probe_answer = limit;
}
