//! The cost of a stream that nobody reads for the other streams of its connection.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tidegate_http::{Body, Event};

use crate::client::{Client, zeros};
use crate::{Result, Target, median};

/// Uploads many files at once on one connection, beside stalled uploads: their bodies are echoed,
/// and the client doesn't read the echo. Measures the time with and without these, in turns.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The server: NAME=http://ADDR:PORT, with /upload and /echo.
    target: Target,
    /// Uploads that run.
    #[arg(long, default_value_t = 50)]
    streams: usize,
    /// Bytes of all these uploads together.
    #[arg(long, default_value_t = 20_000_000)]
    bytes: usize,
    /// Uploads that are stalled.
    #[arg(long, default_value_t = 1)]
    stalled: usize,
    /// Pairs of rounds, with and without.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Fails when the others run at less than this part of their speed.
    #[arg(long)]
    at_least: Option<f64>,
}

/// How much of an echo the client accepts.
const ECHO_WINDOW: u32 = 65_535;

/// After this long without data, all that can stall has stalled.
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
    let speed = |time| flags.bytes as f64 / time / 1e6;
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
    // A first upload, so that TCP and the windows have reached their full size.
    upload(&mut client, 1, flags.bytes / 2)?;
    stall(&mut client, stalled)?;
    let since = Instant::now();
    upload(&mut client, flags.streams, flags.bytes)?;
    Ok(since.elapsed())
}

/// Uploads `bytes` in all in `streams` requests, and waits for all responses.
fn upload(client: &mut Client, streams: usize, bytes: usize) -> Result<()> {
    let mut running = HashSet::new();
    for _ in 0..streams {
        let head = client.head("POST", "/upload");
        running.insert(
            client
                .driver
                .engine
                .open(&head, Body::Full(zeros(bytes / streams)))?,
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

/// Stalls `streams` uploads: the server has sent all that it may, and reads no more.
fn stall(client: &mut Client, streams: usize) -> Result<()> {
    for _ in 0..streams {
        let head = client.head("POST", "/echo");
        client.driver.engine.open(&head, Body::Stream)?;
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
    if taken == all {
        Ok(())
    } else {
        Err(format!("{taken} bytes of {streams} echoes arrived, not {all}").into())
    }
}
