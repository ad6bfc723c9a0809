//! A holder's part of a client's account.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Client, Refusal, Resource};

/// The part of a client's account that one holder, such as a connection, has taken of a resource.
/// Dropping the lease gives it back.
///
/// [`Lease::cover`] takes more than is needed where there is plenty, and gives back only what is
/// far more than needed. So most changes of the need touch nothing shared.
#[derive(Debug)]
pub struct Lease {
    client: Arc<Client>,
    resource: Resource,
    amount: u64,
}

impl Lease {
    /// Creates a lease of nothing.
    pub fn new(client: Arc<Client>, resource: Resource) -> Self {
        Self {
            client,
            resource,
            amount: 0,
        }
    }

    /// Returns how much is taken.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Returns the account that the lease is taken from.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Takes or gives back until exactly `amount` is taken.
    ///
    /// # Errors
    /// Returns why no more can be taken. Then the lease stays as it was.
    pub fn set(&mut self, amount: u64) -> Result<(), Refusal> {
        match amount.cmp(&self.amount) {
            Ordering::Greater => self.client.take(self.resource, amount - self.amount)?,
            Ordering::Less => self.client.give(self.resource, self.amount - amount),
            // Touches nothing shared.
            Ordering::Equal => {}
        }
        self.amount = amount;
        Ok(())
    }

    /// Ensures that at least `need` is taken, and at most `need` plus two batches of up to `batch`.
    ///
    /// # Errors
    /// Returns why no more can be taken. Then the lease stays as it was.
    #[inline]
    pub fn cover(&mut self, need: u64, batch: u64) -> Result<(), Refusal> {
        if self.suits(need, batch) {
            return Ok(());
        }
        self.adjust(need, batch)
    }

    /// Returns whether the lease may stay as it is. A lease that needs nothing keeps nothing.
    #[inline]
    fn suits(&self, need: u64, batch: u64) -> bool {
        let is_near = need <= self.amount && self.amount - need <= batch.saturating_mul(2);
        is_near && (need > 0 || self.amount == 0)
    }

    #[cold]
    fn adjust(&mut self, need: u64, batch: u64) -> Result<(), Refusal> {
        let Some(more) = need.checked_sub(self.amount).filter(|more| *more > 0) else {
            // Keep one batch of the excess, for the next time.
            let kept = if need == 0 { 0 } else { need + batch };
            return self.set(kept.min(self.amount));
        };
        let ledger = self.client.ledger();
        let (held, used) = (self.client.held(self.resource), ledger.used(self.resource));
        let rule = ledger.rule(self.resource);
        let extra = rule.batch(held.saturating_add(more), used.saturating_add(more), batch) - 1;
        if extra > 0 && self.client.try_take(self.resource, more + extra).is_ok() {
            self.amount = need + extra;
            return Ok(());
        }
        self.set(need)
    }

    /// Like [`Lease::cover`], for what exists already: if the rule is against it, takes exactly
    /// `need` all the same.
    #[inline]
    pub fn hold(&mut self, need: u64, batch: u64) {
        if self.suits(need, batch) {
            return;
        }
        // Check first: what exists already must not count as a refusal.
        let more = need.saturating_sub(self.amount);
        let may_have = more == 0 || self.client.check(self.resource, more).is_ok();
        if !may_have || self.adjust(need, batch).is_err() {
            self.force(need);
        }
    }

    /// Covers `need` even if the rule is against it. For what exists already.
    pub fn force(&mut self, need: u64) {
        if let Some(more) = need.checked_sub(self.amount) {
            self.client.force(self.resource, more);
            self.amount = need;
        }
    }

    /// Moves everything to another account, even if the rule would refuse it there. For when the
    /// client becomes known later.
    pub fn transfer(&mut self, client: Arc<Client>) {
        client.force(self.resource, self.amount);
        self.client.give(self.resource, self.amount);
        self.client = client;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.client.give(self.resource, self.amount);
    }
}
