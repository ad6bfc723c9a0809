//! Fields to octets.

use crate::dynamic_table::{self, DynamicTable, ENTRY_OVERHEAD};
use crate::index::{self, Index, Note};
use crate::policy::{self, Policy};
use crate::{Field, Fields, KnownName, huffman, integer, static_table};

/// Encodes the header blocks of one direction of one connection.
pub struct Encoder {
    table: DynamicTable<Note>,
    /// There from the first field on that is worth a place in the table.
    index: Option<Box<Index>>,
    table_size_cap: usize,
    /// A size of the table that the peer has not been told yet.
    update: Option<SizeUpdate>,
}

/// "the smallest maximum table size that occurs in that interval MUST be signaled in a dynamic table size update. The final
/// maximum size is always signaled, resulting in at most two dynamic table size updates." (RFC 7541 §4.2)
#[derive(Clone, Copy)]
struct SizeUpdate {
    smallest: usize,
    last: usize,
}

impl Encoder {
    /// An encoder whose dynamic table never takes more than this many octets, whatever the peer allows. It starts at
    /// the protocol's 4,096 or at the cap, whichever is less.
    pub fn new(table_size_cap: usize) -> Self {
        let mut encoder = Self {
            table: DynamicTable::new(dynamic_table::INITIAL_SIZE),
            index: None,
            table_size_cap,
            update: None,
        };
        encoder.set_max_table_size(dynamic_table::INITIAL_SIZE);
        encoder
    }

    /// The peer announced another SETTINGS_HEADER_TABLE_SIZE: the next block says so (RFC 7541 §4.2).
    pub fn set_max_table_size(&mut self, octets: usize) {
        let last = octets.min(self.table_size_cap);
        let smallest = self.update.map_or(last, |update| update.smallest.min(last));
        let current = self.table.max_size();
        self.update =
            (smallest < current || last != current).then_some(SizeUpdate { smallest, last });
    }

    /// Octets in the dynamic table, as RFC 7541 §4.1 counts them.
    pub fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Fields in the dynamic table.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Appends the block of these fields to `out`.
    pub fn encode(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        if let Some(update) = self.update.take() {
            self.size_update(update, out);
        }
        for field in fields {
            self.field(&field, out);
        }
    }

    fn size_update(&mut self, update: SizeUpdate, out: &mut Vec<u8>) {
        if update.smallest < update.last {
            self.table.set_max_size(update.smallest);
            integer::encode(0x20, 5, update.smallest, out);
        }
        self.table.set_max_size(update.last);
        integer::encode(0x20, 5, update.last, out);
        if update.last == 0 {
            self.index = None;
        }
    }

    #[inline]
    fn field(&mut self, field: &Field<'_>, out: &mut Vec<u8>) {
        let policy = policy::of(field.known, field.value);
        if policy == Policy::Never || field.never_indexed {
            // "An encoder might also choose not to index values for header fields that are considered to be highly valuable
            // or sensitive to recovery" (RFC 7541 §7.1.3), nor to look them up.
            let name = self.name_index(field);
            literal(0x10, 4, name, field, out);
            return;
        }
        if let Some(known) = field.known {
            if let Some(index) = static_table::find(known, field.value) {
                indexed(index, out);
                return;
            }
            if let Some(index) = &self.index
                && let Some(age) = index.newest_is(&self.table, known, field.value)
            {
                indexed(static_table::LEN + 1 + age, out);
                return;
            }
        }
        self.dynamic_field(field, policy, out);
    }

    /// A field that is not the newest one with its name.
    #[inline(never)]
    fn dynamic_field(&mut self, field: &Field<'_>, policy: Policy, out: &mut Vec<u8>) {
        let Field {
            known, name, value, ..
        } = *field;
        let hash = index::hash(known, name, value);
        if let Some(index) = &self.index
            && let Some(age) = index.find_field(&self.table, hash, known, name, value)
        {
            indexed(static_table::LEN + 1 + age, out);
            return;
        }
        let name_index = self.name_index(field);
        // A field that takes most of the table would drive out what is worth more together.
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        let fits = size <= self.table.max_size() / 4 * 3;
        if !fits {
            literal(0x00, 4, name_index, field, out);
            return;
        }
        let index = self
            .index
            .get_or_insert_with(|| Box::new(Index::new(self.table.max_size())));
        if policy == Policy::Index || index.seen(hash) {
            literal(0x40, 6, name_index, field, out);
            index.insert(&mut self.table, hash, known, name, value);
        } else {
            literal(0x00, 4, name_index, field, out);
        }
    }

    /// The index of an entry with the field's name; 0 if there is none.
    fn name_index(&self, field: &Field<'_>) -> usize {
        match field.known {
            Some(KnownName(number)) if usize::from(number) <= static_table::LEN => {
                usize::from(number)
            }
            known => self
                .index
                .as_ref()
                .and_then(|index| index.find_name(&self.table, known, field.name))
                .map_or(0, |age| static_table::LEN + 1 + age),
        }
    }
}

/// Writes a field that is in a table (RFC 7541 §6.1).
#[inline]
fn indexed(index: usize, out: &mut Vec<u8>) {
    integer::encode(0x80, 7, index, out);
}

/// Writes a field with its value, and its name too when there is no index for that (RFC 7541 §6.2).
fn literal(pattern: u8, prefix: u32, name_index: usize, field: &Field<'_>, out: &mut Vec<u8>) {
    integer::encode(pattern, prefix, name_index, out);
    if name_index == 0 {
        text(field.name, out);
    }
    text(field.value, out);
}

/// Writes a string literal, in the Huffman code if that is shorter (RFC 7541 §5.2).
fn text(octets: &[u8], out: &mut Vec<u8>) {
    let huffman_len = huffman::encoded_len(octets);
    if huffman_len < octets.len() {
        integer::encode(0x80, 7, huffman_len, out);
        huffman::encode(octets, out);
    } else {
        integer::encode(0x00, 7, octets.len(), out);
        out.extend_from_slice(octets);
    }
}
