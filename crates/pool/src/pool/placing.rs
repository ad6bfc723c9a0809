//! Where requests go: an address, a connection there, a stream on it; and which connections are opened for that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use smallvec::SmallVec;
use tidegate_http::{KnownName, Misuse, RequestHead};
use tidegate_net::{ConnId, Conns, Dial, DialSecurity, Engine, Protocol, proxy_header};

use super::request::{Life, Request};
use super::{Place, Pool, Pooled, RequestId, State};
use crate::endpoint::{Class, Standing};
use crate::event::Failure;
use crate::health::Fitness;
use crate::replay::Outgoing;
use crate::upstream::{Options, Security};

/// Streams that a connection has at most before its peer has said how many it takes: RFC 9113 §6.5.2 recommends no fewer.
const BEFORE_SETTINGS: usize = 100;

/// With less of its peer's window left, a connection is none for another body where there can be a better one: bodies that the upstream
/// doesn't read may have the rest, and for long.
const LEAST_CREDIT: usize = 16 << 10;

/// Places that an address has at least, however little memory there is for responses.
const LEAST_PLACES: usize = 16;

/// How long the first part of a body is collected: what a slow client has sent until then goes on, and the rest as it comes.
const COLLECTED_FOR: Duration = Duration::from_secs(5);

/// Requests with a wish of their own, as for a connection that they haven't been on, that are set aside in one pass over a queue.
const MAX_PARTICULAR: usize = 16;

/// Where in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Front,
    Back,
}

impl State {
    /// Streams that a connection may have whose peer hasn't said how many: as many as on the last one where it has. On the very
    /// first one a burst waits for that: what is refused and has a large body couldn't be sent again.
    fn before_settings(&self) -> usize {
        self.max_streams.unwrap_or(1).clamp(1, BEFORE_SETTINGS)
    }
}

/// How much a connection has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    /// Less than four fifths of what it takes.
    Light,
    Heavy,
    Full,
}

impl<K: Copy> Pool<K> {
    /// Gives a request an address, and a stream there if there is one. Without an address it fails for this reason.
    pub(super) fn place(&mut self, conns: &mut Conns, id: RequestId, otherwise: Failure) {
        let now = conns.now();
        let Some(request) = self.requests.get_mut(id.slot as usize) else {
            return;
        };
        let Some(state) = self.upstreams.get_mut(request.place.upstream) else {
            return self.fail(id, otherwise);
        };
        let count = state.endpoints.len();
        let start = state.next;
        state.next = (start + 1) % count.max(1);
        // Where it was refused or lost is no good choice.
        let last = request.retries.refused_by.map(|_| request.place.endpoint);
        let best = (0..count)
            .map(|step| (start + step) % count)
            .filter(|endpoint| !request.failed.contains(endpoint))
            .filter(|endpoint| state.endpoints[*endpoint].standing == Standing::Listed)
            .map(|endpoint| (state.endpoints[endpoint].rank(now), endpoint))
            // One that has failed is better than none.
            .min_by_key(|(rank, endpoint)| {
                (rank.0 == Fitness::Down, last == Some(*endpoint), *rank)
            });
        let Some((_, endpoint)) = best else {
            return self.fail(id, otherwise);
        };
        request.life = Life::Unplaced;
        request.place.endpoint = endpoint;
        request.is_counted = true;
        state.endpoints[endpoint].count(id, now);
        if !self.assign(conns, id) {
            self.wait(conns, id);
        }
    }

    /// Has the first part of a request's body collected before it takes a place, if that would be a connection of HTTP/1.1, which
    /// nobody else can use meanwhile. Returns whether it waits for that.
    pub(super) fn collect(&mut self, id: RequestId, now: Instant) -> bool {
        let limit = self.options.replay_limit;
        let Some(request) = self.find(id) else {
            return false;
        };
        let (upstream, class) = (request.place.upstream, request.class);
        if !request.may_be_collected() || limit == 0 {
            return false;
        }
        let state = self.upstreams.get(upstream);
        let endpoints = state.map_or(&[][..], |state| &state.endpoints);
        let mut protocols = endpoints.iter().map(|endpoint| endpoint.protocol_of(class));
        if !protocols.any(|protocol| protocol == Some(Protocol::Http1)) {
            return false;
        }
        if let Some(request) = self.find(id) {
            request.life = Life::Collecting;
        }
        self.collecting.push_back((now + COLLECTED_FOR, id));
        true
    }

    /// Says how many places the addresses of an upstream have.
    pub(super) fn set_capacities(&mut self, upstream: usize) {
        let Options {
            max_connections,
            max_http2_connections,
            max_response_windows,
            proxy_protocol,
            ..
        } = self.options;
        let fitting = |window: u32| match max_response_windows / u64::from(window.max(1)) {
            _ if max_response_windows == 0 => usize::MAX,
            windows => usize::try_from(windows)
                .unwrap_or(usize::MAX)
                .max(LEAST_PLACES),
        };
        let proto = &self.options.proto;
        let (most, least) = (proto.max_stream_window_size, proto.initial_window_size);
        let (fitting, fitting_at_first) = (fitting(most), fitting(least));
        let Some(state) = self.upstreams.get_mut(upstream) else {
            return;
        };
        let streams = state.max_streams.unwrap_or(BEFORE_SETTINGS);
        let streams = streams.saturating_mul(max_http2_connections.min(max_connections));
        let http2 = match proxy_protocol {
            None => streams.min(fitting),
            // Each is for one client of one connection, so that those are what there is to share.
            Some(_) => max_connections,
        };
        // Windows grow only where there is memory for it.
        let for_newcomers = streams.min(fitting_at_first).saturating_sub(http2);
        for endpoint in &mut state.endpoints {
            let places = &mut endpoint.places;
            // Windows of HTTP/1.1 don't grow.
            let http1 = max_connections.min(fitting_at_first);
            places.set_capacity(Protocol::Http1, http1, 0);
            places.set_capacity(Protocol::Http2, http2, for_newcomers);
        }
    }

    /// A request waits for a connection of its address, unless its client has its share of what may wait.
    fn wait(&mut self, conns: &mut Conns, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        if let Some(client) = client
            && self.waiting.take(client, 1).is_err()
        {
            return self.fail(id, Failure::QueueFull);
        }
        self.enqueue(id, End::Back);
        self.dial_if_due(conns, place, class);
    }

    /// Puts a request in the queue of its address.
    fn enqueue(&mut self, id: RequestId, end: End) {
        let Some(request) = self.requests.get_mut(id.slot as usize) else {
            return;
        };
        let Place { upstream, endpoint } = request.place;
        let endpoint = &mut self.upstreams[upstream].endpoints[endpoint];
        let held = endpoint.places.held(request.client());
        let waiting = &mut endpoint.group(request.class).waiting;
        request.life = Life::Waiting(match end {
            End::Front => waiting.push_front(id, request.client(), held),
            End::Back => waiting.push_back(id, request.client(), held),
        });
    }

    /// Whether a request's client may have one more place of its address.
    fn has_share(&mut self, id: RequestId) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        let endpoint = self.endpoint(place);
        // Before it is known what is spoken there, nobody holds anything.
        let protocol = endpoint.protocol_of(class);
        protocol.is_none_or(|protocol| endpoint.places.allow(protocol, client, 1))
    }

    /// Puts a request on a connection of its address, if one has a place for it. Returns whether it need not wait: it has a stream
    /// then, or failed.
    fn assign(&mut self, conns: &mut Conns, id: RequestId) -> bool {
        loop {
            if self.find(id).is_none() {
                return true;
            }
            if !self.has_share(id) {
                return false;
            }
            let Some(conn) = self.choose(conns, id) else {
                return false;
            };
            match self.open(conns, id, conn) {
                Ok(()) => return true,
                Err(Misuse::GoingAway) => self.take_no_more(conn),
                Err(Misuse::TooManyStreams) => return false,
                Err(Misuse::ConnectProtocolDisabled) => {
                    let has_settings = match conns.engine_ref(conn) {
                        Some(Engine::Http2(engine)) => engine.is_established(),
                        _ => true,
                    };
                    // Until the peer's SETTINGS are there, it may still take it.
                    if !has_settings {
                        return false;
                    }
                    if !self.demand_http1(id) {
                        self.fail(id, Failure::NoWebSocket);
                        return true;
                    }
                }
                Err(misuse) => {
                    self.fail(
                        id,
                        match misuse {
                            Misuse::OverMemoryBudget => Failure::OverMemoryBudget,
                            Misuse::HeadTooLarge => Failure::HeadTooLarge,
                            _ => Failure::Unsendable,
                        },
                    );
                    return true;
                }
            }
        }
    }

    /// The connection that a request should go on, if there is one.
    fn choose(&mut self, conns: &Conns, id: RequestId) -> Option<ConnId> {
        let request = self.requests.get(id.slot as usize)?;
        let (place, class) = (request.place, request.class);
        let state = self.upstreams.get(place.upstream)?;
        let before_settings = state.before_settings();
        let endpoint = state.endpoints.get(place.endpoint)?;
        let is_http1 = endpoint.protocol_of(class) == Some(Protocol::Http1);
        // There is no choice where there will be no other.
        let may_be_more = endpoint.count < self.options.max_connections
            && (is_http1
                || endpoint.groups.get(&class)?.count() < self.options.max_http2_connections);
        let has_body = request.has_body();
        let has_choice = request.retries.refused_by.is_some() && {
            let mut its = self.usable(place, class);
            may_be_more || its.any(|(conn, pooled)| !request.avoids(conn, pooled))
        };
        let avoids = |conn, pooled| has_choice && request.avoids(conn, pooled);
        let state = self.upstreams.get_mut(place.upstream)?;
        let endpoint = state.endpoints.get_mut(place.endpoint)?;
        let group = endpoint.groups.get_mut(&class)?;
        if is_http1 {
            let usable = |conn: &ConnId| {
                let pooled = self.conns.get(conn).filter(|pooled| !pooled.is_ending);
                pooled.filter(|_| conns.engine_ref(*conn).is_some_and(Engine::can_open))
            };
            while group.free.pop_if(|conn| usable(conn).is_none()).is_some() {}
            // The one that was used last has the best chance that its peer keeps it still.
            let mut latest_first = group.free.iter().rev().copied();
            return latest_first.find(|conn| {
                let is_wanted = usable(conn).is_some_and(|pooled| !avoids(*conn, pooled));
                // What has come in behind the last response is its end, or nothing that was asked for.
                is_wanted && !conns.has_unread(*conn)
            });
        }
        let mut best = None;
        for &conn in &group.conns {
            let Some(pooled) = self.conns.get(&conn) else {
                continue;
            };
            if pooled.is_ending || pooled.protocol != Some(Protocol::Http2) || avoids(conn, pooled)
            {
                continue;
            }
            let Some(engine) = conns.engine_ref(conn) else {
                continue;
            };
            let streams = pooled.streams.len();
            let load = match load(engine, streams, before_settings) {
                Load::Light if has_body && lacks_credit(engine) && may_be_more => Load::Full,
                Load::Light if has_body && lacks_credit(engine) => Load::Heavy,
                load => load,
            };
            match load {
                Load::Light => return Some(conn),
                Load::Heavy if best.is_none_or(|(_, least)| streams < least) => {
                    best = Some((conn, streams));
                }
                Load::Heavy | Load::Full => {}
            }
        }
        best.map(|(conn, _)| conn)
    }

    /// Opens a stream for a request.
    fn open(&mut self, conns: &mut Conns, id: RequestId, conn: ConnId) -> Result<(), Misuse> {
        let now = conns.now();
        let (Some(request), Some(engine), Some(pooled)) = (
            self.requests.get_mut(id.slot as usize),
            conns.engine(conn),
            self.conns.get_mut(&conn),
        ) else {
            return Err(Misuse::GoingAway);
        };
        let (body, client) = (request.outgoing.body(), request.account.as_ref());
        let stream = match (&engine, request.head.protocol()) {
            (Engine::Http1(_), Some("websocket")) => {
                let key = websocket_key().ok_or(Misuse::InvalidField)?;
                let head = request.head.clone().field("sec-websocket-key", key);
                engine.open_for(client, &head, body)?
            }
            _ => engine.open_for(client, &request.head, body)?,
        };
        let before_settings = self.upstreams[pooled.place.upstream].before_settings();
        let is_light = load(engine, pooled.streams.len() + 1, before_settings) == Load::Light;
        let is_http2 = pooled.protocol == Some(Protocol::Http2);
        let protocol = pooled.protocol.unwrap_or(Protocol::Http2);
        request.life = Life::Sent {
            conn,
            stream,
            protocol,
        };
        request.moved_at = now;
        let client = request.client();
        if let Outgoing::Stream(replay) = &mut request.outgoing {
            replay.rewind();
            // If its owner had ended it, that is yet to be sent again.
            request.sent = false;
        }
        pooled.streams.insert(stream, id);
        pooled.carried += 1;
        // What is for one client only may be that one's.
        let is_shared = pooled.class.on_behalf.is_none();
        pooled.is_private |= is_shared && !is_http2 && authenticates_connection(&request.head);
        self.stats.sent += 1;
        self.stats.reused += u64::from(pooled.carried > 1);
        if pooled.idle_since.take().is_some() {
            self.idle -= 1;
        }
        let (place, class) = (pooled.place, pooled.class);
        self.endpoint(place).take(class, protocol, client);
        if !is_http2 {
            // It was the one that was used last, or nearly.
            let free = &mut self.endpoint(place).group(class).free;
            if let Some(at) = free.iter().rposition(|other| *other == conn) {
                free.remove(at);
            }
        } else if !is_light {
            // The next one is to be there when this one is full.
            if self.needs_http2(conns, place, class, None)
                && self.endpoint(place).count < self.options.max_connections
            {
                self.dial(conns, place, class);
            }
        }
        Ok(())
    }

    /// A request asks for what this upstream has in HTTP/1.1 only, perhaps. Returns whether it can be had.
    fn demand_http1(&mut self, id: RequestId) -> bool {
        let Some(request) = self.requests.get_mut(id.slot as usize) else {
            return false;
        };
        let state = self.upstreams.get(request.place.upstream);
        let by_alpn =
            state.is_some_and(|state| matches!(state.upstream.security, Security::Tls { .. }));
        if !by_alpn || request.class.only.is_some() {
            return false;
        }
        request.class.only = Some(Protocol::Http1);
        true
    }

    /// There may be places for those that wait for an address.
    pub(super) fn serve_waiting(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let mut particular = SmallVec::<[RequestId; MAX_PARTICULAR]>::new();
        while let Some(id) = self.next_waiting(place, class) {
            if self.assign(conns, id) {
                continue;
            }
            let has_share = self.has_share(id);
            let Some(request) = self.find(id) else {
                continue;
            };
            if request.class != class {
                // It has come to know that it needs another kind.
                self.wait(conns, id);
                continue;
            }
            let has_body = request.has_body();
            let has_wish =
                request.head.protocol().is_some() || request.retries.refused_by.is_some();
            let is_particular = has_wish || (has_body && self.holds_bodies_up(conns, place, class));
            if !has_share || !is_particular || particular.len() == MAX_PARTICULAR {
                // Those behind it want the same, and their clients hold no less.
                self.requeue(id, End::Front);
                break;
            }
            particular.push(id);
        }
        // Others may be served instead, and they have their turn again.
        for id in particular {
            self.requeue(id, End::Back);
        }
        self.dial_if_due(conns, place, class);
    }

    /// Whether a connection has no window left for bodies. Walks over the pool's connections.
    fn holds_bodies_up(&self, conns: &Conns, place: Place, class: Class) -> bool {
        self.usable(place, class)
            .any(|(conn, _)| conns.engine_ref(conn).is_some_and(lacks_credit))
    }

    /// Takes the request out that is next in a queue.
    fn next_waiting(&mut self, place: Place, class: Class) -> Option<RequestId> {
        let id = self.endpoint(place).group(class).waiting.pop()?;
        let request = self.find(id)?;
        request.life = Life::Unplaced;
        let client = request.client();
        self.leave_queue(client);
        Some(id)
    }

    /// Puts a request back that was next and has found no place.
    fn requeue(&mut self, id: RequestId, end: End) {
        let client = self.find(id).and_then(|request| request.client());
        if let Some(client) = client {
            self.waiting.force(client, 1);
        }
        self.enqueue(id, end);
    }

    /// An address is of no use to some of those that wait for it: they go elsewhere, or fail for the reason that `why` has.
    pub(super) fn leave(
        &mut self,
        conns: &mut Conns,
        place: Place,
        class: Class,
        why: impl Fn(&Request<K>) -> Option<Failure>,
    ) {
        // What comes back to this queue meanwhile doesn't count.
        let count = self.endpoint(place).group(class).waiting.len();
        let mut staying = Vec::new();
        for _ in 0..count {
            let Some(id) = self.next_waiting(place, class) else {
                break;
            };
            let Some(request) = self.find(id) else {
                continue;
            };
            if let Some(failure) = why(request) {
                request.failed.push(place.endpoint);
                self.uncount(id);
                self.place(conns, id, failure);
            } else {
                staying.push(id);
            }
        }
        for id in staying {
            self.requeue(id, End::Back);
        }
    }

    /// Opens as many connections as those need that wait, within the limits.
    fn dial_if_due(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let now = conns.now();
        let most = self.options.max_connections;
        let endpoint = self.endpoint(place);
        let is_http1 = endpoint.protocol_of(class) == Some(Protocol::Http1);
        let Some((first, _)) = endpoint.group(class).waiting.first() else {
            return;
        };
        if !self.has_share(first) {
            return;
        }
        if !is_http1 {
            if self.needs_http2(conns, place, class, Some(first)) {
                self.dial_within(conns, place, class);
            }
            return;
        }
        for _ in 0..most {
            let endpoint = self.endpoint(place);
            let are_some = endpoint.group(class).count() > 0;
            let may_be_dialled = endpoint.health.may_be_dialled(now, are_some);
            if !may_be_dialled
                || !endpoint.needs_http1(class)
                || !self.dial_within(conns, place, class)
            {
                break;
            }
        }
    }

    /// Opens a connection if the address may have one more, or another group has one that it can do without. Returns whether it did.
    fn dial_within(&mut self, conns: &mut Conns, place: Place, class: Class) -> bool {
        let most = self.options.max_connections;
        if self.endpoint(place).count >= most {
            let Some(idle) = self.idle_of_others(place, class) else {
                self.endpoint(place).starve(class);
                return false;
            };
            self.end_connection(conns, idle);
        }
        self.dial(conns, place, class);
        true
    }

    /// A connection of this address's without a request, which is of another group than this.
    fn idle_of_others(&self, place: Place, class: Class) -> Option<ConnId> {
        // Within one group connections are used, not closed.
        let endpoint = self
            .upstreams
            .get(place.upstream)?
            .endpoints
            .get(place.endpoint)?;
        if endpoint.groups.len() < 2 {
            return None;
        }
        let its = self.conns.iter().filter(|(_, pooled)| {
            pooled.place == place && pooled.class != class && !pooled.is_ending
        });
        let idle = its.filter_map(|(conn, pooled)| Some((pooled.idle_since?, *conn)));
        idle.min_by_key(|(since, _)| *since).map(|(_, conn)| conn)
    }

    /// A place of an address's may have become free: the group that has waited longest for a connection gets one.
    pub(super) fn feed_starved(&mut self, conns: &mut Conns, place: Place) {
        if self.endpoint(place).starved.is_empty() {
            return;
        }
        let Some(class) = self.endpoint(place).first_starved() else {
            return;
        };
        let is_full = self.endpoint(place).count >= self.options.max_connections;
        if !is_full || self.idle_of_others(place, class).is_some() {
            self.endpoint(place).feed_first();
            self.dial_if_due(conns, place, class);
        }
    }

    /// Whether another connection of HTTP/2 is due: there may be one more, none is on its way, and those that are there have
    /// enough to do, or the request that waits avoids them.
    fn needs_http2(
        &mut self,
        conns: &Conns,
        place: Place,
        class: Class,
        waiting: Option<RequestId>,
    ) -> bool {
        let most = self.options.max_http2_connections;
        let before_settings = self.upstreams[place.upstream].before_settings();
        let endpoint = self.endpoint(place);
        let count = endpoint.group(class).count();
        let may_be_dialled = endpoint.health.may_be_dialled(conns.now(), count > 0);
        let group = endpoint.group(class);
        if !may_be_dialled || group.dialling > 0 || count >= most {
            return false;
        }
        let its = SmallVec::<[ConnId; 8]>::from_slice(&group.conns);
        let request = waiting.and_then(|id| self.requests.get(id.slot as usize));
        !its.iter().any(|conn| {
            let pooled = self.conns.get(conn);
            let engine = conns.engine_ref(*conn);
            pooled.zip(engine).is_some_and(|(pooled, engine)| {
                // What a connection takes is known when its SETTINGS are there.
                let waits = matches!(engine, Engine::Http2(engine) if !engine.is_established());
                let is_light =
                    || load(engine, pooled.streams.len(), before_settings) == Load::Light;
                let is_avoided = request.is_some_and(|request| {
                    let lacks_credit = request.has_body() && lacks_credit(engine);
                    request.avoids(*conn, pooled) || lacks_credit
                });
                // An address may speak either, and then it is the other one that is wanted.
                let is_other = pooled.protocol == Some(Protocol::Http1);
                !pooled.is_ending && !is_other && !is_avoided && (waits || is_light())
            })
        })
    }

    /// Opens a connection.
    fn dial(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let Some(state) = self.upstreams.get_mut(place.upstream) else {
            return;
        };
        let Some(endpoint) = state.endpoints.get_mut(place.endpoint) else {
            return;
        };
        let security = match &state.upstream.security {
            Security::Http1 => DialSecurity::Plain(Protocol::Http1),
            Security::H2c => DialSecurity::Plain(Protocol::Http2),
            Security::Tls { config, name } => DialSecurity::Tls {
                config: Arc::clone(config),
                name: endpoint.name.as_ref().unwrap_or(name).clone(),
                only: class.only,
            },
        };
        let preamble = match (self.options.proxy_protocol, class.on_behalf) {
            (Some(version), Some((client, server))) => proxy_header(version, client, server),
            _ => Vec::new(),
        };
        let dialled = conns.dial(Dial {
            addr: endpoint.addr,
            security,
            proto: Arc::clone(&self.options.proto),
            timeout: self.options.connect_timeout,
            preamble,
        });
        match dialled {
            Ok(conn) => {
                endpoint.count += 1;
                let group = endpoint.group(class);
                group.conns.push(conn);
                group.dialling += 1;
                self.conns
                    .insert(conn, Pooled::new(self.dialled, place, class));
                self.dialled += 1;
            }
            Err(error) => {
                let failure = Failure::to_connect(endpoint.addr, &error);
                self.connect_failed(conns, place, class, &failure);
            }
        }
    }
}

/// Whether a connection's peer lets too little of a body out, on whatever stream.
fn lacks_credit(engine: &Engine) -> bool {
    matches!(engine, Engine::Http2(engine) if engine.is_established() && engine.send_credit() < LEAST_CREDIT)
}

fn load(engine: &Engine, streams: usize, before_settings: usize) -> Load {
    if !engine.can_open() {
        return Load::Full;
    }
    let Engine::Http2(engine) = engine else {
        return Load::Light;
    };
    // It may be gone, or busy for long: what is new goes elsewhere meanwhile.
    if engine.awaits_pong() {
        return Load::Full;
    }
    let most = match engine.is_established() {
        true => engine.peer_settings().max_concurrent_streams as usize,
        false => before_settings,
    };
    if streams >= most {
        Load::Full
    } else if streams < most - most / 5 {
        Load::Light
    } else {
        Load::Heavy
    }
}

/// Whether the upstream may take what else comes on the connection for this client's: RFC 9110 §3.3 names these schemes (RFC 4559).
fn authenticates_connection(head: &RequestHead) -> bool {
    let credentials = head
        .headers()
        .filter(|field| field.known == Some(KnownName::AUTHORIZATION));
    let mut schemes =
        credentials.filter_map(|field| field.value.split(|octet| *octet == b' ').next());
    schemes.any(|scheme| {
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// RFC 6455 §4.1: "a nonce consisting of a randomly selected 16-byte value that has been base64-encoded".
fn websocket_key() -> Option<String> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    Some(BASE64_STANDARD.encode(nonce))
}
