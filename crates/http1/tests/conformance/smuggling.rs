//! Known ways to smuggle a request past one recipient to another. The vectors have the names under
//! which they are known, from Http11Probe, "HTTP Desync Attacks" (2019), "HTTP/2: The Sequel is
//! Always Worse" (2021), "TERM.EXT" (2025), and the CVEs named. Each must be refused before the
//! engine reports a request that the client may not have meant.

use tidegate_http::{CloseReason, Event, Stream, Violation};

use crate::framing::{CHUNKED, EITHER_WAY, Vector};
use crate::support::*;

use Violation as V;

/// The request that an attacker hides.
const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const VECTORS: &[Vector] = &[
    // Framing that contradicts itself.
    (
        "TE.CL",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"5c\r\nGPOST",
        V::ContentLengthWithTransferEncoding,
    ),
    // Lengths that some recipients read and others don't.
    (
        "CL plus (CVE-2018-7159)",
        b"Content-Length: +5\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL octal",
        b"Content-Length: 0o5\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL leading zero",
        b"Content-Length: 010\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    (
        "CL overflow (CVE-2021-40346 had its like)",
        b"Content-Length: 18446744073709551621\r\n",
        b"hello",
        V::ContentLengthInvalid,
    ),
    // Field lines that some recipients take for Transfer-Encoding or Content-Length.
    (
        "TE space before colon (CVE-2019-16276)",
        b"Transfer-Encoding : chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE vertical tab before colon",
        b"Transfer-Encoding\x0b: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE behind a bare CR (CVE-2019-18277 had its like)",
        b"X: y\rTransfer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::LineEndInvalid,
    ),
    (
        "TE without a colon",
        b"Transfer-Encoding chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "NUL in a name",
        b"Transfer\x00-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "a name beyond ASCII",
        b"Tran\xc5\xbffer-Encoding: chunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "a bare CR in a value",
        b"X: a\rb\r\n",
        b"",
        V::LineEndInvalid,
    ),
    // Codings that some recipients take for chunked.
    (
        "TE identity",
        b"Transfer-Encoding: identity\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE chunked, identity (CVE-2022-32215 had its like)",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"0\r\n\r\n",
        V::TransferEncodingNotChunked,
    ),
    (
        "TE identity, chunked",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"0\r\n\r\n",
        V::TransferCodingUnknown,
    ),
    (
        "TE vertical tab (CVE-2019-18277)",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE form feed",
        b"Transfer-Encoding: \x0cchunked\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    (
        "TE DEL",
        b"Transfer-Encoding: chunked\x7f\r\n",
        b"0\r\n\r\n",
        V::FieldLineInvalid,
    ),
    // Chunks.
    (
        "chunk underscore",
        CHUNKED,
        b"1_0\r\nhello world!!!!\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk size truncated to 32 bits (CVE-2023-25690 had its like)",
        CHUNKED,
        b"100000000000000005\r\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk line by bare LF (TERM.EXT)",
        CHUNKED,
        b"5\nhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "extension by bare CR (EXT.TERM)",
        CHUNKED,
        b"2;a\rxx\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "extension with NUL",
        CHUNKED,
        b"2;a\x00b\r\nxx\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "extension that is no token",
        CHUNKED,
        b"2;[a\r\nxx\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk bare CR",
        CHUNKED,
        b"5\rhello\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "chunk spills (SPILL.TERM)",
        CHUNKED,
        b"5\r\nhello!!\r\n0\r\n\r\n",
        V::ChunkInvalid,
    ),
    (
        "trailer by bare LF",
        CHUNKED,
        b"0\r\nX: y\n\r\n",
        V::LineEndInvalid,
    ),
    (
        "trailer that is a request",
        CHUNKED,
        b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        V::FieldLineInvalid,
    ),
    // Host.
    ("Host twice", b"Host: b\r\n", b"", V::HostRepeated),
    (
        "Host twice, one folded",
        b" Host: b\r\n",
        b"",
        V::FieldLineFolded,
    ),
];

#[test]
fn nothing_is_smuggled() {
    for (name, lines, body, violation) in EITHER_WAY.iter().chain(VECTORS) {
        println!("{name}");
        let head = [b"POST / HTTP/1.1\r\nHost: a\r\n", *lines, b"\r\n"].concat();
        for rest in [&b""[..], HIDDEN.as_bytes()] {
            let bytes = [&head[..], body, rest].concat();
            let mut whole = sent(&bytes);
            let mut cut = client();
            for byte in bytes {
                cut.send([byte]);
            }
            for peer in [&mut whole, &mut cut] {
                let requests = peer.events.iter().filter_map(|event| match event {
                    Event::Request { head, .. } => Some(head.path().to_owned()),
                    _ => None,
                });
                assert!(requests.count() <= 1, "{:?}", peer.events);
                peer.events
                    .retain(|event| matches!(event, Event::Closed(_)));
                peer.expect_refusal(
                    *violation,
                    if *violation == V::TransferCodingUnknown {
                        501
                    } else {
                        400
                    },
                );
            }
        }
    }
}

/// Valid requests must stay usable, however suspicious they look: the next request there is the
/// client's.
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
            "Transfer-Encoding:\tchunked\r\n",
            "5;a=\"\\\"\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
            "hello",
        ),
        ("Transfer_Encoding: chunked\r\n", "", ""),
        ("Content-Length: 35\r\n", HIDDEN, HIDDEN),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}{GET}");
        let mut peer = sent(request);
        let (id, ..) = peer.expect_request();
        let mut got = Vec::new();
        while let Some(event) = (!peer.events.is_empty()).then(|| peer.next()) {
            if let Event::Data { data, .. } = event {
                got.extend_from_slice(&data);
            }
        }
        assert_eq!(got, content.as_bytes(), "{lines}");
        peer.respond(
            id,
            &tidegate_http::ResponseHead::new(204),
            tidegate_http::Body::Empty,
        );
        assert_eq!(peer.answer("").method(), "GET");
    }
}

/// The body of a request that ends its connection is no request (CL.0 and the like).
#[test]
fn nothing_follows_a_close() {
    for request in [
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 35\r\n\r\n{HIDDEN}"
        ),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 35\r\n\r\n{HIDDEN}"
        ),
        format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n{HIDDEN}"),
        format!("GET / HTTP/1.0\r\n\r\n{HIDDEN}"),
    ] {
        let mut peer = client();
        peer.input.extend_from_slice(request.as_bytes());
        let Some(Event::Request { id, .. }) = peer.conn.receive(&mut peer.input, peer.now) else {
            panic!("{request}");
        };
        let head = tidegate_http::ResponseHead::new(404);
        peer.stream(id)
            .respond(&head, tidegate_http::Body::Empty)
            .expect("a proper response");
        peer.settle();
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        assert!(peer.text().contains("\r\nconnection: close\r\n"));
    }
}
