//! An upstream's end of a connection.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::{ServerConfig, ServerConnection};
use tidegate_http::{
    CloseReason, ErrorCode, Event as EngineEvent, Fields, RequestHead, Stream, StreamId,
};
use tidegate_net::{Dialled, MemorySocket};
use tidegate_testkit::driver::Driver;
use tidegate_testkit::engine::Engine;
use tidegate_testkit::tls::Certificate;

/// A request that an upstream received.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) id: StreamId,
    pub(crate) head: RequestHead,
    pub(crate) body: Vec<u8>,
    pub(crate) end: bool,
    pub(crate) trailers: Option<Fields>,
    /// Whether the test has taken it.
    taken: bool,
    pub(crate) reset: Option<ErrorCode>,
    /// Whether some of a response was sent.
    pub(crate) begun: bool,
    /// Whether the upstream has refused it before processing it.
    pub(crate) refused: bool,
}

impl Got {
    fn is_open(&self) -> bool {
        !self.taken && self.reset.is_none()
    }
}

/// An upstream's transport: the socket, until it is closed, and TLS.
pub(super) struct Io {
    socket: Option<MemorySocket>,
    tls: Option<Box<ServerConnection>>,
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

impl Io {
    fn with<T>(&mut self, act: impl FnOnce(&mut dyn ReadWrite) -> io::Result<T>) -> io::Result<T> {
        let Some(socket) = &mut self.socket else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let mut plain = Plain(socket);
        match &mut self.tls {
            None => act(&mut plain),
            Some(tls) => act(&mut rustls::Stream::new(&mut **tls, &mut plain)),
        }
    }
}

impl Read for Io {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.with(|io| io.read(room))
    }
}

impl Write for Io {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|io| io.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(|io| io.flush())
    }
}

/// A socket without TLS.
struct Plain<'a>(&'a mut MemorySocket);

impl Read for Plain<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Plain<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An upstream's end of a connection.
pub(crate) struct Server {
    /// The address that was dialled.
    pub(crate) addr: SocketAddr,
    /// Without an engine, the test reads and writes bytes.
    driver: Driver<Io, Option<Engine>>,
    pub(crate) requests: Vec<Got>,
    /// Bodies of responses that are still to be sent, and whether they end then.
    bodies: Vec<(StreamId, Bytes, bool)>,
    /// Whether it received a GOAWAY.
    pub(crate) goaway: bool,
    pub(crate) closed: Option<CloseReason>,
    /// Whether it does nothing, as if it weren't there.
    pub(crate) is_silent: bool,
    /// Whether it doesn't read now, or didn't once.
    pub(crate) is_deaf: bool,
    pub(crate) was_deaf: bool,
    /// Whether it gives no credit back.
    pub(crate) holds: bool,
    eof: bool,
    ended: bool,
}

impl Server {
    /// Makes the end of an established connection. With `alpn`, it agrees only to this protocol
    /// over TLS.
    pub(super) fn new(dialled: Dialled, engine: Option<Engine>, alpn: Option<&str>) -> Self {
        let io = Io {
            socket: Some(dialled.socket),
            tls: alpn.map(tls_server),
        };
        Self {
            addr: dialled.addr,
            driver: Driver::new(engine, io),
            requests: Vec::new(),
            bodies: Vec::new(),
            goaway: false,
            closed: None,
            is_silent: false,
            is_deaf: false,
            was_deaf: false,
            holds: false,
            eof: false,
            ended: false,
        }
    }

    /// Returns the socket, until it is closed.
    pub(crate) fn socket(&self) -> Option<&MemorySocket> {
        self.driver.io.socket.as_ref()
    }

    /// Returns the place of the socket, which is empty once it is closed.
    pub(crate) fn socket_mut(&mut self) -> &mut Option<MemorySocket> {
        &mut self.driver.io.socket
    }

    /// Takes the bytes that came for no engine.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.driver.input).into()
    }

    /// Returns the name that the pool sent as SNI.
    pub(crate) fn asked_name(&self) -> Option<&str> {
        self.driver.io.tls.as_ref()?.server_name()
    }

    /// Whether the pool has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.eof || self.socket().is_none_or(MemorySocket::is_at_end)
    }

    /// Returns how many requests are neither answered nor reset.
    pub(crate) fn open(&self) -> usize {
        self.requests.iter().filter(|got| got.is_open()).count()
    }

    /// Returns the oldest request that is neither answered nor reset.
    pub(crate) fn oldest(&mut self) -> Option<&mut Got> {
        self.requests.iter_mut().find(|got| got.is_open())
    }

    /// Takes that request.
    pub(crate) fn take_request(&mut self) -> &Got {
        let got = self.oldest().expect("there is a request");
        got.taken = true;
        got
    }

    /// Sends more of a response's body, now or when the stream takes it; with `end`, the last of
    /// it.
    pub(crate) fn supply(&mut self, id: StreamId, data: Bytes, end: bool) {
        match self.bodies.iter_mut().find(|(its, ..)| *its == id) {
            None => self.bodies.push((id, data, end)),
            Some((_, rest, ends)) => {
                *rest = [&rest[..], &data[..]].concat().into();
                *ends |= end;
            }
        }
        self.feed(id);
    }

    fn feed(&mut self, id: StreamId) {
        let Some(place) = self.bodies.iter().position(|(its, ..)| *its == id) else {
            return;
        };
        let (_, mut data, end) = self.bodies.swap_remove(place);
        let Some(mut stream) = self.find(id) else {
            return;
        };
        stream.write(&mut data, end);
        drop(stream);
        if !(data.is_empty() && end) {
            self.bodies.push((id, data, end));
        }
    }

    pub(crate) fn got(&mut self, id: StreamId) -> &mut Got {
        let got = self.requests.iter_mut().find(|got| got.id == id);
        got.expect("there is such a request")
    }

    pub(crate) fn stream<T>(
        &mut self,
        id: StreamId,
        act: impl FnOnce(Box<dyn Stream + '_>) -> T,
    ) -> T {
        act(self.find(id).expect("there is such a stream"))
    }

    /// Returns a stream, if it isn't over.
    pub(crate) fn find(&mut self, id: StreamId) -> Option<Box<dyn Stream + '_>> {
        self.driver.engine.as_mut()?.stream(id)
    }

    /// Ends the connection at once.
    pub(crate) fn abort(&mut self, code: ErrorCode) {
        if let Some(engine) = &mut self.driver.engine {
            engine.abort(code);
        }
    }

    /// Begins a graceful end.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        if let Some(engine) = &mut self.driver.engine {
            engine.shut_down(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_silent || self.socket().is_none() {
            return None;
        }
        self.driver.engine.as_ref()?.next_timeout()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now)
            && let Some(engine) = &mut self.driver.engine
        {
            engine.handle_timeout(now);
        }
    }

    /// Reads, lets the engine work, and writes. Returns whether anything moved.
    pub(super) fn pump(&mut self, now: Instant) -> bool {
        if self.is_silent {
            return false;
        }
        let mut moved = self.read(now);
        if self.is_silent {
            return moved;
        }
        self.receive(now);
        let before = self.driver.written;
        loop {
            match self.driver.send(now) {
                Ok(Some(event)) => self.handle(event),
                Ok(None) => break,
                Err(_) => {
                    self.driver.io.socket = None;
                    return true;
                }
            }
        }
        moved |= self.driver.written > before;
        let Some(socket) = &mut self.driver.io.socket else {
            return moved;
        };
        // One direction of a tunnel may end before the other.
        let engine = self.driver.engine.as_ref();
        let has_ended = engine.is_some_and(Engine::has_ended_our_side);
        if (self.driver.is_over || has_ended) && self.driver.outbox.is_empty() {
            if !self.ended {
                self.ended = true;
                socket.shut_down();
                moved = true;
            }
            if self.eof && self.driver.is_over {
                self.driver.io.socket = None;
            }
        }
        moved
    }

    /// Reads while the engine takes more. Returns whether anything came.
    fn read(&mut self, now: Instant) -> bool {
        let mut moved = false;
        loop {
            let engine = self.driver.engine.as_ref();
            let can_receive = self.ended || engine.is_none_or(Engine::can_receive);
            if !can_receive || self.eof || self.is_deaf || self.socket().is_none() {
                return moved;
            }
            match self.driver.read(16 << 10, now) {
                Ok(None) => return moved,
                Ok(Some(0)) => self.eof = true,
                // The events decide whether the engine takes more.
                Ok(Some(_)) => self.receive(now),
                // The handshake has failed. The alert, which is written, is all that is needed.
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    self.is_silent = true;
                    return true;
                }
                Err(_) => {
                    self.driver.io.socket = None;
                    if let Some(engine) = &mut self.driver.engine {
                        engine.receive_failure(now);
                    }
                }
            }
            moved = true;
        }
    }

    fn receive(&mut self, now: Instant) {
        while let Some(event) = self.driver.receive(now) {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::Request { id, head, end } => self.requests.push(Got {
                id,
                head: Arc::unwrap_or_clone(head),
                body: Vec::new(),
                end,
                trailers: None,
                taken: false,
                reset: None,
                begun: false,
                refused: false,
            }),
            EngineEvent::Data { id, data, end } => {
                if !self.holds
                    && let Some(mut stream) = self.find(id)
                {
                    stream.consume(data.len());
                }
                if let Some(got) = self.requests.iter_mut().find(|got| got.id == id) {
                    got.body.extend_from_slice(&data);
                    got.end |= end;
                }
            }
            EngineEvent::Trailers { id, fields } => {
                if let Some(got) = self.requests.iter_mut().find(|got| got.id == id) {
                    got.end = true;
                    got.trailers = Some(fields);
                }
            }
            EngineEvent::Reset { id, code, .. } => {
                if let Some(mut stream) = self.find(id) {
                    stream.release();
                }
                if let Some(got) = self.requests.iter_mut().find(|got| got.id == id) {
                    got.reset = Some(code);
                }
            }
            EngineEvent::Writable { id, .. } => self.feed(id),
            EngineEvent::GoingAway { .. } => self.goaway = true,
            EngineEvent::Closed(reason) => self.closed = Some(reason),
            _ => {}
        }
    }
}

/// Returns a server's end of TLS that agrees only to this protocol.
fn tls_server(alpn: &str) -> Box<ServerConnection> {
    let made = Certificate::localhost();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.certificate()], made.private_key())
        .unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Box::new(ServerConnection::new(Arc::new(config)).unwrap())
}
