//! The pool on sockets in memory and in virtual time.
//!
//! `http2`, `http1`: which connection carries which request.
//! `retries`: what is sent again, and what is not.
//! `bodies`: bodies that are streamed, held up, or answered before they are whole.
//! `health`: addresses that fail.
//! `addresses`: addresses that change, and their names.
//! `time`: time limits, and connections that are silent.
//! `cancel`: requests that nobody wants any more.
//! `tls`: ALPN decides.
//! `tunnels`: CONNECT and WebSockets.
//! `proxy_protocol`: connections of one client each.
//! `shares`: what clients share, and who is next.
//! `scripts`: random scripts of everything at once.
//! `lab`: the service, and the upstreams that the tests play.

mod addresses;
mod bodies;
mod cancel;
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
