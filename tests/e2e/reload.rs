//! SIGHUP, and certificates that change on disk: what is used from then on, and what goes on.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;

use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::Client;
use crate::server::Server;
use crate::sites::certificate;
use crate::upstream::Upstream;

/// A server with a configuration file.
struct Configured {
    dir: TempDir,
    server: Server,
}

impl Configured {
    fn start(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tidegate.toml");
        fs::write(&file, text).unwrap();
        let server = Server::start(&["--config", file.to_str().unwrap()]);
        Self { dir, server }
    }

    /// Writes the file and waits until the `count`th reload is done.
    fn reload(&self, text: &str, count: usize) {
        fs::write(self.dir.path().join("tidegate.toml"), text).unwrap();
        self.server.signal("HUP");
        self.server.wait_for_lines("SIGHUP: reloaded ", count);
    }

    fn get(&self, path: &str) -> u16 {
        Client::h2c(self.server.h2c).get(path).status()
    }
}

/// Returns an address that nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn routes_change_and_a_mistake_changes_nothing() {
    let this = Configured::start("route = ['/a=status']\n");
    assert_eq!((this.get("/a"), this.get("/b")), (200, 404));
    let mut open = Client::h2c(this.server.h2c);
    assert_eq!(open.get("/a").status(), 200);

    this.reload("route = ['/b=status']\n", 1);
    assert_eq!((this.get("/a"), this.get("/b")), (404, 200));
    assert_eq!(open.get("/b").status(), 200);

    for (text, says) in [
        ("route = ['/c=status']\nrout = 1\n", "line 2"),
        ("route = ['/c=/nonexistent']\n", "line 1"),
        (
            "route = ['/c=status', '/c=echo']\n",
            "two routes are for /c",
        ),
        (
            "route = ['/c=status']\ncert = 'no.pem'\nkey = 'no.key'\n",
            "no.pem",
        ),
        (
            "route = ['/c=status']\naccess-log = '/nonexistent/a'\n",
            "/nonexistent/a",
        ),
    ] {
        fs::write(this.dir.path().join("tidegate.toml"), text).unwrap();
        this.server.signal("HUP");
        let line = this.server.line(says);
        let expected = "SIGHUP: nothing has changed, because the new configuration can't be used: ";
        assert!(line.contains(expected), "{line}");
        assert_eq!((this.get("/c"), this.get("/b")), (404, 200), "{text}");
    }
    this.reload("route = ['/c=status']\n", 2);
    assert_eq!((this.get("/b"), this.get("/c")), (404, 200));
}

#[test]
fn requests_in_progress_end_by_the_configuration_that_they_began_with() {
    let (answer, may_answer) = mpsc::channel::<()>();
    let may_answer = std::sync::Arc::new(std::sync::Mutex::new(may_answer));
    let old = Upstream::new(move |conn| {
        conn.request();
        may_answer.lock().unwrap().recv().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold");
        conn.wait_for_end();
    });
    let new = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
    let text = |upstream: &Upstream| {
        format!(
            "route = ['{}', '/echo=echo', '/up=upload']\n",
            upstream.route("/x")
        )
    };
    let this = Configured::start(&text(&old));
    let mut client = Client::h2c(this.server.h2c);
    let forwarded = client.send("GET", "/x", &[], Body::Empty);
    let echo = client.send("POST", "/echo", &[], Body::Stream);
    let upload = client.send("POST", "/up", &[], Body::Stream);
    client.write(echo, "abc", false);
    client.write(upload, "abc", false);
    client.wait_until(|client| client.so_far(echo).text() == "abc");
    assert!(old.seen().starts_with("GET /x"));

    this.reload(&format!("route = ['{}']\n", new.route("/x")), 1);
    assert_eq!(client.get("/x").text(), "new");
    assert_eq!(client.get("/echo").status(), 404);
    client.write(echo, "def", true);
    client.write(upload, "def", true);
    assert_eq!(client.response(echo).text(), "abcdef");
    assert!(client.response(upload).text().starts_with("{\"bytes\":6,"));
    answer.send(()).unwrap();
    assert_eq!(client.response(forwarded).text(), "old");
    // Nobody needs the connection any longer.
    assert_eq!(old.seen(), "end");
}

#[test]
fn upstreams_that_stay_keep_their_connections() {
    let upstream = Upstream::new(|conn| {
        conn.note("connected");
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let this = Configured::start(&format!(
        "workers = 1\nroute = ['{}']\n",
        upstream.route("/a")
    ));
    assert_eq!(this.get("/a"), 200);
    this.reload(
        &format!(
            "workers = 1\nroute = ['{}', '/s=status']\n",
            upstream.route("/b")
        ),
        1,
    );
    assert_eq!(
        (this.get("/a"), this.get("/b"), this.get("/s")),
        (404, 200, 200)
    );
    let noted = upstream.noted();
    let connected = noted.iter().filter(|note| *note == "connected");
    assert_eq!(connected.count(), 1, "{noted:?}");
}

#[test]
fn listeners_are_added_and_taken_away() {
    let (first, second) = (free_address(), free_address());
    let text = |addresses: &[SocketAddr]| {
        let listed: Vec<String> = addresses.iter().map(|addr| format!("'{addr}'")).collect();
        format!(
            "route = ['/=status']\nlisten-h2c = [{}]\n",
            listed.join(", ")
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidegate.toml");
    fs::write(&file, text(&[first])).unwrap();
    let server =
        Server::start_as_configured(&["--config", file.to_str().unwrap(), "--listen", "none"]);
    let reload = |text: &str, count| {
        fs::write(&file, text).unwrap();
        server.signal("HUP");
        server.wait_for_lines("SIGHUP: reloaded ", count);
    };
    let mut open = Client::h2c(Some(first));
    assert_eq!(open.get("/").status(), 200);
    assert!(TcpStream::connect(second).is_err());
    reload(&text(&[first, second]), 1);
    for addr in [first, second] {
        assert_eq!(Client::h2c(Some(addr)).get("/").status(), 200);
    }
    reload(&text(&[second]), 2);
    assert_eq!(Client::h2c(Some(second)).get("/").status(), 200);
    assert!(TcpStream::connect(first).is_err());
    // Connections of a listener that is gone go on.
    assert_eq!(open.get("/").status(), 200);

    // A port that another process has is an error, and nothing changes.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(&file, text(&[first, taken.local_addr().unwrap()])).unwrap();
    server.signal("HUP");
    server.wait_for("the port is taken");
    assert!(TcpStream::connect(first).is_err());
    assert_eq!(Client::h2c(Some(second)).get("/").status(), 200);
}

/// Connections that wait at a listener when it is taken away are accepted, and their requests
/// answered.
#[test]
fn what_waits_at_a_listener_that_is_taken_away_is_answered() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidegate.toml");
    let (first, second) = (free_address(), free_address());
    let text = |addr| format!("route = ['/=status']\nlisten-h2c = ['{addr}']\n");
    fs::write(&file, text(first)).unwrap();
    let server =
        Server::start_as_configured(&["--config", file.to_str().unwrap(), "--listen", "none"]);
    fs::write(&file, text(second)).unwrap();
    server.freeze();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut clients: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut client = TcpStream::connect(first).unwrap();
            client.write_all(request).unwrap();
            client
        })
        .collect();
    server.signal("HUP");
    server.signal("CONT");
    server.wait_for("SIGHUP: reloaded ");
    for client in &mut clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    }
}

#[test]
fn certificates_that_change_on_disk_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let old = certificate(dir.path(), "site", &["localhost"]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let server = Server::start(&[
        "--cert",
        &path("site.pem"),
        "--key",
        &path("site.key"),
        "--watch-certificates",
        "10ms",
    ]);
    let mut before = Client::tls_trusting(server.tls, &old);
    assert_eq!(before.get("/status").status(), 200);
    let new = certificate(dir.path(), "site", &["localhost"]);
    server.wait_for("certificates have changed: reloaded ");
    let mut client = Client::tls_trusting(server.tls, &new);
    assert_eq!(client.get("/status").status(), 200);
    assert_eq!(before.get("/status").status(), 200);
}

#[test]
fn the_other_files_of_tls_are_watched_too() {
    let dir = tempfile::tempdir().unwrap();
    let site = certificate(dir.path(), "site", &["localhost"]);
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for changed in ["ca.pem", "tickets"] {
        certificate(dir.path(), "ca", &["ca.test"]);
        fs::write(path("tickets"), [1; 80]).unwrap();
        let server = Server::start(&[
            "--cert",
            &path("site.pem"),
            "--key",
            &path("site.key"),
            "--client-certs",
            "optional",
            "--client-ca",
            &path("ca.pem"),
            "--ticket-key",
            &path("tickets"),
            "--watch-certificates",
            "10ms",
        ]);
        match changed {
            "tickets" => fs::write(path("tickets"), [2; 48]).unwrap(),
            _ => drop(certificate(dir.path(), "ca", &["ca.test"])),
        }
        server.wait_for("certificates have changed: reloaded ");
        let mut client = Client::tls_trusting(server.tls, &site);
        assert_eq!(client.get("/status").status(), 200);
    }
}

#[test]
fn what_cannot_change_is_said_in_one_line() {
    let this = Configured::start("workers = 1\nmax-streams = 100\n");
    let mut before = Client::h2c(this.server.h2c);
    assert_eq!(before.get("/status").status(), 200);
    this.reload("workers = 2\nmax-requests = 7\nmax-streams = 5\n", 1);
    let line = this.server.line("these can't change while the server runs");
    assert!(line.ends_with(": workers, max-requests"), "{line}");
    // Limits of engines are for new connections.
    let most = |client: &Client| client.max_streams();
    assert_eq!(most(&before), 100);
    let mut after = Client::h2c(this.server.h2c);
    assert_eq!(after.get("/status").status(), 200);
    assert_eq!(most(&after), 5);
}

#[test]
fn the_logs_change() {
    let this = Configured::start("log = 'info'\n");
    let log = this.dir.path().join("access.log");
    this.get("/one");
    this.server.wait_for("GET /one");
    let text = format!("log = 'info'\naccess-log = '{}'\n", log.display());
    this.reload(&text, 1);
    this.get("/two");
    this.server.signal("TERM");
    let (status, _, stderr) = this.server.ended();
    assert!(status.success() && !stderr.contains("GET /two"), "{stderr}");
    assert!(fs::read_to_string(&log).unwrap().contains("GET /two"));
}

#[test]
fn a_port_that_the_server_has_itself_needs_a_restart() {
    let port = free_address().port();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tidegate.toml");
    let configure = |listen: &str| {
        fs::write(&file, format!("listen = 'none'\nlisten-h2c = {listen}\n")).unwrap();
    };
    let fails = |from: &str, to: &str, says: &str| {
        configure(from);
        let server = Server::start_as_configured(&["--config", file.to_str().unwrap()]);
        configure(to);
        server.signal("HUP");
        let line = server.line("SIGHUP: nothing has changed");
        assert!(line.contains(says), "{line}");
        server.signal("USR2");
        let line = server.line("SIGUSR2: this process goes on, because the new one");
        assert!(line.contains(says), "{line}");
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(Client::h2c(Some(addr)).get("/status").status(), 200);
    };
    let everywhere = format!("'{port}'");
    let v4 = format!("['0.0.0.0:{port}']");
    let says = format!("this server itself still listens on 0.0.0.0:{port}; restart it");
    if TcpListener::bind("[::]:0").is_err() {
        return;
    }
    fails(&v4, &everywhere, &says);
    let both = format!("['0.0.0.0:{port}', '[::]:{port}']");
    fails(
        &both,
        &everywhere,
        "whether that includes IPv4 can't change",
    );
    let one = format!("['127.0.0.1:{port}']");
    let says = format!("this server itself still listens on 127.0.0.1:{port}; restart it");
    fails(&one, &v4, &says);
}
