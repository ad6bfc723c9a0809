//! The scheduler: which stream sends next. It sees slots, priorities, and how much was sent in a
//! turn.

mod early;
mod lists;
mod tree;
mod urgency;

use tidegate_frame::{StreamDependency, StreamId};
use tidegate_http::Priority;

pub(crate) use early::EarlyPriorities;
use lists::Lists;
use tree::Tree;
use urgency::Urgencies;

/// One turn of this many in a row belongs to the oldest stream.
const OLDEST_EVERY: u32 = 1024;

/// The streams that have something to send and may send it.
///
/// `next` returns one; it stays here during its turn. Then `sent` reports that it was served, and
/// `remove` that it is no longer ready.
///
/// No stream starves, whatever the others do and whatever priorities change: of 1,024 turns in a
/// row, at least one belongs to the stream that has been ready and unserved for longest. New
/// streams queue up behind it, so a stream that is ready as one of n has a turn within 1,024 × n
/// turns.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    order: Order,
    /// One list of all ready streams; the one at the front has been unserved for longest.
    ages: Lists,
    /// The number of turns since the front stream was served.
    since_oldest: u32,
}

/// The order that decides whose turn it is.
#[derive(Debug)]
enum Order {
    Urgencies(Urgencies),
    Tree(Box<Tree>),
}

impl Default for Order {
    fn default() -> Self {
        Self::Urgencies(Urgencies::default())
    }
}

/// The only list of ages.
const AGES: u32 = 0;

/// Ready streams.
impl Scheduler {
    /// Adds a stream that is ready and not in here, after its equals.
    pub(crate) fn insert(&mut self, slot: usize, priority: Priority) {
        let slot = narrow(slot);
        self.ages.push_back(AGES, slot);
        match &mut self.order {
            Order::Urgencies(urgencies) => urgencies.insert(slot, priority),
            Order::Tree(tree) => tree.insert(slot),
        }
    }

    /// Adds a stream whose owner paused in the middle of its turn: like `insert`, but before its
    /// equals if they wouldn't share.
    pub(crate) fn resume(&mut self, slot: usize, priority: Priority) {
        let slot = narrow(slot);
        self.ages.push_back(AGES, slot);
        match &mut self.order {
            Order::Urgencies(urgencies) => urgencies.resume(slot, priority),
            Order::Tree(tree) => tree.insert(slot),
        }
    }

    /// Returns the stream whose turn it is.
    pub(crate) fn next(&self) -> Option<usize> {
        let slot = if self.since_oldest >= OLDEST_EVERY - 1 {
            self.ages.front(AGES)
        } else {
            match &self.order {
                Order::Urgencies(urgencies) => urgencies.next(),
                Order::Tree(tree) => tree.next(),
            }
        };
        slot.map(|slot| slot as usize)
    }

    /// Notes that the stream returned by `next` has sent `bytes`.
    pub(crate) fn sent(&mut self, slot: usize, bytes: usize) {
        let slot = narrow(slot);
        self.since_oldest = if self.ages.front(AGES) == Some(slot) {
            0
        } else {
            self.since_oldest + 1
        };
        self.ages.move_to_back(slot);
        match &mut self.order {
            Order::Urgencies(urgencies) => urgencies.sent(slot),
            Order::Tree(tree) => tree.sent(slot, bytes),
        }
    }

    /// Removes a stream that is no longer ready.
    pub(crate) fn remove(&mut self, slot: usize) {
        let slot = narrow(slot);
        if self.ages.remove(slot).is_none() {
            return;
        }
        match &mut self.order {
            Order::Urgencies(urgencies) => urgencies.remove(slot),
            Order::Tree(tree) => tree.remove(slot),
        }
    }

    /// Changes the priority of a stream, in here or not. Its age stays the same.
    pub(crate) fn reprioritize(&mut self, slot: usize, priority: Priority) {
        let slot = narrow(slot);
        match &mut self.order {
            Order::Urgencies(urgencies) => urgencies.reprioritize(slot, priority),
            Order::Tree(tree) => tree.set_priority(slot, priority),
        }
    }

    /// Whether no stream is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.ages.is_empty(AGES)
    }

    /// Frees the memory of streams that are gone, if none is ready.
    pub(crate) fn release_memory(&mut self) {
        if self.is_empty() {
            self.ages = Lists::default();
            if let Order::Urgencies(urgencies) = &mut self.order {
                *urgencies = Urgencies::default();
            }
        }
    }
}

/// The tree of RFC 7540, which must know streams before they are ready.
impl Scheduler {
    pub(crate) fn has_tree(&self) -> bool {
        matches!(self.order, Order::Tree(_))
    }

    /// Lets a tree decide from now on. Returns the ready streams, oldest first. The caller calls
    /// `open` for all streams, then inserts the ready ones again.
    pub(crate) fn plant_tree(&mut self) -> Vec<usize> {
        self.begin_anew(Order::Tree(Box::default()))
    }

    /// Lets urgencies decide from now on. Returns the ready streams, oldest first. The caller
    /// inserts them again.
    pub(crate) fn fell_tree(&mut self) -> Vec<usize> {
        self.begin_anew(Order::default())
    }

    /// Forgets all slots, because streams move to other ones. Returns the ready streams by their
    /// former slots, oldest first; the caller inserts them again. Not for a tree.
    pub(crate) fn forget_slots(&mut self) -> Vec<usize> {
        debug_assert!(!self.has_tree(), "a tree knows more than its ready streams");
        self.begin_anew(Order::default())
    }

    fn begin_anew(&mut self, order: Order) -> Vec<usize> {
        let ready = self.ages.iter(AGES).map(|slot| slot as usize).collect();
        self.ages = Lists::default();
        self.order = order;
        ready
    }

    /// Notes that a stream has a slot.
    #[inline]
    pub(crate) fn open(&mut self, slot: usize, id: StreamId, priority: Priority) {
        if let Order::Tree(tree) = &mut self.order {
            tree.open(narrow(slot), id, priority);
        }
    }

    /// Notes that a stream that isn't ready has lost its slot.
    pub(crate) fn close(&mut self, slot: usize) {
        if let Order::Tree(tree) = &mut self.order {
            tree.close(narrow(slot));
        }
    }

    /// Makes a stream depend on another one (RFC 7540 §5.3), and adds it to the tree if it isn't in
    /// it. Returns how many streams were visited or moved.
    pub(crate) fn depend(&mut self, id: StreamId, dependency: StreamDependency) -> usize {
        match &mut self.order {
            Order::Tree(tree) => tree.depend(id, dependency),
            Order::Urgencies(_) => 0,
        }
    }

    /// Whether there is a tree and it still has this stream.
    pub(crate) fn knows(&self, id: StreamId) -> bool {
        match &self.order {
            Order::Tree(tree) => tree.knows(id),
            Order::Urgencies(_) => false,
        }
    }
}

/// For tests.
impl Scheduler {
    /// Checks that the books agree with each other. Returns the ready slots.
    ///
    /// # Errors
    /// Returns the contradiction, in words.
    pub(crate) fn check(&self) -> Result<Vec<usize>, String> {
        let mut ordered = match &self.order {
            Order::Urgencies(urgencies) => urgencies.check()?,
            Order::Tree(tree) => tree.check()?,
        };
        let mut aged: Vec<u32> = self.ages.iter(AGES).collect();
        ordered.sort_unstable();
        aged.sort_unstable();
        if ordered != aged {
            return Err(format!(
                "{ordered:?} are in order, but {aged:?} have an age"
            ));
        }
        if self.since_oldest >= OLDEST_EVERY {
            return Err(format!(
                "the oldest was passed over for {} turns",
                self.since_oldest
            ));
        }
        Ok(aged.into_iter().map(|slot| slot as usize).collect())
    }
}

/// Returns the slot as 32 bits. Slots are places in the list of a connection's streams, of which
/// there are fewer than 2^31 (RFC 9113 §5.1.1).
fn narrow(slot: usize) -> u32 {
    debug_assert!(u32::try_from(slot).is_ok(), "a slot of {slot}");
    slot as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(number: u32) -> StreamId {
        StreamId::new(number)
    }

    /// An operation between turns, by an adversary who wants one stream to starve.
    #[derive(Clone, Debug)]
    enum Operation {
        Insert(usize, u8, bool),
        Resume(usize, u8, bool),
        Remove(usize),
        Reprioritize(usize, u8, bool),
        Depend(usize, usize, bool, u8),
        /// A number of turns, each of this many bytes.
        Turns(u32, usize),
    }

    const SLOTS: usize = 8;

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let slot = || 0..SLOTS;
        let operation = prop_oneof![
            3 => (slot(), 0_u8..8, any::<bool>()).prop_map(|(s, u, i)| Operation::Insert(s, u, i)),
            1 => (slot(), 0_u8..8, any::<bool>()).prop_map(|(s, u, i)| Operation::Resume(s, u, i)),
            1 => slot().prop_map(Operation::Remove),
            3 => (slot(), 0_u8..8, any::<bool>()).prop_map(|(s, u, i)| Operation::Reprioritize(s, u, i)),
            2 => (slot(), 0..=SLOTS, any::<bool>(), any::<u8>()).prop_map(|(s, on, e, w)| Operation::Depend(s, on, e, w)),
            4 => (1_u32..1500, 1_usize..=16_384).prop_map(|(n, bytes)| Operation::Turns(n, bytes)),
        ];
        prop::collection::vec(operation, 0..60)
    }

    fn scheduler(tree: bool) -> Scheduler {
        let mut scheduler = Scheduler::default();
        if tree {
            assert!(scheduler.plant_tree().is_empty());
            for slot in 0..SLOTS {
                scheduler.open(slot, id(2 * slot as u32 + 1), Priority::default());
            }
        }
        scheduler
    }

    proptest! {
        /// A stream that is ready as one of n has a turn within 1,024 × n turns.
        #[test]
        fn no_stream_starves(tree: bool, operations in operations()) {
            let mut scheduler = scheduler(tree);
            // For each ready slot: the number of turns that it may still have to wait.
            let mut patience = [None; SLOTS];
            let bound = |patience: &[Option<u32>; SLOTS]| {
                OLDEST_EVERY * patience.iter().flatten().count() as u32
            };
            for operation in operations {
                match operation {
                    Operation::Insert(slot, urgency, incremental) | Operation::Resume(slot, urgency, incremental) => {
                        if patience[slot].is_some() {
                            continue;
                        }
                        let priority = Priority { urgency, incremental };
                        if matches!(operation, Operation::Insert(..)) {
                            scheduler.insert(slot, priority);
                        } else {
                            scheduler.resume(slot, priority);
                        }
                        patience[slot] = Some(0);
                        patience[slot] = Some(bound(&patience));
                    }
                    Operation::Remove(slot) => {
                        scheduler.remove(slot);
                        patience[slot] = None;
                    }
                    Operation::Reprioritize(slot, urgency, incremental) => {
                        scheduler.reprioritize(slot, Priority { urgency, incremental });
                    }
                    Operation::Depend(slot, on, exclusive, weight) => {
                        if slot != on {
                            // Slots have odd streams; the slot after the last stands for stream 0.
                            let depends_on = if on == SLOTS { 0 } else { 2 * on as u32 + 1 };
                            let depends_on = id(depends_on);
                            scheduler.depend(id(2 * slot as u32 + 1), StreamDependency { depends_on, exclusive, weight });
                        }
                    }
                    Operation::Turns(turns, bytes) => {
                        for _ in 0..turns {
                            let Some(served) = scheduler.next() else { break };
                            prop_assert!(patience[served].is_some(), "{served} isn't ready");
                            scheduler.sent(served, bytes);
                            for (slot, left) in patience.iter_mut().enumerate() {
                                let Some(left) = left else { continue };
                                prop_assert!(*left > 0, "{slot} starves");
                                *left -= 1;
                            }
                            patience[served] = Some(bound(&patience));
                        }
                    }
                }
                let ready = scheduler.check();
                let expected = (0..SLOTS).filter(|slot| patience[*slot].is_some());
                prop_assert_eq!(ready, Ok(expected.collect()));
            }
        }
    }

    #[test]
    fn the_oldest_has_one_turn_of_1024() {
        for tree in [false, true] {
            let mut scheduler = scheduler(tree);
            let priority = |urgency| Priority {
                urgency,
                incremental: true,
            };
            scheduler.insert(0, priority(7));
            scheduler.insert(1, priority(0));
            scheduler.insert(2, priority(0));
            if tree {
                // 0 depends on 1, which always has something to send.
                let depends_on = id(3);
                scheduler.depend(
                    id(1),
                    StreamDependency {
                        depends_on,
                        exclusive: false,
                        weight: 0,
                    },
                );
            }
            let mut turns = [0_u32; 3];
            for _ in 0..102_400 {
                let slot = scheduler.next().unwrap();
                turns[slot] += 1;
                scheduler.sent(slot, 16_384);
            }
            // The oldest stream is served in time; of three streams, two would have been served
            // anyway.
            assert!((95..=105).contains(&turns[0]), "{turns:?}");
            assert!(turns[1].abs_diff(turns[2]) <= 200, "{turns:?}");
        }
    }

    #[test]
    fn ready_streams_move_between_the_orders() {
        let mut scheduler = scheduler(false);
        for slot in [2, 0, 1] {
            scheduler.insert(slot, Priority::default());
        }
        assert_eq!(scheduler.plant_tree(), [2, 0, 1]);
        assert!(scheduler.has_tree() && scheduler.is_empty());
        scheduler.open(0, id(1), Priority::default());
        scheduler.insert(0, Priority::default());
        assert_eq!(scheduler.next(), Some(0));
        assert_eq!(scheduler.fell_tree(), [0]);
        assert!(!scheduler.has_tree() && scheduler.is_empty());
    }
}
