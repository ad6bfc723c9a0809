//! The proxy's shutdown.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use tidegate_testkit::signals::eventually;

use crate::bench::Bench;
use crate::client::{Client, Transport};
use crate::process::{Process, Result};
use crate::samples::sha256;
use crate::upstreams::{Go, Speaks, accepts};

/// A transfer continues after SIGTERM, and the server exits after it.
pub(crate) fn ending(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    for (transport, speaks) in [
        (Transport::H2c, Speaks::Http),
        (Transport::Https1, Speaks::H2c),
        (Transport::Tls, Speaks::Https),
    ] {
        let way = format!("{} to {}", transport.name(), speaks.name());
        let mut proxy = bench.tidegate("warn").route("/", &go.url(speaks)).start()?;
        let client = Client::new(bench, &proxy, transport);
        let sample = bench.large()?;
        // The transfer stalls, because nothing reads curl's output after its first byte.
        let mut curl = client.curl(&sample.url(), &[]);
        let mut curl = Process::start(curl.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let mut output = curl.take_stdout().ok_or("no pipe")?;
        let mut body = vec![0];
        output.read_exact(&mut body)?;

        proxy.terminate()?;
        bench.expect(
            format_args!("the server stops listening, {way}"),
            eventually(Duration::from_secs(10), || Ok(!accepts(client.host())))?,
            true,
        );
        output.read_to_end(&mut body)?;
        bench.expect(
            format_args!("the transfer continues, {way}"),
            (curl.reap()?, sha256(&body)),
            (Some(0), sample.sum.clone()),
        );
        bench.expect(
            format_args!("and the server exits, {way}"),
            proxy.reap()?,
            Some(0),
        );
    }
    Ok(())
}
