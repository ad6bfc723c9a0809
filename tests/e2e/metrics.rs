//! `/metrics` of the admin listener, and the documents about it.
//!
//! `BLESS=1 cargo test -p tidegate --test e2e metrics` writes docs/metrics.md anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use tidegate::metrics::table::{FAMILIES, Kind};
use tidegate_http::{Body, ErrorCode};

use crate::admin;
use crate::client::Client;
use crate::server::{PATIENCE, Server};

const INTRODUCTION: &str = r#"# Metrics

<!-- Generated from crates/server/src/metrics/table.rs. After a change of it run
     BLESS=1 cargo test -p tidegate --test e2e metrics -->

`/metrics` of the [admin listener](operations.md#admin-listener) has these, in OpenMetrics 1.0 for
clients that accept it and in the text format of Prometheus for others:

```yaml
scrape_configs:
  - job_name: tidegate
    static_configs:
      - targets: ["127.0.0.1:9090"]        # tidegate --admin 127.0.0.1:9090
```

- A scrape asks each worker for its counters, which may be 50 ms old. One that doesn't answer within
  2 s is there with the counters of its last second of work.
- Each worker counts for itself, in plain memory. Counters of a process that was taken over from end
  with it, and those of the new one begin at 0.
- A site, upstream, address or certificate has a series of its own, up to 64 of each; the clients
  that hold most memory are 10 at most. All else is below 100 series on a server without troubles.
  Rules, codes and reasons have a series once they occur, and only what the tables below name can
  occur.
- A request that begins and ends in one turn of a worker's loop counts as 0 seconds.
- The counts take about 13 of the 2,871 user instructions of a request for a 15-byte file over h2c
  (callgrind, 20,000 requests, 32 connections of 32 streams).

[contrib/grafana/tidegate.json](../contrib/grafana/tidegate.json) is a dashboard for Grafana,
[contrib/prometheus/tidegate.yml](../contrib/prometheus/tidegate.yml) has rules for alerts.

"#;

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(name)
}

/// Returns the page about all metrics.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("| metric | kind | labels | what |\n|---|---|---|---|\n");
    for family in FAMILIES {
        let kind = family.kind.name();
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let (name, labels, help) = (family.name, labels.join(", "), family.help);
        let suffix = family.kind.suffix();
        writeln!(page, "| `{name}{suffix}` | {kind} | {labels} | {help} |").unwrap();
    }
    page
}

#[test]
fn the_page_of_metrics_has_what_the_table_says() {
    let (file, page) = (path("docs/metrics.md"), page());
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &page).unwrap();
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md isn't that of the table: BLESS=1 cargo test -p tidegate --test e2e metrics"
    );
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|letter: char| !is_name(letter));
    let names = words.filter(|word| word.starts_with("tidegate_"));
    names.map(str::to_owned).collect()
}

#[test]
fn dashboards_and_alerts_name_only_what_there_is() {
    let mut known = BTreeSet::new();
    for family in FAMILIES {
        known.insert(format!("{}{}", family.name, family.kind.suffix()));
        if family.kind == Kind::Histogram {
            for suffix in ["_bucket", "_sum", "_count"] {
                known.insert(format!("{}{suffix}", family.name));
            }
        }
    }
    for file in [
        "contrib/grafana/tidegate.json",
        "contrib/prometheus/tidegate.yml",
    ] {
        let text = fs::read_to_string(path(file)).unwrap();
        let used = names(&text);
        assert!(used.len() > 10, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
    let text = fs::read_to_string(path("contrib/grafana/tidegate.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
}

/// Returns the samples of a scrape.
fn scrape(server: &Server, accept: &str) -> BTreeMap<String, f64> {
    let mut client = Client::h2c(Some(admin::address(server)));
    let response = client.ask("GET", "/metrics", &[("accept", accept)], Body::Empty);
    assert_eq!(response.status(), 200);
    let expected = if accept.contains("openmetrics") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    assert_eq!(response.field("content-type"), expected);
    let lines = response.text().lines();
    let samples = lines.filter(|line| !line.starts_with('#'));
    let samples = samples.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    samples.collect()
}

/// Scrapes until the samples are as expected, and returns them. Counters may be 50 ms old.
fn scraped(
    server: &Server,
    accept: &str,
    are_expected: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let samples = scrape(server, accept);
        if are_expected(&samples) {
            return samples;
        }
        assert!(Instant::now() < deadline, "{samples:#?}");
    }
}

#[test]
fn what_happens_is_counted_in_both_formats() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--workers", "2"]);
    for format in ["application/openmetrics-text", "text/plain"] {
        let samples = scrape(&server, format);
        assert!(samples.len() <= 100, "{}: {samples:#?}", samples.len());
    }
    let before = scrape(&server, "*/*");
    let mut client = Client::tls(server.tls);
    for _ in 0..7 {
        assert_eq!(client.get("/status").status(), 200);
    }
    assert_eq!(client.get("/nothing").status(), 404);
    let echo = client.send("POST", "/echo", &[], Body::Stream);
    client.write(echo, "abc", false);
    client.wait_until(|client| client.so_far(echo).text() == "abc");
    scraped(&server, "*/*", |samples| {
        samples["tidegate_streams_active"] == 1.0
    });
    client.cancel(echo);
    let after = scraped(&server, "application/openmetrics-text", |samples| {
        samples["tidegate_streams_active"] == 0.0
    });
    let cancel = format!(
        "tidegate_resets_total{{by=\"client\",code=\"{}\"}}",
        ErrorCode::CANCEL
    );
    for (name, expected) in [
        ("tidegate_requests_total", 9.0),
        ("tidegate_responses_total{status=\"2xx\"}", 8.0),
        ("tidegate_responses_total{status=\"4xx\"}", 1.0),
        ("tidegate_request_duration_seconds_count", 9.0),
        ("tidegate_request_duration_seconds_bucket{le=\"+Inf\"}", 9.0),
        ("tidegate_request_first_byte_seconds_count", 9.0),
        (
            "tidegate_connections_opened_total{protocol=\"HTTP/2\"}",
            1.0,
        ),
        (
            "tidegate_tls_connections_opened_total{version=\"1.3\"}",
            1.0,
        ),
        ("tidegate_connections_open", 1.0),
        ("tidegate_site_requests_total{site=\"default\"}", 9.0),
        (&cancel, 1.0),
    ] {
        let grown = after[name] - before.get(name).copied().unwrap_or(0.0);
        assert_eq!(grown, expected, "{name}: {after:#?}");
    }
    assert!(after["tidegate_loop_turn_seconds_count"] > 0.0);
}

#[test]
fn counts_last_over_a_reload_and_a_broken_rule_has_its_name() {
    let server = Server::start(&["--admin", "127.0.0.1:0", "--workers", "1"]);
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
    server.signal("HUP");
    server.wait_for("SIGHUP: reloaded ");
    // RFC 9112 §5.1: "No whitespace is allowed between the field name and colon."
    let answer = admin::raw(server.h2c.unwrap(), "GET / HTTP/1.1\r\nhost : a\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let samples = scraped(&server, "*/*", |samples| {
        samples["tidegate_all_violations_total"] > 0.0
    });
    let mut names = samples.keys();
    assert!(names.any(|name| name.starts_with("tidegate_violations_total{rule=\"")));
    assert_eq!(samples["tidegate_reloads_total{result=\"used\"}"], 1.0);
    assert!(samples["tidegate_requests_total"] >= 1.0);
    assert_eq!(
        samples["tidegate_site_requests_total{site=\"default\"}"],
        1.0
    );
}
