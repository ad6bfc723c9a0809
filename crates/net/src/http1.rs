//! Tells HTTP/1.x from HTTP/2 by a connection's first octets, and answers it: 505, in its own words.

/// A request head longer than this is answered before it is whole.
pub(crate) const MAX_HEAD: usize = 8 << 10;

/// What a connection's first octets look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guess {
    /// Too few to tell.
    Unsure,
    /// The beginning of HTTP/2's preface (RFC 9113 §3.4), or neither that nor HTTP/1.x: then the engine tells the peer
    /// what is wrong by GOAWAY.
    Http2,
    /// An HTTP/1.x request line (RFC 9112 §3).
    Http1,
}

/// Guesses the protocol of a connection on which nothing was agreed on.
pub(crate) fn guess(input: &[u8]) -> Guess {
    // No HTTP/1.x method is called PRI: RFC 9113 §11.6 keeps the name for this.
    const PRI: &[u8] = b"PRI ";
    if input.starts_with(PRI) {
        return Guess::Http2;
    }
    if PRI.starts_with(input) {
        return Guess::Unsure;
    }
    match request_line(input) {
        Some(true) => Guess::Http1,
        Some(false) => Guess::Http2,
        None if input.len() >= MAX_HEAD => Guess::Http1,
        None => Guess::Unsure,
    }
}

/// RFC 9112 §3: `request-line = method SP request-target SP HTTP-version`. `None` while it may still become one.
fn request_line(input: &[u8]) -> Option<bool> {
    let token = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet);
    let method = input.iter().take_while(|octet| token(octet)).count();
    let rest = &input[method..];
    let Some((b' ', rest)) = rest.split_first() else {
        return if rest.is_empty() { None } else { Some(false) };
    };
    let target = rest
        .iter()
        .take_while(|&&octet| octet > b' ' && octet != 0x7f);
    let target = target.count();
    let rest = &rest[target..];
    let Some((b' ', version)) = rest.split_first() else {
        return if rest.is_empty() { None } else { Some(false) };
    };
    if method == 0 || target == 0 {
        return Some(false);
    }
    const HTTP_1: &[u8] = b"HTTP/1.";
    if version.len() > HTTP_1.len() {
        return Some(version.starts_with(HTTP_1));
    }
    if HTTP_1.starts_with(version) {
        None
    } else {
        Some(false)
    }
}

/// Whether an HTTP/1.x request head is whole, or too long to wait for.
pub(crate) fn head_is_whole(input: &[u8]) -> bool {
    let ends = |end: &[u8]| input.windows(end.len()).any(|window| window == end);
    // RFC 9112 §2.2: a lone LF is a line's end too.
    input.len() >= MAX_HEAD || ends(b"\r\n\r\n") || ends(b"\n\n")
}

/// The answer to an HTTP/1.x request.
pub(crate) fn refusal(head: &[u8]) -> Vec<u8> {
    let text = "This server speaks only HTTP/2 for now: use a client that offers h2 by ALPN, \
                or that knows beforehand.\n";
    // RFC 9110 §15.6.6: "The server SHOULD generate a representation for the 505 response that describes why that
    // version is not supported and what other protocols are supported by that server."
    let mut answer = format!(
        "HTTP/1.1 505 HTTP Version Not Supported\r\n\
         content-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\n\
         connection: close\r\n\r\n",
        text.len()
    );
    // RFC 9110 §9.3.2: "the server MUST NOT send content in the response" to HEAD.
    if !head.starts_with(b"HEAD ") {
        answer.push_str(text);
    }
    answer.into_bytes()
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
        for end in 0..request.len() {
            let expected = if end < 18 {
                Guess::Unsure
            } else {
                Guess::Http1
            };
            assert_eq!(guess(&request[..end]), expected, "{end}");
        }
        assert_eq!(guess(b"PRIVATE / HTTP/1.1\r\n"), Guess::Http1);
    }

    #[test]
    fn leaves_everything_else_to_the_engine() {
        let cases: [&[u8]; 8] = [
            b"INVALID CONNECTION PREFACE\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01",
            b"GET /\r\n",
            b"GET  HTTP/1.1\r\n",
            b" / HTTP/1.1\r\n",
            b"GET / HTTP/2.0\r\n",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"\0\0\0\x04\0\0\0\0\0",
        ];
        for case in cases {
            assert_eq!(guess(case), Guess::Http2, "{}", case.escape_ascii());
        }
    }

    #[test]
    fn waits_for_a_heads_end_but_not_forever() {
        assert!(!head_is_whole(b"GET / HTTP/1.1\r\nhost: a\r\n"));
        assert!(head_is_whole(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(head_is_whole(b"GET / HTTP/1.1\nhost: a\n\nrest"));
        assert!(head_is_whole(&[b'a'; MAX_HEAD]));
        assert_eq!(guess(&[b'a'; MAX_HEAD]), Guess::Http1);
    }

    #[test]
    fn the_answer_has_the_length_that_it_says() {
        let answer = String::from_utf8(refusal(b"GET / HTTP/1.1\r\n\r\n")).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 505 "));
        assert!(head.contains(&format!("content-length: {}", text.len())));
        let head_only = String::from_utf8(refusal(b"HEAD / HTTP/1.1\r\n\r\n")).unwrap();
        assert_eq!(head_only, format!("{head}\r\n\r\n"));
    }
}
