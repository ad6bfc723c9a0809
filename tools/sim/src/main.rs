//! Runs the simulator over many seeds, and replays one that failed.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tidegate_testkit::sim::{self, Report};

/// Joins a client and a server engine by a bad network, seed after seed, and checks every step.
#[derive(Parser)]
struct Flags {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Run this seed alone, and tell every frame and event of it.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Go on after a seed that failed.
    #[arg(long)]
    keep_going: bool,
    /// Tell how often everything happened that is worth simulating.
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    if let Some(seed) = flags.seed {
        let report = sim::run(seed, true);
        println!("seed {seed} is clean");
        print_rows(&report);
        return ExitCode::SUCCESS;
    }
    let start = Instant::now();
    let mut total = Report::default();
    let mut failed = Vec::new();
    for seed in flags.from..flags.from + flags.seeds {
        match std::panic::catch_unwind(|| sim::run(seed, false)) {
            Ok(report) => total.add(&report),
            Err(_) => {
                eprintln!(
                    "seed {seed} failed; replay: cargo run --release -p sim -- --seed {seed}"
                );
                failed.push(seed);
                if !flags.keep_going {
                    break;
                }
            }
        }
    }
    println!(
        "{} seeds in {:.1} s: {} streams, {} messages, {} body octets, {} frames, {} turns",
        flags.seeds,
        start.elapsed().as_secs_f64(),
        total.streams,
        total.messages,
        total.body_octets,
        total.frames,
        total.turns,
    );
    if flags.verbose {
        print_rows(&total);
    }
    if failed.is_empty() {
        println!("all clean");
        return ExitCode::SUCCESS;
    }
    println!("failed: {failed:?}");
    ExitCode::FAILURE
}

fn print_rows(report: &Report) {
    for (name, count) in report.rows() {
        println!("{count:>14} {name}");
    }
}
