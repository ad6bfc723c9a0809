//! The socket of the admin listener, and the thread that serves it.

use std::fmt;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidegate_http::Config;
use tidegate_ledger::{Ledger, Limits, Resource, Rule};
use tidegate_net::{EventLoop, Listener, Mailbox, Options, Port, Security, Stack};

use super::address::AdminAddress;
use super::question::{Message, Readiness};
use super::resource::State;
use super::service::{Admin, Hosts};
use crate::flags::Switch;
use crate::message;
use crate::metrics::facts::Facts;
use crate::stats::Stats;

/// The most connections at once. Another one closes one that is idle.
const CONNECTIONS: u64 = 64;

/// The most requests at once on a connection.
const STREAMS: u32 = 32;

/// How long a listener that closes waits for its requests.
const PATIENCE: Duration = Duration::from_secs(1);

/// The settings of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSettings {
    /// The address as configured.
    pub address: AdminAddress,
    /// Names by which clients may call it.
    pub names: Vec<String>,
    /// Whether clients may change something.
    pub write: Switch,
}

/// The socket of the admin listener.
pub(crate) struct AdminSocket {
    /// The address as configured; the port may be 0.
    typed: AdminAddress,
    listener: Listener,
    /// The file of a Unix socket, which is removed at the end; `None` while it is still another
    /// process's.
    file: Option<SocketFile>,
}

/// The file of a Unix socket, which is removed when dropped.
struct SocketFile(PathBuf);

impl SocketFile {
    /// Leaves the file to another process.
    fn keep(mut self) {
        self.0 = PathBuf::new();
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may be kept or gone, or the process may no longer be allowed to.
        let _ = fs::remove_file(&self.0);
    }
}

impl AdminSocket {
    /// Listens on an address. Returns `None` if that is none.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn bind(address: &AdminAddress) -> io::Result<Option<Self>> {
        let listener = match address {
            AdminAddress::None => return Ok(None),
            AdminAddress::Tcp(addr) => {
                let plain = Security::Plain;
                let mut one = Listener::bind_group_of(*addr, &plain, 1, Stack::Dual, Port::Own)?;
                one.pop().ok_or(io::ErrorKind::AddrNotAvailable)?
            }
            AdminAddress::Unix(path) => Listener::from_unix(bind_unix(path)?)?,
        };
        let mut socket = Self::of(address, listener);
        socket.owns_file();
        Ok(Some(socket))
    }

    /// Takes the socket of this address that the process before this one had. The file is still
    /// that one's, until [`owns_file`](Self::owns_file).
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn take_over(address: &AdminAddress, socket: OwnedFd) -> io::Result<Option<Self>> {
        let listener = match address {
            AdminAddress::None => return Ok(None),
            AdminAddress::Tcp(_) => Listener::from_std(TcpListener::from(socket), Security::Plain)?,
            AdminAddress::Unix(_) => Listener::from_unix(UnixListener::from(socket))?,
        };
        Ok(Some(Self::of(address, listener)))
    }

    fn of(address: &AdminAddress, listener: Listener) -> Self {
        Self {
            typed: address.clone(),
            listener,
            file: None,
        }
    }

    /// Notes that this process has the file of a Unix socket from now on, and removes it at the
    /// end.
    fn owns_file(&mut self) {
        if let AdminAddress::Unix(path) = &self.typed
            && self.file.is_none()
        {
            self.file = Some(SocketFile(path.clone()));
        }
    }

    /// Removes the file, while the socket is still served.
    fn remove_file(&mut self) {
        self.file = None;
    }

    /// Returns the address as configured.
    pub(crate) fn typed(&self) -> &AdminAddress {
        &self.typed
    }

    /// Returns another handle of the socket, to pass it on.
    pub(crate) fn share(&self) -> Listener {
        self.listener.share()
    }
}

/// Formats the real address as a URL, or as it is typed if it is a file.
impl fmt::Display for AdminSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.typed {
            AdminAddress::Tcp(_) => write!(f, "http://{}/", self.listener.local_addr()),
            AdminAddress::None | AdminAddress::Unix(_) => self.typed.fmt(f),
        }
    }
}

/// Binds a Unix socket. The file of a process that has ended without removing it is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                // Nobody listens there. A file that isn't a socket refuses connections too.
                Err(refused)
                    if refused.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) =>
                {
                    fs::remove_file(path)?;
                    UnixListener::bind(path)
                }
                _ => Err(error),
            }
        }
        result => result,
    }
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// The parts of the server that the admin listener shows.
pub(crate) struct Watched {
    /// The mailboxes of all workers.
    pub(crate) workers: Vec<Mailbox<message::Message>>,
    /// The counters of all workers.
    pub(crate) stats: Stats,
    /// The resources that clients share.
    pub(crate) ledger: Arc<Ledger>,
    /// Facts about the process.
    pub(crate) facts: Facts,
}

/// The admin listener and its thread.
pub(crate) struct AdminListener {
    socket: AdminSocket,
    mailbox: Mailbox<Message>,
    thread: JoinHandle<()>,
}

impl AdminListener {
    /// Starts the thread that serves the socket.
    ///
    /// # Errors
    /// The system gives no thread or epoll instance.
    pub(crate) fn start(
        socket: AdminSocket,
        settings: &AdminSettings,
        watched: Watched,
    ) -> io::Result<Self> {
        let hosts = match settings.address {
            AdminAddress::Unix(_) => Hosts::Any,
            AdminAddress::None | AdminAddress::Tcp(_) => Hosts::Named(settings.names.clone()),
        };
        let state = State {
            readiness: Readiness::Serving,
            stats: watched.stats,
            ledger: watched.ledger,
            facts: watched.facts,
            write: settings.write,
        };
        let admin = Admin::new(hosts, state, watched.workers);
        let listeners = vec![socket.listener.share()];
        let event_loop = EventLoop::new(listeners, options()?, admin)?;
        let mailbox = event_loop.mailbox();
        let thread = thread::Builder::new().name("admin".into());
        let thread = thread.spawn(move || {
            if let Err(error) = event_loop.run() {
                log::error!("the admin listener has ended: {error}");
            }
        })?;
        Ok(Self {
            socket,
            mailbox,
            thread,
        })
    }

    /// Returns its socket.
    pub(crate) fn socket(&self) -> &AdminSocket {
        &self.socket
    }

    /// Notes that the process before this one has left it the file of the socket.
    pub(crate) fn owns_file(&mut self) {
        self.socket.owns_file();
    }

    /// Removes the file of the socket, because the process ends at once.
    pub(crate) fn remove_file(&mut self) {
        self.socket.remove_file();
    }

    /// Uses these settings, which have the same address.
    pub(crate) fn reconfigure(&self, settings: &AdminSettings) {
        self.mailbox
            .send(Message::Changed(settings.names.clone(), settings.write));
    }

    /// Tells it facts about the process that have changed.
    pub(crate) fn tell(&self, facts: Facts) {
        self.mailbox.send(Message::Facts(facts));
    }

    /// Tells it how far the server is.
    pub(crate) fn now(&self, readiness: Readiness) {
        self.mailbox.send(Message::Now(readiness));
    }

    /// Ends the thread. Another process has the socket and its file from now on.
    pub(crate) fn hand_over(mut self) {
        if let Some(file) = self.socket.file.take() {
            file.keep();
        }
        self.mailbox.shut_down();
    }

    /// Ends the thread and removes the file of the socket.
    pub(crate) fn close(self) {
        self.mailbox.shut_down();
        drop(self.socket);
        // It has logged why it ended, unless it panicked.
        if self.thread.join().is_err() {
            log::error!("the admin listener panicked; please report this as a bug");
        }
    }
}

fn options() -> io::Result<Options> {
    let mut engine = Config::server();
    engine.max_concurrent_streams = STREAMS;
    let mut options = Options::new(engine.build().map_err(io::Error::other)?);
    options.shutdown_timeout = PATIENCE;
    let limits = Limits::none().with(Resource::Connections, Rule::new(CONNECTIONS));
    options.ledger = Ledger::new(limits);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};

    use super::*;

    #[test]
    fn the_file_of_a_process_that_was_killed_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        // It doesn't listen: a process that another test begins could hold it for a moment, and
        // would be connected to.
        let left = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&left, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        drop(left);
        let address = AdminAddress::Unix(path.clone());
        let socket = AdminSocket::bind(&address).unwrap().unwrap();
        let taken = AdminSocket::bind(&address).err().unwrap();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        assert!(!path.exists());
        // A process that is to take over and fails leaves the file to the one that serves.
        let socket = AdminSocket::bind(&address).unwrap().unwrap();
        let handle = || OwnedFd::from(UnixListener::bind(dir.path().join("other")).unwrap());
        drop(AdminSocket::take_over(&address, handle()).unwrap());
        assert!(path.exists());
        fs::remove_file(dir.path().join("other")).unwrap();
        let mut taken = AdminSocket::take_over(&address, handle()).unwrap().unwrap();
        taken.owns_file();
        drop(taken);
        assert!(!path.exists());
        drop(socket);
        fs::write(&path, "precious").unwrap();
        let file = AdminSocket::bind(&address).err().unwrap();
        assert_eq!(file.kind(), io::ErrorKind::AddrInUse);
        assert!(path.exists());
    }
}
