//! Flow control (RFC 9113 §5.2 and §6.9).

mod window;

pub(crate) use window::{RecvWindow, SendWindow};
