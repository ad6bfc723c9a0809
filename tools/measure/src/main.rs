//! Shows what windows and priorities are worth: a client that loads a server in a way that tells good from bad, and
//! measures. The scripts beside it (`urgent.sh` and others) start the servers.

mod client;
mod pace;
mod urgent;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures a server that speaks HTTP/2 in cleartext. Each command prints one table, and fails when what it measures is
/// worse than its flags allow.
#[derive(Debug, Parser)]
enum Command {
    Urgent(urgent::Flags),
}

/// A server, and what the table calls it.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    address: SocketAddr,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(typed: &str) -> std::result::Result<Self, String> {
        let (name, address) = typed.split_once('=').ok_or("expected NAME=ADDR:PORT")?;
        let address = address.strip_prefix("http://").unwrap_or(address);
        let address = address.parse().map_err(|_| "expected NAME=ADDR:PORT")?;
        Ok(Self {
            name: name.into(),
            address,
        })
    }
}

/// The value in the middle, or the mean of the two there.
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
    let result = match Command::parse() {
        Command::Urgent(flags) => urgent::run(&flags),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("measure: worse than the flags allow");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}
