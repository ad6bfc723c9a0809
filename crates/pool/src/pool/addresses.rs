//! The addresses of an upstream, which change when its name is looked up again.

use log::info;
use tidegate_net::{ConnId, Conns, Protocol};

use super::Pool;
use crate::endpoint::{Class, Endpoint, Standing};
use crate::event::Failure;
use crate::health::Health;
use crate::ids::Place;
use crate::upstream::{Address, Security, UpstreamId};

impl<K: Copy> Pool<K> {
    /// Replaces the addresses of an upstream. Requests in progress at an address that is no longer
    /// listed go on; requests that wait there go to another one.
    pub fn set_addresses(
        &mut self,
        conns: &mut Conns,
        upstream: UpstreamId,
        addresses: Vec<Address>,
    ) {
        let UpstreamId(upstream) = upstream;
        let Some(state) = self.upstreams.get_mut(upstream) else {
            return;
        };
        state.upstream.addresses = addresses;
        self.list_addresses(upstream);
        for endpoint in 0..self.upstreams[upstream].endpoints.len() {
            let place = Place { upstream, endpoint };
            if self.endpoint(place).standing == Standing::Retired {
                self.retire(conns, place);
            }
        }
    }

    /// Adds an endpoint for each new address of an upstream, and marks those whose address is no
    /// longer listed.
    pub(super) fn list_addresses(&mut self, upstream: usize) {
        let Some(state) = self.upstreams.get_mut(upstream) else {
            return;
        };
        let request_timeout = state.upstream.options.request_timeout;
        let protocol = match state.upstream.security {
            Security::Http1 => Some(Protocol::Http1),
            Security::H2c => Some(Protocol::Http2),
            Security::Tls { .. } => None,
        };
        for endpoint in &mut state.endpoints {
            let mut listed = state.upstream.addresses.iter();
            let is_listed = listed.any(|address| endpoint.is(address));
            endpoint.standing = match endpoint.standing {
                Standing::Drained if is_listed => Standing::Drained,
                _ if is_listed => Standing::Listed,
                _ => Standing::Retired,
            };
        }
        for address in &state.upstream.addresses {
            if state.endpoints.iter().any(|endpoint| endpoint.is(address)) {
                continue;
            }
            let health = Health::new(request_timeout);
            let made = Endpoint::new(address.clone(), protocol, health);
            // Retired endpoints are used again, because addresses may change without end.
            let mut endpoints = state.endpoints.iter_mut();
            match endpoints.find(|old| old.standing == Standing::Retired && old.is_empty()) {
                Some(old) => *old = made,
                None => state.endpoints.push(made),
            }
        }
        self.set_capacities(upstream);
    }

    /// Ends the connections to an address that is no longer its upstream's, and moves the requests
    /// that wait there.
    pub(super) fn retire(&mut self, conns: &mut Conns, place: Place) {
        let name = self.name(place);
        let endpoint = self.endpoint(place);
        if endpoint.is_empty() {
            return;
        }
        info!("upstream {name}: {} is no longer used", endpoint.addr);
        let classes: Vec<Class> = endpoint.groups.iter().map(|(class, _)| class).collect();
        for class in classes {
            self.turn_away(conns, place, class, |_| Some(Failure::NoAddress));
            let its: Vec<ConnId> = self.endpoint(place).group(class).conns.clone();
            for conn in its {
                self.end_connection(conns, conn);
            }
        }
    }
}
