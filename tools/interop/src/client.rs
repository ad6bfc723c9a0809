//! Other people's clients: curl, nghttp, h2load and Chromium.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bench::Bench;
use crate::process::{Output, Result, program, run};
use crate::tidegate::Tidegate;

/// How long a client may run.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// A protocol that clients speak to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// HTTP/2 in cleartext, by prior knowledge.
    H2c,
    /// HTTP/2 over TLS.
    Tls,
    /// HTTP/1.1 in cleartext.
    Http1,
    /// HTTP/1.1 over TLS.
    Https1,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::H2c, Self::Tls, Self::Http1, Self::Https1];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::H2c => "h2c",
            Self::Tls => "tls",
            Self::Http1 => "http1",
            Self::Https1 => "https1",
        }
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Tls)
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Https1)
    }

    /// Returns the version as curl and the Via field name it.
    pub(crate) fn version(self) -> &'static str {
        if self.is_http2() { "2" } else { "1.1" }
    }

    pub(crate) fn scheme(self) -> &'static str {
        if self.has_tls() { "https" } else { "http" }
    }

    /// Returns curl's name for the protocol.
    pub(crate) fn curl_option(self) -> &'static str {
        match self {
            Self::H2c => "http2-prior-knowledge",
            Self::Tls => "http2",
            Self::Http1 | Self::Https1 => "http1.1",
        }
    }
}

/// The clients of a server over one transport.
#[derive(Clone)]
pub(crate) struct Client<'b> {
    bench: &'b Bench,
    pub(crate) transport: Transport,
    /// The beginning of all URLs.
    pub(crate) base: String,
}

/// An answer that curl has got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code, or 0 if no response came.
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// h2load's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) errored: u64,
    /// The number of responses with a status of 500 or more.
    pub(crate) server_errors: u64,
    /// The bytes of bodies.
    pub(crate) bytes: u64,
}

impl Load {
    /// Reads h2load's report, if it has all the counts.
    fn parse(report: &str) -> Option<Self> {
        let line = |begins: &str| report.lines().find_map(|line| line.strip_prefix(begins));
        let count = |line: &str, name: &str| {
            let named = line.split(", ").find_map(|part| part.strip_suffix(name))?;
            named.trim().parse().ok()
        };
        let requests = line("requests: ")?;
        let traffic = line("traffic: ")?.strip_suffix(") data")?;
        Some(Self {
            succeeded: count(requests, " succeeded")?,
            failed: count(requests, " failed")?,
            errored: count(requests, " errored")?,
            server_errors: count(line("status codes: ")?, " 5xx")?,
            bytes: traffic.rsplit('(').next()?.parse().ok()?,
        })
    }

    /// Whether at least one request was answered, and none failed.
    pub(crate) fn is_flawless(&self) -> bool {
        let Self {
            succeeded,
            failed,
            errored,
            server_errors,
            bytes: _,
        } = *self;
        succeeded > 0 && (failed, errored, server_errors) == (0, 0, 0)
    }

    /// Whether all of `n` requests were answered, and none failed.
    pub(crate) fn is_all_of(&self, n: u64) -> bool {
        self.succeeded == n && self.is_flawless()
    }
}

impl<'b> Client<'b> {
    pub(crate) fn new(bench: &'b Bench, server: &Tidegate, transport: Transport) -> Self {
        let address = if transport.has_tls() {
            &server.https
        } else {
            &server.http
        };
        Self::at(bench, address, transport)
    }

    /// Makes the clients of whatever listens at this address.
    pub(crate) fn at(bench: &'b Bench, address: &str, transport: Transport) -> Self {
        Self {
            bench,
            transport,
            base: format!("{}://{address}", transport.scheme()),
        }
    }

    /// Returns the same clients, with all URLs below this path.
    pub(crate) fn below(&self, path: &str) -> Self {
        let base = format!("{}/{path}", self.base);
        Self {
            base,
            ..self.clone()
        }
    }

    /// Returns the authority of the URLs.
    pub(crate) fn host(&self) -> &str {
        let authority = self.base.split('/').nth(2);
        authority.unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns curl's command line for a URL.
    pub(crate) fn curl(&self, path: &str, args: &[&str]) -> Command {
        let mut command = program("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(self.bench.certificate())
            .arg(format!("--{}", self.transport.curl_option()))
            .args(args)
            .arg(self.url(path));
        command
    }

    /// Runs curl, and returns the body.
    pub(crate) fn fetch(&self, path: &str, args: &[&str]) -> Result<Output> {
        run(&mut self.curl(path, args), BOUND)
    }

    /// Runs curl, and returns the body as text.
    pub(crate) fn text(&self, path: &str, args: &[&str]) -> Result<String> {
        Ok(self.fetch(path, args)?.text())
    }

    /// Runs curl, and returns the lines of the body that begin with one of these.
    pub(crate) fn lines(&self, path: &str, args: &[&str], begin: &[&str]) -> Result<Vec<String>> {
        Ok(lines_of(&self.text(path, args)?, begin))
    }

    /// Runs curl for the status and the body.
    pub(crate) fn answer(&self, path: &str, args: &[&str]) -> Result<Answer> {
        let args = [&["--write-out", "\n%{http_code}"], args].concat();
        let mut body = self.fetch(path, &args)?.bytes;
        let end = body.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        let status = String::from_utf8_lossy(&body[end..]).trim().parse();
        body.truncate(end);
        Ok(Answer {
            status: status.unwrap_or(0),
            body,
        })
    }

    /// Runs curl for the status.
    pub(crate) fn status(&self, path: &str, args: &[&str]) -> Result<u16> {
        Ok(self.answer(path, args)?.status)
    }

    /// Runs curl without the body, and returns what it writes in this format.
    pub(crate) fn about(&self, format: &str, path: &str, args: &[&str]) -> Result<String> {
        let args = [&["--output", "/dev/null", "--write-out", format], args].concat();
        self.text(path, &args)
    }

    /// Runs curl, and returns the lines of all heads and of the trailers.
    pub(crate) fn heads(&self, path: &str, args: &[&str]) -> Result<Vec<String>> {
        let args = [&["--output", "/dev/null", "--dump-header", "-"], args].concat();
        let text = self.text(path, &args)?;
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// Runs curl, and returns the value of a response field or trailer.
    pub(crate) fn field(&self, name: &str, path: &str, args: &[&str]) -> Result<Option<String>> {
        Ok(field_of(&self.heads(path, args)?, name))
    }

    /// Returns nghttp's command line for these paths.
    pub(crate) fn nghttp_command(&self, args: &[&str], paths: &[&str]) -> Command {
        let mut command = program("nghttp");
        command.args(args);
        command.args(paths.iter().map(|path| self.url(path)));
        command
    }

    /// Runs nghttp for these paths.
    pub(crate) fn nghttp(&self, args: &[&str], paths: &[&str]) -> Result<Output> {
        run(&mut self.nghttp_command(args, paths), BOUND)
    }

    /// Runs nghttp for one path, and returns its output as text.
    pub(crate) fn nghttp_text(&self, args: &[&str], path: &str) -> Result<String> {
        Ok(self.nghttp(args, &[path])?.text())
    }

    /// Returns h2load's command line.
    pub(crate) fn h2load(&self, args: &[&str]) -> Command {
        let mut command = program("h2load");
        command.args((!self.transport.is_http2()).then_some("--h1"));
        command.args(args);
        command
    }

    /// Runs h2load, and returns its counts.
    pub(crate) fn load(&self, args: &[&str]) -> Result<Option<Load>> {
        counts(&run(&mut self.h2load(args), BOUND)?)
    }

    /// Runs h2load for `n` requests. Returns how many got a 2xx, and the bytes of their bodies.
    ///
    /// Over HTTP/1.1 h2load now and then counts more statuses than requests, with any server; the
    /// number that it calls succeeded is right.
    pub(crate) fn bodies(&self, n: u64, args: &[&str]) -> Result<Option<(u64, u64)>> {
        let (requests, clients) = (n.to_string(), if n < 4 { "1" } else { "4" });
        let all = ["--requests", &requests, "--clients", clients];
        let all = [&all, ["--max-concurrent-streams", "100"].as_slice(), args].concat();
        let load = self.load(&all)?;
        Ok(load.map(|load| (load.succeeded, load.bytes)))
    }
}

/// Reads h2load's output.
pub(crate) fn counts(output: &Output) -> Result<Option<Load>> {
    Ok(Load::parse(&output.text()))
}

/// Returns the lines that begin with one of these.
pub(crate) fn lines_of(text: &str, begin: &[&str]) -> Vec<String> {
    text.lines()
        .filter(|line| begin.iter().any(|begin| line.starts_with(begin)))
        .map(str::to_owned)
        .collect()
}

/// Returns the value of a field in the lines of a head.
pub(crate) fn field_of(lines: &[String], name: &str) -> Option<String> {
    lines.iter().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// Runs headless Chromium until a page is loaded. Returns the verdict that the page shows.
pub(crate) fn verdict(bench: &Bench, url: &str) -> Result<String> {
    let profile = bench.new_path("profile");
    let profile = format!("--user-data-dir={}", profile.display());
    let log = fs::File::create(bench.new_path("chromium"))?;
    let page = run(
        program("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ])
            .args(["--disable-component-update", "--virtual-time-budget=5000"])
            .args([&profile, "--ignore-certificate-errors", "--dump-dom", url])
            .stderr(Stdio::from(log)),
        BOUND,
    )?
    .text();
    let begun = page.split_once("<p id=\"verdict\">").map(|(_, rest)| rest);
    let verdict = begun.and_then(|rest| rest.split_once('<'));
    Ok(verdict.map_or_else(String::new, |(verdict, _)| verdict.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_report() {
        let report = "finished in 1s\n\
            requests: 20 total, 20 started, 20 done, 17 succeeded, 1 failed, 2 errored, 0 timeout\n\
            status codes: 17 2xx, 0 3xx, 0 4xx, 3 5xx\n\
            traffic: 1.2KB (1234) total, 12B (12) headers (space savings 95.00%), 1.1KB (1100) data\n";
        let load = Load {
            succeeded: 17,
            failed: 1,
            errored: 2,
            server_errors: 3,
            bytes: 1100,
        };
        assert_eq!(Load::parse(report), Some(load));
        assert!(!load.is_flawless());
        assert_eq!(Load::parse("requests: 20 total"), None);
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let head = ["HTTP/1.1 200 OK", "Content-Length: 5"].map(str::to_owned);
        let length = field_of(&head, "content-length");
        assert_eq!(length.as_deref(), Some("5"));
    }
}
