//! Connections that come in: which are let in, and which make room for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, warn};
use mio::{Interest, Token};
use tidegate_http::ErrorCode;
use tidegate_ledger::{Client, ClientKey, Refusal, Resource};

use super::EventLoop;
use crate::admission::Account;
use crate::conn::{Conn, Phase};
use crate::listener::BACKLOG;
use crate::memory::MemorySocket;
use crate::socket::Socket;
use crate::tls_session::TlsSession;
use crate::transport::Transport;
use crate::{ConnInfo, End, Listener, Origin, Security, Service};

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

/// A listener, and whether there may be connections to accept.
pub(super) struct Accepting {
    pub(super) listener: Listener,
    queue: Queue,
    warning: Warning,
}

impl Accepting {
    pub(super) fn new(listener: Listener) -> Self {
        Self {
            listener,
            queue: Queue::MayHaveSome,
            warning: Warning::Due,
        }
    }

    /// Whether the next turn needn't wait for an event.
    pub(super) fn can_go_on(&self) -> bool {
        self.queue == Queue::MayHaveSome
    }

    /// An event says that connections wait, or they are to be looked for.
    pub(super) fn look(&mut self) {
        if self.queue == Queue::Empty {
            self.queue = Queue::MayHaveSome;
        }
    }

    /// Until when it is left alone.
    pub(super) fn left_until(&self) -> Option<Instant> {
        match self.queue {
            Queue::LeftUntil(until) => Some(until),
            Queue::MayHaveSome | Queue::Empty => None,
        }
    }

    /// Whether to warn that it can't accept; not again until it can.
    fn takes_warning(&mut self) -> bool {
        std::mem::replace(&mut self.warning, Warning::Given) == Warning::Due
    }
}

/// Whose connections may make room for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those of the same client only: it has its share.
    Own,
    /// Those of clients that have more than it, too.
    Larger,
}

impl From<Refusal> for Whose {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exhausted => Self::Larger,
            Refusal::Share | Refusal::ClientLimit => Self::Own,
        }
    }
}

/// A connection that was taken from the system, or that a simulator has made.
pub(super) struct Newcomer {
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

impl<S: Service> EventLoop<S> {
    pub(super) fn accept(&mut self) {
        self.ask_again();
        let now = self.conns.now();
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPT_AT_ONCE {
                let accepting = &mut self.listeners[index];
                if accepting.left_until().is_some_and(|until| until <= now) {
                    accepting.queue = Queue::MayHaveSome;
                }
                if !accepting.can_go_on() {
                    break;
                }
                if self.parked.len() >= PARKED {
                    accepting.queue = Queue::LeftUntil(now + ASK_AGAIN);
                    break;
                }
                let result = accepting.listener.accept();
                let (socket, peer) = match result {
                    Ok(accepted) => accepted,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        accepting.queue = Queue::Empty;
                        break;
                    }
                    // The connection is gone again already: on to the next.
                    Err(error) if is_about_one_connection(&error) => continue,
                    Err(error) => {
                        // Such as EMFILE. Who waits is not known yet; whoever it is, an idle connection is less to lose.
                        if self.make_room(None, Whose::Larger) {
                            continue;
                        }
                        // The listener stays ready, so waiting must not depend on another event, and trying again at
                        // once would only burn time.
                        self.pause(index, &error);
                        break;
                    }
                };
                let newcomer = Newcomer {
                    socket: Socket::Tcp(socket),
                    peer,
                    door: Door::Listener(index),
                    until: now + PARKED_FOR,
                };
                self.welcome(newcomer);
            }
        }
    }

    /// Accepts all that waits: the listeners are about to be closed, and the system would reset it.
    pub(super) fn accept_all(&mut self) {
        for accepting in &mut self.listeners {
            accepting.look();
        }
        for _ in 0..ALL {
            self.accept();
            if !self.listeners.iter().any(Accepting::can_go_on) {
                return;
            }
        }
    }

    /// Those that wait for another worker to make room ask again.
    fn ask_again(&mut self) {
        let now = self.conns.now();
        for newcomer in std::mem::take(&mut self.parked) {
            if newcomer.until <= now {
                self.refuse(&newcomer);
            } else {
                self.welcome(newcomer);
            }
        }
    }

    /// Lets a connection in, has it wait for room, or closes it.
    fn welcome(&mut self, newcomer: Newcomer) {
        let now = self.conns.now();
        let account = match self.admit(newcomer.peer) {
            Admission::Granted(account) => account,
            Admission::Elsewhere(client) => {
                // Once for each: whoever is closed for it, it stays in the queue.
                if newcomer.until == now + PARKED_FOR {
                    client.ask_for_room();
                }
                return self.parked.push(newcomer);
            }
            Admission::Refused => return self.refuse(&newcomer),
        };
        let (socket, peer) = (newcomer.socket, newcomer.peer);
        let (tls, local) = match newcomer.door {
            Door::Listener(number) => {
                let Some(accepting) = self.listeners.get_mut(number) else {
                    // A graceful end has begun.
                    return;
                };
                accepting.warning = Warning::Due;
                let tls = match &accepting.listener.security {
                    Security::Plain => None,
                    Security::Tls(config) => match TlsSession::server(config.rustls(), now) {
                        Ok(session) => Some(Box::new(session)),
                        Err(error) => {
                            warn!("can't begin TLS with {peer}: {error}");
                            return;
                        }
                    },
                };
                (tls, accepting.listener.local_addr())
            }
            Door::Memory(tls) => (tls, SocketAddr::new(peer.ip(), 80)),
        };
        let local = match &socket {
            Socket::Tcp(socket) => socket.local_addr().unwrap_or(local),
            Socket::Memory(_) => local,
        };
        self.register_accepted(Transport { socket, tls }, account, peer, local);
    }

    /// There is no room for a connection: it is closed, by being dropped.
    fn refuse(&mut self, newcomer: &Newcomer) {
        self.conns.totals.refused += 1;
        debug!("{}: refused: no room for its connection", newcomer.peer);
        let open = self.options.ledger.used(Resource::Connections);
        if let Door::Listener(number) = newcomer.door
            && let Some(accepting) = self.listeners.get_mut(number)
            && accepting.takes_warning()
        {
            warn!(
                "{open} connections are open, and a client that has its share, or finds no room, is refused another"
            );
        }
    }

    /// When those that wait for room are to ask again.
    pub(super) fn next_admission(&self, now: Instant) -> Option<Instant> {
        (!self.parked.is_empty()).then(|| now + ASK_AGAIN)
    }

    /// Another worker has asked for room: idle connections of the clients that it has asked for make it.
    pub(super) fn make_room_for_others(&mut self) {
        let requests = self.options.ledger.requests_for_room();
        if std::mem::replace(&mut self.requests_for_room, requests) == requests {
            return;
        }
        for client in self.conns.largest() {
            // Who has nothing to close leaves the request to the others.
            while let Some(slot) = self.conns.least_to_lose(Some(client.key()), Whose::Own) {
                if !client.take_request_for_room() {
                    break;
                }
                self.close_idle(slot);
            }
        }
    }

    /// The system has no descriptor or memory for another connection.
    fn pause(&mut self, index: usize, error: &io::Error) {
        let now = self.conns.now();
        let accepting = &mut self.listeners[index];
        let addr = accepting.listener.local_addr();
        if accepting.takes_warning() {
            warn!("can't accept connections on {addr} for now: {error}");
        }
        accepting.queue = Queue::LeftUntil(now + ACCEPT_PAUSE);
    }

    /// What a connection from `peer` takes of its client's account, if that may have another one. Where there is no room, the
    /// connection that is the least to lose makes it.
    fn admit(&mut self, peer: SocketAddr) -> Admission {
        let now = self.conns.now();
        let client = self.options.ledger.client(ClientKey::from(peer.ip()));
        let refusal = match Account::open(client.clone(), now) {
            Ok(account) => return Admission::Granted(account),
            Err(Refusal::Share | Refusal::ClientLimit) if self.is_proxy(peer) => {
                return Admission::Granted(Account::open_for_proxy(client, now));
            }
            Err(refusal) => refusal,
        };
        let whose = Whose::from(refusal);
        if self.make_room(Some(client.key()), whose)
            && let Ok(account) = Account::open(client.clone(), now)
        {
            return Admission::Granted(account);
        }
        let from = match whose {
            Whose::Own => Some(client),
            Whose::Larger => self.options.ledger.largest(Resource::Connections),
        };
        match from {
            Some(client) if self.conns.has_elsewhere(&client) => Admission::Elsewhere(client),
            _ => Admission::Refused,
        }
    }

    /// Whether connections from there begin with a PROXY protocol header.
    fn is_proxy(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut proxies = self.options.proxy_protocol_from.iter();
        proxies.any(|net| net.contains(&ip))
    }

    /// Whether the service counts the requests from there.
    fn makes_requests_for_others(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut peers = self.options.makes_requests_for_others.iter();
        peers.any(|net| net.contains(&ip))
    }

    /// Closes the connection that is the least to lose for a newcomer. Returns whether there was one.
    pub(super) fn make_room(&mut self, newcomer: Option<ClientKey>, whose: Whose) -> bool {
        let slot = self.conns.least_to_lose(newcomer, whose);
        if let Some(slot) = slot {
            self.close_idle(slot);
        }
        slot.is_some()
    }

    /// What a handshake has brought is more than the client may hold: the connection that is the least to lose makes room, which may
    /// be the same one. Returns whether the handshake may go on, or is gone.
    pub(super) fn make_room_for_handshake(&mut self, slot: u32, refusal: Refusal) -> bool {
        let now = self.conns.now();
        let client = self.conns.client_of(slot);
        if !self.make_room(client, Whose::from(refusal)) {
            return false;
        }
        let conn = self.conns.get(slot);
        conn.is_none_or(|conn| conn.settle_account(now).is_ok())
    }

    fn close_idle(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.set_end(End::MadeRoom);
        if let Some(engine) = &mut conn.engine {
            // A last word: no request was lost, and the next belongs on another connection.
            engine.abort(ErrorCode::NO_ERROR);
            let _ = self.transmit(slot);
        }
        self.conns.totals.made_room += 1;
        self.cut_off(slot, End::MadeRoom);
    }

    /// The PROXY header has told whose connection it is. Returns whether that client may have it.
    pub(super) fn rekey(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.get(slot) else {
            return false;
        };
        let peer = conn.info.peer;
        let key = ClientKey::from(peer.ip());
        let client = self.options.ledger.client(key);
        self.leave_requests_of(slot, peer);
        if self.conns.client_of(slot) == Some(key) {
            return true;
        }
        if let Err(refusal) = client.check(Resource::Connections, 1) {
            // In the sum nothing changes.
            let may_come = refusal == Refusal::Exhausted || self.make_room(Some(key), Whose::Own);
            if !may_come {
                self.conns.totals.refused += 1;
                debug!("{peer}: refused: {refusal}");
                return false;
            }
        }
        self.conns.transfer(slot, &client);
        true
    }

    /// It is known whose the connection is: the service counts its requests, if it makes them for others.
    fn leave_requests_of(&mut self, slot: u32, peer: SocketAddr) {
        if self.makes_requests_for_others(peer)
            && let Some(conn) = self.conns.get(slot)
            && let Some(account) = &mut conn.account
        {
            account.leave_requests();
        }
    }

    /// A connection that was accepted.
    fn register_accepted(
        &mut self,
        transport: Transport,
        account: Account,
        peer: SocketAddr,
        local: SocketAddr,
    ) {
        let now = self.conns.now();
        let info = ConnInfo {
            origin: Origin::Accepted,
            peer,
            local,
            via: None,
            tls: None,
            began_at: now,
        };
        let timeout = self.options.handshake_timeout;
        let deadline = (!timeout.is_zero()).then(|| now + timeout);
        let id = self
            .conns
            .insert(|id| Conn::accepted(id, info, transport, account, deadline));
        self.conns.totals.accepted += 1;
        let is_proxy = self.is_proxy(peer);
        if !is_proxy {
            self.leave_requests_of(id.slot, peer);
        }
        let Some(conn) = self.conns.get(id.slot) else {
            return;
        };
        if is_proxy {
            conn.phase = Phase::ProxyHeader;
        }
        let token = Token(id.slot as usize);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = match &mut conn.transport.socket {
            Socket::Tcp(socket) => self.poll.registry().register(socket, token, interest),
            Socket::Memory(_) => Ok(()),
        };
        match registered {
            Ok(()) => self.rearm(id.slot),
            Err(error) => self.cut_off(id.slot, End::Io(error)),
        }
    }

    /// For loops in memory: a connection from `peer`, with TLS or without. It waits for room or is closed, like any other, if its
    /// client may not have it.
    pub(crate) fn accept_in_memory(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        tls: Option<TlsSession>,
    ) {
        let newcomer = Newcomer {
            socket: Socket::Memory(socket),
            peer,
            door: Door::Memory(tls.map(Box::new)),
            until: self.conns.now() + PARKED_FOR,
        };
        self.welcome(newcomer);
    }

    /// For loops in memory: how many connections wait for another loop to make room.
    pub(crate) fn parked(&self) -> usize {
        self.parked.len()
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
