//! The memory that the connection holds, and whether it may hold more.

use std::sync::Arc;

use tidegate_http::engine::{LOOK_AGAIN_AFTER, head_size};
use tidegate_http::{Fields, Role};
use tidegate_ledger::Client;

use crate::conn::Connection;
use crate::conn::timer::Timer;
use crate::flow::Share;
use crate::memory::STREAM;
use crate::stream::Stream;

/// Memory, for owners: who pays for it, and how much it is.
impl Connection {
    /// Bills the connection's memory to this client from now on, in the ledger of
    /// [`Config::memory_budget`](crate::Config::memory_budget). Before, and if the client is of
    /// another ledger, it is nobody's.
    pub fn bill(&mut self, client: &Arc<Client>) {
        self.memory.holding.bill(client);
    }

    /// Sets the bytes held for the connection outside of its engine: input that was read already,
    /// bytes that the socket hasn't taken, TLS.
    pub fn note_outside(&mut self, bytes: u64) {
        self.memory.holding.note_outside(bytes);
    }

    /// Returns the bytes that the connection holds: heads of requests in progress, the head that is
    /// kept in case that it comes again, bodies not consumed, bytes that wait to be sent, those of
    /// [`Connection::note_outside`], and a little for each stream. A client's connection adds what
    /// its server may send.
    pub fn held_bytes(&self) -> u64 {
        let partial = self
            .blocks
            .partial
            .as_ref()
            .map_or(0, |partial| partial.block.len());
        let held = self.streams.len() as u64 * STREAM
            + self.memory.heads
            + self.memory.streamed
            + self.recv_window.unconsumed()
            + (self.control.len() + partial + self.blocks.kept()) as u64
            + self.memory.holding.outside();
        match self.role {
            Role::Server => held,
            // RFC 9113 §5.2.2: "Failure to read promptly could lead to a deadlock", so a client
            // always reads.
            Role::Client => held + self.recv_window.allowed(),
        }
    }
}

impl Connection {
    /// Whether there is memory for more input.
    pub(super) fn has_memory(&self) -> bool {
        self.role == Role::Client || self.memory.holding.has_room()
    }

    /// Server: whether there is memory for a request whose head counts `head`. If so, it is
    /// counted.
    pub(super) fn admit_request(&mut self, stream: &mut Stream, head: u32) -> bool {
        let has_room = self.memory.holding.admit(STREAM + u64::from(head));
        if has_room {
            stream.recv.head = head;
            self.memory.heads += u64::from(head);
        }
        has_room
    }

    /// Whether there is memory for the trailers of a stream's message. If so, those of a request
    /// are counted, like its head. Those of a response are limited, like its head, by the number of
    /// requests.
    pub(super) fn admit_trailers(&mut self, slot: usize, fields: &Fields) -> bool {
        let size = head_size(fields);
        if self.role == Role::Client {
            return true;
        }
        if !self.memory.holding.admit(size.into()) {
            return false;
        }
        let recv = &mut self.streams.get_mut(slot).recv;
        recv.head += size;
        self.memory.heads += u64::from(size);
        true
    }

    /// Client: whether there is memory for a response, on this client's account or else on the
    /// connection's.
    pub(super) fn admit_response(
        &mut self,
        stream: &mut Stream,
        client: Option<&Arc<Client>>,
    ) -> bool {
        stream.bill = client
            .and_then(|client| self.memory.holding.bill_for(client))
            .map(Box::new);
        let allowed = u64::from(stream.share(self.window_shift()).allowed);
        self.memory.admit(stream, STREAM + allowed)
    }

    /// Whether a stream's share may grow to `after`.
    pub(super) fn may_lend(&mut self, slot: usize, after: Share) -> bool {
        let stream = self.streams.get_mut(slot);
        let before = stream.recv.share();
        match self.role {
            Role::Server => {
                let lent = self.recv_window.lent_with(before, after);
                self.memory.holding.lend(lent)
            }
            Role::Client => {
                let more = u64::from(after.allowed).saturating_sub(before.allowed.into());
                self.memory.admit(stream, more)
            }
        }
    }

    /// Updates the budget with the bytes held and lent. `transmit` does that; an owner that doesn't
    /// call it, because its transport takes nothing now, calls this after new input.
    pub fn settle_memory(&mut self) {
        let held = self.held_bytes() - self.memory.billed;
        self.memory.holding.settle(held);
        if self.role == Role::Server {
            self.memory.holding.settle_lent(self.recv_window.lent());
        }
        if !self.has_memory() {
            self.timers
                .set_if_unset(Timer::Memory, self.now, LOOK_AGAIN_AFTER);
        }
    }
}
