//! Fuzzes the HTTP/1.1 engine with any bytes and an owner that follows a script.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{
    Body, Config, ErrorCode, Event, Flow, Outbox, Protocol, ResponseHead, Stream, StreamId,
};
use tidegate_http1::Connection;

use super::{Choices, check_protocol};

/// Longer inputs only take more time.
const LONGEST: usize = 8192;

/// A server, and any client of HTTP/1.1. The input: the length of the pieces minus one; the length
/// of the owner's script, and in the top bit whether upgrades to WebSockets and to HTTP/2 are
/// offered; the script, a byte for each request; the client's bytes.
///
/// - The events make sense: one request at a time, nothing after its end or the connection's.
/// - Events and answers are the same however the input is cut, except for a response that is in
///   progress when its request breaks.
/// - The output is responses, one for each request and in order, and at most a refusal after them.
/// - The engine comes to rest, and at the end of time or of the transport the connection is closed.
pub fn http1_connection(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let piece = usize::from(choices.byte()) + 1;
    let choice = choices.byte();
    let script = choices.bytes(usize::from(choice % 16));
    let offers_upgrades = choice & 0x80 != 0;
    let bytes = choices.rest;
    let mut whole = Session::new(script, offers_upgrades);
    whole.receive(bytes);
    let mut cut = Session::new(script, offers_upgrades);
    for bytes in bytes.chunks(piece) {
        cut.receive(bytes);
    }
    assert_eq!(whole.story, cut.story);
    // The progress of a response when its request broke depends on the timing.
    let (shorter, longer) = if whole.sent.len() < cut.sent.len() {
        (&whole, &cut)
    } else {
        (&cut, &whole)
    };
    let is_same = shorter.sent.len() == longer.sent.len() || whole.over;
    assert!(is_same && longer.sent.starts_with(&shorter.sent));
    check_responses(&whole);
    whole.end_of_time();
    cut.end_of_transport();
}

/// The owner's plan for a request.
#[derive(Clone, Copy)]
enum Plan {
    AnswerAtOnce,
    AnswerAtTheEnd,
    StreamAtOnce,
    StreamAtTheEnd,
    StreamWithTrailers,
    InformThenAnswer,
    Reset,
    ResetInTheMiddle,
}

const PLANS: [Plan; 8] = [
    Plan::AnswerAtOnce,
    Plan::AnswerAtTheEnd,
    Plan::StreamAtOnce,
    Plan::StreamAtTheEnd,
    Plan::StreamWithTrailers,
    Plan::InformThenAnswer,
    Plan::Reset,
    Plan::ResetInTheMiddle,
];

struct Session<'a> {
    conn: Connection,
    now: Instant,
    input: BytesMut,
    sent: Vec<u8>,
    script: Choices<'a>,
    plan: Plan,
    /// The current request: its number, whether it is complete, whether its response has begun, and
    /// the number of pieces sent.
    request: Option<StreamId>,
    ended: bool,
    answered: bool,
    pieces: u8,
    /// Whether it asks for a WebSocket, and whether that was granted.
    is_websocket: bool,
    is_tunnel: bool,
    /// The methods of all requests.
    methods: Vec<String>,
    /// The events, with each body in one piece.
    story: String,
    over: bool,
}

impl<'a> Session<'a> {
    fn new(script: &'a [u8], offers_upgrades: bool) -> Self {
        let mut config = Config::server();
        config.enable_connect_protocol = offers_upgrades;
        let config = config.build().expect("the defaults are in their ranges");
        let now = Instant::now();
        let mut conn = Connection::server(config, !offers_upgrades, now);
        if offers_upgrades {
            conn.offer_h2c();
        }
        Self {
            conn,
            now,
            input: BytesMut::new(),
            sent: Vec::new(),
            script: Choices::new(script),
            plan: Plan::AnswerAtOnce,
            request: None,
            ended: false,
            answered: false,
            pieces: 0,
            is_websocket: false,
            is_tunnel: false,
            methods: Vec::new(),
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
            if let Some(upgrade) = self.conn.take_upgrade() {
                // The next bytes are for another engine.
                self.story.push_str(&format!("\n{upgrade:?}\n"));
                self.conn.abort(ErrorCode::NO_ERROR);
            }
            let mut out = Outbox::new();
            match self.conn.transmit(&mut out, 1000, self.now) {
                Flow::Event(event) => self.handle(event),
                Flow::Drained | Flow::Full | Flow::Closed => {}
            }
            while out.has_remaining() {
                let len = out.chunk().len();
                self.sent.extend_from_slice(out.chunk());
                out.advance(len);
            }
            if before == (self.input.len(), self.sent.len(), self.story.len()) {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        assert!(!self.over, "{event:?} behind the end");
        check_protocol(&event, Protocol::Http1);
        match event {
            Event::Request { id, head, end } => {
                assert!(self.ended || self.request.is_none() || self.answered);
                self.story.push_str(&format!("\n{head:?}\n"));
                self.methods.push(head.method().to_owned());
                self.plan = self.script.one_of(&PLANS);
                (self.request, self.ended, self.answered, self.pieces) =
                    (Some(id), false, false, 0);
                self.is_websocket = head.protocol() == Some("websocket");
                self.begin(id);
                self.ended = end && !self.is_tunnel;
                self.goes_on(id);
            }
            Event::Data { id, data, end } => {
                assert!(self.request == Some(id) && !self.ended);
                self.story.push_str(&data.escape_ascii().to_string());
                if let Some(mut stream) = self.conn.stream(id) {
                    stream.consume(data.len());
                }
                self.ended = end;
                self.goes_on(id);
            }
            Event::Trailers { id, fields } => {
                assert!(self.request == Some(id) && !self.ended && !fields.is_empty());
                self.story.push_str(&format!("\n{fields:?}\n"));
                self.ended = true;
                self.goes_on(id);
            }
            Event::Writable { id, want } => {
                assert!(self.request == Some(id) && self.answered && want > 0);
                self.write(id);
            }
            Event::Closed(reason) => {
                self.story.push_str(&format!("\n{reason}\n"));
                self.over = true;
            }
            other => panic!("HTTP/1.1 has no {other:?}"),
        }
    }

    /// The owner receives a request's head.
    fn begin(&mut self, id: StreamId) {
        match self.plan {
            Plan::AnswerAtOnce => self.respond(id, Body::Full(Bytes::from_static(b"hello"))),
            Plan::StreamAtOnce | Plan::ResetInTheMiddle => self.respond(id, Body::Stream),
            Plan::InformThenAnswer => {
                for status in [100, 103] {
                    if let Some(mut stream) = self.conn.stream(id) {
                        let head = ResponseHead::new(status);
                        stream.inform(&head).expect("a proper interim response");
                    }
                }
            }
            Plan::Reset => self.reset(id),
            Plan::AnswerAtTheEnd | Plan::StreamAtTheEnd | Plan::StreamWithTrailers => {}
        }
    }

    /// The owner receives more of a request.
    fn goes_on(&mut self, id: StreamId) {
        if !self.ended {
            return;
        }
        if self.answered {
            return self.write_rest(id);
        }
        match self.plan {
            Plan::AnswerAtTheEnd | Plan::InformThenAnswer => {
                self.respond(id, Body::Full(Bytes::from(vec![b'x'; 5000])));
            }
            Plan::StreamAtTheEnd | Plan::StreamWithTrailers => self.respond(id, Body::Stream),
            _ => {}
        }
    }

    fn respond(&mut self, id: StreamId, body: Body) {
        let Some(mut stream) = self.conn.stream(id) else {
            return;
        };
        let status = if self.is_websocket { 200 } else { 404 };
        let head = ResponseHead::new(status).field("x-a", "b");
        stream.respond(&head, body).expect("a proper response");
        self.answered = true;
        if self.is_websocket {
            // The tunnel's two directions begin.
            self.is_tunnel = true;
            self.ended = false;
            if matches!(self.plan, Plan::StreamAtTheEnd) {
                stream.end_tunnel();
            }
        }
    }

    fn write(&mut self, id: StreamId) {
        self.pieces += 1;
        if self.pieces == 3 {
            return self.write_rest(id);
        }
        if let Some(mut stream) = self.conn.stream(id) {
            stream.write(&mut Bytes::from(vec![b'y'; 700]), false);
        }
    }

    /// Ends a response once all its pieces are sent and the request is complete: later parts of a
    /// request aren't reported, so the events would depend on the timing.
    fn write_rest(&mut self, id: StreamId) {
        if self.pieces < 3 || !self.ended {
            return;
        }
        let Some(mut stream) = self.conn.stream(id) else {
            return;
        };
        match self.plan {
            Plan::ResetInTheMiddle => self.reset(id),
            Plan::StreamWithTrailers => {
                let fields = [("x-t", "u")].into_iter().collect();
                stream.trailers(&fields).expect("trailers behind a body");
            }
            _ => {
                stream.write(&mut Bytes::new(), true);
            }
        }
    }

    fn reset(&mut self, id: StreamId) {
        self.answered = true;
        if let Some(mut stream) = self.conn.stream(id) {
            stream.reset(ErrorCode::INTERNAL_ERROR);
        }
    }

    /// Ends the input, and lets every time limit fire.
    fn end_of_time(&mut self) {
        let mut limits = 0;
        if self.is_tunnel {
            // A tunnel may be silent for ever.
            self.conn.shut_down(self.now);
        }
        while let Some(at) = self.conn.next_timeout() {
            self.now = at;
            self.conn.handle_timeout(at);
            self.rest();
            limits += 1;
            assert!(limits < 10, "the time limits don't end");
        }
        assert!(self.over, "nothing ends {:?}", self.conn);
    }

    fn end_of_transport(&mut self) {
        self.now += Duration::from_secs(1);
        if !self.over {
            self.conn.receive_eof(self.now);
        }
        self.rest();
        assert!(self.over && self.conn.is_closed() && self.conn.active_streams() == 0);
    }
}

/// Reads the output as a client would.
fn check_responses(session: &Session<'_>) {
    let mut rest = &session.sent[..];
    let mut methods = session.methods.iter();
    while !rest.is_empty() {
        let end = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.expect("a whole head") + 4;
        let head = std::str::from_utf8(&rest[..end]).expect("a head is text");
        rest = &rest[end..];
        assert!(head.starts_with("HTTP/1.1 "), "{head}");
        if head.starts_with("HTTP/1.1 101") {
            // No HTTP/1.1 follows.
            return;
        }
        if head.starts_with("HTTP/1.1 1") {
            continue;
        }
        let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
        let closes = field("connection: ") == Some("close");
        // A refusal may answer bytes that were no request.
        let method = methods.next().map_or("", String::as_str);
        assert!(!method.is_empty() || closes, "{head}");
        let length = field("content-length: ").map(|length| length.parse().expect("a length"));
        match (length, field("transfer-encoding: ")) {
            _ if method == "HEAD" => {}
            (Some(length), None) => {
                assert!(
                    rest.len() >= length,
                    "a body of known length is there at once"
                );
                rest = &rest[length..];
            }
            (None, Some("chunked")) => match skip_chunks(rest) {
                Some(behind) => rest = behind,
                // Cut off by a reset, or its request isn't complete.
                None => return assert!(session.over || !session.ended),
            },
            (None, None) => return assert!(closes, "{head}"),
            _ => panic!("{head}"),
        }
        assert!(!closes || rest.is_empty(), "bytes behind the last response");
    }
}

/// Returns the bytes after a chunked body; `None` if it isn't complete.
fn skip_chunks(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).expect("a size is text");
        let size = usize::from_str_radix(size, 16).expect("a size is hexadecimal");
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
    loop {
        let end = rest.windows(2).position(|bytes| bytes == b"\r\n")?;
        rest = &rest[end + 2..];
        if end == 0 {
            return Some(rest);
        }
    }
}
