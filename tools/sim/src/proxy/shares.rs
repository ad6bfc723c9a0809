//! The limits that clients share: the proxy's configuration, and the checks that it keeps to it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_http::MemoryBudget;
use tidegate_ledger::{Client, ClientKey, Ledger, Limits, Resource};
use tidegate_net::Conns;

use super::clients::Outcome;
use super::plan::SharesPlan;
use super::world::World;

/// An ample amount of memory, in bytes.
const PLENTY: u64 = 1 << 30;

/// The most bytes of a round of input.
const INPUT: u64 = 64 << 10;

/// The longest that a newcomer may wait for an answer, in virtual time. Answers of upstreams take a
/// second at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the limits that clients share.
pub(super) fn limits(shares: Option<&SharesPlan>) -> Limits {
    let Some(shares) = shares else {
        return MemoryBudget::limits(Limits::none(), PLENTY);
    };
    let limits = Limits::none()
        .with(Resource::Connections, shares.connections)
        .with(Resource::Requests, shares.requests);
    MemoryBudget::limits(limits, shares.memory)
}

/// Returns the keys of the accounts that belong to no client: that of what clients share, and that
/// of open files.
fn no_clients(ledger: &Arc<Ledger>) -> [ClientKey; 2] {
    [ledger.nobody(), ledger.shared_files()].map(|account| account.key())
}

impl World {
    /// Checks that nobody holds more than the rules allow, and that the accounts add up.
    pub(super) fn audit_shares(&mut self) {
        if self.plan.shares.is_none() {
            return;
        }
        let accounts = self.ledger.clients();
        let keys = self.keys.iter().copied().chain(no_clients(&self.ledger));
        let all: Vec<_> = keys.map(|key| self.ledger.client(key)).collect();
        for resource in Resource::ALL {
            let used = self.ledger.used(resource);
            let sum: u64 = all.iter().map(|client| client.held(resource)).sum();
            assert_eq!(sum, used, "{resource:?}: the accounts don't add up");
        }
        let holds_something = |client: &Client| {
            let mut resources = Resource::ALL.into_iter();
            resources.any(|resource| client.held(resource) > 0)
        };
        let clients = &all[..all.len() - no_clients(&self.ledger).len()];
        let holders = clients.iter().filter(|client| holds_something(client));
        assert_eq!(
            accounts,
            holders.count() + no_clients(&self.ledger).len(),
            "there is an account for each client that holds something, and those of no client"
        );
        let open: u64 = self.proxy.all().map(|conns| conns.totals().open).sum();
        let used = |resource| self.ledger.used(resource);
        assert_eq!(used(Resource::Connections), open);
        let rule = self.ledger.rule(Resource::Connections);
        assert!(open <= rule.capacity, "{open} of {rule:?}");
        for client in clients {
            for resource in [Resource::Connections, Resource::Requests] {
                let (held, rule) = (client.held(resource), self.ledger.rule(resource));
                let share = match rule.capacity {
                    0 => u64::MAX,
                    capacity => (capacity * 8 / 9).max(rule.floor),
                };
                assert!(
                    held <= share && (rule.per_client == 0 || held <= rule.per_client),
                    "{client:?} holds {held} of {resource:?}, {rule:?}"
                );
            }
        }
        self.audit_memory(&all);
    }

    /// Checks that no client holds more memory than a client that is alone may have, plus a round
    /// of input: there was room when its reading began, and heads count twice. All together hold no
    /// more than the budget and its overdraft.
    fn audit_memory(&mut self, all: &[Arc<Client>]) {
        let rule = self.ledger.rule(Resource::Bytes);
        let used = self.ledger.used(Resource::Bytes);
        assert!(
            used <= rule.capacity + rule.overdraft,
            "{used} bytes are held, {rule:?}"
        );
        let over = used.saturating_sub(rule.capacity);
        self.report.most_over = self.report.most_over.max(over);
        let share = (rule.capacity * 8 / 9).max(rule.floor) + INPUT;
        for client in all
            .iter()
            .filter(|client| !no_clients(&self.ledger).contains(&client.key()))
        {
            let held = client.held(Resource::Bytes);
            assert!(held <= share, "{client:?} holds {held} bytes, {rule:?}");
        }
    }

    /// Checks that a newcomer got its answer, and soon.
    pub(super) fn check_newcomer(&mut self, exchange: usize) {
        let (asked, plan) = (&self.asked[exchange], &self.plan.exchanges[exchange]);
        let ended = asked.answered_at.unwrap_or(self.now);
        let took = ended.saturating_sub(plan.start);
        let (_, paused) = self.plan.pause.unwrap_or_default();
        assert!(
            asked.over == Some(Outcome::Whole) && !asked.is_gateways && took < PATIENCE + paused,
            "newcomer {exchange} wasn't answered, or late, after {took:?}: {asked:?}"
        );
        self.report.newcomers += 1;
        let millis = took.as_millis() as u64;
        self.report.most_waited = self.report.most_waited.max(millis);
    }

    /// Checks that nobody holds anything any longer.
    pub(super) fn check_accounts_are_empty(&mut self) {
        for resource in Resource::ALL {
            assert_eq!(
                self.ledger.used(resource),
                0,
                "{resource:?}: some is still held"
            );
        }
        let left = self.ledger.clients();
        assert_eq!(
            left,
            no_clients(&self.ledger).len(),
            "no client's account is left"
        );
        for totals in self.proxy.all().map(Conns::totals) {
            self.report.made_room += totals.made_room;
            self.report.connections_refused += totals.refused;
            self.report.requests_refused += totals.requests_refused;
        }
        self.report.sieges += u64::from(self.plan.shares.is_some());
    }
}
