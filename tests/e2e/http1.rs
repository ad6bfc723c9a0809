//! HTTP/1.1: the same site, limits, logs and counters as for HTTP/2, over a raw socket.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use tempfile::TempDir;

use crate::server::{PATIENCE, Server};
use crate::targets::pattern;

/// A client that understands the framing of responses.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: String,
}

impl Response {
    pub(crate) fn field(&self, name: &str) -> &str {
        let prefix = format!("{name}: ");
        let mut lines = self.head.split("\r\n");
        lines
            .find_map(|line| line.strip_prefix(&prefix))
            .unwrap_or("")
    }

    /// Returns the status line and the field lines.
    pub(crate) fn head(&self) -> &str {
        &self.head
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn new(addr: Option<SocketAddr>) -> Self {
        let stream = TcpStream::connect(addr.expect("the server has this port")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request with these field lines and this body, and reads the response.
    pub(crate) fn ask(&mut self, line: &str, fields: &str, body: &[u8]) -> Response {
        self.send(format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ));
        self.send(body);
        self.response(line.starts_with("HEAD"))
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.ask(&format!("GET {path}"), "", b"")
    }

    /// Returns all that the server sends until it closes or resets the connection.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        bytes
    }

    pub(crate) fn section(&mut self) -> String {
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") && text != "\r\n" {
            assert!(
                self.0.read_line(&mut text).unwrap() > 0,
                "cut off after {text:?}"
            );
        }
        text
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn response(&mut self, to_head: bool) -> Response {
        let head = self.section();
        let status = head[9..12].parse().unwrap();
        let mut response = Response {
            status,
            head,
            body: Vec::new(),
            trailers: String::new(),
        };
        let without = to_head || status < 200 || status == 204 || status == 304;
        if without {
        } else if response.field("transfer-encoding") == "chunked" {
            loop {
                let mut size = String::new();
                self.0.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                if size == 0 {
                    break;
                }
                response.body.extend(self.bytes(size));
                assert_eq!(self.bytes(2), b"\r\n");
            }
            response.trailers = self.section();
        } else {
            let length = response.field("content-length").parse();
            response.body = self.bytes(length.expect("framing"));
        }
        response
    }

    /// Returns the rest of what the server sends until it closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }
}

fn site(flags: &[&str]) -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    for (name, size) in [("small.txt", 10), ("large.bin", 3_000_000)] {
        std::fs::write(dir.path().join(name), pattern(size)).unwrap();
    }
    let root = dir.path().to_str().unwrap().to_owned();
    let mut all = vec![
        "--root",
        &root,
        "--route",
        "/echo=echo",
        "--route",
        "/upload=upload",
        "--route",
        "/status=status",
    ];
    all.extend(flags);
    let server = Server::start(&all);
    (dir, server)
}

#[test]
fn files_on_one_connection() {
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    for _ in 0..2 {
        let small = client.get("/small.txt");
        assert_eq!((small.status, &small.body), (200, &pattern(10)));
        assert_eq!(small.field("server"), "tidegate");
        assert!(small.field("date").ends_with(" GMT"));
        assert_eq!(small.field("connection"), "");
        let large = client.get("/large.bin");
        assert!(large.body == pattern(3_000_000));
        let head = client.ask("HEAD /large.bin", "", b"");
        assert_eq!(
            (head.status, head.field("content-length")),
            (200, "3000000")
        );
    }
    assert_eq!(client.get("http://other/small.txt").status, 200);
    assert_eq!(client.get("/none").status, 404);
    assert_eq!(
        client
            .ask("POST /small.txt", "Content-Length: 1\r\n", b"x")
            .status,
        405
    );
    // RFC 9110 §9.3.7: it "applies to the server in general rather than to a specific resource".
    let options = client.ask("OPTIONS *", "", b"");
    assert_eq!(
        (options.status, options.field("allow").is_empty()),
        (204, false)
    );
    assert_eq!(client.get("/small.txt").body, pattern(10));
}

#[test]
fn ranges_and_conditions() {
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    let large = pattern(3_000_000);
    for (range, expected) in [
        ("0-0", &large[..1]),
        ("100-199", &large[100..200]),
        ("-5", &large[2_999_995..]),
        ("1000-", &large[1000..]),
    ] {
        let part = client.ask("GET /large.bin", &format!("Range: bytes={range}\r\n"), b"");
        assert_eq!(part.status, 206);
        assert!(part.body == expected, "{range}");
    }
    let beyond = client.ask("GET /large.bin", "Range: bytes=3000000-\r\n", b"");
    assert_eq!(
        (beyond.status, beyond.field("content-range")),
        (416, "bytes */3000000")
    );
    let etag = client.get("/small.txt").field("etag").to_owned();
    let not_modified = client.ask("GET /small.txt", &format!("If-None-Match: {etag}\r\n"), b"");
    assert_eq!(
        (not_modified.status, not_modified.field("etag")),
        (304, &*etag)
    );
    assert_eq!(client.get("/small.txt").status, 200);
}

#[test]
fn bodies_up_and_back() {
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    for size in [0, 1, 65_536, 1_000_000] {
        let body = pattern(size);
        let length = format!("Content-Length: {size}\r\n");
        let report = client.ask("POST /upload", &length, &body);
        assert!(
            report.text().starts_with(&format!("{{\"bytes\":{size},")),
            "{}",
            report.text()
        );
        let mut chunks = Vec::new();
        for chunk in body.chunks(7000) {
            chunks.extend_from_slice(format!("{:x};a=b\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        chunks.extend_from_slice(b"0\r\nX-Trailer: y\r\n\r\n");
        let chunked = "Transfer-Encoding: chunked\r\n";
        let same = client.ask("PUT /upload", chunked, &chunks);
        assert_eq!(same.text(), report.text());
        // A body that is small enough can be sent whole before any of it is read back.
        if size <= 65_536 {
            let echo = client.ask("POST /echo", &length, &body);
            assert!(echo.body == body && echo.field("transfer-encoding").is_empty());
            let echo = client.ask("POST /echo", chunked, &chunks);
            assert!(echo.body == body);
            assert_eq!(
                (echo.field("transfer-encoding"), &*echo.trailers),
                ("chunked", "\r\n")
            );
        }
    }
}

#[test]
fn a_body_that_waits_is_invited() {
    // RFC 9110 §10.1.1: "… or an immediate 100 (Continue) response".
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    for path in ["/upload", "/echo"] {
        client.send(request(path));
        assert_eq!(client.response(false).status, 100);
        client.send("abc");
        while client.response(false).status != 200 {}
    }
    client.send(request("/status"));
    let answer = client.response(false);
    assert_eq!((answer.status, answer.field("connection")), (405, "close"));
    assert_eq!(client.rest(), "");
}

#[test]
fn an_echo_streams() {
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.section().lines().next(), Some("HTTP/1.1 200 OK"));
    for word in ["one", "four"] {
        let chunk = format!("{:x}\r\n{word}\r\n", word.len());
        client.send(&chunk);
        assert_eq!(client.bytes(chunk.len()), chunk.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
    assert_eq!(client.get("/status").text(), "{\"status\":\"ok\"}");
}

#[test]
fn limits_are_the_same() {
    let (_dir, server) = site(&["--header-timeout", "100ms", "--idle-timeout", "100ms"]);
    let mut client = Client::new(server.h2c);
    let many: String = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    assert_eq!(client.ask("GET /small.txt", &many, b"").status, 431);
    assert_eq!(client.rest(), "");
    let mut client = Client::new(server.h2c);
    client.send("GET /small.txt HTTP/1.1\r\nHost: a\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 408 "));
    let mut client = Client::new(server.h2c);
    assert_eq!(client.get("/small.txt").status, 200);
    assert_eq!(client.rest(), "");
    server.wait_for("HeaderBlockTimedOut");
}

#[test]
fn the_log_and_the_counters_know_both() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let (_site, server) = site(&["--access-log", log.to_str().unwrap()]);
    let mut client = Client::new(server.h2c);
    client.ask("GET /status", "User-Agent: one\r\n", b"");
    client.send("GET /status HTTP/1.0\r\nUser-Agent: two\r\n\r\n");
    assert_eq!(client.response(false).field("connection"), "close");
    let mut other = crate::client::Client::h2c(server.h2c);
    other.get("/status");
    server.wait_for("3 requests");
    server.signal("TERM");
    let (status, ..) = server.ended();
    assert!(status.success());
    let mut text = String::new();
    File::open(log).unwrap().read_to_string(&mut text).unwrap();
    for part in [
        "\"GET /status HTTP/1.1\" 200 15 \"-\" \"one\"",
        "\"GET /status HTTP/1.0\" 200 15 \"-\" \"two\"",
        "\"GET /status HTTP/2\" 200 15",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn what_is_wrong_is_a_line_of_the_log() {
    let (_dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert!(client.rest().starts_with("HTTP/1.1 400 Bad Request\r\n"));
    server.wait_for("ContentLengthWithTransferEncoding (RFC 9112 §6.1)");
}

#[test]
fn a_file_that_shrinks_on_its_way_is_cut_off() {
    let (dir, server) = site(&[]);
    let mut client = Client::new(server.h2c);
    let path = dir.path().join("shrinks.bin");
    std::fs::write(&path, pattern(50_000_000)).unwrap();
    client.send("GET /shrinks.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.section().contains("content-length: 50000000\r\n"));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    // RFC 9112 §8: a body shorter than its Content-Length is an incomplete message.
    assert!(client.until_closed().len() < 50_000_000);
}

#[test]
fn a_graceful_end_finishes_what_was_asked() {
    // Several workers wouldn't learn of the signal at the same time.
    let (_dir, server) = site(&["--workers", "1"]);
    let mut idle = Client::new(server.h2c);
    assert_eq!(idle.get("/status").status, 200);
    let mut client = Client::new(server.h2c);
    client.send(
        "POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    );
    assert_eq!(client.response(false).status, 100);
    server.signal("TERM");
    assert_eq!(idle.rest(), "");
    client.send("abc");
    let answer = client.response(false);
    assert_eq!((answer.status, answer.field("connection")), (200, "close"));
    assert_eq!(client.rest(), "");
    assert!(server.ended().0.success());
}
