//! WINDOW_UPDATE (RFC 9113 §6.9).

use bytes::{Buf, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A WINDOW_UPDATE frame: room for more DATA (RFC 9113 §6.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowUpdate {
    /// The stream, or 0 for the connection's own window.
    pub stream_id: StreamId,
    /// The bytes to add to the window, 1 to 2^31-1.
    pub increment: u32,
}

impl WindowUpdate {
    const LEN: u32 = 4;

    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.length != Self::LEN {
            return Err(Defect::WindowUpdateLengthNot4);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        // The first bit is reserved.
        let increment = input.get_u32() & 0x7fff_ffff;
        if increment == 0 {
            return Err(Defect::WindowUpdateOfZero);
        }
        Ok(Self {
            stream_id: head.stream_id,
            increment,
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let stream_id = self.stream_id;
        Head {
            length: Self::LEN,
            kind: Kind::WINDOW_UPDATE,
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        out.extend_from_slice(&(self.increment & 0x7fff_ffff).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{read, refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    #[test]
    fn window_update_is_written_as_it_is_read() {
        let one = WindowUpdate {
            stream_id: StreamId::CONNECTION,
            increment: 1,
        };
        round_trip(
            &Frame::WindowUpdate(one),
            b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01",
        );
        let most = WindowUpdate {
            stream_id: StreamId::new(5),
            increment: 0x7fff_ffff,
        };
        round_trip(
            &Frame::WindowUpdate(most),
            b"\0\0\x04\x08\0\0\0\0\x05\x7f\xff\xff\xff",
        );
        let reserved = read(b"\0\0\x04\x08\0\0\0\0\x05\xff\xff\xff\xff");
        assert_eq!(reserved, Ok(Some(Frame::WindowUpdate(most))));
    }

    /// RFC 9113 §6.9: "A receiver MUST treat the receipt of a WINDOW_UPDATE frame with a
    /// flow-control window increment of 0 as a stream error (Section 5.4.2) of type PROTOCOL_ERROR;
    /// errors on the connection flow-control window MUST be treated as a connection error (Section
    /// 5.4.1)."
    #[test]
    fn an_increment_of_0_fails_what_it_was_for() {
        for (bytes, scope) in [
            (b"\0\0\x04\x08\0\0\0\0\x05\0\0\0\0", Scope::Stream),
            (b"\0\0\x04\x08\0\0\0\0\x05\x80\0\0\0", Scope::Stream),
            (b"\0\0\x04\x08\0\0\0\0\0\0\0\0\0", Scope::Connection),
        ] {
            refused(
                bytes,
                Defect::WindowUpdateOfZero,
                ErrorCode::PROTOCOL_ERROR,
                scope,
            );
        }
    }

    /// RFC 9113 §6.9: "A WINDOW_UPDATE frame with a length other than 4 octets MUST be treated as a
    /// connection error (Section 5.4.1) of type FRAME_SIZE_ERROR."
    #[test]
    fn other_lengths_are_refused() {
        for bytes in [b"\0\0\x03\x08\0\0\0\0\x05", b"\0\0\x05\x08\0\0\0\0\x05"] {
            refused(
                bytes,
                Defect::WindowUpdateLengthNot4,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }
}
