//! Addresses that an operator takes out of use for a while.

use std::net::SocketAddr;

use tidegate_net::Conns;

use super::Pool;
use crate::endpoint::Standing;
use crate::ids::Place;

impl<K: Copy> Pool<K> {
    /// Takes an address out of use, at all upstreams that have it, until [`Pool::restore`].
    /// Requests in progress there go on; those that wait there, and new ones, go to other
    /// addresses, or fail if there are none. Returns whether the address was in use.
    pub fn drain(&mut self, conns: &mut Conns, addr: SocketAddr) -> bool {
        let places = self.places_of(addr, Standing::Listed);
        for place in &places {
            self.endpoint(*place).standing = Standing::Drained;
            self.retire(conns, *place);
        }
        !places.is_empty()
    }

    /// Takes an address into use again. Returns whether it was out of use.
    pub fn restore(&mut self, addr: SocketAddr) -> bool {
        let places = self.places_of(addr, Standing::Drained);
        for place in &places {
            self.endpoint(*place).standing = Standing::Listed;
        }
        !places.is_empty()
    }

    fn places_of(&self, addr: SocketAddr, standing: Standing) -> Vec<Place> {
        let mut places = Vec::new();
        for (upstream, state) in self.upstreams.iter().enumerate() {
            for (endpoint, its) in state.endpoints.iter().enumerate() {
                if its.addr == addr && its.standing == standing {
                    places.push(Place { upstream, endpoint });
                }
            }
        }
        places
    }
}
