//! HTTP/2 frames (RFC 9113 §4 and §6, RFC 9218 §7.1): bytes to frames and back, without I/O.
//!
//! [`Reader`] cuts the bytes of one direction of a connection into [`Frame`]s and checks each frame
//! by itself: its size, its padding, its stream identifier. The engine checks what depends on the
//! state of a stream or of the connection. The reader reports a wrong frame as a [`Malformed`],
//! whose error code and scope say what to send and whether the stream or the connection fails.
//!
//! Each frame has a method `write`, which appends it to a `Vec<u8>`.
//!
//! ```
//! use bytes::BytesMut;
//! use tidegate_frame::{ErrorCode, Frame, Ping, Reader, Scope, StreamId, WindowUpdate};
//!
//! // Frames to bytes ...
//! let ping = Ping { ack: false, payload: *b"tidegate" };
//! let update = WindowUpdate { stream_id: StreamId::new(1), increment: 0 };
//! let mut bytes = Vec::new();
//! ping.write(&mut bytes);
//! update.write(&mut bytes);
//!
//! // ... and back. The input may arrive in any pieces: `None` means "not a whole frame yet".
//! let mut input = BytesMut::from(&bytes[..10]);
//! let mut reader = Reader::new(16_384);
//! assert_eq!(reader.next(&mut input), Ok(None));
//! input.extend_from_slice(&bytes[10..]);
//! assert_eq!(reader.next(&mut input), Ok(Some(Frame::Ping(ping))));
//!
//! // An increment of 0 is an error of its stream; the connection goes on.
//! let malformed = reader.next(&mut input).unwrap_err();
//! assert_eq!(malformed.code(), ErrorCode::PROTOCOL_ERROR);
//! assert_eq!(malformed.scope(), Scope::Stream);
//! assert_eq!(reader.next(&mut input), Ok(None));
//! ```

mod continuation;
mod data;
mod error_code;
mod frame;
mod goaway;
mod head;
mod headers;
mod malformed;
mod origin;
mod ping;
mod priority;
mod priority_update;
mod push_promise;
mod reader;
mod rst_stream;
mod settings;
mod stream_id;
#[cfg(test)]
mod testing;
mod unknown;
mod window_update;

pub use continuation::Continuation;
pub use data::Data;
pub use error_code::ErrorCode;
pub use frame::Frame;
pub use goaway::GoAway;
pub use head::{Flags, Head, Kind};
pub use headers::Headers;
pub use malformed::{Defect, Malformed, Scope};
pub use origin::Origin;
pub use ping::Ping;
pub use priority::{Priority, StreamDependency};
pub use priority_update::PriorityUpdate;
pub use push_promise::PushPromise;
pub use reader::Reader;
pub use rst_stream::RstStream;
pub use settings::{SettingId, Settings};
pub use stream_id::StreamId;
pub use unknown::Unknown;
pub use window_update::WindowUpdate;

/// The first bytes of a client (RFC 9113 §3.4), before its first SETTINGS frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
