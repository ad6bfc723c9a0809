//! The memory that a crowd of slow uploads costs the server.

use std::fs;
use std::time::{Duration, Instant};

use tidegate_http::{Body, Event, StreamId};

use crate::client::Client;
use crate::{Result, Target};

/// Keeps many slow uploads open at once, and watches the server's resident memory.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The server: NAME=http://ADDR:PORT, with /upload and /echo.
    target: Target,
    /// The server's process.
    #[arg(long)]
    pid: u32,
    /// How the uploads are slow.
    #[arg(long, value_enum)]
    mode: Mode,
    /// Connections.
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Uploads on each.
    #[arg(long, default_value_t = 10)]
    streams: usize,
    /// How long to keep the uploads open, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Fails when the server's memory grows by more bytes than this.
    #[arg(long)]
    at_most: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Each sends 1 KB ten times a second.
    Slow,
    /// Each sends all that it may, to be echoed, and reads nothing of the echo.
    Stalled,
}

/// How often a slow client sends, and how much.
const TICK: Duration = Duration::from_millis(100);
const PER_TICK: usize = 1000;

pub(crate) fn run(flags: &Flags) -> Result<bool> {
    let before = resident(flags.pid)?;
    let mut clients = Vec::new();
    // A client that has its share gets no more connections, and idle connections may have to make
    // room.
    let mut closed = 0;
    for _ in 0..flags.connections {
        match open(flags) {
            Ok(client) => clients.push(client),
            Err(error) if clients.is_empty() => return Err(error),
            Err(_) => closed += 1,
        }
    }
    let end = Instant::now() + Duration::from_secs(flags.seconds);
    let mut peak = before;
    while Instant::now() < end {
        let tick = Instant::now();
        let before = clients.len();
        clients.retain_mut(|(client, streams)| {
            if flags.mode == Mode::Slow {
                for id in streams {
                    client.write_zeros(*id, PER_TICK, false);
                }
            }
            make_progress(client, flags.mode).is_ok()
        });
        closed += before - clients.len();
        if clients.is_empty() {
            return Err("the server closed all connections".into());
        }
        peak = peak.max(resident(flags.pid)?);
        if flags.mode == Mode::Slow {
            std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
        }
    }
    let sent: u64 = clients
        .iter()
        .map(|(client, _)| client.driver.engine.stats().body_out)
        .sum();
    let refused: usize = clients
        .iter()
        .filter_map(|(client, _)| client.refused)
        .sum();
    println!(
        "{:16}{:>8} on {:>5} connections, {} of them closed{:>9} refused{:>8.1} MB sent; resident {:>5.1} MB, and then {:>6.1} MB more",
        flags.target.name,
        format!("{:?}", flags.mode).to_lowercase(),
        flags.connections,
        closed,
        refused,
        sent as f64 / 1e6,
        before as f64 / 1e6,
        (peak - before) as f64 / 1e6,
    );
    Ok(flags.at_most.is_none_or(|most| peak - before <= most))
}

/// Opens a connection and begins its uploads.
fn open(flags: &Flags) -> Result<(Client, Vec<StreamId>)> {
    let (path, window) = match flags.mode {
        Mode::Slow => ("/upload", 65_535),
        Mode::Stalled => ("/echo", 0),
    };
    let mut client = Client::connect(&flags.target, None, window)?;
    client.refused = Some(0);
    while !client.driver.engine.is_established() {
        client.turn(usize::MAX, Duration::from_secs(1))?;
    }
    let mut streams = Vec::new();
    for _ in 0..flags.streams {
        let head = client.head("POST", path);
        streams.push(client.driver.engine.open(&head, Body::Stream)?);
    }
    make_progress(&mut client, flags.mode)?;
    Ok((client, streams))
}

/// Makes all progress on a connection that needs no waiting.
fn make_progress(client: &mut Client, mode: Mode) -> Result<()> {
    loop {
        let events = client.turn(usize::MAX, Duration::ZERO)?;
        if events.is_empty() {
            return Ok(());
        }
        for event in events {
            if let Event::Writable { id, want } = event
                && mode == Mode::Stalled
            {
                client.write_zeros(id, want, false);
            }
        }
    }
}

/// Returns a process's resident bytes (proc_pid_status(5): VmRSS).
fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("no VmRSS")?.trim().parse::<u64>()? * 1024)
}
