//! HTTP/2: one connection while it has room.

use tidegate_http::{Body, ErrorCode};
use tidegate_pool::Failure;
use tidegate_testkit::wire;

use crate::lab::{Key, Lab, Seen, Server, ask, get, pattern};

/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 §6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;

fn gets(lab: &mut Lab, upstream: tidegate_pool::UpstreamId, count: usize) -> Vec<Key> {
    (0..count).map(|_| lab.ask(get(upstream))).collect()
}

#[test]
fn one_connection_carries_many_requests() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    assert!(
        lab.dialled.is_empty(),
        "nothing is opened before it is needed"
    );
    // They all wait for the same connection.
    let keys = gets(&mut lab, upstream, 50);
    assert_eq!(lab.dialled.len(), 1);
    let server = lab.accept_h2();
    assert_eq!((lab.servers[server].open(), lab.stats().open), (50, 1));
    for _ in &keys {
        lab.respond(server, 200, Body::Full("hello".into()));
    }
    for key in keys {
        let exchange = lab.exchange(key);
        assert!(exchange.is_over());
        assert_eq!(exchange.body(), b"hello");
        let response = Seen::Response {
            status: 200,
            version: "HTTP/2",
            end: false,
        };
        assert_eq!(exchange.seen[0], response);
    }
    let later = lab.ask(get(upstream));
    lab.respond(server, 204, Body::Empty);
    assert_eq!(lab.status(later), Some(204));
    let stats = lab.stats();
    assert_eq!((stats.connected, stats.connect_failures), (1, 0));
    assert_eq!((stats.sent, stats.reused), (51, 50));
    assert_eq!((stats.retried, stats.failed), (0, 0));
    assert_eq!((stats.open, stats.idle), (1, 1));
}

#[test]
fn the_next_connection_is_opened_when_four_fifths_are_in_use() {
    for (most, enough) in [(10, 8), (100, 80), (5, 4), (4, 4), (3, 3), (2, 2)] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.h2c();
        gets(&mut lab, upstream, 1);
        let first = lab.accept_http2(|config| config.max_concurrent_streams = most);
        gets(&mut lab, upstream, enough - 2);
        assert!(lab.dialled.is_empty(), "{} of {most}", enough - 1);
        gets(&mut lab, upstream, 1);
        assert_eq!(lab.dialled.len(), 1, "{enough} of {most}");
        // Until it is established, the first one is filled.
        gets(&mut lab, upstream, most as usize - enough);
        assert_eq!(lab.servers[first].open(), most as usize);
        assert_eq!(lab.dialled.len(), 1);
        let second = lab.accept_http2(|config| config.max_concurrent_streams = most);
        gets(&mut lab, upstream, 1);
        assert_eq!(lab.servers[second].open(), 1);
        assert_eq!(lab.stats().retried, 0);
    }
}

#[test]
fn over_the_cap_requests_wait_and_are_served_in_order() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 2);
    let upstream = lab.h2c();
    let mut keys = gets(&mut lab, upstream, 1);
    lab.accept_http2(|config| config.max_concurrent_streams = 2);
    keys.extend(gets(&mut lab, upstream, 1));
    lab.accept_http2(|config| config.max_concurrent_streams = 2);
    keys.extend(gets(&mut lab, upstream, 6));
    assert!(lab.dialled.is_empty());
    assert_eq!((lab.servers[0].open(), lab.servers[1].open()), (2, 2));
    // Each place that becomes free goes to the request that has waited longest.
    let paths = |lab: &Lab| {
        let all = lab.servers.iter().flat_map(|server| &server.requests);
        all.count()
    };
    let mut order = Vec::new();
    for server in [1, 0, 0, 1, 1, 0, 0, 1] {
        let waited = paths(&lab);
        lab.respond(server, 200, Body::Empty);
        let over: Vec<Key> = keys
            .iter()
            .copied()
            .filter(|key| lab.is_over(*key) && !order.contains(key))
            .collect();
        order.extend(over);
        if waited < 8 {
            assert_eq!(paths(&lab), waited + 1);
        }
    }
    assert_eq!(order.len(), 8);
    // First come, first served, as far as two connections allow.
    let last = order.iter().position(|key| *key == keys[7]);
    assert!(last >= Some(6), "{order:?}");
    assert!(lab.dialled.is_empty());
    assert_eq!((lab.stats().retried, lab.stats().failed), (0, 0));
}

#[test]
fn of_two_that_have_much_to_do_the_one_with_less_is_chosen() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 2);
    let upstream = lab.h2c();
    gets(&mut lab, upstream, 1);
    lab.accept_http2(|config| config.max_concurrent_streams = 10);
    gets(&mut lab, upstream, 7);
    lab.accept_http2(|config| config.max_concurrent_streams = 10);
    gets(&mut lab, upstream, 8);
    let open = |lab: &Lab| [lab.servers[0].open(), lab.servers[1].open()];
    assert_eq!(open(&lab), [8, 8]);
    gets(&mut lab, upstream, 2);
    assert_eq!(open(&lab), [9, 9]);
    lab.respond(1, 200, Body::Empty);
    gets(&mut lab, upstream, 1);
    assert_eq!(open(&lab), [9, 9]);
}

#[test]
fn never_more_streams_than_the_peer_takes_even_if_it_takes_fewer_later() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    lab.ask(get(upstream));
    let server = lab.accept_frames(&[(MAX_CONCURRENT_STREAMS, 5)]);
    assert_eq!(lab.raw_requests(server), [1]);
    gets(&mut lab, upstream, 6);
    assert_eq!(lab.raw_requests(server), [3, 5, 7, 9]);
    // RFC 9113 §6.5.2: a lower value doesn't end open streams, but "An endpoint … MUST NOT exceed
    // the limit".
    let fewer = wire::settings(&[(MAX_CONCURRENT_STREAMS, 2)]);
    lab.write_frame(server, &fewer);
    for stream in [1, 3, 5] {
        lab.respond_raw(server, stream);
        assert!(lab.raw_requests(server).is_empty(), "{stream}");
    }
    lab.respond_raw(server, 7);
    assert_eq!(lab.raw_requests(server), [11]);
    lab.respond_raw(server, 9);
    assert_eq!(lab.raw_requests(server), [13]);
    gets(&mut lab, upstream, 3);
    assert!(lab.raw_requests(server).is_empty());
    let more = wire::settings(&[(MAX_CONCURRENT_STREAMS, 4)]);
    lab.write_frame(server, &more);
    assert_eq!(lab.raw_requests(server), [15, 17]);
    let none = wire::settings(&[(MAX_CONCURRENT_STREAMS, 0)]);
    lab.write_frame(server, &none);
    for stream in [11, 13, 15, 17] {
        lab.respond_raw(server, stream);
    }
    assert!(lab.raw_requests(server).is_empty());
    lab.write_frame(server, &more);
    assert_eq!(lab.raw_requests(server), [19]);
}

#[test]
fn a_burst_before_the_peer_has_said_what_it_takes_is_answered_all_the_same() {
    // Requests sent before SETTINGS may be refused, and half of these couldn't be sent again.
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 4);
    let upstream = lab.h2c();
    let mut keys = Vec::new();
    for _ in 0..75 {
        let body = Body::Full(pattern(100_000));
        keys.push(lab.ask(ask("POST", upstream).body(body)));
        keys.push(lab.ask(get(upstream)));
    }
    for _ in 0..200 {
        if !lab.dialled.is_empty() {
            lab.accept_http2(|config| config.max_concurrent_streams = 10);
        }
        for server in 0..lab.servers.len() {
            if lab.servers[server].open() > 0 {
                lab.respond(server, 200, Body::Empty);
            }
        }
    }
    for key in keys {
        assert_eq!(lab.status(key), Some(200), "{:?}", lab.failure(key));
    }
    assert!(lab.servers.len() <= 4);
    assert_eq!((lab.stats().retried, lab.stats().failed), (0, 0));
}

#[test]
fn what_a_goaway_leaves_out_is_sent_again_and_the_rest_finishes() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let keys = gets(&mut lab, upstream, 4);
    let old = lab.accept_frames(&[]);
    assert_eq!(lab.raw_requests(old), [1, 3, 5, 7]);
    // RFC 9113 §6.8: "Streams with a stream identifier higher than the included last stream
    // identifier … were not processed … [and] can be retried".
    lab.write_frame(old, &wire::goaway(3, ErrorCode::NO_ERROR));
    assert_eq!(lab.stats().retried, 2);
    let new = lab.accept_h2();
    assert_eq!(lab.servers[new].open(), 2);
    let later = lab.ask(get(upstream));
    assert_eq!(lab.servers[new].open(), 3);
    for _ in 0..3 {
        lab.respond(new, 201, Body::Empty);
    }
    for key in [keys[2], keys[3], later] {
        assert_eq!(lab.status(key), Some(201));
    }
    // The requests that it processes are answered there, however late.
    assert!(!lab.is_over(keys[0]) && !lab.is_over(keys[1]));
    lab.wait_ms(5000);
    for stream in [1, 3] {
        lab.respond_raw(old, stream);
    }
    assert_eq!(
        (lab.status(keys[0]), lab.status(keys[1])),
        (Some(200), Some(200))
    );
    // Then the connection isn't needed.
    lab.run();
    let last = lab.read_raw(old);
    assert!(!last.is_empty());
    lab.cut(old, false);
    assert_eq!((lab.stats().open, lab.stats().failed), (1, 0));
}

#[test]
fn what_two_goaways_leave_out_has_failed() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(ask("POST", upstream).body(Body::Full("body".into())));
    for _ in 0..2 {
        let server = lab.accept_frames(&[]);
        assert_eq!(lab.raw_requests(server), [1]);
        assert_eq!(lab.failure(key), None);
        lab.write_frame(server, &wire::goaway(0, ErrorCode::NO_ERROR));
    }
    assert_eq!(lab.failure(key), Some(Failure::Refused));
    assert!(lab.dialled.is_empty());
    let stats = lab.stats();
    assert_eq!((stats.retried, stats.failed), (1, 1));
}

#[test]
fn connections_that_take_no_more_than_a_few_lose_nothing() {
    // Some servers end each connection after so many requests, and leave out all that came later.
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    let keys = gets(&mut lab, upstream, 10);
    for round in 0..5 {
        let server = lab.accept_frames(&[]);
        let streams = lab.raw_requests(server);
        assert_eq!(streams.len(), 10 - 2 * round);
        lab.write_frame(server, &wire::goaway(3, ErrorCode::NO_ERROR));
        for stream in [1, 3] {
            lab.respond_raw(server, stream);
        }
    }
    assert!(keys.iter().all(|key| lab.is_over(*key)));
    assert_eq!((lab.stats().retried, lab.stats().failed), (20, 0));
}

#[test]
fn a_graceful_end_of_the_upstream_loses_nothing() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let first = lab.ask(get(upstream));
    let old = lab.accept_h2();
    let now = lab.now;
    lab.servers[old].shut_down(now);
    lab.run();
    let second = lab.ask(get(upstream));
    let new = lab.accept_h2();
    lab.respond(new, 200, Body::Empty);
    lab.respond(old, 200, Body::Empty);
    assert_eq!(
        (lab.status(first), lab.status(second)),
        (Some(200), Some(200))
    );
    lab.wait_ms(2000);
    assert!(lab.servers[old].socket().is_none());
    let stats = lab.stats();
    assert_eq!((stats.open, stats.idle, stats.retried), (1, 1, 0));
}

#[test]
fn connections_that_end_leave_room_for_others() {
    // A long response keeps each of the old connections open.
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 2);
    let upstream = lab.h2c();
    for _ in 0..5 {
        let key = lab.ask(get(upstream));
        let server = lab.accept_h2();
        lab.respond(server, 200, Body::Stream);
        assert_eq!(lab.status(key), Some(200));
        let now = lab.now;
        lab.servers[server].shut_down(now);
        lab.run();
    }
    assert_eq!(lab.stats().open, 5);
}

#[test]
fn the_longest_idle_connections_are_closed_first() {
    let mut lab = Lab::new(|options, _| options.limits.max_idle = 2);
    let upstreams: Vec<_> = (0..4).map(|_| lab.h2c()).collect();
    for upstream in &upstreams {
        lab.ask(get(*upstream));
        let server = lab.accept_h2();
        lab.respond(server, 200, Body::Empty);
    }
    assert_eq!((lab.stats().idle, lab.stats().open), (2, 2));
    let closed: Vec<bool> = lab.servers.iter().map(Server::is_closed).collect();
    assert_eq!(closed, [true, true, false, false]);
    // RFC 9113 §6.8: "Endpoints SHOULD always send a GOAWAY frame before closing a connection".
    assert!(lab.servers[0].goaway && lab.servers[1].goaway);
    // The third is used, so it no longer is the one that has been idle for longest.
    lab.ask(get(upstreams[2]));
    lab.respond(2, 200, Body::Empty);
    lab.ask(get(upstreams[0]));
    let server = lab.accept_h2();
    lab.respond(server, 200, Body::Empty);
    let closed: Vec<bool> = lab.servers.iter().map(Server::is_closed).collect();
    assert_eq!(closed, [true, true, false, true, false]);
}

#[test]
fn an_idle_connection_is_kept_for_its_time() {
    let mut lab = Lab::new(|_, config| config.timeouts.idle = std::time::Duration::from_secs(20));
    let upstream = lab.h2c();
    lab.ask(get(upstream));
    let server = lab.accept_h2();
    lab.respond(server, 200, Body::Empty);
    lab.wait_ms(19_000);
    assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
    lab.wait_ms(3000);
    assert_eq!((lab.stats().open, lab.stats().idle), (0, 0));
    assert!(lab.servers[server].goaway);
    // The next request needs a new connection.
    lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
}
