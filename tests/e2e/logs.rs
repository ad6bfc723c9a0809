//! Logs that nobody reads, that can't be written to, or that were moved away; and lines that
//! strangers provoke.

use std::fs;
use std::io::{BufRead, BufReader};

use tidegate_http::Body;

use crate::client::Client;
use crate::server::{Server, unread};

/// More requests than a pipe takes lines of.
const REQUESTS: usize = 1000;

#[test]
fn a_log_that_nobody_reads_stops_neither_requests_nor_the_end() {
    let user_agent = "u".repeat(200);
    for flags in [
        &["--workers", "2"][..],
        &["--workers", "2", "--access-log", "-"],
    ] {
        let (mut server, address) = unread(flags);
        let mut client = Client::h2c(Some(address));
        for _ in 0..REQUESTS {
            let fields = [("user-agent", &*user_agent)];
            let response = client.ask("GET", "/status", &fields, Body::Empty);
            assert_eq!(response.status(), 200);
        }
        assert_eq!(Client::h2c(Some(address)).get("/status").status(), 200);
        drop(client);
        assert!(server.ends_by("TERM").success());
    }
}

#[test]
fn lines_that_were_lost_are_counted_when_it_is_over() {
    let (mut server, address) = unread(&["--workers", "1"]);
    let mut client = Client::h2c(Some(address));
    // 6 MB of lines: the log has at most 1 KiB of a field.
    let user_agent = "u".repeat(1000);
    for _ in 0..6000 {
        let fields = [("user-agent", &*user_agent)];
        let response = client.ask("GET", "/status", &fields, Body::Empty);
        assert_eq!(response.status(), 200);
    }
    let stderr = BufReader::new(server.0.stderr.take().unwrap());
    let mut lines = stderr.lines().map(Result::unwrap);
    let mut written = 0;
    let report = lines.find(|line| {
        written += usize::from(line.contains("GET /status"));
        line.contains("lines of the log were lost: it took them too slowly")
    });
    let report = report.unwrap();
    let lost = report
        .split(' ')
        .find_map(|word| word.parse::<usize>().ok());
    let lost = lost.unwrap();
    // The report stands in the place of the gap. A line of statistics may be lost, too.
    assert!(
        lost > 50 && (6000..6010).contains(&(written + lost)),
        "{written}: {report}"
    );
    assert!(report.contains(", from 20"), "{report}");
    assert_eq!(client.get("/status").status(), 200);
}

#[test]
fn a_full_disk_costs_lines_and_no_requests() {
    let server = Server::start(&["--access-log", "/dev/full"]);
    let mut client = Client::h2c(server.h2c);
    assert_eq!(client.get("/status").status(), 200);
    let line = server.line("can't write the access log /dev/full");
    assert!(line.contains("No space left on device"), "{line}");
    assert_eq!(client.get("/status").status(), 200);
    drop(client);
    server.signal("TERM");
    assert!(server.ended().0.success());
}

#[test]
fn signals_open_the_access_log_anew() {
    for signal in ["HUP", "USR1"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let server = Server::start(&["--access-log", path.to_str().unwrap()]);
        let mut client = Client::h2c(server.h2c);
        client.get("/before");
        fs::rename(&path, dir.path().join("access.log.1")).unwrap();
        server.signal(signal);
        server.wait_for(&format!("SIG{signal}: reopening the access log"));
        client.get("/after");
        drop(client);
        server.signal("TERM");
        assert!(server.ended().0.success());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"GET /after HTTP/2\" 404 "), "{text}");
    }
}

#[test]
fn an_access_log_that_cannot_be_opened_anew_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (logs, moved) = (dir.path().join("logs"), dir.path().join("moved"));
    fs::create_dir(&logs).unwrap();
    let path = logs.join("access.log");
    let server = Server::start(&["--access-log", path.to_str().unwrap()]);
    fs::rename(&logs, &moved).unwrap();
    server.signal("USR1");
    server.wait_for("its lines still go to the former file");
    Client::h2c(server.h2c).get("/after");
    server.signal("TERM");
    assert!(server.ended().0.success());
    let text = fs::read_to_string(moved.join("access.log")).unwrap();
    assert!(text.contains("/after"), "{text}");
}

#[test]
fn what_strangers_provoke_is_limited_in_rate() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = Client::h2c(server.h2c);
    client.get("/status");
    // The server finds all requests at once, however slow this client is.
    server.freeze();
    for _ in 0..90 {
        let id = client.send("POST", "/upload", &[], Body::Stream);
        client.cancel(id);
    }
    server.signal("CONT");
    client.get("/status");
    let line = server.line("more lines like those of tidegate::app:");
    assert!(line.ends_with(" were left out"), "{line}");
    let written = server.log().matches("reset in: stream ").count();
    assert!(written < 90, "{written}");
}
