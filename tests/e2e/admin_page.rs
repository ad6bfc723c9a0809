//! The API and the live page of the admin listener, and what operators may change.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use serde_json::Value;
use tidegate_http::Body;

use crate::admin::{address, get};
use crate::client::Client;
use crate::server::{PATIENCE, Server};

/// Returns the JSON at a path.
fn json(admin: SocketAddr, path: &str) -> Value {
    let answer = get(admin, path);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
}

/// Sends a POST with these fields. Returns the answer.
fn post(admin: SocketAddr, path: &str, fields: &str) -> String {
    let mut socket = TcpStream::connect(admin).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\n");
    write!(socket, "{head}{fields}connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns the first value of a path that `is_right`.
fn eventually(admin: SocketAddr, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = json(admin, path);
        if is_right(&value) {
            return value;
        }
        assert!(Instant::now() < deadline, "{path}: {value}");
        std::thread::yield_now();
    }
}

#[test]
fn a_connection_is_listed_and_opened_with_its_streams() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--workers", "2"]);
    let admin = address(&server);
    let mut client = Client::h2c(server.h2c);
    let upload = client.send("POST", "/upload", &[], Body::Stream);
    let list = eventually(admin, "/api/connections?activity=active", |list| {
        list["matched"] == 1 && list["rows"][0]["streams"] == 1
    });
    let row = &list["rows"][0];
    assert_eq!(
        (&row["protocol"], &row["side"]),
        (&"HTTP/2".into(), &"client".into())
    );
    let id = row["id"].as_str().unwrap();
    let one = json(admin, &format!("/api/connections/{id}"));
    let stream = &one["open_streams"][0];
    assert_eq!(stream["id"], upload.get());
    assert_eq!(stream["waits_for"], "client-body");
    assert_eq!(stream["state"], "open");
    assert_eq!(stream["handler"], "upload");
    let http2 = &one["http2"];
    let frames = http2["last_frames"].as_array().unwrap();
    assert!(frames.iter().any(|frame| frame["kind"] == "HEADERS"));
    assert_eq!(http2["settings"][0]["name"], "HEADER_TABLE_SIZE");
    // Paths and hosts are in the table, and aren't shown.
    let entries = http2["decoder"]["entries"].as_array().unwrap();
    let hidden = |name| {
        let mut entries = entries.iter().filter(move |entry| entry["name"] == name);
        entries.all(|entry| entry["value"].is_null() && entry["value_len"].is_u64())
    };
    let names = |name| entries.iter().any(|entry| entry["name"] == name);
    assert!(names(":authority"), "{http2}");
    assert!(hidden(":authority") && hidden(":path"), "{http2}");
    assert!(get(admin, "/api/connections/0-99").contains(" 404 "));
    assert!(get(admin, "/api/connections?sort=colour").contains(" 400 "));
    let others = json(admin, "/api/connections?protocol=http1&filter=192.0.2.");
    assert_eq!(
        (&others["matched"], &others["total"]),
        (&0.into(), &1.into())
    );
}

#[test]
fn totals_are_those_of_the_clients() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let admin = address(&server);
    let mut client = Client::h2c(server.h2c);
    for path in ["/status", "/status", "/nothing"] {
        client.get(path);
    }
    let overview = eventually(admin, "/api/overview", |all| all["responses"]["4xx"] == 1);
    assert_eq!(overview["requests"], 3);
    assert_eq!(overview["responses"]["2xx"], 2);
    let counts = overview["latency"]["counts"].as_array().unwrap();
    let sum: u64 = counts.iter().filter_map(Value::as_u64).sum();
    assert_eq!(sum, 3);
    assert_eq!(overview["may_write"], false);
    assert_eq!(json(admin, "/api/upstreams"), Value::Array(Vec::new()));
}

#[test]
fn events_come_once_a_second_and_to_few_viewers() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let admin = address(&server);
    let watch = || {
        let mut socket = TcpStream::connect(admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(socket, "GET /api/events HTTP/1.1\r\nhost: {admin}\r\n\r\n").unwrap();
        BufReader::new(socket)
    };
    let mut viewers: Vec<_> = (0..8).map(|_| watch()).collect();
    let viewer = &mut viewers[0];
    let mut event = || {
        let mut line = String::new();
        loop {
            line.clear();
            viewer.read_line(&mut line).unwrap();
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str::<Value>(data).unwrap();
            }
        }
    };
    let (first, second) = (event(), event());
    let uptime = |event: &Value| event["overview"]["uptime"].as_f64().unwrap();
    let between = uptime(&second) - uptime(&first);
    assert!(between > 0.25, "{between}");
    let mut line = String::new();
    // The other seven may be on their way still. The ninth comes when they are in.
    for viewer in &mut viewers[1..] {
        line.clear();
        viewer.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
    }
    line.clear();
    let mut ninth = watch();
    ninth.read_line(&mut line).unwrap();
    assert!(line.contains(" 503 "), "{line}");
    // A place is free once a viewer has left, and a HEAD takes none.
    drop(viewers);
    let mut heads = Vec::new();
    for _ in 0..9 {
        let mut socket = TcpStream::connect(admin).unwrap();
        write!(socket, "HEAD /api/events HTTP/1.1\r\nhost: {admin}\r\n\r\n").unwrap();
        let mut socket = BufReader::new(socket);
        let mut line = String::new();
        socket.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        heads.push(socket);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut line = String::new();
        watch().read_line(&mut line).unwrap();
        if line.contains(" 200 ") {
            break;
        }
        assert!(Instant::now() < deadline, "{line}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let admin = address(&server);
    let page = get(admin, "/");
    assert!(page.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(!page.contains("unsafe-inline") && !page.contains("style=\""));
    for path in page.split('"').filter(|text| text.starts_with("/page/")) {
        assert!(get(admin, path).starts_with("HTTP/1.1 200 "), "{path}");
    }
    assert!(!page.contains("https://") && !get(admin, "/page/script.js").contains("https://"));
}

#[test]
fn operators_change_something_only_if_they_may_and_mean_it() {
    let server = Server::start(&["--admin", "127.0.0.1:0"]);
    let admin = address(&server);
    let refused = post(
        admin,
        "/api/connections/0-1/close",
        "x-tidegate-admin: 1\r\n",
    );
    assert!(refused.contains(" 403 ") && refused.contains("--admin-write on"));

    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = upstream.local_addr().unwrap();
    let route = format!("/api=http://{addr}");
    let flags = [
        "--admin",
        "127.0.0.1:0",
        "--admin-write",
        "on",
        "--route",
        &route,
    ];
    let server = Server::start(&flags);
    let admin = address(&server);
    let drain = format!("/api/upstreams/{addr}/drain");
    for fields in [
        "",
        "x-tidegate-admin: 1\r\norigin: http://evil.example\r\n",
        "x-tidegate-admin: 1\r\nsec-fetch-site: cross-site\r\n",
    ] {
        assert!(post(admin, &drain, fields).contains(" 403 "), "{fields}");
    }
    assert!(get(admin, &drain).contains(" 405 "));
    // What only reads isn't for pages of strangers either.
    assert!(post(admin, "/api/events", "sec-fetch-site: cross-site\r\n").contains(" 403 "));
    let own = format!("x-tidegate-admin: 1\r\norigin: http://{admin}\r\n");
    assert!(post(admin, &drain, &own).contains(" 200 "));
    eventually(admin, "/api/upstreams", |all| {
        all[0]["health"] == "draining"
    });
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/api/x").status(), 503);
    assert!(post(admin, &drain.replace("drain", "restore"), &own).contains(" 200 "));
    eventually(admin, "/api/upstreams", |all| all[0]["health"] == "up");

    let list = eventually(admin, "/api/connections", |list| list["matched"] == 1);
    let id = list["rows"][0]["id"].as_str().unwrap();
    assert!(post(admin, &format!("/api/connections/{id}/close"), &own).contains(" 200 "));
    eventually(admin, "/api/connections", |list| list["matched"] == 0);
}
