//! The protocols that a connection can switch to (RFC 9110 §7.8): WebSocket (RFC 6455), or HTTP/2
//! in cleartext (RFC 7540 §3.2, which RFC 9113 dropped).

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use sha1::{Digest, Sha1};

/// The request field with the key of a WebSocket's client.
pub(crate) const KEY: &[u8] = b"sec-websocket-key";
/// The response field by which the server proves that it understood the request.
pub(crate) const ACCEPT: &[u8] = b"sec-websocket-accept";

/// RFC 6455 §1.3: appended to the key before the digest.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol that a request asks for.
#[derive(Debug)]
pub(crate) enum Upgrade {
    /// A WebSocket; `accept` is the value of Sec-WebSocket-Accept that grants it.
    WebSocket { accept: String },
    /// HTTP/2 in cleartext, with the payload of the client's SETTINGS frame.
    Http2 { settings: Bytes },
}

/// Returns the answer to a key, or `None` if it is invalid. RFC 6455 §4.1: a key is a "16-byte
/// value that has been base64-encoded".
pub(crate) fn accept(key: &[u8]) -> Option<String> {
    let nonce = BASE64_STANDARD.decode(key).ok()?;
    (nonce.len() == 16).then(|| {
        let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
        BASE64_STANDARD.encode(digest)
    })
}

/// Returns the payload in an HTTP2-Settings field (RFC 7540 §3.2.1); `None` if it is invalid.
pub(crate) fn settings(value: &[u8]) -> Option<Bytes> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(value).ok()?;
    (payload.len() % 6 == 0).then(|| payload.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_6455() {
        let accept = accept(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn what_is_no_key() {
        for key in [
            "",
            "dGhlIHNhbXBsZSBub25j",
            "dGhlIHNhbXBsZSBub25jZQ",
            "no key!",
        ] {
            assert_eq!(accept(key.as_bytes()), None, "{key}");
        }
    }

    #[test]
    fn settings_are_six_bytes_each() {
        // SETTINGS_MAX_CONCURRENT_STREAMS of 100 and SETTINGS_INITIAL_WINDOW_SIZE of 65,535.
        let payload = settings(b"AAMAAABkAAQAAP__").unwrap();
        assert_eq!(payload[..], *b"\0\x03\0\0\0\x64\0\x04\0\0\xff\xff");
        assert_eq!(settings(b"").as_deref(), Some(&b""[..]));
        for wrong in ["AAMAAABkAAQAAP_", "AAMAAABkAAQAAP//", "AAMAAABk AAQ"] {
            assert_eq!(settings(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
