//! Notices that the files of certificates have changed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::handlers::lookup::Identity;
use crate::happening::Happening;

/// Starts a thread that looks at these files as often as `every` says, and reports when one of them
/// is another or has other content. The thread ends when the returned sender is dropped.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    paths: Vec<PathBuf>,
    every: Duration,
    happened: Sender<Happening>,
) -> io::Result<Sender<()>> {
    let (running, stopped) = mpsc::channel();
    let mut before = identities(&paths);
    let look = move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
            let now = identities(&paths);
            // Files that are there in part are being replaced.
            let are_there = now.iter().all(Option::is_some);
            if now != before && are_there {
                before = now;
                if happened.send(Happening::CertificatesChanged).is_err() {
                    return;
                }
            }
        }
    };
    let thread = thread::Builder::new().name("certificates".into());
    thread.spawn(look)?;
    Ok(running)
}

/// Returns the identity of each file; `None` if it isn't there.
fn identities(paths: &[PathBuf]) -> Vec<Option<Identity>> {
    let identity = |path: &PathBuf| identity(path);
    paths.iter().map(identity).collect()
}

fn identity(path: &Path) -> Option<Identity> {
    // Links are followed: ACME clients keep the files elsewhere.
    Some(Identity::of(&fs::metadata(path).ok()?))
}
