//! HTTP/2 frames (RFC 9113 §4 and §6, RFC 9218 §7.1): octets to frames and back, without I/O.

mod error_code;
mod frames;
mod malformed;
mod reader;
mod stream_id;

pub use error_code::ErrorCode;
pub use frames::*;
pub use malformed::{Defect, Malformed, Scope};
pub use reader::Reader;
pub use stream_id::StreamId;
