//! As much of HTTP/2's frames (RFC 9113 §4.1) as canned answers and lean clients need.

use tidegate_testkit::wire::kind;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    /// Returns the header at the start of `bytes`, and what follows it, if all of it is there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let head = Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        };
        Some((head, rest))
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Returns the header of a frame.
pub(crate) fn header(kind: u8, flags: u8, stream: u32, length: usize) -> [u8; 9] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind, flags, d, e, f, g]
}

/// Returns a WINDOW_UPDATE frame.
pub(crate) fn window_update(stream: u32, by: u32) -> [u8; 13] {
    let mut frame = [0; 13];
    frame[..9].copy_from_slice(&header(kind::WINDOW_UPDATE, 0, stream, 4));
    frame[9..].copy_from_slice(&by.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use tidegate_testkit::wire::flag::END_STREAM;

    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header(kind::DATA, END_STREAM, 7, 16_384);
        let (head, rest) = Head::parse(&bytes).unwrap();
        assert_eq!((head.length, head.kind, head.stream), (16_384, 0, 7));
        assert!(head.has(END_STREAM) && rest.is_empty());
        assert_eq!(Head::parse(&bytes[..8]), None);
    }
}
