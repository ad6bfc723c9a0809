//! The event loop over real sockets.
//!
//! `http1`: HTTP/1.x, with and without TLS.
//! `cleartext`: HTTP/2 with prior knowledge, limits, timeouts, the worker's end.
//! `tls`: versions, ALPN, tickets, alerts, close_notify.
//! `common`: a worker on a thread of its own, and clients.

mod cleartext;
mod common;
mod http1;
mod tls;
