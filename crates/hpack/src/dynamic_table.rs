//! The dynamic table (RFC 7541 §2.3.2, §4).
//!
//! Entries lie in one list and their bytes in one buffer, both oldest first. New ones are appended.
//! Evicted ones stay in front until they are more than the live ones, which then move up. So an
//! insertion costs its own bytes twice at most, and an entry's bytes are always one slice. Nothing
//! is allocated before the first insertion.

use crate::fields::Shape;
use crate::{Field, KnownName, Packer, Unpacker};

/// The bytes that an entry counts beyond its name and value (RFC 7541 §4.1).
pub(crate) const ENTRY_OVERHEAD: usize = 32;

/// The size with which both sides begin (RFC 9113 §6.5.2, SETTINGS_HEADER_TABLE_SIZE).
pub(crate) const INITIAL_SIZE: usize = 4096;

/// The numbers of evicted entries and of their bytes for which moving the others isn't worth it.
const SLACK: usize = 16;
const SLACK_BYTES: usize = 256;

/// The number of bytes copied at once. Most entries are no longer, and a copy of fixed length takes
/// no call.
const CHUNK: usize = 32;

/// A dynamic table. It keeps a `Note` of its owner with each entry.
pub(crate) struct DynamicTable<Note> {
    /// Oldest first, including evicted entries.
    entries: Vec<Entry<Note>>,
    /// The number of evicted entries.
    evicted: usize,
    /// The bytes of the entries, and [`CHUNK`] more after the newest, so that any entry can be
    /// copied in chunks.
    bytes: Vec<u8>,
    /// The position of `bytes[0]`. Positions count all bytes ever appended and wrap around.
    base: u32,
    /// The size as §4.1 counts it.
    size: usize,
    max_size: usize,
    /// The number of entries inserted so far, wrapping around.
    inserted: u32,
}

/// The state that the meaning of a block depends on. Without an insertion, only eviction changes
/// the table, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableState {
    inserted: u32,
    size: u32,
    max_size: u32,
}

#[derive(Clone, Copy)]
struct Entry<Note> {
    /// The position of the entry's bytes: the name unless it is known, then the value.
    start: u32,
    /// The number of those bytes.
    len: u32,
    /// The size as §4.1 counts it.
    size: u32,
    shape: Shape,
    note: Note,
}

/// A view of an entry.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) shape: &'a Shape,
    /// The size as §4.1 counts it.
    pub(crate) size: usize,
    buffer: &'a [u8],
    /// The place of the entry's bytes in the buffer: the name if it isn't a known one, then the
    /// value.
    start: usize,
    /// The number of those bytes.
    len: usize,
}

/// An entry of a dynamic table, to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// The size in bytes as RFC 7541 §4.1 counts it.
    pub size: usize,
}

impl<'a> View<'a> {
    /// Returns the name, or nothing if it is a known one.
    pub(crate) fn unknown_name(&self) -> &'a [u8] {
        &self.buffer[self.start..self.start + self.len - self.shape.value_len()]
    }

    pub(crate) fn value(&self) -> &'a [u8] {
        let end = self.start + self.len;
        &self.buffer[end - self.shape.value_len()..end]
    }

    /// Appends the name, if it isn't a known one, and the value.
    #[inline]
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) {
        if self.len <= CHUNK {
            let end = out.len() + self.len;
            out.extend_from_slice(&self.buffer[self.start..self.start + CHUNK]);
            out.truncate(end);
        } else {
            out.extend_from_slice(&self.buffer[self.start..self.start + self.len]);
        }
    }
}

impl<Note: Copy> DynamicTable<Note> {
    pub(crate) fn new(max_size: usize) -> Self {
        Self {
            entries: Vec::new(),
            evicted: 0,
            bytes: Vec::new(),
            base: 0,
            size: 0,
            max_size,
            inserted: 0,
        }
    }

    /// Makes an empty table into which this number of entries were inserted before.
    #[cfg(test)]
    pub(crate) fn after(inserted: u32, max_size: usize) -> Self {
        Self {
            inserted,
            ..Self::new(max_size)
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn max_size(&self) -> usize {
        self.max_size
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.evicted
    }

    /// Returns the newest entry's number. Entries are numbered from 1, wrapping around.
    pub(crate) fn inserted(&self) -> u32 {
        self.inserted
    }

    /// Returns the state that blocks depend on.
    #[inline]
    pub(crate) fn state(&self) -> TableState {
        TableState {
            inserted: self.inserted,
            size: self.size as u32,
            max_size: self.max_size as u32,
        }
    }

    #[inline]
    fn entry(&self, age: usize) -> Option<&Entry<Note>> {
        // Wraps to a number far too large if there is no entry of this age.
        let at = self.entries.len().wrapping_sub(age.wrapping_add(1));
        if at < self.evicted {
            return None;
        }
        self.entries.get(at)
    }

    /// Returns the place of the entry's bytes in the buffer.
    #[inline]
    fn start(&self, entry: &Entry<Note>) -> usize {
        entry.start.wrapping_sub(self.base) as usize
    }

    /// Returns the entry of this age; the newest has age 0.
    #[inline]
    pub(crate) fn get(&self, age: usize) -> Option<View<'_>> {
        let entry = self.entry(age)?;
        Some(View {
            shape: &entry.shape,
            size: entry.size as usize,
            buffer: &self.bytes,
            start: self.start(entry),
            len: entry.len as usize,
        })
    }

    /// Returns the entries, the newest first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = TableEntry<'_>> {
        let views = (0..self.len()).filter_map(|age| self.get(age));
        views.map(|view| TableEntry {
            name: match view.shape.known() {
                Some(known) => known.as_str().as_bytes(),
                None => view.unknown_name(),
            },
            value: view.value(),
            size: view.size,
        })
    }

    /// Whether there is an entry of this age with this known name and this value.
    #[inline]
    pub(crate) fn is_known_field(&self, age: usize, known: KnownName, value: &[u8]) -> bool {
        self.entry(age).is_some_and(|entry| {
            let start = self.start(entry);
            entry.shape.known() == Some(known)
                && entry.len as usize == value.len()
                && is_same(&self.bytes[start..start + value.len()], value)
        })
    }

    /// Returns the owner's note on the entry of this age.
    pub(crate) fn note(&self, age: usize) -> Option<Note> {
        self.entry(age).map(|entry| entry.note)
    }

    pub(crate) fn set_note(&mut self, age: usize, note: Note) {
        let at = self.entries.len().checked_sub(age + 1);
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.note = note;
        }
    }

    /// "Whenever the maximum size for the dynamic table is reduced, entries are evicted from the
    /// end of the dynamic table until the size of the dynamic table is less than or equal to the
    /// maximum size." (§4.3)
    pub(crate) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict_to(max_size);
        if max_size == 0 {
            (self.entries, self.bytes, self.evicted) = (Vec::new(), Vec::new(), 0);
        }
    }

    /// Adds an entry before all others and evicts those that no longer fit (§4.4). `name` holds the
    /// bytes of the name, known or not.
    pub(crate) fn insert(&mut self, shape: Shape, name: &[u8], value: &[u8], note: Note) {
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        if size > self.max_size {
            // "It is not an error to attempt to add an entry that is larger than the maximum size;
            // an attempt to add an entry larger than the maximum size causes the table to be
            // emptied".
            self.clear();
            return;
        }
        self.evict_to(self.max_size - size);
        self.make_room(shape.stored());
        self.entries.push(Entry {
            start: self.base.wrapping_add(self.used() as u32),
            len: shape.stored() as u32,
            size: size as u32,
            shape,
            note,
        });
        self.bytes.truncate(self.used());
        if shape.known().is_none() {
            self.bytes.extend_from_slice(name);
        }
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(&[0; CHUNK]);
        self.size += size;
        self.inserted = self.inserted.wrapping_add(1);
    }

    /// Evicts all entries.
    pub(crate) fn clear(&mut self) {
        self.evict_to(0);
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.entries.get(self.evicted)
        {
            self.size -= oldest.size as usize;
            self.evicted += 1;
        }
    }

    /// Returns the bytes of entries in the buffer, including evicted ones.
    fn used(&self) -> usize {
        self.bytes.len().saturating_sub(CHUNK)
    }

    /// Frees the memory of evicted entries, and what was kept for more.
    pub(crate) fn release_memory(&mut self) {
        let dead = self.dead_bytes();
        self.bytes.drain(..dead);
        self.bytes.shrink_to_fit();
        self.base = self.base.wrapping_add(dead as u32);
        self.entries.drain(..self.evicted);
        self.entries.shrink_to_fit();
        self.evicted = 0;
    }

    /// Adds the table's sizes and entries, without the owner's notes.
    pub(crate) fn pack(&self, out: &mut Packer) {
        out.number(self.max_size as u64);
        // With the entries, the number of those before them: numbers stay the same.
        out.number(self.inserted.wrapping_sub(self.len() as u32).into());
        out.number(self.len() as u64);
        for entry in &self.entries[self.evicted..] {
            let start = self.start(entry);
            out.bytes(&self.bytes[start..start + entry.len as usize]);
            entry.shape.pack(out);
        }
    }

    /// Makes a table whose notes `note` makes.
    pub(crate) fn unpack(input: &mut Unpacker<'_>, note: impl Fn(&Field<'_>) -> Note) -> Self {
        let mut table = Self::new(input.size());
        table.inserted = input.number32();
        let len = input.size();
        table.entries.reserve_exact(len);
        for _ in 0..len {
            let bytes = input.bytes();
            let shape = Shape::unpack(input, bytes.len());
            let (name, value) = bytes.split_at(bytes.len().saturating_sub(shape.value_len()));
            let known = shape.known();
            let field = Field {
                known,
                name: known.map_or(name, |known| known.as_str().as_bytes()),
                value,
                never_indexed: false,
            };
            table.insert(shape, field.name, value, note(&field));
        }
        table
    }

    /// Returns the bytes of evicted entries in the buffer.
    fn dead_bytes(&self) -> usize {
        match self.entries.get(self.evicted) {
            Some(oldest) => self.start(oldest),
            None => self.used(),
        }
    }

    /// Moves the entries and their bytes up if that is cheaper than growing the memory.
    fn make_room(&mut self, len: usize) {
        let dead = self.dead_bytes();
        let full = self.bytes.len() + len > self.bytes.capacity();
        if is_worth_it(dead, self.used() - dead, SLACK_BYTES, full) {
            self.bytes.drain(..dead);
            self.base = self.base.wrapping_add(dead as u32);
        }
        let full = self.entries.len() == self.entries.capacity();
        if is_worth_it(self.evicted, self.len(), SLACK, full) {
            self.entries.drain(..self.evicted);
            self.evicted = 0;
        }
    }
}

/// Whether two strings of the same length are equal. Most are short, and comparing them in words
/// takes no call. The last word may overlap with the one before it.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match a.len() {
        4..8 => {
            a.first_chunk::<4>() == b.first_chunk::<4>()
                && a.last_chunk::<4>() == b.last_chunk::<4>()
        }
        8..=CHUNK => {
            let mut words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            a.last_chunk::<8>() == b.last_chunk::<8>() && words.all(|(a, b)| a == b)
        }
        _ => a == b,
    }
}

/// Whether to move the live part up over the dead part. The dead part is larger, so it pays for the
/// move.
fn is_worth_it(dead: usize, alive: usize, slack: usize, full: bool) -> bool {
    dead > alive && (full || dead - alive >= slack)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::KnownName;
    use proptest::prelude::*;

    fn listed(table: &DynamicTable<()>) -> Vec<(String, String)> {
        (0..table.len())
            .map(|age| {
                let view = table.get(age).expect("an entry");
                let name = match view.shape.known() {
                    Some(known) => known.as_str().to_owned(),
                    None => String::from_utf8_lossy(view.unknown_name()).into_owned(),
                };
                assert_eq!(name.len() + view.value().len(), view.shape.byte_len());
                (name, String::from_utf8_lossy(view.value()).into_owned())
            })
            .collect()
    }

    fn insert(table: &mut DynamicTable<()>, name: &str, value: &str) {
        let known = KnownName::of(name.as_bytes());
        let shape = Shape::new(known, name.len(), value.len(), false);
        table.insert(shape, name.as_bytes(), value.as_bytes(), ());
    }

    #[test]
    fn strings_are_compared_to_their_last_byte() {
        for len in 0..70 {
            let a: Vec<u8> = (0..len).collect();
            assert!(is_same(&a, &a.clone()));
            for i in 0..a.len() {
                let mut b = a.clone();
                b[i] ^= 0x80;
                assert!(!is_same(&a, &b), "byte {i} of {len}");
            }
        }
    }

    #[test]
    fn nothing_is_allocated_before_the_first_entry() {
        let table = DynamicTable::<()>::new(65_536);
        assert_eq!((table.bytes.capacity(), table.entries.capacity()), (0, 0));
    }

    #[test]
    fn an_entry_too_large_empties_the_table() {
        let mut table = DynamicTable::new(100);
        insert(&mut table, "host", "a");
        insert(&mut table, "name", &"v".repeat(64));
        assert_eq!(table.size(), 100, "an entry of just the maximum size fits");
        insert(&mut table, "name", &"v".repeat(65));
        assert_eq!((table.size(), table.len()), (0, 0));
    }

    #[test]
    fn a_smaller_maximum_evicts_the_oldest() {
        let mut table = DynamicTable::new(4096);
        for value in ["1", "2", "3"] {
            insert(&mut table, "name", value);
        }
        table.set_max_size(2 * 37);
        assert_eq!(
            listed(&table),
            [("name".into(), "3".into()), ("name".into(), "2".into())]
        );
        table.set_max_size(0);
        assert_eq!((table.len(), table.bytes.capacity()), (0, 0));
        table.set_max_size(100);
        insert(&mut table, "name", "4");
        assert_eq!(listed(&table), [("name".into(), "4".into())]);
    }

    proptest! {
        /// Compares the table with the simplest implementation of §4.
        #[test]
        fn it_is_a_queue_bounded_by_size(
            steps in proptest::collection::vec((0..200_usize, 0..300_usize, proptest::option::weighted(0.1, 0..600_usize)), 0..200)
        ) {
            let mut table = DynamicTable::new(600);
            let mut model: VecDeque<(String, String)> = VecDeque::new();
            let size = |model: &VecDeque<(String, String)>| {
                model.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>()
            };
            for (step, (name_len, value_len, resize)) in steps.into_iter().enumerate() {
                if let Some(max_size) = resize {
                    table.set_max_size(max_size);
                }
                let name = if name_len < 20 { "content-length".to_owned() } else { format!("{step:x<name_len$}") };
                let value = format!("{step:y<value_len$}");
                insert(&mut table, &name, &value);
                model.push_front((name, value));
                while size(&model) > table.max_size() {
                    model.pop_back();
                }
                prop_assert_eq!(table.size(), size(&model));
                prop_assert_eq!(listed(&table), Vec::from(model.clone()));
                prop_assert!(table.bytes.capacity() <= 4 * 600);
                prop_assert!(table.entries.capacity() <= 4 * 600 / 32);
            }
        }
    }
}
