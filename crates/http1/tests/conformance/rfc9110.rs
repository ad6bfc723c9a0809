//! RFC 9110: the requirements of the semantics on a connection.

use bytes::Bytes;
use tidegate_http::{Body, CloseReason, Config, Fields, ResponseHead, Stream, WallClock};

use crate::support::*;

fn post(version: &str, lines: &str) -> Peer {
    sent(format!(
        "POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-continue\r\n{lines}\r\n"
    ))
}

#[test]
fn expectations() {
    // §10.1.1: "Upon receiving an HTTP/1.1 (or later) request that has a method, target URI, and
    // complete header section that contains a 100-continue expectation …, an origin server MUST
    // send either: an immediate response with a final status code … or an immediate 100 (Continue)
    // response".
    let mut peer = post("1.1", "Content-Length: 5\r\n");
    let (id, head, _) = peer.expect_request();
    assert_eq!(head.get("expect"), Some(&b"100-continue"[..]));
    peer.stream(id)
        .inform(&ResponseHead::new(100))
        .expect("an interim response");
    peer.settle();
    peer.expect_sent("HTTP/1.1 100 Continue\r\n\r\n");
    peer.send("hello");
    peer.expect_data("hello", true);
    peer.respond(id, &ResponseHead::new(200), Body::Empty);
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    peer.expect_alive();
}

#[test]
fn an_expectation_may_be_one_of_several() {
    // §10.1.1: "Expect = #expectation".
    for lines in [
        "Expect: 100-continue, x",
        "Expect: x, 100-Continue",
        "Expect: x\r\nExpect: 100-continue",
        "Expect: 100-continue;x=y",
        "Expect: x=\"y\", 100-continue = 1",
    ] {
        let mut peer = sent(format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nContent-Length: 5\r\n\r\n"
        ));
        let (id, head, _) = peer.expect_request();
        assert!(head.expects_continue(), "{lines}");
        // After a final response in place of 100, the next bytes are ambiguous.
        peer.respond(id, &ResponseHead::new(403), Body::Empty);
        assert_eq!(peer.expect_closed(), CloseReason::Graceful, "{lines}");
    }
    let mut peer =
        sent("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continued\r\nContent-Length: 5\r\n\r\n");
    assert!(!peer.expect_request().1.expects_continue());
}

#[test]
fn trailers_go_where_they_are_asked_for() {
    // §6.6.2: Trailer "provides a list of field names that the sender anticipates sending as
    // trailer fields". They come in chunks, or aren't announced.
    let head = ResponseHead::new(200)
        .field("content-length", "5")
        .field("trailer", "x-sum");
    let trailers: Fields = [("x-sum", "1")].into_iter().collect();
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let chunked = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    for (lines, expected) in [("", whole), ("TE: trailers\r\nConnection: TE\r\n", chunked)] {
        let mut peer = sent(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"));
        let (id, ..) = peer.expect_request();
        peer.respond(id, &head, Body::Stream);
        peer.write(id, "hello", false);
        peer.stream(id).trailers(&trailers).expect("after a body");
        peer.settle();
        peer.expect_sent(expected);
        peer.expect_alive();
    }
    // A response that is complete from the start has no trailers.
    let mut peer = sent("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let (id, ..) = peer.expect_request();
    peer.respond(id, &head, Body::Full(Bytes::from_static(b"hello")));
    peer.expect_sent(whole);
}

#[test]
fn answers_of_the_engines_own_are_dated() {
    // §6.6.1: "An origin server with a clock … MUST generate a Date header field in all 2xx
    // (Successful), 3xx (Redirection), and 4xx (Client Error) responses".
    let clock = WallClock::new();
    clock.set(784_111_777);
    let mut config = Config::server();
    config.wall_clock = Some(clock);
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(40_000)), 414),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n", "a".repeat(40_000)),
            431,
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
    ] {
        let mut peer = client_of(config.clone());
        peer.send(bytes);
        let text = peer.text();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(
            text.contains("\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
            "{text}"
        );
    }
    let mut peer = client_of(config);
    peer.send("GET / HT");
    peer.pass(std::time::Duration::from_secs(10));
    let text = peer.text();
    assert!(
        text.starts_with("HTTP/1.1 408 ") && text.contains("\r\ndate: Sun, 06 Nov"),
        "{text}"
    );
}

#[test]
fn a_final_response_in_place_of_100_ends_the_connection() {
    // §10.1.1: "A server that responds with a final status code instead of reading the entire
    // request content SHOULD indicate whether it intends to close the connection … or continue
    // reading the request content." Whether the client sends it then can't be known, and it could
    // pass for a request.
    let mut peer = post("1.1", "Content-Length: 5\r\n");
    peer.answer("no");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    // Without content there is nothing to wait for.
    let mut peer = post("1.1", "");
    peer.answer("no");
    peer.expect_alive();
    // Nor once the client was told to continue: it will send the content.
    let mut peer = post("1.1", "Content-Length: 5\r\n");
    let (id, ..) = peer.expect_request();
    let head = ResponseHead::new(100);
    peer.stream(id).inform(&head).expect("an interim response");
    peer.respond(id, &ResponseHead::new(403), Body::Empty);
    peer.send(format!("hello{GET}"));
    peer.answer("");
    peer.expect_alive();
    // A content that has begun to arrive will continue.
    let mut peer = post("1.1", "Content-Length: 5\r\n");
    let (id, ..) = peer.expect_request();
    peer.send("h");
    peer.expect_data("h", false);
    peer.respond(id, &ResponseHead::new(403), Body::Empty);
    peer.send(format!("ello{GET}"));
    peer.answer("");
    peer.expect_alive();
}

#[test]
fn http10_knows_no_interim_responses() {
    // §10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST
    // ignore that expectation." §15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0
    // client."
    let mut peer = post("1.0", "Content-Length: 5\r\nConnection: keep-alive\r\n");
    let (id, head, _) = peer.expect_request();
    assert_eq!(head.get("expect"), None);
    peer.stream(id)
        .inform(&ResponseHead::new(100))
        .expect("it is left out");
    peer.stream(id)
        .inform(&ResponseHead::new(103).field("link", "</a>"))
        .expect("it is left out");
    peer.send("hello");
    peer.expect_data("hello", true);
    peer.respond(id, &ResponseHead::new(200), Body::Empty);
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n");
}

#[test]
fn early_hints() {
    // RFC 8297 §2: any number of 103 in front of the final response. §15.2: a 1xx has no content.
    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    for link in ["</a>", "</b>"] {
        let head = ResponseHead::new(103)
            .field("link", link)
            .field("content-length", "3");
        peer.stream(id).inform(&head).expect("an interim response");
    }
    peer.respond(
        id,
        &ResponseHead::new(200),
        Body::Full(Bytes::from_static(b"x")),
    );
    peer.expect_sent(
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
    );
}
