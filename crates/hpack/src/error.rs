//! The errors of decoding a header block.

use std::fmt;

/// A block that breaks RFC 7541. In HTTP/2 each of them is a connection error of type
/// COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The block ends in the middle of a field.
    Truncated,
    /// An integer is larger or longer than any index, length or size can be (RFC 7541 §5.1).
    IntegerOverflow,
    /// An index is zero or beyond the end of both tables (RFC 7541 §2.3.3, §6.1).
    InvalidIndex,
    /// A Huffman-coded string contains the EOS symbol (RFC 7541 §5.2).
    HuffmanEos,
    /// A Huffman-coded string ends with more than seven bits of padding, or with padding that isn't
    /// all ones (RFC 7541 §5.2).
    HuffmanPadding,
    /// A dynamic table size update follows a field (RFC 7541 §4.2).
    SizeUpdateNotAtStart,
    /// A dynamic table size update exceeds the limit of our settings (RFC 7541 §6.3).
    SizeUpdateTooLarge,
    /// Our settings reduced the table, but the block doesn't begin with a size update (RFC 7541
    /// §4.2).
    SizeUpdateMissing,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the header block ends in the middle of a field",
            Self::IntegerOverflow => "an integer in the header block is too large or too long",
            Self::InvalidIndex => "the header block refers to an index that is in neither table",
            Self::HuffmanEos => "a Huffman-coded string contains the EOS symbol",
            Self::HuffmanPadding => "a Huffman-coded string has too much or wrong padding",
            Self::SizeUpdateNotAtStart => "a dynamic table size update isn't at the header block's start",
            Self::SizeUpdateTooLarge => "a dynamic table size update goes beyond SETTINGS_HEADER_TABLE_SIZE",
            Self::SizeUpdateMissing => {
                "SETTINGS_HEADER_TABLE_SIZE shrank and the header block doesn't begin with a size update"
            }
        })
    }
}

impl std::error::Error for Error {}
