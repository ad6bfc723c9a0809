//! Starts the binary and ends it.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
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
    stdout: Output,
    stderr: Output,
}

/// What a pipe of the server has brought so far.
struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(mut pipe: impl BufRead + Send + 'static) -> Self {
        let text = Arc::<Mutex<String>>::default();
        let lines = Arc::clone(&text);
        let reader = thread::spawn(move || {
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|read| read > 0) {
                lines.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Self {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn rest(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}

/// The binary with these flags.
fn command(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(flags).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts with these flags, on free ports of 127.0.0.1 unless they say otherwise, and waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut all = flags.to_vec();
        for port in ["--listen", "--listen-h2c"] {
            if !flags.contains(&port) {
                all.extend([port, "127.0.0.1:0"]);
            }
        }
        let mut child = command(&all).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = Output::of(BufReader::new(child.stderr.take().unwrap()));
        let mut banner = String::new();
        while !banner.contains("Ctrl-C") {
            if stdout.read_line(&mut banner).unwrap() == 0 {
                let status = child.wait().unwrap();
                panic!("the server ended with {status}: {}", { stderr }.rest());
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
        Self {
            child,
            tls,
            h2c,
            banner,
            stdout: Output::of(stdout),
            stderr,
        }
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.stderr.text()
    }

    /// Waits until stderr or stdout has this text.
    pub(crate) fn wait_for(&self, text: &str) {
        self.wait(text, || {
            let has_it = self.log().contains(text) || self.stdout.text().contains(text);
            has_it.then_some(())
        });
    }

    /// The first line on stderr that has this text, once it is whole.
    pub(crate) fn line(&self, text: &str) -> String {
        self.wait(text, || {
            let log = self.log();
            let whole = log
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'));
            let mut found = whole.filter(|line| line.contains(text));
            found.next().map(str::to_owned)
        })
    }

    fn wait<T>(&self, text: &str, look: impl Fn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} never came: {}",
                self.log()
            );
            thread::yield_now();
        }
    }

    /// Sends a signal such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.child.id().to_string());
        let status = Command::new("kill").args([signal, pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it has ended by itself: its exit status, what it wrote to stdout after the banner, and to stderr.
    pub(crate) fn ended(mut self) -> (ExitStatus, String, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "the server doesn't end: {}",
                self.log()
            );
            thread::yield_now();
        };
        (status, self.stdout.rest(), self.stderr.rest())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.stderr.rest());
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
