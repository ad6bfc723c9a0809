//! The head of a request.

use std::borrow::Cow;

use tidegate_hpack::{Alphabet, Field, Fields, KnownName, KnownNames};

use super::classes::{TOKEN, classes};
use super::fault::{Fault, InvalidHead};
use super::response::Stamp;
use super::rules::{
    Regular, Section, Spelling, all_visible, is_host_and_port, is_same_authority, is_scheme,
    with_length,
};
use super::target::{ascii_target, is_authority, is_generic_authority};
use crate::error::Violation;

/// The head of a request: pseudo-fields and fields (RFC 9113 §8.3.1).
#[derive(Clone)]
pub struct RequestHead {
    /// Pseudo-fields first, then the fields.
    fields: Fields,
    /// The places of the pseudo-fields in `fields`; `NONE` where absent.
    method: u8,
    scheme: u8,
    authority: u8,
    path: u8,
    protocol: u8,
    /// The number of pseudo-fields.
    pseudo: u8,
    content_length: Option<u64>,
    /// The first thing that a builder was given and that HTTP/2 forbids.
    fault: Option<Fault>,
    /// The stamp of a head that is sent many times.
    stamp: Option<Stamp>,
}

/// Extensions of RFC 9113 that a server allows in requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestRules {
    /// Whether SETTINGS_ENABLE_CONNECT_PROTOCOL was sent: allows `:protocol` (RFC 8441 §4).
    pub extended_connect: bool,
}

/// The place of an absent pseudo-field. Those that are present come first and once, so they have
/// places 0 to 4.
const NONE: u8 = u8::MAX;

/// The names of fields that can't be judged alone, or are never allowed. They are rare, but for
/// content-length in requests with a body.
const WATCHED: KnownNames = KnownNames::new(&[
    KnownName::STATUS,
    KnownName::PROTOCOL,
    KnownName::CONNECTION,
    KnownName::KEEP_ALIVE,
    KnownName::PROXY_CONNECTION,
    KnownName::TRANSFER_ENCODING,
    KnownName::UPGRADE,
    KnownName::CONTENT_LENGTH,
    KnownName::HOST,
]);

/// The names of fields with rules for their values, or that are never allowed.
const RULED: KnownNames = WATCHED.with(KnownName::TE);

/// The last pseudo-field by number that isn't [`WATCHED`].
const LAST_PSEUDO: KnownName = KnownName::SCHEME;

/// Whether a field of a request is valid by itself, whatever else is in the list, as most are: for
/// [`Decoder::with_check`](tidegate_hpack::Decoder::with_check). A list of such fields needs only a
/// look at their names. Other fields may be valid too.
pub fn is_valid_alone(field: &Field<'_>, alphabet: Alphabet) -> bool {
    let value = field.value;
    match field.known {
        Some(KnownName::METHOD) => {
            !value.is_empty() && classes(value) & TOKEN != 0 && value != b"CONNECT"
        }
        Some(KnownName::SCHEME) => matches!(value, b"https" | b"http"),
        Some(KnownName::AUTHORITY) => is_authority(value),
        Some(KnownName::PATH) => value.first() == Some(&b'/') && all_visible(value),
        // RFC 9113 §8.2.1: no SP at either end. Other bytes that are printable are right in all
        // values but those with rules of their own.
        Some(known) if alphabet == Alphabet::Printable && !RULED.contains(known) => {
            value.first() != Some(&b' ') && value.last() != Some(&b' ')
        }
        _ => Regular::default().check(*field, Section::Request).is_ok(),
    }
}

impl RequestHead {
    /// Makes a request with these pseudo-fields. An empty authority is left out.
    pub fn new(method: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let bytes = method.len() + scheme.len() + authority.len() + path.len();
        let mut fields = Fields::with_capacity(8, bytes + 128);
        fields.push_known(KnownName::METHOD, method);
        fields.push_known(KnownName::SCHEME, scheme);
        if !authority.is_empty() {
            fields.push_known(KnownName::AUTHORITY, authority);
        }
        fields.push_known(KnownName::PATH, path);
        Self::built(fields)
    }

    /// Makes a CONNECT request (RFC 9113 §8.5): only `:method` and `:authority`, which is
    /// `host:port`.
    pub fn connect(authority: &str) -> Self {
        let mut fields = Fields::new();
        fields.push_known(KnownName::METHOD, "CONNECT");
        fields.push_known(KnownName::AUTHORITY, authority);
        Self::built(fields)
    }

    /// Makes an extended CONNECT request (RFC 8441 §4).
    pub fn extended_connect(protocol: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let mut fields = Fields::new();
        fields.push_known(KnownName::METHOD, "CONNECT");
        fields.push_known(KnownName::PROTOCOL, protocol);
        fields.push_known(KnownName::SCHEME, scheme);
        fields.push_known(KnownName::AUTHORITY, authority);
        fields.push_known(KnownName::PATH, path);
        Self::built(fields)
    }

    /// Makes a head of a builder's fields. Its faults are reported when it is used.
    fn built(fields: Fields) -> Self {
        let mut head = Self::unchecked(fields);
        let rules = RequestRules {
            extended_connect: true,
        };
        head.fault = head.check(rules).err().map(Fault::of_head);
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
            fault: None,
            stamp: None,
        }
    }

    /// Adds a field as [`RequestHead::field`] does, with its never-indexed mark.
    pub fn push_field(&mut self, field: Field<'_>) {
        self.stamp = None;
        if field.known == Some(KnownName::HOST) {
            // The whole list decides whether the field contradicts `:authority` or another `host`.
            self.fields.push_field(field);
            let mut checked = Self::unchecked(std::mem::take(&mut self.fields));
            let rules = RequestRules {
                extended_connect: true,
            };
            let result = checked.check(rules);
            self.fields = checked.fields;
            self.note(result);
            return;
        }
        let mut regular = Regular {
            content_length: self.content_length,
            ..Regular::default()
        };
        let checked = regular.check(field, Section::Request);
        self.content_length = regular.content_length;
        self.fields.push_field(field);
        self.note(checked);
    }

    /// Marks the head as one that is sent many times, like
    /// [`ResponseHead::shared`](crate::ResponseHead::shared).
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.stamp = Some(Stamp::next());
        self
    }

    /// Returns the mark of [`RequestHead::shared`], if the head has one.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Notes what a check of the last field found.
    fn note(&mut self, checked: Result<(), Violation>) {
        if let Err(violation) = checked {
            let place = self.fields.len() - 1;
            self.fault.get_or_insert(Fault::of_field(violation, place));
        }
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a request. Bytes of its path that aren't
    /// ASCII are percent-encoded. If the decoder has checked the fields, its check must have been
    /// [`is_valid_alone`].
    ///
    /// # Errors
    /// Returns the first rule that the list breaks; all of them are stream errors.
    pub fn from_fields(fields: Fields, rules: RequestRules) -> Result<Self, Violation> {
        Self::received(fields, rules).map_err(|(violation, _)| violation)
    }

    /// Like [`from_fields`](Self::from_fields), but an invalid list comes back: it may have to be
    /// answered.
    ///
    /// # Errors
    /// Returns the first rule that the list breaks, and the list.
    pub fn received(fields: Fields, rules: RequestRules) -> Result<Self, (Violation, Fields)> {
        let mut head = Self::unchecked(fields);
        let checked = match head.check(rules) {
            Err(Violation::PathInvalid) => {
                head = Self::unchecked(with_ascii_path(&head.fields));
                head.check(rules)
            }
            checked => checked,
        };
        match checked {
            Ok(()) => Ok(head),
            Err(violation) => Err((violation, head.fields)),
        }
    }

    /// Checks the list in one pass, notes the places of the pseudo-fields, and then checks them
    /// together.
    fn check(&mut self, rules: RequestRules) -> Result<(), Violation> {
        if self.fields.all_passed() && !self.fields.has_any(WATCHED) && self.has_its_places() {
            return Ok(());
        }
        let mut is_connect = false;
        let mut is_web = false;
        let mut begins_with_slash = false;
        let mut authority: Option<&[u8]> = None;
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
                    authority = Some(value);
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
                    // RFC 8441 §4: a value of the HTTP Upgrade Token registry, whose names are
                    // tokens (RFC 9110 §16.7).
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
            // RFC 9113 §8.3: "The same pseudo-header field name MUST NOT appear more than once in a
            // field block."
            if *place != NONE {
                return Err(Violation::PseudoFieldRepeated);
            }
            // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all
            // regular field lines."
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
            // RFC 9113 §8.5: "The ":scheme" and ":path" pseudo-header fields MUST be omitted", and
            // ":authority" contains the host and port to connect to.
            let authority = authority.unwrap_or_default();
            if self.scheme != NONE || self.path != NONE || !is_host_and_port(authority) {
                return Err(Violation::ConnectMalformed);
            }
            if !is_authority(authority) {
                return Err(Violation::AuthorityInvalid);
            }
        } else {
            // RFC 8441 §4: ":protocol" belongs to CONNECT; then ":scheme" and ":path" are required
            // as in other requests.
            if self.protocol != NONE && !is_connect {
                return Err(Violation::ProtocolNotAllowed);
            }
            // RFC 9113 §8.3.1: "All HTTP/2 requests MUST include exactly one valid value for the
            // ":method", ":scheme", and ":path" pseudo-header fields, unless they are CONNECT
            // requests".
            if self.scheme == NONE || self.path == NONE {
                return Err(Violation::PseudoFieldMissing);
            }
            // RFC 9113 §8.3.1: ":authority" MUST NOT include the deprecated userinfo subcomponent
            // for "http" or "https" schemed URIs. RFC 9110 §4.2.1: a URI with an empty host is
            // rejected, whichever field has it.
            let authority_is_fine = match authority.or(regular.host) {
                None => true,
                Some(authority) if is_web => is_authority(authority),
                Some(authority) => is_generic_authority(authority),
            };
            if !authority_is_fine {
                return Err(Violation::AuthorityInvalid);
            }
            // RFC 9113 §8.3.1: ":path" "MUST NOT be empty for "http" or "https" URIs"; it starts
            // with "/", or for OPTIONS it may be "*".
            if is_web
                && !begins_with_slash
                && (self.path_bytes(), self.method_bytes()) != (b"*", b"OPTIONS")
            {
                return Err(Violation::PathInvalid);
            }
        }
        // RFC 9113 §8.3.1: "A server SHOULD treat a request as malformed if it contains a Host
        // header field that identifies an entity that differs from the entity in the ":authority"
        // pseudo-header field."
        if let Some(host) = regular.host
            && self.authority != NONE
            && !is_same_authority(self.authority_bytes(), host, self.pseudo_bytes(self.scheme))
        {
            return Err(Violation::HostContradictsAuthority);
        }
        if regular.spelling == Spelling::Repeatedly {
            self.fields = with_length(&self.fields, self.content_length);
        }
        Ok(())
    }

    /// Notes the places of the pseudo-fields, and returns whether those of a request are there,
    /// each once, before the other fields. If they aren't, notes nothing.
    fn has_its_places(&mut self) -> bool {
        let (mut method, mut scheme, mut authority, mut path) = (NONE, NONE, NONE, NONE);
        let mut pseudo = 0;
        let mut names = self.fields.known_names();
        for name in names.by_ref() {
            let place = match name {
                Some(KnownName::METHOD) => &mut method,
                Some(KnownName::SCHEME) => &mut scheme,
                Some(KnownName::AUTHORITY) => &mut authority,
                Some(KnownName::PATH) => &mut path,
                _ => break,
            };
            if *place != NONE {
                return false;
            }
            *place = pseudo;
            pseudo += 1;
        }
        let is_pseudo = |name: Option<KnownName>| name.is_some_and(|name| name <= LAST_PSEUDO);
        if method == NONE || scheme == NONE || path == NONE || names.any(is_pseudo) {
            return false;
        }
        (self.method, self.scheme, self.authority, self.path) = (method, scheme, authority, path);
        self.pseudo = pseudo;
        true
    }

    /// Returns a pseudo-field's bytes; empty if it is absent.
    fn pseudo_bytes(&self, place: u8) -> &[u8] {
        // A long list has a field at this place, too.
        if place == NONE {
            return &[];
        }
        self.fields.value_at(usize::from(place)).unwrap_or_default()
    }

    /// Returns a pseudo-field's value. It is visible ASCII unless the head is invalid.
    fn pseudo(&self, place: u8) -> &str {
        std::str::from_utf8(self.pseudo_bytes(place)).unwrap_or("")
    }

    /// Returns the bytes of `:method`: cheaper than [`RequestHead::method`], which has to check
    /// that they are text.
    pub fn method_bytes(&self) -> &[u8] {
        self.pseudo_bytes(self.method)
    }

    /// Returns the bytes of `:path`: cheaper than [`RequestHead::path`].
    pub fn path_bytes(&self) -> &[u8] {
        self.pseudo_bytes(self.path)
    }

    /// Returns the bytes of `:authority`, else of the `host` field: cheaper than
    /// [`RequestHead::authority`].
    pub fn authority_bytes(&self) -> &[u8] {
        if self.authority == NONE {
            return self.fields.get_known(KnownName::HOST).unwrap_or(&[]);
        }
        self.pseudo_bytes(self.authority)
    }

    /// Returns `:method`, such as `GET`.
    pub fn method(&self) -> &str {
        self.pseudo(self.method)
    }

    /// Returns `:scheme`; empty for CONNECT.
    pub fn scheme(&self) -> &str {
        self.pseudo(self.scheme)
    }

    /// Returns `:authority`, else the `host` field, else an empty string.
    pub fn authority(&self) -> &str {
        std::str::from_utf8(self.authority_bytes()).unwrap_or("")
    }

    /// Returns `:path` with its query; empty for CONNECT.
    pub fn path(&self) -> &str {
        self.pseudo(self.path)
    }

    /// Returns `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        (self.protocol != NONE).then(|| self.pseudo(self.protocol))
    }

    /// Returns the whole cookie: the crumbs joined with `"; "` (RFC 9113 §8.2.3).
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

    /// Whether the client waits for 100 (Continue) before it sends its content.
    pub fn expects_continue(&self) -> bool {
        // RFC 9110 §10.1.1: "Expect = #expectation", so it may be one of several, on several lines.
        // "expectation = token [ "=" ( token / quoted-string ) parameters ]": a client that sends
        // the name waits, whatever follows it.
        self.headers()
            .filter(|field| field.known == Some(KnownName::EXPECT))
            .flat_map(|field| field.value.split(|byte| *byte == b','))
            .filter_map(|member| member.split(|byte| matches!(byte, b'=' | b';')).next())
            .any(|name| name.trim_ascii().eq_ignore_ascii_case(b"100-continue"))
    }

    /// Returns the fields without the pseudo-fields, in order.
    pub fn headers(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().skip(usize::from(self.pseudo))
    }
}

common!(RequestHead);

/// Returns the same list with a path in ASCII.
#[cold]
fn with_ascii_path(fields: &Fields) -> Fields {
    let mut encoded = Fields::with_capacity(fields.len(), fields.byte_len() + 64);
    for field in fields {
        if field.known == Some(KnownName::PATH) {
            encoded.push_known(KnownName::PATH, ascii_target(field.value));
        } else {
            encoded.push_field(field);
        }
    }
    encoded
}
