//! Fuzzes one engine with any bytes and an owner that follows a script.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{
    Body, Config, ErrorCode, Event, Fields, Flow, Misuse, Outbox, Priorities, Priority, Protocol,
    RequestHead, ResponseHead, Role, Stream, StreamId,
};
use tidegate_http2::Connection;

use super::sent::Sent;
use super::{Choices, check_protocol};
use crate::rest::rest_and_wake;
use crate::wire::PREFACE;

/// Longer inputs only take more time.
const LONGEST: usize = 8192;

/// No input of that length causes so much output.
const MANY_EVENTS: u32 = 100_000;

/// A server, and any client. The input: the configuration; the length of the pieces minus one; bit
/// 0 of a byte: whether the preface is part of the input, else it is provided; the length of the
/// owner's script; the script; the client's bytes.
///
/// - The output is well-formed, in order, and within the windows and limits of the peer.
/// - Nothing follows a GOAWAY with an error, or the end of the connection.
/// - The events make sense: no body without a head, nothing after an end or a reset.
/// - The engine comes to rest, and its books add up then.
/// - At the transport's end, the connection is closed and no stream is left.
pub fn server_connection(input: &[u8]) {
    run(Role::Server, input);
}

/// A client with a few requests, and any server. The input and the rules are those of
/// [`server_connection`].
pub fn client_connection(input: &[u8]) {
    run(Role::Client, input);
}

fn run(role: Role, input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let config = config(role, choices.byte());
    let piece = usize::from(choices.byte()) + 1;
    let prefaced = choices.byte() & 1 == 1;
    let script_len = usize::from(choices.byte() % 64);
    let script = choices.bytes(script_len);
    let mut session = Session::new(role, config, script);
    if role == Role::Client {
        session.open_requests();
    }
    session.rest();
    if !prefaced {
        if role == Role::Server {
            session.receive(PREFACE);
        }
        session.receive(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0");
    }
    for bytes in choices.rest.chunks(piece) {
        session.receive(bytes);
        session.time_passes();
    }
    session.end();
}

fn config(role: Role, choice: u8) -> Arc<Config> {
    let mut config = match role {
        Role::Server => Config::server(),
        Role::Client => Config::client(),
    };
    config.enable_push = role == Role::Client && choice & 1 != 0;
    config.enable_connect_protocol = role == Role::Server && choice & 1 != 0;
    if choice & 2 != 0 {
        config.initial_window_size = 10;
    }
    if choice & 4 != 0 {
        config.max_concurrent_streams = 3;
        config.max_header_list_size = 300;
    }
    if choice & 16 != 0 {
        config.priorities = Priorities::Auto;
    }
    if choice & 8 != 0 {
        config.header_table_size = 100;
        config.encoder_table_size = 0;
    }
    config.report_unknown_frames = choice & 1 != 0;
    if role == Role::Server && choice & 1 != 0 {
        config.timeouts.keep_alive = Duration::from_secs(5);
    }
    config.build().expect("the values are in their ranges")
}

/// The progress of a message, as reported to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The stream exists: the head is still to come.
    Nothing,
    Head,
    End,
    Reset,
    /// The owner has reset it: no more events follow.
    Left,
}

struct Session<'a> {
    role: Role,
    engine: Connection,
    now: Instant,
    input: BytesMut,
    outbox: Outbox,
    sent: Sent,
    script: &'a [u8],
    /// The next line of the script; the script repeats.
    line: usize,
    told: HashMap<StreamId, Told>,
    /// Bodies that the owner still writes, and the number of their pieces.
    writing: HashMap<StreamId, u8>,
    /// Streams whose owner lets them wait for an answer, for credit, or for their release.
    waiting: Vec<StreamId>,
    events: u32,
    told_closed: bool,
    over: bool,
}

impl<'a> Session<'a> {
    fn new(role: Role, config: Arc<Config>, script: &'a [u8]) -> Self {
        let now = Instant::now();
        let sent = Sent::new(role, config.max_frame_size);
        let engine = match role {
            Role::Server => Connection::server(config, now),
            Role::Client => Connection::client(config, now),
        };
        Self {
            role,
            engine,
            now,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            sent,
            script,
            line: 0,
            told: HashMap::new(),
            writing: HashMap::new(),
            waiting: Vec::new(),
            events: 0,
            told_closed: false,
            over: false,
        }
    }

    /// Returns the owner's next action.
    fn choice(&mut self) -> u8 {
        self.line += 1;
        match self.script.len() {
            0 => 0,
            len => self.script[(self.line - 1) % len],
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.sent.note_received(bytes);
        self.input.extend_from_slice(bytes);
        self.rest();
    }

    /// Runs the engine and its owner until neither has anything to do. Waits for the end of pauses.
    fn rest(&mut self) {
        self.act();
        while !self.engine.can_receive() && !self.engine.is_closed() {
            let until = self.engine.next_timeout().expect("a pause has an end");
            self.now = self.now.max(until);
            self.engine.handle_timeout(self.now);
            self.act();
        }
        // RFC 9113 has no other reason to wait: the output was taken.
        assert_eq!(self.engine.can_receive(), !self.engine.is_closed());
        assert_eq!(self.told_closed, self.engine.is_closed());
        assert_eq!(self.over, self.engine.is_closed());
    }

    fn act(&mut self) {
        loop {
            let before = (self.input.len(), self.events);
            while let Some(event) = self.engine.receive(&mut self.input, self.now) {
                self.on_event(event);
            }
            self.transmit();
            if before == (self.input.len(), self.events) {
                break;
            }
        }
        self.sent.at_rest();
        if let Err(error) = self.engine.audit() {
            panic!("{error}");
        }
    }

    fn transmit(&mut self) {
        loop {
            let flow = self.engine.transmit(&mut self.outbox, 50_000, self.now);
            assert!(
                !self.over || self.outbox.is_empty(),
                "sent on a closed connection"
            );
            while self.outbox.has_remaining() {
                let chunk = self.outbox.chunk();
                let len = chunk.len();
                self.sent.note_sent(chunk);
                self.outbox.advance(len);
            }
            match flow {
                Flow::Event(event) => self.on_event(event),
                Flow::Full => self.count(),
                Flow::Drained => return,
                Flow::Closed => {
                    self.over = true;
                    return;
                }
            }
        }
    }

    fn count(&mut self) {
        self.events += 1;
        assert!(self.events < MANY_EVENTS, "it does not come to rest");
    }

    fn on_event(&mut self, event: Event) {
        self.count();
        assert!(!self.told_closed, "behind the end: {event:?}");
        check_protocol(&event, Protocol::Http2);
        match event {
            Event::Request { id, end, .. } => {
                assert_eq!(self.role, Role::Server);
                self.begin(id, if end { Told::End } else { Told::Head });
                self.answer(id);
            }
            Event::PushPromise { id, promised, .. } => {
                assert_eq!(self.role, Role::Client);
                assert!(self.told.contains_key(&id), "a promise on {id}");
                self.begin(promised, Told::Nothing);
                if self.choice() & 3 == 3 {
                    self.reset(promised);
                }
            }
            Event::Informational { id, .. } => {
                assert_eq!(self.told.get(&id), Some(&Told::Nothing), "1xx on {id}");
            }
            Event::Response { id, end, .. } => {
                let next = if end { Told::End } else { Told::Head };
                self.advance(id, Told::Nothing, next);
            }
            Event::Data { id, data, end } => {
                assert!(end || !data.is_empty(), "nothing is told on {id}");
                self.advance(id, Told::Head, if end { Told::End } else { Told::Head });
                self.on_data(id, data.len());
            }
            Event::Trailers { id, .. } => self.advance(id, Told::Head, Told::End),
            Event::Writable { id, want } => {
                assert!(want > 0, "nothing is wanted on {id}");
                self.write(id, want);
            }
            Event::Reset { id, .. } => {
                // Also reported for streams that the owner hasn't seen.
                let before = self.told.insert(id, Told::Reset);
                assert_ne!(before, Some(Told::Left), "{id} was reset by its owner");
                self.writing.remove(&id);
                if self.choice() & 1 == 0 {
                    self.release(id);
                } else {
                    self.waiting.push(id);
                }
            }
            Event::Closed(_) => self.told_closed = true,
            _ => {}
        }
    }

    fn begin(&mut self, id: StreamId, told: Told) {
        let before = self.told.insert(id, told);
        assert_eq!(before, None, "{id} begins twice");
    }

    fn advance(&mut self, id: StreamId, from: Told, to: Told) {
        let before = self.told.insert(id, to);
        assert_eq!(before, Some(from), "on {id}, now {to:?}");
    }

    // --- The owner ---

    fn open_requests(&mut self) {
        for n in 0..3 {
            let choice = self.choice();
            let method = ["GET", "POST", "HEAD", "CONNECT"][usize::from(choice & 3)];
            let head = match method {
                "CONNECT" => RequestHead::connect("localhost:1"),
                _ => RequestHead::new(method, "https", "localhost", "/"),
            };
            let body = self.body(choice >> 2);
            let streamed = matches!(body, Body::Stream);
            let id = self
                .engine
                .open(&head, body)
                .expect("nothing forbids it yet");
            assert_eq!(id.get(), 2 * n + 1);
            self.begin(id, Told::Nothing);
            if streamed {
                self.writing.insert(id, choice >> 4);
            }
        }
    }

    fn body(&self, choice: u8) -> Body {
        match choice & 3 {
            0 => Body::Full(Bytes::from_static(b"hello")),
            1 => Body::Empty,
            2 => Body::Full(Bytes::from(vec![b'x'; 70_000])),
            _ => Body::Stream,
        }
    }

    fn answer(&mut self, id: StreamId) {
        let choice = self.choice();
        match choice & 7 {
            1 => return self.reset(id),
            2 => return self.waiting.push(id),
            3 => {
                let mut stream = self.engine.stream(id).expect("it was just reported");
                let informed = stream.inform(&ResponseHead::new(103));
                // The peer may accept only tiny heads.
                assert!(
                    matches!(informed, Ok(()) | Err(Misuse::HeadTooLarge)),
                    "{informed:?}"
                );
            }
            4 => {
                let head = RequestHead::new("GET", "https", "localhost", "/pushed");
                let mut stream = self.engine.stream(id).expect("it was just reported");
                if let Ok(promised) = stream.push(&head) {
                    self.respond(promised, choice >> 6);
                }
            }
            _ => {}
        }
        self.respond(id, choice >> 3);
    }

    fn respond(&mut self, id: StreamId, choice: u8) {
        let body = self.body(choice);
        let streamed = matches!(body, Body::Stream);
        let status = if choice & 4 == 0 { 200 } else { 304 };
        let head = ResponseHead::new(status).field("content-type", "text/plain");
        let Some(mut stream) = self.engine.stream(id) else {
            return;
        };
        if choice & 16 != 0 {
            stream.suggest_priority(Priority {
                urgency: choice & 7,
                incremental: choice & 8 != 0,
            });
        }
        if stream.respond(&head, body).is_ok() && streamed {
            if choice & 8 != 0 {
                stream.end_tunnel();
            }
            self.writing.insert(id, choice >> 3);
        }
    }

    fn write(&mut self, id: StreamId, want: usize) {
        let pieces = *self
            .writing
            .get(&id)
            .unwrap_or_else(|| panic!("{id} is not written"));
        let mut stream = self.engine.stream(id).expect("it is to be written");
        if pieces > 0 {
            let len = if pieces == 2 { 1 } else { want };
            let taken = stream.write(&mut Bytes::from(vec![b'w'; len]), false);
            assert!(taken > 0, "it wanted {want} and took nothing");
            self.writing.insert(id, pieces - 1);
            return;
        }
        self.writing.remove(&id);
        if id.get() & 2 == 0 {
            stream.write(&mut Bytes::from_static(b"end"), true);
        } else {
            let mut trailers = Fields::new();
            trailers.push("x-checksum", "1");
            stream.trailers(&trailers).expect("the body has not ended");
        }
    }

    fn on_data(&mut self, id: StreamId, len: usize) {
        match self.choice() & 7 {
            6 => self.waiting.push(id),
            7 => self.reset(id),
            _ => {
                if let Some(mut stream) = self.engine.stream(id) {
                    stream.consume(len);
                }
            }
        }
    }

    fn reset(&mut self, id: StreamId) {
        if let Some(mut stream) = self.engine.stream(id) {
            stream.reset(ErrorCode::CANCEL);
            self.told.insert(id, Told::Left);
            self.writing.remove(&id);
        }
    }

    fn release(&mut self, id: StreamId) {
        if let Some(mut stream) = self.engine.stream(id) {
            stream.release();
        }
    }

    /// Advances the clock; the owner continues with the streams that wait.
    fn time_passes(&mut self) {
        let choice = self.choice();
        let millis = [0, 0, 0, 1, 0, 100, 0, 6000][usize::from(choice & 7)];
        self.now += Duration::from_millis(millis);
        if self.engine.next_timeout().is_some_and(|at| at <= self.now) {
            self.engine.handle_timeout(self.now);
            rest_and_wake(&mut self.engine);
            let next = self.engine.next_timeout();
            assert!(
                next.is_none_or(|at| at > self.now),
                "a timer that does not stop firing"
            );
        }
        if choice & 0x18 == 0x18
            && let Some(id) = self.waiting.pop()
        {
            match self.told.get(&id) {
                Some(Told::Reset) => self.release(id),
                _ => {
                    if let Some(mut stream) = self.engine.stream(id) {
                        stream.consume(usize::MAX);
                    }
                    self.respond(id, choice >> 5);
                }
            }
        }
        match choice {
            0xfe => self.engine.shut_down(self.now),
            0xff => self.engine.abort(ErrorCode::CANCEL, "cancelled"),
            _ => {}
        }
        self.rest();
    }

    /// Ends the transport.
    fn end(mut self) {
        self.engine.receive_eof(self.now);
        self.rest();
        assert!(self.over, "open at the transport's end");
        assert_eq!(self.engine.active_streams(), 0);
        assert_eq!(
            self.engine.next_timeout(),
            None,
            "a timer on a closed connection"
        );
    }
}
