//! The reverse proxy: requests go on to upstreams, and what these answer comes back. docs/proxy.md explains it to operators.
//!
//! - `fields`     heads on their way through
//! - `forwarded`  where a request came from, in both spellings
//! - `identity`   names of fields that only trusted clients may send on
//! - `names`   where upstreams are
//! - `relay`      one request, and both bodies
//! - `target`     what `--route` says of an upstream
//!
//! A request of a client is an [`Exchange`](crate::exchange::Exchange) with a [`Relay`] as its work; the [`Pool`] names it
//! by its connection and stream. Bodies wait for the window of the other side: what that took is what the sender gets
//! credit for, and there is no other backpressure.

pub mod fields;
mod forwarded;
mod identity;
pub mod names;
pub mod relay;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tidegate_ledger::{Client as Account, ClientKey, Lease, Ledger, Refusal, Resource};
use tidegate_net::{ConnId, ConnInfo, Conns};
use tidegate_pool::{Address, OnBehalf, Pool, Upstream, UpstreamId};
use tidegate_proto::{KnownName, RequestHead, StreamId};

use crate::flags::Host;
use crate::proxy::fields::Client;
use crate::proxy::names::Names;
pub use relay::Relay;

/// Octets that a client's upload may be ahead of its upstream.
pub const UPLOAD_WINDOW: u32 = 1536 << 10;

/// Octets that an upstream's response may be ahead of its client.
pub const DOWNLOAD_WINDOW: u32 = 128 << 10;

/// A request of a client: its connection and stream.
pub type Key = (ConnId, StreamId);

/// What all workers' proxies are made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where routes lead.
    pub upstreams: Vec<Upstream>,
    /// Their names, in the same order, which are looked up again.
    pub names: Vec<Names>,
    /// How a worker's pool behaves.
    pub pool: tidegate_pool::Options,
    /// Whose Forwarded and X-Forwarded fields are believed.
    pub trusted: Vec<IpNet>,
    /// What counts the requests in progress that those make for others, if they are limited.
    pub requests: Option<Arc<Ledger>>,
    /// Further fields of requests that only trusted clients may send on, as [`fields::field_to_drop`] has them.
    pub dropped: Vec<Box<[u8]>>,
}

/// What a route says of its upstream.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which of [`Settings::upstreams`].
    pub upstream: usize,
    /// What comes in place of the route's path; `None`: the path stays as it is.
    pub base: Option<Box<str>>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The upstream's own host, and port if it was given.
    pub authority: Box<str>,
    /// Whether that goes in place of the client's Host.
    pub host: Host,
}

/// The proxy of one worker.
pub struct Proxy {
    /// Its connections.
    pub pool: Pool<Key>,
    upstreams: Vec<UpstreamId>,
    settings: Arc<Settings>,
    /// Requests for which something waits that is still as it came.
    pub(crate) loose: Vec<Key>,
}

impl Proxy {
    /// A worker's proxy.
    pub fn new(settings: Arc<Settings>) -> Self {
        let mut pool = Pool::new(settings.pool.clone());
        let upstreams = settings.upstreams.iter().cloned();
        Self {
            upstreams: upstreams.map(|upstream| pool.add(upstream)).collect(),
            pool,
            settings,
            loose: Vec::new(),
        }
    }

    /// An upstream is elsewhere.
    pub fn moved(&mut self, conns: &mut Conns, upstream: usize, addresses: Vec<Address>) {
        if let Some(upstream) = self.upstreams.get(upstream) {
            self.pool.set_addresses(conns, *upstream, addresses);
        }
    }

    /// The pool's name of a route's upstream.
    pub fn upstream(&self, route: &Route) -> Option<UpstreamId> {
        self.upstreams.get(route.upstream).copied()
    }

    /// What is known of a request's client.
    pub fn client(&self, info: &ConnInfo, version: &'static str) -> Client<'_> {
        Client {
            addr: info.peer,
            is_secure: info.tls.is_some(),
            version,
            is_trusted: self.trusts(info.peer.ip().to_canonical()),
            dropped: &self.settings.dropped,
        }
    }

    /// Whom a request counts for where clients share something: the address that the last trusted hop has seen.
    fn client_key(&self, client: &Client<'_>, head: &RequestHead) -> ClientKey {
        let peer = client.addr.ip();
        if !client.is_trusted {
            return ClientKey::from(peer);
        }
        let lines = head
            .headers()
            .filter(|field| field.known == Some(KnownName::X_FORWARDED_FOR));
        let said: Vec<&[u8]> = lines
            .flat_map(|field| field.value.split(|byte| *byte == b','))
            .collect();
        let ips = said.iter().rev().map_while(|said| {
            let said = std::str::from_utf8(said).ok()?.trim();
            said.parse::<IpAddr>().ok()
        });
        // What is in front of an address that nobody vouches for may be invented.
        let mut farthest = peer;
        for ip in ips {
            farthest = ip;
            if !self.trusts(ip.to_canonical()) {
                break;
            }
        }
        ClientKey::from(farthest)
    }

    /// In whose account a request counts there; `account` is its connection's. Only requests that a
    /// trusted hop makes for others need a lock for that.
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

    /// What a request in progress takes of its client's share, if it comes from a trusted proxy and requests are limited: the loop
    /// counts all others. It finds the account under a lock, so requests that come straight from a client don't get here.
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

    fn trusts(&self, ip: IpAddr) -> bool {
        self.settings.trusted.iter().any(|net| net.contains(&ip))
    }
}

/// A client's address, and the one that it connected to.
pub fn on_behalf(conns: &Conns, conn: ConnId) -> Option<OnBehalf> {
    let info = conns.info(conn)?;
    Some((info.peer, info.local))
}

#[cfg(test)]
mod tests {
    use tidegate_ledger::Limits;
    use tidegate_pool::{Options, client_config};

    use super::*;

    #[test]
    fn requests_count_for_those_that_a_trusted_hop_makes_them_for() {
        let proxy = Proxy::new(Arc::new(Settings {
            upstreams: Vec::new(),
            names: Vec::new(),
            pool: Options::new(client_config().build().unwrap()),
            trusted: vec!["10.0.0.0/8".parse().unwrap()],
            requests: None,
            dropped: Vec::new(),
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
            };
            let account = ledger.client(ClientKey::from(addr));
            proxy.account(&account, &client, &head).key().to_string()
        };
        assert_eq!(whose("10.0.0.1"), "203.0.113.1");
        assert_eq!(whose("192.0.2.1"), "192.0.2.1");
    }
}
