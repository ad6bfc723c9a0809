//! The protocols that the engines speak.

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/2.
    Http2,
    /// HTTP/1.1 or 1.0.
    Http1,
}
