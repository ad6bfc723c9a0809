//! A sans-IO HTTP/2 engine (RFC 9113) for both roles: streams, flow control, priorities, push, and
//! the rules of messages. The engine owns no socket, clock or thread: bytes and the time go in,
//! [`Event`]s and bytes come out. So it can be embedded in any event loop.
//!
//! The owner drives a [`Connection`] in a loop: pass the peer's bytes to [`Connection::receive`]
//! and handle the events until there are none; drain [`Connection::transmit`] into an [`Outbox`]
//! and write that out; wait for more input or for [`Connection::next_timeout`]. Commands, such as
//! answering a request, go through [`Connection::stream`].
//!
//! ```
//! use bytes::{Buf, Bytes, BytesMut};
//! use tidegate_http2::{
//!     Body, Config, Connection, Event, Flow, Outbox, RequestHead, ResponseHead, Stream,
//! };
//!
//! // Moves what one end has to say to the other end's input.
//! fn carry(from: &mut Connection, wire: &mut BytesMut, now: std::time::Instant) {
//!     let mut out = Outbox::new();
//!     assert!(matches!(from.transmit(&mut out, usize::MAX, now), Flow::Drained));
//!     wire.extend_from_slice(&out.copy_to_bytes(out.remaining()));
//! }
//!
//! let now = std::time::Instant::now();
//! let mut client = Connection::client(Config::client().build()?, now);
//! let mut server = Connection::server(Config::server().build()?, now);
//! let mut wire = BytesMut::new();
//!
//! client.open(&RequestHead::new("GET", "https", "localhost", "/"), Body::Empty)?;
//! carry(&mut client, &mut wire, now);
//! while let Some(event) = server.receive(&mut wire, now) {
//!     if let Event::Request { id, head, .. } = event {
//!         assert_eq!(head.path(), "/");
//!         let head = ResponseHead::new(200).field("content-type", "text/plain");
//!         let body = Body::Full(Bytes::from_static(b"hello"));
//!         server.stream(id).expect("it was just reported").respond(&head, body)?;
//!     }
//! }
//! carry(&mut server, &mut wire, now);
//! let mut body = BytesMut::new();
//! while let Some(event) = client.receive(&mut wire, now) {
//!     if let Event::Data { data, .. } = event {
//!         body.extend_from_slice(&data);
//!     }
//! }
//! assert_eq!(body, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The package's `examples` have a server in a blocking loop (`blocking.rs`), a client with a
//! hundred requests at once (`client.rs`), and a server on tokio (`tokio_server.rs`).
//!
//! A fault of the peer is a [`Violation`]. [`Event::Reset`] or [`Event::Closed`] reports it, and
//! the engine answers it as the RFC requires. A fault of the caller is a [`Misuse`], returned by
//! the call.

mod conn;
mod flow;
mod guard;
mod inspection;
mod memory;
mod sched;
mod stream;
#[cfg(test)]
mod testing;

pub use conn::{
    Connection, Direction, InspectionScope, LastBlocks, LastFrame, PeerSettings, Resting, StreamMut,
};
pub use flow::ReceiveCredit;
pub use inspection::{
    GuardLevel, Inspection, Setting, StreamInspection, TableField, TableInspection, WaitsFor,
};
pub use tidegate_frame::{Flags, Head, Kind};
pub use tidegate_http::*;
