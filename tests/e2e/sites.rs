//! Several sites in one configuration file: hosts, certificates, routes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rcgen::generate_simple_self_signed;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tidegate_http::{Body, RequestHead};

use crate::client::Client;
use crate::http1;
use crate::server::{PATIENCE, Server, refused, run};
use crate::start::assert_sentence;
use crate::upstream::Upstream;

/// Writes a certificate for these names and its key.
pub(crate) fn certificate(dir: &Path, file: &str, names: &[&str]) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = generate_simple_self_signed(names).unwrap();
    fs::write(dir.join(format!("{file}.pem")), made.cert.pem()).unwrap();
    fs::write(
        dir.join(format!("{file}.key")),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()
}

/// Writes a directory with a page that has its name.
fn directory(dir: &Path, name: &str) {
    fs::create_dir(dir.join(name)).unwrap();
    fs::write(dir.join(name).join("index.html"), name).unwrap();
}

fn start(dir: &TempDir, text: &str) -> Server {
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text).unwrap();
    Server::start(&["--config", file.to_str().unwrap()])
}

/// Returns the status and the body of a GET for a host.
fn get(client: &mut Client, scheme: &str, host: &str, path: &str) -> (u16, String) {
    let head = RequestHead::new("GET", scheme, host, path);
    let id = client.open(&head, Body::Empty);
    let response = client.response(id);
    (response.status(), response.text().trim_end().to_owned())
}

const TWO: &str = "\
cert = 'both.pem'
key = 'both.key'

[[site]]
names = ['a.test', '*.a.test']
root = 'a'

[[site]]
names = ['b.test']
root = 'b'
cert = 'b.pem'
key = 'b.key'
";

/// Starts a server with these two sites. Each has a page with its name.
fn two_sites() -> (TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
    }
    certificate(dir.path(), "both", &["a.test", "*.a.test"]);
    certificate(dir.path(), "b", &["b.test"]);
    let server = start(&dir, TWO);
    (dir, server)
}

#[test]
fn each_host_has_its_site() {
    let (_dir, server) = two_sites();
    assert!(
        server
            .banner
            .contains("Sites\n  *.a.test, a.test\n  b.test\n"),
        "{}",
        server.banner
    );
    let mut client = Client::h2c(server.h2c);
    for (host, status, body) in [
        ("a.test", 200, "a"),
        ("A.Test:8443", 200, "a"),
        ("x.a.test", 200, "a"),
        ("b.test.", 200, "b"),
        ("x.y.a.test", 404, "404 Not Found"),
        ("c.test", 404, "404 Not Found"),
        ("127.0.0.1", 404, "404 Not Found"),
    ] {
        let got = get(&mut client, "http", host, "/");
        assert_eq!(got, (status, body.to_owned()), "{host}");
    }
    server.wait_for("\"GET / HTTP/2\" 404 ");
}

#[test]
fn sites_have_their_own_files_at_the_same_path() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
        fs::write(dir.path().join(name).join("large"), vec![b'x'; 1_000_000]).unwrap();
    }
    certificate(dir.path(), "both", &["a.test", "*.a.test"]);
    certificate(dir.path(), "b", &["b.test"]);
    let server = start(&dir, TWO);
    let mut client = Client::h2c(server.h2c);
    // From here on, a worker uses what it remembers: the tag of a large file is strong once the
    // file is some seconds old.
    let deadline = Instant::now() + PATIENCE;
    let mut is_settled = || {
        let head = RequestHead::new("HEAD", "http", "b.test", "/large");
        let id = client.open(&head, Body::Empty);
        client.response(id).field("etag").starts_with('"')
    };
    while !is_settled() {
        assert!(Instant::now() < deadline, "never settled");
    }
    for host in ["a", "b", "a", "b"] {
        let got = get(&mut client, "http", &format!("{host}.test"), "/");
        assert_eq!(got, (200, host.to_owned()));
    }
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
    }
    let both = certificate(dir.path(), "both", &["a.test", "*.a.test"]);
    let b = certificate(dir.path(), "b", &["b.test"]);
    let server = start(&dir, TWO);
    for (name, trusted, body) in [
        ("a.test", &both, "a"),
        ("x.a.test", &both, "a"),
        ("b.test", &b, "b"),
    ] {
        let mut client = Client::tls_named(server.tls, name, Some(trusted));
        assert_eq!(
            get(&mut client, "https", name, "/"),
            (200, body.into()),
            "{name}"
        );
    }

    // RFC 9113 §9.1.1: the connection carries all hosts that its certificate is for.
    let mut client = Client::tls_named(server.tls, "a.test", Some(&both));
    assert_eq!(get(&mut client, "https", "y.a.test", "/").0, 200);
    assert_eq!(get(&mut client, "https", "b.test", "/").0, 421);
    assert_eq!(get(&mut client, "https", "c.test", "/").0, 421);
    let mut client = Client::tls_named(server.tls, "b.test", Some(&b));
    assert_eq!(get(&mut client, "https", "a.test", "/").0, 421);
    // A name of no site gets the first certificate.
    let mut client = Client::tls_named(server.tls, "c.test", None);
    assert_eq!(get(&mut client, "https", "c.test", "/").0, 404);
    assert_eq!(get(&mut client, "https", "a.test", "/").0, 200);

    // All certificates are read again.
    let new = certificate(dir.path(), "b", &["b.test", "a.test"]);
    server.signal("HUP");
    server.wait_for("SIGHUP: reloaded ");
    let mut client = Client::tls_named(server.tls, "b.test", Some(&new));
    assert_eq!(get(&mut client, "https", "b.test", "/").0, 200);
    let mut client = Client::tls_named(server.tls, "a.test", Some(&both));
    assert_eq!(get(&mut client, "https", "a.test", "/").0, 200);
}

#[test]
fn a_site_without_names_is_for_all_other_hosts() {
    let dir = tempfile::tempdir().unwrap();
    directory(dir.path(), "a");
    let text = "route = ['/=status']\n[[site]]\nnames = 'a.test'\nroot = 'a'\n";
    let server = start(&dir, text);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(get(&mut client, "http", "a.test", "/"), (200, "a".into()));
    let status = (200, r#"{"status":"ok"}"#.to_owned());
    assert_eq!(get(&mut client, "http", "b.test", "/"), status);
    assert_eq!(get(&mut client, "http", "127.0.0.1:80", "/"), status);
}

#[test]
fn each_site_has_its_own_preloads() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
        fs::write(dir.path().join(name).join("style.css"), name).unwrap();
    }
    let text = "[[site]]\nnames = 'a.test'\nroot = 'a'\npreload = '/=/style.css'\npush = 'on'\n\
                [[site]]\nnames = 'b.test'\nroot = 'b'\n";
    let server = start(&dir, text);
    let mut client = Client::taking_pushes(server.h2c);
    assert_eq!(get(&mut client, "http", "b.test", "/").0, 200);
    assert!(client.promised.is_empty());
    assert_eq!(get(&mut client, "http", "a.test", "/").0, 200);
    let (path, pushed) = client.promised.remove(0);
    assert_eq!(
        (&*path, client.response(pushed).text()),
        ("/style.css", "a")
    );
}

#[test]
fn routes_of_sites_have_their_own_settings() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let authority = upstream.authority();
    let text = format!(
        "[[site]]\nnames = 'a.test'\n\
         [[site.route]]\npath = '/keep'\ntarget = 'http://{authority}'\n\
         [[site.route]]\npath = '/rewrite'\ntarget = 'http://{authority}'\n\
         upstream-host = 'rewrite'\n"
    );
    let server = start(&dir, &text);
    let mut client = Client::h2c(server.h2c);
    for (path, host) in [("/keep", "a.test"), ("/rewrite", &authority)] {
        assert_eq!(get(&mut client, "http", "a.test", path).0, 200);
        let head = upstream.seen().to_ascii_lowercase();
        assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    }
}

#[test]
fn a_certificate_that_is_not_for_a_name_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
    }
    certificate(dir.path(), "both", &["a.test"]);
    certificate(dir.path(), "b", &["b.test"]);
    let server = start(&dir, TWO);
    let line = server.line("isn't for *.a.test, which the site has: clients refuse it there");
    assert!(
        line.contains("tidegate.toml, line 1: the certificate "),
        "{line}"
    );

    let file = dir.path().join("tidegate.toml");
    fs::remove_file(dir.path().join("b.key")).unwrap();
    let (status, stderr) = refused(&["--config", file.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert_sentence(&stderr);
    assert!(
        stderr.contains("tidegate.toml, line 12: can't read "),
        "{stderr}"
    );
}

/// A host has its site however it is written, and whatever else names one.
#[test]
fn hosts_in_every_spelling() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "six"] {
        directory(dir.path(), name);
    }
    let text = "[[site]]\nnames = ['a.test', '*.w.test']\nroot = 'a'\n\
                [[site]]\nnames = ['b.test']\nroot = 'b'\n\
                [[site]]\nnames = ['[::1]', '127.0.0.1']\nroot = 'six'\n";
    let server = start(&dir, text);
    for (request, status, body) in [
        ("GET / HTTP/1.1\r\nHost: a.test", 200, "a"),
        ("GET / HTTP/1.1\r\nHost: A.TEST:80", 200, "a"),
        ("GET / HTTP/1.1\r\nHost: a.test.:8080", 200, "a"),
        ("GET / HTTP/1.1\r\nHost: x.w.test", 200, "a"),
        ("GET / HTTP/1.1\r\nHost: w.test", 404, "404 Not Found\n"),
        ("GET / HTTP/1.1\r\nHost: a.test..", 404, "404 Not Found\n"),
        ("GET / HTTP/1.1\r\nHost: [::1]:80", 200, "six"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1", 200, "six"),
        // RFC 9112 §3.2.2: the authority of an absolute-form target replaces Host.
        ("GET http://b.test/ HTTP/1.1\r\nHost: a.test", 200, "b"),
        ("GET http://B.test:1/ HTTP/1.1\r\nHost: b.test", 200, "b"),
        // X-Forwarded-Host and Forwarded name no site.
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Host: b.test\r\nForwarded: host=b.test",
            200,
            "a",
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive",
            404,
            "404 Not Found\n",
        ),
        (
            "GET / HTTP/1.0\r\nHost: b.test\r\nConnection: keep-alive",
            200,
            "b",
        ),
    ] {
        let mut client = http1::Client::new(server.h2c);
        client.send(format!("{request}\r\n\r\n"));
        let response = client.response(false);
        assert_eq!(
            (response.status, response.text()),
            (status, body),
            "{request}"
        );
    }
    for request in [
        "GET / HTTP/1.1\r\nHost: user@a.test",
        "GET / HTTP/1.1\r\nHost: a.test, b.test",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test",
        "GET / HTTP/1.1\r\nHost: a.test/b.test",
        "GET / HTTP/1.1\r\nHost: [::1",
        "GET / HTTP/1.1\r\nHost: [::1]x",
        "GET http://user@b.test/ HTTP/1.1\r\nHost: b.test",
        "GET / HTTP/1.1\r\nHost:",
        "GET / HTTP/1.1\r\nX: y",
    ] {
        let mut client = http1::Client::new(server.h2c);
        client.send(format!("{request}\r\n\r\n"));
        assert_eq!(client.response(false).status, 400, "{request}");
    }
}

/// In HTTP/2 too, where Host stands in for an authority that isn't there.
#[test]
fn authorities_in_every_spelling() {
    let (_dir, server) = two_sites();
    let ask = |client: &mut Client, scheme: &str, authority: &str, host: &str| {
        let mut head = RequestHead::new("GET", scheme, authority, "/");
        if !host.is_empty() {
            head.push("host", host);
        }
        let id = client.open(&head, Body::Empty);
        let response = client.response(id);
        match response.reset {
            None => (response.status(), response.text().trim_end().to_owned()),
            Some(code) => (0, code.to_string()),
        }
    };
    for (authority, host, expected) in [
        ("", "b.test", (200, "b")),
        ("", "X.A.test:1", (200, "a")),
        ("b.test", "b.test", (200, "b")),
        ("", "", (404, "404 Not Found")),
    ] {
        let mut client = Client::h2c(server.h2c);
        let (status, body) = ask(&mut client, "http", authority, host);
        assert_eq!((status, &*body), expected, "{authority} {host}");
    }
    let mut client = Client::tls_named(server.tls, "b.test", None);
    for (authority, host, status) in [
        ("", "", 200),
        ("", "b.test", 200),
        ("", "a.test", 421),
        ("b.test:8443", "", 200),
        ("127.0.0.1", "", 421),
    ] {
        let got = ask(&mut client, "https", authority, host).0;
        assert_eq!(got, status, "{authority} {host}");
    }
}

/// Requests of one connection for several sites, each of which repeats its last one.
#[test]
fn requests_that_repeat_stay_with_their_site() {
    let dir = tempfile::tempdir().unwrap();
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let authority = upstream.authority();
    let text = format!(
        "workers = 1\n\
         [[site]]\nnames = 'a.test'\nroute = '/=http://{authority}'\n\
         [[site]]\nnames = 'b.test'\nroute = '/=http://{authority}/below'\n\
         upstream-host = 'rewrite'\n"
    );
    let server = start(&dir, &text);
    let mut clients = [Client::h2c(server.h2c), Client::h2c(server.h2c)];
    for count in [1, 2, 5] {
        for (asked, host, path) in [
            ("a.test", "a.test", "/"),
            ("b.test", &*authority, "/below/"),
        ] {
            for client in &mut clients {
                for _ in 0..count {
                    assert_eq!(get(client, "http", asked, "/").0, 200);
                    let head = upstream.seen().to_ascii_lowercase();
                    assert!(head.starts_with(&format!("get {path} http")), "{head}");
                    assert!(head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
                    assert!(head.contains(&format!("host=\"{asked}\"")), "{head}");
                }
            }
        }
    }
}

#[test]
fn a_connection_says_which_origins_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b"] {
        directory(dir.path(), name);
    }
    certificate(dir.path(), "both", &["localhost", "b.test"]);
    certificate(dir.path(), "b", &["b.test"]);
    let text = "cert = 'both.pem'\nkey = 'both.key'\n\
                [[site]]\nnames = 'localhost'\nroot = 'a'\n\
                [[site]]\nnames = 'b.test'\nroot = 'b'\n";
    let listed = |text: &str| {
        let server = start(&dir, text);
        let url = format!("https://localhost:{}/", server.tls.unwrap().port());
        let (status, _, frames) = run(&["get", "-v", "-k", &url]);
        assert_eq!(status, 0, "{frames}");
        let first = frames
            .lines()
            .filter(|line| line.contains("SETTINGS") || line.contains("ORIGIN"));
        let first: Vec<String> = first.map(str::to_owned).collect();
        let origins = first.iter().filter(|line| line.contains("ORIGIN"));
        (origins.count(), first)
    };
    let (count, first) = listed(text);
    assert_eq!(count, 1, "{first:?}");
    let place = first.iter().position(|line| line.contains("ORIGIN"));
    let settings = first.iter().position(|line| line.contains("SETTINGS"));
    assert!(settings < place, "{first:?}");
    // With a certificate for each there is nothing that the client doesn't know.
    certificate(dir.path(), "both", &["localhost"]);
    let (count, first) = listed(&format!("{text}cert = 'b.pem'\nkey = 'b.key'\n"));
    assert_eq!(count, 0, "{first:?}");
}
