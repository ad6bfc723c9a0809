//! HTTP/2 over cleartext TCP with prior knowledge (RFC 9113 §3.3), and other input on such a port.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::common::{Client, Message, Note, PATIENCE, Trickle, Worker, limit_connections, pattern};
use socket2::SockRef;
use tidegate_http::{Body, ErrorCode, Stream};

#[test]
fn answers_requests() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    for _ in 0..3 {
        let response = client.get("/hello");
        assert_eq!((response.status, &response.body[..]), (200, &b"hello"[..]));
    }
    let totals = worker.totals();
    assert_eq!((totals.accepted, totals.open), (1, 1));
    assert_eq!((totals.engines.requests, totals.reused), (3, 1));
    assert_eq!(totals.bytes_received, totals.engines.bytes_in);
    assert!(totals.bytes_sent > 0);
    drop(client);
    worker.wait_closed();
    let totals = worker.totals();
    assert_eq!((totals.open, totals.closed), (0, 1));
    assert_eq!((totals.engines.requests, totals.reused), (3, 1));
}

#[test]
fn a_request_that_comes_byte_by_byte_is_answered() {
    let worker = Worker::plain();
    let mut client = Client::new(Trickle::new(worker.connect(), 1));
    assert_eq!(client.get("/hello").body, b"hello");
}

#[test]
fn large_bodies_come_whole_in_both_directions() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    for len in [0, 1, 16_383, 16_384, 16_385, 65_535, 5_000_000] {
        let response = client.get(&format!("/big/{len}"));
        assert!(response.body == pattern(len), "{len} bytes down");
        let id = client.open("POST", "/upload", Body::Full(pattern(len)));
        let response = client.finish(id);
        assert_eq!(response.body, len.to_string().as_bytes(), "{len} bytes up");
    }
}

#[test]
fn a_client_that_reads_late_gets_everything() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    // More than the sockets hold, so that the worker has to wait for the client, several times.
    let ids: Vec<_> = (0..8)
        .map(|_| client.open("GET", "/big/1000000", Body::Empty))
        .collect();
    client.flush();
    // Once another client is served, the worker has handled the first one's requests.
    assert_eq!(Client::new(worker.connect()).get("/hello").body, b"hello");
    for id in ids {
        assert!(client.finish(id).body == pattern(1_000_000));
    }
}

#[test]
fn what_is_urgent_overtakes_bulk() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    SockRef::from(&client.driver.io)
        .set_recv_buffer_size(64 << 10)
        .unwrap();
    crate::common::urgent_overtakes_bulk(&worker, &mut client, || {
        Client::new(worker.connect()).get("/hello");
    });
}

#[test]
fn an_upload_does_not_starve_others() {
    let worker = Worker::plain();
    let addr = worker.addr;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (began, has_begun) = std::sync::mpsc::channel();
    let uploader = std::thread::spawn(move || {
        let stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client::new(stream);
        let mut uploads = 0;
        while stopped.try_recv().is_err() {
            let id = client.open("POST", "/upload", Body::Full(pattern(1 << 20)));
            client.finish(id);
            uploads += 1;
            if uploads == 1 {
                began.send(()).unwrap();
            }
        }
        uploads
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    let mut client = Client::new(worker.connect());
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(client.get("/hello").body, b"hello");
    }
    assert!(started.elapsed() < PATIENCE);
    stop.send(()).unwrap();
    assert!(uploader.join().unwrap() > 0);
}

#[test]
fn a_peer_that_stops_reading_is_let_go() {
    let worker = Worker::start(false, |options| {
        options.write_timeout = Duration::from_millis(200);
    });
    let mut client = Client::new(worker.connect());
    for _ in 0..8 {
        client.open("GET", "/big/4000000", Body::Empty);
    }
    client.flush();
    let why = worker.wait_closed();
    assert!(why.contains("stopped reading"), "{why}");
}

#[test]
fn a_peer_that_says_nothing_is_let_go() {
    let worker = Worker::start(false, |options| {
        options.handshake_timeout = Duration::from_millis(100);
    });
    let mut stream = worker.connect();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert!(bytes.is_empty());
    drop(stream);
    assert_eq!(worker.wait_closed(), "handshake timed out");
    assert_eq!(worker.totals().handshake_failures, 1);
}

/// Returns what the server sends in answer to these bytes, until it closes.
fn answer_to(worker: &Worker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = worker.connect();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn what_is_neither_is_answered_by_goaway() {
    let worker = Worker::plain();
    for garbage in [
        &b"INVALID CONNECTION PREFACE\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let answer = answer_to(&worker, garbage);
        // RFC 9113 §3.4: "Clients and servers MUST treat an invalid connection preface as a
        // connection error of type PROTOCOL_ERROR". The last frame is a GOAWAY: kind 7, then last
        // stream id and code.
        let goaway = answer
            .windows(17)
            .any(|frame| frame[3..9] == [7, 0, 0, 0, 0, 0] && frame[13..17] == [0, 0, 0, 1]);
        assert!(goaway, "{}", answer.escape_ascii());
    }
}

#[test]
fn a_graceful_end_lets_requests_finish() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    let held = client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    let idle = worker.connect();
    worker.mailbox.shut_down();
    // The listener is gone once the loop has read the command, and its counters come after that.
    worker.totals();
    assert!(std::net::TcpStream::connect(worker.addr).is_err());
    worker.mailbox.send(Message::Release);
    assert_eq!(client.finish(held).body, b"released");
    while !client.closed {
        client.flush();
        client.read_once();
    }
    drop((idle, client));
    worker.join();
}

#[test]
fn a_graceful_end_does_not_wait_forever() {
    let worker = Worker::start(false, |options| {
        options.shutdown_timeout = Duration::from_millis(200);
    });
    let mut client = Client::new(worker.connect());
    client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    let started = Instant::now();
    worker.mailbox.shut_down();
    worker.join();
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[test]
fn stop_ends_at_once() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    let mailbox = worker.mailbox.clone();
    mailbox.stop();
    worker.join();
    assert!(!mailbox.send(Message::Release));
}

#[test]
fn no_more_connections_than_allowed() {
    let worker = Worker::start(false, |options| limit_connections(options, 1));
    let mut client = Client::new(worker.connect());
    client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    let mut refused = worker.connect();
    let mut bytes = Vec::new();
    // An end or a reset, whichever comes first.
    let _ = refused.read_to_end(&mut bytes);
    assert!(bytes.is_empty());
    assert_eq!(worker.totals().refused, 1);
    worker.mailbox.send(Message::Release);
    assert_eq!(client.get("/hello").body, b"hello");
}

#[test]
fn a_client_that_leaves_in_the_middle_is_noted() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    client.driver.io.shutdown(Shutdown::Both).unwrap();
    let why = worker.wait_closed();
    assert!(why.contains("in the middle"), "{why}");
    // The service's answer comes too late and goes nowhere.
    worker.mailbox.send(Message::Release);
    assert_eq!(worker.totals().open, 0);
}

#[test]
fn a_reset_frees_the_stream() {
    let worker = Worker::plain();
    let mut client = Client::new(worker.connect());
    let id = client.open("GET", "/hold", Body::Empty);
    client.flush();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    client
        .driver
        .engine
        .stream(id)
        .unwrap()
        .reset(ErrorCode::CANCEL);
    assert_eq!(client.get("/hello").body, b"hello");
    assert_eq!(worker.totals().active_streams, 0);
}
