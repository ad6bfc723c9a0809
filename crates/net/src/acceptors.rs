//! The listeners of a worker, and the admission of new connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Registry, Token};
use slab::Slab;
use tidegate_ledger::{Client, ClientKey, Refusal, Resource};

use crate::acceptor::{Acceptor, Queue, Warning};
use crate::admission::{Account, Whose};
use crate::driver::Driver;
use crate::listener::BACKLOG;
use crate::memory_socket::MemorySocket;
use crate::socket::Socket;
use crate::tls_session::TlsSession;
use crate::transport::Transport;
use crate::{Listener, Listening, Options, Protocols, Security, Service};

/// The most connections that one turn accepts from one listener.
const ACCEPT_AT_ONCE: usize = 64;

/// Rounds of [`ACCEPT_AT_ONCE`] that take a whole queue, and the connections that arrive meanwhile.
const ALL: usize = 2 * (BACKLOG as usize) / ACCEPT_AT_ONCE;

/// How long a connection waits for another worker to make room, and how often it asks again.
const PARKED_FOR: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// The most connections of a worker that may wait for that. Each has a descriptor that is in no
/// account; the system keeps the others.
const PARKED: usize = 8;

/// The token of the first listener. Those of the others count down, and those of connections count
/// up from 0.
const FIRST_TOKEN: usize = usize::MAX - 2;

/// Tokens that are reserved for listeners.
const TOKENS: usize = 1 << 16;

/// A connection that was accepted from the system, or that a simulator made.
struct Newcomer {
    socket: Socket,
    peer: SocketAddr,
    door: Door,
    /// When it is refused, unless there is room before.
    until: Instant,
}

/// The way in which a newcomer arrived.
enum Door {
    /// A listener's, with what it had at that time: the listener may be gone, or changed, when the
    /// newcomer finds room.
    Listener {
        key: usize,
        security: Security,
        protocols: Protocols,
        addr: SocketAddr,
    },
    /// A simulator's memory, perhaps with TLS.
    Memory(Option<Box<TlsSession>>),
}

/// The fate of connections that come while [`PARKED`] wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TooMany {
    /// The system keeps them for a while.
    Left,
    /// Those that find no room are refused, because the listener closes: the system would reset all
    /// that it still has, and others may find room.
    Refused,
}

/// The decision about a newcomer.
enum Admission {
    Granted(Account),
    /// There is no room, and another worker has connections of this client.
    Elsewhere(Arc<Client>),
    Refused(Refusal),
}

/// The listeners of a worker.
pub(crate) struct Acceptors {
    /// Empty once a graceful end has begun.
    acceptors: Slab<Acceptor>,
    /// All keys of `acceptors` are below this.
    keys: usize,
    /// Connections that wait for another worker to make room.
    parked: Vec<Newcomer>,
    /// The ledger's number at the time when this worker last made room for others.
    requests_for_room: u64,
}

impl Acceptors {
    /// Registers these listeners.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        registry: &Registry,
        options: &Options,
    ) -> io::Result<Self> {
        let mut acceptors = Self {
            acceptors: Slab::new(),
            keys: 0,
            parked: Vec::new(),
            requests_for_room: options.ledger.requests_for_room(),
        };
        for listener in listeners {
            acceptors.add(listener, registry, options)?;
        }
        Ok(acceptors)
    }

    fn add(
        &mut self,
        listener: Listener,
        registry: &Registry,
        options: &Options,
    ) -> io::Result<()> {
        listener.set_notsent_lowat(options.notsent_lowat)?;
        let entry = self.acceptors.vacant_entry();
        listener.register(registry, Token(FIRST_TOKEN - entry.key()))?;
        self.keys = self.keys.max(entry.key() + 1);
        entry.insert(Acceptor::new(listener));
        Ok(())
    }

    /// Replaces the listeners. Those that are taken away accept everything that waits, and close.
    pub(crate) fn replace(
        &mut self,
        wanted: Vec<Listening>,
        registry: &Registry,
        driver: &mut Driver<impl Service>,
    ) {
        let mut kept = Vec::new();
        let mut added = Vec::new();
        for listening in wanted {
            match listening {
                Listening::Kept(addr, security, protocols) => {
                    kept.push((addr, security, protocols));
                }
                Listening::New(listener) => added.push(listener),
            }
        }
        let mut others = Vec::new();
        for (key, acceptor) in &mut self.acceptors {
            let addr = acceptor.listener.local_addr();
            match kept.iter().find(|(kept, ..)| *kept == addr) {
                Some((_, security, protocols)) => {
                    acceptor.listener.security = security.clone();
                    acceptor.listener.protocols = *protocols;
                    let lowat = driver.options.notsent_lowat;
                    if let Err(error) = acceptor.listener.set_notsent_lowat(lowat) {
                        warn!("{addr}: can't set --notsent-lowat: {error}");
                    }
                }
                None => others.push(key),
            }
        }
        self.take_away(others, registry, driver);
        for listener in added {
            let addr = listener.local_addr();
            if let Err(error) = self.add(listener, registry, &driver.options) {
                warn!("can't accept connections on {addr}: {error}");
            }
        }
    }

    /// Notes an event. Returns whether it is about a listener.
    pub(crate) fn note(&mut self, token: Token) -> bool {
        let Some(key) = FIRST_TOKEN.checked_sub(token.0) else {
            return false;
        };
        if let Some(acceptor) = self.acceptors.get_mut(key) {
            acceptor.look();
        }
        key < TOKENS
    }

    /// Returns when the next turn is due at the latest, if no connection is there to accept.
    pub(crate) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        let acceptors = self.acceptors.iter();
        let pauses = acceptors.filter_map(|(_, acceptor)| acceptor.left_until());
        let asks_again = (!self.parked.is_empty()).then(|| now + ASK_AGAIN);
        pauses.chain(asks_again).min()
    }

    /// Whether the next turn needn't wait for an event.
    pub(crate) fn can_go_on(&self) -> bool {
        let mut acceptors = self.acceptors.iter();
        acceptors.any(|(_, acceptor)| acceptor.can_go_on())
    }

    /// Returns the number of connections that wait for another worker to make room.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Accepts the connections that wait and admits those that there is room for.
    pub(crate) fn accept(&mut self, driver: &mut Driver<impl Service>) {
        self.make_room_for_others(driver);
        self.ask_again(driver);
        for key in 0..self.keys {
            self.accept_from(key, TooMany::Left, driver);
        }
    }

    fn accept_from(&mut self, key: usize, too_many: TooMany, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        for _ in 0..ACCEPT_AT_ONCE {
            let Some(acceptor) = self.acceptors.get_mut(key) else {
                return;
            };
            if acceptor.left_until().is_some_and(|until| until <= now) {
                acceptor.queue = Queue::MayHaveSome;
            }
            if !acceptor.can_go_on() {
                return;
            }
            if self.parked.len() >= PARKED && too_many == TooMany::Left {
                acceptor.queue = Queue::LeftUntil(now + ASK_AGAIN);
                return;
            }
            match acceptor.accept() {
                Ok(Some((socket, peer))) => {
                    let newcomer = Newcomer {
                        socket,
                        peer,
                        door: Door::Listener {
                            key,
                            security: acceptor.listener.security.clone(),
                            protocols: acceptor.listener.protocols,
                            addr: acceptor.listener.local_addr(),
                        },
                        until: now + PARKED_FOR,
                    };
                    self.admit_or_park(newcomer, driver);
                    if self.parked.len() > PARKED
                        && let Some(last) = self.parked.pop()
                    {
                        self.refuse(&last, Refusal::Exhausted, driver);
                    }
                }
                Ok(None) => return,
                Err(error) if is_about_one_connection(&error) => {}
                // For example EMFILE. It isn't known which client waits, but an idle connection is
                // the lesser loss in any case.
                Err(_) if driver.make_room(None, Whose::Larger) => {}
                Err(error) => {
                    // The listener stays ready, so waiting must not depend on another event, and
                    // trying again at once would only burn time.
                    return acceptor.pause(now, &error);
                }
            }
        }
    }

    /// Begins a graceful end: accepts everything that waits, because the system would reset it, and
    /// closes the listeners.
    pub(crate) fn close(&mut self, registry: &Registry, driver: &mut Driver<impl Service>) {
        let keys: Vec<usize> = self.acceptors.iter().map(|(key, _)| key).collect();
        self.take_away(keys, registry, driver);
        self.parked.clear();
    }

    /// Takes listeners away, after everything that waits there is accepted.
    fn take_away(
        &mut self,
        keys: Vec<usize>,
        registry: &Registry,
        driver: &mut Driver<impl Service>,
    ) {
        for key in keys {
            self.drain(key, driver);
            let acceptor = self.acceptors.remove(key);
            // Without this call, events of a socket that another process has too would go on.
            if let Err(error) = acceptor.listener.deregister(registry) {
                warn!("can't close {}: {error}", acceptor.listener.local_addr());
            }
        }
    }

    /// Accepts everything that waits at a listener.
    fn drain(&mut self, key: usize, driver: &mut Driver<impl Service>) {
        if let Some(acceptor) = self.acceptors.get_mut(key) {
            acceptor.queue = Queue::MayHaveSome;
        }
        for _ in 0..ALL {
            self.make_room_for_others(driver);
            self.ask_again(driver);
            self.accept_from(key, TooMany::Refused, driver);
            let acceptor = self.acceptors.get(key);
            if !acceptor.is_some_and(Acceptor::can_go_on) {
                break;
            }
        }
    }

    /// Asks again for those that wait for another worker to make room.
    fn ask_again(&mut self, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        for newcomer in std::mem::take(&mut self.parked) {
            if newcomer.until <= now {
                self.refuse(&newcomer, Refusal::Exhausted, driver);
            } else {
                self.admit_or_park(newcomer, driver);
            }
        }
    }

    /// Accepts a simulator's connection from `peer`, perhaps with TLS. Like any other it waits for
    /// room or is closed if its client may not have it.
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
        self.admit_or_park(newcomer, driver);
    }

    /// Admits a connection, lets it wait for room, or closes it.
    fn admit_or_park(&mut self, newcomer: Newcomer, driver: &mut Driver<impl Service>) {
        let now = driver.conns.now();
        let account = match admit(newcomer.peer, driver) {
            Admission::Granted(account) => account,
            Admission::Elsewhere(client) => {
                // Ask once for each newcomer. Whichever connection is closed for it, it stays
                // parked.
                if newcomer.until == now + PARKED_FOR {
                    client.ask_for_room();
                }
                return self.parked.push(newcomer);
            }
            Admission::Refused(why) => return self.refuse(&newcomer, why, driver),
        };
        let (socket, peer) = (newcomer.socket, newcomer.peer);
        let (tls, protocols, local) = match newcomer.door {
            Door::Listener {
                key,
                security,
                protocols,
                addr,
            } => {
                if let Some(acceptor) = self.acceptors.get_mut(key) {
                    acceptor.warning = Warning::Due;
                }
                let tls = match security {
                    Security::Plain => None,
                    Security::Tls(config) => {
                        match TlsSession::server(config.choice(protocols), now) {
                            Ok(session) => Some(Box::new(session)),
                            Err(error) => {
                                warn!("can't begin TLS with {peer}: {error}");
                                return;
                            }
                        }
                    }
                };
                (tls, protocols, addr)
            }
            Door::Memory(tls) => (tls, Protocols::Both, SocketAddr::new(peer.ip(), 80)),
        };
        let local = socket.local_addr().unwrap_or(local);
        let transport = (Transport { socket, tls }, protocols);
        driver.register_accepted(transport, account, peer, local);
    }

    /// Closes a connection, by dropping it, because there is no room.
    fn refuse(&mut self, newcomer: &Newcomer, why: Refusal, driver: &mut Driver<impl Service>) {
        driver.conns.totals.refused += 1;
        driver.conns.totals.refused_for_share += u64::from(why != Refusal::Exhausted);
        debug!("{}: refused: no room for its connection", newcomer.peer);
        let open = driver.options.ledger.used(Resource::Connections);
        if let Door::Listener { key, .. } = newcomer.door
            && let Some(acceptor) = self.acceptors.get_mut(key)
            && acceptor.takes_warning()
        {
            warn!(
                "{open} connections are open, and a client that has its share, or finds no room, is refused another"
            );
        }
    }

    /// Closes idle connections if another worker has asked their clients for room.
    fn make_room_for_others(&mut self, driver: &mut Driver<impl Service>) {
        let requests = driver.options.ledger.requests_for_room();
        if std::mem::replace(&mut self.requests_for_room, requests) == requests {
            return;
        }
        for client in driver.conns.largest() {
            // A worker that has nothing to close leaves the request to the others.
            while let Some(slot) = driver.conns.least_to_lose(Some(client.key()), Whose::Own) {
                if !client.take_request_for_room() {
                    break;
                }
                driver.close_idle(slot);
            }
        }
    }
}

/// Takes what a connection from `peer` needs of its client's account, if the client may have
/// another one. If there is no room, the connection with the least to lose makes it.
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
        _ => Admission::Refused(refusal),
    }
}

/// Whether an error of `accept` is about one connection, which was gone before it was accepted, and
/// not about the listener.
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
