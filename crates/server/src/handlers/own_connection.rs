//! `/connection` of the demo site: what the server has counted of the connection that asks, and of
//! no other.

use bytes::Bytes;
use serde::Serialize;
use tidegate_http::Body;
use tidegate_net::Engine;

use crate::request::{Request, Sent};

/// The path.
pub const PATH: &[u8] = b"/connection";

/// A connection, as its client may know it.
#[derive(Clone, Debug, Serialize)]
pub struct OwnConnection {
    protocol: &'static str,
    /// Requests so far, this one included.
    requests: u64,
    /// Streams that are open; over HTTP/1.1 there are none.
    streams: Option<usize>,
    bytes_in: u64,
    bytes_out: u64,
    /// Bytes of fields and of their blocks; HTTP/1.1 doesn't compress them.
    headers: Option<Headers>,
}

/// Bytes of fields, and of the blocks that they were compressed to.
#[derive(Clone, Debug, Serialize)]
struct Headers {
    fields_in: u64,
    blocks_in: u64,
    fields_out: u64,
    blocks_out: u64,
}

impl OwnConnection {
    /// Takes the counters of a connection.
    pub fn of(engine: &Engine) -> Self {
        let stats = engine.stats();
        let is_http2 = matches!(engine, Engine::Http2(_));
        Self {
            protocol: engine.version(),
            requests: stats.requests,
            streams: is_http2.then(|| engine.active_streams()),
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            headers: is_http2.then_some(Headers {
                fields_in: stats.fields_in,
                blocks_in: stats.blocks_in,
                fields_out: stats.fields_out,
                blocks_out: stats.blocks_out,
            }),
        }
    }
}

/// Answers GET and HEAD.
pub fn answer(request: &mut Request<'_>, own: &OwnConnection) -> Sent {
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return request.respond_methods("GET, HEAD, OPTIONS");
    }
    // Numbers and fixed words always become JSON.
    let body = serde_json::to_vec(own).unwrap_or_default();
    let mut head = request.head_of(200);
    head.push("content-type", "application/json");
    head.push("content-length", body.len().to_string());
    head.push("cache-control", "no-store");
    request.respond(&head, Body::Full(Bytes::from(body)))
}
