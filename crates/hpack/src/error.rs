//! Why a header block can't be decoded.

/// A block that breaks RFC 7541. In HTTP/2 every one of these is a connection error COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The block ends in the middle of a field.
    Truncated,
}
