//! The target of a request, its authority and its path: one reading for HTTP/1.1 and HTTP/2.

use super::classes::{HOST_NAME, SCHEME, USERINFO, classes};
use super::rules::parse_length;

/// Whether `value` is a host with an optional port: RFC 9110 §7.2, "Host = uri-host [ ":" port ]",
/// with the host that RFC 9110 §4.2.1 requires in "http" and "https" URIs.
///
/// An address in brackets is IPv6. A port is empty or a 16-bit number. Names have no comma: RFC
/// 3986 §3.2.2 would allow one, but it shows that somebody joined two Host fields.
pub fn is_authority(value: &[u8]) -> bool {
    is_usual(value) || is_right(value)
}

/// Whether an authority has the form of nearly all: a name of letters, digits, "-" and ".", or an
/// IPv4 address, with or without a port of up to five digits.
fn is_usual(value: &[u8]) -> bool {
    let mut host = value;
    let mut digits = 0;
    while let [rest @ .., b'0'..=b'9'] = host {
        host = rest;
        digits += 1;
    }
    let host = match host {
        // Text of five digits sorts like the numbers.
        [name @ .., b':']
            if digits < 5 || digits == 5 && value[name.len() + 1..] <= b"65535"[..] =>
        {
            name
        }
        // Without a colon the digits belong to the name.
        _ => value,
    };
    !host.is_empty() && classes(host) & SCHEME != 0
}

fn is_right(value: &[u8]) -> bool {
    let (host_is_fine, port) = match value.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|&byte| byte == b']') else {
                return false;
            };
            (is_ipv6(&literal[..end]), &literal[end + 1..])
        }
        None => {
            let end = value.iter().position(|&byte| byte == b':');
            let (host, port) = value.split_at(end.unwrap_or(value.len()));
            (is_host_name(host), port)
        }
    };
    host_is_fine
        && match port {
            [] | [b':'] => true,
            [b':', digits @ ..] => matches!(parse_length(digits), Some(0..=65_535)),
            _ => false,
        }
}

/// Whether `value` is the authority of a scheme other than "http" and "https". RFC 3986 §3.2:
/// `[ userinfo "@" ] host [ ":" port ]`, in which all parts may be missing.
pub(super) fn is_generic_authority(value: &[u8]) -> bool {
    let at = value.iter().rposition(|&byte| byte == b'@');
    let (userinfo, rest) = match at {
        Some(at) => (&value[..at], &value[at + 1..]),
        None => (&[][..], value),
    };
    classes(userinfo) & USERINFO != 0 && (rest.is_empty() || is_authority(rest))
}

/// Whether this is a host name. RFC 3986 §3.2.2: "reg-name = *( unreserved / pct-encoded /
/// sub-delims )", here without the comma and not empty.
fn is_host_name(host: &[u8]) -> bool {
    !host.is_empty() && classes(host) & HOST_NAME != 0 && is_percent_encoded(host)
}

/// RFC 3986 §2.1: "pct-encoded = "%" HEXDIG HEXDIG".
fn is_percent_encoded(text: &[u8]) -> bool {
    text.iter().enumerate().all(|(at, &byte)| {
        let digits = text.get(at + 1..at + 3);
        byte != b'%' || digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Whether this is an "IP-literal" (RFC 3986 §3.2.2). The only kind is IPv6.
fn is_ipv6(literal: &[u8]) -> bool {
    let text = std::str::from_utf8(literal);
    text.is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Returns `target` with all bytes that aren't ASCII percent-encoded. RFC 3986 §2 restricts URIs to
/// ASCII, but scripts send UTF-8 unencoded, and other servers accept it.
pub fn ascii_target(target: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if byte.is_ascii() {
            encoded.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            encoded.extend([b'%', DIGITS[high], DIGITS[low]]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for authority in [
            "a",
            "example.org.",
            "example.org:443",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
            "[::ffff:192.0.2.1]",
            "a_b%20c",
            "a:",
            "a:0080",
            "a:65535",
        ] {
            assert!(is_authority(authority.as_bytes()), "{authority}");
        }
        for authority in [
            "",
            ":80",
            "a:b",
            "a:+80",
            "a:80:",
            "a:80:81",
            "a:65536",
            "a:-1",
            "a b",
            "a,b",
            "u@a",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "[]",
            "[::1]x",
            "[::1]80",
            "[1]",
            "[v1.x]",
            "[1.2.3.4]",
            "[fe80::1%25eth0]",
            "[a b]",
            "a]b",
            "a[b]",
            "a\0",
            "ä",
            "a%zz",
            "a%2",
            "a%",
        ] {
            assert!(!is_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn usual_authorities_are_right_ones() {
        for authority in [
            "a",
            "localhost:8443",
            "1234",
            "1.2.3.4:80",
            "a:1",
            "a1:1234",
            "a:12345",
            "a:",
            ":1",
            ":1234",
            "",
            "a:b1",
            "a::1",
            "a:1:2",
            "[::1]:80",
            "a_b:80",
        ] {
            let value = authority.as_bytes();
            assert!(!is_usual(value) || is_right(value), "{authority}");
        }
        for authority in [
            "a",
            "localhost:8443",
            "1234",
            "1.2.3.4:80",
            "a:1",
            "a1:1234",
        ] {
            assert!(is_usual(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn authorities_of_other_schemes() {
        for authority in ["", "a", "u@a", "u:p,@a:1", "u@"] {
            assert!(is_generic_authority(authority.as_bytes()), "{authority}");
        }
        for authority in ["a:b", "u@a:b", "u[@a", "u@a@b", "a b"] {
            assert!(!is_generic_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn what_is_not_ascii_is_percent_encoded() {
        assert_eq!(ascii_target("/ü?q=ö".as_bytes()), b"/%C3%BC?q=%C3%B6");
        assert_eq!(ascii_target(b"/a%20b\xff"), b"/a%20b%FF");
    }
}
