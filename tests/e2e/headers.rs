//! Savings of header compression, on real connections and in the log.

use tidegate_http::Body;

use crate::client::Client;
use crate::server::Server;

/// Returns the four figures of "headers in 1.0 KB as 2.0 KB, out 3.0 KB as 4.0 KB".
fn figures(line: &str) -> Vec<f64> {
    let (_, figures) = line.split_once("headers in ").expect(line);
    let figures = figures.split_whitespace();
    figures.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_repeated_response_takes_one_byte_per_field() {
    let server = Server::start(&[]);
    let mut client = Client::tls(server.tls);
    let mut least = u64::MAX;
    for _ in 0..30 {
        let before = client.stats().blocks_in;
        assert_eq!(client.get("/style.css").status(), 200);
        least = least.min(client.stats().blocks_in - before);
    }
    // One byte each for :status, server, date, content-type, content-length, etag, accept-ranges
    // and cache-control. When the second changes, date takes more.
    assert_eq!(least, 8);
}

#[test]
fn the_log_reports_what_a_connection_saved() {
    let server = Server::start(&["--log", "debug"]);
    let mut client = Client::tls(server.tls);
    let cookie = format!("session={}", "s3A0hW8dTj2mQyXfK0uL".repeat(100));
    for _ in 0..11 {
        let fields = [("cookie", &cookie[..]), ("user-agent", "e2e/1.0")];
        let response = client.ask("GET", "/status", &fields, Body::Empty);
        assert_eq!(response.status(), 200);
    }
    let stats = *client.stats();
    drop(client);
    let line = &server.line("connection total: ");
    assert!(line.contains(" 11 requests, "), "{line}");
    let [fields_in, blocks_in, fields_out, blocks_out] = figures(line)[..] else {
        panic!("{line}");
    };
    // The client's output is the server's input.
    let kb = |bytes: u64| bytes as f64 / 1000.0;
    for (logged, counted) in [
        (fields_in, stats.fields_out),
        (blocks_in, stats.blocks_out),
        (fields_out, stats.fields_in),
        (blocks_out, stats.blocks_in),
    ] {
        assert!((logged - kb(counted)).abs() <= 0.051, "{line}, {counted}");
    }
    // The first request takes about 1.6 KB, ten more take less than 200 bytes each.
    assert!(fields_in > 22.0 && blocks_in < 3.6, "{line}");
}
