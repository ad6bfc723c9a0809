//! §7: Host, and what intermediaries do to a message.

use tidegate_http::ResponseHead;

use super::ways::{Front, Lab, values};
use crate::http1;

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn an_upstream_always_gets_a_host() {
    // §7.2: "A user agent MUST generate a Host header field in a request unless it sends that
    // information as an ":authority" pseudo-header field."
    let front = Front::answering(NO_CONTENT);
    for mut way in front.ways() {
        way.get("/", &[]);
        assert_eq!(values(&front.seen(), "host"), ["localhost"]);
    }
    let mut client = http1::Client::new(front.server.h2c);
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.response(false);
    assert_eq!(
        values(&front.seen(), "host"),
        [&*front.upstream.authority()]
    );
}

#[test]
fn fields_of_the_connection_go_no_further() {
    // §7.6.1: "Intermediaries MUST parse a received Connection header field before a message is
    // forwarded and, for each connection-option in this field, remove any header or trailer
    // field(s) from the message with the same name as the connection-option, and then remove the
    // Connection header field itself". "intermediaries SHOULD remove or replace fields that are
    // known to require removal before forwarding": Proxy-Connection, Keep-Alive, TE,
    // Transfer-Encoding, Upgrade.
    let front = Front::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Own, keep-alive\r\nConnection: X-Other\r\nX-Own: 1\r\nX-Other: 2\r\n\
         Keep-Alive: timeout=60\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 3\r\nContent-Length: 0\r\n\r\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        front.seen();
        for gone in [
            "x-own",
            "x-other",
            "keep-alive",
            "proxy-connection",
            "upgrade",
            "connection",
        ] {
            assert_eq!(answer.field(gone), "", "{}: {gone}", answer.way);
        }
        assert_eq!(answer.field("x-kept"), "3", "{}", answer.way);
    }
    let mut client = http1::Client::new(front.server.h2c);
    client.ask(
        "GET /",
        "Connection: x-own , TE,\r\nConnection: X-Other\r\nX-Own: 1\r\nX-Other: 2\r\nTE: trailers, gzip;q=0.5\r\n\
         Keep-Alive: timeout=60\r\nProxy-Connection: keep-alive\r\nUpgrade: foo/1\r\nX-Kept: 3\r\n",
        b"",
    );
    let head = front.seen();
    for gone in [
        "x-own",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "upgrade",
    ] {
        assert!(values(&head, gone).is_empty(), "{gone}: {head}");
    }
    assert_eq!(values(&head, "x-kept"), ["3"], "{head}");
}

#[test]
fn trailers_of_the_connection_go_no_further() {
    // §7.6.1, as above: "remove any header or trailer field(s)".
    let front = Front::answering(
        "HTTP/1.1 200 OK\r\nConnection: X-Own\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Own: 1\r\nX-Kept: 2\r\n\r\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[("te", "trailers")]);
        let kept = [("x-kept".to_owned(), "2".to_owned())];
        assert_eq!(answer.trailers, kept, "{}", answer.way);
    }
}

#[test]
fn max_forwards_is_counted() {
    // §7.6.2: "If the received value is zero (0), the intermediary MUST NOT forward the request;
    // instead, the intermediary MUST respond as the final recipient." "If the received Max-Forwards
    // value is greater than zero, the intermediary MUST generate an updated Max-Forwards field in
    // the forwarded message with a field value that is the lesser of a) the received value
    // decremented by one".
    let front = Front::answering(NO_CONTENT);
    for mut way in front.ways() {
        let last = way.ask("OPTIONS", "/", &[("max-forwards", "0")], "");
        assert!((200..300).contains(&last.status), "{}", last.way);
        assert!(front.upstream.noted().is_empty());
        way.ask("OPTIONS", "/", &[("max-forwards", "7")], "");
        assert_eq!(values(&front.seen(), "max-forwards"), ["6"]);
    }
}

#[test]
fn via_says_how_a_message_came() {
    // §7.6.3: "A proxy MUST send an appropriate Via header field … in each message that it
    // forwards. An HTTP-to-HTTP gateway MUST send an appropriate Via header field in each inbound
    // request message and MAY send a Via header field in forwarded response messages."
    // "received-protocol" is that of the message.
    let front = Front::answering("HTTP/1.0 200 OK\r\nVia: 1.1 other\r\nContent-Length: 0\r\n\r\n");
    for (mut way, version) in front.ways().into_iter().zip(["1.1", "2"]) {
        let answer = way.get("/", &[("via", "1.0 first")]);
        // "each intermediary … MUST append its own information".
        let expected = format!("1.0 first, {version} tidegate");
        assert_eq!(values(&front.seen(), "via").join(", "), expected);
        assert_eq!(
            answer.values("via").join(", "),
            "1.1 other, 1.0 tidegate",
            "{}",
            answer.way
        );
    }
    let mut client = http1::Client::new(front.server.h2c);
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.response(false);
    assert_eq!(values(&front.seen(), "via"), ["1.0 tidegate"]);
    let front = Front::http2(ResponseHead::new(204), "", &[]);
    for (mut way, version) in front.ways().into_iter().zip(["1.1", "2"]) {
        assert_eq!(way.get("/", &[]).field("via"), "2 tidegate");
        assert_eq!(
            values(&front.seen(), "via"),
            [format!("{version} tidegate")]
        );
    }
}

#[test]
fn content_is_not_transformed() {
    // §7.7: "A proxy MUST NOT transform the content … of a response message that contains a
    // no-transform cache directive", nor fields "that provide information about the endpoints of
    // the communication chain, the resource state, or the selected representation".
    let front = Front::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: x/y; z=\"a b\"\r\nContent-Encoding: own\r\nContent-Language: de\r\n\
         Content-Location: /other\r\nETag: W/\"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nExpires: 0\r\n\
         Cache-Control: no-transform\r\nVary: *\r\nServer: own\r\nAllow:\r\nRetry-After: 5\r\n\r\n\0\x01\r\n\n",
    );
    for mut way in front.ways() {
        let answer = way.get("/", &[]);
        assert_eq!(answer.text(), "\0\x01\r\n\n", "{}", answer.way);
        for (name, value) in [
            ("content-length", "5"),
            ("content-type", "x/y; z=\"a b\""),
            ("content-encoding", "own"),
            ("content-language", "de"),
            ("content-location", "/other"),
            ("etag", "W/\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("expires", "0"),
            ("cache-control", "no-transform"),
            ("vary", "*"),
            ("server", "own"),
            ("allow", ""),
            ("retry-after", "5"),
        ] {
            assert_eq!(answer.values(name), [value], "{}: {name}", answer.way);
        }
    }
}

#[test]
fn an_upgrade_may_be_ignored() {
    // §7.8: "A server MAY ignore a received Upgrade header field if it wishes to continue using the
    // current protocol on that connection."
    let lab = Lab::new();
    let mut client = lab.http1();
    for protocol in ["websocket", "foo/1, bar", "h2c, HTTP/2.0"] {
        let lines = format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\n");
        let answer = client.ask("GET /ten.txt", &lines, b"");
        assert_eq!(
            (answer.status, answer.text()),
            (200, super::ways::TEN),
            "{protocol}"
        );
    }
}
