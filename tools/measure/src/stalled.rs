//! What a stream that nobody reads costs the others of its connection.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tidegate_proto::{Body, Event};

use crate::client::{Client, zeros};
use crate::{Result, Target, median};

/// Uploads a file many times at once on one connection, on which other uploads have come to a stop: their bodies are
/// echoed and the echo is not taken. Tells how long that takes with and without those, by turns.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The server: NAME=http://ADDR:PORT, with /upload and /echo.
    target: Target,
    /// Uploads that run.
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// Octets of all those together.
    #[arg(long, default_value_t = 20_000_000)]
    octets: usize,
    /// Uploads that have come to a stop.
    #[arg(long, default_value_t = 1)]
    stalled: usize,
    /// Pairs of rounds, with and without.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Fails when the others run at less than this part of their speed.
    #[arg(long)]
    at_least: Option<f64>,
}

/// What the client takes of an echo.
const ECHO_WINDOW: u32 = 65_535;

/// When nothing has come for so long, what can stop has stopped.
const QUIET: Duration = Duration::from_millis(300);

pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..flags.rounds {
        for (stalled, times) in [0, flags.stalled].into_iter().zip(&mut times) {
            let time = round(flags, stalled).map_err(|error| {
                format!(
                    "{}, with {stalled} stalled streams: {error}",
                    flags.target.name
                )
            })?;
            times.push(time.as_secs_f64());
        }
    }
    let [without, with] = times.map(|times| median(times.into_iter()));
    let speed = |time| flags.octets as f64 / time / 1e6;
    println!(
        "{} uploads on one connection to {}: {:.2} MB/s alone, {:.2} MB/s beside {} stalled, {:.2} of it (medians of {})",
        flags.streams,
        flags.target.name,
        speed(without),
        speed(with),
        flags.stalled,
        without / with,
        flags.rounds
    );
    Ok(flags.at_least.is_none_or(|least| without / with >= least))
}

fn round(flags: &Flags, stalled: usize) -> Result<Duration> {
    let mut client = Client::connect(&flags.target, None, ECHO_WINDOW)?;
    // A first upload, so that TCP and the windows have grown as far as they will.
    upload(&mut client, 1, flags.octets / 2)?;
    stall(&mut client, stalled)?;
    let since = Instant::now();
    upload(&mut client, flags.streams, flags.octets)?;
    Ok(since.elapsed())
}

/// Uploads so many octets in so many streams, and waits for all responses.
fn upload(client: &mut Client, streams: usize, octets: usize) -> Result<()> {
    let mut running = HashSet::new();
    for _ in 0..streams {
        let head = client.head("POST", "/upload");
        running.insert(
            client
                .engine
                .open(&head, Body::Full(zeros(octets / streams)))?,
        );
    }
    while !running.is_empty() {
        for event in client.turn(usize::MAX, Duration::from_secs(1))? {
            match event {
                Event::Data { id, end: true, .. } => {
                    running.remove(&id);
                }
                Event::Writable { id, want } => {
                    client.write_zeros(id, want, false);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Brings so many uploads to a stop: the server has sent what it may, and takes no more.
fn stall(client: &mut Client, streams: usize) -> Result<()> {
    for _ in 0..streams {
        let head = client.head("POST", "/echo");
        client.engine.open(&head, Body::Stream)?;
    }
    let all = streams * ECHO_WINDOW as usize;
    let (mut taken, mut last) = (0, Instant::now());
    while taken < all || last.elapsed() < QUIET {
        for event in client.turn(usize::MAX, QUIET / 10)? {
            last = Instant::now();
            match event {
                Event::Writable { id, want } => {
                    client.write_zeros(id, want, false);
                }
                Event::Data { data, .. } => taken += data.len(),
                _ => {}
            }
        }
    }
    match taken == all {
        true => Ok(()),
        false => Err(format!("{taken} octets of {streams} echoes came").into()),
    }
}
