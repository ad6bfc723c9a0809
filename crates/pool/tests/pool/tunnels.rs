//! CONNECT and WebSockets, over either protocol.

use tidegate_http::{Body, Fields, RequestHead};
use tidegate_pool::{Failure, Security};
use tidegate_testkit::wire;

use crate::lab::{Ask, Key, Lab, Seen, get, pattern};

/// SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

fn websocket(upstream: tidegate_pool::UpstreamId) -> Ask {
    let head = RequestHead::extended_connect("websocket", "http", "localhost", "/chat");
    let head = head.field("sec-websocket-version", "13");
    get(upstream).head(head).body(Body::Stream)
}

fn is_end(seen: &Seen) -> bool {
    matches!(seen, Seen::Data { end: true, .. })
}

/// Opens a tunnel that is granted: for a WebSocket, or for CONNECT over HTTP/2.
fn tunnels() -> Vec<(Lab, Key, usize, tidegate_http::StreamId)> {
    let mut tunnels = Vec::new();
    for (security, is_websocket) in [
        (Security::H2c, true),
        (Security::Http1, true),
        (Security::H2c, false),
    ] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = if is_websocket {
            lab.ask(websocket(upstream))
        } else {
            let head = RequestHead::connect("example.org:22");
            lab.ask(get(upstream).head(head).body(Body::Stream))
        };
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_http2(|config| config.enable_connect_protocol = is_websocket),
        };
        let got = lab.servers[server].take_request();
        let id = got.id;
        assert_eq!(got.head.protocol(), is_websocket.then_some("websocket"));
        lab.respond_to(server, id, 200, Body::Stream);
        assert!(matches!(
            lab.exchange(key)
                .seen
                .iter()
                .find(|seen| **seen != Seen::Writable),
            Some(Seen::Response {
                status: 200,
                end: false,
                ..
            })
        ));
        tunnels.push((lab, key, server, id));
    }
    tunnels
}

#[test]
fn a_tunnel_that_the_upstream_ends_first_goes_on_the_other_way() {
    for (mut lab, key, server, id) in tunnels() {
        lab.write(key, pattern(100), false);
        lab.send(server, id, pattern(200), true);
        assert!(lab.exchange(key).body() == pattern(200));
        assert!(lab.exchange(key).seen.iter().any(is_end));
        for _ in 0..3 {
            lab.wait_ms(5000);
            lab.write(key, pattern(300), false);
        }
        lab.write(key, pattern(1), true);
        let got = lab.servers[server].got(id);
        assert!(got.end && got.body.len() == 1001);
        assert_eq!(lab.failure(key), None);
        // Now it is over, and nothing of it is left.
        lab.wait_ms(2000);
        let stats = lab.stats();
        assert_eq!((stats.failed, stats.open - stats.idle), (0, 0));
    }
}

#[test]
fn a_tunnel_that_the_owner_ends_first_goes_on_the_other_way() {
    for (mut lab, key, server, id) in tunnels() {
        lab.write(key, pattern(100), true);
        assert!(lab.servers[server].got(id).end);
        for _ in 0..3 {
            lab.wait_ms(5000);
            lab.send(server, id, pattern(300), false);
        }
        assert!(!lab.exchange(key).seen.iter().any(is_end));
        lab.send(server, id, pattern(1), true);
        assert_eq!(lab.exchange(key).body().len(), 901);
        assert!(lab.exchange(key).seen.iter().any(is_end));
        lab.wait_ms(2000);
        let stats = lab.stats();
        assert_eq!((stats.failed, stats.open - stats.idle), (0, 0));
    }
}

#[test]
fn a_tunnel_that_is_cut_off_has_failed() {
    for (mut lab, key, server, id) in tunnels() {
        lab.send(server, id, pattern(10), false);
        lab.cut(server, true);
        assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
        assert!(!lab.exchange(key).seen.iter().any(is_end));
        assert_eq!(lab.stats().open, 0);
    }
}

#[test]
fn a_tunnel_that_is_cancelled_is_gone() {
    for (mut lab, key, server, id) in tunnels() {
        lab.send(server, id, pattern(10), true);
        lab.cancel(key);
        let stats = lab.stats();
        assert_eq!((stats.failed, stats.open - stats.idle), (0, 0));
    }
}

#[test]
fn an_owner_that_has_nothing_to_say_may_say_so_before_the_tunnel_is_there() {
    for security in [Security::H2c, Security::Http1] {
        for after_dial in [false, true] {
            let mut lab = Lab::new(|_, _| {});
            let upstream = lab.upstream(security.clone(), 1);
            let key = lab.ask(websocket(upstream));
            if !after_dial {
                lab.write(key, pattern(0), true);
            }
            let server = match security {
                Security::Http1 => lab.accept_h1(),
                _ => lab.accept_http2(|config| config.enable_connect_protocol = true),
            };
            if after_dial {
                lab.write(key, pattern(0), true);
            }
            let id = lab.servers[server].take_request().id;
            lab.respond_to(server, id, 200, Body::Stream);
            lab.send(server, id, pattern(10), false);
            assert!(lab.servers[server].got(id).end);
            lab.send(server, id, pattern(10), true);
            assert!(lab.exchange(key).seen.iter().any(is_end));
            lab.wait_ms(2000);
            let stats = lab.stats();
            assert_eq!((stats.failed, stats.open - stats.idle), (0, 0));
        }
    }
}

#[test]
fn a_tunnel_of_which_both_ends_have_nothing_to_say_is_over() {
    for with_trailers in [false, true] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        let key = lab.ask(websocket(upstream));
        let server = lab.accept_h1();
        if !with_trailers {
            lab.write(key, pattern(0), true);
        }
        lab.respond(server, 200, Body::Empty);
        assert!(lab.exchange(key).seen.iter().any(is_end));
        if with_trailers {
            // A tunnel has no trailers, but they end our direction.
            lab.write_with_trailers(key, pattern(0), Fields::new());
        }
        lab.wait_ms(2000);
        assert_eq!((lab.failure(key), lab.stats().open), (None, 0));
    }
}

#[test]
fn a_tunnel_that_the_upstream_ends_with_its_head_goes_on_the_other_way() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(websocket(upstream));
    let server = lab.accept_http2(|config| config.enable_connect_protocol = true);
    let id = lab.respond(server, 200, Body::Empty);
    let seen = lab.exchange(key).seen.clone();
    assert!(
        matches!(
            seen[..],
            [
                Seen::Writable,
                Seen::Response { end: false, .. },
                Seen::Data { end: true, .. }
            ]
        ),
        "{seen:?}"
    );
    lab.write(key, pattern(100), false);
    lab.write(key, pattern(100), true);
    let got = lab.servers[server].got(id);
    assert!(got.end && got.body.len() == 200);
    let stats = lab.stats();
    assert_eq!((stats.failed, stats.open, stats.idle), (0, 1, 1));
}

#[test]
fn a_tunnel_that_is_asked_for_again_ends_each_way_by_itself() {
    // The request is refused after some of the data was written. The next stream takes that only
    // after the upstream's direction has ended.
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let key = lab.ask(websocket(upstream));
    let first = lab.accept_http2(|config| config.enable_connect_protocol = true);
    lab.write(key, pattern(1000), true);
    lab.refuse_stream(first);
    lab.hold = true;
    let second = lab.accept_http2(|config| {
        config.enable_connect_protocol = true;
        config.initial_window_size = 100;
        config.max_stream_window_size = 100;
    });
    let id = lab.respond(second, 200, Body::Empty);
    assert!(lab.exchange(key).seen.iter().any(is_end));
    assert_eq!(lab.servers[second].got(id).body.len(), 100);
    lab.servers[second].holds = false;
    lab.servers[second].stream(id, |mut stream| stream.consume(100));
    lab.run();
    let got = lab.servers[second].got(id);
    assert!(got.end && got.body == pattern(1000));
    // The request is over, so it can't time out.
    lab.wait(std::time::Duration::from_secs(10_000));
    assert_eq!((lab.failure(key), lab.stats().failed), (None, 0));
}

#[test]
fn websockets_that_wait_are_served_in_order() {
    for others in 0..4 {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.h2c();
        let keys = [(); 3].map(|()| lab.ask(websocket(upstream)));
        let server = lab.accept_raw();
        // Each of these serves the waiting requests.
        for number in 0..others {
            let key = lab.ask(get(upstream));
            lab.cancel(key);
            assert_eq!(lab.raw_requests(server), [2 * number + 1]);
        }
        let settings = wire::settings(&[(ENABLE_CONNECT_PROTOCOL, 1)]);
        lab.write_frame(server, &settings);
        let streams = lab.raw_requests(server);
        assert_eq!(streams.len(), 3);
        for (key, stream) in keys.into_iter().zip(streams) {
            lab.respond_raw(server, stream);
            assert_eq!(lab.status(key), Some(200), "{others}");
        }
    }
}

#[test]
fn a_websocket_waits_for_what_the_upstream_can_do() {
    // RFC 8441 §3: "a client … MUST NOT" use it without that setting.
    for can in [false, true] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.h2c();
        let keys = [lab.ask(websocket(upstream)), lab.ask(get(upstream))];
        let server = lab.accept_raw();
        // Other requests needn't wait.
        assert_eq!(lab.raw_requests(server), [1]);
        assert!(!lab.is_over(keys[0]));
        let settings = if can {
            wire::settings(&[(ENABLE_CONNECT_PROTOCOL, 1)])
        } else {
            wire::settings(&[])
        };
        lab.write_frame(server, &settings);
        if can {
            assert_eq!(lab.raw_requests(server), [3]);
            lab.respond_raw(server, 3);
            assert_eq!(lab.status(keys[0]), Some(200));
        } else {
            assert_eq!(lab.failure(keys[0]), Some(Failure::NoWebSocket));
            assert!(lab.raw_requests(server).is_empty());
        }
        lab.respond_raw(server, 1);
        assert_eq!(lab.status(keys[1]), Some(200));
        // The next WebSocket needn't wait.
        let key = lab.ask(websocket(upstream));
        if can {
            assert_eq!(lab.raw_requests(server), [5]);
        } else {
            assert_eq!(lab.failure(key), Some(Failure::NoWebSocket));
        }
    }
}

#[test]
fn a_websocket_that_nobody_uses_yet_keeps_its_connection() {
    // There is no stream before SETTINGS, so the connection is idle, and one too many.
    let mut lab = Lab::new(|options, _| options.limits.max_idle = 0);
    let upstream = lab.h2c();
    let key = lab.ask(websocket(upstream));
    let server = lab.accept_raw();
    lab.write_frame(server, &wire::settings(&[(ENABLE_CONNECT_PROTOCOL, 1)]));
    assert_eq!(lab.raw_requests(server), [1]);
    assert_eq!(lab.failure(key), None);
}

#[test]
fn a_websocket_by_http1_has_a_key_of_its_own() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let mut keys = Vec::new();
    for _ in 0..2 {
        lab.ask(websocket(upstream));
        let server = lab.accept_raw();
        let head = String::from_utf8(lab.read_raw(server)).unwrap();
        assert!(
            head.starts_with("GET /chat HTTP/1.1\r\nhost: localhost\r\n"),
            "{head}"
        );
        // RFC 6455 §4.1 asks for a key.
        for line in ["upgrade: websocket\r\n", "sec-websocket-version: 13\r\n"] {
            assert!(head.to_lowercase().contains(line), "{head}");
        }
        let key = head
            .lines()
            .find_map(|line| line.strip_prefix("sec-websocket-key: "));
        keys.push(key.expect("there is a key").to_owned());
    }
    assert_eq!((keys[0].len(), keys[1].len()), (24, 24));
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn a_websocket_that_is_turned_down_leaves_an_ordinary_response() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.upstream(security.clone(), 1);
        let key = lab.ask(websocket(upstream));
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_http2(|config| config.enable_connect_protocol = true),
        };
        lab.respond(server, 403, Body::Full("no".into()));
        assert_eq!(lab.status(key), Some(403));
        assert_eq!(lab.exchange(key).body(), b"no");
        let stats = lab.stats();
        assert_eq!((stats.failed, stats.open - stats.idle), (0, 0));
        let next = lab.ask(get(upstream));
        if !lab.dialled.is_empty() {
            lab.accept_h1();
        }
        let last = lab.servers.len() - 1;
        lab.respond(last, 200, Body::Empty);
        assert_eq!(lab.status(next), Some(200));
    }
}

#[test]
fn an_upstream_that_ignores_the_upgrade_answers_the_get() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    for length in [2, 0] {
        let key = lab.ask(websocket(upstream));
        if !lab.dialled.is_empty() {
            lab.accept_raw();
        }
        let body = &"hi"[..length];
        lab.write_raw(
            0,
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"),
        );
        assert_eq!((lab.status(key), lab.failure(key)), (Some(200), None));
        assert!(!lab.exchange(key).opened_tunnel());
        assert_eq!(lab.exchange(key).body(), body.as_bytes());
        // The connection goes on.
        assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
    }
}
