//! A connection in a list of many.

use serde::Serialize;
use tidegate_net::{ConnInfo, Conns, Engine, Origin, Protocol, TlsInfo};

use super::name::{Key, Name};

/// A connection in a list of many.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The name, for further questions.
    pub id: String,
    /// The worker that has the connection.
    pub worker: usize,
    /// The end that opened the connection: `client`, or `upstream` if it was opened to one.
    pub side: &'static str,
    /// The peer's address and port.
    pub peer: String,
    /// Our address and port.
    pub local: String,
    /// The address of the proxy that opened the connection, by a PROXY protocol header.
    pub via: Option<String>,
    /// The protocol.
    pub protocol: &'static str,
    /// The result of the TLS handshake; `null` in cleartext.
    pub tls: Option<Tls>,
    /// Seconds since the connection was accepted or opened.
    pub age: f64,
    /// TCP's estimate of the round-trip time, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Streams that are open.
    pub streams: usize,
    /// Requests so far.
    pub requests: u64,
    /// Bytes received, without TLS.
    pub bytes_in: u64,
    /// Bytes sent, without TLS.
    pub bytes_out: u64,
    /// Bytes of fields, and of the blocks that they were compressed to.
    pub headers: Headers,
    /// Bytes of memory that the connection holds.
    pub memory: u64,
    /// Whether the connection rests, so that most of its memory is given back.
    pub resting: bool,
    /// Streams that the peer's windows hold up.
    pub stalled: usize,
    /// Whether the peer's socket takes nothing now.
    pub socket_full: bool,
    /// The budget against abuse of which the largest share is spent.
    pub guard: Option<Guard>,
    /// The place in the list.
    #[serde(skip)]
    pub key: Key,
}

/// The result of a TLS handshake.
#[derive(Clone, Debug, Serialize)]
pub struct Tls {
    version: &'static str,
    cipher: &'static str,
    alpn: Option<&'static str>,
    sni: Option<String>,
    resumed: bool,
}

impl From<&TlsInfo> for Tls {
    fn from(info: &TlsInfo) -> Self {
        Self {
            version: info.version,
            cipher: info.cipher,
            alpn: info.alpn,
            sni: info.sni.clone(),
            resumed: info.resumed,
        }
    }
}

/// Bytes of names and values, and of the blocks that they were compressed to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Headers {
    fields_in: u64,
    blocks_in: u64,
    fields_out: u64,
    blocks_out: u64,
    saved: u64,
}

impl From<&tidegate_http::Stats> for Headers {
    fn from(stats: &tidegate_http::Stats) -> Self {
        Self {
            fields_in: stats.fields_in,
            blocks_in: stats.blocks_in,
            fields_out: stats.fields_out,
            blocks_out: stats.blocks_out,
            saved: stats.header_bytes_saved(),
        }
    }
}

/// How much of a budget against abuse is spent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Guard {
    /// The name, as in docs/limits.md.
    pub name: &'static str,
    /// The units spent and not refilled.
    pub spent: u32,
    /// The most units that can be spent at once.
    pub limit: u32,
    /// The units refilled per second.
    pub per_second: u32,
}

impl From<tidegate_http2::GuardLevel> for Guard {
    fn from(level: tidegate_http2::GuardLevel) -> Self {
        Self {
            name: level.name,
            spent: level.spent,
            limit: level.limit,
            per_second: level.per_second,
        }
    }
}

impl Row {
    /// Takes what is known of a connection.
    pub fn of(conns: &Conns, name: Name, info: &ConnInfo, engine: &Engine, key: Key) -> Self {
        let stats = engine.stats();
        let age = conns.now().saturating_duration_since(info.began_at);
        let rtt = conns.round_trip(name.conn);
        Self {
            id: name.to_string(),
            worker: name.worker,
            side: match info.origin {
                Origin::Accepted => "client",
                Origin::Dialled => "upstream",
            },
            peer: info.peer.to_string(),
            local: info.local.to_string(),
            via: info.via.map(|via| via.to_string()),
            protocol: match engine.protocol() {
                Protocol::Http2 => "HTTP/2",
                Protocol::Http1 => engine.version(),
            },
            tls: info.tls.as_deref().map(Tls::from),
            age: age.as_secs_f64(),
            rtt_ms: rtt.map(|rtt| rtt.as_secs_f64() * 1000.0),
            streams: engine.active_streams(),
            requests: stats.requests,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            headers: Headers::from(&stats),
            memory: engine.held_bytes(),
            resting: matches!(engine, Engine::Resting(_)),
            stalled: engine.held_up_streams(),
            socket_full: conns.is_blocked(name.conn),
            guard: engine.highest_guard(conns.now()).map(Guard::from),
            key,
        }
    }
}
