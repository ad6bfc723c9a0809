//! The server: its configuration, its log, signals.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;
use tidegate_testkit::signals::eventually;
use tidegate_testkit::tls::{Certificate, client_config};

use crate::{Result, clients, socket};

/// Workers of each process.
const WORKERS: usize = 2;

/// How long the server may take for anything on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The addresses that clients connect to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) tls: SocketAddr,
    pub(crate) plain: SocketAddr,
}

/// A program of one process group, which is killed when dropped.
struct Group {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Group {
    /// Starts the server, and gathers the lines that it and its successors write.
    fn start(flags: &[&str]) -> Result<Self> {
        let program = std::env::var("TIDEGATE").unwrap_or("target/release/tidegate".into());
        let mut command = Command::new(&program);
        command.args(flags).stdin(Stdio::null()).process_group(0);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.map_err(|error| format!("can't run {program}: {error}"))?;
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let pipes: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as _),
            child.stderr.take().map(|pipe| Box::new(pipe) as _),
        ];
        for pipe in pipes.into_iter().flatten() {
            let lines = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
                    lines
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(line);
                }
            });
        }
        Ok(Self { child, lines })
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .filter(|line| line.contains(text))
            .cloned()
            .collect()
    }

    fn wait_for(&self, text: &str, count: usize) -> Result {
        if eventually(PATIENCE, || Ok(self.lines(text).len() >= count))? {
            return Ok(());
        }
        Err(format!("the server never said {text:?}: {:#?}", self.lines("")).into())
    }

    /// Returns the address in the text at start.
    fn address(&self, scheme: &str) -> Result<SocketAddr> {
        self.wait_for("Ctrl-C", 1)?;
        let lines = self.lines(scheme);
        let word = lines
            .iter()
            .flat_map(|line| line.split_whitespace())
            .find_map(|word| {
                word.strip_prefix(scheme)?
                    .trim_end_matches('/')
                    .parse()
                    .ok()
            });
        word.ok_or_else(|| format!("there is no address for {scheme}").into())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // All of them may have ended.
        let _ = killpg(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGKILL,
        );
        let _ = self.child.wait();
    }
}

/// The server and what is behind it.
pub(crate) struct Server {
    group: Group,
    /// A server that sends bodies back, for gRPC calls.
    _echo: Group,
    directory: TempDir,
    routes: [String; 2],
    ports: Ports,
    /// The process that serves now.
    process: Pid,
    reloads: usize,
    upgrades: usize,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let flags = [
            "--listen",
            "none",
            "--listen-h2c",
            "127.0.0.1:0",
            "--route",
            "/=echo",
        ];
        let echo = Group::start(&[&flags[..], &["--log", "warn"]].concat())?;
        let calls = format!("{}=h2c://{}", clients::CALL, echo.address("http://")?);
        let sockets = format!("{}=http://{}", socket::PATH, socket::upstream()?);
        let directory = tempfile::tempdir()?;
        let routes = [calls, sockets];
        write(&directory, &routes, 0)?;
        let file = directory.path().join("tidegate.toml");
        let group = Group::start(&["--config", &file.to_string_lossy()])?;
        let ports = Ports {
            tls: group.address("https://")?,
            plain: group.address("http://")?,
        };
        let process = Pid::from_raw(group.child.id().cast_signed());
        Ok(Self {
            group,
            _echo: echo,
            directory,
            routes,
            ports,
            process,
            reloads: 0,
            upgrades: 0,
        })
    }

    pub(crate) fn ports(&self) -> Ports {
        self.ports
    }

    /// Sends a signal to the process that serves.
    pub(crate) fn signal(&self, signal: Signal) -> Result {
        Ok(kill(self.process, signal)?)
    }

    /// Waits until the server has said something so often.
    pub(crate) fn wait_for(&self, text: &str, count: usize) -> Result {
        self.group.wait_for(text, count)
    }

    /// Has the server read the `number`th configuration, and checks that it is in use.
    pub(crate) fn reload(&mut self, number: usize) -> Result {
        let certificate = write(&self.directory, &self.routes, number)?;
        self.signal(Signal::SIGHUP)?;
        self.reloads += 1;
        self.wait_for("SIGHUP: reloaded ", self.reloads)?;
        self.check(number, &certificate)
    }

    /// Has a new process take over, which reads the `number`th configuration.
    pub(crate) fn upgrade(&mut self, number: usize) -> Result {
        let certificate = write(&self.directory, &self.routes, number)?;
        self.signal(Signal::SIGUSR2)?;
        self.upgrades += 1;
        let says = " serves; finishing the requests in progress";
        self.wait_for(says, self.upgrades)?;
        // Each worker says it once it accepts nothing more.
        self.wait_for("shutting down: ", self.upgrades * WORKERS)?;
        let line = self.group.lines(says).pop().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "process");
        let process = place.and_then(|place| words.get(place + 1)?.parse().ok());
        self.process = Pid::from_raw(process.ok_or("the line names no process")?);
        self.check(number, &certificate)
    }

    /// Returns the memory of the process that serves, in KiB.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        Ok(number.ok_or("the system doesn't report memory")?.parse()?)
    }

    /// Checks that new connections get a configuration's certificate, and its routes.
    fn check(&self, number: usize, certificate: &Certificate) -> Result {
        let socket = clients::connect(self.ports.tls)?;
        let trusted = certificate.certificate();
        let config = client_config(Some(&trusted), &["http/1.1"]);
        let name = ServerName::try_from("localhost")?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        let mut stream = BufReader::new(StreamOwned::new(tls, socket));
        let former = number.checked_sub(1).map(|former| (former, 404));
        for (route, expected) in [Some((number, 200)), former].into_iter().flatten() {
            let status = clients::get(&mut stream, &format!("/only-{route}"))?.status;
            if status != expected {
                return Err(format!("/only-{route} after reload {number}: {status}").into());
            }
        }
        Ok(())
    }
}

/// Writes the `number`th configuration, with a certificate of its own.
fn write(directory: &TempDir, routes: &[String], number: usize) -> Result<Certificate> {
    let certificate = Certificate::localhost();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    fs::write(path("site.pem"), &certificate.pem)?;
    fs::write(path("site.key"), &certificate.key)?;
    let quoted: Vec<String> = routes.iter().map(|route| format!("'{route}'")).collect();
    let text = format!(
        "listen = '127.0.0.1:0'\nlisten-h2c = '127.0.0.1:0'\nworkers = {WORKERS}\nlog = 'info,tidegate::access=warn'\n\
         cert = '{}'\nkey = '{}'\nshutdown-timeout = '10m'\nwatch-certificates = '0'\n\
         websocket = '{}'\nroute = ['/stable=status', '/upload=upload', '/only-{number}=status', {}]\n",
        path("site.pem").display(),
        path("site.key").display(),
        socket::PATH,
        quoted.join(", "),
    );
    fs::write(path("tidegate.toml"), text)?;
    Ok(certificate)
}
