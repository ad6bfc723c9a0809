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

/// Locks that the accounts are spread over. They are taken when a connection comes or goes, and not on the way of a request.
const SHARDS: usize = 64;

type Accounts = HashMap<ClientKey, Weak<Client>>;

/// What all clients of a process hold, and their accounts.
///
/// Only numbers are shared, and nothing else is published by them: all orderings are relaxed.
pub struct Ledger {
    limits: Limits,
    used: [AtomicU64; Resource::COUNT],
    refused: [AtomicU64; Resource::COUNT],
    over_share: [AtomicU64; Resource::COUNT],
    hasher: RandomState,
    shards: [Mutex<Accounts>; SHARDS],
    /// Changes with each [`Client::ask_for_room`].
    requests_for_room: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

/// How a thread that holds something is made to look for [`Ledger::requests_for_room`].
type Waker = Box<dyn Fn() + Send + Sync>;

/// How often a resource was refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// Nothing was given.
    pub refused: u64,
    /// [`Mode::Log`]: more was given than the client's share.
    pub over_share: u64,
}

impl Ledger {
    /// A ledger without clients.
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

    /// The account of a client. It lasts as long as anybody has it. Takes a lock.
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

    /// The account of what is held for all clients, such as a connection that they share. Its key is the unspecified address, from
    /// which nobody comes. Takes a lock.
    pub fn nobody(self: &Arc<Self>) -> Arc<Client> {
        self.client(ClientKey::from(IpAddr::from(Ipv4Addr::UNSPECIFIED)))
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The rule for `resource`.
    pub fn rule(&self, resource: Resource) -> &Rule {
        self.limits.rule(resource)
    }

    /// How much of `resource` all clients hold.
    pub fn used(&self, resource: Resource) -> u64 {
        self.used[resource.index()].load(Ordering::Relaxed)
    }

    /// Whether less than a quarter of `resource` is used, so that whoever wants a little more may have it, unless it has a limit of
    /// its own.
    #[inline]
    pub fn is_ample(&self, resource: Resource) -> bool {
        let capacity = self.rule(resource).capacity;
        capacity == 0 || self.used(resource) < capacity / 4
    }

    /// Whether less than an eighth of `resource` is free.
    pub fn is_tight(&self, resource: Resource) -> bool {
        self.rule(resource).is_tight(self.used(resource))
    }

    /// How often `resource` was refused.
    pub fn refusals(&self, resource: Resource) -> Refusals {
        let load = |counters: &[AtomicU64]| counters[resource.index()].load(Ordering::Relaxed);
        Refusals {
            refused: load(&self.refused),
            over_share: load(&self.over_share),
        }
    }

    /// How many clients have an account. Takes all locks, one by one.
    pub fn clients(&self) -> usize {
        let count = |shard| lock(shard).len();
        self.shards.iter().map(count).sum()
    }

    /// The client that holds most of `resource`, if anybody holds some; of several with the same the one whose key is least. Walks over
    /// all accounts, under their locks.
    pub fn largest(&self, resource: Resource) -> Option<Arc<Client>> {
        let mut largest: Option<Arc<Client>> = None;
        let mut others = Vec::new();
        for shard in &self.shards {
            // The last one to have an account takes the lock to remove it, so none is dropped in here.
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

    /// How many clients hold some of `resource`. Walks over all accounts, under their locks.
    pub fn holders(&self, resource: Resource) -> usize {
        let mut others = Vec::new();
        let mut count = 0;
        for shard in &self.shards {
            // As above, none is dropped under the lock.
            others.extend(lock(shard).values().filter_map(Weak::upgrade));
            count += others
                .drain(..)
                .filter(|client| client.held(resource) > 0)
                .count();
        }
        count
    }

    /// A number that changes when a thread has asked others for room. One that sees it change looks for clients of its own of which
    /// [`Client::take_request_for_room`] says that they are to give something back.
    pub fn requests_for_room(&self) -> u64 {
        self.requests_for_room.load(Ordering::Relaxed)
    }

    /// Calls this whenever a thread asks others for room, on that thread.
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

/// A map is whole after each of its operations, so a panic of another thread does it no harm.
fn lock(shard: &Mutex<Accounts>) -> MutexGuard<'_, Accounts> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The account of one client: what it holds of each resource.
///
/// Two threads that take for one client at once may go over its share by what one of them takes. Capacities and limits for each
/// client are exact.
pub struct Client {
    key: ClientKey,
    held: [AtomicU64; Resource::COUNT],
    /// How many threads wait for it to give something back.
    asked: AtomicU32,
    ledger: Arc<Ledger>,
}

impl Client {
    /// The client's identity.
    pub fn key(&self) -> ClientKey {
        self.key
    }

    /// The ledger that the account is in.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// How much of `resource` it holds.
    pub fn held(&self, resource: Resource) -> u64 {
        self.held[resource.index()].load(Ordering::Relaxed)
    }

    /// Whether it could take `more` of `resource` now.
    ///
    /// # Errors
    /// Why it couldn't.
    pub fn check(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let (held, used) = (self.held(resource), self.ledger.used(resource));
        match self.ledger.rule(resource).check(held, more, used) {
            Err(Refusal::Share) if self.ledger.limits.get_mode() != Mode::Enforce => Ok(()),
            result => result,
        }
    }

    /// Takes `more` of `resource`. What is taken must be given back; a [`Lease`](crate::Lease) does so by itself.
    ///
    /// # Errors
    /// Why it can't. Nothing is taken then, and the ledger counts a refusal.
    pub fn take(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let result = self.try_take(resource, more);
        if result.is_err() {
            self.ledger.note_refusal(resource);
        }
        result
    }

    /// The same, and a refusal isn't counted.
    pub(crate) fn try_take(&self, resource: Resource, more: u64) -> Result<(), Refusal> {
        let order = Ordering::Relaxed;
        let ledger = &*self.ledger;
        let rule = ledger.rule(resource);
        let own = &self.held[resource.index()];
        // First its own, so that all its threads together keep to the client's limit.
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

    /// Whether somebody waits for the client to give something back; who sees it does so.
    pub fn take_request_for_room(&self) -> bool {
        let one_less = |asked: u32| asked.checked_sub(1);
        let order = Ordering::Relaxed;
        self.asked.fetch_update(order, order, one_less).is_ok()
    }

    /// Takes `more` of `resource` though the rule may be against it, for what is there already.
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
        // It may have come back, with another account.
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
