//! A client or an upstream: an engine of either protocol, and the link between it and the proxy's
//! socket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http::{Event, Flow, Outbox};
use tidegate_net::MemorySocket;
use tidegate_testkit::engine::{Driven as _, Engine};
use tidegate_testkit::rng::Rng;

use super::plan::LinkPlan;

/// The data in flight in one direction.
#[derive(Default)]
struct Way {
    pieces: VecDeque<(Duration, Vec<u8>)>,
    len: usize,
    last_arrival: Duration,
    /// When the end arrives, and whether it is a clean close.
    end: Option<(Duration, bool)>,
}

impl Way {
    fn send(&mut self, bytes: Vec<u8>, now: Duration, plan: &LinkPlan, rng: &mut Rng) {
        let arrival = self.arrival(now, plan, rng);
        self.len += bytes.len();
        self.pieces.push_back((arrival, bytes));
    }

    fn arrival(&mut self, now: Duration, plan: &LinkPlan, rng: &mut Rng) -> Duration {
        let jitter = plan.jitter.mul_f64(rng.below(100) as f64 / 100.0);
        self.last_arrival = self.last_arrival.max(now + plan.delay + jitter);
        self.last_arrival
    }

    /// Returns when something arrives next. The end counts unless it `has_arrived`.
    fn next(&self, has_arrived: bool) -> Option<Duration> {
        let first = self.pieces.front().map(|(due, _)| *due);
        first.or(self.end.filter(|_| !has_arrived).map(|(due, _)| due))
    }
}

/// A client or an upstream.
pub(crate) struct Peer {
    pub(crate) engine: Engine,
    socket: MemorySocket,
    plan: LinkPlan,
    /// From the proxy to the engine.
    there: Way,
    /// From the engine to the proxy.
    back: Way,
    input: BytesMut,
    outbox: Outbox,
    eof_told: bool,
    /// Whether the engine has nothing more to send.
    is_closed: bool,
    /// Whether our end of the socket was closed.
    ended: bool,
    /// Before this time, nothing is read from the socket.
    reads_from: Duration,
    /// Whether nothing more happens here.
    pub(crate) is_gone: bool,
}

/// The result of a step.
pub(crate) enum Step {
    /// An event for the engine's owner.
    Event(Event),
    /// Bytes moved.
    Moved,
    /// Nothing can be done now.
    Rest,
}

impl Peer {
    pub(crate) fn new(engine: Engine, mut socket: MemorySocket, plan: LinkPlan) -> Self {
        socket.set_round_trip(plan.delay * 2 + Duration::from_micros(100));
        Self {
            engine,
            socket,
            plan,
            there: Way::default(),
            back: Way::default(),
            input: BytesMut::new(),
            outbox: Outbox::new(),
            eof_told: false,
            is_closed: false,
            ended: false,
            reads_from: Duration::ZERO,
            is_gone: false,
        }
    }

    /// Makes the peer ignore its socket before `when`.
    pub(crate) fn reading_from(mut self, when: Duration) -> Self {
        self.reads_from = when;
        self
    }

    /// Returns the state as text, for messages.
    pub(crate) fn state(&self) -> String {
        format!(
            "there {} (end {:?}), back {} (end {:?}), takes input {}, socket room {}, available {}, at end {}, gone {}",
            self.there.len,
            self.there.end,
            self.back.len,
            self.back.end,
            self.takes_input(),
            self.socket.room(),
            self.socket.available(),
            self.socket.is_at_end(),
            self.is_gone,
        )
    }

    /// Cuts the connection: both ends learn of it at once.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.socket.reset();
        self.there = Way::default();
        self.back = Way::default();
        // Its own end may have arrived before; the end of the connection is another one.
        self.ended = false;
        self.fail(now);
    }

    fn fail(&mut self, now: Instant) {
        if !self.eof_told {
            self.eof_told = true;
            self.engine.receive_failure(now);
        }
    }

    /// Returns when something happens here next.
    pub(crate) fn next(&self, epoch: Instant) -> Option<Duration> {
        if self.is_gone {
            return None;
        }
        let there = self.there.next(self.eof_told);
        let there = there.filter(|_| self.takes_input());
        let back = self.back.next(self.ended);
        let back = back.filter(|_| self.socket.room() > 0);
        let timer = self.engine.next_timeout();
        let timer = timer.map(|at| at.saturating_duration_since(epoch));
        let wakes = (self.socket.available() > 0).then_some(self.reads_from);
        let wakes = wakes.filter(|when| !when.is_zero());
        [there, back, timer, wakes].into_iter().flatten().min()
    }

    fn takes_input(&self) -> bool {
        self.engine.can_receive()
    }

    /// Does one thing that can be done now.
    pub(crate) fn step(&mut self, now: Duration, at: Instant, rng: &mut Rng) -> Step {
        if self.is_gone {
            return Step::Rest;
        }
        let timer = self.engine.next_timeout();
        if timer.is_some_and(|due| due <= at) {
            self.engine.handle_timeout(at);
            return Step::Moved;
        }
        if let Some(event) = self.engine.receive(&mut self.input, at) {
            return Step::Event(event);
        }
        if let Engine::Http2(engine) = &mut self.engine
            && engine.wants_rtt()
        {
            engine.observe_rtt(self.plan.delay * 2 + Duration::from_micros(100));
        }
        let mut moved = self.leave_proxy(now, rng);
        if self.arrive(now, at, rng) {
            // There may be something to send first.
            return Step::Moved;
        }
        match self.transmit(at) {
            Some(Flow::Event(event)) => return Step::Event(event),
            Some(Flow::Closed) => self.is_closed = true,
            _ => {}
        }
        moved |= self.leave_engine(now, rng);
        moved |= self.arrive_at_proxy(now);
        if moved { Step::Moved } else { Step::Rest }
    }

    /// Puts what the proxy has written in flight.
    fn leave_proxy(&mut self, now: Duration, rng: &mut Rng) -> bool {
        if now < self.reads_from && !self.socket.is_failed() {
            return false;
        }
        self.reads_from = Duration::ZERO;
        let room = if self.is_closed {
            // The data is discarded.
            usize::MAX
        } else {
            self.plan.capacity.saturating_sub(self.there.len)
        };
        let available = self.socket.available().min(room);
        if available > 0 {
            let mut bytes = vec![0; available];
            let read = self.socket.read(&mut bytes).unwrap_or(0);
            bytes.truncate(read);
            self.there.send(bytes, now, &self.plan, rng);
            return true;
        }
        if self.there.end.is_none() && self.socket.is_at_end() {
            let arrival = self.there.arrival(now, &self.plan, rng);
            if self.socket.is_failed() {
                // A reset overtakes the data in flight.
                self.there = Way::default();
                self.back = Way::default();
            }
            self.there.end = Some((arrival, !self.socket.is_failed()));
            return true;
        }
        false
    }

    /// Gives the engine the data that has arrived.
    fn arrive(&mut self, now: Duration, at: Instant, rng: &mut Rng) -> bool {
        if !self.takes_input() {
            // A peer that takes no input doesn't see a close either, but a reset.
            if let Some((due, false)) = self.there.end
                && due <= now
                && !self.eof_told
            {
                self.fail(at);
                return true;
            }
            return false;
        }
        if let Some((due, bytes)) = self.there.pieces.front_mut() {
            if *due > now {
                return false;
            }
            let piece = bytes.len().min(match self.plan.piece {
                usize::MAX => usize::MAX,
                most => rng.between(1, most),
            });
            let rest = bytes.split_off(piece);
            self.input.extend_from_slice(bytes);
            self.there.len -= piece;
            if rest.is_empty() {
                self.there.pieces.pop_front();
            } else {
                *bytes = rest;
            }
            return true;
        }
        match self.there.end {
            Some((due, in_order)) if due <= now && !self.eof_told => {
                if in_order {
                    self.eof_told = true;
                    self.engine.receive_eof(at);
                } else {
                    self.fail(at);
                }
                true
            }
            _ => false,
        }
    }

    fn transmit(&mut self, at: Instant) -> Option<Flow> {
        let limit = self.plan.capacity.saturating_sub(self.back.len);
        if self.is_closed || self.outbox.len() >= limit.max(1) {
            return None;
        }
        Some(self.engine.transmit(&mut self.outbox, limit.max(1), at))
    }

    fn leave_engine(&mut self, now: Duration, rng: &mut Rng) -> bool {
        let mut moved = false;
        while self.outbox.has_remaining() && self.back.len < self.plan.capacity {
            let bytes = self.outbox.chunk().to_vec();
            self.outbox.advance(bytes.len());
            self.back.send(bytes, now, &self.plan, rng);
            moved = true;
        }
        let ends = self.is_closed || self.engine.has_ended_our_side();
        if ends && !self.outbox.has_remaining() && self.back.end.is_none() {
            let is_truncated = self.engine.is_truncated();
            let arrival = self.back.arrival(now, &self.plan, rng);
            self.back.end = Some((arrival, !is_truncated));
            moved = true;
        }
        moved
    }

    fn arrive_at_proxy(&mut self, now: Duration) -> bool {
        let mut moved = false;
        while let Some((due, bytes)) = self.back.pieces.front_mut() {
            if *due > now {
                return moved;
            }
            let written = self.socket.write(&[std::io::IoSlice::new(bytes)]);
            let written = match written {
                Ok(written) => written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return moved,
                // Nobody reads any longer.
                Err(_) => bytes.len(),
            };
            moved |= written > 0;
            self.back.len -= written;
            bytes.drain(..written);
            if !bytes.is_empty() {
                return moved;
            }
            self.back.pieces.pop_front();
        }
        if let Some((due, in_order)) = self.back.end
            && due <= now
        {
            if !self.ended {
                self.ended = true;
                if in_order {
                    self.socket.shut_down();
                } else {
                    self.socket.reset();
                }
                moved = true;
            }
            if self.is_closed && self.socket.is_at_end() {
                self.is_gone = true;
                moved = true;
            }
        }
        moved
    }
}
