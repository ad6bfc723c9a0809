//! Requests and connections that don't get on.

use std::time::{Duration, Instant};

use tidegate_net::Conns;

use super::Pool;
use super::request::{Life, Request};
use crate::endpoint::Class;
use crate::event::Failure;
use crate::ids::{Place, RequestId};
use crate::upstream::Options;

/// How often requests are looked at, at the least: those that wait for an address that failed are
/// served again by then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Returns how often the requests of an upstream must be looked at. None is late by more than an
/// eighth.
fn look_every(options: &Options) -> Duration {
    let limits = [options.request_timeout, options.conversation_timeout];
    let shortest = limits.into_iter().filter(|limit| !limit.is_zero()).min();
    let limit = shortest.unwrap_or(Duration::MAX);
    (limit / 8).clamp(Duration::from_millis(10), LOOK_EVERY)
}

impl<K: Copy> Pool<K> {
    /// Returns the time of the next check.
    pub(super) fn next_check(&self) -> Option<Instant> {
        let late = self.late.front().map(|(at, _)| *at);
        let abandoned = self.abandoned.front().map(|(at, _)| *at);
        let collecting = self.collecting.front().map(|(at, _)| *at);
        let all = [late, abandoned, collecting, self.next_look];
        all.into_iter().flatten().min()
    }

    /// Places requests whose bodies were collected for long enough.
    pub(super) fn end_collecting(&mut self, conns: &mut Conns, now: Instant) {
        while let Some((_, id)) = self
            .collecting
            .front()
            .copied()
            .filter(|(at, _)| *at <= now)
        {
            self.collecting.pop_front();
            if self
                .find(id)
                .is_some_and(|request| request.life == Life::Collecting)
            {
                self.place(conns, id, Failure::NoAddress);
            }
        }
    }

    /// Makes sure that requests are looked at in time.
    pub(super) fn look_by(&mut self, now: Instant) {
        if self.next_look.is_none() {
            let options = self.upstreams.iter().map(|state| &state.upstream.options);
            let every = options
                .map(|its| look_every(its))
                .fold(LOOK_EVERY, Duration::min);
            self.next_look = Some(now + every);
        }
    }

    /// Ends requests without progress, and serves the queues again.
    pub(super) fn look_at_requests(&mut self, conns: &mut Conns, now: Instant) {
        let is_over = |request: &Request<K>| {
            let options = self.options(request.place);
            let limit = if request.may_be_silent() {
                options.conversation_timeout
            } else {
                options.request_timeout
            };
            !limit.is_zero() && request.moved_at + limit <= now
        };
        let over = self.requests.iter().map(|(_, request)| request);
        let over: Vec<RequestId> = over
            .filter(|request| is_over(request))
            .map(|request| request.id)
            .collect();
        for id in over {
            self.time_out(conns, id, now);
        }
        // An address that had failed may be tried again by now.
        for upstream in 0..self.upstreams.len() {
            for endpoint in 0..self.upstreams[upstream].endpoints.len() {
                let place = Place { upstream, endpoint };
                let groups = self.endpoint(place).groups.iter();
                let waited_for = groups.filter(|(_, group)| !group.waiting.is_empty());
                let waited_for: Vec<Class> = waited_for.map(|(class, _)| class).collect();
                for class in waited_for {
                    self.serve_waiting(conns, place, class);
                }
            }
        }
        if !self.requests.is_empty() {
            self.look_by(now);
        }
    }

    /// Ends a request that has made no progress for too long.
    fn time_out(&mut self, conns: &mut Conns, id: RequestId, now: Instant) {
        let Some(request) = self.find(id) else {
            return;
        };
        let (place, class) = (request.place, request.class);
        let (stream, is_answered) = (request.stream(), request.is_answered());
        if let Some((conn, stream)) = stream {
            if !is_answered {
                self.note_no_answer(place, now);
            }
            self.reset_stream(conns, conn, stream);
            self.fail(id, Failure::TimedOut, conns.now());
            self.freed(conns, conn, stream);
        } else if self.is_connected(place, class) {
            self.fail(id, Failure::TimedOut, conns.now());
        } else {
            // It waited for a connection, even if that still has time left.
            let addr = self.endpoint(place).addr;
            self.fail(id, Failure::ConnectTimedOut(addr), conns.now());
        }
    }
}
