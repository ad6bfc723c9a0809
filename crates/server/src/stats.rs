//! What all workers have done: plain counters that each worker publishes about once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_net::Totals;

use crate::push;

/// Counters at one moment, of one worker or of all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Streams open now.
    pub active_streams: u64,
    /// Requests received.
    pub requests: u64,
    /// Octets that header compression kept off the wire, both directions together.
    pub header_octets_saved: u64,
    /// Octets read from sockets.
    pub octets_in: u64,
    /// Octets written to sockets.
    pub octets_out: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that served more than one request.
    pub reused: u64,
    /// What came of the preload list.
    pub push: push::Stats,
}

/// Counters of the loop.
const LOOP: usize = 7;

const COUNTERS: usize = LOOP + push::Stats::LEN;

impl Snapshot {
    /// What a worker's loop and its push cache have counted.
    pub fn of(totals: &Totals, push: &push::Stats) -> Self {
        Self {
            active_streams: totals.active_streams,
            requests: totals.proto.requests,
            header_octets_saved: totals.proto.header_octets_saved(),
            octets_in: totals.octets_in,
            octets_out: totals.octets_out,
            open: totals.open,
            reused: totals.reused,
            push: *push,
        }
    }

    fn to_array(self) -> [u64; COUNTERS] {
        let mut array = [0; COUNTERS];
        array[..LOOP].copy_from_slice(&[
            self.active_streams,
            self.requests,
            self.header_octets_saved,
            self.octets_in,
            self.octets_out,
            self.open,
            self.reused,
        ]);
        array[LOOP..].copy_from_slice(&self.push.to_array());
        array
    }

    fn from_array(array: [u64; COUNTERS]) -> Self {
        let [
            active_streams,
            requests,
            header_octets_saved,
            octets_in,
            octets_out,
            open,
            reused,
            push @ ..,
        ] = array;
        Self {
            active_streams,
            requests,
            header_octets_saved,
            octets_in,
            octets_out,
            open,
            reused,
            push: push::Stats::from_array(push),
        }
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} active streams, {} requests, {} KB of headers saved, {} KB in, {} KB out, {} connections open, {} reused",
            self.active_streams,
            self.requests,
            self.header_octets_saved / 1000,
            self.octets_in / 1000,
            self.octets_out / 1000,
            self.open,
            self.reused
        )?;
        if self.push != push::Stats::default() {
            write!(f, ", preloads: {}", self.push)?;
        }
        Ok(())
    }
}

/// Where one worker publishes its counters. The counters are not of one instant; each alone is right.
#[derive(Debug, Default)]
pub struct Published {
    counters: [AtomicU64; COUNTERS],
}

impl Published {
    /// Replaces what was published.
    pub fn set(&self, snapshot: Snapshot) {
        for (counter, value) in self.counters.iter().zip(snapshot.to_array()) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    fn get(&self) -> [u64; COUNTERS] {
        std::array::from_fn(|n| self.counters[n].load(Ordering::Relaxed))
    }
}

/// The counters of all workers.
#[derive(Debug, Default)]
pub struct Stats {
    workers: Vec<Arc<Published>>,
    last: Snapshot,
}

impl Stats {
    /// Where one more worker publishes its counters.
    pub fn add_worker(&mut self) -> Arc<Published> {
        let published = Arc::<Published>::default();
        self.workers.push(Arc::clone(&published));
        published
    }

    /// All workers' counters together, if they changed since the last call.
    pub fn changed(&mut self) -> Option<Snapshot> {
        let mut sums = [0; COUNTERS];
        for worker in &self.workers {
            for (sum, value) in sums.iter_mut().zip(worker.get()) {
                *sum += value;
            }
        }
        let now = Snapshot::from_array(sums);
        let changed = now != self.last;
        self.last = now;
        changed.then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_and_tells_changes_only() {
        let mut stats = Stats::default();
        let (one, other) = (stats.add_worker(), stats.add_worker());
        assert_eq!(stats.changed(), None, "nothing happened yet");
        one.set(Snapshot {
            requests: 3,
            open: 1,
            octets_in: 2500,
            ..Snapshot::default()
        });
        other.set(Snapshot {
            requests: 4,
            reused: 1,
            header_octets_saved: 9999,
            ..Snapshot::default()
        });
        let sum = stats.changed().unwrap();
        assert_eq!(
            sum.to_string(),
            "0 active streams, 7 requests, 9 KB of headers saved, 2 KB in, 0 KB out, 1 connections open, 1 reused"
        );
        assert_eq!(stats.changed(), None, "nothing new");
        one.set(Snapshot {
            push: push::Stats::from_array(std::array::from_fn(|n| n as u64)),
            ..Snapshot::default()
        });
        let line = stats.changed().unwrap().to_string();
        let preloads = ", preloads: 0 hinted, 1 pushed, 2 cancelled, 75 refused (3 disabled, ";
        assert!(line.contains(preloads), "{line}");
        one.set(Snapshot {
            requests: 3,
            octets_in: 2500,
            ..Snapshot::default()
        });
        assert_eq!(stats.changed().unwrap().open, 0);
    }
}
