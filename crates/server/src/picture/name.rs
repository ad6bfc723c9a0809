//! The name of a connection, and its place in a list.

use tidegate_net::ConnId;

/// The name of a connection: its worker, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    /// The worker.
    pub worker: usize,
    /// The connection.
    pub conn: ConnId,
}

impl Name {
    /// Reads what its `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (worker, number) = text.split_once('-')?;
        Some(Self {
            worker: worker.parse().ok()?,
            conn: ConnId::numbered(u64::from_str_radix(number, 16).ok()?),
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:x}", self.worker, self.conn.number())
    }
}

/// A number that a connection is sorted by, and then its name: an order that doesn't change by
/// itself.
pub type Key = (u128, usize, u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let name = Name {
            worker: 3,
            conn: ConnId::numbered(0x2_0000_000a),
        };
        assert_eq!(name.to_string(), "3-20000000a");
        assert_eq!(Name::parse("3-20000000a"), Some(name));
        for text in ["", "3", "x-1", "3-", "3-xyz", "3-20000000a0000000000"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
