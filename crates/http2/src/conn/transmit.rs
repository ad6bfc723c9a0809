//! The output: heads and control frames in order, then DATA as the scheduler decides.

use tidegate_frame::{Data, Head};
use tidegate_http::{Event, Flow, Outbox};

use crate::conn::Connection;
use crate::conn::lifetime::Phase;
use crate::conn::stall::STALL_PROGRESS;
use crate::stream::More;
use crate::stream::state::Input;

/// The largest plaintext of a TLS record (RFC 8446 §5.1).
const RECORD: usize = 16 << 10;

/// The most bytes of a stream's turn: one DATA frame, a little less than any peer must accept (RFC
/// 9113 §6.5.2). With its head it fills a TLS record and leaves no remainder for a small one. A
/// peer that accepts larger frames doesn't make the others wait longer.
const MAX_TURN: usize = RECORD - Head::LEN;

/// The most bytes of a body that its owner is asked for at once, whatever the outbox has room for.
/// The rest stays in the stream, where urgent data can still overtake it, and asking in small
/// pieces costs owners a system call for each.
const ASKED: usize = 4 * MAX_TURN;

/// The result of a stream's turn.
enum Turn {
    /// Its DATA is in the outbox, or it isn't ready after all.
    Over,
    /// The owner must be asked first.
    Ask(Event),
}

impl Connection {
    /// Moves bytes that can go out now into `out`, until it holds `limit` bytes.
    pub fn transmit(&mut self, out: &mut Outbox, limit: usize, now: std::time::Instant) -> Flow {
        self.now = now;
        let before = out.len();
        let flow = self.fill(out, limit);
        self.stats.bytes_out += (out.len() - before) as u64;
        // What went out is held no longer, though nobody may ask again for long.
        self.settle_memory();
        flow
    }

    fn fill(&mut self, out: &mut Outbox, limit: usize) -> Flow {
        if self.probe.begins {
            self.begin_probing();
        }
        self.advertise_connection_window();
        loop {
            if !self.control.flush(out, limit) {
                return Flow::Full;
            }
            if let Some(event) = self.unreported.sent.take() {
                return Flow::Event(event);
            }
            if self.lifetime.is_over() {
                self.lifetime.phase = Phase::Closed;
                return Flow::Closed;
            }
            if self.sched.is_empty() {
                if self.stalls.is_blocked() {
                    self.unblock();
                }
                break;
            }
            if out.len() >= limit {
                return Flow::Full;
            }
            if self.send_window.available() == 0 {
                self.block();
                break;
            }
            let Some(slot) = self.sched.next() else { break };
            match self.take_turn(slot, out) {
                Turn::Over => {}
                Turn::Ask(event) => return Flow::Event(event),
            }
        }
        self.rest_if_due();
        Flow::Drained
    }

    /// Takes a stream's turn: sends one DATA frame, or asks its owner for bytes.
    fn take_turn(&mut self, slot: usize, out: &mut Outbox) -> Turn {
        let stream = self.streams.get_mut(slot);
        let stream_window = stream.send.window.available();
        if stream_window == 0 {
            self.stall(slot);
            return Turn::Over;
        }
        let window = stream_window.min(self.send_window.available());
        let buf = &mut stream.send.buf;
        if buf.pending.is_empty() {
            // An owner that was asked in this stream's turn and hasn't answered forgoes it.
            if buf.more != More::Ask {
                self.unqueue(slot);
                return Turn::Over;
            }
            buf.more = More::Asked;
            return Turn::Ask(Event::Writable {
                id: stream.id,
                want: window.min(ASKED),
            });
        }
        let len = window.min(buf.pending.len()).min(MAX_TURN);
        let data = buf.pending.split_to(len);
        self.memory.sent(stream, len);
        let buf = &stream.send.buf;
        let end = buf.pending.is_empty() && buf.more == More::End;
        let ends = end && buf.trailers.is_none();
        let head = Data::head(stream.id, len as u32, ends);
        out.extend(&head);
        out.push(data);
        self.last_frames.sent(&head);
        self.sched.sent(slot, len);
        self.note_data_sent(slot, len, end);
        Turn::Over
    }

    /// Updates windows, state and scheduler after `len` bytes of a stream's body went out; the last
    /// ones if `end` is set.
    pub(super) fn note_data_sent(&mut self, slot: usize, len: usize, end: bool) {
        self.send_window.take(len);
        self.guard.data_sent();
        self.stats.frames_out += 1;
        self.stats.body_out += len as u64;
        let stream = self.streams.get_mut(slot);
        stream.send.window.take(len);
        stream.send.sent += len as u64;
        if let Some(stall) = &mut stream.send.stall {
            stall.sent += len;
            if stall.sent >= STALL_PROGRESS {
                self.end_stall(slot);
            }
        }
        if !end {
            if self.streams.get(slot).send.window.available() == 0 {
                self.stall(slot);
            }
            return;
        }
        if self.streams.get(slot).queued {
            self.unqueue(slot);
        }
        let stream = self.streams.get_mut(slot);
        match stream.send.buf.trailers.take() {
            Some(trailers) => {
                self.streams.get_mut(slot).note_sent(Input::Data);
                self.end_with_trailers(slot, &trailers);
            }
            None => {
                self.streams.get_mut(slot).note_sent(Input::DataEnd);
                self.our_message_ended(slot);
            }
        }
    }

    /// Adds a stream to the scheduler if it can use a turn and has window for it.
    pub(crate) fn queue_if_ready(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        if stream.queued || stream.awaits_release() || !stream.send.buf.wants_turn() {
            return;
        }
        if stream.send.window.available() == 0 {
            return self.stall(slot);
        }
        stream.queued = true;
        self.sched.insert(slot, stream.priority);
    }

    /// Removes a stream that is no longer ready from the scheduler.
    pub(super) fn unqueue(&mut self, slot: usize) {
        if std::mem::take(&mut self.streams.get_mut(slot).queued) {
            self.sched.remove(slot);
        }
    }
}
