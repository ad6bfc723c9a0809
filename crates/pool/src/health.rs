//! The health of an address, judged by the connections and requests that went there.
//!
//! An address that can't be connected to is skipped for a while. So is an address that leaves most
//! of its requests unanswered, but only while another address of the upstream may answer: a single
//! bad page may cause that, and any client can ask for it. If all addresses would be skipped,
//! requests try them anyway.

use std::time::{Duration, Instant};

use crate::ids::RequestId;

/// The time after which the results of requests count half. It is longer where a request may take
/// longer.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// The health of an address.
#[derive(Debug)]
pub(crate) struct Health {
    /// Since a connection wasn't established while there was no other.
    unreachable: Backoff,
    /// Since most of its requests weren't answered.
    ejected: Backoff,
    /// Since a connection wasn't established while there were others.
    dials: Backoff,
    tally: Tally,
    /// The request that tries the address again.
    trial: Option<RequestId>,
}

/// How long something that failed is skipped: twice as long each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    /// The first pause.
    pub(crate) first: Duration,
    /// The longest pause.
    pub(crate) most: Duration,
}

/// The pause of something that failed.
#[derive(Debug, Default)]
struct Backoff {
    /// Failures in a row.
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    fn failed(&mut self, now: Instant, pauses: Pauses) {
        // Attempts that were in flight fail for the same reason, and count once.
        if self.lasts(now) {
            return;
        }
        let factor = 1 << self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pauses.first.saturating_mul(factor).min(pauses.most));
    }

    fn lasts(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

/// Counts of answered and unanswered requests. Both are halved each half-life, so old ones count
/// less.
#[derive(Debug)]
struct Tally {
    half_life: Duration,
    answered: u32,
    unanswered: u32,
    halved_at: Option<Instant>,
}

impl Tally {
    fn new(half_life: Duration) -> Self {
        Self {
            half_life,
            answered: 0,
            unanswered: 0,
            halved_at: None,
        }
    }

    fn age(&mut self, now: Instant) {
        let halved_at = self.halved_at.get_or_insert(now);
        let age = now.saturating_duration_since(*halved_at);
        if age < self.half_life {
            return;
        }
        let times = (age.as_millis() / self.half_life.as_millis().max(1)).min(32) as u32;
        *halved_at = now;
        let halved = |count: u32| count.checked_shr(times).unwrap_or(0);
        self.answered = halved(self.answered);
        self.unanswered = halved(self.unanswered);
    }
}

/// How an address is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fitness {
    /// As good as any.
    Alive,
    /// Failed, and due to be tried again.
    OnTrial,
    /// Failed a moment ago.
    Down,
}

impl Health {
    /// Returns the health of a new address, whose requests fail after `request_timeout` without an
    /// answer.
    pub(crate) fn new(request_timeout: Duration) -> Self {
        Self {
            unreachable: Backoff::default(),
            ejected: Backoff::default(),
            dials: Backoff::default(),
            tally: Tally::new(request_timeout.max(HALF_LIFE)),
            trial: None,
        }
    }

    pub(crate) fn fitness(&self, now: Instant) -> Fitness {
        let backoffs = [&self.unreachable, &self.ejected];
        if backoffs.iter().any(|backoff| backoff.lasts(now)) {
            Fitness::Down
        } else if backoffs.iter().any(|backoff| backoff.until.is_some()) {
            Fitness::OnTrial
        } else {
            Fitness::Alive
        }
    }

    /// Returns how fit it is for one more request. On trial it is as good as any for one request,
    /// so that it is tried at all. Other requests wait for the result, unless they have no other
    /// address.
    pub(crate) fn fitness_for_another(&self, now: Instant) -> Fitness {
        match self.fitness(now) {
            Fitness::OnTrial if self.trial.is_none() => Fitness::Alive,
            fitness => fitness,
        }
    }

    /// Whether the next request is to try the address again.
    pub(crate) fn awaits_trial(&self, now: Instant) -> bool {
        self.fitness(now) == Fitness::OnTrial && self.trial.is_none()
    }

    /// Counts a request that goes there.
    pub(crate) fn count(&mut self, id: RequestId, now: Instant) {
        if self.fitness(now) == Fitness::OnTrial {
            self.trial.get_or_insert(id);
        }
    }

    /// Counts a request that is no longer there.
    pub(crate) fn uncount(&mut self, id: RequestId) {
        self.trial.take_if(|trial| *trial == id);
    }

    /// Notes an answer.
    pub(crate) fn answered(&mut self, now: Instant) {
        if self.unreachable.failures > 0 || self.ejected.failures > 0 {
            self.unreachable = Backoff::default();
            self.ejected = Backoff::default();
            self.tally = Tally::new(self.tally.half_life);
            self.trial = None;
        }
        self.tally.age(now);
        self.tally.answered = self.tally.answered.saturating_add(1);
    }

    /// Notes a request without an answer. Returns whether most requests, and at least `least`, have
    /// had none.
    pub(crate) fn gave_no_answer(&mut self, now: Instant, least: u32) -> bool {
        self.tally.age(now);
        self.tally.unanswered = self.tally.unanswered.saturating_add(1);
        let Tally {
            answered,
            unanswered,
            ..
        } = &self.tally;
        // A failed trial is enough: the address has failed before.
        let is_enough = *unanswered >= least || self.ejected.failures > 0;
        is_enough && unanswered > answered
    }

    /// Has the address skipped for a while, because it doesn't answer.
    pub(crate) fn eject(&mut self, now: Instant, pauses: Pauses) {
        self.ejected.failed(now, pauses);
    }

    /// Notes that no connection was established, while there was no other.
    pub(crate) fn connect_failed(&mut self, now: Instant, pauses: Pauses) {
        self.unreachable.failed(now, pauses);
    }

    /// Notes that no connection was established, while there are others. No more are tried for a
    /// while.
    pub(crate) fn dial_failed(&mut self, now: Instant, pauses: Pauses) {
        self.dials.failed(now, pauses);
    }

    /// Notes that a connection is established. Earlier failures still count until the first answer,
    /// because a server may accept connections and do nothing with them.
    pub(crate) fn connected(&mut self) {
        self.dials = Backoff::default();
        self.unreachable.until = None;
    }

    /// Whether a connection may be opened. Without any other, it may always: a request that was
    /// placed here has no better address.
    pub(crate) fn may_be_dialled(&self, now: Instant, are_some: bool) -> bool {
        !are_some || !(self.dials.lasts(now) || self.unreachable.lasts(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses {
        first: Duration::from_millis(100),
        most: Duration::from_millis(350),
    };

    #[test]
    fn an_address_that_fails_again_is_skipped_for_longer() {
        let mut now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        assert_eq!(health.fitness(now), Fitness::Alive);
        for millis in [100, 200, 350, 350] {
            health.connect_failed(now, PAUSES);
            // A failure meanwhile was of an attempt in flight.
            health.connect_failed(now + PAUSES.first / 2, PAUSES);
            let until = now + Duration::from_millis(millis);
            assert_eq!(health.fitness(until - PAUSES.first / 100), Fitness::Down);
            assert_eq!(health.fitness(until), Fitness::OnTrial);
            now = until;
        }
        for _ in 0..1000 {
            health.connect_failed(now, PAUSES);
        }
        health.answered(now);
        assert_eq!(health.fitness(now), Fitness::Alive);
    }

    #[test]
    fn an_address_that_takes_connections_and_says_nothing_is_skipped_for_longer_too() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        health.connect_failed(now, PAUSES);
        health.connected();
        assert_eq!(health.fitness(now), Fitness::Alive);
        health.connect_failed(now, PAUSES);
        assert_eq!(health.fitness(now + PAUSES.first), Fitness::Down);
    }

    #[test]
    fn on_trial_it_is_as_good_as_any_for_one_request() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        health.connect_failed(now, PAUSES);
        assert_eq!(health.fitness_for_another(now), Fitness::Down);
        let then = now + PAUSES.first;
        assert_eq!(health.fitness_for_another(then), Fitness::Alive);
        let [first, second] = [1, 2].map(RequestId::for_tests);
        health.count(first, then);
        assert_eq!(health.fitness_for_another(then), Fitness::OnTrial);
        health.count(second, then);
        health.uncount(second);
        assert_eq!(health.fitness_for_another(then), Fitness::OnTrial);
        // The trial had no result.
        health.uncount(first);
        assert_eq!(health.fitness_for_another(then), Fitness::Alive);
        health.count(second, then);
        health.answered(then);
        assert_eq!(health.fitness_for_another(then), Fitness::Alive);
        assert!(!health.awaits_trial(then));
    }

    #[test]
    fn connections_that_are_there_are_none_the_worse_for_one_that_is_not() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        health.dial_failed(now, PAUSES);
        assert_eq!(health.fitness(now), Fitness::Alive);
        // Answers on the present connections say nothing about new ones.
        health.answered(now);
        assert!(!health.may_be_dialled(now, true));
        assert!(health.may_be_dialled(now, false));
        assert!(health.may_be_dialled(now + PAUSES.first, true));
        health.connected();
        assert!(health.may_be_dialled(now, true));
    }

    #[test]
    fn unanswered_requests_count_beside_those_that_are_answered() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        for _ in 0..4 {
            assert!(!health.gave_no_answer(now, 5));
        }
        assert!(health.gave_no_answer(now, 5));
        // With as many answers, the unanswered ones are no longer most.
        for _ in 0..6 {
            health.answered(now);
        }
        assert!(!health.gave_no_answer(now, 5));
        assert!(health.gave_no_answer(now, 5));
    }

    #[test]
    fn results_of_requests_are_forgotten_by_halves() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        for _ in 0..1000 {
            health.answered(now);
        }
        for _ in 0..100 {
            assert!(!health.gave_no_answer(now, 5));
        }
        let later = now + 4 * HALF_LIFE;
        // 62 answers are left of a thousand, and 6 of the others.
        for _ in 0..56 {
            assert!(!health.gave_no_answer(later, 5));
        }
        assert!(health.gave_no_answer(later, 5));
        let much_later = now + 1000 * HALF_LIFE;
        assert!(!health.gave_no_answer(much_later, 5));
    }

    #[test]
    fn an_address_that_fails_its_trial_is_ejected_for_longer() {
        let now = Instant::now();
        let mut health = Health::new(Duration::ZERO);
        for _ in 0..5 {
            health.gave_no_answer(now, 5);
        }
        health.eject(now, PAUSES);
        let then = now + PAUSES.first;
        assert_eq!(health.fitness(then), Fitness::OnTrial);
        assert!(health.gave_no_answer(then, 5));
        health.eject(then, PAUSES);
        assert_eq!(health.fitness(then + PAUSES.first), Fitness::Down);
        // A request without another address may still connect to it.
        assert!(health.may_be_dialled(then, true));
        health.answered(then);
        assert_eq!(health.fitness(then), Fitness::Alive);
    }
}
