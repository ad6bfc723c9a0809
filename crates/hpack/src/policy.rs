//! Which fields the encoder puts in the dynamic table.
//!
//! Credentials are never indexed. Other fields are indexed at once if their value is likely to come
//! again, else when it comes a second time, so that values that always differ don't evict those
//! that repeat. The likelihood is a score per name. It rises whenever a value comes again, and
//! falls with each new value.

use crate::index::{Key, SLOTS};
use crate::{Field, KnownName, Packer, Unpacker, static_table};

/// A cookie with fewer bytes than this is never indexed: "Since HPACK doesn't protect against
/// guessing an entire header field value, short or low-entropy values are more readily recovered by
/// an adversary." (RFC 7541 §7.1.3)
const SHORT_COOKIE: usize = 20;

/// Where a name's score starts, and its bounds. A value of a name with a score of 0 or more is
/// indexed the first time.
const LIKELY: i8 = 8;
const UNLIKELY: i8 = -8;
const HIGHEST: i8 = 16;
const LOWEST: i8 = -64;

/// The number of refused fields that are remembered: about as many as a table of 4,096 bytes holds,
/// since fields that come again later than that would evict each other. A head has fewer.
const REMEMBERED: usize = 60;

/// Names whose values mostly belong to one resource or one request only.
const VOLATILE: [KnownName; 16] = [
    KnownName::AGE,
    KnownName::CONTENT_LENGTH,
    KnownName::CONTENT_LOCATION,
    KnownName::CONTENT_RANGE,
    KnownName::ETAG,
    KnownName::EXPIRES,
    KnownName::IF_MATCH,
    KnownName::IF_MODIFIED_SINCE,
    KnownName::IF_NONE_MATCH,
    KnownName::IF_RANGE,
    KnownName::IF_UNMODIFIED_SINCE,
    KnownName::LAST_MODIFIED,
    KnownName::LINK,
    KnownName::LOCATION,
    KnownName::PATH,
    KnownName::RANGE,
];

/// How the fields of a known name are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any other name.
    Plain,
    /// A name for which the static table has values.
    StaticValues,
    /// A credential if the value is short.
    Cookie,
    /// A credential: never in a table, here or at an intermediary. "An encoder might also choose
    /// not to index values for header fields that are considered to be highly valuable or sensitive
    /// to recovery, such as the Cookie or Authorization header fields." (RFC 7541 §7.1.3)
    Credential,
}

/// Kinds by the known name's number.
static KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut index = 1;
    while index <= static_table::LEN {
        let entry = static_table::get(index);
        if let Some(entry) = entry
            && entry.shape.value_len() > 0
        {
            kinds[entry.name.number() as usize] = Kind::StaticValues;
        }
        index += 1;
    }
    kinds[KnownName::COOKIE.number() as usize] = Kind::Cookie;
    kinds[KnownName::AUTHORIZATION.number() as usize] = Kind::Credential;
    kinds[KnownName::PROXY_AUTHORIZATION.number() as usize] = Kind::Credential;
    kinds[KnownName::SET_COOKIE.number() as usize] = Kind::Credential;
    kinds
};

/// Returns how the fields of a name are sent.
#[inline]
pub(crate) fn kind(name: KnownName) -> Kind {
    KINDS[usize::from(name.number())]
}

/// Whether a field must not be in a table.
pub(crate) fn is_credential(field: &Field<'_>) -> bool {
    match field.known.map(kind) {
        Some(Kind::Credential) => true,
        Some(Kind::Cookie) => field.value.len() < SHORT_COOKIE,
        _ => false,
    }
}

/// Statistics of the names of fields on a connection.
pub(crate) struct Learned {
    /// Scores by the name's slot.
    scores: [i8; SLOTS],
    /// Hashes of the fields that were last refused a place in the table, in a ring. Had each hash a
    /// fixed place, two fields of one head could forever replace each other's.
    refused: [u32; REMEMBERED],
    /// The position in `refused` of the oldest hash, which the next one replaces.
    oldest: u8,
}

impl Learned {
    pub(crate) fn new() -> Self {
        let mut scores = [LIKELY; SLOTS];
        for name in VOLATILE {
            scores[usize::from(name.number())] = UNLIKELY;
        }
        Self {
            scores,
            refused: [0; REMEMBERED],
            oldest: 0,
        }
    }

    /// Returns what a new one doesn't know.
    pub(crate) fn pack(&self) -> Packed {
        let start = Self::new().scores;
        let scores = self.scores.iter().zip(start).zip(0..=u8::MAX);
        let scores = scores.filter(|((score, start), _)| *score != start);
        // The places before `oldest` were filled last.
        let (last, first) = self.refused.split_at(self.oldest.into());
        let refused = first.iter().chain(last).copied();
        Packed {
            scores: scores.map(|((score, _), slot)| (slot, *score)).collect(),
            refused: refused.filter(|hash| *hash != 0).collect(),
        }
    }

    /// Notes that a field was in the table.
    #[inline]
    pub(crate) fn hit(&mut self, slot: u8) {
        let score = &mut self.scores[usize::from(slot)];
        if *score < HIGHEST {
            *score += 1;
        }
    }

    /// Notes that a field was in no table. Returns whether to index it.
    pub(crate) fn miss(&mut self, key: Key) -> bool {
        let score = &mut self.scores[usize::from(key.slot)];
        if *score >= 0 {
            *score -= 1;
            return true;
        }
        let seen = self.refused.contains(&key.hash);
        if seen {
            *score += 1;
        } else {
            *score = (*score - 1).max(LOWEST);
            self.refused[usize::from(self.oldest)] = key.hash;
            self.oldest = (self.oldest + 1) % REMEMBERED as u8;
        }
        seen
    }
}

/// The statistics of an encoder at rest, in a few bytes for each name and field.
pub(crate) struct Packed {
    /// Slots of names and their scores.
    scores: Box<[(u8, i8)]>,
    /// Hashes of refused fields, oldest first.
    refused: Box<[u32]>,
}

impl Packed {
    pub(crate) fn pack(&self, out: &mut Packer) {
        out.number(self.scores.len() as u64);
        for (slot, score) in &self.scores {
            out.number((*slot).into());
            out.number((*score as u8).into());
        }
        out.number(self.refused.len() as u64);
        for hash in &self.refused {
            out.number((*hash).into());
        }
    }

    pub(crate) fn read(input: &mut Unpacker<'_>) -> Self {
        let scores = input.size().min(SLOTS);
        let scores = (0..scores).map(|_| (input.number() as u8, input.number() as i8));
        let scores = scores.collect();
        let refused = input.size().min(REMEMBERED);
        Self {
            scores,
            refused: (0..refused).map(|_| input.number32()).collect(),
        }
    }

    pub(crate) fn unpack(&self) -> Learned {
        let mut learned = Learned::new();
        for (slot, score) in &self.scores {
            learned.scores[usize::from(*slot)] = *score;
        }
        let refused = &self.refused[..self.refused.len().min(REMEMBERED)];
        learned.refused[..refused.len()].copy_from_slice(refused);
        learned.oldest = (refused.len() % REMEMBERED) as u8;
        learned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index;

    fn key(name: KnownName, value: &str) -> Key {
        index::key(Some(name), name.as_str().as_bytes(), value.as_bytes())
    }

    #[test]
    fn a_volatile_value_is_worth_a_place_when_it_comes_again() {
        let mut learned = Learned::new();
        assert!(!learned.miss(key(KnownName::ETAG, "1")));
        assert!(!learned.miss(key(KnownName::ETAG, "2")));
        assert!(learned.miss(key(KnownName::ETAG, "1")));
    }

    #[test]
    fn a_volatile_value_is_forgotten_after_as_many_others_as_are_remembered() {
        for others in [REMEMBERED - 1, REMEMBERED] {
            let mut learned = Learned::new();
            for i in 0..=others {
                assert!(!learned.miss(key(KnownName::ETAG, &i.to_string())));
            }
            let is_remembered = others < REMEMBERED;
            assert_eq!(learned.miss(key(KnownName::ETAG, "0")), is_remembered);
        }
    }

    #[test]
    fn a_name_whose_values_never_come_again_becomes_volatile() {
        let mut learned = Learned::new();
        let at_once = (0..100)
            .filter(|i| learned.miss(key(KnownName::SERVER, &i.to_string())))
            .count();
        assert_eq!(at_once, usize::from(LIKELY.unsigned_abs()) + 1);
        // The score recovers when values come again.
        let slot = key(KnownName::SERVER, "").slot;
        for _ in 0..100 {
            learned.hit(slot);
        }
        assert!(learned.miss(key(KnownName::SERVER, "new")));
    }
}
