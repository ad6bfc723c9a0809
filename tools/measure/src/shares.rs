//! How streams share a connection: the priorities of RFC 9218, and the weights of RFC 7540.

use std::collections::HashMap;

use tidegate_http::StreamId;

use crate::downloads::{Downloads, Reader};
use crate::{Result, Target};

/// Shows that a server follows RFC 9218: urgency, incremental streams, PRIORITY_UPDATE.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The server: NAME=http://ADDR:PORT.
    target: Target,
    /// A large file, of 8 MB or more.
    #[arg(long, default_value = "/bulk.bin")]
    bulk: String,
    #[command(flatten)]
    reader: Reader,
}

/// Shows that a server shares a connection by the weights of RFC 7540.
#[derive(Debug, clap::Args)]
pub(crate) struct WeightFlags {
    /// The server: NAME=http://ADDR:PORT.
    target: Target,
    /// A large file, of 200 MB or more.
    #[arg(long, default_value = "/bulk.bin")]
    bulk: String,
    #[command(flatten)]
    reader: Reader,
}

/// How far a share may differ from the expected one.
const TOLERANCE: f64 = 0.1;

/// One line of a table.
struct Row {
    what: String,
    got: String,
    wanted: String,
    ok: bool,
}

pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let rows = [
        urgency(flags)?,
        incremental(flags)?,
        sequential(flags)?,
        update(flags)?,
    ];
    Ok(print(&flags.target, &rows))
}

pub(crate) fn run_weights(flags: &WeightFlags) -> Result<bool> {
    let rows = [weights(flags, 256, 1)?, weights(flags, 3, 1)?];
    Ok(print(&flags.target, &rows))
}

fn print(target: &Target, rows: &[Row]) -> bool {
    println!("shares of a connection: {}", target.name);
    for row in rows {
        let verdict = if row.ok { "" } else { "  FAIL" };
        println!(
            "  {:62}{:>24}   wanted {}{verdict}",
            row.what, row.got, row.wanted
        );
    }
    rows.iter().all(|row| row.ok)
}

/// Bytes of each stream.
type Counts = HashMap<StreamId, usize>;

/// Counts the bytes that arrive until `done` returns `true`. `done` gets each piece's stream,
/// whether the piece ends it, and the counts so far.
fn count(
    downloads: &mut Downloads,
    mut done: impl FnMut(StreamId, bool, &Counts) -> bool,
) -> Result<Counts> {
    let mut counts = Counts::new();
    // Pieces of the same turn after the last one are not counted.
    loop {
        for piece in downloads.turn()? {
            *counts.entry(piece.id).or_default() += piece.bytes;
            if done(piece.id, piece.end, &counts) {
                return Ok(counts);
            }
        }
    }
}

fn total(counts: &Counts) -> usize {
    counts.values().sum()
}

/// The stream that is requested last is the most urgent.
fn urgency(flags: &Flags) -> Result<Row> {
    let mut downloads = Downloads::connect(&flags.target, flags.reader)?;
    let late = downloads.client.get(&flags.bulk, Some("u=7"))?;
    let soon = downloads.client.get(&flags.bulk, Some("u=0"))?;
    let counts = count(&mut downloads, |id, end, _| end && id == soon)?;
    let early = counts.get(&late).copied().unwrap_or(0);
    Ok(Row {
        what: format!(
            "u=7 and u=0: of u=7 before the end of u=0, {} KB",
            counts[&soon] / 1000
        ),
        got: format!("{} KB", early / 1000),
        wanted: "0".into(),
        ok: early == 0,
    })
}

/// Ten incremental streams of one urgency take turns.
fn incremental(flags: &Flags) -> Result<Row> {
    let mut downloads = Downloads::connect(&flags.target, flags.reader)?;
    for _ in 0..10 {
        downloads.client.get(&flags.bulk, Some("u=3, i"))?;
    }
    let counts = count(&mut downloads, |_, _, counts| total(counts) > 20_000_000)?;
    let mean = total(&counts) as f64 / 10.0;
    let least = counts.values().min().map_or(0.0, |&least| least as f64) / mean;
    let most = counts.values().max().map_or(0.0, |&most| most as f64) / mean;
    Ok(Row {
        what: format!(
            "u=3, i, ten times: shares of the mean in {} MB",
            total(&counts) / 1_000_000
        ),
        got: format!("{least:.2} to {most:.2}"),
        wanted: "0.90 to 1.10".into(),
        ok: counts.len() == 10 && least >= 1.0 - TOLERANCE && most <= 1.0 + TOLERANCE,
    })
}

/// Streams of one urgency that are not incremental are sent one after the other (RFC 9218 §10).
fn sequential(flags: &Flags) -> Result<Row> {
    let mut downloads = Downloads::connect(&flags.target, flags.reader)?;
    let first = downloads.client.get(&flags.bulk, Some("u=3"))?;
    downloads.client.get(&flags.bulk, Some("u=3"))?;
    let counts = count(&mut downloads, |id, end, _| end && id == first)?;
    let early = total(&counts) - counts[&first];
    Ok(Row {
        what: "u=3 twice: of the second before the end of the first".into(),
        got: format!("{} KB", early / 1000),
        wanted: "0".into(),
        ok: early == 0,
    })
}

/// The size of a frame that the server may be writing when a PRIORITY_UPDATE arrives.
const ONE_FRAME: usize = 16_384;

/// A PRIORITY_UPDATE makes a waiting stream the most urgent. A HEAD request goes with it: its
/// answer, which no unwritten DATA delays, shows when a round trip is over.
fn update(flags: &Flags) -> Result<Row> {
    let mut downloads = Downloads::connect(&flags.target, flags.reader)?;
    let running = downloads.client.get(&flags.bulk, Some("u=3"))?;
    let waiting = downloads.client.get(&flags.bulk, Some("u=5"))?;
    let before = count(&mut downloads, |_, _, counts| total(counts) > 4_000_000)?;
    downloads.client.send_priority_update(waiting, "u=1");
    let mark = downloads.client.ask_head(&flags.bulk)?;
    let meanwhile = count(&mut downloads, |id, _, _| id == mark || id == waiting)?;
    let late = if meanwhile.contains_key(&waiting) {
        0
    } else {
        let after = count(&mut downloads, |id, end, _| {
            id == waiting || (end && id == running)
        })?;
        after.get(&running).copied().unwrap_or(0)
    };
    let in_flight = meanwhile.get(&running).copied().unwrap_or(0);
    Ok(Row {
        what: format!(
            "PRIORITY_UPDATE: of the other, {} KB in the round trip, and then",
            in_flight / 1000
        ),
        got: format!("{} KB", late / 1000),
        wanted: format!("{} KB at most", ONE_FRAME / 1000),
        ok: !before.contains_key(&waiting) && late <= ONE_FRAME,
    })
}

/// Two streams have these weights.
fn weights(flags: &WeightFlags, heavy: u16, light: u16) -> Result<Row> {
    let mut downloads = Downloads::connect(&flags.target, flags.reader)?;
    let mut ids = Vec::new();
    for weight in [heavy, light] {
        let id = downloads.client.get(&flags.bulk, None)?;
        downloads.client.send_weight(id, weight);
        ids.push(id);
    }
    // Enough for forty frames of the light stream. Data that arrives before both have begun isn't
    // counted.
    let enough = 40 * ONE_FRAME * usize::from(heavy + light) / usize::from(light);
    count(&mut downloads, |_, _, counts| {
        ids.iter().all(|id| counts.contains_key(id))
    })?;
    let counts = count(&mut downloads, |_, end, counts| {
        end || total(counts) > enough
    })?;
    let [heavy_bytes, light_bytes] =
        [0, 1].map(|n| counts.get(&ids[n]).copied().unwrap_or(0) as f64);
    let ratio = heavy_bytes / light_bytes;
    let wanted = f64::from(heavy) / f64::from(light);
    Ok(Row {
        what: format!(
            "weights {heavy} and {light}: ratio in {} MB",
            total(&counts) / 1_000_000
        ),
        got: format!("{ratio:.2}"),
        wanted: format!("{wanted} within 10 %"),
        ok: (ratio / wanted - 1.0).abs() <= TOLERANCE,
    })
}
