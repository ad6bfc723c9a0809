//! A loop on sockets in memory: the real loop, with a network and a clock that a simulator plays.
//!
//! A [`MemoryLoop`] is an [`EventLoop`] that asks the system for nothing. The bytes of its
//! connections come out of [`MemorySocket`]s and go in there, as late and in pieces as small as the
//! simulator likes, and each turn is given the time. The same calls lead to the same turns.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use mio::{Poll, Token};

use crate::conn::Conn;
use crate::event_loop::EventLoop;
use crate::memory_socket::{Dialled, MemorySocket};
use crate::network::Network;
use crate::ready::Ready;
use crate::tls_session::TlsSession;
use crate::{Conns, Options, Protocols, Service, TlsAcceptorConfig};

/// A loop whose sockets are in memory.
pub struct MemoryLoop<S: Service> {
    inner: EventLoop<S>,
}

impl<S: Service> MemoryLoop<S> {
    /// Makes a loop that begins at `now`. A dialled connection buffers up to `capacity` bytes each
    /// way.
    ///
    /// # Errors
    /// As for [`EventLoop::new`].
    pub fn new(options: Options, service: S, capacity: usize, now: Instant) -> io::Result<Self> {
        let network = Network::Memory {
            dialled: Vec::new(),
            capacity,
        };
        // This poll is never asked for events.
        let inner = EventLoop::on(network, Poll::new()?, Vec::new(), options, service, now)?;
        Ok(Self { inner })
    }

    /// Accepts a client's connection from `peer`, in cleartext. It begins at the time of the last
    /// turn.
    pub fn accept(&mut self, socket: MemorySocket, peer: SocketAddr) {
        self.inner.accept_in_memory(socket, peer, None);
    }

    /// Accepts a client's connection like [`MemoryLoop::accept`], over TLS.
    ///
    /// # Errors
    /// Returns the error of rustls, for example if there are no random numbers.
    pub fn accept_tls(
        &mut self,
        socket: MemorySocket,
        peer: SocketAddr,
        config: &TlsAcceptorConfig,
        now: Instant,
    ) -> Result<(), rustls::Error> {
        let session = TlsSession::server(config.choice(Protocols::Both), now)?;
        self.inner.accept_in_memory(socket, peer, Some(session));
        Ok(())
    }

    /// Returns the connections that were dialled since the last call.
    pub fn dialled(&mut self) -> Vec<Dialled> {
        match self.inner.conns_mut().network() {
            Network::Memory { dialled, .. } => std::mem::take(dialled),
            Network::System(_) => Vec::new(),
        }
    }

    /// Returns the number of connections that wait for another loop to make room.
    pub fn parked(&self) -> usize {
        self.inner.parked()
    }

    /// Takes a turn at `now`. Returns whether the loop goes on.
    pub fn turn(&mut self, now: Instant) -> bool {
        self.inner.begin_turn_in_memory(now);
        let mut has_events = false;
        for slot in self.inner.conns().slots() {
            let conn = self.inner.conns_mut().get(slot);
            let ready = conn.map_or(Ready::default(), Conn::take_readiness);
            if ready != Ready::default() {
                has_events = true;
                self.inner.note(Token(slot as usize), ready);
            }
        }
        self.inner.take_turn(has_events)
    }

    /// Returns when the next turn is due at the latest, whatever the sockets do; `now` if the loop
    /// has work left.
    pub fn next_turn(&self, now: Instant) -> Option<Instant> {
        self.inner.next_turn(now)
    }

    /// Begins a graceful end.
    pub fn shut_down(&mut self) {
        self.inner.shut_down();
    }

    /// Returns the service.
    pub fn service(&self) -> &S {
        self.inner.service()
    }

    /// Returns the loop's connections.
    pub fn conns(&self) -> &Conns {
        self.inner.conns()
    }
}
