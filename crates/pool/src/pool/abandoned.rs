//! Requests of HTTP/1.1 that nobody wants any more, whose responses are under way.
//!
//! To close the connection is all that HTTP/1.1 has for that, and the next request would have to open another one. So the response is
//! read to its end if that is near, and the connection kept. Meanwhile the client that lost its interest holds the place: cancelling
//! is no way to have more of them than one's share. What takes longer is cut off by a reset, which leaves no port in TIME_WAIT.

use std::time::{Duration, Instant};

use tidegate_http::{Event as EngineEvent, StreamId};
use tidegate_net::{ConnId, Conns, Protocol};

use super::{Pool, RequestId};
use crate::queue::Client;

/// Bytes of an unwanted response that are read.
const MOST: usize = 64 << 10;

/// How long an unwanted response is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// An exchange whose response nobody wants any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abandoned {
    stream: StreamId,
    /// Who holds its place.
    pub(super) client: Client,
    /// Bytes of the response that may still come.
    left: usize,
    until: Instant,
}

impl<K: Copy> Pool<K> {
    /// Nobody wants a response any more. Returns whether its rest is read all the same; the request is forgotten then, and the
    /// connection free once that has come.
    pub(super) fn abandon(&mut self, conns: &mut Conns, id: RequestId, conn: ConnId) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let Some((_, stream)) = request.stream() else {
            return false;
        };
        let (place, client) = (request.place, request.client());
        let is_near = request.sent && !request.is_connect();
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return false;
        };
        // One that ends behind its response can be cut off as well.
        if !is_near || pooled.is_ending || pooled.protocol != Some(Protocol::Http1) {
            return false;
        }
        let until = conns.now() + PATIENCE;
        // The request gives its place back, and the exchange takes it.
        let abandoned = Abandoned {
            stream,
            client,
            left: MOST,
            until,
        };
        pooled.abandoned = Some(abandoned);
        self.remove(id);
        self.endpoint(place).places.take(Protocol::Http1, client);
        self.abandoned.push_back((until, conn));
        // What was told and not consumed yet is of no use to anybody.
        if let Some(mut stream) = conns.stream(conn, stream) {
            let unconsumed = stream.unconsumed();
            stream.consume(unconsumed);
        }
        true
    }

    /// Takes an event if it is one of a response that nobody wants; else returns it.
    pub(super) fn event_of_abandoned(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        event: EngineEvent,
    ) -> Option<EngineEvent> {
        let Some(abandoned) = self.conns.get_mut(&conn)?.abandoned.as_mut() else {
            return Some(event);
        };
        let is_whole = match &event {
            EngineEvent::Informational { .. } | EngineEvent::Writable { .. } => false,
            EngineEvent::Response { head, end, .. } => {
                let length = head.content_length().unwrap_or(0);
                abandoned.left = match usize::try_from(length) {
                    Ok(length) if length <= abandoned.left => abandoned.left,
                    _ => 0,
                };
                *end
            }
            EngineEvent::Data { data, end, .. } => {
                abandoned.left = abandoned.left.saturating_sub(data.len());
                if let Some(mut stream) = conns.stream(conn, abandoned.stream) {
                    stream.consume(data.len());
                }
                *end
            }
            EngineEvent::Trailers { .. } => true,
            _ => return Some(event),
        };
        if is_whole {
            self.end_abandoned(conns, conn);
        } else if abandoned.left == 0 {
            self.cut_abandoned(conns, conn);
        }
        None
    }

    /// An unwanted response is whole, or is waited for no longer.
    fn end_abandoned(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(abandoned) = pooled.abandoned.take() else {
            return;
        };
        let place = pooled.place;
        let class = pooled.class;
        self.give_place(place, class, Protocol::Http1, abandoned.client);
        self.freed(conns, conn, abandoned.stream);
    }

    fn cut_abandoned(&mut self, conns: &mut Conns, conn: ConnId) {
        let abandoned = self.conns.get(&conn).and_then(|pooled| pooled.abandoned);
        if let Some(abandoned) = abandoned {
            self.reset_stream(conns, conn, abandoned.stream);
            self.end_abandoned(conns, conn);
        }
    }

    /// Cuts off what takes too long.
    pub(super) fn give_up_abandoned(&mut self, conns: &mut Conns, now: Instant) {
        while let Some((at, conn)) = self.abandoned.front().copied().filter(|(at, _)| *at <= now) {
            self.abandoned.pop_front();
            let abandoned = self.conns.get(&conn).and_then(|pooled| pooled.abandoned);
            // Its response may have come, and another one be unwanted by now.
            if abandoned.is_some_and(|abandoned| abandoned.until == at) {
                self.cut_abandoned(conns, conn);
            }
        }
    }
}
