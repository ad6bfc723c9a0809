//! The flags as typed. [`config`](crate::config) checks them and fills in defaults.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, ValueEnum};
use ipnet::IpNet;
use tidegate_http::{Priorities, is_authority};

use crate::get;
use crate::handlers::Named;
use crate::path::RequestPath;
use crate::proxy::fields::{field_to_drop, is_rewritten};
use crate::proxy::target::UpstreamTarget;
use crate::push::{Mode, Preload};

const EXAMPLES: &str = "\
Routes:
  PATH=TARGET, where TARGET is a directory, an upstream, or one of these words
  (write ./status for a directory of that name):
    status   answers {\"status\":\"ok\"}
    upload   takes a body of any size, answers {\"bytes\":N,\"sha256\":\"...\"}
    echo     sends the body back as it streams in
  An upstream is http://HOST:PORT (HTTP/1.1), h2c://HOST:PORT (HTTP/2 in
  cleartext) or https://HOST:PORT (TLS; HTTP/2 or HTTP/1.1 by ALPN). It may have
  several addresses, separated by commas: the least busy one gets the next
  request. The path of a request stays as it is, unless a path follows the
  address: that replaces PATH.
  The longest PATH that covers a request wins; /a covers /a and /a/b, not /ab.
  Without routes there is a demo site at /, and /status, /upload and /echo.

Times:
  500ms, 10s, 5m, 1h; 0 turns a limit off.

Sizes:
  bytes, or 64K, 8M, 1G (of 1024 each).

Examples:
  the demo site, with a self-signed certificate:
    tidegate
  a directory, with your own certificate:
    tidegate --root ./public --listen 443 --listen-h2c none \\
        --cert site.pem --key site.key
  cleartext on loopback only, with a health check:
    tidegate --route /=./public --route /api/health=status \\
        --listen none --listen-h2c 127.0.0.1:8080
  what the page / needs, pushed as clients turn out to request it:
    tidegate --root ./public --preload /=/style.css --preload /=/app.js \\
        --push learned
  files and two upstreams:
    tidegate --root ./public --route /api=http://127.0.0.1:9000 \\
        --route /grpc.Service=h2c://10.0.0.1:50051,10.0.0.2:50051
  an upstream that takes WebSockets:
    tidegate --route /=http://127.0.0.1:3000 --websocket /socket";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", version, about = "An HTTP/2 and HTTP/1.1 server and reverse proxy", after_help = EXAMPLES, styles = STYLES,
          max_term_width = 120, args_conflicts_with_subcommands = true)]
pub struct Flags {
    /// A command to run instead of the server
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Listen for HTTP/2 and HTTP/1.1 over TLS: ADDR:PORT, :PORT or PORT, or none. Repeatable
    /// [default: 8443]
    #[arg(long, value_name = "ADDR", help_heading = "Ports", value_parser = listen)]
    pub listen: Vec<Listen>,

    /// Listen for HTTP/2 (prior knowledge) and HTTP/1.1 in cleartext, written as for --listen.
    /// Repeatable [default: 8080]
    #[arg(long, value_name = "ADDR", help_heading = "Ports", value_parser = listen)]
    pub listen_h2c: Vec<Listen>,

    /// Certificate chain (PEM), the server's own certificate first [default: self-signed, made at
    /// start]
    #[arg(long, value_name = "FILE", help_heading = "Ports", requires = "key")]
    pub cert: Option<PathBuf>,

    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", help_heading = "Ports", requires = "cert")]
    pub key: Option<PathBuf>,

    /// Accept Upgrade: h2c on cleartext ports, for clients without prior knowledge of HTTP/2
    #[arg(long, help_heading = "Ports")]
    pub h2c_upgrade: bool,

    /// Require a PROXY protocol header (version 1 or 2) at the start of each connection from
    /// --proxy-protocol-from; it names the client
    #[arg(long, help_heading = "Ports")]
    pub proxy_protocol: bool,

    /// Addresses of proxies that speak the PROXY protocol, such as 10.0.0.0/8. Repeatable [default:
    /// loopback]
    #[arg(long, value_name = "ADDR[/BITS]", help_heading = "Ports", value_parser = net, requires = "proxy_protocol")]
    pub proxy_protocol_from: Vec<IpNet>,

    /// Serve TARGET at PATH and below it. Repeatable
    #[arg(long, value_name = "PATH=TARGET", help_heading = "Content", value_parser = route)]
    pub route: Vec<Route>,

    /// Serve this directory: the same as --route /=DIR
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    pub root: Option<PathBuf>,

    /// A page and a resource that it needs, as paths: /=/style.css. Hinted by 103, and pushed with
    /// --push. Repeatable
    #[arg(long, value_name = "PAGE=RESOURCE", help_heading = "Content", value_parser = preload)]
    pub preload: Vec<Preload>,

    /// The same as a TOML file, with content, headers and priorities: see docs/push.md
    #[arg(long, value_name = "FILE", help_heading = "Content")]
    pub preload_file: Option<PathBuf>,

    /// Announce what a page needs by 103 Early Hints and link fields [default: on, if you give a
    /// preload list]
    #[arg(
        long,
        value_name = "on|off",
        help_heading = "Content",
        value_enum,
        hide_possible_values = true
    )]
    pub early_hints: Option<Switch>,

    /// Push a page's resources to clients that accept push (browsers don't): off, on, or learned
    /// from what clients request
    #[arg(long, value_name = "off|on|learned", help_heading = "Content", value_enum, default_value_t = Mode::Off, hide_possible_values = true)]
    pub push: Mode,

    /// Pass WebSockets on this path and below it to the upstream. Repeatable
    #[arg(long, value_name = "PATH", help_heading = "Upstreams", value_parser = path)]
    pub websocket: Vec<String>,

    /// Trust upstream certificates that are in this file (PEM) or signed by an authority in it
    /// [default: the system's authorities]
    #[arg(long, value_name = "FILE", help_heading = "Upstreams")]
    pub upstream_ca: Option<PathBuf>,

    /// Certificate chain (PEM) to show to upstreams that ask for one
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Upstreams",
        requires = "upstream_key"
    )]
    pub upstream_cert: Option<PathBuf>,

    /// Private key of --upstream-cert (PEM)
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Upstreams",
        requires = "upstream_cert"
    )]
    pub upstream_key: Option<PathBuf>,

    /// Name that every upstream's certificate must be valid for, also sent as SNI [default: each
    /// address's host in the URL]
    #[arg(long, value_name = "NAME", help_heading = "Upstreams")]
    pub upstream_name: Option<String>,

    /// Host that upstreams get: keep the client's, or rewrite it to the host of the URL
    #[arg(long, value_name = "keep|rewrite", help_heading = "Upstreams", value_enum, default_value_t = Host::Keep, hide_possible_values = true)]
    pub upstream_host: Host,

    /// Fail a connection to an upstream if TCP and TLS take longer than this
    #[arg(long, value_name = "TIME", help_heading = "Upstreams", default_value = "3s", value_parser = duration)]
    pub upstream_connect_timeout: Duration,

    /// Fail a request after this long without progress in either direction
    #[arg(long, value_name = "TIME", help_heading = "Upstreams", default_value = "60s", value_parser = duration)]
    pub upstream_timeout: Duration,

    /// The same for WebSockets and gRPC calls
    #[arg(long, value_name = "TIME", help_heading = "Upstreams", default_value = "1h", value_parser = duration)]
    pub tunnel_timeout: Duration,

    /// Close a connection to an upstream after this long without a request
    #[arg(long, value_name = "TIME", help_heading = "Upstreams", default_value = "90s", value_parser = duration)]
    pub upstream_idle_timeout: Duration,

    /// Connections to upstreams that each worker keeps while they have no request
    #[arg(
        long,
        value_name = "N",
        help_heading = "Upstreams",
        default_value_t = 100,
        value_parser = number::<0, { u32::MAX }>
    )]
    pub upstream_max_idle: u32,

    /// Connections of each worker to one upstream address, for all clients and protocols together
    #[arg(long, value_name = "N", help_heading = "Upstreams", default_value_t = 256,
          value_parser = number::<1, 65_535>)]
    pub upstream_max_connections: u32,

    /// Requests of each worker that may wait for a connection to an upstream; above that the client
    /// with the most gets 503 first
    #[arg(long, value_name = "N", help_heading = "Upstreams", default_value_t = 8192,
          value_parser = number::<1, { u32::MAX }>)]
    pub upstream_max_waiting: u32,

    /// Begin connections to upstreams with a PROXY protocol header, version v1 or v2. Each then
    /// serves one client only
    #[arg(
        long,
        value_name = "v1|v2",
        help_heading = "Upstreams",
        value_enum,
        hide_possible_values = true
    )]
    pub upstream_proxy_protocol: Option<ProxyVersion>,

    /// Trust the Forwarded and X-Forwarded fields of clients with these addresses, such as
    /// 10.0.0.0/8. Repeatable
    #[arg(long, value_name = "ADDR[/BITS]", help_heading = "Upstreams", value_parser = net)]
    pub trust_forwarded_from: Vec<IpNet>,

    /// Drop this field from requests of clients that --trust-forwarded-from doesn't trust, in
    /// addition to those in docs/proxy.md. Repeatable
    #[arg(long, value_name = "NAME", help_heading = "Upstreams", value_parser = field_name)]
    pub drop_field: Vec<Box<[u8]>>,

    /// Worker threads [default: one for each core]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = number::<1, 1024>)]
    pub workers: Option<u32>,

    /// Connections that all clients together may have open at once [default: three quarters of the
    /// descriptors that the system allows, at most 100000]
    #[arg(long, value_name = "N", help_heading = "Limits", value_parser = number::<1, { u32::MAX }>)]
    pub max_connections: Option<u32>,

    /// Connections that one client (an IPv4 address or an IPv6 /64 network) may have open at once.
    /// 0: no limit
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 0, value_parser = number::<0, { u32::MAX }>)]
    pub max_connections_per_client: u32,

    /// Requests that all clients together may have in progress at once; a client that has its share
    /// of them gets no more. 0: as many as memory allows
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 0)]
    pub max_requests: u32,

    /// Requests that one client may have in progress at once, on all its connections. 0: no limit
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 0)]
    pub max_requests_per_client: u32,

    /// Whether to limit each client to its share of what all clients share: enforce, log (only
    /// count) or off. See docs/shares.md
    #[arg(long, value_name = "MODE", help_heading = "Limits", value_enum, default_value_t = ClientShares::Enforce, hide_possible_values = true)]
    pub client_shares: ClientShares,

    /// Streams that a client may have open at once on one connection
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 1000,
          value_parser = number::<1, 0x7fff_ffff>)]
    pub max_streams: u32,

    /// Bytes that a stream's receive window may grow to; 64K: it doesn't grow
    #[arg(long, value_name = "SIZE", help_heading = "Limits", default_value = "16M", value_parser = window)]
    pub max_stream_window: Size,

    /// Memory that clients may make the server hold: heads of requests in progress, bodies, unsent
    /// output, connections. 0: no limit [default: a quarter of the memory]
    #[arg(long, value_name = "SIZE", help_heading = "Limits", value_parser = budget)]
    pub memory_budget: Option<Size>,

    /// Client priorities to follow: rfc9218, or auto (those of RFC 7540 too, from clients that send
    /// no others)
    #[arg(long, value_name = "WHICH", help_heading = "Limits", default_value = "rfc9218", value_parser = priorities)]
    pub priorities: Priorities,

    /// Close a connection after this long without an open request
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "10m", value_parser = duration)]
    pub idle_timeout: Duration,

    /// Time from accepting a connection until the client's SETTINGS, or its first bytes of
    /// HTTP/1.1, arrive
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "10s", value_parser = duration)]
    pub handshake_timeout: Duration,

    /// Time from the first to the last byte of a request's head
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "10s", value_parser = duration)]
    pub header_timeout: Duration,

    /// Time between two pieces of a request's body
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "30s", value_parser = duration)]
    pub body_timeout: Duration,

    /// Bytes per second that a request's body must bring, checked at the end of each --body-timeout
    /// over that period and the one before. 0: no minimum
    #[arg(long, value_name = "SIZE", help_heading = "Limits", default_value = "240", value_parser = size)]
    pub min_body_rate: Size,

    /// Cut off a client that takes less than 16 KiB of its waiting response in this time
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,

    /// Time that requests in progress get to finish after SIGINT or SIGTERM
    #[arg(long, value_name = "TIME", help_heading = "Limits", default_value = "30s", value_parser = duration)]
    pub shutdown_timeout: Duration,

    /// Whether a request's x-priority field (high, low, or 0 to 7) sets its urgency, whatever its
    /// priority field says
    #[arg(long, value_name = "on|off", help_heading = "Sending", value_enum, default_value_t = Switch::On, hide_possible_values = true)]
    pub trust_x_priority: Switch,

    /// Unsent bytes that the kernel takes of a connection; the rest waits where urgent data can
    /// overtake it. 0: the system's default
    #[arg(long, value_name = "SIZE", help_heading = "Sending", default_value = "32K", value_parser = size)]
    pub notsent_lowat: Size,

    /// Level of the log on stderr: off, error, warn, info, debug or trace, or a filter such as
    /// warn,tidegate::access=info
    #[arg(long, value_name = "FILTER", help_heading = "Logs", default_value = "info", value_parser = log_filter)]
    pub log: String,

    /// Append a line for each request to this file, or to stdout if it is - [default: the log, at
    /// level info]
    #[arg(long, value_name = "FILE", help_heading = "Logs")]
    pub access_log: Option<PathBuf>,
}

/// A command that runs instead of the server.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Fetch URLs over one connection to each server
    Get(get::flags::Flags),
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// One value of `--listen` or `--listen-h2c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// No such port.
    None,
    /// This port on all interfaces, IPv6 and IPv4.
    Everywhere(u16),
    /// This address only.
    At(SocketAddr),
}

fn listen(typed: &str) -> Result<Listen, String> {
    if typed == "none" {
        return Ok(Listen::None);
    }
    let port = typed.strip_prefix(':').unwrap_or(typed);
    if let Ok(port) = port.parse() {
        return Ok(Listen::Everywhere(port));
    }
    if let Ok(address) = typed.parse() {
        return Ok(Listen::At(address));
    }
    if typed.parse::<IpAddr>().is_ok() {
        return Err("the port is missing: write 127.0.0.1:8443 or [::1]:8443".into());
    }
    Err("expected ADDR:PORT (such as 127.0.0.1:8443 or [::1]:8443), :PORT, PORT or none".into())
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
    /// A handler of this server.
    Named(Named),
    /// Forwards requests.
    Upstream(UpstreamTarget),
}

fn path(typed: &str) -> Result<String, String> {
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

fn net(typed: &str) -> Result<IpNet, String> {
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

fn field_name(typed: &str) -> Result<Box<[u8]>, String> {
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

fn route(typed: &str) -> Result<Route, String> {
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
        (upstream, None) if UpstreamTarget::is_meant(upstream) => {
            RouteTarget::Upstream(UpstreamTarget::parse(upstream)?)
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

fn preload(typed: &str) -> Result<Preload, String> {
    match typed.split_once('=') {
        Some((page, resource)) if page.starts_with('/') && resource.starts_with('/') => {
            Ok(Preload::new(resource).page(page))
        }
        _ => Err("expected PAGE=RESOURCE, two paths on this server such as /=/style.css".into()),
    }
}

fn priorities(typed: &str) -> Result<Priorities, String> {
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

/// The Host that upstreams get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Host {
    /// The client's.
    Keep,
    /// The host of the upstream's URL.
    Rewrite,
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

fn size(typed: &str) -> Result<Size, String> {
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

fn window(typed: &str) -> Result<Size, String> {
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

fn budget(typed: &str) -> Result<Size, String> {
    match size(typed)? {
        Size(1..0x10_0000) => Err("expected 1M or more; 0 turns the limit off".into()),
        size => Ok(size),
    }
}

fn log_filter(typed: &str) -> Result<String, String> {
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn typed(line: &str) -> Result<Flags, clap::Error> {
        Flags::try_parse_from(std::iter::once("tidegate").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_is_consistent() {
        Flags::command().debug_assert();
    }

    #[test]
    fn nothing_typed_gives_the_defaults() {
        let flags = typed("").unwrap();
        assert_eq!(flags.max_streams, 1000);
        assert_eq!(
            (flags.max_connections, flags.max_connections_per_client),
            (None, 0)
        );
        assert_eq!(flags.client_shares, ClientShares::Enforce);
        assert_eq!(flags.idle_timeout, Duration::from_secs(600));
        assert_eq!(flags.shutdown_timeout, Duration::from_secs(30));
        assert_eq!(flags.trust_x_priority, Switch::On);
        assert_eq!(flags.notsent_lowat, Size(32 << 10));
        assert_eq!(flags.log, "info");
        assert_eq!((flags.early_hints, flags.push), (None, Mode::Off));
        assert!(flags.listen.is_empty() && flags.route.is_empty() && flags.cert.is_none());
    }

    #[test]
    fn addresses() {
        assert_eq!(listen("none"), Ok(Listen::None));
        assert_eq!(listen("8443"), Ok(Listen::Everywhere(8443)));
        assert_eq!(listen(":0"), Ok(Listen::Everywhere(0)));
        assert_eq!(
            listen("127.0.0.1:80"),
            Ok(Listen::At(([127, 0, 0, 1], 80).into()))
        );
        assert_eq!(
            listen("[::1]:80"),
            Ok(Listen::At("[::1]:80".parse().unwrap()))
        );
        for wrong in [
            "",
            ":",
            "65536",
            ":x",
            "localhost",
            "127.0.0.1",
            "::1",
            "[::1]",
            "1.2.3.4:",
            "-1",
            "none:80",
        ] {
            assert!(listen(wrong).is_err(), "{wrong:?}");
        }
        assert!(listen("127.0.0.1").unwrap_err().contains("port is missing"));
    }

    #[test]
    fn listen_can_be_repeated() {
        let flags = typed("--listen 1 --listen [::1]:2 --listen-h2c none").unwrap();
        assert_eq!(flags.listen.len(), 2);
        assert_eq!(flags.listen_h2c, [Listen::None]);
    }

    #[test]
    fn priorities_to_follow() {
        assert_eq!(typed("").unwrap().priorities, Priorities::Rfc9218);
        let auto = typed("--priorities auto").unwrap();
        assert_eq!(auto.priorities, Priorities::Auto);
        let rfc9218 = typed("--priorities rfc9218").unwrap();
        assert_eq!(rfc9218.priorities, Priorities::Rfc9218);
        assert!(typed("--priorities rfc7540").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        let too_long = ["8761h", "99999999999999999999s", "18446744073709551615h"];
        for wrong in [
            "", "s", "10", "-1s", "+1s", "1.5s", "1 s", "10S", "1d", "١s",
        ]
        .into_iter()
        .chain(too_long)
        {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn sizes() {
        for (typed, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64K", 65_536),
            ("3g", 3 << 30),
            ("64G", 64 << 30),
        ] {
            assert_eq!(size(typed), Ok(Size(bytes)), "{typed}");
        }
        for wrong in [
            "",
            "K",
            "64 K",
            "64KB",
            "-1",
            "1.5M",
            "9999999G",
            "99999999999999999999",
            "18446744073709551615K",
        ] {
            assert!(size(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn routes() {
        let target = |typed| route(typed).map(|route| (route.path, route.target));
        let help = Flags::command().render_long_help().to_string();
        for named in Named::ALL {
            let (typed, target) = (named.word(), RouteTarget::Named(*named));
            assert_eq!(route(&format!("/a/={typed}")).unwrap().target, target);
            assert!(help.contains(&format!(" {typed}")), "{typed} in the help");
        }
        for (typed, path) in [("/a%20b=status", "/a%20b"), ("/\u{e4} =echo", "/%C3%A4%20")] {
            assert_eq!(
                target(typed).unwrap().0,
                path,
                "in the form that requests have"
            );
        }
        let directory = RouteTarget::Directory("./a=b".into());
        assert_eq!(target("/d=./a=b"), Ok(("/d".into(), directory)));
        for wrong in [
            "", "/", "=x", "a=status", "/a=", "/a%2=x", "/a?b=x", "//=x", "/a//b=x", "/../a=x",
            "/a/.=x", "/a;b=x", "/a\\b=x", "/a%2Fb=x", "/a%00=x", "/a#=x",
        ] {
            assert!(route(wrong).is_err(), "{wrong:?}");
        }
        for upstream in ["/=http://a", "/=h2c://a:1,b:2", "/=https://[::1]/x"] {
            let target = target(upstream).unwrap().1;
            assert!(matches!(target, RouteTarget::Upstream(_)), "{upstream}");
        }
        // None of these is taken as the name of a directory.
        for wrong in ["/=http://", "/=ftp://a", "/=h2c://a:port", "/=http://a:0"] {
            assert!(route(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn networks() {
        let written = |typed| net(typed).map(|net| net.to_string());
        for (typed, expected) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(written(typed), Ok(expected.into()), "{typed}");
        }
        for wrong in [
            "",
            "localhost",
            "192.0.2.1/33",
            "192.0.2.1:80",
            "10.0.0.0/8,::/0",
        ] {
            assert!(net(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn wrong_flags_exit_with_status_2() {
        for line in [
            "--nonsense",
            "--workers 0",
            "--workers many",
            "--max-streams 0",
            "--max-connections 0",
            "--max-connections-per-client -1",
            "--max-requests many",
            "--max-requests-per-client many",
            "--client-shares equal",
            "--idle-timeout soon",
            "--memory-budget 1023K",
            "--trust-x-priority maybe",
            "--notsent-lowat some",
            "--listen everywhere",
            "--cert only.pem",
            "--key only.pem",
            "--log loud",
            "--route status",
            "--preload /style.css",
            "--preload /=style.css",
            "--preload =/style.css",
            "--early-hints maybe",
            "--push sometimes",
            "--route /=http://",
            "--websocket socket",
            "--drop-field Host",
            "--drop-field x_forwarded_for",
            "--drop-field content-length",
            "--proxy-protocol-from 127.0.0.1",
            "--proxy-protocol --proxy-protocol-from everywhere",
            "--upstream-cert only.pem",
            "--upstream-key only.pem",
            "--upstream-host other",
            "--upstream-proxy-protocol v3",
            "--trust-forwarded-from 10.0.0.0/33",
            "surplus",
        ] {
            let error = typed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.use_stderr(), "{line}");
        }
        assert_eq!(typed("--help").unwrap_err().exit_code(), 0);
        assert_eq!(typed("--version").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn preloads() {
        let flags =
            typed("--preload /=/a.css --preload /=/b?c=d --early-hints off --push on").unwrap();
        let list = [
            Preload::new("/a.css").page("/"),
            Preload::new("/b?c=d").page("/"),
        ];
        assert_eq!(flags.preload, list);
        assert_eq!(
            (flags.early_hints, flags.push),
            (Some(Switch::Off), Mode::On)
        );
    }

    #[test]
    fn log_filters() {
        for right in [
            "off",
            "info",
            "warn,tidegate::access=info",
            "tidegate=debug",
        ] {
            assert_eq!(log_filter(right).as_deref(), Ok(right));
        }
        for wrong in ["loud", "tidegate", "tidegate=loud", "info,wran"] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }
}
