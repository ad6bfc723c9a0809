//! The state that all sections share: the files, the certificate, the programs, and the counts of
//! checks.

use std::cell::{Cell, OnceCell};
use std::fmt::{Debug, Display};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::everything::Everything;
use crate::process::{self, Log, Process, Result, program};
use crate::samples::{self, LARGE, Sample};
use crate::tidegate::Launch;

/// How much of a value is printed.
const PRINTED: usize = 300;

/// The programs that sections use.
const PROGRAMS: [&str; 9] = [
    "chromium", "curl", "go", "h2load", "haproxy", "nghttp", "nghttpd", "nginx", "openssl",
];

/// A value that is as it should be, or the value that isn't.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judged<T> {
    Right,
    Wrong(T),
}

/// Judges a value of which several are right.
pub(crate) fn judge<T>(is_right: bool, value: T) -> Judged<T> {
    if is_right {
        Judged::Right
    } else {
        Judged::Wrong(value)
    }
}

/// The shared state. Its directory is removed when it is dropped.
pub(crate) struct Bench {
    /// The proxy of several sections. Declared first: the programs end before the directory.
    everything: OnceCell<Everything>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) passed: Cell<u32>,
    pub(crate) failed: Cell<u32>,
    /// The server's binary.
    pub(crate) tidegate: PathBuf,
    /// The binary of the upstream in Go.
    pub(crate) upstream_go: PathBuf,
    names: Cell<u32>,
    scratch: TempDir,
}

impl Bench {
    pub(crate) fn new(tidegate: PathBuf, root: &Path, target: &Path) -> Result<Self> {
        for name in PROGRAMS {
            process::need(name)?;
        }
        if !tidegate.is_file() {
            let path = tidegate.display();
            let error = format!("{path} doesn't exist; build it with: cargo build --release");
            return Err(error.into());
        }
        let scratch = TempDir::new()?;
        // nginx, started by root, turns into nobody.
        fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))?;
        fs::create_dir_all(scratch.path().join("www/page"))?;
        let bench = Self {
            everything: OnceCell::new(),
            samples: samples::create(&scratch.path().join("www"))?,
            passed: Cell::new(0),
            failed: Cell::new(0),
            tidegate,
            upstream_go: build_upstream(root, target)?,
            names: Cell::new(0),
            scratch,
        };
        bench.make_certificate()?;
        Ok(bench)
    }

    /// Counts one check, and reports it if it doesn't hold.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "wanted is a literal as a rule, like got"
    )]
    pub(crate) fn expect<G, W>(&self, what: impl Display, got: G, wanted: W)
    where
        G: Debug + PartialEq<W>,
        W: Debug,
    {
        if got == wanted {
            self.passed.set(self.passed.get() + 1);
        } else {
            self.failed.set(self.failed.get() + 1);
            let (got, wanted) = (format!("{got:?}"), format!("{wanted:?}"));
            println!("FAIL  {what}\n      wanted {wanted:.PRINTED$}\n      got    {got:.PRINTED$}");
        }
    }

    /// Returns the proxy with a route to each kind of upstream, and starts it if necessary.
    pub(crate) fn everything(&self) -> Result<&Everything> {
        if self.everything.get().is_none() {
            let everything = Everything::start(self)?;
            return Ok(self.everything.get_or_init(|| everything));
        }
        self.everything.get().ok_or_else(|| "no proxy".into())
    }

    /// Returns a path in the temporary directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Returns a path that nothing else has.
    pub(crate) fn new_path(&self, name: &str) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.path(&format!("{name}.{}", self.names.get()))
    }

    /// Returns the directory of files.
    pub(crate) fn www(&self) -> PathBuf {
        self.path("www")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("pair.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path("pair.key")
    }

    /// Returns the file of this size.
    pub(crate) fn sample(&self, size: usize) -> Result<&Sample> {
        let found = self.samples.iter().find(|sample| sample.size == size);
        found.ok_or_else(|| format!("there is no file of {size} bytes").into())
    }

    /// Returns the largest file.
    pub(crate) fn large(&self) -> Result<&Sample> {
        self.sample(LARGE)
    }

    /// Begins the command line of a server that logs at `level`.
    pub(crate) fn tidegate(&self, level: &str) -> Launch<'_> {
        Launch::new(self, level)
    }

    /// Starts a program whose output goes to a file of this name.
    pub(crate) fn launch(&self, name: &str, command: &mut Command) -> Result<(Process, Log)> {
        process::launch(command, &self.new_path(name))
    }

    /// Returns the lines of all servers' logs that contain one of these.
    pub(crate) fn server_lines(&self, parts: &[&str]) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for entry in fs::read_dir(self.scratch.path())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("tidegate.") {
                let text = Log(entry.path()).text()?;
                let found = text
                    .lines()
                    .filter(|line| parts.iter().any(|part| line.contains(part)));
                lines.extend(found.map(str::to_owned));
            }
        }
        Ok(lines)
    }

    /// Creates a self-signed P-256 certificate, its key, and a file with both.
    fn make_certificate(&self) -> Result {
        let made = process::run(
            program("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "30"])
                .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj"])
                .args(["/CN=localhost", "-addext"])
                .arg("subjectAltName=DNS:localhost,IP:127.0.0.1")
                .arg("-keyout")
                .arg(self.key())
                .arg("-out")
                .arg(self.certificate())
                .stderr(std::process::Stdio::null()),
            Duration::from_secs(60),
        )?;
        if made.code != Some(0) {
            return Err("openssl made no certificate".into());
        }
        let both = [fs::read(self.certificate())?, fs::read(self.key())?].concat();
        Ok(fs::write(self.path("pair.pem"), both)?)
    }
}

/// Builds the upstream in Go.
fn build_upstream(root: &Path, target: &Path) -> Result<PathBuf> {
    let binary = target.join("gobin/upstream-go");
    let built = process::run(
        program("go")
            .args(["build", "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(root.join("tools/upstream-go")),
        Duration::from_secs(600),
    )?;
    if built.code == Some(0) {
        Ok(binary)
    } else {
        Err("the upstream in Go can't be built".into())
    }
}

/// Returns `N` different addresses whose ports were free a moment ago, for servers that can't let
/// the kernel choose.
pub(crate) fn free_addresses<const N: usize>() -> Result<[String; N]> {
    let mut held = Vec::new();
    let mut addresses = [const { String::new() }; N];
    for address in &mut addresses {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *address = listener.local_addr()?.to_string();
        held.push(listener);
    }
    Ok(addresses)
}
