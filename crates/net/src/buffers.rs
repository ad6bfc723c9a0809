//! The I/O buffers of a worker: its connections borrow them for a turn, so that an idle one needs none of its own.

use bytes::BytesMut;
use tidegate_http::Outbox;

/// Octets that one turn reads from one connection at most. What is there beyond that waits for the next turn, so that
/// one connection can't starve the others.
pub(crate) const READ_AT_ONCE: usize = 64 << 10;

/// Octets of TLS that a connection may leave unprocessed: the largest handshake message that we take.
pub(crate) const MAX_TLS_LEFT_OVER: usize = 64 << 10;

/// The I/O buffers of a worker.
pub(crate) struct Buffers {
    /// Where sockets are read to. For TLS, what was left over goes in front.
    pub(crate) read: Box<[u8]>,
    /// What the engine takes from: what was left over, then what came now, decrypted.
    pub(crate) input: BytesMut,
    /// Bytes of memory that `input` had when it was empty.
    pub(crate) input_memory: usize,
    /// Lent to the connection that is being settled; its memory is used again and again.
    pub(crate) outbox: Outbox,
    /// TLS records on their way out.
    pub(crate) records: Records,
    /// Where small pieces of plaintext become one TLS record.
    pub(crate) gathered: Vec<u8>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            read: vec![0; MAX_TLS_LEFT_OVER + READ_AT_ONCE].into_boxed_slice(),
            input: BytesMut::new(),
            input_memory: 0,
            outbox: Outbox::new(),
            records: Records::default(),
            gathered: Vec::new(),
        }
    }

    /// Empties `input` and makes room for `octets`.
    pub(crate) fn clear_input(&mut self, octets: usize) {
        self.input.clear();
        // A body piece that the service still holds keeps the memory that it lies in. So that it keeps little, the next
        // memory is only as large as needed.
        if self.input.capacity() < octets && !self.input.try_reclaim(octets) {
            self.input = BytesMut::with_capacity(octets);
        }
        self.input_memory = self.input.capacity();
    }
}

/// TLS records, one behind the other. The memory stays initialized, so that nothing is zeroed twice.
#[derive(Default)]
pub(crate) struct Records {
    memory: Vec<u8>,
    len: usize,
}

impl Records {
    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn octets(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// At least `size` octets behind the records, to be written to; then [`Records::filled`] tells how many were.
    pub(crate) fn space(&mut self, size: usize) -> &mut [u8] {
        if self.memory.len() < self.len + size {
            self.memory.resize(self.len + size, 0);
        }
        &mut self.memory[self.len..]
    }

    pub(crate) fn filled(&mut self, octets: usize) {
        self.len += octets;
    }

    pub(crate) fn extend(&mut self, octets: &[u8]) {
        self.space(octets.len())[..octets.len()].copy_from_slice(octets);
        self.filled(octets.len());
    }
}
