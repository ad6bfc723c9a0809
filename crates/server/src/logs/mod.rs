//! The log on stderr, which never makes a worker wait.

pub mod limiter;
pub mod queue;

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use env_filter::Filter;
use log::{Level, Log, Metadata, Record};

use crate::access_log;
use crate::clock::seconds;
use limiter::{Limiter, Site};
use queue::{Options, Queue, Report};

/// How long the process waits at its end for lines to be written.
pub const PATIENCE: Duration = Duration::from_secs(1);

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The logger behind the macros of the `log` crate.
struct Logger {
    filter: RwLock<Filter>,
    limiter: Limiter,
    queue: Queue,
    style: Style,
}

/// The style of lines.
#[derive(Clone, Copy)]
enum Style {
    Plain,
    /// For a terminal: the level has a colour.
    Coloured,
}

/// Starts the log on stderr with a filter such as `info` or `warn,tidegate::access=info`. A second
/// call changes nothing.
///
/// # Errors
/// When the filter is malformed, or the system gives no descriptor or no thread.
pub fn start(filter: &str) -> io::Result<()> {
    let filter = read_filter(filter)?;
    let stderr = io::stderr();
    let wants_none = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let style = if stderr.is_terminal() && !wants_none("NO_COLOR") && !is_dumb {
        Style::Coloured
    } else {
        Style::Plain
    };
    let sink = queue::stream(stderr.as_fd())?;
    let report = Report::Inline(|text| {
        let record = Record::builder()
            .level(Level::Warn)
            .target(module_path!())
            .build();
        line(Style::Plain, SystemTime::now(), &record, text)
    });
    let queue = Queue::start(sink, "the log", report, Options::default())?;
    let logger = LOGGER.get_or_init(|| Logger {
        filter: RwLock::new(filter),
        limiter: Limiter::default(),
        queue,
        style,
    });
    log::set_max_level(logger.filter().filter());
    // This fails if a logger is set already, as in a program that embeds this server.
    let _ = log::set_logger(logger);
    Ok(())
}

/// Replaces the filter of the log, if it was started.
///
/// # Errors
/// When the filter is malformed.
pub fn set_filter(filter: &str) -> io::Result<()> {
    let filter = read_filter(filter)?;
    if let Some(logger) = LOGGER.get() {
        let level = filter.filter();
        let current = logger.filter.write();
        *current.unwrap_or_else(PoisonError::into_inner) = filter;
        log::set_max_level(level);
    }
    Ok(())
}

fn read_filter(filter: &str) -> io::Result<Filter> {
    let mut filters = env_filter::Builder::new();
    let parsed = filters.try_parse(filter);
    parsed.map_err(|error| io::Error::other(error.to_string()))?;
    Ok(filters.build())
}

/// Writes a sentence to stderr that isn't a line of the log, such as why the server ends.
pub fn complain(sentence: &str) {
    let text = format!("tidegate: {sentence}\n");
    match LOGGER.get() {
        Some(logger) => logger.queue.push(text),
        None => eprint!("{text}"),
    }
}

/// Reports the lines left out of the log since the last call because one place had too many.
pub fn report_left_out() {
    let Some(logger) = LOGGER.get() else { return };
    for (site, count) in logger.limiter.left_out() {
        let Site {
            module,
            line: number,
            level,
        } = site;
        let record = Record::builder().level(level).target(module).build();
        let text = format!("{count} more lines like those of {module}:{number} were left out");
        let text = line(logger.style, SystemTime::now(), &record, &text);
        logger.queue.push(text);
    }
}

/// Waits until the log is written, at most until `deadline`, because nothing may be reading stderr.
pub fn flush(deadline: Instant) {
    report_left_out();
    if let Some(logger) = LOGGER.get() {
        logger.queue.flush(deadline);
    }
}

impl Logger {
    fn filter(&self) -> RwLockReadGuard<'_, Filter> {
        self.filter.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter().enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter().matches(record) {
            return;
        }
        let now = SystemTime::now();
        // Neither the access log, with its line for each request, nor debug lines are limited.
        let is_limited = record.level() <= Level::Info && record.target() != access_log::TARGET;
        if is_limited
            && let Some(site) = Site::of(record)
            && !self.limiter.allows(site, seconds(now))
        {
            return;
        }
        let text = record.args().to_string();
        self.queue.push(line(self.style, now, record, &text));
    }

    fn flush(&self) {
        flush(Instant::now() + PATIENCE);
    }
}

/// Returns a line of the log, such as `[1994-11-06T08:49:37Z INFO  tidegate::app] text`.
fn line(style: Style, now: SystemTime, record: &Record<'_>, text: &str) -> String {
    let (level, target) = (record.level(), record.target());
    // `Timestamp` ends with the year 9999.
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::MAX);
    let (before, after) = match style {
        Style::Plain => ("", ""),
        Style::Coloured => (colour(level), "\x1b[0m"),
    };
    let mut line = String::with_capacity(text.len() + 64);
    let written = write!(line, "[{now:.0} {before}{level:<5}{after} {target}] ");
    debug_assert!(written.is_ok(), "a String takes everything");
    // Indented, so that text of a stranger can't look like a line of the log.
    for (n, part) in text.split('\n').enumerate() {
        if n > 0 {
            line.push_str("\n    ");
        }
        line.push_str(part);
    }
    line.push('\n');
    line
}

/// Returns the escape sequence that begins a level's colour on a terminal.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[1;31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug => "\x1b[34m",
        Level::Trace => "\x1b[36m",
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn lines_of_the_log() {
        let now = UNIX_EPOCH + Duration::from_millis(784_111_777_999);
        let record = Record::builder().level(Level::Info).target("a::b").build();
        let plain = line(Style::Plain, now, &record, "one\n[two]");
        assert_eq!(plain, "[1994-11-06T08:49:37Z INFO  a::b] one\n    [two]\n");
        let coloured = line(Style::Coloured, now, &record, "one");
        assert_eq!(
            coloured,
            "[1994-11-06T08:49:37Z \x1b[32mINFO \x1b[0m a::b] one\n"
        );
    }
}
