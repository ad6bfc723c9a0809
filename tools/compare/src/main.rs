//! Compares what a request costs tidegate, other servers, and the floor: a server with the same
//! system calls and the same TLS whose answers are canned.
//!
//! ```sh
//! cargo build --release && cargo run --release -p compare
//! cargo run --release -p compare -- tiny browser --only h2o --only tidegate
//! cargo run --release -p compare -- --instructions
//! cargo run --release -p compare -- tracked    # benches/instructions.toml
//! ```
//!
//! The figure is CPU time unless the workload or a flag says otherwise: user and system time of the
//! server's processes, from the system's exact clock of each, read before and after each load. It
//! includes the handshakes of the load's connections. Each server has one worker, on a processor of
//! its own if there are two; the load has the other. The servers take turns within a round, and
//! each round begins with another one, so that a busy machine slows all of them alike. The figure
//! is the median of the rounds.
//!
//! With `--instructions` callgrind counts the user instructions of the whole process, for few
//! requests and again for five times as many. The difference divided by the requests between is the
//! figure, so that start, handshakes and end cancel out. On a quiet machine it is reproducible
//! within 2 %. On a busy machine a server finds fewer requests each time it wakes, and pays for
//! more wake-ups. System calls are counted in the same way by strace. Memory is what no file backs,
//! of 1,000 connections.
//!
//! With `--latency` a client keeps to a rate, and times count from when requests were due.
//!
//! `--documented` renews all figures and plots of docs/performance.md, in place, with a server that
//! it builds first; `--documented=growth,cores` some of them. The page says what each part is.
//!
//! A load counts only if every response was complete: its status and the size of its body. What a
//! server can't do is a dash.
//!
//! Exits with 1 when tidegate costs more than h2o, or has no figure where it should have one.

mod bench;
mod built;
mod configs;
mod cores;
mod discard;
mod documented;
mod echo;
mod floor;
mod frames;
mod growth;
mod h2load;
mod in_memory;
mod latency;
mod lean;
mod load;
mod peers;
mod plot;
mod process;
mod profile;
mod rows;
mod server;
mod site;
mod stages;
mod table;
mod tracked;
mod wire;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tidegate_testkit::signals::{check_ended, end_on_signals};

use bench::Bench;
use documented::Part;
use peers::Peer;
use process::{Cores, Result};
use rows::Row;
use site::Site;
use workloads::{Unit, WORKLOADS, Workload};

/// Compares servers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Flags {
    /// Workloads to measure; all if none is named, or with --instructions only tiny.
    #[arg(value_parser = PossibleValuesParser::new(WORKLOADS.iter().map(|workload| workload.name)))]
    workloads: Vec<String>,
    /// Servers to measure, separated by spaces or commas. Default: all.
    #[arg(long, value_delimiter = ' ')]
    only: Vec<String>,
    /// Counts user instructions in place of CPU time.
    #[arg(long)]
    instructions: bool,
    /// How often each figure of CPU time is taken: 5 times, or 3 with --documented.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each load lasts, in milliseconds: 400, or 250 with --documented.
    #[arg(long)]
    lasts: Option<u64>,
    /// Measures latency at rates below saturation in place of costs.
    #[arg(long, conflicts_with = "instructions")]
    latency: bool,
    /// Renews the figures and plots of docs/performance.md, or the parts of it that are named.
    #[arg(
        long,
        value_enum,
        value_name = "PARTS",
        value_delimiter = ',',
        num_args = 0..,
        require_equals = true,
        default_missing_value = "all",
        conflicts_with_all = ["workloads", "instructions", "latency", "svg"]
    )]
    documented: Vec<Part>,
    /// Writes a plot of the table into this file.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// The server's binary; target/release/tidegate by default.
    #[arg(long, env = "TIDEGATE")]
    tidegate: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Counts the instructions that benches/instructions.toml keeps.
    Tracked(tracked::Flags),
    /// Serves canned answers.
    #[command(hide = true)]
    Floor(floor::Flags),
    /// Takes bodies and answers.
    #[command(hide = true)]
    Discard(floor::Flags),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let held = match &flags.command {
        Some(Command::Floor(flags)) => floor::serve(flags).map(|()| true),
        Some(Command::Discard(flags)) => discard::serve(flags).map(|()| true),
        Some(Command::Tracked(flags)) => tracked::run(flags),
        None => run(&flags),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Flags {
    fn peers(&self) -> Result<Vec<Peer>> {
        use clap::ValueEnum;
        if self.only.is_empty() {
            return Ok(Peer::value_variants().to_vec());
        }
        let names = self.only.iter().flat_map(|names| names.split(','));
        let mut peers: Vec<_> = names
            .filter(|name| !name.is_empty())
            .map(|name| Peer::from_str(name, true))
            .collect::<std::result::Result<_, _>>()?;
        peers.sort_unstable();
        Ok(peers)
    }

    fn workloads(&self) -> Vec<&'static Workload> {
        let all = self.workloads.is_empty();
        let named = |workload: &&Workload| match workload.name {
            "tiny" if all => true,
            _ if all => !self.instructions,
            name => self.workloads.iter().any(|named| named == name),
        };
        WORKLOADS.iter().filter(named).collect()
    }
}

/// Measures what the flags name. Returns whether tidegate costs no more than h2o.
fn run(flags: &Flags) -> Result<bool> {
    end_on_signals()?;
    let (peers, workloads) = (flags.peers()?, flags.workloads());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    if !flags.documented.is_empty() && flags.tidegate.is_none() {
        built::tidegate()?;
    }
    let site = Site::make(flags.tidegate.clone())?;
    let (rounds, lasts, counted) = if flags.documented.is_empty() {
        (5, 400, 10_000)
    } else {
        (3, 250, 2_000)
    };
    let lasts = Duration::from_millis(flags.lasts.unwrap_or(lasts));
    let rounds = flags.rounds.unwrap_or(rounds);
    let bench = Bench::new(Cores::take()?, site, rounds, lasts, counted)?;
    if !flags.documented.is_empty() {
        documented::run(&bench, &peers, &flags.documented)?;
        return Ok(true);
    }
    if flags.latency {
        let before = latency::load_average()?;
        println!("{}", latency::table(&bench, &peers)?);
        println!(
            "Processes that wanted a processor (load average of a minute): {before} before, {} after",
            latency::load_average()?
        );
        return Ok(true);
    }
    let unit_of = |workload: &Workload| match workload.unit {
        Unit::Cpu if flags.instructions => Unit::Instructions,
        unit => unit,
    };
    let planned = workloads.iter().flat_map(|workload| {
        let unit = unit_of(workload);
        workload
            .over
            .iter()
            .map(move |over| (*workload, *over, unit))
    });
    let planned: Vec<_> = planned.collect();
    let loads = planned
        .iter()
        .map(|(_, _, unit)| rows::loads(&bench, &peers, *unit));
    bench.progress.set_length(loads.sum());
    let mut rows = Vec::new();
    for (workload, over, unit) in planned {
        let row = rows::measure(&bench, workload, over, &peers, unit);
        // What failed because of a signal is no row.
        check_ended()?;
        bench
            .progress
            .suspend(|| eprintln!("{}", table::line(&row)));
        rows.push(row);
    }
    bench.progress.finish_and_clear();
    print!("{}", table::tables(&rows, &peers));
    if let Some(path) = &flags.svg {
        std::fs::write(path, plot::costs(&rows, &peers))?;
    }
    Ok(!peers.contains(&Peer::Tidegate) || holds(&rows))
}

/// Says where tidegate costs more than h2o, or has no figure. Returns whether it is nowhere so.
fn holds(rows: &[Row]) -> bool {
    let mut holds = true;
    for row in rows {
        let wrong = match (row.figure(Peer::Tidegate), row.figure(Peer::H2o)) {
            (None, _) => "tidegate has no figure",
            (Some(own), Some(h2o)) if own > h2o => "tidegate costs more than h2o",
            _ => continue,
        };
        println!("compare: {}, {}: {wrong}", row.name, row.over);
        holds = false;
    }
    holds
}
