//! The memory that the connection holds, and whether it may hold more.

use std::sync::Arc;

use tidegate_http::engine::{LOOK_AGAIN_AFTER, More, Phase};
use tidegate_http::{Bill, Misuse, Role};
use tidegate_ledger::Client;

use crate::connection::Connection;
use crate::exchange::Exchange;

/// The bytes that count for a request beside its head and body.
const EXCHANGE: u64 = 1 << 10;

/// Memory, for owners: who pays for it, and how much it is.
impl Connection {
    /// Bills the connection's memory to this client from now on, in the ledger of
    /// [`Config::memory_budget`](tidegate_http::Config::memory_budget). Before, and if the client
    /// is of another ledger, it is nobody's.
    pub fn bill(&mut self, client: &Arc<Client>) {
        self.holding.bill(client);
    }

    /// Sets the bytes held for the connection outside of its engine: input that was read already,
    /// bytes that the socket hasn't taken, TLS.
    pub fn note_outside(&mut self, bytes: u64) {
        self.holding.note_outside(bytes);
    }

    /// Returns the bytes that the connection holds: the head and the unconsumed body of the current
    /// request, bytes that wait to be sent, and those of [`Connection::note_outside`]. A client's
    /// connection adds what its server may send.
    pub fn held_bytes(&self) -> u64 {
        self.exchange_bytes() + self.other_bytes()
    }

    /// Returns the part of those bytes that belongs to the current request.
    fn exchange_bytes(&self) -> u64 {
        let Some(exchange) = &self.exchange else {
            return 0;
        };
        // A complete body may be shared with others.
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

    /// Returns the other part of those bytes.
    fn other_bytes(&self) -> u64 {
        self.control.len() as u64 + self.holding.outside()
    }

    /// Returns the bytes of a response that are read before its owner consumes more. They are
    /// counted before they arrive, as by HTTP/2: a response that was asked for must not use up the
    /// memory of others.
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

    /// Client: reserves memory for a response, on this client's account or else on the
    /// connection's. Returns the client's bill, if it has one.
    ///
    /// # Errors
    /// Returns [`Misuse::OverMemoryBudget`] if there is no memory.
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

    /// Updates the budget with the bytes held. `transmit` does that; an owner that doesn't call it,
    /// because its transport takes nothing now, calls this after new input.
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
