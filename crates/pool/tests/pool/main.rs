//! The pool on sockets in memory and in virtual time.
//!
//! `http2`, `http1`: which connection carries which request.
//! `retries`: which requests are sent again.
//! `bodies`: bodies that are streamed, blocked, or answered early.
//! `health`: addresses that fail.
//! `addresses`: addresses that change, and their names.
//! `time`: timeouts, and silent connections.
//! `cancel`: cancelled requests.
//! `client`: the blocking client, on the loopback.
//! `tls`: TLS, and protocols by ALPN.
//! `tunnels`: CONNECT and WebSockets.
//! `proxy_protocol`: connections of one client each.
//! `shares`: what clients share, and whose turn it is.
//! `scripts`: random scripts of all of this.
//! `lab`: the service under test, and upstreams that the tests play.

mod addresses;
mod bodies;
mod cancel;
mod client;
mod health;
mod http1;
mod http2;
mod lab;
mod proxy_protocol;
mod retries;
mod scripts;
mod shares;
mod time;
mod tls;
mod tunnels;
