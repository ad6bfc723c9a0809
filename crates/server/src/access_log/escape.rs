//! Values that strangers send, written so that they can't be taken for anything else.

/// Appends a value to a line of text: quotes and backslashes after a backslash, control characters
/// and bytes that aren't ASCII as `\xHH`.
pub(super) fn text(out: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            quoted @ (b'"' | b'\\') => out.extend([b'\\', quoted]),
            other => {
                out.extend_from_slice(b"\\x");
                hex(out, other);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Appends a JSON string (RFC 8259 §7). Bytes that aren't UTF-8 become U+FFFD. Characters that end
/// a line or that a terminal obeys are escaped.
pub(crate) fn json(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    if value.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(value);
        out.push(b'"');
        return;
    }
    for chunk in value.utf8_chunks() {
        json_part(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn json_part(out: &mut Vec<u8>, text: &str) {
    let must = |c: char| matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}') || c.is_control();
    let mut rest = text;
    while let Some(at) = rest.find(must) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let Some(found) = rest[at..].chars().next() else {
            return;
        };
        match found {
            '"' | '\\' => out.extend([b'\\', found as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // All of these are below U+10000.
            other => {
                out.extend_from_slice(b"\\u");
                for byte in (other as u16).to_be_bytes() {
                    hex(out, byte);
                }
            }
        }
        rest = &rest[at + found.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
}

fn hex(out: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: fn(&mut Vec<u8>, &[u8]), value: &[u8]) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_the_line() {
        assert_eq!(
            written(text, b"/a\"b\\c\r\n\x00\x1b[2J\x7f\xff ~"),
            "/a\\\"b\\\\c\\x0d\\x0a\\x00\\x1b[2J\\x7f\\xff ~"
        );
        assert_eq!(
            written(
                json,
                b"/a\"b\\c\r\n\t\x00\x1b[2J\x7f\xff ~\xc3\xa4\xe2\x80\xa8\xc2\x9b"
            ),
            "\"/a\\\"b\\\\c\\r\\n\\t\\u0000\\u001b[2J\\u007f\u{fffd} ~ä\\u2028\\u009b\""
        );
    }

    proptest! {
        #[test]
        fn any_bytes_stay_one_string(value: Vec<u8>) {
            let line = written(json, &value);
            let parsed: String = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(parsed, String::from_utf8_lossy(&value));
            prop_assert!(!line.chars().any(char::is_control));
            let plain = written(text, &value);
            prop_assert!(plain.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            // A quote is never free.
            let unescaped = plain.replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!unescaped.contains('"'));
        }
    }
}
