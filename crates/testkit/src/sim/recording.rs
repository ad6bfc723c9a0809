//! A trace of a simulated connection, as its server sees it.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_http::{Config, Event as Told, Outbox, ResetCause};
use tidegate_trace::{
    Direction, EngineSettings, Event, Record, Shadow, Started, Values, VantagePoint, closed,
    header, rule, write,
};

/// The most slices of an outbox that are looked at.
const SLICES: usize = 4096;

/// The trace of one connection.
pub(crate) struct Recording {
    shadow: Shadow,
    file: Arc<Mutex<String>>,
}

impl Recording {
    /// Begins a trace of a server with these settings.
    /// The file is there too if a check fails and the simulation ends in the middle.
    pub(crate) fn new(config: &Config, values: Values, file: Arc<Mutex<String>>) -> Self {
        let started = Started {
            engine: EngineSettings::of(config),
            ..Started::default()
        };
        *lock(&file) = header("tidegate simulator", VantagePoint::Server, None);
        let mut recording = Self {
            shadow: Shadow::new(VantagePoint::Server, &started.engine, values),
            file,
        };
        recording.add(Duration::ZERO, Event::Started(Box::new(started)));
        recording
    }

    fn add(&mut self, time: Duration, event: Event) {
        let record = Record {
            time,
            group_id: "sim".into(),
            event,
        };
        write(&record, &mut lock(&self.file));
    }

    /// Enters bytes that the server gets.
    pub(crate) fn received(&mut self, time: Duration, bytes: &[u8]) {
        let mut frames = Vec::new();
        self.shadow
            .read(Direction::Received, bytes, |frame| frames.push(frame));
        for frame in frames {
            self.add(time, Event::Received(frame));
        }
    }

    /// Enters what the server has added to its outbox, behind the first `before` bytes.
    pub(crate) fn sent(&mut self, time: Duration, outbox: &Outbox, mut before: usize) {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let used = outbox.io_slices(&mut slices);
        let mut frames = Vec::new();
        for slice in &slices[..used] {
            let skipped = before.min(slice.len());
            before -= skipped;
            self.shadow
                .read(Direction::Sent, &slice[skipped..], |frame| {
                    frames.push(frame);
                });
        }
        for frame in frames {
            self.add(time, Event::Sent(frame));
        }
    }

    /// Enters an event of the server's engine.
    pub(crate) fn told(&mut self, time: Duration, event: &Told) {
        match event {
            Told::Reset {
                id,
                cause: ResetCause::Violation(violation),
                ..
            } => self.add(time, Event::Rule(rule(*violation, Some(*id)))),
            Told::Closed(reason) => {
                if let tidegate_http::CloseReason::Violation(violation) = reason {
                    self.add(time, Event::Rule(rule(*violation, None)));
                }
                self.add(time, Event::Closed(closed(reason)));
            }
            _ => {}
        }
    }
}

fn lock(file: &Mutex<String>) -> MutexGuard<'_, String> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
