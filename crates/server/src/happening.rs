//! Events of the process, for its main thread.

use std::sync::mpsc::Sender;

use crate::prepared::{Prepared, Reason};
use crate::run_error::RunError;

/// An event of the process.
pub(crate) enum Happening {
    /// A signal came.
    Signal(i32),
    /// A worker has ended.
    Ended(Result<(), RunError>),
    /// Files of certificates have changed.
    CertificatesChanged,
    /// A new process with this number serves, or there is a sentence why it can't.
    TakenOver(Result<u32, String>),
    /// A new configuration is ready, or can't be used.
    Prepared(Reason, Result<Box<Prepared>, String>),
}

/// Reports to the main thread how a worker ended, even if it panicked.
pub(crate) struct Ended {
    happened: Sender<Happening>,
    result: Result<(), RunError>,
}

impl Ended {
    pub(crate) fn new(happened: Sender<Happening>) -> Self {
        Self {
            happened,
            result: Err(RunError::WorkerPanicked),
        }
    }

    /// Sets how the worker ended.
    pub(crate) fn set(&mut self, result: Result<(), RunError>) {
        self.result = result;
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // The main thread may have ended already, at another worker's error.
        let _ = self.happened.send(Happening::Ended(result));
    }
}
