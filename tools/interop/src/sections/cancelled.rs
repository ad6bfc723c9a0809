//! Clients that leave, before the response, in the middle of it, and in the middle of an upload.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use tidegate_testkit::signals::eventually;

use crate::bad_upstream::{BadUpstream, Header};
use crate::bench::Bench;
use crate::client::{Client, Transport};
use crate::process::{Process, Result};
use crate::upstreams::{BOUND, Go, Speaks};

/// The upstream learns that a client left.
pub(crate) fn cancelled(bench: &Bench) -> Result {
    let go = Go::start(bench, None)?;
    let raw = BadUpstream::start(Header::None)?;
    let mut launch = bench.tidegate("warn");
    launch = launch.route("/raw", &format!("http://{}/", raw.address));
    for speaks in Speaks::ALL {
        let path = format!("/{}", speaks.name());
        launch = launch.route(&path, &format!("{}/", go.url(speaks)));
    }
    let proxy = launch.start()?;

    // The clients wait at the same time.
    let mut clients: Vec<Process> = Vec::new();
    let (mut ids, mut begun): (Vec<String>, Vec<PathBuf>) = Default::default();
    for transport in Transport::ALL {
        let client = Client::new(bench, &proxy, transport);
        for speaks in Speaks::ALL {
            for begin in ["begin", "later"] {
                let id = format!("{begin}&{}-{}", transport.name(), speaks.name());
                let body = bench.new_path("slow");
                let path = format!("/{}/slow?{id}", speaks.name());
                let args = ["--no-buffer", "-o", &body.display().to_string()];
                let mut curl = client.curl(&path, &args);
                clients.push(Process::start(curl.stderr(Stdio::null()))?);
                ids.push(id);
                if begin == "begin" {
                    begun.push(body);
                }
            }
        }
    }
    // In HTTP/1.1 nobody sees the end of a connection behind a body that isn't read.
    let uploading = [Transport::H2c, Transport::Tls];
    for transport in uploading {
        let client = Client::new(bench, &proxy, transport);
        let path = format!("/raw/unread?{}", transport.name());
        let file = bench.large()?.path.display().to_string();
        let mut curl = client.curl(&path, &["-T", &file]);
        clients.push(Process::start(curl.stderr(Stdio::null()))?);
    }

    let has_begun = |body: &PathBuf| fs::metadata(body).is_ok_and(|file| file.len() > 0);
    let in_flight = eventually(Duration::from_secs(30), || {
        let uploads = raw.reached(|line| line.starts_with("PUT /unread"));
        let asked = go.log.count("asked ")?;
        Ok((asked, uploads) == (ids.len(), uploading.len()) && begun.iter().all(has_begun))
    })?;
    bench.expect(
        "all requests have reached the upstream, and every response that should begin has begun",
        in_flight,
        true,
    );
    for client in &mut clients {
        client.signal(Signal::SIGTERM)?;
    }
    for client in &mut clients {
        client.reap()?;
    }
    for transport in uploading {
        let name = transport.name();
        let request = format!("PUT /unread?{name} ");
        bench.expect(
            format_args!("the upstream learns that the client left during an upload, {name}"),
            eventually(BOUND, || Ok(raw.saw_leave(&request)))?,
            true,
        );
    }
    for id in ids {
        bench.expect(
            format_args!("the upstream learns that the client left, {id}"),
            go.log.waits_for(&format!("cancelled {id},"))?,
            true,
        );
    }
    proxy.stop()
}
