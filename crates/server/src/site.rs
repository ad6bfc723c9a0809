//! The sites: what all workers serve.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tidegate_http::WallClock;

use crate::access_log::{AccessLogs, Logs};
use crate::client_access::ClientAccess;
use crate::clock::Clock;
use crate::flags::{Switch, UnknownHost};
use crate::handlers::fallback::Directory;
use crate::handlers::{Named, shared};
use crate::hosts::Hosts;
use crate::proxy;
use crate::push::{self, Pusher};
use crate::redirect::Redirect;
use crate::router::Router;
use crate::rules::Rules;
use crate::trace;

/// Everything that all workers serve.
#[derive(Clone)]
pub struct Served {
    /// The sites, at least one.
    pub sites: Vec<Site>,
    /// Which site is for which host. `None` if the first site is for all.
    pub hosts: Option<Arc<Hosts>>,
    /// The answer to requests for a host that no site has.
    pub unknown_host: UnknownHost,
    /// The upstreams, and how requests are forwarded to them.
    pub proxy: Arc<proxy::Settings>,
    /// The access logs.
    pub logs: Logs,
    /// Which connections are traced, if any.
    pub trace: Option<Arc<trace::Settings>>,
    /// The engines' clock, which the service sets.
    pub wall_clock: WallClock,
    /// Tells the time of day: the system, or a simulator.
    pub time_of_day: fn() -> SystemTime,
    /// The threads and limits for reading files.
    pub files: shared::Shared,
}

/// One site.
#[derive(Clone)]
pub struct Site {
    /// The first name of the site, or `default`.
    pub name: Arc<str>,
    /// The route of each path.
    pub routes: Arc<Router<Routed>>,
    /// The rules for paths without a route.
    pub rules: Option<Arc<Rules>>,
    /// Paths on which WebSockets pass to an upstream.
    pub websockets: Arc<Router<()>>,
    /// Whether requests' `x-priority` fields count.
    pub trust_x_priority: bool,
    /// The preload list, and whether to send hints and pushes.
    pub push: push::Options,
    /// The certificates that the site asks its clients for, if any.
    pub clients: Option<Arc<ClientAccess>>,
    /// The index of the site's access log, if it has one.
    pub log: Option<usize>,
    /// Which routes take early data. `None` if TLS takes none.
    pub early_data: Option<Arc<Router<Switch>>>,
}

/// A route: a target, and the rules for its answers.
#[derive(Clone, Debug)]
pub struct Routed {
    /// The target.
    pub target: Target,
    /// The rules, if there are any.
    pub rules: Option<Arc<Rules>>,
}

impl From<Target> for Routed {
    fn from(target: Target) -> Self {
        Self {
            target,
            rules: None,
        }
    }
}

/// The target of a route.
#[derive(Clone, Debug)]
pub enum Target {
    /// The built-in site.
    Demo,
    /// A handler of this server.
    Named(Named),
    /// Files below a directory.
    Files(Directory),
    /// Another place.
    Redirect(Arc<Redirect>),
    /// An upstream.
    Proxy(Arc<proxy::Route>),
}

impl Routed {
    /// Whether the target is a directory.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.target, Target::Files(_))
    }
}

/// A site of one worker.
pub(crate) struct WorkerSite {
    pub(crate) routes: Arc<Router<Routed>>,
    pub(crate) rules: Option<Arc<Rules>>,
    pub(crate) websockets: Arc<Router<()>>,
    pub(crate) trust_x_priority: bool,
    pub(crate) pusher: Pusher,
    pub(crate) clients: Option<Arc<ClientAccess>>,
    pub(crate) log: Option<usize>,
    pub(crate) early_data: Option<Arc<Router<Switch>>>,
    name: Arc<str>,
    /// Requests so far.
    pub(crate) requests: u64,
}

impl WorkerSite {
    pub(crate) fn new(site: Site, clock: &Clock, logs: &AccessLogs) -> Self {
        Self {
            log: site.log.filter(|log| logs.is_enabled(*log)),
            routes: site.routes,
            rules: site.rules,
            websockets: site.websockets,
            trust_x_priority: site.trust_x_priority,
            clients: site.clients,
            early_data: site.early_data,
            name: site.name,
            requests: 0,
            pusher: Pusher::new(site.push, clock, Instant::now()),
        }
    }

    /// Returns the name, and the number of requests so far.
    pub(crate) fn counted(&self) -> (Arc<str>, u64) {
        (Arc::clone(&self.name), self.requests)
    }
}
