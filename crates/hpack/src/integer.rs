//! Integers with a prefix (RFC 7541 §5.1).

use crate::Error;

/// The most continuation bytes of an integer. Four carry 28 bits: more than any index, length or
/// table size here needs.
const MAX_CONTINUATION: usize = 4;

/// Reads an integer whose prefix is the low `prefix` bits of `first` and that goes on in `rest`.
/// Returns the integer with the bytes after it.
#[inline]
pub(crate) fn decode(first: u8, prefix: u32, rest: &[u8]) -> Result<(usize, &[u8]), Error> {
    let full = u8::MAX >> (8 - prefix);
    let value = first & full;
    if value < full {
        return Ok((usize::from(value), rest));
    }
    decode_continuation(usize::from(value), rest)
}

#[cold]
fn decode_continuation(mut value: usize, rest: &[u8]) -> Result<(usize, &[u8]), Error> {
    for (i, &byte) in rest.iter().enumerate() {
        // "Integer encodings that exceed implementation limits -- in value or octet length -- MUST
        // be treated as decoding errors."
        if i == MAX_CONTINUATION {
            return Err(Error::IntegerOverflow);
        }
        value += usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, &rest[i + 1..]));
        }
    }
    Err(Error::Truncated)
}

/// Appends an integer whose prefix is the low `prefix` bits of a byte with `pattern` in its high
/// bits.
#[inline]
pub(crate) fn encode(pattern: u8, prefix: u32, value: usize, out: &mut Vec<u8>) {
    let full = (1 << prefix) - 1;
    if value < full {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | full as u8);
    let mut value = value - full;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(prefix: u32, bytes: &[u8]) -> Result<(usize, usize), Error> {
        decode(bytes[0], prefix, &bytes[1..]).map(|(value, rest)| (value, rest.len()))
    }

    #[test]
    fn the_examples_of_appendix_c_1() {
        for (prefix, value, bytes) in [
            (5, 10, &[0b1110_1010][..]),
            (5, 1337, &[0b1111_1111, 0b1001_1010, 0b0000_1010]),
            (8, 42, &[0b0010_1010]),
        ] {
            assert_eq!(decoded(prefix, bytes), Ok((value, 0)));
            let mut out = Vec::new();
            let pattern = if prefix == 8 { 0 } else { 0b1110_0000 };
            encode(pattern, prefix, value, &mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn integers_make_the_way_there_and_back() {
        for prefix in 4..=7 {
            for value in (0..70_000).chain([(1 << 28) - 1]) {
                let mut out = Vec::new();
                encode(0, prefix, value, &mut out);
                assert_eq!(decoded(prefix, &out), Ok((value, 0)));
            }
        }
    }

    #[test]
    fn an_integer_cannot_overflow() {
        assert_eq!(
            decoded(7, &[0x7f, 0xff, 0xff, 0xff, 0x7f, 9]),
            Ok((127 + (1 << 28) - 1, 1))
        );
        assert_eq!(
            decoded(7, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Err(Error::IntegerOverflow)
        );
        // "It is also possible for an encoder to send a large number of zero values, which can
        // waste octets".
        assert_eq!(
            decoded(5, &[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00]),
            Err(Error::IntegerOverflow)
        );
        assert_eq!(decoded(5, &[0xff; 64]), Err(Error::IntegerOverflow));
    }

    #[test]
    fn an_integer_must_end() {
        assert_eq!(decoded(7, &[0x7f]), Err(Error::Truncated));
        assert_eq!(decoded(7, &[0x7f, 0x80, 0x80]), Err(Error::Truncated));
    }
}
