//! The server's part in the time of a request: the time without waits for a processor, and at most
//! the time that its workers computed, as the system counts both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How much processor time the system may not have counted yet. The system counts once a tick,
/// which is 4 ms with CONFIG_HZ=250.
const TICK: Duration = Duration::from_millis(4);

/// How long a server may take from its first answer until all its threads have their names.
const START: Duration = Duration::from_secs(5);

/// The beginning of the names of the server's workers.
const WORKER: &str = "worker-";

/// The calling thread, which sends requests, and the server's workers.
pub(crate) struct Threads {
    /// The `schedstat` files of the workers.
    workers: Vec<PathBuf>,
}

/// The system's counters.
pub(crate) struct Counted {
    /// How long the workers have run on a processor.
    ran: Duration,
    /// How long they and the calling thread were ready to run without a processor.
    waited: Duration,
}

impl Threads {
    /// Finds the workers of `process`, which may be about to start.
    ///
    /// # Errors
    /// Returns an error if the process is gone or starts no worker, or if the system doesn't report
    /// how long threads wait.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let until = Instant::now() + START;
        loop {
            let workers = find_workers(process)?;
            if !workers.is_empty() {
                let threads = Self { workers };
                threads.count()?;
                return Ok(threads);
            }
            if Instant::now() > until {
                let why = format!("process {process} has no thread named {WORKER}…");
                return Err(io::Error::other(why));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the current counters.
    ///
    /// # Errors
    /// Returns the errors of [`Threads::of`].
    pub(crate) fn count(&self) -> io::Result<Counted> {
        let (_, waited) = read(Path::new("/proc/thread-self/schedstat"))?;
        let mut counted = Counted {
            ran: Duration::ZERO,
            waited,
        };
        for worker in &self.workers {
            let (ran, waited) = read(worker)?;
            counted.ran += ran;
            counted.waited += waited;
        }
        Ok(counted)
    }
}

impl Counted {
    /// Returns how much of `time`, which has passed since `before`, was at most the server's:
    /// without waits for a processor, and without time in which its workers didn't compute.
    pub(crate) fn of_server(&self, before: &Self, time: Duration) -> Duration {
        let ran = self.ran.saturating_sub(before.ran) + TICK;
        let waited = self.waited.saturating_sub(before.waited);
        time.saturating_sub(waited).min(ran)
    }
}

fn find_workers(process: u32) -> io::Result<Vec<PathBuf>> {
    let mut workers = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let task = task?.path();
        // Threads of the start, such as the one that looks names up, may have ended meanwhile.
        let is_worker =
            fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(WORKER));
        if is_worker {
            workers.push(task.join("schedstat"));
        }
    }
    Ok(workers)
}

/// Returns how long a thread has run on a processor, and how long it has waited for one.
fn read(schedstat: &Path) -> io::Result<(Duration, Duration)> {
    let fail = |why: &str| io::Error::other(format!("{}: {why}", schedstat.display()));
    let text = fs::read_to_string(schedstat).map_err(|error| {
        fail(&format!(
            "{error}; waits of threads can only be measured on Linux with CONFIG_SCHED_INFO"
        ))
    })?;
    let mut nanoseconds = text.split_whitespace().map(str::parse);
    match (nanoseconds.next(), nanoseconds.next()) {
        (Some(Ok(ran)), Some(Ok(waited))) => {
            Ok((Duration::from_nanos(ran), Duration::from_nanos(waited)))
        }
        _ => Err(fail("two numbers are missing")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn waits_are_not_the_servers_nor_is_what_it_did_not_compute() {
        let ms = Duration::from_millis;
        let counted = |ran, waited| Counted {
            ran: ms(ran),
            waited: ms(waited),
        };
        let before = counted(100, 1_000);
        assert_eq!(counted(130, 1_000).of_server(&before, ms(30)), ms(30));
        assert_eq!(counted(130, 1_010).of_server(&before, ms(40)), ms(30));
        // Another process had the processor.
        assert_eq!(counted(101, 1_010).of_server(&before, ms(40)), ms(5));
        assert_eq!(counted(100, 1_040).of_server(&before, ms(40)), ms(0));
    }

    #[test]
    fn a_worker_that_computes_is_seen_to_do_so() {
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&is_over);
        let compute = move || {
            while !seen.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        };
        let name = format!("{WORKER}0");
        let worker = thread::Builder::new().name(name).spawn(compute).unwrap();
        let threads = Threads::of(std::process::id()).unwrap();
        let before = threads.count().unwrap();
        let after = loop {
            let counted = threads.count().unwrap();
            if counted.ran > before.ran {
                break counted;
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert!(after.waited >= before.waited);
        is_over.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    }
}
