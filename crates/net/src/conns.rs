//! All connections of a worker.

use std::net::SocketAddr;
use std::time::Instant;

use slab::Slab;
use tidegate_proto::{Stats, StreamId};

use crate::conn::Conn;
use crate::{Engine, StreamMut};

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
    /// Connections that spoke HTTP/1.1 or 1.0.
    pub http1: u64,
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
    conns: Slab<Box<Conn>>,
    /// Goes into the next `ConnId`.
    generation: u32,
    /// Slots of connections whose engine was touched: what that brought about must go out before the loop sleeps.
    dirty: Vec<u32>,
    now: Instant,
    /// All but `open`, `active_streams` and what the open connections' engines counted.
    pub(crate) totals: Totals,
}

/// For services.
impl Conns {
    /// A stream of a connection, if both are there. The connection is settled before the loop sleeps.
    pub fn stream(&mut self, conn: ConnId, id: StreamId) -> Option<StreamMut<'_>> {
        self.engine(conn)?.stream(id)
    }

    /// A connection's engine, if it is there and has one. The connection is settled before the loop sleeps.
    pub fn engine(&mut self, conn: ConnId) -> Option<&mut Engine> {
        let found = self.conns.get_mut(conn.slot as usize)?;
        if found.id != conn {
            return None;
        }
        if !found.is_dirty {
            found.is_dirty = true;
            self.dirty.push(conn.slot);
        }
        found.engine.as_mut()
    }

    /// What is known of a connection's transport.
    pub fn info(&self, conn: ConnId) -> Option<&ConnInfo> {
        let found = self.conns.get(conn.slot as usize)?;
        (found.id == conn).then_some(&found.info)
    }

    /// The clock of this turn of the loop.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The worker's counters. Walks over all connections, so don't ask more often than about once a second.
    pub fn totals(&self) -> Totals {
        let mut totals = self.totals;
        totals.open = self.conns.len() as u64;
        for engine in self.engines() {
            totals.count(engine.stats());
            totals.active_streams += engine.active_streams() as u64;
        }
        totals
    }

    /// The connections that have an engine.
    pub fn iter(&self) -> impl Iterator<Item = ConnId> + '_ {
        let all = self.conns.iter();
        all.filter(|(_, conn)| conn.engine.is_some())
            .map(|(_, conn)| conn.id)
    }

    /// Connections open now, those in a handshake or about to close included.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.conns
            .iter()
            .filter_map(|(_, conn)| conn.engine.as_ref())
    }
}

/// For the loop.
impl Conns {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            conns: Slab::new(),
            generation: 0,
            dirty: Vec::new(),
            now,
            totals: Totals::default(),
        }
    }

    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
    }

    /// Adds a connection that `make` makes for its place.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnId) -> Conn) -> ConnId {
        let entry = self.conns.vacant_entry();
        self.generation = self.generation.wrapping_add(1);
        // Slots are as many as connections, and of these there are fewer than 2^32: each has a socket.
        let id = ConnId {
            slot: entry.key() as u32,
            generation: self.generation,
        };
        entry.insert(Box::new(make(id)));
        self.totals.accepted += 1;
        id
    }

    pub(crate) fn get(&mut self, slot: u32) -> Option<&mut Conn> {
        self.conns.get_mut(slot as usize).map(|conn| &mut **conn)
    }

    /// A connection and the counters, for what moves octets.
    pub(crate) fn get_and_totals(&mut self, slot: u32) -> Option<(&mut Conn, &mut Totals)> {
        let conn = self.conns.get_mut(slot as usize)?;
        Some((conn, &mut self.totals))
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(conn) = self.conns.try_remove(slot as usize) {
            self.totals.closed += 1;
            if let Some(engine) = &conn.engine {
                self.totals.count(engine.stats());
            }
        }
    }

    /// Puts a connection on the list of those to settle.
    pub(crate) fn mark(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && !conn.is_dirty
        {
            conn.is_dirty = true;
            self.dirty.push(slot);
        }
    }

    /// Takes one connection off the list of those to settle.
    pub(crate) fn next_dirty(&mut self) -> Option<u32> {
        loop {
            let slot = self.dirty.pop()?;
            // It may have been settled or removed since.
            if self.get(slot).is_some_and(|conn| conn.is_dirty) {
                return Some(slot);
            }
        }
    }

    pub(crate) fn slots(&self) -> Vec<u32> {
        self.conns.iter().map(|(_, conn)| conn.id.slot).collect()
    }
}

impl Totals {
    fn count(&mut self, stats: &Stats) {
        self.proto.add(stats);
        self.reused += u64::from(stats.requests > 1);
    }
}
