//! A connection: its sub-states and its public methods. `recv` handles incoming frames, `transmit`
//! produces the output; each concern has a file of its own.

mod audit;
mod body;
mod control;
mod data;
mod discard;
mod ending;
mod excess;
mod fault;
mod field_block;
mod heads;
mod inspect;
mod last_frames;
mod lifetime;
mod memory;
mod messages;
mod origins;
mod ping;
mod preface;
mod priority;
mod probe;
mod push;
mod recv;
mod rest;
mod resting;
mod settings;
mod stall;
mod stream_mut;
mod summary;
mod timer;
mod transmit;
mod unreported;
mod upgrade;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_frame::{ErrorCode, Reader, StreamId};
use tidegate_http::{Age, CloseReason, Config, Holding, Role, Stats, Violation};

use crate::flow::{ConnectionWindow, ReceiveCredit, RoundTrip, SendWindow};
use crate::guard::Guard;
use crate::memory::Memory;
use crate::sched::Scheduler;
use crate::stream::map::StreamMap;
use crate::stream::state::Sender;
use control::Control;
use field_block::FieldBlocks;
pub use field_block::LastBlocks;
pub use inspect::InspectionScope;
use last_frames::LastFrames;
pub use last_frames::{Direction, LastFrame};
use lifetime::Lifetime;
use ping::Pings;
use preface::Preface;
use priority::Signals;
use probe::Probe;
use rest::{Activity, Rest};
pub use resting::Resting;
pub use settings::PeerSettings;
use settings::SettingsState;
use stall::Stalls;
pub use stream_mut::StreamMut;
use timer::{Timer, Timers};
use unreported::Unreported;

/// The most streams that a client opens before it knows the server's limit. Servers rarely allow
/// fewer, for RFC 9113 §6.5.2 recommends "that this value be no smaller than 100"; they refuse the
/// streams above their limit.
const STREAMS_BEFORE_SETTINGS: usize = 100;

/// One HTTP/2 connection, in either role. Owns no socket, clock or thread.
///
/// Its methods come in four kinds: *inputs* that report to the engine, *commands* that control it,
/// *outputs* that must be drained after every input or command, and *getters*.
pub struct Connection {
    pub(crate) role: Role,
    pub(crate) config: Arc<Config>,
    /// The time of the last input, output or [`Connection::set_time`]: commands take no time.
    pub(crate) now: Instant,
    /// The time at which the connection began.
    born: Instant,
    reader: Reader,
    preface: Preface,
    pub(crate) blocks: FieldBlocks,
    pub(crate) settings: SettingsState,
    pub(crate) lifetime: Lifetime,
    pings: Pings,
    probe: Probe,
    unreported: Unreported,
    pub(crate) streams: StreamMap,
    pub(crate) recv_window: ConnectionWindow,
    pub(crate) memory: Memory,
    pub(crate) rtt: RoundTrip,
    pub(crate) send_window: SendWindow,
    pub(crate) sched: Scheduler,
    signals: Signals,
    guard: Guard,
    pub(crate) timers: Timers,
    control: Control,
    last_frames: LastFrames,
    stalls: Stalls,
    rest: Rest,
    activity: Activity,
    pub(crate) stats: Stats,
}

/// Inputs. They never fail: a fatal error becomes state, goes out as GOAWAY and is reported as
/// [`Event::Closed`](crate::Event::Closed).
impl Connection {
    /// Makes the server's end of a new connection.
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(Role::Server, config, now)
    }

    /// Makes the client's end of a new connection.
    pub fn client(config: Arc<Config>, now: Instant) -> Self {
        Self::new(Role::Client, config, now)
    }

    fn new(role: Role, config: Arc<Config>, now: Instant) -> Self {
        let first_local = if role == Role::Client { 1 } else { 2 };
        let mut conn = Self {
            role,
            now,
            born: now,
            reader: Reader::new(config.max_frame_size),
            preface: Preface::new(role),
            blocks: FieldBlocks::new(&config, role),
            settings: SettingsState::new(&config),
            lifetime: Lifetime::new(),
            pings: Pings::default(),
            probe: Probe::new(now),
            unreported: Unreported::default(),
            streams: StreamMap::new(first_local, config.max_concurrent_streams),
            recv_window: ConnectionWindow::new(),
            memory: Memory::new(Holding::new(config.memory_budget.as_ref())),
            rtt: RoundTrip::default(),
            // RFC 9113 §6.9.2: the connection window starts at 65,535, whatever SETTINGS say.
            send_window: SendWindow::new(65_535),
            sched: Scheduler::default(),
            signals: Signals::new(&config, role),
            guard: Guard::new(config.clone(), now),
            timers: Timers::default(),
            control: Control::default(),
            last_frames: LastFrames::default(),
            stalls: Stalls::default(),
            rest: Rest::default(),
            activity: Activity::default(),
            stats: Stats::default(),
            config,
        };
        conn.send_preface();
        conn
    }

    /// Sets the transport's estimate of the round-trip time, such as TCP_INFO's. Without one,
    /// receive windows stay small. [`Connection::wants_rtt`] says when one is useful.
    pub fn observe_rtt(&mut self, rtt: Duration) {
        self.rtt.observe(rtt, self.now);
    }

    /// Sets the time for the commands that follow: their time limits begin at `now`. Without this
    /// call they begin at the last input or output, which may be long ago.
    pub fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time of [`Connection::next_timeout`] has come. Call `receive` and `transmit` afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.guard.resume(now);
        while let Some(timer) = self.timers.pop_expired(now) {
            self.expire(timer);
        }
    }
}

/// Commands.
impl Connection {
    /// Returns a handle to a stream that is open, or that was reset and isn't released yet.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        self.streams.find(id)?;
        Some(StreamMut::new(self, id))
    }
}

/// Outputs. Drain them after every input or command.
impl Connection {
    /// Returns when to call [`Connection::handle_timeout`], if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        let deadlines = [self.timers.next(), self.guard.paused_until()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether `receive` would take input now. While this is false, don't read the transport.
    /// Either too many bytes wait to be written, or the peer has used up a budget of
    /// [`AbuseLimits`](crate::AbuseLimits) and pauses until [`next_timeout`](Self::next_timeout).
    pub fn can_receive(&self) -> bool {
        self.has_room_for_answers() && self.has_memory()
    }

    /// Whether `receive` would take bytes that were read already.
    fn has_room_for_answers(&self) -> bool {
        // RFC 9113 §5.2.2: "Failure to read promptly could lead to a deadlock". If each end waited
        // for the other to read first, neither would. So a client always reads: its peer can't make
        // it send requests.
        let has_room =
            self.role == Role::Client || self.control.len() < self.config.outbound_high_water;
        has_room && self.guard.paused_until().is_none() && !self.lifetime.is_over()
    }
}

/// Getters.
impl Connection {
    /// Returns the connection's role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the connection's counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the sizes of the field blocks that came and went last. Right after
    /// [`Event::Request`](crate::Event::Request) these are the request's; right after a response,
    /// its own. Zeros once the connection has rested.
    pub fn last_blocks(&self) -> LastBlocks {
        self.blocks.last_blocks()
    }

    /// Whether a fresh round-trip time would help an incoming body: after 16 KiB of it, and once
    /// per round trip or 10 ms at most. Call this after each round of `receive`, then look up the
    /// time and call [`Connection::observe_rtt`].
    pub fn wants_rtt(&self) -> bool {
        self.rtt.is_wanted(self.now)
    }

    /// Returns the bytes of heads, small bodies and control frames that wait for
    /// [`Connection::transmit`].
    pub fn unsent(&self) -> usize {
        self.control.len()
    }

    /// Returns what the peer may send now, and the bytes not consumed.
    pub fn receive_credit(&self) -> ReceiveCredit {
        self.recv_window.credit()
    }

    /// Returns the bytes of bodies that the peer's connection window has room for. All streams
    /// share it, whatever their own windows.
    pub fn send_credit(&self) -> usize {
        self.send_window.available()
    }

    /// Returns the settings that the peer announced.
    pub fn peer_settings(&self) -> &PeerSettings {
        &self.settings.peer
    }

    /// Whether the peer's preface has been received: a valid start and its first SETTINGS.
    pub fn is_established(&self) -> bool {
        self.settings.received
    }

    /// Whether a PING that checks the peer ([`Timeouts::probe`](crate::Timeouts::probe)) is
    /// unanswered and nothing else has come in since. New requests then needn't wait for this
    /// connection.
    pub fn awaits_pong(&self) -> bool {
        self.probe.is_unanswered()
    }

    /// Returns how many streams of both ends are open or wait for
    /// [`release`](crate::Stream::release).
    pub fn active_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether `open` could open a stream: the connection is open and the peer's
    /// SETTINGS_MAX_CONCURRENT_STREAMS isn't reached. Before the peer's first SETTINGS that limit
    /// is taken to be 100; [`Event::PeerSettings`](crate::Event::PeerSettings) reports that there
    /// may be room for more.
    pub fn can_open(&self) -> bool {
        let most = if self.is_established() {
            self.settings.peer.max_concurrent_streams as usize
        } else {
            STREAMS_BEFORE_SETTINGS
        };
        self.role == Role::Client
            && !self.lifetime.is_ending()
            && self.streams.opened_by(Sender::Us) < most
            && self.streams.next_local().is_some()
    }

    /// Whether the connection is ending: nothing new is accepted or opened.
    pub fn is_ending(&self) -> bool {
        self.lifetime.is_ending()
    }

    /// Whether [`Event::Closed`](crate::Event::Closed) has been reported or is about to be.
    pub fn is_closed(&self) -> bool {
        self.lifetime.is_over()
    }
}

impl Connection {
    /// Handles a time limit that was reached.
    fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::Handshake => self.close_by_violation(Violation::HandshakeTimedOut),
            Timer::SettingsAck => self.close_by_violation(Violation::SettingsAckTimedOut),
            Timer::HeaderBlock => self.close_by_violation(Violation::HeaderBlockTimedOut),
            Timer::Body => self.expire_bodies(),
            Timer::Discard => self.expire_discards(),
            Timer::Write => self.expire_writes(),
            Timer::Idle => self.expire_idle(),
            Timer::Rest => self.expire_rest(),
            // `transmit` checks the memory again.
            Timer::Memory => {}
            Timer::Probe => self.expire_probe(),
            Timer::SecondGoAway => self.send_second_goaway(),
            Timer::Shutdown => {
                self.close(CloseReason::ShutdownTimedOut, Some(ErrorCode::NO_ERROR));
            }
        }
    }
}

impl Connection {
    /// Returns the connection's age.
    pub(crate) fn age(&self) -> Age {
        Age::new(self.born, self.now)
    }

    /// Notes that a stream was opened: the connection is no longer idle.
    fn wake(&mut self) {
        if self.streams.len() == 1 {
            self.activity = Activity::Busy;
            // The time before the first stream is no silence: nothing was asked of the peer.
            self.probe.begins = true;
        }
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
            .field("role", &self.role)
            .field("lifetime", &self.lifetime)
            .field("streams", &self.streams.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
