//! PUSH_PROMISE (RFC 9113 §6.6).

use bytes::{Buf, Bytes, BytesMut};

use crate::{Continuation, Defect, Flags, Head, Kind, StreamId};

/// A PUSH_PROMISE frame: the request that a pushed response will answer (RFC 9113 §6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushPromise {
    /// The stream of the request that led to the push; not 0.
    pub stream_id: StreamId,
    /// The stream that the pushed response will use; even and not 0.
    pub promised_id: StreamId,
    /// The field block, or its start if more follows in CONTINUATION. May be empty.
    pub fragment: Bytes,
    /// Whether the field block is complete.
    pub end_headers: bool,
}

/// Bytes of the promised stream's identifier.
const PROMISED_ID_LEN: u32 = 4;

impl PushPromise {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::PushPromiseOnStreamZero);
        }
        if head.length < mandatory(head.flags) {
            return Err(Defect::PushPromiseTooShort);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        let room = (head.length - mandatory(head.flags)) as usize;
        let padded = head.flags.has(Flags::PADDED);
        let padding = if padded {
            usize::from(input.get_u8())
        } else {
            0
        };
        let promised_id = StreamId::new(input.get_u32());
        let fragment_len = room
            .checked_sub(padding)
            .ok_or(Defect::PushPromisePaddingTooLong)?;
        // RFC 9113 §5.1.1: only servers promise, and "those initiated by the server MUST use
        // even-numbered stream identifiers".
        if !promised_id.is_server_initiated() {
            return Err(Defect::PushPromiseOfInvalidStream);
        }
        let fragment = input.split_to(fragment_len).freeze();
        input.advance(padding);
        Ok(Self {
            stream_id: head.stream_id,
            promised_id,
            fragment,
            end_headers: head.flags.has(Flags::END_HEADERS),
        })
    }

    /// Appends the frame's bytes to `out`, without padding.
    pub fn write(&self, out: &mut Vec<u8>) {
        write_frame(self, &self.fragment, None, out);
    }

    /// Appends the frame's bytes to `out`, with `padding` bytes of padding (and the pad length).
    pub fn write_padded(&self, padding: u8, out: &mut Vec<u8>) {
        write_frame(self, &self.fragment, Some(padding), out);
    }

    /// Appends a whole field block: a PUSH_PROMISE frame, and CONTINUATION frames for what it can't
    /// hold. No payload exceeds `max_frame_size` bytes, the peer's SETTINGS_MAX_FRAME_SIZE (at
    /// least 16,384 in the protocol).
    pub fn write_block(
        stream_id: StreamId,
        promised_id: StreamId,
        block: &[u8],
        max_frame_size: u32,
        out: &mut Vec<u8>,
    ) {
        let room = max_frame_size.saturating_sub(PROMISED_ID_LEN) as usize;
        let (fragment, rest) = block.split_at(block.len().min(room));
        let frame = Self {
            stream_id,
            promised_id,
            fragment: Bytes::new(),
            end_headers: rest.is_empty(),
        };
        write_frame(&frame, fragment, None, out);
        Continuation::write_rest(stream_id, rest, max_frame_size, out);
    }
}

/// Bytes of the payload besides fragment and padding.
#[inline]
fn mandatory(flags: Flags) -> u32 {
    u32::from(flags.has(Flags::PADDED)) + PROMISED_ID_LEN
}

/// Writes `frame` with `fragment` in place of its own.
fn write_frame(frame: &PushPromise, fragment: &[u8], padding: Option<u8>, out: &mut Vec<u8>) {
    let flags = Flags::NONE
        .with(Flags::END_HEADERS, frame.end_headers)
        .with(Flags::PADDED, padding.is_some());
    let length = mandatory(flags) + fragment.len() as u32 + u32::from(padding.unwrap_or(0));
    Head {
        length,
        kind: Kind::PUSH_PROMISE,
        flags,
        stream_id: frame.stream_id,
    }
    .write(out);
    out.extend(padding);
    out.extend_from_slice(&frame.promised_id.get().to_be_bytes());
    out.extend_from_slice(fragment);
    out.resize(out.len() + usize::from(padding.unwrap_or(0)), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{read, refused, round_trip};
    use crate::{ErrorCode, Frame, Reader, Scope};

    fn promise() -> PushPromise {
        PushPromise {
            stream_id: StreamId::new(1),
            promised_id: StreamId::new(2),
            fragment: Bytes::from_static(b"block"),
            end_headers: true,
        }
    }

    #[test]
    fn push_promise_is_written_as_it_is_read() {
        round_trip(
            &Frame::PushPromise(promise()),
            b"\0\0\x09\x05\x04\0\0\0\x01\0\0\0\x02block",
        );
        let empty = PushPromise {
            fragment: Bytes::new(),
            end_headers: false,
            ..promise()
        };
        round_trip(
            &Frame::PushPromise(empty),
            b"\0\0\x04\x05\0\0\0\0\x01\0\0\0\x02",
        );
    }

    #[test]
    fn padding_is_cut_off() {
        for padding in [0, 7, 255] {
            let mut bytes = Vec::new();
            promise().write_padded(padding, &mut bytes);
            assert_eq!(read(&bytes), Ok(Some(Frame::PushPromise(promise()))));
        }
    }

    /// RFC 9113 §6.6: "If the Stream Identifier field specifies the value 0x00, a recipient MUST
    /// respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x04\x05\x04\0\0\0\0",
            Defect::PushPromiseOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.6: "A receiver MUST treat the receipt of a PUSH_PROMISE that promises an illegal
    /// stream identifier (Section 5.1.1) as a connection error (Section 5.4.1) of type
    /// PROTOCOL_ERROR."
    #[test]
    fn promises_of_stream_0_and_of_odd_streams_are_refused() {
        for bytes in [
            b"\0\0\x04\x05\x04\0\0\0\x01\0\0\0\0",
            b"\0\0\x04\x05\x04\0\0\0\x01\x80\0\0\0",
            b"\0\0\x04\x05\x04\0\0\0\x01\0\0\0\x03",
        ] {
            refused(
                bytes,
                Defect::PushPromiseOfInvalidStream,
                ErrorCode::PROTOCOL_ERROR,
                Scope::Connection,
            );
        }
    }

    /// RFC 9113 §6.6: "Padding fields and flags are identical to those defined for DATA frames
    /// (Section 6.1)."
    #[test]
    fn too_much_padding_is_refused() {
        refused(
            b"\0\0\x06\x05\x0c\0\0\0\x01\x02\0\0\0\x02x",
            Defect::PushPromisePaddingTooLong,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §4.2: FRAME_SIZE_ERROR "if a frame [...] is too small to contain mandatory frame
    /// data".
    #[test]
    fn frames_without_room_for_the_promised_stream_are_refused() {
        for bytes in [b"\0\0\x03\x05\x04\0\0\0\x01", b"\0\0\x04\x05\x0c\0\0\0\x01"] {
            refused(
                bytes,
                Defect::PushPromiseTooShort,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }

    /// RFC 9113 §6.6: without END_HEADERS, "the frame MUST be followed by a CONTINUATION frame for
    /// the same stream".
    #[test]
    fn a_block_is_cut_at_the_frame_size() {
        let mut bytes = Vec::new();
        let (stream_id, promised_id) = (StreamId::new(1), StreamId::new(2));
        PushPromise::write_block(stream_id, promised_id, b"0123456789abcdef", 8, &mut bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let mut reader = Reader::new(8);
        let first = PushPromise {
            fragment: Bytes::from_static(b"0123"),
            end_headers: false,
            ..promise()
        };
        assert_eq!(reader.next(&mut input), Ok(Some(Frame::PushPromise(first))));
        for (fragment, end_headers) in [(&b"456789ab"[..], false), (b"cdef", true)] {
            let fragment = Bytes::from_static(fragment);
            let more = Continuation {
                stream_id,
                fragment,
                end_headers,
            };
            assert_eq!(reader.next(&mut input), Ok(Some(Frame::Continuation(more))));
        }
        assert!(input.is_empty());
    }
}
