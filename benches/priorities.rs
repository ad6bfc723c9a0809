//! The cost of priorities: choosing the next stream among few and among many, and signals that a
//! client sends by the thousand.
//!
//! `cargo bench -p tidegate-http2 --bench priorities` prints nanoseconds on one core. For
//! instructions per turn, divide the total of `valgrind --tool=callgrind
//! --toggle-collect='*serve_turns*' BINARY tree 1000` by 20,000.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, Priorities, Rate, ResponseHead, Stream,
};
use tidegate_testkit::wire::{self, Raw};

const TURNS: usize = 20_000;
const ROUNDS: usize = 50;

#[expect(
    clippy::disallowed_methods,
    reason = "the engine has no clock, its bench does"
)]
fn clock() -> Instant {
    Instant::now()
}

/// The shape of the dependencies.
#[derive(Clone, Copy)]
enum Order {
    /// Incremental streams of one urgency (RFC 9218).
    Urgencies,
    /// Siblings of all weights (RFC 7540).
    Tree,
    /// Siblings below 31 streams that have nothing to send, each depending on the one before.
    DeepTree,
}

const ORDERS: [(&str, Order); 3] = [
    ("urgencies", Order::Urgencies),
    ("tree", Order::Tree),
    ("deep tree", Order::DeepTree),
];

impl Order {
    fn request(self, n: u32) -> Raw {
        let id = 1 + 2 * n;
        let weight = (n * 37 % 256) as u8;
        match self {
            Self::Urgencies => {
                let fields = wire::with(wire::GET, &[("priority", "u=3, i")]);
                wire::headers(id, &fields).end()
            }
            Self::Tree => wire::get(id).depends_on(0, false, weight),
            Self::DeepTree => wire::get(id).depends_on(IDLE + 2 * 30, false, weight),
        }
    }
}

/// The first of the streams that are never opened.
const IDLE: u32 = 1_000_001;

/// Makes a server with a client that has wide windows.
fn server(streams: u32) -> (Connection, Outbox) {
    let mut config = Config::server();
    config.priorities = Priorities::Auto;
    config.max_concurrent_streams = streams;
    config.abuse.priorities = Rate::new(u32::MAX, u32::MAX);
    let config = config.build().expect("a valid configuration");
    let mut server = Connection::server(config, clock());
    let mut hello = wire::PREFACE.to_vec();
    hello.extend(wire::settings(&[(0x4, 0x7fff_ffff)]).to_bytes());
    hello.extend(wire::window_update(0, 0x7fff_ffff - 65_535).to_bytes());
    receive(&mut server, &hello);
    (server, Outbox::new())
}

/// Processes the client's bytes, and answers requests with more than is ever sent here.
fn receive(server: &mut Connection, bytes: &[u8]) {
    let mut input = BytesMut::from(bytes);
    while let Some(event) = server.receive(&mut input, clock()) {
        if let Event::Request { id, .. } = event {
            let mut stream = server.stream(id).expect("a request has a stream");
            stream
                .respond(&ResponseHead::new(200), Body::Stream)
                .expect("a request can be answered");
        }
    }
    assert!(input.is_empty() && !server.is_closed());
}

/// Lets the engine send this many DATA frames, and little else.
#[inline(never)]
fn serve_turns(server: &mut Connection, out: &mut Outbox, turns: usize, body: &Bytes) {
    let now = clock();
    let end = server.stats().frames_out + turns as u64;
    while server.stats().frames_out < end {
        if let Flow::Event(Event::Writable { id, .. }) = server.transmit(out, 1 << 18, now) {
            let mut stream = server.stream(id).expect("it is to be written");
            stream.write(&mut body.clone(), false);
        }
        while out.len() >= 1 << 18 {
            out.advance(out.chunk().len());
        }
    }
}

fn picking(name: &str, order: Order, streams: u32) {
    let (mut server, mut out) = server(streams);
    if matches!(order, Order::DeepTree) {
        for level in 0..31 {
            let parent = if level == 0 {
                0
            } else {
                IDLE + 2 * (level - 1)
            };
            let signal = wire::priority(IDLE + 2 * level, parent, false, 15);
            receive(&mut server, &signal.to_bytes());
        }
    }
    for n in 0..streams {
        receive(&mut server, &order.request(n).to_bytes());
    }
    let body = Bytes::from(vec![0; 16_375]);
    // Send every stream's first bytes, so that the turns that count are all alike.
    serve_turns(&mut server, &mut out, 3 * streams as usize, &body);
    // Other work on the machine only adds time: the quickest of many rounds is the engine's time.
    let round = |_| {
        let begin = clock();
        serve_turns(&mut server, &mut out, TURNS / ROUNDS, &body);
        begin.elapsed().as_nanos() / (TURNS / ROUNDS) as u128
    };
    let nanos = (0..ROUNDS).map(round).min().unwrap_or(0);
    println!("{name}, {streams} ready: {nanos} ns a turn");
}

/// The worst shape: all streams depend on one that moves, so that each frame visits all of them.
fn signals(streams: u32) {
    const FRAMES: u32 = 100_000;
    let (mut server, _) = server(streams);
    for n in 0..streams {
        let request = wire::get(1 + 2 * n).depends_on(u32::from(n > 2), false, 15);
        receive(&mut server, &request.to_bytes());
    }
    type Flood = fn(u32) -> Raw;
    let kinds: [(&str, Flood); 2] = [
        ("one that moves", |n| wire::priority(1, n % 2 * 3, true, 15)),
        ("idle ones that come between", |n| {
            wire::priority(IDLE + 2 * n, 0, true, 15)
        }),
    ];
    for (name, signal) in kinds {
        let bytes: Vec<u8> = (0..FRAMES).flat_map(|n| signal(n).to_bytes()).collect();
        let begin = clock();
        receive(&mut server, &bytes);
        let millis = begin.elapsed().as_millis();
        println!("{FRAMES} PRIORITY frames, {name}, {streams} streams: {millis} ms");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let wanted = arguments.first();
    let only: Option<u32> = arguments
        .get(1)
        .map(|n| n.parse().expect("a number of streams"));
    for (name, order) in ORDERS {
        if wanted.is_some_and(|wanted| wanted != name) {
            continue;
        }
        for streams in [10, 100, 1000, 10_000] {
            if only.is_none_or(|only| only == streams) {
                picking(name, order, streams);
            }
        }
    }
    if wanted.is_none() {
        signals(100);
        signals(1000);
    }
}
