//! A loop on sockets in memory: the real loop, with a network and a clock that a simulator plays.
//!
//! A [`MemoryLoop`] is an [`EventLoop`] that never asks the system for anything. What its connections write comes out of
//! [`MemorySocket`]s, what they are to read goes in there, as late and in pieces as small as the simulator likes, and each turn is
//! told the time. The same calls give the same turns.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::{Poll, Token};

use crate::event_loop::EventLoop;
use crate::memory_socket::{Dialled, MemorySocket};
use crate::network::Network;
use crate::ready::Ready;
use crate::tls_session::TlsSession;
use crate::{Conns, Options, Service, TlsAcceptorConfig};

/// A loop whose sockets are in memory.
pub struct MemoryLoop<S: Service> {
    inner: EventLoop<S>,
}

impl<S: Service> MemoryLoop<S> {
    /// A loop that begins at `now`. A connection that is dialled takes up to `capacity` octets each way.
    ///
    /// # Errors
    /// Those of [`EventLoop::new`].
    pub fn new(options: Options, service: S, capacity: usize, now: Instant) -> io::Result<Self> {
        let network = Network::Memory {
            dialled: Vec::new(),
            capacity,
        };
        // The system is never asked what it has for this poll.
        let inner = EventLoop::on(network, Poll::new()?, Vec::new(), options, service, now)?;
        Ok(Self { inner })
    }

    /// A client connects in cleartext, from `peer`. It begins at the time of the last turn.
    pub fn accept(&mut self, socket: MemorySocket, peer: SocketAddr) {
        self.inner.accept_in_memory(socket, peer, None);
    }

    /// The same over TLS.
    ///
    /// # Errors
    /// What rustls says, such as that there are no random numbers.
    pub fn accept_tls(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        config: &TlsAcceptorConfig,
        now: Instant,
    ) -> Result<(), rustls::Error> {
        let session = TlsSession::server(config.rustls(), now)?;
        self.inner.accept_in_memory(socket, peer, Some(session));
        Ok(())
    }

    /// What was dialled since the last call.
    pub fn dialled(&mut self) -> Vec<Dialled> {
        match self.inner.conns_mut().network() {
            Network::Memory { dialled, .. } => std::mem::take(dialled),
            Network::System(_) => Vec::new(),
        }
    }

    /// How many connections wait for another loop to make room for them.
    pub fn parked(&self) -> usize {
        self.inner.parked()
    }

    /// Lets the loop do what there is to do. Returns whether it has not ended.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.inner.begin_turn_in_memory(now);
        let mut has_events = false;
        for slot in self.inner.conns().slots() {
            let conn = self.inner.conns_mut().get(slot);
            let ready = conn.map_or(Ready::default(), |conn| conn.take_readiness());
            if ready != Ready::default() {
                has_events = true;
                self.inner.note(Token(slot as usize), ready);
            }
        }
        self.inner.take_turn(has_events)
    }

    /// When the next turn is due at the latest, whatever the sockets do; `now` when it has work left.
    pub fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.inner.next_turn(now)
    }

    /// Begins a graceful end.
    pub fn shut_down(&mut self) {
        self.inner.shut_down();
    }

    /// The service.
    pub fn service(&self) -> &S {
        self.inner.service()
    }

    /// The loop's connections.
    pub fn conns(&self) -> &Conns {
        self.inner.conns()
    }
}
