//! The admin listener: who may ask, health, reloads and processes that take over.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::Client;
use crate::server::{PATIENCE, Server};
use crate::takeover::Successor;

/// Returns the address of the admin listener, as the server has written it.
pub(crate) fn address(server: &Server) -> SocketAddr {
    let mut lines = server.banner.lines();
    let line = lines.find(|line| line.contains("admin:")).unwrap();
    url(line.split_whitespace().next().unwrap())
}

fn url(text: &str) -> SocketAddr {
    let text = text.trim_start_matches("http://").trim_end_matches('/');
    text.parse().unwrap()
}

/// Sends a request of HTTP/1.1 and returns the whole answer.
fn exchange(mut socket: impl Read + Write, line: &str, host: &str) -> std::io::Result<String> {
    write!(
        socket,
        "{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends these bytes and returns everything that comes back.
pub(crate) fn raw(addr: SocketAddr, text: &str) -> String {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    // The server may reset what it hasn't read.
    let _ = socket.read_to_string(&mut answer);
    answer
}

/// Returns the answer to a GET with the listener's own address as its host.
pub(crate) fn get(addr: SocketAddr, path: &str) -> String {
    ask(addr, &format!("GET {path}"), &addr.to_string())
}

fn ask(addr: SocketAddr, line: &str, host: &str) -> String {
    exchange(TcpStream::connect(addr).unwrap(), line, host).unwrap()
}

/// Waits until a path of the listener has this status. A listener that changes places may close a
/// connection without an answer.
fn wait_for(addr: SocketAddr, path: &str, status: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = TcpStream::connect(addr)
            .and_then(|socket| exchange(socket, &format!("GET {path}"), "localhost"));
        if answer.as_ref().is_ok_and(|answer| answer.contains(status)) {
            return;
        }
        assert!(Instant::now() < deadline, "{path}: {answer:?}");
        std::thread::yield_now();
    }
}

fn configuration(dir: &TempDir, text: &str) -> String {
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn operators_are_answered_in_both_protocols_and_strangers_are_not() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--admin-name", "tide.example"]);
    let admin = address(&server);
    let answer = get(admin, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    let mut client = Client::h2c(Some(admin));
    assert_eq!(client.get("/readyz").text(), "ready\n");
    let status = |line: &str, host: &str| {
        let answer = ask(admin, line, host);
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (line, host, expected) in [
        ("GET /healthz?verbose", "localhost", "200"),
        ("HEAD /healthz", "[::1]:80", "200"),
        ("GET /healthz", "tide.example:9090", "200"),
        ("GET /healthz", "evil.example", "421"),
        ("GET /nothing", "evil.example", "421"),
        ("GET /nothing", "localhost", "404"),
        ("POST /healthz", "localhost", "405"),
    ] {
        assert_eq!(status(line, host), expected, "{line} of {host}");
    }
    assert!(ask(admin, "PUT /readyz", "localhost").contains("\r\nallow: GET, HEAD\r\n"));
    // The public ports have none of it.
    assert_eq!(Client::h2c(server.h2c).get("/healthz").status(), 404);
}

#[test]
fn a_server_that_finishes_its_requests_is_not_ready() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let admin = address(&server);
    let mut client = Client::h2c(server.h2c);
    let echo = client.send("POST", "/echo", &[], Body::Stream);
    client.write(echo, "abc", false);
    client.wait_until(|client| client.so_far(echo).text() == "abc");
    wait_for(admin, "/readyz", " 200 ");
    server.signal("TERM");
    wait_for(admin, "/readyz", " 503 ");
    assert!(get(admin, "/healthz").contains(" 200 "));
    client.write(echo, "def", true);
    assert_eq!(client.response(echo).text(), "abcdef");
    let (status, ..) = server.ended();
    assert_eq!(status.code(), Some(0));
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn a_reload_moves_the_listener_or_takes_it_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = configuration(&dir, "admin = '127.0.0.1:0'\n");
    let server = Server::start(&["--config", &file]);
    let admin = address(&server);
    assert!(ask(admin, "GET /healthz", "tide.example").contains(" 421 "));
    configuration(
        &dir,
        "admin = '127.0.0.1:0'\nadmin-name = ['tide.example']\n",
    );
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded ", 1);
    assert!(ask(admin, "GET /healthz", "tide.example").contains(" 200 "));

    let socket = dir.path().join("admin.sock");
    let unix = format!("admin = 'unix:{}'\n", socket.display());
    configuration(&dir, &unix);
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded ", 2);
    assert!(TcpStream::connect(admin).is_err());
    let answer = exchange(
        UnixStream::connect(&socket).unwrap(),
        "GET /healthz",
        "unix",
    );
    assert!(answer.unwrap().ends_with("\r\n\r\nok\n"));

    configuration(&dir, "admin = '0.0.0.0:0'\n");
    server.signal("HUP");
    server.wait_for("add --admin-public");
    assert!(UnixStream::connect(&socket).is_ok());

    configuration(&dir, "");
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded ", 3);
    assert!(!socket.exists());

    configuration(&dir, "admin = '127.0.0.1:0'\n");
    server.signal("HUP");
    let line = server.line("the admin listener is on http");
    let admin = url(line.split_whitespace().last().unwrap());
    wait_for(admin, "/healthz", " 200 ");
}

#[test]
fn a_process_that_takes_over_has_the_listener_too() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    for (admin, is_file) in [
        ("127.0.0.1:0".to_owned(), false),
        (format!("unix:{}", socket.display()), true),
    ] {
        let server = Server::start(&["--admin", &admin]);
        let addr = (!is_file).then(|| address(&server));
        let health = || match addr {
            None => exchange(UnixStream::connect(&socket)?, "GET /healthz", "localhost"),
            Some(addr) => exchange(TcpStream::connect(addr)?, "GET /healthz", "localhost"),
        };
        assert!(health().unwrap().contains(" 200 "));
        server.signal("USR2");
        let successor = Successor::of(&server);
        server.wait_for(" serves; finishing");
        server.wait_for("all connections are closed");
        for _ in 0..3 {
            assert!(health().unwrap().contains(" 200 "), "{}", server.log());
        }
        successor.signal("TERM");
        let (status, ..) = server.ended();
        assert_eq!(status.code(), Some(0));
        assert!(health().is_err());
        assert!(!socket.exists());
    }
}
