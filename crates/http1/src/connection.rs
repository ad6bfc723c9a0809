//! One connection: what comes in, what goes out, and how it ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_proto::{
    CloseReason, Config, ErrorCode, Event, Flow, Outbox, Reservation, Stats, StreamId, Violation,
};

use crate::body::{BodyReader, Piece};
use crate::exchange::{Exchange, More, Phase};
use crate::request;
use crate::response::{Framing, status_of, write_chunk_size, write_last_chunk, write_refusal};
use crate::section::Section;
use crate::stream::{MAX_WRITE, StreamMut};

/// Octets of a request that a client may still send after the response has ended; beyond it the connection is closed.
/// Closing at once could take the response away from a client that sends before it reads.
pub(crate) const MAX_DISCARDED: usize = 1 << 20;

/// A whole body of up to so many octets is copied behind its head at once.
const SMALL_BODY: usize = 4096;

/// Octets of a body that were read along and wait in the input, at most: tidegate-net reads so many at once.
const INPUT: u64 = 64 << 10;

/// How long a connection is without a request before it gives its memory back.
const REST_AFTER: Duration = Duration::from_secs(1);

/// What a connection waits for from its client. There is a time limit on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For nothing.
    Nothing,
    /// For a request; its memory is still warm.
    Request,
    /// For a request, for longer.
    Idle,
    /// For the end of a head.
    Head,
    /// For the next piece of a body.
    Body,
}

/// The memory budget is used up.
struct NoRoom;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Nothing ends.
    Alive,
    /// The present request is the last.
    Draining,
    /// It is over; the last octets may wait to be transmitted.
    Over,
}

/// The server's end of one HTTP/1.1 or 1.0 connection. Owns no socket, clock or thread.
///
/// It is driven like [`tidegate_proto::Connection`], and says the same. Requests are read one at a time: while one is
/// answered, [`Connection::can_receive`] is false and pipelined ones wait in the input or the socket. So answers are in
/// order, and a client that pipelines fills its own memory.
pub struct Connection {
    pub(crate) config: Arc<Config>,
    /// `https` or `http`.
    scheme: &'static str,
    /// The time of the last input or output: commands take no time argument.
    now: Instant,
    /// The number of the next request.
    next_id: StreamId,
    /// How far the next head has been looked at.
    section: Section,
    /// An empty line in front of the next head was skipped.
    skipped_line: bool,
    exchange: Option<Exchange>,
    /// Heads, and what small things go with them, that wait for `transmit`.
    pub(crate) control: Vec<u8>,
    life: Life,
    /// Why it is over, until it is told.
    reason: Option<CloseReason>,
    /// See [`Connection::is_truncated`].
    truncated: bool,
    wait: Wait,
    /// When waiting has been long enough.
    deadline: Option<Instant>,
    /// The forced end of a graceful end.
    shutdown_at: Option<Instant>,
    stats: Stats,
}

/// Inputs. They do not fail: a fatal error becomes state, is answered, and comes back as [`Event::Closed`].
impl Connection {
    /// The server's end of a new connection, whose requests are about `https` URIs if it is `secure`, else `http`.
    ///
    /// Of `config` it heeds `initial_window_size` as the octets of a body that may be told and not consumed,
    /// `max_header_list_size` for heads (request line included) and trailers, `max_header_fields`, `max_cookie_crumbs`,
    /// `outbound_high_water`, `memory_budget`, and of the time limits `header_block`, `body`, `idle` and `shutdown`.
    pub fn server(config: Arc<Config>, secure: bool, now: Instant) -> Self {
        let mut conn = Self {
            config,
            scheme: if secure { "https" } else { "http" },
            now,
            next_id: StreamId::new(1),
            section: Section::head(),
            skipped_line: false,
            exchange: None,
            control: Vec::new(),
            life: Life::Alive,
            reason: None,
            truncated: false,
            wait: Wait::Nothing,
            deadline: None,
            shutdown_at: None,
            stats: Stats::default(),
        };
        conn.wait_for(Wait::Request, REST_AFTER);
        conn
    }

    /// Takes what came from the client off the front of `input`, up to the first thing that the owner must know. Call it
    /// until it returns `None`; what is left of `input` then must be in front the next time.
    pub fn receive(&mut self, input: &mut BytesMut, now: Instant) -> Option<Event> {
        self.now = now;
        while self.can_receive() {
            let before = input.len();
            let result = match self.exchange {
                None => self.receive_head(input),
                Some(_) => self.receive_body(input),
            };
            self.stats.octets_in += (before - input.len()) as u64;
            match result {
                Ok(Some(event)) => return Some(event),
                // Something was taken and is not worth telling.
                Ok(None) if input.len() < before => {}
                Ok(None) => break,
                Err(violation) => self.refuse(violation),
            }
        }
        self.reason.take().map(Event::Closed)
    }

    /// The transport will bring nothing more. Call `receive` once more for what follows from it.
    ///
    /// A client that has sent its last request may end its side and still wait for the answer: so tell it only when
    /// [`Connection::can_receive`] is true, unless the transport is gone in both directions.
    pub fn receive_eof(&mut self, now: Instant) {
        self.now = now;
        let in_the_middle = self.exchange.is_some() || self.wait == Wait::Head;
        self.close(match in_the_middle {
            true => CloseReason::EofInTheMiddle,
            false => CloseReason::Eof,
        });
    }

    /// The time of [`Connection::next_timeout`] has come. Call `receive` and `transmit` afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.shutdown_at.is_some_and(|at| at <= now) {
            return self.close(CloseReason::ShutdownTimedOut);
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
                self.wait_for(Wait::Idle, self.config.timeouts.idle);
            }
            Wait::Idle => self.close(CloseReason::Idle),
            Wait::Head => self.refuse(Violation::HeaderBlockTimedOut),
            Wait::Body => self.refuse(Violation::BodyTimedOut),
        }
    }

    fn receive_head(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Violation> {
        if input.is_empty() {
            return Ok(None);
        }
        // RFC 9112 §2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one empty
        // line (CRLF) received prior to the request-line."
        if !self.skipped_line && input.starts_with(b"\r\n") {
            input.advance(2);
            self.skipped_line = true;
            return Ok(None);
        }
        if self.wait != Wait::Head {
            self.wait_for(Wait::Head, self.config.timeouts.header_block);
        }
        let limit = self.config.max_header_list_size as usize;
        let Some(len) = self.section.scan(input, limit)? else {
            return Ok(None);
        };
        let mut request = request::parse(&input[..len], self.scheme, &self.config)?;
        input.advance(len);
        self.section = Section::head();
        self.skipped_line = false;
        let id = self.next_id;
        self.next_id = StreamId::new(id.get().saturating_add(2));
        let mut exchange = Exchange::new(id, &mut request);
        // RFC 9112 §9.3.2 sets no end to a connection's requests, but their numbers have one. And what follows a CONNECT
        // that was turned down may have been meant for the tunnel.
        exchange.persistent &= self.next_id < StreamId::MAX && !exchange.connect_request;
        if exchange.connect_request {
            // RFC 9110 §9.3.6: "A CONNECT request message does not have content."
            exchange.recv.body = BodyReader::Done;
        }
        exchange.recv.reservation = match self.reserve(&exchange.recv.body) {
            Ok(reservation) => reservation,
            Err(NoRoom) => {
                self.refuse_for_memory();
                return Ok(None);
            }
        };
        let end = exchange.recv.body.is_done();
        self.exchange = Some(exchange);
        self.stats.requests += 1;
        self.watch_body();
        Ok(Some(Event::Request {
            id,
            head: request.head,
            end,
        }))
    }

    /// Reserves what a body can make us hold: what is told and not consumed, and what waits in the input meanwhile.
    fn reserve(&self, body: &BodyReader) -> Result<Option<Reservation>, NoRoom> {
        let Some(budget) = &self.config.memory_budget else {
            return Ok(None);
        };
        let most = self.window() as u64 + INPUT;
        let octets = match *body {
            BodyReader::Done => return Ok(None),
            BodyReader::Length { left } => left.min(most),
            BodyReader::Chunked(_) => most,
        };
        budget.reserve(octets).map(Some).ok_or(NoRoom)
    }

    fn receive_body(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Violation> {
        let window = self.window();
        let Some(exchange) = &mut self.exchange else {
            return Ok(None);
        };
        let (id, recv) = (exchange.id, &mut exchange.recv);
        let room = window.saturating_sub(recv.unconsumed);
        let Some(piece) = recv.body.read(input, room, &self.config)? else {
            return Ok(None);
        };
        recv.expects_continue = false;
        let discard = recv.discard;
        let event = match piece {
            Piece::Data { data, end } => {
                self.stats.body_in += data.len() as u64;
                match discard {
                    true => recv.discarded += data.len(),
                    false => recv.unconsumed += data.len(),
                }
                Event::Data { id, data, end }
            }
            Piece::End(fields) if fields.is_empty() => Event::Data {
                id,
                data: bytes::Bytes::new(),
                end: true,
            },
            Piece::End(fields) => Event::Trailers { id, fields },
        };
        self.wait = Wait::Nothing;
        self.watch_body();
        if discard {
            self.end_exchange_if_over();
            return Ok(None);
        }
        Ok(Some(event))
    }
}

/// Commands.
impl Connection {
    /// A handle to the request with this number, if it is not over.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        self.exchange(id)?;
        Some(StreamMut::new(self, id))
    }

    /// Begins a graceful end: the present request is answered, with `connection: close` if that can still be said; what
    /// the client has not begun to send is not waited for. After [`Timeouts::shutdown`](tidegate_proto::Timeouts::shutdown)
    /// the connection is cut off.
    pub fn shut_down(&mut self, now: Instant) {
        self.now = now;
        if self.life != Life::Alive {
            return;
        }
        if self.exchange.is_none() && self.wait != Wait::Head {
            return self.close(CloseReason::Graceful);
        }
        self.life = Life::Draining;
        let limit = self.config.timeouts.shutdown;
        self.shutdown_at = (!limit.is_zero()).then(|| now + limit);
    }

    /// Ends at once. HTTP/1.1 has no word for why.
    pub fn abort(&mut self, code: ErrorCode) {
        self.close(CloseReason::Aborted(code));
    }
}

/// Outputs. Drain them after every input or command.
impl Connection {
    /// Moves what can go out now into `out`, until that holds `limit` octets.
    pub fn transmit(&mut self, out: &mut Outbox, limit: usize, now: Instant) -> Flow {
        self.now = now;
        let before = out.len();
        let flow = self.fill(out, limit);
        self.stats.octets_out += (out.len() - before) as u64;
        flow
    }

    fn fill(&mut self, out: &mut Outbox, limit: usize) -> Flow {
        loop {
            out.tail().append(&mut self.control);
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
            match &mut send.framing {
                Framing::Length { left } => *left -= data.len() as u64,
                Framing::Chunked => write_chunk_size(out.tail(), data.len()),
                Framing::None | Framing::UntilClose => {}
            }
            out.push(data);
            if send.framing == Framing::Chunked {
                out.tail().extend_from_slice(b"\r\n");
            }
            self.end_response_if_sent();
        }
    }

    /// When [`Connection::handle_timeout`] wants to be called, if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        [self.deadline, self.shutdown_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether `receive` would take input now. While this is false, don't read the transport.
    pub fn can_receive(&self) -> bool {
        let wants = self
            .exchange
            .as_ref()
            .is_none_or(|exchange| !exchange.recv.body.is_done() && self.has_window(exchange));
        wants && self.life != Life::Over && self.control.len() < self.config.outbound_high_water
    }

    /// Whether the connection ended in the middle of a response that only its end delimits. Then the transport must not
    /// end in order, or the client takes what it has for the whole (RFC 9112 §8): reset the socket, send no close_notify.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }
}

/// Getters.
impl Connection {
    /// The connection's counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Requests under way: 0 or 1.
    pub fn active_streams(&self) -> usize {
        usize::from(self.exchange.is_some())
    }

    /// Whether the end of the connection has begun: no request is taken behind the present one.
    pub fn is_ending(&self) -> bool {
        self.life != Life::Alive
    }

    /// Whether [`Event::Closed`] has been or is about to be told.
    pub fn is_closed(&self) -> bool {
        self.life == Life::Over
    }
}

impl Connection {
    pub(crate) fn exchange(&mut self, id: StreamId) -> Option<&mut Exchange> {
        self.exchange.as_mut().filter(|exchange| exchange.id == id)
    }

    /// Octets of a body that may be told and not consumed.
    fn window(&self) -> usize {
        (self.config.initial_window_size as usize).max(1)
    }

    /// Whether more of the request's body may be told.
    fn has_window(&self, exchange: &Exchange) -> bool {
        exchange.recv.unconsumed < self.window()
    }

    /// Copies a small whole body behind its head, where `transmit` need not look at it; and ends a response that has none.
    pub(crate) fn send_small_body(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let send = &mut exchange.send;
        if send.more == More::End && send.pending.len() <= SMALL_BODY {
            self.control.extend_from_slice(&send.pending);
            self.stats.body_out += send.pending.len() as u64;
            send.pending.clear();
            self.end_response_if_sent();
        }
    }

    /// The response ends if nothing of it waits.
    pub(crate) fn end_response_if_sent(&mut self) {
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
        exchange.recv.discard = true;
        exchange.recv.unconsumed = 0;
        self.watch_body();
        self.end_exchange_if_over();
    }

    /// The response is whole: the connection goes on with the next request, closes, or discards the rest of this one.
    fn end_exchange_if_over(&mut self) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        // RFC 9112 §9.6: "The server MUST initiate closure of the connection … after it sends the final response to the
        // request that contained the close connection option."
        if !exchange.persistent
            || self.life == Life::Draining
            || exchange.recv.discarded > MAX_DISCARDED
        {
            return self.close(CloseReason::Graceful);
        }
        if exchange.recv.body.is_done() {
            self.exchange = None;
            self.wait_for(Wait::Request, REST_AFTER);
        }
    }

    fn wait_for(&mut self, what: Wait, limit: Duration) {
        self.wait = what;
        self.deadline = (!limit.is_zero()).then(|| self.now + limit);
    }

    /// Sees to the time limit of a body: it runs while more may come.
    pub(crate) fn watch_body(&mut self) {
        let waits = self
            .exchange
            .as_ref()
            .is_some_and(|exchange| !exchange.recv.body.is_done() && self.has_window(exchange));
        if !waits {
            self.wait = Wait::Nothing;
            self.deadline = None;
        } else if self.wait != Wait::Body {
            self.wait_for(Wait::Body, self.config.timeouts.body);
        }
    }

    /// The client broke a rule or a limit: it is told by a status unless the answer has begun, and the connection ends.
    /// RFC 9112 §11.2 says why nothing more is read: nobody knows where the next request begins.
    fn refuse(&mut self, violation: Violation) {
        let unanswered = self
            .exchange
            .as_ref()
            .is_none_or(|exchange| exchange.send.phase == Phase::Head);
        if unanswered {
            write_refusal(&mut self.control, status_of(violation));
        }
        self.close(CloseReason::Violation(violation));
    }

    /// There is no memory for a request's body. RFC 9110 §15.6.4: "the server is currently unable to handle the request due to
    /// a temporary overload". The body is on its way, so the connection is of no use any more.
    fn refuse_for_memory(&mut self) {
        self.stats.refused_for_memory += 1;
        write_refusal(&mut self.control, 503);
        self.close(CloseReason::OverMemoryBudget);
    }

    fn close(&mut self, reason: CloseReason) {
        if self.life == Life::Over {
            return;
        }
        self.life = Life::Over;
        self.reason = Some(reason);
        let exchange = self.exchange.take();
        self.truncated = exchange.is_some_and(|exchange| exchange.ends_with_the_connection());
        self.wait = Wait::Nothing;
        self.deadline = None;
        self.shutdown_at = None;
    }
}

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
