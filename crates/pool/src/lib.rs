//! A pool of connections to HTTP servers, on the event loop of [`tidegate_net`]. Requests to one
//! address share one HTTP/2 connection while that has room, or take as many HTTP/1.1 connections as
//! they need. ALPN decides which.
//!
//! A program without a loop of its own can use [`BlockingClient`]:
//!
//! ```no_run
//! # fn main() -> Result<(), tidegate_pool::ClientError> {
//! let client = tidegate_pool::BlockingClient::new()?;
//! let response = client.get("https://www.example.org/")?;
//! println!("{}: {} bytes", response.head.status(), response.body.len());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Pool`] belongs to one worker's [`Service`](tidegate_net::Service). The service hands on what
//! the loop reports of the pool's connections, and takes from the pool what becomes of requests.
//! The pool never blocks, and has neither threads nor locks.
//!
//! - A request goes to the least busy address, on a present connection if one has room. The next
//!   HTTP/2 connection is opened when four fifths of the streams that the peer allows are in use.
//! - A request that the server hasn't processed, as its GOAWAY or REFUSED_STREAM says, is sent
//!   again once, with up to [`Options::replay_limit`] bytes of its body. It is sent again more
//!   often only while each connection that left it out by a GOAWAY had processed others: some
//!   servers end each connection after a fixed number of requests.
//! - A request that was lost with its connection, before any response came, is sent again once on
//!   another address or a new connection. It must do no harm if it is processed twice, and either
//!   the connection was idle or of use before, or there is another address.
//! - An address that can't be connected to, or that leaves most requests unanswered, is skipped for
//!   a while. If no other address is left, it is tried all the same.
//! - A connection that is silent while requests wait is probed once, by a PING.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use std::sync::Arc;
//!
//! use tidegate_net::{ConnId, Conns, End, EventLoop, Options, Service};
//! use tidegate_pool::{Event, Limits, Pool, RequestOptions, Security, Upstream, client_config};
//! use tidegate_http::{Body, RequestHead};
//!
//! /// Makes one request and prints the status.
//! struct Asker {
//!     pool: Pool<&'static str>,
//!     options: Arc<tidegate_pool::Options>,
//! }
//!
//! impl Service for Asker {
//!     type Message = ();
//!
//!     // Another thread asks for a request.
//!     fn message(&mut self, conns: &mut Conns, _: ()) {
//!         let upstream = self.pool.add(Upstream {
//!             name: "example".into(),
//!             addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9)).into()],
//!             security: Security::H2c,
//!             options: Arc::clone(&self.options),
//!         });
//!         let head = RequestHead::new("GET", "http", "localhost", "/");
//!         let options = RequestOptions::default();
//!         self.pool.request(conns, "my question", upstream, head, &Body::Empty, options);
//!     }
//!
//!     fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
//!         self.pool.opened(conns, conn);
//!     }
//!
//!     fn event(&mut self, conns: &mut Conns, conn: ConnId, event: tidegate_http::Event) {
//!         self.pool.event(conns, conn, event);
//!     }
//!
//!     fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
//!         self.pool.closed(conns, conn, why);
//!     }
//!
//!     fn settle(&mut self, _: &mut Conns) -> bool {
//!         while let Some(event) = self.pool.next_event() {
//!             match event {
//!                 Event::Response { key, head, .. } => println!("{key}: {}", head.status()),
//!                 Event::Failed { key, failure, .. } => println!("{key}: {failure}"),
//!                 // A long body would need credit from `Pool::consume`.
//!                 _ => {}
//!             }
//!         }
//!         false
//!     }
//!
//!     fn next_timeout(&self) -> Option<std::time::Instant> {
//!         self.pool.next_timeout()
//!     }
//!
//!     fn handle_timeout(&mut self, conns: &mut Conns, now: std::time::Instant) {
//!         self.pool.handle_timeout(conns, now);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = client_config().build()?;
//! let options = Arc::new(tidegate_pool::Options::new(config.clone()));
//! let pool = Pool::new(Limits::default());
//! let event_loop = EventLoop::new(Vec::new(), Options::new(config), Asker { pool, options })?;
//! let mailbox = event_loop.mailbox();
//! mailbox.send(());
//! # mailbox.shut_down();
//! event_loop.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! The example `fetch` gets a thousand URLs over one connection.

mod cause;
mod client;
mod endpoint;
mod event;
mod health;
mod ids;
mod pool;
mod queue;
mod replay;
mod stats;
mod trip;
mod upstream;

pub use cause::Cause;
pub use client::{BlockingClient, ClientError, Response};
pub use event::{Event, Failure};
pub use ids::{OnBehalf, RequestId};
pub use pool::{AddressState, Pool, RequestOptions};
pub use stats::Stats;
/// The event loop, whose types are part of this interface.
pub use tidegate_net as net;
pub use trip::Trip;
pub use upstream::{
    Address, Limits, Options, Security, Upstream, UpstreamId, client_config, wait_for_answers,
};
