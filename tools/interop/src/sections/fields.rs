//! Fields that are forwarded, to the last one, and the origin of requests that they name.

use crate::bad_upstream::{BadUpstream, Header};
use crate::bench::Bench;
use crate::client::{Client, Transport};
use crate::process::Result;
use crate::tidegate::Launch;
use crate::upstreams::{Go, Speaks};

/// Adds a route to each of the upstream's protocols.
pub(super) fn routes<'b>(mut launch: Launch<'b>, go: &Go) -> Launch<'b> {
    for speaks in Speaks::THREE {
        let path = format!("/{}", speaks.name());
        launch = launch.route(&path, &format!("{}/", go.url(speaks)));
    }
    launch
}

/// Checks which fields of requests and responses are forwarded.
pub(crate) fn fields(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let raw = BadUpstream::start(Header::None)?;
    let proxy = routes(bench.tidegate("warn"), &go)
        .route("/show", &go.url(Speaks::Http))
        .route("/raw", &format!("http://{}/", raw.address))
        .start()?;
    for transport in Transport::ALL {
        let client = Client::new(bench, &proxy, transport);
        let (name, host) = (transport.name(), client.host());
        for speaks in Speaks::THREE {
            let to = speaks.name();
            let path = format!("/{to}/show?x=%2e%2E/..&y=#no");
            bench.expect(
                format_args!("the fields of a forwarded request, {name} to {to}"),
                client.text(&path, SENT)?,
                arrived(transport, host, speaks),
            );
        }
        let text = client.text("/show?a", &[])?;
        bench.expect(
            format_args!("without a base the path stays, {name}"),
            text.lines().next(),
            Some("GET /show?a HTTP/1.1"),
        );
        let named = [
            "connection",
            "x-hop",
            "keep-alive",
            "proxy-connection",
            "x-kept",
            "via",
            "content-length",
        ];
        let heads = client.heads("/raw/hop-by-hop", &[])?;
        let lower = heads.iter().map(|line| line.to_ascii_lowercase());
        let mut found: Vec<String> = lower
            .filter(|line| named.iter().any(|name| line.starts_with(name)))
            .collect();
        found.sort();
        bench.expect(
            format_args!("hop-by-hop fields of a response are not forwarded, {name}"),
            found,
            vec!["content-length: 3", "via: 1.1 tidegate", "x-kept: yes"],
        );
    }
    proxy.stop()
}

/// The fields that curl sends.
const SENT: &[&str] = &[
    "-A",
    "test",
    "-H",
    "Connection: x-hop, keep-alive",
    "-H",
    "X-Hop: 1",
    "-H",
    "Keep-Alive: timeout=5",
    "-H",
    "Proxy-Connection: keep-alive",
    "-H",
    "Proxy: http://evil/",
    "-H",
    "Via: 1.0 other",
    "-H",
    "X-Kept: a,b",
    "-H",
    "X-Kept: c",
    "-H",
    "X-Empty;",
    "--path-as-is",
];

/// Returns the request as the upstream should describe it.
fn arrived(transport: Transport, host: &str, speaks: Speaks) -> String {
    let (proto, version) = (transport.scheme(), transport.version());
    // HTTP/2 has no Connection field that could mark another field as hop-by-hop.
    let x_hop = if transport.is_http2() {
        "x-hop: 1\n"
    } else {
        ""
    };
    format!(
        "GET /show?x=%2e%2E/..&y= {spoken}\n\
         host: {host}\n\
         accept: */*\n\
         forwarded: for=127.0.0.1;host=\"{host}\";proto={proto}\n\
         user-agent: test\n\
         via: 1.0 other\n\
         via: {version} tidegate\n\
         x-empty: \n\
         x-forwarded-for: 127.0.0.1\n\
         x-forwarded-host: {host}\n\
         x-forwarded-proto: {proto}\n\
         {x_hop}\
         x-kept: a,b\n\
         x-kept: c\n\
         body: 0 bytes",
        spoken = speaks.version()
    )
}

/// The operator's choice about the origin of requests.
#[derive(Clone, Copy)]
enum Mode {
    /// No source is trusted.
    Stranger,
    /// The client's address is one of a trusted proxy.
    Trusted,
    /// The upstream gets its own address as the Host.
    Rewrite,
}

/// Checks which sources the proxy believes about the origin of a request.
pub(crate) fn forwarded(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    for mode in [Mode::Stranger, Mode::Trusted, Mode::Rewrite] {
        let flags: &[&str] = match mode {
            Mode::Stranger => &[],
            Mode::Trusted => &["--trust-forwarded-from", "127.0.0.0/8"],
            Mode::Rewrite => &["--upstream-host", "rewrite"],
        };
        let proxy = routes(bench.tidegate("warn").flags(flags), &go).start()?;
        for transport in Transport::ALL {
            let client = Client::new(bench, &proxy, transport);
            for speaks in Speaks::THREE {
                origin(bench, &client, &go, mode, speaks)?;
            }
        }
        proxy.stop()?;
    }
    Ok(())
}

/// The fields of a client that claims another origin.
const SPOOFED: &[&str] = &[
    "-H",
    "X-Forwarded-For: 10.9.9.9",
    "-H",
    "X-Forwarded-Proto: gopher",
    "-H",
    "X-Forwarded-Host: evil",
    "-H",
    "X-Forwarded-Port: 1",
    "-H",
    "X-Real-IP: 10.9.9.9",
    "-H",
    "Forwarded: for=10.9.9.9;proto=gopher",
];

/// Checks one way in one mode.
fn origin(bench: &Bench, client: &Client<'_>, go: &Go, mode: Mode, speaks: Speaks) -> Result {
    let (host, proto) = (client.host(), client.transport.scheme());
    let way = format!("{} to {}", client.transport.name(), speaks.name());
    let path = format!("/{}/show", speaks.name());
    let named = ["x-forwarded", "x-real", "forwarded"];
    let other_host = ["-H", "Host: example.org:1234"];
    match mode {
        Mode::Stranger => {
            bench.expect(
                format_args!("no field of a stranger is believed, {way}"),
                client.lines(&path, SPOOFED, &named)?,
                vec![
                    format!("forwarded: for=127.0.0.1;host=\"{host}\";proto={proto}"),
                    "x-forwarded-for: 127.0.0.1".to_owned(),
                    format!("x-forwarded-host: {host}"),
                    format!("x-forwarded-proto: {proto}"),
                ],
            );
            bench.expect(
                format_args!("Host is kept, {way}"),
                client.lines(&path, &other_host, &["host: "])?,
                vec!["host: example.org:1234"],
            );
        }
        Mode::Trusted => bench.expect(
            format_args!("the fields of a trusted proxy are believed, {way}"),
            client.lines(&path, SPOOFED, &named)?,
            vec![
                "forwarded: for=10.9.9.9;host=\"evil\";proto=gopher, for=127.0.0.1",
                "x-forwarded-for: 10.9.9.9, 127.0.0.1",
                "x-forwarded-host: evil",
                "x-forwarded-port: 1",
                "x-forwarded-proto: gopher",
                "x-real-ip: 10.9.9.9",
            ],
        ),
        Mode::Rewrite => bench.expect(
            format_args!("Host is rewritten, {way}"),
            client.lines(&path, &other_host, &["host", "x-forwarded-host"])?,
            vec![
                format!("host: {}", go.address(speaks)),
                "x-forwarded-host: example.org:1234".to_owned(),
            ],
        ),
    }
    Ok(())
}
