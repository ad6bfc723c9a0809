//! Octets to frames.

use bytes::BytesMut;

use crate::{Frame, Malformed};

/// Cuts frames out of the octets of one direction of a connection.
#[derive(Debug)]
pub struct Reader {
    max_frame_size: u32,
}

impl Reader {
    /// A reader that takes payloads of up to `max_frame_size` octets: our SETTINGS_MAX_FRAME_SIZE, 16,384 to 2^24-1.
    pub fn new(max_frame_size: u32) -> Self {
        Self { max_frame_size }
    }

    /// Takes the next frame off the front of `input`; `None` until a whole one is there. Frames of unknown kinds are
    /// skipped without being buffered (RFC 9113 §5.5). After a malformed frame with stream scope, reading goes on
    /// behind it.
    ///
    /// # Errors
    /// A frame that breaks the format of its kind.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        let _ = (input, self.max_frame_size);
        todo!()
    }
}
