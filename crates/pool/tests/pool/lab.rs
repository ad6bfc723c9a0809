//! A service that owns a pool, on a loop in memory and in virtual time. The tests play the
//! upstreams, with real engines or byte by byte.

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ServerConfig, ServerConnection};
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event as EngineEvent, Fields, Flow, Outbox, RequestHead,
    ResponseHead, Stream, StreamId,
};
use tidegate_ledger::{ClientKey, Ledger, Limits};
use tidegate_net::{
    ConnId, Conns, Dialled, End, MemoryLoop, MemorySocket, Options as LoopOptions, Protocol,
    Service, StreamMut, TlsConnectorConfig, Trust,
};
use tidegate_pool::{
    Address, Event, Failure, OnBehalf, Options, Pool, RequestId, RequestOptions, Security, Stats,
    Upstream, UpstreamId, client_config,
};
use tidegate_testkit::wire;

/// The owner's key of a request: its number.
pub(crate) type Key = usize;

/// An event of a request, in a form that can be compared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Informational(u16),
    Response {
        status: u16,
        version: &'static str,
        end: bool,
    },
    Data {
        data: Bytes,
        end: bool,
    },
    Trailers(Fields),
    Writable,
    Failed(Failure),
}

/// A request, as its owner sees it.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    pub(crate) id: Option<RequestId>,
    pub(crate) seen: Vec<Seen>,
    /// The part of its body that is still to be written, and whether the end follows.
    to_write: Bytes,
    ends: bool,
    trailers: Option<Fields>,
    is_tunnel: bool,
    /// Whether the owner withholds credit for the response.
    holds: bool,
    cancelled: bool,
    /// The request to cancel when the response to this one comes, or its failure.
    cancels: Option<Key>,
}

impl Exchange {
    /// Returns how many events have ended the request. Data that ends a tunnel doesn't.
    fn finals(&self) -> usize {
        let is_final = |seen: &&Seen| match seen {
            Seen::Response { end, .. } => *end,
            Seen::Data { end, .. } => *end && !self.is_tunnel,
            Seen::Trailers(_) | Seen::Failed(_) => true,
            Seen::Informational(_) | Seen::Writable => false,
        };
        self.seen.iter().filter(is_final).count()
    }

    /// Whether an event has ended it.
    pub(crate) fn is_over(&self) -> bool {
        self.finals() > 0
    }

    /// Whether the response grants a tunnel.
    pub(crate) fn opened_tunnel(&self) -> bool {
        self.is_tunnel
            && self
                .status()
                .is_some_and(|status| (200..300).contains(&status))
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Response { status, .. } => Some(*status),
            _ => None,
        })
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    pub(crate) fn body(&self) -> Vec<u8> {
        let data = self.seen.iter().filter_map(|seen| match seen {
            Seen::Data { data, .. } => Some(&data[..]),
            _ => None,
        });
        data.flatten().copied().collect()
    }
}

type Order = Box<dyn FnOnce(&mut Owner, &mut Conns)>;

/// The service.
pub(crate) struct Owner {
    pub(crate) pool: Pool<Key>,
    /// Orders of the test.
    orders: Rc<RefCell<VecDeque<Order>>>,
    exchanges: Rc<RefCell<Vec<Exchange>>>,
    /// A time in the past, for a timeout that is due.
    born: Instant,
}

impl Owner {
    fn drain(&mut self, conns: &mut Conns) {
        while let Some(event) = self.pool.next_event() {
            let (key, seen) = match event {
                Event::Informational { key, head } => (key, Seen::Informational(head.status())),
                Event::Response {
                    key,
                    head,
                    version,
                    end,
                    opens_tunnel,
                    ..
                } => {
                    self.exchanges.borrow_mut()[key].is_tunnel &= opens_tunnel;
                    let status = head.status();
                    let seen = Seen::Response {
                        status,
                        version,
                        end,
                    };
                    (key, seen)
                }
                Event::Data { key, data, end } => (key, Seen::Data { data, end }),
                Event::Trailers { key, fields } => (key, Seen::Trailers(fields)),
                Event::Writable { key, want } => {
                    assert!(want > 0);
                    (key, Seen::Writable)
                }
                Event::Failed { key, failure } => (key, Seen::Failed(failure)),
                event => panic!("{event:?}"),
            };
            let mut exchanges = self.exchanges.borrow_mut();
            let exchange = &mut exchanges[key];
            assert!(
                !exchange.is_over() && !exchange.cancelled,
                "{seen:?} behind the end of {exchange:?}"
            );
            exchange.seen.push(seen.clone());
            let (id, holds) = (exchange.id, exchange.holds);
            if let Some(other) = exchange.cancels
                && matches!(seen, Seen::Response { .. } | Seen::Failed(_))
            {
                exchanges[other].cancelled = true;
                let other = exchanges[other].id.expect("it was begun");
                self.pool.cancel(conns, other);
            }
            drop(exchanges);
            match (seen, id) {
                (Seen::Data { data, .. }, Some(id)) if !holds => {
                    self.pool.consume(conns, id, data.len());
                }
                (Seen::Writable, Some(_)) => self.write(conns, key),
                _ => {}
            }
        }
    }

    pub(crate) fn id(&self, key: Key) -> RequestId {
        self.exchanges.borrow()[key].id.expect("it was begun")
    }

    /// Writes as much of a body as the pool takes.
    fn write(&mut self, conns: &mut Conns, key: Key) {
        let mut exchanges = self.exchanges.borrow_mut();
        let exchange = &mut exchanges[key];
        let Some(id) = exchange.id else {
            return;
        };
        let ends = exchange.ends && exchange.trailers.is_none();
        if !exchange.to_write.is_empty() || ends {
            let data = &mut exchange.to_write;
            let before = data.len();
            let taken = self.pool.write(conns, id, data, ends);
            assert_eq!(before - data.len(), taken);
            // Once the last bytes are taken, there is no more to write.
            exchange.ends &= !(ends && data.is_empty());
        }
        if exchange.to_write.is_empty()
            && let Some(trailers) = &exchange.trailers
            && self.pool.trailers(conns, id, trailers).is_ok()
        {
            exchange.trailers = None;
            exchange.ends = false;
        }
    }
}

impl Service for Owner {
    type Message = ();

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        self.pool.opened(conns, conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: EngineEvent) {
        assert!(self.pool.owns(conn));
        self.pool.event(conns, conn, event);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        self.pool.closed(conns, conn, why);
        assert!(!self.pool.owns(conn));
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        self.drain(conns);
        false
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.orders.borrow().is_empty() {
            self.pool.next_timeout()
        } else {
            Some(self.born)
        }
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.pool.handle_timeout(conns, now);
        self.drain(conns);
        while let Some(order) = { self.orders.borrow_mut().pop_front() } {
            order(self, conns);
            self.drain(conns);
        }
    }
}

/// A request that a test makes.
pub(crate) struct Ask {
    pub(crate) upstream: UpstreamId,
    pub(crate) head: RequestHead,
    pub(crate) body: Body,
    pub(crate) options: RequestOptions,
}

/// Returns a GET, to be changed as needed.
pub(crate) fn get(upstream: UpstreamId) -> Ask {
    ask("GET", upstream)
}

pub(crate) fn ask(method: &str, upstream: UpstreamId) -> Ask {
    Ask {
        upstream,
        head: RequestHead::new(method, "http", "localhost", "/"),
        body: Body::Empty,
        options: RequestOptions::default(),
    }
}

impl Ask {
    pub(crate) fn head(mut self, head: RequestHead) -> Self {
        self.head = head;
        self
    }

    /// Makes the request for this client.
    pub(crate) fn of(mut self, client: u8) -> Self {
        let ip = IpAddr::from([203, 0, 113, client]);
        self.options.client = Some(accounts().client(ClientKey::from(ip)));
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }
}

/// Returns a ledger without limits, for all tests.
fn accounts() -> &'static Arc<Ledger> {
    static ALL: OnceLock<Arc<Ledger>> = OnceLock::new();
    ALL.get_or_init(|| Ledger::new(Limits::none()))
}

/// Returns the address of an upstream.
pub(crate) fn addr(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 80).into()
}

/// Returns bytes that show their position.
pub(crate) fn pattern(len: usize) -> Bytes {
    static ALL: OnceLock<Bytes> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..3_000_000).map(|i| (i % 251) as u8).collect());
    all.slice(..len)
}

/// The loop with the service, and the upstreams.
pub(crate) struct Lab {
    pub(crate) memory: MemoryLoop<Owner>,
    orders: Rc<RefCell<VecDeque<Order>>>,
    exchanges: Rc<RefCell<Vec<Exchange>>>,
    pub(crate) now: Instant,
    /// Connections that are being dialled, the oldest first.
    pub(crate) dialled: VecDeque<Dialled>,
    /// The upstreams' ends of connections.
    pub(crate) servers: Vec<Server>,
    /// Whether servers that are accepted from now on give no credit back.
    pub(crate) hold: bool,
    /// The only protocol that servers agree to over TLS; `None`: they speak cleartext.
    tls: Option<&'static str>,
}

impl Lab {
    pub(crate) fn new(change: impl FnOnce(&mut Options, &mut Config)) -> Self {
        Self::with_capacity(1 << 20, change)
    }

    /// Returns a lab whose sockets hold `capacity` bytes.
    pub(crate) fn with_capacity(
        capacity: usize,
        change: impl FnOnce(&mut Options, &mut Config),
    ) -> Self {
        let mut config = client_config();
        let mut options = Options::new(client_config().build().unwrap());
        change(&mut options, &mut config);
        options.proto = config.build().unwrap();
        let orders = Rc::default();
        let exchanges = Rc::default();
        let loop_options = LoopOptions::new(Config::server().build().unwrap());
        let owner = Owner {
            pool: Pool::new(options),
            orders: Rc::clone(&orders),
            exchanges: Rc::clone(&exchanges),
            born: Instant::now(),
        };
        // From here on, time passes only as the test says.
        let now = Instant::now();
        Self {
            memory: MemoryLoop::new(loop_options, owner, capacity, now).unwrap(),
            orders,
            exchanges,
            now,
            dialled: VecDeque::new(),
            servers: Vec::new(),
            hold: false,
            tls: None,
        }
    }

    // --- The owner's side ---

    /// Has the service do this in the next turn.
    pub(crate) fn order(&mut self, order: impl FnOnce(&mut Owner, &mut Conns) + 'static) {
        self.orders.borrow_mut().push_back(Box::new(order));
    }

    /// Adds an upstream with this number of addresses.
    pub(crate) fn upstream(&mut self, security: Security, addresses: u8) -> UpstreamId {
        self.upstream_at(security, (1..=addresses).map(addr).collect())
    }

    pub(crate) fn upstream_at(
        &mut self,
        security: Security,
        addresses: Vec<SocketAddr>,
    ) -> UpstreamId {
        let made = Rc::new(RefCell::new(None));
        let place = Rc::clone(&made);
        self.order(move |owner, _| {
            *place.borrow_mut() = Some(owner.pool.add(Upstream {
                name: "test".into(),
                addresses: addresses.into_iter().map(Into::into).collect(),
                security,
            }));
        });
        self.run();
        let made = made.borrow_mut().take();
        made.expect("it was made")
    }

    /// Changes the addresses of an upstream.
    pub(crate) fn set_addresses(&mut self, upstream: UpstreamId, addresses: Vec<Address>) {
        self.order(move |owner, conns| owner.pool.set_addresses(conns, upstream, addresses));
        self.run();
    }

    pub(crate) fn h2c(&mut self) -> UpstreamId {
        self.upstream(Security::H2c, 1)
    }

    pub(crate) fn http1(&mut self) -> UpstreamId {
        self.upstream(Security::Http1, 1)
    }

    /// Begins a request in the next turn, without running it.
    pub(crate) fn enter(&mut self, ask: Ask) -> Key {
        let key = self.exchanges.borrow().len();
        self.exchanges.borrow_mut().push(Exchange {
            is_tunnel: ask.head.method() == "CONNECT",
            ..Exchange::default()
        });
        self.order(move |owner, conns| {
            let Ask {
                upstream,
                head,
                body,
                options,
            } = ask;
            let id = owner
                .pool
                .request(conns, key, upstream, head, &body, options);
            owner.exchanges.borrow_mut()[key].id = Some(id);
        });
        key
    }

    /// Begins a request.
    pub(crate) fn ask(&mut self, ask: Ask) -> Key {
        let key = self.enter(ask);
        self.run();
        key
    }

    /// Writes a piece of a streamed body; with `end`, the last one.
    pub(crate) fn write(&mut self, key: Key, data: Bytes, end: bool) {
        self.order(move |owner, conns| {
            {
                let mut exchanges = owner.exchanges.borrow_mut();
                let exchange = &mut exchanges[key];
                exchange.to_write = [&exchange.to_write[..], &data[..]].concat().into();
                exchange.ends |= end;
            }
            owner.write(conns, key);
        });
        self.run();
    }

    /// Writes the last piece of a streamed body, and trailers.
    pub(crate) fn write_with_trailers(&mut self, key: Key, data: Bytes, trailers: Fields) {
        self.exchanges.borrow_mut()[key].trailers = Some(trailers);
        self.write(key, data, true);
    }

    pub(crate) fn cancel(&mut self, key: Key) {
        self.order(move |owner, conns| {
            let mut exchanges = owner.exchanges.borrow_mut();
            exchanges[key].cancelled = true;
            if let Some(id) = exchanges[key].id {
                owner.pool.cancel(conns, id);
            }
        });
        self.run();
    }

    /// Has `other` cancelled when the response to `key` comes, or its failure.
    pub(crate) fn cancel_on_event(&mut self, key: Key, other: Key) {
        self.exchanges.borrow_mut()[key].cancels = Some(other);
    }

    /// Withholds credit for a response, or gives all of it back.
    pub(crate) fn hold(&mut self, key: Key, holds: bool) {
        self.order(move |owner, conns| {
            let mut exchanges = owner.exchanges.borrow_mut();
            exchanges[key].holds = holds;
            let received = exchanges[key].body().len();
            if let Some(id) = exchanges[key].id
                && !holds
            {
                owner.pool.consume(conns, id, received);
            }
        });
        self.run();
    }

    pub(crate) fn exchange(&self, key: Key) -> Ref<'_, Exchange> {
        Ref::map(self.exchanges.borrow(), |exchanges| &exchanges[key])
    }

    pub(crate) fn status(&self, key: Key) -> Option<u16> {
        self.exchange(key).status()
    }

    pub(crate) fn failure(&self, key: Key) -> Option<Failure> {
        self.exchange(key).failure().cloned()
    }

    pub(crate) fn is_over(&self, key: Key) -> bool {
        self.exchange(key).is_over()
    }

    pub(crate) fn was_cancelled(&self, key: Key) -> bool {
        self.exchange(key).cancelled
    }

    pub(crate) fn stats(&self) -> Stats {
        let stats = self.memory.service().pool.stats();
        assert!(stats.sent - stats.reused <= stats.connected, "{stats:?}");
        stats
    }

    // --- Time ---

    /// Runs until nothing more can happen at this time.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            // The second step reads what the upstreams wrote last.
            if !self.step() && !self.step() {
                return;
            }
        }
        panic!("it never rests");
    }

    /// Runs one turn of the loop and of the upstreams. Returns whether there is more to do now.
    fn step(&mut self) -> bool {
        assert!(self.memory.turn(self.now));
        self.dialled.extend(self.memory.dialled());
        let mut moved = false;
        for server in &mut self.servers {
            moved |= server.pump(self.now);
        }
        let next = self.memory.next_turn(self.now);
        moved || next.is_some_and(|at| at <= self.now)
    }

    /// Lets time pass, from one timeout to the next.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        self.run();
        loop {
            let next = self.memory.next_turn(self.now);
            let servers = self.servers.iter().filter_map(Server::next_timeout);
            let Some(next) = servers.chain(next).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            for server in &mut self.servers {
                server.handle_timeout(self.now);
            }
            self.run();
        }
        self.now = end;
        self.run();
    }

    pub(crate) fn wait_ms(&mut self, millis: u64) {
        self.wait(Duration::from_millis(millis));
    }

    // --- The upstreams' side ---

    /// Establishes the oldest connection that is being dialled. Returns the server's number.
    fn accept(&mut self, engine: Engine) -> usize {
        let mut dialled = self.dialled.pop_front().expect("it was dialled");
        dialled.socket.connect();
        let mut server = Server::new(dialled, engine);
        server.holds = self.hold;
        server.tls = self.tls.map(tls_server);
        self.servers.push(server);
        self.run();
        self.servers.len() - 1
    }

    /// Accepts a connection by HTTP/2, with changed settings of `server_config`.
    pub(crate) fn accept_http2(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let mut config = server_config();
        change(&mut config);
        let engine = tidegate_http2::Connection::server(config.build().unwrap(), self.now);
        self.accept(Engine::Http2(Box::new(engine)))
    }

    /// Accepts a connection by HTTP/2.
    pub(crate) fn accept_h2(&mut self) -> usize {
        self.accept_http2(|_| {})
    }

    /// Accepts a connection by HTTP/1.1.
    pub(crate) fn accept_h1(&mut self) -> usize {
        let mut config = server_config();
        config.enable_connect_protocol = true;
        let config = config.build().unwrap();
        let engine = tidegate_http1::Connection::server(config, false, self.now);
        self.accept(Engine::Http1(Box::new(engine)))
    }

    /// Accepts a connection that begins with this header.
    pub(crate) fn accept_behind(&mut self, header: &[u8], http2: bool) -> usize {
        let dialled = self.dialled.front_mut().expect("it was dialled");
        dialled.socket.connect();
        assert!(self.memory.turn(self.now));
        let mut got = vec![0; header.len()];
        let dialled = self.dialled.front_mut().expect("it is still there");
        let count = dialled.socket.read(&mut got).unwrap();
        assert_eq!(got[..count], *header);
        if http2 {
            self.accept_h2()
        } else {
            self.accept_h1()
        }
    }

    /// Returns the last byte of the client's address in the PROXY header, of version 2, of the
    /// oldest connection that is being dialled.
    pub(crate) fn dialled_for(&mut self) -> u8 {
        let dialled = self.dialled.front_mut().expect("it was dialled");
        dialled.socket.connect();
        assert!(self.memory.turn(self.now));
        let dialled = self.dialled.front_mut().expect("it is still there");
        // After a signature of 12 bytes and 4 that describe the rest, the address ends with the
        // 20th.
        let mut header = [0; 20];
        assert_eq!(dialled.socket.peek(&mut header).unwrap(), 20);
        header[19]
    }

    /// Tells the pool that a client has left.
    pub(crate) fn client_left(&mut self, client: OnBehalf) {
        self.order(move |owner, conns| owner.pool.client_left(conns, client));
        self.run();
    }

    /// Accepts a connection by TLS and this protocol.
    pub(crate) fn accept_tls(&mut self, protocol: Protocol, connect_protocol: bool) -> usize {
        let mut config = server_config();
        config.enable_connect_protocol = connect_protocol;
        let config = config.build().unwrap();
        let (alpn, engine) = match protocol {
            Protocol::Http2 => {
                let engine = tidegate_http2::Connection::server(config, self.now);
                ("h2", Engine::Http2(Box::new(engine)))
            }
            Protocol::Http1 => {
                let engine = tidegate_http1::Connection::server(config, true, self.now);
                ("http/1.1", Engine::Http1(Box::new(engine)))
            }
        };
        self.tls = Some(alpn);
        let server = self.accept(engine);
        self.tls = None;
        server
    }

    /// Accepts a connection whose bytes the test reads and writes itself.
    pub(crate) fn accept_raw(&mut self) -> usize {
        self.accept(Engine::None)
    }

    /// Refuses the oldest connection that is being dialled. Returns its address.
    pub(crate) fn refuse(&mut self) -> SocketAddr {
        self.fail_dial(ErrorKind::ConnectionRefused)
    }

    /// Fails the oldest connection that is being dialled. Returns its address.
    pub(crate) fn fail_dial(&mut self, kind: ErrorKind) -> SocketAddr {
        let mut dialled = self.dialled.pop_front().expect("it was dialled");
        let addr = dialled.addr;
        dialled.socket.fail(kind);
        self.run();
        addr
    }

    /// Answers the oldest unanswered request on a connection.
    pub(crate) fn respond(&mut self, server: usize, status: u16, body: Body) -> StreamId {
        let id = self.servers[server].take_request().id;
        self.respond_to(server, id, status, body);
        id
    }

    pub(crate) fn respond_to(&mut self, server: usize, id: StreamId, status: u16, body: Body) {
        let head = ResponseHead::new(status);
        self.servers[server].stream(id, |mut stream| stream.respond(&head, body).unwrap());
        self.run();
    }

    /// Sends a piece of a streamed body.
    pub(crate) fn send(&mut self, server: usize, id: StreamId, data: Bytes, end: bool) {
        let mut data = data;
        self.servers[server].stream(id, |mut stream| stream.write(&mut data, end));
        assert!(data.is_empty());
        self.run();
    }

    /// Resets a stream.
    pub(crate) fn reset(&mut self, server: usize, id: StreamId, code: ErrorCode) {
        self.servers[server].stream(id, |mut stream| stream.reset(code));
        self.run();
    }

    /// Refuses the oldest unanswered request on a connection.
    pub(crate) fn refuse_stream(&mut self, server: usize) -> StreamId {
        let id = self.servers[server].take_request().id;
        self.reset(server, id, ErrorCode::REFUSED_STREAM);
        id
    }

    /// Writes on a connection that the test plays itself.
    pub(crate) fn write_raw(&mut self, server: usize, bytes: impl AsRef<[u8]>) {
        let socket = self.servers[server].socket.as_mut().expect("it is there");
        let written = socket.write(&[IoSlice::new(bytes.as_ref())]).unwrap();
        assert_eq!(written, bytes.as_ref().len());
        self.run();
    }

    /// Returns what came since the last call on a connection that the test plays itself.
    pub(crate) fn read_raw(&mut self, server: usize) -> Vec<u8> {
        self.run();
        std::mem::take(&mut self.servers[server].input).to_vec()
    }

    /// Closes a connection by FIN or by a reset.
    pub(crate) fn cut(&mut self, server: usize, by_reset: bool) {
        if let Some(mut socket) = self.servers[server].socket.take()
            && by_reset
        {
            socket.reset();
        }
        self.run();
    }
}

/// Returns the settings of upstreams, which wait without limit.
fn server_config() -> Config {
    let mut config = Config::server();
    config.timeouts.body = Duration::ZERO;
    config.timeouts.write = Duration::ZERO;
    config.timeouts.idle = Duration::ZERO;
    config.timeouts.header_block = Duration::ZERO;
    config
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
fn tls_server(alpn: &str) -> Box<ServerConnection> {
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

/// Returns an upstream's security: TLS without a check of certificates.
pub(crate) fn by_tls() -> Security {
    by_tls_to(&Trust::Anybody)
}

pub(crate) fn by_tls_to(trust: &Trust) -> Security {
    let config = TlsConnectorConfig::new(trust, None).unwrap();
    Security::Tls {
        config: Arc::new(config),
        name: ServerName::try_from("localhost").unwrap(),
    }
}

/// An upstream's engine.
enum Engine {
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
    tls: Option<Box<ServerConnection>>,
    input: BytesMut,
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
    fn new(dialled: Dialled, engine: Engine) -> Self {
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

    fn next_timeout(&self) -> Option<Instant> {
        if self.is_silent || self.socket.is_none() {
            return None;
        }
        match &self.engine {
            Engine::Http2(engine) => engine.next_timeout(),
            Engine::Http1(engine) => engine.next_timeout(),
            Engine::None => None,
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_some_and(|at| at <= now) {
            match &mut self.engine {
                Engine::Http2(engine) => engine.handle_timeout(now),
                Engine::Http1(engine) => engine.handle_timeout(now),
                Engine::None => {}
            }
        }
    }

    /// Reads, lets the engine work, and writes. Returns whether anything moved.
    fn pump(&mut self, now: Instant) -> bool {
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

/// An HTTP/2 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Returns the frames in `bytes`, which may begin with a client's preface.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    bytes = bytes.strip_prefix(wire::PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*s, *t, *u, *v]),
            payload: rest[..len].to_vec(),
        });
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "a frame that isn't whole");
    frames
}

impl Lab {
    /// Accepts an HTTP/2 connection whose frames the test writes and reads itself, after an
    /// exchange of SETTINGS.
    pub(crate) fn accept_frames(&mut self, settings: &[(u16, u32)]) -> usize {
        let server = self.accept_raw();
        let bytes = [
            wire::settings(settings).to_bytes(),
            wire::settings_ack().to_bytes(),
        ];
        self.write_raw(server, bytes.concat());
        server
    }

    /// Returns the streams of the requests that came since the last call.
    pub(crate) fn raw_requests(&mut self, server: usize) -> Vec<u32> {
        let bytes = self.read_raw(server);
        let frames = frames(&bytes).into_iter();
        frames
            .filter(|frame| frame.kind == 1)
            .map(|frame| frame.stream)
            .collect()
    }

    pub(crate) fn write_frame(&mut self, server: usize, frame: &wire::Raw) {
        self.write_raw(server, frame.to_bytes());
    }

    /// Answers a request on a connection of frames, with a 200 that has no body.
    pub(crate) fn respond_raw(&mut self, server: usize, stream: u32) {
        self.write_frame(server, &wire::headers_block(stream, *b"\x88").end());
    }
}
