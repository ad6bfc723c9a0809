//! What goes first when several responses are ready: by content, by what the client says, by `x-priority`.

use std::fs;

use tempfile::TempDir;
use tidegate_proto::Body;

use crate::client::Client;
use crate::server::Server;

/// Less urgent ones first, so that the order in which they are asked for isn't the one in which they should come.
const SITE: [&str; 5] = ["all.zip", "film.mp4", "tide.png", "page.js", "style.css"];

/// A site whose parts are large enough to compete.
fn site(flags: &[&str]) -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    for name in SITE {
        fs::write(dir.path().join(name), vec![b'x'; 60_000]).unwrap();
    }
    // Not kept in memory, but read while it goes out.
    fs::write(dir.path().join("large.css"), vec![b'x'; 100_000]).unwrap();
    let root = dir.path().to_str().unwrap();
    let server = Server::start(&[&["--root", root], flags].concat());
    (dir, server)
}

/// Asks for all of these at once, and tells in which order they came: `NAME`, or `NAME FIELD: VALUE`.
fn order<'a>(server: &Server, asked: &[&'a str]) -> Vec<&'a str> {
    let mut client = Client::h2c(server.h2c);
    // The server's SETTINGS and what follows from them are out of the way.
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
    // Twice: as read from the file system, and as remembered.
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
    // RFC 9218 §4.1: the default urgency of 3, if the client says something and no urgency.
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
    // One request has both.
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
