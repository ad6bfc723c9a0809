//! The attacks: for each, its name, a description and the function that does it.

mod drips;
mod floods;
mod holds;

use crate::peer::Attacker;

/// One kind of attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The description of the attack, for the table.
    pub(crate) what: &'static str,
    /// The bystander's requests.
    pub(crate) asks: Asks,
    pub(crate) attack: fn(&mut Attacker),
}

/// The requests of the bystander.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A small file.
    File,
    /// A small file, and one behind the proxy.
    Proxied,
}

/// All attacks, grouped by their targets.
pub(crate) const ROWS: &[Row] = &[
    // Resources that all clients share: descriptors, memory, places.
    row(
        "idle",
        "1,100 connections that stay after one request",
        Asks::File,
        holds::idle,
    ),
    row(
        "silent",
        "1,100 connections that send nothing, half of them to the TLS port",
        Asks::File,
        holds::silent,
    ),
    row(
        "preface",
        "1,100 connections that send only the preface of HTTP/2",
        Asks::File,
        holds::preface,
    ),
    row(
        "downloads",
        "10 connections × 100 downloads of 1 MB with windows of 0",
        Asks::File,
        holds::downloads,
    ),
    row(
        "upload-heads",
        "10 connections × 1,000 heads of uploads without a body",
        Asks::File,
        holds::upload_heads,
    ),
    row(
        "upload-bodies",
        "10 connections that send 64 KB to each of 100 echoes and read nothing",
        Asks::File,
        holds::echoes,
    ),
    row(
        "large-heads",
        "3 connections × 1,000 requests of 28 KB each by references to the dynamic table",
        Asks::Proxied,
        holds::large_heads,
    ),
    row(
        "unread",
        "100 connections that send 64 KB of requests and read no answer",
        Asks::File,
        holds::unread,
    ),
    row(
        "slow-reader",
        "3 connections × 100 proxied downloads with windows of 0",
        Asks::Proxied,
        holds::proxied_downloads,
    ),
    row(
        "slow-uploads",
        "3 connections × 100 proxied uploads without their bodies",
        Asks::Proxied,
        holds::proxied_uploads,
    ),
    row(
        "cancelled",
        "proxied requests that are cancelled at once, within the limits on resets",
        Asks::Proxied,
        floods::cancelled,
    ),
    // Progress by drips.
    row(
        "window-drip",
        "100 downloads whose connection window opens byte by byte",
        Asks::File,
        drips::connection_window,
    ),
    row(
        "stream-drip",
        "100 downloads whose windows open byte by byte",
        Asks::File,
        drips::stream_windows,
    ),
    row(
        "body-drip",
        "100 uploads over HTTP/1.1, a byte each 0.3 s",
        Asks::File,
        drips::body,
    ),
    row(
        "empty-data-drip",
        "100 uploads over HTTP/2, an empty DATA frame each 0.3 s",
        Asks::File,
        drips::empty_data,
    ),
    row(
        "head-drip",
        "100 heads over HTTP/1.1, a byte each 0.3 s",
        Asks::File,
        drips::head,
    ),
    row(
        "discarded-drip",
        "100 bodies of refused requests, a byte each 0.3 s",
        Asks::File,
        drips::discarded,
    ),
    row(
        "tcp-drip",
        "100 downloads read byte by byte",
        Asks::File,
        drips::reader,
    ),
    // Work without end.
    row(
        "pipelined-h1",
        "24 connections that pipeline requests and read slowly",
        Asks::File,
        floods::pipelined_http1,
    ),
    row(
        "pipelined-h2",
        "8 connections that send requests and read slowly",
        Asks::File,
        floods::pipelined_http2,
    ),
    row(
        "rapid-reset",
        "requests that are reset at once (CVE-2023-44487)",
        Asks::File,
        floods::rapid_reset,
    ),
    row(
        "made-you-reset",
        "frames that make the server reset (CVE-2025-8671)",
        Asks::File,
        floods::made_you_reset,
    ),
    row(
        "malformed",
        "malformed requests (CVE-2019-9514)",
        Asks::File,
        floods::malformed,
    ),
    row(
        "continuation",
        "a header block without end (CVE-2024-27316)",
        Asks::File,
        floods::continuation,
    ),
    row(
        "hpack-bomb",
        "large fields by references of a byte (CVE-2016-6581)",
        Asks::File,
        floods::hpack_bomb,
    ),
    row(
        "field-bomb",
        "thousands of small fields by references (CVE-2026-49975)",
        Asks::File,
        floods::field_bomb,
    ),
    row("ping", "PING (CVE-2019-9512)", Asks::File, floods::ping),
    row(
        "settings",
        "SETTINGS (CVE-2019-9515)",
        Asks::File,
        floods::settings,
    ),
    row(
        "priority",
        "PRIORITY (CVE-2019-9513)",
        Asks::File,
        floods::priority,
    ),
    row(
        "priority-update",
        "PRIORITY_UPDATE (RFC 9218)",
        Asks::File,
        floods::priority_update,
    ),
    row(
        "window-update",
        "WINDOW_UPDATE of 1 byte",
        Asks::File,
        floods::window_update,
    ),
    row(
        "empty-data",
        "empty DATA (CVE-2019-9518)",
        Asks::File,
        floods::empty_data,
    ),
    row(
        "goaway",
        "GOAWAY with 1,000 streams open",
        Asks::File,
        floods::goaway,
    ),
    row(
        "unknown",
        "frames of unknown kinds",
        Asks::File,
        floods::unknown,
    ),
    row(
        "dead-streams",
        "RST_STREAM and WINDOW_UPDATE on closed streams",
        Asks::File,
        floods::dead_streams,
    ),
];

const fn row(name: &'static str, what: &'static str, asks: Asks, attack: fn(&mut Attacker)) -> Row {
    Row {
        name,
        what,
        asks,
        attack,
    }
}

/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u16 = 4;

/// Returns the fields of an HTTP/2 request.
fn fields<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ]
}
