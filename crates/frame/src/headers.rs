//! HEADERS (RFC 9113 §6.2).

use bytes::{Buf, Bytes, BytesMut};

use crate::{Continuation, Defect, Flags, Head, Kind, StreamDependency, StreamId};

/// A HEADERS frame: the start of a field section (RFC 9113 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers<Fragment = Bytes> {
    /// The stream; not 0.
    pub stream_id: StreamId,
    /// The field block, or its start if more follows in CONTINUATION. May be empty.
    pub fragment: Fragment,
    /// Whether the sender's side of the stream ends with this field section.
    pub end_stream: bool,
    /// Whether the field block is complete.
    pub end_headers: bool,
    /// The RFC 7540 priority signal. The engine judges a dependency of the stream on itself,
    /// because the field block has to be decoded all the same.
    pub priority: Option<StreamDependency>,
}

impl Headers {
    #[inline]
    pub(crate) fn check(head: Head) -> Result<(), Defect> {
        if head.stream_id.is_connection() {
            return Err(Defect::HeadersOnStreamZero);
        }
        if head.length < mandatory(head.flags) {
            return Err(Defect::HeadersTooShort);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn parse(head: Head, input: &mut BytesMut) -> Result<Self, Defect> {
        let payload = input.split_to(head.length as usize).freeze();
        let Headers {
            stream_id,
            fragment,
            end_stream,
            end_headers,
            priority,
        } = Headers::in_place(head, &payload)?;
        Ok(Self {
            stream_id,
            fragment: payload.slice_ref(fragment),
            end_stream,
            end_headers,
            priority,
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

    /// Appends a whole field block: a HEADERS frame, and CONTINUATION frames for what it can't
    /// hold. No payload exceeds `max_frame_size` bytes, the peer's SETTINGS_MAX_FRAME_SIZE (at
    /// least 16,384 in the protocol).
    #[inline]
    pub fn write_block(
        stream_id: StreamId,
        block: &[u8],
        end_stream: bool,
        max_frame_size: u32,
        priority: Option<StreamDependency>,
        out: &mut Vec<u8>,
    ) {
        let taken = if priority.is_some() {
            StreamDependency::LEN
        } else {
            0
        };
        let room = (max_frame_size as usize).saturating_sub(taken);
        let (fragment, rest) = block.split_at(block.len().min(room));
        let frame = Self {
            stream_id,
            fragment: Bytes::new(),
            end_stream,
            end_headers: rest.is_empty(),
            priority,
        };
        write_frame(&frame, fragment, None, out);
        Continuation::write_rest(stream_id, rest, max_frame_size, out);
    }
}

impl<'a> Headers<&'a [u8]> {
    /// Reads a frame whose head passed [`Headers::check`].
    #[inline]
    pub(crate) fn in_place(head: Head, mut payload: &'a [u8]) -> Result<Self, Defect> {
        let room = (head.length - mandatory(head.flags)) as usize;
        let padding = if head.flags.has(Flags::PADDED) {
            usize::from(payload.get_u8())
        } else {
            0
        };
        let priority = head
            .flags
            .has(Flags::PRIORITY)
            .then(|| StreamDependency::parse(&mut payload));
        let fragment_len = room
            .checked_sub(padding)
            .ok_or(Defect::HeadersPaddingTooLong)?;
        Ok(Self {
            stream_id: head.stream_id,
            fragment: &payload[..fragment_len],
            end_stream: head.flags.has(Flags::END_STREAM),
            end_headers: head.flags.has(Flags::END_HEADERS),
            priority,
        })
    }
}

/// Returns the bytes of the payload that the flags require, apart from fragment and padding.
#[inline]
fn mandatory(flags: Flags) -> u32 {
    let pad_length = u32::from(flags.has(Flags::PADDED));
    let priority = if flags.has(Flags::PRIORITY) {
        StreamDependency::LEN as u32
    } else {
        0
    };
    pad_length + priority
}

/// Writes `frame` with `fragment` in place of its own.
#[inline]
fn write_frame(frame: &Headers, fragment: &[u8], padding: Option<u8>, out: &mut Vec<u8>) {
    let flags = Flags::NONE
        .with(Flags::END_STREAM, frame.end_stream)
        .with(Flags::END_HEADERS, frame.end_headers)
        .with(Flags::PADDED, padding.is_some())
        .with(Flags::PRIORITY, frame.priority.is_some());
    let length = mandatory(flags) + fragment.len() as u32 + u32::from(padding.unwrap_or(0));
    Head {
        length,
        kind: Kind::HEADERS,
        flags,
        stream_id: frame.stream_id,
    }
    .write(out);
    out.extend(padding);
    if let Some(dependency) = frame.priority {
        dependency.write(out);
    }
    out.extend_from_slice(fragment);
    out.resize(out.len() + usize::from(padding.unwrap_or(0)), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{read, refused, round_trip};
    use crate::{ErrorCode, Frame, Reader, Scope};

    const DEPENDENCY: StreamDependency = StreamDependency {
        depends_on: StreamId::new(3),
        exclusive: true,
        weight: 15,
    };

    fn block() -> Headers {
        Headers {
            stream_id: StreamId::new(5),
            fragment: Bytes::from_static(b"block"),
            end_stream: false,
            end_headers: true,
            priority: None,
        }
    }

    #[test]
    fn headers_are_written_as_they_are_read() {
        round_trip(&Frame::Headers(block()), b"\0\0\x05\x01\x04\0\0\0\x05block");
        let first = Headers {
            end_headers: false,
            end_stream: true,
            ..block()
        };
        round_trip(&Frame::Headers(first), b"\0\0\x05\x01\x01\0\0\0\x05block");
        let with_priority = Headers {
            priority: Some(DEPENDENCY),
            ..block()
        };
        round_trip(
            &Frame::Headers(with_priority),
            b"\0\0\x0a\x01\x24\0\0\0\x05\x80\0\0\x03\x0fblock",
        );
    }

    #[test]
    fn an_empty_fragment_is_fine() {
        let empty = Headers {
            fragment: Bytes::new(),
            end_headers: false,
            ..block()
        };
        round_trip(&Frame::Headers(empty), b"\0\0\0\x01\0\0\0\0\x05");
    }

    #[test]
    fn padding_is_cut_off() {
        for priority in [None, Some(DEPENDENCY)] {
            for padding in [0, 7, 255] {
                let frame = Headers {
                    priority,
                    ..block()
                };
                let mut bytes = Vec::new();
                frame.write_padded(padding, &mut bytes);
                assert_eq!(read(&bytes), Ok(Some(Frame::Headers(frame))));
            }
        }
    }

    /// The engine judges a stream that depends on itself (RFC 9113 §5.3.1), because RFC 9113 §4.3
    /// requires the field block to be decoded in any case.
    #[test]
    fn a_dependency_on_itself_is_passed_on() {
        let itself = StreamDependency {
            depends_on: StreamId::new(5),
            ..DEPENDENCY
        };
        let frame = Headers {
            priority: Some(itself),
            ..block()
        };
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        assert_eq!(read(&bytes), Ok(Some(Frame::Headers(frame))));
    }

    /// RFC 9113 §6.2: "If a HEADERS frame is received whose Stream Identifier field is 0x00, the
    /// recipient MUST respond with a connection error (Section 5.4.1) of type PROTOCOL_ERROR."
    #[test]
    fn stream_0_is_refused() {
        refused(
            b"\0\0\x05\x01\x04\0\0\0\0",
            Defect::HeadersOnStreamZero,
            ErrorCode::PROTOCOL_ERROR,
            Scope::Connection,
        );
    }

    /// RFC 9113 §6.2: "Padding that exceeds the size remaining for the field block fragment MUST be
    /// treated as a PROTOCOL_ERROR."
    #[test]
    fn too_much_padding_is_refused() {
        for bytes in [
            &b"\0\0\x02\x01\x0c\0\0\0\x05\x02x"[..],
            &b"\0\0\x07\x01\x2c\0\0\0\x05\x02\0\0\0\0\0x"[..],
        ] {
            refused(
                bytes,
                Defect::HeadersPaddingTooLong,
                ErrorCode::PROTOCOL_ERROR,
                Scope::Connection,
            );
        }
    }

    /// RFC 9113 §4.2: FRAME_SIZE_ERROR "if a frame [...] is too small to contain mandatory frame
    /// data"; "any frame carrying a field block" is a connection error.
    #[test]
    fn frames_without_room_for_what_the_flags_promise_are_refused() {
        for bytes in [
            b"\0\0\0\x01\x0c\0\0\0\x05",   // pad length
            b"\0\0\x04\x01\x24\0\0\0\x05", // dependency
            b"\0\0\x05\x01\x2c\0\0\0\x05", // both
        ] {
            refused(
                bytes,
                Defect::HeadersTooShort,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }

    /// RFC 9113 §4.3: "a single field block can be split into a HEADERS frame followed by
    /// CONTINUATION frames", of which the last has END_HEADERS.
    #[test]
    fn a_block_is_cut_at_the_frame_size() {
        let block: Vec<u8> = (0..250).collect();
        for (len, priority, expected) in [
            (0, None, vec![0]),
            (100, None, vec![100]),
            (101, None, vec![100, 1]),
            (250, None, vec![100, 100, 50]),
            (95, Some(DEPENDENCY), vec![95]),
            (200, Some(DEPENDENCY), vec![95, 100, 5]),
        ] {
            let mut bytes = Vec::new();
            Headers::write_block(
                StreamId::new(5),
                &block[..len],
                true,
                100,
                priority,
                &mut bytes,
            );
            let mut input = BytesMut::from(&bytes[..]);
            let mut reader = Reader::new(100);
            let mut read_back = Vec::new();
            let mut lengths = Vec::new();
            while let Some(frame) = reader.next(&mut input).expect("valid frames") {
                let (fragment, end_headers) = match frame {
                    Frame::Headers(headers) => {
                        assert!(lengths.is_empty() && headers.end_stream);
                        assert_eq!(headers.priority, priority);
                        (headers.fragment, headers.end_headers)
                    }
                    Frame::Continuation(more) => {
                        assert!(!lengths.is_empty());
                        (more.fragment, more.end_headers)
                    }
                    other => panic!("{other:?}"),
                };
                lengths.push(fragment.len());
                assert_eq!(end_headers, lengths.len() == expected.len());
                read_back.extend_from_slice(&fragment);
            }
            assert_eq!(lengths, expected);
            assert_eq!(read_back, block[..len]);
        }
    }
}
