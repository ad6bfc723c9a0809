//! Each file of `examples/config`, checked, started and asked.
//!
//! The files name places of a real system. Here those are below a temporary directory, and the
//! ports are free ones of 127.0.0.1.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rcgen::generate_simple_self_signed;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tidegate_http::{Body, RequestHead, ResponseHead};

use crate::client::Client;
use crate::http1;
use crate::proxy::shout;
use crate::server::{Server, run};
use crate::upstream::Upstream;

/// An example, and what it names.
struct Example {
    dir: TempDir,
    text: String,
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/config")
}

impl Example {
    /// Reads an example. Puts the places that it names below a temporary directory.
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(examples().join(format!("{name}.toml"))).unwrap();
        let mut example = Self { dir, text };
        for (place, here) in [
            ("/etc/tidegate", "etc"),
            ("/srv", "srv"),
            ("/var/log/tidegate", "log"),
        ] {
            let path = example.dir.path().join(here);
            fs::create_dir(&path).unwrap();
            example.replace(place, path.to_str().unwrap());
        }
        example
    }

    fn replace(&mut self, this: &str, by: &str) {
        self.text = self.text.replace(this, by);
    }

    /// Writes a file below the place of `/srv`.
    fn serves(&self, path: &str, content: &str) {
        let path = self.dir.path().join("srv").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes a certificate and its key in the place of `/etc/tidegate`.
    fn certificate(&self, file: &str, names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let made = generate_simple_self_signed(names).unwrap();
        let path = |kind: &str| self.dir.path().join(format!("etc/{file}.{kind}"));
        fs::write(path("pem"), made.cert.pem()).unwrap();
        fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
        CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()
    }

    /// Checks the example, which must have no warning, and starts it.
    fn start(&self) -> Server {
        let file = self.dir.path().join("tidegate.toml");
        fs::write(&file, &self.text).unwrap();
        let file = file.to_str().unwrap();
        let (status, _, stderr) = run(&["check", "--config", file]);
        assert_eq!((status, &*stderr), (0, ""));
        Server::start(&["--config", file])
    }
}

/// Returns the status and the body of a GET over TLS for a host.
fn get(client: &mut Client, host: &str, path: &str) -> (u16, String) {
    let head = RequestHead::new("GET", "https", host, path);
    let id = client.open(&head, Body::Empty);
    let response = client.response(id);
    (response.status(), response.text().to_owned())
}

#[test]
fn every_example_is_tested() {
    let files = fs::read_dir(examples()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let tested = [
        "balancer",
        "grpc",
        "spa",
        "static",
        "two-sites",
        "websocket",
    ];
    let tested = tested.map(|name| format!("{name}.toml"));
    assert_eq!(names.collect::<BTreeSet<_>>(), BTreeSet::from(tested));
}

#[test]
fn a_static_site_with_redirects_and_hsts() {
    let example = Example::new("static");
    example.serves("site/index.html", "page");
    example.serves("site/style.css", "style");
    example.serves("acme/token", "proof");
    let names = ["example.com", "www.example.com"];
    let trusted = example.certificate("site", &names);
    let server = example.start();
    let mut client = Client::tls_named(server.tls, "example.com", Some(&trusted));
    let head = RequestHead::new("GET", "https", "example.com", "/");
    let id = client.open(&head, Body::Empty);
    let page = client.response(id);
    assert_eq!(page.text(), "page");
    assert_eq!(page.hinted, ["</style.css>; rel=preload; as=style"]);
    let hsts = page.field("strict-transport-security");
    assert_eq!(hsts, "max-age=63072000");
    assert_eq!(page.field("x-content-type-options"), "nosniff");
    // The certificate is for both, so the connection is, too.
    let head = RequestHead::new("GET", "https", "www.example.com", "/a?b");
    let id = client.open(&head, Body::Empty);
    let moved = client.response(id);
    let location = moved.field("location");
    assert_eq!((moved.status(), location), (301, "https://example.com/a?b"));
    let mut plain = http1::Client::new(server.h2c);
    for (host, path, status, location) in [
        ("example.com", "/a?b", 308, "https://example.com/a?b"),
        ("www.example.com", "/", 308, "https://www.example.com/"),
        ("example.com", "/.well-known/acme-challenge/token", 200, ""),
    ] {
        plain.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = plain.response(false);
        let is = (response.status, response.field("location"));
        assert_eq!(is, (status, location), "{host}{path}");
        assert_eq!(response.field("strict-transport-security"), "");
    }
    drop(plain);
    server.signal("TERM");
    client.closed();
    let (status, _, stderr) = server.ended();
    assert!(status.success(), "{stderr}");
    let log = fs::read_to_string(example.dir.path().join("log/access.log")).unwrap();
    assert!(log.contains("\"GET / HTTP/2\" 200 4 "), "{log}");
}

#[test]
fn an_application_in_the_browser() {
    let mut example = Example::new("spa");
    example.serves("app/index.html", "app");
    example.serves("app/assets/a.1.js", "script");
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    for port in ["3000", "3001"] {
        example.replace(&format!("127.0.0.1:{port}"), &upstream.authority());
    }
    let authority = upstream.authority();
    let twice = format!("\"http://{authority}\", \"http://{authority}\"");
    example.replace(&twice, &format!("\"http://{authority}\""));
    let name = "app.example.com";
    let trusted = example.certificate("site", &[name]);
    let server = example.start();
    let mut client = Client::tls_named(server.tls, name, Some(&trusted));
    for (path, status, text, cached) in [
        ("/", 200, "app", "no-cache"),
        ("/orders/7", 200, "app", "no-cache"),
        (
            "/assets/a.1.js",
            200,
            "script",
            "public, max-age=31536000, immutable",
        ),
        ("/assets/a.2.js", 404, "404 Not Found\n", ""),
        ("/api/orders", 200, "hi", ""),
    ] {
        let head = RequestHead::new("GET", "https", name, path);
        let id = client.open(&head, Body::Empty);
        let response = client.response(id);
        let is = (
            response.status(),
            response.text(),
            response.field("cache-control"),
        );
        assert_eq!(is, (status, text, cached), "{path}");
        let policy = response.field("content-security-policy");
        assert_eq!(policy, "default-src 'self'", "{path}");
    }
    let head = RequestHead::new("POST", "https", name, "/api").field("content-length", "1048577");
    let id = client.open(&head, Body::Stream);
    client.wait_until(|client| client.has_begun(id));
    assert_eq!(client.so_far(id).status(), 413);
}

#[test]
fn two_sites_with_two_certificates() {
    let example = Example::new("two-sites");
    let mut trusted = Vec::new();
    for (site, names) in [
        ("example.com", ["example.com", "www.example.com"]),
        ("example.org", ["example.org", "*.example.org"]),
    ] {
        example.serves(&format!("{site}/index.html"), site);
        trusted.push(example.certificate(site, &names));
    }
    let server = example.start();
    for (name, trusted, body) in [
        ("example.com", &trusted[0], "example.com"),
        ("www.example.com", &trusted[0], "example.com"),
        ("example.org", &trusted[1], "example.org"),
        ("a.example.org", &trusted[1], "example.org"),
    ] {
        let mut client = Client::tls_named(server.tls, name, Some(trusted));
        assert_eq!(get(&mut client, name, "/"), (200, body.into()), "{name}");
    }
    let mut client = Client::tls_named(server.tls, "example.net", None);
    assert_eq!(get(&mut client, "example.net", "/").0, 404);
}

#[test]
fn a_gateway_for_grpc() {
    let mut example = Example::new("grpc");
    let head = || ResponseHead::new(200).field("content-type", "application/grpc");
    let orders = Upstream::http2(head(), "orders", &[("grpc-status", "0")]);
    let stock = Upstream::http2(head(), "stock", &[("grpc-status", "0")]);
    example.replace("127.0.0.1:50051", &orders.authority());
    example.replace("127.0.0.1:50061,127.0.0.1:50062", &stock.authority());
    let trusted = example.certificate("site", &["localhost"]);
    let server = example.start();
    let mut client = Client::tls_trusting(server.tls, &trusted);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    for (path, body) in [
        ("/shop.Orders/Place", "orders"),
        ("/shop.Stock/Count", "stock"),
    ] {
        let response = client.ask("POST", path, &fields, Body::Full("call".into()));
        assert_eq!((response.status(), response.text()), (200, body));
        assert_eq!(
            response.trailers,
            [("grpc-status".to_owned(), "0".to_owned())]
        );
    }
    assert_eq!(client.get("/health").text(), r#"{"status":"ok"}"#);
}

#[test]
fn an_application_with_websockets() {
    let mut example = Example::new("websocket");
    example.serves("app/static/a.js", "a");
    let upstream = Upstream::new(shout);
    example.replace("127.0.0.1:3000", &upstream.authority());
    let name = "app.example.com";
    let trusted = example.certificate("site", &[name]);
    let server = example.start();
    let mut client = Client::tls_named(server.tls, name, Some(&trusted));
    assert_eq!(get(&mut client, name, "/static/a.js"), (200, "a".into()));
    client.wait_until(Client::may_ask_for_websockets);
    let head = RequestHead::extended_connect("websocket", "https", name, "/socket")
        .field("sec-websocket-version", "13");
    let id = client.open(&head, Body::Stream);
    client.wait_until(|client| client.has_begun(id));
    client.write(id, "hello", true);
    let response = client.response(id);
    assert_eq!((response.status(), response.text()), (200, "HELLOBYE"));
}

#[test]
fn behind_a_load_balancer() {
    let mut example = Example::new("balancer");
    let upstream = Upstream::answering("HTTP/1.1 204 No Content\r\n\r\n");
    example.replace("127.0.0.1:3000", &upstream.authority());
    // The balancer of this test is on this machine.
    example.replace("10.0.0.2\"]", "127.0.0.1\"]");
    let server = example.start();
    let request = "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n";
    let mut client = http1::Client::new(server.h2c);
    client.send(format!(
        "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n{request}"
    ));
    assert_eq!(client.response(false).status, 204);
    assert!(upstream.seen().contains("192.0.2.7"));
    client.send("GET /health HTTP/1.1\r\nHost: app.example.com\r\n\r\n");
    assert_eq!(client.response(false).status, 200);
    client.send("GET /health HTTP/1.1\r\nHost: elsewhere\r\n\r\n");
    assert_eq!(client.response(false).status, 404);
    let mut none = http1::Client::new(server.h2c);
    none.send(request);
    assert!(none.until_closed().is_empty());
}
