//! Banner, flags, certificates, failures at startup, logs.

use std::fs;
use std::net::TcpListener;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;
use tidegate::certificate::{Pem, self_signed};
use tidegate_http::Body;

use crate::client::Client;
use crate::server::{Server, refused, run};

/// Creates a certificate and its key as files.
pub(crate) fn certificate_files(dir: &TempDir, name: &str) -> (String, String, Pem) {
    let pem = self_signed().unwrap();
    let path = |kind: &str| {
        dir.path()
            .join(format!("{name}.{kind}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (cert, key) = (path("pem"), path("key"));
    fs::write(&cert, &pem.certificate).unwrap();
    fs::write(&key, &pem.key).unwrap();
    (cert, key, pem)
}

#[test]
fn a_start_without_files_serves_tls_and_cleartext() {
    let server = Server::start(&[]);
    assert!(server.banner.contains("self-signed"), "{}", server.banner);
    assert!(server.banner.contains("curl -k "), "{}", server.banner);
    for mut client in [Client::tls(server.tls), Client::h2c(server.h2c)] {
        assert_eq!(client.get("/status").text(), r#"{"status":"ok"}"#);
    }
}

#[test]
fn all_interfaces() {
    let server = Server::start(&["--listen", "0", "--listen-h2c", ":0"]);
    assert!(
        server.banner.contains("https://localhost:"),
        "{}",
        server.banner
    );
    assert!(
        server.banner.contains("http://localhost:"),
        "{}",
        server.banner
    );
    assert_eq!(Client::tls(server.tls).get("/status").status(), 200);
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
}

#[test]
fn either_port_can_be_left_out() {
    let server = Server::start(&["--listen", "none"]);
    assert!(server.tls.is_none() && server.h2c.is_some());
    let server = Server::start(&["--listen-h2c", "none"]);
    assert!(server.tls.is_some() && server.h2c.is_none());
}

#[test]
fn one_worker_and_many() {
    for workers in ["1", "4"] {
        let server = Server::start(&["--workers", workers]);
        let mut clients: Vec<Client> = (0..8).map(|_| Client::h2c(server.h2c)).collect();
        for client in &mut clients {
            assert_eq!(client.get("/status").status(), 200);
        }
    }
}

#[test]
fn a_certificate_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, pem) = certificate_files(&dir, "site");
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    assert!(!server.banner.contains("self-signed"), "{}", server.banner);
    let trusted = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let mut client = Client::tls_trusting(server.tls, &trusted);
    assert_eq!(client.get("/status").status(), 200);
}

#[test]
fn sighup_reads_the_certificate_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, old) = certificate_files(&dir, "site");
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let trusted = |pem: &Pem| CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let mut before = Client::tls_trusting(server.tls, &trusted(&old));
    assert_eq!(before.get("/status").status(), 200);

    // The server rejects a certificate that its key doesn't match.
    let (other_cert, other_key, new) = certificate_files(&dir, "other");
    fs::copy(&other_cert, &cert).unwrap();
    server.signal("HUP");
    server.wait_for("SIGHUP: nothing has changed, because the new configuration can't be used");
    let mut client = Client::tls_trusting(server.tls, &trusted(&old));
    assert_eq!(client.get("/status").status(), 200);

    fs::copy(&other_key, &key).unwrap();
    server.signal("HUP");
    server.wait_for("SIGHUP: reloaded ");
    let mut client = Client::tls_trusting(server.tls, &trusted(&new));
    assert_eq!(client.get("/status").status(), 200);
    // Existing connections continue.
    assert_eq!(before.get("/status").status(), 200);
}

pub(crate) fn assert_sentence(stderr: &str) {
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("tidegate: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn certificate_and_key_that_do_not_match() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, ..) = certificate_files(&dir, "one");
    let (_, key, _) = certificate_files(&dir, "other");
    let (status, stderr) = refused(&["--cert", &cert, "--key", &key]);
    assert_eq!(status, 1);
    assert_sentence(&stderr);
    assert!(stderr.contains(&cert) && stderr.contains(&key), "{stderr}");
}

#[test]
fn files_that_are_no_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key, _) = certificate_files(&dir, "site");
    let nonsense = dir.path().join("nonsense").to_str().unwrap().to_owned();
    fs::write(&nonsense, "nonsense").unwrap();
    let missing = dir.path().join("missing").to_str().unwrap().to_owned();
    let pairs = [
        (&nonsense, &key),
        (&cert, &nonsense),
        (&missing, &key),
        (&cert, &missing),
        (&key, &cert),
    ];
    for (cert, key) in pairs {
        let (status, stderr) = refused(&["--cert", cert, "--key", key]);
        assert_eq!(status, 1, "{cert} {key}");
        assert_sentence(&stderr);
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for flags in [
        ["--listen", &addr, "--listen-h2c", "none"],
        ["--listen", "none", "--listen-h2c", &addr],
    ] {
        let (status, stderr) = refused(&flags);
        assert_eq!(status, 1);
        assert_sentence(&stderr);
        assert!(
            stderr.contains(&addr) && stderr.contains("taken"),
            "{stderr}"
        );
    }
}

#[test]
fn a_port_that_another_tidegate_has() {
    let server = Server::start(&["--listen", "none"]);
    let addr = server.h2c.unwrap().to_string();
    let (status, stderr) = refused(&["--listen", "none", "--listen-h2c", &addr]);
    assert_eq!(status, 1);
    assert!(stderr.contains("taken"), "{stderr}");
}

#[test]
fn a_directory_that_is_not_there() {
    let (status, stderr) = refused(&["--root", "/nonexistent/site"]);
    assert_eq!(status, 1);
    assert_sentence(&stderr);
    assert!(stderr.contains("/nonexistent/site"), "{stderr}");
}

#[test]
fn what_was_typed_wrong() {
    let wrong: [&[&str]; 6] = [
        &["--listen", "none", "--listen-h2c", "none"],
        &["--nonsense"],
        &["--listen", "everywhere"],
        &["--idle-timeout", "soon"],
        &["--route", "here"],
        &["--cert", "alone.pem"],
    ];
    for flags in wrong {
        let (status, stderr) = refused(flags);
        assert_eq!(status, 2, "{flags:?}");
        assert!(
            !stderr.is_empty() && !stderr.contains("panicked"),
            "{stderr}"
        );
    }
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for flags in [
        &["--route", "/a=status", "--route", "/a/=echo"][..],
        &["--root", ".", "--route", "/=status"],
        &["--listen", "none", "--listen", "127.0.0.1:0"],
    ] {
        let (status, stderr) = refused(flags);
        assert_eq!(status, 2, "{flags:?}");
        assert_sentence(&stderr);
    }
}

#[test]
fn flags_without_effect_are_warned_of() {
    let server = Server::start(&["--route", "/a b=status", "--upstream-name", "x"]);
    server.wait_for("--upstream-name has no effect: no --route leads to an upstream");
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/a%20b").text(), r#"{"status":"ok"}"#);
}

#[test]
fn a_file_configures_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let (.., pem) = certificate_files(&dir, "site");
    fs::create_dir(dir.path().join("public")).unwrap();
    fs::write(dir.path().join("public/a.txt"), "a").unwrap();
    let file = dir.path().join("tidegate.toml");
    let text = "cert = \"site.pem\"\nkey = \"site.key\"\nroot = \"public\"\n\
                route = [\"/health=status\"]\nupstream-name = \"x\"\nlisten = [\"none\"]\n";
    fs::write(&file, text).unwrap();
    // `Server::start` types --listen, which takes the place of the key.
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    server.wait_for("tidegate.toml, line 5: upstream-name has no effect");
    let trusted = CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap();
    let mut client = Client::tls_trusting(server.tls, &trusted);
    assert_eq!(client.get("/a.txt").text(), "a");
    assert_eq!(client.get("/health").text(), r#"{"status":"ok"}"#);

    for (text, status, says) in [
        (
            "\nmax-stream = 1",
            2,
            "line 2: there is no key max-stream: did you mean max-streams?",
        ),
        (
            "\n\nroot = \"missing\"",
            1,
            "line 3: can't serve the directory ",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let (exit_status, stderr) = refused(&["--config", file.to_str().unwrap()]);
        assert_eq!(exit_status, status, "{stderr}");
        assert_sentence(&stderr);
        assert!(stderr.contains(says), "{stderr}");
    }
    let (status, stderr) = refused(&["--config", "/nonexistent/tidegate.toml"]);
    assert_eq!(status, 1);
    assert_sentence(&stderr);
}

#[test]
fn a_configuration_is_checked_without_a_start() {
    let dir = tempfile::tempdir().unwrap();
    certificate_files(&dir, "site");
    let file = dir.path().join("tidegate.toml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        run(&[
            "check",
            "--config",
            file.to_str().unwrap(),
            "--workers",
            "2",
        ])
    };
    // The port is taken, which is no matter here, and the name leads nowhere for now.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "listen-h2c = ['{}']\ncert = 'site.pem'\nkey = 'site.key'\naccess-log = 'log'\n\
         route = ['/=http://nowhere.invalid']\n",
        taken.local_addr().unwrap()
    );
    let (status, stdout, stderr) = check(&text);
    assert_eq!(status, 0, "{stderr}");
    let stdout = String::from_utf8(stdout).unwrap();
    let workers = stdout.lines().find(|line| line.starts_with("workers = 2 "));
    assert!(
        workers.is_some_and(|line| line.ends_with(" # typed")),
        "{stdout}"
    );
    assert!(stdout.contains("tidegate.toml, line 5\n"), "{stdout}");
    assert!(
        stderr.contains("can't find the address of nowhere.invalid"),
        "{stderr}"
    );
    assert!(!dir.path().join("log").exists());
    // Nobody reads the pipe, and nothing waits for that.
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(check("access-log = 'pipe'").0, 0);

    for (text, says) in [
        ("max-stream = 1", "line 1: there is no key max-stream"),
        ("cert = 'site.pem'\nkey = 'missing'", "line 2: can't read "),
        ("root = 'missing'", "line 1: can't serve the directory "),
        (
            "access-log = 'missing/log'",
            "line 1: can't write the access log ",
        ),
    ] {
        let (status, _, stderr) = check(text);
        assert_eq!(status, 2, "{stderr}");
        assert_sentence(&stderr);
        assert!(stderr.contains(says), "{stderr}");
    }
    let (status, _, stderr) = run(&["check", "--config", "/nonexistent/tidegate.toml"]);
    assert_eq!(status, 2, "{stderr}");
    let (status, stdout, _) = run(&["check", "--help"]);
    assert_eq!(status, 0);
    assert!(String::from_utf8(stdout).unwrap().contains("--max-streams"));
}

#[test]
fn each_request_is_a_line_of_the_log() {
    let server = Server::start(&[]);
    let mut client = Client::h2c(server.h2c);
    client.ask(
        "GET",
        "/status?a=\"b\"",
        &[("user-agent", "tester\\1")],
        Body::Empty,
    );
    server.wait_for("\"GET /status?a=\\\"b\\\" HTTP/2\" 200 15 ");
    server.wait_for("\"tester\\\\1\"");
}

#[test]
fn no_lines_when_the_log_does_not_want_them() {
    let server = Server::start(&["--log", "warn"]);
    let mut client = Client::h2c(server.h2c);
    client.get("/status");
    server.signal("TERM");
    let (status, _, stderr) = server.ended();
    assert!(status.success());
    assert_eq!(stderr, "");
}

#[test]
fn the_access_log_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let server = Server::start(&["--access-log", path.to_str().unwrap()]);
    let mut client = Client::tls(server.tls);
    client.ask(
        "GET",
        "/",
        &[
            ("referer", "https://example.org/"),
            ("user-agent", "tester"),
        ],
        Body::Empty,
    );
    client.ask("POST", "/upload", &[], Body::Full("abc".into()));
    client.get("/missing");
    server.signal("TERM");
    client.closed();
    let (status, _, stderr) = server.ended();
    assert!(status.success(), "{stderr}");
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("127.0.0.1 - - ["), "{text}");
    assert!(lines[0].contains("\"GET / HTTP/2\" 200 "), "{text}");
    assert!(
        lines[0].contains("\"https://example.org/\" \"tester\" "),
        "{text}"
    );
    assert!(lines[1].contains("\"POST /upload HTTP/2\" 200 "), "{text}");
    assert!(
        lines[2].contains("\"GET /missing HTTP/2\" 404 14 \"-\" \"-\" "),
        "{text}"
    );
    assert!(!stderr.contains("/upload"), "{stderr}");
}

#[test]
fn the_access_log_is_stdout() {
    let server = Server::start(&["--access-log", "-"]);
    Client::h2c(server.h2c).get("/status");
    server.wait_for("\"GET /status HTTP/2\" 200 15 ");
    assert!(!server.log().contains("/status"), "{}", server.log());
}

#[test]
fn resets_are_lines_of_the_log() {
    let server = Server::start(&[]);
    let mut client = Client::h2c(server.h2c);
    let id = client.send("POST", "/upload", &[], Body::Stream);
    client.write(id, "abc", false);
    client.cancel(id);
    server.wait_for("reset in: stream 1, peer 127.0.0.1:");
    server.wait_for("CANCEL");
    // RFC 9113 §8.1.1: "A request or response is also malformed if the value of a content-length
    // header field does not equal the sum of the DATA frame payload lengths".
    let id = client.send("POST", "/upload", &[("content-length", "4")], Body::Stream);
    client.write(id, "abc", true);
    assert!(client.response(id).reset.is_some());
    server.wait_for("ContentLengthMismatch (RFC 9113 §8.1.1)");
    server.wait_for("reset out: stream 3, peer 127.0.0.1:");
}

#[test]
fn what_was_done_is_a_line_of_the_log() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = Client::h2c(server.h2c);
    let upload = client.send("POST", "/upload", &[], Body::Stream);
    client.write(upload, "abc", false);
    client.get("/status");
    // The line comes every 5 seconds, and only if something has changed.
    server.wait_for("1 active streams, 2 requests, ");
    server.wait_for(" 1 connections open, 1 reused");
}
