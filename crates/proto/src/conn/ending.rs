//! How a stream ends before its messages are whole, and how it leaves its slot.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};

use crate::conn::Connection;
use crate::error::{ResetCause, Violation};
use crate::event::Event;
use crate::flow::Share;
use crate::stream::state::{ClosedBy, Sender, State};

/// What tells the owner that we reset a stream because of this.
pub(super) fn reset_event(id: StreamId, violation: Violation) -> Event {
    Event::Reset {
        id,
        code: violation.code(),
        cause: ResetCause::Violation(violation),
    }
}

impl Connection {
    /// Sends RST_STREAM on a stream that has no slot, and remembers it.
    pub(super) fn reset_without_slot(&mut self, id: StreamId, code: ErrorCode) {
        self.streams.note_reset(id, Sender::Us);
        self.send_rst_stream(id, code);
    }

    /// Resets a stream that a time limit of ours ends; the owner is told by the next `receive`.
    /// Nobody is charged for it: there are never more of these than streams for each such time, and
    /// a download that was paused is no offence.
    pub(super) fn lose_by_violation(&mut self, slot: usize, violation: Violation) {
        self.send_reset(slot, violation.code());
        self.lose(slot, violation.code(), ResetCause::Violation(violation));
    }

    /// A stream is over; the owner is told by the next `receive`.
    pub(super) fn lose(&mut self, slot: usize, code: ErrorCode, cause: ResetCause) {
        let stream = self.streams.get_mut(slot);
        if !stream.state.is_closed() {
            stream.state = State::Closed(ClosedBy::Reset(Sender::Peer));
        }
        let id = stream.id;
        self.untold.push_back((id, code, cause));
        if cause == ResetCause::Unprocessed {
            // The peer may still reset it, and that is not to be told again.
            self.streams.note_reset(id, Sender::Us);
        }
        self.let_go(slot);
    }

    /// A stream was reset: it sends and receives no more. It keeps its slot until its owner lets
    /// go.
    pub(super) fn let_go(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        if stream.owner_is_done() {
            return self.remove(slot);
        }
        stream.held = true;
        stream.send.buf.pending = Bytes::new();
        self.memory.sent(stream, usize::MAX);
        stream.send.buf.trailers = None;
        stream.send.stall = None;
        stream.recv.window.consume(u32::MAX);
        self.unqueue(slot);
        self.recount(slot);
    }

    /// Takes out a stream that is over in both directions.
    pub(crate) fn remove_if_closed(&mut self, slot: usize) {
        let stream = self.streams.get(slot);
        if stream.state.is_closed() && !stream.held {
            self.remove(slot);
        }
    }

    /// Takes out a stream: its slot is free, and its credit goes back.
    pub(crate) fn remove(&mut self, slot: usize) {
        let stream = self.streams.remove(slot);
        if stream.queued {
            self.sched.remove(slot);
        }
        self.sched.close(slot);
        self.memory.gone(&stream);
        self.recv_window
            .replace(stream.recv.share, Share::default());
        if self.streams.is_empty() && self.lifetime.is_ending() && self.untold.is_empty() {
            self.close_if_drained();
        }
    }
}
