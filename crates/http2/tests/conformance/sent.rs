//! Owners that ask for it learn when their messages end, and how many bytes of the bodies went out.

use tidegate_http2::{Body, CloseReason, ErrorCode, Event, Fields, ResponseHead, Stream, StreamId};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire;

use crate::support::{bytes, client, client_of, release, respond_streaming};

/// The test is the client; the engine is a server whose owner asks for it.
fn asking() -> Peer {
    client_of(|config| config.report_sent = true)
}

#[track_caller]
fn expect_sent(peer: &mut Peer, expected: (u32, u64)) {
    expect_end(peer, expected, true);
}

#[track_caller]
fn expect_end(peer: &mut Peer, (expected_id, expected_bytes): (u32, u64), whole: bool) {
    match peer.next_event() {
        Some(Event::Sent {
            id,
            bytes,
            complete,
        }) => assert_eq!(
            (id.get(), bytes, complete),
            (expected_id, expected_bytes, whole)
        ),
        other => panic!("{other:?}"),
    }
}

fn write(peer: &mut Peer, id: u32, len: usize, end: bool) -> usize {
    peer.stream(id, |stream| -> usize { stream.write(&mut bytes(len), end) })
}

#[test]
fn heads_alone_small_bodies_and_interim_heads() {
    let mut peer = asking();
    for id in [1, 3] {
        peer.send(wire::get(id));
        peer.expect_request(id);
    }
    peer.stream(3, |stream| stream.inform(&ResponseHead::new(103)))
        .expect("an interim head");
    peer.pump();
    peer.expect_no_event();
    peer.respond(3, 200, "");
    expect_sent(&mut peer, (3, 0));
    peer.respond(1, 200, "hello");
    expect_sent(&mut peer, (1, 5));
    peer.expect_no_event();
}

#[test]
fn a_body_is_out_when_the_windows_let_its_last_byte_out() {
    // RFC 9113 §6.9.2: the initial window is 65,535 bytes.
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.respond(1, 200, vec![b'x'; 65_536]);
    peer.expect_no_event();
    peer.send(wire::window_update(0, 1));
    peer.expect_no_event();
    peer.send(wire::window_update(1, 1));
    expect_sent(&mut peer, (1, 65_536));
    peer.expect_no_event();
}

#[test]
fn trailers_belong_to_the_message_and_not_to_its_bytes() {
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    assert_eq!(write(&mut peer, 1, 7, false), 7);
    peer.pump();
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    peer.expect_no_event();
    let mut fields = Fields::new();
    fields.push("x-checksum", "1");
    peer.stream(1, |stream| stream.trailers(&fields))
        .expect("trailers");
    peer.pump();
    expect_sent(&mut peer, (1, 7));
}

#[test]
fn a_message_that_was_reset_says_how_far_it_came() {
    // The owner has given the whole body, so it needs no handle for the release.
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.respond(1, 200, vec![b'x'; 70_000]);
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    assert!(matches!(peer.next_event(), Some(Event::Reset { .. })));
    expect_end(&mut peer, (1, 65_535), false);
    peer.expect_no_event();

    let mut peer = asking();
    peer.hold_resets();
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    assert_eq!(write(&mut peer, 1, 7, false), 7);
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    assert!(matches!(peer.next_event(), Some(Event::Reset { .. })));
    peer.expect_no_event();
    release(&mut peer, 1);
    expect_end(&mut peer, (1, 7), false);
    peer.expect_no_event();
}

#[test]
fn a_request_without_a_response_has_no_message_that_could_end() {
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    assert!(matches!(peer.next_event(), Some(Event::Reset { .. })));
    peer.expect_no_event();
}

#[test]
fn messages_end_with_their_connection() {
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.respond(1, 200, vec![b'x'; 70_000]);
    peer.send_eof();
    expect_end(&mut peer, (1, 65_535), false);
    assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
}

#[test]
fn the_last_response_comes_before_the_end() {
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.engine.shut_down(peer.now);
    peer.pump();
    peer.expect_goaway(ErrorCode::NO_ERROR);
    let (payload, _) = peer.expect_ping();
    peer.send(wire::ping_ack(&payload));
    peer.respond(1, 200, "bye");
    expect_sent(&mut peer, (1, 3));
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert!(peer.is_closed());

    // The client leaves before the response has moved out of the engine.
    let mut peer = asking();
    peer.send(wire::get(1));
    peer.expect_request(1);
    let mut stream = peer.engine.stream(StreamId::new(1)).expect("a stream");
    let body = Body::Full(bytes(3));
    stream
        .respond(&ResponseHead::new(200), body)
        .expect("taken");
    peer.send_eof();
    expect_sent(&mut peer, (1, 3));
    assert_eq!(peer.expect_closed(), CloseReason::Eof);
}

#[test]
fn who_does_not_ask_learns_nothing() {
    let mut peer = client();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.respond(1, 200, "hello");
    peer.expect_no_event();
}
