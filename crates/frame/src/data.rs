//! DATA (RFC 9113 §6.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::{Defect, Flags, Head, Kind, StreamId};

/// A DATA frame: a piece of a body (RFC 9113 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The stream; not 0.
    pub stream_id: StreamId,
    /// The body's bytes, without the padding.
    pub payload: Bytes,
    /// Whether the sender's side of the stream ends here.
    pub end_stream: bool,
    /// Bytes that flow control counts: payload, pad length and padding.
    pub flow_len: u32,
}

impl Data {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::DataOnStreamZero);
        }
        if head.flags.has(Flags::PADDED) && head.length == 0 {
            return Err(Defect::DataTooShort);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        let mut payload_len = head.length as usize;
        let mut padding = 0;
        if head.flags.has(Flags::PADDED) {
            padding = usize::from(input.get_u8());
            payload_len = (payload_len - 1)
                .checked_sub(padding)
                .ok_or(Defect::DataPaddingTooLong)?;
        }
        // `split_to(0)` would still cost a reference count.
        let payload = match payload_len {
            0 => Bytes::new(),
            _ => input.split_to(payload_len).freeze(),
        };
        input.advance(padding);
        Ok(Self {
            stream_id: head.stream_id,
            payload,
            end_stream: head.flags.has(Flags::END_STREAM),
            flow_len: head.length,
        })
    }

    /// Appends the frame's bytes to `out`, without padding, whatever `flow_len` says.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&Self::head(
            self.stream_id,
            self.payload.len() as u32,
            self.end_stream,
        ));
        out.extend_from_slice(&self.payload);
    }

    /// Returns only the head of a DATA frame of `len` bytes. The caller sends the payload itself,
    /// without a copy.
    #[inline]
    pub fn head(stream_id: StreamId, len: u32, end_stream: bool) -> [u8; Head::LEN] {
        let flags = Flags::NONE.with(Flags::END_STREAM, end_stream);
        Head {
            length: len,
            kind: Kind::DATA,
            flags,
            stream_id,
        }
        .to_bytes()
    }

    /// Appends the frame's bytes to `out`, with `padding` bytes of padding (and the pad length).
    pub fn write_padded(&self, padding: u8, out: &mut Vec<u8>) {
        let length = 1 + self.payload.len() as u32 + u32::from(padding);
        let flags = Flags::PADDED.with(Flags::END_STREAM, self.end_stream);
        Head {
            length,
            kind: Kind::DATA,
            flags,
            stream_id: self.stream_id,
        }
        .write(out);
        out.push(padding);
        out.extend_from_slice(&self.payload);
        out.resize(out.len() + usize::from(padding), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{read, refused, round_trip};
    use crate::{ErrorCode, Frame, Scope};

    fn hello(end_stream: bool, flow_len: u32) -> Data {
        Data {
            stream_id: StreamId::new(1),
            payload: Bytes::from_static(b"hello"),
            end_stream,
            flow_len,
        }
    }

    #[test]
    fn data_is_written_as_it_is_read() {
        round_trip(
            &Frame::Data(hello(false, 5)),
            b"\0\0\x05\0\0\0\0\0\x01hello",
        );
        round_trip(
            &Frame::Data(hello(true, 5)),
            b"\0\0\x05\0\x01\0\0\0\x01hello",
        );
        let empty = Data {
            payload: Bytes::new(),
            ..hello(true, 0)
        };
        round_trip(&Frame::Data(empty), b"\0\0\0\0\x01\0\0\0\x01");
    }

    /// RFC 9113 §6.1: "The entire DATA frame payload is included in flow control, including the Pad
    /// Length and Padding fields if present."
    #[test]
    fn padding_is_cut_off_but_counts_for_flow_control() {
        let mut bytes = Vec::new();
        hello(true, 5).write_padded(3, &mut bytes);
        assert_eq!(bytes, b"\0\0\x09\0\x09\0\0\0\x01\x03hello\0\0\0");
        assert_eq!(read(&bytes), Ok(Some(Frame::Data(hello(true, 9)))));
    }

    /// RFC 9113 §6.1: "A frame can be increased in size by one octet by including a Pad Length
    /// field with a value of zero." A frame may also hold nothing but padding.
    #[test]
    fn no_padding_and_only_padding_are_fine() {
        let mut bytes = Vec::new();
        hello(false, 6).write_padded(0, &mut bytes);
        assert_eq!(read(&bytes), Ok(Some(Frame::Data(hello(false, 6)))));
        let only_padding = Data {
            payload: Bytes::new(),
            ..hello(false, 256)
        };
        bytes.clear();
        only_padding.write_padded(255, &mut bytes);
        assert_eq!(read(&bytes), Ok(Some(Frame::Data(only_padding))));
    }

    /// RFC 9113 §6.1: "If a DATA frame is received whose Stream Identifier field is 0x00, the
    /// recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x05\0\0\0\0\0\0",
            Defect::DataOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.1: "If the length of the padding is the length of the frame payload or greater,
    /// the recipient MUST treat this as a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn padding_as_long_as_the_payload_is_refused() {
        for bytes in [
            b"\0\0\x02\0\x08\0\0\0\x01\x02x",
            b"\0\0\x02\0\x08\0\0\0\x01\xffx",
        ] {
            refused(
                bytes,
                Defect::DataPaddingTooLong,
                ErrorCode::PROTOCOL_ERROR,
                Scope::Connection,
            );
        }
    }

    /// RFC 9113 §4.2: FRAME_SIZE_ERROR "if a frame [...] is too small to contain mandatory frame
    /// data".
    #[test]
    fn a_padded_frame_without_pad_length_is_refused() {
        refused(
            b"\0\0\0\0\x08\0\0\0\x01",
            Defect::DataTooShort,
            ErrorCode::FRAME_SIZE_ERROR,
            Scope::Connection,
        );
    }

    #[test]
    fn the_payload_is_not_copied() {
        let mut input = BytesMut::from(&b"\0\0\x05\0\0\0\0\0\x01hello"[..]);
        let at = input[9..].as_ptr();
        let Ok(Some(Frame::Data(data))) = crate::Reader::new(16_384).next(&mut input) else {
            panic!("a DATA frame");
        };
        assert_eq!(data.payload.as_ptr(), at);
    }
}
