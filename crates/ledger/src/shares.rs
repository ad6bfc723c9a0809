//! The rule for an owner on one thread.

use std::collections::BTreeMap;

use crate::{Refusal, Rule};

/// How much each holder has of one resource, for an owner on one thread. The rule is that of the
/// ledger; the key is of any type.
///
/// ```
/// use tidegate_ledger::{Refusal, Rule, Shares};
///
/// let mut places = Shares::new(Rule::new(9).reserve(0, 1));
/// for _ in 0..8 {
///     assert_eq!(places.take("greedy", 1), Ok(()));
/// }
/// assert_eq!(places.take("greedy", 1), Err(Refusal::Share));
/// assert_eq!(places.take("newcomer", 1), Ok(()));
/// assert_eq!(places.used(), 9);
/// places.give(&"greedy", 8);
/// assert_eq!((places.used(), places.held(&"greedy")), (1, 0));
/// ```
#[derive(Clone, Debug)]
pub struct Shares<K> {
    rule: Rule,
    used: u64,
    /// A map of few keys, nearly always. A comparison or two tells these apart sooner than a hash
    /// that strangers can't predict.
    held: BTreeMap<K, u64>,
}

impl<K: Ord> Shares<K> {
    /// Creates shares of which nobody holds anything.
    pub fn new(rule: Rule) -> Self {
        Self {
            rule,
            used: 0,
            held: BTreeMap::new(),
        }
    }

    /// Returns the rule.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Changes the rule from now on. What was taken stays taken.
    pub fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// Checks whether `key` could take `more`.
    ///
    /// # Errors
    /// Returns why `key` couldn't.
    pub fn check(&self, key: &K, more: u64) -> Result<(), Refusal> {
        self.rule.check(self.held(key), more, self.used)
    }

    /// Takes `more` for `key`.
    ///
    /// # Errors
    /// Returns why `key` can't. Then nothing is taken.
    pub fn take(&mut self, key: K, more: u64) -> Result<(), Refusal> {
        self.check(&key, more)?;
        self.force(key, more);
        Ok(())
    }

    /// Takes `more` for `key`, whatever the rule says.
    pub fn force(&mut self, key: K, more: u64) {
        *self.held.entry(key).or_insert(0) += more;
        self.used += more;
    }

    /// Gives back `amount`, which `key` must have taken. A key that holds nothing is forgotten.
    pub fn give(&mut self, key: &K, amount: u64) {
        let Some(held) = self.held.get_mut(key) else {
            debug_assert_eq!(amount, 0, "given back twice");
            return;
        };
        debug_assert!(*held >= amount, "given back twice");
        let amount = amount.min(*held);
        *held -= amount;
        self.used -= amount;
        if *held == 0 {
            self.held.remove(key);
        }
    }

    /// Returns how much `key` holds.
    pub fn held(&self, key: &K) -> u64 {
        self.held.get(key).copied().unwrap_or(0)
    }

    /// Returns how much all keys hold together.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Returns how many keys hold something.
    pub fn holders(&self) -> usize {
        self.held.len()
    }

    /// Returns the key that holds most, and how much it holds. Walks over all keys.
    pub fn largest(&self) -> Option<(&K, u64)> {
        let all = self.held.iter().map(|(key, held)| (key, *held));
        all.max_by_key(|(_, held)| *held)
    }
}
