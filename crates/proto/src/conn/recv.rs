//! What the peer sends: for each kind of frame, charge the guard, move the state, return the event.

use bytes::{Buf, Bytes, BytesMut};
use tidegate_frame::{
    Continuation, Data, ErrorCode, Frame, Headers, Ping, Priority as PriorityFrame, PriorityUpdate,
    PushPromise, RstStream, Scope, Settings, StreamDependency, StreamId, WindowUpdate,
};
use tidegate_hpack::{Decoded, ListLimit};

use crate::conn::field_block::{Opening, Partial};
use crate::conn::timer::Timer;
use crate::conn::{Connection, Role};
use crate::error::{ResetCause, Violation};
use crate::event::Event;
use crate::flow::{RecvWindow, SendWindow};
use crate::message::{Fields, KnownName, RequestHead, RequestRules, ResponseHead, check_trailers};
use crate::sched::Priority;
use crate::stream::map::Lookup;
use crate::stream::state::{ClosedBy, Illegal, Input, Sender, State};
use crate::stream::{Phase, Stream};

/// What a client says first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A rule that a frame on this stream breaks.
pub(super) struct Fault(StreamId, Violation);

type Outcome = Result<Option<Event>, Fault>;

impl From<Violation> for Fault {
    /// A rule of the connection.
    fn from(violation: Violation) -> Self {
        Self(StreamId::CONNECTION, violation)
    }
}

impl Connection {
    /// Takes octets off the front of `input` up to the first thing that the owner must know. Call it until it returns
    /// `None`; what is left in `input` then is an unfinished frame (keep it and append to it), or waits until
    /// [`Connection::can_receive`].
    pub fn receive(&mut self, input: &mut BytesMut, now: std::time::Instant) -> Option<Event> {
        self.now = now;
        loop {
            if let Some((id, code, cause)) = self.untold.pop_front() {
                if self.untold.is_empty() && self.lifetime.is_ending() {
                    self.close_if_drained();
                }
                return Some(Event::Reset { id, code, cause });
            }
            if self.lifetime.is_over() {
                input.clear();
                return self.lifetime.take_reason();
            }
            if !self.can_receive() || input.is_empty() {
                return None;
            }
            self.rested = false;
            let before = input.len();
            let frame = match self.take_preface(input) {
                Ok(true) => self
                    .reader
                    .next(input)
                    .map_err(|bad| Fault(bad.stream_id, bad.into())),
                Ok(false) => return None,
                Err(violation) => Err(violation.into()),
            };
            self.stats.octets_in += (before - input.len()) as u64;
            let outcome = match frame {
                Ok(Some(frame)) => self.on_frame(frame),
                Ok(None) => return None,
                Err(fault) => Err(fault),
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

    /// Takes the client's preface off the front of the input; whether it is whole.
    fn take_preface(&mut self, input: &mut BytesMut) -> Result<bool, Violation> {
        if self.preface_left == 0 {
            return Ok(true);
        }
        let expected = &PREFACE[PREFACE.len() - self.preface_left..];
        let n = expected.len().min(input.len());
        // RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a connection error".
        if input[..n] != expected[..n] {
            return Err(Violation::PrefaceInvalid);
        }
        input.advance(n);
        self.preface_left -= n;
        Ok(self.preface_left == 0)
    }

    /// A rule was broken on a stream, or on the connection: RST_STREAM or GOAWAY.
    fn fail(&mut self, id: StreamId, violation: Violation) -> Option<Event> {
        // RFC 9113 §6.4: "RST_STREAM frames MUST NOT be sent for a stream in the "idle" state", so there a stream error
        // takes the connection with it.
        let lookup = self.streams.lookup(id);
        if violation.scope() == Scope::Connection || id.is_connection() || lookup == Lookup::Idle {
            self.close_by_violation(violation);
            return None;
        }
        if let Err(violation) = self.guard.own_reset(self.now) {
            self.close_by_violation(violation);
            return None;
        }
        let code = violation.code();
        match lookup {
            Lookup::Live(slot) if self.streams.get(slot).held => {
                // Its owner knows already.
                self.send_rst_stream(id, code);
                return None;
            }
            Lookup::Live(slot) => {
                self.send_reset(slot, code);
                self.let_go(slot);
            }
            // RFC 9113 §5.4.2: "an endpoint SHOULD NOT send more than one RST_STREAM frame for any stream".
            Lookup::Closed(ClosedBy::Reset(Sender::Us)) => return None,
            _ => {
                self.streams.note_reset(id, Sender::Us);
                self.send_rst_stream(id, code);
            }
        }
        Some(Event::Reset {
            id,
            code,
            cause: ResetCause::Violation(violation),
        })
    }

    fn on_frame(&mut self, frame: Frame) -> Outcome {
        self.stats.frames_in += 1;
        if let Some(partial) = &self.blocks.partial {
            // RFC 9113 §4.3: "Field blocks MUST be transmitted as a contiguous sequence of frames, with no interleaved frames
            // of any other type or from any other stream."
            match &frame {
                Frame::Continuation(frame) if frame.stream_id == partial.id => {}
                _ => return Err(Violation::HeaderBlockInterrupted.into()),
            }
        }
        if !self.settings.received && !matches!(frame, Frame::Settings(Settings::Values(_))) {
            // RFC 9113 §3.4: the preface of either end includes a SETTINGS frame, its first.
            return Err(Violation::PrefaceWithoutSettings.into());
        }
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
            // RFC 9113 §5.5: "Implementations MUST ignore unknown or unsupported values in all extensible protocol elements."
            Frame::Unknown(frame) => {
                self.guard.unknown_frame(frame.length, self.now)?;
                Ok(None)
            }
        }
    }

    // --- Field blocks ---

    fn on_headers(&mut self, frame: &Headers) -> Outcome {
        let opening = Opening::Headers {
            end_stream: frame.end_stream,
            dependency: frame.priority,
        };
        self.begin_block(frame.stream_id, opening, &frame.fragment, frame.end_headers)
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
            return self.on_block(id, opening, fragment);
        }
        self.timers.set(
            Timer::HeaderBlock,
            self.now,
            self.config.timeouts.header_block,
        );
        let block = fragment.to_vec();
        self.blocks.partial = Some(Partial {
            id,
            opening,
            block,
            continuations: 0,
        });
        Ok(None)
    }

    fn on_continuation(&mut self, frame: &Continuation) -> Outcome {
        // RFC 9113 §6.10: "A CONTINUATION frame MUST be preceded by a HEADERS, PUSH_PROMISE or CONTINUATION frame without the
        // END_HEADERS flag set."
        let Some(mut partial) = self.blocks.partial.take() else {
            return Err(Violation::ContinuationWithoutHeaders.into());
        };
        partial.continuations += 1;
        let block_len = partial.block.len() + frame.fragment.len();
        let max_list_size = self.config.max_header_list_size as usize;
        self.guard.continuation(
            partial.continuations,
            frame.fragment.len(),
            block_len,
            max_list_size,
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

    /// A whole field block. Whatever becomes of the stream, it is decoded first: both ends' tables must stay in step
    /// (RFC 9113 §4.3).
    fn on_block(&mut self, id: StreamId, opening: Opening, block: &[u8]) -> Outcome {
        let max_list_size = self.config.max_header_list_size as usize;
        let (fields, decoded) = self.blocks.decode(block, &mut self.stats)?;
        self.guard
            .header_list(decoded.list_size, decoded.fields, max_list_size)?;
        match opening {
            Opening::Headers {
                end_stream,
                dependency,
            } => self.on_field_list(id, end_stream, dependency, fields, decoded),
            Opening::PushPromise { promised } => {
                self.on_push_promise(id, promised, fields, decoded.over)
            }
        }
    }

    fn on_field_list(
        &mut self,
        id: StreamId,
        end: bool,
        dependency: Option<StreamDependency>,
        fields: Fields,
        decoded: Decoded,
    ) -> Outcome {
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            Lookup::Idle => return self.on_request(id, end, dependency, fields, decoded.over),
            lookup => return self.on_frame_of_gone(id, lookup),
        };
        let stream = self.streams.get_mut(slot);
        // A stream that was reset and waits for its owner takes nothing more.
        let input = if end {
            Input::HeadersEnd
        } else {
            Input::Headers
        };
        let state = stream
            .state
            .on(Sender::Peer, input)
            .map_err(|bad| illegal(id, bad))?;
        if stream.held {
            return Ok(None);
        }
        // RFC 9113 §8.5: "Frame types other than DATA or stream management frames (RST_STREAM, WINDOW_UPDATE, and PRIORITY)
        // MUST NOT be sent on a connected stream and MUST be treated as a stream error".
        if stream.is_tunnel() {
            return Err(Fault(id, Violation::HeadersOnTunnel));
        }
        self.check_dependency(id, dependency)?;
        if let Some(limit) = decoded.over {
            return Err(Fault(id, over(limit)));
        }
        let stream = self.streams.get_mut(slot);
        match (self.role, stream.recv.phase) {
            (Role::Client, Phase::Head) => self.on_response(slot, state, end, fields),
            _ => {
                // RFC 9113 §8.1: trailers carry END_STREAM; "a HEADERS frame without … END_STREAM … after receiving the HEADERS
                // frame that opens a request … MUST be treated as malformed".
                if !end {
                    return Err(Fault(id, Violation::TrailersWithoutEndStream));
                }
                check_trailers(&fields).map_err(|violation| Fault(id, violation))?;
                stream.state = state;
                self.end_of_message(slot)?;
                let told = !self.streams.get(slot).recv.discard;
                self.remove_if_closed(slot);
                Ok(told.then_some(Event::Trailers { id, fields }))
            }
        }
    }

    /// HEADERS on an idle stream: a request.
    fn on_request(
        &mut self,
        id: StreamId,
        end: bool,
        dependency: Option<StreamDependency>,
        fields: Fields,
        over_limit: Option<ListLimit>,
    ) -> Outcome {
        if self.role == Role::Client {
            return Err(Violation::FrameOnIdleStream.into());
        }
        // RFC 9113 §5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers".
        if !id.is_client_initiated() {
            return Err(Violation::StreamIdOfWrongParity.into());
        }
        // RFC 9113 §6.8: frames on streams above the one that GOAWAY named are ignored.
        if id > self.lifetime.last_accepted {
            return Ok(None);
        }
        self.streams.note_used(id);
        self.guard.stream_opened();
        self.stats.requests += 1;
        self.check_dependency(id, dependency)?;
        // RFC 9113 §5.1.2: more than SETTINGS_MAX_CONCURRENT_STREAMS.
        if self.streams.opened_by(Sender::Peer) >= self.config.max_concurrent_streams as usize {
            return self.refuse(id);
        }
        if let Some(limit) = over_limit {
            return self.answer_431(id, end, over(limit));
        }
        let rules = RequestRules {
            extended_connect: self.config.enable_connect_protocol,
        };
        let head =
            RequestHead::from_fields(fields, rules).map_err(|violation| Fault(id, violation))?;
        let mut stream = self.new_stream(id, Sender::Peer);
        stream.state = if end {
            State::HalfClosed(Sender::Peer)
        } else {
            State::Open
        };
        stream.recv.phase = if end { Phase::Done } else { Phase::Body };
        stream.head_request = head.method_octets() == b"HEAD";
        stream.connect_request = head.method_octets() == b"CONNECT";
        if !stream.connect_request {
            stream.recv.content_left = head.content_length();
        }
        // RFC 9113 §8.1.1: a content-length that does not equal the sum of the DATA payloads is malformed.
        if end && stream.recv.content_left.is_some_and(|left| left > 0) {
            return Err(Fault(id, Violation::ContentLengthMismatch));
        }
        if let Some(value) = head.get_known(KnownName::PRIORITY) {
            stream.priority = Priority::parse(value);
        }
        // RFC 9218 §7: a PRIORITY_UPDATE frame is the newer word, even if it came first.
        if let Some(priority) = self.early_priorities.take(id) {
            stream.priority = priority;
        }
        self.streams.insert(stream);
        self.wake();
        if !end {
            self.timers
                .set_if_unset(Timer::Body, self.now, self.config.timeouts.body);
        }
        Ok(Some(Event::Request { id, head, end }))
    }

    /// One stream more than the peer may have.
    pub(super) fn refuse(&mut self, id: StreamId) -> Outcome {
        // Streams that were sent before our limit was known are no abuse, but not for free either.
        self.guard.peer_reset(true, self.now)?;
        let violation = Violation::TooManyConcurrentStreams;
        self.streams.note_reset(id, Sender::Us);
        self.send_rst_stream(id, violation.code());
        Ok(Some(Event::Reset {
            id,
            code: violation.code(),
            cause: ResetCause::Violation(violation),
        }))
    }

    /// RFC 9113 §10.5.1: "A server that receives a larger field block than it is willing to handle can send an HTTP 431
    /// (Request Header Fields Too Large) status code".
    fn answer_431(&mut self, id: StreamId, end: bool, violation: Violation) -> Outcome {
        self.guard.own_reset(self.now)?;
        let head = ResponseHead::new(431);
        self.send_block(id, head.fields(), true);
        if !end {
            self.send_rst_stream(id, ErrorCode::NO_ERROR);
        }
        self.streams.note_reset(id, Sender::Us);
        Ok(Some(Event::Reset {
            id,
            code: violation.code(),
            cause: ResetCause::Violation(violation),
        }))
    }

    fn on_response(&mut self, slot: usize, state: State, end: bool, fields: Fields) -> Outcome {
        let stream = self.streams.get_mut(slot);
        let id = stream.id;
        let head = ResponseHead::from_fields(fields).map_err(|violation| Fault(id, violation))?;
        if head.is_informational() {
            // RFC 9113 §8.1: an interim response with END_STREAM is malformed.
            if end {
                return Err(Fault(id, Violation::InformationalWithEndStream));
            }
            stream.state = state;
            return Ok(Some(Event::Informational { id, head }));
        }
        stream.state = state;
        stream.recv.phase = Phase::Body;
        // RFC 9113 §8.5: only a 2xx makes a tunnel.
        stream.connect_request &= (200..300).contains(&head.status());
        let recv = &mut stream.recv;
        recv.no_content = stream.head_request || matches!(head.status(), 204 | 304);
        if !recv.no_content && !stream.connect_request {
            recv.content_left = head.content_length();
        }
        if end {
            self.end_of_message(slot)?;
            self.remove_if_closed(slot);
        } else {
            recv.progress_at = self.now;
            self.timers
                .set_if_unset(Timer::Body, self.now, self.config.timeouts.body);
        }
        Ok(Some(Event::Response { id, head, end }))
    }

    /// The peer's message on this stream is whole.
    fn end_of_message(&mut self, slot: usize) -> Result<(), Fault> {
        let stream = self.streams.get_mut(slot);
        stream.recv.phase = Phase::Done;
        if stream.recv.content_left.is_some_and(|left| left > 0) {
            return Err(Fault(stream.id, Violation::ContentLengthMismatch));
        }
        Ok(())
    }

    /// RFC 7540 §5.3.1: "A stream cannot depend on itself."
    fn check_dependency(
        &self,
        id: StreamId,
        dependency: Option<StreamDependency>,
    ) -> Result<(), Fault> {
        match dependency {
            Some(dependency) if dependency.depends_on == id => {
                Err(Fault(id, Violation::StreamDependsOnItself))
            }
            _ => Ok(()),
        }
    }

    /// A frame on a stream that is not in its slot any more, or never was.
    fn on_frame_of_gone(&mut self, id: StreamId, lookup: Lookup) -> Outcome {
        match lookup {
            Lookup::Skipped => Err(Violation::StreamIdNotIncreasing.into()),
            // RFC 9113 §5.1: frames that were under way when we sent RST_STREAM are ignored.
            Lookup::Closed(ClosedBy::Reset(Sender::Us)) => Ok(None),
            Lookup::Closed(ClosedBy::Reset(Sender::Peer)) => {
                Err(Fault(id, Violation::FrameOnResetStream))
            }
            _ if id > self.lifetime.last_accepted => Ok(None),
            Lookup::Closed(ClosedBy::EndStream) => Err(Violation::FrameOnClosedStream.into()),
            _ => Err(Violation::FrameOnIdleStream.into()),
        }
    }

    pub(super) fn new_stream(&self, id: StreamId, opened_by: Sender) -> Stream {
        Stream::new(
            id,
            opened_by,
            RecvWindow::new(self.settings.local_initial_window),
            SendWindow::new(self.settings.peer.initial_window_size),
            self.now,
        )
    }

    // --- DATA ---

    fn on_data(&mut self, frame: Data) -> Outcome {
        let id = frame.stream_id;
        // RFC 9113 §6.9: every DATA frame counts against the connection's window, that on a dead stream too.
        if self.recv_window.receive(frame.flow_len).is_err() {
            return Err(Violation::DataOverWindow.into());
        }
        if frame.payload.is_empty() && !frame.end_stream {
            self.guard.empty_data(self.now)?;
        }
        match self.streams.lookup(id) {
            Lookup::Live(slot) => self.on_stream_data(slot, frame),
            lookup => {
                self.release_connection_window(frame.flow_len);
                self.on_frame_of_gone(id, lookup)
            }
        }
    }

    fn on_stream_data(&mut self, slot: usize, frame: Data) -> Outcome {
        let Data {
            stream_id: id,
            payload,
            end_stream: end,
            flow_len,
        } = frame;
        let len = payload.len() as u32;
        let stream = self.streams.get_mut(slot);
        let input = if end { Input::DataEnd } else { Input::Data };
        let state = match stream.state.on(Sender::Peer, input) {
            Ok(state) => state,
            Err(bad) => {
                self.release_connection_window(flow_len);
                return Err(illegal(id, bad));
            }
        };
        if stream.held {
            self.release_connection_window(flow_len);
            return Ok(None);
        }
        if let Err(violation) = count_data(stream, len, flow_len) {
            self.release_connection_window(flow_len);
            return Err(Fault(id, violation));
        }
        stream.state = state;
        stream.recv.progress_at = self.now;
        self.stats.body_in += u64::from(len);
        if end {
            let checked = self.end_of_message(slot);
            if checked.is_err() {
                self.release_connection_window(flow_len);
                return checked.map(|()| None);
            }
        }
        // Padding is done with as soon as it is there.
        let stream = self.streams.get_mut(slot);
        let discard = stream.recv.discard;
        let done = if discard { flow_len } else { flow_len - len };
        if !discard {
            stream.recv.unconsumed += len;
            if done > 0
                && !end
                && let Some(increment) = stream.recv.window.release(done)
            {
                self.send_window_update(id, increment);
            }
        } else if !end && !stream.recv.window.is_open() {
            self.release_connection_window(done);
            self.reset_if_unneeded(slot);
            return Ok(None);
        }
        if done > 0 {
            self.release_connection_window(done);
        }
        self.remove_if_closed(slot);
        let told = !discard && (end || !payload.is_empty());
        Ok(told.then_some(Event::Data {
            id,
            data: payload,
            end,
        }))
    }

    // --- The other kinds of frames ---

    fn on_priority(&mut self, frame: PriorityFrame) -> Outcome {
        self.guard.priority(self.now)?;
        self.check_dependency(frame.stream_id, Some(frame.dependency))?;
        Ok(None)
    }

    fn on_priority_update(&mut self, frame: &PriorityUpdate) -> Outcome {
        // RFC 9218 §7.1: "A server MUST NOT send PRIORITY_UPDATE".
        if self.role == Role::Client {
            return Err(Violation::PriorityUpdateFromServer.into());
        }
        self.guard.priority(self.now)?;
        let id = frame.prioritized_id;
        match self.streams.lookup(id) {
            Lookup::Live(slot) => {
                let priority = Priority::parse(&frame.value);
                self.prioritize(slot, priority);
            }
            // RFC 9218 §7.1: of a push stream that is idle: PROTOCOL_ERROR.
            Lookup::Idle if id.is_server_initiated() => {
                return Err(Violation::PriorityUpdateOfPushedIdle.into());
            }
            Lookup::Idle if id <= self.lifetime.last_accepted => {
                self.keep_early_priority(id, Priority::parse(&frame.value))?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// A priority of a stream that is yet to come.
    fn keep_early_priority(&mut self, id: StreamId, priority: Priority) -> Result<(), Violation> {
        let limit = self.config.max_concurrent_streams as usize;
        let waiting = self.early_priorities.len_with(id);
        if waiting + self.streams.opened_by(Sender::Peer) > limit {
            // Streams that only our owner still holds are over for the client.
            let is_active = |stream: &Stream| stream.opened_by == Sender::Peer && !stream.held;
            let streams = self.streams.iter();
            let active = streams.filter(|(_, stream)| is_active(stream)).count();
            // RFC 9218 §7.1: "The number of streams that have been prioritized but remain in the "idle" state plus the number
            // of active streams … MUST NOT exceed the value of the SETTINGS_MAX_CONCURRENT_STREAMS parameter. Servers that
            // receive such a PRIORITY_UPDATE MUST respond with a connection error of type PROTOCOL_ERROR."
            if waiting + active > limit && self.settings.acknowledged {
                return Err(Violation::PriorityUpdateOverLimit);
            }
            if waiting > limit {
                return Ok(());
            }
        }
        self.early_priorities.keep(id, priority);
        Ok(())
    }

    fn on_rst_stream(&mut self, frame: RstStream) -> Outcome {
        let RstStream {
            stream_id: id,
            code,
        } = frame;
        self.stats.resets_in += 1;
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            // RFC 9113 §6.4: on an idle stream it "MUST" be "a connection error of type PROTOCOL_ERROR".
            Lookup::Idle | Lookup::Skipped if id <= self.lifetime.last_accepted => {
                return Err(Violation::FrameOnIdleStream.into());
            }
            _ => {
                self.guard.peer_reset(true, self.now)?;
                return Ok(None);
            }
        };
        let stream = self.streams.get_mut(slot);
        let answered = stream.send.phase != Phase::Head;
        if stream.opened_by == Sender::Peer {
            self.guard.peer_reset(answered, self.now)?;
        }
        let stream = self.streams.get_mut(slot);
        if stream.held {
            return Ok(None);
        }
        stream.state = stream
            .state
            .on(Sender::Peer, Input::RstStream)
            .unwrap_or(stream.state);
        self.streams.note_reset(id, Sender::Peer);
        self.let_go(slot);
        Ok(Some(Event::Reset {
            id,
            code,
            cause: ResetCause::Peer,
        }))
    }

    fn on_settings(&mut self, frame: &Settings) -> Outcome {
        if matches!(frame, Settings::Ack) {
            // Acknowledgements of nothing are harmless, but they are no part of the protocol either.
            if self.settings.acknowledged {
                return Err(Violation::SettingsAckUnexpected.into());
            }
            self.settings_acknowledged();
            return Ok(None);
        }
        self.guard.settings(frame.entries().count(), self.now)?;
        let first = !self.settings.received;
        let before = self.settings.receive(frame, self.role.other())?;
        let peer = self.settings.peer;
        if first {
            self.timers.clear(Timer::Handshake);
        }
        if peer.header_table_size != before.header_table_size || first {
            self.blocks.set_encoder_table_size(peer.header_table_size);
        }
        let delta = i64::from(peer.initial_window_size) - i64::from(before.initial_window_size);
        if delta != 0 {
            self.shift_send_windows(delta)?;
        }
        self.send(|out| Settings::Ack.write(out));
        Ok(Some(Event::PeerSettings))
    }

    /// RFC 9113 §6.9.2: a change of SETTINGS_INITIAL_WINDOW_SIZE moves the windows of all streams.
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

    /// From here on our SETTINGS bind the peer.
    fn settings_acknowledged(&mut self) {
        self.settings.acknowledged = true;
        self.timers.clear(Timer::SettingsAck);
        self.blocks
            .set_decoder_table_size(self.config.header_table_size);
        let size = self.config.initial_window_size;
        if size != self.settings.local_initial_window {
            self.settings.local_initial_window = size;
            let mut due = Vec::new();
            let mut unneeded = Vec::new();
            for (slot, stream) in self.streams.iter_mut() {
                stream.recv.window.resize(size);
                if stream.recv.discard {
                    unneeded.push(slot);
                } else if !stream.held && !stream.state.has_ended(Sender::Peer) {
                    // Credit that was too little of the old window to be told may be enough of the new one.
                    let increment = stream.recv.window.release(0);
                    due.extend(increment.map(|increment| (stream.id, increment)));
                }
            }
            for (id, increment) in due {
                self.send_window_update(id, increment);
            }
            for slot in unneeded {
                self.reset_if_unneeded(slot);
            }
        }
    }

    fn on_ping(&mut self, frame: Ping) -> Outcome {
        if !frame.ack {
            self.guard.ping(self.now)?;
            self.send(|out| {
                Ping {
                    ack: true,
                    payload: frame.payload,
                }
                .write(out);
            });
        } else if self.pings.acknowledged(frame.payload) {
            self.send_second_goaway();
        }
        Ok(None)
    }

    fn on_window_update(&mut self, frame: WindowUpdate) -> Outcome {
        let WindowUpdate {
            stream_id: id,
            increment,
        } = frame;
        self.stats.window_updates_in += 1;
        self.guard
            .window_update(self.data_frames_sent, self.stats.requests, self.now)?;
        if id.is_connection() {
            if self.send_window.grow(increment).is_err() {
                return Err(Violation::WindowOverflow.into());
            }
            self.stalled_since = None;
            return Ok(None);
        }
        let slot = match self.streams.lookup(id) {
            Lookup::Live(slot) => slot,
            // RFC 9113 §6.8: frames on streams above the one that GOAWAY named are ignored.
            Lookup::Idle if id > self.lifetime.last_accepted => return Ok(None),
            Lookup::Idle => return Err(Violation::FrameOnIdleStream.into()),
            Lookup::Skipped => return Err(Violation::StreamIdNotIncreasing.into()),
            Lookup::Closed(_) => return Ok(None),
        };
        let stream = self.streams.get_mut(slot);
        stream
            .state
            .on(Sender::Peer, Input::WindowUpdate)
            .map_err(|bad| illegal(id, bad))?;
        if stream.held {
            return Ok(None);
        }
        if stream.send.window.grow(increment).is_err() {
            return Err(Fault(id, Violation::WindowOverflowOnStream));
        }
        self.queue_if_ready(slot);
        Ok(None)
    }

    // --- Time limits ---

    /// Resets the streams whose body does not come, though there is window for it. A tunnel carries no body: how long it
    /// may be silent is a question to its ends.
    pub(super) fn expire_bodies(&mut self) {
        let limit = self.config.timeouts.body;
        let has_window = self.recv_window.is_open();
        let window_open_since = self.window_open_since;
        let in_body = |stream: &&Stream| {
            stream.recv.phase == Phase::Body && !stream.held && !stream.is_tunnel()
        };
        // Since when the peer could have sent something: without window, not yet.
        let waiting_since = |stream: &Stream| {
            let could = has_window && stream.recv.window.is_open();
            could.then(|| stream.recv.progress_at.max(window_open_since))
        };
        let streams = self.streams.iter();
        let expired: Vec<usize> = streams
            .filter(|(_, stream)| in_body(stream))
            .filter(|(_, stream)| waiting_since(stream).is_some_and(|at| at + limit <= self.now))
            .map(|(slot, _)| slot)
            .collect();
        for slot in expired {
            self.lose_by_violation(slot, Violation::BodyTimedOut);
        }
        // A stream without window now may have some later, so it is looked at again then.
        let left = self
            .streams
            .iter()
            .map(|(_, stream)| stream)
            .filter(in_body);
        if let Some(oldest) = left
            .map(|stream| waiting_since(stream).unwrap_or(self.now))
            .min()
        {
            self.timers.set(Timer::Body, oldest, limit);
        }
    }

    /// Resets a stream for a reason that no frame of this moment gave; the owner is told by the next `receive`.
    pub(super) fn lose_by_violation(&mut self, slot: usize, violation: Violation) {
        if let Err(violation) = self.guard.own_reset(self.now) {
            return self.close_by_violation(violation);
        }
        self.send_reset(slot, violation.code());
        self.lose(slot, violation.code(), ResetCause::Violation(violation));
    }

    /// A stream is over; the owner is told by the next `receive`.
    pub(super) fn lose(&mut self, slot: usize, code: ErrorCode, cause: ResetCause) {
        let stream = self.streams.get_mut(slot);
        if !stream.state.is_closed() {
            stream.state = State::Closed(ClosedBy::Reset(Sender::Peer));
        }
        self.untold.push_back((stream.id, code, cause));
        self.let_go(slot);
    }

    /// A stream was reset: it sends and receives no more. It keeps its slot until its owner lets go.
    fn let_go(&mut self, slot: usize) {
        let stream = self.streams.get_mut(slot);
        if stream.owner_is_done() {
            return self.remove(slot);
        }
        stream.held = true;
        stream.send.buf.pending = Bytes::new();
        stream.send.buf.trailers = None;
        let unconsumed = std::mem::take(&mut stream.recv.unconsumed);
        if std::mem::take(&mut stream.queued) {
            self.sched.remove(slot, stream.priority);
        }
        self.release_connection_window(unconsumed);
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
            self.sched.remove(slot, stream.priority);
        }
        self.release_connection_window(stream.recv.unconsumed);
        if self.streams.is_empty() && self.lifetime.is_ending() && self.untold.is_empty() {
            self.close_if_drained();
        }
    }

    /// Gives the peer credit on the connection's window.
    pub(crate) fn release_connection_window(&mut self, octets: u32) {
        if octets == 0 {
            return;
        }
        let was_open = self.recv_window.is_open();
        if let Some(increment) = self.recv_window.release(octets) {
            if !was_open {
                self.window_open_since = self.now;
            }
            self.send_window_update(StreamId::CONNECTION, increment);
        }
    }
}

/// Counts DATA against the stream's window and the message's content.
fn count_data(stream: &mut Stream, len: u32, flow_len: u32) -> Result<(), Violation> {
    if stream.recv.window.receive(flow_len).is_err() {
        return Err(Violation::DataOverStreamWindow);
    }
    // RFC 9113 §8.1: a message begins with its head.
    if stream.recv.phase == Phase::Head {
        return Err(Violation::DataBeforeResponseHead);
    }
    if stream.recv.no_content && len > 0 {
        return Err(Violation::DataWithoutContent);
    }
    if let Some(left) = &mut stream.recv.content_left {
        *left = left
            .checked_sub(u64::from(len))
            .ok_or(Violation::ContentLengthMismatch)?;
    }
    Ok(())
}

/// The violation of a frame that its stream's state does not allow.
fn illegal(id: StreamId, illegal: Illegal) -> Fault {
    match illegal {
        Illegal::Idle => Violation::FrameOnIdleStream.into(),
        Illegal::Reserved => Violation::FrameOnReservedStream.into(),
        Illegal::HalfClosed => Fault(id, Violation::FrameAfterEndStream),
        Illegal::Closed => Violation::FrameOnClosedStream.into(),
        Illegal::Reset => Fault(id, Violation::FrameOnResetStream),
    }
}

/// The violation of a list that went over this limit.
pub(super) fn over(limit: ListLimit) -> Violation {
    match limit {
        ListLimit::Size => Violation::HeaderListTooLarge,
        ListLimit::Fields => Violation::TooManyHeaderFields,
        ListLimit::CookieCrumbs => Violation::TooManyCookieCrumbs,
    }
}
