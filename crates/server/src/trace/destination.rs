//! The file of a trace. A bounded queue and a thread of its own write it, so a slow disk loses
//! records and never stops a worker. A full disk ends the trace until the file is reopened.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Instant, SystemTime};

use tidegate_trace::VantagePoint;

use crate::logs::queue::{Appended, Options, Queue, Readers, Report, Sink};

/// The most connections that are traced at once. Each has a decoder of its own for both directions,
/// so this bounds the memory of traces.
pub(super) const MOST_TRACED: usize = 1000;

/// A file of records. Clones belong to the same file.
#[derive(Clone, Debug)]
pub struct Destination {
    queue: Queue,
    counts: Arc<Counts>,
}

/// Counts of all files of the process: a name is unique although a file is closed and opened again.
static COUNTS: LazyLock<Arc<Counts>> = LazyLock::new(Arc::default);

#[derive(Debug, Default)]
struct Counts {
    /// The number of connections traced so far.
    begun: AtomicU64,
    /// The number of connections that are traced now.
    open: AtomicUsize,
}

/// The right to trace a connection, with the name that it has in the file.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    counts: Arc<Counts>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Destination {
    /// Opens the file, and creates it if it doesn't exist. A new file belongs to `owner`, a user
    /// and a group, if there is one, and only its user may read it.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Self> {
        let file = match owner {
            Some(owner) => Appended::open_for(path, Readers::Owner, owner)?,
            None => Appended::open(path, Readers::Owner)?,
        };
        let name = format!("the trace {}", path.display());
        let file = TraceFile {
            path: path.into(),
            file,
            header: Some(header()),
            state: State::Written,
        };
        let report = Report::Notes(tidegate_trace::note);
        Ok(Self {
            queue: Queue::start(file, &name, report, Options::default())?,
            counts: Arc::clone(&COUNTS),
        })
    }

    /// Whether both belong to the same file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.queue.is(&other.queue)
    }

    /// Returns a place for a connection, unless too many are traced.
    pub(crate) fn place(&self) -> Option<Place> {
        let counts = Arc::clone(&self.counts);
        if counts.open.fetch_add(1, Ordering::Relaxed) >= MOST_TRACED {
            counts.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let number = counts.begun.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Place {
            name: format!("{}-{number}", std::process::id()),
            counts,
        })
    }

    /// Adds whole records. A full queue drops and counts them.
    pub(crate) fn push(&self, records: String) {
        self.queue.push(records);
    }

    /// Makes the writer reopen the file before the next record, as after a rotation of files.
    /// Returns immediately.
    pub fn reopen(&self) {
        self.queue.reopen();
    }

    /// Waits until the records that were handed over are written, at most until `deadline`.
    pub fn flush(&self, deadline: Instant) {
        self.queue.flush(deadline);
    }
}

/// Returns the first record of a file.
fn header() -> Vec<u8> {
    let title = concat!("tidegate ", env!("CARGO_PKG_VERSION"));
    tidegate_trace::header(title, VantagePoint::Server, Some(now())).into_bytes()
}

/// Returns the time of day, in the notation of RFC 3339.
pub(crate) fn now() -> String {
    // `Timestamp` ends with the year 9999.
    let now = jiff::Timestamp::try_from(SystemTime::now()).unwrap_or(jiff::Timestamp::MAX);
    format!("{now:.3}")
}

/// The file, and whether it takes records.
struct TraceFile {
    path: PathBuf,
    file: Appended,
    /// The part of the first record that isn't written yet.
    header: Option<Vec<u8>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Written,
    /// The disk is full, or the file can't be written any longer: nothing more is written.
    Ended,
}

impl TraceFile {
    fn write_header(&mut self) -> io::Result<()> {
        while let Some(header) = &mut self.header {
            let written = self.file.write(header)?;
            header.drain(..written);
            if header.is_empty() {
                self.header = None;
            }
        }
        Ok(())
    }
}

impl Sink for TraceFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.state == State::Ended {
            return Ok(bytes.len());
        }
        let written = self.write_header().and_then(|()| self.file.write(bytes));
        match written {
            Err(error)
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                self.state = State::Ended;
                log::error!(
                    "the trace {} ends, because it can't be written: {error}; SIGUSR1 begins it \
                     again",
                    self.path.display()
                );
                Ok(bytes.len())
            }
            written => written,
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file.reopen()?;
        self.header = Some(header());
        self.state = State::Written;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use tidegate_trace::Trace;

    use super::*;

    #[test]
    fn a_full_disk_ends_the_trace() {
        let trace = Destination::open(Path::new("/dev/full"), None).unwrap();
        for _ in 0..100 {
            trace.push(tidegate_trace::note("x"));
        }
        // Were the write tried again and again, this would wait.
        let begin = Instant::now();
        assert!(trace.queue.flush(begin + Duration::from_secs(30)));
    }

    #[test]
    fn a_file_that_is_reopened_begins_with_a_header() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("trace"), dir.path().join("trace.1"));
        let deadline = Instant::now() + Duration::from_secs(30);
        let trace = Destination::open(&path, None).unwrap();
        trace.push(tidegate_trace::note("one"));
        trace.flush(deadline);
        std::fs::rename(&path, &old).unwrap();
        trace.reopen();
        trace.push(tidegate_trace::note("two"));
        trace.flush(deadline);
        for (path, text) in [(old, "one"), (path, "two")] {
            let read = Trace::read(&std::fs::read(path).unwrap());
            assert_eq!(read.damage, None);
            assert_eq!(read.notes, [text]);
        }
    }

    #[test]
    fn so_many_connections_are_traced_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace");
        let mut trace = Destination::open(&path, None).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Those of the process belong to other tests, too.
        assert!(Arc::ptr_eq(
            &trace.counts,
            &Destination::open(&path, None).unwrap().counts
        ));
        trace.counts = Arc::default();
        let mut places: Vec<Place> = (0..MOST_TRACED).filter_map(|_| trace.place()).collect();
        assert_eq!(places.len(), MOST_TRACED);
        assert!(trace.place().is_none());
        places.pop();
        let place = trace.place().unwrap();
        assert!(places.iter().all(|other| other.name != place.name));
    }
}
