//! What the owner of a loop builds.

use std::time::Instant;

use tidegate_http::Event;

use crate::{ConnId, Conns, End, Mailbox};

/// Which way octets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer to us.
    In,
    /// From us to the peer.
    Out,
}

/// What the owner builds: one per worker. All methods are called on the worker's thread.
pub trait Service {
    /// What other threads can send to this worker by its [`Mailbox`](crate::Mailbox).
    type Message: Send + 'static;

    /// The loop was made, and other threads reach this worker by `mailbox`. The first call of all.
    fn started(&mut self, mailbox: &Mailbox<Self::Message>) {
        let _ = mailbox;
    }

    /// A new turn of the loop began; `now` is its clock. The place to refresh what is cached per turn.
    fn turn(&mut self, now: Instant) {
        let _ = now;
    }

    /// A connection is ready for requests: TLS is done and the protocol known. One that was dialled too.
    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        let _ = (conns, conn);
    }

    /// Something happened on a connection. Other connections may be used meanwhile.
    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event);

    /// The client of a connection of HTTP/1.1 has ended its side while its request is being answered, so that it will ask nothing
    /// more. It may still read the answer, but most that do this have left.
    fn half_closed(&mut self, conns: &mut Conns, conn: ConnId) {
        let _ = (conns, conn);
    }

    /// A connection is gone. Always the last call for it, and the only one for a connection that never was `opened`.
    /// [`Conns::info`] and [`Conns::engine`] still answer, for the log and the final counters.
    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        let _ = (conns, conn, why);
    }

    /// Goes on with what earlier calls have left to do, such as events that the service queues for
    /// itself. Called after each of the other calls that may use connections, until it returns
    /// `false`: then nothing is left.
    fn settle(&mut self, conns: &mut Conns) -> bool {
        let _ = conns;
        false
    }

    /// A message from another thread.
    fn message(&mut self, conns: &mut Conns, message: Self::Message) {
        let _ = (conns, message);
    }

    /// When [`Service::handle_timeout`] is to be called, if ever. Asked after each turn.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of [`Service::next_timeout`] has come.
    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        let _ = (conns, now);
    }

    /// With [`Options::trace`]: octets that came in and were decrypted, or go out and are still to be encrypted.
    fn trace(&mut self, conns: &Conns, conn: ConnId, direction: Direction, octets: &[u8]) {
        let _ = (conns, conn, direction, octets);
    }

    /// About once a second as long as something happens on this worker; not called while it sleeps.
    fn tick(&mut self, conns: &mut Conns, now: Instant) {
        let _ = (conns, now);
    }
}
