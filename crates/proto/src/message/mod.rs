//! Messages (RFC 9113 §8): heads, their validation, and what a message may carry.
//!
//! Validation is one pass over a list. A known name is a number, so its bytes need no look; the
//! bytes of other names and of short values go through one table of classes, those of longer values
//! eight at a time.

mod classes;
mod request;
mod response;
mod rules;
mod target;
#[cfg(test)]
mod tests;

use bytes::Bytes;
pub use tidegate_hpack::{Field, Fields, KnownName};

pub use request::{RequestHead, RequestRules};
pub use response::ResponseHead;
pub(crate) use response::Stamp;
pub use rules::{check_trailers, may_be_trailer};
pub use target::{ascii_target, is_authority};

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
