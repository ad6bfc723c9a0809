//! Which values of fields are kept.

use tidegate_hpack::Field;

use crate::record::FieldRecord;
use crate::text;

/// The values of fields that a trace keeps. DATA is never kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Values {
    /// Those that the protocol itself reads, such as `:method` and `content-length`. Of others, the
    /// length.
    #[default]
    Protocol,
    /// All but credentials.
    Most,
    /// All: for a client that shows its own connection.
    All,
}

/// Fields that the protocol itself reads. They say nothing about a person.
const PROTOCOL: [&str; 11] = [
    ":method",
    ":scheme",
    ":status",
    ":protocol",
    "connection",
    "content-length",
    "expect",
    "priority",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Parts of the names of fields that carry credentials, beyond what [`is_credential`] lists.
const TELLING: [&str; 18] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "passphrase",
    "api-key",
    "apikey",
    "access-key",
    "private-key",
    "session",
    "credential",
    "signature",
    "csrf",
    "jwt",
    "assertion",
    "bearer",
    "dpop",
];

/// Fields that carry credentials and whose names don't tell.
const CREDENTIALS: [&str; 6] = [
    "x-xsrf",
    "x-key",
    "x-pin",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-client-cert",
];

/// Whether a field carries credentials by its name: `cookie`, `set-cookie`, `authorization`,
/// `proxy-authorization`, and others whose name says so, such as `x-api-key` and `x-auth-token`.
pub fn is_credential(name: &[u8]) -> bool {
    if name.first() == Some(&b':') {
        return false;
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name = name.replace('_', "-");
    TELLING.iter().any(|part| name.contains(part)) || CREDENTIALS.contains(&&*name)
}

impl Values {
    /// Returns the record of a field. `authority` is the request's `:authority`, to which its
    /// `host` must be the same.
    pub(crate) fn record(self, field: &Field<'_>, authority: Option<&[u8]>) -> FieldRecord {
        let Field { name, value, .. } = *field;
        let is_kept = match self {
            Self::All => true,
            Self::Most => !is_credential(name),
            Self::Protocol => {
                let is_plain = name == b":path" && matches!(value, b"/" | b"*");
                is_plain || PROTOCOL.iter().any(|kept| kept.as_bytes() == name)
            }
        };
        // The name may be the value of a client that puts its secrets there, but no client does.
        let name_text = text::of(name);
        if is_kept {
            return FieldRecord {
                name: name_text,
                value: Some(text::of(value)),
                value_length: None,
                value_invalid: false,
            };
        }
        FieldRecord {
            name: name_text,
            value: None,
            value_length: Some(u32::try_from(value.len()).unwrap_or(u32::MAX)),
            value_invalid: is_invalid(name, value, authority),
        }
    }
}

/// Whether a value breaks a rule by itself (RFC 9113 §8.2.1, §8.3.1).
fn is_invalid(name: &[u8], value: &[u8], authority: Option<&[u8]>) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_control = |byte: &u8| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f;
    if is_blank(value.first()) || is_blank(value.last()) || value.iter().any(is_control) {
        return true;
    }
    match name {
        b":path" => !value.starts_with(b"/") || value.contains(&b' '),
        b":authority" => !value.is_empty() && !tidegate_http::is_authority(value),
        b"host" => {
            let differs = authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(value));
            differs || (!value.is_empty() && !tidegate_http::is_authority(value))
        }
        _ => false,
    }
}

/// Returns bytes that stand for a value that was withheld: as long, and as valid.
pub(crate) fn placeholder(field: &FieldRecord) -> Vec<u8> {
    if let Some(value) = &field.value {
        return text::bytes(value);
    }
    let len = field.value_length.unwrap_or(0) as usize;
    let mut bytes = vec![b'a'; len];
    if let Some(first) = bytes.first_mut() {
        if field.value_invalid {
            *first = 0;
        } else if field.name == ":path" {
            *first = b'/';
        } else if matches!(&*field.name, ":authority" | "host") && len >= 3 {
            // CONNECT needs a port (RFC 9113 §8.5).
            bytes[len - 2..].copy_from_slice(b":1");
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(values: Values, name: &str, value: &str) -> FieldRecord {
        let field = Field {
            known: None,
            name: name.as_bytes(),
            value: value.as_bytes(),
            never_indexed: false,
        };
        values.record(&field, Some(b"localhost"))
    }

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "cookie",
            "set-cookie",
            "authorization",
            "proxy-authorization",
            "x-api-key",
            "x-auth-token",
            "x-csrf-token",
            "x-xsrf-token",
            "x_session_id",
            "x-amz-security-token",
            "x-amz-signature",
            "x-goog-authenticated-user-jwt",
            "client-cert",
            "x-forwarded-client-cert",
            "www-authenticate",
            "dpop",
            "cf-access-jwt-assertion",
            "x-ms-client-bearer",
        ] {
            assert!(is_credential(name.as_bytes()), "{name}");
            let record = record(Values::Most, name, "hunter2");
            assert_eq!((record.value, record.value_length), (None, Some(7)));
        }
        for name in [
            ":authority",
            "accept",
            "content-type",
            "range",
            "key",
            "pin",
        ] {
            assert!(!is_credential(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn without_values_only_the_protocol_is_kept() {
        for (name, value) in [(":method", "GET"), ("content-length", "7"), (":path", "/")] {
            let kept = record(Values::Protocol, name, value);
            assert_eq!(kept.value.as_deref(), Some(value));
        }
        for (name, value) in [(":path", "/x?y"), ("accept", "*/*"), (":authority", "a")] {
            let withheld = record(Values::Protocol, name, value);
            assert_eq!(withheld.value, None);
            assert_eq!(placeholder(&withheld).len(), value.len());
            assert!(!withheld.value_invalid, "{name}");
        }
    }

    #[test]
    fn a_placeholder_breaks_the_rule_that_its_value_breaks() {
        for (name, value) in [
            ("a", "x\0"),
            ("a", " x"),
            (":path", "x"),
            (":authority", "a@b"),
            ("host", "elsewhere"),
        ] {
            let withheld = record(Values::Protocol, name, value);
            assert!(withheld.value_invalid, "{name}: {value}");
            assert_eq!(placeholder(&withheld)[0], 0);
        }
    }
}
