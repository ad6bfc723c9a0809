//! Ordinary upstreams: Go's net/http, nginx and nghttpd.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use tidegate_testkit::signals::eventually;

use crate::bench::{Bench, free_addresses};
use crate::exchange;
use crate::process::{Log, Process, Result, children_of, program};

/// How long a program may take to listen, and for other steps that take no time as a rule.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// A protocol that the Go upstream speaks, on a port of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// HTTP/1.1 in cleartext.
    Http,
    /// HTTP/2 in cleartext.
    H2c,
    /// HTTP/2 over TLS.
    Https,
    /// HTTP/1.1 over TLS.
    Https1,
}

impl Speaks {
    pub(crate) const ALL: [Self; 4] = [Self::Http, Self::H2c, Self::Https, Self::Https1];

    /// One port for each protocol and transport that the proxy chooses between.
    pub(crate) const THREE: [Self; 3] = [Self::Http, Self::H2c, Self::Https];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
            Self::Https1 => "https1",
        }
    }

    /// Returns the scheme of an upstream's URL.
    fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https | Self::Https1 => "https",
        }
    }

    /// Returns the version as net/http names it.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Http | Self::Https1 => "HTTP/1.1",
            Self::H2c | Self::Https => "HTTP/2.0",
        }
    }
}

/// The upstream in Go.
pub(crate) struct Go {
    process: Process,
    pub(crate) log: Log,
    /// The addresses, in the order of [`Speaks::ALL`].
    addresses: [String; 4],
}

impl Go {
    /// Starts the upstream, on this address for cleartext HTTP/1.1 if given.
    pub(crate) fn start(bench: &Bench, http: Option<&str>) -> Result<Self> {
        let (process, log) = bench.launch(
            "go",
            program(&bench.upstream_go)
                .arg("--cert")
                .arg(bench.certificate())
                .arg("--key")
                .arg(bench.key())
                .arg("--root")
                .arg(bench.www())
                .args(http.map(|address| format!("--http={address}"))),
        )?;
        let mut addresses = [const { String::new() }; 4];
        // The log is written line by line, so a line that is followed by another is whole.
        let listens = eventually(BOUND, || Ok(log.text()?.matches('\n').count() >= 4))?;
        for (speaks, address) in Speaks::ALL.iter().zip(&mut addresses) {
            match log.find(&format!("{} ", speaks.name()))? {
                Some(found) if listens => *address = found,
                _ => {
                    return Err(format!("the Go upstream doesn't listen: {}", log.text()?).into());
                }
            }
        }
        Ok(Self {
            process,
            log,
            addresses,
        })
    }

    pub(crate) fn address(&self, speaks: Speaks) -> &str {
        match speaks {
            Speaks::Http => &self.addresses[0],
            Speaks::H2c => &self.addresses[1],
            Speaks::Https => &self.addresses[2],
            Speaks::Https1 => &self.addresses[3],
        }
    }

    /// Returns the URL of an upstream, without a path.
    pub(crate) fn url(&self, speaks: Speaks) -> String {
        format!("{}://{}", speaks.scheme(), self.address(speaks))
    }

    /// Returns how many requests the upstream has got.
    pub(crate) fn served(&self) -> Result<usize> {
        let answer = exchange::get(self.address(Speaks::Http), "/count")?;
        Ok(answer.trim().parse()?)
    }

    pub(crate) fn stop(&mut self) -> Result {
        self.process.stop()?;
        Ok(())
    }

    /// Ends the upstream without a chance to say anything.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

/// Whether something listens at this address.
pub(crate) fn accepts(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}

/// Waits until something listens at this address.
pub(crate) fn wait_for(name: &str, address: &str, log: &Log) -> Result {
    if eventually(BOUND, || Ok(accepts(address)))? {
        Ok(())
    } else {
        Err(format!("{name} doesn't listen: {}", log.text()?).into())
    }
}

/// nginx with one worker.
pub(crate) struct Nginx {
    process: Process,
    pub(crate) http: String,
    pub(crate) h2c: String,
    pub(crate) https: String,
    /// The address for HTTP/2 in cleartext that ends each connection after ten requests.
    pub(crate) few: String,
}

impl Nginx {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let [http, h2c, https, few] = free_addresses()?;
        let dir = bench.new_path("nginx");
        fs::create_dir(&dir)?;
        let (errors, config) = (dir.join("errors"), dir.join("nginx.conf"));
        let at = dir.display();
        let (www, cert, key) = (bench.www(), bench.certificate(), bench.key());
        let (www, cert, key) = (www.display(), cert.display(), key.display());
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/errors;
            events {{ worker_connections 4096; }}
            http {{
                access_log off; keepalive_requests 1000000; root {www};
                client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
                fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi;
                scgi_temp_path {at}/scgi;
                server {{ listen {http}; listen {h2c} http2; }}
                server {{
                    listen {https} ssl http2; ssl_certificate {cert}; ssl_certificate_key {key};
                }}
                server {{ listen {few} http2; keepalive_requests 10; }}
            }}\n"
        );
        fs::write(&config, text)?;
        let mut command = program("nginx");
        command.arg("-e").arg(&errors).arg("-c").arg(&config);
        let (process, _) = bench.launch("nginx-output", &mut command)?;
        wait_for("nginx", &few, &Log(errors))?;
        // nginx listens before it has workers.
        eventually(BOUND, || Ok(!children_of(process.id())?.is_empty()))?;
        Ok(Self {
            process,
            http,
            h2c,
            https,
            few,
        })
    }

    /// Makes nginx reload its configuration. Returns whether new workers have taken over. The old
    /// workers may take longer: now and then a worker that is new itself keeps idle connections.
    pub(crate) fn reload(&mut self) -> Result<bool> {
        let before = children_of(self.process.id())?;
        self.process.signal(Signal::SIGHUP)?;
        eventually(BOUND, || {
            let now = children_of(self.process.id())?;
            Ok(now != before && before.iter().all(|worker| is_shutting_down(*worker)))
        })
    }
}

/// Whether a worker has exited, or takes no more connections.
fn is_shutting_down(worker: u32) -> bool {
    // The command line of a zombie is empty.
    let title = fs::read_to_string(format!("/proc/{worker}/cmdline")).unwrap_or_default();
    title.is_empty() || title.contains("shutting down")
}

/// Two servers of nghttp2, since one has either TLS or not.
pub(crate) struct Nghttpd {
    _processes: [Process; 2],
    pub(crate) h2c: String,
    pub(crate) https: String,
}

impl Nghttpd {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let [h2c, https] = free_addresses()?;
        let command = |port: &str, plain: bool| {
            let mut command = program("nghttpd");
            command.args(["-n1", "-a", "127.0.0.1", "--echo-upload", "-d"]);
            command.arg(bench.www());
            command.args(plain.then_some("--no-tls"));
            command.arg(exchange::port_of(port));
            command
        };
        let (plain, plain_log) = bench.launch("nghttpd", &mut command(&h2c, true))?;
        let mut over_tls = command(&https, false);
        over_tls.arg(bench.key()).arg(bench.certificate());
        let (over_tls, tls_log) = bench.launch("nghttpd", &mut over_tls)?;
        wait_for("nghttpd", &h2c, &plain_log)?;
        wait_for("nghttpd", &https, &tls_log)?;
        Ok(Self {
            _processes: [plain, over_tls],
            h2c,
            https,
        })
    }
}
