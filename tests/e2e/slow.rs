//! Slow peers, deliberately slow or not: behaviour that crosses crates. The engines and the loop
//! have their own tests in virtual time.

use tidegate_http::Body;

use crate::client::Client;
use crate::http1;
use crate::server::Server;
use crate::targets::pattern;
use crate::upstream::Upstream;

/// More bytes than the sockets on the way hold.
const LARGE: usize = 20 << 20;

#[test]
fn who_sends_all_before_it_reads_gets_an_early_answer() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("f"), "x").unwrap();
    let files = format!("/files={}", dir.path().display());
    let upstream = Upstream::new(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 7\r\n\r\ntoo big");
            conn.wait_for_end();
        }
    });
    let server = Server::start(&["--route", &files, "--route", &upstream.route("/")]);
    let body = pattern(LARGE);
    for (path, status) in [("/files/f", 405), ("/", 413)] {
        let mut client = http1::Client::new(server.h2c);
        let length = format!("Content-Length: {LARGE}\r\n");
        assert_eq!(
            client.ask(&format!("PUT {path}"), &length, &body).status,
            status
        );
        let mut client = http1::Client::new(server.h2c);
        let mut chunk = format!("{LARGE:x}\r\n").into_bytes();
        chunk.extend_from_slice(&body);
        chunk.extend_from_slice(b"\r\n0\r\n\r\n");
        let chunks = "Transfer-Encoding: chunked\r\n";
        assert_eq!(
            client.ask(&format!("PUT {path}"), chunks, &chunk).status,
            status
        );
    }
}

#[test]
fn an_upload_that_does_not_come_is_answered() {
    let server = Server::start(&["--route", "/u=upload", "--body-timeout", "100ms"]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/u", &[], Body::Stream);
    assert_eq!(client.response(id).status(), 408);
    assert!(
        server.line("POST /u").contains(" 408 "),
        "it is logged as that"
    );
    assert_eq!(client.get("/").status(), 404, "the connection goes on");
    let mut client = http1::Client::new(server.h2c);
    client.send("POST /u HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n");
    assert!(client.rest().starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_call_may_be_silent_if_it_is_one_all_the_way() {
    let behind = Server::start(&["--route", "/echo=echo", "--route", "/u=upload"]);
    let clear = behind.h2c.unwrap();
    let upstream = Upstream::new(|conn| {
        conn.request();
        conn.wait_for_end();
    });
    let routes = [format!("/call=h2c://{clear}/"), upstream.route("/nothing")];
    let server = Server::start(&[
        "--route",
        &routes[0],
        "--route",
        &routes[1],
        "--body-timeout",
        "100ms",
    ]);
    let mut client = Client::h2c(server.h2c);
    let grpc = [("content-type", "application/grpc")];
    let call = client.send("POST", "/call/echo", &grpc, Body::Stream);
    client.write(call, "so far ", false);
    client.wait_until(|client| client.so_far(call).text() == "so far ");
    // The content type alone lifts no limit: neither of these uses HTTP/2 on both sides.
    for _ in 0..2 {
        let id = client.send("POST", "/nothing", &grpc, Body::Stream);
        assert_eq!(client.response(id).status(), 408);
    }
    let mut http1 = http1::Client::new(server.h2c);
    let fields = "Content-Type: application/grpc\r\nContent-Length: 9\r\n";
    http1.send(format!("POST /call/u HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert!(http1.rest().starts_with("HTTP/1.1 408 "));
    // Meanwhile the call has been silent for longer than the timeout.
    client.write(call, "at last", true);
    assert_eq!(client.response(call).text(), "so far at last");
}

#[test]
fn interim_responses_without_end_are_no_answer() {
    let upstream = Upstream::new(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(101));
        }
    });
    let server = Server::start(&["--route", &upstream.route("/")]);
    let answer = Client::h2c(server.h2c).get("/");
    assert_eq!((answer.status(), answer.informational.len()), (502, 100));
    assert_eq!(
        answer.field("proxy-status"),
        "tidegate; error=http_protocol_error"
    );
}
