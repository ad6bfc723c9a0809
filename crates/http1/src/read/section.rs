//! Finds the end of a head or a trailer section, line by line, looking at each byte once.
//!
//! `httparse` accepts a lone LF as the end of a line. RFC 9112 §2.2 allows that ("a recipient MAY
//! recognize a single LF as a line terminator"), but if the next hop doesn't, a request can be
//! smuggled. So lines are checked here first.

use memchr::memchr;
use tidegate_http::Violation;

use super::Kind;

/// A section of lines that hasn't ended yet.
#[derive(Debug)]
pub(crate) struct Section {
    /// The number of bytes that were scanned.
    scanned: usize,
    /// The start of the current line.
    line: usize,
    /// The number of lines that have ended.
    lines: usize,
    /// The kind of message whose head this is: its first line is no field. `None` for trailers.
    head_of: Option<Kind>,
}

impl Section {
    /// Makes the scanner for a message's head.
    pub(crate) fn head(kind: Kind) -> Self {
        Self::new(Some(kind))
    }

    /// Makes the scanner for the trailers of a chunked body.
    pub(crate) fn trailers() -> Self {
        Self::new(None)
    }

    fn new(head_of: Option<Kind>) -> Self {
        Self {
            scanned: 0,
            line: 0,
            lines: 0,
            head_of,
        }
    }

    /// Scans the new bytes of `input`, which begins where the section begins. Returns the length of
    /// the section, including its final empty line, once it is complete.
    ///
    /// # Errors
    /// Returns the violation of the first invalid line, or of a section longer than `limit` bytes.
    pub(crate) fn scan(&mut self, input: &[u8], limit: usize) -> Result<Option<usize>, Violation> {
        loop {
            let Some(end) = memchr(b'\n', &input[self.scanned..]) else {
                self.scanned = input.len();
                return if input.len() > limit {
                    Err(self.too_long())
                } else {
                    Ok(None)
                };
            };
            let end = self.scanned + end;
            if end >= limit {
                return Err(self.too_long());
            }
            self.check_line(&input[self.line..end])?;
            let is_empty = end == self.line + 1;
            self.scanned = end + 1;
            self.line = self.scanned;
            self.lines += 1;
            if is_empty {
                return Ok(Some(self.scanned));
            }
        }
    }

    /// Checks a line without its LF.
    fn check_line(&self, line: &[u8]) -> Result<(), Violation> {
        let first = self.head_of.filter(|_| self.lines == 0);
        // RFC 9112 §2.2: "the line terminator for the start-line and fields is the sequence CRLF".
        // A CR elsewhere is "invalid" or replaced by SP, and the next hop may choose differently.
        match memchr(b'\r', line) {
            Some(0) if line.len() == 1 && first.is_some() => Err(match first {
                Some(Kind::Response) => Violation::StatusLineInvalid,
                _ => Violation::RequestLineInvalid,
            }),
            Some(at) if at + 1 == line.len() => Ok(()),
            _ => Err(Violation::LineEndInvalid),
        }?;
        // RFC 9112 §5.2: "A server that receives an obs-fold in a request message … MUST either
        // reject the message by sending a 400 … or replace each received obs-fold". A gateway that
        // receives one in a response MUST "discard the message and replace it with a 502", or
        // replace it. §2.2 says the same of whitespace after the start-line.
        match line.first() {
            Some(b' ' | b'\t') if first.is_none() => Err(Violation::FieldLineFolded),
            _ => Ok(()),
        }
    }

    fn too_long(&self) -> Violation {
        match self.head_of {
            Some(Kind::Request) if self.lines == 0 => Violation::RequestLineTooLong,
            _ => Violation::HeaderListTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], limit: usize) -> Result<Option<usize>, Violation> {
        Section::head(Kind::Request).scan(bytes, limit)
    }

    #[test]
    fn ends_with_the_empty_line_wherever_the_input_is_cut() {
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nbehind";
        for cut in 0..head.len() {
            let mut section = Section::head(Kind::Request);
            let first = section.scan(&head[..cut], 100);
            let expected = if cut < 27 { Ok(None) } else { Ok(Some(27)) };
            assert_eq!(first, expected, "{cut}");
            if cut < 27 {
                assert_eq!(section.scan(head, 100), Ok(Some(27)), "{cut}");
            }
        }
        assert_eq!(Section::trailers().scan(b"\r\n", 100), Ok(Some(2)));
    }

    #[test]
    fn lines_end_with_crlf_and_begin_with_a_name() {
        let cases: [(&[u8], Violation); 8] = [
            (b"GET / HTTP/1.1\n", Violation::LineEndInvalid),
            (b"GET / HTTP/1.1\r\na: b\n", Violation::LineEndInvalid),
            (b"GET / HTTP/1.1\r\na: b\r\n\n", Violation::LineEndInvalid),
            (b"GET /\rx HTTP/1.1\r\n", Violation::LineEndInvalid),
            (b"GET / HTTP/1.1\r\na: b\r\r\n", Violation::LineEndInvalid),
            (b"GET / HTTP/1.1\r\n a: b\r\n", Violation::FieldLineFolded),
            (
                b"GET / HTTP/1.1\r\na: b\r\n\tc\r\n",
                Violation::FieldLineFolded,
            ),
            (b"\r\n", Violation::RequestLineInvalid),
        ];
        for (bytes, violation) in cases {
            assert_eq!(
                whole(bytes, 100),
                Err(violation),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn no_line_is_waited_for_beyond_the_limit() {
        let line = [b'a'; 101];
        assert_eq!(whole(&line[..100], 100), Ok(None));
        assert_eq!(whole(&line, 100), Err(Violation::RequestLineTooLong));
        let mut head = b"GET / HTTP/1.1\r\n".to_vec();
        head.extend_from_slice(&line);
        assert_eq!(whole(&head, 100), Err(Violation::HeaderListTooLarge));
        head.extend_from_slice(b"\r\n");
        assert_eq!(whole(&head, 100), Err(Violation::HeaderListTooLarge));
    }
}
