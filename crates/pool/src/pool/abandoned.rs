//! HTTP/1.1 responses that nobody waits for.
//!
//! HTTP/1.1 can cancel a request only by closing the connection, and then the next request has to
//! open another one. So the pool reads the response to its end if that is near, and keeps the
//! connection. Meanwhile the client that cancelled holds the place: otherwise clients could get
//! more than their share by cancelling. If the response takes longer, a reset cuts it off, which
//! leaves no port in TIME_WAIT.

use std::time::{Duration, Instant};

use tidegate_http::{Event as EngineEvent, Stream};
use tidegate_net::{ConnId, Conns, Protocol};

use super::Pool;
use super::pooled::Abandoned;
use crate::ids::RequestId;

/// The most bytes of an unwanted response that are read.
const MOST: usize = 64 << 10;

/// How long the pool waits for an unwanted response.
const PATIENCE: Duration = Duration::from_secs(1);

impl<K: Copy> Pool<K> {
    /// Forgets a request, and reads the rest of its response if that is likely to be short. Returns
    /// whether it did; the connection is free once the rest has come.
    pub(super) fn abandon(&mut self, conns: &mut Conns, id: RequestId, conn: ConnId) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let Some((_, stream)) = request.stream() else {
            return false;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        let is_near = request.is_whole() && !request.is_connect();
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return false;
        };
        // A connection that ends after this response isn't worth it.
        if !is_near || pooled.is_ending() || pooled.protocol != Some(Protocol::Http1) {
            return false;
        }
        let until = conns.now() + PATIENCE;
        let abandoned = Abandoned {
            stream,
            client,
            left: MOST,
            until,
        };
        pooled.abandoned = Some(abandoned);
        // The request gives its place back, and the exchange takes it.
        self.remove(id);
        self.endpoint(place).take(class, Protocol::Http1, client);
        self.abandoned.push_back((until, conn));
        // The owner won't consume what has been reported.
        if let Some(mut stream) = conns.stream(conn, stream) {
            let unconsumed = stream.unconsumed();
            stream.consume(unconsumed);
        }
        true
    }

    /// Handles an event of a response that nobody wants; returns any other event.
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

    /// Frees a connection whose unwanted response is whole, or has been cut off.
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

    /// Cuts off an unwanted response.
    fn cut_abandoned(&mut self, conns: &mut Conns, conn: ConnId) {
        let abandoned = self.conns.get(&conn).and_then(|pooled| pooled.abandoned);
        if let Some(abandoned) = abandoned {
            self.reset_stream(conns, conn, abandoned.stream);
            self.end_abandoned(conns, conn);
        }
    }

    /// Cuts off unwanted responses that take too long.
    pub(super) fn give_up_abandoned(&mut self, conns: &mut Conns, now: Instant) {
        while let Some((at, conn)) = self.abandoned.front().copied().filter(|(at, _)| *at <= now) {
            self.abandoned.pop_front();
            let abandoned = self.conns.get(&conn).and_then(|pooled| pooled.abandoned);
            // That response may be over by now, and another one be unwanted.
            if abandoned.is_some_and(|abandoned| abandoned.until == at) {
                self.cut_abandoned(conns, conn);
            }
        }
    }
}
