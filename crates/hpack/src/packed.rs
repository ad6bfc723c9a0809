//! State in few bytes: numbers and strings, one after the other, without names or types. Small
//! numbers take a byte.
//!
//! Whoever reads the state asks for the same things in the same order. It never leaves the process,
//! so it has no version, and there is no error: what isn't there is 0, or empty.

use std::time::Duration;

/// Writes numbers and strings.
#[derive(Debug, Default)]
pub struct Packer(Vec<u8>);

impl Packer {
    /// Adds a number, seven bits a byte, the lowest first.
    pub fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Adds a number that may be absent.
    pub fn optional(&mut self, number: Option<u64>) {
        self.number(number.is_some().into());
        if let Some(number) = number {
            self.number(number);
        }
    }

    /// Adds a time of up to five centuries.
    pub fn duration(&mut self, duration: Duration) {
        self.number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds a string.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Returns the state.
    pub fn finish(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }
}

/// Reads what a [`Packer`] has written.
#[derive(Debug)]
pub struct Unpacker<'a>(&'a [u8]);

impl<'a> Unpacker<'a> {
    /// Begins at the start.
    pub fn new(packed: &'a [u8]) -> Self {
        Self(packed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        let mut number = 0;
        let mut shift = 0;
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << (shift % 64);
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    /// Returns the next number, which was a `u32`.
    pub fn number32(&mut self) -> u32 {
        self.number() as u32
    }

    /// Returns the next number, which was a `usize`.
    pub fn size(&mut self) -> usize {
        self.number() as usize
    }

    /// Returns the next number, if it isn't absent.
    pub fn optional(&mut self) -> Option<u64> {
        self.flag().then(|| self.number())
    }

    /// Returns the next number as a flag.
    pub fn flag(&mut self) -> bool {
        self.number() != 0
    }

    /// Returns the next time.
    pub fn duration(&mut self) -> Duration {
        Duration::from_nanos(self.number())
    }

    /// Returns the next string.
    pub fn bytes(&mut self) -> &'a [u8] {
        let len = self.size().min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            items in proptest::collection::vec(
                (any::<u64>(), 0..64_u32, any::<Option<u64>>(), any::<Vec<u8>>()), 0..20)
        ) {
            let mut out = Packer::default();
            for (number, shift, optional, bytes) in &items {
                out.number(number >> shift);
                out.optional(*optional);
                out.bytes(bytes);
                out.duration(Duration::from_nanos(*number));
            }
            let packed = out.finish();
            let mut input = Unpacker::new(&packed);
            for (number, shift, optional, bytes) in &items {
                prop_assert_eq!(input.number(), number >> shift);
                prop_assert_eq!(input.optional(), *optional);
                prop_assert_eq!(input.bytes(), bytes);
                prop_assert_eq!(input.duration(), Duration::from_nanos(*number));
            }
            prop_assert!(input.0.is_empty());
        }
    }

    #[test]
    fn what_is_missing_is_empty() {
        let mut input = Unpacker::new(&[0xff]);
        assert_eq!((input.number(), input.number()), (0x7f, 0));
        assert_eq!((input.bytes(), input.optional()), (&[][..], None));
    }
}
