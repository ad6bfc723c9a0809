//! The resources that clients share, and how much of them the system has: descriptors above all.

use std::io;
use std::sync::Arc;

use nix::sys::resource::{Resource as Limit, getrlimit, setrlimit};
use tidegate_http::MemoryBudget;
use tidegate_ledger::{Ledger, Limits, Mode, Resource, Rule};

use crate::disk;
use crate::flags::{ClientShares, Flags};
use crate::handlers::file_places::PART;

/// The default of `--max-connections` is at most this. An idle connection takes a few kilobytes.
const MAX_CONNECTIONS: u64 = 100_000;

/// Connections of a new client that always find room, if many are allowed. A browser opens six to
/// a host.
const BROWSER_CONNECTIONS: u64 = 8;

/// One in this many connections is reserved for clients with at most [`BROWSER_CONNECTIONS`].
const SMALL_HOLDERS: u64 = 16;

/// Descriptors of the process itself: the log, the signals, and two for each disk thread while it
/// looks at a file.
const OWN_DESCRIPTORS: u64 = 16 + 2 * disk::THREADS as u64;
/// Descriptors of a worker: its listeners, epoll instance and waker, and those it needs to look at
/// a file.
const WORKER_DESCRIPTORS: u64 = 8;

/// The flags that limit what clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    max_connections: Option<u64>,
    max_connections_per_client: u64,
    max_requests: u64,
    max_requests_per_client: u64,
    mode: Mode,
}

impl Shared {
    /// Reads the limits from the flags.
    pub fn new(flags: &Flags) -> Self {
        Self {
            max_connections: flags.max_connections.map(u64::from),
            max_connections_per_client: flags.max_connections_per_client.into(),
            max_requests: flags.max_requests.into(),
            max_requests_per_client: flags.max_requests_per_client.into(),
            mode: match flags.client_shares {
                ClientShares::Enforce => Mode::Enforce,
                ClientShares::Log => Mode::Log,
                ClientShares::Off => Mode::Off,
            },
        }
    }

    /// Returns the ledger of a process with `workers` workers that may have `descriptors`
    /// descriptors and `memory` bytes; `memory` 0 is no limit.
    pub fn ledger(&self, descriptors: u64, workers: usize, memory: u64) -> Arc<Ledger> {
        let own = OWN_DESCRIPTORS + WORKER_DESCRIPTORS * workers as u64;
        let descriptors = descriptors.saturating_sub(own).max(4);
        // A quarter is for files, upstreams and logs.
        let room = descriptors - descriptors / PART;
        let connections = match self.max_connections {
            Some(typed) if typed > room => {
                log::warn!(
                    "--max-connections {typed}: the system allows {descriptors} descriptors, which \
                     is enough for {room} connections; raise the limit of open files (ulimit -n, \
                     or LimitNOFILE of systemd)"
                );
                room
            }
            Some(typed) => typed,
            None => room.min(MAX_CONNECTIONS),
        };
        let connections = match connections / SMALL_HOLDERS {
            0..BROWSER_CONNECTIONS => Rule::new(connections),
            reserve => Rule::new(connections).reserve(reserve, BROWSER_CONNECTIONS),
        };
        let connections = connections.per_client(self.max_connections_per_client);
        let limits = Limits::none()
            .with(Resource::Connections, connections)
            .with(Resource::Descriptors, Rule::new(descriptors))
            .with(
                Resource::Requests,
                Rule::new(self.max_requests).per_client(self.max_requests_per_client),
            )
            .mode(self.mode);
        Ledger::new(MemoryBudget::limits(limits, memory))
    }
}

/// Returns how many connections each worker may have to each upstream address, as far as
/// descriptors allow. Upstreams get three quarters of what connections of clients leave, because
/// each long poll and each WebSocket takes a connection on both sides.
pub fn upstream_connections(ledger: &Ledger, workers: usize, addresses: usize) -> u64 {
    let descriptors = ledger.rule(Resource::Descriptors).capacity;
    let clients = ledger.rule(Resource::Connections).capacity;
    let left = descriptors.saturating_sub(clients);
    let pools = workers.saturating_mul(addresses).max(1) as u64;
    ((left - left / PART) / pools).max(1)
}

/// Raises the limit of open files to what the system lets this process have, and returns it.
///
/// # Errors
/// When the system doesn't report the limit. A limit that can't be raised stays as it is.
pub fn raise_descriptors() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Limit::RLIMIT_NOFILE)?;
    match setrlimit(Limit::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => Ok(hard),
        Err(error) => {
            log::warn!("can't raise the limit of open files from {soft} to {hard}: {error}");
            Ok(soft)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use clap::Parser;
    use rustix::io::Errno;
    use tidegate_ledger::Lease;

    use super::*;
    use crate::handlers::file_places::FilePlaces;

    fn shared(line: &str) -> Shared {
        let words = std::iter::once("tidegate").chain(line.split_whitespace());
        Shared::new(&Flags::try_parse_from(words).unwrap())
    }

    #[test]
    fn connections_leave_descriptors_for_files_and_upstreams() {
        let capacity = |line, descriptors| {
            let ledger = shared(line).ledger(descriptors, 2, 0);
            ledger.rule(Resource::Connections).capacity
        };
        assert_eq!(capacity("", 1024), 738);
        assert_eq!(capacity("", 1 << 20), MAX_CONNECTIONS);
        assert_eq!(capacity("--max-connections 500", 1024), 500);
        assert_eq!(capacity("--max-connections 5000", 1024), 738);
        assert!(capacity("", 10) > 0);
    }

    #[test]
    fn connections_to_upstreams_leave_descriptors_for_files() {
        let most = |line, descriptors, workers, addresses| {
            let ledger = shared(line).ledger(descriptors, workers, 0);
            let each = upstream_connections(&ledger, workers, addresses);
            let clients = ledger.rule(Resource::Connections).capacity;
            let rest = ledger.rule(Resource::Descriptors).capacity - clients;
            let upstreams = each * (workers * addresses) as u64;
            assert!(
                upstreams <= rest - rest / 4 || each == 1,
                "{upstreams} of {rest}"
            );
            each
        };
        assert_eq!(most("", 1024, 1, 1), 186);
        assert_eq!(most("", 1024, 2, 3), 30);
        // Fewer connections of clients leave more.
        assert_eq!(most("--max-connections 500", 1024, 2, 1), 181);
        assert!(most("", 1 << 20, 64, 10) > 256);
        assert_eq!(most("", 10, 64, 10), 1);
    }

    #[test]
    fn neither_files_nor_connections_leave_the_others_less_than_a_quarter() {
        let ledger = shared("").ledger(140, 1, 0);
        let what = Resource::Descriptors;
        let all = ledger.rule(what).capacity;
        assert_eq!(all, 108);
        let places = FilePlaces::of(&ledger, 0);
        let client = ledger.client(IpAddr::from([192, 0, 2, 1]).into());
        let mut connections = Lease::new(client, what);
        // With connections in three quarters, files have the last.
        connections.set(all - all / 4).unwrap();
        let files: Vec<Lease> = std::iter::from_fn(|| places.take().ok()).collect();
        assert_eq!((files.len() as u64, ledger.used(what)), (27, all));
        drop(files);
        // Upstreams have their part of that.
        let beside_upstreams = FilePlaces::of(&ledger, 20);
        let files: Vec<Lease> = std::iter::from_fn(|| beside_upstreams.take().ok()).collect();
        assert_eq!(files.len(), 7);
        drop(files);
        // Without any, files leave a quarter, and connections find room in it.
        connections.set(0).unwrap();
        let files: Vec<Lease> = std::iter::from_fn(|| places.take().ok()).collect();
        assert_eq!(files.len() as u64, all - all / 4);
        let error = places.take().unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE));
        connections.set(20).unwrap();
        drop(files);
        assert_eq!(ledger.used(what), 20);
        // Where nothing is limited, nothing is refused.
        let places = FilePlaces::of(&Ledger::new(Limits::none()), 0);
        assert!(places.take().is_ok());
    }

    #[test]
    fn limits_are_what_was_typed() {
        let shared = shared(
            "--max-connections-per-client 10 --max-requests 30 --max-requests-per-client 20 --client-shares log",
        );
        let ledger = shared.ledger(1024, 1, 1 << 20);
        assert_eq!(ledger.rule(Resource::Connections).per_client, 10);
        let requests = ledger.rule(Resource::Requests);
        assert_eq!((requests.capacity, requests.per_client), (30, 20));
        assert_eq!(ledger.rule(Resource::Bytes).capacity, 1 << 20);
        let descriptors = raise_descriptors().unwrap();
        assert!(descriptors > 0);
        assert_eq!(getrlimit(Limit::RLIMIT_NOFILE).unwrap().0, descriptors);
    }
}
