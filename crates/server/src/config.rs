//! The configuration: flags checked, defaults filled in, files opened.
//!
//! - `access_logs`     the access logs of all sites
//! - `listeners`       addresses and the certificate
//! - `lasting`         parts that last as long as the process
//! - `engine`          settings and limits of the loops and their engines
//! - `upstreams`       the upstreams, and the pools of connections to them
//! - `tls`             settings of TLS, and what sites ask of their clients' certificates
//! - `trace`           which connections are traced, and the file
//! - `routes`          the target at each path
//! - `preload`         the preload list
//! - `seen`            files as they were before they were read
//! - `contradictions`  flags that contradict each other
//! - `error`           why the server can't start

mod access_logs;
mod contradictions;
mod engine;
mod error;
mod lasting;
mod listeners;
mod preload;
mod routes;
mod seen;
mod tls;
mod trace;
mod upstreams;

use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use tidegate_http::WallClock;
use tidegate_net::{Options, Port};

use crate::admin::AdminSettings;
use crate::client_access::ClientAccess;
use crate::flags::{Flags, Switch};
use crate::handlers::files;
use crate::hosts::Hosts;
use crate::proxy::goes_on;
use crate::router::Router;
use crate::settings::{Origins, SiteSettings, UpstreamSettings};
use crate::site::{Served, Site};
use access_logs::AllLogs;
pub use error::{ConfigError, Whose};
pub use lasting::Lasting;
use listeners::SiteCertificates;
pub use listeners::{Address, Certificates, Listeners};
use routes::Routes;
pub use seen::Seen;
use upstreams::Upstreams;

/// Everything that the server needs to start, or to go on in another way.
pub struct Config {
    /// The addresses to listen on, and the certificate.
    pub listeners: Listeners,
    /// The settings of the admin listener.
    pub admin: AdminSettings,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Descriptors that the process may have.
    pub descriptors: u64,
    /// Settings and limits of the loops.
    pub options: Options,
    /// The sites, which all workers serve.
    pub served: Served,
    /// Parts that the next configuration of this process takes over.
    pub lasting: Lasting,
}

impl Config {
    /// Returns the configuration that these flags describe, with one site.
    ///
    /// # Errors
    /// The first problem that keeps the server from starting.
    pub fn new(flags: &Flags) -> Result<Self, ConfigError> {
        let site = SiteSettings::default_of(flags, &Origins::default());
        Self::with_sites(flags, &[site], &[])
    }

    /// Returns the configuration of a server with these sites, and with these upstreams that have
    /// names.
    ///
    /// # Errors
    /// The first problem that keeps the server from starting.
    pub fn with_sites(
        flags: &Flags,
        sites: &[SiteSettings],
        upstreams: &[UpstreamSettings],
    ) -> Result<Self, ConfigError> {
        Self::following(flags, sites, upstreams, None)
    }

    /// Returns the configuration of a server with these sites. If it runs already, what lasts as
    /// long as its process is taken over from the former configuration.
    ///
    /// # Errors
    /// The first problem that keeps the server from starting, or from taking over.
    pub fn following(
        flags: &Flags,
        sites: &[SiteSettings],
        upstreams: &[UpstreamSettings],
        former: Option<&Lasting>,
    ) -> Result<Self, ConfigError> {
        let https = listeners::addresses(&flags.listen, 8443);
        let h2c = listeners::addresses(&flags.listen_h2c, 8080);
        contradictions::check_ports(flags, &[&https[..], &h2c].concat())?;
        contradictions::check_admin(flags)?;
        for (place, site) in sites.iter().enumerate() {
            contradictions::check_routes(&site.flags).map_err(|error| error.of_site(place))?;
        }
        // Changes after this are noticed, so nothing is read before.
        let files = Certificates::of(flags, sites)?;
        let access = tls::access(sites)?;
        if !https.is_empty() {
            contradictions::check_addresses(sites, &access)?;
        }
        let mut kept = match former {
            Some(former) => former.tls.clone(),
            None => tls::Kept::default(),
        };
        let (mut listeners, certificates) =
            Listeners::new(flags, https, h2c, sites, &access, files, &mut kept)?;
        if flags.reuse_port {
            listeners.port = Port::Shared;
        }
        let open_logs = former.map_or(&[][..], |former| &former.access_logs);
        let AllLogs {
            logs,
            of_sites,
            open: open_logs,
        } = access_logs::open(flags, sites, open_logs)?;
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let workers = match former {
            Some(former) => former.workers,
            None => flags.workers.map_or_else(cores, |workers| workers as usize),
        };
        let shared = match former {
            Some(former) => former.shared.clone(),
            None => engine::shared(flags, workers)?,
        };
        let wall_clock = former.map_or_else(WallClock::new, |former| former.wall_clock.clone());
        let has_websockets = sites.iter().any(|site| !site.flags.websocket.is_empty());
        let options = engine::options(flags, has_websockets, &shared, wall_clock.clone())?;
        let trace = trace::settings(flags, former, &options.engine)?;
        let mut upstreams = Upstreams::new(upstreams);
        upstreams.check_named()?;
        let mut served = Vec::with_capacity(sites.len());
        let takes_early_data = tls::takes_early_data(sites);
        for (place, settings) in sites.iter().enumerate() {
            let site = site(settings, &mut upstreams).map(|site| Site {
                clients: access[place].clone(),
                log: of_sites[place],
                early_data: takes_early_data.then(|| Arc::new(early_data(settings))),
                ..site
            });
            served.push(site.map_err(|error| error.of_site(place))?);
        }
        let generation = former.map_or(0, |former| former.generation + 1);
        let (mut proxy, upstream_descriptors) =
            upstreams.settings(flags, workers, &options, generation)?;
        let told = tls::told_names(sites).into_iter();
        proxy.dropped.extend(told.filter(|name| {
            // Most of these go on from no stranger anyway.
            goes_on(name, false) && !flags.drop_field.contains(name)
        }));
        let files = match former {
            Some(former) => former.files.clone(),
            None => files::Shared::new(&options.ledger, upstream_descriptors),
        };
        let files = files::Shared {
            check_every: flags.check_files,
            ..files
        };
        let lasting = Lasting {
            flags: former.map_or_else(|| flags.clone(), |former| former.flags.clone()),
            generation,
            workers,
            shared: shared.clone(),
            wall_clock: wall_clock.clone(),
            files: files.clone(),
            access_logs: open_logs,
            trace: trace.clone(),
            tls: kept,
        };
        let served = Served {
            hosts: hosts(sites, certificates, &access),
            unknown_host: flags.unknown_host,
            sites: served,
            proxy: Arc::new(proxy),
            logs,
            trace: trace.map(|(_, settings)| settings),
            wall_clock,
            time_of_day: SystemTime::now,
            files,
        };
        Ok(Self {
            listeners,
            admin: AdminSettings {
                address: flags.operators.admin.clone(),
                names: flags.operators.admin_name.clone(),
                write: flags.operators.admin_write,
            },
            workers,
            descriptors: shared.descriptors,
            options,
            served,
            lasting,
        })
    }
}

/// Makes one site.
fn site(settings: &SiteSettings, upstreams: &mut Upstreams<'_>) -> Result<Site, ConfigError> {
    let flags = &settings.flags;
    upstreams.check(flags)?;
    let routes = Routes::new(settings, upstreams)?;
    let push = preload::options(flags, &routes)?;
    Ok(Site {
        name: settings.names.first().map_or("default", |name| name).into(),
        routes: Arc::new(routes.all),
        rules: routes::rules(flags),
        websockets: Arc::new(routes.websockets),
        trust_x_priority: flags.trust_x_priority == Switch::On,
        push,
        clients: None,
        log: None,
        early_data: None,
    })
}

/// Returns which site is for which host, unless there is only one for all.
fn hosts(
    sites: &[SiteSettings],
    certificates: SiteCertificates,
    access: &[Option<Arc<ClientAccess>>],
) -> Option<Arc<Hosts>> {
    if let [site] = sites
        && site.names.is_empty()
    {
        return None;
    }
    let SiteCertificates { of_sites, names } = certificates;
    let sites = sites.iter().map(|site| &*site.names).zip(of_sites);
    // Sites that ask the same of their clients have the same number.
    let number = |one: &Option<Arc<ClientAccess>>| {
        let one = &one.as_ref()?.clients;
        let mut others = access.iter();
        others.position(|other| other.as_ref().is_some_and(|other| other.clients == *one))
    };
    let policies = access.iter().map(number).collect();
    Some(Arc::new(Hosts::new(sites, names).with_policies(policies)))
}

/// Returns which routes of a site take early data.
fn early_data(settings: &SiteSettings) -> Router<Switch> {
    let site = ("/".to_owned(), settings.flags.early_data);
    let routes = settings.flags.route.iter().zip(&settings.routes);
    let routes = routes.map(|(route, own)| (route.path.clone(), own.flags.early_data));
    Router::new(std::iter::once(site).chain(routes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::routes::target_at;
    use super::*;
    use crate::handlers::Named;
    use crate::site::Target;

    pub(super) fn config(line: &str) -> Result<Config, ConfigError> {
        let words = std::iter::once("tidegate").chain(line.split_whitespace());
        Config::new(&Flags::try_parse_from(words).unwrap())
    }

    pub(super) fn error(line: &str) -> ConfigError {
        match config(line) {
            Ok(_) => panic!("{line} is fine"),
            Err(error) => error,
        }
    }

    #[test]
    fn a_start_without_flags() {
        let config = config("").unwrap();
        assert_eq!(config.listeners.tls[0].first, "[::]:8443".parse().unwrap());
        assert_eq!(
            config.listeners.tls[0].otherwise,
            Some("0.0.0.0:8443".parse().unwrap())
        );
        assert_eq!(config.listeners.h2c[0].first, "[::]:8080".parse().unwrap());
        assert!(
            config.listeners.self_signed
                && config.listeners.acceptor.is_some()
                && config.workers >= 1
        );
        assert_eq!(config.options.engine.max_concurrent_streams, 1000);
        assert_eq!(config.options.engine.max_stream_window_size, 16 << 20);
        assert!(config.options.engine.memory_budget.is_some());
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/x"),
            Some(Target::Demo)
        ));
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/status"),
            Some(Target::Named(Named::Status))
        ));
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/upload"),
            Some(Target::Named(Named::Upload))
        ));
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/echo"),
            Some(Target::Named(Named::Echo))
        ));
    }

    #[test]
    fn any_route_replaces_the_built_in_ones() {
        let config = config("--listen none --route /health=status").unwrap();
        assert!(config.listeners.acceptor.is_none() && !config.listeners.self_signed);
        assert!(target_at(&config.served.sites[0].routes, "/").is_none());
        assert!(target_at(&config.served.sites[0].routes, "/echo").is_none());
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/health"),
            Some(Target::Named(Named::Status))
        ));
    }

    #[test]
    fn root_is_a_route() {
        let dir = tempfile::tempdir().unwrap();
        let line = format!("--listen none --root {}", dir.path().display());
        let config = config(&line).unwrap();
        assert!(matches!(
            target_at(&config.served.sites[0].routes, "/a"),
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
            .listeners
            .h2c
            .iter()
            .map(|address| address.first.port())
            .collect();
        assert_eq!((ports, config.workers), (vec![1, 2], 3));
        let Options {
            engine,
            handshake_timeout,
            write_timeout,
            shutdown_timeout,
            ..
        } = &config.options;
        let seconds = Duration::from_secs;
        assert_eq!(engine.max_concurrent_streams, 7);
        assert_eq!(engine.max_stream_window_size, 1 << 20);
        let budget = engine.memory_budget.as_ref().map(|budget| budget.size());
        assert_eq!(budget, Some(512 << 20));
        assert_eq!(engine.timeouts.idle, seconds(1));
        assert_eq!(
            (engine.timeouts.handshake, *handshake_timeout),
            (seconds(2), seconds(2))
        );
        assert_eq!(engine.timeouts.header_block, seconds(3));
        assert_eq!(engine.timeouts.body, seconds(4));
        assert_eq!(engine.min_body_rate, 1024);
        assert_eq!(
            (engine.timeouts.write, *write_timeout),
            (seconds(5), seconds(5))
        );
        assert_eq!(
            (engine.timeouts.shutdown, *shutdown_timeout),
            (seconds(6), seconds(6))
        );
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
