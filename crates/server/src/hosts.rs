//! Which site a request is for, by the host that it names.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

/// The most bytes of a host that is looked up. Names in DNS have at most 253.
const LONGEST: usize = 255;

/// The hosts of all sites.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Hosts without a wildcard, in lower case.
    exact: FxHashMap<Box<[u8]>, usize>,
    /// Hosts with a wildcard, without `*.` in front.
    wildcards: FxHashMap<Box<[u8]>, usize>,
    /// The site for all other hosts.
    default: Option<usize>,
    /// For each site, the certificate for clients that ask for one of its hosts (SNI).
    certificates: Vec<usize>,
    /// The names that each certificate is for. The first certificate is for clients that ask for no
    /// host, or for that of no site.
    covered: Vec<Vec<String>>,
    /// For each certificate, the hosts that its connections are for, if they can be listed.
    origins: Vec<Vec<String>>,
    /// For each site, the number of what it asks of its clients' certificates; `None` if it asks
    /// for none. Empty if no site does.
    policies: Vec<Option<usize>>,
}

/// The site that a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The site with this index.
    Site(usize),
    /// The connection is for another host, and its certificate isn't for this one.
    Misdirected,
    /// No site is for the host.
    Unknown,
}

/// The name that a client asked for in its TLS handshake (SNI).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// There is no TLS here.
    Cleartext,
    /// None, in HTTP/1.1: an old client.
    Nothing,
    /// None, in HTTP/2: a client that knows the server by its address.
    NothingInHttp2,
    /// This name.
    Name(&'a str),
}

impl Hosts {
    /// Returns the hosts of sites. Each site has its names, in lower case and perhaps with `*.` in
    /// front, and the index of its certificate in `covered`. One without names is for all other
    /// hosts.
    pub fn new<'a>(
        sites: impl IntoIterator<Item = (&'a [String], usize)>,
        covered: Vec<Vec<String>>,
    ) -> Self {
        let mut hosts = Self {
            covered,
            ..Self::default()
        };
        for (site, (names, certificate)) in sites.into_iter().enumerate() {
            hosts.certificates.push(certificate);
            if names.is_empty() {
                hosts.default = Some(site);
            }
            for name in names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut hosts.wildcards, parent),
                    None => (&mut hosts.exact, &**name),
                };
                map.insert(name.as_bytes().into(), site);
            }
        }
        hosts.origins = (0..hosts.covered.len())
            .map(|certificate| hosts.listed(certificate))
            .collect();
        hosts
    }

    /// Returns the hosts that the sites have and a certificate covers. None are returned if one of
    /// them has a wildcard: a client that is told some names may ask for no others (RFC 8336 §2.4).
    /// None are returned either if there is only one, which the client knows.
    fn listed(&self, certificate: usize) -> Vec<String> {
        let covered = &self.covered[certificate];
        let is_covered = |host: &[u8]| covered.iter().any(|name| covers(name, host));
        let has_wildcard = covered.iter().any(|name| {
            let parent = name.strip_prefix("*.").map(str::as_bytes);
            let is_site = |parent| self.default.is_some() || self.wildcards.contains_key(parent);
            parent.is_some_and(is_site)
        });
        if has_wildcard {
            return Vec::new();
        }
        let exact = self.exact.keys().map(|host| &**host);
        // A wildcard of the sites may cover what the certificate names, and so does the default.
        let named = covered.iter().map(String::as_bytes);
        let named = named.filter(|name| self.site(name).or(self.default).is_some());
        let hosts = exact.chain(named).filter(|host| is_covered(host));
        let hosts = hosts.filter(|host| !is_address(host));
        let mut hosts: Vec<String> = hosts
            .filter_map(|host| String::from_utf8(host.to_vec()).ok())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() < 2 {
            return Vec::new();
        }
        hosts
    }

    /// Returns the hosts to list in an ORIGIN frame (RFC 8336) on a connection whose client asked
    /// for this name in TLS: all that it may ask for there.
    pub fn origins(&self, asked: Option<&str>) -> &[String] {
        let site = asked.and_then(|name| {
            let mut buffer = [0; LONGEST];
            self.site(lower_case(name.as_bytes(), &mut buffer)?)
        });
        let certificate = site.map_or(0, |site| self.certificates[site]);
        self.origins.get(certificate).map_or(&[], Vec::as_slice)
    }

    /// Returns the same hosts, whose sites have these numbers for what they ask of their clients'
    /// certificates.
    #[must_use]
    pub fn with_policies(mut self, policies: Vec<Option<usize>>) -> Self {
        if policies.iter().any(|policy| *policy != policies[0]) {
            // A connection is for the hosts of some sites only.
            self.origins.clear();
        }
        self.policies = policies;
        self
    }

    /// Returns the names of each site, separated by commas.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.certificates.len()).map(|site| {
            let exact = self.exact.iter().map(|(name, of)| ("", name, of));
            let wildcards = self.wildcards.iter().map(|(name, of)| ("*.", name, of));
            let names = exact.chain(wildcards).filter(|(.., of)| **of == site);
            let names = names.map(|(star, name, _)| format!("{star}{}", name.escape_ascii()));
            let mut names: Vec<String> = names.collect();
            names.sort_unstable();
            if names.is_empty() {
                "all other hosts".to_owned()
            } else {
                names.join(", ")
            }
        })
    }

    /// Returns the site for a request's authority, on a connection whose client asked for a name.
    pub fn find(&self, authority: &[u8], asked: Asked<'_>) -> Found {
        let mut buffer = [0; LONGEST];
        let Some(host) = lower_case(host(authority), &mut buffer) else {
            return Found::Unknown;
        };
        // RFC 9112 §3.2 demands a host of HTTP/1.1, not of HTTP/1.0. The name in TLS stands for it.
        let host = match asked {
            Asked::Name(name) if host.is_empty() => name.as_bytes(),
            _ => host,
        };
        if !self.may_carry(asked, host) {
            return Found::Misdirected;
        }
        match self.site(host).or(self.default) {
            None => Found::Unknown,
            Some(site) if self.policy(Some(site)) != self.policy_of(asked, site) => {
                Found::Misdirected
            }
            Some(site) => Found::Site(site),
        }
    }

    /// Returns the policy of a site, or that of clients which ask for no site.
    fn policy(&self, site: Option<usize>) -> Option<usize> {
        self.policies.get(site.or(self.default)?).copied().flatten()
    }

    /// Returns the policy under which a connection's handshake was made. `site` is that of a
    /// request on it.
    fn policy_of(&self, asked: Asked<'_>, site: usize) -> Option<usize> {
        match asked {
            // What the site itself says about clients without TLS counts.
            Asked::Cleartext => self.policy(Some(site)),
            Asked::Nothing | Asked::NothingInHttp2 => self.policy(None),
            Asked::Name(name) => self.policy(self.site(name.as_bytes())),
        }
    }

    /// Returns the site that names a host, which is in lower case.
    fn site(&self, host: &[u8]) -> Option<usize> {
        let parent = || {
            let dot = host.iter().position(|byte| *byte == b'.')?;
            self.wildcards.get(&host[dot + 1..])
        };
        self.exact.get(host).or_else(parent).copied()
    }

    /// Whether requests for a host may come on a connection. RFC 9110 §7.4: a server ought to make
    /// sure that a request wasn't misdirected to it. RFC 9113 §9.1.1: a client may reuse a
    /// connection for every host that its certificate is for.
    fn may_carry(&self, asked: Asked<'_>, host: &[u8]) -> bool {
        let certificate = match asked {
            Asked::Cleartext | Asked::Nothing => return true,
            Asked::Name(name) if name.as_bytes().eq_ignore_ascii_case(host) => return true,
            Asked::Name(name) => {
                let site = self.site(name.as_bytes());
                site.map_or(0, |site| self.certificates[site])
            }
            // RFC 6066 §3: "Literal IPv4 and IPv6 addresses are not permitted" as names. So a
            // client that asks for an address asks for no name.
            Asked::NothingInHttp2 if host.is_empty() || is_address(host) => return true,
            Asked::NothingInHttp2 => 0,
        };
        let names = self.covered.get(certificate);
        names.is_some_and(|names| names.iter().any(|name| covers(name, host)))
    }
}

/// Whether a name in a certificate is for a host (RFC 6125 §6.4.3). Both are in lower case.
pub fn covers(name: &str, host: &[u8]) -> bool {
    match name.strip_prefix("*.") {
        None => {
            // An IPv6 address has no brackets in a certificate.
            name.as_bytes() == without_brackets(host)
        }
        Some(parent) => {
            let dot = host.iter().position(|byte| *byte == b'.');
            dot.is_some_and(|dot| dot > 0 && host[dot + 1..] == *parent.as_bytes())
        }
    }
}

fn without_brackets(host: &[u8]) -> &[u8] {
    let literal = host.strip_prefix(b"[");
    let literal = literal.and_then(|host| host.strip_suffix(b"]"));
    literal.unwrap_or(host)
}

/// Whether a host is an IP address.
pub fn is_address(host: &[u8]) -> bool {
    let text = std::str::from_utf8(without_brackets(host));
    text.is_ok_and(|text| text.parse::<IpAddr>().is_ok())
}

/// Returns an authority without its port, and without a dot at the end of its name.
pub fn host(authority: &[u8]) -> &[u8] {
    let end = if authority.starts_with(b"[") {
        authority
            .iter()
            .position(|byte| *byte == b']')
            .map(|end| end + 1)
    } else {
        authority.iter().position(|byte| *byte == b':')
    };
    let host = &authority[..end.unwrap_or(authority.len())];
    host.strip_suffix(b".").unwrap_or(host)
}

fn lower_case<'b>(host: &[u8], buffer: &'b mut [u8; LONGEST]) -> Option<&'b [u8]> {
    let lower = buffer.get_mut(..host.len())?;
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    Some(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sites 0 to 3 with certificates 0 and 1; site 3 is for all other hosts.
    fn hosts() -> Hosts {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let sites = [
            (names(&["example.com", "www.example.com"]), 0),
            (names(&["*.example.com", "example.org"]), 1),
            (names(&["127.0.0.1", "[::1]"]), 0),
            (names(&[]), 0),
        ];
        let covered = vec![
            names(&["example.com", "www.example.com", "127.0.0.1", "::1"]),
            names(&["*.example.com", "example.org"]),
        ];
        Hosts::new(
            sites
                .iter()
                .map(|(names, certificate)| (&**names, *certificate)),
            covered,
        )
    }

    #[test]
    fn a_host_has_its_site() {
        let hosts = hosts();
        for (authority, site) in [
            ("example.com", 0),
            ("Example.COM:8443", 0),
            ("www.example.com.", 0),
            ("a.example.com", 1),
            ("example.org:1", 1),
            ("a.b.example.com", 3),
            (".example.com", 1),
            ("127.0.0.1:443", 2),
            ("[::1]:443", 2),
            ("", 3),
            ("other", 3),
        ] {
            let found = hosts.find(authority.as_bytes(), Asked::Cleartext);
            assert_eq!(found, Found::Site(site), "{authority}");
        }
        let long = vec![b'a'; LONGEST + 1];
        assert_eq!(hosts.find(&long, Asked::Cleartext), Found::Unknown);
        let named = Hosts::new([(&["a".to_owned()][..], 0)], Vec::new());
        assert_eq!(named.find(b"b", Asked::Cleartext), Found::Unknown);
    }

    #[test]
    fn the_origins_of_a_connection_are_those_of_its_certificate() {
        let hosts = hosts();
        let both = ["example.com", "www.example.com"];
        assert_eq!(hosts.origins(Some("Example.com")), both);
        assert_eq!(hosts.origins(None), both);
        assert_eq!(hosts.origins(Some("other")), both);
        // Its certificate is for any name below example.com, which no list has.
        assert_eq!(hosts.origins(Some("example.org")), [""; 0]);
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let (sites, of_certificate) = (names(&["*.a", "b"]), names(&["b", "x.a", "c"]));
        let some = Hosts::new([(&*sites, 0)], vec![of_certificate.clone()]);
        assert_eq!(some.origins(Some("b")), ["b", "x.a"], "c has no site");
        let one = Hosts::new([(&names(&["b"])[..], 0)], vec![of_certificate]);
        assert_eq!(one.origins(Some("b")), [""; 0], "only what was asked for");
    }

    #[test]
    fn a_connection_carries_the_hosts_of_its_certificate() {
        use Asked::{Cleartext, Name, Nothing, NothingInHttp2};
        let hosts = hosts();
        for (asked, authority, found) in [
            (Name("example.com"), "example.com", Found::Site(0)),
            (Name("example.com"), "EXAMPLE.com:1", Found::Site(0)),
            (Name("example.com"), "www.example.com", Found::Site(0)),
            (Name("example.com"), "127.0.0.1", Found::Site(2)),
            (Name("example.com"), "[::1]", Found::Site(2)),
            (Name("example.com"), "example.org", Found::Misdirected),
            (Name("example.com"), "a.example.com", Found::Misdirected),
            (Name("example.org"), "a.example.com", Found::Site(1)),
            // The certificate covers the host, which is another site's.
            (Name("example.org"), "www.example.com", Found::Site(0)),
            (Name("example.org"), "example.com", Found::Misdirected),
            (Name("other"), "other", Found::Site(3)),
            (Name("other"), "example.com", Found::Site(0)),
            (Name("other"), "another", Found::Misdirected),
            (NothingInHttp2, "example.com", Found::Site(0)),
            (NothingInHttp2, "example.org", Found::Misdirected),
            // A client that knows the server by its address, whatever the certificate is for.
            (NothingInHttp2, "192.0.2.1:8443", Found::Site(3)),
            (NothingInHttp2, "[2001:db8::1]", Found::Site(3)),
            (NothingInHttp2, "192.0.2.1.example", Found::Misdirected),
            (Name("example.com"), "192.0.2.1", Found::Misdirected),
            // HTTP/1.0 without Host.
            (Name("example.com"), "", Found::Site(0)),
            (Name("example.org"), "", Found::Site(1)),
            (Name("other"), "", Found::Site(3)),
            (NothingInHttp2, "", Found::Site(3)),
            (Nothing, "", Found::Site(3)),
            (Nothing, "example.org", Found::Site(1)),
            (Cleartext, "example.org", Found::Site(1)),
        ] {
            let is = hosts.find(authority.as_bytes(), asked);
            assert_eq!(is, found, "{asked:?} {authority}");
        }
    }

    #[test]
    fn a_connection_is_for_sites_that_ask_the_same_of_its_client() {
        use Asked::{Cleartext, Name, Nothing, NothingInHttp2};
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let sites = [
            (names(&["open.test"]), 0),
            (names(&["a.test"]), 0),
            (names(&["b.test", "*.b.test"]), 0),
            (names(&["also-a.test"]), 0),
        ];
        let all = names(&[
            "open.test",
            "a.test",
            "b.test",
            "*.b.test",
            "also-a.test",
            "other",
        ]);
        let hosts = Hosts::new(sites.iter().map(|(names, nth)| (&**names, *nth)), vec![all]);
        let hosts = hosts.with_policies(vec![None, Some(1), Some(2), Some(1)]);
        for (asked, authority, found) in [
            (Name("a.test"), "a.test", Found::Site(1)),
            (Name("a.test"), "also-a.test", Found::Site(3)),
            (Name("a.test"), "b.test", Found::Misdirected),
            (Name("open.test"), "a.test", Found::Misdirected),
            (Name("a.test"), "open.test", Found::Misdirected),
            (Name("x.b.test"), "b.test", Found::Site(2)),
            (Name("other"), "a.test", Found::Misdirected),
            (Name("other"), "open.test", Found::Site(0)),
            (Nothing, "a.test", Found::Misdirected),
            (NothingInHttp2, "a.test", Found::Misdirected),
            (Nothing, "open.test", Found::Site(0)),
            (Cleartext, "a.test", Found::Site(1)),
            (Cleartext, "open.test", Found::Site(0)),
        ] {
            let is = hosts.find(authority.as_bytes(), asked);
            assert_eq!(is, found, "{asked:?} {authority}");
        }
    }
}
