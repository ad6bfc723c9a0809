//! Streams: the state of each.

mod counted;
pub(crate) mod map;
mod recv;
mod send_buf;
pub(crate) mod state;

use std::time::Instant;

use tidegate_frame::StreamId;
pub(crate) use tidegate_http::engine::{More, Phase};
use tidegate_http::{Bill, Event, KnownName, Priority, RequestHead};

use crate::flow::{RecvWindow, SendWindow, Share};
pub(crate) use counted::Counted;
pub(crate) use recv::{Grant, Recv};
pub(crate) use send_buf::SendBuf;
use state::{Input, Sender, State};

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) opened_by: Sender,
    state: State,
    pub(crate) priority: Priority,
    /// Whether the client or the owner has set the stream's priority.
    pub(crate) prioritized: bool,
    /// Whether the stream is in the scheduler.
    pub(crate) queued: bool,
    awaiting_release: bool,
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

/// The sending side of a stream.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) phase: Phase,
    pub(crate) window: SendWindow,
    pub(crate) buf: SendBuf,
    /// The bytes of the body that went out.
    pub(crate) sent: u64,
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
        state: State,
        recv_window: RecvWindow,
        send_window: SendWindow,
        now: Instant,
    ) -> Self {
        Self {
            id,
            opened_by,
            state,
            priority: Priority::default(),
            prioritized: false,
            queued: false,
            awaiting_release: false,
            head_request: false,
            connect_request: false,
            tunnel_ended: false,
            bill: None,
            recv: Recv::new(recv_window, now),
            send: Send {
                phase: Phase::Head,
                window: send_window,
                buf: SendBuf::new(),
                sent: 0,
                stall: None,
            },
        }
    }

    /// Returns the stream's state.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Whether the stream was reset and its owner hasn't released it: it counts as a concurrent
    /// stream.
    pub(crate) fn awaits_release(&self) -> bool {
        self.awaiting_release
    }

    /// Notes a frame of ours in the stream's state; the engine sends only legal frames. Without a
    /// reset nothing that we send ends the peer's message, so the connection's sums stay right.
    pub(crate) fn note_sent(&mut self, input: Input) {
        match self.state.on(Sender::Us, input) {
            Ok(state) => self.state = state,
            Err(illegal) => {
                debug_assert!(false, "{input:?} sent on {:?}: {illegal:?}", self.state);
            }
        }
    }

    /// Returns the event of our message, which ends now.
    pub(crate) fn sent(&self) -> Event {
        Event::Sent {
            id: self.id,
            bytes: self.send.sent,
            complete: self.send.phase == Phase::Done,
        }
    }

    /// Returns the stream's part of what the peer may make us hold. `shift` is a change of
    /// SETTINGS_INITIAL_WINDOW_SIZE that isn't acknowledged yet.
    pub(crate) fn share(&self, shift: i64) -> Share {
        self.recv
            .share_of(self.recv.window(), self.is_receiving(), shift)
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

    /// Notes the properties of the stream's request, before the stream has a slot.
    pub(crate) fn note_request(&mut self, head: &RequestHead) {
        self.head_request = head.method_bytes() == b"HEAD";
        self.connect_request = head.method_bytes() == b"CONNECT";
        if let Some(first) = head.get_known(KnownName::PRIORITY) {
            self.priority = Priority::parse(&Priority::whole_value(head.fields(), first));
            self.prioritized = true;
        }
        if self.opened_by == Sender::Peer && !self.connect_request {
            self.recv.expect(head.content_length());
        }
    }

    /// Whether the owner has nothing more to do for this stream.
    pub(crate) fn owner_is_done(&self) -> bool {
        let sent = self.send.phase == Phase::Done
            || (self.send.phase == Phase::Body && self.send.buf.more == More::End);
        sent && (self.recv.phase == Phase::Done || self.recv.discard)
    }
}
