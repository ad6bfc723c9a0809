//! Events that no frame on the connection has caused: they wait for the next `receive`.

use std::collections::VecDeque;

use tidegate_frame::{ErrorCode, StreamId};
use tidegate_http::engine::SentMessages;
use tidegate_http::{Event, RequestHead, ResetCause};

use crate::conn::Connection;

/// The waiting events.
#[derive(Debug, Default)]
pub(super) struct Unreported {
    /// The request that came by HTTP/1.1.
    pub(super) request: Option<Box<RequestHead>>,
    /// The streams that ended by a time limit, or by the peer's GOAWAY.
    resets: VecDeque<(StreamId, ErrorCode, ResetCause)>,
    /// The messages of ours that ended. They wait until `transmit` has moved their bytes out, or
    /// until the connection's end is reported.
    pub(super) sent: SentMessages,
}

impl Unreported {
    /// Adds the end of a stream.
    pub(super) fn reset(&mut self, id: StreamId, code: ErrorCode, cause: ResetCause) {
        self.resets.push_back((id, code, cause));
    }

    /// Whether ends of streams wait.
    pub(super) fn has_resets(&self) -> bool {
        !self.resets.is_empty()
    }

    /// Whether no event waits.
    pub(super) fn is_empty(&self) -> bool {
        self.request.is_none() && self.resets.is_empty() && self.sent.is_empty()
    }

    /// Drops the ends of streams: the connection is over, and they with it.
    pub(super) fn drop_resets(&mut self) {
        self.resets.clear();
    }

    /// Frees memory that isn't needed now.
    pub(super) fn release_memory(&mut self) {
        self.resets.shrink_to_fit();
    }
}

impl Connection {
    /// Returns the next event that waits, if any does.
    pub(super) fn take_unreported(&mut self) -> Option<Event> {
        if let Some(head) = self.unreported.request.take() {
            return Some(self.on_upgrade_request(*head));
        }
        let (id, code, cause) = self.unreported.resets.pop_front()?;
        if !self.unreported.has_resets() && self.lifetime.is_ending() {
            self.close_if_drained();
        }
        Some(Event::Reset { id, code, cause })
    }
}
