//! A client's account has everything that its connections hold, whether a target of the server or a
//! proxy answers, over HTTP/1.1 and HTTP/2. The tests use sockets in memory;
//! crates/net/tests/net/sharing.rs covers handshakes.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::app::App;
use tidegate_ledger::{Ledger, Resource};
use tidegate_net::{MemoryLoop, MemorySocket};

use crate::server::served_in_process;

/// How many bytes each end of a socket takes before the other end reads them.
const CAPACITY: usize = 64 << 10;

/// How far a lease may exceed what is held: leases change in steps of 4 KiB, and may be two steps
/// above.
const BATCHES: u64 = 8 << 10;

/// Bytes in the value of a large field. Two such fields fit into a head.
const LARGE: usize = 14_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

struct Lab {
    memory: MemoryLoop<App>,
    ledger: Arc<Ledger>,
    now: Instant,
    _dir: TempDir,
}

impl Lab {
    /// Creates a server whose `/echo` sends bodies back, and whose `/up` leads to an upstream that
    /// can't be reached.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        let flags = [
            "tidegate",
            "--route",
            "/echo=echo",
            "--route",
            "/up=h2c://127.0.0.1:9",
            "--memory-budget",
            "64M",
            "--access-log",
            log.to_str().unwrap(),
        ];
        let (served, options) = served_in_process(&flags);
        let ledger = Arc::clone(&options.ledger);
        let now = Instant::now();
        let app = App::new(served, Arc::default());
        let memory = MemoryLoop::new(options, app, CAPACITY, now).unwrap();
        Self {
            memory,
            ledger,
            now,
            _dir: dir,
        }
    }

    fn run(&mut self) {
        self.now += Duration::from_millis(1);
        for _ in 0..10_000 {
            assert!(self.memory.turn(self.now));
            let next = self.memory.next_turn(self.now);
            if next.is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("it never rests");
    }

    /// Sends `words`, as far as the server takes them. Returns how many bytes the server has read.
    fn say(&mut self, socket: &mut MemorySocket, words: &[u8]) -> usize {
        let mut rest = words;
        while let Ok(count @ 1..) = socket.write(&[IoSlice::new(rest)]) {
            rest = &rest[count..];
            self.run();
        }
        words.len() - rest.len() - (CAPACITY - socket.room())
    }
}

/// Returns an HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// Returns HEADERS of a POST with this number of large fields, and CONTINUATION. The last frame has
/// the flags `last`: `END_HEADERS` or none.
fn head_frames(path: &str, stream: u8, fields: usize, last: u8) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x01a");
    for _ in 0..fields {
        // A literal whose length is LARGE (RFC 7541 §5.1).
        let rest = LARGE - 127;
        block.extend_from_slice(b"\x00\x01x\x7f");
        block.extend([0x80 | (rest & 0x7f) as u8, (rest >> 7) as u8]);
        block.extend(vec![b'v'; LARGE]);
    }
    let count = block.chunks(16_000).count();
    let frames = block.chunks(16_000).enumerate().map(|(at, piece)| {
        let kind = if at == 0 { 1 } else { 9 };
        let flags = if at + 1 == count { last } else { 0 };
        frame(kind, flags, stream, piece)
    });
    frames.collect::<Vec<_>>().concat()
}

/// Returns the beginning of a POST over HTTP/1.1 with this number of large fields.
fn head_lines(path: &str, fields: usize) -> Vec<u8> {
    let large = format!("X: {}\r\n", "v".repeat(LARGE)).repeat(fields);
    format!("POST {path} HTTP/1.1\r\nHost: a\r\n{large}").into_bytes()
}

const END_HEADERS: u8 = 4;

/// A row of the table: its name, what the client sends, and the least that the server then holds
/// for it, given how many bytes it has read and sent.
type Row = (&'static str, fn(Over, &str) -> Vec<u8>, fn(u64, u64) -> u64);

fn unfinished_head(over: Over, path: &str) -> Vec<u8> {
    match over {
        Over::Http1 => head_lines(path, 2),
        Over::Http2 => head_frames(path, 1, 2, 0),
    }
}

fn head_in_progress(over: Over, path: &str) -> Vec<u8> {
    match over {
        Over::Http1 => [&head_lines(path, 2), &b"Content-Length: 9\r\n\r\n"[..]].concat(),
        Over::Http2 => head_frames(path, 1, 2, END_HEADERS),
    }
}

/// Returns more of a body than both sockets take.
fn body(over: Over, path: &str) -> Vec<u8> {
    match over {
        Over::Http1 => [
            &head_lines(path, 0),
            &b"Content-Length: 999999\r\n\r\n"[..],
            &[b'x'; 3 * CAPACITY],
        ]
        .concat(),
        Over::Http2 => {
            let data = (0..4).map(|_| frame(0, 0, 1, &[b'x'; 16_000]));
            let data: Vec<u8> = data.flatten().collect();
            [head_frames(path, 1, 0, END_HEADERS), data].concat()
        }
    }
}

/// Returns input that the engine takes only after the request before it has ended, or after the
/// client has read something.
fn unread_input(over: Over, path: &str) -> Vec<u8> {
    match over {
        Over::Http1 => [
            // A complete request, in progress because its upstream can't be reached.
            &head_lines("/up", 0),
            &b"Content-Length: 9\r\n\r\n123456789"[..],
            &head_lines(path, 2),
        ]
        .concat(),
        Over::Http2 => frame(6, 0, 0, &[1; 8]).repeat(3 * CAPACITY / 17),
    }
}

/// Returns requests whose responses the client doesn't read.
fn unsent(over: Over, _: &str) -> Vec<u8> {
    match over {
        Over::Http1 => b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".repeat(4000),
        Over::Http2 => {
            let window = |stream| frame(8, 0, stream, &[0, 2, 0, 0]);
            let echoes = [1, 3, 5].map(|stream| {
                let data = frame(0, 0, stream, &[b'x'; 16_000]).repeat(3);
                [
                    head_frames("/echo", stream, 0, END_HEADERS),
                    window(stream),
                    data,
                ]
                .concat()
            });
            [window(0), echoes.concat()].concat()
        }
    }
}

const ROWS: [Row; 5] = [
    ("an unfinished head", unfinished_head, |read, _| read),
    // The head is held once here, and once for the log and other owners.
    (
        "the head of a request in progress",
        head_in_progress,
        |read, _| 2 * read,
    ),
    ("a body", body, |read, sent| read - sent.min(read)),
    ("input that waits", unread_input, |read, sent| {
        read - sent.min(read)
    }),
    // Over HTTP/1.1, responses are longer than requests, and the server reads no more requests
    // while that many responses wait.
    ("answers that wait", unsent, |read, sent| {
        (read - sent.min(read)).max(32 << 10)
    }),
];

#[test]
fn all_that_a_connection_holds_is_in_its_clients_account() {
    let mut lab = Lab::new();
    let mut client = 0;
    for (name, words, least) in ROWS {
        for over in [Over::Http1, Over::Http2] {
            for path in ["/echo", "/up"] {
                client += 1;
                let row = format!("{name}, {over:?}, {path}");
                let peer = SocketAddr::from(([10, 0, 0, client], 4711));
                let (mut socket, theirs) = MemorySocket::pair(CAPACITY);
                lab.memory.accept(theirs, peer);
                if over == Over::Http2 {
                    lab.say(&mut socket, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
                    // SETTINGS_INITIAL_WINDOW_SIZE is 0, so response bodies wait.
                    lab.say(&mut socket, &frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
                    lab.say(&mut socket, &frame(4, 1, 0, &[]));
                }
                lab.run();
                while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
                let account = lab.ledger.client(peer.ip().into());
                let before = account.held(Resource::Bytes);
                assert!(before >= 5 << 10, "{row}: the connection itself");
                let read = lab.say(&mut socket, &words(over, path)) as u64;
                let sent = socket.available() as u64;
                let held = account.held(Resource::Bytes) - before;
                let least = least(read, sent);
                assert!(least >= 2 * BATCHES, "{row}: {least} bytes show nothing");
                assert!(held + BATCHES >= least, "{row}: {held} of {least}");
                socket.reset();
                // A connection that is paused because it sent too much is polled again after a
                // while.
                let end = lab.now + Duration::from_secs(10);
                while account.held(Resource::Bytes) > 0 {
                    assert!(lab.now < end, "{row}: not given back");
                    lab.run();
                }
            }
        }
    }
}
