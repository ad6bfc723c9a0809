//! One connection: a list of sub-states and the public methods. What happens on a frame is in
//! `recv`, what goes out in `send`; each concern has a file of its own.

mod audit;
mod data;
mod ending;
mod excess;
mod field_block;
mod lifetime;
mod memory;
mod messages;
mod ping;
mod priority;
mod probe;
mod push;
mod recv;
mod send;
mod settings;
mod stall;
mod timer;
mod upgrade;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_frame::{ErrorCode, Reader, StreamId};

use crate::config::Config;
use crate::error::{CloseReason, ResetCause, Violation};
use crate::event::Event;
use crate::flow::{ConnectionWindow, Holding, ReceiveCredit, RoundTrip, SendWindow};
use crate::guard::Guard;
use crate::message::RequestHead;
use crate::pace::Age;
use crate::sched::Scheduler;
use crate::stats::Stats;
use crate::stream::StreamMut;
use crate::stream::map::StreamMap;
use crate::stream::state::Sender;
use field_block::FieldBlocks;
use lifetime::Lifetime;
use ping::Pings;
use priority::Signals;
use probe::Probe;
pub use settings::PeerSettings;
use settings::SettingsState;
use stall::Blocked;
use timer::{Timer, Timers};

/// Which end of the connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Opens requests.
    Client,
    /// Answers them, and may push.
    Server,
}

impl Role {
    /// The other end's role.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What [`Connection::transmit`] came to.
#[derive(Debug)]
#[must_use]
pub enum Flow {
    /// Everything that can go out now is in the outbox.
    Drained,
    /// The outbox has no room for what comes next: write out what it has, then call again.
    Full,
    /// The owner is needed, in most cases as [`Event::Writable`]: handle the event, then call
    /// `transmit` again.
    Event(Event),
    /// The last bytes of this connection are in the outbox: write it out, then close the transport.
    Closed,
}

/// One HTTP/2 connection, either role. Owns no socket, clock or thread.
///
/// Methods come in four kinds: *inputs* that tell the engine what happened, *commands* that tell it
/// what to do, *outputs* that must be drained after every input or command, and *getters*.
pub struct Connection {
    pub(crate) role: Role,
    pub(crate) config: Arc<Config>,
    /// The time of the last input or output, or what was told: commands take no time argument.
    pub(crate) now: Instant,
    /// When it began.
    born: Instant,
    reader: Reader,
    /// Bytes of the client's preface that are still to come.
    preface_left: usize,
    pub(crate) blocks: FieldBlocks,
    pub(crate) settings: SettingsState,
    pub(crate) lifetime: Lifetime,
    pings: Pings,
    probe: Probe,
    /// The request that came by HTTP/1.1, until it is told.
    upgrade_request: Option<Box<RequestHead>>,
    pub(crate) streams: StreamMap,
    pub(crate) recv_window: ConnectionWindow,
    pub(crate) memory: memory::Memory,
    pub(crate) rtt: RoundTrip,
    pub(crate) send_window: SendWindow,
    pub(crate) sched: Scheduler,
    signals: Signals,
    guard: Guard,
    pub(crate) timers: Timers,
    /// Frames other than DATA that wait for `transmit`, in the order in which the peer must see
    /// them.
    control: Vec<u8>,
    /// Resets that came of something else than a frame on the stream, still to be told.
    untold: VecDeque<(StreamId, ErrorCode, ResetCause)>,
    /// DATA frames sent, which justify WINDOW_UPDATE and PING frames of the peer.
    data_frames_sent: u64,
    /// DATA frames with bytes that came in, which justify empty ones.
    data_frames_received: u64,
    /// Memory was given back, and nothing has come in since.
    rested: bool,
    /// The peer's connection window holds data up.
    blocked: Option<Blocked>,
    pub(crate) stats: Stats,
}

/// Inputs. They do not fail: a fatal error becomes state, goes out as GOAWAY and comes back as
/// [`Event::Closed`].
impl Connection {
    /// The server's end of a new connection.
    pub fn server(config: Arc<Config>, now: Instant) -> Self {
        Self::new(Role::Server, config, now)
    }

    /// The client's end of a new connection.
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
            preface_left: if role == Role::Server {
                recv::PREFACE.len()
            } else {
                0
            },
            blocks: FieldBlocks::new(&config),
            settings: SettingsState::new(&config),
            lifetime: Lifetime::new(),
            pings: Pings::default(),
            probe: Probe::new(now),
            upgrade_request: None,
            streams: StreamMap::new(first_local, config.max_concurrent_streams),
            recv_window: ConnectionWindow::new(),
            memory: memory::Memory::new(Holding::new(config.memory_budget.as_ref())),
            rtt: RoundTrip::default(),
            // RFC 9113 §6.9.2: the connection window starts at 65,535, whatever SETTINGS say.
            send_window: SendWindow::new(65_535),
            sched: Scheduler::default(),
            signals: Signals::new(&config, role),
            guard: Guard::new(config.clone(), now),
            timers: Timers::default(),
            control: Vec::new(),
            untold: VecDeque::new(),
            data_frames_sent: 0,
            data_frames_received: 0,
            rested: false,
            blocked: None,
            stats: Stats::default(),
            config,
        };
        conn.send_preface();
        conn
    }

    /// The transport's estimate of the round-trip time, such as TCP_INFO's. Without one, receive
    /// windows stay small. [`Connection::wants_rtt`] says when one is of use.
    pub fn observe_rtt(&mut self, rtt: Duration) {
        self.rtt.observe(rtt, self.now);
    }

    /// Tells the time to the commands that follow, which take none: their time limits begin then.
    /// Without it they begin at the last input or output, which may be long ago.
    pub fn tell_time(&mut self, now: Instant) {
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
    /// A handle to a stream that is not over, or that was reset and not yet released.
    pub fn stream(&mut self, id: StreamId) -> Option<StreamMut<'_>> {
        self.streams.find(id)?;
        Some(StreamMut::new(self, id))
    }
}

/// Outputs. Drain them after every input or command.
impl Connection {
    /// When [`Connection::handle_timeout`] wants to be called, if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        let deadlines = [self.timers.next(), self.guard.paused_until()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether `receive` would take input now. While this is false, don't read the transport: too
    /// much waits to be written, or the peer has used up a budget of
    /// [`AbuseLimits`](crate::AbuseLimits) and has to pause, until
    /// [`next_timeout`](Self::next_timeout).
    pub fn can_receive(&self) -> bool {
        self.has_room_for_answers() && self.has_memory()
    }

    /// Whether `receive` would take what was read already.
    fn has_room_for_answers(&self) -> bool {
        // RFC 9113 §5.2.2: "Failure to read promptly could lead to a deadlock". If both ends waited
        // for the other to read before they read themselves, neither would: so a client, whose
        // requests nobody has made it send, always reads.
        let has_room =
            self.role == Role::Client || self.control.len() < self.config.outbound_high_water;
        has_room && self.guard.paused_until().is_none() && !self.lifetime.is_over()
    }
}

/// Getters.
impl Connection {
    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The connection's counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether a body is coming in whose window would follow a fresh round-trip time: after 16 KiB
    /// of it, and once per round trip or 10 ms at most. Ask after each round of `receive`, then
    /// look the time up and call [`Connection::observe_rtt`].
    pub fn wants_rtt(&self) -> bool {
        self.rtt.is_wanted(self.now)
    }

    /// Bytes of heads, small bodies and control frames that wait for [`Connection::transmit`].
    pub fn unsent(&self) -> usize {
        self.control.len()
    }

    /// What the peer may send now, and what of it was not consumed.
    pub fn receive_credit(&self) -> ReceiveCredit {
        self.recv_window.credit()
    }

    /// Bytes of bodies that the peer's window of the connection has room for, whatever those of
    /// streams have: all streams share it.
    pub fn send_credit(&self) -> usize {
        self.send_window.available()
    }

    /// What the peer announced.
    pub fn peer_settings(&self) -> &PeerSettings {
        &self.settings.peer
    }

    /// Whether the peer's preface has been received: a valid start and its first SETTINGS.
    pub fn is_established(&self) -> bool {
        self.settings.received
    }

    /// Whether the peer was asked by PING whether it is still there
    /// ([`Timeouts::probe`](crate::Timeouts::probe)), and has said nothing since. What is opened on
    /// another connection then needn't wait for that.
    pub fn awaits_pong(&self) -> bool {
        self.probe.is_unanswered()
    }

    /// Streams that are open or wait for [`StreamMut::release`], of both ends.
    pub fn active_streams(&self) -> usize {
        self.streams.len()
    }

    /// Whether `open` would find a place: connection alive and the peer's
    /// SETTINGS_MAX_CONCURRENT_STREAMS not reached.
    pub fn can_open(&self) -> bool {
        self.role == Role::Client
            && !self.lifetime.is_ending()
            && self.streams.opened_by(Sender::Us)
                < self.settings.peer.max_concurrent_streams as usize
            && self.streams.next_local().is_some()
    }

    /// Whether the end of the connection has begun: nothing new is accepted or opened.
    pub fn is_ending(&self) -> bool {
        self.lifetime.is_ending()
    }

    /// Whether [`Event::Closed`] has been or is about to be told.
    pub fn is_closed(&self) -> bool {
        self.lifetime.is_over()
    }
}

impl Connection {
    /// A time limit was reached.
    fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::Handshake => self.close_by_violation(Violation::HandshakeTimedOut),
            Timer::SettingsAck => self.close_by_violation(Violation::SettingsAckTimedOut),
            Timer::HeaderBlock => self.close_by_violation(Violation::HeaderBlockTimedOut),
            Timer::Body => self.expire_bodies(),
            Timer::Discard => self.expire_discards(),
            Timer::Write => self.expire_writes(),
            Timer::Idle => self.close(CloseReason::Idle, Some(ErrorCode::NO_ERROR)),
            Timer::Rest => self.rest(),
            // `transmit` looks again whether there is memory.
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
    /// How old the connection is.
    pub(crate) fn age(&self) -> Age {
        Age::new(self.born, self.now)
    }

    /// A stream was opened: the connection is idle no longer.
    fn wake(&mut self) {
        self.timers.clear(Timer::Idle);
        if self.streams.len() == 1 {
            self.timers.clear(Timer::Rest);
            // What was before its first stream is no silence: nobody was asked anything.
            self.probe.begins = true;
        }
    }

    /// Gives back the memory that a connection with no streams, or few, has no use for.
    fn rest(&mut self) {
        self.rested = true;
        if self.control.is_empty() {
            self.control = Vec::new();
        }
        if self.streams.is_empty() {
            self.streams.release_memory();
            self.sched.release_memory();
        } else if self.streams.is_sparse() {
            self.compact();
        }
        self.untold.shrink_to_fit();
        self.blocks.release_memory();
    }

    /// Moves the few streams that are left of many together. The slots of a dependency tree stay as
    /// they are: it is on for clients of the past only, and knows idle streams too.
    fn compact(&mut self) {
        if !self.sched.has_tree() {
            let ready = self.sched.forget_slots();
            let mut now_at: HashMap<usize, usize> = HashMap::new();
            self.streams.compact(|from, to| {
                now_at.insert(from, to);
            });
            for slot in ready {
                let slot = now_at.get(&slot).copied().unwrap_or(slot);
                self.sched.insert(slot, self.streams.get(slot).priority);
            }
        }
        self.streams.release_memory();
    }
}

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
mod tests {
    use bytes::{Buf, Bytes, BytesMut};

    use super::*;
    use crate::message::{Body, ResponseHead};
    use crate::outbox::Outbox;

    /// Two engines, and what each has told its owner so far.
    struct Both {
        client: Connection,
        server: Connection,
        now: Instant,
    }

    impl Both {
        fn new(streams: u32) -> Self {
            let now = crate::testing::some_start();
            let mut config = Config::server();
            config.max_concurrent_streams = streams;
            let client = Connection::client(Config::client().build().unwrap(), now);
            let server = Connection::server(config.build().unwrap(), now);
            let mut both = Self {
                client,
                server,
                now,
            };
            both.run();
            both
        }

        /// Carries bytes both ways until none are left. Body bytes that the client got.
        fn run(&mut self) -> usize {
            let mut got = 0;
            for _ in 0..100 {
                let mut wire = transmitted(&mut self.client, self.now);
                while self.server.receive(&mut wire, self.now).is_some() {}
                let mut wire = transmitted(&mut self.server, self.now);
                while let Some(event) = self.client.receive(&mut wire, self.now) {
                    if let Event::Data { id, data, .. } = event {
                        got += data.len();
                        if let Some(mut stream) = self.client.stream(id) {
                            stream.consume(data.len());
                        }
                    }
                }
                self.server.audit().unwrap();
            }
            got
        }
    }

    fn transmitted(conn: &mut Connection, now: Instant) -> BytesMut {
        let (mut out, mut wire) = (Outbox::new(), BytesMut::new());
        while let Flow::Event(_) = conn.transmit(&mut out, usize::MAX, now) {}
        while out.has_remaining() {
            let len = out.chunk().len();
            wire.extend_from_slice(out.chunk());
            out.advance(len);
        }
        wire
    }

    #[test]
    fn few_streams_that_are_left_of_many_keep_little_memory() {
        keep_little_memory(60, Shrinks::AfterARest);
        keep_little_memory(1000, Shrinks::AtOnce);
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Shrinks {
        AtOnce,
        AfterARest,
    }

    /// All but three of `number` streams end. The three stay whichever slots they have, and whether
    /// or not they wait for their turn.
    fn keep_little_memory(number: usize, shrinks: Shrinks) {
        let mut both = Both::new(u32::try_from(number).unwrap());
        let head = RequestHead::new("GET", "https", "localhost", "/");
        let open = |_| both.client.open(&head, Body::Empty).unwrap();
        let ids: Vec<StreamId> = (0..number).map(open).collect();
        both.run();
        let left = [0, number / 2, number - 1].map(|at| ids[at]);
        let head = ResponseHead::new(200);
        for id in &ids {
            let body = match left.contains(id) {
                true => Body::Full(Bytes::from(vec![b'x'; 40_000])),
                false => Body::Empty,
            };
            let mut stream = both.server.stream(*id).unwrap();
            stream.respond(&head, body).unwrap();
        }
        // The connection's window doesn't take all of it.
        both.server.send_window = SendWindow::new(30_000);
        let first = transmitted(&mut both.server, both.now);
        assert_eq!(both.server.sched.check().unwrap().len(), 3);
        assert_eq!(both.server.active_streams(), 3);
        if shrinks == Shrinks::AfterARest {
            assert!(both.server.streams.is_sparse());
            let due = both.server.next_timeout().unwrap();
            assert_eq!(due, both.now + Duration::from_secs(1));
            both.now = due;
            both.server.handle_timeout(due);
        }
        assert_eq!(both.server.sched.check().unwrap(), [0, 1, 2]);
        assert!(!both.server.streams.is_sparse());
        both.server.audit().unwrap();
        // What they were about goes on.
        both.server.send_window = SendWindow::new(1 << 20);
        let mut wire = first;
        let mut got = 0;
        while let Some(event) = both.client.receive(&mut wire, both.now) {
            if let Event::Data { id, data, .. } = event {
                got += data.len();
                if let Some(mut stream) = both.client.stream(id) {
                    stream.consume(data.len());
                }
            }
        }
        got += both.run();
        assert_eq!(got, 120_000);
        assert_eq!(both.server.active_streams(), 0);
    }
}
