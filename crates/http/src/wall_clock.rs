//! The time of day for the engines' own responses. Engines have no clock: their owner sets this
//! one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

/// The time of day as the owner of engines last set it. Clones show the same time.
#[derive(Clone, Debug, Default)]
pub struct WallClock(Arc<AtomicU64>);

impl WallClock {
    /// Makes a clock that isn't set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time, in whole seconds since 1970.
    pub fn set(&self, second: u64) {
        self.0.store(second, Ordering::Relaxed);
    }

    /// Returns the value of a `date` field (RFC 9110 §5.6.7); `None` while the clock isn't set.
    pub fn date(&self) -> Option<String> {
        // The format has four digits for the year.
        let last = 253_402_300_799;
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            second => Some(httpdate::fmt_http_date(
                UNIX_EPOCH + Duration::from_secs(second.min(last)),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_the_time_that_was_set() {
        let clock = WallClock::new();
        let same = clock.clone();
        assert_eq!(same.date(), None);
        clock.set(784_111_777);
        // RFC 9110 §5.6.7 has this example.
        assert_eq!(
            same.date().as_deref(),
            Some("Sun, 06 Nov 1994 08:49:37 GMT")
        );
        clock.set(u64::MAX);
        assert_eq!(
            same.date().as_deref(),
            Some("Fri, 31 Dec 9999 23:59:59 GMT")
        );
    }
}
