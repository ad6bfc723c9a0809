//! One budget of memory for all connections of a process: what is held, and what is lent.

use std::sync::Arc;

use tidegate_ledger::{Client, ClientKey, Lease, Ledger, Limits, Resource, Rule};

/// Leases change by about this much, so that the shared counters are touched seldom.
const BATCH: u64 = 4 << 10;

/// What one round of input can bring: without room for it, nothing is read.
const INPUT: u64 = 64 << 10;

/// What of the budget may be lent, in per cent: credit beyond what the protocol lets every client send.
const LENT: u64 = 70;

/// A part of the budget that is only for clients that hold little.
const RESERVE: u64 = 16;

/// How much a client may hold whatever others do, while there is any: a request or two with small bodies.
const MOST_FLOOR: u64 = 256 << 10;
const LEAST_FLOOR: u64 = 128 << 10;

/// How far such clients may go over the budget together, and at most half of it: what others hold can be more than the budget by
/// what was there already when it was counted, and a newcomer is to find room all the same.
const OVERDRAFT: u64 = 16 << 20;

/// How much memory peers may make us use, all connections together that share the budget
/// ([`Config::memory_budget`](crate::Config::memory_budget)).
///
/// Two things are counted, for each client and in all, by a [`Ledger`]:
///
/// - What is *held*: heads of requests in progress, bodies that were received and not consumed, what waits to be sent, and
///   something for each connection and stream. When there is no room for more, or the client has its share, its connections
///   aren't read on, and its requests are refused: with REFUSED_STREAM, which says that nothing of them was processed, so that
///   the client may try again (RFC 9113 §8.7), or with 503.
/// - What is *lent*: the windows of bodies beyond the 65,535 bytes that RFC 9113 §6.9.2 lets every client send. They grow only
///   while there is room for them, and as long as it is used; a promise never makes anybody be refused.
pub struct MemoryBudget {
    ledger: Arc<Ledger>,
    /// Whose account it is where no client was named.
    nobody: Arc<Client>,
}

impl MemoryBudget {
    /// A budget of `bytes`, with a ledger of its own.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::of(&Ledger::new(Self::limits(Limits::none(), bytes)))
    }

    /// The budget that a ledger has, whose limits are from [`MemoryBudget::limits`].
    pub fn of(ledger: &Arc<Ledger>) -> Arc<Self> {
        let nobody = std::net::IpAddr::from(std::net::Ipv4Addr::UNSPECIFIED);
        Arc::new(Self {
            ledger: Arc::clone(ledger),
            nobody: ledger.client(ClientKey::from(nobody)),
        })
    }

    /// These limits with those of a budget of `bytes`.
    pub fn limits(limits: Limits, bytes: u64) -> Limits {
        let floor = (bytes / RESERVE).clamp(LEAST_FLOOR, MOST_FLOOR);
        let lent = (u128::from(bytes) * u128::from(LENT) / 100) as u64;
        limits
            .with(
                Resource::Bytes,
                Rule::new(bytes)
                    .reserve(bytes / RESERVE, floor)
                    .overdraft(OVERDRAFT.min(bytes / 2)),
            )
            .with(Resource::Credit, Rule::new(lent))
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.ledger.rule(Resource::Bytes).capacity
    }

    /// Bytes that may be held in all: the budget, and what it may be overdrawn by.
    pub fn most(&self) -> u64 {
        let rule = self.ledger.rule(Resource::Bytes);
        rule.capacity.saturating_add(rule.overdraft)
    }

    /// Bytes that connections hold now, a bit more than they do: leases change in batches.
    pub fn held(&self) -> u64 {
        self.ledger.used(Resource::Bytes)
    }

    /// Bytes of windows beyond what everybody may send.
    pub fn lent(&self) -> u64 {
        self.ledger.used(Resource::Credit)
    }
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut budget = f.debug_struct("MemoryBudget");
        budget.field("size", &self.size());
        budget.field("held", &self.held());
        budget.field("lent", &self.lent()).finish()
    }
}

/// What one connection holds and lends of a [`MemoryBudget`], or of none; given back when it is dropped. For engines: that of
/// HTTP/2 has one, and so has that of HTTP/1.1.
#[derive(Debug, Default)]
pub struct Holding {
    leases: Option<Box<Leases>>,
    /// What the owner of the engine holds for the connection.
    outside: u64,
}

#[derive(Debug)]
struct Leases {
    budget: Arc<MemoryBudget>,
    held: Lease,
    lent: Lease,
    /// What is really held, by the last word.
    need: u64,
}

impl Holding {
    /// Nothing is held yet.
    pub fn new(budget: Option<&Arc<MemoryBudget>>) -> Self {
        let leases = budget.map(|budget| {
            Box::new(Leases {
                budget: Arc::clone(budget),
                held: Lease::new(Arc::clone(&budget.nobody), Resource::Bytes),
                lent: Lease::new(Arc::clone(&budget.nobody), Resource::Credit),
                need: 0,
            })
        });
        Self { leases, outside: 0 }
    }

    /// From now on it is this client's. One of another ledger than the budget's is none.
    pub fn bill(&mut self, client: &Arc<Client>) {
        if let Some(leases) = &mut self.leases
            && Arc::ptr_eq(client.ledger(), &leases.budget.ledger)
        {
            leases.held.transfer(Arc::clone(client));
            leases.lent.transfer(Arc::clone(client));
        }
    }

    /// Notes how many bytes are held for the connection outside of its engine: by its transport, say.
    pub fn note_outside(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.outside, bytes);
        if let Some(leases) = &mut self.leases
            && bytes != before
        {
            leases.need = (leases.need + bytes).saturating_sub(before);
            leases.held.hold(leases.need, BATCH);
        }
    }

    /// What was noted last.
    pub fn outside(&self) -> u64 {
        self.outside
    }

    /// So many bytes are held now, in all.
    #[inline]
    pub fn settle(&mut self, bytes: u64) {
        if let Some(leases) = &mut self.leases {
            leases.need = bytes;
            leases.held.hold(bytes, BATCH);
        }
    }

    /// Whether so many bytes may be held in all. They are taken then.
    #[inline]
    pub fn admit(&mut self, bytes: u64) -> bool {
        match &mut self.leases {
            Some(leases) => leases.held.cover(bytes, BATCH).is_ok(),
            None => true,
        }
    }

    /// The same for what no single client holds, such as a response on a connection that clients share: what they may ask
    /// for is bounded elsewhere, so only the budget and what small holders may overdraw it by count.
    #[inline]
    pub fn admit_for_all(&mut self, bytes: u64) -> bool {
        if self.admit(bytes) {
            return true;
        }
        let Some(leases) = &mut self.leases else {
            return true;
        };
        let more = bytes.saturating_sub(leases.held.amount());
        let has_room = leases.budget.held().saturating_add(more) <= leases.budget.most();
        if has_room {
            leases.held.force(bytes);
        }
        has_room
    }

    /// Whether there is room for what one round of input may bring.
    #[inline]
    pub fn has_room(&self) -> bool {
        let Some(leases) = &self.leases else {
            return true;
        };
        let more = (leases.need + INPUT).saturating_sub(leases.held.amount());
        more == 0
            || leases.budget.ledger.is_ample(Resource::Bytes)
            || leases.held.client().check(Resource::Bytes, more).is_ok()
    }

    /// Whether so many bytes may be lent in all. They are taken then.
    pub(crate) fn lend(&mut self, bytes: u64) -> bool {
        match &mut self.leases {
            Some(leases) => leases.lent.cover(bytes, BATCH).is_ok(),
            None => true,
        }
    }

    /// So many bytes are lent in all, which is no more than there were.
    #[inline]
    pub(crate) fn settle_lent(&mut self, bytes: u64) {
        if let Some(leases) = &mut self.leases {
            leases.lent.hold(bytes, BATCH);
        }
    }

    /// Whether memory is so tight that windows must shrink.
    pub(crate) fn is_tight(&self) -> bool {
        self.leases.as_ref().is_some_and(|leases| {
            let ledger = &leases.budget.ledger;
            ledger.is_tight(Resource::Credit) || ledger.is_tight(Resource::Bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_comes_back() {
        let budget = MemoryBudget::new(1 << 20);
        let mut one = Holding::new(Some(&budget));
        one.settle(100_000);
        assert!((100_000..=100_000 + 2 * BATCH).contains(&budget.held()));
        one.settle(1000);
        assert!((1000..=1000 + 2 * BATCH).contains(&budget.held()));
        drop(one);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn over_it_nothing_is_read_or_let_in() {
        let budget = MemoryBudget::new(4 << 20);
        let mut one = Holding::new(Some(&budget));
        assert!(one.admit(3 << 20) && one.has_room());
        // What is there already is counted all the same.
        one.settle(4 << 20);
        assert!(!one.has_room() && !one.admit((4 << 20) + 1));
        one.settle(1 << 20);
        assert!(one.has_room());
    }

    #[test]
    fn small_holders_find_room_beside_a_large_one() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 64 << 20));
        let budget = MemoryBudget::of(&ledger);
        let client =
            |last: u8| ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, last])));
        let mut large = Holding::new(Some(&budget));
        large.bill(&client(1));
        let mut held = 0;
        while large.admit(held + 65_536) {
            held += 65_536;
        }
        assert!(held > 50 << 20, "alone it has nearly all");
        let mut small = Holding::new(Some(&budget));
        small.bill(&client(2));
        assert!(small.admit(65_536) && small.has_room());
    }

    #[test]
    fn a_newcomer_finds_room_when_all_is_held_and_more() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 32 << 20));
        let budget = MemoryBudget::of(&ledger);
        let client =
            |last: u8| ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, last])));
        let mut others: Vec<Holding> = (0..10).map(|_| Holding::new(Some(&budget))).collect();
        for (other, last) in others.iter_mut().zip(0..) {
            other.bill(&client(last));
            other.settle(4 << 20);
        }
        assert!(others.iter().all(|other| !other.has_room()));
        let mut newcomer = Holding::new(Some(&budget));
        newcomer.bill(&client(100));
        assert!(newcomer.admit(20_000) && newcomer.has_room());
        // That has an end, too.
        others[0].settle(16 << 20);
        assert!(!newcomer.has_room());
    }

    #[test]
    fn what_clients_share_finds_room_beside_one_that_has_nearly_all() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 32 << 20));
        let budget = MemoryBudget::of(&ledger);
        let mut greedy = Holding::new(Some(&budget));
        greedy.bill(&ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, 1]))));
        greedy.settle(31 << 20);
        let mut shared = Holding::new(Some(&budget));
        assert!(!shared.admit(8 << 20));
        assert!(shared.admit_for_all(8 << 20));
        assert!(!shared.admit_for_all(20 << 20), "the overdraft has an end");
    }

    #[test]
    fn what_is_lent_has_an_end_and_is_no_part_of_what_is_held() {
        let budget = MemoryBudget::new(10 << 20);
        let mut one = Holding::new(Some(&budget));
        assert!(one.lend(5 << 20) && !one.lend(7 << 20));
        assert!(budget.lent() >= 5 << 20 && budget.held() == 0);
        assert!(one.has_room() && one.admit(65_536));
        one.settle_lent(0);
        assert_eq!(budget.lent(), 0);
    }

    #[test]
    fn without_a_budget_everything_goes() {
        let mut none = Holding::new(None);
        none.settle(u64::MAX);
        assert!(none.admit(u64::MAX) && none.lend(u64::MAX) && none.has_room());
        assert!(!none.is_tight());
    }
}
