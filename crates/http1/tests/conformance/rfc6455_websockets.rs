//! RFC 6455 §4: WebSockets, which are reported and requested as the extended CONNECT of RFC 8441.
//! And the tunnels of plain CONNECT (RFC 9110 §9.3.6), which only a client opens.

use bytes::Bytes;
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Fields, Misuse, RequestHead, ResponseHead, Stream,
    StreamId, Violation,
};

use crate::support::*;

/// The example of RFC 6455 §1.3, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The fields that ask for a WebSocket, without Connection.
const ASKS: &str = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn upgrade() -> String {
    get_with(&format!("{ASKS}Connection: Upgrade\r\n"))
}

/// Returns a client of a server that accepts extended CONNECT.
fn browser() -> Peer {
    let mut config = Config::server();
    config.enable_connect_protocol = true;
    client_of(config)
}

/// Returns a browser with an open WebSocket, after the handshake.
fn open_at_server() -> (Peer, StreamId) {
    let mut peer = browser();
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.sent.clear();
    (peer, id)
}

/// Returns the request that the owner of a client engine sends.
fn connect_websocket() -> RequestHead {
    RequestHead::extended_connect("websocket", "http", "a", "/chat?x")
        .field("sec-websocket-key", KEY)
        .field("sec-websocket-version", "13")
}

/// Returns a server that was asked for a WebSocket and has sent these bytes.
fn answered_websocket(bytes: impl AsRef<[u8]>) -> (Peer, StreamId) {
    let mut peer = server();
    let id = peer.open(&connect_websocket(), Body::Stream);
    peer.sent.clear();
    peer.send(bytes);
    (peer, id)
}

/// Returns a 101 with these lines.
fn switching(lines: &str) -> String {
    format!("HTTP/1.1 101 Switching Protocols\r\n{lines}\r\n")
}

/// Returns the lines that grant a WebSocket.
fn grant() -> String {
    format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n")
}

/// Returns a server with a tunnel of each kind.
fn tunnels() -> [(Peer, StreamId); 2] {
    let (mut websocket, ws_id) = answered_websocket(switching(&grant()));
    let mut connect = server();
    let id = connect.open(&RequestHead::connect("b:443"), Body::Stream);
    connect.sent.clear();
    connect.send("HTTP/1.1 200 OK\r\n\r\n");
    for peer in [&mut websocket, &mut connect] {
        peer.expect_response(200, false);
        peer.expect_writable();
        peer.expect_nothing();
    }
    [(websocket, ws_id), (connect, id)]
}

// The server's end.

#[test]
fn an_upgrade_is_reported_as_extended_connect() {
    // RFC 8441 §5: "The scheme of the target URI … MUST be "https" for "wss"-schemed WebSockets and
    // "http" for "ws"-schemed WebSockets." "Implementations using this extended CONNECT … do not do
    // the processing of the Sec-WebSocket-Key and Sec-WebSocket-Accept header fields of RFC 6455";
    // the other fields are as they were.
    let mut peer = browser();
    peer.send(
        "GET /chat?x HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: WebSocket\r\n\
         Connection: keep-alive, UPGRADE\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Origin: http://example.com\r\nSec-WebSocket-Protocol: chat, superchat\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Version: 13\r\nCookie: a=1\r\n\r\n",
    );
    let (_, head, end) = peer.expect_request();
    assert!(end, "nothing comes before the grant");
    assert_eq!(
        (head.method(), head.protocol()),
        ("CONNECT", Some("websocket"))
    );
    assert_eq!(
        (head.scheme(), head.authority(), head.path()),
        ("http", "server.example.com", "/chat?x")
    );
    assert_eq!(
        lines(head.headers()),
        [
            "origin: http://example.com",
            "sec-websocket-protocol: chat, superchat",
            "sec-websocket-extensions: permessage-deflate",
            "sec-websocket-version: 13",
            "cookie: a=1",
        ]
    );
    peer.expect_nothing();
    peer.expect_sent("");
}

#[test]
fn the_grant() {
    // §4.2.2: "A Status-Line with a 101 response code", "An |Upgrade| header field with value
    // "websocket"", "A |Connection| header field with value "Upgrade"", "A |Sec-WebSocket-Accept|
    // header field"; the rest is the owner's. §11.3.3: "The |Sec-WebSocket-Accept| header MUST NOT
    // appear more than once in an HTTP response."
    for status in [200, 204, 299] {
        let mut peer = browser();
        peer.send(upgrade());
        let (id, ..) = peer.expect_request();
        let head = ResponseHead::new(status)
            .field("sec-websocket-protocol", "chat")
            .field("content-length", "5")
            .field("sec-websocket-accept", "x")
            .field("set-cookie", "a=1");
        peer.respond(id, &head, Body::Stream);
        peer.expect_sent(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
             sec-websocket-protocol: chat\r\nset-cookie: a=1\r\n\r\n",
        );
        peer.expect_writable();
        peer.expect_nothing();
        peer.expect_alive();
    }
    // Interim responses come before it.
    let mut peer = browser();
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.stream(id)
        .inform(&ResponseHead::new(103))
        .expect("an interim response");
    peer.settle();
    peer.expect_sent("HTTP/1.1 103 Early Hints\r\n\r\n");
    // The tunnel's bytes may come with the grant.
    peer.respond(
        id,
        &ResponseHead::new(200),
        Body::Full(Bytes::from_static(b"\x88\0")),
    );
    assert!(peer.sent.ends_with(b"xOo=\r\n\r\n\x88\0"));
    peer.expect_alive();
    assert!(peer.conn.has_ended_our_side());
}

#[test]
fn a_refusal_is_an_ordinary_response() {
    // §4.2.2: "If the requested service is not available, the server MUST send an appropriate HTTP
    // error code (such as 404 Not Found) and abort the WebSocket handshake." The connection stays
    // HTTP/1.1.
    let mut peer = browser();
    for status in [404, 426, 301] {
        peer.send(upgrade());
        let (id, ..) = peer.expect_request();
        let head = ResponseHead::new(status).field("sec-websocket-version", "13");
        peer.respond(id, &head, Body::Full(Bytes::from_static(b"no")));
        let sent = peer.text();
        assert!(sent.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}");
        assert!(
            sent.ends_with("\r\nsec-websocket-version: 13\r\ncontent-length: 2\r\n\r\nno"),
            "{sent}"
        );
        peer.sent.clear();
        peer.expect_nothing();
    }
    peer.send(GET);
    peer.answer("x");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
    // The refusal may be chunked too, and the next request may be a WebSocket after all.
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(503), Body::Stream);
    peer.expect_writable();
    peer.write(id, "x", true);
    peer.expect_sent(
        "HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    );
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    assert!(peer.text().starts_with("HTTP/1.1 101 "));
    peer.expect_alive();
}

#[test]
fn a_refusal_of_one_that_closes_closes() {
    let mut peer = browser();
    peer.send(get_with(&format!("{ASKS}Connection: Upgrade, close\r\n")));
    let (id, head, _) = peer.expect_request();
    assert_eq!(head.protocol(), Some("websocket"));
    peer.respond(id, &ResponseHead::new(404), Body::Empty);
    peer.expect_sent("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn an_upgrade_may_be_declined() {
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field if it wishes to continue
    // using the current protocol on that connection." Then a 2xx answers the GET.
    let mut peer = browser();
    peer.send(upgrade() + GET);
    let (id, ..) = peer.expect_request();
    peer.stream(id).decline_upgrade();
    peer.respond(
        id,
        &ResponseHead::new(200),
        Body::Full(Bytes::from_static(b"page")),
    );
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npage");
    peer.answer("x");
    peer.expect_alive();
    // After the grant it is too late, and a plain CONNECT has nothing to decline.
    let (mut peer, id) = open_at_server();
    peer.stream(id).decline_upgrade();
    peer.write(id, "x", false);
    peer.expect_sent("x");
    let mut peer = browser();
    peer.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    let (id, ..) = peer.expect_request();
    peer.stream(id).decline_upgrade();
    let granted = peer
        .stream(id)
        .respond(&ResponseHead::new(200), Body::Empty);
    assert_eq!(granted, Err(Misuse::StatusOutOfRange));
}

#[test]
fn what_is_no_upgrade_is_the_request_that_it_is() {
    let no_browser = client;
    let post = |lines: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}");
    let with = |lines: &str| get_with(&format!("{lines}Connection: Upgrade\r\n"));
    let asks = with(ASKS);
    let key = |key: &str| with(&ASKS.replace(KEY, key));
    for (name, mut peer, bytes) in [
        // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
        ("not offered", no_browser(), asks),
        // RFC 9110 §7.8: "A server that receives an Upgrade header field in an HTTP/1.0 request
        // MUST ignore that Upgrade field."
        (
            "HTTP/1.0",
            browser(),
            format!("GET / HTTP/1.0\r\nHost: a\r\n{ASKS}Connection: Upgrade\r\n\r\n"),
        ),
        // §4.1: "The method of the request MUST be GET".
        (
            "POST",
            browser(),
            post(&format!("{ASKS}Connection: Upgrade\r\n"), ""),
        ),
        ("HEAD", browser(), with(ASKS).replace("GET", "HEAD")),
        // RFC 9110 §7.8: "The client cannot begin using an upgraded protocol on the connection
        // until it has completely sent the request message". Here one with a body is an ordinary
        // request.
        (
            "a body",
            browser(),
            with(&format!("{ASKS}Content-Length: 5\r\n")) + "hello",
        ),
        (
            "chunks",
            browser(),
            with(&format!("{ASKS}Transfer-Encoding: chunked\r\n")) + "5\r\nhello\r\n0\r\n\r\n",
        ),
        // RFC 9110 §7.8: "A sender of Upgrade MUST also send an "Upgrade" connection option".
        ("not in Connection", browser(), get_with(ASKS)),
        (
            "another option",
            browser(),
            get_with(&format!("{ASKS}Connection: keep-alive, xupgrade\r\n")),
        ),
        (
            "no Upgrade",
            browser(),
            with(&ASKS.replace("Upgrade: websocket\r\n", "")),
        ),
        (
            "another protocol",
            browser(),
            with(&ASKS.replace("websocket\r\n", "websocket2\r\n")),
        ),
        (
            "TLS",
            browser(),
            with(&ASKS.replace("websocket\r\n", "TLS/1.2\r\n")),
        ),
        // §4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded (see Section 4 of
        // [RFC4648]) value that, when decoded, is 16 bytes in length." §11.3.1: it "MUST NOT appear
        // more than once".
        (
            "two keys",
            browser(),
            with(&format!("{ASKS}Sec-WebSocket-Key: {KEY}\r\n")),
        ),
        ("no key", browser(), with(&ASKS.replace("Key", "Kex"))),
        ("an empty key", browser(), key("")),
        ("15 bytes", browser(), key("dGhlIHNhbXBsZSBub25j")),
        ("17 bytes", browser(), key("dGhlIHNhbXBsZSBub25jZWU=")),
        ("no padding", browser(), key("dGhlIHNhbXBsZSBub25jZQ")),
        (
            "bits after the end",
            browser(),
            key("dGhlIHNhbXBsZSBub25jZR=="),
        ),
        (
            "another alphabet",
            browser(),
            key("dGhlIHNhbXBs_SBub25jZQ=="),
        ),
        ("no base64", browser(), key("dGhl IHNhbXBsZSBub25jZQ==")),
        ("a list of keys", browser(), key(&format!("{KEY}, {KEY}"))),
    ] {
        println!("{name}");
        let method = bytes.split(' ').next().expect("a method").to_owned();
        peer.send(bytes);
        let (id, head, end) = peer.expect_request();
        assert_eq!((head.method(), head.protocol()), (&method[..], None));
        assert_eq!((head.scheme(), head.path()), ("http", "/"));
        assert_eq!(head.get("upgrade"), None);
        assert_eq!(head.get("sec-websocket-version"), Some(&b"13"[..]));
        if !end {
            peer.expect_data("hello", name == "a body");
            if name == "chunks" {
                peer.expect_data("", true);
            }
        }
        peer.respond(id, &ResponseHead::new(204), Body::Empty);
        let sent = peer.text();
        assert!(sent.starts_with("HTTP/1.1 204 No Content\r\n"), "{sent}");
    }
}

#[test]
fn a_key_that_is_not_used_stays() {
    // Without an upgrade, its fields are the owner's to read.
    let mut peer = client();
    peer.send(upgrade());
    let (_, head, _) = peer.expect_request();
    let expected = [
        format!("sec-websocket-key: {KEY}"),
        "sec-websocket-version: 13".into(),
    ];
    assert_eq!(lines(head.headers()), expected);
}

#[test]
fn bytes_go_both_ways() {
    // §4.2.2: "At this point, the server may begin sending (and receiving) data." Its content is
    // not our business.
    let (mut peer, id) = open_at_server();
    peer.send(GET);
    peer.expect_data(GET, false);
    peer.write(id, "0\r\n\r\n", false);
    peer.expect_sent("0\r\n\r\n");
    peer.expect_writable();
    peer.send("\r\n\0");
    peer.expect_data("\r\n\0", false);
    let large = vec![b'x'; 200_000];
    peer.write(id, &large, false);
    peer.expect_sent(large);
    peer.expect_writable();
    peer.expect_nothing();
    peer.expect_alive();
    assert_eq!(peer.conn.active_streams(), 1);
}

#[test]
fn bytes_from_before_the_grant_come_after_it() {
    let mut peer = browser();
    peer.send(upgrade() + "early");
    let (id, ..) = peer.expect_request();
    peer.expect_nothing();
    assert!(!peer.conn.can_receive());
    assert_eq!(peer.input, "early");
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    assert!(peer.conn.can_receive());
    let is_data =
        |event: &Event| matches!(event, Event::Data { data, end: false, .. } if data == "early");
    peer.events.retain(is_data);
    assert_eq!(peer.events.len(), 1);
    // After a refusal the bytes would be the next request.
    let mut peer = browser();
    peer.send(upgrade() + GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(404), Body::Empty);
    assert_eq!(peer.expect_request().1.method(), "GET");
}

#[test]
fn a_tunnel_may_be_silent() {
    let (mut server_end, _) = open_at_server();
    let [(websocket, _), (connect, _)] = tunnels();
    for mut peer in [websocket, connect] {
        peer.send("x");
        peer.expect_data("x", false);
        assert_eq!(peer.conn.next_timeout(), None);
        peer.pass(secs(100_000));
        peer.expect_alive();
        peer.expect_nothing();
    }
    server_end.send("x");
    server_end.expect_data("x", false);
    assert_eq!(server_end.conn.next_timeout(), None);
    server_end.pass(secs(100_000));
    server_end.expect_alive();
}

#[test]
fn a_tunnel_that_is_not_read_is_not_read_for() {
    let mut config = Config::server();
    config.enable_connect_protocol = true;
    config.initial_window_size = 10;
    let mut peer = client_of(config);
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.send("0123456789ab");
    peer.expect_data("0123456789", false);
    peer.expect_nothing();
    assert!(!peer.conn.can_receive());
    peer.stream(id).consume(10);
    peer.settle();
    peer.expect_data("ab", false);
}

#[test]
fn the_clients_end_is_the_end_of_its_direction() {
    let (mut peer, id) = open_at_server();
    peer.send("bye");
    peer.expect_data("bye", false);
    peer.eof();
    peer.expect_data("", true);
    peer.expect_nothing();
    peer.expect_alive();
    assert!(!peer.conn.can_receive(), "nothing more comes");
    // The other direction goes on until we end it.
    peer.write(id, "still here", false);
    peer.expect_sent("still here");
    peer.expect_writable();
    peer.write(id, "", true);
    peer.expect_sent("");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
    assert!(!peer.conn.is_truncated());
}

#[test]
fn our_end_is_the_end_of_our_direction() {
    // RFC 9110 §9.3.6: when one side of a tunnel has closed, an intermediary "MUST attempt to send
    // any outstanding data that came from the closed side to the other side". The other side may
    // still have something to send, so it ends separately.
    let server_end = open_at_server();
    let [websocket, connect] = tunnels();
    for (mut peer, id) in [server_end, websocket, connect] {
        assert!(!peer.conn.has_ended_our_side());
        peer.write(id, "bye", true);
        peer.expect_sent("bye");
        peer.expect_alive();
        assert!(peer.conn.has_ended_our_side());
        peer.send("still here");
        peer.expect_data("still here", false);
        peer.eof();
        peer.expect_data("", true);
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        assert!(!peer.conn.is_truncated(), "that was all");
        assert!(peer.conn.stream(id).is_none());
    }
    // A tunnel has no trailers; they end it nevertheless.
    let (mut peer, id) = open_at_server();
    let trailers = [("x", "y")].into_iter().collect();
    peer.stream(id)
        .trailers(&trailers)
        .expect("they are left out");
    peer.settle();
    peer.expect_sent("");
    assert!(peer.conn.has_ended_our_side());
}

#[test]
fn an_end_that_is_none_is_a_truncation() {
    // RFC 9112 §8 has no framing that could show the end, so the transport must.
    for by_handle in [true, false] {
        let server_end = open_at_server();
        let [websocket, connect] = tunnels();
        for (mut peer, id) in [server_end, websocket, connect] {
            let mut data = Bytes::from_static(b"abc");
            assert_eq!(peer.stream(id).write(&mut data, false), 3);
            if by_handle {
                peer.stream(id).reset(ErrorCode::CANCEL);
            } else {
                peer.conn.abort(ErrorCode::CANCEL);
            }
            peer.settle();
            let reason = peer.expect_closed();
            assert_eq!(reason, CloseReason::Aborted(ErrorCode::CANCEL));
            assert!(peer.conn.is_truncated());
        }
    }
    // A transport that fails brings no end either.
    let server_end = open_at_server();
    let [websocket, connect] = tunnels();
    for (mut peer, _) in [server_end, websocket, connect] {
        peer.fail();
        assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
    }
    // The server may have granted it, and may take the end for that of the tunnel's bytes.
    for head in [connect_websocket(), RequestHead::connect("b:443")] {
        let mut peer = server();
        let id = peer.open(&head, Body::Stream);
        peer.stream(id).reset(ErrorCode::CANCEL);
        peer.settle();
        peer.expect_closed();
        assert!(peer.conn.is_truncated());
    }
    // A client that knows of no grant can't take anything for complete.
    let mut peer = browser();
    peer.send(upgrade());
    let (id, ..) = peer.expect_request();
    peer.stream(id).reset(ErrorCode::CANCEL);
    peer.settle();
    peer.expect_closed();
    assert!(!peer.conn.is_truncated());
}

#[test]
fn a_graceful_end_waits_for_tunnels_and_not_for_ever() {
    let server_end = open_at_server();
    let [websocket, connect] = tunnels();
    for (mut peer, id) in [server_end, websocket, connect] {
        peer.conn.shut_down(peer.now);
        peer.pass(secs(29));
        peer.send("x");
        peer.expect_data("x", false);
        peer.write(id, "y", false);
        peer.expect_sent("y");
        peer.expect_writable();
        peer.pass(secs(1));
        assert_eq!(peer.expect_closed(), CloseReason::ShutdownTimedOut);
        assert!(peer.conn.is_truncated());
    }
}

#[test]
fn a_tunnel_that_its_owner_ends_closes_in_order() {
    // After our end, or before: the bytes written come first.
    for is_early in [true, false] {
        let (mut peer, id) = open_at_server();
        if is_early {
            peer.stream(id).end_tunnel();
        }
        peer.write(id, "bye", true);
        peer.expect_sent("bye");
        if !is_early {
            peer.expect_alive();
            peer.stream(id).end_tunnel();
            peer.settle();
        }
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        assert!(!peer.conn.is_truncated());
    }
    // A client's tunnels end independently.
    for (mut peer, id) in tunnels() {
        peer.stream(id).end_tunnel();
        peer.write(id, "bye", true);
        peer.send("still told");
        peer.expect_data("still told", false);
    }
}

#[test]
fn a_server_grants_no_plain_connect() {
    let mut peer = browser();
    peer.send("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
    let (id, head, _) = peer.expect_request();
    assert_eq!(head.protocol(), None);
    let granted = peer
        .stream(id)
        .respond(&ResponseHead::new(200), Body::Stream);
    assert_eq!(granted, Err(Misuse::StatusOutOfRange));
}

// The client's end.

#[test]
fn a_websocket_is_asked_for_by_upgrade() {
    // §4.1: "The method of the request MUST be GET", "The request MUST contain an |Upgrade| header
    // field whose value MUST include the "websocket" keyword", "a |Connection| header field whose
    // value MUST include the "Upgrade" token", and "|Sec-WebSocket-Key|".
    let mut peer = server();
    let head = connect_websocket()
        .field("origin", "http://example.com")
        .field("content-length", "5")
        .field("cookie", "a=1")
        .field("cookie", "b=2");
    let id = peer.open(&head, Body::Stream);
    peer.expect_sent(
        "GET /chat?x HTTP/1.1\r\nhost: a\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-version: 13\r\norigin: http://example.com\r\ncookie: a=1; b=2\r\n\
         connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    peer.expect_nothing();
    // §4.1: "Once the client's opening handshake has been sent, the client MUST wait for a response
    // from the server before sending any further data."
    let mut early = Bytes::from_static(b"early");
    assert_eq!(peer.stream(id).write(&mut early, false), 0);
    assert_eq!(peer.stream(id).write(&mut early, true), 0);
    let trailers = peer.stream(id).trailers(&Fields::new());
    assert_eq!(trailers, Err(Misuse::OutOfOrder));
    peer.settle();
    peer.expect_sent("");
    assert_eq!(peer.conn.next_timeout(), None);
    // RFC 9110 §10.1.4: "A sender of TE MUST also send a "TE" connection option". Browsers of
    // HTTP/2 send it with everything.
    let mut peer = server();
    peer.open(&connect_websocket().field("te", "trailers"), Body::Stream);
    let sent = peer.text();
    assert!(
        sent.ends_with("\r\nconnection: te, upgrade\r\nupgrade: websocket\r\n\r\n"),
        "{sent}"
    );
    // A body given at once could only be lost: there may be no tunnel yet.
    for body in [Body::Empty, Body::Full(Bytes::from_static(b"early"))] {
        let mut peer = server();
        peer.open(&connect_websocket(), body);
        assert!(peer.text().ends_with("upgrade: websocket\r\n\r\n"));
        peer.send(switching(&grant()));
        peer.expect_response(200, false);
        peer.expect_writable();
    }
}

#[test]
fn keys_that_are_none() {
    // §4.1: "The value of this header field MUST be a nonce consisting of a randomly selected
    // 16-byte value that has been base64-encoded". §11.3.1: it "MUST NOT appear more than once in
    // an HTTP request."
    let bare = || RequestHead::extended_connect("websocket", "http", "a", "/");
    for head in [
        bare(),
        bare().field("sec-websocket-key", ""),
        bare().field("sec-websocket-key", "dGhlIHNhbXBsZSBub25j"),
        bare().field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"),
        connect_websocket().field("sec-websocket-key", KEY),
    ] {
        let mut peer = server();
        let opened = peer.conn.open(&head, Body::Stream);
        assert_eq!(opened, Err(Misuse::InvalidField), "{head:?}");
        peer.settle();
        peer.expect_sent("");
        assert!(peer.conn.can_open());
    }
}

#[test]
fn a_grant_is_reported_as_200() {
    // RFC 8441 §5 and RFC 6455 §4.1: names and the token are case-insensitive; other fields are
    // kept.
    for lines_of_grant in [
        grant(),
        format!(
            "connection: x, UPGRADE\r\nupgrade: WebSocket\r\nsec-websocket-accept:  {ACCEPT}\t\r\n\
             Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: gzip\r\n"
        ),
        format!("{}Connection: close\r\n", grant()),
    ] {
        let (mut peer, id) = answered_websocket(switching(&format!(
            "{lines_of_grant}Sec-WebSocket-Protocol: chat\r\nSet-Cookie: a\r\n"
        )));
        let head = peer.expect_response(200, false);
        let expected = ["sec-websocket-protocol: chat", "set-cookie: a"];
        assert_eq!(lines(head.headers()), expected);
        assert_eq!(head.content_length(), None);
        peer.expect_writable();
        peer.expect_sent("");
        peer.write(id, "x", false);
        peer.expect_sent("x");
        peer.expect_alive();
    }
    // Interim responses may come before it.
    let (mut peer, _) = answered_websocket(format!(
        "HTTP/1.1 103 Early Hints\r\n\r\n{}",
        switching(&grant())
    ));
    peer.expect_informational(103);
    peer.expect_response(200, false);
}

#[test]
fn a_grant_must_be_one() {
    // §4.1: "the client MUST _Fail the WebSocket Connection_" if one of these is missing or wrong.
    let accept = format!("Sec-WebSocket-Accept: {ACCEPT}\r\n");
    let (upgrade, connection) = ("Upgrade: websocket\r\n", "Connection: Upgrade\r\n");
    for lines in [
        String::new(),
        format!("{upgrade}{connection}"),
        format!("{upgrade}{accept}"),
        format!("{connection}{accept}"),
        // Only the exact answer to the key shows that the server has understood.
        format!("{upgrade}{connection}Sec-WebSocket-Accept: {KEY}\r\n"),
        format!(
            "{upgrade}{connection}Sec-WebSocket-Accept: {}\r\n",
            ACCEPT.to_lowercase()
        ),
        format!("{upgrade}{connection}Sec-WebSocket-Accept: {ACCEPT}x\r\n"),
        format!("{upgrade}{connection}Sec-WebSocket-Accept:\r\n"),
        // §11.3.3: it "MUST NOT appear more than once in an HTTP response."
        format!("{upgrade}{connection}{accept}{accept}"),
        format!("{upgrade}{connection}{accept}Sec-WebSocket-Accept: x\r\n"),
        // "the |Upgrade| header field contains a value that is not an ASCII case-insensitive match
        // for the value "websocket"".
        format!("Upgrade: h2c\r\n{connection}{accept}"),
        format!("Upgrade: websocket/13\r\n{connection}{accept}"),
        format!("Upgrade: h2c, websocket\r\n{connection}{accept}"),
        format!("Upgrade: h2c\r\n{upgrade}{connection}{accept}"),
        // "the |Connection| header field doesn't contain a token that is an ASCII case-insensitive
        // match for the value "Upgrade"".
        format!("{upgrade}Connection: keep-alive\r\n{accept}"),
        format!("{upgrade}Connection: upgraded\r\n{accept}"),
    ] {
        println!("{}", lines.escape_debug());
        let (mut peer, id) = answered_websocket(switching(&lines));
        peer.expect_violation(Violation::UpgradeInvalid);
        assert!(peer.conn.stream(id).is_none());
    }
    // RFC 9110 §7.8: "A server MUST NOT switch to a protocol that was not indicated by the client
    // in the corresponding request's Upgrade header field."
    let mut peer = server();
    peer.open(&RequestHead::connect("b:443"), Body::Stream);
    peer.sent.clear();
    peer.send(switching(&grant()));
    peer.expect_violation(Violation::UpgradeInvalid);
}

#[test]
fn an_upgrade_that_is_ignored_leaves_an_ordinary_response() {
    // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
    for status in [200, 201, 299] {
        let lines = "Content-Length: 2\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        let (mut peer, id) = answered_websocket(format!("HTTP/1.1 {status} \r\n{lines}\r\nhi"));
        peer.expect_response(status, false);
        assert!(!peer.conn.is_tunnel());
        peer.expect_data("hi", true);
        // There was no tunnel, and the next request may come.
        assert!(peer.conn.stream(id).is_none() && peer.conn.can_open());
    }
    let (mut peer, _) = answered_websocket("HTTP/1.1 204 \r\n\r\n");
    peer.expect_response(204, true);
    assert!(!peer.conn.is_tunnel() && peer.conn.can_open());
    let (mut peer, _) = answered_websocket(switching(&grant()));
    peer.expect_response(200, false);
    assert!(peer.conn.is_tunnel());
}

#[test]
fn a_refused_client_goes_on() {
    // §4.1: "If the status code received from the server is not 101, the client handles the
    // response per HTTP procedures."
    for (connect, bytes) in [
        (
            false,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        ),
        (
            true,
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
        ),
        (
            false,
            "HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ),
        (
            true,
            "HTTP/1.1 403 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        ),
    ] {
        let head = if connect {
            RequestHead::connect("b:443")
        } else {
            connect_websocket()
        };
        let mut peer = server();
        let id = peer.open(&head, Body::Stream);
        peer.send(&bytes[..bytes.len() - 1]);
        peer.expect_response(403, false);
        assert_eq!(
            peer.stream(id).write(&mut Bytes::from_static(b"x"), true),
            0
        );
        peer.sent.clear();
        peer.send(&bytes[bytes.len() - 1..]);
        let mut got = Vec::new();
        while let Some(Event::Data { data, .. }) = (!peer.events.is_empty()).then(|| peer.next()) {
            got.extend_from_slice(&data);
        }
        assert_eq!(got, b"no");
        peer.expect_sent("");
        assert!(peer.conn.can_open());
        peer.ask();
        peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        peer.expect_response(204, true);
        peer.expect_alive();
    }
    // 401 without content, and a redirect that closes.
    let (mut peer, _) = answered_websocket("HTTP/1.1 401 \r\nContent-Length: 0\r\n\r\n");
    peer.expect_response(401, true);
    assert!(peer.conn.can_open());
    let (mut peer, _) =
        answered_websocket("HTTP/1.1 302 \r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    peer.expect_response(302, true);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn a_clients_tunnel() {
    for (mut peer, id) in tunnels() {
        assert!(!peer.conn.can_open());
        peer.write(id, "\x16\x03", false);
        peer.expect_sent("\x16\x03");
        peer.expect_writable();
        // Bytes that look like a response are no longer one.
        peer.send("HTTP/1.1 200 OK\r\n\r\n");
        peer.expect_data("HTTP/1.1 200 OK\r\n\r\n", false);
        // The server's end is the end of its direction.
        peer.eof();
        peer.expect_data("", true);
        peer.expect_nothing();
        peer.expect_alive();
        peer.write(id, "more", false);
        peer.expect_sent("more");
        peer.expect_writable();
        peer.write(id, "", true);
        assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        assert!(!peer.conn.is_truncated());
    }
}

#[test]
fn what_comes_with_the_grant_is_the_tunnels() {
    // RFC 9110 §9.3.6: "data received after that header section is from the server identified by
    // the request target."
    let (mut peer, _) = answered_websocket(switching(&grant()) + "hello");
    peer.expect_response(200, false);
    peer.expect_data("hello", false);
    // ... and so is an end that comes at once.
    peer.eof();
    let is_data = |event: &Event| matches!(event, Event::Data { .. });
    peer.events.retain(is_data);
    peer.expect_data("", true);
}

#[test]
fn any_2xx_grants_a_connect() {
    // RFC 9112 §6.3: "Any 2xx (Successful) response to a CONNECT request implies that the
    // connection will become a tunnel immediately after the empty line that concludes the header
    // fields. A client MUST ignore any Content-Length or Transfer-Encoding header fields received
    // in such a message."
    for status in [200, 201, 204, 299] {
        for lines_of_length in [
            "",
            "Content-Length: 0\r\n",
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: x\r\n",
            "Connection: close\r\n",
        ] {
            println!("{status} {}", lines_of_length.escape_debug());
            let mut peer = server();
            let id = peer.open(&RequestHead::connect("b:443"), Body::Stream);
            peer.expect_sent("CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\n\r\n");
            assert_eq!(
                peer.stream(id).write(&mut Bytes::from_static(b"x"), true),
                0
            );
            peer.send(format!(
                "HTTP/1.1 {status} \r\nX: y\r\n{lines_of_length}\r\n0\r\n\r\n"
            ));
            let head = peer.expect_response(status, false);
            assert_eq!(lines(head.headers()), ["x: y"]);
            peer.expect_data("0\r\n\r\n", false);
            peer.expect_writable();
            peer.send("hello");
            peer.expect_data("hello", false);
            peer.write(id, "hello", false);
            peer.expect_sent("hello");
            peer.expect_alive();
        }
    }
}

#[test]
fn the_transports_end_before_the_grant() {
    for head in [connect_websocket(), RequestHead::connect("b:443")] {
        for bytes in [
            "",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n",
        ] {
            let mut peer = server();
            peer.open(&head, Body::Stream);
            peer.send(bytes);
            peer.eof();
            assert_eq!(peer.expect_closed(), CloseReason::EofInTheMiddle);
        }
    }
}
