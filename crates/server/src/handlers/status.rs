//! Answers `{"status":"ok"}`, for health checks.

use bytes::Bytes;
use tidegate_http::Body;

use crate::request::{Outcome, Request};

const OK: &str = "{\"status\":\"ok\"}";

/// Answers GET and HEAD.
pub fn answer<W>(request: &mut Request<'_>) -> Outcome<W> {
    Outcome::Answered(match request.method() {
        b"GET" | b"HEAD" => {
            let mut head = request.head_of(200);
            head.push("content-type", "application/json");
            head.push("content-length", OK.len().to_string());
            head.push("cache-control", "no-store");
            request.respond(&head, Body::Full(Bytes::from_static(OK.as_bytes())))
        }
        _ => request.respond_methods("GET, HEAD, OPTIONS"),
    })
}
