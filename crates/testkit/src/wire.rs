//! Raw frames, right or wrong, byte by byte.
//!
//! This file uses neither the frame crate nor an HPACK encoder, so that a test can send frames that
//! those would refuse, and so that an error there can't hide itself.

use tidegate_http::ErrorCode;

/// The first bytes of a client (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub mod kind {
    /// DATA.
    pub const DATA: u8 = 0x0;
    /// HEADERS.
    pub const HEADERS: u8 = 0x1;
    /// RST_STREAM.
    pub const RST_STREAM: u8 = 0x3;
    /// SETTINGS.
    pub const SETTINGS: u8 = 0x4;
    /// PING.
    pub const PING: u8 = 0x6;
    /// GOAWAY.
    pub const GOAWAY: u8 = 0x7;
    /// WINDOW_UPDATE.
    pub const WINDOW_UPDATE: u8 = 0x8;
}

/// Flag bits (RFC 9113 §6).
pub mod flag {
    /// DATA, HEADERS: the sender's last frame on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an acknowledgement.
    pub const ACK: u8 = 0x1;
    /// HEADERS, PUSH_PROMISE, CONTINUATION: the field block ends.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS, PUSH_PROMISE: the frame has a pad length and padding.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: the frame has a stream dependency.
    pub const PRIORITY: u8 = 0x20;
}

/// A frame that a test sends.
#[derive(Clone, Debug)]
pub struct Raw {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
    padding: Option<(u8, usize)>,
    dependency: Option<[u8; 5]>,
}

impl Raw {
    /// Sets END_STREAM.
    #[must_use]
    pub fn end(self) -> Self {
        self.flags(flag::END_STREAM)
    }

    /// Clears END_HEADERS: CONTINUATION follows.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.flags &= !flag::END_HEADERS;
        self
    }

    /// Sets these flags in addition to those that are set.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.flags |= flags;
        self
    }

    /// Pads with this many bytes.
    #[must_use]
    pub fn padded(self, bytes: u8) -> Self {
        self.claim_padding(bytes, usize::from(bytes))
    }

    /// Claims that `claimed` bytes are padding, but adds `real` ones.
    #[must_use]
    pub fn claim_padding(mut self, claimed: u8, real: usize) -> Self {
        self.padding = Some((claimed, real));
        self.flags(flag::PADDED)
    }

    /// Adds a stream dependency (RFC 7540 §6.2).
    #[must_use]
    pub fn depends_on(mut self, stream: u32, exclusive: bool, weight: u8) -> Self {
        self.dependency = Some(dependency(stream, exclusive, weight));
        self.flags(flag::PRIORITY)
    }

    /// Appends bytes to the payload.
    #[must_use]
    pub fn and(mut self, bytes: &[u8]) -> Self {
        self.payload.extend_from_slice(bytes);
        self
    }

    /// Returns the frame's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.payload.len() + 6);
        if let Some((claimed, _)) = self.padding {
            payload.push(claimed);
        }
        if let Some(dependency) = self.dependency {
            payload.extend_from_slice(&dependency);
        }
        payload.extend_from_slice(&self.payload);
        if let Some((_, real)) = self.padding {
            payload.resize(payload.len() + real, 0);
        }
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&payload);
        bytes
    }
}

/// Makes any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Raw {
    Raw {
        kind,
        flags,
        stream,
        payload: payload.into(),
        padding: None,
        dependency: None,
    }
}

/// Makes DATA.
pub fn data(stream: u32, payload: impl AsRef<[u8]>) -> Raw {
    frame(0x0, 0, stream, payload.as_ref())
}

/// Makes HEADERS with a complete field block.
pub fn headers(stream: u32, fields: &[(&str, &str)]) -> Raw {
    headers_block(stream, block(fields))
}

/// Makes HEADERS with these bytes as the complete field block.
pub fn headers_block(stream: u32, block: impl Into<Vec<u8>>) -> Raw {
    frame(0x1, flag::END_HEADERS, stream, block)
}

/// Makes PRIORITY.
pub fn priority(stream: u32, depends_on: u32, exclusive: bool, weight: u8) -> Raw {
    frame(0x2, 0, stream, dependency(depends_on, exclusive, weight))
}

/// Makes RST_STREAM.
pub fn rst_stream(stream: u32, code: ErrorCode) -> Raw {
    frame(0x3, 0, stream, code.0.to_be_bytes())
}

/// Makes SETTINGS with these identifiers and values.
pub fn settings(entries: &[(u16, u32)]) -> Raw {
    let mut payload = Vec::new();
    for (id, value) in entries {
        payload.extend_from_slice(&id.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(0x4, 0, 0, payload)
}

/// Makes SETTINGS with ACK.
pub fn settings_ack() -> Raw {
    frame(0x4, flag::ACK, 0, [])
}

/// Makes PUSH_PROMISE with a complete field block.
pub fn push_promise(stream: u32, promised: u32, fields: &[(&str, &str)]) -> Raw {
    let mut payload = promised.to_be_bytes().to_vec();
    payload.extend_from_slice(&block(fields));
    frame(0x5, flag::END_HEADERS, stream, payload)
}

/// Makes PING.
pub fn ping(payload: &[u8; 8]) -> Raw {
    frame(0x6, 0, 0, payload.as_slice())
}

/// Makes PING with ACK.
pub fn ping_ack(payload: &[u8; 8]) -> Raw {
    frame(0x6, flag::ACK, 0, payload.as_slice())
}

/// Makes GOAWAY.
pub fn goaway(last: u32, code: ErrorCode) -> Raw {
    frame(0x7, 0, 0, last.to_be_bytes()).and(&code.0.to_be_bytes())
}

/// Makes WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Raw {
    frame(0x8, 0, stream, increment.to_be_bytes())
}

/// Makes CONTINUATION that ends the field block.
pub fn continuation(stream: u32, fragment: impl Into<Vec<u8>>) -> Raw {
    frame(0x9, flag::END_HEADERS, stream, fragment)
}

/// Makes PRIORITY_UPDATE (RFC 9218 §7.1).
pub fn priority_update(prioritized: u32, value: &str) -> Raw {
    frame(0x10, 0, 0, prioritized.to_be_bytes()).and(value.as_bytes())
}

/// Returns the pseudo-fields of a plain GET.
pub const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/"),
];

/// Returns the pseudo-fields of a plain POST.
pub const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/"),
];

/// Makes a complete request without a body.
pub fn get(stream: u32) -> Raw {
    headers(stream, GET).end()
}

/// Makes the head of a request whose body follows.
pub fn post(stream: u32) -> Raw {
    headers(stream, POST)
}

/// Returns the fields of `base`, followed by these.
pub fn with<'a>(
    base: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [base, more].concat()
}

/// Encodes a field block of literals without indexing, names and values spelled out (RFC 7541
/// §6.2.2): it doesn't change a dynamic table.
pub fn block(fields: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x00);
        string(name.as_ref(), &mut block);
        string(value.as_ref(), &mut block);
    }
    block
}

/// Encodes a string literal without Huffman coding (RFC 7541 §5.2).
fn string(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 0x80);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(bytes);
}

fn dependency(stream: u32, exclusive: bool, weight: u8) -> [u8; 5] {
    let [a, b, c, d] = (stream | u32::from(exclusive) << 31).to_be_bytes();
    [a, b, c, d, weight]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_laid_out_as_the_rfc_draws_them() {
        assert_eq!(
            data(3, "ab").end().padded(2).to_bytes(),
            b"\0\0\x05\0\x09\0\0\0\x03\x02ab\0\0"
        );
        assert_eq!(
            headers_block(1, *b"\x82")
                .depends_on(5, true, 7)
                .padded(1)
                .to_bytes(),
            b"\0\0\x08\x01\x2c\0\0\0\x01\x01\x80\0\0\x05\x07\x82\0"
        );
        assert_eq!(
            goaway(7, ErrorCode::CANCEL).to_bytes(),
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x08"
        );
    }

    #[test]
    fn long_strings_get_long_lengths() {
        let long = "x".repeat(1337);
        let block = block(&[("n", long.as_str())]);
        // RFC 7541 C.1.2 has 1337 with a 5-bit prefix; with 7 bits: 127, then 1210 =
        // 0b1001_0111010.
        assert_eq!(block[..6], [0, 1, b'n', 127, 0b1011_1010, 0b0000_1001]);
        assert_eq!(block.len(), 6 + 1337);
    }
}
