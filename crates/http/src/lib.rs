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
//! re-export all of this. With the feature `http`, the module `convert` has conversions to and from
//! the types of the `http` crate.
//!
//! # The contract of an engine
//!
//! What holds for the `Connection` of either engine:
//!
//! - **Input.** Call `receive` until it returns no event. The bytes that it leaves must be at the
//!   front of the next input. While `can_receive` is false, don't read the transport. Report the
//!   transport's end with `receive_eof`.
//! - **Output.** After every input and every command, call `transmit` until it returns
//!   [`Flow::Drained`]. [`Flow::Full`] wants the outbox written first, [`Flow::Event`] the event
//!   handled.
//! - **Time.** At `next_timeout`, call `handle_timeout`, then `receive` and `transmit`. The limits
//!   of a command begin at the last time that the engine was told, so after a pause call `set_time`
//!   before it.
//! - **Messages.** A message is complete with `end` of its head or of [`Event::Data`], or with
//!   [`Event::Trailers`]. An incomplete one ends with [`Event::Reset`], or with the connection by
//!   [`Event::Closed`].
//! - **Debts.** An event of a stream that its owner has no use for goes to [`Stream::ignore`].
//!   Otherwise a peer waits for credit, or a stream that was reset keeps its place.
//! - **The end.** No event follows [`Event::Closed`]. There are no streams left, and `open`
//!   returns [`Misuse::GoingAway`]. When `transmit` returns [`Flow::Closed`], write the outbox out
//!   and close the transport.
//! - **Windows.** Those of HTTP/2 stay small until `observe_rtt` reports a round-trip time.
//! - **Threads.** A connection is `Send`: it may move from thread to thread between calls.

mod budget;
mod config;
#[cfg(feature = "http")]
pub mod convert;
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
    ResponseHead, Stamp, ascii_target, check_trailers, is_authority, is_valid_alone,
    may_be_trailer,
};
pub use outbox::Outbox;
pub use pace::{Age, Pace};
pub use priority::Priority;
pub use protocol::Protocol;
pub use role::Role;
pub use stats::{GuardPeaks, Stats};
pub use stream::Stream;
pub use tidegate_frame::{ErrorCode, Scope, StreamId};
pub use wall_clock::WallClock;
