//! `tidegate get`: where it writes what, how it reports failures, and how many connections it
//! needs.

use std::fs;

use crate::server::{Server, run};
use crate::start::certificate_files;
use crate::targets::pattern;

/// Returns a URL on a server's cleartext port.
fn url(server: &Server, scheme: &str, path: &str) -> String {
    format!("{scheme}://{}{path}", server.h2c.unwrap())
}

#[test]
fn a_body_goes_to_stdout() {
    let server = Server::start(&[]);
    for scheme in ["h2c", "http"] {
        let found = run(&["get", &url(&server, scheme, "/status")]);
        assert_eq!(found, (0, br#"{"status":"ok"}"#.to_vec(), String::new()));
    }
    // No status counts as a failure.
    let (status, body, _) = run(&["get", &url(&server, "h2c", "/missing")]);
    assert_eq!((status, &*body), (0, &b"404 Not Found\n"[..]));
}

#[test]
fn heads_frames_and_nothing() {
    let server = Server::start(&[]);
    let url = url(&server, "h2c", "/status");
    let (_, body, _) = run(&["get", "-i", &url]);
    let text = String::from_utf8(body).unwrap();
    assert!(text.starts_with("HTTP 200\n"), "{text}");
    assert!(
        text.ends_with("content-length: 15\ncache-control: no-store\n\n{\"status\":\"ok\"}"),
        "{text}"
    );
    let (_, body, frames) = run(&["get", "-n", "-v", &url]);
    assert!(body.is_empty());
    for line in [
        "send SETTINGS frame <length=24, flags=0x00, stream_id=0>",
        "send HEADERS frame <length=",
        "          :path: /status",
        "recv SETTINGS frame <length=0, flags=0x01, stream_id=0>",
        "          :status: 200",
        "recv DATA frame <length=15, flags=0x01, stream_id=1>",
        "send GOAWAY frame <length=8, ",
    ] {
        assert!(frames.contains(line), "{line:?} is missing: {frames}");
    }
}

#[test]
fn over_tls_a_certificate_must_be_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "site");
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let url = format!("https://localhost:{}/status", server.tls.unwrap().port());
    let ok = (0, br#"{"status":"ok"}"#.to_vec(), String::new());
    assert_eq!(run(&["get", "--cacert", &cert, &url]), ok);
    assert_eq!(run(&["get", "-k", &url]), ok);
    let (status, body, stderr) = run(&["get", &url]);
    assert_eq!((status, body.len()), (1, 0));
    assert!(
        stderr.contains("certificate") && stderr.contains("--cacert"),
        "{stderr}"
    );
}

#[test]
fn many_urls_take_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let server = Server::start(&["--root", dir.path().to_str().unwrap()]);
    let mut urls = Vec::new();
    for number in 0..300_usize {
        let body = pattern(number * 7);
        fs::write(dir.path().join(number.to_string()), &body).unwrap();
        expected.extend(body);
        urls.push(url(&server, "h2c", &format!("/{number}")));
    }
    let file = dir.path().join("all").to_str().unwrap().to_owned();
    let mut flags = vec!["get", "-o", &file];
    flags.extend(urls.iter().map(String::as_str));
    let (status, body, stderr) = run(&flags);
    assert_eq!((status, body.len()), (0, 0), "{stderr}");
    // Bodies are in the order of the URLs, whichever response came first.
    assert!(fs::read(&file).unwrap() == expected);
    assert!(
        stderr.contains("300 of 300 answered (200: 300)"),
        "{stderr}"
    );
    assert!(stderr.contains(", 1 connections\n"), "{stderr}");
}

#[test]
fn a_summary_says_how_requests_were_answered() {
    let server = Server::start(&[]);
    let missing: Vec<String> = (0..3)
        .map(|at| url(&server, "http", &format!("/{at}")))
        .collect();
    let fine = url(&server, "http", "/status");
    let asked = |flags: &[&str]| {
        let mut all = vec!["get", "-n"];
        all.extend(flags);
        run(&all)
    };
    let both = [&missing[0], &missing[1], &missing[2], &fine].map(String::as_str);
    let (status, _, stderr) = asked(&both);
    assert!(
        stderr.contains("4 of 4 answered (200: 1, 404: 3)"),
        "{stderr}"
    );
    // No status counts as a failure, unless `--fail` is given.
    assert_eq!(status, 0);
    let (status, _, stderr) = asked(&[&["--fail"], &both[..]].concat());
    assert_eq!(status, 1, "{stderr}");
    assert_eq!(asked(&["--fail", &fine]).0, 0);
    let (_, _, stderr) = asked(&[&fine, "http://127.0.0.1:1/"]);
    assert!(stderr.contains("1 of 2 answered (200: 1)"), "{stderr}");
    let (_, _, stderr) = asked(&[&missing[0]]);
    assert!(stderr.contains("1 of 1 answered (404: 1)"), "{stderr}");
}

#[test]
fn bodies_can_be_sent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&[]);
    let echo = url(&server, "h2c", "/echo");
    assert_eq!(run(&["get", "-d", "hello", &echo]).1, b"hello");
    let body = pattern(2_000_000);
    let file = dir.path().join("body").to_str().unwrap().to_owned();
    fs::write(&file, &body).unwrap();
    assert!(run(&["get", "-X", "PUT", "-d", &format!("@{file}"), &echo]).1 == body);
}

#[test]
fn what_goes_wrong_is_told() {
    let server = Server::start(&[]);
    let fine = url(&server, "h2c", "/status");
    let (status, body, stderr) = run(&["get", "http://127.0.0.1:1/", &fine]);
    assert_eq!(
        (status, &*body),
        (1, &br#"{"status":"ok"}"#[..]),
        "the others are got all the same"
    );
    assert!(
        stderr.contains("http://127.0.0.1:1/") && stderr.contains("refused"),
        "{stderr}"
    );
    let cases: [(i32, &[&str], &str); 7] = [
        (2, &["get"], "<URL>"),
        (2, &["get", "nonsense"], "nonsense isn't a URL"),
        (2, &["get", "ftp://a/"], "ftp://a/"),
        (2, &["get", "-H", "nonsense", &fine], "NAME: VALUE"),
        (2, &["get", "-X", "G ET", &fine], &fine),
        (2, &["get", "-d", "@/nonexistent", &fine], "/nonexistent"),
        (
            2,
            &["get", "http://no-such-host.invalid/"],
            "no-such-host.invalid",
        ),
    ];
    for (expected, flags, message) in cases {
        let (status, body, stderr) = run(flags);
        assert!(
            body.is_empty() && stderr.contains(message),
            "{flags:?}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        assert_eq!(status, expected, "{flags:?}: {stderr}");
    }
}
