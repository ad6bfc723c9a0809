//! Messages to and fro on connections that stay: as gRPC's streams, on one stream of HTTP/2 for
//! each connection, and as WebSockets.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use tidegate_testkit::signals::check_ended;
use tidegate_testkit::wire::{PREFACE, flag, kind};

use crate::frames::{self, Head};
use crate::lean::is_200;
use crate::peers::Transport;
use crate::process::Result;
use crate::wire::{self, Wire};

/// Bytes of a message: fewer than 126, so that a WebSocket's frame has one byte for the length.
const MESSAGE: usize = 100;

/// How many connections there are.
const CONNECTIONS: usize = 32;

/// A server that sends nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One stream on each of some connections to one server.
pub(crate) struct PingPong {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    talks: Vec<Talk>,
}

struct Talk {
    wire: Wire,
    input: Vec<u8>,
    is_ok: bool,
    /// Bytes of the last message that have come back.
    back: usize,
    /// Bytes that may be sent on the connection, and on the stream (RFC 9113 §6.9).
    windows: HashMap<u32, i64>,
    /// Whether a message waits for a window.
    waits: bool,
}

impl PingPong {
    pub(crate) fn connect(transport: Transport, address: SocketAddr) -> Result<Self> {
        let poll = Poll::new()?;
        let tls = wire::tls(transport);
        let mut talks = Vec::new();
        for number in 0..CONNECTIONS {
            let mut wire = Wire::connect(&poll, number, address, tls.as_ref())?;
            wire.output.extend_from_slice(PREFACE);
            wire.output.extend(frames::header(kind::SETTINGS, 0, 0, 6));
            wire.output.extend([0, 4, 0x7f, 0xff, 0xff, 0xff]);
            wire.output.extend(frames::window_update(0, 0x7fff_0000));
            // POST, the scheme, :authority and :path, as RFC 7541 Appendix A numbers them.
            let mut block = vec![0x83, if tls.is_some() { 0x87 } else { 0x86 }];
            let authority = address.to_string();
            block.extend([0x01, authority.len() as u8]);
            block.extend_from_slice(authority.as_bytes());
            block.extend_from_slice(b"\x04\x05/echo");
            let head = frames::header(kind::HEADERS, flag::END_HEADERS, 1, block.len());
            wire.output.extend(head);
            wire.output.extend(block);
            talks.push(Talk {
                wire,
                input: Vec::new(),
                is_ok: false,
                back: 0,
                windows: HashMap::from([(0, 65_535), (1, 65_535)]),
                waits: false,
            });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(CONNECTIONS),
            buffer: vec![0; 16 << 10],
            talks,
        })
    }

    /// Sends about `count` messages, one at a time on each connection. Returns how many there were,
    /// and how long they took to come back.
    pub(crate) fn run(&mut self, count: u64) -> Result<(u64, Duration)> {
        let began = Instant::now();
        let each = count.div_ceil(CONNECTIONS as u64);
        let mut left = vec![each; CONNECTIONS];
        for talk in &mut self.talks {
            talk.say()?;
        }
        while left.iter().any(|left| *left > 0) {
            check_ended()?;
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err("nothing moved".into());
            }
            for event in &self.events {
                let number = event.token().0;
                let talk = &mut self.talks[number];
                let back = talk.hear(&mut self.buffer)?;
                if back {
                    left[number] -= 1;
                    if left[number] > 0 {
                        talk.say()?;
                    }
                }
                talk.wire.flush()?;
            }
        }
        Ok((each * CONNECTIONS as u64, began.elapsed()))
    }
}

impl Talk {
    /// Sends a message, as soon as both windows have room.
    fn say(&mut self) -> Result {
        self.waits = self.windows.values().any(|window| *window < MESSAGE as i64);
        if !self.waits {
            for window in self.windows.values_mut() {
                *window -= MESSAGE as i64;
            }
            self.wire
                .output
                .extend(frames::header(kind::DATA, 0, 1, MESSAGE));
            self.wire.output.extend([b'm'; MESSAGE]);
            self.wire.flush()?;
        }
        Ok(())
    }

    /// Reads what has arrived. Returns whether the message is back.
    fn hear(&mut self, buffer: &mut [u8]) -> Result<bool> {
        self.wire.read(buffer, &mut self.input)?;
        let mut at = 0;
        while let Some((head, rest)) = Head::parse(&self.input[at..]) {
            let Some(payload) = rest.get(..head.length) else {
                break;
            };
            at += 9 + head.length;
            match head.kind {
                kind::HEADERS => self.is_ok = is_200(payload),
                kind::DATA => self.back += head.length,
                kind::SETTINGS if !head.has(flag::ACK) => {
                    for setting in payload.chunks_exact(6) {
                        let value = setting[2..]
                            .iter()
                            .fold(0, |n, byte| n << 8 | i64::from(*byte));
                        if setting[..2] == [0, 4] {
                            // RFC 9113 §6.9.2: the difference changes the window.
                            *self.windows.entry(1).or_default() += value - 65_535;
                        }
                    }
                    let ack = frames::header(kind::SETTINGS, flag::ACK, 0, 0);
                    self.wire.output.extend(ack);
                }
                kind::WINDOW_UPDATE => {
                    let by = payload.iter().fold(0, |n, byte| n << 8 | i64::from(*byte));
                    *self.windows.entry(head.stream).or_default() += by;
                }
                kind::PING if !head.has(flag::ACK) => {
                    let ack = frames::header(kind::PING, flag::ACK, 0, 8);
                    self.wire.output.extend(ack);
                    self.wire.output.extend_from_slice(payload);
                }
                kind::RST_STREAM | kind::GOAWAY => return Err("the server gave up".into()),
                _ => {}
            }
            if head.has(flag::END_STREAM) && matches!(head.kind, kind::DATA | kind::HEADERS) {
                return Err("the server ended the stream".into());
            }
        }
        self.input.drain(..at);
        if self.waits {
            self.say()?;
        }
        let is_back = self.back == MESSAGE;
        if is_back {
            self.back = 0;
            if !self.is_ok {
                return Err("the status is not 200".into());
            }
        }
        Ok(is_back)
    }
}

/// WebSockets to one server.
pub(crate) struct WebSockets(Vec<TcpStream>);

impl WebSockets {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let request = format!(
            "GET /websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut socket = TcpStream::connect(address)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.write_all(request.as_bytes())?;
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                socket.read_exact(&mut byte)?;
                head.extend(byte);
            }
            if !head.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(&head).into());
            }
            all.push(socket);
        }
        Ok(Self(all))
    }

    /// Sends about `count` messages, one at a time on each connection. Returns how many there were,
    /// and how long they took to come back.
    pub(crate) fn run(&mut self, count: u64) -> Result<(u64, Duration)> {
        let began = Instant::now();
        let each = count.div_ceil(CONNECTIONS as u64);
        // RFC 6455 §5.2: a whole binary message. The mask is zero, so it changes nothing.
        let mut frame = vec![0x82, 0x80 | MESSAGE as u8, 0, 0, 0, 0];
        frame.extend([b'm'; MESSAGE]);
        let mut back = [0; 2 + MESSAGE];
        for _ in 0..each {
            check_ended()?;
            for socket in &mut self.0 {
                socket.write_all(&frame)?;
            }
            for socket in &mut self.0 {
                socket.read_exact(&mut back)?;
                if back[..2] != [0x82, MESSAGE as u8] || back[2..] != frame[6..] {
                    return Err("another message came back".into());
                }
            }
        }
        Ok((each * CONNECTIONS as u64, began.elapsed()))
    }
}
