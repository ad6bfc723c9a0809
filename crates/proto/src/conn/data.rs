//! DATA that comes in, and its credit (RFC 9113 §6.1 and §6.9).

use tidegate_frame::{Data, StreamId};

use crate::conn::Connection;
use crate::conn::recv::{Fault, Outcome, illegal};
use crate::conn::timer::Timer;
use crate::error::Violation;
use crate::event::Event;
use crate::stream::map::Lookup;
use crate::stream::state::{Input, Sender};
use crate::stream::{Phase, Stream};

impl Connection {
    pub(super) fn on_data(&mut self, frame: Data) -> Outcome {
        let id = frame.stream_id;
        // RFC 9113 §6.9: every DATA frame counts against the connection's window, that on a dead stream too.
        if self.recv_window.receive(frame.flow_len).is_err() {
            return Err(Violation::DataOverWindow.into());
        }
        if frame.payload.is_empty() && !frame.end_stream {
            self.guard.empty_data(self.now)?;
        }
        match self.streams.lookup(id) {
            Lookup::Live(slot) => self.on_stream_data(slot, frame),
            lookup => {
                self.release_connection_window(frame.flow_len);
                self.on_frame_of_gone(id, lookup)
            }
        }
    }

    fn on_stream_data(&mut self, slot: usize, frame: Data) -> Outcome {
        match self.admit_data(slot, &frame) {
            Ok(true) => {}
            dropped => {
                self.release_connection_window(frame.flow_len);
                return dropped.map(|_| None);
            }
        }
        let Data {
            stream_id: id,
            payload,
            end_stream: end,
            flow_len,
        } = frame;
        let len = payload.len() as u32;
        // Padding is done with as soon as it is there.
        let stream = self.streams.get_mut(slot);
        let discard = stream.recv.discard;
        let done = if discard { flow_len } else { flow_len - len };
        if !discard {
            stream.recv.unconsumed += len;
            if done > 0
                && !end
                && let Some(increment) = stream.recv.window.release(done)
            {
                self.send_window_update(id, increment);
            }
        } else if !end && !stream.recv.window.is_open() {
            self.release_connection_window(done);
            self.reset_if_unneeded(slot);
            return Ok(None);
        }
        self.release_connection_window(done);
        self.remove_if_closed(slot);
        let told = !discard && (end || !payload.is_empty());
        Ok(told.then_some(Event::Data {
            id,
            data: payload,
            end,
        }))
    }

    /// Moves the stream's state and counts on by a DATA frame. Whether anybody waits for it: an owner that was told of the
    /// stream's end does not.
    fn admit_data(&mut self, slot: usize, frame: &Data) -> Result<bool, Fault> {
        let id = frame.stream_id;
        let len = frame.payload.len() as u32;
        let stream = self.streams.get_mut(slot);
        let input = if frame.end_stream {
            Input::DataEnd
        } else {
            Input::Data
        };
        let state = stream.state.on(Sender::Peer, input);
        let state = state.map_err(|bad| illegal(id, bad))?;
        if stream.held {
            return Ok(false);
        }
        count_data(stream, len, frame.flow_len).map_err(|violation| Fault(id, violation))?;
        stream.state = state;
        stream.recv.progress_at = self.now;
        self.stats.body_in += u64::from(len);
        if frame.end_stream {
            self.end_of_message(slot)?;
        }
        Ok(true)
    }

    /// Resets the streams whose body does not come, though there is window for it. A tunnel carries no body: how long it
    /// may be silent is a question to its ends.
    pub(super) fn expire_bodies(&mut self) {
        let limit = self.config.timeouts.body;
        let has_window = self.recv_window.is_open();
        let window_open_since = self.window_open_since;
        let in_body = |stream: &&Stream| {
            stream.recv.phase == Phase::Body && !stream.held && !stream.is_tunnel()
        };
        // Since when the peer could have sent something: without window, not yet.
        let waiting_since = |stream: &Stream| {
            let could = has_window && stream.recv.window.is_open();
            could.then(|| stream.recv.progress_at.max(window_open_since))
        };
        let streams = self.streams.iter();
        let expired: Vec<usize> = streams
            .filter(|(_, stream)| in_body(stream))
            .filter(|(_, stream)| waiting_since(stream).is_some_and(|at| at + limit <= self.now))
            .map(|(slot, _)| slot)
            .collect();
        for slot in expired {
            self.lose_by_violation(slot, Violation::BodyTimedOut);
        }
        // A stream without window now may have some later, so it is looked at again then.
        let left = self
            .streams
            .iter()
            .map(|(_, stream)| stream)
            .filter(in_body);
        if let Some(oldest) = left
            .map(|stream| waiting_since(stream).unwrap_or(self.now))
            .min()
        {
            self.timers.set(Timer::Body, oldest, limit);
        }
    }

    /// Gives the peer credit on the connection's window.
    pub(crate) fn release_connection_window(&mut self, octets: u32) {
        if octets == 0 {
            return;
        }
        let was_open = self.recv_window.is_open();
        if let Some(increment) = self.recv_window.release(octets) {
            if !was_open {
                self.window_open_since = self.now;
            }
            self.send_window_update(StreamId::CONNECTION, increment);
        }
    }
}

/// Counts DATA against the stream's window and the message's content.
fn count_data(stream: &mut Stream, len: u32, flow_len: u32) -> Result<(), Violation> {
    if stream.recv.window.receive(flow_len).is_err() {
        return Err(Violation::DataOverStreamWindow);
    }
    // RFC 9113 §8.1: a message begins with its head.
    if stream.recv.phase == Phase::Head {
        return Err(Violation::DataBeforeResponseHead);
    }
    if stream.recv.no_content && len > 0 {
        return Err(Violation::DataWithoutContent);
    }
    if let Some(left) = &mut stream.recv.content_left {
        *left = left
            .checked_sub(u64::from(len))
            .ok_or(Violation::ContentLengthMismatch)?;
    }
    Ok(())
}
