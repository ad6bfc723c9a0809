//! Streams that end before their messages are complete, and the release of slots.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};
use tidegate_http::{Event, ResetCause, Violation};

use crate::conn::Connection;
use crate::flow::Share;
use crate::stream::Phase;
use crate::stream::state::{ClosedBy, Sender, State};

/// Returns the event for a stream that we reset because of a violation.
pub(super) fn reset_event(id: StreamId, violation: Violation) -> Event {
    Event::Reset {
        id,
        code: violation.code(),
        cause: ResetCause::Violation(violation),
    }
}

impl Connection {
    /// Sends RST_STREAM on a stream without a slot, and remembers it.
    pub(super) fn reset_without_slot(&mut self, id: StreamId, code: ErrorCode) {
        self.streams.note_reset(id, Sender::Us);
        self.send_rst_stream(id, code);
    }

    /// Resets a stream because of one of our time limits; the next `receive` reports it. The guard
    /// doesn't charge the peer: there are never more of these than streams in each such time, and a
    /// paused download is no offence.
    pub(super) fn lose_by_violation(&mut self, slot: usize, violation: Violation) {
        self.send_reset(slot, violation.code());
        self.lose(slot, violation.code(), ResetCause::Violation(violation));
    }

    /// Ends a stream; the next `receive` reports it.
    pub(super) fn lose(&mut self, slot: usize, code: ErrorCode, cause: ResetCause) {
        let mut stream = self.counted(slot);
        if !stream.state().is_closed() {
            stream.set_state(State::Closed(ClosedBy::Reset(Sender::Peer)));
        }
        let id = stream.id;
        drop(stream);
        self.unreported.reset(id, code, cause);
        if cause == ResetCause::Unprocessed {
            // The peer may still reset it; that must not be reported again.
            self.streams.note_reset(id, Sender::Us);
        }
        self.await_release(slot);
    }

    /// Stops sending and receiving on a stream that was reset. The stream keeps its slot until its
    /// owner releases it.
    pub(super) fn await_release(&mut self, slot: usize) {
        self.end_stall(slot);
        let stream = self.streams.get_mut(slot);
        if stream.owner_is_done() {
            return self.remove(slot);
        }
        stream.send.buf.pending = Bytes::new();
        self.memory.sent(stream, usize::MAX);
        stream.send.buf.trailers = None;
        self.counted(slot).await_release();
        self.unqueue(slot);
    }

    /// Removes a stream that is over in both directions.
    pub(crate) fn remove_if_closed(&mut self, slot: usize) {
        let stream = self.streams.get(slot);
        if stream.state().is_closed() && !stream.awaits_release() {
            self.remove(slot);
        }
    }

    /// Removes a stream: its slot is free, and its credit is returned.
    pub(crate) fn remove(&mut self, slot: usize) {
        self.end_stall(slot);
        let stream = self.streams.get(slot);
        if stream.queued {
            self.sched.remove(slot);
        }
        if self.config.report_sent && stream.send.phase == Phase::Body {
            self.unreported.sent.push(stream.sent());
        }
        self.sched.close(slot);
        self.memory.gone(stream);
        self.recv_window
            .replace(stream.recv.share(), Share::default());
        self.streams.remove(slot);
        if self.streams.is_empty() && self.lifetime.is_ending() && !self.unreported.has_resets() {
            self.close_if_drained();
        }
    }
}
