//! Checks by PING that a silent peer is still there (RFC 9113 §6.7).
//!
//! Only while streams wait for the peer, and not often: gRPC servers treat a client that sends
//! PINGs repeatedly, while they have nothing to send, as an attacker. So each silence is probed
//! once; if the peer answers and then stays silent for long, it is probed again. A server may also
//! keep connections alive: then each silence is probed, with streams open or not, again and again.

use std::time::{Duration, Instant};

use tidegate_frame::Ping;
use tidegate_hpack::{Packer, Unpacker};
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
    sent: Sent,
}

/// The last probe.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// None is of interest any longer.
    None,
    /// Sent at this time and unanswered.
    Unanswered(Instant),
    /// Answered at this time, and nothing else has come in since.
    Answered(Instant),
}

impl Probe {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begins: false,
            heard_at: now,
            sent: Sent::None,
        }
    }

    pub(super) fn pack(&self, out: &mut Packer, born: Instant) {
        let since = |at: Instant| at.saturating_duration_since(born);
        let (sent, at) = match self.sent {
            Sent::None => (0, Duration::ZERO),
            Sent::Unanswered(at) => (1, since(at)),
            Sent::Answered(at) => (2, since(at)),
        };
        out.number(self.begins.into());
        out.duration(since(self.heard_at));
        out.number(sent);
        out.duration(at);
    }

    pub(super) fn unpack(input: &mut Unpacker<'_>, born: Instant) -> Self {
        Self {
            begins: input.flag(),
            heard_at: born + input.duration(),
            sent: match (input.number(), born + input.duration()) {
                (1, at) => Sent::Unanswered(at),
                (2, at) => Sent::Answered(at),
                _ => Sent::None,
            },
        }
    }

    /// Whether a probe is out and nothing has come in since.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.sent, Sent::Unanswered(sent_at) if self.heard_at <= sent_at)
    }

    /// Handles an acknowledged PING.
    pub(crate) fn answered(&mut self, payload: [u8; 8]) {
        if payload == PAYLOAD
            && let Sent::Unanswered(_) = self.sent
        {
            self.sent = Sent::Answered(self.heard_at);
        }
    }
}

impl Connection {
    /// Notes that bytes came in.
    pub(super) fn heard(&mut self) {
        self.probe.heard_at = self.now;
        // The timer runs for the long pause after an answer: restart it. Otherwise it checks
        // `heard_at` when it is due.
        if let Sent::Answered(_) = self.probe.sent {
            self.probe.sent = Sent::None;
            self.arm_probe();
        }
    }

    /// Begins to watch for silence with the first stream. Commands have no time, so the timer
    /// starts in `transmit`.
    pub(super) fn begin_probing(&mut self) {
        self.probe.begins = false;
        if self.lifetime.is_over() {
            return;
        }
        self.heard();
        // A timer that still runs for an earlier silence checks `heard_at` when it is due.
        let is_watched =
            matches!(self.probe.sent, Sent::None) && self.timers.is_running(Timer::Probe);
        let has_limit = self.keeps_alive() || !self.config.timeouts.probe.is_zero();
        if has_limit && !is_watched {
            self.arm_probe();
        }
    }

    /// Begins to watch for silence with the peer's first SETTINGS, if that is wanted with and
    /// without streams.
    pub(super) fn begin_keep_alive(&mut self) {
        if self.keeps_alive() {
            self.arm_probe();
        }
    }

    fn keeps_alive(&self) -> bool {
        !self.config.timeouts.keep_alive.is_zero()
    }

    /// Starts the timer that checks for silence.
    fn arm_probe(&mut self) {
        let timeouts = &self.config.timeouts;
        let (limit, again) = if self.keeps_alive() {
            (timeouts.keep_alive, timeouts.keep_alive)
        } else {
            (timeouts.probe, timeouts.probe.max(AGAIN_AFTER))
        };
        let (since, limit) = match self.probe.sent {
            Sent::Answered(at) => (at, again),
            Sent::None | Sent::Unanswered(_) => (self.probe.heard_at, limit),
        };
        self.timers.set(Timer::Probe, since, limit);
    }

    /// Handles the timer: the peer may have been silent for too long.
    pub(super) fn expire_probe(&mut self) {
        if self.streams.is_empty() && !self.keeps_alive() {
            return;
        }
        if self.probe.is_unanswered() {
            return self.close(CloseReason::ProbeUnanswered, None);
        }
        if let Sent::Unanswered(_) = self.probe.sent {
            // Any bytes are as good as an answer.
            self.probe.sent = Sent::None;
        }
        self.arm_probe();
        if self.timers.is_due(Timer::Probe, self.now) {
            let timeouts = &self.config.timeouts;
            let limit = if timeouts.probe_answer.is_zero() && self.keeps_alive() {
                // No answer is waited for, so only the silence counts, again and again.
                timeouts.keep_alive
            } else {
                self.probe.sent = Sent::Unanswered(self.now);
                timeouts.probe_answer
            };
            self.timers.set(Timer::Probe, self.now, limit);
            self.send(|out| {
                Ping {
                    ack: false,
                    payload: PAYLOAD,
                }
                .write(out);
            });
        }
    }
}
