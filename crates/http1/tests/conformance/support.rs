//! A client or a server that sends what a test says, and an owner of the engine that expects the
//! events that a test names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{
    Body, CloseReason, Config, Event, Field, Fields, Flow, Outbox, RequestHead, ResponseHead,
    Stream, StreamId, Violation,
};
use tidegate_http1::{Connection, StreamMut};

/// Returns a time for tests to start from; they advance it themselves.
#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
pub(crate) fn some_start() -> Instant {
    Instant::now()
}

pub(crate) struct Peer {
    pub(crate) conn: Connection,
    pub(crate) now: Instant,
    /// The bytes that the engine has not taken yet.
    pub(crate) input: BytesMut,
    /// The events that it reported, in order.
    pub(crate) events: Vec<Event>,
    /// The bytes that it sent.
    pub(crate) sent: Vec<u8>,
    /// Whether `Flow::Closed` came.
    pub(crate) closed: bool,
}

/// Returns a client of a server engine: a cleartext connection with the defaults.
pub(crate) fn client() -> Peer {
    client_of(Config::server())
}

pub(crate) fn client_of(config: Config) -> Peer {
    let now = some_start();
    let config = config.build().expect("a valid configuration");
    Peer::of(Connection::server(config, false, now), now)
}

/// Returns a server of a client engine with the defaults.
pub(crate) fn server() -> Peer {
    server_of(Config::client())
}

pub(crate) fn server_of(config: Config) -> Peer {
    let now = some_start();
    let config = config.build().expect("a valid configuration");
    Peer::of(Connection::client(config, now), now)
}

/// Returns a server that was asked for `/` and has sent these bytes.
pub(crate) fn answered(bytes: impl AsRef<[u8]>) -> Peer {
    let mut peer = server();
    peer.ask();
    peer.send(bytes);
    peer
}

/// Returns a client that has sent these bytes.
pub(crate) fn sent(bytes: impl AsRef<[u8]>) -> Peer {
    let mut peer = client();
    peer.send(bytes);
    peer
}

/// Returns a GET of `/` with these field lines after Host.
pub(crate) fn get_with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Returns a GET of `/`, as the owner of a client engine has it.
pub(crate) fn a_get() -> RequestHead {
    request("GET", "/")
}

pub(crate) fn request(method: &str, path: &str) -> RequestHead {
    RequestHead::new(method, "http", "a", path)
}

/// Returns the names and values of fields as text.
pub(crate) fn lines<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> Vec<String> {
    let line = |field: Field<'_>| {
        let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
        format!("{name}: {value}")
    };
    fields.into_iter().map(line).collect()
}

impl Peer {
    fn of(conn: Connection, now: Instant) -> Self {
        Self {
            conn,
            now,
            input: BytesMut::new(),
            events: Vec::new(),
            sent: Vec::new(),
            closed: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.extend_from_slice(bytes.as_ref());
        self.settle();
    }

    /// Runs the engine until it comes to rest.
    pub(crate) fn settle(&mut self) {
        loop {
            let events = self.events.len();
            while let Some(event) = self.conn.receive(&mut self.input, self.now) {
                self.events.push(event);
            }
            let mut out = Outbox::new();
            let flow = self.conn.transmit(&mut out, 64 << 10, self.now);
            while out.has_remaining() {
                let chunk = out.chunk().len();
                self.sent.extend_from_slice(out.chunk());
                out.advance(chunk);
            }
            match flow {
                Flow::Event(event) => self.events.push(event),
                Flow::Full => {}
                Flow::Drained if self.events.len() > events || self.could_go_on() => {}
                Flow::Drained => return,
                Flow::Closed => {
                    self.closed = true;
                    while let Some(event) = self.conn.receive(&mut self.input, self.now) {
                        self.events.push(event);
                    }
                    return;
                }
            }
        }
    }

    /// Whether the engine would take more input, because its output ended an exchange.
    fn could_go_on(&mut self) -> bool {
        let before = self.input.len();
        let event = self.conn.receive(&mut self.input, self.now);
        let went_on = event.is_some() || self.input.len() < before;
        self.events.extend(event);
        went_on
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.conn.next_timeout().is_some_and(|at| at <= self.now) {
            self.conn.handle_timeout(self.now);
        }
        self.settle();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.conn.next_timeout().filter(|due| *due <= end) {
            self.pass(due.saturating_duration_since(self.now));
        }
        self.now = end;
    }

    pub(crate) fn eof(&mut self) {
        self.conn.receive_eof(self.now);
        self.settle();
    }

    pub(crate) fn fail(&mut self) {
        self.conn.receive_failure(self.now);
        self.settle();
    }

    pub(crate) fn end(&mut self, in_order: bool) {
        if in_order { self.eof() } else { self.fail() }
    }

    /// Has the owner of the client engine send a request.
    #[track_caller]
    pub(crate) fn open(&mut self, head: &RequestHead, body: Body) -> StreamId {
        let id = self.conn.open(head, body).expect("a proper request");
        self.settle();
        id
    }

    /// Has the owner ask for `/`, and drops the bytes sent for that.
    #[track_caller]
    pub(crate) fn ask(&mut self) -> StreamId {
        let id = self.open(&a_get(), Body::Empty);
        self.sent.clear();
        id
    }

    /// Has the owner send a piece of its body.
    #[track_caller]
    pub(crate) fn write(&mut self, id: StreamId, bytes: impl AsRef<[u8]>, end: bool) {
        let mut data = Bytes::copy_from_slice(bytes.as_ref());
        let len = data.len();
        assert_eq!(self.stream(id).write(&mut data, end), len, "all is taken");
        self.settle();
    }

    /// Returns the next event.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Event {
        assert!(
            !self.events.is_empty(),
            "nothing was reported; sent: {}",
            self.text()
        );
        self.events.remove(0)
    }

    #[track_caller]
    pub(crate) fn expect_request(&mut self) -> (StreamId, RequestHead, bool) {
        match self.next() {
            Event::Request { id, head, end } => (id, Arc::unwrap_or_clone(head), end),
            other => panic!("a request was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_response(&mut self, status: u16, expected_end: bool) -> ResponseHead {
        match self.next() {
            Event::Response { head, end, .. } => {
                assert_eq!((head.status(), end), (status, expected_end), "{head:?}");
                head
            }
            other => panic!("a response was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_informational(&mut self, status: u16) -> ResponseHead {
        match self.next() {
            Event::Informational { head, .. } => {
                assert_eq!(head.status(), status);
                head
            }
            other => panic!("an interim response was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_trailers(&mut self) -> Fields {
        match self.next() {
            Event::Trailers { fields, .. } => fields,
            other => panic!("trailers were expected, reported was {other:?}"),
        }
    }

    /// Answers the next request with 200 and this text.
    #[track_caller]
    pub(crate) fn answer(&mut self, text: &'static str) -> RequestHead {
        let (id, head, _) = self.expect_request();
        self.respond(
            id,
            &ResponseHead::new(200),
            Body::Full(Bytes::from_static(text.as_bytes())),
        );
        head
    }

    #[track_caller]
    pub(crate) fn respond(&mut self, id: StreamId, head: &ResponseHead, body: Body) {
        self.stream(id)
            .respond(head, body)
            .expect("a proper response");
        self.settle();
    }

    #[track_caller]
    pub(crate) fn stream(&mut self, id: StreamId) -> StreamMut<'_> {
        self.conn.set_time(self.now);
        self.conn.stream(id).expect("the request is not over")
    }

    /// Expects a complete body, or a piece of one, as the next event.
    #[track_caller]
    pub(crate) fn expect_data(&mut self, expected: impl AsRef<[u8]>, expected_end: bool) {
        match self.next() {
            Event::Data { data, end, .. } => {
                let expected = expected.as_ref();
                assert_eq!(
                    (data.escape_ascii().to_string(), end),
                    (expected.escape_ascii().to_string(), expected_end)
                );
            }
            other => panic!("data was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_writable(&mut self) -> (StreamId, usize) {
        match self.next() {
            Event::Writable { id, want } => (id, want),
            other => panic!("Writable was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_nothing(&self) {
        assert!(self.events.is_empty(), "reported were {:?}", self.events);
    }

    #[track_caller]
    pub(crate) fn expect_closed(&mut self) -> CloseReason {
        match self.next() {
            Event::Closed(reason) => {
                assert!(self.closed, "the transport is to be closed");
                self.expect_nothing();
                reason
            }
            other => panic!("Closed was expected, reported was {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        assert!(!self.closed && !self.conn.is_closed(), "{:?}", self.events);
    }

    /// Expects that a client engine has closed the connection for this violation, silently.
    #[track_caller]
    pub(crate) fn expect_violation(&mut self, violation: Violation) {
        assert_eq!(self.expect_closed(), CloseReason::Violation(violation));
        self.expect_sent("");
    }

    /// Expects that the connection was refused for this violation, with this status and nothing
    /// after it.
    #[track_caller]
    pub(crate) fn expect_refusal(&mut self, violation: Violation, status: u16) {
        assert_eq!(self.expect_closed(), CloseReason::Violation(violation));
        let text = self.text();
        let begin = format!("HTTP/1.1 {status} ");
        assert!(text.starts_with(&begin), "{text}");
        assert!(
            text.ends_with("\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            "{text}"
        );
        self.sent.clear();
    }

    /// Expects these bytes to have been sent since the last call.
    #[track_caller]
    pub(crate) fn expect_sent(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref().escape_ascii().to_string();
        assert_eq!(self.sent.escape_ascii().to_string(), expected);
        self.sent.clear();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.sent).into_owned()
    }
}
