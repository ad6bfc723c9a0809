//! The part of a message's body that waits to be sent.

use bytes::Bytes;
use tidegate_http::Fields;
use tidegate_http::engine::More;

/// The body of an outgoing message. It holds one piece at most: bodies are fetched on demand.
#[derive(Debug)]
pub(crate) struct SendBuf {
    pub(crate) pending: Bytes,
    /// The number of pending bytes that the owner wrote piece by piece: the owner's memory, while a
    /// complete body may be shared.
    pub(crate) streamed: usize,
    pub(crate) more: More,
    pub(crate) trailers: Option<Box<Fields>>,
}

impl SendBuf {
    pub(crate) fn new() -> Self {
        Self {
            pending: Bytes::new(),
            streamed: 0,
            more: More::End,
            trailers: None,
        }
    }

    /// Whether the stream can use a turn: bytes to send, or the owner to ask.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.pending.is_empty() || self.more == More::Ask
    }
}
