//! The reasons why a connection has ended.

use std::io;

use tidegate_http::CloseReason;

/// The reason why a connection has ended. Its `Display` is one sentence.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// The engine closed the connection.
    Closed(CloseReason),
    /// The TLS handshake, or a TLS record after it, failed.
    TlsFailed(rustls::Error),
    /// The peer spoke HTTP in cleartext where TLS had to begin. We answered with a 400 that says
    /// so.
    HttpOnTlsPort,
    /// The client spoke HTTP/1.1 where the listener takes HTTP/2 alone. We answered with a 505 that
    /// says so.
    OnlyHttp2,
    /// The peer closed before the protocol was known.
    HandshakeEof,
    /// The peer didn't finish the TLS handshake, or sent no HTTP, within the handshake timeout.
    HandshakeTimedOut,
    /// A connection that we dialled wasn't established.
    ConnectFailed(io::Error),
    /// TCP and TLS of a connection that we dialled weren't done in time.
    ConnectTimedOut,
    /// A server that had to speak HTTP/2 over TLS didn't agree to it by ALPN (RFC 9113 §3.2).
    NotHttp2,
    /// A proxy opened the connection without naming its client in a valid PROXY protocol header.
    ProxyHeaderInvalid,
    /// The peer took too little of the data that waited for it, for the write timeout.
    WriteTimedOut,
    /// The client has its share of connections, or of memory during a handshake. The PROXY protocol
    /// header says whose connection it is.
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
            Self::OnlyHttp2 => f.write_str("HTTP/1.1 on a port for HTTP/2 alone"),
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
