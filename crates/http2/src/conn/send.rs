//! The output: heads and control frames in order, then DATA as the scheduler decides.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_frame::{Data, ErrorCode, Head, Headers, RstStream, StreamId, WindowUpdate};
use tidegate_hpack::Fields;
use tidegate_http::engine::{MAX_DISCARDED, MAX_WRITE, REST_AFTER, SMALL_BODY};
use tidegate_http::{Body, Event, Flow, Misuse, Outbox, Pace, RequestHead, Role, Stamp};
use tidegate_ledger::Client;

use crate::conn::recv::PREFACE;
use crate::conn::stall::STALL_PROGRESS;
use crate::conn::timer::Timer;
use crate::conn::{Connection, settings};
use crate::flow::least_window;
use crate::stream::state::{ClosedBy, Input, Sender, State};
use crate::stream::{More, Phase, Stream};

/// The largest plaintext of a TLS record (RFC 8446 §5.1).
const RECORD: usize = 16 << 10;

/// The most bytes of a stream's turn: one DATA frame, a little less than any peer must accept (RFC
/// 9113 §6.5.2). With its head it fills a TLS record and leaves no remainder for a small one. A
/// peer that accepts larger frames doesn't make the others wait longer.
const MAX_TURN: usize = RECORD - Head::LEN;

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
            if !self.flush_control(out, limit) {
                return Flow::Full;
            }
            if self.lifetime.is_over() {
                self.lifetime.phase = super::lifetime::Phase::Closed;
                return Flow::Closed;
            }
            if self.sched.is_empty() {
                if self.blocked.is_some() {
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
            match self.take_turn(slot, out, limit - out.len()) {
                Turn::Over => {}
                Turn::Ask(event) => return Flow::Event(event),
            }
        }
        if self.streams.is_empty() {
            let idle = self.config.timeouts.idle;
            self.timers.set_if_unset(Timer::Idle, self.now, idle);
        }
        if self.streams.is_mostly_free() && !self.sched.has_tree() {
            self.compact();
        }
        if !self.rested && (self.streams.is_empty() || self.streams.is_sparse()) {
            self.timers.set_if_unset(Timer::Rest, self.now, REST_AFTER);
        }
        Flow::Drained
    }

    /// Moves the bytes of `control` into `out`. Returns whether there was room for them: bytes that
    /// stay here keep [`Connection::can_receive`] from accepting more input, so a peer that reads
    /// slowly can't make the outbox grow.
    fn flush_control(&mut self, out: &mut Outbox, limit: usize) -> bool {
        if self.control.is_empty() {
            return true;
        }
        if out.is_empty() {
            // The outbox is empty: swap the buffers instead of copying.
            out.tail().clear();
            std::mem::swap(out.tail(), &mut self.control);
            return true;
        }
        if out.len() + self.control.len() > limit {
            return false;
        }
        out.tail().append(&mut self.control);
        true
    }

    /// Takes a stream's turn: sends one DATA frame, or asks its owner for bytes.
    fn take_turn(&mut self, slot: usize, out: &mut Outbox, room: usize) -> Turn {
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
                want: window.min(body_bytes(room)).min(MAX_WRITE),
            });
        }
        let len = window.min(buf.pending.len()).min(MAX_TURN);
        let data = buf.pending.split_to(len);
        self.memory.sent(stream, len);
        let buf = &stream.send.buf;
        let end = buf.pending.is_empty() && buf.more == More::End;
        Data::write_head(
            stream.id,
            len as u32,
            end && buf.trailers.is_none(),
            out.tail(),
        );
        out.push(data);
        self.sched.sent(slot, len);
        self.note_data_sent(slot, len, end);
        Turn::Over
    }

    /// Updates windows, state and scheduler after `len` bytes of a stream's body went out; the last
    /// ones if `end` is set.
    fn note_data_sent(&mut self, slot: usize, len: usize, end: bool) {
        self.send_window.take(len);
        self.data_frames_sent += 1;
        self.stats.frames_out += 1;
        self.stats.body_out += len as u64;
        let stream = self.streams.get_mut(slot);
        stream.send.window.take(len);
        if let Some(stall) = &mut stream.send.stall {
            stall.sent += len;
            if stall.sent >= STALL_PROGRESS {
                stream.send.stall = None;
            }
        }
        if !end {
            if stream.send.window.available() == 0 {
                self.stall(slot);
            }
            return;
        }
        if stream.queued {
            self.unqueue(slot);
        }
        let stream = self.streams.get_mut(slot);
        match stream.send.buf.trailers.take() {
            Some(trailers) => {
                self.note_sent(slot, Input::Data);
                self.end_with_trailers(slot, &trailers);
            }
            None => {
                self.note_sent(slot, Input::DataEnd);
                self.our_message_ended(slot);
            }
        }
    }

    /// Adds a stream to the scheduler if it can use a turn and has window for it.
    pub(crate) fn queue_if_ready(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        if stream.queued || stream.awaiting_release || !stream.send.buf.wants_turn() {
            return;
        }
        if stream.send.window.available() == 0 {
            return self.stall(slot);
        }
        stream.queued = true;
        self.sched.insert(slot, stream.priority);
    }

    // --- Heads ---

    /// Client: sends a request.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        self.open_for(None, head, body)
    }

    /// Sends a request like [`Connection::open`], on behalf of a client of the owner. The memory
    /// that the stream holds of [`Config::memory_budget`](crate::Config::memory_budget) is billed
    /// to that client instead of the connection, if the client is of the budget's ledger.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open_for(
        &mut self,
        client: Option<&Arc<Client>>,
        head: &RequestHead,
        body: Body,
    ) -> Result<StreamId, Misuse> {
        if self.role != Role::Client {
            return Err(Misuse::WrongRole);
        }
        if self.lifetime.is_ending() {
            return Err(Misuse::GoingAway);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        // RFC 8441 §3: a client may use extended CONNECT once it has received
        // SETTINGS_ENABLE_CONNECT_PROTOCOL of 1.
        if head.protocol().is_some() && !self.settings.peer.enable_connect_protocol {
            return Err(Misuse::ConnectProtocolDisabled);
        }
        if !self.can_open() {
            return Err(Misuse::TooManyStreams);
        }
        self.check_list_size(head.fields())?;
        let id = self.streams.next_local().ok_or(Misuse::TooManyStreams)?;
        let mut stream = self.new_stream(id, Sender::Us);
        stream.note_request(head);
        // Any response may have a body.
        if !self.admit_response(&mut stream, client) {
            return Err(Misuse::OverMemoryBudget);
        }
        self.streams.note_used(id);
        let slot = self.streams.insert(stream);
        self.recount(slot);
        self.wake();
        self.stats.requests += 1;
        self.send_head(slot, head.fields(), None, body);
        Ok(id)
    }

    /// Sends the head of a message, whose size was checked, and takes its body.
    pub(crate) fn send_head(
        &mut self,
        slot: usize,
        fields: &Fields,
        stamp: Option<Stamp>,
        body: Body,
    ) {
        let body = match body {
            Body::Full(bytes) if bytes.is_empty() => Body::Empty,
            body => body,
        };
        let end = matches!(body, Body::Empty);
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, stamp, end);
        self.note_sent(
            slot,
            if end {
                Input::HeadersEnd
            } else {
                Input::Headers
            },
        );
        let stream = self.streams.get_mut(slot);
        stream.send.phase = Phase::Body;
        match body {
            Body::Empty => self.our_message_ended(slot),
            Body::Full(bytes) => self.send_whole_body(slot, bytes, fields),
            Body::Stream => {
                stream.send.buf.more = More::Ask;
                self.queue_body(slot, fields);
            }
        }
    }

    fn send_whole_body(&mut self, slot: usize, bytes: Bytes, head: &Fields) {
        let stream = self.streams.get_mut(slot);
        let len = bytes.len();
        let fits = len <= SMALL_BODY
            && len <= stream.send.window.available()
            && len <= self.send_window.available();
        if fits && self.sched.is_empty() {
            Data::write_head(stream.id, len as u32, true, &mut self.control);
            self.control.extend_from_slice(&bytes);
            return self.note_data_sent(slot, len, true);
        }
        stream.send.buf.pending = bytes;
        self.queue_body(slot, head);
    }

    /// Queues a body for its turn: only now does the response's priority matter.
    fn queue_body(&mut self, slot: usize, head: &Fields) {
        // A request's own field was read when its stream was made.
        if self.role == Role::Server {
            self.merge_priority(slot, head);
        }
        self.queue_if_ready(slot);
    }

    /// Sends an interim response.
    pub(crate) fn send_interim_head(&mut self, slot: usize, fields: &Fields) -> Result<(), Misuse> {
        self.check_list_size(fields)?;
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, None, false);
        self.note_sent(slot, Input::Headers);
        Ok(())
    }

    pub(crate) fn check_list_size(&self, fields: &Fields) -> Result<(), Misuse> {
        let max = self.settings.peer.max_header_list_size;
        // RFC 9113 §10.5.1: the limit is advisory, but the peer would refuse a larger list.
        if max != u32::MAX && fields.list_size() > max as usize {
            return Err(Misuse::HeadTooLarge);
        }
        Ok(())
    }

    /// Sends a HEADERS frame, and CONTINUATION frames as needed.
    pub(super) fn send_block(
        &mut self,
        id: StreamId,
        fields: &Fields,
        stamp: Option<Stamp>,
        end: bool,
    ) {
        let block = self.blocks.encode(fields, stamp, &mut self.stats);
        let max_frame_size = self.settings.peer.max_frame_size;
        Headers::write_block(id, block, end, max_frame_size, None, &mut self.control);
        self.stats.frames_out += 1;
    }

    // --- Bodies and trailers ---

    /// Takes bytes of a body from its owner.
    pub(crate) fn write(&mut self, slot: usize, data: &mut Bytes, end: bool) -> usize {
        let conn_window = self.send_window.available();
        let stream = self.streams.get_mut(slot);
        let buf = &mut stream.send.buf;
        if stream.awaiting_release || stream.send.phase != Phase::Body || buf.more == More::End {
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
        Data::write_head(stream.id, 0, true, &mut self.control);
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

    fn end_with_trailers(&mut self, slot: usize, fields: &Fields) {
        let id = self.streams.get(slot).id;
        self.send_block(id, fields, None, true);
        self.note_sent(slot, Input::HeadersEnd);
        self.our_message_ended(slot);
    }

    /// Removes a stream that is no longer ready from the scheduler.
    pub(super) fn unqueue(&mut self, slot: usize) {
        if std::mem::take(&mut self.streams.get_mut(slot).queued) {
            self.sched.remove(slot);
        }
    }

    /// Notes that END_STREAM went out.
    fn our_message_ended(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        stream.send.phase = Phase::Done;
        stream.send.stall = None;
        if stream.state.is_closed() {
            return self.remove(slot);
        }
        if self.role == Role::Server && (!stream.connect_request || stream.tunnel_ended) {
            self.discard_rest(slot);
        }
    }

    /// Discards the rest of an answered request.
    pub(crate) fn discard_rest(&mut self, slot: usize) {
        self.timers
            .set_if_unset(Timer::Discard, self.now, self.config.timeouts.discard);
        let age = self.age();
        let recv = &mut self.streams.get_mut(slot).recv;
        recv.discard = true;
        recv.pace = Pace::new(age);
        recv.window.consume(u32::MAX);
        recv.window.set_size(least_window(&self.config));
        self.recount(slot);
        self.reset_if_unneeded(slot);
    }

    /// Resets a stream whose request is no longer needed, after accepting some of it, so that the
    /// client can read the response. RFC 9113 §8.1: a server that has answered in full "MAY request
    /// that the client abort transmission of a request without error by sending a RST_STREAM with
    /// an error code of NO_ERROR".
    pub(super) fn reset_if_unneeded(&mut self, slot: usize) {
        let shift = self.window_shift();
        let stream = self.streams.get_mut(slot);
        let recv = &mut stream.recv;
        if !recv.discard || stream.awaiting_release || stream.state.has_ended(Sender::Peer) {
            return;
        }
        if recv.discarded as usize <= MAX_DISCARDED {
            if recv.window.is_open() {
                return;
            }
            let usable = recv.usable();
            if let Some(increment) = recv.window.advertise(shift, usable) {
                let id = stream.id;
                self.send_window_update(id, increment);
                return self.recount(slot);
            }
        }
        self.send_reset(slot, ErrorCode::NO_ERROR);
        self.remove(slot);
    }

    // --- Control frames ---

    /// Sends the preface of our end (RFC 9113 §3.4).
    pub(super) fn send_preface(&mut self) {
        if self.role == Role::Client {
            self.control.extend_from_slice(PREFACE);
        }
        let settings = settings::ours(&self.config, self.role);
        self.send(|out| settings.write(out));
        let timeouts = &self.config.timeouts;
        self.timers
            .set(Timer::Handshake, self.now, timeouts.handshake);
        self.timers
            .set(Timer::SettingsAck, self.now, timeouts.settings_ack);
    }

    /// Writes a control frame after those that wait.
    pub(super) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.control);
        self.stats.frames_out += 1;
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
        let stream: &mut Stream = self.streams.get_mut(slot);
        let id = stream.id;
        stream.state = State::Closed(ClosedBy::Reset(Sender::Us));
        self.streams.note_reset(id, Sender::Us);
        self.send_rst_stream(id, code);
    }

    pub(super) fn send_rst_stream(&mut self, stream_id: StreamId, code: ErrorCode) {
        self.stats.resets_out += 1;
        self.send(|out| RstStream { stream_id, code }.write(out));
    }
}

/// Returns how much of a body fits in `room` bytes of DATA frames; at least 1.
fn body_bytes(room: usize) -> usize {
    let (frames, rest) = (room / RECORD, room % RECORD);
    (frames * MAX_TURN + rest.saturating_sub(Head::LEN)).max(1)
}

#[cfg(test)]
mod tests {
    use bytes::{Buf, BytesMut};
    use tidegate_http::{ResponseHead, Stream as _};

    use super::*;
    use crate::Config;

    /// In 64 KiB fit four frames, which are 16 KiB each with their heads, and no small one follows.
    #[test]
    fn what_is_asked_for_fits_with_the_heads_of_its_frames() {
        for (room, bytes) in [
            (1, 1),
            (10, 1),
            (11, 2),
            (16_384, 16_375),
            (16_393, 16_375),
            (16_394, 16_376),
            (65_536, 4 * 16_375),
        ] {
            assert_eq!(body_bytes(room), bytes, "{room} bytes of room");
        }
    }

    /// A whole exchange in memory: the smallest use of both roles.
    #[test]
    fn a_request_and_its_response() {
        let now = crate::testing::some_start();
        let mut client = Connection::client(Config::client().build().unwrap(), now);
        let mut server = Connection::server(Config::server().build().unwrap(), now);
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = client.open(&head, Body::Empty).unwrap();
        let mut got = BytesMut::new();
        let mut wire = BytesMut::new();
        for _ in 0..8 {
            pump(&mut client, &mut wire, now);
            while let Some(event) = server.receive(&mut wire, now) {
                if let Event::Request { id, .. } = event {
                    let head = ResponseHead::new(200).field("content-length", "10000");
                    let body = Body::Full(Bytes::from(vec![7; 10_000]));
                    server.stream(id).unwrap().respond(&head, body).unwrap();
                }
            }
            pump(&mut server, &mut wire, now);
            while let Some(event) = client.receive(&mut wire, now) {
                if let Event::Data { data, .. } = event {
                    got.extend_from_slice(&data);
                }
            }
        }
        assert_eq!(got, vec![7; 10_000]);
        assert!(client.stream(id).is_none());
        assert_eq!((client.active_streams(), server.active_streams()), (0, 0));
    }

    #[test]
    fn a_handle_outlives_its_stream_and_does_nothing_then() {
        let now = crate::testing::some_start();
        let mut client = Connection::client(Config::client().build().unwrap(), now);
        let mut server = Connection::server(Config::server().build().unwrap(), now);
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let id = client.open(&head, Body::Empty).unwrap();
        let mut wire = BytesMut::new();
        pump(&mut client, &mut wire, now);
        while server.receive(&mut wire, now).is_some() {}
        let mut stream = server.stream(id).unwrap();
        stream
            .respond(&ResponseHead::new(204), Body::Empty)
            .unwrap();
        assert_eq!(stream.id(), id);
        assert_eq!(
            stream.respond(&ResponseHead::new(204), Body::Empty),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(
            stream.inform(&ResponseHead::new(103)),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(stream.trailers(&Fields::new()), Err(Misuse::StreamClosed));
        assert_eq!(stream.push(&head), Err(Misuse::StreamClosed));
        assert_eq!(stream.write(&mut Bytes::from_static(b"x"), true), 0);
        stream.consume(1);
        assert_eq!(stream.unconsumed(), 0);
        let priority = stream.priority();
        stream.prioritize(priority);
        stream.reset(ErrorCode::CANCEL);
        stream.release();
        assert_eq!(server.active_streams(), 0);
        pump(&mut server, &mut wire, now);
        while let Some(event) = client.receive(&mut wire, now) {
            assert!(!matches!(event, Event::Reset { .. }));
        }
    }

    fn pump(conn: &mut Connection, wire: &mut BytesMut, now: std::time::Instant) {
        let mut out = Outbox::new();
        assert!(matches!(
            conn.transmit(&mut out, usize::MAX, now),
            Flow::Drained
        ));
        while out.has_remaining() {
            let n = out.chunk().len();
            wire.extend_from_slice(out.chunk());
            out.advance(n);
        }
    }
}
