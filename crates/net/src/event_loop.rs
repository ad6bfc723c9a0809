//! The loop of one worker thread.
//!
//! A turn of the loop:
//! 1. wait for events, and note them on the connections;
//! 2. accept connections;
//! 3. *serve* connections that are ready, a share of each queue (`turns.rs`): read once and hand
//!    the engine's events to the service. Dialled connections come first, so that an upstream's
//!    data is handled before it is asked for more;
//! 4. read the mailbox;
//! 5. *settle* each connection whose engine was used: let the engine fill the outbox, and write it
//!    at once. Clients that were served are settled immediately, so that their writes count in the
//!    turn's share;
//! 6. fire the timers and the service's own, and settle again. Everything that had arrived was read
//!    before, so a late worker doesn't blame a peer for its own delay.
//!
//! Each step is bounded, so that one connection costs the others little. What is left waits where
//! it is for the next turn.

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
use crate::mailbox::Command;
use crate::memory_socket::MemorySocket;
use crate::network::Network;
use crate::opening::Phase;
use crate::ready::Ready;
use crate::reconfiguration::Reconfiguration;
use crate::relief::HeldBack;
use crate::tls_session::TlsSession;
use crate::turns::{Budget, HANDSHAKE, Queue};
use crate::{Conns, Listener, Mailbox, Options, Service, TURN_BOUNDS};

/// The most commands that one turn reads.
const COMMANDS_AT_ONCE: usize = 64;

/// The time between calls of [`Service::tick`].
const TICK: Duration = Duration::from_secs(1);

const MAILBOX: Token = Token(usize::MAX - 1);

/// The loop of one worker thread.
pub struct EventLoop<S: Service> {
    poll: Poll,
    mailbox: Mailbox<S::Message>,
    commands: Receiver<Command<S::Message>>,
    /// Whether commands may be left from an earlier turn.
    has_commands: bool,
    acceptors: Acceptors,
    driver: Driver<S>,
    clock: LoopClock,
    stopped: bool,
    /// When to call `Service::tick`, if anything happened since the last call.
    next_tick: Option<Instant>,
    held_back: HeldBack,
}

impl<S: Service> EventLoop<S> {
    /// Makes a loop that serves the connections of these listeners.
    ///
    /// # Errors
    /// Returns the system's error if there is no epoll instance, if the sockets can't be
    /// registered, or if it refuses [`Options::notsent_lowat`].
    pub fn new(listeners: Vec<Listener>, options: Options, service: S) -> io::Result<Self> {
        let poll = Poll::new()?;
        let network = Network::System(poll.registry().try_clone()?);
        Self::on(network, poll, listeners, options, service, Instant::now())
    }

    /// Makes a loop on this network.
    pub(crate) fn on(
        network: Network,
        poll: Poll,
        listeners: Vec<Listener>,
        options: Options,
        mut service: S,
        now: Instant,
    ) -> io::Result<Self> {
        let (mailbox, commands) = Mailbox::new(poll.registry(), MAILBOX)?;
        let waker = mailbox.waker();
        options.ledger.add_waker(move || {
            // A loop that has ended needn't be woken.
            let _ = waker.wake();
        });
        service.started(&mailbox);
        let acceptors = Acceptors::new(listeners, poll.registry(), &options)?;
        let conns = Conns::new(network, Arc::clone(&options.ledger), now);
        Ok(Self {
            poll,
            mailbox,
            commands,
            has_commands: false,
            acceptors,
            driver: Driver::new(options, service, conns),
            clock: LoopClock::default(),
            stopped: false,
            next_tick: None,
            held_back: HeldBack::default(),
        })
    }

    /// Returns a handle with which other threads reach this worker.
    pub fn mailbox(&self) -> Mailbox<S::Message> {
        self.mailbox.clone()
    }

    /// Serves until the mailbox shuts the loop down or stops it. Returns the service.
    ///
    /// # Errors
    /// Returns the system's error if waiting for events fails. A working system doesn't do that.
    pub fn run(mut self) -> io::Result<S> {
        let mut events = Events::with_capacity(1024);
        let mut begun: Option<Instant> = None;
        loop {
            let system = Instant::now();
            let now = self.clock.at(system);
            if let Some(begun) = begun {
                let busy = system.saturating_duration_since(begun);
                self.driver.conns.totals.turns.turn(busy);
            }
            let due = self.due(now);
            let mut timeout = due.map(|at| at.saturating_duration_since(now));
            while let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
                // A signal may have stopped the process for a while. Data that arrived meanwhile
                // counts before timers fire.
                timeout = Some(Duration::ZERO);
            }
            let system = Instant::now();
            begun = Some(system);
            self.begin_turn(system, due);
            self.note_lateness(now, due);
            for readiness in &events {
                self.driver.conns.totals.turns.events += 1;
                self.note(readiness.token(), readiness.into());
            }
            if !self.take_turn(!events.is_empty()) {
                return Ok(self.driver.service);
            }
        }
    }

    /// For loops in memory: returns when the next turn is due at the latest; `now` if work is left.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.due(self.clock.at(now))
            .map(|due| self.clock.system(due))
    }

    /// Returns when the next turn is due at the latest, by the loop's clock; `now` if work is left.
    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.driver.turns.is_empty() || self.has_commands || self.acceptors.can_go_on() {
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

    /// Counts how late a turn is that was due after `asleep`.
    fn note_lateness(&mut self, asleep: Instant, due: Option<Instant>) {
        let now = self.driver.conns.now();
        if let Some(due) = due.filter(|due| *due > asleep && *due <= now) {
            let late = now - due;
            self.driver
                .conns
                .totals
                .turns
                .late
                .record(&TURN_BOUNDS, late);
        }
    }

    /// Takes a turn. Returns whether the loop goes on.
    pub(crate) fn take_turn(&mut self, has_events: bool) -> bool {
        self.acceptors.accept(&mut self.driver);
        self.serve_ready();
        self.read_commands();
        self.driver.settle_dirty();
        self.fire_timers();
        self.driver.settle_dirty();
        self.tick(has_events || !self.driver.turns.is_empty());
        let goes_on = !self.stopped && !self.driver.has_shut_down();
        if !goes_on {
            self.driver.stop();
        }
        goes_on
    }

    /// Notes an event.
    pub(crate) fn note(&mut self, token: Token, ready: Ready) {
        if token == MAILBOX {
            self.has_commands = true;
        } else if !self.acceptors.note(token) {
            self.driver.note(token.0 as u32, ready);
        }
    }

    fn read_commands(&mut self) {
        if !self.has_commands {
            return;
        }
        for _ in 0..COMMANDS_AT_ONCE {
            match self.commands.try_recv() {
                Ok(Command::Message(message)) => {
                    self.driver
                        .call(|service, conns| service.message(conns, message));
                }
                Ok(Command::Reconfigure(to)) => self.reconfigure(*to),
                Ok(Command::ShutDown) => self.shut_down(),
                Ok(Command::Stop) => self.stopped = true,
                // The loop has a sender itself, so the only reason is an empty mailbox.
                Err(_) => {
                    self.has_commands = false;
                    break;
                }
            }
        }
    }

    fn reconfigure(&mut self, to: Reconfiguration<S::Message>) {
        let Reconfiguration {
            options,
            listeners,
            message,
        } = to;
        self.driver.options = Options {
            ledger: Arc::clone(&self.driver.options.ledger),
            ..options
        };
        // A loop that ends takes no connections.
        if self.driver.shutdown_deadline.is_none() {
            self.acceptors
                .replace(listeners, self.poll.registry(), &mut self.driver);
        }
        // The service may report that all of it is in use.
        self.driver
            .call(|service, conns| service.message(conns, message));
    }

    pub(crate) fn shut_down(&mut self) {
        if self.driver.shutdown_deadline.is_some() {
            return;
        }
        let now = self.driver.conns.now();
        self.acceptors.close(self.poll.registry(), &mut self.driver);
        self.driver.shutdown_deadline = Some(now + self.driver.options.shutdown_timeout);
        info!(
            "shutting down: {} connections open",
            self.driver.conns.accepted()
        );
        for slot in self.driver.conns.slots() {
            self.driver.shut_down(slot);
        }
    }

    fn fire_timers(&mut self) {
        let now = self.driver.conns.now();
        if self.driver.timers.next().is_some_and(|at| at <= now) {
            self.fire_connections();
        }
        let due = self.driver.service.next_timeout();
        if due.is_some_and(|at| at <= now) {
            self.driver
                .call(|service, conns| service.handle_timeout(conns, now));
        }
    }

    fn fire_connections(&mut self) {
        let now = self.driver.conns.now();
        self.begin_budget();
        // Timers that are left fire in the next turn, which is due at once.
        while !self.driver.budget.is_used_up()
            && let Some(slot) = self.driver.timers.fire(now)
        {
            self.driver.budget.charge(1);
            let work = self.driver.conns.take_work();
            self.driver.budget.charge(work);
            self.driver.expire(slot);
        }
    }

    fn serve_ready(&mut self) {
        // Connections that join a queue meanwhile are for the next turn.
        for (queue, waiting) in Queue::ALL.map(|queue| (queue, self.driver.turns.len(queue))) {
            if waiting == 0 {
                continue;
            }
            self.begin_budget();
            for _ in 0..waiting {
                let Some(slot) = self.driver.turns.pop(queue) else {
                    break;
                };
                let Some(conn) = self.driver.conns.get(slot) else {
                    continue;
                };
                if self.driver.budget.is_used_up() && queue != Queue::Ending {
                    self.driver.turns.push_front(queue, slot);
                    break;
                }
                if !std::mem::take(&mut conn.is_ready) {
                    continue;
                }
                self.driver.budget.charge(match conn.phase() {
                    Phase::Handshake => HANDSHAKE,
                    _ => 1,
                });
                let written = self.driver.conns.totals.bytes_sent;
                self.driver.serve(slot);
                // The service may use dialled connections again in this turn.
                if matches!(queue, Queue::New | Queue::Again) {
                    self.driver.settle_if_dirty(slot);
                }
                let written = self.driver.conns.totals.bytes_sent - written;
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

    /// Returns the service.
    pub(crate) fn service(&self) -> &S {
        &self.driver.service
    }

    /// Returns the loop's connections.
    pub(crate) fn conns(&self) -> &Conns {
        &self.driver.conns
    }

    /// Returns the loop's connections, to change them.
    pub(crate) fn conns_mut(&mut self) -> &mut Conns {
        &mut self.driver.conns
    }

    /// For loops in memory: begins a turn at `now` of the simulator's clock.
    pub(crate) fn begin_turn_in_memory(&mut self, now: Instant) {
        let due = self.due(self.driver.conns.now());
        self.begin_turn(now, due);
    }

    /// For loops in memory: accepts a connection from `peer`, perhaps with TLS.
    pub(crate) fn accept_in_memory(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        tls: Option<TlsSession>,
    ) {
        self.acceptors
            .accept_in_memory(socket, peer, tls, &mut self.driver);
    }

    /// Returns the number of connections that wait for another loop to make room.
    pub(crate) fn parked(&self) -> usize {
        self.acceptors.parked()
    }

    fn tick(&mut self, something_happened: bool) {
        let now = self.driver.conns.now();
        if self.next_tick.is_some_and(|at| at <= now) {
            self.next_tick = None;
            self.driver.call(|service, conns| service.tick(conns, now));
            self.held_back.relieve(&mut self.driver);
            self.driver.settle_dirty();
        }
        if (something_happened || !self.held_back.is_empty()) && self.next_tick.is_none() {
            self.next_tick = Some(now + TICK);
        }
    }
}
