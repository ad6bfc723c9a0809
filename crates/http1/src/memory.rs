//! What the connection holds, and whether it may hold more.

use std::sync::Arc;
use std::time::Duration;

use tidegate_ledger::Client;
use tidegate_proto::{Bill, Fields, Misuse, Role};

use crate::connection::Connection;
use crate::exchange::{Exchange, More, Phase};

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

    /// How many bytes the connection holds: the head and what was not consumed of the present
    /// request, what waits to be sent, and what [`Connection::note_outside`] told. A client's
    /// connection adds what its server may send.
    pub fn held_bytes(&self) -> u64 {
        self.exchange_bytes() + self.other_bytes()
    }

    /// Bytes of those that are the present request's.
    fn exchange_bytes(&self) -> u64 {
        let Some(exchange) = &self.exchange else {
            return 0;
        };
        // A whole body may be shared with others.
        let written = match exchange.send.more {
            More::End => 0,
            More::Ask | More::Asked => exchange.send.pending.len(),
        };
        let allowed = match self.role {
            Role::Server => 0,
            Role::Client => self.allowed(exchange),
        };
        EXCHANGE + exchange.head + (exchange.recv.unconsumed + written + allowed) as u64
    }

    /// The others.
    fn other_bytes(&self) -> u64 {
        self.control.len() as u64 + self.holding.outside()
    }

    /// Bytes of a response that are read before its owner consumes any more. They are counted
    /// before they come, as by HTTP/2: what was asked for is not to use up the memory of others.
    fn allowed(&self, exchange: &Exchange) -> usize {
        let recv = &exchange.recv;
        let window = self.window().saturating_sub(recv.unconsumed);
        match (recv.phase, recv.body.left()) {
            (Phase::Head, _) | (_, None) => window,
            (_, Some(left)) => usize::try_from(left).unwrap_or(usize::MAX).min(window),
        }
    }
}

impl Connection {
    /// Server: whether there is memory for a request whose head counts `head`.
    pub(crate) fn admit_request(&mut self, head: u64) -> bool {
        self.holding.admit(EXCHANGE + head)
    }

    /// Client: whether there is memory for a response, for this client, or else by the connection's
    /// account. Returns the client's bill then.
    ///
    /// # Errors
    /// [`Misuse::OverMemoryBudget`] if there is none.
    pub(crate) fn admit_response(
        &mut self,
        client: Option<&Arc<Client>>,
    ) -> Result<Option<Bill>, Misuse> {
        let more = EXCHANGE + self.window() as u64;
        let mut bill = client.and_then(|client| self.holding.bill_for(client));
        let has_room = match &mut bill {
            Some(bill) => bill.admit(more),
            None => self.holding.admit(more),
        };
        if has_room {
            Ok(bill)
        } else {
            Err(Misuse::OverMemoryBudget)
        }
    }

    /// Brings what is held into the budget. `transmit` does so; an owner that doesn't call that, since its transport takes
    /// nothing now, calls this after what has come in.
    pub fn settle_memory(&mut self) {
        let (of_exchange, other) = (self.exchange_bytes(), self.other_bytes());
        let exchange = self.exchange.as_mut();
        match exchange.and_then(|exchange| exchange.bill.as_mut()) {
            Some(bill) => {
                bill.settle(of_exchange);
                self.holding.settle(other);
            }
            None => self.holding.settle(of_exchange + other),
        }
        if self.role == Role::Server && !self.holding.has_room() {
            self.look_again_at
                .get_or_insert(self.now + LOOK_AGAIN_AFTER);
        }
    }
}
