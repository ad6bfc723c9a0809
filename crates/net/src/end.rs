//! Why a connection is gone.

use std::io;

use tidegate_http::CloseReason;

/// Why a connection is gone; its `Display` is one clear sentence.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// The engine ended it.
    Closed(CloseReason),
    /// The TLS handshake, or a TLS record after it, failed.
    TlsFailed(rustls::Error),
    /// The peer spoke HTTP in cleartext where TLS was to begin; it was told so by a 400.
    HttpOnTlsPort,
    /// The peer closed before the protocol was known.
    HandshakeEof,
    /// The peer didn't finish the TLS handshake, or sent no HTTP, for the handshake timeout.
    HandshakeTimedOut,
    /// Nobody took the connection that we opened.
    ConnectFailed(io::Error),
    /// TCP and TLS of a connection that we opened were not done in time.
    ConnectTimedOut,
    /// A server that was to speak HTTP/2 over TLS didn't agree to it by ALPN (RFC 9113 §3.2).
    NotHttp2,
    /// The connection came through a proxy that should have said for whom (PROXY protocol), and didn't in a way that can be
    /// understood.
    ProxyHeaderInvalid,
    /// The peer took none of what waited for it for the write timeout.
    WriteTimedOut,
    /// The client has its share: of connections, as the PROXY protocol header says whose one it is, or of memory, during a
    /// handshake.
    Refused,
    /// The connection was idle, and made room for another client's.
    MadeRoom,
    /// The socket failed.
    Io(io::Error),
    /// The worker was stopped while the connection was open.
    Stopped,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed(reason) => write!(f, "{reason}"),
            Self::TlsFailed(error) => write!(f, "TLS failed: {error}"),
            Self::HttpOnTlsPort => f.write_str("HTTP in cleartext on a port for TLS"),
            Self::HandshakeEof => f.write_str("closed by the peer before the handshake was done"),
            Self::HandshakeTimedOut => f.write_str("handshake timed out"),
            Self::ConnectFailed(error) => write!(f, "can't connect: {error}"),
            Self::ConnectTimedOut => f.write_str("can't connect: timed out"),
            Self::NotHttp2 => f.write_str("the server doesn't speak HTTP/2"),
            Self::ProxyHeaderInvalid => {
                f.write_str("no PROXY protocol header where there must be one")
            }
            Self::WriteTimedOut => f.write_str("the peer stopped reading: write timed out"),
            Self::Refused => {
                f.write_str("refused: the client has its share of connections, or of memory")
            }
            Self::MadeRoom => f.write_str("idle, and closed to make room for another connection"),
            Self::Io(error) => write!(f, "socket error: {error}"),
            Self::Stopped => f.write_str("the worker was stopped"),
        }
    }
}

impl std::error::Error for End {}
