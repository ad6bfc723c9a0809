//! One HTTP/2 request with just the given fields, which other clients would refuse to send.

use std::io::{self, Read, Write};

use tidegate_hpack::{Decoder, Fields, Limits};
use tidegate_testkit::wire::{self, PREFACE, Raw, kind};

use crate::exchange::connect;

/// A frame that has arrived.
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) is_ack: bool,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Reads the frame that comes next.
pub(crate) fn read_frame(input: &mut impl Read) -> io::Result<Received> {
    let mut head = [0; 9];
    input.read_exact(&mut head)?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, a, b, c]);
    let mut payload = Vec::new();
    input.take(length.into()).read_to_end(&mut payload)?;
    Ok(Received {
        kind,
        is_ack: flags & wire::flag::ACK != 0,
        stream: u32::from_be_bytes(stream),
        payload,
    })
}

/// Sends a frame.
pub(crate) fn send(output: &mut impl Write, frame: &Raw) -> io::Result<()> {
    output.write_all(&frame.to_bytes())
}

/// Returns the number in the four bytes at `at`.
pub(crate) fn number(payload: &[u8], at: usize) -> u32 {
    let bytes = payload.get(at..at + 4).unwrap_or(&[0; 4]);
    bytes.iter().fold(0, |n, byte| n << 8 | u32::from(*byte))
}

/// The end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// A response came, with this status.
    Status(u16),
    /// The stream was reset with this code.
    Reset(u32),
    /// The connection ended with this code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

impl Fate {
    /// Whether the request was refused as RFC 9113 §8.1.1 has it.
    pub(crate) fn is_refusal(self) -> bool {
        matches!(self, Self::Status(400) | Self::Reset(1))
    }
}

/// Sends a request, and returns its end.
pub(crate) fn request(
    address: &str,
    fields: &[(&str, &str)],
    body: Option<&str>,
) -> io::Result<Fate> {
    let mut peer = connect(address)?;
    let mut head = wire::headers(1, fields);
    if body.is_none() {
        head = head.end();
    }
    let mut bytes = [PREFACE, &wire::settings(&[]).to_bytes(), &head.to_bytes()].concat();
    if let Some(body) = body {
        bytes.extend(wire::data(1, body).end().to_bytes());
    }
    peer.write_all(&bytes)?;
    loop {
        let Ok(frame) = read_frame(&mut peer) else {
            return Ok(Fate::Closed);
        };
        match frame.kind {
            kind::SETTINGS if !frame.is_ack => send(&mut peer, &wire::settings_ack())?,
            kind::HEADERS if frame.stream == 1 => return Ok(Fate::Status(status(&frame.payload))),
            kind::RST_STREAM => return Ok(Fate::Reset(number(&frame.payload, 0))),
            kind::GOAWAY => return Ok(Fate::GoAway(number(&frame.payload, 4))),
            _ => {}
        }
    }
}

/// Returns the status in the first header block of a connection, or 0.
fn status(block: &[u8]) -> u16 {
    let limits = Limits {
        max_list_size: 1 << 16,
        max_fields: 100,
        max_cookie_crumbs: 0,
    };
    let mut fields = Fields::new();
    let decoded = Decoder::new(4096).decode(block, &limits, &mut fields);
    let value = decoded.ok().and_then(|_| fields.get(":status"));
    let digits = value.and_then(|value| std::str::from_utf8(value).ok());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
