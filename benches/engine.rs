//! The engine alone, in memory: a client engine and a server engine joined by a buffer.
//!
//! `cargo bench -p tidegate-http2 --bench engine` prints requests per second on one core.
//! `tools/engine-instructions.sh` prints instructions per request of the server engine alone: the
//! total of `valgrind --tool=callgrind --toggle-collect='*drive_server*' BINARY 32000`, divided by
//! 32,000.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, RequestHead, ResponseHead, Stream,
};

/// How many streams are opened before the other end sees them: as h2load's `-m 32`.
const BATCH: usize = 32;

#[expect(
    clippy::disallowed_methods,
    reason = "the engine has no clock, its bench does"
)]
fn clock() -> Instant {
    Instant::now()
}

/// Moves one end's output to the other end's input.
fn carry(from: &mut Connection, out: &mut Outbox, wire: &mut BytesMut, now: Instant) {
    let flow = from.transmit(out, usize::MAX, now);
    assert!(matches!(flow, Flow::Drained), "unexpected {flow:?}");
    while out.has_remaining() {
        let n = out.chunk().len();
        wire.extend_from_slice(out.chunk());
        out.advance(n);
    }
}

/// Opens a batch of requests.
fn ask(client: &mut Connection, head: &RequestHead) {
    for _ in 0..BATCH {
        client
            .open(head, Body::Empty)
            .expect("there is room for a batch");
    }
}

/// The server's part of a batch: takes all requests, answers them, and produces the bytes.
#[inline(never)]
fn drive_server(
    server: &mut Connection,
    wire: &mut BytesMut,
    out: &mut Outbox,
    now: Instant,
    answer: &(ResponseHead, Bytes),
) {
    while let Some(event) = server.receive(wire, now) {
        if let Event::Request { id, .. } = event {
            let mut stream = server.stream(id).expect("a request has a stream");
            let body = Body::Full(answer.1.clone());
            stream
                .respond(&answer.0, body)
                .expect("a request can be answered");
        }
    }
    let flow = server.transmit(out, usize::MAX, now);
    assert!(matches!(flow, Flow::Drained), "unexpected {flow:?}");
}

fn main() {
    let argument = std::env::args()
        .skip(1)
        .find(|argument| argument != "--bench");
    let requests = argument.map_or(2_000_000, |count| {
        count.parse().expect("a number of requests")
    });
    let batches: usize = requests / BATCH;
    let now = clock();
    let request = RequestHead::new("GET", "https", "127.0.0.1:8443", "/15.txt")
        .field("user-agent", "h2load nghttp2/1.52.0");
    let answer = (
        ResponseHead::new(200)
            .field("server", "tidegate")
            .field("date", "Sun, 22 Nov 2026 12:00:00 GMT")
            .field("content-type", "text/plain; charset=utf-8")
            .field("content-length", "15")
            .field("last-modified", "Sun, 22 Nov 2026 11:00:00 GMT")
            .field("etag", "\"6921a2b0-f\"")
            .field("accept-ranges", "bytes"),
        Bytes::from_static(b"fifteen bytes!!"),
    );
    let mut config = Config::server();
    config.max_concurrent_streams = 1000;
    let mut server = Connection::server(config.build().expect("a valid configuration"), now);
    let config = Config::client().build().expect("a valid configuration");
    let mut client = Connection::client(config, now);
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut out = Outbox::new();
    let mut serving = Duration::ZERO;
    let start = clock();
    for _ in 0..batches {
        ask(&mut client, &request);
        carry(&mut client, &mut out, &mut to_server, now);
        let served = clock();
        drive_server(&mut server, &mut to_server, &mut out, now, &answer);
        serving += served.elapsed();
        carry(&mut server, &mut out, &mut to_client, now);
        while client.receive(&mut to_client, now).is_some() {}
    }
    let both = start.elapsed();
    assert_eq!(server.stats().requests as usize, batches * BATCH);
    report("server engine", batches, serving);
    report("client and server engine", batches, both);
}

fn report(what: &str, batches: usize, elapsed: Duration) {
    let requests = (batches * BATCH) as f64;
    let seconds = elapsed.as_secs_f64();
    println!(
        "{what}: {:.0} requests/s, {:.0} ns a request",
        requests / seconds,
        seconds * 1e9 / requests
    );
}
