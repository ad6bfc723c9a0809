//! Classes of bytes, for checking text.

/// The bytes of a token (RFC 9110 §5.6.2).
pub(super) const TOKEN: u8 = 1;
/// The same without upper-case letters: the bytes of an HTTP/2 field name.
pub(super) const LOWER_TOKEN: u8 = 1 << 1;
/// The bytes of a field value: HTAB, SP, visible ASCII and obs-text (RFC 9110 §5.5).
pub(super) const VALUE: u8 = 1 << 2;
/// The bytes at the ends of a field value: the same without HTAB and SP.
pub(super) const VALUE_END: u8 = 1 << 3;
/// The bytes of a host name in an authority (RFC 3986 §3.2.2), without the comma.
pub(super) const HOST_NAME: u8 = 1 << 4;
/// The bytes of a URI's userinfo (RFC 3986 §3.2.1).
pub(super) const USERINFO: u8 = 1 << 5;
/// The bytes of a URI's scheme (RFC 3986 §3.1).
pub(super) const SCHEME: u8 = 1 << 6;
/// Visible ASCII.
pub(super) const VISIBLE: u8 = 1 << 7;
/// All classes: the classes of an empty string.
pub(super) const ALL: u8 = u8::MAX;

/// The classes of each byte.
pub(super) static CLASSES: [u8; 256] = class_table();

pub(super) const fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = classify(byte as u8);
        byte += 1;
    }
    table
}

pub(super) const fn classify(byte: u8) -> u8 {
    let visible = VALUE | VALUE_END | VISIBLE;
    match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' => ALL,
        b'A'..=b'Z' => ALL & !LOWER_TOKEN,
        // The rest of RFC 3986's unreserved and sub-delims, and "%", that a token may have ...
        b'!' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'_' | b'~' => ALL & !SCHEME,
        // ... and those that it may not.
        b'(' | b')' | b';' | b'=' => visible | HOST_NAME | USERINFO,
        b',' | b':' => visible | USERINFO,
        b'#' | b'^' | b'`' | b'|' => visible | TOKEN | LOWER_TOKEN,
        b'"' | b'/' | b'<' | b'>' | b'?' | b'@' | b'[' | b'\\' | b']' | b'{' | b'}' => visible,
        0x80..=0xff => VALUE | VALUE_END,
        b' ' | b'\t' => VALUE,
        0x00..=0x1f | 0x7f => 0,
    }
}

pub(super) fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// Returns the classes that all of the bytes belong to.
pub(super) fn classes(bytes: &[u8]) -> u8 {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let all = chunks.iter().fold(ALL, |all, &[a, b, c, d]| {
        all & class(a) & class(b) & class(c) & class(d)
    });
    rest.iter().fold(all, |all, &byte| all & class(byte))
}

/// Whether all bytes belong to `class`. `suspicious` checks eight bytes at once and sets the high
/// bit of each that may not. Each byte is checked by itself only if there is one.
#[inline]
pub(super) fn all_are(bytes: &[u8], class: u8, suspicious: impl Fn(u64) -> u64) -> bool {
    if let Some(&last) = bytes.last_chunk::<8>() {
        // The last eight bytes overlap those before, so that no remainder is left.
        let mut found = suspicious(u64::from_le_bytes(last));
        for &chunk in bytes.as_chunks::<8>().0 {
            found |= suspicious(u64::from_le_bytes(chunk));
        }
        if found & HIGH_BITS == 0 {
            return true;
        }
    }
    classes(bytes) & class != 0
}

pub(super) const ONES: u64 = 0x0101_0101_0101_0101;
pub(super) const HIGH_BITS: u64 = ONES << 7;

/// Sets the high bit of each byte of the word below `limit` (1 to 128). It may also set the bit of
/// bytes above one that is.
pub(super) const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word
}

/// Sets the high bit of each byte of the word that is `byte`. It may also set the bit of bytes
/// above one that is.
pub(super) const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}
