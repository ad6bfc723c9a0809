//! What a worker computed and how long threads waited for a processor, as the system counts it: what
//! a request took without such waits is the server's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time on a processor that the system may not have counted yet: it does so once a tick, which is
/// 4 ms with CONFIG_HZ=250.
const TICK: Duration = Duration::from_millis(4);

/// The beginning of the names of the server's workers.
const WORKER: &str = "worker-";

/// The calling thread, which asks a server's worker.
pub(crate) struct Threads {
    /// Files `schedstat` of the workers.
    workers: Vec<PathBuf>,
}

/// What the system has counted.
pub(crate) struct Counted {
    /// How long the workers have been on a processor.
    ran: Duration,
    /// How long they and the calling thread were ready to run and had none.
    waited: Duration,
}

impl Threads {
    /// The calling thread and the workers of this process.
    ///
    /// # Errors
    /// When the process is gone, or the system doesn't tell how long threads wait.
    pub(crate) fn of(process: u32) -> io::Result<Self> {
        let mut workers = Vec::new();
        for task in fs::read_dir(format!("/proc/{process}/task"))? {
            let task = task?.path();
            if fs::read_to_string(task.join("comm"))?.starts_with(WORKER) {
                workers.push(task.join("schedstat"));
            }
        }
        let threads = Self { workers };
        threads.count()?;
        Ok(threads)
    }

    /// The counters now.
    ///
    /// # Errors
    /// Those of [`Threads::of`].
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
    /// How much of `time`, which has gone by since `before`, is the server's at most: waits for a
    /// processor aren't, nor is what its workers didn't compute.
    pub(crate) fn of_server(&self, before: &Self, time: Duration) -> Duration {
        let ran = self.ran.saturating_sub(before.ran) + TICK;
        let waited = self.waited.saturating_sub(before.waited);
        time.saturating_sub(waited).min(ran)
    }
}

/// How long a thread was on a processor, and how long in its queue.
fn read(schedstat: &Path) -> io::Result<(Duration, Duration)> {
    let fail = |why: &str| io::Error::other(format!("{}: {why}", schedstat.display()));
    let text = fs::read_to_string(schedstat).map_err(|error| {
        fail(&format!(
            "{error}; it takes Linux with CONFIG_SCHED_INFO to know how long threads wait"
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
        // Something else of the system's had the processor.
        assert_eq!(counted(101, 1_010).of_server(&before, ms(40)), ms(5));
        assert_eq!(counted(100, 1_040).of_server(&before, ms(40)), ms(0));
    }

    #[test]
    fn a_thread_that_computes_is_seen_to_do_so() {
        // Its name is no worker's, so only its own waits count.
        let threads = Threads::of(std::process::id()).unwrap();
        let before = threads.count().unwrap();
        let after = threads.count().unwrap();
        assert!(after.waited >= before.waited);
        assert_eq!(after.ran, Duration::ZERO);
    }
}
