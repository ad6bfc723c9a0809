//! The abuse budgets, each named for the attack that it answers. No other file counts abuse.
//!
//! Nothing is counted over a connection's life. Occasional frames of an honest peer have a
//! [`Rate`], frames that something honest justifies are free, and faults are limited to a share of
//! the requests. Every method returns the violation that uses up its budget; `conn::excess` decides
//! what follows.

mod budget;
mod kind;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tidegate_hpack::{Packer, Unpacker};
use tidegate_http::{Config, GuardPeaks, Violation};

use crate::inspection::GuardLevel;
use budget::{Budget, Justified};
use kind::Kind;

/// The seconds after which a stream, opened or reset, counts half.
const HALF_LIFE: u64 = 5;

/// The share of the opened streams, one in four, above which a peer provokes too many resets.
const PROVOKED_SHARE: u64 = 4;

/// The frames on closed streams that each stream justifies: those that cross a reset.
const CLOSED_PER_STREAM: u64 = 2;

/// How long no input is taken once a budget for harmless frames is used up.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// The budgets of a connection. Every method charges one, and returns an error if it is used up.
#[derive(Debug)]
pub(crate) struct Guard {
    config: Arc<Config>,
    /// The time up to which time has been turned into the budgets that are full.
    begun: Instant,
    /// The budgets that aren't full. Most peers only send SETTINGS.
    spent: SmallVec<[(Kind, Budget); 1]>,
    /// The streams that the peer opened, and those reset because of it, recently. Both numbers are
    /// halved for each `HALF_LIFE`.
    opened_lately: u64,
    provoked_lately: u64,
    halved_at: Instant,
    pushes_cancelled: Justified,
    pings_justified: Justified,
    priorities_justified: Justified,
    window_updates_justified: Justified,
    empty_data_justified: Justified,
    closed_streams_justified: Justified,
    /// The number of DATA frames sent, which justify WINDOW_UPDATE and PING frames.
    data_sent: u64,
    /// The number of non-empty DATA frames received, which justify empty ones.
    data_received: u64,
    /// The end of the pause, during which no input is taken.
    paused_until: Option<Instant>,
}

impl Guard {
    pub(crate) fn new(config: Arc<Config>, now: Instant) -> Self {
        Self {
            begun: now,
            spent: SmallVec::new(),
            opened_lately: 0,
            provoked_lately: 0,
            halved_at: now,
            pushes_cancelled: Justified::default(),
            pings_justified: Justified::default(),
            priorities_justified: Justified::default(),
            window_updates_justified: Justified::default(),
            empty_data_justified: Justified::default(),
            closed_streams_justified: Justified::default(),
            data_sent: 0,
            data_received: 0,
            paused_until: None,
            config,
        }
    }
}

/// All budgets.
impl Guard {
    /// Spends `cost` of a budget.
    fn charge(
        &mut self,
        kind: Kind,
        cost: u32,
        now: Instant,
        violation: Violation,
    ) -> Result<(), Violation> {
        let rate = kind.rate(&self.config);
        let place = self.spent.iter().position(|(spent, _)| *spent == kind);
        let place = place.unwrap_or_else(|| {
            self.spent.push((kind, Budget::new(rate, self.begun)));
            self.spent.len() - 1
        });
        self.spent[place].1.charge(cost, rate, now, violation)
    }

    /// Returns how much of each budget is spent.
    pub(crate) fn levels(&self, now: Instant) -> Vec<GuardLevel> {
        let levels = Kind::ALL.into_iter();
        levels.map(|kind| self.level(kind, now)).collect()
    }

    /// Returns the budget of which the largest share is spent, if any is.
    pub(crate) fn highest(&self, now: Instant) -> Option<GuardLevel> {
        let spent = self.spent.iter().map(|(kind, _)| self.level(*kind, now));
        let spent = spent.filter(|level| level.spent > 0);
        spent.max_by_key(|level| u64::from(level.spent) * 1000 / u64::from(level.limit.max(1)))
    }

    fn level(&self, kind: Kind, now: Instant) -> GuardLevel {
        let rate = kind.rate(&self.config);
        let spent = self.spent.iter().find(|(other, _)| *other == kind);
        let left = spent.map_or(rate.burst, |(_, budget)| budget.left_at(rate, now));
        GuardLevel {
            name: kind.name(),
            spent: rate.burst.saturating_sub(left),
            limit: rate.burst,
            per_second: rate.per_second,
        }
    }

    /// Returns how much of each budget was used up at once, since it was full.
    pub(crate) fn peaks(&self) -> GuardPeaks {
        let mut peaks = GuardPeaks::default();
        for (kind, budget) in &self.spent {
            let burst = u64::from(kind.rate(&self.config).burst.max(1));
            let used = burst.saturating_sub(budget.least.into());
            peaks.set(*kind as usize, (used * 100 / burst) as u8);
        }
        peaks
    }

    /// Returns the counts that a rest keeps.
    fn counts(&mut self) -> [&mut u64; 10] {
        let Self {
            opened_lately,
            provoked_lately,
            pushes_cancelled,
            pings_justified,
            priorities_justified,
            window_updates_justified,
            empty_data_justified,
            closed_streams_justified,
            data_sent,
            data_received,
            // No counts. `pack` has what a rest keeps of them.
            config: _,
            begun: _,
            spent: _,
            halved_at: _,
            paused_until: _,
        } = self;
        [
            opened_lately,
            provoked_lately,
            &mut pushes_cancelled.used,
            &mut pings_justified.used,
            &mut priorities_justified.used,
            &mut window_updates_justified.used,
            &mut empty_data_justified.used,
            &mut closed_streams_justified.used,
            data_sent,
            data_received,
        ]
    }

    /// Adds what is spent and justified. Only a guard without a pause can be packed.
    pub(crate) fn pack(&mut self, out: &mut Packer, born: Instant) {
        out.duration(self.begun.saturating_duration_since(born));
        out.number(self.spent.len() as u64);
        for (kind, budget) in &self.spent {
            let Budget {
                left,
                least,
                refilled,
            } = budget;
            out.number(*kind as u64);
            out.number((*left).into());
            out.number((*least).into());
            out.duration(refilled.saturating_duration_since(born));
        }
        out.duration(self.halved_at.saturating_duration_since(born));
        for count in self.counts() {
            out.number(*count);
        }
    }

    /// Makes a guard with what another one has packed.
    pub(crate) fn unpack(input: &mut Unpacker<'_>, config: Arc<Config>, born: Instant) -> Self {
        let mut guard = Self::new(config, born + input.duration());
        let spent = input.size();
        guard.spent.reserve_exact(spent);
        for _ in 0..spent {
            let kind = input.size();
            let budget = Budget {
                left: input.number32(),
                least: input.number32(),
                refilled: born + input.duration(),
            };
            guard
                .spent
                .extend(Kind::ALL.get(kind).map(|kind| (*kind, budget)));
        }
        guard.halved_at = born + input.duration();
        for count in guard.counts() {
            *count = input.number();
        }
        guard
    }

    /// Frees the memory of budgets that are full again.
    pub(crate) fn release_memory(&mut self, now: Instant) {
        // The time until now has filled them: it doesn't fill them a second time.
        self.begun = now;
        let config = &self.config;
        self.spent
            .retain(|(kind, budget)| !budget.is_full(kind.rate(config), now));
        self.spent.shrink_to_fit();
    }
}

/// Pauses.
impl Guard {
    /// Begins a pause. Returns whether the peer has pauses left.
    pub(crate) fn pause(&mut self, now: Instant) -> bool {
        self.paused_until = now.checked_add(PAUSE);
        // The caller decides which violation that is.
        let charged = self.charge(Kind::Pauses, 1, now, Violation::PingFlood);
        charged.is_ok()
    }

    /// Returns the end of the current pause, if there is one.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends a pause whose time is over.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
    }

    /// Ends a pause because the connection is over.
    pub(crate) fn end_pause(&mut self) {
        self.paused_until = None;
    }
}

/// Attacks at any rate.
impl Guard {
    /// Counts a stream that the peer opened.
    pub(crate) fn stream_opened(&mut self) {
        self.opened_lately += 1;
    }

    /// Charges a RST_STREAM of the peer that hit a stream.
    pub(crate) fn peer_reset(&mut self, now: Instant) -> Result<(), Violation> {
        self.charge(Kind::Resets, 1, now, Violation::RapidReset)
    }

    /// Charges a RST_STREAM of the peer that hit one of the `pushes` so far. A client that refuses
    /// all pushes is no attacker (RFC 9113 §8.4.2), so each push justifies one.
    pub(crate) fn push_cancelled(&mut self, pushes: u64, now: Instant) -> Result<(), Violation> {
        if self.pushes_cancelled.take(pushes) {
            return Ok(());
        }
        self.peer_reset(now)
    }

    /// Charges a stream that we reset because of the peer's frames. Streams that our own time
    /// limits end are not charged. Streams over SETTINGS_MAX_CONCURRENT_STREAMS are charged as
    /// resets by the peer, because a client may have sent them before it knew of the limit.
    pub(crate) fn own_reset(&mut self, now: Instant) -> Result<(), Violation> {
        self.halve(now);
        self.provoked_lately += 1;
        // Many requests justify some faults: a proxy's connection carries those of all its clients.
        if self.provoked_lately > u64::from(self.config.abuse.provoked_resets)
            && self.provoked_lately * PROVOKED_SHARE > self.opened_lately
        {
            return Err(Violation::MadeYouReset);
        }
        self.charge(Kind::Resets, 2, now, Violation::MadeYouReset)
    }

    /// Halves the recent numbers for each `HALF_LIFE` that has passed.
    fn halve(&mut self, now: Instant) {
        let half_lives = now.saturating_duration_since(self.halved_at).as_secs() / HALF_LIFE;
        if half_lives > 0 {
            self.halved_at = now;
            self.opened_lately >>= half_lives.min(63);
            self.provoked_lately >>= half_lives.min(63);
        }
    }

    /// Charges a CONTINUATION frame of `fragment_len` bytes, the `count`-th of its block (from 1),
    /// whose block has `block_len` bytes with it.
    pub(crate) fn continuation(
        &mut self,
        count: u32,
        fragment_len: usize,
        block_len: usize,
        end: bool,
        now: Instant,
    ) -> Result<(), Violation> {
        let limits = &self.config.abuse;
        let max_block = self.times_list_size(limits.header_block_factor);
        if count > limits.continuations || block_len > max_block {
            return Err(Violation::ContinuationFlood);
        }
        if fragment_len < 1024 && !end {
            let violation = Violation::ContinuationFlood;
            return self.charge(Kind::SmallContinuations, 1, now, violation);
        }
        Ok(())
    }

    /// Checks a header list of `list_size` bytes and `fields` fields.
    pub(crate) fn header_list(&self, list_size: usize, fields: usize) -> Result<(), Violation> {
        let limits = &self.config.abuse;
        let max_bomb = self.times_list_size(limits.header_list_factor);
        if list_size > max_bomb || fields > limits.header_fields as usize {
            return Err(Violation::HeaderBomb);
        }
        Ok(())
    }

    /// Returns our SETTINGS_MAX_HEADER_LIST_SIZE times `factor`.
    fn times_list_size(&self, factor: u32) -> usize {
        (self.config.max_header_list_size as usize).saturating_mul(factor as usize)
    }
}

/// Cheap and harmless frames.
impl Guard {
    /// Counts a DATA frame that we sent.
    pub(crate) fn data_sent(&mut self) {
        self.data_sent += 1;
    }

    /// Counts a DATA frame of the peer that has bytes.
    pub(crate) fn data_received(&mut self) {
        self.data_received += 1;
    }

    /// Charges a PING that must be answered. DATA frames that we sent justify some.
    pub(crate) fn ping(&mut self, now: Instant) -> Result<(), Violation> {
        let limits = &self.config.abuse;
        let earned = self.data_sent.saturating_mul(limits.pings_per_data.into());
        if self.pings_justified.take(earned) {
            return Ok(());
        }
        self.charge(Kind::Pings, 1, now, Violation::PingFlood)
    }

    /// Charges a SETTINGS frame with `entries` entries.
    pub(crate) fn settings(&mut self, entries: usize, now: Instant) -> Result<(), Violation> {
        let limits = &self.config.abuse;
        let more = entries / (limits.settings_entries.max(1) as usize);
        let cost = u32::try_from(1 + more).unwrap_or(u32::MAX);
        let violation = Violation::SettingsFlood;
        self.charge(Kind::Settings, cost, now, violation)
    }

    /// Charges a GOAWAY frame.
    pub(crate) fn goaway(&mut self, now: Instant) -> Result<(), Violation> {
        self.charge(Kind::GoAways, 1, now, Violation::GoAwayFlood)
    }

    /// Charges a PRIORITY or PRIORITY_UPDATE frame. `streams_opened`, the connection's total,
    /// justifies some.
    pub(crate) fn priority(&mut self, streams_opened: u64, now: Instant) -> Result<(), Violation> {
        let per_stream = self.config.abuse.priorities_per_stream;
        let earned = streams_opened.saturating_mul(per_stream.into());
        if self.priorities_justified.take(earned) {
            return Ok(());
        }
        self.charge(Kind::Priorities, 1, now, Violation::PriorityFlood)
    }

    /// Charges a WINDOW_UPDATE. DATA frames that we sent justify some, and so do the connection's
    /// totals: the bytes sent, because a client may open its window byte by byte, and streams.
    pub(crate) fn window_update(
        &mut self,
        bytes_sent: u64,
        streams_opened: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let limits = &self.config.abuse;
        let per_data = limits.window_updates_per_data;
        let for_data = self.data_sent.saturating_mul(per_data.into());
        let for_streams = streams_opened.saturating_mul(limits.window_updates_per_stream.into());
        let earned = for_data
            .saturating_add(for_streams)
            .saturating_add(bytes_sent);
        if self.window_updates_justified.take(earned) {
            return Ok(());
        }
        self.charge(Kind::WindowUpdates, 1, now, Violation::WindowUpdateFlood)
    }

    /// Charges a DATA frame without payload that doesn't end its stream. DATA frames with bytes
    /// justify some, and so do `streams_opened`, the connection's total.
    pub(crate) fn empty_data(
        &mut self,
        streams_opened: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let earned = self.data_received.saturating_add(streams_opened);
        if self.empty_data_justified.take(earned) {
            return Ok(());
        }
        self.charge(Kind::EmptyData, 1, now, Violation::EmptyFrameFlood)
    }

    /// Charges a frame of an unknown type, of `length` bytes.
    pub(crate) fn unknown_frame(&mut self, length: u32, now: Instant) -> Result<(), Violation> {
        let cost = 1 + length / 1024;
        self.charge(Kind::UnknownFrames, cost, now, Violation::UnknownFrameFlood)
    }

    /// Charges a frame without effect, because its stream is over. `streams_opened`, the
    /// connection's total, justifies some.
    pub(crate) fn closed_stream(
        &mut self,
        streams_opened: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let earned = streams_opened.saturating_mul(CLOSED_PER_STREAM);
        if self.closed_streams_justified.take(earned) {
            return Ok(());
        }
        self.charge(Kind::ClosedStreams, 1, now, Violation::ClosedStreamFlood)
    }
}
