//! CONTINUATION (RFC 9113 §6.10).

use bytes::{Bytes, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A CONTINUATION frame: more of a field block (RFC 9113 §6.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The stream of the preceding HEADERS or PUSH_PROMISE; not 0.
    pub stream_id: StreamId,
    /// The next piece of the field block. May be empty.
    pub fragment: Bytes,
    /// Whether the field block is complete.
    pub end_headers: bool,
}

impl Continuation {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::ContinuationOnStreamZero);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        Ok(Self {
            stream_id: head.stream_id,
            fragment: input.split_to(head.length as usize).freeze(),
            end_headers: head.flags.has(Flags::END_HEADERS),
        })
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_frame(self.stream_id, &self.fragment, self.end_headers, out);
    }

    /// Appends the part of a field block that the first frame couldn't hold, in payloads of at most
    /// `max_frame_size` bytes. An empty `rest` appends nothing.
    #[inline]
    pub(crate) fn write_rest(
        stream_id: StreamId,
        mut rest: &[u8],
        max_frame_size: u32,
        out: &mut Vec<u8>,
    ) {
        while !rest.is_empty() {
            let (fragment, after) = rest.split_at(rest.len().min(max_frame_size.max(1) as usize));
            write_frame(stream_id, fragment, after.is_empty(), out);
            rest = after;
        }
    }
}

fn write_frame(stream_id: StreamId, fragment: &[u8], end_headers: bool, out: &mut Vec<u8>) {
    let length = fragment.len() as u32;
    let flags = Flags::NONE.with(Flags::END_HEADERS, end_headers);
    Head {
        length,
        kind: Kind::CONTINUATION,
        flags,
        stream_id,
    }
    .write(out);
    out.extend_from_slice(fragment);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    #[test]
    fn continuation_is_written_as_it_is_read() {
        let stream_id = StreamId::new(50);
        let last = Continuation {
            stream_id,
            fragment: Bytes::from_static(b"rest"),
            end_headers: true,
        };
        round_trip(
            &Frame::Continuation(last),
            b"\0\0\x04\x09\x04\0\0\0\x32rest",
        );
        let empty = Continuation {
            stream_id,
            fragment: Bytes::new(),
            end_headers: false,
        };
        round_trip(&Frame::Continuation(empty), b"\0\0\0\x09\0\0\0\0\x32");
    }

    /// RFC 9113 §6.10: "If a CONTINUATION frame is received with a Stream Identifier field of 0x00,
    /// the recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x04\x09\x04\0\0\0\0",
            Defect::ContinuationOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }
}
