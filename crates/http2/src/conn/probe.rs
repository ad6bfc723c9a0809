//! Checks by PING that a silent peer is still there (RFC 9113 §6.7).
//!
//! Only while streams wait for the peer, and not often: gRPC servers treat a client that sends
//! PINGs repeatedly, while they have nothing to send, as an attacker. So each silence is probed
//! once; if the peer answers and then stays silent for long, it is probed again.

use std::time::{Duration, Instant};

use tidegate_frame::Ping;
use tidegate_http::CloseReason;

use crate::conn::Connection;
use crate::conn::timer::Timer;

/// The payload of our PING.
const PAYLOAD: [u8; 8] = *b"are you?";

/// How long a peer that answered may stay silent before it is probed again: a little more than gRPC
/// servers allow by default.
const AGAIN_AFTER: Duration = Duration::from_secs(301);

/// The state of probing.
#[derive(Debug)]
pub(crate) struct Probe {
    /// Whether the connection has its first stream and the timer isn't started yet.
    pub(super) begins: bool,
    /// When bytes came in last.
    heard_at: Instant,
    /// When the unanswered probe was sent.
    sent_at: Option<Instant>,
    /// When a probe was answered, if nothing else has come in since.
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

    /// Handles an acknowledged PING.
    pub(crate) fn answered(&mut self, payload: [u8; 8]) {
        if payload == PAYLOAD && self.sent_at.take().is_some() {
            self.answered_at = Some(self.heard_at);
        }
    }
}

impl Connection {
    /// Notes that bytes came in.
    pub(super) fn heard(&mut self) {
        self.probe.heard_at = self.now;
        // The timer runs for the long pause after an answer: restart it. Otherwise it checks
        // `heard_at` when it is due.
        if self.probe.answered_at.take().is_some() {
            self.arm_probe();
        }
    }

    /// Begins to watch for silence with the first stream. Commands have no time, so the timer
    /// starts in `transmit`.
    #[cold]
    pub(super) fn begin_probing(&mut self) {
        self.probe.begins = false;
        self.heard();
        self.arm_probe();
    }

    /// Starts the timer that checks for silence.
    fn arm_probe(&mut self) {
        let limit = self.config.timeouts.probe;
        let (since, limit) = match self.probe.answered_at {
            Some(at) => (at, limit.max(AGAIN_AFTER)),
            None => (self.probe.heard_at, limit),
        };
        self.timers.set(Timer::Probe, since, limit);
    }

    /// Handles the timer: the peer may have been silent for too long.
    pub(super) fn expire_probe(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        if let Some(sent_at) = self.probe.sent_at {
            if self.probe.heard_at <= sent_at {
                return self.close(CloseReason::ProbeUnanswered, None);
            }
            // Any bytes are as good as an answer.
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
