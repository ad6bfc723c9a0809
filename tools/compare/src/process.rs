//! Servers and clients that this program runs: each on its core, and killed by its own handle.

use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{self, Signal};
use nix::time::ClockId;
use nix::unistd::Pid;
use tidegate_testkit::signals::eventually;

/// A step that couldn't be done.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long a server may take to listen or to exit: under valgrind both take seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processors: one for the load and this program, the others for the server.
pub(crate) struct Cores {
    servers: Vec<usize>,
    load: usize,
}

impl Cores {
    /// Moves this program, and what it starts, to the last processor that it may use.
    pub(crate) fn take() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut servers: Vec<_> = (0..CpuSet::count())
            .filter(|core| allowed.is_set(*core).unwrap_or(false))
            .collect();
        let load = *servers.last().ok_or("no processor may be used")?;
        if servers.len() > 1 {
            servers.pop();
        }
        let cores = Self { servers, load };
        cores.move_to(&[load])?;
        Ok(cores)
    }

    fn move_to(&self, cores: &[usize]) -> Result {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core)?;
        }
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }

    /// Calls `start` on the processors of a server with this many workers. With more workers than
    /// there are processors for servers, the last ones share that of the load. Without workers of
    /// interest, the server runs beside the load.
    fn as_server<T>(&self, workers: usize, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let all = [&self.servers[..], &[self.load]].concat();
        let cores = match workers {
            0 => &all[all.len() - 1..],
            _ => &all[..workers.min(all.len())],
        };
        self.move_to(cores)?;
        let started = start();
        self.move_to(&[self.load])?;
        started
    }
}

/// Returns where a program is installed.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/go/bin"].map(PathBuf::from);
    let mut all = std::env::split_paths(&paths).chain(system);
    all.find_map(|dir| Some(dir.join(name)).filter(|path| path.is_file()))
}

/// Requires that a program is installed.
pub(crate) fn need(name: &str) -> Result<PathBuf> {
    find(name).ok_or_else(|| format!("{name} is not installed").into())
}

/// Returns an address that was free a moment ago, for servers that can't let the kernel choose.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A running program in a process group of its own, which is killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    has_exited: bool,
}

impl Process {
    /// Starts a program whose output goes to the file `log`, with processors for this many workers.
    pub(crate) fn start(
        cores: &Cores,
        workers: usize,
        command: &mut Command,
        log: &Path,
    ) -> Result<Self> {
        let file = File::create(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        command.stdin(Stdio::null()).process_group(0);
        let child = cores.as_server(workers, || {
            let child = command.spawn();
            child.map_err(|error| format!("can't run {command:?}: {error}").into())
        })?;
        Ok(Self {
            child,
            log: log.to_owned(),
            has_exited: false,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    fn exits(&mut self) -> Result<bool> {
        self.has_exited = self.has_exited || self.child.try_wait()?.is_some();
        Ok(self.has_exited)
    }

    /// Returns the end of what the program has printed.
    pub(crate) fn output(&self) -> String {
        let mut bytes = Vec::new();
        // A log that can't be read has nothing to say.
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the program accepts connections.
    pub(crate) fn listens(&mut self, address: SocketAddr) -> Result {
        let mut has_exited = false;
        let listens = eventually(PATIENCE, || {
            has_exited = self.exits()?;
            Ok(has_exited || TcpStream::connect(address).is_ok())
        })?;
        if listens && !has_exited {
            Ok(())
        } else {
            Err(format!("doesn't listen: {}", self.output()).into())
        }
    }

    /// Waits until the program exits by itself.
    ///
    /// # Errors
    /// Returns an error if it doesn't within `bound`.
    pub(crate) fn finish(&mut self, bound: Duration) -> Result {
        if eventually(bound, || self.exits())? {
            Ok(())
        } else {
            Err(format!("takes longer than {} s", bound.as_secs()).into())
        }
    }

    /// Ends the program by SIGTERM, by SIGKILL if that doesn't do.
    pub(crate) fn stop(&mut self) -> Result {
        if !self.exits()? {
            signal::killpg(self.pid(), Signal::SIGTERM)?;
        }
        if !eventually(PATIENCE, || self.exits())? {
            self.kill();
        }
        Ok(())
    }

    fn kill(&mut self) {
        if !self.has_exited {
            // Until the program was waited for, nothing else can have its number.
            let _ = signal::killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
            self.has_exited = true;
        }
    }

    /// Returns the numbers of the program's processes.
    fn tree(&self) -> Result<Vec<u32>> {
        let mut all = vec![self.id()];
        let mut at = 0;
        while let Some(id) = all.get(at) {
            for task in fs::read_dir(format!("/proc/{id}/task"))? {
                let children = fs::read_to_string(task?.path().join("children"))?;
                all.extend(children.split_whitespace().flat_map(str::parse::<u32>));
            }
            at += 1;
        }
        Ok(all)
    }

    /// Returns the time that the program's processes have been on a processor. The clock of a
    /// process is exact at any moment, unlike `schedstat`.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut sum = Duration::ZERO;
        for id in self.tree()? {
            let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(id.cast_signed()))?;
            sum += Duration::from(clock.now()?);
        }
        Ok(sum)
    }

    /// Returns the memory of the program's processes that no file backs, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for id in self.tree()? {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
            sum += kib.ok_or("there is no RssAnon")?.parse::<u64>()? << 10;
        }
        Ok(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_children_and_the_end_is_in_order() {
        let cores = Cores {
            servers: vec![0],
            load: 0,
        };
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo begun; (while :; do :; done) & wait"]);
        let mut process = Process::start(&cores, 1, &mut command, log.path()).unwrap();
        let runs = || Ok(process.cpu()? > Duration::from_millis(20));
        assert!(eventually(PATIENCE, runs).unwrap());
        assert_eq!(process.output(), "begun\n");
        process.stop().unwrap();
        assert!(process.has_exited);
    }
}
