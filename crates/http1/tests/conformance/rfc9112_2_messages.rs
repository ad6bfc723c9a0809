//! RFC 9112 §2: messages, line ends, the version.

use tidegate_http::Violation;

use crate::support::*;

#[test]
fn a_request_and_its_response() {
    let mut peer =
        sent("GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nUser-Agent: t\r\nX-A:  b c\t\r\n\r\n");
    let head = peer.answer("hello");
    assert_eq!(head.method(), "GET");
    assert_eq!(
        (head.scheme(), head.authority(), head.path()),
        ("http", "example.org", "/a?b=c")
    );
    let fields: Vec<_> = head
        .headers()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    let expected = [
        (b"user-agent".to_vec(), b"t".to_vec()),
        (b"x-a".to_vec(), b"b c".to_vec()),
    ];
    assert_eq!(fields, expected);
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    peer.expect_alive();
    peer.expect_nothing();
}

#[test]
fn one_empty_line_in_front_of_a_request_is_skipped() {
    // §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least
    // one empty line (CRLF) received prior to the request-line."
    let mut peer = sent(format!("\r\n{GET}\r\n{GET}"));
    peer.answer("1");
    peer.answer("2");
    peer.expect_alive();
    sent(format!("\r\n\r\n{GET}")).expect_refusal(Violation::RequestLineInvalid, 400);
    sent(format!("\n{GET}")).expect_refusal(Violation::LineEndInvalid, 400);
    sent(format!("\r{GET}")).expect_refusal(Violation::LineEndInvalid, 400);
    // An empty line alone doesn't begin a request: nothing is reported about it, however long it
    // stays alone.
    let mut peer = sent("\r\n");
    peer.pass(secs(2));
    peer.pass(secs(30));
    peer.expect_alive();
    // Nor does half of one; and the other half leaves nothing of the first behind.
    let mut peer = sent("\r");
    peer.pass(secs(30));
    peer.send("\n");
    peer.send("\n!");
    peer.expect_refusal(Violation::LineEndInvalid, 400);
}

#[test]
fn lines_end_with_crlf_and_have_no_other_cr() {
    // §2.2: "A recipient of such a bare CR MUST consider that element to be invalid or replace each
    // bare CR with SP". That a lone LF may be taken for a line's end is a MAY.
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
        "GET / HTTP/1.1\rHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\ra\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        println!("{}", bytes.escape_debug());
        sent(bytes).expect_refusal(Violation::LineEndInvalid, 400);
    }
}

#[test]
fn whitespace_after_the_request_line_is_refused() {
    // §2.2: "A recipient that receives whitespace between the start-line and the first header field
    // MUST either reject the message as invalid or consume each whitespace-preceded line without
    // further processing".
    for line in [" Host: a", "\tHost: a", " ", " \r\nHost: a"] {
        let mut peer = sent(format!("GET / HTTP/1.1\r\n{line}\r\n\r\n"));
        peer.expect_refusal(Violation::FieldLineFolded, 400);
    }
}

#[test]
fn other_versions_are_not_supported() {
    // §2.3: "HTTP-name = %s"HTTP"", one digit, a dot, one digit. RFC 9110 §15.6.6: 505 when "the
    // server does not support, or refuses to support, the major version of HTTP that was used".
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/1.2", "HTTP/9.9"] {
        let mut peer = sent(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        peer.expect_refusal(Violation::HttpVersionUnsupported, 505);
    }
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/1.10",
        "HTTP/01.1",
        "HTTP/1.1x",
        "HTTP/ 1.1",
        "HTTPS/1.1",
        "HTTP/1,1",
        "",
    ] {
        let mut peer = sent(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        peer.expect_refusal(Violation::RequestLineInvalid, 400);
    }
}

#[test]
fn a_client_of_http10_is_answered_by_http11() {
    // RFC 9110 §2.5: "a server SHOULD send a response version equal to the highest version to which
    // the server is conformant that has a major version less than or equal to the one received in
    // the request."
    let mut peer = sent("GET / HTTP/1.0\r\n\r\n");
    let head = peer.answer("x");
    assert_eq!(head.authority(), "");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
}
