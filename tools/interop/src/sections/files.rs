//! Files down, up and echoed, compared by checksum, in every pairing of clients and upstreams.

use std::fmt::Write as _;
use std::fs::{self, File};

use crate::bench::Bench;
use crate::client::{BOUND, Client, Transport, verdict};
use crate::everything::{DOWNLOADING, ECHOING};
use crate::process::{Result, run};
use crate::samples::Sample;

/// How many of the requests of one h2load are for one file, unless it is the largest.
const REQUESTS: u64 = 100;

pub(crate) fn files(bench: &Bench) -> Result {
    let everything = bench.everything()?;
    for transport in Transport::ALL {
        let clients = Client::new(bench, &everything.proxy, transport);
        let name = transport.name();
        for upstream in DOWNLOADING {
            let client = clients.below(upstream);
            for sample in &bench.samples {
                bench.expect(
                    format_args!("curl fetches {}, {name} to {upstream}", sample.size),
                    client.fetch(&sample.url(), &[])?.sum(),
                    &*sample.sum,
                );
            }
        }
        for upstream in ECHOING {
            let client = clients.below(upstream);
            for sample in &bench.samples {
                let body = ["--data-binary", &sample.as_body()];
                bench.expect(
                    format_args!("curl gets {} echoed, {name} to {upstream}", sample.size),
                    client.fetch("/echo", &body)?.sum(),
                    &*sample.sum,
                );
            }
        }
        for upstream in ["go-http", "go-h2c", "go-https"] {
            let client = clients.below(upstream);
            for sample in &bench.samples {
                bodies(bench, &client, sample, upstream)?;
            }
        }
    }
    Ok(())
}

/// Checks uploads, downloads and echoes of one file with each client.
fn bodies(bench: &Bench, client: &Client<'_>, sample: &Sample, upstream: &str) -> Result {
    let (size, sum) = (sample.size, &*sample.sum);
    let path = sample.path.display().to_string();
    let receipt = sample.receipt();
    let way = format!("{} to {upstream}", client.transport.name());
    let n = if size > 1_000_000 { 1 } else { REQUESTS };

    bench.expect(
        format_args!("curl uploads {size}, {way}"),
        client.text("/upload", &["--data-binary", &sample.as_body()])?,
        &*receipt,
    );
    let mut streaming = client.curl("/upload", &["-X", "POST", "-T", "-"]);
    bench.expect(
        format_args!("curl streams {size} up, {way}"),
        run(streaming.stdin(File::open(&sample.path)?), BOUND)?.text(),
        &*receipt,
    );
    if client.transport.is_http2() {
        bench.expect(
            format_args!("nghttp fetches {size}, {way}"),
            client.nghttp(&["-y"], &[&sample.url()])?.sum(),
            sum,
        );
        bench.expect(
            format_args!("nghttp uploads {size}, {way}"),
            client.nghttp_text(&["-y", "-d", &path], "/upload")?,
            &*receipt,
        );
        bench.expect(
            format_args!("nghttp gets {size} echoed, {way}"),
            client.nghttp(&["-y", "-d", &path], &["/echo"])?.sum(),
            sum,
        );
    }
    bench.expect(
        format_args!("h2load fetches {size}, {way}"),
        client.bodies(n, &[&client.url(&sample.url())])?,
        Some((n, n * size as u64)),
    );
    // h2load uploads no empty file.
    if size == 0 {
        return Ok(());
    }
    bench.expect(
        format_args!("h2load uploads {size}, {way}"),
        client.bodies(n, &["-d", &path, &client.url("/upload")])?,
        Some((n, n * receipt.len() as u64)),
    );
    bench.expect(
        format_args!("h2load gets {size} echoed, {way}"),
        client.bodies(n, &["-d", &path, &client.url("/echo")])?,
        Some((n, n * size as u64)),
    );
    Ok(())
}

/// The page fetches every file through three kinds of upstream, uploads it and has it echoed. It
/// shows how many checks held.
pub(crate) fn browser_files(bench: &Bench) -> Result {
    let everything = bench.everything()?;
    let mut sums = "{".to_owned();
    for sample in &bench.samples {
        write!(sums, "{:?}: {:?}, ", sample.size.to_string(), sample.sum)?;
    }
    sums.push('}');
    let page = include_str!("../../pages/files.html").replace("SUMS", &sums);
    fs::write(bench.path("www/page/files.html"), page)?;
    // The largest file isn't echoed.
    let checks = 3 * (3 * bench.samples.len() - 1);
    for (transport, protocol) in [(Transport::Http1, "http/1.1"), (Transport::Https1, "h2")] {
        let client = Client::new(bench, &everything.proxy, transport);
        bench.expect(
            format_args!("Chromium fetches, uploads and gets echoed, {protocol}"),
            verdict(bench, &client.url("/page/files.html"))?,
            format!("{checks} held, over {protocol}"),
        );
    }
    Ok(())
}
