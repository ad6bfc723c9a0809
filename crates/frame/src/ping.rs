//! PING (RFC 9113 §6.7).

use bytes::{Buf, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A PING frame (RFC 9113 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Whether the frame answers one of ours.
    pub ack: bool,
    /// Eight bytes that the sender chose and the answer repeats.
    pub payload: [u8; 8],
}

impl Ping {
    const LEN: u32 = 8;

    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if !head.stream_id.is_connection() {
            return Err(Defect::PingOnStream);
        }
        if head.length != Self::LEN {
            return Err(Defect::PingLengthNot8);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        let payload = input.get_u64().to_be_bytes();
        Ok(Self {
            ack: head.flags.has(Flags::ACK),
            payload,
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let flags = Flags::NONE.with(Flags::ACK, self.ack);
        let stream_id = StreamId::CONNECTION;
        Head {
            length: Self::LEN,
            kind: Kind::PING,
            flags,
            stream_id,
        }
        .write(out);
        out.extend_from_slice(&self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    #[test]
    fn ping_is_written_as_it_is_read() {
        for (ack, bytes) in [
            (false, b"\0\0\x08\x06\0\0\0\0\0deadbeef"),
            (true, b"\0\0\x08\x06\x01\0\0\0\0deadbeef"),
        ] {
            round_trip(
                &Frame::Ping(Ping {
                    ack,
                    payload: *b"deadbeef",
                }),
                bytes,
            );
        }
    }

    /// RFC 9113 §6.7: "If a PING frame is received with a Stream Identifier field value other than
    /// 0x00, the recipient MUST respond with a connection error (Section 5.4.1) of type
    /// PROTOCOL_ERROR."
    #[test]
    fn streams_are_refused() {
        refused(
            b"\0\0\x08\x06\0\0\0\0\x01",
            Defect::PingOnStream,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.7: "Receipt of a PING frame with a length field value other than 8 MUST be
    /// treated as a connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    #[test]
    fn other_lengths_are_refused() {
        for bytes in [b"\0\0\x07\x06\0\0\0\0\0", b"\0\0\x09\x06\0\0\0\0\0"] {
            refused(
                bytes,
                Defect::PingLengthNot8,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }
}
