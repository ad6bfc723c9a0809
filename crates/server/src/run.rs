//! The process: sockets, workers, signals, shutdown.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use tidegate_net::{EventLoop, Listener, Mailbox, Security, Stack, TlsAcceptorConfig};

use crate::access_log::Destination;
use crate::app::App;
use crate::config::{Address, Certificates, Config, Listeners};
use crate::logs::{self, queue};
use crate::proxy::names;
use crate::site::{Served, Target};
use crate::stats::Stats;

const STATS_EVERY: Duration = Duration::from_secs(5);

/// Why the server ended. `Display` gives one sentence.
#[derive(Debug)]
pub enum RunError {
    /// An address can't be listened on.
    Bind(SocketAddr, io::Error),
    /// The system gave no thread, epoll instance or signal handler.
    Start(io::Error),
    /// A worker ended.
    Worker(io::Error),
    /// A worker panicked, which is a bug.
    WorkerPanicked,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(addr, error) if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "can't listen on {addr}: the port is taken by another process; choose another one \
                 with --listen or --listen-h2c"
            ),
            Self::Bind(addr, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "can't listen on {addr}: ports below 1024 need privileges (CAP_NET_BIND_SERVICE); \
                 grant them, or choose another port with --listen or --listen-h2c"
            ),
            Self::Bind(addr, error) => write!(f, "can't listen on {addr}: {error}"),
            Self::Start(error) => write!(f, "can't start: {error}"),
            Self::Worker(error) => write!(f, "a worker failed: {error}"),
            Self::WorkerPanicked => f.write_str("a worker panicked; please report this as a bug"),
        }
    }
}

impl std::error::Error for RunError {}

/// An address that is listened on, for the banner.
struct Bound {
    addr: SocketAddr,
    security: Security,
    everywhere: bool,
}

/// Serves until a signal ends it.
///
/// # Errors
/// What kept the server from starting, or ended it.
pub fn run(config: Config) -> Result<(), RunError> {
    // Signals are caught from here on, so that an early one isn't lost.
    let signals = Signals::new(SIGNALS).map_err(RunError::Start)?;
    let Config {
        listeners,
        workers,
        options,
        served,
    } = config;
    let (bound, sockets) = bind_all(&listeners, workers)?;
    let access_log = served.access_log.clone();
    let stdout = match &access_log {
        Destination::Stdout(queue) => queue.clone(),
        Destination::Log | Destination::File(_) => queue::stdout().map_err(RunError::Start)?,
    };
    let mut stats = Stats::default();
    let (ended, ends) = mpsc::channel();
    let mut mailboxes = Vec::with_capacity(workers);
    let mut threads = Vec::with_capacity(workers);
    for (worker, sockets) in sockets.into_iter().enumerate() {
        let app = App::new(served.clone(), stats.add_worker());
        let event_loop = EventLoop::new(sockets, options.clone(), app).map_err(RunError::Start)?;
        mailboxes.push(event_loop.mailbox());
        let ended = ended.clone();
        let thread = thread::Builder::new().name(format!("worker-{worker}"));
        let thread = thread.spawn(move || {
            let mut end = Ended {
                channel: ended,
                result: Err(RunError::WorkerPanicked),
            };
            end.result = event_loop.run().map(drop).map_err(RunError::Worker);
        });
        threads.push(thread.map_err(RunError::Start)?);
    }
    drop(ended);
    let names = served.proxy.names.clone();
    let _watch = names::watch(names, mailboxes.clone()).map_err(RunError::Start)?;
    let reopened = Reopened {
        access_log: access_log.clone(),
        certificates: listeners.acceptor.zip(listeners.certificates),
    };
    handle_signals(signals, mailboxes, reopened).map_err(RunError::Start)?;
    // The queue never blocks: the server starts even if nothing reads stdout.
    stdout.push(banner(&bound, &served, listeners.self_signed));

    let mut running = threads.len();
    while running > 0 {
        match ends.recv_timeout(STATS_EVERY) {
            Ok(Ok(())) => running -= 1,
            Ok(Err(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {
                logs::report_left_out();
                if let Some(snapshot) = stats.changed() {
                    log::info!("{snapshot}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    for thread in threads {
        thread.join().map_err(|_| RunError::WorkerPanicked)?;
    }
    log::info!("all connections are closed");
    let deadline = Instant::now() + logs::PATIENCE;
    access_log.flush(deadline);
    stdout.flush(deadline);
    Ok(())
}

/// Reports to the main thread how a worker ended, even if it panicked.
struct Ended {
    channel: mpsc::Sender<Result<(), RunError>>,
    result: Result<(), RunError>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        // The main thread may have ended already, at another worker's error.
        let _ = self.channel.send(result);
    }
}

/// Binds every address for every worker. Returns what was bound, and each worker's sockets.
fn bind_all(
    listeners: &Listeners,
    workers: usize,
) -> Result<(Vec<Bound>, Vec<Vec<Listener>>), RunError> {
    let mut wanted: Vec<(Address, Security)> = Vec::new();
    if let Some(acceptor) = &listeners.acceptor {
        let security = Security::Tls(Arc::clone(acceptor));
        wanted.extend(
            listeners
                .tls
                .iter()
                .map(|address| (*address, security.clone())),
        );
    }
    wanted.extend(
        listeners
            .h2c
            .iter()
            .map(|address| (*address, Security::Plain)),
    );
    let mut sockets: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut bound = Vec::with_capacity(wanted.len());
    let families: Vec<SocketAddr> = wanted.iter().map(|(address, _)| address.first).collect();
    for (address, security) in wanted {
        let stack = stack(address.first, &families);
        let group = bind(address, &security, workers, stack)?;
        let addr = group.first().map_or(address.first, Listener::local_addr);
        for (worker, socket) in sockets.iter_mut().zip(group) {
            worker.push(socket);
        }
        bound.push(Bound {
            addr,
            security,
            everywhere: addr.ip().is_unspecified(),
        });
    }
    Ok((bound, sockets))
}

/// Returns the IP versions that a socket takes. An IPv6 socket takes no IPv4 connections if another
/// socket listens on its port by IPv4.
fn stack(addr: SocketAddr, all: &[SocketAddr]) -> Stack {
    let is_other =
        |other: &SocketAddr| other.is_ipv4() && other.port() == addr.port() && addr.port() != 0;
    if addr.is_ipv6() && all.iter().any(is_other) {
        Stack::V6Only
    } else {
        Stack::Dual
    }
}

fn bind(
    address: Address,
    security: &Security,
    workers: usize,
    stack: Stack,
) -> Result<Vec<Listener>, RunError> {
    let bind = |addr| {
        Listener::bind_group_of(addr, security, workers, stack).map_err(|error| (addr, error))
    };
    let result = match (bind(address.first), address.otherwise) {
        (Err((_, error)), Some(otherwise)) if lacks_ipv6(&error) => bind(otherwise),
        (result, _) => result,
    };
    result.map_err(|(addr, error)| RunError::Bind(addr, error))
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no stable kind.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// The signals that the server handles.
const SIGNALS: [i32; 6] = [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2];

/// The action that a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// End gracefully; when asked again, end immediately.
    End,
    /// Reopen logs and reload certificates.
    Reload,
    /// Reopen logs.
    Reopen,
    /// Nothing. Other servers give this signal a meaning that this one doesn't.
    Nothing,
}

impl Asked {
    fn by(signal: i32) -> Self {
        match signal {
            SIGHUP => Self::Reload,
            SIGUSR1 => Self::Reopen,
            SIGUSR2 => Self::Nothing,
            _ => Self::End,
        }
    }
}

/// The files that signals reopen or reload.
struct Reopened {
    access_log: Destination,
    /// `None` without TLS, and with a self-signed certificate.
    certificates: Option<(Arc<TlsAcceptorConfig>, Certificates)>,
}

/// Starts a thread that handles signals. Each log line comes after the action that it reports.
fn handle_signals(
    mut signals: Signals,
    mailboxes: Vec<Mailbox<<App as tidegate_net::Service>::Message>>,
    reopened: Reopened,
) -> io::Result<()> {
    let handle = move || {
        let mut ending = false;
        for signal in signals.forever() {
            let name = signal_name(signal).unwrap_or("signal");
            match Asked::by(signal) {
                asked @ (Asked::Reopen | Asked::Reload) => {
                    reopened.access_log.reopen();
                    log::info!("{name}: reopening the access log");
                    if let (Asked::Reload, Some((acceptor, certificates))) =
                        (asked, &reopened.certificates)
                    {
                        match certificates.reload(acceptor) {
                            Ok(()) => log::info!("{name}: reloaded {}", certificates.paths()),
                            Err(error) => {
                                log::error!(
                                    "{name}: keeping the former certificate, because the new one \
                                     can't be loaded: {error}"
                                );
                            }
                        }
                    }
                }
                Asked::Nothing => log::info!("{name}: ignored"),
                Asked::End if ending => {
                    log::warn!("{name} again: ending immediately");
                    logs::flush(Instant::now() + logs::PATIENCE);
                    std::process::exit(128 + signal);
                }
                Asked::End => {
                    ending = true;
                    for mailbox in &mailboxes {
                        mailbox.shut_down();
                    }
                    log::info!(
                        "{name}: finishing the requests in progress; a second signal ends \
                         immediately"
                    );
                }
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(handle)?;
    Ok(())
}

/// Returns the text at start: where the server listens and what to try.
fn banner(bound: &[Bound], served: &Served, self_signed: bool) -> String {
    let mut text = format!("tidegate {} is ready\n\n", env!("CARGO_PKG_VERSION"));
    let mut curl = None;
    for Bound {
        addr,
        security,
        everywhere,
    } in bound
    {
        let host = if *everywhere {
            "localhost".to_owned()
        } else {
            host(addr.ip())
        };
        let port = addr.port();
        let (url, kind, flag) = match security {
            Security::Plain => (
                format!("http://{host}:{port}"),
                "HTTP/2 (prior knowledge) and HTTP/1.1 in cleartext",
                "--http2-prior-knowledge ",
            ),
            Security::Tls(_) if self_signed => (
                format!("https://{host}:{port}"),
                "HTTP/2 and HTTP/1.1 over TLS, with a new self-signed certificate",
                "-k ",
            ),
            Security::Tls(_) => (
                format!("https://{host}:{port}"),
                "HTTP/2 and HTTP/1.1 over TLS",
                "",
            ),
        };
        text.push_str(&format!("  {:<28}{kind}\n", format!("{url}/")));
        curl.get_or_insert((url, flag));
    }
    let only = served.hosts.is_none().then(|| served.sites.first());
    if let Some(hosts) = &served.hosts {
        text.push_str("\nSites\n");
        for names in hosts.names() {
            text.push_str(&format!("  {names}\n"));
        }
    }
    if let (Some((url, flag)), Some(site)) = (curl, only.flatten()) {
        text.push_str("\nTry\n");
        for (path, target) in site.routes.paths() {
            let (options, note) = match target {
                Target::Demo => ("-v ", "or open it in a browser"),
                Target::Named(named) => (named.curl(), ""),
                Target::Files(_) | Target::Proxy(_) => ("-v ", ""),
            };
            let line = format!("  curl {flag}{options}{url}{path}");
            text.push_str(&match note {
                "" => format!("{line}\n"),
                _ => format!("{line}   ({note})\n"),
            });
        }
    }
    text.push_str("\nCtrl-C stops the server; --help describes routes, certificates and limits.\n");
    text
}

/// Formats an address as URLs do.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Ipv4Addr::to_string(&v4),
            None => format!("[{v6}]"),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = taken.local_addr().unwrap();
        let address = Address {
            first: addr,
            otherwise: None,
        };
        let Err(error) = bind(address, &Security::Plain, 2, Stack::Dual) else {
            panic!("bound a taken port");
        };
        let sentence = error.to_string();
        assert!(
            sentence.starts_with(&format!("can't listen on {addr}: the port is taken")),
            "{sentence}"
        );
    }

    #[test]
    fn one_port_is_listened_on_by_both_families() {
        let at = |first| Address {
            first,
            otherwise: None,
        };
        let v4 = SocketAddr::from(([0, 0, 0, 0], 0));
        let v4 = bind(at(v4), &Security::Plain, 1, Stack::Dual).unwrap();
        let v4_addr = v4[0].local_addr();
        let v6 = SocketAddr::from(([0; 16], v4_addr.port()));
        assert_eq!(stack(v6, &[v6]), Stack::Dual);
        let stack = stack(v6, &[v4_addr, v6]);
        assert_eq!(stack, Stack::V6Only);
        match bind(at(v6), &Security::Plain, 1, stack) {
            // A system without IPv6 can't show it.
            Err(RunError::Bind(_, error)) if lacks_ipv6(&error) => {}
            result => assert_eq!(result.unwrap().len(), 1),
        }
    }

    #[test]
    fn hosts_of_urls() {
        for (ip, url) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host(ip.parse().unwrap()), url);
        }
    }
}
