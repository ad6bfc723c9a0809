//! The calls of the pool's owner.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;
use tidegate_http::{Body, Fields, Misuse, Priority, RequestHead, Stream, check_trailers};
use tidegate_ledger::{Rule, Shares};
use tidegate_net::{ConnId, Conns, Protocol};

use super::request::{Life, Request, Retries};
use super::{Pool, RequestOptions};
use crate::endpoint::Class;
use crate::event::{Event, Failure};
use crate::ids::{OnBehalf, Place, RequestId};
use crate::replay::Outgoing;
use crate::stats::Stats;
use crate::trip::Going;
use crate::upstream::{Limits, UpstreamId};

impl<K: Copy> Pool<K> {
    /// Creates a pool without upstreams.
    pub fn new(limits: Limits) -> Self {
        Self {
            waiting: Shares::new(Rule::new(limits.max_waiting as u64)),
            limits,
            upstreams: Vec::new(),
            conns: FxHashMap::default(),
            requests: Slab::new(),
            generation: 0,
            dialled: 0,
            events: VecDeque::new(),
            idle: 0,
            uses: 0,
            late: VecDeque::new(),
            abandoned: VecDeque::new(),
            collecting: VecDeque::new(),
            next_look: None,
            stats: Stats::default(),
        }
    }

    /// Begins a request. [`Pool::next_event`] reports what becomes of it, under this key.
    pub fn request(
        &mut self,
        conns: &mut Conns,
        key: K,
        upstream: UpstreamId,
        head: impl Into<Arc<RequestHead>>,
        body: &Body,
        options: RequestOptions,
    ) -> RequestId {
        self.generation = self.generation.wrapping_add(1);
        let entry = self.requests.vacant_entry();
        // There are fewer than 2^32, because each is a stream of a client.
        let id = RequestId {
            slot: entry.key() as u32,
            generation: self.generation,
        };
        let upstream_options = self.upstreams.get(upstream.0);
        let upstream_options = upstream_options.map(|state| &state.upstream.options);
        let bill = || {
            let budget = upstream_options?.engine.memory_budget.as_ref();
            budget?.bill_for(options.client.as_ref()?)
        };
        entry.insert(Request {
            id,
            key,
            outgoing: Outgoing::new(body, bill),
            is_conversation: options.is_conversation,
            head: head.into(),
            account: options.client,
            place: Place {
                upstream: upstream.0,
                endpoint: 0,
            },
            class: Class {
                only: None,
                on_behalf: options
                    .on_behalf
                    .filter(|_| upstream_options.is_some_and(|its| its.proxy_protocol.is_some())),
            },
            life: Life::Unplaced,
            retries: Retries::default(),
            moved_at: conns.now(),
            trip: Going::new(conns.now()),
        });
        self.look_by(conns.now());
        if !self.collect(id, conns.now()) {
            self.place(conns, id, Failure::NoAddress);
        }
        id
    }

    /// Takes as many bytes of a [`Body::Stream`] off the front of `data` as there is room for, and
    /// returns their number. With `end`, the request ends once all of `data` is taken. If less than
    /// all was taken, [`Event::Writable`] asks for the rest.
    pub fn write(
        &mut self,
        conns: &mut Conns,
        request: RequestId,
        data: &mut Bytes,
        end: bool,
    ) -> usize {
        let (id, now) = (request, conns.now());
        let found = self.requests.get_mut(id.slot as usize);
        let Some(request) = found.filter(|request| request.id == id) else {
            return 0;
        };
        let upstream = self.upstreams.get(request.place.upstream);
        let limit = upstream.map_or(0, |state| state.upstream.options.replay_limit);
        let stream = request.stream().filter(|_| !request.awaits_http1_tunnel());
        let Outgoing::Stream(replay) = &mut request.outgoing else {
            return 0;
        };
        if request.life == Life::Collecting {
            let taken = replay.collect(data, end, limit);
            if taken > 0 {
                request.moved_at = now;
            }
            // The rest is more than may be kept.
            if !data.is_empty() || replay.has_enough(limit) {
                self.place(conns, id, Failure::NoAddress);
            }
            return taken;
        }
        let stream = stream.filter(|_| !replay.is_behind());
        let stream = stream.and_then(|(conn, stream)| conns.stream(conn, stream));
        let Some(mut stream) = stream else {
            if end && data.is_empty() {
                replay.end_later();
            }
            return 0;
        };
        let taken = replay.write(&mut stream, data, end, limit);
        if end && data.is_empty() {
            request.end_request();
        }
        if taken > 0 || request.is_whole() {
            request.moved_at = now;
        }
        self.end_if_over(conns, id);
        taken
    }

    /// Ends a [`Body::Stream`] with trailers.
    ///
    /// # Errors
    /// [`Misuse`] says what was wrong with the call; nothing was sent then. It is
    /// [`Misuse::OutOfOrder`] also if the request has no stream at the moment: then call again at
    /// the next [`Event::Writable`].
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
        request.end_request();
        request.moved_at = conns.now();
        let id = request.id;
        self.end_if_over(conns, id);
        Ok(())
    }

    /// Returns the protocol of the connection that carries a request, if one does.
    pub fn protocol(&self, request: RequestId) -> Option<Protocol> {
        let found = self.requests.get(request.slot as usize);
        found.filter(|found| found.id == request)?.protocol()
    }

    /// Gives back credit for `n` bytes of [`Event::Data`]. A request that is over needs none back.
    pub fn consume(&mut self, conns: &mut Conns, request: RequestId, n: usize) {
        if let Some((request, mut stream)) = self.stream(conns, request) {
            stream.consume(n);
            request.moved_at = conns.now();
        }
    }

    /// Changes the priority of a request's body among those that its connection sends.
    pub fn prioritize(&mut self, conns: &mut Conns, request: RequestId, priority: Priority) {
        if let Some((_, mut stream)) = self.stream(conns, request) {
            stream.prioritize(priority);
        }
    }

    /// Cancels a request whose response nobody waits for. It has no further events.
    pub fn cancel(&mut self, conns: &mut Conns, request: RequestId) {
        self.events.retain(|(id, _)| *id != request);
        let Some(found) = self.find(request) else {
            return;
        };
        let Some((conn, stream)) = found.stream() else {
            self.remove(request);
            return;
        };
        if !self.abandon(conns, request, conn) {
            self.reset_stream(conns, conn, stream);
            self.remove(request);
            self.freed(conns, conn, stream);
        }
    }

    /// Cancels several requests, as [`Pool::cancel`] does. Those that wait for a place are first,
    /// so that none of them is sent in vain.
    pub fn cancel_all(&mut self, conns: &mut Conns, requests: impl IntoIterator<Item = RequestId>) {
        let (sent, waiting): (Vec<_>, Vec<_>) = requests.into_iter().partition(|id| {
            let request = self.find(*id);
            request.is_some_and(|request| request.stream().is_some())
        });
        for request in waiting.into_iter().chain(sent) {
            self.cancel(conns, request);
        }
    }

    /// Ends the connections that were opened on behalf of a client that has left, as soon as their
    /// requests are over.
    pub fn client_left(&mut self, conns: &mut Conns, client: OnBehalf) {
        let mut upstreams = self.upstreams.iter();
        if !upstreams.any(|state| state.upstream.options.proxy_protocol.is_some()) {
            return;
        }
        let its = self.conns.iter();
        let its = its.filter(|(_, pooled)| pooled.class.on_behalf == Some(client));
        let its: Vec<ConnId> = its.map(|(conn, _)| *conn).collect();
        for conn in its {
            self.end_connection(conns, conn);
        }
    }

    /// Returns the next event. After other calls, call it until it returns `None`.
    pub fn next_event(&mut self) -> Option<Event<K>> {
        self.events.pop_front().map(|(_, event)| event)
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        Stats {
            open: self.conns.len() as u64,
            idle: self.idle as u64,
            ..self.stats
        }
    }
}
