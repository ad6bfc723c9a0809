//! WebSockets of Chromium, and one whose every byte is checked.
//!
//! Chromium speaks HTTP/1.1 in cleartext. Over TLS it opens WebSockets on the HTTP/2 connection of
//! the page (RFC 8441), because the server advertises that. The upstreams are net/http, and a
//! tidegate with HTTP/2 in front of it.

use std::fs;

use tidegate_testkit::signals::eventually;

use crate::bench::Bench;
use crate::client::{Client, Transport, verdict};
use crate::process::{Log, Result};
use crate::upstreams::{BOUND, Go, Speaks};
use crate::websocket::{Course, talk};

/// How many WebSockets the page opens for each upstream, one after the other.
const ROUNDS: usize = 15;

const UPSTREAMS: [&str; 5] = ["http", "https", "https1", "h2c", "chain"];

/// The fields of a request for a WebSocket.
const UPGRADE: &[&str] = &[
    "-H",
    "Connection: Upgrade",
    "-H",
    "Upgrade: websocket",
    "-H",
    "Sec-WebSocket-Version: 13",
    "-H",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

pub(crate) fn websockets(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let behind = bench
        .tidegate("warn")
        .flags(&["--websocket", "/websocket"])
        .route("/", &go.url(Speaks::Http))
        .start()?;
    let proxy = bench
        .tidegate("info")
        .flags(&["--root", &bench.www().display().to_string()])
        .flags(&[
            "--websocket",
            "/http/websocket",
            "--websocket",
            "/https/websocket",
        ])
        .flags(&[
            "--websocket",
            "/https1",
            "--websocket",
            "/h2c",
            "--websocket",
            "/chain",
        ])
        .route("/http", &format!("{}/", go.url(Speaks::Http)))
        .route("/https", &format!("{}/", go.url(Speaks::Https)))
        .route("/https1", &format!("{}/", go.url(Speaks::Https1)))
        .route("/h2c", &format!("h2c://{}/", behind.http))
        .route("/chain", &format!("https://{}/", behind.https))
        .route("/closed", &format!("{}/", go.url(Speaks::Http)))
        .start()?;
    let closed = |status: u16, wanted: usize| {
        let line = format!("websocket over, closed with {status}");
        eventually(BOUND, || Ok(go.log.count(&line)? == wanted))
    };

    for (at, name) in UPSTREAMS.iter().enumerate() {
        let path = format!("/{name}/websocket");
        bench.expect(
            format_args!("byte by byte, {name}"),
            talk(&proxy.http, &path, Some("echo"))?,
            Course::perfect("echo"),
        );
        bench.expect(
            format_args!("the upstream saw it closed, {name}"),
            closed(1000, at + 1)?,
            true,
        );
    }
    let client = Client::new(bench, &proxy, Transport::Http1);
    bench.expect(
        "where WebSockets are not allowed it is forwarded as a GET",
        client.lines("/closed/show", UPGRADE, &["GET", "upgrade", "connection"])?,
        vec!["GET /show HTTP/1.1"],
    );
    for (what, path, line) in [
        (
            "and nothing is upgraded",
            "/closed/websocket",
            "426 Upgrade Required",
        ),
        // The proxy allows these WebSockets, but the upstream has none there: its answer is
        // forwarded.
        ("an upstream may refuse it", "/https1/none", "404 Not Found"),
        ("or answer as if it were a GET", "/https1/show", "200 OK"),
    ] {
        let wanted = Course::answered(&format!("HTTP/1.1 {line}"));
        bench.expect(what, talk(&proxy.http, path, None)?, wanted);
    }

    let page = include_str!("../../pages/websockets.html").replace("ROUNDS", &ROUNDS.to_string());
    fs::write(bench.path("www/page/websockets.html"), page)?;
    let each = UPSTREAMS.len() * ROUNDS;
    for (transport, version) in [
        (Transport::Http1, "HTTP/1.1"),
        (Transport::Https1, "HTTP/2"),
    ] {
        let client = Client::new(bench, &proxy, transport);
        let before = finished(&proxy.log, version)?;
        let page = format!("/page/websockets.html?{}", UPSTREAMS.join(","));
        bench.expect(
            format_args!("Chromium's WebSockets, {version}"),
            verdict(bench, &client.url(&page))?,
            "text binary text 4000 true",
        );
        // The log has each WebSocket once the server has seen its end.
        eventually(
            BOUND,
            || Ok(finished(&proxy.log, version)? - before >= each),
        )?;
        bench.expect(
            format_args!("all came by {version}"),
            finished(&proxy.log, version)? - before,
            each,
        );
    }
    bench.expect(
        "the upstream saw each of them closed with the page's status",
        closed(4000, 2 * each)?,
        true,
    );
    proxy.stop()
}

/// Returns how many finished WebSockets of this version the log has. A GET for a WebSocket is
/// logged as CONNECT.
fn finished(log: &Log, version: &str) -> Result<usize> {
    let end = format!("/websocket {version}\" 200");
    let text = log.text()?;
    let is_finished = |line: &&str| line.contains("\"CONNECT /") && line.contains(&end);
    Ok(text.lines().filter(is_finished).count())
}
