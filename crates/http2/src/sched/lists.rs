//! Doubly linked lists of small numbers, such as slots. Every operation takes the same time,
//! however long the lists are.

/// No item.
const NONE: u32 = u32::MAX;

/// Lists that share their memory. An item is in at most one of them. Allocates only for items or
/// lists with higher numbers than any before.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// Absent until the first item: most connections rest, and many have no item ever.
    memory: Option<Box<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    /// The front of each list.
    fronts: Vec<u32>,
    /// The links of each item.
    links: Vec<Link>,
}

/// The neighbours of an item. The lists are rings: the back is before the front.
#[derive(Clone, Copy, Debug)]
struct Link {
    list: u32,
    previous: u32,
    next: u32,
}

impl Link {
    const OUT: Self = Self {
        list: NONE,
        previous: NONE,
        next: NONE,
    };
}

impl Lists {
    /// Appends an item that is in no list.
    pub(super) fn push_back(&mut self, list: u32, item: u32) {
        self.memory.get_or_insert_default().push_back(list, item);
    }

    /// Puts an item that is in no list at the front.
    pub(super) fn push_front(&mut self, list: u32, item: u32) {
        let memory = self.memory.get_or_insert_default();
        memory.push_back(list, item);
        memory.fronts[list as usize] = item;
    }

    /// Removes an item from its list. Returns that list, or `None` if the item is in none.
    pub(super) fn remove(&mut self, item: u32) -> Option<u32> {
        self.memory.as_mut()?.remove(item)
    }

    /// Moves an item to the back of its list.
    pub(super) fn move_to_back(&mut self, item: u32) {
        if let Some(memory) = &mut self.memory {
            memory.move_to_back(item);
        }
    }

    /// Returns the list that an item is in.
    pub(super) fn list_of(&self, item: u32) -> Option<u32> {
        self.memory.as_ref()?.list_of(item)
    }

    pub(super) fn front(&self, list: u32) -> Option<u32> {
        let front = *self.memory.as_ref()?.fronts.get(list as usize)?;
        (front != NONE).then_some(front)
    }

    pub(super) fn is_empty(&self, list: u32) -> bool {
        self.front(list).is_none()
    }

    /// Returns the items of a list from front to back.
    pub(super) fn iter(&self, list: u32) -> impl Iterator<Item = u32> {
        let front = self.front(list);
        std::iter::successors(front, move |item| {
            let next = self.memory.as_ref()?.links[*item as usize].next;
            (Some(next) != front).then_some(next)
        })
    }
}

impl Memory {
    fn push_back(&mut self, list: u32, item: u32) {
        let (list_at, at) = (list as usize, item as usize);
        if self.fronts.len() <= list_at {
            self.fronts.resize(list_at + 1, NONE);
        }
        if self.links.len() <= at {
            self.links.resize(at + 1, Link::OUT);
        }
        debug_assert_eq!(self.links[at].list, NONE, "{item} is in a list already");
        let front = self.fronts[list_at];
        let (previous, next) = if front == NONE {
            self.fronts[list_at] = item;
            (item, item)
        } else {
            let back = std::mem::replace(&mut self.links[front as usize].previous, item);
            self.links[back as usize].next = item;
            (back, front)
        };
        self.links[at] = Link {
            list,
            previous,
            next,
        };
    }

    fn remove(&mut self, item: u32) -> Option<u32> {
        let link = self.links.get_mut(item as usize)?;
        let Link {
            list,
            previous,
            next,
        } = std::mem::replace(link, Link::OUT);
        if list == NONE {
            return None;
        }
        let front = &mut self.fronts[list as usize];
        if next == item {
            *front = NONE;
            return Some(list);
        }
        if *front == item {
            *front = next;
        }
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        Some(list)
    }

    fn move_to_back(&mut self, item: u32) {
        let Some(list) = self.list_of(item) else {
            return;
        };
        let front = &mut self.fronts[list as usize];
        if *front == item {
            *front = self.links[item as usize].next;
            return;
        }
        self.remove(item);
        self.push_back(list, item);
    }

    fn list_of(&self, item: u32) -> Option<u32> {
        let list = self.links.get(item as usize)?.list;
        (list != NONE).then_some(list)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        PushBack(u32, u32),
        PushFront(u32, u32),
        Remove(u32),
        MoveToBack(u32),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let operation = (0..4, 0_u32..3, 0_u32..12).prop_map(|(kind, list, item)| match kind {
            0 => Operation::PushBack(list, item),
            1 => Operation::PushFront(list, item),
            2 => Operation::Remove(item),
            _ => Operation::MoveToBack(item),
        });
        prop::collection::vec(operation, 0..100)
    }

    proptest! {
        #[test]
        fn they_are_as_plain_queues(operations in operations()) {
            let mut lists = Lists::default();
            let mut model: [VecDeque<u32>; 3] = Default::default();
            for operation in operations {
                let place = |item: u32, model: &[VecDeque<u32>; 3]| {
                    model.iter().position(|queue| queue.contains(&item))
                };
                match operation {
                    Operation::PushBack(list, item) if place(item, &model).is_none() => {
                        lists.push_back(list, item);
                        model[list as usize].push_back(item);
                    }
                    Operation::PushFront(list, item) if place(item, &model).is_none() => {
                        lists.push_front(list, item);
                        model[list as usize].push_front(item);
                    }
                    Operation::PushBack(..) | Operation::PushFront(..) => {}
                    Operation::Remove(item) => {
                        let list = place(item, &model);
                        prop_assert_eq!(lists.remove(item), list.map(|list| list as u32));
                        if let Some(list) = list {
                            model[list].retain(|other| *other != item);
                        }
                    }
                    Operation::MoveToBack(item) => {
                        lists.move_to_back(item);
                        if let Some(list) = place(item, &model) {
                            model[list].retain(|other| *other != item);
                            model[list].push_back(item);
                        }
                    }
                }
                for (list, queue) in model.iter().enumerate() {
                    let list = list as u32;
                    prop_assert!(lists.iter(list).eq(queue.iter().copied()));
                    prop_assert_eq!(lists.front(list), queue.front().copied());
                    prop_assert_eq!(lists.is_empty(list), queue.is_empty());
                    for item in queue {
                        prop_assert_eq!(lists.list_of(*item), Some(list));
                    }
                }
            }
        }
    }
}
