//! Every violation of HTTP/1.1 alone is answered as its row in the table says.

use std::collections::HashSet;

use tidegate_http::{Body, Event, Protocol, RequestHead, Scope, Violation};

use crate::support::*;

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

fn scenarios() -> Vec<(Violation, u16, String)> {
    let line = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let chunks = |bytes: &str| get_with(CHUNKED) + bytes;
    vec![
        (Violation::RequestLineInvalid, 400, line("GET /")),
        (Violation::RequestLineTooLong, 414, "x".repeat(40_000)),
        (
            Violation::HttpVersionUnsupported,
            505,
            line("GET / HTTP/2.0"),
        ),
        (Violation::TargetInvalid, 400, line("GET a HTTP/1.1")),
        (Violation::HostMissing, 400, "GET / HTTP/1.1\r\n\r\n".into()),
        (Violation::HostRepeated, 400, get_with("Host: a\r\n")),
        (
            Violation::HostInvalid,
            400,
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
        ),
        (Violation::LineEndInvalid, 400, "GET / HTTP/1.1\n".into()),
        (Violation::FieldLineInvalid, 400, get_with("a : b\r\n")),
        (Violation::FieldLineFolded, 400, get_with(" a: b\r\n")),
        (
            Violation::ContentLengthRepeated,
            400,
            get_with("Content-Length: 1, 2\r\n"),
        ),
        (
            Violation::ContentLengthWithTransferEncoding,
            400,
            get_with(&format!("Content-Length: 1\r\n{CHUNKED}")),
        ),
        (
            Violation::TransferEncodingNotChunked,
            400,
            get_with("Transfer-Encoding: gzip\r\n"),
        ),
        (
            Violation::TransferCodingUnknown,
            501,
            get_with("Transfer-Encoding: gzip, chunked\r\n"),
        ),
        (
            Violation::TransferEncodingBeforeHttp11,
            400,
            format!("GET / HTTP/1.0\r\n{CHUNKED}\r\n"),
        ),
        (Violation::ChunkInvalid, 400, chunks("x\r\n")),
        (Violation::ChunkLineTooLong, 400, chunks(&"1".repeat(300))),
    ]
}

/// Violations by a server: the request, if any, and the server's bytes. No status answers them.
fn scenarios_of_servers() -> Vec<(Violation, Option<RequestHead>, &'static str)> {
    let websocket = || {
        RequestHead::extended_connect("websocket", "http", "a", "/")
            .field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    vec![
        (
            Violation::StatusLineInvalid,
            Some(a_get()),
            "HTTP/1.1 OK\r\n\r\n",
        ),
        (
            Violation::ResponseUnasked,
            None,
            "HTTP/1.1 204 No Content\r\n\r\n",
        ),
        (
            Violation::UpgradeInvalid,
            Some(websocket()),
            "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ]
}

#[test]
fn every_violation_is_reported_and_answered_as_its_row_says() {
    let mut shown = HashSet::new();
    for (violation, status, bytes) in scenarios() {
        println!("{violation}");
        assert_eq!(
            violation.scope(),
            Scope::Connection,
            "there is nothing smaller to end"
        );
        let mut whole = sent(&bytes);
        whole
            .events
            .retain(|event| !matches!(event, Event::Request { .. }));
        whole.expect_refusal(violation, status);
        // One byte at a time makes no difference.
        let mut cut = client();
        for byte in bytes.as_bytes() {
            cut.send([*byte]);
        }
        cut.events
            .retain(|event| !matches!(event, Event::Request { .. }));
        cut.expect_refusal(violation, status);
        assert!(shown.insert(violation), "{violation} has two scenarios");
    }
    for (violation, asked, bytes) in scenarios_of_servers() {
        println!("{violation}");
        assert_eq!(violation.scope(), Scope::Connection);
        for piece in [bytes.len(), 1] {
            let mut peer = server();
            if let Some(head) = &asked {
                peer.open(head, Body::Empty);
                peer.sent.clear();
            }
            for bytes in bytes.as_bytes().chunks(piece) {
                peer.send(bytes);
            }
            peer.expect_violation(violation);
        }
        assert!(shown.insert(violation), "{violation} has two scenarios");
    }
    let all = Violation::ALL.iter().copied();
    let missing: Vec<_> = all
        .filter(|violation| {
            violation.protocol() == Some(Protocol::Http1) && !shown.contains(violation)
        })
        .collect();
    assert!(missing.is_empty(), "without a scenario: {missing:?}");
}
