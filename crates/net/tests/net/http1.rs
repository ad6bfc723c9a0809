//! HTTP/1.x, with and without TLS: the same service as for HTTP/2.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tidegate_http::Config;
use tidegate_net::Options;

use crate::common::{Message, Note, Worker, expect, pattern};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn rest(stream: &mut impl Read) -> io::Result<String> {
    let mut text = String::new();
    stream.read_to_string(&mut text).map(|_| text)
}

/// Starts a worker whose engines have other time limits.
fn impatient(change: impl FnOnce(&mut Config)) -> Worker {
    Worker::start(false, |options: &mut Options| {
        let mut config = Config::server();
        change(&mut config);
        options.engine = config.build().unwrap();
    })
}

#[test]
fn a_pipeline_is_answered_in_order_on_one_connection() {
    // RFC 9112 §9.3.2: "it MUST send the corresponding responses in the same order that the
    // requests were received."
    let worker = Worker::plain();
    let mut stream = worker.connect();
    let pipeline = [
        get("/hello"),
        get("/big/1000000"),
        get("/hello"),
        get("/big/3"),
    ]
    .concat();
    stream.write_all(pipeline.as_bytes()).unwrap();
    expect(&mut stream, HELLO);
    expect(
        &mut stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n",
    );
    expect(&mut stream, pattern(1_000_000));
    expect(&mut stream, HELLO);
    expect(
        &mut stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\x00\x01\x02",
    );
    let totals = worker.totals();
    assert_eq!(
        (totals.http1, totals.engines.requests, totals.reused),
        (1, 4, 1)
    );
    drop(stream);
    assert_eq!(worker.wait_closed(), "closed by the peer");
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let worker = Worker::plain();
    let mut stream = worker.connect();
    stream.set_nodelay(true).unwrap();
    for byte in ["\r\n", &get("/hello")].concat().bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    expect(&mut stream, HELLO);
}

#[test]
fn both_protocols_on_both_ports() {
    // RFC 7301 §3.2 for TLS. Without TLS or ALPN, no request begins like HTTP/2's preface.
    for (tls, alpn) in [(false, &[][..]), (true, &["http/1.1"]), (true, &[])] {
        let worker = Worker::start(tls, |_| {});
        let request = "GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = if tls {
            let config = Arc::new(worker.client_config(alpn));
            let mut stream = worker.connect_tls(&config);
            stream.write_all(request.as_bytes()).unwrap();
            // This fails unless the server ends with close_notify.
            rest(&mut stream)
        } else {
            let mut stream = worker.connect();
            stream.write_all(request.as_bytes()).unwrap();
            rest(&mut stream)
        };
        let expected = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
        assert_eq!(answer.unwrap(), expected);
        assert_eq!(worker.wait_closed(), "graceful end");
        assert_eq!(worker.totals().http1, 1);
    }
}

#[test]
fn uploads_by_length_and_in_chunks() {
    let worker = Worker::plain();
    let mut stream = worker.connect();
    let bytes = vec![b'x'; 1_000_000];
    let head = "POST /upload HTTP/1.1\r\nHost: a\r\n";
    stream
        .write_all(format!("{head}Content-Length: 1000000\r\n\r\n").as_bytes())
        .unwrap();
    stream.write_all(&bytes).unwrap();
    expect(
        &mut stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n1000000",
    );
    stream
        .write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
        .unwrap();
    for chunk in bytes.chunks(10_000) {
        stream
            .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    expect(
        &mut stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n1000000",
    );
}

#[test]
fn an_upload_that_is_answered_early_loses_nothing() {
    // RFC 9112 §9.6: closing in order so that "the client … [can] read the response".
    let worker = Worker::plain();
    let mut stream = worker.connect();
    let head = "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&[b'x'; 300_000]).unwrap();
    stream.write_all(get("/big/1").as_bytes()).unwrap();
    expect(&mut stream, HELLO);
    expect(
        &mut stream,
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\0",
    );
}

#[test]
fn what_is_wrong_is_told_and_ends_the_connection() {
    let worker = Worker::plain();
    for (bytes, status, why) in [
        (
            "GET  /hello HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "RequestLineInvalid (RFC 9112 §3)",
        ),
        (
            "GET /hello HTTP/1.1\nHost: a\n\n",
            400,
            "LineEndInvalid (RFC 9112 §2.2)",
        ),
        (
            "GET /hello HTTP/1.1\r\n\r\n",
            400,
            "HostMissing (RFC 9112 §3.2)",
        ),
        (
            "GET /hello HTTP/3.0\r\nHost: a\r\n\r\n",
            505,
            "HttpVersionUnsupported (RFC 9112 §2.3)",
        ),
        (
            "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /big/9 HTTP/1.1\r\nHost: a\r\n\r\n",
            400,
            "ContentLengthWithTransferEncoding (RFC 9112 §6.1)",
        ),
    ] {
        let mut stream = worker.connect();
        stream.write_all(bytes.as_bytes()).unwrap();
        let answer = rest(&mut stream).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(
            answer.ends_with("content-length: 0\r\nconnection: close\r\n\r\n"),
            "{answer}"
        );
        assert_eq!(worker.wait_closed(), why);
    }
}

#[test]
fn a_client_that_has_sent_all_may_end_its_side() {
    let worker = Worker::plain();
    let mut stream = worker.connect();
    stream
        .write_all([get("/hold"), get("/hello")].concat().as_bytes())
        .unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    assert!(worker.mailbox.send(Message::Release));
    let answer = rest(&mut stream).unwrap();
    assert_eq!(
        answer,
        format!("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nreleased{HELLO}")
    );
    assert_eq!(worker.wait_closed(), "closed by the peer");
}

#[test]
fn a_graceful_end_answers_what_was_asked() {
    let worker = Worker::plain();
    let mut idle = worker.connect();
    idle.write_all(get("/hello").as_bytes()).unwrap();
    expect(&mut idle, HELLO);
    let mut stream = worker.connect();
    stream.write_all(get("/hold").as_bytes()).unwrap();
    worker.wait_for(|note| matches!(note, Note::Held).then_some(()));
    worker.mailbox.shut_down();
    assert_eq!(rest(&mut idle).unwrap(), "");
    assert!(worker.mailbox.send(Message::Release));
    let answer = rest(&mut stream).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ncontent-length: 8\r\nconnection: close\r\n\r\nreleased"
    );
    drop((idle, stream));
    worker.join();
}

#[test]
fn a_response_that_is_cut_off_is_never_taken_for_whole() {
    // RFC 9112 §8: a chunked message is incomplete without its last chunk.
    let worker = Worker::plain();
    let mut stream = worker.connect();
    stream.write_all(get("/cut").as_bytes()).unwrap();
    let answer = rest(&mut stream).unwrap();
    assert_eq!(
        answer,
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"
    );
    // "A response that has neither chunked transfer coding nor Content-Length is terminated by
    // closure of the connection and, if the header section was received intact, is considered
    // complete unless an error was indicated by the underlying connection".
    let mut stream = worker.connect();
    stream.write_all(b"GET /cut HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(
        rest(&mut stream).unwrap_err().kind(),
        ErrorKind::ConnectionReset
    );
    let worker = Worker::tls();
    let config = Arc::new(worker.client_config(&["http/1.1"]));
    let mut stream = worker.connect_tls(&config);
    stream.write_all(b"GET /cut HTTP/1.0\r\n\r\n").unwrap();
    let error = rest(&mut stream).unwrap_err().kind();
    assert!(
        matches!(error, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
        "{error}"
    );
}

#[test]
fn time_limits() {
    let soon = Duration::from_millis(50);
    let worker = impatient(|config| config.timeouts.header_block = soon);
    let mut stream = worker.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    assert!(rest(&mut stream).unwrap().starts_with("HTTP/1.1 408 "));
    assert!(worker.wait_closed().starts_with("HeaderBlockTimedOut"));
    let worker = impatient(|config| config.timeouts.body = soon);
    let mut stream = worker.connect();
    stream
        .write_all(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    assert!(rest(&mut stream).unwrap().starts_with("HTTP/1.1 408 "));
    assert!(worker.wait_closed().starts_with("BodyTimedOut"));
    let worker = impatient(|config| config.timeouts.idle = soon);
    let mut stream = worker.connect();
    stream.write_all(get("/hello").as_bytes()).unwrap();
    assert_eq!(rest(&mut stream).unwrap(), HELLO);
    assert_eq!(worker.wait_closed(), "idle timeout");
}
