//! String literals in the Huffman code (RFC 7541 §5.2).

use crate::Error;
use crate::huffman_table::{CODES, EOS, LENGTHS, LONG, LOOK, PAIRS, SYMBOLS};

/// Returns the most bytes that `encoded` bytes of Huffman code can decode to: the shortest code has
/// 5 bits.
pub(crate) fn longest_decoded(encoded: usize) -> usize {
    encoded.saturating_mul(8) / 5
}

/// Returns the bytes of the string's Huffman code, with padding.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text
        .iter()
        .map(|&byte| usize::from(LENGTHS[usize::from(byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends the Huffman code of `text` to `out`.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = 0_u64;
    let mut len = 0;
    for &byte in text {
        let code = CODES[usize::from(byte)];
        bits = bits << code.len | u64::from(code.bits);
        len += code.len;
        if len >= 32 {
            len -= 32;
            out.extend_from_slice(&((bits >> len) as u32).to_be_bytes());
        }
    }
    if len > 0 {
        // "the most significant bits of the code corresponding to the EOS (end-of-string) symbol
        // are used" for padding.
        let padded = (bits << 32 | u64::from(u32::MAX)) >> len;
        out.extend_from_slice(&(padded as u32).to_be_bytes()[..len.div_ceil(8) as usize]);
    }
}

/// The looks at the table for one load of bits. After any load at least 57 bits are there.
const LOOKS: u32 = 4;
const _: () = assert!(LOOKS * LOOK <= 57);

/// Appends the string that this Huffman code stands for to `out`.
pub(crate) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    out.reserve(longest_decoded(code.len()) + size_of::<u64>());
    symbols(code, |symbols, count| {
        // A copy of fixed length takes no call.
        let end = out.len() + count;
        out.extend_from_slice(&symbols.to_le_bytes());
        out.truncate(end);
    })
}

/// Returns the length of the decoded string. Fails as [`decode`] does, and allocates nothing.
pub(crate) fn decoded_len(code: &[u8]) -> Result<usize, Error> {
    let mut len = 0;
    symbols(code, |_, count| len += count)?;
    Ok(len)
}

/// Decodes a string: calls `take` with up to eight symbols at a time, the first one lowest, and
/// with their number.
#[inline(always)]
fn symbols(code: &[u8], mut take: impl FnMut(u64, usize)) -> Result<(), Error> {
    let end = code.len() * 8;
    let mut at = 0;
    loop {
        let mut bits = bits_at(code, at);
        let (mut symbols, mut symbol_bits) = (0, 0);
        let mut last = 0;
        for _ in 0..LOOKS {
            let pair = PAIRS[(bits >> (u64::BITS - LOOK)) as usize];
            symbols |= u64::from(pair.symbols) << symbol_bits;
            symbol_bits += u32::from(pair.symbol_bits);
            bits <<= pair.code_bits;
            at += usize::from(pair.code_bits);
            last = pair.code_bits;
        }
        take(symbols, symbol_bits as usize / 8);
        if last > 0 {
            continue;
        }
        // A symbol that reaches beyond the end began with bits that aren't all ones. "A padding
        // not corresponding to the most significant bits of the code for the EOS symbol MUST be
        // treated as a decoding error."
        let left = end.checked_sub(at).ok_or(Error::HuffmanPadding)?;
        match long_symbol((bits_at(code, at) >> 32) as u32, left)? {
            Some((symbol, len)) => {
                take(u64::from(symbol), 1);
                at += len;
            }
            None => return Ok(()),
        }
    }
}

/// Returns the bits of the code from bit `at` on, at the high end of a word. They are followed by
/// ones, as if the padding never ended; the lowest seven bits mean nothing.
#[inline]
fn bits_at(code: &[u8], at: usize) -> u64 {
    let rest = code.get(at / 8..).unwrap_or_default();
    let word = match rest.first_chunk() {
        Some(word) => *word,
        None => {
            let mut word = [0xff; size_of::<u64>()];
            word[..rest.len()].copy_from_slice(rest);
            word
        }
    };
    u64::from_be_bytes(word) << (at % 8)
}

/// Reads a symbol with a code of more than [`LOOK`] bits and returns it with their number, or
/// `None` at the end. `left` bits are left.
#[inline(never)]
fn long_symbol(bits: u32, left: usize) -> Result<Option<(u8, usize)>, Error> {
    // "an incomplete code at the end of the encoded data is to be considered as padding and
    // discarded"
    if left <= 7 && bits == u32::MAX {
        return Ok(None);
    }
    let class = LONG
        .iter()
        .find(|class| bits <= class.last)
        .unwrap_or(&LONG[LONG.len() - 1]);
    let rank = class.rank + ((bits - class.first) >> (32 - class.len));
    let (symbol, len) = (SYMBOLS[rank as usize], class.len as usize);
    // "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not
    // corresponding to the most significant bits of the code for the EOS symbol MUST be treated as
    // a decoding error."
    if len > left {
        return Err(Error::HuffmanPadding);
    }
    // "A Huffman-encoded string literal containing the EOS symbol MUST be treated as a decoding
    // error."
    if symbol == EOS {
        return Err(Error::HuffmanEos);
    }
    Ok(Some((symbol as u8, len)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        let result = decode(code, &mut out);
        assert_eq!(result.map(|()| out.len() - 6), decoded_len(code));
        result.map(|()| out.split_off(6))
    }

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        encode(text, &mut out);
        let code = out.split_off(6);
        assert_eq!(code.len(), encoded_len(text));
        code
    }

    #[test]
    fn every_byte_makes_the_way_there_and_back() {
        for byte in 0..=255 {
            for count in 1..9 {
                let text = vec![byte; count];
                assert_eq!(decoded(&encoded(&text)), Ok(text));
            }
        }
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_at_most_seven_ones() {
        // 'a' is 00011, so three bits of padding follow.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        for wrong in 0..7 {
            assert_eq!(
                decoded(&[0b0001_1000 | wrong]),
                Err(Error::HuffmanPadding),
                "{wrong}"
            );
        }
        assert_eq!(decoded(&[0b0001_1111, 0xff]), Err(Error::HuffmanPadding));
        assert_eq!(decoded(&[0xff]), Err(Error::HuffmanPadding));
        assert_eq!(decoded(&[0xff, 0xff, 0xff]), Err(Error::HuffmanPadding));
        // 'X' is 11111100: a whole byte and no padding.
        assert_eq!(decoded(&[0b1111_1100]), Ok(b"X".to_vec()));
        // Eight times '0' fill five bytes: the greatest possible length.
        assert_eq!(decoded(&[0; 5]), Ok(vec![b'0'; 8]));
        // '+' is 11111111011: its first eight bits don't end the string.
        assert_eq!(decoded(&[0b1111_1111, 0b0111_1111]), Ok(b"+".to_vec()));
    }

    #[test]
    fn eos_is_an_error() {
        assert_eq!(decoded(&[0xff; 4]), Err(Error::HuffmanEos));
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xfc]), Err(Error::HuffmanEos));
        assert_eq!(
            decoded(&[0x1f, 0xff, 0xff, 0xff, 0xff]),
            Err(Error::HuffmanEos)
        );
        assert_eq!(decoded(&[0xff; 400]), Err(Error::HuffmanEos));
    }

    /// Decodes bit by bit, straight from Appendix B and §5.2.
    fn plainly_decoded(code: &[u8]) -> Result<Vec<u8>, Error> {
        let (mut text, mut bits, mut len) = (Vec::new(), 0_u32, 0);
        for bit in code
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1))
        {
            bits = bits << 1 | u32::from(bit);
            len += 1;
            if let Some(symbol) = CODES
                .iter()
                .position(|code| code.len == len && code.bits == bits)
            {
                text.push(symbol as u8);
                (bits, len) = (0, 0);
            }
            if len == 30 {
                return Err(Error::HuffmanEos);
            }
        }
        if len > 7 || bits != (1 << len) - 1 {
            return Err(Error::HuffmanPadding);
        }
        Ok(text)
    }

    proptest! {
        #[test]
        fn strings_make_the_way_there_and_back(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }

        #[test]
        fn any_bytes_decode_as_bit_by_bit(code: Vec<u8>, ones in 0..6_usize) {
            let code = [code, vec![0xff; ones]].concat();
            prop_assert_eq!(decoded(&code), plainly_decoded(&code));
        }
    }
}
