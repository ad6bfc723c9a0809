//! The proxy's workers: loops that share a ledger.

use std::net::SocketAddr;
use std::time::Instant;

use tidegate::app::App;
use tidegate_net::{ConnId, Conns, Dialled, Engine, MemoryLoop, MemorySocket};

/// All workers of the proxy.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    inner: MemoryLoop<App>,
    /// Connections that the system has accepted, and the worker not yet.
    backlog: Vec<(MemorySocket, SocketAddr)>,
    /// Whether the loop has ended: it takes no more turns.
    has_ended: bool,
}

impl Workers {
    /// Makes workers of these loops, which must share a ledger.
    pub(super) fn new(loops: impl IntoIterator<Item = MemoryLoop<App>>) -> Self {
        let workers = loops.into_iter().map(|inner| Worker {
            inner,
            backlog: Vec::new(),
            has_ended: false,
        });
        Self(workers.collect())
    }

    /// Returns the number of workers.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Queues a connection for a worker. The connection is closed if the worker has ended.
    pub(super) fn accept(&mut self, worker: usize, socket: MemorySocket, addr: SocketAddr) {
        let worker = &mut self.0[worker];
        if !worker.has_ended {
            worker.backlog.push((socket, addr));
        }
    }

    /// Lets each worker do its work. Returns whether any worker continues.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        for worker in &mut self.0 {
            if worker.has_ended {
                continue;
            }
            worker.has_ended = !worker.inner.turn(now);
            for (socket, addr) in worker.backlog.drain(..) {
                // Closing a listener resets the connections in its queue.
                if !worker.has_ended {
                    worker.inner.accept(socket, addr);
                }
            }
        }
        self.0.iter().any(|worker| !worker.has_ended)
    }

    /// Returns when a turn is due at the latest; `now` if work is left.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let alive = self.0.iter().filter(|worker| !worker.has_ended);
        alive.filter_map(|worker| worker.inner.next_turn(now)).min()
    }

    /// Returns whether nobody is connected or waits to be. Loops tick nevertheless.
    pub(super) fn are_idle(&self) -> bool {
        self.0.iter().all(|worker| {
            let is_empty = worker.inner.conns().is_empty() && worker.inner.parked() == 0;
            is_empty && worker.backlog.is_empty()
        })
    }

    /// Returns the connections that the workers have dialled since the last call.
    pub(super) fn dialled(&mut self) -> Vec<Dialled> {
        let all = self.0.iter_mut().map(|worker| worker.inner.dialled());
        all.flatten().collect()
    }

    /// Begins a graceful shutdown.
    pub(super) fn shut_down(&mut self) {
        for worker in &mut self.0 {
            worker.inner.shut_down();
        }
    }

    /// Returns the connections of each worker.
    pub(super) fn all(&self) -> impl Iterator<Item = &Conns> {
        self.0.iter().map(|worker| worker.inner.conns())
    }

    /// Checks that every engine's books add up.
    pub(super) fn audit(&self) {
        for conns in self.all() {
            let engines = conns
                .iter()
                .filter_map(|conn: ConnId| conns.engine_ref(conn));
            for engine in engines {
                if let Engine::Http2(engine) = engine
                    && let Err(error) = engine.audit()
                {
                    panic!("the proxy's books: {error}");
                }
            }
        }
    }
}
