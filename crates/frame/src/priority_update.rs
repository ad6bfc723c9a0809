//! PRIORITY_UPDATE (RFC 9218 §7.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A PRIORITY_UPDATE frame: a new priority for a response (RFC 9218 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityUpdate {
    /// The stream whose response gets the priority; not 0.
    pub prioritized_id: StreamId,
    /// The priority field value.
    pub value: Bytes,
}

impl PriorityUpdate {
    /// Bytes before the field value.
    const MIN_LEN: u32 = 4;

    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if !head.stream_id.is_connection() {
            return Err(Defect::PriorityUpdateOnStream);
        }
        if head.length < Self::MIN_LEN {
            return Err(Defect::PriorityUpdateTooShort);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        let prioritized_id = StreamId::new(input.get_u32());
        if prioritized_id.is_connection() {
            return Err(Defect::PriorityUpdateOfStreamZero);
        }
        let value = input
            .split_to((head.length - Self::MIN_LEN) as usize)
            .freeze();
        Ok(Self {
            prioritized_id,
            value,
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = Self::MIN_LEN + self.value.len() as u32;
        let stream_id = StreamId::CONNECTION;
        Head {
            length,
            kind: Kind::PRIORITY_UPDATE,
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        out.extend_from_slice(&self.prioritized_id.get().to_be_bytes());
        out.extend_from_slice(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    #[test]
    fn priority_update_is_written_as_it_is_read() {
        for (value, bytes) in [
            (
                &b"u=1, i"[..],
                &b"\0\0\x0a\x10\0\0\0\0\0\0\0\0\x05u=1, i"[..],
            ),
            (b"", b"\0\0\x04\x10\0\0\0\0\0\0\0\0\x05"),
        ] {
            let (prioritized_id, value) = (StreamId::new(5), Bytes::from_static(value));
            round_trip(
                &Frame::PriorityUpdate(PriorityUpdate {
                    prioritized_id,
                    value,
                }),
                bytes,
            );
        }
    }

    /// RFC 9218 §7.1: the stream identifier "in the PRIORITY_UPDATE frame header MUST be zero
    /// (0x0). Receiving a PRIORITY_UPDATE frame with a field of any other value MUST be treated as
    /// a connection error of type PROTOCOL_ERROR."
    #[test]
    fn streams_are_refused() {
        refused(
            b"\0\0\x04\x10\0\0\0\0\x05",
            Defect::PriorityUpdateOnStream,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9218 §7.1: "If a PRIORITY_UPDATE frame is received with a Prioritized Stream ID of 0x0,
    /// the recipient MUST respond with a connection error of type PROTOCOL_ERROR."
    #[test]
    fn a_priority_for_stream_0_is_refused() {
        refused(
            b"\0\0\x04\x10\0\0\0\0\0\x80\0\0\0",
            Defect::PriorityUpdateOfStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §4.2: FRAME_SIZE_ERROR "if a frame [...] is too small to contain mandatory frame
    /// data".
    #[test]
    fn short_frames_are_refused() {
        refused(
            b"\0\0\x03\x10\0\0\0\0\0",
            Defect::PriorityUpdateTooShort,
            ErrorCode::FRAME_SIZE_ERROR,
            Scope::Connection,
        );
    }
}
