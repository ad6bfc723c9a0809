//! The requests that a client sends: request lines, Host, fields, bodies (RFC 9112 §3 and §6, RFC
//! 9110 §7 and §8). And the misuses of its owner.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Fields, KnownName, MemoryBudget, Misuse,
    RequestHead, RequestRules, ResponseHead, Stream, StreamId,
};
use tidegate_ledger::{ClientKey, Ledger, Limits, Resource};

use crate::support::*;

/// Returns the bytes that a client sends for this request.
#[track_caller]
fn bytes_of(head: &RequestHead, body: Body) -> String {
    let mut peer = server();
    peer.open(head, body);
    peer.text()
}

#[test]
fn a_request() {
    // §2.1: "HTTP-message = start-line CRLF *( field-line CRLF ) CRLF [ message-body ]".
    let mut peer = server();
    let head = request("GET", "/a?b=c")
        .field("user-agent", "t")
        .field("x-a", "b c")
        .field("x-empty", "");
    let id = peer.open(&head, Body::Empty);
    peer.expect_sent(
        "GET /a?b=c HTTP/1.1\r\nhost: a\r\nuser-agent: t\r\nx-a: b c\r\nx-empty: \r\n\r\n",
    );
    assert_eq!(id, StreamId::new(1));
    assert_eq!(peer.stream(id).version(), "HTTP/1.1");
    peer.expect_nothing();
    peer.expect_alive();
    assert_eq!(peer.conn.stats().requests, 1);
}

#[test]
fn forms_of_the_target() {
    let connect = RequestHead::connect("www.example.com:80");
    let request = |method: &str, scheme: &str, path: &str| {
        RequestHead::new(method, scheme, "www.example.org", path)
    };
    for (head, line) in [
        // §3.2.1: "a client MUST send only the absolute path and query components of the target URI
        // as the request-target."
        (
            request("GET", "http", "/where?q=now"),
            "GET /where?q=now HTTP/1.1\r\nhost: www.example.org\r\n",
        ),
        (
            request("BREW", "HTTPS", "/"),
            "BREW / HTTP/1.1\r\nhost: www.example.org\r\n",
        ),
        (
            request("GET", "https", "//x?y?z"),
            "GET //x?y?z HTTP/1.1\r\nhost: www.example.org\r\n",
        ),
        // §3.2.4: "When a client wishes to request OPTIONS for the server as a whole, … the client
        // MUST send only "*"".
        (
            request("OPTIONS", "http", "*"),
            "OPTIONS * HTTP/1.1\r\nhost: www.example.org\r\n",
        ),
        // §3.2.3: "a client MUST send only the host and port of the tunnel destination as the
        // request-target", and Host is the same.
        (
            connect,
            "CONNECT www.example.com:80 HTTP/1.1\r\nhost: www.example.com:80\r\n",
        ),
    ] {
        assert_eq!(bytes_of(&head, Body::Empty), format!("{line}\r\n"));
    }
}

#[test]
fn targets_that_no_form_can_say() {
    // §3.2.1: "origin-form = absolute-path [ "?" query ]" has no place for another scheme's path,
    // which HTTP/2 allows to be anything, and none for a fragment: a server could take either for
    // another request (CVE-2023-45539 is of that kind).
    let (get, path) = ("GET", "/");
    for (scheme, authority, path) in [
        ("ftp", "a", path),
        ("urn", "", "a:b"),
        ("x", "a", "http://b/"),
        ("x", "a", ""),
        ("x", "u@a", "/"),
        ("http", "a", "/#b"),
        ("https", "a", "/?b#"),
    ] {
        let mut fields = Fields::new();
        fields.push_known(KnownName::METHOD, get);
        fields.push_known(KnownName::SCHEME, scheme);
        fields.push_known(KnownName::AUTHORITY, authority);
        fields.push_known(KnownName::PATH, path);
        // As it came from an HTTP/2 client.
        let head = RequestHead::from_fields(fields, RequestRules::default());
        let head = head.expect("HTTP/2 has nothing against it");
        let mut peer = server();
        let opened = peer.conn.open(&head, Body::Empty);
        assert_eq!(opened, Err(Misuse::InvalidField), "{head:?}");
        peer.settle();
        peer.expect_sent("");
        assert!(peer.conn.can_open());
    }
}

#[test]
fn host_is_there_and_first() {
    // §3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages." RFC 9110
    // §7.2: "A user agent that sends Host SHOULD send it as the first field in the header section
    // of a request."
    let head = request("GET", "/").field("x", "y").field("host", "A:80");
    let expected = "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\n\r\n";
    assert_eq!(bytes_of(&head, Body::Empty), expected);
    let head = RequestHead::new("GET", "http", "", "/")
        .field("x", "y")
        .field("host", "b:81");
    let expected = "GET / HTTP/1.1\r\nhost: b:81\r\nx: y\r\n\r\n";
    assert_eq!(bytes_of(&head, Body::Empty), expected);
    // §3.2: "If the authority component is missing or undefined for the target URI, then a client
    // MUST send a Host header field with an empty field value."
    let head = RequestHead::new("GET", "http", "", "/");
    let expected = "GET / HTTP/1.1\r\nhost: \r\n\r\n";
    assert_eq!(bytes_of(&head, Body::Empty), expected);
}

#[test]
fn crumbs_of_a_cookie_are_joined() {
    // RFC 9113 §8.2.3: crumbs "MUST be concatenated into a single octet string using the two-octet
    // delimiter of 0x3b, 0x20 (the ASCII string "; ") before being passed into a non-HTTP/2
    // context".
    let head = a_get()
        .field("cookie", "a=1")
        .field("x", "y")
        .field("cookie", "b=2; c=3")
        .field("cookie", "d=4");
    assert_eq!(
        bytes_of(&head, Body::Empty),
        "GET / HTTP/1.1\r\nhost: a\r\nx: y\r\ncookie: a=1; b=2; c=3; d=4\r\n\r\n"
    );
    let head = a_get().field("cookie", "a=1");
    let expected = "GET / HTTP/1.1\r\nhost: a\r\ncookie: a=1\r\n\r\n";
    assert_eq!(bytes_of(&head, Body::Empty), expected);
}

#[test]
fn te_goes_with_its_connection_option() {
    // RFC 9110 §10.1.4: "A sender of TE MUST also send a "TE" connection option within the
    // Connection header field".
    let head = a_get().field("te", "trailers").field("x", "y");
    assert_eq!(
        bytes_of(&head, Body::Empty),
        "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nx: y\r\nconnection: te\r\n\r\n"
    );
}

#[test]
fn the_length_of_bodies() {
    // RFC 9110 §8.6: "a user agent normally sends Content-Length in a POST request even when the
    // value is 0 (indicating empty content). A user agent SHOULD NOT send a Content-Length header
    // field when the request message does not contain content and the method semantics do not
    // anticipate such data."
    let full = |bytes: &'static str| Body::Full(Bytes::from_static(bytes.as_bytes()));
    for (method, body, behind) in [
        ("GET", Body::Empty, "\r\n"),
        ("HEAD", Body::Empty, "\r\n"),
        ("DELETE", Body::Empty, "\r\n"),
        ("OPTIONS", Body::Empty, "\r\n"),
        ("BREW", Body::Empty, "\r\n"),
        ("POST", Body::Empty, "content-length: 0\r\n\r\n"),
        ("PUT", Body::Empty, "content-length: 0\r\n\r\n"),
        ("PATCH", Body::Empty, "content-length: 0\r\n\r\n"),
        ("POST", full("hello"), "content-length: 5\r\n\r\nhello"),
        ("GET", full("hello"), "content-length: 5\r\n\r\nhello"),
        ("POST", full(""), "content-length: 0\r\n\r\n"),
        // §6.1: the length isn't known, so chunks delimit the body.
        ("POST", Body::Stream, "transfer-encoding: chunked\r\n\r\n"),
        ("GET", Body::Stream, "transfer-encoding: chunked\r\n\r\n"),
    ] {
        assert_eq!(
            bytes_of(&request(method, "/"), body),
            format!("{method} / HTTP/1.1\r\nhost: a\r\n{behind}")
        );
    }
    // The owner's length of a body that is known doesn't count.
    for (body, behind) in [
        (full("xy"), "content-length: 2\r\n\r\nxy"),
        (Body::Empty, "\r\n"),
    ] {
        let head = a_get().field("content-length", "7").field("b", "c");
        let expected = format!("GET / HTTP/1.1\r\nhost: a\r\nb: c\r\n{behind}");
        assert_eq!(bytes_of(&head, body), expected);
    }
}

#[test]
fn a_large_body_goes_out_as_it_is() {
    let bytes = Bytes::from(vec![b'z'; 300_000]);
    let mut peer = server();
    peer.open(&request("PUT", "/"), Body::Full(bytes.clone()));
    let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 300000\r\n\r\n";
    peer.expect_sent([head.as_bytes(), &bytes].concat());
    peer.expect_nothing();
    assert_eq!(peer.conn.stats().body_out, 300_000);
}

#[test]
fn a_body_of_unknown_length_is_chunked() {
    // §7.1: "chunked-body = *chunk last-chunk trailer-section CRLF".
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_sent("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    peer.expect_writable();
    peer.write(id, "hello, world", false);
    peer.expect_sent("c\r\nhello, world\r\n");
    peer.expect_writable();
    let mut data = Bytes::from_static(b"!");
    assert_eq!(peer.stream(id).write(&mut data, false), 1);
    let trailers = [("grpc-status", "0"), ("x", "y")].into_iter().collect();
    peer.stream(id).trailers(&trailers).expect("after a body");
    peer.settle();
    peer.expect_sent("1\r\n!\r\n0\r\ngrpc-status: 0\r\nx: y\r\n\r\n");
    peer.expect_nothing();

    // An empty body has only the last chunk; an empty chunk would end a body early.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.sent.clear();
    peer.write(id, "", true);
    peer.expect_sent("0\r\n\r\n");
    peer.expect_nothing();
}

#[test]
fn trailers_that_would_be_framing_or_routing_are_left_out() {
    // RFC 9110 §6.5.1: "Many fields cannot be processed outside the header section because their
    // evaluation is necessary prior to receiving the content, such as those that describe message
    // framing, routing, …". HTTP/2 lets these pass.
    let trailers: Fields = [("content-length", "5"), ("host", "b"), ("x", "y")]
        .into_iter()
        .collect();
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.expect_writable();
    peer.sent.clear();
    peer.stream(id).trailers(&trailers).expect("after a body");
    peer.settle();
    peer.expect_sent("0\r\nx: y\r\n\r\n");

    // §6.6.2: "trailer" announces fields that can't follow a body of known length.
    let mut peer = server();
    let post = request("POST", "/")
        .field("trailer", "x")
        .field("content-length", "1");
    peer.open(&post, Body::Stream);
    peer.expect_writable();
    peer.expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n");

    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.sent.clear();
    peer.stream(id).trailers(&trailers).expect("after a body");
    peer.settle();
    peer.expect_sent("0\r\nx: y\r\n\r\n");
}

#[test]
fn a_body_of_promised_length() {
    // §6.2: "the Content-Length field value provides the framing information necessary for
    // determining where the data (and message) ends."
    let head = request("POST", "/").field("content-length", "3");
    let mut peer = server();
    let id = peer.open(&head, Body::Stream);
    peer.expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
    peer.expect_writable();
    peer.write(id, "ab", false);
    peer.expect_sent("ab");
    peer.expect_writable();
    peer.write(id, "c", false);
    // Trailers can't follow such a body: they are left out.
    peer.expect_writable();
    let trailers = [("x", "y")].into_iter().collect();
    peer.stream(id).trailers(&trailers).expect("after a body");
    peer.settle();
    peer.expect_sent("c");
    peer.send("HTTP/1.1 204 No Content\r\n\r\n");
    peer.expect_response(204, true);
    assert!(peer.conn.can_open(), "the message was whole");
}

#[test]
fn a_body_of_another_length_than_promised_closes_the_connection() {
    // §8: "A message that uses a valid Content-Length is incomplete if the size of the message body
    // received (in octets) is less than the value given by Content-Length."
    for (given, end) in [("ab", true), ("abcd", false), ("abcd", true), ("", true)] {
        let mut peer = server();
        let head = request("POST", "/").field("content-length", "3");
        let id = peer.open(&head, Body::Stream);
        peer.expect_writable();
        peer.stream(id).write(&mut Bytes::from(given), end);
        peer.settle();
        assert_eq!(
            peer.expect_closed(),
            CloseReason::Aborted(ErrorCode::INTERNAL_ERROR)
        );
        assert!(peer.conn.stream(id).is_none());
        peer.expect_sent("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n");
        assert!(peer.conn.is_truncated());
    }
}

#[test]
fn a_body_is_asked_for_when_there_is_room_and_once() {
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    let (asked, want) = peer.expect_writable();
    assert_eq!((asked, want), (id, (64 << 10) - peer.sent.len()));
    peer.settle();
    peer.expect_nothing();
    // The owner has nothing yet: it isn't asked again.
    peer.stream(id).write(&mut Bytes::new(), false);
    peer.settle();
    peer.expect_nothing();
    let mut much = Bytes::from(vec![b'x'; 1 << 20]);
    assert_eq!(peer.stream(id).write(&mut much, true), 256 << 10);
    let again = peer.stream(id).write(&mut much, true);
    assert_eq!(again, 0, "one piece waits already");
    peer.settle();
    assert!(matches!(peer.next(), Event::Writable { .. }));
}

#[test]
fn one_request_at_a_time() {
    // RFC 9112 §9.3.2: "A client that supports persistent connections MAY pipeline its requests".
    // This one doesn't.
    let mut peer = server();
    assert!(peer.conn.can_open());
    let id = peer.open(&a_get(), Body::Empty);
    assert!(!peer.conn.can_open());
    assert_eq!(peer.conn.active_streams(), 1);
    let second = peer.conn.open(&a_get(), Body::Empty);
    assert_eq!(second, Err(Misuse::TooManyStreams));
    peer.settle();
    peer.expect_sent("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
    peer.expect_response(200, false);
    assert!(!peer.conn.can_open(), "the body is still to come");
    peer.send("x");
    peer.expect_data("x", true);
    assert!(peer.conn.can_open());
    assert!(peer.conn.stream(id).is_none());
    assert_eq!(peer.conn.active_streams(), 0);
    // The numbers are those of HTTP/2.
    for number in [3, 5, 7] {
        assert_eq!(peer.ask(), StreamId::new(number));
        peer.send("HTTP/1.1 204 No Content\r\n\r\n");
        peer.expect_response(204, true);
    }
}

#[test]
fn what_the_owner_must_not_do() {
    let open = |head: &RequestHead| {
        let mut peer = server();
        let opened = peer.conn.open(head, Body::Empty);
        peer.settle();
        peer.expect_sent("");
        assert!(peer.conn.can_open(), "nothing has happened");
        opened
    };
    // RFC 9110 §7.6.1: the owner can't set fields of the connection, and nothing may end a line
    // early.
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "x"),
        ("proxy-connection", "x"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "+5"),
        ("host", "b"),
        ("a", "b\r\nc: d"),
        ("a", "b\0"),
        ("a", " b"),
        ("a b", "c"),
        ("A", "b"),
        ("", "b"),
        (":path", "/"),
    ] {
        let head = a_get().field(name, value);
        assert_eq!(open(&head), Err(Misuse::InvalidField), "{name}: {value}");
    }
    for head in [
        request("G T", "/"),
        request("", "/"),
        request("GET", "/ HTTP/1.1"),
        request("GET", "/\r\n"),
        request("GET", ""),
        request("GET", "a"),
        request("GET", "*"),
        RequestHead::new("GET", "http", "a b", "/"),
        RequestHead::new("GET", "http", "u@a", "/"),
        RequestHead::connect("a"),
        // RFC 6455 §4.1: "The request MUST include a header field with the name
        // |Sec-WebSocket-Key|."
        RequestHead::extended_connect("websocket", "http", "a", "/"),
    ] {
        assert_eq!(open(&head), Err(Misuse::InvalidField), "{head:?}");
    }
    // RFC 9110 §7.8 allows other protocols too; this engine knows none.
    let head = RequestHead::extended_connect("connect-udp", "https", "a", "/");
    assert_eq!(open(&head), Err(Misuse::ConnectProtocolDisabled));

    let mut peer = client();
    let opened = peer.conn.open(&a_get(), Body::Empty);
    assert_eq!(opened, Err(Misuse::WrongRole), "servers don't ask");
    assert!(!peer.conn.can_open());

    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    let mut stream = peer.stream(id);
    let ok = ResponseHead::new(200);
    let answer = stream.respond(&ok, Body::Empty);
    assert_eq!(answer, Err(Misuse::WrongRole), "clients don't answer");
    let hints = stream.inform(&ResponseHead::new(103));
    assert_eq!(hints, Err(Misuse::WrongRole));
    assert_eq!(stream.push(&a_get()), Err(Misuse::PushDisabled));
    let bad = stream.trailers(&[("a", "b\n")].into_iter().collect());
    assert_eq!(bad, Err(Misuse::InvalidField));
    stream.write(&mut Bytes::new(), true);
    assert_eq!(stream.write(&mut Bytes::from_static(b"x"), true), 0);
    let late = stream.trailers(&Fields::new());
    assert_eq!(late, Err(Misuse::StreamClosed), "our message is whole");

    // A body that was given at once takes no more.
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Full(vec![0; 5000].into()));
    assert_eq!(
        peer.stream(id).write(&mut Bytes::from_static(b"x"), true),
        0
    );

    let mut peer = answered("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    let opened = peer.conn.open(&a_get(), Body::Empty);
    assert_eq!(opened, Err(Misuse::GoingAway), "it has ended");
    peer.settle();
    peer.expect_sent("");
}

#[test]
fn trailers_come_after_a_body_that_is_streamed() {
    let mut peer = server();
    let body = Body::Full(Bytes::from(vec![b'x'; 5000]));
    let id = peer
        .conn
        .open(&request("POST", "/"), body)
        .expect("a proper request");
    let trailers = peer.stream(id).trailers(&Fields::new());
    assert_eq!(trailers, Err(Misuse::OutOfOrder));
    let mut peer = server();
    let id = peer.open(&request("POST", "/"), Body::Stream);
    peer.write(id, "x", true);
    let trailers = peer.stream(id).trailers(&Fields::new());
    assert_eq!(trailers, Err(Misuse::StreamClosed));
}

#[test]
fn what_is_held_of_responses_takes_its_part_of_the_memory_budget() {
    let budget = MemoryBudget::new(1 << 20);
    let mut config = Config::client();
    config.memory_budget = Some(Arc::clone(&budget));
    let response = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}",
        "x".repeat(60_000)
    );
    let mut asked = Vec::new();
    let (mut late, refused) = loop {
        let mut peer = server_of(config.clone());
        match peer.conn.open(&a_get(), Body::Empty) {
            Ok(_) => asked.push(peer),
            Err(refused) => break (peer, refused),
        }
    };
    assert_eq!(refused, Misuse::OverMemoryBudget);
    // 64 KiB each, before anything has come.
    assert!((12..=16).contains(&asked.len()), "{}", asked.len());
    // Nobody consumes the data.
    for peer in &mut asked {
        peer.send(&*response);
    }
    assert!(budget.held() <= budget.size());
    let opened = late.conn.open(&a_get(), Body::Empty);
    assert_eq!(opened, Err(Misuse::OverMemoryBudget));
    late.settle();
    late.expect_sent("");
    assert!(late.conn.can_open(), "it may find room later");
    asked.clear();
    late.ask();
    drop(late);
    assert_eq!(budget.held(), 0);
}

#[test]
fn no_more_of_a_body_is_asked_for_than_its_window_has_left() {
    let mut peer = server_of(Config::client());
    let id = peer.conn.open(&a_get(), Body::Empty).unwrap();
    peer.settle();
    assert_eq!(peer.conn.receive_room(), usize::MAX, "a head has no window");
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
    peer.send("x".repeat(60_000));
    assert_eq!(peer.conn.receive_room(), 65_535 - 60_000);
    peer.stream(id).consume(1000);
    assert_eq!(peer.conn.receive_room(), 65_535 - 59_000);
}

#[test]
fn what_a_request_holds_is_billed_to_the_client_that_asked() {
    let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 1 << 20));
    let client = ledger.client(ClientKey::from(IpAddr::from([192, 0, 2, 1])));
    let held = || client.held(Resource::Bytes);
    let mut config = Config::client();
    config.memory_budget = Some(MemoryBudget::of(&ledger));
    let mut peer = server_of(config.clone());
    let open = |peer: &mut Peer| peer.conn.open_for(Some(&client), &a_get(), Body::Empty);
    let id = open(&mut peer).unwrap();
    peer.settle();
    assert!((65_535..80_000).contains(&held()), "what may come counts");
    let others = ledger.used(Resource::Bytes) - held();
    assert!(others < 16 << 10, "and is nobody's besides: {others}");
    peer.send("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n");
    peer.send("x".repeat(8000));
    peer.settle();
    assert!((9000..20_000).contains(&held()), "{}", held());
    peer.stream(id).consume(8000);
    peer.send("x".repeat(1000));
    peer.settle();
    assert_eq!(held(), 0, "the response is whole");

    // A client that has its share gets no more.
    let mut asked = Vec::new();
    let refused = loop {
        let mut peer = server_of(config.clone());
        match open(&mut peer) {
            Ok(_) => asked.push(peer),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, Misuse::OverMemoryBudget);
    assert!(asked.len() > 10);
    let newcomer = ledger.client(ClientKey::from(IpAddr::from([192, 0, 2, 2])));
    let opened = peer.conn.open_for(Some(&newcomer), &a_get(), Body::Empty);
    assert!(opened.is_ok());
}
