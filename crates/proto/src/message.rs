//! Messages (RFC 9113 §8): heads, their validation, and what a message may carry.

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

impl RequestHead {
    /// A request with these pseudo-fields. An empty authority is left out.
    pub fn new(method: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let _ = (method, scheme, authority, path);
        todo!()
    }

    /// A CONNECT request (RFC 9113 §8.5): only `:method` and `:authority`.
    pub fn connect(authority: &str) -> Self {
        let _ = authority;
        todo!()
    }

    /// An extended CONNECT request (RFC 8441 §4).
    pub fn extended_connect(protocol: &str, scheme: &str, authority: &str, path: &str) -> Self {
        let _ = (protocol, scheme, authority, path);
        todo!()
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
        let _ = (name, value.as_ref());
        todo!()
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a request.
    ///
    /// # Errors
    /// The first rule that the list breaks; all of them are stream errors.
    pub fn from_fields(fields: Fields, rules: RequestRules) -> Result<Self, Violation> {
        let _ = (fields, rules);
        todo!()
    }

    /// `:method`, such as `GET`.
    pub fn method(&self) -> &str {
        todo!()
    }

    /// `:scheme`; empty for CONNECT.
    pub fn scheme(&self) -> &str {
        todo!()
    }

    /// `:authority`, else the `host` field, else empty.
    pub fn authority(&self) -> &str {
        todo!()
    }

    /// `:path` with its query; empty for CONNECT.
    pub fn path(&self) -> &str {
        todo!()
    }

    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub fn protocol(&self) -> Option<&str> {
        todo!()
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
        let _ = (
            self.method,
            self.scheme,
            self.authority,
            self.path,
            self.protocol,
        );
        self.invalid
    }
}

impl ResponseHead {
    /// A response with this status (100 to 999).
    pub fn new(status: u16) -> Self {
        let _ = status;
        todo!()
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
        let _ = (name, value.as_ref());
        todo!()
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a response.
    ///
    /// # Errors
    /// The first rule that the list breaks; all of them are stream errors.
    pub fn from_fields(fields: Fields) -> Result<Self, Violation> {
        let _ = fields;
        todo!()
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
    let _ = fields;
    todo!()
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
