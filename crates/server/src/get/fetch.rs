//! Makes the requests and writes the responses. Bodies are written in the order of the requests. A
//! body that comes before its turn waits; its stream's window bounds what is held.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use rustc_hash::FxHashMap;
use tidegate_http::{Body, ResponseHead};
use tidegate_net::{ConnId, Conns, Direction, Mailbox, Service};
use tidegate_pool::{
    Event, Failure, Limits, Pool, RequestId, RequestOptions, Upstream, UpstreamId,
};

use super::flags::Flags;
use super::frames::{Frames, connected};

/// A request to make.
pub struct Request {
    /// The URL as typed.
    pub url: String,
    /// The server.
    pub upstream: UpstreamId,
    /// The request's head.
    pub head: tidegate_http::RequestHead,
    /// The request's body, if it has one.
    pub body: Option<Bytes>,
}

/// A message to the loop.
pub enum Message {
    /// Begin. The mailbox is for ending the loop.
    Begin(Mailbox<Message>),
}

/// A request in flight, with the part of its response that waits for its turn.
struct Pending {
    request: RequestId,
    text: Vec<u8>,
    waiting: Vec<Bytes>,
    /// The status of the response, if there is one.
    status: Option<u16>,
    end: End,
}

/// Whether more of a response is to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Whole,
    Failed,
}

/// Makes the requests.
pub struct Fetcher {
    pool: Pool<usize>,
    requests: Vec<Request>,
    /// The index of the next request to begin.
    next: usize,
    pending: FxHashMap<usize, Pending>,
    /// The index of the request whose body is written.
    turn: usize,
    parallel: usize,
    include: bool,
    output: Option<Box<dyn Write + Send>>,
    began: Instant,
    bytes: u64,
    failed: usize,
    /// The number of whole responses with each status.
    statuses: BTreeMap<u16, usize>,
    /// Whether a summary is due.
    sums_up: bool,
    progress: ProgressBar,
    frames: FxHashMap<ConnId, Frames>,
    verbose: bool,
    mailbox: Option<Mailbox<Message>>,
}

impl Fetcher {
    /// Returns a fetcher without requests.
    ///
    /// # Errors
    /// A sentence when the output can't be written.
    pub fn new(flags: &Flags) -> Result<Self, String> {
        let output: Option<Box<dyn Write + Send>> = match &flags.output {
            _ if flags.discard => None,
            None => Some(Box::new(BufWriter::new(io::stdout()))),
            Some(path) => {
                let file = File::create(path);
                let file =
                    file.map_err(|error| format!("can't write {}: {error}", path.display()))?;
                Some(Box::new(BufWriter::new(file)))
            }
        };
        // There is no bar where bodies or frames go to the terminal.
        let to_terminal = flags.output.is_none() && !flags.discard && io::stdout().is_terminal();
        let progress = if flags.urls.len() > 1 && !flags.verbose && !to_terminal {
            ProgressBar::new(flags.urls.len() as u64)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {msg}");
        if let Ok(style) = style {
            progress.set_style(style);
        }
        Ok(Self {
            pool: Pool::new(Limits::default()),
            requests: Vec::new(),
            next: 0,
            pending: FxHashMap::default(),
            turn: 0,
            parallel: flags.parallel as usize,
            include: flags.include,
            output,
            began: Instant::now(),
            bytes: 0,
            failed: 0,
            statuses: BTreeMap::new(),
            sums_up: flags.urls.len() > 1 || flags.discard,
            progress,
            frames: FxHashMap::default(),
            verbose: flags.verbose,
            mailbox: None,
        })
    }

    /// Adds a server.
    pub fn add(&mut self, upstream: Upstream) -> UpstreamId {
        self.pool.add(upstream)
    }

    /// Adds a request.
    pub fn push(&mut self, request: Request) {
        self.requests.push(request);
    }

    /// Returns the number of failed requests.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Whether a response has an error status (RFC 9110 §15.5 and §15.6).
    pub fn has_errors(&self) -> bool {
        self.statuses.keys().any(|status| *status >= 400)
    }

    /// Flushes the output, and prints the summary.
    pub fn finish(&mut self) {
        self.progress.finish_and_clear();
        if let Some(output) = &mut self.output
            && let Err(error) = output.flush()
        {
            eprintln!("tidegate get: can't write: {error}");
            self.failed += 1;
        }
        if self.sums_up {
            let (stats, took) = (self.pool.stats(), self.began.elapsed());
            let statuses: Vec<String> = self
                .statuses
                .iter()
                .map(|(status, count)| format!("{status}: {count}"))
                .collect();
            let statuses = match statuses[..] {
                [] => String::new(),
                _ => format!(" ({})", statuses.join(", ")),
            };
            eprintln!(
                "{} of {} answered{}, {} bytes in {:.3} s, {} connections",
                self.statuses.values().sum::<usize>(),
                self.requests.len(),
                statuses,
                self.bytes,
                took.as_secs_f64(),
                stats.connected,
            );
        }
    }

    /// Begins requests up to the number that may be in flight.
    fn begin(&mut self, conns: &mut Conns) {
        while self.pending.len() < self.parallel && self.next < self.requests.len() {
            let key = self.next;
            self.next += 1;
            let request = &self.requests[key];
            let body = request.body.clone().map_or(Body::Empty, Body::Full);
            let (upstream, head) = (request.upstream, request.head.clone());
            let options = RequestOptions::default();
            let request = self
                .pool
                .request(conns, key, upstream, head, &body, options);
            self.pending.insert(
                key,
                Pending {
                    request,
                    text: Vec::new(),
                    waiting: Vec::new(),
                    status: None,
                    end: End::Open,
                },
            );
        }
    }

    fn drain_events(&mut self, conns: &mut Conns) {
        while let Some(event) = self.pool.next_event() {
            match event {
                Event::Response { key, head, end, .. } => {
                    if let Some(pending) = self.pending.get_mut(&key) {
                        if self.include {
                            pending.text = text_of(&head);
                        }
                        pending.status = Some(head.status());
                        pending.end = End::of(end);
                    }
                    self.write(conns, key);
                }
                Event::Data { key, data, end } => {
                    if let Some(pending) = self.pending.get_mut(&key) {
                        self.bytes += data.len() as u64;
                        pending.waiting.push(data);
                        pending.end = End::of(end);
                    }
                    self.write(conns, key);
                }
                Event::Trailers { key, .. } => {
                    if let Some(pending) = self.pending.get_mut(&key) {
                        pending.end = End::Whole;
                    }
                    self.write(conns, key);
                }
                Event::Failed { key, failure, .. } => {
                    self.failed += 1;
                    let url = self.requests.get(key).map_or("", |request| &request.url);
                    let hint = match failure {
                        Failure::Certificate(..) => {
                            " (--cacert FILE trusts a certificate of yours, -k trusts any)"
                        }
                        _ => "",
                    };
                    self.progress
                        .suspend(|| eprintln!("tidegate get: {url}: {failure}{hint}"));
                    if let Some(pending) = self.pending.get_mut(&key) {
                        pending.end = End::Failed;
                    }
                    self.write(conns, key);
                }
                _ => {}
            }
        }
        let is_done = self.next == self.requests.len() && self.pending.is_empty();
        if is_done && let Some(mailbox) = &self.mailbox {
            mailbox.shut_down();
        }
    }

    /// Writes the received part of a response if it is its turn, then of those after it.
    fn write(&mut self, conns: &mut Conns, key: usize) {
        if self.output.is_none() {
            // Nothing is written, so there are no turns.
            return self.take(conns, key);
        }
        while self.turn < self.next {
            let turn = self.turn;
            self.take(conns, turn);
            if self.pending.contains_key(&turn) {
                return;
            }
            self.turn += 1;
        }
    }

    /// Writes the received part of a response. Begins the next request if the response has ended.
    fn take(&mut self, conns: &mut Conns, key: usize) {
        let Some(pending) = self.pending.get_mut(&key) else {
            return;
        };
        let mut bytes = 0;
        let text = Bytes::from(std::mem::take(&mut pending.text));
        for data in std::iter::once(text).chain(pending.waiting.drain(..)) {
            bytes += data.len();
            if let Some(output) = &mut self.output
                && let Err(error) = output.write_all(&data)
            {
                eprintln!("tidegate get: can't write: {error}");
                self.failed += 1;
                self.output = None;
            }
        }
        self.pool.consume(conns, pending.request, bytes);
        if pending.end != End::Open {
            if let (End::Whole, Some(status)) = (pending.end, pending.status) {
                *self.statuses.entry(status).or_default() += 1;
            }
            self.pending.remove(&key);
            self.progress.inc(1);
            self.begin(conns);
        }
    }

    fn since(&self) -> Duration {
        self.began.elapsed()
    }
}

impl End {
    fn of(is_end: bool) -> Self {
        if is_end { Self::Whole } else { Self::Open }
    }
}

/// Formats a head in the manner of HTTP/1.1.
fn text_of(head: &ResponseHead) -> Vec<u8> {
    let mut text = format!("HTTP {}\n", head.status()).into_bytes();
    for field in head.headers() {
        for part in [field.name, b": ", field.value, b"\n"] {
            text.extend_from_slice(part);
        }
    }
    text.push(b'\n');
    text
}

impl Service for Fetcher {
    type Message = Message;

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        if self.verbose
            && let (Some(info), Some(engine)) = (conns.info(conn), conns.engine_ref(conn))
        {
            let protocol = engine.protocol();
            eprint!("{}", connected(protocol, info.peer, self.since()));
            self.frames.insert(conn, Frames::new(protocol));
        }
        self.pool.opened(conns, conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: tidegate_http::Event) {
        self.pool.event(conns, conn, event);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &tidegate_net::End) {
        self.frames.remove(&conn);
        self.pool.closed(conns, conn, why);
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        self.drain_events(conns);
        false
    }

    fn message(&mut self, conns: &mut Conns, message: Message) {
        let Message::Begin(mailbox) = message;
        self.mailbox = Some(mailbox);
        self.began = Instant::now();
        self.begin(conns);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.pool.next_timeout()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.pool.handle_timeout(conns, now);
    }

    fn trace(&mut self, _conns: &Conns, conn: ConnId, direction: Direction, bytes: &[u8]) {
        let since = self.since();
        if let Some(frames) = self.frames.get_mut(&conn) {
            let mut text = String::new();
            frames.print(direction, bytes, since, &mut text);
            eprint!("{text}");
        }
    }
}
