//! Limits the lines that each place in the code logs.
//!
//! Strangers can provoke lines by a bad TLS record, a reset or a malformed request. Each place that
//! logs may write a number of lines a second. Lines above that are counted and reported in one
//! line.

use std::hash::BuildHasher as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use log::kv::Value;
use log::{Level, Record};
use rustc_hash::FxBuildHasher;

/// Lines that one place may log in one second, more than anybody can read.
const LINES_A_SECOND: u32 = 20;

/// Places that are counted separately. Places without a counter of their own share one. A power of
/// two.
const PLACES: usize = 256;

/// Counters that are tried for one place.
const PROBES: usize = 8;

/// A place in the code that logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The module's path, such as `tidegate::app`.
    pub module: &'static str,
    /// The line in its file.
    pub line: u32,
    /// The level of its lines.
    pub level: Level,
    /// The kind of the line, if the place logs several: the rule that was broken, as a number.
    pub kind: u64,
}

impl Site {
    /// Returns the place that a record comes from, if a logging macro made the record.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        Some(Self {
            module: record.module_path_static()?,
            line: record.line()?,
            level: record.level(),
            kind: kind(record),
        })
    }
}

/// Returns the number of a record's rule; 0 if it has none. A flood that breaks one rule leaves out
/// no lines about others.
fn kind(record: &Record<'_>) -> u64 {
    let rule = record.key_values().get("rule".into());
    let rule = rule.as_ref().and_then(Value::to_borrowed_str);
    rule.map_or(0, |rule| FxBuildHasher.hash_one(rule))
}

/// The lines of one place.
#[derive(Default)]
struct Counter {
    site: OnceLock<Site>,
    /// Seconds since 1970 in the upper half; in the lower half, the lines logged in that second.
    window: AtomicU64,
    /// Lines that were left out since the last report.
    left_out: AtomicU64,
}

/// The lines of all places. There is no lock, so threads that log at the same time may write a few
/// lines above the limit.
pub struct Limiter {
    counters: Box<[Counter]>,
}

impl Default for Limiter {
    fn default() -> Self {
        let counters = std::iter::repeat_with(Counter::default).take(PLACES);
        Self {
            counters: counters.collect(),
        }
    }
}

impl Limiter {
    /// Counts a line of this place. Returns whether the line may be written. `second` is in seconds
    /// since 1970.
    pub fn allows(&self, site: Site, second: u64) -> bool {
        let counter = self.counter(site);
        let second = second as u32;
        let window = counter.window.load(Ordering::Relaxed);
        let count = if (window >> 32) as u32 == second {
            window as u32
        } else {
            0
        };
        if count >= LINES_A_SECOND {
            counter.left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let window = u64::from(second) << 32 | u64::from(count + 1);
        counter.window.store(window, Ordering::Relaxed);
        true
    }

    /// Returns the number of lines left out since the last call, for each place.
    pub fn left_out(&self) -> impl Iterator<Item = (Site, u64)> {
        self.counters.iter().filter_map(|counter| {
            let site = counter.site.get()?;
            match counter.left_out.swap(0, Ordering::Relaxed) {
                0 => None,
                count => Some((*site, count)),
            }
        })
    }

    fn counter(&self, site: Site) -> &Counter {
        let place = site.line ^ site.kind as u32;
        let hash = site.module.len() as u32 ^ place.wrapping_mul(0x9e37_79b9);
        let first = (hash >> 16) as usize;
        for probe in 0..PROBES {
            let counter = &self.counters[(first + probe) % PLACES];
            if *counter.site.get_or_init(|| site) == site {
                return counter;
            }
        }
        &self.counters[(first + PROBES - 1) % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(line: u32) -> Site {
        Site {
            module: "tidegate::somewhere",
            line,
            level: Level::Warn,
            kind: 0,
        }
    }

    #[test]
    fn each_rule_of_a_place_is_limited_by_itself() {
        let limiter = Limiter::default();
        let record = |rule: &'static str| {
            let pairs = [("rule", Value::from(rule))];
            let mut builder = Record::builder();
            let builder = builder.module_path_static(Some("m")).line(Some(7));
            Site::of(&builder.key_values(&pairs).build()).unwrap()
        };
        let (one, other) = (record("RapidReset"), record("PingFlood"));
        assert_eq!(one, record("RapidReset"));
        while limiter.allows(one, 1000) {}
        assert!(limiter.allows(other, 1000));
    }

    #[test]
    fn a_place_that_logs_too_much_is_reported_in_one_line() {
        let limiter = Limiter::default();
        let written = (0..6543).filter(|_| limiter.allows(site(7), 1000)).count();
        assert_eq!(written, LINES_A_SECOND as usize);
        assert!(limiter.allows(site(8), 1000), "another place has its own");
        assert_eq!(limiter.left_out().collect::<Vec<_>>(), [(site(7), 6523)]);
        assert_eq!(limiter.left_out().count(), 0, "reported once");
        assert!(limiter.allows(site(7), 1001), "the next second");
        assert_eq!(limiter.left_out().count(), 0);
    }

    #[test]
    fn more_places_than_there_are_counters_share_them() {
        let limiter = Limiter::default();
        for line in 0..10_000 {
            limiter.allows(site(line), 1000);
        }
        let left_out: u64 = limiter.left_out().map(|(_, count)| count).sum();
        assert!(left_out <= 10_000 - 256, "{left_out}");
        assert!(!limiter.allows(site(10_001), 1000), "all are used up");
    }

    #[test]
    fn records_know_their_place() {
        let record = Record::builder()
            .module_path_static(Some("tidegate::app"))
            .line(Some(7))
            .level(Level::Info)
            .build();
        assert_eq!(Site::of(&record).unwrap().module, "tidegate::app");
        assert_eq!(Site::of(&Record::builder().build()), None);
    }
}
