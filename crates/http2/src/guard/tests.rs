use tidegate_hpack::{Packer, Unpacker};
use tidegate_http::{AbuseLimits, Rate};

use super::*;
use crate::guard::budget::MOST_SAVED;
use crate::testing::some_start as start;

const LIST: usize = 32 << 10;

/// Returns the guard of a server with `max_concurrent_streams`.
fn guard_of(max_concurrent_streams: u32, now: Instant) -> Guard {
    let mut config = Config::server();
    config.max_concurrent_streams = max_concurrent_streams;
    Guard::new(Arc::new(config), now)
}

fn guard(now: Instant) -> Guard {
    guard_of(100, now)
}

/// Returns how often `charge` may be called in a row.
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
            || budget.charge(1, rate, now, Violation::PingFlood),
            Violation::PingFlood,
        )
    };
    assert_eq!(spend_all(t), 10);
    // A third of a second each.
    assert_eq!(spend_all(t + Duration::from_millis(333)), 0);
    assert_eq!(spend_all(t + Duration::from_millis(334)), 1);
    assert_eq!(spend_all(t + Duration::from_secs(2)), 5);
    assert_eq!(spend_all(t + Duration::from_secs(3600)), 10);
    // A clock that goes back refills nothing and breaks nothing.
    assert_eq!(spend_all(t), 0);
}

#[test]
fn a_budget_gives_its_rate_exactly_over_a_long_time() {
    let t = start();
    let rate = Rate::new(5, 33);
    let mut budget = Budget::new(rate, t);
    let mut spent = 0;
    for ms in 0..100_000 {
        let now = t + Duration::from_millis(ms);
        spent += u32::from(budget.charge(1, rate, now, Violation::PingFlood).is_ok());
    }
    assert!((3300..=3310).contains(&spent), "{spent}");
}

#[test]
fn what_costs_more_than_there_is_leaves_nothing() {
    let t = start();
    let rate = Rate::new(10, 1);
    let mut budget = Budget::new(rate, t);
    let flood = Violation::SettingsFlood;
    assert_eq!(budget.charge(100, rate, t, flood), Err(flood));
    assert_eq!(budget.charge(1, rate, t, flood), Err(flood));
}

#[test]
fn what_is_justified_can_be_saved_up_to_a_bound() {
    let mut justified = Justified::default();
    assert!(!justified.take(0));
    for earned in 1..=1000 {
        assert!(justified.take(earned));
    }
    assert!(!justified.take(1000));
    let saved = (0..).take_while(|_| justified.take(1 << 40)).count();
    assert_eq!(saved as u64, MOST_SAVED);
}

#[test]
fn a_pause_ends_by_time_and_too_many_are_too_many() {
    let t = start();
    let mut guard = guard(t);
    assert_eq!(guard.paused_until(), None);
    assert!(guard.pause(t));
    assert_eq!(guard.paused_until(), Some(t + PAUSE));
    guard.resume(t + PAUSE / 2);
    assert!(guard.paused_until().is_some());
    guard.resume(t + PAUSE);
    assert_eq!(guard.paused_until(), None);
    // One per second shows nothing.
    let mut now = t;
    for _ in 0..10_000 {
        now += Duration::from_secs(1);
        assert!(guard.pause(now));
    }
    // One after another exceeds the limit, after some ten seconds.
    let begun = now;
    while guard.pause(now) {
        now += PAUSE;
    }
    let lasted = now - begun;
    assert!((10..=12).contains(&lasted.as_secs()), "{lasted:?}");
}

#[test]
fn a_rest_fills_no_budget_twice() {
    let t = start();
    let mut guard = guard(t);
    let spend_all =
        |guard: &mut Guard, now| allowed(|| guard.peer_reset(now), Violation::RapidReset);
    let burst = spend_all(&mut guard, t);
    let later = t + Duration::from_secs(3600);
    guard.release_memory(later);
    assert!(guard.spent.is_empty());
    assert_eq!(spend_all(&mut guard, later), burst);
}

#[test]
fn a_guard_that_rests_is_the_same_again() {
    let t = start();
    let mut guard = guard(t);
    let mut now = t;
    for round in 0..40 {
        now += Duration::from_millis(700);
        guard.stream_opened();
        // Whether one is refused doesn't matter here.
        let _ = guard.peer_reset(now);
        let _ = guard.own_reset(now);
        let _ = guard.push_cancelled(round, now);
        for kind in Kind::ALL.iter().take(round as usize % 12) {
            let _ = guard.charge(*kind, 3, now, Violation::PingFlood);
        }
        guard.pings_justified.take(round);
        guard.window_updates_justified.take(2 * round);
        guard.data_sent += round;
        guard.data_received += 3 * round;
        let mut out = Packer::default();
        guard.pack(&mut out, t);
        let packed = out.finish();
        let woken = Guard::unpack(&mut Unpacker::new(&packed), Arc::clone(&guard.config), t);
        assert_eq!(format!("{woken:?}"), format!("{guard:?}"));
        guard = woken;
    }
}

#[test]
fn rapid_reset_cve_2023_44487() {
    let t = start();
    for (streams, most) in [(100, 500), (1000, 1000)] {
        let mut guard = guard_of(streams, t);
        let resets = allowed(|| guard.peer_reset(t), Violation::RapidReset);
        assert_eq!(resets, most);
    }
}

#[test]
fn made_you_reset_cve_2025_8671() {
    let t = start();
    let mut fast = guard(t);
    let provoke = || {
        fast.stream_opened();
        fast.own_reset(t)
    };
    assert_eq!(allowed(provoke, Violation::MadeYouReset), 100);

    // With three valid requests for each, the bucket ends it.
    let mut mixed = guard(t);
    let provoke = || {
        for _ in 0..4 {
            mixed.stream_opened();
        }
        mixed.own_reset(t)
    };
    assert_eq!(allowed(provoke, Violation::MadeYouReset), 250);
}

#[test]
fn mistakes_long_ago_are_forgotten_and_so_are_good_requests() {
    let t = start();
    let mut guard = guard(t);
    let mut now = t;
    for _ in 0..1000 {
        now += Duration::from_secs(1);
        guard.stream_opened();
        guard.own_reset(now).unwrap();
    }
    // A million valid requests, a minute ago, justify nothing.
    for _ in 0..1_000_000 {
        guard.stream_opened();
    }
    now += Duration::from_secs(120);
    let provoked = allowed(|| guard.own_reset(now), Violation::MadeYouReset);
    assert!((100..=101).contains(&provoked), "{provoked}");
}

#[test]
fn made_you_reset_cve_2025_8671_and_rapid_reset_spend_the_same_budget() {
    let t = start();
    let mut guard = guard(t);
    for _ in 0..75 {
        guard.stream_opened();
        guard.own_reset(t).unwrap();
    }
    let resets = allowed(|| guard.peer_reset(t), Violation::RapidReset);
    assert_eq!(resets, 350);
}

/// A gRPC client sends a PING whenever the last one is answered, while it receives a body.
#[test]
fn each_data_frame_justifies_a_ping() {
    let t = start();
    let mut guard = guard(t);
    for _ in 0..10_000 {
        guard.data_sent();
        guard.ping(t).unwrap();
    }
    let more = allowed(|| guard.ping(t), Violation::PingFlood);
    assert_eq!(more, 500);
}

#[test]
fn each_push_may_be_cancelled_once() {
    let t = start();
    let mut guard = guard(t);
    for pushes in 1..=10_000 {
        guard.push_cancelled(pushes, t).unwrap();
    }
    // Beyond that they count like those of any stream.
    let resets = allowed(|| guard.push_cancelled(10_000, t), Violation::RapidReset);
    assert_eq!(resets, 500);
}

#[test]
fn ping_flood_cve_2019_9512() {
    let t = start();
    let mut guard = guard(t);
    assert_eq!(allowed(|| guard.ping(t), Violation::PingFlood), 500);
}

#[test]
fn settings_flood_cve_2019_9515() {
    let t = start();
    let mut small = guard(t);
    let frames = allowed(|| small.settings(31, t), Violation::SettingsFlood);
    assert_eq!(frames, 50);
    // A frame of 16 KiB has 2,730 entries.
    assert_eq!(guard(t).settings(2730, t), Err(Violation::SettingsFlood));
}

#[test]
fn goaway_flood() {
    let t = start();
    let mut guard = guard(t);
    assert_eq!(allowed(|| guard.goaway(t), Violation::GoAwayFlood), 20);
}

#[test]
fn resource_loop_cve_2019_9513() {
    let t = start();
    for (streams, opened, most) in [(100, 0, 1000), (100, 25, 1100), (5000, 600, 7400)] {
        let mut guard = guard_of(streams, t);
        let signals = allowed(|| guard.priority(opened, t), Violation::PriorityFlood);
        assert_eq!(signals, most);
    }
}

#[test]
fn window_update_flood() {
    let t = start();
    let mut guard = guard(t);
    let flood = Violation::WindowUpdateFlood;
    assert_eq!(allowed(|| guard.window_update(0, 0, t), flood), 1000);
    // 7 DATA frames of 12 bytes and 5 streams since: 70, 84 and 20 more.
    for _ in 0..7 {
        guard.data_sent();
    }
    assert_eq!(allowed(|| guard.window_update(84, 5, t), flood), 174);
}

#[test]
fn empty_frames_flood_cve_2019_9518() {
    let t = start();
    let mut guard = guard(t);
    let flood = Violation::EmptyFrameFlood;
    assert_eq!(allowed(|| guard.empty_data(0, t), flood), 1000);
    // One after each piece of an upload, and one more.
    for _ in 1..10_000 {
        guard.data_received();
        guard.empty_data(1, t).unwrap();
    }
}

#[test]
fn frames_on_streams_that_are_over() {
    let t = start();
    let mut guard = guard(t);
    let flood = Violation::ClosedStreamFlood;
    assert_eq!(allowed(|| guard.closed_stream(10, t), flood), 1020);
}

#[test]
fn continuation_flood_cve_2024_27316() {
    let t = start();
    let mut guard = guard(t);
    let flood = Err(Violation::ContinuationFlood);
    // Many frames in a block.
    assert_eq!(guard.continuation(8, 4096, 40_000, false, t), Ok(()));
    assert_eq!(guard.continuation(9, 4096, 40_000, true, t), flood);
    // A large block.
    assert_eq!(guard.continuation(4, 16_384, 2 * LIST, false, t), Ok(()));
    assert_eq!(guard.continuation(4, 16_384, 2 * LIST + 1, true, t), flood);
}

#[test]
fn small_continuation_flood_cve_2026_33871() {
    let t = start();
    let mut guard = guard(t);
    let mut count = 0;
    let empty = || {
        count += 1;
        guard.continuation(count % 8 + 1, 0, 100, false, t)
    };
    assert_eq!(allowed(empty, Violation::ContinuationFlood), 100);
    // The end of a block may be as small as it likes.
    assert_eq!(guard.continuation(1, 1, 16_385, true, t), Ok(()));
}

#[test]
fn hpack_bomb_cve_2016_6581() {
    let guard = guard(start());
    assert_eq!(guard.header_list(4 * LIST, 200), Ok(()));
    let bomb = Err(Violation::HeaderBomb);
    assert_eq!(guard.header_list(4 * LIST + 1, 200), bomb);
}

#[test]
fn field_count_bomb_cve_2026_49975() {
    let guard = guard(start());
    assert_eq!(guard.header_list(LIST, 1000), Ok(()));
    let bomb = Err(Violation::HeaderBomb);
    assert_eq!(guard.header_list(LIST, 1001), bomb);
}

#[test]
fn unknown_frame_flood() {
    // RFC 9113 §5.5 requires us to ignore them, §10.5 to notice how many there are. Large ones cost
    // more.
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
fn an_idle_client_pings_for_hours() {
    let mut now = start();
    let mut guard = guard(now);
    for _ in 0..5000 {
        now += Duration::from_secs(10);
        guard.ping(now).unwrap();
    }
}

#[test]
fn a_cookie_of_90_crumbs_is_no_bomb() {
    let t = start();
    let mut guard = guard(t);
    for _ in 0..10_000 {
        guard.stream_opened();
        guard
            .header_list(90 * (32 + 6 + 60) + 2048, 90 + 25)
            .unwrap();
    }
}

#[test]
fn large_heads_in_full_continuation_frames_are_no_flood() {
    let t = start();
    let mut guard = guard(t);
    for _ in 0..10_000 {
        guard.continuation(1, 16_384, 32_768, false, t).unwrap();
        guard.continuation(2, 500, 33_268, true, t).unwrap();
    }
}

#[test]
fn a_client_raises_its_windows_for_days_while_it_uploads() {
    // No DATA of ours justifies anything; a client that tunes its windows every second is still no
    // attacker.
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
fn servers_of_ones_own_choice_may_do_more() {
    let t = start();
    let mut guard = Guard::new(Arc::new(Config::client()), t);
    let flood = Violation::WindowUpdateFlood;
    assert_eq!(allowed(|| guard.window_update(0, 0, t), flood), 10_000);
    // Half a MiB, all CONTINUATION frames full, is the most that one block may hold.
    let (own, list) = (
        AbuseLimits::for_upstreams(),
        Config::client().max_header_list_size,
    );
    assert!(own.header_block_factor * list <= 1 << 19);
}

#[test]
fn a_peak_stays_when_time_refills_the_budget() {
    let config = Arc::new(Config::server());
    let start = start();
    let mut guard = Guard::new(Arc::clone(&config), start);
    assert_eq!(guard.peaks(), GuardPeaks::default());
    let burst = config.abuse.pings.burst;
    let half = guard.charge(Kind::Pings, burst / 2, start, Violation::PingFlood);
    half.unwrap();
    let later = start + Duration::from_secs(3600);
    guard
        .charge(Kind::Pings, 1, later, Violation::PingFlood)
        .unwrap();
    let peaks = guard.peaks();
    let mut peaks = peaks.iter();
    let (name, percent) = peaks.find(|(_, percent)| *percent > 0).unwrap();
    assert_eq!(name, "pings");
    assert!((45..=55).contains(&percent), "{percent}");
    guard.release_memory(later + Duration::from_secs(3600));
    assert_eq!(guard.peaks(), GuardPeaks::default());
}
