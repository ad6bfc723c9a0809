//! How much less urgent data precedes an urgent response.

use std::time::{Duration, Instant};

use crate::downloads::{Downloads, Reader};
use crate::{Result, Target, median};

/// Downloads BULK many times at once on one connection, reading at a bounded rate. Then requests
/// URGENT with u=0, and measures how much of the bulk precedes it, and how long it takes. Servers
/// that know only the weights of RFC 7540 get weight 1 for the bulk and 256 for the urgent file.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The servers, measured in turns: NAME=http://ADDR:PORT.
    #[arg(required = true)]
    targets: Vec<Target>,
    /// The bulk: a large file.
    #[arg(long, default_value = "/bulk.bin")]
    bulk: String,
    /// The urgent file.
    #[arg(long, default_value = "/urgent.bin")]
    urgent: String,
    /// Downloads of the bulk.
    #[arg(long, default_value_t = 20)]
    streams: usize,
    #[command(flatten)]
    reader: Reader,
    /// Bytes of bulk before the urgent request.
    #[arg(long, default_value_t = 8_000_000)]
    lead: usize,
    /// Connections to each server.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Fails when the first server sends more than this many bytes of bulk first, in the median.
    #[arg(long)]
    at_most: Option<usize>,
}

/// The bulk that preceded one urgent response.
struct Round {
    bytes: usize,
    time: Duration,
}

pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let mut rounds: Vec<Vec<Round>> = flags.targets.iter().map(|_| Vec::new()).collect();
    for _ in 0..flags.rounds {
        for (target, rounds) in flags.targets.iter().zip(&mut rounds) {
            rounds.push(round(flags, target).map_err(|error| format!("{}: {error}", target.name))?);
        }
    }
    println!(
        "bulk ahead of an urgent response: {} downloads on one connection, read at {} MB/s, medians of {}",
        flags.streams,
        flags.reader.rate as f64 / 1e6,
        flags.rounds
    );
    println!(
        "{:16}{:>10}{:>10}{:>10}{:>12}",
        "", "median KB", "least", "most", "median ms"
    );
    let mut medians = Vec::new();
    for (target, rounds) in flags.targets.iter().zip(&rounds) {
        let kb = || rounds.iter().map(|round| round.bytes as f64 / 1e3);
        let ms = median(rounds.iter().map(|round| round.time.as_secs_f64() * 1e3));
        let most = kb().fold(0.0, f64::max);
        let least = kb().fold(f64::INFINITY, f64::min);
        let ahead = median(kb());
        println!(
            "{:16}{ahead:>10.0}{least:>10.0}{most:>10.0}{ms:>12.1}",
            target.name
        );
        medians.push(ahead * 1e3);
    }
    Ok(flags.at_most.is_none_or(|most| medians[0] <= most as f64))
}

fn round(flags: &Flags, target: &Target) -> Result<Round> {
    let mut downloads = Downloads::connect(target, flags.reader)?;
    let client = &mut downloads.client;
    for _ in 0..flags.streams {
        let id = client.get(&flags.bulk, None)?;
        client.send_weight(id, 1);
    }
    let mut lead = 0;
    while lead < flags.lead {
        for piece in downloads.turn()? {
            if piece.end {
                return Err(format!("{} is too short", flags.bulk).into());
            }
            lead += piece.bytes;
        }
    }
    let client = &mut downloads.client;
    let urgent = client.get(&flags.urgent, Some("u=0"))?;
    client.send_weight(urgent, 256);
    let (since, mut bytes) = (Instant::now(), 0);
    loop {
        for piece in downloads.turn()? {
            if piece.id == urgent {
                let time = since.elapsed();
                return Ok(Round { bytes, time });
            }
            bytes += piece.bytes;
        }
    }
}
