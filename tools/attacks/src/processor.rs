//! How long threads have waited for a processor: what a request took without that is the server's.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Threads whose waits are known.
pub(crate) struct Threads {
    /// Their files `schedstat`.
    files: Vec<PathBuf>,
}

impl Threads {
    /// The calling thread, and of these processes the threads whose names begin so.
    ///
    /// # Errors
    /// When a process is gone, or the system doesn't tell how long threads wait.
    pub(crate) fn and_own(processes: &[u32], named: &str) -> io::Result<Self> {
        let mut files = vec![PathBuf::from("/proc/thread-self/schedstat")];
        for process in processes {
            for task in fs::read_dir(format!("/proc/{process}/task"))? {
                let task = task?.path();
                if fs::read_to_string(task.join("comm"))?.starts_with(named) {
                    files.push(task.join("schedstat"));
                }
            }
        }
        let threads = Self { files };
        for file in &threads.files {
            fs::metadata(file).map_err(|error| {
                let text = format!(
                    "{}: {error}. It takes Linux with CONFIG_SCHED_INFO",
                    file.display()
                );
                io::Error::other(text)
            })?;
        }
        Ok(threads)
    }

    /// How long they were ready to run and had no processor, all together, since they began.
    pub(crate) fn waited(&self) -> Duration {
        let waits = self.files.iter().filter_map(|file| {
            // Time on a processor, time in its queue, both in nanoseconds, and the number of times.
            let text = fs::read_to_string(file).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        Duration::from_nanos(waits.sum())
    }
}
