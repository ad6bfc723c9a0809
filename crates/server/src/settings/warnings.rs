//! Warnings about flags without effect, and about routes that lead back to this server.

use std::collections::HashSet;
use std::net::IpAddr;

use clap::CommandFactory;
use tidegate_net::Protocols;

use crate::flags::{ClientCerts, FileAt, Flags, HttpRedirect, Listen, Route, RouteTarget, Switch};
use crate::hosts;
use crate::proxy::target::{Scheme, UpstreamTarget};
use crate::push::Mode;
use crate::router::covers;
use crate::settings::scope::OF_UPSTREAMS;
use crate::settings::{Origins, SiteSettings, UpstreamSettings};

/// Returns warnings about the settings of a server and its sites. `given` names the flags that are
/// set for the whole server. Without sites of its own, `flags` describes the only one.
pub fn all(
    flags: &Flags,
    given: &HashSet<String>,
    origins: &Origins,
    sites: &[SiteSettings],
    named: &[UpstreamSettings],
) -> Vec<String> {
    let mut server = flags.clone();
    for site in sites.iter().filter(|site| !site.given.is_empty()) {
        let site = &site.flags;
        server.route.extend(site.route.iter().cloned());
        server.websocket.extend(site.websocket.iter().cloned());
        server.preload.extend(site.preload.iter().cloned());
        server.root = server.root.or(site.root.clone());
        server.preload_file = server.preload_file.or(site.preload_file.clone());
        server
            .response_field
            .extend(site.response_field.iter().cloned());
        if site.http_redirect != HttpRedirect::Off {
            server.http_redirect = site.http_redirect.clone();
        }
    }
    let is_for_all_hosts = sites.iter().any(|site| site.names.is_empty());
    let all = upstreams(&server, named);
    let has_named = !named.is_empty();
    let targets = all.iter().map(|leads| leads.target);
    let targets = targets.chain(named.iter().map(|named| &named.target));
    let reach = Reach {
        routes: targets.clone().collect(),
        policy: targets.collect(),
        has_named: false,
        is_for_all_hosts,
    };
    let mut warnings = without_effect(&server, given, origins, &reach);
    for site in sites {
        let SiteSettings { flags, origins, .. } = site;
        let leads = upstreams(flags, named);
        let own = leads.iter().filter(|leads| !leads.is_named);
        let reach = Reach {
            routes: leads.iter().map(|leads| leads.target).collect(),
            policy: own.map(|leads| leads.target).collect(),
            has_named,
            is_for_all_hosts,
        };
        warnings.extend(without_effect(flags, &site.given, origins, &reach));
        warnings.extend(of_names(site));
        warnings.extend(of_routes(site, &leads));
        warnings.extend(covered(flags, origins));
        warnings.extend(circles(flags, origins, &leads));
    }
    for upstream in named {
        warnings.extend(of_upstream(upstream, sites));
    }
    warnings
}

/// A route to an upstream.
struct Leads<'a> {
    /// The index of the route.
    nth: usize,
    route: &'a Route,
    target: &'a UpstreamTarget,
    /// Whether the upstream has a name, and so its own settings.
    is_named: bool,
}

/// The upstreams that settings are for.
struct Reach<'a> {
    /// All that routes lead to.
    routes: Vec<&'a UpstreamTarget>,
    /// Those whose connections and requests the settings are for.
    policy: Vec<&'a UpstreamTarget>,
    /// Whether other upstreams have settings of their own.
    has_named: bool,
    /// Whether some site has no names.
    is_for_all_hosts: bool,
}

fn upstreams<'a>(flags: &'a Flags, named: &'a [UpstreamSettings]) -> Vec<Leads<'a>> {
    let routes = flags.route.iter().enumerate();
    let upstreams = routes.filter_map(|(nth, route)| {
        let (target, is_named) = match &route.target {
            RouteTarget::Upstream(target) => (target, false),
            RouteTarget::NamedUpstream(target) => {
                let named = named.iter().find(|named| named.name == target.name)?;
                (&named.target, true)
            }
            _ => return None,
        };
        Some(Leads {
            nth,
            route,
            target,
            is_named,
        })
    });
    upstreams.collect()
}

/// Returns warnings about names that a wildcard of the same site covers. Another site's wildcard
/// leaves them to this one.
fn of_names(site: &SiteSettings) -> Vec<String> {
    let exact = site.names.iter().filter(|name| !name.starts_with("*."));
    let covered = exact.filter_map(|name| {
        let mut wildcards = site.names.iter().filter(|name| name.starts_with("*."));
        let wildcard = wildcards.find(|wildcard| hosts::covers(wildcard, name.as_bytes()))?;
        Some(format!(
            "{}the name {name} has no effect: {wildcard} of the same site covers it",
            site.place
        ))
    });
    covered.collect()
}

/// Returns warnings about those keys of routes that have no effect with the route's target.
fn of_routes(site: &SiteSettings, leads: &[Leads<'_>]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (nth, (route, own)) in site.flags.route.iter().zip(&site.routes).enumerate() {
        let upstream = leads.iter().find(|leads| leads.nth == nth);
        let why = |key: &str| match upstream {
            None if key == "upstream-host" || OF_UPSTREAMS.contains(&key) => {
                Some("the target isn't an upstream")
            }
            Some(leads) if leads.target.scheme != Scheme::Https && TLS_KEYS.contains(&key) => {
                Some("the target doesn't begin with https://")
            }
            _ if key == "fallback" && !matches!(route.target, RouteTarget::Directory(_)) => {
                Some("the target isn't a directory")
            }
            _ => None,
        };
        let mut keys: Vec<&String> = own.given.iter().collect();
        keys.sort_unstable();
        for key in keys {
            if let Some(why) = why(key) {
                let named = own.origins.named(key, 0);
                warnings.push(format!("{named} has no effect: {why}"));
            }
        }
    }
    warnings
}

/// Returns warnings about an upstream that has a name.
fn of_upstream(upstream: &UpstreamSettings, sites: &[SiteSettings]) -> Vec<String> {
    let UpstreamSettings {
        name,
        target,
        flags,
        origins,
        place,
        given,
    } = upstream;
    let mut warnings = Vec::new();
    let mut routes = sites.iter().flat_map(|site| &site.flags.route);
    let is_used = routes
        .any(|route| matches!(&route.target, RouteTarget::NamedUpstream(to) if to.name == *name));
    if !is_used {
        warnings.push(format!(
            "{place}the upstream {name} isn't used: no route leads to upstream:{name}"
        ));
    }
    if target.scheme != Scheme::Https {
        let in_vain = TLS_KEYS.iter().filter(|key| given.contains(**key));
        warnings.extend(in_vain.map(|key| {
            let key = origins.named(key, 0);
            format!("{key} has no effect: the addresses of {name} don't begin with https://")
        }));
    }
    if target.hosts.iter().any(|host| is_own(flags, host)) {
        warnings.push(format!(
            "{place}the upstream {name} leads back to this server, which listens there: requests go \
             round in circles"
        ));
    }
    warnings
}

/// Keys that have an effect only with TLS.
const TLS_KEYS: [&str; 4] = [
    "upstream-ca",
    "upstream-cert",
    "upstream-key",
    "upstream-name",
];

/// Returns warnings about those of the `given` flags that have no effect beside the others.
fn without_effect(
    flags: &Flags,
    given: &HashSet<String>,
    origins: &Origins,
    reach: &Reach<'_>,
) -> Vec<String> {
    let command = Flags::command();
    let is_given = |flag: &&clap::Arg| flag.get_long().is_some_and(|name| given.contains(name));
    let has = |scheme| reach.policy.iter().any(|target| target.scheme == scheme);
    let (has_tls, has_h2c) = (has(Scheme::Https), has(Scheme::H2c));
    let is_none = |listen: &[Listen]| matches!(listen, [Listen::None, ..]);
    let is_for_all_hosts = reach.is_for_all_hosts;
    let has_list = !flags.preload.is_empty() || flags.preload_file.is_some();
    let has_own_site = flags.root.is_some() || !flags.route.is_empty();

    let why_in_vain = |argument: &clap::Arg| match argument.get_id().as_str() {
        _ if argument.get_help_heading() == Some("TLS") && is_none(&flags.listen) => {
            Some("--listen none leaves no port for TLS")
        }
        "client_ca" | "client_crl" | "client_cert_field"
            if flags.client_certs == ClientCerts::Off =>
        {
            Some("--client-certs is off")
        }
        "ticket_key" if flags.early_data == Switch::On => Some(
            "--early-data keeps sessions in this process, because each may be resumed only once",
        ),
        "h2c_upgrade" if is_none(&flags.listen_h2c) => {
            Some("--listen-h2c none leaves no port in cleartext")
        }
        "early_hints" if !has_list && has_own_site => {
            Some("no --preload or --preload-file lists what pages need")
        }
        "preload" if is_unused(flags) => Some("neither --early-hints nor --push is on"),
        "min_body_rate" if flags.body_timeout.is_zero() => {
            Some("--body-timeout 0 leaves no time after which to judge")
        }
        "trust_forwarded_from" if tells_tls_apart(flags) => None,
        // `Config::new` makes this an error.
        "websocket" => None,
        _ if argument.get_help_heading() == Some("Upstreams") && reach.routes.is_empty() => {
            Some("no --route leads to an upstream")
        }
        _ if is_of_upstreams(argument) && reach.policy.is_empty() && reach.has_named => {
            Some("the routes lead to upstreams with names: write it in [upstream.NAME]")
        }
        _ if argument
            .get_long()
            .is_some_and(|key| TLS_KEYS.contains(&key))
            && !has_tls =>
        {
            Some("no --route leads to an upstream with https://")
        }
        "fallback" if flags.fallback != FileAt::None && !has_directory(flags) => {
            Some("no --route leads to a directory")
        }
        "unknown_host" if is_for_all_hosts => Some("one of the sites is for all other hosts"),
        // gRPC needs HTTP/2.
        "tunnel_timeout" if flags.websocket.is_empty() && !has_tls && !has_h2c => Some(
            "it is for WebSockets and gRPC, and there is neither --websocket nor an upstream that \
             speaks HTTP/2",
        ),
        "max_connections_per_client"
            if flags
                .max_connections
                .is_some_and(|all| flags.max_connections_per_client >= all) =>
        {
            Some("--max-connections allows no more to all clients together")
        }
        _ => None,
    };
    let given = command.get_arguments().filter(is_given);
    let in_vain = given.filter_map(|argument| {
        let (name, why) = (argument.get_long()?, why_in_vain(argument)?);
        Some(format!("{} has no effect: {why}", origins.named(name, 0)))
    });
    in_vain.collect()
}

/// Returns warnings about paths of WebSockets that another one covers.
fn covered(flags: &Flags, origins: &Origins) -> Vec<String> {
    let websockets = flags.websocket.iter().enumerate();
    let covered = websockets.filter_map(|(place, path)| {
        let others = flags.websocket.iter().enumerate();
        let (_, other) = others
            .filter(|(other, _)| *other != place)
            .find(|(at, other)| {
                // The second of two equal paths has no effect.
                covers(other.trim_end_matches('/').as_bytes(), path.as_bytes())
                    && (*other != path || *at < place)
            })?;
        let named = origins.named("websocket", place);
        Some(format!(
            "{named} {path} has no effect: --websocket {other} covers it"
        ))
    });
    covered.collect()
}

/// Returns warnings about routes that lead back to this server.
fn circles(flags: &Flags, origins: &Origins, leads: &[Leads<'_>]) -> Vec<String> {
    let circles = leads
        .iter()
        .filter(|leads| !leads.is_named)
        .filter(|leads| leads.target.hosts.iter().any(|host| is_own(flags, host)))
        .map(|leads| {
            format!(
                "{} {}={} leads back to this server, which listens there: requests go round in \
                 circles",
                origins.named("route", leads.nth),
                leads.route.path,
                leads.target,
            )
        });
    circles.collect()
}

fn is_of_upstreams(argument: &clap::Arg) -> bool {
    let name = argument.get_long();
    name.is_some_and(|name| OF_UPSTREAMS.contains(&name))
}

fn has_directory(flags: &Flags) -> bool {
    let mut routes = flags.route.iter();
    let is_directory = |route: &Route| matches!(route.target, RouteTarget::Directory(_));
    flags.root.is_some() || routes.any(is_directory)
}

/// Whether answers depend on whether a client has them over TLS.
fn tells_tls_apart(flags: &Flags) -> bool {
    flags.http_redirect != HttpRedirect::Off || !flags.response_field.is_empty()
}

/// Whether a preload list would have no effect.
fn is_unused(flags: &Flags) -> bool {
    (flags.push, flags.early_hints) == (Mode::Off, Some(Switch::Off))
}

/// Whether the server itself listens on this address.
fn is_own(flags: &Flags, (host, port): &(String, u16)) -> bool {
    let ip = if host == "localhost" {
        Some(IpAddr::from([127, 0, 0, 1]))
    } else {
        host.parse().ok()
    };
    let is_here = |listen: &Listen| match (listen, ip) {
        (Listen::Everywhere(own, _), Some(ip)) => own == port && ip.is_loopback(),
        (Listen::At(own, _), Some(ip)) => {
            let is_same = own.ip() == ip || own.ip().is_unspecified() && ip.is_loopback();
            own.port() == *port && is_same
        }
        _ => false,
    };
    let ports = |typed: &[Listen], default| match typed {
        [] => is_here(&Listen::Everywhere(default, Protocols::Both)),
        typed => typed.iter().any(is_here),
    };
    *port != 0 && (ports(&flags.listen, 8443) || ports(&flags.listen_h2c, 8080))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use crate::command_line::CommandLine;

    fn warnings(line: &str) -> Vec<String> {
        let words = std::iter::once("tidegate").chain(line.split_whitespace());
        let read = CommandLine::read(words.map(OsString::from));
        read.unwrap_or_else(|error| panic!("{line}: {error}"))
            .warnings
    }

    #[test]
    fn flags_without_effect_get_a_warning() {
        for (line, says) in [
            (
                "--listen none --cert c --key k",
                "--cert has no effect: --listen none",
            ),
            (
                "--listen-h2c none --h2c-upgrade",
                "--h2c-upgrade has no effect",
            ),
            (
                "--route /=status --upstream-name x",
                "--upstream-name has no effect: no --route",
            ),
            (
                "--trust-forwarded-from 10.0.0.0/8",
                "--trust-forwarded-from has no effect",
            ),
            ("--upstream-timeout 60s", "--upstream-timeout has no effect"),
            (
                "--route /=http://a --upstream-ca c",
                "no --route leads to an upstream with https://",
            ),
            (
                "--route /=status --early-hints on",
                "--early-hints has no effect",
            ),
            (
                "--route /=http://a --tunnel-timeout 5s",
                "--tunnel-timeout has no effect",
            ),
            (
                "--max-connections 10 --max-connections-per-client 10",
                "--max-connections-per-client has no effect",
            ),
            (
                "--route /=http://a --websocket /a --websocket /a",
                "--websocket /a has no effect: --websocket /a covers it",
            ),
            (
                "--route /=http://a --websocket /a/b --websocket /a",
                "--websocket /a/b has no effect: --websocket /a covers it",
            ),
            (
                "--route /=http://a --websocket / --websocket /a",
                "--websocket /a has no effect: --websocket / covers it",
            ),
            (
                "--body-timeout 0 --min-body-rate 1",
                "--min-body-rate has no effect",
            ),
            (
                "--route /a=http://localhost:8080",
                "--route /a=http://localhost:8080 leads back",
            ),
            (
                "--listen 127.0.0.2:1 --route /=https://127.0.0.2:1",
                "leads back",
            ),
        ] {
            let warnings = warnings(line);
            assert!(
                warnings.iter().any(|warning| warning.contains(says)),
                "{line}: {warnings:?}"
            );
        }
        for line in [
            "",
            "--cert c --key k",
            "--route /=http://a:8080 --upstream-timeout 1s --trust-forwarded-from ::1",
            "--route /=http://b --route /a=https://a --upstream-name a",
            "--listen none --listen-h2c 127.0.0.1:1 --route /=http://127.0.0.1:2,127.0.0.2:1",
            "--early-hints on",
            "--route /=http://a --websocket /a --websocket /ab --tunnel-timeout 1s",
            "--route /=h2c://a --tunnel-timeout 1s",
            "--route /=h2c://a --upstream-max-connections 5",
            "--max-connections 10 --max-connections-per-client 9",
            "get http://a",
        ] {
            let warnings = warnings(line);
            assert!(warnings.is_empty(), "{line}: {warnings:?}");
        }
    }
}
