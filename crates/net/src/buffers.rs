//! The I/O buffers of a worker. Its connections borrow them for a turn, so an idle connection needs
//! none of its own.

use bytes::BytesMut;
use tidegate_http::Outbox;

/// The most bytes that one turn reads from one connection. The rest waits for the next turn, so one
/// connection can't starve the others.
pub(crate) const READ_AT_ONCE: usize = 64 << 10;

/// The bytes that one turn reads at least, however few of them the engine takes.
pub(crate) const READ_AT_LEAST: usize = 4 << 10;

/// The most bytes of TLS that a connection may leave unprocessed: the largest handshake message
/// that is accepted.
pub(crate) const MAX_TLS_LEFT_OVER: usize = 64 << 10;

/// The I/O buffers of a worker.
pub(crate) struct Buffers {
    /// The buffer that sockets are read into. With TLS, bytes left over go in front.
    pub(crate) read: Box<[u8]>,
    /// The input for the engine: bytes left over, then those just read, decrypted.
    pub(crate) input: BytesMut,
    /// Bytes of memory that `input` had when it was empty.
    pub(crate) input_memory: usize,
    /// The outbox that is lent to the connection being settled, so that its memory is reused.
    pub(crate) outbox: Outbox,
    /// TLS records that are about to be written.
    pub(crate) records: Records,
    /// The buffer in which small pieces of plaintext become one TLS record.
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

    /// Empties `input` and makes room for `bytes` bytes.
    pub(crate) fn clear_input(&mut self, bytes: usize) {
        self.input.clear();
        // A piece of a body that the service holds keeps the memory that it lies in. To keep
        // little, the next memory is only as large as needed.
        if self.input.capacity() < bytes && !self.input.try_reclaim(bytes) {
            self.input = BytesMut::with_capacity(bytes);
        }
        self.input_memory = self.input.capacity();
    }
}

/// TLS records, one after the other. The memory stays initialized, so nothing is zeroed twice.
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

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// Returns at least `size` bytes of space after the records. [`Records::filled`] says how many
    /// were used.
    pub(crate) fn space(&mut self, size: usize) -> &mut [u8] {
        if self.memory.len() < self.len + size {
            self.memory.resize(self.len + size, 0);
        }
        &mut self.memory[self.len..]
    }

    pub(crate) fn filled(&mut self, bytes: usize) {
        self.len += bytes;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.space(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }
}
