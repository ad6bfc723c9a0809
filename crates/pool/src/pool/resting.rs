//! Connections that become free, rest and end.

use std::time::{Duration, Instant};

use tidegate_http::{ErrorCode, Stream, StreamId};
use tidegate_net::{ConnId, Conns, Protocol};

use super::Pool;
use super::pooled::Taking;
use crate::ids::RequestId;

/// How long an HTTP/1.1 exchange may go on after its response is whole.
const LATE: Duration = Duration::from_millis(100);

impl<K: Copy> Pool<K> {
    /// Handles the end of a stream: its connection has room for another one.
    pub(super) fn freed(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        if pooled.streams.remove(&id).is_none() {
            return;
        }
        let (place, class, is_empty) = (pooled.place, pooled.class, pooled.streams.is_empty());
        let is_http1 = pooled.protocol == Some(Protocol::Http1);
        let engine = conns.engine_ref(conn);
        let (mut is_ending, is_free) = engine.map_or((true, false), |engine| {
            (engine.is_ending(), engine.can_open())
        });
        if pooled.is_private && !is_ending {
            self.end_connection(conns, conn);
            is_ending = true;
        }
        if is_ending {
            self.take_no_more(conn);
        } else if is_http1 && is_free && !conns.has_unread(conn) {
            self.endpoint(place).group(class).free.push(conn);
        } else if is_http1 {
            // If the last read filled its buffer, nobody knows yet that nothing follows.
            self.late.push_back((conns.now() + LATE, conn));
        }
        if is_empty && !is_ending {
            self.rest(conns, conn);
        }
        self.feed_starved(conns, place);
        if !self.endpoint(place).group(class).waiting.is_empty() {
            self.serve_waiting(conns, place, class);
        }
    }

    /// Notes that a connection is idle. Ends the connections that have been idle for longest if
    /// there are too many.
    pub(super) fn rest(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        self.uses += 1;
        pooled.was_of_use = true;
        let (place, class) = (pooled.place, pooled.class);
        if pooled.idle_since.replace(self.uses).is_none() {
            self.idle += 1;
        }
        self.end_if_unneeded(conns, conn, place, class);
        while self.idle > self.limits.max_idle {
            let idle = self.conns.iter();
            let idle = idle.filter_map(|(conn, pooled)| {
                let since = pooled.idle_since?;
                let state = self.upstreams.get(pooled.place.upstream)?;
                let group = state.endpoints.get(pooled.place.endpoint)?;
                let group = group.groups.get(pooled.class)?;
                // Waiting requests may get it, once its peer's SETTINGS are there.
                group.waiting.is_empty().then_some((since, *conn))
            });
            let Some((_, oldest)) = idle.min_by_key(|(since, _)| *since) else {
                break;
            };
            self.end_connection(conns, oldest);
        }
    }

    /// Gives a connection no more requests.
    pub(super) fn take_no_more(&mut self, conn: ConnId) {
        if let Some(pooled) = self.conns.get_mut(&conn)
            && !pooled.is_ending()
        {
            pooled.taking = Taking::Nothing;
            let (place, class) = (pooled.place, pooled.class);
            let its: Vec<RequestId> = pooled.streams.values().copied().collect();
            // Another connection may be opened instead, so the requests that finish here take no
            // place from others.
            self.give_places(its);
            let endpoint = self.endpoint(place);
            endpoint.count -= 1;
            endpoint.group(class).ending += 1;
        }
    }

    /// Ends a connection gracefully.
    pub(super) fn end_connection(&mut self, conns: &mut Conns, conn: ConnId) {
        let now = conns.now();
        self.take_no_more(conn);
        if let Some(pooled) = self.conns.get_mut(&conn)
            && pooled.idle_since.take().is_some()
        {
            self.idle -= 1;
        }
        if let Some(engine) = conns.engine(conn) {
            engine.shut_down(now);
        }
    }

    /// Resets a stream whose response nobody wants.
    pub(super) fn reset_stream(&self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.reset(ErrorCode::CANCEL);
        }
    }

    /// Uses connections whose last exchange is over by now, and ends those where it isn't.
    pub(super) fn check_late(&mut self, conns: &mut Conns, now: Instant) {
        while let Some((at, conn)) = self.late.front().copied() {
            if at > now {
                break;
            }
            self.late.pop_front();
            let Some(is_free) = conns.engine_ref(conn).map(tidegate_net::Engine::can_open) else {
                continue;
            };
            let Some(pooled) = self.conns.get(&conn) else {
                continue;
            };
            let (place, class) = (pooled.place, pooled.class);
            if is_free {
                self.endpoint(place).group(class).free.push(conn);
            } else {
                self.end_connection(conns, conn);
            }
            self.serve_waiting(conns, place, class);
        }
    }
}
