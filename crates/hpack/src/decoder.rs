//! Octets to fields.

use crate::{Error, Fields};

/// Bounds on one decoded list. They are checked while decoding; what is over them is decoded but not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the list as RFC 9113 §10.5.1 counts them: names, values and 32 for each field.
    pub max_list_size: usize,
    /// Fields, cookie crumbs not counted.
    pub max_fields: usize,
    /// `cookie` fields (RFC 9113 §8.2.3 lets a client split the cookie into many).
    pub max_cookie_crumbs: usize,
}

/// Which bound a list went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListLimit {
    /// [`Limits::max_list_size`].
    Size,
    /// [`Limits::max_fields`].
    Fields,
    /// [`Limits::max_cookie_crumbs`].
    CookieCrumbs,
}

/// What a whole block came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Octets of the list as RFC 9113 §10.5.1 counts them, those of fields over a limit included.
    pub list_size: usize,
    /// Fields in the block, those over a limit included.
    pub fields: usize,
    /// The first limit that the list went over: the fields from there on were not kept, yet the table is in step.
    pub over: Option<ListLimit>,
}

/// Decodes the header blocks of one direction of one connection.
pub struct Decoder {}

impl Decoder {
    /// A decoder whose dynamic table may grow to the size that we announced in SETTINGS_HEADER_TABLE_SIZE (octets).
    pub fn new(max_table_size: usize) -> Self {
        let _ = max_table_size;
        todo!()
    }

    /// The peer acknowledged another SETTINGS_HEADER_TABLE_SIZE. After a shrink the next block must begin with a size
    /// update (RFC 7541 §4.2).
    pub fn set_max_table_size(&mut self, octets: usize) {
        let _ = octets;
        todo!()
    }

    /// Decodes one whole block and appends its fields to `fields`.
    ///
    /// # Errors
    /// A block that breaks RFC 7541; the decoder is of no use after it.
    pub fn decode(
        &mut self,
        block: &[u8],
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Decoded, Error> {
        let _ = (block, limits, fields);
        todo!()
    }
}
