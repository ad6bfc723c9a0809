//! All connections of a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Token;
use slab::Slab;
use tidegate_http::{GuardPeaks, StreamId};
use tidegate_ledger::{Client, ClientKey, Ledger, Resource};

use crate::admission::{DialAccount, Entry, IdleQueue, Standing, Whose};
use crate::conn::Conn;
use crate::network::Network;
use crate::opening::Dialling;
use crate::tls_session::TlsSession;
use crate::transport::Transport;
use crate::turns::{DIAL, TOUCH};
use crate::{ConnId, ConnInfo, Dial, DialSecurity, Engine, Origin, StreamMut, Totals};

/// The most clients whose connections are considered to make room, and the most connections of
/// each. These bound the work for one newcomer; the next one continues, because the results are
/// noted.
const LARGEST_ASKED: usize = 4;
const CONNECTIONS_ASKED: usize = 64;

/// All connections of a worker. A handler has a `&mut` to it, so it may use other connections than
/// its own.
pub struct Conns {
    conns: Slab<Box<Conn>>,
    /// The generation of the last `ConnId`.
    generation: u32,
    /// Slots of connections whose engine was used. They must be settled before the loop sleeps.
    dirty: Vec<u32>,
    now: Instant,
    /// The number of accepted connections.
    accepted: usize,
    /// The order in which accepted connections make room.
    queue: IdleQueue,
    /// Whether the loop ends with this turn.
    pub(crate) is_over: bool,
    network: Network,
    ledger: Arc<Ledger>,
    /// The system calls that the service has caused since the last [`Conns::take_work`], in events
    /// that take as long.
    work: usize,
    /// The counters, without those that count open connections and their engines.
    pub(crate) totals: Totals,
}

/// Methods for services.
impl Conns {
    /// Returns a stream of a connection, if both exist. The connection is settled before the loop
    /// sleeps.
    #[inline]
    pub fn stream(&mut self, conn: ConnId, id: StreamId) -> Option<StreamMut<'_>> {
        self.engine(conn)?.stream(id)
    }

    /// Returns a connection's engine, if it exists. The connection is settled before the loop
    /// sleeps.
    pub fn engine(&mut self, conn: ConnId) -> Option<&mut Engine> {
        let found = self.conns.get_mut(conn.slot as usize)?;
        if found.id != conn {
            return None;
        }
        if !found.is_dirty {
            found.is_dirty = true;
            self.dirty.push(conn.slot);
            self.work += TOUCH;
        }
        let engine = found.engine.as_mut()?;
        engine.set_time(self.now);
        Some(engine)
    }

    /// Returns a connection's engine to look at. Causes no work.
    pub fn engine_ref(&self, conn: ConnId) -> Option<&Engine> {
        let found = self.conns.get(conn.slot as usize)?;
        (found.id == conn).then_some(found.engine.as_ref()?)
    }

    /// Opens a connection. [`Service::opened`](crate::Service::opened) follows when it is ready for
    /// requests, or [`Service::closed`](crate::Service::closed) if it couldn't be established.
    ///
    /// # Errors
    /// Returns the system's error, for example that there is no file descriptor or no route.
    /// [`io::ErrorKind::Interrupted`] if the loop ends.
    pub fn dial(&mut self, dial: Dial) -> io::Result<ConnId> {
        if self.is_over {
            let text = "the worker is stopped";
            return Err(io::Error::new(io::ErrorKind::Interrupted, text));
        }
        let Dial {
            addr,
            security,
            engine,
            timeout,
            preamble,
        } = dial;
        let (only, tls) = match security {
            DialSecurity::Plain(protocol) => (Some(protocol), None),
            DialSecurity::Tls { config, name, only } => {
                let alpn = DialSecurity::alpn(only);
                let session = TlsSession::client(&config, name, alpn, self.now);
                (only, Some(Box::new(session.map_err(io::Error::other)?)))
            }
        };
        let token = Token(self.conns.vacant_key());
        let socket = self.network.connect(addr, token)?;
        let info = ConnInfo {
            origin: Origin::Dialled,
            peer: addr,
            local: SocketAddr::new(addr.ip(), 0),
            via: None,
            tls: None,
            began_at: self.now,
        };
        let dialling = Dialling {
            engine,
            only,
            preamble,
        };
        let deadline = (!timeout.is_zero()).then(|| self.now + timeout);
        let transport = Transport { socket, tls };
        let account = DialAccount::open(&self.ledger);
        let id = self.insert(|id| Conn::dialled(id, info, transport, dialling, account, deadline));
        self.totals.dialled += 1;
        self.work += DIAL;
        // Settling enters the deadline in the timers.
        self.mark(id.slot);
        Ok(id)
    }

    /// Shows the connection's bytes to [`Service::trace`](crate::Service::trace) from now on. In
    /// [`Service::opened`](crate::Service::opened) this means all bytes of HTTP.
    pub fn trace(&mut self, conn: ConnId) {
        if let Some(found) = self.conns.get_mut(conn.slot as usize)
            && found.id == conn
        {
            found.is_traced = true;
        }
    }

    /// Returns the facts about a connection's transport.
    pub fn info(&self, conn: ConnId) -> Option<&ConnInfo> {
        let found = self.conns.get(conn.slot as usize)?;
        (found.id == conn).then_some(&found.info)
    }

    /// Whether the TLS handshake of a connection isn't done. What it has sent so far is early data:
    /// somebody may have sent a copy of it (RFC 8446 §8).
    pub fn is_early(&self, conn: ConnId) -> bool {
        let found = self.conns.get(conn.slot as usize);
        found.is_some_and(|found| found.id == conn && found.is_handshaking())
    }

    /// Returns the client whose account an accepted connection is in.
    pub fn client(&self, conn: ConnId) -> Option<&Arc<Client>> {
        let found = self.conns.get(conn.slot as usize)?;
        let account = found.account.as_ref().filter(|_| found.id == conn)?;
        Some(account.client())
    }

    /// Whether the peer of a connection has sent bytes, or its end, that aren't read yet. A request
    /// on an HTTP/1.1 connection could then be lost, or get the answer to another.
    pub fn has_unread(&self, conn: ConnId) -> bool {
        let found = self.conns.get(conn.slot as usize);
        found.is_some_and(|found| found.id == conn && found.has_unread())
    }

    /// Returns the bytes that wait for a connection's engine or its socket: input that the engine
    /// hasn't taken, and output that the socket hasn't taken. Bodies that the service has handed
    /// over whole don't count. The sum is bounded by a few multiples of 64 KiB, whatever the peer
    /// sends and however slowly it reads.
    pub fn buffered(&self, conn: ConnId) -> Option<usize> {
        let found = self.conns.get(conn.slot as usize)?;
        (found.id == conn).then(|| found.buffered())
    }

    /// Returns the kernel's estimate of a connection's round-trip time, if it has one. This is a
    /// system call.
    pub fn round_trip(&self, conn: ConnId) -> Option<Duration> {
        let found = self.conns.get(conn.slot as usize)?;
        found
            .transport
            .socket
            .round_trip()
            .filter(|_| found.id == conn)
    }

    /// Whether the socket of a connection is full, so that output waits for its peer.
    pub fn is_blocked(&self, conn: ConnId) -> bool {
        let found = self.conns.get(conn.slot as usize);
        found.is_some_and(|found| found.id == conn && found.outgoing.is_blocked())
    }

    /// Returns the time of this turn of the loop.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Returns the worker's counters. This visits all connections, so call it no more than about
    /// once a second.
    pub fn totals(&self) -> Totals {
        let mut totals = self.totals;
        totals.open = self.accepted as u64;
        totals.dialled_open = (self.conns.len() - self.accepted) as u64;
        for (_, conn) in &self.conns {
            if let Some(engine) = &conn.engine {
                totals.count(conn.info.origin, &engine.stats());
                if conn.info.origin == Origin::Accepted {
                    let active = engine.active_streams();
                    totals.active_streams += active as u64;
                    totals.idle += u64::from(active == 0);
                    totals.stalled_streams += engine.stalled_streams() as u64;
                    totals.guards.raise(&engine.guard_peaks());
                }
            }
        }
        totals
    }

    /// Forgets how near the guards' limits connections were that have closed.
    pub fn take_peaks(&mut self) {
        self.totals.guards = GuardPeaks::default();
    }

    /// Returns the connections that have an engine.
    pub fn iter(&self) -> impl Iterator<Item = ConnId> + '_ {
        let all = self.conns.iter();
        all.filter(|(_, conn)| conn.engine.is_some())
            .map(|(_, conn)| conn.id)
    }

    /// Returns the number of connections, including those in a handshake or about to close.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether no connection is open.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }
}

/// Methods for the loop.
impl Conns {
    pub(crate) fn new(network: Network, ledger: Arc<Ledger>, now: Instant) -> Self {
        Self {
            conns: Slab::new(),
            generation: 0,
            dirty: Vec::new(),
            now,
            accepted: 0,
            queue: IdleQueue::new(now),
            is_over: false,
            network,
            ledger,
            work: 0,
            totals: Totals::default(),
        }
    }

    pub(crate) fn begin_turn(&mut self, now: Instant) {
        self.now = now;
    }

    /// Adds a connection, which `make` makes from its id.
    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnId) -> Conn) -> ConnId {
        let entry = self.conns.vacant_entry();
        self.generation = self.generation.wrapping_add(1);
        // There are as many slots as connections, fewer than 2^32, because each has a socket.
        let id = ConnId {
            slot: entry.key() as u32,
            generation: self.generation,
        };
        let conn = entry.insert(Box::new(make(id)));
        if conn.info.origin == Origin::Accepted {
            self.accepted += 1;
        }
        if let Some(account) = &mut conn.account {
            account.entry.slot = id.slot;
            account.entry.since = self.queue.at(self.now);
            self.queue.insert(account.entry);
        }
        id
    }

    /// Returns the work of the system calls that the service has caused since the last call, in
    /// events that take as long.
    pub(crate) fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    /// Registers an accepted connection for events.
    pub(crate) fn register(&mut self, slot: u32) -> io::Result<()> {
        match self.conns.get_mut(slot as usize) {
            Some(conn) => {
                let token = Token(slot as usize);
                self.network.register(&mut conn.transport.socket, token)
            }
            None => Ok(()),
        }
    }

    /// Returns the number of accepted connections.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    /// Whether dialled connections still have something to do.
    pub(crate) fn are_dialled_busy(&self) -> bool {
        let mut dialled = self.conns.iter();
        dialled.any(|(_, conn)| {
            let is_active = |engine: &Engine| engine.active_streams() > 0;
            conn.info.origin == Origin::Dialled
                && (conn.has_unwritten() || conn.engine.as_ref().is_some_and(is_active))
        })
    }

    /// Returns the network that connections are opened on.
    pub(crate) fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    pub(crate) fn get(&mut self, slot: u32) -> Option<&mut Conn> {
        self.conns.get_mut(slot as usize).map(|conn| &mut **conn)
    }

    /// Returns a connection and the counters, for code that moves bytes.
    pub(crate) fn get_and_totals(&mut self, slot: u32) -> Option<(&mut Conn, &mut Totals)> {
        let conn = self.conns.get_mut(slot as usize)?;
        Some((conn, &mut self.totals))
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        if let Some(conn) = self.conns.try_remove(slot as usize) {
            self.totals.closed += 1;
            if conn.info.origin == Origin::Accepted {
                self.accepted -= 1;
            }
            if let Some(account) = &conn.account {
                self.queue.remove(account.entry);
            }
            if let Some(engine) = &conn.engine {
                self.totals.count(conn.info.origin, &engine.stats());
                if conn.info.origin == Origin::Accepted {
                    self.totals.guards.raise(&engine.guard_peaks());
                }
            }
        }
    }

    /// Returns the client whose account a connection is in.
    pub(crate) fn client_of(&mut self, slot: u32) -> Option<ClientKey> {
        let account = self.get(slot)?.account.as_ref()?;
        Some(account.client().key())
    }

    /// Moves a connection to another client's account.
    pub(crate) fn transfer(&mut self, slot: u32, client: &Arc<Client>) {
        if let Some(conn) = self.conns.get_mut(slot as usize)
            && let Some(account) = &mut conn.account
        {
            account.transfer(client);
            let before = account.entry;
            account.entry.client = client.key();
            self.queue.replace(before, account.entry);
        }
    }

    /// Returns the connection that makes room for one of `newcomer`, or of an unknown client. The
    /// client with the most connections here comes first; of its connections, one that never made a
    /// request, the oldest first, or else the one idle longest. `None` if all are busy, or nobody
    /// has more than the newcomer.
    pub(crate) fn least_to_lose(
        &mut self,
        newcomer: Option<ClientKey>,
        whose: Whose,
    ) -> Option<u32> {
        let candidates: Vec<ClientKey> = match whose {
            Whose::Own => newcomer.into_iter().collect(),
            Whose::Larger => {
                // Count all workers: a client with many connections elsewhere isn't smaller than a
                // newcomer with one here.
                let held = |client: &Client| client.held(Resource::Connections);
                let own = newcomer.map_or(0, |newcomer| held(&self.ledger.client(newcomer)));
                let largest = self.largest().into_iter();
                let larger = largest.filter(|client| held(client) > own);
                larger.map(|client| client.key()).chain(newcomer).collect()
            }
        };
        candidates
            .into_iter()
            .find_map(|client| self.least_to_lose_of(client))
    }

    /// Returns the clients that have the most connections here.
    pub(crate) fn largest(&mut self) -> Vec<Arc<Client>> {
        let keys = self.queue.largest().take(LARGEST_ASKED);
        let first = keys.filter_map(|(_, client)| self.queue.first_of(client));
        let slots: Vec<u32> = first.map(|entry| entry.slot).collect();
        let account = |slot| {
            self.get(slot)?
                .account
                .as_ref()
                .map(|a| Arc::clone(a.client()))
        };
        slots.into_iter().filter_map(account).collect()
    }

    /// Returns the connections of a client on this worker.
    pub(crate) fn of(&self, client: ClientKey) -> Vec<ConnId> {
        let slots = self.queue.all_of(client).map(|entry| entry.slot as usize);
        let conns = slots.filter_map(|slot| self.conns.get(slot));
        conns.map(|conn| conn.id).collect()
    }

    /// Whether a client has connections on other workers.
    pub(crate) fn has_elsewhere(&self, client: &Client) -> bool {
        client.held(Resource::Connections) > u64::from(self.queue.of(client.key()))
    }

    fn least_to_lose_of(&mut self, client: ClientKey) -> Option<u32> {
        let now = self.queue.at(self.now);
        for _ in 0..CONNECTIONS_ASKED {
            let before = self.queue.first_of(client)?;
            if before.standing == Standing::Busy && before.since == now {
                // All of them were examined in this turn.
                return None;
            }
            let conn = self.conns.get_mut(before.slot as usize)?;
            let (standing, since) = conn.standing(self.now);
            let after = Entry {
                standing,
                since: self.queue.at(since),
                ..before
            };
            if after == before {
                return Some(before.slot);
            }
            if let Some(account) = &mut conn.account {
                account.entry = after;
            }
            self.queue.replace(before, after);
        }
        None
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

    /// Takes a connection off the list of those to settle.
    pub(crate) fn next_dirty(&mut self) -> Option<u32> {
        loop {
            let slot = self.dirty.pop()?;
            // The connection may have been settled or removed meanwhile.
            if self.get(slot).is_some_and(|conn| conn.is_dirty) {
                return Some(slot);
            }
        }
    }

    pub(crate) fn slots(&self) -> Vec<u32> {
        self.conns.iter().map(|(_, conn)| conn.id.slot).collect()
    }
}
