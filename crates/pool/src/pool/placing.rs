//! Where requests go: an address, a connection there, and a stream on it.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tidegate_http::{KnownName, Misuse, RequestHead};
use tidegate_net::{ConnId, Conns, Engine, Protocol};

use super::request::{Exchange, Life, Sent};
use super::{Pool, State};
use crate::endpoint::Standing;
use crate::event::Failure;
use crate::health::Fitness;
use crate::ids::RequestId;
use crate::replay::Outgoing;
use crate::upstream::{Options, Security};

/// The most streams of a connection before its peer has sent SETTINGS. RFC 9113 §6.5.2 recommends
/// that a peer takes no fewer.
const BEFORE_SETTINGS: usize = 100;

/// The least window of a connection for another body, if there can be a better connection. Bodies
/// that the upstream doesn't read may hold the rest of the window for long.
const LEAST_CREDIT: usize = 16 << 10;

/// The fewest places of an address, however little memory there is for responses.
const LEAST_PLACES: usize = 16;

/// How long the first part of a body is collected. The rest of a slower body follows as it comes.
const COLLECTED_FOR: Duration = Duration::from_secs(5);

impl State {
    /// Returns how many streams a connection may have before its peer's SETTINGS: as many as the
    /// last connection allowed. On the very first connection there is one, because a refused
    /// request with a large body couldn't be sent again.
    pub(super) fn before_settings(&self) -> usize {
        self.max_streams.unwrap_or(1).clamp(1, BEFORE_SETTINGS)
    }
}

/// How busy a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Load {
    /// Less than four fifths of its streams are in use.
    Light,
    Heavy,
    Full,
}

impl<K: Copy> Pool<K> {
    /// Gives a request an address, and a stream there if one is free. Without an address the
    /// request fails with `otherwise`.
    pub(super) fn place(&mut self, conns: &mut Conns, id: RequestId, otherwise: Failure) {
        let now = conns.now();
        let Some(request) = self.requests.get_mut(id.slot as usize) else {
            return;
        };
        let Some(state) = self.upstreams.get_mut(request.place.upstream) else {
            return self.fail(id, otherwise, conns.now());
        };
        let count = state.endpoints.len();
        let start = state.next;
        state.next = (start + 1) % count.max(1);
        let retries = &request.retries;
        // The address that refused or lost the request is a poor choice.
        let last = retries.refused_by.map(|_| request.place.endpoint);
        let best = (0..count)
            .map(|step| (start + step) % count)
            .filter(|endpoint| !retries.failed.contains(endpoint))
            .filter(|endpoint| state.endpoints[*endpoint].standing == Standing::Listed)
            .map(|endpoint| (state.endpoints[endpoint].rank(now), endpoint))
            // An address that has failed is better than none.
            .min_by_key(|(rank, endpoint)| {
                (rank.0 == Fitness::Down, last == Some(*endpoint), *rank)
            });
        let Some((_, endpoint)) = best else {
            return self.fail(id, otherwise, conns.now());
        };
        request.life = Life::Placed;
        request.place.endpoint = endpoint;
        state.endpoints[endpoint].count(id, now);
        if !self.assign(conns, id) {
            self.wait(conns, id);
        }
    }

    /// Starts to collect the first part of a request's body, if the request may go by HTTP/1.1.
    /// There it would hold a connection that others could use meanwhile. Returns whether it did.
    pub(super) fn collect(&mut self, id: RequestId, now: Instant) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let (upstream, class) = (request.place.upstream, request.class);
        if !request.may_be_collected() {
            return false;
        }
        let Some(state) = self.upstreams.get(upstream) else {
            return false;
        };
        if state.upstream.options.replay_limit == 0 {
            return false;
        }
        let endpoints = state.endpoints.iter();
        let mut protocols = endpoints.map(|endpoint| endpoint.protocol_of(class));
        if !protocols.any(|protocol| protocol == Some(Protocol::Http1)) {
            return false;
        }
        if let Some(request) = self.find(id) {
            request.life = Life::Collecting;
        }
        self.collecting.push_back((now + COLLECTED_FOR, id));
        true
    }

    /// Sets how many places each address of an upstream has.
    pub(super) fn set_capacities(&mut self, upstream: usize) {
        let Some(state) = self.upstreams.get_mut(upstream) else {
            return;
        };
        let Options {
            max_connections,
            max_http2_connections,
            max_response_windows,
            proxy_protocol,
            ref engine,
            ..
        } = *state.upstream.options;
        let fitting = |window: u32| match max_response_windows / u64::from(window.max(1)) {
            _ if max_response_windows == 0 => usize::MAX,
            windows => usize::try_from(windows)
                .unwrap_or(usize::MAX)
                .max(LEAST_PLACES),
        };
        let (most, least) = (engine.max_stream_window_size, engine.initial_window_size);
        let (fitting, fitting_at_first) = (fitting(most), fitting(least));
        let streams = state.max_streams.unwrap_or(BEFORE_SETTINGS);
        let streams = streams.saturating_mul(max_http2_connections.min(max_connections));
        let http2 = match proxy_protocol {
            None => streams.min(fitting),
            // Each connection is for one client only, so clients share connections, not streams.
            Some(_) => max_connections,
        };
        // Windows of HTTP/1.1 don't grow.
        let http1 = max_connections.min(fitting_at_first);
        // A client that holds little may go over the memory budget, so a newcomer has a place
        // beyond those that fit. Windows of HTTP/2 grow only where there is memory.
        let with_newcomers = fitting_at_first.saturating_mul(2);
        let more = |all: usize, places: usize| all.min(with_newcomers).saturating_sub(places);
        for endpoint in &mut state.endpoints {
            let places = &mut endpoint.places;
            places.set_capacity(Protocol::Http1, http1, more(max_connections, http1));
            places.set_capacity(Protocol::Http2, http2, more(streams, http2));
        }
    }

    /// Puts a request on a connection of its address, if one has room. Returns whether the request
    /// needn't wait, because it has a stream or has failed.
    pub(super) fn assign(&mut self, conns: &mut Conns, id: RequestId) -> bool {
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
                    // The peer's SETTINGS may enable it yet.
                    if !has_settings {
                        return false;
                    }
                    if !self.demand_http1(id) {
                        self.fail(id, Failure::NoWebSocket, conns.now());
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
                        conns.now(),
                    );
                    return true;
                }
            }
        }
    }

    /// Returns the best connection for a request, if one has room.
    fn choose(&mut self, conns: &Conns, id: RequestId) -> Option<ConnId> {
        let request = self.requests.get(id.slot as usize)?;
        let (place, class) = (request.place, request.class);
        let state = self.upstreams.get(place.upstream)?;
        let before_settings = state.before_settings();
        let endpoint = state.endpoints.get(place.endpoint)?;
        let is_http1 = endpoint.protocol_of(class) == Some(Protocol::Http1);
        let options = &state.upstream.options;
        let may_be_more = endpoint.count < options.max_connections
            && (is_http1 || endpoint.groups.get(class)?.count() < options.max_http2_connections);
        let has_body = request.has_body();
        // A request avoids connections only while there are others, or can be.
        let has_choice = request.retries.refused_by.is_some() && {
            let mut its = self.usable(place, class);
            may_be_more || its.any(|(conn, pooled)| !request.avoids(conn, pooled))
        };
        let avoids = |conn, pooled| has_choice && request.avoids(conn, pooled);
        let state = self.upstreams.get_mut(place.upstream)?;
        let endpoint = state.endpoints.get_mut(place.endpoint)?;
        let group = endpoint.groups.get_mut(class)?;
        if is_http1 {
            debug_assert!(
                group.free.iter().all(|conn| self.conns.contains_key(conn)),
                "a connection that is gone is no longer free"
            );
            let usable = |conn: &ConnId| {
                let pooled = self.conns.get(conn).filter(|pooled| !pooled.is_ending());
                pooled.filter(|_| conns.engine_ref(*conn).is_some_and(Engine::can_open))
            };
            while group.free.pop_if(|conn| usable(conn).is_none()).is_some() {}
            // The connection that was used last is the likeliest to be kept by its peer.
            let mut latest_first = group.free.iter().rev().copied();
            return latest_first.find(|conn| {
                let is_wanted = usable(conn).is_some_and(|pooled| !avoids(*conn, pooled));
                // Unread input after the last response is EOF, or something unasked for.
                is_wanted && !conns.has_unread(*conn)
            });
        }
        let mut best = None;
        for &conn in &group.conns {
            let Some(pooled) = self.conns.get(&conn) else {
                continue;
            };
            if pooled.is_ending()
                || pooled.protocol != Some(Protocol::Http2)
                || avoids(conn, pooled)
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
        let is_new = self
            .conns
            .get(&conn)
            .is_some_and(|pooled| pooled.carried == 0);
        let dialled_at = conns
            .info(conn)
            .filter(|_| is_new)
            .map(|info| info.began_at);
        let (Some(request), Some(engine), Some(pooled)) = (
            self.requests.get_mut(id.slot as usize),
            conns.engine(conn),
            self.conns.get_mut(&conn),
        ) else {
            return Err(Misuse::GoingAway);
        };
        let (body, account) = (request.outgoing.body(), request.account.as_ref());
        let stream = match (&engine, request.head.protocol()) {
            (Engine::Http1(_), Some("websocket")) => {
                let key = websocket_key().ok_or(Misuse::InvalidField)?;
                let head = RequestHead::clone(&request.head).field("sec-websocket-key", key);
                engine.open_for(account, &head, body)?
            }
            _ => engine.open_for(account, &request.head, body)?,
        };
        let before_settings = self.upstreams[pooled.place.upstream].before_settings();
        let is_light = load(engine, pooled.streams.len() + 1, before_settings) == Load::Light;
        let is_http2 = pooled.protocol == Some(Protocol::Http2);
        let protocol = pooled.protocol.unwrap_or(Protocol::Http2);
        let is_streamed = if let Outgoing::Stream(replay) = &mut request.outgoing {
            replay.rewind();
            true
        } else {
            false
        };
        request.life = Life::Sent(Sent {
            conn,
            stream,
            protocol,
            exchange: Exchange::new(!is_streamed),
        });
        request.moved_at = now;
        let endpoints = &self.upstreams[pooled.place.upstream].endpoints;
        if let Some(endpoint) = endpoints.get(pooled.place.endpoint) {
            request.trip.sent(endpoint.addr, dialled_at, now);
        }
        let client = request.client();
        pooled.streams.insert(stream, id);
        pooled.carried += 1;
        // On a connection that is for one client only, the credentials may be that client's.
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
            // It is near the end of the list, where `choose` found it.
            let free = &mut self.endpoint(place).group(class).free;
            if let Some(at) = free.iter().rposition(|other| *other == conn) {
                free.remove(at);
            }
        } else if !is_light
            // The next connection should be there by the time this one is full.
            && self.needs_http2(conns, place, class, None)
            && self.endpoint(place).count < self.options(place).max_connections
        {
            self.dial(conns, place, class);
        }
        Ok(())
    }

    /// Restricts a request to HTTP/1.1, for something that its upstream doesn't take over HTTP/2.
    /// Returns whether its upstream may speak HTTP/1.1 too.
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
}

/// Whether a connection's window is too small for another body, on any stream.
pub(super) fn lacks_credit(engine: &Engine) -> bool {
    matches!(engine, Engine::Http2(engine) if engine.is_established() && engine.send_credit() < LEAST_CREDIT)
}

/// Returns how busy a connection is with this number of streams.
pub(super) fn load(engine: &Engine, streams: usize, before_settings: usize) -> Load {
    if !engine.can_open() {
        return Load::Full;
    }
    let Engine::Http2(engine) = engine else {
        return Load::Light;
    };
    // The peer may be gone, or busy for long, so new requests go elsewhere until it answers.
    if engine.awaits_pong() {
        return Load::Full;
    }
    let most = if engine.is_established() {
        engine.peer_settings().max_concurrent_streams as usize
    } else {
        before_settings
    };
    if streams >= most {
        Load::Full
    } else if streams < most - most / 5 {
        Load::Light
    } else {
        Load::Heavy
    }
}

/// Whether the upstream may take all that comes on the connection for this client's. RFC 9110 §3.3
/// names these schemes (RFC 4559).
fn authenticates_connection(head: &RequestHead) -> bool {
    let credentials = head
        .headers()
        .filter(|field| field.known == Some(KnownName::AUTHORIZATION));
    let mut schemes =
        credentials.filter_map(|field| field.value.split(|byte| *byte == b' ').next());
    schemes.any(|scheme| {
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// Returns a new value of sec-websocket-key. RFC 6455 §4.1: "a nonce consisting of a randomly
/// selected 16-byte value that has been base64-encoded".
fn websocket_key() -> Option<String> {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).ok()?;
    Some(BASE64_STANDARD.encode(nonce))
}
