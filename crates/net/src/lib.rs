//! The mio event loop of tidegate: sockets, TLS and timers around the engines of
//! [`tidegate_http2`] and [`tidegate_http1`].
//!
//! ALPN picks the protocol of a connection, or else its first bytes do; a [`Service`] needn't know
//! it. A service may also open connections ([`Conns::dial`]), of which it is the client.
//!
//! Each worker thread has one [`EventLoop`], with a listening socket of its own (SO_REUSEPORT).
//! Connections never move between workers, and no lock or shared data is on the path of a request.
//! The [`Service`] decides what requests mean: it receives the engines' events, and may use all
//! connections of its worker ([`Conns`]) while it handles one. Other threads reach a worker by its
//! [`Mailbox`].
//!
//! ```
//! use bytes::Bytes;
//! use tidegate_net::http::{Body, Config, Event, ResponseHead, Stream};
//! use tidegate_net::{ConnId, Conns, EventLoop, Listener, Options, Security, Service};
//!
//! /// Answers every request with its path.
//! struct Paths;
//!
//! impl Service for Paths {
//!     type Message = ();
//!
//!     fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
//!         let id = event.stream_id();
//!         let Some(mut stream) = id.and_then(|id| conns.stream(conn, id)) else {
//!             return;
//!         };
//!         if let Event::Request { head, .. } = event {
//!             let body = Body::Full(Bytes::copy_from_slice(head.path().as_bytes()));
//!             let _ = stream.respond(&ResponseHead::new(200), body);
//!         } else {
//!             // Nobody wants this data, but the peer needs credit to go on.
//!             stream.ignore(&event);
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::new(Config::server().build()?);
//! let any_port = "127.0.0.1:0".parse()?;
//! let mut workers = Vec::new();
//! for listener in Listener::bind_group(any_port, &Security::Plain, 2)? {
//!     let event_loop = EventLoop::new(vec![listener], options.clone(), Paths)?;
//!     let mailbox = event_loop.mailbox();
//!     workers.push((mailbox, std::thread::spawn(move || event_loop.run().map(|_| ()))));
//! }
//! // Some time later: no new connections, open requests finish.
//! for (mailbox, thread) in workers {
//!     mailbox.shut_down();
//!     thread.join().expect("the service doesn't panic")?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The package's `examples` have a streamed response with trailers (`streaming.rs`), an upload that
//! holds its client back (`upload.rs`), and a thread that answers later (`later.rs`).
//!
//! In a turn of the loop:
//! - A connection is read once, up to 64 KiB. Its engine's events go to the service, and everything
//!   that results is written by one `writev`, or as one run of TLS records. A connection with more
//!   to read or write is served again after the others.
//! - If a peer reads slowly, its engine isn't asked for more data, so that priorities choose what
//!   is sent next as late as possible. If the engine takes no more input, the socket isn't read,
//!   and TCP holds the peer back.
//! - Messages of other threads, timers and the service's own time limits are handled in between.
//! - An idle connection holds no I/O buffers, not even with TLS: all use the worker's.

mod acceptor;
mod acceptors;
mod admission;
mod asn1_time;
mod buffers;
mod by_name;
mod certificate;
mod client_certificates;
mod client_identity;
mod conn;
mod conn_info;
mod connector;
mod conns;
mod dial;
mod driver;
mod end;
mod ending;
mod engine;
mod event_loop;
mod guess;
mod hello;
mod histogram;
mod incoming;
mod left_over;
mod listener;
mod loop_clock;
mod mailbox;
mod memory_loop;
mod memory_socket;
mod network;
mod ocsp;
mod opening;
mod options;
mod outgoing;
mod pem;
mod protocols;
mod proxy_header;
mod ready;
mod reconfiguration;
mod record_size;
mod relief;
mod round_trip;
mod service;
mod serving;
mod settling;
mod socket;
mod tickets;
mod timers;
mod tls;
mod tls_error;
mod tls_session;
mod tls_settings;
mod totals;
mod transport;
mod turns;

pub use certificate::Certificate;
pub use client_certificates::{ClientCertificates, Demand};
pub use client_identity::ClientIdentity;
pub use conn_info::{ConnId, ConnInfo, Origin, TlsInfo};
pub use connector::{TlsConnectorConfig, Trust};
pub use conns::Conns;
pub use dial::{Dial, DialSecurity};
pub use end::End;
pub use engine::{Engine, StreamMut};
pub use event_loop::EventLoop;
pub use histogram::Histogram;
pub use listener::{Listener, Port, Security, Stack};
pub use mailbox::Mailbox;
pub use memory_loop::MemoryLoop;
pub use memory_socket::{Dialled, MemorySocket};
pub use options::Options;
pub use protocols::Protocols;
pub use proxy_header::proxy_header;
pub use reconfiguration::{Listening, Reconfiguration};
pub use service::{Direction, Service};
pub use tickets::{TicketKey, Tickets};
pub use tidegate_http::Protocol;
pub use tls::{TlsAcceptorConfig, TlsSite};
pub use tls_error::TlsError;
pub use tls_settings::{EarlyData, TlsGroup, TlsSettings, TlsSuite, TlsVersion};
pub use totals::{Loop, TURN_BOUNDS, Totals};
/// Crates whose types are part of this interface, so that a service needs no versions of its own.
pub use {
    rustls, tidegate_http as http, tidegate_http1 as http1, tidegate_http2 as http2,
    tidegate_ledger as ledger,
};

/// Only for fuzz targets; no part of the interface.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::proxy_header::{Header, MAX_HEADER, parse};
}
