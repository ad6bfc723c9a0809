//! What a page needs, sent before it is asked for: 103 Early Hints (RFC 8297) and pushes (RFC 9113 §8.4), both from one
//! preload list. docs/push.md explains it to operators.
//!
//! - `list`     the list: resources, and the pages that need them
//! - `file`     the list as a file
//! - `pusher`   what a worker does with the list: looks requests up, hints, pushes
//! - `promise`  the request that a push answers
//! - `diary`    what one connection was pushed and has asked for
//! - `learn`    what clients of a page go on to ask for
//! - `stats`    what came of it
//!
//! A request passes [`Pusher::prepare`] before its handler answers it. What that promised is then answered by the same
//! handlers, as if the client had asked for it.

mod diary;
pub mod file;
mod learn;
pub mod list;
mod promise;
pub mod pusher;
pub mod stats;

use std::sync::Arc;

pub use list::{Destination, Preload, PreloadError, PushCache};
pub use pusher::{Prepared, Pusher};
pub use stats::{Refusal, Stats};

/// Resources pushed for one view of a page, and pushes open on one connection, at most.
pub const MAX_PUSHES: usize = 10;

/// When to push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Never.
    #[default]
    Off,
    /// What the list says.
    On,
    /// What the list says, as far as clients have been seen to want it.
    Learned,
}

/// What to do with the list.
#[derive(Clone, Debug)]
pub struct Options {
    /// The list.
    pub list: Arc<PushCache>,
    /// Whether to send 103 responses and `link` fields.
    pub early_hints: bool,
    /// When to push.
    pub mode: Mode,
}
