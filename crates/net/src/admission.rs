//! The shared resources that a connection holds, and the order in which connections make room for a
//! newcomer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_ledger::{Client, ClientKey, Lease, Ledger, Refusal, Resource};

/// Bytes that every connection counts as, whatever it does: its engine, its socket, its places in
/// the lists of the loop.
const CONNECTION: u64 = 5 << 10;

/// Requests that a connection takes of its client's share in advance, while less than a quarter of
/// all is in use. Most requests then touch nothing that workers share. A connection without
/// requests keeps none.
const REQUESTS_AHEAD: u64 = 8;

/// The part of its client's account that an accepted connection holds, until it is dropped.
pub(crate) struct Account {
    /// Always 1: the connection.
    place: Lease,
    /// Always 1: the socket's descriptor.
    descriptor: Lease,
    /// The memory that the connection holds without an engine.
    memory: Lease,
    /// The requests in progress, if they are limited and the service doesn't count them.
    requests: Option<Lease>,
    /// When the last request in progress ended.
    pub(crate) idle_since: Instant,
    /// The number of requests made until then.
    pub(crate) requests_seen: u64,
    /// The connection's entry in [`IdleQueue`].
    pub(crate) entry: Entry,
}

impl Account {
    /// Takes what a connection needs to be accepted.
    ///
    /// # Errors
    /// Returns why its client may not have it.
    pub(crate) fn open(client: Arc<Client>, now: Instant) -> Result<Self, Refusal> {
        let mut account = Self::empty(client, now);
        account.place.set(1)?;
        account.memory.set(CONNECTION)?;
        account.descriptor.set(1)?;
        Ok(account)
    }

    /// Takes what a connection needs from a proxy that will name its client. Until then it has no
    /// share.
    pub(crate) fn open_for_proxy(proxy: Arc<Client>, now: Instant) -> Self {
        let mut account = Self::empty(proxy, now);
        account.place.force(1);
        account.memory.force(CONNECTION);
        account.descriptor.force(1);
        account
    }

    fn empty(client: Arc<Client>, now: Instant) -> Self {
        Self {
            idle_since: now,
            requests_seen: 0,
            entry: Entry {
                client: client.key(),
                standing: Standing::Silent,
                since: Duration::ZERO,
                slot: u32::MAX,
            },
            requests: (client.ledger().rule(Resource::Requests).is_limited())
                .then(|| Lease::new(Arc::clone(&client), Resource::Requests)),
            place: Lease::new(Arc::clone(&client), Resource::Connections),
            memory: Lease::new(Arc::clone(&client), Resource::Bytes),
            descriptor: Lease::new(client, Resource::Descriptors),
        }
    }

    /// Returns the client whose account this is.
    pub(crate) fn client(&self) -> &Arc<Client> {
        self.place.client()
    }

    /// Moves the connection to another client's account.
    pub(crate) fn transfer(&mut self, client: &Arc<Client>) {
        self.place.transfer(Arc::clone(client));
        self.descriptor.transfer(Arc::clone(client));
        self.memory.transfer(Arc::clone(client));
        if let Some(requests) = &mut self.requests {
            requests.transfer(Arc::clone(client));
        }
    }

    /// Sets the `bytes` that a connection without an engine holds, for its handshake. An engine
    /// updates its memory itself.
    ///
    /// # Errors
    /// Returns why the client may not have as much.
    pub(crate) fn set_handshake(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.memory.set(CONNECTION + bytes as u64)
    }

    /// Leaves counting the requests in progress to the service.
    pub(crate) fn leave_requests(&mut self) {
        self.requests = None;
    }

    /// Sets the number of requests in progress. So code that ends one needn't say so.
    ///
    /// # Errors
    /// Returns why the client may not have as many.
    pub(crate) fn set_requests(&mut self, active: usize) -> Result<(), Refusal> {
        let Some(requests) = &mut self.requests else {
            return Ok(());
        };
        let (ledger, need) = (requests.client().ledger(), active as u64);
        let is_limited = ledger.rule(Resource::Requests).per_client != 0;
        if !is_limited && ledger.is_ample(Resource::Requests) {
            requests.cover(need, REQUESTS_AHEAD)
        } else {
            requests.set(need)
        }
    }
}

/// The shared resources that a dialled connection holds. Nothing is refused here, because whoever
/// dials has its own limits.
pub(crate) struct DialAccount {
    /// 1 until the connection is established.
    dial: Lease,
    /// Always 1: the socket's descriptor.
    _descriptor: Lease,
}

impl DialAccount {
    /// Takes what a dialled connection needs. Clients share such connections, so they belong to no
    /// client.
    pub(crate) fn open(ledger: &Arc<Ledger>) -> Self {
        let nobody = ledger.nobody();
        let one = |resource| {
            let mut lease = Lease::new(Arc::clone(&nobody), resource);
            lease.force(1);
            lease
        };
        Self {
            dial: one(Resource::Dials),
            _descriptor: one(Resource::Descriptors),
        }
    }

    /// Notes that the connection is established.
    pub(crate) fn established(&mut self) {
        // Returning resources is never refused.
        let _ = self.dial.set(0);
    }
}

/// How much would be lost with a connection. The least comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// The connection has made no request yet, or is closing.
    Silent,
    /// The connection has made requests, and none is in progress.
    Idle,
    /// A request is in progress, or data is in flight.
    Busy,
}

/// A connection in [`IdleQueue`]. Its standing may be out of date, because most changes are only
/// noted when needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) client: ClientKey,
    pub(crate) standing: Standing,
    /// The time since the loop's start.
    pub(crate) since: Duration,
    pub(crate) slot: u32,
}

/// The connections that may make room for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Only the same client's, because it has its share.
    Own,
    /// Also those of clients that have more connections.
    Larger,
}

impl From<Refusal> for Whose {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exhausted => Self::Larger,
            Refusal::Share | Refusal::ClientLimit => Self::Own,
        }
    }
}

/// The accepted connections of a worker by client, and in each client those with the least to lose
/// first.
pub(crate) struct IdleQueue {
    began_at: Instant,
    entries: BTreeSet<Entry>,
    counts: HashMap<ClientKey, u32>,
    by_count: BTreeSet<(u32, ClientKey)>,
}

impl IdleQueue {
    /// Makes a queue without connections. No later time is earlier than `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began_at: now,
            entries: BTreeSet::new(),
            counts: HashMap::new(),
            by_count: BTreeSet::new(),
        }
    }

    /// Adds a connection.
    pub(crate) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry);
        self.count(entry.client, 1);
    }

    /// Removes a connection.
    pub(crate) fn remove(&mut self, entry: Entry) {
        self.entries.remove(&entry);
        self.count(entry.client, -1);
    }

    /// Changes the standing or the client of a connection.
    pub(crate) fn replace(&mut self, before: Entry, after: Entry) {
        self.entries.remove(&before);
        self.entries.insert(after);
        if before.client != after.client {
            self.count(before.client, -1);
            self.count(after.client, 1);
        }
    }

    /// Returns the first connection of a client.
    pub(crate) fn first_of(&self, client: ClientKey) -> Option<Entry> {
        self.all_of(client).next()
    }

    /// Returns all connections of a client.
    pub(crate) fn all_of(&self, client: ClientKey) -> impl Iterator<Item = Entry> + '_ {
        let from = Entry {
            client,
            standing: Standing::Silent,
            since: Duration::ZERO,
            slot: 0,
        };
        let entries = self.entries.range(from..);
        entries
            .take_while(move |entry| entry.client == client)
            .copied()
    }

    /// Converts a time to that of entries.
    pub(crate) fn at(&self, time: Instant) -> Duration {
        time.saturating_duration_since(self.began_at)
    }

    /// Returns the clients with the most connections here, the largest first.
    pub(crate) fn largest(&self) -> impl Iterator<Item = (u32, ClientKey)> {
        self.by_count.iter().rev().copied()
    }

    /// Returns the number of connections that a client has here.
    pub(crate) fn of(&self, client: ClientKey) -> u32 {
        self.counts.get(&client).copied().unwrap_or(0)
    }

    fn count(&mut self, client: ClientKey, change: i32) {
        let before = self.of(client);
        let after = before.saturating_add_signed(change);
        self.by_count.remove(&(before, client));
        if after == 0 {
            self.counts.remove(&client);
        } else {
            self.counts.insert(client, after);
            self.by_count.insert((after, client));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn entry(client: u32, standing: Standing, since: u64, slot: u32) -> Entry {
        Entry {
            client: ClientKey::from(IpAddr::from(Ipv4Addr::from(client))),
            standing,
            since: Duration::from_secs(since),
            slot,
        }
    }

    #[test]
    fn the_least_to_lose_of_who_has_most_comes_first() {
        let mut queue = IdleQueue::new(Instant::now());
        let lone = entry(1, Standing::Silent, 0, 0);
        let all = [
            entry(2, Standing::Busy, 1, 1),
            entry(2, Standing::Idle, 2, 2),
            entry(2, Standing::Silent, 4, 3),
            entry(2, Standing::Silent, 3, 4),
        ];
        queue.insert(lone);
        for entry in all {
            queue.insert(entry);
        }
        let many = all[0].client;
        let largest: Vec<_> = queue.largest().collect();
        assert_eq!(largest, [(4, many), (1, lone.client)]);
        for expected in [4, 3, 2, 1] {
            let first = queue.first_of(many).unwrap();
            assert_eq!(first.slot, expected);
            queue.remove(first);
        }
        assert_eq!((queue.first_of(many), queue.of(many)), (None, 0));
        assert_eq!(queue.first_of(lone.client), Some(lone));
    }

    #[test]
    fn who_turns_out_to_be_another_counts_there() {
        let mut queue = IdleQueue::new(Instant::now());
        let before = entry(1, Standing::Silent, 0, 0);
        let after = entry(2, Standing::Silent, 0, 0);
        queue.insert(before);
        queue.replace(before, after);
        assert_eq!((queue.of(before.client), queue.of(after.client)), (0, 1));
        queue.remove(after);
        assert_eq!(queue.largest().count(), 0);
    }
}
