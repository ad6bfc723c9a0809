//! A worker on a thread of its own, and clients that speak through the engine's client role.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tidegate_net::{
    ConnId, Conns, End, EventLoop, Listener, Mailbox, Options, Security, Service,
    TlsAcceptorConfig, Totals,
};
use tidegate_proto::{
    Body, Config, Connection, ErrorCode, Event, Flow, Outbox, RequestHead, ResponseHead, StreamId,
};

/// Longer than anything takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a test tells the service.
pub(crate) enum Message {
    /// Answer the requests for `/hold`.
    Release,
    /// Send the worker's counters.
    Totals(Sender<Totals>),
}

/// What the service tells the test.
#[derive(Debug)]
pub(crate) enum Note {
    Opened(Option<tidegate_net::TlsInfo>),
    Held,
    Closed(String),
}

/// Answers by path: `/hello`; `/big/N`, N octets; `/upload`, how many octets came; `/hold`, when told to; `/cut`, with a
/// part of a body.
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
        if let Some(octets) = self.uploads.remove(&(conn, id)) {
            Self::answer(conns, conn, id, octets.to_string().into());
        }
    }
}

/// The octets of `/big/N`.
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
                if let Some(octets) = self.uploads.get_mut(&(conn, id)) {
                    *octets += data.len() as u64;
                }
                if end {
                    self.uploaded(conns, conn, id);
                }
            }
            Event::Writable { id, .. } => {
                let is_first = self.cut.remove(&(conn, id));
                if let Some(mut stream) = conns.stream(conn, id) {
                    match is_first {
                        true => assert_eq!(stream.write(&mut "half".into(), false), 4),
                        false => stream.reset(ErrorCode::INTERNAL_ERROR),
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

/// A worker on a thread of its own.
pub(crate) struct Worker {
    pub(crate) addr: SocketAddr,
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) notes: Receiver<Note>,
    pub(crate) certificate: CertificateDer<'static>,
    thread: Option<JoinHandle<io::Result<TestService>>>,
}

impl Worker {
    pub(crate) fn plain() -> Self {
        Self::start(false, |_| {})
    }

    pub(crate) fn tls() -> Self {
        Self::start(true, |_| {})
    }

    pub(crate) fn start(tls: bool, change: impl FnOnce(&mut Options)) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let security = if tls {
            let key = made.signing_key.serialize_pem();
            let config = TlsAcceptorConfig::from_pem(made.cert.pem().as_bytes(), key.as_bytes());
            Security::Tls(Arc::new(config.unwrap()))
        } else {
            Security::Plain
        };
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), security).unwrap();
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
            certificate,
            thread: Some(std::thread::spawn(move || event_loop.run())),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What a client needs to trust the worker's certificate.
    pub(crate) fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    pub(crate) fn connect_tls(
        &self,
        config: &Arc<ClientConfig>,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        StreamOwned::new(session, self.connect())
    }

    /// The next note that `pick` takes; others are skipped.
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
        let thread = self.thread.take().unwrap();
        thread.join().unwrap().unwrap();
    }
}

impl Drop for Worker {
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

/// A response as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) end: bool,
    pub(crate) reset: Option<tidegate_proto::ErrorCode>,
}

/// A client: blocking, one connection.
pub(crate) struct Client<T> {
    pub(crate) io: T,
    pub(crate) engine: Connection,
    pub(crate) responses: HashMap<StreamId, Response>,
    pub(crate) closed: bool,
    input: BytesMut,
    outbox: Outbox,
}

impl<T: Read + Write> Client<T> {
    pub(crate) fn new(io: T) -> Self {
        let mut config = Config::client();
        config.initial_window_size = 1 << 20;
        let engine = Connection::client(config.build().unwrap(), Instant::now());
        Self {
            io,
            engine,
            responses: HashMap::new(),
            closed: false,
            input: BytesMut::new(),
            outbox: Outbox::new(),
        }
    }

    pub(crate) fn open(&mut self, method: &str, path: &str, body: Body) -> StreamId {
        let head = RequestHead::new(method, "http", "localhost", path);
        let id = self.engine.open(&head, body).unwrap();
        self.responses.insert(id, Response::default());
        id
    }

    pub(crate) fn get(&mut self, path: &str) -> Response {
        let id = self.open("GET", path, Body::Empty);
        self.finish(id)
    }

    /// Goes on until the response is whole or the stream or connection is over.
    pub(crate) fn finish(&mut self, id: StreamId) -> Response {
        while !self.closed && !self.responses[&id].end && self.responses[&id].reset.is_none() {
            self.flush();
            self.read_once();
        }
        self.flush();
        self.responses.remove(&id).unwrap()
    }

    /// Writes what the engine has.
    pub(crate) fn flush(&mut self) {
        loop {
            let flow = self
                .engine
                .transmit(&mut self.outbox, 64 << 10, Instant::now());
            while self.outbox.has_remaining() {
                let count = self
                    .io
                    .write(self.outbox.chunk())
                    .expect("the server reads");
                self.outbox.advance(count);
            }
            self.io.flush().expect("the server reads");
            match flow {
                Flow::Event(event) => self.handle(event),
                Flow::Full => {}
                Flow::Drained | Flow::Closed => return,
            }
        }
    }

    /// Reads once, blocking, and handles what came.
    pub(crate) fn read_once(&mut self) {
        let mut buffer = [0; 16 << 10];
        let count = self.io.read(&mut buffer).expect("the server answers");
        if count == 0 {
            self.closed = true;
            self.engine.receive_eof(Instant::now());
        }
        self.input.extend_from_slice(&buffer[..count]);
        while let Some(event) = self.engine.receive(&mut self.input, Instant::now()) {
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
                if let Some(mut stream) = self.engine.stream(id) {
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
                if let Some(mut stream) = self.engine.stream(id) {
                    stream.release();
                }
            }
            _ => {}
        }
    }
}

/// Asks for 20 large bodies and reads nothing, until the worker can write no more; then asks for something urgent and reads.
/// Of the bulk, no more comes before the urgent response than what the client's socket had, what the kernel takes at once and
/// one outbox. `elsewhere` makes a request on another connection.
pub(crate) fn urgent_overtakes_bulk<T: Read + Write>(
    worker: &Worker,
    client: &mut Client<T>,
    elsewhere: impl Fn(),
) {
    let bulk: Vec<_> = (0..20)
        .map(|_| client.open("GET", "/big/1000000", Body::Empty))
        .collect();
    client.flush();
    // A turn writes 256 KiB at most. Each of these requests takes one or more.
    let mut written = 0;
    loop {
        for _ in 0..10 {
            elsewhere();
        }
        let total = worker.totals().octets_out;
        // The other connections got less than 50 KB.
        if total < written + 50_000 {
            break;
        }
        written = total;
    }
    let head = RequestHead::new("GET", "http", "localhost", "/hello").field("priority", "u=0");
    let urgent = client.engine.open(&head, Body::Empty).unwrap();
    client.responses.insert(urgent, Response::default());
    assert_eq!(client.finish(urgent).body, b"hello");
    let ahead: usize = bulk.iter().map(|id| client.responses[id].body.len()).sum();
    // The kernel doubles the size that is asked for (socket(7)).
    let in_our_socket = 128 << 10;
    assert!(ahead < (256 << 10) + in_our_socket, "{ahead} octets ahead");
    for id in bulk {
        assert_eq!(client.finish(id).body.len(), 1_000_000);
    }
}

/// Writes a few octets at a time, in segments of their own.
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
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.socket.write(&octets[..octets.len().min(self.step)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
