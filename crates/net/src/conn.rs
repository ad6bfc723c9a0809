//! One connection: its transport, its engine, and where it stands between accept and close.

use std::io;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tidegate_proto::Outbox;

use crate::buffers::Buffers;
use crate::timers::Tick;
use crate::transport::{ReadOutcome, Transport};
use crate::{ConnId, ConnInfo, End, Engine};

/// How long a closed connection still listens for the peer's end, so that the peer can read our last words: closing a
/// socket with unread octets in it makes TCP send a reset, which takes them away from the peer.
const LINGER: Duration = Duration::from_secs(1);

/// Octets that are read and thrown away meanwhile.
const LINGER_OCTETS: usize = 1 << 20;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In the TLS handshake.
    Handshake,
    /// The first octets will tell the protocol.
    Unsure,
    /// The engine has it.
    Open,
    /// The last octets are on their way out; what comes in is thrown away.
    Closing,
}

/// One connection.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) info: ConnInfo,
    pub(crate) phase: Phase,
    pub(crate) transport: Transport,
    /// Present from phase `Open` on.
    pub(crate) engine: Option<Engine>,
    /// What the socket did not take yet.
    pub(crate) outbox: Outbox,
    /// What the engine did not take yet: mostly an unfinished frame.
    left_over: Vec<u8>,

    /// The socket may have octets for us.
    pub(crate) readable: bool,
    /// The socket may take octets from us.
    pub(crate) writable: bool,
    /// The peer's end is in the socket, perhaps behind octets.
    pub(crate) end_is_near: bool,
    /// The peer's end was read.
    pub(crate) eof: bool,
    /// The engine was told of it.
    pub(crate) eof_told: bool,
    /// What is left over waits for the engine, not for the peer.
    pub(crate) stalled: bool,
    /// `Event::Closed` was told.
    pub(crate) over: bool,
    /// close_notify was made, if there is TLS.
    made_close_notify: bool,
    /// Our end was sent.
    sent_end: bool,

    /// On the list of connections whose socket or input waits for us.
    pub(crate) is_ready: bool,
    /// On the list of connections whose engine was touched.
    pub(crate) is_dirty: bool,

    /// Until then the present phase must be over. Not used in phase `Open`.
    pub(crate) deadline: Option<Instant>,
    /// Until then the socket must have taken something.
    pub(crate) write_deadline: Option<Instant>,
    /// When the timers have this connection.
    pub(crate) timer: Option<Tick>,
    linger_octets: usize,
    /// Why it ends; the first reason counts.
    end: Option<End>,
}

impl Conn {
    pub(crate) fn new(
        id: ConnId,
        info: ConnInfo,
        transport: Transport,
        deadline: Option<Instant>,
    ) -> Self {
        let phase = match transport.tls {
            Some(_) => Phase::Handshake,
            None => Phase::Unsure,
        };
        Self {
            id,
            info,
            phase,
            transport,
            engine: None,
            outbox: Outbox::new(),
            left_over: Vec::new(),
            readable: false,
            writable: true,
            end_is_near: false,
            eof: false,
            eof_told: false,
            stalled: false,
            over: false,
            made_close_notify: false,
            sent_end: false,
            is_ready: false,
            is_dirty: false,
            deadline,
            write_deadline: None,
            timer: None,
            linger_octets: LINGER_OCTETS,
            end: None,
        }
    }

    /// Whether the next turn can go on with what is already here.
    pub(crate) fn can_go_on(&self) -> bool {
        let untold = self.eof && !self.eof_told && self.phase == Phase::Open;
        (self.readable || self.stalled || untold) && self.takes_input()
    }

    /// Whether input has somewhere to go.
    pub(crate) fn takes_input(&self) -> bool {
        match (&self.engine, self.phase) {
            (Some(engine), Phase::Open) => engine.can_receive(),
            _ => true,
        }
    }

    /// Fills `buffers.input` with what was left over and, if the socket may have something, what is read from it in one
    /// go. Returns the octets read.
    pub(crate) fn fill(&mut self, buffers: &mut Buffers) -> Result<usize, End> {
        let left_over = std::mem::take(&mut self.left_over);
        if !self.readable || self.eof {
            self.readable = false;
            buffers.clear_input(left_over.len());
            buffers.input.extend_from_slice(&left_over);
            return Ok(0);
        }
        let outcome = self.transport.read(&left_over, buffers)?;
        let count = self.note(outcome);
        if let Some(tls) = &self.transport.tls
            && tls.got_close_notify()
        {
            self.eof = true;
            self.readable = false;
        }
        Ok(count)
    }

    /// Keeps what nobody took of `input`, in memory of just that size.
    pub(crate) fn keep(&mut self, input: &BytesMut) {
        if self.phase == Phase::Closing {
            return;
        }
        self.left_over = input.to_vec();
        self.stalled = !input.is_empty() && !self.takes_input();
    }

    /// Whether the peer's TCP end came without its TLS end.
    pub(crate) fn was_truncated(&self) -> bool {
        let tls = self.transport.tls.as_ref();
        self.eof && tls.is_some_and(|tls| !tls.got_close_notify() && !tls.is_handshaking())
    }

    fn note(&mut self, outcome: ReadOutcome) -> usize {
        match outcome {
            ReadOutcome::Octets { count, more } => {
                self.readable = more || self.end_is_near;
                count
            }
            ReadOutcome::Blocked => {
                self.readable = false;
                self.end_is_near = false;
                0
            }
            ReadOutcome::Eof => {
                self.readable = false;
                self.eof = true;
                0
            }
        }
    }

    /// Writes what waits, as far as the socket takes it. Tells whether all is gone.
    pub(crate) fn flush(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        write_timeout: Duration,
        written: &mut u64,
    ) -> Result<bool, End> {
        if self.outbox.is_empty() && !self.transport.has_pending() {
            return Ok(true);
        }
        if !self.writable {
            return Ok(false);
        }
        let before = *written;
        let all = self
            .transport
            .flush(&mut self.outbox, buffers, now, written)?;
        self.writable = all;
        if all {
            self.write_deadline = None;
        } else if *written > before || self.write_deadline.is_none() {
            self.write_deadline = (!write_timeout.is_zero()).then(|| now + write_timeout);
        }
        Ok(all)
    }

    /// The end begins, for this reason unless there is an earlier one: what waits is still written, then ours is sent
    /// and the peer's awaited.
    pub(crate) fn begin_close(&mut self, end: End) {
        if self.phase == Phase::Closing {
            return;
        }
        if matches!(end, End::TlsFailed(_)) {
            // Only the alert can go out now.
            self.outbox = Outbox::new();
        }
        self.end.get_or_insert(end);
        self.phase = Phase::Closing;
        self.left_over = Vec::new();
        self.stalled = false;
        self.deadline = None;
    }

    /// In phase `Closing`: writes what waits, then sends our end. Tells whether nothing more is to be done.
    pub(crate) fn close(
        &mut self,
        buffers: &mut Buffers,
        now: Instant,
        write_timeout: Duration,
        written: &mut u64,
    ) -> Result<bool, End> {
        if !self.flush(buffers, now, write_timeout, written)? {
            return Ok(false);
        }
        if !self.made_close_notify {
            self.made_close_notify = true;
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
        if !self.sent_end {
            self.sent_end = true;
            self.deadline = Some(now + LINGER);
            if self.transport.socket.shutdown(Shutdown::Write).is_err() {
                return Ok(true);
            }
        }
        Ok(self.eof)
    }

    /// In phase `Closing`: throws away what the peer sends. Tells whether it has been waited for enough.
    pub(crate) fn linger(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let outcome = self.transport.discard(buffers)?;
        let count = self.note(outcome);
        self.linger_octets = self.linger_octets.saturating_sub(count);
        Ok(self.linger_octets == 0 || (self.eof && self.sent_end))
    }

    /// Notes why it ends, unless there is an earlier reason.
    pub(crate) fn set_end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    pub(crate) fn take_end(&mut self) -> End {
        self.end.take().unwrap_or(End::Stopped)
    }

    /// The earliest of the connection's deadlines.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let engine = match (&self.engine, self.phase) {
            (Some(engine), Phase::Open) => engine.next_timeout(),
            _ => None,
        };
        let all = [self.deadline, self.write_deadline, engine];
        all.into_iter().flatten().min()
    }
}
