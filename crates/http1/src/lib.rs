//! A sans-IO HTTP/1.1 engine (RFC 9112) for both roles. It shares the vocabulary of
//! [`tidegate_http`] with the HTTP/2 engine: the same [`Event`]s, heads and [`Stream`]s. So code
//! that answers or makes HTTP/2 requests handles HTTP/1.1 too.
//!
//! The owner drives a [`Connection`] in a loop: pass the peer's bytes to [`Connection::receive`]
//! and handle the events until there are none; drain [`Connection::transmit`] into an outbox and
//! write that out; wait for more input or for [`Connection::next_timeout`].
//!
//! ```
//! use bytes::{Buf, Bytes, BytesMut};
//! use tidegate_http1::{Body, Config, Connection, Event, Flow, Outbox, ResponseHead, Stream};
//!
//! let now = std::time::Instant::now();
//! let mut server = Connection::server(Config::server().build()?, true, now);
//! let mut input = BytesMut::from("GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
//! while let Some(event) = server.receive(&mut input, now) {
//!     if let Event::Request { id, head, .. } = event {
//!         assert_eq!((head.scheme(), head.authority()), ("https", "localhost"));
//!         assert_eq!(head.path(), "/a");
//!         let head = ResponseHead::new(200).field("content-type", "text/plain");
//!         let body = Body::Full(Bytes::from_static(b"hello"));
//!         server.stream(id).expect("it was just reported").respond(&head, body)?;
//!     }
//! }
//! let mut out = Outbox::new();
//! assert!(matches!(server.transmit(&mut out, usize::MAX, now), Flow::Drained));
//! let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";
//! assert_eq!(out.copy_to_bytes(out.remaining()), answer);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A client sends requests with [`Connection::open`]; the rest is the same. A WebSocket is an
//! extended CONNECT here, as in HTTP/2.
//!
//! The engine is strict. It refuses with 400, and closes the connection, what two recipients could
//! understand differently, even where RFC 9112 would accept it. `httparse` reads the heads; its
//! leniencies are checked first.

mod client;
mod connection;
mod exchange;
mod memory;
mod read;
mod server;
mod stream;
mod upgrade;
mod write;

pub use connection::Connection;
pub use server::H2cUpgrade;
pub use stream::StreamMut;
pub use tidegate_http::*;
