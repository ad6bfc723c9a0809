//! A scripted peer: sends raw frames to one engine and reads back what that transmits.
//!
//! ```no_run
//! use tidegate_http::{Config, Violation};
//! use tidegate_testkit::peer::Peer;
//! use tidegate_testkit::wire::{data, get};
//!
//! let mut peer = Peer::client(Config::server());
//! peer.send(get(1));
//! peer.expect_request(1);
//! peer.respond(1, 200, "hello");
//! assert_eq!(peer.expect_head(1).status(), 200);
//! peer.send(data(3, "nobody asked"));
//! peer.connection_error(Violation::FrameOnIdleStream);
//! ```

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_frame::{Frame, Reader, SettingId};
use tidegate_hpack::{Decoder, Fields, Limits};
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Flow, Outbox, RequestHead, ResetCause,
    ResponseHead, Role, Scope, Stream, StreamId, Violation,
};
use tidegate_http2::{Connection, StreamMut};

use crate::rest::rest_and_wake;
use crate::wire::{self, Raw};

thread_local! {
    static PROVOKED: RefCell<Vec<Violation>> = const { RefCell::new(Vec::new()) };
}

/// Takes the violations that engines have reported to peers of this thread since the last call.
pub fn take_provoked() -> Vec<Violation> {
    PROVOKED.take()
}

/// A frame from the engine; field blocks are assembled and decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// DATA.
    Data {
        /// The stream.
        id: u32,
        /// The payload without padding.
        payload: Bytes,
        /// Whether END_STREAM is set.
        end: bool,
    },
    /// HEADERS and its CONTINUATIONs.
    Head(Head),
    /// PUSH_PROMISE and its CONTINUATIONs.
    PushPromise {
        /// The stream that carries the promise.
        id: u32,
        /// The promised stream.
        promised: u32,
        /// The promised request.
        fields: Vec<(String, String)>,
    },
    /// Any other frame.
    Other(Frame),
}

/// A field section from the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The stream.
    pub id: u32,
    /// Pseudo-fields first.
    pub fields: Vec<(String, String)>,
    /// Whether END_STREAM is set.
    pub end: bool,
}

impl Head {
    /// Returns the value of the first field with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Returns `:status`; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.get(":status")
            .and_then(|s| s.parse().ok())
            .unwrap_or(0)
    }
}

/// The scripted peer of one engine.
///
/// Everything sent goes to the engine at once, and the engine's output is collected. Streams that
/// the engine reports as reset are released at once, unless [`Peer::hold_resets`] disables that.
pub struct Peer {
    /// The engine under test.
    pub engine: Connection,
    /// The virtual time.
    pub now: Instant,
    /// The events of the engine, oldest first.
    pub events: VecDeque<Event>,
    /// The frames that the engine sent, oldest first.
    pub frames: VecDeque<Received>,
    input: BytesMut,
    outbox: Outbox,
    output: BytesMut,
    preface_due: bool,
    reader: Reader,
    decoder: Decoder,
    block: Option<(Frame, Vec<u8>)>,
    closed: bool,
    release_resets: bool,
    reading: bool,
    /// The length of each streamed body, if the owner gives it without being told to.
    body_len: Option<usize>,
    /// The bytes given of each of these bodies.
    given: HashMap<StreamId, usize>,
}

/// The start of a conversation.
impl Peer {
    /// Makes the client of a server engine, with the handshake done.
    pub fn client(config: Config) -> Self {
        Self::client_with(config, &[])
    }

    /// Makes the client of a server engine, with the handshake done; the client announces these
    /// settings.
    pub fn client_with(config: Config, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::client_unborn(config);
        peer.send_bytes(wire::PREFACE);
        peer.shake_hands(settings);
        peer
    }

    /// Makes the client of a server engine, before anything was sent.
    pub fn client_unborn(config: Config) -> Self {
        let now = Instant::now();
        let config = config.build().expect("a test's config is valid");
        Self::of(Connection::server(config, now), now)
    }

    /// Makes the client of a server engine that it reached by HTTP/1.1, with this request and its
    /// payload of SETTINGS.
    pub fn client_upgraded(config: Config, head: RequestHead, settings: Bytes) -> Self {
        let now = Instant::now();
        let config = config.build().expect("a test's config is valid");
        let engine = Connection::server_upgraded(config, head, settings, now);
        Self::of(engine, now)
    }

    /// Makes the server of a client engine, with the handshake done.
    pub fn server(config: Config) -> Self {
        Self::server_with(config, &[])
    }

    /// Makes the server of a client engine, with the handshake done; the server announces these
    /// settings.
    pub fn server_with(config: Config, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::server_unborn(config);
        peer.shake_hands(settings);
        peer
    }

    /// Makes the server of a client engine, before anything was sent.
    pub fn server_unborn(config: Config) -> Self {
        let now = Instant::now();
        let config = config.build().expect("a test's config is valid");
        Self::of(Connection::client(config, now), now)
    }

    fn of(engine: Connection, now: Instant) -> Self {
        let preface_due = engine.role() == Role::Client;
        let mut peer = Self {
            engine,
            now,
            events: VecDeque::new(),
            frames: VecDeque::new(),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            output: BytesMut::new(),
            preface_due,
            reader: Reader::new(0xff_ffff),
            decoder: Decoder::new(4096),
            block: None,
            closed: false,
            release_resets: true,
            reading: true,
            body_len: None,
            given: HashMap::new(),
        };
        peer.pump();
        peer
    }

    /// Exchanges SETTINGS and their acknowledgements, and drops the frames and events of that.
    pub fn shake_hands(&mut self, settings: &[(u16, u32)]) {
        self.send(wire::settings(settings));
        self.send(wire::settings_ack());
        assert!(
            self.frames.contains(&Received::Other(Frame::Settings(
                tidegate_frame::Settings::Ack
            ))),
            "the engine acknowledges our SETTINGS: {:?}",
            self.frames
        );
        self.frames.clear();
        self.events.clear();
    }

    /// From now on, doesn't release streams that the engine reports as reset.
    pub fn hold_resets(&mut self) {
        self.release_resets = false;
    }

    /// From now on, has the owner give each streamed body this many bytes as soon as it is asked
    /// for them.
    pub fn answer_writables(&mut self, body_len: usize) {
        self.body_len = Some(body_len);
    }

    /// From now on, doesn't read what the engine transmits: its transport is full.
    pub fn stop_reading(&mut self) {
        self.reading = false;
    }

    /// Reads again, including the bytes left before.
    pub fn read_again(&mut self) {
        self.reading = true;
        self.pump();
    }
}

/// The actions of the peer.
impl Peer {
    /// Sends a frame.
    pub fn send(&mut self, frame: Raw) {
        self.send_all([frame]);
    }

    /// Sends frames in one piece.
    pub fn send_all(&mut self, frames: impl IntoIterator<Item = Raw>) {
        let bytes: Vec<u8> = frames.into_iter().flat_map(|f| f.to_bytes()).collect();
        self.send_bytes(&bytes);
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.pump();
    }

    /// Ends the transport.
    pub fn send_eof(&mut self) {
        self.engine.receive_eof(self.now);
        self.pump();
    }

    /// Lets time pass, timer by timer.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut fired = 0;
        while let Some(due) = self.engine.next_timeout().filter(|due| *due <= end) {
            fired += 1;
            assert!(fired < 10_000, "a timer that never stops firing");
            self.now = self.now.max(due);
            self.engine.handle_timeout(self.now);
            self.pump();
            // Whatever a test is about, a rest changes nothing.
            rest_and_wake(&mut self.engine);
        }
        self.now = end;
    }

    /// Lets time pass until the engine takes input again, if it makes a pause.
    pub fn wait_out_pause(&mut self) {
        while !self.closed && !self.engine.can_receive() {
            let due = self.engine.next_timeout().expect("a pause has an end");
            self.wait(due.saturating_duration_since(self.now));
        }
    }

    /// Calls a method on a stream of the engine, as its owner.
    pub fn stream<T>(&mut self, id: u32, act: impl FnOnce(&mut StreamMut<'_>) -> T) -> T {
        self.engine.set_time(self.now);
        let mut stream = self
            .engine
            .stream(StreamId::new(id))
            .unwrap_or_else(|| panic!("the engine has no stream {id}"));
        let result = act(&mut stream);
        self.pump();
        result
    }

    /// Has the owner of a server engine answer a request; an empty body is none.
    pub fn respond(&mut self, id: u32, status: u16, body: impl Into<Bytes>) {
        let body = body.into();
        let body = if body.is_empty() {
            Body::Empty
        } else {
            Body::Full(body)
        };
        self.stream(id, |stream| {
            stream
                .respond(&ResponseHead::new(status), body)
                .expect("the engine takes the response");
        });
    }

    /// Has the owner of a client engine send a request.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> u32 {
        let id = self
            .engine
            .open(head, body)
            .expect("the engine takes the request");
        self.pump();
        id.get()
    }

    /// Has the owner of a client engine send a plain GET.
    pub fn open_get(&mut self) -> u32 {
        self.open(
            &RequestHead::new("GET", "https", "localhost", "/"),
            Body::Empty,
        )
    }

    /// Runs the engine until it has no more output, and checks its books.
    pub fn pump(&mut self) {
        loop {
            let mut busy = false;
            while let Some(event) = self.engine.receive(&mut self.input, self.now) {
                busy = true;
                self.take_event(event);
            }
            while self.reading || self.outbox.len() < 1 << 16 {
                match self.engine.transmit(&mut self.outbox, 1 << 16, self.now) {
                    Flow::Event(event) => {
                        busy = true;
                        self.take_event(event);
                    }
                    Flow::Full => {
                        if !self.reading {
                            break;
                        }
                        busy = true;
                        self.read();
                    }
                    Flow::Drained => break,
                    Flow::Closed => {
                        self.closed = true;
                        break;
                    }
                }
            }
            if self.reading && !self.outbox.is_empty() {
                busy = true;
                self.read();
            }
            if !busy {
                break;
            }
        }
        if let Err(why) = self.engine.audit() {
            panic!("the engine's books don't add up: {why}");
        }
    }

    fn take_event(&mut self, event: Event) {
        match &event {
            Event::Reset { id, cause, .. } => {
                if let ResetCause::Violation(violation) = cause {
                    PROVOKED.with_borrow_mut(|all| all.push(*violation));
                }
                if self.release_resets
                    && let Some(mut stream) = self.engine.stream(*id)
                {
                    stream.release();
                }
            }
            Event::Writable { id, want } => {
                if let Some(body_len) = self.body_len
                    && let Some(mut stream) = self.engine.stream(*id)
                {
                    let given = self.given.entry(*id).or_default();
                    let len = (body_len - *given).min(*want);
                    *given += len;
                    stream.write(&mut vec![b'x'; len].into(), *given == body_len);
                    return;
                }
            }
            Event::Closed(CloseReason::Violation(violation)) => {
                PROVOKED.with_borrow_mut(|all| all.push(*violation));
            }
            _ => {}
        }
        self.events.push_back(event);
    }

    /// Cuts the engine's output into frames.
    fn read(&mut self) {
        let all = self.outbox.remaining();
        self.output.reserve(all);
        while self.outbox.has_remaining() {
            let chunk = self.outbox.chunk();
            let len = chunk.len();
            self.output.extend_from_slice(chunk);
            self.outbox.advance(len);
        }
        if self.preface_due && self.output.len() >= wire::PREFACE.len() {
            assert_eq!(&self.output[..wire::PREFACE.len()], wire::PREFACE);
            self.output.advance(wire::PREFACE.len());
            self.preface_due = false;
        }
        while let Some(frame) = self
            .reader
            .next(&mut self.output)
            .expect("the engine sends well-formed frames")
        {
            self.take_frame(frame);
        }
    }

    fn take_frame(&mut self, frame: Frame) {
        if let Some((first, mut block)) = self.block.take() {
            let Frame::Continuation(frame) = frame else {
                panic!("the engine sent {frame:?} in the middle of a field block");
            };
            block.extend_from_slice(&frame.fragment);
            self.block = Some((first, block));
            if frame.end_headers {
                self.end_block();
            }
            return;
        }
        match frame {
            Frame::Headers(ref headers) => {
                let (fragment, whole) = (headers.fragment.to_vec(), headers.end_headers);
                self.block = Some((frame, fragment));
                if whole {
                    self.end_block();
                }
            }
            Frame::PushPromise(ref promise) => {
                let (fragment, whole) = (promise.fragment.to_vec(), promise.end_headers);
                self.block = Some((frame, fragment));
                if whole {
                    self.end_block();
                }
            }
            Frame::Data(data) => self.frames.push_back(Received::Data {
                id: data.stream_id.get(),
                payload: data.payload,
                end: data.end_stream,
            }),
            other => self.frames.push_back(Received::Other(other)),
        }
    }

    fn end_block(&mut self) {
        let (first, block) = self.block.take().expect("only called with a block");
        let limits = Limits {
            max_list_size: usize::MAX,
            max_fields: usize::MAX,
            max_cookie_crumbs: usize::MAX,
        };
        let mut list = Fields::new();
        self.decoder
            .decode(&block, &limits, &mut list)
            .expect("the engine sends field blocks that decode");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = list.iter().map(|f| (text(f.name), text(f.value))).collect();
        self.frames.push_back(match first {
            Frame::Headers(headers) => Received::Head(Head {
                id: headers.stream_id.get(),
                fields,
                end: headers.end_stream,
            }),
            Frame::PushPromise(promise) => Received::PushPromise {
                id: promise.stream_id.get(),
                promised: promise.promised_id.get(),
                fields,
            },
            other => unreachable!("{other:?} begins no block"),
        });
    }
}

/// The frames that the peer expects of the engine.
impl Peer {
    /// Returns the next frame except WINDOW_UPDATE, if there is one.
    pub fn next_frame(&mut self) -> Option<Received> {
        let place = self
            .frames
            .iter()
            .position(|f| !matches!(f, Received::Other(Frame::WindowUpdate(_))))?;
        self.frames.remove(place)
    }

    /// Expects HEADERS on this stream as the next frame.
    #[track_caller]
    pub fn expect_head(&mut self, id: u32) -> Head {
        match self.next_frame() {
            Some(Received::Head(head)) if head.id == id => head,
            other => panic!("expected HEADERS on stream {id}, got {other:?}"),
        }
    }

    /// Expects DATA on this stream as the next frame.
    #[track_caller]
    pub fn expect_data(&mut self, id: u32) -> (Bytes, bool) {
        match self.next_frame() {
            Some(Received::Data {
                id: on,
                payload,
                end,
            }) if on == id => (payload, end),
            other => panic!("expected DATA on stream {id}, got {other:?}"),
        }
    }

    /// Expects RST_STREAM on this stream with this code as the next frame.
    #[track_caller]
    pub fn expect_rst(&mut self, id: u32, code: ErrorCode) {
        match self.next_frame() {
            Some(Received::Other(Frame::RstStream(frame)))
                if frame.stream_id.get() == id && frame.code == code => {}
            other => panic!("expected RST_STREAM {code} on stream {id}, got {other:?}"),
        }
    }

    /// Expects GOAWAY with this code as the next frame. Returns its last stream identifier.
    #[track_caller]
    pub fn expect_goaway(&mut self, code: ErrorCode) -> u32 {
        match self.next_frame() {
            Some(Received::Other(Frame::GoAway(frame))) if frame.code == code => {
                frame.last_stream_id.get()
            }
            other => panic!("expected GOAWAY {code}, got {other:?}"),
        }
    }

    /// Expects PING as the next frame. Returns its payload, and whether it is an ACK.
    #[track_caller]
    pub fn expect_ping(&mut self) -> ([u8; 8], bool) {
        match self.next_frame() {
            Some(Received::Other(Frame::Ping(frame))) => (frame.payload, frame.ack),
            other => panic!("expected PING, got {other:?}"),
        }
    }

    /// Expects SETTINGS as the next frame. Returns its entries, or `None` for an acknowledgement.
    #[track_caller]
    pub fn expect_settings(&mut self) -> Option<Vec<(SettingId, u32)>> {
        match self.next_frame() {
            Some(Received::Other(Frame::Settings(frame))) => match frame {
                tidegate_frame::Settings::Ack => None,
                values => Some(values.entries().collect()),
            },
            other => panic!("expected SETTINGS, got {other:?}"),
        }
    }

    /// Takes the WINDOW_UPDATE frames on this stream. Returns the bytes of credit in them.
    pub fn take_window_updates(&mut self, id: u32) -> u64 {
        let mut sum = 0;
        self.frames.retain(|frame| match frame {
            Received::Other(Frame::WindowUpdate(update)) if update.stream_id.get() == id => {
                sum += u64::from(update.increment);
                false
            }
            _ => true,
        });
        sum
    }

    /// Takes the DATA frames on this stream. Returns their bytes, and whether they end the body.
    pub fn take_body(&mut self, id: u32) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let mut ended = false;
        self.frames.retain(|frame| match frame {
            Received::Data {
                id: on,
                payload,
                end,
            } if *on == id => {
                assert!(!ended, "DATA after END_STREAM on stream {id}");
                body.extend_from_slice(payload);
                ended = *end;
                false
            }
            _ => true,
        });
        (body, ended)
    }

    /// Expects that the engine has sent nothing except WINDOW_UPDATE.
    #[track_caller]
    pub fn expect_silence(&mut self) {
        if let Some(frame) = self.next_frame() {
            panic!("expected nothing, got {frame:?}");
        }
    }

    /// Expects that the engine still answers PING and has sent nothing else.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        self.expect_silence();
        self.send(wire::ping(b"alive???"));
        assert_eq!(self.expect_ping(), (*b"alive???", true));
    }
}

/// The events that the peer expects of the engine.
impl Peer {
    /// Returns the next event except changed settings, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        loop {
            match self.events.pop_front()? {
                Event::PeerSettings => {}
                event => return Some(event),
            }
        }
    }

    /// Expects no further event.
    #[track_caller]
    pub fn expect_no_event(&mut self) {
        if let Some(event) = self.next_event() {
            panic!("expected no event, got {event:?}");
        }
    }

    /// Expects a request on this stream as the next event. Returns its head, and whether that is
    /// all.
    #[track_caller]
    pub fn expect_request(&mut self, id: u32) -> (RequestHead, bool) {
        match self.next_event() {
            Some(Event::Request { id: on, head, end }) if on.get() == id => {
                (Arc::unwrap_or_clone(head), end)
            }
            other => panic!("expected a request on stream {id}, got {other:?}"),
        }
    }

    /// Expects a response on this stream as the next event. Returns its head, and whether that is
    /// all.
    #[track_caller]
    pub fn expect_response(&mut self, id: u32) -> (ResponseHead, bool) {
        match self.next_event() {
            Some(Event::Response { id: on, head, end }) if on.get() == id => (head, end),
            other => panic!("expected a response on stream {id}, got {other:?}"),
        }
    }

    /// Expects a piece of body on this stream as the next event. Returns it, and whether it is the
    /// last.
    #[track_caller]
    pub fn expect_body(&mut self, id: u32) -> (Bytes, bool) {
        match self.next_event() {
            Some(Event::Data { id: on, data, end }) if on.get() == id => (data, end),
            other => panic!("expected body on stream {id}, got {other:?}"),
        }
    }

    /// Expects trailers on this stream as the next event.
    #[track_caller]
    pub fn expect_trailers(&mut self, id: u32) -> Fields {
        match self.next_event() {
            Some(Event::Trailers { id: on, fields }) if on.get() == id => fields,
            other => panic!("expected trailers on stream {id}, got {other:?}"),
        }
    }

    /// Expects the end of this stream, for this reason, as the next event. Returns the code of its
    /// RST_STREAM.
    #[track_caller]
    pub fn expect_reset(&mut self, id: u32, why: ResetCause) -> ErrorCode {
        match self.next_event() {
            Some(Event::Reset {
                id: on,
                code,
                cause,
            }) if on.get() == id && cause == why => code,
            other => panic!("expected a reset of stream {id} by {why:?}, got {other:?}"),
        }
    }

    /// Expects the end of the connection as the next event.
    #[track_caller]
    pub fn expect_closed(&mut self) -> CloseReason {
        match self.next_event() {
            Some(Event::Closed(reason)) => reason,
            other => panic!("expected the connection's end, got {other:?}"),
        }
    }

    /// Expects that the engine ended the stream for this violation: it reported that, sent
    /// RST_STREAM with the violation's code, and continues the connection.
    #[track_caller]
    pub fn stream_error(&mut self, id: u32, violation: Violation) {
        assert_eq!(violation.scope(), Scope::Stream, "{violation}");
        self.skip_to(|event| matches!(event, Event::Reset { .. } | Event::Closed(_)));
        let code = self.expect_reset(id, ResetCause::Violation(violation));
        assert_eq!(code, violation.code());
        let rst = |f: &Received| matches!(f, Received::Other(Frame::RstStream(rst)) if rst.stream_id.get() == id);
        let frame = self.frames.iter().position(rst);
        let frame = frame.and_then(|place| self.frames.remove(place));
        match frame {
            Some(Received::Other(Frame::RstStream(frame))) => {
                assert_eq!(frame.code, code, "{violation}");
            }
            _ => panic!("expected RST_STREAM on stream {id}, got {:?}", self.frames),
        }
        self.frames.clear();
        self.expect_alive();
    }

    /// Expects that the engine refused a malformed request: it reported that, answered with 400 and
    /// a sentence that names the violation, and reset the stream. A client that hadn't ended its
    /// request is asked to stop by NO_ERROR.
    #[track_caller]
    pub fn answered_by_400(&mut self, id: u32, violation: Violation) {
        self.skip_to(|event| matches!(event, Event::Reset { .. } | Event::Closed(_)));
        let code = self.expect_reset(id, ResetCause::Violation(violation));
        let head = self.expect_head(id);
        assert_eq!(head.status(), 400, "{violation}");
        assert!(!head.end, "{violation}: there is a sentence");
        let (sentence, end) = self.expect_data(id);
        let sentence = String::from_utf8_lossy(&sentence);
        assert!(sentence.contains(&violation.to_string()), "{sentence}");
        assert_eq!(
            head.get("content-length"),
            Some(&*sentence.len().to_string())
        );
        let expected = if end {
            ErrorCode::NO_ERROR
        } else {
            violation.code()
        };
        assert_eq!(code, expected);
        self.expect_rst(id, code);
        self.expect_alive();
    }

    /// Expects that the engine ended the connection for this violation: its last event reports
    /// that, and its last frame is GOAWAY with the violation's code and name.
    #[track_caller]
    pub fn connection_error(&mut self, violation: Violation) {
        assert_eq!(violation.scope(), Scope::Connection, "{violation}");
        self.skip_to(|event| matches!(event, Event::Closed(_)));
        match self.next_event() {
            Some(Event::Closed(CloseReason::Violation(why))) if why == violation => {}
            other => panic!("expected the end by {violation}, got {other:?}"),
        }
        self.expect_no_event();
        match self.frames.pop_back() {
            Some(Received::Other(Frame::GoAway(frame))) => {
                assert_eq!(frame.code, violation.code(), "{violation}");
                assert_eq!(frame.debug_data, violation.name());
            }
            other => panic!("expected GOAWAY for {violation}, got {other:?}"),
        }
        assert!(self.closed, "transmit says Closed after {violation}");
        assert!(self.engine.is_closed());
        self.frames.clear();
        self.send(wire::ping(b"anybody?"));
        assert!(self.frames.is_empty(), "silence after GOAWAY");
        self.expect_no_event();
    }

    /// Expects that the engine of a client has drained the connection for this violation, with all
    /// streams complete: it sent GOAWAY with NO_ERROR and the violation's name, and the connection
    /// has ended cleanly.
    #[track_caller]
    pub fn expect_drained(&mut self, violation: Violation) {
        self.skip_to(|event| matches!(event, Event::Closed(_)));
        assert_eq!(self.expect_closed(), CloseReason::Graceful);
        let is_goaway = |frame: &&Received| matches!(frame, Received::Other(Frame::GoAway(_)));
        match self.frames.iter().find(is_goaway) {
            Some(Received::Other(Frame::GoAway(frame))) => {
                assert_eq!(frame.code, ErrorCode::NO_ERROR, "{violation}");
                assert_eq!(frame.debug_data, violation.name());
            }
            _ => panic!("expected GOAWAY for {violation}, got {:?}", self.frames),
        }
        assert!(self.closed, "transmit says Closed");
    }

    /// Whether the engine asked to close the transport.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Drops events up to the first that is `wanted`.
    fn skip_to(&mut self, wanted: impl Fn(&Event) -> bool) {
        while self.events.front().is_some_and(|event| !wanted(event)) {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_of_the_module_s_example() {
        let mut peer = Peer::client(Config::server());
        peer.send(wire::get(1));
        let (head, end) = peer.expect_request(1);
        assert_eq!((head.method(), head.path(), end), ("GET", "/", true));
        peer.respond(1, 200, "hello");
        assert_eq!(peer.expect_head(1).status(), 200);
        assert_eq!(peer.expect_data(1), (Bytes::from("hello"), true));
        peer.expect_alive();
        peer.send(wire::data(3, "nobody asked"));
        take_provoked();
        peer.connection_error(Violation::FrameOnIdleStream);
    }
}
