//! Outgoing bodies that their owner makes piece by piece, trailers, and the ends of messages.

use bytes::Bytes;
use tidegate_frame::Data;
use tidegate_hpack::Fields;
use tidegate_http::Role;
use tidegate_http::engine::MAX_WRITE;

use crate::conn::Connection;
use crate::stream::state::Input;
use crate::stream::{More, Phase};

impl Connection {
    /// Takes bytes of a body from its owner.
    pub(crate) fn write(&mut self, slot: usize, data: &mut Bytes, end: bool) -> usize {
        let conn_window = self.send_window.available();
        let stream = self.streams.get_mut(slot);
        let is_over = stream.awaits_release();
        let buf = &mut stream.send.buf;
        if is_over || stream.send.phase != Phase::Body || buf.more == More::End {
            return 0;
        }
        if data.is_empty() {
            if end {
                self.end_body(slot);
            }
            return 0;
        }
        let mut taken = 0;
        if buf.pending.is_empty() {
            taken = data
                .len()
                .min(stream.send.window.available())
                .min(conn_window)
                .min(MAX_WRITE);
            buf.pending = data.split_to(taken);
            self.memory.written(stream, taken);
        }
        stream.send.buf.more = if end && data.is_empty() {
            More::End
        } else {
            More::Ask
        };
        if !stream.queued {
            if stream.send.window.available() == 0 {
                self.stall(slot);
            } else {
                // The stream was asked because it was its turn; the turn goes on.
                stream.queued = true;
                self.sched.resume(slot, stream.priority);
            }
        }
        taken
    }

    /// Ends a body: the owner has no more bytes.
    fn end_body(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        stream.send.buf.more = More::End;
        if !stream.send.buf.pending.is_empty() {
            return;
        }
        // An empty frame needs no window (RFC 9113 §6.9.1), so it doesn't wait for a turn either.
        let head = Data::head(stream.id, 0, true);
        self.control.extend(&head);
        self.last_frames.sent(&head);
        self.unqueue(slot);
        self.note_data_sent(slot, 0, true);
    }

    /// Ends a body with trailers, at once or after the pending bytes.
    pub(crate) fn send_trailers(&mut self, slot: usize, fields: &Fields) {
        let buf = &mut self.streams.get_mut(slot).send.buf;
        buf.more = More::End;
        if !buf.pending.is_empty() {
            buf.trailers = Some(Box::new(fields.clone()));
            return;
        }
        self.unqueue(slot);
        self.end_with_trailers(slot, fields);
    }

    pub(super) fn end_with_trailers(&mut self, slot: usize, fields: &Fields) {
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, None, true);
        self.streams.get_mut(slot).note_sent(Input::HeadersEnd);
        self.our_message_ended(slot);
    }

    /// Notes that END_STREAM went out.
    pub(super) fn our_message_ended(&mut self, slot: usize) {
        self.end_stall(slot);
        let stream = self.streams.get_mut(slot);
        stream.send.phase = Phase::Done;
        if self.config.report_sent {
            self.unreported.sent.push(stream.sent());
        }
        if stream.state().is_closed() {
            return self.remove(slot);
        }
        if self.role == Role::Server && (!stream.connect_request || stream.tunnel_ended) {
            self.discard_rest(slot);
        }
    }
}
