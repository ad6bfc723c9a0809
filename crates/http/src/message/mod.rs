//! Messages (RFC 9113 §8): heads, their validation, and the content that a message may have.
//!
//! Validation is one pass over a list. A known name is a number, so its bytes aren't checked. The
//! bytes of other names and of short values go through one table of classes, those of longer values
//! eight at a time.

mod classes;
#[macro_use]
mod common;
mod fault;
mod request;
mod response;
mod rules;
mod target;
#[cfg(test)]
mod tests;

use bytes::Bytes;
pub use tidegate_hpack::{Field, Fields, KnownName, KnownNames};

pub use fault::InvalidHead;
pub use request::{RequestHead, RequestRules, is_valid_alone};
pub use response::{ResponseHead, Stamp};
pub use rules::{check_trailers, may_be_trailer};
pub use target::{ascii_target, is_authority};

/// The body that follows a head.
#[derive(Clone, Debug)]
pub enum Body {
    /// No body: the message ends with its head.
    Empty,
    /// The complete body, shared by reference: a cached file.
    Full(Bytes),
    /// A body that [`Event::Writable`](crate::Event::Writable) asks for piece by piece.
    Stream,
}
