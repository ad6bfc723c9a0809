//! Where requests go: an address, a connection there, a stream on it; and which connections are opened for that.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use smallvec::SmallVec;
use tidegate_net::{ConnId, Conns, Dial, DialSecurity, Engine, Protocol, proxy_header};
use tidegate_proto::{KnownName, Misuse, RequestHead};

use super::{Place, Pool, Pooled, Request, RequestId, State};
use crate::endpoint::Class;
use crate::event::Failure;
use crate::health::Fitness;
use crate::replay::Outgoing;
use crate::upstream::Security;

/// Streams that a connection has at most before its peer has said how many it takes: RFC 9113 §6.5.2 recommends no fewer.
const BEFORE_SETTINGS: usize = 100;

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
        let last = request.refused_by.map(|_| request.place.endpoint);
        let best = (0..count)
            .map(|step| (start + step) % count)
            .filter(|endpoint| !request.failed.contains(endpoint))
            .map(|endpoint| (state.endpoints[endpoint].rank(now), endpoint))
            // One that has failed is better than none.
            .min_by_key(|(rank, endpoint)| {
                (rank.0 == Fitness::Down, last == Some(*endpoint), *rank)
            });
        let Some((_, endpoint)) = best else {
            return self.fail(id, otherwise);
        };
        request.place.endpoint = endpoint;
        request.is_counted = true;
        state.endpoints[endpoint].count(id, now);
        if !self.assign(conns, id) {
            self.wait(conns, id);
        }
    }

    /// A request waits for a connection of its address.
    fn wait(&mut self, conns: &mut Conns, id: RequestId) {
        if let Some(request) = self.find(id) {
            let (place, class) = (request.place, request.class);
            self.endpoint(place).group(class).waiting.push_back(id);
            self.dial_if_due(conns, place, class);
        }
    }

    /// Puts a request on a connection of its address, if one has a place for it. Returns whether it need not wait: it has a stream
    /// then, or failed.
    fn assign(&mut self, conns: &mut Conns, id: RequestId) -> bool {
        loop {
            if self.find(id).is_none() {
                return true;
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
        let has_choice = request.refused_by.is_some() && {
            let most = match is_http1 {
                true => self.options.max_http1_connections,
                false => self.options.max_http2_connections,
            };
            let count = endpoint.groups.get(&class)?.count();
            let mut its = self.usable(place, class);
            count < most || its.any(|(conn, pooled)| !request.avoids(conn, pooled))
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
            return latest_first
                .find(|conn| usable(conn).is_some_and(|pooled| !avoids(*conn, pooled)));
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
            match load(engine, streams, before_settings) {
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
        let body = request.outgoing.body();
        let stream = match (&engine, request.head.protocol()) {
            (Engine::Http1(_), Some("websocket")) => {
                let key = websocket_key().ok_or(Misuse::InvalidField)?;
                let head = request.head.clone().field("sec-websocket-key", key);
                engine.open(&head, body)?
            }
            _ => engine.open(&request.head, body)?,
        };
        let before_settings = self.upstreams[pooled.place.upstream].before_settings();
        let is_light = load(engine, pooled.streams.len() + 1, before_settings) == Load::Light;
        let is_http2 = pooled.protocol == Some(Protocol::Http2);
        request.stream = Some((conn, stream));
        request.moved_at = now;
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
        if !is_http2 {
            // It was the one that was used last, or nearly.
            let free = &mut self.endpoint(place).group(class).free;
            if let Some(at) = free.iter().rposition(|other| *other == conn) {
                free.remove(at);
            }
        } else if !is_light {
            // The next one is to be there when this one is full.
            if self.needs_http2(conns, place, class, None) {
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
        let mut particular = SmallVec::<[RequestId; 4]>::new();
        while let Some(id) = self.endpoint(place).group(class).waiting.pop_front() {
            if self.assign(conns, id) {
                continue;
            }
            if self.find(id).is_some_and(|request| request.class != class) {
                // It has come to know that it needs another kind.
                self.wait(conns, id);
                continue;
            }
            let is_particular = self.find(id).is_some_and(|request| {
                request.head.protocol().is_some() || request.refused_by.is_some()
            });
            if !is_particular {
                // Those behind it want the same.
                self.endpoint(place).group(class).waiting.push_front(id);
                break;
            }
            particular.push(id);
        }
        for id in particular.into_iter().rev() {
            self.endpoint(place).group(class).waiting.push_front(id);
        }
        self.dial_if_due(conns, place, class);
    }

    /// An address is of no use to some of those that wait for it: they go elsewhere, or fail for the reason that `why` has.
    pub(super) fn leave(
        &mut self,
        conns: &mut Conns,
        place: Place,
        class: Class,
        why: impl Fn(&Request<K>) -> Option<Failure>,
    ) {
        for id in std::mem::take(&mut self.endpoint(place).group(class).waiting) {
            let Some(request) = self.find(id) else {
                continue;
            };
            if let Some(failure) = why(request) {
                request.failed.push(place.endpoint);
                self.uncount(id);
                self.place(conns, id, failure);
            } else {
                self.endpoint(place).group(class).waiting.push_back(id);
            }
        }
    }

    /// Opens as many connections as those need that wait, within the limits.
    fn dial_if_due(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let now = conns.now();
        let most = self.options.max_http1_connections;
        let endpoint = self.endpoint(place);
        let is_http1 = endpoint.protocol_of(class) == Some(Protocol::Http1);
        let Some(first) = endpoint.group(class).waiting.front().copied() else {
            return;
        };
        if is_http1 {
            let count = endpoint.group(class).count();
            for _ in count..most {
                let endpoint = self.endpoint(place);
                let are_some = endpoint.group(class).count() > 0;
                let may_be_dialled = endpoint.health.may_be_dialled(now, are_some);
                let group = endpoint.group(class);
                if !may_be_dialled || group.waiting.len() <= group.dialling {
                    break;
                }
                self.dial(conns, place, class);
            }
            return;
        }
        if self.needs_http2(conns, place, class, Some(first)) {
            self.dial(conns, place, class);
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
                let is_avoided = request.is_some_and(|request| request.avoids(*conn, pooled));
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
                name: name.clone(),
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
