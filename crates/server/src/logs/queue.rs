//! A bounded queue of lines, and the thread that writes them.
//!
//! A full pipe, a full disk or a slow terminal stops only the thread that writes. Lines that find
//! the queue full are dropped and counted. Once writing works again, one line reports how many.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// The most bytes of lines that wait in one queue: about 20,000 lines, which a busy server writes
/// in a second or two.
const LIMIT: usize = 4 << 20;

/// The pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Lines that all queues of the process have dropped.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Returns the number of lines that all queues of the process have dropped.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

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

/// A file that lines are appended to.
pub struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens the file, and creates it if it doesn't exist.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().append(true).create(true).open(path)?;
        Ok(Self {
            path: path.into(),
            file,
        })
    }

    /// Opens the file like [`Appended::open`]. A file that is new belongs to this user and group,
    /// so that the server can open it again once it has become that user.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open_for(path: &Path, (user, group): (u32, u32)) -> io::Result<Self> {
        // A file that exists keeps its owner: it may be another's, by a link.
        match File::options().append(true).create_new(true).open(path) {
            Ok(file) => {
                fchown(&file, Some(user), Some(group))?;
                let path = path.into();
                Ok(Self { path, file })
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Self::open(path),
            Err(error) => Err(error),
        }
    }
}

impl Sink for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(&mut self.file, bytes)
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

/// How a queue reports failed writes and lost lines.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// By lines of the log.
    Log,
    /// By lines in the queue itself, which this function formats: for the queue of the log.
    Inline(fn(&str) -> String),
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
    limit: usize,
    /// Bytes of lines that wait.
    waiting: AtomicUsize,
    /// Lines that were dropped since the last report.
    lost: AtomicU64,
    /// Whether to reopen the sink before the next write.
    reopen: AtomicBool,
}

#[derive(Debug)]
enum Command {
    /// Write these lines.
    Lines(String),
    /// Look at [`Shared::reopen`].
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
            limit: options.limit,
            waiting: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
        });
        let writer = Writer {
            sink,
            name: name.into(),
            report,
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
    pub fn push(&self, lines: String) {
        let Shared {
            limit,
            waiting,
            lost,
            ..
        } = &*self.shared;
        let len = lines.len();
        // Relaxed, because the number is only a bound; the channel orders the lines.
        if waiting.fetch_add(len, Ordering::Relaxed) + len > *limit {
            waiting.fetch_sub(len, Ordering::Relaxed);
            let count = lines.bytes().filter(|byte| *byte == b'\n').count();
            lost.fetch_add(count as u64, Ordering::Relaxed);
            LOST.fetch_add(count as u64, Ordering::Relaxed);
            return;
        }
        // The writer ends only after all queues are gone.
        let _ = self.commands.send(Command::Lines(lines));
    }

    /// Makes the writer reopen the sink before the next write, as after log rotation.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        let _ = self.commands.send(Command::Look);
    }

    /// Waits until all earlier lines are written, at most until `deadline`. Returns whether they
    /// are.
    pub fn flush(&self, deadline: Instant) -> bool {
        let (written, is_written) = mpsc::sync_channel(1);
        let patience = deadline.saturating_duration_since(Instant::now());
        self.commands.send(Command::Written(written)).is_ok()
            && is_written.recv_timeout(patience).is_ok()
    }
}

/// The state of the thread that writes.
struct Writer<S> {
    sink: S,
    name: String,
    report: Report,
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
                    self.write(lines.as_bytes());
                    let waiting = &self.shared.waiting;
                    waiting.fetch_sub(lines.len(), Ordering::Relaxed);
                    self.report_losses();
                }
                Command::Look => self.look(),
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
                self.name
            );
            self.say(&text);
        }
    }

    /// Reports the first failure of several.
    fn complain(&mut self, error: &io::Error) {
        if self.trouble.is_some() {
            return;
        }
        self.trouble = Some(error.to_string());
        if let Report::Log = self.report {
            log::error!(
                "can't write {}: {error}; its lines wait, and are lost if too many wait",
                self.name
            );
        }
    }

    /// Reports lost lines once half of the queue is free again. Otherwise a slow reader would cause
    /// a report for every few lines.
    fn report_losses(&mut self) {
        if self.shared.waiting.load(Ordering::Relaxed) > self.shared.limit / 2 {
            return;
        }
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        let name = &self.name;
        let text = match (self.trouble.take(), lost) {
            (None, 0) => return,
            (None, lost) => format!("{lost} lines of {name} were lost: it took them too slowly"),
            (Some(error), lost) => {
                format!("{name} can be written again after: {error}; {lost} of its lines were lost")
            }
        };
        self.say(&text);
    }

    fn say(&mut self, text: &str) {
        match self.report {
            Report::Log => log::warn!("{text}"),
            Report::Inline(line) => {
                let line = line(text);
                self.write(line.as_bytes());
            }
        }
    }
}

/// Starts a queue in front of this process's stdout.
///
/// # Errors
/// When the system gives no descriptor or no thread.
pub fn stdout() -> io::Result<Queue> {
    let sink = stream(io::stdout().as_fd())?;
    Queue::start(sink, "stdout", Report::Log, Options::default())
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
        let report = "! 38 lines of the log were lost: it took them too slowly\n";
        let written = lab.written().concat();
        assert_eq!(written.replace(report, ""), lines.concat());
        assert_eq!(written.matches(report).count(), 1);
    }

    #[test]
    fn a_write_that_fails_is_tried_again_where_it_stopped() {
        let lab = Lab::new(1000);
        lab.queue.push("one\ntwo\n".into());
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
            "one\ntwo\n! the log can be written again after: no storage space; 0 of its lines were lost\n"
        );
    }

    #[test]
    fn a_reopened_sink_gets_the_lines_from_then_on() {
        let lab = Lab::new(1000);
        lab.queue.push("before\n".into());
        lab.answers.send(Ok(100)).unwrap();
        assert!(lab.queue.flush(Instant::now() + PATIENCE));
        lab.queue.reopen();
        lab.queue.push("after\n".into());
        assert_eq!(lab.written(), ["before\n", "after\n"]);
    }

    #[test]
    fn a_failing_sink_is_reopened_too() {
        let lab = Lab::new(1000);
        lab.queue.push("line\n".into());
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
        let sink = Appended::open(&path).unwrap();
        let queue = Queue::start(sink, "the log", Report::Log, Options::default()).unwrap();
        queue.push("before\n".into());
        assert!(queue.flush(Instant::now() + PATIENCE));
        std::fs::rename(&path, &moved).unwrap();
        queue.reopen();
        queue.push("after\n".into());
        assert!(queue.flush(Instant::now() + PATIENCE));
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "before\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after\n");
    }
}
