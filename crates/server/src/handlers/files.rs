//! Static files. Those of up to 256 KiB are kept in memory; larger ones are read while they are
//! sent.
//!
//! A worker never waits for a disk. It reads what the system has in its caches and hands the rest
//! to threads. The request then waits for a [`Done`] in the worker's mailbox.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::io::Errno;
use tidegate_http::{Body, RequestHead};
use tidegate_net::StreamMut;

use super::asset::Metadata;
use super::beneath::Pace;
use super::conditional::judge;
use super::done::{Asked, Done};
use super::download::{Download, OpenFile, Read, Reader, Source};
use super::fallback::{Fallback, Place};
use super::kept::{Content, Kept, Known, Memory};
use super::look::{Looked, look};
use super::lookup::{Refusal, Root};
pub use super::shared::Shared;
use crate::clock::Clock;
use crate::request::{Extra, Key, Outcome, Progress, Request, Sent};

const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A request that waits until its path is looked up.
pub struct Waiting {
    /// The request's head.
    pub head: RequestHead,
    /// Whether the request has no body.
    pub end: bool,
    links: Vec<String>,
    headers: Vec<(String, String)>,
    /// The file that answers if there is none, and its directory.
    fallback: Option<(Root, Arc<Fallback>)>,
}

/// How to answer the requests for a path that was looked up.
pub enum Answer {
    /// With the file that is now remembered at this place.
    Remembered(usize),
    /// With a redirect to the path with a slash at its end.
    Redirect,
    /// With the status for this refusal.
    Refused(Refusal),
}

/// Brings the results of threads to a worker.
type Report = Arc<dyn Fn(Done) + Send + Sync>;

/// The files that one worker serves.
pub struct Files {
    kept: Kept,
    reader: Reader,
    /// Brings the results of threads to this worker.
    report: Option<Report>,
    /// The requests that wait for each path that is being looked up.
    looks: FxHashMap<Asked, Vec<Key>>,
}

impl Files {
    /// Returns a worker's files, of which none is remembered yet.
    pub fn new(shared: Shared, now: Instant) -> Self {
        Self {
            kept: Kept::new(shared.check_every, now),
            reader: Reader::new(shared.disk, shared.descriptors, shared.places),
            report: None,
            looks: FxHashMap::default(),
        }
    }

    /// Sets how threads bring their results to this worker.
    pub fn reached_by(&mut self, report: impl Fn(Done) + Send + Sync + 'static) {
        self.report = Some(Arc::new(report));
    }

    /// Compares files with the file system as often as `check_every` says from now on, and forgets
    /// those below other roots than these.
    pub fn replace(&mut self, check_every: Duration, roots: &FxHashSet<u64>) {
        self.kept.replace(check_every, roots);
    }

    /// Begins a new turn of the loop.
    pub fn turn(&mut self, now: Instant) {
        self.kept.turn(now);
    }

    /// Answers a request for a place below a root, or makes a thread look it up. If there is no
    /// file at the place, `fallback` answers.
    pub fn answer<W>(
        &mut self,
        request: &mut Request<'_>,
        key: Key,
        root: &Root,
        place: Place<'_>,
        fallback: Option<&Arc<Fallback>>,
    ) -> Outcome<W>
    where
        W: From<Box<Waiting>> + From<Download>,
    {
        if !matches!(request.method(), b"GET" | b"HEAD") {
            return Outcome::Answered(request.respond_methods(ALLOW));
        }
        let second = request.clock.second();
        let remembered = match self.kept.memory(root.number(), place.path, second) {
            Memory::Fresh(remembered) => Some(remembered),
            Memory::Ageing(remembered) => {
                let asked = (root.number(), place.path.into());
                if !self.looks.contains_key(&asked) && self.look(&asked, root, place.rest()) {
                    self.looks.insert(asked, Vec::new());
                }
                Some(remembered)
            }
            Memory::Stale => None,
        };
        match remembered.and_then(|remembered| self.kept.at(remembered)) {
            Some(known) => answer_known(request, known, &self.reader),
            None => self.look_up(request, key, root, place, fallback),
        }
    }

    /// Looks up a path that isn't remembered, and answers or makes the request wait. A function of
    /// its own, so that the way of a request whose file is remembered is short.
    #[cold]
    fn look_up<W>(
        &mut self,
        request: &mut Request<'_>,
        key: Key,
        root: &Root,
        place: Place<'_>,
        fallback: Option<&Arc<Fallback>>,
    ) -> Outcome<W>
    where
        W: From<Box<Waiting>> + From<Download>,
    {
        let rest = place.rest();
        let asked = (root.number(), place.path.into());
        // While a thread looks up the path, further requests wait for its result.
        let looked = if self.looks.contains_key(&asked) {
            None
        } else {
            let disk = self.reader.disk();
            disk.at_once(root.storage(), |pace| look(root, rest, pace))
        };
        match looked {
            None | Some(Err(Refusal::WouldBlock)) => {
                let waiting = Waiting::new(request, root, fallback);
                self.wait(request, (key, asked), root, rest, waiting)
            }
            Some(looked) => match (self.learn(&asked, looked, request.clock), fallback) {
                (Answer::Refused(Refusal::NotFound), Some(fallback)) => {
                    self.fall_back(request, key, root, fallback)
                }
                (answer, _) => self.answer_with(request, &answer),
            },
        }
    }

    /// Answers with the file for paths without one.
    fn fall_back<W>(
        &mut self,
        request: &mut Request<'_>,
        key: Key,
        root: &Root,
        fallback: &Fallback,
    ) -> Outcome<W>
    where
        W: From<Box<Waiting>> + From<Download>,
    {
        self.answer(request, key, root, fallback.place(), None)
    }

    /// Answers a request that waited for its path to be looked up.
    pub fn answer_waiting<W>(
        &mut self,
        request: &mut Request<'_>,
        key: Key,
        answer: &Answer,
        waiting: &Waiting,
    ) -> Outcome<W>
    where
        W: From<Box<Waiting>> + From<Download>,
    {
        match (answer, &waiting.fallback) {
            (Answer::Refused(Refusal::NotFound), Some((root, fallback))) => {
                self.fall_back(request, key, root, fallback)
            }
            _ => self.answer_with(request, answer),
        }
    }

    /// Answers a request whose path was looked up.
    fn answer_with<W>(&mut self, request: &mut Request<'_>, answer: &Answer) -> Outcome<W>
    where
        W: From<Download>,
    {
        Outcome::Answered(match answer {
            Answer::Remembered(place) => match self.kept.at(*place) {
                Some(known) => return answer_known(request, known, &self.reader),
                None => refuse(request, &Refusal::NotFound),
            },
            Answer::Redirect => redirect(request),
            Answer::Refused(refusal) => refuse(request, refusal),
        })
    }

    /// Continues a download whose stream takes up to `want` bytes: sends some, or makes a thread
    /// read them. Resets the stream as [`Download::write`] does.
    pub fn read_on(
        &mut self,
        download: &mut Download,
        stream: &mut StreamMut<'_>,
        want: usize,
        key: Key,
    ) -> Progress {
        let report = &self.report;
        download.write(stream, want, &mut self.reader, || {
            let report = report.clone();
            move |read| {
                if let Some(report) = report {
                    report(Done::Read(key, read));
                }
            }
        })
    }

    /// Takes what a thread has read. Returns it for [`Download::arrived`].
    ///
    /// # Errors
    /// The error that the thread got.
    pub fn take(&mut self, read: Read) -> io::Result<(Arc<OpenFile>, Bytes)> {
        self.reader.take(read)
    }

    /// Takes the result of a thread that looked up a path. Returns how to answer, and the requests
    /// that wait for it.
    pub fn looked(
        &mut self,
        asked: &Asked,
        looked: Result<Looked, Refusal>,
        clock: &Clock,
    ) -> (Answer, Vec<Key>) {
        let waiting = self.looks.remove(asked).unwrap_or_default();
        (self.learn(asked, looked, clock), waiting)
    }

    /// Makes the request wait for a thread that looks up its path, and starts one if there is none.
    fn wait<W>(
        &mut self,
        request: &mut Request<'_>,
        (key, asked): (Key, Asked),
        root: &Root,
        rest: &[u8],
        waiting: Waiting,
    ) -> Outcome<W>
    where
        W: From<Box<Waiting>>,
    {
        if let Some(others) = self.looks.get_mut(&asked) {
            others.push(key);
        } else if self.look(&asked, root, rest) {
            self.looks.insert(asked, vec![key]);
        } else {
            let refusal = Refusal::Failed(io::Error::other("there is no thread to read the file"));
            return Outcome::Answered(refuse(request, &refusal));
        }
        Outcome::InProgress(Sent::NOTHING, Box::new(waiting).into())
    }

    /// Makes a thread look up a path. Returns whether there is a thread.
    fn look(&self, asked: &Asked, root: &Root, rest: &[u8]) -> bool {
        let asked = asked.clone();
        let (root, rest, report) = (root.clone(), rest.to_vec(), self.report.clone());
        self.reader.disk().run(move || {
            let looked = look(&root, &rest, Pace::Patient);
            if let Some(report) = report {
                report(Done::Looked(asked, looked));
            }
        })
    }

    /// Remembers the file that was found at a path, or forgets the path. Returns how to answer.
    fn learn(&mut self, asked: &Asked, looked: Result<Looked, Refusal>, clock: &Clock) -> Answer {
        let (root, path) = asked;
        let (spot, content) = match looked {
            Ok(Looked::Medium(spot, content)) => (spot, self.kept.hold(content)),
            Ok(Looked::Large(spot)) => (spot, None),
            other => {
                if let Some(place) = self.kept.place(*root, path) {
                    self.kept.forget(place);
                }
                return match other {
                    Err(refusal) => Answer::Refused(refusal),
                    Ok(_) => Answer::Redirect,
                };
            }
        };
        let known = Known::new(path, spot, content, clock);
        Answer::Remembered(self.kept.remember(known))
    }
}

impl Waiting {
    fn new(request: &Request<'_>, root: &Root, fallback: Option<&Arc<Fallback>>) -> Self {
        Self {
            head: request.head.clone(),
            end: request.end,
            links: request.extra.links.to_vec(),
            headers: request.extra.headers.to_vec(),
            fallback: fallback.map(|fallback| (root.clone(), Arc::clone(fallback))),
        }
    }

    /// Returns the fields that the preload list adds to the answer.
    pub fn extra(&self) -> Extra<'_> {
        Extra {
            links: &self.links,
            headers: &self.headers,
        }
    }
}

/// Answers with a remembered file.
#[inline]
fn answer_known<W>(request: &mut Request<'_>, known: &mut Known, reader: &Reader) -> Outcome<W>
where
    W: From<Download>,
{
    match &mut known.content {
        Content::Whole(asset) => Outcome::Answered(asset.answer(request)),
        Content::Large(metadata) => {
            let file = (&known.source, known.settled);
            answer_large(request, file, metadata, reader)
        }
    }
}

fn answer_large<W: From<Download>>(
    request: &mut Request<'_>,
    (source, settled): (&Arc<Source>, bool),
    metadata: &Metadata,
    reader: &Reader,
) -> Outcome<W> {
    let clock = request.clock;
    let verdict = judge(request.head, &metadata.validators, metadata.length);
    let (head, range) = metadata.other(verdict, clock);
    if range.is_empty() || request.method() == b"HEAD" {
        return Outcome::Answered(request.respond(&head, Body::Empty));
    }
    // Checked before the head is sent, because no status can report it afterwards.
    if let Err(error) = reader.check(source) {
        return Outcome::Answered(refuse(request, &Refusal::Failed(error)));
    }
    let sent = request.respond(&head, Body::Stream);
    if sent.status == 0 {
        return Outcome::Answered(sent);
    }
    let download = Download::new(Arc::clone(source), range, settled);
    Outcome::InProgress(sent, download.into())
}

/// Whether the process or the system has no descriptor left.
fn is_exhausted(error: &io::Error) -> bool {
    let error = Errno::from_io_error(error);
    matches!(error, Some(Errno::MFILE | Errno::NFILE))
}

fn redirect(request: &mut Request<'_>) -> Sent {
    let path = request.path();
    let query = &request.head.path_bytes()[path.len()..];
    let mut head = request.head_of(301);
    head.push("location", [path, b"/", query].concat());
    head.push("content-length", "0");
    request.respond(&head, Body::Empty)
}

fn refuse(request: &mut Request<'_>, refusal: &Refusal) -> Sent {
    match refusal {
        Refusal::NotFound => request.respond_text(404, "404 Not Found\n"),
        Refusal::Forbidden => request.respond_text(403, "403 Forbidden\n"),
        // Descriptors become free when other downloads end.
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
    use std::time::SystemTime;

    use tidegate_ledger::{Ledger, Limits};

    use super::*;

    #[test]
    fn what_a_look_does_not_find_again_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "content").unwrap();
        let root = Root::new(dir.path()).unwrap();
        let clock = Clock::new(SystemTime::now());
        let mut files = Files::new(Shared::new(&Ledger::new(Limits::none()), 0), Instant::now());
        let mut look = || {
            let found = look(&root, b"/a", Pace::Patient);
            files
                .looked(&(root.number(), (*b"/a").into()), found, &clock)
                .0
        };
        assert!(matches!(look(), Answer::Remembered(_)));
        std::fs::remove_file(dir.path().join("a")).unwrap();
        assert!(matches!(look(), Answer::Refused(Refusal::NotFound)));
        assert_eq!(files.kept.place(root.number(), b"/a"), None);
    }
}
