//! How a line of the log looks.

use std::fmt::Write as _;
use std::time::SystemTime;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};

use crate::access_log::{self, escape};

/// The style of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    /// For a terminal: the level has a colour.
    Coloured,
    /// JSON objects.
    Json,
}

/// Returns a line of the log, such as `[1994-11-06T08:49:37Z INFO  tidegate::app] text`.
pub(super) fn line(style: Style, now: SystemTime, record: &Record<'_>, text: &str) -> String {
    let (level, target) = (record.level(), record.target());
    // `Timestamp` ends with the year 9999.
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::MAX);
    let (before, after) = match style {
        Style::Plain => ("", ""),
        Style::Coloured => (colour(level), "\x1b[0m"),
        Style::Json => return json(now, record, text),
    };
    let mut line = String::with_capacity(text.len() + 64);
    let written = write!(line, "[{now:.0} {before}{level:<5}{after} {target}] ");
    debug_assert!(written.is_ok(), "a String takes everything");
    // Indented, so that text of a stranger can't look like a line of the log.
    for (n, part) in text.split('\n').enumerate() {
        if n > 0 {
            line.push_str("\n    ");
        }
        line.push_str(part);
    }
    line.push('\n');
    line
}

/// Returns a line as a JSON object, with the pairs of the record after the text.
fn json(now: jiff::Timestamp, record: &Record<'_>, text: &str) -> String {
    // A line of an access log in JSON is an object already.
    if record.key_values().get(access_log::OBJECT.into()).is_some() {
        return format!("{text}\n");
    }
    let mut line = Vec::with_capacity(text.len() + 128);
    line.extend_from_slice(format!("{{\"timestamp\":\"{now:.3}\",\"level\":").as_bytes());
    escape::json(&mut line, record.level().as_str().as_bytes());
    line.extend_from_slice(b",\"target\":");
    escape::json(&mut line, record.target().as_bytes());
    line.extend_from_slice(b",\"message\":");
    escape::json(&mut line, text.as_bytes());
    let pairs = record.key_values().visit(&mut Pairs(&mut line));
    debug_assert!(pairs.is_ok(), "writing to memory works");
    line.extend_from_slice(b"}\n");
    // The escaped text is UTF-8.
    String::from_utf8(line).unwrap_or_default()
}

/// Appends the pairs of a record.
struct Pairs<'a>(&'a mut Vec<u8>);

impl<'kv> VisitSource<'kv> for Pairs<'_> {
    fn visit_pair(&mut self, key: Key<'kv>, value: Value<'kv>) -> Result<(), Error> {
        self.0.push(b',');
        escape::json(self.0, key.as_str().as_bytes());
        self.0.push(b':');
        match (value.to_u64(), value.to_bool(), value.to_f64()) {
            (Some(number), ..) => self.0.extend_from_slice(number.to_string().as_bytes()),
            (_, Some(truth), _) => self.0.extend_from_slice(truth.to_string().as_bytes()),
            (.., Some(number)) if number.is_finite() => {
                self.0.extend_from_slice(number.to_string().as_bytes());
            }
            _ => escape::json(self.0, value.to_string().as_bytes()),
        }
        Ok(())
    }
}

/// Returns the escape sequence that begins a level's colour on a terminal.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Error => "\x1b[1;31m",
        Level::Warn => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug => "\x1b[34m",
        Level::Trace => "\x1b[36m",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn lines_of_the_log() {
        let now = UNIX_EPOCH + Duration::from_millis(784_111_777_999);
        let record = Record::builder().level(Level::Info).target("a::b").build();
        let plain = line(Style::Plain, now, &record, "one\n[two]");
        assert_eq!(plain, "[1994-11-06T08:49:37Z INFO  a::b] one\n    [two]\n");
        let coloured = line(Style::Coloured, now, &record, "one");
        assert_eq!(
            coloured,
            "[1994-11-06T08:49:37Z \x1b[32mINFO \x1b[0m a::b] one\n"
        );
        let json = line(Style::Json, now, &record, "one\n\"two\"");
        assert_eq!(
            json,
            "{\"timestamp\":\"1994-11-06T08:49:37.999Z\",\"level\":\"INFO\",\"target\":\"a::b\",\
             \"message\":\"one\\n\\\"two\\\"\"}\n"
        );
    }

    #[test]
    fn pairs_are_keys_of_the_object() {
        let pairs = [
            ("rule", Value::from("a\nb")),
            ("requests", Value::from(7_u64)),
            ("seconds", Value::from(0.5)),
            ("early", Value::from(true)),
        ];
        let mut builder = Record::builder();
        let record = builder
            .level(Level::Warn)
            .target("t")
            .key_values(&pairs)
            .build();
        let json = line(Style::Json, UNIX_EPOCH, &record, "text");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["rule"], "a\nb");
        assert_eq!(json["requests"], 7);
        assert_eq!(json["seconds"], 0.5);
        assert_eq!(json["early"], true);
        assert_eq!(json["timestamp"], "1970-01-01T00:00:00.000Z");
    }
}
