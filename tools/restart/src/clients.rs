//! Clients that keep the server busy, and count what becomes of their requests.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tidegate_http::{Body, Config, Event, RequestHead, Stream, StreamId};
use tidegate_http2::Connection;
use tidegate_testkit::driver::Driver;
use tidegate_testkit::signals::eventually;
use tidegate_testkit::tls::client_config;

use crate::Result;
use crate::server::{PATIENCE, Ports};
use crate::socket::WebSocket;

/// The path of gRPC calls.
pub(crate) const CALL: &str = "/test.Echo";

/// Requests that each client has answered between two steps.
const PROGRESS: u64 = 20;

/// Requests of an HTTP/2 client that are open at once.
const AT_ONCE: usize = 4;

/// Messages of a gRPC call.
const MESSAGES: usize = 30;

/// A gRPC message of four bytes.
const MESSAGE: &[u8] = &[0, 0, 0, 0, 4, b'p', b'i', b'n', b'g'];

/// Bytes of the upload that are given at once.
const PIECE: u64 = 64 << 10;

/// A kind of client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// h2load, with new connections again and again, but not during an upgrade: h2load opens no
    /// other connection after GOAWAY, and counts the rest of its requests as failed.
    H2load,
    /// Requests over HTTP/2 and TLS. After GOAWAY the client finishes what it has, and opens
    /// another connection (RFC 9113 §6.8).
    Http2,
    /// Requests over HTTP/1.1, on a connection for as long as the server keeps it.
    Http1,
    /// gRPC calls with many messages each way.
    Call,
    /// One WebSocket for all the time.
    WebSocket,
    /// One upload for all the time. Its pieces are given step by step.
    Upload,
}

impl Load {
    pub(crate) const ALL: [Self; 6] = [
        Self::H2load,
        Self::Http2,
        Self::Http1,
        Self::Call,
        Self::WebSocket,
        Self::Upload,
    ];
}

/// What became of a kind's requests.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    /// Sent again, as the protocol allows: the server hadn't processed them.
    again: AtomicU64,
    connections: AtomicU64,
}

/// The steps of the proof, and what the clients have counted.
pub(crate) struct Steps {
    counts: [Counts; 6],
    upload: u64,
    /// Steps so far, of this many.
    step: AtomicUsize,
    of: usize,
    is_over: AtomicBool,
    /// Held by h2load while it runs, and by upgrades.
    h2load: Mutex<()>,
}

impl Steps {
    pub(crate) fn new(upload: u64, of: usize) -> Self {
        Self {
            counts: Default::default(),
            upload,
            step: AtomicUsize::new(0),
            of,
            is_over: AtomicBool::new(false),
            h2load: Mutex::default(),
        }
    }

    fn counts(&self, load: Load) -> &Counts {
        &self.counts[load as usize]
    }

    /// Waits until all kinds of clients have got on.
    pub(crate) fn wait_for_progress(&self) -> Result {
        for load in Load::ALL {
            let done = &self.counts(load).done;
            // The upload ends once, after the last step.
            let more = if load == Load::Upload { 0 } else { PROGRESS };
            let wanted = done.load(Ordering::Relaxed) + more;
            let got_on = || {
                self.check_failures()?;
                Ok(done.load(Ordering::Relaxed) >= wanted)
            };
            if !eventually(PATIENCE, got_on)? {
                return Err(format!("no progress: {}", self.report(load)).into());
            }
        }
        Ok(())
    }

    /// Keeps h2load from running until the result is dropped.
    pub(crate) fn without_h2load(&self) -> MutexGuard<'_, ()> {
        self.h2load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that another step is done.
    pub(crate) fn advance(&self) {
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets the clients finish.
    pub(crate) fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Returns a line about a kind of clients.
    pub(crate) fn report(&self, load: Load) -> String {
        let counts = self.counts(load);
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{:<10} {:>7} done, {} failed, {} sent again, {} connections",
            format!("{load:?}"),
            get(&counts.done),
            get(&counts.failed),
            get(&counts.again),
            get(&counts.connections)
        )
    }

    /// Checks that nothing has failed, and that all kinds of clients have done something.
    pub(crate) fn check(&self) -> Result {
        self.check_failures()?;
        let idle = |load: &Load| self.counts(*load).done.load(Ordering::Relaxed) == 0;
        match Load::ALL.into_iter().find(idle) {
            Some(load) => Err(format!("nothing was done: {}", self.report(load)).into()),
            None => Ok(()),
        }
    }

    fn check_failures(&self) -> Result {
        let has_failed = |load: &Load| self.counts(*load).failed.load(Ordering::Relaxed) > 0;
        match Load::ALL.into_iter().find(has_failed) {
            Some(load) => Err(format!("a request failed: {}", self.report(load)).into()),
            None => Ok(()),
        }
    }

    /// Runs a client to the end.
    pub(crate) fn run(&self, load: Load, ports: &Ports) {
        loop {
            let result = match load {
                Load::H2load => self.h2load(ports),
                Load::Http2 => self.requests(ports.tls),
                Load::Http1 => self.http1(ports.plain),
                Load::Call => self.calls(ports.tls),
                Load::WebSocket => self.websocket(ports.plain),
                Load::Upload => self.upload(ports.tls),
            };
            if let Err(error) = result {
                self.counts(load).failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("{load:?}: {error}");
                return;
            }
            if self.is_over() || load == Load::Upload {
                return;
            }
        }
    }

    fn count(&self, load: Load, done: u64) {
        self.counts(load).done.fetch_add(done, Ordering::Relaxed);
    }

    fn h2load(&self, ports: &Ports) -> Result {
        let _running = self.without_h2load();
        let url = format!("https://{}/stable", ports.tls);
        let mut command = Command::new("h2load");
        command.args(["-n", "200", "-c", "4", "-m", "5", &url]);
        let output = command
            .output()
            .map_err(|error| format!("can't run h2load: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.starts_with("requests:"));
        let line = line.ok_or_else(|| format!("h2load says {text}"))?;
        self.counts(Load::H2load)
            .connections
            .fetch_add(4, Ordering::Relaxed);
        if !line.contains(" 200 succeeded, 0 failed, 0 errored, 0 timeout") {
            return Err(line.to_owned().into());
        }
        self.count(Load::H2load, 200);
        Ok(())
    }

    /// Makes requests on one connection, until the server ends it.
    fn requests(&self, addr: SocketAddr) -> Result {
        let load = Load::Http2;
        let mut client = Client::connect(addr)?;
        self.counts(load)
            .connections
            .fetch_add(1, Ordering::Relaxed);
        let mut open = 0;
        loop {
            while !self.is_over() && client.may_open() && open < AT_ONCE {
                client.open("GET", "/stable", Body::Empty)?;
                open += 1;
            }
            if open == 0 {
                return Ok(());
            }
            client.turn()?;
            let over: Vec<Over> = client.over.drain(..).map(|(_, over)| over).collect();
            open -= over.len();
            for over in over {
                match over {
                    Over::Answered(200) => self.count(load, 1),
                    Over::NotProcessed => {
                        self.counts(load).again.fetch_add(1, Ordering::Relaxed);
                    }
                    over => return Err(format!("a request ended with {over:?}").into()),
                }
            }
        }
    }

    /// Makes gRPC calls on one connection, until the server ends it.
    fn calls(&self, addr: SocketAddr) -> Result {
        let load = Load::Call;
        let mut client = Client::connect(addr)?;
        self.counts(load)
            .connections
            .fetch_add(1, Ordering::Relaxed);
        while !self.is_over() && client.may_open() {
            let id = client.open("POST", CALL, Body::Stream)?;
            for message in 1..=MESSAGES {
                client.write(id, Bytes::from_static(MESSAGE), message == MESSAGES)?;
                while client.received(id) < message * MESSAGE.len() && client.over.is_empty() {
                    client.turn()?;
                }
                if message < MESSAGES && !client.over.is_empty() {
                    break;
                }
                self.count(load, 1);
            }
            while client.over.is_empty() {
                client.turn()?;
            }
            match client.over.drain(..).map(|(_, over)| over).next() {
                Some(Over::Answered(200)) => {}
                Some(Over::NotProcessed) => {
                    self.counts(load).again.fetch_add(1, Ordering::Relaxed);
                }
                over => return Err(format!("a call ended with {over:?}").into()),
            }
        }
        Ok(())
    }

    /// Uploads as many bytes as the steps so far allow, and the rest after the last one.
    fn upload(&self, addr: SocketAddr) -> Result {
        let mut client = Client::connect(addr)?;
        self.counts(Load::Upload)
            .connections
            .fetch_add(1, Ordering::Relaxed);
        let id = client.open("POST", "/upload", Body::Stream)?;
        let piece = Bytes::from(vec![b'u'; PIECE as usize]);
        let mut sent = 0;
        while sent < self.upload {
            let steps = self.step.load(Ordering::Relaxed) + usize::from(self.is_over());
            let allowed = self.upload / (self.of as u64 + 1) * (steps as u64 + 1);
            if sent >= allowed && steps <= self.of {
                std::thread::yield_now();
                continue;
            }
            let count = PIECE.min(self.upload - sent);
            sent += count;
            client.write(id, piece.slice(..count as usize), sent == self.upload)?;
        }
        while client.over.is_empty() {
            client.turn()?;
        }
        let body = client.body(id);
        match client.over.first() {
            Some((_, Over::Answered(200))) if body.contains(&format!("{{\"bytes\":{sent},")) => {
                self.count(Load::Upload, 1);
                Ok(())
            }
            over => Err(format!("the upload ended with {over:?} {body}").into()),
        }
    }

    /// Makes requests on one connection, until the server ends it.
    fn http1(&self, addr: SocketAddr) -> Result {
        let load = Load::Http1;
        let mut stream = std::io::BufReader::new(connect(addr)?);
        self.counts(load)
            .connections
            .fetch_add(1, Ordering::Relaxed);
        let mut answered = 0;
        while !self.is_over() {
            match get(&mut stream, "/stable") {
                Ok(Answer {
                    status: 200,
                    goes_on,
                }) => {
                    self.count(load, 1);
                    answered += 1;
                    if !goes_on {
                        return Ok(());
                    }
                }
                Ok(answer) => return Err(format!("status {}", answer.status).into()),
                // RFC 9112 §9.3.1: a client may repeat a request on a connection that was closed
                // before any of its response came, if it is idempotent.
                Err(error) if answered > 0 && is_closed(&*error) => {
                    self.counts(load).again.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn websocket(&self, addr: SocketAddr) -> Result {
        let mut socket = WebSocket::open(connect(addr)?)?;
        self.counts(Load::WebSocket)
            .connections
            .fetch_add(1, Ordering::Relaxed);
        while !self.is_over() {
            socket.talk()?;
            self.count(Load::WebSocket, 1);
        }
        Ok(())
    }
}

/// Connects, and never waits for ever.
pub(crate) fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect(addr).map_err(|error| format!("can't connect: {error}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A response of HTTP/1.1.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether the connection takes another request.
    goes_on: bool,
}

/// Whether an error is the end of a connection before a response.
fn is_closed(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
}

/// Makes a request over HTTP/1.1.
pub(crate) fn get<S: Read + Write>(
    stream: &mut std::io::BufReader<S>,
    path: &str,
) -> Result<Answer> {
    write!(
        stream.get_mut(),
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            let kind = std::io::ErrorKind::UnexpectedEof;
            // What has begun can't be repeated.
            if head.is_empty() {
                return Err(std::io::Error::from(kind).into());
            }
            return Err(format!("the response ended in its head: {head:?}").into());
        }
    }
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.ok_or("no content-length")?.parse()?;
    let mut body = vec![0; length];
    let read = stream.read_exact(&mut body);
    read.map_err(|error| format!("the response ended in its body: {error}"))?;
    Ok(Answer {
        status: status.ok_or("no status")?,
        goes_on: !head.contains("\r\nconnection: close"),
    })
}

/// What became of a request.
#[derive(Debug)]
enum Over {
    Answered(u16),
    /// The server says that it hasn't processed the request.
    NotProcessed,
    Lost,
}

/// A client of HTTP/2.
struct Client {
    driver: Driver<StreamOwned<ClientConnection, TcpStream>>,
    responses: HashMap<StreamId, (u16, Vec<u8>)>,
    /// Requests that are over.
    over: Vec<(StreamId, Over)>,
    is_going_away: bool,
}

impl Client {
    fn connect(addr: SocketAddr) -> Result<Self> {
        let config = client_config(None, &["h2"]);
        let tls = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        let mut stream = StreamOwned::new(tls, connect(addr)?);
        stream.conn.complete_io(&mut stream.sock)?;
        let engine = Connection::client(Config::client().build()?, Instant::now());
        Ok(Self {
            driver: Driver::new(engine, stream),
            responses: HashMap::new(),
            over: Vec::new(),
            is_going_away: false,
        })
    }

    fn may_open(&self) -> bool {
        !self.is_going_away && self.driver.engine.can_open()
    }

    fn open(&mut self, method: &str, path: &str, body: Body) -> Result<StreamId> {
        let mut head = RequestHead::new(method, "https", "localhost", path);
        if path == CALL {
            head.push("content-type", "application/grpc");
            head.push("te", "trailers");
        }
        let id = self.driver.engine.open(&head, body);
        let id = id.map_err(|misuse| format!("can't open a stream: {misuse}"))?;
        self.responses.insert(id, (0, Vec::new()));
        Ok(id)
    }

    /// Sends a piece of a body.
    fn write(&mut self, id: StreamId, mut data: Bytes, end: bool) -> Result {
        loop {
            let Some(mut stream) = self.driver.engine.stream(id) else {
                return Ok(());
            };
            stream.write(&mut data, end);
            self.flush()?;
            if data.is_empty() {
                return Ok(());
            }
            self.turn()?;
        }
    }

    fn received(&self, id: StreamId) -> usize {
        self.responses.get(&id).map_or(0, |(_, body)| body.len())
    }

    fn body(&self, id: StreamId) -> String {
        let body = self.responses.get(&id).map(|(_, body)| body.clone());
        String::from_utf8_lossy(&body.unwrap_or_default()).into_owned()
    }

    /// Writes what there is, and reads what arrives.
    fn turn(&mut self) -> Result {
        self.flush()?;
        if self.driver.read(64 << 10, Instant::now())?.is_none() {
            return Err("the server sends nothing".into());
        }
        while let Some(event) = self.driver.receive(Instant::now()) {
            self.event(event);
        }
        self.flush()
    }

    fn flush(&mut self) -> Result {
        while let Some(event) = self.driver.send(Instant::now())? {
            self.event(event);
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let ended = match event {
            Event::Response { id, head, end } => {
                if let Some(response) = self.responses.get_mut(&id) {
                    response.0 = head.status();
                }
                end.then_some(id)
            }
            Event::Data { id, data, end } => {
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.consume(data.len());
                }
                if let Some(response) = self.responses.get_mut(&id) {
                    response.1.extend_from_slice(&data);
                }
                end.then_some(id)
            }
            Event::Trailers { id, .. } => Some(id),
            Event::Reset { id, code, cause } => {
                let over = match cause {
                    tidegate_http::ResetCause::Unprocessed => Over::NotProcessed,
                    cause => {
                        eprintln!("stream {id} was reset: {code}, {cause:?}");
                        Over::Lost
                    }
                };
                self.over.push((id, over));
                if let Some(mut stream) = self.driver.engine.stream(id) {
                    stream.release();
                }
                None
            }
            Event::GoingAway { .. } => {
                self.is_going_away = true;
                None
            }
            _ => None,
        };
        if let Some(id) = ended {
            let status = self.responses.get(&id).map_or(0, |(status, _)| *status);
            self.over.push((id, Over::Answered(status)));
        }
    }
}
