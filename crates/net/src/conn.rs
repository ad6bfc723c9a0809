//! One connection: its transport, its engine, and the state of both sides.

use std::io;
use std::time::{Duration, Instant};

use tidegate_http::{Outbox, Stats};
use tidegate_ledger::Refusal;

use crate::admission::{Account, DialAccount, Standing};
use crate::buffers::{Buffers, READ_AT_LEAST, READ_AT_ONCE};
use crate::incoming::{How, Incoming, Input, Waiting};
use crate::left_over::{LeftOver, WaitsFor};
use crate::opening::{Dialling, Opening, Phase, Step};
use crate::outgoing::{Outgoing, Output, WRITE_PROGRESS};
use crate::ready::Ready;
use crate::socket::{ReadOutcome, Socket};
use crate::timers::Tick;
use crate::transport::Transport;
use crate::{ConnId, ConnInfo, End, Engine, Options, Origin, Protocol, Protocols};

/// How much of a connection's events one turn took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The turn took everything that the engine takes now.
    All,
    /// The turn took its share; others are next.
    Enough,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) info: ConnInfo,
    pub(crate) opening: Opening,
    pub(crate) transport: Transport,
    /// Present if the connection was accepted.
    pub(crate) account: Option<Box<Account>>,
    /// Present if the connection was dialled.
    pub(crate) dial_account: Option<Box<DialAccount>>,
    /// Present from phase `Open` on.
    pub(crate) engine: Option<Engine>,
    /// Bytes that the socket hasn't taken.
    pub(crate) outbox: Outbox,
    /// Bytes that the engine hasn't taken, mostly an incomplete frame.
    pub(crate) left_over: LeftOver,

    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Whether the service got `Event::Closed`.
    pub(crate) closed_reported: bool,

    /// Whether the connection is in a queue for its turn.
    pub(crate) is_ready: bool,
    /// Whether the connection is on the list of those to settle.
    pub(crate) is_dirty: bool,
    /// Whether the service wants to see the connection's bytes.
    pub(crate) is_traced: bool,

    /// When the present phase must be over. In phase `Open`, only a graceful
    /// end and a handshake with early data use it.
    pub(crate) deadline: Option<Instant>,
    /// The connection's entry in the timers.
    pub(crate) timer: Option<Tick>,
    /// Present from the first sign of the end on.
    pub(crate) ending: Option<Box<Ending>>,
}

/// The state of a connection that ends.
#[derive(Default)]
pub(crate) struct Ending {
    /// The first reason. The others don't count.
    pub(crate) reason: Option<End>,
    /// Bytes that were thrown away since the end began.
    pub(crate) lingered: u64,
    /// The part of the linger timeout that isn't used yet, once our end was sent.
    pub(crate) linger_left: Option<Duration>,
}

impl Conn {
    /// Makes a connection that was accepted.
    pub(crate) fn accepted(
        id: ConnId,
        info: ConnInfo,
        transport: Transport,
        protocols: Protocols,
        account: Account,
        deadline: Option<Instant>,
    ) -> Self {
        let opening = Opening::accepted(transport.tls.is_some(), protocols);
        let mut conn = Self::new(id, info, transport, opening, deadline);
        conn.account = Some(Box::new(account));
        conn
    }

    /// Makes a connection that is being dialled.
    pub(crate) fn dialled(
        id: ConnId,
        info: ConnInfo,
        transport: Transport,
        dialling: Dialling,
        account: DialAccount,
        deadline: Option<Instant>,
    ) -> Self {
        let opening = Opening::dialled(dialling);
        let mut conn = Self::new(id, info, transport, opening, deadline);
        conn.dial_account = Some(Box::new(account));
        conn
    }

    fn new(
        id: ConnId,
        info: ConnInfo,
        transport: Transport,
        opening: Opening,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            id,
            info,
            transport,
            outgoing: Outgoing::new(!opening.is_dialling()),
            opening,
            account: None,
            dial_account: None,
            engine: None,
            outbox: Outbox::new(),
            left_over: LeftOver::default(),
            incoming: Incoming::Open(Waiting::Nothing),
            closed_reported: false,
            is_ready: false,
            is_dirty: false,
            is_traced: false,
            deadline,
            timer: None,
            ending: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.opening.phase()
    }

    /// Whether there is TLS whose handshake isn't done.
    pub(crate) fn is_handshaking(&self) -> bool {
        let tls = self.transport.tls.as_ref();
        tls.is_some_and(|tls| tls.is_handshaking())
    }

    /// For sockets in memory: returns the changes since the last call.
    pub(crate) fn take_readiness(&mut self) -> Ready {
        match &mut self.transport.socket {
            Socket::Memory(socket) => socket.take_readiness(),
            Socket::Tcp(_) | Socket::Unix(_) => Ready::default(),
        }
    }

    /// Whether the next turn can go on with what is already here.
    pub(crate) fn can_go_on(&self) -> bool {
        match self.left_over.waits_for() {
            WaitsFor::Turn => true,
            WaitsFor::Engine => self.takes_input(),
            WaitsFor::Peer => self.incoming.has_news() && self.takes_input(),
        }
    }

    /// Whether something takes input now.
    pub(crate) fn takes_input(&self) -> bool {
        match (&self.engine, self.phase()) {
            (Some(engine), Phase::Open) => engine.can_receive(),
            (_, Phase::Connecting) => false,
            _ => true,
        }
    }

    /// In phase `ProxyHeader`: takes the header off the socket, if it is whole, and nothing after
    /// it. Returns its length.
    pub(crate) fn take_proxy_header(&mut self) -> Result<Option<usize>, End> {
        let (transport, info) = (&mut self.transport, &mut self.info);
        let is_end_near = self.incoming.is_end_near();
        let opening = &mut self.opening;
        let len = opening.take_proxy_header(transport, info, is_end_near)?;
        if len.is_none() {
            // An event announces the next bytes, although those in the socket were left there.
            self.incoming = self.incoming.on(Input::Empty);
        }
        Ok(len)
    }

    /// In phase `Connecting`: goes on if the server has accepted the connection.
    pub(crate) fn connect(&mut self, buffers: &mut Buffers, notsent_lowat: u32) -> Step {
        let (transport, info, outbox) = (&mut self.transport, &mut self.info, &mut self.outbox);
        let opening = &mut self.opening;
        let step = opening.connect(transport, info, outbox, buffers, notsent_lowat);
        if matches!(step, Step::NeedsMore) && opening.phase() == Phase::Connecting {
            self.outgoing = self.outgoing.on(Output::Blocked(None));
        }
        step
    }

    /// Before phase `Open`: determines the protocol, if the input suffices.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Step {
        let tls = self.transport.tls.as_deref_mut();
        let opening = &mut self.opening;
        opening.advance(tls, &mut self.info, input, self.incoming.has_ended())
    }

    /// Makes the engine, because the protocol is known.
    pub(crate) fn open(&mut self, protocol: Protocol, options: &Options, now: Instant) {
        let has_tls = self.transport.tls.is_some();
        if let Some(account) = &mut self.dial_account {
            account.established();
        }
        self.engine = Some(self.opening.open(protocol, has_tls, options, now));
        self.bill();
    }

    /// Fills `buffers.input` with the bytes left over. If these begin a frame or a head, one read
    /// from the socket is appended. If the engine has declined them, nothing is read, so that the
    /// peer's data waits outside. Returns the bytes read.
    pub(crate) fn fill(&mut self, buffers: &mut Buffers) -> Result<usize, End> {
        if self.left_over.waits_for() != WaitsFor::Peer {
            self.look_for_end();
            self.left_over.lend(&mut buffers.input);
            return Ok(0);
        }
        if !self.incoming.is_readable() {
            self.left_over.lend(&mut buffers.input);
            return Ok(0);
        }
        let most = match &self.engine {
            Some(engine) => engine.receive_room().clamp(READ_AT_LEAST, READ_AT_ONCE),
            None => READ_AT_ONCE,
        };
        let outcome = self.transport.read(self.left_over.bytes(), most, buffers)?;
        self.left_over.clear();
        if outcome == ReadOutcome::Eof && self.outgoing == Outgoing::Broken {
            // The write's error isn't reported again, so the connection may have been reset.
            return Err(End::Io(io::ErrorKind::ConnectionReset.into()));
        }
        let Some(tls) = &self.transport.tls else {
            return Ok(self.note(outcome, How::InOrder));
        };
        let has_notified = tls.got_close_notify();
        let how = if has_notified || tls.is_handshaking() {
            How::InOrder
        } else {
            How::Truncated
        };
        let count = self.note(outcome, how);
        if has_notified {
            self.incoming = self.incoming.on(Input::Eof(How::InOrder));
        }
        Ok(count)
    }

    /// Notes the peer's end if nothing else is in the socket. A write that fails later would hide
    /// that the end was clean. Over TLS that can't be seen.
    fn look_for_end(&mut self) {
        if self.incoming.is_end_near()
            && !self.incoming.has_ended()
            && self.transport.tls.is_none()
            && matches!(self.transport.socket.peek(&mut [0]), Ok(ReadOutcome::Eof))
        {
            self.note(ReadOutcome::Eof, How::InOrder);
        }
    }

    /// Whether bytes or an end of the peer aren't read yet.
    pub(crate) fn has_unread(&self) -> bool {
        let incoming = self.incoming;
        incoming.is_readable() || incoming.is_end_near() || self.left_over.len() > 0
    }

    /// Returns the number of bytes that the engine hasn't taken.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// Tells the engine that the transport brings nothing more, and whether that could be a
    /// truncation.
    pub(crate) fn report_eof(&mut self, now: Instant) {
        let in_order = self.ended_in_order();
        self.incoming = self.incoming.on(Input::Report);
        if let Some(engine) = &mut self.engine {
            if in_order {
                engine.receive_eof(now);
            } else {
                engine.receive_failure(now);
            }
        }
    }

    /// Replaces the engine if the client has upgraded its connection to HTTP/2. Returns the
    /// counters of the old engine.
    pub(crate) fn upgrade(&mut self, now: Instant) -> Option<Stats> {
        let Some(Engine::Http1(http1)) = &mut self.engine else {
            return None;
        };
        let upgrade = http1.take_upgrade()?;
        // Only the 101 waits.
        let _ = http1.transmit(&mut self.outbox, usize::MAX, now);
        let (config, stats) = (http1.config(), *http1.stats());
        let (head, settings) = (upgrade.head, upgrade.settings);
        let engine = tidegate_http2::Connection::server_upgraded(config, head, settings, now);
        self.engine = Some(Engine::Http2(Box::new(engine)));
        self.bill();
        Some(stats)
    }

    /// Keeps the bytes of `buffers.input` that nothing took.
    pub(crate) fn keep(&mut self, buffers: &mut Buffers, taken: Taken) {
        let waits_for = match taken {
            _ if self.phase() == Phase::Closing => return self.left_over.clear(),
            Taken::Enough => WaitsFor::Turn,
            Taken::All if buffers.input.is_empty() || self.takes_input() => WaitsFor::Peer,
            Taken::All => WaitsFor::Engine,
        };
        let memory = buffers.input_memory;
        self.left_over.keep(&mut buffers.input, memory, waits_for);
    }

    /// Returns the bytes of memory of data that the engine or the socket hasn't taken.
    pub(crate) fn buffered(&self) -> usize {
        let unsent = self.engine.as_ref().map_or(0, Engine::unsent);
        self.left_over.memory() + self.outbox.len() + self.transport.pending() + unsent
    }

    /// Notes the result of a read, and returns the bytes read. `how` applies if the read brought
    /// the end.
    #[inline]
    pub(crate) fn note(&mut self, outcome: ReadOutcome, how: How) -> usize {
        match outcome {
            ReadOutcome::Bytes { count, more } => {
                self.incoming = self.incoming.on(Input::Bytes { more });
                return count;
            }
            ReadOutcome::Blocked => self.incoming = self.incoming.on(Input::Empty),
            ReadOutcome::Eof => self.incoming = self.incoming.on(Input::Eof(how)),
        }
        0
    }

    /// Writes data that waits, as far as the socket takes it. Returns whether everything was
    /// written.
    pub(crate) fn flush(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        write_timeout: Duration,
        written: &mut u64,
    ) -> Result<bool, End> {
        if !self.has_unwritten() {
            return Ok(true);
        }
        if self.outgoing.is_blocked() {
            return Ok(false);
        }
        let before = *written;
        let all = self
            .transport
            .flush(&mut self.outbox, buffers, now, written)?;
        if all {
            if self.outgoing.is_stalled() {
                self.outgoing = self.outgoing.on(Output::Flushed);
            }
            return Ok(true);
        }
        // Upstreams are the operator's own.
        let least = match self.info.origin {
            Origin::Accepted => WRITE_PROGRESS,
            Origin::Dialled => 1,
        };
        let taken = *written - before;
        let stall = self.outgoing.stalled(taken, least, write_timeout, now);
        self.outgoing = self.outgoing.on(Output::Blocked(stall));
        Ok(false)
    }

    /// Whether the transport has ended cleanly: without an error, without the chance of a
    /// truncation, and without bytes that the engine won't see.
    fn ended_in_order(&self) -> bool {
        self.incoming.has_ended_in_order() && self.left_over.len() == 0
    }

    pub(crate) fn ending(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    /// Sets why the connection ends, unless there is an earlier reason.
    pub(crate) fn set_end(&mut self, end: End) {
        self.ending().reason.get_or_insert(end);
    }

    pub(crate) fn take_end(&mut self) -> End {
        self.ending().reason.take().unwrap_or(End::Stopped)
    }

    /// Whether data waits that the socket hasn't taken.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.outbox.is_empty() || self.transport.pending() > 0
    }

    /// Returns how much would be lost with the connection, and since when.
    pub(crate) fn standing(&self, now: Instant) -> (Standing, Instant) {
        let is_moving =
            self.is_ready || self.left_over.waits_for() != WaitsFor::Peer || self.has_unwritten();
        match (&self.engine, &self.account) {
            _ if is_moving => (Standing::Busy, now),
            _ if self.phase() == Phase::Closing => (Standing::Silent, self.info.began_at),
            (Some(engine), _) if engine.active_streams() > 0 => (Standing::Busy, now),
            (Some(engine), Some(account)) if engine.requests() > 0 => {
                (Standing::Idle, account.idle_since)
            }
            _ => (Standing::Silent, self.info.began_at),
        }
    }

    /// Whether the client may have the request that has just arrived.
    ///
    /// # Errors
    /// Returns why not.
    pub(crate) fn admit_request(&mut self) -> Result<(), Refusal> {
        match (&self.engine, &mut self.account) {
            (Some(engine), Some(account)) => account.set_requests(engine.active_streams()),
            _ => Ok(()),
        }
    }

    /// Charges the client for the engine, which is new.
    pub(crate) fn bill(&mut self) {
        if let (Some(engine), Some(account)) = (&mut self.engine, &mut self.account) {
            engine.bill(account.client());
            // Returning resources is never refused.
            let _ = account.set_handshake(0);
        }
    }

    /// Updates the connection's account, before the loop turns to others.
    ///
    /// # Errors
    /// Returns why the client may not have the memory of the handshake so far.
    pub(crate) fn settle_account(&mut self, now: Instant) -> Result<(), Refusal> {
        let outside = self.left_over.memory() + self.outbox.len() + self.transport.held_bytes();
        match (&mut self.engine, &mut self.account, self.opening.phase()) {
            (Some(engine), ..) => engine.note_outside(outside as u64),
            (None, Some(account), Phase::Handshake | Phase::Guess) => {
                account.set_handshake(outside)?;
            }
            // A proxy has no share, and a connection that closes is about to give everything back.
            (None, ..) => {}
        }
        if let (Some(engine), Some(account)) = (&self.engine, &mut self.account) {
            // The lease covers the requests that were admitted.
            let _ = account.set_requests(engine.active_streams());
            let requests = engine.requests();
            if requests != account.requests_seen || engine.active_streams() > 0 {
                account.requests_seen = requests;
                account.idle_since = now;
            }
        }
        Ok(())
    }

    /// Returns the earliest of the connection's deadlines.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let engine = match (&self.engine, self.phase()) {
            (Some(engine), Phase::Open) => engine.next_timeout(),
            _ => None,
        };
        let all = [self.deadline, self.outgoing.deadline(), engine];
        all.into_iter().flatten().min()
    }
}
