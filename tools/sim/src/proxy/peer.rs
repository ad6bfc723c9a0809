//! A client or an upstream: an engine of either protocol, and the way between it and the proxy's socket.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_net::MemorySocket;
use tidegate_proto::{
    Body, ErrorCode, Event, Fields, Flow, Misuse, Outbox, RequestHead, ResponseHead, StreamId,
};
use tidegate_testkit::rng::Rng;

use super::plan::LinkPlan;

/// An engine of either protocol.
pub(crate) enum Engine {
    Http2(Box<tidegate_proto::Connection>),
    Http1(Box<tidegate_http1::Connection>),
}

macro_rules! either {
    ($self:expr, $engine:ident => $call:expr) => {
        match $self {
            Engine::Http2($engine) => $call,
            Engine::Http1($engine) => $call,
        }
    };
}

/// Calls a method of a stream, if that is there.
macro_rules! on_stream {
    ($self:expr, $id:expr, $stream:ident => $call:expr) => {
        match $self {
            Engine::Http2(engine) => engine.stream($id).map(|mut $stream| $call),
            Engine::Http1(engine) => engine.stream($id).map(|mut $stream| $call),
        }
    };
}

impl Engine {
    pub(crate) fn can_open(&self) -> bool {
        either!(self, engine => engine.can_open())
    }

    pub(crate) fn open(&mut self, head: &RequestHead, body: Body) -> Result<StreamId, Misuse> {
        either!(self, engine => engine.open(head, body))
    }

    pub(crate) fn shut_down(&mut self, now: Instant) {
        either!(self, engine => engine.shut_down(now));
    }

    pub(crate) fn inform(&mut self, id: StreamId, head: &ResponseHead) {
        on_stream!(self, id, stream => stream.inform(head));
    }

    pub(crate) fn respond(&mut self, id: StreamId, head: &ResponseHead, body: Body) -> bool {
        on_stream!(self, id, stream => stream.respond(head, body).expect("a proper response"))
            .is_some()
    }

    pub(crate) fn write(&mut self, id: StreamId, data: &mut bytes::Bytes, end: bool) -> usize {
        on_stream!(self, id, stream => stream.write(data, end)).unwrap_or(0)
    }

    pub(crate) fn trailers(&mut self, id: StreamId, fields: &Fields) {
        on_stream!(self, id, stream => stream.trailers(fields).expect("trailers in their place"));
    }

    pub(crate) fn consume(&mut self, id: StreamId, octets: usize) {
        on_stream!(self, id, stream => stream.consume(octets));
    }

    pub(crate) fn reset(&mut self, id: StreamId, code: ErrorCode) {
        on_stream!(self, id, stream => stream.reset(code));
    }

    pub(crate) fn release(&mut self, id: StreamId) {
        on_stream!(self, id, stream => stream.release());
    }

    pub(crate) fn audit(&self) {
        if let Self::Http2(engine) = self
            && let Err(error) = engine.audit()
        {
            panic!("a peer's books: {error}");
        }
    }
}

/// What is on the way in one direction.
#[derive(Default)]
struct Way {
    pieces: VecDeque<(Duration, Vec<u8>)>,
    len: usize,
    last_arrival: Duration,
    /// When the end arrives; whether it is one in order.
    end: Option<(Duration, bool)>,
}

impl Way {
    fn send(&mut self, octets: Vec<u8>, now: Duration, plan: &LinkPlan, rng: &mut Rng) {
        let arrival = self.arrival(now, plan, rng);
        self.len += octets.len();
        self.pieces.push_back((arrival, octets));
    }

    fn arrival(&mut self, now: Duration, plan: &LinkPlan, rng: &mut Rng) -> Duration {
        let jitter = plan.jitter.mul_f64(rng.below(100) as f64 / 100.0);
        self.last_arrival = self.last_arrival.max(now + plan.delay + jitter);
        self.last_arrival
    }

    /// When something arrives next; the end counts until it `has_ended`.
    fn next(&self, has_ended: bool) -> Option<Duration> {
        let first = self.pieces.front().map(|(due, _)| *due);
        first.or(self.end.filter(|_| !has_ended).map(|(due, _)| due))
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
    /// The engine has nothing more to say.
    is_closed: bool,
    /// Our end of the socket was ended.
    ended: bool,
    /// Until then nothing is taken out of the socket.
    reads_from: Duration,
    /// Nothing more happens here.
    pub(crate) is_gone: bool,
}

/// What a step brought.
pub(crate) enum Step {
    /// Something for the engine's owner.
    Event(Event),
    /// Octets moved.
    Moved,
    /// Nothing for now.
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

    /// The same, but until then it doesn't look at its socket.
    pub(crate) fn reading_from(mut self, when: Duration) -> Self {
        self.reads_from = when;
        self
    }

    /// How things are, for messages.
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

    /// The connection is cut: both ends learn of it at once.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.socket.reset();
        self.there = Way::default();
        self.back = Way::default();
        // Its own end may have been there before; that of the connection is another one.
        self.ended = false;
        self.fail(now);
    }

    fn fail(&mut self, now: Instant) {
        if !self.eof_told {
            self.eof_told = true;
            match &mut self.engine {
                Engine::Http2(engine) => engine.receive_eof(now),
                Engine::Http1(engine) => engine.receive_failure(now),
            }
        }
    }

    /// When something happens here next.
    pub(crate) fn next(&self, epoch: Instant) -> Option<Duration> {
        if self.is_gone {
            return None;
        }
        let there = self.there.next(self.eof_told);
        let there = there.filter(|_| self.takes_input());
        let back = self.back.next(self.ended);
        let back = back.filter(|_| self.socket.room() > 0);
        let timer = either!(&self.engine, engine => engine.next_timeout());
        let timer = timer.map(|at| at.saturating_duration_since(epoch));
        let wakes = (self.socket.available() > 0).then_some(self.reads_from);
        let wakes = wakes.filter(|when| !when.is_zero());
        [there, back, timer, wakes].into_iter().flatten().min()
    }

    fn takes_input(&self) -> bool {
        either!(&self.engine, engine => engine.can_receive())
    }

    /// Does one thing that can be done now.
    pub(crate) fn step(&mut self, now: Duration, at: Instant, rng: &mut Rng) -> Step {
        if self.is_gone {
            return Step::Rest;
        }
        let timer = either!(&self.engine, engine => engine.next_timeout());
        if timer.is_some_and(|due| due <= at) {
            either!(&mut self.engine, engine => engine.handle_timeout(at));
            return Step::Moved;
        }
        if let Some(event) =
            either!(&mut self.engine, engine => engine.receive(&mut self.input, at))
        {
            return Step::Event(event);
        }
        if let Engine::Http2(engine) = &mut self.engine
            && engine.wants_rtt()
        {
            engine.observe_rtt(self.plan.delay * 2 + Duration::from_micros(100));
        }
        let mut moved = self.leave_proxy(now, rng);
        if self.arrive(now, at, rng) {
            // There may be something to tell first.
            return Step::Moved;
        }
        match self.transmit(at) {
            Some(Flow::Event(event)) => return Step::Event(event),
            Some(Flow::Closed) => self.is_closed = true,
            _ => {}
        }
        moved |= self.leave_engine(now, rng);
        moved |= self.arrive_at_proxy(now);
        match moved {
            true => Step::Moved,
            false => Step::Rest,
        }
    }

    /// What the proxy has written goes on its way.
    fn leave_proxy(&mut self, now: Duration, rng: &mut Rng) -> bool {
        if now < self.reads_from && !self.socket.is_failed() {
            return false;
        }
        self.reads_from = Duration::ZERO;
        let room = match self.is_closed {
            // It is thrown away.
            true => usize::MAX,
            false => self.plan.capacity.saturating_sub(self.there.len),
        };
        let available = self.socket.available().min(room);
        if available > 0 {
            let mut octets = vec![0; available];
            let read = self.socket.read(&mut octets).unwrap_or(0);
            octets.truncate(read);
            self.there.send(octets, now, &self.plan, rng);
            return true;
        }
        if self.there.end.is_none() && self.socket.is_at_end() {
            let arrival = self.there.arrival(now, &self.plan, rng);
            if self.socket.is_failed() {
                // A reset overtakes what is on its way.
                self.there = Way::default();
                self.back = Way::default();
            }
            self.there.end = Some((arrival, !self.socket.is_failed()));
            return true;
        }
        false
    }

    /// What has arrived is given to the engine.
    fn arrive(&mut self, now: Duration, at: Instant, rng: &mut Rng) -> bool {
        if !self.takes_input() {
            // Who takes no input doesn't see an end either, but a reset.
            if let Some((due, false)) = self.there.end
                && due <= now
                && !self.eof_told
            {
                self.fail(at);
                return true;
            }
            return false;
        }
        if let Some((due, octets)) = self.there.pieces.front_mut() {
            if *due > now {
                return false;
            }
            let piece = octets.len().min(match self.plan.piece {
                usize::MAX => usize::MAX,
                most => rng.between(1, most),
            });
            let rest = octets.split_off(piece);
            self.input.extend_from_slice(octets);
            self.there.len -= piece;
            match rest.is_empty() {
                true => {
                    self.there.pieces.pop_front();
                }
                false => *octets = rest,
            }
            return true;
        }
        match self.there.end {
            Some((due, in_order)) if due <= now && !self.eof_told => {
                if in_order {
                    self.eof_told = true;
                    either!(&mut self.engine, engine => engine.receive_eof(at));
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
        Some(
            either!(&mut self.engine, engine => engine.transmit(&mut self.outbox, limit.max(1), at)),
        )
    }

    fn leave_engine(&mut self, now: Duration, rng: &mut Rng) -> bool {
        let mut moved = false;
        while self.outbox.has_remaining() && self.back.len < self.plan.capacity {
            let octets = self.outbox.chunk().to_vec();
            self.outbox.advance(octets.len());
            self.back.send(octets, now, &self.plan, rng);
            moved = true;
        }
        let ends = self.is_closed
            || matches!(&self.engine, Engine::Http1(engine) if engine.has_ended_our_side());
        if ends && !self.outbox.has_remaining() && self.back.end.is_none() {
            let is_truncated =
                matches!(&self.engine, Engine::Http1(engine) if engine.is_truncated());
            let arrival = self.back.arrival(now, &self.plan, rng);
            self.back.end = Some((arrival, !is_truncated));
            moved = true;
        }
        moved
    }

    fn arrive_at_proxy(&mut self, now: Duration) -> bool {
        let mut moved = false;
        while let Some((due, octets)) = self.back.pieces.front_mut() {
            if *due > now {
                return moved;
            }
            let written = self.socket.write(&[std::io::IoSlice::new(octets)]);
            let written = match written {
                Ok(written) => written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return moved,
                // Nobody reads any more.
                Err(_) => octets.len(),
            };
            moved |= written > 0;
            self.back.len -= written;
            octets.drain(..written);
            if !octets.is_empty() {
                return moved;
            }
            self.back.pieces.pop_front();
        }
        if let Some((due, in_order)) = self.back.end
            && due <= now
        {
            if !self.ended {
                self.ended = true;
                match in_order {
                    true => self.socket.shut_down(),
                    false => self.socket.reset(),
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
