//! Frames of unknown types (RFC 9113 §5.5).

use crate::{Flags, Head, Kind, StreamId};

/// A frame that the reader skips. The engine counts it, and refuses it inside a field block (RFC
/// 9113 §5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The frame type.
    pub kind: u8,
    /// The stream of the frame's head.
    pub stream_id: StreamId,
    /// The length of the payload in bytes; it may not have arrived yet.
    pub length: u32,
}

impl Unknown {
    /// Appends a frame of this type and length to `out`, without flags and filled with zeros.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self {
            kind,
            stream_id,
            length,
        } = *self;
        Head {
            length,
            kind: Kind(kind),
            flags: Flags::NONE,
            stream_id,
        }
        .write(out);
        out.resize(out.len() + length as usize, 0);
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::testing::round_trip;
    use crate::{Frame, Ping, Reader};

    const UNKNOWN: Unknown = Unknown {
        kind: 0xbe,
        stream_id: StreamId::new(7),
        length: 1000,
    };

    #[test]
    fn unknown_frames_are_written_as_they_are_read() {
        let empty = Unknown {
            length: 0,
            ..UNKNOWN
        };
        round_trip(&Frame::Unknown(empty), b"\0\0\0\xbe\0\0\0\0\x07");
    }

    /// RFC 9113 §5.5: "Implementations MUST discard frames that have unknown or unsupported types."
    #[test]
    fn unknown_frames_are_reported_at_once_and_skipped_as_they_arrive() {
        let mut bytes = Vec::new();
        UNKNOWN.write(&mut bytes);
        let ping = Ping {
            ack: false,
            payload: [7; 8],
        };
        ping.write(&mut bytes);

        let mut reader = Reader::new(16_384);
        let mut input = BytesMut::from(&bytes[..Head::LEN]);
        assert_eq!(reader.next(&mut input), Ok(Some(Frame::Unknown(UNKNOWN))));
        for piece in bytes[Head::LEN..Head::LEN + 1000].chunks(99) {
            input.extend_from_slice(piece);
            assert_eq!(reader.next(&mut input), Ok(None));
            assert!(input.is_empty(), "{} bytes are buffered", input.len());
        }
        input.extend_from_slice(&bytes[Head::LEN + 1000..]);
        assert_eq!(reader.next(&mut input), Ok(Some(Frame::Ping(ping))));
        assert_eq!(reader.next(&mut input), Ok(None));
    }
}
