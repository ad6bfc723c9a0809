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

    /// An account for what one holder holds for this client, such as a request on a connection that
    /// clients share. `None` for a client of another ledger than the budget's.
    pub fn bill_for(&self, client: &Arc<Client>) -> Option<Bill> {
        let is_ours = Arc::ptr_eq(client.ledger(), &self.ledger);
        is_ours.then(|| Bill::new(client, Resource::Bytes))
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

/// An item of one client's account: so much is held or lent. Given back when it is dropped.
#[derive(Debug)]
pub struct Bill {
    lease: Lease,
    /// How much it really is, by the last word.
    need: u64,
}

impl Bill {
    fn new(client: &Arc<Client>, resource: Resource) -> Self {
        Self {
            lease: Lease::new(Arc::clone(client), resource),
            need: 0,
        }
    }

    /// How many bytes are billed.
    pub fn bytes(&self) -> u64 {
        self.need
    }

    /// Whether there may be so many bytes more. They are billed then.
    #[inline]
    pub fn admit(&mut self, more: u64) -> bool {
        let need = self.need.saturating_add(more);
        let has_room = self.lease.cover(need, BATCH).is_ok();
        if has_room {
            self.need = need;
        }
        has_room
    }

    /// There are so many bytes now, in all.
    #[inline]
    pub fn settle(&mut self, bytes: u64) {
        self.need = bytes;
        self.lease.hold(bytes, BATCH);
    }
}

/// What one connection holds and lends of a [`MemoryBudget`], or of none; given back when it is dropped. For engines: that of
/// HTTP/2 has one, and so has that of HTTP/1.1.
#[derive(Debug, Default)]
pub struct Holding {
    bills: Option<Box<Bills>>,
    /// What the owner of the engine holds for the connection.
    outside: u64,
}

#[derive(Debug)]
struct Bills {
    budget: Arc<MemoryBudget>,
    held: Bill,
    lent: Bill,
}

impl Holding {
    /// Nothing is held yet.
    pub fn new(budget: Option<&Arc<MemoryBudget>>) -> Self {
        let bills = budget.map(|budget| {
            Box::new(Bills {
                budget: Arc::clone(budget),
                held: Bill::new(&budget.nobody, Resource::Bytes),
                lent: Bill::new(&budget.nobody, Resource::Credit),
            })
        });
        Self { bills, outside: 0 }
    }

    /// From now on it is this client's. One of another ledger than the budget's is none.
    pub fn bill(&mut self, client: &Arc<Client>) {
        if let Some(bills) = &mut self.bills
            && Arc::ptr_eq(client.ledger(), &bills.budget.ledger)
        {
            bills.held.lease.transfer(Arc::clone(client));
            bills.lent.lease.transfer(Arc::clone(client));
        }
    }

    /// An account for what one request of the connection's holds, if there is a budget and the
    /// client is of its ledger.
    pub fn bill_for(&self, client: &Arc<Client>) -> Option<Bill> {
        self.bills.as_ref()?.budget.bill_for(client)
    }

    /// Notes how many bytes are held for the connection outside of its engine: by its transport, say.
    pub fn note_outside(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.outside, bytes);
        if let Some(bills) = &mut self.bills
            && bytes != before
        {
            bills
                .held
                .settle((bills.held.need + bytes).saturating_sub(before));
        }
    }

    /// What was noted last.
    pub fn outside(&self) -> u64 {
        self.outside
    }

    /// So many bytes are held now, in all.
    #[inline]
    pub fn settle(&mut self, bytes: u64) {
        if let Some(bills) = &mut self.bills {
            bills.held.settle(bytes);
        }
    }

    /// Whether so many bytes more may be held. They are taken until [`Holding::settle`] says how
    /// many it really are.
    #[inline]
    pub fn admit(&mut self, more: u64) -> bool {
        match &mut self.bills {
            Some(bills) => bills.held.admit(more),
            None => true,
        }
    }

    /// Whether there is room for what one round of input may bring.
    #[inline]
    pub fn has_room(&self) -> bool {
        let Some(bills) = &self.bills else {
            return true;
        };
        let Bill { lease, need } = &bills.held;
        let more = (need + INPUT).saturating_sub(lease.amount());
        more == 0
            || bills.budget.ledger.is_ample(Resource::Bytes)
            || lease.client().check(Resource::Bytes, more).is_ok()
    }

    /// Whether so many bytes may be lent in all. They are taken then.
    pub(crate) fn lend(&mut self, bytes: u64) -> bool {
        match &mut self.bills {
            Some(bills) => bills.lent.lease.cover(bytes, BATCH).is_ok(),
            None => true,
        }
    }

    /// So many bytes are lent in all, which is no more than there were.
    #[inline]
    pub(crate) fn settle_lent(&mut self, bytes: u64) {
        if let Some(bills) = &mut self.bills {
            bills.lent.settle(bytes);
        }
    }

    /// Whether memory is so tight that windows must shrink.
    pub(crate) fn is_tight(&self) -> bool {
        self.bills.as_ref().is_some_and(|bills| {
            let ledger = &bills.budget.ledger;
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
        assert!(!one.has_room() && !one.admit(1));
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
        while large.admit(65_536) {
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
    fn what_is_asked_for_on_a_shared_connection_is_its_clients() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 16 << 20));
        let budget = MemoryBudget::of(&ledger);
        let client =
            |last: u8| ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, last])));
        // Ten that ask for all they can get on one connection.
        let shared = Holding::new(Some(&budget));
        let greedy: Vec<_> = (0..10).map(client).collect();
        let mut bills = Vec::new();
        loop {
            let before = bills.len();
            for client in &greedy {
                let mut bill = shared.bill_for(client).unwrap();
                if bill.admit(66_560) {
                    bills.push(bill);
                }
            }
            if bills.len() == before {
                break;
            }
        }
        assert!(
            budget.held() > 12 << 20,
            "together they have most: {}",
            budget.held()
        );
        // One that comes then has room for a connection, a request, and its response with a larger
        // window.
        let newcomer = client(100);
        let mut own = Holding::new(Some(&budget));
        own.bill(&newcomer);
        own.settle(13 << 10);
        assert!(own.has_room() && own.admit(2048));
        let mut bill = shared.bill_for(&newcomer).unwrap();
        assert!(bill.admit(66_560) && bill.admit(65_536));
        assert!(newcomer.held(Resource::Bytes) >= 15_360 + 132_096);
        drop((bill, bills, own));
        assert_eq!(budget.held(), 0);
        let stranger = Ledger::new(Limits::none());
        let stranger = stranger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, 1])));
        assert!(shared.bill_for(&stranger).is_none());
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
