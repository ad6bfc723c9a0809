//! The upstreams of the routes, and the pools of connections to them.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tidegate_http::MemoryBudget;
use tidegate_net::{Options, TlsConnectorConfig, Trust};
use tidegate_pool::{Limits, Security, Upstream, client_config, wait_for_answers};

use super::ConfigError;
use crate::flags::{Flags, ProxyVersion};
use crate::proxy::names::{Host, Names};
use crate::proxy::target::{NamedTarget, Scheme, UpstreamTarget};
use crate::proxy::{self, DOWNLOAD_WINDOW};
use crate::settings::UpstreamSettings;
use crate::settings::alike;
use crate::shares;
use crate::site::Target;

/// Collects the upstreams of the routes. Routes to the same upstream share its connections.
pub(super) struct Upstreams<'s> {
    /// The upstreams that have names.
    named: &'s [UpstreamSettings],
    known: Vec<Known>,
    names: Vec<Names>,
    /// The settings for TLS that upstreams need.
    tls: Vec<(Files, Arc<TlsConnectorConfig>)>,
}

/// An upstream that some route has.
struct Known {
    scheme: Scheme,
    hosts: Vec<(String, u16)>,
    policy: Policy,
    security: Security,
}

impl Known {
    /// Returns what tells the upstream's connections from those of others. Upstreams of two
    /// configurations with the same key share them.
    fn key(&self) -> String {
        let Policy {
            tls,
            proxy_protocol,
            ..
        } = &self.policy;
        format!("{:?}", (self.scheme, &self.hosts, tls, proxy_protocol))
    }
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

/// The settings of an upstream's connections and requests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    /// `None` in cleartext.
    tls: Option<Tls>,
    connect_timeout: Duration,
    timeout: Duration,
    tunnel_timeout: Duration,
    idle_timeout: Duration,
    max_connections: u32,
    proxy_protocol: Option<ProxyVersion>,
}

impl Files {
    fn of(flags: &Flags) -> Self {
        Self {
            ca: flags.upstream_ca.clone(),
            cert: flags.upstream_cert.clone(),
            key: flags.upstream_key.clone(),
        }
    }
}

impl Policy {
    fn of(scheme: Scheme, flags: &Flags) -> Self {
        let tls = || Tls {
            files: Files::of(flags),
            name: flags.upstream_name.clone(),
        };
        Self {
            tls: (scheme == Scheme::Https).then(tls),
            connect_timeout: flags.upstream_connect_timeout,
            timeout: flags.upstream_timeout,
            tunnel_timeout: flags.tunnel_timeout,
            idle_timeout: flags.upstream_idle_timeout,
            max_connections: flags.upstream_max_connections,
            proxy_protocol: flags.upstream_proxy_protocol,
        }
    }

    /// Returns the options of the upstream in each worker's pool. Its connections' memory counts in
    /// the budget.
    fn options(
        &self,
        workers: usize,
        memory_budget: Option<&Arc<MemoryBudget>>,
    ) -> Result<tidegate_pool::Options, ConfigError> {
        let mut engine = client_config();
        // What doesn't fit into this window waits at the upstream, not here.
        engine.max_stream_window_size = DOWNLOAD_WINDOW;
        engine.memory_budget = memory_budget.cloned();
        engine.timeouts.idle = self.idle_timeout;
        let patience = Some(self.timeout).filter(|limit| !limit.is_zero());
        wait_for_answers(&mut engine, patience.unwrap_or(self.tunnel_timeout));
        let mut pool = tidegate_pool::Options::new(engine.build().map_err(ConfigError::Engine)?);
        pool.connect_timeout = self.connect_timeout;
        pool.request_timeout = self.timeout;
        pool.conversation_timeout = self.tunnel_timeout;
        pool.max_connections = self.max_connections as usize;
        // The windows of responses are counted before the responses arrive. With this limit a burst
        // of requests waits; without it, the budget would refuse the client.
        pool.max_response_windows = memory_budget.map_or(0, |budget| {
            (budget.size() / 2 / workers.max(1) as u64).max(1)
        });
        pool.proxy_protocol = self.proxy_protocol.map(|version| match version {
            ProxyVersion::V1 => 1,
            ProxyVersion::V2 => 2,
        });
        Ok(pool)
    }
}

impl<'s> Upstreams<'s> {
    /// Returns the collection of a server whose routes may lead to these upstreams by name.
    pub(super) fn new(named: &'s [UpstreamSettings]) -> Self {
        Self {
            named,
            known: Vec::new(),
            names: Vec::new(),
            tls: Vec::new(),
        }
    }

    /// Checks the files for TLS. A mistake in them is an error even if no upstream needs them.
    pub(super) fn check(&mut self, flags: &Flags) -> Result<(), ConfigError> {
        if flags.upstream_ca.is_some() || flags.upstream_cert.is_some() {
            self.tls(Files::of(flags))?;
        }
        Ok(())
    }

    /// Checks the upstreams that have names, used or not.
    pub(super) fn check_named(&mut self) -> Result<(), ConfigError> {
        for (place, named) in self.named.iter().enumerate() {
            let checked = self
                .check(&named.flags)
                .and_then(|()| self.find(&named.target, &named.flags).map(drop));
            checked.map_err(|error| error.of_upstream(place))?;
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
                TlsConnectorConfig::new(&trust, Some((&chain, &private))).map_err(|error| {
                    ConfigError::UpstreamTls(what, error).about("upstream-cert", 0)
                })?
            }
            _ => TlsConnectorConfig::new(&trust, None)
                .map_err(|error| ConfigError::UpstreamTls(what, error).about("upstream-ca", 0))?,
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
        let upstream = self.find(target, flags)?;
        Ok(to(upstream, target, target.base.as_deref(), flags))
    }

    /// Returns the target of a route to an upstream that has a name, with the route's own flags.
    pub(super) fn route_to_named(
        &mut self,
        target: &NamedTarget,
        flags: &Flags,
    ) -> Result<Target, ConfigError> {
        let mut named = self.named.iter();
        let Some(named) = named.find(|named| named.name == target.name) else {
            let names = self.named.iter().map(|named| &*named.name);
            let alike = alike(&target.name, names);
            return Err(ConfigError::UnknownUpstream(
                target.name.clone(),
                alike.map(str::to_owned),
            ));
        };
        let upstream = self.find(&named.target, &named.flags)?;
        Ok(to(upstream, &named.target, target.base.as_deref(), flags))
    }

    /// Returns the index of an upstream, which is added if no other has its addresses and settings.
    fn find(&mut self, target: &UpstreamTarget, flags: &Flags) -> Result<usize, ConfigError> {
        let policy = Policy::of(target.scheme, flags);
        let is_known = |other: &Known| {
            let is_same = other.scheme == target.scheme && other.hosts == target.hosts;
            is_same && other.policy == policy
        };
        if let Some(place) = self.known.iter().position(is_known) {
            return Ok(place);
        }
        let security = self.add_names(target, policy.tls.as_ref())?;
        self.known.push(Known {
            scheme: target.scheme,
            hosts: target.hosts.clone(),
            policy,
            security,
        });
        Ok(self.known.len() - 1)
    }

    /// Adds the names of an upstream, and returns its protocol.
    fn add_names(
        &mut self,
        target: &UpstreamTarget,
        tls: Option<&Tls>,
    ) -> Result<Security, ConfigError> {
        let name_of = |host: &String, tls: &Tls| {
            let name = tls.name.clone().unwrap_or(host.clone());
            ServerName::try_from(name.clone()).map_err(|_| {
                let error = ConfigError::UpstreamName(name);
                match tls.name {
                    Some(_) => error.about("upstream-name", 0),
                    None => error,
                }
            })
        };
        let hosts = target.hosts.iter().map(|(host, port)| {
            let certificate = tls.map(|tls| name_of(host, tls)).transpose()?;
            Ok(Host::new(host.clone(), *port, certificate))
        });
        let mut names = Names {
            upstream: target.to_string(),
            hosts: hosts.collect::<Result<_, ConfigError>>()?,
        };
        names.look_up();
        self.names.push(names);
        Ok(match tls {
            Some(tls) => {
                let first = target.hosts.first().map(|(host, _)| host.clone());
                Security::Tls {
                    name: name_of(&first.unwrap_or_default(), tls)?,
                    config: self.tls(tls.files.clone())?,
                }
            }
            None if target.scheme == Scheme::H2c => Security::H2c,
            None => Security::Http1,
        })
    }

    /// Returns the settings of the proxies, and the most descriptors that connections to the
    /// upstreams take.
    pub(super) fn settings(
        self,
        flags: &Flags,
        workers: usize,
        options: &Options,
        generation: u64,
    ) -> Result<(proxy::Settings, u64), ConfigError> {
        let budget = options.engine.memory_budget.as_ref();
        let addresses: Vec<_> = self.names.iter().map(Names::addresses).collect();
        let all = addresses.iter().map(Vec::len).sum();
        let most = shares::upstream_connections(&options.ledger, workers, all);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let keys = self.known.iter().map(Known::key).collect();
        let (mut upstreams, mut descriptors) = (Vec::with_capacity(self.known.len()), 0);
        let mut is_warned = false;
        for ((known, names), addresses) in self.known.into_iter().zip(&self.names).zip(addresses) {
            let mut options = known.policy.options(workers, budget)?;
            let wanted = options.max_connections;
            // Connections to upstreams leave descriptors for other uses.
            options.max_connections = wanted.min(most);
            if wanted > most && !addresses.is_empty() && !is_warned {
                is_warned = true;
                warn_of_descriptors(wanted, most);
            }
            descriptors += (options.max_connections * workers * addresses.len()) as u64;
            upstreams.push(Upstream {
                name: names.upstream.clone(),
                addresses,
                security: known.security,
                options: Arc::new(options),
            });
        }
        let mut pool = Limits::default();
        pool.max_idle = flags.upstream_max_idle as usize;
        pool.max_waiting = flags.upstream_max_waiting as usize;
        let counts = !options.makes_requests_for_others.is_empty();
        let settings = proxy::Settings {
            requests: counts.then(|| Arc::clone(&options.ledger)),
            generation,
            upstreams,
            keys,
            names: self.names,
            pool,
            trusted: flags.trust_forwarded_from.clone(),
            dropped: flags.drop_field.clone(),
            request_id: flags.request_id,
            trace_context: flags.trace_context,
        };
        Ok((settings, descriptors))
    }
}

/// Returns a route to an upstream, with the path that replaces the route's and the route's flags.
fn to(upstream: usize, target: &UpstreamTarget, base: Option<&str>, flags: &Flags) -> Target {
    Target::Proxy(Arc::new(proxy::Route {
        upstream,
        base: base.map(Into::into),
        scheme: target.scheme.of_requests(),
        authority: target.authority.clone().into_boxed_str(),
        host: flags.upstream_host,
    }))
}

fn warn_of_descriptors(wanted: usize, most: usize) {
    log::warn!(
        "--upstream-max-connections {wanted}: the descriptors that the system allows are enough for \
         {most} to each address, of each worker; raise the limit of open files (ulimit -n, or \
         LimitNOFILE of systemd), or lower --max-connections"
    );
}
