//! A seeded simulator: a client engine and a server engine with a bad network between them and
//! unpredictable owners on top.
//!
//! One seed decides everything: settings (windows from 0 to 2^31-1), the network (delay, capacity,
//! stalls, a cut, input split at every byte), the messages (1xx, bodies, trailers, tunnels, pushes,
//! resets), when the owners write, consume and release, and how the connection ends (gracefully by
//! either or both ends, by an error, cut off). A third party inserts PING, SETTINGS and priority
//! frames on the way, and dependencies into HEADERS. The checks:
//!
//! - every head, body and trailer section arrives as it was sent: no byte lost, doubled or moved;
//! - honest peers never accuse each other of a [`Violation`](tidegate_http::Violation);
//! - the frames on the wire obey RFC 9113's rules on windows, states and counts (an independent
//!   accountant checks that);
//! - each engine's own books add up ([`Connection::audit`]);
//! - events come in their order, each at most as often as allowed, and none after a stream's end;
//! - nothing hangs: when nothing moves any longer, everything is finished, or waits for a window
//!   that is meant to be closed;
//! - at the end all flow-control credit is returned, and both ends close gracefully.
//!
//! [`run`] panics when a check fails; the same seed fails in the same way again.
//!
//! A plan can also be written ([`Plan::quiet`]): a test lists settings, messages and faults, and
//! the same checks hold. A seed that failed becomes a regression test in this way.

mod app;
mod ledger;
mod link;
mod plan;
mod recording;
mod report;
mod scenario;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http::{ErrorCode, Event, Flow, Outbox};
use tidegate_http2::Connection;
use tidegate_trace::Values;

use crate::rng::Rng;
use crate::sim::app::Exchange;
use crate::sim::ledger::{Ledger, Note};
use crate::sim::link::Link;
use crate::sim::recording::Recording;
use crate::wire;

pub use crate::sim::plan::{
    Answer, BodyPlan, ExchangePlan, LinkPlan, MessagePlan, Plan, ResetPoint, Signals, Split,
};
pub use crate::sim::report::Report;

/// The time limits of most engines here.
const OUT_OF_SIGHT: Duration = Duration::from_secs(1000 * 3600);

/// Bytes that a lease may be more than what is held: two batches.
const BATCHES: u64 = 8 << 10;

/// The number of streams up to which all are checked after every step.
const CROWD: u64 = 32;

/// The reason that an owner gives when it ends its connection.
const ABORTED: &str = "the owner can't go on";

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Runs one seed. With `verbose`, prints the events to standard output.
///
/// # Panics
/// Panics when a check fails.
pub fn run(seed: u64, verbose: bool) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::drawn(&mut rng);
    play(plan, rng, verbose)
}

/// Runs one seed like [`run`], and writes a trace of the server to `file`, also of a seed that
/// fails.
///
/// # Panics
/// Panics when a check fails.
pub fn run_traced(seed: u64, values: Values, file: &Arc<Mutex<String>>) -> Report {
    let mut rng = Rng::new(seed);
    let plan = Plan::drawn(&mut rng);
    println!("{plan:#?}");
    play_traced(plan, (rng, true), values, file)
}

/// Runs one seed with another network, which takes all that the server sends at once, and replays
/// its trace. Where output waits for the network, a trace doesn't show when the owner made it.
///
/// # Errors
/// Sentences about where the engine does otherwise than recorded.
///
/// # Panics
/// Panics when a check fails.
pub fn replay(seed: u64, values: Values) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let mut plan = Plan::drawn(&mut rng);
    plan.outbox_limit = usize::MAX;
    let file = Arc::default();
    play_traced(plan, (rng, false), values, &file);
    let file = file.lock().unwrap_or_else(PoisonError::into_inner);
    crate::trace::agrees(file.as_bytes())
}

fn play_traced(
    plan: Plan,
    (rng, verbose): (Rng, bool),
    values: Values,
    file: &Arc<Mutex<String>>,
) -> Report {
    let recording = Recording::new(&plan.server, values, Arc::clone(file));
    let mut sim = Sim::new(plan, rng, verbose);
    sim.recording = Some(recording);
    sim.run();
    sim.report
}

/// Runs a plan. `rng` draws what it leaves open.
fn play(plan: Plan, rng: Rng, verbose: bool) -> Report {
    if verbose {
        println!("{plan:#?}");
    }
    let budgets = [&plan.client, &plan.server].map(|config| config.memory_budget.clone());
    let mut sim = Sim::new(plan, rng, verbose);
    sim.run();
    let report = sim.report;
    // Bytes that waited for a peer that is gone are dropped with the engine.
    drop(sim);
    for budget in budgets.iter().flatten() {
        assert_eq!(budget.held(), 0, "not all was given back");
    }
    report
}

/// One end of the connection.
struct End {
    engine: Connection,
    input: BytesMut,
    outbox: Outbox,
    /// The exchanges by stream.
    by_id: HashMap<u32, usize>,
    /// Whether `transmit` returned that nothing follows.
    flow_closed: bool,
    /// Whether the end was reported to the owner.
    told_closed: bool,
    /// Whether the transport has ended.
    eof: bool,
    /// Whether PeerSettings was reported.
    has_settings: bool,
    /// PING payloads and SETTINGS that a third party sent in this end's name, whose answers it must
    /// not see.
    ghost_pings: Vec<[u8; 8]>,
    /// For each SETTINGS that has reached or will reach the other end: whether a third party sent
    /// it.
    ghost_settings: VecDeque<bool>,
    /// Whether this end began a graceful end.
    shutting: bool,
    /// The code with which this end's owner ended the connection.
    aborted: Option<ErrorCode>,
    /// Whether GOAWAY was reported to the owner.
    going_away: bool,
}

/// A later action of an owner. Only its order in time matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Later {
    Open(usize),
    Respond(usize),
    Write(usize, usize),
    Consume(usize, usize),
    Reset(usize, usize),
    Release(usize, usize),
    ShutDown(usize),
    Abort(usize),
    ChangeWindow(usize, u32),
    Cut,
}

struct Sim {
    rng: Rng,
    plan: Plan,
    ends: [End; 2],
    links: [Link; 2],
    ledger: Ledger,
    exchanges: Vec<Exchange>,
    /// Exchanges that the client wants to open and could not yet.
    waiting: VecDeque<usize>,
    later: BinaryHeap<Reverse<(Duration, u64, Later)>>,
    later_count: u64,
    epoch: Instant,
    now: Duration,
    cut: bool,
    /// Whether the seed is over except for the graceful end.
    ending: bool,
    /// The number of turns with nothing in flight.
    looks: u32,
    /// SETTINGS of a third party that lowered a side's initial window and have to be reverted.
    lowered: [bool; 2],
    verbose: bool,
    audits: u64,
    report: Report,
    recording: Option<Recording>,
}

macro_rules! trace {
    ($sim:expr, $($words:tt)*) => {
        if $sim.verbose {
            println!("{:>12.6} {}", $sim.now.as_secs_f64(), format_args!($($words)*));
        }
    };
}
use trace;

impl Sim {
    fn new(plan: Plan, rng: Rng, verbose: bool) -> Self {
        let epoch = Instant::now();
        let client = plan
            .client
            .clone()
            .build()
            .expect("a seed's config is valid");
        let server = plan
            .server
            .clone()
            .build()
            .expect("a seed's config is valid");
        let end = |engine| End {
            engine,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            by_id: HashMap::new(),
            flow_closed: false,
            told_closed: false,
            eof: false,
            has_settings: false,
            ghost_pings: Vec::new(),
            ghost_settings: VecDeque::new(),
            shutting: false,
            aborted: None,
            going_away: false,
        };
        let mut sim = Self {
            ends: [
                end(Connection::client(Arc::clone(&client), epoch)),
                end(Connection::server(Arc::clone(&server), epoch)),
            ],
            links: [
                Link::new(plan.links[0].clone(), true),
                Link::new(plan.links[1].clone(), false),
            ],
            ledger: Ledger::new(),
            exchanges: plan.exchanges.iter().cloned().map(Exchange::new).collect(),
            waiting: VecDeque::new(),
            later: BinaryHeap::new(),
            later_count: 0,
            epoch,
            now: Duration::ZERO,
            cut: false,
            ending: false,
            looks: 0,
            lowered: [false; 2],
            verbose,
            audits: 0,
            report: Report::default(),
            recording: None,
            rng,
            plan,
        };
        for index in 0..sim.exchanges.len() {
            sim.at(sim.exchanges[index].plan.start, Later::Open(index));
        }
        if let Some(when) = sim.plan.cut {
            sim.at(when, Later::Cut);
        }
        for side in [CLIENT, SERVER] {
            if let Some(when) = sim.plan.shut_downs[side] {
                sim.at(when, Later::ShutDown(side));
            }
        }
        if let Some((when, server)) = sim.plan.abort {
            sim.at(when, Later::Abort(usize::from(server)));
        }
        for (when, side, bytes) in sim.plan.window_changes.clone() {
            sim.at(when, Later::ChangeWindow(side, bytes));
        }
        sim
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    fn at(&mut self, when: Duration, what: Later) {
        self.later_count += 1;
        self.later
            .push(Reverse((when.max(self.now), self.later_count, what)));
    }

    fn run(&mut self) {
        loop {
            self.report.turns += 1;
            assert!(
                self.report.turns < 20_000_000,
                "it goes on and on: {}",
                self.state()
            );
            self.settle();
            self.check_step();
            if self.ends.iter().all(|end| end.told_closed) {
                for end in &self.ends {
                    self.report.windows_grown += end.engine.stats().windows_grown;
                }
                self.check_end();
                return;
            }
            let next = self.next_time();
            let Some(next) = next.filter(|_| !self.only_looks_at_credit()) else {
                self.at_rest();
                continue;
            };
            self.now = self.now.max(next);
            self.fire_timers();
            self.receive();
            self.act();
        }
    }

    /// Whether nothing is pending but timers by which idle engines check repeatedly whether memory
    /// is tight.
    fn only_looks_at_credit(&mut self) -> bool {
        let busy = self.later.peek().is_some() || self.links.iter().any(|link| !link.is_empty());
        if busy {
            self.looks = 0;
        }
        self.looks += 1;
        self.looks > 10
    }

    /// Returns when something happens next.
    fn next_time(&self) -> Option<Duration> {
        let arrivals = (0..2)
            .filter(|side| self.takes_input(*side))
            .filter_map(|side| self.links[1 - side].next_arrival());
        let later = self.later.peek().map(|Reverse((when, _, _))| *when);
        let timers = (0..2).filter_map(|side| self.timer(side));
        arrivals.chain(later).chain(timers).min()
    }

    /// Returns when this side's engine wants to be woken. The limits that a seed sets are too far
    /// away to be reached; nearer times are those that the engine itself waits for.
    fn timer(&self, side: usize) -> Option<Duration> {
        let due = self.ends[side].engine.next_timeout()?;
        let due = due.saturating_duration_since(self.epoch);
        (due < self.now + OUT_OF_SIGHT / 2).then_some(due)
    }

    fn fire_timers(&mut self) {
        let now = self.instant();
        for side in [CLIENT, SERVER] {
            if self.timer(side).is_some_and(|due| due <= self.now) {
                trace!(self, "a timer of {} fires", name(side));
                self.report.timers += 1;
                let end = &mut self.ends[side];
                end.engine.handle_timeout(now);
                self.receive_events(side);
            }
        }
    }

    /// Whether this side reads its transport.
    fn takes_input(&self, side: usize) -> bool {
        let end = &self.ends[side];
        !end.eof && !end.told_closed && end.engine.can_receive()
    }

    /// Delivers the bytes that have arrived.
    fn receive(&mut self) {
        for side in [CLIENT, SERVER] {
            while self.takes_input(side) {
                let limit = match self.plan.links[1 - side].split {
                    Split::Whole => usize::MAX,
                    Split::Random => self.rng.between(1, 5000),
                    Split::EveryByte => 1,
                };
                let Some(bytes) = self.links[1 - side].read(self.now, limit) else {
                    break;
                };
                self.ends[side].input.extend_from_slice(&bytes);
                while let Some(note) = self.links[1 - side].next_note() {
                    trace!(self, "  {} gets {note:?}", name(side));
                    self.ledger.delivered(side, note, &mut self.report);
                }
                self.receive_events(side);
                if self.ends[side].engine.wants_rtt() && self.rng.one_in(2) {
                    let rtt = self.round_trip();
                    self.ends[side].engine.observe_rtt(rtt);
                    self.report.rtts += 1;
                }
                if limit < 5000 && self.rng.one_in(20) {
                    self.settle();
                }
                self.audit(side);
            }
        }
    }

    /// Returns a transport's estimate: both directions, without the jitter.
    fn round_trip(&self) -> Duration {
        self.links.iter().map(|link| link.plan.delay).sum()
    }

    fn receive_events(&mut self, side: usize) {
        let now = self.instant();
        loop {
            let end = &mut self.ends[side];
            let before = (side == SERVER && self.recording.is_some()).then(|| end.input.clone());
            let event = end.engine.receive(&mut end.input, now);
            if let (Some(before), Some(recording)) = (before, &mut self.recording) {
                let taken = before.len() - end.input.len();
                recording.received(self.now, &before[..taken]);
            }
            let Some(event) = event else {
                return;
            };
            self.on_event(side, event);
        }
    }

    /// Performs the actions that are due.
    fn act(&mut self) {
        while let Some(Reverse((when, _, _))) = self.later.peek() {
            if *when > self.now {
                return;
            }
            let Some(Reverse((_, _, what))) = self.later.pop() else {
                return;
            };
            match what {
                Later::Cut => self.cut(),
                Later::ShutDown(side) => self.shut_down(side),
                Later::Abort(side) => self.abort(side),
                Later::ChangeWindow(side, bytes) => self.change_window(side, bytes),
                Later::Open(index) => self.waiting.push_back(index),
                other => self.owner_acts(other),
            }
        }
    }

    /// Moves the output of both ends, as far as the network takes it.
    fn settle(&mut self) {
        loop {
            let mut busy = self.open_waiting();
            for side in [CLIENT, SERVER] {
                // Input may wait because there was too much output.
                self.receive_events(side);
                busy |= self.transmit(side);
                busy |= self.write(side);
            }
            if !busy {
                return;
            }
        }
    }

    fn transmit(&mut self, side: usize) -> bool {
        let now = self.instant();
        let limit = self.plan.outbox_limit;
        let mut busy = false;
        while !self.ends[side].flow_closed && self.ends[side].outbox.len() < limit {
            let end = &mut self.ends[side];
            let before = end.outbox.len();
            let flow = end.engine.transmit(&mut end.outbox, limit, now);
            if side == SERVER
                && let Some(recording) = &mut self.recording
            {
                recording.sent(self.now, &end.outbox, before);
            }
            match flow {
                Flow::Event(event) => {
                    busy = true;
                    self.on_event(side, event);
                }
                Flow::Full => {
                    assert!(!end.outbox.is_empty(), "Full, and nothing to write");
                    return busy || end.outbox.len() > before;
                }
                Flow::Drained => return busy || end.outbox.len() > before,
                Flow::Closed => {
                    end.flow_closed = true;
                    busy = true;
                }
            }
        }
        busy
    }

    /// Moves the outbox's bytes into the network.
    fn write(&mut self, side: usize) -> bool {
        let mut busy = false;
        let other = 1 - side;
        if self.cut || self.ends[other].told_closed {
            // Nobody reads any longer.
            let outbox = &mut self.ends[side].outbox;
            busy |= outbox.has_remaining();
            outbox.advance(outbox.remaining());
            self.links[side].cut();
        }
        loop {
            let room = self.links[side].room();
            let outbox = &mut self.ends[side].outbox;
            if !outbox.has_remaining() || room == 0 {
                break;
            }
            let chunk = outbox.chunk();
            let len = chunk.len().min(room);
            self.links[side].write(&chunk[..len]);
            outbox.advance(len);
            busy = true;
            self.enter_frames(side);
        }
        // The transport closes once all is written; the other end learns of it after the last byte.
        if self.ends[side].flow_closed
            && self.ends[side].outbox.is_empty()
            && self.links[side].is_empty()
            && self.ends[other].input.is_empty()
            && !self.ends[other].eof
        {
            trace!(self, "{} gets the transport's end", name(other));
            self.eof(other);
            busy = true;
        }
        busy
    }

    /// Sends complete frames, and lets a third party insert others.
    fn enter_frames(&mut self, side: usize) {
        while let Some((note, mut bytes)) = self.links[side].next_frame() {
            self.report.frames += 1;
            let payload = bytes.len().saturating_sub(9);
            trace!(self, "{} sends {note:?}", name(side));
            if bytes != wire::PREFACE {
                self.ledger.sent(side, note, payload, &mut self.report);
            }
            if !self.is_for_ghost(side, note) {
                if let Note::Headers { id, .. } = note
                    && side == CLIENT
                    && self.plan.signals.dependencies
                    && self.rng.one_in(2)
                {
                    self.make_dependent(id, &mut bytes);
                }
                self.enter(side, note, bytes);
            }
            let handshaken = self.ends[side].has_settings && self.ends[1 - side].has_settings;
            if handshaken
                && self.plan.intrusion > 0
                && self.links[side].between_frames()
                && !self.ending
                && self.rng.one_in(self.plan.intrusion)
            {
                self.intrude(side);
            }
        }
    }

    fn enter(&mut self, side: usize, note: Note, bytes: Vec<u8>) {
        let most = self.links[side].plan.delay.as_micros() as usize;
        let jitter = Duration::from_micros(self.rng.below(most + 1) as u64);
        let stalled = self.links[side].enter(note, bytes, self.now, jitter);
        self.report.stalled += u64::from(stalled);
    }

    /// Whether this answers a frame that a third party sent in the other side's name.
    fn is_for_ghost(&mut self, side: usize, note: Note) -> bool {
        let other = &mut self.ends[1 - side];
        match note {
            Note::Settings(_) => {
                self.ends[side].ghost_settings.push_back(false);
                false
            }
            Note::SettingsAck => other
                .ghost_settings
                .pop_front()
                .expect("SETTINGS ACK answers SETTINGS"),
            Note::Ping { ack: true, payload } => {
                let ghost = other.ghost_pings.iter().position(|p| *p == payload);
                ghost.map(|place| other.ghost_pings.remove(place)).is_some()
            }
            _ => false,
        }
    }

    /// Returns a stream that the client has opened, or is about to.
    fn any_stream(&mut self) -> u32 {
        let last = self.ledger.last_opened(CLIENT) as usize;
        let newest = self.rng.below(20).min(last / 2);
        (last + 1 - 2 * newest + 2 * self.rng.below(4)) as u32 | 1
    }

    /// Returns a stream to depend on: a known one, none, or one that may not exist.
    fn any_dependency(&mut self, id: u32) -> (u32, bool, u8) {
        let parent = self.any_stream();
        let parent = if parent == id || self.rng.one_in(3) {
            0
        } else {
            parent
        };
        (parent, self.rng.one_in(3), self.rng.below(256) as u8)
    }

    /// Puts a dependency into a HEADERS frame.
    fn make_dependent(&mut self, id: u32, bytes: &mut Vec<u8>) {
        const PADDED_OR_PRIORITY: u8 = 0x28;
        let len = bytes.len() - 9 + 5;
        if bytes[4] & PADDED_OR_PRIORITY != 0 || len > 16_384 {
            return;
        }
        let (parent, exclusive, weight) = self.any_dependency(id);
        bytes[..3].copy_from_slice(&(len as u32).to_be_bytes()[1..]);
        bytes[4] |= 0x20;
        let signal = (parent | u32::from(exclusive) << 31).to_be_bytes();
        bytes.splice(9..9, signal.into_iter().chain([weight]));
        self.report.dependencies += 1;
    }

    /// Sends a priority of a third party in the client's name.
    fn intrude_with_priority(&mut self) {
        let id = self.any_stream();
        let Signals {
            updates,
            dependencies,
            ..
        } = self.plan.signals;
        if dependencies && (!updates || self.rng.one_in(2)) {
            let (parent, exclusive, weight) = self.any_dependency(id);
            self.report.dependencies += 1;
            return self.enter_ghost(CLIENT, &wire::priority(id, parent, exclusive, weight));
        }
        // RFC 9218 §7.1: streams "that have been prioritized but remain in the "idle" state plus
        // the number of active streams" are no more than may be open. There are at most four idle
        // ones here.
        let most = self.plan.server.max_concurrent_streams;
        if updates && self.ledger.open[CLIENT] + 4 < i64::from(most) {
            let value = self.rng.pick(&["u=0", "u=7", "u=2, i", "i", "", "u=x"]);
            self.report.priority_updates += 1;
            self.enter_ghost(CLIENT, &wire::priority_update(id, value));
        }
    }

    /// Sends PING, SETTINGS or a priority of a third party in this side's name. A lowered initial
    /// window is raised again later, so the side itself, which knows nothing of it, only sees a
    /// peer that sends less than it might.
    fn intrude(&mut self, side: usize) {
        let configured = [&self.plan.client, &self.plan.server][side].initial_window_size;
        let Signals {
            updates,
            dependencies,
            ..
        } = self.plan.signals;
        if side == CLIENT && (updates || dependencies) && self.rng.one_in(2) {
            return self.intrude_with_priority();
        }
        let frame = match self.rng.below(3) {
            0 => {
                let payload = self.rng.number().to_be_bytes();
                self.ends[side].ghost_pings.push(payload);
                wire::ping(&payload)
            }
            1 => {
                self.lowered[side] = true;
                let value = match self.rng.below(3) {
                    0 => 0,
                    1 => self.rng.below(configured as usize + 1) as u32,
                    _ => configured / 2,
                };
                wire::settings(&[(4, value)])
            }
            _ => {
                let table = [&self.plan.client, &self.plan.server][side].header_table_size;
                let table = self.rng.below(table as usize + 1) as u32;
                wire::settings(&[(1, table), (0xfafa, 1)])
            }
        };
        self.enter_ghost(side, &frame);
    }

    fn enter_ghost(&mut self, side: usize, frame: &wire::Raw) {
        let bytes = frame.to_bytes();
        let (note, _) = Note::of(&bytes);
        trace!(self, "a third party sends {note:?} for {}", name(side));
        self.report.intrusions += 1;
        if let Note::Settings(_) = note {
            self.ends[side].ghost_settings.push_back(true);
        }
        self.enter(side, note, bytes);
    }

    /// Handles rest: nothing moves any longer. Either that is correct, or somebody hangs.
    fn at_rest(&mut self) {
        for side in [CLIENT, SERVER] {
            let end = &self.ends[side];
            assert!(
                end.told_closed || end.engine.can_receive(),
                "{} takes no input, yet has nothing to send: {}",
                name(side),
                self.state()
            );
            assert!(
                end.outbox.is_empty() && self.links[side].is_empty(),
                "what {} has sent is not taken: {}",
                name(side),
                self.state()
            );
            // Windows that a third party has lowered are raised again.
            if std::mem::take(&mut self.lowered[side]) && !self.ends[1 - side].told_closed {
                let configured = [&self.plan.client, &self.plan.server][side].initial_window_size;
                self.enter_ghost(side, &wire::settings(&[(4, configured)]));
                return;
            }
        }
        if self.give_up_on_shut_windows() {
            return;
        }
        let shutting = self.ends.iter().any(|end| end.shutting);
        assert!(!shutting, "the graceful end hangs: {}", self.state());
        self.check_all_done();
        self.check_credit();
        self.ending = true;
        let side = usize::from(self.plan.server_ends);
        trace!(self, "all done: the {} ends it", name(side));
        self.shut_down(side);
    }

    fn shut_down(&mut self, side: usize) {
        trace!(self, "{} shuts down", name(side));
        let now = self.instant();
        if self.ends[side].told_closed {
            return;
        }
        let busy = self.ends[side].engine.active_streams() > 0;
        self.report.shut_downs[side] += u64::from(busy);
        self.ends[side].shutting = true;
        self.ends[side].engine.shut_down(now);
    }

    /// Ends the connection as an owner that can't go on.
    fn abort(&mut self, side: usize) {
        let code = ErrorCode::INTERNAL_ERROR;
        if self.ends[side].engine.is_closed() {
            return;
        }
        trace!(self, "{} aborts", name(side));
        self.report.aborts += 1;
        self.ends[side].aborted = Some(code);
        self.ends[side].engine.abort(code, ABORTED);
        self.receive_events(side);
    }

    /// Changes the window with which streams begin.
    fn change_window(&mut self, side: usize, bytes: u32) {
        trace!(self, "{} changes its windows to {bytes}", name(side));
        let engine = &mut self.ends[side].engine;
        self.report.window_changes += u64::from(engine.active_streams() > 0);
        engine.set_initial_window_size(bytes);
    }

    fn cut(&mut self) {
        trace!(self, "the network is cut");
        if self.ends.iter().any(|end| end.engine.active_streams() > 0) {
            self.report.cuts += 1;
        }
        self.cut = true;
        for link in &mut self.links {
            link.cut();
        }
        for side in [CLIENT, SERVER] {
            self.eof(side);
        }
    }

    fn eof(&mut self, side: usize) {
        let now = self.instant();
        if !self.ends[side].eof {
            self.ends[side].eof = true;
            self.ends[side].engine.receive_eof(now);
            self.receive_events(side);
        }
    }

    fn check_step(&mut self) {
        self.check_budgets();
        for side in [CLIENT, SERVER] {
            let due = self.ends[side].engine.next_timeout();
            assert!(
                due.is_none_or(|due| due > self.instant()),
                "a timer of {} is overdue",
                name(side)
            );
            self.audit(side);
            let end = &self.ends[side];
            let full = !end.told_closed && !end.engine.can_receive();
            self.report.backpressure += u64::from(full);
        }
        let active = self.ends.iter().map(|end| end.engine.active_streams());
        let most = active.max().unwrap_or(0) as u64;
        self.report.most_streams = self.report.most_streams.max(most);
    }

    /// Checks the engine's own books. That takes time for each stream, so with a crowd it isn't
    /// done after every step; a contradiction stays until then.
    fn audit(&mut self, side: usize) {
        let engine = &self.ends[side].engine;
        self.audits += 1;
        if !self
            .audits
            .is_multiple_of(1 + engine.active_streams() as u64 / CROWD)
        {
            return;
        }
        if let Err(found) = engine.audit() {
            panic!("{}: {found}: {}", name(side), self.state());
        }
    }

    /// After every step, a lease covers what an end holds, and is two batches more at most: a lease
    /// gives back what is more than two, and grows by less than one. How much an end may hold is up
    /// to its owner as well, whose bodies count. What an end lends stays under its budget.
    fn check_budgets(&self) {
        for (side, config) in [&self.plan.client, &self.plan.server]
            .into_iter()
            .enumerate()
        {
            let Some(budget) = &config.memory_budget else {
                continue;
            };
            let end = &self.ends[side];
            let engine = &end.engine;
            let (held, credit) = (engine.held_bytes(), engine.receive_credit());
            // An engine settles its memory when it is asked what there is to send: not while its
            // transport is full.
            if end.outbox.len() < self.plan.outbox_limit && !end.flow_closed {
                assert!(
                    (held..=held + BATCHES).contains(&budget.held()),
                    "{} holds {held}, and has leased something else: {budget:?}",
                    name(side)
                );
            }
            // What SETTINGS promise each stream is the owner's choice, and no loan.
            let changes = !self.plan.window_changes.is_empty();
            let promises = config.initial_window_size > 65_535 || changes;
            assert!(
                promises || budget.lent() <= budget.size(),
                "{} lets its peer send too much: {credit:?}",
                name(side)
            );
        }
    }

    /// Checks at rest that all bytes were consumed, so that nothing is promised, and that a new
    /// stream finds a window.
    fn check_credit(&self) {
        for side in [CLIENT, SERVER] {
            if self.cut || self.ends[side].told_closed {
                continue;
            }
            let credit = self.ends[side].engine.receive_credit();
            assert_eq!(
                credit.available as i64,
                self.ledger.granted(side),
                "{} has lost credit",
                name(side)
            );
            assert_eq!((credit.promised, credit.unconsumed), (0, 0));
            assert!(credit.available >= 32_767, "{credit:?}");
        }
    }

    fn check_end(&self) {
        for config in [&self.plan.client, &self.plan.server] {
            if let Some(budget) = &config.memory_budget {
                assert_eq!(budget.lent(), 0, "not all was given back");
            }
        }
        for side in [CLIENT, SERVER] {
            assert_eq!(
                self.ends[side].engine.next_timeout(),
                None,
                "a closed engine waits for nothing"
            );
        }
    }

    fn state(&self) -> String {
        let mut text = String::new();
        for side in [CLIENT, SERVER] {
            let end = &self.ends[side];
            text += &format!(
                "\n{}: {} streams active, {} bytes of input, {} in the outbox, can_receive {}, closed {}/{}, eof {}",
                name(side),
                end.engine.active_streams(),
                end.input.len(),
                end.outbox.len(),
                end.engine.can_receive(),
                end.flow_closed,
                end.told_closed,
                end.eof,
            );
        }
        for (index, exchange) in self.exchanges.iter().enumerate() {
            if !exchange.is_done() {
                text += &format!("\n{index}: {exchange:?}");
            }
        }
        text.truncate(20_000);
        text
    }

    fn on_event(&mut self, side: usize, event: Event) {
        trace!(self, "    {} is told {event:?}", name(side));
        if side == SERVER
            && let Some(recording) = &mut self.recording
        {
            recording.told(self.now, &event);
        }
        self.owner_is_told(side, event);
    }
}

fn name(side: usize) -> &'static str {
    ["client", "server"][side]
}

#[cfg(test)]
mod tests {
    use super::Report;

    const SEEDS: u64 = 200;

    /// Fewer than `cargo run --release -p sim` runs; a seed that fails is named by the panic.
    #[test]
    fn a_few_hundred_seeds() {
        let mut total = Report::default();
        for seed in 0..SEEDS {
            match std::panic::catch_unwind(|| super::run(seed, false)) {
                Ok(report) => total.add(&report),
                Err(_) => panic!("seed {seed} failed: cargo run --release -p sim -- --seed {seed}"),
            }
        }
        // A simulation in which nothing happens proves nothing.
        for (name, count) in total.rows() {
            assert!(count > 0, "not one of {name} in {SEEDS} seeds");
        }
        assert!(total.most_streams > 1000);
    }

    #[test]
    fn a_seed_runs_the_same_way_every_time() {
        for seed in [1, 20, 300] {
            let first = format!("{:?}", super::run(seed, false));
            assert_eq!(first, format!("{:?}", super::run(seed, false)));
        }
    }
}
