//! The counters of a worker.

use tidegate_http::Stats;

use crate::Origin;

/// The counters of one worker since its start.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted connections that are open now, including handshakes.
    pub open: u64,
    /// Connections that have ended, including dialled ones.
    pub closed: u64,
    /// Connections refused because there was no room, or their client had its share.
    pub refused: u64,
    /// Requests refused because their client had its share of requests in progress.
    pub requests_refused: u64,
    /// Idle connections closed to make room for others.
    pub made_room: u64,
    /// Connections that were drained because memory was tight and their client held most of it.
    pub drained_for_memory: u64,
    /// Connections that ended before the protocol was known: TLS failures, timeouts and early
    /// closes.
    pub handshake_failures: u64,
    /// Connections whose TLS stream ended without close_notify.
    pub truncated: u64,
    /// Connections that spoke HTTP/1.1 or 1.0.
    pub http1: u64,
    /// Connections that served more than one request.
    pub reused: u64,
    /// Connections dialled.
    pub dialled: u64,
    /// Dialled connections that are open now, including handshakes.
    pub dialled_open: u64,
    /// Dialled connections that were never established, or ended in the handshake.
    pub dial_failures: u64,
    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    /// Streams of accepted connections that are open now.
    pub active_streams: u64,
    /// The counters of the engines of accepted connections, including closed ones.
    pub engines: Stats,
    /// The counters of the engines of dialled connections, including closed ones.
    pub dialled_engines: Stats,
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
