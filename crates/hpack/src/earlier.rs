//! A block that came before, for blocks that end like it.
//!
//! The requests of a client mostly differ in their path only. So what follows the path is often,
//! byte for byte, what followed it in the request before, and means the same while the table
//! doesn't change. Those fields are copied from the list before, not decoded.

use crate::dynamic_table::TableState;
use crate::fields::Place;
use crate::{Fields, KnownName};

/// A block with the list that a decoder made of it within the same limits.
#[derive(Clone, Copy)]
pub struct Earlier<'a> {
    /// The whole block.
    pub block: &'a [u8],
    /// Its list, as it was decoded.
    pub fields: &'a Fields,
    /// The place behind the path, as [`decode_after`](crate::Decoder::decode_after) set it.
    pub mark: Mark,
}

impl Earlier<'_> {
    /// Returns the bytes of the block behind the path.
    pub(crate) fn rest(&self) -> &[u8] {
        let start = self.block.len().saturating_sub(self.mark.left);
        &self.block[start..]
    }
}

/// The bytes of a block behind the path that make it worth remembering the place: fewer are decoded
/// as fast as they are compared and copied.
pub(crate) const WORTH: usize = 4;

/// The place behind the path, in a block and in its list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The bytes of the block behind the place.
    pub(crate) left: usize,
    pub(crate) place: Place,
    /// The state of the dynamic table at the place.
    pub(crate) table: TableState,
}

impl Mark {
    /// Whether the same bytes behind both places mean the same, and fit into the same limits on
    /// the number of fields.
    #[inline]
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.left == other.left
            && self.table == other.table
            && self.place.len == other.place.len
            && self.place.present == other.place.present
            // Crumbs have a limit of their own.
            && !self.place.present.contains(KnownName::COOKIE)
    }
}
