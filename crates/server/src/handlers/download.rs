//! Sends large files.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;
use tidegate_http::{ErrorCode, Stream};
use tidegate_ledger::Lease;
use tidegate_net::StreamMut;

use super::beneath::{Pace, Purpose, read_at};
use super::file_places::FilePlaces;
use super::lookup::{Identity, Root};
use super::pieces::{PIECE, Pieces};
use crate::disk::Disk;
use crate::request::Progress;

/// Entries that a table of descriptors has before it is searched for closed files.
const SWEEP_AT: usize = 64;

/// One version of one file, which need not be open.
#[derive(Debug)]
pub struct Source {
    /// The root that the file is below.
    pub root: Root,
    /// The file's path below the root.
    pub below: PathBuf,
    /// The version of the file.
    pub identity: Identity,
}

impl Source {
    /// Opens the file.
    ///
    /// # Errors
    /// The system's error, or one that says that another version has replaced this one.
    pub fn open(&self, pace: Pace) -> io::Result<File> {
        let (file, _) = self.root.open(&self.below, Purpose::Read, pace)?;
        if Identity::of(&file.metadata()?) != self.identity {
            return Err(io::Error::other("another version has replaced the file"));
        }
        Ok(file)
    }
}

/// An open file, with its place among the descriptors.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    _descriptor: Lease,
}

impl OpenFile {
    /// Opens a file.
    ///
    /// # Errors
    /// As [`Source::open`], and EMFILE if files may have no more descriptors.
    fn open(source: &Source, places: &FilePlaces, pace: Pace) -> io::Result<Arc<Self>> {
        let descriptor = places.take()?;
        let file = source.open(pace)?;
        Ok(Arc::new(Self {
            file,
            _descriptor: descriptor,
        }))
    }
}

/// The open files, each version once. A file is closed when its last download releases it.
#[derive(Debug, Default)]
pub struct Descriptors {
    open: FxHashMap<Identity, Weak<OpenFile>>,
}

impl Descriptors {
    fn get(&self, identity: &Identity) -> Option<Arc<OpenFile>> {
        self.open.get(identity)?.upgrade()
    }

    /// Adds an open file. Returns the one that is to be used: the same version may be open already.
    fn share(&mut self, identity: Identity, file: Arc<OpenFile>) -> Arc<OpenFile> {
        if let Some(open) = self.get(&identity) {
            return open;
        }
        if self.open.len() >= SWEEP_AT {
            self.open.retain(|_, file| file.strong_count() > 0);
        }
        self.open.insert(identity, Arc::downgrade(&file));
        file
    }
}

/// A file that is being sent.
pub struct Download {
    source: Arc<Source>,
    /// The open file; `None` until the stream first has a window.
    file: Option<Arc<OpenFile>>,
    /// The position of the byte that is read next.
    next: u64,
    end: u64,
    piece: Piece,
    /// Whether the file's identity shows each change of its content, so that pieces can be shared.
    settled: bool,
}

/// The piece that was read, but not yet taken by the stream.
enum Piece {
    /// A thread is reading it.
    Asked,
    /// The rest of the piece; may be empty.
    Here(Bytes),
}

/// Reads files for one worker.
pub struct Reader {
    disk: Disk,
    pieces: Pieces,
    descriptors: Descriptors,
    /// The files that threads have opened, for all workers.
    shared: Arc<Mutex<Descriptors>>,
    places: FilePlaces,
}

/// The result of a thread that read a piece.
pub struct Read {
    identity: Identity,
    /// The file, and the number of bytes read to `memory`.
    result: io::Result<(Arc<OpenFile>, usize)>,
    memory: BytesMut,
}

impl Reader {
    /// Returns a reader that hands reads of what isn't in memory to the threads of `disk`. Each
    /// file that it opens takes one of `places`.
    pub fn new(disk: Disk, shared: Arc<Mutex<Descriptors>>, places: FilePlaces) -> Self {
        Self {
            disk,
            pieces: Pieces::default(),
            descriptors: Descriptors::default(),
            shared,
            places,
        }
    }

    /// Checks whether a file is open already, or whether descriptors allow opening it now.
    ///
    /// # Errors
    /// EMFILE if they don't.
    pub fn check(&self, source: &Source) -> io::Result<()> {
        match self.descriptors.get(&source.identity) {
            Some(_) => Ok(()),
            None => self.places.check(),
        }
    }

    /// Returns the threads.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Returns the file, which is opened if it isn't open already.
    fn open(&mut self, source: &Source, pace: Pace) -> io::Result<Arc<OpenFile>> {
        if let Some(file) = self.descriptors.get(&source.identity) {
            return Ok(file);
        }
        let file = OpenFile::open(source, &self.places, pace)?;
        Ok(self.descriptors.share(source.identity, file))
    }
}

impl Download {
    /// Begins to send this range of a file's bytes. `settled` says whether the file's identity
    /// shows each change of its content.
    pub fn new(source: Arc<Source>, range: std::ops::Range<u64>, settled: bool) -> Self {
        Self {
            source,
            settled,
            file: None,
            next: range.start,
            end: range.end,
            piece: Piece::Here(Bytes::new()),
        }
    }

    /// Sends up to `want` bytes. If they aren't in memory, a thread reads them and then calls the
    /// function that `done` returns. Resets the stream if the file can't be read, has become
    /// shorter, or was replaced before it was opened.
    pub fn write<F: FnOnce(Read) + Send + 'static>(
        &mut self,
        stream: &mut StreamMut<'_>,
        want: usize,
        reader: &mut Reader,
        done: impl FnOnce() -> F,
    ) -> Progress {
        let step = self.try_write(stream, want, reader, done);
        progress(stream, step)
    }

    fn try_write<F: FnOnce(Read) + Send + 'static>(
        &mut self,
        stream: &mut StreamMut<'_>,
        want: usize,
        reader: &mut Reader,
        done: impl FnOnce() -> F,
    ) -> io::Result<Progress> {
        let Piece::Here(piece) = &mut self.piece else {
            return Ok(Progress::More(0));
        };
        if piece.is_empty() {
            let rest = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            let want = want.min(rest).min(PIECE);
            let (source, file, next) = (&self.source, &mut self.file, self.next);
            let place = self.settled.then_some((source.identity, next));
            // A piece is taken from others only together with their open file: once that is closed,
            // another version may have its name.
            if file.is_none() {
                *file = reader.descriptors.get(&source.identity);
            }
            let shared = place.filter(|_| file.is_some());
            if let Some(piece) = shared.and_then(|place| reader.pieces.find(place, want)) {
                self.take_piece(piece)?;
                return Ok(self.go_on(stream));
            }
            let disk = reader.disk.clone();
            let read = disk.at_once(source.root.storage(), |pace| {
                let file = match file {
                    Some(file) => file,
                    None => file.insert(reader.open(source, pace)?),
                };
                reader.pieces.read(&file.file, next, want, pace, place)
            });
            match read {
                Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.ask(want, reader, done());
                }
                None => return self.ask(want, reader, done()),
                Some(read) => self.take_piece(read?)?,
            }
        }
        Ok(self.go_on(stream))
    }

    /// Sends the piece that a thread has read. Resets the stream as [`Download::write`] does.
    pub fn arrived(
        &mut self,
        stream: &mut StreamMut<'_>,
        read: io::Result<(Arc<OpenFile>, Bytes)>,
    ) -> Progress {
        let taken = read.and_then(|(file, piece)| {
            self.file = Some(file);
            self.take_piece(piece)
        });
        let step = taken.map(|()| self.go_on(stream));
        progress(stream, step)
    }

    fn take_piece(&mut self, piece: Bytes) -> io::Result<()> {
        if piece.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.next += piece.len() as u64;
        self.piece = Piece::Here(piece);
        Ok(())
    }

    fn go_on(&mut self, stream: &mut StreamMut<'_>) -> Progress {
        let Piece::Here(piece) = &mut self.piece else {
            return Progress::More(0);
        };
        let last = self.next == self.end;
        let taken = stream.write(piece, last);
        if last && piece.is_empty() {
            Progress::Done(taken)
        } else {
            Progress::More(taken)
        }
    }

    /// Makes a thread read the next piece, and open the file if it isn't open.
    fn ask(
        &mut self,
        want: usize,
        reader: &mut Reader,
        done: impl FnOnce(Read) + Send + 'static,
    ) -> io::Result<Progress> {
        let mut memory = reader.pieces.memory(want);
        let (shared, places) = (Arc::clone(&reader.shared), reader.places.clone());
        let (source, file, next) = (Arc::clone(&self.source), self.file.clone(), self.next);
        let is_taken = reader.disk.run(move || {
            let file = match file {
                Some(file) => Ok(file),
                None => open_shared(&source, &shared, &places),
            };
            let result = file.and_then(|file| {
                let read = read_at(&file.file, &mut memory[..want], next, Pace::Patient)?;
                Ok((file, read))
            });
            done(Read {
                identity: source.identity,
                result,
                memory,
            });
        });
        if !is_taken {
            return Err(io::Error::other("there is no thread to read the file"));
        }
        self.piece = Piece::Asked;
        Ok(Progress::More(0))
    }
}

/// Returns the progress of a step. Resets the stream of one that failed.
fn progress(stream: &mut StreamMut<'_>, step: io::Result<Progress>) -> Progress {
    step.unwrap_or_else(|error| {
        let id = stream.id();
        log::warn!("stream {id}: reset, because its file can't be read any further: {error}");
        stream.reset(ErrorCode::INTERNAL_ERROR);
        Progress::Done(0)
    })
}

/// Opens a file on a thread, unless another thread has it open.
fn open_shared(
    source: &Source,
    shared: &Mutex<Descriptors>,
    places: &FilePlaces,
) -> io::Result<Arc<OpenFile>> {
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    // The lock isn't held while the file is opened, because other threads may open files on faster
    // disks.
    let open = lock().get(&source.identity);
    match open {
        Some(file) => Ok(file),
        None => {
            let file = OpenFile::open(source, places, Pace::Patient)?;
            Ok(lock().share(source.identity, file))
        }
    }
}

impl Reader {
    /// Takes what a thread has read. Returns it for [`Download::arrived`].
    ///
    /// # Errors
    /// The error that the thread got.
    pub fn take(&mut self, read: Read) -> io::Result<(Arc<OpenFile>, Bytes)> {
        let Read {
            identity,
            result,
            memory,
        } = read;
        let piece = self.pieces.keep(memory, None);
        let (file, len) = result?;
        let file = self.descriptors.share(identity, file);
        Ok((file, piece.slice(..len)))
    }
}

#[cfg(test)]
mod tests {
    use tidegate_ledger::{Ledger, Limits, Resource};

    use super::*;

    fn source(dir: &tempfile::TempDir) -> Source {
        std::fs::write(dir.path().join("file"), "content").unwrap();
        let root = Root::new(dir.path()).unwrap();
        let identity = Identity::of(&std::fs::metadata(dir.path().join("file")).unwrap());
        Source {
            root,
            below: "file".into(),
            identity,
        }
    }

    #[test]
    fn one_descriptor_for_all_who_read_a_version() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(&dir);
        let shared = Mutex::<Descriptors>::default();
        let ledger = Ledger::new(Limits::none());
        let used = || ledger.used(Resource::Descriptors);
        let places = FilePlaces::of(&ledger, 0);
        let open = || open_shared(&source, &shared, &places);
        let (first, second) = (open().unwrap(), open().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(used(), 1);
        drop((first, second));
        assert_eq!(used(), 0);
        assert!(
            shared.lock().unwrap().get(&source.identity).is_none(),
            "closed"
        );
        // Another version is another file.
        std::fs::write(dir.path().join("file"), "another").unwrap();
        std::fs::write(dir.path().join("new"), "changed").unwrap();
        std::fs::rename(dir.path().join("new"), dir.path().join("file")).unwrap();
        assert!(open().is_err());
        assert_eq!(used(), 0);
    }

    #[test]
    fn closed_files_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let source = source(&dir);
        let places = FilePlaces::of(&Ledger::new(Limits::none()), 0);
        let file = OpenFile::open(&source, &places, Pace::Patient).unwrap();
        let mut descriptors = Descriptors::default();
        for n in 0..10 * SWEEP_AT {
            std::fs::write(dir.path().join("other"), "x".repeat(n)).unwrap();
            let other = File::open(dir.path().join("other")).unwrap();
            let identity = Identity::of(&other.metadata().unwrap());
            let other = OpenFile {
                file: other,
                _descriptor: places.take().unwrap(),
            };
            descriptors.share(identity, Arc::new(other));
            assert!(descriptors.open.len() <= SWEEP_AT);
        }
        descriptors.share(source.identity, Arc::clone(&file));
        assert!(Arc::ptr_eq(
            &descriptors.get(&source.identity).unwrap(),
            &file
        ));
    }
}
