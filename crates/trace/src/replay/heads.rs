//! Heads that an end sent, in one frame or several.

use tidegate_frame::Flags;

use crate::record::{Block, FrameRecord, Payload};

/// A head whose last frame was sent.
pub(super) struct Head<'r> {
    pub(super) stream: u32,
    /// The stream that it promises, if it is a push.
    pub(super) promised: Option<u32>,
    /// Whether its message ends with it.
    pub(super) end: bool,
    pub(super) block: &'r Block,
}

/// The head that is being sent on a connection.
#[derive(Default)]
pub(super) struct Heads {
    /// Its stream, the stream that it promises, and whether its message ends with it.
    begun: Option<(u32, Option<u32>, bool)>,
}

impl Heads {
    /// Takes the next frame that was sent. Returns the head that it completes, if it does.
    pub(super) fn next<'r>(&mut self, frame: &'r FrameRecord) -> Option<Head<'r>> {
        let id = frame.stream_id;
        let block = match &frame.payload {
            Payload::Headers { block, .. } => {
                let end = Flags(frame.flags).has(Flags::END_STREAM);
                self.begun = Some((id, None, end));
                block
            }
            Payload::PushPromise {
                promised_stream_id,
                block,
            } => {
                self.begun = Some((id, Some(*promised_stream_id), false));
                block
            }
            Payload::Continuation { block } => block,
            _ => return None,
        };
        let block = block.as_deref()?;
        let (stream, promised, end) = self.begun.take()?;
        Some(Head {
            stream,
            promised,
            end,
            block,
        })
    }
}
