//! Signals.

use std::io::{Read, Write};
use std::net::TcpStream;

use tidegate_http::Body;

use crate::client::Client;
use crate::server::{PATIENCE, Server};

#[test]
fn without_connections_it_ends_at_once() {
    for signal in ["TERM", "INT", "QUIT"] {
        let server = Server::start(&[]);
        server.signal(signal);
        let (status, _, stderr) = server.ended();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(stderr.contains(&format!("SIG{signal}")), "{stderr}");
    }
}

#[test]
fn signals_for_files_end_nothing() {
    let server = Server::start(&[]);
    for signal in ["HUP", "USR1"] {
        server.signal(signal);
        server.wait_for(&format!("SIG{signal}: "));
    }
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
}

#[test]
fn idle_connections_are_told_and_closed() {
    let server = Server::start(&[]);
    let mut clients = [Client::tls(server.tls), Client::h2c(server.h2c)];
    for client in &mut clients {
        assert_eq!(client.get("/status").status(), 200);
    }
    server.signal("TERM");
    for client in &mut clients {
        client.closed();
        assert!(client.going_away);
    }
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn requests_in_progress_finish() {
    let server = Server::start(&[]);
    let mut client = Client::tls(server.tls);
    let upload = client.send("POST", "/upload", &[], Body::Stream);
    let echo = client.send("POST", "/echo", &[], Body::Stream);
    client.write(upload, "abc", false);
    client.write(echo, "abc", false);
    client.wait_until(|client| client.so_far(echo).text() == "abc");
    server.signal("TERM");
    client.wait_until(|client| client.going_away);
    client.write(upload, "def", true);
    client.write(echo, "def", true);
    assert!(client.response(upload).text().starts_with("{\"bytes\":6,"));
    assert_eq!(client.response(echo).text(), "abcdef");
    client.closed();
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn new_connections_are_not_taken_while_it_ends() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/echo", &[], Body::Stream);
    client.write(id, "abc", false);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    server.signal("TERM");
    client.wait_until(|client| client.going_away);
    assert!(TcpStream::connect(server.h2c.unwrap()).is_err());
    client.write(id, "", true);
    assert_eq!(client.response(id).status(), 200);
}

#[test]
fn what_takes_too_long_is_cut_off() {
    let server = Server::start(&["--shutdown-timeout", "50ms"]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/echo", &[], Body::Stream);
    client.write(id, "abc", false);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    server.signal("TERM");
    client.closed();
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let server = Server::start(&["--shutdown-timeout", "1h"]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/echo", &[], Body::Stream);
    client.write(id, "abc", false);
    client.wait_until(|client| client.so_far(id).text() == "abc");
    server.signal("INT");
    client.wait_until(|client| client.going_away);
    server.signal("INT");
    let (status, _, stderr) = server.ended();
    assert_eq!(status.code(), Some(130), "{stderr}");
    client.closed();
}

/// Before the listening sockets close, the server accepts the connections that wait in their
/// queues, and answers their requests.
#[test]
fn what_waits_to_be_accepted_is_answered() {
    let server = Server::start(&["--route", "/=status"]);
    server.freeze();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut clients: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut client = TcpStream::connect(server.h2c.unwrap()).unwrap();
            client.write_all(request).unwrap();
            client
        })
        .collect();
    server.signal("TERM");
    server.signal("CONT");
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
    assert_eq!(server.ended().0.code(), Some(0));
}

#[test]
fn sigquit_ends_gracefully_too() {
    let server = Server::start(&[]);
    server.signal("QUIT");
    assert_eq!(server.ended().0.code(), Some(0));
}
