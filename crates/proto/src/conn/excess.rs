//! What follows when a budget of the guard is used up: a pause, the end, or for a client's
//! connection a slow one.
//!
//! Frames that do no harm are taken all the same, and then no more input for a while: TCP holds the
//! peer up, whatever else is on the connection goes on, and an honest peer that was only busy never
//! learns of it.

use crate::conn::{Connection, Role};
use crate::error::Violation;
use crate::guard::PAUSE;

impl Connection {
    /// A harmless frame was charged: if that was too much, the next one has to wait.
    ///
    /// # Errors
    /// The violation, if pauses don't help and the connection must end.
    pub(super) fn tolerate(&mut self, charged: Result<(), Violation>) -> Result<(), Violation> {
        match charged {
            Ok(()) => Ok(()),
            Err(violation) => self.slow_down(violation),
        }
    }

    #[cold]
    fn slow_down(&mut self, violation: Violation) -> Result<(), Violation> {
        if self.pause() {
            return Ok(());
        }
        self.give_up(violation)
    }

    /// The peer made us reset a stream.
    ///
    /// # Errors
    /// The violation, if it did so too often and the connection must end.
    pub(super) fn charge_own_reset(&mut self) -> Result<(), Violation> {
        let charged = self.guard.own_reset(self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// The peer reset a stream that it opened, or opened one too many.
    ///
    /// # Errors
    /// As [`charge_own_reset`](Self::charge_own_reset).
    pub(super) fn charge_peer_reset(&mut self) -> Result<(), Violation> {
        let charged = self.guard.peer_reset(self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// The client cancelled a push.
    ///
    /// # Errors
    /// As [`charge_own_reset`](Self::charge_own_reset).
    pub(super) fn charge_push_cancelled(&mut self) -> Result<(), Violation> {
        let charged = self.guard.push_cancelled(self.stats.pushes_out, self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// A frame came to nothing, since its stream is over.
    ///
    /// # Errors
    /// As [`tolerate`](Self::tolerate).
    pub(super) fn charge_closed_stream(&mut self) -> Result<(), Violation> {
        let charged = self.guard.closed_stream(self.streams_opened(), self.now);
        self.tolerate(charged)
    }

    /// A priority signal, which `streams_opened` may justify.
    ///
    /// # Errors
    /// As [`tolerate`](Self::tolerate).
    pub(super) fn charge_priority(&mut self, streams_opened: u64) -> Result<(), Violation> {
        let charged = self.guard.priority(streams_opened, self.now);
        self.tolerate(charged)
    }

    /// Streams that either end has opened so far: what justifies frames about them.
    pub(super) fn streams_opened(&self) -> u64 {
        self.stats.requests + self.stats.pushes_out
    }

    /// A budget is used up for good. A server cuts the client off. A client's connection carries
    /// requests of many, so that it takes no more of them, and those that are open may finish while
    /// the server is held up.
    #[cold]
    fn give_up(&mut self, violation: Violation) -> Result<(), Violation> {
        if self.role == Role::Server {
            return Err(violation);
        }
        self.pause();
        self.drain(violation);
        Ok(())
    }

    /// Takes no input for a while. What the peer has sent meanwhile is no less in time. Whether it
    /// may have one more pause.
    fn pause(&mut self) -> bool {
        self.timers.postpone(PAUSE);
        self.guard.pause(self.now)
    }
}
