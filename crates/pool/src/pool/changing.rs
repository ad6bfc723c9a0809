//! Upstreams that are added, changed and taken away while the pool is in use.

use tidegate_ledger::Rule;
use tidegate_net::{ConnId, Conns};

use super::{Pool, State, Stay};
use crate::endpoint::Class;
use crate::ids::Place;
use crate::upstream::{Limits, Upstream, UpstreamId};

impl<K: Copy> Pool<K> {
    /// Adds an upstream. No connection is opened before the first request.
    pub fn add(&mut self, upstream: Upstream) -> UpstreamId {
        let state = State {
            endpoints: Vec::new(),
            next: 0,
            max_streams: None,
            upstream,
            stay: Stay::Here,
        };
        let place = match (0..self.upstreams.len()).find(|place| self.has_left(*place)) {
            Some(place) => {
                self.upstreams[place] = state;
                place
            }
            None => {
                self.upstreams.push(state);
                self.upstreams.len() - 1
            }
        };
        self.list_addresses(place);
        UpstreamId(place)
    }

    /// Replaces the description of an upstream. What is known of addresses that stay remains, and
    /// so do their connections; new ones use the new security and settings. Without addresses, the
    /// upstream keeps those that it has.
    pub fn change(&mut self, conns: &mut Conns, id: UpstreamId, upstream: Upstream) {
        if let Some(state) = self.upstreams.get_mut(id.0) {
            let former = std::mem::replace(&mut state.upstream, upstream).addresses;
            let given = std::mem::take(&mut state.upstream.addresses);
            let addresses = if given.is_empty() { former } else { given };
            self.set_addresses(conns, id, addresses);
        }
    }

    /// Takes an upstream away. Its requests go on, also those that wait there; its connections end
    /// as soon as no request needs them. Don't use the id again: another upstream may get it.
    pub fn remove_upstream(&mut self, conns: &mut Conns, id: UpstreamId) {
        let Some(state) = self.upstreams.get_mut(id.0) else {
            return;
        };
        state.stay = Stay::Leaving;
        let its = self.conns.iter();
        let idle = its.filter(|(_, pooled)| {
            pooled.place.upstream == id.0 && pooled.idle_since.is_some() && !pooled.is_ending()
        });
        let idle: Vec<_> = idle
            .map(|(conn, pooled)| (*conn, pooled.place, pooled.class))
            .collect();
        for (conn, place, class) in idle {
            self.end_if_unneeded(conns, conn, place, class);
        }
    }

    /// Replaces the limits on all upstreams together.
    pub fn set_limits(&mut self, limits: Limits) {
        self.waiting.set_rule(Rule::new(limits.max_waiting as u64));
        self.limits = limits;
    }

    /// Ends an idle connection to an upstream that was taken away, unless requests wait for it.
    pub(super) fn end_if_unneeded(
        &mut self,
        conns: &mut Conns,
        conn: ConnId,
        place: Place,
        class: Class,
    ) {
        let is_leaving = self.upstreams[place.upstream].stay == Stay::Leaving;
        if is_leaving && self.endpoint(place).group(class).waiting.is_empty() {
            self.end_connection(conns, conn);
        }
    }

    /// Whether an upstream was taken away, and nothing is left of it.
    fn has_left(&self, upstream: usize) -> bool {
        let state = &self.upstreams[upstream];
        state.stay == Stay::Leaving
            && state.endpoints.iter().all(crate::endpoint::Endpoint::is_empty)
            && self.conns.values().all(|pooled| pooled.place.upstream != upstream)
            // Requests whose bodies are collected are at no address yet.
            && self.requests.iter().all(|(_, request)| request.place.upstream != upstream)
    }
}
