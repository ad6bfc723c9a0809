//! The only way to change what a stream's part in the connection's sums depends on.

use std::ops::{Deref, DerefMut};

use tidegate_http::Violation;

use crate::flow::{ConnectionWindow, RecvWindow};
use crate::memory::Memory;
use crate::stream::state::State;
use crate::stream::{Phase, Stream};

/// A stream of which anything may be changed. When this is dropped, the stream's part in the
/// connection's sums is counted anew.
pub(crate) struct Counted<'a> {
    stream: &'a mut Stream,
    window: &'a mut ConnectionWindow,
    memory: &'a mut Memory,
    /// The change of SETTINGS_INITIAL_WINDOW_SIZE that isn't acknowledged yet.
    shift: i64,
}

impl<'a> Counted<'a> {
    #[inline]
    pub(crate) fn new(
        stream: &'a mut Stream,
        window: &'a mut ConnectionWindow,
        memory: &'a mut Memory,
        shift: i64,
    ) -> Self {
        Self {
            stream,
            window,
            memory,
            shift,
        }
    }

    /// Changes the stream's state.
    pub(crate) fn set_state(&mut self, state: State) {
        self.stream.state = state;
    }

    /// Lets the stream, which was reset, wait for its owner's release.
    pub(crate) fn await_release(&mut self) {
        self.stream.awaiting_release = true;
        self.stream.recv.window.consume(u32::MAX);
    }

    /// Notes the length of the content of a message that begins: `None` if only its end tells, or
    /// no content at all (RFC 9110 §6.4.1).
    pub(crate) fn expect(&mut self, no_content: bool, content_length: Option<u64>) {
        self.stream.recv.no_content = no_content;
        self.stream.recv.expect(content_length);
    }

    /// Counts DATA of `len` bytes, `flow_len` with padding, against the stream's window and the
    /// message's content.
    pub(crate) fn count_data(&mut self, len: u32, flow_len: u32) -> Result<(), Violation> {
        let recv = &mut self.stream.recv;
        if recv.window.receive(flow_len).is_err() {
            return Err(Violation::DataOverStreamWindow);
        }
        // RFC 9113 §8.1: a message begins with its head.
        if recv.phase == Phase::Head {
            return Err(Violation::DataBeforeResponseHead);
        }
        if recv.no_content && len > 0 {
            return Err(Violation::DataWithoutContent);
        }
        if let Some(left) = &mut recv.content_left {
            *left = left
                .checked_sub(u64::from(len))
                .ok_or(Violation::ContentLengthMismatch)?;
        }
        Ok(())
    }

    /// Returns the receive window.
    pub(crate) fn window(&mut self) -> &mut RecvWindow {
        &mut self.stream.recv.window
    }

    /// Advertises all the credit that the window has room for. Returns the increment.
    pub(crate) fn advertise(&mut self) -> Option<u32> {
        let usable = self.stream.recv.usable();
        self.stream.recv.window.advertise(self.shift, usable)
    }

    /// Advertises the credit that is due. Returns the increment.
    pub(crate) fn advertise_if_due(&mut self) -> Option<u32> {
        let usable = self.stream.recv.usable();
        self.stream.recv.window.advertise_if_due(self.shift, usable)
    }
}

impl Deref for Counted<'_> {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        self.stream
    }
}

impl DerefMut for Counted<'_> {
    fn deref_mut(&mut self) -> &mut Stream {
        self.stream
    }
}

impl Drop for Counted<'_> {
    #[inline]
    fn drop(&mut self) {
        let share = self.stream.share(self.shift);
        let before = std::mem::replace(&mut self.stream.recv.share, share);
        self.window.replace(before, share);
        self.memory.settle_bill(self.stream);
    }
}
