//! A check of the engine's books, for tests, simulators and fuzzers.

use crate::conn::Connection;
use crate::stream::state::Sender;
use crate::stream::{More, Phase};

impl Connection {
    /// Checks that the books add up: windows, counts, and that no stream that could send was
    /// forgotten. Takes time in proportion to the streams; meant for tests.
    ///
    /// # Errors
    /// Returns the contradiction, in words.
    pub fn audit(&self) -> Result<(), String> {
        if self.lifetime.is_over() {
            return if self.streams.is_empty() {
                Ok(())
            } else {
                Err(format!(
                    "{} streams on a closed connection",
                    self.streams.len()
                ))
            };
        }
        let mut open = [0, 0];
        for (_, stream) in self.streams.iter() {
            let id = stream.id;
            open[stream.opened_by as usize] += 1;
            let share = stream.share(self.window_shift());
            if share != stream.recv.share() {
                let counted = stream.recv.share();
                return Err(format!("stream {id}: {share:?}, counted is {counted:?}"));
            }
            let window = stream.recv.window();
            let waits = stream.is_receiving() && window.unconsumed() == 0;
            let available = window.available() + self.window_shift().max(0);
            let starved = available <= 0 && window.size() > 0;
            if waits && starved && stream.recv.usable() > 0 && stream.recv.phase == Phase::Body {
                return Err(format!(
                    "stream {id} has no window, and nobody who opens it"
                ));
            }
            let wants = stream.send.buf.wants_turn() && !stream.awaits_release();
            let could = wants && stream.send.window.available() > 0;
            if could && !stream.queued {
                return Err(format!(
                    "stream {id} could send, but is not in the scheduler"
                ));
            }
            let asked = stream.send.buf.more == More::Asked;
            if stream.queued && !wants && !asked {
                return Err(format!(
                    "stream {id} is in the scheduler, but has nothing to send"
                ));
            }
            if stream.state().is_closed() && !stream.awaits_release() {
                return Err(format!("stream {id} is closed, but still has its slot"));
            }
        }
        let queued = self.streams.iter().filter(|(_, stream)| stream.queued);
        let queued: Vec<usize> = queued.map(|(slot, _)| slot).collect();
        let scheduled = self.sched.check()?;
        if scheduled != queued {
            return Err(format!(
                "{scheduled:?} are in the scheduler, {queued:?} should be"
            ));
        }
        let shares = self.streams.iter().map(|(_, stream)| stream.recv.share());
        self.recv_window.audit(shares)?;
        self.memory
            .audit(self.streams.iter().map(|(_, stream)| stream))?;
        for sender in [Sender::Us, Sender::Peer] {
            let counted = self.streams.opened_by(sender);
            if counted != open[sender as usize] {
                let found = open[sender as usize];
                return Err(format!(
                    "{counted} streams counted as opened by {sender:?}, {found} found"
                ));
            }
        }
        Ok(())
    }
}
