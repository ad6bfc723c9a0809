//! Ids of requests (`x-request-id`): which of those that came are valid, and new ones.

use std::hash::{BuildHasher as _, RandomState};

use clap::ValueEnum;

/// Whether requests get ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequestIds {
    /// An `x-request-id` goes on as it came.
    Off,
    /// Each request has one.
    On,
}

/// The longest id that is kept, in bytes.
const LONGEST: usize = 128;

/// Random numbers for ids: a keyed hash (SipHash) of a counter, with a key from the system. Nobody
/// who sees some of them can tell the next.
#[derive(Debug, Default)]
pub struct Random {
    key: RandomState,
    count: u64,
}

impl Random {
    /// Returns the next number.
    pub fn number(&mut self) -> u128 {
        self.count += 1;
        let half = |which: u8| u128::from(self.key.hash_one((self.count, which)));
        half(0) << 64 | half(1)
    }
}

/// Returns a new id: a UUID of version 4 (RFC 9562 §5.4).
pub fn new(random: &mut Random) -> Box<str> {
    let bits = random.number();
    let bits = bits & !(0xf << 76) | 0x4 << 76;
    let bits = bits & !(0x3 << 62) | 0x2 << 62;
    let part = |shift: u32, digits: u32| (bits >> shift) & ((1 << (4 * digits)) - 1);
    let (a, b, c, d, e) = (
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12),
    );
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}").into()
}

/// Whether an id that came is kept: 1 to 128 characters that need no quotes anywhere.
pub fn is_valid(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn new_ids_are_uuids_and_unique() {
        let mut random = Random::default();
        let ids: HashSet<Box<str>> = (0..1000).map(|_| new(&mut random)).collect();
        assert_eq!(ids.len(), 1000);
        for id in &ids {
            let lens: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lens, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], "4", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
            assert!(is_valid(id.as_bytes()));
        }
        assert_ne!(Random::default().number(), Random::default().number());
    }

    #[test]
    fn what_is_kept() {
        for valid in ["1", "a-b_c"].map(|id| id.replace('_', ".")) {
            assert!(is_valid(valid.as_bytes()), "{valid}");
        }
        assert!(is_valid(&[b'a'; LONGEST]) && !is_valid(&[b'a'; LONGEST + 1]));
        for invalid in ["", "a b", "a\"", "a,b", "ä", "a\n", "a;b", "<a>"] {
            assert!(!is_valid(invalid.as_bytes()), "{invalid}");
        }
    }
}
