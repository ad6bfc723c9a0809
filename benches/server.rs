//! The whole server on the loop in memory, without sockets, TLS and clocks: work that takes the
//! same instructions each time, for benches/instructions.toml.
//!
//! `compare tracked` counts it under callgrind. `BINARY REQUESTS CASE` does one case, and only the
//! function `drive_loop` counts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tidegate::app::App;
use tidegate::command_line::CommandLine;
use tidegate::config::Config;
use tidegate_hpack::{Encoder, Fields};
use tidegate_net::{MemoryLoop, MemorySocket};
use tidegate_testkit::wire::{self, PREFACE};

/// Bytes that a socket in memory holds.
const CAPACITY: usize = 1 << 20;

/// A client of the server.
struct Client {
    socket: MemorySocket,
    encoder: Encoder,
    next: u32,
    received: Vec<u8>,
}

impl Client {
    /// Writes one request for each of these lists of fields.
    fn ask(&mut self, requests: &[Vec<(&str, &str)>]) {
        let mut bytes = Vec::new();
        for fields in requests {
            let mut list = Fields::new();
            for (name, value) in fields {
                list.push(name, value);
            }
            let mut block = Vec::new();
            self.encoder.encode(&list, &mut block);
            bytes.extend(wire::headers_block(self.next, block).end().to_bytes());
            self.next += 2;
        }
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let slices = [std::io::IoSlice::new(bytes)];
        let written = self.socket.write(&slices).expect("the socket is open");
        assert_eq!(written, bytes.len(), "the socket has room");
    }

    /// Reads the answers. Returns how many streams they end.
    fn answers(&mut self) -> usize {
        let mut room = [0; 16 << 10];
        while let Ok(read @ 1..) = self.socket.read(&mut room) {
            self.received.extend_from_slice(&room[..read]);
        }
        let (mut at, mut ended, mut used) = (0, 0, 0u32);
        while let Some([a, b, c, kind, flags, ..]) = self.received.get(at..at + 9) {
            let length = u32::from_be_bytes([0, *a, *b, *c]);
            // RFC 9113 §6.1, §6.2: END_STREAM on DATA or HEADERS.
            ended += usize::from(*kind < 2 && flags & 1 != 0);
            used += if *kind == 0 { length } else { 0 };
            at += 9 + length as usize;
        }
        assert_eq!(at, self.received.len(), "frames arrive whole");
        self.received.clear();
        if used > 0 {
            self.write(&wire::window_update(0, used).to_bytes());
        }
        ended
    }
}

/// The server's part: one turn of its loop.
#[inline(never)]
fn drive_loop(memory: &mut MemoryLoop<App>, now: Instant) {
    memory.turn(now);
}

/// Turns that don't count: until `wanted` streams have ended, as the first ones do only when a
/// thread has read the files.
#[inline(never)]
fn settle(memory: &mut MemoryLoop<App>, client: &mut Client, wanted: usize, now: Instant) {
    let mut ended = 0;
    while ended < wanted {
        memory.turn(now);
        ended += client.answers();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A case: its name, the requests of a wake-up, and whether the client's table is of no use.
struct Case {
    name: &'static str,
    requests: Vec<Vec<(&'static str, &'static str)>>,
    literals: bool,
}

fn get(path: &'static str) -> Vec<(&'static str, &'static str)> {
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
    ];
    [
        &pseudo[..],
        &[(":path", path), ("user-agent", "h2load nghttp2/1.52.0")],
    ]
    .concat()
}

/// A browser's request: 13 fields, 400 bytes of cookies.
fn browse(path: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut fields = get(path);
    fields.pop();
    fields.extend([
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
             Chrome/142.0.0.0 Safari/537.36",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
        ),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        (
            "sec-ch-ua",
            "\"Chromium\";v=\"142\", \"Not A(Brand\";v=\"99\"",
        ),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("referer", "https://localhost/a/page/before.html"),
        (
            "cookie",
            "session=0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01234\
             56789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefgh\
             ijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstu\
             vwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz01234567\
             89abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnop",
        ),
    ]);
    fields
}

/// Files of the repository, of 0.3 to 2 KB.
const PATHS: [&str; 8] = [
    "/LICENSE-MIT",
    "/Cargo.toml",
    "/rustfmt.toml",
    "/crates/frame/Cargo.toml",
    "/crates/hpack/Cargo.toml",
    "/crates/http/Cargo.toml",
    "/crates/http1/Cargo.toml",
    "/crates/ledger/Cargo.toml",
];

fn cases() -> Vec<Case> {
    let case = |name, requests, literals| Case {
        name,
        requests,
        literals,
    };
    let file = PATHS[0];
    vec![
        case("server-repeated", vec![get(file); 32], false),
        case("server-one-stream", vec![get(file)], false),
        case(
            "server-eight-paths",
            PATHS.map(get).into_iter().cycle().take(32).collect(),
            false,
        ),
        case("server-browser", vec![browse(file); 32], false),
        case("server-literals", vec![browse(file); 32], true),
        case("server-status", vec![get("/status"); 32], false),
    ]
}

fn run(case: &Case, requests: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = format!("/={}", root.display());
    let arguments = [
        "tidegate",
        "--log",
        "off",
        "--workers",
        "1",
        "--route",
        &root,
    ];
    let line = arguments.into_iter().chain(["--route", "/status=status"]);
    let line = CommandLine::read(line.map(Into::into)).expect("the flags are valid");
    let mut config = Config::new(&line.flags).expect("the configuration is valid");
    // The files are older than this, and stay as they are.
    config.served.time_of_day = || SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 33);
    let now = Instant::now();
    let app = App::new(config.served, Arc::default());
    let mut memory = MemoryLoop::new(config.options, app, CAPACITY, now).expect("a loop");
    let (ours, theirs) = MemorySocket::pair(CAPACITY);
    memory.accept(theirs, ([127, 0, 0, 1], 1).into());
    let mut client = Client {
        socket: ours,
        encoder: Encoder::new(if case.literals { 0 } else { 4_096 }),
        next: 1,
        received: Vec::new(),
    };
    let mut hello = PREFACE.to_vec();
    hello.extend(wire::settings(&[(0x4, 0x7fff_ffff)]).to_bytes());
    hello.extend(wire::settings_ack().to_bytes());
    client.write(&hello);
    // The first answers fill caches and tables.
    for _ in 0..4 {
        client.ask(&case.requests);
        settle(&mut memory, &mut client, case.requests.len(), now);
    }
    let began = Instant::now();
    let batches = requests / case.requests.len();
    for _ in 0..batches {
        client.ask(&case.requests);
        let mut answered = 0;
        for _ in 0..10 {
            if answered < case.requests.len() {
                drive_loop(&mut memory, now);
                answered += client.answers();
            }
        }
        assert_eq!(answered, case.requests.len(), "all are answered");
    }
    let nanos = began.elapsed().as_nanos() / (batches * case.requests.len()) as u128;
    println!(
        "{}: {nanos} ns a request, the client's part included",
        case.name
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|word| word != "--bench");
    let requests = arguments
        .next()
        .map_or(64_000, |count| count.parse().expect("a number of requests"));
    let wanted = arguments.next();
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    for case in cases().iter().filter(|case| is_wanted(case.name)) {
        run(case, requests);
    }
}
