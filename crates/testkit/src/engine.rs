//! An engine of either protocol, for the peers that tests and simulators play.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tidegate_http::{
    Body, Config, ErrorCode, Event, Flow, Misuse, Outbox, Protocol, RequestHead, Stream, StreamId,
};

use crate::rest::rest_and_wake;

/// An engine of either protocol.
pub enum Engine {
    /// HTTP/2.
    Http2(Box<tidegate_http2::Connection>),
    /// HTTP/1.1.
    Http1(Box<tidegate_http1::Connection>),
}

/// Calls the same method of either engine.
macro_rules! either {
    ($self:expr, $engine:ident => $call:expr) => {
        match $self {
            Engine::Http2($engine) => $call,
            Engine::Http1($engine) => $call,
        }
    };
}

impl Engine {
    /// Makes the engine of a client.
    ///
    /// # Panics
    /// Panics if the settings are invalid.
    pub fn client(protocol: Protocol, config: Config, now: Instant) -> Self {
        let config = build(config);
        match protocol {
            Protocol::Http2 => {
                Self::Http2(Box::new(tidegate_http2::Connection::client(config, now)))
            }
            Protocol::Http1 => {
                Self::Http1(Box::new(tidegate_http1::Connection::client(config, now)))
            }
        }
    }

    /// Makes the engine of a server. `secure`: whether the transport is TLS.
    ///
    /// # Panics
    /// Panics if the settings are invalid.
    pub fn server(protocol: Protocol, config: Config, secure: bool, now: Instant) -> Self {
        let config = build(config);
        match protocol {
            Protocol::Http2 => {
                Self::Http2(Box::new(tidegate_http2::Connection::server(config, now)))
            }
            Protocol::Http1 => Self::Http1(Box::new(tidegate_http1::Connection::server(
                config, secure, now,
            ))),
        }
    }

    /// Returns a handle to a stream, if the engine has it.
    pub fn stream(&mut self, id: StreamId) -> Option<Box<dyn Stream + '_>> {
        match self {
            Self::Http2(engine) => engine.stream(id).map(|stream| Box::new(stream) as _),
            Self::Http1(engine) => engine.stream(id).map(|stream| Box::new(stream) as _),
        }
    }

    /// Whether a client's engine can send a request now.
    pub fn can_open(&self) -> bool {
        either!(self, engine => engine.can_open())
    }

    /// Sends a request of a client.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        either!(self, engine => engine.open(head, body))
    }

    /// Begins a graceful end.
    pub fn shut_down(&mut self, now: Instant) {
        either!(self, engine => engine.shut_down(now));
    }

    /// Ends the connection at once.
    pub fn abort(&mut self, code: ErrorCode) {
        match self {
            Self::Http2(engine) => engine.abort(code, ""),
            Self::Http1(engine) => engine.abort(code),
        }
    }

    /// Whether the engine takes input.
    pub fn can_receive(&self) -> bool {
        either!(self, engine => engine.can_receive())
    }

    /// Reports that the transport failed.
    pub fn receive_failure(&mut self, now: Instant) {
        match self {
            Self::Http2(engine) => engine.receive_eof(now),
            Self::Http1(engine) => engine.receive_failure(now),
        }
    }

    /// Returns the time of the next timeout.
    pub fn next_timeout(&self) -> Option<Instant> {
        either!(self, engine => engine.next_timeout())
    }

    /// Handles the timeouts that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        either!(self, engine => engine.handle_timeout(now));
        if let Self::Http2(engine) = self {
            rest_and_wake(engine);
        }
    }

    /// Whether our side of the transport ends while the peer's may go on.
    pub fn has_ended_our_side(&self) -> bool {
        matches!(self, Self::Http1(engine) if engine.has_ended_our_side())
    }

    /// Whether the peer would take a clean end of the transport for the end of a message that isn't
    /// whole.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Http1(engine) if engine.is_truncated())
    }

    /// Checks the books of the HTTP/2 engine.
    ///
    /// # Panics
    /// Panics if they don't add up.
    pub fn audit(&self) {
        if let Self::Http2(engine) = self
            && let Err(error) = engine.audit()
        {
            panic!("a peer's books: {error}");
        }
    }
}

fn build(config: Config) -> Arc<Config> {
    config.build().expect("a test's config is valid")
}

/// The engines that a [`Driver`](crate::driver::Driver) can run.
pub trait Driven {
    /// Returns the next event of `input`.
    fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event>;

    /// Reports the end of the transport.
    fn receive_eof(&mut self, now: Instant);

    /// Adds output to `out` until that holds about `limit` bytes.
    fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow;
}

impl Driven for tidegate_http2::Connection {
    fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        self.receive(input, now)
    }

    fn receive_eof(&mut self, now: Instant) {
        self.receive_eof(now);
    }

    fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        self.transmit(out, limit, now)
    }
}

impl Driven for Engine {
    fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        either!(self, engine => engine.receive(input, now))
    }

    fn receive_eof(&mut self, now: Instant) {
        either!(self, engine => engine.receive_eof(now));
    }

    fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        either!(self, engine => engine.transmit(out, limit, now))
    }
}

/// Without an engine, the owner takes the input and writes the output itself.
impl<E: Driven> Driven for Option<E> {
    fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        self.as_mut().and_then(|engine| engine.receive(input, now))
    }

    fn receive_eof(&mut self, now: Instant) {
        if let Some(engine) = self {
            engine.receive_eof(now);
        }
    }

    fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        self.as_mut()
            .map_or(Flow::Drained, |engine| engine.transmit(out, limit, now))
    }
}
