//! The nine bytes in front of every frame (RFC 9113 §4.1).

use crate::StreamId;

/// The head of a frame: what comes before the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The length of the payload in bytes, 0 to 2^24-1. The head's own nine bytes don't count.
    pub length: u32,
    /// The frame type.
    pub kind: Kind,
    /// The flags, including those without a meaning for this type.
    pub flags: Flags,
    /// The stream, or [`StreamId::CONNECTION`].
    pub stream_id: StreamId,
}

impl Head {
    /// The length of every head in bytes.
    pub const LEN: usize = 9;

    /// Reads a head. Any nine bytes make one.
    #[inline]
    pub fn parse(bytes: &[u8; Self::LEN]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind(kind),
            flags: Flags(flags),
            // RFC 9113 §4.1: the reserved bit "MUST be ignored when receiving".
            stream_id: StreamId::new(u32::from_be_bytes([s0, s1, s2, s3])),
        }
    }

    /// Returns the head as bytes. Only the low 24 bits of the length are written: split longer
    /// payloads first.
    #[inline]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        debug_assert!(
            self.length < 1 << 24,
            "a payload of {} bytes fits no frame",
            self.length
        );
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream_id.get().to_be_bytes();
        [l0, l1, l2, self.kind.0, self.flags.0, s0, s1, s2, s3]
    }

    /// Appends the head's bytes to `out`.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_bytes());
    }
}

/// A frame type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub u8);

impl Kind {
    /// RFC 9113 §6.1
    pub const DATA: Self = Self(0x0);
    /// RFC 9113 §6.2
    pub const HEADERS: Self = Self(0x1);
    /// RFC 9113 §6.3
    pub const PRIORITY: Self = Self(0x2);
    /// RFC 9113 §6.4
    pub const RST_STREAM: Self = Self(0x3);
    /// RFC 9113 §6.5
    pub const SETTINGS: Self = Self(0x4);
    /// RFC 9113 §6.6
    pub const PUSH_PROMISE: Self = Self(0x5);
    /// RFC 9113 §6.7
    pub const PING: Self = Self(0x6);
    /// RFC 9113 §6.8
    pub const GOAWAY: Self = Self(0x7);
    /// RFC 9113 §6.9
    pub const WINDOW_UPDATE: Self = Self(0x8);
    /// RFC 9113 §6.10
    pub const CONTINUATION: Self = Self(0x9);
    /// RFC 8336 §2
    pub const ORIGIN: Self = Self(0xc);
    /// RFC 9218 §7.1
    pub const PRIORITY_UPDATE: Self = Self(0x10);
}

impl Kind {
    /// Returns the RFC's name of the type, or `None` for an unknown one.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::DATA => "DATA",
            Self::HEADERS => "HEADERS",
            Self::PRIORITY => "PRIORITY",
            Self::RST_STREAM => "RST_STREAM",
            Self::SETTINGS => "SETTINGS",
            Self::PUSH_PROMISE => "PUSH_PROMISE",
            Self::PING => "PING",
            Self::GOAWAY => "GOAWAY",
            Self::WINDOW_UPDATE => "WINDOW_UPDATE",
            Self::CONTINUATION => "CONTINUATION",
            Self::ORIGIN => "ORIGIN",
            Self::PRIORITY_UPDATE => "PRIORITY_UPDATE",
            Self(_) => return None,
        })
    }
}

/// Prints the RFC's name, or the number of an unknown type.
impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:02x}", self.0),
        }
    }
}

/// The flags of a frame. One bit means different things on frames of different types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// On SETTINGS and PING: acknowledges the peer's frame.
    pub const ACK: Self = Self(0x1);
    /// On DATA and HEADERS: the sender's last frame on the stream.
    pub const END_STREAM: Self = Self(0x1);
    /// On HEADERS, PUSH_PROMISE and CONTINUATION: the field block ends here.
    pub const END_HEADERS: Self = Self(0x4);
    /// On DATA, HEADERS and PUSH_PROMISE: the frame has a pad length and padding.
    pub const PADDED: Self = Self(0x8);
    /// On HEADERS: the frame has a stream dependency.
    pub const PRIORITY: Self = Self(0x20);

    /// Whether all flags of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns these flags, with those of `other` added if `on`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { self }
    }

    /// Returns the RFC's names of the flags that are set and mean something on frames of this
    /// type.
    pub fn names(self, kind: Kind) -> impl Iterator<Item = &'static str> {
        let meanings: &[(Self, &'static str)] = match kind {
            Kind::DATA => &[(Self::END_STREAM, "END_STREAM"), (Self::PADDED, "PADDED")],
            Kind::HEADERS => &[
                (Self::END_STREAM, "END_STREAM"),
                (Self::END_HEADERS, "END_HEADERS"),
                (Self::PADDED, "PADDED"),
                (Self::PRIORITY, "PRIORITY"),
            ],
            Kind::PUSH_PROMISE => &[(Self::END_HEADERS, "END_HEADERS"), (Self::PADDED, "PADDED")],
            Kind::CONTINUATION => &[(Self::END_HEADERS, "END_HEADERS")],
            Kind::SETTINGS | Kind::PING => &[(Self::ACK, "ACK")],
            _ => &[],
        };
        let set = meanings.iter().filter(move |(flag, _)| self.has(*flag));
        set.map(|(_, name)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_as_it_is_read() {
        let bytes = [0x01, 0x02, 0x03, 0x04, 0x05, 0x16, 0x17, 0x18, 0x19];
        let head = Head::parse(&bytes);
        assert_eq!(
            head,
            Head {
                length: 0x010203,
                kind: Kind::SETTINGS,
                flags: Flags(0x05),
                stream_id: StreamId::new(0x16171819),
            }
        );
        assert_eq!(head.to_bytes(), bytes);
        let mut out = vec![0xaa];
        head.write(&mut out);
        assert_eq!(out[1..], bytes);
    }

    #[test]
    fn types_print_as_the_rfc_names_them() {
        assert_eq!(Kind::RST_STREAM.to_string(), "RST_STREAM");
        assert_eq!(Kind(0xa).to_string(), "0x0a");
        assert_eq!(Kind(0xfa).to_string(), "0xfa");
    }

    #[test]
    fn flags_have_the_names_of_their_frame() {
        let names = |kind| Flags(0xff).names(kind).collect::<Vec<_>>();
        assert_eq!(names(Kind::SETTINGS), ["ACK"]);
        assert_eq!(names(Kind::DATA), ["END_STREAM", "PADDED"]);
        assert!(names(Kind::WINDOW_UPDATE).is_empty());
    }

    /// RFC 9113 §4.1: "Reserved: A reserved 1-bit field. The semantics of this bit are undefined,
    /// and the bit MUST remain unset (0x00) when sending and MUST be ignored when receiving."
    #[test]
    fn the_reserved_bit_is_ignored_and_never_sent() {
        let head = Head::parse(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]);
        assert_eq!(head.stream_id, StreamId::new(1));
        assert_eq!(head.to_bytes()[5..], [0, 0, 0, 1]);
    }
}
