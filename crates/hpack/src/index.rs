//! The encoder's index of its dynamic table.
//!
//! A bucket holds the number of the newest entry with a hash, and each entry's [`Note`] the number
//! of the next older entry in its bucket. An evicted entry ends the chain, because all entries
//! after it are older. So eviction changes nothing here.

use crate::dynamic_table::{DynamicTable, ENTRY_OVERHEAD, View};
use crate::fields::Shape;
use crate::{Field, KnownName};

/// The encoder's note on an entry of its table.
#[derive(Clone, Copy)]
pub(crate) struct Note {
    hash: u32,
    /// The number of the next older entry in the same bucket of fields.
    older_field: u32,
    /// The number of the next older entry in the same bucket of names.
    older_name: u32,
}

impl Note {
    /// Returns the note of an entry that isn't linked yet; [`Index::of`] does that.
    pub(crate) fn unlinked(field: &Field<'_>) -> Self {
        Self {
            hash: key(field.known, field.name, field.value).hash,
            older_field: 0,
            older_name: 0,
        }
    }
}

/// A known name's slot is its number, below 128; all other names share the remaining slots.
pub(crate) const SLOTS: usize = 256;

/// The slot and the hash by which a field is looked up.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    /// The name's slot.
    pub(crate) slot: u8,
    /// The hash of name and value.
    pub(crate) hash: u32,
}

/// Finds entries of a [`DynamicTable`] by name and value.
pub(crate) struct Index {
    /// The newest entry by the name's slot.
    by_name: [u32; SLOTS],
    /// The newest entry by the hash of name and value. The length is a power of two.
    by_field: Box<[u32]>,
}

impl Index {
    /// Makes an index for a table of up to `table_size` bytes.
    pub(crate) fn new(table_size: usize) -> Self {
        let buckets = (table_size / ENTRY_OVERHEAD)
            .next_power_of_two()
            .clamp(16, 2048);
        Self {
            by_name: [0; SLOTS],
            by_field: vec![0; buckets].into_boxed_slice(),
        }
    }

    /// Makes the index of a table whose entries have notes, and links these anew.
    pub(crate) fn of(table: &mut DynamicTable<Note>) -> Self {
        let mut index = Self::new(table.max_size());
        for age in (0..table.len()).rev() {
            if let (Some(entry), Some(note)) = (table.get(age), table.note(age)) {
                let slot = slot(entry.shape.known(), entry.unknown_name());
                let number = table.inserted().wrapping_sub(age as u32);
                table.set_note(age, index.put(slot, note.hash, number));
            }
        }
        index
    }

    /// Makes `number` the newest entry in its buckets. Returns its note.
    fn put(&mut self, slot: u8, hash: u32, number: u32) -> Note {
        let bucket = self.bucket(hash);
        let by_name = &mut self.by_name[usize::from(slot)];
        Note {
            hash,
            older_field: std::mem::replace(&mut self.by_field[bucket], number),
            older_name: std::mem::replace(by_name, number),
        }
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.by_field.len() - 1)
    }

    /// Returns the age of the newest entry with this known name, if it has this value.
    #[inline]
    pub(crate) fn newest_is(
        &self,
        table: &DynamicTable<Note>,
        known: KnownName,
        value: &[u8],
    ) -> Option<usize> {
        // A stale number that wrapped around may be that of an entry with another name.
        let age = age(table, self.by_name[usize::from(known.number())]);
        table.is_known_field(age, known, value).then_some(age)
    }

    /// Returns the age of the newest entry with this name and value.
    pub(crate) fn find_field(
        &self,
        table: &DynamicTable<Note>,
        key: Key,
        field: &Field<'_>,
    ) -> Option<usize> {
        let newest = self.by_field[self.bucket(key.hash)];
        chain(table, newest, |note| note.older_field)
            .find(|(_, note, entry)| {
                note.hash == key.hash && has_name(entry, field) && entry.value() == field.value
            })
            .map(|(age, ..)| age)
    }

    /// Returns the age of the newest entry with this name, whose slot is `slot`.
    pub(crate) fn find_name(
        &self,
        table: &DynamicTable<Note>,
        slot: u8,
        field: &Field<'_>,
    ) -> Option<usize> {
        chain(table, self.by_name[usize::from(slot)], |note| {
            note.older_name
        })
        .find(|(_, _, entry)| has_name(entry, field))
        .map(|(age, ..)| age)
    }

    /// Inserts a field in the table and indexes it. The field must fit.
    pub(crate) fn insert(&mut self, table: &mut DynamicTable<Note>, key: Key, field: &Field<'_>) {
        let number = table.inserted().wrapping_add(1);
        let note = self.put(key.slot, key.hash, number);
        let shape = Shape::new(field.known, field.name.len(), field.value.len(), false);
        table.insert(shape, field.name, field.value, note);
    }
}

/// Returns the age of the entry with this number; more than any entry's age if it was evicted.
#[inline]
fn age(table: &DynamicTable<Note>, number: u32) -> usize {
    table.inserted().wrapping_sub(number) as usize
}

/// Returns the entries of a chain, newest first.
fn chain(
    table: &DynamicTable<Note>,
    newest: u32,
    older: fn(&Note) -> u32,
) -> impl Iterator<Item = (usize, Note, View<'_>)> {
    let mut number = newest;
    let mut min_age = 0;
    std::iter::from_fn(move || {
        let age = age(table, number);
        // Ages only rise along a chain. A stale number that wrapped around may look alive: it ends
        // here.
        if age < min_age {
            return None;
        }
        min_age = age + 1;
        let (note, entry) = (table.note(age)?, table.get(age)?);
        number = older(&note);
        Some((age, note, entry))
    })
}

fn has_name(entry: &View<'_>, field: &Field<'_>) -> bool {
    entry.shape.known() == field.known
        && (field.known.is_some() || entry.unknown_name() == field.name)
}

/// Returns the slot of a name: its number if it has one.
pub(crate) fn slot(known: Option<KnownName>, name: &[u8]) -> u8 {
    match known {
        Some(known) => known.number(),
        None => unknown_slot(hash_bytes(0, name)),
    }
}

fn unknown_slot(name_hash: u32) -> u8 {
    0x80 | name_hash as u8
}

/// Returns the key of a field.
pub(crate) fn key(known: Option<KnownName>, name: &[u8], value: &[u8]) -> Key {
    let (slot, seed) = match known {
        Some(known) => (known.number(), u32::from(known.number())),
        None => {
            let name_hash = hash_bytes(0, name);
            (unknown_slot(name_hash), name_hash)
        }
    };
    let hash = hash_bytes(u64::from(seed), value);
    Key { slot, hash }
}

/// Hashes eight bytes a step. Colliding hashes gain an attacker little, because a chain is never
/// longer than the table.
fn hash_bytes(seed: u64, bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = (state ^ word).wrapping_mul(FACTOR);
        product ^ (product >> 32)
    };
    let mut state = mix(seed, bytes.len() as u64);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        state = mix(state, u64::from_le_bytes(*word));
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        state = mix(state, u64::from_le_bytes(word));
    }
    state as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(table: &mut DynamicTable<Note>, index: &mut Index, name: &str, value: &str) {
        let field = field(name, value);
        let key = key(field.known, field.name, field.value);
        index.insert(table, key, &field);
    }

    fn field<'a>(name: &'a str, value: &'a str) -> Field<'a> {
        Field {
            known: KnownName::of(name.as_bytes()),
            name: name.as_bytes(),
            value: value.as_bytes(),
            never_indexed: false,
        }
    }

    fn found(
        table: &DynamicTable<Note>,
        index: &Index,
        name: &str,
        value: &str,
    ) -> (Option<usize>, Option<usize>) {
        let field = field(name, value);
        let key = key(field.known, field.name, field.value);
        (
            index.find_field(table, key, &field),
            index.find_name(table, key.slot, &field),
        )
    }

    #[test]
    fn every_entry_is_found_until_it_is_evicted() {
        // More entries than buckets, and more than slots for names.
        let (mut table, mut index) = (DynamicTable::new(40_000), Index::new(0));
        let name = |i: usize| {
            if i.is_multiple_of(3) {
                "vary".to_owned()
            } else {
                format!("name-{}", i % 100)
            }
        };
        for i in 0..3000 {
            insert(&mut table, &mut index, &name(i), &i.to_string());
            let oldest = i + 1 - table.len();
            for j in [i / 2, oldest.saturating_sub(1), oldest, i] {
                let alive = (j >= oldest).then_some(i - j);
                assert_eq!(found(&table, &index, &name(j), &j.to_string()).0, alive);
            }
            assert_eq!(found(&table, &index, &name(i), "another"), (None, Some(0)));
            assert_eq!(found(&table, &index, "name", &i.to_string()), (None, None));
        }
        table.clear();
        assert_eq!(found(&table, &index, "vary", "2997"), (None, None));
    }

    #[test]
    fn the_newest_of_two_is_found() {
        let (mut table, mut index) = (DynamicTable::new(4096), Index::new(4096));
        for value in ["a", "b", "a"] {
            insert(&mut table, &mut index, "x", value);
            insert(&mut table, &mut index, "vary", value);
        }
        assert_eq!(found(&table, &index, "x", "a"), (Some(1), Some(1)));
        assert_eq!(found(&table, &index, "x", "b"), (Some(3), Some(1)));
        assert_eq!(index.newest_is(&table, KnownName::VARY, b"a"), Some(0));
        assert_eq!(index.newest_is(&table, KnownName::VARY, b"b"), None);
    }

    #[test]
    fn an_entry_whose_number_wrapped_around_keeps_its_name() {
        let (mut table, mut index) = (DynamicTable::after(u32::MAX, 4096), Index::new(4096));
        insert(&mut table, &mut index, "vary", "a");
        assert_eq!(
            table.inserted(),
            0,
            "the number of names that are in no entry"
        );
        assert_eq!(index.newest_is(&table, KnownName::VARY, b"a"), Some(0));
        assert_eq!(index.newest_is(&table, KnownName::SERVER, b"a"), None);
        assert_eq!(found(&table, &index, "server", "a"), (None, None));
    }
}
