//! Input that a connection's engine hasn't taken.

use bytes::BytesMut;

/// The reason why input is left over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// The engine needs more from the peer: the input is the beginning of a frame or a head, or
    /// empty. The next read continues it.
    #[default]
    Peer,
    /// The engine takes nothing now. Nothing is read meanwhile.
    Engine,
    /// The connection waits for its next turn. Nothing is read meanwhile, and the engine may have
    /// more events.
    Turn,
}

/// Input of one connection that its engine hasn't taken.
///
/// Input that waits for the engine is used again in place. It isn't copied in front of the next
/// read, because nothing is read before it is gone. So a connection holds at most one read.
#[derive(Debug, Default)]
pub(crate) struct LeftOver {
    bytes: BytesMut,
    /// Bytes of memory that `bytes` had when it was moved here.
    memory: usize,
    waits_for: WaitsFor,
    owner: Owner,
}

/// The owner of the worker's input buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// The worker.
    #[default]
    Worker,
    /// The connection, whose buffer has changed places with the worker's.
    Connection,
}

impl LeftOver {
    /// Returns the number of bytes left over.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of memory that the input keeps.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Returns the input, to be copied in front of the next read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn waits_for(&self) -> WaitsFor {
        self.waits_for
    }

    /// Swaps `input` with the input left over, until [`LeftOver::keep`].
    pub(crate) fn lend(&mut self, input: &mut BytesMut) {
        input.clear();
        std::mem::swap(&mut self.bytes, input);
        self.owner = Owner::Connection;
    }

    /// Keeps what the engine has left of `input`. `memory` is the memory of `input` if it is the
    /// worker's.
    pub(crate) fn keep(&mut self, input: &mut BytesMut, memory: usize, waits_for: WaitsFor) {
        let owner = std::mem::take(&mut self.owner);
        self.waits_for = waits_for;
        if input.is_empty() {
            if owner == Owner::Connection {
                std::mem::swap(&mut self.bytes, input);
            }
            self.bytes = BytesMut::new();
            self.memory = 0;
            return;
        }
        if owner == Owner::Worker {
            self.memory = memory.max(input.capacity());
        }
        // A few bytes shouldn't keep much memory, so they are copied. That happens at most as often
        // as the input halves.
        if input.len() < self.memory / 2 {
            let exact = BytesMut::from(&input[..]);
            if owner == Owner::Connection {
                std::mem::swap(&mut self.bytes, input);
            }
            self.memory = exact.capacity();
            self.bytes = exact;
            return;
        }
        match owner {
            Owner::Connection => std::mem::swap(&mut self.bytes, input),
            Owner::Worker => self.bytes = std::mem::take(input),
        }
    }

    /// Drops the input.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    fn input(len: usize) -> BytesMut {
        BytesMut::from(&vec![7; len][..])
    }

    #[test]
    fn much_is_moved_and_little_copied() {
        let mut left_over = LeftOver::default();
        let mut worker = input(60_000);
        let place = worker.as_ptr();
        left_over.keep(&mut worker, 60_000, WaitsFor::Engine);
        assert_eq!(left_over.bytes().as_ptr(), place, "it was copied");
        assert_eq!((left_over.len(), left_over.memory()), (60_000, 60_000));
        assert_eq!(left_over.waits_for(), WaitsFor::Engine);

        let mut worker = BytesMut::with_capacity(100);
        let own = worker.as_ptr();
        // Up to a half is taken in place, without a copy.
        for taken in [10_000, 10_000, 10_000] {
            left_over.lend(&mut worker);
            worker.advance(taken);
            let place = worker.as_ptr();
            left_over.keep(&mut worker, 0, WaitsFor::Turn);
            assert_eq!(left_over.bytes().as_ptr(), place, "it was copied");
            assert_eq!((worker.as_ptr(), worker.capacity()), (own, 100));
        }
        assert_eq!((left_over.len(), left_over.memory()), (30_000, 60_000));
        left_over.lend(&mut worker);
        worker.advance(1);
        left_over.keep(&mut worker, 0, WaitsFor::Turn);
        assert_eq!((left_over.len(), left_over.memory()), (29_999, 29_999));
        assert_eq!((worker.as_ptr(), worker.capacity()), (own, 100));
        left_over.lend(&mut worker);
        worker.advance(29_999);
        left_over.keep(&mut worker, 0, WaitsFor::Peer);
        assert_eq!((left_over.len(), left_over.memory()), (0, 0));
        assert_eq!((worker.as_ptr(), worker.capacity()), (own, 100));
    }

    #[test]
    fn an_unfinished_frame_of_a_large_read_keeps_little_memory() {
        let mut left_over = LeftOver::default();
        let mut worker = input(60_000);
        worker.advance(59_990);
        left_over.keep(&mut worker, 60_000, WaitsFor::Peer);
        assert_eq!((left_over.bytes(), left_over.memory()), (&[7; 10][..], 10));
        assert_eq!(left_over.waits_for(), WaitsFor::Peer);
        left_over.clear();
        assert_eq!((left_over.len(), left_over.memory()), (0, 0));
    }
}
