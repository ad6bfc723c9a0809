//! Messages (RFC 9113 §8): heads, their validation, and what a message may carry.
//!
//! Validation is one pass over a list. A known name is a number, so its octets need no look; the octets of other names
//! and of short values go through one table of classes, those of longer values eight at a time.

use std::borrow::Cow;

use bytes::Bytes;

use crate::error::Violation;
pub use tidegate_hpack::{Field, Fields, KnownName};

/// The body that goes with a head.
#[derive(Clone, Debug)]
pub enum Body {
    /// None: the message ends with its head.
    Empty,
    /// The whole body, shared by reference: a cached file.
    Full(Bytes),
    /// Asked for piece by piece with [`Event::Writable`](crate::Event::Writable).
    Stream,
}

/// The head of a request: pseudo-fields and fields (RFC 9113 §8.3.1).
#[derive(Clone)]
pub struct RequestHead {
    /// Pseudo-fields first, then the fields.
    fields: Fields,
    /// Places of the pseudo-fields in `fields`; `NONE` where absent.
    method: u8,
    scheme: u8,
    authority: u8,
    path: u8,
    protocol: u8,
    /// How many pseudo-fields there are.
    pseudo: u8,
    content_length: Option<u64>,
    /// Whether a builder was handed something that HTTP/2 forbids.
    invalid: bool,
}

/// The head of a response: status and fields (RFC 9113 §8.3.2).
#[derive(Clone)]
pub struct ResponseHead {
    /// `:status` first, then the fields.
    fields: Fields,
    status: u16,
    content_length: Option<u64>,
    /// Whether a builder was handed something that HTTP/2 forbids.
    invalid: bool,
}

/// What a server allows in requests beyond RFC 9113.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestRules {
    /// Whether SETTINGS_ENABLE_CONNECT_PROTOCOL was sent: allows `:protocol` (RFC 8441 §4).
    pub extended_connect: bool,
}

/// The place of a pseudo-field that isn't there. Those that are there come first and once, so they have places 0 to 4.
const NONE: u8 = u8::MAX;

impl RequestHead {
    /// A request with these pseudo-fields. An empty authority is left out.
    pub fn new(method: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let octets = method.len() + scheme.len() + authority.len() + path.len();
        let mut fields = Fields::with_capacity(8, octets + 128);
        fields.push_known(KnownName::METHOD, method);
        fields.push_known(KnownName::SCHEME, scheme);
        if !authority.is_empty() {
            fields.push_known(KnownName::AUTHORITY, authority);
        }
        fields.push_known(KnownName::PATH, path);
        Self::built(fields)
    }

    /// A CONNECT request (RFC 9113 §8.5): only `:method` and `:authority`, which is `host:port`.
    pub fn connect(authority: &str) -> Self {
        let mut fields = Fields::new();
        fields.push_known(KnownName::METHOD, "CONNECT");
        fields.push_known(KnownName::AUTHORITY, authority);
        Self::built(fields)
    }

    /// An extended CONNECT request (RFC 8441 §4).
    pub fn extended_connect(protocol: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let mut fields = Fields::new();
        fields.push_known(KnownName::METHOD, "CONNECT");
        fields.push_known(KnownName::PROTOCOL, protocol);
        fields.push_known(KnownName::SCHEME, scheme);
        fields.push_known(KnownName::AUTHORITY, authority);
        fields.push_known(KnownName::PATH, path);
        Self::built(fields)
    }

    /// A head of the builders: what is wrong with it is told when it is used.
    fn built(fields: Fields) -> Self {
        let mut head = Self::unchecked(fields);
        let rules = RequestRules {
            extended_connect: true,
        };
        head.invalid = head.check(rules).is_err();
        head
    }

    fn unchecked(fields: Fields) -> Self {
        Self {
            fields,
            method: NONE,
            scheme: NONE,
            authority: NONE,
            path: NONE,
            protocol: NONE,
            pseudo: 0,
            content_length: None,
            invalid: false,
        }
    }

    /// Adds a field. Its name must be in lower case; what HTTP/2 forbids is told as
    /// [`Misuse::InvalidField`](crate::Misuse::InvalidField) when the head is used.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a field, as [`RequestHead::field`] does.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let known = KnownName::of(name.as_bytes());
        if known == Some(KnownName::HOST) {
            // Whether it contradicts `:authority` or another `host` is a question about the whole list.
            self.fields.push_known(KnownName::HOST, value);
            let mut checked = Self::unchecked(std::mem::take(&mut self.fields));
            let rules = RequestRules {
                extended_connect: true,
            };
            self.invalid |= checked.check(rules).is_err();
            self.fields = checked.fields;
            return;
        }
        let mut regular = Regular {
            content_length: self.content_length,
            host: None,
        };
        let field = Field {
            known,
            name: name.as_bytes(),
            value: value.as_ref(),
            never_indexed: false,
        };
        self.invalid |= regular.check(field, Section::Request).is_err();
        self.content_length = regular.content_length;
        self.fields.push_field(field);
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a request.
    ///
    /// # Errors
    /// The first rule that the list breaks; all of them are stream errors.
    pub fn from_fields(fields: Fields, rules: RequestRules) -> Result<Self, Violation> {
        let mut head = Self::unchecked(fields);
        head.check(rules)?;
        Ok(head)
    }

    /// Goes through the list once, remembers what is where, then looks at what the pseudo-fields say together.
    fn check(&mut self, rules: RequestRules) -> Result<(), Violation> {
        let mut is_connect = false;
        let mut is_web = false;
        let mut begins_with_slash = false;
        let mut authority_classes = ALL;
        let mut regular = Regular::default();
        let mut in_pseudo = true;
        let mut pseudo = 0;

        for field in self.fields.iter() {
            let value = field.value;
            let place = match field.known {
                Some(KnownName::METHOD) => {
                    // RFC 9110 §9.1: "method = token".
                    if value.is_empty() || classes(value) & TOKEN == 0 {
                        return Err(Violation::MethodInvalid);
                    }
                    is_connect = value == b"CONNECT";
                    &mut self.method
                }
                Some(KnownName::SCHEME) => {
                    is_web = value == b"https" || value == b"http";
                    if !is_web {
                        if !is_scheme(value) {
                            return Err(Violation::SchemeInvalid);
                        }
                        // RFC 3986 §3.1: "schemes are case-insensitive".
                        is_web = value.eq_ignore_ascii_case(b"https")
                            || value.eq_ignore_ascii_case(b"http");
                    }
                    &mut self.scheme
                }
                Some(KnownName::AUTHORITY) => {
                    authority_classes = classes(value);
                    if authority_classes & USERINFO == 0 {
                        return Err(Violation::AuthorityInvalid);
                    }
                    if value.is_empty() {
                        authority_classes = USERINFO;
                    }
                    &mut self.authority
                }
                Some(KnownName::PATH) => {
                    if !all_visible(value) {
                        return Err(Violation::PathInvalid);
                    }
                    begins_with_slash = value.first() == Some(&b'/');
                    &mut self.path
                }
                Some(KnownName::PROTOCOL) => {
                    // RFC 8441 §4: a value of the HTTP Upgrade Token registry, whose names are tokens (RFC 9110 §16.7).
                    if !rules.extended_connect || value.is_empty() || classes(value) & TOKEN == 0 {
                        return Err(Violation::ProtocolNotAllowed);
                    }
                    &mut self.protocol
                }
                _ => {
                    in_pseudo = false;
                    regular.check(field, Section::Request)?;
                    continue;
                }
            };
            // RFC 9113 §8.3: "The same pseudo-header field name MUST NOT appear more than once in a field block."
            if *place != NONE {
                return Err(Violation::PseudoFieldRepeated);
            }
            // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular field lines."
            if !in_pseudo {
                return Err(Violation::PseudoFieldMisplaced);
            }
            *place = pseudo;
            pseudo += 1;
        }
        self.pseudo = pseudo;
        self.content_length = regular.content_length;

        if self.method == NONE {
            return Err(Violation::PseudoFieldMissing);
        }
        if is_connect && self.protocol == NONE {
            // RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted", and ":authority"
            // contains the host and port to connect to.
            let authority = self.pseudo_octets(self.authority);
            if self.scheme != NONE || self.path != NONE || !is_host_and_port(authority) {
                return Err(Violation::ConnectMalformed);
            }
            if authority_classes & AUTHORITY == 0 {
                return Err(Violation::AuthorityInvalid);
            }
        } else {
            // RFC 8441 §4: ":protocol" belongs to CONNECT; then ":scheme" and ":path" are needed as in other requests.
            if self.protocol != NONE && !is_connect {
                return Err(Violation::ProtocolNotAllowed);
            }
            // RFC 9113 §8.3.1: "All HTTP/2 requests MUST include exactly one valid value for the ":method", ":scheme",
            // and ":path" pseudo-header fields, unless they are CONNECT requests".
            if self.scheme == NONE || self.path == NONE {
                return Err(Violation::PseudoFieldMissing);
            }
            // RFC 9113 §8.3.1: ":authority" MUST NOT include the deprecated userinfo subcomponent for "http" or "https"
            // schemed URIs. RFC 9110 §4.2.1: a URI with an empty host is rejected.
            if is_web && authority_classes & AUTHORITY == 0 {
                return Err(Violation::AuthorityInvalid);
            }
            // RFC 9113 §8.3.1: ":path" "MUST NOT be empty for "http" or "https" URIs"; it starts with "/", but for
            // OPTIONS it may be "*".
            if is_web
                && !begins_with_slash
                && (self.path_octets(), self.method_octets()) != (b"*", b"OPTIONS")
            {
                return Err(Violation::PathInvalid);
            }
        }
        // RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field that
        // identifies an entity that differs from the entity in the ":authority" pseudo-header field."
        if let Some(host) = regular.host
            && self.authority != NONE
            && !is_same_authority(
                self.authority_octets(),
                host,
                self.pseudo_octets(self.scheme),
            )
        {
            return Err(Violation::HostContradictsAuthority);
        }
        Ok(())
    }

    /// A pseudo-field's octets; empty where it is absent.
    fn pseudo_octets(&self, place: u8) -> &[u8] {
        self.fields
            .at(usize::from(place))
            .map_or(&[], |field| field.value)
    }

    /// A pseudo-field's value. Those are visible ASCII, or the head is invalid.
    fn pseudo(&self, place: u8) -> &str {
        std::str::from_utf8(self.pseudo_octets(place)).unwrap_or("")
    }

    /// The octets of `:method`: cheaper than [`RequestHead::method`], which proves to the compiler that they are text.
    pub fn method_octets(&self) -> &[u8] {
        self.pseudo_octets(self.method)
    }

    /// The octets of `:path`: cheaper than [`RequestHead::path`].
    pub fn path_octets(&self) -> &[u8] {
        self.pseudo_octets(self.path)
    }

    /// The octets of `:authority`, else of the `host` field: cheaper than [`RequestHead::authority`].
    pub fn authority_octets(&self) -> &[u8] {
        if self.authority == NONE {
            return self.fields.get_known(KnownName::HOST).unwrap_or(&[]);
        }
        self.pseudo_octets(self.authority)
    }

    /// `:method`, such as `GET`.
    pub fn method(&self) -> &str {
        self.pseudo(self.method)
    }

    /// `:scheme`; empty for CONNECT.
    pub fn scheme(&self) -> &str {
        self.pseudo(self.scheme)
    }

    /// `:authority`, else the `host` field, else empty.
    pub fn authority(&self) -> &str {
        std::str::from_utf8(self.authority_octets()).unwrap_or("")
    }

    /// `:path` with its query; empty for CONNECT.
    pub fn path(&self) -> &str {
        self.pseudo(self.path)
    }

    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        (self.protocol != NONE).then(|| self.pseudo(self.protocol))
    }

    /// The whole cookie: the crumbs joined with `"; "` (RFC 9113 §8.2.3).
    pub fn cookie(&self) -> Option<Cow<'_, [u8]>> {
        let mut crumbs = self
            .fields
            .iter()
            .filter(|field| field.known == Some(KnownName::COOKIE));
        let mut cookie = Cow::Borrowed(crumbs.next()?.value);
        for crumb in crumbs {
            let whole = cookie.to_mut();
            whole.extend_from_slice(b"; ");
            whole.extend_from_slice(crumb.value);
        }
        Some(cookie)
    }

    /// The value of `content-length`, if the field is there.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The first value of a field, by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// The first value of a field with a known name: cheaper than [`RequestHead::get`].
    pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
        self.fields.get_known(name)
    }

    /// The fields without the pseudo-fields, in order.
    pub fn headers(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().skip(usize::from(self.pseudo))
    }

    /// All fields, pseudo-fields first.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The list itself, for example to use its memory again.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    pub(crate) fn is_invalid(&self) -> bool {
        self.invalid
    }
}

impl ResponseHead {
    /// A response with this status (100 to 999, but not 101, which HTTP/2 lacks).
    pub fn new(status: u16) -> Self {
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        let mut fields = Fields::with_capacity(8, 256);
        fields.push_known(KnownName::STATUS, [digit(100), digit(10), digit(1)]);
        Self {
            fields,
            status,
            content_length: None,
            invalid: !(100..=999).contains(&status) || status == 101,
        }
    }

    /// Adds a field. Its name must be in lower case; what HTTP/2 forbids is told as
    /// [`Misuse::InvalidField`](crate::Misuse::InvalidField) when the head is used.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a field, as [`ResponseHead::field`] does.
    pub fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let mut regular = Regular {
            content_length: self.content_length,
            host: None,
        };
        let field = Field {
            known: KnownName::of(name.as_bytes()),
            name: name.as_bytes(),
            value: value.as_ref(),
            never_indexed: false,
        };
        self.invalid |= regular.check(field, Section::Response).is_err();
        self.content_length = regular.content_length;
        self.fields.push_field(field);
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a response.
    ///
    /// # Errors
    /// The first rule that the list breaks; all of them are stream errors.
    pub fn from_fields(fields: Fields) -> Result<Self, Violation> {
        let mut status = 0;
        let mut regular = Regular::default();
        for (place, field) in fields.iter().enumerate() {
            if field.known != Some(KnownName::STATUS) {
                regular.check(field, Section::Response)?;
                continue;
            }
            if status != 0 {
                return Err(Violation::PseudoFieldRepeated);
            }
            // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular field lines."
            if place != 0 {
                return Err(Violation::PseudoFieldMisplaced);
            }
            // RFC 9110 §15: "a three-digit integer code"; its first digit is a class, and 0 is none.
            status = match *field.value {
                [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                    u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
                }
                _ => return Err(Violation::StatusInvalid),
            };
            // RFC 9113 §8.6: "HTTP/2 removes support for the 101 (Switching Protocols) informational status code".
            if status == 101 {
                return Err(Violation::SwitchingProtocols);
            }
        }
        // RFC 9113 §8.3.2: ":status" "MUST be included in all responses, including interim responses".
        if status == 0 {
            return Err(Violation::PseudoFieldMissing);
        }
        // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of
        // 1xx (Informational) or 204 (No Content)." Such a number means nothing.
        let means_nothing = status < 200 || status == 204;
        let length = regular.content_length;
        Ok(Self {
            fields,
            status,
            content_length: length.filter(|_| !means_nothing),
            invalid: false,
        })
    }

    /// `:status`.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 100 to 199: another head follows.
    pub fn is_informational(&self) -> bool {
        self.status < 200
    }

    /// The value of `content-length`, if the field is there.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The first value of a field, by its lower-case name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.fields.get(name)
    }

    /// The first value of a field with a known name: cheaper than [`ResponseHead::get`].
    pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
        self.fields.get_known(name)
    }

    /// The fields without `:status`, in order.
    pub fn headers(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().skip(1)
    }

    /// All fields, `:status` first.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The list itself, for example to use its memory again.
    pub fn into_fields(self) -> Fields {
        self.fields
    }

    pub(crate) fn is_invalid(&self) -> bool {
        self.invalid
    }
}

/// Checks the fields of a trailer section (RFC 9113 §8.1).
///
/// # Errors
/// The first rule that the list breaks.
pub(crate) fn check_trailers(fields: &Fields) -> Result<(), Violation> {
    let mut regular = Regular::default();
    for field in fields {
        regular.check(field, Section::Trailers)?;
    }
    Ok(())
}

/// Where a field was found: a few rules depend on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Request,
    Response,
    Trailers,
}

/// What the fields of a list, pseudo-fields aside, say so far.
#[derive(Default)]
struct Regular<'a> {
    content_length: Option<u64>,
    host: Option<&'a [u8]>,
}

impl<'a> Regular<'a> {
    /// Checks one field that isn't a pseudo-field of its section.
    #[inline]
    fn check(&mut self, field: Field<'a>, section: Section) -> Result<(), Violation> {
        match field.known {
            Some(known) => self.check_known(known, field.value, section),
            None => {
                check_name(field.name, section)?;
                check_value(field.value)
            }
        }
    }

    /// The same for a known name, which needs no look at its octets.
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
            // RFC 9113 §8.2.2: "Any message containing connection-specific header fields MUST be treated as malformed".
            KnownName::CONNECTION
            | KnownName::KEEP_ALIVE
            | KnownName::PROXY_CONNECTION
            | KnownName::TRANSFER_ENCODING
            | KnownName::UPGRADE => Err(Violation::ConnectionSpecificField),
            KnownName::TE => {
                // RFC 9113 §8.2.2: "The only exception to this is the TE header field, which MAY be present in an
                // HTTP/2 request; when it is, it MUST NOT contain any value other than "trailers"."
                if section != Section::Request {
                    return Err(Violation::ConnectionSpecificField);
                }
                if !value.eq_ignore_ascii_case(b"trailers") {
                    return Err(Violation::TeNotTrailers);
                }
                Ok(())
            }
            KnownName::CONTENT_LENGTH => {
                // RFC 9110 §8.6: "Content-Length = 1*DIGIT"; repeated, it must say the same.
                let length = parse_length(value).ok_or(Violation::ContentLengthInvalid)?;
                if self.content_length.is_some_and(|before| before != length) {
                    return Err(Violation::ContentLengthInvalid);
                }
                self.content_length = Some(length);
                Ok(())
            }
            KnownName::HOST if section == Section::Request => {
                // RFC 9110 §7.2: "Host = uri-host [ ":" port ]", so never with userinfo. It may be empty.
                if classes(value) & AUTHORITY == 0 {
                    return Err(Violation::AuthorityInvalid);
                }
                // RFC 9112 §3.2: a request that "contains more than one Host header field line" is answered with 400.
                if self.host.replace(value).is_some() {
                    return Err(Violation::HostContradictsAuthority);
                }
                Ok(())
            }
            _ => check_value(value),
        }
    }
}

/// A pseudo-field that has no business in this section (RFC 9113 §8.3): "Pseudo-header fields are only valid in the
/// context in which they are defined."
fn misplaced_pseudo_field(section: Section) -> Violation {
    match section {
        Section::Request | Section::Response => Violation::PseudoFieldUnknown,
        Section::Trailers => Violation::PseudoFieldInTrailers,
    }
}

/// Checks a name that isn't a known one. RFC 9113 §8.2.1 forbids the octets that no name should ever have and leaves the
/// rest to RFC 9110 §5.1, which wants a token: what isn't one could mean something else to the next hop.
fn check_name(name: &[u8], section: Section) -> Result<(), Violation> {
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

/// RFC 9113 §8.2.1: no NUL, LF or CR anywhere, no SP or HTAB at either end. RFC 9110 §5.5: no other control but HTAB.
fn check_value(value: &[u8]) -> Result<(), Violation> {
    let (Some(first), Some(last)) = (value.first(), value.last()) else {
        return Ok(());
    };
    // HTAB is suspicious too, and so rare that it may cost a second look.
    if class(*first) & class(*last) & VALUE_END != 0
        && all_are(value, VALUE, |word| below(word, 0x20) | equal(word, 0x7f))
    {
        return Ok(());
    }
    Err(Violation::FieldValueInvalid)
}

/// Whether all octets are visible ASCII.
fn all_visible(octets: &[u8]) -> bool {
    all_are(octets, VISIBLE, |word| {
        below(word, 0x21) | equal(word, 0x7f) | word
    })
}

/// RFC 3986 §3.1: "scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )".
fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && classes(scheme) & SCHEME != 0
}

/// Whether an authority ends in a port, as that of CONNECT must.
fn is_host_and_port(authority: &[u8]) -> bool {
    let Some(colon) = authority.iter().rposition(|&octet| octet == b':') else {
        return false;
    };
    // RFC 9110 §9.3.6: "A server MUST reject a CONNECT request that targets an empty or invalid port number".
    colon > 0 && matches!(parse_length(&authority[colon + 1..]), Some(1..=65_535))
}

/// Whether two authorities name the same entity: upper and lower case are alike (RFC 3986 §6.2.2.1), and so are the
/// scheme's own port and none (RFC 3986 §6.2.3).
fn is_same_authority(authority: &[u8], host: &[u8], scheme: &[u8]) -> bool {
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

/// Digits and nothing else, as a number that fits.
fn parse_length(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for octet in digits {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// RFC 9110 §5.6.2: what a token may have.
const TOKEN: u8 = 1;
/// The same without upper-case letters: a field name of HTTP/2.
const LOWER_TOKEN: u8 = 1 << 1;
/// What a field value may have: HTAB, SP, visible ASCII and obs-text (RFC 9110 §5.5).
const VALUE: u8 = 1 << 2;
/// What a field value may begin and end with: the same without HTAB and SP.
const VALUE_END: u8 = 1 << 3;
/// What a URI's host and port may have (RFC 3986 §3.2).
const AUTHORITY: u8 = 1 << 4;
/// The same, and the `@` behind userinfo.
const USERINFO: u8 = 1 << 5;
/// What a URI's scheme may have (RFC 3986 §3.1).
const SCHEME: u8 = 1 << 6;
/// Visible ASCII.
const VISIBLE: u8 = 1 << 7;
/// All classes: what no octets at all belong to.
const ALL: u8 = u8::MAX;

/// The classes that each octet belongs to.
static CLASSES: [u8; 256] = class_table();

const fn class_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = classify(octet as u8);
        octet += 1;
    }
    table
}

const fn classify(octet: u8) -> u8 {
    let visible = VALUE | VALUE_END | VISIBLE;
    match octet {
        b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.' => ALL,
        b'A'..=b'Z' => ALL & !LOWER_TOKEN,
        // The rest of RFC 3986's unreserved and sub-delims, and "%", that are also of a token ...
        b'!' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'_' | b'~' => ALL & !SCHEME,
        // ... and those that are not.
        b'(' | b')' | b',' | b';' | b'=' | b':' | b'[' | b']' => visible | AUTHORITY | USERINFO,
        b'#' | b'^' | b'`' | b'|' => visible | TOKEN | LOWER_TOKEN,
        b'@' => visible | USERINFO,
        b'"' | b'/' | b'<' | b'>' | b'?' | b'\\' | b'{' | b'}' => visible,
        0x80..=0xff => VALUE | VALUE_END,
        b' ' | b'\t' => VALUE,
        0x00..=0x1f | 0x7f => 0,
    }
}

fn class(octet: u8) -> u8 {
    CLASSES[usize::from(octet)]
}

/// The classes that every one of the octets belongs to.
fn classes(octets: &[u8]) -> u8 {
    let (chunks, rest) = octets.as_chunks::<4>();
    let all = chunks.iter().fold(ALL, |all, &[a, b, c, d]| {
        all & class(a) & class(b) & class(c) & class(d)
    });
    rest.iter().fold(all, |all, &octet| all & class(octet))
}

/// Whether all octets belong to `class`. `suspicious` looks at eight octets at once and sets the high bit of each that it
/// dislikes: only if there is one is each octet looked at by itself.
#[inline]
fn all_are(octets: &[u8], class: u8, suspicious: impl Fn(u64) -> u64) -> bool {
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

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES << 7;

/// The high bits tell whether an octet of the word is below `limit` (1 to 128). Octets above one that is may be told too.
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word
}

/// The high bits tell whether an octet of the word is `octet`. Octets above one that is may be told too.
const fn equal(word: u64, octet: u8) -> u64 {
    below(word ^ (ONES * octet as u64), 1)
}

impl std::fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fields.fmt(f)
    }
}

impl std::fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fields.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type List<'a> = &'a [(&'a [u8], &'a [u8])];

    /// Three octet strings that a test speaks of, and what is wrong with them.
    type Case<'a> = (&'a [u8], &'a [u8], &'a [u8], Option<Violation>);

    fn list(fields: List<'_>) -> Fields {
        fields.iter().copied().collect()
    }

    fn request(fields: List<'_>) -> Result<RequestHead, Violation> {
        RequestHead::from_fields(list(fields), RequestRules::default())
    }

    fn request_error(fields: List<'_>) -> Option<Violation> {
        request(fields).err()
    }

    fn response_error(fields: List<'_>) -> Option<Violation> {
        ResponseHead::from_fields(list(fields)).err()
    }

    /// What is wrong with a GET that has one more field.
    fn field_error(name: &[u8], value: &[u8]) -> Option<Violation> {
        let [method, scheme, authority, path] = GET;
        request_error(&[method, scheme, authority, path, (name, value)])
    }

    /// What is wrong with a GET of this path.
    fn path_error(method: &[u8], scheme: &[u8], path: &[u8]) -> Option<Violation> {
        request_error(&[(b":method", method), (b":scheme", scheme), (b":path", path)])
    }

    const GET: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/a?b"),
    ];

    #[test]
    fn a_request_tells_what_it_asks_for() {
        let [method, scheme, authority, path] = GET;
        // Any order of the pseudo-fields will do.
        let head = request(&[
            path,
            method,
            authority,
            scheme,
            (b"accept", b"*/*"),
            (b"x-own", b"\tnot"),
        ]);
        assert_eq!(head.unwrap_err(), Violation::FieldValueInvalid);
        let head = request(&[
            path,
            method,
            authority,
            scheme,
            (b"accept", b"*/*"),
            (b"x-own", b"1"),
        ])
        .unwrap();
        assert_eq!(head.method(), "GET");
        assert_eq!(head.scheme(), "https");
        assert_eq!(head.authority(), "example.org");
        assert_eq!(head.path(), "/a?b");
        assert_eq!(head.protocol(), None);
        assert_eq!(head.content_length(), None);
        assert_eq!(head.get("x-own"), Some(&b"1"[..]));
        let names: Vec<_> = head.headers().map(|field| field.name).collect();
        assert_eq!(names, [&b"accept"[..], b"x-own"]);
        assert!(!head.is_invalid());
    }

    #[test]
    fn host_stands_in_for_authority() {
        // RFC 9113 §8.3.1: "Clients that generate HTTP/2 requests directly MUST use the ":authority" pseudo-header
        // field"; those of an intermediary may have a host field instead.
        let [method, scheme, _, path] = GET;
        let head = request(&[method, scheme, path, (b"host", b"example.org:8080")]).unwrap();
        assert_eq!(head.authority(), "example.org:8080");
        assert_eq!(request(&[method, scheme, path]).unwrap().authority(), "");
    }

    #[test]
    fn pseudo_fields_are_defined_ones() {
        // RFC 9113 §8.3: "Endpoints MUST NOT generate pseudo-header fields other than those defined in this document";
        // "Endpoints MUST treat a request or response that contains undefined or invalid pseudo-header fields as
        // malformed".
        let unknown = Some(Violation::PseudoFieldUnknown);
        let [method, scheme, authority, path] = GET;
        for name in [&b":own"[..], b":", b":Method", b":method ", b":\0"] {
            let fields = [(name, &b"x"[..]), method, scheme, authority, path];
            assert_eq!(request_error(&fields), unknown, "{name:?}");
            let fields = [(&b":status"[..], &b"200"[..]), (name, b"x")];
            assert_eq!(response_error(&fields), unknown, "{name:?}");
        }
        // "Pseudo-header fields defined for requests MUST NOT appear in responses; pseudo-header fields defined for
        // responses MUST NOT appear in requests."
        let status: (&[u8], &[u8]) = (b":status", b"200");
        assert_eq!(request_error(&[method, scheme, path, status]), unknown);
        for pseudo in [method, scheme, authority, path, (b":protocol", b"x")] {
            assert_eq!(response_error(&[status, pseudo]), unknown);
        }
    }

    #[test]
    fn pseudo_fields_come_first() {
        // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all regular field lines."
        let [method, scheme, authority, path] = GET;
        let accept: (&[u8], &[u8]) = (b"accept", b"*/*");
        let misplaced = Some(Violation::PseudoFieldMisplaced);
        let fields = [method, scheme, authority, accept, path];
        assert_eq!(request_error(&fields), misplaced);
        assert_eq!(response_error(&[accept, (b":status", b"200")]), misplaced);
    }

    #[test]
    fn pseudo_fields_come_once() {
        // RFC 9113 §8.3: "The same pseudo-header field name MUST NOT appear more than once in a field block."
        let [method, scheme, authority, path] = GET;
        let repeated = Some(Violation::PseudoFieldRepeated);
        for again in GET {
            let fields = [method, scheme, authority, path, again];
            assert_eq!(request_error(&fields), repeated, "{again:?}");
        }
        let status: (&[u8], &[u8]) = (b":status", b"200");
        assert_eq!(response_error(&[status, status]), repeated);
    }

    #[test]
    fn mandatory_pseudo_fields_are_there() {
        // RFC 9113 §8.3.1: "An HTTP request that omits mandatory pseudo-header fields or contains invalid values for those
        // pseudo-header fields is malformed".
        let [method, scheme, authority, path] = GET;
        let missing = Some(Violation::PseudoFieldMissing);
        assert_eq!(request_error(&[]), missing);
        assert_eq!(request_error(&[scheme, authority, path]), missing);
        assert_eq!(request_error(&[method, authority, path]), missing);
        assert_eq!(request_error(&[method, scheme, authority]), missing);
        assert_eq!(request_error(&[method, scheme, path]), None);
        // RFC 9113 §8.3.2: ":status" "MUST be included in all responses, including interim responses".
        assert_eq!(response_error(&[]), missing);
        assert_eq!(response_error(&[(b"server", b"x")]), missing);
    }

    #[test]
    fn a_method_is_a_token() {
        // RFC 9110 §9.1: "method = token".
        let invalid = Some(Violation::MethodInvalid);
        for method in [
            &b""[..],
            b"GET ",
            b"GE\tT",
            b"GET/",
            b"G\r\n",
            b"\xc3\xa4",
            b"G\0",
        ] {
            assert_eq!(path_error(method, b"https", b"/"), invalid, "{method:?}");
        }
        for method in [&b"get"[..], b"M-SEARCH", b"*", b"X_1"] {
            assert_eq!(path_error(method, b"https", b"/"), None, "{method:?}");
        }
    }

    #[test]
    fn a_scheme_is_that_of_a_uri() {
        // RFC 3986 §3.1: "scheme = ALPHA *( ALPHA / DIGIT / "+" / "-" / "." )".
        let invalid = Some(Violation::SchemeInvalid);
        for scheme in [
            &b""[..],
            b"https:",
            b"ht tp",
            b"1http",
            b"+",
            b"http\n",
            b"ht/tp",
            b"\xff",
        ] {
            assert_eq!(path_error(b"GET", scheme, b"/"), invalid, "{scheme:?}");
        }
        for scheme in [&b"http"[..], b"HTTPS", b"coap+tcp", b"a.b-c1"] {
            assert_eq!(path_error(b"GET", scheme, b"/"), None, "{scheme:?}");
        }
    }

    #[test]
    fn a_path_is_visible_and_begins_with_a_slash() {
        // RFC 9113 §8.3.1: "This pseudo-header field MUST NOT be empty for "http" or "https" URIs; "http" or "https" URIs
        // that do not contain a path component MUST include a value of '/'." For OPTIONS the asterisk form is "*".
        let invalid = Some(Violation::PathInvalid);
        let cases: &[Case<'_>] = &[
            (b"GET", b"https", b"/", None),
            (
                b"GET",
                b"http",
                b"/a/very/long/path/%20with?a=query&of=its~own!",
                None,
            ),
            (b"GET", b"https", b"", invalid),
            (b"GET", b"http", b"", invalid),
            (b"GET", b"HTTP", b"", invalid),
            (b"GET", b"https", b"*", invalid),
            (b"GET", b"https", b"a", invalid),
            (b"GET", b"https", b"http://example.org/", invalid),
            (b"OPTIONS", b"https", b"*", None),
            (b"OPTIONS", b"http", b"/", None),
            (b"OPTIONS", b"https", b"", invalid),
            (b"OPTIONS", b"https", b"*/", invalid),
            // Other schemes have paths of their own kind.
            (b"GET", b"urn", b"", None),
            (b"GET", b"urn", b"isbn:1", None),
            (b"GET", b"urn", b"isbn 1", invalid),
        ];
        for (method, scheme, path, expected) in cases {
            assert_eq!(path_error(method, scheme, path), *expected, "{path:?}");
        }
        // A blank or a control would end the request line of HTTP/1.1: request smuggling. At every place of words of
        // eight octets, each octet on its own.
        for octet in 0..=255_u8 {
            for length in [1, 7, 8, 9, 16, 23] {
                for place in 0..length {
                    let mut path = vec![b'a'; length + 1];
                    path[0] = b'/';
                    path[place + 1] = octet;
                    let expected = if octet.is_ascii_graphic() {
                        None
                    } else {
                        invalid
                    };
                    let error = path_error(b"GET", b"https", &path);
                    assert_eq!(error, expected, "{octet:#x} at {place} of {length}");
                }
            }
        }
    }

    #[test]
    fn an_authority_is_host_and_port() {
        let [method, scheme, _, path] = GET;
        let error = |scheme: (&[u8], &[u8]), authority: &[u8]| {
            request_error(&[method, scheme, (b":authority", authority), path])
        };
        let invalid = Some(Violation::AuthorityInvalid);
        // RFC 9113 §8.3.1: ":authority" MUST NOT include the deprecated userinfo subcomponent for "http" or "https"
        // schemed URIs.
        assert_eq!(error(scheme, b"user@example.org"), invalid);
        assert_eq!(error((b":scheme", b"ftp"), b"user@example.org"), None);
        // RFC 9110 §4.2.1: "A sender MUST NOT generate an "http" URI with an empty host identifier. A recipient that
        // processes such a URI reference MUST reject it as invalid."
        assert_eq!(error(scheme, b""), invalid);
        let bad: [&[u8]; 8] = [
            b"a b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\r\n",
            b"\xc3\xa4.de",
            b"a\\b",
            b"a\0",
        ];
        for authority in bad {
            assert_eq!(error(scheme, authority), invalid, "{authority:?}");
        }
        for authority in [
            &b"[::1]:443"[..],
            b"127.0.0.1",
            b"xn--a_b.de:8443",
            b"a%20b",
        ] {
            assert_eq!(error(scheme, authority), None, "{authority:?}");
        }
        assert_eq!(
            request_error(&[method, scheme, path, (b"host", b"a@b")]),
            invalid
        );
        assert_eq!(
            request_error(&[method, scheme, path, (b"host", b"a b")]),
            invalid
        );
    }

    #[test]
    fn connect_has_host_and_port_only() {
        // RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted"; "The ":authority" pseudo-header
        // field contains the host and port to connect to"; "A CONNECT request that does not conform to these
        // restrictions is malformed".
        let connect: (&[u8], &[u8]) = (b":method", b"CONNECT");
        let authority: (&[u8], &[u8]) = (b":authority", b"example.org:443");
        let [_, scheme, _, path] = GET;
        let malformed = Some(Violation::ConnectMalformed);
        let head = request(&[connect, authority]).unwrap();
        assert_eq!((head.scheme(), head.path()), ("", ""));
        assert_eq!(head.authority(), "example.org:443");
        assert_eq!(request_error(&[connect]), malformed);
        assert_eq!(request_error(&[connect, authority, scheme]), malformed);
        assert_eq!(request_error(&[connect, authority, path]), malformed);
        assert_eq!(
            request_error(&[connect, authority, scheme, path]),
            malformed
        );
        for bad in [
            &b"example.org"[..],
            b"a:",
            b":443",
            b"a:0",
            b"a:65536",
            b"a:b",
            b"",
        ] {
            assert_eq!(
                request_error(&[connect, (b":authority", bad)]),
                malformed,
                "{bad:?}"
            );
        }
        let userinfo = request_error(&[connect, (b":authority", b"user@a:443")]);
        assert_eq!(userinfo, Some(Violation::AuthorityInvalid));
    }

    #[test]
    fn extended_connect_needs_leave_and_all_pseudo_fields() {
        let connect: (&[u8], &[u8]) = (b":method", b"CONNECT");
        let protocol: (&[u8], &[u8]) = (b":protocol", b"websocket");
        let [get, scheme, authority, path] = GET;
        let allowed = |fields: List<'_>| {
            let rules = RequestRules {
                extended_connect: true,
            };
            RequestHead::from_fields(list(fields), rules)
        };
        let head = allowed(&[connect, protocol, scheme, authority, path]).unwrap();
        assert_eq!(head.protocol(), Some("websocket"));
        assert_eq!(head.path(), "/a?b");
        let not_allowed = Violation::ProtocolNotAllowed;
        // RFC 8441 §3: the setting has to be sent first.
        let fields = [connect, protocol, scheme, authority, path];
        assert_eq!(request_error(&fields), Some(not_allowed));
        // RFC 8441 §4: ":protocol" "MAY be included on request HEADERS" that have CONNECT as their method.
        let error = allowed(&[get, protocol, scheme, authority, path]).unwrap_err();
        assert_eq!(error, not_allowed);
        let error = allowed(&[connect, (b":protocol", b"a b"), scheme, path]).unwrap_err();
        assert_eq!(error, not_allowed);
        // RFC 8441 §4: "On requests that contain the :protocol pseudo-header field, the :scheme and :path pseudo-header
        // fields of the target URI (see Section 5) MUST also be included."
        let missing = Violation::PseudoFieldMissing;
        assert_eq!(
            allowed(&[connect, protocol, authority, path]).unwrap_err(),
            missing
        );
        assert_eq!(
            allowed(&[connect, protocol, authority, scheme]).unwrap_err(),
            missing
        );
        // Ordinary CONNECT stays as it was.
        assert!(allowed(&[connect, (b":authority", b"a:1")]).is_ok());
    }

    #[test]
    fn host_says_what_authority_says() {
        // RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host header field that
        // identifies an entity that differs from the entity in the ":authority" pseudo-header field."
        let contradicts = Some(Violation::HostContradictsAuthority);
        let cases: &[Case<'_>] = &[
            (b"https", b"example.org", b"example.org", None),
            (b"https", b"example.org", b"EXAMPLE.org", None),
            (b"https", b"example.org", b"example.org:443", None),
            (b"http", b"example.org:80", b"Example.org", None),
            (b"http", b"example.org", b"example.org:443", contradicts),
            (b"https", b"example.org", b"example.com", contradicts),
            (b"https", b"example.org", b"", contradicts),
            (b"https", b"example.org:8443", b"example.org", contradicts),
        ];
        for (scheme, authority, host, expected) in cases {
            let error = request_error(&[
                (b":method", b"GET"),
                (b":scheme", scheme),
                (b":authority", authority),
                (b":path", b"/"),
                (b"host", host),
            ]);
            assert_eq!(error, *expected, "{authority:?} {host:?}");
        }
        let [method, scheme, _, path] = GET;
        let host: (&[u8], &[u8]) = (b"host", b"example.org");
        assert_eq!(
            request_error(&[method, scheme, path, host, host]),
            contradicts
        );
    }

    #[test]
    fn names_are_tokens_in_lower_case() {
        // RFC 9113 §8.2.1: "A field name MUST NOT contain characters in the ranges 0x00-0x20, 0x41-0x5a, or 0x7f-0xff (all
        // ranges inclusive)"; "field names MUST NOT include a colon". RFC 9110 §5.1: "field-name = token".
        for octet in 0..=255_u8 {
            let expected = match octet {
                b'A'..=b'Z' => Some(Violation::FieldNameUppercase),
                b'a'..=b'z' | b'0'..=b'9' => None,
                _ if b"!#$%&'*+-.^_`|~".contains(&octet) => None,
                _ => Some(Violation::FieldNameInvalid),
            };
            let name = [b'x', octet, b'y'];
            assert_eq!(field_error(&name, b"v"), expected, "{octet:#x}");
            let trailers = check_trailers(&list(&[(&name, b"v")]));
            assert_eq!(trailers.err(), expected, "{octet:#x}");
        }
        assert_eq!(field_error(b"", b"v"), Some(Violation::FieldNameInvalid));
        // A name that would be a known one, were it in lower case, is not overlooked.
        for name in [&b"Connection"[..], b"HOST", b"Content-Length", b"tE"] {
            assert_eq!(field_error(name, b"1"), Some(Violation::FieldNameUppercase));
        }
    }

    #[test]
    fn values_have_no_controls_and_no_blanks_around() {
        // RFC 9113 §8.2.1: "A field value MUST NOT contain the zero value (ASCII NUL, 0x00), line feed (ASCII LF, 0x0a), or
        // carriage return (ASCII CR, 0x0d) at any position." RFC 9110 §5.5: "field-vchar = VCHAR / obs-text".
        for octet in 0..=255_u8 {
            let allowed = octet == b'\t' || (octet >= 0x20 && octet != 0x7f);
            for length in [3, 7, 8, 9, 16, 25] {
                for place in 1..length - 1 {
                    let mut value = vec![b'v'; length];
                    value[place] = octet;
                    let expected = (!allowed).then_some(Violation::FieldValueInvalid);
                    for name in [&b"accept"[..], b"x-own"] {
                        let error = field_error(name, &value);
                        assert_eq!(error, expected, "{octet:#x} at {place} of {length}");
                    }
                }
            }
        }
        // "A field value MUST NOT start or end with an ASCII whitespace character (ASCII SP or HTAB, 0x20 or 0x09)."
        for value in [
            &b" "[..],
            b"\t",
            b" v",
            b"v ",
            b"\tv",
            b"v\t",
            b"a long value that ends so ",
        ] {
            assert_eq!(
                field_error(b"x-own", value),
                Some(Violation::FieldValueInvalid)
            );
        }
        assert_eq!(field_error(b"x-own", b""), None);
        assert_eq!(
            field_error(b"x-own", b"tabs\tand bl\xc3\xa4nks inside"),
            None
        );
    }

    #[test]
    fn connection_specific_fields_are_malformed() {
        // RFC 9113 §8.2.2: "Any message containing connection-specific header fields MUST be treated as malformed".
        let specific = Some(Violation::ConnectionSpecificField);
        let names: [&[u8]; 5] = [
            b"connection",
            b"proxy-connection",
            b"keep-alive",
            b"transfer-encoding",
            b"upgrade",
        ];
        for name in names {
            assert_eq!(field_error(name, b"x"), specific);
            assert_eq!(
                response_error(&[(b":status", b"200"), (name, b"x")]),
                specific
            );
            assert_eq!(check_trailers(&list(&[(name, b"x")])).err(), specific);
        }
    }

    #[test]
    fn te_is_trailers_and_of_requests() {
        // RFC 9113 §8.2.2: "The only exception to this is the TE header field, which MAY be present in an HTTP/2 request;
        // when it is, it MUST NOT contain any value other than "trailers"."
        assert_eq!(field_error(b"te", b"trailers"), None);
        assert_eq!(field_error(b"te", b"Trailers"), None);
        for value in [&b""[..], b"gzip", b"trailers, gzip", b"trailers;q=1"] {
            assert_eq!(field_error(b"te", value), Some(Violation::TeNotTrailers));
        }
        let specific = Some(Violation::ConnectionSpecificField);
        let te: (&[u8], &[u8]) = (b"te", b"trailers");
        assert_eq!(response_error(&[(b":status", b"200"), te]), specific);
        assert_eq!(check_trailers(&list(&[te])).err(), specific);
    }

    #[test]
    fn content_length_is_one_number() {
        // RFC 9110 §8.6: "Content-Length = 1*DIGIT"; "a recipient MUST anticipate potentially large decimal
        // numerals and prevent parsing errors due to integer conversion overflows".
        let length = |value: &[u8]| {
            let [method, scheme, _, path] = GET;
            request(&[method, scheme, path, (b"content-length", value)])
                .map(|head| head.content_length())
        };
        assert_eq!(length(b"0"), Ok(Some(0)));
        assert_eq!(length(b"0042"), Ok(Some(42)));
        assert_eq!(length(b"18446744073709551615"), Ok(Some(u64::MAX)));
        let bad: [&[u8]; 9] = [
            b"",
            b"-1",
            b"+1",
            b"1 ",
            b"0x1",
            b"1.0",
            b"1, 1",
            b"18446744073709551616",
            b"99999999999999999999999",
        ];
        for value in bad {
            assert_eq!(
                length(value),
                Err(Violation::ContentLengthInvalid),
                "{value:?}"
            );
        }
        // RFC 9110 §8.6: repeated values may stand if all are the same number.
        let [method, scheme, _, path] = GET;
        let five: (&[u8], &[u8]) = (b"content-length", b"5");
        let six: (&[u8], &[u8]) = (b"content-length", b"6");
        let head = request(&[method, scheme, path, five, five]).unwrap();
        assert_eq!(head.content_length(), Some(5));
        let error = request_error(&[method, scheme, path, five, six]);
        assert_eq!(error, Some(Violation::ContentLengthInvalid));
    }

    #[test]
    fn cookie_crumbs_make_one_cookie() {
        // RFC 9113 §8.2.3: "these MUST be concatenated into a single octet string using the two-octet delimiter of 0x3b,
        // 0x20 (the ASCII string "; ")".
        let head = RequestHead::new("GET", "https", "a", "/");
        assert_eq!(head.cookie(), None);
        let head = head.field("cookie", "a=b");
        assert!(matches!(head.cookie(), Some(Cow::Borrowed(b"a=b"))));
        let head = head.field("accept", "*/*").field("cookie", "c=d");
        let head = head.field("cookie", "e=f");
        assert_eq!(head.cookie().as_deref(), Some(&b"a=b; c=d; e=f"[..]));
    }

    #[test]
    fn a_status_has_three_digits() {
        // RFC 9110 §15: "The status code of a response is a three-digit integer code".
        for status in [100, 103, 200, 404, 599, 999] {
            let text = status.to_string();
            let head = ResponseHead::from_fields(list(&[(b":status", text.as_bytes())])).unwrap();
            assert_eq!(head.status(), status);
            assert_eq!(head.is_informational(), status < 200);
        }
        for status in [
            &b""[..],
            b"20",
            b"2000",
            b"099",
            b"+20",
            b"2 0",
            b"20a",
            b" 200",
        ] {
            let error = response_error(&[(b":status", status)]);
            assert_eq!(error, Some(Violation::StatusInvalid), "{status:?}");
        }
        // RFC 9113 §8.6: "HTTP/2 removes support for the 101 (Switching Protocols) informational status code".
        let error = response_error(&[(b":status", b"101")]);
        assert_eq!(error, Some(Violation::SwitchingProtocols));
    }

    #[test]
    fn a_response_without_content_has_no_length() {
        // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx
        // (Informational) or 204 (No Content)."
        for (status, length) in [
            ("103", None),
            ("204", None),
            ("200", Some(7)),
            ("304", Some(7)),
        ] {
            let fields = list(&[(b":status", status.as_bytes()), (b"content-length", b"7")]);
            let head = ResponseHead::from_fields(fields).unwrap();
            assert_eq!(head.content_length(), length, "{status}");
        }
        let error = response_error(&[(b":status", b"200"), (b"content-length", b"x")]);
        assert_eq!(error, Some(Violation::ContentLengthInvalid));
    }

    #[test]
    fn trailers_have_no_pseudo_fields() {
        // RFC 9113 §8.1: "Trailers MUST NOT include pseudo-header fields".
        assert_eq!(check_trailers(&list(&[(b"grpc-status", b"0")])), Ok(()));
        let pseudo = Err(Violation::PseudoFieldInTrailers);
        for name in [&b":method"[..], b":status", b":protocol", b":own"] {
            assert_eq!(check_trailers(&list(&[(name, b"x")])), pseudo);
        }
        let error = check_trailers(&list(&[(b"a", b"b\n")])).unwrap_err();
        assert_eq!(error, Violation::FieldValueInvalid);
    }

    #[test]
    fn builders_make_what_the_rules_allow() {
        let head = RequestHead::new("POST", "https", "example.org", "/")
            .field("content-length", "5")
            .field("host", "example.org")
            .field("x-own", "v");
        assert!(!head.is_invalid());
        assert_eq!(head.content_length(), Some(5));
        assert_eq!(head.authority(), "example.org");
        let rules = RequestRules::default();
        assert!(RequestHead::from_fields(head.into_fields(), rules).is_ok());
        assert_eq!(RequestHead::new("GET", "http", "", "/").fields().len(), 3);
        assert!(!RequestHead::connect("example.org:443").is_invalid());
        let head = RequestHead::extended_connect("websocket", "https", "example.org", "/chat");
        assert!(!head.is_invalid());
        assert_eq!(head.protocol(), Some("websocket"));

        let head = ResponseHead::new(200)
            .field("content-length", "5")
            .field("content-type", "text/plain");
        assert!(!head.is_invalid());
        assert_eq!(head.content_length(), Some(5));
        assert_eq!(head.fields().get(":status"), Some(&b"200"[..]));
        assert_eq!(head.headers().count(), 2);
        assert!(ResponseHead::from_fields(head.into_fields()).is_ok());
    }

    #[test]
    fn builders_notice_what_the_rules_forbid() {
        let get = || RequestHead::new("GET", "https", "example.org", "/");
        let requests = [
            RequestHead::new("G T", "https", "example.org", "/"),
            RequestHead::new("GET", "https", "example.org", ""),
            RequestHead::new("CONNECT", "https", "example.org", "/"),
            RequestHead::connect("example.org"),
            RequestHead::extended_connect("", "https", "example.org", "/"),
            get().field("Accept", "x"),
            get().field("x-own", "a\r\nb"),
            get().field(":path", "/other"),
            get().field("connection", "close"),
            get().field("te", "gzip"),
            get().field("host", "example.com"),
            get()
                .field("content-length", "1")
                .field("content-length", "2"),
            // What came later doesn't heal it.
            get().field("", "x").field("accept", "x"),
        ];
        for head in requests {
            assert!(head.is_invalid(), "{head:?}");
        }
        let responses = [
            ResponseHead::new(99),
            ResponseHead::new(1000),
            ResponseHead::new(101),
            ResponseHead::new(200).field(":status", "200"),
            ResponseHead::new(200).field("x", " y"),
            ResponseHead::new(200).field("transfer-encoding", "chunked"),
        ];
        for head in responses {
            assert!(head.is_invalid(), "{head:?}");
        }
    }
}
