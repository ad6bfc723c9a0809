//! One connection: its transport, its engine, and where it stands between accept, or dial, and close.

use std::io;
use std::time::{Duration, Instant};

use tidegate_http::{Outbox, Stats};
use tidegate_ledger::Refusal;

use crate::admission::{Account, DialAccount, Standing};
use crate::buffers::Buffers;
use crate::incoming::{How, Incoming, Input, Waiting};
use crate::left_over::{LeftOver, WaitsFor};
use crate::opening::{Dialling, Opening, Phase, Step};
use crate::outgoing::{Outgoing, Output, WRITE_PROGRESS};
use crate::ready::Ready;
use crate::socket::{ReadOutcome, Socket};
use crate::timers::Tick;
use crate::transport::Transport;
use crate::{ConnId, ConnInfo, End, Engine, Options, Origin, Protocol};

/// How long a closed connection still listens for the peer's end, so that the peer can read our last words: closing a
/// socket with unread octets in it makes TCP send a reset, which takes them away from the peer.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes that buy another second, where what comes is the rest of a request of HTTP/1.1.
const LINGER_RATE: u64 = 1 << 10;

/// Bytes that are read and thrown away elsewhere: a peer that goes on after GOAWAY has a stream for each request, and needn't be
/// heard to its end.
const LINGER_BYTES: u64 = 1 << 20;

/// How much of what a connection had to tell was taken in one turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All that the engine takes now.
    All,
    /// As much as a turn may take: others are next.
    Enough,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) info: ConnInfo,
    pub(crate) opening: Opening,
    pub(crate) transport: Transport,
    /// Present if it was accepted.
    pub(crate) account: Option<Box<Account>>,
    /// Present if it was dialled.
    pub(crate) dial_account: Option<Box<DialAccount>>,
    /// Present from phase `Open` on.
    pub(crate) engine: Option<Engine>,
    /// What the socket did not take yet.
    pub(crate) outbox: Outbox,
    /// What the engine did not take yet: mostly an unfinished frame.
    left_over: LeftOver,

    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    /// Whether the service got `Event::Closed`.
    pub(crate) closed_reported: bool,

    /// On the list of connections whose socket or input waits for us.
    pub(crate) is_ready: bool,
    /// On the list of connections whose engine was touched.
    pub(crate) is_dirty: bool,

    /// Until then the present phase must be over. Not used in phase `Open`.
    pub(crate) deadline: Option<Instant>,
    /// When the timers have this connection.
    pub(crate) timer: Option<Tick>,
    /// Bytes that were thrown away since the end began.
    lingered: u64,
    /// What of the linger timeout isn't bought yet, once the end was sent.
    linger_left: Option<Duration>,
    /// Why it ends; the first reason counts.
    end: Option<End>,
}

impl Conn {
    /// A connection that was accepted.
    pub(crate) fn accepted(
        id: ConnId,
        info: ConnInfo,
        transport: Transport,
        account: Account,
        deadline: Option<Instant>,
    ) -> Self {
        let opening = Opening::accepted(transport.tls.is_some());
        let mut conn = Self::new(id, info, transport, opening, deadline);
        conn.account = Some(Box::new(account));
        conn
    }

    /// A connection that is being established.
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
            deadline,
            timer: None,
            lingered: 0,
            linger_left: None,
            end: None,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.opening.phase()
    }

    /// For sockets in memory: what has changed since the last call.
    pub(crate) fn take_readiness(&mut self) -> Ready {
        match &mut self.transport.socket {
            Socket::Memory(socket) => socket.take_readiness(),
            Socket::Tcp(_) => Ready::default(),
        }
    }

    /// Whether the next turn can go on with what is already here.
    pub(crate) fn can_go_on(&self) -> bool {
        match self.left_over.waits_for() {
            WaitsFor::Turn => true,
            WaitsFor::Engine => self.takes_input(),
            WaitsFor::Peer => {
                let incoming = self.incoming;
                (incoming.is_readable() || incoming.is_unreported()) && self.takes_input()
            }
        }
    }

    /// Whether input has somewhere to go.
    pub(crate) fn takes_input(&self) -> bool {
        match (&self.engine, self.phase()) {
            (Some(engine), Phase::Open) => engine.can_receive(),
            (_, Phase::Connecting) => false,
            _ => true,
        }
    }

    /// In phase `ProxyHeader`: takes the header off the socket, if it is whole, and returns its length. Nothing behind it is read.
    pub(crate) fn take_proxy_header(&mut self) -> Result<Option<usize>, End> {
        let (transport, info) = (&mut self.transport, &mut self.info);
        let is_end_near = self.incoming.is_end_near();
        let opening = &mut self.opening;
        let len = opening.take_proxy_header(transport, info, is_end_near)?;
        if len.is_none() {
            // What comes next is told as an event, though what is there was left there.
            self.incoming = self.incoming.on(Input::Empty);
        }
        Ok(len)
    }

    /// In phase `Connecting`: goes on if the other end has accepted the connection.
    pub(crate) fn connect(&mut self, buffers: &mut Buffers, notsent_lowat: u32) -> Step {
        let (transport, info, outbox) = (&mut self.transport, &mut self.info, &mut self.outbox);
        let opening = &mut self.opening;
        let step = opening.connect(transport, info, outbox, buffers, notsent_lowat);
        if matches!(step, Step::NeedsMore) && opening.phase() == Phase::Connecting {
            self.outgoing = self.outgoing.on(Output::Blocked(None));
        }
        step
    }

    /// Before phase `Open`: finds out the protocol, if what came so far tells.
    pub(crate) fn advance(&mut self, input: &[u8]) -> Step {
        let tls = self.transport.tls.as_deref_mut();
        let opening = &mut self.opening;
        opening.advance(tls, &mut self.info, input, self.incoming.has_ended())
    }

    /// The protocol is known, so there is an engine.
    pub(crate) fn open(&mut self, protocol: Protocol, options: &Options, now: Instant) {
        let has_tls = self.transport.tls.is_some();
        if let Some(account) = &mut self.dial_account {
            account.established();
        }
        self.engine = Some(self.opening.open(protocol, has_tls, options, now));
        self.bill();
    }

    /// Fills `buffers.input` with what was left over. Behind the beginning of a frame or a head comes
    /// what is read in one go, if the socket may have something; behind what the engine has declined
    /// nothing is read, so that what a peer sends waits outside. Returns the bytes read.
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
        let outcome = self.transport.read(self.left_over.bytes(), buffers)?;
        self.left_over.clear();
        if outcome == ReadOutcome::Eof && self.outgoing == Outgoing::Broken {
            // What was told as an error of the write isn't told again, so it may as well have been a reset.
            return Err(End::Io(io::ErrorKind::ConnectionReset.into()));
        }
        let tls = self.transport.tls.as_ref();
        let has_notified = tls.is_some_and(|tls| tls.got_close_notify());
        let how = if !has_notified && tls.is_some_and(|tls| !tls.is_handshaking()) {
            How::Truncated
        } else {
            How::InOrder
        };
        let count = self.note(outcome, how);
        if has_notified {
            self.incoming = self.incoming.on(Input::Eof(How::InOrder));
        }
        Ok(count)
    }

    /// Notes the peer's end if that is all there is in the socket: a write that fails later would hide
    /// that it came in order. Over TLS that can't be told.
    fn look_for_end(&mut self) {
        if self.incoming.is_end_near()
            && !self.incoming.has_ended()
            && self.transport.tls.is_none()
            && matches!(self.transport.socket.peek(&mut [0]), Ok(ReadOutcome::Eof))
        {
            self.note(ReadOutcome::Eof, How::InOrder);
        }
    }

    /// Whether the peer has said something, or has ended, that isn't read yet.
    pub(crate) fn has_unread(&self) -> bool {
        let incoming = self.incoming;
        incoming.is_readable() || incoming.is_end_near() || self.left_over.len() > 0
    }

    /// Octets that the engine did not take yet.
    pub(crate) fn left_over(&self) -> usize {
        self.left_over.len()
    }

    /// Tells the engine that the transport brings nothing more, and whether that could be a truncation.
    pub(crate) fn tell_eof(&mut self, now: Instant) {
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

    /// If the client has upgraded its connection to HTTP/2, that goes on with another engine. What the former one has counted.
    pub(crate) fn upgrade(&mut self, now: Instant) -> Option<Stats> {
        let Some(Engine::Http1(http1)) = &mut self.engine else {
            return None;
        };
        let upgrade = http1.take_upgrade()?;
        // The 101 is all that waits.
        let _ = http1.transmit(&mut self.outbox, usize::MAX, now);
        let (config, stats) = (http1.config(), *http1.stats());
        let (head, settings) = (upgrade.head, upgrade.settings);
        let engine = tidegate_http2::Connection::server_upgraded(config, head, settings, now);
        self.engine = Some(Engine::Http2(engine));
        self.bill();
        Some(stats)
    }

    /// Keeps what nobody took of `buffers.input`.
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

    /// Bytes of memory that hold what the engine has not taken and what the socket has not taken.
    pub(crate) fn buffered(&self) -> usize {
        let unsent = self.engine.as_ref().map_or(0, Engine::unsent);
        self.left_over.memory() + self.outbox.len() + self.transport.pending() + unsent
    }

    /// Notes what a read came to, and returns the bytes read. The end, if it came, came in this way.
    fn note(&mut self, outcome: ReadOutcome, how: How) -> usize {
        let (input, count) = match outcome {
            ReadOutcome::Octets { count, more } => (Input::Bytes { more }, count),
            ReadOutcome::Blocked => (Input::Empty, 0),
            ReadOutcome::Eof => (Input::Eof(how), 0),
        };
        self.incoming = self.incoming.on(input);
        count
    }

    /// Writes what waits, as far as the socket takes it. Tells whether all is gone.
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
            self.outgoing = self.outgoing.on(Output::Flushed);
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

    /// Writing has failed. Returns whether the connection goes on without: what a server has said before it closed, such as that it
    /// doesn't want all of an upload, is still in the socket.
    pub(crate) fn stop_writing(&mut self, now: Instant) -> bool {
        let (Some(engine), Phase::Open) = (&mut self.engine, self.opening.phase()) else {
            return false;
        };
        if self.outgoing == Outgoing::Broken || !engine.is_client() {
            return false;
        }
        // Nothing new may be asked here.
        engine.shut_down(now);
        self.outgoing = self.outgoing.on(Output::Fail);
        self.incoming = self.incoming.on(Input::Event { end: true });
        true
    }

    /// Whether nothing more comes of a connection that can't be written to.
    pub(crate) fn has_said_all(&self) -> bool {
        let waits = self.incoming.is_readable() || self.left_over.waits_for() != WaitsFor::Peer;
        let is_drained = !waits && !self.incoming.is_unreported();
        let asks_nothing = |engine: &Engine| engine.active_streams() == 0;
        is_drained || self.closed_reported || self.engine.as_ref().is_none_or(asks_nothing)
    }

    /// The end begins, for this reason unless there is an earlier one: what waits is still written, then ours is sent
    /// and the peer's awaited.
    pub(crate) fn begin_close(&mut self, end: End) {
        if !self.opening.close() {
            return;
        }
        if matches!(end, End::TlsFailed(_)) {
            // Only the alert can go out now.
            self.outbox = Outbox::new();
        }
        self.end.get_or_insert(end);
        self.incoming = self.incoming.on(Input::Discard);
        self.left_over.clear();
        self.deadline = None;
    }

    /// A client has sent HTTP in cleartext where TLS was to begin: it gets this answer in cleartext,
    /// then the end.
    pub(crate) fn answer_in_cleartext(&mut self, answer: &[u8]) {
        self.transport.tls = None;
        self.outbox.tail().extend_from_slice(answer);
        self.begin_close(End::HttpOnTlsPort);
    }

    /// In phase `Closing`: writes what waits, then sends our end. Tells whether nothing more is to be done.
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
        if self.linger_left.is_none() {
            self.deadline = Some(now + LINGER);
            self.linger_left = Some(linger_timeout.saturating_sub(LINGER));
        }
        Ok(self.incoming.has_ended())
    }

    /// Writes what waits, then our end. Tells whether that is gone too.
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
            // After a failure of TLS, an alert went out in place of close_notify.
            if let Some(tls) = &mut self.transport.tls
                && !matches!(self.end, Some(End::TlsFailed(_)))
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

    /// In phase `Closing`: throws away what the peer sends. Tells whether it has been waited for enough.
    pub(crate) fn linger(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let outcome = self.transport.discard(buffers)?;
        let count = self.note(outcome, How::InOrder) as u64;
        self.lingered += count;
        let is_request =
            |engine: &Engine| engine.protocol() == Protocol::Http1 && !engine.is_client();
        let is_request = self.engine.as_ref().is_some_and(is_request);
        if let (Some(deadline), Some(left)) = (&mut self.deadline, &mut self.linger_left)
            && is_request
        {
            let bought = Duration::from_millis(count * 1000 / LINGER_RATE).min(*left);
            *left -= bought;
            *deadline += bought;
        }
        let is_enough = !is_request && self.lingered > LINGER_BYTES;
        let is_over = self.incoming.has_ended() && self.outgoing == Outgoing::Ended;
        Ok(is_enough || is_over)
    }

    /// Whether the transport has ended, and in order: neither by an error nor in a way that could be a truncation, nor is anything
    /// left that the engine will not see.
    fn ended_in_order(&self) -> bool {
        self.incoming.has_ended_in_order() && self.left_over.len() == 0
    }

    /// Notes why it ends, unless there is an earlier reason.
    pub(crate) fn set_end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    pub(crate) fn take_end(&mut self) -> End {
        self.end.take().unwrap_or(End::Stopped)
    }

    /// Whether octets wait that the socket hasn't taken.
    pub(crate) fn has_unwritten(&self) -> bool {
        !self.outbox.is_empty() || self.transport.pending() > 0
    }

    /// How much would be lost with it, and since when that is so.
    pub(crate) fn standing(&self, now: Instant) -> (Standing, Instant) {
        let is_moving =
            self.is_ready || self.left_over.waits_for() != WaitsFor::Peer || self.has_unwritten();
        match (&self.engine, &self.account) {
            _ if is_moving => (Standing::Busy, now),
            _ if self.phase() == Phase::Closing => (Standing::Silent, self.info.began_at),
            (Some(engine), _) if engine.active_streams() > 0 => (Standing::Busy, now),
            (Some(engine), Some(account)) if engine.stats().requests > 0 => {
                (Standing::Idle, account.idle_since)
            }
            _ => (Standing::Silent, self.info.began_at),
        }
    }

    /// Whether its client may have the request that has just come.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit_request(&mut self) -> Result<(), Refusal> {
        match (&self.engine, &mut self.account) {
            (Some(engine), Some(account)) => account.set_requests(engine.active_streams()),
            _ => Ok(()),
        }
    }

    /// Its engine is there, or another one: its client pays for what that holds.
    pub(crate) fn bill(&mut self) {
        if let (Some(engine), Some(account)) = (&mut self.engine, &mut self.account) {
            engine.bill(account.client());
            // Giving back is never refused.
            let _ = account.set_handshake(0);
        }
    }

    /// Notes in its account what it does now, before the loop turns to others.
    ///
    /// # Errors
    /// Why its client may not have what the handshake has brought so far.
    pub(crate) fn settle_account(&mut self, now: Instant) -> Result<(), Refusal> {
        let outside = self.left_over.memory() + self.outbox.len() + self.transport.held_bytes();
        match (&mut self.engine, &mut self.account, self.opening.phase()) {
            (Some(engine), ..) => engine.note_outside(outside as u64),
            (None, Some(account), Phase::Handshake | Phase::Guess) => {
                account.set_handshake(outside)?;
            }
            // A proxy has no share, and what closes is on its way out.
            (None, ..) => {}
        }
        if let (Some(engine), Some(account)) = (&self.engine, &mut self.account) {
            // Those that were let in are fewer than the lease says, or as many.
            let _ = account.set_requests(engine.active_streams());
            let requests = engine.stats().requests;
            if requests != account.requests_seen || engine.active_streams() > 0 {
                account.requests_seen = requests;
                account.idle_since = now;
            }
        }
        Ok(())
    }

    /// The earliest of the connection's deadlines.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let engine = match (&self.engine, self.phase()) {
            (Some(engine), Phase::Open) => engine.next_timeout(),
            _ => None,
        };
        let all = [self.deadline, self.outgoing.deadline(), engine];
        all.into_iter().flatten().min()
    }
}
