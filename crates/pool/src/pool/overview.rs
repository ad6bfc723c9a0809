//! An overview of the addresses of all upstreams, for whoever watches the server.

use std::net::SocketAddr;
use std::time::Instant;

use super::{Pool, Standing, Stay};
use crate::health::Fitness;

/// The state of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressState {
    /// The name of its upstream.
    pub upstream: String,
    /// The address.
    pub addr: SocketAddr,
    /// Whether it is skipped, because it failed a moment ago.
    pub is_skipped: bool,
    /// Whether [`Pool::drain`] has taken it out of use.
    pub is_drained: bool,
    /// Connections that take requests, or will once they are established.
    pub connections: u64,
    /// Requests there, including those that wait for a place.
    pub requests: u64,
}

impl<K: Copy> Pool<K> {
    /// Returns the state of at most `most` addresses that are listed.
    pub fn overview(&self, most: usize, now: Instant) -> Vec<AddressState> {
        let states = self.upstreams.iter();
        let here = states.filter(|state| matches!(state.stay, Stay::Here));
        let addresses = here.flat_map(|state| {
            let endpoints = state.endpoints.iter();
            let listed = endpoints.filter(|endpoint| endpoint.standing != Standing::Retired);
            listed.map(move |endpoint| AddressState {
                upstream: state.upstream.name.clone(),
                addr: endpoint.addr,
                is_drained: endpoint.standing == Standing::Drained,
                is_skipped: endpoint.health.fitness(now) == Fitness::Down,
                connections: endpoint.count as u64,
                requests: endpoint.outstanding as u64,
            })
        });
        addresses.take(most).collect()
    }
}
