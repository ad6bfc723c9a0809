//! RFC 9113 §10.5: Denial-of-Service Considerations: floods and bombs, slow peers, backpressure,
//! and the honest traffic that must not be taken for an attack.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http2::{
    ErrorCode, Event, Rate, RequestHead, ResetCause, ResponseHead, Stream, StreamId, Timeouts,
    Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, POST, flag, with};

use crate::support::{bytes, client, client_of, resets, respond_streaming, secs, server};

/// Sends the frames of `frames` for 1, 2 and so on, with pauses where it makes them, until the
/// engine closes. Returns after how many that was.
fn flood(peer: &mut Peer, frames: impl Fn(u32) -> Vec<wire::Raw>) -> u32 {
    for count in 1..20_000 {
        peer.send_all(frames(count));
        if peer.is_closed() {
            return count;
        }
        peer.wait_out_pause();
    }
    panic!("the engine takes everything");
}

/// The identifier of the `count`-th stream of a client.
fn nth(count: u32) -> u32 {
    2 * count - 1
}

// --- Rapid Reset, MadeYouReset ---

#[test]
fn rapid_reset_cve_2023_44487() {
    // RFC 9113 §10.5: "An endpoint that doesn't monitor use of these features exposes itself to a
    // risk of denial of service."
    let mut peer = client();
    let count = flood(&mut peer, |count| {
        vec![
            wire::get(nth(count)),
            wire::rst_stream(nth(count), ErrorCode::CANCEL),
        ]
    });
    assert_eq!(count, 501);
    peer.connection_error(Violation::RapidReset);
    // An owner that releases nothing: the attacker is refused, and the connection ends alike.
    let mut peer = client();
    peer.hold_resets();
    flood(&mut peer, |count| {
        vec![
            wire::get(nth(count)),
            wire::rst_stream(nth(count), ErrorCode::CANCEL),
        ]
    });
    peer.connection_error(Violation::RapidReset);
}

#[test]
fn rapid_reset_of_answered_requests() {
    // RFC 9113 §10.5, as above: an attack with cheap answers is still an attack.
    let mut peer = Peer::client_with(tidegate_http2::Config::server(), &[(0x4, 0)]);
    for count in 1..1000 {
        peer.send(wire::get(nth(count)));
        if !peer.is_closed() {
            peer.respond(nth(count), 200, "x");
            peer.send(wire::rst_stream(nth(count), ErrorCode::CANCEL));
        }
    }
    peer.connection_error(Violation::RapidReset);
}

#[test]
fn who_refuses_every_push_is_no_attacker() {
    // RFC 9113 §8.4.2: "If the client determines, for any reason, that it does not wish to receive
    // the pushed response from the server or if the server takes too long to begin sending the
    // promised response, the client can send a RST_STREAM frame, using either the CANCEL or
    // REFUSED_STREAM code".
    let mut peer = client();
    let style = RequestHead::new("GET", "https", "localhost", "/style.css");
    for page in 1..=100 {
        peer.send(wire::get(nth(page)));
        let pushes: Vec<u32> = (0..10)
            .map(|_| peer.stream(nth(page), |stream| stream.push(&style).expect("it may")))
            .map(StreamId::get)
            .collect();
        // Some responses are out when the refusal comes, others aren't.
        for push in pushes.iter().step_by(2) {
            peer.respond(*push, 200, "x");
        }
        peer.respond(nth(page), 200, "x");
        let code = [ErrorCode::CANCEL, ErrorCode::REFUSED_STREAM][page as usize % 2];
        peer.send_all(pushes.into_iter().map(|push| wire::rst_stream(push, code)));
        peer.frames.clear();
        assert!(!peer.is_closed(), "after {page} pages");
    }
    // Later frames on such a stream are treated as on any closed stream.
    flood(&mut peer, |_| vec![wire::rst_stream(2, ErrorCode::CANCEL)]);
    peer.connection_error(Violation::ClosedStreamFlood);
}

#[test]
fn made_you_reset_cve_2025_8671() {
    // RFC 9113 §10.5, as above: frames that make us send RST_STREAM count as if the peer had sent
    // it. The six ways to do so:
    type Primitive = fn(u32) -> Vec<wire::Raw>;
    let primitives: [(&str, Primitive); 6] = [
        ("WINDOW_UPDATE of 0", |id| {
            vec![wire::get(id), wire::window_update(id, 0)]
        }),
        ("WINDOW_UPDATE over 2^31-1", |id| {
            vec![wire::get(id), wire::window_update(id, 0x7fff_ffff)]
        }),
        ("PRIORITY of the wrong length", |id| {
            vec![wire::get(id), wire::frame(0x2, 0, id, [0; 4])]
        }),
        ("PRIORITY on itself", |id| {
            vec![wire::get(id), wire::priority(id, id, false, 0)]
        }),
        ("HEADERS after END_STREAM", |id| {
            vec![wire::get(id), wire::get(id)]
        }),
        ("DATA after END_STREAM", |id| {
            vec![wire::get(id), wire::data(id, "x")]
        }),
    ];
    for (what, frames) in primitives {
        for hold in [false, true] {
            let mut peer = client();
            if hold {
                peer.hold_resets();
            }
            println!("{what}");
            let count = flood(&mut peer, |count| frames(nth(count)));
            assert!(count <= if hold { 401 } else { 101 }, "{what}: {count}");
            let requests = peer
                .events
                .iter()
                .filter(|event| matches!(event, Event::Request { .. }));
            assert!(requests.count() <= 101);
            // While the owner releases nothing, the 101st stream is over the limit: the refusal
            // ends it.
            peer.connection_error(if hold {
                Violation::RapidReset
            } else {
                Violation::MadeYouReset
            });
        }
    }
}

#[test]
fn mistakes_now_and_then_are_no_attack() {
    // RFC 9113 §10.5, as above: no counter runs over a connection's whole life.
    let mut peer = client();
    for count in 1..=1000 {
        peer.wait(secs(1));
        peer.send_all([wire::get(nth(count)), wire::window_update(nth(count), 0)]);
        peer.frames.clear();
    }
    peer.expect_alive();
}

#[test]
fn malformed_requests_spend_the_same_budget() {
    // RFC 9113 §8.1.1 makes each a stream error; CVE-2019-9514 (Reset Flood) is a flood of them.
    let mut peer = client();
    flood(&mut peer, |count| {
        vec![wire::headers(nth(count), &[]).end()]
    });
    peer.connection_error(Violation::MadeYouReset);
    let mut peer = client_of(|config| config.max_header_list_size = 300);
    let large = "x".repeat(300);
    flood(&mut peer, |count| {
        vec![wire::headers(nth(count), &with(GET, &[("x", &large)])).end()]
    });
    peer.connection_error(Violation::MadeYouReset);
}

#[test]
fn frames_on_streams_that_are_over() {
    // RFC 9113 §5.1: "An endpoint MUST minimally process and then discard any frames it receives in
    // this state", which makes a flood of them cheap to send. Whether the owner has released the
    // stream makes no difference.
    type Flood = fn() -> wire::Raw;
    let floods: [Flood; 4] = [
        || wire::data(1, "x"),
        || wire::headers(1, &[("a", "b")]).end(),
        || wire::rst_stream(1, ErrorCode::CANCEL),
        || wire::frame(0x2, 0, 1, [0; 4]),
    ];
    for frame in floods {
        for hold in [false, true] {
            let mut peer = client();
            if hold {
                peer.hold_resets();
            }
            peer.send_all([wire::post(1), wire::window_update(1, 0)]);
            peer.stream_error(1, Violation::WindowUpdateOfZeroOnStream);
            let count = flood(&mut peer, |_| vec![frame()]);
            assert!((1000..=13_000).contains(&count), "{count}");
            assert_eq!(resets(&peer), 0, "nothing is sent on it");
            peer.connection_error(Violation::ClosedStreamFlood);
        }
    }
}

#[test]
fn a_flood_of_refused_streams_ends() {
    // RFC 9113 §5.1.2: REFUSED_STREAM says "try again"; a peer that only tries again is not
    // welcome.
    let mut peer = client_of(|config| config.max_concurrent_streams = 1);
    peer.send(wire::post(1));
    flood(&mut peer, |count| vec![wire::get(nth(count + 1))]);
    peer.connection_error(Violation::RapidReset);
}

#[test]
fn a_server_can_not_make_a_client_refuse_pushes_for_ever() {
    // RFC 9113 §10.5, for the client: promises that can't be accepted are answered by RST_STREAM
    // too.
    let mut peer = crate::support::pushing_server();
    peer.open_get();
    for count in 1.. {
        assert!(count < 5000, "the engine refuses everything");
        peer.send(wire::push_promise(1, 2 * count, POST));
        if peer.engine.is_ending() {
            break;
        }
    }
    peer.wait_out_pause();
    peer.send(wire::headers(1, &[(":status", "204")]).end());
    peer.expect_drained(Violation::MadeYouReset);
}

// --- Header blocks ---

#[test]
fn continuation_flood_cve_2024_27316() {
    // RFC 9113 §10.5.1 and CVE-2024-27316: a large field block costs memory; one without an end
    // costs all of it.
    for fragment in [0, 1, 1024, 16_384] {
        for mut peer in [client(), server()] {
            if peer.engine.role() == tidegate_http2::Role::Client {
                peer.open_get();
            }
            peer.send(wire::get(1).unfinished());
            let count = flood(&mut peer, |_| {
                vec![wire::continuation(1, vec![0x82; fragment]).unfinished()]
            });
            assert!(count <= 33, "{count} of {fragment} bytes");
            peer.connection_error(Violation::ContinuationFlood);
        }
    }
}

#[test]
fn small_continuations_over_many_blocks_cve_2026_33871() {
    // RFC 9113 §10.5, as above: a few in each block are a flood too.
    let mut peer = client();
    let block = wire::block(GET);
    flood(&mut peer, |count| {
        let id = nth(count);
        let empty = || wire::continuation(id, []).unfinished();
        vec![
            wire::headers_block(id, &block[..4]).end().unfinished(),
            empty(),
            empty(),
            empty(),
            wire::continuation(id, &block[4..]),
        ]
    });
    peer.connection_error(Violation::ContinuationFlood);
}

#[test]
fn hpack_bomb_cve_2016_6581() {
    // RFC 9113 §10.5.1: "a field block … large": 4,000 bytes in the table, and a block of one byte
    // for each time.
    let mut peer = client();
    let mut block = [&b"\x82\x84\x87\x40\x01x\x7f\xa1\x1e"[..], &[b'a'; 4000]].concat();
    assert_eq!(127 + 0x21 + 0x1e * 128, 4000);
    block.extend(vec![0xbe; 1000]);
    peer.send(wire::headers_block(1, block).end());
    peer.connection_error(Violation::HeaderBomb);
}

#[test]
fn field_count_bomb_cve_2026_49975() {
    // RFC 9113 §10.5.1, as above: many nearly empty fields. Cookie crumbs don't get around the
    // limit.
    for byte in [0x90, 0xa0] {
        let mut peer = client();
        // 0x90: accept-encoding; 0xa0: cookie, empty.
        let block = [&b"\x82\x84\x87"[..], &vec![byte; 1001]].concat();
        peer.send(wire::headers_block(1, block).end());
        peer.connection_error(Violation::HeaderBomb);
    }
}

#[test]
fn a_large_head_of_a_response_costs_its_stream_only() {
    // The requests of many clients share a connection to a server, and one client chooses the page.
    let many = with(&[(":status", "200")], &[("x", "y"); 1500]);
    let value = "x".repeat(16_000);
    let large = with(&[(":status", "200")], &[("x", value.as_str()); 12]);
    for (fields, violation) in [
        (many, Violation::TooManyHeaderFields),
        (large, Violation::HeaderListTooLarge),
    ] {
        let mut peer = server();
        let (first, second) = (peer.open_get(), peer.open_get());
        let block = wire::block(&fields);
        let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
        for (index, piece) in pieces.iter().enumerate() {
            let frame = match index {
                0 => wire::headers_block(first, *piece).end(),
                _ => wire::continuation(first, *piece),
            };
            if index + 1 == pieces.len() {
                peer.send(frame);
            } else {
                peer.send(frame.unfinished());
            }
        }
        peer.expect_reset(first, ResetCause::Violation(violation));
        peer.send(wire::headers(second, &[(":status", "204")]).end());
        assert!(matches!(peer.next_event(), Some(Event::Response { .. })));
    }
}

#[test]
fn a_single_list_over_the_limit_costs_its_stream_only() {
    // RFC 9113 §10.5.1: 431, and the connection goes on.
    let mut peer = client();
    let fields = with(GET, &[("x", "y"); 150]);
    peer.send(wire::headers(1, &fields).end());
    peer.expect_reset(1, ResetCause::Violation(Violation::TooManyHeaderFields));
    assert_eq!(peer.expect_head(1).status(), 431);
    peer.send(wire::get(3));
    peer.expect_request(3);
}

// --- Floods of other frames ---

#[test]
fn floods_of_frames_that_cost_nothing_to_send() {
    // RFC 9113 §10.5 names SETTINGS, small and empty frames and priorities as means of abuse: PING,
    // WINDOW_UPDATE and frames that must be ignored are no better.
    type Flood = fn(u32) -> wire::Raw;
    let limits = tidegate_http2::AbuseLimits::default();
    let floods: [(Violation, Flood, Rate); 10] = [
        (
            Violation::PingFlood,
            |_| wire::ping(b"ping me!"),
            limits.pings,
        ),
        (
            Violation::SettingsFlood,
            |_| wire::settings(&[]),
            limits.settings,
        ),
        (
            Violation::SettingsFlood,
            |count| wire::settings(&[(0x4, count)]),
            limits.settings,
        ),
        (
            Violation::PriorityFlood,
            |count| wire::priority(nth(count), 0, false, 1),
            limits.priorities,
        ),
        (
            Violation::PriorityFlood,
            |_| wire::priority_update(1, "u=1"),
            limits.priorities,
        ),
        (
            Violation::WindowUpdateFlood,
            |_| wire::window_update(0, 1),
            limits.window_updates,
        ),
        (
            Violation::WindowUpdateFlood,
            |_| wire::window_update(1, 1),
            limits.window_updates,
        ),
        (
            Violation::EmptyFrameFlood,
            |_| wire::data(1, "").padded(10),
            limits.empty_data,
        ),
        (
            Violation::UnknownFrameFlood,
            |_| wire::frame(0xfe, 0, 1, []),
            limits.unknown_frames,
        ),
        (
            Violation::GoAwayFlood,
            |_| wire::goaway(0, ErrorCode::NO_ERROR),
            limits.goaways,
        ),
    ];
    for (violation, frame, rate) in floods {
        let mut peer = client();
        peer.send(wire::post(1));
        let began = peer.now;
        println!("{violation}");
        let count = flood(&mut peer, |count| vec![frame(count)]);
        // The burst, the frames that the one stream justifies, and after each of a hundred pauses
        // those that were refilled meanwhile.
        let most = rate.burst + 4 + 112 * (rate.per_second.div_ceil(10) + 1);
        assert!((rate.burst..=most).contains(&count), "{violation}: {count}");
        let lasted = (peer.now - began).as_secs();
        assert!((10..=12).contains(&lasted), "{violation}: {lasted} s");
        peer.connection_error(violation);
    }
}

#[test]
fn a_pause_holds_the_peer_up_and_nothing_else() {
    // RFC 9113 §10.5: harmless frames in excess have to wait. The rest of the connection goes on
    // meanwhile.
    let mut peer = client_of(|config| config.abuse.pings = Rate::new(10, 10));
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    peer.events.clear();
    peer.send_all((0..11).map(|_| wire::ping(b"too many")));
    assert!(!peer.engine.can_receive());
    let until = peer.engine.next_timeout().expect("a pause has an end");
    assert_eq!(until - peer.now, Duration::from_millis(100));
    // The frame that exceeded the budget is answered; the next one waits.
    peer.send(wire::ping(b"patience"));
    peer.expect_head(1);
    for _ in 0..11 {
        assert_eq!(peer.expect_ping(), (*b"too many", true));
    }
    peer.stream(1, |stream| {
        stream.write(&mut Bytes::from_static(b"meanwhile"), true)
    });
    assert_eq!(peer.expect_data(1), (Bytes::from("meanwhile"), true));
    peer.expect_silence();
    peer.wait(Duration::from_millis(99));
    peer.expect_silence();
    peer.wait(Duration::from_millis(1));
    assert_eq!(peer.expect_ping(), (*b"patience", true));
    // That frame was within the budget again.
    assert!(peer.engine.can_receive());
}

#[test]
fn bytes_that_wait_during_a_pause_are_not_late() {
    // RFC 9113 §6.5.3: the acknowledgement of our SETTINGS is due in 10 s, of which the engine
    // reads nothing for 5.
    let mut peer = Peer::client_unborn(tidegate_http2::Config::server());
    peer.send_bytes(wire::PREFACE);
    peer.send(wire::settings(&[]));
    peer.wait(Duration::from_millis(9500));
    // 1,000 at once, then 100 in each pause.
    peer.send_all((0..6000).map(|_| wire::window_update(0, 1)));
    peer.send(wire::settings_ack());
    let began = peer.now;
    peer.wait(secs(6));
    assert!(peer.engine.can_receive());
    assert!((peer.now - began) < secs(7) && !peer.is_closed());
    peer.wait(secs(10));
    assert!(!peer.is_closed(), "the acknowledgement was read");
}

#[test]
fn a_settings_frame_of_too_many_entries() {
    // RFC 9113 §10.5: the SETTINGS frame costs its receiver time, by changes without a purpose,
    // undefined settings, or the same setting many times in one frame.
    let mut peer = client();
    for _ in 0..24 {
        peer.send(wire::settings(&[(0x4, 7); 33]));
        assert_eq!(peer.expect_settings(), None);
        assert!(peer.engine.can_receive(), "each is as much as two");
    }
    peer.send(wire::settings(&[(0x4, 7); 330]));
    assert_eq!(peer.expect_settings(), None);
    assert!(!peer.engine.can_receive());
}

#[test]
fn a_client_is_guarded_too() {
    // RFC 9113 §10.5 speaks of endpoints: a server can flood its client. The connection carries
    // requests of many clients: open ones finish, and no more are opened.
    type Flood = fn(u32) -> wire::Raw;
    let floods: [(Violation, Flood); 6] = [
        (Violation::PingFlood, |_| wire::ping(b"ping me!")),
        (Violation::SettingsFlood, |_| wire::settings(&[])),
        (Violation::WindowUpdateFlood, |_| wire::window_update(0, 1)),
        (Violation::PriorityFlood, |_| wire::priority(1, 0, false, 1)),
        (Violation::UnknownFrameFlood, |_| {
            wire::frame(0xfe, 0xff, 0, [])
        }),
        (Violation::ClosedStreamFlood, |_| {
            wire::rst_stream(1, ErrorCode::NO_ERROR)
        }),
    ];
    for (violation, frame) in floods {
        let mut peer = crate::support::server_of(|config| {
            config.abuse = tidegate_http2::AbuseLimits::default();
        });
        peer.open_get();
        peer.send(wire::headers(1, &[(":status", "204")]).end());
        peer.open_get();
        peer.send(wire::headers(3, &[(":status", "200")]));
        println!("{violation}");
        for count in 1.. {
            assert!(count < 50_000, "the engine takes everything");
            peer.send(frame(count));
            peer.wait_out_pause();
            if peer.engine.is_ending() {
                break;
            }
        }
        assert!(!peer.engine.can_open());
        peer.events.clear();
        peer.wait_out_pause();
        peer.send(wire::data(3, "the rest").end());
        assert_eq!(peer.expect_body(3), (Bytes::from("the rest"), true));
        peer.expect_drained(violation);
    }
}

#[test]
fn an_upstream_may_reset_what_it_has_answered() {
    // RFC 9113 §8.1: a server that has answered in full "MAY request that the client abort
    // transmission of a request without error by sending a RST_STREAM with an error code of
    // NO_ERROR". That is no offence, however often.
    let mut peer = server();
    let head = RequestHead::new("POST", "https", "localhost", "/");
    for count in 1..=20_000 {
        let id = peer.open(&head, tidegate_http2::Body::Stream);
        assert_eq!(id, nth(count));
        peer.send_all([
            wire::headers(id, &[(":status", "200")]).end(),
            wire::rst_stream(id, ErrorCode::NO_ERROR),
        ]);
        assert!(
            peer.engine.can_receive() && !peer.engine.is_ending(),
            "{count}"
        );
        peer.events.clear();
        peer.frames.clear();
    }
}

// --- Honest traffic ---

#[test]
fn a_browser_that_cancels_100_streams_at_once() {
    // RFC 9113 §10.5 asks for the use of these features to be monitored, not forbidden: leaving a
    // page is no attack.
    let mut peer = client();
    peer.send_all((1..=100).map(|count| wire::get(nth(count))));
    peer.events.clear();
    peer.send_all((1..=100).map(|count| wire::rst_stream(nth(count), ErrorCode::CANCEL)));
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_alive();
    // Other users leave pages half loaded, again and again.
    let mut peer = client();
    for page in 0..20 {
        let ids = (page * 100 + 1)..=(page * 100 + 100);
        peer.send_all(ids.clone().map(|count| wire::get(nth(count))));
        for count in ids.clone().take(60) {
            peer.respond(nth(count), 200, "x");
        }
        peer.send_all(
            ids.skip(60)
                .map(|count| wire::rst_stream(nth(count), ErrorCode::CANCEL)),
        );
        peer.frames.clear();
        peer.expect_alive();
        peer.wait(secs(4));
    }
}

#[test]
fn a_browser_that_cancels_as_many_streams_as_the_server_allows() {
    // RFC 9113 §5.1.2: the limit that we announce may be used up, and cancelled.
    for answered in [true, false] {
        let mut peer = client_of(|config| config.max_concurrent_streams = 1000);
        peer.send_all((1..=1000).map(|count| wire::get(nth(count))));
        if answered {
            for count in 1..=1000 {
                respond_streaming(&mut peer, nth(count));
            }
        }
        peer.send_all((1..=1000).map(|count| wire::rst_stream(nth(count), ErrorCode::CANCEL)));
        peer.frames.clear();
        peer.expect_alive();
    }
}

#[test]
fn many_requests_on_one_connection() {
    // RFC 9113 §9.1: "HTTP/2 connections are persistent. … clients … use one": they are meant for
    // thousands of requests.
    let mut peer = client();
    for count in 1..=3000 {
        let id = nth(count);
        peer.send_all([
            wire::post(id),
            wire::data(id, "x"),
            wire::data(id, "").end(),
            wire::window_update(0, 100),
        ]);
        peer.respond(id, 200, "y");
        peer.send_all([wire::window_update(0, 1), wire::window_update(id, 1)]);
        peer.frames.clear();
        peer.events.clear();
    }
    peer.expect_alive();
}

#[test]
fn a_grpc_client_with_small_messages() {
    // RFC 9113 §6.9: gRPC sends WINDOW_UPDATE for each message and a PING for each round trip.
    let mut peer = client();
    peer.send(wire::post(1));
    respond_streaming(&mut peer, 1);
    for message in 0..3000 {
        peer.send(wire::data(1, "\0\0\0\0\x05hello"));
        peer.stream(1, |stream| {
            stream.consume(10);
            stream.write(&mut Bytes::from_static(b"\0\0\0\0\x05world"), false);
        });
        peer.send_all([wire::window_update(1, 10), wire::window_update(0, 10)]);
        if message % 10 == 0 {
            peer.send(wire::ping(b"bdp-ping"));
            peer.wait(Duration::from_millis(100));
        }
        peer.frames.clear();
        peer.events.clear();
    }
    peer.expect_alive();
}

#[test]
fn a_client_that_pings_every_10_seconds_for_a_day() {
    // RFC 9113 §6.7: "PING frames … determining whether an idle connection is still functional."
    let mut peer = client();
    peer.send(wire::get(1));
    peer.events.clear();
    for _ in 0..8640 {
        peer.wait(secs(10));
        peer.send(wire::ping(b"still on"));
        peer.frames.clear();
    }
    peer.expect_alive();
}

#[test]
fn a_cookie_of_90_crumbs() {
    // RFC 9113 §8.2.3: "the Cookie header field MAY be split into separate header fields, each with
    // one or more cookie-pairs".
    let mut peer = client();
    let fields = with(
        GET,
        &[("cookie", "name-of-a-cookie=0123456789abcdef0123456789"); 90],
    );
    for count in 1..200 {
        peer.send(wire::headers(nth(count), &fields).end());
        peer.expect_request(nth(count));
        peer.respond(nth(count), 200, "");
        peer.frames.clear();
    }
    peer.expect_alive();
}

#[test]
fn a_large_head_in_two_frames() {
    // RFC 9113 §4.3: 20 KB of fields are many, and allowed.
    let mut peer = client();
    let token = "t".repeat(20_000);
    let block = wire::block(&with(GET, &[("authorization", &token[..])]));
    for count in 1..100 {
        let id = nth(count);
        peer.send_all([
            wire::frame(0x1, flag::END_STREAM, id, &block[..16_384]),
            wire::continuation(id, &block[16_384..]),
        ]);
        peer.expect_request(id);
        peer.respond(id, 200, "");
    }
    peer.frames.clear();
    peer.expect_alive();
}

// --- Limits of none ---

#[test]
fn limits_of_zero_are_none() {
    // Our own rule: a limit of zero is off, and so is one that no clock reaches.
    for none in [Duration::ZERO, Duration::MAX] {
        let mut peer = client_of(|config| {
            for limit in all_limits(&mut config.timeouts) {
                *limit = none;
            }
        });
        // After a second without streams memory is freed; no other timer runs.
        peer.wait(secs(2));
        assert_eq!(peer.engine.next_timeout(), None);
        peer.send_all([wire::settings(&[(0x4, 0)]), wire::post(1)]);
        peer.respond(1, 200, "x");
        peer.send(wire::get(3).unfinished());
        assert_eq!(peer.engine.next_timeout(), None);
        peer.wait(secs(100_000));
        assert!(!peer.is_closed());
    }
}

fn all_limits(timeouts: &mut Timeouts) -> [&mut Duration; 11] {
    [
        &mut timeouts.handshake,
        &mut timeouts.settings_ack,
        &mut timeouts.header_block,
        &mut timeouts.body,
        &mut timeouts.discard,
        &mut timeouts.write,
        &mut timeouts.idle,
        &mut timeouts.probe,
        &mut timeouts.keep_alive,
        &mut timeouts.probe_answer,
        &mut timeouts.shutdown,
    ]
}

#[test]
fn a_client_without_limits_runs_as_well() {
    let mut peer = crate::support::server_of(|config| {
        for limit in all_limits(&mut config.timeouts) {
            *limit = Duration::MAX;
        }
    });
    peer.open_get();
    peer.send(wire::headers(1, &[(":status", "200")]));
    peer.engine.observe_rtt(Duration::MAX);
    peer.send(wire::data(1, bytes(20_000)));
    assert!(!peer.engine.wants_rtt());
    peer.engine.shut_down(peer.now);
    peer.pump();
    peer.wait(secs(100_000));
    peer.send(wire::data(1, "").end());
    assert!(peer.is_closed());
}

// --- Backpressure ---

#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    // RFC 9113 §10.5: answers to the peer's frames must not pile up: above the high-water mark no
    // more input is taken.
    let mut peer = client_of(|config| {
        config.outbound_high_water = 1000;
        config.abuse.pings.burst = 1_000_000;
    });
    peer.stop_reading();
    let mut sent = 0;
    while peer.engine.can_receive() {
        peer.send(wire::ping(b"acknowl."));
        sent += 1;
        assert!(sent < 100_000, "the answers pile up");
    }
    // Later requests are not even read ...
    peer.send(wire::get(1));
    peer.expect_no_event();
    let before = peer.engine.stats().frames_in;
    peer.send_all((0..100).map(|_| wire::ping(b"acknowl.")));
    assert_eq!(peer.engine.stats().frames_in, before);
    // ... until there is room, and then nothing is lost.
    peer.read_again();
    peer.expect_request(1);
    for _ in 0..sent + 100 {
        assert_eq!(peer.expect_ping(), (*b"acknowl.", true));
    }
    peer.expect_alive();
}

#[test]
fn heads_count_as_what_waits() {
    // RFC 9113 §10.5, as above: requests whose answers are not read cause backpressure too.
    let mut peer = client_of(|config| {
        config.outbound_high_water = 1000;
        config.max_concurrent_streams = 10_000;
    });
    peer.stop_reading();
    let long = "x".repeat(500);
    let mut count = 0;
    while peer.engine.can_receive() {
        count += 1;
        peer.send(wire::get(nth(count)));
        let head = ResponseHead::new(200).field("x", &long);
        peer.stream(nth(count), |stream| {
            stream.respond(&head, tidegate_http2::Body::Empty)
        })
        .expect("the engine takes it");
        assert!(count < 10_000, "the heads pile up");
    }
    peer.events.clear();
    peer.send(wire::get(nth(count + 1)));
    peer.expect_no_event();
    peer.read_again();
    peer.expect_request(nth(count + 1));
}

#[test]
fn a_body_is_fetched_only_when_it_can_be_sent() {
    // RFC 9113 §5.2.2: flow control protects endpoints that "are operating under resource
    // constraints": a peer with a window of 0 can't make us hold a byte of a body.
    let mut peer = Peer::client_with(tidegate_http2::Config::server(), &[(0x4, 0)]);
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    peer.expect_no_event();
    let mut body = bytes(1000);
    assert_eq!(peer.stream(1, |stream| stream.write(&mut body, true)), 0);
    assert_eq!(body.len(), 1000, "nothing is taken");
    peer.expect_no_event();
    peer.send(wire::window_update(1, 100));
    match peer.next_event() {
        Some(Event::Writable { id, want }) => assert_eq!((id.get(), want), (1, 100)),
        other => panic!("expected Writable, got {other:?}"),
    }
    peer.expect_no_event();
    assert_eq!(peer.stream(1, |stream| stream.write(&mut body, true)), 100);
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (bytes(100), false));
    // With window again, the owner is asked again.
    peer.expect_no_event();
    peer.send(wire::window_update(1, 1000));
    assert!(matches!(
        peer.next_event(),
        Some(Event::Writable { want: 1000, .. })
    ));
    peer.stream(1, |stream| stream.write(&mut body, true));
    assert_eq!(peer.expect_data(1), (bytes(900), true));
}

#[test]
fn an_owner_is_asked_once() {
    // RFC 9113 doesn't specify this: an owner that was asked and has nothing yet is not asked again
    // until it writes.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    peer.send_all([
        wire::window_update(1, 1),
        wire::window_update(0, 1),
        wire::ping(b"anything"),
    ]);
    peer.expect_no_event();
    peer.stream(1, |stream| {
        stream.write(&mut Bytes::from_static(b"some"), false)
    });
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    peer.expect_no_event();
}

#[test]
fn a_full_outbox_asks_nobody() {
    // RFC 9113 doesn't specify this: the owner isn't asked for bytes that the transport doesn't
    // take.
    let mut peer = Peer::client_with(tidegate_http2::Config::server(), &[(0x4, 0x7fff_ffff)]);
    peer.send_all([wire::window_update(0, 0x7fff_0000), wire::get(1)]);
    peer.expect_request(1);
    peer.stop_reading();
    respond_streaming(&mut peer, 1);
    let mut given = 0;
    while let Some(Event::Writable { want, .. }) = peer.next_event() {
        given += peer.stream(1, |stream| stream.write(&mut bytes(want), false));
        assert!(given <= 1 << 20, "the outbox takes everything");
    }
    assert!(given > 0);
    peer.read_again();
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    assert_eq!(peer.take_body(1).0.len(), given);
}

#[test]
fn resets_are_not_more_than_what_provoked_them() {
    // RFC 9113 §10.5: one wrong frame, one RST_STREAM: no amplification.
    let mut peer = client();
    peer.send_all([
        wire::get(1),
        wire::data(1, "x"),
        wire::data(1, "y"),
        wire::data(1, "z"),
    ]);
    assert_eq!(resets(&peer), 1);
    assert_eq!(
        peer.events
            .iter()
            .filter(|event| matches!(event, Event::Reset { .. }))
            .count(),
        1
    );
}
