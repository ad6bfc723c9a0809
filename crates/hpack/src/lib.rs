//! HPACK (RFC 7541): header compression for HTTP/2, without I/O.

mod decoder;
mod encoder;
mod error;
mod fields;
mod known;

pub use decoder::{Decoded, Decoder, Limits, ListLimit};
pub use encoder::Encoder;
pub use error::Error;
pub use fields::{Field, Fields, Iter};
pub use known::KnownName;
