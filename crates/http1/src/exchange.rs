//! A request, its response, and the progress of both. A connection has one exchange at a time, so
//! responses are in order.

use bytes::Bytes;
use tidegate_http::engine::{More, Phase};
use tidegate_http::{Bill, Body, Event, Fields, Pace, Role, StreamId};

use crate::read::body::BodyReader;
use crate::write::Framing;

/// The version of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

impl Version {
    /// Returns the version as the first line of a message has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Whether a client has asked for trailers (RFC 9110 §10.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trailers {
    /// The client asked, by `te: trailers`.
    Wanted,
    /// The client didn't ask: it may drop them.
    Unasked,
}

/// The tunnel that the connection becomes if the request is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tunnel {
    /// No tunnel.
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
    /// Whether the request's method is HEAD: the response then has no content, whatever its fields
    /// say.
    pub(crate) head_request: bool,
    pub(crate) tunnel: Tunnel,
    /// Server: whether the client asked for trailers.
    pub(crate) trailers: Trailers,
    /// Whether the tunnel was granted: its bytes are unframed.
    pub(crate) is_tunnel: bool,
    /// The bytes that the request's head and trailers count as memory.
    pub(crate) head: u64,
    /// Client: the bill for the memory of the exchange, if it isn't that of the connection.
    pub(crate) bill: Option<Bill>,
    /// Whether the connection persists after this exchange.
    pub(crate) persistent: bool,
    /// Client: whether the request waits for 100 (Continue) before its body.
    pub(crate) awaits_invitation: bool,
}

/// The peer's message.
#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) phase: Phase,
    pub(crate) body: BodyReader,
    /// The bytes reported as events and not consumed yet.
    pub(crate) unconsumed: usize,
    /// Whether the client waits for 100 (Continue) and has sent nothing of the body.
    pub(crate) expects_continue: bool,
    /// How fast the body comes.
    pub(crate) pace: Pace,
    /// Whether the owner waits for the body without a time limit.
    pub(crate) untimed: bool,
    /// Whether to discard the rest of the peer's message because ours is complete.
    pub(crate) discard: bool,
    /// The number of discarded bytes.
    pub(crate) discarded: usize,
}

/// Our message.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) phase: Phase,
    pub(crate) framing: Framing,
    /// Bytes of the body that wait; one piece at most, because bodies are fetched on demand.
    pub(crate) pending: Bytes,
    pub(crate) more: More,
    /// Trailers that follow `pending`.
    pub(crate) trailers: Option<Fields>,
    /// The bytes of the body that went out.
    pub(crate) sent: u64,
}

impl Recv {
    /// Makes the peer's message, with the reader of its body.
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

    /// Whether the message is complete.
    pub(crate) fn is_whole(&self) -> bool {
        self.phase != Phase::Head && self.body.is_done()
    }
}

impl Send {
    /// Makes a message of which nothing was sent.
    pub(crate) fn new() -> Self {
        Self {
            phase: Phase::Head,
            framing: Framing::None,
            pending: Bytes::new(),
            more: More::End,
            trailers: None,
            sent: 0,
        }
    }

    /// Notes that the head went out, and sets the body that follows it.
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
    /// Returns the event of our message, which ends now.
    pub(crate) fn sent(&self) -> Event {
        Event::Sent {
            id: self.id,
            bytes: self.send.sent,
            complete: self.send.phase == Phase::Done,
        }
    }

    /// Whether the peer would take the connection's end for the end of our message.
    pub(crate) fn ends_with_the_connection(&self, role: Role) -> bool {
        // A server may have granted a tunnel that the client doesn't know of yet.
        let asks_for_tunnel =
            role == Role::Client && self.tunnel != Tunnel::None && self.send.phase == Phase::Head;
        let is_open = self.send.phase == Phase::Body && self.send.framing == Framing::UntilEnd;
        asks_for_tunnel || is_open
    }
}
