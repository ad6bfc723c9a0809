//! The rest of a request that was answered early: some of it is accepted and ignored, then the
//! stream is reset.

use std::time::Duration;

use tidegate_frame::ErrorCode;
use tidegate_http::Pace;
use tidegate_http::engine::MAX_DISCARDED;

use crate::conn::Connection;
use crate::conn::data::earlier;
use crate::conn::timer::Timer;
use crate::stream::state::Sender;

impl Connection {
    /// Discards the rest of an answered request.
    pub(crate) fn discard_rest(&mut self, slot: usize) {
        self.timers
            .set_if_unset(Timer::Discard, self.now, self.config.timeouts.discard);
        let age = self.age();
        let least = self.least_window();
        let mut stream = self.counted(slot);
        stream.recv.discard = true;
        stream.recv.pace = Pace::new(age);
        stream.window().consume(u32::MAX);
        stream.window().set_size(least);
        drop(stream);
        self.reset_if_unneeded(slot);
    }

    /// Resets a stream whose request is no longer needed, after accepting some of it, so that the
    /// client can read the response. RFC 9113 §8.1: a server that has answered in full "MAY request
    /// that the client abort transmission of a request without error by sending a RST_STREAM with
    /// an error code of NO_ERROR".
    pub(super) fn reset_if_unneeded(&mut self, slot: usize) {
        let stream = self.streams.get(slot);
        let recv = &stream.recv;
        if !recv.discard || stream.awaits_release() || stream.state().has_ended(Sender::Peer) {
            return;
        }
        if recv.discarded as usize <= MAX_DISCARDED {
            if recv.window().is_open() {
                return;
            }
            let id = stream.id;
            let increment = self.counted(slot).advertise();
            if let Some(increment) = increment {
                return self.send_window_update(id, increment);
            }
        }
        self.send_reset(slot, ErrorCode::NO_ERROR);
        self.remove(slot);
    }

    /// Ends the streams whose request was answered and whose time for the rest is over.
    pub(super) fn expire_discards(&mut self) {
        let (limit, now, age) = (self.config.timeouts.discard, self.now, self.age());
        let mut over = Vec::new();
        let mut next = None;
        for (slot, stream) in self.streams.iter() {
            if !stream.recv.discard || stream.awaits_release() {
                continue;
            }
            match limit.saturating_sub(stream.recv.pace.lasts(age)) {
                Duration::ZERO => over.push(slot),
                left => next = earlier(next, now + left),
            }
        }
        for slot in over {
            self.send_reset(slot, ErrorCode::NO_ERROR);
            self.remove(slot);
        }
        if let Some(at) = next {
            self.timers.set_at(Timer::Discard, at);
        }
    }
}
