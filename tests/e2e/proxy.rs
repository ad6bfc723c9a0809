//! Routes that lead to upstreams: the forwarded requests and responses, refusals, and requests of
//! which either end fails.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use tidegate_http::{Body, ErrorCode, RequestHead, ResponseHead, StreamId};
use tidegate_testkit::wire;

use crate::client::Client;
use crate::http1;
use crate::server::{PATIENCE, Server, refused};
use crate::start::{assert_sentence, certificate_files};
use crate::targets::pattern;
use crate::upstream::{Conn, Upstream, field};

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Starts a proxy with these flags. It has one worker, so that the connection of one request can
/// serve the next, and a long timeout for connecting.
fn proxy(flags: &[&str]) -> Server {
    let mine = ["--workers", "1", "--upstream-connect-timeout", "60s"];
    Server::start(&[&mine, flags].concat())
}

/// An address where nobody listens, and which the kernel never picks as a free port.
const NOBODY: &str = "127.0.0.1:1";

#[test]
fn upstreams_of_each_kind() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "upstream");
    let behind = Server::start(&["--cert", &cert, "--key", &key]);
    let (tls, clear) = (behind.tls.unwrap(), behind.h2c.unwrap());
    let routes = [
        format!("/http=http://{clear}/"),
        format!("/h2c=h2c://{clear}/"),
        format!("/https=https://localhost:{}/", tls.port()),
    ];
    let mut flags = vec!["--upstream-ca", &cert];
    for route in &routes {
        flags.extend(["--route", route]);
    }
    let server = proxy(&flags);
    let upload = pattern(1_000_000);
    let mut clients = [Client::tls(server.tls), Client::h2c(server.h2c)];
    let mut http1 = http1::Client::new(server.h2c);
    for kind in ["http", "h2c", "https"] {
        let path = |path: &str| format!("/{kind}{path}");
        for client in &mut clients {
            let status = client.get(&path("/status"));
            assert_eq!(status.text(), r#"{"status":"ok"}"#, "{kind}");
            let via = if kind == "http" { "1.1" } else { "2" };
            assert_eq!(status.field("via"), format!("{via} tidegate"), "{kind}");
            let body = Body::Full(upload.clone().into());
            let echo = client.ask("POST", &path("/echo"), &[], body);
            assert!(echo.body == upload, "{kind}");
        }
        let status = http1.get(&path("/status"));
        assert_eq!(status.text(), r#"{"status":"ok"}"#, "{kind}");
        let length = format!("Content-Length: {}\r\n", upload.len());
        let report = http1.ask(&format!("PUT {}", path("/upload")), &length, &upload);
        assert!(report.text().starts_with(r#"{"bytes":1000000,"#), "{kind}");
    }
    server.wait_for("\"GET /https/status HTTP/2\" 200 15 ");
}

#[test]
fn what_an_upstream_gets() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/"), "--log", "off"]);
    let mut client = Client::h2c(server.h2c);
    // RFC 9113 §8.2.3 and §8.2.2: cookie crumbs are joined for HTTP/1.1, and HTTP/2 has no
    // connection-specific fields.
    let fields = [
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("te", "trailers"),
        ("x-forwarded-for", "203.0.113.9"),
        ("forwarded", "for=203.0.113.9"),
        ("x-real-ip", "203.0.113.9"),
        ("proxy", "http://example.org"),
        ("x-custom", "kept"),
    ];
    client.ask("GET", "/a/%7Eb?c=%2F", &fields, Body::Empty);
    let head = upstream.seen();
    assert!(head.starts_with("GET /a/%7Eb?c=%2F HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "localhost"),
        ("cookie", "a=b; c=d"),
        ("x-custom", "kept"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "localhost"),
        ("forwarded", "for=127.0.0.1;host=\"localhost\";proto=http"),
        ("via", "2 tidegate"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
    assert!(
        !head.contains("203.0.113.9") && !head.contains("example.org"),
        "{head}"
    );
    let mut http1 = http1::Client::new(server.h2c);
    let hop_by_hop = "Connection: keep-alive, X-Secret\r\nX-Secret: s\r\nKeep-Alive: 5\r\nUpgrade: websocket, h2c\r\n\
                      HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nProxy-Connection: x\r\n";
    let answer = http1.ask("GET http://other/x", hop_by_hop, b"");
    assert_eq!((answer.status, answer.field("via")), (204, "1.1 tidegate"));
    let head = upstream.seen();
    assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
    // RFC 9112 §3.2.2: the authority of an absolute-form target replaces Host.
    assert_eq!(field(&head, "host"), Some("other"));
    for gone in [
        "x-secret",
        "keep-alive",
        "upgrade",
        "http2-settings",
        "proxy-connection",
    ] {
        assert_eq!(field(&head, gone), None, "{head}");
    }
}

/// A request that repeats the last one of its connection takes a shorter way. What goes on is the
/// same, whoever else asks on the same connections to the upstream.
#[test]
fn requests_that_repeat_go_on_as_they_came() {
    let upstream = Upstream::http2(ResponseHead::new(204), "", &[]);
    let old = Upstream::answering(NO_CONTENT);
    let server = proxy(
        &[
            ["--route", &upstream.h2c_route("/a")],
            ["--route", &old.route("/b")],
            ["--log", "off"],
        ]
        .concat(),
    );
    let mut clients: Vec<_> = (0..3).map(|_| Client::h2c(server.h2c)).collect();
    let mut ask = |client: usize, path: &str, cookie: &str, body: &'static [u8]| {
        let fields = [("cookie", cookie), ("x-client", cookie)];
        let body = if body.is_empty() {
            Body::Empty
        } else {
            Body::Full(body.into())
        };
        let answer = clients[client].ask("POST", path, &fields, body);
        assert_eq!(answer.status(), 204);
        let seen = if path.starts_with("/a") {
            &upstream
        } else {
            &old
        };
        let head = seen.seen();
        assert!(head.starts_with(&format!("POST {path} ")), "{head}");
        for name in ["cookie", "x-client"] {
            assert_eq!(field(&head, name), Some(cookie), "{head}");
        }
    };
    for path in ["/a", "/b", "/a/x"] {
        for _ in 0..5 {
            for client in 0..3 {
                // The second client's requests are those of the first one.
                ask(client, path, if client < 2 { "one" } else { "two" }, b"");
            }
        }
        for cookie in ["three", "three", "three", "four", "four", "four", "three"] {
            ask(0, path, cookie, b"");
        }
    }
}

#[test]
fn requests_that_repeat_have_their_own_bodies() {
    let behind = Server::start(&[]);
    let clear = behind.h2c.unwrap();
    let routes = [
        format!("/http=http://{clear}/"),
        format!("/h2c=h2c://{clear}/"),
    ];
    let server = proxy(&["--route", &routes[0], "--route", &routes[1]]);
    let ways = [
        ("/http/echo", &[][..]),
        ("/h2c/echo", &[]),
        ("/http/echo", &[("expect", "100-continue")]),
    ];
    for mut client in [Client::tls(server.tls), Client::h2c(server.h2c)] {
        for (path, fields) in ways {
            for size in [10, 0, 100_000, 0, 0, 1, 100_000, 10] {
                let id = client.send("POST", path, fields, Body::Stream);
                client.write(id, pattern(size), true);
                let with_trailers = client.send("POST", path, fields, Body::Stream);
                client.write(with_trailers, pattern(size), false);
                client.end_with(with_trailers, "x-end", "1");
                for id in [id, with_trailers] {
                    let response = client.response(id);
                    assert_eq!(response.status(), 200);
                    assert!(response.body == pattern(size), "{size} at {path}");
                }
                let empty = client.ask("POST", path, fields, Body::Empty);
                assert_eq!((empty.status(), empty.body.len()), (200, 0));
            }
        }
    }
}

#[test]
fn paths_and_hosts_can_be_rewritten() {
    let upstream = Upstream::answering(NO_CONTENT);
    let route = upstream.route("/api") + "/v2/";
    let server = proxy(&["--route", &route, "--upstream-host", "rewrite"]);
    let mut client = Client::h2c(server.h2c);
    for (asked, got) in [
        ("/api", "/v2"),
        ("/api/", "/v2/"),
        ("/api/users?x=1", "/v2/users?x=1"),
        ("/api?x", "/v2?x"),
    ] {
        client.get(asked);
        let head = upstream.seen();
        assert!(
            head.starts_with(&format!("GET {got} HTTP/1.1\r\n")),
            "{asked}: {head}"
        );
        assert_eq!(field(&head, "host"), Some(&*upstream.authority()));
        assert_eq!(field(&head, "x-forwarded-host"), Some("localhost"));
    }
}

#[test]
fn proxies_in_front_are_believed_if_told_so() {
    let upstream = Upstream::answering(NO_CONTENT);
    let trusting = ["--trust-forwarded-from", "127.0.0.0/8"];
    let server = proxy(&[&["--route", &*upstream.route("/")], &trusting[..]].concat());
    let fields = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "site.example"),
        ("forwarded", "for=203.0.113.9;proto=https"),
        ("x-real-ip", "203.0.113.9"),
    ];
    Client::h2c(server.h2c).ask("GET", "/", &fields, Body::Empty);
    let head = upstream.seen();
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9, 127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "site.example"),
        (
            "forwarded",
            "for=203.0.113.9;host=\"site.example\";proto=https, for=127.0.0.1",
        ),
        ("x-real-ip", "203.0.113.9"),
    ] {
        assert_eq!(field(&head, name), Some(value), "{head}");
    }
}

#[test]
fn requests_for_clients_of_a_proxy_in_front_count_until_they_are_over() {
    let upstream = Upstream::new(|conn| {
        while let Some(head) = conn.request() {
            if head.starts_with("GET /hold ") {
                return conn.wait_for_end();
            }
            conn.send(NO_CONTENT);
        }
    });
    let route = upstream.route("/");
    let limited = ["--max-requests-per-client", "1"];
    let trusting = ["--trust-forwarded-from", "127.0.0.0/8"];
    let server = proxy(&[&["--route", &*route], &limited[..], &trusting].concat());
    let mut front = Client::h2c(server.h2c);
    let [first, second] = ["203.0.113.1", "203.0.113.2"].map(|ip| [("x-forwarded-for", ip)]);
    let held = front.send("GET", "/hold", &first, Body::Empty);
    assert!(upstream.seen().starts_with("GET /hold "));
    for (client, status) in [(first, 429), (second, 204)] {
        let answer = front.ask("GET", "/", &client, Body::Empty);
        assert_eq!(answer.status(), status);
    }
    front.cancel(held);
    for _ in 0..2 {
        let answer = front.ask("GET", "/", &first, Body::Empty);
        assert_eq!(answer.status(), 204);
    }
}

#[test]
fn a_websocket_has_no_length() {
    // RFC 9110 §9.3.6: "A CONNECT request message does not have content".
    let upstream = Upstream::http2(ResponseHead::new(200), "", &[]);
    let server = proxy(&["--route", &upstream.h2c_route("/"), "--websocket", "/ws"]);
    let mut client = http1::Client::new(server.h2c);
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = upstream.seen();
    assert!(head.starts_with("CONNECT /ws HTTP/2\r\n"), "{head}");
    assert_eq!(field(&head, "content-length"), None, "{head}");
}

#[test]
fn a_request_without_a_host_gets_the_upstreams() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/")]);
    // RFC 9113 §8.3.1: a request may omit ":authority".
    let mut client = Client::h2c(server.h2c);
    let id = client.open(&RequestHead::new("GET", "http", "", "/"), Body::Empty);
    client.send("GET", "/", &[], Body::Empty);
    assert_eq!(client.response(id).status(), 204);
    let heads = [upstream.seen(), upstream.seen()];
    let host = |head: &String| field(head, "host").map(str::to_owned);
    let mut hosts = [host(&heads[0]), host(&heads[1])];
    hosts.sort();
    let mut expected = [Some(upstream.authority()), Some("localhost".to_owned())];
    expected.sort();
    assert_eq!(hosts, expected);
    // RFC 9112 §3.2 requires Host in HTTP/1.1 only. RFC 9110 §7.6.3: Via has the version of the
    // received message.
    let mut socket = TcpStream::connect(server.h2c.unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET /old HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let head = upstream.seen();
    assert_eq!(field(&head, "host"), Some(&*upstream.authority()), "{head}");
    assert_eq!(field(&head, "via"), Some("1.0 tidegate"), "{head}");
    assert_eq!(field(&head, "x-forwarded-host"), None, "{head}");
}

#[test]
fn the_access_log_says_who_answered() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/")]);
    assert_eq!(Client::h2c(server.h2c).get("/").status(), 204);
    server.wait_for(&format!("upstream={}", upstream.authority()));
}

#[test]
fn what_is_refused_reaches_no_upstream() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    for path in ["/a/../b", "/%2e%2E/b", "/..;x/b", "/a\\..\\b", "/.", "/a#b"] {
        assert_eq!(client.get(path).status(), 400, "{path}");
    }
    // RFC 9110 §15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
    let trace = client.ask("TRACE", "/", &[], Body::Empty);
    assert_eq!(trace.status(), 405);
    assert!(trace.field("allow").contains("GET"));
    let id = client.open(&RequestHead::connect("localhost:22"), Body::Stream);
    assert_eq!(client.response(id).status(), 501);
    // RFC 9110 §7.6.2: with 0 "the recipient MUST NOT forward the request".
    let last = client.ask("OPTIONS", "/", &[("max-forwards", "0")], Body::Empty);
    assert_eq!(last.status(), 200);
    let round = "2 tidegate, 1.1 other, 2 tidegate, 2 tidegate, 2 tidegate, 2 tidegate, 2 tidegate, 2 tidegate, 2 tidegate";
    assert_eq!(
        client
            .ask("GET", "/", &[("via", round)], Body::Empty)
            .status(),
        508
    );
    for smuggled in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "X: a\r\n b\r\n\r\n",
    ] {
        let mut http1 = http1::Client::new(server.h2c);
        http1.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{smuggled}"));
        let answer = http1.response(false);
        assert_eq!(
            (answer.status, answer.field("connection")),
            (400, "close"),
            "{smuggled:?}"
        );
        assert_eq!(http1.rest(), "");
    }
    assert!(upstream.noted().is_empty());
}

#[test]
fn a_body_of_another_length_than_was_said_is_not_passed_off_for_the_whole() {
    for (body, len) in [("abc", "4"), ("abcde", "4")] {
        let upstream = Upstream::new(|conn| {
            conn.request();
            conn.wait_for_end();
        });
        let server = proxy(&["--route", &upstream.route("/")]);
        let mut client = Client::h2c(server.h2c);
        let id = client.send("POST", "/", &[("content-length", len)], Body::Stream);
        assert_eq!(field(&upstream.seen(), "content-length"), Some(len));
        client.write(id, body, true);
        // RFC 9113 §8.1.1: "A request or response is also malformed if the value of a
        // content-length header field does not equal the sum of the DATA frame payload lengths".
        assert!(client.response(id).reset.is_some());
        assert!(["end", "reset"].contains(&&*upstream.seen()));
    }
}

#[test]
fn bodies_go_on_as_they_come() {
    // The upstream sends one word for each word that it receives, and then waits for the next.
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for word in ["one", "three", "five"] {
            assert_eq!(
                conn.bytes(word.len() + 5),
                format!("{}\r\n{word}\r\n", word.len()).as_bytes()
            );
            conn.send(format!("{:x}\r\n<{word}>\r\n", word.len() + 2));
        }
        assert_eq!(conn.bytes(5), b"0\r\n\r\n");
        conn.send("0\r\n\r\n");
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/", &[], Body::Stream);
    let mut expected = String::new();
    for word in ["one", "three", "five"] {
        client.write(id, word, false);
        expected += &format!("<{word}>");
        client.wait_until(|client| client.so_far(id).text() == expected);
    }
    client.write(id, "", true);
    let response = client.response(id);
    assert_eq!((response.text(), response.reset), (&*expected, None));
}

#[test]
fn interim_responses_and_trailers() {
    // The upstream keeps the connection: a POST on a connection that is just closing would be lost.
    let upstream = Upstream::new(|conn| {
        while conn.request().is_some() {
            let (body, trailers) = conn.chunks();
            conn.note(format!("{} {trailers}", body.len()));
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            conn.send("HTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n");
            conn.send("3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n");
        }
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/", &[], Body::Stream);
    client.write(id, "body", false);
    client.end_with(id, "x-sent", "5");
    let response = client.response(id);
    assert_eq!(response.informational, [103, 199]);
    assert_eq!(response.hinted, ["</a.css>; rel=preload"]);
    assert_eq!((response.status(), response.text()), (200, "abc"));
    assert_eq!(response.trailers, [("x-sum".to_owned(), "6".to_owned())]);
    assert!(upstream.seen().starts_with("POST / "));
    assert_eq!(upstream.seen().to_ascii_lowercase(), "4 x-sent: 5\r\n\r\n");
    let mut http1 = http1::Client::new(server.h2c);
    let chunks = "Transfer-Encoding: chunked\r\n";
    let hint = http1.ask("POST /", chunks, b"0\r\n\r\n");
    assert_eq!(
        (hint.status, hint.field("link")),
        (103, "</a.css>; rel=preload")
    );
    assert_eq!(http1.response(false).status, 199);
    let last = http1.response(false);
    assert_eq!(
        (last.text(), &*last.trailers.to_ascii_lowercase()),
        ("abc", "x-sum: 6\r\n\r\n")
    );
}

#[test]
fn upstreams_that_are_not_there() {
    let server = proxy(&["--route", &format!("/=h2c://{NOBODY}")]);
    let mut client = Client::h2c(server.h2c);
    // The only address is tried each time, because there is no other.
    for _ in 0..3 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text()), (502, "502 Bad Gateway\n"));
        assert_eq!(
            answer.field("proxy-status"),
            "tidegate; error=connection_refused"
        );
    }
    server.wait_for(&format!("{NOBODY}: can't connect: Connection refused"));
    let mut http1 = http1::Client::new(server.h2c);
    assert_eq!(http1.get("/").status, 502);
    // The connection continues.
    assert_eq!(http1.get("/").status, 502);
}

#[test]
fn a_name_that_leads_nowhere_keeps_nothing_from_starting() {
    // No name has an empty label, so the name isn't looked up.
    let server = proxy(&["--route", "/=status", "--route", "/x=http://a..b:1"]);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/").status(), 200);
    let answer = client.get("/x");
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.field("proxy-status"),
        "tidegate; error=destination_unavailable"
    );
    server.wait_for("can't find the address of a..b");
}

#[test]
fn one_dead_address_among_two_costs_nobody_a_request() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&[
        "--route",
        &format!("/=http://{NOBODY},{}", upstream.authority()),
    ]);
    let mut client = Client::h2c(server.h2c);
    for _ in 0..20 {
        assert_eq!(client.get("/").status(), 204);
    }
}

#[test]
fn an_upstream_that_says_nothing() {
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.wait_for_end();
    });
    let server = proxy(&["--route", &upstream.route("/"), "--upstream-timeout", "1s"]);
    let answer = Client::h2c(server.h2c).get("/");
    assert_eq!(
        (answer.status(), answer.text()),
        (504, "504 Gateway Timeout\n")
    );
    assert_eq!(
        answer.field("proxy-status"),
        "tidegate; error=http_response_timeout"
    );
    upstream.seen();
    assert_eq!(
        upstream.seen(),
        "reset",
        "the upstream learns that nobody waits any longer"
    );
}

#[test]
fn a_response_that_breaks_off_looks_broken() {
    // Every way to break off a response.
    type Way = (&'static str, fn(&mut Conn));
    let ways: [Way; 5] = [
        ("a length that isn't reached", |conn| {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        }),
        ("no last chunk", |conn| {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        }),
        ("half a chunk", |conn| {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc");
        }),
        ("no end of the trailers", |conn| {
            conn.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
            );
        }),
        ("nonsense for a chunk", |conn| {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n");
        }),
    ];
    for (way, script) in ways {
        let upstream = Upstream::new(move |conn| {
            conn.request();
            script(conn);
        });
        let server = proxy(&["--route", &upstream.route("/")]);
        let mut client = Client::h2c(server.h2c);
        let response = client.get("/");
        assert!(response.reset.is_some(), "{way}");
        // The part that arrived is forwarded nevertheless.
        assert_eq!(response.body, b"abc", "{way}");
        // The connection is still usable.
        assert!(client.get("/").reset.is_some(), "{way}");
        let mut http1 = TcpStream::connect(server.h2c.unwrap()).unwrap();
        http1.set_read_timeout(Some(PATIENCE)).unwrap();
        http1
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let mut text = Vec::new();
        let ended = http1.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        let looks_whole = text.ends_with("0\r\n\r\n")
            || text.contains("content-length: 3")
            || !(text.contains("content-length") || text.contains("chunked")) && ended.is_ok();
        assert!(!looks_whole, "{way}: {text:?}, {ended:?}");
        assert!(text.contains("abc"), "{way}: {text:?}");
    }
}

#[test]
fn all_that_came_of_a_response_is_passed_on_before_it_breaks_off() {
    // Less than a window, and more than all windows and sockets hold.
    for len in [1, 100_000, 5_000_000] {
        let upstream = Upstream::new(move |conn| {
            conn.request();
            conn.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                len + 1
            ));
            conn.send(pattern(len));
        });
        let server = proxy(&["--route", &upstream.route("/")]);
        let response = Client::h2c(server.h2c).get("/");
        assert!(
            response.body == pattern(len),
            "{} of {len}",
            response.body.len()
        );
        assert_eq!(response.reset, Some(ErrorCode::INTERNAL_ERROR));
        let mut http1 = http1::Client::new(server.h2c);
        http1.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = http1.section();
        let said: usize = field(&head, "content-length").unwrap().parse().unwrap();
        assert_eq!(said, len + 1);
        let mut body = Vec::new();
        http1.0.read_to_end(&mut body).unwrap();
        assert!(body == pattern(len), "{} of {len}", body.len());
    }
}

#[test]
fn a_response_that_the_connection_ends_is_whole() {
    // RFC 9112 §6.3: without a length or chunks "the message body length is determined by the
    // number of octets received prior to the server closing the connection".
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nabc");
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let response = Client::h2c(server.h2c).get("/");
    assert_eq!((response.text(), response.reset), ("abc", None));
    let response = http1::Client::new(server.h2c).get("/");
    assert_eq!(response.text(), "abc");
}

#[test]
fn what_is_no_response() {
    for nonsense in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let upstream = Upstream::answering(nonsense);
        let server = proxy(&["--route", &upstream.route("/")]);
        let answer = Client::h2c(server.h2c).get("/");
        assert_eq!(answer.status(), 502, "{nonsense:?}");
        let reason = "tidegate; error=http_protocol_error";
        assert_eq!(answer.field("proxy-status"), reason, "{nonsense:?}");
        server.wait_for("the upstream broke a rule: ");
    }
}

#[test]
fn a_client_that_cancels_or_leaves() {
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        conn.wait_for_end();
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("GET", "/", &[], Body::Empty);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    client.cancel(id);
    assert!(upstream.seen().starts_with("GET"));
    assert_eq!(upstream.seen(), "reset");
    let id = client.send("GET", "/", &[], Body::Empty);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    drop(client);
    assert!(upstream.seen().starts_with("GET"));
    assert_eq!(upstream.seen(), "reset");
    let mut http1 = http1::Client::new(server.h2c);
    http1.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(http1.section().starts_with("HTTP/1.1 200"));
    drop(http1);
    assert!(upstream.seen().starts_with("GET"));
    assert_eq!(upstream.seen(), "reset");
}

#[test]
fn an_upload_that_is_cut_off_is_no_whole_one() {
    let upstream = Upstream::new(|conn| {
        let head = conn.request().unwrap_or_default();
        let is_chunked = field(&head, "transfer-encoding") == Some("chunked");
        assert!(
            is_chunked || field(&head, "content-length") == Some("10"),
            "{head}"
        );
        conn.bytes(if is_chunked { 8 } else { 3 });
        conn.note("has some");
        let mut rest = [0; 1];
        let more = conn.read(&mut rest);
        conn.note(format!("{:?}", more.unwrap_or(0)));
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    for fields in [&[][..], &[("content-length", "10")]] {
        let id = client.send("POST", "/", fields, Body::Stream);
        client.write(id, "abc", false);
        assert!(upstream.seen().starts_with("POST"));
        assert_eq!(upstream.seen(), "has some");
        client.cancel(id);
        assert_eq!(upstream.seen(), "0", "nothing follows");
    }
}

#[test]
fn an_idle_connection_that_its_upstream_has_closed() {
    // The upstream closes without notice: only the next request finds out.
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
        if conn.request().is_some() {
            conn.note("closes");
        }
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "abc");
    }
    // A request that may do harm when it is repeated fails instead.
    let posted = client.ask("POST", "/", &[], Body::Empty);
    assert_eq!(posted.status(), 502);
    assert_eq!(
        posted.field("proxy-status"),
        "tidegate; error=connection_terminated"
    );
}

/// Answers HEAD on each stream with a head that doesn't end the stream, and then ends the stream.
fn ends_late(conn: &mut Conn) {
    conn.bytes(24);
    conn.send(wire::settings(&[]).to_bytes());
    loop {
        let head = conn.bytes(9);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        conn.bytes(length);
        let (kind, stream) = (
            head[3],
            u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        );
        if kind == 1 {
            conn.send(
                wire::headers(stream, &[(":status", "200"), ("content-length", "5")]).to_bytes(),
            );
            conn.send(wire::data(stream, "").end().to_bytes());
        }
    }
}

#[test]
fn a_response_to_head_is_over_though_its_stream_ends_later() {
    // RFC 9113 §8.1: an upstream may end the stream by an empty DATA frame. Until then the log has
    // no line.
    let upstream = Upstream::new(ends_late);
    let server = proxy(&["--route", &format!("/=h2c://{}", upstream.authority())]);
    let mut client = Client::h2c(server.h2c);
    for n in 0..3 {
        let path = format!("/{n}");
        assert_eq!(client.ask("HEAD", &path, &[], Body::Empty).status(), 200);
        server.wait_for(&format!("\"HEAD {path} HTTP/2\" 200 0 "));
    }
}

#[test]
fn trailers_that_the_client_does_not_take_are_no_end() {
    // RFC 9113 §6.5.2: SETTINGS_MAX_HEADER_LIST_SIZE. The trailers may come together with the body,
    // or long after the client has read the body.
    for comes_late in [false, true] {
        let upstream = Upstream::new(move |conn| {
            conn.request();
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
            if comes_late {
                conn.bytes(5);
            }
            conn.send(format!("0\r\nX-Large: {}\r\n\r\n", "a".repeat(2000)));
            conn.wait_for_end();
        });
        let server = proxy(&["--route", &upstream.route("/")]);
        let mut client = Client::taking_heads(server.h2c, 1000);
        let id = client.send("POST", "/", &[], Body::Stream);
        client.wait_until(|client| client.so_far(id).text() == "abc");
        if comes_late {
            client.write(id, "", true);
        }
        let answer = client.response(id);
        assert_eq!((answer.status(), answer.text()), (200, "abc"));
        assert_eq!(answer.reset, Some(ErrorCode::INTERNAL_ERROR));
    }
}

#[test]
fn trailers_of_a_request_are_no_way_around_its_head() {
    // RFC 9110 §6.5.1: some servers merge trailers into the head.
    let upstream = Upstream::new(|conn| {
        conn.request();
        let (_, trailers) = conn.chunks();
        conn.note(trailers.to_ascii_lowercase());
        conn.send(NO_CONTENT);
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let trailers = "0\r\nX-Sum: 1\r\nX-Forwarded-For: 127.0.0.1\r\nX_Real_IP: 127.0.0.1\r\nAuthorization: x\r\n\r\n";
    let mut http1 = http1::Client::new(server.h2c);
    let answer = http1.ask(
        "POST /",
        "Transfer-Encoding: chunked\r\n",
        trailers.as_bytes(),
    );
    assert_eq!(answer.status, 204);
    upstream.seen();
    assert_eq!(upstream.seen(), "x-sum: 1\r\n\r\n");
}

#[test]
fn a_path_is_for_one_route_however_it_is_read() {
    let upstream = Upstream::answering(NO_CONTENT);
    let other = upstream.route("/admin");
    let server = proxy(&["--route", &upstream.route("/"), "--route", &other]);
    let mut client = Client::h2c(server.h2c);
    for path in ["//admin", "/%2fadmin", "/\\admin"] {
        assert_eq!(client.get(path).status(), 400, "{path}");
    }
    assert_eq!(upstream.noted(), [""; 0]);
    // Needless encoding doesn't change the path: RFC 3986 §6.2.2.2.
    assert_eq!(client.get("/%61dmin/%61").status(), 204);
    assert!(upstream.seen().starts_with("GET /admin/%61 "));
    assert_eq!(client.get("/admin/%61").status(), 204);
    assert_eq!(client.get("/%20//b").status(), 204);
}

#[test]
fn connections_are_used_again_and_counted() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    for _ in 0..5 {
        assert_eq!(client.get("/").status(), 204);
    }
    server.wait_for(
        "upstreams: 1 connections open, 1 idle, 1 connected so far, 5 requests sent, 4 reused, 0 retried, 0 failed",
    );
}

/// Answers a request for a WebSocket with 101.
fn grant(conn: &mut Conn) {
    let head = conn.request().unwrap_or_default();
    let key = field(&head, "sec-websocket-key").unwrap_or_default();
    assert_eq!(field(&head, "upgrade"), Some("websocket"), "{head}");
    conn.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    ));
}

/// Sends everything that comes through a WebSocket back in capitals, until the other side ends.
pub(crate) fn shout(conn: &mut Conn) {
    grant(conn);
    let mut bytes = [0; 100];
    while let Ok(read @ 1..) = conn.read(&mut bytes) {
        conn.send(bytes[..read].to_ascii_uppercase());
    }
    conn.send(b"BYE");
}

/// Returns the value of Sec-WebSocket-Accept (RFC 6455 §4.2.2).
fn accept(key: &str) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    );
    base64::prelude::BASE64_STANDARD.encode(digest)
}

/// Starts a proxy that forwards only the WebSocket `/socket` to this upstream.
fn socket_proxy(upstream: &Upstream) -> Server {
    let route = upstream.route("/socket");
    proxy(&["--route", &route, "--websocket", "/socket"])
}

/// Opens the WebSocket `/socket` over HTTP/2.
fn websocket(server: &Server) -> (Client, StreamId) {
    let mut client = Client::h2c(server.h2c);
    client.wait_until(Client::may_ask_for_websockets);
    let head = RequestHead::extended_connect("websocket", "http", "localhost", "/socket")
        .field("sec-websocket-version", "13")
        .field("sec-websocket-protocol", "chat");
    let id = client.open(&head, Body::Stream);
    client.wait_until(|client| client.has_begun(id));
    (client, id)
}

/// Opens the WebSocket `/socket` over HTTP/1.1, and returns the head of the answer too.
fn websocket_by_http1(server: &Server) -> (http1::Client, String) {
    let mut client = http1::Client::new(server.h2c);
    client.send(
        "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let head = client.section();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (client, head)
}

#[test]
fn an_upgrade_on_a_route_without_an_upstream_is_a_plain_get() {
    let upstream = Upstream::new(shout);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small.txt"), "hello").unwrap();
    let files = format!("/socket/files={}", dir.path().display());
    let server = proxy(&[
        "--route",
        &upstream.route("/socket"),
        "--route",
        &files,
        "--route",
        "/socket/status=status",
        "--websocket",
        "/socket",
    ]);
    for path in ["/socket/files/small.txt", "/socket/status"] {
        let mut client = http1::Client::new(server.h2c);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_eq!(client.response(false).status, 200, "{path}");
    }
}

#[test]
fn websockets_from_either_protocol() {
    let upstream = Upstream::new(shout);
    let server = proxy(&["--route", &upstream.route("/"), "--websocket", "/socket"]);
    let (mut client, id) = websocket(&server);
    client.write(id, "hello", false);
    client.wait_until(|client| client.so_far(id).text() == "HELLO");
    client.write(id, "", true);
    let response = client.response(id);
    assert_eq!((response.status(), response.text()), (200, "HELLOBYE"));
    let seen = upstream.seen();
    assert!(seen.starts_with("GET /socket HTTP/1.1\r\n"), "{seen}");
    assert_eq!(field(&seen, "sec-websocket-protocol"), Some("chat"));

    let (mut http1, head) = websocket_by_http1(&server);
    // RFC 6455 §1.3 has this key and its answer.
    assert_eq!(
        field(&head, "sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    http1.send("hello");
    assert_eq!(http1.bytes(5), b"HELLO");
    drop(http1);
    assert_ne!(
        field(&upstream.seen(), "sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ=="),
        "between the proxy and its upstream it is another one"
    );
}

#[test]
fn a_websocket_request_that_is_answered_as_a_get_has_that_answer() {
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let server = proxy(&["--route", &upstream.route("/"), "--websocket", "/"]);
    let mut http1 = http1::Client::new(server.h2c);
    for _ in 0..10 {
        http1.send(
            "GET /page HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let answer = http1.response(false);
        assert_eq!((answer.status, answer.text()), (200, "hi"));
        // The connection goes on.
        let answer = http1.get("/page");
        assert_eq!((answer.status, answer.text()), (200, "hi"));
    }
    // RFC 8441 §5: over HTTP/2 a 200 would grant the tunnel. The upstream isn't at fault.
    for _ in 0..10 {
        let (mut client, id) = websocket(&server);
        let answer = client.response(id);
        assert_eq!(answer.status(), 502);
        assert_eq!(
            answer.field("proxy-status"),
            "tidegate; error=http_upgrade_failed"
        );
        assert_eq!(client.get("/page").text(), "hi");
    }
}

#[test]
fn a_websocket_whose_upstream_leaves_has_all_that_it_said() {
    // The upstream closes cleanly: first one direction ends, then nobody is left to write to.
    let upstream = Upstream::new(|conn| {
        grant(conn);
        conn.send("last words");
    });
    let server = socket_proxy(&upstream);
    let (mut client, id) = websocket(&server);
    client.wait_until(|client| client.so_far(id).end);
    for word in ["is", "anybody", "there"] {
        client.write(id, word, false);
        // The word has been read by now.
        assert_eq!(client.get("/").status(), 404);
    }
    client.write(id, "", true);
    let response = client.response(id);
    assert_eq!(
        (response.status(), response.text(), response.reset),
        (200, "last words", None)
    );
    assert_eq!(client.get("/").status(), 404);
    let (mut http1, _) = websocket_by_http1(&server);
    assert_eq!(http1.rest(), "last words");

    // The upstream resets the connection.
    let upstream = Upstream::new(|conn| {
        grant(conn);
        conn.send("last words");
        conn.leave_unread();
    });
    let server = socket_proxy(&upstream);
    let (mut client, id) = websocket(&server);
    client.write(id, "hello", false);
    let response = client.response(id);
    assert_eq!(response.text(), "last words");
    assert_eq!(response.reset, Some(ErrorCode::INTERNAL_ERROR));
    let (mut http1, _) = websocket_by_http1(&server);
    http1.send("hello");
    assert_eq!(http1.bytes(10), b"last words");
    let end = http1.0.read(&mut [0]).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn no_websockets_where_none_are_wanted() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/"), "--websocket", "/socket"]);
    let mut client = Client::h2c(server.h2c);
    client.wait_until(Client::may_ask_for_websockets);
    let head = RequestHead::extended_connect("websocket", "http", "localhost", "/other");
    let id = client.open(&head, Body::Stream);
    assert_eq!(client.response(id).status(), 501);
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
    let mut http1 = http1::Client::new(server.h2c);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(http1.ask("GET /other", upgrade, b"").status, 204);
    let seen = upstream.seen();
    assert!(
        seen.starts_with("GET /other ") && field(&seen, "upgrade").is_none(),
        "{seen}"
    );
    // An upstream that doesn't know WebSockets answers a GET. Its success isn't a success of the
    // CONNECT.
    let head = RequestHead::extended_connect("websocket", "http", "localhost", "/socket");
    let id = client.open(&head, Body::Stream);
    assert_eq!(client.response(id).status(), 502);
    // A server without such a path advertises nothing.
    let plain = Server::start(&[]);
    let mut client = Client::h2c(plain.h2c);
    client.get("/status");
    assert!(!client.may_ask_for_websockets());
}

#[test]
fn the_proxy_protocol_from_a_proxy_in_front() {
    let upstream = Upstream::answering(NO_CONTENT);
    let server = proxy(&["--route", &upstream.route("/"), "--proxy-protocol"]);
    let mut http1 = http1::Client::new(server.h2c);
    http1.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n");
    assert_eq!(http1.get("/").status, 204);
    assert_eq!(
        field(&upstream.seen(), "x-forwarded-for"),
        Some("192.0.2.7")
    );
    server.wait_for("192.0.2.7:4711 \"GET / HTTP/1.1\" 204 0 ");
    let mut http1 = http1::Client::new(server.h2c);
    http1.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x08\xc0\0\x02\x01\x12\x67\0\x50");
    assert_eq!(http1.get("/").status, 204);
    assert_eq!(
        field(&upstream.seen(), "x-forwarded-for"),
        Some("192.0.2.8")
    );
    // A client that may send a PROXY header must send one.
    let mut none = http1::Client::new(server.h2c);
    none.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(none.until_closed().is_empty());
    // From any other address, a PROXY header is nonsense.
    let strict = ["--proxy-protocol", "--proxy-protocol-from", "192.0.2.0/24"];
    let server = proxy(&[&["--route", &*upstream.route("/")], &strict[..]].concat());
    let mut http1 = http1::Client::new(server.h2c);
    http1.send("PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nHost: a\r\n\r\n");
    // Input that isn't an HTTP/1.1 request is taken for HTTP/2, and then for a malformed preface.
    http1.until_closed();
    assert_eq!(upstream.noted(), [""; 0]);
    assert_eq!(http1::Client::new(server.h2c).get("/").status, 204);
}

#[test]
fn the_proxy_protocol_to_an_upstream() {
    let upstream = Upstream::new(|conn| {
        let mut line = String::new();
        while !line.ends_with("\r\n") {
            line.push(char::from(conn.bytes(1)[0]));
        }
        conn.note(line);
        while conn.request().is_some() {
            conn.send(NO_CONTENT);
        }
    });
    let server = proxy(&[
        "--route",
        &upstream.route("/"),
        "--upstream-proxy-protocol",
        "v1",
    ]);
    let mut clients = [Client::h2c(server.h2c), Client::h2c(server.h2c)];
    let mut headers = Vec::new();
    for client in &mut clients {
        client.get("/");
        client.get("/");
        headers.push(upstream.seen());
        assert!(upstream.seen().starts_with("GET / ") && upstream.seen().starts_with("GET / "));
    }
    assert!(
        headers
            .iter()
            .all(|header| header.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 ")),
        "{headers:?}"
    );
    assert_ne!(headers[0], headers[1], "no connection is for two clients");
}

#[test]
fn upgrades_to_http2_only_where_they_are_wanted() {
    let ask = b"GET /status HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n";
    let server = Server::start(&[]);
    let mut http1 = http1::Client::new(server.h2c);
    http1.send(ask);
    assert_eq!(http1.response(false).text(), r#"{"status":"ok"}"#);
    let server = Server::start(&["--h2c-upgrade"]);
    let mut http1 = http1::Client::new(server.h2c);
    http1.send(ask);
    let head = http1.section();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(field(&head, "upgrade"), Some("h2c"));
    // RFC 9113 §3.4: "The server connection preface consists of a potentially empty SETTINGS
    // frame".
    assert_eq!(http1.bytes(9)[3], 4);
}

#[test]
fn requests_in_progress_finish_when_the_proxy_ends() {
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        conn.bytes(1);
        conn.send("def");
    });
    let server = proxy(&["--route", &upstream.route("/")]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/", &[("content-length", "1")], Body::Stream);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    server.signal("TERM");
    client.wait_until(|client| client.going_away);
    client.write(id, "x", true);
    let response = client.response(id);
    assert_eq!((response.text(), response.reset), ("abcdef", None));
    client.closed();
    assert!(server.ended().0.success());
}

#[test]
fn upstreams_over_tls_must_be_who_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "upstream");
    let (other, ..) = certificate_files(&dir, "other");
    let behind = Server::start(&["--cert", &cert, "--key", &key]);
    let port = behind.tls.unwrap().port();
    let route = format!("/=https://localhost:{port}");
    let cases: [(&[&str], u16); 4] = [
        (&["--route", &route, "--upstream-ca", &cert], 200),
        (&["--route", &route, "--upstream-ca", &other], 502),
        // None of the system's authorities has signed the certificate.
        (&["--route", &route], 502),
        (
            &[
                "--route",
                &route,
                "--upstream-ca",
                &cert,
                "--upstream-name",
                "other.example",
            ],
            502,
        ),
    ];
    for (flags, status) in cases {
        let server = proxy(flags);
        let answer = Client::h2c(server.h2c).get("/status");
        assert_eq!(answer.status(), status, "{flags:?}");
        if status == 502 {
            let reason = "tidegate; error=tls_certificate_error";
            assert_eq!(answer.field("proxy-status"), reason, "{flags:?}");
        }
    }
}

#[test]
fn what_can_be_wrong_with_the_flags() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "site");
    let nonsense = dir.path().join("nonsense").to_str().unwrap().to_owned();
    std::fs::write(&nonsense, "nonsense").unwrap();
    let route = "/=https://127.0.0.1:1";
    let wrong: [(i32, &[&str], &str); 13] = [
        (2, &["--route", "/=http://"], "http://"),
        (2, &["--route", "/=http://a:x"], "a:x"),
        (2, &["--route", "/=http://a:1,https://b:2"], "one scheme"),
        (2, &["--route", "/=http://u@a:1"], "user"),
        (2, &["--route", "/=http://a:1/?q"], "?"),
        (2, &["--websocket", "socket"], "begin with /"),
        (2, &["--websocket", "/socket"], "/socket"),
        (2, &["--trust-forwarded-from", "everybody"], "network"),
        (
            2,
            &["--proxy-protocol-from", "127.0.0.1"],
            "--proxy-protocol",
        ),
        (2, &["--upstream-cert", &cert], "--upstream-key"),
        (
            1,
            &["--route", route, "--upstream-ca", &nonsense],
            &nonsense,
        ),
        (
            1,
            &["--route", route, "--upstream-ca", "/nonexistent"],
            "/nonexistent",
        ),
        (
            1,
            &[
                "--route",
                route,
                "--upstream-cert",
                &key,
                "--upstream-key",
                &cert,
            ],
            &key,
        ),
    ];
    for (status, flags, message) in wrong {
        let (found, stderr) = refused(flags);
        assert_eq!(found, status, "{flags:?}: {stderr}");
        assert!(stderr.contains(message), "{flags:?}: {stderr}");
        match status {
            1 => assert_sentence(&stderr),
            _ => assert!(!stderr.contains("panicked"), "{stderr}"),
        }
    }
}
