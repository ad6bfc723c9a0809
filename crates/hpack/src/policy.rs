//! Which fields the encoder puts in the dynamic table.

use crate::KnownName;
use crate::known::KNOWN_NAMES;

/// How a field is sent whose name and value are in neither table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Likely to come again: indexed at once.
    Index,
    /// Often different each time: indexed when it comes a second time, so that it doesn't drive others out before.
    IndexRepeated,
    /// A credential: never in a table, here or at an intermediary, where an attacker could guess at it (RFC 7541 §7.1).
    Never,
}

/// "a browser that sends a cookie with little entropy" lets it be guessed: so short a value is never indexed (RFC 7541
/// §7.1.3 gives low entropy as the reason to).
const SHORT_COOKIE: usize = 20;

const VOLATILE: [KnownName; 16] = [
    KnownName::AGE,
    KnownName::CONTENT_LENGTH,
    KnownName::CONTENT_LOCATION,
    KnownName::CONTENT_RANGE,
    KnownName::ETAG,
    KnownName::EXPIRES,
    KnownName::IF_MATCH,
    KnownName::IF_MODIFIED_SINCE,
    KnownName::IF_NONE_MATCH,
    KnownName::IF_RANGE,
    KnownName::IF_UNMODIFIED_SINCE,
    KnownName::LAST_MODIFIED,
    KnownName::LINK,
    KnownName::LOCATION,
    KnownName::PATH,
    KnownName::RANGE,
];

const CREDENTIALS: [KnownName; 3] = [
    KnownName::AUTHORIZATION,
    KnownName::PROXY_AUTHORIZATION,
    KnownName::SET_COOKIE,
];

/// By the known name's number.
static POLICIES: [Policy; KNOWN_NAMES] = {
    let mut policies = [Policy::Index; KNOWN_NAMES];
    let mut i = 0;
    while i < VOLATILE.len() {
        policies[VOLATILE[i].0 as usize] = Policy::IndexRepeated;
        i += 1;
    }
    i = 0;
    while i < CREDENTIALS.len() {
        policies[CREDENTIALS[i].0 as usize] = Policy::Never;
        i += 1;
    }
    policies
};

/// The policy for a field.
#[inline]
pub(crate) fn of(name: Option<KnownName>, value: &[u8]) -> Policy {
    match name {
        Some(KnownName::COOKIE) if value.len() < SHORT_COOKIE => Policy::Never,
        Some(name) => POLICIES[usize::from(name.0)],
        None => Policy::Index,
    }
}
