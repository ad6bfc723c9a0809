//! The upstream in a `--route`: `http://127.0.0.1:9000`, or several addresses separated by commas.

use std::fmt;

use http::Uri;
use tidegate_http::{ascii_target, is_authority};

use crate::path::RequestPath;

/// The protocol of an upstream, by the scheme of its URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http://`: HTTP/1.1 in cleartext.
    Http,
    /// `h2c://`: HTTP/2 in cleartext.
    H2c,
    /// `https://`: TLS, with HTTP/2 or HTTP/1.1 by ALPN.
    Https,
}

impl Scheme {
    const ALL: [Self; 3] = [Self::Http, Self::H2c, Self::Https];

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::H2c => "h2c",
            Self::Https => "https",
        }
    }

    /// Returns the scheme of requests.
    pub fn of_requests(self) -> &'static str {
        match self {
            Self::Http | Self::H2c => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

/// An upstream as typed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTarget {
    /// The protocol.
    pub scheme: Scheme,
    /// Names or addresses, with ports; at least one.
    pub hosts: Vec<(String, u16)>,
    /// The first host as typed, which `--upstream-host rewrite` sends as Host.
    pub authority: String,
    /// The path after the address, which replaces the path of the route.
    pub base: Option<String>,
}

impl fmt::Display for UpstreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        for (n, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            if host.contains(':') {
                write!(f, "{comma}[{host}]:{port}")?;
            } else {
                write!(f, "{comma}{host}:{port}")?;
            }
        }
        f.write_str(self.base.as_deref().unwrap_or(""))
    }
}

impl UpstreamTarget {
    /// Whether a target is meant to be an upstream. No directory has such a name.
    pub fn is_meant(typed: &str) -> bool {
        typed.contains("://")
    }

    /// Reads a target that is meant to be an upstream.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the target.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let scheme = Scheme::ALL
            .into_iter()
            .find(|scheme| strip_scheme(typed, *scheme).is_some())
            .ok_or_else(|| match typed.split_once("://") {
                Some(("ws", rest)) => {
                    format!("write http://{rest}, and add --websocket PATH to pass WebSockets")
                }
                Some(("wss", rest)) => {
                    format!("write https://{rest}, and add --websocket PATH to pass WebSockets")
                }
                _ => format!("{typed} must begin with http://, h2c:// or https://"),
            })?;
        let mut hosts = Vec::new();
        let mut authority = None;
        let mut base: Option<String> = None;
        for address in typed.split(',') {
            let rest = match address.split_once("://") {
                None => address,
                Some(_) => strip_scheme(address, scheme).ok_or_else(|| {
                    format!(
                        "all addresses of an upstream must have one scheme: change that of \
                         {address} in {typed}"
                    )
                })?,
            };
            // The protocol is known already, so the rest is parsed as that of an "http" URI.
            let uri: Uri = format!("http://{rest}")
                .parse()
                .map_err(|_| format!("{address} isn't an address: expected HOST:PORT"))?;
            let found = uri
                .authority()
                .ok_or_else(|| format!("{address} has no host"))?;
            if found.as_str().contains('@') || uri.query().is_some() || rest.contains('#') {
                return Err(format!("leave out the user, ? and # of {address}"));
            }
            let host = found.host().trim_start_matches('[').trim_end_matches(']');
            if host.is_empty() {
                return Err(format!("{address} has no host"));
            }
            let port = match found.as_str().strip_prefix(found.host()) {
                Some("") => scheme.port(),
                _ => found
                    .port_u16()
                    .filter(|port| *port > 0)
                    .ok_or_else(|| format!("{address} has no port from 1 to 65535"))?,
            };
            if !is_authority(found.as_str().as_bytes()) {
                return Err(format!("{host} in {address} isn't a name or an address"));
            }
            authority.get_or_insert_with(|| found.to_string());
            hosts.push((host.to_owned(), port));
            // An empty path and `/` are the same to a URI, but have different meanings in a route.
            if rest.len() > found.as_str().len() {
                let path = base_path(uri.path())?;
                if base.as_ref().is_some_and(|base| *base != path) {
                    return Err(format!(
                        "all addresses of an upstream must have one path, unlike {typed}"
                    ));
                }
                base = Some(path);
            }
        }
        Ok(Self {
            scheme,
            hosts,
            authority: authority.unwrap_or_default(),
            base,
        })
    }
}

/// An upstream that has a name, as typed: `upstream:NAME`, perhaps with a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedTarget {
    /// The name.
    pub name: String,
    /// The path after the name, which replaces the path of the route.
    pub base: Option<String>,
}

impl NamedTarget {
    /// Returns what follows `upstream:`, if a target begins with that.
    pub fn is_meant(typed: &str) -> Option<&str> {
        typed.strip_prefix("upstream:")
    }

    /// Reads a target that begins with `upstream:`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the target.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let rest = Self::is_meant(typed).unwrap_or(typed);
        let (name, base) = match rest.find('/') {
            None => (rest, None),
            Some(slash) => (&rest[..slash], Some(base_path(&rest[slash..])?)),
        };
        if !is_name(name) {
            return Err(format!(
                "expected the name of an upstream, as in upstream:api for [upstream.api]; a \
                 directory of that name is ./{typed}"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            base,
        })
    }
}

/// Whether this can be the name of an upstream.
pub fn is_name(typed: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !typed.is_empty() && typed.bytes().all(is_fit)
}

/// Checks the path of an upstream, and returns it in the form that requests have.
fn base_path(typed: &str) -> Result<String, String> {
    let path = RequestPath::read(typed.as_bytes())
        .map_err(|error| {
            error
                .text()
                .trim_start_matches("400 Bad Request: ")
                .trim_end()
        })
        .map_err(|problem| format!("no request can go to {typed}: {problem}"))?;
    let ascii = ascii_target(path.raw());
    String::from_utf8(ascii).map_err(|_| format!("no request can go to {typed}"))
}

fn strip_scheme(typed: &str, scheme: Scheme) -> Option<&str> {
    typed.strip_prefix(scheme.name())?.strip_prefix("://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(typed: &str) -> UpstreamTarget {
        UpstreamTarget::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"))
    }

    #[test]
    fn one_address_and_several() {
        let one = parse("http://127.0.0.1:9000");
        assert_eq!((one.scheme, one.base.as_deref()), (Scheme::Http, None));
        assert_eq!(one.hosts, [("127.0.0.1".to_owned(), 9000)]);
        let several = parse("h2c://a:1,b:2,h2c://[::1]:3/api");
        assert_eq!(several.scheme, Scheme::H2c);
        let hosts = [("a", 1), ("b", 2), ("::1", 3)].map(|(host, port)| (host.to_owned(), port));
        assert_eq!(several.hosts, hosts);
        assert_eq!(
            (several.base.as_deref(), &*several.authority),
            (Some("/api"), "a:1")
        );
        assert_eq!(several.to_string(), "h2c://a:1,b:2,[::1]:3/api");
    }

    #[test]
    fn ports_and_paths_may_be_left_out() {
        assert_eq!(parse("http://a").hosts[0].1, 80);
        assert_eq!(parse("h2c://a").hosts[0].1, 80);
        let tls = parse("https://example.org/");
        assert_eq!((tls.hosts[0].1, tls.base.as_deref()), (443, Some("/")));
        assert_eq!(tls.authority, "example.org");
    }

    #[test]
    fn mistakes_are_errors() {
        for (typed, words) in [
            ("http://", "isn't an address"),
            ("http://:80", "no"),
            ("http://a:", "port"),
            ("http://a:0", "port"),
            ("http://a:65536", "port"),
            ("http://a:b", "port"),
            ("http://u@a", "leave out"),
            ("http://a?b", "leave out"),
            ("http://a/#b", "leave out"),
            ("http://a,https://b", "one scheme"),
            ("http://a/x,b/y", "one path"),
            ("http://a,,b", "isn't an address"),
            ("http://a b", "isn't an address"),
            ("h2c://[::h]:80", "isn't a name"),
            ("http://a[]", "isn't a name"),
            ("http://a/b/../c", "no request can go to /b/../c"),
            ("http://a//b", "no request can go to //b"),
            ("http://a/%00", "no request can go to /%00"),
            ("ws://a", "write http://a, and add --websocket"),
            ("ftp://a", "must begin with http://, h2c:// or https://"),
        ] {
            let error = UpstreamTarget::parse(typed).expect_err(typed);
            assert!(error.contains(words), "{typed}: {error}");
        }
        assert!(UpstreamTarget::is_meant("ftp://a") && !UpstreamTarget::is_meant("./http"));
    }
}
