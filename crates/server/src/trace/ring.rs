//! The last records of a connection, kept in memory until a rule ends it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use super::destination::MOST_TRACED;

/// The most bytes of all rings together. One half is divided equally: each ring has its share of it
/// even if others have the rest. The other half belongs to those that ask first.
const MOST_BYTES: usize = 64 << 20;

/// The bytes that each ring may have whatever the others have.
const SHARE: usize = MOST_BYTES / 2 / MOST_TRACED;

/// The most bytes of one ring: half of what the queue of the file takes.
const MOST_OF_ONE: usize = 2 << 20;

/// The memory of all rings of the process.
static OF_PROCESS: LazyLock<RingMemory> = LazyLock::new(RingMemory::default);

/// The memory of all rings. Clones are the same memory.
#[derive(Clone, Debug, Default)]
pub(super) struct RingMemory(Arc<AtomicUsize>);

impl RingMemory {
    pub(super) fn of_process() -> Self {
        OF_PROCESS.clone()
    }
}

/// The kind of a record in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Frame,
    Rule,
}

/// The last records of one connection.
#[derive(Debug)]
pub(super) struct Ring {
    records: VecDeque<(Kind, String)>,
    /// The most records.
    most: usize,
    /// The bytes of the records.
    bytes: usize,
    /// The number of frames that were dropped.
    pub(super) dropped: u64,
    memory: RingMemory,
}

impl Ring {
    pub(super) fn new(most: u32, memory: RingMemory) -> Self {
        Self {
            records: VecDeque::new(),
            most: most as usize,
            bytes: 0,
            dropped: 0,
            memory,
        }
    }

    /// Adds a record. The oldest ones make room for it.
    pub(super) fn push(&mut self, kind: Kind, record: String) {
        let size = size(&record);
        self.bytes += size;
        self.memory.0.fetch_add(size, Ordering::Relaxed);
        self.records.push_back((kind, record));
        while self.is_too_large() {
            self.drop_oldest();
        }
    }

    fn is_too_large(&self) -> bool {
        let all = self.memory.0.load(Ordering::Relaxed);
        self.records.len() > self.most
            || self.bytes > MOST_OF_ONE
            || (self.bytes > SHARE && all > MOST_BYTES / 2)
    }

    fn drop_oldest(&mut self) {
        if let Some((kind, oldest)) = self.records.pop_front() {
            let size = size(&oldest);
            self.bytes -= size;
            self.memory.0.fetch_sub(size, Ordering::Relaxed);
            self.dropped += u64::from(kind == Kind::Frame);
        }
    }

    /// Takes all records, oldest first.
    pub(super) fn take(&mut self) -> impl Iterator<Item = String> {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = 0;
        let records = std::mem::take(&mut self.records);
        records.into_iter().map(|(_, record)| record)
    }
}

/// Returns the bytes of memory that a record takes.
fn size(record: &String) -> usize {
    record.capacity() + size_of::<(Kind, String)>()
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_records_are_kept() {
        let memory = RingMemory::default();
        let mut ring = Ring::new(3, memory.clone());
        ring.push(Kind::Rule, "rule".into());
        for n in 0..10 {
            ring.push(Kind::Frame, n.to_string());
        }
        let kept: String = ring.take().collect();
        assert_eq!((ring.dropped, kept.as_str()), (7, "789"));
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn each_ring_has_its_share() {
        let memory = RingMemory::default();
        let record = || "x".repeat(SHARE / 8);
        let mut rings = Vec::new();
        for _ in 0..MOST_TRACED {
            let mut ring = Ring::new(1000, memory.clone());
            for _ in 0..600 {
                ring.push(Kind::Frame, record());
            }
            rings.push(ring);
        }
        assert!(rings.iter().all(|ring| ring.bytes > SHARE / 2));
        assert!(rings.iter().all(|ring| ring.bytes <= MOST_OF_ONE));
        assert!(memory.0.load(Ordering::Relaxed) <= MOST_BYTES);
        drop(rings);
        assert_eq!(memory.0.load(Ordering::Relaxed), 0);
    }
}
