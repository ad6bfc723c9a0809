//! Runs the simulators over many seeds, and replays one that failed.

mod proxy;

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use clap::Parser;
use tidegate_testkit::sim;
use tidegate_trace::Values;

/// Joins a client and a server engine by a bad network, seed after seed, and checks every step.
/// With --proxy, the proxy stands between clients and upstreams.
#[derive(Parser)]
struct Flags {
    /// Simulate the proxy, not two engines.
    #[arg(long)]
    proxy: bool,
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run only this seed, and print its every frame and event.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// With --seed: write a trace of the server to this file, for tidegate trace and replay.
    #[arg(long, value_name = "FILE", requires = "seed", conflicts_with = "proxy")]
    trace: Option<std::path::PathBuf>,
    /// Replay the trace of each seed, and fail where the engine does otherwise than recorded.
    #[arg(long, conflicts_with_all = ["proxy", "seed"])]
    replay: bool,
    /// Continue after a seed that failed.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let run = |seed, verbose| {
        if flags.proxy {
            proxy::run(seed, verbose).rows().to_vec()
        } else if flags.replay {
            for values in [Values::Most, Values::Protocol] {
                if let Err(differences) = sim::replay(seed, values) {
                    panic!("{differences}");
                }
            }
            vec![("traces that agree", 2)]
        } else {
            sim::run(seed, verbose).rows().collect()
        }
    };
    let switch = match (flags.proxy, flags.replay) {
        (true, _) => "--proxy --seed ",
        (_, true) => "--replay --seeds 1 --from ",
        _ => "--seed ",
    };
    if let Some(seed) = flags.seed {
        env_logger::Builder::from_env(env_logger::Env::new().default_filter_or("debug")).init();
        let rows = match &flags.trace {
            Some(path) => match traced(seed, path) {
                Ok(rows) => rows,
                Err(error) => {
                    eprintln!("can't write {}: {error}", path.display());
                    return ExitCode::FAILURE;
                }
            },
            None => run(seed, true),
        };
        println!("seed {seed} is clean");
        print_rows(&rows);
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    let mut total: Vec<(&str, u64)> = Vec::new();
    let mut failed = Vec::new();
    for seed in flags.from..flags.from + flags.seeds {
        match std::panic::catch_unwind(|| run(seed, false)) {
            Ok(rows) if total.is_empty() => total = rows,
            Ok(rows) => {
                for ((name, sum), (_, count)) in total.iter_mut().zip(rows) {
                    // Maxima are not added up.
                    *sum = if name.starts_with("most") {
                        count.max(*sum)
                    } else {
                        *sum + count
                    };
                }
            }
            Err(_) => {
                eprintln!(
                    "seed {seed} failed; replay: cargo run --release -p sim -- {switch}{seed}"
                );
                failed.push(seed);
                if !flags.keep_going {
                    break;
                }
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!("{} seeds in {took:.1} s", flags.seeds);
    print_rows(&total);
    if failed.is_empty() {
        println!("all clean");
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}

/// Runs a seed, and writes its trace, even if a check fails.
fn traced(seed: u64, path: &Path) -> io::Result<Vec<(&'static str, u64)>> {
    let file = Arc::default();
    let run = || sim::run_traced(seed, Values::Most, &file);
    let ran = std::panic::catch_unwind(AssertUnwindSafe(run));
    let text = file.lock().unwrap_or_else(PoisonError::into_inner).clone();
    std::fs::write(path, text)?;
    match ran {
        Ok(report) => Ok(report.rows().collect()),
        Err(failed) => std::panic::resume_unwind(failed),
    }
}

fn print_rows(rows: &[(&str, u64)]) {
    for (name, count) in rows {
        println!("{count:>14} {name}");
    }
}
