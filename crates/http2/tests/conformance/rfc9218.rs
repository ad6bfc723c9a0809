//! RFC 9218: Extensible Prioritization Scheme for HTTP.

use tidegate_frame::{Frame, SettingId};
use tidegate_http2::{
    Body, Config, ErrorCode, Priorities, Priority, RequestHead, ResponseHead, Stream, Violation,
};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire::{self, GET, with};

use crate::support::{
    bytes, bytes_until_end, client, client_of, frames_in_order, open_windows, order, priority,
    respond_streaming, server,
};

/// A server engine whose client has no window yet, so that all responses wait.
fn waiting() -> Peer {
    Peer::client_with(Config::server(), &[(0x4, 0)])
}

#[test]
fn the_more_urgent_response_goes_first() {
    // RFC 9218 §10: "It is RECOMMENDED that, when possible, servers respect the urgency parameter
    // (Section 4.1), sending higher-urgency responses before lower-urgency responses."
    let mut peer = waiting();
    for (id, urgency) in [(1, "u=5"), (3, "u=0"), (5, "u=3")] {
        peer.send(wire::headers(id, &with(GET, &[("priority", urgency)])).end());
        peer.respond(id, 200, bytes(20_000));
    }
    open_windows(&mut peer);
    assert_eq!(order(&peer), [3, 5, 1]);
}

#[test]
fn without_a_priority_urgency_is_3_and_responses_go_one_by_one() {
    // RFC 9218 §10: "Non-incremental responses of the same urgency SHOULD be served by prioritizing
    // bandwidth allocation in ascending order of the stream ID". §4.1 and §4.2: the defaults are
    // urgency 3 and incremental false.
    let mut peer = waiting();
    for (id, fields) in [
        (1, &with(GET, &[("priority", "u=4")])[..]),
        (3, GET),
        (5, GET),
    ] {
        peer.send(wire::headers(id, fields).end());
        peer.respond(id, 200, bytes(40_000));
    }
    open_windows(&mut peer);
    assert_eq!(order(&peer), [3, 5, 1]);
    assert_eq!(Priority::default(), Priority::parse(b""));
    assert_eq!(Priority::default(), Priority::parse(b"u=3, i=?0"));
}

#[test]
fn what_is_first_is_done_before_what_is_last_begins() {
    let mut peer = waiting();
    for (id, urgency) in [(1, "u=7"), (3, "u=7, i"), (5, "u=0"), (7, "u=0")] {
        peer.send(wire::headers(id, &with(GET, &[("priority", urgency)])).end());
        peer.respond(id, 200, bytes(40_000));
    }
    open_windows(&mut peer);
    let frames = frames_in_order(&peer);
    assert_eq!(frames, [5, 5, 5, 7, 7, 7, 1, 3, 1, 3, 1, 3]);
}

#[test]
fn incremental_responses_come_out_alike() {
    let mut peer = waiting();
    for id in [1, 3, 5] {
        peer.send(wire::headers(id, &with(GET, &[("priority", "u=2, i")])).end());
        peer.respond(id, 200, bytes(2 << 20));
    }
    open_windows(&mut peer);
    let sent = bytes_until_end(&peer, 1);
    for id in [3, 5] {
        let ratio = sent[&id] as f64 / sent[&1] as f64;
        assert!((0.9..=1.1).contains(&ratio), "{sent:?}");
    }
}

#[test]
fn an_update_counts_from_the_next_frame_on() {
    let mut peer = waiting();
    for id in [1, 3] {
        peer.send(wire::get(id));
        peer.respond(id, 200, bytes(1 << 20));
    }
    // The window of the connection lets a few frames out at a time.
    peer.send(wire::settings(&[(0x4, 1 << 20)]));
    assert_eq!(order(&peer), [1]);
    for (urgency, expected) in [("u=2", 3), ("u=4", 1), ("u=0, i", 3)] {
        peer.frames.clear();
        peer.send_all([
            wire::priority_update(3, urgency),
            wire::window_update(0, 50_000),
        ]);
        assert_eq!(order(&peer), [expected], "{urgency}");
    }
    // The same priority again moves nothing.
    peer.send_all([
        wire::priority_update(1, "u=0"),
        wire::priority_update(3, "u=0"),
    ]);
    for _ in 0..3 {
        peer.frames.clear();
        peer.send_all([
            wire::priority_update(1, "u=0"),
            wire::window_update(0, 50_000),
        ]);
        assert_eq!(order(&peer), [1]);
    }
}

#[test]
fn the_least_urgent_response_is_not_forgotten() {
    // RFC 9218 §10 leaves it to servers; ours serves the oldest one in one of 1,024 turns.
    let mut peer = waiting();
    for (id, urgency, len) in [(1, "u=7", 40_000), (3, "u=0", 60 << 20)] {
        peer.send(wire::headers(id, &with(GET, &[("priority", urgency)])).end());
        peer.respond(id, 200, bytes(len));
    }
    open_windows(&mut peer);
    let frames = frames_in_order(&peer);
    let turns = frames.iter().enumerate().filter(|(_, id)| **id == 1);
    let turns: Vec<usize> = turns.map(|(turn, _)| turn).collect();
    assert_eq!(turns, [1023, 2048, 3073]);
}

#[test]
fn an_owner_that_answers_at_once_keeps_its_turn() {
    // Bodies that the owner is asked for come in the same order as those that were given at once.
    let mut peer = waiting();
    peer.answer_writables(1 << 20);
    for (id, urgency) in [(1, "u=5"), (3, "u=1"), (5, "u=1")] {
        peer.send(wire::headers(id, &with(GET, &[("priority", urgency)])).end());
        respond_streaming(&mut peer, id);
    }
    open_windows(&mut peer);
    assert_eq!(order(&peer), [3, 5, 1]);
}

#[test]
fn incremental_responses_share() {
    // RFC 9218 §10: "Incremental responses of the same urgency SHOULD be served by sharing
    // bandwidth among them."
    let mut peer = waiting();
    for id in [1, 3] {
        peer.send(wire::headers(id, &with(GET, &[("priority", "i")])).end());
        peer.respond(id, 200, bytes(60_000));
    }
    open_windows(&mut peer);
    let order = order(&peer);
    assert!(order.len() >= 4, "{order:?}");
}

#[test]
fn nonsense_priorities_are_ignored() {
    // RFC 9218 §4: "unknown priority parameters, priority parameters with out-of-range values, or
    // values of unexpected types MUST be ignored."
    for value in ["u=9", "u=-1", "u=\"x\"", "i=5", "q=1", "u", "\u{1}!", ",,,"] {
        let mut peer = client();
        peer.send(wire::headers(1, &with(GET, &[("x", "y")])).end());
        peer.send(wire::priority_update(1, value));
        peer.expect_request(1);
        assert_eq!(priority(&mut peer, 1), Priority::default(), "{value}");
        peer.expect_alive();
    }
}

#[test]
fn a_priority_update_moves_a_waiting_response() {
    // RFC 9218 §6: a client may change the priority once a request is sent: §7 has the
    // PRIORITY_UPDATE frame for that.
    let mut peer = waiting();
    for id in [1, 3] {
        peer.send(wire::get(id));
        peer.respond(id, 200, bytes(20_000));
    }
    peer.send(wire::priority_update(3, "u=1"));
    open_windows(&mut peer);
    assert_eq!(order(&peer), [3, 1]);
}

#[test]
fn a_priority_update_may_come_before_its_request() {
    // RFC 9218 §7: "A client MAY send a PRIORITY_UPDATE frame before the stream that it references
    // is open"; "a server … SHOULD buffer the most recently received PRIORITY_UPDATE frame and
    // apply it once the referenced stream is opened."
    let mut peer = client();
    peer.send_all([
        wire::priority_update(3, "u=7"),
        wire::priority_update(3, "u=1, i"),
        wire::get(1),
        wire::headers(3, &with(GET, &[("priority", "u=5")])).end(),
    ]);
    assert_eq!(priority(&mut peer, 1), Priority::default());
    assert_eq!(priority(&mut peer, 3), Priority::parse(b"u=1, i"));
}

#[test]
fn no_more_streams_are_prioritized_than_can_be_open() {
    // RFC 9218 §7.1: "The number of streams that have been prioritized but remain in the "idle"
    // state plus the number of active streams … MUST NOT exceed the value of the
    // SETTINGS_MAX_CONCURRENT_STREAMS parameter. Servers that receive such a PRIORITY_UPDATE MUST
    // respond with a connection error of type PROTOCOL_ERROR."
    let limited = || client_of(|config| config.max_concurrent_streams = 3);
    let mut peer = limited();
    peer.send_all([
        wire::post(1),
        wire::priority_update(3, "u=1"),
        wire::priority_update(5, "u=1"),
    ]);
    peer.send_all([
        wire::priority_update(3, "u=2"),
        wire::priority_update(1, "u=2"),
    ]);
    peer.expect_request(1);
    peer.expect_alive();
    peer.send(wire::priority_update(7, "u=1"));
    peer.connection_error(Violation::PriorityUpdateOverLimit);
    // A stream is no longer idle once there was a request, even if that was refused.
    let mut peer = limited();
    for id in [1, 3] {
        peer.send(wire::post(id));
    }
    peer.send(wire::priority_update(9, "u=1"));
    peer.send_all([wire::post(5), wire::post(9)]);
    peer.stream_error(9, Violation::TooManyConcurrentStreams);
    peer.send_all([
        wire::rst_stream(1, ErrorCode::CANCEL),
        wire::priority_update(11, "u=1"),
    ]);
    peer.expect_alive();
    // Streams that only our owner hasn't released are not the client's fault.
    let mut peer = limited();
    peer.hold_resets();
    for id in [1, 3, 5] {
        peer.send_all([wire::get(id), wire::rst_stream(id, ErrorCode::CANCEL)]);
    }
    peer.send(wire::priority_update(7, "u=1"));
    peer.expect_alive();
}

#[test]
fn priority_updates_of_closed_streams_are_discarded() {
    // RFC 9218 §7.1: "Servers can discard frames where the prioritized stream ID refers to a stream
    // in the "half-closed (local)" or "closed" state".
    let mut peer = client();
    peer.send(wire::get(1));
    peer.respond(1, 200, "");
    peer.frames.clear();
    peer.send_all([
        wire::priority_update(1, "u=1"),
        wire::get(5),
        wire::priority_update(3, "u=1"),
    ]);
    peer.expect_alive();
}

#[test]
fn a_push_is_prioritized_once_it_is_promised() {
    // RFC 9218 §7.1: "Servers that receive a PRIORITY_UPDATE for a push stream in the "idle" state
    // MUST respond with a connection error of type PROTOCOL_ERROR."
    let mut peer = client();
    peer.send(wire::get(1));
    let head = tidegate_http2::RequestHead::new("GET", "https", "localhost", "/a");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.send(wire::priority_update(2, "u=6"));
    assert_eq!(priority(&mut peer, 2), Priority::parse(b"u=6"));
    peer.send(wire::priority_update(4, "u=6"));
    peer.connection_error(Violation::PriorityUpdateOfPushedIdle);
}

#[test]
fn malformed_priority_updates_end_the_connection() {
    // RFC 9218 §7.1: "The Stream Identifier field (see Section 5.1.1 of [HTTP/2]) in the
    // PRIORITY_UPDATE frame header MUST be zero (0x0)." And "with a prioritized stream ID of 0x0,
    // the recipient MUST respond with a connection error of type PROTOCOL_ERROR."
    for (frame, violation) in [
        (
            wire::frame(0x10, 0, 1, *b"\0\0\0\x01u=1"),
            Violation::PriorityUpdateOnStream,
        ),
        (
            wire::priority_update(0, "u=1"),
            Violation::PriorityUpdateOfStreamZero,
        ),
        (
            wire::frame(0x10, 0, 0, [0; 3]),
            Violation::PriorityUpdateTooShort,
        ),
    ] {
        let mut peer = client();
        peer.send(frame);
        peer.connection_error(violation);
    }
}

#[test]
fn a_server_sends_no_priority_update() {
    // RFC 9218 §7.1: "Servers MUST NOT send PRIORITY_UPDATE frames. If a client receives a
    // PRIORITY_UPDATE frame, it MUST respond with a connection error of type PROTOCOL_ERROR."
    let mut peer = server();
    peer.open_get();
    peer.send(wire::priority_update(1, "u=1"));
    peer.connection_error(Violation::PriorityUpdateFromServer);
}

#[test]
fn no_rfc7540_priorities_is_said_once() {
    // RFC 9218 §2.1: "Senders MUST NOT change the SETTINGS_NO_RFC7540_PRIORITIES value after the
    // first SETTINGS frame. Receivers that detect a change MAY treat it as a connection error of
    // type PROTOCOL_ERROR."
    let mut peer = Peer::client_with(Config::server(), &[(0x9, 1)]);
    peer.send(wire::settings(&[(0x9, 1)]));
    assert_eq!(peer.expect_settings(), None);
    peer.send(wire::settings(&[(0x9, 0)]));
    peer.connection_error(Violation::NoRfc7540PrioritiesInvalid);
    let mut peer = client();
    peer.send(wire::settings(&[(0x9, 1)]));
    peer.connection_error(Violation::NoRfc7540PrioritiesInvalid);
}

#[test]
fn the_first_settings_say_that_rfc7540_priorities_are_ignored() {
    // RFC 9218 §2.1: "Servers can send SETTINGS_NO_RFC7540_PRIORITIES with a value of 1 to indicate
    // that they will ignore HTTP/2 priority signals sent by clients." A client's says that it sends
    // none.
    let said = |mut peer: Peer| {
        peer.send(wire::settings(&[]));
        let first = peer.frames.pop_front();
        let Some(Received::Other(Frame::Settings(settings))) = first else {
            panic!("{first:?} is not SETTINGS");
        };
        let mut entries = settings.entries();
        entries.find_map(|(id, value)| (id == SettingId::NO_RFC7540_PRIORITIES).then_some(value))
    };
    for (priorities, expected) in [(Priorities::Rfc9218, Some(1)), (Priorities::Auto, None)] {
        let mut config = Config::server();
        config.priorities = priorities;
        let mut peer = Peer::client_unborn(config);
        peer.send_bytes(wire::PREFACE);
        assert_eq!(said(peer), expected);
        let mut config = Config::client();
        config.priorities = priorities;
        assert_eq!(said(Peer::server_unborn(config)), expected);
    }
}

#[test]
fn a_response_is_merged_over_what_the_client_said() {
    // RFC 9218 §8: "The absence of a priority parameter in an HTTP response indicates the server's
    // disinterest in changing the client-provided value."
    let mut peer = waiting();
    let answer = |value: &str| ResponseHead::new(200).field("priority", value);
    for (id, urgency, value) in [
        (1, "u=2", "i"),
        (3, "u=5, i", "u=1"),
        (5, "u=0", "u=6, i=?0"),
    ] {
        peer.send(wire::headers(id, &with(GET, &[("priority", urgency)])).end());
        let body = Body::Full(vec![b'x'; 20_000].into());
        peer.stream(id, |stream| stream.respond(&answer(value), body))
            .expect("it may");
    }
    assert_eq!(priority(&mut peer, 1), Priority::parse(b"u=2, i"));
    assert_eq!(priority(&mut peer, 3), Priority::parse(b"u=1, i"));
    assert_eq!(priority(&mut peer, 5), Priority::parse(b"u=6"));
    open_windows(&mut peer);
    assert_eq!(order(&peer), [3, 1, 5]);
}

#[test]
fn a_suggested_priority_yields_to_what_the_client_or_the_owner_said() {
    let suggested = Priority::parse(b"u=6, i");
    let mut peer = waiting();
    peer.send_all([
        wire::get(1),
        wire::headers(3, &with(GET, &[("priority", "i=?0")])).end(),
        wire::get(5),
        wire::priority_update(5, ""),
        wire::priority_update(7, ""),
        wire::get(7),
        wire::get(9),
    ]);
    peer.stream(9, |stream| stream.prioritize(Priority::default()));
    for id in [1, 3, 5, 7, 9] {
        peer.stream(id, |stream| stream.suggest_priority(suggested));
    }
    assert_eq!(priority(&mut peer, 1), suggested);
    for id in [3, 5, 7, 9] {
        assert_eq!(priority(&mut peer, id), Priority::default(), "{id}");
    }
    // The newer suggestion counts, then the response, then the client.
    peer.stream(1, |stream| {
        stream.suggest_priority(Priority::parse(b"u=5, i"));
    });
    let head = ResponseHead::new(200).field("priority", "u=2");
    peer.stream(1, |stream| stream.respond(&head, Body::Stream))
        .expect("it may");
    assert_eq!(priority(&mut peer, 1), Priority::parse(b"u=2, i"));
    peer.send(wire::priority_update(1, "u=4"));
    assert_eq!(priority(&mut peer, 1), Priority::parse(b"u=4"));
}

#[test]
fn a_push_has_the_priority_of_its_promised_request() {
    let mut peer = client();
    peer.send(wire::get(1));
    let head = RequestHead::new("GET", "https", "localhost", "/a").field("priority", "u=1, i");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    assert_eq!(priority(&mut peer, 2), Priority::parse(b"u=1, i"));
}
