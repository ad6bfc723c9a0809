//! ORIGIN (RFC 8336 §2).

use crate::{Flags, Head, Kind, StreamId};

/// The most bytes of a payload that every peer accepts (RFC 9113 §6.5.2).
const MOST: usize = 16_384;

/// An ORIGIN frame: origins that the connection is for (RFC 8336 §2). A server sends it; a reader
/// skips it, as RFC 8336 §2.2 allows, and hands it out as [`Unknown`](crate::Unknown).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Each origin with its length in front.
    payload: Vec<u8>,
}

impl Origin {
    /// Returns the frames that list these origins, such as `https://example.com`, in their order:
    /// as many as they need, none for no origins. Those of more than 16,382 bytes are left out.
    pub fn list<'a>(origins: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut frames: Vec<Self> = Vec::new();
        for origin in origins {
            let size = origin.len() + 2;
            if size > MOST {
                continue;
            }
            // RFC 8336 §2.3: a further frame adds its origins to those of the first.
            let frame = match frames.last_mut() {
                Some(frame) if frame.payload.len() + size <= MOST => frame,
                _ => {
                    frames.push(Self::default());
                    let last = frames.len() - 1;
                    &mut frames[last]
                }
            };
            let length = origin.len() as u16;
            frame.payload.extend_from_slice(&length.to_be_bytes());
            frame.payload.extend_from_slice(origin.as_bytes());
        }
        frames
    }

    /// Appends the frame's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        // RFC 8336 §2: "The ORIGIN frame MUST be sent on stream 0", and it "does not define any
        // flags".
        Head {
            length: self.payload.len() as u32,
            kind: Kind::ORIGIN,
            flags: Flags::NONE,
            stream_id: StreamId::CONNECTION,
        }
        .write(out);
        out.extend_from_slice(&self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::read;
    use crate::{Frame, Unknown};

    #[test]
    fn origins_have_their_lengths_in_front() {
        assert_eq!(Origin::list([]), []);
        let frames = Origin::list(["https://a", "https://b:8443"]);
        let mut out = Vec::new();
        for frame in &frames {
            frame.write(&mut out);
        }
        let expected = b"\0\0\x1b\x0c\0\0\0\0\0\0\x09https://a\0\x0ehttps://b:8443";
        assert_eq!((frames.len(), &out[..]), (1, &expected[..]));
        let skipped = Unknown {
            kind: 0xc,
            stream_id: StreamId::CONNECTION,
            length: 27,
        };
        assert_eq!(read(expected), Ok(Some(Frame::Unknown(skipped))));
    }

    #[test]
    fn no_frame_is_larger_than_every_peer_accepts() {
        let (long, longest) = ("a".repeat(9000), "b".repeat(MOST - 2));
        let too_long = "c".repeat(MOST - 1);
        let frames = Origin::list([&*long, &too_long, &long, "d", &longest]);
        let sizes: Vec<usize> = frames.iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(sizes, [9002, 9002 + 3, MOST]);
    }
}
