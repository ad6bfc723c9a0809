//! The consequences of a used-up budget of the guard: a pause, the end, or a drain for a client's
//! connection.
//!
//! Harmless frames are accepted, but then no more input for a while. TCP slows the peer down, the
//! rest of the connection goes on, and an honest peer that was only busy never notices.

use tidegate_http::{Role, Violation};

use crate::conn::Connection;
use crate::guard::PAUSE;

impl Connection {
    /// Handles the charge for a harmless frame: if it was too much, the next frame has to wait.
    ///
    /// # Errors
    /// Returns the violation if pauses don't help and the connection must end.
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

    /// Charges the peer for a stream that it made us reset.
    ///
    /// # Errors
    /// Returns the violation if that happened too often and the connection must end.
    pub(super) fn charge_own_reset(&mut self) -> Result<(), Violation> {
        let charged = self.guard.own_reset(self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// Charges the peer for resetting a stream that it opened, or for opening one too many.
    ///
    /// # Errors
    /// As for [`charge_own_reset`](Self::charge_own_reset).
    pub(super) fn charge_peer_reset(&mut self) -> Result<(), Violation> {
        let charged = self.guard.peer_reset(self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// Charges the client for cancelling a push.
    ///
    /// # Errors
    /// As for [`charge_own_reset`](Self::charge_own_reset).
    pub(super) fn charge_push_cancelled(&mut self) -> Result<(), Violation> {
        let charged = self.guard.push_cancelled(self.stats.pushes_out, self.now);
        charged.or_else(|violation| self.give_up(violation))
    }

    /// Charges the peer for a frame without effect, because its stream is over.
    ///
    /// # Errors
    /// As for [`tolerate`](Self::tolerate).
    pub(super) fn charge_closed_stream(&mut self) -> Result<(), Violation> {
        let charged = self.guard.closed_stream(self.streams_opened(), self.now);
        self.tolerate(charged)
    }

    /// Charges the client for a priority signal, which `streams_opened` may justify.
    ///
    /// # Errors
    /// As for [`tolerate`](Self::tolerate).
    pub(super) fn charge_priority(&mut self, streams_opened: u64) -> Result<(), Violation> {
        let charged = self.guard.priority(streams_opened, self.now);
        self.tolerate(charged)
    }

    /// Returns how many streams both ends have opened: they justify frames about them.
    pub(super) fn streams_opened(&self) -> u64 {
        self.stats.requests + self.stats.pushes_out
    }

    /// Acts on a budget that is used up for good. A server closes the connection. A client's
    /// connection carries requests of many users: it takes no new ones, and those that are open may
    /// finish at a slower pace.
    #[cold]
    fn give_up(&mut self, violation: Violation) -> Result<(), Violation> {
        if self.role == Role::Server {
            return Err(violation);
        }
        self.pause();
        self.drain(violation);
        Ok(())
    }

    /// Takes no input for a while. Bytes that the peer sends meanwhile don't count as late. Returns
    /// whether there are pauses left.
    fn pause(&mut self) -> bool {
        self.timers.postpone(PAUSE);
        self.guard.pause(self.now)
    }
}
