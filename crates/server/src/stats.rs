//! Counters of all workers. Each worker publishes its own about once a second.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_net::Totals;

use crate::push::{self, NotPushed};

/// The course of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The count since the start, which only grows.
    Total,
    /// The count of what there is now.
    Current,
}

/// A row of the table of counters.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// The name of its field in [`Snapshot`].
    pub name: &'static str,
    /// The description, one or two sentences.
    pub help: &'static str,
    /// Whether the counter only grows.
    pub kind: Kind,
    /// Returns the counter's value.
    pub value: fn(&Snapshot) -> u64,
}

/// The table of counters: name, kind, source in the counters of a worker's loop, pool and pusher,
/// and help.
macro_rules! counters {
    (
        ($loop:ident, $pool:ident, $push:ident)
        $($name:ident: $kind:ident = $source:expr, $help:literal;)*
    ) => {
        /// Counters at one moment, of one worker or of all workers together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $(#[doc = $help] pub $name: u64,)*
            /// Resources that weren't pushed, by reason.
            pub not_pushed: NotPushed,
        }

        impl Snapshot {
            /// All counters but those of `not_pushed`, in the order of the table.
            pub const COUNTERS: &'static [Counter] = &[$(Counter {
                name: stringify!($name),
                help: $help,
                kind: Kind::$kind,
                value: |snapshot| snapshot.$name,
            }),*];

            /// Takes the counters of a worker's loop, its pool and its pusher.
            pub fn of($loop: &Totals, $pool: &tidegate_pool::Stats, $push: &push::Stats) -> Self {
                Self {
                    $($name: $source,)*
                    not_pushed: $push.not_pushed,
                }
            }

            /// Adds another worker's counters to these.
            fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                self.not_pushed.add(&other.not_pushed);
            }
        }
    };
}

counters! {
    (totals, pool, push)

    active_streams: Current = totals.active_streams, "Streams open now.";
    requests: Total = totals.engines.requests, "Requests received.";
    fields_in: Total = totals.engines.fields_in, "Bytes of names and values of fields received, before compression.";
    blocks_in: Total = totals.engines.blocks_in, "Bytes of the header blocks received.";
    fields_out: Total = totals.engines.fields_out, "Bytes of names and values of fields sent, before compression.";
    blocks_out: Total = totals.engines.blocks_out, "Bytes of the header blocks sent.";
    bytes_in: Total = totals.bytes_received, "Bytes read from sockets.";
    bytes_out: Total = totals.bytes_sent, "Bytes written to sockets.";
    open: Current = totals.open, "Connections open now.";
    reused: Total = totals.reused, "Connections that served more than one request.";
    refused_for_memory: Total = totals.engines.refused_for_memory, "Requests refused because the memory budget was used up.";
    refused: Total = totals.refused, "Connections refused because their client had its share or there was no room.";
    requests_refused: Total = totals.requests_refused, "Requests refused because their client had its share.";
    made_room: Total = totals.made_room + totals.drained_for_memory, "Connections closed to make room for others.";
    upstream_open: Current = pool.open, "Connections to upstreams open now.";
    upstream_idle: Current = pool.idle, "Connections to upstreams open now without a request.";
    upstream_connected: Total = pool.connected, "Connections to upstreams that were established.";
    upstream_sent: Total = pool.sent, "Requests sent to an upstream. A request that is sent again counts again.";
    upstream_reused: Total = pool.reused, "Requests sent to an upstream on a connection that had carried another request before.";
    upstream_retried: Total = pool.retried, "Requests that were sent to an upstream again.";
    upstream_failed: Total = pool.failed, "Requests that no upstream answered completely.";
    hinted: Total = push.hinted, "Resources that a 103 response named, once for each view of a page.";
    pushed: Total = push.pushed, "Resources promised by PUSH_PROMISE.";
    push_cancelled: Total = push.cancelled, "Resources promised, and then reset by the client.";
}

impl Snapshot {
    fn headers(&self) -> Headers {
        Headers {
            fields_in: self.fields_in,
            blocks_in: self.blocks_in,
            fields_out: self.fields_out,
            blocks_out: self.blocks_out,
        }
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
        write!(
            f,
            "{} active streams, {} requests, {} pushed, {} KB of headers saved ({}), {} KB in, \
             {} KB out, {} connections open, {} reused",
            self.active_streams,
            self.requests,
            self.pushed,
            headers.saved() / 1000,
            headers,
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
        let not_pushed = self.not_pushed;
        if self.hinted + self.pushed + self.push_cancelled + not_pushed.sum() > 0 {
            write!(
                f,
                ", preloads: {} hinted, {} pushed, {} cancelled, {not_pushed}",
                self.hinted, self.pushed, self.push_cancelled
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

    fn get(&self) -> Snapshot {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut now = Snapshot::default();
        for worker in &self.workers {
            now.add(&worker.get());
        }
        let changed = now != self.last;
        self.last = now;
        changed.then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::Refusal;

    #[test]
    fn sums_are_returned_when_they_changed() {
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
            fields_in: 12_345,
            blocks_in: 949,
            fields_out: 2_000,
            blocks_out: 52,
            ..Snapshot::default()
        });
        let sum = stats.changed().unwrap();
        assert_eq!(
            sum.to_string(),
            "0 active streams, 7 requests, 0 pushed, 13 KB of headers saved (in 12.3 KB as 0.9 KB, \
             out 2.0 KB as 0.1 KB), 2 KB in, 0 KB out, 1 connections open, 1 reused"
        );
        assert_eq!(stats.changed(), None, "nothing new");
        let mut not_pushed = NotPushed::default();
        not_pushed.count(Refusal::Disabled);
        one.set(Snapshot {
            pushed: 1,
            push_cancelled: 2,
            not_pushed,
            ..Snapshot::default()
        });
        let line = stats.changed().unwrap().to_string();
        assert!(line.contains(" 4 requests, 1 pushed, 13 KB"), "{line}");
        let preloads = ", preloads: 0 hinted, 1 pushed, 2 cancelled, 1 refused (1 disabled)";
        assert!(line.ends_with(preloads), "{line}");
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

    #[test]
    fn every_counter_has_a_source_of_its_own_and_a_sentence() {
        let mut totals = Totals::default();
        totals.engines.requests = 1;
        totals.engines.fields_in = 2;
        totals.engines.blocks_in = 3;
        totals.engines.fields_out = 4;
        totals.engines.blocks_out = 5;
        totals.engines.refused_for_memory = 6;
        totals.active_streams = 7;
        totals.bytes_received = 8;
        totals.bytes_sent = 9;
        totals.open = 10;
        totals.reused = 11;
        totals.refused = 12;
        totals.requests_refused = 13;
        totals.made_room = 6;
        totals.drained_for_memory = 8;
        let mut pool = tidegate_pool::Stats::default();
        pool.open = 15;
        pool.idle = 16;
        pool.connected = 17;
        pool.sent = 18;
        pool.reused = 19;
        pool.retried = 20;
        pool.failed = 21;
        let push = push::Stats {
            hinted: 22,
            pushed: 23,
            cancelled: 24,
            ..push::Stats::default()
        };
        let snapshot = Snapshot::of(&totals, &pool, &push);
        let table = Snapshot::COUNTERS;
        let mut values: Vec<u64> = table.iter().map(|row| (row.value)(&snapshot)).collect();
        values.sort_unstable();
        assert_eq!(values, (1..=table.len() as u64).collect::<Vec<_>>());
        for Counter { name, help, .. } in table {
            assert!(help.ends_with('.'), "{name}: {help}");
        }
        let now = table.iter().filter(|row| row.kind == Kind::Current);
        let now: Vec<_> = now.map(|row| row.name).collect();
        let levels = ["active_streams", "open", "upstream_open", "upstream_idle"];
        assert_eq!(now, levels);
    }
}
