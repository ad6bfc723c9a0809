//! The way of a request to its upstream, in figures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The way of a request to its upstream: how often it was sent, where, and how long each part took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trip {
    /// How often the request was sent.
    pub tries: u32,
    /// The address that it was sent to last, if it was sent.
    pub addr: Option<SocketAddr>,
    /// The time that it waited for a place, without `connecting`. With several tries, the sum.
    pub queued: Duration,
    /// The time that it waited for its connection to be established; 0 on a connection that had
    /// carried a request.
    pub connecting: Duration,
    /// The time from the last try until the final response began, or the request failed.
    pub answering: Duration,
}

/// A trip that goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Going {
    trip: Trip,
    /// When the current part began: the wait for a stream, or the wait for the response.
    since: Instant,
}

impl Going {
    /// Begins a trip with the wait for a stream.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            trip: Trip::default(),
            since: now,
        }
    }

    /// Notes that the request is sent to an address. `dialled_at` is when its connection was
    /// dialled, if no request has used it before.
    pub(crate) fn sent(&mut self, addr: SocketAddr, dialled_at: Option<Instant>, now: Instant) {
        let waited = now.saturating_duration_since(self.since);
        let connecting = dialled_at.map_or(Duration::ZERO, |at| {
            now.saturating_duration_since(at).min(waited)
        });
        self.trip.tries += 1;
        self.trip.addr = Some(addr);
        self.trip.connecting += connecting;
        self.trip.queued += waited - connecting;
        self.since = now;
    }

    /// Notes that the request waits for a stream again.
    pub(crate) fn waits(&mut self, now: Instant) {
        self.since = now;
    }

    /// Returns the trip of a request whose final response begins, or that has failed.
    pub(crate) fn ended(&self, now: Instant) -> Trip {
        let part = now.saturating_duration_since(self.since);
        let mut trip = self.trip;
        if trip.tries == 0 {
            trip.queued = part;
        } else {
            trip.answering = part;
        }
        trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_trip_has_its_time() {
        let addr: SocketAddr = ([192, 0, 2, 1], 80).into();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut going = Going::new(at(0));
        assert_eq!(going.ended(at(5)).queued, ms(5));
        // 30 ms of the wait were the connection's.
        going.sent(addr, Some(at(10)), at(40));
        let trip = going.ended(at(47));
        assert_eq!((trip.tries, trip.addr), (1, Some(addr)));
        assert_eq!((trip.queued, trip.connecting), (ms(10), ms(30)));
        assert_eq!(trip.answering, ms(7));
        going.waits(at(50));
        // The connection was dialled long before the request waited for it.
        going.sent(addr, Some(at(1)), at(53));
        going.waits(at(60));
        going.sent(addr, None, at(64));
        let trip = going.ended(at(65));
        assert_eq!((trip.tries, trip.answering), (3, ms(1)));
        assert_eq!((trip.queued, trip.connecting), (ms(14), ms(33)));
    }
}
