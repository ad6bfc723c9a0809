//! RFC 9112 §5: field lines, and which of them the owner sees.

use tidegate_http::{Config, KnownName, Violation};

use crate::support::*;

#[test]
fn names_are_tokens_followed_by_a_colon() {
    // §5.1: "No whitespace is allowed between the field name and colon. … A server MUST reject,
    // with a response status code of 400 (Bad Request), any received request message that contains
    // whitespace between a header field name and colon."
    for line in [
        "X : a", "X\t: a", "X", ": a", "X\0: a", "X\"Y: a", "X(Y: a", "Ä: a", "X\x7f: a", "X/Y: a",
        "@: a",
    ] {
        println!("{}", line.escape_debug());
        sent(get_with(&format!("{line}\r\n"))).expect_refusal(Violation::FieldLineInvalid, 400);
    }
}

#[test]
fn values_have_no_control_bytes() {
    // RFC 9110 §5.5: "Field values containing CR, LF, or NUL characters are invalid and dangerous";
    // other controls but HTAB are not in the grammar.
    for byte in (0..0x20)
        .chain([0x7f])
        .filter(|byte| !b"\t\r\n".contains(byte))
    {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: a".to_vec();
        head.push(byte);
        head.extend_from_slice(b"b\r\n\r\n");
        sent(head).expect_refusal(Violation::FieldLineInvalid, 400);
    }
    let mut peer = sent(get_with("X: a\tb \u{e4}\r\nY:\r\n"));
    let head = peer.answer("");
    assert_eq!(head.get("x"), Some("a\tb \u{e4}".as_bytes()));
    assert_eq!(head.get("y"), Some(&b""[..]));
}

#[test]
fn folded_lines_are_refused() {
    // §5.2: "A server that receives an obs-fold in a request message that is not within a
    // "message/http" container MUST either reject the message by sending a 400 (Bad Request) … or
    // replace each received obs-fold with one or more SP octets".
    for lines in [
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X:\r\n a\r\n",
        "X: a\r\n \r\n",
    ] {
        sent(get_with(lines)).expect_refusal(Violation::FieldLineFolded, 400);
    }
}

#[test]
fn limits_are_those_of_http2() {
    let lines = |count: usize, name: &str| {
        (0..count)
            .map(|n| format!("{name}: {n}\r\n"))
            .collect::<String>()
    };
    // Host is one of the 100.
    let mut peer = sent(get_with(&lines(99, "x")));
    assert_eq!(peer.answer("").headers().count(), 99);
    sent(get_with(&lines(100, "x"))).expect_refusal(Violation::TooManyHeaderFields, 431);
    sent(get_with(&lines(600, "x"))).expect_refusal(Violation::TooManyHeaderFields, 431);
    // Each name is compared with each option of Connection, so there may be few.
    let options = |count| get_with(&format!("Connection: {}\r\n", "x,".repeat(count)));
    sent(options(32)).expect_request();
    sent(options(33)).expect_refusal(Violation::TooManyHeaderFields, 431);
    let mut peer = sent(get_with(&(lines(256, "cookie") + &lines(99, "x"))));
    peer.answer("");
    sent(get_with(&lines(257, "cookie"))).expect_refusal(Violation::TooManyCookieCrumbs, 431);
    let mut peer = sent(get_with(&format!("x: {}\r\n", "a".repeat(32_000))));
    peer.answer("");
    for pad in [32_600, 32_768, 100_000] {
        let mut peer = sent(get_with(&format!("x: {}\r\n", "a".repeat(pad))));
        peer.expect_refusal(Violation::HeaderListTooLarge, 431);
    }
    // Each field counts 32 bytes more, as in HTTP/2.
    let mut config = Config::server();
    config.max_header_list_size = 400;
    let mut peer = client_of(config);
    peer.send(get_with(&lines(20, "x")));
    peer.expect_refusal(Violation::HeaderListTooLarge, 431);
}

#[test]
fn fields_about_the_connection_stay_with_it() {
    // RFC 9110 §7.6.1: "Intermediaries MUST parse a received Connection header field before a
    // message is forwarded and, for each connection-option in this field, remove any header or
    // trailer field(s) from the message with the same name as the connection-option".
    let mut peer = sent(get_with(
        "X-Hop: 1\r\nConnection: x-hop, Keep-Alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings, content-length\r\n\
         X-Kept: 1\r\nTE: trailers, deflate;q=0.5\r\nContent-Length: 0\r\n",
    ));
    let head = peer.answer("");
    let names: Vec<_> = head.headers().map(|field| field.name.to_vec()).collect();
    assert_eq!(names, [&b"x-kept"[..], b"te", b"content-length"]);
    assert_eq!(head.get_known(KnownName::TE), Some(&b"trailers"[..]));
    let mut peer = sent(get_with("TE: deflate\r\nConnection: TE\r\n"));
    assert_eq!(peer.answer("").headers().count(), 0);
}

#[test]
fn an_upgrade_to_h2c_is_not_taken() {
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field if it wishes to continue
    // using the current protocol on that connection."
    let mut peer = sent(get_with(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n",
    ));
    peer.answer("");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    peer.expect_alive();
}
