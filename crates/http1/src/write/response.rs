//! Writing responses: their heads, and the status for each violation.

use tidegate_http::{KnownName, ResponseHead, Violation};

use super::{Framing, write_field, write_number};
use crate::upgrade;

/// The connection options of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Nothing: HTTP/1.1 persists.
    Implied,
    /// HTTP/1.0 persists because both ends want it.
    KeepAlive,
    /// The connection ends after this response.
    Close,
}

/// Writes a final head. `length` is the value of content-length, if there is one.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    length: Option<u64>,
    framing: Framing,
    persistence: Persistence,
) {
    write_status_line(out, head.status());
    for field in head.headers() {
        match field.known {
            // The engine writes the framing.
            Some(KnownName::CONTENT_LENGTH) => {}
            // RFC 9110 §6.6.2: the field names what "the sender anticipates sending as trailer
            // fields". Only chunks can be followed by trailers.
            Some(KnownName::TRAILER) if framing != Framing::Chunked => {}
            _ => write_field(out, field.name, field.value),
        }
    }
    if let Some(length) = length {
        write_number(out, b"content-length: ", length);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    out.extend_from_slice(match persistence {
        Persistence::Implied => b"\r\n",
        Persistence::KeepAlive => b"connection: keep-alive\r\n\r\n",
        Persistence::Close => b"connection: close\r\n\r\n",
    });
}

/// Writes an interim head, which has no body and says nothing about the connection.
pub(crate) fn write_interim_head(out: &mut Vec<u8>, head: &ResponseHead) {
    write_status_line(out, head.status());
    for field in head.headers() {
        // RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with
        // a status code of 1xx".
        if field.known != Some(KnownName::CONTENT_LENGTH) {
            write_field(out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head that grants a WebSocket (RFC 6455 §4.2.2). All later bytes go through the
/// tunnel.
pub(crate) fn write_websocket_head(out: &mut Vec<u8>, head: &ResponseHead, accept: &str) {
    write_switching(out, b"websocket");
    write_field(out, upgrade::ACCEPT, accept.as_bytes());
    for field in head.headers() {
        // A tunnel has no length. RFC 6455 §11.3.3: Sec-WebSocket-Accept "MUST NOT appear more than
        // once in an HTTP response."
        if field.known != Some(KnownName::CONTENT_LENGTH) && field.name != upgrade::ACCEPT {
            write_field(out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head after which HTTP/2 begins (RFC 7540 §3.2).
pub(crate) fn write_h2c_head(out: &mut Vec<u8>) {
    write_switching(out, b"h2c");
    out.extend_from_slice(b"\r\n");
}

/// Writes the start of a 101 (RFC 9110 §15.2.2).
fn write_switching(out: &mut Vec<u8>, protocol: &[u8]) {
    write_status_line(out, 101);
    out.extend_from_slice(b"connection: upgrade\r\n");
    write_field(out, b"upgrade", protocol);
}

/// Writes the response to an invalid request. It has no content, because the request may have been
/// HEAD.
pub(crate) fn write_refusal(out: &mut Vec<u8>, status: u16, date: Option<String>) {
    write_status_line(out, status);
    // RFC 9110 §6.6.1: "An origin server with a clock … MUST generate a Date header field in all …
    // 4xx (Client Error) responses".
    if let Some(date) = date {
        write_field(out, b"date", date.as_bytes());
    }
    // RFC 9110 §15.6.4: "The server MAY send a Retry-After header field … to suggest an appropriate
    // amount of time for the client to wait before retrying the request."
    if status == 503 {
        write_field(out, b"retry-after", b"1");
    }
    out.extend_from_slice(b"content-length: 0\r\nconnection: close\r\n\r\n");
}

fn write_status_line(out: &mut Vec<u8>, status: u16) {
    // RFC 9110 §2.5: "a server SHOULD send a response version equal to the highest version to which
    // the server is conformant", so 1.1 to clients of 1.0 too.
    let digit = |unit: u16| b'0' + (status / unit % 10) as u8;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Returns the status that answers a violation; the connection ends after it.
pub(crate) fn status_of(violation: Violation) -> u16 {
    match violation {
        // RFC 9110 §15.5.9: no complete request "within the time that it was prepared to wait".
        Violation::HeaderBlockTimedOut | Violation::BodyTimedOut | Violation::BodyTooSlow => 408,
        // RFC 9112 §3: "A server that receives a request-target longer than any URI it wishes to
        // parse MUST respond with a 414".
        Violation::RequestLineTooLong => 414,
        // RFC 6585 §5.
        Violation::HeaderListTooLarge
        | Violation::TooManyHeaderFields
        | Violation::TooManyCookieCrumbs => 431,
        Violation::TransferCodingUnknown => 501,
        Violation::HttpVersionUnsupported => 505,
        _ => 400,
    }
}

/// Returns the reason phrase: RFC 9110 §15, and the registry for other statuses. A client "SHOULD
/// ignore the reason-phrase content" (RFC 9112 §4).
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        // RFC 9112 §4: the space before it stays, "even when the reason-phrase is absent".
        _ => "",
    }
}
