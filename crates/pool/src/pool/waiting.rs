//! The requests in the queue of an address.

use smallvec::SmallVec;
use tidegate_net::Conns;

use super::Pool;
use super::placing::lacks_credit;
use super::request::{Life, Request};
use crate::endpoint::Class;
use crate::event::Failure;
use crate::ids::{Place, RequestId};

/// Requests that one pass over a queue may set aside because they need a particular connection,
/// such as one that they haven't been on.
const MAX_PARTICULAR: usize = 16;

/// An end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QueueEnd {
    Front,
    Back,
}

impl<K: Copy> Pool<K> {
    /// Has a request wait for a connection of its address. Fails it if its client has its share of
    /// waiting requests.
    pub(super) fn wait(&mut self, conns: &mut Conns, id: RequestId) {
        let Some(request) = self.find(id) else {
            return;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        if let Some(client) = client
            && self.waiting.take(client, 1).is_err()
        {
            return self.fail(id, Failure::QueueFull, conns.now());
        }
        self.enqueue(id, QueueEnd::Back);
        self.dial_if_due(conns, place, class);
    }

    /// Puts a request in the queue of its address.
    fn enqueue(&mut self, id: RequestId, end: QueueEnd) {
        let Some(request) = self.requests.get_mut(id.slot as usize) else {
            return;
        };
        let Place { upstream, endpoint } = request.place;
        let endpoint = &mut self.upstreams[upstream].endpoints[endpoint];
        let held = endpoint.places.held(request.client());
        let waiting = &mut endpoint.group(request.class).waiting;
        request.life = Life::Waiting(match end {
            QueueEnd::Front => waiting.push_front(id, request.client(), held),
            QueueEnd::Back => waiting.push_back(id, request.client(), held),
        });
    }

    /// Whether a request's client may have one more place of its address.
    pub(super) fn has_share(&mut self, id: RequestId) -> bool {
        let Some(request) = self.find(id) else {
            return false;
        };
        let (place, class, client) = (request.place, request.class, request.client());
        let endpoint = self.endpoint(place);
        // Until the protocol is known, no client holds anything.
        let protocol = endpoint.protocol_of(class);
        protocol.is_none_or(|protocol| endpoint.places.allow(protocol, client, 1))
    }

    /// Puts as many waiting requests on connections as there are places, and opens connections for
    /// the others.
    pub(super) fn serve_waiting(&mut self, conns: &mut Conns, place: Place, class: Class) {
        let mut particular = SmallVec::<[RequestId; MAX_PARTICULAR]>::new();
        while let Some(id) = self.next_waiting(place, class) {
            if self.assign(conns, id) {
                continue;
            }
            let has_share = self.has_share(id);
            let Some(request) = self.find(id) else {
                continue;
            };
            if request.class != class {
                // It has turned out to need another class of connection.
                self.wait(conns, id);
                continue;
            }
            let has_body = request.has_body();
            let has_wish =
                request.head.protocol().is_some() || request.retries.refused_by.is_some();
            let is_particular = has_wish || (has_body && self.holds_bodies_up(conns, place, class));
            if !has_share || !is_particular || particular.len() == MAX_PARTICULAR {
                // The requests after it need the same, and their clients hold no less.
                self.requeue(id, QueueEnd::Front);
                break;
            }
            particular.push(id);
        }
        // Others may be served first; it will be their turn again.
        for id in particular {
            self.requeue(id, QueueEnd::Back);
        }
        self.dial_if_due(conns, place, class);
    }

    /// Whether a connection has no window left for bodies. Walks over the class's connections.
    fn holds_bodies_up(&self, conns: &Conns, place: Place, class: Class) -> bool {
        self.usable(place, class)
            .any(|(conn, _)| conns.engine_ref(conn).is_some_and(lacks_credit))
    }

    /// Takes the next request out of a queue.
    fn next_waiting(&mut self, place: Place, class: Class) -> Option<RequestId> {
        let id = self.endpoint(place).group(class).waiting.pop()?;
        let request = self.find(id)?;
        request.life = Life::Placed;
        let client = request.client();
        self.leave_queue(client);
        Some(id)
    }

    /// Puts a request back that was next and found no place.
    fn requeue(&mut self, id: RequestId, end: QueueEnd) {
        let client = self.find(id).and_then(|request| request.client());
        if let Some(client) = client {
            self.waiting.force(client, 1);
        }
        self.enqueue(id, end);
    }

    /// Removes those requests from a queue for which `why` returns a failure. They go to another
    /// address, or fail if there is none.
    pub(super) fn turn_away(
        &mut self,
        conns: &mut Conns,
        place: Place,
        class: Class,
        why: impl Fn(&Request<K>) -> Option<Failure>,
    ) {
        // Requests that come back to this queue meanwhile aren't asked again.
        let count = self.endpoint(place).group(class).waiting.len();
        let mut staying = Vec::new();
        for _ in 0..count {
            let Some(id) = self.next_waiting(place, class) else {
                break;
            };
            let Some(request) = self.find(id) else {
                continue;
            };
            if let Some(failure) = why(request) {
                request.retries.failed.push(place.endpoint);
                self.leave_address(id);
                self.place(conns, id, failure);
            } else {
                staying.push(id);
            }
        }
        for id in staying {
            self.requeue(id, QueueEnd::Back);
        }
    }
}
