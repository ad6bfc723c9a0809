//! The head of a response.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_hpack::{Field, Fields, KnownName};

use super::fault::{Fault, InvalidHead};
use super::rules::{Regular, Section, Spelling, with_length};
use crate::error::Violation;

/// The identity of a list of fields that is sent many times ([`ResponseHead::shared`],
/// [`RequestHead::shared`](crate::RequestHead::shared)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The head of a response: status and fields (RFC 9113 §8.3.2).
#[derive(Clone)]
pub struct ResponseHead {
    /// `:status` first, then the fields.
    fields: Fields,
    status: u16,
    content_length: Option<u64>,
    /// The first thing that a builder was given and that HTTP/2 forbids.
    fault: Option<Fault>,
    /// The stamp of a head that is sent many times.
    stamp: Option<Stamp>,
}

impl ResponseHead {
    /// Makes a response with this status (100 to 999, but not 101, which HTTP/2 lacks).
    pub fn new(status: u16) -> Self {
        let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
        let mut fields = Fields::with_capacity(8, 256);
        fields.push_known(KnownName::STATUS, [digit(100), digit(10), digit(1)]);
        let violation = match status {
            101 => Some(Violation::SwitchingProtocols),
            100..=999 => None,
            _ => Some(Violation::StatusInvalid),
        };
        Self {
            fields,
            status,
            content_length: None,
            fault: violation.map(Fault::of_head),
            stamp: None,
        }
    }

    /// Adds a field as [`ResponseHead::field`] does, with its never-indexed mark.
    pub fn push_field(&mut self, field: Field<'_>) {
        let mut regular = Regular {
            content_length: self.content_length,
            ..Regular::default()
        };
        let place = self.fields.len();
        if let Err(violation) = regular.check(field, Section::Response) {
            self.fault.get_or_insert(Fault::of_field(violation, place));
        }
        self.content_length = regular.content_length;
        self.fields.push_field(field);
        self.stamp = None;
    }

    /// Marks the head as one that is sent many times: an engine that sends it twice in a row
    /// encodes it once. Clones keep the mark; adding a field removes it.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.stamp = Some(Stamp::next());
        self
    }

    /// Returns the mark of [`ResponseHead::shared`], if the head has one.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// Checks a decoded list by RFC 9113 §8 and makes it a response.
    ///
    /// # Errors
    /// Returns the first rule that the list breaks; all of them are stream errors.
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
            // RFC 9113 §8.3: "All pseudo-header fields MUST appear in a field block before all
            // regular field lines."
            if place != 0 {
                return Err(Violation::PseudoFieldMisplaced);
            }
            // RFC 9110 §15: "a three-digit integer code". Its first digit is a class, and 0 is
            // none.
            status = match *field.value {
                [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                    u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
                }
                _ => return Err(Violation::StatusInvalid),
            };
            // RFC 9113 §8.6: "HTTP/2 removes support for the 101 (Switching Protocols)
            // informational status code".
            if status == 101 {
                return Err(Violation::SwitchingProtocols);
            }
        }
        // RFC 9113 §8.3.2: ":status" "MUST be included in all responses, including interim
        // responses".
        if status == 0 {
            return Err(Violation::PseudoFieldMissing);
        }
        // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with
        // a status code of 1xx (Informational) or 204 (No Content)." Such a field has no meaning
        // and is not forwarded.
        let means_nothing = status < 200 || status == 204;
        let (said, spelling) = (regular.content_length, regular.spelling);
        let content_length = said.filter(|_| !means_nothing);
        let fields = match (said, spelling) {
            (None, _) => fields,
            (Some(_), Spelling::Once) if !means_nothing => fields,
            (Some(_), _) => with_length(&fields, content_length),
        };
        Ok(Self {
            fields,
            status,
            content_length,
            fault: None,
            stamp: None,
        })
    }

    /// Removes `content-length`. RFC 9110 §9.3.6: "A client MUST ignore any Content-Length … header
    /// fields received in a successful response to CONNECT."
    pub fn drop_length(&mut self) {
        if self.content_length.take().is_some() {
            self.fields = with_length(&self.fields, None);
            self.stamp = None;
        }
    }

    /// Returns `:status`.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the status is 100 to 199: another head follows.
    pub fn is_informational(&self) -> bool {
        self.status < 200
    }

    /// Returns the fields without `:status`, in order.
    pub fn headers(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().skip(1)
    }
}

common!(ResponseHead);
