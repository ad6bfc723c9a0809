//! Bytes to frames.

use bytes::{Buf, BytesMut};

use crate::{
    Continuation, Data, Defect, Frame, GoAway, Head, Headers, Kind, Malformed, Ping, Priority,
    PriorityUpdate, PushPromise, RstStream, Scope, Settings, Unknown, WindowUpdate,
};

/// Cuts frames out of the bytes of one direction of a connection.
#[derive(Debug)]
pub struct Reader {
    max_frame_size: u32,
    /// Bytes to drop before the next head: the payload of an unknown or malformed frame, or
    /// [`FOR_GOOD`].
    skip: u64,
}

/// More bytes than any connection carries: everything that follows is dropped.
const FOR_GOOD: u64 = u64::MAX;

impl Reader {
    /// A reader that takes payloads of up to `max_frame_size` bytes: our SETTINGS_MAX_FRAME_SIZE,
    /// 16,384 to 2^24-1.
    pub fn new(max_frame_size: u32) -> Self {
        Self {
            max_frame_size,
            skip: 0,
        }
    }

    /// Changes the largest payload taken, from the next frame on. A peer may use a larger size as
    /// soon as it reads our SETTINGS, but is bound to a smaller one only from its acknowledgement
    /// on (RFC 9113 §6.5.3).
    pub fn set_max_frame_size(&mut self, max_frame_size: u32) {
        self.max_frame_size = max_frame_size;
    }

    /// Whether the next byte begins a frame: none is being skipped.
    pub fn is_between_frames(&self) -> bool {
        self.skip == 0
    }

    /// Drops what is there of a payload that is not returned, that of an unknown or malformed
    /// frame. Returns whether the next byte begins a frame.
    #[inline]
    pub fn skip_payload(&mut self, input: &mut BytesMut) -> bool {
        self.skip == 0 || self.skip(input)
    }

    /// Takes the next frame off the front of `input`. Returns `None` until a whole frame is there;
    /// the bytes of a partial frame stay in `input`.
    ///
    /// A frame of an unknown kind is returned as soon as its head is there; its payload is dropped
    /// as it arrives and is never buffered (RFC 9113 §5.5). Payloads of DATA and of field blocks
    /// are slices of `input`'s own memory, not copies.
    ///
    /// # Errors
    /// Returns a [`Malformed`] for a frame that breaks the format of its kind, as soon as its head
    /// shows that. After an error of stream scope the reader goes on with the next frame; after one
    /// of connection scope it drops all further input.
    #[inline]
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        if !self.skip_payload(input) {
            return Ok(None);
        }
        let Some(bytes) = input.first_chunk() else {
            return Ok(None);
        };
        let head = Head::parse(bytes);
        self.frame(head, input).map_err(|defect| {
            let malformed = Malformed {
                defect,
                stream_id: head.stream_id,
            };
            if malformed.scope() == Scope::Connection {
                input.clear();
                self.skip = FOR_GOOD;
            }
            malformed
        })
    }

    /// Reads the HEADERS frame at the start of `input` where it lies, and returns it with its
    /// length: drop that number of bytes from the input then. Returns `None` for everything else,
    /// including frames that aren't whole or valid: call [`Reader::next`] for those.
    ///
    /// Most frames that a server gets are HEADERS, and it decodes their field blocks at once. This
    /// saves the slice of `input` that [`Reader::next`] returns.
    #[inline]
    pub fn headers_in_place<'a>(&self, input: &'a [u8]) -> Option<(Headers<&'a [u8]>, usize)> {
        let (head, rest) = input.split_first_chunk()?;
        let head = Head::parse(head);
        let is_next = self.skip == 0 && head.kind == Kind::HEADERS;
        if !is_next || head.length > self.max_frame_size || Headers::check(head).is_err() {
            return None;
        }
        let payload = rest.get(..head.length as usize)?;
        let frame = Headers::in_place(head, payload).ok()?;
        Some((frame, Head::LEN + payload.len()))
    }

    #[inline]
    fn frame(&mut self, head: Head, input: &mut BytesMut) -> Result<Option<Frame>, Defect> {
        // RFC 9113 §4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame
        // exceeds the size defined in SETTINGS_MAX_FRAME_SIZE"; of any kind, known or not.
        if head.length > self.max_frame_size {
            return Err(Defect::FrameOverMaxFrameSize);
        }
        match head.kind {
            Kind::DATA => self.read(head, input, Data::check, Data::parse, Frame::Data),
            Kind::HEADERS => self.read(head, input, Headers::check, Headers::parse, Frame::Headers),
            Kind::PRIORITY => self.read(
                head,
                input,
                Priority::check,
                Priority::parse,
                Frame::Priority,
            ),
            Kind::RST_STREAM => self.read(
                head,
                input,
                RstStream::check,
                RstStream::parse,
                Frame::RstStream,
            ),
            Kind::SETTINGS => self.read(
                head,
                input,
                Settings::check,
                Settings::parse,
                Frame::Settings,
            ),
            Kind::PUSH_PROMISE => self.read(
                head,
                input,
                PushPromise::check,
                PushPromise::parse,
                Frame::PushPromise,
            ),
            Kind::PING => self.read(head, input, Ping::check, Ping::parse, Frame::Ping),
            Kind::GOAWAY => self.read(head, input, GoAway::check, GoAway::parse, Frame::GoAway),
            Kind::WINDOW_UPDATE => self.read(
                head,
                input,
                WindowUpdate::check,
                WindowUpdate::parse,
                Frame::WindowUpdate,
            ),
            Kind::CONTINUATION => self.read(
                head,
                input,
                Continuation::check,
                Continuation::parse,
                Frame::Continuation,
            ),
            Kind::PRIORITY_UPDATE => self.read(
                head,
                input,
                PriorityUpdate::check,
                PriorityUpdate::parse,
                Frame::PriorityUpdate,
            ),
            // RFC 9113 §5.5: "Implementations MUST discard frames that have unknown or unsupported
            // types."
            Kind(kind) => {
                self.skip_payload_of(head, input);
                let Head {
                    length, stream_id, ..
                } = head;
                Ok(Some(Frame::Unknown(Unknown {
                    kind,
                    stream_id,
                    length,
                })))
            }
        }
    }

    /// One frame: `check` judges the head as soon as it is there; `parse` takes exactly
    /// `head.length` bytes.
    #[inline(always)]
    fn read<T>(
        &mut self,
        head: Head,
        input: &mut BytesMut,
        check: impl FnOnce(Head) -> Result<(), Defect>,
        parse: impl FnOnce(Head, &mut BytesMut) -> Result<T, Defect>,
        wrap: impl FnOnce(T) -> Frame,
    ) -> Result<Option<Frame>, Defect> {
        if let Err(defect) = check(head) {
            self.skip_payload_of(head, input);
            return Err(defect);
        }
        if input.len() < Head::LEN + head.length as usize {
            return Ok(None);
        }
        input.advance(Head::LEN);
        parse(head, input).map(|frame| Some(wrap(frame)))
    }

    /// Drops the head; the payload will follow it.
    fn skip_payload_of(&mut self, head: Head, input: &mut BytesMut) {
        input.advance(Head::LEN);
        self.skip = u64::from(head.length);
    }

    /// Drops bytes from the front of `input`. Returns whether none are left to skip.
    #[cold]
    fn skip(&mut self, input: &mut BytesMut) -> bool {
        let here = usize::try_from(self.skip)
            .unwrap_or(usize::MAX)
            .min(input.len());
        input.advance(here);
        self.skip -= here as u64;
        self.skip == 0
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::refused;
    use crate::{ErrorCode, StreamId};

    #[test]
    fn headers_are_read_in_place_as_they_are_next() {
        let block = |len: usize, end_headers| Headers {
            stream_id: StreamId::new(5),
            fragment: Bytes::from(vec![7; len]),
            end_stream: true,
            end_headers,
            priority: None,
        };
        let mut bytes = Vec::new();
        block(30, false).write(&mut bytes);
        block(0, true).write_padded(9, &mut bytes);
        block(100, true).write(&mut bytes);
        let mut reader = Reader::new(99);
        let mut input = BytesMut::from(&bytes[..]);
        for expected in [block(30, false), block(0, true)] {
            let (frame, len) = reader.headers_in_place(&input).expect("it is whole");
            assert_eq!(reader.headers_in_place(&input[..len - 1]), None);
            let left = input.len() - len;
            assert_eq!(frame.fragment, expected.fragment);
            assert_eq!(frame.end_headers, expected.end_headers);
            let next = reader.next(&mut input);
            assert_eq!(next, Ok(Some(Frame::Headers(expected))));
            assert_eq!(input.len(), left);
        }
        assert_eq!(reader.headers_in_place(&input), None, "it is too long");
        let ping = b"\0\0\x08\x06\0\0\0\0\0tidegate";
        assert_eq!(Reader::new(99).headers_in_place(ping), None);
    }

    /// RFC 9113 §4.2: "An endpoint MUST send an error code of FRAME_SIZE_ERROR if a frame exceeds
    /// the size defined in SETTINGS_MAX_FRAME_SIZE". The head is enough to decide, for known and
    /// unknown kinds.
    #[test]
    fn frames_over_the_limit_are_refused_before_they_arrive() {
        for kind in (0..=9).chain([0x10, 0xbe]) {
            refused(
                &[0, 0x40, 0x01, kind, 0, 0, 0, 0, 1],
                Defect::FrameOverMaxFrameSize,
                ErrorCode::FRAME_SIZE_ERROR,
                Scope::Connection,
            );
        }
    }

    #[test]
    fn the_limit_can_be_moved() {
        let mut reader = Reader::new(16_384);
        reader.set_max_frame_size(16_385);
        let head = [0, 0x40, 0x01, 0, 0, 0, 0, 0, 1];
        assert_eq!(reader.next(&mut BytesMut::from(&head[..])), Ok(None));
        reader.set_max_frame_size(16_384);
        let malformed = reader
            .next(&mut BytesMut::from(&head[..]))
            .expect_err("over the limit");
        assert_eq!(malformed.defect, Defect::FrameOverMaxFrameSize);
    }

    #[test]
    fn a_stream_error_leaves_the_frames_after_it() {
        let mut bytes = Vec::new();
        WindowUpdate {
            stream_id: StreamId::new(1),
            increment: 0,
        }
        .write(&mut bytes);
        let after = WindowUpdate {
            stream_id: StreamId::new(1),
            increment: 1,
        };
        after.write(&mut bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let mut reader = Reader::new(16_384);
        assert_eq!(
            reader.next(&mut input).map_err(|m| m.scope()),
            Err(Scope::Stream)
        );
        assert_eq!(
            reader.next(&mut input),
            Ok(Some(Frame::WindowUpdate(after)))
        );
    }

    /// RFC 9113 §5.4.1: after a connection error, the endpoint "MUST close the TCP connection".
    #[test]
    fn nothing_is_read_after_a_connection_error() {
        let mut bytes = Vec::new();
        WindowUpdate {
            stream_id: StreamId::CONNECTION,
            increment: 0,
        }
        .write(&mut bytes);
        WindowUpdate {
            stream_id: StreamId::CONNECTION,
            increment: 1,
        }
        .write(&mut bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let mut reader = Reader::new(16_384);
        assert_eq!(
            reader.next(&mut input).map_err(|m| m.scope()),
            Err(Scope::Connection)
        );
        for _ in 0..3 {
            assert_eq!(reader.next(&mut input), Ok(None));
            assert!(input.is_empty());
            input.extend_from_slice(&bytes);
        }
    }
}
