//! Frames that break the format of their kind.

use crate::{ErrorCode, StreamId};

/// How much a fault brings down (RFC 9113 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole connection: GOAWAY.
    Connection,
    /// One stream: RST_STREAM.
    Stream,
}

/// A frame that breaks the format of its kind, with the stream of its head. The defect and the
/// stream decide the error code and the scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The rule that the frame breaks.
    pub defect: Defect,
    /// The stream of the frame's head.
    pub stream_id: StreamId,
}

/// The ways in which a frame can be wrong by itself, whatever the state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Defect {
    /// A frame of any kind is larger than our SETTINGS_MAX_FRAME_SIZE.
    FrameOverMaxFrameSize,
    /// DATA on stream 0.
    DataOnStreamZero,
    /// DATA with more padding than payload.
    DataPaddingTooLong,
    /// Padded DATA without a pad length.
    DataTooShort,
    /// HEADERS on stream 0.
    HeadersOnStreamZero,
    /// HEADERS with more padding than payload.
    HeadersPaddingTooLong,
    /// HEADERS too short for what its flags promise.
    HeadersTooShort,
    /// PRIORITY on stream 0.
    PriorityOnStreamZero,
    /// PRIORITY whose length is not 5: a stream error.
    PriorityLengthNot5,
    /// RST_STREAM on stream 0.
    RstStreamOnStreamZero,
    /// RST_STREAM whose length is not 4.
    RstStreamLengthNot4,
    /// SETTINGS on a stream.
    SettingsOnStream,
    /// SETTINGS whose length is not a multiple of 6.
    SettingsLengthNotMultipleOf6,
    /// Acknowledgement of SETTINGS with a payload.
    SettingsAckWithPayload,
    /// PUSH_PROMISE on stream 0.
    PushPromiseOnStreamZero,
    /// PUSH_PROMISE with more padding than payload.
    PushPromisePaddingTooLong,
    /// PUSH_PROMISE too short for a promised stream.
    PushPromiseTooShort,
    /// PUSH_PROMISE of a stream that is 0 or odd.
    PushPromiseOfInvalidStream,
    /// PING on a stream.
    PingOnStream,
    /// PING whose length is not 8.
    PingLengthNot8,
    /// GOAWAY on a stream.
    GoAwayOnStream,
    /// GOAWAY shorter than 8 bytes.
    GoAwayTooShort,
    /// WINDOW_UPDATE whose length is not 4.
    WindowUpdateLengthNot4,
    /// WINDOW_UPDATE of 0: on stream 0 a connection error, else a stream error.
    WindowUpdateOfZero,
    /// CONTINUATION on stream 0.
    ContinuationOnStreamZero,
    /// PRIORITY_UPDATE on a stream.
    PriorityUpdateOnStream,
    /// PRIORITY_UPDATE shorter than 4 bytes.
    PriorityUpdateTooShort,
    /// PRIORITY_UPDATE of stream 0.
    PriorityUpdateOfStreamZero,
}

impl Malformed {
    /// Returns the error code that the RFC prescribes.
    pub fn code(&self) -> ErrorCode {
        self.defect.facts().code
    }

    /// Returns what fails: the stream or the connection.
    pub fn scope(&self) -> Scope {
        match self.defect {
            Defect::PriorityLengthNot5 => Scope::Stream,
            Defect::WindowUpdateOfZero if !self.stream_id.is_connection() => Scope::Stream,
            _ => Scope::Connection,
        }
    }
}

impl Defect {
    /// Returns the section that forbids the defect, such as `RFC 9113 §6.9`.
    pub fn section(self) -> &'static str {
        self.facts().section
    }

    /// The table of defects.
    fn facts(self) -> Facts {
        const PROTOCOL: ErrorCode = ErrorCode::PROTOCOL_ERROR;
        const SIZE: ErrorCode = ErrorCode::FRAME_SIZE_ERROR;
        let (code, section, text) = match self {
            Self::FrameOverMaxFrameSize => (
                SIZE,
                "RFC 9113 §4.2",
                "frame larger than our SETTINGS_MAX_FRAME_SIZE",
            ),
            Self::DataOnStreamZero => (PROTOCOL, "RFC 9113 §6.1", "DATA on stream 0"),
            Self::DataPaddingTooLong => (
                PROTOCOL,
                "RFC 9113 §6.1",
                "DATA with more padding than payload",
            ),
            Self::DataTooShort => (SIZE, "RFC 9113 §4.2", "padded DATA without a pad length"),
            Self::HeadersOnStreamZero => (PROTOCOL, "RFC 9113 §6.2", "HEADERS on stream 0"),
            Self::HeadersPaddingTooLong => (
                PROTOCOL,
                "RFC 9113 §6.2",
                "HEADERS with more padding than payload",
            ),
            Self::HeadersTooShort => (
                SIZE,
                "RFC 9113 §4.2",
                "HEADERS too short for what its flags promise",
            ),
            Self::PriorityOnStreamZero => (PROTOCOL, "RFC 9113 §6.3", "PRIORITY on stream 0"),
            Self::PriorityLengthNot5 => (SIZE, "RFC 9113 §6.3", "PRIORITY whose length is not 5"),
            Self::RstStreamOnStreamZero => (PROTOCOL, "RFC 9113 §6.4", "RST_STREAM on stream 0"),
            Self::RstStreamLengthNot4 => {
                (SIZE, "RFC 9113 §6.4", "RST_STREAM whose length is not 4")
            }
            Self::SettingsOnStream => (PROTOCOL, "RFC 9113 §6.5", "SETTINGS on a stream"),
            Self::SettingsLengthNotMultipleOf6 => (
                SIZE,
                "RFC 9113 §6.5",
                "SETTINGS whose length is not a multiple of 6",
            ),
            Self::SettingsAckWithPayload => (
                SIZE,
                "RFC 9113 §6.5",
                "acknowledgement of SETTINGS with a payload",
            ),
            Self::PushPromiseOnStreamZero => {
                (PROTOCOL, "RFC 9113 §6.6", "PUSH_PROMISE on stream 0")
            }
            Self::PushPromisePaddingTooLong => (
                PROTOCOL,
                "RFC 9113 §6.6",
                "PUSH_PROMISE with more padding than payload",
            ),
            Self::PushPromiseTooShort => (
                SIZE,
                "RFC 9113 §4.2",
                "PUSH_PROMISE too short for a promised stream",
            ),
            Self::PushPromiseOfInvalidStream => (
                PROTOCOL,
                "RFC 9113 §6.6",
                "PUSH_PROMISE of a stream that is 0 or odd",
            ),
            Self::PingOnStream => (PROTOCOL, "RFC 9113 §6.7", "PING on a stream"),
            Self::PingLengthNot8 => (SIZE, "RFC 9113 §6.7", "PING whose length is not 8"),
            Self::GoAwayOnStream => (PROTOCOL, "RFC 9113 §6.8", "GOAWAY on a stream"),
            Self::GoAwayTooShort => (SIZE, "RFC 9113 §4.2", "GOAWAY shorter than 8 bytes"),
            Self::WindowUpdateLengthNot4 => {
                (SIZE, "RFC 9113 §6.9", "WINDOW_UPDATE whose length is not 4")
            }
            Self::WindowUpdateOfZero => (PROTOCOL, "RFC 9113 §6.9", "WINDOW_UPDATE of 0"),
            Self::ContinuationOnStreamZero => {
                (PROTOCOL, "RFC 9113 §6.10", "CONTINUATION on stream 0")
            }
            Self::PriorityUpdateOnStream => {
                (PROTOCOL, "RFC 9218 §7.1", "PRIORITY_UPDATE on a stream")
            }
            Self::PriorityUpdateTooShort => (
                SIZE,
                "RFC 9113 §4.2",
                "PRIORITY_UPDATE shorter than 4 bytes",
            ),
            Self::PriorityUpdateOfStreamZero => {
                (PROTOCOL, "RFC 9218 §7.1", "PRIORITY_UPDATE of stream 0")
            }
        };
        Facts {
            code,
            section,
            text,
        }
    }
}

/// A row of the table of defects.
struct Facts {
    code: ErrorCode,
    section: &'static str,
    text: &'static str,
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.facts().text)
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Facts {
            code,
            section,
            text,
        } = self.defect.facts();
        write!(f, "{code}: {text} (stream {}, {section})", self.stream_id)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_frame_says_what_and_where() {
        let malformed = Malformed {
            defect: Defect::WindowUpdateOfZero,
            stream_id: StreamId::new(3),
        };
        assert_eq!(
            malformed.to_string(),
            "PROTOCOL_ERROR: WINDOW_UPDATE of 0 (stream 3, RFC 9113 §6.9)"
        );
        assert_eq!(malformed.defect.section(), "RFC 9113 §6.9");
    }
}
