//! The server's own service on the real loop, with sockets in memory: requests pass through all of
//! the server but the kernel.
//!
//! `compare` runs it under valgrind, which counts `drive_server` alone. By hand:
//!
//! ```sh
//! cargo bench -p tidegate --bench server -- 100000 --connections 8 --streams 32
//! ```
//!
//! Each connection asks for the same thing on so many streams at once, and goes on when all
//! responses are there. A response counts only if its status is 200 and its body has the right
//! size.

use std::ffi::OsString;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use tidegate::app::App;
use tidegate::command_line::CommandLine;
use tidegate::config::Config;
use tidegate_hpack::{Encoder, Fields};
use tidegate_net::{MemoryLoop, MemorySocket};
use tidegate_testkit::wire::{self, PREFACE, flag, kind};

/// Bytes that a socket takes before the other end reads them.
const CAPACITY: usize = 256 << 10;

/// The largest window (RFC 9113 §6.9.1).
const WINDOW: u32 = 0x7fff_ffff;

/// The requests.
#[derive(Parser)]
struct Flags {
    /// The number of requests, rounded up to whole rounds of all connections.
    requests: usize,
    /// The number of connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests in progress on each connection.
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Fields of a request beyond the four pseudo-header fields.
    #[arg(long, default_value_t = 1)]
    fields: usize,
    /// Has the client write all fields as literals with Huffman codes each time.
    #[arg(long)]
    literals: bool,
    /// A directory to serve; by default /status is asked for.
    #[arg(long, requires = "path")]
    root: Option<PathBuf>,
    /// The path to ask for.
    #[arg(long, default_value = "/status")]
    path: String,
    /// Bytes of the response's body.
    #[arg(long, default_value_t = 15)]
    size: usize,
    #[arg(long, hide = true)]
    bench: bool,
}

/// A client's end of a connection.
struct Client {
    socket: MemorySocket,
    /// Output that the socket had no room for.
    unsent: Vec<u8>,
    /// Input that has no end of a frame yet.
    input: Vec<u8>,
    next_stream: u32,
    /// Responses that are to come.
    open: usize,
    /// Bytes of bodies that have come.
    bytes: usize,
}

/// The header blocks of a connection's first requests: the last one is that of all others, too.
struct Blocks([Vec<u8>; 3]);

impl Blocks {
    fn new(flags: &Flags) -> Self {
        let mut fields = Fields::new();
        fields.push(":method", "GET");
        fields.push(":scheme", "http");
        fields.push(":authority", "127.0.0.1:8080");
        fields.push(":path", &flags.path);
        for n in 0..flags.fields {
            match n {
                0 => fields.push("user-agent", "h2load nghttp2/1.52.0"),
                _ => fields.push(format!("x-field-{n}"), format!("the value of field {n}")),
            }
        }
        let mut encoder = Encoder::new(if flags.literals { 0 } else { 4_096 });
        // The encoder may wait with a field until it has come twice.
        Self(std::array::from_fn(|_| {
            let mut block = Vec::new();
            encoder.encode(&fields, &mut block);
            block
        }))
    }

    fn of(&self, stream: u32) -> &[u8] {
        &self.0[(stream as usize / 2).min(2)]
    }
}

impl Client {
    fn new(socket: MemorySocket) -> Self {
        let mut unsent = PREFACE.to_vec();
        unsent.extend(wire::settings(&[(4, WINDOW)]).to_bytes());
        unsent.extend(wire::window_update(0, WINDOW - 65_535).to_bytes());
        Self {
            socket,
            unsent,
            input: Vec::new(),
            next_stream: 1,
            open: 0,
            bytes: 0,
        }
    }

    /// Asks on this many streams.
    fn ask(&mut self, blocks: &Blocks, streams: usize) {
        for _ in 0..streams {
            let block = blocks.of(self.next_stream);
            let [_, a, b, c] = (block.len() as u32).to_be_bytes();
            let flags = flag::END_HEADERS | flag::END_STREAM;
            self.unsent.extend([a, b, c, kind::HEADERS, flags]);
            self.unsent.extend(self.next_stream.to_be_bytes());
            self.unsent.extend_from_slice(block);
            self.next_stream += 2;
        }
        self.open += streams;
    }

    /// Writes what there is room for, and reads what has come.
    fn turn(&mut self, buffer: &mut [u8]) {
        match self.socket.write(&[IoSlice::new(&self.unsent)]) {
            Ok(written) => drop(self.unsent.drain(..written)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        // What the server said before it closed the connection is read first.
        let is_closed = loop {
            match self.socket.read(buffer) {
                Ok(0) => break true,
                Ok(read) => self.input.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => panic!("{error}"),
            }
        };
        let mut at = 0;
        while let Some(&[a, b, c, kind, flags, ..]) = self.input[at..].first_chunk::<9>() {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(payload) = self.input.get(at + 9..at + 9 + length) else {
                break;
            };
            at += 9 + length;
            match kind {
                kind::HEADERS => {
                    let block = payload.iter().find(|byte| **byte & 0xe0 != 0x20);
                    assert_eq!(block, Some(&0x88), "the status is 200");
                }
                kind::DATA => self.bytes += length,
                kind::SETTINGS if flags & flag::ACK == 0 => {
                    self.unsent.extend([0, 0, 0, kind::SETTINGS, flag::ACK]);
                    self.unsent.extend([0; 4]);
                }
                kind::PING if flags & flag::ACK == 0 => {
                    self.unsent.extend([0, 0, 8, kind::PING, flag::ACK]);
                    self.unsent.extend([0; 4]);
                    self.unsent.extend_from_slice(payload);
                }
                kind::RST_STREAM | kind::GOAWAY => {
                    panic!("the server gave up: {}", payload.escape_ascii())
                }
                _ => {}
            }
            if flags & flag::END_STREAM != 0 && matches!(kind, kind::DATA | kind::HEADERS) {
                self.open -= 1;
            }
        }
        self.input.drain(..at);
        assert!(!is_closed, "the server closed the connection");
    }
}

/// Makes the service that these flags describe, as the server's binary would.
fn server(flags: &Flags, now: Instant) -> MemoryLoop<App> {
    let mut words: Vec<OsString> = ["tidegate", "--listen", "none"].map(Into::into).into();
    words.extend(["--listen-h2c", "127.0.0.1:0", "--max-streams", "10000"].map(Into::into));
    words.extend(["--route".into(), "/status=status".into()]);
    if let Some(root) = &flags.root {
        words.extend(["--root".into(), root.into()]);
    }
    let line = CommandLine::read(words).expect("the command line is valid");
    let config =
        Config::with_sites(&line.flags, &line.sites, &line.upstreams).expect("the flags are valid");
    let app = App::new(config.served, Arc::default());
    MemoryLoop::new(config.options, app, CAPACITY, now).expect("there are descriptors")
}

/// Lets the server do all that it can: what valgrind counts.
#[inline(never)]
fn drive_server(server: &mut MemoryLoop<App>, now: Instant) {
    while server.turn(now) && server.next_turn(now) == Some(now) {}
}

fn main() {
    let flags = Flags::parse();
    // Time stands still, so that each run takes the same turns.
    let now = Instant::now();
    let mut server = server(&flags, now);
    let blocks = Blocks::new(&flags);
    let mut clients: Vec<_> = (0..flags.connections)
        .map(|n| {
            let (client, socket) = MemorySocket::pair(CAPACITY);
            let [.., a, b] = (n as u32).to_be_bytes();
            server.accept(socket, SocketAddr::from(([10, 0, a, b], 1024)));
            Client::new(client)
        })
        .collect();
    let rounds = flags.requests.div_ceil(flags.connections * flags.streams);
    let mut buffer = vec![0; CAPACITY];
    let mut serving = Duration::ZERO;
    for _ in 0..rounds {
        for client in &mut clients {
            client.ask(&blocks, flags.streams);
        }
        while clients.iter().any(|client| client.open > 0) {
            for client in &mut clients {
                client.turn(&mut buffer);
            }
            let began = Instant::now();
            drive_server(&mut server, now);
            serving += began.elapsed();
            for client in &mut clients {
                client.turn(&mut buffer);
            }
        }
    }
    let requests = rounds * flags.connections * flags.streams;
    let bytes: usize = clients.iter().map(|client| client.bytes).sum();
    assert_eq!(bytes, requests * flags.size, "all bodies are complete");
    println!(
        "{requests} requests, {:.0} ns each",
        serving.as_secs_f64() * 1e9 / requests as f64
    );
}
