//! The static table (RFC 7541 Appendix A).

use crate::KnownName;
use crate::dynamic_table::ENTRY_OVERHEAD;
use crate::fields::{Shape, Verdict};

/// The number of entries. The dynamic table's newest entry has the next index (RFC 7541 §2.3.3).
pub(crate) const LEN: usize = 61;

/// Names and values by index. Index 0 is not used (RFC 7541 §6.1).
pub(crate) const ENTRIES: [(&str, &str); LEN + 1] = [
    ("", ""),
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// More bytes than the longest value has.
const VALUE_ROOM: usize = 16;

/// An entry in the form that the decoder needs.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: KnownName,
    /// The size as RFC 7541 §4.1 counts it.
    pub(crate) size: u8,
    pub(crate) shape: Shape,
    /// The value, filled with zeros: a copy of fixed length takes no call.
    pub(crate) value: [u8; VALUE_ROOM],
}

/// The entries by index in the decoder's form. Index 0 holds a filler: callers exclude it.
static DECODED: [Entry; LEN + 1] = {
    let mut decoded = [Entry {
        name: KnownName::AUTHORITY,
        size: 0,
        shape: Shape::new(None, 0, 0, false),
        value: [0; VALUE_ROOM],
    }; LEN + 1];
    let mut first = 1;
    let mut index = 1;
    while index <= LEN {
        if is_first(index) {
            first = index;
        }
        let (name, value) = (ENTRIES[index].0.as_bytes(), ENTRIES[index].1.as_bytes());
        let entry = &mut decoded[index];
        entry.name = KnownName::numbered(first as u8);
        // Only an entry with a value is known to be fine.
        let verdict = if value.is_empty() {
            Verdict::Open
        } else {
            Verdict::Passed
        };
        entry.shape = Shape::new(Some(entry.name), name.len(), value.len(), false).judged(verdict);
        entry.size = (entry.shape.byte_len() + ENTRY_OVERHEAD) as u8;
        let mut i = 0;
        while i < value.len() {
            entry.value[i] = value[i];
            i += 1;
        }
        index += 1;
    }
    decoded
};

/// Whether the entry at this index (1 to 61) is the first with its name. Entries with the same name
/// are neighbours.
pub(crate) const fn is_first(index: usize) -> bool {
    let (before, name) = (ENTRIES[index - 1].0.as_bytes(), ENTRIES[index].0.as_bytes());
    if before.len() != name.len() {
        return true;
    }
    let mut i = 0;
    while i < name.len() {
        if before[i] != name[i] {
            return true;
        }
        i += 1;
    }
    false
}

/// Returns the entry at this index, if it is one of the static table.
#[inline]
pub(crate) const fn get(index: usize) -> Option<&'static Entry> {
    if index == 0 || index > LEN {
        return None;
    }
    Some(&DECODED[index])
}

/// Returns the index of the entry with this name and value, if there is one.
#[inline]
pub(crate) fn find(name: KnownName, value: &[u8]) -> Option<usize> {
    match name {
        KnownName::STATUS => match value {
            b"200" => Some(8),
            b"204" => Some(9),
            b"206" => Some(10),
            b"304" => Some(11),
            b"400" => Some(12),
            b"404" => Some(13),
            b"500" => Some(14),
            _ => None,
        },
        KnownName::METHOD => match value {
            b"GET" => Some(2),
            b"POST" => Some(3),
            _ => None,
        },
        KnownName::PATH => match value {
            b"/" => Some(4),
            b"/index.html" => Some(5),
            _ => None,
        },
        KnownName::SCHEME => match value {
            b"http" => Some(6),
            b"https" => Some(7),
            _ => None,
        },
        KnownName::ACCEPT_ENCODING => (value == b"gzip, deflate").then_some(16),
        // All others have one entry each, without a value.
        _ => {
            let index = usize::from(name.number());
            (value.is_empty() && index <= LEN).then_some(index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_and_no_other() {
        for (index, (name, value)) in ENTRIES.iter().enumerate().skip(1) {
            let name = KnownName::of(name.as_bytes()).expect(name);
            assert_eq!(find(name, value.as_bytes()), Some(index));
            assert_eq!(find(name, b"another"), None);
            let entry = get(index).expect("an entry");
            assert_eq!(entry.name, name);
            assert_eq!(&entry.value[..entry.shape.value_len()], value.as_bytes());
            assert_eq!(entry.shape.byte_len(), name.as_str().len() + value.len());
            assert_eq!(entry.shape.known(), Some(name));
        }
        assert!(get(0).is_none());
        assert!(get(LEN + 1).is_none());
        assert_eq!(find(KnownName::PRIORITY, b""), None);
        for (name, value) in ENTRIES.iter().filter(|(_, value)| !value.is_empty()) {
            let name = KnownName::of(name.as_bytes()).expect(value);
            assert_eq!(
                find(name, b""),
                None,
                "{name:?} only has entries with a value"
            );
        }
    }
}
