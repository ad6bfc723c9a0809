//! The values of flags, and how they are read.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use tidegate_http::{KnownName, Priorities, Priority, is_authority};
use tidegate_net::{Protocols, TlsGroup, TlsSuite};

use crate::handlers::Named;
use crate::path::RequestPath;
use crate::proxy::fields::{field_to_drop, is_rewritten};
use crate::proxy::target::{NamedTarget, UpstreamTarget};
use crate::push::Preload;
use crate::redirect::Redirect;

/// One value of `--listen` or `--listen-h2c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// No such port.
    None,
    /// This port on all interfaces, IPv6 and IPv4, for these protocols.
    Everywhere(u16, Protocols),
    /// This address only, for these protocols.
    At(SocketAddr, Protocols),
}

pub(super) fn listen(typed: &str) -> Result<Listen, String> {
    if typed == "none" {
        return Ok(Listen::None);
    }
    let (typed, protocols) = match typed.split_once(',') {
        Some((address, protocols)) => (address, speaking(protocols)?),
        None => (typed, Protocols::Both),
    };
    let port = typed.strip_prefix(':').unwrap_or(typed);
    if let Ok(port) = port.parse() {
        return Ok(Listen::Everywhere(port, protocols));
    }
    if let Ok(address) = typed.parse() {
        return Ok(Listen::At(address, protocols));
    }
    if typed.parse::<IpAddr>().is_ok() {
        return Err("the port is missing: write 127.0.0.1:8443 or [::1]:8443".into());
    }
    Err("expected ADDR:PORT (such as 127.0.0.1:8443 or [::1]:8443), :PORT, PORT or none".into())
}

/// Reads the protocols of a port, by their names in ALPN.
fn speaking(typed: &str) -> Result<Protocols, String> {
    let names: Vec<&str> = typed.split(',').collect();
    match names[..] {
        ["h2"] => Ok(Protocols::Http2),
        ["http/1.1"] => Ok(Protocols::Http1),
        ["h2", "http/1.1"] | ["http/1.1", "h2"] => Ok(Protocols::Both),
        _ => Err("expected h2 or http/1.1 after the comma, as in 8443,h2; without it both".into()),
    }
}

/// Least versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MinVersion {
    /// TLS 1.2.
    #[value(name = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[value(name = "1.3")]
    V1_3,
}

pub(super) fn tls_suite(typed: &str) -> Result<TlsSuite, String> {
    let all = || TlsSuite::names().collect::<Vec<_>>().join(", ");
    TlsSuite::named(typed).ok_or_else(|| format!("there are {}", all()))
}

pub(super) fn tls_group(typed: &str) -> Result<TlsGroup, String> {
    let all = || TlsGroup::names().collect::<Vec<_>>().join(", ");
    TlsGroup::named(typed).ok_or_else(|| format!("there are {}", all()))
}

/// The certificates that clients are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientCerts {
    /// None.
    Off,
    /// A client may show one.
    Optional,
    /// A client must show one.
    Required,
}

/// A field that tells upstreams about a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertField {
    /// The field's name, in lower case.
    pub name: String,
    /// The fact in it.
    pub fact: CertFact,
}

/// A fact about a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertFact {
    /// `SUCCESS`, or `NONE` if the client has shown none.
    Verdict,
    /// The subject, as RFC 4514 writes it.
    Subject,
    /// The alternative names.
    San,
    /// SHA-256 of the certificate.
    Fingerprint,
    /// The certificate, as RFC 9440 writes it.
    Certificate,
}

pub(super) fn cert_field(typed: &str) -> Result<CertField, String> {
    let wrong = || {
        "expected NAME=FACT, such as X-Client-Cert-Subject=subject; the facts are verdict, \
         subject, san, fingerprint and certificate"
            .to_owned()
    };
    let (name, fact) = typed.split_once('=').ok_or_else(wrong)?;
    let fact = CertFact::from_str(fact, false).map_err(|_| wrong())?;
    field_name(name)?;
    let name = name.to_ascii_lowercase();
    // A known field has a meaning of its own. And another spelling would be dropped on the way.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if KnownName::of(name.as_bytes()).is_some() || !name.bytes().all(is_plain) {
        return Err(format!(
            "{name} can't be the field: choose one of letters, digits and hyphens that has no \
             other meaning"
        ));
    }
    Ok(CertField { name, fact })
}

/// One value of `--route`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, which begins with `/`.
    pub path: String,
    /// The handler of the path.
    pub target: RouteTarget,
}

/// The part of `--route` after the `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Files below this directory.
    Directory(PathBuf),
    /// Another place.
    Redirect(Redirect),
    /// A handler of this server.
    Named(Named),
    /// Forwards requests.
    Upstream(UpstreamTarget),
    /// Forwards requests to an upstream that has a name.
    NamedUpstream(NamedTarget),
}

pub(crate) fn path(typed: &str) -> Result<String, String> {
    if !typed.starts_with('/') {
        return Err(format!("the path must begin with /, as in /{typed}"));
    }
    let read = RequestPath::read(typed.as_bytes())
        .ok()
        .filter(|path| path.query().is_empty() && path.other_readings().is_none());
    let canonical = read.and_then(|path| String::from_utf8(path.canonical().into()).ok());
    canonical.ok_or_else(|| {
        format!(
            "no request can match {typed}: leave out the segments . and .., and //, \\, ;, ?, # and \
             controls, percent-encoded ones too"
        )
    })
}

pub(super) fn net(typed: &str) -> Result<IpNet, String> {
    let address = typed.parse::<IpAddr>().map(IpNet::from);
    let net = typed.parse::<IpNet>().map(|net| net.trunc());
    let canonical = |net: IpNet| match (net.addr().to_canonical(), net) {
        // The address of an IPv4 client is always an IPv4 address here, never a mapped one.
        (IpAddr::V4(v4), IpNet::V6(v6)) if v6.prefix_len() >= 96 => {
            IpNet::new(v4.into(), v6.prefix_len() - 96).unwrap_or(net)
        }
        _ => net,
    };
    address
        .or(net)
        .map(canonical)
        .map_err(|_| "expected an address, or a network such as 10.0.0.0/8 or 2001:db8::/32".into())
}

pub(super) fn field_name(typed: &str) -> Result<Box<[u8]>, String> {
    // RFC 9110 §5.6.2.
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if typed.is_empty() || !typed.bytes().all(is_fit) {
        return Err("expected the name of a field, such as X-Own-User".into());
    }
    let name = field_to_drop(typed);
    if is_rewritten(&name) {
        return Err(format!(
            "the proxy writes {} itself, whatever a client says",
            name.escape_ascii()
        ));
    }
    Ok(name)
}

pub(crate) fn route(typed: &str) -> Result<Route, String> {
    let Some((place, target)) = typed.split_once('=') else {
        return Err(
            "expected PATH=TARGET, such as /static=./public, /api=http://127.0.0.1:9000 or \
             /health=status"
                .into(),
        );
    };
    let path = path(place)?;
    let named = Named::ALL.iter().find(|named| named.word() == target);
    let target = match (target, named) {
        ("", _) => return Err(format!("nothing follows the = of {path}=")),
        (_, Some(named)) => RouteTarget::Named(*named),
        (typed, None) if typed.starts_with("redirect:") => {
            RouteTarget::Redirect(Redirect::parse(&typed["redirect:".len()..])?)
        }
        (upstream, None) if UpstreamTarget::is_meant(upstream) => {
            RouteTarget::Upstream(UpstreamTarget::parse(upstream)?)
        }
        (typed, None) if NamedTarget::is_meant(typed).is_some() => {
            RouteTarget::NamedUpstream(NamedTarget::parse(typed)?)
        }
        (directory, None) => match as_upstream(directory) {
            None => RouteTarget::Directory(directory.into()),
            Some(url) => {
                return Err(format!(
                    "for an upstream write {url}; a directory of that name is ./{directory}"
                ));
            }
        },
    };
    Ok(Route { path, target })
}

/// Returns the URL of the upstream that was probably meant: `localhost:3000` is an unlikely name
/// for a directory.
pub(crate) fn as_upstream(typed: &str) -> Option<String> {
    for scheme in ["http:", "h2c:", "https:"] {
        if let Some(rest) = typed.strip_prefix(scheme) {
            return Some(format!("{scheme}//{}", rest.trim_start_matches('/')));
        }
    }
    let authority = typed.split('/').next().unwrap_or_default();
    let (host, port) = authority.rsplit_once(':')?;
    let is_port = port.parse::<u16>().is_ok();
    match host {
        "" if is_port => Some(format!("http://127.0.0.1{typed}")),
        _ if is_port && is_authority(authority.as_bytes()) => Some(format!("http://{typed}")),
        _ => None,
    }
}

pub(super) fn preload(typed: &str) -> Result<Preload, String> {
    match typed.split_once('=') {
        Some((page, resource)) if page.starts_with('/') && resource.starts_with('/') => {
            Ok(Preload::new(resource).page(page))
        }
        _ => Err("expected PAGE=RESOURCE, two paths on this server such as /=/style.css".into()),
    }
}

pub(super) fn priorities(typed: &str) -> Result<Priorities, String> {
    match typed {
        "rfc9218" => Ok(Priorities::Rfc9218),
        "auto" => Ok(Priorities::Auto),
        _ => Err("expected rfc9218 or auto".into()),
    }
}

/// Reads a time such as `500ms`, `10s` or `5m`.
pub(crate) fn duration(typed: &str) -> Result<Duration, String> {
    let digits = typed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = typed.split_at(digits);
    let wrong = || "expected a time such as 500ms, 10s, 5m or 1h".to_owned();
    let millis_per_unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if number == "0" => 0,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let a_year = 365 * 24 * 3_600_000;
    match number.checked_mul(millis_per_unit) {
        Some(millis) if millis <= a_year => Ok(Duration::from_millis(millis)),
        _ => Err("that is more than a year; 0 turns the limit off".into()),
    }
}

/// The value of a flag that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// `on`.
    On,
    /// `off`.
    Off,
}

/// The answer to requests for a host that no site has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownHost {
    /// 404 (Not Found).
    #[value(name = "404")]
    NotFound,
    /// 421 (Misdirected Request).
    #[value(name = "421")]
    Misdirected,
    /// The stream is reset, in HTTP/1.1 the connection closed.
    Reset,
}

/// A file of a directory, by its path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// No file.
    None,
    /// The file at this canonical path.
    Path(String),
}

pub(super) fn file_at(typed: &str) -> Result<FileAt, String> {
    match typed {
        "none" => Ok(FileAt::None),
        _ if typed.ends_with('/') => Err("expected the path of a file, as in /index.html".into()),
        _ => path(typed).map(FileAt::Path),
    }
}

/// The answer to requests in cleartext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpRedirect {
    /// That of the route.
    Off,
    /// A redirect to this place.
    To(Redirect),
}

pub(super) fn http_redirect(typed: &str) -> Result<HttpRedirect, String> {
    match typed {
        "off" => Ok(HttpRedirect::Off),
        "on" => Ok(HttpRedirect::To(Redirect::to_https())),
        _ => match Redirect::parse(typed) {
            Ok(redirect) => Ok(HttpRedirect::To(redirect)),
            Err(problem) => Err(format!("{problem}; or write on or off")),
        },
    }
}

pub(super) fn priority(typed: &str) -> Result<Priority, String> {
    let expected = || {
        "expected an urgency from 0 to 7, as in u=5, or u=5, i for content that is of use in parts"
            .to_owned()
    };
    let mut priority = Priority::default();
    for member in typed.split(',').map(str::trim) {
        match member.strip_prefix("u=") {
            Some(urgency) => {
                priority.urgency = number::<0, 7>(urgency).map_err(|_| expected())? as u8;
            }
            None if member == "i" => priority.incremental = true,
            None => return Err(expected()),
        }
    }
    Ok(priority)
}

/// The treatment of a client that exceeds its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientShares {
    /// The client gets no more.
    Enforce,
    /// The client gets more, and the server counts that.
    Log,
    /// The client gets more.
    Off,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

pub(super) fn size(typed: &str) -> Result<Size, String> {
    let digits = typed.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = typed.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return Err("expected a size such as 65536, 64K or 8M".into()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a size such as 65536, 64K or 8M")?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes <= 1 << 50 => Ok(Size(bytes)),
        _ => Err("that is more than a million gigabytes".into()),
    }
}

pub(super) fn window(typed: &str) -> Result<Size, String> {
    match size(typed)? {
        // RFC 9113 §6.9.2: each stream begins with 65,535 bytes.
        Size(0..=0xfffe) => {
            Err("expected 64K or more: the window of each stream begins with that".into())
        }
        size => Ok(size),
    }
}

/// Reads a number from `LOW` to `HIGH`.
pub(crate) fn number<const LOW: u32, const HIGH: u32>(typed: &str) -> Result<u32, String> {
    let number = typed.parse().ok();
    number
        .filter(|number| (LOW..=HIGH).contains(number))
        .ok_or_else(|| format!("expected a number from {LOW} to {HIGH}"))
}

pub(super) fn budget(typed: &str) -> Result<Size, String> {
    match size(typed)? {
        Size(1..0x10_0000) => Err("expected 1M or more; 0 turns the limit off".into()),
        size => Ok(size),
    }
}

pub(super) fn log_filter(typed: &str) -> Result<String, String> {
    // The parser would take a misspelled level for the name of a target.
    let directives = typed.split('/').next().unwrap_or_default().split(',');
    let is_level = |word: &str| word.parse::<log::LevelFilter>().is_ok();
    for word in directives.map(str::trim).filter(|word| !word.is_empty()) {
        let (target, level) = match word.split_once('=') {
            None => (word, word),
            Some((target, level)) => (target, level),
        };
        if !is_level(level) {
            return Err(format!(
                "{level} isn't a level: write off, error, warn, info, debug or trace, or \
                 {target}=debug for a target"
            ));
        }
    }
    match env_filter::Builder::new().try_parse(typed) {
        Ok(_) => Ok(typed.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
