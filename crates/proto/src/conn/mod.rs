//! One connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tidegate_frame::{ErrorCode, StreamId};

use crate::config::Config;
use crate::error::Misuse;
use crate::event::Event;
use crate::message::{Body, RequestHead};
use crate::outbox::Outbox;
use crate::stats::Stats;
use crate::stream::StreamMut;

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens requests.
    Client,
    /// Answers them, and may push.
    Server,
}

/// What [`Connection::transmit`] came to.
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// Everything that can go out now is in the outbox.
    Drained,
    /// The outbox has reached the limit: write it out, then call again.
    Full,
    /// The owner is needed, in most cases as [`Event::Writable`]: handle the event, then call `transmit` again.
    Event(Event),
    /// The last octets of this connection are in the outbox: write it out, then close the transport.
    Closed,
}

/// What the peer announced in SETTINGS, or the protocol's defaults (RFC 9113 §6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct PeerSettings {
    pub header_table_size: u32,
    pub enable_push: bool,
    /// `u32::MAX` while the peer has set no limit.
    pub max_concurrent_streams: u32,
    pub initial_window_size: u32,
    pub max_frame_size: u32,
    /// `u32::MAX` while the peer has set no limit.
    pub max_header_list_size: u32,
    pub enable_connect_protocol: bool,
    pub no_rfc7540_priorities: bool,
}

/// One HTTP/2 connection, either role. Owns no socket, clock or thread.
pub struct Connection {}

/// Inputs. They do not fail: a fatal error becomes state, goes out as GOAWAY and comes back as [`Event::Closed`].
impl Connection {
    /// The server's end of a new connection.
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        let _ = (config, now);
        todo!()
    }

    /// The client's end of a new connection.
    pub fn client(config: Arc<Config>, now: Instant) -> Self {
        let _ = (config, now);
        todo!()
    }

    /// Takes octets off the front of `input` up to the first thing that the owner must know. Call it until it returns
    /// `None`; what is left in `input` then is an unfinished frame (keep it and append to it), or waits until
    /// [`Connection::can_receive`].
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        let _ = (input, now);
        todo!()
    }

    /// The transport will bring nothing more. Call `receive` once more for what follows from it.
    pub fn receive_eof(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// The time of [`Connection::next_timeout`] has come. Call `receive` and `transmit` afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// The transport's round-trip time, from TCP_INFO.
    pub fn observe_rtt(&mut self, rtt: Duration) {
        let _ = rtt;
        todo!()
    }
}

/// Commands.
impl Connection {
    /// Client: sends a request.
    ///
    /// # Errors
    /// [`Misuse`] tells what the call did wrong; nothing was sent then.
    pub fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        let _ = (head, body);
        todo!()
    }

    /// A handle to a stream that is not over, or that was reset and not yet released.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        let _ = id;
        todo!()
    }

    /// Begins a graceful end: GOAWAY(2^31-1), after a round trip GOAWAY(last), then the open streams finish
    /// (RFC 9113 §6.8).
    pub fn shut_down(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Ends at once with GOAWAY.
    pub fn abort(&mut self, code: ErrorCode) {
        let _ = code;
        todo!()
    }
}

/// Outputs. Drain them after every input or command.
impl Connection {
    /// Moves what can go out now into `out`, until that holds `limit` octets.
    pub fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        let _ = (out, limit, now);
        todo!()
    }

    /// When [`Connection::handle_timeout`] wants to be called, if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Whether `receive` would take input now. While this is false, don't read the transport.
    pub fn can_receive(&self) -> bool {
        todo!()
    }
}

/// Getters.
impl Connection {
    /// Which end this is.
    pub fn role(&self) -> Role {
        todo!()
    }

    /// The connection's counters.
    pub fn stats(&self) -> &Stats {
        todo!()
    }

    /// What the peer announced.
    pub fn peer_settings(&self) -> &PeerSettings {
        todo!()
    }

    /// Streams that are open or wait for [`StreamMut::release`], of both ends.
    pub fn active_streams(&self) -> usize {
        todo!()
    }

    /// Whether `open` would find a place: connection alive and the peer's SETTINGS_MAX_CONCURRENT_STREAMS not reached.
    pub fn can_open(&self) -> bool {
        todo!()
    }

    /// Whether [`Event::Closed`] has been or is about to be told.
    pub fn is_closed(&self) -> bool {
        todo!()
    }
}
