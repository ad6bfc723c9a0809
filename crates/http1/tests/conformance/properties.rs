//! Properties of all inputs: it doesn't matter where the input is cut, and no bytes do harm.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_http::{Body, Event, ResponseHead, Stream};

use crate::support::*;

/// A valid request of a client.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    path: String,
    fields: Vec<(String, String)>,
    body: Vec<Vec<u8>>,
    chunked: bool,
    trailers: Vec<(String, String)>,
    response: Response,
}

#[derive(Clone, Debug)]
struct Response {
    status: u16,
    pieces: Vec<Vec<u8>>,
    stream: bool,
}

pub(crate) fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    vec(("x-[a-z0-9]{1,8}", "([!-~]([ -~]{0,20}[!-~])?)?"), 0..4)
}

fn request() -> impl Strategy<Value = Request> {
    let body = vec(vec(any::<u8>(), 1..200), 0..5);
    let response = (
        prop::sample::select(vec![200, 204, 304, 404, 500]),
        vec(vec(any::<u8>(), 1..5000), 0..4),
        any::<bool>(),
    );
    (
        prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "OPTIONS"]),
        "/[!-\"$-~]{0,30}",
        fields(),
        body,
        any::<bool>(),
        fields(),
        response,
    )
        .prop_map(
            |(method, path, fields, body, chunked, trailers, (status, pieces, stream))| Request {
                method,
                path,
                fields,
                body,
                chunked,
                trailers,
                response: Response {
                    status,
                    pieces,
                    stream,
                },
            },
        )
}

impl Request {
    fn write(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\nHost: a\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if self.chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for piece in &self.body {
                out.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n");
            for (name, value) in &self.trailers {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(
                format!("Content-Length: {}\r\n\r\n", self.content().len()).as_bytes(),
            );
            out.extend_from_slice(&self.content());
        }
        out
    }

    fn content(&self) -> Vec<u8> {
        self.body.concat()
    }
}

/// A request as an owner saw it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    head: String,
    content: Vec<u8>,
    trailers: String,
    ended: bool,
}

/// An owner that notes what it sees, and answers the n-th request as `answers` says once the
/// request is complete.
#[derive(Default)]
struct Owner {
    seen: Vec<Seen>,
    closed: Option<String>,
    pieces: Vec<Vec<u8>>,
}

impl Owner {
    fn handle(&mut self, peer: &mut Peer, answers: &[Response]) {
        while !peer.events.is_empty() {
            let event = peer.events.remove(0);
            assert!(self.closed.is_none(), "{event:?} after the end");
            let (id, end) = match event {
                Event::Request { id, head, end } => {
                    let last = self.seen.last();
                    assert!(
                        last.is_none_or(|seen| seen.ended),
                        "a request inside another"
                    );
                    self.seen.push(Seen {
                        head: format!("{head:?}"),
                        ..Seen::default()
                    });
                    (id, end)
                }
                Event::Data { id, data, end } => {
                    let seen = self.seen.last_mut().expect("a request in front");
                    assert!(!seen.ended);
                    seen.content.extend_from_slice(&data);
                    // A violation further on may have ended it already.
                    if let Some(mut stream) = peer.conn.stream(id) {
                        stream.consume(data.len());
                    }
                    (id, end)
                }
                Event::Trailers { id, fields } => {
                    let seen = self.seen.last_mut().expect("a request in front");
                    assert!(!seen.ended);
                    seen.trailers = format!("{fields:?}");
                    (id, true)
                }
                Event::Writable { id, want } => {
                    let mut piece = Bytes::from(self.pieces.remove(0));
                    let last = self.pieces.is_empty();
                    let mut some = piece.split_to(want.min(piece.len()));
                    if piece.is_empty() {
                        peer.stream(id).write(&mut some, last);
                    } else {
                        peer.stream(id).write(&mut some, false);
                        self.pieces.insert(0, piece.to_vec());
                    }
                    peer.settle();
                    continue;
                }
                Event::Closed(reason) => {
                    self.closed = Some(reason.to_string());
                    continue;
                }
                other => panic!("{other:?}"),
            };
            if end {
                self.seen.last_mut().expect("a request").ended = true;
                if let Some(answer) = answers.get(self.seen.len() - 1) {
                    self.pieces = answer.pieces.clone();
                    self.pieces.push(Vec::new());
                    let body = if answer.stream {
                        Body::Stream
                    } else {
                        Body::Full(Bytes::from(answer.pieces.concat()))
                    };
                    peer.stream(id)
                        .respond(&ResponseHead::new(answer.status), body)
                        .expect("a proper response");
                }
            }
            peer.settle();
        }
    }
}

/// Sends `bytes` in pieces of these lengths, repeated.
fn run(bytes: &[u8], cuts: &[usize], answers: &[Response]) -> (Owner, Peer) {
    let (mut owner, mut peer) = (Owner::default(), client());
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*cuts.next().expect("at least one")).min(rest.len()));
        peer.send(now);
        owner.handle(&mut peer, answers);
        rest = later;
    }
    (owner, peer)
}

/// Takes one response off `sent`, as a client that knows its request would.
fn read_response(sent: &mut &[u8], head_request: bool) -> (u16, Vec<u8>) {
    let end = sent
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("a head")
        + 4;
    let head = std::str::from_utf8(&sent[..end]).expect("text");
    *sent = &sent[end..];
    let status = head[9..12].parse().expect("a status");
    if head_request || status == 204 || status == 304 {
        return (status, Vec::new());
    }
    let field = |name: &str| head.split("\r\n").find_map(|line| line.strip_prefix(name));
    let mut take = |len: usize| {
        let (taken, rest) = sent.split_at(len);
        *sent = rest;
        taken.to_vec()
    };
    if let Some(length) = field("content-length: ") {
        return (status, take(length.parse().expect("a length")));
    }
    assert_eq!(field("transfer-encoding: "), Some("chunked"));
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(take(1));
        }
        let size = std::str::from_utf8(&line[..line.len() - 2]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a size");
        content.extend(take(size));
        assert_eq!(take(2), b"\r\n");
        if size == 0 {
            return (status, content);
        }
    }
}

proptest! {
    /// RFC 9112 §9.3.2: however they are cut, pipelined requests are understood as they were meant
    /// and answered in order.
    #[test]
    fn pipelines_of_requests(requests in vec(request(), 1..6), cuts in vec(1..300_usize, 1..8)) {
        let bytes: Vec<u8> = requests.iter().flat_map(Request::write).collect();
        let answers: Vec<_> = requests.iter().map(|request| request.response.clone()).collect();
        let (owner, peer) = run(&bytes, &cuts, &answers);
        prop_assert_eq!(owner.seen.len(), requests.len());
        prop_assert!(owner.closed.is_none(), "{:?}", owner.closed);
        let mut sent = &peer.sent[..];
        for (request, seen) in requests.iter().zip(&owner.seen) {
            prop_assert_eq!(&seen.content, &request.content());
            let shown = |(name, value): &(String, String)| format!("{}: {}", name, value.as_bytes().escape_ascii());
            for field in request.fields.iter().map(shown) {
                prop_assert!(seen.head.contains(&field), "{} lacks {}", seen.head, field);
            }
            for field in request.trailers.iter().filter(|_| request.chunked).map(shown) {
                prop_assert!(seen.trailers.contains(&field), "{} lacks {}", seen.trailers, field);
            }
            let (status, content) = read_response(&mut sent, request.method == "HEAD");
            prop_assert_eq!(status, request.response.status);
            let none = request.method == "HEAD" || matches!(status, 204 | 304);
            let expected = if none { Vec::new() } else { request.response.pieces.concat() };
            prop_assert_eq!(content, expected);
        }
        prop_assert!(sent.is_empty(), "{}", sent.escape_ascii());
    }

    /// Bytes that aren't a request end in the same way however they are cut: a byte of a pipeline
    /// is replaced, left out or doubled.
    #[test]
    fn broken_requests(
        requests in vec(request(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\0\t\n\r :;,=/x0\x7f\xff".to_vec()),
        change in 0..3,
        cuts in vec(1..100_usize, 1..8),
    ) {
        let mut bytes: Vec<u8> = requests.iter().flat_map(Request::write).collect();
        let at = at.index(bytes.len());
        match change {
            0 => bytes[at] = byte,
            1 => { bytes.remove(at); }
            _ => bytes.insert(at, bytes[at]),
        }
        let answers: Vec<_> = requests.iter().map(|request| request.response.clone()).collect();
        let (whole, in_one) = run(&bytes, &[bytes.len()], &answers);
        let (pieces, in_pieces) = run(&bytes, &cuts, &answers);
        prop_assert_eq!(whole.seen, pieces.seen);
        prop_assert_eq!(whole.closed, pieces.closed);
        prop_assert_eq!(in_one.sent.escape_ascii().to_string(), in_pieces.sent.escape_ascii().to_string());
    }

    /// No bytes make the engine panic, and it refuses at most once.
    #[test]
    fn any_bytes(bytes in vec(prop::sample::select(b"GET / HTTP/1.1\r\n\r\n: aHost0;\0".to_vec()), 0..400), cut in 1..50_usize) {
        let (owner, peer) = run(&bytes, &[cut], &[]);
        if owner.closed.is_some() {
            prop_assert!(peer.closed);
            prop_assert_eq!(peer.text().matches("HTTP/1.1 ").count(), 1);
        }
    }
}
