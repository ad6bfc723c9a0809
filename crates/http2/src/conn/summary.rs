//! The little that a list of many connections says of each.

use std::time::Instant;

use crate::conn::Connection;
use crate::inspection::GuardLevel;

impl Connection {
    /// Returns the budget against abuse of which the largest share is spent, if any is.
    pub fn highest_guard(&self, now: Instant) -> Option<GuardLevel> {
        self.guard.highest(now)
    }

    /// Returns the number of streams whose body the peer's windows hold up: their own, or the
    /// connection's.
    pub fn held_up_streams(&self) -> usize {
        let is_blocked = self.send_window.available() == 0;
        let streams = self.streams.iter().map(|(_, stream)| stream);
        let stalled = streams.filter(|stream| {
            let has_body = stream.send.buf.wants_turn() && !stream.awaits_release();
            has_body && (is_blocked || stream.send.window.available() == 0)
        });
        stalled.count()
    }
}
