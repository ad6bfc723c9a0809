//! Upstreams: the requests that they get, and their answers.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_http::{
    Config, ErrorCode, Event, Fields, RequestHead, ResetCause, ResponseHead, StreamId, Violation,
};
use tidegate_net::MemorySocket;
use tidegate_testkit::engine::Engine;

use super::messages::{Sent, body_of, expected_content, write};
use super::peer::{Peer, Step};
use super::plan::{Answer, UpstreamPlan, Weather, engine_config};
use super::world::{Later, World};

/// A request as an upstream saw it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) exchange: usize,
    pub(super) peer: usize,
    pub(super) id: StreamId,
    pub(super) got: usize,
    /// Whether the request is complete.
    pub(super) whole: bool,
    pub(super) responded: bool,
    pub(super) sent: Sent,
    /// Whether the request ended before it was complete.
    pub(super) lost: bool,
    pub(super) refused: bool,
}

/// An upstream's end of a connection.
pub(super) struct Accepted {
    pub(super) peer: Peer,
    pub(super) upstream: usize,
    pub(super) served: HashMap<StreamId, usize>,
    pub(super) requests: usize,
    /// After how many requests the connection ends gracefully.
    pub(super) leaves_after: Option<usize>,
}

/// A connection that the proxy has dialled, and that isn't established yet.
pub(super) struct Dialling {
    pub(super) addr: SocketAddr,
    pub(super) socket: Option<MemorySocket>,
}

impl World {
    pub(super) fn take_dialled(&mut self) -> bool {
        let dialled = self.proxy.dialled();
        let any = !dialled.is_empty();
        for dialled in dialled {
            self.dialling.push(Dialling {
                addr: dialled.addr,
                socket: Some(dialled.socket),
            });
            let number = self.dialling.len() - 1;
            let upstream = upstream_of(dialled.addr);
            let delay = self.plan.upstreams[upstream].link.delay;
            self.at(self.now + 2 * delay, Later::Connect(number));
        }
        any
    }

    pub(super) fn connect(&mut self, number: usize) {
        let Dialling { addr, socket } = &mut self.dialling[number];
        let (addr, Some(mut socket)) = (*addr, socket.take()) else {
            return;
        };
        let upstream = upstream_of(addr);
        let plan = &self.plan.upstreams[upstream];
        let is_first =
            (0..plan.addresses).all(|n| !self.dialled.contains_key(&address(upstream, n)));
        let leaves = is_first || self.plan.weather == Weather::Foul;
        let count = self.dialled.entry(addr).or_default();
        let (refused, of) = plan.refused;
        let is_refused = *count % of < refused;
        *count += 1;
        if is_refused {
            trace!(self, "{addr} refuses the connection");
            self.report.faults += 1;
            return socket.fail(ErrorKind::ConnectionRefused);
        }
        trace!(self, "{addr} takes connection {}", self.accepted.len());
        self.report.connections += 1;
        socket.connect();
        let engine = upstream_engine(plan, self.epoch + self.now);
        self.accepted.push(Accepted {
            peer: Peer::new(engine, socket, plan.link.clone()),
            upstream,
            served: HashMap::new(),
            requests: 0,
            leaves_after: plan.requests.filter(|_| leaves),
        });
    }

    pub(super) fn step_upstream(&mut self, number: usize) -> bool {
        let mut busy = false;
        if self.accepted[number].peer.is_gone {
            return busy;
        }
        loop {
            let at = self.epoch + self.now;
            match self.accepted[number].peer.step(self.now, at, &mut self.rng) {
                Step::Event(event) => self.on_upstream_event(number, event),
                Step::Moved => {}
                Step::Rest => return busy,
            }
            busy = true;
        }
    }

    pub(super) fn on_upstream_event(&mut self, number: usize, event: Event) {
        match event {
            Event::Request { id, head, end } => self.on_request(number, id, &head, end),
            Event::Data { id, data, end } => {
                let Some(served) = self.accepted[number].served.get(&id).copied() else {
                    return;
                };
                let Served { exchange, got, .. } = self.served[served];
                let plan = &self.plan.exchanges[exchange].request;
                let expected = plan.rest(got);
                assert!(
                    expected.starts_with(&data),
                    "{exchange}: other bytes than were sent"
                );
                self.served[served].got += data.len();
                self.report.bytes += data.len() as u64;
                let answer = self.plan.exchanges[exchange].answer;
                if !matches!(answer, Answer::EarlyAndDeaf | Answer::Deaf) {
                    self.soon(exchange, Later::UpstreamConsumes(served, data.len()));
                }
                if end {
                    self.upstream_sees_end(served, None);
                }
            }
            Event::Trailers { id, fields } => {
                if let Some(served) = self.accepted[number].served.get(&id).copied() {
                    self.upstream_sees_end(served, Some(&fields));
                }
            }
            Event::Writable { id, .. } => {
                if let Some(served) = self.accepted[number].served.get(&id).copied() {
                    self.served[served].sent.asked = true;
                    self.soon(self.served[served].exchange, Later::UpstreamWrites(served));
                }
            }
            Event::Reset { id, code, cause } => {
                trace!(
                    self,
                    "connection {number}: stream {id} is reset, {code}, {cause:?}"
                );
                match cause {
                    // The stream may have been opened before the proxy knew our limit.
                    ResetCause::Violation(Violation::TooManyConcurrentStreams) => {
                        self.report.refused += 1;
                    }
                    ResetCause::Violation(rule) => panic!("the proxy breaks a rule: {rule}"),
                    _ => {}
                }
                if let Some(mut stream) = self.accepted[number].peer.engine.stream(id) {
                    stream.release();
                }
                if let Some(served) = self.accepted[number].served.get(&id).copied() {
                    self.served[served].lost = true;
                }
            }
            Event::Closed(reason) => {
                trace!(self, "connection {number} closed: {reason}");
                assert!(
                    !reason.to_string().contains("RFC"),
                    "the proxy breaks a rule: {reason}"
                );
                self.lose(number);
            }
            _ => {}
        }
    }

    /// Cuts an upstream's connection.
    pub(super) fn cut_off(&mut self, number: usize) {
        let at = self.instant();
        self.report.faults += 1;
        self.accepted[number].peer.cut(at);
        self.lose(number);
    }

    /// Marks all that an upstream's connection carried as lost.
    pub(super) fn lose(&mut self, number: usize) {
        for served in self.accepted[number].served.values() {
            self.served[*served].lost = true;
        }
    }

    pub(super) fn on_request(
        &mut self,
        number: usize,
        id: StreamId,
        head: &RequestHead,
        end: bool,
    ) {
        let text = std::str::from_utf8(head.get("x-id").expect("every request has one"));
        let exchange: usize = text.expect("text").parse().expect("a number");
        let plan = &self.plan.exchanges[exchange];
        let upstream = self.accepted[number].upstream;
        assert_eq!(
            upstream, plan.upstream,
            "{exchange}: it went to another upstream"
        );
        // Over HTTP/1.1, a WebSocket begins as a request that servers without WebSockets can
        // answer.
        let method = if plan.is_tunnel && !self.plan.upstreams[upstream].takes_websockets {
            "GET"
        } else {
            plan.method
        };
        assert_eq!(head.method(), method);
        assert!(head.get("x-forwarded-for").is_some() && head.get("via").is_some());
        let before: Vec<&Served> = self
            .served
            .iter()
            .filter(|s| s.exchange == exchange)
            .collect();
        trace!(
            self,
            "connection {number} gets {exchange} on {id}, time {}",
            before.len() + 1
        );
        // An upstream that has processed the request may have acted on it.
        let processed = before.iter().filter(|served| !served.refused);
        for served in processed {
            let does_no_harm = matches!(plan.method, "GET" | "HEAD" | "OPTIONS" | "PUT");
            assert!(
                does_no_harm && served.lost,
                "{exchange} is processed twice, by connections {} and {number}",
                served.peer
            );
            self.report.repeated += 1;
        }
        assert!(before.len() < 2, "{exchange} is sent a third time");
        let refuses = plan.answer == Answer::Refuse && before.is_empty();
        let is_first = before.is_empty();
        let answer = plan.answer;
        let served = self.served.len();
        self.served.push(Served {
            exchange,
            peer: number,
            id,
            got: 0,
            whole: false,
            responded: false,
            sent: Sent::default(),
            lost: false,
            refused: false,
        });
        let accepted = &mut self.accepted[number];
        accepted.served.insert(id, served);
        accepted.requests += 1;
        let at = self.epoch + self.now;
        if accepted.leaves_after == Some(accepted.requests) {
            accepted.leaves_after = None;
            trace!(self, "connection {number} ends gracefully");
            self.accepted[number].peer.engine.shut_down(at);
        }
        let is_http2 = matches!(self.accepted[number].peer.engine, Engine::Http2(_));
        if refuses && is_http2 {
            trace!(self, "connection {number} refuses {exchange}");
            self.report.refused += 1;
            self.served[served].refused = true;
            self.accepted[number].served.remove(&id);
            if let Some(mut stream) = self.accepted[number].peer.engine.stream(id) {
                stream.reset(ErrorCode::REFUSED_STREAM);
            }
            return;
        }
        let thinks = self.plan.exchanges[exchange].thinks;
        match answer {
            Answer::Silent | Answer::Deaf => {}
            Answer::Cut if is_first && self.rng.one_in(2) => {
                trace!(self, "connection {number} is cut before its answer");
                self.cut_off(number);
            }
            Answer::Early | Answer::EarlyAndDeaf => {
                self.at(self.now + thinks, Later::Answer(served));
            }
            _ if end => self.at(self.now + thinks, Later::Answer(served)),
            _ => {}
        }
        if end {
            self.upstream_sees_end(served, None);
        }
    }

    /// Notes that the upstream considers the request complete, and checks that it is.
    pub(super) fn upstream_sees_end(&mut self, served: usize, trailers: Option<&Fields>) {
        let Served { exchange, got, .. } = self.served[served];
        let plan = &self.plan.exchanges[exchange];
        let is_late = !matches!(
            plan.answer,
            Answer::Early | Answer::EarlyAndDeaf | Answer::Silent | Answer::Deaf
        );
        // An HTTP/1.1 WebSocket begins as a request without a body.
        let begins = plan.is_tunnel && got == 0 && !self.served[served].responded;
        if !begins {
            assert_eq!(
                got, plan.request.len,
                "{exchange}: a part is taken for the whole request"
            );
            assert_eq!(
                trailers.is_some(),
                plan.request.trailers,
                "{exchange}: trailers"
            );
            self.served[served].whole = true;
        }
        if let Some(fields) = trailers {
            assert_eq!(fields.get("x-sum"), Some(exchange.to_string().as_bytes()));
        }
        let has_body = got > 0 || plan.request.len > 0 || plan.request.streamed;
        if is_late && has_body {
            self.at(self.now + plan.thinks, Later::Answer(served));
        }
    }

    pub(super) fn answer(&mut self, served: usize) {
        let Served {
            exchange,
            peer,
            id,
            responded,
            lost,
            ..
        } = self.served[served];
        if responded || lost {
            return;
        }
        let plan = &self.plan.exchanges[exchange];
        let Some(mut stream) = self.accepted[peer].peer.engine.stream(id) else {
            return;
        };
        let mut head = ResponseHead::new(plan.status).field("x-id", exchange.to_string());
        if plan.response.sized && expected_content(plan) {
            head.push("content-length", plan.response.len.to_string());
        }
        for number in 0..plan.informs {
            let _ = stream.inform(&ResponseHead::new(if number == 0 { 103 } else { 150 }));
        }
        stream
            .respond(&head, body_of(&plan.response))
            .expect("a proper response");
        drop(stream);
        trace!(self, "connection {peer} answers {exchange}");
        self.served[served].responded = true;
        if !plan.response.streamed {
            self.served[served].sent.ended = true;
        }
        match plan.answer {
            Answer::Reset => {
                trace!(self, "connection {peer} resets {exchange}");
                if let Some(mut stream) = self.accepted[peer].peer.engine.stream(id) {
                    stream.reset(ErrorCode::INTERNAL_ERROR);
                }
                self.served[served].lost = true;
            }
            Answer::Cut => {
                trace!(self, "connection {peer} is cut in its answer");
                self.cut_off(peer);
            }
            _ => {}
        }
    }

    pub(super) fn upstream_writes(&mut self, served: usize) {
        let Served {
            exchange, peer, id, ..
        } = self.served[served];
        if self.served[served].lost {
            return;
        }
        let plan = &self.plan.exchanges[exchange].response;
        let engine = &mut self.accepted[peer].peer.engine;
        let sent = &mut self.served[served].sent;
        write(engine, id, plan, sent, exchange, &mut self.rng);
    }
}

/// 10.0.UPSTREAM.ADDRESS:80
pub(super) fn address(upstream: usize, number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, upstream as u8, number as u8], 80))
}

pub(super) fn upstream_of(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(v4) => usize::from(v4.ip().to_bits().to_be_bytes()[2]),
        SocketAddr::V6(_) => unreachable!("there are none"),
    }
}

pub(super) fn upstream_engine(plan: &UpstreamPlan, now: Instant) -> Engine {
    let mut config = engine_config(Config::server(), plan.window);
    config.max_concurrent_streams = plan.max_streams;
    config.enable_connect_protocol = plan.takes_websockets;
    config.timeouts.shutdown = Duration::ZERO;
    Engine::server(plan.protocol, config, false, now)
}
