//! One address of an upstream: its connections, what it has to do, and whether it is alive.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_net::{ConnId, Protocol};

use crate::pool::{OnBehalf, RequestId};

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) addr: SocketAddr,
    /// Its connections, by what they are for.
    pub(crate) groups: FxHashMap<Class, Group>,
    /// Requests that are here, waiting ones too.
    pub(crate) outstanding: usize,
    /// What it speaks, once that is known.
    pub(crate) protocol: Option<Protocol>,
    health: Health,
    /// Where it has connections, that another one didn't come about says nothing about those.
    dials: Backoff,
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
    pub(crate) waiting: VecDeque<RequestId>,
}

impl Group {
    /// How many take requests, or will take some.
    pub(crate) fn count(&self) -> usize {
        self.conns.len() - self.ending
    }
}

/// Whether an address is alive, by what came of the requests that went there.
#[derive(Debug, Default)]
struct Health {
    /// Meanwhile it gets nothing to do.
    down: Backoff,
    /// Requests in a row that were taken and not answered.
    faults: u32,
    /// The request by which it is tried again.
    trial: Option<RequestId>,
}

/// For how long something that has failed is left alone: twice as long each time.
#[derive(Debug, Default)]
struct Backoff {
    /// Failures in a row.
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    fn failed(&mut self, now: Instant, first: Duration, most: Duration) {
        // What was under way meets with the same, and says nothing new.
        if self.until.is_some_and(|until| until > now) {
            return;
        }
        let factor = 1 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + first.saturating_mul(factor).min(most));
    }
}

/// How an address is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// Nothing speaks against it.
    Alive,
    /// It has failed, and it is time to try it again.
    OnTrial,
    /// It has failed a moment ago.
    Down,
}

impl Endpoint {
    pub(crate) fn new(addr: SocketAddr, protocol: Option<Protocol>) -> Self {
        Self {
            addr,
            groups: FxHashMap::default(),
            outstanding: 0,
            protocol,
            health: Health::default(),
            dials: Backoff::default(),
        }
    }

    /// The connections for this, and who waits for one.
    pub(crate) fn group(&mut self, class: Class) -> &mut Group {
        self.groups.entry(class).or_default()
    }

    /// What a connection for this will speak, if that is known.
    pub(crate) fn protocol_of(&self, class: Class) -> Option<Protocol> {
        class.only.or(self.protocol)
    }

    /// Forgets the connections for a client, when there are none any more.
    pub(crate) fn tidy(&mut self, class: Class) {
        let group = self.groups.get(&class);
        if group.is_some_and(|group| group.conns.is_empty() && group.waiting.is_empty()) {
            self.groups.remove(&class);
        }
    }

    pub(crate) fn fitness(&self, now: Instant) -> Fitness {
        match self.health.down.until {
            Some(until) if until > now => Fitness::Down,
            Some(_) => Fitness::OnTrial,
            None => Fitness::Alive,
        }
    }

    /// How good a choice it is: the less, the better. On trial it is as good as any for one request, so that it isn't forgotten; the
    /// others wait for what comes of that, unless there is nothing else.
    pub(crate) fn rank(&self, now: Instant) -> (Fitness, usize) {
        match self.fitness(now) {
            Fitness::OnTrial if self.health.trial.is_none() => (Fitness::Alive, 0),
            fitness => (fitness, self.outstanding),
        }
    }

    /// One more request is here.
    pub(crate) fn count(&mut self, id: RequestId, now: Instant) {
        self.outstanding += 1;
        if self.fitness(now) == Fitness::OnTrial {
            self.health.trial.get_or_insert(id);
        }
    }

    /// One is here no more.
    pub(crate) fn uncount(&mut self, id: RequestId) {
        self.outstanding -= 1;
        self.health.trial.take_if(|trial| *trial == id);
    }

    /// It has answered.
    pub(crate) fn succeeded(&mut self) {
        self.health = Health::default();
    }

    /// It can't be connected to, or doesn't answer: it is left alone for `backoff`, twice as long each time, up to `most`.
    pub(crate) fn failed(&mut self, now: Instant, backoff: Duration, most: Duration) {
        self.health.faults = 0;
        self.health.down.failed(now, backoff, most);
    }

    /// Another connection didn't come about, but there are some: no more are tried for `backoff`, twice as long each time, up to
    /// `most`.
    pub(crate) fn dial_failed(&mut self, now: Instant, backoff: Duration, most: Duration) {
        self.dials.failed(now, backoff, most);
    }

    /// A connection has come about.
    pub(crate) fn connected(&mut self) {
        self.dials = Backoff::default();
    }

    /// Whether a connection may be opened, where there are some or none.
    pub(crate) fn may_be_dialled(&self, now: Instant, are_some: bool) -> bool {
        let pauses = self.dials.until.is_some_and(|until| until > now);
        !(pauses && are_some) && self.fitness(now) != Fitness::Down
    }

    /// It took a request and didn't answer properly. Returns whether that is once too often.
    pub(crate) fn is_at_fault(&mut self, max_faults: u32) -> bool {
        self.health.faults += 1;
        self.health.faults >= max_faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_again_is_left_alone_for_longer() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
        assert_eq!(endpoint.fitness(now), Fitness::Alive);
        let (first, most) = (Duration::from_millis(100), Duration::from_millis(350));
        let mut now = now;
        for millis in [100, 200, 350, 350] {
            endpoint.failed(now, first, most);
            // What fails meanwhile was under way.
            endpoint.failed(now + first / 2, first, most);
            let until = now + Duration::from_millis(millis);
            assert_eq!(endpoint.fitness(until - first / 100), Fitness::Down);
            assert_eq!(endpoint.fitness(until), Fitness::OnTrial);
            now = until;
        }
        for _ in 0..1000 {
            endpoint.failed(now, first, most);
        }
        endpoint.succeeded();
        assert_eq!(endpoint.fitness(now), Fitness::Alive);
    }

    #[test]
    fn on_trial_it_is_as_good_as_any_for_one_request() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
        let backoff = Duration::from_millis(100);
        endpoint.failed(now, backoff, backoff);
        assert_eq!(endpoint.rank(now).0, Fitness::Down);
        let then = now + backoff;
        assert_eq!(endpoint.rank(then), (Fitness::Alive, 0));
        let [first, second] = [1, 2].map(RequestId::for_tests);
        endpoint.count(first, then);
        assert_eq!(endpoint.rank(then), (Fitness::OnTrial, 1));
        endpoint.count(second, then);
        endpoint.uncount(second);
        assert_eq!(endpoint.rank(then), (Fitness::OnTrial, 1));
        // Nothing came of it.
        endpoint.uncount(first);
        assert_eq!(endpoint.rank(then), (Fitness::Alive, 0));
        endpoint.count(second, then);
        endpoint.succeeded();
        assert_eq!(endpoint.rank(then), (Fitness::Alive, 1));
    }

    #[test]
    fn what_has_been_there_for_long_is_no_trial() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
        endpoint.count(RequestId::for_tests(1), now);
        let backoff = Duration::from_millis(100);
        endpoint.failed(now, backoff, backoff);
        assert_eq!(endpoint.rank(now + backoff), (Fitness::Alive, 0));
    }

    #[test]
    fn connections_that_are_there_are_none_the_worse_for_one_that_is_not() {
        let now = Instant::now();
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
        let backoff = Duration::from_millis(100);
        endpoint.dial_failed(now, backoff, backoff);
        assert_eq!(endpoint.fitness(now), Fitness::Alive);
        // Answers on those say nothing about others.
        endpoint.succeeded();
        assert!(!endpoint.may_be_dialled(now, true));
        assert!(endpoint.may_be_dialled(now, false));
        assert!(endpoint.may_be_dialled(now + backoff, true));
        endpoint.connected();
        assert!(endpoint.may_be_dialled(now, true));
    }

    #[test]
    fn connections_for_a_client_are_forgotten_when_there_are_none() {
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
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

    #[test]
    fn faults_count_in_a_row() {
        let mut endpoint = Endpoint::new(([127, 0, 0, 1], 80).into(), None);
        assert!(!endpoint.is_at_fault(3) && !endpoint.is_at_fault(3));
        endpoint.succeeded();
        assert!(!endpoint.is_at_fault(3) && !endpoint.is_at_fault(3));
        assert!(endpoint.is_at_fault(3));
    }
}
