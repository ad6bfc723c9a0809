//! The pace of an incoming body: when a body counts as slow, for the engines of both protocols.

use std::time::{Duration, Instant};

use crate::error::Violation;

/// The age of a connection in milliseconds modulo 2^32: a time small enough to keep for each
/// stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Age(u32);

impl Age {
    /// Returns the age at `now` of a connection that began at `born`.
    pub fn new(born: Instant, now: Instant) -> Self {
        Self(now.saturating_duration_since(born).as_millis() as u32)
    }

    /// Returns the time since `earlier`: 24 days at most, and zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.wrapping_sub(earlier.0);
        let is_after = millis <= u32::MAX / 2;
        Duration::from_millis(if is_after { u64::from(millis) } else { 0 })
    }
}

/// The progress of a body, counted as it comes and judged when a timer fires. Only bytes are
/// progress.
///
/// A body is judged at the end of each period of [`Timeouts::body`](crate::Timeouts::body), over
/// that period and the one before. So the first period is a grace, and earlier bytes make up for a
/// silence within the limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When the last bytes came, or the peer was last allowed to send some.
    moved_at: Age,
    /// The start of the current period.
    since: Age,
    /// The bytes of the current period.
    bytes: u32,
    /// The bytes of the period before; the largest number in the first period.
    before: u32,
}

impl Pace {
    /// Makes the pace of a body that the peer may send from now on.
    pub fn new(now: Age) -> Self {
        Self {
            moved_at: now,
            since: now,
            bytes: 0,
            before: u32::MAX,
        }
    }

    /// Returns how long the current period has lasted. For a body that is never judged, that is the
    /// time for which it has been allowed to come.
    pub fn lasts(&self, now: Age) -> Duration {
        now.since(self.since)
    }

    /// Notes that `bytes` of the body came. Zero bytes are no progress.
    pub fn moved(&mut self, bytes: usize, now: Age) {
        if bytes > 0 {
            self.moved_at = now;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Judges the body by the longest silence allowed and by the least rate in bytes per second; a
    /// rate of 0 means none. Returns after which time to judge it again. Call it only while the
    /// peer may send.
    ///
    /// # Errors
    /// Returns [`Violation::BodyTimedOut`] for a body that was silent for too long, and
    /// [`Violation::BodyTooSlow`] for one below the rate.
    pub fn judge(&mut self, limit: Duration, least: u32, now: Age) -> Result<Duration, Violation> {
        let silence = now.since(self.moved_at);
        if silence >= limit {
            return Err(Violation::BodyTimedOut);
        }
        if least == 0 {
            return Ok(limit - silence);
        }
        if self.lasts(now) >= limit {
            let due = 2 * u128::from(least) * limit.as_millis() / 1000;
            if u128::from(self.before) + u128::from(self.bytes) < due.min(u32::MAX.into()) {
                return Err(Violation::BodyTooSlow);
            }
            self.before = self.bytes;
            self.bytes = 0;
            self.since = now;
        }
        Ok(limit - silence.max(self.lasts(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const LEAST: u32 = 240;

    /// The age `second` seconds after a beginning that is just before the milliseconds overflow.
    fn at(second: u64) -> Age {
        Age((second as u32 * 1000).wrapping_sub(10_000))
    }

    /// Receives `bytes` every `every` seconds. Returns after how many seconds the body is given up,
    /// if within an hour.
    fn given_up_after(bytes: usize, every: u64) -> Option<(u64, Violation)> {
        let mut pace = Pace::new(at(0));
        let mut look = LIMIT;
        for second in 1..=3600 {
            let now = at(second);
            if second % every == 0 {
                pace.moved(bytes, now);
            }
            if look <= Duration::from_secs(second) {
                match pace.judge(LIMIT, LEAST, now) {
                    Ok(next) => look = Duration::from_secs(second) + next,
                    Err(violation) => return Some((second, violation)),
                }
            }
        }
        None
    }

    #[test]
    fn drips_end_and_slow_bodies_go_on() {
        let slow = Violation::BodyTooSlow;
        for (bytes, every, expected) in [
            (1, 1, Some((60, slow))),
            (1, 29, Some((60, slow))),
            (239, 1, Some((60, slow))),
            (0, 1, Some((30, Violation::BodyTimedOut))),
            (1 << 20, 31, Some((30, Violation::BodyTimedOut))),
            (240, 1, None),
            (2048, 1, None),
            // In bursts.
            (20 << 10, 10, None),
            (10_000, 29, None),
        ] {
            assert_eq!(
                given_up_after(bytes, every),
                expected,
                "{bytes} each {every} s"
            );
        }
    }

    #[test]
    fn a_burst_pays_for_two_periods_and_no_more() {
        let mut pace = Pace::new(at(0));
        pace.moved(1 << 30, at(0));
        let given_up = (1..200).find(|second| {
            pace.moved(1, at(*second));
            second % 30 == 0 && pace.judge(LIMIT, LEAST, at(*second)).is_err()
        });
        assert_eq!(given_up, Some(90));
    }

    #[test]
    fn without_a_least_rate_each_byte_is_progress() {
        let mut pace = Pace::new(at(0));
        for round in 1..100 {
            pace.moved(1, at(29 * round));
            assert_eq!(pace.judge(LIMIT, 0, at(29 * round)), Ok(LIMIT));
        }
    }

    #[test]
    fn ages_are_compared_across_their_overflow_and_never_backwards() {
        assert_eq!(at(20).since(at(1)), Duration::from_secs(19));
        assert_eq!(at(1).since(at(20)), Duration::ZERO);
        #[expect(clippy::disallowed_methods, reason = "a test needs some start of time")]
        let born = Instant::now();
        let later = Age::new(born, born + Duration::from_micros(2500));
        assert_eq!(later.since(Age::new(born, born)), Duration::from_millis(2));
    }
}
