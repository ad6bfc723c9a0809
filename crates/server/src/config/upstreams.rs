//! The upstreams of the routes, and the pools of connections to them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tidegate_http::MemoryBudget;
use tidegate_ledger::Ledger;
use tidegate_net::{Options, TlsConnectorConfig, Trust};
use tidegate_pool::{Security, Upstream, client_config, wait_for_answers};

use super::ConfigError;
use crate::flags::{Flags, ProxyVersion};
use crate::proxy::names::{Host, Names};
use crate::proxy::target::{Scheme, UpstreamTarget};
use crate::proxy::{self, DOWNLOAD_WINDOW};
use crate::shares;
use crate::site::Target;

/// Collects the upstreams of the routes. Routes to the same upstream share its connections.
#[derive(Default)]
pub(super) struct Upstreams {
    known: Vec<Known>,
    upstreams: Vec<Upstream>,
    names: Vec<Names>,
    /// The settings for TLS that upstreams need.
    tls: Vec<(Files, Arc<TlsConnectorConfig>)>,
}

/// An upstream that some route has: its key in `Upstreams`.
struct Known {
    scheme: Scheme,
    hosts: Vec<(String, u16)>,
    tls: Tls,
}

/// The files for TLS with upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// The settings for TLS with an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tls {
    files: Files,
    name: Option<String>,
}

impl Tls {
    fn of(flags: &Flags) -> Self {
        Self {
            files: Files {
                ca: flags.upstream_ca.clone(),
                cert: flags.upstream_cert.clone(),
                key: flags.upstream_key.clone(),
            },
            name: flags.upstream_name.clone(),
        }
    }
}

impl Upstreams {
    /// Checks the files for TLS. A mistake in them is an error even if no upstream needs them.
    pub(super) fn check(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if flags.upstream_ca.is_some() || flags.upstream_cert.is_some() {
            self.tls(Tls::of(flags).files)?;
        }
        Ok(())
    }

    fn tls(&mut self, files: Files) -> Result<Arc<TlsConnectorConfig>, ConfigError> {
        if let Some((_, tls)) = self.tls.iter().find(|(known, _)| *known == files) {
            return Ok(Arc::clone(tls));
        }
        let read = |flag, path: &PathBuf| {
            fs::read(path).map_err(|error| {
                let unreadable = ConfigError::Unreadable(path.clone(), error);
                unreadable.about(flag, 0)
            })
        };
        let (trust, what) = match &files.ca {
            None => (Trust::System, "the system's authorities".to_owned()),
            Some(path) => (
                Trust::Pem(read("upstream-ca", path)?),
                path.display().to_string(),
            ),
        };
        let tls = match (&files.cert, &files.key) {
            (Some(cert), Some(key)) => {
                let what = format!("{what} and {}", cert.display());
                let (chain, private) = (read("upstream-cert", cert)?, read("upstream-key", key)?);
                TlsConnectorConfig::new(&trust, Some((&chain, &private)))
                    .map_err(|error| ConfigError::UpstreamTls(what, error))?
            }
            _ => TlsConnectorConfig::new(&trust, None)
                .map_err(|error| ConfigError::UpstreamTls(what, error))?,
        };
        let tls = Arc::new(tls);
        self.tls.push((files, Arc::clone(&tls)));
        Ok(tls)
    }

    /// Returns the target of a route to an upstream, with the route's own flags.
    pub(super) fn route(
        &mut self,
        target: &UpstreamTarget,
        flags: &Flags,
    ) -> Result<Target, ConfigError> {
        let tls = Tls::of(flags);
        let is_known = |other: &Known| {
            let is_same = other.scheme == target.scheme && other.hosts == target.hosts;
            // Without TLS, its settings make no difference.
            is_same && (target.scheme != Scheme::Https || other.tls == tls)
        };
        let upstream = match self.known.iter().position(is_known) {
            Some(place) => place,
            None => {
                let upstream = self.upstream(target, &tls)?;
                self.known.push(Known {
                    scheme: target.scheme,
                    hosts: target.hosts.clone(),
                    tls,
                });
                self.upstreams.push(upstream);
                self.upstreams.len() - 1
            }
        };
        Ok(Target::Proxy(Arc::new(proxy::Route {
            upstream,
            base: target.base.clone().map(String::into_boxed_str),
            scheme: target.scheme.of_requests(),
            authority: target.authority.clone().into_boxed_str(),
            host: flags.upstream_host,
        })))
    }

    fn upstream(&mut self, target: &UpstreamTarget, tls: &Tls) -> Result<Upstream, ConfigError> {
        let name_of = |host: &String| {
            let name = tls.name.clone().unwrap_or(host.clone());
            ServerName::try_from(name.clone()).map_err(|_| ConfigError::UpstreamName(name))
        };
        let hosts = target.hosts.iter().map(|(host, port)| {
            let certificate = match target.scheme {
                Scheme::Https => Some(name_of(host)?),
                Scheme::Http | Scheme::H2c => None,
            };
            Ok(Host::new(host.clone(), *port, certificate))
        });
        let mut names = Names {
            upstream: target.to_string(),
            hosts: hosts.collect::<Result<_, ConfigError>>()?,
        };
        names.look_up();
        let addresses = names.addresses();
        let security = match target.scheme {
            Scheme::Http => Security::Http1,
            Scheme::H2c => Security::H2c,
            Scheme::Https => {
                let first = target.hosts.first().map(|(host, _)| host.clone());
                Security::Tls {
                    name: name_of(&first.unwrap_or_default())?,
                    config: self.tls(tls.files.clone())?,
                }
            }
        };
        self.names.push(names);
        Ok(Upstream {
            name: target.to_string(),
            addresses,
            security,
        })
    }

    /// Returns the settings of the proxies, and the most descriptors that connections to the
    /// upstreams take.
    pub(super) fn settings(
        self,
        flags: &Flags,
        workers: usize,
        options: &Options,
    ) -> Result<(proxy::Settings, u64), ConfigError> {
        let mut pool = pool_options(flags, workers, options.engine.memory_budget.clone())?;
        let addresses: usize = self.upstreams.iter().map(|to| to.addresses.len()).sum();
        limit_connections(&mut pool, &options.ledger, workers, addresses);
        let descriptors = (pool.max_connections * workers * addresses) as u64;
        let counts = !options.makes_requests_for_others.is_empty();
        let settings = proxy::Settings {
            requests: counts.then(|| Arc::clone(&options.ledger)),
            upstreams: self.upstreams,
            names: self.names,
            pool,
            trusted: flags.trust_forwarded_from.clone(),
            dropped: flags.drop_field.clone(),
        };
        Ok((settings, descriptors))
    }
}

/// Returns the options of the workers' pools.
fn pool_options(
    flags: &Flags,
    workers: usize,
    memory_budget: Option<Arc<MemoryBudget>>,
) -> Result<tidegate_pool::Options, ConfigError> {
    let mut engine = client_config();
    // What doesn't fit into this window waits at the upstream, not here.
    engine.max_stream_window_size = DOWNLOAD_WINDOW;
    // The windows of responses are counted before the responses arrive. With this limit a burst of
    // requests waits; without it, the budget would refuse the client.
    let response_windows = memory_budget.as_ref().map_or(0, |budget| {
        (budget.size() / 2 / workers.max(1) as u64).max(1)
    });
    engine.memory_budget = memory_budget;
    engine.timeouts.idle = flags.upstream_idle_timeout;
    let patience = Some(flags.upstream_timeout).filter(|limit| !limit.is_zero());
    wait_for_answers(&mut engine, patience.unwrap_or(flags.tunnel_timeout));
    let mut pool = tidegate_pool::Options::new(engine.build().map_err(ConfigError::Engine)?);
    pool.connect_timeout = flags.upstream_connect_timeout;
    pool.request_timeout = flags.upstream_timeout;
    pool.conversation_timeout = flags.tunnel_timeout;
    pool.max_idle = flags.upstream_max_idle as usize;
    pool.max_connections = flags.upstream_max_connections as usize;
    pool.max_response_windows = response_windows;
    pool.max_waiting = flags.upstream_max_waiting as usize;
    pool.proxy_protocol = flags.upstream_proxy_protocol.map(|version| match version {
        ProxyVersion::V1 => 1,
        ProxyVersion::V2 => 2,
    });
    Ok(pool)
}

/// Lowers the limit on upstream connections so that they leave descriptors for other uses.
fn limit_connections(
    pool: &mut tidegate_pool::Options,
    ledger: &Ledger,
    workers: usize,
    addresses: usize,
) {
    let wanted = pool.max_connections;
    let most = shares::upstream_connections(ledger, workers, addresses);
    pool.max_connections = wanted.min(usize::try_from(most).unwrap_or(usize::MAX));
    if addresses > 0 && pool.max_connections < wanted {
        log::warn!(
            "--upstream-max-connections {wanted}: the descriptors that the system allows are enough \
             for {most} to each address, of each worker; raise the limit of open files (ulimit -n, \
             or LimitNOFILE of systemd), or lower --max-connections"
        );
    }
}
