//! GOAWAY (RFC 9113 §6.8).

use bytes::{Buf, Bytes, BytesMut};

use crate::{Defect, ErrorCode, Flags, Head, Kind, StreamId};

/// A GOAWAY frame: the sender accepts no more streams (RFC 9113 §6.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoAway {
    /// The highest stream of the receiver that the sender has processed or may still process.
    pub last_stream_id: StreamId,
    /// The reason.
    pub code: ErrorCode,
    /// Text for people, in any format.
    pub debug_data: Bytes,
}

impl GoAway {
    /// Bytes before the debug data.
    const MIN_LEN: u32 = 8;

    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if !head.stream_id.is_connection() {
            return Err(Defect::GoAwayOnStream);
        }
        if head.length < Self::MIN_LEN {
            return Err(Defect::GoAwayTooShort);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        Ok(Self {
            last_stream_id: StreamId::new(input.get_u32()),
            code: ErrorCode(input.get_u32()),
            debug_data: input
                .split_to((head.length - Self::MIN_LEN) as usize)
                .freeze(),
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = Self::MIN_LEN + self.debug_data.len() as u32;
        let stream_id = StreamId::CONNECTION;
        Head {
            length,
            kind: Kind::GOAWAY,
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        out.extend_from_slice(&self.last_stream_id.get().to_be_bytes());
        out.extend_from_slice(&self.code.0.to_be_bytes());
        out.extend_from_slice(&self.debug_data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{Frame, Scope};

    #[test]
    fn goaway_is_written_as_it_is_read() {
        let goaway = GoAway {
            last_stream_id: StreamId::MAX,
            code: ErrorCode::ENHANCE_YOUR_CALM,
            debug_data: Bytes::new(),
        };
        round_trip(
            &Frame::GoAway(goaway.clone()),
            b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0b",
        );
        let explained = GoAway {
            debug_data: Bytes::from_static(b"pings"),
            ..goaway
        };
        round_trip(
            &Frame::GoAway(explained),
            b"\0\0\x0d\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\x0bpings",
        );
    }

    /// RFC 9113 §6.8: "An endpoint MUST treat a GOAWAY frame with a stream identifier other than
    /// 0x00 as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn streams_are_refused() {
        refused(
            b"\0\0\x08\x07\0\0\0\0\x01",
            Defect::GoAwayOnStream,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §4.2: FRAME_SIZE_ERROR "if a frame [...] is too small to contain mandatory frame
    /// data".
    #[test]
    fn short_frames_are_refused() {
        refused(
            b"\0\0\x07\x07\0\0\0\0\0",
            Defect::GoAwayTooShort,
            ErrorCode::FRAME_SIZE_ERROR,
            Scope::Connection,
        );
    }
}
