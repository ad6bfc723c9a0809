//! A queue of requests that wait for a place, fair between clients. The client that holds the
//! fewest places is next; clients that hold equally many take turns. The requests of one client
//! stay in order.
//!
//! The time to enter, to leave and to find the next request grows with the logarithm of the number
//! of clients, and not with the number of requests. So giving up a thousand requests at once costs
//! a thousand times as much as giving up one.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;
use tidegate_ledger::ClientKey;

use crate::ids::RequestId;

/// The client that a request is for; `None`: the pool's owner, which has no limits.
pub(crate) type Client = Option<ClientKey>;

/// The position of a request in a [`Queue`], valid until the request leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// A queue of requests.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Slab<Entry>,
    /// The waiting clients.
    lines: BTreeMap<Client, Line>,
    /// The waiting clients, the next one first.
    order: BTreeSet<(Rank, Client)>,
    /// How many waiting clients hold no place.
    newcomers: usize,
    /// Goes up each time a client has had its turn.
    turns: u64,
}

/// A request, in the linked list of its client's requests.
#[derive(Debug)]
struct Entry {
    request: RequestId,
    client: Client,
    before: Option<usize>,
    after: Option<usize>,
}

/// The list of a client's requests: its first and its last entry.
#[derive(Debug)]
struct Line {
    first: usize,
    last: usize,
    rank: Rank,
}

/// The key by which clients are ordered; the least is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Places that the client holds.
    held: u64,
    turn: u64,
}

impl Queue {
    /// Returns the number of requests.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the number of clients.
    pub(crate) fn clients(&self) -> usize {
        self.lines.len()
    }

    /// Returns the number of clients that hold no place.
    pub(crate) fn newcomers(&self) -> usize {
        self.newcomers
    }

    /// Adds a request after all others of its client, which holds `held` places.
    pub(crate) fn push_back(&mut self, request: RequestId, client: Client, held: u64) -> Ticket {
        let before = self.lines.get(&client).map(|line| line.last);
        let at = self.entries.insert(Entry {
            request,
            client,
            before,
            after: None,
        });
        if let Some(entry) = before.and_then(|before| self.entries.get_mut(before)) {
            entry.after = Some(at);
        }
        self.line(client, at, held).last = at;
        Ticket(at)
    }

    /// Puts a request back that was next: before all others of its client, and before those of
    /// clients that hold as many places.
    pub(crate) fn push_front(&mut self, request: RequestId, client: Client, held: u64) -> Ticket {
        let after = self.lines.get(&client).map(|line| line.first);
        let at = self.entries.insert(Entry {
            request,
            client,
            before: None,
            after,
        });
        if let Some(entry) = after.and_then(|after| self.entries.get_mut(after)) {
            entry.before = Some(at);
        }
        self.line(client, at, held).first = at;
        self.rank(client, Rank { held, turn: 0 });
        Ticket(at)
    }

    /// Returns the line of a client, which has at least the entry `at`.
    fn line(&mut self, client: Client, at: usize, held: u64) -> &mut Line {
        let turn = self.turns;
        self.lines.entry(client).or_insert_with(|| {
            let rank = Rank { held, turn };
            self.order.insert((rank, client));
            self.newcomers += usize::from(held == 0);
            Line {
                first: at,
                last: at,
                rank,
            }
        })
    }

    fn rank(&mut self, client: Client, rank: Rank) {
        if let Some(line) = self.lines.get_mut(&client)
            && line.rank != rank
        {
            self.order.remove(&(line.rank, client));
            self.newcomers -= usize::from(line.rank.held == 0);
            self.newcomers += usize::from(rank.held == 0);
            line.rank = rank;
            self.order.insert((rank, client));
        }
    }

    /// Returns the next request and its client.
    pub(crate) fn first(&self) -> Option<(RequestId, Client)> {
        let (_, client) = self.order.first()?;
        let entry = self.entries.get(self.lines.get(client)?.first)?;
        Some((entry.request, *client))
    }

    /// Takes the next request out. Its client has had its turn.
    pub(crate) fn pop(&mut self) -> Option<RequestId> {
        let (rank, client) = *self.order.first()?;
        let first = self.lines.get(&client)?.first;
        let request = self.entries.get(first)?.request;
        self.turns += 1;
        let turn = self.turns;
        self.remove(Ticket(first));
        self.rank(client, Rank { turn, ..rank });
        Some(request)
    }

    /// Takes any request out.
    pub(crate) fn remove(&mut self, Ticket(at): Ticket) {
        let Some(Entry {
            client,
            before,
            after,
            ..
        }) = self.entries.try_remove(at)
        else {
            return;
        };
        if let Some(entry) = before.and_then(|before| self.entries.get_mut(before)) {
            entry.after = after;
        }
        if let Some(entry) = after.and_then(|after| self.entries.get_mut(after)) {
            entry.before = before;
        }
        let Some(line) = self.lines.get_mut(&client) else {
            return;
        };
        match (before, after) {
            (None, None) => {
                self.order.remove(&(line.rank, client));
                self.newcomers -= usize::from(line.rank.held == 0);
                self.lines.remove(&client);
            }
            (None, Some(after)) => line.first = after,
            (Some(before), None) => line.last = before,
            (Some(_), Some(_)) => {}
        }
        if self.entries.is_empty() {
            // A burst is over, so its memory is freed.
            self.entries.shrink_to_fit();
        }
    }

    /// Notes that a client holds `held` places now, in case it waits here.
    pub(crate) fn note_held(&mut self, client: Client, held: u64) {
        if let Some(line) = self.lines.get(&client) {
            let rank = Rank { held, ..line.rank };
            self.rank(client, rank);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn client(number: u8) -> Client {
        Some(ClientKey::from(IpAddr::from([192, 0, 2, number])))
    }

    fn request(number: u32) -> RequestId {
        RequestId::for_tests(number)
    }

    /// Takes all requests out, in turn.
    fn all(queue: &mut Queue) -> Vec<RequestId> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn clients_take_turns() {
        let mut queue = Queue::default();
        for number in 0..5 {
            queue.push_back(request(number), client(1), 0);
        }
        queue.push_back(request(10), client(2), 0);
        queue.push_back(request(11), client(2), 0);
        queue.push_back(request(20), client(3), 0);
        assert_eq!(queue.len(), 8);
        let expected = [0, 10, 20, 1, 11, 2, 3, 4].map(request);
        assert_eq!(all(&mut queue), expected);
        assert!(queue.is_empty() && queue.first().is_none());
    }

    #[test]
    fn who_holds_less_is_next() {
        let mut queue = Queue::default();
        for number in 0..3 {
            queue.push_back(request(number), client(1), 7);
        }
        queue.push_back(request(10), client(2), 0);
        assert_eq!(queue.first(), Some((request(10), client(2))));
        assert_eq!(queue.pop(), Some(request(10)));
        queue.push_back(request(11), client(2), 1);
        assert_eq!(queue.pop(), Some(request(11)));
        // What the first held has become free.
        queue.push_back(request(12), client(2), 2);
        queue.note_held(client(1), 1);
        queue.note_held(client(3), 0);
        assert_eq!(all(&mut queue), [0, 1, 2, 12].map(request));
    }

    #[test]
    fn who_was_next_and_got_nothing_is_next_again() {
        let mut queue = Queue::default();
        queue.push_back(request(1), client(1), 0);
        queue.push_back(request(2), client(2), 0);
        assert_eq!(queue.pop(), Some(request(1)));
        queue.push_front(request(1), client(1), 0);
        queue.push_back(request(3), client(1), 0);
        assert_eq!(all(&mut queue), [1, 2, 3].map(request));
    }

    #[test]
    fn any_of_them_may_leave() {
        let mut queue = Queue::default();
        let tickets: Vec<Ticket> = (0..6)
            .map(|number| queue.push_back(request(number), client(number as u8 / 3), 0))
            .collect();
        for at in [0, 2, 4] {
            queue.remove(tickets[at]);
        }
        assert_eq!(queue.len(), 3);
        assert_eq!(all(&mut queue), [1, 3, 5].map(request));
        let only = queue.push_back(request(9), None, 0);
        queue.remove(only);
        assert!(queue.is_empty() && queue.pop().is_none());
        assert!(queue.lines.is_empty() && queue.order.is_empty());
    }
}
