//! Fields to octets.

use crate::Fields;

/// Encodes the header blocks of one direction of one connection.
pub struct Encoder {}

impl Encoder {
    /// An encoder whose dynamic table never takes more than this many octets, whatever the peer allows. It starts at
    /// the protocol's 4,096 or at the cap, whichever is less.
    pub fn new(table_size_cap: usize) -> Self {
        let _ = table_size_cap;
        todo!()
    }

    /// The peer announced another SETTINGS_HEADER_TABLE_SIZE: the next block says so (RFC 7541 §4.2).
    pub fn set_max_table_size(&mut self, octets: usize) {
        let _ = octets;
        todo!()
    }

    /// Appends the block of these fields to `out`.
    pub fn encode(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        let _ = (fields, out);
        todo!()
    }
}
