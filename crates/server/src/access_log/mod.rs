//! The access logs: a line for each request. docs/logs.md explains them to operators.
//!
//! - `destination` the places that lines go to
//! - `entry`       what is known of a request until its line is written
//! - `escape`      values that strangers send
//! - `fields`      the table of fields
//! - `format`      the formats of lines
//! - `line`        writes a line
//! - `sampling`    which requests have lines
//! - `template`    templates of lines

pub mod destination;
pub mod entry;
pub(crate) mod escape;
pub mod fields;
pub mod format;
mod line;
pub mod sampling;
mod template;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use log::Level;
use tidegate_http::{RequestHead, StreamId};

use crate::clock::Clock;
use crate::logs::queue::Queue;
use crate::request::Sent;
pub use destination::{Destination, Place, marker};
pub use entry::{Cache, Entry, ResetBy};
pub use fields::Need;
use format::Shape;
pub use format::{Format, Style};
use line::Line;
pub use line::canonical;
use sampling::Sampler;
pub use sampling::Sampling;

/// The log target of the lines when they go to the log.
pub const TARGET: &str = "tidegate::access";

/// The key of a record whose text is a JSON object.
pub(crate) const OBJECT: &str = "object";

/// A worker hands its lines to the queue when it has this many bytes of them. The queue holds many
/// such batches.
const HAND_OVER_AT: usize = 16 << 10;

/// The settings of a log.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The place that lines go to.
    pub place: Place,
    /// The same, open.
    pub destination: Destination,
    /// The format of lines.
    pub format: Arc<Format>,
    /// Which requests have lines.
    pub sampling: Sampling,
}

impl Logs {
    /// Makes the queues reopen their files, as after log rotation. Returns immediately.
    pub fn reopen(&self) {
        for log in &self.all {
            log.destination.reopen();
        }
    }

    /// Waits until the lines that were handed over are written, at most until `deadline`, for the
    /// last time.
    pub fn flush(&self, deadline: Instant) {
        let mut queues: Vec<&Queue> = Vec::new();
        for queue in self.all.iter().filter_map(|log| log.destination.queue()) {
            if !queues.iter().any(|other| other.is(queue)) {
                queues.push(queue);
            }
        }
        // All write at once: one that is stuck costs the others nothing.
        let written: Vec<_> = queues.iter().map(|queue| queue.written()).collect();
        for (queue, written) in queues.iter().zip(written) {
            let patience = deadline.saturating_duration_since(Instant::now());
            if written.recv_timeout(patience).is_err() {
                let (name, bytes) = (queue.name(), queue.waiting());
                log::error!("{name} can't be written: {bytes} bytes of its lines are lost");
            }
        }
    }

    /// Returns the queue of stdout, if lines go there.
    pub fn stdout(&self) -> Option<&Queue> {
        self.all.iter().find_map(|log| match &log.destination {
            Destination::Stdout(queue) => Some(queue),
            Destination::Log | Destination::File(_) => None,
        })
    }
}

impl Settings {
    /// Whether another log would have the same lines in the same place.
    pub fn is_like(&self, other: &Self) -> bool {
        self.place == other.place && self.format == other.format && self.sampling == other.sampling
    }
}

/// All logs of a server.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// The logs.
    pub all: Vec<Settings>,
    /// The index of the log for requests that are for no site.
    pub of_no_site: Option<usize>,
}

/// A log of one worker.
struct AccessLog {
    destination: Destination,
    shape: Arc<Shape>,
    sampler: Sampler,
    /// Whether all requests have lines.
    is_all: bool,
    /// Whether lines are written at all: the log's filter may drop them.
    is_enabled: bool,
    /// Lines that wait for [`AccessLog::flush`]; empty when lines go to the log.
    lines: Vec<u8>,
}

/// The logs of one worker.
pub struct AccessLogs {
    logs: Vec<AccessLog>,
    /// Logs of former settings, while requests in progress have lines in them.
    former: Vec<AccessLog>,
    of_no_site: Option<usize>,
}

impl AccessLogs {
    /// Returns the logs of a worker.
    pub fn new(logs: &Logs) -> Self {
        let all: Vec<AccessLog> = logs.all.iter().map(AccessLog::new).collect();
        let of_no_site = logs.of_no_site.filter(|log| all[*log].is_enabled);
        Self {
            logs: all,
            former: Vec::new(),
            of_no_site,
        }
    }

    /// Writes the lines of further requests to these logs. Those of requests in progress stay with
    /// their logs.
    pub fn replace(&mut self, logs: &Logs) {
        let new = Self::new(logs);
        self.former.append(&mut self.logs);
        self.logs = new.logs;
        self.of_no_site = new.of_no_site;
        self.flush();
    }

    /// Returns the index of the log for requests that are for no site.
    pub fn of_no_site(&self) -> Option<usize> {
        self.of_no_site
    }

    /// Whether a log has lines.
    pub fn is_enabled(&self, log: usize) -> bool {
        self.logs.get(log).is_some_and(|log| log.is_enabled)
    }

    /// Whether there is any log.
    pub fn is_any(&self) -> bool {
        !self.logs.is_empty() || !self.former.is_empty()
    }

    /// Begins the line of a request that was received or promised at `began`. `version` is the
    /// protocol, such as `HTTP/1.1`. Returns `None` if there is no such log.
    pub fn begin(
        &self,
        log: usize,
        head: &Arc<RequestHead>,
        stream: StreamId,
        version: &'static str,
        began: Instant,
    ) -> Option<Box<Entry>> {
        let log = self.logs.get(log)?;
        let (shape, head) = (Arc::clone(&log.shape), Arc::clone(head));
        Some(Box::new(Entry::new(shape, head, stream, version, began)))
    }

    /// Writes the line of a request that has ended.
    pub fn end(&mut self, entry: &Entry, sent: Sent, clock: &Clock, now: Instant) {
        let all = self.logs.iter_mut().chain(&mut self.former);
        let mut its = all.filter(|log| Arc::ptr_eq(&log.shape, &entry.shape));
        if let Some(log) = its.next() {
            log.end(entry, sent, clock, now);
        }
    }

    /// Hands the waiting lines to the queues, and doesn't wait until they are written.
    pub fn flush(&mut self) {
        for log in &mut self.logs {
            log.flush();
        }
        // The others hand over their lines when they are dropped.
        self.former.retain(|log| Arc::strong_count(&log.shape) > 1);
        for log in &mut self.former {
            log.flush();
        }
    }
}

impl AccessLog {
    fn new(settings: &Settings) -> Self {
        Self {
            destination: settings.destination.clone(),
            shape: Arc::new(Shape {
                format: Arc::clone(&settings.format),
            }),
            sampler: Sampler::new(settings.sampling.clone()),
            is_all: settings.sampling.is_all(),
            is_enabled: match settings.destination {
                Destination::Log => log::log_enabled!(target: TARGET, Level::Info),
                Destination::File(_) | Destination::Stdout(_) => true,
            },
            lines: Vec::new(),
        }
    }

    fn end(&mut self, entry: &Entry, sent: Sent, clock: &Clock, now: Instant) {
        let Some(rate) = self.sampler.next(sent.status) else {
            return;
        };
        let line = Line {
            entry,
            sent,
            took: now.saturating_duration_since(entry.began),
            clock,
            rate: (!self.is_all).then_some(rate),
        };
        line.write(&mut self.lines);
        if let Destination::Log = self.destination {
            let text = self.lines.strip_suffix(b"\n").unwrap_or(&self.lines);
            let text = String::from_utf8_lossy(text);
            match self.shape.format.style() {
                Style::Text => log::info!(target: TARGET, "{text}"),
                Style::Json => log::info!(target: TARGET, object = true; "{text}"),
            }
            self.lines.clear();
        } else if self.lines.len() >= HAND_OVER_AT {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let capacity = self.lines.capacity();
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(capacity));
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
