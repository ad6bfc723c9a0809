//! Distinguishes HTTP/1.x from HTTP/2 by a connection's first bytes.

/// A longer request line is HTTP/1.x, which refuses it.
const MAX_LINE: usize = 8 << 10;

/// The protocol that a connection's first bytes suggest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// There are too few bytes to tell.
    Unsure,
    /// The bytes begin HTTP/2's preface (RFC 9113 §3.4), or are neither that nor HTTP/1.x. In that
    /// case the engine tells the peer by GOAWAY what is wrong.
    Http2,
    /// The bytes are an HTTP/1.x request line (RFC 9112 §3).
    Http1,
}

/// Guesses the protocol of a connection on which none was agreed.
pub(crate) fn guess(input: &[u8]) -> Guess {
    // No HTTP/1.x method is called PRI: RFC 9113 §11.6 reserves the name for this.
    const PRI: &[u8] = b"PRI ";
    if input.starts_with(PRI) {
        return Guess::Http2;
    }
    if PRI.starts_with(input) {
        return Guess::Unsure;
    }
    match is_request_line(input) {
        Some(true) => Guess::Http1,
        Some(false) => Guess::Http2,
        None if input.len() >= MAX_LINE => Guess::Http1,
        None => Guess::Unsure,
    }
}

/// Whether the input is meant as RFC 9112 §3's `request-line = method SP request-target SP
/// HTTP-version`; `None` while it may still become one. The HTTP/1.x engine reports what is wrong
/// with it.
fn is_request_line(input: &[u8]) -> Option<bool> {
    // RFC 9112 §2.2: an empty line may precede it.
    let input = match input {
        [] | b"\r" => return None,
        [b'\r', b'\n', line @ ..] => line,
        line => line,
    };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let method = input.iter().take_while(|byte| is_token(byte)).count();
    match input.get(method) {
        None => return None,
        Some(b' ') if method > 0 => {}
        Some(_) => return Some(false),
    }
    let end = input.iter().position(|&byte| byte == b'\n')?;
    Some(input[..end].windows(6).any(|bytes| bytes == b" HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_http2_from_http1_however_little_comes_at_once() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let request = b"POST /a?b HTTP/1.0\r\n";
        for end in 0..preface.len() {
            let expected = if end < 4 { Guess::Unsure } else { Guess::Http2 };
            assert_eq!(guess(&preface[..end]), expected, "{end}");
        }
        for (front, line) in [(&b""[..], request), (b"\r\n", request)] {
            let bytes = [front, line].concat();
            for end in 0..bytes.len() {
                assert_eq!(guess(&bytes[..end]), Guess::Unsure, "{end}");
            }
            assert_eq!(guess(&bytes), Guess::Http1);
        }
        assert_eq!(guess(&[b'a'; MAX_LINE]), Guess::Http1);
    }

    #[test]
    fn what_is_wrong_with_http1_is_for_http1_to_say() {
        let cases: [&[u8]; 6] = [
            b"PRIVATE / HTTP/1.1\r\n",
            b"GET  HTTP/1.1\r\n",
            b"GET  /  HTTP/1.1\r\n",
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/2.0\r\n",
            b"GET /\0 HTTP/1.1\r\n",
        ];
        for case in cases {
            assert_eq!(guess(case), Guess::Http1, "{}", case.escape_ascii());
        }
    }

    #[test]
    fn leaves_everything_else_to_the_engine_of_http2() {
        let cases: [&[u8]; 6] = [
            b"INVALID CONNECTION PREFACE\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GET /\r\n",
            b" / HTTP/1.1\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"\0\0\0\x04\0\0\0\0\0",
        ];
        for case in cases {
            assert_eq!(guess(case), Guess::Http2, "{}", case.escape_ascii());
        }
    }
}
