//! The flow-control windows of a connection, computed from its frames.

use std::collections::HashMap;

use tidegate_frame::{Data, Frame, SettingId, Settings, StreamId};

use crate::Direction;
use crate::record::Windows;

/// The most streams whose windows are known at once. Those beyond have none in the trace.
const MOST_STREAMS: usize = 20_000;

/// Windows before SETTINGS (RFC 9113 §6.9.2).
const INITIAL: i64 = 65_535;

/// The windows of both directions.
pub(crate) struct Book {
    streams: HashMap<u32, Stream>,
    connection: Both,
    /// The windows with which streams begin.
    initial: Both,
    /// The value of SETTINGS_INITIAL_WINDOW_SIZE in each SETTINGS of ours that isn't acknowledged
    /// yet.
    unacknowledged: std::collections::VecDeque<Option<i64>>,
}

/// A window in each direction.
#[derive(Clone, Copy)]
struct Both {
    send: i64,
    receive: i64,
}

struct Stream {
    windows: Both,
    sent_all: bool,
    received_all: bool,
}

impl Both {
    fn of(&mut self, direction: Direction) -> &mut i64 {
        match direction {
            Direction::Received => &mut self.receive,
            Direction::Sent => &mut self.send,
        }
    }
}

impl Default for Book {
    fn default() -> Self {
        let initial = Both {
            send: INITIAL,
            receive: INITIAL,
        };
        Self {
            streams: HashMap::new(),
            connection: initial,
            initial,
            unacknowledged: Default::default(),
        }
    }
}

impl Book {
    /// Enters a frame. Returns the windows after it, if it has to do with them.
    pub(crate) fn enter(&mut self, direction: Direction, frame: &Frame) -> Option<Windows> {
        match frame {
            Frame::Data(Data {
                stream_id,
                end_stream,
                flow_len,
                ..
            }) => {
                *self.connection.of(direction) -= i64::from(*flow_len);
                if let Some(stream) = self.streams.get_mut(&stream_id.get()) {
                    *stream.windows.of(direction) -= i64::from(*flow_len);
                }
                let windows = self.of(*stream_id);
                self.end(direction, *stream_id, *end_stream);
                Some(windows)
            }
            Frame::Headers(frame) => {
                self.open(frame.stream_id);
                let windows = self.of(frame.stream_id);
                self.end(direction, frame.stream_id, frame.end_stream);
                Some(windows)
            }
            Frame::PushPromise(frame) => {
                self.open(frame.promised_id);
                self.end(direction.other(), frame.promised_id, true);
                None
            }
            Frame::RstStream(frame) => {
                self.streams.remove(&frame.stream_id.get());
                None
            }
            Frame::Settings(settings) => self.settings(direction, settings),
            Frame::WindowUpdate(frame) => {
                let window = direction.other();
                let increment = i64::from(frame.increment);
                if frame.stream_id.is_connection() {
                    *self.connection.of(window) += increment;
                } else if let Some(stream) = self.streams.get_mut(&frame.stream_id.get()) {
                    *stream.windows.of(window) += increment;
                }
                Some(self.of(frame.stream_id))
            }
            _ => None,
        }
    }

    fn settings(&mut self, direction: Direction, settings: &Settings) -> Option<Windows> {
        let value = settings
            .entries()
            .filter(|(id, _)| *id == SettingId::INITIAL_WINDOW_SIZE)
            .last()
            .map(|(_, value)| i64::from(value));
        match (direction, settings) {
            // What we announce binds the peer once it has acknowledged it (RFC 9113 §6.5.3).
            (Direction::Sent, Settings::Values(_)) => {
                self.unacknowledged.push_back(value);
                None
            }
            (Direction::Received, Settings::Ack) => {
                let value = self.unacknowledged.pop_front().flatten()?;
                self.change(Direction::Received, value)
            }
            (Direction::Received, Settings::Values(_)) => self.change(Direction::Sent, value?),
            (Direction::Sent, Settings::Ack) => None,
        }
    }

    fn change(&mut self, window: Direction, value: i64) -> Option<Windows> {
        let initial = self.initial.of(window);
        let difference = value - *initial;
        *initial = value;
        for stream in self.streams.values_mut() {
            *stream.windows.of(window) += difference;
        }
        Some(self.of(StreamId::CONNECTION))
    }

    fn open(&mut self, id: StreamId) {
        let has_room = self.streams.len() < MOST_STREAMS;
        if has_room && !id.is_connection() {
            self.streams.entry(id.get()).or_insert(Stream {
                windows: self.initial,
                sent_all: false,
                received_all: false,
            });
        }
    }

    fn end(&mut self, direction: Direction, id: StreamId, is_end: bool) {
        if let Some(stream) = self.streams.get_mut(&id.get())
            && is_end
        {
            match direction {
                Direction::Received => stream.received_all = true,
                Direction::Sent => stream.sent_all = true,
            }
            if stream.sent_all && stream.received_all {
                self.streams.remove(&id.get());
            }
        }
    }

    fn of(&self, id: StreamId) -> Windows {
        let stream = self.streams.get(&id.get());
        Windows {
            stream_send: stream.map(|stream| stream.windows.send),
            stream_receive: stream.map(|stream| stream.windows.receive),
            connection_send: self.connection.send,
            connection_receive: self.connection.receive,
        }
    }
}
