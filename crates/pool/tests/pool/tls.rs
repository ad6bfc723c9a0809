//! Upstreams over TLS, whose protocol ALPN decides.

use std::time::Duration;

use tidegate_http::{Body, RequestHead};
use tidegate_net::{Protocol, Trust};
use tidegate_pool::Failure;
use tidegate_testkit::tls::Certificate;

use crate::lab::{Ask, Key, Lab, Seen, Server, by_tls, by_tls_to, get, pattern};

fn websocket(upstream: tidegate_pool::UpstreamId) -> Ask {
    let head = RequestHead::extended_connect("websocket", "https", "localhost", "/chat");
    let head = head.field("sec-websocket-version", "13");
    get(upstream).head(head).body(Body::Stream)
}

#[test]
fn http2_gets_one_connection_and_http1_as_many_as_needed() {
    for protocol in [Protocol::Http2, Protocol::Http1] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(by_tls(), 1);
        let keys: Vec<Key> = (0..3).map(|_| lab.ask(get(upstream))).collect();
        // Until one is established, it is unknown how many requests it will take.
        assert_eq!(lab.dialled.len(), 1);
        lab.accept_tls(protocol, false);
        if protocol == Protocol::Http1 {
            assert_eq!(lab.dialled.len(), 2);
            lab.accept_tls(protocol, false);
            lab.accept_tls(protocol, false);
        }
        assert!(lab.dialled.is_empty());
        for server in 0..lab.servers.len() {
            while lab.servers[server].open() > 0 {
                lab.respond(server, 200, Body::Full(pattern(100_000)));
            }
        }
        for key in keys {
            let exchange = lab.exchange(key);
            let response = Seen::Response {
                status: 200,
                version: match protocol {
                    Protocol::Http1 => "HTTP/1.1",
                    Protocol::Http2 => "HTTP/2",
                },
                end: false,
            };
            assert_eq!(exchange.seen[0], response);
            assert!(exchange.body() == pattern(100_000) && exchange.is_over());
        }
        // Now the protocol is known.
        for _ in 0..4 {
            lab.ask(get(upstream));
        }
        let dialled = usize::from(protocol == Protocol::Http1);
        assert_eq!(lab.dialled.len(), dialled);
    }
}

#[test]
fn a_server_may_change_its_mind() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    for protocol in [Protocol::Http2, Protocol::Http1, Protocol::Http2] {
        let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
        while !lab.dialled.is_empty() {
            lab.accept_tls(protocol, false);
        }
        for server in 0..lab.servers.len() {
            while lab.servers[server].open() > 0 {
                lab.respond(server, 204, Body::Empty);
            }
        }
        for key in keys {
            assert_eq!(lab.status(key), Some(204));
        }
        for server in 0..lab.servers.len() {
            lab.cut(server, false);
        }
        assert_eq!(lab.stats().open, 0);
    }
}

#[test]
fn a_websocket_that_http2_does_not_take_goes_by_http1() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    let keys = [lab.ask(websocket(upstream)), lab.ask(websocket(upstream))];
    let http2 = lab.accept_tls(Protocol::Http2, false);
    // RFC 8441 §3: without the setting there are no WebSockets over HTTP/2. Over HTTP/1.1 each has
    // a connection.
    assert_eq!((lab.servers[http2].open(), lab.dialled.len()), (0, 2));
    for key in keys {
        let server = lab.accept_tls(Protocol::Http1, true);
        let id = lab.servers[server].take_request().id;
        lab.respond_to(server, id, 200, Body::Stream);
        assert_eq!(lab.status(key), Some(200));
        lab.write(key, pattern(10), true);
        assert!(lab.servers[server].got(id).end);
    }
    // Other requests go by HTTP/2 as before, and the next WebSocket by HTTP/1.1 at once.
    let key = lab.ask(get(upstream));
    assert_eq!(lab.servers[http2].open(), 1);
    lab.respond(http2, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    lab.ask(websocket(upstream));
    assert_eq!(lab.dialled.len(), 1);
    lab.accept_tls(Protocol::Http1, true);
    assert_eq!(lab.servers.iter().map(Server::open).sum::<usize>(), 1);
}

#[test]
fn a_websocket_that_http2_takes_stays_there() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    let key = lab.ask(websocket(upstream));
    let server = lab.accept_tls(Protocol::Http2, true);
    assert!(lab.dialled.is_empty());
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn a_server_without_http1_has_no_websocket() {
    let mut lab = Lab::new(|options, _| {
        options.backoff = Duration::from_secs(60);
        options.max_backoff = options.backoff;
    });
    let upstream = lab.upstream(by_tls(), 1);
    let keys = [lab.ask(websocket(upstream)), lab.ask(get(upstream))];
    lab.accept_tls(Protocol::Http2, false);
    lab.respond(0, 200, Body::Empty);
    assert_eq!(lab.status(keys[1]), Some(200));
    // The server agrees only to HTTP/2 (RFC 7301 §3.2).
    let server = lab.accept_tls(Protocol::Http2, false);
    lab.cut(server, false);
    lab.wait_ms(1100);
    assert!(matches!(lab.failure(keys[0]), Some(Failure::Tls(..))));
    // Requests without WebSockets are served there.
    let key = lab.ask(get(upstream));
    lab.respond(0, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn a_connection_of_http1_is_none_where_http2_is_wanted() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    let keys = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let first = lab.accept_tls(Protocol::Http1, false);
    let second = lab.accept_tls(Protocol::Http2, false);
    lab.respond(first, 200, Body::Empty);
    lab.respond(second, 200, Body::Empty);
    for key in keys {
        assert_eq!(lab.status(key), Some(200));
    }
    let now = lab.now;
    lab.servers[second].shut_down(now);
    lab.wait_ms(2000);
    // The address is expected to speak what it spoke last.
    let key = lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
    let third = lab.accept_tls(Protocol::Http2, false);
    lab.respond(third, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn a_server_that_is_somebody_else_gets_nothing() {
    let mut lab = Lab::new(|_, _| {});
    let trust = Trust::Pem(Certificate::localhost().pem.into_bytes());
    let upstream = lab.upstream(by_tls_to(&trust), 2);
    let key = lab.ask(get(upstream));
    // Both addresses are tried; neither certificate is trusted.
    for _ in 0..2 {
        let server = lab.accept_tls(Protocol::Http2, false);
        assert!(lab.servers[server].requests.is_empty());
        lab.wait_ms(1100);
    }
    let failure = lab.failure(key);
    assert!(
        matches!(failure, Some(Failure::Certificate(..))),
        "{failure:?}"
    );
    assert_eq!(lab.stats().connect_failures, 2);
}

#[test]
fn a_server_that_is_cut_in_a_response_until_the_end_ends_none() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    let key = lab.ask(get(upstream));
    let server = lab.accept_tls(Protocol::Http1, false);
    let id = lab.servers[server].take_request().id;
    lab.respond_to(server, id, 200, Body::Stream);
    lab.send(server, id, pattern(10), false);
    // RFC 9112 §9.8: "incomplete close".
    lab.cut(server, false);
    assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
    assert_eq!(lab.exchange(key).body().len(), 10);
}
