//! The amount of plaintext in a TLS record.
//!
//! A receiver can use nothing of a record before it has the whole record. At the start of a burst
//! TCP's window holds about ten segments, so a record of 16 KiB would take another round trip, and
//! a lost segment would delay all of it. Later, small records would only cost: each has a header, a
//! tag and a run of the cipher.

use std::time::{Duration, Instant};

/// A record that fits in one TCP segment: 1,500 bytes less 40 for IPv6, 32 for TCP with timestamps
/// and up to 29 for TLS are 1,399. Some are left for tunnels.
const SMALL: usize = 1360;

/// The most plaintext in a TLS record (RFC 8446 §5.1).
const FULL: usize = 16 << 10;

/// Bytes of a burst that go in small records: the first three windows of a new TCP connection,
/// which starts with ten segments (RFC 6928) and doubles them each round trip.
const WARM_UP: usize = 64 << 10;

/// A new burst begins after this long without a write. TCP also resets its window then (RFC 5681
/// §4.1).
const IDLE: Duration = Duration::from_secs(1);

/// The size of a connection's next TLS record.
pub(crate) struct RecordSize {
    /// Bytes that are still to go in small records.
    warm_up: usize,
    last_write: Instant,
}

impl RecordSize {
    /// Returns the state of a connection that has sent nothing yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            warm_up: WARM_UP,
            last_write: now,
        }
    }

    /// Notes that records are about to be made.
    pub(crate) fn write(&mut self, now: Instant) {
        if now.saturating_duration_since(self.last_write) >= IDLE {
            self.warm_up = WARM_UP;
        }
        self.last_write = now;
    }

    /// Returns the most bytes for the next record.
    pub(crate) fn most(&self) -> usize {
        if self.warm_up > 0 { SMALL } else { FULL }
    }

    /// Notes that a record of `bytes` bytes was made.
    pub(crate) fn made(&mut self, bytes: usize) {
        self.warm_up = self.warm_up.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_first_then_full_and_small_again_after_a_pause() {
        let mut now = Instant::now();
        let mut size = RecordSize::new(now);
        for _ in 0..2 {
            let mut small = 0;
            while size.most() == SMALL {
                size.write(now);
                size.made(SMALL);
                small += SMALL;
                // A burst lasts as long as there is no pause.
                now += IDLE / 2;
            }
            assert!((WARM_UP..WARM_UP + SMALL).contains(&small), "{small}");
            size.write(now);
            size.made(FULL);
            assert_eq!(size.most(), FULL);
            now += IDLE;
            size.write(now);
        }
        assert_eq!(size.most(), SMALL);
    }
}
