//! What one holder has taken from a client's account.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Client, Refusal, Resource};

/// What one holder, such as a connection, has taken of a resource from its client's account; given back when dropped.
///
/// [`Lease::cover`] takes more than is needed where there is plenty, and gives back only what isn't needed by far, so that most
/// changes of the need touch nothing shared.
#[derive(Debug)]
pub struct Lease {
    client: Arc<Client>,
    resource: Resource,
    amount: u64,
}

impl Lease {
    /// A lease of nothing.
    pub fn new(client: Arc<Client>, resource: Resource) -> Self {
        Self {
            client,
            resource,
            amount: 0,
        }
    }

    /// How much is taken.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Whose it is.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Takes or gives back until `amount` is taken.
    ///
    /// # Errors
    /// Why no more can be taken. The lease stays what it was.
    pub fn set(&mut self, amount: u64) -> Result<(), Refusal> {
        match amount.cmp(&self.amount) {
            Ordering::Greater => self.client.take(self.resource, amount - self.amount)?,
            Ordering::Less => self.client.give(self.resource, self.amount - amount),
            // Nothing shared is touched.
            Ordering::Equal => {}
        }
        self.amount = amount;
        Ok(())
    }

    /// Sees to it that at least `need` is taken, and at most `need` and two batches of up to `batch`.
    ///
    /// # Errors
    /// Why no more can be taken. The lease stays what it was.
    #[inline]
    pub fn cover(&mut self, need: u64, batch: u64) -> Result<(), Refusal> {
        if self.suits(need, batch) {
            return Ok(());
        }
        self.adjust(need, batch)
    }

    /// Whether the lease may stay what it is. Of nothing nothing is kept.
    #[inline]
    fn suits(&self, need: u64, batch: u64) -> bool {
        let is_near = need <= self.amount && self.amount - need <= batch.saturating_mul(2);
        is_near && (need > 0 || self.amount == 0)
    }

    #[cold]
    fn adjust(&mut self, need: u64, batch: u64) -> Result<(), Refusal> {
        let Some(more) = need.checked_sub(self.amount).filter(|more| *more > 0) else {
            // Half of what is too much stays, for the next time.
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

    /// The same for what is there already: if the rule is against it, it is covered all the same, and no more than that.
    #[inline]
    pub fn hold(&mut self, need: u64, batch: u64) {
        if self.suits(need, batch) {
            return;
        }
        // Asked first, since what is there already is no refusal.
        let more = need.saturating_sub(self.amount);
        let may_have = more == 0 || self.client.check(self.resource, more).is_ok();
        if !may_have || self.adjust(need, batch).is_err() {
            self.force(need);
        }
    }

    /// Covers `need` though the rule may be against it, for what is there already.
    pub fn force(&mut self, need: u64) {
        if let Some(more) = need.checked_sub(self.amount) {
            self.client.force(self.resource, more);
            self.amount = need;
        }
    }

    /// Moves all to another account, even if the rule would refuse it there: it turned out whose it is.
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
