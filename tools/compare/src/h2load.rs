//! The load that h2load produces, which counts only if every response was complete.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use crate::bench::Bench;
use crate::peers::Transport;
use crate::process::{Process, Result, need};
use crate::workloads::{Fields, Shape, Workload};

/// How long a load may take: of a server under valgrind it takes a minute.
const PATIENCE: Duration = Duration::from_secs(600);

/// The outcome of a load: how many requests there were, and how long they took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) took: Duration,
}

/// How many requests each connection makes is a multiple of this, so that all paths have their
/// turns.
fn step(workload: &Workload) -> u64 {
    match workload.shape {
        Shape::Requests { connections, .. } => connections as u64 * workload.paths().len() as u64,
        _ => 1,
    }
}

/// Makes about this many requests.
///
/// # Errors
/// Returns an error unless all of them succeed with bodies of the right size.
pub(crate) fn run(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    address: SocketAddr,
    requests: u64,
) -> Result<Done> {
    let requests = requests.div_ceil(step(workload)).max(1) * step(workload);
    let scheme = match transport {
        Transport::Tls => "https",
        Transport::H2c | Transport::Http1 => "http",
    };
    let (connections, streams) = match workload.shape {
        Shape::Requests {
            connections,
            streams,
        } => (connections as u64, streams),
        _ => (requests, 1),
    };
    let mut command = Command::new(need("h2load")?);
    command.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}")]);
    command.arg(format!("-n{requests}"));
    for line in workload.fields.lines() {
        command.args(["-H", &line]);
    }
    if workload.fields == Fields::BrowserLiterals {
        command.arg("--encoder-header-table-size=0");
    }
    if let Some(file) = workload.upload() {
        command.arg("-d").arg(bench.site.www().join(file.0));
    }
    let paths = workload.paths();
    for (path, _) in &paths {
        command.arg(format!("{scheme}://{address}{path}"));
    }
    let log = bench.site.path("h2load.log");
    let mut process = Process::start(&bench.cores, 0, &mut command, &log)?;
    process.finish(PATIENCE)?;
    let report = process.output();
    let sizes: Option<u64> = paths.iter().map(|(_, size)| *size).sum();
    let bytes = sizes.map(|sum| requests / paths.len() as u64 * sum);
    match Report::parse(&report) {
        Some(parsed) if parsed.is_complete(requests, bytes) => Ok(Done {
            requests,
            took: parsed.took,
        }),
        _ => Err(format!("not all of {requests} responses were complete: {report}").into()),
    }
}

/// The report of h2load.
#[derive(Debug, PartialEq)]
struct Report {
    took: Duration,
    succeeded: u64,
    with_2xx: u64,
    bytes: u64,
}

impl Report {
    fn parse(report: &str) -> Option<Self> {
        let line = |start: &str| report.lines().find_map(|line| line.strip_prefix(start));
        let number = |line: &str, unit: &str| -> Option<u64> {
            let before = &line[..line.find(unit)?];
            before.rsplit([' ', '(']).next()?.parse().ok()
        };
        let took = line("finished in ")?.split(',').next()?;
        let traffic = line("traffic: ")?;
        let data = traffic.rsplit(", ").next()?;
        Some(Self {
            took: duration(took)?,
            succeeded: number(line("requests: ")?, " succeeded")?,
            with_2xx: number(line("status codes: ")?, " 2xx")?,
            bytes: number(data, ") data")?,
        })
    }

    fn is_complete(&self, requests: u64, bytes: Option<u64>) -> bool {
        self.succeeded == requests
            && self.with_2xx == requests
            && bytes.is_none_or(|bytes| bytes == self.bytes)
    }
}

/// Reads a time as h2load writes it.
fn duration(text: &str) -> Option<Duration> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Some(Duration::from_secs_f64(number * seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_if_every_response_was_complete() {
        let report = "finished in 50.21ms, 398.30 req/s, 24.51KB/s\n\
            requests: 20 total, 20 started, 20 done, 19 succeeded, 1 failed, 1 errored, 0 timeout\n\
            status codes: 19 2xx, 0 3xx, 0 4xx, 0 5xx\n\
            traffic: 1.2KB (1234) total, 12B (12) headers (space savings 95.00%), 1.1KB (1100) data\n";
        let parsed = Report::parse(report).unwrap();
        assert_eq!(
            parsed,
            Report {
                took: Duration::from_micros(50_210),
                succeeded: 19,
                with_2xx: 19,
                bytes: 1_100,
            }
        );
        assert!(parsed.is_complete(19, Some(1_100)) && parsed.is_complete(19, None));
        assert!(!parsed.is_complete(20, Some(1_100)) && !parsed.is_complete(19, Some(1_101)));
        assert_eq!(Report::parse("requests: 20 total"), None);
    }
}
