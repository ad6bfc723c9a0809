//! Stream identifiers (RFC 9113 §5.1.1).

/// A 31-bit stream identifier. Zero is the connection itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct StreamId(u32);

impl StreamId {
    /// Stream 0: the connection as a whole.
    pub const CONNECTION: Self = Self(0);
    /// The largest identifier, 2^31-1.
    pub const MAX: Self = Self(0x7fff_ffff);

    /// Makes an identifier of the low 31 bits; the reserved bit is ignored (RFC 9113 §4.1).
    pub const fn new(value: u32) -> Self {
        Self(value & 0x7fff_ffff)
    }

    /// Returns the number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether this is stream 0.
    pub const fn is_connection(self) -> bool {
        self.0 == 0
    }

    /// Whether a client opens the streams of this number (odd).
    pub const fn is_client_initiated(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether a server opens the streams of this number by pushing (even, not 0).
    pub const fn is_server_initiated(self) -> bool {
        self.0 != 0 && self.0 & 1 == 0
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9113 §5.1.1: "Streams initiated by a client MUST use odd-numbered stream identifiers;
    /// those initiated by the server MUST use even-numbered stream identifiers. A stream identifier
    /// of zero (0x00) is used for connection control messages".
    #[test]
    fn each_stream_belongs_to_one_side_and_stream_0_to_none() {
        for (id, connection, client, server) in [
            (StreamId::CONNECTION, true, false, false),
            (StreamId::new(1), false, true, false),
            (StreamId::new(2), false, false, true),
            (StreamId::MAX, false, true, false),
        ] {
            assert_eq!(id.is_connection(), connection, "{id}");
            assert_eq!(id.is_client_initiated(), client, "{id}");
            assert_eq!(id.is_server_initiated(), server, "{id}");
        }
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        assert_eq!(StreamId::new(0x8000_0005), StreamId::new(5));
        assert_eq!(StreamId::new(u32::MAX), StreamId::MAX);
    }
}
