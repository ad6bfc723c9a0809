//! String literals in the Huffman code (RFC 7541 §5.2).

use crate::Error;
use crate::huffman_table::{CODES, EOS, LENGTHS, LONG, SHORT, SYMBOLS};

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

/// Appends the string that this Huffman code stands for to `out`.
pub(crate) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.resize(start + longest_decoded(code.len()), 0);
    let mut symbols = Symbols::new(code);
    let mut len = 0;
    for byte in &mut out[start..] {
        let Some(symbol) = symbols.next()? else { break };
        *byte = symbol;
        len += 1;
    }
    // The string may have its greatest possible length; then the loop ended before the padding.
    let rest = symbols.next();
    out.truncate(start + len);
    rest.map(|_| ())
}

/// Returns the length of the decoded string. Fails as [`decode`] does, and allocates nothing.
pub(crate) fn decoded_len(code: &[u8]) -> Result<usize, Error> {
    let mut symbols = Symbols::new(code);
    let mut len = 0;
    while symbols.next()?.is_some() {
        len += 1;
    }
    Ok(len)
}

/// Reads symbols from a Huffman code.
struct Symbols<'a> {
    rest: &'a [u8],
    /// The next bits, from the high end on, followed by ones.
    bits: u64,
    /// The number of those bits that belong to the code.
    len: u32,
}

impl<'a> Symbols<'a> {
    fn new(code: &'a [u8]) -> Self {
        Self {
            rest: code,
            bits: u64::MAX,
            len: 0,
        }
    }

    /// Returns the next byte of the string, or `None` at its end.
    #[inline(always)]
    fn next(&mut self) -> Result<Option<u8>, Error> {
        if self.len < 32 {
            self.refill();
        }
        let (symbol, len) = SHORT[(self.bits >> 56) as usize];
        let len = u32::from(len);
        if len == 0 || len > self.len {
            return self.next_long();
        }
        self.skip(len);
        Ok(Some(symbol))
    }

    /// Reads a symbol of more than 8 bits, or the end.
    #[inline(never)]
    fn next_long(&mut self) -> Result<Option<u8>, Error> {
        // "an incomplete code at the end of the encoded data is to be considered as padding and
        // discarded"
        if self.len <= 7 && self.bits == u64::MAX {
            return Ok(None);
        }
        let bits = (self.bits >> 32) as u32;
        let short = u32::from(SHORT[(bits >> 24) as usize].1);
        let (symbol, len) = if short > 0 {
            (0, short)
        } else {
            let class = LONG
                .iter()
                .find(|class| bits <= class.last)
                .unwrap_or(&LONG[LONG.len() - 1]);
            let rank = class.rank + ((bits - class.first) >> (32 - class.len));
            (SYMBOLS[rank as usize], class.len)
        };
        // "A padding strictly longer than 7 bits MUST be treated as a decoding error. A padding not
        // corresponding to the most significant bits of the code for the EOS symbol MUST be treated
        // as a decoding error."
        if len > self.len {
            return Err(Error::HuffmanPadding);
        }
        // "A Huffman-encoded string literal containing the EOS symbol MUST be treated as a decoding
        // error."
        if symbol == EOS {
            return Err(Error::HuffmanEos);
        }
        self.skip(len);
        Ok(Some(symbol as u8))
    }

    fn skip(&mut self, len: u32) {
        // Fill with ones from the low end, as if the padding never ended.
        self.bits = !(!self.bits << len);
        self.len -= len;
    }

    /// Reads on until there are at least 30 bits, the length of the longest code, or the code ends.
    #[inline]
    fn refill(&mut self) {
        if let Some((word, rest)) = self.rest.split_first_chunk::<4>() {
            let room = 32 - self.len;
            let word = u64::from(!u32::from_be_bytes(*word)) << room;
            self.bits &= !word;
            self.len += 32;
            self.rest = rest;
            return;
        }
        for &byte in self.rest {
            self.bits &= !(u64::from(!byte) << (56 - self.len));
            self.len += 8;
        }
        self.rest = &[];
    }
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
