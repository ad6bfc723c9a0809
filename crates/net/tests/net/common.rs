//! A worker on a thread of its own, and clients that use the engine's client role.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion, WantsVerifier,
};
use tidegate_http::{Body, Config, ErrorCode, Event, RequestHead, ResponseHead, Stream, StreamId};
use tidegate_http2::Connection;
use tidegate_ledger::{Ledger, Limits, Resource, Rule};
use tidegate_net::{
    ConnId, ConnInfo, Conns, Dial, DialSecurity, Direction, End, EventLoop, Listener, Mailbox,
    MemoryLoop, Options, Origin, Protocol, Security, Service, TlsAcceptorConfig,
    TlsConnectorConfig, Totals, Trust,
};
use tidegate_testkit::driver::Driver;
use tidegate_testkit::tls::{Certificate, client_config};

/// The longest wait for anything that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Takes turns at `now` until there is nothing left to do.
pub(crate) fn run_until_rest<S: Service>(memory: &mut MemoryLoop<S>, now: Instant) {
    for _ in 0..10_000 {
        assert!(memory.turn(now));
        if memory.next_turn(now).is_none_or(|at| at > now) {
            return;
        }
    }
    panic!("it never rests");
}

/// Limits the connections that may be open at once to `most`.
pub(crate) fn limit_connections(options: &mut Options, most: u64) {
    let limits = Limits::none().with(Resource::Connections, Rule::new(most));
    options.ledger = Ledger::new(limits);
}

/// A message from a test to the service.
pub(crate) enum Message {
    /// Answers the requests for `/hold`.
    Release,
    /// Sends the worker's counters.
    Totals(Sender<Totals>),
}

/// A message from the service to the test.
#[derive(Debug)]
pub(crate) enum Note {
    Opened(Option<tidegate_net::TlsInfo>),
    Held,
    Closed(String),
}

/// A service that answers by path: `/hello`; `/early`, whether the request came early; `/big/N`, N
/// bytes; `/upload`, the number of bytes received; `/hold`, when told to; `/cut`, a part of a body.
pub(crate) struct TestService {
    notes: Sender<Note>,
    uploads: HashMap<(ConnId, StreamId), u64>,
    held: Vec<(ConnId, StreamId)>,
    cut: HashSet<(ConnId, StreamId)>,
}

impl TestService {
    fn answer(conns: &mut Conns, conn: ConnId, id: StreamId, body: Bytes) {
        if let Some(mut stream) = conns.stream(conn, id) {
            let head = ResponseHead::new(200);
            stream.respond(&head, Body::Full(body)).unwrap();
        }
    }

    fn uploaded(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if let Some(bytes) = self.uploads.remove(&(conn, id)) {
            Self::answer(conns, conn, id, bytes.to_string().into());
        }
    }
}

/// Returns the bytes of `/big/N`.
pub(crate) fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i % 251) as u8).collect::<Vec<_>>().into()
}

impl Service for TestService {
    type Message = Message;

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let tls = conns
            .info(conn)
            .and_then(|info| info.tls.as_deref().cloned());
        let _ = self.notes.send(Note::Opened(tls));
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        match event {
            Event::Request { id, head, end } => match head.path() {
                "/hello" => Self::answer(conns, conn, id, "hello".into()),
                "/early" => {
                    let is_early = conns.is_early(conn).to_string();
                    Self::answer(conns, conn, id, is_early.into());
                }
                "/hold" => {
                    self.held.push((conn, id));
                    let _ = self.notes.send(Note::Held);
                }
                "/cut" => {
                    self.cut.insert((conn, id));
                    if let Some(mut stream) = conns.stream(conn, id) {
                        let head = ResponseHead::new(200);
                        stream.respond(&head, Body::Stream).unwrap();
                    }
                }
                "/upload" => {
                    self.uploads.insert((conn, id), 0);
                    if end {
                        self.uploaded(conns, conn, id);
                    }
                }
                path => {
                    let len = path.strip_prefix("/big/").and_then(|len| len.parse().ok());
                    Self::answer(conns, conn, id, pattern(len.unwrap_or(0)));
                }
            },
            Event::Data { id, data, end } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.consume(data.len());
                }
                if let Some(bytes) = self.uploads.get_mut(&(conn, id)) {
                    *bytes += data.len() as u64;
                }
                if end {
                    self.uploaded(conns, conn, id);
                }
            }
            Event::Writable { id, .. } => {
                let is_first = self.cut.remove(&(conn, id));
                if let Some(mut stream) = conns.stream(conn, id) {
                    if is_first {
                        assert_eq!(stream.write(&mut "half".into(), false), 4);
                    } else {
                        stream.reset(ErrorCode::INTERNAL_ERROR);
                    }
                }
            }
            Event::Reset { id, .. } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.release();
                }
            }
            _ => {}
        }
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        assert!(conns.info(conn).is_some());
        let _ = self.notes.send(Note::Closed(why.to_string()));
    }

    fn message(&mut self, conns: &mut Conns, message: Message) {
        match message {
            Message::Release => {
                for (conn, id) in self.held.drain(..) {
                    Self::answer(conns, conn, id, "released".into());
                }
            }
            Message::Totals(to) => {
                let _ = to.send(conns.totals());
            }
        }
    }
}

/// A loop on a thread of its own. Dropping it stops the loop.
struct Running<S: Service> {
    mailbox: Mailbox<S::Message>,
    thread: Option<JoinHandle<io::Result<S>>>,
}

impl<S: Service + Send + 'static> Running<S> {
    fn new(event_loop: EventLoop<S>) -> Self {
        Self {
            mailbox: event_loop.mailbox(),
            thread: Some(std::thread::spawn(move || event_loop.run())),
        }
    }
}

impl<S: Service> Running<S> {
    /// Waits for the loop to end.
    fn join(&mut self) {
        let thread = self.thread.take().unwrap();
        thread.join().unwrap().unwrap();
    }
}

impl<S: Service> Drop for Running<S> {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.mailbox.stop();
            let result = thread.join();
            if !std::thread::panicking() {
                result.unwrap().unwrap();
            }
        }
    }
}

/// A worker on a thread of its own.
pub(crate) struct Worker {
    pub(crate) addr: SocketAddr,
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) notes: Receiver<Note>,
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
    running: Running<TestService>,
}

impl Worker {
    pub(crate) fn plain() -> Self {
        Self::start(false, |_| {})
    }

    pub(crate) fn tls() -> Self {
        Self::start(true, |_| {})
    }

    pub(crate) fn start(tls: bool, change: impl FnOnce(&mut Options)) -> Self {
        let made = Certificate::localhost();
        let security = if tls {
            let config = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes());
            Security::Tls(Arc::new(config.unwrap()))
        } else {
            Security::Plain
        };
        Self::with(made, security, change)
    }

    /// Starts a worker that has this certificate.
    pub(crate) fn with(
        made: Certificate,
        security: Security,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
        Self::on(made, listener, change)
    }

    /// Starts a worker on this listener.
    pub(crate) fn on(
        made: Certificate,
        listener: Listener,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let addr = listener.local_addr();
        let mut options = Options::new(Config::server().build().unwrap());
        change(&mut options);
        let (notes, receiver) = mpsc::channel();
        let service = TestService {
            notes,
            uploads: HashMap::new(),
            held: Vec::new(),
            cut: HashSet::new(),
        };
        let event_loop = EventLoop::new(vec![listener], options, service).unwrap();
        Self {
            addr,
            mailbox: event_loop.mailbox(),
            notes: receiver,
            certificate: made.certificate(),
            pem: made.pem,
            running: Running::new(event_loop),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Returns the settings of a dial that trusts the worker's certificate.
    pub(crate) fn trusted(&self) -> Arc<TlsConnectorConfig> {
        let trust = Trust::Pem(self.pem.clone().into_bytes());
        Arc::new(TlsConnectorConfig::new(&trust, None).unwrap())
    }

    /// Returns the settings of a client that trusts the worker's certificate.
    pub(crate) fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        client_config(Some(&self.certificate), alpn)
    }

    pub(crate) fn connect_tls(
        &self,
        config: &Arc<ClientConfig>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        StreamOwned::new(session, self.connect())
    }

    /// Returns the next note that `pick` takes; skips others.
    pub(crate) fn wait_for<T>(&self, mut pick: impl FnMut(Note) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let note = self.notes.recv_timeout(left).expect("the service says so");
            if let Some(picked) = pick(note) {
                return picked;
            }
        }
    }

    pub(crate) fn wait_closed(&self) -> String {
        self.wait_for(|note| match note {
            Note::Closed(why) => Some(why),
            _ => None,
        })
    }

    pub(crate) fn totals(&self) -> Totals {
        let (sender, receiver) = mpsc::channel();
        assert!(self.mailbox.send(Message::Totals(sender)));
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    /// Waits for the loop to end.
    pub(crate) fn join(mut self) {
        self.running.join();
    }
}

/// A response, as far as it has arrived.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) end: bool,
    pub(crate) reset: Option<tidegate_http::ErrorCode>,
}

/// A blocking client of one connection.
pub(crate) struct Client<T> {
    pub(crate) driver: Driver<T>,
    pub(crate) responses: HashMap<StreamId, Response>,
    pub(crate) closed: bool,
}

impl<T: Read + Write> Client<T> {
    pub(crate) fn new(io: T) -> Self {
        let mut config = Config::client();
        config.initial_window_size = 1 << 20;
        let engine = Connection::client(config.build().unwrap(), Instant::now());
        Self {
            driver: Driver::new(engine, io),
            responses: HashMap::new(),
            closed: false,
        }
    }

    pub(crate) fn open(&mut self, method: &str, path: &str, body: Body) -> StreamId {
        let head = RequestHead::new(method, "http", "localhost", path);
        let id = self.driver.engine.open(&head, body).unwrap();
        self.responses.insert(id, Response::default());
        id
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        let id = self.open("GET", path, Body::Empty);
        self.finish(id)
    }

    /// Continues until the response is whole, or the stream or connection is over.
    pub(crate) fn finish(&mut self, id: StreamId) -> Response {
        while !self.closed && !self.responses[&id].end && self.responses[&id].reset.is_none() {
            self.flush();
            self.read_once();
        }
        self.flush();
        self.responses.remove(&id).unwrap()
    }

    /// Writes the engine's output.
    pub(crate) fn flush(&mut self) {
        while let Some(event) = self.driver.send(Instant::now()).expect("the server reads") {
            self.handle(event);
        }
    }

    /// Reads once, blocking, and handles the result.
    pub(crate) fn read_once(&mut self) {
        let count = self
            .driver
            .read(16 << 10, Instant::now())
            .expect("the server answers");
        self.closed |= count.expect("the server answers in time") == 0;
        while let Some(event) = self.driver.receive(Instant::now()) {
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Response { id, head, end } => {
                if let Some(response) = self.responses.get_mut(&id) {
                    response.status = head.status();
                    response.end = end;
                }
            }
            Event::Data { id, data, end } => {
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.consume(data.len());
                }
                if let Some(response) = self.responses.get_mut(&id) {
                    response.body.extend_from_slice(&data);
                    response.end = end;
                }
            }
            Event::Reset { id, code, .. } => {
                if let Some(response) = self.responses.get_mut(&id) {
                    response.reset = Some(code);
                }
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.release();
                }
            }
            _ => {}
        }
    }
}

/// Requests 20 large bodies and reads nothing, until the worker can write no more; then requests
/// something urgent and reads. Checks that no more of the bulk precedes the urgent response than
/// the client's socket had, the kernel takes at once, and one outbox holds. `elsewhere` makes a
/// request on another connection.
pub(crate) fn urgent_overtakes_bulk<T: Read + Write>(
    worker: &Worker,
    client: &mut Client<T>,
    elsewhere: impl Fn(),
) {
    let bulk: Vec<_> = (0..20)
        .map(|_| client.open("GET", "/big/1000000", Body::Empty))
        .collect();
    client.flush();
    // A turn writes at most 256 KiB. Each of these requests takes one or more.
    let mut written = 0;
    loop {
        for _ in 0..10 {
            elsewhere();
        }
        let total = worker.totals().bytes_sent;
        // The other connections got less than 50 KB.
        if total < written + 50_000 {
            break;
        }
        written = total;
    }
    let head = RequestHead::new("GET", "http", "localhost", "/hello").field("priority", "u=0");
    let urgent = client.driver.engine.open(&head, Body::Empty).unwrap();
    client.responses.insert(urgent, Response::default());
    assert_eq!(client.finish(urgent).body, b"hello");
    let ahead: usize = bulk.iter().map(|id| client.responses[id].body.len()).sum();
    // The kernel doubles the requested size (socket(7)).
    let in_our_socket = 128 << 10;
    assert!(ahead < (256 << 10) + in_our_socket, "{ahead} bytes ahead");
    for id in bulk {
        assert_eq!(client.finish(id).body.len(), 1_000_000);
    }
}

/// A stream that writes a few bytes at a time, in segments of their own.
pub(crate) struct Trickle {
    socket: TcpStream,
    step: usize,
}

impl Trickle {
    pub(crate) fn new(socket: TcpStream, step: usize) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, step }
    }
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }
}

impl Write for Trickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(&bytes[..bytes.len().min(self.step)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that a [`Watched`] service reports to the test.
#[derive(Debug)]
pub(crate) enum Told {
    Opened(ConnId, Protocol, Box<ConnInfo>),
    Event(ConnId, Event),
    HalfClosed(ConnId),
    Closed(ConnId, End),
    /// The time of the alarm has come.
    Rang(Instant),
}

/// A command of a test to a [`Watched`] service.
pub(crate) type Command = Box<dyn FnOnce(&mut Watched, &mut Conns) + Send>;

/// A reaction of a [`Watched`] service to an event, at once.
pub(crate) type Reaction = Box<dyn FnMut(&mut Conns, ConnId) + Send>;

/// A [`Watched`] service's answer to a request, at once.
pub(crate) type Answer = Box<dyn FnMut(&mut Conns, ConnId, StreamId) + Send>;

/// A service that does nothing by itself, except that it gives back credit and sends bodies that
/// the test provided.
pub(crate) struct Watched {
    told: Sender<Told>,
    /// Commands to a loop in memory, which has no mailbox.
    desk: Arc<Mutex<VecDeque<Command>>>,
    /// Work that is left to settle.
    pub(crate) left: Arc<Mutex<VecDeque<Command>>>,
    /// A time in the past.
    born: Instant,
    /// Bodies to write when it is their turn, followed by their end.
    bodies: HashMap<(ConnId, StreamId), Bytes>,
    /// Whether to give back credit at once.
    pub(crate) consumes: bool,
    /// Called as soon as a response arrives.
    pub(crate) on_response: Option<Reaction>,
    /// Called as soon as a request arrives.
    pub(crate) on_request: Option<Answer>,
    /// When to ring.
    pub(crate) alarm: Option<Instant>,
    /// The bytes that were traced, in order.
    pub(crate) traced: Vec<(ConnId, Direction, Vec<u8>)>,
}

impl Watched {
    pub(crate) fn new() -> (Self, Receiver<Told>) {
        let (told, receiver) = mpsc::channel();
        let watched = Self {
            told,
            desk: Arc::default(),
            left: Arc::default(),
            born: Instant::now(),
            bodies: HashMap::new(),
            consumes: true,
            on_response: None,
            on_request: None,
            alarm: None,
            traced: Vec::new(),
        };
        (watched, receiver)
    }

    /// Returns the place for commands to a loop in memory.
    pub(crate) fn desk(&self) -> Arc<Mutex<VecDeque<Command>>> {
        Arc::clone(&self.desk)
    }

    /// Sends `body` on a stream with a [`Body::Stream`], as the stream takes it.
    pub(crate) fn give(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId, body: Bytes) {
        self.bodies.insert((conn, id), body);
        self.write(conns, conn, id);
    }

    fn write(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if let Some(body) = self.bodies.get_mut(&(conn, id))
            && let Some(mut stream) = conns.stream(conn, id)
        {
            stream.write(body, true);
            if body.is_empty() {
                self.bodies.remove(&(conn, id));
            }
        }
    }

    /// Returns the bytes of a connection that were traced in one direction.
    pub(crate) fn traced(&self, conn: ConnId, direction: Direction) -> Vec<u8> {
        let its = self.traced.iter();
        let its = its.filter(|(id, way, _)| (*id, *way) == (conn, direction));
        its.flat_map(|(_, _, bytes)| bytes).copied().collect()
    }
}

impl Service for Watched {
    type Message = Command;

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let info = conns.info(conn).expect("it is there").clone();
        let engine = conns.engine_ref(conn).expect("its protocol is known");
        let told = Told::Opened(conn, engine.protocol(), Box::new(info));
        let _ = self.told.send(told);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        match &event {
            Event::Data { id, data, .. } if self.consumes => {
                if let Some(mut stream) = conns.stream(conn, *id) {
                    stream.consume(data.len());
                }
            }
            Event::Writable { id, .. } => self.write(conns, conn, *id),
            Event::Request { id, .. } => {
                if let Some(answer) = &mut self.on_request {
                    answer(conns, conn, *id);
                }
            }
            Event::Response { .. } => {
                if let Some(react) = &mut self.on_response {
                    react(conns, conn);
                }
            }
            Event::Reset { id, .. } => {
                if let Some(mut stream) = conns.stream(conn, *id) {
                    stream.release();
                }
            }
            _ => {}
        }
        let _ = self.told.send(Told::Event(conn, event));
    }

    fn half_closed(&mut self, _conns: &mut Conns, conn: ConnId) {
        let _ = self.told.send(Told::HalfClosed(conn));
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        assert!(conns.info(conn).is_some());
        // An end can't be cloned, because errors can't.
        let why = match why {
            End::Closed(reason) => End::Closed(reason.clone()),
            End::TlsFailed(error) => End::TlsFailed(error.clone()),
            End::HandshakeEof => End::HandshakeEof,
            End::HandshakeTimedOut => End::HandshakeTimedOut,
            End::ConnectFailed(error) => End::ConnectFailed(error.kind().into()),
            End::ConnectTimedOut => End::ConnectTimedOut,
            End::NotHttp2 => End::NotHttp2,
            End::ProxyHeaderInvalid => End::ProxyHeaderInvalid,
            End::WriteTimedOut => End::WriteTimedOut,
            End::Io(error) => End::Io(error.kind().into()),
            _ => End::Stopped,
        };
        let _ = self.told.send(Told::Closed(conn, why));
    }

    fn message(&mut self, conns: &mut Conns, command: Command) {
        command(self, conns);
    }

    fn next_timeout(&self) -> Option<Instant> {
        if self.desk.lock().unwrap().is_empty() {
            self.alarm
        } else {
            Some(self.born)
        }
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        let commands = std::mem::take(&mut *self.desk.lock().unwrap());
        for command in commands {
            command(self, conns);
        }
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            let _ = self.told.send(Told::Rang(now));
        }
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        let next = self.left.lock().unwrap().pop_front();
        let is_work = next.is_some();
        if let Some(command) = next {
            command(self, conns);
        }
        is_work
    }

    fn trace(&mut self, conns: &Conns, conn: ConnId, direction: Direction, bytes: &[u8]) {
        assert!(conns.info(conn).is_some());
        self.traced.push((conn, direction, bytes.to_vec()));
    }
}

/// A loop with a [`Watched`] service, on a thread of its own.
pub(crate) struct Watcher {
    /// The listener's address, if there is one.
    pub(crate) addr: SocketAddr,
    pub(crate) mailbox: Mailbox<Command>,
    told: Receiver<Told>,
    /// Reports that no test has taken yet.
    untold: RefCell<VecDeque<Told>>,
    running: Running<Watched>,
}

impl Watcher {
    /// Starts a watcher that only opens connections.
    pub(crate) fn dialling() -> Self {
        Self::start(None, |_| {})
    }

    /// Starts a watcher that listens in cleartext.
    pub(crate) fn plain(change: impl FnOnce(&mut Options)) -> Self {
        Self::start(Some(Security::Plain), change)
    }

    /// Starts a watcher that listens with TLS and this certificate.
    pub(crate) fn tls(identity: &Identity, change: impl FnOnce(&mut Options)) -> Self {
        let (certificate, key) = (identity.pem(), identity.key_pem());
        let config = TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes());
        Self::start(Some(Security::Tls(Arc::new(config.unwrap()))), change)
    }

    pub(crate) fn start(security: Option<Security>, change: impl FnOnce(&mut Options)) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        match security {
            Some(security) => Self::bind(any, security, change).unwrap(),
            None => Self::run(None, change),
        }
    }

    /// Starts a watcher that listens at an address.
    pub(crate) fn bind(
        addr: SocketAddr,
        security: Security,
        change: impl FnOnce(&mut Options),
    ) -> io::Result<Self> {
        let listener = Listener::bind(addr, security)?;
        Ok(Self::run(Some(listener), change))
    }

    fn run(listener: Option<Listener>, change: impl FnOnce(&mut Options)) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let addr = listener.as_ref().map_or(nowhere, Listener::local_addr);
        let mut config = Config::server();
        config.enable_connect_protocol = true;
        let mut options = Options::new(config.build().unwrap());
        change(&mut options);
        let (service, told) = Watched::new();
        let listeners = listener.into_iter().collect();
        let event_loop = EventLoop::new(listeners, options, service).unwrap();
        Self {
            addr,
            mailbox: event_loop.mailbox(),
            told,
            untold: RefCell::default(),
            running: Running::new(event_loop),
        }
    }

    /// Runs a command on the worker's thread.
    pub(crate) fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Watched, &mut Conns) -> T + Send + 'static,
    ) -> T {
        let (sender, receiver) = mpsc::channel();
        let command: Command = Box::new(move |watched, conns| {
            let _ = sender.send(act(watched, conns));
        });
        assert!(self.mailbox.send(command));
        receiver.recv_timeout(PATIENCE).unwrap()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.with(|_, conns| conns.totals())
    }

    /// Returns the first report that `pick` takes; others stay.
    pub(crate) fn wait_for(&self, mut pick: impl FnMut(&Told) -> bool) -> Told {
        let mut untold = self.untold.borrow_mut();
        if let Some(place) = untold.iter().position(&mut pick) {
            return untold.remove(place).unwrap();
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left);
            let told = told.unwrap_or_else(|_| panic!("not told, but {untold:?}"));
            if pick(&told) {
                return told;
            }
            untold.push_back(told);
        }
    }

    /// Returns the number of reports so far that `pick` takes.
    pub(crate) fn told(&self, mut pick: impl FnMut(&Told) -> bool) -> usize {
        // A message is answered in the turn in which it is read, so the reports of that turn are
        // there then.
        self.totals();
        let mut untold = self.untold.borrow_mut();
        untold.extend(self.told.try_iter());
        untold.iter().filter(|told| pick(told)).count()
    }

    /// Returns the next connection that was opened.
    pub(crate) fn opened(&self) -> (ConnId, Protocol, ConnInfo) {
        match self.wait_for(|told| matches!(told, Told::Opened(..))) {
            Told::Opened(conn, protocol, info) => (conn, protocol, *info),
            _ => unreachable!(),
        }
    }

    /// Returns the next connection that was opened by this side.
    pub(crate) fn opened_by(&self, origin: Origin) -> (ConnId, Protocol, ConnInfo) {
        let told =
            self.wait_for(|told| matches!(told, Told::Opened(.., info) if info.origin == origin));
        match told {
            Told::Opened(conn, protocol, info) => (conn, protocol, *info),
            _ => unreachable!(),
        }
    }

    /// Returns the next connection that was closed, and why.
    pub(crate) fn closed(&self) -> (ConnId, End) {
        match self.wait_for(|told| matches!(told, Told::Closed(..))) {
            Told::Closed(conn, why) => (conn, why),
            _ => unreachable!(),
        }
    }

    /// Returns why this connection was closed.
    pub(crate) fn closed_one(&self, conn: ConnId) -> End {
        let told = self.wait_for(|told| matches!(told, Told::Closed(its, ..) if *its == conn));
        match told {
            Told::Closed(_, why) => why,
            _ => unreachable!(),
        }
    }

    /// Returns the next event of a connection that `pick` takes.
    pub(crate) fn event(&self, conn: ConnId, mut pick: impl FnMut(&Event) -> bool) -> Event {
        let told = self.wait_for(
            |told| matches!(told, Told::Event(its, event) if *its == conn && pick(event)),
        );
        match told {
            Told::Event(_, event) => event,
            _ => unreachable!(),
        }
    }

    /// Returns the next request of a connection.
    pub(crate) fn request(&self, conn: ConnId) -> (StreamId, RequestHead) {
        match self.event(conn, |event| matches!(event, Event::Request { .. })) {
            Event::Request { id, head, .. } => (id, Arc::unwrap_or_clone(head)),
            _ => unreachable!(),
        }
    }

    /// Answers a request.
    pub(crate) fn respond(&self, conn: ConnId, id: StreamId, status: u16, body: Body) {
        self.with(move |_, conns| {
            let mut stream = conns.stream(conn, id).expect("it is open");
            stream.respond(&ResponseHead::new(status), body).unwrap();
        });
    }

    /// Sends bytes of a stream's body, and with `end` its end.
    pub(crate) fn write(&self, conn: ConnId, id: StreamId, bytes: &'static [u8], end: bool) {
        self.with(move |_, conns| {
            let mut stream = conns.stream(conn, id).expect("it is open");
            let mut data = Bytes::from_static(bytes);
            stream.write(&mut data, end);
            assert!(data.is_empty());
        });
    }

    /// Opens a connection, and waits until it is established.
    pub(crate) fn connect(&self, dial: Dial) -> (ConnId, Protocol, ConnInfo) {
        let id = self.dial(dial);
        let told = self.wait_for(|told| match told {
            Told::Opened(conn, ..) | Told::Closed(conn, ..) => *conn == id,
            _ => false,
        });
        match told {
            Told::Opened(conn, protocol, info) => (conn, protocol, *info),
            told => panic!("{told:?}"),
        }
    }

    pub(crate) fn dial(&self, dial: Dial) -> ConnId {
        self.with(|_, conns| conns.dial(dial).unwrap())
    }

    /// Opens a connection that must fail, and returns why it did.
    pub(crate) fn fail_to_connect(&self, dial: Dial) -> End {
        let id = self.dial(dial);
        let told = self.wait_for(|told| match told {
            Told::Opened(conn, ..) | Told::Closed(conn, ..) => *conn == id,
            _ => false,
        });
        match told {
            Told::Closed(_, why) => why,
            told => panic!("{told:?}"),
        }
    }

    /// Makes a request.
    pub(crate) fn open(&self, conn: ConnId, head: RequestHead, body: Body) -> StreamId {
        self.with(move |_, conns| {
            let engine = conns.engine(conn).expect("it is there");
            engine.open(&head, body).unwrap()
        })
    }

    /// Makes a request and waits for its response.
    pub(crate) fn ask(&self, conn: ConnId, method: &str, path: &str, body: Body) -> Response {
        let head = RequestHead::new(method, "http", "localhost", path);
        let id = self.open(conn, head, body);
        self.response(conn, id)
    }

    pub(crate) fn get(&self, conn: ConnId, path: &str) -> Response {
        self.ask(conn, "GET", path, Body::Empty)
    }

    /// Returns a response, as far as it arrives.
    pub(crate) fn response(&self, conn: ConnId, request: StreamId) -> Response {
        let mut response = Response::default();
        loop {
            let event = self.event(conn, |event| match event {
                Event::Response { id, .. } | Event::Data { id, .. } | Event::Reset { id, .. } => {
                    *id == request
                }
                Event::Closed(_) => true,
                _ => false,
            });
            match event {
                Event::Response { head, end, .. } => {
                    response.status = head.status();
                    response.end = end;
                }
                Event::Data { data, end, .. } => {
                    response.body.extend_from_slice(&data);
                    response.end = end;
                }
                Event::Reset { code, .. } => {
                    response.reset = Some(code);
                    return response;
                }
                _ => return response,
            }
            if response.end {
                return response;
            }
        }
    }

    /// Returns the rest of a response's body.
    pub(crate) fn response_body(&self, conn: ConnId, request: StreamId) -> Vec<u8> {
        let response = self.response(conn, request);
        assert!(response.end, "{:?}", response.reset);
        response.body
    }

    /// Waits for the loop to end.
    pub(crate) fn join(&mut self) {
        self.running.join();
    }
}

/// Returns a dial in cleartext.
pub(crate) fn dial_plain(addr: SocketAddr, protocol: Protocol) -> Dial {
    Dial {
        addr,
        security: DialSecurity::Plain(protocol),
        engine: Config::client().build().unwrap(),
        timeout: PATIENCE,
        preamble: Vec::new(),
    }
}

/// Returns a dial with TLS to `localhost`.
pub(crate) fn dial_tls(
    addr: SocketAddr,
    config: &Arc<TlsConnectorConfig>,
    only: Option<Protocol>,
) -> Dial {
    Dial {
        security: DialSecurity::Tls {
            config: Arc::clone(config),
            name: ServerName::try_from("localhost").unwrap(),
            only,
        },
        ..dial_plain(addr, Protocol::Http2)
    }
}

/// A certificate and its key.
pub(crate) struct Identity {
    params: CertificateParams,
    pub(crate) certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Identity {
    /// Makes a self-signed identity for `localhost`.
    pub(crate) fn self_signed(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self::new(params, &made, key)
    }

    /// Makes an identity for `localhost` that this one has signed.
    pub(crate) fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = params.signed_by(&key, &issuer).unwrap();
        Self::new(params, &made, key)
    }

    /// Each issuer has a name of its own.
    fn params() -> CertificateParams {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let name = format!("number {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn new(params: CertificateParams, made: &rcgen::Certificate, key: KeyPair) -> Self {
        Self {
            params,
            certificate: made.der().clone(),
            pem: made.pem(),
            key,
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.pem.clone()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }

    /// Returns the settings of a server, by rustls alone, with this certificate and these
    /// protocols.
    pub(crate) fn server_config(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let builder = server_builder(versions).with_no_client_auth();
        let config = builder.with_single_cert(vec![self.certificate.clone()], self.key_der());
        let mut config = config.unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// Returns settings that trust this identity.
    pub(crate) fn trusted(&self) -> Arc<TlsConnectorConfig> {
        let trust = Trust::Pem(self.pem.clone().into_bytes());
        Arc::new(TlsConnectorConfig::new(&trust, None).unwrap())
    }
}

pub(crate) fn server_builder(
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
}

/// The server's end of a TLS connection, played by the test.
pub(crate) type TlsPeer = StreamOwned<ServerConnection, TcpStream>;

pub(crate) fn tls_peer(config: &Arc<ServerConfig>, socket: TcpStream) -> TlsPeer {
    StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), socket)
}

/// Makes a listener whose connections the test accepts itself.
pub(crate) fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Accepts the next connection, which must have been begun.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (socket, _) = listener.accept().unwrap();
    patient(socket)
}

/// Limits how long reads and writes of a socket wait.
pub(crate) fn patient(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Reads exactly these bytes.
pub(crate) fn expect(stream: &mut impl Read, expected: impl AsRef<[u8]>) {
    let expected = expected.as_ref();
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert!(got == expected, "{}", got.escape_ascii());
}

/// Reads a head, up to its empty line.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
