//! An upstream's end of a connection.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use tidegate_http::{
    CloseReason, ErrorCode, Event as EngineEvent, Fields, Flow, Outbox, RequestHead, Stream,
    StreamId,
};
use tidegate_net::{Dialled, MemorySocket, StreamMut};

/// An upstream's engine.
pub(super) enum Engine {
    Http2(Box<tidegate_http2::Connection>),
    Http1(Box<tidegate_http1::Connection>),
    None,
}

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

/// An upstream's end of a connection.
pub(crate) struct Server {
    /// The address that was dialled.
    pub(crate) addr: SocketAddr,
    /// The socket, until it is closed.
    pub(crate) socket: Option<MemorySocket>,
    engine: Engine,
    pub(super) tls: Option<Box<ServerConnection>>,
    pub(super) input: BytesMut,
    outbox: Outbox,
    /// TLS records that the socket hasn't taken yet.
    records: Vec<u8>,
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
    pub(super) fn new(dialled: Dialled, engine: Engine) -> Self {
        Self {
            addr: dialled.addr,
            socket: Some(dialled.socket),
            engine,
            tls: None,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            records: Vec::new(),
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

    /// Returns the name that the pool sent as SNI.
    pub(crate) fn asked_name(&self) -> Option<&str> {
        self.tls.as_ref()?.server_name()
    }

    /// Whether the pool has closed its end.
    pub(crate) fn is_closed(&self) -> bool {
        self.eof || self.socket.as_ref().is_none_or(MemorySocket::is_at_end)
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
        if let Some(mut stream) = self.find(id) {
            stream.write(&mut data, end);
            if !(data.is_empty() && end) {
                self.bodies.push((id, data, end));
            }
        }
    }

    pub(crate) fn got(&mut self, id: StreamId) -> &mut Got {
        let got = self.requests.iter_mut().find(|got| got.id == id);
        got.expect("there is such a request")
    }

    pub(crate) fn stream<T>(&mut self, id: StreamId, act: impl FnOnce(StreamMut<'_>) -> T) -> T {
        act(self.find(id).expect("there is such a stream"))
    }

    /// Returns a stream, if it isn't over.
    pub(crate) fn find(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        match &mut self.engine {
            Engine::Http2(engine) => engine.stream(id).map(StreamMut::Http2),
            Engine::Http1(engine) => engine.stream(id).map(StreamMut::Http1),
            Engine::None => None,
        }
    }

    /// Ends the connection at once.
    pub(crate) fn abort(&mut self, code: ErrorCode) {
        match &mut self.engine {
            Engine::Http2(engine) => engine.abort(code),
            Engine::Http1(engine) => engine.abort(code),
            Engine::None => {}
        }
    }

    /// Begins a graceful end.
    pub(crate) fn shut_down(&mut self, now: Instant) {
        match &mut self.engine {
            Engine::Http2(engine) => engine.shut_down(now),
            Engine::Http1(engine) => engine.shut_down(now),
            Engine::None => {}
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        if self.is_silent || self.socket.is_none() {
            return None;
        }
        match &self.engine {
            Engine::Http2(engine) => engine.next_timeout(),
            Engine::Http1(engine) => engine.next_timeout(),
            Engine::None => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            match &mut self.engine {
                Engine::Http2(engine) => engine.handle_timeout(now),
                Engine::Http1(engine) => engine.handle_timeout(now),
                Engine::None => {}
            }
        }
    }

    /// Reads, lets the engine work, and writes. Returns whether anything moved.
    pub(super) fn pump(&mut self, now: Instant) -> bool {
        if self.is_silent {
            return false;
        }
        let mut moved = self.read(now);
        while let Some(event) = self.receive(now) {
            self.handle(event);
        }
        let is_over = self.transmit(now);
        let Some(socket) = &mut self.socket else {
            return moved;
        };
        if let Some(tls) = &mut self.tls {
            // The handshake goes first, and other output waits for its end.
            while self.outbox.has_remaining() && !tls.is_handshaking() {
                let count = tls.writer().write(self.outbox.chunk()).unwrap();
                self.outbox.advance(count);
                while tls.wants_write() {
                    tls.write_tls(&mut self.records).unwrap();
                }
            }
            while tls.wants_write() {
                tls.write_tls(&mut self.records).unwrap();
            }
            while !self.records.is_empty() {
                let Ok(count) = socket.write(&[IoSlice::new(&self.records)]) else {
                    break;
                };
                self.records.drain(..count);
                moved = true;
            }
        }
        while self.tls.is_none() && self.outbox.has_remaining() {
            match socket.write(&[IoSlice::new(self.outbox.chunk())]) {
                Ok(count) => self.outbox.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.socket = None;
                    return true;
                }
            }
            moved = true;
        }
        // One direction of a tunnel may end before the other.
        let has_ended = match &self.engine {
            Engine::Http1(engine) => engine.has_ended_our_side(),
            _ => false,
        };
        if (is_over || has_ended) && self.outbox.is_empty() {
            if !self.ended {
                self.ended = true;
                socket.shut_down();
                moved = true;
            }
            if self.eof && is_over {
                self.socket = None;
            }
        }
        moved
    }

    fn read(&mut self, now: Instant) -> bool {
        let mut moved = false;
        loop {
            let can_receive = match &self.engine {
                Engine::Http2(engine) => engine.can_receive() || self.ended,
                Engine::Http1(engine) => engine.can_receive() || self.ended,
                Engine::None => true,
            };
            let reads = can_receive && !self.eof && !self.is_deaf;
            let Some(socket) = self.socket.as_mut().filter(|_| reads) else {
                return moved;
            };
            let mut room = [0; 16 << 10];
            match socket.read(&mut room) {
                Ok(0) => {
                    self.eof = true;
                    match &mut self.engine {
                        Engine::Http2(engine) => engine.receive_eof(now),
                        Engine::Http1(engine) => engine.receive_eof(now),
                        Engine::None => {}
                    }
                }
                Ok(count) => {
                    match &mut self.tls {
                        None => self.input.extend_from_slice(&room[..count]),
                        Some(tls) => decrypt(tls, &room[..count], &mut self.input),
                    }
                    // The events decide whether the engine takes more.
                    while let Some(event) = self.receive(now) {
                        self.handle(event);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return moved,
                Err(_) => {
                    self.socket = None;
                    match &mut self.engine {
                        Engine::Http2(engine) => engine.receive_eof(now),
                        Engine::Http1(engine) => engine.receive_failure(now),
                        Engine::None => {}
                    }
                }
            }
            moved = true;
        }
    }

    fn receive(&mut self, now: Instant) -> Option<EngineEvent> {
        match &mut self.engine {
            Engine::Http2(engine) => engine.receive(&mut self.input, now),
            Engine::Http1(engine) => engine.receive(&mut self.input, now),
            Engine::None => None,
        }
    }

    /// Collects the engine's output. Returns whether the engine has ended.
    fn transmit(&mut self, now: Instant) -> bool {
        loop {
            let out = &mut self.outbox;
            let flow = match &mut self.engine {
                Engine::Http2(engine) => engine.transmit(out, usize::MAX, now),
                Engine::Http1(engine) => engine.transmit(out, usize::MAX, now),
                Engine::None => return false,
            };
            match flow {
                Flow::Event(event) => self.handle(event),
                Flow::Drained | Flow::Full => return false,
                Flow::Closed => return true,
            }
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
                if !self.holds {
                    match &mut self.engine {
                        Engine::Http2(engine) => engine
                            .stream(id)
                            .map(|mut stream| stream.consume(data.len())),
                        Engine::Http1(engine) => engine
                            .stream(id)
                            .map(|mut stream| stream.consume(data.len())),
                        Engine::None => None,
                    };
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
                if let Engine::Http2(engine) = &mut self.engine
                    && let Some(mut stream) = engine.stream(id)
                {
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

/// Decrypts records, and adds their content to `input`.
fn decrypt(tls: &mut ServerConnection, mut records: &[u8], input: &mut BytesMut) {
    while !records.is_empty() {
        tls.read_tls(&mut records).unwrap();
        // If the handshake fails, the alert to the other end is all that is needed.
        let Ok(state) = tls.process_new_packets() else {
            return;
        };
        let mut content = vec![0; state.plaintext_bytes_to_read()];
        tls.reader().read_exact(&mut content).unwrap();
        input.extend_from_slice(&content);
    }
}

/// Returns a server's end of TLS that agrees only to this protocol.
pub(super) fn tls_server(alpn: &str) -> Box<ServerConnection> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Box::new(ServerConnection::new(Arc::new(config)).unwrap())
}
