//! Memory that a connection gives back: after a rest, or at once if most of its streams are gone.

use std::collections::HashMap;

use tidegate_frame::ErrorCode;
use tidegate_http::CloseReason;
use tidegate_http::engine::REST_AFTER;

use crate::conn::Connection;
use crate::conn::timer::Timer;

/// Whether there may be memory to give back.
#[derive(Debug, Default)]
pub(super) enum Rest {
    /// Input has come in since memory was freed last.
    #[default]
    Due,
    /// Memory was freed, and nothing has come in since.
    Done,
}

/// Whether streams are open, or were since output was last made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Activity {
    #[default]
    Busy,
    Quiet,
}

impl Connection {
    /// Starts the time limit of a connection without streams, and frees memory of streams that are
    /// gone, now or after a rest.
    ///
    /// Streams come and go more often than timers expire, so the timers go on when a stream opens,
    /// start anew when the last one is gone, and do nothing if they expire between.
    pub(super) fn rest_if_due(&mut self) {
        if self.streams.is_empty() {
            let idle = self.config.timeouts.idle;
            match std::mem::replace(&mut self.activity, Activity::Quiet) {
                Activity::Busy => {
                    self.timers.set(Timer::Idle, self.now, idle);
                    self.timers.set(Timer::Rest, self.now, REST_AFTER);
                }
                Activity::Quiet => self.timers.set_if_unset(Timer::Idle, self.now, idle),
            }
        }
        if self.streams.is_mostly_free() && !self.sched.has_tree() {
            self.compact();
        }
        if matches!(self.rest, Rest::Due) && (self.streams.is_empty() || self.streams.is_sparse()) {
            self.timers.set_if_unset(Timer::Rest, self.now, REST_AFTER);
        }
    }

    /// Handles the timer of a connection without streams.
    pub(super) fn expire_idle(&mut self) {
        if self.activity == Activity::Quiet {
            self.close(CloseReason::Idle, Some(ErrorCode::NO_ERROR));
        }
    }

    /// Handles the timer of a connection that rests.
    pub(super) fn expire_rest(&mut self) {
        if self.activity == Activity::Quiet || self.streams.is_sparse() {
            self.free_memory();
        }
    }

    /// Frees the memory that a connection with no or few streams doesn't need.
    fn free_memory(&mut self) {
        self.rest = Rest::Done;
        self.control.release_memory();
        if self.streams.is_empty() {
            self.streams.release_memory();
            self.sched.release_memory();
        } else if self.streams.is_sparse() {
            self.compact();
        }
        self.unreported.release_memory();
        self.timers.release_memory();
        self.guard.release_memory(self.now);
        self.blocks.release_memory();
    }

    /// Moves the few streams that are left of many together. The slots of a dependency tree don't
    /// move: only old clients use it, and it also has idle streams.
    fn compact(&mut self) {
        if !self.sched.has_tree() {
            let ready = self.sched.forget_slots();
            let mut now_at: HashMap<usize, usize> = HashMap::new();
            self.streams.compact(|from, to| {
                now_at.insert(from, to);
            });
            for slot in ready {
                let slot = now_at.get(&slot).copied().unwrap_or(slot);
                self.sched.insert(slot, self.streams.get(slot).priority);
            }
        }
        self.streams.release_memory();
    }
}
