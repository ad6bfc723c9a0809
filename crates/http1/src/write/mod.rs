//! Writing messages: heads and chunks. This file has what requests and responses share.

pub(crate) mod request;
pub(crate) mod response;

use std::io::Write as _;

use tidegate_http::{Fields, Outbox, may_be_trailer};

/// How a message's body is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The message has no body: HEAD, 1xx, 204, 304; requests without content.
    None,
    /// By content-length: `left` bytes are still to be sent.
    Length { left: u64 },
    /// In chunks: HTTP/1.1 without a known length.
    Chunked,
    /// By the connection's end: HTTP/1.0 without a known length, and tunnels.
    UntilEnd,
}

/// Writes the line before a chunk of `bytes` bytes, at least 1. The caller writes CRLF after the
/// chunk.
pub(crate) fn push_chunk_size(out: &mut Outbox, bytes: usize) {
    // 64 bits are 16 digits.
    let mut line = [0; 18];
    let mut rest = &mut line[..];
    // Writing to memory that is large enough can't fail.
    let _ = write!(rest, "{bytes:x}\r\n");
    let left = rest.len();
    out.extend(&line[..line.len() - left]);
}

/// Writes the last chunk and the trailers (RFC 9112 §7.1).
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Fields>) {
    out.extend_from_slice(b"0\r\n");
    for field in trailers.into_iter().flatten() {
        if may_be_trailer(field.known) {
            write_field(out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_number(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    // Writing to a `Vec` can't fail.
    let _ = write!(out, "{number}\r\n");
}
