//! Starts the binary and ends it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// What it wrote to stdout until it was ready.
    pub(crate) banner: String,
    /// The address for TLS, if there is one.
    pub(crate) tls: Option<SocketAddr>,
    /// The address for cleartext, if there is one.
    pub(crate) h2c: Option<SocketAddr>,
    brought: Arc<Brought>,
    readers: Vec<JoinHandle<()>>,
}

/// What the pipes of a server have brought so far, and who waits for more.
#[derive(Default)]
struct Brought {
    texts: Mutex<Texts>,
    more: Condvar,
}

#[derive(Default)]
struct Texts {
    stdout: String,
    stderr: String,
    /// Pipes that have come to their end.
    ended: usize,
}

impl Brought {
    /// Takes what a pipe brings, line by line, to its end.
    fn read(
        self: &Arc<Self>,
        mut pipe: impl BufRead + Send + 'static,
        text: fn(&mut Texts) -> &mut String,
    ) -> JoinHandle<()> {
        let brought = Arc::clone(self);
        thread::spawn(move || {
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|read| read > 0) {
                text(&mut brought.texts.lock().unwrap()).push_str(&line);
                brought.more.notify_all();
                line.clear();
            }
            brought.texts.lock().unwrap().ended += 1;
            brought.more.notify_all();
        })
    }

    fn log(&self) -> String {
        self.texts.lock().unwrap().stderr.clone()
    }

    /// Waits until there is what is looked for.
    fn wait<T>(&self, what: &str, look: impl Fn(&Texts) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut texts = self.texts.lock().unwrap();
        loop {
            if let Some(found) = look(&texts) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let log = texts.stderr.clone();
                drop(texts);
                panic!("{what} never came: {log}");
            }
            texts = self.more.wait_timeout(texts, left).unwrap().0;
        }
    }
}

/// The binary with these flags.
fn command(flags: &[&str]) -> Command {
    piped(Command::new(env!("CARGO_BIN_EXE_tidegate")), flags)
}

fn piped(mut command: Command, flags: &[&str]) -> Command {
    command.args(flags).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts with these flags, on free ports of 127.0.0.1 unless they say otherwise, and waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::spawn(flags, command)
    }

    /// The same behind the shell's `ulimit` with these arguments, such as `-n 128` for so many descriptors.
    pub(crate) fn start_limited(ulimit: &str, flags: &[&str]) -> Self {
        Self::spawn(flags, |flags| {
            let mut command = Command::new("sh");
            let script = format!("ulimit {ulimit} && exec \"$0\" \"$@\"");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
            piped(command, flags)
        })
    }

    fn spawn(flags: &[&str], command: impl Fn(&[&str]) -> Command) -> Self {
        let mut all = flags.to_vec();
        for port in ["--listen", "--listen-h2c"] {
            if !flags.contains(&port) {
                all.extend([port, "127.0.0.1:0"]);
            }
        }
        let mut child = command(&all).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let brought = Arc::<Brought>::default();
        let mut readers = vec![brought.read(stderr, |texts| &mut texts.stderr)];
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            if stdout.read_line(&mut banner).unwrap() == 0 {
                let status = child.wait().unwrap();
                readers.remove(0).join().unwrap();
                panic!("the server ended with {status}: {}", brought.log());
            }
        }
        let address = |scheme: &str| {
            let url = banner
                .split_whitespace()
                .find(|word| word.starts_with(scheme))?;
            let address = url.strip_prefix(scheme)?.trim_end_matches('/');
            Some(address.replace("localhost", "127.0.0.1").parse().unwrap())
        };
        let (tls, h2c) = (address("https://"), address("http://"));
        readers.push(brought.read(stdout, |texts| &mut texts.stdout));
        Self {
            child,
            tls,
            h2c,
            banner,
            brought,
            readers,
        }
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        listed.count()
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.brought.log()
    }

    /// Waits until stderr or stdout has this text.
    pub(crate) fn wait_for(&self, text: &str) {
        self.brought.wait(text, |texts| {
            let has_it = texts.stderr.contains(text) || texts.stdout.contains(text);
            has_it.then_some(())
        });
    }

    /// Waits until so many lines on stderr have this text.
    pub(crate) fn wait_for_lines(&self, text: &str, count: usize) {
        self.brought.wait(text, |texts| {
            let lines = texts.stderr.lines();
            let found = lines.filter(|line| line.contains(text)).count();
            (found >= count).then_some(())
        });
    }

    /// The first line on stderr that has this text, once it is whole.
    pub(crate) fn line(&self, text: &str) -> String {
        self.brought.wait(text, |texts| {
            let mut lines = texts.stderr.lines();
            lines.find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Stops the process until it gets CONT.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        while !self.proc("status", "State:").contains('T') {
            thread::yield_now();
        }
    }

    /// A line of /proc/PID/FILE that begins with `name`.
    pub(crate) fn proc(&self, file: &str, name: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until it has ended by itself: its exit status, what it wrote to stdout after the banner, and to stderr.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, String) {
        let both = |texts: &Texts| (texts.ended == 2).then_some(());
        self.brought.wait("the server's end", both);
        let status = self.child.wait().unwrap();
        let texts = std::mem::take(&mut *self.brought.texts.lock().unwrap());
        (status, texts.stdout, texts.stderr)
    }
}

/// Starts the binary on a free port for cleartext, with pipes that nobody reads once it is ready.
pub(crate) fn unread(flags: &[&str]) -> (Unread, SocketAddr) {
    let mut all = vec!["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    all.extend(flags);
    let mut child = Unread(command(&all).spawn().unwrap());
    // Without a buffer: what comes after the banner stays in the pipe.
    let stdout = child.0.stdout.as_mut().unwrap();
    let mut banner = Vec::new();
    while !banner.ends_with(b"limits.\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).unwrap();
        banner.extend(byte);
    }
    let banner = String::from_utf8(banner).unwrap();
    let url = banner
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    let address = url.unwrap().trim_start_matches("http://");
    let address = address.trim_end_matches('/').parse().unwrap();
    (child, address)
}

/// A running server whose pipes nobody reads. It is killed when dropped.
pub(crate) struct Unread(pub(crate) Child);

impl Unread {
    /// Sends a signal such as `TERM` and waits for the end.
    pub(crate) fn ends_by(&mut self, name: &str) -> ExitStatus {
        send_signal(self.0.id(), name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server never ended");
            thread::yield_now();
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send_signal(pid: u32, name: &str) {
    let (signal, pid) = (format!("-{name}"), pid.to_string());
    let status = Command::new("kill").args([signal, pid]).status().unwrap();
    assert!(status.success());
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                // One that panicked has said why.
                let _ = reader.join();
            }
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Runs the binary where it shouldn't start: its exit status and what it wrote to stderr.
pub(crate) fn refused(flags: &[&str]) -> (i32, String) {
    let mut child = command(flags).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

/// Runs the binary to its end: its exit status, and what it wrote to stdout and stderr.
pub(crate) fn run(flags: &[&str]) -> (i32, Vec<u8>, String) {
    let output = command(flags).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), output.stdout, stderr)
}
