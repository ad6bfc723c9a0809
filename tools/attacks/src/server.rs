//! The server under attack, as a process of its own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running server, which is killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// The address for cleartext HTTP.
    pub(crate) plain: SocketAddr,
    /// The address for TLS.
    pub(crate) tls: SocketAddr,
}

impl Server {
    /// Starts the program on ports that the kernel picks, with at most `descriptors` open files if
    /// given.
    ///
    /// # Errors
    /// Returns an error if the program can't be started, or exits before it has printed its
    /// addresses.
    pub(crate) fn start(
        program: &Path,
        descriptors: Option<u64>,
        flags: &[String],
    ) -> io::Result<Self> {
        let limit = descriptors.map_or_else(String::new, |most| format!("ulimit -n {most}; "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\" 2>&1")])
            .arg(program)
            .args(["--listen", "127.0.0.1:0", "--listen-h2c", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut lines = BufReader::new(output);
        let (mut plain, mut tls, mut text) = (None, None, String::new());
        while plain.is_none() || tls.is_none() {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                let error = format!("{} exited instead of starting: {text}", program.display());
                return Err(io::Error::other(error));
            }
            plain = plain.or_else(|| address(&line, "http://"));
            tls = tls.or_else(|| address(&line, "https://"));
            text.push_str(&line);
        }
        // The log under attack must not fill the pipe.
        std::thread::spawn(move || io::copy(&mut lines, &mut io::sink()));
        let (Some(plain), Some(tls)) = (plain, tls) else {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        };
        Ok(Self { child, plain, tls })
    }

    /// Returns the process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let kib = status.ok().and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        kib.unwrap_or_default() << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address after `scheme` in a line such as `https://127.0.0.1:8443/`.
fn address(line: &str, scheme: &str) -> Option<SocketAddr> {
    let begin = line.find(scheme)? + scheme.len();
    let rest = &line[begin..];
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
    let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    rest[..end].trim_end_matches(':').parse().ok()
}
