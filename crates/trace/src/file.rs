//! Files of traces: JSON text sequences (RFC 7464), a record a line.

use std::fmt;

use serde::Serialize;

use crate::record::{Event, FileHeader, Record, VERSION, VantagePoint};

/// The byte before each JSON text (RFC 7464 §2.2).
const RECORD_SEPARATOR: u8 = 0x1e;

/// The most connections that are read from one file.
const MOST_CONNECTIONS: usize = 1_000_000;

/// Returns the first record of a file.
pub fn header(title: &str, vantage_point: VantagePoint, reference_time: Option<String>) -> String {
    let mut out = String::new();
    push(
        &mut out,
        &FileHeader {
            tidegate_trace: VERSION,
            title: title.into(),
            vantage_point,
            reference_time,
        },
    );
    out
}

/// Returns a note about the file.
pub fn note(text: &str) -> String {
    let mut out = String::new();
    push(
        &mut out,
        &Record {
            time: std::time::Duration::ZERO,
            group_id: String::new(),
            event: Event::Note { text: text.into() },
        },
    );
    out
}

/// Appends a record to `out`.
pub fn write(record: &Record, out: &mut String) {
    push(out, record);
}

fn push(out: &mut String, value: &impl Serialize) {
    out.push(char::from(RECORD_SEPARATOR));
    // Neither the types nor a `String` can fail.
    if let Ok(text) = serde_json::to_string(value) {
        out.push_str(&text);
    }
    out.push('\n');
}

/// A connection of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// The connection's name in the file.
    pub id: String,
    /// Its records, in the order of the file.
    pub records: Vec<Record>,
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The first record of the file.
    pub header: Option<FileHeader>,
    /// The connections, in the order of their first records.
    pub connections: Vec<Connection>,
    /// The writer's notes about the file, such as that records were lost.
    pub notes: Vec<String>,
    /// The damage of the file, if there is any. The records before it were read.
    pub damage: Option<Damage>,
}

/// The damage of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file doesn't begin as a trace does.
    NotATrace,
    /// The file has a version that this reader doesn't know.
    Version(u32),
    /// The file ends in the middle of a record.
    Cut {
        /// The number of the record, from 1.
        record: usize,
    },
    /// A record can't be read. Those behind it were read again.
    Record {
        /// The number of the first such record, from 1.
        record: usize,
        /// The number of such records.
        count: usize,
        /// The error of the first.
        error: String,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotATrace => f.write_str("this isn't a trace of tidegate"),
            Self::Version(version) => write!(
                f,
                "the trace has version {version} of the format; this program reads {VERSION}"
            ),
            Self::Cut { record } => write!(
                f,
                "the file is cut off in record {record}; what comes before it was read"
            ),
            Self::Record {
                record,
                count: 1,
                error,
            } => write!(f, "record {record} was left out: {error}"),
            Self::Record {
                record,
                count,
                error,
            } => write!(
                f,
                "{count} records were left out, the first is record {record}: {error}"
            ),
        }
    }
}

impl Trace {
    /// Reads a file as far as that goes.
    pub fn read(bytes: &[u8]) -> Self {
        let mut trace = Self::default();
        let mut places = std::collections::HashMap::new();
        let mut texts = bytes.split(|byte| *byte == RECORD_SEPARATOR);
        if texts.next().is_none_or(|before| !before.is_empty()) {
            return Self::damaged(Damage::NotATrace);
        }
        for (place, text) in texts.enumerate() {
            let number = place + 1;
            // RFC 7464 §2.4: a text without the final line feed may be truncated.
            if !text.ends_with(b"\n") {
                // Another process may have gone on behind it.
                trace.damage.get_or_insert(Damage::Cut { record: number });
                continue;
            }
            if text.starts_with(b"{\"tidegate_trace\"")
                && let Ok(header) = serde_json::from_slice::<FileHeader>(text)
            {
                if header.tidegate_trace != VERSION {
                    return Self::damaged(Damage::Version(header.tidegate_trace));
                }
                trace.header.get_or_insert(header);
                continue;
            }
            if trace.header.is_none() {
                return Self::damaged(Damage::NotATrace);
            }
            match serde_json::from_slice::<Record>(text) {
                Ok(record) => trace.enter(record, &mut places),
                Err(error) => trace.note(number, &error),
            }
        }
        if trace.header.is_none() {
            return Self::damaged(Damage::NotATrace);
        }
        trace
    }

    fn damaged(damage: Damage) -> Self {
        Self {
            damage: Some(damage),
            ..Self::default()
        }
    }

    fn enter(&mut self, record: Record, places: &mut std::collections::HashMap<String, usize>) {
        if let Event::Note { text } = record.event {
            return self.notes.push(text);
        }
        let id = &record.group_id;
        // A name may be used again by a process that appends to the file of another one.
        let is_new = matches!(record.event, Event::Started(_)) || !places.contains_key(id);
        if is_new {
            if self.connections.len() >= MOST_CONNECTIONS {
                return;
            }
            places.insert(id.clone(), self.connections.len());
            self.connections.push(Connection {
                id: id.clone(),
                records: Vec::new(),
            });
        }
        if let Some(place) = places.get(id)
            && let Some(connection) = self.connections.get_mut(*place)
        {
            connection.records.push(record);
        }
    }

    fn note(&mut self, number: usize, error: &serde_json::Error) {
        match &mut self.damage {
            Some(Damage::Record { count, .. }) => *count += 1,
            damage => {
                *damage = Some(Damage::Record {
                    record: number,
                    count: 1,
                    error: error.to_string().escape_debug().to_string(),
                });
            }
        }
    }
}

impl Connection {
    /// Returns the facts about the connection, if the trace has its beginning.
    pub fn started(&self) -> Option<&crate::record::Started> {
        self.records.iter().find_map(|record| match &record.event {
            Event::Started(started) => Some(&**started),
            _ => None,
        })
    }
}
