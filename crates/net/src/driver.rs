//! The driver of a loop's connections: it hands events of engines to the service, and removes
//! connections.

use std::io;
use std::time::Instant;

use bytes::BytesMut;
use log::debug;
use tidegate_http::{Body, ErrorCode, Event, Flow, Outbox, ResponseHead, Stream, StreamId};
use tidegate_ledger::Refusal;

use crate::buffers::Buffers;
use crate::conn::Taken;
use crate::opening::Phase;
use crate::timers::Timers;
use crate::turns::{Budget, Queue, Turns};
use crate::{ConnId, Conns, Direction, End, Engine, Options, Origin, Protocol, Service, StreamMut};

/// The most events of one connection that a turn hands to the service, for input and for output
/// each. A small request is one event, so a connection that floods costs the others the time of 64
/// requests, some hundred microseconds.
pub(crate) const EVENTS_AT_ONCE: usize = 64;

/// The seconds after which a client may try again, in HTTP/1.1.
const RETRY_AFTER: &str = "1";

/// The connections of a loop, with the service and everything else that driving them takes.
pub(crate) struct Driver<S: Service> {
    pub(crate) options: Options,
    pub(crate) service: S,
    pub(crate) conns: Conns,
    pub(crate) timers: Timers,
    pub(crate) buffers: Buffers,
    /// The connections that can be served now.
    pub(crate) turns: Turns,
    /// The rest of the turn for the queue being served.
    pub(crate) budget: Budget,
    /// When a graceful end is forced, once it has begun.
    pub(crate) shutdown_deadline: Option<Instant>,
}

/// The number of an engine's events to hand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HowMuch {
    /// As many as a turn may take of one connection.
    Share,
    All,
}

impl<S: Service> Driver<S> {
    pub(crate) fn new(options: Options, service: S, conns: Conns) -> Self {
        Self {
            options,
            service,
            timers: Timers::new(conns.now()),
            conns,
            buffers: Buffers::new(),
            turns: Turns::default(),
            budget: Budget::in_memory(),
            shutdown_deadline: None,
        }
    }

    /// Calls the service, and then lets it settle.
    pub(crate) fn call(&mut self, call: impl FnOnce(&mut S, &mut Conns)) {
        call(&mut self.service, &mut self.conns);
        while self.service.settle(&mut self.conns) {}
    }

    /// Puts a connection in the queue, unless it is in one already. Dialled connections have queues
    /// of their own, and change to the other one when their end comes.
    pub(crate) fn enqueue(&mut self, slot: u32, queue: Queue) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let was_ready = std::mem::replace(&mut conn.is_ready, true);
        let queue = match conn.info.origin {
            Origin::Dialled if conn.incoming.is_end_near() => Queue::Ending,
            Origin::Dialled => Queue::Dialled,
            Origin::Accepted => queue,
        };
        if !was_ready || queue == Queue::Ending {
            self.turns.push(queue, slot);
        }
    }

    /// Enters the connection's next deadline in the timers.
    pub(crate) fn rearm(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get(slot)
            && let Some(at) = conn.next_timeout()
        {
            self.timers.fire_by(slot, &mut conn.timer, at);
        }
    }
}

/// Events from engines to the service.
impl<S: Service> Driver<S> {
    /// Gives a connection an engine, because its protocol is known.
    pub(crate) fn open(&mut self, slot: u32, protocol: Protocol) {
        let now = self.conns.now();
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        let id = conn.id;
        conn.open(protocol, &self.options, now);
        // With early data the handshake isn't done, and its deadline holds on.
        if self.shutdown_deadline.is_none() && !conn.is_handshaking() {
            conn.deadline = None;
        }
        if conn.info.origin == Origin::Accepted && protocol == Protocol::Http1 {
            totals.http1 += 1;
        }
        self.call(|service, conns| service.opened(conns, id));
    }

    /// Hands `buffers.input` to the engine, and the engine's events to the service.
    pub(crate) fn receive(&mut self, slot: u32, how_much: HowMuch) -> Taken {
        let now = self.conns.now();
        let mut reported = 0;
        let mut copy = self.copy_of_input(slot);
        while let Some(conn) = self.conns.get(slot) {
            let (Some(engine), Phase::Open) = (&mut conn.engine, conn.opening.phase()) else {
                return Taken::All;
            };
            if how_much == HowMuch::Share && is_enough(reported, &self.budget) {
                return Taken::Enough;
            }
            reported += 1;
            self.budget.charge(1);
            let id = conn.id;
            let waiting = conn.outbox.len();
            let input = &mut self.buffers.input;
            if let Some(event) = engine.receive(input, now) {
                if let Some(copy) = &mut copy {
                    self.trace_taken(slot, copy);
                }
                match &event {
                    Event::Request { id: stream, .. } if !self.admit_request(slot, *stream) => {}
                    _ => self.report(id, event),
                }
                self.budget.charge(self.conns.take_work());
            } else if let Some(stats) = conn.upgrade(now) {
                // The new engine has the request, and the 101 waits in the outbox.
                self.conns.totals.engines.add(&stats);
                self.trace_output(slot, waiting);
            } else if conn.incoming.is_unreported() && conn.takes_input() {
                conn.report_eof(now);
            } else {
                if let Some(engine) = &mut conn.engine
                    && engine.wants_rtt()
                    && let Some(rtt) = conn.transport.socket.round_trip()
                {
                    engine.observe_rtt(rtt);
                }
                if let Some(copy) = &mut copy {
                    self.trace_taken(slot, copy);
                }
                return Taken::All;
            }
        }
        Taken::All
    }

    /// Hands all events of an engine to the service, without input.
    pub(crate) fn drain_events(&mut self, slot: u32) {
        self.buffers.clear_input(0);
        self.receive(slot, HowMuch::All);
    }

    pub(crate) fn report(&mut self, id: ConnId, event: Event) {
        if let Event::Closed(reason) = &event
            && let Some(conn) = self.conns.get(id.slot)
        {
            conn.closed_reported = true;
            conn.set_end(End::Closed(reason.clone()));
        }
        self.call(|service, conns| service.event(conns, id, event));
    }

    /// Whether the client may have this request. If not, the request is refused, and the service
    /// doesn't learn of it.
    fn admit_request(&mut self, slot: u32, id: StreamId) -> bool {
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return false;
        };
        let Err(refusal) = conn.admit_request() else {
            return true;
        };
        totals.requests_refused += 1;
        debug!("{}: request refused: {refusal}", conn.info.peer);
        let conn = conn.id;
        match self.conns.stream(conn, id) {
            // RFC 9113 §8.7: "indicate that the stream is being closed prior to any processing
            // having occurred", so the client may send the request again.
            Some(StreamMut::Http2(mut stream)) => stream.reset(ErrorCode::REFUSED_STREAM),
            Some(StreamMut::Http1(mut stream)) => {
                let status = match refusal {
                    Refusal::Exhausted => 503,
                    // RFC 6585 §4: "the user has sent too many requests in a given amount of time".
                    Refusal::Share | Refusal::ClientLimit => 429,
                };
                let mut head = ResponseHead::new(status);
                head.push("retry-after", RETRY_AFTER);
                // The request exists, so the call is legal.
                let _ = stream.respond(&head, Body::Empty);
            }
            None => {}
        }
        false
    }

    /// Returns a copy of the input if the service wants to see what the engine takes of it.
    #[inline]
    fn copy_of_input(&mut self, slot: u32) -> Option<BytesMut> {
        let conn = self.conns.get(slot)?;
        (conn.is_traced && !self.options.trace).then(|| self.buffers.input.clone())
    }

    /// Shows the service the bytes that the engine has taken since `copy` was the input.
    #[cold]
    fn trace_taken(&mut self, slot: u32, copy: &mut BytesMut) {
        let taken = copy.len().saturating_sub(self.buffers.input.len());
        if taken > 0
            && let Some(conn) = self.conns.get(slot)
        {
            let (id, bytes) = (conn.id, copy.split_to(taken));
            self.service.trace(&self.conns, id, Direction::In, &bytes);
        }
    }

    /// Shows the service the input after the first `before` bytes.
    #[cold]
    pub(crate) fn trace_input(&mut self, slot: u32, before: usize) {
        if let Some(conn) = self.conns.get(slot)
            && let Some(bytes @ [_, ..]) = self.buffers.input.get(before..)
        {
            let id = conn.id;
            self.service.trace(&self.conns, id, Direction::In, bytes);
        }
    }

    /// Shows the service the bytes that an engine sends, if it wants to see them: everything in the
    /// outbox after the first `before` bytes.
    #[cold]
    pub(crate) fn trace_output(&mut self, slot: u32, before: usize) {
        if let Some(conn) = self.conns.get(slot)
            && (conn.is_traced || self.options.trace)
            && conn.outbox.len() > before
        {
            let (id, bytes) = (conn.id, behind(&conn.outbox, before));
            self.service.trace(&self.conns, id, Direction::Out, &bytes);
        }
    }
}

/// The end of connections.
impl<S: Service> Driver<S> {
    /// Closes a connection at once.
    pub(crate) fn cut_off(&mut self, slot: u32, end: End) {
        if let Some(conn) = self.conns.get(slot) {
            conn.set_end(end);
            self.remove(slot);
        }
    }

    /// Tells the engine that the transport has ended, and hands the resulting events to the
    /// service.
    pub(crate) fn report_eof(&mut self, slot: u32) {
        let now = self.conns.now();
        let mut nothing = BytesMut::new();
        let mut nowhere = Outbox::new();
        let mut reported = false;
        while let Some(conn) = self.conns.get(slot) {
            let Some(engine) = &mut conn.engine else {
                return;
            };
            if conn.closed_reported {
                return;
            }
            let id = conn.id;
            if !reported {
                reported = true;
                if conn.incoming.is_reported() {
                    // The peer's end was reported before. Now our side is gone too.
                    engine.receive_failure(now);
                } else {
                    conn.report_eof(now);
                }
            }
            let Some(engine) = &mut conn.engine else {
                return;
            };
            let event = engine.receive(&mut nothing, now);
            let event = event.or_else(|| match engine.transmit(&mut nowhere, usize::MAX, now) {
                Flow::Event(event) => Some(event),
                Flow::Drained | Flow::Full | Flow::Closed => None,
            });
            match event {
                Some(event) => self.report(id, event),
                None => return,
            }
        }
    }

    /// Removes a connection that is over, which closes its socket.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.report_eof(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        self.timers.cancel(slot, &mut conn.timer);
        // Reset instead of closing cleanly while data is unsent: the peer could take FIN for the
        // end of a close-delimited message.
        if conn.has_unwritten() || conn.engine.as_ref().is_some_and(Engine::is_truncated) {
            conn.transport.socket.reset();
        }
        let end = conn.take_end();
        let (id, peer) = (conn.id, conn.info.peer);
        if conn.incoming.is_truncated() {
            totals.truncated += 1;
            debug!("{peer}: TCP ended without close_notify of TLS");
        }
        if conn.engine.is_none() {
            match conn.info.origin {
                Origin::Accepted => totals.handshake_failures += 1,
                Origin::Dialled => totals.dial_failures += 1,
            }
        }
        debug!("{peer}: {end}");
        self.call(|service, conns| service.closed(conns, id, &end));
        self.conns.remove(slot);
    }
}

/// Whether a connection has had its share of the turn after `reported` events.
fn is_enough(reported: usize, budget: &Budget) -> bool {
    reported >= EVENTS_AT_ONCE || (reported > 0 && budget.is_used_up())
}

/// Returns the bytes of an outbox after the first ones.
fn behind(outbox: &Outbox, mut first: usize) -> Vec<u8> {
    let mut slices = [io::IoSlice::new(&[]); 1024];
    let used = outbox.io_slices(&mut slices);
    let mut bytes = Vec::with_capacity(outbox.len() - first);
    for slice in &slices[..used] {
        let skipped = first.min(slice.len());
        first -= skipped;
        bytes.extend_from_slice(&slice[skipped..]);
    }
    bytes
}
