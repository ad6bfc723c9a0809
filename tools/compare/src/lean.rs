//! A lean HTTP/2 client for what h2load can't do: paths with priorities, connections that stay,
//! requests at a given rate. A request is some bytes made before; of a response only the status,
//! the size and the end are looked at, so that the client is no slower than the server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use tidegate_testkit::signals::check_ended;
use tidegate_testkit::wire::{PREFACE, flag, kind};

use crate::frames::{self, Head};
use crate::peers::Transport;
use crate::process::Result;
use crate::wire::{self, Wire};

/// The largest window (RFC 9113 §6.9.1).
const WINDOW: u32 = 0x7fff_ffff;

/// A connection's window is filled up again when this much of it is used.
const HALF: u64 = 1 << 30;

/// A server that sends nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) path: String,
    /// The value of the `priority` field.
    pub(crate) priority: Option<String>,
    /// Bytes of the response's body.
    pub(crate) size: u64,
}

/// The fields that a connection has put into the server's table, and their places there. All that
/// fit into 4,096 bytes.
#[derive(Default)]
struct Table {
    inserted: usize,
    authority: Option<usize>,
    paths: HashMap<String, usize>,
}

impl Table {
    /// Writes a field that the table has, or that it gets now. `name` is its name's index in the
    /// static table.
    fn write(
        inserted: &mut usize,
        at: Option<usize>,
        name: u8,
        value: &str,
        out: &mut Vec<u8>,
    ) -> usize {
        if let Some(at) = at {
            // RFC 7541 §2.3.3: the newest has the lowest index, which is 62.
            out.push(0x80 | (62 + *inserted - 1 - at) as u8);
            return at;
        }
        out.push(0x40 | name);
        out.push(value.len() as u8);
        out.extend_from_slice(value.as_bytes());
        *inserted += 1;
        *inserted - 1
    }

    /// Writes the head of a request as a header block.
    fn head(&mut self, is_tls: bool, authority: &str, ask: &Ask, out: &mut Vec<u8>) {
        out.extend([0x82, if is_tls { 0x87 } else { 0x86 }]);
        let at = Self::write(&mut self.inserted, self.authority, 1, authority, out);
        self.authority = Some(at);
        let path = self.paths.get(&ask.path).copied();
        let at = Self::write(&mut self.inserted, path, 4, &ask.path, out);
        if path.is_none() {
            self.paths.insert(ask.path.clone(), at);
        }
        if let Some(priority) = &ask.priority {
            out.extend_from_slice(b"\x00\x08priority");
            out.push(priority.len() as u8);
            out.extend_from_slice(priority.as_bytes());
        }
    }
}

/// A request in progress.
struct Open {
    /// When it was due.
    due: Instant,
    /// Bytes that are still to come.
    left: u64,
    is_ok: bool,
}

struct Conn {
    wire: Wire,
    table: Table,
    input: Vec<u8>,
    open: HashMap<u32, Open>,
    next: u32,
    used: u64,
}

/// Connections to one server.
pub(crate) struct Lean {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    conns: Vec<Conn>,
    authority: String,
    is_tls: bool,
    asks: Vec<Ask>,
    asked: usize,
    /// The connections that have requests to write.
    unwritten: Vec<usize>,
}

impl Lean {
    /// Opens connections. `asks` are requested in turn.
    pub(crate) fn connect(
        transport: Transport,
        address: SocketAddr,
        connections: usize,
        asks: Vec<Ask>,
    ) -> Result<Self> {
        let tls = wire::tls(transport);
        let mut lean = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            buffer: vec![0; 64 << 10],
            conns: Vec::with_capacity(connections),
            authority: address.to_string(),
            is_tls: tls.is_some(),
            asks,
            asked: 0,
            unwritten: Vec::new(),
        };
        for number in 0..connections {
            let mut wire = Wire::connect(&lean.poll, number, address, tls.as_ref())?;
            wire.output.extend_from_slice(PREFACE);
            wire.output.extend(frames::header(kind::SETTINGS, 0, 0, 12));
            for (name, value) in [(2u16, 0u32), (4, WINDOW)] {
                wire.output.extend(name.to_be_bytes());
                wire.output.extend(value.to_be_bytes());
            }
            wire.output
                .extend(frames::window_update(0, WINDOW - 65_535));
            lean.conns.push(Conn {
                wire,
                table: Table::default(),
                input: Vec::new(),
                open: HashMap::new(),
                next: 1,
                used: 0,
            });
            // One request for each: servers have limits for connections that say nothing.
            lean.ask(number, Instant::now());
            lean.write()?;
            if number % 50 == 49 {
                lean.finish()?;
            }
        }
        lean.finish()?;
        Ok(lean)
    }

    /// Waits for the answers to all requests.
    fn finish(&mut self) -> Result {
        while self.conns.iter().any(|conn| !conn.open.is_empty()) {
            self.turn(Some(PATIENCE), |_, _| Ok(()))?;
        }
        Ok(())
    }

    /// Makes the next request on a connection, for [`Self::write`] to write.
    fn ask(&mut self, number: usize, due: Instant) {
        let ask = &self.asks[self.asked % self.asks.len()];
        self.asked += 1;
        let conn = &mut self.conns[number];
        let mut block = Vec::with_capacity(128);
        conn.table
            .head(self.is_tls, &self.authority, ask, &mut block);
        let flags = flag::END_HEADERS | flag::END_STREAM;
        let head = frames::header(kind::HEADERS, flags, conn.next, block.len());
        conn.wire.output.extend(head);
        conn.wire.output.extend(block);
        let open = Open {
            due,
            left: ask.size,
            is_ok: false,
        };
        conn.open.insert(conn.next, open);
        conn.next += 2;
        if self.unwritten.last() != Some(&number) {
            self.unwritten.push(number);
        }
    }

    /// Writes all requests, those of a connection at once: a client that writes each by itself is
    /// slower than the server.
    fn write(&mut self) -> Result {
        for number in self.unwritten.drain(..) {
            self.conns[number].wire.flush()?;
        }
        Ok(())
    }

    /// Makes `count` requests on the first `active` connections, `streams` at a time on each.
    /// Returns how long they took.
    pub(crate) fn run(&mut self, active: usize, streams: usize, count: u64) -> Result<Duration> {
        let began = Instant::now();
        let (mut asked, mut answered) = (0, 0);
        for _ in 0..streams {
            for number in 0..active {
                if asked < count {
                    self.ask(number, began);
                    asked += 1;
                }
            }
        }
        self.write()?;
        while answered < count {
            let mut done = Vec::new();
            self.turn(Some(PATIENCE), |number, _| {
                done.push(number);
                Ok(())
            })?;
            for number in done {
                answered += 1;
                if asked < count {
                    self.ask(number, began);
                    asked += 1;
                }
            }
            self.write()?;
        }
        Ok(began.elapsed())
    }

    /// Makes requests at a rate per second, on all connections in turn. Returns the time of each
    /// from when it was due, which may be before it could be sent.
    pub(crate) fn pace(
        &mut self,
        rate: f64,
        lasts: Duration,
        streams: usize,
    ) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let count = (rate * lasts.as_secs_f64()) as usize;
        let due = |n: usize| began + Duration::from_secs_f64(n as f64 / rate);
        let mut times = Vec::with_capacity(count);
        let (mut asked, mut number) = (0, 0);
        while times.len() < count {
            let now = Instant::now();
            while asked < count && due(asked) <= now {
                let free = (0..self.conns.len())
                    .map(|n| (number + n) % self.conns.len())
                    .find(|n| self.conns[*n].open.len() < streams);
                let Some(free) = free else { break };
                number = free + 1;
                self.ask(free, due(asked));
                asked += 1;
            }
            self.write()?;
            if now > due(count) + PATIENCE {
                return Err("the server doesn't keep up".into());
            }
            // The processor is this client's own: no wait is as short as none.
            self.turn(Some(Duration::ZERO), |_, open| {
                times.push(open.due.elapsed());
                Ok(())
            })?;
        }
        Ok(times)
    }

    /// Waits for input, and calls `done` for each response that is complete.
    fn turn(
        &mut self,
        wait: Option<Duration>,
        mut done: impl FnMut(usize, Open) -> Result,
    ) -> Result {
        check_ended()?;
        if let Err(error) = self.poll.poll(&mut self.events, wait)
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        if self.events.is_empty() && wait == Some(PATIENCE) {
            return Err(format!("nothing moved for {} s", PATIENCE.as_secs()).into());
        }
        for event in &self.events {
            let number = event.token().0;
            // A connection that was opened too late to be listed has its turn next time.
            let Some(conn) = self.conns.get_mut(number) else {
                continue;
            };
            conn.wire.read(&mut self.buffer, &mut conn.input)?;
            conn.take(number, &mut done)?;
            conn.wire.flush()?;
        }
        Ok(())
    }
}

impl Conn {
    fn take(&mut self, number: usize, done: &mut impl FnMut(usize, Open) -> Result) -> Result {
        let mut at = 0;
        while let Some((head, rest)) = Head::parse(&self.input[at..]) {
            let Some(payload) = rest.get(..head.length) else {
                break;
            };
            at += 9 + head.length;
            match head.kind {
                kind::HEADERS | kind::DATA => {
                    let open = self.open.get_mut(&head.stream).ok_or("no such stream")?;
                    if head.kind == kind::HEADERS {
                        open.is_ok = is_200(payload);
                    } else {
                        let length = head.length as u64;
                        open.left = open.left.checked_sub(length).ok_or("too much data")?;
                        self.used += length;
                    }
                    if head.has(flag::END_STREAM) {
                        let open = self.open.remove(&head.stream).ok_or("no such stream")?;
                        if !open.is_ok || open.left > 0 {
                            return Err("a response was not complete".into());
                        }
                        done(number, open)?;
                    }
                }
                kind::SETTINGS if !head.has(flag::ACK) => {
                    let ack = frames::header(kind::SETTINGS, flag::ACK, 0, 0);
                    self.wire.output.extend(ack);
                }
                kind::PING if !head.has(flag::ACK) => {
                    let ack = frames::header(kind::PING, flag::ACK, 0, 8);
                    self.wire.output.extend(ack);
                    self.wire.output.extend_from_slice(payload);
                }
                kind::RST_STREAM => return Err("a stream was reset".into()),
                kind::GOAWAY => return Err("the server said GOAWAY".into()),
                _ => {}
            }
        }
        self.input.drain(..at);
        if self.used > HALF {
            let update = frames::window_update(0, self.used as u32);
            self.wire.output.extend(update);
            self.used = 0;
        }
        Ok(())
    }
}

/// Whether a header block begins with status 200, as the static table has it (RFC 7541 Appendix A).
/// Updates of the table's size may precede it (§4.2).
pub(crate) fn is_200(mut block: &[u8]) -> bool {
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let longer = block.iter().take_while(|byte| **byte >= 0x80).count();
            block = block.get(longer + 1..).unwrap_or_default();
        }
    }
    block.first() == Some(&0x88)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_indexed_from_the_second_request_on() {
        let ask = Ask {
            path: "/a".to_owned(),
            priority: None,
            size: 0,
        };
        let mut table = Table::default();
        let mut block = Vec::new();
        table.head(false, "h", &ask, &mut block);
        assert_eq!(block, b"\x82\x86\x41\x01h\x44\x02/a");
        block.clear();
        table.head(false, "h", &ask, &mut block);
        assert_eq!(block, b"\x82\x86\xbf\xbe");
    }

    #[test]
    fn a_status_is_found_behind_updates_of_the_tables_size() {
        assert!(is_200(b"\x88") && is_200(b"\x20\x3f\xe1\x1f\x88\xbf"));
        assert!(!is_200(b"\x8d") && !is_200(b"\x20") && !is_200(b""));
    }
}
