//! A server's connection at rest: what can't be found out anew, in a fifth of the memory.

use std::sync::Arc;
use std::time::Instant;

use tidegate_frame::Reader;
use tidegate_hpack::{Packer, Unpacker};
use tidegate_http::{Config, Holding, Role, Stats};
use tidegate_ledger::Client;

use crate::conn::Connection;
use crate::conn::control::Control;
use crate::conn::field_block::FieldBlocks;
use crate::conn::last_frames::LastFrames;
use crate::conn::lifetime::Lifetime;
use crate::conn::ping::Pings;
use crate::conn::preface::Preface;
use crate::conn::priority::Signals;
use crate::conn::probe::Probe;
use crate::conn::rest::{Activity, Rest};
use crate::conn::settings::SettingsState;
use crate::conn::stall::Stalls;
use crate::conn::timer::Timers;
use crate::conn::unreported::Unreported;
use crate::flow::{ConnectionWindow, RoundTrip, SendWindow};
use crate::guard::Guard;
use crate::memory::Memory;
use crate::sched::{EarlyPriorities, Scheduler};
use crate::stream::map::{Past, StreamMap};

/// A server's [`Connection`] in which nothing is in progress, in as little memory as possible.
/// [`Resting::wake`] makes the connection again, as if it had never rested: with its header
/// compression, its windows and settings, and with the budgets against abuse as they were spent.
pub struct Resting {
    config: Arc<Config>,
    holding: Holding,
    past: Option<Box<Past>>,
    born: Instant,
    /// All else; the deadlines and the counters first. `Connection::pack` has the order.
    packed: Box<[u8]>,
}

impl Connection {
    /// Server: returns the connection at rest, if it has had no stream for a second and nothing is
    /// in progress. Drop what is left of this one then. An owner with many connections calls this
    /// after [`transmit`](Self::transmit); it costs next to nothing if there is no rest.
    #[inline]
    pub fn put_to_rest(&mut self) -> Option<Resting> {
        match self.rest {
            Rest::Done => self.pack(),
            Rest::Due => None,
        }
    }

    /// Whether everything is as in a new connection, but for what [`Connection::pack`] keeps.
    fn is_quiet(&self) -> bool {
        self.role == Role::Server
            && self.activity == Activity::Quiet
            && self.streams.is_empty()
            && !self.lifetime.is_ending()
            && self.settings.are_settled()
            && self.control.len() == 0
            && self.blocks.partial.is_none()
            && self.reader.is_between_frames()
            && self.unreported.is_empty()
            && self.signals.early.is_empty()
            && !self.sched.has_tree()
            && !self.stalls.is_blocked()
            && self.guard.paused_until().is_none()
            && self.has_memory()
    }

    #[cold]
    fn pack(&mut self) -> Option<Resting> {
        if !self.is_quiet() {
            return None;
        }
        let Self {
            config,
            now,
            born,
            blocks,
            settings,
            probe,
            streams,
            recv_window,
            memory,
            rtt,
            send_window,
            signals,
            guard,
            timers,
            stats,
            // As in a new connection whose prefaces are exchanged.
            role: _,
            reader: _,
            preface: _,
            lifetime: _,
            pings: _,
            unreported: _,
            sched: _,
            control: _,
            last_frames: _,
            stalls: _,
            rest: _,
            activity: _,
        } = self;
        let (mut out, born) = (Packer::default(), *born);
        timers.pack(&mut out, born);
        stats.pack(&mut out);
        out.duration(now.saturating_duration_since(born));
        blocks.pack(&mut out);
        settings.pack(&mut out);
        probe.pack(&mut out, born);
        let past = streams.pack(&mut out);
        recv_window.pack(&mut out);
        rtt.pack(&mut out, born);
        out.number(send_window.available() as u64);
        out.number(signals.dependencies_count.into());
        guard.pack(&mut out, born);
        Some(Resting {
            config: Arc::clone(config),
            holding: std::mem::take(&mut memory.holding),
            past,
            born,
            packed: out.finish(),
        })
    }
}

impl Resting {
    /// Makes the connection again. Only for its first input or command: what is left here is to be
    /// dropped.
    #[cold]
    pub fn wake(&mut self) -> Box<Connection> {
        let (holding, past) = (std::mem::take(&mut self.holding), self.past.take());
        self.unpacked(holding, past)
    }

    /// Makes a connection to look at, which shows what this one would after waking.
    #[cold]
    pub(super) fn copy(&self) -> Box<Connection> {
        self.unpacked(Holding::default(), None)
    }

    fn unpacked(&self, holding: Holding, past: Option<Box<Past>>) -> Box<Connection> {
        let (config, born) = (Arc::clone(&self.config), self.born);
        let role = Role::Server;
        let mut input = Unpacker::new(&self.packed);
        let input = &mut input;
        // Fields are made in this order, that of `Connection::pack`.
        Box::new(Connection {
            timers: Timers::unpack(input, born),
            stats: Stats::unpack(input),
            now: born + input.duration(),
            blocks: FieldBlocks::unpack(input, &config, role),
            settings: SettingsState::unpack(input),
            probe: Probe::unpack(input, born),
            streams: StreamMap::unpack(input, config.max_concurrent_streams, past),
            recv_window: ConnectionWindow::unpack(input),
            rtt: RoundTrip::unpack(input, born),
            send_window: SendWindow::new(input.number32()),
            signals: Signals {
                early: EarlyPriorities::default(),
                dependencies_count: input.flag(),
            },
            guard: Guard::unpack(input, Arc::clone(&config), born),
            memory: Memory::new(holding),
            reader: Reader::new(config.max_frame_size),
            preface: Preface::taken(),
            lifetime: Lifetime::new(),
            pings: Pings::default(),
            unreported: Unreported::default(),
            sched: Scheduler::default(),
            control: Control::default(),
            last_frames: LastFrames::default(),
            stalls: Stalls::default(),
            rest: Rest::Due,
            activity: Activity::Quiet,
            role,
            born,
            config,
        })
    }

    /// Returns the connection's counters.
    pub fn stats(&self) -> Stats {
        let mut input = Unpacker::new(&self.packed);
        Timers::unpack(&mut input, self.born);
        Stats::unpack(&mut input)
    }

    /// Returns when to wake the connection and to call [`Connection::handle_timeout`], if ever.
    pub fn next_timeout(&self) -> Option<Instant> {
        Timers::unpack(&mut Unpacker::new(&self.packed), self.born).next()
    }

    /// Whether [`Connection::receive`] would take input now. If not, wake the connection, which
    /// then looks again from time to time.
    pub fn can_receive(&self) -> bool {
        self.holding.has_room()
    }

    /// Bills the connection's memory to another client, as [`Connection::bill`] does.
    pub fn bill(&mut self, client: &Arc<Client>) {
        self.holding.bill(client);
    }

    /// Sets the bytes held outside of the engine, as [`Connection::note_outside`] does.
    pub fn note_outside(&mut self, bytes: u64) {
        self.holding.note_outside(bytes);
    }

    /// Returns the bytes that [`Connection::held_bytes`] would return.
    pub fn held_bytes(&self) -> u64 {
        self.holding.outside()
    }
}

impl std::fmt::Debug for Resting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resting")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A connection may move from thread to thread while it rests.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Resting>();
};
