//! A hundred files at once, down, up and echoed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::bench::Bench;
use crate::client::{BOUND, Client, Transport};
use crate::process::{Result, program, run};
use crate::samples::{HUNDRED, differing, histogram};

/// The size of the file that nghttp uploads a hundred times.
const UPLOADED: usize = 65536;

pub(crate) fn in_parallel(bench: &Bench) -> Result {
    let everything = bench.everything()?;
    let hundred = bench.path("www/hundred");
    let mut all = Vec::new();
    for at in 1..=HUNDRED {
        all.extend(fs::read(hundred.join(format!("{at}.bin")))?);
    }
    for transport in Transport::ALL {
        let clients = Client::new(bench, &everything.proxy, transport);
        for upstream in ["go-http", "go-h2c", "go-https", "nginx-h2c"] {
            let client = clients.below(upstream);
            let way = format!("{} to {upstream}", transport.name());
            bench.expect(
                format_args!("curl fetches 100 files at once, {way}"),
                at_once(bench, &client, Body::None)?,
                Vec::<String>::new(),
            );
            let paths: Vec<String> = (1..=HUNDRED).map(|n| format!("/hundred/{n}.bin")).collect();
            let urls = bench.new_path("urls");
            let lines: String = paths.iter().map(|path| client.url(path) + "\n").collect();
            fs::write(&urls, lines)?;
            bench.expect(
                format_args!("h2load fetches 100 files, 100 at once on 4 connections, {way}"),
                client.bodies(2000, &["--input-file", &urls.display().to_string()])?,
                Some((2000, 20 * all.len() as u64)),
            );
            if !transport.is_http2() {
                continue;
            }
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            bench.expect(
                format_args!("nghttp fetches 100 files at once, {way}"),
                histogram(&client.nghttp(&["-y"], &paths)?.bytes),
                histogram(&all),
            );
            if !upstream.starts_with("go-") {
                continue;
            }
            bench.expect(
                format_args!("curl gets 100 files echoed at once, {way}"),
                at_once(bench, &client, Body::Echoed)?,
                Vec::<String>::new(),
            );
            let sample = bench.sample(UPLOADED)?;
            let file = sample.path.display().to_string();
            let receipts = client.nghttp_text(&["-y", "-m", "100", "-d", &file], "/upload")?;
            bench.expect(
                format_args!("nghttp uploads 100 at once, {way}"),
                receipts.matches(&sample.receipt()).count(),
                100,
            );
        }
    }
    Ok(())
}

/// Whether curl's requests have bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    None,
    Echoed,
}

/// Has curl fetch a hundred files at once, or get them echoed. Returns the names of those that
/// arrived changed or not at all.
///
/// curl can't have several streams on a cleartext connection by prior knowledge (curl/curl#10634).
/// So curl opens a hundred connections there and over HTTP/1.1.
fn at_once(bench: &Bench, client: &Client<'_>, body: Body) -> Result<Vec<String>> {
    let out = bench.new_path("out");
    fs::create_dir(&out)?;
    let config = bench.new_path("curl");
    fs::write(&config, transfers(bench, client, &out, body)?)?;
    let mut command = program("curl");
    command.args(["--parallel", "--parallel-max", "100"]);
    command.args((client.transport != Transport::Tls).then_some("--parallel-immediate"));
    command.arg("--config").arg(&config).stderr(Stdio::null());
    run(&mut command, BOUND)?;
    differing(&bench.path("www/hundred"), &out)
}

/// Returns curl's configuration.
fn transfers(bench: &Bench, client: &Client<'_>, out: &Path, body: Body) -> Result<String> {
    let mut config = String::new();
    let certificate = bench.certificate();
    for at in 1..=HUNDRED {
        if at > 1 {
            config.push_str("next\n");
        }
        let option = client.transport.curl_option();
        write!(
            config,
            "silent\ncacert = {}\n{option}\n",
            certificate.display()
        )?;
        let file = format!("hundred/{at}.bin");
        match body {
            Body::None => writeln!(config, "url = {}", client.url(&format!("/{file}")))?,
            Body::Echoed => {
                let path = bench.www().join(&file);
                writeln!(config, "url = {}", client.url("/echo"))?;
                writeln!(config, "data-binary = @{}", path.display())?;
            }
        }
        writeln!(config, "output = {}/{at}.bin", out.display())?;
    }
    Ok(config)
}
