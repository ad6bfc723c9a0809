//! Everything that the table of metrics reads.

use std::time::SystemTime;

use tidegate_ledger::Ledger;

use super::facts::Facts;
use crate::stats::Snapshot;

/// The most sites, addresses of upstreams or certificates that have labels of their own. The others
/// share the label `other`.
pub const MOST_LABELS: usize = 64;

/// The most clients that have labels: those that hold most memory.
pub const MOST_CLIENTS: usize = 10;

/// Everything that the table of metrics reads, at one moment.
pub struct Scrape<'a> {
    /// The sums of all workers' counters.
    pub snapshot: &'a Snapshot,
    /// Facts about the process.
    pub facts: &'a Facts,
    /// The resources that clients share.
    pub ledger: &'a Ledger,
    /// The number of workers.
    pub workers: usize,
    /// The lines of logs that were lost.
    pub lost_lines: u64,
}

/// Returns the seconds since 1970.
pub fn unix_seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
