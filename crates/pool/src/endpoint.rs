//! One address of an upstream: its connections, what it has to do, and whether it is alive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;
use rustls::pki_types::ServerName;
use tidegate_ledger::{ClientKey, Rule, Shares};
use tidegate_net::{ConnId, Protocol};

use crate::health::{Fitness, Health};
use crate::pool::{OnBehalf, RequestId};
use crate::queue::{Client, Queue};
use crate::upstream::Address;

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    /// The name that its certificate must be for; `None`: the upstream's.
    pub(crate) name: Option<ServerName<'static>>,
    pub(crate) standing: Standing,
    /// Its connections, by what they are for.
    pub(crate) groups: FxHashMap<Class, Group>,
    /// Requests that are here, waiting ones too.
    pub(crate) outstanding: usize,
    /// Connections of all groups that take requests, or will take some.
    pub(crate) count: usize,
    /// Which clients hold its places.
    pub(crate) places: Places,
    /// Groups whose requests wait for a connection, which may only be opened when another group has one less. The one that has waited
    /// longest is in front.
    pub(crate) starved: VecDeque<Class>,
    /// What it speaks, once that is known.
    pub(crate) protocol: Option<Protocol>,
    pub(crate) health: Health,
}

/// Whether an address is still one of its upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Listed,
    /// It was. What is in progress there goes on, and nothing new goes there.
    Retired,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Class {
    /// It is to speak just this.
    pub(crate) only: Option<Protocol>,
    /// It is for this client only.
    pub(crate) on_behalf: Option<OnBehalf>,
}

/// Connections to one address that are as good as each other, and who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The connections, oldest first, those that are being dialled too.
    pub(crate) conns: Vec<ConnId>,
    /// How many of them are being dialled.
    pub(crate) dialling: usize,
    /// How many of them take no more requests, and are no hindrance to others.
    pub(crate) ending: usize,
    /// Connections of HTTP/1.1 without a request, the one that was used last behind. Some may be gone.
    pub(crate) free: Vec<ConnId>,
    /// Requests that wait for a place.
    pub(crate) waiting: Queue,
    /// It is one of those that are starved.
    pub(crate) is_starved: bool,
}

/// Which clients hold the places of an address: connections of HTTP/1.1, streams of HTTP/2.
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
        // As much as one client leaves free. Else those that come second, third and so on, each with one, would leave none.
        let reserve = rule.reserve.max(rule.capacity / 8);
        let rule = rule
            .reserve(reserve, rule.floor)
            .overdraft(for_newcomers as u64);
        self.of(protocol).set_rule(rule);
    }

    /// Whether a client may have so many more.
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

    /// How many a client holds.
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
    /// Whether there are no connections, and nobody waits for one.
    fn is_empty(&self) -> bool {
        self.conns.is_empty() && self.waiting.is_empty()
    }

    /// How many take requests, or will take some.
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
            groups: FxHashMap::default(),
            outstanding: 0,
            count: 0,
            places: Places::new(),
            starved: VecDeque::new(),
            protocol,
            health,
        }
    }

    /// Whether this is what is meant by an address.
    pub(crate) fn is(&self, address: &Address) -> bool {
        self.addr == address.addr && self.name == address.name
    }

    /// Whether nothing is left of what it had to do.
    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding == 0 && self.groups.values().all(Group::is_empty)
    }

    /// The connections for this, and who waits for one.
    pub(crate) fn group(&mut self, class: Class) -> &mut Group {
        self.groups.entry(class).or_default()
    }

    /// What a connection for this will speak, if that is known.
    pub(crate) fn protocol_of(&self, class: Class) -> Option<Protocol> {
        class.only.or(self.protocol)
    }

    /// Gives a client a place.
    pub(crate) fn take(&mut self, class: Class, protocol: Protocol, client: Client) {
        self.places.take(protocol, client);
        self.note_held(class, client);
    }

    /// Tells a queue how many places a client holds now, in case it has more requests there.
    pub(crate) fn note_held(&mut self, class: Class, client: Client) {
        if let Some(group) = self.groups.get_mut(&class)
            && !group.waiting.is_empty()
        {
            group.waiting.note_held(client, self.places.held(client));
        }
    }

    /// Whether requests wait that could use one more connection of HTTP/1.1 than are being dialled.
    /// A waiting request whose client has no share couldn't.
    pub(crate) fn needs_http1(&mut self, class: Class) -> bool {
        let group = self.groups.entry(class).or_default();
        let (waiting, dialling) = (&group.waiting, group.dialling);
        let Some((_, client)) = waiting.first() else {
            return false;
        };
        // Clients without a place are first. The connections being dialled go to them, one each, and
        // then to all clients in turn.
        let own = if dialling < waiting.newcomers() {
            0
        } else {
            (dialling / waiting.clients()).max(1)
        };
        waiting.len() > dialling
            && self
                .places
                .would_allow(Protocol::Http1, client, own, dialling)
    }

    /// Forgets the connections for a client, when there are none any more.
    pub(crate) fn tidy(&mut self, class: Class) {
        let group = self.groups.get(&class);
        if group.is_some_and(Group::is_empty) {
            self.groups.remove(&class);
        }
    }

    /// A group waits for one of the connections that other groups have.
    pub(crate) fn starve(&mut self, class: Class) {
        if !std::mem::replace(&mut self.group(class).is_starved, true) {
            self.starved.push_back(class);
        }
    }

    /// The group that has waited longest for one of the connections that others have.
    pub(crate) fn first_starved(&mut self) -> Option<Class> {
        while let Some(class) = self.starved.front().copied() {
            match self.groups.get(&class) {
                Some(group) if !group.waiting.is_empty() => return Some(class),
                _ => self.feed_first(),
            }
        }
        None
    }

    /// That group has what it wanted.
    pub(crate) fn feed_first(&mut self) {
        let class = self.starved.pop_front();
        if let Some(group) = class.and_then(|class| self.groups.get_mut(&class)) {
            group.is_starved = false;
        }
    }

    /// How good a choice it is: the less, the better.
    pub(crate) fn rank(&self, now: Instant) -> (Fitness, usize) {
        let outstanding = match self.health.awaits_trial(now) {
            true => 0,
            false => self.outstanding,
        };
        (self.health.fitness_for_another(now), outstanding)
    }

    /// One more request is here.
    pub(crate) fn count(&mut self, id: RequestId, now: Instant) {
        self.outstanding += 1;
        self.health.count(id, now);
    }

    /// A request is here no longer.
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
    fn what_has_been_there_for_long_is_no_trial() {
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
        assert!(!endpoint.groups.contains_key(&class) && endpoint.groups.len() == 1);
    }
}
