//! The PROXY protocol, to and from haproxy. Clients come from 127.0.0.5, which only haproxy and the
//! PROXY protocol can report.

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;

use crate::bad_upstream::{BadUpstream, Header};
use crate::bench::{Bench, free_addresses};
use crate::client::{BOUND, Client, Transport};
use crate::exchange::{self, port_of};
use crate::process::{Log, Process, Result, begin, program, run};
use crate::samples::LARGE;
use crate::tidegate::Tidegate;
use crate::upstreams::{Go, Speaks, wait_for};

/// The client's address.
const FROM: &[&str] = &["--interface", "127.0.0.5"];

/// How haproxy forwards connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Connections to the cleartext port, whatever they carry.
    Tcp,
    /// Connections to the TLS port, whatever they carry.
    Tls,
    /// Requests over HTTP/1.1.
    Http,
    /// Requests over HTTP/2 in cleartext.
    H2c,
}

impl Mode {
    const ALL: [Self; 4] = [Self::Tcp, Self::Tls, Self::Http, Self::H2c];

    fn forwards(self, transport: Transport) -> bool {
        match self {
            Self::Tcp => !transport.has_tls(),
            Self::Tls => transport.has_tls(),
            Self::Http => transport == Transport::Http1,
            Self::H2c => transport == Transport::H2c,
        }
    }
}

/// A port of haproxy that sends a header.
struct Front {
    name: String,
    mode: Mode,
    address: String,
}

/// haproxy in front of the server with a port for each mode and version, and behind it with ports
/// that require a header.
struct Haproxy {
    _process: Process,
    fronts: Vec<Front>,
    accept: String,
    accept_h2: String,
    accept_tls: String,
}

impl Haproxy {
    fn start(bench: &Bench, server: &Tidegate, go: &str) -> Result<Self> {
        let mut config = "global\n  maxconn 1000\n".to_owned();
        let timeouts = "timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n";
        write!(config, "defaults\n  {timeouts}")?;
        let ports: [String; 8] = free_addresses()?;
        let mut ports = ports.into_iter();
        let mut fronts = Vec::new();
        for (version, send) in [(1, "send-proxy"), (2, "send-proxy-v2")] {
            for (mode, address) in Mode::ALL.into_iter().zip(&mut ports) {
                let name = format!("{mode:?}{version}").to_lowercase();
                let (http, https) = (&server.http, &server.https);
                let lines = match mode {
                    Mode::Tcp => format!("mode tcp\n  bind {address}\n  server s {http} {send}"),
                    Mode::Tls => format!("mode tcp\n  bind {address}\n  server s {https} {send}"),
                    Mode::Http => format!("mode http\n  bind {address}\n  server s {http} {send}"),
                    Mode::H2c => format!(
                        "mode http\n  bind {address} proto h2\n  server s {http} {send} proto h2"
                    ),
                };
                writeln!(config, "listen {name}\n  {lines}")?;
                fronts.push(Front {
                    name,
                    mode,
                    address,
                });
            }
        }
        let [accept, accept_h2, accept_tls] = free_addresses()?;
        let pair = bench.path("pair.pem");
        let crt = pair.display();
        // haproxy adds an X-Forwarded-For of its own, with the address from the PROXY protocol.
        write!(
            config,
            "defaults\n  mode http\n  option forwardfor\n  {timeouts}"
        )?;
        for (name, bind) in [
            ("accept", format!("{accept} accept-proxy")),
            ("accept_h2", format!("{accept_h2} accept-proxy proto h2")),
            (
                "accept_tls",
                format!("{accept_tls} accept-proxy ssl crt {crt} alpn h2,http/1.1"),
            ),
        ] {
            writeln!(config, "listen {name}\n  bind {bind}\n  server s {go}")?;
        }
        let path = bench.new_path("haproxy.cfg");
        fs::write(&path, config)?;
        let mut command = program("haproxy");
        command.arg("-db").arg("-f").arg(&path);
        let (process, log) = bench.launch("haproxy", &mut command)?;
        wait_for("haproxy", &accept_tls, &log)?;
        Ok(Self {
            _process: process,
            fronts,
            accept,
            accept_h2,
            accept_tls,
        })
    }
}

pub(crate) fn proxy_protocol(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let raw = BadUpstream::start(Header::Required)?;
    let access = Log(bench.new_path("access"));
    let server = bench
        .tidegate("info,tidegate::access=off")
        .flags(&["--workers", "1", "--proxy-protocol", "--access-log"])
        .flags(&[&access.0.display().to_string()])
        .route("/", &go.url(Speaks::Http))
        .start()?;
    let haproxy = Haproxy::start(bench, &server, go.address(Speaks::Http))?;
    for front in &haproxy.fronts {
        for transport in Transport::ALL {
            if front.mode.forwards(transport) {
                from_haproxy(bench, front, transport, &access)?;
            }
        }
    }
    for transport in [Transport::Http1, Transport::Tls] {
        let client = Client::new(bench, &server, transport);
        let mut curl = client.curl("/show", &["-o", "/dev/null", "-w", "%{http_code}"]);
        bench.expect(
            format_args!(
                "without the header there is no answer, {}",
                transport.name()
            ),
            run(curl.stderr(Stdio::null()), BOUND)?.text(),
            "000",
        );
    }
    server.stop()?;
    strangers(bench, &go)?;
    for version in ["v1", "v2"] {
        to_upstreams(bench, &raw, &haproxy, version)?;
    }
    Ok(())
}

/// Checks what arrives through a port of haproxy.
fn from_haproxy(bench: &Bench, front: &Front, transport: Transport, access: &Log) -> Result {
    let client = Client::at(bench, &front.address, transport);
    let id = format!("{}-{}", front.name, transport.name());
    let way = format!("haproxy's {}, {}", front.name, transport.name());
    let lines = client.lines(
        &format!("/show?{id}"),
        FROM,
        &["x-forwarded-for", "forwarded"],
    )?;
    let until_semicolon = lines.iter().filter_map(|line| line.split(';').next());
    bench.expect(
        format_args!("the upstream learns the client's address, {way}"),
        until_semicolon.collect::<Vec<_>>(),
        vec!["forwarded: for=127.0.0.5", "x-forwarded-for: 127.0.0.5"],
    );
    let request = format!("show?{id} ");
    access.waits_for(&request)?;
    let text = access.text()?;
    let logged = text.lines().filter(|line| line.contains(&request));
    bench.expect(
        format_args!("and so is the access log, {way}"),
        logged
            .filter_map(|line| line.split(' ').next())
            .collect::<Vec<_>>(),
        vec!["127.0.0.5"],
    );
    let is_tcp = matches!(front.mode, Mode::Tcp | Mode::Tls);
    let sample = bench.sample(if is_tcp { LARGE } else { 65536 })?;
    let file = sample.as_body();
    let body = [FROM, &["--data-binary", &file]].concat();
    bench.expect(
        format_args!("bodies go up, {way}"),
        client.text("/upload", &body)?,
        sample.receipt(),
    );
    bench.expect(
        format_args!("and down, {way}"),
        client.fetch(&sample.url(), FROM)?.sum(),
        &*sample.sum,
    );
    Ok(())
}

/// The server accepts PROXY headers only from the addresses that the operator named.
fn strangers(bench: &Bench, go: &Go) -> Result {
    let server = bench
        .tidegate("warn")
        .flags(&["--proxy-protocol", "--proxy-protocol-from", "10.0.0.0/8"])
        .route("/", &go.url(Speaks::Http))
        .start()?;
    let client = Client::new(bench, &server, Transport::Http1);
    bench.expect(
        "other clients need no header",
        client.lines("/show", &[], &["x-forwarded-for"])?,
        vec!["x-forwarded-for: 127.0.0.1"],
    );
    let request = "PROXY TCP4 10.9.9.9 127.0.0.1 1 2\r\n\
        GET /show HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange::raw(&server.http, request.as_bytes())?;
    let is_believed = ["200", "10.9.9.9"].iter().any(|part| answer.contains(part));
    bench.expect("and are not believed with one", is_believed, false);
    server.stop()
}

/// Checks the headers that the proxy sends to upstreams.
fn to_upstreams(bench: &Bench, raw: &BadUpstream, haproxy: &Haproxy, version: &str) -> Result {
    let proxy = bench
        .tidegate("warn")
        .flags(&["--upstream-proxy-protocol", version])
        .route("/raw", &format!("http://{}/", raw.address))
        .route("/http", &format!("http://{}/", haproxy.accept))
        .route("/h2c", &format!("h2c://{}/", haproxy.accept_h2))
        .route("/https", &format!("https://{}/", haproxy.accept_tls))
        .start()?;
    for transport in Transport::ALL {
        let client = Client::new(bench, &proxy, transport);
        let way = format!("{version}, {}", transport.name());
        // The header's content, and after it the port of curl.
        let show = [FROM, &["-w", "%{local_port}"]].concat();
        let text = client.text("/raw/show", &show)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let from = words.last().copied().unwrap_or_default();
        let to = port_of(client.host());
        bench.expect(
            format_args!("every byte of the header is right, {way}"),
            words,
            vec![version, "127.0.0.5", "127.0.0.1", from, to, from],
        );
        for name in ["http", "h2c", "https"] {
            for address in ["127.0.0.5", "127.0.0.6"] {
                let field = format!("x-forwarded-for: {address}");
                let from = ["--interface", address];
                let path = format!("/{name}/show");
                // One field is tidegate's, the other is haproxy's.
                bench.expect(
                    format_args!("haproxy learns the address {address}, {way} to {name}"),
                    client.lines(&path, &from, &["x-forwarded-for"])?,
                    vec![field.clone(), field],
                );
            }
        }
        // curl 7.88 can't send two requests on a cleartext HTTP/2 connection, to any server.
        if transport != Transport::H2c {
            bench.expect(
                format_args!("a connection is for one client only, {way}"),
                at_once(&client)?,
                (500, 500),
            );
        }
    }
    proxy.stop()
}

/// Runs ten clients at once. Returns how many answers name the port of their own client, and how
/// many answers there are.
fn at_once(client: &Client<'_>) -> Result<(usize, usize)> {
    let mut running = Vec::new();
    for at in 1..=10 {
        let address = format!("127.0.0.{at}");
        let args = ["--interface", &address, "-w", "%{local_port}\\n"];
        running.push(begin(&mut client.curl("/raw/show?[1-50]", &args))?);
    }
    let (mut right, mut all) = (0, 0);
    for client in running {
        let text = client.finish(BOUND)?.text();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks(2) {
            let shown = pair[0].split(' ').nth(3);
            right += usize::from(shown.is_some() && shown == pair.get(1).copied());
            all += 1;
        }
    }
    Ok((right, all))
}
