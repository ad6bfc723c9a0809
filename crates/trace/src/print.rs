//! Frames as lines for a terminal, in the manner of nghttp.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use tidegate_frame::{Flags, Kind};

use crate::Direction;
use crate::record::{
    Block, Dependency, Event, FieldRecord, FrameRecord, Payload, Record, Setting, Windows,
};
use crate::shadow::error_name;
use crate::text;

/// The indent of a frame's lines after its first one.
const INDENT: &str = "          ";

/// Appends the lines of a frame to `out`.
pub fn print_frame(direction: Direction, time: Duration, frame: &FrameRecord, out: &mut String) {
    let verb = match direction {
        Direction::Received => "recv",
        Direction::Sent => "send",
    };
    let at = format!("[{:7.3}] {verb}", time.as_secs_f64());
    let FrameRecord {
        stream_id, length, ..
    } = frame;
    let kind = match &frame.payload {
        Payload::Preface { valid } => {
            let what = if *valid { "" } else { "invalid " };
            return line(out, format_args!("{at} {what}connection preface"));
        }
        Payload::Malformed { kind, defect, .. } => {
            let (name, defect) = (name(Kind(*kind)), defect.escape_debug());
            return line(
                out,
                format_args!(
                    "{at} malformed {name} frame <length={length}, flags=0x{:02x}, \
                     stream_id={stream_id}>: {defect}",
                    frame.flags
                ),
            );
        }
        payload => kind_of(payload),
    };
    line(
        out,
        format_args!(
            "{at} {} frame <length={length}, flags=0x{:02x}, stream_id={stream_id}>",
            name(kind),
            frame.flags
        ),
    );
    let flags: Vec<&str> = Flags(frame.flags).names(kind).collect();
    if !flags.is_empty() {
        line(out, format_args!("{INDENT}; {}", flags.join(" | ")));
    }
    print_payload(&frame.payload, out);
}

/// Appends the lines of a record to `out`: of a frame with the windows and the changes of tables,
/// and of what happened otherwise.
pub fn print_event(record: &Record, out: &mut String) {
    let at = format!("[{:7.3}]", record.time.as_secs_f64());
    match &record.event {
        Event::Started(started) => {
            let or = |fact: &Option<String>| {
                let fact = fact.as_deref().unwrap_or("unknown");
                fact.escape_debug().to_string()
            };
            let mut text = format!(
                "client {}, server {}",
                or(&started.client),
                or(&started.server)
            );
            for (name, fact) in [(", site", &started.sni), (",", &started.tls)] {
                if let Some(fact) = fact {
                    text += &format!("{name} {}", fact.escape_debug());
                }
            }
            if let Some(time) = &started.reference_time {
                text += &format!(", at {}", time.escape_debug());
            }
            line(out, format_args!("{at} connection started: {text}"));
        }
        Event::Received(frame) => print_whole(Direction::Received, record.time, frame, out),
        Event::Sent(frame) => print_whole(Direction::Sent, record.time, frame, out),
        Event::Rule(rule) => {
            let whose = match rule.stream_id {
                Some(id) => format!("stream {id}"),
                None => "the connection".into(),
            };
            line(
                out,
                format_args!(
                    "{at} rule applied to {whose}: {} ({}), {}",
                    rule.rule.escape_debug(),
                    rule.section.escape_debug(),
                    rule.error.escape_debug()
                ),
            );
        }
        Event::Omitted { frames } => {
            line(
                out,
                format_args!("{at} {frames} earlier frames were left out"),
            );
        }
        Event::Note { text } => line(out, format_args!("note: {}", text.escape_debug())),
        Event::Closed(closed) => {
            let text = closed.text.escape_debug();
            line(out, format_args!("{at} connection closed: {text}"));
        }
    }
}

fn print_whole(direction: Direction, time: Duration, frame: &FrameRecord, out: &mut String) {
    print_frame(direction, time, frame, out);
    if let Payload::Headers { block, .. }
    | Payload::Continuation { block }
    | Payload::PushPromise { block, .. } = &frame.payload
        && let Some(table) = block.as_ref().and_then(|block| block.table.as_ref())
    {
        let inserted = table.inserted.iter().map(|name| escaped(name));
        let inserted: Vec<String> = inserted.collect();
        line(
            out,
            format_args!(
                "{INDENT}; table: +{} -{}, {} entries of {} bytes{}{}",
                inserted.len(),
                table.evicted,
                table.entries,
                table.size,
                if inserted.is_empty() { "" } else { ": " },
                inserted.join(", ")
            ),
        );
    }
    if let Some(windows) = &frame.windows {
        print_windows(windows, frame.stream_id, out);
    }
}

fn print_windows(windows: &Windows, id: u32, out: &mut String) {
    let mut text = String::new();
    if let (Some(send), Some(receive)) = (windows.stream_send, windows.stream_receive) {
        text += &format!("stream {id} send {send} recv {receive}, ");
    }
    let (send, receive) = (windows.connection_send, windows.connection_receive);
    line(
        out,
        format_args!("{INDENT}; windows: {text}connection send {send} recv {receive}"),
    );
}

fn print_payload(payload: &Payload, out: &mut String) {
    match payload {
        Payload::Headers { dependency, block } => {
            if let Some(dependency) = dependency {
                print_dependency(dependency, out);
            }
            print_block(block.as_deref(), out);
        }
        Payload::Continuation { block } => print_block(block.as_deref(), out),
        Payload::PushPromise {
            promised_stream_id,
            block,
        } => {
            line(
                out,
                format_args!("{INDENT}(promised_stream_id={promised_stream_id})"),
            );
            print_block(block.as_deref(), out);
        }
        Payload::Priority { dependency } => print_dependency(dependency, out),
        Payload::RstStream { code, .. } => line(
            out,
            format_args!("{INDENT}(error_code={}(0x{code:02x}))", error_name(*code)),
        ),
        Payload::Settings { settings } => print_settings(settings.as_deref(), out),
        Payload::Ping { opaque } => {
            let opaque = text::hex::of(opaque);
            line(out, format_args!("{INDENT}(opaque_data={opaque})"));
        }
        Payload::Goaway {
            last_stream_id,
            code,
            debug_length,
            debug,
            ..
        } => {
            let words = debug.as_deref().map_or_else(String::new, escaped);
            line(
                out,
                format_args!(
                    "{INDENT}(last_stream_id={last_stream_id}, error_code={}(0x{code:02x}), \
                     opaque_data({debug_length})=[{words}])",
                    error_name(*code),
                ),
            );
        }
        Payload::WindowUpdate { increment } => line(
            out,
            format_args!("{INDENT}(window_size_increment={increment})"),
        ),
        Payload::PriorityUpdate {
            prioritized_stream_id,
            value,
        } => line(
            out,
            format_args!(
                "{INDENT}(prioritized_stream_id={prioritized_stream_id}, \
                 priority_field_value=[{}])",
                escaped(value)
            ),
        ),
        Payload::Preface { .. }
        | Payload::Data { .. }
        | Payload::Unknown { .. }
        | Payload::Malformed { .. } => {}
    }
}

fn print_dependency(dependency: &Dependency, out: &mut String) {
    let Dependency {
        stream_id,
        weight,
        exclusive,
    } = dependency;
    line(
        out,
        format_args!(
            "{INDENT}(dep_stream_id={stream_id}, weight={weight}, exclusive={})",
            u8::from(*exclusive)
        ),
    );
}

fn print_settings(settings: Option<&[Setting]>, out: &mut String) {
    let Some(settings) = settings else { return };
    line(out, format_args!("{INDENT}(niv={})", settings.len()));
    for Setting { id, name, value } in settings {
        let name = name.escape_debug();
        line(out, format_args!("{INDENT}[{name}(0x{id:02x}):{value}]"));
    }
}

fn print_block(block: Option<&Block>, out: &mut String) {
    let Some(block) = block else { return };
    for FieldRecord {
        name,
        value,
        value_length,
        ..
    } in &block.fields
    {
        let name = escaped(name);
        match (value, value_length) {
            (Some(value), _) => line(out, format_args!("{INDENT}{name}: {}", escaped(value))),
            (None, Some(1)) => line(out, format_args!("{INDENT}{name}: (1 byte)")),
            (None, length) => {
                let length = length.unwrap_or(0);
                line(out, format_args!("{INDENT}{name}: ({length} bytes)"));
            }
        }
    }
    if block.omitted_fields > 0 {
        let (fields, size) = (block.omitted_fields, block.omitted_size);
        line(
            out,
            format_args!("{INDENT}; {fields} fields of {size} bytes more"),
        );
    }
    if let Some(error) = &block.error {
        let error = error.escape_debug();
        line(
            out,
            format_args!("{INDENT}can't decompress the field block: {error}"),
        );
    }
}

/// Returns text of a peer without control characters.
fn escaped(text: &str) -> String {
    text::bytes(text).escape_ascii().to_string()
}

fn line(out: &mut String, text: fmt::Arguments<'_>) {
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok(), "a String takes everything");
}

fn kind_of(payload: &Payload) -> Kind {
    match payload {
        Payload::Data { .. } => Kind::DATA,
        Payload::Headers { .. } => Kind::HEADERS,
        Payload::Priority { .. } => Kind::PRIORITY,
        Payload::RstStream { .. } => Kind::RST_STREAM,
        Payload::Settings { .. } => Kind::SETTINGS,
        Payload::PushPromise { .. } => Kind::PUSH_PROMISE,
        Payload::Ping { .. } => Kind::PING,
        Payload::Goaway { .. } => Kind::GOAWAY,
        Payload::WindowUpdate { .. } => Kind::WINDOW_UPDATE,
        Payload::Continuation { .. } => Kind::CONTINUATION,
        Payload::PriorityUpdate { .. } => Kind::PRIORITY_UPDATE,
        Payload::Unknown { kind } | Payload::Malformed { kind, .. } => Kind(*kind),
        Payload::Preface { .. } => Kind(0xff),
    }
}

fn name(kind: Kind) -> Cow<'static, str> {
    let unknown = || format!("UNKNOWN({kind})").into();
    kind.name().map_or_else(unknown, Into::into)
}
