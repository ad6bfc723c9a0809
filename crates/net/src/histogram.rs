//! Counts of times, by how long they are.

use std::time::Duration;

/// Counts of times in buckets with fixed bounds, and the sum of the times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    /// The number of times in each bucket. Those above the last bound are only in `count`.
    pub buckets: [u64; N],
    /// The number of all times.
    pub count: u64,
    /// The sum of all times in microseconds.
    pub micros: u64,
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self {
            buckets: [0; N],
            count: 0,
            micros: 0,
        }
    }
}

impl<const N: usize> Histogram<N> {
    /// Counts a time. `bounds` are the inclusive upper ends of the buckets in microseconds, in
    /// rising order, the same at each call.
    pub fn record(&mut self, bounds: &[u64; N], time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(place) = bounds.iter().position(|bound| micros <= *bound) {
            self.buckets[place] += 1;
        }
        self.count += 1;
        self.micros = self.micros.saturating_add(micros);
    }

    /// Counts `count` times that are 0, about.
    pub fn record_none(&mut self, count: u64) {
        if let Some(first) = self.buckets.first_mut() {
            *first += count;
        }
        self.count += count;
    }

    /// Adds the counts of another histogram with the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.micros = self.micros.saturating_add(other.micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let bounds = [10, 1000];
        let mut histogram = Histogram::default();
        for micros in [0, 10, 11, 1000, 1001] {
            histogram.record(&bounds, Duration::from_micros(micros));
        }
        assert_eq!(histogram.buckets, [2, 2]);
        assert_eq!((histogram.count, histogram.micros), (5, 2022));
        let mut sum = histogram;
        sum.record_none(3);
        sum.add(&histogram);
        assert_eq!((sum.buckets, sum.count), ([7, 4], 13));
    }
}
