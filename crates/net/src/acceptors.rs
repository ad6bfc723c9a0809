//! The listeners of a worker, and which of the connections that come in are let in.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Interest, Registry, Token};
use tidegate_ledger::{Client, ClientKey, Refusal, Resource};

use crate::admission::{Account, Whose};
use crate::driver::Driver;
use crate::listener::BACKLOG;
use crate::memory_socket::MemorySocket;
use crate::socket::Socket;
use crate::tls_session::TlsSession;
use crate::transport::Transport;
use crate::{Listener, Options, Security, Service};

/// Connections that one turn accepts from one listener at most.
const ACCEPT_AT_ONCE: usize = 64;

/// Rounds of these that take a whole queue, and some more for those that come in meanwhile.
const ALL: usize = 2 * (BACKLOG as usize) / ACCEPT_AT_ONCE;

/// How long to leave a listener alone when the system has no file descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection waits for another worker to make room for it, and how often it asks whether there is some.
const PARKED_FOR: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// Connections of a worker that may wait for that. Each has a descriptor that no account has; the system keeps the others.
const PARKED: usize = 8;

/// The connections that the system keeps for a listener until they are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    /// There may be some.
    MayHaveSome,
    /// There is none until an event says so.
    Empty,
    /// Left alone until then: the system, or this worker, had no room for another connection.
    LeftUntil(Instant),
}

/// The warning that a listener can't accept connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warning {
    Due,
    /// Once is enough until it can again.
    Given,
}

/// Tokens of listeners count down from this one, those of connections count up from 0.
const FIRST_TOKEN: usize = usize::MAX - 2;

/// Tokens that are kept for listeners.
const TOKENS: usize = 1 << 16;

/// A listener, and whether there may be connections to accept.
struct Acceptor {
    listener: Listener,
    queue: Queue,
    warning: Warning,
}

impl Acceptor {
    fn new(listener: Listener) -> Self {
        Self {
            listener,
            queue: Queue::MayHaveSome,
            warning: Warning::Due,
        }
    }

    /// Whether the next turn needn't wait for an event.
    fn can_go_on(&self) -> bool {
        self.queue == Queue::MayHaveSome
    }

    /// An event says that connections wait, or they are to be looked for.
    fn look(&mut self) {
        if self.queue == Queue::Empty {
            self.queue = Queue::MayHaveSome;
        }
    }

    /// Until when it is left alone.
    fn left_until(&self) -> Option<Instant> {
        match self.queue {
            Queue::LeftUntil(until) => Some(until),
            Queue::MayHaveSome | Queue::Empty => None,
        }
    }

    /// The next connection, if there is one.
    ///
    /// # Errors
    /// The connection is gone again already, or the system has no file descriptor or memory for another one.
    fn accept(&mut self) -> io::Result<Option<(Socket, SocketAddr)>> {
        match self.listener.accept() {
            Ok((socket, peer)) => Ok(Some((Socket::Tcp(socket), peer))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.queue = Queue::Empty;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The system has no descriptor or memory for another connection.
    fn pause(&mut self, now: Instant, error: &io::Error) {
        let addr = self.listener.local_addr();
        if self.takes_warning() {
            warn!("can't accept connections on {addr} for now: {error}");
        }
        self.queue = Queue::LeftUntil(now + ACCEPT_PAUSE);
    }

    /// Whether to warn that it can't accept; not again until it can.
    fn takes_warning(&mut self) -> bool {
        std::mem::replace(&mut self.warning, Warning::Given) == Warning::Due
    }
}

/// A connection that was taken from the system, or that a simulator has made.
struct Newcomer {
    socket: Socket,
    peer: SocketAddr,
    door: Door,
    /// How long it may wait for room.
    until: Instant,
}

/// Where a newcomer came in.
enum Door {
    /// The listener of this number.
    Listener(usize),
    /// The memory of a simulator, with TLS or without.
    Memory(Option<Box<TlsSession>>),
}

/// What becomes of a newcomer.
enum Admission {
    Granted(Account),
    /// There is no room, and another worker has connections of this client.
    Elsewhere(Arc<Client>),
    Refused,
}

/// The listeners of a worker.
pub(crate) struct Acceptors {
    /// Empty once a graceful end has begun.
    acceptors: Vec<Acceptor>,
    /// Connections that wait for another worker to make room.
    parked: Vec<Newcomer>,
    /// The ledger's number when this worker last made room for others.
    requests_for_room: u64,
}

impl Acceptors {
    /// Has the events of these listeners come.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        registry: &Registry,
        options: &Options,
    ) -> io::Result<Self> {
        let mut acceptors = Vec::new();
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.set_notsent_lowat(options.notsent_lowat)?;
            let token = Token(FIRST_TOKEN - index);
            registry.register(&mut listener.socket, token, Interest::READABLE)?;
            acceptors.push(Acceptor::new(listener));
        }
        Ok(Self {
            acceptors,
            parked: Vec::new(),
            requests_for_room: options.ledger.requests_for_room(),
        })
    }

    /// Notes an event. Returns whether it is about a listener.
    pub(crate) fn note(&mut self, token: Token) -> bool {
        let Some(index) = FIRST_TOKEN.checked_sub(token.0) else {
            return false;
        };
        if let Some(acceptor) = self.acceptors.get_mut(index) {
            acceptor.look();
        }
        index < TOKENS
    }

    /// When the next turn is due at the latest, if no connection is there to accept.
    pub(crate) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let pauses = self.acceptors.iter().filter_map(Acceptor::left_until);
        let asks_again = (!self.parked.is_empty()).then(|| now + ASK_AGAIN);
        pauses.chain(asks_again).min()
    }

    /// Whether the next turn needn't wait for an event.
    pub(crate) fn can_go_on(&self) -> bool {
        self.acceptors.iter().any(Acceptor::can_go_on)
    }

    /// How many connections wait for another worker to make room.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Accepts what waits, and lets those in that there is room for.
    pub(crate) fn accept(&mut self, driver: &mut Driver<impl Service>) {
        self.make_room_for_others(driver);
        self.ask_again(driver);
        for index in 0..self.acceptors.len() {
            self.accept_from(index, driver);
        }
    }

    fn accept_from(&mut self, index: usize, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        for _ in 0..ACCEPT_AT_ONCE {
            let acceptor = &mut self.acceptors[index];
            if acceptor.left_until().is_some_and(|until| until <= now) {
                acceptor.queue = Queue::MayHaveSome;
            }
            if !acceptor.can_go_on() {
                return;
            }
            if self.parked.len() >= PARKED {
                acceptor.queue = Queue::LeftUntil(now + ASK_AGAIN);
                return;
            }
            match acceptor.accept() {
                Ok(Some((socket, peer))) => {
                    let newcomer = Newcomer {
                        socket,
                        peer,
                        door: Door::Listener(index),
                        until: now + PARKED_FOR,
                    };
                    self.let_in(newcomer, driver);
                }
                Ok(None) => return,
                Err(error) if is_about_one_connection(&error) => {}
                // Such as EMFILE. Who waits is not known yet; whoever it is, an idle connection is less to lose.
                Err(_) if driver.make_room(None, Whose::Larger) => {}
                Err(error) => {
                    // The listener stays ready, so waiting must not depend on another event, and trying again at once would only
                    // burn time.
                    return acceptor.pause(now, &error);
                }
            }
        }
    }

    /// A graceful end begins. Accepts all that waits, for the system would reset it, and closes the listeners.
    pub(crate) fn close(&mut self, driver: &mut Driver<impl Service>) {
        for acceptor in &mut self.acceptors {
            acceptor.look();
        }
        for _ in 0..ALL {
            self.accept(driver);
            if !self.can_go_on() {
                break;
            }
        }
        self.acceptors.clear();
        self.parked.clear();
    }

    /// Those that wait for another worker to make room ask again.
    fn ask_again(&mut self, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        for newcomer in std::mem::take(&mut self.parked) {
            if newcomer.until <= now {
                self.refuse(&newcomer, driver);
            } else {
                self.let_in(newcomer, driver);
            }
        }
    }

    /// For loops in memory: a connection from `peer`, with TLS or without.
    pub(crate) fn accept_in_memory(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        tls: Option<TlsSession>,
        driver: &mut Driver<impl Service>,
    ) {
        let newcomer = Newcomer {
            socket: Socket::Memory(socket),
            peer,
            door: Door::Memory(tls.map(Box::new)),
            until: driver.conns.now() + PARKED_FOR,
        };
        self.let_in(newcomer, driver);
    }

    /// Lets a connection in, has it wait for room, or closes it.
    fn let_in(&mut self, newcomer: Newcomer, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        let account = match admit(newcomer.peer, driver) {
            Admission::Granted(account) => account,
            Admission::Elsewhere(client) => {
                // Once for each: whoever is closed for it, it stays in the queue.
                if newcomer.until == now + PARKED_FOR {
                    client.ask_for_room();
                }
                return self.parked.push(newcomer);
            }
            Admission::Refused => return self.refuse(&newcomer, driver),
        };
        let (socket, peer) = (newcomer.socket, newcomer.peer);
        let (tls, local) = match newcomer.door {
            Door::Listener(index) => {
                let Some(acceptor) = self.acceptors.get_mut(index) else {
                    // A graceful end has begun.
                    return;
                };
                acceptor.warning = Warning::Due;
                let tls = match &acceptor.listener.security {
                    Security::Plain => None,
                    Security::Tls(config) => match TlsSession::server(config.rustls(), now) {
                        Ok(session) => Some(Box::new(session)),
                        Err(error) => {
                            warn!("can't begin TLS with {peer}: {error}");
                            return;
                        }
                    },
                };
                (tls, acceptor.listener.local_addr())
            }
            Door::Memory(tls) => (tls, SocketAddr::new(peer.ip(), 80)),
        };
        let local = socket.local_addr().unwrap_or(local);
        driver.register_accepted(Transport { socket, tls }, account, peer, local);
    }

    /// There is no room for a connection: it is closed, by being dropped.
    fn refuse(&mut self, newcomer: &Newcomer, driver: &mut Driver<impl Service>) {
        driver.conns.totals.refused += 1;
        debug!("{}: refused: no room for its connection", newcomer.peer);
        let open = driver.options.ledger.used(Resource::Connections);
        if let Door::Listener(index) = newcomer.door
            && let Some(acceptor) = self.acceptors.get_mut(index)
            && acceptor.takes_warning()
        {
            warn!(
                "{open} connections are open, and a client that has its share, or finds no room, is refused another"
            );
        }
    }

    /// Another worker has asked for room: idle connections of the clients that it has asked for make it.
    fn make_room_for_others(&mut self, driver: &mut Driver<impl Service>) {
        let requests = driver.options.ledger.requests_for_room();
        if std::mem::replace(&mut self.requests_for_room, requests) == requests {
            return;
        }
        for client in driver.conns.largest() {
            // Who has nothing to close leaves the request to the others.
            while let Some(slot) = driver.conns.least_to_lose(Some(client.key()), Whose::Own) {
                if !client.take_request_for_room() {
                    break;
                }
                driver.close_idle(slot);
            }
        }
    }
}

/// What a connection from `peer` takes of its client's account, if that may have another one. Where there is no room, the
/// connection that is the least to lose makes it.
fn admit(peer: SocketAddr, driver: &mut Driver<impl Service>) -> Admission {
    let now = driver.conns.now();
    let client = driver.options.ledger.client(ClientKey::from(peer.ip()));
    let refusal = match Account::open(client.clone(), now) {
        Ok(account) => return Admission::Granted(account),
        Err(Refusal::Share | Refusal::ClientLimit) if driver.is_proxy(peer) => {
            return Admission::Granted(Account::open_for_proxy(client, now));
        }
        Err(refusal) => refusal,
    };
    let whose = Whose::from(refusal);
    if driver.make_room(Some(client.key()), whose)
        && let Ok(account) = Account::open(client.clone(), now)
    {
        return Admission::Granted(account);
    }
    let from = match whose {
        Whose::Own => Some(client),
        Whose::Larger => driver.options.ledger.largest(Resource::Connections),
    };
    match from {
        Some(client) if driver.conns.has_elsewhere(&client) => Admission::Elsewhere(client),
        _ => Admission::Refused,
    }
}

/// Whether an error of `accept` says nothing about the listener: the connection was gone before it was accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
