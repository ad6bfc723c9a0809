//! What a request is about: its target and Host (RFC 9112 §3.2 and §3.3).

use tidegate_proto::{Fields, KnownName, Violation};

/// Writes the pseudo-fields of a request, as HTTP/2 would have them: those of an extended CONNECT if it asks for `protocol`.
///
/// # Errors
/// A target that is in none of the four forms, or in one that the method doesn't have.
pub(crate) fn push_pseudo_fields(
    fields: &mut Fields,
    method: &[u8],
    target: &[u8],
    host: Option<&[u8]>,
    scheme: &str,
    protocol: Option<&str>,
) -> Result<(), Violation> {
    // RFC 9112 §3.2: no form of the target has a fragment. Servers that cut it off and servers that don't take different
    // paths for the same octets (CVE-2023-45539).
    if target.contains(&b'#') {
        return Err(Violation::TargetInvalid);
    }
    match protocol {
        None => fields.push_known(KnownName::METHOD, method),
        // RFC 8441 §4.
        Some(protocol) => {
            fields.push_known(KnownName::METHOD, "CONNECT");
            fields.push_known(KnownName::PROTOCOL, protocol);
        }
    }
    // RFC 9112 §3.2.3: authority-form "is only used for CONNECT requests", and these use no other.
    if method == b"CONNECT" {
        if !is_host(target) {
            return Err(Violation::TargetInvalid);
        }
        fields.push_known(KnownName::AUTHORITY, target);
        return Ok(());
    }
    fields.push_known(KnownName::SCHEME, scheme);
    if target.first() == Some(&b'/') || target == b"*" {
        // RFC 9112 §3.2.4: asterisk-form "is only used for a server-wide OPTIONS request".
        if target == b"*" && method != b"OPTIONS" {
            return Err(Violation::TargetInvalid);
        }
        if let Some(host) = host {
            fields.push_known(KnownName::AUTHORITY, host);
        }
        fields.push_known(KnownName::PATH, target);
        return Ok(());
    }
    let (authority, path) = split_absolute(target).ok_or(Violation::TargetInvalid)?;
    // RFC 9112 §3.2.2: "the origin server MUST ignore the received Host header field (if any) and instead use the host
    // information of the request-target".
    fields.push_known(KnownName::AUTHORITY, authority);
    match path.first() {
        Some(b'/') => fields.push_known(KnownName::PATH, path),
        // RFC 9112 §3.2.4: OPTIONS with "an empty path and no query component" means "*".
        None if method == b"OPTIONS" => fields.push_known(KnownName::PATH, "*"),
        // RFC 9110 §4.2.3: "an empty path component is equivalent to an absolute path of "/"".
        _ => fields.push_known(KnownName::PATH, [b"/", path].concat()),
    }
    Ok(())
}

/// RFC 9112 §3.2.2: absolute-form, cut into authority and the rest.
fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = target.iter().position(|&octet| octet == b':')?;
    let (scheme, rest) = target.split_at(colon);
    // RFC 3986 §3.1: schemes are case-insensitive. Others than these two name nothing that is here.
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let end = rest
        .iter()
        .position(|octet| matches!(octet, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    is_host(authority).then_some((authority, path))
}

/// RFC 9110 §7.2: "Host = uri-host [ ":" port ]", with the host that RFC 9110 §4.2.1 wants in "http" and "https" URIs. A
/// comma could stand in a name, but what has one are two Host fields that somebody joined.
pub(crate) fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.strip_prefix(b"[") {
        // RFC 3986 §3.2.2: IP-literal.
        Some(literal) => {
            let Some(end) = literal.iter().position(|&octet| octet == b']') else {
                return false;
            };
            let is_address = |octet: &u8| octet.is_ascii_hexdigit() || b":.".contains(octet);
            if end == 0 || !literal[..end].iter().all(is_address) {
                return false;
            }
            (None, &literal[end + 1..])
        }
        None => {
            let end = value.iter().position(|&octet| octet == b':');
            let (host, port) = value.split_at(end.unwrap_or(value.len()));
            (Some(host), port)
        }
    };
    let is_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._~!$&'()*+;=%".contains(octet);
    let host_is_fine = host.is_none_or(|host| !host.is_empty() && host.iter().all(is_name));
    let port_is_fine = match port.split_first() {
        None => true,
        Some((&colon, digits)) => colon == b':' && digits.iter().all(u8::is_ascii_digit),
    };
    host_is_fine && port_is_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in [
            "a",
            "example.org:443",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8080",
            "a_b%20c",
            "a:",
        ] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "", ":80", "a:b", "a:80:81", "a b", "a,b", "u@a", "a/b", "[::1", "[]", "[::1]x",
            "[a b]", "a\0", "ä", "::1",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
