//! Limits of one request: its client's share of all requests, and the size of its body.

use tidegate_http::RequestHead;
use tidegate_ledger::{Lease, Refusal};
use tidegate_net::Conns;

use crate::proxy::Proxy;
use crate::request::Key;
use crate::rules::{BodyLimit, Terms};

/// Counts a request against the share of the client that a trusted proxy makes it for. Pushes don't
/// count, because no client requested them.
pub(super) fn share(
    proxy: &Proxy,
    conns: &Conns,
    (conn, id): Key,
    head: &RequestHead,
) -> Result<Option<Box<Lease>>, Refusal> {
    if !proxy.counts_requests() {
        return Ok(None);
    }
    match conns.info(conn) {
        Some(info) if id.is_client_initiated() => proxy.share(info, head),
        _ => Ok(None),
    }
}

/// Returns how much of a request's body may come. What the head says was checked already, and the
/// engines hold the client to it. The data of a tunnel is no body.
pub(super) fn limit_of(terms: &Terms, head: &RequestHead) -> BodyLimit {
    let none = BodyLimit::default();
    match terms.body_limit() {
        limit if limit == none => none,
        _ if head.content_length().is_some() || head.protocol().is_some() => none,
        limit => limit,
    }
}
