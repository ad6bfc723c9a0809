//! Clients: their requests, and the outcome of each request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_http::{Config, ErrorCode, Event, Fields, ResetCause, ResponseHead, StreamId};
use tidegate_net::MemorySocket;
use tidegate_testkit::engine::Engine;

use super::messages::{Sent, body_of, expected_content, request_head, write};
use super::peer::{Peer, Step};
use super::plan::{Role, engine_config};
use super::world::{Later, World};

/// A request as its client knows it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) id: Option<StreamId>,
    pub(super) sent: Sent,
    pub(super) informs: usize,
    pub(super) status: Option<u16>,
    /// Whether the response is the gateway's own.
    pub(super) is_gateways: bool,
    pub(super) got: usize,
    pub(super) over: Option<Outcome>,
    pub(super) answered_at: Option<Duration>,
    pub(super) cancelled: bool,
}

/// How a request ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Whole,
    Reset,
    ConnectionLost,
    /// The connection ended before it could be made.
    NeverMade,
}

/// A client's end of a connection.
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) by_id: HashMap<StreamId, usize>,
    pub(super) waiting: Vec<usize>,
    pub(super) is_over: bool,
}

impl World {
    /// Returns a client that has just connected.
    pub(super) fn client(&mut self, number: usize) -> Client {
        let (socket, ours) = MemorySocket::pair(self.plan.capacity);
        let addr = SocketAddr::new(self.plan.clients[number].addr, 4711);
        let worker = match self.plan.clients[number].worker {
            Some(worker) => worker,
            None => self.rng.below(self.proxy.count()),
        };
        self.proxy.accept(worker, socket, addr);
        self.client_on(number, ours)
    }

    /// Returns a client that hasn't connected yet.
    pub(super) fn client_to_be(&self, number: usize) -> Client {
        let (_, ours) = MemorySocket::pair(0);
        let mut client = self.client_on(number, ours);
        client.peer.is_gone = true;
        client
    }

    fn client_on(&self, number: usize, ours: MemorySocket) -> Client {
        let plan = &self.plan.clients[number];
        let now = self.epoch + self.now;
        let config = engine_config(Config::client(), plan.window);
        let engine = Engine::client(plan.protocol, config, now);
        Client {
            peer: Peer::new(engine, ours, plan.link.clone()).reading_from(plan.reads_from),
            by_id: HashMap::new(),
            waiting: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn connect_client(&mut self, number: usize) {
        trace!(self, "client {number} connects");
        let connected = self.client(number);
        let before = std::mem::replace(&mut self.clients[number], connected);
        self.clients[number].waiting = before.waiting;
    }

    pub(super) fn step_client(&mut self, number: usize) -> bool {
        let mut busy = self.begin_requests(number);
        if self.clients[number].peer.is_gone {
            return busy;
        }
        loop {
            let at = self.epoch + self.now;
            match self.clients[number].peer.step(self.now, at, &mut self.rng) {
                Step::Event(event) => self.on_client_event(number, event),
                Step::Moved => {}
                Step::Rest => return busy,
            }
            busy = true;
        }
    }

    pub(super) fn begin_requests(&mut self, number: usize) -> bool {
        let mut busy = false;
        while let Some(exchange) = self.clients[number].waiting.first().copied() {
            if self.clients[number].peer.is_gone {
                busy = true;
                if self.is_shutting_down {
                    self.asked[exchange].over = Some(Outcome::NeverMade);
                    self.clients[number].waiting.remove(0);
                    continue;
                }
                self.connect_client(number);
            }
            if !self.clients[number].peer.engine.can_open() {
                break;
            }
            let plan = &self.plan.exchanges[exchange];
            let head = request_head(exchange, plan);
            let body = body_of(&plan.request);
            let Ok(id) = self.clients[number].peer.engine.open(&head, body) else {
                break;
            };
            trace!(
                self,
                "client {number} asks {exchange} on {id}: {}", plan.method
            );
            self.report.requests += 1;
            let cancel = plan.cancel;
            let asked = &mut self.asked[exchange];
            asked.id = Some(id);
            if !plan.request.streamed {
                asked.sent.ended = true;
            }
            let client = &mut self.clients[number];
            client.by_id.insert(id, exchange);
            client.waiting.remove(0);
            if let Some(after) = cancel {
                self.at(self.now + after, Later::Cancel(exchange));
            }
            busy = true;
        }
        busy
    }

    /// Returns the client and the stream of a request that isn't over.
    pub(super) fn client_stream(&self, exchange: usize) -> Option<(usize, StreamId)> {
        let asked = &self.asked[exchange];
        let client = self.plan.exchanges[exchange].client;
        asked
            .id
            .filter(|_| asked.over.is_none())
            .map(|id| (client, id))
    }

    pub(super) fn on_client_event(&mut self, number: usize, event: Event) {
        match event {
            Event::Informational { id, .. } => {
                let exchange = self.clients[number].by_id[&id];
                self.asked[exchange].informs += 1;
            }
            Event::Response { id, head, end } => self.on_response(number, id, &head, end),
            Event::Data { id, data, end } => {
                let Some(exchange) = self.clients[number].by_id.get(&id).copied() else {
                    return;
                };
                let plan = &self.plan.exchanges[exchange];
                let asked = &mut self.asked[exchange];
                assert!(asked.over.is_none(), "{exchange}: data behind the end");
                if !asked.is_gateways {
                    let expected = plan.response.rest(asked.got);
                    assert!(
                        expected.starts_with(&data),
                        "{exchange}: other bytes than were sent"
                    );
                    asked.got += data.len();
                    self.report.bytes += data.len() as u64;
                }
                self.soon(exchange, Later::ClientConsumes(exchange, data.len()));
                if end {
                    self.client_sees_end(exchange, None);
                }
            }
            Event::Trailers { id, fields } => {
                let exchange = self.clients[number].by_id[&id];
                self.client_sees_end(exchange, Some(&fields));
            }
            Event::Writable { id, .. } => {
                if let Some(exchange) = self.clients[number].by_id.get(&id).copied() {
                    let was_asked = std::mem::replace(&mut self.asked[exchange].sent.asked, true);
                    if !was_asked || self.plan.exchanges[exchange].drip.is_none() {
                        self.client_writes_soon(exchange);
                    }
                }
            }
            Event::Reset { id, code, cause } => {
                assert!(
                    !matches!(cause, ResetCause::Violation(_)),
                    "the proxy breaks a rule: {cause:?}"
                );
                if let Some(mut stream) = self.clients[number].peer.engine.stream(id) {
                    stream.release();
                }
                if let Some(exchange) = self.clients[number].by_id.get(&id).copied() {
                    trace!(self, "client sees {exchange} reset with {code}");
                    self.client_loses(exchange, Outcome::Reset);
                }
            }
            Event::Closed(reason) => {
                trace!(self, "client {number} closed: {reason}");
                assert!(
                    !reason.to_string().contains("RFC"),
                    "the proxy breaks a rule: {reason}"
                );
                let client = &mut self.clients[number];
                client.is_over = true;
                let its: Vec<usize> = client.by_id.values().copied().collect();
                for exchange in its {
                    self.client_loses(exchange, Outcome::ConnectionLost);
                }
            }
            _ => {}
        }
    }

    pub(super) fn on_response(
        &mut self,
        number: usize,
        id: StreamId,
        head: &ResponseHead,
        end: bool,
    ) {
        let exchange = self.clients[number].by_id[&id];
        let plan = &self.plan.exchanges[exchange];
        let asked = &mut self.asked[exchange];
        assert!(
            asked.status.replace(head.status()).is_none(),
            "{exchange}: two responses"
        );
        asked.is_gateways = head.get("x-id").is_none();
        trace!(
            self,
            "client sees {exchange}: {} {}",
            head.status(),
            if asked.is_gateways {
                "of the gateway"
            } else {
                ""
            }
        );
        if asked.is_gateways {
            assert!(
                head.status() >= 400,
                "{exchange}: the gateway has no {}",
                head.status()
            );
        } else {
            assert_eq!(head.get("x-id"), Some(exchange.to_string().as_bytes()));
            assert_eq!(head.status(), plan.status, "{exchange}");
            assert_eq!(asked.informs, plan.informs, "{exchange}: interim responses");
            assert!(head.get("via").is_some());
        }
        if end {
            self.client_sees_end(exchange, None);
        }
    }

    /// Notes that the client considers the response complete, and checks that it is.
    pub(super) fn client_sees_end(&mut self, exchange: usize, trailers: Option<&Fields>) {
        let plan = &self.plan.exchanges[exchange];
        let asked = &mut self.asked[exchange];
        if !asked.is_gateways {
            let expected = plan.response_len();
            assert_eq!(
                asked.got, expected,
                "{exchange}: a part is taken for the whole"
            );
            let has_trailers = plan.response.trailers && expected_content(plan);
            assert_eq!(trailers.is_some(), has_trailers, "{exchange}: trailers");
            if let Some(fields) = trailers {
                assert_eq!(fields.get("x-sum"), Some(exchange.to_string().as_bytes()));
            }
        }
        // An upstream that accepts no WebSockets answers the request as an ordinary one: its
        // response has one direction.
        let is_tunnel = plan.is_tunnel && self.plan.upstreams[plan.upstream].takes_websockets;
        if is_tunnel && !asked.is_gateways && !asked.sent.ended {
            // The other direction continues.
            asked.informs = usize::MAX;
            return;
        }
        let counted = if asked.is_gateways {
            &mut self.report.gateway
        } else {
            &mut self.report.answered
        };
        *counted += 1;
        self.report.tunnels += u64::from(plan.is_tunnel && !asked.is_gateways);
        asked.over = Some(Outcome::Whole);
        asked.answered_at = Some(self.now);
        let at = self.instant();
        let client = self.plan.exchanges[exchange].client;
        if self.plan.clients[client].role == Role::Newcomer {
            self.clients[client].peer.engine.shut_down(at);
        }
    }

    pub(super) fn client_loses(&mut self, exchange: usize, outcome: Outcome) {
        let asked = &mut self.asked[exchange];
        if asked.over.is_none() {
            asked.over = Some(outcome);
            self.report.reset += 1;
        }
    }

    pub(super) fn cancel(&mut self, exchange: usize) {
        let Some((client, id)) = self.client_stream(exchange) else {
            return;
        };
        trace!(self, "client cancels {exchange}");
        if let Some(mut stream) = self.clients[client].peer.engine.stream(id) {
            stream.reset(ErrorCode::CANCEL);
        }
        let asked = &mut self.asked[exchange];
        asked.cancelled = true;
        asked.over = Some(Outcome::Reset);
        self.report.cancelled += 1;
    }

    pub(super) fn client_writes(&mut self, exchange: usize) {
        let Some((client, id)) = self.client_stream(exchange) else {
            return;
        };
        let plan = &self.plan.exchanges[exchange].request;
        let sent = &mut self.asked[exchange].sent;
        let engine = &mut self.clients[client].peer.engine;
        if self.plan.exchanges[exchange].drip.is_some() {
            let mut byte = plan.rest(sent.given).slice(..1);
            if let Some(mut stream) = engine.stream(id) {
                sent.given += stream.write(&mut byte, false);
            }
            self.report.dripped += 1;
            return self.client_writes_soon(exchange);
        }
        write(engine, id, plan, sent, exchange, &mut self.rng);
        let is_answered = self.asked[exchange].informs == usize::MAX;
        if self.asked[exchange].sent.ended && is_answered {
            self.asked[exchange].over = Some(Outcome::Whole);
            self.report.answered += 1;
            self.report.tunnels += 1;
        }
    }
}
