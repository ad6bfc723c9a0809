//! Forwarded requests in progress: both bodies, and the responses.

use bytes::Bytes;
use tidegate_http::{Body, ErrorCode, Fields, KnownName, ResponseHead, Stream, StreamId};
use tidegate_net::{ConnId, Conns, StreamMut};
use tidegate_pool::{Event, Failure, Trip};

use super::App;
use super::heads::note_response;
use crate::access_log::ResetBy;
use crate::in_progress::{Exchange, Work};
use crate::priority;
use crate::proxy::{Relay, fields};
use crate::request::Key;

/// Bytes of a response's head that its stream's memory covers anyway.
const SMALL_HEAD: usize = 1 << 10;

/// Whether there is memory for the head of a response that waits for its client.
fn has_room(stream: &mut StreamMut<'_>, head: &ResponseHead) -> bool {
    let size = head.fields().memory();
    size <= SMALL_HEAD || stream.has_room_for(size)
}

impl App {
    pub(super) fn is_relayed(&mut self, conn: ConnId, id: StreamId) -> bool {
        let exchange = self.exchanges.get(conn, id);
        exchange.is_some_and(|exchange| matches!(exchange.work, Work::Relay(_)))
    }

    pub(super) fn relay(&mut self, (conn, id): Key) -> Option<&mut Relay> {
        match &mut self.exchanges.get(conn, id)?.work {
            Work::Relay(relay) => Some(relay),
            _ => None,
        }
    }

    /// Relays a piece of a client's body, or its end, perhaps with trailers.
    pub(super) fn upload(
        &mut self,
        conns: &mut Conns,
        key: Key,
        data: Bytes,
        end: bool,
        trailers: Option<Fields>,
    ) {
        let Some(Exchange {
            work: Work::Relay(relay),
            ..
        }) = self.exchanges.get(key.0, key.1)
        else {
            return;
        };
        match trailers.map(|fields| fields::trailers(&fields, self.proxy.dropped())) {
            Some(fields) if !fields.is_empty() => relay.trailers_from_client(fields),
            _ => relay.from_client(data, end),
        }
        relay.move_up(conns, key, &mut self.proxy);
        self.finish_if_done(conns, key);
    }

    /// Relays more of the response, which the client can take now.
    pub(super) fn download(&mut self, conns: &mut Conns, key: Key) {
        let Some(exchange) = self.exchanges.get(key.0, key.1) else {
            return;
        };
        if let Work::Relay(relay) = &mut exchange.work {
            relay.client_asks();
            exchange.sent.bytes += relay.move_down(conns, key, &mut self.proxy) as u64;
        }
        self.finish_if_done(conns, key);
    }

    /// Handles an event of the pool.
    pub(super) fn pool_event(&mut self, conns: &mut Conns, event: Event<Key>) {
        match event {
            Event::Informational { key, head } => self.inform(conns, key, &head),
            Event::Response {
                key,
                mut head,
                version,
                end,
                opens_tunnel,
                trip,
                ..
            } => {
                self.counts.waited(&trip);
                fields::response(&mut head, version, self.clock.date());
                if self.access_logs.is_any()
                    && let Some(Exchange { log: Some(log), .. }) = self.exchanges.get(key.0, key.1)
                {
                    log.note_trip(trip);
                }
                self.respond(conns, key, head, end, opens_tunnel);
            }
            Event::Data { key, data, end } => {
                self.answered(conns, key, end, |relay| relay.from_upstream(data, end));
            }
            Event::Trailers { key, fields } => {
                let fields = fields::response_trailers(fields);
                self.answered(conns, key, true, |relay| {
                    if fields.is_empty() {
                        relay.from_upstream(Bytes::new(), true);
                    } else {
                        relay.trailers_from_upstream(fields);
                    }
                });
            }
            Event::Writable { key, .. } => {
                self.lift_limits(conns, key);
                if let Some(Exchange {
                    work: Work::Relay(relay),
                    ..
                }) = self.exchanges.get(key.0, key.1)
                {
                    relay.asked();
                    relay.move_up(conns, key, &mut self.proxy);
                    self.finish_if_done(conns, key);
                }
            }
            Event::Failed { key, failure, trip } => {
                self.counts.upstream_failures.count(failure.label());
                let exchange = self.exchanges.get(key.0, key.1);
                if exchange.is_some_and(|exchange| exchange.sent.status == 0) {
                    self.counts.waited(&trip);
                }
                self.fail(conns, key, &failure, Some(trip));
            }
            _ => {}
        }
    }

    /// Relays more of a response's body; with `end`, the last of it.
    fn answered(&mut self, conns: &mut Conns, key: Key, end: bool, add: impl FnOnce(&mut Relay)) {
        let Some(exchange) = self.exchanges.get(key.0, key.1) else {
            return;
        };
        let Work::Relay(relay) = &mut exchange.work else {
            return;
        };
        add(relay);
        if end && !relay.is_tunnel() {
            relay.ended_upstream();
            relay.move_up(conns, key, &mut self.proxy);
        }
        exchange.sent.bytes += relay.move_down(conns, key, &mut self.proxy) as u64;
        if relay.is_over() {
            self.finish_if_done(conns, key);
        }
    }

    /// Relays an interim response.
    fn inform(&mut self, conns: &mut Conns, key: Key, head: &ResponseHead) {
        let may = self.relay(key).is_some_and(|relay| !relay.has_responded());
        if may
            && let Some(mut stream) = conns.stream(key.0, key.1)
            && has_room(&mut stream, head)
        {
            // This fails if the stream is gone already or the client takes only small heads. A
            // client that has its share of memory gets no interim response. Only the final one
            // matters.
            let _ = stream.inform(head);
        }
    }

    /// Relays the head of the final response.
    fn respond(
        &mut self,
        conns: &mut Conns,
        key: Key,
        mut head: ResponseHead,
        end: bool,
        opens_tunnel: bool,
    ) {
        let Some(exchange) = self.exchanges.get(key.0, key.1) else {
            return;
        };
        let Work::Relay(relay) = &mut exchange.work else {
            return;
        };
        let Some(mut stream) = conns.stream(key.0, key.1) else {
            return;
        };
        if !opens_tunnel && relay.seems_to_open_tunnel(head.status()) {
            match &mut stream {
                // RFC 9110 §7.8: the upstream may ignore Upgrade. Then this is its answer to the
                // GET.
                StreamMut::Http1(stream) => stream.decline_upgrade(),
                // RFC 8441 §5: a 2xx would grant the tunnel, and there is no GET that it could
                // answer.
                StreamMut::Http2(_) => {
                    if let Some(request) = relay.request().filter(|_| !end) {
                        self.proxy.pool.cancel(conns, request);
                    }
                    return self.fail(conns, key, &Failure::NoWebSocket, None);
                }
            }
        }
        if let Some((list, prepared)) = relay.prepared.take() {
            head = prepared.extra(&list).added_to(&head).unwrap_or(head);
        }
        let priority = exchange.terms.priority().unwrap_or_else(|| {
            let content_type = head.get_known(KnownName::CONTENT_TYPE).unwrap_or_default();
            priority::of_content(content_type)
        });
        stream.suggest_priority(priority);
        if !opens_tunnel && let Some(changed) = exchange.terms.applied_to(&head) {
            head = changed;
        }
        if !has_room(&mut stream, &head) {
            // Otherwise the heads of all responses, however large, would wait for a client that
            // reads nothing.
            if let Some(request) = relay.request().filter(|_| !end) {
                self.proxy.pool.cancel(conns, request);
            }
            return self.fail(conns, key, &Failure::OverMemoryBudget, None);
        }
        let body = if end { Body::Empty } else { Body::Stream };
        if let Err(misuse) = stream.respond(&head, body) {
            log::warn!("stream {}: can't forward a response: {misuse}", key.1);
            return self.abandon(conns, key, ErrorCode::INTERNAL_ERROR, ResetBy::Server);
        }
        exchange.sent.status = head.status();
        if let Some(log) = &mut exchange.log {
            note_response(conns, key.0, log);
        }
        relay.respond(head.status(), opens_tunnel);
        if end {
            relay.has_no_body();
            relay.ended_upstream();
            relay.move_up(conns, key, &mut self.proxy);
        }
        let is_over = relay.is_over();
        self.exchanges.responded(key.0, key.1);
        if is_over {
            self.finish_if_done(conns, key);
        }
    }

    /// Handles a request that failed, or whose response broke off.
    fn fail(&mut self, conns: &mut Conns, key: Key, failure: &Failure, trip: Option<Trip>) {
        let (conn, id) = key;
        let Some(Exchange {
            work: Work::Relay(relay),
            terms,
            log,
            ..
        }) = self.exchanges.get(conn, id)
        else {
            return;
        };
        if let Some(log) = log {
            log.note_failure(failure, trip);
        }
        let terms = terms.clone();
        if relay.lose_upstream() {
            // The upstream had ended its side of the tunnel, so the client has all its data. What
            // the client still sends is discarded.
            relay.move_up(conns, key, &mut self.proxy);
            if let Some(mut stream) = conns.stream(conn, id) {
                stream.end_tunnel();
            }
            return self.finish_if_done(conns, key);
        }
        log::warn!(
            "upstream failed: stream {id}, peer {}, {failure}",
            super::Peer(conns, conn)
        );
        if relay.has_responded() {
            // The response isn't whole, and must not look like a whole one.
            relay.break_off(match failure {
                Failure::Reset(code) if *code != ErrorCode::NO_ERROR => *code,
                _ => ErrorCode::INTERNAL_ERROR,
            });
            relay.move_up(conns, key, &mut self.proxy);
            return self.finish_if_done(conns, key);
        }
        let is_call = relay.is_call();
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        // A gRPC server cancels a call whose deadline has passed, and the client knows this code
        // (gRPC over HTTP2, Errors). The client would turn a response into another status.
        if is_call
            && *failure == Failure::Reset(ErrorCode::CANCEL)
            && let StreamMut::Http2(_) = stream
        {
            return self.abandon(conns, key, ErrorCode::CANCEL, ResetBy::Server);
        }
        let status = failure.status();
        let text = match status {
            431 => "431 Request Header Fields Too Large\n",
            503 => "503 Service Unavailable\n",
            504 => "504 Gateway Timeout\n",
            _ => "502 Bad Gateway\n",
        };
        let head = crate::request::head_of(status, &self.clock)
            .field("content-type", "text/plain; charset=utf-8")
            .field("content-length", text.len().to_string())
            .field(
                "proxy-status",
                format!("tidegate; error={}", failure.label()),
            );
        let head = match failure {
            Failure::QueueFull | Failure::OverMemoryBudget => head.field("retry-after", "1"),
            _ => head,
        };
        let head = terms.applied_to(&head).unwrap_or(head);
        let responded = stream.respond(&head, Body::Full(Bytes::from_static(text.as_bytes())));
        if responded.is_err() {
            stream.reset(ErrorCode::INTERNAL_ERROR);
        }
        self.exchanges.responded(conn, id);
        if let Some(Exchange {
            mut log, mut sent, ..
        }) = self.exchanges.remove(conn, id)
        {
            if let Some(log) = &mut log {
                note_response(conns, conn, log);
            }
            sent.status = status;
            sent.bytes = text.len() as u64;
            self.log(log, sent);
        }
    }

    /// Resets a client's stream, and cancels its request at the upstream.
    fn abandon(&mut self, conns: &mut Conns, (conn, id): Key, code: ErrorCode, by: ResetBy) {
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.reset(code);
        }
        if let Some(Exchange {
            mut log,
            sent,
            work,
            ..
        }) = self.exchanges.remove(conn, id)
        {
            self.cancel(conns, &work);
            if let Some(log) = &mut log {
                log.note_reset(code, by);
            }
            self.log(log, sent);
        }
    }

    /// Removes a request when both sides have all of it. Resets the client's stream when it has all
    /// that there is of a response that broke off.
    fn finish_if_done(&mut self, conns: &mut Conns, (conn, id): Key) {
        let Some(relay) = self.relay((conn, id)) else {
            return;
        };
        if let Some(code) = relay.resets_with() {
            return self.abandon(conns, (conn, id), code, ResetBy::Server);
        }
        if relay.is_done()
            && let Some(Exchange { log, sent, .. }) = self.exchanges.remove(conn, id)
        {
            self.log(log, sent);
        }
    }

    /// Cancels a request at its upstream, if it is in flight there.
    pub(super) fn cancel(&mut self, conns: &mut Conns, work: &Work) {
        if let Some(request) = work.request() {
            self.proxy.pool.cancel(conns, request);
        }
    }

    /// Cancels the forwarded requests of an HTTP/1.1 client that half-closed its connection. Most
    /// such clients have left, so the upstream needn't work for them any longer.
    pub(super) fn client_may_have_left(&mut self, conns: &mut Conns, conn: ConnId) {
        let its: Vec<StreamId> = self.exchanges.streams(conn).collect();
        for id in its {
            if self.is_relayed(conn, id) {
                self.abandon(conns, (conn, id), ErrorCode::CANCEL, ResetBy::Client);
            }
        }
    }

    /// Copies data that waits since the last turn.
    pub(super) fn settle_relays(&mut self) {
        while let Some(key) = self.proxy.loose.pop() {
            if let Some(relay) = self.relay(key) {
                relay.settle();
            }
        }
    }
}
