//! Frames that the tests write and read themselves.

use tidegate_testkit::wire;

use super::Lab;

/// An HTTP/2 frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Returns the frames in `bytes`, which may begin with a client's preface.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    bytes = bytes.strip_prefix(wire::PREFACE).unwrap_or(bytes);
    let mut frames = Vec::new();
    while let [a, b, c, kind, flags, s, t, u, v, rest @ ..] = bytes {
        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*s, *t, *u, *v]),
            payload: rest[..len].to_vec(),
        });
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "a frame that isn't whole");
    frames
}

impl Lab {
    /// Accepts an HTTP/2 connection whose frames the test writes and reads itself, after an
    /// exchange of SETTINGS.
    pub(crate) fn accept_frames(&mut self, settings: &[(u16, u32)]) -> usize {
        let server = self.accept_raw();
        let bytes = [
            wire::settings(settings).to_bytes(),
            wire::settings_ack().to_bytes(),
        ];
        self.write_raw(server, bytes.concat());
        server
    }

    /// Returns the streams of the requests that came since the last call.
    pub(crate) fn raw_requests(&mut self, server: usize) -> Vec<u32> {
        let bytes = self.read_raw(server);
        let frames = frames(&bytes).into_iter();
        frames
            .filter(|frame| frame.kind == 1)
            .map(|frame| frame.stream)
            .collect()
    }

    pub(crate) fn write_frame(&mut self, server: usize, frame: &wire::Raw) {
        self.write_raw(server, frame.to_bytes());
    }

    /// Answers a request on a connection of frames, with a 200 that has no body.
    pub(crate) fn respond_raw(&mut self, server: usize, stream: u32) {
        self.write_frame(server, &wire::headers_block(stream, *b"\x88").end());
    }
}
