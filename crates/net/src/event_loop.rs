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

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use log::info;
use mio::{Events, Poll, Token};

use crate::acceptors::Acceptors;
use crate::driver::Driver;
use crate::loop_clock::LoopClock;
use crate::mailbox::Letter;
use crate::memory_socket::MemorySocket;
use crate::network::Network;
use crate::opening::Phase;
use crate::ready::Ready;
use crate::relief::HeldBack;
use crate::tls_session::TlsSession;
use crate::turns::{Budget, HANDSHAKE, Queue};
use crate::{Conns, End, Listener, Mailbox, Options, Origin, Service};

/// Letters that one turn reads at most.
const LETTERS_AT_ONCE: usize = 64;

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
    acceptors: Acceptors,
    driver: Driver<S>,
    clock: LoopClock,
    stopped: bool,
    /// When to call `Service::tick`, if anything happened since the last time.
    next_tick: Option<Instant>,
    held_back: HeldBack,
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

    /// A loop on this network.
    pub(crate) fn on(
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
        service.started(&mailbox);
        let acceptors = Acceptors::new(listeners, poll.registry(), &options)?;
        let conns = Conns::new(network, Arc::clone(&options.ledger), now);
        Ok(Self {
            poll,
            mailbox,
            letters,
            has_letters: false,
            acceptors,
            driver: Driver::new(options, service, conns),
            clock: LoopClock::default(),
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
                return Ok(self.driver.service);
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
        if !self.driver.turns.is_empty() || self.has_letters || self.acceptors.can_go_on() {
            return Some(now);
        }
        let all = [
            self.driver.timers.next(),
            self.next_tick,
            self.driver.shutdown_deadline,
            self.driver.service.next_timeout(),
            self.acceptors.next_timeout(now),
        ];
        all.into_iter().flatten().min()
    }

    /// Begins a turn that was due at `due` by the loop's clock.
    fn begin_turn(&mut self, system: Instant, due: Option<Instant>) {
        let now = self.clock.wake(system, self.driver.conns.now(), due);
        self.driver.conns.begin_turn(now);
        self.driver.service.turn(now);
    }

    /// Does all there is to do. Returns whether the loop goes on.
    pub(crate) fn take_turn(&mut self, has_events: bool) -> bool {
        let now = self.driver.conns.now();
        self.acceptors.accept(&mut self.driver);
        self.serve_ready();
        self.read_letters();
        self.driver.settle_dirty();
        self.fire_timers();
        if self
            .driver
            .service
            .next_timeout()
            .is_some_and(|at| at <= now)
        {
            self.driver
                .call(|service, conns| service.handle_timeout(conns, now));
        }
        self.driver.settle_dirty();
        self.tick(has_events || !self.driver.turns.is_empty());
        let shut_down = self.driver.shutdown_deadline;
        // What was dialled was for those that were accepted; their last words may be under way.
        let is_done = || self.driver.conns.accepted() == 0 && !self.driver.conns.are_dialled_busy();
        let is_over = shut_down.is_some_and(|at| at <= now || is_done());
        if !self.stopped && !is_over {
            return true;
        }
        self.driver.conns.is_over = true;
        for slot in self.driver.conns.slots() {
            if let Some(conn) = self.driver.conns.get(slot)
                && let Some(engine) = &mut conn.engine
            {
                // A last word, for those who listen.
                engine.shut_down(now);
                self.driver.conns.mark(slot);
            }
        }
        self.driver.settle_dirty();
        for slot in self.driver.conns.slots() {
            self.driver.cut_off(slot, End::Stopped);
        }
        false
    }

    /// Notes what an event says.
    pub(crate) fn note(&mut self, token: Token, ready: Ready) {
        if token == MAILBOX {
            self.has_letters = true;
        } else if !self.acceptors.note(token) {
            self.driver.note(token.0 as u32, ready);
        }
    }

    fn read_letters(&mut self) {
        if !self.has_letters {
            return;
        }
        for _ in 0..LETTERS_AT_ONCE {
            match self.letters.try_recv() {
                Ok(Letter::Message(message)) => {
                    self.driver
                        .call(|service, conns| service.message(conns, message));
                }
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
        if self.driver.shutdown_deadline.is_some() {
            return;
        }
        let now = self.driver.conns.now();
        self.acceptors.close(&mut self.driver);
        self.driver.shutdown_deadline = Some(now + self.driver.options.shutdown_timeout);
        info!(
            "shutting down: {} connections open",
            self.driver.conns.accepted()
        );
        for slot in self.driver.conns.slots() {
            let Some(conn) = self.driver.conns.get(slot) else {
                continue;
            };
            if conn.info.origin == Origin::Dialled {
                // Requests in progress may need it.
                continue;
            }
            match (&mut conn.engine, conn.opening.phase()) {
                (Some(engine), Phase::Open) if !engine.awaits_first_request() => {
                    engine.shut_down(now)
                }
                (_, Phase::Closing) => {}
                // Nothing was asked yet, but what was may be on its way: the client has found the
                // port open.
                _ => {
                    let at = now + FIRST_REQUEST;
                    conn.deadline = Some(conn.deadline.map_or(at, |deadline| deadline.min(at)));
                }
            }
            self.driver.conns.mark(slot);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.driver.conns.now();
        self.begin_budget();
        // Those that are left fire in the next turn, which is due at once.
        while !self.driver.budget.is_used_up()
            && let Some(slot) = self.driver.timers.fire(now)
        {
            self.driver.budget.charge(1);
            let work = self.driver.conns.take_work();
            self.driver.budget.charge(work);
            let Some(conn) = self.driver.conns.get(slot) else {
                continue;
            };
            conn.timer = None;
            if conn.incoming.is_readable() && std::mem::take(&mut conn.is_ready) {
                // It waits for its turn: what has come in is read before time is up.
                self.driver.serve(slot);
            }
            let Some(conn) = self.driver.conns.get(slot) else {
                continue;
            };
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if due(conn.outgoing.deadline()) {
                self.driver.cut_off(slot, End::WriteTimedOut);
                continue;
            }
            if due(conn.deadline) {
                conn.deadline = None;
                match conn.phase() {
                    Phase::Connecting | Phase::Handshake if conn.opening.is_dialling() => {
                        self.driver.cut_off(slot, End::ConnectTimedOut);
                        continue;
                    }
                    Phase::Connecting | Phase::ProxyHeader | Phase::Handshake | Phase::Guess => {
                        conn.begin_close(End::HandshakeTimedOut);
                    }
                    // A graceful end has waited for a request.
                    Phase::Open => {
                        if let Some(engine) = &mut conn.engine {
                            engine.shut_down(now);
                        }
                    }
                    Phase::Closing => {
                        self.driver.bury(slot);
                        continue;
                    }
                }
            }
            if let (Some(engine), Phase::Open) = (&mut conn.engine, conn.opening.phase())
                && due(engine.next_timeout())
            {
                engine.handle_timeout(now);
                self.driver.drain_events(slot);
            }
            // Settling enters the next deadline too.
            self.driver.conns.mark(slot);
        }
    }

    fn serve_ready(&mut self) {
        // Those who come in meanwhile are for the next turn.
        for (queue, waiting) in Queue::ALL.map(|queue| (queue, self.driver.turns.len(queue))) {
            self.begin_budget();
            for _ in 0..waiting {
                let Some(slot) = self.driver.turns.pop(queue) else {
                    break;
                };
                let Some(conn) = self.driver.conns.get(slot) else {
                    continue;
                };
                if self.driver.budget.is_used_up() {
                    if queue != Queue::Dialled {
                        self.driver.turns.push_front(queue, slot);
                        break;
                    }
                    // That a connection ends is to be known before more is asked on it.
                    if !conn.incoming.is_end_near() {
                        self.driver.turns.push(queue, slot);
                        continue;
                    }
                }
                if !std::mem::take(&mut conn.is_ready) {
                    continue;
                }
                self.driver.budget.charge(match conn.phase() {
                    Phase::Handshake => HANDSHAKE,
                    _ => 1,
                });
                let written = self.driver.conns.totals.octets_out;
                self.driver.serve(slot);
                // What was dialled may be asked more in this turn.
                if queue != Queue::Dialled {
                    self.driver.settle_if_dirty(slot);
                }
                let written = self.driver.conns.totals.octets_out - written;
                self.driver.budget.charge_bytes(written);
            }
        }
    }

    fn begin_budget(&mut self) {
        self.driver.conns.take_work();
        self.driver.budget = match self.driver.conns.network() {
            Network::System(_) => Budget::in_real_time(),
            Network::Memory { .. } => Budget::in_memory(),
        };
    }

    /// The service.
    pub(crate) fn service(&self) -> &S {
        &self.driver.service
    }

    /// The loop's connections.
    pub(crate) fn conns(&self) -> &Conns {
        &self.driver.conns
    }

    /// The same, to change them.
    pub(crate) fn conns_mut(&mut self) -> &mut Conns {
        &mut self.driver.conns
    }

    /// For loops in memory: begins a turn at `now`, by the simulator's clock.
    pub(crate) fn begin_turn_in_memory(&mut self, now: Instant) {
        let due = self.due(self.driver.conns.now());
        self.begin_turn(now, due);
    }

    /// For loops in memory: a connection from `peer`, with TLS or without. It waits for room or is closed, like any other, if its
    /// client may not have it.
    pub(crate) fn accept_in_memory(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        tls: Option<TlsSession>,
    ) {
        self.acceptors
            .accept_in_memory(socket, peer, tls, &mut self.driver);
    }

    /// How many connections wait for another loop to make room.
    pub(crate) fn parked(&self) -> usize {
        self.acceptors.parked()
    }

    fn tick(&mut self, something_happened: bool) {
        let now = self.driver.conns.now();
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            self.driver.call(|service, conns| service.tick(conns, now));
            self.held_back.make_memory(&mut self.driver);
            self.driver.settle_dirty();
        }
        if (something_happened || !self.held_back.is_empty()) && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
    }
}
