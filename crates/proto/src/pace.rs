//! How fast a body comes in: the one judgement of slow bodies, for the engines of both protocols.

use std::time::{Duration, Instant};

use crate::error::Violation;

/// A body's progress, counted as it comes and judged when a timer fires. Only bytes are progress.
///
/// A body is judged at the end of each period of [`Timeouts::body`](crate::Timeouts::body), over that period and the one
/// before. So the first period is a grace, and a silence that was within the limit is made up for by what came before it.
#[derive(Clone, Debug)]
pub struct Pace {
    /// When the last bytes came, or the peer was last allowed to send some.
    moved_at: Instant,
    /// When the present period began.
    since: Instant,
    /// Bytes of the present period.
    bytes: u32,
    /// Bytes of the period before, if there was one.
    before: Option<u32>,
}

impl Pace {
    /// The pace of a body that the peer may send from now on.
    pub fn new(now: Instant) -> Self {
        Self {
            moved_at: now,
            since: now,
            bytes: 0,
            before: None,
        }
    }

    /// When the present period began: for a body that is never judged, when it was last allowed to come.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// So many bytes of the body came. None are no progress.
    pub fn moved(&mut self, bytes: usize, now: Instant) {
        if bytes > 0 {
            self.moved_at = now;
            let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Judges the body by the longest silence allowed and by the least rate in bytes a second; a rate of 0 is none. Returns
    /// when to judge it again. To be called only while the peer may send.
    ///
    /// # Errors
    /// [`Violation::BodyTimedOut`] for a body that was silent for too long, [`Violation::BodyTooSlow`] for one that drips.
    pub fn judge(
        &mut self,
        limit: Duration,
        least: u32,
        now: Instant,
    ) -> Result<Instant, Violation> {
        let silent_at = self.moved_at + limit;
        if silent_at <= now {
            return Err(Violation::BodyTimedOut);
        }
        if least == 0 {
            return Ok(silent_at);
        }
        if self.since + limit <= now {
            if let Some(before) = self.before {
                let due = 2 * u128::from(least) * limit.as_millis() / 1000;
                if u128::from(before) + u128::from(self.bytes) < due {
                    return Err(Violation::BodyTooSlow);
                }
            }
            self.before = Some(self.bytes);
            self.bytes = 0;
            self.since = now;
        }
        Ok(silent_at.min(self.since + limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const LEAST: u32 = 240;

    /// Has `bytes` come each `every` seconds, and returns after how many seconds the body is given up, if within an hour.
    fn given_up_after(bytes: usize, every: u64) -> Option<(u64, Violation)> {
        let start = crate::testing::some_start();
        let mut pace = Pace::new(start);
        let mut look = start + LIMIT;
        for second in 1..=3600 {
            let now = start + Duration::from_secs(second);
            if second % every == 0 {
                pace.moved(bytes, now);
            }
            if look <= now {
                match pace.judge(LIMIT, LEAST, now) {
                    Ok(next) => look = next,
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
        let start = crate::testing::some_start();
        let mut pace = Pace::new(start);
        pace.moved(1 << 30, start);
        let mut given_up = None;
        for second in 1..200 {
            let now = start + Duration::from_secs(second);
            pace.moved(1, now);
            if second % 30 == 0 && pace.judge(LIMIT, LEAST, now).is_err() {
                given_up = Some(second);
                break;
            }
        }
        assert_eq!(given_up, Some(90));
    }

    #[test]
    fn without_a_least_rate_each_byte_is_progress() {
        let start = crate::testing::some_start();
        let mut pace = Pace::new(start);
        for round in 1..100 {
            let now = start + round * Duration::from_secs(29);
            pace.moved(1, now);
            assert_eq!(pace.judge(LIMIT, 0, now), Ok(now + LIMIT));
        }
    }
}
