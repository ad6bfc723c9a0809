//! Peers that don't take data that is ready (CVE-2016-1546): the window of a stream or of the
//! connection holds it up. Bytes sent count as progress, credit received doesn't.

use std::time::{Duration, Instant};

use tidegate_http::{GuardPeaks, Violation};

use crate::conn::Connection;
use crate::conn::data::earlier;
use crate::conn::timer::Timer;
use crate::stream::{More, Stall};

/// The bytes after which data counts as held up no longer. Fewer are a drip that is meant to keep
/// the stream warm.
pub(super) const STALL_PROGRESS: usize = 16 << 10;

/// The state of a connection window of the peer that holds up data. Streams have their own.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    blocked: Option<Blocked>,
    /// The number of streams that their own windows hold up.
    streams: usize,
}

impl Stalls {
    /// Whether the connection's window holds up data, or did so lately.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }
}

/// A connection window that was used up while data was ready.
#[derive(Clone, Copy, Debug)]
struct Blocked {
    since: Instant,
    /// The bytes of bodies sent until then.
    body_out: u64,
}

impl Connection {
    /// Notes that a stream has data and no window.
    #[cold]
    pub(super) fn stall(&mut self, slot: usize) {
        self.unqueue(slot);
        let now = self.now;
        let stall = &mut self.streams.get_mut(slot).send.stall;
        if stall.is_none() {
            *stall = Some(Stall {
                since: now,
                sent: 0,
            });
            self.stalls.streams += 1;
            self.stats.stream_stalls += 1;
        }
        self.timers
            .set_if_unset(Timer::Write, now, self.config.timeouts.write);
    }

    /// Notes that streams have data and the connection has no window.
    #[cold]
    pub(super) fn block(&mut self) {
        self.stalls.blocked.get_or_insert(Blocked {
            since: self.now,
            body_out: self.stats.body_out,
        });
        self.timers
            .set_if_unset(Timer::Write, self.now, self.config.timeouts.write);
    }

    /// Notes that no stream can send any more: the data that the connection's window held up is
    /// sent or gone, unless the streams' own windows hold it up now. A peer that alternates between
    /// the two kinds of windows doesn't take the data either.
    #[cold]
    pub(super) fn unblock(&mut self) {
        let are_stalled = || {
            let mut streams = self.streams.iter();
            streams.any(|(_, stream)| stream.send.stall.is_some())
        };
        if !are_stalled() {
            self.end_block();
        }
    }

    /// Notes that the connection's window no longer holds up data.
    fn end_block(&mut self) {
        if let Some(blocked) = self.stalls.blocked.take() {
            self.stats.connection_stalled += micros(self.now, blocked.since);
        }
    }

    /// Notes that a stream's window no longer holds up its data, if it did.
    #[inline]
    pub(super) fn end_stall(&mut self, slot: usize) {
        if self.streams.get(slot).send.stall.is_some() {
            self.forget_stall(slot);
        }
    }

    #[cold]
    fn forget_stall(&mut self, slot: usize) {
        if let Some(stall) = self.streams.get_mut(slot).send.stall.take() {
            self.stalls.streams = self.stalls.streams.saturating_sub(1);
            self.stats.stream_stalled += micros(self.now, stall.since);
        }
    }

    /// Notes that the connection is over: nothing holds up data any more.
    pub(super) fn end_stalls(&mut self) {
        self.end_block();
        if self.stalls.streams > 0 {
            let slots: Vec<usize> = self.streams.iter().map(|(slot, _)| slot).collect();
            for slot in slots {
                self.end_stall(slot);
            }
        }
    }

    /// Returns the number of streams that have data to send and wait for their windows.
    pub fn stalled_streams(&self) -> usize {
        self.stalls.streams
    }

    /// Returns how much of each budget against abuse the peer has used up at once, since the budget
    /// was full.
    pub fn guard_peaks(&self) -> GuardPeaks {
        self.guard.peaks()
    }

    /// Ends the streams or the connection that the peer's windows have held up for too long.
    pub(super) fn expire_writes(&mut self) {
        let (limit, now) = (self.config.timeouts.write, self.now);
        // A window that is open at this moment may be closed at the next: check again soon.
        let soon = now + (limit / 8).max(Duration::from_millis(1));
        let mut next = None;
        if let Some(blocked) = self.stalls.blocked {
            let has_progress = self.stats.body_out - blocked.body_out >= STALL_PROGRESS as u64;
            let is_blocked = self.send_window.available() == 0 && !self.sched.is_empty();
            if blocked.since + limit > now {
                next = earlier(next, blocked.since + limit);
            } else if has_progress {
                self.end_block();
                if is_blocked {
                    self.block();
                    next = earlier(next, now + limit);
                }
            } else if is_blocked {
                self.end_block();
                return self.close_by_violation(Violation::ConnectionWindowStalled);
            } else {
                next = earlier(next, soon);
            }
        }
        let (mut expired, mut over) = (Vec::new(), Vec::new());
        for (slot, stream) in self.streams.iter_mut() {
            let Some(stall) = stream.send.stall else {
                continue;
            };
            let waits_for_owner =
                stream.send.buf.pending.is_empty() && stream.send.buf.more == More::Asked;
            if stall.since + limit > now {
                next = earlier(next, stall.since + limit);
            } else if stream.send.window.available() == 0 {
                expired.push(slot);
            } else if waits_for_owner {
                over.push(slot);
            } else {
                next = earlier(next, soon);
            }
        }
        for slot in over {
            self.end_stall(slot);
        }
        for slot in expired {
            self.lose_by_violation(slot, Violation::WriteTimedOut);
        }
        if let Some(at) = next
            && !self.lifetime.is_over()
        {
            self.timers.set_at(Timer::Write, at);
        }
    }
}

/// Returns the microseconds since a time.
fn micros(now: Instant, since: Instant) -> u64 {
    let elapsed = now.saturating_duration_since(since).as_micros();
    u64::try_from(elapsed).unwrap_or(u64::MAX)
}
