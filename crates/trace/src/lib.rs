//! Traces of HTTP/2 connections.
//!
//! - `record`    the records: what each line of a file says
//! - `replay`    a trace goes through the engine again
//! - `settings`  the settings of an engine that a replay needs
//! - `shadow`    bytes to records, beside the engine
//! - `waterfall` a waterfall of streams as SVG
//! - `windows`   flow-control windows, computed from frames
//! - `privacy`   which values of fields are kept
//! - `ends`      rules and reasons as records
//! - `file`      records to text and back (RFC 7464)
//! - `print`     frames as lines for a terminal
//! - `text`      bytes and times in JSON
//!
//! Bytes and the time go in, records come out: this crate knows no socket and no file.

mod ends;
mod file;
mod print;
mod privacy;
mod record;
pub mod replay;
mod settings;
mod shadow;
mod text;
mod waterfall;
mod windows;

pub use ends::{closed, rule};
pub use file::{Connection, Damage, Trace, header, note, write};
pub use print::{print_event, print_frame};
pub use privacy::{Values, is_credential};
pub use record::{
    Block, Closed, Dependency, Event, FieldRecord, FileHeader, FrameRecord, Payload, Record, Rule,
    Setting, Started, TableChange, VERSION, VantagePoint, Windows,
};
pub use settings::EngineSettings;
pub use shadow::Shadow;
pub use waterfall::waterfall;

/// The direction of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us.
    Received,
    /// From us to the peer.
    Sent,
}

impl Direction {
    /// Returns the other direction.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }
}
