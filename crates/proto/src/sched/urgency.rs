//! Eight urgencies, each served in turn (RFC 9218 §10).

use crate::sched::Priority;

/// The streams that have something to send and may send it. A stream's slot is in here at most once.
#[derive(Debug, Default)]
pub(crate) struct Urgency {}

impl Urgency {
    /// Adds a stream that is ready, behind the others of its urgency. The caller makes sure that it isn't in here.
    pub(crate) fn insert(&mut self, slot: usize, priority: Priority) {
        let _ = (slot, priority);
        todo!()
    }

    /// Takes out the stream whose turn it is. The caller inserts it again if it is still ready after its turn:
    /// `again` does that, and knows that a non-incremental stream keeps its place in front of its urgency.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        todo!()
    }

    /// Puts back the stream that `pop` returned last, which has more to send.
    pub(crate) fn again(&mut self, slot: usize, priority: Priority) {
        let _ = (slot, priority);
        todo!()
    }

    /// Removes a stream that was reset, wherever it is.
    pub(crate) fn remove(&mut self, slot: usize, priority: Priority) {
        let _ = (slot, priority);
        todo!()
    }

    /// Whether no stream is ready.
    pub(crate) fn is_empty(&self) -> bool {
        todo!()
    }
}
