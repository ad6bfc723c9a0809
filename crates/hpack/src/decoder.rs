//! Bytes to fields.

use crate::dynamic_table::{self, DynamicTable, ENTRY_OVERHEAD, TableEntry, TableState, View};
use crate::earlier::{Earlier, Mark, WORTH};
use crate::fields::{Shape, Verdict};
use crate::{
    Alphabet, Error, Field, Fields, KnownName, Packer, Unpacker, huffman, integer, static_table,
};

/// Limits on one decoded list, checked while decoding. Fields over a limit are decoded but not
/// kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The size of the list in bytes as RFC 9113 §10.5.1 counts it: names, values and 32 for each
    /// field.
    pub max_list_size: usize,
    /// The number of fields, without cookie crumbs.
    pub max_fields: usize,
    /// The number of `cookie` fields (RFC 9113 §8.2.3 lets a client split the cookie).
    pub max_cookie_crumbs: usize,
}

/// The limit that a list exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListLimit {
    /// [`Limits::max_list_size`].
    Size,
    /// [`Limits::max_fields`].
    Fields,
    /// [`Limits::max_cookie_crumbs`].
    CookieCrumbs,
}

/// The totals of a decoded block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// The size of the list in bytes as RFC 9113 §10.5.1 counts it, including fields over a limit.
    pub list_size: usize,
    /// The number of fields in the block, including those over a limit.
    pub fields: usize,
    /// The first limit that the list exceeded. Fields from there on were not kept, but the dynamic
    /// table is in step with the peer's.
    pub over: Option<ListLimit>,
}

/// The state that the meaning of a [`Decoder`]'s blocks depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderState {
    table: TableState,
    shrink_to: Option<usize>,
}

/// Decodes the header blocks of one direction of one connection.
pub struct Decoder {
    table: DynamicTable<()>,
    /// The limit that our SETTINGS_HEADER_TABLE_SIZE sets.
    max_table_size: usize,
    /// The smallest limit set since the last block, if it is below the table's size. The next block
    /// must begin with an update to this size or less.
    shrink_to: Option<usize>,
    check: Check,
}

/// Whether a field is valid by itself. Its value has this alphabet.
pub type Check = fn(&Field<'_>, Alphabet) -> bool;

impl Decoder {
    /// Makes a decoder whose dynamic table may grow to `max_table_size` bytes, the value announced
    /// in SETTINGS_HEADER_TABLE_SIZE. The table starts at the protocol's 4,096 bytes or at that
    /// size, whichever is less.
    pub fn new(max_table_size: usize) -> Self {
        Self {
            table: DynamicTable::new(max_table_size.min(dynamic_table::INITIAL_SIZE)),
            max_table_size,
            shrink_to: None,
            check: |_, _| false,
        }
    }

    /// Has each field checked once, when it is decoded from its bytes. [`Fields::all_passed`] then
    /// says whether all fields of a list have passed. The entries of the static table that have a
    /// value must be such that they pass. Whoever trusts the verdict must know the check: lists
    /// that become requests of `tidegate-http` may have no other check than its `is_valid_alone`.
    #[must_use]
    pub fn with_check(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// Sets the SETTINGS_HEADER_TABLE_SIZE that the peer acknowledged, in bytes. After a shrink the
    /// next block must begin with a size update (RFC 7541 §4.2).
    pub fn set_max_table_size(&mut self, bytes: usize) {
        self.max_table_size = bytes;
        if bytes < self.shrink_to.unwrap_or(self.table.max_size()) {
            self.shrink_to = Some(bytes);
        }
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

    /// Returns the number of fields inserted into the dynamic table so far. It wraps around.
    pub fn inserted(&self) -> u32 {
        self.table.inserted()
    }

    /// Returns the state that blocks depend on. While it doesn't change, the same block makes the
    /// same fields.
    #[inline]
    pub fn state(&self) -> DecoderState {
        DecoderState {
            table: self.table.state(),
            shrink_to: self.shrink_to,
        }
    }

    /// Frees memory that a decoder at rest doesn't need. The next insertion takes it again.
    pub fn release_memory(&mut self) {
        self.table.release_memory();
    }

    /// Adds the state that blocks depend on.
    pub fn pack(&self, out: &mut Packer) {
        self.table.pack(out);
        out.number(self.max_table_size as u64);
        out.optional(self.shrink_to.map(|size| size as u64));
    }

    /// Makes a decoder with the state that another one has packed, but without its check.
    pub fn unpack(input: &mut Unpacker<'_>) -> Self {
        Self {
            table: DynamicTable::unpack(input, |_| ()),
            max_table_size: input.size(),
            shrink_to: input.optional().map(|size| size as usize),
            ..Self::new(0)
        }
    }

    /// Decodes one whole block and appends its fields to `fields`.
    ///
    /// # Errors
    /// Returns an error for a block that breaks RFC 7541. The decoder must not be used afterwards.
    pub fn decode(
        &mut self,
        block: &[u8],
        limits: &Limits,
        fields: &mut Fields,
    ) -> Result<Decoded, Error> {
        self.decode_after(block, limits, None, fields, &mut None)
    }

    /// Decodes a block as [`decode`](Self::decode) does. That is cheap if it differs from an
    /// earlier one in its path only. Sets the mark with which this one can be an earlier one.
    ///
    /// # Errors
    /// The same as those of [`decode`](Self::decode).
    pub fn decode_after(
        &mut self,
        block: &[u8],
        limits: &Limits,
        earlier: Option<Earlier<'_>>,
        fields: &mut Fields,
        mark: &mut Option<Mark>,
    ) -> Result<Decoded, Error> {
        let mut rest = block;
        if self.shrink_to.is_some() || block.first().is_some_and(|first| first & 0xe0 == 0x20) {
            rest = self.size_updates(rest)?;
        }
        let mut list = List::new(fields, limits);
        while !rest.is_empty() && !list.fields.has(KnownName::PATH) {
            rest = self.field(rest, &mut list)?;
        }
        if rest.len() >= WORTH {
            let here = Mark {
                left: rest.len(),
                place: list.fields.place(),
                table: self.table.state(),
            };
            if let Some(earlier) = &earlier
                && here.is_like(&earlier.mark)
                && rest == earlier.rest()
                && list.append_behind(earlier)
            {
                rest = &[];
            }
            *mark = Some(here);
        }
        while !rest.is_empty() {
            rest = self.field(rest, &mut list)?;
        }
        let decoded = list.decoded();
        if decoded.over.is_some() {
            *mark = None;
        }
        Ok(decoded)
    }

    /// Reads a field (RFC 7541 §6). Returns the rest of the block.
    #[inline(always)]
    fn field<'a>(&mut self, block: &'a [u8], list: &mut List<'_>) -> Result<&'a [u8], Error> {
        let (&first, rest) = block.split_first().ok_or(Error::Truncated)?;
        if first & 0x80 == 0 {
            return self.literal(first, rest, list);
        }
        let (index, rest) = integer::decode(first, 7, rest)?;
        self.indexed(index, list)?;
        Ok(rest)
    }

    /// Reads the size updates at the block's start (RFC 7541 §6.3). Returns what follows them.
    #[cold]
    fn size_updates<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], Error> {
        let mut rest = block;
        while let Some((&first, behind)) = rest.split_first()
            && first & 0xe0 == 0x20
        {
            let max_size;
            (max_size, rest) = integer::decode(first, 5, behind)?;
            // "The new maximum size MUST be lower than or equal to the limit determined by the
            // protocol using HPACK. A value that exceeds this limit MUST be treated as a decoding
            // error."
            if max_size > self.max_table_size {
                return Err(Error::SizeUpdateTooLarge);
            }
            // "the smallest maximum table size that occurs in that interval MUST be signaled" (RFC
            // 7541 §4.2)
            if self
                .shrink_to
                .take()
                .is_some_and(|smallest| max_size > smallest)
            {
                return Err(Error::SizeUpdateMissing);
            }
            self.table.set_max_size(max_size);
        }
        match self.shrink_to {
            Some(_) => Err(Error::SizeUpdateMissing),
            None => Ok(rest),
        }
    }

    /// Adds a field that is in a table (RFC 7541 §6.1).
    #[inline]
    fn indexed(&self, index: usize, list: &mut List<'_>) -> Result<(), Error> {
        if let Some(entry) = static_table::get(index) {
            if list.admit(Some(entry.name), usize::from(entry.size)) {
                let start = list.fields.bytes().len();
                list.fields.bytes().extend_from_slice(&entry.value);
                list.fields
                    .bytes()
                    .truncate(start + entry.shape.value_len());
                list.fields.commit(start, entry.shape);
            }
            return Ok(());
        }
        let entry = self.dynamic(index)?;
        if list.admit(entry.shape.known(), entry.size) {
            let start = list.fields.bytes().len();
            entry.append_to(list.fields.bytes());
            list.fields.commit(start, *entry.shape);
        }
        Ok(())
    }

    /// Returns the dynamic table's entry with this index.
    ///
    /// "Indices strictly greater than the sum of the lengths of both tables MUST be treated as a
    /// decoding error." (RFC 7541 §2.3.3) "The index value of 0 is not used. It MUST be treated as
    /// a decoding error" (§6.1)
    #[inline]
    fn dynamic(&self, index: usize) -> Result<View<'_>, Error> {
        let age = index.wrapping_sub(static_table::LEN + 1);
        self.table.get(age).ok_or(Error::InvalidIndex)
    }

    /// Reads a field whose value, and perhaps name, is written out (RFC 7541 §6.2). Returns the
    /// rest of the block.
    #[inline(never)]
    fn literal<'a>(
        &mut self,
        first: u8,
        rest: &'a [u8],
        list: &mut List<'_>,
    ) -> Result<&'a [u8], Error> {
        let (indexing, prefix) = match first >> 4 {
            0 => (Indexing::None, 4),
            1 => (Indexing::Never, 4),
            // "This dynamic table size update MUST occur at the beginning of the first header block
            // following the change to the dynamic table size." (RFC 7541 §4.2)
            2 | 3 => return Err(Error::SizeUpdateNotAtStart),
            _ => (Indexing::Incremental, 6),
        };
        let (index, rest) = integer::decode(first, prefix, rest)?;
        // Index 0 means that the name is written out.
        let (name, rest) = if index == 0 {
            let (text, rest) = Text::read(rest)?;
            (Name::Literal(text), rest)
        } else if let Some(entry) = static_table::get(index) {
            (Name::Known(entry.name), rest)
        } else {
            let entry = self.dynamic(index)?;
            let name = match entry.shape.known() {
                Some(known) => Name::Known(known),
                None => Name::Unknown(entry.unknown_name()),
            };
            (name, rest)
        };
        let (value, rest) = Text::read(rest)?;

        // Decode a string that fits in any case without measuring it first: the exact length of a
        // Huffman code costs a pass.
        let most = name.longest() + value.longest() + ENTRY_OVERHEAD;
        if most > list.room {
            let (name_len, value_len) = (name.len()?, value.len()?);
            let size = name_len + value_len + ENTRY_OVERHEAD;
            let in_table = indexing == Indexing::Incremental && size <= self.table.max_size();
            if size > list.room && !in_table {
                // The field is not kept anywhere, so it takes no memory at all.
                list.admit(None, size);
                if indexing == Indexing::Incremental {
                    self.table.clear();
                }
                return Ok(rest);
            }
        }

        let start = list.fields.bytes().len();
        let known = name.append_to(list.fields.bytes())?;
        let value_start = list.fields.bytes().len();
        let alphabet = value.append_to(list.fields.bytes())?;
        let bytes = &list.fields.bytes()[start..];
        let (unknown_name, value) = bytes.split_at(value_start - start);
        let name = known.map_or(unknown_name, |known| known.as_str().as_bytes());
        let never_indexed = indexing == Indexing::Never;
        let field = Field {
            known,
            name,
            value,
            never_indexed,
        };
        let verdict = if (self.check)(&field, alphabet) {
            Verdict::Passed
        } else {
            Verdict::Open
        };
        let shape = Shape::new(known, name.len(), value.len(), never_indexed).judged(verdict);
        if indexing == Indexing::Incremental {
            self.table.insert(shape, name, value, ());
        }
        if list.admit(known, shape.byte_len() + ENTRY_OVERHEAD) {
            list.fields.commit(start, shape);
        } else {
            list.fields.bytes().truncate(start);
        }
        Ok(rest)
    }
}

/// How a literal affects the dynamic table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexing {
    /// RFC 7541 §6.2.1.
    Incremental,
    /// RFC 7541 §6.2.2.
    None,
    /// RFC 7541 §6.2.3.
    Never,
}

/// The list as it grows, with what remains of its limits.
struct List<'a> {
    fields: &'a mut Fields,
    /// The number of fields that the list had before this block.
    before: usize,
    /// The number of fields allowed, including those before this block and the cookie crumbs so
    /// far.
    max_len: usize,
    /// The number of further cookie crumbs allowed.
    crumbs_left: usize,
    /// The bytes by which the list's size may still grow; 0 once it is over any limit.
    room: usize,
    /// The value of `room` at the start; 0 once the list is over a limit.
    whole: usize,
    over: Option<Over>,
}

/// The totals of a list beyond its limits.
#[derive(Clone, Copy)]
struct Over {
    limit: ListLimit,
    /// The bytes of the list's size beyond `whole - room`.
    size: usize,
    /// The number of fields that were not kept.
    fields: usize,
}

impl<'a> List<'a> {
    fn new(fields: &'a mut Fields, limits: &Limits) -> Self {
        let room = limits.max_list_size.min(fields.room());
        Self {
            before: fields.len(),
            max_len: fields.len().saturating_add(limits.max_fields),
            crumbs_left: limits.max_cookie_crumbs,
            fields,
            room,
            whole: room,
            over: None,
        }
    }

    /// Counts a field of this size and returns whether to keep it. RFC 9113 §10.5.1 counts fields
    /// as RFC 7541 §4.1 counts entries.
    #[inline]
    fn admit(&mut self, known: Option<KnownName>, size: usize) -> bool {
        let (room, too_large) = self.room.overflowing_sub(size);
        self.room = room;
        if too_large {
            return self.refuse(ListLimit::Size, size);
        }
        if known == Some(KnownName::COOKIE) {
            if self.crumbs_left == 0 {
                return self.refuse(ListLimit::CookieCrumbs, size);
            }
            self.crumbs_left -= 1;
            self.max_len = self.max_len.saturating_add(1);
        } else if self.fields.len() >= self.max_len {
            return self.refuse(ListLimit::Fields, size);
        }
        true
    }

    /// Counts a field of this size that exceeds a limit, or comes after one that did. No field is
    /// kept from here on.
    #[cold]
    fn refuse(&mut self, limit: ListLimit, size: usize) -> bool {
        let kept = self.whole - self.room.wrapping_add(size);
        (self.whole, self.room) = (0, 0);
        let over = self.over.get_or_insert(Over {
            limit,
            size: 0,
            fields: 0,
        });
        over.size = over.size.saturating_add(kept).saturating_add(size);
        over.fields += 1;
        false
    }

    /// Appends what an earlier list has behind a mark that is like the end of this one. Returns
    /// false if it doesn't fit.
    fn append_behind(&mut self, earlier: &Earlier<'_>) -> bool {
        let (other, place) = (earlier.fields, &earlier.mark.place);
        let Some(room) = self.room.checked_sub(other.size_behind(place)) else {
            return false;
        };
        self.fields.append_behind(other, place);
        self.room = room;
        true
    }

    fn decoded(&self) -> Decoded {
        let (size, fields) = (self.whole - self.room, self.fields.len() - self.before);
        match self.over {
            None => Decoded {
                list_size: size,
                fields,
                over: None,
            },
            Some(over) => Decoded {
                list_size: size.saturating_add(over.size),
                fields: fields + over.fields,
                over: Some(over.limit),
            },
        }
    }
}

/// A literal's name.
enum Name<'a> {
    Known(KnownName),
    Unknown(&'a [u8]),
    Literal(Text<'a>),
}

impl Name<'_> {
    /// Returns the largest number of bytes that the name can have.
    fn longest(&self) -> usize {
        match self {
            Self::Known(known) => known.as_str().len(),
            Self::Unknown(name) => name.len(),
            Self::Literal(text) => text.longest(),
        }
    }

    fn len(&self) -> Result<usize, Error> {
        match self {
            Self::Known(known) => Ok(known.as_str().len()),
            Self::Unknown(name) => Ok(name.len()),
            Self::Literal(text) => text.len(),
        }
    }

    /// Appends the name, or returns it if it is a known one.
    fn append_to(&self, out: &mut Vec<u8>) -> Result<Option<KnownName>, Error> {
        match self {
            Self::Known(known) => return Ok(Some(*known)),
            Self::Unknown(name) => out.extend_from_slice(name),
            Self::Literal(text) => {
                let start = out.len();
                text.append_to(out)?;
                if let Some(known) = KnownName::of(&out[start..]) {
                    out.truncate(start);
                    return Ok(Some(known));
                }
            }
        }
        Ok(None)
    }
}

/// A string literal (RFC 7541 §5.2).
struct Text<'a> {
    bytes: &'a [u8],
    huffman: bool,
}

impl<'a> Text<'a> {
    /// Reads a string literal. Returns it with the rest of the block.
    fn read(rest: &'a [u8]) -> Result<(Self, &'a [u8]), Error> {
        let (&first, rest) = rest.split_first().ok_or(Error::Truncated)?;
        let (len, rest) = integer::decode(first, 7, rest)?;
        let (bytes, rest) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
        let huffman = first & 0x80 != 0;
        Ok((Self { bytes, huffman }, rest))
    }

    fn longest(&self) -> usize {
        if self.huffman {
            huffman::longest_decoded(self.bytes.len())
        } else {
            self.bytes.len()
        }
    }

    fn len(&self) -> Result<usize, Error> {
        if self.huffman {
            huffman::decoded_len(self.bytes)
        } else {
            Ok(self.bytes.len())
        }
    }

    /// Appends the string. Returns what its bytes can be.
    fn append_to(&self, out: &mut Vec<u8>) -> Result<Alphabet, Error> {
        if self.huffman {
            return huffman::decode(self.bytes, out);
        }
        out.extend_from_slice(self.bytes);
        Ok(Alphabet::Any)
    }
}
