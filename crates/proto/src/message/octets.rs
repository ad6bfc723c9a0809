//! What octets text may be made of, by classes.

/// RFC 9110 §5.6.2: what a token may have.
pub(super) const TOKEN: u8 = 1;
/// The same without upper-case letters: a field name of HTTP/2.
pub(super) const LOWER_TOKEN: u8 = 1 << 1;
/// What a field value may have: HTAB, SP, visible ASCII and obs-text (RFC 9110 §5.5).
pub(super) const VALUE: u8 = 1 << 2;
/// What a field value may begin and end with: the same without HTAB and SP.
pub(super) const VALUE_END: u8 = 1 << 3;
/// What the name of a host may have in an authority (RFC 3986 §3.2.2), the comma left out.
pub(super) const HOST_NAME: u8 = 1 << 4;
/// What a URI's userinfo may have (RFC 3986 §3.2.1).
pub(super) const USERINFO: u8 = 1 << 5;
/// What a URI's scheme may have (RFC 3986 §3.1).
pub(super) const SCHEME: u8 = 1 << 6;
/// Visible ASCII.
pub(super) const VISIBLE: u8 = 1 << 7;
/// All classes: what no octets at all belong to.
pub(super) const ALL: u8 = u8::MAX;

/// The classes that each octet belongs to.
pub(super) static CLASSES: [u8; 256] = class_table();

pub(super) const fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = classify(octet as u8);
        octet += 1;
    }
    table
}

pub(super) const fn classify(octet: u8) -> u8 {
    let visible = VALUE | VALUE_END | VISIBLE;
    match octet {
        b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' => ALL,
        b'A'..=b'Z' => ALL & !LOWER_TOKEN,
        // The rest of RFC 3986's unreserved and sub-delims, and "%", that are also of a token ...
        b'!' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'_' | b'~' => ALL & !SCHEME,
        // ... and those that are not.
        b'(' | b')' | b';' | b'=' => visible | HOST_NAME | USERINFO,
        b',' | b':' => visible | USERINFO,
        b'#' | b'^' | b'`' | b'|' => visible | TOKEN | LOWER_TOKEN,
        b'"' | b'/' | b'<' | b'>' | b'?' | b'@' | b'[' | b'\\' | b']' | b'{' | b'}' => visible,
        0x80..=0xff => VALUE | VALUE_END,
        b' ' | b'\t' => VALUE,
        0x00..=0x1f | 0x7f => 0,
    }
}

pub(super) fn class(octet: u8) -> u8 {
    CLASSES[usize::from(octet)]
}

/// The classes that every one of the octets belongs to.
pub(super) fn classes(octets: &[u8]) -> u8 {
    let (chunks, rest) = octets.as_chunks::<4>();
    let all = chunks.iter().fold(ALL, |all, &[a, b, c, d]| {
        all & class(a) & class(b) & class(c) & class(d)
    });
    rest.iter().fold(all, |all, &octet| all & class(octet))
}

/// Whether all octets belong to `class`. `suspicious` looks at eight octets at once and sets the high bit of each that it
/// dislikes: only if there is one is each octet looked at by itself.
#[inline]
pub(super) fn all_are(octets: &[u8], class: u8, suspicious: impl Fn(u64) -> u64) -> bool {
    if let Some(&last) = octets.last_chunk::<8>() {
        // The last eight overlap those before, so that no odd end is left.
        let mut found = suspicious(u64::from_le_bytes(last));
        for &chunk in octets.as_chunks::<8>().0 {
            found |= suspicious(u64::from_le_bytes(chunk));
        }
        if found & HIGH_BITS == 0 {
            return true;
        }
    }
    classes(octets) & class != 0
}

pub(super) const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH_BITS: u64 = ONES << 7;

/// The high bits tell whether an octet of the word is below `limit` (1 to 128). Octets above one that is may be told too.
pub(super) const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word
}

/// The high bits tell whether an octet of the word is `octet`. Octets above one that is may be told too.
pub(super) const fn equal(word: u64, octet: u8) -> u64 {
    below(word ^ (ONES * octet as u64), 1)
}
