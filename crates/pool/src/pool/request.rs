//! A request, and where it is in its life.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;
use tidegate_http::{KnownName, RequestHead, StreamId};
use tidegate_ledger::Client as Account;
use tidegate_net::{ConnId, Protocol};

use super::pooled::Pooled;
use crate::endpoint::Class;
use crate::ids::{Place, RequestId};
use crate::queue::{Client, Ticket};
use crate::replay::Outgoing;
use crate::trip::Going;

/// A request.
pub(super) struct Request<K> {
    pub(super) id: RequestId,
    pub(super) key: K,
    pub(super) head: Arc<RequestHead>,
    pub(super) outgoing: Outgoing,
    pub(super) is_conversation: bool,
    /// The client that the request is for; `None`: the pool's owner.
    pub(super) account: Option<Arc<Account>>,
    pub(super) place: Place,
    /// The connections that will do.
    pub(super) class: Class,
    pub(super) life: Life,
    pub(super) retries: Retries,
    /// When it last made progress.
    pub(super) moved_at: Instant,
    pub(super) trip: Going,
}

/// Where a request is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Without an address: the request is new, or has left the one that it had.
    Unplaced,
    /// Without an address while the first part of the body is collected.
    Collecting,
    /// At an address that counts the request, but neither in the queue there nor on a stream.
    Placed,
    /// In the queue of the address.
    Waiting(Ticket),
    /// On a stream, which takes a place of the address.
    Sent(Sent),
}

/// The stream of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) conn: ConnId,
    pub(super) stream: StreamId,
    /// The connection's protocol.
    pub(super) protocol: Protocol,
    pub(super) exchange: Exchange,
}

/// How far a request and its response have come. `is_whole`: the stream has got all of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// There is no final response yet.
    Asked {
        is_whole: bool,
        /// The number of interim responses.
        interim: u32,
    },
    /// The final response has begun.
    Answering { is_whole: bool },
    /// The upstream granted a tunnel, whose directions end independently.
    Tunnel { is_whole: bool },
    /// The upstream has ended its direction of the tunnel.
    TunnelFromUs,
    /// Both directions of the tunnel have ended.
    TunnelEnded,
}

/// Where a request has been, and where it shouldn't go again.
#[derive(Clone, Debug, Default)]
pub(super) struct Retries {
    /// Whether it was sent again.
    pub(super) is_spent: bool,
    /// The connection that refused or lost it.
    pub(super) refused_by: Option<ConnId>,
    /// The number of connections that had been opened when it was lost; 0 if it never was. Older
    /// ones might lose it too.
    pub(super) newer_than: u64,
    /// Addresses of the upstream that failed it.
    pub(super) failed: SmallVec<[usize; 4]>,
}

impl Exchange {
    /// Returns the state of a request that was just sent.
    pub(super) fn new(is_whole: bool) -> Self {
        Self::Asked {
            is_whole,
            interim: 0,
        }
    }

    /// Whether all of the request has been given to the stream.
    pub(super) fn is_whole(self) -> bool {
        match self {
            Self::Asked { is_whole, .. }
            | Self::Answering { is_whole }
            | Self::Tunnel { is_whole } => is_whole,
            Self::TunnelFromUs => false,
            Self::TunnelEnded => true,
        }
    }

    /// Whether any response has come, even an interim one.
    pub(super) fn is_answered(self) -> bool {
        !matches!(self, Self::Asked { interim: 0, .. })
    }

    /// Whether a tunnel was granted.
    pub(super) fn is_tunnel(self) -> bool {
        matches!(
            self,
            Self::Tunnel { .. } | Self::TunnelFromUs | Self::TunnelEnded
        )
    }

    /// Notes that the stream has got all of the request.
    pub(super) fn end_request(&mut self) {
        match self {
            Self::Asked { is_whole, .. }
            | Self::Answering { is_whole }
            | Self::Tunnel { is_whole } => *is_whole = true,
            Self::TunnelFromUs => *self = Self::TunnelEnded,
            Self::TunnelEnded => {}
        }
    }

    /// Notes an interim response. Returns how many have come.
    pub(super) fn count_interim(&mut self) -> u32 {
        match self {
            Self::Asked { interim, .. } => {
                *interim += 1;
                *interim
            }
            _ => 0,
        }
    }

    /// Notes the head of the final response.
    pub(super) fn begin_response(&mut self, opens_tunnel: bool) {
        let is_whole = self.is_whole();
        *self = if opens_tunnel {
            Self::Tunnel { is_whole }
        } else {
            Self::Answering { is_whole }
        };
    }

    /// Notes the end of the final response. Returns whether the request goes on, because our
    /// direction of a tunnel is open.
    pub(super) fn end_response(&mut self) -> bool {
        let goes_on = matches!(self, Self::Tunnel { is_whole: false } | Self::TunnelFromUs);
        if goes_on {
            *self = Self::TunnelFromUs;
        }
        goes_on
    }
}

impl<K> Request<K> {
    /// Returns the client that the request is for.
    pub(super) fn client(&self) -> Client {
        self.account.as_ref().map(|account| account.key())
    }

    /// Returns what is known of its stream, if it has one.
    pub(super) fn sent(&self) -> Option<&Sent> {
        match &self.life {
            Life::Sent(sent) => Some(sent),
            Life::Unplaced | Life::Collecting | Life::Placed | Life::Waiting(_) => None,
        }
    }

    /// Returns its stream, if it has one.
    pub(super) fn stream(&self) -> Option<(ConnId, StreamId)> {
        self.sent().map(|sent| (sent.conn, sent.stream))
    }

    /// Returns the protocol of the connection that has its stream.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.sent().map(|sent| sent.protocol)
    }

    /// Returns what of it and its response has been sent, if it has a stream.
    pub(super) fn exchange(&self) -> Option<Exchange> {
        self.sent().map(|sent| sent.exchange)
    }

    /// The same, to be changed.
    pub(super) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        match &mut self.life {
            Life::Sent(sent) => Some(&mut sent.exchange),
            Life::Unplaced | Life::Collecting | Life::Placed | Life::Waiting(_) => None,
        }
    }

    /// Notes that its stream has got all of the request.
    pub(super) fn end_request(&mut self) {
        if let Some(exchange) = self.exchange_mut() {
            exchange.end_request();
        }
    }

    /// Whether its stream has got all of the request.
    pub(super) fn is_whole(&self) -> bool {
        self.exchange().is_some_and(Exchange::is_whole)
    }

    /// Whether any response has come.
    pub(super) fn is_answered(&self) -> bool {
        self.exchange().is_some_and(Exchange::is_answered)
    }

    /// Whether it was granted a tunnel.
    pub(super) fn is_tunnel(&self) -> bool {
        self.exchange().is_some_and(Exchange::is_tunnel)
    }

    /// Whether long silences are normal. By HTTP/1.1 there is no gRPC, whatever a client says:
    /// otherwise clients could hold connections.
    pub(super) fn may_be_silent(&self) -> bool {
        let is_conversation = self.is_conversation && self.protocol() == Some(Protocol::Http2);
        self.is_tunnel() || is_conversation
    }

    pub(super) fn is_connect(&self) -> bool {
        self.head.method_bytes() == b"CONNECT"
    }

    /// Whether it waits for a tunnel by HTTP/1.1, which takes no data before it is granted.
    pub(super) fn awaits_http1_tunnel(&self) -> bool {
        self.protocol() == Some(Protocol::Http1) && self.is_connect() && !self.is_tunnel()
    }

    /// Whether it may have a body. The data in a tunnel is none.
    pub(super) fn has_body(&self) -> bool {
        self.outgoing.is_some() && !self.is_connect()
    }

    /// Whether asking twice is as good as asking once (RFC 9110 §9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        matches!(
            self.head.method_bytes(),
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
        )
    }

    /// Whether the first part of its body is collected before the upstream gets anything of it.
    /// Otherwise a client could hold a place for as long as it likes with a body that doesn't come.
    /// Data for a tunnel comes later, and so does a body that waits for an invitation
    /// (RFC 9110 §10.1.1).
    pub(super) fn may_be_collected(&self) -> bool {
        let awaits_invitation = self.head.get_known(KnownName::EXPECT).is_some();
        let is_streamed = matches!(self.outgoing, Outgoing::Stream(_));
        self.account.is_some() && is_streamed && !self.is_connect() && !awaits_invitation
    }

    /// Whether it should go on another connection than this, if it can.
    pub(super) fn avoids(&self, conn: ConnId, pooled: &Pooled) -> bool {
        self.retries.refused_by == Some(conn) || pooled.number < self.retries.newer_than
    }

    /// Whether a connection was lost with it.
    pub(super) fn was_lost(&self) -> bool {
        self.retries.newer_than > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Exchange = Exchange::Asked {
        is_whole: false,
        interim: 0,
    };

    #[test]
    fn every_exchange_takes_every_step() {
        use Exchange::{Answering, Asked, Tunnel, TunnelEnded, TunnelFromUs};
        let asked = |is_whole, interim| Asked { is_whole, interim };
        let answering = |is_whole| Answering { is_whole };
        let tunnel = |is_whole| Tunnel { is_whole };
        // What each becomes when the request ends, with an interim response, and when the final
        // response ends; and whether it goes on then.
        let steps = [
            (ASKED, asked(true, 0), asked(false, 1), ASKED, false),
            (
                asked(true, 7),
                asked(true, 7),
                asked(true, 8),
                asked(true, 7),
                false,
            ),
            (
                answering(false),
                answering(true),
                answering(false),
                answering(false),
                false,
            ),
            (
                answering(true),
                answering(true),
                answering(true),
                answering(true),
                false,
            ),
            (
                tunnel(false),
                tunnel(true),
                tunnel(false),
                TunnelFromUs,
                true,
            ),
            (
                tunnel(true),
                tunnel(true),
                tunnel(true),
                tunnel(true),
                false,
            ),
            (TunnelFromUs, TunnelEnded, TunnelFromUs, TunnelFromUs, true),
            (TunnelEnded, TunnelEnded, TunnelEnded, TunnelEnded, false),
        ];
        for (before, request_ends, informed, response_ends, goes_on) in steps {
            let mut exchange = before;
            exchange.end_request();
            assert_eq!(exchange, request_ends, "{before:?}");
            assert!(exchange.is_whole(), "{before:?}");
            let mut exchange = before;
            exchange.count_interim();
            assert_eq!(exchange, informed, "{before:?}");
            let mut exchange = before;
            let went_on = exchange.end_response();
            assert_eq!((exchange, went_on), (response_ends, goes_on), "{before:?}");
        }
    }

    #[test]
    fn a_response_leaves_what_was_sent_as_it_was() {
        for (is_whole, opens_tunnel) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let mut exchange = Exchange::new(is_whole);
            assert!(!exchange.is_answered());
            exchange.begin_response(opens_tunnel);
            assert_eq!(exchange.is_whole(), is_whole);
            assert_eq!(exchange.is_tunnel(), opens_tunnel);
            assert!(exchange.is_answered());
        }
        let mut exchange = ASKED;
        assert_eq!((exchange.count_interim(), exchange.count_interim()), (1, 2));
        assert!(exchange.is_answered() && !exchange.is_tunnel());
    }
}
