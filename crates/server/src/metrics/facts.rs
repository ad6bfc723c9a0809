//! Facts about the process, for its metrics.

use std::time::SystemTime;

/// Facts about the process.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the process began to serve.
    pub started: SystemTime,
    /// Reloads after which another configuration was used.
    pub reloads: u64,
    /// Reloads that changed nothing, because the configuration was wrong.
    pub failed_reloads: u64,
    /// When the configuration in use began.
    pub reloaded: SystemTime,
    /// The certificates and revocation lists, by path, and when each expires.
    pub expiries: Vec<(String, SystemTime)>,
}

impl Facts {
    /// Returns the facts about a process that begins to serve.
    pub fn new(now: SystemTime) -> Self {
        Self {
            started: now,
            reloads: 0,
            failed_reloads: 0,
            reloaded: now,
            expiries: Vec::new(),
        }
    }
}
