//! The command `tidegate trace`: prints a trace.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_trace::{Connection, Event, Payload, Record, Trace, print_event};

/// The most bytes of a trace that are read.
pub(super) const MOST_BYTES: u64 = 4 << 30;

/// The flags of `tidegate trace`.
#[derive(Clone, Debug, clap::Args)]
pub struct Flags {
    /// A trace that the server has written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Show only this connection, by its name in the list or by its number there, from 1
    #[arg(short, long, value_name = "NAME")]
    pub connection: Option<String>,

    /// Show only frames of this stream, and those of the connection
    #[arg(short, long, value_name = "ID")]
    pub stream: Option<u32>,

    /// Draw a waterfall of the streams of one connection in this file, as SVG
    #[arg(short, long, value_name = "OUT.svg")]
    pub waterfall: Option<PathBuf>,

    /// List the connections, a line each
    #[arg(short, long)]
    pub list: bool,
}

/// Runs the command. Returns exit status 0 if the file is whole, 1 if it can't be read or is
/// damaged, and 2 if it has no such connection.
pub fn main(flags: &Flags) -> ExitCode {
    let trace = match read(&flags.file) {
        Ok(trace) => trace,
        Err(error) => return complain("trace", &error),
    };
    let chosen = match chosen(&trace, flags.connection.as_deref()) {
        Ok(chosen) => chosen,
        Err(error) => return misused("trace", &error),
    };
    if let Some(path) = &flags.waterfall {
        let connection = match only(&chosen, "--waterfall") {
            Ok(connection) => connection,
            Err(error) => return misused("trace", &error),
        };
        return match fs::write(path, tidegate_trace::waterfall(connection)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain("trace", &format!("can't write {}: {error}", path.display())),
        };
    }
    let mut out = String::new();
    for note in &trace.notes {
        let _ = writeln!(out, "note: {}", note.escape_debug());
    }
    for (number, connection) in chosen {
        if flags.list {
            summarize(number, connection, &mut out);
        } else {
            let _ = writeln!(out, "connection {}", connection.id.escape_debug());
            let records = connection.records.iter();
            for record in records.filter(|record| is_of(record, flags.stream)) {
                print_event(record, &mut out);
            }
        }
    }
    // Whatever reads this may have seen enough.
    let _ = io::stdout().write_all(out.as_bytes());
    match trace.damage {
        Some(damage) => complain("trace", &format!("{}: {damage}", flags.file.display())),
        None => ExitCode::SUCCESS,
    }
}

/// Writes a sentence to stderr.
pub(super) fn complain(command: &str, sentence: &str) -> ExitCode {
    eprintln!("tidegate {command}: {sentence}");
    ExitCode::FAILURE
}

/// Writes a sentence to stderr about what was asked for and isn't there.
pub(super) fn misused(command: &str, sentence: &str) -> ExitCode {
    complain(command, sentence);
    ExitCode::from(2)
}

/// Reads a file as far as it goes.
///
/// # Errors
/// A sentence if there is nothing to read.
pub(super) fn read(path: &Path) -> Result<Trace, String> {
    let name = path.display();
    let size = fs::metadata(path).map_err(|error| format!("can't read {name}: {error}"))?;
    if size.len() > MOST_BYTES {
        return Err(format!("{name} has more than 4 GiB: split it"));
    }
    let bytes = fs::read(path).map_err(|error| format!("can't read {name}: {error}"))?;
    let trace = Trace::read(&bytes);
    match &trace.damage {
        Some(damage) if trace.header.is_none() => Err(format!("{name}: {damage}")),
        _ => Ok(trace),
    }
}

/// Returns the chosen connections with their numbers, all by default.
///
/// # Errors
/// A sentence if there is no such connection.
pub(super) fn chosen<'t>(
    trace: &'t Trace,
    name: Option<&str>,
) -> Result<Vec<(usize, &'t Connection)>, String> {
    let all = trace.connections.iter().enumerate();
    let all = all.map(|(place, connection)| (place + 1, connection));
    let Some(name) = name else {
        return Ok(all.collect());
    };
    let number = name.parse().ok();
    let found: Vec<_> = all
        .filter(|(place, connection)| connection.id == name || Some(*place) == number)
        .collect();
    if found.is_empty() {
        let of = trace.connections.len();
        return Err(format!("there is no such connection among {of}"));
    }
    Ok(found)
}

/// Returns the only connection that was chosen, for this option.
///
/// # Errors
/// A sentence if there are several, or none.
pub(super) fn only<'t>(
    chosen: &[(usize, &'t Connection)],
    option: &str,
) -> Result<&'t Connection, String> {
    match chosen {
        [(_, connection)] => Ok(connection),
        _ => Err(format!(
            "{option} takes one connection: choose it with --connection"
        )),
    }
}

fn is_of(record: &Record, stream: Option<u32>) -> bool {
    let Some(stream) = stream else { return true };
    match &record.event {
        Event::Received(frame) | Event::Sent(frame) => {
            let about = match &frame.payload {
                Payload::PriorityUpdate {
                    prioritized_stream_id: id,
                    ..
                }
                | Payload::PushPromise {
                    promised_stream_id: id,
                    ..
                } => *id,
                _ => frame.stream_id,
            };
            frame.stream_id == stream || about == stream || about == 0
        }
        Event::Rule(rule) => rule.stream_id.is_none_or(|id| id == stream),
        _ => true,
    }
}

/// Appends a line about a connection.
fn summarize(number: usize, connection: &Connection, out: &mut String) {
    let started = connection.started();
    let client = started.and_then(|started| started.client.as_deref());
    let sni = started.and_then(|started| started.sni.as_deref());
    let frames = connection
        .records
        .iter()
        .filter(|record| matches!(record.event, Event::Received(_) | Event::Sent(_)));
    let last = connection.records.last();
    let took = last.map_or(0.0, |record| record.time.as_secs_f64());
    let end = last.and_then(|record| match &record.event {
        Event::Closed(closed) => Some(closed.text.as_str()),
        _ => None,
    });
    let _ = writeln!(
        out,
        "{number:>4}  {}  client {}  site {}  {} frames  {took:.3} s  {}",
        connection.id.escape_debug(),
        client.unwrap_or("unknown").escape_debug(),
        sni.unwrap_or("-").escape_debug(),
        frames.count(),
        end.unwrap_or("no end recorded").escape_debug(),
    );
}
