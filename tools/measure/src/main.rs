//! Measures the effect of windows and priorities: a client loads a server in ways that reveal it.
//! The scripts in tools/ (`urgent.sh` and others) start the servers.

mod client;
mod crowd;
mod downloads;
mod pace;
mod shares;
mod socket;
mod stalled;
mod upload;
mod urgent;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a server that speaks HTTP/2. Each command prints one table, and fails when a result is
/// worse than its flags allow.
#[derive(Debug, Parser)]
struct Flags {
    #[command(subcommand)]
    command: Command,
    /// How often to measure at most while the result is worse than the flags allow: the machine may
    /// be busy.
    #[arg(long, global = true, default_value_t = 1)]
    attempts: u32,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Urgent(urgent::Flags),
    Shares(shares::Flags),
    Weights(shares::WeightFlags),
    Upload(upload::Flags),
    Sink(upload::SinkFlags),
    Stalled(stalled::Flags),
    Crowd(crowd::Flags),
}

/// A server, and its name in the table.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    scheme: Scheme,
    address: SocketAddr,
    path: String,
}

/// The protocol of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    /// HTTP/2 in cleartext.
    Http,
    /// HTTP/2 over TLS.
    Https,
    /// No HTTP.
    Tcp,
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(typed: &str) -> std::result::Result<Self, Self::Err> {
        let wrong = "expected NAME=SCHEME://ADDR:PORT/PATH, SCHEME being http, https or tcp";
        let (name, url) = typed.split_once('=').ok_or(wrong)?;
        let (scheme, rest) = url.split_once("://").ok_or(wrong)?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "tcp" => Scheme::Tcp,
            _ => return Err(wrong),
        };
        Ok(Self {
            name: name.into(),
            scheme,
            address: address.parse().map_err(|_| wrong)?,
            path: format!("/{path}"),
        })
    }
}

/// Returns the value in the middle, or the mean of the two values there.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    for _ in 0..flags.attempts {
        let result = match &flags.command {
            Command::Urgent(flags) => urgent::run(flags),
            Command::Shares(flags) => shares::run(flags),
            Command::Weights(flags) => shares::run_weights(flags),
            Command::Upload(flags) => upload::run(flags),
            Command::Sink(flags) => upload::sink(flags),
            Command::Stalled(flags) => stalled::run(flags),
            Command::Crowd(flags) => crowd::run(flags),
        };
        match result {
            Ok(true) => return ExitCode::SUCCESS,
            Ok(false) => println!("the result is worse than the flags allow"),
            Err(error) => {
                println!("measure: {error}");
                break;
            }
        }
    }
    ExitCode::FAILURE
}
