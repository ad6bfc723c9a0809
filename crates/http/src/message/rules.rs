//! The rules for fields other than pseudo-fields (RFC 9113 §8.2), in every section.

use tidegate_hpack::{Field, Fields, KnownName};

use super::classes::{
    LOWER_TOKEN, SCHEME, TOKEN, VALUE, VALUE_END, VISIBLE, all_are, below, class, classes, equal,
};
use super::target::is_authority;
use crate::error::Violation;

/// Checks the fields of a trailer section (RFC 9113 §8.1).
///
/// # Errors
/// Returns the first rule that the list breaks.
pub fn check_trailers(fields: &Fields) -> Result<(), Violation> {
    let mut regular = Regular::default();
    for field in fields {
        regular.check(field, Section::Trailers)?;
    }
    Ok(())
}

/// Whether a field with this name may be in a trailer section. RFC 9110 §6.5.1: "Many fields cannot
/// be processed outside the header section because their evaluation is necessary prior to receiving
/// the content, such as those that describe message framing, routing, authentication, request
/// modifiers, response controls, or content format." Names without a number are allowed.
pub fn may_be_trailer(name: Option<KnownName>) -> bool {
    !matches!(
        name,
        Some(
            // Framing, and fields about a connection.
            KnownName::CONTENT_LENGTH
                | KnownName::TRANSFER_ENCODING
                | KnownName::CONNECTION
                | KnownName::KEEP_ALIVE
                | KnownName::PROXY_CONNECTION
                | KnownName::HTTP2_SETTINGS
                | KnownName::TE
                | KnownName::TRAILER
                | KnownName::UPGRADE
                // Routing.
                | KnownName::HOST
                | KnownName::MAX_FORWARDS
                | KnownName::VIA
                | KnownName::FORWARDED
                | KnownName::X_FORWARDED_FOR
                | KnownName::X_FORWARDED_HOST
                | KnownName::X_FORWARDED_PROTO
                | KnownName::X_REAL_IP
                // Authentication.
                | KnownName::AUTHORIZATION
                | KnownName::COOKIE
                | KnownName::PROXY_AUTHENTICATE
                | KnownName::PROXY_AUTHORIZATION
                | KnownName::SET_COOKIE
                | KnownName::WWW_AUTHENTICATE
                // Request modifiers.
                | KnownName::EXPECT
                | KnownName::IF_MATCH
                | KnownName::IF_MODIFIED_SINCE
                | KnownName::IF_NONE_MATCH
                | KnownName::IF_RANGE
                | KnownName::IF_UNMODIFIED_SINCE
                | KnownName::PRAGMA
                | KnownName::RANGE
                // Response controls.
                | KnownName::AGE
                | KnownName::CACHE_CONTROL
                | KnownName::DATE
                | KnownName::EXPIRES
                | KnownName::LOCATION
                | KnownName::RETRY_AFTER
                | KnownName::VARY
                // Content format.
                | KnownName::CONTENT_DISPOSITION
                | KnownName::CONTENT_ENCODING
                | KnownName::CONTENT_RANGE
                | KnownName::CONTENT_TYPE
        )
    )
}

/// The section of a field; a few rules depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Request,
    Response,
    Trailers,
}

/// Whether a list repeats its content-length.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Spelling {
    #[default]
    Once,
    Repeatedly,
}

/// The findings of a list so far, apart from pseudo-fields.
#[derive(Default)]
pub(super) struct Regular<'a> {
    pub(super) content_length: Option<u64>,
    /// The form of the content-length.
    pub(super) spelling: Spelling,
    pub(super) host: Option<&'a [u8]>,
}

impl<'a> Regular<'a> {
    /// Checks a field that isn't a pseudo-field of its section.
    #[inline]
    pub(super) fn check(&mut self, field: Field<'a>, section: Section) -> Result<(), Violation> {
        match field.known {
            Some(known) => self.check_known(known, field.value, section),
            None => {
                check_name(field.name, section)?;
                check_value(field.value)
            }
        }
    }

    /// The same for a known name, whose bytes need no check.
    fn check_known(
        &mut self,
        name: KnownName,
        value: &'a [u8],
        section: Section,
    ) -> Result<(), Violation> {
        match name {
            KnownName::AUTHORITY
            | KnownName::METHOD
            | KnownName::PATH
            | KnownName::SCHEME
            | KnownName::STATUS
            | KnownName::PROTOCOL => Err(misplaced_pseudo_field(section)),
            // RFC 9113 §8.2.2: "Any message containing connection-specific header fields MUST be
            // treated as malformed".
            KnownName::CONNECTION
            | KnownName::KEEP_ALIVE
            | KnownName::PROXY_CONNECTION
            | KnownName::TRANSFER_ENCODING
            | KnownName::UPGRADE => Err(Violation::ConnectionSpecificField),
            KnownName::TE => {
                // RFC 9113 §8.2.2: "The only exception to this is the TE header field, which MAY be
                // present in an HTTP/2 request; when it is, it MUST NOT contain any value other
                // than "trailers"."
                if section != Section::Request {
                    return Err(Violation::ConnectionSpecificField);
                }
                if !value.eq_ignore_ascii_case(b"trailers") {
                    return Err(Violation::TeNotTrailers);
                }
                Ok(())
            }
            // The field has no meaning in trailers, whatever its value.
            KnownName::CONTENT_LENGTH if section == Section::Trailers => check_value(value),
            KnownName::CONTENT_LENGTH => self.note_length(value),
            KnownName::HOST if section == Section::Request => {
                // RFC 9110 §7.2: "Host = uri-host [ ":" port ]", so never with userinfo. It may be
                // empty.
                if !value.is_empty() && !is_authority(value) {
                    return Err(Violation::AuthorityInvalid);
                }
                // RFC 9112 §3.2: a request that "contains more than one Host header field line" is
                // answered with 400.
                if self.host.replace(value).is_some() {
                    return Err(Violation::HostContradictsAuthority);
                }
                Ok(())
            }
            _ => check_value(value),
        }
    }
}

impl Regular<'_> {
    fn note_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        let length = match parse_content_length(value) {
            Some(length) => length,
            None => return self.note_lengths(value),
        };
        if self.content_length.is_some() {
            return self.note_lengths(value);
        }
        self.content_length = Some(length);
        Ok(())
    }

    /// RFC 9110 §8.6: "a recipient of a Content-Length header field value consisting of the same
    /// decimal value repeated as a comma-separated list … MAY … replace that invalid field value
    /// with a single instance of the decimal value". Two lines are such a list.
    #[cold]
    fn note_lengths(&mut self, value: &[u8]) -> Result<(), Violation> {
        let length = parse_content_length(value).or_else(|| parse_equal_lengths(value));
        let length = length.ok_or(Violation::ContentLengthInvalid)?;
        self.spelling = Spelling::Repeatedly;
        match self.content_length.replace(length) {
            Some(before) if before != length => Err(Violation::ContentLengthInvalid),
            _ => Ok(()),
        }
    }
}

/// Returns the violation of a pseudo-field in the wrong section. RFC 9113 §8.3: "Pseudo-header
/// fields are only valid in the context in which they are defined."
pub(super) fn misplaced_pseudo_field(section: Section) -> Violation {
    match section {
        Section::Request | Section::Response => Violation::PseudoFieldUnknown,
        Section::Trailers => Violation::PseudoFieldInTrailers,
    }
}

/// Checks a name that isn't a known one. RFC 9113 §8.2.1 forbids the bytes that no name should ever
/// have and leaves the rest to RFC 9110 §5.1, which requires a token: another name could mean
/// something else to the next hop.
pub(super) fn check_name(name: &[u8], section: Section) -> Result<(), Violation> {
    let classes = classes(name);
    if classes & LOWER_TOKEN != 0 && !name.is_empty() {
        return Ok(());
    }
    Err(match name.first() {
        Some(b':') => misplaced_pseudo_field(section),
        Some(_) if classes & TOKEN != 0 => Violation::FieldNameUppercase,
        _ => Violation::FieldNameInvalid,
    })
}

/// RFC 9113 §8.2.1: no NUL, LF or CR anywhere, no SP or HTAB at either end. RFC 9110 §5.5: no other
/// control but HTAB.
pub(super) fn check_value(value: &[u8]) -> Result<(), Violation> {
    let (Some(first), Some(last)) = (value.first(), value.last()) else {
        return Ok(());
    };
    // HTAB is suspicious too, but rare enough for a second look.
    if class(*first) & class(*last) & VALUE_END != 0
        && all_are(value, VALUE, |word| below(word, 0x20) | equal(word, 0x7f))
    {
        return Ok(());
    }
    Err(Violation::FieldValueInvalid)
}

/// Whether all bytes are visible ASCII.
pub(super) fn all_visible(bytes: &[u8]) -> bool {
    all_are(bytes, VISIBLE, |word| {
        below(word, 0x21) | equal(word, 0x7f) | word
    })
}

/// RFC 3986 §3.1: "scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )".
pub(super) fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && classes(scheme) & SCHEME != 0
}

/// Whether an authority ends with a port, as that of CONNECT must.
pub(super) fn is_host_and_port(authority: &[u8]) -> bool {
    let Some(colon) = authority.iter().rposition(|&byte| byte == b':') else {
        return false;
    };
    // RFC 9110 §9.3.6: "A server MUST reject a CONNECT request that targets an empty or invalid
    // port number".
    colon > 0 && matches!(parse_length(&authority[colon + 1..]), Some(1..=65_535))
}

/// Whether two authorities name the same entity: case doesn't matter (RFC 3986 §6.2.2.1), and the
/// scheme's default port equals none (RFC 3986 §6.2.3).
pub(super) fn is_same_authority(authority: &[u8], host: &[u8], scheme: &[u8]) -> bool {
    let port: &[u8] = match scheme {
        b"https" => b":443",
        b"http" => b":80",
        _ => b"",
    };
    let bare = |authority: &'_ [u8]| {
        authority.len()
            - if authority.ends_with(port) {
                port.len()
            } else {
                0
            }
    };
    authority.eq_ignore_ascii_case(host)
        || authority[..bare(authority)].eq_ignore_ascii_case(&host[..bare(host)])
}

/// Returns a Content-Length. RFC 9110 §8.6: "Content-Length = 1*DIGIT". A leading zero is legal but
/// refused, because some recipients read octal.
fn parse_content_length(digits: &[u8]) -> Option<u64> {
    match digits {
        [b'0', _, ..] => None,
        _ => parse_length(digits),
    }
}

/// Returns the number of a list whose members are all the same.
fn parse_equal_lengths(list: &[u8]) -> Option<u64> {
    if !list.contains(&b',') || list.trim_ascii() != list {
        return None;
    }
    let mut members = list.split(|byte| *byte == b',').map(|member| {
        // RFC 9110 §5.6.1: "1#element => element *( OWS "," OWS element )".
        let is_ows = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let start = member.iter().take_while(is_ows).count();
        let end = member[start..].iter().rev().take_while(is_ows).count();
        parse_content_length(&member[start..member.len() - end])
    });
    let first = members.next()??;
    members.all(|member| member == Some(first)).then_some(first)
}

/// Returns the list with one content-length field, of this value, in place of all of them; or
/// without.
pub(super) fn with_length(fields: &Fields, mut length: Option<u64>) -> Fields {
    let mut cleaned = Fields::with_capacity(fields.len(), fields.byte_len());
    for field in fields {
        if field.known != Some(KnownName::CONTENT_LENGTH) {
            cleaned.push_field(field);
        } else if let Some(length) = length.take() {
            cleaned.push_known(KnownName::CONTENT_LENGTH, length.to_string());
        }
    }
    cleaned
}

/// Parses digits, and nothing else, as a number that fits.
pub(super) fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}
