//! All connections of a worker.

use std::net::SocketAddr;
use std::time::Instant;

use tidegate_proto::{Connection, Stats, StreamId, StreamMut};

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
    /// The peer's address.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// What TLS came to, once its handshake is done; `None` for cleartext.
    pub tls: Option<Box<TlsInfo>>,
    /// When it was accepted.
    pub accepted_at: Instant,
}

/// What a TLS handshake came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TlsInfo {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: &'static str,
    /// The cipher suite's name, such as `TLS13_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The protocol that ALPN picked: `h2`, `http/1.1`, or none if the client offered none.
    pub alpn: Option<&'static str>,
    /// The name that the client asked for (SNI).
    pub sni: Option<String>,
    /// Whether an earlier session was resumed by its ticket.
    pub resumed: bool,
}

/// Counters of one worker since its start.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now, those in a handshake included.
    pub open: u64,
    /// Connections gone.
    pub closed: u64,
    /// Connections refused because `max_connections` were open.
    pub refused: u64,
    /// Connections that ended before the protocol was known: TLS failures, timeouts, early ends.
    pub handshake_failures: u64,
    /// Connections whose TLS stream ended without close_notify.
    pub truncated: u64,
    /// HTTP/1.x connections that were answered 505.
    pub http1_refused: u64,
    /// Connections that served more than one request.
    pub reused: u64,
    /// Octets read from sockets.
    pub octets_in: u64,
    /// Octets written to sockets.
    pub octets_out: u64,
    /// Streams open now.
    pub active_streams: u64,
    /// What the engines counted, those of closed connections included.
    pub proto: Stats,
}

/// All connections of a worker. A handler gets it by `&mut`, so it may use other connections than its own.
pub struct Conns {
    now: Instant,
}

impl Conns {
    pub(crate) fn new(now: Instant) -> Self {
        Self { now }
    }

    /// A stream of a connection, if both are there. The connection is settled before the loop sleeps.
    pub fn stream(&mut self, conn: ConnId, id: StreamId) -> Option<StreamMut<'_>> {
        self.engine(conn)?.stream(id)
    }

    /// A connection's engine, if it is there and has one. The connection is settled before the loop sleeps.
    pub fn engine(&mut self, conn: ConnId) -> Option<&mut Connection> {
        let _ = conn;
        None
    }

    /// What is known of a connection's transport.
    pub fn info(&self, conn: ConnId) -> Option<&ConnInfo> {
        let _ = conn;
        None
    }

    /// The clock of this turn of the loop.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The worker's counters. Walks over all connections, so don't ask more often than about once a second.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }

    /// The connections that have an engine.
    pub fn iter(&self) -> impl Iterator<Item = ConnId> + '_ {
        std::iter::empty()
    }

    /// Connections open now, those in a handshake included.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
