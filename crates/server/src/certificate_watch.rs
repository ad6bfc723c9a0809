//! Notices that the files of certificates have changed.

use std::io;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::config::Seen;
use crate::happening::Happening;

/// Starts a thread that looks at these files as often as `every` says, and reports when one of them
/// is another or has other content. The thread ends when the returned sender is dropped.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn start(
    mut seen: Seen,
    every: Duration,
    happened: Sender<Happening>,
) -> io::Result<Sender<()>> {
    let (running, stopped) = mpsc::channel();
    let look = move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
            if seen.have_changed() && happened.send(Happening::CertificatesChanged).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("certificates".into());
    thread.spawn(look)?;
    Ok(running)
}
