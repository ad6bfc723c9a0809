//! Test support for tidegate.
//!
//! - [`wire`] writes raw frames, right or wrong. [`peer`] is a scripted peer that sends them to an
//!   engine and reads its output, so that a test reads like a conversation.
//! - [`pair`] joins a client engine and a server engine in memory, with a virtual clock.
//! - [`sim`] joins them by a bad network with random messages, all from one seed, and checks every
//!   step.
//! - [`driver`] runs an engine on a transport, and [`engine`] is one of either protocol.
//! - `tls` (a feature) has the TLS settings of such clients, and certificates.
//! - `signals` (a feature) ends programs that start others in order.
//! - [`fuzz`] has the bodies of the fuzz targets, so that `cargo test` replays their corpora.
//! - [`trace`] replays traces, so that one of them is a test.
//! - [`rng`] generates the random numbers.

pub mod driver;
pub mod engine;
pub mod fuzz;
pub mod pair;
pub mod peer;
pub mod readers;
pub mod rest;
pub mod rng;
#[cfg(feature = "signals")]
pub mod signals;
pub mod sim;
#[cfg(feature = "tls")]
pub mod tls;
pub mod trace;
pub mod wire;
