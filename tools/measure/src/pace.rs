//! A bounded rate.

use std::time::{Duration, Instant};

/// A budget of bytes that grows by `per_second`. An unused budget is lost after a short while, so
/// that a stop isn't followed by a burst.
pub(crate) struct Pace {
    per_second: f64,
    since: Instant,
    allowed: f64,
}

/// The largest budget, in seconds of the rate.
const BURST: f64 = 0.01;

impl Pace {
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second as f64,
            since: Instant::now(),
            allowed: 0.0,
        }
    }

    /// Returns how many bytes may be moved now.
    pub(crate) fn allowance(&mut self) -> usize {
        let now = Instant::now();
        let passed = (now - self.since).as_secs_f64();
        self.since = now;
        self.allowed = (self.allowed + passed * self.per_second).min(BURST * self.per_second);
        self.allowed as usize
    }

    /// Notes that `bytes` were moved.
    pub(crate) fn note(&mut self, bytes: usize) {
        self.allowed -= bytes as f64;
    }

    /// How long to wait for the next allowance.
    pub(crate) const TICK: Duration = Duration::from_micros(500);
}
