//! Instructions per request that benches/instructions.toml keeps: a change that makes one grow has
//! to change that file too.
//!
//! They are counted where nothing outside the program changes them: the engine and the server in
//! memory, in functions that valgrind counts alone, with the C library's plainest routines. With
//! one compiler the same program has the same figures. What sockets and TLS cost is not in them;
//! `--instructions` shows that, beside other servers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::process::{Result, need};
use crate::site;

/// By how much a figure may exceed the file's: compilers and libraries differ a little.
const MARGIN: f64 = 1.03;

/// Requests that are counted.
const REQUESTS: u64 = 6_400;

const HEAD: &str = "\
# User instructions per request, in memory: benches/engine.rs and benches/server.rs. The gate fails
# when a figure exceeds the one here by more than 3 %. To set them anew, and to say in the commit why:
#
#     cargo run --release -p compare -- tracked --bless
#
# They are of the compiler named here; another one may differ by some percent.
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

/// A bench, its package, the function that counts, and the cases.
const BENCHES: [(&str, &str, &str, &[&str]); 2] = [
    ("engine", "tidegate-http2", "*drive_server*", &["engine"]),
    (
        "server",
        "tidegate",
        "*drive_loop*",
        &[
            "server-repeated",
            "server-one-stream",
            "server-eight-paths",
            "server-browser",
            "server-literals",
            "server-status",
        ],
    ),
];

/// Counts. Returns whether no figure has grown beyond the margin.
pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let path = site::root()?.join("benches/instructions.toml");
    let mut counted = BTreeMap::new();
    for (bench, package, function, cases) in BENCHES {
        let program = build(bench, package)?;
        for case in cases {
            counted.insert((*case).to_owned(), count(&program, function, case)?);
        }
    }
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let rustc = String::from_utf8_lossy(&rustc).trim().to_owned();
    let kept = fs::read_to_string(&path).ok();
    let kept: Option<Tracked> = kept.map(|text| toml::from_str(&text)).transpose()?;
    let before = |case: &str| kept.as_ref()?.instructions.get(case).copied();
    println!("| user instructions per request, in memory | now | kept |");
    println!("|---|---:|---:|");
    let mut holds = true;
    for (case, now) in &counted {
        let Some(kept) = before(case) else {
            println!("| `{case}` | {now} | none |");
            holds = false;
            continue;
        };
        let grows = *now as f64 > kept as f64 * MARGIN;
        holds &= !grows;
        let note = if grows { ": too many" } else { "" };
        println!("| `{case}` | {now} | {kept}{note} |");
    }
    if flags.bless {
        let tracked = Tracked {
            rustc,
            instructions: counted,
        };
        fs::write(&path, format!("{HEAD}{}", toml::to_string(&tracked)?))?;
        return Ok(true);
    }
    if !holds {
        println!(
            "compare: benches/instructions.toml, of {}, doesn't allow this, with {rustc}. Make the \
             request cheaper, or set the figures anew as the file says",
            kept.map_or_else(|| "no compiler".to_owned(), |kept| kept.rustc)
        );
    }
    Ok(holds)
}

/// Builds a bench. Returns its program.
fn build(bench: &str, package: &str) -> Result<PathBuf> {
    let output = Command::new("cargo")
        .args(["bench", "--quiet", "--no-run", "--message-format=json"])
        .args(["--package", package, "--bench", bench])
        .current_dir(site::root()?)
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    // The program's path is the only one that names the bench before a hash.
    let name = format!("/{bench}-");
    let paths = messages.split('"').filter(|word| word.contains(&name));
    let program = paths.map(PathBuf::from).find(|path| path.is_file());
    program.ok_or_else(|| format!("can't build the bench {bench}").into())
}

/// Returns the instructions per request of a case.
fn count(program: &PathBuf, function: &str, case: &str) -> Result<u64> {
    let output = Command::new(need("valgrind")?)
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={function}"))
        .arg(program)
        .args([&REQUESTS.to_string(), case])
        // The loader would choose routines by what the processor has.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-ERMS,-SSE4_2,-SSSE3",
        )
        .stdin(Stdio::null())
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr);
    let total = report
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    match total {
        Some((_, total)) if output.status.success() => Ok(total.trim().parse::<u64>()? / REQUESTS),
        _ => Err(format!("{case} can't be counted: {report}").into()),
    }
}
