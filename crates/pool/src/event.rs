//! Events that a pool reports to its owner, and failures of requests.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use nix::errno::Errno;
use tidegate_http::{ErrorCode, Fields, ResponseHead, Violation};

use crate::{Cause, Trip};

/// Whether a connection can't be opened because this host lacks descriptors, ports or memory.
fn is_local(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::AddrNotAvailable, io::ErrorKind::OutOfMemory];
    let errnos = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS];
    let errno = error.raw_os_error().map(Errno::from_raw);
    kinds.contains(&error.kind()) || errno.is_some_and(|errno| errnos.contains(&errno))
}

/// An event of a request, which the owner's key names.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<K> {
    /// An interim response (1xx). The final one is still to come.
    Informational {
        /// The request.
        key: K,
        /// A status of 100 to 199.
        head: ResponseHead,
    },
    /// The final response.
    Response {
        /// The request.
        key: K,
        /// A status of 200 or more.
        head: ResponseHead,
        /// The address that it came from.
        addr: SocketAddr,
        /// The version of its connection: `HTTP/2`, `HTTP/1.1` or `HTTP/1.0`.
        version: &'static str,
        /// Whether it has neither body nor trailers; then the request is over.
        end: bool,
        /// Whether it grants the tunnel that the request asked for. A 2xx grants no WebSocket if it
        /// comes from an HTTP/1.1 upstream that ignores Upgrade (RFC 9110 §7.8).
        opens_tunnel: bool,
        /// The way of the request to the upstream.
        trip: Trip,
    },
    /// A piece of the response's body. No more than a window's worth comes until
    /// [`Pool::consume`](crate::Pool::consume) gives credit back.
    Data {
        /// The request.
        key: K,
        /// Empty only when `end` is set.
        data: Bytes,
        /// Whether the response ends here. Then the request is over, unless it is a tunnel whose
        /// other direction, ours, is open.
        end: bool,
    },
    /// The response's trailers. The request is over.
    Trailers {
        /// The request.
        key: K,
        /// The fields, among which are no pseudo-fields.
        fields: Fields,
    },
    /// The upstream takes more of the request's body: give up to `want` bytes to
    /// [`Pool::write`](crate::Pool::write). If there are none yet, call `write` once there are;
    /// there is no further event until then.
    Writable {
        /// The request.
        key: K,
        /// Bytes that there is room for, at least 1.
        want: usize,
    },
    /// The request failed: there is no response, or no more of it. The request is over.
    Failed {
        /// The request.
        key: K,
        /// The reason.
        failure: Failure,
        /// The way of the request to the upstream, as far as it came.
        trip: Trip,
    },
}

/// Why a request failed. Its `Display` is one sentence.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The upstream has no address.
    NoAddress,
    /// This host lacks something that a connection takes, such as a descriptor, memory or a port.
    Local(Cause),
    /// No connection to an address could be established.
    Connect(SocketAddr, Cause),
    /// A connection to an address was not established in time.
    ConnectTimedOut(SocketAddr),
    /// The server at an address has no valid certificate for the name.
    Certificate(SocketAddr, Cause),
    /// The TLS handshake with an address failed for another reason.
    Tls(SocketAddr, Cause),
    /// Too many requests wait for a place already, of all clients or of this one.
    QueueFull,
    /// The request made no progress for too long.
    TimedOut,
    /// Too many interim responses came, and no final one.
    EndlessInterim,
    /// The upstream refused the request before processing it, twice, or once for a request that
    /// couldn't be sent again.
    Refused,
    /// The connection ended.
    Lost(Cause),
    /// The upstream broke this rule of the protocol.
    Violation(Violation),
    /// The upstream reset the stream with this code.
    Reset(ErrorCode),
    /// The memory budget has no room for a response.
    OverMemoryBudget,
    /// The request's head is larger than the upstream accepts.
    HeadTooLarge,
    /// The upstream speaks only HTTP/2, and takes no WebSockets over that.
    NoWebSocket,
    /// The request's head can't be sent by the connection's protocol.
    Unsendable,
}

impl Failure {
    /// Returns why a connection can't be opened.
    pub(crate) fn to_connect(addr: SocketAddr, error: &io::Error) -> Self {
        if is_local(error) {
            Self::Local(error.into())
        } else if error.kind() == io::ErrorKind::TimedOut {
            Self::ConnectTimedOut(addr)
        } else {
            Self::Connect(addr, error.into())
        }
    }

    /// Returns the status that a gateway answers with (RFC 9110 §15.6).
    pub fn status(&self) -> u16 {
        match self {
            // RFC 6585 §5.
            Self::HeadTooLarge => 431,
            Self::NoAddress
            | Self::Local(_)
            | Self::QueueFull
            | Self::Refused
            | Self::OverMemoryBudget => 503,
            Self::ConnectTimedOut(_) | Self::TimedOut => 504,
            _ => 502,
        }
    }

    /// Returns the error type of RFC 9209 §2.3 for a `proxy-status` field.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoAddress => "destination_unavailable",
            Self::Local(_) => "proxy_internal_error",
            Self::Connect(..) => "connection_refused",
            Self::ConnectTimedOut(_) => "connection_timeout",
            Self::Certificate(..) => "tls_certificate_error",
            Self::Tls(..) => "tls_protocol_error",
            Self::TimedOut => "http_response_timeout",
            Self::Refused | Self::QueueFull => "connection_limit_reached",
            Self::Lost(_) => "connection_terminated",
            Self::Violation(_) | Self::Reset(_) | Self::EndlessInterim => "http_protocol_error",
            Self::OverMemoryBudget => "proxy_internal_error",
            Self::HeadTooLarge => "http_request_error",
            Self::NoWebSocket => "http_upgrade_failed",
            Self::Unsendable => "proxy_internal_error",
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the upstream has no address"),
            Self::Local(why) => write!(f, "this host can't open a connection: {why}"),
            Self::Connect(addr, why) => write!(f, "{addr}: can't connect: {why}"),
            Self::Certificate(addr, why) | Self::Tls(addr, why) => write!(f, "{addr}: {why}"),
            Self::ConnectTimedOut(addr) => write!(f, "{addr}: no connection in time"),
            Self::QueueFull => f.write_str("too many requests wait for a place at the upstream"),
            Self::TimedOut => f.write_str("the request made no progress for too long"),
            Self::EndlessInterim => {
                f.write_str("the upstream sent 100 interim responses and no final one")
            }
            Self::Refused => f.write_str("the upstream refused the request before processing it"),
            Self::Lost(why) => write!(f, "the connection ended: {why}"),
            Self::Violation(violation) => write!(f, "the upstream broke a rule: {violation}"),
            Self::Reset(code) => write!(f, "the upstream reset the stream with {code}"),
            Self::OverMemoryBudget => f.write_str("the memory budget has no room for a response"),
            Self::HeadTooLarge => {
                f.write_str("the request's head is larger than the upstream accepts")
            }
            Self::NoWebSocket => f.write_str("the upstream takes no WebSockets over HTTP/2"),
            Self::Unsendable => f.write_str("the request's head can't be sent"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_host_lacks_is_distinguished_from_what_an_address_says() {
        for (errno, expected) in [
            (Errno::EMFILE, true),
            (Errno::ENFILE, true),
            (Errno::EADDRNOTAVAIL, true),
            (Errno::ENOBUFS, true),
            (Errno::ENOMEM, true),
            (Errno::ECONNREFUSED, false),
            (Errno::ECONNRESET, false),
            (Errno::EHOSTUNREACH, false),
            (Errno::ENETUNREACH, false),
        ] {
            let error = io::Error::from_raw_os_error(errno as i32);
            assert_eq!(is_local(&error), expected, "{errno}");
        }
    }
}
