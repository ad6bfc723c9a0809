//! The addresses of an upstream, which may change: names are looked up again.

use log::info;
use tidegate_net::{ConnId, Conns, Protocol};

use super::{Place, Pool};
use crate::endpoint::{Class, Endpoint, Standing};
use crate::event::Failure;
use crate::health::Health;
use crate::upstream::{Address, Security, UpstreamId};

impl<K: Copy> Pool<K> {
    /// Changes where an upstream is. What is in progress at an address that is left out goes on; requests that wait there go
    /// elsewhere.
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

    /// Has an endpoint for each address of an upstream, and marks those that have none any more.
    pub(super) fn list_addresses(&mut self, upstream: usize) {
        let request_timeout = self.options.request_timeout;
        let Some(state) = self.upstreams.get_mut(upstream) else {
            return;
        };
        let protocol = match state.upstream.security {
            Security::Http1 => Some(Protocol::Http1),
            Security::H2c => Some(Protocol::Http2),
            Security::Tls { .. } => None,
        };
        for endpoint in &mut state.endpoints {
            let mut listed = state.upstream.addresses.iter();
            endpoint.standing = match listed.any(|address| endpoint.is(address)) {
                true => Standing::Listed,
                false => Standing::Retired,
            };
        }
        for address in &state.upstream.addresses {
            if state.endpoints.iter().any(|endpoint| endpoint.is(address)) {
                continue;
            }
            let health = Health::new(request_timeout);
            let made = Endpoint::new(address.clone(), protocol, health);
            // The number of those that were ever listed may grow without end.
            let mut places = state.endpoints.iter_mut();
            match places.find(|old| old.standing == Standing::Retired && old.is_empty()) {
                Some(old) => *old = made,
                None => state.endpoints.push(made),
            }
        }
        self.set_capacities(upstream);
    }

    /// An address is its upstream's no longer.
    fn retire(&mut self, conns: &mut Conns, place: Place) {
        let name = self.name(place);
        let endpoint = self.endpoint(place);
        if endpoint.is_empty() {
            return;
        }
        info!("upstream {name}: {} is left", endpoint.addr);
        let classes: Vec<Class> = endpoint.groups.keys().copied().collect();
        for class in classes {
            self.leave(conns, place, class, |_| Some(Failure::NoAddress));
            let its: Vec<ConnId> = self.endpoint(place).group(class).conns.clone();
            for conn in its {
                self.end_connection(conns, conn);
            }
        }
    }
}
