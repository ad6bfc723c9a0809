//! The size of a stream's receive window.
//!
//! 1. A window grows by what its owner *consumes*, not by what arrives: it doubles at the byte that
//!    makes the bytes consumed within one round trip a quarter of the window.
//! 2. So the window is four times what a round trip brings now, and twice what the next one can
//!    bring: TCP's slow start doubles too. The other half covers the credit that is advertised
//!    late, at half windows.
//! 3. It halves when half of it took more than 32 round trips and more than a second, and when
//!    memory is tight: no credit is advertised until the peer has used up the excess.
//! 4. Round trips of less than a millisecond count as one: a turn of the loop may take that long.
//! 5. Nothing grows before a round trip was observed, apart from the first grant.

use std::time::{Duration, Instant};

/// The size to which a body's window is raised as soon as its head has arrived, when memory isn't
/// tight. Slow start doesn't use up more before a first measurement.
pub(crate) const FIRST_GRANT: u32 = 256 << 10;

/// A window below this multiple of what a round trip brings is too small.
const GROW_BELOW: u32 = 4;

/// A window of which one half takes more than this many round trips is too large…
const SHRINK_AFTER: u32 = 32;

/// …if it also takes longer than this.
const SHRINK_AFTER_TIME: Duration = Duration::from_secs(1);

/// The shortest round trip that can be distinguished from a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// The measurement of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Autotune {
    /// The start of the current measurement.
    since: Instant,
    /// The bytes consumed since.
    consumed: u32,
    /// When credit was last advertised.
    advertised_at: Instant,
}

impl Autotune {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            consumed: 0,
            advertised_at: now,
        }
    }

    /// Notes that the owner consumed `bytes`. Returns whether a window of this size should double.
    pub(crate) fn consumed(
        &mut self,
        bytes: u32,
        size: u32,
        rtt: Option<Duration>,
        now: Instant,
    ) -> bool {
        let Some(rtt) = rtt else { return false };
        if now.saturating_duration_since(self.since) > rtt.max(SHORTEST) {
            self.since = now;
            self.consumed = 0;
        }
        self.consumed = self.consumed.saturating_add(bytes);
        if self.consumed < size / GROW_BELOW {
            return false;
        }
        self.since = now;
        self.consumed = 0;
        true
    }

    /// Notes that half a window is about to be advertised. Returns whether to halve the window
    /// instead.
    pub(crate) fn advertised(&mut self, rtt: Option<Duration>, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.advertised_at);
        self.advertised_at = now;
        rtt.is_some_and(|rtt| {
            took > SHRINK_AFTER_TIME && took > rtt.max(SHORTEST).saturating_mul(SHRINK_AFTER)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Option<Duration> = Some(Duration::from_millis(100));

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn doubles_at_the_byte_that_makes_it_a_quarter_of_the_window() {
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        assert!(!tune.consumed(15_000, 64_000, RTT, start));
        assert!(!tune.consumed(999, 64_000, RTT, start + ms(100)));
        assert!(tune.consumed(1, 64_000, RTT, start + ms(100)));
        // A new measurement begins.
        assert!(!tune.consumed(31_999, 128_000, RTT, start + ms(100)));
        assert!(tune.consumed(1, 128_000, RTT, start + ms(100)));
    }

    #[test]
    fn what_came_longer_than_a_round_trip_ago_does_not_count() {
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        for n in 0..100 {
            let now = start + ms(101) * n;
            assert!(!tune.consumed(15_999, 64_000, RTT, now), "{n}");
        }
    }

    #[test]
    fn nothing_grows_or_shrinks_without_a_round_trip() {
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        assert!(!tune.consumed(u32::MAX, 64_000, None, start));
        assert!(!tune.advertised(None, start + ms(1_000_000)));
    }

    #[test]
    fn a_round_trip_shorter_than_a_turn_counts_as_a_millisecond() {
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        let rtt = Some(Duration::from_nanos(1));
        assert!(!tune.consumed(15_000, 64_000, rtt, start));
        assert!(tune.consumed(1000, 64_000, rtt, start + ms(1)));
    }

    #[test]
    fn halves_when_half_of_it_takes_long_in_time_and_in_round_trips() {
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        assert!(!tune.advertised(RTT, start + ms(3200)));
        assert!(tune.advertised(RTT, start + ms(3200 + 3201)));
        let short = Some(ms(2));
        assert!(!tune.advertised(short, start + ms(6401 + 1000)));
        assert!(tune.advertised(short, start + ms(7401 + 1001)));
    }

    #[test]
    fn keeps_ahead_of_slow_start() {
        // Ten segments, then twice as many each round trip: at the start of each, the window holds
        // twice what it brings.
        let start = crate::testing::some_start();
        let mut tune = Autotune::new(start);
        let (mut size, mut flight) = (FIRST_GRANT, 10 * 1448);
        for round in 0..9 {
            assert!(u64::from(size) >= 2 * flight, "round {round}: {size}");
            let now = start + ms(100) * round;
            let mut left = flight as u32;
            while left > 0 {
                let piece = left.min(16_384);
                left -= piece;
                if tune.consumed(piece, size, RTT, now) {
                    size *= 2;
                }
            }
            flight *= 2;
        }
        assert!(u64::from(size) <= 8 * flight / 2, "nor far more: {size}");
    }
}
