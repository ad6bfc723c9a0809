//! The examples answer as they say.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tidegate_net::http::Config;
use tidegate_net::{EventLoop, Listener, Options, Security, Service};

#[path = "../examples/later.rs"]
#[expect(dead_code, reason = "its main")]
mod later;
#[path = "../examples/service.rs"]
#[expect(dead_code, reason = "its main")]
mod service;
#[path = "../examples/streaming.rs"]
#[expect(dead_code, reason = "its main")]
mod streaming;
#[path = "../examples/upload.rs"]
#[expect(dead_code, reason = "its main")]
mod upload;

/// Returns all that a service sends for this request of HTTP/1.1, until the connection ends.
fn ask<S: Service + Send + 'static>(service: S, request: &str) -> String {
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), Security::Plain).unwrap();
    let addr = listener.local_addr();
    let options = Options::new(Config::server().build().unwrap());
    let event_loop = EventLoop::new(vec![listener], options, service).unwrap();
    let mailbox = event_loop.mailbox();
    let worker = thread::spawn(move || event_loop.run().map(|_| ()));

    let mut client = TcpStream::connect(addr).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = String::new();
    client.write_all(request.as_bytes()).unwrap();
    client.read_to_string(&mut answer).unwrap();
    mailbox.stop();
    worker.join().unwrap().unwrap();
    answer
}

#[test]
fn a_service_greets() {
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = ask(service::Hello, request);
    assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer}");
}

#[test]
fn a_streamed_response_is_complete_and_ends_with_trailers() {
    let request = "GET / HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close, te\r\n\r\n";
    let answer = ask(streaming::Lines::default(), request);
    assert!(answer.starts_with("HTTP/1.1 200"));
    assert!(answer.contains("line 1\nline 2\n"));
    assert!(answer.ends_with("\r\n0\r\nlines: 100000\r\n\r\n"));
    assert!(answer.contains(&format!("line {}\n\r\n0\r\n", streaming::LINES)));
}

#[test]
fn an_answer_comes_later_from_a_thread() {
    let request = "GET /abc HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = ask(later::Later::default(), request);
    assert!(answer.ends_with("\r\n\r\ncba/"), "{answer}");
}

#[test]
fn an_upload_larger_than_its_credit_arrives_whole() {
    let body = "a line\n".repeat(1_000_000);
    let request = format!(
        "PUT / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = ask(upload::Upload::default(), &request);
    assert!(answer.ends_with("\r\n\r\n1000000 lines\n"), "{answer}");
}
