//! The reverse proxy: forwards requests to upstreams, and returns their responses. docs/proxy.md
//! explains it to operators.
//!
//! - `fields`     the fields of forwarded heads
//! - `forwarded`  where a request came from, as X-Forwarded-* and Forwarded
//! - `identity`   names of fields that only trusted clients may send on
//! - `names`      the addresses of upstreams
//! - `relay`      one request, and both bodies
//! - `repeated`   the last requests of clients that repeat them
//! - `route`      a route to an upstream
//! - `target`     the upstream in a `--route`
//!
//! A request of a client is an [`Exchange`](crate::in_progress::Exchange) with a [`Relay`] as its
//! work. The key of the [`Pool`] for it is the connection and stream. A body waits for the window
//! of the receiver, and the sender gets credit for what the receiver took. There is no other
//! backpressure.

pub mod fields;
mod forwarded;
mod identity;
pub mod names;
pub mod relay;
mod repeated;
pub mod route;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tidegate_http::{KnownName, RequestHead};
use tidegate_ledger::{Client as Account, ClientKey, Lease, Ledger, Refusal, Resource};
use tidegate_net::{ConnId, ConnInfo, Conns};
use tidegate_pool::{Address, OnBehalf, Pool, Upstream, UpstreamId};

use crate::access_log::Entry;
use crate::proxy::names::Names;
use crate::proxy::repeated::Repeated;
use crate::request::Key;
use crate::request_id::{self, Random, RequestIds};
use crate::trace_context::{self, TraceContext, Traceparent};
pub use forwarded::{Client, Ids};
pub(crate) use identity::goes_on;
pub use relay::Relay;
pub use route::{Host, Route};

/// Bytes that a client's upload may be ahead of its upstream.
pub const UPLOAD_WINDOW: u32 = 1536 << 10;

/// Bytes that an upstream's response may be ahead of its client.
pub const DOWNLOAD_WINDOW: u32 = 128 << 10;

/// Settings that the proxies of all workers share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of settings that this process had before.
    pub generation: u64,
    /// The upstreams of all routes.
    pub upstreams: Vec<Upstream>,
    /// The keys of `upstreams`, in the same order: an upstream that has the key of a former one
    /// takes over its connections.
    pub keys: Vec<String>,
    /// The names of `upstreams`, in the same order, which are looked up again.
    pub names: Vec<Names>,
    /// The limits of a worker's pool.
    pub pool: tidegate_pool::Limits,
    /// Clients whose Forwarded and X-Forwarded fields are trusted.
    pub trusted: Vec<IpNet>,
    /// The ledger that counts requests in progress which trusted clients make for others, if
    /// requests are limited.
    pub requests: Option<Arc<Ledger>>,
    /// Further request fields that only trusted clients may send on, in the form that
    /// [`fields::field_to_drop`] returns.
    pub dropped: Vec<Box<[u8]>>,
    /// Whether requests get ids.
    pub request_id: RequestIds,
    /// The treatment of trace contexts.
    pub trace_context: TraceContext,
}

/// The proxy of one worker.
pub struct Proxy {
    /// The connections to upstreams.
    pub pool: Pool<Key>,
    upstreams: Vec<UpstreamId>,
    settings: Arc<Settings>,
    /// For new ids.
    random: Random,
    /// The requests that were forwarded last.
    pub(crate) repeated: Repeated<ConnId>,
    /// Requests for which received data waits that isn't copied yet.
    pub(crate) loose: Vec<Key>,
}

impl Proxy {
    /// Returns a worker's proxy.
    pub fn new(settings: Arc<Settings>) -> Self {
        let mut pool = Pool::new(settings.pool.clone());
        let upstreams = settings.upstreams.iter().cloned();
        Self {
            upstreams: upstreams.map(|upstream| pool.add(upstream)).collect(),
            pool,
            settings,
            random: Random::default(),
            repeated: Repeated::default(),
            loose: Vec::new(),
        }
    }

    /// Replaces the settings. Upstreams that stay keep their connections; those that are taken away
    /// finish their requests.
    pub fn replace(&mut self, conns: &mut Conns, settings: Arc<Settings>) {
        let former = std::mem::replace(&mut self.settings, settings);
        let ids = std::mem::take(&mut self.upstreams).into_iter();
        let mut former: Vec<(UpstreamId, &String)> = ids.zip(&former.keys).collect();
        self.pool.set_limits(self.settings.pool.clone());
        let settings = Arc::clone(&self.settings);
        for (upstream, key) in settings.upstreams.iter().zip(&settings.keys) {
            let place = former.iter().position(|(_, other)| *other == key);
            let upstream = upstream.clone();
            self.upstreams.push(match place {
                Some(place) => {
                    let (id, _) = former.swap_remove(place);
                    self.pool.change(conns, id, upstream);
                    id
                }
                None => self.pool.add(upstream),
            });
        }
        for (id, _) in former {
            self.pool.remove_upstream(conns, id);
        }
        // Heads may be forwarded in another way from now on.
        self.repeated = Repeated::default();
    }

    /// Replaces the addresses of an upstream, unless that is one of former settings.
    pub fn moved(
        &mut self,
        conns: &mut Conns,
        generation: u64,
        upstream: usize,
        addresses: Vec<Address>,
    ) {
        if generation == self.settings.generation
            && let Some(upstream) = self.upstreams.get(upstream)
        {
            self.pool.set_addresses(conns, *upstream, addresses);
        }
    }

    /// Returns the fields that only trusted clients may send on.
    pub fn dropped(&self) -> &[Box<[u8]>] {
        &self.settings.dropped
    }

    /// Returns the pool's id of a route's upstream.
    pub fn upstream(&self, route: &Route) -> Option<UpstreamId> {
        self.upstreams.get(route.upstream).copied()
    }

    /// Returns the description of a request's client.
    pub fn client(&self, info: &ConnInfo, version: &'static str) -> Client<'_> {
        Client {
            addr: info.peer,
            is_secure: info.tls.is_some(),
            version,
            is_trusted: self.trusts(info.peer.ip().to_canonical()),
            dropped: &self.settings.dropped,
            certificate: None,
            is_early: false,
            ids: Ids::NONE,
        }
    }

    /// Returns the client that a trusted proxy reports, if a trusted proxy has made the request.
    pub fn reported_client(&self, info: &ConnInfo, head: &RequestHead) -> Option<IpAddr> {
        if self.settings.trusted.is_empty() || !self.trusts(info.peer.ip().to_canonical()) {
            return None;
        }
        forwarded::client(head, |ip| self.trusts(ip))
    }

    /// Whether each forwarded request may get an id of its own.
    pub fn makes_ids(&self) -> bool {
        self.settings.request_id == RequestIds::On
            || self.settings.trace_context == TraceContext::Make
    }

    /// Returns a request's id: its own if a trusted client names a valid one, else a new one.
    /// Returns `None` if requests get no ids.
    pub fn request_id(&mut self, info: &ConnInfo, head: &RequestHead) -> Option<Box<str>> {
        if self.settings.request_id == RequestIds::Off {
            return None;
        }
        let own = head.get_known(KnownName::X_REQUEST_ID);
        let own =
            own.filter(|id| request_id::is_valid(id) && self.trusts(info.peer.ip().to_canonical()));
        let own = own.and_then(|id| std::str::from_utf8(id).ok());
        Some(own.map_or_else(|| request_id::new(&mut self.random), Into::into))
    }

    /// Returns the ids that a request gets on its way to an upstream, and notes them in its line.
    pub fn ids(&mut self, info: &ConnInfo, head: &RequestHead, log: Option<&mut Entry>) -> Ids {
        if !self.makes_ids() {
            return Ids::default();
        }
        let known = log.as_ref().and_then(|log| log.request_id());
        let ids = Ids {
            request_id: match known {
                Some(id) => Some(id.into()),
                None => self.request_id(info, head),
            },
            traceparent: (self.settings.trace_context == TraceContext::Make
                && Traceparent::of(head).is_none())
            .then(|| trace_context::new(&mut self.random)),
        };
        if let (Some(log), Some(traceparent)) = (log, &ids.traceparent) {
            log.note_traceparent(traceparent);
        }
        ids
    }

    /// Returns the client that a request counts for in shares: the address that the last trusted
    /// hop has seen.
    fn client_key(&self, client: &Client<'_>, head: &RequestHead) -> ClientKey {
        let peer = client.addr.ip();
        if !client.is_trusted {
            return ClientKey::from(peer);
        }
        let lines = head
            .headers()
            .filter(|field| field.known == Some(KnownName::X_FORWARDED_FOR));
        let hops: Vec<&[u8]> = lines
            .flat_map(|field| field.value.split(|byte| *byte == b','))
            .collect();
        let ips = hops.iter().rev().map_while(|hop| {
            let hop = std::str::from_utf8(hop).ok()?.trim();
            hop.parse::<IpAddr>().ok()
        });
        // Entries before an untrusted address may be invented.
        let mut farthest = peer;
        for ip in ips {
            farthest = ip;
            if !self.trusts(ip.to_canonical()) {
                break;
            }
        }
        ClientKey::from(farthest)
    }

    /// Returns the account in which a request counts. `account` is that of its connection. Only
    /// requests that a trusted hop makes for others need a lock.
    pub fn account(
        &self,
        account: &Arc<Account>,
        client: &Client<'_>,
        head: &RequestHead,
    ) -> Arc<Account> {
        if client.is_trusted {
            let key = self.client_key(client, head);
            account.ledger().client(key)
        } else {
            Arc::clone(account)
        }
    }

    /// Counts a request in progress against its client's share, if it comes from a trusted proxy
    /// and requests are limited. The loop counts all other requests. Only a trusted proxy's
    /// requests take the lock under which accounts are found.
    ///
    /// # Errors
    /// Why the client may have no more requests in progress.
    pub fn share(
        &self,
        info: &ConnInfo,
        head: &RequestHead,
    ) -> Result<Option<Box<Lease>>, Refusal> {
        let Some(ledger) = &self.settings.requests else {
            return Ok(None);
        };
        let client = self.client(info, "");
        if !client.is_trusted {
            return Ok(None);
        }
        let client = ledger.client(self.client_key(&client, head));
        let mut lease = Lease::new(client, Resource::Requests);
        lease.set(1)?;
        Ok(Some(Box::new(lease)))
    }

    /// Whether requests count for a client's share.
    pub fn counts_requests(&self) -> bool {
        self.settings.requests.is_some()
    }

    /// Whether a client has its answer over TLS: from this server, or from a trusted hop before it
    /// that says so.
    pub fn is_secure(&self, info: Option<&ConnInfo>, head: &RequestHead) -> bool {
        info.is_some_and(|info| {
            info.tls.is_some()
                || self.trusts(info.peer.ip().to_canonical()) && forwarded::came_by_https(head)
        })
    }

    fn trusts(&self, ip: IpAddr) -> bool {
        self.settings.trusted.iter().any(|net| net.contains(&ip))
    }
}

/// Returns a client's address, and the one that it connected to.
pub fn on_behalf(conns: &Conns, conn: ConnId) -> Option<OnBehalf> {
    let info = conns.info(conn)?;
    Some((info.peer, info.local))
}

#[cfg(test)]
mod tests {
    use tidegate_ledger::Limits;

    use super::*;

    #[test]
    fn requests_count_for_those_that_a_trusted_hop_makes_them_for() {
        let proxy = Proxy::new(Arc::new(Settings {
            generation: 0,
            upstreams: Vec::new(),
            keys: Vec::new(),
            names: Vec::new(),
            pool: tidegate_pool::Limits::default(),
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            requests: None,
            dropped: Vec::new(),
            request_id: RequestIds::Off,
            trace_context: TraceContext::Pass,
        }));
        let ledger = Ledger::new(Limits::none());
        let head = RequestHead::new("GET", "http", "a", "/")
            .field("x-forwarded-for", "198.51.100.1, 203.0.113.1");
        let whose = |addr: &str| {
            let addr: IpAddr = addr.parse().unwrap();
            let client = Client {
                addr: (addr, 4711).into(),
                is_secure: false,
                version: "HTTP/2",
                is_trusted: proxy.trusts(addr),
                dropped: &[],
                certificate: None,
                is_early: false,
                ids: Ids::NONE,
            };
            let account = ledger.client(ClientKey::from(addr));
            proxy.account(&account, &client, &head).key().to_string()
        };
        assert_eq!(whose("10.0.0.1"), "203.0.113.1");
        assert_eq!(whose("192.0.2.1"), "192.0.2.1");
    }
}
