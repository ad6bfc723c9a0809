//! The protocols of a listener.

/// The protocols that a listener's connections may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2, HTTP/1.1 and HTTP/1.0, as ALPN or the first bytes say.
    #[default]
    Both,
    /// HTTP/2 alone. Over TLS, ALPN offers only `h2`.
    Http2,
    /// HTTP/1.1 and HTTP/1.0 alone. Over TLS, ALPN offers only `http/1.1` and `http/1.0`.
    Http1,
}
