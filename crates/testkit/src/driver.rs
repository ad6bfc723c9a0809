//! An engine on a transport: the loop that the peers of tests and tools have in common.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use tidegate_http::{Event, Flow, Outbox};
use tidegate_http2::Connection;

use crate::engine::Driven;

/// The bytes that an engine gives before they are written, and the most that are read at once.
pub const AT_ONCE: usize = 256 << 10;

/// An engine and its transport, which may block or not.
///
/// The owner takes events from [`send`](Self::send) until there are none, [reads](Self::read), and
/// takes events from [`receive`](Self::receive) until there are none.
pub struct Driver<T, E = Connection> {
    /// The engine.
    pub engine: E,
    /// The transport.
    pub io: T,
    /// Output of the engine that isn't written yet. It ends with a complete frame.
    pub outbox: Outbox,
    /// The number of bytes written.
    pub written: u64,
    /// Whether the engine has ended: what is in the outbox is the last.
    pub is_over: bool,
    /// The bytes that the engine hasn't taken.
    pub input: BytesMut,
    buffer: Box<[u8]>,
}

impl<T: Read + Write, E: Driven> Driver<T, E> {
    /// Connects an engine with its transport.
    pub fn new(engine: E, io: T) -> Self {
        Self {
            engine,
            io,
            outbox: Outbox::new(),
            written: 0,
            is_over: false,
            input: BytesMut::new(),
            buffer: vec![0; AT_ONCE].into(),
        }
    }

    /// Writes the engine's output. Returns the next event meanwhile, or `None` once all is written
    /// or the transport takes nothing more now.
    ///
    /// # Errors
    /// Returns the transport's error. What the peer has sent before may still be read.
    pub fn send(&mut self, now: Instant) -> io::Result<Option<Event>> {
        loop {
            match self.engine.transmit(&mut self.outbox, AT_ONCE, now) {
                Flow::Event(event) => return Ok(Some(event)),
                Flow::Closed => self.is_over = true,
                Flow::Drained | Flow::Full => {}
            }
            if self.outbox.is_empty() {
                // A TLS session may have bytes left.
                unless_blocked(self.io.flush())?;
                return Ok(None);
            }
            let mut slices = [IoSlice::new(&[]); 64];
            let used = self.outbox.io_slices(&mut slices);
            match unless_blocked(self.io.write_vectored(&slices[..used]))? {
                None | Some(0) => return Ok(None),
                Some(count) => {
                    self.outbox.advance(count);
                    self.written += count as u64;
                }
            }
        }
    }

    /// Reads once, up to `limit` bytes. Returns how many: `None` if there are none yet, and
    /// `Some(0)` at the end, which is reported to the engine.
    ///
    /// # Errors
    /// Returns the transport's error.
    pub fn read(&mut self, limit: usize, now: Instant) -> io::Result<Option<usize>> {
        let limit = limit.min(AT_ONCE);
        let count = unless_blocked(self.io.read(&mut self.buffer[..limit]))?;
        match count {
            None => {}
            Some(0) => self.engine.receive_eof(now),
            Some(count) => self.input.extend_from_slice(&self.buffer[..count]),
        }
        Ok(count)
    }

    /// Returns the next event of what was read.
    pub fn receive(&mut self, now: Instant) -> Option<Event> {
        self.engine.receive(&mut self.input, now)
    }
}

/// Returns `None` if the transport would block.
fn unless_blocked<V>(result: io::Result<V>) -> io::Result<Option<V>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
