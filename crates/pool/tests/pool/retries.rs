//! Requests that are sent again: those that a server hasn't processed, and those that were lost
//! with an old connection if that does no harm. Each is sent again once, and only before any
//! response.

use tidegate_http::{Body, ErrorCode, Fields, ResponseHead};
use tidegate_pool::{Failure, Security, UpstreamId};
use tidegate_testkit::wire;

use crate::lab::{Key, Lab, ask, get, pattern};

fn trailers() -> Fields {
    let mut fields = Fields::new();
    fields.push("x-checksum", "12");
    fields
}

/// Begins a request with a streamed body.
fn stream(lab: &mut Lab, upstream: UpstreamId) -> Key {
    lab.ask(ask("POST", upstream).body(Body::Stream))
}

#[test]
fn what_is_refused_goes_once_to_another_connection() {
    // RFC 9113 §8.7: "Requests that have not been processed have not failed; clients MAY
    // automatically retry them".
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let keys: Vec<Key> = (0..2)
        .map(|_| lab.ask(ask("POST", upstream).body(Body::Full("body".into()))))
        .collect();
    let first = lab.accept_h2();
    lab.refuse_stream(first);
    assert_eq!((lab.stats().retried, lab.failure(keys[0])), (1, None));
    // The other request and later ones stay on the first connection, which refused only one.
    assert_eq!(lab.servers[first].open(), 1);
    let second = lab.accept_h2();
    assert_eq!(lab.servers[second].open(), 1);
    lab.respond(second, 200, Body::Empty);
    assert_eq!(lab.status(keys[0]), Some(200));
    assert_eq!(lab.servers[second].requests[0].body, b"body");
    lab.refuse_stream(first);
    assert_eq!(lab.servers[second].open(), 1);
    lab.refuse_stream(second);
    assert_eq!(lab.failure(keys[1]), Some(Failure::Refused));
    let stats = lab.stats();
    assert_eq!((stats.retried, stats.failed, stats.connected), (2, 1, 2));
}

#[test]
fn where_there_may_be_no_other_connection_the_same_one_is_asked_again() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    let server = lab.accept_h2();
    lab.refuse_stream(server);
    assert!(lab.dialled.is_empty());
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn where_no_other_connection_comes_about_it_fails() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    let server = lab.accept_h2();
    lab.refuse_stream(server);
    lab.refuse();
    assert!(lab.failure(key).is_some(), "{:?}", lab.exchange(key).seen);
    // Requests that don't need another connection go on.
    let next = lab.ask(get(upstream));
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(next), Some(200), "{:?}", lab.failure(next));
}

#[test]
fn bodies_are_sent_again_byte_for_byte() {
    for with_trailers in [false, true] {
        // Before the refusal nothing was written, some of it, all but the end, or all.
        for (before, ended) in [(0, false), (3000, false), (5000, false), (5000, true)] {
            let mut lab = Lab::new(|_, _| {});
            let upstream = lab.h2c();
            let key = stream(&mut lab, upstream);
            let first = lab.accept_h2();
            let body = pattern(5000);
            if before > 0 && !ended {
                lab.write(key, body.slice(..before), false);
            }
            let finish = |lab: &mut Lab, from: usize| {
                if with_trailers {
                    lab.write_with_trailers(key, body.slice(from..), trailers());
                } else {
                    lab.write(key, body.slice(from..), true);
                }
            };
            if ended {
                finish(&mut lab, 0);
            }
            assert_eq!(lab.servers[first].requests[0].body, body[..before]);
            lab.refuse_stream(first);
            let second = lab.accept_h2();
            let case = format!("{before} {ended} {with_trailers}");
            // The server has what was written, and the pool asks for the rest.
            assert_eq!(
                lab.servers[second].requests[0].body,
                body[..before],
                "{case}"
            );
            assert_eq!(lab.servers[second].requests[0].end, ended, "{case}");
            if !ended {
                finish(&mut lab, before);
            }
            let got = &lab.servers[second].requests[0];
            assert!(got.body == body && got.end, "{case}");
            assert_eq!(got.trailers, with_trailers.then(trailers), "{case}");
            lab.respond(second, 200, Body::Empty);
            assert_eq!(lab.status(key), Some(200));
            assert_eq!(lab.stats().retried, 1);
        }
    }
}

/// Begins a request that is refused once `written` bytes of its body are, and is sent again to a
/// server that takes only 65,535 bytes of it for now (RFC 9113 §6.9.2).
fn held_up(written: usize, ended: bool) -> (Lab, Key, usize) {
    let mut lab = Lab::new(|options, _| options.replay_limit = 1 << 20);
    let upstream = lab.h2c();
    let key = stream(&mut lab, upstream);
    let first = lab.accept_h2();
    lab.write(key, pattern(written), ended);
    lab.refuse_stream(first);
    lab.hold = true;
    let second = lab.accept_http2(|config| config.max_stream_window_size = 65_535);
    assert_eq!(lab.servers[second].requests[0].body.len(), 65_535);
    (lab, key, second)
}

/// Lets the server take the rest.
fn go_on(lab: &mut Lab, server: usize) {
    let got = &lab.servers[server].requests[0];
    let (id, held) = (got.id, got.body.len());
    lab.servers[server].holds = false;
    lab.servers[server].stream(id, |mut stream| stream.consume(held));
    lab.run();
}

#[test]
fn a_body_that_is_written_while_it_is_being_sent_again_comes_in_order() {
    let (mut lab, key, server) = held_up(100_000, false);
    let body = pattern(150_000);
    lab.write(key, body.slice(100_000..), true);
    go_on(&mut lab, server);
    let got = &lab.servers[server].requests[0];
    assert!(got.body == body && got.end, "{} bytes", got.body.len());
}

#[test]
fn a_response_may_come_before_what_is_sent_again_is_whole() {
    for ended in [true, false] {
        let (mut lab, key, server) = held_up(100_000, ended);
        lab.respond(server, 200, Body::Empty);
        assert_eq!((lab.status(key), lab.failure(key)), (Some(200), None));
        assert!(lab.is_over(key));
        // The rest isn't needed.
        let reset = lab.servers[server].requests[0].reset;
        assert_eq!(reset, Some(ErrorCode::CANCEL));
        let stats = lab.stats();
        assert_eq!((stats.open, stats.idle), (2, 2));
    }
}

#[test]
fn an_empty_body_that_ends_while_there_is_no_stream_ends() {
    for before_dial in [true, false] {
        for with_trailers in [true, false] {
            let mut lab = Lab::new(|_, _| {});
            let upstream = lab.h2c();
            let key = stream(&mut lab, upstream);
            let end = |lab: &mut Lab| {
                if with_trailers {
                    lab.write_with_trailers(key, pattern(0), trailers());
                } else {
                    lab.write(key, pattern(0), true);
                }
            };
            let mut server = 0;
            if before_dial {
                end(&mut lab);
                lab.accept_h2();
            } else {
                lab.accept_h2();
                lab.refuse_stream(0);
                end(&mut lab);
                server = lab.accept_h2();
            }
            assert!(lab.servers[server].requests[0].end);
            lab.respond(server, 200, Body::Empty);
            assert_eq!(lab.status(key), Some(200));
        }
    }
}

#[test]
fn a_body_that_ends_while_it_is_being_sent_again_ends() {
    for with_trailers in [false, true] {
        let (mut lab, key, server) = held_up(100_000, false);
        // The owner only ends it.
        if with_trailers {
            lab.write_with_trailers(key, pattern(0), trailers());
        } else {
            lab.write(key, pattern(0), true);
        }
        go_on(&mut lab, server);
        let got = &lab.servers[server].requests[0];
        assert!(got.body == pattern(100_000) && got.end);
        assert_eq!(got.trailers, with_trailers.then(trailers));
    }
}

#[test]
fn more_than_the_limit_is_not_kept_and_not_sent_again() {
    for (len, is_kept) in [(1000, true), (1001, false)] {
        let mut lab = Lab::new(|options, _| options.replay_limit = 1000);
        let upstream = lab.h2c();
        let key = stream(&mut lab, upstream);
        let first = lab.accept_h2();
        lab.write(key, pattern(600), false);
        lab.write(key, pattern(len - 600), false);
        lab.refuse_stream(first);
        if is_kept {
            assert_eq!((lab.failure(key), lab.stats().retried), (None, 1));
        } else {
            assert_eq!(lab.failure(key), Some(Failure::Refused));
            assert!(lab.dialled.is_empty());
        }
    }
    // A body that was given as a whole is kept anyway.
    let mut lab = Lab::new(|options, _| options.replay_limit = 1000);
    let upstream = lab.h2c();
    let key = lab.ask(ask("POST", upstream).body(Body::Full(pattern(50_000))));
    lab.accept_h2();
    lab.refuse_stream(0);
    lab.accept_h2();
    lab.respond(1, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    assert!(lab.servers[1].requests[0].body == pattern(50_000));
}

#[test]
fn nothing_is_sent_again_of_which_an_answer_has_begun() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    // An interim response is an answer, and so is a final one without its end.
    for informs in [true, false] {
        let key = lab.ask(get(upstream));
        if lab.servers.is_empty() {
            lab.accept_h2();
        }
        let id = lab.servers[0].take_request().id;
        lab.servers[0].stream(id, |mut stream| {
            if informs {
                stream.inform(&ResponseHead::new(103)).unwrap();
            } else {
                stream
                    .respond(&ResponseHead::new(200), Body::Stream)
                    .unwrap();
            }
        });
        lab.run();
        lab.reset(0, id, ErrorCode::REFUSED_STREAM);
        assert_eq!(lab.failure(key), Some(Failure::Refused));
    }
    // The same over HTTP/1.1, on a connection that was used before.
    for informs in [true, false] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        lab.ask(get(upstream));
        let server = lab.accept_raw();
        lab.write_raw(server, b"HTTP/1.1 204 No Content\r\n\r\n");
        let key = lab.ask(get(upstream));
        lab.read_raw(server);
        lab.write_raw(
            server,
            if informs {
                &b"HTTP/1.1 103 Early Hints\r\n\r\n"[..]
            } else {
                b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"
            },
        );
        lab.cut(server, false);
        assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
        assert_eq!((lab.stats().retried, lab.dialled.len()), (0, 0));
    }
}

#[test]
fn other_resets_are_no_refusals() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    for code in [
        ErrorCode::CANCEL,
        ErrorCode::INTERNAL_ERROR,
        ErrorCode::NO_ERROR,
    ] {
        let key = lab.ask(get(upstream));
        if lab.servers.is_empty() {
            lab.accept_h2();
        }
        let id = lab.servers[0].take_request().id;
        lab.reset(0, id, code);
        assert_eq!(lab.failure(key), Some(Failure::Reset(code)));
    }
    assert_eq!(lab.stats().retried, 0);
}

/// Loses a request with its connection, which has carried another one before if `is_old`. Returns
/// the lab and the request's key.
fn lost(http2: bool, method: &str, is_old: bool, by_reset: bool) -> (Lab, Key) {
    let mut lab = Lab::new(|_, _| {});
    let upstream = if http2 { lab.h2c() } else { lab.http1() };
    let accept = |lab: &mut Lab| {
        if http2 {
            lab.accept_h2()
        } else {
            lab.accept_h1()
        }
    };
    if is_old {
        lab.ask(get(upstream));
        accept(&mut lab);
        lab.respond(0, 204, Body::Empty);
    }
    let key = lab.ask(ask(method, upstream));
    if !is_old {
        accept(&mut lab);
    }
    assert_eq!(lab.servers[0].open(), 1);
    lab.cut(0, by_reset);
    (lab, key)
}

#[test]
fn what_an_old_connection_loses_is_sent_again_if_that_does_no_harm() {
    // RFC 9110 §9.2.2: "A client SHOULD NOT automatically retry a request with a non-idempotent
    // method unless it has some means to know that the request semantics are actually idempotent".
    for http2 in [false, true] {
        for by_reset in [false, true] {
            for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
                let (mut lab, key) = lost(http2, method, true, by_reset);
                assert_eq!(
                    (lab.failure(key), lab.stats().retried),
                    (None, 1),
                    "{method}"
                );
                // It is sent again once only. The next connection is new anyway.
                if http2 {
                    lab.accept_h2()
                } else {
                    lab.accept_h1()
                };
                assert_eq!(lab.servers[1].open(), 1);
                lab.cut(1, by_reset);
                assert!(
                    matches!(lab.failure(key), Some(Failure::Lost(_))),
                    "{method}"
                );
            }
            for method in ["POST", "PATCH", "BREW"] {
                let (lab, key) = lost(http2, method, true, by_reset);
                assert!(
                    matches!(lab.failure(key), Some(Failure::Lost(_))),
                    "{method}"
                );
                assert_eq!((lab.stats().retried, lab.dialled.len()), (0, 0));
            }
            // A server that closes a new connection has seen the request.
            for method in ["GET", "POST"] {
                let (lab, key) = lost(http2, method, false, by_reset);
                assert!(
                    matches!(lab.failure(key), Some(Failure::Lost(_))),
                    "{method}"
                );
                assert_eq!((lab.stats().retried, lab.dialled.len()), (0, 0));
            }
        }
    }
}

#[test]
fn what_is_lost_on_a_connection_that_was_idle_is_sent_again_though_it_was_the_first_one_there() {
    for http2 in [false, true] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = if http2 { lab.h2c() } else { lab.http1() };
        let accept = |lab: &mut Lab| {
            if http2 {
                lab.accept_h2()
            } else {
                lab.accept_h1()
            }
        };
        // The request that the connection was dialled for is cancelled.
        let early = lab.ask(get(upstream));
        lab.cancel(early);
        let server = accept(&mut lab);
        assert_eq!(lab.stats().idle, 1);
        let key = lab.ask(get(upstream));
        assert_eq!(lab.servers[server].open(), 1);
        lab.cut(server, false);
        assert_eq!((lab.failure(key), lab.stats().retried), (None, 1));
        // It is sent again once only. The next connection is opened for it.
        let server = accept(&mut lab);
        lab.cut(server, false);
        assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
    }
}

#[test]
fn what_many_requests_lose_on_a_new_connection_is_lost() {
    // The connection was never idle and answered none of them: the address takes requests and gives
    // no answers.
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let server = lab.accept_h2();
    assert_eq!(lab.servers[server].open(), 2);
    lab.cut(server, false);
    for key in keys {
        assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
    }
    // A connection that has answered something is of use, although it was never idle.
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let server = lab.accept_h2();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(keys[0]), Some(200));
    lab.cut(server, false);
    assert_eq!((lab.failure(keys[1]), lab.stats().retried), (None, 1));
}

/// Opens two connections that carry a request each, and then makes another one. Returns the lab,
/// the upstream and its key.
fn on_two_old_ones(http2: bool) -> (Lab, UpstreamId, Key) {
    let mut lab = Lab::new(|options, _| {
        options.max_connections = 3;
        options.max_http2_connections = 3;
    });
    let upstream = if http2 { lab.h2c() } else { lab.http1() };
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    let mut carried = vec![0, 1];
    for _ in 0..2 {
        if http2 {
            lab.accept_http2(|config| config.max_concurrent_streams = 2)
        } else {
            lab.accept_h1()
        };
    }
    if http2 {
        // The first has both until the second is established.
        lab.ask(get(upstream));
        carried.push(0);
    }
    for server in carried {
        lab.respond(server, 204, Body::Empty);
    }
    let key = lab.ask(get(upstream));
    (lab, upstream, key)
}

#[test]
fn what_an_old_connection_loses_goes_to_a_new_one() {
    // A server that ends all its connections loses requests on any of them. One request must not
    // try them all.
    for http2 in [false, true] {
        let (mut lab, upstream, key) = on_two_old_ones(http2);
        let server = (0..2).find(|server| lab.servers[*server].open() > 0);
        let server = server.expect("one of the two has it");
        lab.cut(server, false);
        assert_eq!(lab.stats().retried, 1);
        assert_eq!(lab.servers[1 - server].open(), 0);
        // Another request may use the old connection.
        lab.ask(get(upstream));
        assert_eq!(lab.servers[1 - server].open(), 1);
        let new = if http2 {
            lab.accept_h2()
        } else {
            lab.accept_h1()
        };
        assert_eq!(lab.servers[new].open(), 1);
        lab.cut(new, false);
        let failure = lab.failure(key);
        assert!(matches!(failure, Some(Failure::Lost(_))), "{failure:?}");
    }
}

#[test]
fn what_an_old_connection_loses_has_failed_if_there_is_no_new_one() {
    let (mut lab, upstream, key) = on_two_old_ones(false);
    lab.cut(1, false);
    lab.refuse();
    let failure = lab.failure(key);
    assert!(matches!(failure, Some(Failure::Connect(..))), "{failure:?}");
    let other = lab.ask(get(upstream));
    lab.respond(0, 200, Body::Empty);
    assert_eq!(lab.status(other), Some(200));
}

#[test]
fn where_there_may_be_no_new_connection_an_old_one_will_do() {
    let mut lab = Lab::new(|options, _| options.max_connections = 1);
    let upstream = lab.http1();
    lab.ask(get(upstream));
    lab.accept_h1();
    let (one, other) = (lab.ask(get(upstream)), lab.ask(get(upstream)));
    lab.respond(0, 204, Body::Empty);
    lab.cut(0, false);
    // Both wait for the same connection, which is new only to the first of them.
    lab.accept_h1();
    lab.respond(1, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    assert_eq!((lab.status(one), lab.status(other)), (Some(200), Some(200)));
}

#[test]
fn what_a_new_connection_loses_is_sent_to_another_address_if_there_is_one() {
    for http2 in [false, true] {
        for (method, addresses, is_sent_again) in
            [("GET", 2, true), ("GET", 1, false), ("POST", 2, false)]
        {
            let security = if http2 {
                Security::H2c
            } else {
                Security::Http1
            };
            let mut lab = Lab::new(|_, _| {});
            let upstream = lab.upstream(security, addresses);
            let key = lab.ask(ask(method, upstream));
            let accept = |lab: &mut Lab| {
                if http2 {
                    lab.accept_h2()
                } else {
                    lab.accept_h1()
                }
            };
            let first = lab.dialled[0].addr;
            accept(&mut lab);
            lab.cut(0, true);
            let case = format!("{method} {addresses} {http2}");
            assert_eq!(lab.failure(key).is_none(), is_sent_again, "{case}");
            assert_eq!(lab.stats().retried, u64::from(is_sent_again), "{case}");
            if is_sent_again {
                assert_ne!(lab.dialled[0].addr, first, "{case}");
                accept(&mut lab);
                lab.respond(1, 200, Body::Empty);
                assert_eq!(lab.status(key), Some(200), "{case}");
            }
        }
    }
}

#[test]
fn a_body_that_is_not_kept_is_not_sent_again_when_it_is_lost() {
    for (len, is_kept) in [(1000, true), (1001, false)] {
        let mut lab = Lab::new(|options, _| options.replay_limit = 1000);
        let upstream = lab.http1();
        lab.ask(get(upstream));
        lab.accept_h1();
        lab.respond(0, 204, Body::Empty);
        let key = lab.ask(ask("PUT", upstream).body(Body::Stream));
        lab.write(key, pattern(len), false);
        lab.cut(0, true);
        assert_eq!(lab.stats().retried, u64::from(is_kept));
        if !is_kept {
            let failure = lab.failure(key);
            assert!(matches!(failure, Some(Failure::Lost(_))), "{failure:?}");
            continue;
        }
        lab.accept_h1();
        lab.write(key, pattern(10), true);
        let got = &lab.servers[1].requests[0];
        assert!(got.end && got.body == [pattern(len), pattern(10)].concat());
    }
}

#[test]
fn a_broken_rule_is_reported_as_such() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let server = lab.accept_frames(&[]);
    // A stream error (RFC 9113 §8.3.2): no status.
    lab.write_frame(server, &wire::headers(1, &[("x", "y")]).end());
    let violation = tidegate_http::Violation::PseudoFieldMissing;
    assert_eq!(lab.failure(keys[0]), Some(Failure::Violation(violation)));
    assert_eq!(lab.failure(keys[1]), None);
    // A connection error (RFC 9113 §6.1): DATA on stream 0.
    lab.respond_raw(server, 3);
    assert_eq!(lab.status(keys[1]), Some(200));
    let key = lab.ask(get(upstream));
    // The connection has answered one, so the request is sent again. The pool reacts at once,
    // however long the connection takes to close.
    for retried in [0, 1] {
        assert_eq!((lab.failure(key), lab.stats().retried), (None, retried));
        let server = if retried == 0 {
            server
        } else {
            lab.accept_frames(&[])
        };
        lab.write_frame(server, &wire::data(0, "x"));
    }
    let violation = tidegate_http::Violation::DataOnStreamZero;
    assert_eq!(lab.failure(key), Some(Failure::Violation(violation)));
}

#[test]
fn a_connection_that_is_cut_in_a_response_ends_no_response() {
    for http2 in [false, true] {
        for by_reset in [false, true] {
            let mut lab = Lab::new(|_, _| {});
            let upstream = if http2 { lab.h2c() } else { lab.http1() };
            let key = lab.ask(get(upstream));
            let server = if http2 {
                lab.accept_h2()
            } else {
                lab.accept_h1()
            };
            let id = lab.servers[server].take_request().id;
            lab.respond_to(server, id, 200, Body::Stream);
            lab.send(server, id, pattern(1000), false);
            lab.cut(server, by_reset);
            let exchange = lab.exchange(key);
            assert_eq!(exchange.status(), Some(200));
            assert!(exchange.body() == pattern(1000));
            assert!(matches!(exchange.failure(), Some(Failure::Lost(_))));
        }
    }
}
