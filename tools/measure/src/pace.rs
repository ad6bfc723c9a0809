//! A bounded rate.

use std::time::{Duration, Instant};

/// How much may have been done by now, at so many octets per second. What was not done in time is lost, so that a stop
/// is not followed by a burst.
pub(crate) struct Pace {
    per_second: f64,
    since: Instant,
    allowed: f64,
}

/// What may be done at once after a stop.
const BURST: f64 = 0.01;

impl Pace {
    pub(crate) fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second as f64,
            since: Instant::now(),
            allowed: 0.0,
        }
    }

    /// Octets that may be moved now.
    pub(crate) fn allowance(&mut self) -> usize {
        let now = Instant::now();
        let passed = (now - self.since).as_secs_f64();
        self.since = now;
        self.allowed = (self.allowed + passed * self.per_second).min(BURST * self.per_second);
        self.allowed as usize
    }

    /// Octets were moved.
    pub(crate) fn note(&mut self, octets: usize) {
        self.allowed -= octets as f64;
    }

    /// How long to wait for the next allowance.
    pub(crate) const TICK: Duration = Duration::from_micros(500);
}
