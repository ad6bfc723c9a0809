//! Streams: the state of each, and the handle by which the owner controls one.

pub(crate) mod map;
mod send_buf;
pub(crate) mod state;

use std::time::Instant;

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};
use tidegate_http::engine::Sealed;
pub(crate) use tidegate_http::engine::{More, Phase};
use tidegate_http::{
    Bill, Body, Fields, KnownName, Misuse, Pace, Priority, RequestHead, ResponseHead, Role,
    check_trailers,
};

use crate::conn::Connection;
use crate::flow::{Autotune, RecvWindow, SendWindow, Share};
pub(crate) use send_buf::SendBuf;
use state::{Input, Sender, State};

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

/// A borrowed handle to one stream; [`Stream`](tidegate_http::Stream) has its methods.
pub struct StreamMut<'a> {
    conn: &'a mut Connection,
    id: StreamId,
}

impl<'a> StreamMut<'a> {
    pub(crate) fn new(conn: &'a mut Connection, id: StreamId) -> Self {
        Self { conn, id }
    }
}

impl StreamMut<'_> {
    /// Returns the stream's slot, unless an earlier call through this handle has ended the stream.
    fn slot(&mut self) -> Result<usize, Misuse> {
        self.conn.streams.find(self.id).ok_or(Misuse::StreamClosed)
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        let slot = self.slot().ok()?;
        Some(self.conn.streams.get_mut(slot))
    }

    fn peek(&self) -> Option<&Stream> {
        self.conn.streams.peek(self.id)
    }

    /// Returns the stream's slot if it waits for its final response.
    fn check_can_answer(&mut self, head: &ResponseHead) -> Result<usize, Misuse> {
        if self.conn.role != Role::Server {
            return Err(Misuse::WrongRole);
        }
        let slot = self.slot()?;
        let stream = self.conn.streams.get(slot);
        if stream.awaiting_release || stream.state.has_ended(Sender::Us) {
            return Err(Misuse::StreamClosed);
        }
        if stream.send.phase != Phase::Head {
            return Err(Misuse::AlreadyResponded);
        }
        if head.is_invalid() {
            return Err(Misuse::InvalidField);
        }
        Ok(slot)
    }
}

impl Sealed for StreamMut<'_> {}

impl tidegate_http::Stream for StreamMut<'_> {
    fn id(&self) -> StreamId {
        self.id
    }

    fn version(&self) -> &'static str {
        "HTTP/2"
    }

    fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        if head.is_informational() || head.status() > 999 {
            return Err(Misuse::StatusOutOfRange);
        }
        let slot = self.check_can_answer(head)?;
        self.conn.check_list_size(head.fields())?;
        let stream = self.conn.streams.get(slot);
        // RFC 9113 §8.5: only a 2xx makes a tunnel. A refused CONNECT is a request like any other.
        if stream.connect_request && !(200..300).contains(&head.status()) {
            let age = self.conn.age();
            let stream = self.conn.streams.get_mut(slot);
            stream.connect_request = false;
            stream.recv.pace = Pace::new(age);
            self.conn.watch_bodies();
        }
        let stream = self.conn.streams.get(slot);
        let without_content = stream.head_request || matches!(head.status(), 204 | 304);
        let body = if without_content { Body::Empty } else { body };
        self.conn.send_head(slot, head.fields(), head.stamp(), body);
        Ok(())
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        self.conn.memory.holding.admit(bytes as u64)
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
        // RFC 9113 §8.6: "This specification removes the 101 (Switching Protocols) status code".
        if !head.is_informational() || head.status() == 101 {
            return Err(Misuse::StatusOutOfRange);
        }
        let slot = self.check_can_answer(head)?;
        self.conn.send_interim_head(slot, head.fields())
    }

    fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
        let slot = self.slot();
        slot.map_or(0, |slot| self.conn.write(slot, data, end))
    }

    fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
        check_trailers(fields).map_err(|_| Misuse::InvalidField)?;
        let slot = self.slot()?;
        let stream = self.conn.streams.get(slot);
        if stream.awaiting_release || stream.state.has_ended(Sender::Us) {
            return Err(Misuse::StreamClosed);
        }
        // RFC 9113 §8.5: on a tunnel "frame types other than DATA or stream management frames …
        // MUST NOT be sent".
        let takes_more = stream.send.phase == Phase::Body && stream.send.buf.more != More::End;
        if !takes_more || stream.is_tunnel() {
            return Err(Misuse::OutOfOrder);
        }
        self.conn.check_list_size(fields)?;
        self.conn.send_trailers(slot, fields);
        Ok(())
    }

    fn push(&mut self, head: &RequestHead) -> Result<StreamId, Misuse> {
        let slot = self.slot()?;
        self.conn.promise(slot, head)
    }

    fn consume(&mut self, bytes: usize) {
        if let Ok(slot) = self.slot() {
            self.conn.consume(slot, bytes);
        }
    }

    fn unconsumed(&self) -> usize {
        self.peek()
            .map_or(0, |stream| stream.recv.window.unconsumed() as usize)
    }

    fn limit_window(&mut self, bytes: u32) {
        if let Some(stream) = self.stream() {
            stream.recv.max_window = bytes;
        }
    }

    fn lift_body_timeout(&mut self) {
        if let Some(stream) = self.stream() {
            stream.recv.untimed = true;
        }
    }

    fn end_tunnel(&mut self) {
        let Ok(slot) = self.slot() else { return };
        let role = self.conn.role;
        let stream = self.conn.streams.get_mut(slot);
        if role != Role::Server || !stream.is_tunnel() || stream.awaiting_release {
            return;
        }
        stream.tunnel_ended = true;
        if stream.send.phase == Phase::Done {
            self.conn.discard_rest(slot);
        }
    }

    fn prioritize(&mut self, priority: Priority) {
        if let Ok(slot) = self.slot() {
            self.conn.prioritize(slot, priority);
        }
    }

    fn suggest_priority(&mut self, priority: Priority) {
        if let Ok(slot) = self.slot()
            && !self.conn.streams.get(slot).prioritized
        {
            self.conn.set_priority(slot, priority);
        }
    }

    fn priority(&self) -> Priority {
        self.peek()
            .map_or_else(Priority::default, |stream| stream.priority)
    }

    fn reset(&mut self, code: ErrorCode) {
        let Ok(slot) = self.slot() else { return };
        if !self.conn.streams.get(slot).awaiting_release {
            self.conn.send_reset(slot, code);
        }
        self.conn.remove(slot);
    }

    fn release(&mut self) {
        if let Ok(slot) = self.slot()
            && self.conn.streams.get(slot).awaiting_release
        {
            self.conn.remove(slot);
        }
    }
}

impl Connection {
    /// Notes a frame of ours in a stream's state; the engine sends only legal frames.
    pub(crate) fn note_sent(&mut self, slot: usize, input: Input) {
        let stream = self.streams.get_mut(slot);
        match stream.state.on(Sender::Us, input) {
            Ok(state) => stream.state = state,
            Err(illegal) => {
                debug_assert!(false, "{input:?} sent on {:?}: {illegal:?}", stream.state);
            }
        }
    }
}
