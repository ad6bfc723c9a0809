//! A PING checks that a silent peer is still there (RFC 9113 §6.7: PING "can be used to determine
//! whether an idle connection is still functional").

use tidegate_frame::Frame;
use tidegate_http2::{Body, CloseReason, ErrorCode, RequestHead};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire;

use crate::support::{client_of, secs, server_of};

/// The test is the server; the engine is a client that probes after 10 s and waits 5 s for the
/// answer.
fn probed() -> Peer {
    let mut peer = server_of(|config| {
        config.timeouts.probe = secs(10);
        config.timeouts.probe_answer = secs(5);
        config.timeouts.body = secs(0);
        config.timeouts.idle = secs(0);
    });
    peer.open_get();
    peer.frames.clear();
    peer
}

/// A silence is probed after ten seconds, and not before.
fn expect_probe(peer: &mut Peer) -> ([u8; 8], bool) {
    peer.wait(secs(9));
    peer.expect_silence();
    peer.wait(secs(1));
    peer.expect_ping()
}

#[test]
fn silence_is_probed_and_no_answer_is_the_end() {
    let mut peer = probed();
    assert!(!expect_probe(&mut peer).1);
    peer.wait(secs(4));
    peer.expect_no_event();
    peer.wait(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::ProbeUnanswered);
    assert!(peer.is_closed());
}

#[test]
fn an_answer_will_do_for_five_minutes() {
    // gRPC servers take three PINGs within five minutes, without other frames in between, for an
    // attack.
    let mut peer = probed();
    for _ in 0..3 {
        peer.wait(secs(10));
        let (payload, _) = peer.expect_ping();
        peer.send(wire::ping_ack(&payload));
        peer.wait(secs(300));
        peer.expect_silence();
        peer.wait(secs(1));
        let (payload, _) = peer.expect_ping();
        peer.send(wire::ping_ack(&payload));
        // Any other frame begins a new silence.
        peer.send(wire::headers(1, &[(":status", "103")]));
        peer.events.clear();
    }
    peer.expect_alive();
}

#[test]
fn whatever_it_says_is_an_answer() {
    let mut peer = probed();
    peer.wait(secs(10));
    peer.expect_ping();
    peer.wait(secs(4));
    peer.send(wire::headers(1, &[(":status", "200")]));
    peer.expect_response(1);
    // Ten seconds from then on.
    expect_probe(&mut peer);
}

#[test]
fn bytes_after_an_answer_begin_a_new_silence() {
    let mut peer = probed();
    peer.wait(secs(10));
    let (payload, _) = peer.expect_ping();
    peer.send(wire::ping_ack(&payload));
    peer.wait(secs(100));
    peer.send(wire::headers(1, &[(":status", "200")]));
    peer.expect_response(1);
    expect_probe(&mut peer);
}

#[test]
fn who_talks_is_not_probed() {
    let mut peer = probed();
    peer.send(wire::headers(1, &[(":status", "200")]));
    for _ in 0..20 {
        peer.wait(secs(9));
        peer.send(wire::data(1, "x"));
    }
    let pings = peer
        .frames
        .iter()
        .filter(|frame| matches!(frame, Received::Other(Frame::Ping(_))));
    assert_eq!(pings.count(), 0);
}

#[test]
fn without_streams_nobody_is_asked() {
    let mut peer = probed();
    peer.send(wire::headers(1, &[(":status", "200")]).end());
    peer.wait(secs(3600));
    peer.expect_silence();
    peer.expect_response(1);
    // The silence before a request doesn't count.
    peer.open_get();
    peer.frames.clear();
    expect_probe(&mut peer);
}

/// The test is the client; the engine is a server that keeps its connections alive by a PING each
/// 60 s, and waits 10 s for the answer.
fn kept_alive() -> Peer {
    let mut peer = client_of(|config| {
        config.timeouts.keep_alive = secs(60);
        config.timeouts.idle = secs(0);
    });
    peer.frames.clear();
    peer
}

#[test]
fn a_server_can_keep_connections_alive_with_and_without_streams() {
    // RFC 9113 §6.7, as above.
    let mut peer = kept_alive();
    for round in 0..3 {
        peer.wait(secs(59));
        peer.expect_silence();
        peer.wait(secs(1));
        let (payload, is_ack) = peer.expect_ping();
        assert!(!is_ack);
        peer.send(wire::ping_ack(&payload));
        if round == 0 {
            // From here on with a stream.
            peer.send(wire::get(1));
            peer.expect_request(1);
        }
    }
    // Any other frame begins a new silence too.
    peer.wait(secs(30));
    peer.send(wire::window_update(1, 1));
    peer.wait(secs(59));
    peer.expect_silence();
    peer.wait(secs(1));
    peer.expect_ping();
}

#[test]
fn a_client_that_answers_no_keep_alive_is_gone() {
    let mut peer = kept_alive();
    peer.wait(secs(60));
    peer.expect_ping();
    peer.wait(secs(9));
    peer.expect_no_event();
    peer.wait(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::ProbeUnanswered);
    assert!(peer.is_closed());
}

#[test]
fn keeping_alive_goes_on_without_a_limit_on_the_answer() {
    let mut peer = client_of(|config| {
        config.timeouts.keep_alive = secs(60);
        config.timeouts.probe_answer = secs(0);
        config.timeouts.idle = secs(0);
    });
    peer.frames.clear();
    for answers in [false, true, true, false, false] {
        peer.wait(secs(59));
        peer.expect_silence();
        peer.wait(secs(1));
        let (payload, _) = peer.expect_ping();
        if answers {
            peer.send(wire::ping_ack(&payload));
        }
    }
    peer.expect_alive();
}

#[test]
fn keeping_alive_does_not_keep_idle_connections() {
    let mut peer = client_of(|config| {
        config.timeouts.keep_alive = secs(60);
        config.timeouts.idle = secs(100);
    });
    peer.frames.clear();
    peer.wait(secs(60));
    let (payload, _) = peer.expect_ping();
    peer.send(wire::ping_ack(&payload));
    peer.wait(secs(40));
    assert_eq!(peer.expect_closed(), CloseReason::Idle);
}

#[test]
fn a_connection_that_closes_with_its_first_stream_has_no_timer() {
    let mut peer = server_of(|config| config.timeouts.probe = secs(10));
    peer.engine
        .open(
            &RequestHead::new("GET", "https", "localhost", "/"),
            Body::Empty,
        )
        .expect("the connection is open");
    peer.engine.abort(ErrorCode::NO_ERROR, "");
    peer.pump();
    assert_eq!(peer.engine.next_timeout(), None);
}
