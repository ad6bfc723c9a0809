//! One loop: one worker thread.
//!
//! A turn of the loop:
//! 1. wait for events, and note on the connections what they say;
//! 2. accept; read the mailbox; fire the timers;
//! 3. *serve* each connection that is ready: read once, hand its engine's events to the service;
//! 4. *settle* each connection whose engine was touched: have the engine fill the outbox, and write that in one go.

use std::io;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use log::{debug, info, warn};
use mio::event::Event as Readiness;
use mio::{Events, Interest, Poll, Token};
use tidegate_proto::{Event, Flow, Outbox};

use crate::buffers::Buffers;
use crate::conn::{Conn, Phase};
use crate::guess::{Guess, guess};
use crate::mailbox::Letter;
use crate::round_trip::round_trip;
use crate::timers::Timers;
use crate::transport::{TlsSession, Transport};
use crate::{ConnId, ConnInfo, Conns, End, Engine, Listener, Mailbox, Options, Security, Service};

/// Octets that an engine may put into an outbox before that is written. What the socket doesn't take of them stays in front of
/// whatever becomes urgent; fewer octets would mean more system calls.
const OUTBOX_LIMIT: usize = 64 << 10;

/// Octets that one turn writes to one connection at most, about.
const WRITE_AT_ONCE: usize = 256 << 10;

/// Connections that one turn accepts from one listener at most.
const ACCEPT_AT_ONCE: usize = 64;

/// Letters that one turn reads at most.
const LETTERS_AT_ONCE: usize = 1024;

/// How long to leave a listener alone when the system has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often [`Service::tick`] is called.
const TICK: Duration = Duration::from_secs(1);

const MAILBOX: Token = Token(usize::MAX - 1);

/// One loop: one worker thread.
pub struct EventLoop<S: Service> {
    poll: Poll,
    mailbox: Mailbox<S::Message>,
    letters: Receiver<Letter<S::Message>>,
    /// Letters may be left from an earlier turn.
    has_letters: bool,
    /// Empty once a graceful end has begun.
    listeners: Vec<Accepting>,
    options: Options,
    service: S,
    conns: Conns,
    timers: Timers,
    buffers: Buffers,
    /// Slots of connections that can go on without an event.
    ready: Vec<u32>,
    /// When a graceful end is over at last.
    shutdown_deadline: Option<Instant>,
    stopped: bool,
    /// When to call `Service::tick`, if anything happened since the last time.
    next_tick: Option<Instant>,
}

/// A listener, and whether there may be connections to accept.
struct Accepting {
    listener: Listener,
    is_ready: bool,
    /// Not before then: the system had no room for another connection.
    paused_until: Option<Instant>,
    /// That it can't accept was logged; once is enough until it can again.
    complained: bool,
}

impl<S: Service> EventLoop<S> {
    /// A loop that serves what these listeners accept.
    ///
    /// # Errors
    /// When the operating system gives no epoll instance, the sockets can't be registered with it, or it doesn't take
    /// [`Options::notsent_lowat`].
    pub fn new(listeners: Vec<Listener>, options: Options, service: S) -> io::Result<Self> {
        let poll = Poll::new()?;
        let (mailbox, letters) = Mailbox::new(poll.registry(), MAILBOX)?;
        let mut accepting = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.set_notsent_lowat(options.notsent_lowat)?;
            let token = listener_token(index);
            poll.registry()
                .register(&mut listener.socket, token, Interest::READABLE)?;
            accepting.push(Accepting {
                listener,
                is_ready: true,
                paused_until: None,
                complained: false,
            });
        }
        let now = Instant::now();
        Ok(Self {
            poll,
            mailbox,
            letters,
            has_letters: false,
            listeners: accepting,
            options,
            service,
            conns: Conns::new(now),
            timers: Timers::new(now),
            buffers: Buffers::new(),
            ready: Vec::new(),
            shutdown_deadline: None,
            stopped: false,
            next_tick: None,
        })
    }

    /// What other threads reach this worker by.
    pub fn mailbox(&self) -> Mailbox<S::Message> {
        self.mailbox.clone()
    }

    /// Serves until shut down or stopped by the mailbox, and gives the service back.
    ///
    /// # Errors
    /// When waiting for events fails, which a working system doesn't do.
    pub fn run(mut self) -> io::Result<S> {
        let mut events = Events::with_capacity(1024);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = Instant::now();
            self.conns.begin_turn(now);
            self.service.turn(now);
            for readiness in &events {
                self.note(readiness);
            }
            self.accept();
            self.read_letters();
            self.fire_timers();
            self.serve_ready();
            self.settle_dirty();
            self.tick(!events.is_empty() || !self.ready.is_empty());
            let shut_down = self.shutdown_deadline;
            if self.stopped || shut_down.is_some_and(|at| self.conns.is_empty() || at <= now) {
                for slot in self.conns.slots() {
                    self.cut_off(slot, End::Stopped);
                }
                return Ok(self.service);
            }
        }
    }

    /// How long to wait for events at most.
    fn timeout(&self) -> Option<Duration> {
        let accept = |accepting: &Accepting| accepting.is_ready && accepting.paused_until.is_none();
        if !self.ready.is_empty() || self.has_letters || self.listeners.iter().any(accept) {
            return Some(Duration::ZERO);
        }
        let pauses = self.listeners.iter().filter_map(|l| l.paused_until).min();
        let all = [
            self.timers.next(),
            self.next_tick,
            self.shutdown_deadline,
            pauses,
        ];
        let next = all.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn note(&mut self, readiness: &Readiness) {
        let token = readiness.token();
        if token == MAILBOX {
            self.has_letters = true;
            return;
        }
        if let Some(index) = listener_index(token) {
            if let Some(accepting) = self.listeners.get_mut(index) {
                accepting.is_ready = true;
            }
            return;
        }
        // An event may be about an earlier connection in the same slot: then it makes for a needless look at most.
        let slot = token.0 as u32;
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if readiness.is_readable() || readiness.is_read_closed() || readiness.is_error() {
            conn.readable = true;
            conn.end_is_near |= readiness.is_read_closed() || readiness.is_error();
            if !conn.is_ready && conn.takes_input() {
                conn.is_ready = true;
                self.ready.push(slot);
            }
        }
        if !conn.writable && (readiness.is_writable() || readiness.is_error()) {
            conn.writable = true;
            self.conns.mark(slot);
        }
    }

    fn accept(&mut self) {
        let now = self.conns.now();
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_AT_ONCE {
                let accepting = &mut self.listeners[index];
                if accepting.paused_until.is_some_and(|until| until <= now) {
                    accepting.paused_until = None;
                }
                if !accepting.is_ready || accepting.paused_until.is_some() {
                    break;
                }
                let result = accepting.listener.accept();
                let (socket, peer) = match result {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        accepting.is_ready = false;
                        break;
                    }
                    // The connection is gone again already: on to the next.
                    Err(error) if is_about_one_connection(&error) => continue,
                    Err(error) => {
                        // Such as EMFILE. The listener stays ready, so waiting must not depend on another event, and
                        // trying again at once would only burn time.
                        let addr = accepting.listener.local_addr();
                        if !accepting.complained {
                            accepting.complained = true;
                            warn!("can't accept connections on {addr} for now: {error}");
                        }
                        accepting.paused_until = Some(now + ACCEPT_PAUSE);
                        break;
                    }
                };
                if self.conns.len() >= self.options.max_connections {
                    self.conns.totals.refused += 1;
                    if !accepting.complained {
                        accepting.complained = true;
                        let limit = self.options.max_connections;
                        warn!("{limit} connections are open, which is the limit: more are refused");
                    }
                    continue;
                }
                accepting.complained = false;
                self.welcome(index, socket, peer);
            }
        }
    }

    /// A new connection.
    fn welcome(
        &mut self,
        listener: usize,
        socket: mio::net::TcpStream,
        peer: std::net::SocketAddr,
    ) {
        let now = self.conns.now();
        let listener = &self.listeners[listener].listener;
        let tls = match &listener.security {
            Security::Plain => None,
            Security::Tls(config) => match TlsSession::new(config.rustls(), now) {
                Ok(session) => Some(Box::new(session)),
                Err(error) => return warn!("can't begin TLS with {peer}: {error}"),
            },
        };
        let info = ConnInfo {
            peer,
            local: socket.local_addr().unwrap_or(listener.local_addr()),
            tls: None,
            accepted_at: now,
        };
        let timeout = self.options.handshake_timeout;
        let deadline = (!timeout.is_zero()).then(|| now + timeout);
        let transport = Transport { socket, tls };
        let id = self
            .conns
            .insert(|id| Conn::new(id, info, transport, deadline));
        let Some(conn) = self.conns.get(id.slot) else {
            return;
        };
        let token = Token(id.slot as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = &mut conn.transport.socket;
        match self.poll.registry().register(socket, token, interest) {
            Ok(()) => self.rearm(id.slot),
            Err(error) => self.cut_off(id.slot, End::Io(error)),
        }
    }

    fn read_letters(&mut self) {
        if !self.has_letters {
            return;
        }
        for _ in 0..LETTERS_AT_ONCE {
            match self.letters.try_recv() {
                Ok(Letter::Message(message)) => self.service.message(&mut self.conns, message),
                Ok(Letter::ShutDown) => self.shut_down(),
                Ok(Letter::Stop) => self.stopped = true,
                // We hold a sender ourselves, so there is no other reason than that it is empty.
                Err(_) => {
                    self.has_letters = false;
                    break;
                }
            }
        }
    }

    fn shut_down(&mut self) {
        if self.shutdown_deadline.is_some() {
            return;
        }
        let now = self.conns.now();
        self.shutdown_deadline = Some(now + self.options.shutdown_timeout);
        // Closes the sockets.
        self.listeners.clear();
        info!("shutting down: {} connections open", self.conns.len());
        for slot in self.conns.slots() {
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            match (&mut conn.engine, conn.phase) {
                (Some(engine), Phase::Open) => engine.shut_down(now),
                (_, Phase::Closing) => {}
                // Nothing was asked yet.
                _ => conn.begin_close(End::Stopped),
            }
            self.conns.mark(slot);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.conns.now();
        while let Some(slot) = self.timers.fire(now) {
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            conn.timer = None;
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(conn.write_deadline) {
                self.cut_off(slot, End::WriteTimedOut);
                continue;
            }
            if due(conn.deadline) {
                conn.deadline = None;
                match conn.phase {
                    Phase::Handshake | Phase::Unsure => conn.begin_close(End::HandshakeTimedOut),
                    Phase::Open => {}
                    Phase::Closing => {
                        self.bury(slot);
                        continue;
                    }
                }
            }
            if let (Some(engine), Phase::Open) = (&mut conn.engine, conn.phase)
                && due(engine.next_timeout())
            {
                engine.handle_timeout(now);
                self.buffers.clear_input(0);
                self.receive(slot);
            }
            // Settling enters the next deadline too.
            self.conns.mark(slot);
        }
    }

    fn serve_ready(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        for slot in ready.drain(..) {
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            if std::mem::take(&mut conn.is_ready) {
                self.serve(slot);
            }
        }
        // Those who came in meanwhile are for the next turn.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    /// Reads once, and passes on what came.
    fn serve(&mut self, slot: u32) {
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return self.linger(slot);
        }
        if conn.takes_input() {
            match conn.fill(&mut self.buffers) {
                Ok(count) => totals.octets_in += count as u64,
                Err(End::TlsFailed(error)) => {
                    // Not at once: the peer is to read the alert.
                    conn.begin_close(End::TlsFailed(error));
                    self.end_engine(slot);
                    return self.conns.mark(slot);
                }
                Err(end) => return self.cut_off(slot, end),
            }
            self.advance(slot);
            if let Some(conn) = self.conns.get(slot) {
                conn.keep(&self.buffers.input);
            }
        }
        self.conns.mark(slot);
    }

    fn linger(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        match conn.linger(&mut self.buffers) {
            Ok(false) => self.conns.mark(slot),
            Ok(true) | Err(_) => self.bury(slot),
        }
    }

    /// Takes `buffers.input` as far as the connection's phase can, into the next phases too.
    fn advance(&mut self, slot: u32) {
        loop {
            let Some(conn) = self.conns.get(slot) else {
                return;
            };
            let input = &self.buffers.input;
            match conn.phase {
                Phase::Handshake => {
                    let Some(tls) = &mut conn.transport.tls else {
                        return;
                    };
                    if tls.is_handshaking() {
                        if conn.eof {
                            conn.begin_close(End::HandshakeEof);
                        }
                        return;
                    }
                    let info = tls.info();
                    let alpn = info.alpn;
                    conn.info.tls = Some(Box::new(info));
                    match alpn {
                        Some("h2") => self.open(slot, Guess::Http2),
                        Some(_) => self.open(slot, Guess::Http1),
                        None => conn.phase = Phase::Unsure,
                    }
                }
                Phase::Unsure => match guess(input) {
                    Guess::Unsure => {
                        if conn.eof {
                            conn.begin_close(End::HandshakeEof);
                        }
                        return;
                    }
                    protocol => self.open(slot, protocol),
                },
                Phase::Open => return self.receive(slot),
                Phase::Closing => return,
            }
        }
    }

    /// The protocol is known.
    fn open(&mut self, slot: u32, protocol: Guess) {
        let now = self.conns.now();
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        let id = conn.id;
        conn.phase = Phase::Open;
        conn.deadline = None;
        let config = self.options.proto.clone();
        conn.engine = Some(if protocol == Guess::Http1 {
            totals.http1 += 1;
            let secure = conn.transport.tls.is_some();
            Engine::Http1(tidegate_http1::Connection::server(config, secure, now))
        } else {
            Engine::Http2(tidegate_proto::Connection::server(config, now))
        });
        self.service.opened(&mut self.conns, id);
    }

    /// Hands `buffers.input` to the engine, and what that tells to the service.
    fn receive(&mut self, slot: u32) {
        let now = self.conns.now();
        while let Some(conn) = self.conns.get(slot) {
            let (Some(engine), Phase::Open) = (&mut conn.engine, conn.phase) else {
                return;
            };
            let id = conn.id;
            if let Some(event) = engine.receive(&mut self.buffers.input, now) {
                self.tell(id, event);
            } else if conn.eof && !conn.eof_told && engine.can_receive() {
                conn.eof_told = true;
                engine.receive_eof(now);
            } else {
                if engine.wants_rtt()
                    && let Some(rtt) = round_trip(&conn.transport.socket)
                {
                    engine.observe_rtt(rtt);
                }
                return;
            }
        }
    }

    fn tell(&mut self, id: ConnId, event: Event) {
        if let Event::Closed(reason) = &event
            && let Some(conn) = self.conns.get(id.slot)
        {
            conn.over = true;
            conn.set_end(End::Closed(reason.clone()));
        }
        self.service.event(&mut self.conns, id, event);
    }

    fn settle_dirty(&mut self) {
        while let Some(slot) = self.conns.next_dirty() {
            self.settle(slot);
        }
    }

    /// Has the engine put into the outbox what can go out, and writes it.
    fn settle(&mut self, slot: u32) {
        // Until it says otherwise below, the connection stays dirty, so that the service's calls don't list it again.
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.outbox.is_empty() {
            std::mem::swap(&mut conn.outbox, &mut self.buffers.outbox);
        }
        let result = self.transmit(slot);
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.is_dirty = false;
        if conn.outbox.is_empty() {
            std::mem::swap(&mut conn.outbox, &mut self.buffers.outbox);
            conn.outbox.release_memory();
        }
        match result {
            Err(end) => return self.cut_off(slot, end),
            Ok(Settled::Over) => return self.bury(slot),
            Ok(Settled::Waits) if !conn.can_go_on() => {}
            Ok(_) => {
                if !conn.is_ready {
                    conn.is_ready = true;
                    self.ready.push(slot);
                }
            }
        }
        self.rearm(slot);
    }

    fn transmit(&mut self, slot: u32) -> Result<Settled, End> {
        let now = self.conns.now();
        let write_timeout = self.options.write_timeout;
        let mut budget = WRITE_AT_ONCE as u64;
        while let Some((conn, totals)) = self.conns.get_and_totals(slot) {
            let before = totals.octets_out;
            let written = &mut totals.octets_out;
            if conn.phase == Phase::Closing {
                let over = conn.close(&mut self.buffers, now, write_timeout, written)?;
                return Ok(if over { Settled::Over } else { Settled::Waits });
            }
            let Some(engine) = &mut conn.engine else {
                conn.flush(&mut self.buffers, now, write_timeout, written)?;
                return Ok(Settled::Waits);
            };
            if !conn.writable {
                // What the engine has stays there, where priorities and resets still count.
                return Ok(Settled::Waits);
            }
            let id = conn.id;
            match engine.transmit(&mut conn.outbox, OUTBOX_LIMIT, now) {
                Flow::Event(event) => self.tell(id, event),
                Flow::Drained => {
                    conn.flush(&mut self.buffers, now, write_timeout, written)?;
                    return Ok(Settled::Waits);
                }
                Flow::Full => {
                    if !conn.flush(&mut self.buffers, now, write_timeout, written)? {
                        return Ok(Settled::Waits);
                    }
                    budget = budget.saturating_sub(*written - before);
                    if budget == 0 {
                        return Ok(Settled::HasMore);
                    }
                }
                Flow::Closed => {
                    // There may still be word of why.
                    self.buffers.clear_input(0);
                    self.receive(slot);
                    if let Some(conn) = self.conns.get(slot) {
                        if conn.engine.as_ref().is_some_and(Engine::is_truncated) {
                            return Err(End::Stopped);
                        }
                        conn.begin_close(End::Stopped);
                    }
                }
            }
        }
        Ok(Settled::Waits)
    }

    /// Sees to it that the timers have the connection's next deadline.
    fn rearm(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get(slot)
            && let Some(at) = conn.next_timeout()
        {
            self.timers.fire_by(slot, &mut conn.timer, at);
        }
    }

    /// Closes a connection at once.
    fn cut_off(&mut self, slot: u32, end: End) {
        if let Some(conn) = self.conns.get(slot) {
            conn.set_end(end);
            self.bury(slot);
        }
    }

    /// The transport is no more: lets the engine say what that means for its streams.
    fn end_engine(&mut self, slot: u32) {
        let now = self.conns.now();
        let mut nothing = BytesMut::new();
        let mut nowhere = Outbox::new();
        let mut told = false;
        while let Some(conn) = self.conns.get(slot) {
            let Some(engine) = &mut conn.engine else {
                return;
            };
            if conn.over {
                return;
            }
            if !told {
                told = true;
                engine.receive_eof(now);
            }
            let id = conn.id;
            let event = engine.receive(&mut nothing, now);
            let event = event.or_else(|| match engine.transmit(&mut nowhere, usize::MAX, now) {
                Flow::Event(event) => Some(event),
                Flow::Drained | Flow::Full | Flow::Closed => None,
            });
            match event {
                Some(event) => self.tell(id, event),
                None => return,
            }
        }
    }

    /// Removes a connection that is over, which closes its socket.
    fn bury(&mut self, slot: u32) {
        self.end_engine(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        self.timers.cancel(slot, &mut conn.timer);
        if conn.engine.as_ref().is_some_and(Engine::is_truncated) {
            conn.transport.reset();
        }
        let end = conn.take_end();
        let (id, peer) = (conn.id, conn.info.peer);
        if conn.was_truncated() {
            totals.truncated += 1;
            debug!("{peer}: TCP ended without close_notify of TLS");
        }
        if conn.engine.is_none() {
            totals.handshake_failures += 1;
        }
        debug!("{peer}: {end}");
        self.service.closed(&mut self.conns, id, &end);
        self.conns.remove(slot);
    }

    fn tick(&mut self, something_happened: bool) {
        let now = self.conns.now();
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            self.service.tick(&mut self.conns, now);
            self.settle_dirty();
        }
        if something_happened && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
    }
}

/// What settling a connection came to.
enum Settled {
    /// It waits for its peer, its service or a timer.
    Waits,
    /// It could go on writing, but it's the others' turn.
    HasMore,
    /// It is over.
    Over,
}

/// Whether an error of `accept` says nothing about the listener: the connection was gone before it was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// Tokens of listeners count down from the mailbox's, those of connections count up from 0.
fn listener_token(index: usize) -> Token {
    Token(MAILBOX.0 - 1 - index)
}

fn listener_index(token: Token) -> Option<usize> {
    let index = MAILBOX.0 - 1 - token.0;
    (index < 1 << 16).then_some(index)
}
