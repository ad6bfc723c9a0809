//! What becomes of requests: answered, lost, sent again, failed; and of the connections that carried them.

use std::time::{Duration, Instant};

use log::{info, warn};
use tidegate_http::{ErrorCode, StreamId};
use tidegate_net::{ConnId, Conns, Protocol};

use super::request::{Answer, Life, Request};
use super::{Place, Pool, RequestId, Resend};
use crate::endpoint::Class;
use crate::event::{Event, Failure};
use crate::health::Pauses;
use crate::queue::Client;
use crate::replay::Outgoing;

/// How long an exchange of HTTP/1.1 whose response is whole may still be under way.
const LATE: Duration = Duration::from_millis(100);

impl<K: Copy> Pool<K> {
    /// The upstream takes more of a body.
    pub(super) fn writable(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId, want: usize) {
        let now = conns.now();
        let Some(request) = self.request_on(conns, conn, id) else {
            return;
        };
        let (request_id, key) = (request.id, request.key);
        if let Outgoing::Stream(replay) = &mut request.outgoing
            && replay.is_behind()
        {
            let Some(mut stream) = conns.stream(conn, id) else {
                return;
            };
            request.moved_at = now;
            request.sent |= replay.catch_up(&mut stream);
            if request.sent || replay.is_behind() {
                return self.end_if_over(conns, request_id);
            }
        }
        let event = Event::Writable { key, want };
        self.events.push_back((request_id, event));
    }

    /// Both messages of a request are whole: it is over.
    pub(super) fn end_if_over(&mut self, conns: &mut Conns, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        if request.sent
            && request.answer == Answer::TunnelEnded
            && let Some((conn, stream)) = request.stream()
        {
            self.remove(id);
            self.freed(conns, conn, stream);
        }
    }

    /// A response is whole: the request is over, and what is left of its body is of no use.
    pub(super) fn answered(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        let Some(request) = self.request_on(conns, conn, id) else {
            return;
        };
        if request.is_tunnel() && !request.sent {
            request.answer = Answer::TunnelEnded;
            return;
        }
        let (request, sent) = (request.id, request.sent);
        if !sent {
            self.reset_stream(conns, conn, id);
        }
        self.remove(request);
        self.freed(conns, conn, id);
    }

    /// A connection has failed to come about. Where there are others, only those suffer who can't have those.
    pub(super) fn connect_failed(
        &mut self,
        conns: &mut Conns,
        place: Place,
        class: Class,
        failure: &Failure,
    ) {
        self.stats.connect_failures += 1;
        let now = conns.now();
        let pauses = self.pauses();
        let name = self.name(place);
        warn!("upstream {name}: {failure}");
        // What the same clients have there speaks for the address, whatever protocol it was dialled for.
        let mut others = self
            .conns
            .values()
            .filter(|pooled| pooled.place == place && pooled.class.on_behalf == class.on_behalf);
        let is_alive = others.any(|pooled| pooled.protocol.is_some() && !pooled.is_ending);
        let is_connected = self
            .usable(place, class)
            .any(|(_, pooled)| pooled.protocol.is_some());
        let endpoint = self.endpoint(place);
        match failure {
            // What this host lacks says nothing about the address. It may have it again in a moment.
            Failure::Local(_) if !is_connected => {}
            Failure::Local(_) => endpoint.health.dial_failed(now, pauses),
            _ if is_alive => endpoint.health.dial_failed(now, pauses),
            _ => endpoint.health.connect_failed(now, pauses),
        }
        if is_connected {
            self.leave(conns, place, class, |request| {
                match request.retries.refused_by {
                    Some(_) if request.was_lost() => Some(failure.clone()),
                    Some(_) => Some(Failure::Refused),
                    None => None,
                }
            });
        } else if endpoint.group(class).count() == 0 {
            self.leave(conns, place, class, |_| Some(failure.clone()));
        }
        self.endpoint(place).tidy(class);
    }

    /// An address took requests and answered none of them. It is left alone for a while if that is what it does most of the time,
    /// and another address is of use.
    pub(super) fn note_no_answer(&mut self, place: Place, now: Instant) {
        let (pauses, least) = (self.pauses(), self.options.max_faults);
        let has_others = self.has_others(place, now);
        let name = self.name(place);
        let endpoint = self.endpoint(place);
        if endpoint.health.gave_no_answer(now, least) && has_others {
            warn!(
                "upstream {name}: {} answers less than half of its requests, others get them for a while",
                endpoint.addr
            );
            endpoint.health.eject(now, pauses);
        }
    }

    fn pauses(&self) -> Pauses {
        Pauses {
            first: self.options.backoff,
            most: self.options.max_backoff,
        }
    }

    /// A request has lost its stream: it is sent again if that does no harm, else it fails. `freed` has been called.
    pub(super) fn lost(
        &mut self,
        conns: &mut Conns,
        id: RequestId,
        conn: ConnId,
        failure: Failure,
        resend: Resend,
    ) {
        let Some(request) = self.find(id) else {
            return;
        };
        let is_spent = match resend {
            Resend::Never => true,
            Resend::Once => std::mem::replace(&mut request.retries.is_spent, true),
            Resend::Uncounted => false,
        };
        if is_spent || request.is_heard() || !request.outgoing.can_be_sent_again() {
            return self.fail(id, failure);
        }
        request.retries.refused_by = Some(conn);
        let place = request.place;
        self.unplace(id);
        self.uncount(id);
        self.stats.retried += 1;
        info!("upstream {}: a request is sent again", self.name(place));
        self.place(conns, id, failure);
    }

    /// A request is over without a response, or without the rest of it.
    pub(super) fn fail(&mut self, id: RequestId, failure: Failure) {
        if let Some(request) = self.remove(id) {
            self.stats.failed += 1;
            let key = request.key;
            self.events.push_back((id, Event::Failed { key, failure }));
        }
    }

    /// Forgets a request.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request<K>> {
        self.unplace(id);
        self.uncount(id);
        self.find(id)?;
        self.requests.try_remove(id.slot as usize)
    }

    /// A request leaves the queue or the stream that it is in.
    pub(super) fn unplace(&mut self, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        match std::mem::replace(&mut request.life, Life::Unplaced) {
            Life::Unplaced | Life::Collecting => {}
            Life::Waiting(ticket) => {
                self.endpoint(place).group(class).waiting.remove(ticket);
                self.leave_queue(client);
            }
            Life::Sent { conn, protocol, .. } => {
                // One that ends, or is gone, has given its places back.
                if self
                    .conns
                    .get(&conn)
                    .is_some_and(|pooled| !pooled.is_ending)
                {
                    self.give_place(place, class, protocol, client);
                }
            }
        }
    }

    /// The places of these requests are theirs no longer, though they go on.
    pub(super) fn give_places(&mut self, requests: impl IntoIterator<Item = RequestId>) {
        for id in requests {
            let Some(request) = self.find(id) else {
                continue;
            };
            let (place, class, client) = (request.place, request.class, request.client());
            if let Life::Sent { protocol, .. } = request.life {
                self.give_place(place, class, protocol, client);
            }
        }
    }

    /// A client has a place less at an address, and may get another one sooner.
    pub(super) fn give_place(
        &mut self,
        place: Place,
        class: Class,
        protocol: Protocol,
        client: Client,
    ) {
        let endpoint = self.endpoint(place);
        endpoint.places.give(protocol, client);
        endpoint.note_held(class, client);
    }

    /// A client has a request less that waits.
    pub(super) fn leave_queue(&mut self, client: Client) {
        if let Some(client) = client {
            self.waiting.give(&client, 1);
        }
    }

    /// A request is none of its address's any more.
    pub(super) fn uncount(&mut self, id: RequestId) {
        if let Some(request) = self.find(id)
            && std::mem::take(&mut request.is_counted)
        {
            let place = request.place;
            self.endpoint(place).uncount(id);
        }
    }

    /// A stream is over: its connection has a place again.
    pub(super) fn freed(&mut self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        if pooled.streams.remove(&id).is_none() {
            return;
        }
        let (place, class, is_empty) = (pooled.place, pooled.class, pooled.streams.is_empty());
        let engine = conns.engine_ref(conn);
        let (mut is_ending, is_free) = engine.map_or((true, false), |engine| {
            (engine.is_ending(), engine.can_open())
        });
        if pooled.is_private && !is_ending {
            self.end_connection(conns, conn);
            is_ending = true;
        }
        let Some(pooled) = self.conns.get(&conn) else {
            return;
        };
        let is_http1 = pooled.protocol == Some(Protocol::Http1);
        if is_ending {
            self.take_no_more(conn);
        }
        if !is_ending && is_http1 {
            match is_free {
                true => self.endpoint(place).group(class).free.push(conn),
                false => self.late.push((conns.now() + LATE, conn)),
            }
        }
        if is_empty && !is_ending {
            self.rest(conns, conn);
        }
        self.feed_starved(conns, place);
        if !self.endpoint(place).group(class).waiting.is_empty() {
            self.serve_waiting(conns, place, class);
        }
    }

    /// A connection has no request.
    pub(super) fn rest(&mut self, conns: &mut Conns, conn: ConnId) {
        let Some(pooled) = self.conns.get_mut(&conn) else {
            return;
        };
        self.uses += 1;
        pooled.was_of_use = true;
        if pooled.idle_since.replace(self.uses).is_none() {
            self.idle += 1;
        }
        while self.idle > self.options.max_idle {
            let idle = self.conns.iter();
            let idle = idle.filter_map(|(conn, pooled)| {
                let since = pooled.idle_since?;
                let state = self.upstreams.get(pooled.place.upstream)?;
                let group = state.endpoints.get(pooled.place.endpoint)?;
                let group = group.groups.get(&pooled.class)?;
                // Who waits may have it once its peer has told what it can do.
                group.waiting.is_empty().then_some((since, *conn))
            });
            let Some((_, oldest)) = idle.min_by_key(|(since, _)| *since) else {
                break;
            };
            self.end_connection(conns, oldest);
        }
    }

    /// A connection takes no more requests.
    pub(super) fn take_no_more(&mut self, conn: ConnId) {
        if let Some(pooled) = self.conns.get_mut(&conn)
            && !std::mem::replace(&mut pooled.is_ending, true)
        {
            let (place, class) = (pooled.place, pooled.class);
            let its: Vec<RequestId> = pooled.streams.values().copied().collect();
            // Another one may be opened in its stead, so what goes on here is in nobody's way.
            self.give_places(its);
            let endpoint = self.endpoint(place);
            endpoint.count -= 1;
            endpoint.group(class).ending += 1;
        }
    }

    /// Ends a connection that has no request, or that has to do without more.
    pub(super) fn end_connection(&mut self, conns: &mut Conns, conn: ConnId) {
        let now = conns.now();
        self.take_no_more(conn);
        if let Some(pooled) = self.conns.get_mut(&conn)
            && pooled.idle_since.take().is_some()
        {
            self.idle -= 1;
        }
        if let Some(engine) = conns.engine(conn) {
            engine.shut_down(now);
        }
    }

    /// Sees to it that requests are looked at.
    pub(super) fn look_by(&mut self, now: Instant) {
        if self.next_look.is_none() {
            let limits = [
                self.options.request_timeout,
                self.options.conversation_timeout,
            ];
            let shortest = limits.into_iter().filter(|limit| !limit.is_zero()).min();
            // Often enough that none is late by more than an eighth; and now and then for those that wait for an address.
            let limit = shortest.unwrap_or(Duration::MAX);
            let every = (limit / 8).clamp(Duration::from_millis(10), Duration::from_secs(1));
            self.next_look = Some(now + every);
        }
    }

    /// Ends requests that don't get on.
    pub(super) fn look_at_requests(&mut self, conns: &mut Conns, now: Instant) {
        let is_over = |request: &Request<K>| {
            let limit = match request.may_be_silent() {
                true => self.options.conversation_timeout,
                false => self.options.request_timeout,
            };
            !limit.is_zero() && request.moved_at + limit <= now
        };
        let over = self.requests.iter().map(|(_, request)| request);
        let over: Vec<RequestId> = over
            .filter(|request| is_over(request))
            .map(|request| request.id)
            .collect();
        for id in over {
            let Some(request) = self.find(id) else {
                continue;
            };
            let (place, stream, heard) = (request.place, request.stream(), request.is_heard());
            let class = request.class;
            match stream {
                Some((conn, stream)) => {
                    if !heard {
                        self.note_no_answer(place, now);
                    }
                    self.reset_stream(conns, conn, stream);
                    self.fail(id, Failure::TimedOut);
                    self.freed(conns, conn, stream);
                }
                None => {
                    // Where there is none yet, a connection is what was waited for, even if that had more time left.
                    let is_connected = self
                        .usable(place, class)
                        .any(|(_, pooled)| pooled.protocol.is_some());
                    let endpoint = self.endpoint(place);
                    let failure = match is_connected {
                        true => Failure::TimedOut,
                        false => Failure::ConnectTimedOut(endpoint.addr),
                    };
                    self.fail(id, failure);
                }
            }
        }
        // Those that wait for an address which had failed may go on, or elsewhere.
        for upstream in 0..self.upstreams.len() {
            for endpoint in 0..self.upstreams[upstream].endpoints.len() {
                let place = Place { upstream, endpoint };
                let groups = self.endpoint(place).groups.iter();
                let waited_for = groups.filter(|(_, group)| !group.waiting.is_empty());
                let waited_for: Vec<Class> = waited_for.map(|(class, _)| *class).collect();
                for class in waited_for {
                    self.serve_waiting(conns, place, class);
                }
            }
        }
        if !self.requests.is_empty() {
            self.look_by(now);
        }
    }

    pub(super) fn reset_stream(&self, conns: &mut Conns, conn: ConnId, id: StreamId) {
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.reset(ErrorCode::CANCEL);
        }
    }
}
