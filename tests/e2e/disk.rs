//! Files when each read waits for the disk: the server's own service, in this process, whose disk
//! threads read everything.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;
use tidegate::app::App;
use tidegate::disk::{Disk, THREADS};
use tidegate::message::Message;
use tidegate_http::Body;
use tidegate_net::{EventLoop, Listener, Mailbox, Security};

use crate::client::Client;
use crate::files::settled;
use crate::http1;
use crate::server::served_in_process;
use crate::targets::{SIZES, pattern};

struct Server {
    dir: TempDir,
    disk: Disk,
    address: Option<SocketAddr>,
    mailbox: Mailbox<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for size in SIZES {
            fs::write(dir.path().join(format!("{size}.bin")), pattern(size)).unwrap();
        }
        fs::create_dir(dir.path().join("sub")).unwrap();
        let root = dir.path().to_str().unwrap();
        let flags = ["tidegate", "--root", root, "--route", "/status=status"];
        let (mut served, options) = served_in_process(&flags);
        served.files.disk = Disk::for_everything();
        let disk = served.files.disk.clone();
        let any = "127.0.0.1:0".parse().unwrap();
        let listeners = Listener::bind_group(any, &Security::Plain, 1).unwrap();
        let address = Some(listeners[0].local_addr());
        let app = App::new(served, Arc::default());
        let event_loop = EventLoop::new(listeners, options, app).unwrap();
        let mailbox = event_loop.mailbox();
        let thread = thread::spawn(move || drop(event_loop.run().unwrap()));
        Self {
            dir,
            disk,
            address,
            mailbox,
            thread: Some(thread),
        }
    }

    /// Keeps all disk threads busy until the caller drops the returned senders.
    fn occupy(&self) -> Vec<Sender<()>> {
        let occupied = (0..THREADS).map(|_| {
            let (release, released) = mpsc::channel::<()>();
            let (begun, has_begun) = mpsc::channel();
            self.disk.run(move || {
                begun.send(()).unwrap();
                let _ = released.recv();
            });
            has_begun.recv().unwrap();
            release
        });
        occupied.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.mailbox.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

#[test]
fn content_of_all_sizes() {
    let server = Server::start();
    let mut client = Client::h2c(server.address);
    let ids: Vec<_> = (0..100)
        .map(|n| SIZES[n % SIZES.len()])
        .map(|size| {
            (
                size,
                client.prepare("GET", &format!("/{size}.bin"), &[], Body::Empty),
            )
        })
        .collect();
    for (size, id) in ids {
        let response = client.response(id);
        assert_eq!(response.status(), 200);
        assert!(response.body == pattern(size), "{size}");
    }
    let mut client = http1::Client::new(server.address);
    for size in SIZES {
        let response = client.get(&format!("/{size}.bin"));
        assert_eq!(response.status, 200);
        assert!(response.body == pattern(size), "{size}");
    }
}

#[test]
fn everything_else_too() {
    let server = Server::start();
    let mut client = Client::h2c(server.address);
    assert_eq!(client.get("/missing").status(), 404);
    assert_eq!(client.get("/sub").field("location"), "/sub/");
    assert_eq!(client.get("/sub/").status(), 404);
    for path in ["/16384.bin", "/1000000.bin"] {
        let head = client.ask("HEAD", path, &[], Body::Empty);
        assert_eq!((head.status(), head.body.len()), (200, 0));
        let tag = head.field("etag").to_owned();
        let unchanged = client.ask("GET", path, &[("if-none-match", &tag)], Body::Empty);
        assert_eq!(unchanged.status(), 304);
        let part = client.ask("GET", path, &[("range", "bytes=10-19")], Body::Empty);
        assert_eq!(part.status(), 206);
        assert!(part.body == pattern(16_384)[10..20]);
    }
}

/// A disk that doesn't answer delays only the requests that need it.
#[test]
fn a_disk_that_hangs_delays_nobody_else() {
    let server = Server::start();
    let mut client = Client::h2c(server.address);
    // Old enough that the server caches the other file, which is as old.
    settled(&mut client, "/1000000.bin");
    assert_eq!(client.get("/16384.bin").status(), 200);
    let occupied = server.occupy();
    let cold = client.send("GET", "/16385.bin", &[], Body::Empty);
    let large = client.send("GET", "/1000000.bin", &[], Body::Empty);
    let other = client.send("GET", "/16385.bin", &[], Body::Empty);
    let gone = client.send("GET", "/65535.bin", &[], Body::Empty);
    for _ in 0..3 {
        assert_eq!(client.get("/status").status(), 200);
        assert!(client.get("/16384.bin").body == pattern(16_384));
    }
    assert!(!client.so_far(cold).end && client.so_far(large).body.is_empty());
    client.cancel(gone);
    drop(Client::h2c(server.address));
    drop(occupied);
    for id in [other, cold] {
        assert!(client.response(id).body == pattern(16_385));
    }
    assert!(client.response(large).body == pattern(1_000_000));
}

/// A file that is replaced before it is opened can no longer be sent.
#[test]
fn a_file_that_was_replaced_before_it_was_opened() {
    let server = Server::start();
    let mut client = Client::h2c(server.address);
    settled(&mut client, "/1000000.bin");
    let occupied = server.occupy();
    let id = client.send("GET", "/1000000.bin", &[], Body::Empty);
    client.wait_until(|client| client.has_begun(id));
    let (new, path) = (
        server.dir.path().join("new"),
        server.dir.path().join("1000000.bin"),
    );
    fs::write(&new, pattern(900_000)).unwrap();
    fs::rename(new, path).unwrap();
    drop(occupied);
    assert!(client.response(id).reset.is_some());
    assert!(client.get("/1000000.bin").body == pattern(900_000));
}
