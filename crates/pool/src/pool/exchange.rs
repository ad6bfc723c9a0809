//! Events of a request's stream: the response, and room for the request's body.

use bytes::Bytes;
use tidegate_http::{ErrorCode, Fields, ResetCause, ResponseHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns, Engine};

use super::Pool;
use super::pooled::Taking;
use super::request::Exchange;
use super::retry::Resend;
use crate::event::{Event, Failure};
use crate::ids::RequestId;
use crate::replay::Outgoing;

/// Interim responses that one request may have. With more, it fails.
const MAX_INTERIM: u32 = 100;

impl<K: Copy> Pool<K> {
    /// Handles an interim response.
    pub(super) fn on_informational(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        head: ResponseHead,
    ) {
        // This is no progress: an upstream can't prolong a request by interim responses.
        let Some(request) = self.find_on(conn, stream) else {
            return;
        };
        let (id, key) = (request.id, request.key);
        let count = request.exchange_mut().map_or(0, Exchange::count_interim);
        if count > MAX_INTERIM {
            self.reset_stream(conns, conn, stream);
            self.fail(id, Failure::EndlessInterim, conns.now());
            self.freed(conns, conn, stream);
        } else {
            let event = Event::Informational { key, head };
            self.events.push_back((id, event));
        }
    }

    /// Handles the head of the final response.
    pub(super) fn on_response(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        head: ResponseHead,
        end: bool,
    ) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(id) = pooled.streams.get(&stream).copied() else {
            return;
        };
        pooled.was_of_use = true;
        let Some(request) = self.find(id) else {
            return;
        };
        request.moved_at = conns.now();
        let opens_tunnel = request.is_connect()
            && (200..300).contains(&head.status())
            && conns.engine_ref(conn).is_some_and(has_opened_tunnel);
        if let Some(exchange) = request.exchange_mut() {
            exchange.begin_response(opens_tunnel);
        }
        if let Outgoing::Stream(replay) = &mut request.outgoing {
            replay.forget();
        }
        let (key, place) = (request.key, request.place);
        let trip = request.trip.ended(conns.now());
        let endpoint = self.endpoint(place);
        endpoint.health.answered(conns.now());
        let addr = endpoint.addr;
        let engine = conns.engine_ref(conn);
        let event = Event::Response {
            key,
            head,
            addr,
            version: engine.map_or("HTTP/2", |engine| engine.version()),
            end: end && !opens_tunnel,
            opens_tunnel,
            trip,
        };
        self.events.push_back((id, event));
        if end && opens_tunnel {
            // The end of the upstream's direction is reported as it would be later.
            let data = Bytes::new();
            self.events.push_back((id, Event::Data { key, data, end }));
        }
        if end {
            self.answered(conns, id, conn, stream);
        }
    }

    /// Handles a piece of the response's body.
    pub(super) fn on_data(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        data: Bytes,
        end: bool,
    ) {
        if let Some(request) = self.request_on(conns, conn, stream) {
            let (id, key) = (request.id, request.key);
            self.events.push_back((id, Event::Data { key, data, end }));
            if end {
                self.answered(conns, id, conn, stream);
            }
        }
    }

    /// Handles the response's trailers.
    pub(super) fn on_trailers(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        fields: Fields,
    ) {
        if let Some(request) = self.request_on(conns, conn, stream) {
            let (id, key) = (request.id, request.key);
            self.events.push_back((id, Event::Trailers { key, fields }));
            self.answered(conns, id, conn, stream);
        }
    }

    /// Handles that the upstream takes more of the request's body.
    pub(super) fn on_writable(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        want: usize,
    ) {
        let now = conns.now();
        let Some(request) = self.request_on(conns, conn, stream) else {
            return;
        };
        let (id, key) = (request.id, request.key);
        if let Outgoing::Stream(replay) = &mut request.outgoing
            && replay.is_behind()
        {
            let Some(mut stream) = conns.stream(conn, stream) else {
                return;
            };
            request.moved_at = now;
            let has_ended = replay.catch_up(&mut stream);
            let is_behind = replay.is_behind();
            if has_ended {
                request.end_request();
            }
            if request.is_whole() || is_behind {
                return self.end_if_over(conns, id);
            }
        }
        self.events.push_back((id, Event::Writable { key, want }));
    }

    /// Handles a stream that was reset.
    pub(super) fn on_reset(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        stream: StreamId,
        code: ErrorCode,
        cause: ResetCause,
    ) {
        if let Some(mut stream) = conns.stream(conn, stream) {
            stream.release();
        }
        let taking = self.conns.get(&conn).map(|pooled| pooled.taking);
        let has_processed = taking == Some(Taking::NothingAfterSome);
        let (failure, resend) = match cause {
            // RFC 9113 §6.8: the server hasn't processed streams above the last one that its GOAWAY
            // names. A server may end each connection after some number of requests, and leave out
            // those that came after, again and again. While each connection processes something,
            // they come to an end.
            ResetCause::Unprocessed if has_processed => (Failure::Refused, Resend::Uncounted),
            ResetCause::Unprocessed => (Failure::Refused, Resend::Once),
            // RFC 9113 §8.7: REFUSED_STREAM says the same of one stream.
            ResetCause::Peer if code == ErrorCode::REFUSED_STREAM => {
                (Failure::Refused, Resend::Once)
            }
            ResetCause::Violation(violation) => (Failure::Violation(violation), Resend::Never),
            _ => (Failure::Reset(code), Resend::Never),
        };
        if let Some(request) = self.request_on(conns, conn, stream) {
            let id = request.id;
            self.freed(conns, conn, stream);
            self.lost(conns, id, conn, failure, resend);
        }
    }

    /// Ends a tunnel if both its directions have ended.
    pub(super) fn end_if_over(&mut self, conns: &mut Conns, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        if request.exchange() == Some(Exchange::TunnelEnded)
            && let Some((conn, stream)) = request.stream()
        {
            self.remove(id);
            self.freed(conns, conn, stream);
        }
    }

    /// Ends a request whose response is whole, unless it is a tunnel that our side hasn't ended.
    /// The upstream doesn't need the rest of the body.
    fn answered(&mut self, conns: &mut Conns, id: RequestId, conn: ConnId, stream: StreamId) {
        let Some(request) = self.find(id) else {
            return;
        };
        let is_whole = request.is_whole();
        if request.exchange_mut().is_some_and(Exchange::end_response) {
            return;
        }
        if !is_whole {
            self.reset_stream(conns, conn, stream);
        }
        self.remove(id);
        self.freed(conns, conn, stream);
    }
}

/// Whether a 2xx in answer to a request for a tunnel has granted it.
fn has_opened_tunnel(engine: &Engine) -> bool {
    match engine {
        Engine::Http1(engine) => engine.is_tunnel(),
        _ => true,
    }
}
