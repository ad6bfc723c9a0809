//! Replays: a trace goes through the engine again.
//!
//! - `client`       the client's frames, rebuilt from their records
//! - `heads`        heads that an end sent, in one frame or several
//! - `lengths`      the lengths that a replay believes
//! - `script`       what the application did, read from the frames that the server sent
//! - `application`  the engine, and the application's part
//! - `outcome`      what an end sent, and where two of these differ
//!
//! The client's frames come at their times, of a clock that only the trace moves. The application
//! answers as it did then: heads and bodies of the same lengths, resets, pushes and the end at the
//! same times. All else is the engine's: what it acknowledges, refuses, resets and closes, and by
//! which rule. The outcome is compared by stream and by connection. How a body was split into DATA
//! isn't compared, nor when windows were opened.

mod application;
mod client;
mod heads;
mod lengths;
mod outcome;
mod script;

use std::fmt;
use std::time::{Duration, Instant};

use crate::file::{Connection, Trace, header, write};
use crate::record::{Event, FrameRecord, Record, VantagePoint};
use application::Application;
pub use outcome::Difference;
use outcome::Outcome;

/// A timer of the engine that is due this shortly before a frame came may have fired after it: the
/// loop reads what has arrived before it fires timers, and rounds them up.
const LATE: Duration = Duration::from_millis(40);

/// Why a connection can't be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The trace doesn't begin with the connection.
    NoStart,
    /// Frames were left out.
    Omitted(u64),
    /// A record has a length that no frame or field has, or all fields together are too long.
    TooLong,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStart => f.write_str("the trace doesn't have the connection's beginning"),
            Self::Omitted(frames) => write!(
                f,
                "{frames} frames at the beginning were left out by --trace-ring"
            ),
            Self::TooLong => f.write_str("its records have lengths that are too large"),
        }
    }
}

/// Replays a connection, as its server. `start` is any time. Returns where the engine does
/// otherwise than recorded, in the order of time.
///
/// # Errors
/// When only a part of the connection was recorded.
pub fn replay(connection: &Connection, start: Instant) -> Result<Vec<Difference>, Unfit> {
    let records = &connection.records;
    let Some(Event::Started(started)) = records.first().map(|record| &record.event) else {
        return Err(Unfit::NoStart);
    };
    for record in records {
        if let Event::Omitted { frames } = record.event {
            return Err(Unfit::Omitted(frames));
        }
    }
    if !lengths::are_fit(records) {
        return Err(Unfit::TooLong);
    }
    let mut application = Application::new(&started.engine, records, start);
    let mut client = client::Client::new(records, &started.engine);
    let mut rest = records.as_slice();
    while let Some(first) = rest.first() {
        // What came in one read is processed as one.
        let is_alike = |record: &&Record| record.time == first.time && is_same(first, record);
        let count = rest.iter().take_while(is_alike).count().max(1);
        let (batch, behind) = rest.split_at(count);
        match &first.event {
            Event::Received(_) => {
                application.pass(first.time, LATE);
                let frames = batch.iter().filter_map(received);
                let bytes: Vec<u8> = frames.flat_map(|frame| client.bytes(frame)).collect();
                application.receive(&bytes);
            }
            Event::Sent(_) => {
                application.pass(first.time, Duration::ZERO);
                application.act(batch);
            }
            _ => {}
        }
        rest = behind;
    }
    // An engine may report its end before the last frames are written.
    for record in records {
        if let Event::Closed(closed) = &record.event {
            application.pass(record.time, Duration::ZERO);
            application.end(closed);
        }
    }
    let recorded = Outcome::of(records);
    let replayed = Outcome::of(&application.into_records());
    Ok(recorded.differences(&replayed))
}

fn is_same(first: &Record, other: &Record) -> bool {
    matches!(
        (&first.event, &other.event),
        (Event::Received(_), Event::Received(_)) | (Event::Sent(_), Event::Sent(_))
    )
}

fn received(record: &Record) -> Option<&FrameRecord> {
    match &record.event {
        Event::Received(frame) => Some(frame),
        _ => None,
    }
}

/// Replays all connections of a file. `start` is any time.
///
/// # Errors
/// Sentences about what differs, or about why the file can't be replayed.
pub fn agrees(file: &[u8], start: Instant) -> Result<(), String> {
    let trace = Trace::read(file);
    if let Some(damage) = trace.damage {
        return Err(damage.to_string());
    }
    if trace.connections.is_empty() {
        return Err("the trace has no connection".into());
    }
    let mut text = String::new();
    for connection in &trace.connections {
        match replay(connection, start) {
            Ok(differences) => {
                for difference in differences {
                    text += &format!("connection {}: {difference}\n", connection.id);
                }
            }
            Err(unfit) => text += &format!("connection {}: {unfit}\n", connection.id),
        }
    }
    if text.is_empty() { Ok(()) } else { Err(text) }
}

/// Returns a file with this connection alone, and the text of a test in Rust that replays it.
/// `name` is that of the file, without `.trace`, and of the test.
pub fn as_test(connection: &Connection, name: &str) -> (String, String) {
    let mut file = header("tidegate replay --as-test", VantagePoint::Server, None);
    for record in &connection.records {
        write(record, &mut file);
    }
    let test = format!(
        "//! A recorded connection, which `tidegate replay --as-test` made a test of.\n\
         \n\
         #[test]\n\
         fn {name}() {{\n    \
             let trace = include_bytes!(\"{name}.trace\");\n    \
             if let Err(differences) = tidegate_testkit::trace::agrees(trace) {{\n        \
                 panic!(\"{{differences}}\");\n    \
             }}\n\
         }}\n"
    );
    (file, test)
}
