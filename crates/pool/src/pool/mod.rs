//! The pool: which request goes where, what becomes of it, and which connections are kept.

mod abandoned;
mod addresses;
mod fate;
mod placing;
mod request;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use log::debug;
use rustc_hash::FxHashMap;
use slab::Slab;
use smallvec::SmallVec;
use tidegate_http::{
    Body, CloseReason, ErrorCode, Event as EngineEvent, Fields, Misuse, Priority, RequestHead,
    ResetCause, StreamId, check_trailers,
};
use tidegate_ledger::{Client, ClientKey, Rule, Shares};
use tidegate_net::{ConnId, Conns, End, Engine, Protocol, StreamMut};

use crate::endpoint::{Class, Endpoint, Standing};
use crate::event::{Event, Failure};
use crate::health::Fitness;
use crate::pool::abandoned::Abandoned;
use crate::pool::request::{Answer, Life, Request, Retries};
use crate::replay::Outgoing;
use crate::stats::Stats;
use crate::upstream::{Options, Upstream, UpstreamId};

/// A client's address, and the one that it connected to.
pub type OnBehalf = (SocketAddr, SocketAddr);

/// A request of a pool. Not used for another one before its place had 2^32 others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    slot: u32,
    generation: u32,
}

#[cfg(test)]
impl RequestId {
    pub(crate) fn for_tests(slot: u32) -> Self {
        Self {
            slot,
            generation: 0,
        }
    }
}

/// What a request is beside its message.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    /// The client that asks: clients share the places of an upstream, those that wait for one take turns,
    /// and each pays for the memory that its requests hold, if the account is in the ledger of
    /// [`Config::memory_budget`](tidegate_http::Config::memory_budget). `None`: the owner itself,
    /// whom nothing is kept from.
    pub client: Option<Arc<Client>>,
    /// For which connection of a client it is made. Only counts with [`Options::proxy_protocol`].
    pub on_behalf: Option<OnBehalf>,
    /// Whether it is a conversation where it goes by HTTP/2: its ends may have nothing to say for long. A tunnel that was granted is
    /// one anyway.
    pub is_conversation: bool,
}

/// One worker's connections to its upstreams. Owned by a [`Service`](tidegate_net::Service), which hands it what concerns them.
///
/// Requests are named by the owner's key `K` in what the pool tells: after each call, take that from [`Pool::next_event`] until
/// there is none.
pub struct Pool<K> {
    options: Options,
    upstreams: Vec<State>,
    conns: FxHashMap<ConnId, Pooled>,
    requests: Slab<Request<K>>,
    /// Goes into the next `RequestId`.
    generation: u32,
    /// Connections that were opened so far.
    dialled: u64,
    /// What is to be told, and of which request.
    events: VecDeque<(RequestId, Event<K>)>,
    /// Connections without a request.
    idle: usize,
    /// Goes up each time a connection has no request any more.
    uses: u64,
    /// Connections of HTTP/1.1 whose last exchange should be over, and is not quite.
    late: Vec<(Instant, ConnId)>,
    /// Connections of HTTP/1.1 whose response nobody wants any more, and until when the rest of it is waited for.
    abandoned: VecDeque<(Instant, ConnId)>,
    /// Requests whose bodies are collected, and until when.
    collecting: VecDeque<(Instant, RequestId)>,
    /// Which clients' requests wait for a place, at all upstreams.
    waiting: Shares<ClientKey>,
    /// When to look which requests don't get on.
    next_look: Option<Instant>,
    stats: Stats,
}

/// An upstream and its addresses.
struct State {
    upstream: Upstream,
    endpoints: Vec<Endpoint>,
    /// Where to begin when several are as good.
    next: usize,
    /// Streams that a connection of HTTP/2 may have, as its peer said last.
    max_streams: Option<usize>,
}

/// Where an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    upstream: usize,
    endpoint: usize,
}

/// A connection.
struct Pooled {
    /// How many came before it.
    number: u64,
    place: Place,
    class: Class,
    /// What it speaks, once it has come about.
    protocol: Option<Protocol>,
    streams: FxHashMap<StreamId, RequestId>,
    /// It takes no more requests.
    is_ending: bool,
    /// It said so by a GOAWAY, and that something of what it carried was processed or might be.
    has_processed: bool,
    /// Requests that it has carried.
    carried: u64,
    /// Whether it stood ready without a request once, or answered one. From then on an upstream may
    /// end it for reasons that say nothing about the next request.
    was_of_use: bool,
    /// When it was used last, as a number, if it has no request.
    idle_since: Option<u64>,
    /// The upstream may take all that comes on it for one client's.
    is_private: bool,
    /// The exchange that is in progress on it, if nobody wants its response any more.
    abandoned: Option<Abandoned>,
}

/// Whether a request that has lost its stream is sent again, if it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resend {
    /// It may have been processed.
    Never,
    /// Unless it was already.
    Once,
    /// However often: it was others' turn.
    Uncounted,
}

impl Pooled {
    /// One that was dialled.
    fn new(number: u64, place: Place, class: Class) -> Self {
        Self {
            number,
            place,
            class,
            protocol: None,
            streams: FxHashMap::default(),
            is_ending: false,
            has_processed: false,
            carried: 0,
            was_of_use: false,
            idle_since: None,
            is_private: false,
            abandoned: None,
        }
    }
}

/// Interim responses that one request may have; then it fails.
const MAX_INTERIM: u32 = 100;

/// What owners do.
impl<K: Copy> Pool<K> {
    /// A pool without upstreams.
    pub fn new(options: Options) -> Self {
        Self {
            waiting: Shares::new(Rule::new(options.max_waiting as u64)),
            options,
            upstreams: Vec::new(),
            conns: FxHashMap::default(),
            requests: Slab::new(),
            generation: 0,
            dialled: 0,
            events: VecDeque::new(),
            idle: 0,
            uses: 0,
            late: Vec::new(),
            abandoned: VecDeque::new(),
            collecting: VecDeque::new(),
            next_look: None,
            stats: Stats::default(),
        }
    }

    /// Adds an upstream. No connection is opened before the first request.
    pub fn add(&mut self, upstream: Upstream) -> UpstreamId {
        self.upstreams.push(State {
            endpoints: Vec::new(),
            next: 0,
            max_streams: None,
            upstream,
        });
        let upstream = self.upstreams.len() - 1;
        self.list_addresses(upstream);
        UpstreamId(upstream)
    }

    /// Begins a request. What comes of it is told with this key, from [`Pool::next_event`] on.
    pub fn request(
        &mut self,
        conns: &mut Conns,
        key: K,
        upstream: UpstreamId,
        head: RequestHead,
        body: &Body,
        options: RequestOptions,
    ) -> RequestId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.requests.vacant_entry();
        // There are fewer than 2^32: each is a stream of a client.
        let id = RequestId {
            slot: entry.key() as u32,
            generation: self.generation,
        };
        let budget = self.options.proto.memory_budget.as_ref();
        let bill = || budget?.bill_for(options.client.as_ref()?);
        let outgoing = Outgoing::new(body, bill);
        entry.insert(Request {
            id,
            key,
            sent: !matches!(outgoing, Outgoing::Stream(_)),
            outgoing,
            is_conversation: options.is_conversation,
            head,
            account: options.client,
            place: Place {
                upstream: upstream.0,
                endpoint: 0,
            },
            is_counted: false,
            class: Class {
                only: None,
                on_behalf: options
                    .on_behalf
                    .filter(|_| self.options.proxy_protocol.is_some()),
            },
            failed: SmallVec::new(),
            life: Life::Unplaced,
            answer: Answer::None,
            retries: Retries::default(),
            moved_at: conns.now(),
        });
        self.look_by(conns.now());
        if !self.collect(id, conns.now()) {
            self.place(conns, id, Failure::NoAddress);
        }
        id
    }

    /// Takes octets of a [`Body::Stream`] off the front of `data`, as many as there is room for, and returns how many. With `end`,
    /// the request ends once all of `data` is taken. When less than all was taken, [`Event::Writable`] asks for the rest.
    pub fn write(
        &mut self,
        conns: &mut Conns,
        request: RequestId,
        data: &mut Bytes,
        end: bool,
    ) -> usize {
        let limit = self.options.replay_limit;
        let (id, now) = (request, conns.now());
        let takes_none = self.takes_none_yet(id);
        let Some(request) = self.find(id) else {
            return 0;
        };
        let (life, stream) = (request.life, request.stream());
        let Outgoing::Stream(replay) = &mut request.outgoing else {
            return 0;
        };
        if life == Life::Collecting {
            let taken = replay.collect(data, end, limit);
            if taken > 0 {
                request.moved_at = now;
            }
            // What wasn't taken is too much to keep.
            if !data.is_empty() || replay.has_enough(limit) {
                self.place(conns, id, Failure::NoAddress);
            }
            return taken;
        }
        let stream = stream.filter(|_| !takes_none && !replay.is_behind());
        let stream = stream.and_then(|(conn, stream)| conns.stream(conn, stream));
        let Some(mut stream) = stream else {
            if end && data.is_empty() {
                replay.end_later();
            }
            return 0;
        };
        let taken = replay.write(&mut stream, data, end, limit);
        request.sent |= end && data.is_empty();
        if taken > 0 || request.sent {
            request.moved_at = now;
        }
        self.end_if_over(conns, id);
        taken
    }

    /// Ends a [`Body::Stream`] with trailers.
    ///
    /// # Errors
    /// [`Misuse`] tells what the call did wrong; nothing was sent then. [`Misuse::OutOfOrder`] too when the request has no stream
    /// at the moment: wait for [`Event::Writable`] then.
    pub fn trailers(
        &mut self,
        conns: &mut Conns,
        request: RequestId,
        fields: &Fields,
    ) -> Result<(), Misuse> {
        if let Some(found) = self.find(request)
            && found.life == Life::Collecting
            && let Outgoing::Stream(replay) = &mut found.outgoing
        {
            check_trailers(fields).map_err(|_| Misuse::InvalidField)?;
            replay.end_later();
            replay.end_with(fields);
            self.place(conns, request, Failure::NoAddress);
            return Ok(());
        }
        let Some((request, mut stream)) = self.stream(conns, request) else {
            return Err(Misuse::OutOfOrder);
        };
        let Outgoing::Stream(replay) = &mut request.outgoing else {
            return Err(Misuse::OutOfOrder);
        };
        if replay.is_behind() {
            return Err(Misuse::OutOfOrder);
        }
        stream.trailers(fields)?;
        replay.end_with(fields);
        request.sent = true;
        request.moved_at = conns.now();
        let id = request.id;
        self.end_if_over(conns, id);
        Ok(())
    }

    /// What the connection speaks that has a request's stream, if one has.
    pub fn protocol(&self, request: RequestId) -> Option<Protocol> {
        let found = self.requests.get(request.slot as usize);
        found.filter(|found| found.id == request)?.protocol()
    }

    /// Gives back credit for so many octets of [`Event::Data`]. Of a request that is over, nothing need be given back.
    pub fn consume(&mut self, conns: &mut Conns, request: RequestId, octets: usize) {
        if let Some((request, mut stream)) = self.stream(conns, request) {
            stream.consume(octets);
            request.moved_at = conns.now();
        }
    }

    /// Changes the place of a request's body among those that its connection sends.
    pub fn prioritize(&mut self, conns: &mut Conns, request: RequestId, priority: Priority) {
        if let Some((_, mut stream)) = self.stream(conns, request) {
            stream.prioritize(priority);
        }
    }

    /// Nobody wants the response any more. Nothing more is told of the request.
    pub fn cancel(&mut self, conns: &mut Conns, request: RequestId) {
        self.events.retain(|(id, _)| *id != request);
        let Some(found) = self.find(request) else {
            return;
        };
        match found.stream() {
            Some((conn, id)) => {
                if self.abandon(conns, request, conn) {
                    return;
                }
                self.reset_stream(conns, conn, id);
                self.remove(request);
                self.freed(conns, conn, id);
            }
            None => {
                self.remove(request);
            }
        }
    }

    /// Nobody wants these any more, as with [`Pool::cancel`]. Those that wait for a place leave first: none is sent for nothing.
    pub fn cancel_all(&mut self, conns: &mut Conns, requests: impl IntoIterator<Item = RequestId>) {
        let (sent, waiting): (Vec<_>, Vec<_>) = requests.into_iter().partition(|id| {
            let request = self.find(*id);
            request.is_some_and(|request| request.stream().is_some())
        });
        for request in waiting.into_iter().chain(sent) {
            self.cancel(conns, request);
        }
    }

    /// A client has left for which connections were opened: they are of no use any more, and end as soon as nothing is under way.
    pub fn client_left(&mut self, conns: &mut Conns, client: OnBehalf) {
        if self.options.proxy_protocol.is_none() {
            return;
        }
        let its = self.conns.iter();
        let its = its.filter(|(_, pooled)| pooled.class.on_behalf == Some(client));
        let its: Vec<ConnId> = its.map(|(conn, _)| *conn).collect();
        for conn in its {
            self.end_connection(conns, conn);
        }
    }

    /// What came of all that. Ask until there is nothing.
    pub fn next_event(&mut self) -> Option<Event<K>> {
        self.events.pop_front().map(|(_, event)| event)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            open: self.conns.len() as u64,
            idle: self.idle as u64,
            ..self.stats
        }
    }
}

/// What the service hands on. Each does nothing with a connection that isn't the pool's.
impl<K: Copy> Pool<K> {
    /// Whether a connection is the pool's.
    pub fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// For [`Service::opened`](tidegate_net::Service::opened).
    pub fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(engine) = conns.engine_ref(conn) else {
            return;
        };
        let protocol = engine.protocol();
        pooled.protocol = Some(protocol);
        let (place, class, is_ending) = (pooled.place, pooled.class, pooled.is_ending);
        self.stats.connected += 1;
        let endpoint = self.endpoint(place);
        endpoint.health.connected();
        if class.only.is_none() {
            endpoint.protocol = Some(protocol);
        }
        debug!("{}: connected, {protocol:?}", endpoint.addr);
        let group = endpoint.group(class);
        group.dialling -= 1;
        if protocol == Protocol::Http1 {
            group.free.push(conn);
        }
        if is_ending {
            // Whom it was for has left meanwhile.
            return self.end_connection(conns, conn);
        }
        self.serve_waiting(conns, place, class);
        if self
            .conns
            .get(&conn)
            .is_some_and(|pooled| pooled.streams.is_empty())
        {
            self.rest(conns, conn);
        }
    }

    /// For [`Service::event`](tidegate_net::Service::event).
    pub fn event(&mut self, conns: &mut Conns, conn: ConnId, event: EngineEvent) {
        let Some(event) = self.event_of_abandoned(conns, conn, event) else {
            return;
        };
        match event {
            EngineEvent::Informational { id, head } => {
                // It doesn't count as getting on: who sends them now and then, and no answer, isn't waited for.
                let Some(request) = self.find_on(conn, id) else {
                    return;
                };
                let count = request.note_interim();
                let (request, key) = (request.id, request.key);
                if count > MAX_INTERIM {
                    self.reset_stream(conns, conn, id);
                    self.fail(request, Failure::EndlessInterim);
                    self.freed(conns, conn, id);
                } else {
                    let event = Event::Informational { key, head };
                    self.events.push_back((request, event));
                }
            }
            EngineEvent::Response { id, head, end } => {
                if let Some(request) = self.request_on(conns, conn, id) {
                    let is_tunnel = request.is_connect()
                        && (200..300).contains(&head.status())
                        && conns.engine_ref(conn).is_some_and(opens_tunnel);
                    request.answer = match is_tunnel {
                        true => Answer::Tunnel,
                        false => Answer::Begun,
                    };
                    if let Outgoing::Stream(replay) = &mut request.outgoing {
                        replay.forget();
                    }
                    let (request, key, place) = (request.id, request.key, request.place);
                    if let Some(pooled) = self.conns.get_mut(&conn) {
                        pooled.was_of_use = true;
                    }
                    let endpoint = self.endpoint(place);
                    endpoint.health.answered(conns.now());
                    let addr = endpoint.addr;
                    let version = conns
                        .engine(conn)
                        .map_or("HTTP/2", |engine| engine.version());
                    let event = Event::Response {
                        key,
                        head,
                        addr,
                        version,
                        end: end && !is_tunnel,
                        opens_tunnel: is_tunnel,
                    };
                    self.events.push_back((request, event));
                    if end && is_tunnel {
                        // That is one of its two ends, as it would be later.
                        let data = Bytes::new();
                        let event = Event::Data { key, data, end };
                        self.events.push_back((request, event));
                    }
                    if end {
                        self.answered(conns, conn, id);
                    }
                }
            }
            EngineEvent::Data { id, data, end } => {
                if let Some(request) = self.request_on(conns, conn, id) {
                    let (request, key) = (request.id, request.key);
                    let event = Event::Data { key, data, end };
                    self.events.push_back((request, event));
                    if end {
                        self.answered(conns, conn, id);
                    }
                }
            }
            EngineEvent::Trailers { id, fields } => {
                if let Some(request) = self.request_on(conns, conn, id) {
                    let (request, key) = (request.id, request.key);
                    let event = Event::Trailers { key, fields };
                    self.events.push_back((request, event));
                    self.answered(conns, conn, id);
                }
            }
            EngineEvent::Writable { id, want } => self.writable(conns, conn, id, want),
            EngineEvent::Reset { id, code, cause } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.release();
                }
                // The upstream has not looked at it (RFC 9113 §8.7 and §6.8).
                let is_refused = cause == ResetCause::Unprocessed
                    || (cause == ResetCause::Peer && code == ErrorCode::REFUSED_STREAM);
                // A server that ends each connection after so many requests leaves out those that came behind, and does as much on
                // the next one. As long as each has done something, they come to an end.
                let pooled = self.conns.get(&conn);
                let resend = match is_refused {
                    false => Resend::Never,
                    true if cause == ResetCause::Unprocessed
                        && pooled.is_some_and(|pooled| pooled.has_processed) =>
                    {
                        Resend::Uncounted
                    }
                    true => Resend::Once,
                };
                let failure = match cause {
                    _ if is_refused => Failure::Refused,
                    ResetCause::Violation(violation) => Failure::Violation(violation),
                    _ => Failure::Reset(code),
                };
                if let Some(request) = self.request_on(conns, conn, id) {
                    let request = request.id;
                    self.freed(conns, conn, id);
                    self.lost(conns, request, conn, failure, resend);
                }
            }
            EngineEvent::GoingAway { last, .. } => {
                self.take_no_more(conn);
                if let Some(pooled) = self.conns.get_mut(&conn) {
                    pooled.has_processed = last.get() > 0;
                    let (place, class) = (pooled.place, pooled.class);
                    self.serve_waiting(conns, place, class);
                }
            }
            EngineEvent::PeerSettings => {
                if let Some(pooled) = self.conns.get(&conn) {
                    let (place, class) = (pooled.place, pooled.class);
                    if let Some(Engine::Http2(engine)) = conns.engine_ref(conn) {
                        let most = engine.peer_settings().max_concurrent_streams;
                        self.upstreams[place.upstream].max_streams = Some(most as usize);
                        self.set_capacities(place.upstream);
                    }
                    self.serve_waiting(conns, place, class);
                }
            }
            // Its transport may take longer.
            EngineEvent::Closed(reason) => self.closed(conns, conn, &End::Closed(reason)),
            // Pushes are off; and a client gets no requests.
            _ => {}
        }
    }

    /// For [`Service::closed`](tidegate_net::Service::closed).
    pub fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        let Some(pooled) = self.conns.remove(&conn) else {
            return;
        };
        self.idle -= usize::from(pooled.idle_since.is_some());
        let now = conns.now();
        let Pooled {
            place,
            class,
            streams,
            ..
        } = pooled;
        let protocol = pooled.protocol;
        let abandoned = pooled.abandoned;
        if !pooled.is_ending {
            self.give_places(streams.values().copied());
        }
        let endpoint = self.endpoint(place);
        let addr = endpoint.addr;
        endpoint.count -= usize::from(!pooled.is_ending);
        if let Some(abandoned) = abandoned {
            endpoint.places.give(Protocol::Http1, abandoned.client);
        }
        let group = endpoint.group(class);
        group.conns.retain(|other| *other != conn);
        group.ending -= usize::from(pooled.is_ending);
        if protocol.is_none() {
            group.dialling -= 1;
            return self.connect_failed(conns, place, class, &failure_to_connect(addr, why));
        }
        debug!("{addr}: closed, {why}");
        // One of HTTP/2 that goes before it has said what it takes, and had nothing to do yet, never came about. Who waits for its
        // word would else have it dialled without end.
        let has_spoken = match conns.engine_ref(conn) {
            Some(Engine::Http2(engine)) => engine.is_established(),
            _ => true,
        };
        if !has_spoken && pooled.carried == 0 && !pooled.is_ending {
            return self.connect_failed(conns, place, class, &failure_to_connect(addr, why));
        }
        // The address did answer where we don't take as much as it has to say, and would say it again.
        let is_too_much = is_limit_of_ours(why);
        let mut is_fault = !is_too_much;
        let mut lost: Vec<(StreamId, RequestId)> = streams.into_iter().collect();
        lost.sort_unstable_by_key(|(id, _)| *id);
        for (_, request) in lost {
            let Some(found) = self.find(request) else {
                continue;
            };
            let heard = found.is_heard();
            let failure = match why {
                End::Closed(CloseReason::Violation(violation)) => Failure::Violation(*violation),
                End::Closed(CloseReason::Aborted(code)) => Failure::Reset(*code),
                why => Failure::Lost(why.to_string()),
            };
            // A server may end a connection that has done nothing for long, just when it is used again; or be gone where another
            // one is there. Then the request is lost, perhaps before anything of it was read; but only where that doesn't matter can
            // one say so (RFC 9110 §9.2.2).
            let is_harmless = !heard && !is_too_much && self.is_idempotent(request);
            let is_usual = is_harmless && pooled.was_of_use;
            // However many requests a connection takes along, it is lost once.
            if !heard && !is_usual && std::mem::take(&mut is_fault) {
                self.note_no_answer(place, now);
            }
            let resend = match is_harmless && (pooled.was_of_use || self.has_others(place, now)) {
                true => Resend::Once,
                false => Resend::Never,
            };
            // The others that were there may have met with the same.
            let newer_than = self.dialled;
            if let Some(found) = self.find(request) {
                found.retries.newer_than = newer_than;
            }
            self.lost(conns, request, conn, failure, resend);
        }
        self.serve_waiting(conns, place, class);
        self.feed_starved(conns, place);
        self.endpoint(place).tidy(class);
    }

    /// For [`Service::next_timeout`](tidegate_net::Service::next_timeout).
    pub fn next_timeout(&self) -> Option<Instant> {
        let late = self.late.first().map(|(at, _)| *at);
        let abandoned = self.abandoned.front().map(|(at, _)| *at);
        let collecting = self.collecting.front().map(|(at, _)| *at);
        let all = [late, abandoned, collecting, self.next_look];
        all.into_iter().flatten().min()
    }

    /// For [`Service::handle_timeout`](tidegate_net::Service::handle_timeout).
    pub fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        while let Some((at, conn)) = self.late.first().copied() {
            if at > now {
                break;
            }
            self.late.remove(0);
            let is_free = match conns.engine_ref(conn) {
                Some(engine) => engine.can_open(),
                None => continue,
            };
            let Some(pooled) = self.conns.get(&conn) else {
                continue;
            };
            let (place, class) = (pooled.place, pooled.class);
            match is_free {
                true => self.endpoint(place).group(class).free.push(conn),
                false => self.end_connection(conns, conn),
            }
            self.serve_waiting(conns, place, class);
        }
        self.give_up_abandoned(conns, now);
        while let Some((_, id)) = self
            .collecting
            .front()
            .copied()
            .filter(|(at, _)| *at <= now)
        {
            self.collecting.pop_front();
            // What has come of its body so far must do.
            if self
                .find(id)
                .is_some_and(|request| request.life == Life::Collecting)
            {
                self.place(conns, id, Failure::NoAddress);
            }
        }
        if self.next_look.is_some_and(|at| at <= now) {
            self.next_look = None;
            self.look_at_requests(conns, now);
        }
    }
}

/// Who is where.
impl<K: Copy> Pool<K> {
    fn find(&mut self, id: RequestId) -> Option<&mut Request<K>> {
        let request = self.requests.get_mut(id.slot as usize)?;
        (request.id == id).then_some(request)
    }

    /// The request on a stream, which has just got on.
    fn request_on(&mut self, conns: &Conns, conn: ConnId, id: StreamId) -> Option<&mut Request<K>> {
        let request = self.find_on(conn, id)?;
        request.moved_at = conns.now();
        Some(request)
    }

    /// The same, of something that is no progress.
    fn find_on(&mut self, conn: ConnId, id: StreamId) -> Option<&mut Request<K>> {
        let request = *self.conns.get(&conn)?.streams.get(&id)?;
        self.find(request)
    }

    /// Whether it waits for a tunnel by HTTP/1.1, which takes nothing before it is granted.
    fn takes_none_yet(&mut self, id: RequestId) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let is_by_http1 = matches!(
            request.life,
            Life::Sent {
                protocol: Protocol::Http1,
                ..
            }
        );
        is_by_http1 && request.is_connect() && !request.is_tunnel()
    }

    /// A request and its stream, if it has one.
    fn stream<'a, 'c>(
        &'a mut self,
        conns: &'c mut Conns,
        id: RequestId,
    ) -> Option<(&'a mut Request<K>, StreamMut<'c>)> {
        let request = self.find(id)?;
        let (conn, stream) = request.stream()?;
        let stream = conns.stream(conn, stream)?;
        Some((request, stream))
    }

    fn endpoint(&mut self, place: Place) -> &mut Endpoint {
        // Places are made of what is there, and nothing is ever taken away.
        &mut self.upstreams[place.upstream].endpoints[place.endpoint]
    }

    /// Connections that take requests, or will take some.
    fn usable(&self, place: Place, class: Class) -> impl Iterator<Item = (ConnId, &Pooled)> {
        let state = self.upstreams.get(place.upstream);
        let endpoint = state.and_then(|state| state.endpoints.get(place.endpoint));
        let group = endpoint.and_then(|endpoint| endpoint.groups.get(&class));
        let its = group.map_or(&[][..], |group| &group.conns);
        let pooled = its
            .iter()
            .filter_map(|conn| Some((*conn, self.conns.get(conn)?)));
        pooled.filter(|(_, pooled)| !pooled.is_ending)
    }

    fn name(&self, place: Place) -> String {
        let state = self.upstreams.get(place.upstream);
        state.map_or_else(String::new, |state| state.upstream.name.clone())
    }

    /// Whether the upstream has another address that may answer.
    fn has_others(&self, place: Place, now: Instant) -> bool {
        let state = self.upstreams.get(place.upstream);
        let endpoints = state.map_or(&[][..], |state| &state.endpoints);
        let mut others = endpoints.iter().enumerate();
        others.any(|(at, endpoint)| {
            at != place.endpoint
                && endpoint.standing == Standing::Listed
                && endpoint.health.fitness(now) != Fitness::Down
        })
    }

    /// Whether asking twice is as good as asking once (RFC 9110 §9.2.2).
    fn is_idempotent(&self, id: RequestId) -> bool {
        let request = self.requests.get(id.slot as usize);
        request.is_some_and(|request| {
            let method = request.head.method_bytes();
            matches!(
                method,
                b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
            )
        })
    }
}

/// Whether a 2xx that came in answer to a request for a tunnel grants it.
fn opens_tunnel(engine: &Engine) -> bool {
    match engine {
        Engine::Http1(engine) => engine.is_tunnel(),
        _ => true,
    }
}

/// Whether a connection ended because a response is more than we take.
fn is_limit_of_ours(why: &End) -> bool {
    match why {
        End::Closed(CloseReason::Violation(violation)) => {
            violation.code() == ErrorCode::ENHANCE_YOUR_CALM
        }
        _ => false,
    }
}

/// Why a connection was not established.
fn failure_to_connect(addr: SocketAddr, why: &End) -> Failure {
    match why {
        End::ConnectTimedOut => Failure::ConnectTimedOut(addr),
        End::ConnectFailed(error) => Failure::to_connect(addr, error),
        End::TlsFailed(rustls::Error::InvalidCertificate(_)) => {
            Failure::Certificate(addr, why.to_string())
        }
        End::TlsFailed(_) | End::NotHttp2 => Failure::Tls(addr, why.to_string()),
        why => Failure::Connect(addr, why.to_string()),
    }
}
