//! Incoming DATA and its credit (RFC 9113 §6.1 and §6.9).

use std::time::Instant;

use tidegate_frame::{Data, ErrorCode, StreamId};
use tidegate_http::{Age, Event, Pace, ResetCause, Role, Violation};

use crate::conn::Connection;
use crate::conn::fault::{Fault, Outcome, illegal};
use crate::conn::messages::own_head;
use crate::conn::timer::Timer;
use crate::flow::{FIRST_GRANT, least_window};
use crate::stream::map::Lookup;
use crate::stream::state::{Input, Sender};
use crate::stream::{Counted, Grant, Phase};

/// The bytes of a body that a client has to send before its window is raised above the protocol's:
/// a head alone gets no loan. They come with the head, in the first flight of TCP.
const FIRST_GRANT_AFTER: i64 = 8 << 10;

impl Connection {
    pub(super) fn on_data(&mut self, frame: Data) -> Outcome {
        let id = frame.stream_id;
        // RFC 9113 §6.9: every DATA frame counts against the connection's window, even on a dead
        // stream.
        if self.recv_window.receive(frame.flow_len).is_err() {
            return Err(Violation::DataOverWindow.into());
        }
        if !frame.payload.is_empty() {
            self.guard.data_received();
        } else if !frame.end_stream {
            let streams = self.streams_opened();
            let charged = self.guard.empty_data(streams, self.now);
            self.tolerate(charged)?;
        }
        match self.streams.lookup(id) {
            Lookup::Live(slot) => self.on_stream_data(slot, frame),
            lookup => self.on_frame_of_gone(id, lookup),
        }
    }

    fn on_stream_data(&mut self, slot: usize, frame: Data) -> Outcome {
        if !self.admit_data(slot, &frame)? {
            self.charge_closed_stream()?;
            return Ok(None);
        }
        let Data {
            stream_id: id,
            payload,
            end_stream: end,
            flow_len,
        } = frame;
        let windows_grow = self.config.max_stream_window_size > self.least_window();
        let discard = self.streams.get(slot).recv.discard;
        if windows_grow && !discard {
            self.rtt.received(flow_len);
        }
        if !end && !discard && self.streams.get(slot).recv.grant == Grant::Due {
            self.grant_first(slot);
        }
        if !end && !discard && flow_len as usize > payload.len() {
            self.advertise_stream_window(slot);
        }
        if end {
            self.remove_if_closed(slot);
        } else if discard {
            self.reset_if_unneeded(slot);
        }
        let told = !discard && (end || !payload.is_empty());
        Ok(told.then_some(Event::Data {
            id,
            data: payload,
            end,
        }))
    }

    /// Applies a DATA frame to the stream's state and counts. Returns whether to report it; an
    /// owner that knows of the stream's end gets no more.
    fn admit_data(&mut self, slot: usize, frame: &Data) -> Result<bool, Fault> {
        let id = frame.stream_id;
        let len = frame.payload.len() as u32;
        let age = self.age();
        let mut stream = self.counted(slot);
        let input = if frame.end_stream {
            Input::DataEnd
        } else {
            Input::Data
        };
        let state = stream.state().on(Sender::Peer, input);
        let state = state.map_err(|bad| illegal(id, bad))?;
        if stream.awaits_release() {
            return Ok(false);
        }
        let counted = stream.count_data(len, frame.flow_len);
        counted.map_err(|violation| Fault(id, violation))?;
        stream.set_state(state);
        stream.recv.pace.moved(len as usize, age);
        if stream.recv.discard {
            stream.window().consume(frame.flow_len);
            stream.recv.discarded = stream.recv.discarded.saturating_add(frame.flow_len);
        } else {
            // Padding is consumed as soon as it arrives.
            stream.window().consume(frame.flow_len - len);
        }
        drop(stream);
        self.stats.body_in += u64::from(len);
        if frame.end_stream {
            self.end_of_message(slot)?;
        }
        Ok(true)
    }

    /// Starts the timer that checks the bodies.
    pub(crate) fn watch_bodies(&mut self) {
        self.timers
            .set_if_unset(Timer::Body, self.now, self.config.timeouts.body);
    }

    /// Gives up the streams whose body stopped or is too slow although the peer has window for it.
    pub(super) fn expire_bodies(&mut self) {
        let (limit, least) = (self.config.timeouts.body, self.config.min_body_rate);
        let (now, age) = (self.now, self.age());
        let mut slow = Vec::new();
        let mut next = None;
        for (slot, stream) in self.streams.iter_mut() {
            if !stream.awaits_body() {
                continue;
            }
            // Without window the peer can't send. The connection's window is never short.
            let judged = if stream.recv.window().is_open() {
                stream.recv.pace.judge(limit, least, age)
            } else {
                Ok(limit)
            };
            match judged {
                Ok(after) => next = earlier(next, now + after),
                Err(violation) => slow.push((slot, violation)),
            }
        }
        for (slot, violation) in slow {
            self.give_up_body(slot, violation);
        }
        if let Some(at) = next {
            self.timers.set_at(Timer::Body, at);
        }
    }

    /// Gives up a body. A request without a response is answered with 408.
    fn give_up_body(&mut self, slot: usize, violation: Violation) {
        let stream = self.streams.get(slot);
        let id = stream.id;
        if self.role == Role::Server && stream.send.phase == Phase::Head {
            // RFC 9110 §15.5.9: no complete request "within the time that it was prepared to wait".
            // RFC 9113 §8.1: after a complete response, RST_STREAM with NO_ERROR asks for no more
            // of the request.
            let head = own_head(&self.config, 408).field("content-length", "0");
            self.send_block(id, head.fields(), head.stamp(), true);
            self.send_reset(slot, ErrorCode::NO_ERROR);
        } else {
            self.send_reset(slot, violation.code());
        }
        self.lose(slot, violation.code(), ResetCause::Violation(violation));
    }

    // --- Credit ---

    /// Returns what our unacknowledged SETTINGS will add to every stream's window.
    pub(super) fn window_shift(&self) -> i64 {
        i64::from(self.settings.announced_window()) - i64::from(self.settings.binding_window)
    }

    /// Returns the window of a new stream, and the least that a window shrinks to.
    pub(super) fn least_window(&self) -> u32 {
        least_window(&self.config, self.settings.announced_window())
    }

    /// Returns a stream to change whatever the connection's sums depend on.
    #[inline]
    pub(super) fn counted(&mut self, slot: usize) -> Counted<'_> {
        let shift = self.window_shift();
        let stream = self.streams.get_mut(slot);
        Counted::new(stream, &mut self.recv_window, &mut self.memory, shift)
    }

    /// The owner has consumed `bytes`.
    pub(crate) fn consume(&mut self, slot: usize, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let bytes = self.counted(slot).window().consume(bytes);
        if bytes == 0 {
            return;
        }
        let stream = self.streams.get_mut(slot);
        if stream.is_receiving() && !stream.recv.discard {
            let (rtt, now) = (self.rtt.get(), self.now);
            let size = stream.recv.window().size();
            if stream.recv.tuning.consumed(bytes, size, rtt, now) {
                self.grow_stream_window(slot, size.saturating_mul(2));
            }
            self.advertise_stream_window(slot);
        }
    }

    /// Opens the window for the body of a message whose head has arrived: as large as it can be
    /// before the path is known.
    pub(super) fn open_body(&mut self, slot: usize) {
        let (age, shift) = (self.age(), self.window_shift());
        let stream = self.streams.get_mut(slot);
        let recv = &mut stream.recv;
        recv.pace = Pace::new(age);
        // A tunnel may be silent for long, so its window grows only once it is used.
        let is_long = i64::from(recv.usable()) > recv.window().available() + shift;
        if !stream.connect_request && is_long {
            match self.role {
                Role::Client => self.grow_stream_window(slot, FIRST_GRANT),
                Role::Server => recv.grant = Grant::Due,
            }
        }
        self.advertise_stream_window(slot);
    }

    /// Raises the window of a body that begins to arrive, once.
    fn grant_first(&mut self, slot: usize) {
        let least = i64::from(self.least_window());
        let recv = &mut self.streams.get_mut(slot).recv;
        if recv.window().available() <= least - FIRST_GRANT_AFTER {
            recv.grant = Grant::None;
            self.grow_stream_window(slot, FIRST_GRANT);
        }
    }

    /// Raises a stream's window if the limits allow it, and advertises it at once.
    fn grow_stream_window(&mut self, slot: usize, size: u32) {
        let shift = self.window_shift();
        let stream = self.streams.get_mut(slot);
        let most = self.config.max_stream_window_size;
        let size = size.min(most).min(stream.recv.max_window);
        let mut window = *stream.recv.window();
        if size <= window.size() {
            return;
        }
        window.set_size(size);
        let share = stream.recv.share_of(&window, true, shift);
        if !self.may_lend(slot, share) {
            return;
        }
        self.stats.windows_grown += 1;
        let mut stream = self.counted(slot);
        stream.window().set_size(size);
        let increment = stream.advertise();
        drop(stream);
        if let Some(increment) = increment {
            self.note_window_advertised(slot, increment);
        }
    }

    /// Advertises the credit that is due on a stream.
    fn advertise_stream_window(&mut self, slot: usize) {
        let (rtt, now) = (self.rtt.get(), self.now);
        let least = self.least_window();
        let is_tight = self.memory.is_tight();
        if !self
            .streams
            .get(slot)
            .recv
            .window()
            .is_due(self.window_shift())
        {
            return;
        }
        let mut stream = self.counted(slot);
        let unadvertised = *stream.recv.window();
        let mut increment = stream.advertise_if_due();
        if increment.is_none() {
            return;
        }
        let is_long = stream.recv.tuning.advertised(rtt, now);
        let size = unadvertised.size();
        let shrinks = size > least && (is_long || is_tight);
        if shrinks {
            *stream.window() = unadvertised;
            stream.window().set_size((size / 2).max(least));
            increment = stream.advertise_if_due();
        }
        drop(stream);
        self.stats.windows_shrunk += u64::from(shrinks);
        if let Some(increment) = increment {
            self.note_window_advertised(slot, increment);
        }
    }

    /// Sends WINDOW_UPDATE on a stream whose window includes the increment already.
    fn note_window_advertised(&mut self, slot: usize, increment: u32) {
        let stream = self.streams.get_mut(slot);
        if stream.recv.window().available() <= i64::from(increment) {
            // The window was closed: only now is it the peer's turn again.
            stream.recv.pace = Pace::new(Age::new(self.born, self.now));
        }
        let id = stream.id;
        self.send_window_update(id, increment);
    }

    /// Applies our SETTINGS_INITIAL_WINDOW_SIZE, which now binds the peer (RFC 9113 §6.9.2).
    pub(super) fn apply_initial_window_size(&mut self) {
        let delta = self.window_shift();
        if delta == 0 {
            return;
        }
        self.settings.binding_window = self.settings.announced_window();
        for slot in self.streams.slots() {
            let mut stream = self.counted(slot);
            stream.window().shift(delta);
            let (discard, receiving) = (stream.recv.discard, stream.is_receiving());
            drop(stream);
            if receiving && !discard {
                self.advertise_stream_window(slot);
            }
            if discard {
                self.reset_if_unneeded(slot);
            }
        }
    }

    /// Advertises credit on the connection's window, once for all events of a turn.
    pub(super) fn advertise_connection_window(&mut self) {
        if let Some(increment) = self.recv_window.advertise_if_due() {
            self.send_window_update(StreamId::CONNECTION, increment);
        }
    }
}

/// Returns the earlier of two times, of which the first may be missing.
pub(super) fn earlier(next: Option<Instant>, at: Instant) -> Option<Instant> {
    Some(next.map_or(at, |next| next.min(at)))
}
