//! The engine alone, in memory: a client engine and a server engine joined by a buffer.
//!
//! `cargo bench -p tidegate-http2 --bench engine -- WORKLOAD` prints requests per second on one
//! core. `tools/engine-instructions.sh` prints instructions per request of the server engine alone:
//! the total of `valgrind --tool=callgrind --toggle-collect='*drive_server*' BINARY 32000
//! WORKLOAD`, divided by 32,000.
//!
//! Workloads: `tiny`, a request of five fields that always is the same; `paths`, the same with
//! eight paths in turn; `browser`, 14 fields of a browser and 400 bytes of cookies in the dynamic
//! table, with eight paths; `literals`, the same from a client without a table, so that all fields
//! are Huffman code each time; `pages`, the same with a referer that differs, too, so that no
//! request ends like the one before.

use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, RequestHead, ResponseHead, Stream,
};

/// How many streams are opened before the other end sees them: as h2load's `-m 32`.
const BATCH: usize = 32;

#[expect(
    clippy::disallowed_methods,
    reason = "the engine has no clock, its bench does"
)]
fn clock() -> Instant {
    Instant::now()
}

/// Moves one end's output to the other end's input.
fn carry(from: &mut Connection, out: &mut Outbox, wire: &mut BytesMut, now: Instant) {
    let flow = from.transmit(out, usize::MAX, now);
    assert!(matches!(flow, Flow::Drained), "unexpected {flow:?}");
    while out.has_remaining() {
        let n = out.chunk().len();
        wire.extend_from_slice(out.chunk());
        out.advance(n);
    }
}

/// The requests, and what answers each.
struct Workload {
    requests: Vec<RequestHead>,
    answers: Vec<(ResponseHead, Bytes)>,
    /// The size of the client's dynamic table in bytes.
    table: u32,
}

/// The fields that a browser sends with most requests.
const BROWSER: [(&str, &str); 14] = [
    (
        "sec-ch-ua",
        r#""Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99""#,
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", r#""Linux""#),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("referer", "https://127.0.0.1:8443/products/benches/"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    (
        "cookie",
        "_ga=GA1.2.1804562375.1762250000; _gid=GA1.2.441298751.1762250000; consent=analytics:1,ads:0,functional:1; \
        session=eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
        SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c; theme=dark; cart=3f9a1c; locale=en-GB; ab=variant-b-2026-11",
    ),
    ("priority", "u=0, i"),
];

impl Workload {
    fn new(name: &str) -> Self {
        let fields: &[_] = match name {
            "tiny" | "paths" => &[("user-agent", "h2load nghttp2/1.52.0")],
            "browser" | "literals" | "pages" => &BROWSER,
            _ => panic!("no workload is called {name}"),
        };
        let paths = if name == "tiny" { 1 } else { 8 };
        let request = |path: usize| {
            let referer = format!("https://127.0.0.1:8443/products/benches/{path}");
            let path = format!("/{}.txt", 15 + path);
            let head = RequestHead::new("GET", "https", "127.0.0.1:8443", &path);
            fields.iter().fold(head, |head, &(field, value)| {
                let is_new = (name, field) == ("pages", "referer");
                head.field(field, if is_new { &referer } else { value })
            })
        };
        Self {
            requests: (0..paths).map(request).collect(),
            answers: (0..paths).map(answer).collect(),
            table: match name {
                "literals" | "pages" => 0,
                _ => 4096,
            },
        }
    }
}

/// Makes the response for a path.
fn answer(path: usize) -> (ResponseHead, Bytes) {
    let head = ResponseHead::new(200)
        .field("server", "tidegate")
        .field("date", "Sun, 22 Nov 2026 12:00:00 GMT")
        .field("content-type", "text/plain; charset=utf-8")
        .field("content-length", "15")
        .field("last-modified", "Sun, 22 Nov 2026 11:00:00 GMT")
        .field("etag", format!("\"6921a2b{path}-f\""))
        .field("accept-ranges", "bytes");
    (head, Bytes::from_static(b"fifteen bytes!!"))
}

/// Opens a batch of requests.
fn ask(client: &mut Connection, requests: &[RequestHead]) {
    for head in requests.iter().cycle().take(BATCH) {
        client
            .open(head, Body::Empty)
            .expect("there is room for a batch");
    }
}

/// The server's part of a batch: takes all requests, answers them, and produces the bytes.
#[inline(never)]
fn drive_server(
    server: &mut Connection,
    wire: &mut BytesMut,
    out: &mut Outbox,
    now: Instant,
    answers: &[(ResponseHead, Bytes)],
) {
    let mut answers = answers.iter().cycle();
    while let Some(event) = server.receive(wire, now) {
        if let Event::Request { id, .. } = event {
            let mut stream = server.stream(id).expect("a request has a stream");
            let (head, body) = answers.next().expect("the cycle has no end");
            stream
                .respond(head, Body::Full(body.clone()))
                .expect("a request can be answered");
        }
    }
    let flow = server.transmit(out, usize::MAX, now);
    assert!(matches!(flow, Flow::Drained), "unexpected {flow:?}");
}

fn main() {
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let mut name = "tiny".to_owned();
    let mut requests = 2_000_000_usize;
    for argument in arguments {
        match argument.parse() {
            Ok(count) => requests = count,
            Err(_) => name = argument,
        }
    }
    let batches = requests / BATCH;
    let now = clock();
    let workload = Workload::new(&name);
    let mut config = Config::server();
    config.max_concurrent_streams = 1000;
    let mut server = Connection::server(config.build().expect("a valid configuration"), now);
    let mut config = Config::client();
    config.encoder_table_size = workload.table;
    let config = config.build().expect("a valid configuration");
    let mut client = Connection::client(config, now);
    let (mut to_server, mut to_client) = (BytesMut::new(), BytesMut::new());
    let mut out = Outbox::new();
    let mut serving = Duration::ZERO;
    let start = clock();
    for _ in 0..batches {
        ask(&mut client, &workload.requests);
        carry(&mut client, &mut out, &mut to_server, now);
        let served = clock();
        drive_server(
            &mut server,
            &mut to_server,
            &mut out,
            now,
            &workload.answers,
        );
        serving += served.elapsed();
        carry(&mut server, &mut out, &mut to_client, now);
        while client.receive(&mut to_client, now).is_some() {}
    }
    let both = start.elapsed();
    assert_eq!(server.stats().requests as usize, batches * BATCH);
    report("server engine", batches, serving);
    report("client and server engine", batches, both);
}

fn report(what: &str, batches: usize, elapsed: Duration) {
    let requests = (batches * BATCH) as f64;
    let seconds = elapsed.as_secs_f64();
    println!(
        "{what}: {:.0} requests/s, {:.0} ns a request",
        requests / seconds,
        seconds * 1e9 / requests
    );
}
