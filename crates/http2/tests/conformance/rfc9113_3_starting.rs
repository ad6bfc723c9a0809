//! RFC 9113 §3: Starting HTTP/2.

use tidegate_frame::{Frame, SettingId};
use tidegate_http2::{CloseReason, Config, Event, Violation};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire;

use crate::support::{client, secs, server};

#[test]
fn a_server_speaks_first_with_settings() {
    // RFC 9113 §3.4: "The server connection preface consists of a potentially empty SETTINGS frame
    // (Section 6.5) that MUST be the first frame the server sends in the HTTP/2 connection."
    let mut peer = Peer::client_unborn(Config::server());
    let settings = peer
        .expect_settings()
        .expect("values, not an acknowledgement");
    assert!(settings.contains(&(SettingId::MAX_CONCURRENT_STREAMS, 100)));
    peer.expect_silence();
}

#[test]
fn a_client_speaks_first_with_the_preface_and_settings() {
    // RFC 9113 §3.4: "This sequence MUST be followed by a SETTINGS frame (Section 6.5), which MAY
    // be empty."
    let mut peer = Peer::server_unborn(Config::client());
    let settings = peer
        .expect_settings()
        .expect("values, not an acknowledgement");
    assert!(settings.contains(&(SettingId::ENABLE_PUSH, 0)));
    peer.expect_silence();
}

#[test]
fn a_client_may_send_requests_at_once() {
    // RFC 9113 §3.4: "clients are permitted to send additional frames to the server immediately
    // after sending the client connection preface, without waiting to receive the server connection
    // preface."
    let mut peer = Peer::server_unborn(Config::client());
    peer.frames.clear();
    peer.open_get();
    assert_eq!(peer.expect_head(1).get(":path"), Some("/"));

    let mut peer = Peer::client_unborn(Config::server());
    peer.send_bytes(
        &[
            wire::PREFACE,
            &wire::settings(&[]).to_bytes(),
            &wire::get(1).to_bytes(),
        ]
        .concat(),
    );
    peer.expect_request(1);
}

#[test]
fn a_preface_may_come_in_pieces() {
    // RFC 9113 §3.4: "That is, the connection preface starts with the string "PRI *
    // HTTP/2.0\r\n\r\nSM\r\n\r\n"": a string, however the transport cuts it.
    let mut peer = Peer::client_unborn(Config::server());
    for byte in wire::PREFACE {
        assert!(!peer.engine.is_established());
        peer.send_bytes(&[*byte]);
    }
    peer.shake_hands(&[]);
    assert!(peer.engine.is_established());
    peer.send(wire::get(1));
    peer.expect_request(1);
}

#[test]
fn an_invalid_preface_ends_the_connection() {
    // RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a connection
    // error (Section 5.4.1) of type PROTOCOL_ERROR."
    for preface in [
        &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
    ] {
        let mut peer = Peer::client_unborn(Config::server());
        peer.send_bytes(preface);
        peer.connection_error(Violation::PrefaceInvalid);
    }
}

#[test]
fn whatever_comes_first_but_settings_ends_the_connection() {
    // RFC 9113 §3.4: both prefaces include a SETTINGS frame, the first that its sender sends.
    for frame in [
        wire::ping(b"too soon"),
        wire::get(1),
        wire::settings_ack(),
        wire::frame(0xfe, 0, 0, []),
    ] {
        let mut peer = Peer::client_unborn(Config::server());
        peer.send_bytes(wire::PREFACE);
        peer.send(frame);
        peer.connection_error(Violation::PrefaceWithoutSettings);
    }
    for frame in [
        wire::ping(b"too soon"),
        wire::settings_ack(),
        wire::window_update(0, 1),
    ] {
        let mut peer = Peer::server_unborn(Config::client());
        peer.send(frame);
        peer.connection_error(Violation::PrefaceWithoutSettings);
    }
}

#[test]
fn settings_in_a_preface_may_be_empty_and_are_acknowledged() {
    // RFC 9113 §3.4: "The SETTINGS frames received from a peer as part of the connection preface
    // MUST be acknowledged (see Section 6.5.3) after sending the connection preface."
    for mut peer in [
        Peer::client_unborn(Config::server()),
        Peer::server_unborn(Config::client()),
    ] {
        if peer.engine.role() == tidegate_http2::Role::Server {
            peer.send_bytes(wire::PREFACE);
        }
        assert!(peer.expect_settings().is_some(), "its own first");
        peer.send(wire::settings(&[]));
        assert_eq!(peer.expect_settings(), None, "then the acknowledgement");
        assert!(matches!(peer.events.pop_front(), Some(Event::PeerSettings)));
    }
}

#[test]
fn a_silent_peer_is_disconnected() {
    // Our own limit: a client has some seconds for its preface.
    for mut peer in [
        Peer::client_unborn(Config::server()),
        Peer::server_unborn(Config::client()),
    ] {
        peer.wait(secs(9));
        assert!(!peer.is_closed());
        peer.wait(secs(2));
        peer.connection_error(Violation::HandshakeTimedOut);
        assert_eq!(peer.engine.next_timeout(), None);
    }
}

#[test]
fn half_a_preface_does_not_stop_the_clock() {
    // Our own limit: a preface sent byte by byte gets no more time.
    let mut peer = Peer::client_unborn(Config::server());
    for byte in &wire::PREFACE[..8] {
        peer.send_bytes(&[*byte]);
        peer.wait(secs(1));
    }
    peer.wait(secs(3));
    peer.connection_error(Violation::HandshakeTimedOut);
}

#[test]
fn a_connection_without_streams_is_closed_in_the_end() {
    // RFC 9113 §9.1: "Servers are encouraged to maintain open connections for as long as possible
    // but are permitted to terminate idle connections if necessary." and should send GOAWAY first.
    for mut peer in [client(), server()] {
        peer.wait(secs(599));
        assert!(!peer.is_closed());
        peer.wait(secs(2));
        assert_eq!(peer.expect_goaway(tidegate_http2::ErrorCode::NO_ERROR), 0);
        assert_eq!(peer.expect_closed(), CloseReason::Idle);
        assert!(peer.is_closed());
    }
}

#[test]
fn a_stream_keeps_a_connection_from_being_idle() {
    // RFC 9113 §9.1: a connection without a stream is idle; the time starts again when the last one
    // ends.
    let mut peer = client();
    peer.wait(secs(500));
    peer.send(wire::get(1));
    peer.wait(secs(700));
    peer.respond(1, 200, "late");
    peer.wait(secs(599));
    assert!(!peer.is_closed());
    peer.wait(secs(2));
    assert!(peer.is_closed());
}

#[test]
fn the_transports_end_is_reported_for_what_it_is() {
    // RFC 9113 §9.1: "HTTP/2 connections are persistent"; when only the transport ends, we send
    // nothing.
    let mut peer = client();
    peer.send_eof();
    assert_eq!(peer.expect_closed(), CloseReason::Eof);
    peer.expect_silence();

    let mut peer = client();
    peer.send(wire::post(1));
    peer.expect_request(1);
    peer.send_eof();
    assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
    peer.expect_silence();

    let mut peer = client();
    peer.send(wire::get(1).unfinished());
    peer.send_eof();
    assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
}

#[test]
fn a_long_reason_is_cut_to_a_frame_that_every_peer_accepts() {
    // RFC 9113 §4.2: 16,384 bytes.
    let code = tidegate_http2::ErrorCode::INTERNAL_ERROR;
    let mut peer = client();
    peer.engine.abort(code, &"ä".repeat(10_000));
    peer.pump();
    let lens = peer.frames.iter().filter_map(|frame| match frame {
        Received::Other(Frame::GoAway(goaway)) => Some(goaway.debug_data.len()),
        _ => None,
    });
    assert_eq!(lens.collect::<Vec<_>>(), [16_376]);
}

#[test]
fn an_abort_names_its_code_and_reason() {
    // RFC 9113 §5.4.1: "After sending the GOAWAY frame for an error condition, the endpoint MUST
    // close the TCP connection.": `transmit` returns that.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.events.clear();
    let code = tidegate_http2::ErrorCode::INTERNAL_ERROR;
    peer.engine.abort(code, "out of disks");
    peer.pump();
    // RFC 9113 §6.8: "Endpoints MAY append opaque data to the payload of any GOAWAY frame."
    let is_goaway = |frame: &&Received| matches!(frame, Received::Other(Frame::GoAway(_)));
    let Some(Received::Other(Frame::GoAway(goaway))) = peer.frames.iter().find(is_goaway) else {
        panic!("no GOAWAY");
    };
    assert_eq!(goaway.debug_data, "out of disks");
    assert_eq!(peer.expect_goaway(code), 1);
    assert_eq!(peer.expect_closed(), CloseReason::Aborted(code));
    assert!(peer.is_closed());
    assert!(
        !peer
            .frames
            .iter()
            .any(|frame| matches!(frame, Received::Other(Frame::Ping(_))))
    );
}
