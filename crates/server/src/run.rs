//! Starts the process: sockets, then workers, then signals.

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use tidegate_net::EventLoop;

use crate::access_log::{self, Style};
use crate::admin::{AdminSettings, AdminSocket};
use crate::app::App;
use crate::banner::{Start, banner};
use crate::command_line::CommandLine;
use crate::config::Config;
use crate::happening::{Ended, Happening};
use crate::inherited::Inherited;
use crate::listening;
use crate::logs::queue;
use crate::notify;
use crate::pid_file::PidFile;
use crate::process::Process;
use crate::reload::{Running, Worker};
pub use crate::run_error::RunError;
use crate::stats::Stats;
pub use crate::upgrade::Complaint;
use crate::upgrade::Former;
use crate::user::Account;

/// The signals that the server handles.
const SIGNALS: [i32; 6] = [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2];

/// Things that the process was given at its start.
#[derive(Debug, Default)]
pub struct Given {
    inherited: Inherited,
    former: Option<Former>,
}

impl Given {
    /// Takes what the process was given, by the service manager or by the process that it takes
    /// over from. Call this before there are threads.
    ///
    /// # Errors
    /// Sockets that can't be used.
    pub fn take() -> Result<Self, RunError> {
        match Former::find().map_err(RunError::TakeOver)? {
            Some(former) => Ok(Self {
                inherited: former.sockets().map_err(RunError::TakeOver)?,
                former: Some(former),
            }),
            None => Ok(Self {
                inherited: Inherited::from_environment()?,
                former: None,
            }),
        }
    }

    /// Returns a way to tell the process before this one why this one can't serve.
    pub fn complaint(&self) -> Option<Complaint> {
        self.former.as_ref().and_then(Former::complaint)
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// What kept the server from starting, or ended it.
pub fn run(command_line: CommandLine, config: Config, given: Given) -> Result<(), RunError> {
    // Signals are caught from here on, so that an early one isn't lost.
    let mut signals = Signals::new(SIGNALS).map_err(RunError::Start)?;
    let Config {
        listeners,
        admin: settings,
        workers: count,
        descriptors,
        options,
        served,
        lasting,
    } = config;
    let Given {
        mut inherited,
        former,
    } = given;
    let admin = inherited.take_admin(&settings.address);
    let bound = listening::bind(&listeners, count, inherited)?;
    let admin = admin_socket(&settings, admin)?;
    let flags = &command_line.flags;
    let user = flags.user.as_deref().map(Account::find);
    let user = user.transpose().map_err(RunError::User)?;
    let pid_file = flags.pid_file.as_deref().map(|path| {
        let opened = PidFile::open(path, user.as_ref());
        opened.map_err(|error| RunError::PidFile(path.to_owned(), error))
    });
    let mut pid_file = pid_file.transpose()?;
    if let Some(user) = &user {
        user.assume().map_err(RunError::User)?;
    }
    let stdout = match served.logs.stdout() {
        Some(queue) => queue.clone(),
        None => queue::stdout(access_log::marker(Style::Text)).map_err(RunError::Start)?,
    };
    let mut stats = Stats::default();
    let (happened, happenings) = mpsc::channel();
    let mut workers = Vec::with_capacity(count);
    for worker in 0..count {
        let app = App::new(served.clone(), stats.add_worker());
        let sockets = listening::of_worker(&bound, worker, count);
        let event_loop = EventLoop::new(sockets, options.clone(), app).map_err(RunError::Start)?;
        let mailbox = event_loop.mailbox();
        let mut end = Ended::new(happened.clone());
        let thread = thread::Builder::new().name(format!("worker-{worker}"));
        let thread = thread
            .spawn(move || end.set(event_loop.run().map(drop).map_err(RunError::Worker)))
            .map_err(RunError::Start)?;
        workers.push(Worker { mailbox, thread });
    }
    let text = banner(
        &bound,
        admin.as_ref(),
        &served,
        Start {
            self_signed: listeners.self_signed,
            descriptors,
        },
    );
    let mut running = Running::new(
        command_line,
        lasting,
        listeners.certificates,
        bound,
        stats.clone(),
        served,
    );
    let started = running.start_admin(&settings, admin, &workers);
    started.map_err(RunError::Start)?;
    let channel = (happened.clone(), happenings);
    let process = Process::new(workers, running, stats, channel);
    let mut process = process.map_err(RunError::Start)?;
    let forward = move || {
        for signal in signals.forever() {
            if happened.send(Happening::Signal(signal)).is_err() {
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(forward).map_err(RunError::Start)?;
    if let Some(file) = &mut pid_file {
        file.write()?;
    }
    // The queue never blocks: the server starts even if nothing reads stdout.
    stdout.push(text);
    if let Some(former) = former {
        process.owns_admin_file();
        former.ready();
    }
    notify::ready();
    process.run(&stdout, pid_file)
}

/// Returns the socket of the admin listener: the inherited one, or a new one.
fn admin_socket(
    settings: &AdminSettings,
    inherited: Option<OwnedFd>,
) -> Result<Option<AdminSocket>, RunError> {
    let address = &settings.address;
    let socket = match inherited {
        Some(socket) => AdminSocket::take_over(address, socket),
        None => AdminSocket::bind(address),
    };
    socket.map_err(|error| RunError::Admin(address.clone(), error))
}
