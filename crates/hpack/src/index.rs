//! Where the encoder finds a field in its dynamic table.
//!
//! Buckets hold the number of the newest entry with a hash, and each entry's [`Note`] the number of the next older one in its
//! bucket. An entry that was evicted ends the chain: all behind it are older. So eviction touches nothing here.

use crate::KnownName;
use crate::dynamic_table::{DynamicTable, View};
use crate::known::KNOWN_NAMES;

/// What an entry of the encoder's table remembers.
#[derive(Clone, Copy)]
pub(crate) struct Note {
    hash: u32,
    /// The number of the next older entry in the same bucket of fields.
    older_field: u32,
    /// The number of the next older entry in the same bucket of names.
    older_name: u32,
}

/// Buckets for unknown names. A power of two.
const NAME_BUCKETS: usize = 32;

/// Hashes of recent volatile fields that are remembered. A power of two.
const RECENT: usize = 64;

/// Finds entries of a [`DynamicTable`] by name and value.
pub(crate) struct Index {
    /// Newest entry by known name.
    by_known: [u32; KNOWN_NAMES],
    /// Newest entry by the hash of a name that isn't known.
    by_name: [u32; NAME_BUCKETS],
    /// Newest entry by the hash of name and value. The length is a power of two.
    by_field: Box<[u32]>,
    /// Hashes of volatile fields that were sent without being indexed.
    recent: [u32; RECENT],
}

impl Index {
    /// An index for a table of up to so many octets.
    pub(crate) fn new(table_size: usize) -> Self {
        let buckets = (table_size / 32).next_power_of_two().clamp(16, 2048);
        Self {
            by_known: [0; KNOWN_NAMES],
            by_name: [0; NAME_BUCKETS],
            by_field: vec![0; buckets].into_boxed_slice(),
            recent: [0; RECENT],
        }
    }

    /// The age of the newest entry with this known name, if it has this value.
    #[inline]
    pub(crate) fn newest_is(
        &self,
        table: &DynamicTable<Note>,
        known: KnownName,
        value: &[u8],
    ) -> Option<usize> {
        let age = age(table, self.by_known[usize::from(known.0)]);
        table
            .get(age)
            .filter(|entry| entry.octets == value)
            .map(|_| age)
    }

    /// The age of the newest entry with this name and value.
    pub(crate) fn find_field(
        &self,
        table: &DynamicTable<Note>,
        hash: u32,
        known: Option<KnownName>,
        name: &[u8],
        value: &[u8],
    ) -> Option<usize> {
        let newest = self.by_field[hash as usize & (self.by_field.len() - 1)];
        chain(table, newest, |note| note.older_field)
            .find(|(_, note, entry)| {
                note.hash == hash && has_name(entry, known, name) && entry.value() == value
            })
            .map(|(age, ..)| age)
    }

    /// The age of the newest entry with this name.
    pub(crate) fn find_name(
        &self,
        table: &DynamicTable<Note>,
        known: Option<KnownName>,
        name: &[u8],
    ) -> Option<usize> {
        let newest = match known {
            Some(known) => self.by_known[usize::from(known.0)],
            None => self.by_name[name_bucket(name)],
        };
        chain(table, newest, |note| note.older_name)
            .find(|(_, _, entry)| has_name(entry, known, name))
            .map(|(age, ..)| age)
    }

    /// Inserts a field in the table so that it is found again. The field must fit.
    pub(crate) fn insert(
        &mut self,
        table: &mut DynamicTable<Note>,
        hash: u32,
        known: Option<KnownName>,
        name: &[u8],
        value: &[u8],
    ) {
        let field_bucket = hash as usize & (self.by_field.len() - 1);
        let field = &mut self.by_field[field_bucket];
        let name_newest = match known {
            Some(known) => &mut self.by_known[usize::from(known.0)],
            None => &mut self.by_name[name_bucket(name)],
        };
        let note = Note {
            hash,
            older_field: *field,
            older_name: *name_newest,
        };
        table.insert(known, name, value, note);
        *field = table.inserted();
        *name_newest = table.inserted();
    }

    /// Whether a field with this hash was asked about lately.
    pub(crate) fn seen(&mut self, hash: u32) -> bool {
        let place = &mut self.recent[hash as usize & (RECENT - 1)];
        std::mem::replace(place, hash) == hash
    }
}

/// The age of the entry with this number; more than any entry's when it was evicted.
#[inline]
fn age(table: &DynamicTable<Note>, number: u32) -> usize {
    table.inserted().wrapping_sub(number) as usize
}

/// The entries of a chain, newest first.
fn chain(
    table: &DynamicTable<Note>,
    newest: u32,
    older: fn(&Note) -> u32,
) -> impl Iterator<Item = (usize, Note, View<'_>)> {
    let mut number = newest;
    let mut min_age = 0;
    std::iter::from_fn(move || {
        let age = age(table, number);
        // Ages only rise, even if numbers that wrapped around make a stale one look alive.
        if age < min_age {
            return None;
        }
        min_age = age + 1;
        let (note, entry) = (table.note(age)?, table.get(age)?);
        number = older(&note);
        Some((age, note, entry))
    })
}

fn has_name(entry: &View<'_>, known: Option<KnownName>, name: &[u8]) -> bool {
    entry.known == known && (known.is_some() || entry.unknown_name() == name)
}

fn name_bucket(name: &[u8]) -> usize {
    hash_octets(0, name) as usize & (NAME_BUCKETS - 1)
}

/// The hash of a field.
#[inline]
pub(crate) fn hash(known: Option<KnownName>, name: &[u8], value: &[u8]) -> u32 {
    let name = match known {
        Some(known) => u64::from(known.0),
        None => u64::from(hash_octets(0, name)) << 8,
    };
    hash_octets(name, value)
}

/// Eight octets a step. Chains are never longer than the table, so that a peer who makes hashes collide gains little.
fn hash_octets(seed: u64, octets: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = (state ^ word).wrapping_mul(FACTOR);
        product ^ (product >> 32)
    };
    let mut state = mix(seed, octets.len() as u64);
    let (words, tail) = octets.as_chunks::<8>();
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
