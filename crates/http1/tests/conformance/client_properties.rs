//! Properties of all responses, and of a client engine joined to a server engine.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_http::{Body, Config, Event, Fields, RequestHead, ResponseHead, Stream, StreamId};

use crate::properties::fields;
use crate::support::*;

/// How a message delimits its body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    /// The body is given at once.
    Whole,
    /// The body is streamed, and its length announced.
    Promised,
    /// The body is streamed.
    Chunked,
    /// The body is streamed, and the connection ends after it.
    UntilEnd,
}

/// The parts of a message after its first line.
#[derive(Clone, Debug)]
struct Message {
    framing: Framing,
    fields: Vec<(String, String)>,
    pieces: Vec<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

/// A request and its response.
#[derive(Clone, Debug)]
struct Exchange {
    method: &'static str,
    path: String,
    request: Message,
    /// Whether the server answers before it has seen all of the request.
    early: bool,
    /// The number of interim responses.
    hints: u8,
    status: u16,
    response: Message,
}

fn message(framings: &'static [Framing]) -> impl Strategy<Value = Message> {
    let pieces = vec(vec(any::<u8>(), 1..1500), 0..4);
    (prop::sample::select(framings), fields(), pieces, fields()).prop_map(
        |(framing, fields, pieces, trailers)| Message {
            framing,
            fields,
            pieces,
            trailers,
        },
    )
}

fn exchange() -> impl Strategy<Value = Exchange> {
    const FRAMINGS: &[Framing] = &[Framing::Whole, Framing::Promised, Framing::Chunked];
    (
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "BREW"]),
        "/[!-\"$-~]{0,30}",
        message(FRAMINGS),
        prop::bool::weighted(0.2),
        0..3_u8,
        prop::sample::select(vec![200, 201, 204, 304, 404, 500, 999]),
        message(FRAMINGS),
    )
        .prop_map(
            |(method, path, request, early, hints, status, response)| Exchange {
                method,
                path,
                request,
                early,
                hints,
                status,
                response,
            },
        )
}

fn lines_of(fields: &[(String, String)]) -> Vec<String> {
    let line =
        |(name, value): &(String, String)| format!("{name}: {}", value.as_bytes().escape_ascii());
    fields.iter().map(line).collect()
}

/// Returns our own fields among those of a head.
fn own(fields: Vec<String>) -> Vec<String> {
    let mut fields = fields;
    fields.retain(|line| line.starts_with("x-"));
    fields
}

impl Message {
    fn content(&self) -> Vec<u8> {
        self.pieces.concat()
    }

    fn body(&self) -> Body {
        match self.framing {
            Framing::Whole if self.pieces.is_empty() => Body::Empty,
            Framing::Whole => Body::Full(self.content().into()),
            _ => Body::Stream,
        }
    }

    /// Returns what the recipient must see after the first line.
    fn expected(&self, first_line: String, has_content: bool) -> Seen {
        let has_trailers = has_content && self.framing == Framing::Chunked;
        Seen {
            first_line,
            interim: Vec::new(),
            fields: lines_of(&self.fields),
            content: if has_content {
                self.content()
            } else {
                Vec::new()
            },
            trailers: if has_trailers {
                lines_of(&self.trailers)
            } else {
                Vec::new()
            },
            ended: true,
        }
    }
}

impl Exchange {
    fn request_head(&self) -> RequestHead {
        let mut head = request(self.method, &self.path);
        for (name, value) in &self.request.fields {
            head.push(name, value);
        }
        if self.request.framing == Framing::Promised {
            head.push("content-length", self.request.content().len().to_string());
        }
        head
    }

    fn response_head(&self) -> ResponseHead {
        let mut head = ResponseHead::new(self.status);
        for (name, value) in &self.response.fields {
            head.push(name, value);
        }
        if self.response.framing == Framing::Promised {
            head.push("content-length", self.response.content().len().to_string());
        }
        head
    }

    fn expected_request(&self) -> Seen {
        self.request
            .expected(format!("{} a {}", self.method, self.path), true)
    }

    fn expected_response(&self) -> Seen {
        let has_content = self.method != "HEAD" && !matches!(self.status, 204 | 304);
        Seen {
            interim: vec!["x-hint: y".to_owned(); self.hints.into()],
            ..self.response.expected(self.status.to_string(), has_content)
        }
    }

    /// Writes the response as some server would.
    fn write_response(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.hints {
            out.extend_from_slice(b"HTTP/1.1 103 Early Hints\r\nX-Hint: y\r\n\r\n");
        }
        let response = &self.response;
        let content = response.content();
        out.extend_from_slice(format!("HTTP/1.1 {} Some thing\r\n", self.status).as_bytes());
        for (name, value) in &response.fields {
            out.extend_from_slice(format!("{name}:\t{value} \r\n").as_bytes());
        }
        out.extend_from_slice(&match response.framing {
            // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response
            // with a status code of … 204 (No Content)."
            _ if self.status == 204 => b"\r\n".to_vec(),
            Framing::Whole | Framing::Promised => {
                format!("Content-Length: {}\r\n\r\n", content.len()).into_bytes()
            }
            Framing::Chunked => b"Transfer-Encoding: chunked\r\n\r\n".to_vec(),
            Framing::UntilEnd => b"\r\n".to_vec(),
        });
        if self.method == "HEAD" || matches!(self.status, 204 | 304) {
            return out;
        }
        if response.framing != Framing::Chunked {
            out.extend_from_slice(&content);
            return out;
        }
        for piece in &response.pieces {
            out.extend_from_slice(format!("{:03X};a=b\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"0\r\n");
        for (name, value) in &response.trailers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// A message as an owner saw it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    first_line: String,
    /// The fields of interim responses.
    interim: Vec<String>,
    fields: Vec<String>,
    content: Vec<u8>,
    trailers: Vec<String>,
    ended: bool,
}

/// The part of a message that is still to be sent.
#[derive(Default)]
struct Sending {
    pieces: VecDeque<Vec<u8>>,
    trailers: Vec<(String, String)>,
}

impl Sending {
    fn of(message: &Message) -> Self {
        Self {
            pieces: message.pieces.clone().into(),
            trailers: message.trailers.clone(),
        }
    }

    /// Sends on when the engine asks for `want` bytes.
    fn go_on(&mut self, peer: &mut Peer, id: StreamId, want: usize) {
        let Some(mut piece) = self.pieces.pop_front() else {
            if self.trailers.is_empty() {
                peer.stream(id).write(&mut Bytes::new(), true);
            } else {
                let mut fields = Fields::new();
                for (name, value) in &self.trailers {
                    fields.push(name, value);
                }
                peer.stream(id).trailers(&fields).expect("after a body");
            }
            return;
        };
        let later = piece.split_off(want.min(piece.len()));
        if !later.is_empty() {
            self.pieces.push_front(later);
        }
        let mut piece = Bytes::from(piece);
        peer.stream(id).write(&mut piece, false);
        assert!(piece.is_empty(), "there was room for it");
    }
}

/// An owner that notes what it sees, and consumes it when asked.
#[derive(Default)]
struct Owner {
    seen: Vec<Seen>,
    sending: Sending,
    held: Option<(StreamId, usize)>,
    closed: Option<String>,
}

impl Owner {
    fn present(&mut self) -> &mut Seen {
        let seen = self.seen.last_mut().expect("a message has begun");
        assert!(!seen.ended, "an end in front of an end");
        seen
    }

    fn begin(&mut self, first_line: String, fields: Vec<String>, ended: bool) {
        let seen = self.present();
        assert!(seen.first_line.is_empty(), "a head after a head");
        (seen.first_line, seen.fields, seen.ended) = (first_line, fields, ended);
    }

    /// Handles all events. Returns the reported request that has no answer yet.
    fn handle(&mut self, peer: &mut Peer) -> Option<(StreamId, bool)> {
        let mut unanswered = None;
        while !peer.events.is_empty() {
            let event = peer.events.remove(0);
            assert!(self.closed.is_none(), "{event:?} after the end");
            match event {
                Event::Request { id, head, end } => {
                    self.seen.push(Seen::default());
                    let line = format!("{} {} {}", head.method(), head.authority(), head.path());
                    self.begin(line, own(lines(head.headers())), end);
                    unanswered = Some((id, end));
                }
                Event::Informational { head, .. } => {
                    assert!(
                        self.present().first_line.is_empty(),
                        "behind the final head"
                    );
                    let fields = own(lines(head.headers()));
                    self.present().interim.extend(fields);
                }
                Event::Response { head, end, .. } => {
                    let line = head.status().to_string();
                    self.begin(line, own(lines(head.headers())), end);
                }
                Event::Data { id, data, end } => {
                    self.present().content.extend_from_slice(&data);
                    self.present().ended = end;
                    let held = self.held.filter(|(of, _)| *of == id);
                    self.held = Some((id, data.len() + held.map_or(0, |(_, bytes)| bytes)));
                    unanswered = Some((id, end));
                }
                Event::Trailers { id, fields } => {
                    self.present().trailers = lines(&fields);
                    self.present().ended = true;
                    unanswered = Some((id, true));
                }
                Event::Writable { id, want } => self.sending.go_on(peer, id, want),
                Event::Closed(reason) => self.closed = Some(reason.to_string()),
                other => panic!("{other:?}"),
            }
            peer.settle();
        }
        unanswered
    }

    /// Consumes what was reported. Returns whether there was anything.
    fn consume(&mut self, peer: &mut Peer) -> bool {
        let Some((id, bytes)) = self.held.take() else {
            return false;
        };
        if let Some(mut stream) = peer.conn.stream(id) {
            stream.consume(bytes);
        }
        peer.settle();
        bytes > 0
    }
}

/// Moves up to `most` bytes along. Returns whether there were any.
fn carry(from: &mut Peer, to: &mut Peer, most: usize) -> bool {
    let some = most.min(from.sent.len());
    let bytes: Vec<u8> = from.sent.drain(..some).collect();
    to.send(&bytes);
    some > 0
}

/// Has the owner of a client engine send each request and receive its bytes in pieces of these
/// lengths, repeated. The transport ends after them.
fn told(exchanges: &[(Exchange, Vec<u8>)], cuts: &[usize]) -> Owner {
    let (mut owner, mut peer) = (Owner::default(), server());
    let mut cuts = cuts.iter().cycle();
    for (exchange, bytes) in exchanges {
        if !peer.conn.can_open() {
            break;
        }
        owner.seen.push(Seen::default());
        peer.open(&request(exchange.method, "/"), Body::Empty);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = *cuts.next().expect("at least one");
            let (now, later) = rest.split_at(cut.min(rest.len()));
            peer.send(now);
            owner.handle(&mut peer);
            owner.consume(&mut peer);
            rest = later;
        }
    }
    if !peer.closed {
        peer.eof();
    }
    while {
        owner.handle(&mut peer);
        owner.consume(&mut peer)
    } {}
    assert!(owner.closed.is_some(), "it has ended");
    assert!(peer.closed && peer.conn.is_closed() && !peer.conn.can_open());
    owner
}

proptest! {
    /// RFC 9112 §6.3: however they are cut, responses are understood as they were meant.
    #[test]
    fn responses(mut exchanges in vec(exchange(), 1..5), until_end: bool, cuts in vec(1..400_usize, 1..8)) {
        if let Some(last) = exchanges.last_mut().filter(|_| until_end) {
            last.response.framing = Framing::UntilEnd;
        }
        let bytes = exchanges.iter().map(|exchange| (exchange.clone(), exchange.write_response()));
        let bytes: Vec<_> = bytes.collect();
        let owner = told(&bytes, &cuts);
        let expected: Vec<_> = exchanges.iter().map(Exchange::expected_response).collect();
        prop_assert_eq!(owner.seen, expected);
    }

    /// Bytes that aren't a response end in the same way however they are cut: a byte of a response
    /// is replaced, left out or doubled, and perhaps the transport ends early.
    #[test]
    fn broken_responses(
        exchanges in vec(exchange(), 1..4),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\0\t\n\r :;,=/x019\x7f\xff".to_vec()),
        change in 0..4,
        cuts in vec(1..100_usize, 1..8),
    ) {
        let bytes = exchanges.iter().map(|exchange| (exchange.clone(), exchange.write_response()));
        let mut bytes: Vec<_> = bytes.collect();
        let (_, broken) = &mut bytes[which.index(exchanges.len())];
        let at = at.index(broken.len());
        match change {
            0 => broken[at] = byte,
            1 => { broken.remove(at); }
            2 => broken.insert(at, broken[at]),
            _ => broken.truncate(at),
        }
        let whole = told(&bytes, &[usize::MAX]);
        let pieces = told(&bytes, &cuts);
        prop_assert_eq!(whole.seen, pieces.seen);
        prop_assert_eq!(whole.closed, pieces.closed);
    }

    /// No bytes make the engine panic or report a second end, whatever was asked. Cutting them
    /// changes nothing.
    #[test]
    fn any_bytes(
        pieces in vec(prop_oneof![
            vec(prop::sample::select(b"HTTP/1.1 2034\r\n: a0;\0".to_vec()), 0..40),
            prop::sample::select(vec![
                b"HTTP/1.1 200 OK\r\n".to_vec(),
                b"HTTP/1.1 103 \r\n\r\n".to_vec(),
                b"HTTP/1.1 204 \r\n\r\n".to_vec(),
                b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\n".to_vec(),
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n".to_vec(),
                b"Content-Length: 3\r\n".to_vec(),
                b"Transfer-Encoding: chunked\r\n".to_vec(),
                b"Connection: close\r\n".to_vec(),
                b"\r\n".to_vec(),
                b"\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
            ]),
        ], 0..12),
        asked in 0..5,
        in_order: bool,
        cut in 1..50_usize,
    ) {
        let bytes = pieces.concat();
        let head = match asked {
            0 => a_get(),
            1 => request("HEAD", "/"),
            2 => request("POST", "/"),
            3 => RequestHead::connect("b:443"),
            _ => RequestHead::extended_connect("websocket", "http", "a", "/")
                .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        };
        let mut stories = Vec::new();
        for cut in [cut, bytes.len().max(1)] {
            let (mut owner, mut peer) = (Owner::default(), server());
            owner.seen.push(Seen::default());
            peer.open(&head, Body::Empty);
            for bytes in bytes.chunks(cut) {
                peer.send(bytes);
                // Nobody writes into a tunnel here.
                peer.events.retain(|event| !matches!(event, Event::Writable { .. }));
                owner.handle(&mut peer);
                owner.consume(&mut peer);
            }
            peer.end(in_order);
            owner.handle(&mut peer);
            let is_open_tunnel = asked > 2 && in_order && owner.seen[0].ended && !peer.closed;
            prop_assert!(is_open_tunnel || owner.closed.is_some());
            stories.push((owner.seen, owner.closed));
        }
        prop_assert_eq!(&stories[0], &stories[1]);
    }

    /// A server engine understands everything that a client engine sends, and the other way round:
    /// in pieces of any length, with windows of any size, and answered before the request is
    /// complete or after it.
    #[test]
    fn joined_to_a_server(
        exchanges in vec(exchange(), 1..5),
        there in vec(1..2000_usize, 1..8),
        back in vec(1..2000_usize, 1..8),
        window in prop::sample::select(vec![1, 100, 65_535]),
    ) {
        let (mut config, mut server_config) = (Config::client(), Config::server());
        config.initial_window_size = window;
        server_config.initial_window_size = window;
        let (mut client, mut server) = (server_of(config), client_of(server_config));
        let (mut asks, mut answers) = (Owner::default(), Owner::default());
        let (mut there, mut back) = (there.iter().cycle(), back.iter().cycle());
        let mut to_open = exchanges.iter();
        let mut answered = 0;
        loop {
            asks.handle(&mut client);
            if client.conn.can_open() && let Some(exchange) = to_open.next() {
                asks.seen.push(Seen::default());
                asks.sending = Sending::of(&exchange.request);
                client.open(&exchange.request_head(), exchange.request.body());
            }
            let told = answers.handle(&mut server);
            if let Some((id, whole)) = told
                && let Some(exchange) = exchanges.get(answered)
                && answered < answers.seen.len()
                && (whole || exchange.early)
            {
                answered += 1;
                for _ in 0..exchange.hints {
                    let hint = ResponseHead::new(103).field("x-hint", "y");
                    server.stream(id).inform(&hint).expect("an interim response");
                }
                answers.sending = Sending::of(&exchange.response);
                server.respond(id, &exchange.response_head(), exchange.response.body());
            }
            let moved = carry(&mut client, &mut server, *there.next().expect("a length"))
                | carry(&mut server, &mut client, *back.next().expect("a length"));
            let at_rest = !moved && client.events.is_empty() && server.events.is_empty();
            let can_open = client.conn.can_open() && to_open.len() > 0;
            // `|` and not `||`: both have something to consume.
            if at_rest && !can_open && !(asks.consume(&mut client) | answers.consume(&mut server)) {
                break;
            }
        }
        prop_assert!(asks.closed.is_none(), "{:?}", asks.closed);
        prop_assert!(answers.closed.is_none(), "{:?}", answers.closed);
        prop_assert_eq!(asks.seen.len(), exchanges.len());
        for ((exchange, asked), told) in exchanges.iter().zip(&answers.seen).zip(&asks.seen) {
            let mut expected = exchange.expected_request();
            if exchange.early {
                // The content that arrives after the answer isn't reported.
                prop_assert!(expected.content.starts_with(&asked.content));
                (expected.content, expected.ended) = (asked.content.clone(), asked.ended);
                expected.trailers = asked.trailers.clone();
            }
            prop_assert_eq!(asked, &expected);
            prop_assert_eq!(told, &exchange.expected_response());
        }
        prop_assert!(client.conn.can_open() && server.conn.can_receive());
        // A clean end on one side is a clean end on the other.
        client.conn.shut_down(client.now);
        client.settle();
        server.eof();
        asks.handle(&mut client);
        answers.handle(&mut server);
        prop_assert_eq!(asks.closed.as_deref(), Some("graceful end"));
        prop_assert_eq!(answers.closed.as_deref(), Some("closed by the peer"));
    }

    /// Bytes sent into a tunnel come out of it, in both directions.
    #[test]
    fn joined_by_a_tunnel(
        up in vec(vec(any::<u8>(), 1..3000), 0..5),
        down in vec(vec(any::<u8>(), 1..3000), 0..5),
        there in vec(1..2000_usize, 1..8),
        back in vec(1..2000_usize, 1..8),
        window in prop::sample::select(vec![1, 100, 65_535]),
        server_ends: bool,
    ) {
        let (mut config, mut server_config) = (Config::client(), Config::server());
        config.initial_window_size = window;
        server_config.initial_window_size = window;
        server_config.enable_connect_protocol = true;
        let (mut client, mut server) = (server_of(config), client_of(server_config));
        let head = RequestHead::extended_connect("websocket", "http", "a", "/chat")
            .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .field("x-a", "b");
        let id = client.open(&head, Body::Stream);
        let (mut there, mut back) = (there.iter().cycle(), back.iter().cycle());
        let (mut up_left, mut down_left) = (VecDeque::from(up.clone()), VecDeque::from(down.clone()));
        let (mut up_seen, mut down_seen) = (Vec::new(), Vec::new());
        let mut writers = (None, None);
        loop {
            let mut consumed = false;
            for event in std::mem::take(&mut client.events) {
                match event {
                    Event::Response { head, end: false, .. } => prop_assert_eq!(head.status(), 200),
                    Event::Data { data, end: false, .. } => down_seen.extend_from_slice(&data),
                    Event::Writable { want, .. } => writers.0 = Some(want),
                    other => panic!("{other:?}"),
                }
            }
            for event in std::mem::take(&mut server.events) {
                match event {
                    Event::Request { head, end: true, .. } => {
                        prop_assert_eq!(head.protocol(), Some("websocket"));
                        prop_assert_eq!(own(lines(head.headers())), ["x-a: b"]);
                        server.respond(id, &ResponseHead::new(200), Body::Stream);
                    }
                    Event::Data { data, end: false, .. } => up_seen.extend_from_slice(&data),
                    Event::Writable { want, .. } => writers.1 = Some(want),
                    other => panic!("{other:?}"),
                }
            }
            for (peer, left, want) in [
                (&mut client, &mut up_left, &mut writers.0),
                (&mut server, &mut down_left, &mut writers.1),
            ] {
                if let Some(room) = *want && let Some(mut piece) = left.pop_front() {
                    let later = piece.split_off(room.min(piece.len()));
                    if !later.is_empty() {
                        left.push_front(later);
                    }
                    *want = None;
                    peer.write(id, piece, false);
                }
            }
            let moved = carry(&mut client, &mut server, *there.next().expect("a length"))
                | carry(&mut server, &mut client, *back.next().expect("a length"));
            for peer in [&mut client, &mut server] {
                let told = peer.conn.stream(id).map_or(0, |stream| stream.unconsumed());
                if !moved && told > 0 {
                    peer.stream(id).consume(told);
                    peer.settle();
                    consumed = true;
                }
            }
            let at_rest = client.events.is_empty() && server.events.is_empty();
            if !moved && !consumed && at_rest {
                break;
            }
        }
        prop_assert_eq!(up_seen, up.concat());
        prop_assert_eq!(down_seen, down.concat());
        // One side ends; the other learns of it and ends too.
        let (one, other) = if server_ends { (&mut server, &mut client) } else { (&mut client, &mut server) };
        one.write(id, "", true);
        one.expect_alive();
        assert!(one.conn.has_ended_our_side() && !other.conn.has_ended_our_side());
        other.eof();
        other.expect_data("", true);
        other.expect_alive();
        other.write(id, "", true);
        other.expect_closed();
        one.eof();
        one.expect_data("", true);
        one.expect_closed();
    }
}
