//! Fuzzes the HTTP/1.1 client with any bytes and an owner that follows a script.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Flow, Outbox, Protocol, RequestHead, ResponseHead,
    Stream, StreamId, Violation,
};
use tidegate_http1::Connection;

use super::{Choices, check_protocol};

/// Longer inputs only take more time.
const LONGEST: usize = 8192;

/// A client, and any server of HTTP/1.1. The input: the length of the pieces minus one; the length
/// of the owner's script; the script, a byte for each request; the server's bytes.
///
/// - The events make sense: a response for each request, with one end; nothing after that or the
///   connection's end.
/// - Events and requests are the same however the input is cut, up to a response that has more
///   bytes after it: those are for the next request only if they come after it was made.
/// - The output is the requests, byte by byte.
/// - The engine comes to rest, and at the end of time or of the transport the connection is closed.
///   A transport that fails completes no response.
pub fn http1_client(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let piece = usize::from(choices.byte()) + 1;
    let script_len = usize::from(choices.byte() % 16);
    let script = choices.bytes(script_len);
    let bytes = choices.rest;
    let run = |piece: usize| {
        let mut session = Session::new(script);
        session.begin_if_possible();
        for bytes in bytes.chunks(piece) {
            session.receive(bytes);
        }
        session.check_sent();
        session
    };
    let (mut whole, mut cut) = (run(LONGEST), run(piece));
    // RFC 9112 §9.2: bytes that are there when a response ends are no answer to the next request.
    let unasked = format!("\n{}\n", CloseReason::Violation(Violation::ResponseUnasked));
    if let Some(story) = whole.story.strip_suffix(&unasked) {
        assert!(cut.story.starts_with(story), "{story} and {}", cut.story);
        assert!(cut.expected.starts_with(&whole.expected));
    } else {
        assert_eq!(whole.story, cut.story);
        assert_eq!(whole.expected, cut.expected);
    }
    whole.end_of_time();
    cut.end_of_transport();
    run(piece).failure_of_transport();
}

/// The owner's requests.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    Get,
    Head,
    Post,
    /// A body in chunks, with trailers.
    Chunks,
    /// A body that ends when its response does.
    Hold,
    Connect,
    WebSocket,
    /// A body that is given up when the response begins.
    Reset,
}

const PLANS: [Plan; 8] = [
    Plan::Get,
    Plan::Head,
    Plan::Post,
    Plan::Chunks,
    Plan::Hold,
    Plan::Connect,
    Plan::WebSocket,
    Plan::Reset,
];

impl Plan {
    fn head(self) -> RequestHead {
        let request = |method| RequestHead::new(method, "http", "a", "/a?b");
        match self {
            Self::Get | Self::Reset => request("GET"),
            Self::Head => request("HEAD"),
            Self::Post => request("POST"),
            Self::Chunks | Self::Hold => request("PUT"),
            Self::Connect => RequestHead::connect("a:1"),
            Self::WebSocket => RequestHead::extended_connect("websocket", "http", "a", "/a?b")
                .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        }
    }

    fn body(self) -> Body {
        match self {
            Self::Get | Self::Head | Self::Reset => Body::Empty,
            Self::Post => Body::Full(Bytes::from_static(b"hello")),
            Self::Chunks | Self::Hold | Self::Connect | Self::WebSocket => Body::Stream,
        }
    }

    /// Returns the bytes sent as long as there is no response.
    fn bytes(self) -> &'static str {
        match self {
            Self::Get | Self::Reset => "GET /a?b HTTP/1.1\r\nhost: a\r\n\r\n",
            Self::Head => "HEAD /a?b HTTP/1.1\r\nhost: a\r\n\r\n",
            Self::Post => "POST /a?b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
            Self::Chunks => {
                "PUT /a?b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\nx-t: u\r\n\r\n"
            }
            Self::Hold => {
                "PUT /a?b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
            }
            Self::Connect => "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n",
            Self::WebSocket => {
                "GET /a?b HTTP/1.1\r\nhost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 connection: upgrade\r\nupgrade: websocket\r\n\r\n"
            }
        }
    }

    /// Whether a response with this status makes the connection a tunnel.
    fn opens_tunnel(self, head: &ResponseHead) -> bool {
        matches!(self, Self::Connect | Self::WebSocket) && (200..300).contains(&head.status())
    }
}

/// The bytes that the owner sends through a tunnel.
const PING: &str = "ping";

/// The bytes that end a body that was held.
const LAST_CHUNK: &str = "0\r\n\r\n";

/// The progress of the current response.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Nothing,
    Head,
    Everything,
}

struct Session<'a> {
    conn: Connection,
    now: Instant,
    input: BytesMut,
    sent: Vec<u8>,
    /// The expected output.
    expected: String,
    script: Choices<'a>,
    /// The current request.
    request: Option<(StreamId, Plan)>,
    told: Told,
    /// Whether the owner has sent bytes through the tunnel; there is at most one tunnel.
    pinged: bool,
    /// The number of responses reported as complete.
    ends: usize,
    /// The events, with each body in one piece.
    story: String,
    over: bool,
}

impl<'a> Session<'a> {
    fn new(script: &'a [u8]) -> Self {
        let config = Config::client()
            .build()
            .expect("the defaults are in their ranges");
        let now = Instant::now();
        Self {
            conn: Connection::client(config, now),
            now,
            input: BytesMut::new(),
            sent: Vec::new(),
            expected: String::new(),
            script: Choices::new(script),
            request: None,
            told: Told::Everything,
            pinged: false,
            ends: 0,
            story: String::new(),
            over: false,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.rest();
    }

    /// Runs until nothing moves.
    fn rest(&mut self) {
        loop {
            let before = (self.input.len(), self.sent.len(), self.story.len());
            while let Some(event) = self.conn.receive(&mut self.input, self.now) {
                self.handle(event);
            }
            self.transmit();
            if before == (self.input.len(), self.sent.len(), self.story.len()) {
                return;
            }
        }
    }

    /// Takes the output.
    fn transmit(&mut self) {
        loop {
            let mut out = Outbox::new();
            let flow = self.conn.transmit(&mut out, 1000, self.now);
            while out.has_remaining() {
                let len = out.chunk().len();
                self.sent.extend_from_slice(out.chunk());
                out.advance(len);
            }
            match flow {
                Flow::Event(event) => self.handle(event),
                Flow::Full => {}
                Flow::Drained | Flow::Closed => return,
            }
        }
    }

    /// Sends the next request: the events must not depend on how much of a request was sent.
    fn begin_if_possible(&mut self) {
        if !self.conn.can_open() {
            return;
        }
        let plan = self.script.one_of(&PLANS);
        let opened = self.conn.open(&plan.head(), plan.body());
        let id = opened.expect("a proper request");
        (self.request, self.told) = (Some((id, plan)), Told::Nothing);
        self.story.push_str(&format!("\n{plan:?}\n"));
        self.expected.push_str(plan.bytes());
        let mut stream = self.conn.stream(id).expect("it has just been opened");
        let mut hello = Bytes::from_static(b"hello");
        match plan {
            Plan::Chunks => {
                let fields = [("x-t", "u")].into_iter().collect();
                assert_eq!(stream.write(&mut hello, false), 5);
                stream.trailers(&fields).expect("trailers behind a body");
            }
            Plan::Hold => assert_eq!(stream.write(&mut hello, false), 5),
            Plan::Connect | Plan::WebSocket => {
                assert_eq!(stream.write(&mut hello, false), 0, "there is no tunnel");
            }
            _ => {}
        }
        self.transmit();
    }

    fn handle(&mut self, event: Event) {
        assert!(!self.over, "{event:?} behind the end");
        check_protocol(&event, Protocol::Http1);
        let of = match &event {
            Event::Closed(reason) => {
                self.story.push_str(&format!("\n{reason}\n"));
                self.over = true;
                return;
            }
            Event::Informational { id, .. }
            | Event::Response { id, .. }
            | Event::Data { id, .. }
            | Event::Trailers { id, .. }
            | Event::Writable { id, .. } => *id,
            other => panic!("a client of HTTP/1.1 is told no {other:?}"),
        };
        let (id, plan) = self.request.expect("nothing was asked");
        assert_eq!(of, id, "{event:?} is about another request");
        match event {
            Event::Informational { head, .. } => {
                assert!(self.told == Told::Nothing && head.is_informational());
                self.story.push_str(&format!("\n{head:?}\n"));
            }
            Event::Response { head, end, .. } => {
                assert!(self.told == Told::Nothing && !head.is_informational());
                self.story.push_str(&format!("\n{head:?}\n"));
                self.told = Told::Head;
                // RFC 9110 §7.8: a server that ignores Upgrade answers the GET, and its 2xx opens
                // no tunnel.
                let grants = plan != Plan::WebSocket || self.conn.is_tunnel();
                if plan.opens_tunnel(&head) && grants {
                    assert!(!end, "a tunnel is no response without content");
                    self.expected.push_str(PING);
                }
                self.goes_on(id, plan, end);
            }
            Event::Data { data, end, .. } => {
                assert_eq!(self.told, Told::Head);
                assert!(plan != Plan::Head, "a response to HEAD has no content");
                self.story.push_str(&data.escape_ascii().to_string());
                if let Some(mut stream) = self.conn.stream(id) {
                    stream.consume(data.len());
                }
                self.goes_on(id, plan, end);
            }
            Event::Trailers { fields, .. } => {
                assert!(self.told == Told::Head && !fields.is_empty());
                self.story.push_str(&format!("\n{fields:?}\n"));
                self.goes_on(id, plan, true);
            }
            Event::Writable { want, .. } => {
                assert!(want > 0);
                // Through a tunnel, once. A body that is held has nothing more yet.
                if matches!(plan, Plan::Connect | Plan::WebSocket)
                    && !std::mem::replace(&mut self.pinged, true)
                    && let Some(mut stream) = self.conn.stream(id)
                {
                    stream.write(&mut Bytes::from_static(PING.as_bytes()), false);
                }
            }
            _ => {}
        }
    }

    /// The owner receives more of a response.
    fn goes_on(&mut self, id: StreamId, plan: Plan, end: bool) {
        if plan == Plan::Reset && self.told == Told::Head && !end {
            if let Some(mut stream) = self.conn.stream(id) {
                stream.reset(ErrorCode::CANCEL);
            }
            return;
        }
        if !end {
            return;
        }
        self.told = Told::Everything;
        self.ends += 1;
        if let Some(mut stream) = self.conn.stream(id) {
            // Either the body that was held, or the tunnel.
            stream.write(&mut Bytes::new(), true);
            if plan == Plan::Hold {
                self.expected.push_str(LAST_CHUNK);
            }
            self.transmit();
        }
        self.begin_if_possible();
    }

    fn check_sent(&self) {
        let expected = self.expected.as_bytes().escape_ascii().to_string();
        assert_eq!(self.sent.escape_ascii().to_string(), expected);
    }

    /// Ends the input; the owner has waited long enough, and every time limit fires.
    fn end_of_time(&mut self) {
        self.conn.shut_down(self.now);
        self.rest();
        let mut limits = 0;
        while let Some(at) = self.conn.next_timeout() {
            self.now = at;
            self.conn.handle_timeout(at);
            self.rest();
            limits += 1;
            assert!(limits < 10, "the time limits don't end");
        }
        self.check_end();
    }

    fn end_of_transport(&mut self) {
        self.conn.receive_eof(self.now);
        self.rest();
        self.check_end();
    }

    fn failure_of_transport(&mut self) {
        let ends = self.ends;
        self.conn.receive_failure(self.now);
        self.rest();
        self.check_end();
        assert_eq!(self.ends, ends, "what failed was no end");
    }

    fn check_end(&self) {
        assert!(self.over, "nothing ends {:?}", self.conn);
        assert!(self.conn.is_closed() && self.conn.active_streams() == 0);
        assert!(!self.conn.can_open() && !self.conn.can_receive());
        assert_eq!(self.conn.next_timeout(), None);
    }
}
