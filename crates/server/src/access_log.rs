//! The access log: a line for each request.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use log::Level;
use tidegate_http::{KnownName, RequestHead};

use crate::clock::Clock;
use crate::logs::queue::{self, Appended, Options, Queue, Report};
use crate::request::Sent;

/// The log target of the lines when they go to the log.
pub const TARGET: &str = "tidegate::access";

/// A worker hands its lines to the queue when it has this many bytes of them. The queue holds many
/// such batches.
const HAND_OVER_AT: usize = 16 << 10;

/// The place that the lines go to. Opened once; each worker has a clone.
#[derive(Clone, Debug)]
pub enum Destination {
    /// To the log, at level info.
    Log,
    /// To a file that is appended to.
    File(Queue),
    /// To stdout.
    Stdout(Queue),
}

impl Destination {
    /// Opens the file, or stdout for `-`; without a path, lines go to the log. A new file belongs
    /// to `owner`, a user and a group, if there is one.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn open(path: Option<&Path>, owner: Option<(u32, u32)>) -> io::Result<Self> {
        match path {
            None => Ok(Self::Log),
            Some(path) if path == Path::new("-") => Ok(Self::Stdout(queue::stdout()?)),
            Some(path) => {
                let name = format!("the access log {}", path.display());
                let file = match owner {
                    Some(owner) => Appended::open_for(path, owner)?,
                    None => Appended::open(path)?,
                };
                let queue = Queue::start(file, &name, Report::Log, Options::default())?;
                Ok(Self::File(queue))
            }
        }
    }

    /// Returns the queue of the file or stdout; `None` for the log.
    fn queue(&self) -> Option<&Queue> {
        match self {
            Self::Log => None,
            Self::File(queue) | Self::Stdout(queue) => Some(queue),
        }
    }

    /// Makes the queue reopen the file before the next line, as after log rotation. Returns
    /// immediately.
    pub fn reopen(&self) {
        if let Some(queue) = self.queue() {
            queue.reopen();
        }
    }

    /// Waits until the lines that were handed over are written, at most until `deadline`.
    pub fn flush(&self, deadline: Instant) {
        if let Some(queue) = self.queue() {
            queue.flush(deadline);
        }
    }
}

/// The access log of one worker.
pub struct AccessLog {
    destination: Destination,
    enabled: bool,
    /// Lines that wait for [`AccessLog::flush`]; always empty when lines go to the log.
    lines: String,
}

/// Bytes of a request's target that are logged. Bounded, because the entry is kept while its
/// request is in progress.
const MAX_TARGET: usize = 2048;
/// Bytes of a field that are logged.
const MAX_FIELD: usize = 1024;

/// Returns the first `most` bytes of a text.
fn shortened(text: &[u8], most: usize) -> &[u8] {
    &text[..text.len().min(most)]
}

/// A request that gets a line when it ends.
pub struct Entry {
    peer: Option<SocketAddr>,
    /// `METHOD path`, escaped.
    request: String,
    referer: String,
    user_agent: String,
    began: Instant,
    /// The protocol, written as in a request line.
    version: &'static str,
    /// Whether the request is a push.
    is_pushed: bool,
    /// The upstream that answered, if one did.
    pub upstream: Option<SocketAddr>,
}

impl AccessLog {
    /// Returns an access log with this destination. Disabled if the log's filter drops the lines.
    pub fn new(destination: Destination) -> Self {
        let enabled = match destination {
            Destination::Log => log::log_enabled!(target: TARGET, Level::Info),
            Destination::File(_) | Destination::Stdout(_) => true,
        };
        Self {
            destination,
            enabled,
            lines: String::new(),
        }
    }

    /// Writes lines to another destination from now on.
    pub fn replace(&mut self, destination: Destination) {
        // The former lines are handed over when the former log is dropped.
        *self = Self::new(destination);
    }

    /// Whether lines are written at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Begins the line of a request that was received or promised at `began`. `version` is the
    /// protocol, such as `HTTP/1.1`.
    pub fn begin(
        &self,
        head: &RequestHead,
        version: &'static str,
        peer: Option<SocketAddr>,
        began: Instant,
        is_pushed: bool,
    ) -> Box<Entry> {
        let mut request = String::new();
        escape(&mut request, head.method().as_bytes());
        request.push(' ');
        // CONNECT has no path.
        let target = if head.path().is_empty() {
            head.authority()
        } else {
            head.path()
        };
        escape(&mut request, shortened(target.as_bytes(), MAX_TARGET));
        let field = |name| {
            let mut text = String::new();
            let value = head.get_known(name).unwrap_or(b"-");
            escape(&mut text, shortened(value, MAX_FIELD));
            text
        };
        let (referer, user_agent) = (field(KnownName::REFERER), field(KnownName::USER_AGENT));
        Box::new(Entry {
            peer,
            request,
            referer,
            user_agent,
            began,
            version,
            is_pushed,
            upstream: None,
        })
    }

    /// Writes the line of a request that has ended.
    pub fn end(&mut self, entry: &Entry, sent: Sent, clock: &Clock, now: Instant) {
        let took = now.saturating_duration_since(entry.began);
        if let Destination::Log = self.destination {
            log::info!(target: TARGET, "{}", LogLine { entry, sent, took });
            return;
        }
        combined(&mut self.lines, entry, sent, clock, took);
        if self.lines.len() >= HAND_OVER_AT {
            self.flush();
        }
    }

    /// Hands the waiting lines to the queue, and doesn't wait until they are written.
    pub fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let capacity = self.lines.capacity();
        let lines = std::mem::replace(&mut self.lines, String::with_capacity(capacity));
        if let Some(queue) = self.destination.queue() {
            queue.push(lines);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The line for the log, which adds the time.
struct LogLine<'a> {
    entry: &'a Entry,
    sent: Sent,
    took: Duration,
}

impl std::fmt::Display for LogLine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Entry {
            request,
            user_agent,
            version,
            ..
        } = self.entry;
        let origin = Origin(self.entry);
        let (Sent { status, bytes }, took) = (self.sent, self.took);
        match self.entry.peer {
            Some(peer) => write!(f, "{}", canonical(peer))?,
            None => f.write_char('-')?,
        }
        write!(
            f,
            " \"{request} {version}\" {status:03} {bytes} {took:.1?} \"{user_agent}\"{origin}"
        )
    }
}

/// Returns an IPv4-mapped address as IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The end of a line: `pushed` for a push, and the upstream that answered.
struct Origin<'a>(&'a Entry);

impl std::fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_pushed {
            f.write_str(" pushed")?;
        }
        match self.0.upstream {
            Some(addr) => write!(f, " upstream={addr}"),
            None => Ok(()),
        }
    }
}

/// Appends the line in the Combined Log Format, followed by the duration in seconds and the origin.
fn combined(out: &mut String, entry: &Entry, sent: Sent, clock: &Clock, took: Duration) {
    let Entry {
        request,
        referer,
        user_agent,
        version,
        ..
    } = entry;
    let origin = Origin(entry);
    let Sent { status, bytes } = sent;
    // `Sun, 06 Nov 1994 08:49:37 GMT`
    let date = clock.date();
    let (day, month, year, time) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
    let seconds = took.as_secs_f64();
    let written = match entry.peer {
        Some(peer) => write!(out, "{}", peer.ip().to_canonical()),
        None => write!(out, "-"),
    };
    let written = written.and_then(|()| {
        writeln!(
            out,
            " - - [{day}/{month}/{year}:{time} +0000] \"{request} {version}\" {status:03} {bytes} \
             \"{referer}\" \"{user_agent}\" {seconds:.6}{origin}"
        )
    });
    debug_assert!(written.is_ok(), "a String takes everything");
}

/// Appends text of a client so that it can't be taken for other parts of the line: quotes and
/// backslashes after a backslash, control characters and bytes that aren't ASCII as `\xHH`.
fn escape(out: &mut String, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=b'~' => out.push(char::from(*byte)),
            other => {
                let written = write!(out, "\\x{other:02x}");
                debug_assert!(written.is_ok(), "a String takes everything");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn entry(began: Instant) -> Entry {
        Entry {
            peer: Some("[::ffff:192.0.2.7]:4711".parse().unwrap()),
            request: "GET /a".into(),
            referer: "-".into(),
            user_agent: "curl".into(),
            began,
            version: "HTTP/2",
            is_pushed: false,
            upstream: None,
        }
    }

    #[test]
    fn combined_log_format() {
        let clock = Clock::new(UNIX_EPOCH + Duration::from_secs(784_111_777));
        let mut out = String::new();
        let sent = Sent {
            status: 200,
            bytes: 15,
        };
        combined(
            &mut out,
            &entry(Instant::now()),
            sent,
            &clock,
            Duration::from_micros(1234),
        );
        let line = "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a HTTP/2\" 200 15 \"-\" \
                    \"curl\" 0.001234\n";
        assert_eq!(out, line);
    }

    #[test]
    fn the_line_of_the_log() {
        let entry = entry(Instant::now());
        let line = LogLine {
            entry: &entry,
            sent: Sent {
                status: 404,
                bytes: 0,
            },
            took: Duration::from_micros(1500),
        };
        assert_eq!(
            line.to_string(),
            "192.0.2.7:4711 \"GET /a HTTP/2\" 404 0 1.5ms \"curl\""
        );
    }

    #[test]
    fn where_an_answer_came_from() {
        let mut entry = entry(Instant::now());
        assert_eq!(Origin(&entry).to_string(), "");
        entry.is_pushed = true;
        assert_eq!(Origin(&entry).to_string(), " pushed");
        entry.upstream = Some("[2001:db8::1]:80".parse().unwrap());
        assert_eq!(
            Origin(&entry).to_string(),
            " pushed upstream=[2001:db8::1]:80"
        );
    }

    #[test]
    fn nothing_that_a_client_sends_breaks_the_line() {
        let mut out = String::new();
        escape(&mut out, b"/a\"b\\c\r\n\x00\x1b[2J\x7f\xff ~");
        assert_eq!(out, "/a\\\"b\\\\c\\x0d\\x0a\\x00\\x1b[2J\\x7f\\xff ~");
    }

    #[test]
    fn lines_are_appended_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        std::fs::write(&path, "before\n").unwrap();
        let destination = Destination::open(Some(&path), None).unwrap();
        let mut log = AccessLog::new(destination.clone());
        let now = Instant::now();
        let clock = Clock::new(UNIX_EPOCH);
        log.end(
            &entry(now),
            Sent {
                status: 200,
                bytes: 1,
            },
            &clock,
            now,
        );
        log.end(
            &entry(now),
            Sent {
                status: 304,
                bytes: 0,
            },
            &clock,
            now,
        );
        drop(log);
        destination.flush(now + Duration::from_secs(60));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.starts_with("before\n192.0.2.7 - - [01/Jan/1970:00:00:00 +0000]"),
            "{text}"
        );
    }

    #[test]
    fn an_unusable_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Destination::open(Some(dir.path()), None).is_err());
    }
}
