//! Tests of whole lines, in each format.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use tidegate_http::{ErrorCode, ResetCause, Violation};
use tidegate_pool::{Failure, Trip};

use super::entry::{Addresses, Tls};
use super::*;

const SENT: Sent = Sent {
    status: 200,
    bytes: 15,
};

fn clock() -> Clock {
    Clock::new(UNIX_EPOCH + Duration::from_millis(784_111_777_250))
}

fn head() -> RequestHead {
    RequestHead::new("GET", "https", "Example.com:8443", "/a?b=c").field("user-agent", "curl")
}

/// Returns the line of a request in this format, after `note` has noted more.
fn written(format: &str, head: RequestHead, sent: Sent, note: impl FnOnce(&mut Entry)) -> String {
    let format = match format {
        "short" => Arc::new(Format::short()),
        format => Format::parse(format).unwrap(),
    };
    let (shape, now) = (Arc::new(Shape { format }), Instant::now());
    let mut entry = Entry::new(shape, Arc::new(head), StreamId::new(5), "HTTP/2", now);
    let addr = |text: &str| -> SocketAddr { text.parse().unwrap() };
    entry.addresses = Some(Addresses {
        peer: addr("[::ffff:192.0.2.7]:4711"),
        via: None,
        local: addr("198.51.100.1:443"),
        reported: None,
    });
    note(&mut entry);
    let line = Line {
        entry: &entry,
        sent,
        took: Duration::from_micros(1234),
        clock: &clock(),
        rate: None,
    };
    let mut out = Vec::new();
    line.write(&mut out);
    let line = String::from_utf8(out).unwrap();
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    line.trim_end_matches('\n').to_owned()
}

fn json(head: RequestHead, sent: Sent, note: impl FnOnce(&mut Entry)) -> Value {
    serde_json::from_str(&written("json", head, sent, note)).unwrap()
}

#[test]
fn combined_log_format() {
    let line = written("combined", head(), SENT, |_| {});
    assert_eq!(
        line,
        "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b=c HTTP/2\" 200 15 \"-\" \"curl\" \
         0.001234"
    );
    let addr = "[2001:db8::1]:80".parse().unwrap();
    let line = written("combined", head(), Sent::NOTHING, |entry| {
        entry.stream = StreamId::new(2);
        let mut trip = Trip::default();
        trip.addr = Some(addr);
        entry.note_trip(trip);
    });
    let end = "\" 000 0 \"-\" \"curl\" 0.001234 pushed upstream=[2001:db8::1]:80";
    assert!(line.ends_with(end), "{line}");
}

#[test]
fn the_line_of_the_log() {
    let line = written("short", head(), SENT, |_| {});
    assert_eq!(
        line,
        "192.0.2.7:4711 \"GET /a?b=c HTTP/2\" 200 15 1.2ms \"curl\""
    );
}

#[test]
fn a_line_of_json_has_what_is_known_and_nothing_else() {
    let plain = json(head(), SENT, |_| {});
    let expected = serde_json::json!({
        "timestamp": "1994-11-06T08:49:37.250Z",
        "client.address": "192.0.2.7",
        "client.port": 4711,
        "network.peer.address": "192.0.2.7",
        "network.peer.port": 4711,
        "network.local.address": "198.51.100.1",
        "network.local.port": 443,
        "network.protocol.version": "2",
        "http.request.method": "GET",
        "url.scheme": "https",
        "server.address": "Example.com",
        "url.path": "/a",
        "url.query": "b=c",
        "http.response.status_code": 200,
        "http.response.body.size": 15,
        "http.request.body.size": 0,
        "tidegate.request.header.size": 73,
        "http.server.request.duration": 0.001_234,
        "tidegate.stream": 5,
        "tidegate.priority": "u=3",
        "user_agent.original": "curl",
    });
    assert_eq!(plain, expected);
}

#[test]
fn everything_that_can_be_known_has_its_field() {
    let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let head = head()
        .field("traceparent", context)
        .field("referer", "https://example.org/");
    let full = |entry: &mut Entry| {
        entry.stream = StreamId::new(2);
        entry.addresses.as_mut().unwrap().via = Some("10.0.0.1:9".parse().unwrap());
        entry.addresses.as_mut().unwrap().reported = Some("2001:db8::9".parse().unwrap());
        entry.tls = Some(Tls {
            version: "TLSv1_3",
            cipher: "TLS13_AES_128_GCM_SHA256",
            server_name: Some("example.com".into()),
        });
        let mut blocks = tidegate_http2::LastBlocks::default();
        (blocks.received, blocks.sent, blocks.sent_fields) = (30, 12, 184);
        entry.note_request_block(blocks);
        entry.note_response(Some(blocks), entry.began + Duration::from_millis(1));
        entry.note_received(7);
        let mut trip = Trip::default();
        trip.addr = Some("10.0.0.9:80".parse().unwrap());
        (trip.tries, trip.queued) = (2, Duration::from_millis(3));
        trip.connecting = Duration::from_millis(4);
        trip.answering = Duration::from_millis(5);
        entry.note_failure(&Failure::TimedOut, Some(trip));
        entry.note_cache(Cache::Miss);
        entry.note_hint();
        entry.note_request_id("id-1");
        let broken = ResetCause::Violation(Violation::BodyTooSlow);
        entry.note_cause(ErrorCode::CANCEL, broken);
    };
    let line = json(head.clone(), SENT, full);
    for (key, value) in [
        ("client.address", "2001:db8::9".into()),
        ("network.peer.address", "10.0.0.1".into()),
        ("network.peer.port", 9.into()),
        ("tls.protocol.version", Value::from("1.3")),
        ("tls.cipher", "TLS_AES_128_GCM_SHA256".into()),
        ("tls.client.server_name", "example.com".into()),
        ("tidegate.request.header.compressed_size", 30.into()),
        ("tidegate.response.header.size", 184.into()),
        ("tidegate.response.header.compressed_size", 12.into()),
        ("http.request.body.size", 7.into()),
        ("tidegate.first_byte.duration", 0.001.into()),
        ("tidegate.upstream.address", "10.0.0.9:80".into()),
        ("tidegate.upstream.tries", 2.into()),
        ("tidegate.upstream.queue.duration", 0.003.into()),
        ("tidegate.upstream.connect.duration", 0.004.into()),
        ("tidegate.upstream.first_byte.duration", 0.005.into()),
        ("error.type", "http_response_timeout".into()),
        ("tidegate.cache", "miss".into()),
        ("tidegate.push", true.into()),
        ("tidegate.early_hints", true.into()),
        ("tidegate.reset.code", "CANCEL".into()),
        ("tidegate.reset.by", "server".into()),
        ("tidegate.violation", "BodyTooSlow".into()),
        ("http.request.header.x-request-id", vec!["id-1"].into()),
        (
            "http.request.header.referer",
            vec!["https://example.org/"].into(),
        ),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c".into()),
        ("span_id", "b7ad6b7169203331".into()),
        ("trace_flags", "01".into()),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert_eq!(line.get("client.port"), None, "a proxy's field has none");
    // Only sampled logs have this one.
    let keys = fields::Field::ALL
        .iter()
        .filter(|field| !field.key().is_empty());
    let missing: Vec<&str> = keys
        .map(|field| field.key())
        .filter(|key| line.get(key).is_none())
        .collect();
    assert_eq!(missing, ["client.port", "tidegate.sample_rate"]);
    // In a template every field has a value, too.
    for field in fields::Field::ALL {
        let text = written(&format!("${}", field.name()), head.clone(), SENT, full);
        let is_missing = ["remote_port", "sample_rate"].contains(&field.name());
        assert_eq!(text == "-", is_missing, "{field:?}: {text}");
    }
    let template = "$http_x_none|$http_Referer|${ssl_protocol}|$traceparent|$$";
    let line = written(template, head, SENT, full);
    assert_eq!(line, format!("-|https://example.org/|TLSv1.3|{context}|$"));
}

#[test]
fn what_strangers_send_forges_no_line() {
    let evil = b"\" 200\r\n{\"x\":1}\n\\\x1b[2J\x80\xff\xe2\x80\xa8";
    let head = RequestHead::new("GET", "https", "a", "/")
        .field("user-agent", evil)
        .field("referer", evil)
        .field("x-request-id", evil)
        .field("x-evil", evil);
    let line = written("combined", head.clone(), SENT, |_| {});
    let quoted = "\\\" 200\\x0d\\x0a{\\\"x\\\":1}\\x0a\\\\\\x1b[2J\\x80\\xff\\xe2\\x80\\xa8";
    assert!(
        line.contains(&format!("\"{quoted}\" \"{quoted}\"")),
        "{line}"
    );
    assert_eq!(written("$http_x_evil", head.clone(), SENT, |_| {}), quoted);
    let object = json(head, SENT, |_| {});
    let text = String::from_utf8_lossy(evil).into_owned();
    assert_eq!(object["user_agent.original"], Value::from(text.clone()));
    assert_eq!(
        object["http.request.header.x-request-id"],
        Value::from(vec![text])
    );
}

#[test]
fn long_values_are_cut() {
    let head = RequestHead::new("GET", "https", "a", &format!("/{}", "p".repeat(9000)))
        .field("user-agent", "u".repeat(9000));
    let line = written("combined", head.clone(), SENT, |_| {});
    assert!(line.len() < 2048 + 1024 + 200, "{}", line.len());
    let object = json(head, SENT, |_| {});
    assert_eq!(object["url.path"].as_str().map(str::len), Some(2048));
    assert_eq!(
        object["user_agent.original"].as_str().map(str::len),
        Some(1024)
    );
}

#[test]
fn hosts_have_no_port() {
    for (authority, host) in [
        ("example.com", "example.com"),
        ("example.com:443", "example.com"),
        ("[2001:db8::1]:443", "[2001:db8::1]"),
        ("[2001:db8::1]", "[2001:db8::1]"),
    ] {
        let head = RequestHead::new("GET", "https", authority, "/");
        assert_eq!(written("$host", head, SENT, |_| {}), host);
    }
}

/// Returns settings of a log in this file.
fn settings(path: &Path, format: &str, sampling: &str) -> Settings {
    let place = Place::File(path.into());
    let format = Format::parse(format).unwrap();
    let destination = Destination::open(&place, format.style(), None).unwrap();
    Settings {
        place,
        destination: destination.unwrap(),
        format,
        sampling: Sampling::parse(sampling).unwrap(),
    }
}

fn logs(all: Vec<Settings>) -> Logs {
    Logs {
        all,
        of_no_site: Some(0),
    }
}

#[test]
fn lines_are_appended_to_the_file_of_their_log() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["one", "other"].map(|name| dir.path().join(name));
    fs::write(&paths[0], "before\n").unwrap();
    let open = logs(vec![
        settings(&paths[0], "combined", "100%"),
        settings(&paths[1], "$path $status", "100%,404=0%"),
    ]);
    let mut worker = AccessLogs::new(&open);
    let (now, clock, head) = (Instant::now(), clock(), Arc::new(head()));
    let begin = |worker: &AccessLogs, log| {
        let entry = worker.begin(log, &head, StreamId::new(1), "HTTP/2", now);
        entry.unwrap()
    };
    let missing = Sent {
        status: 404,
        bytes: 0,
    };
    for (log, sent) in [(0, SENT), (1, SENT), (1, missing), (0, missing)] {
        let entry = begin(&worker, log);
        worker.end(&entry, sent, &clock, now);
    }
    assert!(worker.is_enabled(1) && !worker.is_enabled(2));
    // A request in progress stays with its log when there are others.
    let entry = begin(&worker, 1);
    let third = dir.path().join("third");
    let others = logs(vec![settings(&third, "$status", "100%")]);
    worker.replace(&others);
    worker.end(&entry, SENT, &clock, now);
    let new = begin(&worker, 0);
    worker.end(&new, SENT, &clock, now);
    drop((entry, new));
    worker.flush();
    assert!(worker.former.is_empty());
    for logs in [&open, &others] {
        logs.flush(now + Duration::from_secs(60));
    }
    let text = fs::read_to_string(&paths[0]).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("before\n- - - [06/Nov/1994:"), "{text}");
    assert_eq!(fs::read_to_string(&paths[1]).unwrap(), "/a 200\n/a 200\n");
    assert_eq!(fs::read_to_string(&third).unwrap(), "200\n");
}

#[test]
fn a_sampled_line_says_its_rate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let open = logs(vec![settings(&path, "json", "25%,5xx=100%")]);
    let mut worker = AccessLogs::new(&open);
    let (now, clock, head) = (Instant::now(), clock(), Arc::new(head()));
    for status in [200, 500] {
        for _ in 0..100 {
            let entry = worker.begin(0, &head, StreamId::new(1), "HTTP/2", now);
            let sent = Sent { status, bytes: 0 };
            worker.end(&entry.unwrap(), sent, &clock, now);
        }
    }
    drop(worker);
    open.flush(now + Duration::from_secs(60));
    let text = fs::read_to_string(&path).unwrap();
    let rates = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["tidegate.sample_rate"].as_f64().unwrap()
    });
    let rates: Vec<f64> = rates.collect();
    assert_eq!(rates.iter().filter(|rate| **rate == 1.0).count(), 100);
    let sampled = rates.iter().filter(|rate| **rate == 0.25).count();
    assert!((24..=26).contains(&sampled), "{sampled}");
}
