//! Instructions per request that benches/instructions.toml keeps: a change that makes one grow has
//! to change that file too.
//!
//! They are counted where nothing outside the program changes them: in memory, in a function that
//! valgrind counts by itself, with the C library's plainest routines. With one compiler the figures
//! are the same each time, on any x86-64 processor. What the kernel and TLS cost is not in them;
//! `--instructions` shows that, beside other servers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::in_memory::Program;
use crate::process::Result;
use crate::site;

/// By how much a figure may exceed the file's, and by how much it may fall before that is said:
/// compilers and libraries differ a little.
const MARGIN: f64 = 1.03;

/// Requests that are counted. Ten times as many change the figures by 0.2 %.
const REQUESTS: u64 = 6_400;

/// The workloads of benches/engine.rs.
const WORKLOADS: [&str; 5] = ["tiny", "paths", "browser", "literals", "pages"];

/// The figure of benches/server.rs.
const SERVER: &str = "server-status";

const HEAD: &str = "\
# User instructions per request of the engine in memory, for the workloads of benches/engine.rs, and
# of the server in memory for /status (benches/server.rs). The gate fails when one takes over 3 %
# more than it says here. To set them anew, and to say in the commit why:
#
#     cargo run --release -p compare -- tracked --bless
#
# They are of the compiler named here, and of x86-64 with glibc's SSE2 routines, whatever else the
# processor has; another compiler may differ by some percent.
";

/// The use of the figures.
#[derive(clap::Args)]
pub(crate) struct Flags {
    /// Writes the figures into benches/instructions.toml.
    #[arg(long)]
    bless: bool,
}

/// benches/instructions.toml.
#[derive(Debug, Deserialize, Serialize)]
struct Tracked {
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts. Returns whether no figure has grown beyond the margin.
pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let path = site::root()?.join("benches/instructions.toml");
    let engine = Program::engine()?;
    let mut counted = BTreeMap::new();
    for workload in WORKLOADS {
        let total = engine.count(&[REQUESTS.to_string(), workload.to_owned()])?;
        counted.insert(workload.to_owned(), total / REQUESTS);
    }
    let status = Program::server()?.per_request(REQUESTS, &[])?;
    counted.insert(SERVER.to_owned(), status.round() as u64);
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let rustc = String::from_utf8_lossy(&rustc).trim().to_owned();
    let now = Tracked {
        rustc,
        instructions: counted,
    };
    if flags.bless {
        fs::write(&path, format!("{HEAD}{}", toml::to_string(&now)?))?;
    }
    let kept = fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; --bless writes it", path.display()))?;
    let kept: Tracked = toml::from_str(&kept)?;
    let (table, holds) = compare(&kept, &now);
    print!("{table}");
    if !holds {
        println!(
            "compare: tidegate takes over 3 % more than benches/instructions.toml says, with {} \
             there and {} here. Make the request cheaper; or, if what it buys is worth that, set \
             the figures anew: cargo run --release -p compare -- tracked --bless",
            kept.rustc, now.rustc
        );
    }
    Ok(holds)
}

/// The outcome for one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Holds,
    Grown,
    Fallen,
    NotKept,
}

impl Outcome {
    fn of(kept: Option<u64>, now: u64) -> Self {
        let Some(kept) = kept else {
            return Self::NotKept;
        };
        let (kept, now) = (kept as f64, now as f64);
        if now > kept * MARGIN {
            Self::Grown
        } else if now * MARGIN < kept {
            Self::Fallen
        } else {
            Self::Holds
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Holds => "",
            Self::Grown => "too many",
            Self::Fallen => "fewer: --bless keeps that",
            Self::NotKept => "not kept yet",
        }
    }
}

/// Returns a table of both, and whether no figure has grown beyond the margin.
fn compare(kept: &Tracked, now: &Tracked) -> (String, bool) {
    let mut table =
        String::from("| user instructions per request | kept | now | |\n|---|---:|---:|---|\n");
    let mut holds = true;
    for (name, now) in &now.instructions {
        let before = kept.instructions.get(name).copied();
        let outcome = Outcome::of(before, *now);
        holds &= matches!(outcome, Outcome::Holds | Outcome::Fallen);
        let before = before.map_or_else(|| "–".to_owned(), |kept| kept.to_string());
        let _ = writeln!(
            table,
            "| `{name}` | {before} | {now} | {} |",
            outcome.note()
        );
    }
    (table, holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked(figures: &[(&str, u64)]) -> Tracked {
        let figures = figures.iter().map(|(name, count)| ((*name).into(), *count));
        Tracked {
            rustc: "rustc".to_owned(),
            instructions: figures.collect(),
        }
    }

    #[test]
    fn a_figure_may_grow_by_3_percent() {
        let kept = tracked(&[("pages", 10_000), ("tiny", 2_000)]);
        for (pages, tiny, expected, note) in [
            (10_000, 2_000, true, "| 2000 |  |"),
            (10_300, 2_060, true, "| 2060 |  |"),
            (10_000, 2_061, false, "| 2061 | too many |"),
            (10_301, 1_900, false, "| 1900 | fewer: --bless keeps that |"),
        ] {
            let (table, holds) = compare(&kept, &tracked(&[("pages", pages), ("tiny", tiny)]));
            assert_eq!(holds, expected, "{table}");
            assert!(table.contains(note), "{table}");
        }
    }

    #[test]
    fn a_workload_has_to_be_kept() {
        let (table, holds) = compare(&tracked(&[]), &tracked(&[("tiny", 1)]));
        assert!(!holds && table.contains("| `tiny` | – | 1 | not kept yet |"));
    }
}
