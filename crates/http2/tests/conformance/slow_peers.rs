//! RFC 9113 §10.5: peers that are slow, on purpose or not. Every phase of a message has a limit
//! that a drip can't extend, and slow honest peers finish.

use bytes::Bytes;
use tidegate_http2::{Body, Config, ErrorCode, Event, ResetCause, Stream, Violation};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire::{self, GET};

use crate::support::{bytes, client, client_of, client_of_window, respond_streaming, secs, server};

/// Checks that the engine gave up the body of an unanswered request: it answered 408 and asked for
/// no more of it.
#[track_caller]
fn given_up(peer: &mut Peer, id: u32, violation: Violation) {
    let code = peer.expect_reset(id, ResetCause::Violation(violation));
    assert_eq!(code, ErrorCode::CANCEL);
    while !matches!(peer.frames.front(), Some(Received::Head(_)) | None) {
        peer.frames.pop_front();
    }
    let head = peer.expect_head(id);
    assert_eq!((head.status(), head.end), (408, true));
    peer.expect_rst(id, ErrorCode::NO_ERROR);
    peer.expect_alive();
}

/// Returns a request whose body is still to come.
fn uploading() -> Peer {
    let mut peer = client();
    peer.send(wire::post(1));
    peer.expect_request(1);
    peer
}

// --- Bodies ---

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    // RFC 9113 §10.5: slow POST: a body has 30 seconds for its next bytes.
    let mut peer = uploading();
    for _ in 0..3 {
        peer.wait(secs(29));
        peer.send(wire::data(1, bytes(10_000)));
        peer.expect_body(1);
    }
    peer.wait(secs(29));
    peer.expect_no_event();
    peer.wait(secs(1));
    given_up(&mut peer, 1, Violation::BodyTimedOut);
    // A response that has begun can't be taken back.
    let mut peer = uploading();
    respond_streaming(&mut peer, 1);
    peer.wait(secs(30));
    peer.stream_error(1, Violation::BodyTimedOut);
    // For a client: a response that stops. As long as it comes, it may be slow.
    let mut peer = server();
    peer.open_get();
    peer.frames.clear();
    peer.send(wire::headers(1, &[(":status", "200")]));
    peer.expect_response(1);
    for _ in 0..10 {
        peer.wait(secs(29));
        peer.send(wire::data(1, "x"));
        peer.expect_body(1);
    }
    peer.wait(secs(62));
    peer.stream_error(1, Violation::BodyTimedOut);
}

#[test]
fn only_bytes_are_progress_of_a_body() {
    // RFC 9113 §10.5, as above: an empty frame or one of padding alone is no piece of a body.
    for padding in [0, 200] {
        let mut peer = uploading();
        for _ in 0..5 {
            peer.wait(secs(5));
            peer.send(wire::data(1, "").padded(padding));
        }
        peer.expect_no_event();
        peer.wait(secs(5));
        given_up(&mut peer, 1, Violation::BodyTimedOut);
    }
}

#[test]
fn a_body_that_drips_is_not_waited_for() {
    // RFC 9113 §10.5, as above: 240 bytes per second over two periods of 30 seconds. Bytes that
    // came fast earlier buy no more time.
    for (first, each, len) in [(0, 1, 1), (0, 1, 239), (0, 29, 1), (3, 1, 1)] {
        let mut peer = uploading();
        peer.send_all((0..first).map(|_| wire::data(1, bytes(16_384))));
        let mut seconds = 0;
        while !peer
            .events
            .iter()
            .any(|event| matches!(event, Event::Reset { .. }))
        {
            peer.send(wire::data(1, bytes(len)));
            peer.wait(secs(each));
            seconds += each;
            assert!(seconds <= 90, "{len} bytes each {each} s are waited for");
        }
        assert!(seconds >= 60, "{len} bytes each {each} s: {seconds} s");
        peer.events
            .retain(|event| !matches!(event, Event::Data { .. }));
        given_up(&mut peer, 1, Violation::BodyTooSlow);
    }
}

#[test]
fn a_slow_honest_upload_comes_to_its_end() {
    // RFC 9113 §10.5, as above: 2 KB a second, as of a telephone far from its mast, with half a
    // minute in a tunnel now and then.
    let mut peer = uploading();
    let mut sent = 0;
    for second in 0..1000 {
        peer.wait(secs(1));
        if second % 100 < 72 {
            peer.send(wire::data(1, bytes(2000)));
            let (data, _) = peer.expect_body(1);
            sent += data.len();
            peer.stream(1, |stream| stream.consume(2000));
        }
        peer.expect_no_event();
    }
    assert_eq!(sent, 720 * 2000);
    peer.send(wire::data(1, "").end());
    assert_eq!(peer.expect_body(1), (Bytes::new(), true));
    peer.expect_alive();
}

#[test]
fn a_least_rate_of_zero_is_none() {
    let mut peer = client_of(|config| config.min_body_rate = 0);
    peer.send(wire::post(1));
    peer.expect_request(1);
    for _ in 0..100 {
        peer.wait(secs(29));
        peer.send(wire::data(1, "x"));
        peer.expect_body(1);
    }
    peer.expect_no_event();
}

#[test]
fn a_peer_without_window_is_not_slow() {
    // RFC 9113 §10.5: our owner doesn't consume. It is the peer's turn again when there is window.
    let mut peer = client_of_window(10);
    peer.send_all([wire::post(1), wire::data(1, "0123456789")]);
    peer.expect_request(1);
    for _ in 0..10 {
        peer.expect_body(1);
        peer.wait(secs(300));
        peer.expect_alive();
        peer.stream(1, |stream| stream.consume(10));
        peer.wait(secs(20));
        peer.expect_alive();
        peer.send(wire::data(1, "0123456789"));
    }
    peer.expect_body(1);
    peer.stream(1, |stream| stream.consume(10));
    peer.wait(secs(42));
    given_up(&mut peer, 1, Violation::BodyTimedOut);
}

#[test]
fn an_owner_may_wait_for_a_body_however_long_it_takes() {
    // A gRPC call may be silent for long, or send little.
    let mut peer = client();
    peer.send_all([wire::post(1), wire::post(3)]);
    peer.expect_request(1);
    peer.expect_request(3);
    peer.stream(1, |stream| {
        stream.lift_body_timeout();
    });
    peer.wait(secs(3600));
    given_up(&mut peer, 3, Violation::BodyTimedOut);
    for _ in 0..100 {
        peer.wait(secs(10));
        peer.send(wire::data(1, "x"));
        assert_eq!(peer.expect_body(1), (bytes(1), false));
    }
    peer.expect_alive();
}

#[test]
fn who_asks_for_a_tunnel_has_nothing_to_say_yet() {
    // RFC 9113 §8.5: data go through a tunnel once it is granted. Until then the engine waits for
    // the owner.
    let mut peer = client();
    peer.send(wire::headers(
        1,
        &[(":method", "CONNECT"), (":authority", "a:1")],
    ));
    peer.expect_request(1);
    peer.wait(secs(3600));
    peer.expect_no_event();
    // A refused CONNECT is a request like any other.
    respond_with_status(&mut peer, 1, 407);
    peer.frames.clear();
    peer.wait(secs(62));
    peer.stream_error(1, Violation::BodyTimedOut);
}

/// Has the owner answer with a body that it will be asked for.
fn respond_with_status(peer: &mut Peer, id: u32, status: u16) {
    peer.stream(id, |stream| {
        stream
            .respond(&tidegate_http2::ResponseHead::new(status), Body::Stream)
            .expect("the engine takes the response");
    });
}

#[test]
fn the_rest_of_an_answered_request_is_read_for_a_while_and_no_longer() {
    // RFC 9113 §8.1: a server that has answered in full may ask for no more with NO_ERROR; a drip
    // doesn't delay that.
    let mut peer = uploading();
    peer.respond(1, 200, "");
    peer.expect_head(1);
    for _ in 0..4 {
        peer.wait(secs(1));
        peer.send(wire::data(1, "x"));
        peer.expect_silence();
    }
    peer.wait(secs(1));
    peer.expect_rst(1, ErrorCode::NO_ERROR);
    assert_eq!(peer.engine.active_streams(), 0);
    peer.expect_no_event();
    // A client that ends in time notices nothing, and each request has its own time.
    let mut peer = client();
    peer.send(wire::post(1));
    peer.respond(1, 200, "");
    peer.wait(secs(3));
    peer.send(wire::post(3));
    peer.respond(3, 200, "");
    peer.wait(secs(1));
    peer.send(wire::data(1, "x").end());
    peer.wait(secs(3));
    peer.send(wire::data(3, "x"));
    peer.frames.clear();
    peer.expect_alive();
    peer.wait(secs(1));
    peer.expect_rst(3, ErrorCode::NO_ERROR);
}

// --- Header blocks ---

#[test]
fn a_frame_of_a_header_block_may_not_drip_either() {
    // RFC 9113 §10.5: slow headers: a block has 10 seconds from its first bytes on, in one frame or
    // in several.
    let first = wire::get(1).unfinished();
    let block = wire::block(GET);
    let (front, back) = block.split_at(2);
    for frames in [
        vec![wire::get(1)],
        vec![first, wire::continuation(1, [])],
        vec![
            wire::headers_block(1, front).end().unfinished(),
            wire::continuation(1, back),
        ],
    ] {
        let all: Vec<u8> = frames
            .into_iter()
            .flat_map(|frame| frame.to_bytes())
            .collect();
        let mut peer = client();
        let mut seconds = 0;
        for byte in &all[..all.len() - 1] {
            peer.send_bytes(&[*byte]);
            if peer.is_closed() {
                break;
            }
            peer.wait(secs(1));
            seconds += 1;
        }
        assert!(seconds < 21, "{seconds} s");
        peer.connection_error(Violation::HeaderBlockTimedOut);
    }
}

#[test]
fn blocks_that_come_in_pieces_have_their_time_each() {
    // RFC 9113 §10.5, as above. The cuts of reads are no sign of slowness: each read may end within
    // a frame.
    let mut peer = client();
    let frame = wire::get(1).to_bytes();
    let mut id = 1;
    let mut left = 0;
    for _ in 0..40 {
        // The rest of one frame and the front of the next.
        let mut bytes = wire::get(id).to_bytes()[left..].to_vec();
        id += 2;
        bytes.extend_from_slice(&wire::get(id).to_bytes()[..12]);
        left = 12;
        peer.send_bytes(&bytes);
        peer.respond(id - 2, 204, "");
        peer.wait(secs(9));
    }
    assert!(frame.len() > 12);
    assert!(!peer.is_closed());
    // Nor does the time of a malformed block count for the next.
    let mut peer = client();
    let bad = wire::headers_block(1, [0xff])
        .claim_padding(9, 0)
        .to_bytes();
    peer.send_bytes(&bad[..10]);
    peer.wait(secs(9));
    peer.send_bytes(&bad[10..]);
    peer.wait(secs(9));
    if !peer.is_closed() {
        peer.frames.clear();
        peer.expect_alive();
    }
}

// --- Readers ---

#[test]
fn a_response_that_nobody_reads_is_not_kept() {
    // RFC 9113 §10.5: slow read: 30 seconds without 16 KiB of progress while data is ready.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 10)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(100_000));
    peer.expect_request(1);
    for _ in 0..5 {
        peer.wait(secs(5));
        peer.send(wire::window_update(1, 1));
    }
    assert_eq!(peer.engine.active_streams(), 1);
    assert_eq!(peer.engine.stalled_streams(), 1);
    peer.wait(secs(40));
    peer.stream_error(1, Violation::WriteTimedOut);
    assert_eq!(peer.engine.active_streams(), 0);
    assert_eq!(peer.engine.stalled_streams(), 0);
    let stats = peer.engine.stats();
    assert_eq!((stats.stream_stalls, stats.connection_stalled), (1, 0));
    let stalled = stats.stream_stalled;
    assert!((30_000_000..66_000_000).contains(&stalled), "{stalled}");
}

#[test]
fn streams_that_are_gone_are_no_longer_held_up() {
    // RFC 9113 §6.9: the owner resets one response, and the connection ends with another.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 10)]);
    peer.send_all([wire::get(1), wire::get(3)]);
    peer.respond(1, 200, bytes(100));
    peer.respond(3, 200, bytes(100));
    assert_eq!(peer.engine.stalled_streams(), 2);
    peer.wait(secs(5));
    peer.stream(1, |stream| stream.reset(ErrorCode::CANCEL));
    assert_eq!(peer.engine.stalled_streams(), 1);
    assert_eq!(peer.engine.stats().stream_stalled, 5_000_000);
    peer.wait(secs(5));
    let now = peer.now;
    peer.engine.receive_eof(now);
    assert_eq!(peer.engine.stalled_streams(), 0);
    assert_eq!(peer.engine.stats().stream_stalled, 15_000_000);
}

#[test]
fn a_reader_that_gets_on_is_not_slow() {
    // RFC 9113 §10.5, as above: 20 KB every 20 seconds are slow, but progress.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 0)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(100_000));
    peer.expect_request(1);
    for _ in 0..5 {
        peer.wait(secs(20));
        peer.send_all([
            wire::window_update(1, 20_000),
            wire::window_update(0, 20_000),
        ]);
    }
    peer.expect_no_event();
    assert_eq!(peer.take_body(1), (bytes(100_000).to_vec(), true));
}

#[test]
fn an_owner_without_data_is_no_slow_reader() {
    // RFC 9113 §10.5: with the window open, the peer isn't the cause of the delay.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.expect_request(1);
    respond_streaming(&mut peer, 1);
    peer.wait(secs(600));
    assert!(matches!(peer.next_event(), Some(Event::Writable { .. })));
    peer.expect_no_event();
    peer.stream(1, |stream| {
        stream.write(&mut Bytes::from_static(b"at last"), true)
    });
    peer.expect_head(1);
    assert_eq!(peer.expect_data(1), (Bytes::from("at last"), true));
}

#[test]
fn a_connection_window_that_stays_shut_ends_the_connection() {
    // RFC 9113 §10.5: slow read of all streams at once.
    let mut peer = client();
    peer.send_all([wire::get(1), wire::get(3)]);
    peer.respond(1, 200, bytes(65_535));
    peer.respond(3, 200, "blocked");
    peer.wait(secs(29));
    assert!(!peer.is_closed());
    peer.wait(secs(2));
    peer.connection_error(Violation::ConnectionWindowStalled);
    let stats = peer.engine.stats();
    assert_eq!(stats.stream_stalls, 0);
    assert!((30_000_000..32_000_000).contains(&stats.connection_stalled));
}

#[test]
fn a_stall_ends_with_the_streams_that_it_held_up() {
    // RFC 9113 §6.9: a client that cancels the streams that used up its window owes no
    // WINDOW_UPDATE while nothing else waits.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, bytes(100_000));
    peer.wait(secs(10));
    peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
    peer.wait(secs(300));
    assert!(!peer.is_closed());
    // The time starts again for the next one.
    peer.send(wire::get(3));
    peer.respond(3, 200, "blocked");
    peer.wait(secs(29));
    assert!(!peer.is_closed());
    peer.send(wire::window_update(0, 100));
    peer.wait(secs(29));
    peer.frames.clear();
    peer.expect_alive();
}

#[test]
fn credit_without_bytes_keeps_no_connection() {
    // RFC 9113 §10.5, CVE-2016-1546: bytes sent count, for all streams of a connection together.
    for credit in [0, 1, 100] {
        let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
        for id in [1, 3, 5] {
            peer.send(wire::get(id));
            peer.respond(id, 200, bytes(100_000));
        }
        let mut seconds = 0;
        while !peer.is_closed() {
            if credit > 0 {
                peer.send(wire::window_update(0, credit));
            }
            peer.wait(secs(1));
            seconds += 1;
            assert!(seconds <= 61, "{credit} bytes a second are enough");
        }
        peer.connection_error(Violation::ConnectionWindowStalled);
    }
}

#[test]
fn a_slow_honest_reader_comes_to_its_end() {
    // RFC 9113 §10.5, as above: 2 KB a second of four pages at once, limited by the connection's
    // window.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
    for id in [1, 3, 5, 7] {
        peer.send(wire::get(id));
        peer.respond(id, 200, bytes(100_000));
    }
    for _ in 0..200 {
        peer.wait(secs(1));
        peer.send(wire::window_update(0, 2000));
    }
    assert!(!peer.is_closed());
    for id in [1, 3, 5, 7] {
        assert_eq!(peer.take_body(id), (bytes(100_000).to_vec(), true), "{id}");
    }
}

#[test]
fn windows_that_take_turns_keep_nothing() {
    // RFC 9113 §10.5, as above: the connection's window and, by SETTINGS, those of the streams are
    // shut alternately.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1 << 20)]);
    let ids = [1, 3, 5, 7];
    for id in ids {
        peer.send(wire::get(id));
        peer.respond(id, 200, bytes(100_000));
    }
    let mut seconds = 0;
    while !peer.is_closed() && peer.engine.active_streams() > 0 {
        let window = [0, 1 << 20][usize::from(seconds % 14 == 0)];
        peer.send_all([wire::settings(&[(0x4, window)]), wire::window_update(0, 1)]);
        peer.wait(secs(7));
        seconds += 7;
        assert!(
            seconds <= 100,
            "{} streams are kept",
            peer.engine.active_streams()
        );
    }
}

#[test]
fn a_stall_that_is_over_costs_nothing_later() {
    // RFC 9113 §10.5, as above: each message has its own time, and bytes that the owner hasn't sent
    // yet are not held up by the peer.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 100)]);
    peer.send(wire::get(1));
    respond_streaming(&mut peer, 1);
    let write = |peer: &mut Peer| {
        let mut data = bytes(150);
        peer.stream(1, |stream| stream.write(&mut data, false));
        data.len()
    };
    for _ in 0..100 {
        assert_eq!(write(&mut peer), 50);
        peer.wait(secs(1));
        peer.send_all([wire::window_update(1, 100), wire::window_update(0, 100)]);
        peer.wait(secs(40));
        peer.events.clear();
        peer.frames.clear();
        let mut rest = bytes(50);
        peer.stream(1, |stream| stream.write(&mut rest, false));
        peer.send_all([wire::window_update(1, 50), wire::window_update(0, 50)]);
    }
    assert_eq!(peer.engine.active_streams(), 1);
}

#[test]
fn an_answer_that_takes_its_time_and_a_silent_call_are_waited_for() {
    // RFC 9113 §10.5: nobody is slow here: a long poll, and a gRPC call whose ends are both silent
    // for an hour.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.expect_request(1);
    peer.send(wire::post(3));
    peer.expect_request(3);
    peer.stream(3, |stream| {
        stream.lift_body_timeout();
    });
    respond_streaming(&mut peer, 3);
    peer.wait(secs(60));
    peer.respond(1, 200, "news");
    peer.wait(secs(3600));
    peer.events.clear();
    peer.stream(3, |stream| {
        stream.write(&mut Bytes::from_static(b"at last"), true)
    });
    assert_eq!(peer.take_body(1), (b"news".to_vec(), true));
    assert_eq!(peer.take_body(3), (b"at last".to_vec(), true));
    assert_eq!(peer.engine.active_streams(), 1);
}
