//! Every abuse budget, each named for the attack that it answers: the only file that counts abuse.
//!
//! Two kinds of rule: a [`Rate`] for frames that an honest peer sends now and then and an attacker without end, and plain
//! bounds for what an honest peer never does. A tripped rule ends the connection with ENHANCE_YOUR_CALM.

use std::time::{Duration, Instant};

use crate::error::Violation;

/// How fast a budget is spent and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What can be spent at once. Time is only looked at when this is used up, so after a quiet time it can be spent
    /// twice in a row.
    pub burst: u32,
    /// What comes back each second, up to `burst`.
    pub per_second: u32,
}

impl Rate {
    /// A budget of so much at once, of which so much comes back each second.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}

/// Budgets per connection. Each field names the attack that it answers; raise one if honest peers of yours trip it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AbuseLimits {
    /// Streams that the peer resets (Rapid Reset, CVE-2023-44487), each 1, pushes not counted, and streams that it makes us reset
    /// (MadeYouReset, CVE-2025-8671), each 2. The burst is never less than SETTINGS_MAX_CONCURRENT_STREAMS, since a
    /// browser that leaves a page cancels all its streams at once. Default 200 and 33 per second.
    pub resets: Rate,
    /// Streams that the peer may reset before they were answered, while those are more than half of all that it opened
    /// (Rapid Reset, slow). What is further back than some five seconds counts less and less, as a person who types into a
    /// search field cancels most requests too. Never less than SETTINGS_MAX_CONCURRENT_STREAMS, as above. Default 100.
    pub resets_before_response: u32,
    /// Streams that the peer may make us reset in the life of a connection (MadeYouReset, CVE-2025-8671). Default 100.
    pub provoked_resets: u32,
    /// CONTINUATION frames in one header block (CONTINUATION flood, CVE-2024-27316). Default 8.
    pub continuations: u32,
    /// Octets of a header block as it is sent, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE (CONTINUATION flood,
    /// CVE-2024-27316). Checked at each CONTINUATION frame. Default 2.
    pub header_block_factor: u32,
    /// CONTINUATION frames of less than 1 KiB that don't end their block (CVE-2026-33871). Default 100 and 10 per second.
    pub small_continuations: Rate,
    /// Octets of a decoded header list, as a multiple of SETTINGS_MAX_HEADER_LIST_SIZE (HPACK bomb, CVE-2016-6581). A
    /// list between the limit and this fails its stream only. Default 4.
    pub header_list_factor: u32,
    /// Fields of a decoded header list, cookie crumbs included (field-count bomb, CVE-2026-49975). A list between the
    /// limit on fields and this fails its stream only. Default 1,000.
    pub header_fields: u32,
    /// PING frames that must be answered (CVE-2019-9512), beyond those that the next field justifies. Default 100 and 20 per
    /// second.
    pub pings: Rate,
    /// PING frames that each DATA frame of ours justifies: gRPC measures the path with them while a body comes in. Default 1.
    pub pings_per_data: u32,
    /// SETTINGS frames (CVE-2019-9515). Default 20 and 1 per second.
    pub settings: Rate,
    /// Entries of one SETTINGS frame (CVE-2019-9515). Default 32.
    pub settings_entries: u32,
    /// PRIORITY and PRIORITY_UPDATE frames (CVE-2019-9513). Default 200 and 50 per second.
    pub priorities: Rate,
    /// WINDOW_UPDATE frames beyond those that the next two fields justify. Default 100 and 10 per second.
    pub window_updates: Rate,
    /// WINDOW_UPDATE frames that each DATA frame of ours justifies. Default 10.
    pub window_updates_per_data: u32,
    /// WINDOW_UPDATE frames that each stream justifies. Default 4.
    pub window_updates_per_stream: u32,
    /// DATA frames without payload that don't end their stream (CVE-2019-9518). Default 100 and 10 per second.
    pub empty_data: Rate,
    /// Frames of unknown kinds, which must be ignored (RFC 9113 §5.5): each 1, and 1 more for each whole KiB. Default
    /// 1,000 and 50 per second.
    pub unknown_frames: Rate,
}

impl Default for AbuseLimits {
    fn default() -> Self {
        Self {
            resets: Rate::new(200, 33),
            resets_before_response: 100,
            provoked_resets: 100,
            continuations: 8,
            header_block_factor: 2,
            small_continuations: Rate::new(100, 10),
            header_list_factor: 4,
            header_fields: 1000,
            pings: Rate::new(100, 20),
            pings_per_data: 1,
            settings: Rate::new(20, 1),
            settings_entries: 32,
            priorities: Rate::new(200, 50),
            window_updates: Rate::new(100, 10),
            window_updates_per_data: 10,
            window_updates_per_stream: 4,
            empty_data: Rate::new(100, 10),
            unknown_frames: Rate::new(1000, 50),
        }
    }
}

/// What is left of a [`Rate`].
#[derive(Debug)]
struct Budget {
    left: u32,
    rate: Rate,
    /// Up to when time has been turned into budget.
    refilled: Instant,
}

impl Budget {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst,
            rate,
            refilled: now,
        }
    }

    /// Spends so much, or tells what was wrong with it.
    fn charge(&mut self, cost: u32, now: Instant, violation: Violation) -> Result<(), Violation> {
        if self.left < cost {
            self.refill(now);
        }
        self.left = self.left.checked_sub(cost).ok_or(violation)?;
        Ok(())
    }

    #[cold]
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled);
        let per_second = u128::from(self.rate.per_second);
        let gained = elapsed.as_micros() * per_second / 1_000_000;
        let room = self.rate.burst.saturating_sub(self.left);
        match u32::try_from(gained) {
            // What is less than one stays in the time that hasn't been turned into budget yet.
            Ok(gained) if gained < room => {
                self.left += gained;
                if gained > 0 {
                    let used = u64::from(gained) * 1_000_000 / u64::from(self.rate.per_second);
                    self.refilled += Duration::from_micros(used);
                }
            }
            _ => {
                self.left = self.left.max(self.rate.burst);
                self.refilled = now;
            }
        }
    }
}

/// Seconds after which a reset counts half.
const HALF_LIFE: u64 = 5;

/// The budgets of one connection. Every method charges one; over it, the connection ends.
#[derive(Debug)]
pub(crate) struct Guard {
    limits: AbuseLimits,
    resets: Budget,
    /// Streams opened, and reset before they were answered, of late: both are halved for each `HALF_LIFE`.
    opened_lately: u64,
    resets_before_response: u64,
    halved_at: Instant,
    provoked_resets: u32,
    pushes_cancelled: u64,
    small_continuations: Budget,
    pings: Budget,
    pings_justified: u64,
    settings: Budget,
    priorities: Budget,
    window_updates: Budget,
    window_updates_justified: u64,
    empty_data: Budget,
    unknown_frames: Budget,
}

impl Guard {
    pub(crate) fn new(limits: &AbuseLimits, max_concurrent_streams: u32, now: Instant) -> Self {
        let resets = Rate {
            burst: limits.resets.burst.max(max_concurrent_streams),
            ..limits.resets
        };
        Self {
            resets: Budget::new(resets, now),
            opened_lately: 0,
            resets_before_response: 0,
            halved_at: now,
            provoked_resets: 0,
            pushes_cancelled: 0,
            small_continuations: Budget::new(limits.small_continuations, now),
            pings: Budget::new(limits.pings, now),
            pings_justified: 0,
            settings: Budget::new(limits.settings, now),
            priorities: Budget::new(limits.priorities, now),
            window_updates: Budget::new(limits.window_updates, now),
            window_updates_justified: 0,
            empty_data: Budget::new(limits.empty_data, now),
            unknown_frames: Budget::new(limits.unknown_frames, now),
            limits: AbuseLimits {
                resets_before_response: limits.resets_before_response.max(max_concurrent_streams),
                ..limits.clone()
            },
        }
    }

    /// A stream was opened by the peer.
    pub(crate) fn stream_opened(&mut self) {
        self.opened_lately += 1;
    }

    /// The peer's RST_STREAM hit a stream: `answered` if its final response had been given by the owner.
    pub(crate) fn peer_reset(&mut self, answered: bool, now: Instant) -> Result<(), Violation> {
        if !answered {
            self.resets_before_response += 1;
            // Few streams are answered and most are cancelled: work is all that such a peer wants from us.
            if self.mostly_resets() {
                self.halve(now);
                if self.mostly_resets() {
                    return Err(Violation::RapidReset);
                }
            }
        }
        self.resets.charge(1, now, Violation::RapidReset)
    }

    /// The peer's RST_STREAM hit one of the `pushes` so far. Who refuses them all is no attacker (RFC 9113 §8.4.2), so each
    /// justifies one.
    pub(crate) fn push_cancelled(&mut self, pushes: u64, now: Instant) -> Result<(), Violation> {
        if self.pushes_cancelled < pushes {
            self.pushes_cancelled += 1;
            return Ok(());
        }
        self.resets.charge(1, now, Violation::RapidReset)
    }

    fn mostly_resets(&self) -> bool {
        self.resets_before_response > u64::from(self.limits.resets_before_response)
            && self.resets_before_response * 2 > self.opened_lately
    }

    /// Lets what is long ago count less.
    fn halve(&mut self, now: Instant) {
        let half_lives = now.saturating_duration_since(self.halved_at).as_secs() / HALF_LIFE;
        if half_lives > 0 {
            self.halved_at = now;
            self.opened_lately >>= half_lives.min(63);
            self.resets_before_response >>= half_lives.min(63);
        }
    }

    /// We reset a stream because of what the peer did. Streams over SETTINGS_MAX_CONCURRENT_STREAMS are none of these: a
    /// client may have sent them before it knew of the limit, so they are charged as resets by the peer.
    pub(crate) fn own_reset(&mut self, now: Instant) -> Result<(), Violation> {
        if self.provoked_resets >= self.limits.provoked_resets {
            return Err(Violation::MadeYouReset);
        }
        self.provoked_resets += 1;
        self.resets.charge(2, now, Violation::MadeYouReset)
    }

    /// A CONTINUATION frame of `fragment_len` octets, the `count`-th of its block (from 1), whose block has `block_len`
    /// octets with it; `max_list_size` is SETTINGS_MAX_HEADER_LIST_SIZE.
    pub(crate) fn continuation(
        &mut self,
        count: u32,
        fragment_len: usize,
        block_len: usize,
        max_list_size: usize,
        end: bool,
        now: Instant,
    ) -> Result<(), Violation> {
        let max_block = max_list_size.saturating_mul(self.limits.header_block_factor as usize);
        if count > self.limits.continuations || block_len > max_block {
            return Err(Violation::ContinuationFlood);
        }
        if fragment_len < 1024 && !end {
            let violation = Violation::ContinuationFlood;
            return self.small_continuations.charge(1, now, violation);
        }
        Ok(())
    }

    /// A header list of this many octets and fields came in, the limit being `max_list_size`.
    pub(crate) fn header_list(
        &mut self,
        list_size: usize,
        fields: usize,
        max_list_size: usize,
    ) -> Result<(), Violation> {
        let max_bomb = max_list_size.saturating_mul(self.limits.header_list_factor as usize);
        if list_size > max_bomb || fields > self.limits.header_fields as usize {
            return Err(Violation::HeaderBomb);
        }
        Ok(())
    }

    /// A PING that must be answered; `data_frames_sent` is the connection's total that justifies some.
    pub(crate) fn ping(&mut self, data_frames_sent: u64, now: Instant) -> Result<(), Violation> {
        let for_data = data_frames_sent.saturating_mul(self.limits.pings_per_data.into());
        if self.pings_justified < for_data {
            self.pings_justified += 1;
            return Ok(());
        }
        self.pings.charge(1, now, Violation::PingFlood)
    }

    /// A SETTINGS frame with so many entries.
    pub(crate) fn settings(&mut self, entries: usize, now: Instant) -> Result<(), Violation> {
        if entries > self.limits.settings_entries as usize {
            return Err(Violation::SettingsFlood);
        }
        self.settings.charge(1, now, Violation::SettingsFlood)
    }

    /// A PRIORITY or PRIORITY_UPDATE frame.
    pub(crate) fn priority(&mut self, now: Instant) -> Result<(), Violation> {
        self.priorities.charge(1, now, Violation::PriorityFlood)
    }

    /// A WINDOW_UPDATE; `data_frames_sent` and `streams_opened` are the connection's totals that justify some.
    pub(crate) fn window_update(
        &mut self,
        data_frames_sent: u64,
        streams_opened: u64,
        now: Instant,
    ) -> Result<(), Violation> {
        let for_data = data_frames_sent.saturating_mul(self.limits.window_updates_per_data.into());
        let for_streams =
            streams_opened.saturating_mul(self.limits.window_updates_per_stream.into());
        if self.window_updates_justified < for_data.saturating_add(for_streams) {
            self.window_updates_justified += 1;
            return Ok(());
        }
        self.window_updates
            .charge(1, now, Violation::WindowUpdateFlood)
    }

    /// A DATA frame without payload that doesn't end its stream.
    pub(crate) fn empty_data(&mut self, now: Instant) -> Result<(), Violation> {
        self.empty_data.charge(1, now, Violation::EmptyFrameFlood)
    }

    /// A frame of an unknown kind, of `length` octets.
    pub(crate) fn unknown_frame(&mut self, length: u32, now: Instant) -> Result<(), Violation> {
        let cost = 1 + length / 1024;
        self.unknown_frames
            .charge(cost, now, Violation::UnknownFrameFlood)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: usize = 32 << 10;

    #[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
    fn start() -> Instant {
        Instant::now()
    }

    fn guard(now: Instant) -> Guard {
        Guard::new(&AbuseLimits::default(), 100, now)
    }

    /// How often `charge` may be called with nothing in between.
    fn allowed(mut charge: impl FnMut() -> Result<(), Violation>, expected: Violation) -> u32 {
        for count in 0..1_000_000 {
            if let Err(violation) = charge() {
                assert_eq!(violation, expected);
                return count;
            }
        }
        panic!("{expected} never came");
    }

    #[test]
    fn a_budget_comes_back_with_time_and_never_exceeds_its_burst() {
        let t = start();
        let rate = Rate::new(10, 3);
        let mut budget = Budget::new(rate, t);
        let mut spend_all = |now| {
            allowed(
                || budget.charge(1, now, Violation::PingFlood),
                Violation::PingFlood,
            )
        };
        assert_eq!(spend_all(t), 10);
        // A third of a second each.
        assert_eq!(spend_all(t + Duration::from_millis(333)), 0);
        assert_eq!(spend_all(t + Duration::from_millis(334)), 1);
        assert_eq!(spend_all(t + Duration::from_secs(2)), 5);
        assert_eq!(spend_all(t + Duration::from_secs(3600)), 10);
        // A clock that goes back gives nothing and breaks nothing.
        assert_eq!(spend_all(t), 0);
    }

    #[test]
    fn a_budget_gives_its_rate_exactly_over_a_long_time() {
        let t = start();
        let mut budget = Budget::new(Rate::new(5, 33), t);
        let mut spent = 0;
        for ms in 0..100_000 {
            let now = t + Duration::from_millis(ms);
            spent += u32::from(budget.charge(1, now, Violation::PingFlood).is_ok());
        }
        assert!((3300..=3310).contains(&spent), "{spent}");
    }

    #[test]
    fn rapid_reset_cve_2023_44487() {
        let t = start();
        let mut guard = guard(t);
        let open_and_reset = || {
            guard.stream_opened();
            guard.peer_reset(false, t)
        };
        assert_eq!(allowed(open_and_reset, Violation::RapidReset), 100);
    }

    #[test]
    fn rapid_reset_cve_2023_44487_in_small_steps() {
        // Slow enough for the bucket, but next to nothing is ever let come to its end.
        let t = start();
        let mut guard = guard(t);
        let mut now = t;
        let step = || {
            now += Duration::from_millis(40);
            guard.stream_opened();
            guard.peer_reset(false, now)
        };
        assert_eq!(allowed(step, Violation::RapidReset), 100);
    }

    #[test]
    fn rapid_reset_cve_2023_44487_of_answered_streams() {
        // Cheap responses are answered before the reset comes: the bucket counts those as well.
        let t = start();
        let mut guard = guard(t);
        let open_and_reset = || {
            guard.stream_opened();
            guard.peer_reset(true, t)
        };
        assert_eq!(allowed(open_and_reset, Violation::RapidReset), 200);
    }

    #[test]
    fn made_you_reset_cve_2025_8671() {
        let t = start();
        let mut fast = guard(t);
        let at_once = allowed(|| fast.own_reset(t), Violation::MadeYouReset);
        assert_eq!(at_once, 100);

        let mut slow = guard(t);
        let mut now = t;
        let slowly = || {
            now += Duration::from_secs(60);
            slow.own_reset(now)
        };
        assert_eq!(allowed(slowly, Violation::MadeYouReset), 100);
    }

    #[test]
    fn made_you_reset_cve_2025_8671_and_rapid_reset_spend_the_same_budget() {
        let t = start();
        let mut guard = guard(t);
        for _ in 0..75 {
            guard.stream_opened();
            guard.own_reset(t).unwrap();
        }
        let resets = allowed(|| guard.peer_reset(true, t), Violation::RapidReset);
        assert_eq!(resets, 50);
    }

    /// A gRPC client sends one whenever the answer to the last one is there, as long as a body comes in.
    #[test]
    fn each_data_frame_justifies_a_ping() {
        let t = start();
        let mut guard = guard(t);
        for data_frames in 1..=10_000 {
            guard.ping(data_frames, t).unwrap();
        }
        let more = allowed(|| guard.ping(10_000, t), Violation::PingFlood);
        assert_eq!(more, 100);
    }

    #[test]
    fn each_push_may_be_cancelled_once() {
        let t = start();
        let mut guard = guard(t);
        for pushes in 1..=10_000 {
            guard.push_cancelled(pushes, t).unwrap();
        }
        // Beyond that they are what they are of any stream.
        let resets = allowed(|| guard.push_cancelled(10_000, t), Violation::RapidReset);
        assert_eq!(resets, 200);
    }

    #[test]
    fn continuation_flood_cve_2024_27316() {
        let t = start();
        let mut guard = guard(t);
        let flood = Err(Violation::ContinuationFlood);
        // Many frames in a block.
        assert_eq!(guard.continuation(8, 4096, 40_000, LIST, false, t), Ok(()));
        assert_eq!(guard.continuation(9, 4096, 40_000, LIST, true, t), flood);
        // A large block.
        assert_eq!(
            guard.continuation(4, 16_384, 2 * LIST, LIST, false, t),
            Ok(())
        );
        assert_eq!(
            guard.continuation(4, 16_384, 2 * LIST + 1, LIST, true, t),
            flood
        );
    }

    #[test]
    fn small_continuation_flood_cve_2026_33871() {
        let t = start();
        let mut guard = guard(t);
        let mut count = 0;
        let empty = || {
            count += 1;
            guard.continuation(count % 8 + 1, 0, 100, LIST, false, t)
        };
        assert_eq!(allowed(empty, Violation::ContinuationFlood), 100);
        // The end of a block may be as small as it likes.
        assert_eq!(guard.continuation(1, 1, 16_385, LIST, true, t), Ok(()));
    }

    #[test]
    fn hpack_bomb_cve_2016_6581() {
        let mut guard = guard(start());
        assert_eq!(guard.header_list(4 * LIST, 200, LIST), Ok(()));
        let bomb = Err(Violation::HeaderBomb);
        assert_eq!(guard.header_list(4 * LIST + 1, 200, LIST), bomb);
    }

    #[test]
    fn field_count_bomb_cve_2026_49975() {
        let mut guard = guard(start());
        assert_eq!(guard.header_list(LIST, 1000, LIST), Ok(()));
        let bomb = Err(Violation::HeaderBomb);
        assert_eq!(guard.header_list(LIST, 1001, LIST), bomb);
    }

    #[test]
    fn ping_flood_cve_2019_9512() {
        let t = start();
        let mut guard = guard(t);
        assert_eq!(allowed(|| guard.ping(0, t), Violation::PingFlood), 100);
    }

    #[test]
    fn settings_flood_cve_2019_9515() {
        let t = start();
        let mut guard = guard(t);
        assert_eq!(guard.settings(33, t), Err(Violation::SettingsFlood));
        let frames = allowed(|| guard.settings(32, t), Violation::SettingsFlood);
        assert_eq!(frames, 20);
    }

    #[test]
    fn resource_loop_cve_2019_9513() {
        let t = start();
        let mut guard = guard(t);
        assert_eq!(allowed(|| guard.priority(t), Violation::PriorityFlood), 200);
    }

    #[test]
    fn window_update_flood() {
        let t = start();
        let mut guard = guard(t);
        let unjustified = allowed(
            || guard.window_update(0, 0, t),
            Violation::WindowUpdateFlood,
        );
        assert_eq!(unjustified, 100);
        // 7 DATA frames and 5 streams since: 70 and 20 more.
        let justified = allowed(
            || guard.window_update(7, 5, t),
            Violation::WindowUpdateFlood,
        );
        assert_eq!(justified, 90);
    }

    #[test]
    fn empty_frames_flood_cve_2019_9518() {
        let t = start();
        let mut guard = guard(t);
        let frames = allowed(|| guard.empty_data(t), Violation::EmptyFrameFlood);
        assert_eq!(frames, 100);
    }

    #[test]
    fn unknown_frame_flood() {
        // RFC 9113 §5.5 makes us ignore them, §10.5 wants us to notice how many there are. Large ones cost us more.
        let t = start();
        let small = allowed(
            {
                let mut guard = guard(t);
                move || guard.unknown_frame(0, t)
            },
            Violation::UnknownFrameFlood,
        );
        assert_eq!(small, 1000);
        let mut guard = guard(t);
        let large = allowed(
            || guard.unknown_frame(16_384, t),
            Violation::UnknownFrameFlood,
        );
        assert_eq!(large, 1000 / 17);
    }

    #[test]
    fn a_browser_that_leaves_a_page_cancels_everything_at_once() {
        let t = start();
        let mut guard = guard(t);
        for _ in 0..100 {
            guard.stream_opened();
        }
        for _ in 0..100 {
            guard.peer_reset(false, t).unwrap();
        }
    }

    #[test]
    fn who_types_into_a_search_field_cancels_most_requests_for_hours() {
        let t = start();
        let mut guard = guard(t);
        for keystroke in 0..50_000 {
            let now = t + Duration::from_millis(200) * keystroke;
            guard.stream_opened();
            if keystroke % 8 != 7 {
                guard.peer_reset(false, now).unwrap();
            }
        }
    }

    #[test]
    fn a_browser_may_cancel_as_many_streams_as_it_may_open() {
        let t = start();
        let mut guard = Guard::new(&AbuseLimits::default(), 1000, t);
        for _ in 0..1000 {
            guard.stream_opened();
            guard.peer_reset(true, t).unwrap();
        }
    }

    #[test]
    fn a_browser_that_navigates_cancels_every_second_stream() {
        let mut now = start();
        let mut guard = guard(now);
        for _page in 0..200 {
            now += Duration::from_secs(1);
            for _ in 0..25 {
                guard.stream_opened();
                guard.stream_opened();
                guard.peer_reset(false, now).unwrap();
            }
        }
    }

    #[test]
    fn grpc_streams_many_small_messages() {
        // For each message a few octets of DATA, and of the peer two WINDOW_UPDATE frames and a PING to measure.
        let mut now = start();
        let mut guard = guard(now);
        guard.settings(4, now).unwrap();
        guard.settings(1, now).unwrap();
        guard.stream_opened();
        for message in 1..=100_000 {
            now += Duration::from_micros(200);
            guard.window_update(message, 1, now).unwrap();
            guard.window_update(message, 1, now).unwrap();
            if message % 500 == 0 {
                guard.ping(0, now).unwrap();
            }
        }
    }

    #[test]
    fn an_idle_client_pings_for_hours() {
        let mut now = start();
        let mut guard = guard(now);
        for _ in 0..5000 {
            now += Duration::from_secs(10);
            guard.ping(0, now).unwrap();
        }
    }

    #[test]
    fn a_client_raises_its_windows_for_days_while_it_uploads() {
        // No DATA of ours justifies anything; tuning its windows by the second is still no attack.
        let mut now = start();
        let mut guard = guard(now);
        guard.stream_opened();
        for _ in 0..200_000 {
            now += Duration::from_secs(1);
            guard.window_update(0, 1, now).unwrap();
            guard.window_update(0, 1, now).unwrap();
        }
    }

    #[test]
    fn a_cookie_of_90_crumbs_is_no_bomb() {
        let t = start();
        let mut guard = guard(t);
        for _ in 0..10_000 {
            guard.stream_opened();
            guard
                .header_list(90 * (32 + 6 + 60) + 2048, 90 + 25, LIST)
                .unwrap();
        }
    }

    #[test]
    fn large_heads_in_full_continuation_frames_are_no_flood() {
        let t = start();
        let mut guard = guard(t);
        for _ in 0..10_000 {
            guard
                .continuation(1, 16_384, 32_768, LIST, false, t)
                .unwrap();
            guard.continuation(2, 500, 33_268, LIST, true, t).unwrap();
        }
    }

    #[test]
    fn a_browser_reprioritizes_while_it_scrolls_and_greases() {
        let mut now = start();
        let mut guard = guard(now);
        for _ in 0..1000 {
            now += Duration::from_millis(100);
            for _ in 0..5 {
                guard.priority(now).unwrap();
            }
            guard.unknown_frame(200, now).unwrap();
        }
    }
}
