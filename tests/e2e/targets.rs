//! Demo site, status, upload, echo.

use aws_lc_rs::digest::{SHA256, digest};
use tidegate_http::{Body, RequestHead};

use crate::client::Client;
use crate::http1;
use crate::server::Server;

/// Returns `len` bytes that repeat only after a long time.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut state: u32 = 0x2545_f491;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Sizes around those of frames and windows.
pub(crate) const SIZES: [usize; 8] = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 1_000_000];

#[test]
fn status() {
    let server = Server::start(&[]);
    let mut client = Client::tls(server.tls);
    let response = client.get("/status");
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("content-type"), "application/json");
    assert_eq!(response.field("content-length"), "15");
    assert_eq!(response.field("server"), "tidegate");
    assert!(response.field("date").ends_with(" GMT"));
    assert_eq!(response.text(), r#"{"status":"ok"}"#);
    let head = client.ask("HEAD", "/status", &[], Body::Empty);
    assert_eq!(
        (head.status(), head.field("content-length"), head.text()),
        (200, "15", "")
    );
    let post = client.ask("POST", "/status", &[], Body::Full("x".into()));
    assert_eq!(
        (post.status(), post.field("allow")),
        (405, "GET, HEAD, OPTIONS")
    );
}

#[test]
fn the_demo_site() {
    let server = Server::start(&[]);
    let mut client = Client::tls(server.tls);
    let page = client.get("/");
    assert_eq!(
        (page.status(), page.field("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.text().contains("tidegate"));
    for (path, content_type) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/script.js", "text/javascript; charset=utf-8"),
        ("/tide.svg", "image/svg+xml"),
    ] {
        assert!(page.text().contains(path), "{path}");
        let response = client.get(path);
        assert_eq!(
            (response.status(), response.field("content-type")),
            (200, content_type)
        );
        assert_eq!(
            response.field("content-length"),
            response.body.len().to_string()
        );
        let tag = response.field("etag").to_owned();
        let again = client.ask("GET", path, &[("if-none-match", &tag)], Body::Empty);
        assert_eq!((again.status(), again.text()), (304, ""));
    }
    // The page says what it came over.
    assert!(page.text().contains(">HTTP/2</strong>"));
    assert!(page.text().contains("as streams of it"));
    // It counts its own connection.
    let own = client.get("/connection");
    let own: serde_json::Value = serde_json::from_str(own.text()).unwrap();
    let requests = client.stats().requests;
    assert_eq!(
        (&own["protocol"], &own["requests"]),
        (&"HTTP/2".into(), &requests.into())
    );
    let sent = client.stats().fields_out;
    assert_eq!(own["headers"]["fields_in"], sent);
    let mut client_of_http1 = http1::Client::new(server.h2c);
    let own = client_of_http1.get("/connection");
    let own: serde_json::Value = serde_json::from_str(own.text()).unwrap();
    assert_eq!(
        (&own["protocol"], &own["requests"]),
        (&"HTTP/1.1".into(), &1.into())
    );
    assert!(own["headers"].is_null() && own["streams"].is_null());
    let page = client_of_http1.get("/");
    assert!(page.text().contains(">HTTP/1.1</strong>"));
    assert!(page.text().contains("carries one request at a time"));
    assert_eq!(client.get("/missing").status(), 404);
    assert_eq!(client.get("/style.css/x").status(), 404);
    assert_eq!(client.get("/?query").status(), 200);
}

#[test]
fn uploads_of_all_sizes() {
    let server = Server::start(&[]);
    for mut client in [Client::tls(server.tls), Client::h2c(server.h2c)] {
        for size in SIZES {
            let body = pattern(size);
            let hex: String = digest(&SHA256, &body)
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            for method in ["POST", "PUT"] {
                let response = client.ask(method, "/upload", &[], Body::Full(body.clone().into()));
                assert_eq!(response.status(), 200);
                assert_eq!(response.field("content-type"), "application/json");
                let report: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
                assert_eq!(report["bytes"], size);
                assert_eq!(report["sha256"], hex);
            }
        }
        let get = client.get("/upload");
        assert_eq!(
            (get.status(), get.field("allow")),
            (405, "POST, PUT, OPTIONS")
        );
    }
}

#[test]
fn uploads_at_once_do_not_mix() {
    let server = Server::start(&[]);
    let mut client = Client::h2c(server.h2c);
    let ids: Vec<_> = (0..50)
        .map(|n| {
            (
                n,
                client.send("POST", "/upload", &[], Body::Full(pattern(n * 1000).into())),
            )
        })
        .collect();
    for (n, id) in ids {
        let response = client.response(id);
        assert!(
            response
                .text()
                .starts_with(&format!("{{\"bytes\":{},", n * 1000)),
            "{}",
            response.text()
        );
    }
}

// RFC 9110 §10.1.1: "Upon receiving an HTTP/1.1 (or later) request that has a method, target URI,
// and complete header section that contains a 100-continue expectation ..., an origin server MUST
// send either: an immediate response with a final status code ..., or an immediate 100 (Continue)
// response".
#[test]
fn a_body_that_waits_is_invited() {
    let server = Server::start(&[]);
    let mut client = Client::h2c(server.h2c);
    for path in ["/upload", "/echo"] {
        let id = client.send("POST", path, &[("expect", "100-continue")], Body::Stream);
        client.wait_until(|client| client.so_far(id).informational == [100]);
        client.write(id, "abc", true);
        assert_eq!(client.response(id).status(), 200);
    }
    let id = client.send(
        "POST",
        "/status",
        &[("expect", "100-continue")],
        Body::Stream,
    );
    let response = client.response(id);
    assert_eq!(response.status(), 405);
    assert!(response.informational.is_empty());
}

#[test]
fn echoes_of_all_sizes() {
    let server = Server::start(&[]);
    for mut client in [Client::tls(server.tls), Client::h2c(server.h2c)] {
        for size in SIZES {
            let body = pattern(size);
            let length = size.to_string();
            let fields = [("content-type", "text/plain"), ("content-length", &*length)];
            let response = client.ask("POST", "/echo", &fields, Body::Full(body.clone().into()));
            assert_eq!(response.status(), 200);
            assert_eq!(response.field("content-type"), "text/plain");
            assert_eq!(response.field("content-length"), length);
            assert!(
                response.body == body,
                "{size} bytes came back as {}",
                response.body.len()
            );
        }
        assert_eq!(client.get("/echo").text(), "");
    }
}

#[test]
fn an_echo_streams() {
    let server = Server::start(&[]);
    let mut client = Client::tls(server.tls);
    let id = client.send("POST", "/echo", &[], Body::Stream);
    for (sent, back) in [
        ("one ", "one "),
        ("two ", "one two "),
        ("three", "one two three"),
    ] {
        client.write(id, sent, false);
        client.wait_until(|client| client.so_far(id).text() == back);
    }
    client.write(id, "", true);
    assert_eq!(client.response(id).text(), "one two three");
}

#[test]
fn no_route_no_answer_but_404() {
    let server = Server::start(&["--route", "/health=status"]);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/health").status(), 200);
    assert_eq!(client.get("/health/").status(), 200);
    for path in ["/", "/healthy", "/upload"] {
        let response = client.get(path);
        assert_eq!(
            (response.status(), response.text()),
            (404, "404 Not Found\n"),
            "{path}"
        );
        assert_eq!(response.field("content-type"), "text/plain; charset=utf-8");
    }
}

#[test]
fn no_target_opens_a_tunnel() {
    for target in ["status", "upload", "echo"] {
        let route = format!("/={target}");
        let server = Server::start(&["--route", &route]);
        let mut client = Client::h2c(server.h2c);
        let id = client.open(&RequestHead::connect("localhost:22"), Body::Stream);
        // RFC 9110 §9.3.6: a 2xx would grant the tunnel.
        assert_eq!(client.response(id).status(), 405, "{target}");
    }
}
