//! Counters of all workers. Each worker publishes its own about once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_net::Totals;

use crate::push;

/// Counters at one moment, of one worker or of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Streams open now.
    pub active_streams: u64,
    /// Requests received.
    pub requests: u64,
    /// Bytes of header fields before and after compression.
    pub headers: Headers,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections that served more than one request.
    pub reused: u64,
    /// Requests refused because the memory budget was used up.
    pub refused_for_memory: u64,
    /// Connections refused because their client had its share or there was no room.
    pub refused: u64,
    /// Requests refused because their client had its share.
    pub requests_refused: u64,
    /// Idle connections closed to make room for others.
    pub made_room: u64,
    /// Connections to upstreams open now.
    pub upstream_open: u64,
    /// Connections to upstreams open now without a request.
    pub upstream_idle: u64,
    /// Connections to upstreams that were established.
    pub upstream_connected: u64,
    /// Requests sent to an upstream. A request that is sent again counts again.
    pub upstream_sent: u64,
    /// Requests sent to an upstream on a connection that had carried another request before.
    pub upstream_reused: u64,
    /// Requests that were sent to an upstream again.
    pub upstream_retried: u64,
    /// Requests that no upstream answered completely.
    pub upstream_failed: u64,
    /// Counters of hints and pushes.
    pub push: push::Stats,
}

/// Counters in a [`Snapshot`] without those of `push`.
const LOOP: usize = 21;

const COUNTERS: usize = LOOP + push::Stats::LEN;

/// Bytes of header and trailer fields, and of the blocks that they were compressed to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Bytes of names and values received.
    pub fields_in: u64,
    /// Bytes of the blocks received.
    pub blocks_in: u64,
    /// Bytes of names and values sent.
    pub fields_out: u64,
    /// Bytes of the blocks sent.
    pub blocks_out: u64,
}

impl Headers {
    /// Takes the counters of one engine, or the sums of a worker's engines.
    pub fn of(stats: &tidegate_http::Stats) -> Self {
        Self {
            fields_in: stats.fields_in,
            blocks_in: stats.blocks_in,
            fields_out: stats.fields_out,
            blocks_out: stats.blocks_out,
        }
    }

    /// Returns the bytes that compression saved, both directions together.
    fn saved(&self) -> u64 {
        (self.fields_in + self.fields_out).saturating_sub(self.blocks_in + self.blocks_out)
    }
}

impl std::fmt::Display for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kb = |bytes: u64| bytes as f64 / 1000.0;
        write!(
            f,
            "in {:.1} KB as {:.1} KB, out {:.1} KB as {:.1} KB",
            kb(self.fields_in),
            kb(self.blocks_in),
            kb(self.fields_out),
            kb(self.blocks_out)
        )
    }
}

impl Snapshot {
    /// Takes the counters of a worker's loop, its pool and its pusher.
    pub fn of(totals: &Totals, pool: &tidegate_pool::Stats, push: &push::Stats) -> Self {
        Self {
            active_streams: totals.active_streams,
            requests: totals.proto.requests,
            headers: Headers::of(&totals.proto),
            bytes_in: totals.octets_in,
            bytes_out: totals.octets_out,
            open: totals.open,
            reused: totals.reused,
            refused_for_memory: totals.proto.refused_for_memory,
            refused: totals.refused,
            requests_refused: totals.requests_refused,
            made_room: totals.made_room + totals.drained_for_memory,
            upstream_open: pool.open,
            upstream_idle: pool.idle,
            upstream_connected: pool.connected,
            upstream_sent: pool.sent,
            upstream_reused: pool.reused,
            upstream_retried: pool.retried,
            upstream_failed: pool.failed,
            push: *push,
        }
    }

    fn to_array(self) -> [u64; COUNTERS] {
        let mut array = [0; COUNTERS];
        array[..LOOP].copy_from_slice(&[
            self.active_streams,
            self.requests,
            self.headers.fields_in,
            self.headers.blocks_in,
            self.headers.fields_out,
            self.headers.blocks_out,
            self.bytes_in,
            self.bytes_out,
            self.open,
            self.reused,
            self.refused_for_memory,
            self.refused,
            self.requests_refused,
            self.made_room,
            self.upstream_open,
            self.upstream_idle,
            self.upstream_connected,
            self.upstream_sent,
            self.upstream_reused,
            self.upstream_retried,
            self.upstream_failed,
        ]);
        array[LOOP..].copy_from_slice(&self.push.to_array());
        array
    }

    fn from_array(array: [u64; COUNTERS]) -> Self {
        let [
            active_streams,
            requests,
            fields_in,
            blocks_in,
            fields_out,
            blocks_out,
            bytes_in,
            bytes_out,
            open,
            reused,
            refused_for_memory,
            refused,
            requests_refused,
            made_room,
            upstream_open,
            upstream_idle,
            upstream_connected,
            upstream_sent,
            upstream_reused,
            upstream_retried,
            upstream_failed,
            push @ ..,
        ] = array;
        Self {
            active_streams,
            requests,
            headers: Headers {
                fields_in,
                blocks_in,
                fields_out,
                blocks_out,
            },
            bytes_in,
            bytes_out,
            open,
            reused,
            refused_for_memory,
            refused,
            requests_refused,
            made_room,
            upstream_open,
            upstream_idle,
            upstream_connected,
            upstream_sent,
            upstream_reused,
            upstream_retried,
            upstream_failed,
            push: push::Stats::from_array(push),
        }
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} active streams, {} requests, {} pushed, {} KB of headers saved ({}), {} KB in, \
             {} KB out, {} connections open, {} reused",
            self.active_streams,
            self.requests,
            self.push.pushed,
            self.headers.saved() / 1000,
            self.headers,
            self.bytes_in / 1000,
            self.bytes_out / 1000,
            self.open,
            self.reused
        )?;
        if self.refused_for_memory > 0 {
            write!(f, ", {} refused for memory", self.refused_for_memory)?;
        }
        if self.refused + self.requests_refused + self.made_room > 0 {
            write!(
                f,
                ", {} connections and {} requests over their client's share, {} closed to make \
                 room",
                self.refused, self.requests_refused, self.made_room
            )?;
        }
        if self.upstream_connected + self.upstream_failed > 0 {
            write!(
                f,
                ", upstreams: {} connections open, {} idle, {} connected so far, {} requests sent, \
                 {} reused, {} retried, {} failed",
                self.upstream_open,
                self.upstream_idle,
                self.upstream_connected,
                self.upstream_sent,
                self.upstream_reused,
                self.upstream_retried,
                self.upstream_failed
            )?;
        }
        if self.push != push::Stats::default() {
            write!(f, ", preloads: {}", self.push)?;
        }
        Ok(())
    }
}

/// The place where one worker publishes its counters. Each counter is right by itself; together
/// they are not of one instant.
#[derive(Debug)]
pub struct Published {
    counters: [AtomicU64; COUNTERS],
}

impl Default for Published {
    fn default() -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; COUNTERS],
        }
    }
}

impl Published {
    /// Publishes the counters in place of the former ones.
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
    /// Adds a worker. Returns the place where it publishes its counters.
    pub fn add_worker(&mut self) -> Arc<Published> {
        let published = Arc::<Published>::default();
        self.workers.push(Arc::clone(&published));
        published
    }

    /// Returns the sums of all workers' counters, if they changed since the last call.
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
            bytes_in: 2500,
            ..Snapshot::default()
        });
        other.set(Snapshot {
            requests: 4,
            reused: 1,
            headers: Headers {
                fields_in: 12_345,
                blocks_in: 949,
                fields_out: 2_000,
                blocks_out: 52,
            },
            ..Snapshot::default()
        });
        let sum = stats.changed().unwrap();
        assert_eq!(
            sum.to_string(),
            "0 active streams, 7 requests, 0 pushed, 13 KB of headers saved (in 12.3 KB as 0.9 KB, out 2.0 KB as 0.1 KB), 2 KB in, 0 KB out, \
             1 connections open, 1 reused"
        );
        assert_eq!(stats.changed(), None, "nothing new");
        one.set(Snapshot {
            push: push::Stats::from_array(std::array::from_fn(|n| n as u64)),
            ..Snapshot::default()
        });
        let line = stats.changed().unwrap().to_string();
        assert!(line.contains(" 4 requests, 1 pushed, 13 KB"), "{line}");
        let preloads = ", preloads: 0 hinted, 1 pushed, 2 cancelled, 75 refused (3 disabled, ";
        assert!(line.contains(preloads), "{line}");
        one.set(Snapshot {
            requests: 3,
            bytes_in: 2500,
            refused_for_memory: 9,
            ..Snapshot::default()
        });
        let line = stats.changed().unwrap().to_string();
        assert!(line.ends_with(", 9 refused for memory"), "{line}");
        one.set(Snapshot::default());
        assert_eq!(stats.changed().unwrap().open, 0);
    }
}
