//! A connection to the measured server: the engine in its client role, on a nonblocking socket.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::{Events, Poll};
use tidegate_frame::{Priority, PriorityUpdate, StreamDependency};
use tidegate_http::{
    Body, Config, ErrorCode, Event, Outbox, Priorities, RequestHead, Stream, StreamId,
};
use tidegate_http2::Connection;
use tidegate_testkit::driver::Driver;

use crate::socket::Socket;
use crate::{Result, Scheme, Target};

/// The largest window (RFC 9113 §6.9.1).
pub(crate) const MAX_WINDOW: u32 = 0x7fff_ffff;

/// A connection without progress for this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns `count` zeros, the content of bodies.
pub(crate) fn zeros(count: usize) -> Bytes {
    static ZEROS: [u8; 1 << 20] = [0; 1 << 20];
    match ZEROS.get(..count) {
        Some(zeros) => Bytes::from_static(zeros),
        None => Bytes::from(vec![0; count]),
    }
}

/// One connection.
pub(crate) struct Client {
    pub(crate) driver: Driver<Socket>,
    poll: Poll,
    scheme: &'static str,
    authority: String,
    moved_at: Instant,
    /// How many requests the server refused with REFUSED_STREAM, or `None` if it must refuse none.
    pub(crate) refused: Option<usize>,
}

impl Client {
    /// Connects. `receive_buffer` is SO_RCVBUF in bytes, so that the client's kernel hides nothing.
    /// `stream_window` is the initial and maximum window of each stream.
    pub(crate) fn connect(
        target: &Target,
        receive_buffer: Option<usize>,
        stream_window: u32,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let is_tls = target.scheme == Scheme::Https;
        let socket = Socket::connect(target.address, receive_buffer, is_tls, &poll)?;
        let mut config = Config::client();
        config.initial_window_size = stream_window;
        config.max_stream_window_size = stream_window;
        // Don't tell servers to ignore PRIORITY frames.
        config.priorities = Priorities::Auto;
        // A measurement may take its time.
        config.timeouts.body = Duration::ZERO;
        config.timeouts.write = Duration::ZERO;
        let engine = Connection::client(config.build()?, Instant::now());
        Ok(Self {
            driver: Driver::new(engine, socket),
            poll,
            scheme: if is_tls { "https" } else { "http" },
            authority: target.address.to_string(),
            moved_at: Instant::now(),
            refused: None,
        })
    }

    /// Returns the head of a request to this server.
    pub(crate) fn head(&self, method: &str, path: &str) -> RequestHead {
        RequestHead::new(method, self.scheme, &self.authority, path)
    }

    /// Requests the head of `path`.
    pub(crate) fn ask_head(&mut self, path: &str) -> Result<StreamId> {
        let head = self.head("HEAD", path);
        Ok(self.driver.engine.open(&head, Body::Empty)?)
    }

    /// Requests `path`, with a `priority` field if there is one.
    pub(crate) fn get(&mut self, path: &str, priority: Option<&str>) -> Result<StreamId> {
        let mut head = self.head("GET", path);
        if let Some(priority) = priority {
            head.push("priority", priority);
        }
        Ok(self.driver.engine.open(&head, Body::Empty)?)
    }

    /// Gives a [`Body::Stream`] up to `count` bytes, and returns how many it took. With `end` they
    /// are the last.
    pub(crate) fn write_zeros(&mut self, id: StreamId, count: usize, end: bool) -> usize {
        let stream = self.driver.engine.stream(id);
        stream.map_or(0, |mut stream| stream.write(&mut zeros(count), end))
    }

    /// Sends PRIORITY (RFC 9113 §6.3) with a weight of 1 to 256, after all heads opened so far.
    pub(crate) fn send_weight(&mut self, stream_id: StreamId, weight: u16) {
        let dependency = StreamDependency {
            depends_on: StreamId::CONNECTION,
            exclusive: false,
            weight: (weight - 1) as u8,
        };
        let frame = Priority {
            stream_id,
            dependency,
        };
        self.send_after_heads(|out| frame.write(out));
    }

    /// Sends PRIORITY_UPDATE (RFC 9218 §7.1), after all heads opened so far.
    pub(crate) fn send_priority_update(&mut self, prioritized_id: StreamId, value: &'static str) {
        let value = value.into();
        let frame = PriorityUpdate {
            prioritized_id,
            value,
        };
        self.send_after_heads(|out| frame.write(out));
    }

    /// Sends a frame that the engine doesn't send by itself. The outbox always ends with a complete
    /// frame.
    fn send_after_heads(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        // Without room for DATA, the engine gives out only control frames and heads.
        let mut heads = Outbox::new();
        let _ = self.driver.engine.transmit(&mut heads, 0, Instant::now());
        self.driver.outbox.push(heads.copy_to_bytes(heads.len()));
        let mut frame = Vec::new();
        write(&mut frame);
        self.driver.outbox.append(&mut frame);
    }

    /// Writes pending output, reads once, at most `limit` bytes, and returns the events. If nothing
    /// can be done, waits up to `wait` first.
    ///
    /// # Errors
    /// Returns an error if the connection failed or ended, or if the server refused a request.
    pub(crate) fn turn(&mut self, limit: usize, wait: Duration) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let before = self.driver.written;
        while let Some(event) = self.driver.send(Instant::now())? {
            events.push(event);
        }
        let has_read = limit > 0 && self.driver.read(limit, Instant::now())?.is_some();
        while let Some(event) = self.driver.receive(Instant::now()) {
            events.push(event);
        }
        if self.driver.written > before || has_read || !events.is_empty() {
            self.moved_at = Instant::now();
        } else if self.moved_at.elapsed() > PATIENCE {
            return Err(format!("nothing moved for {} s", PATIENCE.as_secs()).into());
        } else {
            match self.poll.poll(&mut Events::with_capacity(1), Some(wait)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
        }
        for event in &events {
            let fault = match event {
                Event::Response { head, .. } if head.status() != 200 => {
                    format!("status {}", head.status())
                }
                Event::Reset { id, code, .. }
                    if *code == ErrorCode::REFUSED_STREAM && self.refused.is_some() =>
                {
                    self.refused = self.refused.map(|count| count + 1);
                    if let Some(mut stream) = self.driver.engine.stream(*id) {
                        stream.release();
                    }
                    continue;
                }
                Event::Reset { id, code, .. } => format!("stream {} was reset: {code:?}", id.get()),
                Event::Closed(reason) => format!("the connection ended: {reason:?}"),
                _ => continue,
            };
            return Err(fault.into());
        }
        Ok(events)
    }
}
