//! HTTP/1.1: one request at a time on each connection.

use std::io::IoSlice;
use std::time::Duration;

use tidegate_http::{Body, RequestHead, Violation};
use tidegate_pool::{Failure, UpstreamId};

use crate::lab::{Key, Lab, Seen, Server, ask, get, pattern};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn gets(lab: &mut Lab, upstream: UpstreamId, count: usize) -> Vec<Key> {
    (0..count).map(|_| lab.ask(get(upstream))).collect()
}

/// Accepts all connections that are being dialled.
fn accept_all(lab: &mut Lab) {
    while !lab.dialled.is_empty() {
        lab.accept_h1();
    }
}

#[test]
fn a_connection_carries_one_request_at_a_time() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let keys = gets(&mut lab, upstream, 3);
    assert_eq!(lab.dialled.len(), 3);
    accept_all(&mut lab);
    for server in 0..3 {
        assert_eq!(lab.servers[server].open(), 1);
        lab.respond(server, 200, Body::Full("hello".into()));
    }
    for key in keys {
        let exchange = lab.exchange(key);
        let response = Seen::Response {
            status: 200,
            version: "HTTP/1.1",
            end: false,
        };
        assert_eq!(
            (&exchange.seen[0], &exchange.body()[..]),
            (&response, &b"hello"[..])
        );
    }
    let stats = lab.stats();
    assert_eq!((stats.open, stats.idle, stats.reused), (3, 3, 0));
}

#[test]
fn the_connection_that_was_used_last_is_used_first() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    gets(&mut lab, upstream, 3);
    accept_all(&mut lab);
    for server in [2, 0, 1] {
        lab.respond(server, 200, Body::Empty);
    }
    for server in [1, 0, 2] {
        lab.ask(get(upstream));
        assert_eq!(lab.servers[server].open(), 1, "{server}");
    }
    // Answered and used again, it is still the last one.
    lab.respond(0, 200, Body::Empty);
    for _ in 0..5 {
        lab.ask(get(upstream));
        lab.respond(0, 200, Body::Empty);
    }
    assert!(lab.dialled.is_empty());
    let stats = lab.stats();
    assert_eq!((stats.connected, stats.reused, stats.idle), (3, 8, 1));
}

#[test]
fn over_the_cap_requests_wait_and_are_served_in_order() {
    let mut lab = Lab::new(|options, _| options.max_connections = 2);
    let upstream = lab.http1();
    let keys = gets(&mut lab, upstream, 8);
    assert_eq!(lab.dialled.len(), 2);
    accept_all(&mut lab);
    for (count, server) in [0, 1, 1, 0, 0, 0, 1, 0].into_iter().enumerate() {
        assert_eq!(lab.servers[server].open(), 1);
        lab.respond(server, 200, Body::Empty);
        let over = keys.iter().filter(|key| lab.is_over(**key)).count();
        assert_eq!(over, count + 1);
        if count < 6 {
            // The two requests in progress are those that have waited longest.
            let under_way = &keys[..(count + 3).min(8)];
            assert_eq!(
                under_way.iter().filter(|key| lab.is_over(**key)).count(),
                count + 1
            );
        }
    }
    assert_eq!((lab.stats().connected, lab.stats().failed), (2, 0));
}

#[test]
fn a_connection_that_the_server_ends_is_not_used_again() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    lab.ask(get(upstream));
    let server = lab.accept_raw();
    // RFC 9112 §9.6: "A client that receives a "close" connection option … MUST NOT send any
    // further requests on that connection".
    let close = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    lab.write_raw(server, close);
    let next = lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
    let server = lab.accept_raw();
    assert_eq!(lab.status(next), None);
    lab.write_raw(server, b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(lab.status(next), Some(200));
    lab.ask(get(upstream));
    assert_eq!(lab.dialled.len(), 1);
}

#[test]
fn a_free_connection_that_the_server_closes_is_not_used_again() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    gets(&mut lab, upstream, 2);
    accept_all(&mut lab);
    lab.respond(0, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    assert_eq!(lab.stats().idle, 2);
    lab.cut(1, false);
    assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
    let key = lab.ask(get(upstream));
    lab.respond(0, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    assert_eq!(lab.stats().retried, 0);
}

/// Writes on a raw connection, without a turn, and ends it.
fn last_words(lab: &mut Lab, server: usize, bytes: &[u8]) {
    let socket = lab.servers[server].socket_mut().as_mut();
    let socket = socket.expect("it is there");
    let written = socket.write(&[IoSlice::new(bytes)]);
    assert_eq!(written.unwrap(), bytes.len());
    socket.shut_down();
}

#[test]
fn what_is_known_of_a_connection_counts_before_a_request_is_put_on_it() {
    // EOF comes with the last response, while another request waits for the connection; or after
    // it, in the turn in which another request is made; or a response that nobody asked for comes
    // then.
    for (is_waiting, response, behind) in [(true, OK, &b""[..]), (false, OK, b""), (false, OK, OK)]
    {
        let mut lab = Lab::new(|options, _| options.max_connections = 1);
        let upstream = lab.http1();
        let first = lab.ask(get(upstream));
        let server = lab.accept_raw();
        let next = if is_waiting {
            let next = lab.ask(ask("POST", upstream));
            last_words(&mut lab, server, response);
            next
        } else {
            lab.write_raw(server, response);
            assert_eq!(lab.status(first), Some(200));
            let next = lab.enter(ask("POST", upstream));
            last_words(&mut lab, server, behind);
            next
        };
        lab.run();
        assert_eq!(lab.status(first), Some(200));
        assert!(!lab.is_over(next), "{:?}", lab.failure(next));
        let server = lab.accept_raw();
        lab.write_raw(server, b"HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(lab.status(next), Some(204));
        assert_eq!(lab.stats().retried, 0);
    }
}

#[test]
fn the_longest_idle_connections_are_closed_first() {
    let mut lab = Lab::new(|options, _| options.limits.max_idle = 2);
    let upstream = lab.http1();
    gets(&mut lab, upstream, 4);
    accept_all(&mut lab);
    for server in [1, 3, 0, 2] {
        lab.respond(server, 200, Body::Empty);
    }
    let closed: Vec<bool> = lab.servers.iter().map(Server::is_closed).collect();
    assert_eq!(closed, [false, true, false, true]);
    assert_eq!((lab.stats().open, lab.stats().idle), (2, 2));
    // The others are used, last used first.
    for server in [2, 0] {
        lab.ask(get(upstream));
        assert_eq!(lab.servers[server].open(), 1);
    }
    assert_eq!(lab.stats().idle, 0);
}

#[test]
fn an_idle_connection_is_kept_for_its_time_or_the_servers() {
    let seconds = Duration::from_secs;
    for (keep_alive, kept) in [("", 20), ("keep-alive: timeout=10\r\n", 9)] {
        let mut lab = Lab::new(|_, config| config.timeouts.idle = seconds(20));
        let upstream = lab.http1();
        lab.ask(get(upstream));
        let server = lab.accept_raw();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{keep_alive}\r\n");
        lab.write_raw(server, answer);
        lab.wait(seconds(kept - 1));
        assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
        lab.wait(seconds(4));
        assert_eq!((lab.stats().open, lab.stats().idle), (0, 0));
    }
}

#[test]
fn what_nobody_asked_for_is_nobodys_answer() {
    // RFC 9112 §9.2: "If a client receives data on a connection that does not have outstanding
    // requests, the client MUST NOT consider that data to be a valid response". Otherwise a server
    // that sends too much, or an attacker who makes it do so, decides what other requests are
    // answered.
    let mut lab = Lab::new(|options, _| options.max_connections = 1);
    let upstream = lab.http1();
    let keys = gets(&mut lab, upstream, 2);
    let server = lab.accept_raw();
    let second = b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\n\r\n";
    lab.write_raw(server, [OK, second].concat());
    assert_eq!(lab.status(keys[0]), Some(200));
    assert_eq!(lab.status(keys[1]), None);
    // The request goes to another connection, and is sent once.
    let server = lab.accept_h1();
    lab.respond(server, 204, Body::Empty);
    assert_eq!(lab.status(keys[1]), Some(204));
    assert_eq!(lab.stats().retried, 0);
}

#[test]
fn requests_that_cannot_be_sent_take_no_connection_with_them() {
    let mut lab = Lab::new(|options, _| options.max_connections = 2);
    let upstream = lab.http1();
    gets(&mut lab, upstream, 2);
    accept_all(&mut lab);
    lab.respond(0, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    for _ in 0..5 {
        // HTTP/1.1 has no such request.
        let head = RequestHead::extended_connect("connect-udp", "http", "localhost", "/");
        let key = lab.ask(get(upstream).head(head));
        assert_eq!(lab.failure(key), Some(Failure::NoWebSocket));
        let head = RequestHead::new("GET", "http", "localhost", "/").field("bad name", "x");
        let key = lab.ask(get(upstream).head(head));
        assert_eq!(lab.failure(key), Some(Failure::Unsendable));
    }
    let keys = gets(&mut lab, upstream, 2);
    lab.respond(0, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    for key in keys {
        assert_eq!(lab.status(key), Some(200));
    }
    assert_eq!((lab.stats().connected, lab.stats().failed), (2, 10));
}

#[test]
fn head_and_statuses_without_content_leave_the_connection_usable() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let key = lab.ask(ask("HEAD", upstream));
    let server = lab.accept_raw();
    lab.write_raw(server, b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
    assert!(lab.is_over(key));
    for status in ["204 No Content", "304 Not Modified"] {
        let key = lab.ask(get(upstream));
        lab.write_raw(server, format!("HTTP/1.1 {status}\r\n\r\n"));
        assert!(lab.is_over(key) && lab.failure(key).is_none());
    }
    assert_eq!((lab.stats().connected, lab.stats().reused), (1, 2));
}

#[test]
fn a_response_until_the_end_of_the_connection() {
    for by_reset in [false, true] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        let key = lab.ask(get(upstream));
        let server = lab.accept_raw();
        lab.read_raw(server);
        lab.write_raw(server, b"HTTP/1.1 200 OK\r\n\r\nhello");
        assert!(!lab.is_over(key));
        lab.cut(server, by_reset);
        assert_eq!(lab.exchange(key).body(), b"hello");
        // RFC 9112 §8: "considered complete unless an error was indicated by the underlying
        // connection".
        if by_reset {
            assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
        } else {
            assert!(lab.is_over(key) && lab.failure(key).is_none());
        }
        assert_eq!(lab.stats().open, 0);
    }
}

#[test]
fn a_server_that_breaks_rules_is_reported_as_such() {
    for (answer, violation) in [
        (&b"HTTP/1.1 abc\r\n\r\n"[..], Violation::StatusLineInvalid),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Violation::ContentLengthWithTransferEncoding,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            Violation::ChunkInvalid,
        ),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Violation::UpgradeInvalid,
        ),
    ] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        let key = lab.ask(get(upstream));
        let server = lab.accept_raw();
        lab.write_raw(server, answer);
        lab.cut(server, false);
        assert_eq!(lab.failure(key), Some(Failure::Violation(violation)));
        let whole = |seen: &Seen| matches!(seen, Seen::Data { end: true, .. });
        assert!(!lab.exchange(key).seen.iter().any(whole));
    }
}

#[test]
fn a_request_goes_out_as_it_was_made() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let head = RequestHead::new("PUT", "http", "example.org", "/a?b").field("x-y", "z");
    let key = lab.ask(get(upstream).head(head).body(Body::Full(pattern(10_000))));
    let server = lab.accept_raw();
    let got = lab.read_raw(server);
    let head =
        &b"PUT /a?b HTTP/1.1\r\nhost: example.org\r\nx-y: z\r\ncontent-length: 10000\r\n\r\n"[..];
    assert!(
        got == [head, &pattern(10_000)].concat(),
        "{}",
        got.escape_ascii()
    );
    lab.write_raw(server, OK);
    assert!(lab.is_over(key));
}

#[test]
fn a_connection_that_may_have_become_a_clients_is_nobody_elses() {
    // RFC 9110 §3.3: these schemes authenticate the connection, although each request should stand
    // alone.
    for (credentials, is_kept) in [
        ("NTLM TlRMTVNTUAAB", false),
        ("negotiate YIIa", false),
        ("Basic YTpi", true),
        ("Bearer ntlm", true),
    ] {
        let mut lab = Lab::new(|_, _| {});
        let upstream = lab.http1();
        let head = RequestHead::new("GET", "http", "localhost", "/");
        let head = head.field("authorization", credentials);
        let key = lab.ask(get(upstream).head(head));
        let server = lab.accept_h1();
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
        assert_eq!(lab.stats().idle, u64::from(is_kept), "{credentials}");
        assert_eq!(lab.servers[server].is_closed(), !is_kept, "{credentials}");
    }
}
