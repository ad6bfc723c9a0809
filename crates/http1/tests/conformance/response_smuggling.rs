//! Known and possible ways to make two recipients of the same bytes see different responses, so
//! that one client gets another's response. The names and the ways are those of `smuggling`, from
//! the other side. Each must be refused before the engine reports a response as complete that the
//! server may not have meant.

use tidegate_http::{CloseReason, Event, Violation};

use crate::framing::{CHUNKED, EITHER_WAY, Vector};
use crate::support::*;

use Violation as V;

/// The response that an attacker hides.
const HIDDEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

/// Name, status line, and the violation.
type StatusLine = (&'static str, &'static [u8], Violation);

const STATUS_LINES: &[StatusLine] = &[
    // RFC 9112 §4: "status-code = 3DIGIT".
    ("two digits", b"HTTP/1.1 20 OK", V::StatusLineInvalid),
    ("four digits", b"HTTP/1.1 2000 OK", V::StatusLineInvalid),
    ("letters", b"HTTP/1.1 2OO OK", V::StatusLineInvalid),
    ("hexadecimal", b"HTTP/1.1 0xC8 OK", V::StatusLineInvalid),
    ("a sign", b"HTTP/1.1 +20 OK", V::StatusLineInvalid),
    ("a fraction", b"HTTP/1.1 200.1 OK", V::StatusLineInvalid),
    ("no code", b"HTTP/1.1 OK", V::StatusLineInvalid),
    ("no code, a space", b"HTTP/1.1 ", V::StatusLineInvalid),
    ("the version alone", b"HTTP/1.1", V::StatusLineInvalid),
    // RFC 9110 §15: "The first digit of the status code defines the class of response." 0 is no
    // class.
    ("class 0", b"HTTP/1.1 099 OK", V::StatusInvalid),
    ("zero", b"HTTP/1.1 000 OK", V::StatusInvalid),
    // RFC 9112 §4: one space each. "recipients MAY instead parse on whitespace-delimited word
    // boundaries …. However, lenient parsing can result in response splitting security
    // vulnerabilities".
    ("two spaces", b"HTTP/1.1  200 OK", V::StatusLineInvalid),
    ("tab", b"HTTP/1.1\t200 OK", V::StatusLineInvalid),
    (
        "tab behind the code",
        b"HTTP/1.1 200\tOK",
        V::StatusLineInvalid,
    ),
    ("leading space", b" HTTP/1.1 200 OK", V::StatusLineInvalid),
    ("leading tab", b"\tHTTP/1.1 200 OK", V::StatusLineInvalid),
    ("leading byte", b"xHTTP/1.1 200 OK", V::StatusLineInvalid),
    (
        "byte order mark",
        b"\xef\xbb\xbfHTTP/1.1 200 OK",
        V::StatusLineInvalid,
    ),
    // RFC 9112 §2.2 lets a server skip an empty line, but not a client.
    (
        "leading empty line",
        b"\r\nHTTP/1.1 200 OK",
        V::StatusLineInvalid,
    ),
    ("leading LF", b"\nHTTP/1.1 200 OK", V::LineEndInvalid),
    ("leading CR", b"\rHTTP/1.1 200 OK", V::LineEndInvalid),
    // RFC 9112 §2.3: "HTTP-version = HTTP-name "/" DIGIT "." DIGIT", and case-sensitive.
    ("HTTP/2.0", b"HTTP/2.0 200 OK", V::StatusLineInvalid),
    ("HTTP/2", b"HTTP/2 200 OK", V::StatusLineInvalid),
    ("HTTP/0.9", b"HTTP/0.9 200 OK", V::StatusLineInvalid),
    ("HTTP/1.2", b"HTTP/1.2 200 OK", V::StatusLineInvalid),
    ("HTTP/1.10", b"HTTP/1.10 200 OK", V::StatusLineInvalid),
    ("HTTP/01.1", b"HTTP/01.1 200 OK", V::StatusLineInvalid),
    ("HTTP/1", b"HTTP/1 200 OK", V::StatusLineInvalid),
    ("lower case", b"http/1.1 200 OK", V::StatusLineInvalid),
    ("SHOUTcast", b"ICY 200 OK", V::StatusLineInvalid),
    ("no version", b"200 OK", V::StatusLineInvalid),
    // Without a status line.
    ("a field", b"Server: t", V::StatusLineInvalid),
    ("a request", b"GET / HTTP/1.1", V::StatusLineInvalid),
    ("HTTP/0.9 content", b"<html>", V::StatusLineInvalid),
    ("preface of HTTP/2", b"PRI * HTTP/2.0", V::StatusLineInvalid),
    ("TLS", b"\x15\x03\x03\0\x02\x02\x46", V::StatusLineInvalid),
    // The end of the line.
    (
        "NUL in the phrase",
        b"HTTP/1.1 200 O\0K",
        V::StatusLineInvalid,
    ),
    (
        "VT in the phrase",
        b"HTTP/1.1 200 O\x0bK",
        V::StatusLineInvalid,
    ),
    (
        "DEL in the phrase",
        b"HTTP/1.1 200 O\x7fK",
        V::StatusLineInvalid,
    ),
    ("CR in the phrase", b"HTTP/1.1 200 O\rK", V::LineEndInvalid),
    ("CR at the end", b"HTTP/1.1 200 OK\r", V::LineEndInvalid),
    ("LF at the end", b"HTTP/1.1 200 OK\nX: y", V::LineEndInvalid),
    (
        "whitespace behind it",
        b"HTTP/1.1 200 OK\r\n X: y",
        V::FieldLineFolded,
    ),
    (
        "a line of whitespace behind it",
        b"HTTP/1.1 200 OK\r\n \t",
        V::FieldLineFolded,
    ),
    // RFC 9110 §15.2.2: 101 is for clients that asked for it.
    (
        "101 unasked",
        b"HTTP/1.1 101 Switching Protocols",
        V::UpgradeInvalid,
    ),
    (
        "101 unasked, with all that a WebSocket wants",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        V::UpgradeInvalid,
    ),
    (
        "101 unasked, to h2c",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c",
        V::UpgradeInvalid,
    ),
];

const VECTORS: &[Vector] = &[
    // Framing that contradicts itself.
    (
        "TE.CL",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"5c\r\nHTTP/",
        V::ContentLengthWithTransferEncoding,
    ),
    (
        "TE.CL, another coding",
        b"Transfer-Encoding: gzip\r\nContent-Length: 4\r\n",
        b"abcd",
        V::ContentLengthWithTransferEncoding,
    ),
    (
        "TE.TE, the same",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "CL list of one",
        b"Content-Length: 5,\r\n",
        b"hello",
        V::ContentLengthRepeated,
    ),
    // Lengths that some recipients read and others don't.
    (
        "CL plus",
        b"Content-Length: +5\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL leading zero",
        b"Content-Length: 05\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL fraction",
        b"Content-Length: 5.0\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL overflow",
        b"Content-Length: 18446744073709551621\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    // Codings that some recipients take for chunked, while others read until the connection's end.
    (
        "TE gzip",
        b"Transfer-Encoding: gzip\r\n",
        b"x",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE identity",
        b"Transfer-Encoding: identity\r\n",
        b"x",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE gzip, chunked",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"0\r\n\r\n",
        V::TransferCodingUnknown,
    ),
    (
        "TE chunked, gzip",
        b"Transfer-Encoding: chunked, gzip\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE vertical tab",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    // Field lines that some recipients take for Transfer-Encoding or Content-Length. RFC 9112 §5.1:
    // "A proxy MUST remove any such whitespace from a response message before forwarding the
    // message downstream": not all do.
    (
        "TE space before colon",
        b"Transfer-Encoding : chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "a fold of nothing",
        b"X: y\r\n \r\n",
        b"",
        V::FieldLineFolded,
    ),
    (
        "TE behind a bare CR",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::LineEndInvalid,
    ),
    (
        "a head that ends by bare LF",
        b"X: y\r\n\n",
        b"",
        V::LineEndInvalid,
    ),
    ("NUL in a name", b"X\x00: y\r\n", b"", V::FieldLineInvalid),
    ("NUL in a value", b"X: y\x00\r\n", b"", V::FieldLineInvalid),
    (
        "a name beyond ASCII",
        b"Tran\xc5\xbffer: y\r\n",
        b"",
        V::FieldLineInvalid,
    ),
    (
        "a second status line",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        b"",
        V::FieldLineInvalid,
    ),
    // Chunks.
    (
        "chunk underscore",
        CHUNKED,
        b"1_0\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk size of more than 64 bits",
        CHUNKED,
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk size that is none",
        CHUNKED,
        b"g\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk line by bare LF",
        CHUNKED,
        b"5\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "extension by bare CR",
        CHUNKED,
        b"2;a\rxx\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk spills",
        CHUNKED,
        b"5\r\nhello!!\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "a response in place of a chunk",
        CHUNKED,
        b"HTTP/1.1 200 OK\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "trailer folded",
        CHUNKED,
        b"0\r\nX: y\r\n z\r\n\r\n",
        V::FieldLineFolded,
    ),
    (
        "trailer that is a response",
        CHUNKED,
        b"0\r\nHTTP/1.1 200 OK\r\n\r\n",
        V::FieldLineInvalid,
    ),
];

/// Sends these bytes, at once and one by one, alone and with the hidden response after them.
fn expect_refused(name: &str, bytes: &[u8], violation: Violation) {
    println!("{name}");
    for rest in [&b""[..], HIDDEN.as_bytes()] {
        let bytes = [bytes, rest].concat();
        let mut whole = answered(&bytes);
        let mut cut = answered("");
        for byte in bytes {
            cut.send([byte]);
        }
        for peer in [&mut whole, &mut cut] {
            for event in &peer.events {
                let end = match event {
                    Event::Response { end, .. } | Event::Data { end, .. } => *end,
                    Event::Closed(_) => false,
                    other => panic!("{other:?}"),
                };
                assert!(!end, "reported as complete: {:?}", peer.events);
            }
            let responses = peer.events.iter();
            let responses = responses.filter(|event| matches!(event, Event::Response { .. }));
            assert!(responses.count() <= 1, "{:?}", peer.events);
            let is_closed = |event: &Event| matches!(event, Event::Closed(_));
            peer.events.retain(is_closed);
            peer.expect_violation(violation);
            assert!(!peer.conn.can_open());
        }
    }
}

#[test]
fn no_status_line_is_guessed() {
    for (name, line, violation) in STATUS_LINES {
        let head = [*line, b"\r\nContent-Length: 0\r\n\r\n"].concat();
        expect_refused(name, &head, *violation);
    }
}

#[test]
fn nothing_is_smuggled() {
    for (name, lines, body, violation) in EITHER_WAY.iter().chain(VECTORS) {
        let head = [b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n", *body].concat();
        expect_refused(name, &head, *violation);
    }
}

#[test]
fn http10_has_no_transfer_codings() {
    // RFC 9112 §6.1: "A server or client that receives an HTTP/1.0 message containing a
    // Transfer-Encoding header field MUST treat the message as if the framing is faulty, even if a
    // Content-Length is present, and close the connection".
    for lines in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Connection: keep-alive\r\nTransfer-Encoding: gzip\r\n",
    ] {
        let head = format!("HTTP/1.0 200 OK\r\n{lines}\r\n0\r\n\r\n");
        expect_refused(lines, head.as_bytes(), V::TransferEncodingBeforeHttp11);
    }
}

/// Interim responses are checked too, because they could hide a final one.
#[test]
fn nothing_hides_in_an_interim_response() {
    for (name, bytes, violation) in [
        (
            "CL.CL",
            "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
            V::ContentLengthRepeated,
        ),
        ("folded", " X: y\r\n\r\n", V::FieldLineFolded),
        ("bare LF", "X: y\nZ: z\r\n\r\n", V::LineEndInvalid),
        ("space before colon", "X : y\r\n\r\n", V::FieldLineInvalid),
        // A 1xx has no body: the next bytes are the next head.
        (
            "a body",
            "Content-Length: 5\r\n\r\nhello\r\n",
            V::StatusLineInvalid,
        ),
        (
            "chunks",
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            V::StatusLineInvalid,
        ),
    ] {
        println!("{name}");
        let mut peer = answered(format!("HTTP/1.1 103 Early Hints\r\n{bytes}{HIDDEN}"));
        let is_interim = |event: &Event| matches!(event, Event::Informational { .. });
        peer.events.retain(|event| !is_interim(event));
        peer.expect_violation(violation);
    }
}

/// Valid responses must stay usable, however suspicious they look.
#[test]
fn what_is_in_order_is_taken() {
    for (lines, body, content) in [
        ("Content-Length:\t5 \r\n", "hello", "hello"),
        (
            "TRANSFER-ENCODING: Chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "Transfer-Encoding:\tchunked\t\r\n",
            "5;a=\"\\\"\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "hello",
        ),
        (
            "Transfer_Encoding: chunked\r\nContent-Length: 2\r\n",
            "0\r",
            "0\r",
        ),
        ("Content-Length: 46\r\n", HIDDEN, HIDDEN),
    ] {
        let mut peer = answered(format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}"));
        peer.expect_response(200, false);
        let mut got = Vec::new();
        while !peer.events.is_empty() {
            if let Event::Data { data, .. } = peer.next() {
                got.extend_from_slice(&data);
            }
        }
        assert_eq!(got, content.as_bytes(), "{lines}");
        assert!(peer.conn.can_open());
    }
}

/// Bytes after a response that ends its connection are no response, and neither are those of an
/// extra one.
#[test]
fn nothing_follows_a_close() {
    for response in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 204 No Content\r\n\r\n",
    ] {
        let mut peer = answered(format!("{response}{HIDDEN}"));
        assert!(matches!(peer.next(), Event::Response { end: true, .. }));
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        assert_eq!(peer.input, HIDDEN, "it isn't even looked at");
    }
}
