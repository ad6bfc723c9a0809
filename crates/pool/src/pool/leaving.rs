//! Requests that leave their address, the queue or the pool.

use tidegate_net::Protocol;

use super::Pool;
use super::request::{Life, Request, Sent};
use crate::endpoint::Class;
use crate::ids::{Place, RequestId};
use crate::queue::Client;

/// Leaving a place.
impl<K: Copy> Pool<K> {
    /// Forgets a request.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request<K>> {
        self.leave_address(id);
        self.find(id)?;
        self.requests.try_remove(id.slot as usize)
    }

    /// Takes a request out of its queue or stream, and its address.
    pub(super) fn leave_address(&mut self, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        match std::mem::replace(&mut request.life, Life::Unplaced) {
            Life::Unplaced | Life::Collecting => return,
            Life::Placed => {}
            Life::Waiting(ticket) => {
                self.endpoint(place).group(class).waiting.remove(ticket);
                self.leave_queue(client);
            }
            Life::Sent(Sent { conn, protocol, .. }) => {
                // A connection that ends, or is gone, has given its places back.
                let pooled = self.conns.get(&conn);
                if pooled.is_some_and(|pooled| !pooled.is_ending()) {
                    self.give_place(place, class, protocol, client);
                }
            }
        }
        self.endpoint(place).uncount(id);
    }

    /// Gives back the places of requests that go on without.
    pub(super) fn give_places(&mut self, requests: impl IntoIterator<Item = RequestId>) {
        for id in requests {
            let Some(request) = self.find(id) else {
                continue;
            };
            let (place, class, client) = (request.place, request.class, request.client());
            if let Some(protocol) = request.protocol() {
                self.give_place(place, class, protocol, client);
            }
        }
    }

    /// Gives back a place of a client, whose waiting requests may get one sooner then.
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

    /// Notes that a request of a client no longer waits.
    pub(super) fn leave_queue(&mut self, client: Client) {
        if let Some(client) = client {
            self.waiting.give(&client, 1);
        }
    }
}
