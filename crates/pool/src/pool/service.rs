//! The calls of the service that owns the pool, which hands on what the loop reports. Each of them
//! does nothing with a connection that isn't the pool's.

use std::time::Instant;

use log::debug;
use tidegate_http::Event as EngineEvent;
use tidegate_net::{ConnId, Conns, End, Engine, Protocol};

use super::Pool;
use super::dialling::failure_to_connect;
use super::pooled::Taking;

impl<K: Copy> Pool<K> {
    /// Whether a connection is the pool's.
    pub fn owns(&self, conn: ConnId) -> bool {
        self.conns.contains_key(&conn)
    }

    /// For [`Service::opened`](tidegate_net::Service::opened). Does nothing for a connection that
    /// isn't the pool's.
    pub fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        let Some(engine) = conns.engine_ref(conn) else {
            return;
        };
        let protocol = engine.protocol();
        pooled.protocol = Some(protocol);
        let (place, class, is_ending) = (pooled.place, pooled.class, pooled.is_ending());
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
            // The client that it was opened for has left meanwhile.
            return self.end_connection(conns, conn);
        }
        self.serve_waiting(conns, place, class);
        let pooled = self.conns.get(&conn);
        if pooled.is_some_and(|pooled| pooled.streams.is_empty()) {
            self.rest(conns, conn);
        }
    }

    /// For [`Service::event`](tidegate_net::Service::event), with the events of connections that
    /// the pool [`owns`](Self::owns). Those of other connections are the service's.
    pub fn event(&mut self, conns: &mut Conns, conn: ConnId, event: EngineEvent) {
        let Some(event) = self.event_of_abandoned(conns, conn, event) else {
            return;
        };
        match event {
            EngineEvent::Informational { id, head } => self.on_informational(conns, conn, id, head),
            EngineEvent::Response { id, head, end } => self.on_response(conns, conn, id, head, end),
            EngineEvent::Data { id, data, end } => self.on_data(conns, conn, id, data, end),
            EngineEvent::Trailers { id, fields } => self.on_trailers(conns, conn, id, fields),
            EngineEvent::Writable { id, want } => self.on_writable(conns, conn, id, want),
            EngineEvent::Reset { id, code, cause } => self.on_reset(conns, conn, id, code, cause),
            EngineEvent::GoingAway { last, .. } => {
                self.take_no_more(conn);
                if let Some(pooled) = self.conns.get_mut(&conn) {
                    pooled.taking = if last.get() > 0 {
                        Taking::NothingAfterSome
                    } else {
                        Taking::Nothing
                    };
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
            // Push is off, and a client receives no requests.
            _ => {}
        }
    }

    /// For [`Service::closed`](tidegate_net::Service::closed). Does nothing for a connection that
    /// isn't the pool's.
    pub fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        let Some(pooled) = self.conns.remove(&conn) else {
            return;
        };
        self.idle -= usize::from(pooled.idle_since.is_some());
        if !pooled.is_ending() {
            self.give_places(pooled.streams.values().copied());
        }
        let (place, class) = (pooled.place, pooled.class);
        let endpoint = self.endpoint(place);
        endpoint.count -= usize::from(!pooled.is_ending());
        if let Some(abandoned) = pooled.abandoned {
            endpoint.places.give(Protocol::Http1, abandoned.client);
        }
        let group = endpoint.group(class);
        group.conns.retain(|other| *other != conn);
        group.free.retain(|other| *other != conn);
        group.ending -= usize::from(pooled.is_ending());
        group.dialling -= usize::from(pooled.protocol.is_none());
        let addr = endpoint.addr;
        let has_settings = match conns.engine_ref(conn) {
            Some(Engine::Http2(engine)) => engine.is_established(),
            _ => true,
        };
        // An HTTP/2 connection that closes before sending SETTINGS, and never carried a request,
        // counts as a failed dial. Otherwise the waiting requests would redial forever.
        let was_useless = !has_settings && pooled.carried == 0 && !pooled.is_ending();
        if pooled.protocol.is_none() || was_useless {
            let failure = failure_to_connect(addr, why);
            return self.connect_failed(conns, place, class, &failure);
        }
        debug!("{addr}: closed, {why}");
        self.connection_lost(conns, conn, pooled, why);
        self.serve_waiting(conns, place, class);
        self.feed_starved(conns, place);
        self.endpoint(place).tidy(class);
    }

    /// For [`Service::next_timeout`](tidegate_net::Service::next_timeout): a service that has times
    /// of its own returns the earlier one.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.next_check()
    }

    /// For [`Service::handle_timeout`](tidegate_net::Service::handle_timeout).
    pub fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.check_late(conns, now);
        self.give_up_abandoned(conns, now);
        self.end_collecting(conns, now);
        if self.next_look.is_some_and(|at| at <= now) {
            self.next_look = None;
            self.look_at_requests(conns, now);
        }
    }
}
