//! RFC 7540 §3.2: a connection that began as HTTP/1.1.

use bytes::Bytes;
use tidegate_http2::{Config, RequestHead, Violation};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire;

use crate::support::bytes;

fn head() -> RequestHead {
    RequestHead::new("GET", "http", "localhost", "/a")
}

fn upgraded(settings: &'static [u8]) -> Peer {
    Peer::client_upgraded(Config::server(), head(), Bytes::from_static(settings))
}

#[test]
fn the_request_is_stream_1() {
    // "Stream 1 is implicitly "half-closed" from the client toward the server …. After commencing
    // the HTTP/2 connection, stream 1 is used for the response."
    let mut peer = upgraded(b"");
    let (told, end) = peer.expect_request(1);
    assert_eq!((told.path(), told.scheme(), end), ("/a", "http", true));
    // "The first HTTP/2 frame sent by the server MUST be a server connection preface … consisting
    // of a SETTINGS frame".
    assert!(peer.expect_settings().is_some());
    // The response need not wait for the client's preface.
    peer.respond(1, 200, "hello");
    assert_eq!(peer.expect_head(1).status(), 200);
    assert_eq!(peer.expect_data(1), (Bytes::from("hello"), true));
    // "Upon receiving the 101 response, the client MUST send a connection preface …, which includes
    // a SETTINGS frame."
    peer.send_bytes(wire::PREFACE);
    peer.shake_hands(&[]);
    // "A request … is assigned a stream identifier of 1": the next one is 3.
    peer.send(wire::get(3));
    peer.expect_request(3);
    peer.expect_alive();
}

#[test]
fn its_stream_is_used_up() {
    // "stream 1 is … "half-closed" from the client toward the server".
    let mut peer = upgraded(b"");
    peer.expect_request(1);
    peer.send_bytes(wire::PREFACE);
    peer.shake_hands(&[]);
    peer.send(wire::data(1, "more"));
    peer.stream_error(1, Violation::FrameAfterEndStream);
}

#[test]
fn the_settings_in_the_request_count_from_the_start() {
    // §3.2.1: "the content of the HTTP2-Settings header field is the payload of a SETTINGS frame".
    // "a 101 response serves as implicit acknowledgment".
    let mut peer = upgraded(b"\0\x04\0\0\0\x05");
    peer.expect_request(1);
    peer.expect_settings();
    peer.respond(1, 200, bytes(12));
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (bytes(5), false));
    peer.expect_silence();
    // The settings of the preface move the windows as usual.
    peer.send_bytes(wire::PREFACE);
    peer.send(wire::settings(&[(0x4, 100)]));
    peer.expect_settings();
    assert_eq!(peer.expect_data(1), (bytes(7), true));
}

#[test]
fn settings_that_are_none_end_it() {
    // RFC 9113 §6.5.2 applies to them too.
    let mut peer = upgraded(b"\0\x04\xff\xff\xff\xff");
    peer.expect_settings();
    peer.connection_error(Violation::InitialWindowSizeTooLarge);
}

#[test]
fn the_preface_is_waited_for_no_longer_than_ever() {
    let mut peer = upgraded(b"");
    peer.expect_request(1);
    peer.expect_settings();
    peer.wait(std::time::Duration::from_secs(11));
    peer.connection_error(Violation::HandshakeTimedOut);
}
