//! RFC 9112 §9: how connections persist and end.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http::engine::REST_AFTER;
use tidegate_http::{Body, CloseReason, Config, ErrorCode, ResponseHead, Stream, Violation};

use crate::support::*;

#[test]
fn pipelined_requests_are_answered_in_order() {
    // §9.3.2: "A server MAY process a sequence of pipelined requests in parallel if they all have
    // safe methods, but it MUST send the corresponding responses in the same order that the
    // requests were received."
    let request = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all: String = (0..100).map(request).collect();
    let mut peer = sent(all);
    let left = peer.input.len();
    for n in 0..100 {
        // The next request isn't even read before this one is answered.
        let (id, head, _) = peer.expect_request();
        assert_eq!(head.path(), format!("/{n}"));
        assert_eq!(id.get(), 2 * n + 1);
        peer.expect_nothing();
        assert!(!peer.conn.can_receive());
        peer.respond(
            id,
            &ResponseHead::new(200),
            Body::Full(Bytes::from(format!("{n}"))),
        );
    }
    assert!(left > 2000);
    let answer = |n: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{n}",
            n.to_string().len()
        )
    };
    peer.expect_sent((0..100).map(answer).collect::<String>());
}

#[test]
fn what_is_not_read_by_the_client_bounds_what_is_read_of_it() {
    let mut peer = client();
    let mut answered = 0;
    peer.input.extend_from_slice(GET.repeat(10_000).as_bytes());
    while let Some(event) = peer.conn.receive(&mut peer.input, peer.now) {
        let tidegate_http::Event::Request { id, .. } = event else {
            panic!("{event:?}");
        };
        let head = ResponseHead::new(200).field("x", "y".repeat(1000));
        peer.stream(id)
            .respond(&head, Body::Empty)
            .expect("a proper response");
        answered += 1;
    }
    // 32 KiB of answers wait, no more.
    assert!((30..34).contains(&answered), "{answered}");
    assert!(!peer.conn.can_receive());
    peer.settle();
    assert!(peer.conn.can_receive() || peer.conn.active_streams() > 0);
}

#[test]
fn connections_persist_by_version_and_option() {
    // §9.3: close ends; else 1.1 persists; else 1.0 with keep-alive persists; else it ends. §9.6:
    // "The server SHOULD send a close connection option in its final response on that connection."
    for (version, option, goes_on, told) in [
        ("1.1", "", true, ""),
        ("1.1", "keep-alive", true, ""),
        ("1.1", "close", false, "connection: close\r\n"),
        ("1.1", "x, CLOSE", false, "connection: close\r\n"),
        ("1.1", "keep-alive, close", false, "connection: close\r\n"),
        (
            "1.1",
            "keep-alive\r\nConnection: close",
            false,
            "connection: close\r\n",
        ),
        ("1.0", "", false, "connection: close\r\n"),
        ("1.0", "Keep-Alive", true, "connection: keep-alive\r\n"),
        ("1.0", "keep-alive, close", false, "connection: close\r\n"),
    ] {
        let mut peer = sent(format!(
            "GET / HTTP/{version}\r\nHost: a\r\nConnection: {option}\r\n\r\n{GET}"
        ));
        peer.answer("x");
        peer.expect_sent(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n{told}\r\nx"
        ));
        if goes_on {
            peer.expect_request();
        } else {
            assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        }
    }
}

#[test]
fn the_rest_of_an_answered_request_is_discarded() {
    // §9.3: "A server MUST read the entire request message body or close the connection after
    // sending its response; otherwise, the remaining data on a persistent connection would be
    // misinterpreted as the next request."
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    peer.answer("no");
    peer.send("x".repeat(999));
    peer.expect_nothing();
    peer.send(format!("x{GET}"));
    peer.answer("yes");
    peer.expect_alive();

    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe");
    let (id, ..) = peer.expect_request();
    peer.expect_data("he", false);
    peer.respond(id, &ResponseHead::new(403), Body::Empty);
    peer.send(format!("llo\r\n0\r\nx: y\r\n\r\n{GET}"));
    peer.answer("yes");
    peer.expect_alive();

    // Bytes that the owner had not consumed no longer hold anything up.
    let mut config = Config::server();
    config.initial_window_size = 10;
    let mut peer = client_of(config);
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    let (id, ..) = peer.expect_request();
    peer.send("x".repeat(50));
    peer.expect_data("x".repeat(10), false);
    peer.respond(id, &ResponseHead::new(403), Body::Empty);
    peer.send("x".repeat(50) + GET);
    peer.answer("yes");
    peer.expect_alive();

    // An error in the discarded body ends the connection, and there is no request to answer.
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.answer("");
    peer.sent.clear();
    peer.send("x\r\n");
    peer.expect_sent("");
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Violation(Violation::ChunkInvalid)
    );
}

#[test]
fn much_of_it_is_not() {
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n");
    peer.answer("");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    let mut peer =
        sent("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n");
    peer.answer("");
    peer.send(vec![b'x'; 1 << 20]);
    peer.expect_alive();
    peer.send("x");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn a_reset_closes_the_connection() {
    // §8: a message that ends before its framing says is incomplete.
    let mut peer = sent(format!("{GET}{GET}{GET}"));
    peer.answer("first");
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.stream(id)
        .write(&mut Bytes::from_static(b"abc"), false);
    peer.settle();
    peer.stream(id).reset(ErrorCode::CANCEL);
    peer.settle();
    let sent = peer.text();
    assert!(sent.ends_with("3\r\nabc\r\n"), "no last chunk: {sent}");
    assert_eq!(peer.events.remove(0).id_of_writable(), Some(id));
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Aborted(ErrorCode::CANCEL)
    );
    assert!(peer.conn.stream(id).is_none());

    let mut peer = sent_and_reset(GET);
    peer.expect_sent("");
    assert_eq!(
        peer.expect_closed(),
        CloseReason::Aborted(ErrorCode::CANCEL)
    );
}

fn sent_and_reset(bytes: &str) -> Peer {
    let mut peer = sent(bytes);
    let (id, ..) = peer.expect_request();
    peer.stream(id).reset(ErrorCode::CANCEL);
    peer.settle();
    peer
}

trait WritableId {
    fn id_of_writable(&self) -> Option<tidegate_http::StreamId>;
}

impl WritableId for tidegate_http::Event {
    fn id_of_writable(&self) -> Option<tidegate_http::StreamId> {
        match self {
            Self::Writable { id, .. } => Some(*id),
            _ => None,
        }
    }
}

#[test]
fn the_transports_end() {
    // §8: "A client that receives …" is about responses; nothing is said about a request that ends
    // early.
    for (bytes, reason) in [
        ("", CloseReason::Eof),
        ("\r\n", CloseReason::Eof),
        ("G", CloseReason::EofInTheMiddle),
        ("GET / HTTP/1.1\r\nHost: a\r\n", CloseReason::EofInTheMiddle),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
            CloseReason::EofInTheMiddle,
        ),
    ] {
        let mut peer = sent(bytes);
        peer.events.clear();
        peer.eof();
        assert_eq!(peer.expect_closed(), reason);
        peer.expect_sent("");
    }
    let mut peer = sent(GET);
    peer.answer("x");
    peer.eof();
    assert_eq!(peer.expect_closed(), CloseReason::Eof);
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx");
}

#[test]
fn time_limits() {
    // §9.5: "Servers will usually have some timeout value beyond which they will no longer maintain
    // an inactive connection."
    let mut peer = client();
    peer.pass(secs(1));
    peer.pass(secs(599));
    peer.expect_alive();
    peer.pass(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::Idle);
    peer.expect_sent("");

    let mut peer = sent("GET /");
    peer.pass(secs(9));
    // More bytes give no more time.
    peer.send("a");
    peer.pass(secs(1));
    peer.expect_refusal(Violation::HeaderBlockTimedOut, 408);

    // RFC 9110 §15.5.9 for a body that doesn't arrive. Each piece gives more time, but chunk
    // framing without bytes doesn't.
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.pass(secs(29));
    peer.send("5\r\nh");
    peer.pass(secs(29));
    peer.send("ello\r\n");
    peer.pass(secs(29));
    peer.send("5\r\n");
    peer.expect_alive();
    peer.pass(secs(1));
    peer.events.drain(..3);
    peer.expect_refusal(Violation::BodyTimedOut, 408);

    // An owner may take its time.
    let mut peer = sent(GET);
    peer.pass(secs(10_000));
    peer.answer("x");
    peer.expect_alive();
    assert_eq!(peer.conn.next_timeout(), Some(peer.now + REST_AFTER));

    let mut config = Config::server();
    config.timeouts.idle = secs(0);
    config.timeouts.header_block = secs(0);
    let mut peer = client_of(config);
    peer.pass(secs(1));
    assert_eq!(peer.conn.next_timeout(), None, "zero turns a limit off");
    peer.send("G");
    assert_eq!(peer.conn.next_timeout(), None);
}

#[test]
fn what_waits_to_be_sent_outlives_the_rest() {
    let mut peer = client();
    peer.input.extend_from_slice(GET.as_bytes());
    let event = peer.conn.receive(&mut peer.input, peer.now);
    let Some(tidegate_http::Event::Request { id, .. }) = event else {
        panic!("{event:?}");
    };
    peer.stream(id)
        .respond(&ResponseHead::new(204), Body::Empty)
        .expect("a proper response");
    peer.now += secs(5);
    peer.conn.handle_timeout(peer.now);
    peer.settle();
    peer.expect_sent("HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_graceful_end() {
    let mut peer = client();
    peer.conn.shut_down(peer.now);
    peer.settle();
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    let mut peer = sent(format!("{GET}{GET}"));
    peer.conn.shut_down(peer.now);
    peer.answer("x");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    // A head that has begun is one more request.
    let mut peer = sent(&GET[..5]);
    peer.conn.shut_down(peer.now);
    peer.settle();
    peer.expect_alive();
    peer.send(&GET[5..]);
    peer.answer("x");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    // A response that had begun ends as it was announced, and the connection after it.
    let mut peer = sent(GET);
    let (id, ..) = peer.expect_request();
    peer.respond(id, &ResponseHead::new(200), Body::Stream);
    peer.expect_writable();
    peer.conn.shut_down(peer.now);
    peer.stream(id).write(&mut Bytes::from_static(b"x"), true);
    peer.settle();
    peer.expect_sent("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    let mut peer = sent(GET);
    peer.events.clear();
    peer.conn.shut_down(peer.now);
    peer.pass(secs(30));
    assert_eq!(peer.expect_closed(), CloseReason::ShutdownTimedOut);
}

#[test]
fn a_client_that_was_promised_more_gets_one_more_answer() {
    const PATIENCE: Duration = Duration::from_millis(300);
    // The head of the response is out before the end begins, and doesn't say `close`.
    let begun = || {
        let mut peer = sent(GET);
        let (id, ..) = peer.expect_request();
        peer.respond(id, &ResponseHead::new(200), Body::Stream);
        peer.expect_writable();
        peer.conn.shut_down_after_request(PATIENCE, peer.now);
        peer.now += secs(1);
        peer.stream(id).write(&mut Bytes::from_static(b"x"), true);
        peer.settle();
        peer.expect_alive();
        peer.expect_sent(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        );
        peer
    };
    let mut peer = begun();
    peer.send(GET);
    peer.answer("y");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\ny");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    // It is not waited for longer than that.
    let mut peer = begun();
    peer.pass(PATIENCE);
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);

    // A response that says `close` is the last.
    let mut peer = sent(GET);
    peer.conn.shut_down_after_request(PATIENCE, peer.now);
    peer.answer("x");
    peer.expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}
