//! A list of fields, kept flat: all octets in one buffer, a small record per field.

use crate::KnownName;

/// A list of header or trailer fields in the order of the message, pseudo-fields first.
///
/// All octets live in one buffer, so a list costs two allocations, not two per field, and none when it is reused
/// after [`Fields::clear`].
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where one field's octets are. A known name's octets are not stored.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name_len: u32,
    value_len: u32,
    /// 0 when the name is not a known one.
    known: u8,
    never_indexed: bool,
}

/// One field of a [`Fields`] list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as a number, when it is a known one.
    pub known: Option<KnownName>,
    /// The name's octets. Always lower case in a message that passed validation.
    pub name: &'a [u8],
    /// The value's octets.
    pub value: &'a [u8],
    /// Whether the sender marked it never-indexed (RFC 7541 §6.2.3); it is sent on the same way.
    pub never_indexed: bool,
}

impl Fields {
    /// An empty list. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty list with room for so many fields and octets.
    pub fn with_capacity(fields: usize, octets: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(octets),
            entries: Vec::with_capacity(fields),
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    /// Appends a field. The name is recognised if it is a known one; it must be in lower case.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let _ = (name.as_ref(), value.as_ref());
        todo!()
    }

    /// Appends a field with a known name: cheaper than [`Fields::push`].
    pub fn push_known(&mut self, name: KnownName, value: impl AsRef<[u8]>) {
        let _ = (name, value.as_ref());
        todo!()
    }

    /// Appends a field as it is, with its never-indexed mark.
    pub fn push_field(&mut self, field: Field<'_>) {
        let _ = field;
        todo!()
    }

    /// The field at this place.
    pub fn at(&self, index: usize) -> Option<Field<'_>> {
        let _ = (
            index,
            self.entries
                .first()
                .map(|e| (e.start, e.name_len, e.value_len, e.known, e.never_indexed)),
        );
        todo!()
    }

    /// The fields in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            fields: self,
            next: 0,
        }
    }

    /// The first value of the field with this (lower-case) name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let _ = name.as_ref();
        todo!()
    }

    /// The first value of the field with this known name: cheaper than [`Fields::get`].
    pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
        let _ = name;
        todo!()
    }

    /// Octets of all names and values together: what HTTP/1.1 would send, less its punctuation.
    pub fn octets(&self) -> usize {
        todo!()
    }

    /// The size that RFC 9113 §10.5.1 counts: all octets, and 32 for each field.
    pub fn list_size(&self) -> usize {
        self.octets() + 32 * self.len()
    }
}

/// The fields of a list in order. See [`Fields::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    fields: &'a Fields,
    next: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let field = self.fields.at(self.next)?;
        self.next += 1;
        Some(field)
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = Field<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|field| {
                (
                    String::from_utf8_lossy(field.name).into_owned(),
                    String::from_utf8_lossy(field.value).into_owned(),
                )
            }))
            .finish()
    }
}
