//! The interface between a loop and its owner's service.

use std::time::Instant;

use tidegate_http::Event;

use crate::{ConnId, Conns, End, Mailbox};

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// The service of a loop, one per worker. All methods are called on the worker's thread.
pub trait Service {
    /// The messages that other threads can send to this worker with its
    /// [`Mailbox`](crate::Mailbox).
    type Message: Send + 'static;

    /// Starts the service: the loop was made, and other threads reach this worker with `mailbox`.
    /// This is the first call.
    fn started(&mut self, mailbox: &Mailbox<Self::Message>) {
        let _ = mailbox;
    }

    /// Begins a turn of the loop; `now` is its clock. The place to refresh what is cached per turn.
    fn turn(&mut self, now: Instant) {
        let _ = now;
    }

    /// Handles a connection, accepted or dialled, that is ready for requests: TLS is done and the
    /// protocol known.
    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let _ = (conns, conn);
    }

    /// Handles an event of a connection. Other connections may be used meanwhile.
    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event);

    /// Handles an HTTP/1.1 client that ends its side while its request is being answered, so it
    /// will send no more requests. It may still read the answer, but most such clients have left.
    fn half_closed(&mut self, conns: &mut Conns, conn: ConnId) {
        let _ = (conns, conn);
    }

    /// Handles the end of a connection. This is the last call for it, and the only one for a
    /// connection that was never `opened`. [`Conns::info`] and [`Conns::engine`] still return
    /// values, for the log and the final counters.
    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        let _ = (conns, conn, why);
    }

    /// Continues what earlier calls have left to do, for example handling events that the service
    /// queues for itself. The loop calls this after each other call with `&mut Conns`, until it
    /// returns `false`: nothing is left.
    fn settle(&mut self, conns: &mut Conns) -> bool {
        let _ = conns;
        false
    }

    /// Handles a message from another thread.
    fn message(&mut self, conns: &mut Conns, message: Self::Message) {
        let _ = (conns, message);
    }

    /// Returns when to call [`Service::handle_timeout`], if ever. Called after each turn.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Handles the time of [`Service::next_timeout`].
    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        let _ = (conns, now);
    }

    /// Shows the bytes that came in, decrypted, or that go out, not yet encrypted. With
    /// [`Options::trace`](crate::Options::trace) these are all bytes of all connections, as they
    /// are read. For connections that [`Conns::trace`] named they are those of HTTP, as the engine
    /// takes them.
    fn trace(&mut self, conns: &Conns, conn: ConnId, direction: Direction, bytes: &[u8]) {
        let _ = (conns, conn, direction, bytes);
    }

    /// Does regular work, about once a second while something happens on this worker. Not called
    /// while it sleeps.
    fn tick(&mut self, conns: &mut Conns, now: Instant) {
        let _ = (conns, now);
    }
}
