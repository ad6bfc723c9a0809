//! A bounded queue of lines, and the thread that writes them.
//!
//! A full pipe, a full disk or a slow terminal stops only the thread that writes. A queue that is
//! full drops and counts further lines until all that wait are written. So what is lost is one gap,
//! and one line in its place says how many lines, and from when to when.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The most bytes of lines that wait in one queue: about 20,000 lines, which a busy server writes
/// in a second or two.
const LIMIT: usize = 4 << 20;

/// The pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A place that lines are written to.
pub trait Sink: Send + 'static {
    /// Writes a part of these bytes. Returns how many were written.
    ///
    /// # Errors
    /// The operating system's error.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Reopens the sink's file by its name, if it has one.
    ///
    /// # Errors
    /// The operating system's error. The sink then keeps the file that it has.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A descriptor that the process was given, such as stdout.
impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }
}

/// Duplicates this stream's descriptor. The result has no buffer and no lock.
///
/// # Errors
/// When the process has no descriptor left.
pub fn stream(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(File::from(descriptor.try_clone_to_owned()?))
}

/// The users who may read a file that is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The users whom the umask leaves.
    Umask,
    /// The file's user alone.
    Owner,
}

impl Readers {
    fn mode(self) -> u32 {
        match self {
            Self::Umask => 0o666,
            Self::Owner => 0o600,
        }
    }
}

/// A file that lines are appended to.
pub struct Appended {
    path: PathBuf,
    file: File,
    readers: Readers,
}

impl Appended {
    /// Opens the file, and creates it if it doesn't exist.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(path: &Path, readers: Readers) -> io::Result<Self> {
        let mut options = File::options();
        options.append(true).create(true).mode(readers.mode());
        Ok(Self {
            path: path.into(),
            file: options.open(path)?,
            readers,
        })
    }

    /// Opens the file like [`Appended::open`]. A file that is new belongs to this user and group,
    /// so that the server can open it again once it has become that user.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open_for(path: &Path, readers: Readers, (user, group): (u32, u32)) -> io::Result<Self> {
        let mut options = File::options();
        options.append(true).create_new(true).mode(readers.mode());
        // A file that exists keeps its owner: it may be another's, by a link.
        match options.open(path) {
            Ok(file) => {
                fchown(&file, Some(user), Some(group))?;
                Ok(Self {
                    path: path.into(),
                    file,
                    readers,
                })
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::open(path, readers),
            Err(error) => Err(error),
        }
    }
}

impl Sink for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.file, bytes)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path, self.readers)?;
        Ok(())
    }
}

/// Lines that were lost one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The number of lines.
    pub lines: u64,
    /// When the first of them was lost, in milliseconds since 1970.
    began: u64,
    /// When the queue took lines again, in milliseconds since 1970.
    ended: u64,
}

impl Gap {
    /// Returns when the first line was lost, as ISO 8601 has it.
    pub fn began(&self) -> String {
        moment(self.began)
    }

    /// Returns when the queue took lines again, as ISO 8601 has it.
    pub fn ended(&self) -> String {
        moment(self.ended)
    }
}

/// Returns the milliseconds since 1970.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn moment(millis: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis.cast_signed());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

/// Lines that all queues of this process have lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines of the log.
    pub log: u64,
    /// Lines of the access logs.
    pub access_logs: u64,
}

static LOST_OF_LOG: AtomicU64 = AtomicU64::new(0);
static LOST_OF_ACCESS_LOGS: AtomicU64 = AtomicU64::new(0);

/// Returns how many lines were lost since the process began.
pub fn lost() -> Lost {
    Lost {
        log: LOST_OF_LOG.load(Ordering::Relaxed),
        access_logs: LOST_OF_ACCESS_LOGS.load(Ordering::Relaxed),
    }
}

/// Returns the number of lines that all queues of the process have dropped.
pub fn lost_lines() -> u64 {
    let Lost { log, access_logs } = lost();
    log + access_logs
}

/// How a queue reports failed writes and lost lines.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// By lines of the log, and by a line in place of lost ones, which this function formats.
    Log(fn(&Gap) -> String),
    /// By lines in the queue itself, which this function formats: for the queue of the log.
    Inline(fn(&str) -> String),
    /// By records in the queue itself, which this function formats: for a trace, whose records are
    /// no lines of logs. That its file can't be reopened is a line of the log.
    Notes(fn(&str) -> String),
}

/// Settings of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most bytes of lines that wait. Default 4 MiB.
    pub limit: usize,
    /// The pause before a failed write is tried again. Default 1 s.
    pub retry: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limit: LIMIT,
            retry: RETRY,
        }
    }
}

/// The sending end of a queue. Clones belong to the same queue. No method but [`Queue::flush`]
/// waits.
#[derive(Clone, Debug)]
pub struct Queue {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The sink's name in reports.
    name: Box<str>,
    report: Report,
    limit: usize,
    /// Bytes of lines that wait.
    waiting: AtomicUsize,
    /// Lines that were dropped since the last report. While there are some, no line is taken.
    lost: AtomicU64,
    /// When the first of them was dropped, in milliseconds since 1970.
    lost_since: AtomicU64,
    /// Whether to reopen the sink before the next write.
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Command {
    /// Write these lines.
    Lines(Vec<u8>),
    /// Look at [`Shared::reopen`] and [`Shared::lost`].
    Look,
    /// Report that all lines before this command are written.
    Written(SyncSender<()>),
}

impl Queue {
    /// Starts a queue in front of this sink. `name` is the sink's name in reports, such as `the
    /// access log`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        sink: impl Sink,
        name: &str,
        report: Report,
        options: Options,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::channel();
        let shared = Arc::new(Shared {
            name: name.into(),
            report,
            limit: options.limit,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            lost_since: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        });
        let writer = Writer {
            sink,
            retry: options.retry,
            shared: Arc::clone(&shared),
            trouble: None,
        };
        thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self { commands, shared })
    }

    /// Adds whole lines, including the last line end. A full queue drops and counts them.
    pub fn push(&self, lines: impl Into<Vec<u8>>) {
        let lines = lines.into();
        // Relaxed, because the numbers are only bounds; the channel orders the lines.
        if self.shared.lost.load(Ordering::Relaxed) > 0 || !self.take(lines.len()) {
            return self.lose(&lines);
        }
        // The writer ends only after all queues are gone.
        let _ = self.commands.send(Command::Lines(lines));
    }

    /// Takes room for these bytes, if there is enough. All bytes that are counted come by a
    /// command, after which the writer looks for losses. Were others counted, it could put off its
    /// report until no command comes any longer.
    fn take(&self, len: usize) -> bool {
        let Shared { limit, waiting, .. } = &*self.shared;
        let sum = |bytes: usize| bytes.checked_add(len).filter(|sum| sum <= limit);
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum)
            .is_ok()
    }

    /// Counts lines that are dropped.
    #[cold]
    fn lose(&self, lines: &[u8]) {
        let shared = &*self.shared;
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        match shared.report {
            Report::Log(_) => drop(LOST_OF_ACCESS_LOGS.fetch_add(count, Ordering::Relaxed)),
            Report::Inline(_) => drop(LOST_OF_LOG.fetch_add(count, Ordering::Relaxed)),
            Report::Notes(_) => {}
        }
        if shared.lost.load(Ordering::Relaxed) == 0 {
            shared.lost_since.store(millis(), Ordering::Relaxed);
        }
        if shared.lost.fetch_add(count, Ordering::AcqRel) > 0 {
            return;
        }
        // The writer may have written everything meanwhile, and wait for a command.
        let _ = self.commands.send(Command::Look);
        if let Report::Log(_) = shared.report {
            log::warn!(
                "{} takes lines too slowly: lines are lost from now on",
                shared.name
            );
        }
    }

    /// Makes the writer reopen the sink before the next write, as after log rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        let _ = self.commands.send(Command::Look);
    }

    /// Returns the sink's name in reports.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns the bytes of lines that wait.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Waits until all earlier lines are written, at most until `deadline`. Returns whether they
    /// are.
    pub fn flush(&self, deadline: Instant) -> bool {
        let patience = deadline.saturating_duration_since(Instant::now());
        self.written().recv_timeout(patience).is_ok()
    }

    /// Returns a receiver that gets a message once all earlier lines are written.
    pub fn written(&self) -> Receiver<()> {
        let (written, is_written) = mpsc::sync_channel(1);
        // Without a writer the receiver finds its sender gone.
        let _ = self.commands.send(Command::Written(written));
        is_written
    }

    /// Whether both belong to the same queue.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// The state of the thread that writes.
struct Writer<S> {
    sink: S,
    retry: Duration,
    shared: Arc<Shared>,
    /// The error of the first failed write, until a write works again.
    trouble: Option<String>,
}

impl<S: Sink> Writer<S> {
    fn run(mut self, commands: &Receiver<Command>) {
        for command in commands {
            match command {
                Command::Lines(lines) => {
                    self.write(&lines);
                    let waiting = &self.shared.waiting;
                    waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                    self.report_losses();
                }
                Command::Look => {
                    self.look();
                    self.report_losses();
                }
                // The thread that waited may no longer do so.
                Command::Written(written) => drop(written.try_send(())),
            }
        }
    }

    /// Writes all bytes, and tries again until they are written.
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            self.look();
            let error = match self.sink.write(bytes) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    bytes = &bytes[written..];
                    continue;
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Interrupted => {}
                // Another process has made this terminal or pipe non-blocking.
                ErrorKind::WouldBlock => thread::sleep(self.retry.min(Duration::from_millis(50))),
                _ => {
                    self.complain(&error);
                    thread::sleep(self.retry);
                }
            }
        }
    }

    /// Reopens the sink if that was requested.
    fn look(&mut self) {
        if self.shared.reopen.swap(false, Ordering::Acquire)
            && let Err(error) = self.sink.reopen()
        {
            let text = format!(
                "can't reopen {}, so its lines still go to the former file: {error}",
                self.shared.name
            );
            match self.shared.report {
                Report::Notes(_) => log::warn!("{text}"),
                Report::Log(_) | Report::Inline(_) => self.say(&text),
            }
        }
    }

    /// Reports the first failure of several.
    fn complain(&mut self, error: &io::Error) {
        if self.trouble.is_some() {
            return;
        }
        self.trouble = Some(error.to_string());
        if let Report::Log(_) = self.shared.report {
            log::error!(
                "can't write {}: {error}; its lines wait, and are lost if too many wait",
                self.shared.name
            );
        }
    }

    /// Reports that writes work again, and lost lines once all that came before them are written.
    fn report_losses(&mut self) {
        if self.trouble.is_none() && self.shared.lost.load(Ordering::Relaxed) == 0 {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let name = &shared.name;
        let lost = match shared.waiting.load(Ordering::Relaxed) {
            0 => shared.lost.swap(0, Ordering::AcqRel),
            _ => return,
        };
        let gap = Gap {
            lines: lost,
            began: shared.lost_since.load(Ordering::Relaxed),
            ended: millis(),
        };
        let (began, ended) = (gap.began(), gap.ended());
        if let (Report::Log(line), 1..) = (shared.report, lost) {
            self.write(line(&gap).as_bytes());
        }
        let text = match (self.trouble.take(), lost) {
            (None, 0) => return,
            (None, lost) => format!(
                "{lost} lines of {name} were lost: it took them too slowly, from {began} to {ended}"
            ),
            (Some(error), 0) => {
                format!("{name} can be written again after: {error}; none of its lines was lost")
            }
            (Some(error), lost) => format!(
                "{name} can be written again after: {error}; {lost} of its lines were lost, from \
                 {began} to {ended}"
            ),
        };
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        match self.shared.report {
            Report::Log(_) => log::warn!("{text}"),
            Report::Inline(line) | Report::Notes(line) => {
                let line = line(text);
                self.write(line.as_bytes());
            }
        }
    }
}

/// Starts a queue in front of this process's stdout. `line` formats the line in place of lost ones.
///
/// # Errors
/// When the system gives no descriptor or no thread.
pub fn stdout(line: fn(&Gap) -> String) -> io::Result<Queue> {
    let sink = stream(io::stdout().as_fd())?;
    Queue::start(sink, "stdout", Report::Log(line), Options::default())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A sink that asks the test before each write how it ends. Each `reopen` begins a new file.
    struct Scripted {
        begun: Sender<()>,
        answers: Receiver<io::Result<usize>>,
        files: Arc<Mutex<Vec<String>>>,
    }

    impl Sink for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The test may not be listening.
            let _ = self.begun.send(());
            // Once the test no longer answers, every write succeeds.
            let taken = self
                .answers
                .recv()
                .unwrap_or(Ok(usize::MAX))?
                .min(bytes.len());
            let text = std::str::from_utf8(&bytes[..taken]).unwrap();
            self.files
                .lock()
                .unwrap()
                .last_mut()
                .unwrap()
                .push_str(text);
            Ok(taken)
        }

        fn reopen(&mut self) -> io::Result<()> {
            self.files.lock().unwrap().push(String::new());
            Ok(())
        }
    }

    struct Lab {
        queue: Queue,
        /// A message for each write that has begun and waits for its answer.
        begun: Receiver<()>,
        answers: Sender<io::Result<usize>>,
        files: Arc<Mutex<Vec<String>>>,
    }

    impl Lab {
        fn new(limit: usize) -> Self {
            let (answers, receiver) = mpsc::channel();
            let (begun, has_begun) = mpsc::channel();
            let files = Arc::new(Mutex::new(vec![String::new()]));
            let sink = Scripted {
                begun,
                answers: receiver,
                files: Arc::clone(&files),
            };
            let options = Options {
                limit,
                retry: Duration::ZERO,
            };
            let report = Report::Inline(|text| format!("! {text}\n"));
            let queue = Queue::start(sink, "the log", report, options).unwrap();
            Self {
                queue,
                begun: has_begun,
                answers,
                files,
            }
        }

        /// Lets all further writes through. Returns what was written to each file.
        fn written(self) -> Vec<String> {
            let Self {
                queue,
                answers,
                files,
                ..
            } = self;
            drop(answers);
            assert!(queue.flush(Instant::now() + PATIENCE));
            let files = files.lock().unwrap();
            files.clone()
        }
    }

    #[test]
    fn a_stuck_writer_costs_lines_but_nothing_waits() {
        let lab = Lab::new(100);
        // The test doesn't answer, so the writer gets stuck in its first write.
        for n in 10..60 {
            lab.queue.push(format!("line {n}\n"));
        }
        assert!(
            !lab.queue.flush(Instant::now()),
            "a stuck writer has written"
        );
        let lines: Vec<String> = (10..22).map(|n| format!("line {n}\n")).collect();
        // 12 lines of 8 bytes fit into 100.
        let before = lost().log;
        let queue = lab.queue.clone();
        let written = lab.written().concat();
        let gap = written
            .strip_prefix(&lines.concat())
            .unwrap_or_else(|| panic!("{written}"));
        let expected = "! 38 lines of the log were lost: it took them too slowly, from ";
        assert!(
            gap.starts_with(expected) && gap.lines().count() == 1,
            "{gap}"
        );
        let (began, ended) = gap[expected.len()..].trim_end().split_once(" to ").unwrap();
        let moment = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
        assert!(moment(began) <= moment(ended));
        // Other tests may lose lines, too.
        assert!(before >= 38 && lost().log >= before);
        // The gap is closed.
        queue.push("line 60\n");
        assert!(queue.flush(Instant::now() + PATIENCE));
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn a_queue_that_overflows_takes_lines_again() {
        let lab = Lab::new(100);
        let queue = lab.queue.clone();
        // From here on the writer is never stuck.
        drop(lab.answers);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| queue.push("a line of 24 bytes ....\n")));
            }
        });
        assert!(queue.flush(Instant::now() + PATIENCE));
        assert_eq!(
            (queue.waiting(), queue.shared.lost.load(Ordering::Relaxed)),
            (0, 0)
        );
    }

    #[test]
    fn a_gap_is_one_and_its_line_stands_in_its_place() {
        let lab = Lab::new(100);
        for n in 10..30 {
            lab.queue.push(format!("line {n}\n"));
        }
        // Room for some of them is no end of the gap.
        for _ in 0..6 {
            lab.begun.recv_timeout(PATIENCE).unwrap();
            lab.answers.send(Ok(100)).unwrap();
        }
        lab.begun.recv_timeout(PATIENCE).unwrap();
        lab.queue.push("line 30\n");
        for _ in 6..12 {
            lab.answers.send(Ok(100)).unwrap();
        }
        lab.answers.send(Ok(1000)).unwrap();
        assert!(lab.queue.flush(Instant::now() + PATIENCE));
        lab.queue.push("line 31\n");
        let written = lab.written().concat();
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 14, "{written}");
        assert_eq!(lines[11], "line 21");
        assert!(
            lines[12].starts_with("! 9 lines of the log were lost"),
            "{written}"
        );
        assert_eq!(lines[13], "line 31");
    }

    #[test]
    fn a_write_that_fails_is_tried_again_where_it_stopped() {
        let lab = Lab::new(1000);
        lab.queue.push("one\ntwo\n");
        lab.answers.send(Ok(5)).unwrap();
        for _ in 0..3 {
            lab.answers
                .send(Err(ErrorKind::StorageFull.into()))
                .unwrap();
        }
        lab.answers
            .send(Err(ErrorKind::Interrupted.into()))
            .unwrap();
        lab.answers.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        let written = lab.written().concat();
        assert_eq!(
            written,
            "one\ntwo\n! the log can be written again after: no storage space; none of its lines was lost\n"
        );
    }

    #[test]
    fn a_reopened_sink_gets_the_lines_from_then_on() {
        let lab = Lab::new(1000);
        lab.queue.push("before\n");
        lab.answers.send(Ok(100)).unwrap();
        assert!(lab.queue.flush(Instant::now() + PATIENCE));
        lab.queue.reopen();
        lab.queue.push("after\n");
        assert_eq!(lab.written(), ["before\n", "after\n"]);
    }

    #[test]
    fn a_failing_sink_is_reopened_too() {
        let lab = Lab::new(1000);
        lab.queue.push("line\n");
        lab.begun.recv_timeout(PATIENCE).unwrap();
        // From here on each write that begins finds a new file.
        lab.queue.reopen();
        lab.answers
            .send(Err(ErrorKind::StorageFull.into()))
            .unwrap();
        let written = lab.written();
        assert_eq!(written.len(), 2);
        assert_eq!(written[0], "");
        assert!(written[1].starts_with("line\n! "), "{written:?}");
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("log"), dir.path().join("log.1"));
        let sink = Appended::open(&path, Readers::Umask).unwrap();
        let queue = Queue::start(
            sink,
            "the log",
            Report::Log(|_| String::new()),
            Options::default(),
        )
        .unwrap();
        queue.push("before\n");
        assert!(queue.flush(Instant::now() + PATIENCE));
        std::fs::rename(&path, &moved).unwrap();
        queue.reopen();
        queue.push("after\n");
        assert!(queue.flush(Instant::now() + PATIENCE));
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }
}
