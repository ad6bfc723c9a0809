//! Routes besides their targets: redirects, fields of responses, fallbacks, limits; and upstreams
//! with names.

use std::fs;

use tempfile::TempDir;
use tidegate_http::{Body, RequestHead, ResponseHead};

use crate::client::{Client, Response};
use crate::http1;
use crate::server::Server;
use crate::upstream::Upstream;

/// Starts a server with this configuration, whose files are in the directory.
fn start(dir: &TempDir, text: &str) -> Server {
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    Server::start(&["--config", file.to_str().unwrap()])
}

fn serves(dir: &TempDir, path: &str, content: &str) {
    let path = dir.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn get(client: &mut Client, scheme: &str, host: &str, path: &str) -> Response {
    let head = RequestHead::new("GET", scheme, host, path);
    let id = client.open(&head, Body::Empty);
    client.response(id)
}

#[test]
fn redirects_keep_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\
[[site]]
names = ['example.com']
route = ['/=status', '/old=redirect:301:/new{rest}{query}']
[[site]]
names = ['www.example.com']
route = '/=redirect:308:https://example.com{path}{query}'
[[site]]
names = ['any.example.com']
route = '/=redirect:302:https://{host}:444{path}'
";
    let server = start(&dir, text);
    let mut client = Client::h2c(server.h2c);
    for (host, path, status, location) in [
        ("example.com", "/old/a%20b?c=d", 301, "/new/a%20b?c=d"),
        ("example.com", "/old", 301, "/new"),
        (
            "www.example.com",
            "/a/b?c",
            308,
            "https://example.com/a/b?c",
        ),
        (
            "any.example.com:80",
            "/a?b",
            302,
            "https://any.example.com:444/a",
        ),
    ] {
        let response = get(&mut client, "http", host, path);
        let is = (response.status(), response.field("location"));
        assert_eq!(is, (status, location), "{host}{path}");
    }
    assert_eq!(get(&mut client, "http", "example.com", "/x").status(), 200);
    let mut old = http1::Client::new(server.h2c);
    old.send("POST /x HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 2\r\n\r\nhi");
    let response = old.response(false);
    assert_eq!(response.status, 308);
    assert_eq!(response.field("location"), "https://example.com/x");
}

#[test]
fn cleartext_is_redirected_to_tls() {
    let dir = tempfile::tempdir().unwrap();
    serves(&dir, "acme/token", "proof");
    let text = "\
trust-forwarded-from = ['127.0.0.2']
response-field = ['set strict-transport-security: max-age=63072000']
http-redirect = 'on'
[[site]]
[[site.route]]
path = '/'
target = 'status'
[[site.route]]
path = '/.well-known/acme-challenge'
target = 'acme'
http-redirect = 'off'
";
    let server = start(&dir, text);
    let mut client = Client::h2c(server.h2c);
    let response = get(&mut client, "http", "a.test:8080", "/x?y");
    assert_eq!(response.status(), 308);
    assert_eq!(response.field("location"), "https://a.test/x?y");
    // RFC 6797 §7.2: not over a transport that isn't secure.
    assert_eq!(response.field("strict-transport-security"), "");
    let proof = get(
        &mut client,
        "http",
        "a.test",
        "/.well-known/acme-challenge/token",
    );
    assert_eq!((proof.status(), proof.text()), (200, "proof"));
    // A stranger can't say that there was TLS before it.
    let forged = [("x-forwarded-proto", "https")];
    let response = client.ask("GET", "/", &forged, Body::Empty);
    assert_eq!(response.status(), 308);
    let mut client = Client::tls(server.tls);
    let response = client.get("/");
    assert_eq!(response.status(), 200);
    let hsts = response.field("strict-transport-security");
    assert_eq!(hsts, "max-age=63072000");
}

#[test]
fn a_balancer_that_ends_tls_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\
trust-forwarded-from = ['127.0.0.1']
response-field = ['set strict-transport-security: max-age=1']
http-redirect = '302:https://example.com{path}'
route = '/=status'
";
    let server = start(&dir, text);
    let mut client = Client::h2c(server.h2c);
    let fields = [("x-forwarded-proto", "https")];
    let response = client.ask("GET", "/", &fields, Body::Empty);
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("strict-transport-security"), "max-age=1");
    let fields = [("forwarded", "for=192.0.2.1;proto=http")];
    let response = client.ask("GET", "/a", &fields, Body::Empty);
    assert_eq!(response.status(), 302);
    assert_eq!(response.field("location"), "https://example.com/a");
}

#[test]
fn fields_of_responses_are_set_added_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    serves(&dir, "files/a.txt", "a");
    serves(&dir, "files/large.txt", &"x".repeat(300_000));
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nX-Powered-By: x\r\nVary: accept\r\nContent-Length: 2\r\n\r\nhi",
    );
    let text = format!(
        "\
response-field = ['set x-frame-options: DENY']
[[site]]
names = ['a.test']
response-field = ['set x-site: a', 'remove x-powered-by']
[[site.route]]
path = '/'
target = 'files'
response-field = ['set cache-control: max-age=60', 'set X-Site: b']
[[site.route]]
path = '/app'
target = 'http://{}'
response-field = ['append vary: origin']
[[site.route]]
path = '/up'
target = 'upload'
[[site]]
names = ['b.test']
response-field = 'set x-site: b'
route = '/x=status'
",
        upstream.authority()
    );
    let server = start(&dir, &text);
    let mut client = Client::h2c(server.h2c);
    for (path, status, site, cached) in [
        ("/a.txt", 200, "b", "max-age=60"),
        ("/large.txt", 200, "b", "max-age=60"),
        ("/none", 404, "b", ""),
        ("/app", 200, "a", ""),
        ("/up", 405, "a", ""),
    ] {
        let response = get(&mut client, "http", "a.test", path);
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.field("x-frame-options"), "DENY", "{path}");
        assert_eq!(response.fields("x-site"), [site], "{path}");
        assert_eq!(response.field("cache-control"), cached, "{path}");
        assert_eq!(response.field("x-powered-by"), "", "{path}");
        assert_eq!(response.fields("date").len(), 1, "{path}");
    }
    let app = get(&mut client, "http", "a.test", "/app");
    assert_eq!(app.fields("vary"), ["accept", "origin"]);
    // A body that is whole only later.
    let head = RequestHead::new("POST", "http", "a.test", "/up");
    let id = client.open(&head, Body::Stream);
    client.write(id, "hello", true);
    let response = client.response(id);
    assert_eq!((response.status(), response.field("x-site")), (200, "a"));
    // No route is a case of the site.
    let response = get(&mut client, "http", "b.test", "/");
    assert_eq!((response.status(), response.field("x-site")), (404, "b"));
    let response = get(&mut client, "http", "c.test", "/");
    assert_eq!(
        (response.status(), response.field("x-frame-options")),
        (404, "")
    );
}

#[test]
fn an_upstream_that_fails_has_the_fields_too() {
    let dir = tempfile::tempdir().unwrap();
    let text = "\
route = '/=http://127.0.0.1:1'
response-field = ['set x-a: b', 'set cache-control: max-age=60']
";
    let server = start(&dir, text);
    let response = Client::h2c(server.h2c).get("/");
    assert_eq!((response.status(), response.field("x-a")), (502, "b"));
    assert_eq!(response.field("cache-control"), "");
}

#[test]
fn an_application_draws_paths_without_a_file() {
    let dir = tempfile::tempdir().unwrap();
    serves(&dir, "app/index.html", "app");
    serves(&dir, "app/assets/a.js", "script");
    let text = "\
[[site]]
[[site.route]]
path = '/'
target = 'app'
fallback = '/index.html'
response-field = 'set cache-control: no-cache'
[[site.route]]
path = '/assets'
target = 'app/assets'
response-field = 'set cache-control: public, max-age=31536000, immutable'
[[site.route]]
path = '/sub'
target = 'app'
fallback = '/index.html'
";
    let server = start(&dir, text);
    let mut client = Client::h2c(server.h2c);
    for _ in 0..2 {
        for (path, status, text, cached) in [
            ("/", 200, "app", "no-cache"),
            ("/orders/5?x", 200, "app", "no-cache"),
            ("/orders/", 200, "app", "no-cache"),
            ("/sub/orders", 200, "app", ""),
            (
                "/assets/a.js",
                200,
                "script",
                "public, max-age=31536000, immutable",
            ),
            ("/assets/b.js", 404, "404 Not Found\n", ""),
        ] {
            let response = client.get(path);
            let is = (
                response.status(),
                response.text(),
                response.field("cache-control"),
            );
            assert_eq!(is, (status, text, cached), "{path}");
        }
    }
    let head = client.ask("HEAD", "/orders", &[], Body::Empty);
    assert_eq!(
        (head.status(), head.field("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert_eq!(
        client.ask("POST", "/orders", &[], Body::Empty).status(),
        405
    );
    // The answer is that of the file: it can be asked for again by its tag.
    let page = client.get("/x");
    let fields = [("if-none-match", page.field("etag"))];
    assert_eq!(client.ask("GET", "/y", &fields, Body::Empty).status(), 304);
    fs::remove_file(dir.path().join("app/index.html")).unwrap();
    assert_eq!(client.get("/orders").status(), 404);
}

#[test]
fn a_body_that_is_too_large_gets_413() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::http2(ResponseHead::new(204), "", &[]);
    let text = format!(
        "\
max-body = 10
[[site]]
[[site.route]]
path = '/upload'
target = 'upload'
[[site.route]]
path = '/any'
target = 'upload'
max-body = 0
[[site.route]]
path = '/app'
target = 'h2c://{}'
response-field = 'set x-a: b'
",
        upstream.authority()
    );
    let server = start(&dir, &text);
    let mut client = Client::h2c(server.h2c);
    let length = |length: usize| [("content-length", length.to_string())];
    for (path, bytes, status) in [
        ("/upload", 10, 200),
        ("/upload", 11, 413),
        ("/any", 100_000, 200),
        ("/app", 11, 413),
    ] {
        let fields = length(bytes);
        let fields = [(fields[0].0, &*fields[0].1)];
        let body = Body::Full(vec![b'x'; bytes].into());
        let response = client.ask("POST", path, &fields, body);
        assert_eq!(response.status(), status, "{path} {bytes}");
    }
    // Without a length, the bytes are counted as they come.
    for (path, pieces, status) in [
        ("/upload", &["12345", "67890"][..], 200),
        ("/upload", &["12345", "678901"], 413),
        ("/app", &["12345", "67890"], 204),
        ("/app", &["12345678901"], 413),
    ] {
        let head = RequestHead::new("POST", "http", "localhost", path);
        let id = client.open(&head, Body::Stream);
        for piece in pieces {
            client.write(id, *piece, false);
        }
        if status != 413 {
            client.write(id, "", true);
        }
        let response = client.response(id);
        assert_eq!(response.status(), status, "{path} {pieces:?}");
        if path == "/app" {
            assert_eq!(response.field("x-a"), "b");
        }
    }
    let mut client = http1::Client::new(server.h2c);
    let response = client.ask(
        "POST /app",
        "Transfer-Encoding: chunked\r\n",
        b"6\r\n123456\r\n6\r\n789012\r\n0\r\n\r\n",
    );
    assert_eq!((response.status, response.field("x-a")), (413, "b"));
    let mut client = http1::Client::new(server.h2c);
    let fields = "Content-Length: 11\r\nExpect: 100-continue\r\n";
    let response = client.ask("POST /app", fields, b"");
    assert_eq!(response.status, 413);
}

#[test]
fn a_host_that_no_site_has_is_answered_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    for (answer, status) in [("404", 404), ("421", 421), ("reset", 0)] {
        let text =
            format!("unknown-host = '{answer}'\n[[site]]\nnames = 'a.test'\nroute = '/=status'\n");
        let server = start(&dir, &text);
        let mut client = Client::h2c(server.h2c);
        let head = RequestHead::new("GET", "http", "b.test", "/");
        let id = client.open(&head, Body::Empty);
        let response = client.response(id);
        let is = response.reset.map_or_else(|| response.status(), |_| 0);
        assert_eq!(is, status, "{answer}");
        let mut client = http1::Client::new(server.h2c);
        client.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
        if status == 0 {
            assert_eq!(client.until_closed(), b"");
        } else {
            assert_eq!(client.response(false).status, status);
        }
    }
}

#[test]
fn several_routes_use_one_upstream() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::new(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let text = format!(
        "\
workers = 1
[upstream.api]
addresses = ['http://{}']
[[site]]
names = 'a.test'
route = ['/api=upstream:api', '/v2=upstream:api/two']
[[site]]
names = 'b.test'
[[site.route]]
path = '/a=b'
target = 'upstream:api'
",
        upstream.authority()
    );
    let server = start(&dir, &text);
    let mut client = Client::h2c(server.h2c);
    for (host, path) in [
        ("a.test", "/api/x"),
        ("a.test", "/v2/y?z"),
        ("b.test", "/a%3db"),
    ] {
        let response = get(&mut client, "http", host, path);
        assert_eq!(response.status(), 204, "{host}{path}");
    }
    let lines = [
        "GET /api/x HTTP/1.1",
        "GET /two/y?z HTTP/1.1",
        "GET /a=b HTTP/1.1",
    ];
    let noted = upstream.noted();
    let first = noted.iter().filter_map(|head| head.lines().next());
    assert_eq!(first.collect::<Vec<_>>(), lines);
}
