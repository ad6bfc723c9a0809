//! The last records of a connection, kept in memory until a rule ends it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes of all rings together.
const MOST_BYTES: usize = 64 << 20;

/// The memory of all rings. Clones are the same memory.
#[derive(Clone, Debug, Default)]
pub(super) struct RingMemory(Arc<AtomicUsize>);

/// The last records of one connection.
#[derive(Debug)]
pub(super) struct Ring {
    records: VecDeque<String>,
    /// The most records.
    most: usize,
    /// The number of records that were dropped.
    pub(super) dropped: u64,
    memory: RingMemory,
}

impl Ring {
    pub(super) fn new(most: u32, memory: RingMemory) -> Self {
        Self {
            records: VecDeque::new(),
            most: most as usize,
            dropped: 0,
            memory,
        }
    }

    /// Adds a record. The oldest ones make room for it.
    pub(super) fn push(&mut self, record: String) {
        let all = &self.memory.0;
        all.fetch_add(record.capacity(), Ordering::Relaxed);
        self.records.push_back(record);
        while self.records.len() > self.most
            || self.memory.0.load(Ordering::Relaxed) > MOST_BYTES && !self.records.is_empty()
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.records.pop_front() {
            self.memory
                .0
                .fetch_sub(oldest.capacity(), Ordering::Relaxed);
            self.dropped += 1;
        }
    }

    /// Takes all records, oldest first.
    pub(super) fn take(&mut self) -> String {
        let records: Vec<String> = self.records.drain(..).collect();
        let freed = records.iter().map(String::capacity).sum();
        self.memory.0.fetch_sub(freed, Ordering::Relaxed);
        records.concat()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept() {
        let memory = RingMemory::default();
        let mut ring = Ring::new(3, memory.clone());
        for n in 0..10 {
            ring.push(n.to_string());
        }
        assert_eq!((ring.dropped, ring.take().as_str()), (7, "789"));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn rings_share_a_memory() {
        let memory = RingMemory::default();
        let record = || "x".repeat(MOST_BYTES / 4);
        let mut first = Ring::new(100, memory.clone());
        let mut second = Ring::new(100, memory.clone());
        for _ in 0..3 {
            first.push(record());
            second.push(record());
        }
        assert!(memory.0.load(Ordering::Relaxed) <= MOST_BYTES);
        assert!(!first.records.is_empty() && !second.records.is_empty());
        drop((first, second));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
