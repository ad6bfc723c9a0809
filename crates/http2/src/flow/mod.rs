//! Flow control (RFC 9113 §5.2 and §6.9). `docs/flow-control.md` explains what is advertised and
//! why.

mod autotune;
mod connection;
mod rtt;
mod window;

pub(crate) use autotune::{Autotune, FIRST_GRANT};
pub use connection::ReceiveCredit;
pub(crate) use connection::{ConnectionWindow, least_window};
pub(crate) use rtt::RoundTrip;
pub(crate) use window::{MAX as MAX_WINDOW, RecvWindow, SendWindow, Share};
