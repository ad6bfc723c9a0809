//! The configuration: flags checked, defaults filled in, files opened.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use tidegate_http::{Config as Proto, MemoryBudget, WallClock};
use tidegate_ledger::{Ledger, Resource};
use tidegate_net::{Options, TlsAcceptorConfig, TlsConnectorConfig, TlsError, Trust};
use tidegate_pool::{Security, Upstream, client_config, wait_for_answers};

use crate::access_log::Destination;
use crate::certificate;
use crate::command_line;
use crate::flags::{Flags, Listen, ProxyVersion, RouteTarget, Size, Switch};
use crate::handlers::lookup::Root;
use crate::handlers::{Named, demo};
use crate::memory;
use crate::path::RequestPath;
use crate::proxy::names::{Host, Names};
use crate::proxy::target::{Scheme, UpstreamTarget};
use crate::proxy::{self, DOWNLOAD_WINDOW};
use crate::push::file::FileError;
use crate::push::{self, Mode, PreloadError, PushCache};
use crate::router::Router;
use crate::shares::{self, Shared};

/// Everything that the server needs to start.
pub struct Config {
    /// Addresses to listen on for TLS.
    pub tls: Vec<Address>,
    /// Addresses to listen on for cleartext.
    pub h2c: Vec<Address>,
    /// Certificate and key, if there is an address for TLS.
    pub acceptor: Option<Arc<TlsAcceptorConfig>>,
    /// The files that the certificate was read from; `None` if it is self-signed.
    pub certificate: Option<CertificateFiles>,
    /// Whether the certificate was made at start.
    pub self_signed: bool,
    /// The target at each path.
    pub routes: Router<Target>,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Settings and limits of the loops.
    pub options: Options,
    /// Paths on which WebSockets pass to an upstream.
    pub websockets: Router<()>,
    /// The upstreams, and how requests are forwarded to them.
    pub proxy: proxy::Settings,
    /// The most descriptors that connections to the upstreams take.
    pub upstream_descriptors: u64,
    /// Whether requests' `x-priority` fields count.
    pub trust_x_priority: bool,
    /// Where the access log goes.
    pub access_log: Destination,
    /// The preload list, and whether to send hints and pushes.
    pub push: push::Options,
}

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The first choice.
    pub first: SocketAddr,
    /// The second choice, for systems without IPv6.
    pub otherwise: Option<SocketAddr>,
}

/// The target of a route.
#[derive(Clone, Debug)]
pub enum Target {
    /// The built-in site.
    Demo,
    /// A handler of this server.
    Named(Named),
    /// Files below a directory.
    Files(Root),
    /// An upstream.
    Proxy(Arc<proxy::Route>),
}

/// Why the server can't start. `Display` gives one sentence.
#[derive(Debug)]
pub enum ConfigError {
    /// Both `--listen none` and `--listen-h2c none`.
    NothingToListenOn,
    /// Two flags contradict each other. The sentence names them.
    Contradiction(String),
    /// A value is out of range.
    Proto(tidegate_http::ConfigError),
    /// A certificate or key file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A directory to serve can't be read.
    NoDirectory(PathBuf, io::Error),
    /// The system doesn't report how many files may be open.
    Descriptors(io::Error),
    /// The access log can't be opened.
    NoAccessLog(PathBuf, io::Error),
    /// Certificate and key can't be used.
    Tls {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why they can't be used.
        error: TlsError,
    },
    /// No certificate could be made.
    SelfSigned(String),
    /// The preload list's file can't be used.
    PreloadFile(FileError),
    /// The preload list can't be used.
    Preload(PreloadError),
    /// No route leads to this path of the preload list, or the route's target can't be preloaded.
    PreloadUnrouted(String),
    /// Pushes are wanted, but there is no list.
    NothingToPush,
    /// An upstream's name can't be in a certificate.
    UpstreamName(String),
    /// The files for TLS with upstreams can't be used.
    UpstreamTls(String, TlsError),
    /// No upstream serves this path of `--websocket`.
    WebSocketUnrouted(String),
}

impl ConfigError {
    /// Returns the process's exit status: 2 for a wrong command line, 1 for an error of the system.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NothingToListenOn
            | Self::Contradiction(_)
            | Self::Proto(_)
            | Self::PreloadFile(FileError::Line(..))
            | Self::Preload(_)
            | Self::PreloadUnrouted(_)
            | Self::UpstreamName(_)
            | Self::WebSocketUnrouted(_)
            | Self::NothingToPush => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingToListenOn => f.write_str(
                "there is nothing to listen on: --listen and --listen-h2c are both none",
            ),
            Self::Contradiction(sentence) => f.write_str(sentence),
            Self::Proto(error) => error.fmt(f),
            Self::Unreadable(path, error) => write!(f, "can't read {}: {error}", path.display()),
            Self::NoDirectory(path, error) => {
                write!(f, "can't serve the directory {}: {error}", path.display())?;
                if path.components().count() == 1 && path.is_relative() {
                    f.write_str("; an upstream begins with http://, h2c:// or https://")?;
                }
                Ok(())
            }
            Self::Descriptors(error) => {
                write!(f, "can't find out how many files may be open: {error}")
            }
            Self::NoAccessLog(path, error) => {
                write!(f, "can't write the access log {}: {error}", path.display())
            }
            Self::Tls { cert, key, error } => write!(
                f,
                "can't use the certificate {} with the key {}: {error}",
                cert.display(),
                key.display()
            ),
            Self::SelfSigned(error) => write!(f, "can't make a certificate: {error}"),
            Self::PreloadFile(error) => error.fmt(f),
            Self::Preload(error) => error.fmt(f),
            Self::PreloadUnrouted(path) => write!(
                f,
                "{path} can't be preloaded, because no route serves it: add a --route, or give its \
                 content in the --preload-file"
            ),
            Self::UpstreamName(name) => write!(
                f,
                "{name} can't be the name in an upstream's certificate: give a DNS name or an \
                 address with --upstream-name"
            ),
            Self::UpstreamTls(what, error) => {
                write!(f, "can't use {what} for upstreams: {error}")
            }
            Self::WebSocketUnrouted(path) => write!(
                f,
                "--websocket {path} needs a --route that leads from {path} to an upstream"
            ),
            Self::NothingToPush => f.write_str(
                "there is nothing to push: list what pages need with --preload or --preload-file",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Returns the configuration that these flags describe.
    ///
    /// # Errors
    /// The first problem that keeps the server from starting.
    pub fn new(flags: &Flags) -> Result<Self, ConfigError> {
        let tls = addresses(&flags.listen, 8443);
        let h2c = addresses(&flags.listen_h2c, 8080);
        command_line::check(flags, &[&tls[..], &h2c].concat())
            .map_err(ConfigError::Contradiction)?;
        if tls.is_empty() && h2c.is_empty() {
            return Err(ConfigError::NothingToListenOn);
        }
        let self_signed = !tls.is_empty() && flags.cert.is_none();
        let certificate = flags.cert.clone().zip(flags.key.clone());
        let certificate = certificate.map(|(cert, key)| CertificateFiles { cert, key });
        let acceptor = if tls.is_empty() {
            None
        } else {
            Some(Arc::new(acceptor(certificate.as_ref())?))
        };
        let access_log = Destination::open(flags.access_log.as_deref()).map_err(|error| {
            ConfigError::NoAccessLog(flags.access_log.clone().unwrap_or_default(), error)
        })?;

        let mut proto = Proto::server();
        proto.max_concurrent_streams = flags.max_streams;
        proto.priorities = flags.priorities;
        proto.max_stream_window_size = saturate(flags.max_stream_window);
        let quarter = || memory::available().map(|bytes| bytes / 4);
        let budget = flags.memory_budget.map(|size| size.0).or_else(quarter);
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = flags.workers.map_or_else(cores, |workers| workers as usize);
        let descriptors = shares::raise_descriptors().map_err(ConfigError::Descriptors)?;
        let budget = budget.unwrap_or(0);
        let ledger = Shared::new(flags).ledger(descriptors, workers, budget);
        proto.memory_budget = (budget > 0).then(|| MemoryBudget::of(&ledger));
        proto.timeouts.handshake = flags.handshake_timeout;
        proto.timeouts.header_block = flags.header_timeout;
        proto.timeouts.body = flags.body_timeout;
        proto.min_body_rate = saturate(flags.min_body_rate);
        proto.timeouts.write = flags.write_timeout;
        proto.timeouts.idle = flags.idle_timeout;
        proto.timeouts.shutdown = flags.shutdown_timeout;
        // RFC 8441 §3: browsers use this setting where they see it, so it is advertised only if
        // some path takes WebSockets.
        proto.enable_connect_protocol = !flags.websocket.is_empty();
        proto.wall_clock = Some(WallClock::new());
        let memory_budget = proto.memory_budget.clone();
        let mut options = Options::new(proto.build().map_err(ConfigError::Proto)?);
        options.ledger = ledger;
        options.h2c_upgrade = flags.h2c_upgrade;
        if flags.proxy_protocol {
            options.proxy_protocol_from = if flags.proxy_protocol_from.is_empty() {
                LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect()
            } else {
                flags.proxy_protocol_from.clone()
            };
        }
        options.handshake_timeout = flags.handshake_timeout;
        options.write_timeout = flags.write_timeout;
        options.notsent_lowat = saturate(flags.notsent_lowat);
        // The loop always has a limit, so 0 becomes one that no shutdown reaches.
        let no_limit = Duration::from_secs(365 * 24 * 3600);
        options.shutdown_timeout = match flags.shutdown_timeout {
            Duration::ZERO => no_limit,
            limit => limit,
        };

        let mut upstreams = Upstreams::new(flags)?;
        let mut routes = Vec::new();
        if let Some(directory) = &flags.root {
            routes.push(("/".to_owned(), files(directory)?));
        }
        for route in &flags.route {
            let target = match &route.target {
                RouteTarget::Named(named) => Target::Named(*named),
                RouteTarget::Directory(directory) => files(directory)?,
                RouteTarget::Upstream(target) => upstreams.route(target)?,
            };
            routes.push((route.path.clone(), target));
        }
        let is_demo = routes.is_empty();
        if is_demo {
            routes.push(("/".to_owned(), Target::Demo));
            let named = Named::ALL.iter();
            routes.extend(named.map(|named| (format!("/{}", named.word()), Target::Named(*named))));
        }

        let routes = Router::new(routes);
        for path in &flags.websocket {
            if !matches!(target_at(&routes, path), Some(Target::Proxy(_))) {
                return Err(ConfigError::WebSocketUnrouted(path.clone()));
            }
        }
        let websockets = flags.websocket.iter().map(|path| (path.clone(), ()));
        let websockets = Router::new(websockets);
        let are_limited = options.ledger.rule(Resource::Requests).is_limited();
        let counted = are_limited && !flags.trust_forwarded_from.is_empty();
        let requests = counted.then(|| Arc::clone(&options.ledger));
        if requests.is_some() {
            options.makes_requests_for_others = flags.trust_forwarded_from.clone();
        }
        let mut pool = pool_options(flags, workers, memory_budget)?;
        let addresses: usize = upstreams
            .upstreams
            .iter()
            .map(|to| to.addresses.len())
            .sum();
        limit_connections(&mut pool, &options.ledger, workers, addresses);
        let upstream_descriptors = (pool.max_connections * workers * addresses) as u64;
        let proxy = proxy::Settings {
            requests,
            upstreams: upstreams.upstreams,
            names: upstreams.names,
            pool,
            trusted: flags.trust_forwarded_from.clone(),
            dropped: flags.drop_field.clone(),
        };
        let mut preloads = match &flags.preload_file {
            Some(file) => push::file::read(file).map_err(ConfigError::PreloadFile)?,
            None => Vec::new(),
        };
        preloads.extend(flags.preload.iter().cloned());
        let is_built_in = preloads.is_empty() && is_demo;
        if is_built_in {
            preloads.extend(demo::preloads());
        }
        let list = PushCache::new(preloads).map_err(ConfigError::Preload)?;
        check_routed(&list, &routes)?;
        if list.is_empty() && flags.push != Mode::Off {
            return Err(ConfigError::NothingToPush);
        }
        let push = push::Options {
            list: Arc::new(list),
            // The demo site mostly has a certificate that nobody trusts. Browsers don't cache what
            // comes over such a connection, so they would load hinted resources twice.
            early_hints: flags
                .early_hints
                .map_or(!is_built_in, |early_hints| early_hints == Switch::On),
            mode: flags.push,
        };

        Ok(Self {
            tls,
            h2c,
            acceptor,
            certificate,
            self_signed,
            routes,
            websockets,
            proxy,
            upstream_descriptors,
            workers,
            options,
            trust_x_priority: flags.trust_x_priority == Switch::On,
            access_log,
            push,
        })
    }
}

/// Returns the target at a path that was typed.
fn target_at<'r>(routes: &'r Router<Target>, path: &str) -> Option<&'r Target> {
    let path = RequestPath::read(path.as_bytes()).ok()?;
    routes.find(&path).map(|found| found.target)
}

/// Checks that a GET of each path in the list returns content: uploads and echoes have none.
fn check_routed(list: &PushCache, routes: &Router<Target>) -> Result<(), ConfigError> {
    let has_content = |path: &str| match target_at(routes, path) {
        Some(Target::Files(_) | Target::Demo | Target::Proxy(_)) => true,
        Some(Target::Named(named)) => named.has_content(),
        None => false,
    };
    match list.routed().find(|path| !has_content(path)) {
        None => Ok(()),
        Some(path) => Err(ConfigError::PreloadUnrouted(path.to_owned())),
    }
}

/// The default of `--proxy-protocol-from`.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Returns the options of the workers' pools.
fn pool_options(
    flags: &Flags,
    workers: usize,
    memory_budget: Option<Arc<MemoryBudget>>,
) -> Result<tidegate_pool::Options, ConfigError> {
    let mut proto = client_config();
    // What doesn't fit into this window waits at the upstream, not here.
    proto.max_stream_window_size = DOWNLOAD_WINDOW;
    // The windows of responses are counted before the responses arrive. With this limit a burst of
    // requests waits; without it, the budget would refuse the client.
    let response_windows = memory_budget.as_ref().map_or(0, |budget| {
        (budget.size() / 2 / workers.max(1) as u64).max(1)
    });
    proto.memory_budget = memory_budget;
    proto.timeouts.idle = flags.upstream_idle_timeout;
    let patience = Some(flags.upstream_timeout).filter(|limit| !limit.is_zero());
    wait_for_answers(&mut proto, patience.unwrap_or(flags.tunnel_timeout));
    let mut pool = tidegate_pool::Options::new(proto.build().map_err(ConfigError::Proto)?);
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

/// Collects the upstreams of the routes. Routes to the same upstream share its connections.
struct Upstreams<'a> {
    flags: &'a Flags,
    targets: Vec<(Scheme, Vec<(String, u16)>)>,
    upstreams: Vec<Upstream>,
    names: Vec<Names>,
    /// Made for the first upstream that needs it.
    tls: Option<Arc<TlsConnectorConfig>>,
}

impl<'a> Upstreams<'a> {
    fn new(flags: &'a Flags) -> Result<Self, ConfigError> {
        let mut upstreams = Self {
            flags,
            targets: Vec::new(),
            upstreams: Vec::new(),
            names: Vec::new(),
            tls: None,
        };
        if flags.upstream_ca.is_some() || flags.upstream_cert.is_some() {
            // A mistake in the files is an error even if no upstream needs them.
            upstreams.tls()?;
        }
        Ok(upstreams)
    }

    fn tls(&mut self) -> Result<Arc<TlsConnectorConfig>, ConfigError> {
        if let Some(tls) = &self.tls {
            return Ok(Arc::clone(tls));
        }
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| ConfigError::Unreadable(path.clone(), error))
        };
        let (trust, what) = match &self.flags.upstream_ca {
            None => (Trust::System, "the system's authorities".to_owned()),
            Some(path) => (Trust::Pem(read(path)?), path.display().to_string()),
        };
        let tls = match (&self.flags.upstream_cert, &self.flags.upstream_key) {
            (Some(cert), Some(key)) => {
                let what = format!("{what} and {}", cert.display());
                let (chain, private) = (read(cert)?, read(key)?);
                TlsConnectorConfig::new(&trust, Some((&chain, &private)))
                    .map_err(|error| ConfigError::UpstreamTls(what, error))?
            }
            _ => TlsConnectorConfig::new(&trust, None)
                .map_err(|error| ConfigError::UpstreamTls(what, error))?,
        };
        Ok(Arc::clone(self.tls.insert(Arc::new(tls))))
    }

    fn route(&mut self, target: &UpstreamTarget) -> Result<Target, ConfigError> {
        let known = (target.scheme, target.hosts.clone());
        let place = self.targets.iter().position(|other| *other == known);
        let upstream = match place {
            Some(place) => place,
            None => {
                let upstream = self.upstream(target)?;
                self.targets.push(known);
                self.upstreams.push(upstream);
                self.upstreams.len() - 1
            }
        };
        Ok(Target::Proxy(Arc::new(proxy::Route {
            upstream,
            base: target.base.clone().map(String::into_boxed_str),
            scheme: target.scheme.of_requests(),
            authority: target.authority.clone().into_boxed_str(),
            host: self.flags.upstream_host,
        })))
    }

    fn upstream(&mut self, target: &UpstreamTarget) -> Result<Upstream, ConfigError> {
        let name_of = |host: &String| {
            let name = self.flags.upstream_name.clone().unwrap_or(host.clone());
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
                    config: self.tls()?,
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
}

/// Converts to `u32`. The engine refuses values that are too large for it.
fn saturate(size: Size) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX)
}

/// Returns the addresses that were typed, or this port if none were.
fn addresses(typed: &[Listen], default: u16) -> Vec<Address> {
    let typed = if typed.is_empty() {
        &[Listen::Everywhere(default)]
    } else {
        typed
    };
    let address = |listen: &Listen| match *listen {
        Listen::None => None,
        Listen::Everywhere(port) => Some(Address {
            first: (Ipv6Addr::UNSPECIFIED, port).into(),
            otherwise: Some((Ipv4Addr::UNSPECIFIED, port).into()),
        }),
        Listen::At(first) => Some(Address {
            first,
            otherwise: None,
        }),
    };
    typed.iter().filter_map(address).collect()
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The certificate's chain.
    pub cert: PathBuf,
    /// The certificate's key; may be the same file.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Reads both files again, for all later handshakes.
    ///
    /// # Errors
    /// When a file can't be read or used; the former certificate stays in use then.
    pub fn reload(&self, current: &TlsAcceptorConfig) -> Result<(), ConfigError> {
        current.replace_certificate(&acceptor(Some(self))?);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))
}

fn acceptor(files: Option<&CertificateFiles>) -> Result<TlsAcceptorConfig, ConfigError> {
    let Some(files) = files else {
        let pem = certificate::self_signed()
            .map_err(|error| ConfigError::SelfSigned(error.to_string()))?;
        return TlsAcceptorConfig::from_pem(pem.certificate.as_bytes(), pem.key.as_bytes())
            .map_err(|error| ConfigError::SelfSigned(error.to_string()));
    };
    let CertificateFiles { cert, key } = files;
    let (chain, private) = (read(cert)?, read(key)?);
    match TlsAcceptorConfig::from_pem(&chain, &private) {
        Ok(acceptor) => {
            if let Some(problem) = acceptor.validity().and_then(out_of_date) {
                log::warn!("the certificate {} {problem}", cert.display());
            }
            Ok(acceptor)
        }
        Err(error) => Err(ConfigError::Tls {
            cert: cert.clone(),
            key: key.clone(),
            error,
        }),
    }
}

/// Returns what is wrong with a certificate's dates, if anything is.
fn out_of_date(validity: &RangeInclusive<SystemTime>) -> Option<String> {
    let now = SystemTime::now();
    let date = |time: &SystemTime| httpdate::fmt_http_date(*time);
    if now > *validity.end() {
        let date = date(validity.end());
        return Some(format!(
            "expired on {date}: clients refuse it until it is renewed"
        ));
    }
    (now < *validity.start()).then(|| {
        let date = date(validity.start());
        format!("isn't valid before {date}: clients refuse it until then, or the clock is wrong")
    })
}

fn files(directory: &Path) -> Result<Target, ConfigError> {
    match Root::new(directory) {
        Ok(root) => Ok(Target::Files(root)),
        Err(error) => Err(ConfigError::NoDirectory(directory.to_owned(), error)),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn config(line: &str) -> Result<Config, ConfigError> {
        let words = std::iter::once("tidegate").chain(line.split_whitespace());
        Config::new(&Flags::try_parse_from(words).unwrap())
    }

    fn error(line: &str) -> ConfigError {
        match config(line) {
            Ok(_) => panic!("{line} is fine"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_start_without_flags() {
        let config = config("").unwrap();
        assert_eq!(config.tls[0].first, "[::]:8443".parse().unwrap());
        assert_eq!(
            config.tls[0].otherwise,
            Some("0.0.0.0:8443".parse().unwrap())
        );
        assert_eq!(config.h2c[0].first, "[::]:8080".parse().unwrap());
        assert!(config.self_signed && config.acceptor.is_some() && config.workers >= 1);
        assert_eq!(config.options.proto.max_concurrent_streams, 1000);
        assert_eq!(config.options.proto.max_stream_window_size, 16 << 20);
        assert!(config.options.proto.memory_budget.is_some());
        assert!(matches!(
            target_at(&config.routes, "/x"),
            Some(Target::Demo)
        ));
        assert!(matches!(
            target_at(&config.routes, "/status"),
            Some(Target::Named(Named::Status))
        ));
        assert!(matches!(
            target_at(&config.routes, "/upload"),
            Some(Target::Named(Named::Upload))
        ));
        assert!(matches!(
            target_at(&config.routes, "/echo"),
            Some(Target::Named(Named::Echo))
        ));
    }

    #[test]
    fn any_route_replaces_the_built_in_ones() {
        let config = config("--listen none --route /health=status").unwrap();
        assert!(config.acceptor.is_none() && !config.self_signed);
        assert!(target_at(&config.routes, "/").is_none());
        assert!(target_at(&config.routes, "/echo").is_none());
        assert!(matches!(
            target_at(&config.routes, "/health"),
            Some(Target::Named(Named::Status))
        ));
    }

    #[test]
    fn dates_of_certificates() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(out_of_date(&(now - day..=now + day)), None);
        let past = out_of_date(&(now - 2 * day..=now - day)).unwrap();
        assert!(past.starts_with("expired on "), "{past}");
        let future = out_of_date(&(now + day..=now + 2 * day)).unwrap();
        assert!(future.starts_with("isn't valid before "), "{future}");
    }

    #[test]
    fn root_is_a_route() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("--listen none --root {}", dir.path().display());
        let config = config(&line).unwrap();
        assert!(matches!(
            target_at(&config.routes, "/a"),
            Some(Target::Files(_))
        ));
    }

    #[test]
    fn flags_reach_their_settings() {
        let config = config(
            "--listen none --listen-h2c 1 --listen-h2c 127.0.0.1:2 --workers 3 --max-streams 7 \
             --max-stream-window 1M --memory-budget 512M --idle-timeout 1s --handshake-timeout 2s \
             --header-timeout 3s --body-timeout 4s --min-body-rate 1K --write-timeout 5s \
             --shutdown-timeout 6s",
        )
        .unwrap();
        let ports: Vec<u16> = config
            .h2c
            .iter()
            .map(|address| address.first.port())
            .collect();
        assert_eq!((ports, config.workers), (vec![1, 2], 3));
        let Options {
            proto,
            handshake_timeout,
            write_timeout,
            shutdown_timeout,
            ..
        } = &config.options;
        let seconds = Duration::from_secs;
        assert_eq!(proto.max_concurrent_streams, 7);
        assert_eq!(proto.max_stream_window_size, 1 << 20);
        let budget = proto.memory_budget.as_ref().map(|budget| budget.size());
        assert_eq!(budget, Some(512 << 20));
        assert_eq!(proto.timeouts.idle, seconds(1));
        assert_eq!(
            (proto.timeouts.handshake, *handshake_timeout),
            (seconds(2), seconds(2))
        );
        assert_eq!(proto.timeouts.header_block, seconds(3));
        assert_eq!(proto.timeouts.body, seconds(4));
        assert_eq!(proto.min_body_rate, 1024);
        assert_eq!(
            (proto.timeouts.write, *write_timeout),
            (seconds(5), seconds(5))
        );
        assert_eq!(
            (proto.timeouts.shutdown, *shutdown_timeout),
            (seconds(6), seconds(6))
        );
    }

    #[test]
    fn the_demo_page_has_a_preload_list_unless_another_is_given() {
        let demo = config("--listen none --push on").unwrap().push;
        assert!(!demo.early_hints, "off by default");
        assert!(config("--early-hints on").unwrap().push.early_hints);
        let hinted = config("--listen none --preload /=/tide.svg").unwrap();
        assert!(hinted.push.early_hints);
        assert_eq!((demo.list.links("/").len(), demo.mode), (3, Mode::On));
        let own = config("--listen none --preload /=/tide.svg --early-hints off").unwrap();
        assert_eq!(
            own.push.list.links("/"),
            ["</tide.svg>; rel=preload; as=image"]
        );
        assert!(!own.push.early_hints && own.push.mode == Mode::Off);
        let routed = config("--listen none --route /health=status").unwrap();
        assert!(routed.push.list.is_empty());
    }

    #[test]
    fn a_preload_list_needs_routes_or_content() {
        for (line, words) in [
            (
                "--push on --route /health=status",
                "there is nothing to push",
            ),
            (
                "--preload /=/a.css --route /a=status",
                "/ can't be preloaded, because no route serves it",
            ),
            (
                "--preload /a=/b.css --route /a=status",
                "/b.css can't be preloaded, because no route",
            ),
            (
                "--preload /a=/b.css --route /a=status --route /b.css=echo",
                "/b.css can't",
            ),
            ("--preload /=/style", "as = \"style\""),
            ("--preload /=//host/style.css", "begins with one /"),
        ] {
            let error = error(&format!("--listen none {line}"));
            assert!(error.to_string().contains(words), "{line}: {error}");
            assert_eq!(error.exit_status(), 2, "{line}");
        }
        let missing = error("--listen none --preload-file /nonexistent");
        assert_eq!(missing.exit_status(), 1);

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("preload.toml");
        let line = format!(
            "--listen none --route /a=status --preload-file {}",
            file.display()
        );
        let text = "[[resource]]\npath = \"/b.css\"\npages = [\"/a\"]\ncontent = \"x\"";
        fs::write(&file, text).unwrap();
        assert_eq!(config(&line).unwrap().push.list.links("/a").len(), 1);
        fs::write(&file, text.replace("pages", "page")).unwrap();
        assert_eq!(error(&line).exit_status(), 2);
    }

    #[test]
    fn errors_are_sentences() {
        let nothing = error("--listen none --listen-h2c none");
        assert_eq!(nothing.exit_status(), 2);
        let missing = error("--cert /nonexistent/cert.pem --key /nonexistent/key.pem");
        assert_eq!(missing.exit_status(), 1);
        assert_eq!(
            missing.to_string(),
            "can't read /nonexistent/cert.pem: No such file or directory (os error 2)"
        );
        let missing = error("--root /nonexistent");
        assert!(
            missing
                .to_string()
                .starts_with("can't serve the directory /nonexistent: ")
        );
        let missing = error("--access-log /nonexistent/log");
        assert!(
            missing
                .to_string()
                .starts_with("can't write the access log /nonexistent/log: ")
        );
    }
}
