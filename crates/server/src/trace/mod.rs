//! Traces of connections: which are traced, and where the records go.
//!
//! - `again`        the command that replays a trace
//! - `destination`  the file, and the thread that writes it
//! - `filter`       which connections are traced
//! - `ring`         the last records of a connection, kept in memory
//! - `show`         the command that prints a trace
//! - `tracer`       the traced connections of a worker

pub mod again;
pub mod destination;
mod filter;
mod ring;
pub mod show;
mod tracer;

use std::sync::Arc;

use tidegate_http::Config;
use tidegate_trace::Values;

use destination::Destination;
pub use filter::{Filter, Sample};
use ring::RingMemory;
pub(crate) use tracer::Tracer;

/// Which connections are traced, and where to.
#[derive(Debug)]
pub struct Settings {
    /// The file.
    pub destination: Destination,
    /// Which connections are traced.
    pub filter: Filter,
    /// The values of fields that are kept.
    pub values: Values,
    /// The frames of each connection that are kept in memory, and written when a rule ends it. 0:
    /// all frames are written.
    pub ring: u32,
    /// The settings of the engines.
    engine: Arc<Config>,
    ring_memory: RingMemory,
}

impl Settings {
    /// Returns settings. All rings of the process share one memory.
    pub fn new(
        destination: Destination,
        filter: Filter,
        (values, ring): (Values, u32),
        engine: Arc<Config>,
    ) -> Self {
        Self {
            destination,
            filter,
            values,
            ring,
            engine,
            ring_memory: RingMemory::of_process(),
        }
    }
}
