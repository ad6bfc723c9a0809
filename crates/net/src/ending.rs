//! The end of a connection: data that waits is written, then our end is sent, and data from the
//! peer is thrown away.

use std::io;
use std::time::{Duration, Instant};

use tidegate_http::Outbox;

use crate::buffers::Buffers;
use crate::conn::Conn;
use crate::incoming::{How, Input};
use crate::left_over::WaitsFor;
use crate::opening::Phase;
use crate::outgoing::{Outgoing, Output};
use crate::{End, Engine, Protocol};

/// The time for which a closed connection waits for the peer's end, so that the peer can read our
/// last bytes. Closing a socket with unread bytes makes TCP send a reset, which takes them away
/// from the peer.
const LINGER: Duration = Duration::from_secs(1);

/// The bytes that extend the wait by a second, if they are the rest of an HTTP/1.1 request.
const LINGER_RATE: u64 = 1 << 10;

/// The most bytes that are read and thrown away otherwise. A peer that goes on after GOAWAY has a
/// stream for each request, so it needn't be read to its end.
const LINGER_BYTES: u64 = 1 << 20;

impl Conn {
    /// Handles a write that failed. Returns whether the connection goes on without writing: an
    /// answer that a server sent before it closed, for example that it doesn't want all of an
    /// upload, is still in the socket.
    pub(crate) fn stop_writing(&mut self, now: Instant) -> bool {
        let (Some(engine), Phase::Open) = (&mut self.engine, self.opening.phase()) else {
            return false;
        };
        if self.outgoing == Outgoing::Broken || !engine.is_client() {
            return false;
        }
        // No new request may begin on this connection.
        engine.shut_down(now);
        self.outgoing = self.outgoing.on(Output::Fail);
        self.incoming = self.incoming.on(Input::Event { end: true });
        true
    }

    /// Whether nothing more will arrive on a connection that can't be written to.
    pub(crate) fn has_nothing_left(&self) -> bool {
        let waits = self.incoming.is_readable() || self.left_over.waits_for() != WaitsFor::Peer;
        let is_drained = !waits && !self.incoming.is_unreported();
        let asks_nothing = |engine: &Engine| engine.active_streams() == 0;
        is_drained || self.closed_reported || self.engine.as_ref().is_none_or(asks_nothing)
    }

    /// Begins the end, for this reason unless there is an earlier one: data that waits is still
    /// written, then our end is sent and the peer's awaited.
    pub(crate) fn begin_close(&mut self, end: End) {
        if !self.opening.close() {
            return;
        }
        if matches!(end, End::TlsFailed(_)) {
            // Only the alert can go out now.
            self.outbox = Outbox::new();
        }
        self.set_end(end);
        self.incoming = self.incoming.on(Input::Discard);
        self.left_over.clear();
        self.deadline = None;
    }

    /// Answers a client that sent HTTP in cleartext where TLS had to begin. The answer is in
    /// cleartext too, and the end follows.
    pub(crate) fn answer_in_cleartext(&mut self, answer: &[u8]) {
        self.transport.tls = None;
        self.outbox.extend(answer);
        self.begin_close(End::HttpOnTlsPort);
    }

    /// In phase `Closing`: writes data that waits, then sends our end. Returns whether nothing is
    /// left to do.
    pub(crate) fn close(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        (write_timeout, linger_timeout): (Duration, Duration),
        written: &mut u64,
    ) -> Result<bool, End> {
        if !self.end_our_side(buffers, now, write_timeout, written)? {
            return Ok(false);
        }
        if self.ending().linger_left.is_none() {
            self.deadline = Some(now + LINGER);
            self.ending().linger_left = Some(linger_timeout.saturating_sub(LINGER));
        }
        Ok(self.incoming.has_ended())
    }

    /// Writes data that waits, then sends our end. Returns whether all of that was written.
    pub(crate) fn end_our_side(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        write_timeout: Duration,
        written: &mut u64,
    ) -> Result<bool, End> {
        if !self.flush(buffers, now, write_timeout, written)? {
            return Ok(false);
        }
        if let Outgoing::Open { .. } = self.outgoing {
            self.outgoing = self.outgoing.on(Output::Notify);
            let has_failed = matches!(self.ending().reason, Some(End::TlsFailed(_)));
            // After a failure of TLS, an alert went out in place of close_notify.
            if let Some(tls) = &mut self.transport.tls
                && !has_failed
            {
                tls.close()?;
            }
            if !self.flush(buffers, now, write_timeout, written)? {
                return Ok(false);
            }
        }
        if let Outgoing::Ending { .. } = self.outgoing {
            self.outgoing = self.outgoing.on(Output::Finish);
            self.transport.socket.shut_down().map_err(End::Io)?;
        }
        Ok(true)
    }

    /// In phase `Closing`: throws away data from the peer. Returns whether the wait is over.
    pub(crate) fn linger(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let outcome = self.transport.discard(buffers)?;
        let count = self.note(outcome, How::InOrder) as u64;
        let is_request =
            |engine: &Engine| engine.protocol() == Protocol::Http1 && !engine.is_client();
        let is_request = self.engine.as_ref().is_some_and(is_request);
        let ending = self.ending.get_or_insert_default();
        ending.lingered += count;
        if let (Some(deadline), Some(left)) = (&mut self.deadline, &mut ending.linger_left)
            && is_request
        {
            let bought = Duration::from_millis(count * 1000 / LINGER_RATE).min(*left);
            *left -= bought;
            *deadline += bought;
        }
        let is_enough = !is_request && ending.lingered > LINGER_BYTES;
        let is_over = self.incoming.has_ended() && self.outgoing == Outgoing::Ended;
        Ok(is_enough || is_over)
    }
}
