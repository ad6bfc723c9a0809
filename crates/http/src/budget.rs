//! One memory budget for all connections of a process: the bytes held, and the bytes lent.

use std::sync::Arc;

use tidegate_ledger::{Client, Lease, Ledger, Limits, Resource, Rule};

/// Leases change in steps of about this many bytes, so that the shared counters are rarely touched.
const BATCH: u64 = 4 << 10;

/// The bytes that one round of input can bring: without room for them, nothing is read.
const INPUT: u64 = 64 << 10;

/// The part of the budget that may be lent, in per cent: credit beyond what the protocol gives
/// every client.
const LENT: u64 = 70;

/// A part of the budget that is only for clients that hold little.
const RESERVE: u64 = 16;

/// The bytes that a client may hold whatever others do, while there are any: a request or two with
/// small bodies. The least is enough for a proxied upload: a round of input, the 65,535 bytes that
/// an upstream of HTTP/2 may send at once, and as much for its connection and its request.
const MOST_FLOOR: u64 = 256 << 10;
const LEAST_FLOOR: u64 = 192 << 10;

/// The bytes, at most as many as the budget has, by which clients that hold little may exceed it
/// together: others may hold more than the budget when their bytes are counted late, and a newcomer
/// should find room nevertheless.
const OVERDRAFT: u64 = 16 << 20;

/// The memory that peers may make us use, for all connections that share the budget
/// ([`Config::memory_budget`](crate::Config::memory_budget)).
///
/// A [`Ledger`] counts two things, for each client and in total:
///
/// - Bytes *held*: heads of requests in progress, bodies received and not consumed, bytes that wait
///   to be sent, and a little for each connection and stream. When there is no room for more, or
///   the client has its share, its connections aren't read and its requests are refused: with
///   REFUSED_STREAM, which says that nothing of them was processed, so that the client may try
///   again (RFC 9113 §8.7), or with 503.
/// - Bytes *lent*: the windows of bodies beyond the 65,535 bytes that RFC 9113 §6.9.2 gives every
///   client. They grow only while there is room for them, and as long as it is used. A promise
///   never causes a refusal.
pub struct MemoryBudget {
    ledger: Arc<Ledger>,
    /// The account for holders without a client.
    nobody: Arc<Client>,
}

impl MemoryBudget {
    /// Makes a budget of `bytes` with a ledger of its own.
    pub fn new(bytes: u64) -> Arc<Self> {
        Self::of(&Ledger::new(Self::limits(Limits::none(), bytes)))
    }

    /// Makes the budget of a ledger whose limits are from [`MemoryBudget::limits`].
    pub fn of(ledger: &Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            ledger: Arc::clone(ledger),
            nobody: ledger.nobody(),
        })
    }

    /// Adds the limits of a budget of `bytes` to `limits`.
    pub fn limits(limits: Limits, bytes: u64) -> Limits {
        let floor = (bytes / RESERVE).clamp(LEAST_FLOOR, MOST_FLOOR);
        let lent = (u128::from(bytes) * u128::from(LENT) / 100) as u64;
        limits
            .with(
                Resource::Bytes,
                Rule::new(bytes)
                    .reserve(bytes / RESERVE, floor)
                    .overdraft(OVERDRAFT.min(bytes)),
            )
            .with(Resource::Credit, Rule::new(lent))
    }

    /// Returns the size of the budget in bytes.
    pub fn size(&self) -> u64 {
        self.ledger.rule(Resource::Bytes).capacity
    }

    /// Returns an account for the bytes of one holder of this client, such as a request on a
    /// connection that clients share. `None` for a client of another ledger than the budget's.
    pub fn bill_for(&self, client: &Arc<Client>) -> Option<Bill> {
        let is_ours = Arc::ptr_eq(client.ledger(), &self.ledger);
        is_ours.then(|| Bill::new(client, Resource::Bytes))
    }

    /// Returns the bytes that connections hold now, rounded up: leases change in steps.
    pub fn held(&self) -> u64 {
        self.ledger.used(Resource::Bytes)
    }

    /// Returns the bytes of windows beyond what every client may send.
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

/// An item on one client's account: bytes held or lent. Dropping it returns them.
#[derive(Debug)]
pub struct Bill {
    lease: Lease,
    /// The bytes actually held, as last reported.
    need: u64,
}

impl Bill {
    fn new(client: &Arc<Client>, resource: Resource) -> Self {
        Self {
            lease: Lease::new(Arc::clone(client), resource),
            need: 0,
        }
    }

    /// Returns the bytes billed.
    pub fn bytes(&self) -> u64 {
        self.need
    }

    /// Whether there is room for `more` bytes. If so, they are billed.
    #[inline]
    pub fn admit(&mut self, more: u64) -> bool {
        let need = self.need.saturating_add(more);
        let has_room = self.lease.cover(need, BATCH).is_ok();
        if has_room {
            self.need = need;
        }
        has_room
    }

    /// Sets the bytes held in total.
    #[inline]
    pub fn settle(&mut self, bytes: u64) {
        self.need = bytes;
        self.lease.hold(bytes, BATCH);
    }
}

/// The bytes that one connection holds of a [`MemoryBudget`], or of none, and those lent to it.
/// Dropping it returns them. The engines of HTTP/2 and of HTTP/1.1 each have one per connection.
#[derive(Debug, Default)]
pub struct Holding {
    bills: Option<Box<Bills>>,
    /// The bytes that the owner of the engine holds for the connection.
    outside: u64,
}

#[derive(Debug)]
struct Bills {
    budget: Arc<MemoryBudget>,
    held: Bill,
    lent: Bill,
}

impl Holding {
    /// Makes an empty holding.
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

    /// Bills the connection to this client from now on; to nobody if the client is of another
    /// ledger than the budget's.
    pub fn bill(&mut self, client: &Arc<Client>) {
        if let Some(bills) = &mut self.bills
            && Arc::ptr_eq(client.ledger(), &bills.budget.ledger)
        {
            bills.held.lease.transfer(Arc::clone(client));
            bills.lent.lease.transfer(Arc::clone(client));
        }
    }

    /// Returns an account for the bytes of one request of the connection, if there is a budget and
    /// the client is of its ledger.
    pub fn bill_for(&self, client: &Arc<Client>) -> Option<Bill> {
        self.bills.as_ref()?.budget.bill_for(client)
    }

    /// Sets the bytes held for the connection outside of its engine, such as by its transport.
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

    /// Returns the bytes last set by [`Holding::note_outside`].
    pub fn outside(&self) -> u64 {
        self.outside
    }

    /// Sets the bytes held in total.
    #[inline]
    pub fn settle(&mut self, bytes: u64) {
        if let Some(bills) = &mut self.bills {
            bills.held.settle(bytes);
        }
    }

    /// Whether `more` bytes may be held. If so, they are reserved until [`Holding::settle`] sets
    /// the actual number.
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

    /// Whether `bytes` may be lent in total. If so, they are lent.
    pub fn lend(&mut self, bytes: u64) -> bool {
        match &mut self.bills {
            Some(bills) => bills.lent.lease.cover(bytes, BATCH).is_ok(),
            None => true,
        }
    }

    /// Sets the bytes lent in total, which are no more than before.
    #[inline]
    pub fn settle_lent(&mut self, bytes: u64) {
        if let Some(bills) = &mut self.bills {
            bills.lent.settle(bytes);
        }
    }

    /// Whether memory is so tight that windows must shrink.
    pub fn is_tight(&self) -> bool {
        self.bills.as_ref().is_some_and(|bills| {
            let ledger = &bills.budget.ledger;
            ledger.is_tight(Resource::Credit) || ledger.is_tight(Resource::Bytes)
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_ledger::ClientKey;

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
        // Bytes that exist already are counted nevertheless.
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
        // That has a limit, too.
        others[0].settle(16 << 20);
        assert!(!newcomer.has_room());
    }

    #[test]
    fn a_newcomers_upload_through_a_proxy_is_read_however_small_the_budget_is() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 1 << 20));
        let budget = MemoryBudget::of(&ledger);
        let client =
            |last: u8| ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, last])));
        let mut other = Holding::new(Some(&budget));
        other.bill(&client(1));
        other.settle(1 << 20);
        let newcomer = client(2);
        let mut connection = Holding::new(Some(&budget));
        connection.bill(&newcomer);
        // A connection with TLS, and a request with a large head.
        assert!(connection.admit((5 << 10) + (8 << 10) + (16 << 10)));
        let mut response = budget.bill_for(&newcomer).unwrap();
        assert!(response.admit(65_535 + 1024));
        assert!(connection.has_room());
    }

    #[test]
    fn what_is_asked_for_on_a_shared_connection_is_its_clients() {
        let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 16 << 20));
        let budget = MemoryBudget::of(&ledger);
        let client =
            |last: u8| ledger.client(ClientKey::from(std::net::IpAddr::from([192, 0, 2, last])));
        // Ten clients that take all they can get on one connection.
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
        // A newcomer then has room for a connection, a request, and its response with a larger
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
