//! Parts that one configuration of a process takes over from the one before.

use clap::CommandFactory;
use std::path::PathBuf;
use std::sync::Arc;
use tidegate_http::WallClock;
use tidegate_ledger::Ledger;

use super::access_logs::Opened;
use super::engine::Shared;
use super::tls;
use crate::flags::Flags;
use crate::handlers::files;
use crate::trace;

/// Parts that last as long as the process, or until a configuration says otherwise.
#[derive(Clone)]
pub struct Lasting {
    /// The flags that the process began with.
    pub(super) flags: Flags,
    /// The number of configurations before this one.
    pub(super) generation: u64,
    pub(super) workers: usize,
    pub(super) shared: Shared,
    pub(super) wall_clock: WallClock,
    pub(super) files: files::Shared,
    /// The access logs that are open.
    pub(super) access_logs: Vec<Opened>,
    /// The trace that is open, by its path.
    pub(super) trace: Option<(PathBuf, Arc<trace::Settings>)>,
    /// Sessions of TLS, and the certificate that was made at start.
    pub(super) tls: tls::Kept,
}

impl Lasting {
    /// Returns the account of each client.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.shared.ledger
    }

    /// Returns a sentence about the flags that differ from those that the process began with, and
    /// that count only from its next start on.
    pub fn unchanged(&self, flags: &Flags) -> Option<String> {
        let then = &self.flags;
        let differ = [
            ("user", then.user != flags.user),
            ("pid-file", then.pid_file != flags.pid_file),
            ("workers", then.workers != flags.workers),
            ("memory-budget", then.memory_budget != flags.memory_budget),
            (
                "max-connections",
                then.max_connections != flags.max_connections,
            ),
            (
                "max-connections-per-client",
                then.max_connections_per_client != flags.max_connections_per_client,
            ),
            ("max-requests", then.max_requests != flags.max_requests),
            (
                "max-requests-per-client",
                then.max_requests_per_client != flags.max_requests_per_client,
            ),
            ("client-shares", then.client_shares != flags.client_shares),
        ];
        let differ = differ.iter().filter(|(_, differs)| *differs);
        let names: Vec<&str> = differ.map(|(name, _)| *name).collect();
        debug_assert!(names.iter().all(|name| {
            let command = Flags::command();
            let mut flags = command.get_arguments();
            flags.any(|flag| flag.get_long() == Some(*name))
        }));
        (!names.is_empty()).then(|| {
            format!(
                "these can't change while the server runs, and keep their values until it starts \
                 anew, {}: {}",
                if then.user == flags.user {
                    "as by SIGUSR2"
                } else {
                    // By SIGUSR2 the new process begins as the user that this one has become.
                    "for another user by a start as root"
                },
                names.join(", ")
            )
        })
    }
}
