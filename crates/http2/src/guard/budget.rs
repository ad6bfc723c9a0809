//! Budgets that time refills, and frames that something honest justifies.

use std::time::{Duration, Instant};

use tidegate_http::{Rate, Violation};

/// The unspent part of a [`Rate`].
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) left: u32,
    /// The least that was left since the budget was full.
    pub(super) least: u32,
    /// The time up to which time has been turned into budget.
    pub(super) refilled: Instant,
}

impl Budget {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            least: rate.burst,
            refilled: now,
        }
    }

    /// Spends `cost`. If the budget is smaller than that, it becomes 0.
    pub(super) fn charge(
        &mut self,
        cost: u32,
        rate: Rate,
        now: Instant,
        violation: Violation,
    ) -> Result<(), Violation> {
        if self.left < cost {
            self.refill(rate, now);
        }
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(0);
        self.least = self.least.min(self.left);
        left.map(|_| ()).ok_or(violation)
    }

    /// Whether time has refilled it.
    pub(super) fn is_full(&mut self, rate: Rate, now: Instant) -> bool {
        self.refill(rate, now);
        self.left >= rate.burst
    }

    /// Returns what is left once time has refilled it.
    pub(super) fn left_at(&self, rate: Rate, now: Instant) -> u32 {
        let mut copy = Self { ..*self };
        copy.refill(rate, now);
        copy.left
    }

    #[cold]
    fn refill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled);
        let per_second = u128::from(rate.per_second);
        let gained = elapsed.as_micros() * per_second / 1_000_000;
        let room = rate.burst.saturating_sub(self.left);
        match u32::try_from(gained) {
            // A fraction stays in the time that hasn't been turned into budget yet.
            Ok(gained) if gained < room => {
                self.left += gained;
                if gained > 0 {
                    let used = u64::from(gained) * 1_000_000 / u64::from(rate.per_second);
                    self.refilled += Duration::from_micros(used);
                }
            }
            _ => {
                self.left = self.left.max(rate.burst);
                self.least = self.left;
                self.refilled = now;
            }
        }
    }
}

/// The frames that something honest has justified.
#[derive(Debug, Default)]
pub(super) struct Justified {
    pub(super) used: u64,
}

/// The most justified frames that can be saved up: more would let a long download pay for a flood
/// after it.
pub(super) const MOST_SAVED: u64 = 10_000;

impl Justified {
    /// Uses up one of the `earned` frames in total. Returns whether there was one.
    pub(super) fn take(&mut self, earned: u64) -> bool {
        self.used = self.used.max(earned.saturating_sub(MOST_SAVED));
        let is_left = self.used < earned;
        self.used += u64::from(is_left);
        is_left
    }
}
