//! Static files. Small ones are kept in memory, large ones are read while they go out.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tidegate_net::StreamMut;
use tidegate_proto::Body;

use super::asset::{Asset, Metadata, fingerprint};
use super::conditional::{Validators, judge};
use super::lookup::{Found, Identity, Located, Refusal, Root, open_regular};
use super::{Outcome, Request, Sent};
use crate::exchange::{Progress, Work};

/// Files of up to so many octets are kept in memory.
const SMALL: u64 = 64 << 10;
/// Octets of small files that one worker keeps.
const KEPT_OCTETS: usize = 32 << 20;
/// Paths that one worker remembers; a power of two.
const SLOTS: usize = 4096;
/// Octets that are read at once from a large file.
const PIECE: usize = 64 << 10;
/// Pieces whose memory one worker keeps to use it again.
const RECENT_PIECES: usize = 16;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// What one worker remembers of files, by the path of the request. What is remembered is compared with the file system
/// once per turn of the loop, so an answer is never older than that.
///
/// A path has two places where it can be; a newcomer takes the one that was used less recently. So the memory is bounded
/// whatever clients ask for, and paths chosen to collide only make each other miss.
pub struct Files {
    slots: Vec<Option<Box<Known>>>,
    /// Octets of all small files together.
    octets: usize,
    /// Where the search for something to forget goes on.
    hand: usize,
    /// Number of the loop's turn.
    turn: u64,
    /// For [`Download::write`].
    pub pieces: Pieces,
}

/// What is remembered of a path.
struct Known {
    path: Box<[u8]>,
    /// The file's path, links not followed.
    asked: PathBuf,
    identity: Identity,
    /// Whether `identity` would show a change.
    settled: bool,
    /// The turn in which this was last compared with the file system.
    checked: u64,
    content: Content,
}

enum Content {
    Small(Asset),
    Large { real: PathBuf, metadata: Metadata },
}

/// A file on its way out.
pub struct Download {
    file: File,
    /// The octet that is read next.
    next: u64,
    end: u64,
    /// What was read and not taken yet.
    waiting: Bytes,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            octets: 0,
            hand: 0,
            turn: 0,
            pieces: Pieces::default(),
        }
    }
}

impl Files {
    /// A new turn of the loop began.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// Answers a request whose path has `rest` behind its route.
    pub fn answer(&mut self, request: &mut Request<'_>, root: &Root, rest: &[u8]) -> Outcome {
        if !matches!(request.method(), b"GET" | b"HEAD") {
            return Outcome::Answered(request.respond_methods(ALLOW));
        }
        let path = request.path();
        if let Some(known) = self.current(path) {
            match &mut known.content {
                Content::Small(asset) => return Outcome::Answered(asset.answer(request)),
                Content::Large { real, metadata } => match open_regular(real) {
                    Ok((file, identity)) if identity == known.identity => {
                        return answer_large(request, file, metadata);
                    }
                    _ => {}
                },
            }
        }
        match root.find(rest) {
            Ok(Found::File(located)) => self.learn(request, path, located),
            Ok(Found::Directory) => Outcome::Answered(redirect(request)),
            Err(refusal) => Outcome::Answered(refuse(request, &refusal)),
        }
    }

    /// What is known of a path, if it is still so.
    fn current(&mut self, path: &[u8]) -> Option<&mut Known> {
        let (first, second) = places(path);
        let place = [first, second]
            .into_iter()
            .find(|place| matches!(&self.slots[*place], Some(known) if *known.path == *path))?;
        if let Some(known) = &mut self.slots[place]
            && known.checked != self.turn
        {
            let unchanged = known.settled
                && fs::metadata(&known.asked)
                    .is_ok_and(|metadata| Identity::of(&metadata) == known.identity);
            if unchanged {
                known.checked = self.turn;
            } else {
                self.forget(place);
            }
        }
        self.slots[place].as_deref_mut()
    }

    /// Answers with a file that was just found, and remembers it.
    fn learn(&mut self, request: &mut Request<'_>, path: &[u8], located: Located) -> Outcome {
        let Located {
            asked,
            real,
            file,
            mut identity,
        } = located;
        let settled = identity.is_settled(request.clock.second());
        let (outcome, content) = if identity.length <= SMALL {
            let content = match read_small(&file, identity.length) {
                Ok(content) => content,
                Err(error) => return Outcome::Answered(refuse(request, &error.into())),
            };
            // It may have become shorter or longer since its length was asked for. The next turn will see.
            identity.length = content.len() as u64;
            let metadata = describe(&asked, &identity, entity_tag(&content));
            let mut asset = Asset::new(metadata, content, request.clock);
            (
                Outcome::Answered(asset.answer(request)),
                Content::Small(asset),
            )
        } else {
            let metadata = describe(&asked, &identity, version_tag(&identity, settled));
            let outcome = answer_large(request, file, &metadata);
            (outcome, Content::Large { real, metadata })
        };
        self.remember(Known {
            path: path.into(),
            asked,
            identity,
            settled,
            checked: self.turn,
            content,
        });
        outcome
    }

    fn remember(&mut self, known: Known) {
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

    fn forget(&mut self, place: usize) {
        if let Some(known) = self.slots[place].take() {
            self.octets -= known.octets();
        }
    }
}

impl Known {
    fn octets(&self) -> usize {
        match &self.content {
            Content::Small(asset) => asset.len(),
            Content::Large { .. } => 0,
        }
    }
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

/// The entity tag of this content.
fn entity_tag(content: &[u8]) -> String {
    format!("\"{:016x}\"", fingerprint(content))
}

/// The entity tag of a file whose content isn't looked at.
fn version_tag(identity: &Identity, settled: bool) -> String {
    let number = identity.fingerprint();
    if settled {
        format!("\"{number:016x}-{:x}\"", identity.length)
    } else {
        // RFC 9110 §8.8.1: "a validator is weak if [...] the origin server cannot guarantee that". It is another one than
        // that of the same times once they are settled, since the content may be another one then.
        format!("W/\"{number:016x}\"")
    }
}

/// What goes into the head of an answer.
fn describe(asked: &Path, identity: &Identity, etag: String) -> Metadata {
    let guess = mime_guess::from_path(asked).first_or_octet_stream();
    let is_text = guess.type_() == "text" || guess.essence_str() == "application/javascript";
    let charset = if is_text { "; charset=utf-8" } else { "" };
    let second = u64::try_from(identity.modified.0).unwrap_or(0);
    Metadata {
        content_type: format!("{}{charset}", guess.essence_str()),
        validators: Validators::new(etag, Some(second)),
        length: identity.length,
    }
}

fn read_small(mut file: &File, length: u64) -> io::Result<Bytes> {
    let mut content = Vec::with_capacity(length as usize);
    file.by_ref().take(SMALL).read_to_end(&mut content)?;
    Ok(content.into())
}

fn answer_large(request: &mut Request<'_>, file: File, metadata: &Metadata) -> Outcome {
    let clock = request.clock;
    let verdict = judge(request.head, &metadata.validators, metadata.length);
    let (head, range) = metadata.other(verdict, clock);
    if range.is_empty() || request.method() == b"HEAD" {
        return Outcome::Answered(request.respond(&head, Body::Empty));
    }
    let sent = request.respond(&head, Body::Stream);
    if sent.status == 0 {
        return Outcome::Answered(sent);
    }
    let download = Download {
        file,
        next: range.start,
        end: range.end,
        waiting: Bytes::new(),
    };
    Outcome::InProgress(sent, Work::Download(download))
}

fn redirect(request: &mut Request<'_>) -> Sent {
    let path = request.path();
    let query = &request.head.path_octets()[path.len()..];
    let mut head = request.head_of(301);
    head.push("location", [path, b"/", query].concat());
    head.push("content-length", "0");
    request.respond(&head, Body::Empty)
}

fn refuse(request: &mut Request<'_>, refusal: &Refusal) -> Sent {
    match refusal {
        Refusal::NotFound => request.respond_text(404, "404 Not Found\n"),
        Refusal::Forbidden => request.respond_text(403, "403 Forbidden\n"),
        Refusal::Failed(error) => {
            log::warn!("can't read the file at {:?}: {error}", request.head.path());
            request.respond_text(500, "500 Internal Server Error\n")
        }
    }
}

impl Download {
    /// The stream can take up to `want` octets.
    ///
    /// # Errors
    /// When the file can't be read, or has become shorter.
    pub fn write(
        &mut self,
        stream: &mut StreamMut<'_>,
        want: usize,
        pieces: &mut Pieces,
    ) -> io::Result<Progress> {
        if self.waiting.is_empty() {
            let rest = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            self.waiting = pieces.read(&self.file, self.next, want.min(rest))?;
            if self.waiting.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.next += self.waiting.len() as u64;
        }
        let last = self.next == self.end;
        let taken = stream.write(&mut self.waiting, last);
        Ok(if last && self.waiting.is_empty() {
            Progress::Done(taken)
        } else {
            Progress::More(taken)
        })
    }
}

/// The memory that pieces of large files are read to. It is used again once its piece has gone out: new memory would have to
/// be zeroed, and isn't in the processor's cache.
#[derive(Default)]
pub struct Pieces {
    /// The last pieces, each as large as [`PIECE`], the newest last.
    recent: Vec<Bytes>,
}

impl Pieces {
    /// Memory whose piece has gone out, the newest that there is.
    fn free(&mut self) -> Option<BytesMut> {
        let place = self.recent.iter().rposition(Bytes::is_unique)?;
        self.recent.remove(place).try_into_mut().ok()
    }

    /// Up to `want` octets of a file, from octet `at` on; none at its end.
    fn read(&mut self, file: &File, at: u64, want: usize) -> io::Result<Bytes> {
        let len = want.min(PIECE);
        // A slow client's tiny windows shall not make small pieces hold large memory.
        let is_large = len > PIECE / 2;
        let mut memory = match is_large {
            true => self.free().unwrap_or_else(|| BytesMut::zeroed(PIECE)),
            false => BytesMut::zeroed(len),
        };
        let read = loop {
            match file.read_at(&mut memory[..len], at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let piece = memory.freeze();
        if is_large {
            if self.recent.len() == RECENT_PIECES {
                self.recent.remove(0);
            }
            self.recent.push(piece.clone());
        }
        Ok(piece.slice(..read))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::clock::Clock;

    fn clock() -> Clock {
        // Far enough ahead for what the tests write to be settled.
        Clock::new(SystemTime::now() + Duration::from_secs(60))
    }

    /// Remembers a file as answering it would.
    fn learn(files: &mut Files, root: &Root, path: &str) {
        let Ok(Found::File(located)) = root.find(path.as_bytes()) else {
            panic!("{path} isn't there");
        };
        let Located {
            asked,
            identity,
            file,
            ..
        } = located;
        let content = read_small(&file, identity.length).unwrap();
        let clock = clock();
        let metadata = describe(&asked, &identity, entity_tag(&content));
        let asset = Asset::new(metadata, content, &clock);
        files.remember(Known {
            path: path.as_bytes().into(),
            asked,
            identity,
            settled: identity.is_settled(clock.second()),
            checked: files.turn,
            content: Content::Small(asset),
        });
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
        let mut files = Files::default();
        learn(&mut files, &root, "/a");
        assert!(files.current(b"/a").is_some());
        files.turn();
        assert!(files.current(b"/a").is_some(), "unchanged");
        fs::write(dir.path().join("a"), "longer than it was").unwrap();
        assert!(files.current(b"/a").is_some(), "the same turn");
        files.turn();
        assert!(files.current(b"/a").is_none(), "the next turn");
        assert_eq!(files.octets, 0);
        learn(&mut files, &root, "/a");
        fs::remove_file(dir.path().join("a")).unwrap();
        files.turn();
        assert!(files.current(b"/a").is_none(), "gone");
    }

    #[test]
    fn a_file_that_was_just_written_is_read_anew_each_turn() {
        let (_dir, root) = root(&["a"], 10);
        let mut files = Files::default();
        learn(&mut files, &root, "/a");
        let (first, second) = places(b"/a");
        let place = if files.slots[first].is_some() {
            first
        } else {
            second
        };
        files.slots[place].as_mut().unwrap().settled = false;
        assert!(files.current(b"/a").is_some());
        files.turn();
        assert!(files.current(b"/a").is_none());
    }

    #[test]
    fn a_link_that_moves_on_is_followed() {
        let (dir, root) = root(&["a", "b"], 10);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("a", &link).unwrap();
        let mut files = Files::default();
        learn(&mut files, &root, "/link");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        files.turn();
        assert!(files.current(b"/link").is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let names: Vec<String> = (0..SLOTS / 4).map(|n| format!("file-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_dir, root) = root(&names, SMALL as usize);
        let mut files = Files::default();
        for name in &names {
            learn(&mut files, &root, &format!("/{name}"));
            assert!(files.octets <= KEPT_OCTETS);
            assert!(
                files.current(format!("/{name}").as_bytes()).is_some(),
                "the newest stays"
            );
        }
        let kept = files.slots.iter().flatten().count();
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

    #[test]
    fn types_by_name() {
        let (_dir, root) = root(&["a"], 1);
        let Ok(Found::File(located)) = root.find(b"/a") else {
            panic!()
        };
        let of =
            |name: &str| describe(Path::new(name), &located.identity, String::new()).content_type;
        assert_eq!(of("index.html"), "text/html; charset=utf-8");
        assert_eq!(of("a.CSS"), "text/css; charset=utf-8");
        assert_eq!(of("a.txt"), "text/plain; charset=utf-8");
        assert_eq!(of("a.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("a.png"), "image/png");
        assert_eq!(of("a.svg"), "image/svg+xml");
        assert_eq!(of("a.wasm"), "application/wasm");
        assert_eq!(of("a.json"), "application/json");
        assert_eq!(of("a"), "application/octet-stream");
    }

    #[test]
    fn entity_tags_differ_when_files_do() {
        let (_dir, root) = root(&["a", "b"], 7);
        let tag = |path: &str, settled| match root.find(path.as_bytes()) {
            Ok(Found::File(located)) => version_tag(&located.identity, settled),
            _ => panic!("{path} isn't there"),
        };
        assert_eq!(tag("/a", true), tag("/a", true));
        assert_ne!(tag("/a", true), tag("/b", true), "one length, one time");
        assert!(tag("/a", true).starts_with('"') && tag("/a", true).ends_with("-7\""));
        assert!(tag("/a", false).starts_with("W/\""));
        let opaque = tag("/a", false).trim_start_matches("W/").to_owned();
        assert_ne!(opaque, tag("/a", true), "never taken for the settled one");
        assert_ne!(entity_tag(b"version-1"), entity_tag(b"version-2"));
    }

    #[test]
    fn the_memory_of_a_piece_is_used_again_once_nobody_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..PIECE + 100).map(|n| n as u8).collect();
        fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        let mut pieces = Pieces::default();
        let first = pieces.read(&file, 0, 1 << 20).unwrap();
        let second = pieces.read(&file, PIECE as u64, 1 << 20).unwrap();
        assert_eq!([&first[..], &second[..]].concat(), content);
        let memory = second.as_ptr();
        drop(second);
        let third = pieces.read(&file, 7, PIECE - 7).unwrap();
        assert_eq!((third.as_ptr(), &third[..]), (memory, &content[7..PIECE]));
        assert_eq!(first, &content[..PIECE], "nobody wrote over it");
        assert_eq!(pieces.read(&file, 1 << 20, 1).unwrap(), "", "the end");
        let small = pieces.read(&file, 7, 10).unwrap();
        assert_eq!(small, &content[7..17]);
        assert_eq!(small.try_into_mut().unwrap().capacity(), 10);
        let held: Vec<_> = (0..2 * RECENT_PIECES)
            .map(|_| pieces.read(&file, 0, PIECE).unwrap())
            .collect();
        assert_eq!(
            (held.len(), pieces.recent.len()),
            (2 * RECENT_PIECES, RECENT_PIECES)
        );
    }
}
