//! The end of a connection: Alive → Draining → Closing → Closed (RFC 9113 §5.4.1 and §6.8).

use bytes::Bytes;
use tidegate_frame::{ErrorCode, GoAway, Ping, StreamId};
use tidegate_http::{CloseReason, Event, ResetCause, Role, Violation};

use crate::conn::Connection;
use crate::conn::ping::SHUTDOWN_PAYLOAD;
use crate::conn::timer::Timer;
use crate::stream::state::Sender;
use crate::stream::{self, Stream};

/// The phase of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The connection is open.
    Alive,
    /// A graceful end has begun.
    Draining,
    /// The connection is over; GOAWAY, if any, waits for `transmit`.
    Closing,
    /// The connection is over and has no more output.
    Closed,
}

/// The state of a connection's end.
#[derive(Debug)]
pub(crate) struct Lifetime {
    pub(crate) phase: Phase,
    /// The last stream in our newest GOAWAY: the peer's streams above it are ignored.
    pub(crate) last_accepted: StreamId,
    /// Whether the second GOAWAY of a graceful end is out.
    second_sent: bool,
    /// The last stream in the peer's newest GOAWAY.
    pub(crate) peer_last: Option<StreamId>,
    /// The error in the peer's GOAWAY.
    peer_error: Option<Box<(ErrorCode, Bytes)>>,
    /// Why the connection closed, until that is reported.
    reason: Option<Box<CloseReason>>,
}

/// The most bytes of debug data in a GOAWAY frame: with the 8 before them, they fill the largest
/// frame that every peer accepts (RFC 9113 §4.2).
const MOST_DEBUG_DATA: usize = 16_384 - 8;

/// How long the second GOAWAY waits for the answer to our PING, which a peer may never send.
const SECOND_GOAWAY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

impl Lifetime {
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Alive,
            last_accepted: StreamId::MAX,
            second_sent: false,
            peer_last: None,
            peer_error: None,
            reason: None,
        }
    }

    /// Whether the connection is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Whether either end has begun to end the connection.
    pub(crate) fn is_ending(&self) -> bool {
        self.phase != Phase::Alive || self.peer_last.is_some()
    }

    /// Returns the event that reports the end, once.
    pub(crate) fn take_reason(&mut self) -> Option<Event> {
        self.reason.take().map(|reason| Event::Closed(*reason))
    }
}

impl Connection {
    /// Begins a graceful end: GOAWAY(2^31-1), after a round trip GOAWAY(last), then the open
    /// streams finish (RFC 9113 §6.8). Streams that are still open after
    /// [`Timeouts::shutdown`](crate::Timeouts::shutdown) are cut off.
    pub fn shut_down(&mut self, now: std::time::Instant) {
        self.now = now;
        if self.lifetime.phase != Phase::Alive {
            return;
        }
        self.lifetime.phase = Phase::Draining;
        self.timers
            .set(Timer::Shutdown, now, self.config.timeouts.shutdown);
        if self.role == Role::Client {
            // A server could only open pushes, and the client can refuse those.
            self.send_second_goaway();
        } else {
            self.send_goaway(StreamId::MAX, ErrorCode::NO_ERROR, "");
            self.send(|out| {
                Ping {
                    ack: false,
                    payload: SHUTDOWN_PAYLOAD,
                }
                .write(out);
            });
            self.pings.sent();
            self.timers
                .set(Timer::SecondGoAway, now, SECOND_GOAWAY_AFTER);
        }
    }

    /// Closes the connection at once with GOAWAY. `text` says why, for the operator of the other
    /// end (RFC 9113 §6.8: "additional debug data … for diagnostic purposes only"); what is beyond
    /// 16,376 bytes, which fit into a frame, is left out. Open streams are cut off.
    pub fn abort(&mut self, code: ErrorCode, text: &str) {
        self.close_with(CloseReason::Aborted(code), Some((code, text)));
    }

    /// Sends the second GOAWAY of a graceful end, which names the last stream that will be
    /// processed.
    pub(crate) fn send_second_goaway(&mut self) {
        if self.lifetime.phase != Phase::Draining || self.lifetime.second_sent {
            return;
        }
        self.lifetime.second_sent = true;
        self.timers.clear(Timer::SecondGoAway);
        self.lifetime.last_accepted = self.streams.highest_peer();
        self.send_goaway(self.lifetime.last_accepted, ErrorCode::NO_ERROR, "");
        self.close_if_drained();
    }

    /// Client: opens no more streams because of a violation by the server; open streams finish.
    pub(super) fn drain(&mut self, violation: Violation) {
        if self.lifetime.phase != Phase::Alive {
            return;
        }
        self.lifetime.phase = Phase::Draining;
        let limit = self.config.timeouts.shutdown;
        self.timers.set(Timer::Shutdown, self.now, limit);
        self.lifetime.second_sent = true;
        self.lifetime.last_accepted = self.streams.highest_peer();
        let last = self.lifetime.last_accepted;
        self.send_goaway(last, ErrorCode::NO_ERROR, violation.name());
        self.close_if_drained();
    }

    /// Sends GOAWAY. `debug_data` is for the operator of the other end (RFC 9113 §6.8).
    fn send_goaway(&mut self, last_stream_id: StreamId, code: ErrorCode, debug_data: &str) {
        let debug_data = &debug_data.as_bytes()[..debug_data.len().min(MOST_DEBUG_DATA)];
        self.send(|out| {
            GoAway {
                last_stream_id,
                code,
                debug_data: Bytes::copy_from_slice(debug_data),
            }
            .write(out);
        });
    }

    /// Closes the connection if a graceful end is complete.
    pub(crate) fn close_if_drained(&mut self) {
        if !self.streams.is_empty() || self.lifetime.is_over() {
            return;
        }
        // The last GOAWAY of either end is enough: a peer that has sent GOAWAY opens no more
        // streams.
        if self.lifetime.second_sent || self.lifetime.peer_last.is_some() {
            // RFC 9113 §6.8: "Endpoints SHOULD always send a GOAWAY frame before closing a
            // connection".
            let code = (!self.lifetime.second_sent).then_some(ErrorCode::NO_ERROR);
            let reason = match self.lifetime.peer_error.take().map(|error| *error) {
                Some((code, debug_data)) => CloseReason::PeerError { code, debug_data },
                None => CloseReason::Graceful,
            };
            self.close(reason, code);
        }
    }

    /// Closes the connection: sends GOAWAY with this code, if any, and drops the streams.
    pub(crate) fn close(&mut self, reason: CloseReason, goaway: Option<ErrorCode>) {
        let text = match reason {
            CloseReason::Violation(violation) => violation.name(),
            _ => "",
        };
        self.close_with(reason, goaway.map(|code| (code, text)));
    }

    /// Closes the connection: sends GOAWAY with this code and debug data, if any.
    fn close_with(&mut self, reason: CloseReason, goaway: Option<(ErrorCode, &str)>) {
        if self.lifetime.is_over() {
            return;
        }
        if let Some((code, debug_data)) = goaway {
            let last = self.lifetime.last_accepted.min(self.streams.highest_peer());
            self.send_goaway(last, code, debug_data);
        }
        self.lifetime.phase = Phase::Closing;
        self.lifetime.reason = Some(Box::new(reason));
        if self.config.report_sent {
            for (_, stream) in self.streams.iter() {
                if stream.send.phase == stream::Phase::Body {
                    self.unreported.sent.push(stream.sent());
                }
            }
        }
        self.end_stalls();
        self.streams.clear();
        self.recv_window.close();
        self.memory.close();
        self.sched = Default::default();
        self.blocks.partial = None;
        self.unreported.drop_resets();
        self.timers.clear_all();
        self.guard.end_pause();
    }

    /// Closes the connection because of a violation that it can't survive.
    pub(crate) fn close_by_violation(&mut self, violation: Violation) {
        self.close(CloseReason::Violation(violation), Some(violation.code()));
    }

    /// The transport will bring nothing more. Call `receive` once more for the events that follow.
    pub fn receive_eof(&mut self, now: std::time::Instant) {
        self.now = now;
        // Streams that were reset wait only for their owner.
        let under_way = self
            .streams
            .iter()
            .any(|(_, stream)| !stream.awaits_release());
        let reason = match self.lifetime.peer_error.take().map(|error| *error) {
            Some((code, debug_data)) => CloseReason::PeerError { code, debug_data },
            None if !under_way && self.blocks.partial.is_none() => CloseReason::Eof,
            None => CloseReason::EofInTheMiddle,
        };
        self.close(reason, None);
    }

    /// Handles the peer's GOAWAY (RFC 9113 §6.8).
    pub(crate) fn receive_goaway(&mut self, frame: GoAway) -> Result<Option<Event>, Violation> {
        let GoAway {
            last_stream_id: last,
            code,
            debug_data,
        } = frame;
        let charged = self.guard.goaway(self.now);
        self.tolerate(charged)?;
        // "Endpoints MUST NOT increase the value they send in the last stream identifier".
        let before = self.lifetime.peer_last;
        if before.is_some_and(|before| last > before) {
            return Err(Violation::GoAwayLastStreamIncreased);
        }
        // A frame without news costs the same however many streams there are.
        if before == Some(last) && code == ErrorCode::NO_ERROR {
            return Ok(None);
        }
        self.lifetime.peer_last = Some(last);
        if code != ErrorCode::NO_ERROR {
            self.lifetime.peer_error = Some(Box::new((code, debug_data.clone())));
        }
        if before != Some(last) {
            self.lose_unprocessed(last);
        }
        if !self.unreported.has_resets() {
            self.close_if_drained();
        }
        Ok(Some(Event::GoingAway {
            last,
            code,
            debug_data,
        }))
    }

    /// Ends our streams above `last`, which were not processed; "requests … can be retried" (RFC
    /// 9113 §6.8).
    fn lose_unprocessed(&mut self, last: StreamId) {
        let is_lost = |stream: &Stream| {
            stream.opened_by == Sender::Us && stream.id > last && !stream.awaits_release()
        };
        let streams = self.streams.iter();
        let lost: Vec<usize> = streams
            .filter(|(_, stream)| is_lost(stream))
            .map(|(slot, _)| slot)
            .collect();
        for slot in lost {
            self.lose(slot, ErrorCode::REFUSED_STREAM, ResetCause::Unprocessed);
        }
    }
}
