//! One server under load, with the server behind it if it is a proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tidegate_testkit::signals::check_ended;

use crate::bench::Bench;
use crate::peers::{Peer, Start, Task, Transport};
use crate::process::{Process, Result, free_address, need};
use crate::profile::{self, Profile};
use crate::workloads::Workload;

/// The program that a server runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    Nothing,
    /// Callgrind, which counts user instructions.
    Valgrind,
    /// Callgrind, which says where they are.
    Profiler,
    /// strace, which counts system calls.
    Strace,
}

/// A running server, which is killed when dropped.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    inside: Inside,
    /// The file that the program around the server writes.
    counts: PathBuf,
    _upstream: Option<Process>,
}

impl Server {
    /// Starts a server for this workload.
    ///
    /// # Errors
    /// Returns an error if the server's program is missing, or doesn't listen within a minute.
    pub(crate) fn start(
        bench: &Bench,
        peer: Peer,
        workload: &Workload,
        transport: Transport,
        inside: Inside,
    ) -> Result<Self> {
        check_ended()?;
        let upstream = match workload.task {
            Task::Proxy(behind) => Some(start_upstream(bench, Peer::Tidegate, behind)?),
            Task::WebSocket => Some(start_upstream(bench, Peer::Go, Transport::Http1)?),
            _ => None,
        };
        let address = free_address()?;
        let server = peer.command(&Start {
            site: &bench.site,
            task: workload.task,
            transport,
            workers: workload.workers,
            address,
            upstream: upstream.as_ref().map(|(_, address)| *address),
        })?;
        let counts = bench.site.path(&format!("{}.counts", address.port()));
        let mut command = match inside {
            Inside::Nothing => server,
            Inside::Valgrind => {
                let mut command = Command::new(need("valgrind")?);
                command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
                wrap(command, &server)
            }
            Inside::Profiler => {
                let mut command = Command::new(need("valgrind")?);
                command.arg("--tool=callgrind").args(profile::ARGUMENTS);
                command.arg(format!("--callgrind-out-file={}", counts.display()));
                wrap(command, &server)
            }
            Inside::Strace => {
                let mut command = Command::new(need("strace")?);
                command
                    .args(["-c", "-f", "-U", "calls,name", "-o"])
                    .arg(&counts);
                wrap(command, &server)
            }
        };
        let log = bench.site.path(&format!("{}.log", address.port()));
        let mut process = Process::start(&bench.cores, workload.workers, &mut command, &log)?;
        process.listens(address)?;
        Ok(Self {
            process,
            address,
            inside,
            counts,
            _upstream: upstream.map(|(process, _)| process),
        })
    }

    /// Ends a server inside of [`Inside::Profiler`]. Returns its profile.
    pub(crate) fn profile(mut self) -> Result<Profile> {
        self.process.stop()?;
        Ok(Profile::parse(&fs::read_to_string(&self.counts)?))
    }

    /// Ends the server. Returns what was counted from its start to its end.
    pub(crate) fn stop(mut self) -> Result<u64> {
        self.process.stop()?;
        match self.inside {
            Inside::Nothing => Ok(0),
            Inside::Valgrind | Inside::Profiler => {
                let output = self.process.output();
                let counts = output.lines().filter_map(|line| {
                    let (_, count) = line.split_once("Collected : ")?;
                    count.trim().parse::<u64>().ok()
                });
                // A process that forks is counted on both sides.
                Some(counts.sum())
                    .filter(|sum| *sum > 0)
                    .ok_or_else(|| format!("valgrind gave no count: {output}").into())
            }
            Inside::Strace => {
                let table = fs::read_to_string(&self.counts)?;
                let total = table
                    .lines()
                    .find_map(|line| line.trim().strip_suffix(" total"));
                let total = total.ok_or("strace gave no total")?;
                Ok(total.trim().parse()?)
            }
        }
    }
}

/// Puts a program's command behind another's.
fn wrap(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            outer.env(name, value);
        }
    }
    outer
}

/// Starts a server on the processor of the load, for a proxy to forward to.
fn start_upstream(bench: &Bench, peer: Peer, over: Transport) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let start = Start {
        site: &bench.site,
        task: Task::Files,
        transport: over,
        workers: 1,
        address,
        upstream: None,
    };
    let log = bench.site.path(&format!("{}.log", address.port()));
    let mut process = Process::start(&bench.cores, 0, &mut peer.command(&start)?, &log)?;
    process.listens(address)?;
    Ok((process, address))
}
