//! An address of an upstream: its connections, its requests, and whether it is alive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use rustls::pki_types::ServerName;
use tidegate_ledger::{ClientKey, Rule, Shares};
use tidegate_net::{ConnId, Protocol};

use crate::health::{Fitness, Health};
use crate::ids::{OnBehalf, RequestId};
use crate::queue::{Client, Queue};
use crate::upstream::Address;

/// An address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    /// The name that its certificate must have; `None`: the upstream's.
    pub(crate) name: Option<ServerName<'static>>,
    pub(crate) standing: Standing,
    /// Its connections by class, and the requests that wait for one.
    pub(crate) groups: Groups,
    /// Requests at this address, including those that wait.
    pub(crate) outstanding: usize,
    /// Connections of all groups that take requests, or will once they are established.
    pub(crate) count: usize,
    /// How many places each client holds.
    pub(crate) places: Places,
    /// Groups that wait for a connection of another group to end, because the address has as many
    /// as it may have. The group that has waited longest is first.
    pub(crate) starved: VecDeque<Class>,
    /// The protocol, once it is known.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) health: Health,
}

/// Whether an address is listed for its upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Listed,
    /// Listed, but an operator wants no requests to go there.
    Drained,
    /// No longer listed. Requests in progress there go on, and new requests go elsewhere.
    Retired,
}

/// The purpose of a connection. Connections of one class to one address are interchangeable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    /// The only protocol that will do.
    pub(crate) only: Option<Protocol>,
    /// The only client that it is for.
    pub(crate) on_behalf: Option<OnBehalf>,
}

impl Class {
    /// Whether not just any connection will do.
    fn has_demands(self) -> bool {
        self.only.is_some() || self.on_behalf.is_some()
    }
}

/// The connections of one class to an address, and the requests that wait for one.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The connections, oldest first, including those that are being dialled.
    pub(crate) conns: Vec<ConnId>,
    /// How many of `conns` are being dialled.
    pub(crate) dialling: usize,
    /// How many of `conns` take no more requests. Others may be opened instead.
    pub(crate) ending: usize,
    /// HTTP/1.1 connections without a request, the one that was used last at the end. Some may
    /// take no more requests.
    pub(crate) free: Vec<ConnId>,
    /// The requests that wait for a place.
    pub(crate) waiting: Queue,
    /// Whether it is in [`Endpoint::starved`].
    pub(crate) is_starved: bool,
}

/// The groups of an address.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// The group of the class without demands, to which nearly all connections belong. Always
    /// there, perhaps empty.
    common: Group,
    others: FxHashMap<Class, Group>,
}

impl Groups {
    /// Returns the group of a class, if there is one.
    pub(crate) fn get(&self, class: Class) -> Option<&Group> {
        if class.has_demands() {
            self.others.get(&class)
        } else {
            Some(&self.common)
        }
    }

    /// Returns the group of a class, if there is one, to be changed.
    pub(crate) fn get_mut(&mut self, class: Class) -> Option<&mut Group> {
        if class.has_demands() {
            self.others.get_mut(&class)
        } else {
            Some(&mut self.common)
        }
    }

    /// Returns the group of a class, and makes it if there is none.
    fn of(&mut self, class: Class) -> &mut Group {
        if class.has_demands() {
            self.others.entry(class).or_default()
        } else {
            &mut self.common
        }
    }

    /// Returns the groups and their classes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Class, &Group)> {
        let others = self.others.iter().map(|(class, group)| (*class, group));
        std::iter::once((Class::default(), &self.common)).chain(others)
    }

    /// Whether there is more than one group with connections or requests.
    pub(crate) fn are_several(&self) -> bool {
        let in_use = self.others.len() + usize::from(!self.common.is_empty());
        in_use > 1
    }
}

/// How many places of an address each client holds: HTTP/1.1 connections and HTTP/2 streams.
#[derive(Debug)]
pub(crate) struct Places {
    http1: Shares<ClientKey>,
    http2: Shares<ClientKey>,
}

impl Places {
    fn new() -> Self {
        Self {
            http1: Shares::new(Rule::NONE),
            http2: Shares::new(Rule::NONE),
        }
    }

    fn of(&mut self, protocol: Protocol) -> &mut Shares<ClientKey> {
        match protocol {
            Protocol::Http1 => &mut self.http1,
            Protocol::Http2 => &mut self.http2,
        }
    }

    /// Sets how many places there are, and how many more for clients that hold none.
    pub(crate) fn set_capacity(
        &mut self,
        protocol: Protocol,
        capacity: usize,
        for_newcomers: usize,
    ) {
        let rule = Rule::new(capacity as u64);
        // One client alone leaves as much free. Otherwise the second client, the third and so on
        // would use up the rest, and leave nothing to a newcomer.
        let reserve = rule.reserve.max(rule.capacity / 8);
        let rule = rule
            .reserve(reserve, rule.floor)
            .overdraft(for_newcomers as u64);
        self.of(protocol).set_rule(rule);
    }

    /// Whether a client may have `more` places.
    pub(crate) fn allow(&mut self, protocol: Protocol, client: Client, more: usize) -> bool {
        client.is_none_or(|client| self.of(protocol).check(&client, more as u64).is_ok())
    }

    /// Whether a client may have one more once `taken` more than now are taken, `own` of them by
    /// this client.
    fn would_allow(
        &mut self,
        protocol: Protocol,
        client: Client,
        own: usize,
        taken: usize,
    ) -> bool {
        let shares = self.of(protocol);
        client.is_none_or(|client| {
            let held = shares.held(&client) + own as u64;
            let used = shares.used() + taken as u64;
            shares.rule().check(held, 1, used).is_ok()
        })
    }

    /// Returns how many places a client holds.
    pub(crate) fn held(&self, client: Client) -> u64 {
        client.map_or(0, |client| {
            self.http1.held(&client) + self.http2.held(&client)
        })
    }

    pub(crate) fn take(&mut self, protocol: Protocol, client: Client) {
        if let Some(client) = client {
            self.of(protocol).force(client, 1);
        }
    }

    pub(crate) fn give(&mut self, protocol: Protocol, client: Client) {
        if let Some(client) = client {
            self.of(protocol).give(&client, 1);
        }
    }
}

impl Group {
    /// Whether there are no connections, and no requests that wait.
    fn is_empty(&self) -> bool {
        self.conns.is_empty() && self.waiting.is_empty()
    }

    /// Returns how many connections take requests, or will once they are established.
    pub(crate) fn count(&self) -> usize {
        self.conns.len() - self.ending
    }
}

impl Endpoint {
    pub(crate) fn new(address: Address, protocol: Option<Protocol>, health: Health) -> Self {
        Self {
            addr: address.addr,
            name: address.name,
            standing: Standing::Listed,
            groups: Groups::default(),
            outstanding: 0,
            count: 0,
            places: Places::new(),
            starved: VecDeque::new(),
            protocol,
            health,
        }
    }

    /// Whether this is the endpoint of an address.
    pub(crate) fn is(&self, address: &Address) -> bool {
        self.addr == address.addr && self.name == address.name
    }

    /// Whether it has neither requests nor connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding == 0 && self.groups.iter().all(|(_, group)| group.is_empty())
    }

    /// Returns the group of a class.
    pub(crate) fn group(&mut self, class: Class) -> &mut Group {
        self.groups.of(class)
    }

    /// Returns the protocol of a class's connections, if it is known.
    pub(crate) fn protocol_of(&self, class: Class) -> Option<Protocol> {
        class.only.or(self.protocol)
    }

    /// Gives a client a place.
    pub(crate) fn take(&mut self, class: Class, protocol: Protocol, client: Client) {
        self.places.take(protocol, client);
        self.note_held(class, client);
    }

    /// Updates a queue with the number of places that a client holds, in case its requests wait
    /// there.
    pub(crate) fn note_held(&mut self, class: Class, client: Client) {
        if let Some(group) = self.groups.get_mut(class)
            && !group.waiting.is_empty()
        {
            group.waiting.note_held(client, self.places.held(client));
        }
    }

    /// Whether the waiting requests could use one more HTTP/1.1 connection than is being dialled.
    /// Requests couldn't whose clients have their share.
    pub(crate) fn needs_http1(&mut self, class: Class) -> bool {
        let group = self.groups.of(class);
        let (waiting, dialling) = (&group.waiting, group.dialling);
        let Some((_, client)) = waiting.first() else {
            return false;
        };
        // The connections that are being dialled go to clients without a place first, one each, and
        // then to all clients in turn.
        let own = if dialling < waiting.newcomers() {
            0
        } else {
            (dialling / waiting.clients()).max(usize::from(dialling > 0))
        };
        waiting.len() > dialling
            && self
                .places
                .would_allow(Protocol::Http1, client, own, dialling)
    }

    /// Forgets a group that is empty.
    pub(crate) fn tidy(&mut self, class: Class) {
        let group = self.groups.others.get(&class);
        if group.is_some_and(Group::is_empty) {
            self.groups.others.remove(&class);
        }
    }

    /// Notes that a group waits for a connection of another group to end.
    pub(crate) fn starve(&mut self, class: Class) {
        if !std::mem::replace(&mut self.group(class).is_starved, true) {
            self.starved.push_back(class);
        }
    }

    /// Returns the starved group that has waited longest.
    pub(crate) fn first_starved(&mut self) -> Option<Class> {
        while let Some(class) = self.starved.front().copied() {
            match self.groups.get(class) {
                Some(group) if !group.waiting.is_empty() => return Some(class),
                _ => self.feed_first(),
            }
        }
        None
    }

    /// Notes that the group that has waited longest got a connection.
    pub(crate) fn feed_first(&mut self) {
        let class = self.starved.pop_front();
        if let Some(group) = class.and_then(|class| self.groups.get_mut(class)) {
            group.is_starved = false;
        }
    }

    /// Returns how good a choice the address is for a request; less is better.
    pub(crate) fn rank(&self, now: Instant) -> (Fitness, usize) {
        let outstanding = if self.health.awaits_trial(now) {
            0
        } else {
            self.outstanding
        };
        (self.health.fitness_for_another(now), outstanding)
    }

    /// Counts a request at this address.
    pub(crate) fn count(&mut self, id: RequestId, now: Instant) {
        self.outstanding += 1;
        self.health.count(id, now);
    }

    /// Counts a request that leaves this address.
    pub(crate) fn uncount(&mut self, id: RequestId) {
        self.outstanding -= 1;
        self.health.uncount(id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Pauses;

    #[test]
    fn a_request_from_before_the_failure_is_no_trial() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(
            SocketAddr::from(([127, 0, 0, 1], 80)).into(),
            None,
            Health::new(Duration::ZERO),
        );
        endpoint.count(RequestId::for_tests(1), now);
        let pause = Duration::from_millis(100);
        let pauses = Pauses {
            first: pause,
            most: pause,
        };
        endpoint.health.connect_failed(now, pauses);
        assert_eq!(endpoint.rank(now + pause), (Fitness::Alive, 0));
    }

    #[test]
    fn connections_for_a_client_are_forgotten_when_there_are_none() {
        let mut endpoint = Endpoint::new(
            SocketAddr::from(([127, 0, 0, 1], 80)).into(),
            None,
            Health::new(Duration::ZERO),
        );
        let client = ([203, 0, 113, 1], 4711).into();
        let class = Class {
            only: None,
            on_behalf: Some((client, ([198, 51, 100, 9], 443).into())),
        };
        endpoint.group(class);
        endpoint.group(Class::default());
        endpoint.tidy(class);
        assert!(endpoint.groups.get(class).is_none() && endpoint.groups.others.is_empty());
    }
}
