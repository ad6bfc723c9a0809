//! Measures a row of the table: one workload over one transport, by all servers.

use std::time::Duration;

use crate::bench::Bench;
use crate::load::{self, Load};
use crate::peers::{Peer, Transport};
use crate::process::Result;
use crate::profile::Profile;
use crate::server::{Inside, Server};
use crate::workloads::{Shape, Unit, Workload};

/// Bytes that a load moves at most when a server runs under valgrind or strace.
const COUNTED_BYTES: u64 = 100 << 20;

/// Connections of the shorter load when valgrind runs their handshakes: all are opened at once, and
/// the last one has to be in time.
const HANDSHAKES: u64 = 20;

/// A server's figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Figure(f64),
    /// Why there is none.
    None(String),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) over: &'static str,
    pub(crate) unit: Unit,
    pub(crate) cells: Vec<(Peer, Cell)>,
}

impl Row {
    pub(crate) fn figure(&self, peer: Peer) -> Option<f64> {
        let cell = self.cells.iter().find(|(other, _)| *other == peer);
        match cell {
            Some((_, Cell::Figure(figure))) => Some(*figure),
            _ => None,
        }
    }

    /// Returns the peer that costs least. The floor is no peer.
    pub(crate) fn best(&self) -> Option<(Peer, f64)> {
        let peers = self.cells.iter().filter_map(|(peer, cell)| match cell {
            Cell::Figure(figure) if !matches!(peer, Peer::Tidegate | Peer::Floor) => {
                Some((*peer, *figure))
            }
            _ => None,
        });
        peers.min_by(|(_, one), (_, other)| one.total_cmp(other))
    }

    /// Returns tidegate's figure as a part of the best peer's.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.figure(Peer::Tidegate)? / self.best()?.1)
    }
}

/// How many loads a row takes, for the progress bar.
pub(crate) fn loads(bench: &Bench, peers: &[Peer], unit: Unit) -> u64 {
    let each = match unit {
        Unit::Cpu => bench.rounds + 1,
        Unit::Instructions | Unit::Calls => 2,
        Unit::Memory => 1,
    };
    (peers.len() * each) as u64
}

/// Measures a row. What one server can't do, or does wrong, costs only its own figure.
pub(crate) fn measure(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peers: &[Peer],
    unit: Unit,
) -> Row {
    let end = bench.progress.position() + loads(bench, peers, unit);
    let cells = match unit {
        // The client has descriptors for the connections of one server.
        Unit::Cpu if matches!(workload.shape, Shape::MostlyIdle { .. }) => peers
            .iter()
            .flat_map(|peer| measure_cpu(bench, workload, transport, &[*peer]))
            .collect(),
        Unit::Cpu => measure_cpu(bench, workload, transport, peers),
        _ => peers
            .iter()
            .map(|peer| {
                bench
                    .progress
                    .set_message(message(workload, transport, *peer));
                let cell = match unit {
                    Unit::Instructions => {
                        count(bench, workload, transport, *peer, Inside::Valgrind)
                    }
                    Unit::Calls => count(bench, workload, transport, *peer, Inside::Strace),
                    Unit::Memory | Unit::Cpu => measure_memory(bench, workload, transport, *peer),
                };
                (
                    *peer,
                    cell.unwrap_or_else(|error| Cell::None(error.to_string())),
                )
            })
            .collect(),
    };
    bench.progress.set_position(end);
    Row {
        name: workload.name,
        what: workload.what,
        over: transport.name(),
        unit,
        cells,
    }
}

/// Whether the server has a figure in this row. The floor has one worker.
fn can(peer: Peer, workload: &Workload, transport: Transport) -> bool {
    let has_workers = peer != Peer::Floor || workload.workers == 1;
    has_workers && peer.can(workload.task, transport)
}

fn message(workload: &Workload, transport: Transport, peer: Peer) -> String {
    format!(
        "{} over {}: {}",
        workload.name,
        transport.name(),
        peer.name()
    )
}

/// A server whose turn comes in each round.
struct Running<'a> {
    load: Load<'a>,
    server: Server,
    requests: u64,
    costs: Vec<f64>,
}

impl<'a> Running<'a> {
    fn start(
        bench: &'a Bench,
        workload: &'a Workload,
        transport: Transport,
        peer: Peer,
    ) -> Result<Self> {
        let server = Server::start(bench, peer, workload, transport, Inside::Nothing)?;
        let mut load = Load::prepare(bench, workload, transport, server.address)?;
        let requests = load.warm_up()?;
        Ok(Self {
            load,
            server,
            requests,
            costs: Vec::new(),
        })
    }

    fn take_turn(&mut self) -> Result {
        let before = self.server.process.cpu()?;
        let done = self.load.run(self.requests)?;
        let cost = self.server.process.cpu()? - before;
        self.costs
            .push(cost.as_secs_f64() * 1e6 / done.requests as f64);
        Ok(())
    }
}

/// The servers take turns within a round, and each round begins with another server, so that a busy
/// machine slows all of them alike.
fn measure_cpu(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peers: &[Peer],
) -> Vec<(Peer, Cell)> {
    let mut all: Vec<_> = peers
        .iter()
        .map(|peer| {
            bench
                .progress
                .set_message(message(workload, transport, *peer));
            let running = if can(*peer, workload, transport) {
                Running::start(bench, workload, transport, *peer)
            } else {
                Err("–".into())
            };
            bench.progress.inc(1);
            (*peer, running)
        })
        .collect();
    for round in 0..bench.rounds {
        for turn in 0..all.len() {
            let at = (round + turn) % all.len();
            let (peer, running) = &mut all[at];
            bench
                .progress
                .set_message(message(workload, transport, *peer));
            if let Ok(server) = running
                && let Err(error) = server.take_turn()
            {
                *running = Err(error);
            }
            bench.progress.inc(1);
        }
    }
    let cells = all.into_iter().map(|(peer, running)| {
        let cell = match running {
            Ok(running) => Cell::Figure(median(running.costs)),
            Err(error) => Cell::None(error.to_string()),
        };
        (peer, cell)
    });
    cells.collect()
}

/// Counts over the whole life of a server, for few requests and again for five times as many. The
/// difference leaves out the start, the end and what connections cost.
fn count(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peer: Peer,
    inside: Inside,
) -> Result<Cell> {
    let can_be_counted = inside != Inside::Valgrind || peer.can_be_counted();
    if !can(peer, workload, transport) || !can_be_counted {
        bench.progress.inc(2);
        return Ok(Cell::None("–".to_owned()));
    }
    let most = match (inside, workload.shape) {
        (_, Shape::Connections) => HANDSHAKES,
        (Inside::Valgrind | Inside::Profiler, _) => bench.counted,
        (Inside::Strace | Inside::Nothing, _) => 1_000,
    };
    let few = (COUNTED_BYTES / 5 / workload.weight().max(1)).clamp(8, most);
    difference(bench, workload, transport, peer, inside, few).map(Cell::Figure)
}

/// Counts few requests, and again five times as many. Returns the difference per request.
fn difference(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peer: Peer,
    inside: Inside,
    few: u64,
) -> Result<f64> {
    let mut counts = [(0, 0); 2];
    for (requests, counted) in [few, few * 5].into_iter().zip(&mut counts) {
        let server = Server::start(bench, peer, workload, transport, inside)?;
        let mut load = Load::prepare(bench, workload, transport, server.address)?;
        let done = load.run(requests)?;
        *counted = (done.requests, server.stop()?);
        bench.progress.inc(1);
    }
    let [(few, less), (many, more)] = counts;
    Ok(more.saturating_sub(less) as f64 / (many - few) as f64)
}

/// Returns the instructions of one of tidegate's requests, with so many connections that are all
/// active with one stream.
pub(crate) fn with_connections(
    bench: &Bench,
    workload: &Workload,
    connections: usize,
) -> Result<f64> {
    let active = connections;
    let workload = Workload {
        shape: Shape::MostlyIdle {
            connections,
            active,
        },
        ..*workload
    };
    let few = bench.counted.max(connections as u64);
    let (transport, inside) = (Transport::H2c, Inside::Valgrind);
    difference(bench, &workload, transport, Peer::Tidegate, inside, few)
}

/// Returns tidegate's profile of a workload: the instructions of so many requests, without those of
/// the start, the end and the connections.
pub(crate) fn profile(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
) -> Result<(u64, Profile)> {
    let few = match workload.shape {
        Shape::Connections => HANDSHAKES,
        _ => bench.counted,
    };
    let mut profiles = Vec::new();
    for requests in [few, few * 5] {
        let server = Server::start(bench, Peer::Tidegate, workload, transport, Inside::Profiler)?;
        let mut load = Load::prepare(bench, workload, transport, server.address)?;
        let done = load.run(requests)?;
        profiles.push((done.requests, server.profile()?));
        bench.progress.inc(1);
    }
    let [(few, less), (many, more)] = <[_; 2]>::try_from(profiles).map_err(|_| "no profile")?;
    Ok((many - few, more.minus(&less)))
}

fn measure_memory(
    bench: &Bench,
    workload: &Workload,
    transport: Transport,
    peer: Peer,
) -> Result<Cell> {
    let can = can(peer, workload, transport);
    bench.progress.inc(1);
    if !can {
        return Ok(Cell::None("–".to_owned()));
    }
    let server = Server::start(bench, peer, workload, transport, Inside::Nothing)?;
    let address = server.address;
    // What the first connections need is kept for the next ones.
    drop(load::connect(workload, transport, address, 50)?);
    let before = server.process.memory()?;
    let held = load::connect(workload, transport, address, 1_000)?;
    std::thread::sleep(Duration::from_millis(200));
    let grown = server.process.memory()?.saturating_sub(before);
    drop(held);
    Ok(Cell::Figure(grown as f64 / 1024.0 / 1_000.0))
}

/// Returns the value in the middle, or the mean of the two values there.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_no_peer() {
        let cell = |peer, figure| (peer, Cell::Figure(figure));
        let row = Row {
            name: "tiny",
            what: "",
            over: "h2c",
            unit: Unit::Cpu,
            cells: vec![
                cell(Peer::Tidegate, 1.0),
                cell(Peer::H2o, 2.0),
                cell(Peer::Nginx, 3.0),
                (Peer::Caddy, Cell::None("not installed".to_owned())),
                cell(Peer::Floor, 0.5),
            ],
        };
        assert_eq!(row.best(), Some((Peer::H2o, 2.0)));
        assert_eq!(row.ratio(), Some(0.5));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }
}
