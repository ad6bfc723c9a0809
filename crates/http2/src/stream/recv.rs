//! The receiving side of a stream. What the connection's sums depend on is private here: only
//! [`Counted`](super::Counted) changes it.

use std::time::Instant;

use tidegate_http::Pace;
use tidegate_http::engine::Phase;

use crate::flow::{Autotune, RecvWindow, Share};

/// Whether a body's window is raised above the protocol's once the body begins to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    None,
    Due,
}

/// The receiving side of a stream.
#[derive(Debug)]
pub(crate) struct Recv {
    pub(crate) phase: Phase,
    /// Whether the owner has answered in full and ignores the rest of the request.
    pub(crate) discard: bool,
    /// The number of discarded bytes.
    pub(crate) discarded: u32,
    /// The bytes of content-length that are still to come.
    pub(super) content_left: Option<u64>,
    /// Whether the message has no content (RFC 9110 §6.4.1).
    pub(super) no_content: bool,
    pub(super) window: RecvWindow,
    /// The size up to which the owner lets the window grow.
    pub(crate) max_window: u32,
    /// Whether the owner waits for the body without a time limit.
    pub(crate) untimed: bool,
    pub(crate) tuning: Autotune,
    pub(crate) grant: Grant,
    /// The bytes that the request's head and trailers count as memory.
    pub(crate) head: u32,
    /// The stream's part of the connection's sums.
    pub(super) share: Share,
    /// How fast the message comes; if it is discarded, since when.
    pub(crate) pace: Pace,
}

impl Recv {
    pub(super) fn new(window: RecvWindow, now: Instant) -> Self {
        Self {
            phase: Phase::Head,
            discard: false,
            discarded: 0,
            content_left: None,
            no_content: false,
            window,
            max_window: u32::MAX,
            untimed: false,
            tuning: Autotune::new(now),
            grant: Grant::None,
            head: 0,
            share: Share::default(),
            pace: Pace::default(),
        }
    }

    /// Notes the content-length of a message that begins.
    pub(super) fn expect(&mut self, content_length: Option<u64>) {
        self.content_left = content_length;
    }

    /// Whether the message lacks some of the bytes that its content-length announced.
    pub(crate) fn lacks_content(&self) -> bool {
        self.content_left.is_some_and(|left| left > 0)
    }

    /// Returns the window.
    pub(crate) fn window(&self) -> &RecvWindow {
        &self.window
    }

    /// Returns the stream's part of the connection's sums.
    pub(crate) fn share(&self) -> Share {
        self.share
    }

    /// Returns how many bytes of window the rest of the message can use, with some for padding. No
    /// credit beyond that is advertised.
    pub(crate) fn usable(&self) -> u32 {
        let bytes = match (self.no_content, self.content_left) {
            (true, _) => 0,
            (false, None) => return u32::MAX,
            (false, Some(left)) => left,
        };
        let padded = bytes.saturating_add(bytes / 16 + 256);
        u32::try_from(padded).unwrap_or(u32::MAX)
    }

    /// Returns what the stream's part would be with this window. `receiving` is false once its
    /// message is over.
    pub(crate) fn share_of(&self, window: &RecvWindow, receiving: bool, shift: i64) -> Share {
        if receiving {
            window.share(shift, self.usable())
        } else {
            Share {
                unconsumed: window.unconsumed(),
                ..Share::default()
            }
        }
    }
}
