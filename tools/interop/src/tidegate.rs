//! The server under test.

use std::time::Duration;

use nix::sys::signal::Signal;
use tidegate_testkit::signals::eventually;

use crate::bench::Bench;
use crate::process::{Log, Process, Result, program};

/// A running server.
pub(crate) struct Tidegate {
    process: Process,
    pub(crate) log: Log,
    /// The address for cleartext.
    pub(crate) http: String,
    /// The address for TLS.
    pub(crate) https: String,
}

/// The command line of a server.
pub(crate) struct Launch<'b> {
    bench: &'b Bench,
    flags: Vec<String>,
}

impl<'b> Launch<'b> {
    pub(crate) fn new(bench: &'b Bench, level: &str) -> Self {
        let launch = Self {
            bench,
            flags: Vec::new(),
        };
        let cert = bench.certificate().display().to_string();
        let key = bench.key().display().to_string();
        let ports = ["--listen", "127.0.0.1:0", "--listen-h2c", "127.0.0.1:0"];
        launch
            .flags(&ports)
            .flags(&["--log", level, "--cert", &cert, "--key", &key])
            .flags(&["--upstream-ca", &cert])
    }

    pub(crate) fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(ToString::to_string));
        self
    }

    /// Adds a route, to an upstream's URL or to a target with a name.
    pub(crate) fn route(self, path: &str, to: &str) -> Self {
        self.flags(&["--route", &format!("{path}={to}")])
    }

    pub(crate) fn start(self) -> Result<Tidegate> {
        let mut command = program(&self.bench.tidegate);
        let (mut process, log) = self.bench.launch("tidegate", command.args(&self.flags))?;
        let (mut http, mut https) = (None, None);
        let printed = eventually(Duration::from_secs(20), || {
            let has_exited = process.has_exited()?;
            let text = log.text()?;
            http = address(&text, "http://127.0.0.1:");
            https = address(&text, "https://127.0.0.1:");
            Ok(has_exited || http.is_some() && https.is_some())
        })?;
        match (http, https) {
            (Some(http), Some(https)) if printed => Ok(Tidegate {
                process,
                log,
                http,
                https,
            }),
            _ => Err(format!("the server printed no addresses: {}", log.text()?).into()),
        }
    }
}

/// Returns the address in the first URL that begins with `url`, whose port has ended.
fn address(text: &str, url: &str) -> Option<String> {
    let rest = &text[text.find(url)? + url.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    Some(format!("127.0.0.1:{}", &rest[..end]))
}

impl Tidegate {
    /// Asks the server to shut down.
    pub(crate) fn terminate(&mut self) -> Result {
        self.process.signal(Signal::SIGTERM)
    }

    /// Waits for the server to exit, and returns its exit code.
    pub(crate) fn reap(&mut self) -> Result<Option<i32>> {
        self.process.reap()
    }

    /// Shuts the server down and waits for it.
    pub(crate) fn stop(mut self) -> Result {
        self.process.stop()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_when_it_is_whole() {
        let text = "on https://127.0.0.1:80, http://127.0.0.1:81";
        let of = |url| address(text, url);
        assert_eq!(of("https://127.0.0.1:"), Some("127.0.0.1:80".to_owned()));
        assert_eq!(of("http://127.0.0.1:"), None);
    }
}
