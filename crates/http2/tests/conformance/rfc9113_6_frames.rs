//! RFC 9113 §6: Frame Definitions.

use bytes::Bytes;
use tidegate_frame::SettingId;
use tidegate_http2::{
    Body, CloseReason, Config, ErrorCode, Event, RequestHead, ResetCause, Stream, StreamId,
    Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, flag};

use crate::support::{
    bytes, client, client_of, client_of_window, fix_window, goaways, pushing_server,
    respond_streaming, secs, server, unconsumed,
};

// --- §6.1 DATA ---

#[test]
fn data_comes_as_it_is_sent_with_and_without_padding() {
    // RFC 9113 §6.1: "DATA frames (type=0x00) convey arbitrary, variable-length sequences of octets
    // associated with a stream."; padding is not part of them.
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::data(1, "one"),
        wire::data(1, "two").padded(5),
        wire::data(1, "").padded(255),
        wire::data(1, "three").padded(0).end(),
    ]);
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1), (Bytes::from("one"), false));
    assert_eq!(peer.expect_body(1), (Bytes::from("two"), false));
    assert_eq!(peer.expect_body(1), (Bytes::from("three"), true));
    peer.expect_alive();
}

#[test]
fn an_empty_data_frame_may_end_a_message() {
    // RFC 9113 §6.1: END_STREAM "indicates that this frame is the last that the endpoint will send
    // for the identified stream", with or without bytes.
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, "all"), wire::data(1, "").end()]);
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1), (Bytes::from("all"), false));
    assert_eq!(peer.expect_body(1), (Bytes::new(), true));
}

#[test]
fn data_on_stream_0_ends_the_connection() {
    // RFC 9113 §6.1: "If a DATA frame is received whose Stream Identifier field is 0x00, the
    // recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    for mut peer in [client(), server()] {
        peer.send(wire::data(0, "x"));
        peer.connection_error(Violation::DataOnStreamZero);
    }
}

#[test]
fn padding_as_long_as_the_payload_ends_the_connection() {
    // RFC 9113 §6.1: "If the length of the padding is the length of the frame payload or greater,
    // the recipient MUST treat this as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    for claimed in [4, 5, 255] {
        let mut peer = client();
        peer.send_all([
            wire::post(1),
            wire::data(1, "abc").claim_padding(claimed, 0),
        ]);
        peer.connection_error(Violation::DataPaddingTooLong);
    }
    // One less is valid: nothing but padding.
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, "abc").claim_padding(3, 0)]);
    peer.expect_alive();
}

// --- §6.2 HEADERS ---

#[test]
fn headers_may_carry_padding_and_priority() {
    // RFC 9113 §6.2: the fields of the HEADERS payload: Pad Length, Exclusive, Stream Dependency,
    // Weight, Padding.
    for (id, frame) in [
        (1, wire::get(1).padded(9)),
        (3, wire::get(3).depends_on(1, true, 255)),
        (5, wire::get(5).depends_on(0, false, 0).padded(255)),
    ] {
        let mut peer = client();
        peer.send(frame);
        assert_eq!(peer.expect_request(id).0.path(), "/");
    }
}

#[test]
fn headers_on_stream_0_end_the_connection() {
    // RFC 9113 §6.2: "If a HEADERS frame is received whose Stream Identifier field is 0x00, the
    // recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    for mut peer in [client(), server()] {
        peer.send(wire::get(0));
        peer.connection_error(Violation::HeadersOnStreamZero);
    }
}

#[test]
fn padding_longer_than_headers_ends_the_connection() {
    // RFC 9113 §6.2: padding as in DATA, where §6.1 makes too much of it "a connection error
    // (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::headers_block(1, *b"\x82\x84\x87").claim_padding(4, 0));
    peer.connection_error(Violation::HeadersPaddingTooLong);
    let mut peer = client();
    let block = wire::headers_block(1, *b"\x82\x84\x87");
    peer.send(block.depends_on(0, false, 1).claim_padding(4, 0));
    peer.connection_error(Violation::HeadersPaddingTooLong);
}

// --- §6.3 PRIORITY ---

#[test]
fn priority_is_taken_in_any_state_and_changes_none() {
    // RFC 9113 §6.3: "The PRIORITY frame can be sent on a stream in any state".
    let mut peer = client();
    peer.send_all([
        wire::priority(1, 0, false, 0),
        wire::post(1),
        wire::priority(1, 0, true, 255),
    ]);
    peer.send_all([wire::data(1, "").end(), wire::priority(1, 3, false, 16)]);
    peer.respond(1, 200, "");
    peer.send(wire::priority(1, 5, false, 16));
    peer.expect_head(1);
    peer.expect_alive();
    let mut peer = server();
    peer.open_get();
    peer.frames.clear();
    peer.send_all([
        wire::priority(1, 0, false, 0),
        wire::priority(2, 1, false, 0),
    ]);
    peer.expect_alive();
}

#[test]
fn priority_on_stream_0_ends_the_connection() {
    // RFC 9113 §6.3: "If a PRIORITY frame is received with a stream identifier of 0x00, the
    // recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::priority(0, 1, false, 15));
    peer.connection_error(Violation::PriorityOnStreamZero);
}

#[test]
fn a_priority_that_is_not_5_bytes_resets_its_stream() {
    // RFC 9113 §6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a
    // stream error (Section 5.4.2) of type FRAME_SIZE_ERROR."
    for length in [0, 4, 6] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::frame(0x2, 0, 1, vec![0; length])]);
        peer.stream_error(1, Violation::PriorityLengthNot5);
        // A stream that has ended can't be reset. §5.4.1: "An endpoint MAY choose to treat a stream
        // error as a connection error."
        let mut peer = client();
        peer.send(wire::get(1));
        peer.respond(1, 200, "x");
        peer.events.clear();
        peer.frames.clear();
        peer.send(wire::frame(0x2, 0, 1, vec![0; length]));
        match peer.next_event() {
            Some(Event::Closed(CloseReason::Violation(Violation::PriorityLengthNot5))) => {}
            other => panic!("expected the end of the connection, got {other:?}"),
        }
    }
}

// --- §6.4 RST_STREAM ---

#[test]
fn a_reset_ends_a_stream_and_says_why() {
    // RFC 9113 §6.4: "The RST_STREAM frame fully terminates the referenced stream and causes it to
    // enter the "closed" state."
    let mut peer = client();
    peer.send_all([wire::post(1), wire::rst_stream(1, ErrorCode::CANCEL)]);
    peer.expect_request(1);
    assert_eq!(peer.expect_reset(1, ResetCause::Peer), ErrorCode::CANCEL);
    assert_eq!(peer.engine.active_streams(), 0);
    let mut peer = server();
    peer.open_get();
    peer.frames.clear();
    peer.send(wire::rst_stream(1, ErrorCode::REFUSED_STREAM));
    assert_eq!(
        peer.expect_reset(1, ResetCause::Peer),
        ErrorCode::REFUSED_STREAM
    );
    peer.expect_alive();
}

#[test]
fn a_reset_on_stream_0_or_of_the_wrong_length_ends_the_connection() {
    // RFC 9113 §6.4: "If a RST_STREAM frame is received with a stream identifier of 0x00, the
    // recipient MUST treat this as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::rst_stream(0, ErrorCode::CANCEL));
    peer.connection_error(Violation::RstStreamOnStreamZero);
    // "A RST_STREAM frame with a length other than 4 octets MUST be treated as a connection error
    // (Section 5.4.1) of type FRAME_SIZE_ERROR."
    for length in [0, 3, 5] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::frame(0x3, 0, 1, vec![0; length])]);
        peer.connection_error(Violation::RstStreamLengthNot4);
    }
}

// --- §6.5 SETTINGS ---

#[test]
fn settings_are_acknowledged_in_order_and_once_each() {
    // RFC 9113 §6.5.3: "Once all values have been processed, the recipient MUST immediately emit a
    // SETTINGS frame with the ACK flag set."
    for mut peer in [client(), server()] {
        peer.send_all([
            wire::settings(&[]),
            wire::settings(&[(0x3, 5)]),
            wire::ping(b"in order"),
        ]);
        assert_eq!(peer.expect_settings(), None);
        assert_eq!(peer.expect_settings(), None);
        assert_eq!(peer.expect_ping(), (*b"in order", true));
        assert_eq!(peer.engine.peer_settings().max_concurrent_streams, 5);
    }
}

#[test]
fn an_acknowledgement_with_a_payload_ends_the_connection() {
    // RFC 9113 §6.5: "Receipt of a SETTINGS frame with the ACK flag set and a length field value
    // other than 0 MUST be treated as a connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    let mut peer = client();
    peer.send(wire::settings(&[(0x3, 1)]).flags(flag::ACK));
    peer.connection_error(Violation::SettingsAckWithPayload);
}

#[test]
fn an_acknowledgement_of_nothing_ends_the_connection() {
    // RFC 9113 §6.5.3: acknowledgements belong to SETTINGS that were sent; ours were acknowledged
    // before.
    for mut peer in [client(), server()] {
        peer.send(wire::settings_ack());
        peer.connection_error(Violation::SettingsAckUnexpected);
    }
}

#[test]
fn settings_on_a_stream_end_the_connection() {
    // RFC 9113 §6.5: "If an endpoint receives a SETTINGS frame whose Stream Identifier field is
    // anything other than 0x00, the endpoint MUST respond with a connection error (Section 5.4.1)
    // of type PROTOCOL_ERROR."
    for (flags, stream) in [(0, 1), (flag::ACK, 1), (0, 2)] {
        let mut peer = client();
        peer.send(wire::frame(0x4, flags, stream, []));
        peer.connection_error(Violation::SettingsOnStream);
    }
}

#[test]
fn settings_of_a_broken_length_end_the_connection() {
    // RFC 9113 §6.5: "A SETTINGS frame with a length other than a multiple of 6 octets MUST be
    // treated as a connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    for length in [1, 5, 7] {
        let mut peer = client();
        peer.send(wire::frame(0x4, 0, 0, vec![0; length]));
        peer.connection_error(Violation::SettingsLengthNotMultipleOf6);
    }
}

#[test]
fn every_value_out_of_range_ends_the_connection() {
    // RFC 9113 §6.5.2: each parameter defines which values are connection errors; so do RFC 8441 §3
    // and RFC 9218 §2.1.
    for (id, values, violation) in [
        (0x2, &[2, 3, u32::MAX][..], Violation::EnablePushInvalid),
        (
            0x4,
            &[1 << 31, u32::MAX],
            Violation::InitialWindowSizeTooLarge,
        ),
        (
            0x5,
            &[0, 16_383, 1 << 24, u32::MAX],
            Violation::MaxFrameSizeInvalid,
        ),
        (0x8, &[2, u32::MAX], Violation::EnableConnectProtocolInvalid),
        (0x9, &[2, u32::MAX], Violation::NoRfc7540PrioritiesInvalid),
    ] {
        for value in values {
            for mut peer in [client(), server()] {
                peer.send(wire::settings(&[(id, *value)]));
                peer.connection_error(violation);
            }
        }
    }
}

#[test]
fn every_value_at_the_edge_is_taken() {
    // RFC 9113 §6.5.2: the ranges, including their ends.
    let edges = [
        (0x1, 0),
        (0x1, u32::MAX),
        (0x2, 0),
        (0x3, 0),
        (0x3, u32::MAX),
        (0x4, 0),
        (0x4, 0x7fff_ffff),
        (0x5, 16_384),
        (0x5, 0xff_ffff),
        (0x6, 0),
        (0x6, u32::MAX),
        (0x8, 0),
        (0x8, 1),
    ];
    for mut peer in [client(), server()] {
        for edge in edges {
            peer.send(wire::settings(&[edge]));
            assert_eq!(peer.expect_settings(), None, "{edge:?}");
        }
    }
    // SETTINGS_ENABLE_PUSH: a client may say 1, a server must not: "A client MUST treat receipt of
    // a SETTINGS frame with SETTINGS_ENABLE_PUSH set to 1 as a connection error (Section 5.4.1) of
    // type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::settings(&[(0x2, 1)]));
    assert_eq!(peer.expect_settings(), None);
    let mut peer = server();
    peer.send(wire::settings(&[(0x2, 1)]));
    peer.connection_error(Violation::ServerEnabledPush);
}

#[test]
fn unknown_settings_are_ignored() {
    // RFC 9113 §6.5.2: "An endpoint that receives a SETTINGS frame with any unknown or unsupported
    // identifier MUST ignore that setting."
    let mut peer = client();
    let before = *peer.engine.peer_settings();
    peer.send(wire::settings(&[
        (0x0, 1),
        (0x7, 1),
        (0xff, u32::MAX),
        (0x0a0a, 3),
    ]));
    assert_eq!(peer.expect_settings(), None);
    assert_eq!(*peer.engine.peer_settings(), before);
    peer.expect_alive();
}

#[test]
fn values_are_processed_in_order() {
    // RFC 9113 §6.5.3: "The values in the SETTINGS frame MUST be processed in the order they
    // appear, with no other frame processing between values."
    let mut peer = client();
    peer.send_all([wire::settings(&[(0x4, 100), (0x4, 1)]), wire::get(1)]);
    assert_eq!(peer.expect_settings(), None);
    peer.respond(1, 200, "body");
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (Bytes::from("b"), false));
    peer.expect_alive();
}

#[test]
fn our_settings_bind_the_peer_once_acknowledged() {
    // RFC 9113 §6.5.3: "the sender of the altered settings can rely on the values from the oldest
    // unacknowledged SETTINGS frame having been applied" once the acknowledgement is there: until
    // then a stream's window is 65,535.
    let mut config = Config::server();
    fix_window(&mut config, 100);
    let mut peer = Peer::client_unborn(config);
    peer.send_bytes(wire::PREFACE);
    peer.send_all([
        wire::settings(&[]),
        wire::post(1),
        wire::data(1, bytes(1000)),
    ]);
    peer.events.pop_front();
    peer.expect_request(1);
    assert_eq!(peer.expect_body(1).0.len(), 1000);
    // From then on, stream 1's window is negative (100 - 1000), and new ones have 100.
    peer.send_all([
        wire::settings_ack(),
        wire::post(3),
        wire::data(3, bytes(100)),
    ]);
    peer.expect_request(3);
    assert_eq!(peer.expect_body(3).0.len(), 100);
    peer.frames.clear();
    peer.send(wire::data(3, "x"));
    peer.stream_error(3, Violation::DataOverStreamWindow);
    peer.send(wire::data(1, "x"));
    peer.stream_error(1, Violation::DataOverStreamWindow);
}

#[test]
fn a_larger_window_of_ours_holds_once_acknowledged() {
    // RFC 9113 §6.9.2: "When the value of SETTINGS_INITIAL_WINDOW_SIZE changes, a receiver MUST
    // adjust the size of all stream flow-control windows that it maintains by the difference
    // between the new value and the old value."
    let mut config = Config::server();
    fix_window(&mut config, 100_000);
    let mut peer = Peer::client_unborn(config);
    peer.send_bytes(wire::PREFACE);
    peer.send_all([wire::settings(&[]), wire::post(1), wire::settings_ack()]);
    for _ in 0..6 {
        peer.send(wire::data(1, bytes(16_384)));
    }
    peer.frames.clear();
    peer.events.clear();
    peer.send(wire::data(1, bytes(100_000 - 6 * 16_384)));
    assert_eq!(peer.expect_body(1).0.len(), 1696);
    peer.send(wire::data(1, "x"));
    peer.stream_error(1, Violation::DataOverStreamWindow);
}

/// Returns what the engine announces by its next SETTINGS.
fn announced(peer: &mut Peer) -> Vec<(SettingId, u32)> {
    peer.pump();
    peer.expect_settings().expect("no acknowledgement")
}

/// A server whose streams have 20,000 bytes, changed to this many.
fn client_of_changed_window(bytes: u32) -> Peer {
    let mut peer = client_of_window(20_000);
    peer.engine.set_initial_window_size(bytes);
    let change = [(SettingId::INITIAL_WINDOW_SIZE, bytes)];
    assert_eq!(announced(&mut peer), change);
    peer
}

/// Sends a body of exactly this length on a stream, then one byte too many.
fn fill_window(peer: &mut Peer, id: u32, window: usize) {
    let mut left = window;
    while left > 0 {
        let len = left.min(16_384);
        peer.send(wire::data(id, bytes(len)));
        assert_eq!(peer.expect_body(id).0.len(), len);
        left -= len;
    }
    peer.expect_silence();
    peer.send(wire::data(id, "x"));
    peer.stream_error(id, Violation::DataOverStreamWindow);
}

#[test]
fn a_smaller_window_later_binds_the_peer_once_acknowledged() {
    // RFC 9113 §6.5.3, as above. What the smaller size takes is granted when a request comes, so
    // the client may have more until it applies the size.
    for is_acknowledged in [false, true] {
        let mut peer = client_of_changed_window(5000);
        if is_acknowledged {
            peer.send(wire::settings_ack());
        }
        peer.send(wire::post(1));
        peer.expect_request(1);
        assert_eq!(peer.take_window_updates(1), 15_000);
        let initial = if is_acknowledged { 5000 } else { 20_000 };
        fill_window(&mut peer, 1, initial + 15_000);
        peer.expect_alive();
    }
}

#[test]
fn a_larger_window_later_is_credit_for_open_streams_too() {
    // RFC 9113 §6.9.2, as above: both for a stream that was open and for a new one.
    let mut peer = client_of_window(20_000);
    peer.send(wire::post(1));
    peer.expect_request(1);
    peer.engine.set_initial_window_size(50_000);
    let change = [(SettingId::INITIAL_WINDOW_SIZE, 50_000)];
    assert_eq!(announced(&mut peer), change);
    peer.send_all([wire::settings_ack(), wire::post(3)]);
    peer.expect_request(3);
    peer.frames.clear();
    fill_window(&mut peer, 1, 50_000);
    peer.take_window_updates(0);
    fill_window(&mut peer, 3, 50_000);
    peer.expect_alive();
}

#[test]
fn a_larger_window_never_exceeds_the_largest() {
    // RFC 9113 §6.9.2: "An endpoint MUST treat a change to SETTINGS_INITIAL_WINDOW_SIZE that causes
    // any flow-control window to exceed the maximum size as a connection error".
    let mut peer = client_of(|config| {
        config.initial_window_size = 10_000;
        config.max_stream_window_size = 65_535;
    });
    peer.send(wire::post(1));
    peer.expect_request(1);
    assert_eq!(peer.take_window_updates(1), 55_535);
    peer.engine.set_initial_window_size(u32::MAX);
    let most = 0x7fff_ffff - 65_535;
    let change = [(SettingId::INITIAL_WINDOW_SIZE, most)];
    assert_eq!(announced(&mut peer), change);
}

#[test]
fn changes_of_our_settings_wait_for_the_acknowledgement_of_those_before() {
    // RFC 9113 §6.5.3, as above: an acknowledgement doesn't say which frame it is for.
    let mut peer = client_of_changed_window(5000);
    peer.engine.limit_streams(2);
    peer.engine.set_initial_window_size(6000);
    peer.engine.set_initial_window_size(7000);
    peer.expect_silence();
    peer.send(wire::settings_ack());
    let both = [
        (SettingId::MAX_CONCURRENT_STREAMS, 2),
        (SettingId::INITIAL_WINDOW_SIZE, 7000),
    ];
    assert_eq!(announced(&mut peer), both);
    // A size that is announced already isn't announced again.
    peer.engine.set_initial_window_size(7000);
    peer.send(wire::settings_ack());
    peer.expect_silence();
    peer.send(wire::settings_ack());
    peer.connection_error(Violation::SettingsAckUnexpected);
}

#[test]
fn settings_that_are_never_acknowledged_end_the_connection() {
    // RFC 9113 §6.5.3: "If the sender of a SETTINGS frame does not receive an acknowledgment within
    // a reasonable amount of time, it MAY issue a connection error (Section 5.4.1) of type
    // SETTINGS_TIMEOUT."
    for mut peer in [
        Peer::client_unborn(Config::server()),
        Peer::server_unborn(Config::client()),
    ] {
        if peer.engine.role() == tidegate_http2::Role::Server {
            peer.send_bytes(wire::PREFACE);
        }
        peer.send(wire::settings(&[]));
        peer.wait(secs(9));
        peer.send(wire::ping(b"patience"));
        assert!(!peer.is_closed());
        peer.wait(secs(2));
        peer.connection_error(Violation::SettingsAckTimedOut);
    }
}

// --- §6.6 PUSH_PROMISE ---

#[test]
fn a_push_promise_reserves_a_stream() {
    // RFC 9113 §6.6: "The PUSH_PROMISE frame includes the unsigned 31-bit identifier of the stream
    // the endpoint plans to create along with a field section that provides additional context for
    // the stream."
    let mut peer = pushing_server();
    peer.open_get();
    peer.send(wire::push_promise(1, 2, GET).padded(7));
    match peer.next_event() {
        Some(Event::PushPromise { id, promised, head }) => {
            assert_eq!((id, promised), (StreamId::new(1), StreamId::new(2)));
            assert_eq!((head.method(), head.path()), ("GET", "/"));
        }
        other => panic!("expected a promise, got {other:?}"),
    }
    // Its block may be continued like that of HEADERS (§6.6).
    let block = wire::block(GET);
    let first = [&4u32.to_be_bytes()[..], &block[..10]].concat();
    peer.send_all([
        wire::frame(0x5, 0, 1, first),
        wire::continuation(1, &block[10..]),
    ]);
    assert!(matches!(peer.next_event(), Some(Event::PushPromise { .. })));
}

#[test]
fn a_push_promise_that_was_not_asked_for_ends_the_connection() {
    // RFC 9113 §6.6: "PUSH_PROMISE MUST NOT be sent if the SETTINGS_ENABLE_PUSH setting of the peer
    // endpoint is set to 0. An endpoint that has set this setting and has received acknowledgment
    // MUST treat the receipt of a PUSH_PROMISE frame as a connection error (Section 5.4.1) of type
    // PROTOCOL_ERROR."
    let mut peer = server();
    peer.open_get();
    peer.send(wire::push_promise(1, 2, GET));
    peer.connection_error(Violation::PushNotEnabled);
    // Before the acknowledgement, the promise may have been in flight: only the stream is refused.
    let mut peer = Peer::server_unborn(Config::client());
    peer.open_get();
    peer.frames.clear();
    peer.send_all([wire::settings(&[]), wire::push_promise(1, 2, GET)]);
    assert_eq!(peer.expect_settings(), None);
    peer.expect_rst(2, ErrorCode::CANCEL);
    peer.send_all([
        wire::headers(2, &[(":status", "200")]),
        wire::data(2, "unwanted").end(),
    ]);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn a_push_promise_on_the_wrong_stream_ends_the_connection() {
    // RFC 9113 §6.6: "A receiver MUST treat the receipt of a PUSH_PROMISE on a stream that is
    // neither "open" nor "half-closed (local)" as a connection error (Section 5.4.1) of type
    // PROTOCOL_ERROR."
    let idle = |peer: &mut Peer| peer.send(wire::push_promise(3, 2, GET));
    let closed = |peer: &mut Peer| {
        peer.send_all([
            wire::headers(1, &[(":status", "200")]).end(),
            wire::push_promise(1, 2, GET),
        ]);
    };
    let pushed = |peer: &mut Peer| {
        peer.send_all([
            wire::push_promise(1, 2, GET),
            wire::headers(2, &[(":status", "200")]),
        ]);
        peer.send(wire::push_promise(2, 4, GET));
    };
    for provoke in [&idle as &dyn Fn(&mut Peer), &closed] {
        let mut peer = pushing_server();
        peer.open_get();
        provoke(&mut peer);
        peer.connection_error(Violation::PushPromiseOnClosedStream);
    }
    // "PUSH_PROMISE frames MUST only be sent on a peer-initiated stream".
    let mut peer = pushing_server();
    peer.open_get();
    pushed(&mut peer);
    peer.connection_error(Violation::PushPromiseOnClosedStream);
}

#[test]
fn a_promise_that_crosses_our_reset_is_declined() {
    // RFC 9113 §6.6: "an endpoint that has sent RST_STREAM on the associated stream MUST handle
    // PUSH_PROMISE frames that might have been created before the RST_STREAM frame is received and
    // processed."
    let mut peer = pushing_server();
    peer.open_get();
    peer.stream(1, |stream| stream.reset(ErrorCode::CANCEL));
    peer.frames.clear();
    peer.events.clear();
    peer.send(wire::push_promise(1, 2, GET));
    peer.expect_rst(2, ErrorCode::CANCEL);
    peer.expect_no_event();
    peer.expect_alive();
}

#[test]
fn a_promised_stream_must_be_idle() {
    // RFC 9113 §6.6: "A receiver MUST treat the receipt of a PUSH_PROMISE that promises an illegal
    // stream identifier … as a connection error (Section 5.4.1) of type PROTOCOL_ERROR. Note that
    // an illegal stream identifier is an identifier for a stream that is not currently in the
    // "idle" state."
    let mut peer = pushing_server();
    peer.open_get();
    peer.send_all([wire::push_promise(1, 2, GET), wire::push_promise(1, 2, GET)]);
    peer.connection_error(Violation::PromisedStreamNotIdle);
    for promised in [0, 3] {
        let mut peer = pushing_server();
        peer.open_get();
        peer.send(wire::push_promise(1, promised, GET));
        peer.connection_error(Violation::PushPromiseOfInvalidStream);
    }
}

// --- §6.7 PING ---

#[test]
fn a_ping_is_answered_with_its_payload() {
    // RFC 9113 §6.7: "Receivers of a PING frame that does not include an ACK flag MUST send a PING
    // frame with the ACK flag set in response, with an identical frame payload."
    for mut peer in [client(), server()] {
        peer.send_all([
            wire::ping(b"\0\x01\x02\x03\xfc\xfd\xfe\xff"),
            wire::ping(b"again..."),
        ]);
        assert_eq!(
            peer.expect_ping(),
            (*b"\0\x01\x02\x03\xfc\xfd\xfe\xff", true)
        );
        assert_eq!(peer.expect_ping(), (*b"again...", true));
    }
}

#[test]
fn an_answer_is_not_answered() {
    // RFC 9113 §6.7: "An endpoint MUST NOT respond to PING frames containing this flag."
    let mut peer = client();
    peer.send_all([wire::ping_ack(b"nonsense"), wire::ping(b"question")]);
    assert_eq!(peer.expect_ping(), (*b"question", true));
    peer.expect_silence();
}

#[test]
fn a_ping_is_answered_though_data_waits() {
    // RFC 9113 §6.7: "PING responses SHOULD be given higher priority than any other frame."
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(1 << 20));
    assert_eq!(peer.take_body(1).0.len(), 65_535);
    peer.expect_head(1);
    peer.send(wire::ping(b"hurry up"));
    assert_eq!(peer.expect_ping(), (*b"hurry up", true));
    // Output that can go out at once goes out after it.
    peer.send_all([
        wire::window_update(1, 10),
        wire::window_update(0, 10),
        wire::ping(b"hurry up"),
    ]);
    assert_eq!(peer.expect_ping(), (*b"hurry up", true));
    assert_eq!(peer.expect_data(1).0.len(), 10);
}

#[test]
fn a_ping_on_a_stream_or_of_the_wrong_length_ends_the_connection() {
    // RFC 9113 §6.7: "If a PING frame is received with a Stream Identifier field value other than
    // 0x00, the recipient MUST respond with a connection error (Section 5.4.1) of type
    // PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::frame(0x6, 0, 1, [0; 8]));
    peer.connection_error(Violation::PingOnStream);
    // "Receipt of a PING frame with a length field value other than 8 MUST be treated as a
    // connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    for length in [0, 6, 7, 9] {
        let mut peer = client();
        peer.send(wire::frame(0x6, 0, 0, vec![0; length]));
        peer.connection_error(Violation::PingLengthNot8);
    }
}

// --- §6.8 GOAWAY ---

#[test]
fn goaway_on_a_stream_or_too_short_ends_the_connection() {
    // RFC 9113 §6.8: "An endpoint MUST treat a GOAWAY frame with a stream identifier other than
    // 0x00 as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::frame(0x7, 0, 1, [0; 8]));
    peer.connection_error(Violation::GoAwayOnStream);
    let mut peer = client();
    peer.send(wire::frame(0x7, 0, 0, [0; 7]));
    peer.connection_error(Violation::GoAwayTooShort);
}

#[test]
fn a_server_ends_gracefully_in_two_steps() {
    // RFC 9113 §6.8: "A server that is attempting to gracefully shut down a connection SHOULD send
    // an initial GOAWAY frame with the last stream identifier set to 2^31-1 and a NO_ERROR code."
    // "After allowing time for any in-flight stream creation (at least one round-trip time), the
    // server MAY send another GOAWAY frame with an updated last stream identifier."
    let mut peer = client();
    peer.send(wire::get(1));
    peer.expect_request(1);
    let now = peer.now;
    peer.engine.shut_down(now);
    peer.pump();
    assert_eq!(peer.expect_goaway(ErrorCode::NO_ERROR), 0x7fff_ffff);
    let (payload, ack) = peer.expect_ping();
    assert!(!ack);
    // A request that crossed the first GOAWAY is served.
    peer.send(wire::get(3));
    peer.expect_request(3);
    peer.send(wire::ping_ack(&payload));
    assert_eq!(peer.expect_goaway(ErrorCode::NO_ERROR), 3);
    // Frames after the second are ignored: "the sender can discard frames for streams initiated by
    // the receiver with identifiers higher than the identified last stream."
    peer.send_all([
        wire::post(5),
        wire::data(5, "x"),
        wire::window_update(5, 100),
        wire::priority(5, 0, false, 15),
        wire::rst_stream(5, ErrorCode::CANCEL),
    ]);
    peer.expect_no_event();
    peer.expect_silence();
    // Streams that had begun are finished.
    peer.respond(1, 200, "one");
    peer.respond(3, 200, "three");
    assert!(peer.is_closed());
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert_eq!(peer.expect_head(1).status(), 200);
    assert_eq!(peer.expect_data(1), (Bytes::from("one"), true));
    assert_eq!(peer.expect_head(3).status(), 200);
    assert_eq!(peer.expect_data(3), (Bytes::from("three"), true));
    peer.expect_silence();
}

#[test]
fn a_goaway_without_news_is_reported_once() {
    // RFC 9113 §6.8: "An endpoint MAY send multiple GOAWAY frames if circumstances change." If they
    // don't, no stream has to be visited.
    let mut peer = server();
    peer.open_get();
    for _ in 0..3 {
        peer.send(wire::goaway(1, ErrorCode::NO_ERROR));
    }
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.expect_no_event();
    // An error is news.
    peer.send(wire::goaway(1, ErrorCode::INTERNAL_ERROR));
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.send(wire::goaway(0, ErrorCode::NO_ERROR));
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.expect_reset(1, ResetCause::Unprocessed);
}

#[test]
fn the_second_goaway_does_not_wait_for_ever() {
    // RFC 9113 §6.8, as above: a peer that does not answer our PING gets it after a second.
    let mut peer = client();
    peer.send(wire::get(1));
    let now = peer.now;
    peer.engine.shut_down(now);
    peer.pump();
    peer.wait(secs(2));
    let no_error = ErrorCode::NO_ERROR.0;
    assert_eq!(goaways(&peer), [(0x7fff_ffff, no_error), (1, no_error)]);
    // A late answer, or one to another PING, causes no third GOAWAY.
    peer.send_all([wire::ping_ack(b"tidegate"), wire::ping_ack(b"whatever")]);
    assert_eq!(goaways(&peer).len(), 2);
    assert!(!peer.is_closed());
}

#[test]
fn a_graceful_end_has_a_deadline() {
    // RFC 9113 §6.8: "An endpoint MAY send multiple GOAWAY frames if circumstances change"; we wait
    // for 30 seconds.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.events.clear();
    let now = peer.now;
    peer.engine.shut_down(now);
    peer.pump();
    peer.wait(secs(29));
    assert!(!peer.is_closed());
    peer.wait(secs(2));
    assert!(peer.is_closed());
    assert_eq!(peer.expect_closed(), CloseReason::ShutdownTimedOut);
    assert_eq!(peer.engine.active_streams(), 0);
}

#[test]
fn a_client_ends_gracefully() {
    // RFC 9113 §6.8: GOAWAY works in both directions; a client names the pushes that it has seen.
    let mut peer = server();
    peer.open_get();
    peer.frames.clear();
    let now = peer.now;
    peer.engine.shut_down(now);
    peer.pump();
    assert_eq!(peer.expect_goaway(ErrorCode::NO_ERROR), 0);
    peer.send_all([
        wire::headers(1, &[(":status", "200")]),
        wire::data(1, "all").end(),
    ]);
    peer.expect_response(1);
    assert_eq!(peer.expect_body(1), (Bytes::from("all"), true));
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert!(peer.is_closed());
}

#[test]
fn an_idle_connection_ends_at_once() {
    // RFC 9113 §6.8: a client with nothing in flight has nothing to wait for; a server waits for
    // the round trip.
    let mut peer = server();
    let now = peer.now;
    peer.engine.shut_down(now);
    peer.pump();
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    let mut peer = client();
    peer.engine.shut_down(now);
    peer.pump();
    peer.expect_no_event();
    peer.send(wire::ping_ack(b"tidegate"));
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert_eq!(goaways(&peer), [(0x7fff_ffff, 0), (0, 0)]);
}

#[test]
fn requests_above_the_peers_last_can_be_retried() {
    // RFC 9113 §6.8: "If the receiver of the GOAWAY has sent data on streams with a higher stream
    // identifier than what is indicated in the GOAWAY frame, those streams are not or will not be
    // processed."
    let mut peer = server();
    assert_eq!(
        [peer.open_get(), peer.open_get(), peer.open_get()],
        [1, 3, 5]
    );
    peer.frames.clear();
    peer.send(wire::goaway(1, ErrorCode::NO_ERROR).and(b"maintenance"));
    match peer.next_event() {
        Some(Event::GoingAway {
            last,
            code,
            debug_data,
        }) => {
            assert_eq!(
                (last.get(), code, &debug_data[..]),
                (1, ErrorCode::NO_ERROR, &b"maintenance"[..])
            );
        }
        other => panic!("expected GoingAway, got {other:?}"),
    }
    assert_eq!(
        peer.expect_reset(3, ResetCause::Unprocessed),
        ErrorCode::REFUSED_STREAM
    );
    assert_eq!(
        peer.expect_reset(5, ResetCause::Unprocessed),
        ErrorCode::REFUSED_STREAM
    );
    peer.expect_alive();
    assert!(!peer.engine.can_open());
    peer.send(wire::headers(1, &[(":status", "200")]).end());
    peer.expect_response(1);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn a_server_finishes_what_it_has_when_the_client_goes() {
    // RFC 9113 §6.8: "Activity on streams numbered lower than or equal to the last stream
    // identifier might still complete successfully." A client's GOAWAY names pushes; its own
    // requests are still answered.
    let mut peer = client();
    peer.send_all([wire::get(1), wire::goaway(0, ErrorCode::NO_ERROR)]);
    peer.expect_request(1);
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.respond(1, 200, "bye");
    assert_eq!(peer.expect_head(1).status(), 200);
    assert_eq!(peer.expect_data(1), (Bytes::from("bye"), true));
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn the_last_stream_of_goaway_never_increases() {
    // RFC 9113 §6.8: "Endpoints MUST NOT increase the value they send in the last stream
    // identifier".
    let mut peer = server();
    peer.open_get();
    let no_error = ErrorCode::NO_ERROR;
    peer.send_all([
        wire::goaway(0x7fff_ffff, no_error),
        wire::goaway(1, no_error),
        wire::goaway(1, no_error),
    ]);
    peer.frames.clear();
    peer.expect_alive();
    peer.send(wire::goaway(3, no_error));
    peer.connection_error(Violation::GoAwayLastStreamIncreased);
}

#[test]
fn a_goaway_with_an_error_is_reported_as_the_reason() {
    // RFC 9113 §6.8: "The GOAWAY frame also contains a 32-bit error code (Section 7) that contains
    // the reason for closing the connection."
    let why = |words: &'static [u8]| CloseReason::PeerError {
        code: ErrorCode::ENHANCE_YOUR_CALM,
        debug_data: Bytes::from_static(words),
    };
    // At once when nothing is in flight ...
    let mut peer = client();
    peer.send(wire::goaway(0, ErrorCode::ENHANCE_YOUR_CALM).and(b"too many pings"));
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    assert_eq!(peer.expect_closed(), why(b"too many pings"));
    // ... and at the transport's end when something is.
    let mut peer = server();
    peer.open_get();
    peer.send(wire::goaway(1, ErrorCode::ENHANCE_YOUR_CALM));
    assert!(matches!(peer.next_event(), Some(Event::GoingAway { .. })));
    peer.send_eof();
    assert_eq!(peer.expect_closed(), why(b""));
}

// --- §6.9 WINDOW_UPDATE ---

#[test]
fn a_window_update_of_0_is_an_error_where_it_belongs() {
    // RFC 9113 §6.9: "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a
    // flow-control window increment of 0 as a stream error (Section 5.4.2) of type PROTOCOL_ERROR;
    // errors on the connection flow-control window MUST be treated as a connection error (Section
    // 5.4.1)."
    let mut peer = client();
    peer.send_all([wire::post(1), wire::window_update(1, 0)]);
    peer.stream_error(1, Violation::WindowUpdateOfZeroOnStream);
    peer.send(wire::window_update(0, 0));
    peer.connection_error(Violation::WindowUpdateOfZero);
}

#[test]
fn a_window_update_of_the_wrong_length_ends_the_connection() {
    // RFC 9113 §6.9: "A WINDOW_UPDATE frame with a length other than 4 octets MUST be treated as a
    // connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    for (stream, length) in [(0, 3), (0, 5), (1, 0), (1, 8)] {
        let mut peer = client();
        peer.send_all([wire::post(1), wire::frame(0x8, 0, stream, vec![0; length])]);
        peer.connection_error(Violation::WindowUpdateLengthNot4);
    }
}

#[test]
fn a_window_never_exceeds_its_maximum() {
    // RFC 9113 §6.9.1: "A sender MUST NOT allow a flow-control window to exceed 2^31-1 octets. If a
    // sender receives a WINDOW_UPDATE that causes a flow-control window to exceed this maximum, it
    // MUST terminate either the stream or the connection, as appropriate. For streams, the sender
    // sends a RST_STREAM with an error code of FLOW_CONTROL_ERROR; for the connection, a GOAWAY
    // frame with an error code of FLOW_CONTROL_ERROR is sent."
    let to_the_top = 0x7fff_ffff - 65_535;
    let mut peer = client();
    peer.send_all([wire::post(1), wire::window_update(1, to_the_top)]);
    peer.expect_alive();
    peer.send(wire::window_update(1, 1));
    peer.stream_error(1, Violation::WindowOverflowOnStream);
    peer.send(wire::window_update(0, to_the_top));
    peer.expect_alive();
    peer.send(wire::window_update(0, 1));
    peer.connection_error(Violation::WindowOverflow);
    for mut peer in [client(), server()] {
        peer.send(wire::window_update(0, 0x7fff_ffff));
        peer.connection_error(Violation::WindowOverflow);
    }
}

#[test]
fn settings_may_overflow_a_window_too() {
    // RFC 9113 §6.9.2: "An endpoint MUST treat a change to SETTINGS_INITIAL_WINDOW_SIZE that causes
    // any flow-control window to exceed the maximum size as a connection error (Section 5.4.1) of
    // type FLOW_CONTROL_ERROR."
    let mut peer = client();
    peer.send_all([
        wire::post(1),
        wire::window_update(1, 1),
        wire::settings(&[(0x4, 0x7fff_ffff)]),
    ]);
    peer.connection_error(Violation::WindowOverflowBySettings);
}

#[test]
fn what_is_sent_stays_within_both_windows() {
    // RFC 9113 §6.9.1: "The sender MUST NOT send a flow-controlled frame with a length that exceeds
    // the space available in either of the flow-control windows advertised by the receiver."
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 50_000)]);
    peer.send_all([wire::get(1), wire::get(3)]);
    peer.respond(1, 200, bytes(60_000));
    peer.respond(3, 200, bytes(60_000));
    let (one, three) = (peer.take_body(1), peer.take_body(3));
    assert_eq!(
        one.0.len() + three.0.len(),
        65_535,
        "the connection's window"
    );
    peer.send(wire::window_update(0, 100_000));
    assert_eq!(
        one.0.len() + peer.take_body(1).0.len(),
        50_000,
        "the stream's window"
    );
    assert_eq!(three.0.len() + peer.take_body(3).0.len(), 50_000);
    peer.send_all([
        wire::window_update(1, 10_000),
        wire::window_update(3, 9_999),
    ]);
    assert_eq!(peer.take_body(1), (bytes(10_000).to_vec(), true));
    assert_eq!(peer.take_body(3), (bytes(9_999).to_vec(), false));
    peer.send(wire::window_update(3, 1));
    assert_eq!(peer.take_body(3), (bytes(1).to_vec(), true));
    peer.frames.clear();
    peer.expect_alive();
}

#[test]
fn a_request_body_stays_within_both_windows_too() {
    // RFC 9113 §6.9.1, as above, for the client.
    let mut peer = Peer::server_with(Config::client(), &[(0x4, 10)]);
    let head = RequestHead::new("POST", "https", "localhost", "/");
    peer.open(&head, Body::Full(bytes(25)));
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (bytes(10), false));
    peer.expect_silence();
    peer.send(wire::window_update(1, 10));
    assert_eq!(peer.expect_data(1), (bytes(10), false));
    peer.send(wire::settings(&[(0x4, 15)]));
    assert_eq!(peer.expect_settings(), None);
    assert_eq!(peer.expect_data(1), (bytes(5), true));
}

#[test]
fn an_empty_end_needs_no_window() {
    // RFC 9113 §6.9.1: "Frames with zero length with the END_STREAM flag set (that is, an empty
    // DATA frame) MAY be sent if there is no available space in either flow-control window."
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 0)]);
    peer.send(wire::get(1));
    respond_streaming(&mut peer, 1);
    assert!(!peer.expect_head(1).end);
    assert_eq!(
        peer.stream(1, |stream| stream.write(&mut Bytes::new(), true)),
        0
    );
    assert_eq!(peer.expect_data(1), (Bytes::new(), true));
    assert_eq!(peer.engine.active_streams(), 0);
}

#[test]
fn trailers_need_no_window() {
    // RFC 9113 §5.2.1: "only DATA frames are subject to flow control; all other frame types do not
    // consume space in the advertised flow-control window."
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 0)]);
    peer.send(wire::get(1));
    respond_streaming(&mut peer, 1);
    peer.expect_head(1);
    let fields = [(&b"a"[..], &b"b"[..])].into_iter().collect();
    peer.stream(1, |stream| stream.trailers(&fields))
        .expect("it may");
    let trailers = peer.expect_head(1);
    assert_eq!((trailers.get("a"), trailers.end), (Some("b"), true));
}

#[test]
fn a_window_of_1_lets_1_byte_through() {
    // RFC 9113 §6.9.2: a client sets SETTINGS_INITIAL_WINDOW_SIZE to any value, before or after its
    // requests.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, "ab");
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (Bytes::from("a"), false));
    peer.expect_silence();
    peer.send(wire::settings(&[(0x4, 2)]));
    assert_eq!(peer.expect_settings(), None);
    assert_eq!(peer.expect_data(1), (Bytes::from("b"), true));
}

#[test]
fn a_window_may_become_negative() {
    // RFC 9113 §6.9.2: "A change to SETTINGS_INITIAL_WINDOW_SIZE can cause the available space in a
    // flow-control window to become negative. A sender MUST track the negative flow-control window
    // and MUST NOT send new flow-controlled frames until it receives WINDOW_UPDATE frames that
    // cause the flow-control window to become positive."
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 3)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, "abcdef");
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1).0, "abc");
    // 3 sent, so 2 allowed is -1.
    peer.send(wire::settings(&[(0x4, 2)]));
    assert_eq!(peer.expect_settings(), None);
    peer.send(wire::window_update(1, 1));
    peer.expect_silence();
    peer.send(wire::window_update(1, 1));
    assert_eq!(peer.expect_data(1).0, "d");
    peer.expect_alive();
}

#[test]
fn settings_do_not_touch_the_connections_window() {
    // RFC 9113 §6.9.2: "A SETTINGS frame cannot alter the connection flow-control window."
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(100_000));
    assert_eq!(peer.take_body(1).0.len(), 65_535);
    peer.send(wire::settings(&[(0x4, 1 << 21)]));
    assert_eq!(peer.take_body(1).0.len(), 0);
}

#[test]
fn credit_comes_back_when_the_owner_consumes() {
    // RFC 9113 §6.9: the receiver of DATA sends WINDOW_UPDATE "as it consumes data and frees up
    // space in flow-control windows."
    let mut peer = client_of_window(65_535);
    peer.send(wire::post(1));
    // One more stream would find as much on the connection.
    assert_eq!(peer.take_window_updates(0), 0);
    for _ in 0..3 {
        peer.send(wire::data(1, bytes(16_384)));
    }
    assert_eq!(peer.take_window_updates(1), 0, "nothing is consumed yet");
    assert_eq!(unconsumed(&mut peer, 1), 49_152);
    peer.take_window_updates(0);
    peer.stream(1, |stream| stream.consume(32_767));
    assert_eq!(peer.take_window_updates(1), 0, "it is not half a window");
    peer.stream(1, |stream| stream.consume(1));
    assert_eq!(peer.take_window_updates(1), 32_768);
    peer.stream(1, |stream| stream.consume(49_152 - 32_768));
    assert_eq!(peer.take_window_updates(1), 0);
    // Consuming more than there was returns no more.
    peer.stream(1, |stream| stream.consume(usize::MAX));
    assert_eq!(peer.take_window_updates(1), 0);
}

#[test]
fn the_connections_credit_does_not_wait_for_owners() {
    // RFC 9113 §5.2.2: "Flow control SHOULD NOT be used to […] the receiver of data" in a way that
    // lets one stream stall the others: bytes that nobody consumes cost the others nothing.
    let mut peer = client();
    peer.send(wire::post(1));
    peer.send(wire::data(1, bytes(8192)));
    assert_eq!(peer.take_window_updates(1), (256 << 10) - 65_535);
    let mut window = 65_535 - 8192 + peer.take_window_updates(0);
    let mut left = (256 << 10) - 8192;
    while left > 0 {
        let len = left.min(16_384);
        peer.send(wire::data(1, bytes(len)));
        left -= len;
        window = window + peer.take_window_updates(0) - len as u64;
        assert!(window >= 32_767, "a stream to come finds {window}");
    }
    assert_eq!(peer.take_window_updates(1), 0);
    // The stalled stream uses its own window and nothing else.
    for id in [3, 5, 7] {
        peer.send_all([wire::post(id), wire::data(id, bytes(8192))]);
        assert_eq!(peer.take_window_updates(id), (256 << 10) - 65_535);
        window = window + peer.take_window_updates(0) - 8192;
    }
    assert!(window >= 3 * ((256 << 10) - 8192), "{window}");
    assert_eq!(peer.engine.audit(), Ok(()));
}

#[test]
fn padding_is_given_back_at_once() {
    // RFC 9113 §6.1: "The entire DATA frame payload is included in flow control, including the Pad
    // Length and Padding fields if present."
    let mut peer = client_of_window(65_535);
    peer.send(wire::post(1));
    peer.frames.clear();
    for _ in 0..200 {
        peer.send(wire::data(1, "x").padded(255));
    }
    let (stream, connection) = (peer.take_window_updates(1), peer.take_window_updates(0));
    // 256 bytes of each frame are padding; credit is returned at each half window.
    assert!((32_768..=200 * 256).contains(&stream), "{stream}");
    assert!(connection >= 32_768, "{connection}");
    peer.expect_alive();
}

#[test]
fn credit_for_dead_streams_comes_back() {
    // RFC 9113 §6.9: "A receiver that receives a flow-controlled frame MUST always account for its
    // contribution against the connection flow-control window, unless the receiver treats this as a
    // connection error (Section 5.4.1)."
    let mut peer = client_of_window(65_535);
    let mut window = 65_535;
    let send_40k = |peer: &mut Peer, id, window: &mut u64| {
        for _ in 0..40 {
            peer.send(wire::data(id, bytes(1024)));
            *window = *window + peer.take_window_updates(0) - 1024;
            assert!(*window >= 32_767, "{window}");
        }
    };
    // Reset by us.
    peer.send(wire::post(1));
    peer.stream(1, |stream| stream.reset(ErrorCode::CANCEL));
    send_40k(&mut peer, 1, &mut window);
    // By the peer, with bytes that nobody has consumed.
    peer.send(wire::post(3));
    send_40k(&mut peer, 3, &mut window);
    assert_eq!(peer.engine.receive_credit().unconsumed, 40 * 1024);
    peer.send(wire::rst_stream(3, ErrorCode::CANCEL));
    assert_eq!(peer.engine.receive_credit().unconsumed, 0);
    // By us, as its owner.
    peer.send(wire::post(5));
    send_40k(&mut peer, 5, &mut window);
    peer.stream(5, |stream| stream.reset(ErrorCode::CANCEL));
    // A malformed one.
    peer.send(wire::headers(
        7,
        &wire::with(wire::POST, &[("content-length", "1")]),
    ));
    send_40k(&mut peer, 7, &mut window);
    let credit = peer.engine.receive_credit();
    assert_eq!((credit.promised, credit.unconsumed), (0, 0));
    assert_eq!(credit.available, window, "what the peer knows");
    peer.frames.clear();
    peer.expect_alive();
}

#[test]
fn a_held_stream_holds_no_credit() {
    // RFC 9113 §6.9, as above: an owner that hasn't released a reset stream doesn't block the
    // others.
    let mut peer = client_of_window(65_535);
    peer.hold_resets();
    peer.send(wire::post(1));
    for _ in 0..40 {
        peer.send(wire::data(1, bytes(1024)));
    }
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    let credit = peer.engine.receive_credit();
    assert_eq!((credit.promised, credit.unconsumed), (0, 0));
    // Consuming data that was reported before the reset returns nothing twice.
    peer.frames.clear();
    peer.stream(1, |stream| stream.consume(40 * 1024));
    assert_eq!(peer.take_window_updates(1), 0);
    assert_eq!(peer.engine.receive_credit(), credit);
    assert_eq!(peer.engine.audit(), Ok(()));
}

#[test]
fn a_peer_that_overruns_a_window_is_refused() {
    // RFC 9113 §6.9.1: "A receiver MAY respond with a stream error (Section 5.4.2) or connection
    // error (Section 5.4.1) of type FLOW_CONTROL_ERROR if it is unable to accept a frame."
    let mut peer = client_of_window(1000);
    peer.send_all([wire::post(1), wire::data(1, bytes(1000))]);
    peer.expect_request(1);
    peer.expect_body(1);
    peer.send(wire::data(1, "x"));
    peer.stream_error(1, Violation::DataOverStreamWindow);
    // Padding counts.
    peer.send_all([wire::post(3), wire::data(3, bytes(1000)).padded(0)]);
    peer.expect_request(3);
    peer.stream_error(3, Violation::DataOverStreamWindow);
    // For a client too.
    let mut peer = crate::support::server_of(|config| fix_window(config, 10));
    peer.open_get();
    peer.frames.clear();
    peer.send_all([
        wire::headers(1, &[(":status", "200")]),
        wire::data(1, bytes(11)),
    ]);
    peer.expect_response(1);
    peer.stream_error(1, Violation::DataOverStreamWindow);
}

#[test]
fn an_idle_connection_promises_what_the_protocol_does() {
    // RFC 9113 §6.9.2: "The connection flow-control window can only be changed using WINDOW_UPDATE
    // frames." It is changed when a body is to come.
    for mut peer in [
        Peer::client_unborn(Config::server()),
        Peer::server_unborn(Config::client()),
    ] {
        assert_eq!(peer.take_window_updates(0), 0);
        let settings = peer.expect_settings().expect("values");
        assert!(
            !settings
                .iter()
                .any(|(id, _)| *id == SettingId::INITIAL_WINDOW_SIZE)
        );
    }
    // A GET has no body; nor does a body need more that fits into the advertised window.
    let mut peer = client();
    peer.send(wire::get(1));
    let small = wire::with(wire::POST, &[("content-length", "1000")]);
    peer.send_all([wire::headers(3, &small), wire::data(3, bytes(1000)).end()]);
    peer.stream(3, |stream| stream.consume(1000));
    assert_eq!(
        (peer.take_window_updates(3), peer.take_window_updates(0)),
        (0, 0)
    );
    // Any response may have a body. A client advertises credit with its requests, once for each
    // turn.
    let mut peer = server();
    for _ in 0..3 {
        peer.engine
            .open(
                &RequestHead::new("GET", "https", "localhost", "/"),
                Body::Empty,
            )
            .expect("there is room");
    }
    peer.pump();
    assert_eq!(peer.take_window_updates(0), 2 * 65_535 + 65_536);
}

#[test]
fn a_body_is_given_window_when_it_really_comes() {
    let first = u64::from(256u32 << 10) - 65_535;
    // A head borrows nothing, and neither do the first bytes of a body.
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, bytes(8191))]);
    assert_eq!(peer.take_window_updates(1), 0);
    // Of unknown length: the stream needs one, and the connection with it.
    peer.send(wire::data(1, bytes(1)));
    assert_eq!(peer.take_window_updates(1), first);
    assert_eq!(peer.take_window_updates(0), first + 65_536);
    // With a length that the window holds: nothing. With another: no more than that, and some for
    // padding.
    let length = |bytes: &'static str| wire::with(wire::POST, &[("content-length", bytes)]);
    peer.send(wire::headers(3, &length("61000")));
    assert_eq!(peer.take_window_updates(3), 0);
    peer.send(wire::headers(5, &length("100000")));
    peer.send(wire::data(5, bytes(8192)));
    let left = 100_000 - 8192;
    assert_eq!(
        peer.take_window_updates(5),
        left + left / 16 + 256 - (65_535 - 8192)
    );
    // A tunnel waits until it is used; and the config's limit is not exceeded.
    let connect = [(":method", "CONNECT"), (":authority", "localhost:22")];
    peer.send(wire::headers(7, &connect));
    assert_eq!(peer.take_window_updates(7), 0);
    let mut peer = client_of_window(65_535);
    peer.send(wire::post(1));
    assert_eq!(peer.take_window_updates(1), 0);
    // A response.
    let mut peer = server();
    peer.open_get();
    assert_eq!(peer.take_window_updates(1), 0);
    peer.send(wire::headers(1, &[(":status", "200")]));
    assert_eq!(peer.take_window_updates(1), first);
}

#[test]
fn a_window_grows_with_what_a_round_trip_brings() {
    let mut peer = client();
    peer.send(wire::post(1));
    let receive = |peer: &mut Peer, count: usize| {
        for _ in 0..count {
            peer.send(wire::data(1, bytes(16_384)));
            peer.stream(1, |stream| stream.consume(16_384));
        }
    };
    peer.send(wire::data(1, bytes(8192)));
    peer.stream(1, |stream| stream.consume(8192));
    assert_eq!(peer.take_window_updates(1), (256 << 10) - 65_535);
    // Without a round-trip time: credit at each half, and nothing more.
    assert!(!peer.engine.wants_rtt());
    receive(&mut peer, 16);
    assert_eq!(peer.take_window_updates(1), (256 << 10) + 8192);
    assert!(peer.engine.wants_rtt());
    peer.engine
        .observe_rtt(std::time::Duration::from_millis(100));
    assert!(!peer.engine.wants_rtt());
    // A quarter of it within a round trip: it doubles, and that is advertised at once.
    receive(&mut peer, 3);
    assert_eq!(peer.take_window_updates(1), 0);
    receive(&mut peer, 1);
    assert_eq!(peer.take_window_updates(1), (256 << 10) + 4 * 16_384);
    assert_eq!(peer.engine.stats().windows_grown, 2, "the first grant too");
    // Half of it in more than 32 round trips: it halves.
    for _ in 0..16 {
        peer.wait(secs(1));
        receive(&mut peer, 1);
    }
    assert_eq!(peer.take_window_updates(1), 0);
    assert_eq!(peer.engine.stats().windows_shrunk, 1);
}

#[test]
fn an_owner_may_keep_a_window_small() {
    let mut peer = client();
    peer.send_all([wire::post(1), wire::data(1, bytes(8192))]);
    peer.stream(1, |stream| stream.consume(8192));
    peer.take_window_updates(1);
    peer.stream(1, |stream| stream.limit_window(300 << 10));
    peer.engine
        .observe_rtt(std::time::Duration::from_millis(100));
    for _ in 0..5 {
        peer.send(wire::data(1, bytes(16_384)));
        peer.stream(1, |stream| stream.consume(16_384));
    }
    // Up to the limit: 44 KiB more than the 256 KiB that every body gets, and the bytes consumed.
    assert_eq!(peer.take_window_updates(1), (44 << 10) + 8192 + 4 * 16_384);
    for _ in 0..100 {
        peer.send(wire::data(1, bytes(16_384)));
        peer.stream(1, |stream| stream.consume(16_384));
    }
    assert_eq!(peer.engine.stats().windows_grown, 2);
}

// --- §6.10 CONTINUATION ---

#[test]
fn continuations_carry_a_block_on() {
    // RFC 9113 §6.10: "Any number of CONTINUATION frames can be sent, as long as the preceding
    // frame is on the same stream and is a HEADERS, PUSH_PROMISE, or CONTINUATION frame without the
    // END_HEADERS flag set."
    let block = wire::block(GET);
    let mut peer = client();
    peer.send_all([
        wire::headers_block(1, &block[..5])
            .unfinished()
            .end()
            .depends_on(0, false, 3)
            .padded(4),
        wire::continuation(1, &block[5..20]).unfinished(),
        wire::continuation(1, []).unfinished(),
        wire::continuation(1, &block[20..]),
    ]);
    let (head, end) = peer.expect_request(1);
    assert_eq!((head.path(), end), ("/", true));
    // Trailers and responses alike.
    let mut peer = server();
    peer.open_get();
    let (head, trailers) = (
        wire::block(&[(":status", "200")]),
        wire::block(&[("a", "b")]),
    );
    peer.send_all([
        wire::headers_block(1, &head[..3]).unfinished(),
        wire::continuation(1, &head[3..]),
        wire::headers_block(1, &trailers[..1]).end().unfinished(),
        wire::continuation(1, &trailers[1..]),
    ]);
    assert!(!peer.expect_response(1).1);
    assert_eq!(peer.expect_trailers(1).get("a"), Some(&b"b"[..]));
}

#[test]
fn a_continuation_of_nothing_ends_the_connection() {
    // RFC 9113 §6.10: "A CONTINUATION frame MUST be preceded by a HEADERS, PUSH_PROMISE or
    // CONTINUATION frame without the END_HEADERS flag set. A recipient that observes violation of
    // this rule MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    let (get, post) = (wire::get(1), wire::post(1));
    let continuation = wire::continuation(1, wire::block(&[("a", "b")]));
    for before in [
        vec![get.clone()],
        vec![get.unfinished(), wire::continuation(1, [])],
        vec![post, wire::data(1, "x")],
    ] {
        let mut peer = client();
        peer.send_all(before);
        peer.send(continuation.clone());
        peer.connection_error(Violation::ContinuationWithoutHeaders);
    }
    // "If a CONTINUATION frame is received with a Stream Identifier field of 0x00, the recipient
    // MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send_all([wire::get(1).unfinished(), wire::continuation(0, [])]);
    peer.connection_error(Violation::ContinuationOnStreamZero);
}

#[test]
fn a_block_without_an_end_is_not_waited_for() {
    // RFC 9113 §10.5 leaves it to us: a header block has 10 seconds, however its frames trickle in.
    let mut peer = client();
    peer.send(wire::get(1).unfinished());
    for _ in 0..3 {
        peer.wait(secs(3));
        peer.send(wire::continuation(1, []).unfinished());
        assert!(!peer.is_closed());
    }
    peer.wait(secs(2));
    peer.connection_error(Violation::HeaderBlockTimedOut);
    // Just in time is enough.
    let mut peer = client();
    peer.send(wire::get(1).unfinished());
    peer.wait(secs(9));
    peer.send(wire::continuation(1, []));
    peer.wait(secs(9));
    peer.expect_request(1);
    peer.expect_alive();
}
