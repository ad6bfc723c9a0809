//! The state that workers share to serve files.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_ledger::Ledger;

use super::download::Descriptors;
use super::file_places::FilePlaces;
use crate::disk::Disk;

/// State that the workers share to serve files.
#[derive(Clone)]
pub struct Shared {
    /// The threads that wait for disks.
    pub disk: Disk,
    /// The large files that these threads have opened.
    pub descriptors: Arc<Mutex<Descriptors>>,
    /// The descriptors that files may have.
    pub places: FilePlaces,
    /// The time for which a file is served from memory without comparing it with the file system.
    pub check_every: Duration,
}

impl Shared {
    /// Returns state without open files. Files that are opened later count in this ledger. They
    /// leave `for_upstreams` descriptors to connections to upstreams. Files in memory are compared
    /// with the file system in each turn.
    pub fn new(ledger: &Arc<Ledger>, for_upstreams: u64) -> Self {
        Self {
            disk: Disk::new(),
            descriptors: Arc::default(),
            places: FilePlaces::of(ledger, for_upstreams),
            check_every: Duration::ZERO,
        }
    }
}
