//! Eight urgencies, each served in turn (RFC 9218 §10).

use tidegate_http::Priority;

use super::lists::Lists;

/// Ready streams by urgency. Every operation takes the same time, however many there are.
///
/// The most urgent streams go first. Within an urgency, streams that aren't incremental are served
/// completely, one after another; incremental ones take turns. If an urgency has both kinds, they
/// alternate.
#[derive(Debug, Default)]
pub(super) struct Urgencies {
    /// Two lists for each urgency. The first has the streams that aren't incremental; its front is
    /// served until it is done. The second has the incremental streams; its front has the next
    /// turn.
    lists: Lists,
    /// Bit `n` is set if list `n` isn't empty.
    ready: u16,
    /// Bit `2u` is set if the last turn of urgency `u` went to a stream that isn't incremental.
    whole_had_turn: u16,
}

/// Returns the list of a priority. An urgency that was set by hand may exceed 7; it counts as 7.
fn list_of(priority: Priority) -> u32 {
    2 * u32::from(priority.urgency.min(7)) + u32::from(priority.incremental)
}

fn is_incremental(list: u32) -> bool {
    list & 1 == 1
}

impl Urgencies {
    /// Adds a stream after the others of its urgency and kind.
    pub(super) fn insert(&mut self, slot: u32, priority: Priority) {
        let list = list_of(priority);
        self.lists.push_back(list, slot);
        self.ready |= 1 << list;
    }

    /// Adds a stream whose turn was interrupted. One that isn't incremental continues before the
    /// others.
    pub(super) fn resume(&mut self, slot: u32, priority: Priority) {
        let list = list_of(priority);
        if is_incremental(list) {
            return self.insert(slot, priority);
        }
        self.lists.push_front(list, slot);
        self.ready |= 1 << list;
    }

    /// Removes a stream, if it is in here.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(list) = self.lists.remove(slot)
            && self.lists.is_empty(list)
        {
            self.ready &= !(1 << list);
        }
    }

    /// Moves a stream, if it is in here, behind those of its new urgency and kind. The same
    /// priority again moves nothing.
    pub(super) fn reprioritize(&mut self, slot: u32, priority: Priority) {
        let before = self.lists.list_of(slot);
        if before.is_some_and(|list| list != list_of(priority)) {
            self.remove(slot);
            self.insert(slot, priority);
        }
    }

    /// Returns the stream whose turn it is.
    pub(super) fn next(&self) -> Option<u32> {
        if self.ready == 0 {
            return None;
        }
        let first = self.ready.trailing_zeros();
        let whole = first & !1;
        let both = self.ready >> whole & 0b11 == 0b11;
        let list = if both && self.whole_had_turn >> whole & 1 == 1 {
            whole + 1
        } else {
            first
        };
        self.lists.front(list)
    }

    /// Notes that a stream has had its turn and is still ready.
    pub(super) fn sent(&mut self, slot: u32) {
        let Some(list) = self.lists.list_of(slot) else {
            return;
        };
        // RFC 9218 §10: "Incremental responses of the same urgency SHOULD be served by sharing
        // bandwidth among them", others "by prioritizing bandwidth allocation in ascending order of
        // the stream ID".
        if is_incremental(list) {
            self.whole_had_turn &= !(1 << (list & !1));
            self.lists.move_to_back(slot);
        } else {
            self.whole_had_turn |= 1 << list;
        }
    }

    /// For tests: returns the contents, and checks that the bits agree with the lists.
    pub(super) fn check(&self) -> Result<Vec<u32>, String> {
        let mut slots = Vec::new();
        for list in 0..16 {
            if self.lists.is_empty(list) == (self.ready >> list & 1 == 1) {
                return Err(format!("the bit of urgency list {list} is wrong"));
            }
            slots.extend(self.lists.iter(list));
        }
        Ok(slots)
    }
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

    fn with(streams: &[(u32, Priority)]) -> Urgencies {
        let mut urgencies = Urgencies::default();
        for (slot, priority) in streams {
            urgencies.insert(*slot, *priority);
        }
        urgencies
    }

    /// Serves `turns` turns; every stream always has more to send.
    fn serve(urgencies: &mut Urgencies, turns: usize) -> Vec<u32> {
        let turn = |_| {
            let slot = urgencies.next().unwrap();
            urgencies.sent(slot);
            slot
        };
        (0..turns).map(turn).collect()
    }

    #[test]
    fn more_urgent_streams_go_first() {
        // RFC 9218 §10: "It is RECOMMENDED that, when possible, servers respect the urgency
        // parameter (Section 4.1), sending higher-urgency responses before lower-urgency
        // responses."
        let of = |urgency: u8| {
            (
                u32::from(urgency),
                priority(urgency, urgency.is_multiple_of(2)),
            )
        };
        let mut urgencies = with(&[3, 7, 0, 5, 255].map(of));
        let order = std::iter::from_fn(|| {
            let slot = urgencies.next()?;
            urgencies.remove(slot);
            Some(slot)
        });
        assert_eq!(order.collect::<Vec<_>>(), [0, 3, 5, 7, 255]);
    }

    #[test]
    fn streams_that_are_not_incremental_are_served_one_by_one() {
        // RFC 9218 §10: "Non-incremental responses of the same urgency SHOULD be served by
        // prioritizing bandwidth allocation in ascending order of the stream ID, which corresponds
        // to the order in which clients make requests."
        let whole = priority(3, false);
        let mut urgencies = with(&[(4, whole), (2, whole), (9, whole)]);
        assert_eq!(serve(&mut urgencies, 3), [4, 4, 4]);
        urgencies.remove(4);
        assert_eq!(serve(&mut urgencies, 2), [2, 2]);
        urgencies.remove(2);
        urgencies.resume(2, whole);
        assert_eq!(serve(&mut urgencies, 2), [2, 2]);
    }

    #[test]
    fn incremental_streams_take_turns() {
        // RFC 9218 §10: "Incremental responses of the same urgency SHOULD be served by sharing
        // bandwidth among them."
        let incremental = priority(3, true);
        let mut urgencies = with(&[(4, incremental), (2, incremental), (9, incremental)]);
        assert_eq!(serve(&mut urgencies, 7), [4, 2, 9, 4, 2, 9, 4]);
    }

    #[test]
    fn the_two_kinds_of_an_urgency_alternate() {
        let (whole, incremental) = (priority(3, false), priority(3, true));
        let mut urgencies = with(&[(10, incremental), (0, whole), (11, incremental), (1, whole)]);
        let expected = [0, 10, 0, 11, 0, 10, 0, 11];
        assert_eq!(serve(&mut urgencies, 8), expected);
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Insert(u32, Priority),
        Resume(u32, Priority),
        Serve,
        Remove(u32),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let stream = || (0_u32..40, 0_u8..8, any::<bool>());
        let operation = prop_oneof![
            3 => stream().prop_map(|(slot, u, i)| Operation::Insert(slot, priority(u, i))),
            1 => stream().prop_map(|(slot, u, i)| Operation::Resume(slot, priority(u, i))),
            4 => Just(Operation::Serve),
            2 => (0_u32..40).prop_map(Operation::Remove),
        ];
        prop::collection::vec(operation, 0..200)
    }

    proptest! {
        /// Compares with a plain list: the contents are the streams inserted and not removed,
        /// `next` never skips a more urgent stream, and within an urgency each kind keeps its own
        /// order.
        #[test]
        fn the_order_is_that_of_a_plain_list(operations in operations()) {
            let mut urgencies = Urgencies::default();
            // Slots and priorities in the order in which their kind is to be served.
            let mut model: Vec<(u32, Priority)> = Vec::new();
            for operation in operations {
                match operation {
                    Operation::Insert(slot, _) | Operation::Resume(slot, _)
                        if model.iter().any(|(other, _)| *other == slot) => {}
                    Operation::Insert(slot, priority) => {
                        urgencies.insert(slot, priority);
                        model.push((slot, priority));
                    }
                    Operation::Resume(slot, priority) => {
                        urgencies.resume(slot, priority);
                        if priority.incremental {
                            model.push((slot, priority));
                        } else {
                            model.insert(0, (slot, priority));
                        }
                    }
                    Operation::Remove(slot) => {
                        urgencies.remove(slot);
                        model.retain(|(other, _)| *other != slot);
                    }
                    Operation::Serve => {
                        let Some(slot) = urgencies.next() else {
                            prop_assert!(model.is_empty());
                            continue;
                        };
                        let place = model.iter().position(|(other, _)| *other == slot);
                        let place = place.expect("a slot that was never put in");
                        let entry = model[place];
                        let most_urgent = model.iter().map(|(_, other)| other.urgency).min();
                        prop_assert_eq!(Some(entry.1.urgency), most_urgent);
                        let first_of_kind = model.iter().position(|(_, other)| *other == entry.1);
                        prop_assert_eq!(Some(place), first_of_kind);
                        urgencies.sent(slot);
                        if entry.1.incremental {
                            model.remove(place);
                            model.push(entry);
                        }
                    }
                }
                let mut inside = urgencies.check().expect("the bits are right");
                inside.sort_unstable();
                let mut expected: Vec<_> = model.iter().map(|(slot, _)| *slot).collect();
                expected.sort_unstable();
                prop_assert_eq!(inside, expected);
            }
        }
    }
}
