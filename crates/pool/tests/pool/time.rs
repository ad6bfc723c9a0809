//! Timeouts of requests and conversations, and silent connections.

use std::time::Duration;

use tidegate_http::{Body, ErrorCode, RequestHead, ResponseHead};
use tidegate_pool::{Failure, Security};
use tidegate_testkit::wire;

use crate::lab::{Lab, ask, frames, get, pattern};

const LIMIT: u64 = 8000;
/// The timeout of requests. A request ends later by an eighth at most.
const LATE: u64 = LIMIT / 8;

fn lab() -> Lab {
    Lab::new(|options, config| {
        options.request_timeout = Duration::from_millis(LIMIT);
        options.conversation_timeout = Duration::from_millis(5 * LIMIT);
        options.connect_timeout = Duration::ZERO;
        config.timeouts.probe = Duration::ZERO;
    })
}

#[test]
fn a_response_that_does_not_come_is_not_waited_for() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        lab.wait_ms(LIMIT - 1);
        assert!(!lab.is_over(key));
        lab.wait_ms(LATE + 1);
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
        assert_eq!(Failure::TimedOut.status(), 504);
        // HTTP/2 goes on without the stream. Over HTTP/1.1 the next bytes could belong to the old
        // response.
        match security {
            Security::Http1 => assert!(lab.servers[server].is_closed()),
            _ => {
                let reset = lab.servers[server].requests[0].reset;
                assert_eq!(reset, Some(ErrorCode::CANCEL));
                assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
            }
        }
    }
}

#[test]
fn a_request_that_waits_for_a_connection_or_a_place_is_not_kept_waiting() {
    let mut lab = lab();
    let upstream = lab.h2c();
    let dialling = lab.ask(get(upstream));
    lab.wait_ms(LIMIT + LATE);
    let failure = lab.failure(dialling).unwrap();
    assert!(matches!(failure, Failure::ConnectTimedOut(_)), "{failure}");
    // The connection is established after all, and the next request uses it.
    let next = lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
    lab.cancel(next);
    let server = lab.accept_http2(|config| config.max_concurrent_streams = 1);
    assert_eq!((lab.servers[server].open(), lab.stats().idle), (0, 1));
    let upstream = lab.http1();
    let served = lab.ask(get(upstream));
    let server = lab.accept_h1();
    let id = lab.servers[server].take_request().id;
    lab.respond_to(server, id, 200, Body::Stream);
    let waits = lab.ask(get(upstream));
    for _ in 0..10 {
        lab.wait_ms(LIMIT / 4);
        lab.send(server, id, pattern(10), false);
    }
    // One request makes progress; the other one's connection is still being dialled.
    let next = lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
    assert_eq!(lab.failure(next), None);
    assert_eq!(
        (lab.failure(served), lab.failure(waits)),
        (None, Some(Failure::TimedOut))
    );
}

#[test]
fn whatever_moves_gives_more_time() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(ask("POST", upstream).body(Body::Stream));
        lab.hold(key, true);
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        let almost = LIMIT * 7 / 8;
        // Writing is progress.
        for _ in 0..3 {
            lab.wait_ms(almost);
            lab.write(key, pattern(10), false);
        }
        lab.wait_ms(almost);
        lab.write(key, pattern(10), true);
        // So is the response, and its body.
        lab.wait_ms(almost);
        let id = lab.servers[server].take_request().id;
        lab.respond_to(server, id, 200, Body::Stream);
        for _ in 0..3 {
            lab.wait_ms(almost);
            lab.send(server, id, pattern(10), false);
        }
        // So is consuming.
        lab.wait_ms(almost);
        lab.order(move |owner, conns| {
            let exchange = owner.id(key);
            owner.pool.consume(conns, exchange, 10);
        });
        lab.wait_ms(almost);
        assert_eq!(lab.failure(key), None);
        // Then nothing moves.
        lab.wait_ms(LIMIT + LATE - almost);
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
        // There was a response, so the address isn't at fault.
        let next = lab.ask(get(upstream));
        assert_eq!(lab.failure(next), None);
    }
}

#[test]
fn conversations_may_be_silent_for_longer() {
    let mut lab = lab();
    let upstream = lab.h2c();
    let mut asked = get(upstream);
    asked.options.is_conversation = true;
    let conversation = lab.ask(asked);
    let ask_for_tunnel = || {
        get(upstream)
            .head(RequestHead::connect("example.org:22"))
            .body(Body::Stream)
    };
    let tunnel = lab.ask(ask_for_tunnel());
    let ungranted = lab.ask(ask_for_tunnel());
    let ordinary = lab.ask(get(upstream));
    let server = lab.accept_h2();
    assert_eq!(lab.servers[server].open(), 4);
    let id = lab.servers[server].requests[1].id;
    lab.respond_to(server, id, 200, Body::Stream);
    lab.wait_ms(LIMIT + LATE);
    for key in [ungranted, ordinary] {
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
    }
    lab.wait_ms(4 * LIMIT - LATE - 1);
    assert!(!lab.is_over(conversation) && !lab.is_over(tunnel));
    lab.wait_ms(LATE + 1);
    for key in [conversation, tunnel] {
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
    }
}

#[test]
fn conversations_go_by_http2_or_are_none() {
    // A content-type isn't enough: over HTTP/1.1 there is no gRPC, and a CONNECT is no tunnel
    // before it is granted.
    let mut lab = lab();
    let upstream = lab.http1();
    let mut asked = get(upstream);
    asked.options.is_conversation = true;
    let conversation = lab.ask(asked);
    lab.accept_h1();
    lab.wait_ms(LIMIT + LATE);
    assert_eq!(lab.failure(conversation), Some(Failure::TimedOut));
    // Nor is it without a connection.
    let mut asked = get(upstream);
    asked.options.is_conversation = true;
    let waits = lab.ask(asked);
    lab.wait_ms(LIMIT + LATE);
    assert!(lab.is_over(waits));
}

#[test]
fn interim_responses_give_no_more_time() {
    // An upstream that sends only interim responses isn't waited for.
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        let id = lab.servers[server].take_request().id;
        for _ in 0..8 {
            assert!(!lab.is_over(key));
            lab.servers[server].stream(id, |mut stream| {
                stream.inform(&ResponseHead::new(103)).unwrap();
            });
            lab.wait_ms(LIMIT / 8);
        }
        lab.wait_ms(LATE);
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
    }
}

#[test]
fn a_hundred_interim_responses_are_enough() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        let id = lab.servers[server].take_request().id;
        for count in 0..=100 {
            assert!(!lab.is_over(key), "after {count}");
            lab.servers[server].stream(id, |mut stream| {
                stream.inform(&ResponseHead::new(103)).unwrap();
            });
            lab.run();
        }
        assert_eq!(lab.failure(key), Some(Failure::EndlessInterim));
        assert_eq!(Failure::EndlessInterim.status(), 502);
        assert_eq!(lab.exchange(key).seen.len(), 101);
        // The next request is served.
        let next = lab.ask(get(upstream));
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => server,
        };
        let id = lab.servers[server].take_request().id;
        lab.respond_to(server, id, 204, Body::Empty);
        assert_eq!(lab.exchange(next).status(), Some(204));
    }
}

#[test]
fn without_limits_nothing_is_ended() {
    let mut lab = Lab::new(|options, config| {
        options.request_timeout = Duration::ZERO;
        options.conversation_timeout = Duration::ZERO;
        config.timeouts.probe = Duration::ZERO;
    });
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    let server = lab.accept_h2();
    lab.wait(Duration::from_secs(86_400));
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn an_address_that_failed_is_tried_again_even_where_there_are_no_limits() {
    let mut lab = Lab::new(|options, config| {
        options.request_timeout = Duration::ZERO;
        options.conversation_timeout = Duration::ZERO;
        config.timeouts.probe = Duration::ZERO;
    });
    let upstream = lab.http1();
    // One request stays in progress; another one waits for a connection that isn't established.
    lab.ask(get(upstream));
    lab.accept_h1();
    let waits = lab.ask(get(upstream));
    lab.refuse();
    assert!(lab.dialled.is_empty() && !lab.is_over(waits));
    lab.wait_ms(1200);
    let server = lab.accept_h1();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(waits), Some(200));
}

#[test]
fn a_silent_connection_is_asked_once_and_then_given_up() {
    let mut lab = Lab::new(|options, config| {
        options.request_timeout = Duration::from_secs(60);
        config.timeouts.probe = Duration::from_secs(10);
        config.timeouts.probe_answer = Duration::from_secs(5);
    });
    let upstream = lab.h2c();
    for is_there in [true, false] {
        let keys = [
            lab.ask(ask("POST", upstream)),
            lab.ask(ask("POST", upstream)),
        ];
        let server = lab.accept_frames(&[]);
        lab.read_raw(server);
        lab.wait_ms(9900);
        assert!(lab.read_raw(server).is_empty());
        lab.wait_ms(200);
        let probe = frames(&lab.read_raw(server));
        // RFC 9113 §6.7: PING.
        assert_eq!((probe.len(), probe[0].kind, probe[0].flags), (1, 6, 0));
        if is_there {
            let payload: [u8; 8] = probe[0].payload[..].try_into().unwrap();
            lab.write_frame(server, &wire::ping_ack(&payload));
            lab.wait_ms(20_000);
            assert!(lab.read_raw(server).is_empty());
            for (key, stream) in keys.into_iter().zip([1, 3]) {
                assert!(!lab.is_over(key));
                lab.respond_raw(server, stream);
                assert_eq!(lab.status(key), Some(200));
            }
            lab.cut(server, false);
            continue;
        }
        lab.wait_ms(4800);
        assert!(!lab.is_over(keys[0]) && !lab.is_over(keys[1]));
        // The connection is closed, so nothing more is read from it.
        lab.servers[server].is_silent = true;
        lab.wait_ms(1500);
        for key in keys {
            assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
        }
        assert_eq!(lab.stats().open, 0);
        // The next request goes elsewhere.
        lab.ask(get(upstream));
        assert_eq!(lab.dialled.len(), 1);
    }
}

#[test]
fn an_upstream_that_computes_for_long_is_waited_for() {
    // An upstream with a single thread is silent meanwhile: no SETTINGS, no acknowledgement, no
    // PONG.
    for is_new in [true, false] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.h2c();
        let key = lab.ask(ask("POST", upstream));
        let server = if is_new {
            lab.accept_raw()
        } else {
            lab.accept_frames(&[])
        };
        lab.wait_ms(58_000);
        assert_eq!(lab.failure(key), None);
        if is_new {
            let settings = [
                wire::settings(&[]).to_bytes(),
                wire::settings_ack().to_bytes(),
            ];
            lab.write_raw(server, settings.concat());
        }
        lab.respond_raw(server, 1);
        assert_eq!(lab.status(key), Some(200));
        assert_eq!(lab.stats().open, 1);
    }
}

#[test]
fn while_a_ping_is_unanswered_requests_go_elsewhere() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let waits = lab.ask(ask("POST", upstream));
    let first = lab.accept_frames(&[]);
    lab.read_raw(first);
    lab.wait_ms(11_000);
    let probe = frames(&lab.read_raw(first));
    assert_eq!((probe.len(), probe[0].kind), (1, 6));
    let key = lab.ask(get(upstream));
    let second = lab.accept_h2();
    lab.respond(second, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    assert!(lab.read_raw(first).is_empty());
    // Any input shows that it is alive.
    lab.respond_raw(first, 1);
    assert_eq!(lab.status(waits), Some(200));
    lab.ask(get(upstream));
    assert!(!lab.read_raw(first).is_empty());
}

#[test]
fn a_connection_without_requests_is_not_asked() {
    let mut lab = Lab::new(|_, config| config.timeouts.probe = Duration::from_secs(1));
    let upstream = lab.h2c();
    lab.ask(get(upstream));
    let server = lab.accept_frames(&[]);
    lab.respond_raw(server, 1);
    lab.read_raw(server);
    lab.wait_ms(60_000);
    assert!(lab.read_raw(server).is_empty());
    assert_eq!(lab.stats().open, 1);
}

#[test]
fn a_server_that_never_says_what_it_takes_breaks_a_rule() {
    // RFC 9113 §3.4: "The server connection preface consists of a potentially empty SETTINGS
    // frame".
    let mut lab = Lab::new(|_, config| config.timeouts.handshake = Duration::from_secs(10));
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    let server = lab.accept_raw();
    lab.wait_ms(12_000);
    let violation = tidegate_http::Violation::HandshakeTimedOut;
    assert_eq!(lab.failure(key), Some(Failure::Violation(violation)));
    assert!(lab.servers[server].is_closed());
}
