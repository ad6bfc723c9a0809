//! The time at which to look at each connection again. There is one entry for each connection,
//! coarse and updated lazily.
//!
//! A connection's deadline moves later with nearly every request. So an early entry stays where it
//! is: when it fires, the connection checks its real deadline and enters that.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Deadlines are rounded up to multiples of this, so that many of them fire together.
const TICK: Duration = Duration::from_millis(16);

/// A deadline, rounded up.
pub(crate) type Tick = Instant;

/// The deadlines of a worker's connections.
pub(crate) struct Timers {
    start: Instant,
    entries: BTreeSet<(Tick, u32)>,
}

impl Timers {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            entries: BTreeSet::new(),
        }
    }

    /// Makes `slot` fire no later than `at` (rounded up). `entered` is where the slot keeps its
    /// entry.
    #[inline]
    pub(crate) fn fire_by(&mut self, slot: u32, entered: &mut Option<Tick>, at: Instant) {
        if entered.is_none_or(|earlier| earlier > at) {
            self.enter(slot, entered, at);
        }
    }

    fn enter(&mut self, slot: u32, entered: &mut Option<Tick>, at: Instant) {
        let tick = self.round_up(at);
        if entered.is_none_or(|earlier| earlier > tick) {
            self.cancel(slot, entered);
            self.entries.insert((tick, slot));
            *entered = Some(tick);
        }
    }

    fn round_up(&self, at: Instant) -> Tick {
        let since_start = at.saturating_duration_since(self.start).as_nanos();
        // Nanoseconds fit for five centuries.
        let since_start = u64::try_from(since_start).unwrap_or(u64::MAX);
        let ticks = since_start.div_ceil(TICK.as_nanos() as u64);
        let millis = ticks.saturating_mul(TICK.as_millis() as u64);
        // The clock's type can't hold every time, so a century stands for never.
        let never = Duration::from_secs(100 * 365 * 86_400);
        self.start + Duration::from_millis(millis).min(never)
    }

    /// Removes the entry of `slot`, if it has one.
    pub(crate) fn cancel(&mut self, slot: u32, entered: &mut Option<Tick>) {
        if let Some(tick) = entered.take() {
            self.entries.remove(&(tick, slot));
        }
    }

    /// Removes an entry that is due and returns its slot, which must forget its `entered`.
    pub(crate) fn fire(&mut self, now: Instant) -> Option<u32> {
        let due = self.next()? <= now;
        due.then(|| self.entries.pop_first())?.map(|(_, slot)| slot)
    }

    /// Returns when the next entry is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(tick, _)| *tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_and_not_early() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::new(start);
        let mut entered = [None; 3];
        for (slot, millis) in [(0, 500), (1, 100), (2, 300)] {
            timers.fire_by(slot, &mut entered[slot as usize], at(millis));
        }
        assert_eq!(timers.fire(at(99)), None);
        assert_eq!(timers.fire(at(100) + TICK), Some(1));
        assert_eq!(timers.fire(at(100) + TICK), None);
        assert_eq!(timers.fire(at(1000)), Some(2));
        assert_eq!(timers.fire(at(1000)), Some(0));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_and_an_earlier_one_moves_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut timers = Timers::new(start);
        let mut entered = None;
        timers.fire_by(7, &mut entered, at(1000));
        let first = entered;
        timers.fire_by(7, &mut entered, at(2000));
        assert_eq!(entered, first);
        timers.fire_by(7, &mut entered, at(160));
        assert_eq!(timers.next(), Some(at(160)));
        assert_eq!(timers.entries.len(), 1);
        assert_eq!(timers.fire(at(160)), Some(7));
    }

    #[test]
    fn a_cancelled_entry_is_gone() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let mut entered = None;
        timers.fire_by(7, &mut entered, start);
        timers.cancel(7, &mut entered);
        timers.cancel(7, &mut entered);
        assert_eq!(timers.next(), None);
        assert_eq!(entered, None);
    }

    #[test]
    fn a_deadline_beyond_the_clock_is_as_good_as_never() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        let century = Duration::from_secs(100 * 365 * 86_400);
        timers.fire_by(7, &mut None, start + 2 * century);
        assert_eq!(timers.next(), Some(start + century));
        assert_eq!(timers.fire(start), None);
    }
}
