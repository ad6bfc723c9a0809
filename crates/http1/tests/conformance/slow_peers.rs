//! Slow peers. RFC 9110 §17 leaves the limits to servers: every phase of a request has a limit that
//! a drip can't extend, and slow honest peers finish. RFC 9110 §15.5.9: 408 for a request that is
//! not complete "within the time that it was prepared to wait".

use tidegate_http::{Body, CloseReason, Config, Event, ResponseHead, Stream, Violation};

use crate::support::{GET, Peer, client_of, secs, sent};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Sends `drip` every `every` seconds until the connection ends. Returns after how many seconds
/// that was.
#[track_caller]
fn drip(peer: &mut Peer, drip: impl AsRef<[u8]>, every: u64) -> u64 {
    let mut seconds = 0;
    while !peer.closed {
        assert!(seconds < 1000, "{:?} is endured", drip.as_ref());
        peer.send(&drip);
        peer.wait(secs(every));
        seconds += every;
    }
    // The pieces of the body are reported, but don't matter here.
    let told = |event: &Event| matches!(event, Event::Request { .. } | Event::Data { .. });
    peer.events.retain(|event| !told(event));
    seconds
}

#[test]
fn a_head_has_ten_seconds_however_it_drips() {
    for front in ["", "\r\n", "GET", "GET / HTTP/1.1\r\nHost: a\r\nx: "] {
        let mut peer = sent(front);
        assert_eq!(drip(&mut peer, "x", 1), 10, "{front:?}");
        peer.expect_refusal(Violation::HeaderBlockTimedOut, 408);
    }
}

#[test]
fn a_body_that_drips_is_not_waited_for() {
    for (head, piece, every) in [
        (POST, "x".to_owned(), 1),
        (POST, "x".to_owned(), 29),
        (POST, "x".repeat(239), 1),
        (CHUNKED, "1\r\nx\r\n".to_owned(), 1),
        // Bytes of the framing are no progress.
        (CHUNKED, format!("1;a={}\r\nx\r\n", "y".repeat(240)), 1),
    ] {
        let mut peer = sent(head);
        let seconds = drip(&mut peer, &piece, every);
        assert!(
            (60..90).contains(&seconds),
            "{piece} each {every} s: {seconds} s"
        );
        peer.expect_refusal(Violation::BodyTooSlow, 408);
    }
}

#[test]
fn what_frames_a_body_may_not_drip_either() {
    // A chunk's size and its extensions, the end of a chunk, trailers.
    for front in [
        "",
        "5;a=",
        "5\r\nhello",
        "5\r\nhello\r\n",
        "0\r\n",
        "0\r\nx: ",
    ] {
        let mut peer = sent(format!("{CHUNKED}{front}"));
        let mut seconds = 0;
        let rest = match front {
            "5\r\nhello" => "\r\n5;a=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "" | "5\r\nhello\r\n" => "0000000005;a=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            _ => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        };
        for byte in rest.bytes() {
            if peer.closed {
                break;
            }
            peer.send([byte]);
            peer.wait(secs(1));
            seconds += 1;
        }
        assert_eq!(seconds, 30, "{front:?}");
        let told = |event: &Event| matches!(event, Event::Request { .. } | Event::Data { .. });
        peer.events.retain(|event| !told(event));
        peer.expect_refusal(Violation::BodyTimedOut, 408);
    }
}

#[test]
fn a_slow_honest_upload_comes_to_its_end() {
    // 2 KB a second, with half a minute of silence now and then.
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1440000\r\n\r\n");
    let (id, ..) = peer.expect_request();
    for second in 0..1000 {
        peer.wait(secs(1));
        if second % 100 < 72 {
            peer.send("x".repeat(2000));
            peer.expect_data("x".repeat(2000), second == 971);
            peer.stream(id).consume(2000);
        }
        peer.expect_nothing();
    }
    peer.respond(id, &ResponseHead::new(204), Body::Empty);
    peer.expect_alive();
}

#[test]
fn a_client_that_may_not_send_is_not_slow() {
    let mut config = Config::server();
    config.initial_window_size = 10;
    let mut peer = client_of(config);
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    let (id, ..) = peer.expect_request();
    for _ in 0..50 {
        peer.send("0123456789");
        peer.expect_data("0123456789", false);
        peer.wait(secs(100));
        peer.stream(id).consume(10);
        peer.wait(secs(20));
        peer.expect_nothing();
    }
    peer.wait(secs(10));
    peer.expect_refusal(Violation::BodyTimedOut, 408);
}

#[test]
fn a_least_rate_of_zero_is_none() {
    let mut config = Config::server();
    config.min_body_rate = 0;
    let mut peer = client_of(config);
    peer.send(POST);
    peer.expect_request();
    for _ in 0..100 {
        peer.send("x");
        peer.expect_data("x", false);
        peer.wait(secs(29));
    }
    peer.expect_alive();
}

#[test]
fn an_owner_may_wait_for_a_body_however_long_it_takes() {
    let mut peer = sent(POST);
    let (id, ..) = peer.expect_request();
    peer.stream(id).lift_body_timeout();
    for _ in 0..100 {
        peer.send("x");
        peer.expect_data("x", false);
        peer.wait(secs(100));
    }
    peer.expect_alive();
}

#[test]
fn the_rest_of_an_answered_request_is_read_for_a_while_and_no_longer() {
    // RFC 9112 §9.3: "A server MUST read the entire request message body or close the connection
    // after sending its response".
    for (head, piece) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n",
            "x",
        ),
        (CHUNKED, "1\r\nx\r\n"),
    ] {
        for lift in [false, true] {
            let mut peer = sent(head);
            let (id, ..) = peer.expect_request();
            if lift {
                peer.stream(id).lift_body_timeout();
            }
            peer.respond(id, &ResponseHead::new(403), Body::Empty);
            assert_eq!(drip(&mut peer, piece, 1), 5);
            peer.expect_sent("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(peer.expect_closed(), CloseReason::Graceful);
        }
    }
    // A client that ends in time goes on, and the next request has its own limits.
    let mut peer = sent("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    peer.answer("no");
    peer.wait(secs(4));
    peer.send(format!("0123456789{POST}"));
    let (id, ..) = peer.expect_request();
    peer.wait(secs(29));
    peer.expect_alive();
    peer.respond(id, &ResponseHead::new(403), Body::Empty);
    peer.wait(secs(4));
    peer.expect_alive();
    peer.wait(secs(1));
    assert_eq!(peer.expect_closed(), CloseReason::Graceful);
}

#[test]
fn an_answer_that_takes_its_time_is_waited_for() {
    // A long poll: the client waits for the owner.
    let mut peer = sent(GET);
    peer.wait(secs(600));
    peer.answer("news");
    peer.expect_alive();
}
