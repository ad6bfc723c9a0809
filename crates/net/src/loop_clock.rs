//! The clock of a loop, which stands still while the process does.

use std::time::{Duration, Instant};

/// A loop that is this late was stopped: a busy machine doesn't delay it as long.
const LATE: Duration = Duration::from_millis(500);

/// The least time that peers have after the process was stopped, to go on with what they had begun.
const GRACE: Duration = Duration::from_secs(1);

/// The loop's time, apart from the system's.
///
/// A virtual machine that is moved, or a process that is frozen, finds all its deadlines passed
/// when it goes on, although no peer was late: the peers' bytes wait in the sockets, and peers that
/// wait for our answer couldn't go on. So the time in which the process stood still doesn't count.
#[derive(Debug, Default)]
pub(crate) struct LoopClock {
    /// The total time that doesn't count.
    skipped: Duration,
    last: Last,
}

/// Whether the last turn was late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    #[default]
    OnTime,
    /// The turn was late and was forgiven. Two in a row aren't: where each turn takes long, time
    /// must go on.
    Late,
}

impl LoopClock {
    /// Returns the loop's time at `system` of the system's clock.
    pub(crate) fn at(&self, system: Instant) -> Instant {
        system.checked_sub(self.skipped).unwrap_or(system)
    }

    /// Returns the system's time at `time` of the loop's clock.
    pub(crate) fn system(&self, time: Instant) -> Instant {
        time + self.skipped
    }

    /// Wakes the loop at `system` of the system's clock. The turn before began at `last`, and this
    /// one was due at `due`, both by the loop's clock. Returns the time of the turn.
    pub(crate) fn wake(&mut self, system: Instant, last: Instant, due: Option<Instant>) -> Instant {
        let now = self.at(system).max(last);
        let late = due.map_or(Duration::ZERO, |due| {
            now.saturating_duration_since(due.max(last))
        });
        if late < LATE || self.last == Last::Late {
            self.last = Last::OnTime;
            return now;
        }
        self.last = Last::Late;
        let resumed = due.and_then(|due| due.checked_sub(GRACE));
        let resumed = resumed.map_or(last, |resumed| resumed.max(last));
        self.skipped += now - resumed;
        log::info!("the process stood still for {} ms", late.as_millis());
        resumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_as_the_systems_does_while_turns_are_on_time() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut clock = LoopClock::default();
        assert_eq!(clock.wake(at(100), start, None), at(100));
        // Nothing was due.
        assert_eq!(clock.wake(at(90_100), at(100), None), at(90_100));
        // An event came before what was due, and a little late.
        assert_eq!(
            clock.wake(at(90_200), at(90_100), Some(at(95_000))),
            at(90_200)
        );
        assert_eq!(
            clock.wake(at(95_499), at(90_200), Some(at(95_000))),
            at(95_499)
        );
    }

    #[test]
    fn what_was_due_in_a_pause_is_due_a_while_after_it() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut clock = LoopClock::default();
        assert_eq!(clock.wake(at(60_000), start, Some(at(9_000))), at(8_000));
        assert_eq!(clock.at(at(60_900)), at(8_900));
        assert_eq!(clock.system(at(9_000)), at(61_000));
        assert_eq!(
            clock.wake(at(61_000), at(8_000), Some(at(9_000))),
            at(9_000)
        );
        // Time doesn't go back.
        assert_eq!(
            clock.wake(at(66_000), at(9_000), Some(at(9_500))),
            at(9_000)
        );
    }

    #[test]
    fn time_goes_on_where_each_turn_is_late() {
        let start = Instant::now();
        let mut clock = LoopClock::default();
        let mut last = start;
        for turn in 1..=10 {
            last = clock.wake(start + turn * 2 * LATE, last, Some(start));
        }
        assert_eq!(last, start + 5 * 2 * LATE);
    }
}
