//! String literals in the Huffman code (RFC 7541 §5.2).

use crate::Error;
use crate::huffman_table::{CODES, EOS, LENGTHS, LONG, LOOK, PAIRS, PRINTABLE, SYMBOLS};

/// The bytes that a decoded value can have, as far as the decoder knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// Visible ASCII and spaces: 0x20 to 0x7e.
    Printable,
    /// Any bytes.
    Any,
}

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

/// The room for the symbols of one load of bits: two for each look, and more than enough.
const WINDOW: usize = 16;

/// Appends the string that this Huffman code stands for to `out`. Returns what its bytes can be.
pub(crate) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<Alphabet, Error> {
    let start = out.len();
    out.resize(start + longest_decoded(code.len()) + WINDOW, 0);
    let (len, alphabet) = symbols(code, &mut out[start..])?;
    out.truncate(start + len);
    Ok(alphabet)
}

/// Returns the length of the decoded string. Fails as [`decode`] does, and allocates nothing.
pub(crate) fn decoded_len(code: &[u8]) -> Result<usize, Error> {
    symbols(code, &mut []).map(|(len, _)| len)
}

/// Decodes a string into `room`. Symbols for which there isn't room are counted only. Returns the
/// length of the string, and what its bytes can be.
///
/// The ones of the padding are no symbol, so within whole words nothing asks how many bits are
/// left.
#[inline(always)]
fn symbols(code: &[u8], room: &mut [u8]) -> Result<(usize, Alphabet), Error> {
    let end = code.len() * 8;
    let tail = last_bytes(code);
    let mut beyond = [0; WINDOW];
    let mut alphabet = Alphabet::Printable;
    let (mut at, mut len) = (0, 0);
    'string: loop {
        'pairs: {
            while let Some(word) = word_at(code, at)
                && let Some(window) = window(room, len)
            {
                let took = Took::of(word, window);
                len += took.count;
                at += took.bits;
                if !took.more {
                    break 'pairs;
                }
            }
            let rest = word_at(code, at).unwrap_or_else(|| padded(tail, end - at));
            let took = Took::of(rest, window(room, len).unwrap_or(&mut beyond));
            len += took.count;
            at += took.bits;
            // A symbol that reaches beyond the end began with bits that aren't all ones. "A padding
            // not corresponding to the most significant bits of the code for the EOS symbol MUST be
            // treated as a decoding error."
            let left = end.checked_sub(at).ok_or(Error::HuffmanPadding)?;
            // "an incomplete code at the end of the encoded data is to be considered as padding and
            // discarded"
            if left <= 7 && padded(tail, left) == u64::MAX {
                return Ok((len, alphabet));
            }
            if took.more {
                continue 'string;
            }
        }
        let rest = word_at(code, at).unwrap_or_else(|| padded(tail, end - at));
        let (symbol, bits) = long_symbol((rest >> 32) as u32, end - at)?;
        if !PRINTABLE.contains(&symbol) {
            alphabet = Alphabet::Any;
        }
        if let Some(place) = room.get_mut(len) {
            *place = symbol;
        }
        len += 1;
        at += bits;
    }
}

/// Returns the room behind the string.
#[inline(always)]
fn window(room: &mut [u8], len: usize) -> Option<&mut [u8; WINDOW]> {
    room.get_mut(len..)?.first_chunk_mut()
}

/// The printable symbols that were at the start of some bits.
struct Took {
    count: usize,
    /// The bits of their codes.
    bits: usize,
    /// Whether there may be more such symbols.
    more: bool,
}

impl Took {
    /// Takes symbols off the start of `bits`.
    #[inline(always)]
    fn of(mut bits: u64, window: &mut [u8; WINDOW]) -> Self {
        let (mut count, mut steps, mut step) = (0, 0, 0);
        for _ in 0..LOOKS {
            let pair = PAIRS[(bits >> (u64::BITS - LOOK)) as usize];
            let [first, second] = pair.symbols();
            window[count] = first;
            window[count + 1] = second;
            count += pair.count();
            step = pair.step();
            bits <<= step % u64::BITS;
            steps += step;
        }
        Self {
            count,
            bits: (steps % u64::BITS) as usize,
            more: step > 0,
        }
    }
}

/// Returns the bits of the code from bit `at` on, at the high end of a word, if eight bytes are
/// left. The lowest seven bits mean nothing.
#[inline(always)]
fn word_at(code: &[u8], at: usize) -> Option<u64> {
    let word = code.get(at / 8..at / 8 + 8)?.first_chunk()?;
    Some(u64::from_be_bytes(*word) << (at % 8))
}

/// Returns the last bytes of the code, up to eight, at the low end of a word.
#[inline(always)]
fn last_bytes(code: &[u8]) -> u64 {
    if let Some(last) = code.last_chunk() {
        return u64::from_be_bytes(*last);
    }
    // Four to seven bytes: both halves have those in the middle.
    if let (Some(first), Some(last)) = (code.first_chunk(), code.last_chunk()) {
        let (first, last) = (u32::from_be_bytes(*first), u32::from_be_bytes(*last));
        return u64::from(first) << (8 * (code.len() - 4)) | u64::from(last);
    }
    code.iter()
        .fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

/// Returns the last `left` bits (below 64) of `tail` at the high end of a word. They are followed
/// by ones, as if the padding never ended.
#[inline(always)]
fn padded(tail: u64, left: usize) -> u64 {
    !(!tail << 1 << (63 - left))
}

/// Reads a symbol that [`PAIRS`] doesn't have, and returns it with the bits of its code. `left`
/// bits are left.
#[inline(never)]
fn long_symbol(bits: u32, left: usize) -> Result<(u8, usize), Error> {
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
    Ok((symbol as u8, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = b"before".to_vec();
        let result = decode(code, &mut out);
        assert_eq!(result.map(|_| out.len() - 6), decoded_len(code));
        let text = out.split_off(6);
        if let Ok(alphabet) = result {
            let is_printable = text.iter().all(|byte| (b' '..=b'~').contains(byte));
            assert_eq!(alphabet == Alphabet::Printable, is_printable);
        }
        result.map(|_| text)
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
