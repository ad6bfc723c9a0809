//! RFC 8441: Bootstrapping WebSockets with HTTP/2 (extended CONNECT).

use bytes::Bytes;
use tidegate_frame::SettingId;
use tidegate_http2::{Body, Config, Misuse, RequestHead, Violation};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire;

use crate::support::{client, client_of, respond_streaming, server};

const WEBSOCKET: &[(&str, &str)] = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/chat"),
];

/// A server engine that accepts extended CONNECT.
fn tunneling() -> Peer {
    client_of(|config| config.enable_connect_protocol = true)
}

#[test]
fn a_server_announces_it() {
    // RFC 8441 §3: "Upon receipt of SETTINGS_ENABLE_CONNECT_PROTOCOL with a value of 1, a client
    // MAY use the Extended CONNECT as defined in this document when creating new streams."
    let mut config = Config::server();
    config.enable_connect_protocol = true;
    let settings = Peer::client_unborn(config)
        .expect_settings()
        .expect("values");
    assert!(settings.contains(&(SettingId::ENABLE_CONNECT_PROTOCOL, 1)));
    let settings = Peer::client_unborn(Config::server())
        .expect_settings()
        .expect("values");
    assert!(
        !settings
            .iter()
            .any(|(id, _)| *id == SettingId::ENABLE_CONNECT_PROTOCOL)
    );
}

#[test]
fn a_websocket_is_opened_and_used() {
    // RFC 8441 §4: "On requests that contain the :protocol pseudo-header field, the :scheme and
    // :path pseudo-header fields of the target URI (see Section 5) MUST also be included."
    let mut peer = tunneling();
    peer.send(wire::headers(1, WEBSOCKET));
    let (head, end) = peer.expect_request(1);
    assert_eq!(
        (head.method(), head.protocol(), head.path()),
        ("CONNECT", Some("websocket"), "/chat")
    );
    assert!(!end);
    respond_streaming(&mut peer, 1);
    peer.expect_head(1);
    peer.events.clear();
    peer.send(wire::data(1, "frame"));
    assert_eq!(peer.expect_body(1), (Bytes::from("frame"), false));
    peer.send(wire::headers(1, &[("a", "b")]).end());
    peer.stream_error(1, Violation::HeadersOnTunnel);
}

#[test]
fn a_request_that_was_not_invited_is_malformed() {
    // RFC 8441 §3: without the setting, ":protocol" is a pseudo-field that is not defined (RFC 9113
    // §8.3).
    let mut peer = client();
    peer.send(wire::headers(1, WEBSOCKET));
    peer.answered_by_400(1, Violation::ProtocolNotAllowed);
}

#[test]
fn an_incomplete_request_is_malformed() {
    // RFC 8441 §4, as above: ":scheme" and ":path" are required; and ":protocol" is for CONNECT
    // only.
    for missing in [":scheme", ":path"] {
        let fields: Vec<_> = WEBSOCKET
            .iter()
            .copied()
            .filter(|(name, _)| *name != missing)
            .collect();
        let mut peer = tunneling();
        peer.send(wire::headers(1, &fields));
        peer.answered_by_400(1, Violation::PseudoFieldMissing);
    }
    for wrong in [
        (":method", "GET"),
        (":protocol", ""),
        (":protocol", "web socket"),
    ] {
        let fields: Vec<_> = WEBSOCKET
            .iter()
            .map(|field| if field.0 == wrong.0 { wrong } else { *field })
            .collect();
        let mut peer = tunneling();
        peer.send(wire::headers(1, &fields));
        peer.answered_by_400(1, Violation::ProtocolNotAllowed);
    }
}

#[test]
fn a_client_waits_for_the_announcement() {
    // RFC 8441 §3: as above; a client that doesn't wait sends a request that the server must treat
    // as malformed.
    let head = RequestHead::extended_connect("websocket", "https", "localhost", "/chat");
    let mut peer = server();
    let told = peer.engine.open(&head, Body::Stream);
    assert_eq!(told, Err(Misuse::ConnectProtocolDisabled));
    peer.send(wire::settings(&[(0x8, 1)]));
    peer.frames.clear();
    peer.open(&head, Body::Stream);
    assert_eq!(peer.expect_head(1).get(":protocol"), Some("websocket"));
}

#[test]
fn the_announcement_is_not_taken_back() {
    // RFC 8441 §3: "A sender MUST NOT send a SETTINGS_ENABLE_CONNECT_PROTOCOL parameter with the
    // value of 0 after previously sending a value of 1."
    let mut peer = Peer::server_with(Config::client(), &[(0x8, 1)]);
    peer.send(wire::settings(&[(0x8, 1)]));
    peer.frames.clear();
    peer.expect_alive();
    peer.send(wire::settings(&[(0x8, 0)]));
    peer.connection_error(Violation::EnableConnectProtocolInvalid);
    // "The value of the parameter MUST be 0 or 1."
    let mut peer = server();
    peer.send(wire::settings(&[(0x8, 2)]));
    peer.connection_error(Violation::EnableConnectProtocolInvalid);
}
