//! The load of a workload, by the client that can produce it.

use std::net::SocketAddr;

use crate::bench::Bench;
use crate::echo::{PingPong, WebSockets};
use crate::h2load::{self, Done};
use crate::lean::{Ask, Lean};
use crate::peers::Transport;
use crate::process::Result;
use crate::site::{KB1, KB20, MB1};
use crate::workloads::{Shape, Workload};

/// New connections that one load opens at most: they are all opened at once.
const AT_ONCE: u64 = 500;

/// How many times as long as others a load of many connections lasts at most.
const LONGEST: f64 = 4.0;

/// A client of one server. Its connections are open, except for those of h2load.
pub(crate) struct Load<'a> {
    bench: &'a Bench,
    workload: &'a Workload,
    transport: Transport,
    address: SocketAddr,
    client: Client,
}

enum Client {
    H2load,
    /// A lean client, how many of its connections are active, and how many requests are in progress
    /// on each of those.
    Lean(Lean, usize, usize),
    PingPong(PingPong),
    WebSockets(WebSockets),
}

impl<'a> Load<'a> {
    /// Opens connections as the workload has them.
    pub(crate) fn prepare(
        bench: &'a Bench,
        workload: &'a Workload,
        transport: Transport,
        address: SocketAddr,
    ) -> Result<Self> {
        let lean = |connections| connect(workload, transport, address, connections);
        let client = match workload.shape {
            Shape::Requests { .. } | Shape::Connections => Client::H2load,
            Shape::MostlyIdle {
                connections,
                active,
            } => Client::Lean(lean(connections)?, active, 1),
            Shape::Mixed => Client::Lean(lean(16)?, 16, 16),
            Shape::Idle => Client::Lean(lean(1)?, 1, 1),
            Shape::PingPong => Client::PingPong(PingPong::connect(transport, address)?),
            Shape::WebSockets => Client::WebSockets(WebSockets::connect(address)?),
        };
        Ok(Self {
            bench,
            workload,
            transport,
            address,
            client,
        })
    }

    /// Makes about this many requests.
    ///
    /// # Errors
    /// Returns an error unless every response is complete.
    pub(crate) fn run(&mut self, requests: u64) -> Result<Done> {
        let (requests, took) = match &mut self.client {
            Client::H2load => {
                let (bench, workload) = (self.bench, self.workload);
                return h2load::run(bench, workload, self.transport, self.address, requests);
            }
            Client::Lean(lean, active, streams) => {
                (requests, lean.run(*active, *streams, requests)?)
            }
            Client::PingPong(talks) => talks.run(requests)?,
            Client::WebSockets(sockets) => sockets.run(requests)?,
        };
        Ok(Done { requests, took })
    }

    /// Makes a few requests, and returns how many last as long as a load is to last. Hundreds of
    /// connections take a longer load, so that their handshakes are no large part of it.
    pub(crate) fn warm_up(&mut self) -> Result<u64> {
        let most = match self.workload.shape {
            Shape::Connections => AT_ONCE,
            _ => 10_000_000,
        };
        let (at_once, longer) = match self.workload.shape {
            Shape::Requests {
                connections,
                streams,
            } => (
                (connections * streams) as u64,
                1.0 + connections as f64 / 100.0,
            ),
            _ => (0, 1.0),
        };
        let weight = self.workload.weight().max(1);
        let few = ((40 << 20) / weight).clamp(8, 4_000).max(at_once).min(most);
        let done = self.run(few)?;
        let rate = done.requests as f64 / done.took.as_secs_f64().max(1e-3);
        let lasts = self.bench.lasts.as_secs_f64() * f64::min(longer, LONGEST);
        Ok(((rate * lasts) as u64).clamp(8, most))
    }
}

/// Opens connections that stay, and has a request answered on each.
pub(crate) fn connect(
    workload: &Workload,
    transport: Transport,
    address: SocketAddr,
    connections: usize,
) -> Result<Lean> {
    let asks = if workload.shape == Shape::Mixed {
        mixed()
    } else {
        let paths = workload.paths().into_iter();
        let asks = paths.map(|(path, size)| Ask {
            path,
            priority: None,
            size: size.unwrap_or(0),
        });
        asks.collect()
    };
    Lean::connect(transport, address, connections, asks)
}

/// Returns twenty requests: 14 for 1 KB, 5 for 20 KB and one for 1 MB, at each of the eight
/// urgencies (RFC 9218 §4.1) in turn.
fn mixed() -> Vec<Ask> {
    let file = |n: usize| match n % 20 {
        7 => MB1,
        n if n % 4 == 1 => KB20,
        _ => KB1,
    };
    let ask = |n| Ask {
        path: format!("/{}", file(n).0),
        priority: Some(format!("u={}", n % 8)),
        size: file(n).1,
    };
    (0..40).map(ask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_load_is_mostly_small() {
        let asks = mixed();
        let count = |size| asks.iter().filter(|ask| ask.size == size).count();
        assert_eq!((count(KB1.1), count(KB20.1), count(MB1.1)), (28, 10, 2));
    }
}
