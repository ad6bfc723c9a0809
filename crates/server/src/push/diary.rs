//! The resources that a client was pushed or requested on one connection. No resource is pushed
//! twice, or after the client has requested it.

use tidegate_http::StreamId;

/// The most entries of a diary. Nothing more is pushed on a connection whose diary is full, so no
/// resource is pushed twice because its entry was forgotten.
pub(super) const MAX_ENTRIES: usize = 256;

/// One connection's diary. An empty one allocates no memory.
#[derive(Debug, Default)]
pub(super) struct Diary {
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    /// The client requested this resource.
    Asked(u16),
    Pushed(Pushed),
    /// The client got this page as one of the control group.
    Observed(u16),
}

/// A push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    pub(super) stream: StreamId,
    pub(super) resource: u16,
    pub(super) page: u16,
}

impl Diary {
    /// Whether this resource was pushed or requested.
    pub(super) fn has(&self, resource: u16) -> bool {
        self.entries.iter().any(|entry| match entry {
            Entry::Asked(other) => *other == resource,
            Entry::Pushed(pushed) => pushed.resource == resource,
            Entry::Observed(_) => false,
        })
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// Notes that the client requested this resource. A full diary notes nothing, because nothing
    /// more is pushed then.
    pub(super) fn asked(&mut self, resource: u16) {
        if !self.has(resource) {
            self.note(Entry::Asked(resource));
        }
    }

    pub(super) fn pushed(&mut self, pushed: Pushed) {
        self.note(Entry::Pushed(pushed));
    }

    /// Notes that the client got this page as one of the control group. Returns whether that was
    /// noted now, and not before.
    pub(super) fn observed(&mut self, page: u16) -> bool {
        let mut entries = self.entries.iter();
        let before = entries.any(|entry| matches!(entry, Entry::Observed(other) if *other == page));
        !before && self.note(Entry::Observed(page))
    }

    fn note(&mut self, entry: Entry) -> bool {
        let fits = !self.is_full();
        if fits {
            self.entries.push(entry);
        }
        fits
    }

    /// Returns all pushes, the latest first.
    pub(super) fn pushes(&self) -> impl Iterator<Item = Pushed> {
        let entries = self.entries.iter().rev();
        entries.filter_map(|entry| match entry {
            Entry::Pushed(pushed) => Some(*pushed),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(resource: u16) -> Pushed {
        Pushed {
            stream: StreamId::new(2 + 2 * u32::from(resource)),
            resource,
            page: 0,
        }
    }

    #[test]
    fn an_empty_diary_takes_no_memory_and_a_full_one_is_small() {
        let mut diary = Diary::default();
        assert_eq!(diary.entries.capacity(), 0);
        for resource in 0..1000 {
            diary.asked(resource);
        }
        assert!(diary.is_full() && !diary.observed(0));
        assert!(diary.entries.capacity() <= MAX_ENTRIES && size_of::<Entry>() == 12);
    }

    #[test]
    fn observing_a_page_is_no_push_of_a_resource() {
        let mut diary = Diary::default();
        assert!(diary.observed(7) && !diary.observed(7) && diary.observed(8));
        assert!(!diary.has(7));
        diary.pushed(push(7));
        assert!(diary.has(7));
        assert_eq!(diary.pushes().collect::<Vec<_>>(), [push(7)]);
    }

    proptest! {
        /// Whatever a client does, a pusher that asks the diary before each push never pushes a
        /// resource twice, or one that was requested.
        #[test]
        fn nothing_is_pushed_twice(steps in prop::collection::vec((any::<bool>(), 0u16..400), 0..1500)) {
            let mut diary = Diary::default();
            let mut known = std::collections::HashSet::new();
            for (is_request, resource) in steps {
                if is_request {
                    diary.asked(resource);
                    known.insert(resource);
                } else if !diary.has(resource) && !diary.is_full() {
                    diary.pushed(push(resource));
                    prop_assert!(known.insert(resource), "{resource}");
                }
                prop_assert!(diary.entries.len() <= MAX_ENTRIES);
            }
        }
    }
}
