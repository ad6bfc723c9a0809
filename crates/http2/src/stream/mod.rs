//! Streams: the state of each.

pub(crate) mod map;
mod send_buf;
pub(crate) mod state;

use std::time::Instant;

use tidegate_frame::StreamId;
pub(crate) use tidegate_http::engine::{More, Phase};
use tidegate_http::{Bill, KnownName, Pace, Priority, RequestHead};

use crate::flow::{Autotune, RecvWindow, SendWindow, Share};
pub(crate) use send_buf::SendBuf;
use state::{Sender, State};

/// Whether a body's window is raised above the protocol's once the body begins to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    None,
    Due,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) opened_by: Sender,
    pub(crate) state: State,
    pub(crate) priority: Priority,
    /// Whether the client or the owner has set the stream's priority.
    pub(crate) prioritized: bool,
    /// Whether the stream is in the scheduler.
    pub(crate) queued: bool,
    /// Whether the stream was reset and its owner hasn't released it: it counts as a concurrent
    /// stream.
    pub(crate) awaiting_release: bool,
    /// Whether the request's method is HEAD: the response then has no content, whatever its fields
    /// say.
    pub(crate) head_request: bool,
    /// Whether the request is a CONNECT that wasn't refused: content-length then means nothing.
    pub(crate) connect_request: bool,
    /// Whether the owner ignores the tunnel after our end.
    pub(crate) tunnel_ended: bool,
    /// The bill for what it holds, unless that is in the connection's.
    pub(crate) bill: Option<Box<Bill>>,
    pub(crate) recv: Recv,
    pub(crate) send: Send,
}

/// The receiving side of a stream.
#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) phase: Phase,
    /// Whether the owner has answered in full and ignores the rest of the request.
    pub(crate) discard: bool,
    /// The number of discarded bytes.
    pub(crate) discarded: u32,
    /// The bytes of content-length that are still to come.
    pub(crate) content_left: Option<u64>,
    /// Whether the message has no content (RFC 9110 §6.4.1).
    pub(crate) no_content: bool,
    pub(crate) window: RecvWindow,
    /// The size up to which the owner lets the window grow.
    pub(crate) max_window: u32,
    /// Whether the owner waits for the body without a time limit.
    pub(crate) untimed: bool,
    pub(crate) tuning: Autotune,
    pub(crate) grant: Grant,
    /// The bytes that the request's head and trailers count as memory.
    pub(crate) head: u32,
    /// The stream's part of the connection's sums.
    pub(crate) share: Share,
    /// How fast the message comes; if it is discarded, since when.
    pub(crate) pace: Pace,
}

/// The sending side of a stream.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) phase: Phase,
    pub(crate) window: SendWindow,
    pub(crate) buf: SendBuf,
    /// The time since when the peer's windows have held up the message, and the bytes sent since.
    pub(crate) stall: Option<Stall>,
}

/// A message that waits for the peer's windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) since: Instant,
    pub(crate) sent: usize,
}

impl Stream {
    pub(crate) fn new(
        id: StreamId,
        opened_by: Sender,
        recv_window: RecvWindow,
        send_window: SendWindow,
        now: Instant,
    ) -> Self {
        Self {
            id,
            opened_by,
            state: State::Idle,
            priority: Priority::default(),
            prioritized: false,
            queued: false,
            awaiting_release: false,
            head_request: false,
            connect_request: false,
            tunnel_ended: false,
            bill: None,
            recv: Recv {
                phase: Phase::Head,
                discard: false,
                discarded: 0,
                content_left: None,
                no_content: false,
                window: recv_window,
                max_window: u32::MAX,
                untimed: false,
                tuning: Autotune::new(now),
                grant: Grant::None,
                head: 0,
                share: Share::default(),
                pace: Pace::default(),
            },
            send: Send {
                phase: Phase::Head,
                window: send_window,
                buf: SendBuf::new(),
                stall: None,
            },
        }
    }

    /// Whether the peer may still send DATA here that is not ignored.
    pub(crate) fn is_receiving(&self) -> bool {
        !self.awaiting_release && !self.state.has_ended(Sender::Peer)
    }

    /// Whether a time limit applies to the rest of the body. The ends of a tunnel decide how long
    /// it may be silent, and before it is granted the peer has nothing to send.
    pub(crate) fn awaits_body(&self) -> bool {
        let is_timed = !self.recv.untimed && !self.recv.discard && !self.connect_request;
        self.recv.phase == Phase::Body && !self.awaiting_release && is_timed
    }

    /// Whether a CONNECT was granted: from here on the stream carries only DATA (RFC 9113 §8.5).
    pub(crate) fn is_tunnel(&self) -> bool {
        let answered = match self.opened_by {
            Sender::Us => self.recv.phase != Phase::Head,
            Sender::Peer => self.send.phase != Phase::Head,
        };
        self.connect_request && answered
    }

    /// Notes the properties of the stream's request.
    pub(crate) fn note_request(&mut self, head: &RequestHead) {
        self.head_request = head.method_bytes() == b"HEAD";
        self.connect_request = head.method_bytes() == b"CONNECT";
        if let Some(first) = head.get_known(KnownName::PRIORITY) {
            self.priority = Priority::parse(&Priority::whole_value(head.fields(), first));
            self.prioritized = true;
        }
    }

    /// Whether the owner has nothing more to do for this stream.
    pub(crate) fn owner_is_done(&self) -> bool {
        let sent = self.send.phase == Phase::Done
            || (self.send.phase == Phase::Body && self.send.buf.more == More::End);
        sent && (self.recv.phase == Phase::Done || self.recv.discard)
    }
}

impl Recv {
    /// Returns how many bytes of window the rest of the message can use, with some for padding. No
    /// credit beyond that is advertised.
    pub(crate) fn usable(&self) -> u32 {
        let bytes = match (self.no_content, self.content_left) {
            (true, _) => 0,
            (false, None) => return u32::MAX,
            (false, Some(left)) => left,
        };
        let padded = bytes.saturating_add(bytes / 16 + 256);
        u32::try_from(padded).unwrap_or(u32::MAX)
    }

    /// Returns the stream's part of what the peer may make us hold. `receiving` is false once its
    /// message is over.
    pub(crate) fn share(&self, receiving: bool, shift: i64) -> Share {
        if receiving {
            self.window.share(shift, self.usable())
        } else {
            Share {
                unconsumed: self.window.unconsumed(),
                ..Share::default()
            }
        }
    }
}
