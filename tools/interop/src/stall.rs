//! Clients that read nothing of a response, or send what nobody reads, for tools/proxy-memory.sh.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};
use tidegate_testkit::wire::{self, PREFACE, kind};

use crate::frames::{number, read_frame, send};
use crate::process::Result;

/// The direction in which nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// The clients read nothing of their responses.
    Down,
    /// Nobody reads the bodies of the requests.
    Up,
}

/// The protocol of the clients, in cleartext.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    H2c,
}

/// The arguments of the command.
#[derive(clap::Args, Debug)]
pub(crate) struct Stall {
    direction: Direction,
    port: u16,
    path: String,
    /// The number of connections, with one request each.
    count: usize,
    protocol: Protocol,
}

/// The window of a client that never holds a response up itself.
const MAX_WINDOW: u32 = 0x7fff_ffff;

/// The window before any WINDOW_UPDATE (RFC 9113 §6.9.2).
const INITIAL_WINDOW: i64 = 65_535;

/// The identifier of SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW_SIZE: u16 = 4;

/// How long nothing may move until the clients count as stalled.
const STILL: Duration = Duration::from_secs(1);

impl Stall {
    /// Opens the connections and stalls them. Prints `stalled` when nothing moves any longer, and
    /// keeps the connections until stdin ends.
    pub(crate) fn run(&self) -> Result {
        let mut peers = Vec::new();
        for _ in 0..self.count {
            let mut peer = self.connect()?;
            peer.write_all(&self.request())?;
            peers.push(peer);
        }
        match (self.direction, self.protocol) {
            (Direction::Up, Protocol::Http1) => push_http1(&mut peers)?,
            (Direction::Up, Protocol::H2c) => push_http2(&mut peers)?,
            (Direction::Down, protocol) => {
                for peer in &mut peers {
                    wait_for_response(peer, protocol)?;
                }
            }
        }
        println!("stalled");
        io::copy(&mut io::stdin(), &mut io::sink())?;
        Ok(())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], self.port)).into())?;
        let peer = TcpStream::from(socket);
        peer.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(peer)
    }

    fn request(&self) -> Vec<u8> {
        let (path, is_upload) = (&self.path, self.direction == Direction::Up);
        let method = if is_upload { "POST" } else { "GET" };
        match self.protocol {
            Protocol::Http1 => {
                let length = if is_upload {
                    "content-length: 1000000000\r\n"
                } else {
                    ""
                };
                format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n").into_bytes()
            }
            Protocol::H2c => {
                let head = wire::headers(
                    1,
                    &[
                        (":method", method),
                        (":scheme", "http"),
                        (":authority", "localhost"),
                        (":path", path),
                    ],
                );
                let head = if is_upload { head } else { head.end() };
                // Windows of the maximum size, so that only the socket holds the response up.
                let settings = wire::settings(&[(INITIAL_WINDOW_SIZE, MAX_WINDOW)]);
                let update = wire::window_update(0, 0x7fff_0000);
                let frames = [settings, update, head].map(|frame| frame.to_bytes());
                [PREFACE, &frames.concat()].concat()
            }
        }
    }
}

/// Waits until a response has begun: one that hasn't can't stall.
fn wait_for_response(peer: &mut TcpStream, protocol: Protocol) -> io::Result<()> {
    if protocol == Protocol::Http1 {
        return peer.peek(&mut [0]).map(drop);
    }
    loop {
        let mut head = [0; 9];
        peer.read_exact(&mut head)?;
        if head[3] == kind::DATA {
            return Ok(());
        }
        let length = u64::from(number(&head, 0) >> 8);
        io::copy(&mut (&mut *peer).take(length), &mut io::sink())?;
    }
}

/// Returns the indexes of the sockets that are ready within `bound`.
fn ready(peers: &[TcpStream], events: PollFlags, bound: Duration) -> Result<Vec<usize>> {
    let mut polled: Vec<_> = peers
        .iter()
        .map(|peer| PollFd::new(peer.as_fd(), events))
        .collect();
    poll(&mut polled, PollTimeout::try_from(bound)?)?;
    let ready = polled.iter().map(|polled| polled.any().unwrap_or(false));
    Ok(ready
        .enumerate()
        .filter_map(|(at, is_ready)| is_ready.then_some(at))
        .collect())
}

/// Sends until no socket has accepted anything for a while.
fn push_http1(peers: &mut [TcpStream]) -> Result {
    let piece = vec![0; 65536];
    for peer in &*peers {
        peer.set_nonblocking(true)?;
    }
    loop {
        let ready = ready(peers, PollFlags::POLLOUT, STILL)?;
        if ready.is_empty() {
            return Ok(());
        }
        for at in ready {
            match peers[at].write(&piece) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => {}
            }
        }
    }
}

/// The windows of a connection with one upload.
struct Windows {
    connection: i64,
    stream: i64,
    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE.
    initial: i64,
}

/// Sends as much as the windows allow, until no window has grown for a while.
fn push_http2(peers: &mut [TcpStream]) -> Result {
    let start = || Windows {
        connection: INITIAL_WINDOW,
        stream: INITIAL_WINDOW,
        initial: INITIAL_WINDOW,
    };
    let mut windows: Vec<Windows> = peers.iter().map(|_| start()).collect();
    let mut moved = Instant::now();
    while moved.elapsed() < STILL {
        for at in ready(peers, PollFlags::POLLIN, Duration::from_millis(100))? {
            receive(&mut peers[at], &mut windows[at])?;
        }
        for (peer, window) in peers.iter_mut().zip(&mut windows) {
            while let size @ 1.. = window.connection.min(window.stream).min(16384) {
                send(peer, &wire::data(1, vec![0; size as usize]))?;
                window.connection -= size;
                window.stream -= size;
                moved = Instant::now();
            }
        }
    }
    Ok(())
}

/// Reads a frame, and follows the windows.
fn receive(peer: &mut TcpStream, window: &mut Windows) -> Result {
    let frame = read_frame(peer)?;
    match frame.kind {
        kind::SETTINGS if !frame.is_ack => {
            for entry in frame.payload.chunks_exact(6) {
                if entry[..2] == INITIAL_WINDOW_SIZE.to_be_bytes() {
                    let value = i64::from(number(entry, 2));
                    window.stream += value - window.initial;
                    window.initial = value;
                }
            }
            send(peer, &wire::settings_ack())?;
        }
        kind::WINDOW_UPDATE if frame.stream == 0 => {
            window.connection += i64::from(number(&frame.payload, 0));
        }
        kind::WINDOW_UPDATE => window.stream += i64::from(number(&frame.payload, 0)),
        kind::PING if !frame.is_ack => {
            let data = frame.payload.first_chunk().ok_or("a PING without data")?;
            send(peer, &wire::ping_ack(data))?;
        }
        kind::RST_STREAM | kind::GOAWAY => {
            let (kind, payload) = (frame.kind, frame.payload);
            return Err(format!("the server ended an upload: frame {kind}, {payload:?}").into());
        }
        _ => {}
    }
    Ok(())
}
