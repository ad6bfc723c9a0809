//! Latency at half and at four fifths of the rate that saturates a server. The client keeps to its
//! rate whatever the server does, and each time counts from when the request was due, so that a
//! server that stalls pays for all requests that had to wait (coordinated omission).
//!
//! Server and client need a processor each. Beside other programs, the times are mostly those until
//! the scheduler comes back to one of them: tens of milliseconds, whatever the server. So the
//! machine's load belongs to the table. On a busy machine, `chrt -r 1` before the command puts
//! the run first, but for 50 ms of each second, which Linux leaves to the others
//! (`kernel.sched_rt_runtime_us`): quantiles of 40 to 50 ms are that.

use std::fmt::Write;
use std::time::Duration;

use tidegate_testkit::signals::check_ended;

use crate::bench::Bench;
use crate::load;
use crate::peers::{Peer, Transport};
use crate::process::Result;
use crate::server::{Inside, Server};
use crate::workloads::{Shape, WORKLOADS, Workload};

/// Connections, and streams of each that may be in use.
const CONNECTIONS: usize = 32;
const STREAMS: usize = 32;

/// How many times the length of a load each rate is kept up.
const LONGER: u32 = 5;

/// Measures all servers with the workload `tiny`. Returns a Markdown table.
pub(crate) fn table(bench: &Bench, peers: &[Peer]) -> Result<String> {
    let tiny = WORKLOADS.iter().find(|workload| workload.name == "tiny");
    let tiny = tiny.ok_or("there is no workload tiny")?;
    let workload = Workload {
        shape: Shape::Requests {
            connections: CONNECTIONS,
            streams: STREAMS,
        },
        ..*tiny
    };
    let mut text = String::from(
        "| latency of a 15-byte file | over | load | requests/s | p50 µs | p99 µs | p99.9 µs |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
    );
    for transport in workload.over {
        for peer in peers
            .iter()
            .filter(|peer| peer.can(workload.task, *transport))
        {
            let name = format!("| {} | {}", peer.name(), transport.name());
            bench.progress.set_message(format!(
                "latency over {}: {}",
                transport.name(),
                peer.name()
            ));
            let measured = measure(bench, &workload, *transport, *peer);
            check_ended()?;
            match measured {
                Ok(lines) => {
                    for line in lines {
                        let _ = writeln!(text, "{name} | {line} |");
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    let why = error.lines().next().unwrap_or_default();
                    let _ = writeln!(text, "{name} | {why} | | | | |");
                }
            }
        }
    }
    Ok(text)
}

/// Returns the machine's load average of the last minute.
pub(crate) fn load_average() -> Result<String> {
    let averages = std::fs::read_to_string("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or_default().to_owned())
}

/// Returns a line for each part of the rate that saturates the server.
fn measure(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peer: Peer,
) -> Result<Vec<String>> {
    let server = Server::start(bench, peer, workload, transport, Inside::Nothing)?;
    let mut client = load::connect(workload, transport, server.address, CONNECTIONS)?;
    let few = 20_000;
    let took = client.run(CONNECTIONS, STREAMS, few)?;
    let guess = few as f64 / took.as_secs_f64();
    let many = (guess * bench.lasts.as_secs_f64() * 2.0) as u64;
    let took = client.run(CONNECTIONS, STREAMS, many.max(few))?;
    let most = many.max(few) as f64 / took.as_secs_f64();
    let mut lines = Vec::new();
    for part in [0.5, 0.8] {
        let rate = most * part;
        let mut times = client.pace(rate, bench.lasts * LONGER, STREAMS)?;
        times.sort_unstable();
        lines.push(format!(
            "{:.0} % | {rate:.0} | {} | {} | {}",
            part * 100.0,
            micros(&times, 0.5),
            micros(&times, 0.99),
            micros(&times, 0.999)
        ));
    }
    Ok(lines)
}

/// Returns a quantile of sorted times, in whole microseconds.
fn micros(times: &[Duration], quantile: f64) -> u128 {
    let index = (times.len() as f64 * quantile).ceil() as usize;
    let time = times.get(index.saturating_sub(1));
    time.copied().unwrap_or_default().as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_from_the_least() {
        let times: Vec<_> = (1..=1_000).map(Duration::from_micros).collect();
        assert_eq!(micros(&times, 0.5), 500);
        assert_eq!(micros(&times, 0.999), 999);
        assert_eq!(micros(&[], 0.5), 0);
    }
}
