//! Settling: writes what a connection's engine has to send.

use tidegate_http::{ErrorCode, Flow};
use tidegate_ledger::{ClientKey, Refusal};

use crate::admission::Whose;
use crate::driver::{Driver, EVENTS_AT_ONCE};
use crate::opening::{Phase, Step};
use crate::outgoing::Outgoing;
use crate::turns::Queue;
use crate::{End, Engine, Service};

/// The bytes that an engine may put into an outbox before it is written. Bytes that the socket
/// doesn't take go out before anything that becomes urgent later; fewer bytes would mean more
/// system calls.
const OUTBOX_LIMIT: usize = 64 << 10;

/// The bytes that one turn writes to one connection, about.
const WRITE_AT_ONCE: usize = 256 << 10;

/// The state of a connection after settling.
enum Settled {
    /// The connection waits for its peer, its service or a timer.
    Waits,
    /// The connection has more to write, but it is the others' turn.
    HasMore,
    /// The connection is over.
    Over,
}

impl<S: Service> Driver<S> {
    pub(crate) fn settle_dirty(&mut self) {
        while let Some(slot) = self.conns.next_dirty() {
            self.settle(slot);
        }
    }

    pub(crate) fn settle_if_dirty(&mut self, slot: u32) {
        if self.conns.get(slot).is_some_and(|conn| conn.is_dirty) {
            self.settle(slot);
        }
    }

    /// Lets the engine fill the outbox, and writes it.
    fn settle(&mut self, slot: u32) {
        // The connection stays marked until the end, so that the service's calls don't list it
        // again.
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.outbox.is_empty() {
            std::mem::swap(&mut conn.outbox, &mut self.buffers.outbox);
        }
        let result = self.transmit(slot);
        let now = self.conns.now();
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.is_dirty = false;
        if let Err(refusal) = conn.settle_account(now)
            && !self.make_room_for_handshake(slot, refusal)
        {
            self.conns.totals.refused += 1;
            self.conns.totals.refused_for_share += 1;
            return self.cut_off(slot, End::Refused);
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let result = match result {
            Err(End::Io(error)) if conn.stop_writing(now) => {
                conn.set_end(End::Io(error));
                // What the peer has sent must still be read. If nothing is left, the connection is
                // over.
                Ok(Settled::HasMore)
            }
            result => result,
        };
        if conn.outbox.is_empty() {
            std::mem::swap(&mut conn.outbox, &mut self.buffers.outbox);
            conn.outbox.release_memory();
        }
        match result {
            Err(end) => return self.cut_off(slot, end),
            Ok(Settled::Over) => return self.remove(slot),
            Ok(Settled::Waits) if !conn.can_go_on() => {
                if let Some(engine) = &mut conn.engine {
                    engine.put_to_rest();
                }
            }
            Ok(_) => self.enqueue(slot, Queue::Again),
        }
        self.rearm(slot);
    }

    fn transmit(&mut self, slot: u32) -> Result<Settled, End> {
        let now = self.conns.now();
        let write_timeout = self.options.write_timeout;
        let mut budget = WRITE_AT_ONCE as u64;
        let mut reported = 0;
        while let Some((conn, totals)) = self.conns.get_and_totals(slot) {
            let before = totals.bytes_sent;
            let written = &mut totals.bytes_sent;
            if conn.phase() == Phase::Connecting {
                if conn.outgoing.is_blocked() {
                    return Ok(Settled::Waits);
                }
                match conn.connect(&mut self.buffers, self.options.notsent_lowat) {
                    Step::Speaks(protocol) => self.open(slot, protocol),
                    Step::Fails(end) => return Err(end),
                    Step::NeedsMore => {}
                }
                continue;
            }
            if conn.outgoing == Outgoing::Broken {
                let is_over = conn.has_nothing_left();
                return Ok(if is_over {
                    Settled::Over
                } else {
                    Settled::Waits
                });
            }
            if conn.phase() == Phase::Closing {
                let timeouts = (write_timeout, self.options.linger_timeout);
                let over = conn.close(&mut self.buffers, now, timeouts, written)?;
                return Ok(if over { Settled::Over } else { Settled::Waits });
            }
            let Some(engine) = &mut conn.engine else {
                conn.flush(&mut self.buffers, now, write_timeout, written)?;
                return Ok(Settled::Waits);
            };
            if engine.is_truncated() {
                // Bytes that the socket takes at once still go out, but the end doesn't wait for
                // others.
                let _ = engine.transmit(&mut conn.outbox, usize::MAX, now);
                let _ = conn.flush(&mut self.buffers, now, write_timeout, written);
                self.drain_events(slot);
                return Err(End::Stopped);
            }
            if conn.outgoing.is_blocked() {
                // The engine keeps its data, where priorities and resets still count. The input
                // that it holds is charged all the same.
                engine.settle_memory();
                return Ok(Settled::Waits);
            }
            let id = conn.id;
            let waiting = conn.outbox.len();
            let is_traced = conn.is_traced || self.options.trace;
            let limit = OUTBOX_LIMIT.saturating_sub(conn.transport.pending());
            let flow = engine.transmit(&mut conn.outbox, limit, now);
            if is_traced {
                self.trace_output(slot, waiting);
            }
            let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
                break;
            };
            let written = &mut totals.bytes_sent;
            match flow {
                Flow::Event(event) => {
                    self.report(id, event);
                    reported += 1;
                    if reported >= EVENTS_AT_ONCE
                        && let Some((conn, totals)) = self.conns.get_and_totals(slot)
                    {
                        let written = &mut totals.bytes_sent;
                        conn.flush(&mut self.buffers, now, write_timeout, written)?;
                        return Ok(Settled::HasMore);
                    }
                }
                Flow::Drained => {
                    let buffers = &mut self.buffers;
                    let ended = conn.engine.as_ref().is_some_and(Engine::has_ended_our_side);
                    if ended {
                        conn.end_our_side(buffers, now, write_timeout, written)?;
                    } else {
                        conn.flush(buffers, now, write_timeout, written)?;
                    }
                    return Ok(Settled::Waits);
                }
                Flow::Full => {
                    if !conn.flush(&mut self.buffers, now, write_timeout, written)? {
                        return Ok(Settled::Waits);
                    }
                    budget = budget.saturating_sub(*written - before);
                    if budget == 0 {
                        return Ok(Settled::HasMore);
                    }
                }
                Flow::Closed if conn.engine.as_ref().is_some_and(Engine::is_truncated) => {}
                Flow::Closed => {
                    self.drain_events(slot);
                    if let Some(conn) = self.conns.get(slot) {
                        conn.begin_close(End::Stopped);
                    }
                }
            }
        }
        Ok(Settled::Waits)
    }

    /// Whether a graceful end is over, because its time is up or nobody has anything left to do.
    pub(crate) fn has_shut_down(&self) -> bool {
        let now = self.conns.now();
        // Dialled connections served the accepted ones. Their last bytes may be in flight.
        let is_done = || self.conns.accepted() == 0 && !self.conns.are_dialled_busy();
        self.shutdown_deadline
            .is_some_and(|at| at <= now || is_done())
    }

    /// Closes all connections.
    pub(crate) fn stop(&mut self) {
        let now = self.conns.now();
        self.conns.is_over = true;
        for slot in self.conns.slots() {
            if let Some(conn) = self.conns.get(slot)
                && let Some(engine) = &mut conn.engine
            {
                // Tell the peers that read, for example by GOAWAY.
                engine.shut_down(now);
                self.conns.mark(slot);
            }
        }
        self.settle_dirty();
        for slot in self.conns.slots() {
            self.cut_off(slot, End::Stopped);
        }
    }

    /// Closes the connection with the least to lose for a newcomer. Returns whether there was one.
    pub(crate) fn make_room(&mut self, newcomer: Option<ClientKey>, whose: Whose) -> bool {
        let slot = self.conns.least_to_lose(newcomer, whose);
        if let Some(slot) = slot {
            self.close_idle(slot);
        }
        slot.is_some()
    }

    /// Makes room for a handshake that needs more memory than its client may hold. The connection
    /// with the least to lose may be the same one. Returns whether the handshake may go on, or is
    /// gone.
    pub(crate) fn make_room_for_handshake(&mut self, slot: u32, refusal: Refusal) -> bool {
        let now = self.conns.now();
        let client = self.conns.client_of(slot);
        if !self.make_room(client, Whose::from(refusal)) {
            return false;
        }
        let conn = self.conns.get(slot);
        conn.is_none_or(|conn| conn.settle_account(now).is_ok())
    }

    pub(crate) fn close_idle(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        conn.set_end(End::MadeRoom);
        if let Some(engine) = &mut conn.engine {
            // Tell the peer that no request was lost and that the next one belongs on another
            // connection.
            engine.abort(ErrorCode::NO_ERROR, "idle, and its place is needed");
            let _ = self.transmit(slot);
        }
        self.conns.totals.made_room += 1;
        self.cut_off(slot, End::MadeRoom);
    }
}
