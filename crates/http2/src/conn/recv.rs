//! Incoming frames: for each type, charge the guard, change the state, return the event.

use bytes::{Buf, BytesMut};
use tidegate_frame::{
    Continuation, Frame, Headers, Kind, Ping, PushPromise, RstStream, SettingId, Settings,
    StreamId, WindowUpdate,
};
use tidegate_http::{Event, ResetCause, Role, Violation};

use crate::conn::Connection;
use crate::conn::fault::{Fault, Outcome, illegal};
use crate::conn::field_block::{Opening, Partial};
use crate::conn::rest::Rest;
use crate::conn::timer::Timer;
use crate::stream::map::Lookup;
use crate::stream::state::{ClosedBy, Input, Sender};

/// The kinds of frames that are told apart by when they may come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Settings,
    Continuation(StreamId),
    Any,
}

impl Connection {
    /// Takes bytes off the front of `input` up to the first event. Call it until it returns `None`.
    /// The bytes left in `input` are then an unfinished frame (keep them and append to them), or
    /// they wait until [`Connection::can_receive`].
    pub fn receive(&mut self, input: &mut BytesMut, now: std::time::Instant) -> Option<Event> {
        self.now = now;
        loop {
            if let Some(event) = self.take_unreported() {
                return Some(event);
            }
            if self.lifetime.is_over() {
                input.clear();
                if let Some(event) = self.unreported.sent.take() {
                    return Some(event);
                }
                return self.lifetime.take_reason();
            }
            if !self.has_room_for_answers() || input.is_empty() {
                return None;
            }
            self.rest = Rest::Due;
            self.heard();
            let before = input.len();
            let outcome = match self.preface.take(input) {
                Ok(true) => self.take_frame(input),
                Ok(false) => None,
                Err(violation) => Some(Err(violation.into())),
            };
            self.stats.bytes_in += (before - input.len()) as u64;
            let Some(outcome) = outcome else {
                self.watch_block(input);
                return None;
            };
            match outcome {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(Fault(id, violation)) => {
                    if let Some(event) = self.fail(id, violation) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// Takes the next frame off the front of the input and handles it. Returns `None` if no whole
    /// frame is there.
    fn take_frame(&mut self, input: &mut BytesMut) -> Option<Outcome> {
        if !self.reader.skip_payload(input) {
            return None;
        }
        self.last_frames.begin(input.first_chunk()?);
        if let Some((frame, len)) = self.reader.headers_in_place(input) {
            self.last_frames.received();
            let outcome = match self.admit_frame(Turn::Any) {
                Ok(()) => self.on_headers(&frame),
                Err(violation) => Err(violation.into()),
            };
            input.advance(len);
            return Some(outcome);
        }
        match self.reader.next(input) {
            Ok(Some(frame)) => {
                self.last_frames.received();
                Some(self.on_frame(frame))
            }
            Ok(None) => None,
            Err(bad) => {
                self.last_frames.received();
                self.timers.clear(Timer::HeaderBlock);
                Some(Err(self.malformed(bad)))
            }
        }
    }

    /// Counts a frame and checks that it may come now.
    fn admit_frame(&mut self, turn: Turn) -> Result<(), Violation> {
        self.stats.frames_in += 1;
        // RFC 9113 §4.3: "Field blocks MUST be transmitted as a contiguous sequence of frames, with
        // no interleaved frames of any other type or from any other stream."
        if let Some(partial) = &self.blocks.partial
            && turn != Turn::Continuation(partial.id)
        {
            return Err(Violation::HeaderBlockInterrupted);
        }
        // RFC 9113 §3.4: the preface of either end includes a SETTINGS frame, its first.
        if !self.settings.received && turn != Turn::Settings {
            return Err(Violation::PrefaceWithoutSettings);
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Frame) -> Outcome {
        self.admit_frame(match &frame {
            Frame::Continuation(frame) => Turn::Continuation(frame.stream_id),
            Frame::Settings(Settings::Values(_)) => Turn::Settings,
            _ => Turn::Any,
        })?;
        match frame {
            Frame::Data(frame) => self.on_data(frame),
            Frame::Headers(frame) => self.on_headers(&frame),
            Frame::Priority(frame) => self.on_priority(frame),
            Frame::RstStream(frame) => self.on_rst_stream(frame),
            Frame::Settings(frame) => self.on_settings(&frame),
            Frame::PushPromise(frame) => self.on_push_promise_frame(&frame),
            Frame::Ping(frame) => self.on_ping(frame),
            Frame::GoAway(frame) => Ok(self.receive_goaway(frame)?),
            Frame::WindowUpdate(frame) => self.on_window_update(frame),
            Frame::Continuation(frame) => self.on_continuation(&frame),
            Frame::PriorityUpdate(frame) => self.on_priority_update(&frame),
            // RFC 9113 §5.5: "Implementations MUST ignore unknown or unsupported values in all
            // extensible protocol elements."
            Frame::Unknown(frame) => {
                let charged = self.guard.unknown_frame(frame.length, self.now);
                self.tolerate(charged)?;
                let event = Event::UnknownFrame {
                    kind: frame.kind,
                    id: frame.stream_id,
                    len: frame.length,
                };
                Ok(self.config.report_unknown_frames.then_some(event))
            }
        }
    }

    // --- Field blocks ---

    /// Starts the time limit of a header block if the unfinished frame in `rest` belongs to one:
    /// its bytes may come one by one.
    fn watch_block(&mut self, rest: &[u8]) {
        let kind = rest.get(3).map(|kind| Kind(*kind));
        if let Some(Kind::HEADERS | Kind::PUSH_PROMISE | Kind::CONTINUATION) = kind {
            let limit = self.config.timeouts.header_block;
            self.timers
                .set_if_unset(Timer::HeaderBlock, self.now, limit);
        }
    }

    fn on_headers(&mut self, frame: &Headers<impl AsRef<[u8]>>) -> Outcome {
        let opening = Opening::Headers {
            end_stream: frame.end_stream,
            dependency: frame.priority,
        };
        let fragment = frame.fragment.as_ref();
        self.begin_block(frame.stream_id, opening, fragment, frame.end_headers)
    }

    fn on_push_promise_frame(&mut self, frame: &PushPromise) -> Outcome {
        if self.role == Role::Server {
            return Err(Violation::PushPromiseFromClient.into());
        }
        let opening = Opening::PushPromise {
            promised: frame.promised_id,
        };
        self.begin_block(frame.stream_id, opening, &frame.fragment, frame.end_headers)
    }

    fn begin_block(
        &mut self,
        id: StreamId,
        opening: Opening,
        fragment: &[u8],
        end: bool,
    ) -> Outcome {
        if end {
            self.timers.clear(Timer::HeaderBlock);
            return self.on_block(id, opening, fragment);
        }
        self.timers.set_if_unset(
            Timer::HeaderBlock,
            self.now,
            self.config.timeouts.header_block,
        );
        let block = fragment.to_vec();
        self.blocks.partial = Some(Box::new(Partial {
            id,
            opening,
            block,
            continuations: 0,
        }));
        Ok(None)
    }

    fn on_continuation(&mut self, frame: &Continuation) -> Outcome {
        // RFC 9113 §6.10: "A CONTINUATION frame MUST be preceded by a HEADERS, PUSH_PROMISE or
        // CONTINUATION frame without the END_HEADERS flag set."
        let Some(mut partial) = self.blocks.partial.take() else {
            return Err(Violation::ContinuationWithoutHeaders.into());
        };
        partial.continuations += 1;
        let block_len = partial.block.len() + frame.fragment.len();
        self.guard.continuation(
            partial.continuations,
            frame.fragment.len(),
            block_len,
            frame.end_headers,
            self.now,
        )?;
        partial.block.extend_from_slice(&frame.fragment);
        if !frame.end_headers {
            self.blocks.partial = Some(partial);
            return Ok(None);
        }
        self.timers.clear(Timer::HeaderBlock);
        self.on_block(partial.id, partial.opening, &partial.block)
    }

    // --- The other kinds of frames ---

    fn on_rst_stream(&mut self, frame: RstStream) -> Outcome {
        let id = frame.stream_id;
        self.stats.resets_in += 1;
        let is_push = self.role == Role::Server && id.is_server_initiated();
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            // RFC 9113 §6.4: on an idle stream it "MUST" be "a connection error of type
            // PROTOCOL_ERROR".
            Lookup::Idle | Lookup::Skipped if id <= self.lifetime.last_accepted => {
                return Err(Violation::FrameOnIdleStream.into());
            }
            // The response may be out before the client rejects the push. Nothing else tells the
            // owner that it did.
            Lookup::Closed(ClosedBy::EndStream) if is_push => {
                self.charge_push_cancelled()?;
                self.streams.note_reset(id, Sender::Peer);
                // The owner knows already that streams above the one in the client's GOAWAY were
                // not processed.
                let is_known = self.lifetime.peer_last.is_some_and(|last| id > last);
                return Ok((!is_known).then(|| reset_by_peer(frame)));
            }
            _ => {
                self.charge_closed_stream()?;
                return Ok(None);
            }
        };
        let stream = self.streams.get_mut(slot);
        if stream.awaits_release() {
            self.charge_closed_stream()?;
            return Ok(None);
        }
        if stream.opened_by == Sender::Peer {
            self.charge_peer_reset()?;
        } else if is_push {
            self.charge_push_cancelled()?;
        }
        let mut stream = self.counted(slot);
        if let Ok(state) = stream.state().on(Sender::Peer, Input::RstStream) {
            stream.set_state(state);
        }
        drop(stream);
        self.streams.note_reset(id, Sender::Peer);
        self.await_release(slot);
        Ok(Some(reset_by_peer(frame)))
    }

    fn on_settings(&mut self, frame: &Settings) -> Outcome {
        if matches!(frame, Settings::Ack) {
            self.on_settings_ack()?;
            return Ok(None);
        }
        let charged = self.guard.settings(frame.entries().count(), self.now);
        self.tolerate(charged)?;
        let first = !self.settings.received;
        let before = self.settings.receive(frame, self.role.other())?;
        let peer = self.settings.peer;
        if first {
            self.timers.clear(Timer::Handshake);
            self.begin_keep_alive();
        }
        // RFC 9218 §2.1: "A server that receives SETTINGS_NO_RFC7540_PRIORITIES with a value of 1
        // MUST ignore HTTP/2 priority signals."
        if peer.no_rfc7540_priorities {
            self.ignore_dependencies();
        }
        // RFC 7541 §4.2: "the smallest maximum table size that occurs in that interval MUST be
        // signaled", so each value counts.
        for (id, value) in frame.entries() {
            if id == SettingId::HEADER_TABLE_SIZE {
                self.blocks.set_encoder_table_size(value);
            }
        }
        let delta = i64::from(peer.initial_window_size) - i64::from(before.initial_window_size);
        if delta != 0 {
            self.shift_send_windows(delta)?;
        }
        self.send(|out| Settings::Ack.write(out));
        Ok(Some(Event::PeerSettings))
    }

    /// Moves the windows of all streams after a change of SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113
    /// §6.9.2).
    fn shift_send_windows(&mut self, delta: i64) -> Result<(), Violation> {
        let mut ready = Vec::new();
        for (slot, stream) in self.streams.iter_mut() {
            let shifted = stream.send.window.shift(delta);
            shifted.map_err(|_| Violation::WindowOverflowBySettings)?;
            if stream.send.window.available() > 0 && !stream.queued {
                ready.push(slot);
            }
        }
        for slot in ready {
            self.queue_if_ready(slot);
        }
        Ok(())
    }

    fn on_ping(&mut self, frame: Ping) -> Outcome {
        if !frame.ack {
            let charged = self.guard.ping(self.now);
            self.tolerate(charged)?;
            self.send(|out| {
                Ping {
                    ack: true,
                    payload: frame.payload,
                }
                .write(out);
            });
        } else if self.pings.acknowledged(frame.payload) {
            self.send_second_goaway();
        } else {
            self.probe.answered(frame.payload);
        }
        Ok(None)
    }

    fn on_window_update(&mut self, frame: WindowUpdate) -> Outcome {
        let WindowUpdate {
            stream_id: id,
            increment,
        } = frame;
        self.stats.window_updates_in += 1;
        let streams = self.streams_opened();
        let bytes = self.stats.body_out;
        let charged = self.guard.window_update(bytes, streams, self.now);
        self.tolerate(charged)?;
        if id.is_connection() {
            if self.send_window.grow(increment).is_err() {
                return Err(Violation::WindowOverflow.into());
            }
            return Ok(None);
        }
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            // RFC 9113 §6.8: frames on streams above the one in our GOAWAY are ignored.
            Lookup::Idle if id > self.lifetime.last_accepted => return Ok(None),
            Lookup::Idle => return Err(Violation::FrameOnIdleStream.into()),
            Lookup::Skipped => return Err(Violation::StreamIdNotIncreasing.into()),
            Lookup::Closed(_) => return Ok(None),
        };
        let stream = self.streams.get_mut(slot);
        stream
            .state()
            .on(Sender::Peer, Input::WindowUpdate)
            .map_err(|bad| illegal(id, bad))?;
        if stream.awaits_release() {
            return Ok(None);
        }
        if stream.send.window.grow(increment).is_err() {
            return Err(Fault(id, Violation::WindowOverflowOnStream));
        }
        self.queue_if_ready(slot);
        Ok(None)
    }
}

/// Returns the event for a RST_STREAM of the peer.
fn reset_by_peer(frame: RstStream) -> Event {
    Event::Reset {
        id: frame.stream_id,
        code: frame.code,
        cause: ResetCause::Peer,
    }
}
