//! Every violation is answered as its row in the table says: one scenario for each variant.

use std::collections::HashSet;

use tidegate_http2::{
    Body, CloseReason, Config, ErrorCode, Event, Protocol, RequestHead, ResetCause, Scope, Stream,
    Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, POST, flag, with};

use crate::support::{
    bytes, client, client_of, client_of_window, pushing_server, respond_streaming, secs, server,
    server_of,
};

/// Provokes a violation; earlier output of the engine may be left.
type Scenario = fn() -> Peer;

/// A request with one more field, or with pseudo-fields of its own.
fn request(fields: &[(&str, &str)]) -> Peer {
    let mut peer = client();
    peer.send(wire::headers(1, fields).end());
    peer
}

/// A plain GET with one more field.
fn request_with(name: &str, value: &str) -> Peer {
    request(&with(GET, &[(name, value)]))
}

/// A client engine that has sent a GET on stream 1 and receives this response.
fn response(fields: &[(&str, &str)], end: bool) -> Peer {
    let mut peer = server();
    peer.open_get();
    let frame = wire::headers(1, fields);
    peer.send(if end { frame.end() } else { frame });
    peer
}

/// A server engine with an open request on stream 1 that receives this frame.
fn on_open_stream(frame: wire::Raw) -> Peer {
    let mut peer = client();
    peer.send(wire::post(1));
    peer.send(frame);
    peer
}

/// A server engine that receives this frame.
fn on_connection(frame: wire::Raw) -> Peer {
    let mut peer = client();
    peer.send(frame);
    peer
}

/// A client engine that accepts pushes, has sent a GET on stream 1, and receives this frame.
fn push(frame: wire::Raw) -> Peer {
    let mut peer = pushing_server();
    peer.open_get();
    peer.send(frame);
    peer
}

/// A server engine that receives the frames of `frames` for 1, 2 and so on until it closes.
fn flood(mut peer: Peer, frames: impl Fn(u32) -> Vec<wire::Raw>) -> Peer {
    for count in 1..20_000 {
        peer.send_all(frames(count));
        if peer.is_closed() {
            return peer;
        }
        peer.wait_out_pause();
    }
    panic!("the engine takes everything");
}

const SCENARIOS: &[(Violation, Scenario)] = &[
    (Violation::PrefaceInvalid, || {
        let mut peer = Peer::client_unborn(Config::server());
        peer.send_bytes(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
        peer
    }),
    (Violation::PrefaceWithoutSettings, || {
        let mut peer = Peer::client_unborn(Config::server());
        peer.send_bytes(wire::PREFACE);
        peer.send(wire::ping(b"too soon"));
        peer
    }),
    (Violation::HandshakeTimedOut, || {
        let mut peer = Peer::client_unborn(Config::server());
        peer.wait(secs(11));
        peer
    }),
    // The format of frames.
    (Violation::FrameOverMaxFrameSize, || {
        on_open_stream(wire::data(1, bytes(16_385)))
    }),
    (Violation::DataOnStreamZero, || {
        on_connection(wire::data(0, "x"))
    }),
    (Violation::DataPaddingTooLong, || {
        on_open_stream(wire::data(1, "abc").claim_padding(4, 0))
    }),
    (Violation::DataTooShort, || {
        on_open_stream(wire::frame(0x0, flag::PADDED, 1, []))
    }),
    (Violation::HeadersOnStreamZero, || {
        on_connection(wire::get(0))
    }),
    (Violation::HeadersPaddingTooLong, || {
        on_connection(wire::headers_block(1, *b"\x82").claim_padding(2, 0))
    }),
    (Violation::HeadersTooShort, || {
        on_connection(wire::frame(
            0x1,
            flag::END_HEADERS | flag::PRIORITY,
            1,
            [0; 4],
        ))
    }),
    (Violation::PriorityOnStreamZero, || {
        on_connection(wire::priority(0, 1, false, 15))
    }),
    (Violation::PriorityLengthNot5, || {
        on_open_stream(wire::frame(0x2, 0, 1, [0; 4]))
    }),
    (Violation::RstStreamOnStreamZero, || {
        on_connection(wire::rst_stream(0, ErrorCode::CANCEL))
    }),
    (Violation::RstStreamLengthNot4, || {
        on_open_stream(wire::rst_stream(1, ErrorCode::CANCEL).and(b"x"))
    }),
    (Violation::SettingsOnStream, || {
        on_connection(wire::frame(0x4, 0, 1, []))
    }),
    (Violation::SettingsLengthNotMultipleOf6, || {
        on_connection(wire::settings(&[(0x3, 1)]).and(b"x"))
    }),
    (Violation::SettingsAckWithPayload, || {
        on_connection(wire::settings(&[(0x3, 1)]).flags(flag::ACK))
    }),
    (Violation::PushPromiseOnStreamZero, || {
        push(wire::push_promise(0, 2, GET))
    }),
    (Violation::PushPromisePaddingTooLong, || {
        push(wire::push_promise(1, 2, GET).claim_padding(200, 0))
    }),
    (Violation::PushPromiseTooShort, || {
        push(wire::frame(0x5, flag::END_HEADERS, 1, [0; 3]))
    }),
    (Violation::PushPromiseOfInvalidStream, || {
        push(wire::push_promise(1, 3, GET))
    }),
    (Violation::PingOnStream, || {
        on_open_stream(wire::frame(0x6, 0, 1, [0; 8]))
    }),
    (Violation::PingLengthNot8, || {
        on_connection(wire::frame(0x6, 0, 0, [0; 7]))
    }),
    (Violation::GoAwayOnStream, || {
        on_open_stream(wire::frame(0x7, 0, 1, [0; 8]))
    }),
    (Violation::GoAwayTooShort, || {
        on_connection(wire::frame(0x7, 0, 0, [0; 7]))
    }),
    (Violation::WindowUpdateLengthNot4, || {
        on_connection(wire::window_update(0, 1).and(b"x"))
    }),
    (Violation::WindowUpdateOfZero, || {
        on_connection(wire::window_update(0, 0))
    }),
    (Violation::WindowUpdateOfZeroOnStream, || {
        on_open_stream(wire::window_update(1, 0))
    }),
    (Violation::ContinuationOnStreamZero, || {
        on_connection(wire::continuation(0, []))
    }),
    (Violation::PriorityUpdateOnStream, || {
        on_open_stream(wire::frame(0x10, 0, 1, *b"\0\0\0\x01u=1"))
    }),
    (Violation::PriorityUpdateTooShort, || {
        on_connection(wire::frame(0x10, 0, 0, [0; 3]))
    }),
    (Violation::PriorityUpdateOfStreamZero, || {
        on_connection(wire::priority_update(0, "u=1"))
    }),
    // Header blocks.
    (Violation::CompressionFailed, || {
        on_connection(wire::headers_block(1, *b"\x80"))
    }),
    (Violation::HeaderBlockInterrupted, || {
        let mut peer = on_connection(wire::get(1).unfinished());
        peer.send(wire::ping(b"a moment"));
        peer
    }),
    (Violation::ContinuationWithoutHeaders, || {
        on_open_stream(wire::continuation(1, []))
    }),
    (Violation::HeaderBlockTimedOut, || {
        let mut peer = on_connection(wire::get(1).unfinished());
        peer.wait(secs(11));
        peer
    }),
    (Violation::HeaderListTooLarge, || {
        let mut peer = server_of(|config| config.max_header_list_size = 200);
        peer.open_get();
        let long = "x".repeat(300);
        peer.send(wire::headers(1, &[(":status", "200"), ("x", &long)]));
        peer
    }),
    (Violation::TooManyHeaderFields, || {
        let mut peer = server_of(|config| config.max_header_fields = 3);
        peer.open_get();
        let fields = [(":status", "200"), ("a", ""), ("b", ""), ("c", "")];
        peer.send(wire::headers(1, &fields));
        peer
    }),
    (Violation::TooManyCookieCrumbs, || {
        let mut peer = server_of(|config| config.max_cookie_crumbs = 1);
        peer.open_get();
        let fields = [(":status", "200"), ("cookie", "a=1"), ("cookie", "b=2")];
        peer.send(wire::headers(1, &fields));
        peer
    }),
    // Streams.
    (Violation::FrameOnIdleStream, || {
        on_connection(wire::data(1, "x"))
    }),
    (Violation::FrameAfterEndStream, || {
        let mut peer = on_connection(wire::get(1));
        peer.send(wire::data(1, "more"));
        peer
    }),
    (Violation::FrameOnClosedStream, || {
        let mut peer = on_connection(wire::get(1));
        peer.respond(1, 200, "");
        peer.send(wire::data(1, "more"));
        peer
    }),
    (Violation::FrameOnResetStream, || {
        let mut peer = on_open_stream(wire::rst_stream(1, ErrorCode::CANCEL));
        peer.events.clear();
        peer.send(wire::data(1, "more"));
        peer
    }),
    (Violation::FrameOnReservedStream, || {
        let mut peer = push(wire::push_promise(1, 2, GET));
        peer.send(wire::data(2, "no head yet"));
        peer
    }),
    (Violation::StreamIdOfWrongParity, || {
        on_connection(wire::get(2))
    }),
    (Violation::StreamIdNotIncreasing, || {
        let mut peer = on_connection(wire::get(5));
        peer.send(wire::get(3));
        peer
    }),
    (Violation::TooManyConcurrentStreams, || {
        let mut peer = client_of(|config| config.max_concurrent_streams = 1);
        peer.send_all([wire::get(1), wire::get(3)]);
        peer
    }),
    (Violation::StreamDependsOnItself, || {
        on_connection(wire::get(1).depends_on(1, false, 15))
    }),
    // SETTINGS.
    (Violation::EnablePushInvalid, || {
        on_connection(wire::settings(&[(0x2, 2)]))
    }),
    (Violation::ServerEnabledPush, || {
        let mut peer = server();
        peer.send(wire::settings(&[(0x2, 1)]));
        peer
    }),
    (Violation::InitialWindowSizeTooLarge, || {
        on_connection(wire::settings(&[(0x4, 1 << 31)]))
    }),
    (Violation::MaxFrameSizeInvalid, || {
        on_connection(wire::settings(&[(0x5, 16_383)]))
    }),
    (Violation::EnableConnectProtocolInvalid, || {
        on_connection(wire::settings(&[(0x8, 2)]))
    }),
    (Violation::NoRfc7540PrioritiesInvalid, || {
        on_connection(wire::settings(&[(0x9, 2)]))
    }),
    (Violation::SettingsAckUnexpected, || {
        on_connection(wire::settings_ack())
    }),
    (Violation::SettingsAckTimedOut, || {
        let mut peer = Peer::client_unborn(Config::server());
        peer.send_bytes(wire::PREFACE);
        peer.send(wire::settings(&[]));
        peer.wait(secs(11));
        peer
    }),
    // Flow control.
    (Violation::WindowOverflow, || {
        on_connection(wire::window_update(0, 0x7fff_ffff))
    }),
    (Violation::WindowOverflowOnStream, || {
        on_open_stream(wire::window_update(1, 0x7fff_ffff))
    }),
    (Violation::WindowOverflowBySettings, || {
        let mut peer = on_open_stream(wire::window_update(1, 0x7fff_ffff - 65_535));
        peer.send(wire::settings(&[(0x4, 65_536)]));
        peer
    }),
    (Violation::DataOverWindow, || {
        // A message of one byte needs no more of the connection than every peer has.
        let mut peer = client_of(|config| {
            config.initial_window_size = 1 << 20;
            config.max_frame_size = 1 << 20;
        });
        peer.send(wire::headers(1, &with(POST, &[("content-length", "1")])));
        peer.send(wire::data(1, bytes(65_536)));
        peer
    }),
    (Violation::DataOverStreamWindow, || {
        let mut peer = client_of_window(10);
        peer.send_all([wire::post(1), wire::data(1, "eleven octs")]);
        peer
    }),
    // Messages.
    (Violation::PseudoFieldUnknown, || {
        request(&with(&[(":unheard-of", "x")], GET))
    }),
    (Violation::PseudoFieldMisplaced, || {
        request(&[&[("accept", "*/*")], GET].concat())
    }),
    (Violation::PseudoFieldRepeated, || {
        request(&with(&[(":path", "/twice")], GET))
    }),
    (Violation::PseudoFieldMissing, || request(&GET[1..])),
    (Violation::PseudoFieldInTrailers, || {
        on_open_stream(wire::headers(1, &[(":path", "/")]).end())
    }),
    (Violation::MethodInvalid, || {
        request(&[&[(":method", "G T")], &GET[1..]].concat())
    }),
    (Violation::SchemeInvalid, || {
        request(&[(":method", "GET"), (":scheme", "1http"), (":path", "/")])
    }),
    (Violation::AuthorityInvalid, || {
        let pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/")];
        request(&with(&pseudo, &[(":authority", "user@localhost")]))
    }),
    (Violation::PathInvalid, || {
        request(&[&GET[..3], &[(":path", "")]].concat())
    }),
    (Violation::StatusInvalid, || {
        response(&[(":status", "20")], false)
    }),
    (Violation::ConnectMalformed, || {
        request(&[(":method", "CONNECT"), (":authority", "localhost")])
    }),
    (Violation::ProtocolNotAllowed, || {
        request(&with(&[(":protocol", "websocket")], GET))
    }),
    (Violation::HostContradictsAuthority, || {
        request_with("host", "elsewhere")
    }),
    (Violation::FieldNameInvalid, || request_with("a b", "x")),
    (Violation::FieldNameUppercase, || {
        request_with("Accept", "*/*")
    }),
    (Violation::FieldValueInvalid, || request_with("x", "a\nb")),
    (Violation::ConnectionSpecificField, || {
        request_with("connection", "keep-alive")
    }),
    (Violation::TeNotTrailers, || request_with("te", "gzip")),
    (Violation::ContentLengthInvalid, || {
        request_with("content-length", "-1")
    }),
    (Violation::ContentLengthMismatch, || {
        request_with("content-length", "1")
    }),
    (Violation::TrailersWithoutEndStream, || {
        on_open_stream(wire::headers(1, &[("x", "y")]))
    }),
    (Violation::DataBeforeResponseHead, || {
        let mut peer = server();
        peer.open_get();
        peer.send(wire::data(1, "no head yet"));
        peer
    }),
    (Violation::InformationalWithEndStream, || {
        response(&[(":status", "103")], true)
    }),
    (Violation::SwitchingProtocols, || {
        response(&[(":status", "101")], false)
    }),
    (Violation::DataWithoutContent, || {
        let mut peer = response(&[(":status", "204")], false);
        peer.send(wire::data(1, "content"));
        peer
    }),
    (Violation::HeadersOnTunnel, || {
        let mut peer = client();
        let fields = [(":method", "CONNECT"), (":authority", "localhost:22")];
        peer.send(wire::headers(1, &fields));
        peer.stream(1, |stream| {
            let head = tidegate_http2::ResponseHead::new(200);
            stream.respond(&head, Body::Stream).expect("a tunnel opens");
        });
        peer.send(wire::headers(1, &[("x", "y")]).end());
        peer
    }),
    // Push.
    (Violation::PushPromiseFromClient, || {
        on_open_stream(wire::push_promise(1, 2, GET))
    }),
    (Violation::PushNotEnabled, || {
        let mut peer = server();
        peer.open_get();
        peer.send(wire::push_promise(1, 2, GET));
        peer
    }),
    (Violation::PushPromiseOnClosedStream, || {
        let mut peer = pushing_server();
        let head = RequestHead::new("POST", "https", "localhost", "/");
        peer.open(&head, Body::Stream);
        peer.send(wire::headers(1, &[(":status", "200")]).end());
        peer.send(wire::push_promise(1, 2, GET));
        peer
    }),
    (Violation::PromisedStreamNotIdle, || {
        let mut peer = push(wire::push_promise(1, 4, GET));
        peer.send(wire::push_promise(1, 2, GET));
        peer
    }),
    (Violation::PromisedRequestUnsafe, || {
        push(wire::push_promise(1, 2, POST))
    }),
    (Violation::PromisedRequestWithBody, || {
        push(wire::push_promise(
            1,
            2,
            &with(GET, &[("content-length", "5")]),
        ))
    }),
    // The connection's end, priorities.
    (Violation::GoAwayLastStreamIncreased, || {
        let mut peer = on_open_stream(wire::goaway(0, ErrorCode::NO_ERROR));
        peer.send(wire::goaway(2, ErrorCode::NO_ERROR));
        peer
    }),
    (Violation::PriorityUpdateFromServer, || {
        let mut peer = server();
        peer.send(wire::priority_update(1, "u=1"));
        peer
    }),
    (Violation::PriorityUpdateOfPushedIdle, || {
        on_connection(wire::priority_update(2, "u=1"))
    }),
    (Violation::PriorityUpdateOverLimit, || {
        let mut peer = client_of(|config| config.max_concurrent_streams = 2);
        peer.send_all([1, 3, 5].map(|id| wire::priority_update(id, "u=1")));
        peer
    }),
    // Time limits.
    (Violation::BodyTimedOut, || {
        let mut peer = on_connection(wire::post(1));
        respond_streaming(&mut peer, 1);
        peer.wait(secs(31));
        peer
    }),
    (Violation::BodyTooSlow, || {
        let mut peer = on_connection(wire::post(1));
        respond_streaming(&mut peer, 1);
        for _ in 0..6 {
            peer.send(wire::data(1, "x"));
            peer.wait(secs(10));
        }
        peer
    }),
    (Violation::WriteTimedOut, || {
        let mut peer = Peer::client_with(Config::server(), &[(0x4, 0)]);
        peer.send(wire::get(1));
        peer.respond(1, 200, "nobody wants it");
        peer.wait(secs(31));
        peer
    }),
    (Violation::ConnectionWindowStalled, || {
        let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
        peer.send(wire::get(1));
        peer.respond(1, 200, bytes(65_536));
        peer.wait(secs(31));
        peer
    }),
    // Abuse.
    (Violation::RapidReset, || {
        flood(client(), |count| {
            let id = 2 * count - 1;
            vec![wire::get(id), wire::rst_stream(id, ErrorCode::CANCEL)]
        })
    }),
    (Violation::MadeYouReset, || {
        flood(client(), |count| {
            let id = 2 * count - 1;
            vec![wire::get(id), wire::window_update(id, 0)]
        })
    }),
    (Violation::ContinuationFlood, || {
        let peer = on_connection(wire::get(1).unfinished());
        flood(peer, |_| {
            vec![wire::continuation(1, vec![0x82; 16]).unfinished()]
        })
    }),
    (Violation::PingFlood, || {
        flood(client(), |_| vec![wire::ping(b"ping me!")])
    }),
    (Violation::SettingsFlood, || {
        flood(client(), |_| vec![wire::settings(&[])])
    }),
    (Violation::PriorityFlood, || {
        flood(client(), |_| vec![wire::priority(3, 0, false, 15)])
    }),
    (Violation::WindowUpdateFlood, || {
        flood(client(), |_| vec![wire::window_update(0, 1)])
    }),
    (Violation::EmptyFrameFlood, || {
        let peer = on_connection(wire::post(1));
        flood(peer, |_| vec![wire::data(1, "")])
    }),
    (Violation::GoAwayFlood, || {
        let peer = on_connection(wire::post(1));
        flood(peer, |_| vec![wire::goaway(0, ErrorCode::NO_ERROR)])
    }),
    (Violation::ClosedStreamFlood, || {
        let mut peer = on_connection(wire::get(1));
        peer.respond(1, 200, "");
        flood(peer, |_| vec![wire::rst_stream(1, ErrorCode::CANCEL)])
    }),
    (Violation::UnknownFrameFlood, || {
        flood(client(), |_| vec![wire::frame(0xfe, 0, 0, [])])
    }),
    (Violation::HeaderBomb, || {
        let mut peer = client_of(|config| config.max_header_list_size = 200);
        let large = "x".repeat(800);
        peer.send(wire::headers(1, &with(GET, &[("x", &large)])).end());
        peer
    }),
];

/// Checks the event, and the frame that went out: RST_STREAM or GOAWAY, and with which code.
fn check(violation: Violation, mut peer: Peer) {
    let told = peer.events.iter().rev().find_map(|event| match event {
        Event::Reset {
            id,
            cause: ResetCause::Violation(why),
            ..
        } => Some((Some(id.get()), *why)),
        Event::Closed(CloseReason::Violation(why)) => Some((None, *why)),
        _ => None,
    });
    match (violation.scope(), told) {
        (Scope::Stream, Some((Some(id), why))) if why == violation => {
            peer.stream_error(id, violation);
        }
        (Scope::Connection, Some((None, why))) if why == violation => {
            peer.connection_error(violation);
        }
        _ => panic!("{violation} was expected, told were {:?}", peer.events),
    }
}

/// RFC 9113 §5.4.1: "An endpoint that encounters a connection error SHOULD first send a GOAWAY
/// frame"; §5.4.2: "An endpoint that detects a stream error sends a RST_STREAM frame".
#[test]
fn every_violation_is_reported_and_answered_as_its_row_says() {
    let mut shown = HashSet::new();
    for (violation, scenario) in SCENARIOS {
        println!("{violation}");
        check(*violation, scenario());
        assert!(shown.insert(*violation), "{violation} has two scenarios");
    }
    // Those of HTTP/1.1 have their scenarios in `tidegate-http1`.
    let all = Violation::ALL.iter().copied();
    let all = all.filter(|violation| violation.protocol() != Some(Protocol::Http1));
    let missing: Vec<_> = all.filter(|violation| !shown.contains(violation)).collect();
    assert!(missing.is_empty(), "without a scenario: {missing:?}");
}

/// The same violations have the same result, however the bytes are cut.
#[test]
fn a_server_that_sees_one_byte_at_a_time_finds_the_same_faults() {
    // RFC 9113 §4.1 says what a frame is, and nothing about how the transport cuts it.
    let faults = [
        (wire::data(0, "x"), Violation::DataOnStreamZero),
        (wire::get(2), Violation::StreamIdOfWrongParity),
        (
            wire::headers_block(1, *b"\x80"),
            Violation::CompressionFailed,
        ),
        (wire::settings(&[(0x5, 1)]), Violation::MaxFrameSizeInvalid),
        (
            wire::goaway(1, ErrorCode::NO_ERROR).flags(0xff),
            Violation::GoAwayOnStream,
        ),
    ];
    for (frame, violation) in faults {
        let mut frame = frame.to_bytes();
        if violation == Violation::GoAwayOnStream {
            frame[8] = 1;
        }
        let mut peer = client();
        for byte in frame {
            peer.send_bytes(&[byte]);
        }
        peer.connection_error(violation);
    }
}
