//! Counts by a label, of which there are few.

/// Counts by a label. Only labels that were counted have a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally<L>(Vec<(L, u64)>);

impl<L> Default for Tally<L> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L: Copy + PartialEq> Tally<L> {
    /// Counts one.
    pub fn count(&mut self, label: L) {
        self.count_some(label, 1);
    }

    fn count_some(&mut self, label: L, more: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += more,
            None => self.0.push((label, more)),
        }
    }

    /// Adds the counts of another tally.
    pub fn add(&mut self, other: &Self) {
        for (label, count) in &other.0 {
            self.count_some(*label, *count);
        }
    }

    /// Returns the labels and their counts.
    pub fn iter(&self) -> impl Iterator<Item = (L, u64)> {
        self.0.iter().copied()
    }

    /// Returns the number of all.
    pub fn sum(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }
}
