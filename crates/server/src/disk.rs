//! A few threads for work that may wait for a disk, so that no worker waits.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::handlers::beneath::{Pace, Storage};

/// Threads of the process. A few are enough: a disk has a queue of its own, and much of what is
/// read is in the system's caches.
pub const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, shared by all workers. The first job starts them.
#[derive(Clone)]
pub struct Disk {
    jobs: Arc<OnceLock<Option<Sender<Job>>>>,
    first: Pace,
}

impl Disk {
    /// Returns threads for work that a worker can't do immediately.
    pub fn new() -> Self {
        Self {
            jobs: Arc::default(),
            first: Pace::AtOnce,
        }
    }

    /// Returns threads that do all work, as if the system's caches were empty. For tests.
    pub fn for_everything() -> Self {
        Self {
            first: Pace::Patient,
            ..Self::new()
        }
    }

    /// Tries `work` on this thread. Returns `None` without calling it if only the threads may do
    /// it.
    pub fn at_once<T>(&self, storage: Storage, work: impl FnOnce(Pace) -> T) -> Option<T> {
        match (self.first, storage) {
            (Pace::AtOnce, Storage::Local) => Some(work(Pace::AtOnce)),
            // Opening a remote file asks the server, whatever is in the caches here.
            (Pace::AtOnce, Storage::Remote) | (Pace::Patient, _) => None,
        }
    }

    /// Hands `job` to a thread. Returns whether there is a thread.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let jobs = self.jobs.get_or_init(start);
        jobs.as_ref()
            .is_some_and(|jobs| jobs.send(Box::new(job)).is_ok())
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts the threads. Returns `None` if the system gives none at all.
fn start() -> Option<Sender<Job>> {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let mut started = 0;
    for number in 0..THREADS {
        let receiver = Arc::clone(&receiver);
        let thread = thread::Builder::new().name(format!("disk-{number}"));
        match thread.spawn(move || work(&receiver)) {
            Ok(_) => started += 1,
            Err(error) => log::error!("can't start a thread that reads files: {error}"),
        }
    }
    (started > 0).then_some(sender)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // One thread holds the lock while it waits for a job; the others wait for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_leaves_the_others_alone() {
        let disk = Disk::new();
        let (release, wait) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let sender = done.clone();
        disk.run(move || {
            let _ = wait.recv();
            sender.send("first").unwrap();
        });
        for _ in 0..10 * THREADS {
            let done = done.clone();
            disk.run(move || done.send("later").unwrap());
        }
        for _ in 0..10 * THREADS {
            assert_eq!(is_done.recv().unwrap(), "later");
        }
        drop(release);
        assert_eq!(is_done.recv().unwrap(), "first");
    }
}
