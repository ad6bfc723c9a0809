//! Starts and stops the binary.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Parser;
use tidegate::config::Config;
use tidegate::flags::Flags;
use tidegate::site::Served;
use tidegate_net::Options;

/// How long anything may take on a busy machine before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, which is killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// The text that the server wrote to stdout until it was ready.
    pub(crate) banner: String,
    /// The address for TLS, if there is one.
    pub(crate) tls: Option<SocketAddr>,
    /// The address for cleartext, if there is one.
    pub(crate) h2c: Option<SocketAddr>,
    brought: Arc<Brought>,
    readers: Vec<JoinHandle<()>>,
}

/// The output of a server so far, and a condition for waiting for more.
#[derive(Default)]
struct Brought {
    texts: Mutex<Texts>,
    more: Condvar,
}

#[derive(Default)]
struct Texts {
    stdout: String,
    stderr: String,
    /// How many pipes have ended.
    ended: usize,
}

impl Brought {
    /// Reads a pipe line by line to its end.
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

    /// Waits until `look` returns something, and returns it.
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

/// Returns a command that runs the binary with these flags.
pub(crate) fn command(flags: &[&str]) -> Command {
    piped(Command::new(env!("CARGO_BIN_EXE_tidegate")), flags)
}

pub(crate) fn piped(mut command: Command, flags: &[&str]) -> Command {
    command.args(flags).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts the binary with these flags, on free ports of 127.0.0.1 unless they name others, and
    /// waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::spawn(flags, command)
    }

    /// Like [`Server::start`], under the shell's `ulimit` with these arguments, such as `-n 128`
    /// for 128 descriptors.
    pub(crate) fn start_limited(ulimit: &str, flags: &[&str]) -> Self {
        Self::spawn(flags, |flags| {
            let mut command = Command::new("sh");
            let script = format!("ulimit {ulimit} && exec \"$0\" \"$@\"");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_tidegate")]);
            piped(command, flags)
        })
    }

    /// Starts the binary with these flags and no others, and waits until it is ready.
    pub(crate) fn start_as_configured(flags: &[&str]) -> Self {
        Self::run(command(flags))
    }

    fn spawn(flags: &[&str], command: impl Fn(&[&str]) -> Command) -> Self {
        let mut all = flags.to_vec();
        for port in ["--listen", "--listen-h2c"] {
            if !flags.contains(&port) {
                all.extend([port, "127.0.0.1:0"]);
            }
        }
        Self::run(command(&all))
    }

    /// Runs a command that starts the binary, perhaps by a shell, and waits until it is ready.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
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

    /// Returns how many descriptors the server has open.
    pub(crate) fn descriptors(&self) -> usize {
        let listed = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        listed.count()
    }

    /// Returns the text that the server wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.brought.log()
    }

    /// Waits until stderr or stdout contains `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        self.brought.wait(text, |texts| {
            let has_it = texts.stderr.contains(text) || texts.stdout.contains(text);
            has_it.then_some(())
        });
    }

    /// Waits until at least `count` lines on stderr contain `text`.
    pub(crate) fn wait_for_lines(&self, text: &str, count: usize) {
        self.brought.wait(text, |texts| {
            let lines = texts.stderr.lines();
            let found = lines.filter(|line| line.contains(text)).count();
            (found >= count).then_some(())
        });
    }

    /// Returns the first complete line on stderr that contains `text`, waiting for it if necessary.
    pub(crate) fn line(&self, text: &str) -> String {
        self.brought.wait(text, |texts| {
            let mut lines = texts.stderr.lines();
            lines.find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    /// Returns the number of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Stops the process until it receives CONT.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        while !self.proc("status", "State:").contains('T') {
            thread::yield_now();
        }
    }

    /// Returns the line of /proc/PID/FILE that begins with `name`.
    pub(crate) fn proc(&self, file: &str, name: &str) -> String {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_default().to_owned()
    }

    /// Waits until the server exits by itself. Returns its exit status, the text that it wrote to
    /// stdout after the banner, and the text that it wrote to stderr.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, String) {
        let both = |texts: &Texts| (texts.ended == 2).then_some(());
        self.brought.wait("the server's exit", both);
        let status = self.child.wait().unwrap();
        let texts = std::mem::take(&mut *self.brought.texts.lock().unwrap());
        (status, texts.stdout, texts.stderr)
    }
}

/// Starts the binary on a free port for cleartext, with pipes that nobody reads after startup.
pub(crate) fn unread(flags: &[&str]) -> (Unread, SocketAddr) {
    let mut all = vec!["--listen", "none", "--listen-h2c", "127.0.0.1:0"];
    all.extend(flags);
    let mut child = Unread(command(&all).spawn().unwrap());
    // Read without a buffer: output after the banner must stay in the pipe.
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

/// A running server whose pipes nobody reads. The server is killed when dropped.
pub(crate) struct Unread(pub(crate) Child);

impl Unread {
    /// Sends a signal such as `TERM` and waits until the server exits.
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
        // The server may have exited by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn send_signal(pid: u32, name: &str) {
    let (signal, pid) = (format!("-{name}"), pid.to_string());
    let status = Command::new("kill").args([signal, pid]).status().unwrap();
    assert!(status.success());
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            for reader in self.readers.drain(..) {
                // A reader that panicked has printed why.
                let _ = reader.join();
            }
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// Runs the binary with flags that it should refuse. Returns its exit status and the text that it
/// wrote to stderr.
pub(crate) fn refused(flags: &[&str]) -> (i32, String) {
    let mut child = command(flags).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut text = String::new();
    stderr.read_to_string(&mut text).unwrap();
    (child.wait().unwrap().code().unwrap(), text)
}

/// Runs the binary until it exits. Returns its exit status, and its output on stdout and stderr.
pub(crate) fn run(flags: &[&str]) -> (i32, Vec<u8>, String) {
    let output = command(flags).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), output.stdout, stderr)
}

/// Makes the sites and the loop's options that the binary makes of these words of a command line,
/// for a server in this process.
pub(crate) fn served_in_process(words: &[&str]) -> (Served, Options) {
    let config = Config::new(&Flags::parse_from(words)).unwrap();
    (config.served, config.options)
}
