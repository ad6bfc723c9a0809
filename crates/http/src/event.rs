//! The events that the engine reports to its owner. They own their values, so a handler may hold
//! other connections meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use tidegate_frame::{ErrorCode, StreamId};

use crate::error::{CloseReason, ResetCause};
use crate::message::{Fields, RequestHead, ResponseHead};

/// An event that the owner of a connection must handle, in the order in which it happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Server: a request. Answer it with [`Stream::respond`](crate::Stream::respond), now or
    /// later.
    Request {
        /// The request's stream.
        id: StreamId,
        /// The request's head, validated by RFC 9113 §8. The engine may keep it for a request that
        /// repeats it.
        head: Arc<RequestHead>,
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
    /// [`Stream::consume`](crate::Stream::consume) returns it.
    Data {
        /// The message's stream.
        id: StreamId,
        /// The piece without padding; empty only when `end` is set.
        data: Bytes,
        /// Whether the message ends here.
        end: bool,
    },
    /// The peer's trailers. The message ends here.
    Trailers {
        /// The message's stream.
        id: StreamId,
        /// The trailers; they have no pseudo-fields.
        fields: Fields,
    },
    /// This stream has its turn to send: pass up to `want` bytes to
    /// [`Stream::write`](crate::Stream::write). If there are none yet, call `write` when there are;
    /// the event doesn't come again until then. After a `write`, it comes again as soon as there is
    /// room, until the message ends.
    Writable {
        /// The stream whose body was announced as [`Body::Stream`](crate::Body::Stream).
        id: StreamId,
        /// The bytes that the stream takes now; at least 1.
        want: usize,
    },
    /// Client: the server announced a push on behalf of request `id`.
    PushPromise {
        /// The request to which the push belongs.
        id: StreamId,
        /// The stream of the pushed response. Reset it with CANCEL if the push isn't wanted.
        promised: StreamId,
        /// The request that the server answers by itself.
        head: RequestHead,
    },
    /// The stream ended before its messages were complete. Stop working on it, then call
    /// [`Stream::release`](crate::Stream::release): until then it counts as a concurrent stream.
    ///
    /// Streams that the owner hasn't seen (malformed requests) are reported too, for the log, and
    /// so are pushes that the client cancels after their response went out. Releasing those does
    /// nothing.
    Reset {
        /// The stream.
        id: StreamId,
        /// The code that the RST_STREAM frame carried.
        code: ErrorCode,
        /// The end that reset it, and the reason.
        cause: ResetCause,
    },
    /// The peer's first SETTINGS, or changed ones; the connection's `peer_settings` returns them.
    PeerSettings,
    /// The peer sent GOAWAY. Our streams above `last` were not processed: each is reported as an
    /// [`Event::Reset`] with REFUSED_STREAM, and can be retried elsewhere.
    GoingAway {
        /// The last stream that the peer processed or may still process.
        last: StreamId,
        /// NO_ERROR for a graceful end.
        code: ErrorCode,
        /// The peer's debug data, if any.
        debug_data: Bytes,
    },
    /// The peer sent a frame of a type that the engine doesn't know. RFC 9113 §5.5 has it ignored,
    /// and so it is; its payload is dropped unread. Only with
    /// [`Config::report_unknown_frames`](crate::Config::report_unknown_frames).
    UnknownFrame {
        /// The frame's type.
        kind: u8,
        /// The stream in the frame's head, in whatever state; 0 is the connection.
        id: StreamId,
        /// The payload's length in bytes.
        len: u32,
    },
    /// No more of our message on this stream goes out: all of it is in the outbox, or it was cut
    /// off. Each message whose final head was sent has one such event, before [`Event::Closed`];
    /// one that was reset has it when the stream is released. Only with
    /// [`Config::report_sent`](crate::Config::report_sent).
    Sent {
        /// The message's stream. It may be over, and have no handle.
        id: StreamId,
        /// The bytes of the body that went out, without heads, trailers and framing.
        bytes: u64,
        /// Whether the message went out to its end.
        complete: bool,
    },
    /// The connection and all its streams have ended. Write out the rest of `transmit`, then close
    /// the transport. No event follows.
    Closed(CloseReason),
}

impl Event {
    /// Returns the stream that the event is about, if it is about one: for a promise, the stream of
    /// the pushed response.
    pub fn stream_id(&self) -> Option<StreamId> {
        match *self {
            Self::Request { id, .. }
            | Self::Informational { id, .. }
            | Self::Response { id, .. }
            | Self::Data { id, .. }
            | Self::Trailers { id, .. }
            | Self::Writable { id, .. }
            | Self::Sent { id, .. }
            | Self::PushPromise { promised: id, .. }
            | Self::Reset { id, .. } => Some(id),
            Self::PeerSettings
            | Self::GoingAway { .. }
            | Self::UnknownFrame { .. }
            | Self::Closed(_) => None,
        }
    }
}

/// The result of an engine's `transmit`.
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// All output that can go out now is in the outbox.
    Drained,
    /// The outbox has no room for the next output: write out what it has, then call again.
    Full,
    /// The owner must handle an event, in most cases [`Event::Writable`]. Then call `transmit`
    /// again.
    Event(Event),
    /// The last bytes of this connection are in the outbox: write it out, then close the transport.
    Closed,
}
