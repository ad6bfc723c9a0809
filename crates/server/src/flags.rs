//! The flags as typed. [`config`](crate::config) checks them and fills in defaults.

mod admin;
mod examples;
#[cfg(test)]
mod tests;
mod tracing;
pub(crate) mod values;

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use ipnet::IpNet;
use tidegate_http::{Priorities, Priority};
use tidegate_net::{TlsGroup, TlsSuite};

use crate::access_log::destination::Place;
use crate::access_log::format::Format as LineFormat;
use crate::access_log::sampling::Sampling;
use crate::get;
use crate::logs::format::Format;
use crate::manual;
use crate::proxy::Host;
use crate::push::{Mode, Preload};
use crate::request_id::RequestIds;
use crate::response_fields::Change;
use crate::trace::{again, show};
use crate::trace_context::TraceContext;
pub use admin::AdminFlags;
use examples::EXAMPLES;
pub use tracing::TraceFlags;
pub use values::{
    CertFact, CertField, ClientCerts, ClientShares, FileAt, HttpRedirect, Listen, MinVersion,
    ProxyVersion, Route, RouteTarget, Size, Switch, UnknownHost,
};
pub(crate) use values::{as_upstream, duration, number, path, route};
use values::{
    budget, cert_field, field_name, file_at, http_redirect, listen, log_filter, net, preload,
    priorities, priority, size, tls_group, tls_suite, window,
};

const ABOUT: &str = "An HTTP/2 and HTTP/1.1 server and reverse proxy";

/// The command line.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", version, about = ABOUT, after_help = EXAMPLES, styles = STYLES,
          max_term_width = 120, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// A command to run instead of the server
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The flags of the server
    #[command(flatten)]
    pub flags: Flags,
}

/// The flags of the server.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate", about = ABOUT)]
pub struct Flags {
    /// Read this file (TOML), in which each flag is a key; flags that are typed take the place of
    /// its keys
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,

    /// Become this user once ports and files are open; only root can. USER:GROUP takes that group
    /// in place of the user's own
    #[arg(long, value_name = "USER[:GROUP]", help_heading = "Process")]
    pub user: Option<String>,

    /// Write the number of the process to this file, which is removed at the end
    #[arg(long, value_name = "FILE", help_heading = "Process")]
    pub pid_file: Option<PathBuf>,

    /// Listen for HTTP/2 and HTTP/1.1 over TLS: ADDR:PORT, :PORT or PORT, or none. For one of them
    /// alone: 8443,h2 or 8443,http/1.1. Repeatable [default: 8443]
    #[arg(long, value_name = "ADDR", help_heading = "Ports", value_parser = listen)]
    pub listen: Vec<Listen>,

    /// Listen for HTTP/2 (prior knowledge) and HTTP/1.1 in cleartext, written as for --listen.
    /// Repeatable [default: 8080]
    #[arg(long, value_name = "ADDR", help_heading = "Ports", value_parser = listen)]
    pub listen_h2c: Vec<Listen>,

    /// Share the ports with other processes of the same user: the kernel spreads connections over
    /// all that listen there. Without it, a port that another process has is an error
    #[arg(long, help_heading = "Ports")]
    pub reuse_port: bool,

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

    /// Certificate chain (PEM), the server's own certificate first. Repeatable, each with a --key:
    /// a client gets the first that it can check, such as ECDSA before RSA [default: self-signed,
    /// made at start]
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "key")]
    pub cert: Vec<PathBuf>,

    /// Private key of the certificate (PEM). Repeatable, in the order of --cert
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "cert")]
    pub key: Vec<PathBuf>,

    /// Look at the files of certificates and keys this often, and use them when they have changed.
    /// 0: only on SIGHUP
    #[arg(long, value_name = "TIME", help_heading = "TLS", default_value = "1m", value_parser = duration)]
    pub watch_certificates: Duration,

    /// OCSP response (DER) to send with the --cert that it is about. Repeatable
    #[arg(long, value_name = "FILE", help_heading = "TLS", requires = "cert")]
    pub ocsp: Vec<PathBuf>,

    /// Least version of TLS that clients may speak
    #[arg(long, value_name = "1.2|1.3", help_heading = "TLS", value_enum, default_value_t = MinVersion::V1_2, hide_possible_values = true)]
    pub tls_min_version: MinVersion,

    /// Cipher suites, the preferred one first, by their names of IANA or OpenSSL. Repeatable, or
    /// separated by commas [default: all that there are]
    #[arg(long, value_name = "NAME", help_heading = "TLS", value_delimiter = ',', value_parser = tls_suite)]
    pub tls_suites: Vec<TlsSuite>,

    /// Groups of the key exchange, the preferred one first. Repeatable, or separated by commas
    /// [default: X25519, secp256r1, secp384r1, X25519MLKEM768]
    #[arg(long, value_name = "NAME", help_heading = "TLS", value_delimiter = ',', value_parser = tls_group)]
    pub tls_groups: Vec<TlsGroup>,

    /// Key of session tickets: a file of 48 or 80 random bytes, for several servers. Repeatable:
    /// the first encrypts, all decrypt [default: keys of this process, which rotate]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub ticket_key: Vec<PathBuf>,

    /// Answer GET and HEAD in the first flight of a resumed session (0-RTT). An attacker may repeat
    /// such a request: see docs/security.md
    #[arg(long, value_name = "on|off", help_heading = "TLS", value_enum, default_value_t = Switch::Off, hide_possible_values = true)]
    pub early_data: Switch,

    /// Certificates to ask clients for, of the authorities in --client-ca: off, optional or
    /// required
    #[arg(long, value_name = "off|optional|required", help_heading = "TLS", value_enum, default_value_t = ClientCerts::Off, hide_possible_values = true)]
    pub client_certs: ClientCerts,

    /// Authorities whose certificates clients may show (PEM)
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub client_ca: Option<PathBuf>,

    /// Certificates that these authorities have revoked: a list (PEM) of each
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "TLS",
        requires = "client_ca"
    )]
    pub client_crl: Option<PathBuf>,

    /// Field that tells upstreams a fact about the client's certificate: verdict, subject, san,
    /// fingerprint or certificate. Strangers can't send it. Repeatable [default:
    /// X-Client-Cert-Verdict, -Subject, -San and -Fingerprint]
    #[arg(long, value_name = "NAME=FACT", help_heading = "TLS", value_parser = cert_field)]
    pub client_cert_field: Vec<CertField>,

    /// Serve TARGET at PATH and below it. Repeatable
    #[arg(long, value_name = "PATH=TARGET", help_heading = "Content", value_parser = route)]
    pub route: Vec<Route>,

    /// Serve this directory: the same as --route /=DIR
    #[arg(long, value_name = "DIR", help_heading = "Content")]
    pub root: Option<PathBuf>,

    /// Answer with this file of a directory where it has none at a request's path, as applications
    /// in a browser need it that draw their pages themselves: /index.html, or none
    #[arg(long, value_name = "PATH", help_heading = "Content", default_value = "none", value_parser = file_at)]
    pub fallback: FileAt,

    /// Redirect requests in cleartext: on (308 to the same place over TLS), off, or
    /// STATUS:LOCATION as for a route
    #[arg(long, value_name = "on|off|STATUS:LOCATION", help_heading = "Content", default_value = "off", value_parser = http_redirect)]
    pub http_redirect: HttpRedirect,

    /// Change a field of responses: "set NAME: VALUE", "append NAME: VALUE" or "remove NAME".
    /// Repeatable; those of a site and a route are added
    #[arg(long, value_name = "CHANGE", help_heading = "Content", value_parser = Change::parse)]
    pub response_field: Vec<Change>,

    /// Answer requests for a host that no site has with 404 or 421, or reset them (reset)
    #[arg(long, value_name = "404|421|reset", help_heading = "Content", value_enum, default_value_t = UnknownHost::NotFound, hide_possible_values = true)]
    pub unknown_host: UnknownHost,

    /// Serve a file from memory for this long before checking again whether it has changed, or was
    /// moved out of its directory. 0: check in each turn of the loop
    #[arg(long, value_name = "TIME", help_heading = "Content", default_value = "0", value_parser = duration)]
    pub check_files: Duration,

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
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 0,
          value_parser = number::<0, { u32::MAX }>)]
    pub max_requests: u32,

    /// Requests that one client may have in progress at once, on all its connections. 0: no limit
    #[arg(long, value_name = "N", help_heading = "Limits", default_value_t = 0,
          value_parser = number::<0, { u32::MAX }>)]
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

    /// Bytes that the body of a request may have; a longer one gets 413. 0: no limit
    #[arg(long, value_name = "SIZE", help_heading = "Limits", default_value = "0", value_parser = size)]
    pub max_body: Size,

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

    /// Priority of responses to clients that ask for none: u=0 (urgent) to u=7, and i for content
    /// that is of use in parts, as in u=5,i [default: by the type of the content]
    #[arg(long, value_name = "PRIORITY", help_heading = "Sending", value_parser = priority)]
    pub default_priority: Option<Priority>,

    /// Unsent bytes that the kernel takes of a connection; the rest waits where urgent data can
    /// overtake it. 0: the system's default
    #[arg(long, value_name = "SIZE", help_heading = "Sending", default_value = "32K", value_parser = size)]
    pub notsent_lowat: Size,

    /// The flags of the admin listener.
    #[command(flatten)]
    pub operators: AdminFlags,

    /// Level of the log on stderr: off, error, warn, info, debug or trace, or a filter such as
    /// warn,tidegate::access=info
    #[arg(long, value_name = "FILTER", help_heading = "Logs", default_value = "info", value_parser = log_filter)]
    pub log: String,

    /// Format of the log: text, or a JSON object for each line
    #[arg(long, value_name = "text|json", help_heading = "Logs", value_enum, default_value_t = Format::Text, hide_possible_values = true)]
    pub log_format: Format,

    /// Where a line for each request goes: a file, - (stdout), log (the log, at level info) or off
    /// [default: log, or off if stderr is a terminal]
    #[arg(long, value_name = "FILE", help_heading = "Logs", value_parser = Place::from_str)]
    pub access_log: Option<Place>,

    /// Format of these lines: combined, json, or a template such as '$remote_addr "$request"
    /// $status'. docs/logs.md lists the fields [default: combined; in the log a shorter one]
    #[arg(long, value_name = "FORMAT", help_heading = "Logs", value_parser = LineFormat::parse)]
    pub access_log_format: Option<Arc<LineFormat>>,

    /// The part of requests that have a line, by status: RATE,STATUS=RATE,…, such as
    /// 1%,5xx=100%,404=10%,reset=100% [default: 100%]
    #[arg(long, value_name = "RATES", help_heading = "Logs", value_parser = Sampling::parse)]
    pub access_log_sample: Option<Sampling>,

    /// Whether each request has an id, in x-request-id to upstreams and in access logs. Clients
    /// that --trust-forwarded-from trusts may name it
    #[arg(long, value_name = "on|off", help_heading = "Logs", value_enum, default_value_t = RequestIds::Off, hide_possible_values = true)]
    pub request_id: RequestIds,

    /// The trace context (traceparent) of requests to upstreams: pass (valid ones go on), or make
    /// (those without one get one)
    #[arg(long, value_name = "pass|make", help_heading = "Logs", value_enum, default_value_t = TraceContext::Pass, hide_possible_values = true)]
    pub trace_context: TraceContext,

    /// The flags of traces.
    #[command(flatten)]
    pub tracing: TraceFlags,
}

/// A command that runs instead of the server.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Fetch URLs over one connection to each server
    Get(get::flags::Flags),
    /// Check the configuration, with the same flags as the server, and print what is in effect
    Check(Box<Flags>),
    /// Print the frames of a trace that the server has written with --trace
    Trace(show::Flags),
    /// Feed a trace into the engine again, and say where it does otherwise than recorded
    Replay(again::Flags),
    /// Print the man page of the server, or of one of its commands
    Man(manual::Page),
    /// Print completions for a shell
    Completions(manual::Completions),
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());
