//! How other threads reach a worker.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mio::{Registry, Token, Waker};

/// What a worker finds in its mailbox.
pub(crate) enum Letter<M> {
    Message(M),
    ShutDown,
    Stop,
}

/// Reaches a worker from any thread. Clones reach the same worker.
pub struct Mailbox<M> {
    letters: Sender<Letter<M>>,
    waker: Arc<Waker>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            letters: self.letters.clone(),
            waker: Arc::clone(&self.waker),
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// A mailbox that wakes the loop of `registry` by an event with `token`, and the end that the worker reads.
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
    ) -> io::Result<(Self, Receiver<Letter<M>>)> {
        let (letters, receiver) = mpsc::channel();
        let waker = Arc::new(Waker::new(registry, token)?);
        Ok((Self { letters, waker }, receiver))
    }

    /// Sends a message; [`Service::message`](crate::Service::message) gets it. Returns `false` if the worker is gone.
    pub fn send(&self, message: M) -> bool {
        self.post(Letter::Message(message))
    }

    /// Asks for a graceful end: no new connections, GOAWAY on all, open streams finish. A second call changes nothing.
    pub fn shut_down(&self) {
        self.post(Letter::ShutDown);
    }

    /// Asks for an end at once: what is open is cut off.
    pub fn stop(&self) {
        self.post(Letter::Stop);
    }

    /// What wakes the worker up.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    fn post(&self, letter: Letter<M>) -> bool {
        // The letter first: a worker that wakes up must find it.
        self.letters.send(letter).is_ok() && self.waker.wake().is_ok()
    }
}
