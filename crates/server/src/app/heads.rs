//! Facts about heads, for the lines of the access logs.

use std::time::Instant;

use tidegate_http2::LastBlocks;
use tidegate_net::{ConnId, Conns, Engine};

use crate::access_log::{Entry, Need};
use crate::request::Outcome;

/// Returns the sizes of the last field blocks of an HTTP/2 connection.
pub(super) fn last_blocks(conns: &Conns, conn: ConnId) -> Option<LastBlocks> {
    match conns.engine_ref(conn)? {
        Engine::Http2(engine) => Some(engine.last_blocks()),
        Engine::Http1(_) | Engine::Resting(_) => None,
    }
}

/// Notes in a request's line that its response's head was just handed on, if it was.
pub(super) fn note_outcome<W>(
    conns: &Conns,
    conn: ConnId,
    entry: &mut Entry,
    outcome: &Outcome<W>,
) {
    let (Outcome::Answered(sent) | Outcome::InProgress(sent, _)) = outcome;
    if sent.status != 0 {
        note_response(conns, conn, entry);
    }
}

/// Notes in a request's line that its response's head was just handed on.
pub(super) fn note_response(conns: &Conns, conn: ConnId, entry: &mut Entry) {
    let needs = entry.needs();
    if !needs.has(Need::Blocks) && !needs.has(Need::FirstByte) {
        return;
    }
    let blocks = last_blocks(conns, conn).filter(|_| needs.has(Need::Blocks));
    entry.note_response(blocks, Instant::now());
}
