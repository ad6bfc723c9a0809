//! The connection's time limits: one deadline for each.

use std::time::{Duration, Instant};

/// A time limit of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The peer's preface and SETTINGS.
    Handshake,
    /// The acknowledgement of our SETTINGS.
    SettingsAck,
    /// The end of a header block.
    HeaderBlock,
    /// The next piece of the bodies that the peer sends.
    Body,
    /// The rest of requests that were answered early.
    Discard,
    /// Progress of the messages that the peer's windows hold up.
    Write,
    /// A connection without streams.
    Idle,
    /// A short time with no streams, or few of many, after which memory is freed.
    Rest,
    /// A short time without memory for more input, after which it is checked again.
    Memory,
    /// Silence of the peer while streams are open, then the answer to our PING.
    Probe,
    /// The round trip between the two GOAWAY frames of a graceful end.
    SecondGoAway,
    /// The forced end of a graceful end.
    Shutdown,
}

impl Timer {
    /// The timers that wait for input of the peer once.
    const OF_INPUT: [Self; 4] = [
        Self::Handshake,
        Self::SettingsAck,
        Self::HeaderBlock,
        Self::Probe,
    ];

    const ALL: [Self; 12] = [
        Self::Handshake,
        Self::SettingsAck,
        Self::HeaderBlock,
        Self::Body,
        Self::Discard,
        Self::Write,
        Self::Idle,
        Self::Rest,
        Self::Memory,
        Self::Probe,
        Self::SecondGoAway,
        Self::Shutdown,
    ];
}

/// The deadlines of a connection.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    deadlines: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// Starts a timer; a limit of zero means no limit.
    pub(crate) fn set(&mut self, timer: Timer, now: Instant, limit: Duration) {
        self.deadlines[timer as usize] = (!limit.is_zero()).then(|| now + limit);
    }

    /// Starts a timer that ends at `at`.
    pub(crate) fn set_at(&mut self, timer: Timer, at: Instant) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Starts a timer unless it runs.
    pub(crate) fn set_if_unset(&mut self, timer: Timer, now: Instant, limit: Duration) {
        if self.deadlines[timer as usize].is_none() {
            self.set(timer, now, limit);
        }
    }

    /// Extends the timers that wait for input, because the peer's next bytes aren't read for `by`.
    pub(crate) fn postpone(&mut self, by: Duration) {
        for timer in Timer::OF_INPUT {
            if let Some(at) = &mut self.deadlines[timer as usize] {
                *at += by;
            }
        }
    }

    pub(crate) fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    pub(crate) fn clear_all(&mut self) {
        self.deadlines = Default::default();
    }

    /// Whether a running timer is due.
    pub(crate) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.deadlines[timer as usize].is_some_and(|at| at <= now)
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// Removes and returns a timer that is due.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let expired = |timer: &&Timer| self.deadlines[**timer as usize].is_some_and(|at| at <= now);
        let timer = *Timer::ALL.iter().find(expired)?;
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expires_once_and_in_time() {
        let start = crate::testing::some_start();
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Idle, start, Duration::from_secs(5));
        timers.set(Timer::Body, start, Duration::from_secs(3));
        timers.set(Timer::Write, start, Duration::ZERO);
        timers.set_if_unset(Timer::Idle, start, Duration::from_secs(9));
        assert_eq!(timers.next(), Some(start + Duration::from_secs(3)));
        assert_eq!(timers.pop_expired(start + Duration::from_secs(2)), None);
        let late = start + Duration::from_secs(5);
        assert_eq!(timers.pop_expired(late), Some(Timer::Body));
        assert_eq!(timers.pop_expired(late), Some(Timer::Idle));
        assert_eq!(timers.pop_expired(late), None);
    }

    #[test]
    fn every_timer_has_a_place_of_its_own() {
        for (place, timer) in Timer::ALL.into_iter().enumerate() {
            assert_eq!(timer as usize, place);
        }
    }
}
