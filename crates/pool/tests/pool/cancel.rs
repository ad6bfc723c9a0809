//! Cancelled requests: in any state, their places are freed, and they have no further events.

use tidegate_http::{Body, ErrorCode};
use tidegate_net::MemorySocket;
use tidegate_pool::{Failure, Security};

use crate::lab::{Lab, ask, get, pattern};

#[test]
fn while_the_connection_is_dialled() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(get(upstream));
        lab.cancel(key);
        // The connection is being dialled, and is kept.
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        assert_eq!(
            (lab.servers[server].requests.len(), lab.stats().idle),
            (0, 1)
        );
        let next = lab.ask(get(upstream));
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(next), Some(200));
        // The first request wasn't sent.
        let stats = lab.stats();
        assert_eq!((stats.connected, stats.sent, stats.reused), (1, 1, 0));
        // A dial that fails concerns no request any longer.
        lab.cut(server, false);
        let key = lab.ask(get(upstream));
        lab.cancel(key);
        lab.refuse();
        assert_eq!((lab.stats().open, lab.stats().failed), (0, 0));
    }
}

#[test]
fn while_it_waits_for_a_place() {
    let mut lab = Lab::new(|options, _| options.max_connections = 1);
    let upstream = lab.http1();
    let keys: Vec<_> = (0..4).map(|_| lab.ask(get(upstream))).collect();
    let server = lab.accept_h1();
    lab.cancel(keys[1]);
    lab.cancel(keys[3]);
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.servers[server].requests.len(), 2);
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.servers[server].requests.len(), 2);
    assert_eq!(
        (lab.status(keys[0]), lab.status(keys[2])),
        (Some(200), Some(200))
    );
    assert_eq!(lab.stats().idle, 1);
}

#[test]
fn while_it_is_sent_and_while_its_response_comes() {
    // Over HTTP/2 the stream is reset, and another request gets its place.
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    let first = lab.ask(ask("POST", upstream).body(Body::Stream));
    let server = lab.accept_http2(|config| config.max_concurrent_streams = 1);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(lab.ask(get(upstream)));
    }
    lab.write(first, pattern(1000), false);
    lab.cancel(first);
    let reset = |lab: &Lab, number: usize| lab.servers[server].requests[number].reset;
    assert_eq!(reset(&lab, 0), Some(ErrorCode::CANCEL));
    assert_eq!(lab.servers[server].open(), 1);
    lab.cancel(waiting[0]);
    assert_eq!(reset(&lab, 1), Some(ErrorCode::CANCEL));
    let id = lab.servers[server].take_request().id;
    lab.respond_to(server, id, 200, Body::Stream);
    lab.send(server, id, pattern(10), false);
    assert_eq!(lab.exchange(waiting[1]).body(), pattern(10));
    lab.cancel(waiting[1]);
    assert_eq!(reset(&lab, 2), Some(ErrorCode::CANCEL));
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(waiting[2]), Some(200));
    assert_eq!((lab.stats().connected, lab.stats().idle), (1, 1));
}

#[test]
fn a_connection_of_http1_goes_with_its_request() {
    for answered in [false, true] {
        let mut lab = Lab::new(|options, _| options.max_connections = 1);
        let upstream = lab.http1();
        let keys = [
            lab.ask(ask("POST", upstream).body(Body::Stream)),
            lab.ask(get(upstream)),
        ];
        let server = lab.accept_h1();
        lab.write(keys[0], pattern(1000), false);
        if answered {
            let id = lab.servers[server].take_request().id;
            lab.respond_to(server, id, 200, Body::Stream);
            lab.send(server, id, pattern(10), false);
        }
        lab.cancel(keys[0]);
        assert!(lab.servers[server].is_closed());
        // The request that waited for it has a new connection.
        let server = lab.accept_h1();
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(keys[1]), Some(200));
        assert_eq!(lab.stats().failed, 0);
    }
}

#[test]
fn an_unwanted_response_of_http1_is_read_if_its_end_is_near() {
    for (length, begun) in [(10, false), (10, true), (64 << 10, false), (0, false)] {
        let mut lab = Lab::new(|options, _| options.max_connections = 1);
        let upstream = lab.http1();
        let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
        let server = lab.accept_h1();
        let id = lab.servers[server].take_request().id;
        if begun {
            lab.respond_to(server, id, 200, Body::Stream);
            lab.send(server, id, pattern(length), false);
        }
        lab.cancel(keys[0]);
        // The place isn't free yet.
        lab.wait_ms(900);
        assert_eq!(
            (lab.servers[server].open(), lab.is_over(keys[1])),
            (0, false)
        );
        if begun {
            lab.send(server, id, pattern(length), true);
        } else {
            lab.respond_to(server, id, 200, Body::Full(pattern(length)));
        }
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(keys[1]), Some(200));
        assert_eq!((lab.stats().connected, lab.stats().idle), (1, 1));
        lab.wait_ms(2000);
        assert_eq!(lab.stats().open, 1);
    }
}

#[test]
fn an_unwanted_response_of_http1_is_cut_off_if_it_takes_long() {
    for length in [None, Some(65_537), Some(1_000_000)] {
        let mut lab = Lab::new(|options, _| options.max_connections = 1);
        let upstream = lab.http1();
        let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
        let server = lab.accept_h1();
        let id = lab.servers[server].take_request().id;
        lab.cancel(keys[0]);
        match length {
            None => lab.wait_ms(1001),
            Some(length) => {
                lab.respond_to(server, id, 200, Body::Stream);
                lab.servers[server].supply(id, pattern(length), false);
                lab.run();
            }
        }
        // A reset leaves no port in TIME_WAIT.
        assert!(
            lab.servers[server]
                .socket()
                .is_none_or(MemorySocket::is_failed)
        );
        let server = lab.accept_h1();
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(keys[1]), Some(200));
    }
}

#[test]
fn a_client_that_cancels_holds_the_place_until_the_response_has_come() {
    let mut lab = Lab::new(|options, _| options.max_connections = 9);
    let upstream = lab.http1();
    for _ in 0..100 {
        let key = lab.ask(get(upstream).of(1));
        while !lab.dialled.is_empty() {
            lab.accept_h1();
        }
        lab.cancel(key);
    }
    assert_eq!(lab.servers.len(), 8);
    let key = lab.ask(get(upstream).of(2));
    let server = lab.accept_h1();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn after_its_end_there_is_nothing_to_cancel() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let server = lab.accept_h2();
    lab.respond(server, 200, Body::Empty);
    lab.cancel(keys[0]);
    lab.cancel(keys[0]);
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(keys[1]), Some(200));
    assert_eq!(lab.servers[server].requests[0].reset, None);
    // Another request may have its slot by now.
    let next = lab.ask(get(upstream));
    lab.cancel(keys[1]);
    lab.respond(server, 204, Body::Empty);
    assert_eq!(lab.status(next), Some(204));
}

#[test]
fn events_that_were_pending_are_dropped() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    let server = lab.accept_h2();
    // Head and body come at once; the owner cancels when it handles the head.
    lab.cancel_on_event(key, key);
    lab.respond(server, 200, Body::Full(pattern(1000)));
    assert_eq!(lab.exchange(key).seen.len(), 1);
    assert_eq!(lab.stats().idle, 1);
    // Two requests fail at once; the owner cancels the second when it handles the first.
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    lab.cancel_on_event(keys[0], keys[1]);
    lab.wait_ms(120_000);
    assert_eq!(lab.failure(keys[0]), Some(Failure::TimedOut));
    assert!(lab.exchange(keys[1]).seen.is_empty());
}

#[test]
fn nobody_waits_for_it_any_more() {
    // Connections are opened for the requests that are left.
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    for _ in 0..3 {
        let key = lab.ask(get(upstream));
        assert_eq!(lab.dialled.len(), 1);
        lab.cancel(key);
    }
    let key = lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
    let server = lab.accept_h1();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn while_it_is_sent_again() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(get(upstream));
    lab.accept_h2();
    lab.refuse_stream(0);
    assert_eq!(lab.dialled.len(), 1);
    lab.cancel(key);
    let second = lab.accept_h2();
    assert!(lab.servers[second].requests.is_empty());
    assert_eq!(
        (lab.stats().open, lab.stats().idle, lab.stats().failed),
        (2, 2, 0)
    );
}

#[test]
fn of_several_those_that_wait_are_never_sent() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    let mut keys = vec![lab.ask(get(upstream))];
    let server = lab.accept_http2(|config| config.max_concurrent_streams = 1);
    keys.extend((0..5).map(|_| lab.ask(get(upstream))));
    let gone = keys.clone();
    lab.order(move |owner, conns| {
        let ids: Vec<_> = gone.iter().map(|key| owner.id(*key)).collect();
        owner.pool.cancel_all(conns, ids);
    });
    lab.run();
    assert_eq!(lab.servers[server].requests.len(), 1);
    assert_eq!(lab.stats().sent, 1);
    let key = lab.ask(get(upstream));
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}
