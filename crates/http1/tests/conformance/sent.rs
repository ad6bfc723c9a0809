//! Owners that ask for it learn when their messages end, and how many bytes of the bodies went out.

use bytes::Bytes;
use tidegate_http::{Body, CloseReason, Config, Event, ResponseHead, StreamId};

use crate::support::*;

/// The test is the client; the engine is a server whose owner asks for it.
fn asking(request: &str) -> Peer {
    let mut config = Config::server();
    config.report_sent = true;
    let mut peer = client_of(config);
    peer.send(request);
    peer
}

#[track_caller]
fn expect_sent(peer: &mut Peer, expected: (u32, u64)) {
    expect_end(peer, expected, true);
}

#[track_caller]
fn expect_end(peer: &mut Peer, (expected_id, expected_bytes): (u32, u64), whole: bool) {
    match peer.next() {
        Event::Sent {
            id,
            bytes,
            complete,
        } => assert_eq!(
            (id.get(), bytes, complete),
            (expected_id, expected_bytes, whole)
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn responses_of_pipelined_requests() {
    let mut peer = asking(&format!("{GET}{GET}"));
    let (first, ..) = peer.expect_request();
    let body = Body::Full(Bytes::from(vec![b'x'; 4000]));
    peer.respond(first, &ResponseHead::new(200), body);
    // The engine takes the next request before its owner looks at the output again.
    let (second, ..) = peer.expect_request();
    expect_sent(&mut peer, (first.get(), 4000));
    let body = Body::Full(Bytes::from(vec![b'x'; 8000]));
    peer.respond(second, &ResponseHead::new(200), body);
    expect_sent(&mut peer, (second.get(), 8000));
    peer.expect_nothing();
}

/// Returns a client whose request is being answered: five bytes of the body are out.
fn streaming() -> (Peer, StreamId) {
    let mut peer = asking(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    assert!(matches!(peer.next(), Event::Writable { .. }));
    peer.write(id, "hello", false);
    assert!(matches!(peer.next(), Event::Writable { .. }));
    (peer, id)
}

#[test]
fn chunks_count_without_their_framing() {
    // RFC 9112 §7.1: the last chunk ends the message.
    let (mut peer, id) = streaming();
    peer.expect_nothing();
    peer.write(id, "", true);
    expect_sent(&mut peer, (id.get(), 5));
    peer.expect_nothing();
}

#[test]
fn the_last_response_comes_before_the_end() {
    let mut peer = asking(&get_with("Connection: close\r\n"));
    let (id, ..) = peer.expect_request();
    let body = Body::Full(Bytes::from_static(b"bye"));
    peer.respond(id, &ResponseHead::new(200), body);
    expect_sent(&mut peer, (id.get(), 3));
    assert!(matches!(peer.next(), Event::Closed(CloseReason::Graceful)));
    assert!(peer.closed);
}

#[test]
fn a_message_ends_with_its_connection() {
    let (mut peer, id) = streaming();
    peer.fail();
    expect_end(&mut peer, (id.get(), 5), false);
    let end = peer.next();
    assert!(matches!(end, Event::Closed(CloseReason::EofInTheMiddle)));
}
