//! What one worker remembers of files.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::asset::{Asset, Metadata};
use super::beneath::{Links, Pace, Storage};
use super::download::Source;
use super::look::{Spot, describe, entity_tag, version_tag};
use super::lookup::{Identity, is_directory};
use crate::clock::Clock;

/// Octets of small files that one worker keeps.
const KEPT_OCTETS: usize = 32 << 20;
/// Seconds for which a file of a remote file system is answered with from memory, and nobody is asked.
const FRESH: u64 = 1;
/// Seconds after which such a file isn't answered with before somebody was asked. In between the answer comes from memory, and
/// a thread asks.
const STALE: u64 = 5;
/// Paths that one worker remembers; a power of two.
const SLOTS: usize = 4096;

/// What one worker remembers of files, by the path of the request. What is remembered is compared with the file system
/// once per turn of the loop, so an answer is never older than that, or than the look that it waited for.
///
/// A path has two places where it can be; a newcomer takes the one that was used less recently. So the memory is bounded
/// whatever clients ask for, and paths chosen to collide only make each other miss.
pub struct Kept {
    slots: Vec<Option<Box<Known>>>,
    /// Octets of all small files together.
    octets: usize,
    /// Where the search for something to forget goes on.
    hand: usize,
    /// Number of the loop's turn.
    turn: u64,
    /// Directories that are below the root, and the turn in which that was seen.
    inside: (u64, Arc<[CString]>),
}

/// What is remembered of a path.
pub struct Known {
    path: Box<[u8]>,
    /// The file.
    pub source: Arc<Source>,
    /// The file's path, links not followed.
    asked: CString,
    /// The directories between the root and the file, unless links led to it.
    parents: Arc<[CString]>,
    links: Links,
    /// Whether the file's identity would show a change.
    settled: bool,
    /// The turn in which this was last compared with the file system.
    checked: u64,
    /// The second since 1970 in which this was learned.
    learned: u64,
    /// What to answer with.
    pub content: Content,
}

/// How good what is remembered of a path is for an answer, and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Good.
    Fresh(usize),
    /// Good enough, but it is to be looked at again.
    Ageing(usize),
    /// Not good enough, or there is none.
    Stale,
}

/// What is remembered of a file.
pub enum Content {
    /// All of it.
    Small(Asset),
    /// What is said of it.
    Large(Metadata),
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            octets: 0,
            hand: 0,
            turn: 0,
            inside: (0, Arc::default()),
        }
    }
}

impl Kept {
    /// A new turn of the loop began.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// What is remembered at this place.
    pub fn at(&mut self, place: usize) -> Option<&mut Known> {
        self.slots[place].as_deref_mut()
    }

    /// What is remembered of a path at this second since 1970. What changed is forgotten.
    pub fn memory(&mut self, path: &[u8], now: u64) -> Memory {
        let Some(place) = self.place(path) else {
            return Memory::Stale;
        };
        let Some(known) = &mut self.slots[place] else {
            return Memory::Stale;
        };
        if known.checked == self.turn {
            return Memory::Fresh(place);
        }
        let memory = match known.source.root.storage() {
            Storage::Local => {
                let is_current = known.settled
                    && known.is_inside(self.turn, &mut self.inside)
                    && known.is_unchanged();
                if is_current {
                    Memory::Fresh(place)
                } else {
                    Memory::Stale
                }
            }
            Storage::Remote => match now.saturating_sub(known.learned) {
                0..=FRESH => Memory::Fresh(place),
                age if age <= STALE => Memory::Ageing(place),
                _ => Memory::Stale,
            },
        };
        match memory {
            Memory::Fresh(_) | Memory::Ageing(_) => known.checked = self.turn,
            Memory::Stale => self.forget(place),
        }
        memory
    }

    /// Where a path is remembered.
    pub fn place(&self, path: &[u8]) -> Option<usize> {
        let (first, second) = places(path);
        [first, second]
            .into_iter()
            .find(|place| matches!(&self.slots[*place], Some(known) if *known.path == *path))
    }

    /// Remembers what was learned in this turn.
    pub fn remember(&mut self, mut known: Known) {
        known.checked = self.turn;
        let (first, second) = places(&known.path);
        let age = |place: usize| match &self.slots[place] {
            Some(other) if other.path == known.path => 0,
            Some(other) => 1 + other.checked,
            None => 0,
        };
        let place = if age(second) < age(first) {
            second
        } else {
            first
        };
        self.forget(place);
        self.octets += known.octets();
        self.slots[place] = Some(Box::new(known));
        while self.octets > KEPT_OCTETS {
            self.hand = (self.hand + 1) % SLOTS;
            if self.hand != place {
                self.forget(self.hand);
            }
        }
    }

    /// Forgets what is at this place.
    pub fn forget(&mut self, place: usize) {
        if let Some(known) = self.slots[place].take() {
            self.octets -= known.octets();
        }
    }
}

impl Known {
    /// What a look has found at a path; of a small file there is the content.
    pub fn new(path: &[u8], spot: Spot, content: Option<Bytes>, clock: &Clock) -> Self {
        let Spot { source, links } = spot;
        let Source {
            root,
            below,
            identity,
        } = &source;
        let settled = identity.is_settled(clock.second());
        let content = match content {
            Some(content) => {
                let metadata = describe(below, identity, entity_tag(&content));
                Content::Small(Asset::new(metadata, content, clock))
            }
            None => Content::Large(describe(below, identity, version_tag(identity, settled))),
        };
        let inner = below.ancestors().skip(1);
        let inner = inner.filter(|parent| {
            let is_root = parent.as_os_str().is_empty();
            links == Links::None && !is_root
        });
        Self {
            path: path.into(),
            asked: c_path(&root.directory().join(below)),
            parents: inner
                .map(|parent| c_path(&root.directory().join(parent)))
                .collect(),
            learned: clock.second(),
            source: Arc::new(source),
            links,
            settled,
            checked: 0,
            content,
        }
    }

    fn octets(&self) -> usize {
        match &self.content {
            Content::Small(asset) => asset.len(),
            Content::Large(_) => 0,
        }
    }

    /// Whether the directories on the way are still directories: a link in the place of one may lead anywhere. `seen` are the
    /// last ones that were, and the turn in which they were looked at.
    fn is_inside(&self, turn: u64, seen: &mut (u64, Arc<[CString]>)) -> bool {
        if self.parents.is_empty() || (seen.0 == turn && seen.1 == self.parents) {
            return true;
        }
        let is_inside = self.parents.iter().all(|parent| is_directory(parent));
        if is_inside {
            *seen = (turn, Arc::clone(&self.parents));
        }
        is_inside
    }

    /// Whether the path still leads to the same version of the same file.
    fn is_unchanged(&self) -> bool {
        match self.links {
            Links::None => {
                Identity::at(&self.asked).is_ok_and(|identity| identity == self.source.identity)
            }
            // As the file would be opened.
            Links::Followed => self.source.open(Pace::AtOnce).is_ok(),
        }
    }
}

/// A path as the system wants it. One with a NUL leads nowhere, and so does an empty one.
fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// The two places that a path can be at.
fn places(path: &[u8]) -> (usize, usize) {
    // A multiplication whose upper half is folded into the lower one mixes all bits of both factors.
    let mix = |hash: u64, octets: u64| {
        let product = u128::from(hash ^ octets) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    };
    let (chunks, rest) = path.as_chunks::<8>();
    let hash = chunks.iter().fold(path.len() as u64, |hash, chunk| {
        mix(hash, u64::from_le_bytes(*chunk))
    });
    let last = rest
        .iter()
        .fold(0, |sum: u64, octet| sum << 8 | u64::from(*octet));
    let place = mix(hash, last) as usize % SLOTS;
    (place, place ^ 1)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::look::{Looked, SMALL, look};
    use super::super::lookup::{Refusal, Root};
    use super::*;
    use std::fs;

    fn clock() -> Clock {
        // Far enough ahead for what the tests write to be settled.
        Clock::new(SystemTime::now() + Duration::from_secs(60))
    }

    /// Remembers a file as answering it would.
    fn learn(kept: &mut Kept, root: &Root, path: &str) {
        let (spot, content) = match look(root, path.as_bytes(), Pace::Patient) {
            Ok(Looked::Small(spot, content)) => (spot, content),
            _ => panic!("{path} isn't there"),
        };
        kept.remember(Known::new(path.as_bytes(), spot, Some(content), &clock()));
    }

    fn is_fresh(kept: &mut Kept, path: &str) -> bool {
        let memory = kept.memory(path.as_bytes(), clock().second());
        matches!(memory, Memory::Fresh(_))
    }

    /// Whether a path is fresh, which is learned anew if it isn't: the kernel doesn't follow links at
    /// once while anybody renames something.
    fn becomes_fresh(kept: &mut Kept, root: &Root, path: &str) -> bool {
        (0..100_000).any(|_| {
            let fresh = is_fresh(kept, path);
            if !fresh {
                learn(kept, root, path);
                kept.turn();
            }
            fresh
        })
    }

    fn root(names: &[&str], size: usize) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            fs::write(dir.path().join(name), vec![b'x'; size]).unwrap();
        }
        let root = Root::new(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn what_changed_is_forgotten_in_the_next_turn() {
        let (dir, root) = root(&["a"], 10);
        let mut kept = Kept::default();
        learn(&mut kept, &root, "/a");
        assert!(is_fresh(&mut kept, "/a"));
        kept.turn();
        assert!(is_fresh(&mut kept, "/a"), "unchanged");
        fs::write(dir.path().join("a"), "longer than it was").unwrap();
        assert!(is_fresh(&mut kept, "/a"), "the same turn");
        kept.turn();
        assert!(!is_fresh(&mut kept, "/a"), "the next turn");
        assert_eq!(kept.octets, 0);
        learn(&mut kept, &root, "/a");
        fs::remove_file(dir.path().join("a")).unwrap();
        kept.turn();
        assert!(!is_fresh(&mut kept, "/a"), "gone");
    }

    #[test]
    fn a_file_that_was_just_written_is_read_anew_each_turn() {
        let (_dir, root) = root(&["a"], 10);
        let mut kept = Kept::default();
        learn(&mut kept, &root, "/a");
        let (first, second) = places(b"/a");
        let place = if kept.slots[first].is_some() {
            first
        } else {
            second
        };
        kept.slots[place].as_mut().unwrap().settled = false;
        assert!(is_fresh(&mut kept, "/a"));
        kept.turn();
        assert!(!is_fresh(&mut kept, "/a"));
    }

    #[test]
    fn a_link_that_moves_on_is_followed() {
        let (dir, root) = root(&["a", "b"], 10);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("a", &link).unwrap();
        let mut kept = Kept::default();
        learn(&mut kept, &root, "/link");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        kept.turn();
        assert!(!is_fresh(&mut kept, "/link"));
    }

    #[test]
    fn a_directory_that_is_moved_away_takes_its_files_along() {
        let (dir, root) = root(&["a"], 10);
        let outside = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir_all(inner.join("most")).unwrap();
        fs::write(inner.join("most/p"), "inside").unwrap();
        std::os::unix::fs::symlink("inner/most/p", dir.path().join("link")).unwrap();
        let mut kept = Kept::default();
        for path in ["/inner/most/p", "/link"] {
            learn(&mut kept, &root, path);
        }
        kept.turn();
        for path in ["/inner/most/p", "/link"] {
            assert!(becomes_fresh(&mut kept, &root, path), "{path}");
        }
        fs::rename(&inner, outside.path().join("inner")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("inner"), &inner).unwrap();
        kept.turn();
        for path in ["/inner/most/p", "/link"] {
            assert!(!is_fresh(&mut kept, path), "{path}");
            let looked = look(&root, path.as_bytes(), Pace::Patient);
            assert!(matches!(looked, Err(Refusal::NotFound)), "{path}");
        }
    }

    #[test]
    fn nobody_far_away_is_asked_each_turn() {
        let (_dir, root) = root(&["a"], 10);
        let root = root.made_remote();
        let mut kept = Kept::default();
        learn(&mut kept, &root, "/a");
        let now = clock().second();
        let mut at = |second: u64| {
            kept.turn();
            kept.memory(b"/a", second)
        };
        assert!(matches!(at(now + FRESH), Memory::Fresh(_)));
        assert!(matches!(at(now + FRESH + 1), Memory::Ageing(_)));
        assert!(matches!(at(now + STALE), Memory::Ageing(_)));
        assert_eq!(at(now + STALE + 1), Memory::Stale);
        assert_eq!(at(now), Memory::Stale, "forgotten");
    }

    #[test]
    fn memory_is_bounded() {
        let names: Vec<String> = (0..SLOTS / 4).map(|n| format!("file-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_dir, root) = root(&names, SMALL as usize);
        let mut kept = Kept::default();
        for name in &names {
            learn(&mut kept, &root, &format!("/{name}"));
            assert!(kept.octets <= KEPT_OCTETS);
            assert!(is_fresh(&mut kept, &format!("/{name}")), "the newest stays");
        }
        let kept = kept.slots.iter().flatten().count();
        assert!(kept >= KEPT_OCTETS / SMALL as usize / 2, "only {kept} kept");
    }

    #[test]
    fn paths_spread_over_the_places() {
        let mut used = std::collections::HashSet::new();
        for n in 0..SLOTS {
            let (place, other) = places(format!("/static/images/{n}.png").as_bytes());
            assert!(place < SLOTS && other < SLOTS && place != other);
            used.insert(place);
        }
        // A random spread fills 63 % of the places.
        assert!(used.len() > SLOTS / 2, "{}", used.len());
    }
}
