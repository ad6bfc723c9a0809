//! What of a message's body waits to be sent.

use bytes::Bytes;

use crate::message::Fields;

/// What comes behind the pending bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum More {
    /// Nothing: the message ends.
    End,
    /// The owner has more; it is to be asked when it is the stream's turn.
    Ask,
    /// The owner has been asked and has not answered.
    Asked,
}

/// The body of a message on its way out. Holds one piece at most: body bytes are fetched on demand.
#[derive(Debug)]
pub(crate) struct SendBuf {
    pub(crate) pending: Bytes,
    /// How many bytes of it the owner wrote piece by piece: those are its copy, while a whole body
    /// may be shared.
    pub(crate) streamed: usize,
    pub(crate) more: More,
    pub(crate) trailers: Option<Fields>,
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

    /// Whether the stream has a use for a turn: bytes to send, or the owner to ask.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.pending.is_empty() || self.more == More::Ask
    }
}
