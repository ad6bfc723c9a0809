//! Plain counters of one connection.

/// The totals of one connection. Bytes are counted at the frame layer, without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Stats {
    pub frames_in: u64,
    pub frames_out: u64,
    /// Bytes that `receive` took.
    pub bytes_in: u64,
    /// Bytes that `transmit` produced.
    pub bytes_out: u64,
    /// Requests received (server) or sent (client), without pushes.
    pub requests: u64,
    /// Bytes of bodies, without padding.
    pub body_in: u64,
    pub body_out: u64,
    /// Bytes of field names and values before compression, and of their header blocks.
    pub fields_in: u64,
    pub blocks_in: u64,
    pub fields_out: u64,
    pub blocks_out: u64,
    /// RST_STREAM frames.
    pub resets_in: u64,
    pub resets_out: u64,
    /// PUSH_PROMISE frames.
    pub pushes_in: u64,
    pub pushes_out: u64,
    pub window_updates_in: u64,
    pub window_updates_out: u64,
    /// How often a stream's receive window was doubled (the first grant included) or halved.
    pub windows_grown: u64,
    pub windows_shrunk: u64,
    /// Streams refused because the memory budget was used up.
    pub refused_for_memory: u64,
}

impl Stats {
    /// Adds another connection's counts to these.
    pub fn add(&mut self, other: &Self) {
        self.frames_in += other.frames_in;
        self.frames_out += other.frames_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.requests += other.requests;
        self.body_in += other.body_in;
        self.body_out += other.body_out;
        self.fields_in += other.fields_in;
        self.blocks_in += other.blocks_in;
        self.fields_out += other.fields_out;
        self.blocks_out += other.blocks_out;
        self.resets_in += other.resets_in;
        self.resets_out += other.resets_out;
        self.pushes_in += other.pushes_in;
        self.pushes_out += other.pushes_out;
        self.window_updates_in += other.window_updates_in;
        self.window_updates_out += other.window_updates_out;
        self.windows_grown += other.windows_grown;
        self.windows_shrunk += other.windows_shrunk;
        self.refused_for_memory += other.refused_for_memory;
    }

    /// Returns the bytes that header compression saved, in both directions together.
    pub fn header_bytes_saved(&self) -> u64 {
        (self.fields_in + self.fields_out).saturating_sub(self.blocks_in + self.blocks_out)
    }
}
