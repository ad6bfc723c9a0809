//! Tests of the event loop on real sockets.
//!
//! - `http1`: HTTP/1.x, with and without TLS.
//! - `cleartext`: HTTP/2 with prior knowledge, limits, timeouts, the end of a worker.
//! - `tls`: versions, ALPN, tickets, alerts, close_notify.
//! - `tls_sites`: listeners for some protocols, several certificates, clients' certificates, shared
//!   ticket keys, early data.
//! - `dial`: connections that we open: trust, failures and ends.
//! - `proxy_protocol`: connections whose proxy names the client.
//! - `upgrades`: `Upgrade: h2c`, tunnels and their two ends, clients that leave while they wait.
//! - `memory`: the loop on sockets in memory, turn by turn; time and traces.
//! - `sharing`: several clients on sockets in memory: admission, and which connection makes room.
//! - `turns`: what one turn does, in which order, and what it leaves for the next.
//! - `slow`: peers that take or send a byte at a time, and slow honest ones, in virtual time.
//! - `common`: workers on threads of their own, clients, certificates.

mod cleartext;
mod common;
mod dial;
mod http1;
mod memory;
mod proxy_protocol;
mod sharing;
mod slow;
mod tls;
mod tls_sites;
mod turns;
mod upgrades;
