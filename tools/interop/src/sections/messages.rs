//! The parts of messages: heads, ranges, conditions, trailers, interim responses, and bodies that
//! come bit by bit.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::Bench;
use crate::client::{Answer, Client, Transport, lines_of};
use crate::exchange;
use crate::process::{Process, Result};
use crate::samples::sha256;
use crate::upstreams::Speaks;

/// The size of the file that most requests are for, and its path.
const SIZE: usize = 65536;
const PATH: &str = "/65536.bin";

/// How long curl waits for 100 (Continue) before it sends the body all the same.
const CONTINUE: &str = "20";

/// Within what time a body that waits for 100 (Continue) is sent if that came.
const CONTINUED: Duration = Duration::from_secs(10);

pub(crate) fn messages(bench: &Bench) -> Result {
    let everything = bench.everything()?;
    let upstreams = [
        "go-http",
        "go-h2c",
        "go-https",
        "go-https1",
        "nginx-http",
        "nginx-h2c",
    ];
    for transport in Transport::ALL {
        let clients = Client::new(bench, &everything.proxy, transport);
        for upstream in upstreams {
            let client = clients.below(upstream);
            let way = format!("{} to {upstream}", transport.name());
            files(bench, &client, &way)?;
            if upstream.starts_with("go-") {
                fields_and_trailers(bench, &client, &way)?;
                continued(bench, &client, &way)?;
            }
        }
    }
    let client = Client::new(bench, &everything.proxy, Transport::Http1).below("go-http");
    bench.expect(
        "HTTP/1.0",
        client.about("%{http_code} %{http_version}", PATH, &["--http1.0"])?,
        "200 1.1",
    );
    for upstream in ["go-http", "go-h2c", "go-https"] {
        let chunked = |fields: &str, body: &str| {
            let request = format!(
                "POST /{upstream}/show HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\
                 Transfer-Encoding: chunked\r\n\r\n{body}"
            );
            exchange::raw(&everything.proxy.http, request.as_bytes())
        };
        let trailers = "3\r\nabc\r\n0\r\nX-Checked: yes\r\n\r\n";
        bench.expect(
            format_args!("trailers of a chunked request come, to {upstream}"),
            lines_of(
                &chunked("Trailer: X-Checked\r\n", trailers)?,
                &["body", "trailer "],
            ),
            vec!["body: 3 bytes", "trailer x-checked: yes"],
        );
        bench.expect(
            format_args!("an empty chunked body comes, to {upstream}"),
            lines_of(&chunked("", "0\r\n\r\n")?, &["body"]),
            vec!["body: 0 bytes"],
        );
    }
    Ok(())
}

/// Checks requests for files.
fn files(bench: &Bench, client: &Client<'_>, way: &str) -> Result {
    let sample = bench.sample(SIZE)?;
    bench.expect(
        format_args!("the client speaks its own version, {way}"),
        client.about("%{http_version}", "/1.bin", &[])?,
        client.transport.version(),
    );
    bench.expect(
        format_args!("HEAD has the length, {way}"),
        client.field("content-length", PATH, &["--head"])?,
        Some(SIZE.to_string()),
    );
    bench.expect(
        format_args!("HEAD has no body, {way}"),
        client.about("%{http_code} %{size_download}", PATH, &["--head"])?,
        "200 0",
    );
    bench.expect(
        format_args!("a range, {way}"),
        client.answer(PATH, &["-r", "100-199"])?,
        Answer {
            status: 206,
            body: sample.bytes()?[100..200].to_vec(),
        },
    );
    bench.expect(
        format_args!("its position is reported, {way}"),
        client.field("content-range", PATH, &["-r", "100-199"])?,
        Some("bytes 100-199/65536".to_owned()),
    );
    bench.expect(
        format_args!("a range past the end, {way}"),
        client.status(PATH, &["-r", "65536-"])?,
        416,
    );
    let modified = client
        .field("last-modified", PATH, &[])?
        .unwrap_or_default();
    let condition = format!("If-Modified-Since: {modified}");
    bench.expect(
        format_args!("304, {way}"),
        client.about("%{http_code} %{size_download}", PATH, &["-H", &condition])?,
        "304 0",
    );
    bench.expect(
        format_args!("no such file, {way}"),
        client.status("/none", &[])?,
        404,
    );
    Ok(())
}

/// Checks redirects, trailers of responses, and interim responses.
fn fields_and_trailers(bench: &Bench, client: &Client<'_>, way: &str) -> Result {
    bench.expect(
        format_args!("a redirect is forwarded, {way}"),
        client.status("/redirect", &[])?,
        302,
    );
    bench.expect(
        format_args!("its target is kept, {way}"),
        client.field("location", "/redirect", &[])?,
        Some("http://elsewhere.example/1.bin?x=1".to_owned()),
    );
    bench.expect(
        format_args!("trailers come, {way}"),
        client.field("x-digest", "/trailers", &[])?,
        Some(sha256(b"a body with trailers\n")),
    );
    bench.expect(
        format_args!("unannounced ones too, {way}"),
        client.field("x-unannounced", "/trailers", &[])?,
        Some("yes".to_owned()),
    );
    let heads = client.heads("/hints", &[])?;
    let hints = heads.iter().filter_map(|line| {
        let line = line.to_ascii_lowercase();
        if line.starts_with("http/") {
            line.split(' ').nth(1).map(str::to_owned)
        } else {
            line.starts_with("link").then_some(line)
        }
    });
    bench.expect(
        format_args!("103 comes twice, {way}"),
        hints.collect::<Vec<_>>(),
        vec![
            "103",
            "link: </style.css>; rel=preload",
            "103",
            "link: </script.js>; rel=preload",
            "200",
        ],
    );
    Ok(())
}

/// Checks bodies that wait for 100 (Continue), and trailers of requests.
fn continued(bench: &Bench, client: &Client<'_>, way: &str) -> Result {
    let body = bench.sample(SIZE)?.as_body();
    let waits = [
        "-H",
        "Expect: 100-continue",
        "--expect100-timeout",
        CONTINUE,
        "-d",
        &body,
    ];
    let began = Instant::now();
    let status = client.about("%{http_code}", "/discard", &waits)?;
    bench.expect(
        format_args!("a body that waits gets 100 (Continue), {way}"),
        (&*status, began.elapsed() < CONTINUED),
        ("200", true),
    );
    if !client.transport.is_http2() {
        bench.expect(
            format_args!("a body that the upstream refuses isn't sent, {way}"),
            client.about("%{http_code} %{size_upload}", "/refuse", &waits)?,
            "413 0",
        );
        return Ok(());
    }
    let file = bench.sample(16384)?.path.display().to_string();
    // In HTTP/1.1, a message with Content-Length has no trailers.
    let trailers = [
        "-y",
        "--no-content-length",
        "--trailer",
        "x-checked: yes",
        "-d",
        &file,
    ];
    bench.expect(
        format_args!("trailers of a request come, {way}"),
        lines_of(
            &client.nghttp_text(&trailers, "/show")?,
            &["body", "trailer"],
        ),
        vec!["body: 16384 bytes", "trailer x-checked: yes"],
    );
    bench.expect(
        format_args!("nghttp's body that waits gets 100 (Continue), {way}"),
        client.nghttp_text(&["-y", "--expect-continue", "-d", &file], "/discard")?,
        "16384",
    );
    Ok(())
}

/// Each line of a response is forwarded as it comes, whatever follows.
pub(crate) fn line_by_line(bench: &Bench) -> Result {
    let everything = bench.everything()?;
    let go = everything.go.address(Speaks::Http);
    let mut started = Vec::new();
    for transport in Transport::ALL {
        let client = Client::new(bench, &everything.proxy, transport);
        for speaks in Speaks::ALL {
            let id = format!("{}-{}", transport.name(), speaks.name());
            let path = format!("/go-{}/ticks?{id}", speaks.name());
            let mut curl = client.curl(&path, &["--no-buffer"]);
            started.push((id, Process::start(curl.stdout(Stdio::piped()))?));
        }
    }
    // The clients wait at the same time.
    let counts = thread::scope(|scope| {
        let threads: Vec<_> = started
            .iter_mut()
            .map(|(id, process)| scope.spawn(|| ticks(go, id, process)))
            .collect();
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
        joined.collect::<Vec<_>>()
    });
    for ((id, _), count) in started.iter().zip(counts) {
        let count = count.map_err(|_| "a client panicked")??;
        bench.expect(format_args!("lines come as they are sent, {id}"), count, 5);
    }
    Ok(())
}

/// Counts the lines that a client prints. The upstream sends each line only after the one before
/// has arrived, so a proxy that holds a line back until the next one comes waits for ever.
fn ticks(go: &str, id: &str, process: &mut Process) -> Result<usize> {
    let output = process.take_stdout().ok_or("no pipe")?;
    let mut count = 0;
    for line in BufReader::new(output).lines() {
        line?;
        count += 1;
        if count < 5 {
            exchange::get(go, &format!("/tock?{id}"))?;
        }
    }
    Ok(count)
}
