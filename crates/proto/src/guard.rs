//! Every abuse budget, each named for the attack that it answers: the only file that counts abuse.

use std::time::Instant;

use crate::error::Violation;

/// How fast a budget is spent and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What can be spent at once.
    pub burst: u32,
    /// What comes back each second.
    pub per_second: u32,
}

/// Budgets per connection. Numbers and their sources are in the field's documentation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AbuseLimits {
    /// CVE-2019-9512: PING frames that we must answer.
    pub pings: Rate,
}

impl Default for AbuseLimits {
    fn default() -> Self {
        Self {
            pings: Rate {
                burst: 100,
                per_second: 20,
            },
        }
    }
}

/// The budgets of one connection. Every method charges one; over it, the connection ends.
#[derive(Debug)]
pub(crate) struct Guard {}

impl Guard {
    pub(crate) fn new(limits: &AbuseLimits, max_concurrent_streams: u32, now: Instant) -> Self {
        let _ = (limits, max_concurrent_streams, now);
        todo!()
    }

    /// A stream was opened by the peer.
    pub(crate) fn stream_opened(&mut self) {}

    /// The peer's RST_STREAM hit a stream: `answered` if its final response had been given by the owner.
    pub(crate) fn peer_reset(&mut self, answered: bool, now: Instant) -> Result<(), Violation> {
        let _ = (answered, now);
        todo!()
    }

    /// We reset a stream because of what the peer did.
    pub(crate) fn own_reset(&mut self, now: Instant) -> Result<(), Violation> {
        let _ = now;
        todo!()
    }

    /// A CONTINUATION frame, the `count`-th of its block, whose block has `block_len` octets so far.
    pub(crate) fn continuation(
        &mut self,
        count: u32,
        fragment_len: usize,
        block_len: usize,
        end: bool,
    ) -> Result<(), Violation> {
        let _ = (count, fragment_len, block_len, end);
        todo!()
    }

    /// A header list of this many octets and fields came in, the limit being `max_list_size`.
    pub(crate) fn header_list(
        &mut self,
        list_size: usize,
        fields: usize,
        max_list_size: usize,
    ) -> Result<(), Violation> {
        let _ = (list_size, fields, max_list_size);
        todo!()
    }

    /// A PING that must be answered.
    pub(crate) fn ping(&mut self, now: Instant) -> Result<(), Violation> {
        let _ = now;
        todo!()
    }

    /// A SETTINGS frame with so many entries.
    pub(crate) fn settings(&mut self, entries: usize, now: Instant) -> Result<(), Violation> {
        let _ = (entries, now);
        todo!()
    }

    /// A PRIORITY or PRIORITY_UPDATE frame.
    pub(crate) fn priority(&mut self, now: Instant) -> Result<(), Violation> {
        let _ = now;
        todo!()
    }

    /// A WINDOW_UPDATE; `data_frames_sent` and `streams_opened` are the connection's totals that justify some.
    pub(crate) fn window_update(
        &mut self,
        data_frames_sent: u64,
        streams_opened: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let _ = (data_frames_sent, streams_opened, now);
        todo!()
    }

    /// A DATA frame without payload that doesn't end its stream.
    pub(crate) fn empty_data(&mut self, now: Instant) -> Result<(), Violation> {
        let _ = now;
        todo!()
    }

    /// A frame of an unknown kind, of `length` octets.
    pub(crate) fn unknown_frame(&mut self, length: u32, now: Instant) -> Result<(), Violation> {
        let _ = (length, now);
        todo!()
    }
}
