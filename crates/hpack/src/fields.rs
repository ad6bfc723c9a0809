//! A list of fields, kept flat: all octets in one buffer, a small record per field.

use crate::KnownName;

/// A list of header or trailer fields in the order of the message, pseudo-fields first.
///
/// All octets live in one buffer, so a list costs two allocations, not two per field, and none when it is reused
/// after [`Fields::clear`]. A list holds less than 4 GiB; a field that would go beyond that is not kept.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// A bit for the known names that are there, which two names share, so that most names that aren't cost no walk over the list.
    present: u64,
    /// Bytes of all names and values.
    octets: u32,
}

/// A field without its octets.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// Octets of the name, known or not.
    name_len: u32,
    value_len: u32,
    known: Option<KnownName>,
    never_indexed: bool,
}

impl Shape {
    #[inline]
    pub(crate) const fn new(
        known: Option<KnownName>,
        name_len: usize,
        value_len: usize,
        never_indexed: bool,
    ) -> Self {
        Self {
            name_len: name_len as u32,
            value_len: value_len as u32,
            known,
            never_indexed,
        }
    }

    #[inline]
    pub(crate) fn known(&self) -> Option<KnownName> {
        self.known
    }

    #[inline]
    pub(crate) const fn value_len(&self) -> usize {
        self.value_len as usize
    }

    /// Octets of name and value.
    #[inline]
    pub(crate) const fn octets(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }

    /// Octets that are stored of the field: the name unless it is known, and the value.
    pub(crate) fn stored(&self) -> usize {
        match self.known {
            Some(_) => self.value_len as usize,
            None => self.octets(),
        }
    }
}

/// A field, and where its octets are: the name unless it is known, then the value.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    shape: Shape,
}

impl Entry {
    /// Name and value if the name is known and the field isn't marked never-indexed.
    #[inline]
    pub(crate) fn known<'a>(&self, bytes: &'a [u8]) -> Option<(KnownName, &'a [u8])> {
        if self.shape.never_indexed {
            return None;
        }
        let known = self.shape.known?;
        let start = self.start as usize;
        Some((known, &bytes[start..start + self.shape.value_len()]))
    }

    #[inline]
    pub(crate) fn view<'a>(&self, bytes: &'a [u8]) -> Field<'a> {
        let octets = &bytes[self.start as usize..];
        let (name, octets) = match self.shape.known {
            Some(known) => (known.as_str().as_bytes(), octets),
            None => octets.split_at(self.shape.name_len as usize),
        };
        Field {
            known: self.shape.known,
            name,
            value: &octets[..self.shape.value_len()],
            never_indexed: self.shape.never_indexed,
        }
    }
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
            present: 0,
            octets: 0,
        }
    }

    /// Bytes of memory that the list uses, about: what it stores, not what it has room for.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
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
        self.present = 0;
        self.octets = 0;
    }

    /// Appends a field. The name is recognised if it is a known one; it must be in lower case.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        self.append(KnownName::of(name), name, value.as_ref(), false);
    }

    /// Appends a field with a known name: cheaper than [`Fields::push`].
    pub fn push_known(&mut self, name: KnownName, value: impl AsRef<[u8]>) {
        self.append(Some(name), name.as_str().as_bytes(), value.as_ref(), false);
    }

    /// Appends a field as it is, with its never-indexed mark. When the field says that its name is known, that counts and
    /// not the name's octets.
    pub fn push_field(&mut self, field: Field<'_>) {
        match field.known {
            Some(known) => self.append(
                Some(known),
                known.as_str().as_bytes(),
                field.value,
                field.never_indexed,
            ),
            None => self.append(
                KnownName::of(field.name),
                field.name,
                field.value,
                field.never_indexed,
            ),
        }
    }

    #[inline]
    fn append(&mut self, known: Option<KnownName>, name: &[u8], value: &[u8], never_indexed: bool) {
        let start = self.bytes.len();
        if name.len() + value.len() > self.room() {
            return;
        }
        if known.is_none() {
            self.bytes.extend_from_slice(name);
        }
        self.bytes.extend_from_slice(value);
        self.commit(
            start,
            Shape::new(known, name.len(), value.len(), never_indexed),
        );
    }

    /// Octets that there still is a place for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        (u32::MAX as usize).saturating_sub(self.bytes.len())
    }

    /// The fields as they are stored, and their octets.
    pub(crate) fn stored(&self) -> (&[Entry], &[u8]) {
        (&self.entries, &self.bytes)
    }

    /// The octets of all fields. The decoder builds a field at the end of them, and then either commits it or truncates.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a field of the octets from `start` on: the name unless it is known, then the value. There was [`Fields::room`]
    /// for them.
    #[inline]
    pub(crate) fn commit(&mut self, start: usize, shape: Shape) {
        let start = start as u32;
        self.present |= shape.known.map_or(0, bit);
        self.octets += shape.octets() as u32;
        self.entries.push(Entry { start, shape });
    }

    /// The field at this place.
    pub fn at(&self, index: usize) -> Option<Field<'_>> {
        self.entries.get(index).map(|entry| entry.view(&self.bytes))
    }

    /// The fields in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            entries: self.entries.iter(),
            bytes: &self.bytes,
        }
    }

    /// The first value of the field with this (lower-case) name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        match KnownName::of(name) {
            Some(known) => self.get_known(known),
            None => self
                .iter()
                .find(|field| field.name == name)
                .map(|field| field.value),
        }
    }

    /// The first value of the field with this known name: cheaper than [`Fields::get`].
    pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
        if self.present & bit(name) == 0 {
            return None;
        }
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.shape.known == Some(name))?;
        Some(entry.view(&self.bytes).value)
    }

    /// Octets of all names and values together: what HTTP/1.1 would send, less its punctuation.
    pub fn octets(&self) -> usize {
        self.octets as usize
    }

    /// The size that RFC 9113 §10.5.1 counts: all octets, and 32 for each field.
    pub fn list_size(&self) -> usize {
        self.octets() + 32 * self.len()
    }
}

/// A known name's bit.
#[inline]
fn bit(name: KnownName) -> u64 {
    1 << (name.number() % 64)
}

/// The fields of a list in order. See [`Fields::iter`].
#[derive(Clone)]
pub struct Iter<'a> {
    entries: std::slice::Iter<'a, Entry>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        self.entries.next().map(|entry| entry.view(self.bytes))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.entries.size_hint()
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a Fields {
    type Item = Field<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(list: T) -> Self {
        let mut fields = Self::new();
        for (name, value) in list {
            fields.push(name, value);
        }
        fields
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, value) = (self.name.escape_ascii(), self.value.escape_ascii());
        let mark = if self.never_indexed {
            " (never indexed)"
        } else {
            ""
        };
        write!(f, "{name}: {value}{mark}")
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_order_and_octets() {
        let mut fields = Fields::with_capacity(3, 30);
        fields.push_known(KnownName::METHOD, "GET");
        fields.push("x-trace", "1");
        fields.push("cookie", "a");
        fields.push("cookie", "b");
        assert_eq!(fields.len(), 4);
        assert_eq!(fields.octets(), 7 + 3 + 7 + 1 + 6 + 1 + 6 + 1);
        assert_eq!(fields.list_size(), fields.octets() + 4 * 32);
        assert_eq!(fields.bytes, b"GETx-trace1ab", "known names aren't stored");

        let listed: Vec<_> = fields
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(listed[0], (&b":method"[..], &b"GET"[..]));
        assert_eq!(listed[1], (&b"x-trace"[..], &b"1"[..]));
        assert_eq!(fields.get("cookie"), Some(&b"a"[..]));
        assert_eq!(fields.get_known(KnownName::COOKIE), Some(&b"a"[..]));
        assert_eq!(fields.get("x-trace"), Some(&b"1"[..]));
        assert_eq!(fields.get("x-other"), None);
        assert_eq!(
            fields.at(3).map(|field| field.known),
            Some(Some(KnownName::COOKIE))
        );
        assert!(fields.at(4).is_none());

        fields.clear();
        assert!(fields.is_empty());
        assert_eq!((fields.octets(), fields.iter().len()), (0, 0));
    }

    #[test]
    fn a_field_moves_from_list_to_list() {
        let mut from = Fields::new();
        from.push("authorization", "secret");
        let mut field = from.at(0).expect("one field");
        field.never_indexed = true;
        let mut to = Fields::new();
        to.push_field(field);
        to.push_field(Field {
            known: None,
            ..field
        });
        for copy in &to {
            assert_eq!(copy, field);
        }
        assert_ne!(from, to);
    }
}
