//! A pool of connections to HTTP servers, on the event loop of [`tidegate_net`]: one multiplexed connection of HTTP/2 for each
//! address as long as that has room, connections of HTTP/1.1 as many as it takes, and ALPN to tell which.
//!
//! A [`Pool`] belongs to one worker's [`Service`](tidegate_net::Service), which hands it what its connections bring and takes from it what became of
//! requests. It doesn't wait, has no thread and no lock.
//!
//! - A request goes to the address with the least to do, on a connection that is there if it has a place. The next connection of HTTP/2
//!   is opened when four fifths of what the peer takes are in use.
//! - What a server has not looked at, by its GOAWAY or REFUSED_STREAM, is sent again once, with up to
//!   [`Options::replay_limit`] octets of its body; more often only where each connection that left it out by a GOAWAY had done
//!   something, as those of a server have that ends them after so many requests.
//! - What was lost with its connection before anything of the response came is sent again once, on another address or a new
//!   connection, if sending it twice does no harm, and the connection had been of use before or there is another address.
//! - An address that can't be connected to, or that leaves most requests unanswered, is left alone for a while. The last one that is
//!   left is tried all the same.
//! - A connection that says nothing while requests wait is asked by PING whether it is still there, once.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use tidegate_net::{ConnId, Conns, End, EventLoop, Options, Service};
//! use tidegate_pool::{Event, Pool, RequestOptions, Security, Upstream, client_config};
//! use tidegate_http::{Body, RequestHead};
//!
//! /// Asks one question and prints the answer.
//! struct Asker {
//!     pool: Pool<&'static str>,
//! }
//!
//! impl Asker {
//!     fn tell(&mut self, conns: &mut Conns) {
//!         while let Some(event) = self.pool.next_event() {
//!             match event {
//!                 Event::Response { key, head, .. } => println!("{key}: {}", head.status()),
//!                 Event::Failed { key, failure } => println!("{key}: {failure}"),
//!                 // What isn't consumed holds the server up. A body of this size needs no credit.
//!                 _ => {}
//!             }
//!         }
//!         let _ = conns;
//!     }
//! }
//!
//! impl Service for Asker {
//!     type Message = ();
//!
//!     // A question from another thread.
//!     fn message(&mut self, conns: &mut Conns, _: ()) {
//!         let upstream = self.pool.add(Upstream {
//!             name: "example".into(),
//!             addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9)).into()],
//!             security: Security::H2c,
//!         });
//!         let head = RequestHead::new("GET", "http", "localhost", "/");
//!         let options = RequestOptions::default();
//!         self.pool.request(conns, "my question", upstream, head, &Body::Empty, options);
//!         self.tell(conns);
//!     }
//!
//!     fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
//!         self.pool.opened(conns, conn);
//!         self.tell(conns);
//!     }
//!
//!     fn event(&mut self, conns: &mut Conns, conn: ConnId, event: tidegate_http::Event) {
//!         self.pool.event(conns, conn, event);
//!         self.tell(conns);
//!     }
//!
//!     fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
//!         self.pool.closed(conns, conn, why);
//!         self.tell(conns);
//!     }
//!
//!     fn next_timeout(&self) -> Option<std::time::Instant> {
//!         self.pool.next_timeout()
//!     }
//!
//!     fn handle_timeout(&mut self, conns: &mut Conns, now: std::time::Instant) {
//!         self.pool.handle_timeout(conns, now);
//!         self.tell(conns);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = client_config().build()?;
//! let pool = Pool::new(tidegate_pool::Options::new(config.clone()));
//! let event_loop = EventLoop::new(Vec::new(), Options::new(config), Asker { pool })?;
//! let mailbox = event_loop.mailbox();
//! mailbox.send(());
//! # mailbox.shut_down();
//! event_loop.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! The example `fetch` gets a thousand URLs over one connection.

mod endpoint;
mod event;
mod health;
mod pool;
mod queue;
mod replay;
mod stats;
mod upstream;

pub use event::{Event, Failure};
pub use pool::{OnBehalf, Pool, RequestId, RequestOptions};
pub use stats::Stats;
/// The event loop, whose types are part of this interface.
pub use tidegate_net as net;
pub use upstream::{
    Address, Options, Security, Upstream, UpstreamId, client_config, wait_for_answers,
};
