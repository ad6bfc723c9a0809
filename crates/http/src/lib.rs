//! The vocabulary of tidegate's HTTP engines, `tidegate-http2` and `tidegate-http1`. Both take the
//! same [`Config`], report the same [`Event`]s and send the same heads, so code that answers or
//! makes requests needn't know which protocol carries them.
//!
//! ```
//! use tidegate_http::{RequestHead, RequestRules, ResponseHead, Violation};
//!
//! let head = ResponseHead::new(200).field("content-length", "5");
//! assert_eq!((head.status(), head.content_length()), (200, Some(5)));
//!
//! // A received list of fields is checked as a whole.
//! let mut fields = RequestHead::new("GET", "https", "localhost", "/").fields().clone();
//! fields.push("connection", "close");
//! let checked = RequestHead::from_fields(fields, RequestRules::default());
//! assert_eq!(checked.unwrap_err(), Violation::ConnectionSpecificField);
//! ```
//!
//! A fault of the peer is a [`Violation`], a fault of the caller a [`Misuse`]. The engines
//! re-export all of this.

mod budget;
mod config;
pub mod engine;
mod error;
mod event;
mod limits;
mod message;
mod outbox;
mod pace;
mod priority;
mod protocol;
mod role;
mod stats;
mod stream;
mod wall_clock;

pub use budget::{Bill, Holding, MemoryBudget};
pub use config::{Config, ConfigError, Priorities, Timeouts};
pub use error::{CloseReason, Misuse, ResetCause, Violation};
pub use event::{Event, Flow};
pub use limits::{AbuseLimits, Rate};
pub use message::{
    Body, Field, Fields, InvalidHead, KnownName, KnownNames, RequestHead, RequestRules,
    ResponseHead, Stamp, ascii_target, check_trailers, is_authority, may_be_trailer,
};
pub use outbox::Outbox;
pub use pace::{Age, Pace};
pub use priority::Priority;
pub use protocol::Protocol;
pub use role::Role;
pub use stats::Stats;
pub use stream::Stream;
pub use tidegate_frame::{ErrorCode, Scope, StreamId};
pub use wall_clock::WallClock;
