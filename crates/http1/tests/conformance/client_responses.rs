//! How a client reads responses: status lines (RFC 9112 §4), where a response ends (§6.3, §7, §8),
//! and how its connection goes on (§9).

use bytes::{Bytes, BytesMut};
use tidegate_http::engine::REST_AFTER;
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Fields, Misuse, RequestHead, Stream, Violation,
};
use tidegate_http1::Connection;

use crate::support::*;

/// A complete response without content, after which the connection persists.
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Returns a server that was asked by this method and has sent these bytes.
fn answered_to(method: &str, bytes: impl AsRef<[u8]>) -> Peer {
    let mut peer = server();
    peer.open(&request(method, "/"), Body::Empty);
    peer.sent.clear();
    peer.send(bytes);
    peer
}

/// Expects that the connection is as good as new.
#[track_caller]
fn expect_goes_on(peer: &mut Peer) {
    peer.expect_nothing();
    peer.expect_alive();
    assert!(peer.conn.can_open());
    peer.ask();
    peer.send(NO_CONTENT);
    peer.expect_response(204, true);
    peer.expect_nothing();
    peer.expect_alive();
}

#[test]
fn a_response() {
    // §2.1: "HTTP-message = start-line CRLF *( field-line CRLF ) CRLF [ message-body ]".
    let mut peer = answered(
        "HTTP/1.1 200 OK\r\nServer: t\r\nX-A:  b c\t\r\nx-empty:\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    let head = peer.expect_response(200, false);
    assert_eq!(
        lines(head.headers()),
        [
            "server: t",
            "x-a: b c",
            "x-empty: ",
            "set-cookie: a",
            "set-cookie: b",
            "content-length: 5"
        ]
    );
    assert_eq!(head.content_length(), Some(5));
    peer.expect_data("hello", true);
    expect_goes_on(&mut peer);
}

#[test]
fn status_lines() {
    // §4: "status-line = HTTP-version SP status-code SP [ reason-phrase ]". "A client SHOULD ignore
    // the reason-phrase content". Many servers omit the space after the code together with the
    // phrase.
    for (line, status) in [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200 ", 200),
        ("HTTP/1.1 200", 200),
        ("HTTP/1.1 404 Not\tfound, really: 200 OK", 404),
        ("HTTP/1.1 500 \u{e4}\u{f6}", 500),
        ("HTTP/1.1 299 Nobody knows", 299),
        ("HTTP/1.1 600 Out of range", 600),
        ("HTTP/1.1 999 Denied", 999),
    ] {
        println!("{line}");
        let mut peer = answered(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        peer.expect_response(status, true);
        expect_goes_on(&mut peer);
    }
}

#[test]
fn fields_about_the_connection_stay_with_it() {
    // RFC 9110 §7.6.1: "Intermediaries MUST parse a received Connection header field before a
    // message is forwarded and, for each connection-option in this field, remove any header or
    // trailer field(s) from the message with the same name as the connection-option".
    let mut peer = answered(
        "HTTP/1.1 200 OK\r\nX-Hop: 1\r\nConnection: x-hop, Keep-Alive\r\nKeep-Alive: timeout=50\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nConnection: Upgrade, content-length\r\nTE: trailers\r\n\
         Sec-WebSocket-Accept: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
    );
    let head = peer.expect_response(200, true);
    assert_eq!(lines(head.headers()), ["x-kept: 1", "content-length: 0"]);
    expect_goes_on(&mut peer);
    let mut peer = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n");
    let head = peer.expect_response(200, false);
    assert_eq!(lines(head.headers()), ["x: y"]);
}

/// Whether field lines announce a body.
fn announces(framing: &str) -> bool {
    !matches!(framing, "" | "Content-Length: 0\r\n")
}

#[test]
fn no_content_whatever_is_said_of_it() {
    // §6.3: "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No
    // Content), or 304 (Not Modified) status code is always terminated by the first empty line
    // after the header fields, regardless of the header fields present in the message, and thus
    // cannot contain a message body or trailer section."
    let framings = [
        "",
        "Content-Length: 0\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ];
    for (method, status) in [
        ("HEAD", 200),
        ("HEAD", 404),
        ("HEAD", 204),
        ("GET", 204),
        ("GET", 304),
        ("POST", 204),
    ] {
        for framing in framings {
            println!("{method} {status} {}", framing.escape_debug());
            let mut peer = answered_to(method, format!("HTTP/1.1 {status} \r\n{framing}\r\n"));
            peer.expect_response(status, true);
            // RFC 9110 §8.6, RFC 9112 §6.1: a 204 has neither field. A server that announces a body
            // may send one, and it would be the response to the next request.
            if status == 204 && announces(framing) {
                assert_eq!(peer.expect_closed(), CloseReason::Graceful);
            } else {
                expect_goes_on(&mut peer);
            }
        }
    }
    // RFC 9110 §8.6: to HEAD and with 304, the length is what a GET would have had.
    let mut peer = answered_to("HEAD", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n");
    let head = peer.expect_response(200, true);
    assert_eq!(head.content_length(), Some(5));
    for framing in framings {
        let mut peer = answered(format!("HTTP/1.1 103 \r\n{framing}\r\n{NO_CONTENT}"));
        peer.expect_informational(103);
        peer.expect_response(204, true);
        if announces(framing) {
            assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        } else {
            expect_goes_on(&mut peer);
        }
    }
    // The bytes after it are no body, so they are an unexpected response.
    let mut peer = answered_to("HEAD", "HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx");
    peer.expect_response(200, true);
    peer.expect_violation(Violation::ResponseUnasked);
}

#[test]
fn interim_responses_come_in_front() {
    // RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received prior to a
    // final response, even if the client does not expect one."
    let mut peer = answered(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
         HTTP/1.1 103 Early Hints\r\nLink: </b>\r\nConnection: close\r\n\r\nHTTP/1.1 199 \r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    );
    peer.expect_informational(100);
    for link in ["link: </a>", "link: </b>"] {
        let head = peer.expect_informational(103);
        assert_eq!(lines(head.headers()), [link]);
    }
    peer.expect_informational(199);
    peer.expect_response(200, false);
    peer.expect_data("x", true);
    // The fields of an interim response don't affect how the connection ends.
    expect_goes_on(&mut peer);
}

#[test]
fn an_owner_may_wait_for_100() {
    // RFC 9110 §10.1.1: "A client that will wait for a 100 (Continue) response before sending the
    // request content MUST send an Expect header field containing a 100-continue expectation." How
    // long it waits is its own decision.
    let head = request("POST", "/").field("expect", "100-continue");
    let mut peer = server();
    let id = peer.open(&head, Body::Stream);
    peer.expect_sent(
        "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    peer.expect_writable();
    peer.pass(secs(1000));
    peer.expect_alive();
    peer.send("HTTP/1.1 100 Continue\r\n\r\n");
    peer.expect_informational(100);
    peer.write(id, "hello", true);
    peer.expect_sent("5\r\nhello\r\n0\r\n\r\n");
    peer.send(NO_CONTENT);
    peer.expect_response(204, true);
    expect_goes_on(&mut peer);
}

#[test]
fn a_body_of_known_length() {
    // §6.2: "the Content-Length field value provides the framing information necessary for
    // determining where the data (and message) ends."
    let mut peer = answered("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    peer.expect_response(200, false);
    peer.expect_data("hello", false);
    peer.send("worl");
    peer.expect_data("worl", false);
    peer.expect_nothing();
    peer.send("d");
    peer.expect_data("d", true);
    expect_goes_on(&mut peer);

    let mut peer = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    peer.expect_response(200, true);
    expect_goes_on(&mut peer);
}

#[test]
fn a_body_in_chunks() {
    // §7.1: "chunked-body = *chunk last-chunk trailer-section CRLF".
    let mut peer = answered(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n\
         5\r\nhello\r\n00A;a=b;c=\"d\"\r\n0123456789\r\n000\r\n\r\n",
    );
    peer.expect_response(200, false);
    peer.expect_data("hello", false);
    peer.expect_data("0123456789", false);
    peer.expect_data("", true);
    expect_goes_on(&mut peer);

    // §7.1.2: "A trailer section allows the sender to include additional fields at the end of a
    // chunked message".
    let mut peer = answered(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nGrpc-Status: 0\r\nX: y\r\n\r\n",
    );
    peer.expect_response(200, false);
    peer.expect_data("x", false);
    let expected: Fields = [("grpc-status", "0"), ("x", "y")].into_iter().collect();
    assert_eq!(peer.expect_trailers(), expected);
    expect_goes_on(&mut peer);

    // RFC 9110 §6.5.1: fields that must not be trailers are dropped. The response is complete.
    for line in ["Content-Length: 0", "Connection: close", "Set-Cookie: a=b"] {
        let mut peer = answered(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n{line}\r\n\r\n"
        ));
        peer.expect_response(200, false);
        peer.expect_data("x", false);
        peer.expect_data("", true);
        expect_goes_on(&mut peer);
    }
}

#[test]
fn one_length_said_repeatedly_counts_once() {
    // §6.3: "all values in the list are the same (in which case, the message is processed with that
    // single value used as the Content-Length field value)."
    for lines in ["5, 5", "5\r\nContent-Length: 5"] {
        let mut peer = answered(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {lines}\r\n\r\nhello"
        ));
        let head = peer.expect_response(200, false);
        let lengths = head
            .headers()
            .filter(|field| field.name == b"content-length");
        assert_eq!(lengths.map(|field| field.value).collect::<Vec<_>>(), [b"5"]);
        peer.expect_data("hello", true);
        expect_goes_on(&mut peer);
    }
}

#[test]
fn a_length_that_means_nothing_goes_no_further() {
    // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a
    // status code of 1xx (Informational) or 204 (No Content)."
    let mut peer = answered("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nX: y\r\n\r\n");
    let head = peer.expect_response(204, true);
    assert_eq!(head.get("content-length"), None);
    assert_eq!(head.get("x"), Some(&b"y"[..]));
}

#[test]
fn a_body_that_lasts_until_the_connections_end() {
    // §6.3: "Otherwise, this is a response message without a declared message body length, so the
    // message body length is determined by the number of octets received prior to the server
    // closing the connection."
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
        "HTTP/1.0 404 Not Found\r\nConnection: keep-alive\r\n\r\n",
    ] {
        let mut peer = answered(format!("{head}hello"));
        peer.expect_response(if head.contains("200") { 200 } else { 404 }, false);
        peer.expect_data("hello", false);
        peer.send(NO_CONTENT);
        peer.expect_data(NO_CONTENT, false);
        peer.expect_nothing();
        assert!(!peer.conn.can_open());
        peer.eof();
        peer.expect_data("", true);
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        peer.expect_sent("");
    }
    // It may be empty.
    let mut peer = answered("HTTP/1.0 200 OK\r\n\r\n");
    peer.expect_response(200, false);
    peer.eof();
    peer.expect_data("", true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn such_a_body_is_not_whole_when_the_transport_failed() {
    // §8: "A response that has neither chunked transfer coding nor Content-Length is terminated by
    // closure of the connection and, if the header section was received intact, is considered
    // complete unless an error was indicated by the underlying connection (e.g., an "incomplete
    // close" in TLS would leave the response incomplete".
    let mut peer = answered("HTTP/1.1 200 OK\r\n\r\nhello");
    peer.expect_response(200, false);
    peer.expect_data("hello", false);
    peer.fail();
    assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);

    // A response that ended cleanly before the failure stays complete: there is no second end.
    let mut peer = answered("HTTP/1.1 200 OK\r\n\r\nhello");
    peer.events.clear();
    peer.eof();
    peer.fail();
    peer.expect_data("", true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn what_was_read_along_comes_before_the_end() {
    // The transport has ended, but the owner has not consumed the data.
    let mut config = Config::client();
    config.initial_window_size = 4;
    let mut peer = server_of(config);
    let id = peer.ask();
    peer.send("HTTP/1.1 200 OK\r\n\r\n");
    peer.expect_response(200, false);
    peer.input.extend_from_slice(b"0123456789");
    peer.conn.receive_eof(peer.now);
    peer.settle();
    for piece in ["0123", "4567"] {
        peer.expect_data(piece, false);
        peer.expect_nothing();
        peer.expect_alive();
        peer.stream(id).consume(4);
        peer.settle();
    }
    peer.expect_data("89", false);
    peer.expect_data("", true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn the_transports_end_in_the_middle() {
    // §8: "A client that receives an incomplete response message, which can occur when a connection
    // is closed prematurely or when decoding a supposedly chunked transfer coding fails, MUST
    // record the message as incomplete."
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bytes in [
        "".to_owned(),
        "H".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell".into(),
        // "A message body that uses the chunked transfer coding is incomplete if the zero-sized
        // chunk that terminates the encoding has not been received."
        chunked.to_owned(),
        format!("{chunked}5\r\nhel"),
        format!("{chunked}5\r\nhello"),
        format!("{chunked}5\r\nhello\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\nx: y\r\n"),
        "HTTP/1.1 100 Continue\r\n\r\n".into(),
    ] {
        println!("{}", bytes.escape_debug());
        for in_order in [true, false] {
            let mut peer = answered(&bytes);
            peer.end(in_order);
            let is_end = |event: &Event| {
                use Event::{Data, Response, Trailers};
                matches!(
                    event,
                    Data { end: true, .. } | Response { end: true, .. } | Trailers { .. }
                )
            };
            assert!(!peer.events.iter().any(is_end), "{:?}", peer.events);
            peer.events.drain(..peer.events.len() - 1);
            assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
        }
    }
}

#[test]
fn the_transports_end_between_requests() {
    // §9.5: "A client, server, or proxy MAY close the transport connection at any time."
    for in_order in [true, false] {
        let mut fresh = server();
        let mut used = answered(NO_CONTENT);
        used.expect_response(204, true);
        for peer in [&mut fresh, &mut used] {
            assert!(peer.conn.can_receive(), "the end is to be noticed");
            peer.end(in_order);
            assert_eq!(peer.expect_closed(), CloseReason::Eof);
            assert!(!peer.conn.can_open());
            peer.expect_sent("");
        }
    }
}

#[test]
fn connections_persist_by_version_and_option() {
    // §9.3, in its order: close ends; else 1.1 persists; else 1.0 with keep-alive persists; else it
    // ends. §9.6: "A client that receives a "close" connection option MUST cease sending requests
    // on that connection and close the connection after reading the response message containing the
    // "close" connection option".
    for (version, option, goes_on) in [
        ("1.1", "", true),
        ("1.1", "keep-alive", true),
        ("1.1", "close", false),
        ("1.1", "x, CLOSE", false),
        ("1.1", "keep-alive, close", false),
        ("1.1", "keep-alive\r\nConnection: close", false),
        ("1.0", "", false),
        ("1.0", "x", false),
        ("1.0", "Keep-Alive", true),
        ("1.0", "keep-alive, close", false),
    ] {
        for (status, body) in [(200, "x"), (204, "")] {
            println!("{version} {} {status}", option.escape_debug());
            let mut peer = answered(format!(
                "HTTP/{version} {status} \r\nConnection: {option}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            peer.expect_response(status, body.is_empty());
            if !body.is_empty() {
                peer.expect_data(body, true);
            }
            if goes_on {
                expect_goes_on(&mut peer);
            } else {
                assert_eq!(peer.expect_closed(), CloseReason::Graceful);
                peer.expect_sent("");
                assert!(!peer.conn.can_open());
            }
        }
    }
}

#[test]
fn a_body_that_was_not_invited_ends_the_connection() {
    // RFC 9110 §10.1.1: a server that answers at once indicates whether it will "close the
    // connection or continue reading and discarding the request content". A server that doesn't may
    // do neither, and take the body for another request.
    for (invited, goes_on) in [("", false), ("HTTP/1.1 100 Continue\r\n\r\n", true)] {
        let mut peer = server();
        let head = request("POST", "/").field("expect", "100-continue");
        peer.open(&head, Body::Full("hello".into()));
        peer.send(format!("{invited}{NO_CONTENT}"));
        if goes_on {
            peer.expect_informational(100);
        }
        peer.expect_response(204, true);
        peer.sent.clear();
        if goes_on {
            expect_goes_on(&mut peer);
        } else {
            assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        }
    }
    // Without a body there is nothing to take for a request.
    let mut peer = server();
    peer.open(
        &request("POST", "/").field("expect", "100-continue"),
        Body::Empty,
    );
    peer.sent.clear();
    peer.send(NO_CONTENT);
    peer.expect_response(204, true);
    expect_goes_on(&mut peer);
}

#[test]
fn connection_options_are_few() {
    for (count, fits) in [(32, true), (33, false)] {
        // RFC 9110 §5.6.1.2: empty elements are ignored.
        let options = "x-a, ,".repeat(count);
        let mut peer = answered(format!(
            "HTTP/1.1 204 \r\nConnection: {options}\r\nX-A: b\r\n\r\n"
        ));
        if fits {
            assert_eq!(peer.expect_response(204, true).get("x-a"), None);
        } else {
            peer.expect_violation(Violation::TooManyHeaderFields);
        }
    }
}

#[test]
fn framing_that_http10_does_not_have_ends_the_connection() {
    // §6.1: "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding
    // header field MUST treat the message as if the framing is faulty, even if a Content-Length is
    // present, and close the connection after processing the message." Without a body, only the end
    // of the connection remains.
    for (method, status) in [("HEAD", 200), ("GET", 304), ("GET", 204)] {
        let mut peer = answered_to(
            method,
            format!(
                "HTTP/1.0 {status} \r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
        );
        peer.expect_response(status, true);
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    }
}

#[test]
fn what_nobody_asked_for() {
    // §9.2: "If a client receives data on a connection that doesn't have outstanding requests, the
    // client MUST NOT consider that data to be a valid response; the client SHOULD close the
    // connection, since message delimitation is now ambiguous".
    let mut peer = server();
    peer.send("H");
    peer.expect_violation(Violation::ResponseUnasked);
    let opened = peer.conn.open(&a_get(), Body::Empty);
    assert_eq!(opened, Err(Misuse::GoingAway));

    // A second response, or a single byte, after the expected one.
    for behind in [NO_CONTENT, "\r\n", "\0"] {
        let mut peer = answered(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx{behind}"
        ));
        peer.expect_response(200, false);
        peer.expect_data("x", true);
        peer.expect_violation(Violation::ResponseUnasked);
        // Later is no better.
        let mut peer = answered(NO_CONTENT);
        peer.expect_response(204, true);
        peer.pass(secs(1));
        peer.send(behind);
        peer.expect_violation(Violation::ResponseUnasked);
    }

    // The answer has come while the request isn't complete: no further response is due.
    let mut peer = server();
    peer.open(&request("POST", "/"), Body::Stream);
    peer.sent.clear();
    peer.expect_writable();
    peer.send(format!("{NO_CONTENT}{NO_CONTENT}"));
    peer.expect_response(204, true);
    peer.expect_violation(Violation::ResponseUnasked);
}

#[test]
fn no_request_follows_a_response_with_bytes_behind_it() {
    // §9.2 again: the owner sends its next request as soon as it has the response.
    let now = some_start();
    let mut conn = Connection::client(Config::client().build().unwrap(), now);
    conn.open(&a_get(), Body::Empty).unwrap();
    let mut input = BytesMut::from(&*format!("{NO_CONTENT}{NO_CONTENT}"));
    let event = conn.receive(&mut input, now);
    assert!(
        matches!(event, Some(Event::Response { end: true, .. })),
        "{event:?}"
    );
    assert_eq!(conn.open(&a_get(), Body::Empty), Err(Misuse::GoingAway));
    let event = conn.receive(&mut input, now);
    let Some(Event::Closed(reason)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(reason, CloseReason::Violation(Violation::ResponseUnasked));
}

#[test]
fn a_response_that_is_whole_before_the_request_is() {
    // §9.3: "A server MUST read the entire request message body or close the connection after
    // sending its response; otherwise, the remaining data on a persistent connection would be
    // misinterpreted as the next request." A server that hasn't announced the end reads on.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    peer.expect_response(403, false);
    peer.expect_data("no", true);
    assert!(!peer.conn.can_open(), "the request isn't whole");
    assert!(peer.conn.can_receive(), "the server may close");
    assert_eq!(peer.conn.next_timeout(), None, "nothing is waited for");
    peer.sent.clear();
    peer.write(id, "x", true);
    peer.expect_sent("1\r\nx\r\n0\r\n\r\n");
    expect_goes_on(&mut peer);

    // A server that ends without announcing it has not read the request.
    let mut peer = server();
    peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.send(NO_CONTENT);
    peer.expect_response(204, true);
    peer.eof();
    assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);

    // An owner that no longer needs it ends the connection: half a request is none.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.send(NO_CONTENT);
    peer.sent.clear();
    peer.stream(id).reset(ErrorCode::NO_ERROR);
    peer.settle();
    peer.expect_writable();
    peer.expect_response(204, true);
    let reason = peer.expect_closed();
    assert_eq!(reason, CloseReason::Aborted(ErrorCode::NO_ERROR));
    peer.expect_sent("");
}

#[test]
fn a_request_is_given_up_when_its_response_closes() {
    // §9.5: "If the client sees a response that indicates the server does not wish to receive the
    // message body and is closing the connection, the client SHOULD immediately cease transmitting
    // the body and close its side of the connection."
    for (bytes, body) in [
        (
            "HTTP/1.1 413 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            None,
        ),
        (
            "HTTP/1.1 413 \r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
            Some("no"),
        ),
        ("HTTP/1.0 413 \r\nContent-Length: 0\r\n\r\n", None),
    ] {
        let mut peer = server();
        let id = peer.open(&request("POST", "/"), Body::Stream);
        peer.expect_writable();
        peer.write(id, "x", false);
        peer.expect_writable();
        peer.sent.clear();
        peer.send(bytes);
        peer.expect_response(413, body.is_none());
        if let Some(body) = body {
            peer.expect_data(body, true);
        }
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        peer.expect_sent("");
        assert!(peer.conn.stream(id).is_none());
        assert!(!peer.conn.is_truncated(), "chunks have their own end");
    }
    // A response that lasts until the connection's end is no different.
    let mut peer = server();
    peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.send("HTTP/1.1 413 \r\n\r\nno");
    peer.expect_response(413, false);
    peer.expect_data("no", false);
    peer.eof();
    peer.expect_data("", true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn a_body_that_is_not_consumed_is_not_read() {
    let mut config = Config::client();
    config.initial_window_size = 10;
    let mut peer = server_of(config);
    let id = peer.ask();
    peer.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n{}",
        "x".repeat(25)
    ));
    peer.expect_response(200, false);
    peer.expect_data("x".repeat(10), false);
    peer.expect_nothing();
    assert!(!peer.conn.can_receive());
    assert_eq!(peer.input.len(), 15);
    assert_eq!(peer.stream(id).unconsumed(), 10);
    // Nobody is at fault if nothing arrives meanwhile.
    peer.pass(secs(100));
    peer.expect_alive();
    peer.stream(id).consume(4);
    assert!(peer.conn.can_receive());
    peer.settle();
    peer.expect_data("x".repeat(4), false);
    peer.stream(id).consume(10);
    peer.settle();
    peer.expect_data("x".repeat(10), false);
    peer.stream(id).consume(10);
    peer.settle();
    peer.expect_data("x", true);
    // Bytes that the owner never consumed of one response don't count for the next.
    assert!(peer.conn.can_receive());
    peer.ask();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
    peer.expect_response(200, false);
    peer.expect_data("0123456789", true);
}

#[test]
fn bytes_in_flight_to_the_server_do_not_hold_up_the_response() {
    // RFC 9113 §5.2.2 says it of HTTP/2: if each end read nothing before the other does, they would
    // wait for each other.
    let mut peer = server();
    let body = Body::Full(Bytes::from(vec![b'x'; 4000]));
    let head = request("POST", "/").field("x", "y".repeat(50_000));
    let mut config = Config::client();
    config.outbound_high_water = 1000;
    let mut narrow = server_of(config);
    for peer in [&mut peer, &mut narrow] {
        // Nothing was transmitted yet.
        peer.conn
            .open(&head, body.clone())
            .expect("a proper request");
        assert!(peer.conn.can_receive());
        peer.input.extend_from_slice(NO_CONTENT.as_bytes());
        let event = peer.conn.receive(&mut peer.input, peer.now);
        peer.events.extend(event);
        peer.expect_response(204, true);
    }
}

#[test]
fn heads_have_limits() {
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n");
    let field = |len: usize| format!("x: {}\r\n", "a".repeat(len));
    let lines = |count: usize, name: &str| {
        (0..count)
            .map(|n| format!("{name}: {n}\r\n"))
            .collect::<String>()
    };
    // Content-Length is one of the 100.
    let mut peer = answered(head(&lines(99, "x")));
    assert_eq!(peer.expect_response(200, true).headers().count(), 100);
    for count in [100, 600] {
        answered(head(&lines(count, "x"))).expect_violation(Violation::TooManyHeaderFields);
    }
    answered(head(&lines(257, "cookie"))).expect_violation(Violation::TooManyCookieCrumbs);
    let mut peer = answered(head(&field(65_000)));
    peer.expect_response(200, true);
    for len in [65_500, 65_536, 200_000] {
        answered(head(&field(len))).expect_violation(Violation::HeaderListTooLarge);
    }
    // No line and no head is waited for beyond the limit.
    for bytes in [
        "x".repeat(70_000),
        format!("HTTP/1.1 200 {}", "x".repeat(70_000)),
        format!("HTTP/1.1 200 OK\r\n{}", lines(10_000, "x")),
    ] {
        answered(bytes).expect_violation(Violation::HeaderListTooLarge);
    }
    // Each field counts 32 bytes more, as in HTTP/2.
    let mut config = Config::client();
    config.max_header_list_size = 400;
    let mut peer = server_of(config);
    peer.ask();
    peer.send(head(&lines(20, "x")));
    peer.expect_violation(Violation::HeaderListTooLarge);
    // Interim responses have the same limits.
    let long = format!("HTTP/1.1 103 \r\n{}\r\n", field(70_000));
    answered(long).expect_violation(Violation::HeaderListTooLarge);
    // So have trailers.
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    for (trailers, violation) in [
        (field(70_000), Violation::HeaderListTooLarge),
        (lines(101, "x"), Violation::TooManyHeaderFields),
    ] {
        let mut peer = answered(format!("{chunked}{trailers}\r\n"));
        peer.expect_response(200, false);
        peer.expect_violation(violation);
    }
}

#[test]
fn time_limits() {
    // §9.5: "The use of persistent connections places no requirements on the length (or existence)
    // of this timeout for either the client or the server."
    let mut peer = server();
    peer.pass(secs(1));
    peer.pass(secs(599));
    peer.expect_alive();
    peer.pass(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::Idle);
    assert!(!peer.conn.can_open());
    peer.expect_sent("");

    let mut peer = answered(NO_CONTENT);
    peer.expect_response(204, true);
    peer.pass(secs(1));
    peer.pass(secs(599));
    peer.ask();
    assert_eq!(peer.conn.next_timeout(), None, "a request is no idleness");
    // The owner decides how long a response may take to begin.
    peer.pass(secs(10_000));
    peer.send("HTTP/1.1 103 \r\n\r\nHTTP/1.1 2");
    peer.pass(secs(10_000));
    peer.expect_informational(103);
    peer.send("00 OK\r\nContent-Length: 2\r\n\r\n");
    peer.expect_response(200, false);
    // A body that has begun must continue. Each piece gives more time.
    peer.pass(secs(29));
    peer.send("x");
    peer.expect_data("x", false);
    peer.pass(secs(29));
    peer.expect_alive();
    peer.pass(secs(1));
    peer.expect_violation(Violation::BodyTimedOut);

    // Bytes without content give no more time.
    let mut peer = answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.expect_response(200, false);
    peer.pass(secs(29));
    peer.send("5\r\n");
    peer.pass(secs(1));
    peer.expect_violation(Violation::BodyTimedOut);

    // The end of the request doesn't affect the response's time.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    peer.expect_response(200, false);
    peer.pass(secs(29));
    peer.write(id, "x", true);
    peer.sent.clear();
    peer.pass(secs(1));
    peer.expect_violation(Violation::BodyTimedOut);

    let mut config = Config::client();
    config.timeouts.idle = secs(0);
    config.timeouts.body = secs(0);
    let mut peer = server_of(config);
    peer.pass(secs(1));
    assert_eq!(peer.conn.next_timeout(), None, "zero turns a limit off");
    peer.ask();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(peer.conn.next_timeout(), None);
}

#[test]
fn a_body_may_take_its_time() {
    // An owner that expects long silences lifts the limit for one exchange: before the response or
    // during it.
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    for before in [true, false] {
        let mut peer = server();
        let id = peer.ask();
        if before {
            peer.stream(id).lift_body_timeout();
        }
        peer.send(head);
        peer.expect_response(200, false);
        if !before {
            peer.pass(secs(29));
            peer.stream(id).lift_body_timeout();
        }
        assert_eq!(peer.conn.next_timeout(), None);
        peer.pass(secs(100_000));
        peer.send("x");
        peer.expect_data("x", false);
        peer.pass(secs(100_000));
        peer.send("y");
        peer.expect_data("y", true);
        // The limit applies to the next exchange again.
        peer.ask();
        peer.send(head);
        peer.expect_response(200, false);
        peer.pass(secs(30));
        peer.expect_violation(Violation::BodyTimedOut);
    }
    // A server's owner can do the same.
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n");
    let (id, ..) = peer.expect_request();
    peer.stream(id).lift_body_timeout();
    peer.pass(secs(100_000));
    peer.send("xy");
    peer.expect_data("xy", true);
    peer.expect_alive();
}

/// Returns how long a connection that has had this response is kept, in milliseconds; `None` for
/// ever.
fn kept_for(lines: &str, config: Config) -> Option<u128> {
    let mut peer = server_of(config);
    peer.ask();
    peer.send(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
    peer.expect_response(204, true);
    let begin = peer.now;
    while let Some(at) = peer.conn.next_timeout() {
        let wait = at - peer.now;
        peer.pass(wait);
    }
    let kept = (peer.now - begin).as_millis();
    let reason = peer
        .closed
        .then(|| peer.expect_closed())
        .inspect(|reason| assert!(matches!(reason, CloseReason::Idle | CloseReason::Graceful)));
    reason.map(|_| kept)
}

#[test]
fn a_server_may_say_for_how_long_it_keeps_a_connection() {
    // RFC 2068 §19.7.1.1 defines the Keep-Alive field; servers today send its parameter `timeout`.
    // A request sent in the last moments could cross the server's end (RFC 9112 §9.5), so our limit
    // is a second shorter.
    let default = Some(600_250);
    for (lines, kept) in [
        ("", default),
        ("Keep-Alive: timeout=60\r\n", Some(59_000)),
        (
            "Connection: keep-alive\r\nKeep-Alive: max=100, TIMEOUT = 5\r\n",
            Some(4_000),
        ),
        // With less than that, the connection isn't used again.
        ("Keep-Alive: timeout=1\r\n", Some(0)),
        ("Keep-Alive: timeout=0\r\n", Some(0)),
        // A longer promise than our limit changes nothing.
        ("Keep-Alive: timeout=10000\r\n", default),
        ("Keep-Alive: timeout=18446744073709551615\r\n", default),
        // Invalid values are ignored.
        ("Keep-Alive: timeout=-1\r\n", default),
        ("Keep-Alive: max=5\r\n", default),
        ("Keep-Alive: 5\r\n", default),
    ] {
        println!("{}", lines.escape_debug());
        assert_eq!(kept_for(lines, Config::client()), kept);
    }
    // Just enough to use the connection again.
    let kept = kept_for("Keep-Alive: timeout=2\r\n", Config::client()).expect("a limit");
    assert!((1..2_000).contains(&kept), "{kept}");
    let mut config = Config::client();
    config.timeouts.idle = secs(0);
    assert_eq!(kept_for("", config.clone()), None);
    let kept = kept_for("Keep-Alive: timeout=5\r\n", config);
    assert_eq!(kept, Some(4_000), "the server's word counts without ours");

    // It applies from then on, until the server says otherwise.
    let mut peer = answered("HTTP/1.1 204 No Content\r\nKeep-Alive: timeout=5\r\n\r\n");
    peer.expect_response(204, true);
    expect_goes_on(&mut peer);
    peer.pass(REST_AFTER);
    peer.pass(secs(4).saturating_sub(REST_AFTER));
    assert_eq!(peer.expect_closed(), CloseReason::Idle);
}

#[test]
fn a_graceful_end() {
    let mut peer = server();
    peer.conn.shut_down(peer.now);
    assert!(!peer.conn.can_open());
    peer.settle();
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    peer.expect_sent("");

    // The current request gets its answer.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.conn.shut_down(peer.now);
    assert!(peer.conn.is_ending() && !peer.conn.is_closed());
    let opened = peer.conn.open(&a_get(), Body::Empty);
    assert_eq!(opened, Err(Misuse::GoingAway));
    peer.sent.clear();
    peer.write(id, "x", true);
    peer.expect_sent("1\r\nx\r\n0\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    peer.expect_response(200, false);
    peer.send("x");
    peer.expect_data("x", true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    peer.expect_sent("");

    let mut peer = answered("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
    peer.expect_response(200, false);
    peer.conn.shut_down(peer.now);
    peer.pass(secs(29));
    peer.expect_alive();
    peer.pass(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::ShutdownTimedOut);
}

#[test]
fn an_end_at_once() {
    // The request in progress stays without its end, so that no server takes it for complete.
    for by_handle in [true, false] {
        let mut peer = server();
        let id = peer.open(&request("POST", "/"), Body::Stream);
        peer.expect_writable();
        let mut data = Bytes::from_static(b"abc");
        assert_eq!(peer.stream(id).write(&mut data, false), 3);
        peer.settle();
        peer.expect_writable();
        if by_handle {
            peer.stream(id).reset(ErrorCode::CANCEL);
        } else {
            peer.conn.abort(ErrorCode::CANCEL);
        }
        peer.settle();
        let sent = peer.text();
        assert!(sent.ends_with("3\r\nabc\r\n"), "no last chunk: {sent}");
        let reason = peer.expect_closed();
        assert_eq!(reason, CloseReason::Aborted(ErrorCode::CANCEL));
        assert!(peer.conn.stream(id).is_none() && peer.conn.next_timeout().is_none());
        assert!(peer.conn.is_truncated(), "the server must see it at once");
    }
    // The rest of its response is useless, and a clean end would leave a port in TIME_WAIT.
    let mut peer = server();
    peer.ask();
    peer.conn.abort(ErrorCode::CANCEL);
    peer.settle();
    let reason = peer.expect_closed();
    assert_eq!(reason, CloseReason::Aborted(ErrorCode::CANCEL));
    assert!(peer.conn.is_truncated());
    // A request that is over can't be reset.
    let mut peer = server();
    let id = peer.ask();
    peer.send(NO_CONTENT);
    peer.expect_response(204, true);
    assert!(peer.conn.stream(id).is_none());
    expect_goes_on(&mut peer);
    // Nothing after the end is reported.
    let mut peer = answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    peer.events.clear();
    peer.conn.abort(ErrorCode::CANCEL);
    peer.send("llo");
    let reason = peer.expect_closed();
    assert_eq!(reason, CloseReason::Aborted(ErrorCode::CANCEL));
    peer.eof();
    peer.fail();
    peer.expect_nothing();
}

#[test]
fn memory_is_given_back_when_nothing_is_asked() {
    // A connection between two requests keeps the memory for the next one for a moment.
    let mut peer = answered(NO_CONTENT);
    peer.expect_response(204, true);
    assert_eq!(peer.conn.next_timeout(), Some(peer.now + REST_AFTER));
    // Bytes that wait to be sent stay longer.
    let mut peer = server();
    peer.conn
        .open(&RequestHead::new("GET", "http", "a", "/"), Body::Empty)
        .expect("a proper request");
    peer.now += secs(5);
    peer.conn.handle_timeout(peer.now);
    peer.settle();
    peer.expect_sent("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
}
