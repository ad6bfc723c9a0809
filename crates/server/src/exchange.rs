//! Requests in progress: those that the first answer didn't finish.

use rustc_hash::FxHashMap;
use tidegate_ledger::Lease;
use tidegate_net::ConnId;
use tidegate_pool::RequestId;
use tidegate_proto::StreamId;

use crate::access_log::Entry;
use crate::handlers::Sent;
use crate::handlers::download::Download;
use crate::handlers::echo::Echo;
use crate::handlers::files::Waiting;
use crate::handlers::upload::Upload;
use crate::proxy::Relay;

/// A request in progress.
pub struct Exchange {
    /// What is being done.
    pub work: Work,
    /// What was answered so far.
    pub sent: Sent,
    /// The access log's line, if there is one.
    pub log: Option<Box<Entry>>,
    /// What it takes of its client's share of requests in progress, if a trusted proxy makes it for that client.
    pub share: Option<Box<Lease>>,
}

/// What a request in progress is about.
pub enum Work {
    /// Its body is counted and digested.
    Upload(Upload),
    /// Its body goes back.
    Echo(Echo),
    /// A thread looks for its file.
    Look(Box<Waiting>),
    /// A file goes out.
    Download(Download),
    /// It is on its way to an upstream, or the answer on its way back.
    Relay(Box<Relay>),
}

impl Work {
    /// The pool's name of it, if it is under way there.
    pub fn request(&self) -> Option<RequestId> {
        match self {
            Self::Relay(relay) => relay.request(),
            _ => None,
        }
    }
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The response isn't whole yet. So many octets of it went to the engine.
    More(usize),
    /// The response is whole. So many octets of it went to the engine.
    Done(usize),
}

/// Requests of one connection that room is always kept for.
const FEW: usize = 16;

/// All requests in progress of a worker, by connection and stream.
#[derive(Default)]
pub struct Exchanges {
    /// Boxed, because a table with an eighth of its places free would hold 400 bytes a request:
    /// the memory of a thousand must be free again piece by piece as they end.
    by_conn: FxHashMap<ConnId, FxHashMap<StreamId, Box<Exchange>>>,
}

impl Exchanges {
    /// Adds one.
    pub fn insert(&mut self, conn: ConnId, id: StreamId, exchange: Exchange) {
        let its = self.by_conn.entry(conn).or_default();
        its.insert(id, Box::new(exchange));
    }

    /// The one of this stream, if it is in progress.
    pub fn get(&mut self, conn: ConnId, id: StreamId) -> Option<&mut Exchange> {
        let exchange = self.by_conn.get_mut(&conn)?.get_mut(&id)?;
        Some(exchange)
    }

    /// Takes out the one of this stream.
    pub fn remove(&mut self, conn: ConnId, id: StreamId) -> Option<Exchange> {
        let its = self.by_conn.get_mut(&conn)?;
        let exchange = its.remove(&id);
        give_back(its);
        exchange.map(|exchange| *exchange)
    }

    /// The streams of a connection that have one in progress.
    pub fn streams(&self, conn: ConnId) -> impl Iterator<Item = StreamId> {
        let its = self.by_conn.get(&conn).into_iter();
        its.flat_map(|its| its.keys().copied())
    }

    /// Takes out all of a connection.
    pub fn remove_all(&mut self, conn: ConnId) -> impl Iterator<Item = Exchange> {
        let its = self.by_conn.remove(&conn).unwrap_or_default();
        its.into_values().map(|exchange| *exchange)
    }
}

/// A connection that had a thousand requests at once keeps no room for them.
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
