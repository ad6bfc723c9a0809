//! Sends what a page needs before the client requests it: 103 Early Hints (RFC 8297) and pushes
//! (RFC 9113 §8.4), both from one preload list. docs/push.md explains this to operators.
//!
//! - `list`         the list: resources, and the pages that need them
//! - `destination`  the use that a page makes of a resource
//! - `file`         the list as a file
//! - `pusher`       a worker's use of the list: looks up requests, hints, pushes
//! - `promise`      the request that a push answers
//! - `diary`        what a client was pushed or requested on one connection
//! - `learn`        which resources of a page clients request
//! - `stats`        counters
//!
//! A request passes [`Pusher::prepare`] before its handler answers it. The same handlers then
//! answer the pushes that this promised, as if the client had requested them.

mod destination;
mod diary;
pub mod file;
mod learn;
pub mod list;
mod promise;
pub mod pusher;
pub mod stats;

use std::sync::Arc;

pub use destination::Destination;
pub use list::{Preload, PreloadError, PushCache};
pub use pusher::{Prepared, Pusher};
pub use stats::{NotPushed, Refusal, Stats};

/// The most resources pushed for one view of a page, and the most pushes open on one connection.
pub const MAX_PUSHES: usize = 10;

/// When to push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Never.
    #[default]
    Off,
    /// Push all listed resources of a page.
    On,
    /// Push those listed resources that clients turn out to request.
    Learned,
}

/// Settings of hints and pushes.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The list.
    pub list: Arc<PushCache>,
    /// Whether to send 103 responses and `link` fields.
    pub early_hints: bool,
    /// When to push.
    pub mode: Mode,
}
