//! The running process: its workers, and what happens to it.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};
use signal_hook::low_level::signal_name;

use crate::admin::Readiness;
use crate::happening::Happening;
use crate::logs;
use crate::logs::queue::Queue;
use crate::notify::{self, Watchdog};
use crate::pid_file::PidFile;
use crate::prepared::{Prepared, Reason};
use crate::reload::{Running, Worker};
use crate::run_error::RunError;
use crate::stats::Stats;
use crate::upgrade::{self, Successor};

/// The time for which a process stays after another one has taken over. A service manager can't
/// tell whose notifications those of a process that is gone were (sd_notify(3)), and whoever looks
/// after the process by its number needs a moment to learn the other one.
const STAY: Duration = Duration::from_secs(1);

const STATS_EVERY: Duration = Duration::from_secs(5);

/// The action that a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// End gracefully; when asked again, end immediately.
    End,
    /// Read the configuration, the certificates and so on anew.
    Reload,
    /// Reopen logs.
    Reopen,
    /// Start a new process, which takes over.
    Upgrade,
}

impl Asked {
    fn by(signal: i32) -> Self {
        match signal {
            SIGHUP => Self::Reload,
            SIGUSR1 => Self::Reopen,
            SIGUSR2 => Self::Upgrade,
            _ => Self::End,
        }
    }
}

/// How far the process is from its end.
#[derive(Debug)]
enum Life {
    Serving,
    /// A new process has begun, and is to take over.
    Upgrading(Successor, Reload),
    /// No new connections. Requests in progress finish. A new process may have taken over.
    Leaving(Instant),
    /// The same, because a signal has asked for it. Another one ends the process immediately.
    Ending,
}

/// Whether a reload was asked for since a new process has begun. That process may have read the
/// configuration before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reload {
    NotAsked,
    Asked,
}

/// The running process.
pub(crate) struct Process {
    workers: Vec<Worker>,
    running: Running,
    stats: Stats,
    life: Life,
    watchdog: Option<Watchdog>,
    pid_file: Option<PidFile>,
    happened: Sender<Happening>,
    happenings: Receiver<Happening>,
}

impl Process {
    /// Takes workers that serve already.
    pub(crate) fn new(
        workers: Vec<Worker>,
        mut running: Running,
        stats: Stats,
        (happened, happenings): (Sender<Happening>, Receiver<Happening>),
    ) -> io::Result<Self> {
        running.watch(&workers, &happened)?;
        Ok(Self {
            workers,
            running,
            stats,
            life: Life::Serving,
            watchdog: Watchdog::find(Instant::now()),
            pid_file: None,
            happened,
            happenings,
        })
    }

    /// Notes that the process before this one has left it the file of the admin listener's socket.
    pub(crate) fn owns_admin_file(&mut self) {
        self.running.owns_admin_file();
    }

    /// Returns when all workers have ended. `stdout` is flushed then, and the pid file removed.
    pub(crate) fn run(mut self, stdout: &Queue, pid_file: Option<PidFile>) -> Result<(), RunError> {
        self.pid_file = pid_file;
        let mut working = self.workers.len();
        let mut stats_due = Instant::now() + STATS_EVERY;
        while working > 0 {
            let now = Instant::now();
            let mut due = stats_due;
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.turn(&self.workers, now);
                due = due.min(watchdog.due());
            }
            if stats_due <= now {
                stats_due = now + STATS_EVERY;
                self.report_stats();
            }
            let pause = due.saturating_duration_since(now);
            match self.happenings.recv_timeout(pause) {
                Ok(Happening::Ended(result)) => {
                    result?;
                    working -= 1;
                }
                Ok(Happening::Signal(signal)) => self.signal(signal),
                Ok(Happening::CertificatesChanged) => {
                    self.running
                        .prepare(Reason::CertificatesChanged, &self.happened);
                }
                Ok(Happening::Prepared(reason, prepared)) => self.prepared(reason, prepared),
                Ok(Happening::TakenOver(result)) => self.taken_over(result),
                Err(RecvTimeoutError::Timeout) => {}
                // There is a sender in `self`.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Life::Leaving(since) = self.life {
            thread::sleep((since + STAY).saturating_duration_since(Instant::now()));
        }
        for worker in self.workers {
            let joined = worker.thread.join();
            joined.map_err(|_| RunError::WorkerPanicked)?;
        }
        self.running.close_admin();
        log::info!("all connections are closed");
        let deadline = Instant::now() + logs::PATIENCE;
        self.running.access_logs().flush(deadline);
        if let Some(trace) = self.running.trace() {
            trace.destination.flush(deadline);
        }
        stdout.flush(deadline);
        Ok(())
    }

    fn report_stats(&mut self) {
        logs::report_left_out();
        self.running.warn_of_expiry(SystemTime::now());
        if let Some(line) = self.stats.changed() {
            log::info!("{line}");
        }
    }

    /// Handles a signal. Each log line comes after the action that it reports.
    fn signal(&mut self, signal: i32) {
        let name = signal_name(signal).unwrap_or("signal");
        match Asked::by(signal) {
            Asked::Reload if self.serves() => {
                if let Life::Upgrading(_, reload) = &mut self.life {
                    *reload = Reload::Asked;
                }
                notify::reloading();
                self.running.prepare(Reason::Signal, &self.happened);
            }
            Asked::Reload | Asked::Reopen => self.reopen(name),
            Asked::Upgrade => match self.life {
                Life::Serving => self.upgrade(name),
                Life::Upgrading(..) | Life::Leaving(_) => {
                    log::info!("{name}: ignored, because this process is being replaced");
                }
                Life::Ending => log::info!("{name}: ignored, because this process is ending"),
            },
            Asked::End => self.end(signal, name),
        }
    }

    /// Ends gracefully, together with a new process that was to take over. Ends immediately when
    /// asked again.
    fn end(&mut self, signal: i32, name: &str) {
        match std::mem::replace(&mut self.life, Life::Ending) {
            Life::Ending => {
                log::warn!("{name} again: ending immediately");
                logs::flush(Instant::now() + logs::PATIENCE);
                self.pid_file = None;
                // Its thread may be busy for long: it isn't waited for.
                self.running.remove_admin_file();
                std::process::exit(128 + signal);
            }
            Life::Leaving(_) => {}
            Life::Upgrading(successor, _) => {
                // Whoever ends the server knows this process only.
                successor.signal(Signal::TERM);
                notify::stopping();
                self.shut_down();
            }
            Life::Serving => {
                notify::stopping();
                self.shut_down();
            }
        }
        log::info!("{name}: finishing the requests in progress; a second signal ends immediately");
    }

    fn serves(&self) -> bool {
        matches!(self.life, Life::Serving | Life::Upgrading(..))
    }

    /// Starts a new process, which takes over when it serves.
    fn upgrade(&mut self, name: &str) {
        match upgrade::start(
            self.running.bound(),
            self.running.admin(),
            self.happened.clone(),
        ) {
            Ok(successor) => {
                log::info!("{name}: starting process {} to take over", successor.id());
                self.life = Life::Upgrading(successor, Reload::NotAsked);
            }
            Err(error) => {
                log::error!(
                    "{name}: this process goes on, because no other can be started: {error}"
                );
            }
        }
    }

    /// Leaves the place to a new process that serves, or says why it doesn't.
    fn taken_over(&mut self, result: Result<u32, String>) {
        let former = std::mem::replace(&mut self.life, Life::Ending);
        let Life::Upgrading(successor, reload) = former else {
            // A signal ends both processes.
            self.life = former;
            return;
        };
        match result {
            Ok(process) => {
                notify::taken_over_by(process);
                if reload == Reload::Asked {
                    successor.signal(Signal::HUP);
                }
                self.life = Life::Leaving(Instant::now());
                self.running.hand_over_admin();
                self.shut_down();
                log::info!("SIGUSR2: process {process} serves; finishing the requests in progress");
            }
            Err(error) => {
                self.life = Life::Serving;
                log::error!(
                    "SIGUSR2: this process goes on, because the new one can't serve: {error}"
                );
            }
        }
    }

    fn reopen(&self, name: &str) {
        self.running.access_logs().reopen();
        if let Some(trace) = self.running.trace() {
            trace.destination.reopen();
        }
        log::info!("{name}: reopening the access log");
    }

    /// Begins the graceful end of all workers.
    fn shut_down(&mut self) {
        // The workers have the last handles of the sockets then, and close them.
        self.running.release_sockets();
        self.running.set_readiness(Readiness::Leaving);
        for worker in &self.workers {
            worker.mailbox.shut_down();
        }
    }

    /// Uses a new configuration, or says why that can't be.
    fn prepared(&mut self, reason: Reason, prepared: Result<Box<Prepared>, String>) {
        if self.serves() {
            let workers = &self.workers;
            let result = prepared.and_then(|prepared| self.running.apply(*prepared, workers));
            match result {
                Ok(what) => {
                    if reason == Reason::Signal {
                        self.reopen("SIGHUP");
                    }
                    log::info!("{reason}: reloaded {what}");
                    if let Err(error) = self.running.watch(&self.workers, &self.happened) {
                        log::error!("names and certificates are no longer watched: {error}");
                    }
                }
                Err(error) => {
                    self.running.refused();
                    log::error!(
                        "{reason}: nothing has changed, because the new configuration can't be used: \
                     {error}"
                    );
                }
            }
            if reason == Reason::Signal {
                notify::ready();
            }
        }
        self.running.prepared(&self.happened);
    }
}
