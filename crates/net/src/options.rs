//! The settings of a loop.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_http::Config;
use tidegate_ledger::{Ledger, Limits, Resource, Rule};

/// The most connections at once, unless the owner sets another limit.
const MAX_CONNECTIONS: u64 = 10_000;

/// The settings of a loop.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Settings and limits of the engines of accepted connections. A [`Dial`](crate::Dial) has its
    /// own.
    pub engine: Arc<Config>,
    /// The time limit from the accept of a connection until TLS is done and the protocol known.
    /// Default 10 s.
    pub handshake_timeout: Duration,
    /// The time in which a peer must take some of the data that waits for it. An accepted peer must
    /// take 16 KiB in that time, or everything. Default 30 s.
    pub write_timeout: Duration,
    /// The longest time to go on reading an HTTP/1.1 connection that was answered and closed: a
    /// client that sends all of its request before it reads would otherwise lose the answer. It
    /// starts with a second, and each KiB that arrives adds another, so a client that sends nothing
    /// or a drip isn't waited for. Default 30 s.
    pub linger_timeout: Duration,
    /// The time limit from [`Mailbox::shut_down`](crate::Mailbox::shut_down) until open connections
    /// are cut off. Default 30 s.
    pub shutdown_timeout: Duration,
    /// The TCP_NOTSENT_LOWAT of every connection: with this many unsent bytes, the kernel takes no
    /// more, except for up to 64 KiB of a segment that the network card cuts. Urgent data can
    /// overtake data that waits in the engine instead. 0 keeps the system's value, by default
    /// megabytes. Linux and Android only. Default 32,768.
    pub notsent_lowat: u32,
    /// The resources that clients share, and each client's limits. Loops with the same ledger share
    /// them too. Default: 10,000 accepted connections and no other limits.
    pub ledger: Arc<Ledger>,
    /// Whether to follow `Upgrade: h2c` on cleartext ports (RFC 7540 §3.2). Default off.
    pub h2c_upgrade: bool,
    /// The addresses whose connections begin with a PROXY protocol header, version 1 or 2, which
    /// names the client. Default none.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The peers that make requests for clients of their own. Their connections count as theirs,
    /// but the service counts their requests in progress, by client. Default none.
    pub makes_requests_for_others: Vec<IpNet>,
    /// Whether to call [`Service::trace`](crate::Service::trace) for all connections. Default off.
    pub trace: bool,
}

impl Options {
    /// Returns the defaults, with these settings for the engines.
    pub fn new(engine: Arc<Config>) -> Self {
        Self {
            engine,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
            notsent_lowat: 32 << 10,
            ledger: Ledger::new(
                Limits::none().with(Resource::Connections, Rule::new(MAX_CONNECTIONS)),
            ),
            h2c_upgrade: false,
            proxy_protocol_from: Vec::new(),
            makes_requests_for_others: Vec::new(),
            trace: false,
        }
    }
}
