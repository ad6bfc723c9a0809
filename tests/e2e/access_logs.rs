//! Access logs by site and in each format, sampling, ids of requests and trace contexts, and lines
//! on connections that a rule ended.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tidegate_http::{Body, RequestHead};
use tidegate_testkit::wire;

use crate::client::Client;
use crate::server::{Server, command, refused};
use crate::upstream::{Upstream, field};

const PATIENCE: Duration = Duration::from_secs(60);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Stops a server, which writes all lines, and returns those of a file.
fn lines(server: Server, path: &Path) -> Vec<String> {
    server.signal("TERM");
    let (status, _, log) = server.ended();
    assert!(status.success(), "{log}");
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn uuid(text: &str) -> bool {
    let lens: Vec<usize> = text.split('-').map(str::len).collect();
    lens == [8, 4, 4, 4, 12]
}

#[test]
fn each_site_has_its_log_or_none() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("tidegate.toml");
    let text = |format: &str| {
        format!(
            "access-log = 'all.log'\nroute = ['/=status']\n\
             [[site]]\nnames = ['a.test']\nroute = ['/=status']\n\
             access-log = 'a.log'\naccess-log-format = {format}\n\
             [[site]]\nnames = ['b.test']\nroute = ['/=status']\naccess-log = 'off'\n\
             [[site]]\nnames = ['c.test']\nroute = ['/=status']\n\
             access-log-format = '$host $status'\n"
        )
    };
    fs::write(&file, text("'json'")).unwrap();
    let server = Server::start(&["--config", file.to_str().unwrap(), "--workers", "1"]);
    let mut client = Client::h2c(server.h2c);
    let mut get = |host: &str| {
        let id = client.open(&RequestHead::new("GET", "http", host, "/x"), Body::Empty);
        assert_eq!(client.response(id).status(), 200);
    };
    for host in ["a.test", "b.test", "c.test", "d.test:80"] {
        get(host);
    }
    // The line is written before the queue of another format writes to the same file.
    let a = dir.path().join("a.log");
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&a).is_ok_and(|text| text.ends_with('\n')) {
        assert!(Instant::now() < deadline, "the line never came");
        std::thread::yield_now();
    }
    // Another format of the same file counts from the next request on.
    fs::write(&file, text("'$path'")).unwrap();
    server.signal("HUP");
    server.wait_for("SIGHUP: reloaded");
    get("a.test");
    let all = lines(server, &dir.path().join("all.log"));
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.iter().any(|line| line == "c.test 200"), "{all:?}");
    assert!(
        all.iter()
            .any(|line| line.contains("\"GET /x HTTP/2\" 200"))
    );
    let a = fs::read_to_string(dir.path().join("a.log")).unwrap();
    let a: Vec<&str> = a.lines().collect();
    assert_eq!(json(a[0])["server.address"], "a.test");
    assert_eq!(a[1..], ["/x"]);
}

#[test]
fn a_line_of_json_has_the_facts_of_its_request() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let upstream = Upstream::answering(OK);
    let flags = [
        "--access-log",
        path.to_str().unwrap(),
        "--access-log-format",
        "json",
        "--trust-forwarded-from",
        "127.0.0.1",
        "--route",
        "/status=status",
        "--route",
        "/upload=upload",
        "--route",
        &upstream.route("/up"),
        "--workers",
        "1",
    ];
    let server = Server::start(&flags);
    let mut client = Client::tls(server.tls);
    let evil = "a\"b\\ \u{85}ä";
    let fields = [
        ("x-forwarded-for", "198.51.100.1, 203.0.113.9"),
        ("user-agent", evil),
        ("priority", "u=1, i"),
    ];
    let response = client.ask("POST", "/up/a?q=1", &fields, Body::Full("four".into()));
    assert_eq!(response.status(), 200);
    client.get("/status");
    let id = client.send("POST", "/upload", &[], Body::Stream);
    client.write(id, "abc", false);
    client.cancel(id);
    client.get("/status");
    drop(client);
    let lines = lines(server, &path);
    let lines: Vec<Value> = lines.iter().map(|line| json(line)).collect();
    let of = |path: &str| lines.iter().find(|line| line["url.path"] == path).unwrap();
    let up = of("/up/a");
    for (key, value) in [
        ("client.address", Value::from("203.0.113.9")),
        ("network.peer.address", "127.0.0.1".into()),
        ("network.protocol.version", "2".into()),
        ("http.request.method", "POST".into()),
        ("url.scheme", "https".into()),
        ("url.query", "q=1".into()),
        ("server.address", "localhost".into()),
        ("http.response.status_code", 200.into()),
        ("http.request.body.size", 4.into()),
        ("http.response.body.size", 2.into()),
        ("tls.protocol.version", "1.3".into()),
        ("tls.client.server_name", "localhost".into()),
        ("user_agent.original", evil.into()),
        ("tidegate.stream", 1.into()),
        ("tidegate.priority", "u=1,i".into()),
        ("tidegate.upstream.address", upstream.authority().into()),
        ("tidegate.upstream.tries", 1.into()),
    ] {
        assert_eq!(up[key], value, "{key}: {up}");
    }
    assert!(
        up["tls.cipher"].as_str().unwrap().starts_with("TLS_"),
        "{up}"
    );
    let number = |line: &Value, key: &str| {
        line[key]
            .as_f64()
            .unwrap_or_else(|| panic!("{key}: {line}"))
    };
    let parts = ["queue", "connect", "first_byte"];
    let parts = parts.map(|part| number(up, &format!("tidegate.upstream.{part}.duration")));
    let (first, total) = (
        number(up, "tidegate.first_byte.duration"),
        number(up, "http.server.request.duration"),
    );
    assert!(parts.iter().sum::<f64>() <= total + 0.001, "{up}");
    assert!(first <= total, "{up}");
    for kind in ["request", "response"] {
        let size = number(up, &format!("tidegate.{kind}.header.size"));
        let compressed = number(up, &format!("tidegate.{kind}.header.compressed_size"));
        assert!(compressed < size, "{up}");
    }
    let upload = of("/upload");
    assert_eq!(upload["tidegate.reset.code"], "CANCEL", "{upload}");
    assert_eq!(upload["tidegate.reset.by"], "client");
    assert_eq!(upload["http.request.body.size"], 3);
    assert_eq!(upload.get("http.response.status_code"), None);
    assert_eq!(of("/status").get("tidegate.upstream.address"), None);
}

#[test]
fn an_upstream_that_fails_has_its_error_in_the_line() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let format = "$status $upstream_error $upstream_tries $violation";
    let flags = [
        "--access-log",
        path.to_str().unwrap(),
        "--access-log-format",
        format,
    ];
    let server = Server::start(&[&flags[..], &["--route", "/=http://127.0.0.1:1"]].concat());
    assert_eq!(Client::h2c(server.h2c).get("/").status(), 502);
    assert_eq!(lines(server, &path), ["502 connection_refused 0 -"]);
}

#[test]
fn mistakes_in_formats_and_rates_are_errors() {
    for (flag, value, problem) in [
        ("--access-log-format", "$statsu", "did you mean $status?"),
        ("--access-log-format", "jsn", "did you mean json?"),
        ("--access-log-format", "$http_cookie", "is a credential"),
        (
            "--access-log-sample",
            "5",
            "expected a rate from 0% to 100%",
        ),
        (
            "--access-log-sample",
            "9xx=5%",
            "expected a status such as 404",
        ),
    ] {
        let (status, text) = refused(&[flag, value]);
        assert_eq!(status, 2, "{text}");
        assert!(text.contains(problem), "{text}");
    }
}

#[test]
fn only_sampled_requests_have_lines() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let server = Server::start(&[
        "--workers",
        "1",
        "--access-log",
        path.to_str().unwrap(),
        "--access-log-format",
        "$status $sample_rate",
        "--access-log-sample",
        "10%,404=100%,5xx=0%",
    ]);
    let mut client = Client::h2c(server.h2c);
    for _ in 0..100 {
        client.get("/status");
    }
    for _ in 0..5 {
        client.get("/missing");
    }
    let lines = lines(server, &path);
    let count = |text: &str| lines.iter().filter(|line| *line == text).count();
    assert!((9..=11).contains(&count("200 0.1")), "{lines:?}");
    assert_eq!(count("404 1"), 5, "{lines:?}");
}

#[test]
fn requests_have_ids_when_asked_for() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let seen = |flags: &[&str], fields: &[(&str, &str)]| {
        let upstream = Upstream::answering(OK);
        let route = upstream.route("/up");
        let own = ["--access-log", path.to_str().unwrap(), "--route", &route];
        let own = [
            &own[..],
            &[
                "--access-log-format",
                "$request_id",
                "--route",
                "/status=status",
            ],
        ];
        let server = Server::start(&[&own.concat()[..], flags].concat());
        let mut client = Client::h2c(server.h2c);
        // The second one is of the same kind, and has its own id.
        let heads = [(); 2].map(|()| {
            client.ask("GET", "/up", fields, Body::Empty);
            upstream.seen()
        });
        client.get("/status");
        let lines = lines(server, &path);
        fs::remove_file(&path).unwrap();
        (heads, lines)
    };
    let id = |head: &str| field(head, "x-request-id").map(str::to_owned);
    let (heads, lines) = seen(&[], &[("x-request-id", "theirs")]);
    assert_eq!(
        heads.each_ref().map(|head| id(head).unwrap()),
        ["theirs", "theirs"]
    );
    assert_eq!(lines, ["theirs", "theirs", "-"]);
    let forged = [("x-request-id", "theirs"), ("x_request_id", "theirs")];
    let (heads, lines) = seen(&["--request-id", "on"], &forged);
    let ids = heads.each_ref().map(|head| id(head).unwrap());
    assert!(ids.iter().all(|id| uuid(id)) && ids[0] != ids[1], "{ids:?}");
    assert!(!heads[0].contains("theirs"), "{}", heads[0]);
    assert_eq!(lines[..2], ids);
    assert!(uuid(&lines[2]), "{lines:?}");
    let trusted = ["--request-id", "on", "--trust-forwarded-from", "127.0.0.1"];
    let (heads, lines) = seen(&trusted, &[("x-request-id", "a.b-1")]);
    assert_eq!(id(&heads[0]).as_deref(), Some("a.b-1"));
    assert_eq!(lines[0], "a.b-1");
    let (heads, _) = seen(&trusted, &[("x-request-id", "not valid")]);
    assert!(uuid(&id(&heads[0]).unwrap()), "{}", heads[0]);
}

#[test]
fn trace_contexts_go_on_if_they_are_valid() {
    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let upstream = Upstream::answering(OK);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let route = upstream.route("/");
    for mode in ["pass", "make"] {
        let server = Server::start(&[
            "--route",
            &route,
            "--trace-context",
            mode,
            "--access-log",
            path.to_str().unwrap(),
            "--access-log-format",
            "$traceparent",
        ]);
        let mut client = Client::h2c(server.h2c);
        let mut sent = |fields: &[(&str, &str)]| {
            client.ask("GET", "/", fields, Body::Empty);
            let head = upstream.seen();
            let of = |name| field(&head, name).map(str::to_owned);
            (of("traceparent"), of("tracestate"))
        };
        let state = ("tracestate", "a=1");
        let valid = sent(&[("traceparent", VALID), state]);
        assert_eq!(valid, (Some(VALID.into()), Some("a=1".into())), "{mode}");
        let invalid = VALID.replace("-01", "-0x");
        let mut made = Vec::new();
        for fields in [
            &[][..],
            &[state],
            &[("traceparent", &invalid), state],
            &[("traceparent", VALID), ("traceparent", VALID), state],
        ] {
            let (parent, state) = sent(fields);
            assert_eq!(state, None, "{mode} {fields:?}");
            made.push(parent);
        }
        let lines = lines(server, &path);
        fs::remove_file(&path).unwrap();
        assert_eq!(lines[0], VALID);
        if mode == "pass" {
            assert_eq!(made, [const { None }; 4]);
            assert_eq!(lines[1..], ["-"; 4]);
        } else {
            let made: Vec<String> = made.into_iter().map(Option::unwrap).collect();
            assert!(made.iter().all(|made| made.len() == 55 && made != VALID));
            assert_ne!(made[0], made[1]);
            assert_eq!(lines[1..], made);
        }
    }
}

/// Sends a PING on a stream, which RFC 9113 §6.7 forbids, and waits for the end.
fn break_a_rule(server: &Server) {
    let mut socket = TcpStream::connect(server.h2c.unwrap()).unwrap();
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .unwrap();
    for frame in [
        wire::settings(&[]),
        wire::get(1),
        wire::frame(6, 0, 1, [0; 8]),
    ] {
        socket.write_all(&frame.to_bytes()).unwrap();
    }
    // It may end with a reset.
    let _ = socket.read_to_end(&mut Vec::new());
}

#[test]
fn a_line_says_which_rule_ended_a_connection() {
    let server = Server::start(&[]);
    break_a_rule(&server);
    let line = server.line("connection error out: peer 127.0.0.1:");
    assert!(
        line.contains("PROTOCOL_ERROR, PingOnStream (RFC 9113 §6.7), 1 request in "),
        "{line}"
    );
    assert!(
        line.contains(">HEADERS:1:") && line.contains(" >PING:1:8"),
        "{line}"
    );
}

#[test]
fn the_log_is_json_if_asked_for() {
    let flags = ["--log-format", "json", "--log", "debug"];
    let server = Server::start(&flags);
    Client::h2c(server.h2c).get("/status");
    break_a_rule(&server);
    let line = json(&server.line("connection error out"));
    for (key, value) in [
        ("level", "WARN"),
        ("target", "tidegate::app::report"),
        ("rule", "PingOnStream"),
        ("clause", "RFC 9113 §6.7"),
        ("code", "PROTOCOL_ERROR"),
        ("flag", ""),
    ] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!(line["requests"], 1);
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(
        line["last_frames"].as_str().unwrap().contains(">PING:1:8"),
        "{line}"
    );
    server.signal("TERM");
    let (status, _, log) = server.ended();
    assert!(status.success());
    let lines: Vec<Value> = log.lines().map(json).collect();
    // The access log's lines are objects of the same kind.
    assert!(
        lines.iter().any(|line| line["url.path"] == "/status"),
        "{log}"
    );
    assert!(
        lines.iter().all(|line| line["timestamp"].is_string()),
        "{log}"
    );
}

#[test]
fn a_limit_that_ends_a_connection_names_its_flag() {
    let server = Server::start(&["--handshake-timeout", "100ms"]);
    let _socket = TcpStream::connect(server.h2c.unwrap()).unwrap();
    let line = server.line("handshake timed out");
    assert!(
        line.ends_with("; --handshake-timeout sets the limit"),
        "{line}"
    );
}

#[test]
fn a_pipe_without_a_reader_costs_lines_and_no_requests() {
    let flags = ["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    let flags = [&flags[..], &["--access-log", "-", "--workers", "1"]].concat();
    let mut server = command(&flags).spawn().unwrap();
    let mut stdout = server.stdout.take().unwrap();
    let mut banner = Vec::new();
    while !banner.ends_with(b"limits.\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        banner.extend(byte);
    }
    drop(stdout);
    let banner = String::from_utf8(banner).unwrap();
    let url = banner
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    let address = url
        .unwrap()
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let mut client = Client::h2c(Some(address.parse().unwrap()));
    for _ in 0..100 {
        assert_eq!(client.get("/status").status(), 200);
    }
    drop(client);
    crate::server::send_signal(server.id(), "TERM");
    let mut log = String::new();
    server
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    assert!(server.wait().unwrap().success(), "{log}");
    assert!(log.contains("can't write stdout: Broken pipe"), "{log}");
    assert!(log.contains("stdout can't be written: "), "{log}");
}
