//! One loop: one worker thread.
//!
//! A turn of the loop:
//! 1. wait for events, and note on the connections what they say;
//! 2. accept;
//! 3. *serve* connections that are ready, a share of each queue (`turns.rs`): read once, hand the
//!    engine's events to the service. Those that were dialled come first: what an upstream has said
//!    counts before it is asked again;
//! 4. read the mailbox;
//! 5. *settle* each connection whose engine was touched: have the engine fill the outbox, and write
//!    that in one go. Clients that were served are settled at once, so that a share of a turn
//!    includes their writes;
//! 6. fire the timers, the service's too, and settle again. What had arrived was read before that, so
//!    a worker that comes late doesn't hold its own delay against a peer.
//!
//! Each step is bounded, so that one connection costs the others little: what is left waits, where it
//! is, for the next turn.

mod accept;
mod relief;
mod requests;
mod turns;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use log::{debug, info};
use mio::event::Event as Readiness;
use mio::{Events, Interest, Poll, Token};
use tidegate_http::{Event, Flow, Outbox, WallClock};

pub(crate) use self::accept::Whose;
use self::accept::{Accepting, Newcomer};
use self::relief::HeldBack;
use self::turns::{Budget, HANDSHAKE, Queue, Turns};
pub(crate) use self::turns::{DIAL, TOUCH};
use crate::buffers::Buffers;
use crate::conn::{Phase, Taken};
use crate::conns::Network;
use crate::guess::{Guess, guess};
use crate::loop_clock::LoopClock;
use crate::mailbox::Letter;
use crate::memory::Dialled;
use crate::socket::{ReadOutcome, Socket};
use crate::timers::Timers;
use crate::{
    ConnId, Conns, Direction, End, Engine, Listener, Mailbox, Options, Origin, Protocol, Service,
};

/// Octets that an engine may put into an outbox before that is written. What the socket doesn't take of them stays in front of
/// whatever becomes urgent; fewer octets would mean more system calls.
const OUTBOX_LIMIT: usize = 64 << 10;

/// Octets that one turn writes to one connection at most, about.
const WRITE_AT_ONCE: usize = 256 << 10;

/// Letters that one turn reads at most.
const LETTERS_AT_ONCE: usize = 64;

/// Events of one connection that a turn hands to the service at most, for input and for output each:
/// a small request is one, so a connection that floods costs the others 64 requests' time, some
/// hundred microseconds.
const EVENTS_AT_ONCE: usize = 64;

/// How long a graceful end waits for the first request of a connection that was just made.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

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
    /// Connections that wait for another worker to make room.
    parked: Vec<Newcomer>,
    /// The ledger's number when this worker last made room for others.
    requests_for_room: u64,
    options: Options,
    service: S,
    conns: Conns,
    clock: LoopClock,
    timers: Timers,
    buffers: Buffers,
    /// Connections that can be served now.
    turns: Turns,
    /// The rest of the turn for the queue that is served now.
    budget: Budget,
    /// When a graceful end is over at last.
    shutdown_deadline: Option<Instant>,
    stopped: bool,
    /// When to call `Service::tick`, if anything happened since the last time.
    next_tick: Option<Instant>,
    held_back: HeldBack,
}

/// What changed about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) error: bool,
}

impl From<&Readiness> for Ready {
    fn from(readiness: &Readiness) -> Self {
        Self {
            readable: readiness.is_readable(),
            writable: readiness.is_writable(),
            read_closed: readiness.is_read_closed(),
            error: readiness.is_error(),
        }
    }
}

impl<S: Service> EventLoop<S> {
    /// A loop that serves what these listeners accept.
    ///
    /// # Errors
    /// When the operating system gives no epoll instance, the sockets can't be registered with it, or it doesn't take
    /// [`Options::notsent_lowat`].
    pub fn new(listeners: Vec<Listener>, options: Options, service: S) -> io::Result<Self> {
        let poll = Poll::new()?;
        let network = Network::System(poll.registry().try_clone()?);
        Self::on(network, poll, listeners, options, service, Instant::now())
    }

    /// A loop whose connections are in memory. What the system has for it is never asked.
    pub(crate) fn in_memory(
        options: Options,
        service: S,
        capacity: usize,
        now: Instant,
    ) -> io::Result<Self> {
        let network = Network::Memory {
            dialled: Vec::new(),
            capacity,
        };
        Self::on(network, Poll::new()?, Vec::new(), options, service, now)
    }

    fn on(
        network: Network,
        poll: Poll,
        listeners: Vec<Listener>,
        options: Options,
        mut service: S,
        now: Instant,
    ) -> io::Result<Self> {
        let (mailbox, letters) = Mailbox::new(poll.registry(), MAILBOX)?;
        let waker = mailbox.waker();
        options.ledger.add_waker(move || {
            // A loop that is over needn't look.
            let _ = waker.wake();
        });
        let ledger = Arc::clone(&options.ledger);
        service.started(&mailbox);
        let mut accepting = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.set_notsent_lowat(options.notsent_lowat)?;
            let token = listener_token(index);
            poll.registry()
                .register(&mut listener.socket, token, Interest::READABLE)?;
            accepting.push(Accepting::new(listener));
        }
        Ok(Self {
            poll,
            mailbox,
            letters,
            has_letters: false,
            listeners: accepting,
            parked: Vec::new(),
            requests_for_room: options.ledger.requests_for_room(),
            options,
            service,
            conns: Conns::new(network, ledger, now),
            clock: LoopClock::default(),
            timers: Timers::new(now),
            buffers: Buffers::new(),
            turns: Turns::default(),
            budget: Budget::in_memory(),
            shutdown_deadline: None,
            stopped: false,
            next_tick: None,
            held_back: HeldBack::default(),
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
            let now = self.clock.at(Instant::now());
            let due = self.due(now);
            let mut timeout = due.map(|at| at.saturating_duration_since(now));
            while let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                // Such as by a signal that stopped the process for a while. What has come in
                // meanwhile is to be known before timers fire.
                timeout = Some(Duration::ZERO);
            }
            self.begin_turn(Instant::now(), due);
            for readiness in &events {
                self.note(readiness.token(), readiness.into());
            }
            if !self.take_turn(!events.is_empty()) {
                return Ok(self.service);
            }
        }
    }

    /// For loops in memory: when the next turn is due at the latest; `now` when there is work left.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.due(self.clock.at(now))
            .map(|due| self.clock.system(due))
    }

    /// When the next turn is due at the latest, by the loop's clock; `now` when there is work left.
    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.turns.is_empty()
            || self.has_letters
            || self.listeners.iter().any(Accepting::can_go_on)
        {
            return Some(now);
        }
        let pauses = self
            .listeners
            .iter()
            .filter_map(Accepting::left_until)
            .min();
        let all = [
            self.timers.next(),
            self.next_tick,
            self.shutdown_deadline,
            self.service.next_timeout(),
            self.next_admission(now),
            pauses,
        ];
        all.into_iter().flatten().min()
    }

    /// Begins a turn that was due at `due` by the loop's clock.
    fn begin_turn(&mut self, system: Instant, due: Option<Instant>) {
        let now = self.clock.wake(system, self.conns.now(), due);
        self.conns.begin_turn(now);
        self.service.turn(now);
    }

    /// Does all there is to do. Returns whether the loop goes on.
    fn take_turn(&mut self, has_events: bool) -> bool {
        let now = self.conns.now();
        self.make_room_for_others();
        self.accept();
        self.serve_ready();
        self.read_letters();
        self.settle_dirty();
        self.fire_timers();
        if self.service.next_timeout().is_some_and(|at| at <= now) {
            self.service.handle_timeout(&mut self.conns, now);
        }
        self.settle_dirty();
        self.tick(has_events || !self.turns.is_empty());
        let shut_down = self.shutdown_deadline;
        // What was dialled was for those that were accepted; their last words may be under way.
        let is_done = || self.conns.accepted() == 0 && !self.conns.are_dialled_busy();
        let is_over = shut_down.is_some_and(|at| at <= now || is_done());
        if !self.stopped && !is_over {
            return true;
        }
        self.conns.is_over = true;
        for slot in self.conns.slots() {
            if let Some(conn) = self.conns.get(slot)
                && let Some(engine) = &mut conn.engine
            {
                // A last word, for those who listen.
                engine.shut_down(now);
                self.conns.mark(slot);
            }
        }
        self.settle_dirty();
        for slot in self.conns.slots() {
            self.cut_off(slot, End::Stopped);
        }
        false
    }

    fn note(&mut self, token: Token, ready: Ready) {
        if token == MAILBOX {
            self.has_letters = true;
            return;
        }
        if let Some(index) = listener_index(token) {
            if let Some(accepting) = self.listeners.get_mut(index) {
                accepting.look();
            }
            return;
        }
        // An event may be about an earlier connection in the same slot: then it makes for a needless look at most.
        let slot = token.0 as u32;
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if ready.readable || ready.read_closed || ready.error {
            conn.readable = true;
            conn.end_is_near |= ready.read_closed || ready.error;
            if !conn.takes_input() {
                // Its engine may wait for memory: settling has it look again after a while.
                self.conns.mark(slot);
            } else {
                self.enqueue(slot, Queue::New);
            }
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if !conn.writable && (ready.writable || ready.error) {
            conn.writable = true;
            self.enqueue(slot, Queue::Again);
        }
        if ready.read_closed || ready.error {
            self.look_for_end(slot);
        }
    }

    /// Lets a connection wait for its turn, if it doesn't yet: in the queue of those that were
    /// dialled if it is one, else in this one.
    fn enqueue(&mut self, slot: u32, queue: Queue) {
        if let Some(conn) = self.conns.get(slot)
            && !std::mem::replace(&mut conn.is_ready, true)
        {
            let queue = match conn.info.origin {
                Origin::Dialled => Queue::Dialled,
                Origin::Accepted => queue,
            };
            self.turns.push(queue, slot);
        }
    }

    /// The client's end is in the socket: if its engine doesn't read, since it answers a request of HTTP/1.1, the service is to
    /// know all the same.
    fn look_for_end(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let waits = match (&conn.engine, conn.phase) {
            (Some(engine), Phase::Open) => engine.answers_http1() && !engine.can_receive(),
            _ => false,
        };
        if !waits {
            return;
        }
        let socket = &mut conn.transport.socket;
        if let Some(error) = socket.take_error() {
            return self.cut_off(slot, End::Io(error));
        }
        let has_ended = match socket.peek(&mut [0]) {
            // Behind what it has sent already it may have asked for more. Over TLS that can't be told from the end of TLS.
            Ok(ReadOutcome::Octets { .. }) => conn.transport.tls.is_some(),
            Ok(ReadOutcome::Blocked) => conn.eof,
            Ok(ReadOutcome::Eof) => true,
            Err(error) => return self.cut_off(slot, End::Io(error)),
        };
        // An end that the engine knows of is none of the request: it is one of the two of a tunnel. And what is left over may be
        // another request.
        if has_ended && !conn.half_closed && !conn.eof_told && conn.left_over() == 0 {
            conn.half_closed = true;
            let id = conn.id;
            self.service.half_closed(&mut self.conns, id);
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

    pub(crate) fn shut_down(&mut self) {
        if self.shutdown_deadline.is_some() {
            return;
        }
        let now = self.conns.now();
        self.accept_all();
        self.shutdown_deadline = Some(now + self.options.shutdown_timeout);
        // Closes the sockets.
        self.listeners.clear();
        self.parked.clear();
        info!("shutting down: {} connections open", self.conns.accepted());
        for slot in self.conns.slots() {
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            if conn.info.origin == Origin::Dialled {
                // Requests in progress may need it.
                continue;
            }
            match (&mut conn.engine, conn.phase) {
                (Some(engine), Phase::Open) if !engine.is_new_http1() => engine.shut_down(now),
                (_, Phase::Closing) => {}
                // Nothing was asked yet, but what was may be on its way: the client has found the
                // port open.
                _ => {
                    let at = now + FIRST_REQUEST;
                    conn.deadline = Some(conn.deadline.map_or(at, |deadline| deadline.min(at)));
                }
            }
            self.conns.mark(slot);
        }
    }

    /// A graceful end has begun before this connection's first request, which may be there now.
    fn shut_down_behind_request(&mut self, slot: u32) {
        let now = self.conns.now();
        if let Some(conn) = self.conns.get(slot)
            && conn.info.origin == Origin::Accepted
            && let Some(engine) = &mut conn.engine
            && !engine.is_ending()
            && !engine.is_new_http1()
        {
            engine.shut_down(now);
            conn.deadline = None;
        }
    }

    fn fire_timers(&mut self) {
        let now = self.conns.now();
        self.begin_budget();
        // Those that are left fire in the next turn, which is due at once.
        while !self.budget.is_used_up()
            && let Some(slot) = self.timers.fire(now)
        {
            self.budget.charge(1);
            self.budget.charge(self.conns.take_work());
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            conn.timer = None;
            if conn.readable && std::mem::take(&mut conn.is_ready) {
                // It waits for its turn: what has come in is read before time is up.
                self.serve(slot);
            }
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(conn.write_deadline) {
                self.cut_off(slot, End::WriteTimedOut);
                continue;
            }
            if due(conn.deadline) {
                conn.deadline = None;
                match conn.phase {
                    Phase::Connecting | Phase::Handshake if conn.dialling.is_some() => {
                        self.cut_off(slot, End::ConnectTimedOut);
                        continue;
                    }
                    Phase::Connecting | Phase::ProxyHeader | Phase::Handshake | Phase::Unsure => {
                        conn.begin_close(End::HandshakeTimedOut);
                    }
                    // A graceful end has waited for a request.
                    Phase::Open => {
                        if let Some(engine) = &mut conn.engine {
                            engine.shut_down(now);
                        }
                    }
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
                self.drain_events(slot);
            }
            // Settling enters the next deadline too.
            self.conns.mark(slot);
        }
    }

    fn serve_ready(&mut self) {
        // Those who come in meanwhile are for the next turn.
        for (queue, waiting) in Queue::ALL.map(|queue| (queue, self.turns.len(queue))) {
            self.begin_budget();
            for _ in 0..waiting {
                let Some(slot) = self.turns.pop(queue) else {
                    break;
                };
                let Some(conn) = self.conns.get(slot) else {
                    continue;
                };
                if self.budget.is_used_up() {
                    if queue != Queue::Dialled {
                        self.turns.push_front(queue, slot);
                        break;
                    }
                    // That a connection ends is to be known before more is asked on it.
                    if !conn.end_is_near {
                        self.turns.push(queue, slot);
                        continue;
                    }
                }
                if !std::mem::take(&mut conn.is_ready) {
                    continue;
                }
                self.budget.charge(match conn.phase {
                    Phase::Handshake => HANDSHAKE,
                    _ => 1,
                });
                let written = self.conns.totals.octets_out;
                self.serve(slot);
                // What was dialled may be asked more in this turn.
                if queue != Queue::Dialled {
                    self.settle_if_dirty(slot);
                }
                let written = self.conns.totals.octets_out - written;
                self.budget.charge_bytes(written);
            }
        }
    }

    fn begin_budget(&mut self) {
        self.conns.take_work();
        self.budget = match self.conns.network() {
            Network::System(_) => Budget::in_real_time(),
            Network::Memory { .. } => Budget::in_memory(),
        };
    }

    /// Reads once, and passes on what came.
    fn serve(&mut self, slot: u32) {
        // It is settled afterwards in any case, so the service's calls cause nothing more here.
        self.conns.mark(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return self.linger(slot);
        }
        if conn.phase == Phase::ProxyHeader {
            match conn.take_proxy_header() {
                Ok(Some(len)) => {
                    totals.octets_in += len as u64;
                    if !self.rekey(slot) {
                        return self.cut_off(slot, End::Refused);
                    }
                }
                Ok(None) => return self.conns.mark(slot),
                Err(end) => return self.cut_off(slot, end),
            }
        }
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.can_go_on() {
            let left_over = conn.left_over();
            match conn.fill(&mut self.buffers) {
                Ok(count) => totals.octets_in += count as u64,
                Err(End::HttpOnTlsPort) => {
                    let clock = self.options.proto.wall_clock.as_ref();
                    conn.answer_in_cleartext(&https_wanted(clock.and_then(WallClock::date)));
                    return self.conns.mark(slot);
                }
                Err(End::TlsFailed(error)) => {
                    // Not at once: the peer is to read the alert.
                    conn.begin_close(End::TlsFailed(error));
                    self.end_engine(slot);
                    return self.conns.mark(slot);
                }
                Err(end) => return self.cut_off(slot, end),
            }
            if self.options.trace
                && let Some(conn) = self.conns.get(slot)
                && let Some(octets @ [_, ..]) = self.buffers.input.get(left_over..)
            {
                let id = conn.id;
                self.service.trace(&self.conns, id, Direction::In, octets);
            }
            let taken = self.advance(slot);
            if self.shutdown_deadline.is_some() {
                self.shut_down_behind_request(slot);
            }
            if let Some(conn) = self.conns.get(slot) {
                conn.keep(&mut self.buffers, taken);
                if conn.end_is_near || conn.eof {
                    self.look_for_end(slot);
                }
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
    fn advance(&mut self, slot: u32) -> Taken {
        loop {
            let Some(conn) = self.conns.get(slot) else {
                return Taken::All;
            };
            let input = &self.buffers.input;
            match conn.phase {
                Phase::Handshake => {
                    let Some(tls) = &mut conn.transport.tls else {
                        return Taken::All;
                    };
                    if tls.is_handshaking() {
                        if conn.eof {
                            conn.begin_close(End::HandshakeEof);
                        }
                        return Taken::All;
                    }
                    let info = tls.info();
                    let alpn = info.alpn;
                    conn.info.tls = Some(Box::new(info));
                    let agreed = match (alpn, &conn.dialling) {
                        (Some("h2"), _) => Protocol::Http2,
                        (None, None) => {
                            conn.phase = Phase::Unsure;
                            continue;
                        }
                        // RFC 9113 §3.2: HTTP/2 over TLS uses the identifier "h2".
                        (_, Some(dialling)) if dialling.only == Some(Protocol::Http2) => {
                            self.cut_off(slot, End::NotHttp2);
                            return Taken::All;
                        }
                        _ => Protocol::Http1,
                    };
                    self.open(slot, agreed);
                }
                Phase::Unsure => match guess(input) {
                    Guess::Unsure => {
                        if conn.eof {
                            conn.begin_close(End::HandshakeEof);
                        }
                        return Taken::All;
                    }
                    Guess::Http2 => self.open(slot, Protocol::Http2),
                    Guess::Http1 => self.open(slot, Protocol::Http1),
                },
                Phase::Connecting | Phase::ProxyHeader | Phase::Closing => return Taken::All,
                Phase::Open => return self.receive(slot, HowMuch::Share),
            }
        }
    }

    /// The protocol is known.
    fn open(&mut self, slot: u32, protocol: Protocol) {
        let now = self.conns.now();
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        let id = conn.id;
        conn.phase = Phase::Open;
        if self.shutdown_deadline.is_none() {
            conn.deadline = None;
        }
        let is_plain = conn.transport.tls.is_none();
        if let Some(account) = &mut conn.dial_account {
            account.established();
        }
        conn.engine = Some(match (conn.dialling.take(), protocol) {
            (Some(dialling), Protocol::Http2) => {
                Engine::Http2(tidegate_http2::Connection::client(dialling.proto, now))
            }
            (Some(dialling), Protocol::Http1) => {
                Engine::Http1(tidegate_http1::Connection::client(dialling.proto, now))
            }
            (None, Protocol::Http2) => {
                let config = self.options.proto.clone();
                Engine::Http2(tidegate_http2::Connection::server(config, now))
            }
            (None, Protocol::Http1) => {
                totals.http1 += 1;
                let config = self.options.proto.clone();
                let mut engine = tidegate_http1::Connection::server(config, !is_plain, now);
                if self.options.h2c_upgrade {
                    engine.offer_h2c();
                }
                Engine::Http1(engine)
            }
        });
        conn.bill();
        self.service.opened(&mut self.conns, id);
    }

    /// A connection that was dialled has come about, or not. Returns whether it can go on.
    fn connected(&mut self, slot: u32) -> Result<bool, End> {
        let Some(conn) = self.conns.get(slot) else {
            return Ok(false);
        };
        let socket = &mut conn.transport.socket;
        if let Some(error) = socket.take_error() {
            return Err(End::ConnectFailed(error));
        }
        if !socket.is_connected() {
            // The event was about an earlier connection in the same slot.
            conn.writable = false;
            return Ok(false);
        }
        socket
            .tune(self.options.notsent_lowat)
            .map_err(End::ConnectFailed)?;
        if let Some(local) = socket.local_addr() {
            conn.info.local = local;
        }
        let Some(dialling) = &mut conn.dialling else {
            return Ok(false);
        };
        let preamble = std::mem::take(&mut dialling.preamble);
        match &mut conn.transport.tls {
            Some(tls) => {
                conn.phase = Phase::Handshake;
                tls.begin_behind(preamble);
                self.buffers.clear_input(0);
                // The client speaks first.
                tls.receive(0, &mut self.buffers)?;
            }
            None => {
                let protocol = dialling.only.unwrap_or(Protocol::Http1);
                conn.outbox.tail().extend_from_slice(&preamble);
                self.open(slot, protocol);
            }
        }
        Ok(true)
    }

    /// Hands `buffers.input` to the engine, and what that tells to the service.
    fn receive(&mut self, slot: u32, how_much: HowMuch) -> Taken {
        let now = self.conns.now();
        let mut told = 0;
        while let Some(conn) = self.conns.get(slot) {
            let (Some(engine), Phase::Open) = (&mut conn.engine, conn.phase) else {
                return Taken::All;
            };
            if how_much == HowMuch::Share && is_enough(told, &self.budget) {
                return Taken::Enough;
            }
            told += 1;
            self.budget.charge(1);
            let id = conn.id;
            let waiting = conn.outbox.len();
            let input = &mut self.buffers.input;
            if let Some(event) = engine.receive(input, now) {
                // RFC 9112 §9.2: what nobody has asked for must not be taken for the answer to what the service asks next.
                let is_unasked = engine.asks_nothing() && !input.is_empty();
                let end = is_unasked.then(|| engine.receive(input, now)).flatten();
                match &event {
                    Event::Request { id: stream, .. } if !self.admit_request(slot, *stream) => {}
                    _ => self.tell(id, event),
                }
                if let Some(end) = end {
                    self.tell(id, end);
                }
                self.budget.charge(self.conns.take_work());
            } else if let Some(stats) = conn.upgrade(now) {
                // The new engine has the request, and the 101 waits.
                if self.options.trace {
                    let octets = behind(&conn.outbox, waiting);
                    self.service.trace(&self.conns, id, Direction::Out, &octets);
                }
                self.conns.totals.proto.add(&stats);
            } else if conn.eof && !conn.eof_told && conn.takes_input() {
                conn.tell_eof(now);
            } else {
                if let Some(engine) = &mut conn.engine
                    && engine.wants_rtt()
                    && let Some(rtt) = conn.transport.socket.round_trip()
                {
                    engine.observe_rtt(rtt);
                }
                return Taken::All;
            }
        }
        Taken::All
    }

    /// Hands all that an engine has to tell to the service, without input.
    fn drain_events(&mut self, slot: u32) {
        self.buffers.clear_input(0);
        self.receive(slot, HowMuch::All);
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

    fn settle_if_dirty(&mut self, slot: u32) {
        if self.conns.get(slot).is_some_and(|conn| conn.is_dirty) {
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
        let now = self.conns.now();
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.is_dirty = false;
        if let Err(refusal) = conn.settle_account(now)
            && !self.make_room_for_handshake(slot, refusal)
        {
            self.conns.totals.refused += 1;
            return self.cut_off(slot, End::Refused);
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let result = match result {
            Err(End::Io(error)) if conn.stop_writing(now) => {
                conn.set_end(End::Io(error));
                Ok(Settled::Waits)
            }
            result => result,
        };
        if conn.outbox.is_empty() {
            std::mem::swap(&mut conn.outbox, &mut self.buffers.outbox);
            conn.outbox.release_memory();
        }
        match result {
            Err(end) => return self.cut_off(slot, end),
            Ok(Settled::Over) => return self.bury(slot),
            Ok(Settled::Waits) if !conn.can_go_on() => {}
            Ok(_) => self.enqueue(slot, Queue::Again),
        }
        self.rearm(slot);
    }

    fn transmit(&mut self, slot: u32) -> Result<Settled, End> {
        let now = self.conns.now();
        let write_timeout = self.options.write_timeout;
        let mut budget = WRITE_AT_ONCE as u64;
        let mut told = 0;
        while let Some((conn, totals)) = self.conns.get_and_totals(slot) {
            let before = totals.octets_out;
            let written = &mut totals.octets_out;
            if conn.phase == Phase::Connecting {
                if conn.writable && self.connected(slot)? {
                    continue;
                }
                return Ok(Settled::Waits);
            }
            if conn.cant_write {
                return Ok(match conn.has_said_all() {
                    true => Settled::Over,
                    false => Settled::Waits,
                });
            }
            if conn.phase == Phase::Closing {
                let timeouts = (write_timeout, self.options.linger_timeout);
                let over = conn.close(&mut self.buffers, now, timeouts, written)?;
                return Ok(if over { Settled::Over } else { Settled::Waits });
            }
            let Some(engine) = &mut conn.engine else {
                conn.flush(&mut self.buffers, now, write_timeout, written)?;
                return Ok(Settled::Waits);
            };
            if engine.is_truncated() {
                // What the socket takes at once still goes out, but nothing that waits may hold the end up.
                let _ = engine.transmit(&mut conn.outbox, usize::MAX, now);
                let _ = conn.flush(&mut self.buffers, now, write_timeout, written);
                self.drain_events(slot);
                return Err(End::Stopped);
            }
            if !conn.writable {
                // What the engine has stays there, where priorities and resets still count. What has come in is held all the same.
                engine.settle_memory();
                return Ok(Settled::Waits);
            }
            let id = conn.id;
            let waiting = conn.outbox.len();
            let limit = OUTBOX_LIMIT.saturating_sub(conn.transport.pending());
            let flow = engine.transmit(&mut conn.outbox, limit, now);
            if self.options.trace && conn.outbox.len() > waiting {
                let octets = behind(&conn.outbox, waiting);
                self.service.trace(&self.conns, id, Direction::Out, &octets);
            }
            let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
                break;
            };
            let written = &mut totals.octets_out;
            match flow {
                Flow::Event(event) => {
                    self.tell(id, event);
                    told += 1;
                    if told >= EVENTS_AT_ONCE
                        && let Some((conn, totals)) = self.conns.get_and_totals(slot)
                    {
                        let written = &mut totals.octets_out;
                        conn.flush(&mut self.buffers, now, write_timeout, written)?;
                        return Ok(Settled::HasMore);
                    }
                }
                Flow::Drained => {
                    let buffers = &mut self.buffers;
                    let ended = conn.engine.as_ref().is_some_and(Engine::has_ended_our_side);
                    match ended {
                        true => conn.end_our_side(buffers, now, write_timeout, written)?,
                        false => conn.flush(buffers, now, write_timeout, written)?,
                    };
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
                Flow::Closed if conn.engine.as_ref().is_some_and(Engine::is_truncated) => {}
                Flow::Closed => {
                    self.drain_events(slot);
                    if let Some(conn) = self.conns.get(slot) {
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
            let id = conn.id;
            if !told {
                told = true;
                match conn.eof_told {
                    // What followed from that is over now too.
                    true => engine.receive_failure(now),
                    false => conn.tell_eof(now),
                }
            }
            let Some(engine) = &mut conn.engine else {
                return;
            };
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
        // Nor may the end come in order where it would come instead of what waits: it may be the end of a message.
        if conn.has_unwritten() || conn.engine.as_ref().is_some_and(Engine::is_truncated) {
            conn.transport.socket.reset();
        }
        let end = conn.take_end();
        let (id, peer) = (conn.id, conn.info.peer);
        if conn.truncated {
            totals.truncated += 1;
            debug!("{peer}: TCP ended without close_notify of TLS");
        }
        if conn.engine.is_none() {
            match conn.info.origin {
                Origin::Accepted => totals.handshake_failures += 1,
                Origin::Dialled => totals.dial_failures += 1,
            }
        }
        debug!("{peer}: {end}");
        self.service.closed(&mut self.conns, id, &end);
        self.conns.remove(slot);
    }

    /// For loops in memory: what was dialled since the last call.
    pub(crate) fn dialled(&mut self) -> Vec<Dialled> {
        match self.conns.network() {
            Network::Memory { dialled, .. } => std::mem::take(dialled),
            Network::System(_) => Vec::new(),
        }
    }

    /// For loops in memory: looks what has changed about the sockets, and takes a turn. Returns whether the loop goes on.
    pub(crate) fn turn_in_memory(&mut self, now: Instant) -> bool {
        let due = self.due(self.conns.now());
        self.begin_turn(now, due);
        let mut has_events = false;
        for slot in self.conns.slots() {
            let Some(conn) = self.conns.get(slot) else {
                continue;
            };
            let Socket::Memory(socket) = &mut conn.transport.socket else {
                continue;
            };
            let ready = socket.take_readiness();
            if ready != Ready::default() {
                has_events = true;
                self.note(Token(slot as usize), ready);
            }
        }
        self.take_turn(has_events)
    }

    pub(crate) fn service(&self) -> &S {
        &self.service
    }

    pub(crate) fn conns(&self) -> &Conns {
        &self.conns
    }

    fn tick(&mut self, something_happened: bool) {
        let now = self.conns.now();
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            self.service.tick(&mut self.conns, now);
            self.make_memory();
            self.settle_dirty();
        }
        if (something_happened || !self.held_back.is_empty()) && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
    }
}

/// Whether a connection has had its share of the turn with so many events.
fn is_enough(told: usize, budget: &Budget) -> bool {
    told >= EVENTS_AT_ONCE || (told > 0 && budget.is_used_up())
}

/// The answer to a request in cleartext on a port for TLS.
fn https_wanted(date: Option<String>) -> Vec<u8> {
    let text = "This port speaks HTTPS, and the request came in cleartext: begin its address with https://.\n";
    let date = date.map_or_else(String::new, |date| format!("date: {date}\r\n"));
    let len = text.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len}\r\n\
         {date}connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// What is in an outbox behind its first octets.
fn behind(outbox: &Outbox, mut first: usize) -> Vec<u8> {
    let mut slices = [io::IoSlice::new(&[]); 1024];
    let used = outbox.io_slices(&mut slices);
    let mut octets = Vec::with_capacity(outbox.len() - first);
    for slice in &slices[..used] {
        let skipped = first.min(slice.len());
        first -= skipped;
        octets.extend_from_slice(&slice[skipped..]);
    }
    octets
}

/// How much of what an engine has to tell is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HowMuch {
    /// As much as a turn may take of one connection.
    Share,
    All,
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

/// Tokens of listeners count down from the mailbox's, those of connections count up from 0.
fn listener_token(index: usize) -> Token {
    Token(MAILBOX.0 - 1 - index)
}

fn listener_index(token: Token) -> Option<usize> {
    let index = MAILBOX.0 - 1 - token.0;
    (index < 1 << 16).then_some(index)
}
