//! Other configurations for the running process.
//!
//! A thread of its own makes a configuration and checks all of it, because names are looked up and
//! files are read meanwhile. The main thread then opens new ports, and hands each worker all of it
//! in one message.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use tidegate_net::{Mailbox, Reconfiguration};

use crate::access_log::Logs;
use crate::admin::{AdminListener, AdminSettings, AdminSocket, Readiness, Watched};
use crate::certificate_watch;
use crate::command_line::CommandLine;
use crate::config::{Certificates, Config, Lasting};
use crate::flags::Flags;
use crate::happening::Happening;
use crate::listening::{self, Bound};
use crate::logs;
use crate::message::Message;
use crate::metrics::facts::Facts;
use crate::prepared::{Prepared, Reason};
use crate::proxy::{self, names};
use crate::run_error::RunError;
use crate::site::Served;
use crate::stats::Stats;
use crate::trace;

/// How long the main thread waits until all workers have a new configuration. They have it after
/// the turn that they are in.
const PATIENCE: Duration = Duration::from_secs(10);

/// A worker, as the main thread sees it.
pub(crate) struct Worker {
    pub(crate) mailbox: Mailbox<Message>,
    pub(crate) thread: JoinHandle<()>,
}

/// Whether another configuration is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Making {
    Nothing,
    One,
    /// Something has changed meanwhile, so another one is due after this one.
    OneAndThen(Reason),
}

/// The configuration in use.
pub(crate) struct Running {
    command_line: Arc<CommandLine>,
    lasting: Lasting,
    bound: Vec<Bound>,
    admin: Option<AdminListener>,
    stats: Stats,
    facts: Facts,
    logs: Logs,
    trace: Option<Arc<trace::Settings>>,
    proxy: Arc<proxy::Settings>,
    certificates: Option<Certificates>,
    making: Making,
    /// The threads that watch names and certificates go on until these are dropped.
    watched: Vec<Sender<()>>,
}

impl Running {
    pub(crate) fn new(
        command_line: CommandLine,
        lasting: Lasting,
        certificates: Option<Certificates>,
        bound: Vec<Bound>,
        stats: Stats,
        served: Served,
    ) -> Self {
        Self {
            facts: Facts {
                expiries: expiries(certificates.as_ref()),
                ..Facts::new(SystemTime::now())
            },
            stats,
            command_line: Arc::new(command_line),
            lasting,
            bound,
            admin: None,
            logs: served.logs,
            trace: served.trace,
            proxy: served.proxy,
            certificates,
            making: Making::Nothing,
            watched: Vec::new(),
        }
    }

    /// Warns of certificates that are about to expire, once a day.
    pub(crate) fn warn_of_expiry(&mut self, now: SystemTime) {
        if let Some(certificates) = &mut self.certificates {
            certificates.warn_of_expiry(now);
        }
    }

    /// Returns the access logs.
    pub(crate) fn access_logs(&self) -> &Logs {
        &self.logs
    }

    /// Returns what is traced, if anything.
    pub(crate) fn trace(&self) -> Option<&trace::Settings> {
        self.trace.as_deref()
    }

    /// Returns the addresses that are listened on.
    pub(crate) fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Returns the socket of the admin listener.
    pub(crate) fn admin(&self) -> Option<&AdminSocket> {
        self.admin.as_ref().map(AdminListener::socket)
    }

    /// Tells the admin listener how far the server is.
    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        if let Some(admin) = &self.admin {
            admin.now(readiness);
        }
    }

    /// Leaves the socket of the admin listener to another process.
    pub(crate) fn hand_over_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.hand_over();
        }
    }

    /// Notes that the process before this one has left it the file of the admin listener's socket.
    pub(crate) fn owns_admin_file(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.owns_file();
        }
    }

    /// Removes the file of the admin listener's socket, because the process ends at once.
    pub(crate) fn remove_admin_file(&mut self) {
        if let Some(admin) = &mut self.admin {
            admin.remove_file();
        }
    }

    /// Closes the admin listener.
    pub(crate) fn close_admin(&mut self) {
        if let Some(admin) = self.admin.take() {
            admin.close();
        }
    }

    /// Gives up the listening sockets, which the workers have too.
    pub(crate) fn release_sockets(&mut self) {
        self.bound.clear();
    }

    /// Listens for the admin listener on another address.
    fn bind_admin(&self, settings: &AdminSettings) -> io::Result<Option<AdminSocket>> {
        match self.admin() {
            Some(socket) if *socket.typed() == settings.address => Ok(None),
            _ => AdminSocket::bind(&settings.address),
        }
    }

    /// Starts the admin listener, if it has a socket.
    ///
    /// # Errors
    /// The system gives no thread or epoll instance.
    pub(crate) fn start_admin(
        &mut self,
        settings: &AdminSettings,
        socket: Option<AdminSocket>,
        workers: &[Worker],
    ) -> io::Result<()> {
        let Some(socket) = socket else {
            return Ok(());
        };
        let mailboxes = workers.iter().map(|worker| worker.mailbox.clone());
        let watched = Watched {
            workers: mailboxes.collect(),
            stats: self.stats.clone(),
            ledger: Arc::clone(self.lasting.ledger()),
            facts: self.facts.clone(),
        };
        self.admin = Some(AdminListener::start(socket, settings, watched)?);
        Ok(())
    }

    /// Notes that a configuration was refused.
    pub(crate) fn refused(&mut self) {
        self.facts.failed_reloads += 1;
        self.tell_facts();
    }

    fn tell_facts(&self) {
        if let Some(admin) = &self.admin {
            admin.tell(self.facts.clone());
        }
    }

    /// Uses these settings of the admin listener, and a socket if they have another address.
    fn move_admin(
        &mut self,
        settings: &AdminSettings,
        socket: Option<AdminSocket>,
        workers: &[Worker],
    ) {
        if let Some(admin) = &self.admin
            && *admin.socket().typed() == settings.address
        {
            return admin.reconfigure(settings);
        }
        self.close_admin();
        match self.start_admin(settings, socket, workers) {
            Ok(()) => {
                if let Some(socket) = self.admin() {
                    log::info!("the admin listener is on {socket}");
                }
            }
            Err(error) => log::error!("the admin listener can't start: {error}"),
        }
    }

    /// Watches the names of upstreams and the certificates of this configuration, and no others.
    /// Call this once for each configuration: the threads know what they have seen since.
    pub(crate) fn watch(
        &mut self,
        workers: &[Worker],
        happened: &Sender<Happening>,
    ) -> io::Result<()> {
        self.watched.clear();
        let mailboxes = workers.iter().map(|worker| worker.mailbox.clone());
        let mailboxes: Vec<Mailbox<Message>> = mailboxes.collect();
        let generation = self.proxy.generation;
        let names = names::watch(self.proxy.names.clone(), move |upstream, addresses| {
            for mailbox in &mailboxes {
                mailbox.send(Message::Moved {
                    generation,
                    upstream,
                    addresses: addresses.clone(),
                });
            }
        })?;
        self.watched.push(names);
        let every = self.command_line.flags.watch_certificates;
        if let Some(certificates) = &self.certificates
            && !every.is_zero()
        {
            let seen = certificates.seen().clone();
            let certificates = certificate_watch::start(seen, every, happened.clone())?;
            self.watched.push(certificates);
        }
        Ok(())
    }

    /// Has a thread make another configuration, which [`Happening::Prepared`] brings.
    pub(crate) fn prepare(&mut self, reason: Reason, happened: &Sender<Happening>) {
        self.making = match self.making {
            Making::Nothing => Making::One,
            // A signal covers certificates.
            Making::OneAndThen(Reason::Signal) => Making::OneAndThen(Reason::Signal),
            Making::One | Making::OneAndThen(_) => Making::OneAndThen(reason),
        };
        if self.making != Making::One {
            return;
        }
        let (same, lasting) = (Arc::clone(&self.command_line), self.lasting.clone());
        let done = happened.clone();
        let make = move || {
            let command_line = match reason {
                Reason::Signal => CommandLine::again().map(Arc::new),
                Reason::CertificatesChanged => Ok(same),
            };
            let made = command_line.and_then(|line| Prepared::new(line, &lasting));
            // The process may have ended.
            let _ = done.send(Happening::Prepared(reason, made.map(Box::new)));
        };
        let thread = thread::Builder::new().name("reload".into()).spawn(make);
        if let Err(error) = thread {
            let error = format!("there is no thread to read it: {error}");
            let _ = happened.send(Happening::Prepared(reason, Err(error)));
        }
    }

    /// Notes that the configuration that was made is in use, or wasn't usable.
    pub(crate) fn prepared(&mut self, happened: &Sender<Happening>) {
        if let Making::OneAndThen(reason) = std::mem::replace(&mut self.making, Making::Nothing) {
            self.prepare(reason, happened);
        }
    }

    /// Uses a configuration from now on. Returns words on what it consists of, once all workers
    /// have it; or a sentence if a port can't be opened, and nothing has changed then.
    pub(crate) fn apply(
        &mut self,
        prepared: Prepared,
        workers: &[Worker],
    ) -> Result<String, String> {
        let Prepared {
            command_line,
            config,
        } = prepared;
        let Config {
            listeners,
            admin,
            options,
            served,
            lasting,
            ..
        } = config;
        let bound = listening::bind_again(&self.bound, &listeners, workers.len());
        let bound = bound.map_err(|error| error.to_string())?;
        let socket = self.bind_admin(&admin).map_err(|error| {
            let error = RunError::Admin(admin.address.clone(), error);
            error.to_string()
        })?;
        let Flags {
            log, log_format, ..
        } = &command_line.flags;
        logs::change(log, *log_format).map_err(|error| error.to_string())?;
        // Without these handles, the workers close the sockets that are taken away.
        self.bound = bound;
        self.move_admin(&admin, socket, workers);
        let (done, are_done) = mpsc::channel();
        for (worker, Worker { mailbox, .. }) in workers.iter().enumerate() {
            mailbox.reconfigure(Reconfiguration {
                options: options.clone(),
                listeners: listening::for_worker(&self.bound, worker, workers.len()),
                message: Message::Serve(Box::new(served.clone()), done.clone()),
            });
        }
        drop(done);
        for _ in workers {
            if let Err(RecvTimeoutError::Timeout) = are_done.recv_timeout(PATIENCE) {
                log::warn!("a worker is busy, and has the new configuration later");
                break;
            }
        }
        let what = match &listeners.certificates {
            None => "the configuration".to_owned(),
            Some(certificates) => {
                let paths = certificates.paths().map(|path| path.display().to_string());
                let paths = paths.collect::<Vec<_>>().join(", ");
                format!("the configuration, {paths}")
            }
        };
        self.command_line = command_line;
        self.lasting = lasting;
        self.logs = served.logs;
        self.trace = served.trace;
        self.proxy = served.proxy;
        self.certificates = listeners.certificates;
        self.facts.expiries = expiries(self.certificates.as_ref());
        self.facts.reloads += 1;
        self.facts.reloaded = SystemTime::now();
        self.tell_facts();
        Ok(what)
    }
}

/// Returns when each certificate and revocation list expires, by path.
fn expiries(certificates: Option<&Certificates>) -> Vec<(String, SystemTime)> {
    let all = certificates.into_iter().flat_map(Certificates::expiries);
    all.map(|(path, expires)| (path.to_owned(), expires))
        .collect()
}
