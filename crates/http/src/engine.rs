//! Parts of engines that both have. Owners of an engine need none of them.

use std::collections::VecDeque;
use std::time::Duration;

use tidegate_hpack::Fields;

use crate::event::Event;

/// Keeps [`Stream`](crate::Stream) to the engines, so that it can grow.
pub trait Sealed {}

/// The progress of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The final head is still to come.
    Head,
    /// The head is complete; body or trailers may follow.
    Body,
    /// The message is complete.
    Done,
}

/// The continuation after the bytes of a body that wait to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Nothing: the message ends.
    End,
    /// The owner has more and is to be asked when it is the stream's turn.
    Ask,
    /// The owner has been asked and has not answered.
    Asked,
}

/// The most body bytes in one answer to [`Event::Writable`], whatever the windows allow. It limits
/// the memory that a stream holds.
pub const MAX_WRITE: usize = 256 << 10;

/// The largest body, in bytes, that follows its head at once: a turn of its own costs more than the
/// copy.
pub const SMALL_BODY: usize = 4096;

/// The most bytes of a request that a client may still send after the response has ended. Clients
/// lose an unread response when a reset arrives with it; this gives them time to read.
pub const MAX_DISCARDED: usize = 1 << 20;

/// The time that a connection has nothing to do before it frees memory. A peer that asks again
/// sooner finds everything in place.
pub const REST_AFTER: Duration = Duration::from_millis(250);

/// The time until a connection without memory for more input checks again.
pub const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The number of times that a request's head counts: once for the request, and once for a copy of
/// its owner's.
const HEADS: usize = 2;

/// Returns the bytes of the memory budget that a request's head counts.
pub fn head_size(fields: &Fields) -> u32 {
    u32::try_from(fields.memory() * HEADS).unwrap_or(u32::MAX)
}

/// Messages of ours that ended and wait to be reported as [`Event::Sent`]. Most owners don't ask
/// for them, so the list exists while it has one.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "a connection that doesn't use it is smaller"
)]
pub struct SentMessages(Option<Box<VecDeque<Event>>>);

impl SentMessages {
    /// Adds a message's event.
    pub fn push(&mut self, sent: Event) {
        self.0.get_or_insert_default().push_back(sent);
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Removes and returns the event that waits longest.
    #[inline]
    pub fn take(&mut self) -> Option<Event> {
        let waiting = self.0.as_mut()?;
        let first = waiting.pop_front();
        if waiting.is_empty() {
            self.0 = None;
        }
        first
    }
}
