//! Requests in progress, which their handlers' first call didn't finish.

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
    by_conn: FxHashMap<ConnId, FxHashMap<StreamId, Box<Exchange>>>,
}

impl Exchanges {
    /// Adds a request.
    pub fn insert(&mut self, conn: ConnId, id: StreamId, exchange: Exchange) {
        let its = self.by_conn.entry(conn).or_default();
        its.insert(id, Box::new(exchange));
    }

    /// Returns the request of this stream, if it is in progress.
    pub fn get(&mut self, conn: ConnId, id: StreamId) -> Option<&mut Exchange> {
        let exchange = self.by_conn.get_mut(&conn)?.get_mut(&id)?;
        Some(exchange)
    }

    /// Removes and returns the request of this stream.
    pub fn remove(&mut self, conn: ConnId, id: StreamId) -> Option<Exchange> {
        let its = self.by_conn.get_mut(&conn)?;
        let exchange = its.remove(&id);
        give_back(its);
        exchange.map(|exchange| *exchange)
    }

    /// Returns the streams of a connection that have a request in progress.
    pub fn streams(&self, conn: ConnId) -> impl Iterator<Item = StreamId> {
        let its = self.by_conn.get(&conn).into_iter();
        its.flat_map(|its| its.keys().copied())
    }

    /// Removes and returns all requests of a connection.
    pub fn remove_all(&mut self, conn: ConnId) -> impl Iterator<Item = Exchange> {
        let its = self.by_conn.remove(&conn).unwrap_or_default();
        its.into_values().map(|exchange| *exchange)
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
