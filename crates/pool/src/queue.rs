//! Requests that wait for a place, fair between clients: next is the one whose client holds the fewest places there, and among those
//! that hold as many, clients take turns. A client's own requests are in order.
//!
//! Entering, leaving and being next take a time that grows with the logarithm of the number of clients, and not with that of
//! requests: a thousand that are given up at once cost a thousand times as much as one.

use std::collections::{BTreeMap, BTreeSet};

use slab::Slab;
use tidegate_ledger::ClientKey;

use crate::pool::RequestId;

/// Whom a request is for; `None`: for its owner, who has no share.
pub(crate) type Client = Option<ClientKey>;

/// Where a request waits in a [`Queue`]. Of no use once it has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// Requests that wait.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Slab<Entry>,
    /// The clients that wait.
    lines: BTreeMap<Client, Line>,
    /// They again, the next one in front.
    order: BTreeSet<(Rank, Client)>,
    /// How many of them hold no place.
    newcomers: usize,
    /// Goes up each time a client has had its turn.
    turns: u64,
}

/// A request, in the list of its client's.
#[derive(Debug)]
struct Entry {
    request: RequestId,
    client: Client,
    before: Option<usize>,
    after: Option<usize>,
}

/// The requests of a client: the first and the last entry.
#[derive(Debug)]
struct Line {
    first: usize,
    last: usize,
    rank: Rank,
}

/// Which client is next: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Places that it holds.
    held: u64,
    turn: u64,
}

impl Queue {
    /// Requests that wait.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Clients that wait.
    pub(crate) fn clients(&self) -> usize {
        self.lines.len()
    }

    /// Clients that wait and hold no place.
    pub(crate) fn newcomers(&self) -> usize {
        self.newcomers
    }

    /// Puts a request behind all of its client's, who holds so many places.
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

    /// Puts a request in front of all of its client's, and of those of others that hold as many places: it was next.
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

    /// The line of a client, in which there is this entry at least.
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

    /// The request that is next, and its client.
    pub(crate) fn first(&self) -> Option<(RequestId, Client)> {
        let (_, client) = self.order.first()?;
        let entry = self.entries.get(self.lines.get(client)?.first)?;
        Some((entry.request, *client))
    }

    /// Takes the request that is next. Its client has had its turn.
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

    /// Takes a request out that is next or not.
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
            // A burst is over.
            self.entries.shrink_to_fit();
        }
    }

    /// A client, that may wait here, holds so many places now.
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

    /// Takes all that are next.
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
