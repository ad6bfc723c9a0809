//! A request and its response: how far both have come. There is one at a time on a connection, so answers are in order.

use bytes::Bytes;
use tidegate_proto::{Fields, Reservation, StreamId};

use crate::body::BodyReader;
use crate::request::Request;
use crate::response::Framing;

/// How far the response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The final head is still to come.
    Head,
    /// The head is through; body or trailers may follow.
    Body,
    /// The response is whole.
    Done,
}

/// What comes behind the octets of a body that wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// Nothing: the message ends.
    End,
    /// The owner has more; it is to be asked.
    Ask,
    /// The owner has been asked and has not answered.
    Asked,
}

/// A request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: StreamId,
    pub(crate) recv: Recv,
    pub(crate) send: Send,
    /// The request's method is HEAD: the response has no content, whatever it says.
    pub(crate) head_request: bool,
    /// The request's method is CONNECT.
    pub(crate) connect_request: bool,
    pub(crate) is_http11: bool,
    /// The connection goes on behind this exchange.
    pub(crate) persistent: bool,
}

/// The request.
#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) body: BodyReader,
    /// What of the memory budget its body may take, until it is answered.
    pub(crate) reservation: Option<Reservation>,
    /// Octets told as events and not consumed yet.
    pub(crate) unconsumed: usize,
    /// The client waits for 100 (Continue), and nothing of the body has come.
    pub(crate) expects_continue: bool,
    /// The response is whole, and nobody has a use for the rest of the request.
    pub(crate) discard: bool,
    /// Octets that were discarded.
    pub(crate) discarded: usize,
}

/// The response.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) phase: Phase,
    pub(crate) framing: Framing,
    /// Octets of the body that wait; one piece at most, since bodies are fetched on demand.
    pub(crate) pending: Bytes,
    pub(crate) more: More,
    /// Trailers that wait behind `pending`.
    pub(crate) trailers: Option<Fields>,
}

impl Exchange {
    pub(crate) fn new(id: StreamId, request: &mut Request) -> Self {
        let method = request.head.method_octets();
        Self {
            id,
            head_request: method == b"HEAD",
            connect_request: method == b"CONNECT",
            is_http11: request.is_http11,
            persistent: request.persistent,
            recv: Recv {
                body: std::mem::replace(&mut request.body, BodyReader::Done),
                reservation: None,
                unconsumed: 0,
                expects_continue: request.expects_continue,
                discard: false,
                discarded: 0,
            },
            send: Send {
                phase: Phase::Head,
                framing: Framing::None,
                pending: Bytes::new(),
                more: More::End,
                trailers: None,
            },
        }
    }

    /// Whether the client would take the connection's end for the end of the response.
    pub(crate) fn ends_with_the_connection(&self) -> bool {
        self.send.phase == Phase::Body && self.send.framing == Framing::UntilClose
    }
}
