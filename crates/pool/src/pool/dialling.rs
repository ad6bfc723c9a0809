//! Connections that are being opened: when one is due, and what happens if it fails.

use std::net::SocketAddr;
use std::sync::Arc;

use log::warn;
use smallvec::SmallVec;
use tidegate_net::{ConnId, Conns, Dial, DialSecurity, End, Engine, Protocol, proxy_header};

use super::Pool;
use super::placing::{Load, lacks_credit, load};
use super::pooled::Pooled;
use crate::endpoint::Class;
use crate::event::Failure;
use crate::health::Pauses;
use crate::ids::{Place, RequestId};
use crate::upstream::Security;

impl<K: Copy> Pool<K> {
    /// Opens as many connections as the waiting requests need, within the limits.
    pub(super) fn dial_if_due(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let now = conns.now();
        let most = self.options(place).max_connections;
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

    /// Opens a connection if the address may have one more, or if another class can spare an idle
    /// one. Returns whether it did.
    fn dial_within(&mut self, conns: &mut Conns, place: Place, class: Class) -> bool {
        let most = self.options(place).max_connections;
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

    /// Returns the connection of another class to the address that has been idle for longest.
    fn idle_of_others(&self, place: Place, class: Class) -> Option<ConnId> {
        let endpoint = self
            .upstreams
            .get(place.upstream)?
            .endpoints
            .get(place.endpoint)?;
        if !endpoint.groups.are_several() {
            return None;
        }
        let its = self.conns.iter().filter(|(_, pooled)| {
            pooled.place == place && pooled.class != class && !pooled.is_ending()
        });
        let idle = its.filter_map(|(conn, pooled)| Some((pooled.idle_since?, *conn)));
        idle.min_by_key(|(since, _)| *since).map(|(_, conn)| conn)
    }

    /// Opens a connection for the class that has waited longest for one, if the address may have
    /// one more by now.
    pub(super) fn feed_starved(&mut self, conns: &mut Conns, place: Place) {
        if self.endpoint(place).starved.is_empty() {
            return;
        }
        let Some(class) = self.endpoint(place).first_starved() else {
            return;
        };
        let is_full = self.endpoint(place).count >= self.options(place).max_connections;
        if !is_full || self.idle_of_others(place, class).is_some() {
            self.endpoint(place).feed_first();
            self.dial_if_due(conns, place, class);
        }
    }

    /// Whether another HTTP/2 connection is due: there may be one more, none is being dialled, and
    /// the present ones have enough to do or are avoided by the request that waits.
    pub(super) fn needs_http2(
        &mut self,
        conns: &Conns,
        place: Place,
        class: Class,
        waiting: Option<RequestId>,
    ) -> bool {
        let most = self.options(place).max_http2_connections;
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
                // Until the peer's SETTINGS are there, nobody knows how much it takes.
                let waits = matches!(engine, Engine::Http2(engine) if !engine.is_established());
                let is_light =
                    || load(engine, pooled.streams.len(), before_settings) == Load::Light;
                let is_avoided = request.is_some_and(|request| {
                    let lacks_credit = request.has_body() && lacks_credit(engine);
                    request.avoids(*conn, pooled) || lacks_credit
                });
                // An address may speak either protocol.
                let is_other = pooled.protocol == Some(Protocol::Http1);
                !pooled.is_ending() && !is_other && !is_avoided && (waits || is_light())
            })
        })
    }

    /// Opens a connection.
    pub(super) fn dial(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let Some(state) = self.upstreams.get_mut(place.upstream) else {
            return;
        };
        let Some(endpoint) = state.endpoints.get_mut(place.endpoint) else {
            return;
        };
        let options = &state.upstream.options;
        let security = match &state.upstream.security {
            Security::Http1 => DialSecurity::Plain(Protocol::Http1),
            Security::H2c => DialSecurity::Plain(Protocol::Http2),
            Security::Tls { config, name } => DialSecurity::Tls {
                config: Arc::clone(config),
                name: endpoint.name.as_ref().unwrap_or(name).clone(),
                only: class.only,
            },
        };
        let preamble = match (options.proxy_protocol, class.on_behalf) {
            (Some(version), Some((client, server))) => proxy_header(version, client, server),
            _ => Vec::new(),
        };
        let dialled = conns.dial(Dial {
            addr: endpoint.addr,
            security,
            engine: Arc::clone(&options.engine),
            timeout: options.connect_timeout,
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

    /// Handles a connection that was not established. While there are others, only the requests
    /// fail that can't use those.
    pub(super) fn connect_failed(
        &mut self,
        conns: &mut Conns,
        place: Place,
        class: Class,
        failure: &Failure,
    ) {
        self.stats.connect_failures += 1;
        let now = conns.now();
        let pauses = self.pauses(place);
        let name = self.name(place);
        warn!("upstream {name}: {failure}");
        // Any connection for the same client shows that the address is alive, whatever protocol
        // this one was for.
        let mut others = self
            .conns
            .values()
            .filter(|pooled| pooled.place == place && pooled.class.on_behalf == class.on_behalf);
        let is_alive = others.any(|pooled| pooled.protocol.is_some() && !pooled.is_ending());
        let is_connected = self.is_connected(place, class);
        let endpoint = self.endpoint(place);
        match failure {
            // What this host lacks says nothing about the address, and may be there again soon.
            Failure::Local(_) if !is_connected => {}
            Failure::Local(_) => endpoint.health.dial_failed(now, pauses),
            _ if is_alive => endpoint.health.dial_failed(now, pauses),
            _ => endpoint.health.connect_failed(now, pauses),
        }
        if is_connected {
            self.turn_away(conns, place, class, |request| {
                match request.retries.refused_by {
                    Some(_) if request.was_lost() => Some(failure.clone()),
                    Some(_) => Some(Failure::Refused),
                    None => None,
                }
            });
        } else if endpoint.group(class).count() == 0 {
            self.turn_away(conns, place, class, |_| Some(failure.clone()));
        }
        self.endpoint(place).tidy(class);
    }

    /// Returns how long an address that failed is skipped.
    pub(super) fn pauses(&self, place: Place) -> Pauses {
        let options = self.options(place);
        Pauses {
            first: options.backoff,
            most: options.max_backoff,
        }
    }
}

/// Returns why a connection was not established.
pub(super) fn failure_to_connect(addr: SocketAddr, why: &End) -> Failure {
    match why {
        End::ConnectTimedOut => Failure::ConnectTimedOut(addr),
        End::ConnectFailed(error) => Failure::to_connect(addr, error),
        End::TlsFailed(rustls::Error::InvalidCertificate(_)) => {
            Failure::Certificate(addr, why.into())
        }
        End::TlsFailed(_) | End::NotHttp2 => Failure::Tls(addr, why.into()),
        why => Failure::Connect(addr, why.into()),
    }
}
