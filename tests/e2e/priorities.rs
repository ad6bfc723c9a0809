//! The order of responses when several are ready: by content, by the client's priorities, by
//! `x-priority`.

use std::fs;

use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::Client;
use crate::server::Server;

/// The files, the least urgent first, so that the order of the requests isn't the expected order of
/// the responses.
const SITE: [&str; 5] = ["all.zip", "film.mp4", "tide.png", "page.js", "style.css"];

/// Creates a site whose files are large enough to compete.
fn site(flags: &[&str]) -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    for name in SITE {
        fs::write(dir.path().join(name), vec![b'x'; 60_000]).unwrap();
    }
    // The server doesn't keep this file in memory, but reads it while it sends it.
    fs::write(dir.path().join("large.css"), vec![b'x'; 100_000]).unwrap();
    let root = dir.path().to_str().unwrap();
    let server = Server::start(&[&["--root", root], flags].concat());
    (dir, server)
}

/// Requests all of these at once, and returns the order in which the responses ended. An entry is
/// `NAME`, or `NAME FIELD: VALUE`.
fn order<'a>(server: &Server, asked: &[&'a str]) -> Vec<&'a str> {
    let mut client = Client::h2c(server.h2c);
    // Exchange SETTINGS first, so that they don't interfere.
    assert_eq!(client.get("/none").status(), 404);
    client.finished.clear();
    let mut ids = Vec::new();
    for ask in asked {
        let (name, field) = ask.split_once(' ').unwrap_or((ask, ""));
        let field = field.split_once(": ");
        let path = format!("/{name}");
        ids.push(client.prepare("GET", &path, field.as_slice(), Body::Empty));
    }
    client.wait_until(|client| client.finished.len() == asked.len());
    let name = |id| asked[ids.iter().position(|other| other == id).unwrap()];
    client.finished.iter().map(name).collect()
}

#[test]
fn what_a_page_needs_first_comes_first() {
    let (_dir, server) = site(&[]);
    // Twice: read from the file system, and from the cache.
    for _ in 0..2 {
        let mut expected = SITE;
        expected.reverse();
        assert_eq!(order(&server, &SITE), expected);
    }
    for _ in 0..2 {
        assert_eq!(
            order(&server, &["tide.png", "large.css"]),
            ["large.css", "tide.png"]
        );
    }
}

#[test]
fn what_the_client_says_counts_more_than_the_content() {
    let (_dir, server) = site(&[]);
    assert_eq!(
        order(&server, &["style.css", "film.mp4 priority: u=1"]),
        ["film.mp4 priority: u=1", "style.css"]
    );
    // RFC 9218 §4.1: the default urgency is 3 if the client sends priorities without an urgency.
    assert_eq!(
        order(
            &server,
            &["style.css priority: i", "film.mp4 priority: u=2"]
        ),
        ["film.mp4 priority: u=2", "style.css priority: i"]
    );
}

#[test]
fn x_priority_counts_more_than_the_priority_field() {
    let asked = [
        "style.css x-priority: Low",
        "page.js x-priority: urgent",
        "tide.png x-priority: 0",
        "film.mp4 x-priority: high",
        "all.zip x-priority: 7",
    ];
    let (_dir, server) = site(&[]);
    assert_eq!(
        order(&server, &asked),
        [asked[2], asked[3], asked[1], asked[0], asked[4]]
    );
    // One request has both fields.
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/none").status(), 404);
    client.finished.clear();
    let fields = [("priority", "u=7"), ("x-priority", "high")];
    let css = client.prepare("GET", "/style.css", &[], Body::Empty);
    let film = client.prepare("GET", "/film.mp4", &fields, Body::Empty);
    client.wait_until(|client| client.finished.len() == 2);
    assert_eq!(client.finished, [film, css]);
}

#[test]
fn x_priority_need_not_be_trusted() {
    let (_dir, server) = site(&["--trust-x-priority", "off"]);
    assert_eq!(
        order(&server, &["film.mp4 x-priority: high", "style.css"]),
        ["style.css", "film.mp4 x-priority: high"]
    );
}
