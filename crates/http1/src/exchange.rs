//! A request and its response: how far both have come. There is one at a time on a connection, so
//! answers are in order.

use bytes::Bytes;
use tidegate_proto::{Bill, Body, Fields, Pace, Role, StreamId};

use crate::read::body::BodyReader;
use crate::write::Framing;

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

impl Version {
    /// As the first line of a message has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The final head is still to come.
    Head,
    /// The head is through; body or trailers may follow.
    Body,
    /// The message is whole.
    Done,
}

/// What comes behind the bytes of a body that wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// Nothing: the message ends.
    End,
    /// The owner has more; it is to be asked.
    Ask,
    /// The owner has been asked and has not answered.
    Asked,
}

/// Whether a client has asked for trailers (RFC 9110 §10.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailers {
    /// By `te: trailers`.
    Wanted,
    /// The client may get some, and may drop them.
    Unasked,
}

/// What the connection becomes if the request is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// Nothing but what it is.
    None,
    /// A tunnel by CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// A WebSocket; `accept` is the value of Sec-WebSocket-Accept that grants it.
    WebSocket { accept: String },
}

/// A request and its response.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: StreamId,
    pub(crate) recv: Recv,
    pub(crate) send: Send,
    /// The request's method is HEAD: the response has no content, whatever it says.
    pub(crate) head_request: bool,
    pub(crate) tunnel: Tunnel,
    /// Server: whether the client takes trailers for more than an ornament.
    pub(crate) trailers: Trailers,
    /// That was granted: what goes through has no frame any more.
    pub(crate) is_tunnel: bool,
    /// What the request's head and trailers count as memory.
    pub(crate) head: u64,
    /// Client: who pays for what the exchange holds, unless that is whoever pays for the
    /// connection.
    pub(crate) bill: Option<Bill>,
    /// The connection goes on behind this exchange.
    pub(crate) persistent: bool,
    /// Client: the request asks that its body be invited by 100 (Continue), which has not come.
    pub(crate) awaits_invitation: bool,
}

/// The peer's message.
#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) phase: Phase,
    pub(crate) body: BodyReader,
    /// Bytes told as events and not consumed yet.
    pub(crate) unconsumed: usize,
    /// The client waits for 100 (Continue), and nothing of the body has come.
    pub(crate) expects_continue: bool,
    /// How fast it comes.
    pub(crate) pace: Pace,
    /// The owner waits for the body however long it takes.
    pub(crate) untimed: bool,
    /// Our message is whole, and nobody has a use for the rest of the peer's.
    pub(crate) discard: bool,
    /// Bytes that were discarded.
    pub(crate) discarded: usize,
}

/// Our message.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) phase: Phase,
    pub(crate) framing: Framing,
    /// Bytes of the body that wait; one piece at most, since bodies are fetched on demand.
    pub(crate) pending: Bytes,
    pub(crate) more: More,
    /// Trailers that wait behind `pending`.
    pub(crate) trailers: Option<Fields>,
}

impl Recv {
    /// A message whose body is read so.
    pub(crate) fn new(phase: Phase, body: BodyReader) -> Self {
        Self {
            phase,
            body,
            unconsumed: 0,
            expects_continue: false,
            pace: Pace::default(),
            untimed: false,
            discard: false,
            discarded: 0,
        }
    }

    /// Whether the message is whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.phase != Phase::Head && self.body.is_done()
    }
}

impl Send {
    /// A message of which nothing was sent.
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Head,
            framing: Framing::None,
            pending: Bytes::new(),
            more: More::End,
            trailers: None,
        }
    }

    /// The head went out, with this body behind it.
    pub(crate) fn begin(&mut self, framing: Framing, body: Body) {
        self.phase = Phase::Body;
        self.framing = framing;
        (self.pending, self.more) = match body {
            _ if framing == Framing::None => (Bytes::new(), More::End),
            Body::Empty => (Bytes::new(), More::End),
            Body::Full(bytes) => (bytes, More::End),
            Body::Stream => (Bytes::new(), More::Ask),
        };
    }
}

impl Exchange {
    /// Whether the peer would take the connection's end for the end of our message.
    pub(crate) fn ends_with_the_connection(&self, role: Role) -> bool {
        // A server may have granted a tunnel, and the client not know yet.
        let asks_for_tunnel =
            role == Role::Client && self.tunnel != Tunnel::None && self.send.phase == Phase::Head;
        let is_open = self.send.phase == Phase::Body && self.send.framing == Framing::UntilEnd;
        asks_for_tunnel || is_open
    }
}
