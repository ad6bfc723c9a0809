//! How large a stream's receive window should be.
//!
//! 1. A window grows by what its owner *consumes*, not by what arrives: it doubles at the byte that
//!    makes it a quarter of the window within one round trip.
//! 2. So the window is four times what a round trip brings when it brings it, and twice what the
//!    next one can bring: TCP's slow start doubles too. The other half is for the credit that is
//!    told late, at half windows.
//! 3. It halves when half of it took more than 32 round trips and more than a second, and when
//!    memory is tight: credit is not told again until the peer has used up what is too much.
//! 4. Round trips of less than a millisecond count as one: that long may a turn of the loop take.
//! 5. Before a round trip was observed nothing grows, apart from the first grant.

use std::time::{Duration, Instant};

/// What a body's window is raised to as soon as its head is there, when memory is not tight: slow
/// start doesn't use up more before a first measure can be taken.
pub(crate) const FIRST_GRANT: u32 = 256 << 10;

/// A window that is less than so many times what a round trip brings is too small.
const GROW_BELOW: u32 = 4;

/// A window of which one half takes more than so many round trips is too large…
const SHRINK_AFTER: u32 = 32;

/// …if it also takes longer than this.
const SHRINK_AFTER_TIME: Duration = Duration::from_secs(1);

/// The shortest round trip that is told from a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// What is measured of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Autotune {
    /// When the present measure began.
    since: Instant,
    /// What was consumed since.
    consumed: u32,
    /// When credit was last told.
    told_at: Instant,
}

impl Autotune {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            consumed: 0,
            told_at: now,
        }
    }

    /// The owner consumed so many bytes. Whether a window of this size is to double.
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

    /// Half a window is due to be told. Whether the window is to be halved instead.
    pub(crate) fn told(&mut self, rtt: Option<Duration>, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.told_at);
        self.told_at = now;
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
        // The measure begins anew.
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
        assert!(!tune.told(None, start + ms(1_000_000)));
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
        assert!(!tune.told(RTT, start + ms(3200)));
        assert!(tune.told(RTT, start + ms(3200 + 3201)));
        let short = Some(ms(2));
        assert!(!tune.told(short, start + ms(6401 + 1000)));
        assert!(tune.told(short, start + ms(7401 + 1001)));
    }

    #[test]
    fn keeps_ahead_of_slow_start() {
        // Ten segments, then twice as much each round trip: at the start of each, the window holds
        // what it brings, twice.
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
