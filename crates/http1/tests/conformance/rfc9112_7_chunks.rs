//! RFC 9112 §7: chunks, in both directions.

use bytes::Bytes;
use tidegate_http::{Body, Event, Fields, ResponseHead, Stream, StreamId, Violation};

use crate::support::*;

/// Returns a client that has sent a chunked body.
fn chunks(body: impl AsRef<[u8]>) -> Peer {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut peer = sent([head.as_bytes(), body.as_ref()].concat());
    assert!(matches!(peer.next(), Event::Request { end: false, .. }));
    peer
}

#[test]
fn chunks_are_put_together() {
    // §7.1: "chunked-body = *chunk last-chunk trailer-section CRLF".
    let mut peer = chunks(format!(
        "5\r\nhello\r\n00A;a=b;c=\"d\"\r\n0123456789\r\n000\r\n\r\n{GET}"
    ));
    peer.expect_data("hello", false);
    peer.expect_data("0123456789", false);
    peer.expect_data("", true);
    peer.expect_nothing();
}

#[test]
fn trailers_come_as_an_event() {
    // §7.1.2: "A trailer section allows the sender to include additional fields at the end of a
    // chunked message".
    let mut peer = chunks("1\r\nx\r\n0\r\nGrpc-Status: 0\r\nX: y\r\n\r\n");
    peer.expect_data("x", false);
    match peer.next() {
        Event::Trailers { fields, .. } => {
            let expected: Fields = [("grpc-status", "0"), ("x", "y")].into_iter().collect();
            assert_eq!(fields, expected);
        }
        other => panic!("{other:?}"),
    }
    peer.expect_nothing();
}

#[test]
fn trailers_that_must_not_be_some_are_left_out() {
    // RFC 9110 §6.5.1: fields "such as those that describe message framing, routing,
    // authentication, request modifiers, response controls, or content format" can't be processed
    // there.
    for line in [
        "Content-Length: 5",
        "Content-Length: five",
        "transfer-encoding: chunked",
        "Host: b",
        "Connection: close",
        "TE: gzip",
        "Authorization: Basic eDp5",
        "Content-Type: text/html",
    ] {
        let mut peer = chunks(format!("0\r\n{line}\r\nX: y\r\n\r\n"));
        let expected = [("x", "y")].into_iter().collect();
        assert_eq!(peer.expect_trailers(), expected, "{line}");
        let mut peer = chunks(format!("0\r\n{line}\r\n\r\n{GET}"));
        peer.expect_data("", true);
        // They don't affect the connection or the next request either.
        peer.respond(StreamId::new(1), &ResponseHead::new(200), Body::Empty);
        peer.expect_request();
    }
}

#[test]
fn trailers_that_are_about_the_connection_are_left_out() {
    // RFC 9110 §7.6.1: "for each connection-option in this field, remove any header or trailer
    // field(s) from the message with the same name as the connection-option".
    let mut peer = sent(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: X-Own, keep-alive\r\nConnection: x-other\r\n\r\n\
         0\r\nx-own: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n\r\n",
    );
    peer.expect_request();
    let expected = [("x-kept", "3")].into_iter().collect();
    assert_eq!(peer.expect_trailers(), expected);
}

#[test]
fn trailers_obey_the_rules_of_heads() {
    let many: String = (0..101).map(|n| format!("x: {n}\r\n")).collect();
    for (lines, violation, status) in [
        ("X : y\r\n", Violation::FieldLineInvalid, 400),
        ("X: y\0\r\n", Violation::FieldLineInvalid, 400),
        ("X\r\n", Violation::FieldLineInvalid, 400),
        ("X: y\n", Violation::LineEndInvalid, 400),
        ("\n", Violation::LineEndInvalid, 400),
        (" X: y\r\n", Violation::FieldLineFolded, 400),
        ("X: y\r\n z\r\n", Violation::FieldLineFolded, 400),
        (many.as_str(), Violation::TooManyHeaderFields, 431),
        ("GET / HTTP/1.1\r\n", Violation::FieldLineInvalid, 400),
    ] {
        println!("{}", lines.escape_debug());
        chunks(format!("0\r\n{lines}\r\n")).expect_refusal(violation, status);
    }
    let long = format!("0\r\nx: {}", "y".repeat(33_000));
    chunks(long).expect_refusal(Violation::HeaderListTooLarge, 431);
}

#[test]
fn chunks_that_are_none() {
    // §7.1: "chunk-size = 1*HEXDIG"; "recipients MUST anticipate potentially large hexadecimal
    // numerals and prevent parsing errors due to integer conversion overflows".
    for bytes in [
        "\r\n",
        "g\r\n",
        "0x5\r\n",
        " 5\r\n",
        "5 \r\n",
        "+5\r\n",
        "-1\r\n",
        "5_0\r\n",
        "5;\r\n",
        "5;a b\r\n",
        "5;a\0\r\n",
        "5;\ta@\r\n",
        "5\n",
        "5;a\n",
        "5\rx\n",
        "5;a\rb\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "5, 5\r\n",
    ] {
        println!("{}", bytes.escape_debug());
        chunks(bytes).expect_refusal(Violation::ChunkInvalid, 400);
    }
    // "chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF"
    for bytes in [
        "1\r\nx\n",
        "1\r\nxy",
        "1\r\nx0\r\n\r\n",
        "1\r\nx\r\r",
        "1\r\nx\rx",
    ] {
        println!("{}", bytes.escape_debug());
        let mut peer = chunks(bytes);
        peer.expect_data("x", false);
        peer.expect_refusal(Violation::ChunkInvalid, 400);
    }
}

#[test]
fn a_chunk_of_the_largest_size_is_waited_for() {
    let mut peer = chunks("ffffffffffffffff\r\nabc");
    peer.expect_data("abc", false);
    peer.expect_nothing();
    peer.expect_alive();
}

#[test]
fn extensions_are_ignored_but_not_endless() {
    // §7.1.1: "A server ought to limit the total length of chunk extensions received in a request
    // to an amount reasonable for the services provided".
    let line = |len: usize| format!("1;{}\r\n", "a".repeat(len - 4));
    let mut peer = chunks(line(256) + "x");
    peer.expect_data("x", false);
    chunks(line(257)).expect_refusal(Violation::ChunkLineTooLong, 400);
    chunks(&line(300)[..256]).expect_refusal(Violation::ChunkLineTooLong, 400);
}

#[test]
fn a_response_of_unknown_length_is_chunked() {
    // §6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the
    // corresponding request indicates HTTP/1.1 (or later minor revisions)."
    let mut peer = sent(format!("{GET}{GET}"));
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_sent("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    peer.expect_writable();
    peer.stream(id)
        .write(&mut Bytes::from_static(b"hello, world"), false);
    peer.settle();
    peer.expect_sent("c\r\nhello, world\r\n");
    peer.expect_writable();
    peer.stream(id).write(&mut Bytes::from_static(b"!"), false);
    peer.stream(id)
        .trailers(&[("grpc-status", "0")].into_iter().collect())
        .expect("trailers after a body");
    peer.settle();
    peer.expect_sent("1\r\n!\r\n0\r\ngrpc-status: 0\r\n\r\n");
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.stream(id).write(&mut Bytes::new(), true);
    peer.settle();
    // §7.1: an empty body has only the last chunk; an empty chunk would end a body early.
    peer.expect_sent("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    peer.expect_alive();
}

#[test]
fn no_chunk_is_larger_than_the_outbox_has_room_for() {
    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.stream(id)
        .write(&mut Bytes::from(vec![b'x'; 100_000]), true);
    peer.settle();
    let text = peer.text();
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let mut rest = body;
    let mut sum = 0;
    loop {
        let (size, after) = rest.split_once("\r\n").expect("a size");
        let size = usize::from_str_radix(size, 16).expect("hexadecimal");
        sum += size;
        assert!(size <= 64 << 10);
        assert_eq!(&after[size..size + 2], "\r\n");
        rest = &after[size + 2..];
        if size == 0 {
            break;
        }
    }
    assert_eq!((sum, rest), (100_000, ""));
}
