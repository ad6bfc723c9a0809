//! Proves that the release binary is a proxy that works with other software: curl, nghttp, h2load
//! and Chromium in front of it; nginx, nghttpd, haproxy, Go's net/http and tidegate itself as
//! upstreams; over HTTP/1.1, and HTTP/2 in cleartext and over TLS, in every pairing. Files down, up
//! and echoed, compared by checksum; the fields that messages may carry; upstreams that break off,
//! fall silent, die, restart or send GOAWAY; clients that leave; smuggling; the PROXY protocol;
//! WebSockets.
//!
//! ```sh
//! cargo build --release && cargo run --release -p interop
//! cargo run --release -p interop -- broken_upstreams websockets    # only these sections
//! ```
//!
//! Every check is one line: [`bench::Bench::expect`] with its name, the value got and the value
//! wanted. All of them run, and the exit status is 0 if all held. The programs written for this are
//! tools/upstream-go, an ordinary upstream, and [`bad_upstream`], a bad one.

mod bad_upstream;
mod bench;
mod client;
mod everything;
mod exchange;
mod frames;
mod process;
mod samples;
mod sections;
mod stall;
mod tidegate;
mod upstreams;
mod websocket;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

use bench::Bench;
use process::Result;
use sections::SECTIONS;
use stall::Stall;

/// Checks the proxy with other people's clients and servers.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Flags {
    /// The sections to run, in this order; all if none is named.
    #[arg(value_parser = PossibleValuesParser::new(SECTIONS.map(|(name, _)| name)))]
    sections: Vec<String>,
    /// The server's binary; target/release/tidegate by default.
    #[arg(long, env = "TIDEGATE")]
    tidegate: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Open connections in which nothing moves, and keep them until stdin ends.
    #[command(hide = true)]
    Stall(Stall),
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let held = match &flags.command {
        Some(Command::Stall(stall)) => stall.run().map(|()| true),
        None => run(&flags),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("interop: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the sections. Returns whether all checks held.
fn run(flags: &Flags) -> Result<bool> {
    tidegate_testkit::signals::end_on_signals()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| root.join("target"), PathBuf::from);
    let tidegate = flags.tidegate.clone();
    let tidegate = tidegate.unwrap_or_else(|| target.join("release/tidegate"));
    let bench = Bench::new(tidegate, &root, &std::path::absolute(&target)?)?;
    let chosen = |name: &str| SECTIONS.into_iter().find(|(section, _)| *section == name);
    let sections: Vec<_> = if flags.sections.is_empty() {
        SECTIONS.to_vec()
    } else {
        flags
            .sections
            .iter()
            .filter_map(|name| chosen(name))
            .collect()
    };

    let began = Instant::now();
    for (name, section) in sections {
        let (section_began, before) = (Instant::now(), bench.passed.get());
        println!("-- {name}");
        section(&bench).map_err(|error| format!("{name} can't be run: {error}"))?;
        let (held, seconds) = (
            bench.passed.get() - before,
            section_began.elapsed().as_secs(),
        );
        println!("   {held} checks held, {seconds} s");
    }
    let errors = bench.server_lines(&["panicked", " ERROR "])?;
    bench.expect(
        "no panic, and no error of its own",
        errors,
        Vec::<String>::new(),
    );
    let (passed, failed) = (bench.passed.get(), bench.failed.get());
    if failed > 0 {
        let lines = bench.server_lines(&[" WARN ", " ERROR "])?;
        for line in &lines[lines.len().saturating_sub(100)..] {
            println!("{line}");
        }
    }
    let seconds = began.elapsed().as_secs();
    println!("interop: {passed} checks held, {failed} did not, {seconds} s");
    Ok(failed == 0)
}
