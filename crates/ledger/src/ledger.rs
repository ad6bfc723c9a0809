//! The totals of a process, and the accounts of its clients.

use std::cmp;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::ClientKey;
use crate::rule::{Limits, Mode, Refusal, Resource, Rule};

/// The number of locks that the accounts are spread over. A lock is taken when a connection opens
/// or closes, and not while a request is handled.
const SHARDS: usize = 64;

type Accounts = HashMap<ClientKey, Weak<Client>>;

/// The totals of what all clients of a process hold, and the clients' accounts.
///
/// Threads share only these numbers, which publish no other data: all orderings are relaxed.
pub struct Ledger {
    limits: Limits,
    used: [AtomicU64; Resource::COUNT],
    refused: [AtomicU64; Resource::COUNT],
    over_share: [AtomicU64; Resource::COUNT],
    hasher: RandomState,
    shards: [Mutex<Accounts>; SHARDS],
    /// A counter that changes with each [`Client::ask_for_room`].
    requests_for_room: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

/// A function that makes another thread look at [`Ledger::requests_for_room`].
type Waker = Box<dyn Fn() + Send + Sync>;

/// How often a resource was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// How often nothing was given.
    pub refused: u64,
    /// How often a client was given more than its share, which only [`Mode::Log`] counts.
    pub over_share: u64,
}

impl Ledger {
    /// Creates a ledger without clients.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            used: Default::default(),
            refused: Default::default(),
            over_share: Default::default(),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            requests_for_room: AtomicU64::new(0),
            wakers: Mutex::default(),
        })
    }

    /// Returns the account of a client. The account lasts as long as anybody holds it. Takes a
    /// lock.
    pub fn client(self: &Arc<Self>, key: ClientKey) -> Arc<Client> {
        let mut shard = self.shard(key);
        if let Some(client) = shard.get(&key).and_then(Weak::upgrade) {
            return client;
        }
        let client = Arc::new(Client {
            key,
            held: Default::default(),
            asked: AtomicU32::new(0),
            ledger: Arc::clone(self),
        });
        shard.insert(key, Arc::downgrade(&client));
        client
    }

    /// Returns the account of what is held for all clients, such as a connection that they share.
    /// Its key is the unspecified address, from which no client connects. Takes a lock.
    pub fn nobody(self: &Arc<Self>) -> Arc<Client> {
        self.client(ClientKey::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)))
    }

    /// Returns the account of the files that all clients share, apart from [`Ledger::nobody`]. No
    /// client connects from its key, 0.0.0.1, either (RFC 1122 §3.2.1.3). Takes a lock.
    pub fn shared_files(self: &Arc<Self>) -> Arc<Client> {
        self.client(ClientKey::from(IpAddr::from([0, 0, 0, 1])))
    }

    /// Returns the limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the rule for `resource`.
    pub fn rule(&self, resource: Resource) -> &Rule {
        self.limits.rule(resource)
    }

    /// Returns how much of `resource` all clients hold.
    pub fn used(&self, resource: Resource) -> u64 {
        self.used[resource.index()].load(Ordering::Relaxed)
    }

    /// Returns whether less than a quarter of `resource` is used. Then a client may have a little
    /// more without a check, unless the resource has a limit per client.
    #[inline]
    pub fn is_ample(&self, resource: Resource) -> bool {
        let capacity = self.rule(resource).capacity;
        capacity == 0 || self.used(resource) < capacity / 4
    }

    /// Returns whether less than an eighth of `resource` is free.
    pub fn is_tight(&self, resource: Resource) -> bool {
        self.rule(resource).is_tight(self.used(resource))
    }

    /// Returns how often `resource` was refused.
    pub fn refusals(&self, resource: Resource) -> Refusals {
        let load = |counters: &[AtomicU64]| counters[resource.index()].load(Ordering::Relaxed);
        Refusals {
            refused: load(&self.refused),
            over_share: load(&self.over_share),
        }
    }

    /// Returns how many clients have an account. Takes all locks, one by one.
    pub fn clients(&self) -> usize {
        let count = |shard| lock(shard).len();
        self.shards.iter().map(count).sum()
    }

    /// Returns the client that holds most of `resource`, or `None` if nobody holds any. Among
    /// equals, returns the client whose key is least. Walks over all accounts, under their locks.
    pub fn largest(&self, resource: Resource) -> Option<Arc<Client>> {
        let mut largest: Option<Arc<Client>> = None;
        let mut others = Vec::new();
        for shard in &self.shards {
            // The last holder of an account takes the lock to remove it, so no account is dropped
            // in here.
            others.extend(lock(shard).values().filter_map(Weak::upgrade));
            for client in others.drain(..) {
                let held = client.held(resource);
                let is_larger = match &largest {
                    None => held > 0,
                    Some(most) => match held.cmp(&most.held(resource)) {
                        cmp::Ordering::Equal => client.key < most.key,
                        order => order.is_gt(),
                    },
                };
                if is_larger {
                    largest = Some(client);
                }
            }
        }
        largest
    }

    /// Returns the clients that hold most of `resource`, at most `most` of them, and how much each
    /// holds, the largest first. Walks over all accounts, under their locks.
    pub fn largest_holders(&self, resource: Resource, most: usize) -> Vec<(ClientKey, u64)> {
        let mut all: Vec<(ClientKey, u64)> = Vec::new();
        let mut others = Vec::new();
        for shard in &self.shards {
            // As above, no account is dropped under the lock.
            others.extend(lock(shard).values().filter_map(Weak::upgrade));
            all.extend(
                others
                    .drain(..)
                    .map(|client| (client.key, client.held(resource))),
            );
            all.retain(|(_, held)| *held > 0);
            all.sort_unstable_by_key(|(key, held)| (cmp::Reverse(*held), *key));
            all.truncate(most);
        }
        all
    }

    /// Returns how many clients hold some of `resource`. Walks over all accounts, under their
    /// locks.
    pub fn holders(&self, resource: Resource) -> usize {
        let mut others = Vec::new();
        let mut count = 0;
        for shard in &self.shards {
            // As above, no account is dropped under the lock.
            others.extend(lock(shard).values().filter_map(Weak::upgrade));
            count += others
                .drain(..)
                .filter(|client| client.held(resource) > 0)
                .count();
        }
        count
    }

    /// Returns a number that changes when a thread has asked the others for room. A thread that
    /// sees it change looks for those of its own clients for which
    /// [`Client::take_request_for_room`] returns `true`, and closes something of theirs.
    pub fn requests_for_room(&self) -> u64 {
        self.requests_for_room.load(Ordering::Relaxed)
    }

    /// Registers `waker`, which is called whenever a thread asks the others for room, on that
    /// thread.
    pub fn add_waker(&self, waker: impl Fn() + Send + Sync + 'static) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.push(Box::new(waker));
    }

    fn shard(&self, key: ClientKey) -> MutexGuard<'_, Accounts> {
        let hash = self.hasher.hash_one(key);
        lock(&self.shards[hash as usize % SHARDS])
    }

    fn note_refusal(&self, resource: Resource) {
        self.refused[resource.index()].fetch_add(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_struct("Ledger");
        map.field("limits", &self.limits);
        map.field("used", &self.used).finish_non_exhaustive()
    }
}

/// A map is consistent after each of its operations, so a lock that another thread's panic poisoned
/// can still be used.
fn lock(shard: &Mutex<Accounts>) -> MutexGuard<'_, Accounts> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The account of one client: how much the client holds of each resource.
///
/// Two threads that take for one client at once may exceed its share by what one of them takes.
/// Capacities and limits per client are exact.
pub struct Client {
    key: ClientKey,
    held: [AtomicU64; Resource::COUNT],
    /// How many threads wait for this client to give something back.
    asked: AtomicU32,
    ledger: Arc<Ledger>,
}

impl Client {
    /// Returns the client's identity.
    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// Returns the ledger that the account is in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Returns how much of `resource` the client holds.
    pub fn held(&self, resource: Resource) -> u64 {
        self.held[resource.index()].load(Ordering::Relaxed)
    }

    /// Checks whether the client could take `more` of `resource` now.
    ///
    /// # Errors
    /// Returns why the client couldn't.
    pub fn check(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let (held, used) = (self.held(resource), self.ledger.used(resource));
        match self.ledger.rule(resource).check(held, more, used) {
            Err(Refusal::Share) if self.ledger.limits.get_mode() != Mode::Enforce => Ok(()),
            result => result,
        }
    }

    /// Takes `more` of `resource`. The caller must give it back; a [`Lease`](crate::Lease) does so
    /// by itself.
    ///
    /// # Errors
    /// Returns why the client can't. Then nothing is taken, and the ledger counts a refusal.
    pub fn take(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let result = self.try_take(resource, more);
        if result.is_err() {
            self.ledger.note_refusal(resource);
        }
        result
    }

    /// Like [`Client::take`], but doesn't count a refusal.
    pub(crate) fn try_take(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let order = Ordering::Relaxed;
        let ledger = &*self.ledger;
        let rule = ledger.rule(resource);
        let own = &self.held[resource.index()];
        // Count the client's own part first, so that all threads together keep to the client's
        // limit.
        let held = own.fetch_add(more, order);
        let wanted = held.saturating_add(more);
        let mut refusal = Refusal::Exhausted;
        let mut is_over_share = false;
        let sum = |used: u64| {
            refusal = match rule.check_total(wanted, more, used) {
                Err(refusal) => refusal,
                Ok(()) => match (rule.check_share(wanted, used), ledger.limits.get_mode()) {
                    (Err(refusal), Mode::Enforce) => refusal,
                    (share, _) => {
                        is_over_share = share.is_err();
                        return used.checked_add(more);
                    }
                },
            };
            None
        };
        let result = match rule.check_limit(wanted) {
            Err(refusal) => Err(refusal),
            Ok(()) => match ledger.used[resource.index()].fetch_update(order, order, sum) {
                Ok(_) => Ok(()),
                Err(_) => Err(refusal),
            },
        };
        if result.is_err() {
            own.fetch_sub(more, order);
        } else if is_over_share && ledger.limits.get_mode() == Mode::Log {
            ledger.over_share[resource.index()].fetch_add(1, order);
        }
        result
    }

    /// Asks all threads that hold something for this client to close one of its idle connections.
    pub fn ask_for_room(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.ledger
            .requests_for_room
            .fetch_add(1, Ordering::Relaxed);
        let wakers = &self.ledger.wakers;
        for waker in wakers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            waker();
        }
    }

    /// Returns whether a thread waits for the client to give something back. The caller then has to
    /// do so: each request is returned once.
    pub fn take_request_for_room(&self) -> bool {
        let one_less = |asked: u32| asked.checked_sub(1);
        let order = Ordering::Relaxed;
        self.asked.fetch_update(order, order, one_less).is_ok()
    }

    /// Takes `more` of `resource` even if the rule is against it. For what exists already.
    pub fn force(&self, resource: Resource, more: u64) {
        self.held[resource.index()].fetch_add(more, Ordering::Relaxed);
        self.ledger.used[resource.index()].fetch_add(more, Ordering::Relaxed);
    }

    /// Gives back `amount` of `resource`, which must have been taken.
    pub fn give(&self, resource: Resource, amount: u64) {
        let before = self.held[resource.index()].fetch_sub(amount, Ordering::Relaxed);
        debug_assert!(before >= amount, "{resource:?}: given back twice");
        self.ledger.used[resource.index()].fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut shard = self.ledger.shard(self.key);
        // The client may be back by now, with another account.
        if shard
            .get(&self.key)
            .is_some_and(|client| client.strong_count() == 0)
        {
            shard.remove(&self.key);
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut account = f.debug_struct("Client");
        account.field("key", &self.key);
        account.field("held", &self.held).finish_non_exhaustive()
    }
}
