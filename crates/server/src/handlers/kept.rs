//! The files that one worker remembers.

#[cfg(test)]
mod tests;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::asset::{Asset, Metadata};
use super::beneath::{Links, Pace, Storage};
use super::download::Source;
use super::look::{SMALL, Spot, describe, entity_tag, version_tag};
use super::lookup::{Identity, is_directory};
use crate::clock::Clock;

/// Bytes of files that one worker keeps.
const KEPT_BYTES: usize = 32 << 20;
/// Bytes of files that are kept no longer, but that responses still hold. Above that, only
/// [`SMALL`] files are kept, because clients that read slowly could make the worker hold many times
/// [`KEPT_BYTES`].
const FORGOTTEN_BYTES: usize = 32 << 20;
/// Seconds for which a remembered file of a remote file system is used without asking that system.
const FRESH: u64 = 1;
/// Seconds for which such a file is used at all. From [`FRESH`] on, a thread looks it up again
/// while answers still come from memory.
const STALE: u64 = 5;
/// Paths that one worker remembers; a power of two.
const SLOTS: usize = 4096;

/// The files that one worker remembers, by the root and the path of the request. A remembered file
/// is compared with the file system once per turn of the loop, or as rarely as [`Kept::new`] allows
/// for files whose content is here. So an answer is never older than that turn, that time, or the
/// look that it waited for.
///
/// A path can be in two places; a new one takes the place that was used less recently. So the
/// memory is bounded whatever clients request, and paths chosen to collide only displace each
/// other.
pub struct Kept {
    slots: Vec<Option<Box<Known>>>,
    /// Bytes of the kept contents together.
    bytes: usize,
    /// Bytes of these contents, and of earlier ones that responses still hold.
    held: Arc<AtomicUsize>,
    /// The time for which a content is used without comparing its file.
    check_every: Duration,
    /// The place where the search for a file to forget continues.
    hand: usize,
    /// The number of the loop's turn.
    turn: u64,
    /// The time of the turn.
    now: Instant,
    /// The last directories found to be below the root, and the turn in which they were checked.
    inside: (u64, Arc<[CString]>),
}

/// The file that is remembered for a path.
pub struct Known {
    path: Box<[u8]>,
    /// The file.
    pub source: Arc<Source>,
    /// The file's path, with links not resolved.
    asked: CString,
    /// The directories between the root and the file; empty if links led to the file.
    parents: Arc<[CString]>,
    links: Links,
    /// Whether the file's identity would show a further change.
    pub settled: bool,
    /// The turn in which the file was last compared with the file system, or used without that.
    checked: u64,
    /// When the file was last compared with the file system.
    compared: Option<Instant>,
    /// When the file was looked up, in seconds since 1970.
    learned: u64,
    /// The content, or its description.
    pub content: Content,
}

/// Whether a remembered path may be used, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Use it.
    Fresh(usize),
    /// Use it, and look it up again.
    Ageing(usize),
    /// The path isn't remembered, or no longer right.
    Stale,
}

/// The part of a file that is kept in memory.
pub enum Content {
    /// The whole file.
    Whole(Asset),
    /// The file's description.
    Large(Metadata),
}

/// The bytes of a file, counted for as long as anybody holds them.
struct Held {
    content: Bytes,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.fetch_sub(self.content.len(), Ordering::Relaxed);
    }
}

impl Kept {
    /// Returns no files. Those that are remembered are used for less than `check_every` without
    /// comparing them with the file system, if their content is here and they haven't just changed.
    pub fn new(check_every: Duration, now: Instant) -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            bytes: 0,
            held: Arc::default(),
            check_every,
            hand: 0,
            turn: 0,
            now,
            inside: (0, Arc::default()),
        }
    }

    /// Begins a new turn of the loop.
    pub fn turn(&mut self, now: Instant) {
        self.turn += 1;
        self.now = now;
    }

    /// Returns the content as it is to be kept, or `None` if there is no memory for it.
    pub fn hold(&self, content: Bytes) -> Option<Bytes> {
        let forgotten = self.held.load(Ordering::Relaxed) - self.bytes;
        if content.len() > SMALL as usize && forgotten > FORGOTTEN_BYTES {
            return None;
        }
        self.held.fetch_add(content.len(), Ordering::Relaxed);
        let held = Arc::clone(&self.held);
        Some(Bytes::from_owner(Held { content, held }))
    }

    /// Returns the file at this place.
    pub fn at(&mut self, place: usize) -> Option<&mut Known> {
        self.slots[place].as_deref_mut()
    }

    /// Returns whether a remembered path may be used, and forgets a file that has changed. `now` is
    /// in seconds since 1970.
    pub fn memory(&mut self, root: u64, path: &[u8], now: u64) -> Memory {
        let Some(place) = self.place(root, path) else {
            return Memory::Stale;
        };
        let Some(known) = &mut self.slots[place] else {
            return Memory::Stale;
        };
        if known.checked == self.turn {
            return Memory::Fresh(place);
        }
        if known.is_recent(self.now, self.check_every) {
            known.checked = self.turn;
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
            Memory::Fresh(_) | Memory::Ageing(_) => {
                known.checked = self.turn;
                known.compared = Some(self.now);
            }
            Memory::Stale => self.forget(place),
        }
        memory
    }

    /// Returns the place of a remembered path. `root` is the number of its root.
    pub fn place(&self, root: u64, path: &[u8]) -> Option<usize> {
        let (first, second) = places(root, path);
        let is_here = |place: &usize| {
            let known = self.slots[*place].as_ref();
            known.is_some_and(|known| known.is_at(root, path))
        };
        [first, second].into_iter().find(is_here)
    }

    /// Remembers a file that was looked up in this turn. Returns its place.
    pub fn remember(&mut self, mut known: Known) -> usize {
        known.checked = self.turn;
        known.compared = Some(self.now);
        let (first, second) = places(known.source.root.number(), &known.path);
        let age = |place: usize| match &self.slots[place] {
            Some(other) if other.is_at(known.source.root.number(), &known.path) => 0,
            Some(other) => 1 + other.checked,
            None => 0,
        };
        let place = if age(second) < age(first) {
            second
        } else {
            first
        };
        self.forget(place);
        self.bytes += known.bytes();
        self.slots[place] = Some(Box::new(known));
        while self.bytes > KEPT_BYTES {
            self.hand = (self.hand + 1) % SLOTS;
            if self.hand != place {
                self.forget(self.hand);
            }
        }
        place
    }

    /// Uses contents for less than `check_every` without comparing their files from now on, and
    /// forgets the files below other roots than these.
    pub fn replace(&mut self, check_every: Duration, roots: &FxHashSet<u64>) {
        self.check_every = check_every;
        for place in 0..self.slots.len() {
            let known = self.slots[place].as_ref();
            if known.is_some_and(|known| !roots.contains(&known.source.root.number())) {
                self.forget(place);
            }
        }
    }

    /// Forgets the file at this place.
    pub fn forget(&mut self, place: usize) {
        if let Some(known) = self.slots[place].take() {
            self.bytes -= known.bytes();
        }
    }
}

impl Known {
    /// Returns the file that was found at a path, and its content if that is kept.
    pub fn new(path: &[u8], spot: Spot, content: Option<Bytes>, clock: &Clock) -> Self {
        let Spot { source, links } = spot;
        let Source {
            root,
            below,
            identity,
        } = &source;
        let settled = identity.is_settled(clock.second());
        // A digest of more bytes would take longer than a worker may be busy with one request.
        let etag = match &content {
            Some(content) if identity.length <= SMALL => entity_tag(content),
            _ => version_tag(identity, settled),
        };
        let metadata = describe(below, identity, etag);
        let content = match content {
            Some(content) => Content::Whole(Asset::new(metadata, content, clock)),
            None => Content::Large(metadata),
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
            compared: None,
            content,
        }
    }

    fn bytes(&self) -> usize {
        match &self.content {
            Content::Whole(asset) => asset.len(),
            Content::Large(_) => 0,
        }
    }

    /// Whether the file was requested by this path, and is below this root. Another site, or
    /// another route, may have another file at the same path.
    fn is_at(&self, root: u64, path: &[u8]) -> bool {
        self.source.root.number() == root && *self.path == *path
    }

    /// Whether the content can be used without comparing the file. A file that is yet to be opened
    /// must be the one that was described.
    fn is_recent(&self, now: Instant, check_every: Duration) -> bool {
        let is_whole = matches!(self.content, Content::Whole(_));
        let age = self.compared.map(|at| now.saturating_duration_since(at));
        self.settled && is_whole && age.is_some_and(|age| age < check_every)
    }

    /// Whether the directories on the way are still directories. A link in place of one may lead
    /// anywhere. `seen` holds the last directories that were checked, and the turn of that check.
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
            // Opened as a download would open the file.
            Links::Followed => self.source.open(Pace::AtOnce).is_ok(),
        }
    }
}

/// Converts a path for the system. A path with a NUL becomes an empty one, which leads nowhere.
fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// Returns the two places where a path can be.
fn places(root: u64, path: &[u8]) -> (usize, usize) {
    // A multiplication whose upper half is folded into the lower one mixes all bits of both
    // factors.
    let mix = |hash: u64, bytes: u64| {
        let product = u128::from(hash ^ bytes) * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    };
    let (chunks, rest) = path.as_chunks::<8>();
    let first = mix(root, path.len() as u64);
    let hash = chunks
        .iter()
        .fold(first, |hash, chunk| mix(hash, u64::from_le_bytes(*chunk)));
    let last = rest
        .iter()
        .fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    let place = mix(hash, last) as usize % SLOTS;
    (place, place ^ 1)
}
