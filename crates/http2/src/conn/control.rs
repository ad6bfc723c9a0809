//! Frames other than DATA that wait for `transmit`, in the order in which they must be sent.

use tidegate_frame::{ErrorCode, Head, RstStream, StreamId, WindowUpdate};
use tidegate_http::Outbox;

use crate::conn::Connection;
use crate::stream::state::{ClosedBy, Sender, State};

/// The waiting bytes: heads, small bodies and control frames.
#[derive(Debug, Default)]
pub(super) struct Control(Vec<u8>);

impl Control {
    /// Returns the number of waiting bytes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds bytes of a frame to the end.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the buffer to whose end the next frame is written.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Returns the waiting bytes from `before` on.
    pub(super) fn from(&self, before: usize) -> &[u8] {
        self.0.get(before..).unwrap_or_default()
    }

    /// Returns the head of the frame that begins at byte `before`.
    #[inline]
    pub(super) fn head_at(&self, before: usize) -> Option<&[u8; Head::LEN]> {
        self.0.get(before..)?.first_chunk()
    }

    /// Moves the bytes into `out`. Returns whether there was room for them: bytes that stay here
    /// keep [`Connection::can_receive`] from accepting more input, so a peer that reads slowly
    /// can't make the outbox grow.
    pub(super) fn flush(&mut self, out: &mut Outbox, limit: usize) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let has_room = out.is_empty() || out.len() + self.0.len() <= limit;
        if has_room {
            out.append(&mut self.0);
        }
        has_room
    }

    /// Frees the buffer if nothing waits.
    pub(super) fn release_memory(&mut self) {
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
    }
}

impl Connection {
    /// Writes a control frame after those that wait.
    pub(super) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.control.len();
        write(self.control.end());
        self.note_sent(before);
    }

    pub(crate) fn send_window_update(&mut self, stream_id: StreamId, increment: u32) {
        self.stats.window_updates_out += 1;
        self.send(|out| {
            WindowUpdate {
                stream_id,
                increment,
            }
            .write(out);
        });
    }

    /// Sends RST_STREAM on a stream that has a slot, and updates its state.
    pub(crate) fn send_reset(&mut self, slot: usize, code: ErrorCode) {
        let mut stream = self.counted(slot);
        let id = stream.id;
        stream.set_state(State::Closed(ClosedBy::Reset(Sender::Us)));
        drop(stream);
        self.streams.note_reset(id, Sender::Us);
        self.send_rst_stream(id, code);
    }

    pub(super) fn send_rst_stream(&mut self, stream_id: StreamId, code: ErrorCode) {
        self.stats.resets_out += 1;
        self.send(|out| RstStream { stream_id, code }.write(out));
    }
}
