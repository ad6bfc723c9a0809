//! Fields to bytes.

use crate::dynamic_table::{self, DynamicTable, ENTRY_OVERHEAD, TableEntry};
use crate::index::{self, Index, Note};
use crate::policy::{self, Kind, Learned, Packed};
use crate::{Field, Fields, KnownName, Packer, Unpacker, huffman, integer, static_table};

/// Encodes the header blocks of one direction of one connection.
pub struct Encoder {
    table: DynamicTable<Note>,
    knowledge: Knowledge,
    table_size_cap: usize,
    /// The number of fields that were in no table: each changed the table or what is learned.
    misses: u64,
    /// A size of the table that the next block has to announce.
    update: Option<SizeUpdate>,
}

/// The state, apart from its fields, that a block of an [`Encoder`] depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderState {
    misses: u64,
    max_size: usize,
    table_size: TableSize,
}

/// Whether the peer knows the size of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TableSize {
    Announced,
    /// The next block announces the size first.
    Unannounced,
}

/// The encoder's knowledge beyond the table itself.
enum Knowledge {
    /// No field has asked for a place in the table yet.
    Nothing,
    /// The encoder rests: what can't be found out from the table.
    Packed(Packed),
    /// The encoder is in use.
    Open(Box<Memory>),
}

/// The knowledge of an encoder in use.
struct Memory {
    index: Index,
    learned: Learned,
}

impl Knowledge {
    fn open(index: Index, learned: Learned) -> Self {
        Self::Open(Box::new(Memory { index, learned }))
    }

    fn memory(&self) -> Option<&Memory> {
        match self {
            Self::Open(memory) => Some(memory),
            Self::Nothing | Self::Packed(_) => None,
        }
    }

    #[inline]
    fn memory_mut(&mut self) -> Option<&mut Memory> {
        match self {
            Self::Open(memory) => Some(memory),
            Self::Nothing | Self::Packed(_) => None,
        }
    }
}

/// "the smallest maximum table size that occurs in that interval MUST be signaled in a dynamic
/// table size update. The final maximum size is always signaled, resulting in at most two dynamic
/// table size updates." (RFC 7541 §4.2)
#[derive(Clone, Copy)]
struct SizeUpdate {
    smallest: usize,
    last: usize,
}

impl Encoder {
    /// Makes an encoder whose dynamic table never exceeds `table_size_cap` bytes, whatever the peer
    /// allows. The table starts at the protocol's 4,096 bytes or at the cap, whichever is less.
    pub fn new(table_size_cap: usize) -> Self {
        let mut encoder = Self {
            table: DynamicTable::new(dynamic_table::INITIAL_SIZE),
            knowledge: Knowledge::Nothing,
            table_size_cap,
            misses: 0,
            update: None,
        };
        encoder.set_max_table_size(dynamic_table::INITIAL_SIZE);
        encoder
    }

    /// Sets the SETTINGS_HEADER_TABLE_SIZE that the peer announced, in bytes. The next block begins
    /// with a size update (RFC 7541 §4.2).
    pub fn set_max_table_size(&mut self, bytes: usize) {
        let last = bytes.min(self.table_size_cap);
        let smallest = self.update.map_or(last, |update| update.smallest.min(last));
        let current = self.table.max_size();
        self.update =
            (smallest < current || last != current).then_some(SizeUpdate { smallest, last });
    }

    /// Returns the bytes in the dynamic table, as RFC 7541 §4.1 counts them.
    pub fn table_size(&self) -> usize {
        self.table.size()
    }

    /// Returns the number of fields in the dynamic table.
    pub fn table_len(&self) -> usize {
        self.table.len()
    }

    /// Returns the entries of the dynamic table, the newest first, which has index 62.
    pub fn table_entries(&self) -> impl Iterator<Item = TableEntry<'_>> {
        self.table.entries()
    }

    /// Returns the most bytes that the dynamic table may have now.
    pub fn table_max_size(&self) -> usize {
        self.table.max_size()
    }

    /// Returns the state that blocks depend on. While it doesn't change, the same fields make the
    /// same block.
    pub fn state(&self) -> EncoderState {
        EncoderState {
            misses: self.misses,
            max_size: self.table.max_size(),
            table_size: match self.update {
                Some(_) => TableSize::Unannounced,
                None => TableSize::Announced,
            },
        }
    }

    /// Frees memory that an encoder at rest doesn't need. The next block takes it again; no block
    /// changes by that.
    pub fn release_memory(&mut self) {
        self.table.release_memory();
        if let Knowledge::Open(memory) = &self.knowledge {
            self.knowledge = Knowledge::Packed(memory.learned.pack());
        }
    }

    /// Adds the state that blocks depend on.
    pub fn pack(&self, out: &mut Packer) {
        self.table.pack(out);
        out.number(self.table_size_cap as u64);
        out.number(self.misses);
        out.optional(self.update.map(|update| update.smallest as u64));
        out.number(self.update.map_or(0, |update| update.last as u64));
        let packed = match &self.knowledge {
            Knowledge::Nothing => return out.number(0),
            Knowledge::Packed(packed) => packed,
            Knowledge::Open(memory) => &memory.learned.pack(),
        };
        out.number(1);
        packed.pack(out);
    }

    /// Makes an encoder with the state that another one has packed.
    pub fn unpack(input: &mut Unpacker<'_>) -> Self {
        Self {
            table: DynamicTable::unpack(input, Note::unlinked),
            table_size_cap: input.size(),
            misses: input.number(),
            update: {
                let (smallest, last) = (input.optional(), input.size());
                smallest.map(|smallest| SizeUpdate {
                    smallest: smallest as usize,
                    last,
                })
            },
            knowledge: if input.flag() {
                Knowledge::Packed(Packed::read(input))
            } else {
                Knowledge::Nothing
            },
        }
    }

    /// Appends the block of these fields to `out`.
    pub fn encode(&mut self, fields: &Fields, out: &mut Vec<u8>) {
        if let Some(update) = self.update.take() {
            self.size_update(update, out);
        }
        if let Knowledge::Packed(packed) = &self.knowledge {
            self.knowledge = Knowledge::open(Index::of(&mut self.table), packed.unpack());
        }
        let (entries, bytes) = fields.stored();
        for entry in entries {
            let found = entry
                .known(bytes)
                .and_then(|(name, value)| self.find_quickly(name, value));
            match found {
                Some(index) => indexed(index, out),
                None => self.field(&entry.view(bytes), out),
            }
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
            self.knowledge = Knowledge::Nothing;
        }
    }

    /// Returns the index of a field whose value is in the static table, or that is the dynamic
    /// table's newest entry with its name, as most fields are on a warm connection. Neither table
    /// has credentials.
    #[inline]
    fn find_quickly(&mut self, name: KnownName, value: &[u8]) -> Option<usize> {
        if let Some(memory) = self.knowledge.memory_mut()
            && let Some(age) = memory.index.newest_is(&self.table, name, value)
        {
            memory.learned.hit(name.number());
            return Some(static_table::LEN + 1 + age);
        }
        match policy::kind(name) {
            Kind::StaticValues => static_table::find(name, value),
            _ => None,
        }
    }

    /// Encodes a field that [`Encoder::find_quickly`] didn't find.
    #[inline(never)]
    fn field(&mut self, field: &Field<'_>, out: &mut Vec<u8>) {
        if field.never_indexed || policy::is_credential(field) {
            self.never_indexed(field, out);
            return;
        }
        if let Some(known) = field.known
            && let Some(index) = static_table::find(known, field.value)
        {
            indexed(index, out);
            return;
        }
        // A field that takes most of the table would evict entries that are worth more together.
        let size = field.name.len() + field.value.len() + ENTRY_OVERHEAD;
        if size > self.table.max_size() / 4 * 3 {
            let name = self.name_index(index::slot(field.known, field.name), field);
            literal(0x00, 4, name, field, out);
            return;
        }
        let key = index::key(field.known, field.name, field.value);
        if let Some(memory) = self.knowledge.memory_mut()
            && let Some(age) = memory.index.find_field(&self.table, key, field)
        {
            memory.learned.hit(key.slot);
            indexed(static_table::LEN + 1 + age, out);
            return;
        }
        let name = self.name_index(key.slot, field);
        if let Knowledge::Nothing = self.knowledge {
            self.knowledge = Knowledge::open(Index::new(self.table.max_size()), Learned::new());
        }
        self.misses += 1;
        let Some(memory) = self.knowledge.memory_mut() else {
            // Every block begins with the knowledge unpacked.
            return literal(0x00, 4, name, field, out);
        };
        // A name that is in no table is worth a place for itself.
        if memory.learned.miss(key) || name == 0 {
            literal(0x40, 6, name, field, out);
            memory.index.insert(&mut self.table, key, field);
        } else {
            literal(0x00, 4, name, field, out);
        }
    }

    /// "This representation is intended for protecting header field values that are not to be put
    /// at risk by compressing them" (RFC 7541 §6.2.3). So the value isn't looked up either.
    fn never_indexed(&self, field: &Field<'_>, out: &mut Vec<u8>) {
        let name = self.name_index(index::slot(field.known, field.name), field);
        literal(0x10, 4, name, field, out);
    }

    /// Returns the index of an entry with the field's name, whose slot is `slot`; 0 if there is
    /// none.
    fn name_index(&self, slot: u8, field: &Field<'_>) -> usize {
        if usize::from(slot) <= static_table::LEN {
            return usize::from(slot);
        }
        self.knowledge
            .memory()
            .and_then(|memory| memory.index.find_name(&self.table, slot, field))
            .map_or(0, |age| static_table::LEN + 1 + age)
    }
}

/// Writes a field that is in a table (RFC 7541 §6.1).
#[inline]
fn indexed(index: usize, out: &mut Vec<u8>) {
    integer::encode(0x80, 7, index, out);
}

/// Writes a field with its value, and with its name if that has no index (RFC 7541 §6.2).
fn literal(pattern: u8, prefix: u32, name_index: usize, field: &Field<'_>, out: &mut Vec<u8>) {
    integer::encode(pattern, prefix, name_index, out);
    if name_index == 0 {
        text(field.name, out);
    }
    text(field.value, out);
}

/// Writes a string literal, in the Huffman code if that is shorter (RFC 7541 §5.2).
fn text(bytes: &[u8], out: &mut Vec<u8>) {
    let huffman_len = huffman::encoded_len(bytes);
    if huffman_len < bytes.len() {
        integer::encode(0x80, 7, huffman_len, out);
        huffman::encode(bytes, out);
    } else {
        integer::encode(0x00, 7, bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}
