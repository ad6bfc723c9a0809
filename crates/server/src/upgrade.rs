//! A new process of the program, perhaps of a newer version, takes over from this one.
//!
//! The old process starts the new one, with its own command line, and a socket as its stdin. By
//! that it passes its listening sockets on, which stay open meanwhile: connections that come wait
//! in their queues for either process. When the new process serves, the old one ends gracefully. If
//! the new process can't serve, the old one goes on.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::mpsc::Sender;
use std::thread;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tidegate_net::Listener;

use crate::admin::{AdminAddress, AdminSocket};
use crate::channel::{Channel, READY};
use crate::happening::Happening;
use crate::inherited::Inherited;
use crate::listening::Bound;

/// The environment variable that tells a new process that its stdin is a [`Channel`].
const VARIABLE: &str = "TIDEGATE_TAKES_OVER";

/// Environment variables that are for one process only.
const OWN: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The process that this one takes over from.
#[derive(Debug)]
pub(crate) struct Former(Channel);

impl Former {
    /// Returns the process that has started this one to take over, if one has.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = io::stdin().as_fd().try_clone_to_owned()?;
        // Nothing else reads stdin, but the next process inherits it.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Some(Self(Channel::of(channel))))
    }

    /// Receives its listening sockets.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn sockets(&self) -> io::Result<Inherited> {
        self.0.receive_sockets()
    }

    /// Tells it that this process serves.
    pub(crate) fn ready(self) {
        if let Err(error) = self.0.say(READY) {
            log::warn!("the process that has started this one has ended: {error}");
        }
    }

    /// Returns a way to tell it why this process can't serve; `None` without a descriptor for it.
    pub(crate) fn complaint(&self) -> Option<Complaint> {
        self.0.duplicate().ok().map(Complaint)
    }
}

/// A way to tell the process before this one why this one can't serve.
#[derive(Debug)]
pub struct Complaint(Channel);

impl Complaint {
    /// Tells it in a sentence.
    pub fn make(self, sentence: &str) {
        // If it has ended, nobody needs to know.
        let _ = self.0.say(sentence);
    }
}

/// A process that is to take over from this one.
#[derive(Debug)]
pub(crate) struct Successor {
    id: u32,
    /// The process itself, because its number may be another's when it has ended.
    process: OwnedFd,
}

impl Successor {
    /// Returns its number.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.process, signal) {
            log::warn!("can't send a signal to process {}: {error}", self.id);
        }
    }
}

/// Starts a new process and passes the listening sockets on. [`Happening::TakenOver`] says whether
/// it serves.
///
/// # Errors
/// The system's error if it can't be started.
pub(crate) fn start(
    bound: &[Bound],
    admin: Option<&AdminSocket>,
    happened: Sender<Happening>,
) -> io::Result<Successor> {
    let sockets = |bound: &Bound| {
        let sockets = bound.sockets().iter().map(Listener::share);
        (bound.typed, sockets.collect())
    };
    let sockets: Vec<(SocketAddr, Vec<Listener>)> = bound.iter().map(sockets).collect();
    let admin = admin.map(|socket| (socket.typed().clone(), socket.share()));
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let (channel, theirs) = Channel::pair()?;
    let mut command = Command::new(&program);
    command.args(words).env(VARIABLE, "1").stdin(theirs);
    for variable in OWN {
        command.env_remove(variable);
    }
    let child = command.spawn()?;
    // Otherwise this process would keep the other end open.
    drop(command);
    let id = child.id();
    // It can't be another process, because nothing has waited for its end yet.
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let wait = move || {
        let result = hand_over(&channel, &sockets, admin.as_ref(), child).map(|()| id);
        drop((sockets, admin));
        // The process may have ended.
        let _ = happened.send(Happening::TakenOver(result));
    };
    let thread = thread::Builder::new().name("upgrade".into());
    thread.spawn(wait)?;
    Ok(Successor { id, process })
}

/// Returns when the new process serves, or a sentence if it can't.
fn hand_over(
    channel: &Channel,
    sockets: &[(SocketAddr, Vec<Listener>)],
    admin: Option<&(AdminAddress, Listener)>,
    mut child: Child,
) -> Result<(), String> {
    // A process that has ended takes nothing; its status says more.
    let admin = admin.map(|(address, socket)| (address, socket.share()));
    let sent = channel.send_sockets(sockets, admin);
    let heard = sent.and_then(|()| channel.hear());
    match heard {
        Ok(text) if text == READY => return Ok(()),
        Ok(text) if !text.is_empty() => {
            let _ = child.wait();
            return Err(text);
        }
        Ok(_) | Err(_) => {}
    }
    match child.wait() {
        Ok(status) => Err(format!(
            "the new process ended with {status} before it served"
        )),
        Err(error) => Err(format!("the new process is lost: {error}")),
    }
}
