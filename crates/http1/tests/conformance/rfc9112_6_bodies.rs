//! RFC 9112 §6: the length of bodies, in both directions.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Flow, MemoryBudget, Misuse, Outbox, ResponseHead,
    Stream, Violation,
};

use crate::support::*;

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}")
}

#[test]
fn a_body_of_known_length() {
    // §6.2: "the Content-Length field value provides the framing information necessary for
    // determining where the data (and message) ends."
    let mut peer = sent(post(
        "Content-Length: 5\r\n",
        "helloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ));
    let (id, head, end) = peer.expect_request();
    assert_eq!((head.content_length(), end), (Some(5), false));
    peer.expect_data("hello", true);
    peer.expect_nothing();
    peer.respond(id, &ResponseHead::new(200), Body::Empty);
    assert_eq!(peer.answer("").method(), "GET");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2));
}

#[test]
fn no_length_is_no_body() {
    // §6.3: "If this is a request message and none of the above are true, then the message body
    // length is zero".
    for lines in ["", "Content-Length: 0\r\n"] {
        let mut peer = sent(post(lines, GET));
        assert!(peer.expect_request().2);
        peer.expect_nothing();
    }
}

#[test]
fn lengths_that_say_nothing_clear() {
    // §6.3: "If a message is received without Transfer-Encoding and with an invalid Content-Length
    // header field, then the message framing is invalid and the recipient MUST treat it as an
    // unrecoverable error".
    for length in [
        "",
        "a",
        "+5",
        "-5",
        "-0",
        "5 5",
        "5;",
        "0x5",
        "5.0",
        "5e0",
        "1_0",
        "00",
        "05",
        "18446744073709551616",
        "\u{665}",
    ] {
        sent(post(&format!("Content-Length: {length}\r\n"), "hello"))
            .expect_refusal(Violation::ContentLengthInvalid, 400);
    }
    for lines in [
        "5,",
        ",5",
        "5, 6",
        "5, 05",
        "5\r\ncontent-length: 6",
        "5, 5\r\ncontent-length: 6",
        "5\r\nContent-Length:",
    ] {
        sent(post(&format!("Content-Length: {lines}\r\n"), "hello"))
            .expect_refusal(Violation::ContentLengthRepeated, 400);
    }
}

#[test]
fn one_length_said_repeatedly_counts_once() {
    // §6.3: "unless the field value can be successfully parsed as a comma-separated list …, all
    // values in the list are valid, and all values in the list are the same (in which case, the
    // message is processed with that single value used as the Content-Length field value)."
    for lines in [
        "5, 5",
        "5,5 ,\t5",
        "5\r\nContent-Length: 5",
        "5, 5\r\ncontent-length: 5",
    ] {
        let mut peer = sent(post(&format!("Content-Length: {lines}\r\n"), "hello"));
        let (_, head, _) = peer.expect_request();
        let lengths = head
            .headers()
            .filter(|field| field.name == b"content-length");
        let lengths: Vec<&[u8]> = lengths.map(|field| field.value).collect();
        assert_eq!(lengths, [b"5"], "{lines:?}");
        peer.expect_data("hello", true);
    }
}

#[test]
fn both_framings_are_refused() {
    // §6.1: "A server MAY reject a request that contains both Content-Length and Transfer-Encoding
    // … Regardless, the server MUST close the connection after responding to such a request".
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
    ] {
        sent(post(lines, "0\r\n\r\n"))
            .expect_refusal(Violation::ContentLengthWithTransferEncoding, 400);
    }
}

#[test]
fn chunked_is_the_only_transfer_coding() {
    // §6.3: "If a Transfer-Encoding header field is present in a request and the chunked transfer
    // coding is not the final encoding, the message body length cannot be determined reliably; the
    // server MUST respond with the 400 (Bad Request) status code and then close the connection."
    for coding in [
        "gzip",
        "identity",
        "xchunked",
        "chunked, identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "",
        "chunked;q=1",
        "chunked chunked",
        "\"chunked\"",
        "chunke",
        "chunked\u{a0}",
        "chunked\r\nTransfer-Encoding: identity",
        "chunked\r\nTransfer-Encoding: chunked",
        "gzip, , chunked",
        "chunked\r\nTransfer-Encoding:",
    ] {
        println!("{}", coding.escape_debug());
        sent(post(
            &format!("Transfer-Encoding: {coding}\r\n"),
            "0\r\n\r\n",
        ))
        .expect_refusal(Violation::TransferEncodingNotChunked, 400);
    }
    // §6.1: "A server that receives a request message with a transfer coding it does not understand
    // SHOULD respond with 501 (Not Implemented)."
    for coding in [
        "gzip, chunked",
        "gzip\r\nTransfer-Encoding: chunked",
        "identity, chunked",
    ] {
        sent(post(
            &format!("Transfer-Encoding: {coding}\r\n"),
            "0\r\n\r\n",
        ))
        .expect_refusal(Violation::TransferCodingUnknown, 501);
    }
    // §7: "transfer coding names are case-insensitive".
    for coding in ["chunked", "CHUNKED", " chunked\t"] {
        let mut peer = sent(post(
            &format!("Transfer-Encoding:{coding}\r\n"),
            "0\r\n\r\n",
        ));
        assert!(!peer.expect_request().2);
        peer.expect_data("", true);
    }
}

#[test]
fn transfer_encoding_is_of_http11() {
    // §6.1: "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding
    // header field MUST treat the message as if the framing is faulty, even if a Content-Length is
    // present, and close the connection".
    for lines in ["", "Content-Length: 5\r\n"] {
        let request = format!(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{lines}\r\n0\r\n\r\n"
        );
        sent(request).expect_refusal(Violation::TransferEncodingBeforeHttp11, 400);
    }
}

#[test]
fn a_body_that_is_not_consumed_is_not_read() {
    let mut config = Config::server();
    config.initial_window_size = 10;
    let mut peer = client_of(config);
    peer.send(post("Content-Length: 25\r\n", &"x".repeat(25)));
    let (id, ..) = peer.expect_request();
    peer.expect_data("x".repeat(10), false);
    peer.expect_nothing();
    assert!(!peer.conn.can_receive());
    assert_eq!(peer.input.len(), 15);
    // Nobody is at fault if nothing arrives meanwhile.
    peer.pass(secs(100));
    peer.expect_alive();
    peer.stream(id).consume(4);
    assert_eq!(peer.stream(id).unconsumed(), 6);
    peer.settle();
    peer.expect_data("x".repeat(4), false);
    peer.stream(id).consume(10);
    peer.settle();
    peer.expect_data("x".repeat(10), false);
    peer.stream(id).consume(10);
    peer.settle();
    peer.expect_data("x", true);
}

#[test]
fn a_response_is_framed_by_what_is_known_of_it() {
    // §6.3 and RFC 9110 §8.6.
    let ok = || ResponseHead::new(200);
    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    // The owner's length of a complete body doesn't count.
    peer.respond(
        id,
        &ok().field("content-length", "7").field("a", "b"),
        Body::Full(Bytes::from_static(b"xy")),
    );
    peer.expect_sent("HTTP/1.1 200 OK\r\na: b\r\ncontent-length: 2\r\n\r\nxy");

    peer.send(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ok(), Body::Full(Bytes::from(vec![b'z'; 100_000])));
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    peer.expect_sent([head.as_bytes(), &vec![b'z'; 100_000]].concat());

    peer.send(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ok().field("content-length", "3"), Body::Stream);
    assert_eq!(
        peer.expect_writable(),
        (
            id,
            (64 << 10) - "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n".len()
        )
    );
    assert_eq!(
        peer.stream(id).write(&mut Bytes::from_static(b"ab"), false),
        2
    );
    peer.settle();
    peer.expect_writable();
    assert_eq!(
        peer.stream(id).write(&mut Bytes::from_static(b"c"), true),
        1
    );
    peer.settle();
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
    peer.expect_alive();
    peer.expect_nothing();
}

#[test]
fn statuses_and_methods_without_content() {
    // §6.3: "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No
    // Content), or 304 (Not Modified) status code is always terminated by the first empty line".
    // RFC 9110 §8.6 on Content-Length there.
    let full = || Body::Full(Bytes::from_static(b"xy"));
    let length = |status| ResponseHead::new(status).field("content-length", "2");
    let cases = [
        (
            "HEAD",
            ResponseHead::new(200),
            full(),
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        ),
        (
            "HEAD",
            length(200),
            Body::Stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
        ),
        (
            "HEAD",
            ResponseHead::new(200),
            Body::Stream,
            "HTTP/1.1 200 OK\r\n\r\n",
        ),
        (
            "GET",
            length(204),
            full(),
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            "GET",
            length(304),
            Body::Empty,
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n",
        ),
        (
            "GET",
            ResponseHead::new(304),
            Body::Empty,
            "HTTP/1.1 304 Not Modified\r\n\r\n",
        ),
        (
            "GET",
            ResponseHead::new(299),
            Body::Empty,
            "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n",
        ),
    ];
    let mut peer = client();
    for (method, head, body, expected) in cases {
        peer.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (id, ..) = peer.expect_request();
        peer.respond(id, &head, body);
        peer.expect_sent(expected);
    }
    peer.expect_alive();
    peer.expect_nothing();
}

#[test]
fn a_body_of_another_length_than_promised_closes_the_connection() {
    // §8: "A message body that uses a valid Content-Length is incomplete if the size of the message
    // body received (in octets) is less than the value given by Content-Length."
    for (given, end) in [("ab", true), ("abcd", false), ("abcd", true)] {
        let mut peer = sent(format!("{GET}{GET}"));
        let (id, ..) = peer.expect_request();
        peer.respond(
            id,
            &ResponseHead::new(200).field("content-length", "3"),
            Body::Stream,
        );
        peer.expect_writable();
        peer.stream(id).write(&mut Bytes::from(given), end);
        peer.settle();
        assert_eq!(
            peer.expect_closed(),
            CloseReason::Aborted(ErrorCode::INTERNAL_ERROR)
        );
        assert!(peer.sent.len() < "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc".len());
        assert!(!peer.conn.is_truncated(), "the client counts by itself");
    }
}

#[test]
fn a_body_of_unknown_length_for_http10_ends_with_the_connection() {
    // §6.3: "Otherwise, this is a response message without a declared message body length, so the
    // message body length is determined by the number of octets received prior to the server
    // closing the connection."
    let request = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut peer = sent(request);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.stream(id)
        .write(&mut Bytes::from_static(b"abc"), false);
    peer.settle();
    peer.expect_sent("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc");
    peer.expect_writable();
    peer.stream(id)
        .trailers(&[("a", "b")].into_iter().collect())
        .expect("they are left out");
    peer.settle();
    peer.expect_sent("");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert!(!peer.conn.is_truncated());

    // §8: such a response looks like a truncated one, unless the transport shows the difference.
    let mut peer = sent(request);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.stream(id)
        .write(&mut Bytes::from_static(b"abc"), false);
    peer.stream(id).reset(ErrorCode::INTERNAL_ERROR);
    peer.settle();
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Aborted(ErrorCode::INTERNAL_ERROR)
    );
    assert!(peer.conn.is_truncated());
}

#[test]
fn what_the_owner_must_not_do() {
    let mut peer = sent("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    let (id, ..) = peer.expect_request();
    let mut stream = peer.stream(id);
    let ok = ResponseHead::new(200);
    assert_eq!(
        stream.respond(&ok, Body::Stream),
        Err(Misuse::StatusOutOfRange),
        "there are no tunnels"
    );
    assert_eq!(
        stream.respond(&ResponseHead::new(103), Body::Empty),
        Err(Misuse::StatusOutOfRange)
    );
    assert_eq!(
        stream.inform(&ResponseHead::new(101)),
        Err(Misuse::StatusOutOfRange)
    );
    assert_eq!(stream.inform(&ok), Err(Misuse::StatusOutOfRange));
    for (name, value) in [
        ("connection", "x"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "x"),
        ("upgrade", "x"),
        ("a", "b\r\nc: d"),
        ("a b", "c"),
    ] {
        // RFC 9110 §7.6.1: the owner can't set fields of the connection.
        let head = ResponseHead::new(404).field(name, value);
        assert_eq!(
            stream.respond(&head, Body::Empty),
            Err(Misuse::InvalidField),
            "{name}"
        );
    }
    assert_eq!(
        stream.trailers(&Default::default()),
        Err(Misuse::OutOfOrder)
    );
    assert_eq!(stream.write(&mut Bytes::from_static(b"x"), true), 0);
    peer.respond(id, &ResponseHead::new(404), Body::Empty);
    peer.expect_sent("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert!(peer.conn.stream(id).is_none());

    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ok, Body::Stream);
    let mut stream = peer.stream(id);
    assert_eq!(
        stream.respond(&ok, Body::Empty),
        Err(Misuse::AlreadyResponded)
    );
    assert_eq!(
        stream.inform(&ResponseHead::new(103)),
        Err(Misuse::AlreadyResponded)
    );
    assert_eq!(
        stream.trailers(&[("a", "b\n")].into_iter().collect()),
        Err(Misuse::InvalidField)
    );
    let head = tidegate_http::RequestHead::new("GET", "http", "a", "/");
    assert_eq!(stream.push(&head), Err(Misuse::PushDisabled));
    stream.write(&mut Bytes::new(), true);
    assert_eq!(stream.write(&mut Bytes::from_static(b"x"), true), 0);
    assert_eq!(stream.respond(&ok, Body::Empty), Err(Misuse::StreamClosed));
    assert_eq!(
        stream.trailers(&Default::default()),
        Err(Misuse::StreamClosed)
    );
    stream.reset(ErrorCode::CANCEL);
    stream.release();
    peer.settle();
    peer.expect_alive();
}

#[test]
fn a_body_is_asked_for_when_there_is_room_and_once() {
    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.settle();
    peer.expect_nothing();
    // The owner has nothing yet: it isn't asked again.
    peer.stream(id).write(&mut Bytes::new(), false);
    peer.settle();
    peer.expect_nothing();
    let mut much = Bytes::from(vec![b'x'; 1 << 20]);
    assert_eq!(peer.stream(id).write(&mut much, true), 256 << 10);
    assert_eq!(
        peer.stream(id).write(&mut much, true),
        0,
        "one piece waits already"
    );
    peer.settle();
    assert!(matches!(peer.next(), Event::Writable { .. }));
}

#[test]
fn what_is_held_of_bodies_takes_its_part_of_the_memory_budget() {
    // RFC 9110 §15.6.4: "The 503 (Service Unavailable) status code indicates that the server is
    // currently unable to handle the request due to a temporary overload".
    let budget = MemoryBudget::new(1 << 20);
    let mut config = Config::server();
    config.memory_budget = Some(Arc::clone(&budget));
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    // Heads alone take next to no memory.
    let mut all: Vec<_> = (0..16).map(|_| client_of(config.clone())).collect();
    for peer in &mut all {
        peer.send(chunked);
        peer.expect_request();
    }
    assert!(budget.held() < 512 << 10, "{}", budget.held());
    // Nobody consumes the data.
    for peer in &mut all {
        peer.send(&*chunk);
    }
    let mut late = client_of(config);
    assert!(!late.conn.can_receive());
    late.send(GET);
    late.expect_sent(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(late.expect_closed(), CloseReason::OverMemoryBudget);
    assert_eq!(late.conn.stats().refused_for_memory, 1);
    drop((all, late));
    assert_eq!(budget.held(), 0);
}

/// A connection that is idle after a response isn't touched again, so nothing may be left then.
#[test]
fn what_has_gone_out_is_held_no_longer() {
    let budget = MemoryBudget::new(1 << 20);
    let mut config = Config::server();
    config.memory_budget = Some(Arc::clone(&budget));
    let mut peer = client_of(config);
    peer.send(GET);
    let (id, ..) = peer.expect_request();
    let mut stream = peer.conn.stream(id).unwrap();
    let head = ResponseHead::new(200).field("content-length", "60000");
    stream.respond(&head, Body::Stream).unwrap();
    stream.write(&mut Bytes::from(vec![b'x'; 60_000]), true);
    let mut out = Outbox::new();
    let flow = peer.conn.transmit(&mut out, 1 << 20, peer.now);
    assert!(matches!(flow, Flow::Drained) && out.len() > 60_000);
    assert_eq!((peer.conn.held_bytes(), budget.held()), (0, 0));
}

#[test]
fn trailers_take_their_part_of_the_memory_budget() {
    let budget = MemoryBudget::new(1 << 20);
    let mut config = Config::server();
    config.memory_budget = Some(Arc::clone(&budget));
    let mut peer = client_of(config);
    let value = "x".repeat(30_000);
    peer.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-large: {value}\r\n\r\n"
    ));
    peer.expect_request();
    assert!(matches!(peer.next(), Event::Trailers { .. }));
    // Their reader may keep them, too.
    assert!(
        peer.conn.held_bytes() > 60_000,
        "{}",
        peer.conn.held_bytes()
    );
}
