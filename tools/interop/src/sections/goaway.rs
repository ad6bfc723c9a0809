//! nginx ends a connection after a number of requests, and when it reloads its configuration.
//! Clients must not notice.

use crate::bench::{Bench, Judged, judge};
use crate::client::{BOUND, Client, Transport, counts};
use crate::process::{Result, begin};
use crate::upstreams::Nginx;

/// The requests on connections that end after ten.
const REQUESTS: u64 = 5000;

/// How often nginx reloads its configuration during each load.
const RELOADS: usize = 3;

pub(crate) fn goaway(bench: &Bench) -> Result {
    let mut nginx = Nginx::start(bench)?;
    let proxy = bench
        .tidegate("warn")
        .route("/few", &format!("h2c://{}/", nginx.few))
        .route("/h2c", &format!("h2c://{}/", nginx.h2c))
        .route("/http", &format!("http://{}/", nginx.http))
        .route("/https", &format!("https://{}/", nginx.https))
        .start()?;
    let client = Client::new(bench, &proxy, Transport::H2c);
    let (url, requests) = (client.url("/few/1.bin"), REQUESTS.to_string());
    let load = client.load(&["-n", &requests, "-c", "8", "-m", "20", &url])?;
    bench.expect(
        "connections that end after ten requests lose none",
        judge(load.is_some_and(|load| load.is_all_of(REQUESTS)), load),
        Judged::Right,
    );
    for upstream in ["http", "h2c", "https"] {
        let url = client.url(&format!("/{upstream}/1.bin"));
        let mut load = begin(&mut client.h2load(&["-D", "3", "-c", "8", "-m", "10", &url]))?;
        let (mut reloads, mut during) = (0, 0);
        for _ in 0..RELOADS {
            reloads += usize::from(nginx.reload()?);
            during += usize::from(!load.has_exited()?);
        }
        bench.expect(
            format_args!("nginx has reloaded its configuration, {upstream}"),
            reloads,
            RELOADS,
        );
        let load = counts(&load.finish(BOUND)?)?;
        let succeeded = load.map_or(0, |load| load.succeeded);
        println!("   {upstream}: {succeeded} succeeded, {during} of {reloads} reloads in between");
        bench.expect(
            format_args!("and no request was lost, {upstream}"),
            judge(load.is_some_and(|load| load.is_flawless()), load),
            Judged::Right,
        );
    }
    proxy.stop()
}
