//! The connection's time limits: one deadline for each.

use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tidegate_hpack::{Packer, Unpacker};

/// A time limit of a connection. Of those that are due, the first one here expires first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// All timers, in their order.
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

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// The deadlines of a connection. Few timers run at once: one while the connection is idle.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    running: SmallVec<[Running; 2]>,
    /// The running timers, a bit for each: most calls are about one that doesn't run.
    bits: u16,
}

/// A timer that runs.
#[derive(Clone, Copy, Debug)]
struct Running {
    timer: Timer,
    at: Instant,
}

impl Timers {
    /// Starts a timer; a limit of zero means no limit.
    pub(crate) fn set(&mut self, timer: Timer, now: Instant, limit: Duration) {
        if limit.is_zero() {
            self.clear(timer);
        } else {
            self.set_at(timer, now + limit);
        }
    }

    /// Starts a timer that ends at `at`.
    pub(crate) fn set_at(&mut self, timer: Timer, at: Instant) {
        match self.find(timer) {
            Some(place) => self.running[place].at = at,
            None => self.start(timer, at),
        }
    }

    fn start(&mut self, timer: Timer, at: Instant) {
        self.running.push(Running { timer, at });
        self.bits |= timer.bit();
    }

    /// Starts a timer unless it runs.
    #[inline]
    pub(crate) fn set_if_unset(&mut self, timer: Timer, now: Instant, limit: Duration) {
        if !self.is_running(timer) && !limit.is_zero() {
            self.start(timer, now + limit);
        }
    }

    #[inline]
    pub(crate) fn is_running(&self, timer: Timer) -> bool {
        self.bits & timer.bit() != 0
    }

    /// Extends the timers that wait for input, because the peer's next bytes aren't read for `by`.
    pub(crate) fn postpone(&mut self, by: Duration) {
        for running in &mut self.running {
            if Timer::OF_INPUT.contains(&running.timer) {
                running.at += by;
            }
        }
    }

    #[inline]
    pub(crate) fn clear(&mut self, timer: Timer) {
        if let Some(place) = self.find(timer) {
            self.running.swap_remove(place);
            self.bits &= !timer.bit();
        }
    }

    pub(crate) fn clear_all(&mut self) {
        self.running.clear();
        self.bits = 0;
    }

    /// Frees memory that isn't needed now.
    pub(crate) fn release_memory(&mut self) {
        self.running.shrink_to_fit();
    }

    /// Adds the deadlines.
    pub(crate) fn pack(&self, out: &mut Packer, born: Instant) {
        out.number(self.running.len() as u64);
        for Running { timer, at } in &self.running {
            out.number(*timer as u64);
            out.duration(at.saturating_duration_since(born));
        }
    }

    /// Makes the timers that others have packed.
    pub(crate) fn unpack(input: &mut Unpacker<'_>, born: Instant) -> Self {
        let mut timers = Self::default();
        for _ in 0..input.number() {
            let (timer, at) = (input.size(), born + input.duration());
            if let Some(timer) = Timer::ALL.get(timer) {
                timers.set_at(*timer, at);
            }
        }
        timers
    }

    /// Whether a running timer is due.
    pub(crate) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        let place = self.find(timer);
        place.is_some_and(|place| self.running[place].at <= now)
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.at).min()
    }

    /// Removes and returns a timer that is due.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Timer> {
        let due = self.running.iter().filter(|running| running.at <= now);
        let timer = due.map(|running| running.timer).min()?;
        self.clear(timer);
        Some(timer)
    }

    #[inline]
    fn find(&self, timer: Timer) -> Option<usize> {
        if !self.is_running(timer) {
            return None;
        }
        let mut running = self.running.iter();
        running.position(|running| running.timer == timer)
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
}
