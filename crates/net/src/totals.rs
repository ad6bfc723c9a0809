//! The counters of a worker.

use std::time::Duration;

use tidegate_http::{GuardPeaks, Stats};

use crate::{Histogram, Origin};

/// The upper ends of the buckets of [`Loop::turns`] and [`Loop::late`] in microseconds.
pub const TURN_BOUNDS: [u64; 3] = [1_000, 10_000, 100_000];

/// The turns of a worker's loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loop {
    /// How long turns took, without the wait for events. Bounds: [`TURN_BOUNDS`].
    pub turns: Histogram<3>,
    /// How long after their time turns began that were due at a time. Bounds: [`TURN_BOUNDS`].
    pub late: Histogram<3>,
    /// Events of the system that turns handled.
    pub events: u64,
}

impl Loop {
    /// Counts a turn that took `busy`.
    pub(crate) fn turn(&mut self, busy: Duration) {
        self.turns.record(&TURN_BOUNDS, busy);
    }

    fn add(&mut self, other: &Self) {
        self.turns.add(&other.turns);
        self.late.add(&other.late);
        self.events += other.events;
    }
}

/// The table of plain counters, each with its documentation.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// The counters of one worker since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Totals {
            $($(#[doc = $doc])+ pub $name: u64,)*
            /// The counters of the engines of accepted connections, including closed ones.
            pub engines: Stats,
            /// The counters of the engines of dialled connections, including closed ones.
            pub dialled_engines: Stats,
            /// How near the guards' limits accepted connections are that are open, or that closed
            /// since the last [`Conns::take_peaks`](crate::Conns::take_peaks).
            pub guards: GuardPeaks,
            /// The turns of the loop.
            pub turns: Loop,
        }

        impl Totals {
            /// Adds the counters of another worker.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
                self.engines.add(&other.engines);
                self.dialled_engines.add(&other.dialled_engines);
                self.guards.raise(&other.guards);
                self.turns.add(&other.turns);
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// Accepted connections that are open now, including handshakes.
    open,
    /// How many of `open` have no request in progress.
    idle,
    /// Connections that have ended, including dialled ones.
    closed,
    /// Connections refused because there was no room, or their client had its share.
    refused,
    /// How many of `refused` were refused because their client had its share, or its limit.
    refused_for_share,
    /// Requests refused because their client had its share of requests in progress.
    requests_refused,
    /// Idle connections closed to make room for others.
    made_room,
    /// Connections that were drained because memory was tight and their client held most of it.
    drained_for_memory,
    /// Connections that ended before the protocol was known: TLS failures, timeouts and early
    /// closes.
    handshake_failures,
    /// Connections whose TLS stream ended without close_notify.
    truncated,
    /// Connections that spoke HTTP/1.1 or 1.0.
    http1,
    /// Connections that served more than one request.
    reused,
    /// Connections dialled.
    dialled,
    /// Dialled connections that are open now, including handshakes.
    dialled_open,
    /// Dialled connections that were never established, or ended in the handshake.
    dial_failures,
    /// Bytes read from sockets.
    bytes_received,
    /// Bytes written to sockets.
    bytes_sent,
    /// Streams of accepted connections that are open now.
    active_streams,
    /// How many of `active_streams` have data to send and wait for their client's window.
    stalled_streams,
}

impl Totals {
    /// Adds the counters of an engine.
    pub(crate) fn count(&mut self, origin: Origin, stats: &Stats) {
        match origin {
            Origin::Accepted => {
                self.engines.add(stats);
                self.reused += u64::from(stats.requests > 1);
            }
            Origin::Dialled => self.dialled_engines.add(stats),
        }
    }
}
