//! The sites of a worker, and which one a request is for.

use std::sync::Arc;

use tidegate_http::{ErrorCode, RequestHead, ResetCause, Stream, StreamId};
use tidegate_net::{ConnId, Conns, Engine, Protocol};

use super::App;
use crate::access_log::ResetBy;
use crate::client_access::Told;
use crate::flags::UnknownHost;
use crate::hosts::{Asked, Found, Hosts};
use crate::push::Stats;
use crate::request::{Key, Sent};
use crate::rules::NO_TERMS;
use crate::site::{Served, Target, WorkerSite};

/// Returns the site that a request is for, where sites have hosts.
fn find(hosts: &Hosts, conns: &Conns, conn: ConnId, head: &RequestHead) -> Found {
    let tls = conns.info(conn).and_then(|info| info.tls.as_deref());
    let asked = match tls {
        None => Asked::Cleartext,
        Some(tls) => match &tls.sni {
            Some(name) => Asked::Name(name),
            None if is_http2(conns, conn) => Asked::NothingInHttp2,
            None => Asked::Nothing,
        },
    };
    hosts.find(head.authority_bytes(), asked)
}

fn is_http2(conns: &Conns, conn: ConnId) -> bool {
    let engine = conns.engine_ref(conn);
    engine.is_some_and(|engine| engine.protocol() == Protocol::Http2)
}

/// RFC 9110 §15.5.20: "A client that receives a 421 (Misdirected Request) response MAY retry the
/// request … over a different connection".
const MISDIRECTED: (u16, &str) = (421, "421 Misdirected Request\n");

impl App {
    /// Tells a client over HTTP/2 and TLS which origins it may ask for on its connection
    /// (RFC 8336).
    pub(super) fn announce_origins(&self, conns: &mut Conns, conn: ConnId) {
        let Some(hosts) = &self.hosts else {
            return;
        };
        if !is_http2(conns, conn) {
            return;
        }
        let Some(info) = conns.info(conn) else {
            return;
        };
        let Some(tls) = info.tls.as_deref() else {
            return;
        };
        let listed = hosts.origins(tls.sni.as_deref());
        if listed.is_empty() {
            return;
        }
        // RFC 6454 §6.2: the default port isn't written.
        let port = match info.local.port() {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let origins = listed.iter().map(|host| format!("https://{host}{port}"));
        let origins: Vec<String> = origins.collect();
        if let Some(Engine::Http2(engine)) = conns.engine(conn) {
            engine.announce_origins(origins.iter().map(String::as_str));
        }
    }

    /// Serves other sites from now on. Requests in progress have what they need of the former ones.
    pub(super) fn serve(&mut self, conns: &mut Conns, served: Served) {
        self.access_logs.replace(&served.logs);
        let mut former = std::mem::take(&mut self.sites);
        let counts: Vec<_> = former.iter().map(WorkerSite::counted).collect();
        for site in served.sites {
            // A list that stays goes on learning, and knows what clients have. Of sites with equal
            // lists, each finds its own as long as their order stays.
            let same = |former: &WorkerSite| *former.pusher.options() == site.push;
            let pusher = former.iter().position(same);
            let pusher = pusher.map(|place| former.remove(place).pusher);
            let mut site = WorkerSite::new(site, &self.clock, &self.access_logs);
            let named = counts.iter().find(|(name, _)| *name == site.counted().0);
            site.requests = named.map_or(0, |(_, count)| *count);
            site.pusher = pusher.unwrap_or(site.pusher);
            self.sites.push(site);
        }
        for site in former {
            self.former_pushes.add(site.pusher.stats());
        }
        self.hosts = served.hosts;
        self.unknown_host = served.unknown_host;
        self.tracer.replace(served.trace);
        self.proxy.replace(conns, served.proxy);
        let roots = self.sites.iter().flat_map(|site| site.routes.paths());
        let roots = roots.filter_map(|(_, route)| match &route.target {
            Target::Files(directory) => Some(directory.root.number()),
            _ => None,
        });
        let roots = roots.collect();
        self.files.replace(served.files.check_every, &roots);
    }

    /// Returns the site that a request is for. A request for none is refused.
    pub(super) fn site_of(
        &mut self,
        conns: &mut Conns,
        (conn, id): Key,
        head: &Arc<RequestHead>,
    ) -> Option<usize> {
        let found = match &self.hosts {
            None => Found::Site(0),
            Some(hosts) => find(hosts, conns, conn, head),
        };
        let found = match found {
            Found::Site(site) if self.sites[site].clients.is_some() => self
                .certificate_fields(conns, conn, site)
                .map_or(Found::Misdirected, |_| Found::Site(site)),
            found => found,
        };
        let refusal = match found {
            Found::Site(site) => return Some(site),
            Found::Misdirected => MISDIRECTED,
            Found::Unknown => match self.unknown_host {
                UnknownHost::NotFound => (404, "404 Not Found\n"),
                UnknownHost::Misdirected => MISDIRECTED,
                UnknownHost::Reset => {
                    let mut log = self.begin_log(conns, (conn, id), head, None);
                    if let Some(mut stream) = conns.stream(conn, id) {
                        stream.reset(ErrorCode::CANCEL);
                    }
                    if let Some(log) = &mut log {
                        log.note_reset(ErrorCode::CANCEL, ResetBy::Server);
                    }
                    self.log(log, Sent::NOTHING);
                    return None;
                }
            },
        };
        let log = self.begin_log(conns, (conn, id), head, None);
        self.refuse(conns, (conn, id), head, log, &NO_TERMS, refusal);
        None
    }

    /// Returns the fields about a client's certificate, if a site asks for certificates and the
    /// client may make requests of it.
    pub(super) fn certificate_fields(
        &mut self,
        conns: &Conns,
        conn: ConnId,
        site: usize,
    ) -> Option<Told> {
        let access = self.sites[site].clients.as_ref()?;
        self.admitted.admit(conn, access, conns.info(conn)?)
    }

    /// Notes a stream that was reset. Returns the resource and the page, if a push was cancelled.
    pub(super) fn push_reset(
        &mut self,
        conn: ConnId,
        id: StreamId,
        cause: ResetCause,
    ) -> Option<(&str, &str)> {
        let mut sites = self.sites.iter_mut();
        sites.find_map(|site| site.pusher.reset(conn, id, cause))
    }

    /// Removes what the sites know of a connection that has closed.
    pub(super) fn push_closed(&mut self, conn: ConnId) {
        for site in &mut self.sites {
            site.pusher.closed(conn);
        }
    }

    /// Returns the counters of all sites' hints and pushes.
    pub(super) fn push_stats(&self) -> Stats {
        let mut sum = self.former_pushes;
        for site in &self.sites {
            sum.add(site.pusher.stats());
        }
        sum
    }
}
