//! A request, from its beginning to its end.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tidegate_http::{KnownName, RequestHead, StreamId};
use tidegate_ledger::Client as Account;
use tidegate_net::{ConnId, Protocol};

use super::{Place, Pooled, RequestId};
use crate::endpoint::Class;
use crate::queue::{Client, Ticket};
use crate::replay::Outgoing;

/// A request.
pub(super) struct Request<K> {
    pub(super) id: RequestId,
    pub(super) key: K,
    pub(super) head: RequestHead,
    pub(super) outgoing: Outgoing,
    pub(super) is_conversation: bool,
    /// The client that asks, `None` for the pool's owner.
    pub(super) account: Option<Arc<Account>>,
    pub(super) place: Place,
    /// It is one of those that are outstanding there.
    pub(super) is_counted: bool,
    /// The connections that will do.
    pub(super) class: Class,
    /// Addresses that it can't go to.
    pub(super) failed: SmallVec<[usize; 4]>,
    pub(super) life: Life,
    pub(super) answer: Answer,
    /// The present stream has all of our message.
    pub(super) sent: bool,
    pub(super) retries: Retries,
    /// When it got on last.
    pub(super) moved_at: Instant,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Nowhere: it is being placed.
    Unplaced,
    /// The first part of its body is collected before it takes a place.
    Collecting,
    /// It waits for a place of its address.
    Waiting(Ticket),
    /// It holds a place: a stream of a connection.
    Sent {
        conn: ConnId,
        stream: StreamId,
        /// What the connection speaks.
        protocol: Protocol,
    },
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing of it is there.
    None,
    /// So many interim responses are.
    Interim(u32),
    /// The final one's head is.
    Begun,
    /// A tunnel was granted: both directions end by themselves.
    Tunnel,
    /// A tunnel whose upstream has ended its side.
    TunnelEnded,
}

/// How often a request was sent, and where it should not go again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retries {
    /// It was sent again.
    pub(super) is_spent: bool,
    /// The connection that refused it, or lost it.
    pub(super) refused_by: Option<ConnId>,
    /// It was lost when there were connections up to this number, and may be again on one of those.
    pub(super) newer_than: u64,
}

impl<K> Request<K> {
    /// The client that asks.
    pub(super) fn client(&self) -> Client {
        self.account.as_ref().map(|account| account.key())
    }

    /// Its stream, if it has one.
    pub(super) fn stream(&self) -> Option<(ConnId, StreamId)> {
        match self.life {
            Life::Sent { conn, stream, .. } => Some((conn, stream)),
            Life::Unplaced | Life::Collecting | Life::Waiting(_) => None,
        }
    }

    /// What the connection speaks that has its stream.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        match self.life {
            Life::Sent { protocol, .. } => Some(protocol),
            Life::Unplaced | Life::Collecting | Life::Waiting(_) => None,
        }
    }

    /// Whether its ends may have nothing to say for long. By HTTP/1.1 there is no gRPC, whatever a client says: that would be a way
    /// to hold connections.
    pub(super) fn may_be_silent(&self) -> bool {
        let is_conversation = self.is_conversation && self.protocol() == Some(Protocol::Http2);
        self.is_tunnel() || is_conversation
    }

    /// Notes an interim response, and returns how many have come.
    pub(super) fn note_interim(&mut self) -> u32 {
        let count = match self.answer {
            Answer::Interim(count) => count + 1,
            _ => 1,
        };
        self.answer = Answer::Interim(count);
        count
    }

    /// Whether something of the response has come.
    pub(super) fn is_heard(&self) -> bool {
        self.answer != Answer::None
    }

    /// Whether it was granted a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.answer, Answer::Tunnel | Answer::TunnelEnded)
    }

    pub(super) fn is_connect(&self) -> bool {
        self.head.method_bytes() == b"CONNECT"
    }

    /// Whether a body goes with it, perhaps. What goes through a tunnel is none.
    pub(super) fn has_body(&self) -> bool {
        self.outgoing.is_some() && !self.is_connect()
    }

    /// Whether the first part of its body is collected before the upstream gets anything of it: a client could else hold a place for as
    /// long as it likes with a body that doesn't come. What goes through a tunnel is for later, and so is what waits for an invitation
    /// (RFC 9110 §10.1.1).
    pub(super) fn may_be_collected(&self) -> bool {
        let awaits_invitation = self.head.get_known(KnownName::EXPECT).is_some();
        let is_streamed = matches!(self.outgoing, Outgoing::Stream(_));
        self.account.is_some() && is_streamed && !self.is_connect() && !awaits_invitation
    }

    /// Whether a connection is no choice for it, while there can be another.
    pub(super) fn avoids(&self, conn: ConnId, pooled: &Pooled) -> bool {
        self.retries.refused_by == Some(conn) || pooled.number < self.retries.newer_than
    }

    /// Whether a connection was lost with it.
    pub(super) fn was_lost(&self) -> bool {
        self.retries.newer_than > 0
    }
}
