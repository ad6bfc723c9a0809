//! The way in which other threads reach a worker.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mio::{Registry, Token, Waker};

use crate::reconfiguration::Reconfiguration;

/// A command from another thread.
pub(crate) enum Command<M> {
    Message(M),
    Reconfigure(Box<Reconfiguration<M>>),
    ShutDown,
    Stop,
}

/// A handle to a worker, for any thread. Clones reach the same worker.
pub struct Mailbox<M> {
    commands: Sender<Command<M>>,
    waker: Arc<Waker>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            waker: Arc::clone(&self.waker),
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// Makes a mailbox that wakes the loop of `registry` by an event with `token`, and the end that
    /// the worker reads.
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
    ) -> io::Result<(Self, Receiver<Command<M>>)> {
        let (commands, receiver) = mpsc::channel();
        let waker = Arc::new(Waker::new(registry, token)?);
        Ok((Self { commands, waker }, receiver))
    }

    /// Sends a message to [`Service::message`](crate::Service::message). Returns `false` if the
    /// worker is gone.
    pub fn send(&self, message: M) -> bool {
        self.post(Command::Message(message))
    }

    /// Replaces the worker's settings and listeners. The worker takes all of it at once, between
    /// two events. Returns `false` if the worker is gone.
    pub fn reconfigure(&self, to: Reconfiguration<M>) -> bool {
        self.post(Command::Reconfigure(Box::new(to)))
    }

    /// Begins a graceful end: no new connections, GOAWAY on all, and open streams finish. A second
    /// call changes nothing.
    pub fn shut_down(&self) {
        self.post(Command::ShutDown);
    }

    /// Ends the worker at once and cuts open connections off.
    pub fn stop(&self) {
        self.post(Command::Stop);
    }

    /// Returns what wakes the worker up.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    fn post(&self, command: Command<M>) -> bool {
        // The command comes first: a worker that wakes up must find it.
        self.commands.send(command).is_ok() && self.waker.wake().is_ok()
    }
}
