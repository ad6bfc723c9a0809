//! The handle by which an owner controls one request, the same in both protocols.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};
use tidegate_hpack::Fields;

use crate::engine::Sealed;
use crate::error::Misuse;
use crate::event::Event;
use crate::message::{Body, RequestHead, ResponseHead};
use crate::priority::Priority;

/// A borrowed handle to one request and its response. It holds no lock and ends with the statement.
///
/// The engines' `StreamMut`s implement it, and no other types can. A call can end the stream, such
/// as the last [`write`](Self::write) of a message whose other side is over. Later calls do
/// nothing, or return [`Misuse::StreamClosed`].
pub trait Stream: Sealed {
    /// Returns the stream's identifier. HTTP/1.1 numbers requests as HTTP/2 does: 1 for the
    /// connection's first, then 3, 5 and so on.
    fn id(&self) -> StreamId;

    /// Returns the version in the peer's first line: `HTTP/2`, `HTTP/1.1` or `HTTP/1.0`.
    fn version(&self) -> &'static str;

    /// Server: sends the final response. For a HEAD request or a status without content (204, 304)
    /// the body is left out. If the response ends before the request does, the rest of the request
    /// is discarded.
    ///
    /// HTTP/2: a `priority` field of the head is merged over the stream's priority
    /// ([`Priority::merge`]) before the body waits for its turn.
    ///
    /// HTTP/1.1: the engine frames the body, by content-length if the length is known (for
    /// [`Body::Stream`] and for HEAD the length that `head` has), else in chunks, or for HTTP/1.0
    /// by the connection's end. A [`Body::Stream`] whose `head` has a `trailer` field goes in
    /// chunks to a client that asks for trailers; without chunks, that field is left out. A 2xx to
    /// a request for a WebSocket goes out as 101; `body` then belongs to the tunnel.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then. In HTTP/1.1 a 2xx to CONNECT is
    /// [`Misuse::StatusOutOfRange`] too: the engine opens no other tunnels.
    fn respond(&mut self, head: &ResponseHead, body: Body) -> Result<(), Misuse>;

    /// Whether the memory budget has room for `bytes` more that wait to be sent, such as a head.
    /// The bytes are reserved until the connection next reports its memory, so call this just
    /// before sending them.
    fn has_room_for(&mut self, bytes: usize) -> bool;

    /// Server: sends an interim response (1xx), such as 100 or 103. HTTP/1.0 clients get none.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    fn inform(&mut self, head: &ResponseHead) -> Result<(), Misuse>;

    /// Takes bytes of a [`Body::Stream`] off the front of `data`, as many as there is room for, and
    /// returns their number. With `end`, the message ends once all of `data` is taken.
    ///
    /// What remains in `data` tells how to go on, not the number. If nothing remains, all is taken.
    /// If bytes remain, [`Event::Writable`](Event::Writable) asks for them when there is room; keep
    /// them until then. Only a message that takes no body, or no more of it, asks for nothing: it
    /// has not begun or has ended by this owner's own calls, or its stream is over, as
    /// [`Event::Reset`](Event::Reset) or [`Event::Closed`](Event::Closed) reports. Drop the bytes.
    ///
    /// HTTP/1.1: a body whose length differs from the head's content-length can't be sent, so the
    /// connection closes.
    fn write(&mut self, data: &mut Bytes, end: bool) -> usize;

    /// Ends a [`Body::Stream`] with trailers, after the written bytes. An HTTP/1.1 message that
    /// isn't chunked leaves them out.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was sent then.
    fn trailers(&mut self, fields: &Fields) -> Result<(), Misuse>;

    /// Server: promises a response to a request that the client hasn't made. Returns the stream on
    /// which to call `respond`.
    ///
    /// # Errors
    /// Returns the [`Misuse`]; nothing was promised then. HTTP/1.1 has no push: it is always
    /// [`Misuse::PushDisabled`].
    fn push(&mut self, _head: &RequestHead) -> Result<StreamId, Misuse> {
        Err(Misuse::PushDisabled)
    }

    /// Returns flow-control credit for `bytes` of [`Event::Data`](Event::Data). Without it
    /// the peer runs out of window and stops; in HTTP/1.1 no more of the body is read. The
    /// remaining credit of a finished stream is returned automatically.
    fn consume(&mut self, bytes: usize);

    /// Returns the bytes reported as [`Event::Data`](Event::Data) and not consumed yet.
    fn unconsumed(&self) -> usize;

    /// Limits the growth of this stream's receive window to `bytes`, if that is less than
    /// [`Config::max_stream_window_size`](crate::Config::max_stream_window_size). A larger window
    /// keeps its size. HTTP/1.1 has no window that grows.
    fn limit_window(&mut self, _bytes: u32) {}

    /// Waits for the rest of the peer's body without a time limit:
    /// [`Timeouts::body`](crate::Timeouts::body) and
    /// [`Config::min_body_rate`](crate::Config::min_body_rate) no longer apply to this stream.
    fn lift_body_timeout(&mut self);

    /// Server: lets a tunnel end with our own direction, while its two directions otherwise end
    /// independently. HTTP/2 ignores the client's later bytes: as after any other response some are
    /// accepted, then the stream is reset with NO_ERROR. HTTP/1.1 closes the connection, whatever
    /// the client still sends.
    fn end_tunnel(&mut self);

    /// Server: treats an HTTP/1.1 request for a WebSocket as an ordinary GET, so a 2xx that follows
    /// is an ordinary response. RFC 9110 §7.8: "A server MAY ignore a received Upgrade header
    /// field". In HTTP/2 such a request is nothing else.
    fn decline_upgrade(&mut self) {}

    /// Sets the stream's priority among those that want to send. A later signal of the client
    /// replaces it. HTTP/1.1 has one response at a time, and no priorities.
    fn prioritize(&mut self, _priority: Priority) {}

    /// Like [`prioritize`](Self::prioritize), but only while neither the client nor `prioritize`
    /// has set the stream's priority: for defaults by the kind of content. Call it before
    /// [`respond`](Self::respond), whose `priority` field is merged over it.
    fn suggest_priority(&mut self, _priority: Priority) {}

    /// Returns the stream's priority among those that want to send.
    fn priority(&self) -> Priority {
        Priority::default()
    }

    /// Sends RST_STREAM and releases the stream. No event follows. A stream that was reset already
    /// is only released.
    ///
    /// HTTP/1.1: closes the connection without the rest of the exchange, so that no peer takes it
    /// for complete, and [`Event::Closed`](Event::Closed) follows. The answers to earlier
    /// requests still go out, unless only a reset of the transport can show the truncation.
    fn reset(&mut self, code: ErrorCode);

    /// Releases a stream after [`Event::Reset`](Event::Reset): its slot is free again. Does
    /// nothing on a stream that was not reset, as those of HTTP/1.1 never are.
    fn release(&mut self) {}

    /// Does what has to be done for an event of this stream ([`Event::stream_id`]) that its owner
    /// has no use for: consumes data, releases a stream that was reset, and cancels a push. A
    /// request still wants an answer, and a body that was announced its bytes.
    fn ignore(&mut self, event: &Event) {
        match event {
            Event::Data { data, .. } => self.consume(data.len()),
            Event::Reset { .. } => self.release(),
            Event::PushPromise { .. } => self.reset(ErrorCode::CANCEL),
            _ => {}
        }
    }
}
