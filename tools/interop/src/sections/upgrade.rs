//! The upgrade from HTTP/1.1 to HTTP/2 in cleartext, which ends at the proxy.

use crate::bench::Bench;
use crate::client::{Client, Transport};
use crate::process::Result;
use crate::samples::histogram;
use crate::upstreams::{Go, Speaks};

use super::fields::routes;

/// curl's format for an answer's status and version.
const FORMAT: &str = "%{http_code} %{http_version}";

/// The upgrade's fields as Go shows them, which no upstream should get.
const UPGRADE: [&str; 3] = ["upgrade", "connection", "http2-settings"];

pub(crate) fn upgrade_to_h2c(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let proxy = routes(bench.tidegate("warn").flags(&["--h2c-upgrade"]), &go).start()?;
    let clients = Client::new(bench, &proxy, Transport::Http1);
    for speaks in Speaks::THREE {
        let name = speaks.name();
        let client = clients.below(name);
        bench.expect(
            format_args!("curl changes to HTTP/2, {name}"),
            client.about(FORMAT, "/1.bin", &["--http2"])?,
            "200 2",
        );
        for size in [65536, bench.large()?.size] {
            let sample = bench.sample(size)?;
            let body = ["--http2", "--data-binary", &sample.as_body()];
            bench.expect(
                format_args!("with a body of {size} too, {name}"),
                client.text("/upload", &body)?,
                sample.receipt(),
            );
        }
        let (one, other) = (bench.sample(65536)?, bench.sample(16385)?);
        bench.expect(
            format_args!("nghttp changes to HTTP/2, {name}"),
            histogram(
                &client
                    .nghttp(&["-u", "-y"], &[&one.url(), &other.url()])?
                    .bytes,
            ),
            histogram(&[one.bytes()?, other.bytes()?].concat()),
        );
        let sample = bench.sample(16384)?;
        let body = ["-u", "-y", "-d", &sample.path.display().to_string()];
        bench.expect(
            format_args!("with OPTIONS and a body, {name}"),
            client.nghttp_text(&body, "/upload")?,
            sample.receipt(),
        );
        bench.expect(
            format_args!("the upstream doesn't see the upgrade, {name}"),
            shown(&client)?,
            Shown::Ordinary,
        );
    }
    proxy.stop()?;

    let proxy = routes(bench.tidegate("warn"), &go).start()?;
    let clients = Client::new(bench, &proxy, Transport::Http1);
    for speaks in Speaks::THREE {
        let name = speaks.name();
        let client = clients.below(name);
        bench.expect(
            format_args!("without the flag HTTP/1.1 continues, {name}"),
            client.about(FORMAT, "/1.bin", &["--http2"])?,
            "200 1.1",
        );
        bench.expect(
            format_args!("the upgrade doesn't reach the upstream, {name}"),
            shown(&client)?,
            Shown::Ordinary,
        );
    }
    proxy.stop()
}

/// A request that asked for an upgrade, as it reached the upstream.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// The request didn't arrive.
    Nothing,
    /// The request has no field of the upgrade.
    Ordinary,
    /// The request has these lines.
    Upgrade(Vec<String>),
}

fn shown(client: &Client<'_>) -> Result<Shown> {
    let text = client.text("/show", &["--http2"])?;
    let lines = crate::client::lines_of(&text, &UPGRADE);
    Ok(if !text.starts_with("GET ") {
        Shown::Nothing
    } else if lines.is_empty() {
        Shown::Ordinary
    } else {
        Shown::Upgrade(lines)
    })
}
