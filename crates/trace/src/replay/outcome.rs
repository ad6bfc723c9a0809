//! The frames that a server sent, and where those of two runs differ.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tidegate_frame::Flags;

use super::heads::{Head, Heads};
use crate::record::{Event, FieldRecord, FrameRecord, Payload, Record};
use crate::shadow::error_name;
use crate::text;

/// The most differences that are reported.
const MOST: usize = 50;

/// A difference between what was recorded and what the engine does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// When the recorded frame was sent, or the one that wasn't recorded.
    pub time: Duration,
    /// The stream; `None` for the connection.
    pub stream: Option<u32>,
    /// The recorded item, in words.
    pub recorded: String,
    /// The item of the replay, in words.
    pub replayed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stream {
            Some(id) => write!(f, "stream {id}")?,
            None => f.write_str("connection")?,
        }
        let (time, recorded, replayed) = (self.time.as_secs_f64(), &self.recorded, &self.replayed);
        write!(
            f,
            " at {time:.3} s: recorded {recorded}, replayed {replayed}"
        )
    }
}

/// A thing that was sent, and when.
#[derive(Clone, Debug)]
struct Item {
    time: Duration,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Head(Vec<FieldRecord>),
    Words(String),
}

/// The items of one stream.
#[derive(Clone, Debug, Default)]
struct Stream {
    /// Heads, promises, the end and a reset, in their order.
    items: Vec<Item>,
    /// The bytes of the body.
    body: u64,
    /// When the last of them was sent.
    last: Duration,
}

/// The items of one connection.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    streams: BTreeMap<u32, Stream>,
    /// SETTINGS, acknowledgements, GOAWAY and the rule that ended it, in their order.
    control: Vec<Item>,
    /// The end.
    closed: Option<Item>,
    is_whole: bool,
}

impl Outcome {
    pub(super) fn of(records: &[Record]) -> Self {
        let mut outcome = Self::default();
        let mut heads = Heads::default();
        for record in records {
            let time = record.time;
            match &record.event {
                Event::Sent(frame) => {
                    outcome.frame(time, frame);
                    if let Some(head) = heads.next(frame) {
                        outcome.head(time, &head);
                    }
                }
                Event::Rule(rule) if rule.stream_id.is_none() => {
                    outcome.closed = Some(words(
                        time,
                        format!("an end by {}", rule.rule.escape_debug()),
                    ));
                }
                Event::Closed(closed) => {
                    outcome.is_whole = true;
                    if closed.reason == "transport" {
                        outcome.is_whole = false;
                    } else if closed.reason != "rule" {
                        outcome.closed = Some(words(
                            time,
                            format!("an end: {}", closed.reason.escape_debug()),
                        ));
                    }
                }
                _ => {}
            }
        }
        outcome
    }

    fn frame(&mut self, time: Duration, frame: &FrameRecord) {
        let id = frame.stream_id;
        match &frame.payload {
            Payload::Data { data_length } => {
                let stream = self.streams.entry(id).or_default();
                stream.body += u64::from(*data_length);
                stream.last = time;
                if Flags(frame.flags).has(Flags::END_STREAM) {
                    stream.items.push(words(time, "END_STREAM".into()));
                }
            }
            Payload::RstStream { code, .. } => {
                let what = format!("RST_STREAM {}", error_name(*code));
                let stream = self.streams.entry(id).or_default();
                stream.items.push(words(time, what));
            }
            Payload::Settings { settings: None } => {
                self.control.push(words(time, "SETTINGS with ACK".into()));
            }
            Payload::Settings {
                settings: Some(settings),
            } => {
                let all = settings
                    .iter()
                    .map(|setting| format!(" {:#x}={}", setting.id, setting.value));
                let what = format!("SETTINGS{}", all.collect::<String>());
                self.control.push(words(time, what));
            }
            Payload::Ping { opaque } if Flags(frame.flags).has(Flags::ACK) => {
                let what = format!("PING with ACK {}", text::hex::of(opaque));
                self.control.push(words(time, what));
            }
            Payload::Goaway {
                last_stream_id,
                code,
                ..
            } => {
                let error = error_name(*code);
                let what = format!("GOAWAY {error}, last stream {last_stream_id}");
                self.control.push(words(time, what));
            }
            _ => {}
        }
    }

    fn head(&mut self, time: Duration, head: &Head<'_>) {
        let stream = self.streams.entry(head.stream).or_default();
        if let Some(promised) = head.promised {
            let what = format!("PUSH_PROMISE of stream {promised}");
            stream.items.push(words(time, what));
        }
        // The engine's own responses have the time of day.
        let fields = head.block.fields.iter();
        let fields = fields.filter(|field| field.name != "date");
        let what = What::Head(fields.cloned().collect());
        stream.items.push(Item { time, what });
        if head.end {
            stream.items.push(words(time, "END_STREAM".into()));
        }
    }

    /// Returns where another outcome differs, in the order of time.
    pub(super) fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let nothing = Stream::default();
        let ids = self.streams.keys().chain(other.streams.keys());
        let ids: std::collections::BTreeSet<u32> = ids.copied().collect();
        for id in ids {
            let mine = self.streams.get(&id).unwrap_or(&nothing);
            let its = other.streams.get(&id).unwrap_or(&nothing);
            self.list(Some(id), &mine.items, &its.items, &mut found);
            if mine.body != its.body && (self.is_whole || mine.body > its.body) {
                found.push(Difference {
                    time: mine.last.max(its.last),
                    stream: Some(id),
                    recorded: format!("a body of {} bytes", mine.body),
                    replayed: format!("{} bytes", its.body),
                });
            }
        }
        self.list(None, &self.control, &other.control, &mut found);
        if self.is_whole {
            let (mine, its) = (self.closed.as_slice(), other.closed.as_slice());
            self.list(None, mine, its, &mut found);
        }
        found.sort_by_key(|difference| difference.time);
        found.truncate(MOST);
        found
    }

    /// Adds the first difference of two lists.
    fn list(&self, stream: Option<u32>, mine: &[Item], its: &[Item], found: &mut Vec<Difference>) {
        for place in 0..mine.len().max(its.len()) {
            let (recorded, replayed) = (mine.get(place), its.get(place));
            if let (Some(recorded), Some(replayed)) = (recorded, replayed)
                && recorded.what.is_like(&replayed.what)
            {
                continue;
            }
            // What follows the end of an incomplete trace isn't known.
            if recorded.is_none() && !self.is_whole {
                return;
            }
            let time = recorded.or(replayed).map(|item| item.time);
            found.push(Difference {
                time: time.unwrap_or_default(),
                stream,
                recorded: in_words(recorded, replayed),
                replayed: in_words(replayed, recorded),
            });
            return;
        }
    }
}

impl What {
    /// Whether a replay with this is right where `self` was recorded: values that were withheld
    /// have the same length.
    fn is_like(&self, replayed: &Self) -> bool {
        match (self, replayed) {
            (Self::Words(one), Self::Words(other)) => one == other,
            (Self::Head(one), Self::Head(other)) => {
                one.len() == other.len()
                    && one
                        .iter()
                        .zip(other)
                        .all(|(one, other)| is_like(one, other))
            }
            _ => false,
        }
    }
}

fn is_like(recorded: &FieldRecord, replayed: &FieldRecord) -> bool {
    recorded.name == replayed.name
        && match (&recorded.value, &replayed.value) {
            (Some(one), Some(other)) => one == other,
            _ => length(recorded) == length(replayed),
        }
}

fn length(field: &FieldRecord) -> usize {
    match &field.value {
        Some(value) => value.chars().count(),
        None => field.value_length.unwrap_or(0) as usize,
    }
}

fn words(time: Duration, what: String) -> Item {
    Item {
        time,
        what: What::Words(what),
    }
}

/// Returns an item in words, with what sets it off from the other one.
fn in_words(item: Option<&Item>, other: Option<&Item>) -> String {
    let Some(item) = item else {
        return "nothing".into();
    };
    let fields = match &item.what {
        What::Words(words) => return words.clone(),
        What::Head(fields) => fields,
    };
    let status = fields.iter().find(|field| field.name == ":status");
    let status = status.and_then(|field| field.value.as_deref());
    let head = match status {
        Some(status) => format!("a head with :status {}", status.escape_debug()),
        None => format!("a head of {} fields", fields.len()),
    };
    let Some(What::Head(others)) = other.map(|item| &item.what) else {
        return head;
    };
    let at = |place: usize| others.get(place);
    let differs = |(place, field): &(usize, &FieldRecord)| {
        at(*place).is_none_or(|other| !is_like(field, other))
    };
    match fields.iter().enumerate().find(differs) {
        Some((_, field)) => {
            let length = length(field);
            format!("{head} and {} of {length} bytes", field.name.escape_debug())
        }
        None => head,
    }
}
