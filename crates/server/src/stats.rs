//! Counters of all workers. Each worker publishes its own about once a second, and when the admin
//! listener asks for them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_net::Totals;
use tidegate_pool::AddressState;

use crate::metrics::counts::Counts;
use crate::push;

/// Counters at one moment, of one worker or of all workers together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The counters of the loop, its connections and their engines.
    pub totals: Totals,
    /// The counters of the pool of connections to upstreams.
    pub pool: tidegate_pool::Stats,
    /// The counters of hints and pushes.
    pub push: push::Stats,
    /// The counts of the service.
    pub counts: Counts,
    /// The requests of each site, by the site's first name.
    pub sites: Vec<(Arc<str>, u64)>,
    /// The addresses of upstreams.
    pub upstreams: Vec<Upstream>,
}

/// An address of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The name of the upstream.
    pub name: String,
    /// The address.
    pub addr: String,
    /// The number of workers that skip the address, because it failed a moment ago.
    pub skipped: u64,
    /// The number of workers where an operator has taken it out of use.
    pub drained: u64,
    /// Connections that take requests.
    pub connections: u64,
    /// Requests in progress.
    pub requests: u64,
}

impl From<AddressState> for Upstream {
    fn from(state: AddressState) -> Self {
        Self {
            name: state.upstream,
            addr: state.addr.to_string(),
            skipped: state.is_skipped.into(),
            drained: state.is_drained.into(),
            connections: state.connections,
            requests: state.requests,
        }
    }
}

impl Snapshot {
    /// Adds another worker's counters to these.
    fn add(&mut self, other: &Self) {
        let Self {
            totals,
            pool,
            push,
            counts,
            sites,
            upstreams,
        } = other;
        self.totals.add(totals);
        self.pool.add(pool);
        self.push.add(push);
        self.counts.add(counts);
        for (index, (site, count)) in sites.iter().enumerate() {
            // All workers have the same sites in the same order, but for a moment after a reload.
            let same = self
                .sites
                .get(index)
                .is_some_and(|(known, _)| known == site);
            let index = if same {
                Some(index)
            } else {
                self.sites.iter().position(|(known, _)| known == site)
            };
            match index.and_then(|index| self.sites.get_mut(index)) {
                Some((_, sum)) => *sum += count,
                None => self.sites.push((Arc::clone(site), *count)),
            }
        }
        for other in upstreams {
            let mut known = self.upstreams.iter_mut();
            match known.find(|known| known.name == other.name && known.addr == other.addr) {
                Some(known) => {
                    known.skipped += other.skipped;
                    known.drained += other.drained;
                    known.connections += other.connections;
                    known.requests += other.requests;
                }
                None => self.upstreams.push(other.clone()),
            }
        }
    }

    fn headers(&self) -> Headers {
        Headers::of(&self.totals.engines)
    }
}

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

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// Formats the line of statistics.
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers = self.headers();
        let Self {
            totals, pool, push, ..
        } = self;
        write!(
            f,
            "{} active streams, {} requests, {} pushed, {} KB of headers saved ({}), {} KB in, \
             {} KB out, {} connections open, {} reused",
            totals.active_streams,
            totals.engines.requests,
            push.pushed,
            headers.saved() / 1000,
            headers,
            totals.bytes_received / 1000,
            totals.bytes_sent / 1000,
            totals.open,
            totals.reused
        )?;
        if totals.engines.refused_for_memory > 0 {
            write!(
                f,
                ", {} refused for memory",
                totals.engines.refused_for_memory
            )?;
        }
        let made_room = totals.made_room + totals.drained_for_memory;
        if totals.refused + totals.requests_refused + made_room > 0 {
            write!(
                f,
                ", {} connections and {} requests over their client's share, {} closed to make \
                 room",
                totals.refused, totals.requests_refused, made_room
            )?;
        }
        if pool.connected + pool.failed > 0 {
            write!(
                f,
                ", upstreams: {} connections open, {} idle, {} connected so far, {} requests sent, \
                 {} reused, {} retried, {} failed",
                pool.open,
                pool.idle,
                pool.connected,
                pool.sent,
                pool.reused,
                pool.retried,
                pool.failed
            )?;
        }
        let not_pushed = push.not_pushed;
        if push.hinted + push.pushed + push.cancelled + not_pushed.sum() > 0 {
            write!(
                f,
                ", preloads: {} hinted, {} pushed, {} cancelled, {not_pushed}",
                push.hinted, push.pushed, push.cancelled
            )?;
        }
        Ok(())
    }
}

/// The place where one worker publishes its counters.
#[derive(Debug, Default)]
pub struct Published(Mutex<Snapshot>);

impl Published {
    /// Publishes the counters in place of the former ones.
    pub fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Adds the counters to a sum.
    fn add_to(&self, sum: &mut Snapshot) {
        sum.add(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The counters of all workers. Clones have the same workers.
#[derive(Clone, Debug)]
pub struct Stats {
    workers: Vec<Arc<Published>>,
    /// The last line of statistics.
    last: String,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
            last: Snapshot::default().to_string(),
        }
    }
}

impl Stats {
    /// Adds a worker. Returns the place where it publishes its counters.
    pub fn add_worker(&mut self) -> Arc<Published> {
        let published = Arc::<Published>::default();
        self.workers.push(Arc::clone(&published));
        published
    }

    /// Returns the number of workers.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Returns the sums of all workers' counters.
    pub fn sum(&self) -> Snapshot {
        let mut sum = Snapshot::default();
        for worker in &self.workers {
            worker.add_to(&mut sum);
        }
        sum
    }

    /// Returns the line of statistics, if it changed since the last call.
    pub fn changed(&mut self) -> Option<String> {
        let line = self.sum().to_string();
        if line == self.last {
            return None;
        }
        self.last.clone_from(&line);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::Refusal;

    fn snapshot(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
        let mut snapshot = Snapshot::default();
        change(&mut snapshot);
        snapshot
    }

    #[test]
    fn sums_are_returned_when_they_changed() {
        let mut stats = Stats::default();
        let (one, other) = (stats.add_worker(), stats.add_worker());
        assert_eq!(stats.changed(), None, "nothing happened yet");
        one.set(snapshot(|snapshot| {
            snapshot.totals.engines.requests = 3;
            snapshot.totals.open = 1;
            snapshot.totals.bytes_received = 2500;
        }));
        other.set(snapshot(|snapshot| {
            snapshot.totals.engines.requests = 4;
            snapshot.totals.reused = 1;
            snapshot.totals.engines.fields_in = 12_345;
            snapshot.totals.engines.blocks_in = 949;
            snapshot.totals.engines.fields_out = 2_000;
            snapshot.totals.engines.blocks_out = 52;
        }));
        assert_eq!(
            stats.changed().unwrap(),
            "0 active streams, 7 requests, 0 pushed, 13 KB of headers saved (in 12.3 KB as 0.9 KB, \
             out 2.0 KB as 0.1 KB), 2 KB in, 0 KB out, 1 connections open, 1 reused"
        );
        assert_eq!(stats.changed(), None, "nothing new");
        one.set(snapshot(|snapshot| {
            snapshot.push.pushed = 1;
            snapshot.push.cancelled = 2;
            snapshot.push.not_pushed.count(Refusal::Disabled);
        }));
        let line = stats.changed().unwrap();
        assert!(line.contains(" 4 requests, 1 pushed, 13 KB"), "{line}");
        let preloads = ", preloads: 0 hinted, 1 pushed, 2 cancelled, 1 refused (1 disabled)";
        assert!(line.ends_with(preloads), "{line}");
        one.set(snapshot(|snapshot| {
            snapshot.totals.engines.refused_for_memory = 9;
        }));
        let line = stats.changed().unwrap();
        assert!(line.ends_with(", 9 refused for memory"), "{line}");
    }

    #[test]
    fn workers_that_share_sites_and_upstreams_are_added_up() {
        let worker = |skipped| {
            snapshot(|snapshot| {
                snapshot.sites = vec![("a.test".into(), 2)];
                snapshot.upstreams = vec![Upstream {
                    name: "h2c://a".into(),
                    addr: "192.0.2.1:80".into(),
                    skipped,
                    drained: 0,
                    connections: 1,
                    requests: 3,
                }];
            })
        };
        let mut stats = Stats::default();
        stats.add_worker().set(worker(1));
        stats.add_worker().set(worker(0));
        let sum = stats.sum();
        assert_eq!(sum.sites, [("a.test".into(), 4)]);
        assert_eq!(sum.upstreams.len(), 1);
        let upstream = &sum.upstreams[0];
        assert_eq!((upstream.skipped, upstream.connections), (1, 2));
        assert_eq!(upstream.requests, 6);
    }
}
