//! A sans-IO HTTP/2 engine (RFC 9113) for both roles.

mod config;
mod conn;
mod error;
mod event;
mod flow;
mod guard;
mod message;
mod outbox;
mod sched;
mod stats;
mod stream;
#[cfg(test)]
mod testing;

pub use config::{Config, ConfigError, Timeouts};
pub use conn::{Connection, Flow, PeerSettings, Role};
pub use error::{CloseReason, Misuse, ResetCause, Violation};
pub use event::Event;
pub use guard::{AbuseLimits, Rate};
pub use message::{Body, Field, Fields, KnownName, RequestHead, RequestRules, ResponseHead};
pub use outbox::Outbox;
pub use sched::Priority;
pub use stats::Stats;
pub use stream::StreamMut;
pub use tidegate_frame::{ErrorCode, Scope, StreamId};
