//! What the connection holds, and whether it may hold more.

use std::sync::Arc;
use std::time::Duration;

use tidegate_ledger::Client;

use crate::conn::timer::Timer;
use crate::conn::{Connection, Role};
use crate::flow::{Holding, Share};
use crate::message::Fields;
use crate::stream::Stream;

/// Bytes that count for each stream beside its head and body: its slot here, and what its owner keeps of it.
const STREAM: u64 = 1 << 10;

/// How often a request's head counts: here it is once, and its owner may keep another one.
const HEADS: usize = 2;

/// How long until a connection without memory for more input looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The part of what is held that has no sum elsewhere.
pub(crate) struct Memory {
    holding: Holding,
    /// Heads and trailers of requests whose streams are here.
    heads: u64,
    /// Pieces of bodies that owners wrote, and that wait to be sent.
    streamed: u64,
}

/// What a request's head counts.
pub(super) fn head_size(fields: &Fields) -> u32 {
    u32::try_from(fields.memory() * HEADS).unwrap_or(u32::MAX)
}

impl Memory {
    pub(crate) fn new(holding: Holding) -> Self {
        Self {
            holding,
            heads: 0,
            streamed: 0,
        }
    }

    /// The owner wrote `bytes` of a body, all that waits of it.
    pub(crate) fn written(&mut self, streamed: &mut usize, bytes: usize) {
        self.streamed += bytes as u64;
        *streamed += bytes;
    }

    /// `bytes` of a body that waited went out, or are of no use any more.
    pub(crate) fn sent(&mut self, streamed: &mut usize, bytes: usize) {
        let bytes = bytes.min(*streamed);
        self.streamed -= bytes as u64;
        *streamed -= bytes;
    }

    /// A stream is gone.
    pub(crate) fn gone(&mut self, stream: &Stream) {
        self.heads -= u64::from(stream.recv.head);
        self.streamed -= stream.send.buf.streamed as u64;
    }

    /// All streams are.
    pub(crate) fn close(&mut self) {
        (self.heads, self.streamed) = (0, 0);
    }

    pub(crate) fn is_tight(&self) -> bool {
        self.holding.is_tight()
    }

    /// Checks the sums against all streams.
    pub(crate) fn audit<'a>(
        &self,
        streams: impl Iterator<Item = &'a Stream>,
    ) -> Result<(), String> {
        let (mut heads, mut streamed) = (0, 0);
        for stream in streams {
            heads += u64::from(stream.recv.head);
            streamed += stream.send.buf.streamed as u64;
        }
        let (found, counted) = ((heads, streamed), (self.heads, self.streamed));
        if found != counted {
            return Err(format!(
                "heads and written pieces come to {found:?}, counted are {counted:?}"
            ));
        }
        Ok(())
    }
}

/// For owners: who pays for the memory, and how much it is.
impl Connection {
    /// From now on what the connection holds counts as this client's in the ledger of
    /// [`Config::memory_budget`](crate::Config::memory_budget). Before, and if the client is of another ledger, it is nobody's.
    pub fn bill(&mut self, client: &Arc<Client>) {
        self.memory.holding.bill(client);
    }

    /// Tells how many bytes are held for the connection outside of its engine: input that was read along, what the socket
    /// hasn't taken, TLS.
    pub fn note_outside(&mut self, bytes: u64) {
        self.memory.holding.note_outside(bytes);
    }

    /// How many bytes the connection holds: heads of requests in progress, bodies that were not consumed, what waits to be
    /// sent, what [`Connection::note_outside`] told, and something for each stream. A client's connection adds what its server
    /// may send.
    pub fn held_bytes(&self) -> u64 {
        let partial = self
            .blocks
            .partial
            .as_ref()
            .map_or(0, |partial| partial.block.len());
        let held = self.streams.len() as u64 * STREAM
            + self.memory.heads
            + self.memory.streamed
            + self.recv_window.unconsumed()
            + (self.control.len() + partial) as u64
            + self.memory.holding.outside();
        match self.role {
            Role::Server => held,
            // RFC 9113 §5.2.2: "Failure to read promptly could lead to a deadlock", so a client always reads.
            Role::Client => held + self.recv_window.allowed(),
        }
    }
}

impl Connection {
    /// Whether there is memory for more input.
    pub(super) fn has_memory(&self) -> bool {
        self.role == Role::Client || self.memory.holding.has_room()
    }

    /// Whether so many bytes more may wait to be sent.
    pub(crate) fn has_room_for(&mut self, bytes: usize) -> bool {
        let held = self.held_bytes() + bytes as u64;
        self.memory.holding.admit(held)
    }

    /// Server: whether there is memory for a request whose head counts `head`. It is counted then.
    pub(super) fn admit_request(&mut self, stream: &mut Stream, head: u32) -> bool {
        let held = self.held_bytes() + STREAM + u64::from(head);
        if !self.memory.holding.admit(held) {
            return false;
        }
        stream.recv.head = head;
        self.memory.heads += u64::from(head);
        true
    }

    /// Whether there is memory for the trailers of a stream's message. A request's are counted then, as its head is; those of a
    /// response are bounded as its head is, by how many responses are asked for.
    pub(super) fn admit_trailers(&mut self, slot: usize, fields: &Fields) -> bool {
        let size = head_size(fields);
        if self.role == Role::Client {
            return true;
        }
        if !self.has_room_for(size as usize) {
            return false;
        }
        let recv = &mut self.streams.get_mut(slot).recv;
        recv.head += size;
        self.memory.heads += u64::from(size);
        true
    }

    /// Client: whether there is memory for a response.
    pub(super) fn admit_response(&mut self, stream: &Stream) -> bool {
        let allowed = u64::from(self.share(stream).allowed);
        let held = self.held_bytes() + STREAM + allowed;
        self.memory.holding.admit_for_all(held)
    }

    /// Whether a stream's share may grow so.
    pub(super) fn may_lend(&mut self, before: Share, after: Share) -> bool {
        match self.role {
            Role::Server => {
                let lent = self.recv_window.lent_with(before, after);
                self.memory.holding.lend(lent)
            }
            Role::Client => {
                let more = u64::from(after.allowed).saturating_sub(before.allowed.into());
                let held = self.held_bytes() + more;
                self.memory.holding.admit(held)
            }
        }
    }

    /// Brings what is held and lent into the budget. `transmit` does so; an owner that doesn't call that, since its transport takes
    /// nothing now, calls this after what has come in.
    pub fn settle_memory(&mut self) {
        let held = self.held_bytes();
        self.memory.holding.settle(held);
        if self.role == Role::Server {
            self.memory.holding.settle_lent(self.recv_window.lent());
        }
        if !self.has_memory() {
            self.timers
                .set_if_unset(Timer::Memory, self.now, LOOK_AGAIN_AFTER);
        }
    }
}
