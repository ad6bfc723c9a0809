//! One listener of a worker, and the state of its queue.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::warn;

use crate::Listener;
use crate::socket::Socket;

/// The time for which a listener is left alone when the system has no file descriptor or memory for
/// another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The system's queue of connections to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The queue may have some.
    MayHaveSome,
    /// The queue is empty until an event says otherwise.
    Empty,
    /// The queue is left alone until then, because the system or this worker had no room.
    LeftUntil(Instant),
}

/// The warning that a listener can't accept connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    Due,
    /// The warning was given. One is enough until the listener accepts again.
    Given,
}

/// A listener, and the state of its queue.
pub(crate) struct Acceptor {
    pub(crate) listener: Listener,
    pub(crate) queue: Queue,
    pub(crate) warning: Warning,
}

impl Acceptor {
    pub(crate) fn new(listener: Listener) -> Self {
        Self {
            listener,
            queue: Queue::MayHaveSome,
            warning: Warning::Due,
        }
    }

    /// Whether the next turn needn't wait for an event.
    pub(crate) fn can_go_on(&self) -> bool {
        self.queue == Queue::MayHaveSome
    }

    /// Notes that connections may wait.
    pub(crate) fn look(&mut self) {
        if self.queue == Queue::Empty {
            self.queue = Queue::MayHaveSome;
        }
    }

    /// Returns until when the listener is left alone.
    pub(crate) fn left_until(&self) -> Option<Instant> {
        match self.queue {
            Queue::LeftUntil(until) => Some(until),
            Queue::MayHaveSome | Queue::Empty => None,
        }
    }

    /// Accepts the next connection, if there is one.
    ///
    /// # Errors
    /// Returns an error if that connection is gone again already, or if the system has no file
    /// descriptor or memory for it.
    pub(crate) fn accept(&mut self) -> io::Result<Option<(Socket, SocketAddr)>> {
        match self.listener.accept() {
            Ok(accepted) => Ok(Some(accepted)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.queue = Queue::Empty;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves the listener alone for a while, because the system has no descriptor or memory for
    /// another connection.
    pub(crate) fn pause(&mut self, now: Instant, error: &io::Error) {
        let addr = self.listener.local_addr();
        if self.takes_warning() {
            warn!("can't accept connections on {addr} for now: {error}");
        }
        self.queue = Queue::LeftUntil(now + ACCEPT_PAUSE);
    }

    /// Whether to warn that the listener can't accept. Warns once until it can.
    pub(crate) fn takes_warning(&mut self) -> bool {
        std::mem::replace(&mut self.warning, Warning::Given) == Warning::Due
    }
}
