//! The log on stderr, which never makes a worker wait.
//!
//! - `format`  text or JSON
//! - `limiter` limits the lines of each place in the code
//! - `queue`   the queue of lines, and the thread that writes them
//! - `style`   how a line looks

pub mod format;
pub mod limiter;
pub mod queue;
mod style;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use env_filter::Filter;
use log::{Level, Log, Metadata, Record};

use crate::access_log;
use crate::clock::seconds;
pub use format::Format;
use limiter::{Limiter, Site};
pub use queue::{Lost, lost};
use queue::{Options, Queue, Report};
use style::Style;

/// How long the process waits at its end for lines to be written.
pub const PATIENCE: Duration = Duration::from_secs(1);

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The logger behind the macros of the `log` crate.
struct Logger {
    filter: RwLock<Filter>,
    limiter: Limiter,
    queue: Queue,
    /// The style of text: coloured on a terminal.
    text: Style,
    /// Whether lines are text or JSON, as a number.
    format: AtomicU8,
}

/// Starts the log on stderr with a filter such as `info` or `warn,tidegate::access=info`. A second
/// call changes nothing.
///
/// # Errors
/// When the filter is malformed, or the system gives no descriptor or no thread.
pub fn start(filter: &str, format: Format) -> io::Result<()> {
    let filter = read_filter(filter)?;
    let stderr = io::stderr();
    let wants_none = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let text = if stderr.is_terminal() && !wants_none("NO_COLOR") && !is_dumb {
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
        let style = LOGGER.get().map_or(Style::Plain, Logger::style);
        style::line(style, SystemTime::now(), &record, text)
    });
    let queue = Queue::start(sink, "the log", report, Options::default())?;
    let logger = LOGGER.get_or_init(|| Logger {
        filter: RwLock::new(filter),
        limiter: Limiter::default(),
        queue,
        text,
        format: AtomicU8::new(format as u8),
    });
    log::set_max_level(logger.filter().filter());
    // This fails if a logger is set already, as in a program that embeds this server.
    let _ = log::set_logger(logger);
    Ok(())
}

/// Replaces the filter and the format of the log, if it was started.
///
/// # Errors
/// When the filter is malformed.
pub fn change(filter: &str, format: Format) -> io::Result<()> {
    let filter = read_filter(filter)?;
    if let Some(logger) = LOGGER.get() {
        logger.format.store(format as u8, Ordering::Relaxed);
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
    match LOGGER.get() {
        Some(logger) if logger.style() == Style::Json => {
            let record = Record::builder()
                .level(Level::Error)
                .target("tidegate")
                .build();
            let line = style::line(Style::Json, SystemTime::now(), &record, sentence);
            logger.queue.push(line);
        }
        Some(logger) => logger.queue.push(format!("tidegate: {sentence}\n")),
        None => eprintln!("tidegate: {sentence}"),
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
            ..
        } = site;
        let record = Record::builder().level(level).target(module).build();
        let text = format!("{count} more lines like those of {module}:{number} were left out");
        let text = style::line(logger.style(), SystemTime::now(), &record, &text);
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
    /// Returns the style of the next line.
    fn style(&self) -> Style {
        if self.format.load(Ordering::Relaxed) == Format::Json as u8 {
            Style::Json
        } else {
            self.text
        }
    }

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
        self.queue
            .push(style::line(self.style(), now, record, &text));
    }

    fn flush(&self) {
        flush(Instant::now() + PATIENCE);
    }
}
