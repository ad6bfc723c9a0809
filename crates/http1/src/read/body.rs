//! Message bodies: the reader that finds their bytes in the input (RFC 9112 §6 and §7.1).

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::{Config, Fields, Violation};

use super::section::Section;
use super::{is_token, parse_trailers};

/// The longest line with a chunk's size and extensions, in bytes. AWS's signatures need 86.
const MAX_CHUNK_LINE: usize = 256;

/// How a body is framed, and how far it has been read.
#[derive(Debug)]
pub(crate) enum BodyReader {
    /// A body with a length, of which `left` bytes are still to come; at least 1.
    Length { left: u64 },
    /// A chunked body.
    Chunked {
        /// The reader's position.
        at: Chunked,
        /// Names of fields, in lower case, that the Connection field reserves for this connection.
        nominated: Vec<Box<[u8]>>,
    },
    /// A body that lasts until the peer ends its side: a response without a length, or the bytes of
    /// a tunnel.
    UntilEnd,
    /// A body that is complete, or a message without one.
    Done,
}

/// The position in a chunked body.
#[derive(Debug)]
pub(crate) enum Chunked {
    /// At the line with a chunk's size.
    Size,
    /// In a chunk of which `left` bytes are still to come; at least 1.
    Data { left: u64 },
    /// At the line end after a chunk.
    DataEnd,
    /// In the trailer section.
    Trailers(Section),
}

/// A piece of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes of the content; the last ones if `end` is set.
    Data { data: Bytes, end: bool },
    /// The end, with trailers if there are any.
    End(Fields),
}

impl BodyReader {
    /// Makes the reader of a chunked body.
    pub(crate) fn chunked(nominated: Vec<Box<[u8]>>) -> Self {
        Self::Chunked {
            at: Chunked::Size,
            nominated,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Returns how many bytes are still to come, if that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length { left } => Some(*left),
            Self::Chunked { .. } | Self::UntilEnd => None,
            Self::Done => Some(0),
        }
    }

    /// Takes the next piece, of up to `window` bytes (at least 1), off the front of `input`.
    /// Returns `None` if there is none yet.
    ///
    /// # Errors
    /// Returns the rule that the framing breaks.
    pub(crate) fn read(
        &mut self,
        input: &mut BytesMut,
        window: usize,
        config: &Config,
    ) -> Result<Option<Piece>, Violation> {
        loop {
            let (chunked, nominated) = match self {
                Self::Done => return Ok(None),
                Self::Length { left } => {
                    let Some(data) = take(input, left, window) else {
                        return Ok(None);
                    };
                    let end = *left == 0;
                    if end {
                        *self = Self::Done;
                    }
                    return Ok(Some(Piece::Data { data, end }));
                }
                Self::UntilEnd => {
                    let mut endless = u64::MAX;
                    let data = take(input, &mut endless, window);
                    return Ok(data.map(|data| Piece::Data { data, end: false }));
                }
                Self::Chunked { at, nominated } => (at, nominated),
            };
            match chunked {
                Chunked::Size => {
                    let Some((bytes, size)) = size_line(input)? else {
                        return Ok(None);
                    };
                    input.advance(bytes);
                    *chunked = match size {
                        0 => Chunked::Trailers(Section::trailers()),
                        left => Chunked::Data { left },
                    };
                }
                Chunked::Data { left } => {
                    let Some(data) = take(input, left, window) else {
                        return Ok(None);
                    };
                    if *left == 0 {
                        *chunked = Chunked::DataEnd;
                    }
                    return Ok(Some(Piece::Data { data, end: false }));
                }
                Chunked::DataEnd => {
                    // RFC 9112 §7.1: "chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF".
                    match input[..] {
                        [b'\r', b'\n', ..] => input.advance(2),
                        [] | [b'\r'] => return Ok(None),
                        _ => return Err(Violation::ChunkInvalid),
                    }
                    *chunked = Chunked::Size;
                }
                Chunked::Trailers(section) => {
                    let limit = config.max_header_list_size as usize;
                    let Some(len) = section.scan(input, limit)? else {
                        return Ok(None);
                    };
                    let fields = parse_trailers(&input[..len], nominated, config)?;
                    input.advance(len);
                    *self = Self::Done;
                    return Ok(Some(Piece::End(fields)));
                }
            }
        }
    }
}

/// Takes the available part of `left` bytes, up to `window`.
fn take(input: &mut BytesMut, left: &mut u64, window: usize) -> Option<Bytes> {
    let most = usize::try_from(*left).unwrap_or(usize::MAX);
    let len = input.len().min(window).min(most);
    *left -= len as u64;
    (len > 0).then(|| input.split_to(len).freeze())
}

/// Returns the length of the line at the front of `input` and the size in it; `None` while the line
/// isn't complete.
fn size_line(input: &[u8]) -> Result<Option<(usize, u64)>, Violation> {
    let seen = &input[..input.len().min(MAX_CHUNK_LINE)];
    let Some(end) = seen.iter().position(|&byte| byte == b'\n') else {
        return if seen.len() == MAX_CHUNK_LINE {
            Err(Violation::ChunkLineTooLong)
        } else {
            Ok(None)
        };
    };
    let line = input[..end].strip_suffix(b"\r");
    let size = line.and_then(chunk_size).ok_or(Violation::ChunkInvalid)?;
    Ok(Some((end + 1, size)))
}

/// Returns the size in a chunk's first line. RFC 9112 §7.1: "chunk-size = 1*HEXDIG", then
/// extensions.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, extensions) = line.split_at(digits.count());
    // RFC 9112 §7.1: "recipients MUST anticipate potentially large hexadecimal numerals and prevent
    // parsing errors due to integer conversion overflows". 16 digits fit; nobody needs more, even
    // leading zeros.
    if digits.is_empty() || digits.len() > 16 || !are_extensions(extensions) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Whether these are chunk extensions. RFC 9112 §7.1.1: "chunk-ext = *( BWS ";" BWS chunk-ext-name
/// [ BWS "=" BWS chunk-ext-val ] )". Their content is ignored, but bytes that aren't extensions are
/// refused.
fn are_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(after) = skip_bws(rest).strip_prefix(b";") else {
            return false;
        };
        let Some(after) = skip_token(skip_bws(after)) else {
            return false;
        };
        rest = after;
        if let Some(value) = skip_bws(after).strip_prefix(b"=") {
            let value = skip_bws(value);
            let Some(after) = skip_token(value).or_else(|| skip_quoted(value)) else {
                return false;
            };
            rest = after;
        }
    }
    true
}

fn skip_bws(bytes: &[u8]) -> &[u8] {
    let bws = bytes.iter().take_while(|byte| b" \t".contains(byte));
    &bytes[bws.count()..]
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|byte| is_token(&[**byte])).count();
    (len > 0).then(|| &bytes[len..])
}

/// Skips a quoted-string (RFC 9110 §5.6.4).
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let text = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let mut rest = bytes.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if text(*escaped) => rest,
            [byte, rest @ ..] if text(*byte) && *byte != b'\\' => rest,
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_extensions_by_their_grammar() {
        for (line, size) in [
            (&b"0"[..], 0),
            (b"000", 0),
            (b"1aF", 0x1af),
            (b"ffffffffffffffff", u64::MAX),
            (b"5;a", 5),
            (b"5;a=b;c=\"d;\\\" e\"", 5),
            (b"5 ; a = b", 5),
        ] {
            assert_eq!(chunk_size(line), Some(size), "{}", line.escape_ascii());
        }
        for line in [
            &b""[..],
            b" 5",
            b"5 ",
            b"5\t",
            b"+5",
            b"-5",
            b"0x5",
            b"5_0",
            b"5;",
            b"5;;",
            b"5;a;",
            b"5;=b",
            b"5;a=",
            b"5;a b",
            b"5;a@",
            b"5;a=\"",
            b"5;a=\"\x00\"",
            b"5;a\x00",
            b"5,a",
            b"g",
            b"10000000000000000",
            b"00000000000000005",
        ] {
            assert_eq!(chunk_size(line), None, "{}", line.escape_ascii());
        }
    }
}
