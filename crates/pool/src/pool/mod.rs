//! The pool: which request goes where, what becomes of it, and which connections are kept.
//!
//! - `owner`      the calls of the pool's owner
//! - `overview`   the state of all addresses
//! - `service`    the calls of the service, which hands on what the loop reports
//! - `request`    a request, and where it is in its life
//! - `pooled`     a connection
//! - `placing`    the address, connection and stream of a request
//! - `resting`    connections that become free, rest and end
//! - `leaving`    requests that leave their address, the queue or the pool
//! - `waiting`    the requests in the queue of an address
//! - `dialling`   connections that are being opened
//! - `exchange`   the events of a request's stream
//! - `retry`      requests that lost their stream
//! - `abandoned`  HTTP/1.1 responses that nobody waits for
//! - `addresses`  the addresses of an upstream
//! - `changing`   upstreams that are added, changed and taken away
//! - `draining`   addresses that are out of use for a while
//! - `overdue`    requests and connections that don't get on

mod abandoned;
mod addresses;
mod changing;
mod dialling;
mod draining;
mod exchange;
mod leaving;
mod overdue;
mod overview;
mod owner;
mod placing;
mod pooled;
mod request;
mod resting;
mod retry;
mod service;
mod waiting;

pub use overview::AddressState;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;
use slab::Slab;
use tidegate_http::StreamId;
use tidegate_ledger::{Client, ClientKey, Shares};
use tidegate_net::{ConnId, Conns, StreamMut};

use crate::endpoint::{Class, Endpoint, Standing};
use crate::event::Event;
use crate::health::Fitness;
use crate::ids::{OnBehalf, Place, RequestId};
use crate::pool::pooled::Pooled;
use crate::pool::request::Request;
use crate::stats::Stats;
use crate::upstream::{Limits, Options, Upstream};

/// A request's client and nature, beside its message.
#[derive(Clone, Debug, Default)]
pub struct RequestOptions {
    /// The client that the request is for; `None`: the owner itself, which has no limits. Clients
    /// share an upstream's places and wait for them in turn, and pay for the memory of their
    /// requests if their account is in the ledger of
    /// [`Config::memory_budget`](tidegate_http::Config::memory_budget).
    pub client: Option<Arc<Client>>,
    /// The client's connection that the request came on. Used only with
    /// [`Options::proxy_protocol`].
    pub on_behalf: Option<OnBehalf>,
    /// Whether long silences are normal, as in a gRPC call, if the request goes by HTTP/2. In a
    /// tunnel that was granted they always are.
    pub is_conversation: bool,
}

/// One worker's connections to its upstreams. A [`Service`](tidegate_net::Service) owns the pool
/// and hands on what the loop reports of its connections.
///
/// Events name a request by the owner's key `K`. [`Service::settle`](tidegate_net::Service::settle)
/// is the place to take them from [`Pool::next_event`], until there is none.
pub struct Pool<K> {
    limits: Limits,
    upstreams: Vec<State>,
    conns: FxHashMap<ConnId, Pooled>,
    requests: Slab<Request<K>>,
    /// The generation of the last [`RequestId`].
    generation: u32,
    /// Connections that were opened so far.
    dialled: u64,
    /// Events that the owner hasn't taken, and the request of each.
    events: VecDeque<(RequestId, Event<K>)>,
    /// Connections without a request.
    idle: usize,
    /// Goes up each time a connection becomes idle.
    uses: u64,
    /// HTTP/1.1 connections whose last response is whole though their exchange isn't over, and when
    /// it has to be.
    late: VecDeque<(Instant, ConnId)>,
    /// HTTP/1.1 connections with a response that nobody wants, and until when the pool reads it.
    abandoned: VecDeque<(Instant, ConnId)>,
    /// Requests whose bodies are collected, and until when.
    collecting: VecDeque<(Instant, RequestId)>,
    /// How many requests of each client wait for a place, at all upstreams.
    waiting: Shares<ClientKey>,
    /// When to look next for requests that don't get on.
    next_look: Option<Instant>,
    stats: Stats,
}

/// Whether an upstream has a future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Here,
    /// Its requests finish, and connections that nobody needs end.
    Leaving,
}

/// An upstream and its addresses.
struct State {
    upstream: Upstream,
    stay: Stay,
    endpoints: Vec<Endpoint>,
    /// The address to begin with among equally good ones.
    next: usize,
    /// How many streams an HTTP/2 connection may have, as a peer's SETTINGS last said.
    max_streams: Option<usize>,
}

/// Finding things.
impl<K: Copy> Pool<K> {
    fn find(&mut self, id: RequestId) -> Option<&mut Request<K>> {
        let request = self.requests.get_mut(id.slot as usize)?;
        (request.id == id).then_some(request)
    }

    /// Returns the request on a stream, which has just made progress.
    fn request_on(&mut self, conns: &Conns, conn: ConnId, id: StreamId) -> Option<&mut Request<K>> {
        let request = self.find_on(conn, id)?;
        request.moved_at = conns.now();
        Some(request)
    }

    /// Returns the request on a stream. What came on the stream doesn't count as progress.
    fn find_on(&mut self, conn: ConnId, id: StreamId) -> Option<&mut Request<K>> {
        let request = *self.conns.get(&conn)?.streams.get(&id)?;
        self.find(request)
    }

    /// Returns a request and its stream, if it has one.
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

    fn options(&self, place: Place) -> &Options {
        &self.upstreams[place.upstream].upstream.options
    }

    fn endpoint(&mut self, place: Place) -> &mut Endpoint {
        // A `Place` names an endpoint that was there, and none is ever removed.
        &mut self.upstreams[place.upstream].endpoints[place.endpoint]
    }

    /// Returns the connections of a class that take requests, or will once they are established.
    fn usable(&self, place: Place, class: Class) -> impl Iterator<Item = (ConnId, &Pooled)> {
        let state = self.upstreams.get(place.upstream);
        let endpoint = state.and_then(|state| state.endpoints.get(place.endpoint));
        let group = endpoint.and_then(|endpoint| endpoint.groups.get(class));
        let its = group.map_or(&[][..], |group| &group.conns);
        let pooled = its
            .iter()
            .filter_map(|conn| Some((*conn, self.conns.get(conn)?)));
        pooled.filter(|(_, pooled)| !pooled.is_ending())
    }

    /// Whether a connection of a class is established and takes requests.
    fn is_connected(&self, place: Place, class: Class) -> bool {
        let mut usable = self.usable(place, class);
        usable.any(|(_, pooled)| pooled.protocol.is_some())
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
}
