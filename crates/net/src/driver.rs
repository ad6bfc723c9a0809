//! What a loop does with one connection: it is served, which reads, and settled, which writes.
//!
//! All calls of the service that are about one connection are made here.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use log::debug;
use tidegate_http::{
    Body, ErrorCode, Event, Flow, Outbox, ResponseHead, Stream, StreamId, WallClock,
};
use tidegate_ledger::{ClientKey, Refusal, Resource};

use crate::admission::{Account, Whose};
use crate::buffers::Buffers;
use crate::conn::{Conn, Taken};
use crate::incoming::Input;
use crate::opening::{Phase, Step};
use crate::outgoing::{Outgoing, Output};
use crate::ready::Ready;
use crate::socket::ReadOutcome;
use crate::timers::Timers;
use crate::transport::Transport;
use crate::turns::{Budget, Queue, Turns};
use crate::{
    ConnId, ConnInfo, Conns, Direction, End, Engine, Options, Origin, Protocol, Service, StreamMut,
};

/// Octets that an engine may put into an outbox before that is written. What the socket doesn't take of them stays in front of
/// whatever becomes urgent; fewer octets would mean more system calls.
const OUTBOX_LIMIT: usize = 64 << 10;

/// Octets that one turn writes to one connection at most, about.
const WRITE_AT_ONCE: usize = 256 << 10;

/// Events of one connection that a turn hands to the service at most, for input and for output each:
/// a small request is one, so a connection that floods costs the others 64 requests' time, some
/// hundred microseconds.
const EVENTS_AT_ONCE: usize = 64;

/// Seconds after which a client may ask again, for HTTP/1.1.
const RETRY_AFTER: &str = "1";

/// The connections of a loop, and what serving them takes.
pub(crate) struct Driver<S: Service> {
    pub(crate) options: Options,
    pub(crate) service: S,
    pub(crate) conns: Conns,
    pub(crate) timers: Timers,
    buffers: Buffers,
    /// Connections that can be served now.
    pub(crate) turns: Turns,
    /// The rest of the turn for the queue that is served now.
    pub(crate) budget: Budget,
    /// Once a graceful end has begun: when it is over at last.
    pub(crate) shutdown_deadline: Option<Instant>,
}

/// The service.
impl<S: Service> Driver<S> {
    /// Calls the service, which may leave more to do.
    pub(crate) fn call(&mut self, call: impl FnOnce(&mut S, &mut Conns)) {
        call(&mut self.service, &mut self.conns);
        while self.service.settle(&mut self.conns) {}
    }
}

/// The way in.
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

    /// A connection that was accepted.
    pub(crate) fn register_accepted(
        &mut self,
        transport: Transport,
        account: Account,
        peer: SocketAddr,
        local: SocketAddr,
    ) {
        let now = self.conns.now();
        let info = ConnInfo {
            origin: Origin::Accepted,
            peer,
            local,
            via: None,
            tls: None,
            began_at: now,
        };
        let timeout = self.options.handshake_timeout;
        let deadline = (!timeout.is_zero()).then(|| now + timeout);
        let id = self
            .conns
            .insert(|id| Conn::accepted(id, info, transport, account, deadline));
        self.conns.totals.accepted += 1;
        let is_proxy = self.is_proxy(peer);
        if !is_proxy {
            self.leave_requests_of(id.slot, peer);
        }
        let Some(conn) = self.conns.get(id.slot) else {
            return;
        };
        if is_proxy {
            conn.opening.expect_proxy_header();
        }
        match self.conns.register(id.slot) {
            Ok(()) => self.rearm(id.slot),
            Err(error) => self.cut_off(id.slot, End::Io(error)),
        }
    }

    /// Notes what has changed about the socket of a connection. It may be about an earlier connection in the same slot: then it makes
    /// for a needless look at most.
    pub(crate) fn note(&mut self, slot: u32, ready: Ready) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if ready.readable || ready.read_closed || ready.error {
            let end = ready.read_closed || ready.error;
            conn.incoming = conn.incoming.on(Input::Event { end });
            if !conn.takes_input() {
                // Its engine may wait for memory: settling has it look again after a while.
                self.conns.mark(slot);
            } else {
                self.enqueue(slot, Queue::New);
            }
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.outgoing.is_blocked() && (ready.writable || ready.error) {
            conn.outgoing = conn.outgoing.on(Output::Event);
            self.enqueue(slot, Queue::Again);
        }
        if ready.read_closed || ready.error {
            self.look_for_end(slot);
        }
    }

    /// Lets a connection wait for its turn, if it doesn't yet: in the queue of those that were
    /// dialled if it is one, else in this one.
    fn enqueue(&mut self, slot: u32, queue: Queue) {
        if let Some(conn) = self.conns.get(slot)
            && !std::mem::replace(&mut conn.is_ready, true)
        {
            let queue = match conn.info.origin {
                Origin::Dialled => Queue::Dialled,
                Origin::Accepted => queue,
            };
            self.turns.push(queue, slot);
        }
    }

    /// The client's end is in the socket: if its engine doesn't read, since it answers a request of HTTP/1.1, the service is to
    /// know all the same.
    fn look_for_end(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let watches = match (&conn.engine, conn.phase()) {
            (Some(engine), Phase::Open) => engine.watches_for_end(),
            _ => false,
        };
        if !watches {
            return;
        }
        let socket = &mut conn.transport.socket;
        if let Some(error) = socket.take_error() {
            return self.cut_off(slot, End::Io(error));
        }
        let has_ended = match socket.peek(&mut [0]) {
            // Behind what it has sent already it may have asked for more. Over TLS that can't be told from the end of TLS.
            Ok(ReadOutcome::Octets { .. }) => conn.transport.tls.is_some(),
            Ok(ReadOutcome::Blocked) => conn.incoming.has_ended(),
            Ok(ReadOutcome::Eof) => true,
            Err(error) => return self.cut_off(slot, End::Io(error)),
        };
        // An end that the engine knows of is none of the request: it is one of the two of a tunnel. And what is left over may be
        // another request.
        if has_ended && conn.incoming.is_unannounced() && conn.left_over() == 0 {
            conn.incoming = conn.incoming.on(Input::Announce);
            let id = conn.id;
            self.call(|service, conns| service.half_closed(conns, id));
        }
    }

    /// A graceful end has begun before this connection's first request, which may be there now.
    fn shut_down_behind_request(&mut self, slot: u32) {
        let now = self.conns.now();
        if let Some(conn) = self.conns.get(slot)
            && conn.info.origin == Origin::Accepted
            && let Some(engine) = &mut conn.engine
            && !engine.is_ending()
            && !engine.awaits_first_request()
        {
            engine.shut_down(now);
            conn.deadline = None;
        }
    }

    /// Reads once, and passes on what came.
    pub(crate) fn serve(&mut self, slot: u32) {
        // It is settled afterwards in any case, so the service's calls cause nothing more here.
        self.conns.mark(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.phase() == Phase::Closing {
            return self.linger(slot);
        }
        if conn.phase() == Phase::ProxyHeader {
            match conn.take_proxy_header() {
                Ok(Some(len)) => {
                    totals.octets_in += len as u64;
                    if !self.rekey(slot) {
                        return self.cut_off(slot, End::Refused);
                    }
                }
                Ok(None) => return self.conns.mark(slot),
                Err(end) => return self.cut_off(slot, end),
            }
        }
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        if conn.can_go_on() {
            let left_over = conn.left_over();
            match conn.fill(&mut self.buffers) {
                Ok(count) => totals.octets_in += count as u64,
                Err(End::HttpOnTlsPort) => {
                    let clock = self.options.proto.wall_clock.as_ref();
                    conn.answer_in_cleartext(&https_wanted(clock.and_then(WallClock::date)));
                    return self.conns.mark(slot);
                }
                Err(End::TlsFailed(error)) => {
                    // Not at once: the peer is to read the alert.
                    conn.begin_close(End::TlsFailed(error));
                    self.end_engine(slot);
                    return self.conns.mark(slot);
                }
                Err(end) => return self.cut_off(slot, end),
            }
            if self.options.trace
                && let Some(conn) = self.conns.get(slot)
                && let Some(octets @ [_, ..]) = self.buffers.input.get(left_over..)
            {
                let id = conn.id;
                self.service.trace(&self.conns, id, Direction::In, octets);
            }
            let taken = self.advance(slot);
            if self.shutdown_deadline.is_some() {
                self.shut_down_behind_request(slot);
            }
            if let Some(conn) = self.conns.get(slot) {
                conn.keep(&mut self.buffers, taken);
                if conn.incoming.is_end_near() {
                    self.look_for_end(slot);
                }
            }
        }
        self.conns.mark(slot);
    }

    fn linger(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        match conn.linger(&mut self.buffers) {
            Ok(false) => self.conns.mark(slot),
            Ok(true) | Err(_) => self.bury(slot),
        }
    }

    /// Takes `buffers.input` as far as the connection's phase can, into the next phases too.
    fn advance(&mut self, slot: u32) -> Taken {
        let Some(conn) = self.conns.get(slot) else {
            return Taken::All;
        };
        if conn.phase() != Phase::Open {
            match conn.advance(&self.buffers.input) {
                Step::Speaks(protocol) => self.open(slot, protocol),
                Step::Fails(End::NotHttp2) => self.cut_off(slot, End::NotHttp2),
                Step::Fails(end) => conn.begin_close(end),
                Step::NeedsMore => {}
            }
        }
        self.receive(slot, HowMuch::Share)
    }

    /// The protocol is known.
    fn open(&mut self, slot: u32, protocol: Protocol) {
        let now = self.conns.now();
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        let id = conn.id;
        conn.open(protocol, &self.options, now);
        if self.shutdown_deadline.is_none() {
            conn.deadline = None;
        }
        if conn.info.origin == Origin::Accepted && protocol == Protocol::Http1 {
            totals.http1 += 1;
        }
        self.call(|service, conns| service.opened(conns, id));
    }

    /// Hands `buffers.input` to the engine, and what that tells to the service.
    fn receive(&mut self, slot: u32, how_much: HowMuch) -> Taken {
        let now = self.conns.now();
        let mut told = 0;
        while let Some(conn) = self.conns.get(slot) {
            let (Some(engine), Phase::Open) = (&mut conn.engine, conn.opening.phase()) else {
                return Taken::All;
            };
            if how_much == HowMuch::Share && is_enough(told, &self.budget) {
                return Taken::Enough;
            }
            told += 1;
            self.budget.charge(1);
            let id = conn.id;
            let waiting = conn.outbox.len();
            let input = &mut self.buffers.input;
            if let Some(event) = engine.receive(input, now) {
                match &event {
                    Event::Request { id: stream, .. } if !self.admit_request(slot, *stream) => {}
                    _ => self.tell(id, event),
                }
                self.budget.charge(self.conns.take_work());
            } else if let Some(stats) = conn.upgrade(now) {
                // The new engine has the request, and the 101 waits.
                if self.options.trace {
                    let octets = behind(&conn.outbox, waiting);
                    self.service.trace(&self.conns, id, Direction::Out, &octets);
                }
                self.conns.totals.proto.add(&stats);
            } else if conn.incoming.is_unreported() && conn.takes_input() {
                conn.tell_eof(now);
            } else {
                if let Some(engine) = &mut conn.engine
                    && engine.wants_rtt()
                    && let Some(rtt) = conn.transport.socket.round_trip()
                {
                    engine.observe_rtt(rtt);
                }
                return Taken::All;
            }
        }
        Taken::All
    }

    /// Hands all that an engine has to tell to the service, without input.
    pub(crate) fn drain_events(&mut self, slot: u32) {
        self.buffers.clear_input(0);
        self.receive(slot, HowMuch::All);
    }

    fn tell(&mut self, id: ConnId, event: Event) {
        if let Event::Closed(reason) = &event
            && let Some(conn) = self.conns.get(id.slot)
        {
            conn.closed_reported = true;
            conn.set_end(End::Closed(reason.clone()));
        }
        self.call(|service, conns| service.event(conns, id, event));
    }

    /// Whether the client of a connection may have this request. One that it may not have is refused, and the service doesn't
    /// hear of it.
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
            // RFC 9113 §8.7: "indicate that the stream is being closed prior to any processing having occurred", so the
            // client may send the request again.
            Some(StreamMut::Http2(mut stream)) => stream.reset(ErrorCode::REFUSED_STREAM),
            Some(StreamMut::Http1(mut stream)) => {
                let status = match refusal {
                    Refusal::Exhausted => 503,
                    // RFC 6585 §4: "the user has sent too many requests in a given amount of time".
                    Refusal::Share | Refusal::ClientLimit => 429,
                };
                let mut head = ResponseHead::new(status);
                head.push("retry-after", RETRY_AFTER);
                // The request is there, so nothing is wrong with the call.
                let _ = stream.respond(&head, Body::Empty);
            }
            None => {}
        }
        false
    }
}

/// The way out.
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

    /// Has the engine put into the outbox what can go out, and writes it.
    fn settle(&mut self, slot: u32) {
        // Until it says otherwise below, the connection stays dirty, so that the service's calls don't list it again.
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
            return self.cut_off(slot, End::Refused);
        }
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let result = match result {
            Err(End::Io(error)) if conn.stop_writing(now) => {
                conn.set_end(End::Io(error));
                // What the peer has sent is read, or is all there will be.
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
            Ok(Settled::Over) => return self.bury(slot),
            Ok(Settled::Waits) if !conn.can_go_on() => {}
            Ok(_) => self.enqueue(slot, Queue::Again),
        }
        self.rearm(slot);
    }

    fn transmit(&mut self, slot: u32) -> Result<Settled, End> {
        let now = self.conns.now();
        let write_timeout = self.options.write_timeout;
        let mut budget = WRITE_AT_ONCE as u64;
        let mut told = 0;
        while let Some((conn, totals)) = self.conns.get_and_totals(slot) {
            let before = totals.octets_out;
            let written = &mut totals.octets_out;
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
                let is_over = conn.has_said_all();
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
                // What the socket takes at once still goes out, but nothing that waits may hold the end up.
                let _ = engine.transmit(&mut conn.outbox, usize::MAX, now);
                let _ = conn.flush(&mut self.buffers, now, write_timeout, written);
                self.drain_events(slot);
                return Err(End::Stopped);
            }
            if conn.outgoing.is_blocked() {
                // What the engine has stays there, where priorities and resets still count. What has come in is held all the same.
                engine.settle_memory();
                return Ok(Settled::Waits);
            }
            let id = conn.id;
            let waiting = conn.outbox.len();
            let limit = OUTBOX_LIMIT.saturating_sub(conn.transport.pending());
            let flow = engine.transmit(&mut conn.outbox, limit, now);
            if self.options.trace && conn.outbox.len() > waiting {
                let octets = behind(&conn.outbox, waiting);
                self.service.trace(&self.conns, id, Direction::Out, &octets);
            }
            let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
                break;
            };
            let written = &mut totals.octets_out;
            match flow {
                Flow::Event(event) => {
                    self.tell(id, event);
                    told += 1;
                    if told >= EVENTS_AT_ONCE
                        && let Some((conn, totals)) = self.conns.get_and_totals(slot)
                    {
                        let written = &mut totals.octets_out;
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

    /// Sees to it that the timers have the connection's next deadline.
    pub(crate) fn rearm(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get(slot)
            && let Some(at) = conn.next_timeout()
        {
            self.timers.fire_by(slot, &mut conn.timer, at);
        }
    }
}

/// The end.
impl<S: Service> Driver<S> {
    /// Closes a connection at once.
    pub(crate) fn cut_off(&mut self, slot: u32, end: End) {
        if let Some(conn) = self.conns.get(slot) {
            conn.set_end(end);
            self.bury(slot);
        }
    }

    /// The transport is no more: lets the engine say what that means for its streams.
    fn end_engine(&mut self, slot: u32) {
        let now = self.conns.now();
        let mut nothing = BytesMut::new();
        let mut nowhere = Outbox::new();
        let mut told = false;
        while let Some(conn) = self.conns.get(slot) {
            let Some(engine) = &mut conn.engine else {
                return;
            };
            if conn.closed_reported {
                return;
            }
            let id = conn.id;
            if !told {
                told = true;
                if conn.incoming.is_reported() {
                    // What followed from that is over now too.
                    engine.receive_failure(now);
                } else {
                    conn.tell_eof(now);
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
                Some(event) => self.tell(id, event),
                None => return,
            }
        }
    }

    /// Removes a connection that is over, which closes its socket.
    pub(crate) fn bury(&mut self, slot: u32) {
        self.end_engine(slot);
        let Some((conn, totals)) = self.conns.get_and_totals(slot) else {
            return;
        };
        self.timers.cancel(slot, &mut conn.timer);
        // Nor may the end come in order where it would come instead of what waits: it may be the end of a message.
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

    /// Closes the connection that is the least to lose for a newcomer. Returns whether there was one.
    pub(crate) fn make_room(&mut self, newcomer: Option<ClientKey>, whose: Whose) -> bool {
        let slot = self.conns.least_to_lose(newcomer, whose);
        if let Some(slot) = slot {
            self.close_idle(slot);
        }
        slot.is_some()
    }

    /// What a handshake has brought is more than the client may hold: the connection that is the least to lose makes room, which may
    /// be the same one. Returns whether the handshake may go on, or is gone.
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
            // A last word: no request was lost, and the next belongs on another connection.
            engine.abort(ErrorCode::NO_ERROR);
            let _ = self.transmit(slot);
        }
        self.conns.totals.made_room += 1;
        self.cut_off(slot, End::MadeRoom);
    }

    /// The PROXY header has told whose connection it is. Returns whether that client may have it.
    pub(crate) fn rekey(&mut self, slot: u32) -> bool {
        let Some(conn) = self.conns.get(slot) else {
            return false;
        };
        let peer = conn.info.peer;
        let key = ClientKey::from(peer.ip());
        let client = self.options.ledger.client(key);
        self.leave_requests_of(slot, peer);
        if self.conns.client_of(slot) == Some(key) {
            return true;
        }
        if let Err(refusal) = client.check(Resource::Connections, 1) {
            // In the sum nothing changes.
            let may_come = refusal == Refusal::Exhausted || self.make_room(Some(key), Whose::Own);
            if !may_come {
                self.conns.totals.refused += 1;
                debug!("{peer}: refused: {refusal}");
                return false;
            }
        }
        self.conns.transfer(slot, &client);
        true
    }

    /// It is known whose the connection is: the service counts its requests, if it makes them for others.
    pub(crate) fn leave_requests_of(&mut self, slot: u32, peer: SocketAddr) {
        if self.makes_requests_for_others(peer)
            && let Some(conn) = self.conns.get(slot)
            && let Some(account) = &mut conn.account
        {
            account.leave_requests();
        }
    }

    /// Whether connections from there begin with a PROXY protocol header.
    pub(crate) fn is_proxy(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut proxies = self.options.proxy_protocol_from.iter();
        proxies.any(|net| net.contains(&ip))
    }

    /// Whether the service counts the requests from there.
    fn makes_requests_for_others(&self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        let mut peers = self.options.makes_requests_for_others.iter();
        peers.any(|net| net.contains(&ip))
    }
}

/// Whether a connection has had its share of the turn with so many events.
fn is_enough(told: usize, budget: &Budget) -> bool {
    told >= EVENTS_AT_ONCE || (told > 0 && budget.is_used_up())
}

/// The answer to a request in cleartext on a port for TLS.
fn https_wanted(date: Option<String>) -> Vec<u8> {
    let text = "This port speaks HTTPS, and the request came in cleartext: begin its address with https://.\n";
    let date = date.map_or_else(String::new, |date| format!("date: {date}\r\n"));
    let len = text.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {len}\r\n\
         {date}connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// What is in an outbox behind its first octets.
fn behind(outbox: &Outbox, mut first: usize) -> Vec<u8> {
    let mut slices = [io::IoSlice::new(&[]); 1024];
    let used = outbox.io_slices(&mut slices);
    let mut octets = Vec::with_capacity(outbox.len() - first);
    for slice in &slices[..used] {
        let skipped = first.min(slice.len());
        first -= skipped;
        octets.extend_from_slice(&slice[skipped..]);
    }
    octets
}

/// How much of what an engine has to tell is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HowMuch {
    /// As much as a turn may take of one connection.
    Share,
    All,
}

/// What settling a connection came to.
enum Settled {
    /// It waits for its peer, its service or a timer.
    Waits,
    /// It could go on writing, but it's the others' turn.
    HasMore,
    /// It is over.
    Over,
}
