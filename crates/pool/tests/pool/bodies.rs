//! Bodies that their receiver doesn't take, and responses that come before the request is whole.

use tidegate_http::{Body, ErrorCode, Fields, RequestHead, ResponseHead};
use tidegate_pool::{Failure, Security};
use tidegate_testkit::wire;

use crate::lab::{Lab, Seen, ask, frames, get, pattern};

const BOTH: [Security; 2] = [Security::H2c, Security::Http1];

fn accept(lab: &mut Lab, security: &Security) -> usize {
    match security {
        Security::Http1 => lab.accept_h1(),
        _ => lab.accept_h2(),
    }
}

fn trailers() -> Fields {
    let mut fields = Fields::new();
    fields.push("x-checksum", "12");
    fields
}

#[test]
fn a_body_goes_as_far_as_it_is_taken_and_no_further() {
    const LEN: usize = 3_000_000;
    for security in BOTH {
        let mut lab = Lab::with_capacity(10_000, |_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(ask("POST", upstream).body(Body::Stream));
        let server = accept(&mut lab, &security);
        lab.servers[server].holds = true;
        lab.write(key, pattern(LEN), true);
        let came = lab.servers[server].requests[0].body.len();
        // The upstream has sent as much as it may: over HTTP/2, the first window.
        assert!((1..300_000).contains(&came), "{came} bytes");
        lab.servers[server].holds = false;
        let id = lab.servers[server].requests[0].id;
        lab.servers[server].stream(id, |mut stream| stream.consume(came));
        lab.run();
        let got = &lab.servers[server].requests[0];
        assert!(got.body == pattern(LEN) && got.end);
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
        // The events asked for it piece by piece.
        let asked = |seen: &&Seen| matches!(seen, Seen::Writable);
        assert!(lab.exchange(key).seen.iter().filter(asked).count() > 5);
    }
}

#[test]
fn a_response_comes_as_far_as_it_is_consumed_and_no_further() {
    const LEN: usize = 3_000_000;
    for security in BOTH {
        let mut lab = Lab::with_capacity(10_000, |_, config| {
            config.initial_window_size = 20_000;
            config.max_stream_window_size = 20_000;
        });
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        let server = accept(&mut lab, &security);
        lab.hold(key, true);
        lab.respond(server, 200, Body::Full(pattern(LEN)));
        assert_eq!(lab.exchange(key).body().len(), 20_000);
        // Other requests on the same connection go on.
        if matches!(security, Security::H2c) {
            let other = lab.ask(get(upstream));
            lab.respond(server, 200, Body::Full(pattern(10)));
            assert!(lab.is_over(other));
        }
        lab.hold(key, false);
        assert!(lab.exchange(key).body() == pattern(LEN));
        assert!(lab.is_over(key) && lab.failure(key).is_none());
    }
}

#[test]
fn trailers_go_both_ways() {
    for security in BOTH {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(ask("POST", upstream).body(Body::Stream));
        let server = accept(&mut lab, &security);
        lab.write_with_trailers(key, pattern(100_000), trailers());
        let got = &lab.servers[server].requests[0];
        assert!(got.body == pattern(100_000));
        assert_eq!(got.trailers, Some(trailers()));
        let id = lab.servers[server].take_request().id;
        lab.respond_to(server, id, 200, Body::Stream);
        lab.send(server, id, pattern(1000), false);
        lab.servers[server].stream(id, |mut stream| stream.trailers(&trailers()).unwrap());
        lab.run();
        let exchange = lab.exchange(key);
        assert!(exchange.body() == pattern(1000));
        assert_eq!(exchange.seen.last(), Some(&Seen::Trailers(trailers())));
        drop(exchange);
        assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
    }
}

#[test]
fn interim_responses_come_first() {
    for security in BOTH {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        let server = accept(&mut lab, &security);
        let id = lab.servers[server].take_request().id;
        for status in [103, 102] {
            lab.servers[server].stream(id, |mut stream| {
                stream.inform(&ResponseHead::new(status)).unwrap();
            });
        }
        lab.respond_to(server, id, 204, Body::Empty);
        let seen = &lab.exchange(key).seen;
        assert_eq!(
            seen[..2],
            [Seen::Informational(103), Seen::Informational(102)]
        );
        assert!(matches!(
            seen[2..],
            [Seen::Response {
                status: 204,
                end: true,
                ..
            }]
        ));
    }
}

#[test]
fn a_response_may_come_before_the_request_is_whole() {
    // RFC 9113 §8.1: "A server can send a complete response prior to the client sending an entire
    // request". The rest of the request isn't needed then.
    for with_body in [false, true] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.h2c();
        let key = lab.ask(ask("POST", upstream).body(Body::Stream));
        let server = lab.accept_h2();
        lab.servers[server].holds = true;
        lab.write(key, pattern(1_000_000), false);
        let body = if with_body {
            Body::Full(pattern(1000))
        } else {
            Body::Empty
        };
        lab.respond(server, 413, body);
        assert_eq!((lab.status(key), lab.failure(key)), (Some(413), None));
        assert!(lab.is_over(key));
        assert_eq!(
            lab.exchange(key).body().len(),
            1000 * usize::from(with_body)
        );
        // The upstream was told, and the connection goes on.
        assert_eq!(
            lab.servers[server].requests[0].reset,
            Some(ErrorCode::CANCEL)
        );
        lab.ask(get(upstream));
        lab.respond(server, 200, Body::Empty);
        assert_eq!((lab.stats().connected, lab.stats().idle), (1, 1));
    }
    // RFC 9113 §8.1: the server may reset the rest with NO_ERROR. That is no failure.
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(ask("POST", upstream).body(Body::Stream));
    let server = lab.accept_frames(&[]);
    let bytes = [
        wire::headers_block(1, *b"\x88").end().to_bytes(),
        wire::rst_stream(1, ErrorCode::NO_ERROR).to_bytes(),
    ];
    lab.write_raw(server, bytes.concat());
    assert_eq!((lab.status(key), lab.failure(key)), (Some(200), None));
    // Over HTTP/1.1, the connection is no longer usable.
    for body in [Body::Empty, Body::Full(pattern(1000))] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        let key = lab.ask(ask("POST", upstream).body(Body::Stream));
        let server = lab.accept_h1();
        lab.write(key, pattern(1000), false);
        lab.respond(server, 413, body);
        assert!(lab.is_over(key));
        assert_eq!((lab.status(key), lab.failure(key)), (Some(413), None));
        lab.ask(get(upstream));
        let server = lab.accept_h1();
        lab.respond(server, 200, Body::Empty);
        assert_eq!((lab.stats().open, lab.stats().failed), (1, 0));
    }
}

#[test]
fn an_early_response_of_http1_to_a_body_that_is_on_its_way_costs_no_connection() {
    // The owner has written everything; some of it is unsent when the response is whole.
    let mut lab = Lab::with_capacity(1000, |_, _| {});
    let upstream = lab.http1();
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    lab.ask(get(upstream));
    let server = lab.accept_raw();
    lab.write_raw(server, answer);
    for takes_the_rest in [true, false] {
        lab.servers[server].is_silent = true;
        let key = lab.ask(ask("POST", upstream).body(Body::Full(pattern(200_000))));
        lab.write_raw(server, answer);
        assert!(lab.is_over(key) && lab.failure(key).is_none());
        // The connection may not be used before the body is out.
        let next = lab.ask(get(upstream));
        let other = if takes_the_rest { lab.accept_h1() } else { 1 };
        lab.respond(other, 200, Body::Empty);
        assert_eq!(lab.status(next), Some(200));
        lab.servers[server].is_silent = !takes_the_rest;
        lab.wait_ms(200);
        if takes_the_rest {
            assert_eq!((lab.stats().open, lab.stats().idle), (2, 2));
            // It became free last, so it is used first.
            lab.read_raw(server);
            lab.ask(get(upstream));
            assert!(lab.read_raw(server).starts_with(b"GET / "));
            lab.write_raw(server, answer);
        } else {
            // A connection that doesn't take the rest isn't used again.
            assert_eq!(lab.stats().idle, 1);
            lab.ask(get(upstream));
            lab.ask(get(upstream));
            assert_eq!((lab.servers[other].open(), lab.dialled.len()), (1, 1));
        }
    }
}

#[test]
fn a_body_of_another_length_than_was_said_is_no_request() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let head = RequestHead::new("POST", "http", "localhost", "/").field("content-length", "10");
    let key = lab.ask(ask("POST", upstream).head(head).body(Body::Stream));
    let server = lab.accept_h1();
    lab.write(key, pattern(5), true);
    assert!(lab.failure(key).is_some());
    assert!(!lab.servers[server].requests[0].end);
}

#[test]
fn a_head_that_is_too_large_is_not_sent() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    lab.ask(get(upstream));
    let server = lab.accept_http2(|config| config.max_header_list_size = 1000);
    let head = RequestHead::new("GET", "http", "localhost", "/").field("x", "y".repeat(1000));
    let key = lab.ask(get(upstream).head(head));
    assert_eq!(lab.failure(key), Some(Failure::HeadTooLarge));
    assert_eq!(Failure::HeadTooLarge.status(), 431);
    assert_eq!(lab.servers[server].requests.len(), 1);
}

#[test]
fn bodies_are_sent_by_priority() {
    // Two uploads on one connection: the one that is made urgent goes first.
    let mut lab = Lab::with_capacity(20_000, |_, _| {});
    let upstream = lab.h2c();
    let keys = [(); 2].map(|()| lab.ask(ask("POST", upstream).body(Body::Stream)));
    let server = lab.accept_raw();
    lab.write_raw(server, wire::settings(&[(4, 1 << 20)]).to_bytes());
    lab.write_frame(server, &wire::window_update(0, 1 << 20));
    lab.read_raw(server);
    lab.servers[server].is_silent = true;
    let urgent = keys[1];
    lab.order(move |owner, conns| {
        let id = owner.id(urgent);
        let priority = tidegate_http::Priority::parse(b"u=0");
        owner.pool.prioritize(conns, id, priority);
    });
    for key in keys {
        lab.write(key, pattern(100_000), true);
    }
    lab.servers[server].is_silent = false;
    let bytes = lab.read_raw(server);
    let ends: Vec<u32> = frames(&bytes)
        .iter()
        .filter(|frame| frame.kind == 0 && frame.flags & wire::flag::END_STREAM != 0)
        .map(|frame| frame.stream)
        .collect();
    assert_eq!(ends, [3, 1]);
}
