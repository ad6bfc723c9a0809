//! Finds out whether a peer that says nothing is still there, by PING (RFC 9113 §6.7).
//!
//! Only while streams wait for it, and not often: servers of gRPC take a client that PINGs again
//! and again while they have nothing to say for an attacker. So a silence is probed once; if the
//! peer answers, and then says nothing for long, again.

use std::time::{Duration, Instant};

use tidegate_frame::Ping;

use crate::conn::Connection;
use crate::conn::timer::Timer;
use crate::error::CloseReason;

/// What our PING carries.
const PAYLOAD: [u8; 8] = *b"are you?";

/// How long a peer that answered may go on saying nothing else before it is probed again: a little
/// more than what servers of gRPC allow by default.
const AGAIN_AFTER: Duration = Duration::from_secs(301);

/// The state of probing.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The connection has its first stream, and it is still to be said when.
    pub(super) begins: bool,
    /// When bytes came in last.
    heard_at: Instant,
    /// When a probe went out whose answer is still to come.
    sent_at: Option<Instant>,
    /// A probe was answered, and nothing else has come in since.
    answered_at: Option<Instant>,
}

impl Probe {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begins: false,
            heard_at: now,
            sent_at: None,
            answered_at: None,
        }
    }

    /// Whether a probe is out and nothing has come in since.
    pub(super) fn is_unanswered(&self) -> bool {
        self.sent_at.is_some_and(|sent_at| self.heard_at <= sent_at)
    }

    /// A PING was acknowledged.
    pub(crate) fn answered(&mut self, payload: [u8; 8]) {
        if payload == PAYLOAD && self.sent_at.take().is_some() {
            self.answered_at = Some(self.heard_at);
        }
    }
}

impl Connection {
    /// Bytes came in.
    pub(super) fn heard(&mut self) {
        self.probe.heard_at = self.now;
        // The timer stands at the end of a long time. Else it looks at what was heard when it is
        // due.
        if self.probe.answered_at.take().is_some() {
            self.arm_probe();
        }
    }

    /// The connection has its first stream from now on. Commands don't tell the time, so that has
    /// to wait for `transmit`.
    #[cold]
    pub(super) fn begin_probing(&mut self) {
        self.probe.begins = false;
        self.heard();
        self.arm_probe();
    }

    /// Sees to it that silence is looked at.
    fn arm_probe(&mut self) {
        let limit = self.config.timeouts.probe;
        let (since, limit) = match self.probe.answered_at {
            Some(at) => (at, limit.max(AGAIN_AFTER)),
            None => (self.probe.heard_at, limit),
        };
        self.timers.set(Timer::Probe, since, limit);
    }

    /// It may have been silent for too long.
    pub(super) fn expire_probe(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        if let Some(sent_at) = self.probe.sent_at {
            if self.probe.heard_at <= sent_at {
                return self.close(CloseReason::ProbeUnanswered, None);
            }
            // Whatever it said is as good as an answer.
            self.probe.sent_at = None;
        }
        self.arm_probe();
        if self.timers.is_due(Timer::Probe, self.now) {
            self.probe.sent_at = Some(self.now);
            self.send(|out| {
                Ping {
                    ack: false,
                    payload: PAYLOAD,
                }
                .write(out);
            });
            let limit = self.config.timeouts.probe_answer;
            self.timers.set(Timer::Probe, self.now, limit);
        }
    }
}
