//! RFC 7540 §3.2: HTTP/2 in cleartext by Upgrade, which RFC 9113 dropped and clients still ask for.

use bytes::BytesMut;
use tidegate_http::{Body, CloseReason, Config, ErrorCode, ResponseHead};
use tidegate_http1::Connection;

use crate::support::*;

/// SETTINGS_MAX_CONCURRENT_STREAMS of 100 and SETTINGS_INITIAL_WINDOW_SIZE of 65,535, in base64url.
const SETTINGS: &str = "AAMAAABkAAQAAP__";
const PAYLOAD: &[u8] = b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff";

/// The fields that ask for HTTP/2, without Connection.
const ASKS: &str = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";

const CONNECTION: &str = "Connection: Upgrade, HTTP2-Settings\r\n";

/// The first bytes of HTTP/2.
const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";

fn upgrade() -> String {
    get_with(&format!("{ASKS}{CONNECTION}"))
}

/// Returns a client of a server that accepts such an upgrade.
fn offered() -> Peer {
    let mut peer = client();
    peer.conn.offer_h2c();
    peer
}

#[test]
fn the_connection_becomes_one_of_http2() {
    // "A server that supports HTTP/2 accepts the upgrade with a 101 (Switching Protocols) response.
    // After the empty line that terminates the 101 response, the server can begin sending HTTP/2
    // frames."
    let mut peer = offered();
    peer.send(
        "OPTIONS /a?b HTTP/1.1\r\nHost: server.example.com\r\nX: y\r\nConnection: x-hop, upgrade , http2-settings\r\n\
         X-Hop: 1\r\nUpgrade: HTTP/3.0, H2C\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n\r\n",
    );
    peer.expect_nothing();
    peer.expect_sent(SWITCHING);
    assert!(!peer.conn.is_closed(), "the transport is still of use");
    assert!(
        !peer.conn.can_receive(),
        "but what it brings is for another engine"
    );
    let upgrade = peer.conn.take_upgrade().expect("it was followed");
    // "The HTTP/1.1 request that is sent prior to upgrade is assigned a stream identifier of 1":
    // this is that request.
    assert_eq!(upgrade.head.method(), "OPTIONS");
    assert_eq!(
        (
            upgrade.head.scheme(),
            upgrade.head.authority(),
            upgrade.head.path()
        ),
        ("http", "server.example.com", "/a?b")
    );
    assert_eq!(lines(upgrade.head.headers()), ["x: y", "content-length: 0"]);
    // §3.2.1: "The content of the HTTP2-Settings header field is the payload of a SETTINGS frame
    // (Section 6.5), encoded as a base64url string … with any trailing '=' characters omitted".
    assert_eq!(upgrade.settings, PAYLOAD);
    assert!(peer.conn.take_upgrade().is_none(), "once");
}

#[test]
fn later_bytes_are_left_for_the_other_engine() {
    // "Upon receiving the 101 response, the client MUST send a connection preface (Section 3.5),
    // which includes a SETTINGS frame." It may come earlier.
    let bytes = upgrade() + PREFACE;
    let mut whole = offered();
    whole.send(&bytes);
    let mut cut = offered();
    for byte in bytes.as_bytes() {
        cut.send([*byte]);
    }
    for mut peer in [whole, cut] {
        assert_eq!(peer.input, PREFACE);
        peer.expect_nothing();
        peer.expect_sent(SWITCHING);
        // No time limit of this engine applies to it.
        assert_eq!(peer.conn.next_timeout(), None);
        let upgrade = peer.conn.take_upgrade().expect("it was followed");
        assert_eq!((upgrade.head.method(), upgrade.head.path()), ("GET", "/"));
        assert_eq!(upgrade.settings, PAYLOAD);
        assert_eq!(peer.input, PREFACE);
    }
}

#[test]
fn it_may_come_after_other_requests() {
    let mut peer = offered();
    peer.send(format!("{GET}{}", upgrade()));
    peer.answer("x");
    peer.expect_sent(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx{SWITCHING}"
    ));
    assert!(peer.conn.take_upgrade().is_some());
    // An empty list of settings is valid too.
    let mut peer = offered();
    peer.send(upgrade().replace(SETTINGS, ""));
    let upgrade = peer.conn.take_upgrade().expect("it was followed");
    assert_eq!(upgrade.settings, "");
}

#[test]
fn what_is_no_upgrade_is_the_request_that_it_is() {
    let with = |lines: &str| get_with(&format!("{lines}{CONNECTION}"));
    let settings = |value: &str| with(&ASKS.replace(SETTINGS, value));
    let https = || {
        let now = some_start();
        let config = Config::server().build().expect("a valid configuration");
        let mut peer = client();
        peer.conn = Connection::server(config, true, now);
        peer.conn.offer_h2c();
        peer
    };
    for (name, mut peer, bytes) in [
        // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
        ("not offered", client(), upgrade()),
        // §3.3: "HTTP/2 over TLS uses the "h2" protocol identifier. The "h2c" protocol identifier
        // MUST NOT be sent by a client or selected by a server".
        ("over https", https(), upgrade()),
        // "A server MUST ignore an "h2" token in an Upgrade header field."
        ("h2", offered(), with(&ASKS.replace("h2c", "h2"))),
        (
            "another protocol",
            offered(),
            with(&ASKS.replace("h2c", "websocket")),
        ),
        (
            "no Upgrade",
            offered(),
            with(&ASKS.replace("Upgrade: h2c\r\n", "")),
        ),
        // "Requests that contain a payload body MUST be sent in their entirety before the client
        // can send HTTP/2 frames." We don't wait for a body.
        (
            "a body",
            offered(),
            with(&format!("{ASKS}Content-Length: 5\r\n")) + "hello",
        ),
        (
            "chunks",
            offered(),
            with(&format!("{ASKS}Transfer-Encoding: chunked\r\n")) + "5\r\nhello\r\n0\r\n\r\n",
        ),
        // RFC 9110 §7.8: "A server that receives an Upgrade header field in an HTTP/1.0 request
        // MUST ignore that Upgrade field."
        (
            "HTTP/1.0",
            offered(),
            format!("GET / HTTP/1.0\r\nHost: a\r\n{ASKS}{CONNECTION}\r\n"),
        ),
        // §3.2.1: "A server MUST NOT upgrade the connection to HTTP/2 if this header field is not
        // present or if more than one is present."
        ("no settings", offered(), with("Upgrade: h2c\r\n")),
        (
            "settings twice",
            offered(),
            with(&format!("{ASKS}HTTP2-Settings: {SETTINGS}\r\n")),
        ),
        // §3.2.1: "a client sending the HTTP2-Settings header field MUST also send "HTTP2-Settings"
        // as a connection option in the Connection header field".
        (
            "settings not in Connection",
            offered(),
            get_with(&format!("{ASKS}Connection: Upgrade\r\n")),
        ),
        (
            "Upgrade not in Connection",
            offered(),
            get_with(&format!("{ASKS}Connection: HTTP2-Settings\r\n")),
        ),
        ("no Connection", offered(), get_with(ASKS)),
        ("no base64url", offered(), settings("AAMAAABkAAQAAP//")),
        ("padding", offered(), settings("AAMAAABkAAQ=")),
        ("whitespace", offered(), settings("AAMAAABk AAQAAP__")),
        (
            "a list",
            offered(),
            settings("AAMAAABkAAQAAP__, AAMAAABkAAQAAP__"),
        ),
        // RFC 7540 §6.5: "A SETTINGS frame with a length other than a multiple of 6 octets MUST be
        // treated as a connection error".
        ("11 bytes", offered(), settings("AAMAAABkAAQAAP8")),
        ("3 bytes", offered(), settings("AAMA")),
    ] {
        println!("{name}");
        peer.send(bytes);
        let (id, head, end) = peer.expect_request();
        assert_eq!((head.method(), head.path()), ("GET", "/"));
        // Its fields concern this connection only nevertheless.
        assert_eq!(
            (head.get("upgrade"), head.get("http2-settings")),
            (None, None)
        );
        if !end {
            peer.expect_data("hello", name == "a body");
            if name == "chunks" {
                peer.expect_data("", true);
            }
        }
        assert!(peer.conn.take_upgrade().is_none());
        peer.respond(id, &ResponseHead::new(204), Body::Empty);
        let sent = peer.text();
        assert!(sent.starts_with("HTTP/1.1 204 No Content\r\n"), "{sent}");
    }
}

#[test]
fn connect_is_no_request_to_upgrade_with() {
    // RFC 9110 §9.3.6: the bytes after a CONNECT are for the tunnel, if there is one. They must not
    // be taken for HTTP/2.
    let mut peer = offered();
    peer.send(format!(
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{ASKS}{CONNECTION}\r\n{PREFACE}"
    ));
    let (_, head, _) = peer.expect_request();
    assert_eq!(head.method(), "CONNECT");
    assert!(peer.conn.take_upgrade().is_none());
    peer.expect_sent("");
}

#[test]
fn a_websocket_comes_first() {
    // RFC 9110 §7.8: the client may name several, "in order of descending preference". Of two that
    // are possible, we take the one that the request is about.
    let mut config = Config::server();
    config.enable_connect_protocol = true;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let both = upgrade().replace("h2c\r\n", &format!("h2c, websocket\r\n{key}"));
    let mut peer = client_of(config.clone());
    peer.conn.offer_h2c();
    peer.send(&both);
    let (_, head, _) = peer.expect_request();
    assert_eq!(head.protocol(), Some("websocket"));
    assert!(peer.conn.take_upgrade().is_none());
    // Without the fields of a WebSocket, the other upgrade is taken.
    let mut peer = client_of(config);
    peer.conn.offer_h2c();
    peer.send(both.replace("GET", "HEAD"));
    peer.expect_sent(SWITCHING);
    assert!(peer.conn.take_upgrade().is_some());
}

#[test]
fn nothing_else_comes_of_an_upgraded_connection() {
    // Until the owner has taken it, no input is read.
    let mut peer = offered();
    peer.send(upgrade() + GET);
    peer.send(GET);
    peer.expect_nothing();
    assert_eq!(peer.input, BytesMut::from(GET.repeat(2).as_bytes()));
    assert_eq!(peer.conn.active_streams(), 0);
    // An owner that doesn't want it closes the connection.
    peer.sent.clear();
    peer.conn.abort(ErrorCode::CANCEL);
    peer.settle();
    let reason = peer.expect_closed();
    assert_eq!(reason, CloseReason::Aborted(ErrorCode::CANCEL));
    peer.expect_sent("");
}
