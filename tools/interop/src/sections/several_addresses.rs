//! Upstreams that die and come back, alone or one of two.

use tidegate_testkit::signals::eventually;

use crate::bench::{Bench, Judged, judge};
use crate::client::{BOUND as RUN, Client, Load, Transport, counts};
use crate::process::{Result, begin};
use crate::upstreams::{BOUND, Go, Speaks};

/// The requests of the long load.
const REQUESTS: u64 = 20_000;

/// How many of them may be lost. 80 are in flight at a time, half of them at the upstream that is
/// killed. All are GET, so even those can be sent again to the other address, except for those
/// whose response had begun, or that were the first on their connection.
const LOST: u64 = 40;

/// How many requests each upstream has served when one is killed.
const WARM: usize = 800;

/// The most of a thousand requests that one upstream serves when the other has its share.
const SHARE: usize = 900;

/// Sends a thousand requests.
fn thousand(client: &Client<'_>) -> Result<Option<Load>> {
    let url = client.url("/pause?ms=0");
    client.load(&["-n", "1000", "-c", "4", "-m", "10", &url])
}

fn is_well(load: Option<Load>) -> bool {
    load.is_some_and(|load| load.is_all_of(1000))
}

pub(crate) fn several_addresses(bench: &Bench) -> Result {
    for transport in [Transport::H2c, Transport::Http1] {
        two(bench, transport)?;
    }
    single(bench)
}

fn two(bench: &Bench, transport: Transport) -> Result {
    let name = transport.name();
    let mut one = Go::start(bench, None)?;
    let other = Go::start(bench, None)?;
    let address = one.address(Speaks::Http).to_owned();
    let both = format!("http://{address},{}", other.address(Speaks::Http));
    let proxy = bench.tidegate("warn").route("/", &both).start()?;
    let client = Client::new(bench, &proxy, transport);
    let (url, requests) = (client.url("/pause?ms=2"), REQUESTS.to_string());
    let load = begin(&mut client.h2load(&["-n", &requests, "-c", "8", "-m", "10", &url]))?;
    let warm = eventually(BOUND, || {
        Ok(one.served()? >= WARM && other.served()? >= WARM)
    })?;
    bench.expect(format_args!("both get requests, {name}"), warm, true);
    let before = other.served()?;
    one.kill();
    let load = counts(&load.finish(RUN)?)?.unwrap_or_default();
    let lost = REQUESTS.saturating_sub(load.succeeded);
    println!(
        "   {name}: of {REQUESTS} requests {lost} were lost when one of two upstreams was killed"
    );
    bench.expect(
        format_args!("only requests in flight there can be lost, {name}"),
        judge(lost <= LOST, lost),
        Judged::Right,
    );
    bench.expect(
        format_args!("the other one continues, {name}"),
        other.served()? > before,
        true,
    );
    let load = thousand(&client)?;
    bench.expect(
        format_args!("while it is away no request fails, {name}"),
        judge(is_well(load), load),
        Judged::Right,
    );

    let _one = Go::start(bench, Some(&address))?;
    // Each worker finds out by itself, within the five seconds for which it skips an address at
    // most.
    let mut unwell = None;
    let is_shared = eventually(BOUND, || {
        let before = other.served()?;
        let load = thousand(&client)?;
        if !is_well(load) {
            unwell = Some(load);
        }
        Ok(other.served()? - before < SHARE)
    })?;
    bench.expect(
        format_args!("one that has come back gets its share again, {name}"),
        is_shared,
        true,
    );
    bench.expect(
        format_args!("and nothing is lost by that, {name}"),
        unwell,
        None,
    );
    proxy.stop()
}

fn single(bench: &Bench) -> Result {
    let mut go = Go::start(bench, None)?;
    let address = go.address(Speaks::Http).to_owned();
    let proxy = bench
        .tidegate("warn")
        .route("/", &go.url(Speaks::Http))
        .start()?;
    let client = Client::new(bench, &proxy, Transport::H2c);
    bench.expect(
        "a single upstream answers",
        client.status("/1.bin", &[])?,
        200,
    );
    go.stop()?;
    let status = client.status("/1.bin", &[])?;
    bench.expect(
        "when it has exited the client gets a 502 or 503",
        judge(matches!(status, 502 | 503), status),
        Judged::Right,
    );
    let _go = Go::start(bench, Some(&address))?;
    bench.expect(
        "when it is back it is used within seconds",
        eventually(BOUND, || Ok(client.status("/1.bin", &[])? == 200))?,
        true,
    );
    proxy.stop()
}
