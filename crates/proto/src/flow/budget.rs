//! One budget of memory for all connections of a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reservations change by multiples of this, so that the shared counter is touched seldom.
const QUANTUM: u64 = 64 << 10;

/// Windows grow while less than this is reserved, in per cent. The rest is for what new streams need at least.
const GROWTH_UNTIL: u64 = 70;

/// From here on, in per cent, windows shrink again, and idle connections that hold credit are shut down.
const TIGHT_FROM: u64 = 85;

/// How many octets peers may make us hold, all connections together that share it
/// ([`Config::memory_budget`](crate::Config::memory_budget)).
///
/// A connection reserves what its peer may make it hold, before the peer learns of it: octets that were received and not
/// consumed yet, and octets that the peer may send by the windows it was told. So the sum over all connections stays under
/// the budget at every moment. Not counted are the 65,535 octets that RFC 9113 §6.9.2 lets a client send unasked, on
/// connections where no body is coming in.
///
/// When it is used up, streams that would bring a body are refused with REFUSED_STREAM: nothing of them was processed,
/// so the client may try again (RFC 9113 §8.7).
#[derive(Debug)]
pub struct MemoryBudget {
    size: u64,
    reserved: AtomicU64,
}

impl MemoryBudget {
    /// A budget of so many octets. Less than 64 KiB leaves room for no body at all.
    pub fn new(octets: u64) -> Arc<Self> {
        Arc::new(Self {
            size: octets,
            reserved: AtomicU64::new(0),
        })
    }

    /// Octets in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Octets that connections have reserved now, in multiples of 64 KiB. Never more than [`MemoryBudget::size`].
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Reserves so many octets, rounded up to 64 KiB, until what is returned is dropped; `None` when there is no room. For
    /// engines of other protocols: [`Connection`](crate::Connection) does this by itself.
    pub fn reserve(self: &Arc<Self>, octets: u64) -> Option<Reservation> {
        let mut reservation = Reservation::new(Some(Arc::clone(self)));
        let reserved = reservation.reserve(octets, Purpose::Floor);
        reserved.then_some(reservation)
    }

    fn is_tight(&self) -> bool {
        self.reserved() >= self.percent(TIGHT_FROM)
    }

    fn percent(&self, percent: u64) -> u64 {
        (u128::from(self.size) * u128::from(percent) / 100) as u64
    }

    fn take(&self, octets: u64, ceiling: u64) -> bool {
        let sum = |reserved: u64| {
            let sum = reserved.checked_add(octets)?;
            (sum <= ceiling).then_some(sum)
        };
        // Only the number itself is shared; nothing else is published by it.
        let order = Ordering::Relaxed;
        self.reserved.fetch_update(order, order, sum).is_ok()
    }
}

/// What a reservation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What a stream needs at least.
    Floor,
    /// What would make it faster.
    Growth,
}

/// What one connection has reserved of a [`MemoryBudget`]; given back when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Option<Arc<MemoryBudget>>,
    octets: u64,
}

impl Reservation {
    pub(crate) fn new(budget: Option<Arc<MemoryBudget>>) -> Self {
        Self { budget, octets: 0 }
    }

    /// Sees to it that at least so many octets are reserved.
    pub(crate) fn reserve(&mut self, octets: u64, purpose: Purpose) -> bool {
        let Some(budget) = &self.budget else {
            return true;
        };
        let Some(more) = octets.checked_sub(self.octets).filter(|more| *more > 0) else {
            return true;
        };
        let more = more.next_multiple_of(QUANTUM);
        let ceiling = match purpose {
            Purpose::Floor => budget.size,
            Purpose::Growth => budget.percent(GROWTH_UNTIL),
        };
        let taken = budget.take(more, ceiling);
        self.octets += if taken { more } else { 0 };
        taken
    }

    /// Gives back what is over, if that is worth it.
    pub(crate) fn keep(&mut self, octets: u64) {
        if self.octets >= octets.saturating_add(2 * QUANTUM) {
            self.shrink(octets.next_multiple_of(QUANTUM));
        }
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        self.shrink(0);
    }

    fn shrink(&mut self, octets: u64) {
        if let Some(budget) = &self.budget {
            let over = self.octets - octets;
            budget.reserved.fetch_sub(over, Ordering::Relaxed);
            self.octets = octets;
        }
    }

    /// Octets that are reserved; `None` when there is no budget.
    pub(crate) fn octets(&self) -> Option<u64> {
        self.budget.as_ref().map(|_| self.octets)
    }

    /// Whether memory is so tight that windows must shrink.
    pub(crate) fn is_tight(&self) -> bool {
        self.budget.as_ref().is_some_and(|budget| budget.is_tight())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reservations_go_by_quanta_and_come_back() {
        let budget = MemoryBudget::new(10 * QUANTUM);
        let mut one = Reservation::new(Some(budget.clone()));
        assert!(one.reserve(1, Purpose::Floor));
        assert_eq!((one.octets(), budget.reserved()), (Some(QUANTUM), QUANTUM));
        assert!(one.reserve(QUANTUM, Purpose::Floor));
        assert_eq!(budget.reserved(), QUANTUM, "there was room");
        assert!(one.reserve(3 * QUANTUM + 1, Purpose::Growth));
        assert_eq!(budget.reserved(), 4 * QUANTUM);
        one.keep(3 * QUANTUM);
        assert_eq!(budget.reserved(), 4 * QUANTUM, "not worth it");
        one.keep(QUANTUM + 1);
        assert_eq!(budget.reserved(), 2 * QUANTUM);
        drop(one);
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn anyone_may_reserve_what_there_is() {
        let budget = MemoryBudget::new(2 * QUANTUM);
        let one = budget.reserve(QUANTUM + 1).expect("there is room");
        assert_eq!(budget.reserved(), 2 * QUANTUM);
        assert!(budget.reserve(1).is_none());
        drop(one);
        assert!(budget.reserve(1).is_some());
        assert_eq!(budget.reserved(), 0);
    }

    #[test]
    fn growth_leaves_room_for_floors_and_nothing_goes_over() {
        let budget = MemoryBudget::new(10 * QUANTUM);
        let mut one = Reservation::new(Some(budget.clone()));
        assert!(one.reserve(7 * QUANTUM - 100, Purpose::Growth));
        assert!(!one.reserve(7 * QUANTUM + 1, Purpose::Growth));
        assert!(!one.is_tight());
        let mut other = Reservation::new(Some(budget.clone()));
        assert!(!other.reserve(1, Purpose::Growth));
        assert!(other.reserve(2 * QUANTUM, Purpose::Floor));
        assert!(one.is_tight());
        assert!(!other.reserve(3 * QUANTUM + 1, Purpose::Floor));
        assert!(other.reserve(3 * QUANTUM, Purpose::Floor));
        assert_eq!(budget.reserved(), budget.size());
        assert!(!one.reserve(u64::MAX - QUANTUM, Purpose::Floor));
    }

    #[test]
    fn without_a_budget_everything_goes() {
        let mut none = Reservation::new(None);
        assert!(none.reserve(u64::MAX, Purpose::Growth));
        assert_eq!((none.octets(), none.is_tight()), (None, false));
        none.keep(0);
    }
}
