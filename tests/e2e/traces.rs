//! Traces: which connections, which frames, and which values.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::TempDir;
use tidegate_http::Body;
use tidegate_trace::{Event, Payload, Trace};

use crate::client::Client;
use crate::server::{PATIENCE, Server, refused, run};

/// A directory with a trace.
struct Traced {
    _dir: TempDir,
    path: PathBuf,
}

impl Traced {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        Self { _dir: dir, path }
    }

    fn start(&self, flags: &[&str]) -> Server {
        let flags = [&["--trace", self.path.to_str().unwrap()], flags].concat();
        Server::start(&flags)
    }

    /// Ends the server, and reads the trace.
    fn read(&self, server: Server) -> Trace {
        server.signal("TERM");
        assert!(server.ended().0.success());
        let trace = Trace::read(&fs::read(&self.path).unwrap());
        assert_eq!(trace.damage, None);
        trace
    }
}

/// Makes a request for `/status` over a connection of its own.
fn visit(server: &Server) {
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
}

#[test]
fn frames_of_both_directions_are_recorded_to_the_end() {
    let traced = Traced::new();
    let server = traced.start(&[]);
    visit(&server);
    visit(&server);
    let trace = traced.read(server);
    assert_eq!(trace.connections.len(), 2);
    for connection in &trace.connections {
        let started = connection.started().unwrap();
        assert!(started.client.as_ref().unwrap().starts_with("127.0.0.1:"));
        let kinds = |received: bool| -> Vec<&str> {
            let records = connection.records.iter();
            let frames = records.filter_map(|record| match &record.event {
                Event::Received(frame) if received => Some(frame),
                Event::Sent(frame) if !received => Some(frame),
                _ => None,
            });
            let names = frames.map(|frame| match &frame.payload {
                Payload::Preface { .. } => "preface",
                Payload::Settings { settings: None } => "ack",
                Payload::Settings { .. } => "settings",
                Payload::Headers { .. } => "headers",
                Payload::Data { .. } => "data",
                Payload::Goaway { .. } => "goaway",
                Payload::WindowUpdate { .. } => "window_update",
                _ => "other",
            });
            names.collect()
        };
        let received = kinds(true);
        assert_eq!(received[..2], ["preface", "settings"]);
        for kind in ["headers", "ack"] {
            assert!(received.contains(&kind), "{received:?}");
        }
        let sent = kinds(false);
        assert_eq!(sent[0], "settings");
        for kind in ["ack", "headers", "data"] {
            assert!(sent.contains(&kind), "{sent:?}");
        }
        let last = &connection.records.last().unwrap().event;
        assert!(matches!(last, Event::Closed(_)), "{last:?}");
    }
    let path = traced.path.to_str().unwrap();
    let (status, text, _) = run(&["trace", path, "--connection", "2"]);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(status, 0);
    for line in [
        "recv HEADERS frame <length=",
        "          :path: (7 bytes)\n",
        "          :status: 200\n",
        "; windows: stream 1 send ",
        "connection closed: ",
    ] {
        assert!(text.contains(line), "{line:?} is missing: {text}");
    }
    assert_eq!(text.matches("connection started").count(), 1);
    let (_, list, _) = run(&["trace", "--list", path]);
    assert_eq!(list.iter().filter(|byte| **byte == b'\n').count(), 2);
}

#[test]
fn filters_choose_connections() {
    for (flags, traced_of_four) in [
        (&["--trace-client", "127.0.0.0/8"][..], 4),
        (&["--trace-client", "192.0.2.0/24"], 0),
        (&["--trace-site", "example.com"], 0),
        (&["--trace-sample", "1/2", "--trace-client", "127.0.0.1"], 2),
    ] {
        let traced = Traced::new();
        let server = traced.start(flags);
        (0..4).for_each(|_| visit(&server));
        server.signal("TERM");
        assert!(server.ended().0.success());
        // A file that nothing was written to is empty.
        let bytes = fs::read(&traced.path).unwrap();
        let connections = Trace::read(&bytes).connections.len();
        assert_eq!(connections, traced_of_four, "{flags:?}");
    }
}

#[test]
fn a_site_is_chosen_by_its_name_in_tls() {
    let traced = Traced::new();
    let server = traced.start(&["--trace-site", "localhost"]);
    assert_eq!(Client::tls(server.tls).get("/status").status(), 200);
    visit(&server);
    let trace = traced.read(server);
    let [connection] = &trace.connections[..] else {
        panic!("{trace:?}");
    };
    let started = connection.started().unwrap();
    assert_eq!(started.sni.as_deref(), Some("localhost"));
    assert_eq!(started.tls.as_deref(), Some("TLSv1_3"));
}

/// Values that must not be in any trace.
const SECRET: &str = "hunter2-and-more";

#[test]
fn credentials_never_appear() {
    for values in ["on", "off"] {
        let traced = Traced::new();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("x"), "x").unwrap();
        let cookie = format!("set set-cookie: session={SECRET}");
        let server = traced.start(&[
            "--trace-values",
            values,
            "--root",
            dir.path().to_str().unwrap(),
            "--response-field",
            &cookie,
        ]);
        let mut client = Client::h2c(server.h2c);
        let fields = [
            ("cookie", SECRET),
            ("authorization", SECRET),
            ("proxy-authorization", SECRET),
            ("x-api-key", SECRET),
            ("x-auth-token", SECRET),
            ("user-agent", "a browser"),
        ];
        let response = client.ask("GET", "/x", &fields, Body::Empty);
        assert_eq!(response.field("set-cookie"), format!("session={SECRET}"));
        drop(client);
        traced.read(server);
        let text = fs::read_to_string(&traced.path).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        assert!(text.contains("proxy-authorization"), "{text}");
        assert_eq!(text.contains("a browser"), values == "on");
    }
}

#[test]
fn a_ring_is_written_when_a_rule_ends_the_connection() {
    let traced = Traced::new();
    let server = traced.start(&["--trace-ring", "3"]);
    visit(&server);
    // A PING of seven bytes: FRAME_SIZE_ERROR.
    let mut bytes = tidegate_testkit::wire::PREFACE.to_vec();
    for frame in [
        tidegate_testkit::wire::settings(&[]),
        tidegate_testkit::wire::get(1),
        tidegate_testkit::wire::frame(6, 0, 0, [0; 7]),
    ] {
        bytes.extend(frame.to_bytes());
    }
    let mut socket = std::net::TcpStream::connect(server.h2c.unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut socket, &bytes).unwrap();
    std::io::Read::read_to_end(&mut socket, &mut Vec::new()).unwrap();
    let trace = traced.read(server);
    let [connection] = &trace.connections[..] else {
        panic!("{trace:?}");
    };
    let events = connection.records.iter().map(|record| &record.event);
    let events: Vec<&Event> = events.collect();
    assert!(matches!(events[0], Event::Started(_)));
    let Event::Omitted { frames } = events[1] else {
        panic!("{events:?}");
    };
    assert!(*frames >= 2, "{events:?}");
    let frames = events[2..]
        .iter()
        .take_while(|event| matches!(event, Event::Received(_) | Event::Sent(_)));
    assert_eq!(frames.count(), 3, "{events:?}");
    let [.., Event::Rule(rule), Event::Closed(closed)] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(rule.rule, "ping_length_not_8");
    assert_eq!(
        (rule.error.as_str(), closed.reason.as_str()),
        ("FRAME_SIZE_ERROR", "rule")
    );
}

#[test]
fn a_signal_opens_the_trace_anew() {
    let traced = Traced::new();
    let server = traced.start(&[]);
    visit(&server);
    let moved = traced.path.with_extension("1");
    wait_for(&traced.path, "connection_closed");
    fs::rename(&traced.path, &moved).unwrap();
    server.signal("USR1");
    server.wait_for("SIGUSR1: reopening");
    visit(&server);
    let trace = traced.read(server);
    assert_eq!(trace.connections.len(), 1);
    let former = Trace::read(&fs::read(moved).unwrap());
    assert_eq!(former.connections.len(), 1);
}

fn wait_for(path: &Path, text: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(path).is_ok_and(|all| all.contains(text)) {
        assert!(Instant::now() < deadline, "{text} never came");
        std::thread::yield_now();
    }
}

#[test]
fn a_full_disk_ends_the_trace_and_no_request() {
    let server = Server::start(&["--trace", "/dev/full"]);
    visit(&server);
    let line = server.line("the trace /dev/full ends, because it can't be written");
    assert!(line.contains("No space left on device"), "{line}");
    visit(&server);
    server.signal("TERM");
    assert!(server.ended().0.success());
}

#[test]
fn a_reload_begins_and_ends_a_trace() {
    let traced = Traced::new();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tidegate.toml");
    fs::write(&config, "").unwrap();
    let server = Server::start(&["--config", config.to_str().unwrap()]);
    visit(&server);
    fs::write(&config, format!("trace = {:?}\n", traced.path)).unwrap();
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded", 1);
    visit(&server);
    wait_for(&traced.path, "connection_closed");
    fs::write(&config, "").unwrap();
    server.signal("HUP");
    server.wait_for_lines("SIGHUP: reloaded", 2);
    visit(&server);
    assert_eq!(traced.read(server).connections.len(), 1);
}

#[test]
fn mistakes_get_a_sentence() {
    let (status, says) = refused(&["--trace", "/nonexistent/trace"]);
    assert_eq!(status, 1);
    assert!(
        says.contains("can't write the trace /nonexistent/trace"),
        "{says}"
    );
    let (status, says) = refused(&["--trace-values", "on"]);
    assert_eq!(status, 2);
    assert!(says.contains("--trace <FILE>"), "{says}");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    fs::write(&path, "x").unwrap();
    let (status, _, says) = run(&["trace", path.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(says.contains("this isn't a trace of tidegate"), "{says}");
}

#[test]
fn a_trace_that_is_cut_off_is_printed_as_far_as_it_goes() {
    let traced = Traced::new();
    let server = traced.start(&[]);
    visit(&server);
    traced.read(server);
    let bytes = fs::read(&traced.path).unwrap();
    fs::write(&traced.path, &bytes[..bytes.len() - 5]).unwrap();
    let (status, text, says) = run(&["trace", traced.path.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(says.contains("the file is cut off in record"), "{says}");
    assert!(String::from_utf8(text).unwrap().contains("send HEADERS"));
}

/// Records a session with requests of several kinds.
fn session(traced: &Traced, flags: &[&str]) {
    let server = traced.start(flags);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/status").status(), 200);
    assert_eq!(client.get("/missing").status(), 404);
    let upload = client.ask("POST", "/upload", &[("cookie", SECRET)], body(300_000));
    assert_eq!(upload.status(), 200);
    let echo = client.ask("POST", "/echo", &[], body(200_000));
    assert_eq!(echo.body.len(), 200_000);
    let cancelled = client.send("POST", "/echo", &[], Body::Stream);
    client.write(cancelled, "a piece", false);
    client.wait_until(|client| client.has_begun(cancelled));
    client.cancel(cancelled);
    assert_eq!(client.get("/").status(), 200);
    drop(client);
    traced.read(server);
}

fn body(len: usize) -> Body {
    Body::Full(vec![b'x'; len].into())
}

#[test]
fn the_replay_of_a_session_agrees() {
    for values in ["on", "off"] {
        let traced = Traced::new();
        session(&traced, &["--trace-values", values]);
        let (status, says, _) = run(&["replay", traced.path.to_str().unwrap()]);
        let says = String::from_utf8(says).unwrap();
        assert_eq!(says, "1 connections agree, 0 differ, 0 can't be replayed\n");
        assert_eq!(status, 0);
    }
}

#[test]
fn the_replay_of_a_rule_agrees() {
    use tidegate_testkit::wire;
    let ping = wire::frame(6, 0, 0, [0; 7]);
    let over = wire::data(1, vec![0; 16_384]);
    let cancel = |id| wire::rst_stream(id, tidegate_http::ErrorCode::CANCEL);
    let resets = (0..3000).flat_map(|n| [wire::get(2 * n + 1), cancel(2 * n + 1)]);
    let attacks: [Vec<wire::Raw>; 5] = [
        vec![wire::get(1), ping],
        std::iter::once(wire::post(1))
            .chain((0..100).map(|_| over.clone()))
            .collect(),
        resets.collect(),
        vec![wire::headers_block(1, [0x80]).end()],
        vec![wire::get(2)],
    ];
    for frames in attacks {
        let traced = Traced::new();
        let server = traced.start(&[]);
        let mut bytes = wire::PREFACE.to_vec();
        bytes.extend(wire::settings(&[]).to_bytes());
        bytes.extend(frames.iter().flat_map(wire::Raw::to_bytes));
        let mut socket = std::net::TcpStream::connect(server.h2c.unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may close before it has read all.
        let _ = std::io::Write::write_all(&mut socket, &bytes);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let _ = std::io::Read::read_to_end(&mut socket, &mut Vec::new());
        traced.read(server);
        let (status, says, _) = run(&["replay", traced.path.to_str().unwrap()]);
        assert_eq!(status, 0, "{}", String::from_utf8_lossy(&says));
    }
}

#[test]
fn a_changed_trace_disagrees_and_says_where() {
    let traced = Traced::new();
    session(&traced, &[]);
    let text = fs::read_to_string(&traced.path).unwrap();
    for (from, to, says) in [
        (r#""value":"404""#, r#""value":"500""#, ""),
        (
            r#""frame_type":"rst_stream","code":8"#,
            r#""frame_type":"rst_stream","code":1"#,
            "",
        ),
        (
            r#""name":"http2:frame_received","data":{"stream_id":3,"#,
            r#""name":"http2:frame_received","data":{"stream_id":4,"#,
            "stream_id_of_wrong_parity",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        let changed = traced.path.with_extension("changed");
        fs::write(&changed, text.replacen(from, to, 1)).unwrap();
        let (status, found, _) = run(&["replay", changed.to_str().unwrap()]);
        let found = String::from_utf8(found).unwrap();
        if says.is_empty() {
            // The application's part and the client's code are the trace's: the engine agrees.
            assert_eq!(status, 0, "{found}");
        } else {
            assert_eq!(status, 1, "{found}");
            assert!(
                found.contains(says) && found.contains("stream 3 at "),
                "{found}"
            );
        }
    }
}

#[test]
fn a_trace_becomes_a_test() {
    let traced = Traced::new();
    session(&traced, &[]);
    let path = traced.path.to_str().unwrap();
    let test = traced.path.with_file_name("a_session");
    let test = test.to_str().unwrap();
    let (status, _, says) = run(&["replay", path, "-c", "1", "--as-test", test]);
    assert_eq!((status, says.as_str()), (0, ""));
    // The trace beside the test is one of its own.
    assert_eq!(run(&["replay", &format!("{test}.trace")]).0, 0);
    let committed = "crates/http2/tests/a_session.rs";
    let committed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(committed);
    let test = fs::read_to_string(format!("{test}.rs")).unwrap();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&committed, &test).unwrap();
        fs::copy(&traced.path, committed.with_extension("trace")).unwrap();
    }
    assert_eq!(test, fs::read_to_string(committed).unwrap());
}

#[test]
fn a_waterfall_has_a_row_for_each_stream() {
    let traced = Traced::new();
    session(&traced, &[]);
    let svg = traced.path.with_extension("svg");
    let words = ["trace", traced.path.to_str().unwrap(), "-w"];
    let (status, _, says) = run(&[&words[..], &[svg.to_str().unwrap()]].concat());
    assert_eq!((status, says.as_str()), (0, ""));
    let svg = fs::read_to_string(svg).unwrap();
    for row in [">1 GET 200<", ">3 GET 404<", ">5 POST 200<", ">9 POST 200<"] {
        assert!(svg.contains(row), "{row}: {svg}");
    }
    assert!(svg.contains("waits for handler or upstream: "));
}

#[test]
fn a_part_of_a_connection_cannot_be_replayed() {
    let traced = Traced::new();
    session(&traced, &[]);
    let text = fs::read_to_string(&traced.path).unwrap();
    let from = text.find("connection_started").unwrap();
    let end = from + text[from..].find('\u{1e}').unwrap();
    let start = text[..from].rfind('\u{1e}').unwrap();
    fs::write(&traced.path, text[..start].to_owned() + &text[end..]).unwrap();
    let (status, says, _) = run(&["replay", traced.path.to_str().unwrap()]);
    let says = String::from_utf8(says).unwrap();
    assert_eq!(status, 2);
    assert!(
        says.contains("the trace doesn't have the connection's beginning"),
        "{says}"
    );
}
