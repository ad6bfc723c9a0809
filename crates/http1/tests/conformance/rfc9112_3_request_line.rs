//! RFC 9112 §3: the request line, its target, Host.

use tidegate_http::{Config, Violation};
use tidegate_http1::Connection;

use crate::support::*;

#[test]
fn the_line_has_three_words_and_single_spaces() {
    // §3: "request-line = method SP request-target SP HTTP-version"; "lenient parsing can result in
    // request smuggling security vulnerabilities".
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /\x0bHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /",
        "GET",
        "/ HTTP/1.1",
        "G@T / HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GÉT / HTTP/1.1",
        "{} / HTTP/1.1",
    ] {
        println!("{}", line.escape_debug());
        let mut peer = sent(format!("{line}\r\nHost: a\r\n\r\n"));
        peer.expect_refusal(Violation::RequestLineInvalid, 400);
    }
}

#[test]
fn methods_are_tokens_in_their_own_case() {
    // RFC 9110 §9.1: "The method token is case-sensitive". Its meaning is the owner's business.
    for method in ["GET", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09", "PRI"] {
        let mut peer = sent(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(peer.answer("").method(), method);
    }
}

#[test]
fn a_long_line_is_answered_with_414() {
    // §3: "A server that receives a request-target longer than any URI it wishes to parse MUST
    // respond with a 414 (URI Too Long) status code"; "at a minimum, request-line lengths of 8000
    // octets" are to be supported.
    let mut peer = sent(format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(8000)
    ));
    peer.answer("");
    let mut peer = client();
    peer.send(format!("GET /{}", "a".repeat(32 << 10)));
    peer.expect_refusal(Violation::RequestLineTooLong, 414);
    let mut peer = sent(format!(
        "GET /{} HTTP/1.1\r\nHost: a\r\n\r\n",
        "a".repeat(32 << 10)
    ));
    peer.expect_refusal(Violation::RequestLineTooLong, 414);
}

/// Returns the authority and the path for a request line and a Host field.
fn target(line: &str, host: &str) -> (String, String) {
    let mut peer = sent(format!("{line}\r\nHost: {host}\r\n\r\n"));
    let head = peer.answer("");
    assert!(
        head.get("host").is_none(),
        "what it said is in the authority"
    );
    (head.authority().to_owned(), head.path().to_owned())
}

fn pair(authority: &str, path: &str) -> (String, String) {
    (authority.to_owned(), path.to_owned())
}

#[test]
fn origin_form() {
    // §3.2.1: "the client MUST send only the absolute path and query components of the target URI
    // as the request-target."
    assert_eq!(target("GET /a?b HTTP/1.1", "h:81"), pair("h:81", "/a?b"));
    assert_eq!(target("GET //a/../b HTTP/1.1", "h"), pair("h", "//a/../b"));
    assert_eq!(target("OPTIONS / HTTP/1.1", "h"), pair("h", "/"));
}

#[test]
fn absolute_form() {
    // §3.2.2: "A server MUST accept the absolute-form in requests even though most HTTP/1.1 clients
    // will only send the absolute-form to a proxy." "… MUST ignore the received Host header field
    // (if any)".
    assert_eq!(
        target("GET http://o:81/a?b HTTP/1.1", "h"),
        pair("o:81", "/a?b")
    );
    assert_eq!(target("GET HTTPS://o HTTP/1.1", "h"), pair("o", "/"));
    assert_eq!(target("GET http://o?b HTTP/1.1", "h"), pair("o", "/?b"));
    assert_eq!(target("OPTIONS http://o HTTP/1.1", "h"), pair("o", "*"));
    assert_eq!(
        target("GET http://[::1]:81/ HTTP/1.1", "h"),
        pair("[::1]:81", "/")
    );
    let mut peer = sent("GET http://o/a HTTP/1.0\r\n\r\n");
    assert_eq!(peer.answer("").authority(), "o");
    for target in [
        "http://",
        "http:///a",
        "http:/a",
        "http://u@o/",
        "http://o:x/",
        "ftp://o/",
        "o/a",
        "a",
        "http//o",
        "://o",
    ] {
        let mut peer = sent(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        peer.expect_refusal(Violation::TargetInvalid, 400);
    }
    // Scripts send UTF-8 in a path and a query. Bytes that Host may not have are refused in an
    // authority too.
    assert_eq!(
        target("GET http://o/ä?ö HTTP/1.1", "h"),
        pair("o", "/%C3%A4?%C3%B6")
    );
    for target in ["http://ä/", "http://ä.example?ö", "ä", "http:/ä"] {
        let mut peer = sent(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        peer.expect_refusal(Violation::TargetInvalid, 400);
    }
    let mut peer = sent("CONNECT ä:443 HTTP/1.1\r\nHost: a\r\n\r\n");
    peer.expect_refusal(Violation::TargetInvalid, 400);
    // §3.2: Host must be present nevertheless, once and valid.
    sent("GET http://o/ HTTP/1.1\r\n\r\n").expect_refusal(Violation::HostMissing, 400);
    sent("GET http://o/ HTTP/1.1\r\nHost: a b\r\n\r\n").expect_refusal(Violation::HostInvalid, 400);
}

#[test]
fn authority_form_is_for_connect_and_nothing_else_is() {
    // §3.2.3: authority-form "is only used for CONNECT requests", with host and port.
    let mut peer = sent("CONNECT o:443 HTTP/1.1\r\nHost: o:443\r\n\r\nGET / HTTP/1.1\r\n");
    let (_, head, end) = peer.expect_request();
    assert_eq!(
        (head.method(), head.authority(), end),
        ("CONNECT", "o:443", true)
    );
    assert_eq!((head.path(), head.scheme()), ("", ""));
    peer.expect_nothing();
    sent("GET o:443 HTTP/1.1\r\nHost: o\r\n\r\n").expect_refusal(Violation::TargetInvalid, 400);
    sent("CONNECT / HTTP/1.1\r\nHost: o\r\n\r\n").expect_refusal(Violation::TargetInvalid, 400);
    sent("CONNECT http://o:443/ HTTP/1.1\r\nHost: o\r\n\r\n")
        .expect_refusal(Violation::TargetInvalid, 400);
    // RFC 9110 §9.3.6: "A server MUST reject a CONNECT request that targets an empty or invalid
    // port number".
    for target in ["o", "o:", "o:0"] {
        let mut peer = sent(format!("CONNECT {target} HTTP/1.1\r\nHost: o\r\n\r\n"));
        peer.expect_refusal(Violation::ConnectMalformed, 400);
    }
    sent("CONNECT o:65536 HTTP/1.1\r\nHost: o\r\n\r\n")
        .expect_refusal(Violation::TargetInvalid, 400);
}

#[test]
fn asterisk_form_is_for_options() {
    // §3.2.4: it "is only used for a server-wide OPTIONS request".
    assert_eq!(target("OPTIONS * HTTP/1.1", "h"), pair("h", "*"));
    sent("GET * HTTP/1.1\r\nHost: a\r\n\r\n").expect_refusal(Violation::TargetInvalid, 400);
    sent("OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n").expect_refusal(Violation::TargetInvalid, 400);
}

#[test]
fn targets_have_no_fragment_and_nothing_that_is_not_visible() {
    // §3.2: no form of a target has a fragment. RFC 3986 §2: a URI is made of visible US-ASCII.
    // Other bytes are accepted as if they were percent-encoded, as other servers do.
    sent("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n").expect_refusal(Violation::TargetInvalid, 400);
    sent("GET http://o/#b HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect_refusal(Violation::TargetInvalid, 400);
    assert_eq!(
        target("GET /ä?q=ö HTTP/1.1", "h"),
        pair("h", "/%C3%A4?q=%C3%B6")
    );
    let mut latin1 = sent(b"GET http://o/\xe4 HTTP/1.1\r\nHost: o\r\n\r\n");
    assert_eq!(latin1.answer("").path(), "/%E4");
    sent("GET /ä\x7f HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect_refusal(Violation::RequestLineInvalid, 400);
    sent("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n")
        .expect_refusal(Violation::RequestLineInvalid, 400);
}

#[test]
fn host_is_there_once_and_valid() {
    // §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request
    // message that lacks a Host header field and to any request message that contains more than one
    // Host header field line or a Host header field with an invalid field value."
    sent("GET / HTTP/1.1\r\n\r\n").expect_refusal(Violation::HostMissing, 400);
    for version in ["1.0", "1.1"] {
        let mut peer = sent(format!(
            "GET / HTTP/{version}\r\nHost: a\r\nhOST: a\r\n\r\n"
        ));
        peer.expect_refusal(Violation::HostRepeated, 400);
        for host in [
            "", "a, b", "a,b", "a b", "u@a", "a/b", "http://a", "a:b", "a:80:80", "[::1", "a?b",
            "a#b", "\"a\"", "ä",
        ] {
            let mut peer = sent(format!("GET / HTTP/{version}\r\nHost: {host}\r\n\r\n"));
            peer.expect_refusal(Violation::HostInvalid, 400);
        }
    }
    for host in [
        "a",
        "A.example:80",
        "127.0.0.1",
        "[::1]:8080",
        "a_b",
        "%C3%A4",
    ] {
        assert_eq!(target("GET / HTTP/1.1", host), pair(host, "/"));
    }
}

#[test]
fn the_scheme_is_that_of_the_transport() {
    // §3.3: "If the connection is secured, the target URI's scheme is "https"; if not, the scheme
    // is "http"."
    for (secure, scheme) in [(true, "https"), (false, "http")] {
        let mut peer = client();
        let config = Config::server().build().expect("a valid configuration");
        peer.conn = Connection::server(config, secure, peer.now);
        peer.send("GET http://o/ HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(peer.answer("").scheme(), scheme);
    }
}
