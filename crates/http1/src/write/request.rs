//! Writing requests.

use tidegate_http::{KnownName, RequestHead};

use super::{Framing, write_field, write_number};
use crate::upgrade;

/// Writes a request's head. `length` is the value of content-length, if there is one.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    head: &RequestHead,
    length: Option<u64>,
    framing: Framing,
) {
    let (method, target) = match head.protocol() {
        // RFC 6455 §4.1: "The method of the request MUST be GET".
        Some(_) => (&b"GET"[..], head.path_bytes()),
        // RFC 9112 §3.2.3: CONNECT has authority-form.
        None if head.method_bytes() == b"CONNECT" => (&b"CONNECT"[..], head.authority_bytes()),
        None => (head.method_bytes(), head.path_bytes()),
    };
    for word in [method, b" ", target, b" HTTP/1.1\r\n"] {
        out.extend_from_slice(word);
    }
    // RFC 9110 §7.2: "A user agent that sends Host SHOULD send it as the first field". Host MUST be
    // sent even if it is empty.
    write_field(out, b"host", head.authority_bytes());
    let mut te = false;
    let mut crumbs = false;
    for field in head.headers() {
        match field.known {
            // The engine writes the framing, and Host is written.
            Some(KnownName::CONTENT_LENGTH | KnownName::HOST) => {}
            // RFC 9110 §6.6.2: the field announces trailers; only chunks can be followed by them.
            Some(KnownName::TRAILER) if framing != Framing::Chunked => {}
            // The crumbs are joined below.
            Some(KnownName::COOKIE) => crumbs = true,
            known => {
                te |= known == Some(KnownName::TE);
                write_field(out, field.name, field.value);
            }
        }
    }
    if crumbs && let Some(cookie) = head.cookie() {
        // RFC 9113 §8.2.3: crumbs "MUST be concatenated … before being passed into a non-HTTP/2
        // context".
        write_field(out, b"cookie", &cookie);
    }
    if let Some(length) = length {
        write_number(out, b"content-length: ", length);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    // RFC 9110 §10.1.4: "A sender of TE MUST also send a "TE" connection option".
    out.extend_from_slice(match (head.protocol().is_some(), te) {
        (true, true) => b"connection: te, upgrade\r\nupgrade: websocket\r\n\r\n",
        (true, false) => b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
        (false, true) => b"connection: te\r\n\r\n",
        (false, false) => b"\r\n",
    });
}

/// Whether a request line can express the head's target. RFC 9112 §3.2.1: "origin-form =
/// absolute-path [ "?" query ]" has no place for a fragment or a scheme. For schemes other than
/// http and https, HTTP/2 accepts any path and authority.
pub(crate) fn has_target(head: &RequestHead) -> bool {
    let is_tunnel = head.protocol().is_none() && head.method_bytes() == b"CONNECT";
    let scheme = head.scheme();
    let is_web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    is_tunnel || (is_web && !head.path_bytes().contains(&b'#'))
}

/// Whether a method without content still implies some: RFC 9110 §8.6 then requires
/// "content-length: 0".
pub(crate) fn anticipates_content(method: &[u8]) -> bool {
    matches!(method, b"POST" | b"PUT" | b"PATCH")
}

/// Returns the key of a request for a WebSocket. RFC 6455 §11.3.1: it "MUST NOT appear more than
/// once in an HTTP request."
pub(crate) fn websocket_key(head: &RequestHead) -> Option<&[u8]> {
    let mut keys = head.headers().filter(|field| field.name == upgrade::KEY);
    let key = keys.next()?;
    keys.next().is_none().then_some(key.value)
}
