//! A few threads for what may wait for a disk, so that no worker does.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use crate::handlers::beneath::{Pace, Storage};

/// Threads of the process. A disk has a queue of its own, and what is read often comes from memory.
pub const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, shared by all workers. They are started when there is something to do for them.
#[derive(Clone)]
pub struct Disk {
    jobs: Arc<OnceLock<Option<Sender<Job>>>>,
    first: Pace,
}

impl Disk {
    /// Threads for what a worker can't do at once.
    pub fn new() -> Self {
        Self {
            jobs: Arc::default(),
            first: Pace::AtOnce,
        }
    }

    /// Threads for everything, as if the system had nothing in its caches: for tests.
    pub fn for_everything() -> Self {
        Self {
            first: Pace::Patient,
            ..Self::new()
        }
    }

    /// Does `work` at once if that may go, `None` if it has to be handed to the threads.
    pub fn at_once<T>(&self, storage: Storage, work: impl FnOnce(Pace) -> T) -> Option<T> {
        match (self.first, storage) {
            (Pace::AtOnce, Storage::Local) => Some(work(Pace::AtOnce)),
            // Opening asks the other side, whatever is in our caches.
            (Pace::AtOnce, Storage::Remote) | (Pace::Patient, _) => None,
        }
    }

    /// Has a thread do this. Returns whether there is one.
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

/// Starts the threads; `None` if the system gives none at all.
fn start() -> Option<Sender<Job>> {
    let (sender, receiver) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let mut started = 0;
    for number in 0..THREADS {
        let receiver = Arc::clone(&receiver);
        let thread = thread::Builder::new().name(format!("disk-{number}"));
        match thread.spawn(move || work(&receiver)) {
            Ok(_) => started += 1,
            Err(error) => log::error!("can't start a thread for files: {error}"),
        }
    }
    (started > 0).then_some(sender)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // Held while it waits: the others wait for the lock instead.
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
