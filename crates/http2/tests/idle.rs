//! The memory of a connection that has answered a request and rests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use bytes::{Buf, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, RequestHead, ResponseHead, Stream,
};

/// The most bytes of such a connection, with its tables for field blocks, 320 bytes for the heads
/// of its last frames, and 32 for what it counts of stalls. Lower it when a connection needs less.
const MOST: usize = 2048;

#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
fn start() -> Instant {
    Instant::now()
}

/// Returns the bytes that an engine sends.
fn transmitted(engine: &mut Connection, now: Instant) -> BytesMut {
    let (mut outbox, mut wire) = (Outbox::new(), BytesMut::new());
    while let Flow::Event(_) = engine.transmit(&mut outbox, usize::MAX, now) {}
    while outbox.has_remaining() {
        let len = outbox.chunk().len();
        wire.extend_from_slice(outbox.chunk());
        outbox.advance(len);
    }
    wire
}

fn request() -> RequestHead {
    let head = RequestHead::new("GET", "https", "localhost", "/small.txt");
    head.field("user-agent", "idle").field("accept", "*/*")
}

/// Returns a server that has answered the requests in what a client sent.
fn served(wires: &[BytesMut], now: Instant) -> Connection {
    served_with(Config::server().build().unwrap(), wires, now)
}

fn served_with(config: Arc<Config>, wires: &[BytesMut], now: Instant) -> Connection {
    let mut server = Connection::server(config, now);
    for wire in wires {
        let mut input = wire.clone();
        while let Some(event) = server.receive(&mut input, now) {
            if let Event::Request { id, .. } = event {
                let head = ResponseHead::new(200)
                    .field("content-type", "text/plain; charset=utf-8")
                    .field("content-length", "15")
                    .field("etag", "\"65f1c0-4e8\"")
                    .field("last-modified", "Mon, 03 Nov 2025 10:00:00 GMT")
                    .field("server", "tidegate");
                let body = Body::Full(b"fifteen bytes.\n"[..].into());
                server.stream(id).unwrap().respond(&head, body).unwrap();
            }
        }
        transmitted(&mut server, now);
    }
    server
}

/// Returns what a client sends for `requests` requests, one after the other.
fn wires(requests: usize, now: Instant) -> Vec<BytesMut> {
    let mut client = Connection::client(Config::client().build().unwrap(), now);
    let mut wire = |_| {
        client.open(&request(), Body::Empty).unwrap();
        transmitted(&mut client, now)
    };
    (0..requests).map(&mut wire).collect()
}

#[test]
fn a_connection_at_rest_holds_little() {
    let now = start();
    let wires = wires(1, now);
    let config = measure(|| std::mem::forget(Config::server().build().unwrap()));
    let mut server = None;
    let held = measure(|| {
        let mut engine = served(&wires, now);
        engine.handle_timeout(now + Duration::from_secs(1));
        transmitted(&mut engine, now + Duration::from_secs(1));
        server = Some(engine);
    });
    let heap = usize::try_from(held.bytes_current - config.bytes_current).unwrap();
    let bytes = size_of::<Connection>() + heap;
    assert!(bytes <= MOST, "{bytes} bytes, of which {heap} on the heap");
    assert_eq!(server.unwrap().active_streams(), 0);
}

/// The most bytes of a server's connection that was put to rest, with its tables.
const MOST_AT_REST: usize = 400;

#[test]
fn a_connection_put_to_rest_holds_a_quarter_of_that() {
    let now = start();
    let mut wires = wires(1, now);
    // The client acknowledges our SETTINGS: a connection that waits for that doesn't rest.
    wires.push(BytesMut::from(&[0, 0, 0, 4, 1, 0, 0, 0, 0][..]));
    let config = Config::server().build().unwrap();
    let mut resting = None;
    let held = measure(|| {
        let mut engine = served_with(config.clone(), &wires, now);
        assert!(engine.put_to_rest().is_none());
        engine.handle_timeout(now + Duration::from_secs(1));
        transmitted(&mut engine, now + Duration::from_secs(1));
        resting = engine.put_to_rest();
    });
    let mut resting = resting.expect("nothing is in progress");
    let heap = usize::try_from(held.bytes_current).unwrap();
    let bytes = size_of_val(&resting) + heap;
    assert!(
        bytes <= MOST_AT_REST,
        "{bytes} bytes, of which {heap} on the heap"
    );
    let engine = resting.wake();
    assert_eq!((engine.active_streams(), engine.stats().requests), (0, 1));
}

#[test]
fn the_request_that_is_kept_counts_until_the_connection_rests() {
    let now = start();
    let mut server = served(&wires(4, now), now);
    let kept = server.held_bytes();
    assert!(kept > 100, "the last request is kept: {kept}");
    server.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(server.held_bytes(), 0);
}
