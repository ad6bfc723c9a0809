//! The time of an upload beside that of a plain TCP copy over the same path.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tidegate_http::{Body, Event};

use crate::client::{Client, MAX_WINDOW};
use crate::{Result, Scheme, Target, median};

/// Uploads `--bytes` in one request on a connection of its own, and measures the time from the
/// first SYN to the end of the response: to each server in turn, and by plain TCP to `measure
/// sink`.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The servers: NAME=http://ADDR:PORT/PATH, or NAME=tcp://ADDR:PORT for a plain copy. Ratios
    /// are to the first.
    #[arg(required = true)]
    targets: Vec<Target>,
    /// Bytes of each upload.
    #[arg(long, default_value_t = 20_000_000)]
    bytes: u64,
    /// Uploads to each server.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Fails when the second server takes more than this many times as long as the first, in the
    /// median.
    #[arg(long)]
    at_most: Option<f64>,
}

/// A server that takes this many times as long as the first is measured only once, unless it is
/// judged, because more rounds would take too long.
const HOPELESS: u32 = 4;

/// One upload.
struct Round {
    time: Duration,
    window_updates: u64,
}

pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let mut rounds: Vec<Vec<Round>> = flags.targets.iter().map(|_| Vec::new()).collect();
    for n in 0..flags.rounds {
        for (which, target) in flags.targets.iter().enumerate() {
            let is_judged = which == 1 && flags.at_most.is_some();
            if n > 0 && !is_judged && rounds[which][0].time > HOPELESS * rounds[0][0].time {
                continue;
            }
            let round = match target.scheme {
                Scheme::Tcp => copy(target.address, flags.bytes),
                _ => upload(target, flags.bytes),
            };
            rounds[which].push(round.map_err(|error| format!("{}: {error}", target.name))?);
        }
    }
    println!(
        "{:16}{:>10}{:>10}{:>10}{:>10}{:>14}{:>16}",
        "", "median ms", "least", "most", "MB/s", "of the first", "window updates"
    );
    let mut ratios = Vec::new();
    let mut first = None;
    for (target, rounds) in flags.targets.iter().zip(&rounds) {
        let ms = || rounds.iter().map(|round| round.time.as_secs_f64() * 1e3);
        let least = ms().fold(f64::INFINITY, f64::min);
        let most = ms().fold(0.0, f64::max);
        let typical = median(ms());
        let ratio = typical / *first.get_or_insert(typical);
        let rate = flags.bytes as f64 / typical / 1e3;
        let updates = median(rounds.iter().map(|round| round.window_updates as f64));
        println!(
            "{:16}{typical:>10.0}{least:>10.0}{most:>10.0}{rate:>10.2}{ratio:>13.2}x{updates:>16.0}",
            target.name
        );
        ratios.push(ratio);
    }
    let (Some(most), Some(&ratio)) = (flags.at_most, ratios.get(1)) else {
        return Ok(true);
    };
    Ok(ratio <= most)
}

fn upload(target: &Target, bytes: u64) -> Result<Round> {
    let since = Instant::now();
    let mut client = Client::connect(target, None, MAX_WINDOW)?;
    let head = client
        .head("POST", &target.path)
        .field("content-length", bytes.to_string());
    client.driver.engine.open(&head, Body::Stream)?;
    let mut left = bytes;
    loop {
        for event in client.turn(usize::MAX, Duration::from_secs(1))? {
            match event {
                Event::Writable { id, want } => {
                    let now = want.min(usize::try_from(left)?);
                    left -= client.write_zeros(id, now, now as u64 == left) as u64;
                }
                Event::Response { end: true, .. } | Event::Data { end: true, .. } if left == 0 => {
                    let window_updates = client.driver.engine.stats().window_updates_in;
                    return Ok(Round {
                        time: since.elapsed(),
                        window_updates,
                    });
                }
                Event::Response { end: true, .. } | Event::Data { end: true, .. } => {
                    return Err("the server did not take the whole body".into());
                }
                _ => {}
            }
        }
    }
}

fn copy(address: SocketAddr, bytes: u64) -> Result<Round> {
    let zeros = vec![0; 1 << 18];
    let since = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    let mut left = bytes;
    while left > 0 {
        let now = zeros.len().min(usize::try_from(left)?);
        left -= socket.write(&zeros[..now])? as u64;
    }
    socket.shutdown(Shutdown::Write)?;
    socket.read_exact(&mut [0])?;
    Ok(Round {
        time: since.elapsed(),
        window_updates: 0,
    })
}

/// Runs the other end of a plain TCP copy: reads all that comes on each connection, then sends one
/// byte.
#[derive(Debug, clap::Args)]
pub(crate) struct SinkFlags {
    /// Where to listen.
    listen: SocketAddr,
}

pub(crate) fn sink(flags: &SinkFlags) -> Result<bool> {
    let listener = TcpListener::bind(flags.listen)?;
    println!("tcp://{}", listener.local_addr()?);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let (mut socket, _) = listener.accept()?;
        // A client's fault ends only its own connection.
        while socket.read(&mut buffer).is_ok_and(|count| count > 0) {}
        let _ = socket.write_all(&[0]);
    }
}
