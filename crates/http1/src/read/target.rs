//! The target of a request and its Host (RFC 9112 §3.2 and §3.3).

use tidegate_http::{Fields, KnownName, Violation, is_authority};

/// Writes the pseudo-fields of a request as HTTP/2 would carry them; those of an extended CONNECT
/// if the request asks for `protocol`.
///
/// # Errors
/// Returns an error for a target in none of the four forms, or in one that the method doesn't
/// allow.
pub(crate) fn push_pseudo_fields(
    fields: &mut Fields,
    method: &[u8],
    target: &[u8],
    host: Option<&[u8]>,
    scheme: &str,
    protocol: Option<&str>,
) -> Result<(), Violation> {
    // RFC 9112 §3.2: no form of the target has a fragment. Servers that cut it off and servers that
    // don't would read different paths from the same bytes (CVE-2023-45539).
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
        if !is_authority(target) {
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
    // RFC 9112 §3.2.2: "the origin server MUST ignore the received Host header field (if any) and
    // instead use the host information of the request-target".
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

/// Splits a target in absolute-form into the authority and the rest (RFC 9112 §3.2.2).
pub(super) fn split_absolute(target: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = target.iter().position(|&byte| byte == b':')?;
    let (scheme, rest) = target.split_at(colon);
    // RFC 3986 §3.1: schemes are case-insensitive. Other schemes name nothing that this server has.
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    is_authority(authority).then_some((authority, path))
}
