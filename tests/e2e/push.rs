//! Early hints and pushes.

use std::fs;

use tidegate_http::Body;

use crate::client::{Client, Response};
use crate::server::{Server, refused};
use crate::targets::pattern;

/// The field that browsers send when they request a page.
const NAVIGATION: (&str, &str) = ("sec-fetch-mode", "navigate");

const DEMO_LINKS: [&str; 3] = [
    "</style.css>; rel=preload; as=style",
    "</script.js>; rel=preload; as=script",
    "</tide.svg>; rel=preload; as=image",
];

fn navigate(client: &mut Client, path: &str) -> Response {
    client.ask("GET", path, &[NAVIGATION], Body::Empty)
}

/// Returns the paths that were promised so far.
fn promised(client: &Client) -> Vec<&str> {
    let promised = client.promised.iter();
    promised.map(|(path, _)| path.as_str()).collect()
}

/// Creates a directory with a page and its resources.
fn site() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("index.html", pattern(300_000)),
        ("style.css", b"body {}".to_vec()),
        ("large.js", pattern(20_000_000)),
    ] {
        fs::write(dir.path().join(name), content).unwrap();
    }
    dir
}

#[test]
fn the_demo_page_is_pushed_whole_and_once() {
    let server = Server::start(&["--push", "on", "--early-hints", "on", "--workers", "1"]);
    let mut client = Client::taking_pushes(server.h2c);
    let page = client.get("/");
    assert_eq!(
        (page.status(), page.fields("link")),
        (200, DEMO_LINKS.map(Into::into).into())
    );
    assert_eq!(promised(&client), ["/style.css", "/script.js", "/tide.svg"]);
    let mut other = Client::h2c(server.h2c);
    for (path, id) in client.promised.clone() {
        let (pushed, asked) = (client.response(id), other.get(&path));
        assert_eq!(pushed.status(), 200);
        assert_eq!(pushed.field("content-type"), asked.field("content-type"));
        assert!(
            !pushed.body.is_empty() && pushed.body == asked.body,
            "{path}"
        );
    }
    client.get("/");
    assert_eq!(promised(&client).len(), 3, "nothing is pushed twice");
    server.wait_for("/tide.svg HTTP/2\" 200");
    server.wait_for("\"-\" pushed");
    server.wait_for("preloads: 6 hinted, 3 pushed, 0 cancelled, 3 refused (3 repeated)");
}

// RFC 8297 §2: "a server will include the header fields sent in a 103 (Early Hints) response in the
// final response as well."
#[test]
fn a_client_without_push_is_hinted() {
    let server = Server::start(&["--push", "on", "--early-hints", "on"]);
    let mut client = Client::tls(server.tls);
    let page = navigate(&mut client, "/");
    assert_eq!((&page.informational[..], page.status()), (&[103][..], 200));
    assert_eq!(page.hinted, DEMO_LINKS);
    assert_eq!(page.fields("link"), DEMO_LINKS);
    let head = client.ask("HEAD", "/", &[NAVIGATION], Body::Empty);
    assert_eq!(head.fields("link"), DEMO_LINKS);
    let script = ("sec-fetch-mode", "cors");
    let silent = [
        head,
        client.ask("GET", "/", &[script], Body::Empty),
        navigate(&mut client, "/style.css"),
        navigate(&mut client, "/missing"),
    ];
    for response in silent {
        assert!(response.informational.is_empty());
    }
    server.wait_for("3 hinted, 0 pushed");
}

#[test]
fn early_hints_can_be_turned_off() {
    let dir = site();
    let root = dir.path().to_str().unwrap();
    let list = ["--root", root, "--preload", "/=/style.css"];
    let hinting = Server::start(&list);
    let page = navigate(&mut Client::h2c(hinting.h2c), "/");
    assert_eq!(page.hinted, ["</style.css>; rel=preload; as=style"]);
    let server = Server::start(&[&list[..], &["--early-hints", "off"]].concat());
    let mut client = Client::taking_pushes(server.h2c);
    let page = navigate(&mut client, "/");
    assert!(page.informational.is_empty() && page.fields("link").is_empty());
    assert!(client.promised.is_empty());
}

#[test]
fn a_client_that_has_the_page_gets_nothing_more() {
    let server = Server::start(&["--push", "on", "--early-hints", "on"]);
    let mut client = Client::taking_pushes(server.h2c);
    let tag = client
        .ask("HEAD", "/", &[], Body::Empty)
        .field("etag")
        .to_owned();
    for (tag, status) in [(tag.as_str(), 304), ("\"other\"", 200)] {
        let page = client.ask(
            "GET",
            "/",
            &[NAVIGATION, ("if-none-match", tag)],
            Body::Empty,
        );
        assert_eq!(page.status(), status);
        assert!(page.informational.is_empty() && client.promised.is_empty());
    }
}

#[test]
fn files_are_pushed_beside_a_page_that_takes_long() {
    let dir = site();
    let root = dir.path().to_str().unwrap();
    let list = ["--root", root, "--push", "on", "--preload", "/=/style.css"];
    let server = Server::start(&list);
    let mut client = Client::taking_pushes(server.h2c);
    let page = client.get("/");
    assert_eq!(page.body.len(), 300_000);
    let (path, id) = client.promised[0].clone();
    assert_eq!(
        (path.as_str(), client.response(id).text()),
        ("/style.css", "body {}")
    );
}

#[test]
fn a_cancelled_push_stops_at_once() {
    let dir = site();
    let root = dir.path().to_str().unwrap();
    let server = Server::start(&["--root", root, "--push", "on", "--preload", "/=/large.js"]);
    let mut client = Client::taking_pushes(server.h2c);
    let id = client.send("GET", "/", &[], Body::Empty);
    client.wait_until(|client| !client.promised.is_empty());
    let push = client.promised[0].1;
    client.cancel(push);
    assert_eq!(client.response(id).body.len(), 300_000);
    server.wait_for(&format!("push cancelled: stream {push}, peer "));
    server.wait_for("CANCEL, /large.js for /");
    let line = server.line("GET /large.js");
    let sent: usize = line
        .split_whitespace()
        .rev()
        .nth(3)
        .unwrap()
        .parse()
        .unwrap();
    assert!(sent < 20_000_000, "{line}");
    // The connection continues, and a resource that was refused once isn't pushed again.
    assert_eq!(client.get("/style.css").text(), "body {}");
    client.get("/");
    assert_eq!(client.promised.len(), 1);
    server.wait_for("1 pushed, 1 cancelled, 1 refused (1 repeated)");
}

#[test]
fn a_preload_file_has_content_fields_and_priorities() {
    let dir = site();
    let file = dir.path().join("preload.toml");
    let text = r#"
        [[resource]]
        path = "/memory.css?v=2"
        pages = ["/", "/style.css"]
        content = "from memory"
        headers = { cache-control = "max-age=60" }

        [[resource]]
        path = "/large.js"
        pages = ["/style.css"]
        urgency = 7
    "#;
    fs::write(&file, text).unwrap();
    let (root, file) = (dir.path().to_str().unwrap(), file.to_str().unwrap());
    let server = Server::start(&["--root", root, "--push", "on", "--preload-file", file]);
    let mut client = Client::taking_pushes(server.h2c);
    client.get("/");
    assert_eq!(promised(&client), ["/memory.css?v=2"]);
    let pushed = client.response(client.promised[0].1);
    let mut other = Client::h2c(server.h2c);
    for response in [pushed, other.get("/memory.css?v=2")] {
        assert_eq!((response.status(), response.text()), (200, "from memory"));
        assert_eq!(response.field("content-type"), "text/css");
        assert_eq!(response.field("cache-control"), "max-age=60");
    }
    let post = other.ask("POST", "/memory.css?v=2", &[], Body::Full("x".into()));
    assert_eq!(post.status(), 405);
    assert_eq!(other.get("/memory.css").status(), 404);

    fs::write(file, text.replace("urgency", "urgent")).unwrap();
    let (status, error) = refused(&["--root", root, "--preload-file", file]);
    assert_eq!(status, 2);
    assert!(
        error.contains("preload.toml, line 11: unknown field `urgent`, expected one of"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1);
}

#[test]
fn what_clients_ask_for_is_pushed_to_the_next_ones() {
    let flags = ["--push", "learned", "--early-hints", "on", "--workers", "1"];
    let server = Server::start(&flags);
    for _ in 0..16 {
        let mut client = Client::taking_pushes(server.h2c);
        let page = navigate(&mut client, "/");
        assert!(page.informational.is_empty() && page.fields("link").is_empty());
        client.get("/style.css");
        assert!(client.promised.is_empty());
    }
    let mut client = Client::taking_pushes(server.h2c);
    let page = navigate(&mut client, "/");
    assert_eq!(page.hinted, DEMO_LINKS);
    assert_eq!(promised(&client), ["/style.css"]);
    server.wait_for("3 hinted, 1 pushed, 0 cancelled, 50 refused (48 observed, 2 unlikely)");
}
