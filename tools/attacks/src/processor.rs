//! The server's part in the time of a request: the time without waits for a processor, and at most
//! the time that the server was on a processor, as the system counts both.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use nix::unistd::Pid;

/// How long a server may take from its first answer until all its threads have their names.
const START: Duration = Duration::from_secs(5);

/// The beginning of the names of the server's workers.
const WORKER: &str = "worker-";

/// The calling thread, which sends requests, and the server's workers.
pub(crate) struct Threads {
    /// The clock of the server's time on processors. Unlike `schedstat`, it is exact at any moment.
    clock: ClockId,
    /// The `schedstat` files of the workers.
    workers: Vec<PathBuf>,
}

/// The system's counters.
pub(crate) struct Counted {
    /// How long the server has been on a processor.
    ran: Duration,
    /// How long its workers and the calling thread were ready to run without a processor.
    waited: Duration,
}

impl Threads {
    /// Finds the workers of `process`, which may be about to start.
    ///
    /// # Errors
    /// Returns an error if the process is gone or starts no worker, or if the system doesn't report
    /// how long threads wait.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let pid = i32::try_from(process).map_err(io::Error::other)?;
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid))?;
        let until = Instant::now() + START;
        loop {
            let workers = find_workers(process)?;
            if !workers.is_empty() {
                let threads = Self { clock, workers };
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
        let mut waited = read_waited(Path::new("/proc/thread-self/schedstat"))?;
        for worker in &self.workers {
            waited += read_waited(worker)?;
        }
        let ran = self.clock.now()?.into();
        Ok(Counted { ran, waited })
    }
}

impl Counted {
    /// Returns how much of `time`, which has passed since `before`, was at most the server's:
    /// without waits for a processor, and no longer than the server was on one.
    pub(crate) fn of_server(&self, before: &Self, time: Duration) -> Duration {
        let ran = self.ran.saturating_sub(before.ran);
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

/// Returns how long a thread has waited for a processor.
fn read_waited(schedstat: &Path) -> io::Result<Duration> {
    let fail = |why: &str| io::Error::other(format!("{}: {why}", schedstat.display()));
    let text = fs::read_to_string(schedstat).map_err(|error| {
        fail(&format!(
            "{error}; waits of threads can only be measured on Linux with CONFIG_SCHED_INFO"
        ))
    })?;
    // The first number is the time on a processor.
    let waited = text.split_whitespace().nth(1).map(str::parse);
    match waited {
        Some(Ok(waited)) => Ok(Duration::from_nanos(waited)),
        _ => Err(fail("there is no second number")),
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
        assert_eq!(counted(101, 1_010).of_server(&before, ms(40)), ms(1));
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
            if counted.ran > before.ran + Duration::from_millis(10) {
                break counted;
            }
            thread::sleep(Duration::from_millis(1));
        };
        assert!(after.waited >= before.waited);
        is_over.store(true, Ordering::Relaxed);
        worker.join().unwrap();
    }
}
