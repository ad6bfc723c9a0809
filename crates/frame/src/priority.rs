//! PRIORITY (RFC 9113 §6.3), and the signal that it shares with HEADERS.

use bytes::{Buf, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A PRIORITY frame, deprecated but still sent (RFC 9113 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The stream; not 0.
    pub stream_id: StreamId,
    /// The signal. The engine judges a dependency of the stream on itself.
    pub dependency: StreamDependency,
}

/// The RFC 7540 priority signal of HEADERS and PRIORITY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamDependency {
    /// The parent; 0 is the root.
    pub depends_on: StreamId,
    /// Whether the stream becomes its parent's only child.
    pub exclusive: bool,
    /// The weight as on the wire, one less than its value: 0 to 255 for 1 to 256.
    pub weight: u8,
}

impl StreamDependency {
    pub(crate) const LEN: usize = 5;

    #[inline]
    pub(crate) fn parse(input: &mut impl Buf) -> Self {
        let first = input.get_u32();
        Self {
            depends_on: StreamId::new(first),
            exclusive: first >> 31 == 1,
            weight: input.get_u8(),
        }
    }

    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let first = self.depends_on.get() | u32::from(self.exclusive) << 31;
        out.extend_from_slice(&first.to_be_bytes());
        out.push(self.weight);
    }
}

impl Priority {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::PriorityOnStreamZero);
        }
        if head.length != StreamDependency::LEN as u32 {
            return Err(Defect::PriorityLengthNot5);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        Ok(Self {
            stream_id: head.stream_id,
            dependency: StreamDependency::parse(input),
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let length = StreamDependency::LEN as u32;
        let stream_id = self.stream_id;
        Head {
            length,
            kind: Kind::PRIORITY,
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        self.dependency.write(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{ErrorCode, Frame, Reader, Scope};

    fn priority(depends_on: u32, exclusive: bool, weight: u8) -> Frame {
        Frame::Priority(Priority {
            stream_id: StreamId::new(9),
            dependency: StreamDependency {
                depends_on: StreamId::new(depends_on),
                exclusive,
                weight,
            },
        })
    }

    #[test]
    fn priority_is_written_as_it_is_read() {
        round_trip(
            &priority(11, false, 7),
            b"\0\0\x05\x02\0\0\0\0\x09\0\0\0\x0b\x07",
        );
        round_trip(
            &priority(11, true, 0),
            b"\0\0\x05\x02\0\0\0\0\x09\x80\0\0\x0b\0",
        );
        // The engine judges a dependency on itself (RFC 9113 §5.3.1).
        round_trip(
            &priority(9, false, 255),
            b"\0\0\x05\x02\0\0\0\0\x09\0\0\0\x09\xff",
        );
    }

    /// RFC 9113 §6.3: "If a PRIORITY frame is received with a stream identifier of 0x00, the
    /// recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x05\x02\0\0\0\0\0",
            Defect::PriorityOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.3: "A PRIORITY frame with a length other than 5 octets MUST be treated as a
    /// stream error (Section 5.4.2) of type FRAME_SIZE_ERROR."
    #[test]
    fn other_lengths_fail_the_stream_only() {
        for length in [0, 4, 6, 16_384] {
            let head = Head {
                length,
                kind: Kind::PRIORITY,
                flags: Flags::NONE,
                stream_id: StreamId::new(9),
            };
            let mut bytes = head.to_bytes().to_vec();
            refused(
                &bytes,
                Defect::PriorityLengthNot5,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Stream,
            );
            bytes.resize(bytes.len() + length as usize, 0xaa);
            priority(1, false, 1).write(&mut bytes);
            let mut input = BytesMut::from(&bytes[..]);
            let mut reader = Reader::new(16_384);
            reader.next(&mut input).expect_err("the length is wrong");
            assert_eq!(reader.next(&mut input), Ok(Some(priority(1, false, 1))));
        }
    }
}
