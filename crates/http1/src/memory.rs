//! What the connection holds, and whether it may hold more.

use std::sync::Arc;
use std::time::Duration;

use tidegate_ledger::Client;
use tidegate_proto::{Fields, Role};

use crate::connection::Connection;
use crate::exchange::More;

/// Bytes that count for a request beside its head and body.
const EXCHANGE: u64 = 1 << 10;

/// How often a request's head counts: here it is not kept, but its owner may do so, and make another one of it.
const HEADS: usize = 2;

/// How long until a connection without memory for more input looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What a request's head counts.
pub(crate) fn head_size(fields: &Fields) -> u64 {
    (fields.memory() * HEADS) as u64
}

/// For owners: who pays for the memory, and how much it is.
impl Connection {
    /// From now on what the connection holds counts as this client's in the ledger of
    /// [`Config::memory_budget`](tidegate_proto::Config::memory_budget). Before, and if the client is of another ledger, it is
    /// nobody's.
    pub fn bill(&mut self, client: &Arc<Client>) {
        self.holding.bill(client);
    }

    /// Tells how many bytes are held for the connection outside of its engine: input that was read along, what the socket
    /// hasn't taken, TLS.
    pub fn note_outside(&mut self, bytes: u64) {
        self.holding.note_outside(bytes);
    }

    /// How many bytes the connection holds: the head and what was not consumed of the present request, what waits to be sent,
    /// and what [`Connection::note_outside`] told.
    pub fn held_bytes(&self) -> u64 {
        let exchange = self.exchange.as_ref().map_or(0, |exchange| {
            // A whole body may be shared with others.
            let written = match exchange.send.more {
                More::End => 0,
                More::Ask | More::Asked => exchange.send.pending.len(),
            };
            EXCHANGE + exchange.head + (exchange.recv.unconsumed + written) as u64
        });
        exchange + self.control.len() as u64 + self.holding.outside()
    }
}

impl Connection {
    /// Whether there is memory for a request or response more, whose head counts `head`.
    pub(crate) fn admit(&mut self, head: u64) -> bool {
        let held = self.held_bytes() + EXCHANGE + head;
        match self.role {
            Role::Server => self.holding.admit(held),
            Role::Client => self.holding.admit_for_all(held),
        }
    }

    /// Whether so many bytes more may wait to be sent.
    pub(crate) fn has_room_for(&mut self, bytes: usize) -> bool {
        let held = self.held_bytes() + bytes as u64;
        self.holding.admit(held)
    }

    /// Brings what is held into the budget. `transmit` does so; an owner that doesn't call that, since its transport takes
    /// nothing now, calls this after what has come in.
    pub fn settle_memory(&mut self) {
        let held = self.held_bytes();
        self.holding.settle(held);
        if self.role == Role::Server && !self.holding.has_room() {
            self.look_again_at
                .get_or_insert(self.now + LOOK_AGAIN_AFTER);
        }
    }
}
