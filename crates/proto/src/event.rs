//! What the engine tells its owner. Owned values only, so a handler may hold other connections
//! meanwhile.

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};

use crate::error::{CloseReason, ResetCause};
use crate::message::{Fields, RequestHead, ResponseHead};

/// Something that the owner of a connection must know, in the order in which it happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Server: a request. Answer it with [`StreamMut::respond`](crate::StreamMut::respond), now or
    /// later.
    Request {
        /// The request's stream.
        id: StreamId,
        /// Validated by RFC 9113 §8.
        head: RequestHead,
        /// Whether the request has no body and no trailers.
        end: bool,
    },
    /// Client: an interim response (1xx). The final one is still to come.
    Informational {
        /// The request's stream.
        id: StreamId,
        /// A status of 100 to 199.
        head: ResponseHead,
    },
    /// Client: the final response.
    Response {
        /// The request's stream.
        id: StreamId,
        /// A status of 200 or more.
        head: ResponseHead,
        /// Whether the response has no body and no trailers.
        end: bool,
    },
    /// A piece of the peer's body. Its bytes hold flow-control credit until
    /// [`StreamMut::consume`](crate::StreamMut::consume) gives them back.
    Data {
        /// The message's stream.
        id: StreamId,
        /// Padding removed; empty only when `end` is set.
        data: Bytes,
        /// Whether the message ends here.
        end: bool,
    },
    /// The peer's trailers. The message ends here.
    Trailers {
        /// The message's stream.
        id: StreamId,
        /// No pseudo-fields.
        fields: Fields,
    },
    /// It is this stream's turn to send: give up to `want` bytes to
    /// [`StreamMut::write`](crate::StreamMut::write). If there are none yet, call `write` when
    /// there are; it is not asked for again until then.
    Writable {
        /// The stream whose body was announced as [`Body::Stream`](crate::Body::Stream).
        id: StreamId,
        /// Bytes that windows and outbox have room for; at least 1.
        want: usize,
    },
    /// Client: the server announced a push on behalf of request `id`.
    PushPromise {
        /// The request that it belongs to.
        id: StreamId,
        /// The stream that the response will come on. Reset it with CANCEL if it is not wanted.
        promised: StreamId,
        /// The request that the server answers unasked.
        head: RequestHead,
    },
    /// The stream is over before its messages were whole. Stop working on it, then call
    /// [`StreamMut::release`](crate::StreamMut::release): until then it keeps its place among the
    /// concurrent streams.
    ///
    /// Also told of streams that the owner never heard of (a malformed request), for the log, and
    /// of pushes that the client cancels after their response went out; releasing those is a no-op.
    Reset {
        /// The stream.
        id: StreamId,
        /// The code that the RST_STREAM frame carried.
        code: ErrorCode,
        /// Who reset it, and why.
        cause: ResetCause,
    },
    /// The peer's first SETTINGS, or changed ones; see
    /// [`Connection::peer_settings`](crate::Connection::peer_settings).
    PeerSettings,
    /// The peer sent GOAWAY. Streams of ours above `last` were not processed and are told as
    /// [`Event::Reset`] with REFUSED_STREAM: they can be retried elsewhere.
    GoingAway {
        /// The last stream that the peer processed or might yet process.
        last: StreamId,
        /// NO_ERROR for a graceful end.
        code: ErrorCode,
        /// The peer's words, if any.
        debug_data: Bytes,
    },
    /// The connection is over; all its streams are. Flush what
    /// [`Connection::transmit`](crate::Connection::transmit) still gives, then close the transport.
    /// Nothing follows.
    Closed(CloseReason),
}
