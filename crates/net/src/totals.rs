//! The counters of a worker.

use tidegate_http::Stats;

use crate::Origin;

/// Counters of one worker since its start.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Accepted connections open now, those in a handshake included.
    pub open: u64,
    /// Connections gone, dialled ones too.
    pub closed: u64,
    /// Connections refused: there was no room, or their client had its share.
    pub refused: u64,
    /// Requests refused: their client has its share of requests in progress.
    pub requests_refused: u64,
    /// Idle connections closed to make room for others.
    pub made_room: u64,
    /// Connections that were told to end, since memory was tight and their client held most of it.
    pub drained_for_memory: u64,
    /// Connections that ended before the protocol was known: TLS failures, timeouts, early ends.
    pub handshake_failures: u64,
    /// Connections whose TLS stream ended without close_notify.
    pub truncated: u64,
    /// Connections that spoke HTTP/1.1 or 1.0.
    pub http1: u64,
    /// Connections that served more than one request.
    pub reused: u64,
    /// Connections dialled.
    pub dialled: u64,
    /// Dialled connections open now, those in a handshake included.
    pub dialled_open: u64,
    /// Connections dialled that never came about, or ended in the handshake.
    pub dial_failures: u64,
    /// Octets read from sockets.
    pub octets_in: u64,
    /// Octets written to sockets.
    pub octets_out: u64,
    /// Streams of accepted connections open now.
    pub active_streams: u64,
    /// What the engines of accepted connections counted, those of closed ones included.
    pub proto: Stats,
    /// What the engines of dialled connections counted, those of closed ones included.
    pub dialled_proto: Stats,
}

impl Totals {
    /// Adds what the engine of a connection that ends, or is open, has counted.
    pub(crate) fn count(&mut self, origin: Origin, stats: &Stats) {
        match origin {
            Origin::Accepted => {
                self.proto.add(stats);
                self.reused += u64::from(stats.requests > 1);
            }
            Origin::Dialled => self.dialled_proto.add(stats),
        }
    }
}
