//! How a loop behaves.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tidegate_http::Config;
use tidegate_ledger::{Ledger, Limits, Resource, Rule};

/// Connections that may be open at once, unless the owner says something else.
const MAX_CONNECTIONS: u64 = 10_000;

/// How a loop behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Settings and limits of every connection's engine.
    pub proto: Arc<Config>,
    /// From a connection's accept until TLS is done and the protocol known. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a peer may take nothing of what waits for it; one that was accepted must take 16 KiB in that time, or all. Default
    /// 30 s.
    pub write_timeout: Duration,
    /// How long a connection of HTTP/1.1 that was answered and closed is still read at most: a client that sends all of its
    /// request before it reads would else lose the answer. It begins with a second, and each KiB that comes buys another one, so
    /// who sends nothing, or a drip, isn't waited for. Default 30 s.
    pub linger_timeout: Duration,
    /// From [`Mailbox::shut_down`](crate::Mailbox::shut_down) until what is still open is cut off. Default 30 s.
    pub shutdown_timeout: Duration,
    /// TCP_NOTSENT_LOWAT of every connection, octets: while the kernel has so many that it didn't send yet, it takes no more (it
    /// may go over by a segment that it cuts for the network card, up to 64 KiB). What waits in the engine instead can be
    /// overtaken by what is urgent. 0 leaves it to the system, which by default takes megabytes. Linux and Android
    /// only. Default 32,768.
    pub notsent_lowat: u32,
    /// What clients share, and how much of it each may have. Loops with the same ledger share it too. Default: 10,000 connections,
    /// those that were dialled not counted, and nothing else is limited.
    pub ledger: Arc<Ledger>,
    /// Whether `Upgrade: h2c` is followed on cleartext ports (RFC 7540 §3.2). Default off.
    pub h2c_upgrade: bool,
    /// Connections from these addresses begin with a PROXY protocol header, version 1 or 2, which says for whom. Default none.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Peers that make requests for clients of theirs. Their connections are theirs, but their requests in progress aren't counted
    /// here: the service does that, by whom each is for. Default none.
    pub makes_requests_for_others: Vec<IpNet>,
    /// Whether [`Service::trace`] is called. Default off.
    pub trace: bool,
}

impl Options {
    /// The defaults, with these settings for the engines.
    pub fn new(proto: Arc<Config>) -> Self {
        Self {
            proto,
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
