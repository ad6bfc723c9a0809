//! The Huffman code (RFC 7541 Appendix B) and the tables that coding wants, worked out by the
//! compiler.
//!
//! The code is canonical: sorted by length and then by symbol, each code is the one before it plus
//! one. So the lengths say it all, and the codes are computed from them.

/// The symbol that no string may contain (RFC 7541 §5.2).
pub(crate) const EOS: u16 = 256;

/// Bits in the longest code.
const LONGEST: usize = 30;

/// Bits of each symbol's code, EOS last.
#[rustfmt::skip]
pub(crate) const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, // 0
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, // 16
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, // 32
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, // 48
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, // 64
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, // 80
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, // 96
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, // 112
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, // 128
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, // 144
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, // 160
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, // 176
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, // 192
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, // 208
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, // 224
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, // 240
    30, // 256
];

/// A symbol's code.
#[derive(Clone, Copy)]
pub(crate) struct Code {
    /// The code in the low bits.
    pub(crate) bits: u32,
    /// How many bits it has.
    pub(crate) len: u32,
}

/// The code of each byte.
pub(crate) static CODES: [Code; 256] = {
    let mut codes = [Code { bits: 0, len: 0 }; 256];
    let mut rank = 0;
    let mut next = 0_u32;
    let mut len = 0;
    while rank < SYMBOLS.len() {
        let symbol = SYMBOLS[rank] as usize;
        let symbol_len = LENGTHS[symbol] as u32;
        next <<= symbol_len - len;
        len = symbol_len;
        if symbol < 256 {
            codes[symbol] = Code { bits: next, len };
        }
        next += 1;
        rank += 1;
    }
    codes
};

/// The symbols in the order of their codes.
pub(crate) const SYMBOLS: [u16; 257] = {
    let mut symbols = [0; 257];
    let mut rank = 0;
    let mut len = 1;
    while len <= LONGEST {
        let mut symbol = 0;
        while symbol < 257 {
            if LENGTHS[symbol] as usize == len {
                symbols[rank] = symbol as u16;
                rank += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    symbols
};

/// The bits that one look at [`PAIRS`] decodes. Nearly all pairs of common symbols fit in.
pub(crate) const LOOK: u32 = 14;

/// The one or two printable symbols at the start of some bits: symbols in the low 16 bits, the
/// first one lowest; then a byte with the bits of their codes; their number in the highest two
/// bits. It is 0 if the bits begin with another symbol or with a code of more than [`LOOK`] bits.
#[derive(Clone, Copy)]
pub(crate) struct Pair(u32);

impl Pair {
    const NONE: Self = Self(0);

    const fn one(first: u8, code: Code) -> Self {
        Self(first as u32 | code.len << 16 | 1 << 30)
    }

    const fn two(first: u8, second: u8, both: Code) -> Self {
        Self(first as u32 | (second as u32) << 8 | both.len << 16 | 2 << 30)
    }

    /// Returns the symbols. The second one means nothing if there is one only.
    #[inline(always)]
    pub(crate) const fn symbols(self) -> [u8; 2] {
        (self.0 as u16).to_le_bytes()
    }

    /// Returns the number of symbols.
    #[inline(always)]
    pub(crate) const fn count(self) -> usize {
        (self.0 >> 30) as usize
    }

    /// Returns the bits of the codes in the low six bits. Sums of up to four of these numbers have
    /// the sum of the bits there; what is above means nothing.
    #[inline(always)]
    pub(crate) const fn step(self) -> u32 {
        self.0 >> 16
    }
}

/// The printable symbols: 0x20 to 0x7e. All others have codes of 13 bits or more, and are rare.
pub(crate) const PRINTABLE: std::ops::RangeInclusive<u8> = b' '..=b'~';

/// For [`LOOK`] bits: the one or two printable symbols whose codes they begin with.
pub(crate) static PAIRS: [Pair; 1 << LOOK] = {
    let mut pairs = [Pair::NONE; 1 << LOOK];
    let mut first = *PRINTABLE.start();
    while first <= *PRINTABLE.end() {
        let code = CODES[first as usize];
        if code.len <= LOOK {
            fill(&mut pairs, code, Pair::one(first, code));
            let mut second = *PRINTABLE.start();
            while second <= *PRINTABLE.end() {
                let Code { bits, len } = CODES[second as usize];
                if code.len + len <= LOOK {
                    let both = Code {
                        bits: code.bits << len | bits,
                        len: code.len + len,
                    };
                    fill(&mut pairs, both, Pair::two(first, second, both));
                }
                second += 1;
            }
        }
        first += 1;
    }
    pairs
};

/// Sets the entries of all bits that begin with this code.
const fn fill(pairs: &mut [Pair; 1 << LOOK], code: Code, pair: Pair) {
    let spare = LOOK - code.len;
    let mut i = 0;
    while i < 1 << spare {
        pairs[((code.bits << spare) + i) as usize] = pair;
        i += 1;
    }
}

/// The codes of one length.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Bits of these codes.
    pub(crate) len: u32,
    /// The first code, at the high end of 32 bits.
    pub(crate) first: u32,
    /// The last code followed by ones, at the high end of 32 bits: everything up to here is of this
    /// class or a shorter one.
    pub(crate) last: u32,
    /// The first code's place in [`SYMBOLS`].
    pub(crate) rank: u32,
}

/// The most bits of a code that isn't in [`LONG`]: such codes are all printable symbols'.
const SHORT: u32 = 12;

/// Lengths over [`SHORT`] bits that occur.
const LONG_CLASSES: usize = 14;

/// The codes of more than [`SHORT`] bits by length, shortest first. The last ends with EOS: all
/// ones.
pub(crate) static LONG: [Class; LONG_CLASSES] = {
    let mut classes = [Class {
        len: 0,
        first: 0,
        last: 0,
        rank: 0,
    }; LONG_CLASSES];
    let mut class = 0;
    let mut rank = 0;
    let mut next = 0_u32;
    let mut len = 0;
    while rank < SYMBOLS.len() {
        let symbol_len = LENGTHS[SYMBOLS[rank] as usize] as u32;
        next <<= symbol_len - len;
        len = symbol_len;
        let (first, first_rank) = (next, rank as u32);
        while rank < SYMBOLS.len() && LENGTHS[SYMBOLS[rank] as usize] as u32 == len {
            next += 1;
            rank += 1;
        }
        if len > SHORT {
            let spare = 32 - len;
            classes[class] = Class {
                len,
                first: first << spare,
                last: ((next - 1) << spare) | ((1 << spare) - 1),
                rank: first_rank,
            };
            class += 1;
        }
    }
    assert!(class == LONG_CLASSES);
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_appendix_b() {
        for (symbol, bits, len) in [
            (0, 0x1ff8, 13),
            (9, 0x00ff_ffea, 24),
            (22, 0x3fff_fffe, 30),
            (b' ', 0x14, 6),
            (b'0', 0x0, 5),
            (b'X', 0xfc, 8),
            (b'Z', 0xfd, 8),
            (b'\\', 0x7fff0, 19),
            (b'a', 0x3, 5),
            (b't', 0x9, 5),
            (b'|', 0x7fc, 11),
            (128, 0xfffe6, 20),
            (207, 0x01ff_ffed, 25),
            (254, 0x07ff_fff0, 27),
            (255, 0x03ff_ffee, 26),
        ] {
            let code = CODES[usize::from(symbol)];
            assert_eq!((code.bits, code.len), (bits, len), "{symbol}");
        }
    }

    #[test]
    fn the_code_is_complete() {
        // Kraft's sum is one: every bit string is the start of some string of symbols.
        let sum: u64 = LENGTHS
            .iter()
            .map(|&len| 1_u64 << (LONGEST as u32 - u32::from(len)))
            .sum();
        assert_eq!(sum, 1 << LONGEST);
        assert_eq!(LONG[LONG_CLASSES - 1].last, u32::MAX);
        assert_eq!(SYMBOLS[256], EOS);
    }
}
