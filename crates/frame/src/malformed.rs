//! A frame that can't be what it says it is.

use crate::{ErrorCode, StreamId};

/// How much a fault brings down (RFC 9113 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole connection: GOAWAY.
    Connection,
    /// One stream: RST_STREAM.
    Stream,
}

/// A frame that breaks the format of its kind, with the stream it was for. It knows its own code and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub defect: Defect,
    /// The stream of the frame's head.
    pub stream_id: StreamId,
}

/// The ways for a frame to be wrong in itself, without any regard to state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Defect {
    FrameOverMaxFrameSize,
    DataOnStreamZero,
    DataPaddingTooLong,
    HeadersOnStreamZero,
    HeadersPaddingTooLong,
    HeadersTooShort,
    PriorityOnStreamZero,
    /// A stream error (RFC 9113 §6.3).
    PriorityLengthNot5,
    RstStreamOnStreamZero,
    RstStreamLengthNot4,
    SettingsOnStream,
    SettingsLengthNotMultipleOf6,
    SettingsAckWithPayload,
    PushPromiseOnStreamZero,
    PushPromisePaddingTooLong,
    PushPromiseTooShort,
    /// The promised stream is 0 or odd.
    PushPromiseOfInvalidStream,
    PingOnStream,
    PingLengthNot8,
    GoAwayOnStream,
    GoAwayTooShort,
    WindowUpdateLengthNot4,
    /// On stream 0: a connection error; else a stream error (RFC 9113 §6.9).
    WindowUpdateOfZero,
    ContinuationOnStreamZero,
    PriorityUpdateOnStream,
    PriorityUpdateTooShort,
    PriorityUpdateOfStreamZero,
}

impl Malformed {
    /// The error code that the RFC names.
    pub fn code(&self) -> ErrorCode {
        todo!()
    }

    /// Whether the stream or the connection fails.
    pub fn scope(&self) -> Scope {
        todo!()
    }
}
