//! Requests in progress, which their handlers' first call didn't finish.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tidegate_http::{Stream, StreamId};
use tidegate_ledger::Lease;
use tidegate_net::{ConnId, StreamMut};
use tidegate_pool::RequestId;

use crate::access_log::Entry;
use crate::clock::Clock;
use crate::handlers::download::Download;
use crate::handlers::echo::Echo;
use crate::handlers::files::{Files, Waiting};
use crate::handlers::upload::Upload;
use crate::metrics::counts::{TIME_BOUNDS, Times, WAIT_BOUNDS};
use crate::proxy::Relay;
use crate::request::{Key, Progress, Sent};
use crate::rules::{BodyLimit, Terms};

/// A request in progress.
pub struct Exchange {
    /// The handler's state.
    pub work: Work,
    /// The status, and the bytes sent so far.
    pub sent: Sent,
    /// The access log's line, if there is one.
    pub log: Option<Box<Entry>>,
    /// The request's place in its client's share of requests in progress, if a trusted proxy makes
    /// the request for that client.
    pub share: Option<Box<Lease>>,
    /// The rules of the request's route.
    pub terms: Terms,
    /// How much more of its body may come.
    pub limit: BodyLimit,
}

/// The handler of a request in progress, with its state.
pub enum Work {
    /// Counts and digests the request's body.
    Upload(Upload),
    /// Sends the request's body back.
    Echo(Echo),
    /// Waits for a thread that looks up the file.
    Look(Box<Waiting>),
    /// Sends a file.
    Download(Download),
    /// Relays the request to an upstream and the response back.
    Relay(Box<Relay>),
}

impl From<Upload> for Work {
    fn from(upload: Upload) -> Self {
        Self::Upload(upload)
    }
}

impl From<Echo> for Work {
    fn from(echo: Echo) -> Self {
        Self::Echo(echo)
    }
}

impl From<Box<Waiting>> for Work {
    fn from(waiting: Box<Waiting>) -> Self {
        Self::Look(waiting)
    }
}

impl From<Download> for Work {
    fn from(download: Download) -> Self {
        Self::Download(download)
    }
}

impl Work {
    /// Takes a piece of the request's body; with `end`, the last one.
    pub fn data(&mut self, stream: &mut StreamMut<'_>, data: Bytes, end: bool) -> Progress {
        match self {
            Self::Upload(upload) => upload.data(stream, &data, end),
            Self::Echo(echo) => echo.data(stream, data, end),
            // The handler needs no body.
            Self::Look(_) | Self::Download(_) | Self::Relay(_) => {
                stream.consume(data.len());
                Progress::More(0)
            }
        }
    }

    /// Sends more of the response, of which the stream takes up to `want` bytes.
    pub fn writable(
        &mut self,
        stream: &mut StreamMut<'_>,
        want: usize,
        files: &mut Files,
        key: Key,
    ) -> Progress {
        match self {
            Self::Echo(echo) => echo.write(stream),
            Self::Download(download) => files.read_on(download, stream, want, key),
            Self::Upload(_) | Self::Look(_) | Self::Relay(_) => Progress::More(0),
        }
    }

    /// Ends the request. Returns the answer of a handler that answers only now.
    pub fn finish(self, stream: &mut StreamMut<'_>, clock: &Clock, terms: &Terms) -> Option<Sent> {
        match self {
            Self::Upload(upload) => Some(upload.finish(stream, clock, terms)),
            _ => None,
        }
    }

    /// Returns the pool's id of the request, if it is in flight there.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Relay(relay) => relay.request(),
            _ => None,
        }
    }
}

/// Requests of one connection for which a table always keeps room.
const FEW: usize = 16;

/// A worker's requests in progress, by connection and stream.
#[derive(Default)]
pub struct Exchanges {
    /// Boxed, so that the memory of a thousand requests is released piece by piece as they end. An
    /// unboxed table with an eighth of its places free would hold 400 bytes a request.
    by_conn: FxHashMap<ConnId, FxHashMap<StreamId, Box<Timed>>>,
    /// The time of this turn.
    now: Option<Instant>,
    times: Times,
    /// When the request began that was taken last.
    taken: Option<(Instant, FirstByte)>,
}

/// A request in progress, and its times.
struct Timed {
    exchange: Exchange,
    began: Instant,
    first_byte: FirstByte,
}

/// Whether the head of a response was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstByte {
    Due,
    Counted,
}

impl Exchanges {
    /// Begins a turn of the loop.
    pub fn turn(&mut self, now: Instant) {
        self.now = Some(now);
    }

    /// Returns the times of the requests that took more than one turn.
    pub fn times(&self) -> Times {
        self.times
    }

    /// Adds a request that begins.
    pub fn insert(&mut self, conn: ConnId, id: StreamId, exchange: Exchange) {
        let began = self.now.unwrap_or_else(Instant::now);
        self.add(conn, id, exchange, (began, FirstByte::Due));
    }

    fn add(
        &mut self,
        conn: ConnId,
        id: StreamId,
        exchange: Exchange,
        (began, first_byte): (Instant, FirstByte),
    ) {
        let its = self.by_conn.entry(conn).or_default();
        let mut timed = Timed {
            exchange,
            began,
            first_byte,
        };
        if timed.exchange.sent.status != 0 {
            timed.count_first_byte(&mut self.times, self.now);
        }
        its.insert(id, Box::new(timed));
    }

    /// Takes a request that may be put back.
    pub fn take(&mut self, conn: ConnId, id: StreamId) -> Option<Exchange> {
        let timed = *self.by_conn.get_mut(&conn)?.remove(&id)?;
        self.taken = Some((timed.began, timed.first_byte));
        Some(timed.exchange)
    }

    /// Puts the request back that was taken last.
    pub fn put_back(&mut self, conn: ConnId, id: StreamId, exchange: Exchange) {
        if let Some(times) = self.taken.take() {
            self.add(conn, id, exchange, times);
        }
    }

    /// Notes that the request that was taken last has ended.
    pub fn ended_as_taken(&mut self) {
        if let (Some((began, _)), Some(now)) = (self.taken.take(), self.now) {
            let took = now.saturating_duration_since(began);
            self.times.first_bytes.record(&WAIT_BOUNDS, took);
            self.times.durations.record(&TIME_BOUNDS, took);
        }
    }

    /// Notes that the engine has the head of a request's final response.
    pub fn responded(&mut self, conn: ConnId, id: StreamId) {
        let its = self.by_conn.get_mut(&conn);
        if let Some(timed) = its.and_then(|its| its.get_mut(&id)) {
            timed.count_first_byte(&mut self.times, self.now);
        }
    }

    /// Returns the request of this stream, if it is in progress.
    pub fn get(&mut self, conn: ConnId, id: StreamId) -> Option<&mut Exchange> {
        let timed = self.by_conn.get_mut(&conn)?.get_mut(&id)?;
        Some(&mut timed.exchange)
    }

    /// Returns the request of this stream to look at, if it is in progress.
    pub fn look(&self, conn: ConnId, id: StreamId) -> Option<&Exchange> {
        Some(&self.by_conn.get(&conn)?.get(&id)?.exchange)
    }

    /// Removes and returns the request of this stream.
    pub fn remove(&mut self, conn: ConnId, id: StreamId) -> Option<Exchange> {
        let its = self.by_conn.get_mut(&conn)?;
        let timed = its.remove(&id);
        give_back(its);
        timed.map(|timed| timed.ended(&mut self.times, self.now))
    }

    /// Returns the streams of a connection that have a request in progress.
    pub fn streams(&self, conn: ConnId) -> impl Iterator<Item = StreamId> {
        let its = self.by_conn.get(&conn).into_iter();
        its.flat_map(|its| its.keys().copied())
    }

    /// Removes and returns all requests of a connection.
    pub fn remove_all(&mut self, conn: ConnId) -> impl Iterator<Item = Exchange> {
        let its = self.by_conn.remove(&conn).unwrap_or_default();
        let (times, now) = (&mut self.times, self.now);
        its.into_values().map(move |timed| timed.ended(times, now))
    }
}

impl Timed {
    fn count_first_byte(&mut self, times: &mut Times, now: Option<Instant>) {
        if self.first_byte == FirstByte::Due {
            self.first_byte = FirstByte::Counted;
            times.first_bytes.record(&WAIT_BOUNDS, self.age(now));
        }
    }

    /// Counts the request, which has ended.
    fn ended(mut self, times: &mut Times, now: Option<Instant>) -> Exchange {
        times.durations.record(&TIME_BOUNDS, self.age(now));
        // A request that was reset before its response has none.
        if self.exchange.sent.status != 0 {
            self.count_first_byte(times, now);
        }
        self.exchange
    }

    fn age(&self, now: Option<Instant>) -> Duration {
        now.map_or(Duration::ZERO, |now| {
            now.saturating_duration_since(self.began)
        })
    }
}

/// Shrinks the table of a connection that once had many more requests than now.
fn give_back<T>(its: &mut FxHashMap<StreamId, T>) {
    if its.capacity() > FEW && its.len() * 8 <= its.capacity() {
        its.shrink_to(its.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_many_is_given_back() {
        let mut its = FxHashMap::default();
        for id in 0..1000 {
            its.insert(StreamId::new(2 * id + 1), ());
        }
        for id in 1..1000 {
            its.remove(&StreamId::new(2 * id + 1));
            give_back(&mut its);
        }
        assert_eq!(its.len(), 1);
        assert!(its.capacity() <= 2 * FEW, "{}", its.capacity());
    }
}
