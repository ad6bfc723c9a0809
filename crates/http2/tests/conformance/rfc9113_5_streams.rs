//! RFC 9113 §5: Streams and Multiplexing.

use bytes::Bytes;
use tidegate_frame::SettingId;
use tidegate_http2::{
    Body, CloseReason, Config, ErrorCode, Event, Rate, RequestHead, ResetCause, ResponseHead,
    Stream, StreamId, Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET};

use crate::support::{bytes, client, client_of, pushing_server, release, resets, server};

// --- §5.1 Stream States: idle ---

#[test]
fn an_idle_stream_takes_headers_and_priority_only() {
    // RFC 9113 §5.1: "Receiving any frame other than HEADERS or PRIORITY on a stream in this state
    // MUST be treated as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    for frame in [
        wire::data(1, "x"),
        wire::data(1, "").end(),
        wire::rst_stream(1, ErrorCode::CANCEL),
        wire::window_update(1, 100),
        // The server opens even-numbered streams.
        wire::data(2, "x"),
        wire::window_update(2, 1),
        wire::rst_stream(2, ErrorCode::CANCEL),
    ] {
        let mut peer = client();
        peer.send(frame);
        peer.connection_error(Violation::FrameOnIdleStream);
    }
    let mut peer = client();
    peer.send(wire::continuation(1, []));
    peer.connection_error(Violation::ContinuationWithoutHeaders);
    let mut peer = client();
    peer.send_all([
        wire::priority(1, 0, false, 0),
        wire::priority(99, 1, true, 255),
    ]);
    peer.expect_alive();
}

#[test]
fn a_client_takes_nothing_on_streams_that_it_has_not_opened() {
    // RFC 9113 §5.1: as above; a server opens streams by PUSH_PROMISE only (§8.4).
    for id in [1, 2] {
        for frame in [
            wire::headers(id, &[(":status", "200")]),
            wire::data(id, "x"),
            wire::rst_stream(id, ErrorCode::CANCEL),
            wire::window_update(id, 1),
        ] {
            let mut peer = server();
            peer.send(frame);
            peer.connection_error(Violation::FrameOnIdleStream);
        }
    }
}

#[test]
fn a_priority_on_an_idle_stream_does_not_open_it() {
    // RFC 9113 §5.1: "Sending or receiving a PRIORITY frame does not affect the state of any
    // stream": lower streams can still be opened.
    let mut peer = client();
    peer.send_all([wire::priority(7, 0, false, 255), wire::get(5)]);
    peer.expect_request(5);
    peer.send(wire::get(7));
    peer.expect_request(7);
}

// --- reserved ---

#[test]
fn a_reserved_local_stream_takes_rst_stream_priority_and_window_update_only() {
    // RFC 9113 §5.1, reserved (local): "Receiving any type of frame other than RST_STREAM,
    // PRIORITY, or WINDOW_UPDATE on a stream in this state MUST be treated as a connection error
    // (Section 5.4.1) of type PROTOCOL_ERROR."
    let promised = || {
        let mut peer = client();
        peer.send(wire::get(1));
        let head = RequestHead::new("GET", "https", "localhost", "/style.css");
        peer.stream(1, |stream| stream.push(&head))
            .expect("the engine promises");
        peer.events.clear();
        peer.frames.clear();
        peer
    };
    for frame in [wire::get(2), wire::data(2, "x"), wire::data(2, "").end()] {
        let mut peer = promised();
        peer.send(frame);
        peer.connection_error(Violation::FrameOnReservedStream);
    }
    let mut peer = promised();
    peer.send_all([wire::priority(2, 0, false, 15), wire::window_update(2, 100)]);
    peer.expect_no_event();
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    assert_eq!(peer.expect_reset(2, ResetCause::Peer), ErrorCode::CANCEL);
    peer.expect_alive();
}

#[test]
fn a_reserved_remote_stream_takes_headers_rst_stream_and_priority_only() {
    // RFC 9113 §5.1, reserved (remote): "Receiving any type of frame other than HEADERS,
    // RST_STREAM, or PRIORITY on a stream in this state MUST be treated as a connection error
    // (Section 5.4.1) of type PROTOCOL_ERROR."
    let promised = || {
        let mut peer = pushing_server();
        peer.open_get();
        peer.send(wire::push_promise(1, 2, GET));
        peer.events.clear();
        peer.frames.clear();
        peer
    };
    for frame in [wire::data(2, "x"), wire::window_update(2, 1)] {
        let mut peer = promised();
        peer.send(frame);
        peer.connection_error(Violation::FrameOnReservedStream);
    }
    let mut peer = promised();
    peer.send_all([
        wire::priority(2, 0, false, 15),
        wire::headers(2, &[(":status", "200")]).end(),
    ]);
    assert!(peer.expect_response(2).1);
    let mut peer = promised();
    peer.send(wire::rst_stream(2, ErrorCode::CANCEL));
    peer.expect_reset(2, ResetCause::Peer);
    peer.expect_alive();
}

// --- half-closed ---

#[test]
fn a_stream_half_closed_by_the_peer_takes_no_more_message_of_it() {
    // RFC 9113 §5.1, half-closed (remote): "If an endpoint receives additional frames, other than
    // WINDOW_UPDATE, PRIORITY, or RST_STREAM, for a stream that is in this state, it MUST respond
    // with a stream error (Section 5.4.2) of type STREAM_CLOSED."
    for frame in [
        wire::data(1, "x"),
        wire::data(1, "").end(),
        wire::headers(1, &[("a", "b")]).end(),
        wire::headers(1, GET),
    ] {
        let mut peer = client();
        peer.send_all([wire::get(1), frame]);
        peer.stream_error(1, Violation::FrameAfterEndStream);
    }
    let mut peer = client();
    peer.send_all([wire::get(1), wire::continuation(1, [])]);
    peer.connection_error(Violation::ContinuationWithoutHeaders);
    // A client detects the same when a server sends more after the end.
    let mut peer = server();
    peer.open(
        &RequestHead::new("POST", "https", "localhost", "/"),
        Body::Stream,
    );
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([
        wire::headers(1, &[(":status", "200")]).end(),
        wire::data(1, "x"),
    ]);
    peer.expect_response(1);
    peer.stream_error(1, Violation::FrameAfterEndStream);
}

#[test]
fn a_stream_half_closed_by_the_peer_takes_the_rest() {
    // RFC 9113 §5.1, as above: WINDOW_UPDATE, PRIORITY and RST_STREAM are allowed.
    let mut peer = client();
    peer.send_all([
        wire::get(1),
        wire::window_update(1, 100),
        wire::priority(1, 0, false, 1),
    ]);
    peer.expect_request(1);
    peer.expect_alive();
    peer.send(wire::rst_stream(1, ErrorCode::NO_ERROR));
    assert_eq!(peer.expect_reset(1, ResetCause::Peer), ErrorCode::NO_ERROR);
    peer.expect_alive();
}

#[test]
fn a_stream_half_closed_by_us_still_takes_the_peers_message() {
    // RFC 9113 §5.1, half-closed (local): "An endpoint can receive any type of frame in this
    // state."
    let mut peer = server();
    peer.open_get();
    peer.frames.clear();
    peer.send_all([
        wire::window_update(1, 100),
        wire::priority(1, 0, false, 15),
        wire::headers(1, &[(":status", "200")]),
        wire::data(1, "x"),
        wire::headers(1, &[("a", "b")]).end(),
    ]);
    peer.expect_response(1);
    assert_eq!(peer.expect_body(1), (Bytes::from("x"), false));
    assert_eq!(peer.expect_trailers(1).get("a"), Some(&b"b"[..]));
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_alive();
}

// --- closed ---

#[test]
fn a_stream_closed_by_both_takes_no_message() {
    // RFC 9113 §5.1, closed: "An endpoint MUST NOT send frames other than PRIORITY on a closed
    // stream. An endpoint MAY treat receipt of any other type of frame on a closed stream as a
    // connection error (Section 5.4.1) of type STREAM_CLOSED, except as noted below."
    for frame in [
        wire::data(1, "x"),
        wire::get(1),
        wire::headers(1, &[("a", "b")]).end(),
    ] {
        let mut peer = client();
        peer.send(wire::get(1));
        peer.respond(1, 200, "all");
        peer.send(frame);
        peer.connection_error(Violation::FrameOnClosedStream);
    }
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, "all");
    peer.send(wire::continuation(1, []));
    peer.connection_error(Violation::ContinuationWithoutHeaders);
    let mut peer = server();
    peer.open_get();
    peer.send_all([
        wire::headers(1, &[(":status", "200")]).end(),
        wire::data(1, "x"),
    ]);
    peer.connection_error(Violation::FrameOnClosedStream);
}

#[test]
fn a_stream_closed_by_both_still_takes_what_crossed() {
    // RFC 9113 §5.1, closed: "An endpoint that sends a frame with the END_STREAM flag set or a
    // RST_STREAM frame might receive a WINDOW_UPDATE or RST_STREAM frame from its peer in the time
    // before the peer receives and processes the frame that closes the stream." And PRIORITY at any
    // time.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, "all");
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([
        wire::window_update(1, 100),
        wire::priority(1, 0, false, 15),
        wire::rst_stream(1, ErrorCode::CANCEL),
    ]);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn a_peer_that_has_reset_a_stream_sends_no_more_on_it() {
    // RFC 9113 §5.1, closed: "An endpoint MUST NOT send frames other than PRIORITY on a closed
    // stream. An endpoint MAY treat receipt of any other type of frame on a closed stream as a
    // connection error (Section 5.4.1) of type STREAM_CLOSED". A RST_STREAM in answer would be such
    // a frame too.
    for frame in [wire::data(1, "x"), wire::headers(1, &[("a", "b")]).end()] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::rst_stream(1, ErrorCode::CANCEL)]);
        peer.expect_request(1);
        peer.expect_reset(1, ResetCause::Peer);
        peer.send(frame);
        peer.connection_error(Violation::FrameOnResetStream);
    }
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::rst_stream(1, ErrorCode::CANCEL),
        wire::continuation(1, []),
    ]);
    peer.connection_error(Violation::ContinuationWithoutHeaders);
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::rst_stream(1, ErrorCode::CANCEL),
        wire::priority(1, 0, false, 1),
    ]);
    peer.expect_alive();
}

#[test]
fn nothing_is_sent_on_a_closed_stream_and_its_end_is_reported_once() {
    // RFC 9113 §5.1, closed, as above; §5.4.2: "an endpoint SHOULD NOT send more than one
    // RST_STREAM frame for any stream". Faults that would reset an open stream are ignored:
    // WINDOW_UPDATE of 0, PRIORITY of the wrong length or on itself. The exception is a PRIORITY of
    // the wrong length on a stream that wasn't reset: see section 6.3.
    let odd = || {
        [
            wire::window_update(1, 0),
            wire::frame(0x2, 0, 1, [0; 4]),
            wire::priority(1, 1, false, 0),
        ]
    };
    // Answered in full.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, "x");
    peer.events.clear();
    peer.frames.clear();
    let [update, _, priority] = odd();
    peer.send_all([update, priority]);
    peer.expect_no_event();
    peer.expect_alive();
    // Reset by either end; the owner has released it, or not.
    for hold in [false, true] {
        for by_us in [false, true] {
            let mut peer = client();
            if hold {
                peer.hold_resets();
            }
            peer.send(wire::post(1));
            peer.send(if by_us {
                wire::window_update(1, 0)
            } else {
                wire::rst_stream(1, ErrorCode::CANCEL)
            });
            assert_eq!(crate::support::resets(&peer), usize::from(by_us));
            peer.events.clear();
            peer.frames.clear();
            peer.send_all(odd());
            peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
            if by_us {
                peer.send_all([wire::data(1, "x"), wire::headers(1, &[("a", "b")]).end()]);
            }
            peer.expect_no_event();
            peer.expect_alive();
        }
    }
}

#[test]
fn frames_that_cross_our_rst_stream_are_ignored_but_counted() {
    // RFC 9113 §5.1, closed: "An endpoint that sends a RST_STREAM frame on a stream that is in the
    // "open" or "half-closed (local)" state could receive any type of frame. … An endpoint MUST
    // minimally process and then discard any frames it receives in this state."
    let mut peer = client();
    peer.send(wire::post(1));
    peer.stream(1, |stream| stream.reset(ErrorCode::CANCEL));
    peer.expect_rst(1, ErrorCode::CANCEL);
    peer.events.clear();
    peer.send_all([
        wire::data(1, bytes(1000)),
        wire::window_update(1, 1),
        wire::headers(1, &[("a", "b")]).end(),
        wire::rst_stream(1, ErrorCode::CANCEL),
    ]);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn frames_on_streams_that_we_reset_long_ago_are_still_ignored() {
    // RFC 9113 §5.1, closed: "An endpoint MUST minimally process and then discard any frames it
    // receives in this state"; forgotten streams get the benefit of the doubt.
    let mut peer = client_of(|config| config.abuse.resets.burst = 10_000);
    for id in (1..).step_by(2).take(64) {
        peer.send(wire::post(id));
        peer.stream(id, |stream| stream.reset(ErrorCode::CANCEL));
    }
    peer.frames.clear();
    peer.events.clear();
    // The oldest of 64 is still remembered.
    peer.send(wire::data(1, "x"));
    peer.expect_alive();
    for id in (1001..).step_by(2).take(1024) {
        peer.send(wire::post(id));
        peer.stream(id, |stream| stream.reset(ErrorCode::CANCEL));
    }
    peer.frames.clear();
    peer.events.clear();
    peer.send_all([
        wire::data(1, "x"),
        wire::data(1001, "x"),
        wire::data(3047, "x"),
    ]);
    peer.expect_no_event();
    peer.expect_alive();
    // That doesn't excuse frames on streams that ended normally.
    peer.send(wire::get(9001));
    peer.respond(9001, 200, "");
    peer.send(wire::data(9001, "x"));
    peer.connection_error(Violation::FrameOnClosedStream);
}

#[test]
fn a_reset_is_never_answered_with_a_reset() {
    // RFC 9113 §5.4.2: "To avoid looping, an endpoint MUST NOT send a RST_STREAM in response to a
    // RST_STREAM frame."
    for mut peer in [client(), server()] {
        if peer.engine.role() == tidegate_http2::Role::Server {
            peer.send(wire::post(1));
        } else {
            peer.open_get();
        }
        peer.frames.clear();
        for _ in 0..3 {
            peer.send(wire::rst_stream(1, ErrorCode::PROTOCOL_ERROR));
        }
        assert_eq!(resets(&peer), 0);
        peer.expect_alive();
    }
}

// --- §5.1.1 Stream Identifiers ---

#[test]
fn a_client_opens_odd_streams_only() {
    // RFC 9113 §5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers";
    // "An endpoint that receives an unexpected stream identifier MUST respond with a connection
    // error (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::get(2));
    peer.connection_error(Violation::StreamIdOfWrongParity);
}

#[test]
fn identifiers_only_grow() {
    // RFC 9113 §5.1.1: "The identifier of a newly established stream MUST be numerically greater
    // than all streams that the initiating endpoint has opened or reserved."
    for lower in [1, 3] {
        let mut peer = client();
        peer.send_all([wire::get(5), wire::get(lower)]);
        peer.connection_error(Violation::StreamIdNotIncreasing);
    }
    for frame in [wire::data(3, "x"), wire::window_update(3, 1)] {
        let mut peer = client();
        peer.send_all([wire::get(5), frame]);
        peer.connection_error(Violation::StreamIdNotIncreasing);
    }
    let mut peer = pushing_server();
    peer.open_get();
    peer.send_all([wire::push_promise(1, 6, GET), wire::push_promise(1, 4, GET)]);
    peer.connection_error(Violation::PromisedStreamNotIdle);
}

#[test]
fn the_highest_identifier_can_be_used() {
    // RFC 9113 §5.1.1: "Streams are identified by an unsigned 31-bit integer."
    let mut peer = client();
    peer.send(wire::get(0x7fff_ffff));
    peer.expect_request(0x7fff_ffff);
    peer.respond(0x7fff_ffff, 200, "last");
    peer.expect_head(0x7fff_ffff);
    assert_eq!(peer.expect_data(0x7fff_ffff), (Bytes::from("last"), true));
}

#[test]
fn our_own_identifiers_are_odd_or_even_and_grow_by_two() {
    // RFC 9113 §5.1.1: odd for a client, even for a server.
    let mut peer = server();
    assert_eq!(
        [peer.open_get(), peer.open_get(), peer.open_get()],
        [1, 3, 5]
    );
    let mut peer = client();
    peer.send(wire::get(1));
    let head = RequestHead::new("GET", "https", "localhost", "/");
    for promised in [2, 4, 6] {
        let id = peer.stream(1, |stream| stream.push(&head));
        assert_eq!(id, Ok(StreamId::new(promised)));
    }
}

// --- §5.1.2 Stream Concurrency ---

#[test]
fn a_stream_too_many_is_refused() {
    // RFC 9113 §5.1.2: "An endpoint that receives a HEADERS frame that causes its advertised
    // concurrent stream limit to be exceeded MUST treat this as a stream error (Section 5.4.2) of
    // type PROTOCOL_ERROR or REFUSED_STREAM."
    let mut peer = client_of(|config| config.max_concurrent_streams = 3);
    for id in [1, 3, 5] {
        peer.send(wire::post(id));
        peer.expect_request(id);
    }
    peer.send(wire::post(7));
    peer.stream_error(7, Violation::TooManyConcurrentStreams);
    // Frames that the client had already sent on it are ignored.
    peer.send_all([
        wire::data(7, "x"),
        wire::window_update(7, 1),
        wire::data(7, "").end(),
    ]);
    peer.expect_alive();
    // Once a stream has ended, another can be opened.
    peer.send(wire::rst_stream(3, ErrorCode::CANCEL));
    peer.expect_reset(3, ResetCause::Peer);
    peer.send(wire::get(9));
    peer.expect_request(9);
}

/// Returns the limit that the next frame announces.
fn announced(peer: &mut Peer) -> u32 {
    peer.pump();
    match peer.expect_settings().as_deref() {
        Some([(SettingId::MAX_CONCURRENT_STREAMS, streams)]) => *streams,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fewer_streams_can_be_announced_later_and_more_again() {
    // RFC 9113 §5.1.2: "An endpoint that wishes to reduce the value of
    // SETTINGS_MAX_CONCURRENT_STREAMS to a value that is below the current number of open streams
    // can either close streams that exceed the new value or allow streams to complete."
    let mut peer = client_of(|config| config.max_concurrent_streams = 4);
    for id in [1, 3, 5] {
        peer.send(wire::get(id));
        peer.expect_request(id);
    }
    peer.engine.limit_streams(2);
    assert_eq!(announced(&mut peer), 2);
    peer.send(wire::get(7));
    peer.stream_error(7, Violation::TooManyConcurrentStreams);
    // One change at a time: the last limit wanted follows the acknowledgement.
    peer.engine.limit_streams(1);
    peer.engine.limit_streams(100);
    peer.expect_silence();
    for id in [1, 3, 5] {
        peer.respond(id, 200, "");
        assert_eq!(peer.expect_head(id).status(), 200);
    }
    peer.send(wire::settings_ack());
    assert_eq!(
        announced(&mut peer),
        4,
        "no more than the configuration says"
    );
    peer.send(wire::settings_ack());
    for id in [9, 11, 13, 15] {
        peer.send(wire::get(id));
        peer.expect_request(id);
    }
    // A limit that is announced already isn't announced again.
    peer.engine.limit_streams(4);
    peer.expect_silence();
    peer.send(wire::settings_ack());
    peer.connection_error(Violation::SettingsAckUnexpected);
}

#[test]
fn fewer_streams_wait_for_the_first_acknowledgement() {
    let mut peer = Peer::client_unborn(Config::server());
    peer.engine.limit_streams(2);
    peer.pump();
    let first = peer.expect_settings().unwrap_or_default();
    assert!(first.contains(&(SettingId::MAX_CONCURRENT_STREAMS, 100)));
    peer.expect_silence();
    peer.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(wire::settings(&[]));
    assert_eq!(peer.expect_settings(), None);
    peer.expect_silence();
    peer.send(wire::settings_ack());
    assert_eq!(announced(&mut peer), 2);
}

#[test]
fn streams_that_cross_a_smaller_limit_are_no_abuse() {
    let limited = || {
        let mut peer = client_of(|config| {
            config.max_concurrent_streams = 4;
            config.abuse.resets = Rate::new(0, 0);
        });
        peer.engine.limit_streams(0);
        assert_eq!(announced(&mut peer), 0);
        peer
    };
    // As many as the client may have had open when it heard of the limit, and no more.
    let budget = refusals(&mut limited(), 1);
    let mut told = limited();
    told.send(wire::settings_ack());
    assert_eq!(budget, refusals(&mut told, 1) + 4);
}

/// Returns how many streams from this one on are refused before the connection ends.
fn refusals(peer: &mut Peer, first: u32) -> usize {
    for (count, id) in (first..100_000).step_by(2).enumerate() {
        peer.send(wire::get(id));
        if peer.is_closed() {
            return count;
        }
    }
    panic!("the connection never ends");
}

#[test]
fn a_reset_stream_keeps_its_place_until_its_owner_releases_it() {
    // RFC 9113 §10.5 leaves the defence to us: a slot that RST_STREAM frees before the work ends is
    // Rapid Reset.
    let mut peer = client_of(|config| config.max_concurrent_streams = 2);
    peer.hold_resets();
    peer.send_all([
        wire::get(1),
        wire::get(3),
        wire::rst_stream(1, ErrorCode::CANCEL),
    ]);
    peer.expect_request(1);
    peer.expect_request(3);
    peer.expect_reset(1, ResetCause::Peer);
    assert_eq!(peer.engine.active_streams(), 2);
    peer.send(wire::get(5));
    peer.stream_error(5, Violation::TooManyConcurrentStreams);
    release(&mut peer, 1);
    assert_eq!(peer.engine.active_streams(), 1);
    peer.send(wire::get(7));
    peer.expect_request(7);
    // Releasing is for reset streams: this one lives on.
    release(&mut peer, 7);
    peer.respond(7, 200, "");
    assert_eq!(peer.expect_head(7).status(), 200);
}

#[test]
fn a_stream_that_the_peer_made_us_reset_keeps_its_place_too() {
    // RFC 9113 §10.5, as above: MadeYouReset shares its root with Rapid Reset.
    let mut peer = client_of(|config| config.max_concurrent_streams = 1);
    peer.hold_resets();
    peer.send_all([wire::get(1), wire::window_update(1, 0)]);
    peer.expect_request(1);
    peer.stream_error(1, Violation::WindowUpdateOfZeroOnStream);
    peer.send(wire::get(3));
    peer.stream_error(3, Violation::TooManyConcurrentStreams);
    peer.stream(1, |stream| stream.reset(ErrorCode::CANCEL));
    peer.send(wire::get(5));
    peer.expect_request(5);
}

#[test]
fn an_answered_stream_frees_its_place_at_once() {
    // RFC 9113 §5.1.2: "Streams that are in the "open" state or in either of the "half-closed"
    // states count toward the maximum number of streams that an endpoint is permitted to open."
    let mut peer = client_of(|config| config.max_concurrent_streams = 1);
    for id in (1..200).step_by(2) {
        peer.send(wire::get(id));
        peer.expect_request(id);
        peer.respond(id, 200, "x");
    }
    // Sent in full but not out yet, it counts.
    let mut peer = client_of(|config| config.max_concurrent_streams = 1);
    peer.send_all([wire::settings(&[(0x4, 0)]), wire::get(1)]);
    peer.expect_request(1);
    peer.respond(1, 200, "x");
    peer.send(wire::get(3));
    peer.stream_error(3, Violation::TooManyConcurrentStreams);
}

#[test]
fn the_peers_limit_is_kept_and_followed() {
    // RFC 9113 §5.1.2: "Endpoints MUST NOT exceed the limit set by their peer."
    let mut peer = Peer::server_with(tidegate_http2::Config::client(), &[(0x3, 1)]);
    peer.open_get();
    assert!(!peer.engine.can_open());
    peer.send(wire::settings(&[(0x3, 2)]));
    assert!(peer.engine.can_open());
    peer.open_get();
    assert!(!peer.engine.can_open());
    peer.send(wire::headers(1, &[(":status", "200")]).end());
    assert!(peer.engine.can_open());
    peer.send(wire::settings(&[(0x3, 0)]));
    assert!(!peer.engine.can_open());
}

#[test]
fn a_client_bounds_the_pushes_that_it_keeps() {
    // RFC 9113 §8.4.2: "A client can use the SETTINGS_MAX_CONCURRENT_STREAMS setting to limit the
    // number of responses that can be concurrently pushed by a server." Promises beyond it are
    // refused at once.
    let mut peer = crate::support::server_of(|config| {
        config.enable_push = true;
        config.max_concurrent_streams = 2;
    });
    peer.open_get();
    peer.frames.clear();
    for promised in [2, 4] {
        peer.send(wire::push_promise(1, promised, GET));
        assert!(matches!(peer.next_event(), Some(Event::PushPromise { .. })));
    }
    peer.send(wire::push_promise(1, 6, GET));
    peer.stream_error(6, Violation::TooManyConcurrentStreams);
    peer.send(wire::headers(2, &[(":status", "200")]).end());
    peer.expect_response(2);
    peer.send(wire::push_promise(1, 8, GET));
    assert!(matches!(peer.next_event(), Some(Event::PushPromise { .. })));
}

// --- §5.3 Prioritization ---

#[test]
fn a_stream_does_not_depend_on_itself() {
    // RFC 7540 §5.3.1: "A stream cannot depend on itself. An endpoint MUST treat this as a stream
    // error (Section 5.4.2) of type PROTOCOL_ERROR." RFC 9113 §5.3.2 deprecates the scheme; the
    // signal is still checked.
    let mut peer = client();
    peer.send(wire::get(1).depends_on(1, false, 255));
    peer.stream_error(1, Violation::StreamDependsOnItself);
    let mut peer = client();
    peer.send_all([wire::get(1), wire::priority(1, 1, false, 255)]);
    peer.stream_error(1, Violation::StreamDependsOnItself);
    // On an idle stream there is nothing to reset (RFC 9113 §6.4), so the connection ends.
    let mut peer = client();
    peer.send(wire::priority(3, 3, false, 255));
    assert!(peer.is_closed());
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Violation(Violation::StreamDependsOnItself)
    );
}

// --- §5.4 Error Handling ---

#[test]
fn goaway_names_the_last_stream_that_was_processed() {
    // RFC 9113 §5.4.1: "An endpoint that encounters a connection error SHOULD first send a GOAWAY
    // frame (Section 6.8) with the stream identifier of the last stream that it successfully
    // received from its peer."
    let mut peer = client();
    peer.send_all([wire::get(1), wire::get(3), wire::frame(0x6, 0, 0, [0; 7])]);
    peer.expect_request(1);
    peer.expect_request(3);
    assert_eq!(peer.expect_goaway(ErrorCode::FRAME_SIZE_ERROR), 3);
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Violation(Violation::PingLengthNot8)
    );
    assert!(peer.is_closed());
}

#[test]
fn nothing_after_a_connection_error_is_read() {
    // RFC 9113 §5.4.1: "After sending the GOAWAY frame for an error condition, the endpoint MUST
    // close the TCP connection."
    let mut peer = client();
    peer.send_all([
        wire::window_update(0, 0),
        wire::get(1),
        wire::ping(b"and now?"),
    ]);
    peer.connection_error(Violation::WindowUpdateOfZero);
    assert_eq!(peer.engine.active_streams(), 0);
    assert_eq!(peer.engine.next_timeout(), None);
    let now = peer.now;
    peer.engine.handle_timeout(now);
    peer.send_eof();
    peer.expect_no_event();
}

#[test]
fn a_stream_error_leaves_the_other_streams_alone() {
    // RFC 9113 §5.4.2: "A stream error is an error related to a specific stream that does not
    // affect processing of other streams."
    let mut peer = client();
    peer.send_all([wire::post(1), wire::post(3), wire::window_update(1, 0)]);
    peer.stream_error(1, Violation::WindowUpdateOfZeroOnStream);
    peer.send(wire::data(3, "still there").end());
    assert_eq!(peer.expect_body(3), (Bytes::from("still there"), true));
    peer.respond(3, 200, "so am I");
    peer.expect_head(3);
    assert_eq!(peer.expect_data(3), (Bytes::from("so am I"), true));
}

#[test]
fn a_reset_drops_what_was_not_sent() {
    // RFC 9113 §5.4.2: "A RST_STREAM is the last frame that an endpoint can send on a stream."
    let mut peer = Peer::client_with(tidegate_http2::Config::server(), &[(0x4, 10)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(100));
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1).0.len(), 10);
    peer.stream(1, |stream| stream.reset(ErrorCode::INTERNAL_ERROR));
    peer.expect_rst(1, ErrorCode::INTERNAL_ERROR);
    peer.send(wire::window_update(1, 1000));
    peer.expect_alive();
    // Data on a stream that the peer reset isn't sent either, although its window opens.
    peer.send(wire::get(3));
    peer.respond(3, 200, bytes(100));
    peer.expect_head(3);
    peer.expect_data(3);
    peer.send_all([
        wire::rst_stream(3, ErrorCode::CANCEL),
        wire::window_update(3, 1000),
    ]);
    peer.expect_alive();
    assert_eq!(peer.engine.active_streams(), 0);
}

// --- §5.5 Extending HTTP/2 ---

#[test]
fn extensions_are_ignored() {
    // RFC 9113 §5.5: "Implementations MUST ignore unknown or unsupported values in all extensible
    // protocol elements. Implementations MUST discard frames that have unknown or unsupported
    // types."
    let mut peer = client();
    peer.send(wire::frame(0x16, 0, 0, *b"extension"));
    peer.send(wire::settings(&[(0xabcd, 7)]));
    assert_eq!(peer.expect_settings(), None);
    peer.expect_alive();
    // "However, extension frames that appear in the middle of a field block (Section 4.3) are not
    // permitted; these MUST be treated as a connection error (Section 5.4.1) of type
    // PROTOCOL_ERROR."
    peer.send_all([
        wire::get(1).unfinished(),
        wire::frame(0x16, 0, 0, *b"extension"),
    ]);
    peer.connection_error(Violation::HeaderBlockInterrupted);
}

#[test]
fn an_interim_and_a_final_head_do_not_move_the_state() {
    // RFC 9113 §5.1: only END_STREAM and RST_STREAM close a side: any number of earlier heads leave
    // it open.
    let mut peer = client();
    peer.send(wire::post(1));
    peer.expect_request(1);
    for status in [100, 103] {
        peer.stream(1, |stream| stream.inform(&ResponseHead::new(status)))
            .expect("it may");
        assert_eq!(peer.expect_head(1).status(), status);
    }
    peer.send(wire::data(1, "body").end());
    assert_eq!(peer.expect_body(1), (Bytes::from("body"), true));
    peer.respond(1, 200, "");
    assert_eq!(peer.expect_head(1).status(), 200);
    assert_eq!(peer.engine.active_streams(), 0);
}
