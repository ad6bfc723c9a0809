//! Eight urgencies, each served in turn (RFC 9218 §10).

use std::collections::VecDeque;

use crate::sched::Priority;

/// The streams that have something to send and may send it. A stream's slot is in here at most once.
///
/// The most urgent go first, strictly. Within an urgency, streams that aren't incremental are served whole, one after
/// another; incremental ones take turns. Where both kinds share an urgency they alternate, so that neither starves.
/// Once the queues have grown to what a connection needs, nothing is allocated any more.
#[derive(Debug, Default)]
pub(crate) struct Urgency {
    levels: [Level; 8],
    /// Bit `u` tells that `levels[u]` isn't empty.
    ready: u8,
}

/// The streams of one urgency.
#[derive(Debug, Default)]
struct Level {
    /// Those that aren't incremental. The front is served until it is done.
    whole: VecDeque<u32>,
    /// Those that are. The front has the next turn.
    incremental: VecDeque<u32>,
    /// Whether the last turn, of those when both kinds were ready, went to `whole`.
    whole_had_turn: bool,
}

impl Level {
    fn queue(&mut self, priority: Priority) -> &mut VecDeque<u32> {
        if priority.incremental {
            &mut self.incremental
        } else {
            &mut self.whole
        }
    }

    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.incremental.is_empty()
    }
}

impl Urgency {
    /// Adds a stream that is ready, behind the others of its urgency. The caller makes sure that it isn't in here.
    pub(crate) fn insert(&mut self, slot: usize, priority: Priority) {
        let level = self.level(priority);
        self.levels[level].queue(priority).push_back(narrow(slot));
        self.ready |= 1 << level;
    }

    /// Takes out the stream whose turn it is. The caller inserts it again if it is still ready after its turn:
    /// `again` does that, and knows that a non-incremental stream keeps its place in front of its urgency.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        if self.ready == 0 {
            return None;
        }
        let urgency = self.ready.trailing_zeros() as usize;
        let level = &mut self.levels[urgency];
        let from_whole = if level.incremental.is_empty() {
            true
        } else if level.whole.is_empty() {
            false
        } else {
            level.whole_had_turn = !level.whole_had_turn;
            level.whole_had_turn
        };
        let slot = if from_whole {
            level.whole.pop_front()
        } else {
            level.incremental.pop_front()
        };
        if level.is_empty() {
            self.ready &= !(1 << urgency);
        }
        slot.map(|slot| slot as usize)
    }

    /// Puts back the stream that `pop` returned last, which has more to send.
    pub(crate) fn again(&mut self, slot: usize, priority: Priority) {
        // RFC 9218 §10: "Incremental responses of the same urgency SHOULD be served by sharing bandwidth among them",
        // others "by prioritizing bandwidth allocation in ascending order of the stream ID".
        if priority.incremental {
            return self.insert(slot, priority);
        }
        let level = self.level(priority);
        self.levels[level].whole.push_front(narrow(slot));
        self.ready |= 1 << level;
    }

    /// Removes a stream that was reset, wherever it is. `priority` is the one that it was inserted with.
    pub(crate) fn remove(&mut self, slot: usize, priority: Priority) {
        let urgency = self.level(priority);
        let level = &mut self.levels[urgency];
        let queue = level.queue(priority);
        let slot = narrow(slot);
        if let Some(place) = queue.iter().position(|&other| other == slot) {
            queue.remove(place);
        }
        if level.is_empty() {
            self.ready &= !(1 << urgency);
        }
    }

    /// Whether no stream is ready.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// A priority that someone made by hand may have any urgency; there is none beyond 7.
    fn level(&self, priority: Priority) -> usize {
        usize::from(priority.urgency).min(self.levels.len() - 1)
    }
}

/// Slots are places in the list of a connection's streams, of which there are fewer than 2^31 (RFC 9113 §5.1.1).
fn narrow(slot: usize) -> u32 {
    debug_assert!(u32::try_from(slot).is_ok(), "a slot of {slot}");
    slot as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn priority(urgency: u8, incremental: bool) -> Priority {
        Priority {
            urgency,
            incremental,
        }
    }

    /// Serves so many turns; every stream always has more to send.
    fn serve(scheduler: &mut Urgency, turns: usize, of: impl Fn(usize) -> Priority) -> Vec<usize> {
        let mut served = Vec::new();
        for _ in 0..turns {
            let slot = scheduler.pop().unwrap();
            served.push(slot);
            scheduler.again(slot, of(slot));
        }
        served
    }

    #[test]
    fn more_urgent_streams_go_first() {
        // RFC 9218 §10: "It is RECOMMENDED that, when possible, servers respect the urgency parameter (Section 4.1),
        // sending higher-urgency responses before lower-urgency responses."
        let mut scheduler = Urgency::default();
        for urgency in [3, 7, 0, 5, 255] {
            scheduler.insert(usize::from(urgency), priority(urgency, urgency % 2 == 0));
        }
        let order: Vec<_> = std::iter::from_fn(|| scheduler.pop()).collect();
        assert_eq!(order, [0, 3, 5, 7, 255]);
        assert!(scheduler.is_empty());
    }

    #[test]
    fn streams_that_are_not_incremental_are_served_one_by_one() {
        // RFC 9218 §10: "Non-incremental responses of the same urgency SHOULD be served by prioritizing bandwidth
        // allocation in ascending order of the stream ID, which corresponds to the order in which clients make requests."
        let mut scheduler = Urgency::default();
        let whole = priority(3, false);
        for slot in [4, 2, 9] {
            scheduler.insert(slot, whole);
        }
        assert_eq!(serve(&mut scheduler, 3, |_| whole), [4, 4, 4]);
        assert_eq!(scheduler.pop(), Some(4));
        assert_eq!(serve(&mut scheduler, 2, |_| whole), [2, 2]);
    }

    #[test]
    fn incremental_streams_take_turns() {
        // RFC 9218 §10: "Incremental responses of the same urgency SHOULD be served by sharing bandwidth among them."
        let mut scheduler = Urgency::default();
        let incremental = priority(3, true);
        for slot in [4, 2, 9] {
            scheduler.insert(slot, incremental);
        }
        let served = serve(&mut scheduler, 7, |_| incremental);
        assert_eq!(served, [4, 2, 9, 4, 2, 9, 4]);
    }

    #[test]
    fn neither_kind_starves_the_other() {
        let mut scheduler = Urgency::default();
        let of = |slot: usize| priority(3, slot >= 10);
        for slot in [10, 0, 11, 1] {
            scheduler.insert(slot, of(slot));
        }
        let served = serve(&mut scheduler, 8, of);
        assert_eq!(served, [0, 10, 0, 11, 0, 10, 0, 11]);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(Priority),
        Pop,
        PopAndAgain,
        Remove(usize),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let insert = (0_u8..8, any::<bool>()).prop_map(|(u, i)| Operation::Insert(priority(u, i)));
        let operation = prop_oneof![
            3 => insert,
            1 => Just(Operation::Pop),
            3 => Just(Operation::PopAndAgain),
            1 => (0_usize..64).prop_map(Operation::Remove),
        ];
        prop::collection::vec(operation, 0..200)
    }

    proptest! {
        /// Against a plain list: what is in is what was put in and not taken out, `pop` never passes over a more urgent
        /// stream, and within an urgency each kind keeps its own order.
        #[test]
        fn every_slot_comes_out_once_and_in_order(operations in operations()) {
            let mut scheduler = Urgency::default();
            // Slots and priorities in the order in which their kind is to be served.
            let mut model: Vec<(usize, Priority)> = Vec::new();
            let mut next_slot = 0;
            for operation in operations {
                match operation {
                    Operation::Insert(priority) => {
                        scheduler.insert(next_slot, priority);
                        model.push((next_slot, priority));
                        next_slot += 1;
                    }
                    Operation::Remove(slot) => {
                        // A slot that isn't in: nothing happens.
                        let place = model.iter().position(|(other, _)| *other == slot);
                        let priority = place.map_or(Priority::default(), |place| model.remove(place).1);
                        scheduler.remove(slot, priority);
                    }
                    Operation::Pop | Operation::PopAndAgain => {
                        let Some(slot) = scheduler.pop() else {
                            prop_assert!(model.is_empty());
                            continue;
                        };
                        let place = model.iter().position(|(other, _)| *other == slot);
                        let place = place.expect("a slot that was never put in");
                        let priority = model[place].1;
                        prop_assert_eq!(
                            Some(priority.urgency),
                            model.iter().map(|(_, other)| other.urgency).min()
                        );
                        let first_of_kind = model.iter().position(|(_, other)| *other == priority);
                        prop_assert_eq!(Some(place), first_of_kind);
                        let entry = model.remove(place);
                        if matches!(operation, Operation::PopAndAgain) {
                            scheduler.again(slot, priority);
                            if priority.incremental {
                                model.push(entry);
                            } else {
                                model.insert(place, entry);
                            }
                        }
                    }
                }
                prop_assert_eq!(scheduler.is_empty(), model.is_empty());
            }
            let mut left: Vec<_> = std::iter::from_fn(|| scheduler.pop()).collect();
            left.sort_unstable();
            let mut expected: Vec<_> = model.iter().map(|(slot, _)| *slot).collect();
            expected.sort_unstable();
            prop_assert_eq!(left, expected);
        }
    }
}
