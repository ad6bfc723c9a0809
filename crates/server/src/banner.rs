//! The text at start: where the server listens, and what to try.

use std::net::{IpAddr, Ipv4Addr};

use tidegate_net::{Protocols, Security};

use crate::admin::AdminSocket;
use crate::listening::Bound;
use crate::site::{Served, Target};

/// Facts for the text at start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Whether the certificate was made at start.
    pub(crate) self_signed: bool,
    /// The descriptors that the process may have.
    pub(crate) descriptors: u64,
}

/// Returns the text at start: where the server listens and what to try.
pub(crate) fn banner(
    bound: &[Bound],
    admin: Option<&AdminSocket>,
    served: &Served,
    start: Start,
) -> String {
    let mut text = format!("tidegate {} is ready\n\n", env!("CARGO_PKG_VERSION"));
    let mut curl = None;
    for Bound {
        addr,
        protocols,
        security,
        ..
    } in bound
    {
        let host = if addr.ip().is_unspecified() {
            "localhost".to_owned()
        } else {
            host(addr.ip())
        };
        let port = addr.port();
        let spoken = match (protocols, security) {
            (Protocols::Both, Security::Plain) => "HTTP/2 (prior knowledge) and HTTP/1.1",
            (Protocols::Both, Security::Tls(_)) => "HTTP/2 and HTTP/1.1",
            (Protocols::Http2, Security::Plain) => "HTTP/2 (prior knowledge)",
            (Protocols::Http2, Security::Tls(_)) => "HTTP/2",
            (Protocols::Http1, _) => "HTTP/1.1",
        };
        let (url, kind, flag) = match security {
            Security::Plain => (
                format!("http://{host}:{port}"),
                format!("{spoken} in cleartext"),
                match protocols {
                    Protocols::Both | Protocols::Http2 => "--http2-prior-knowledge ",
                    Protocols::Http1 => "",
                },
            ),
            Security::Tls(_) if start.self_signed => (
                format!("https://{host}:{port}"),
                format!("{spoken} over TLS, with a new self-signed certificate"),
                "-k ",
            ),
            Security::Tls(_) => (
                format!("https://{host}:{port}"),
                format!("{spoken} over TLS"),
                "",
            ),
        };
        text.push_str(&format!("  {:<28}{kind}\n", format!("{url}/")));
        curl.get_or_insert((url, flag));
    }
    if let Some(admin) = admin {
        text.push_str(&format!(
            "  {:<28}admin: live page, metrics and health\n",
            admin.to_string()
        ));
    }
    let only = served.hosts.is_none().then(|| served.sites.first());
    if let Some(hosts) = &served.hosts {
        text.push_str("\nSites\n");
        for names in hosts.names() {
            text.push_str(&format!("  {names}\n"));
        }
    }
    if let (Some((url, flag)), Some(site)) = (curl, only.flatten()) {
        text.push_str("\nTry\n");
        for (path, route) in site.routes.paths() {
            let (options, note) = match &route.target {
                Target::Demo => ("-v ", "or open it in a browser"),
                Target::Named(named) => (named.curl(), ""),
                Target::Files(_) | Target::Proxy(_) | Target::Redirect(_) => ("-v ", ""),
            };
            let line = format!("  curl {flag}{options}{url}{path}");
            text.push_str(&match note {
                "" => format!("{line}\n"),
                _ => format!("{line}   ({note})\n"),
            });
        }
    }
    text.push_str(&format!(
        "\n{} open files are allowed.\n",
        start.descriptors
    ));
    text.push_str("Ctrl-C stops the server; --help describes routes, certificates and limits.\n");
    text
}

/// Formats an address as URLs do.
fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => Ipv4Addr::to_string(&v4),
            None => format!("[{v6}]"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        for (ip, url) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::1", "[::1]"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
        ] {
            assert_eq!(host(ip.parse().unwrap()), url);
        }
    }
}
