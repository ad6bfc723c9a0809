//! The event loop over real sockets.
//!
//! `cleartext`: HTTP/2 with prior knowledge, HTTP/1.x, limits, timeouts, the worker's end.
//! `tls`: versions, ALPN, tickets, alerts, close_notify.
//! `common`: a worker on a thread of its own, and clients.

mod cleartext;
mod common;
mod tls;
