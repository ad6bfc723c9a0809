//! A connection: its inputs, its outputs, and its end. `server` and `client` have what is specific
//! to one role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tidegate_http::engine::{
    MAX_DISCARDED, MAX_WRITE, More, Phase, REST_AFTER, SMALL_BODY, SentMessages, head_size,
};
use tidegate_http::{
    Age, CloseReason, Config, ErrorCode, Event, Flow, Holding, Outbox, Pace, Role, Stats, StreamId,
    Violation,
};

use crate::exchange::{Exchange, Version};
use crate::read::Kind;
use crate::read::body::{BodyReader, Piece};
use crate::read::section::Section;
use crate::server::H2cUpgrade;
use crate::stream::StreamMut;
use crate::write::{Framing, push_chunk_size, write_last_chunk};

/// The input that a connection waits for. Each kind has its own time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing.
    Nothing,
    /// A request, with memory still allocated.
    Request,
    /// A request, for longer.
    Idle,
    /// The end of a head.
    Head,
    /// More of a body.
    Body,
    /// The rest of a request that was answered early.
    Discard,
}

/// The phase of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The connection is open.
    Alive,
    /// The current request is the last, unless its response has promised that the connection goes
    /// on: then one more may come for `patience` after it.
    Draining { patience: Duration },
    /// One more request may come, until `shutdown_at`. It is the last.
    AwaitingLast,
    /// The connection is closed; its last bytes may still wait for `transmit`.
    Over,
}

/// One HTTP/1.1 or 1.0 connection, in either role. Owns no socket, clock or thread.
///
/// The owner drives it like that of `tidegate-http2` and receives the same events. There is
/// one request at a time: while a server answers one, [`Connection::can_receive`] is false, and
/// pipelined requests wait in the input or the socket. So responses are in order, and a client that
/// pipelines fills its own memory.
pub struct Connection {
    pub(crate) role: Role,
    pub(crate) config: Arc<Config>,
    /// Server: `https` or `http`.
    pub(crate) scheme: &'static str,
    /// Server: whether to accept `Upgrade: h2c`.
    pub(crate) offers_h2c: bool,
    /// Server: the request that [`Connection::take_upgrade`] returns.
    pub(crate) upgraded: Option<H2cUpgrade>,
    /// The time of the last input, output or [`Connection::set_time`]: commands take no time.
    pub(crate) now: Instant,
    /// The time at which the connection began.
    born: Instant,
    /// The number of the next request.
    pub(crate) next_id: StreamId,
    /// How far the next head has been scanned.
    pub(crate) section: Section,
    /// Server: whether an empty line before the next head was skipped.
    pub(crate) skipped_line: bool,
    pub(crate) exchange: Option<Exchange>,
    /// The version of the peer's message whose head came last.
    pub(crate) version: Version,
    /// Heads, and small bytes that go with them, that wait for `transmit`.
    pub(crate) control: Vec<u8>,
    /// Our messages that ended and weren't reported yet.
    sent: SentMessages,
    pub(crate) life: Life,
    /// Why the connection closed, until that is reported.
    reason: Option<CloseReason>,
    /// See [`Connection::is_truncated`].
    truncated: bool,
    /// Whether the peer has ended its side cleanly.
    peer_ended: bool,
    pub(crate) wait: Wait,
    /// When the current wait ends.
    pub(crate) deadline: Option<Instant>,
    /// How long the connection may be without a request: the configured limit, or less if the
    /// server promised less.
    pub(crate) idle_limit: Duration,
    /// When a graceful end is forced.
    shutdown_at: Option<Instant>,
    pub(crate) stats: Stats,
    pub(crate) holding: Holding,
    /// When to check again whether there is memory for more input.
    pub(crate) look_again_at: Option<Instant>,
}

/// Inputs. They never fail: a fatal error becomes state, is answered, and is reported as
/// [`Event::Closed`].
impl Connection {
    pub(crate) fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        let kind = match role {
            Role::Server => Kind::Request,
            Role::Client => Kind::Response,
        };
        let mut conn = Self {
            role,
            scheme: "http",
            offers_h2c: false,
            upgraded: None,
            now,
            born: now,
            next_id: StreamId::new(1),
            section: Section::head(kind),
            skipped_line: false,
            exchange: None,
            version: Version::Http11,
            control: Vec::new(),
            sent: SentMessages::default(),
            life: Life::Alive,
            reason: None,
            truncated: false,
            peer_ended: false,
            wait: Wait::Nothing,
            deadline: None,
            idle_limit: config.timeouts.idle,
            shutdown_at: None,
            stats: Stats::default(),
            holding: Holding::new(config.memory_budget.as_ref()),
            look_again_at: None,
            config,
        };
        conn.wait_for(Wait::Request, REST_AFTER);
        conn
    }

    /// Takes the peer's bytes off the front of `input`, up to the first event. Call it until it
    /// returns `None`; the bytes that remain in `input` must be at its front the next time.
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        self.now = now;
        while self.takes_input() {
            let before = input.len();
            let recv = self.exchange.as_ref().map(|exchange| exchange.recv.phase);
            let result = match (self.role, recv) {
                (Role::Server, None) => self.receive_request(input),
                (Role::Client, Some(Phase::Head)) => self.receive_response(input),
                (Role::Client, None | Some(Phase::Done)) => self.receive_unasked(input),
                _ => self.receive_body(input),
            };
            self.stats.bytes_in += (before - input.len()) as u64;
            match result {
                Ok(Some(event)) => {
                    if self.role == Role::Client {
                        self.refuse_unasked(input);
                    }
                    return Some(event);
                }
                // Bytes were taken, but there is nothing to report.
                Ok(None) if input.len() < before => {}
                Ok(None) => break,
                Err(violation) => self.refuse(violation),
            }
        }
        if self.reason.is_some()
            && let Some(event) = self.sent.take()
        {
            return Some(event);
        }
        self.reason.take().map(Event::Closed)
    }

    /// The transport has ended cleanly and will bring nothing more. Call `receive` once more for
    /// the events that follow.
    ///
    /// A client that has sent its last request may end its side and still wait for the answer. So
    /// call this only when [`Connection::can_receive`] is true, unless the transport is gone in
    /// both directions. If the end may be a truncation, call [`Connection::receive_failure`]
    /// instead.
    pub fn receive_eof(&mut self, now: Instant) {
        self.now = now;
        let body = self.exchange.as_ref().map(|exchange| &exchange.recv.body);
        if let Some(BodyReader::UntilEnd) = body {
            self.peer_ended = true;
            return;
        }
        let in_the_middle = self.exchange.is_some() || self.wait == Wait::Head;
        self.close(if in_the_middle {
            CloseReason::EofInTheMiddle
        } else {
            CloseReason::Eof
        });
    }

    /// The transport is gone, and not cleanly: bytes may have been lost. Call `receive` once more.
    pub fn receive_failure(&mut self, now: Instant) {
        self.now = now;
        let reason = if self.exchange.is_some() || self.wait == Wait::Head {
            CloseReason::EofInTheMiddle
        } else {
            CloseReason::Eof
        };
        self.close(reason);
    }

    /// Sets the time for the commands that follow: their time limits begin at `now`. Without this
    /// call they begin at the last input or output, which may be long ago.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time of [`Connection::next_timeout`] has come. Call `receive` and `transmit` afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.shutdown_at.is_some_and(|at| at <= now) {
            match self.life {
                Life::AwaitingLast if self.is_idle() => return self.close(CloseReason::Graceful),
                Life::AwaitingLast => self.drain(Duration::ZERO),
                _ => return self.close(CloseReason::ShutdownTimedOut),
            }
        }
        if self.look_again_at.is_some_and(|at| at <= now) {
            // `transmit` checks.
            self.look_again_at = None;
        }
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.deadline = None;
        match self.wait {
            Wait::Nothing => {}
            Wait::Request => {
                if self.control.is_empty() {
                    self.control = Vec::new();
                }
                self.wait_for(Wait::Idle, self.idle_limit);
            }
            Wait::Idle => self.close(CloseReason::Idle),
            Wait::Head => self.refuse(Violation::HeaderBlockTimedOut),
            Wait::Body => self.judge_body(),
            // The response is out, so the connection can close.
            Wait::Discard => self.close(CloseReason::Graceful),
        }
    }

    /// Returns the connection's age.
    fn age(&self) -> Age {
        Age::new(self.born, self.now)
    }

    /// Refuses a body that stopped or is too slow, else sets when to check it again.
    fn judge_body(&mut self) {
        let (limit, least) = (self.config.timeouts.body, self.config.min_body_rate);
        let age = self.age();
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        match exchange.recv.pace.judge(limit, least, age) {
            Ok(after) => self.deadline = Some(self.now + after),
            Err(violation) => self.refuse(violation),
        }
    }

    fn receive_body(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Violation> {
        let window = self.window();
        let Some(exchange) = &mut self.exchange else {
            return Ok(None);
        };
        let (id, recv) = (exchange.id, &mut exchange.recv);
        let room = window.saturating_sub(recv.unconsumed);
        let piece = match recv.body.read(input, room, &self.config)? {
            Some(piece) => piece,
            None if self.peer_ended && input.is_empty() && !recv.is_whole() => {
                recv.body = BodyReader::Done;
                Piece::End(tidegate_http::Fields::new())
            }
            None => return Ok(None),
        };
        recv.expects_continue = false;
        let discard = recv.discard;
        let event = match piece {
            Piece::Data { data, end } => {
                self.stats.body_in += data.len() as u64;
                recv.pace.moved(data.len(), Age::new(self.born, self.now));
                if discard {
                    recv.discarded += data.len();
                } else {
                    recv.unconsumed += data.len();
                }
                Event::Data { id, data, end }
            }
            Piece::End(fields) if fields.is_empty() => Event::Data {
                id,
                data: Bytes::new(),
                end: true,
            },
            Piece::End(fields) => {
                exchange.head += u64::from(head_size(&fields));
                Event::Trailers { id, fields }
            }
        };
        self.watch_body();
        self.note_whole_if_read();
        if discard {
            self.end_exchange_if_over();
            return Ok(None);
        }
        Ok(Some(event))
    }
}

/// Commands.
impl Connection {
    /// Returns a handle to the request with this number, if it is still in progress.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        self.exchange(id)?;
        Some(StreamMut::new(self, id))
    }

    /// Begins a graceful end. The current request is answered, with `connection: close` if the
    /// response hasn't begun; a request that the client hasn't begun is not waited for. After
    /// [`Timeouts::shutdown`](tidegate_http::Timeouts::shutdown) the connection closes in any
    /// case.
    pub fn shut_down(&mut self, now: Instant) {
        self.now = now;
        if self.life != Life::Alive {
            return;
        }
        if self.is_idle() {
            return self.close(CloseReason::Graceful);
        }
        self.drain(Duration::ZERO);
    }

    /// Begins a graceful end as [`shut_down`](Self::shut_down) does, but waits for `patience` for a
    /// request that may be on its way: a client that sends one while the connection closes can't
    /// know what became of it. Its response says `connection: close`. If a response has begun
    /// without saying so, the time begins when it is sent.
    pub fn shut_down_after_request(&mut self, patience: Duration, now: Instant) {
        self.now = now;
        match self.life {
            Life::Alive if self.is_idle() => self.await_last(patience),
            Life::Alive => self.drain(patience),
            _ => {}
        }
    }

    fn await_last(&mut self, patience: Duration) {
        self.life = Life::AwaitingLast;
        self.shutdown_at = Some(self.now + patience);
    }

    fn is_idle(&self) -> bool {
        self.exchange.is_none() && self.wait != Wait::Head
    }

    fn drain(&mut self, patience: Duration) {
        self.life = Life::Draining { patience };
        let limit = self.config.timeouts.shutdown;
        self.shutdown_at = (!limit.is_zero()).then(|| self.now + limit);
    }

    /// Closes the connection at once. HTTP/1.1 can't send the code.
    pub fn abort(&mut self, code: ErrorCode) {
        self.close(CloseReason::Aborted(code));
    }
}

/// Outputs. Drain them after every input or command.
impl Connection {
    /// Moves bytes that can go out now into `out`, until it holds `limit` bytes.
    pub fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        self.now = now;
        let before = out.len();
        let flow = self.fill(out, limit);
        self.stats.bytes_out += (out.len() - before) as u64;
        // What went out is held no longer, though nobody may ask again for long.
        self.settle_memory();
        flow
    }

    fn fill(&mut self, out: &mut Outbox, limit: usize) -> Flow {
        loop {
            // Bytes that stay here keep `can_receive` from accepting more input, so a peer that
            // reads slowly can't make the outbox grow.
            if !out.is_empty() && !self.control.is_empty() && out.len() + self.control.len() > limit
            {
                return Flow::Full;
            }
            out.append(&mut self.control);
            if let Some(event) = self.sent.take() {
                return Flow::Event(event);
            }
            if self.life == Life::Over {
                return Flow::Closed;
            }
            let Some(exchange) = &mut self.exchange else {
                return Flow::Drained;
            };
            let (id, send) = (exchange.id, &mut exchange.send);
            if send.phase != Phase::Body || (send.pending.is_empty() && send.more == More::Asked) {
                return Flow::Drained;
            }
            let Some(room) = limit.checked_sub(out.len()).filter(|&room| room > 0) else {
                return Flow::Full;
            };
            if send.pending.is_empty() {
                send.more = More::Asked;
                let want = room.min(MAX_WRITE);
                return Flow::Event(Event::Writable { id, want });
            }
            let data = send.pending.split_to(send.pending.len().min(room));
            self.stats.body_out += data.len() as u64;
            send.sent += data.len() as u64;
            match &mut send.framing {
                Framing::Length { left } => *left -= data.len() as u64,
                Framing::Chunked => push_chunk_size(out, data.len()),
                Framing::None | Framing::UntilEnd => {}
            }
            out.push(data);
            if send.framing == Framing::Chunked {
                out.extend(b"\r\n");
            }
            self.end_message_if_sent();
        }
    }

    /// Returns when to call [`Connection::handle_timeout`], if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.deadline, self.shutdown_at, self.look_again_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether `receive` would take input now. While this is false, don't read the transport.
    pub fn can_receive(&self) -> bool {
        let has_memory = self.role == Role::Client || self.holding.has_room();
        self.takes_input() && has_memory
    }

    /// Returns the number of bytes that `receive` would take at once, about: while a body comes,
    /// what its window has left. More would wait here, in memory that nobody has reserved for it.
    pub fn receive_room(&self) -> usize {
        match &self.exchange {
            Some(exchange) if exchange.recv.phase == Phase::Body => {
                self.window().saturating_sub(exchange.recv.unconsumed)
            }
            _ => usize::MAX,
        }
    }

    /// Whether `receive` would take bytes that were read already.
    fn takes_input(&self) -> bool {
        let wants = match (&self.exchange, self.role) {
            (None, _) => true,
            // Notice a server that closes, or sends bytes nobody asked for.
            (Some(exchange), Role::Client) => {
                exchange.recv.phase != Phase::Body || self.has_window(exchange)
            }
            (Some(exchange), Role::Server) => {
                !exchange.recv.is_whole() && self.has_window(exchange)
            }
        };
        let has_room =
            self.role == Role::Client || self.control.len() < self.config.outbound_high_water;
        wants && has_room && self.life != Life::Over && self.upgraded.is_none()
    }

    /// Whether the end of the transport matters although [`Connection::can_receive`] is false: a
    /// server doesn't read while it answers, and most clients that end their side have left. The
    /// owner can look for the end without reading what comes before it.
    pub fn watches_for_end(&self) -> bool {
        self.role == Role::Server && self.exchange.is_some() && !self.can_receive()
    }

    /// Whether the current request is whole, so that the end of the transport takes nothing of it.
    pub fn has_whole_request(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.recv.is_whole())
    }

    /// Whether no request has begun yet, but the first one may be on its way: a graceful end that
    /// doesn't wait for it loses it.
    pub fn awaits_first_request(&self) -> bool {
        self.stats.requests == 0
    }

    /// Whether our side of a tunnel has ended while the peer's goes on. Once all bytes are written,
    /// shut down the transport's write side: the peer learns of the end and may still send.
    pub fn has_ended_our_side(&self) -> bool {
        let exchange = self.exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.is_tunnel && exchange.send.phase == Phase::Done)
    }

    /// Whether the current request has been granted a tunnel. This tells a client what a 2xx to a
    /// request for a WebSocket means: a server may ignore Upgrade (RFC 9110 §7.8) and send an
    /// ordinary response.
    pub fn is_tunnel(&self) -> bool {
        self.exchange
            .as_ref()
            .is_some_and(|exchange| exchange.is_tunnel)
    }

    /// Whether the connection ended inside a tunnel, or inside a message that only its end
    /// delimits. Then the transport must not end cleanly, or the peer takes the message for
    /// complete (RFC 9112 §8): reset the socket, send no close_notify.
    ///
    /// The same holds for a client that gave up in the middle of its request, because a server
    /// that doesn't read the rest would never see a clean end, or in the middle of a response,
    /// because its port would stay in TIME_WAIT.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Getters.
impl Connection {
    /// Returns the connection's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the version of the peer's message whose head came last: `HTTP/1.1` or `HTTP/1.0`.
    pub fn version(&self) -> &'static str {
        self.version.as_str()
    }

    /// Returns the connection's settings and limits.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config)
    }

    /// Returns the connection's counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the bytes of heads and small bodies that wait for [`Connection::transmit`].
    pub fn unsent(&self) -> usize {
        self.control.len()
    }

    /// Returns the number of requests in progress: 0 or 1.
    pub fn active_streams(&self) -> usize {
        usize::from(self.exchange.is_some())
    }

    /// Whether the connection is ending: no request follows the current one.
    pub fn is_ending(&self) -> bool {
        self.life != Life::Alive
    }

    /// Whether [`Event::Closed`] has been reported or is about to be.
    pub fn is_closed(&self) -> bool {
        self.life == Life::Over
    }
}

impl Connection {
    pub(crate) fn exchange(&mut self, id: StreamId) -> Option<&mut Exchange> {
        self.exchange.as_mut().filter(|exchange| exchange.id == id)
    }

    /// Returns the most bytes of a body that may be reported and not consumed.
    pub(crate) fn window(&self) -> usize {
        (self.config.initial_window_size as usize).max(1)
    }

    /// Whether more of the request's body may be reported.
    fn has_window(&self, exchange: &Exchange) -> bool {
        exchange.recv.unconsumed < self.window()
    }

    /// Whether there is a number for another request.
    pub(crate) fn has_next_id(&self) -> bool {
        self.next_id < StreamId::MAX
    }

    /// Returns the next request's number.
    pub(crate) fn next_id(&mut self) -> StreamId {
        let id = self.next_id;
        self.next_id = StreamId::new(id.get().saturating_add(2));
        id
    }

    /// Copies a small complete body after its head, where `transmit` need not look at it. Ends a
    /// message that has no body.
    pub(crate) fn send_small_body(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let send = &mut exchange.send;
        if send.more == More::End && send.pending.len() <= SMALL_BODY {
            self.control.extend_from_slice(&send.pending);
            self.stats.body_out += send.pending.len() as u64;
            send.sent += send.pending.len() as u64;
            send.pending.clear();
            self.end_message_if_sent();
        }
    }

    /// Ends our message if none of its bytes wait.
    pub(crate) fn end_message_if_sent(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let send = &mut exchange.send;
        if send.phase != Phase::Body || send.more != More::End || !send.pending.is_empty() {
            return;
        }
        if send.framing == Framing::Chunked {
            write_last_chunk(&mut self.control, send.trailers.as_ref());
        }
        send.phase = Phase::Done;
        if self.config.report_sent {
            self.sent.push(exchange.sent());
        }
        if self.role == Role::Server && !exchange.is_tunnel {
            exchange.recv.discard = true;
            exchange.recv.unconsumed = 0;
        }
        self.watch_body();
        self.end_exchange_if_over();
    }

    /// Completes the peer's message if all of its body was read.
    pub(crate) fn note_whole_if_read(&mut self) {
        if let Some(exchange) = &mut self.exchange
            && exchange.recv.is_whole()
        {
            exchange.recv.phase = Phase::Done;
            self.end_exchange_if_over();
        }
    }

    /// Ends the exchange if it is over; the connection then goes on with the next one or closes. A
    /// server's exchange is over with its response; the rest of the request is discarded.
    pub(crate) fn end_exchange_if_over(&mut self) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        let Exchange { recv, send, .. } = exchange;
        let is_over = match self.role {
            // RFC 9112 §9.6: a client that received "close" must "close the connection after
            // reading the response message". Nobody waits for the unsent rest of the request then.
            Role::Client if !exchange.is_tunnel => {
                recv.phase == Phase::Done && (send.phase == Phase::Done || !exchange.persistent)
            }
            // Each direction of a tunnel ends independently.
            _ if exchange.is_tunnel => send.phase == Phase::Done && recv.phase == Phase::Done,
            _ => send.phase == Phase::Done,
        };
        if !is_over {
            return;
        }
        // RFC 9112 §9.6: "The server MUST initiate closure of the connection … after it sends the
        // final response to the request that contained the close connection option."
        let life = self.life;
        let goes_on = match life {
            Life::Alive => true,
            Life::Draining { patience } => !patience.is_zero() && self.role == Role::Server,
            Life::AwaitingLast | Life::Over => false,
        };
        if !exchange.persistent || !goes_on || recv.discarded > MAX_DISCARDED || exchange.is_tunnel
        {
            return self.close(CloseReason::Graceful);
        }
        if recv.is_whole() {
            self.exchange = None;
            self.wait_for(Wait::Request, REST_AFTER);
            if let Life::Draining { patience } = life {
                self.await_last(patience);
            }
        }
    }

    pub(crate) fn wait_for(&mut self, what: Wait, limit: Duration) {
        self.wait = what;
        self.deadline = (!limit.is_zero()).then(|| self.now + limit);
    }

    pub(crate) fn wait_for_nothing(&mut self) {
        self.wait = Wait::Nothing;
        self.deadline = None;
    }

    /// Sets the time limits of a body: they apply while more may come.
    pub(crate) fn watch_body(&mut self) {
        let wait = match &self.exchange {
            Some(exchange) if exchange.recv.phase == Phase::Body && !exchange.recv.is_whole() => {
                let recv = &exchange.recv;
                // The ends of a tunnel decide how long it may be silent.
                let is_timed = !recv.untimed && !exchange.is_tunnel && self.has_window(exchange);
                match (recv.discard, is_timed) {
                    (true, _) => Wait::Discard,
                    (false, true) => Wait::Body,
                    (false, false) => Wait::Nothing,
                }
            }
            _ => Wait::Nothing,
        };
        if wait == self.wait {
            return;
        }
        match wait {
            // Further pieces don't extend this limit.
            Wait::Discard => self.wait_for(wait, self.config.timeouts.discard),
            Wait::Body => {
                self.wait_for(wait, self.config.timeouts.body);
                let pace = Pace::new(self.age());
                if let Some(exchange) = &mut self.exchange {
                    exchange.recv.pace = pace;
                }
            }
            _ => self.wait_for_nothing(),
        }
    }

    /// Ends the connection because the peer broke a rule or a limit. A server reports it to the
    /// client. Nothing more is read, because the start of the next message is unknown (RFC 9112
    /// §11.2).
    pub(crate) fn refuse(&mut self, violation: Violation) {
        if self.role == Role::Server {
            self.report_refusal(violation);
        }
        self.close(CloseReason::Violation(violation));
    }

    pub(crate) fn close(&mut self, reason: CloseReason) {
        if self.life == Life::Over {
            return;
        }
        self.life = Life::Over;
        if let Some(exchange) = &self.exchange
            && self.config.report_sent
            && exchange.send.phase == Phase::Body
        {
            self.sent.push(exchange.sent());
        }
        self.truncated = self.exchange.take().is_some_and(|exchange| {
            let gives_up = self.role == Role::Client && reason != CloseReason::Graceful;
            let is_unsent = exchange.send.phase != Phase::Done;
            // The rest of a response that nobody wants is useless, and so is a port in TIME_WAIT.
            let is_unwanted = matches!(reason, CloseReason::Aborted(_));
            (gives_up && (is_unsent || is_unwanted)) || exchange.ends_with_the_connection(self.role)
        });
        self.reason = Some(reason);
        self.wait_for_nothing();
        self.shutdown_at = None;
    }
}

/// A connection may move from thread to thread.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Connection>();
};

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("life", &self.life)
            .field("wait", &self.wait)
            .field("exchange", &self.exchange)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
