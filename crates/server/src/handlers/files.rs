//! Static files. Small ones are kept in memory, large ones are read while they go out.
//!
//! A worker never waits for a disk: it does what the system has in its caches, and hands the rest to threads. The request then
//! waits for a [`Done`] in the worker's mailbox.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use rustix::io::Errno;
use tidegate_net::{Mailbox, StreamMut};
use tidegate_proto::{Body, RequestHead};

use super::asset::{Asset, Metadata, fingerprint};
use super::beneath::{Links, Pace, read_at};
use super::conditional::{Validators, judge};
use super::download::{Descriptors, Download, Read, Reader, Source};
use super::lookup::{Found, Identity, Located, Refusal, Root};
use super::{Extra, Outcome, Request, Sent};
use crate::clock::Clock;
use crate::disk::Disk;
use crate::exchange::{Progress, Work};
use crate::proxy::Key;

/// Files of up to so many octets are kept in memory.
const SMALL: u64 = 64 << 10;
/// Octets of small files that one worker keeps.
const KEPT_OCTETS: usize = 32 << 20;
/// Paths that one worker remembers; a power of two.
const SLOTS: usize = 4096;

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// What the workers share to serve files.
#[derive(Clone, Default)]
pub struct Shared {
    /// The threads that wait for disks.
    pub disk: Disk,
    /// The large files that they have opened.
    pub descriptors: Arc<Mutex<Descriptors>>,
}

/// What a thread has done for a worker.
pub enum Done {
    /// A look at what a path leads to.
    Looked(Box<[u8]>, Result<Looked, Refusal>),
    /// A piece of a file for this stream.
    Read(Key, Read),
}

/// What a path leads to.
pub enum Looked {
    /// A directory; the path lacks the slash at its end.
    Directory,
    /// A file that is kept in memory, and its content.
    Small(Spot, Bytes),
    /// A larger file.
    Large(Spot),
}

/// Where a file was found.
pub struct Spot {
    source: Source,
    links: Links,
}

/// A request that waits for a look.
pub struct Waiting {
    /// The request.
    pub head: RequestHead,
    /// Whether it has no body.
    pub end: bool,
    links: Vec<String>,
    headers: Vec<(String, String)>,
}

/// What there is to answer to those who wait for a look.
pub enum Answer {
    /// What is remembered of the path.
    Remembered,
    /// That the path lacks its slash.
    Redirect,
    /// That there is nothing.
    Refused(Refusal),
}

/// What one worker remembers of files, by the path of the request. What is remembered is compared with the file system
/// once per turn of the loop, so an answer is never older than that, or than the look that it waited for.
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
    reader: Reader,
    /// How threads reach this worker.
    mailbox: Option<Mailbox<Done>>,
    /// Who waits for a look at a path.
    looks: FxHashMap<Box<[u8]>, Vec<Key>>,
}

/// What is remembered of a path.
struct Known {
    path: Box<[u8]>,
    source: Arc<Source>,
    /// The file's path, links not followed.
    asked: PathBuf,
    /// The directories between the root and the file.
    parents: Box<[PathBuf]>,
    links: Links,
    /// Whether the file's identity would show a change.
    settled: bool,
    /// The turn in which this was last compared with the file system.
    checked: u64,
    content: Content,
}

enum Content {
    Small(Asset),
    Large(Metadata),
}

impl Files {
    /// Nothing is remembered yet.
    pub fn new(shared: Shared) -> Self {
        Self {
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            octets: 0,
            hand: 0,
            turn: 0,
            reader: Reader::new(shared.disk, shared.descriptors),
            mailbox: None,
            looks: FxHashMap::default(),
        }
    }

    /// Threads send what they have done there.
    pub fn reached_by(&mut self, mailbox: &Mailbox<Done>) {
        self.mailbox = Some(mailbox.clone());
    }

    /// A new turn of the loop began.
    pub fn turn(&mut self) {
        self.turn += 1;
    }

    /// Answers a request whose path has `rest` behind its route, or has a thread look.
    pub fn answer(
        &mut self,
        request: &mut Request<'_>,
        key: Key,
        root: &Root,
        rest: &[u8],
    ) -> Outcome {
        if !matches!(request.method(), b"GET" | b"HEAD") {
            return Outcome::Answered(request.respond_methods(ALLOW));
        }
        let path = request.path();
        if let Some(known) = self.current(path) {
            return known.answer(request);
        }
        // Who asks while a look is under way waits for that one.
        let looked = if self.looks.contains_key(path) {
            None
        } else {
            self.reader.disk().at_once(|pace| look(root, rest, pace))
        };
        match looked {
            None | Some(Err(Refusal::WouldBlock)) => self.wait(request, key, root, rest),
            Some(looked) => {
                let answer = self.learn(path, looked, request.clock);
                self.answer_with(request, &answer)
            }
        }
    }

    /// Answers a request with what was learned for it.
    pub fn answer_with(&mut self, request: &mut Request<'_>, answer: &Answer) -> Outcome {
        Outcome::Answered(match answer {
            Answer::Remembered => match self.place(request.path()) {
                Some(place) => {
                    if let Some(known) = &mut self.slots[place] {
                        return known.answer(request);
                    }
                    refuse(request, &Refusal::NotFound)
                }
                None => refuse(request, &Refusal::NotFound),
            },
            Answer::Redirect => redirect(request),
            Answer::Refused(refusal) => refuse(request, refusal),
        })
    }

    /// The stream of a download can take up to `want` octets: gives it some, or has a thread read them.
    ///
    /// # Errors
    /// As [`Download::write`].
    pub fn read_on(
        &mut self,
        download: &mut Download,
        stream: &mut StreamMut<'_>,
        want: usize,
        key: Key,
    ) -> io::Result<Progress> {
        let mailbox = &self.mailbox;
        download.write(stream, want, &mut self.reader, || {
            let mailbox = mailbox.clone();
            move |read| {
                if let Some(mailbox) = mailbox {
                    // The worker may have ended.
                    let _ = mailbox.send(Done::Read(key, read));
                }
            }
        })
    }

    /// What a thread has read, for [`Download::arrived`].
    ///
    /// # Errors
    /// What the system said to the thread.
    pub fn take(&mut self, read: Read) -> io::Result<(Arc<File>, Bytes)> {
        self.reader.take(read)
    }

    /// A thread has looked: what is to be answered, and who waits for it.
    pub fn looked(
        &mut self,
        path: &[u8],
        looked: Result<Looked, Refusal>,
        clock: &Clock,
    ) -> (Answer, Vec<Key>) {
        let waiting = self.looks.remove(path).unwrap_or_default();
        (self.learn(path, looked, clock), waiting)
    }

    /// Has a thread look, unless one does.
    fn wait(&mut self, request: &mut Request<'_>, key: Key, root: &Root, rest: &[u8]) -> Outcome {
        let path: Box<[u8]> = request.path().into();
        let waiting = self.looks.entry(path.clone()).or_default();
        waiting.push(key);
        if waiting.len() == 1 {
            let (root, rest, mailbox) = (root.clone(), rest.to_vec(), self.mailbox.clone());
            let looked_at = path.clone();
            let is_taken = self.reader.disk().run(move || {
                let looked = look(&root, &rest, Pace::Patient);
                if let Some(mailbox) = mailbox {
                    // The worker may have ended.
                    let _ = mailbox.send(Done::Looked(looked_at, looked));
                }
            });
            if !is_taken {
                self.looks.remove(&path);
                let refusal = Refusal::Failed(io::Error::other("there is no thread to look"));
                return Outcome::Answered(refuse(request, &refusal));
            }
        }
        let nothing = Sent {
            status: 0,
            bytes: 0,
        };
        Outcome::InProgress(nothing, Work::Look(Box::new(Waiting::new(request))))
    }

    /// What is known of a path, if it is still so.
    fn current(&mut self, path: &[u8]) -> Option<&mut Known> {
        let place = self.place(path)?;
        if let Some(known) = &mut self.slots[place]
            && known.checked != self.turn
        {
            if known.settled && known.is_unchanged() {
                known.checked = self.turn;
            } else {
                self.forget(place);
            }
        }
        self.slots[place].as_deref_mut()
    }

    fn place(&self, path: &[u8]) -> Option<usize> {
        let (first, second) = places(path);
        [first, second]
            .into_iter()
            .find(|place| matches!(&self.slots[*place], Some(known) if *known.path == *path))
    }

    /// Remembers what a look has found.
    fn learn(&mut self, path: &[u8], looked: Result<Looked, Refusal>, clock: &Clock) -> Answer {
        let (spot, content) = match looked {
            Ok(Looked::Directory) => return Answer::Redirect,
            Ok(Looked::Small(spot, content)) => (spot, Some(content)),
            Ok(Looked::Large(spot)) => (spot, None),
            Err(refusal) => return Answer::Refused(refusal),
        };
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
        let inner = inner.filter(|parent| !parent.as_os_str().is_empty());
        self.remember(Known {
            path: path.into(),
            asked: root.directory().join(below),
            parents: inner.map(|parent| root.directory().join(parent)).collect(),
            source: Arc::new(source),
            links,
            settled,
            checked: self.turn,
            content,
        });
        Answer::Remembered
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
            Content::Large(_) => 0,
        }
    }

    /// Whether the path still leads to the same version of the same file, and stays below the root on its way.
    fn is_unchanged(&self) -> bool {
        match self.links {
            Links::None => {
                // A link in the place of one of the directories may lead anywhere.
                let is_directory = |path: &PathBuf| {
                    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
                };
                self.parents.iter().all(is_directory)
                    && fs::symlink_metadata(&self.asked)
                        .is_ok_and(|metadata| Identity::of(&metadata) == self.source.identity)
            }
            // As the file would be opened.
            Links::Followed => self.source.open(Pace::AtOnce).is_ok(),
        }
    }

    fn answer(&mut self, request: &mut Request<'_>) -> Outcome {
        match &mut self.content {
            Content::Small(asset) => Outcome::Answered(asset.answer(request)),
            Content::Large(metadata) => answer_large(request, &self.source, metadata),
        }
    }
}

impl Waiting {
    fn new(request: &Request<'_>) -> Self {
        Self {
            head: request.head.clone(),
            end: request.end,
            links: request.extra.links.to_vec(),
            headers: request.extra.headers.to_vec(),
        }
    }

    /// What the preload list adds to the answer.
    pub fn extra(&self) -> Extra<'_> {
        Extra {
            links: &self.links,
            headers: &self.headers,
        }
    }
}

/// Looks at what a path leads to, and reads it if it is small.
fn look(root: &Root, rest: &[u8], pace: Pace) -> Result<Looked, Refusal> {
    let Located {
        below,
        file,
        mut identity,
        links,
    } = match root.find(rest, pace)? {
        Found::Directory => return Ok(Looked::Directory),
        Found::File(located) => located,
    };
    let content = if identity.length <= SMALL {
        Some(read_small(&file, identity.length, pace)?)
    } else {
        None
    };
    if let Some(content) = &content {
        // It may have become shorter or longer since its length was asked for. The next turn will see.
        identity.length = content.len() as u64;
    }
    let source = Source {
        root: root.clone(),
        below,
        identity,
    };
    let spot = Spot { source, links };
    Ok(match content {
        Some(content) => Looked::Small(spot, content),
        None => Looked::Large(spot),
    })
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

fn read_small(mut file: &File, length: u64, pace: Pace) -> io::Result<Bytes> {
    match pace {
        Pace::AtOnce => {
            // One octet more shows that there is no more.
            let mut content = vec![0; length as usize + 1];
            let read = read_at(file, &mut content, 0, pace)?;
            content.truncate(read);
            if read as u64 == length {
                Ok(content.into())
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        Pace::Patient => {
            let mut content = Vec::with_capacity(length as usize);
            file.by_ref().take(SMALL).read_to_end(&mut content)?;
            Ok(content.into())
        }
    }
}

fn answer_large(request: &mut Request<'_>, source: &Arc<Source>, metadata: &Metadata) -> Outcome {
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
    let download = Download::new(Arc::clone(source), range);
    Outcome::InProgress(sent, Work::Download(download))
}

/// Whether the process or the system has no descriptor left.
fn is_exhausted(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::MFILE | Errno::NFILE))
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
        // Descriptors come back when others are done.
        Refusal::Failed(error) if is_exhausted(error) => {
            log::warn!("can't open the file at {:?}: {error}", request.head.path());
            let text = "503 Service Unavailable\n";
            let mut head = request.head_of_text(503, text);
            head.push("retry-after", "1");
            request.respond(&head, Body::Full(Bytes::from_static(text.as_bytes())))
        }
        Refusal::WouldBlock => request.respond_text(500, "500 Internal Server Error\n"),
        Refusal::Failed(error) => {
            log::warn!("can't read the file at {:?}: {error}", request.head.path());
            request.respond_text(500, "500 Internal Server Error\n")
        }
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

    fn files() -> Files {
        Files::new(Shared::default())
    }

    /// Remembers a file as answering it would.
    fn learn(files: &mut Files, root: &Root, path: &str) {
        let looked = look(root, path.as_bytes(), Pace::Patient);
        let answer = files.learn(path.as_bytes(), looked, &clock());
        assert!(matches!(answer, Answer::Remembered), "{path} isn't there");
    }

    fn identity(root: &Root, path: &str) -> Identity {
        match root.find(path.as_bytes(), Pace::Patient) {
            Ok(Found::File(located)) => located.identity,
            other => panic!("{path}: {other:?}"),
        }
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
        let mut files = files();
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
        let mut files = files();
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
        let mut files = files();
        learn(&mut files, &root, "/link");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        files.turn();
        assert!(files.current(b"/link").is_none());
    }

    #[test]
    fn a_directory_that_is_moved_away_takes_its_files_along() {
        let (dir, root) = root(&["a"], 10);
        let outside = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir_all(inner.join("most")).unwrap();
        fs::write(inner.join("most/p"), "inside").unwrap();
        std::os::unix::fs::symlink("inner/most/p", dir.path().join("link")).unwrap();
        let mut files = files();
        for path in ["/inner/most/p", "/link"] {
            learn(&mut files, &root, path);
        }
        files.turn();
        for path in ["/inner/most/p", "/link"] {
            assert!(files.current(path.as_bytes()).is_some(), "{path}");
        }
        fs::rename(&inner, outside.path().join("inner")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("inner"), &inner).unwrap();
        files.turn();
        for path in ["/inner/most/p", "/link"] {
            assert!(files.current(path.as_bytes()).is_none(), "{path}");
            let looked = look(&root, path.as_bytes(), Pace::Patient);
            assert!(matches!(looked, Err(Refusal::NotFound)), "{path}");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let names: Vec<String> = (0..SLOTS / 4).map(|n| format!("file-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_dir, root) = root(&names, SMALL as usize);
        let mut files = files();
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
        let identity = identity(&root, "/a");
        let of = |name: &str| describe(Path::new(name), &identity, String::new()).content_type;
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
        let tag = |path: &str, settled| version_tag(&identity(&root, path), settled);
        assert_eq!(tag("/a", true), tag("/a", true));
        assert_ne!(tag("/a", true), tag("/b", true), "one length, one time");
        assert!(tag("/a", true).starts_with('"') && tag("/a", true).ends_with("-7\""));
        assert!(tag("/a", false).starts_with("W/\""));
        let opaque = tag("/a", false).trim_start_matches("W/").to_owned();
        assert_ne!(opaque, tag("/a", true), "never taken for the settled one");
        assert_ne!(entity_tag(b"version-1"), entity_tag(b"version-2"));
    }
}
