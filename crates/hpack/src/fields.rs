//! A list of fields: all bytes in one buffer, a small record per field.

use crate::{KnownName, KnownNames, Packer, Unpacker};

/// A list of header or trailer fields in the order of the message, pseudo-fields first.
///
/// All bytes live in one buffer, so a list costs two allocations, not two per field, and none when
/// it is reused after [`Fields::clear`]. A list holds less than 4 GiB; a field that would go beyond
/// that is not kept.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The known names in the list. A lookup of another known name doesn't walk the list.
    present: KnownNames,
    /// The bytes of all names and values.
    byte_len: u32,
    /// Whether the verdict on a field is open.
    is_open: bool,
}

/// A place behind some fields of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of those fields.
    pub(crate) len: u32,
    /// The known names among them.
    pub(crate) present: KnownNames,
    /// The bytes of all their names and values.
    byte_len: u32,
    /// The bytes that are stored for them.
    stored: u32,
}

/// A field without its bytes.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    /// The length of the name in bytes, known or not.
    name_len: u32,
    value_len: u32,
    known: Option<KnownName>,
    never_indexed: bool,
    verdict: Verdict,
}

/// Whether a field has passed the check of [`Decoder::with_check`](crate::Decoder::with_check).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// The check failed, or there was none.
    Open,
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
            verdict: Verdict::Open,
        }
    }

    /// Returns the same shape with this verdict.
    #[inline]
    pub(crate) const fn judged(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    #[inline]
    pub(crate) fn known(&self) -> Option<KnownName> {
        self.known
    }

    #[inline]
    pub(crate) const fn value_len(&self) -> usize {
        self.value_len as usize
    }

    /// Returns the bytes of name and value.
    #[inline]
    pub(crate) const fn byte_len(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }

    /// Adds what the field's bytes don't say.
    pub(crate) fn pack(&self, out: &mut Packer) {
        let known = self.known.map_or(0, |known| 1 + u64::from(known.number()));
        let has_passed = self.verdict == Verdict::Passed;
        out.number(known << 2 | u64::from(self.never_indexed) << 1 | u64::from(has_passed));
        out.number(self.value_len.into());
    }

    /// Returns the shape of a field for which `stored` bytes are stored.
    pub(crate) fn unpack(input: &mut Unpacker<'_>, stored: usize) -> Self {
        let (bits, value_len) = (input.number(), input.size());
        let known = (bits >> 2).checked_sub(1);
        let known = known.map(|number| KnownName::numbered(number as u8));
        let name_len = known.map_or(stored.saturating_sub(value_len), |known| {
            known.as_str().len()
        });
        let verdict = if bits & 1 == 0 {
            Verdict::Open
        } else {
            Verdict::Passed
        };
        Self::new(known, name_len, value_len, bits & 2 != 0).judged(verdict)
    }

    /// Returns the bytes stored for the field: the name unless it is known, and the value.
    #[inline]
    pub(crate) fn stored(&self) -> usize {
        match self.known {
            Some(_) => self.value_len as usize,
            None => self.byte_len(),
        }
    }
}

/// A field, with the place of its bytes: the name unless it is known, then the value.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    shape: Shape,
}

impl Entry {
    /// Returns name and value if the name is known and the field isn't marked never-indexed.
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
        let rest = &bytes[self.start as usize..];
        let (name, rest) = match self.shape.known {
            Some(known) => (known.as_str().as_bytes(), rest),
            None => rest.split_at(self.shape.name_len as usize),
        };
        Field {
            known: self.shape.known,
            name,
            value: &rest[..self.shape.value_len()],
            never_indexed: self.shape.never_indexed,
        }
    }
}

/// One field of a [`Fields`] list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as a number, if it has one.
    pub known: Option<KnownName>,
    /// The name's bytes. Always lower case in a message that passed validation.
    pub name: &'a [u8],
    /// The value's bytes.
    pub value: &'a [u8],
    /// Whether the sender marked the field never-indexed (RFC 7541 §6.2.3). An encoder keeps the
    /// mark.
    pub never_indexed: bool,
}

impl Fields {
    /// Makes an empty list. Allocates nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an empty list with room for `fields` fields of `bytes` bytes in total.
    pub fn with_capacity(fields: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            entries: Vec::with_capacity(fields),
            present: KnownNames::default(),
            byte_len: 0,
            is_open: false,
        }
    }

    /// Returns the approximate memory of the list's contents in bytes, without spare capacity.
    pub fn memory(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Returns the memory that the list has allocated in bytes, with spare capacity.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Returns the number of fields.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Removes all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.present = KnownNames::default();
        self.byte_len = 0;
        self.is_open = false;
    }

    /// Appends a field. The name must be in lower case; a known name is recognised.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let name = name.as_ref();
        self.append(KnownName::of(name), name, value.as_ref(), false);
    }

    /// Appends a field with a known name: cheaper than [`Fields::push`].
    pub fn push_known(&mut self, name: KnownName, value: impl AsRef<[u8]>) {
        self.append(Some(name), name.as_str().as_bytes(), value.as_ref(), false);
    }

    /// Appends a field with a known name, whose value is made of these parts.
    pub fn push_parts(&mut self, name: KnownName, parts: &[&[u8]]) {
        let start = self.bytes.len();
        let len = parts.iter().map(|part| part.len()).sum();
        if len > self.room() {
            return;
        }
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let name_len = name.as_str().len();
        self.commit(start, Shape::new(Some(name), name_len, len, false));
    }

    /// Appends a field unchanged, with its never-indexed mark. If [`Field::known`] is set, it
    /// decides the name, not [`Field::name`].
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

    /// Returns the number of bytes that the list can still take.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        (u32::MAX as usize).saturating_sub(self.bytes.len())
    }

    /// Returns the fields as they are stored, and their bytes.
    pub(crate) fn stored(&self) -> (&[Entry], &[u8]) {
        (&self.entries, &self.bytes)
    }

    /// Returns the bytes of all fields. The decoder appends a field to them, and then either
    /// commits or truncates it.
    #[inline]
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Makes a field of the bytes from `start` on: the name unless it is known, then the value.
    /// The bytes must have fitted into [`Fields::room`].
    #[inline]
    pub(crate) fn commit(&mut self, start: usize, shape: Shape) {
        let start = start as u32;
        if let Some(known) = shape.known {
            self.present.insert(known);
        }
        self.byte_len += shape.byte_len() as u32;
        self.is_open |= shape.verdict == Verdict::Open;
        self.entries.push(Entry { start, shape });
    }

    /// Returns the place behind all fields so far.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place {
            len: self.len() as u32,
            present: self.present,
            byte_len: self.byte_len,
            stored: self.bytes.len() as u32,
        }
    }

    /// Returns the size, as RFC 9113 §10.5.1 counts it, of the fields behind a place of this list.
    pub(crate) fn size_behind(&self, place: &Place) -> usize {
        (self.byte_len - place.byte_len) as usize + 32 * (self.len() - place.len as usize)
    }

    /// Appends the fields behind a place of another list, which has fields of the same names before
    /// that place as this list has.
    pub(crate) fn append_behind(&mut self, other: &Self, place: &Place) {
        let moved = (self.bytes.len() as u32).wrapping_sub(place.stored);
        self.bytes
            .extend_from_slice(&other.bytes[place.stored as usize..]);
        let behind = &other.entries[place.len as usize..];
        self.entries.extend(behind.iter().map(|entry| Entry {
            start: entry.start.wrapping_add(moved),
            shape: entry.shape,
        }));
        self.present = other.present;
        self.byte_len += other.byte_len - place.byte_len;
        // The verdict may be open on a field before the place only.
        let is_open = |entry: &Entry| entry.shape.verdict == Verdict::Open;
        self.is_open |= other.is_open && behind.iter().any(is_open);
    }

    /// Whether the list has a field with this name.
    #[inline]
    pub(crate) fn has(&self, name: KnownName) -> bool {
        self.present.contains(name)
    }

    /// Returns the field at this place, counted from 0.
    pub fn at(&self, index: usize) -> Option<Field<'_>> {
        self.entries.get(index).map(|entry| entry.view(&self.bytes))
    }

    /// Returns the value of the field at this place: cheaper than [`Fields::at`].
    #[inline]
    pub fn value_at(&self, index: usize) -> Option<&[u8]> {
        let Entry { start, shape } = self.entries.get(index)?;
        let end = *start as usize + shape.stored();
        Some(&self.bytes[end - shape.value_len()..end])
    }

    /// Whether the list has a field with one of these names.
    #[inline]
    pub fn has_any(&self, names: KnownNames) -> bool {
        self.present.meets(names)
    }

    /// Whether all fields have passed the check of the decoder that made the list
    /// ([`Decoder::with_check`](crate::Decoder::with_check)), and none was added since.
    #[inline]
    pub fn all_passed(&self) -> bool {
        !self.is_open
    }

    /// Returns the names of the fields that have a number, in order, and `None` for each other
    /// field: cheaper than [`Fields::iter`].
    pub fn known_names(&self) -> impl Iterator<Item = Option<KnownName>> {
        self.entries.iter().map(|entry| entry.shape.known)
    }

    /// Returns the fields in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            entries: self.entries.iter(),
            bytes: &self.bytes,
        }
    }

    /// Returns the first value of the field with this (lower-case) name.
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

    /// Returns the first value of the field with this known name: cheaper than [`Fields::get`].
    pub fn get_known(&self, name: KnownName) -> Option<&[u8]> {
        if !self.has(name) {
            return None;
        }
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.shape.known == Some(name))?;
        Some(entry.view(&self.bytes).value)
    }

    /// Returns the bytes of all names and values: what HTTP/1.1 would send, without punctuation.
    pub fn byte_len(&self) -> usize {
        self.byte_len as usize
    }

    /// Returns the size in bytes that RFC 9113 §10.5.1 counts: names, values, and 32 for each
    /// field.
    pub fn list_size(&self) -> usize {
        self.byte_len() + 32 * self.len()
    }
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
    fn a_list_keeps_order_and_bytes() {
        let mut fields = Fields::with_capacity(3, 30);
        fields.push_known(KnownName::METHOD, "GET");
        fields.push("x-trace", "1");
        fields.push("cookie", "a");
        fields.push("cookie", "b");
        assert_eq!(fields.len(), 4);
        assert_eq!(fields.byte_len(), 7 + 3 + 7 + 1 + 6 + 1 + 6 + 1);
        assert_eq!(fields.list_size(), fields.byte_len() + 4 * 32);
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
        assert_eq!((fields.byte_len(), fields.iter().len()), (0, 0));
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
