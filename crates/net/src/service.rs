//! What the owner of a loop builds, and how the loop behaves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_proto::{Config, Event};

use crate::{ConnId, Conns, End};

/// What the owner builds: one per worker. All methods are called on the worker's thread.
pub trait Service {
    /// What other threads can send to this worker by its [`Mailbox`](crate::Mailbox).
    type Message: Send + 'static;

    /// A new turn of the loop began; `now` is its clock. The place to refresh what is cached per turn.
    fn turn(&mut self, now: Instant) {
        let _ = now;
    }

    /// A connection is ready for requests: TLS is done and the protocol known.
    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let _ = (conns, conn);
    }

    /// Something happened on a connection. Other connections may be used meanwhile.
    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event);

    /// A connection is gone. Always the last call for it, and the only one for a connection that never was `opened`.
    /// [`Conns::info`] and [`Conns::engine`] still answer, for the log and the final counters.
    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        let _ = (conns, conn, why);
    }

    /// A message from another thread.
    fn message(&mut self, conns: &mut Conns, message: Self::Message) {
        let _ = (conns, message);
    }

    /// About once a second as long as something happens on this worker; not called while it sleeps.
    fn tick(&mut self, conns: &mut Conns, now: Instant) {
        let _ = (conns, now);
    }
}

/// How a loop behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Settings and limits of every connection's engine.
    pub proto: Arc<Config>,
    /// From a connection's accept until TLS is done and the protocol known. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a peer may take none of what waits for it. Default 30 s.
    pub write_timeout: Duration,
    /// From [`Mailbox::shut_down`](crate::Mailbox::shut_down) until what is still open is cut off. Default 30 s.
    pub shutdown_timeout: Duration,
    /// TCP_NOTSENT_LOWAT of every connection, octets: while the kernel has so many that it didn't send yet, it takes no more (it
    /// may go over by a segment that it cuts for the network card, up to 64 KiB). What waits in the engine instead can be
    /// overtaken by what is urgent. 0 leaves it to the system, which by default takes megabytes. Linux and Android
    /// only. Default 32,768.
    pub notsent_lowat: u32,
    /// Connections that may be open at once; more are closed at once. Default 10,000.
    pub max_connections: usize,
}

impl Options {
    /// The defaults, with these settings for the engines.
    pub fn new(proto: Arc<Config>) -> Self {
        Self {
            proto,
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(30),
            notsent_lowat: 32 << 10,
            max_connections: 10_000,
        }
    }
}
