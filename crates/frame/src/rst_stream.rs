//! RST_STREAM (RFC 9113 §6.4).

use bytes::{Buf, BytesMut};

use crate::{Defect, ErrorCode, Flags, Head, Kind, StreamId};

/// A RST_STREAM frame: ends a stream at once (RFC 9113 §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RstStream {
    /// The stream; not 0.
    pub stream_id: StreamId,
    /// The reason.
    pub code: ErrorCode,
}

impl RstStream {
    const LEN: u32 = 4;

    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::RstStreamOnStreamZero);
        }
        if head.length != Self::LEN {
            return Err(Defect::RstStreamLengthNot4);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        Ok(Self {
            stream_id: head.stream_id,
            code: ErrorCode(input.get_u32()),
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let stream_id = self.stream_id;
        Head {
            length: Self::LEN,
            kind: Kind::RST_STREAM,
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        out.extend_from_slice(&self.code.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{Frame, Scope};

    #[test]
    fn rst_stream_is_written_as_it_is_read() {
        // RFC 9113 §7: unknown codes "MUST NOT trigger any special behavior". The frame keeps them.
        for code in [ErrorCode::CANCEL, ErrorCode(0xfedc_ba98)] {
            let mut bytes = b"\0\0\x04\x03\0\0\0\0\x05".to_vec();
            bytes.extend_from_slice(&code.0.to_be_bytes());
            round_trip(
                &Frame::RstStream(RstStream {
                    stream_id: StreamId::new(5),
                    code,
                }),
                &bytes,
            );
        }
    }

    /// RFC 9113 §6.4: "If a RST_STREAM frame is received with a stream identifier of 0x00, the
    /// recipient MUST treat this as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x04\x03\0\0\0\0\0",
            Defect::RstStreamOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.4: "A RST_STREAM frame with a length other than 4 octets MUST be treated as a
    /// connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    #[test]
    fn other_lengths_are_refused() {
        for bytes in [b"\0\0\x03\x03\0\0\0\0\x05", b"\0\0\x05\x03\0\0\0\0\x05"] {
            refused(
                bytes,
                Defect::RstStreamLengthNot4,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }
}
