//! The engines of both protocols with one interface: a service needn't know which one a connection
//! has.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tidegate_http::engine::Sealed;
use tidegate_http::{
    Body, ErrorCode, Event, Fields, Flow, GuardPeaks, Misuse, Outbox, Priority, RequestHead,
    ResponseHead, Role, Stats, Stream, StreamId,
};
use tidegate_ledger::Client;

use crate::{Protocol, http1, http2};

/// The engine of a connection.
#[derive(Debug)]
pub enum Engine {
    /// HTTP/2.
    Http2(Box<http2::Connection>),
    /// HTTP/1.1 or 1.0.
    Http1(Box<http1::Connection>),
    /// HTTP/2 at rest. [`Conns::engine`](crate::Conns::engine) wakes it, so only who looks by
    /// [`Conns::engine_ref`](crate::Conns::engine_ref) sees one.
    Resting(http2::Resting),
}

/// A borrowed handle to one request, whichever protocol carries it; [`Stream`] has its methods.
pub enum StreamMut<'a> {
    /// HTTP/2.
    Http2(http2::StreamMut<'a>),
    /// HTTP/1.1 or 1.0.
    Http1(http1::StreamMut<'a>),
}

/// Calls the same method of either stream, or of either engine unless it rests.
macro_rules! either {
    ($self:ident, $inner:ident => $call:expr $(, $resting:pat => $answer:expr)?) => {
        match $self {
            Self::Http2($inner) => $call,
            Self::Http1($inner) => $call,
            $(Self::Resting($resting) => $answer,)?
        }
    };
}

/// Calls the same method of either engine, which is woken if it rests.
macro_rules! awake {
    ($self:ident, $inner:ident => $call:expr) => {
        loop {
            match $self {
                Self::Http2($inner) => break $call,
                Self::Http1($inner) => break $call,
                Self::Resting(_) => $self.wake(),
            }
        }
    };
}

/// Methods for services.
impl Engine {
    /// Returns a handle to a request that is not over, or that was reset and not yet released.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        match self {
            Self::Http2(engine) => engine.stream(id).map(StreamMut::Http2),
            Self::Http1(engine) => engine.stream(id).map(StreamMut::Http1),
            Self::Resting(_) => None,
        }
    }

    /// Client: sends a request, as [`http2::Connection::open`] and [`http1::Connection::open`] say.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        self.open_for(None, head, body)
    }

    /// Sends a request on behalf of a client of the owner ([`http2::Connection::open_for`]).
    ///
    /// # Errors
    /// As for [`Engine::open`].
    pub fn open_for(
        &mut self,
        client: Option<&Arc<Client>>,
        head: &RequestHead,
        body: Body,
    ) -> Result<StreamId, Misuse> {
        awake!(self, engine => engine.open_for(client, head, body))
    }

    /// Client: whether `open` could send a request now.
    pub fn can_open(&self) -> bool {
        either!(self, engine => engine.can_open(), _ => false)
    }

    /// Returns the protocol.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Http2(_) | Self::Resting(_) => Protocol::Http2,
            Self::Http1(_) => Protocol::Http1,
        }
    }

    /// Returns the version of the message whose head came last, as in its first line: `HTTP/2`,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub fn version(&self) -> &'static str {
        match self {
            Self::Http2(_) | Self::Resting(_) => "HTTP/2",
            Self::Http1(engine) => engine.version(),
        }
    }

    /// Begins a graceful end: open requests finish, and no new ones are accepted.
    pub fn shut_down(&mut self, now: Instant) {
        awake!(self, engine => engine.shut_down(now));
    }

    /// Closes the connection at once. Only HTTP/2 can send the code, and `text` for the operator of
    /// the other end.
    pub fn abort(&mut self, code: ErrorCode, text: &str) {
        match self {
            Self::Http2(engine) => engine.abort(code, text),
            Self::Http1(engine) => engine.abort(code),
            Self::Resting(_) => {
                self.wake();
                self.abort(code, text);
            }
        }
    }

    /// Limits the requests that a client may have in progress at once. The configured limit still
    /// holds, and HTTP/1.1 allows only one.
    pub fn limit_streams(&mut self, streams: u32) {
        self.wake();
        if let Self::Http2(engine) = self {
            engine.limit_streams(streams);
        }
    }

    /// Returns the connection's counters.
    pub fn stats(&self) -> Stats {
        either!(self, engine => *engine.stats(), resting => resting.stats())
    }

    /// Returns the number of requests so far, without a copy of all counters.
    pub(crate) fn requests(&self) -> u64 {
        either!(self, engine => engine.stats().requests, resting => resting.stats().requests)
    }

    /// Returns the bytes of memory that the connection holds, about. Its client is charged for
    /// them.
    pub fn held_bytes(&self) -> u64 {
        either!(self, engine => engine.held_bytes(), resting => resting.held_bytes())
    }

    /// Returns a picture of the connection, if it speaks HTTP/2. One that rests goes on resting.
    pub fn inspect(
        &self,
        scope: http2::InspectionScope,
        now: Instant,
    ) -> Option<http2::Inspection> {
        match self {
            Self::Http2(engine) => Some(engine.inspect(scope, now)),
            Self::Resting(engine) => Some(engine.inspect(scope, now)),
            Self::Http1(_) => None,
        }
    }

    /// Returns the budget against abuse of which the largest share is spent. `None` if none is, and
    /// for a connection that rests or doesn't speak HTTP/2.
    pub fn highest_guard(&self, now: Instant) -> Option<http2::GuardLevel> {
        match self {
            Self::Http2(engine) => engine.highest_guard(now),
            Self::Http1(_) | Self::Resting(_) => None,
        }
    }

    /// Returns the number of streams whose body the peer's windows hold up: their own, or the
    /// connection's.
    pub fn held_up_streams(&self) -> usize {
        match self {
            Self::Http2(engine) => engine.held_up_streams(),
            Self::Http1(_) | Self::Resting(_) => 0,
        }
    }

    /// Returns the number of requests that are open or wait for [`Stream::release`].
    pub fn active_streams(&self) -> usize {
        either!(self, engine => engine.active_streams(), _ => 0)
    }

    /// Returns the number of streams that have data to send and wait for the peer's window.
    pub fn stalled_streams(&self) -> usize {
        match self {
            Self::Http2(engine) => engine.stalled_streams(),
            Self::Http1(_) | Self::Resting(_) => 0,
        }
    }

    /// Returns how near the limits of the guards against abuse the peer is, or was lately.
    pub fn guard_peaks(&self) -> GuardPeaks {
        match self {
            Self::Http2(engine) => engine.guard_peaks(),
            Self::Http1(_) | Self::Resting(_) => GuardPeaks::default(),
        }
    }

    /// Returns the bytes of heads, small bodies and control frames that wait to go to the outbox.
    pub fn unsent(&self) -> usize {
        either!(self, engine => engine.unsent(), _ => 0)
    }

    /// Whether the connection is ending: no new requests are accepted.
    pub fn is_ending(&self) -> bool {
        either!(self, engine => engine.is_ending(), _ => false)
    }

    /// Whether [`Event::Closed`] has been reported or is about to be.
    pub fn is_closed(&self) -> bool {
        either!(self, engine => engine.is_closed(), _ => false)
    }
}

/// Methods for the loop.
impl Engine {
    pub(crate) fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        if input.is_empty() && matches!(self, Self::Resting(_)) {
            return None;
        }
        awake!(self, engine => engine.receive(input, now))
    }

    pub(crate) fn receive_eof(&mut self, now: Instant) {
        awake!(self, engine => engine.receive_eof(now));
    }

    /// Sets the time for a service's commands. A connection at rest wakes.
    pub(crate) fn set_time(&mut self, now: Instant) {
        awake!(self, engine => engine.set_time(now));
    }

    /// Wakes a connection that rests.
    fn wake(&mut self) {
        if let Self::Resting(resting) = self {
            *self = Self::Http2(resting.wake());
        }
    }

    /// Puts a connection to rest that has had nothing to do for a while.
    pub(crate) fn put_to_rest(&mut self) {
        if let Self::Http2(engine) = self
            && let Some(resting) = engine.put_to_rest()
        {
            *self = Self::Resting(resting);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        awake!(self, engine => engine.handle_timeout(now));
    }

    pub(crate) fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        match self {
            Self::Resting(resting) if resting.can_receive() => Flow::Drained,
            // Only an engine in use looks again whether there is memory for its input.
            _ => awake!(self, engine => engine.transmit(out, limit, now)),
        }
    }

    /// Charges this client for the engine's memory from now on.
    pub(crate) fn bill(&mut self, client: &Arc<Client>) {
        either!(self, engine => engine.bill(client), resting => resting.bill(client));
    }

    /// Updates the memory that the engine holds, where nothing can be transmitted.
    pub(crate) fn settle_memory(&mut self) {
        match self {
            Self::Resting(resting) if resting.can_receive() => {}
            _ => awake!(self, engine => engine.settle_memory()),
        }
    }

    /// Notes the bytes that the transport holds for the engine.
    pub(crate) fn note_outside(&mut self, bytes: u64) {
        either!(self, engine => engine.note_outside(bytes), resting => resting.note_outside(bytes));
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        either!(self, engine => engine.next_timeout(), resting => resting.next_timeout())
    }

    pub(crate) fn can_receive(&self) -> bool {
        either!(self, engine => engine.can_receive(), resting => resting.can_receive())
    }

    /// Returns the number of bytes that the engine would take at once, about.
    pub(crate) fn receive_room(&self) -> usize {
        match self {
            Self::Http2(_) | Self::Resting(_) => usize::MAX,
            Self::Http1(engine) => engine.receive_room(),
        }
    }

    /// Whether [`Engine::observe_rtt`] would be useful now.
    pub(crate) fn wants_rtt(&self) -> bool {
        match self {
            Self::Http2(engine) => engine.wants_rtt(),
            // HTTP/1.1 has no windows: data that its owner doesn't consume isn't read.
            Self::Http1(_) | Self::Resting(_) => false,
        }
    }

    pub(crate) fn observe_rtt(&mut self, rtt: Duration) {
        if let Self::Http2(engine) = self {
            engine.observe_rtt(rtt);
        }
    }

    /// Reports that the transport is gone, perhaps not in order.
    pub(crate) fn receive_failure(&mut self, now: Instant) {
        match self {
            // A frame ends a stream, so it doesn't matter how the transport ends.
            Self::Http2(engine) => engine.receive_eof(now),
            Self::Http1(engine) => engine.receive_failure(now),
            Self::Resting(_) => {
                self.wake();
                self.receive_failure(now);
            }
        }
    }

    /// Whether our side of the transport should end while the peer's goes on.
    pub(crate) fn has_ended_our_side(&self) -> bool {
        match self {
            Self::Http2(_) | Self::Resting(_) => false,
            Self::Http1(engine) => engine.has_ended_our_side(),
        }
    }

    /// Whether the request that is being answered is whole, over HTTP/1.1.
    pub(crate) fn has_whole_request(&self) -> bool {
        match self {
            Self::Http2(_) | Self::Resting(_) => false,
            Self::Http1(engine) => engine.has_whole_request(),
        }
    }

    /// Whether the end of the transport matters although [`Engine::can_receive`] is false.
    pub(crate) fn watches_for_end(&self) -> bool {
        match self {
            Self::Http2(_) | Self::Resting(_) => false,
            Self::Http1(engine) => engine.watches_for_end(),
        }
    }

    /// Begins a graceful end that loses no request: one that is in flight has `patience`.
    pub(crate) fn shut_down_after_request(&mut self, patience: Duration, now: Instant) {
        match self {
            // GOAWAY tells the client that the request wasn't processed.
            Self::Http2(_) | Self::Resting(_) => self.shut_down(now),
            Self::Http1(engine) => engine.shut_down_after_request(patience, now),
        }
    }

    /// Whether a graceful end that began now could lose the first request.
    pub(crate) fn awaits_first_request(&self) -> bool {
        match self {
            // GOAWAY tells the client that the request wasn't processed.
            Self::Http2(_) | Self::Resting(_) => false,
            Self::Http1(engine) => engine.awaits_first_request(),
        }
    }

    /// Whether the engine is the client's.
    pub(crate) fn is_client(&self) -> bool {
        either!(self, engine => engine.role(), _ => Role::Server) == Role::Client
    }

    /// Whether the peer would take a clean end of the transport for the end of a message that isn't
    /// whole.
    pub(crate) fn is_truncated(&self) -> bool {
        match self {
            // A frame ends a stream.
            Self::Http2(_) | Self::Resting(_) => false,
            Self::Http1(engine) => engine.is_truncated(),
        }
    }
}

impl Sealed for StreamMut<'_> {}

impl Stream for StreamMut<'_> {
    fn id(&self) -> StreamId {
        either!(self, stream => stream.id())
    }

    fn version(&self) -> &'static str {
        either!(self, stream => stream.version())
    }

    fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse> {
        either!(self, stream => stream.respond(head, body))
    }

    fn has_room_for(&mut self, bytes: usize) -> bool {
        either!(self, stream => stream.has_room_for(bytes))
    }

    fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse> {
        either!(self, stream => stream.inform(head))
    }

    fn write(&mut self, data: &mut Bytes, end: bool) -> usize {
        either!(self, stream => stream.write(data, end))
    }

    fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse> {
        either!(self, stream => stream.trailers(fields))
    }

    fn push(&mut self, head: &RequestHead) -> Result<StreamId, Misuse> {
        either!(self, stream => stream.push(head))
    }

    fn consume(&mut self, bytes: usize) {
        either!(self, stream => stream.consume(bytes));
    }

    fn unconsumed(&self) -> usize {
        either!(self, stream => stream.unconsumed())
    }

    fn limit_window(&mut self, bytes: u32) {
        either!(self, stream => stream.limit_window(bytes));
    }

    fn lift_body_timeout(&mut self) {
        either!(self, stream => stream.lift_body_timeout());
    }

    fn end_tunnel(&mut self) {
        either!(self, stream => stream.end_tunnel());
    }

    fn decline_upgrade(&mut self) {
        either!(self, stream => stream.decline_upgrade());
    }

    fn prioritize(&mut self, priority: Priority) {
        either!(self, stream => stream.prioritize(priority));
    }

    fn suggest_priority(&mut self, priority: Priority) {
        either!(self, stream => stream.suggest_priority(priority));
    }

    fn priority(&self) -> Priority {
        either!(self, stream => stream.priority())
    }

    fn reset(&mut self, code: ErrorCode) {
        either!(self, stream => stream.reset(code));
    }

    fn release(&mut self) {
        either!(self, stream => stream.release());
    }
}
