//! Places of open files among the descriptors that the system allows.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use tidegate_ledger::{Client, Lease, Ledger, Resource};

/// One in this many descriptors is reserved for connections, and as many for files, upstreams and
/// logs together.
pub const PART: u64 = 4;

/// The descriptors of files that stay open. No client is charged for them, because all requests for
/// one version of a file share a descriptor of the worker or of the disk threads.
///
/// Another file may be open if a quarter of all descriptors stays free, or if files hold no more
/// with it than that quarter less what is reserved for upstreams. So files leave room for
/// connections to upstreams, and neither files nor connections leave less than a quarter to the
/// others.
#[derive(Clone, Debug)]
pub struct FilePlaces {
    /// The account of all files.
    files: Arc<Client>,
    /// The descriptors that connections to upstreams may need, of the last quarter.
    for_upstreams: u64,
}

impl FilePlaces {
    /// Returns the places of this ledger, where connections to upstreams may need `for_upstreams`
    /// descriptors.
    pub fn of(ledger: &Arc<Ledger>, for_upstreams: u64) -> Self {
        Self {
            files: ledger.shared_files(),
            for_upstreams,
        }
    }

    /// Whether another file may be open.
    ///
    /// # Errors
    /// EMFILE if it may not.
    pub fn check(&self) -> io::Result<()> {
        self.check_more(1)
    }

    fn check_more(&self, more: u64) -> io::Result<()> {
        let what = Resource::Descriptors;
        let ledger = self.files.ledger();
        let part = ledger.rule(what).capacity / PART;
        let free = ledger.rule(what).free(ledger.used(what) + more);
        let own = part.saturating_sub(self.for_upstreams);
        if free >= part || self.files.held(what) + more <= own {
            Ok(())
        } else {
            Err(Errno::MFILE.into())
        }
    }

    /// Takes a place for a file that is about to be opened.
    ///
    /// # Errors
    /// EMFILE if it may not be open.
    pub fn take(&self) -> io::Result<Lease> {
        let mut place = Lease::new(Arc::clone(&self.files), Resource::Descriptors);
        // Taken before the check, so that two threads don't both take the last place.
        place.force(1);
        self.check_more(0)?;
        Ok(place)
    }
}
