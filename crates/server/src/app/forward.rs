//! Requests that are to be forwarded: which are refused, and what the pool gets of the others.

use std::sync::Arc;

use tidegate_http::{Body, RequestHead, Stream};
use tidegate_net::{Conns, Protocol, StreamMut};
use tidegate_pool::RequestOptions;

use super::heads::note_response;
use super::limits::limit_of;
use super::{App, Forwarded};
use crate::access_log::Entry;
use crate::in_progress::{Exchange, Work};
use crate::path::RequestPath;
use crate::proxy::fields::{self, Refused};
use crate::proxy::relay::is_call;
use crate::proxy::{Client, Relay, Route, UPLOAD_WINDOW, on_behalf};
use crate::request::{ANY_METHODS, Extra, Key, Request, Sent};
use crate::rules::Terms;
use crate::site::Target;

impl App {
    /// Whether a request asks for a WebSocket on a path where they pass. Only routes to upstreams
    /// take them.
    pub(super) fn takes_websockets(
        &self,
        site: usize,
        head: &RequestHead,
        path: &RequestPath<'_>,
    ) -> bool {
        let site = &self.sites[site];
        let leads_to_upstream = || {
            let found = site.routes.find(path);
            found.is_some_and(|found| matches!(found.target.target, Target::Proxy(_)))
        };
        head.protocol() == Some("websocket")
            && site.websockets.find(path).is_some()
            && leads_to_upstream()
    }

    /// Forwards a request to its upstream.
    pub(super) fn forward(
        &mut self,
        conns: &mut Conns,
        key: Key,
        route: &Arc<Route>,
        forwarded: Forwarded<'_>,
    ) {
        let (conn, id) = key;
        let Forwarded {
            site,
            head,
            path,
            target,
            end,
            prepared,
            mut log,
            share,
            terms,
        } = forwarded;
        if prepared.is_some_and(|prepared| prepared.is_hinted)
            && let Some(log) = &mut log
        {
            log.note_hint();
        }
        let is_connect = head.method_bytes() == b"CONNECT";
        if is_connect && !self.takes_websockets(site, head, path) {
            // RFC 9110 §9.3.6: CONNECT is for proxies that a client has chosen. RFC 8441 §4: the
            // protocol isn't known here.
            let refusal = (501, "501 Not Implemented\n");
            return self.refuse(conns, key, head, log, &terms, refusal);
        }
        let protocol = match conns.engine(conn) {
            Some(engine) => engine.protocol(),
            None => return,
        };
        let target = match target {
            Ok(target) => target,
            Err(error) => {
                let refusal = (400, error.text());
                return self.refuse(conns, key, head, log, &terms, refusal);
            }
        };
        // In HTTP/1.1 a request for a WebSocket is a GET, which is whole. The tunnel's data follows
        // the response.
        let end = end && !(is_connect && protocol == Protocol::Http1);
        let version = conns.stream(conn, id).map_or("", |stream| stream.version());
        let is_early = conns.is_early(conn);
        let certificate = self.certificate_fields(conns, conn, site);
        let is_unique = is_early || self.proxy.makes_ids();
        let repeated = if is_unique {
            // A later request of the same kind has another head.
            None
        } else {
            self.proxy.repeated.find(conn, head)
        };
        let is_repeated = repeated.is_some();
        let (Some(info), Some(account)) = (conns.info(conn), conns.client(conn)) else {
            return;
        };
        let ids = self.proxy.ids(info, head, log.as_deref_mut());
        let client = Client {
            certificate: certificate.as_deref(),
            is_early,
            ids: &ids,
            ..self.proxy.client(info, version)
        };
        let account = self.proxy.account(account, &client, head);
        let forwarded = match repeated {
            Some(forwarded) => Ok(forwarded),
            None => fields::request(head, route, &target, &client).map(Arc::new),
        };
        let sent_head = match forwarded {
            Ok(head) => head,
            Err(refused) => {
                let refusal = match refused {
                    Refused::Unsendable => (400, "400 Bad Request\n"),
                    Refused::Method => {
                        return self.answer_with(conns, key, head, log, &terms, |request| {
                            request.respond_methods(ANY_METHODS)
                        });
                    }
                    Refused::LastHop => (200, ""),
                    Refused::Loop => (508, "508 Loop Detected\n"),
                };
                return self.refuse(conns, key, head, log, &terms, refusal);
            }
        };
        let Some(upstream) = self.proxy.upstream(route) else {
            return;
        };
        let Some(mut stream) = conns.stream(conn, id) else {
            return;
        };
        if !end {
            stream.limit_window(UPLOAD_WINDOW);
        }
        let options = RequestOptions {
            client: Some(account),
            on_behalf: on_behalf(conns, conn),
            is_conversation: is_call(head) && protocol == Protocol::Http2,
        };
        let body = if end { Body::Empty } else { Body::Stream };
        let list = &self.sites[site].pusher.options().list;
        let prepared = prepared.map(|prepared| (Arc::clone(list), prepared.clone()));
        let relay = Relay::new(head, end, prepared);
        let exchange = Exchange {
            work: Work::Relay(Box::new(relay)),
            sent: Sent::NOTHING,
            log,
            share,
            limit: limit_of(&terms, head),
            terms,
        };
        self.exchanges.insert(conn, id, exchange);
        if !is_repeated && !is_unique {
            self.proxy.repeated.note(conn, head, &sent_head);
        }
        let pool = &mut self.proxy.pool;
        let request = pool.request(conns, key, upstream, sent_head, &body, options);
        if let Some(relay) = self.relay(key) {
            relay.begun(request);
            if relay.is_call() {
                self.lift_limits(conns, key);
            }
        }
    }

    /// Lifts the timeout of a gRPC call's body, because calls may be silent for long. The call must
    /// go by HTTP/2 all the way; otherwise a content-type alone would let clients hold connections.
    pub(super) fn lift_limits(&mut self, conns: &mut Conns, key: Key) {
        let call = self.relay(key).filter(|relay| relay.is_call());
        let Some(request) = call.and_then(|relay| relay.request()) else {
            return;
        };
        if self.proxy.pool.protocol(request) == Some(Protocol::Http2)
            && let Some(StreamMut::Http2(mut stream)) = conns.stream(key.0, key.1)
        {
            stream.lift_body_timeout();
        }
    }

    /// Refuses a request with a status and a line of text.
    pub(super) fn refuse(
        &mut self,
        conns: &mut Conns,
        key: Key,
        head: &RequestHead,
        log: Option<Box<Entry>>,
        terms: &Terms,
        (status, text): (u16, &'static str),
    ) {
        self.answer_with(conns, key, head, log, terms, |request| {
            request.respond_text(status, text)
        });
    }

    /// Answers a request without forwarding it.
    pub(super) fn answer_with(
        &mut self,
        conns: &mut Conns,
        (conn, id): Key,
        head: &RequestHead,
        mut log: Option<Box<Entry>>,
        terms: &Terms,
        answer: impl FnOnce(&mut Request<'_>) -> Sent,
    ) {
        if let Some(stream) = conns.stream(conn, id) {
            let mut request = Request {
                stream,
                head,
                end: true,
                clock: &self.clock,
                extra: Extra::default(),
                terms,
            };
            let sent = answer(&mut request);
            if let Some(log) = &mut log {
                note_response(conns, conn, log);
            }
            self.log(log, sent);
        }
    }
}
