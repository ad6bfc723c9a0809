//! A service that owns a pool, on a loop in memory and in virtual time. The tests play the
//! upstreams, with real engines or byte by byte.

mod frames;
mod owner;
mod server;

use std::cell::{Ref, RefCell};
use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::ServerName;
use tidegate_http::{Body, Config, ErrorCode, Fields, RequestHead, ResponseHead, StreamId};
use tidegate_ledger::{ClientKey, Ledger, Limits};
use tidegate_net::{
    Conns, Dialled, MemoryLoop, Options as LoopOptions, Protocol, TlsConnectorConfig, Trust,
};
use tidegate_pool::{
    Address, Failure, Limits as PoolLimits, OnBehalf, Options, Pool, RequestOptions, Security,
    Stats, Upstream, UpstreamId, client_config,
};
use tidegate_testkit::engine::Engine;

pub(crate) use self::frames::frames;
use self::owner::Order;
pub(crate) use self::owner::{Exchange, Key, Owner, Seen};
pub(crate) use self::server::{Got, Server};

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

/// The settings of a pool, and of all its upstreams.
pub(crate) struct Setup {
    pub(crate) limits: PoolLimits,
    upstreams: Options,
}

impl Deref for Setup {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.upstreams
    }
}

impl DerefMut for Setup {
    fn deref_mut(&mut self) -> &mut Options {
        &mut self.upstreams
    }
}

/// The loop with the service, and the upstreams.
pub(crate) struct Lab {
    pub(crate) memory: MemoryLoop<Owner>,
    /// The options of the upstreams that are added from now on.
    pub(crate) options: Arc<Options>,
    orders: Rc<RefCell<VecDeque<Order>>>,
    exchanges: Rc<RefCell<Vec<Exchange>>>,
    pub(crate) now: Instant,
    /// Connections that are being dialled, the oldest first.
    pub(crate) dialled: VecDeque<Dialled>,
    /// The upstreams' ends of connections.
    pub(crate) servers: Vec<Server>,
    /// Whether servers that are accepted from now on give no credit back.
    pub(crate) hold: bool,
}

impl Lab {
    pub(crate) fn new(change: impl FnOnce(&mut Setup, &mut Config)) -> Self {
        Self::with_capacity(1 << 20, change)
    }

    /// Returns a lab whose sockets hold `capacity` bytes.
    pub(crate) fn with_capacity(
        capacity: usize,
        change: impl FnOnce(&mut Setup, &mut Config),
    ) -> Self {
        let mut config = client_config();
        let mut options = Setup {
            limits: PoolLimits::default(),
            upstreams: Options::new(client_config().build().unwrap()),
        };
        change(&mut options, &mut config);
        options.upstreams.engine = config.build().unwrap();
        let orders = Rc::default();
        let exchanges = Rc::default();
        let loop_options = LoopOptions::new(Config::server().build().unwrap());
        let owner = Owner {
            pool: Pool::new(options.limits),
            orders: Rc::clone(&orders),
            exchanges: Rc::clone(&exchanges),
            born: Instant::now(),
        };
        // From here on, time passes only as the test says.
        let now = Instant::now();
        Self {
            memory: MemoryLoop::new(loop_options, owner, capacity, now).unwrap(),
            options: Arc::new(options.upstreams),
            orders,
            exchanges,
            now,
            dialled: VecDeque::new(),
            servers: Vec::new(),
            hold: false,
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
        let options = Arc::clone(&self.options);
        self.order(move |owner, _| {
            *place.borrow_mut() = Some(owner.pool.add(Upstream {
                name: "test".into(),
                addresses: addresses.into_iter().map(Into::into).collect(),
                security,
                options,
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

    /// Establishes the oldest connection that is being dialled; with `alpn`, by TLS and only this
    /// protocol. Returns the server's number.
    fn accept(&mut self, engine: Option<Engine>, alpn: Option<&str>) -> usize {
        let mut dialled = self.dialled.pop_front().expect("it was dialled");
        dialled.socket.connect();
        let mut server = Server::new(dialled, engine, alpn);
        server.holds = self.hold;
        self.servers.push(server);
        self.run();
        self.servers.len() - 1
    }

    /// Accepts a connection by HTTP/2, with changed settings of `server_config`.
    pub(crate) fn accept_http2(&mut self, change: impl FnOnce(&mut Config)) -> usize {
        let mut config = server_config();
        change(&mut config);
        let engine = Engine::server(Protocol::Http2, config, false, self.now);
        self.accept(Some(engine), None)
    }

    /// Accepts a connection by HTTP/2.
    pub(crate) fn accept_h2(&mut self) -> usize {
        self.accept_http2(|_| {})
    }

    /// Accepts a connection by HTTP/1.1.
    pub(crate) fn accept_h1(&mut self) -> usize {
        let mut config = server_config();
        config.enable_connect_protocol = true;
        let engine = Engine::server(Protocol::Http1, config, false, self.now);
        self.accept(Some(engine), None)
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
        let engine = Engine::server(protocol, config, true, self.now);
        let alpn = match protocol {
            Protocol::Http2 => "h2",
            Protocol::Http1 => "http/1.1",
        };
        self.accept(Some(engine), Some(alpn))
    }

    /// Accepts a connection whose bytes the test reads and writes itself.
    pub(crate) fn accept_raw(&mut self) -> usize {
        self.accept(None, None)
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
        let socket = self.servers[server].socket_mut().as_mut();
        let socket = socket.expect("it is there");
        let written = socket.write(&[IoSlice::new(bytes.as_ref())]).unwrap();
        assert_eq!(written, bytes.as_ref().len());
        self.run();
    }

    /// Returns what came since the last call on a connection that the test plays itself.
    pub(crate) fn read_raw(&mut self, server: usize) -> Vec<u8> {
        self.run();
        self.servers[server].take_input()
    }

    /// Closes a connection by FIN or by a reset.
    pub(crate) fn cut(&mut self, server: usize, by_reset: bool) {
        if let Some(mut socket) = self.servers[server].socket_mut().take()
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
