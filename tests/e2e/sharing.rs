//! One client's use doesn't cost another its answer: connections, descriptors, requests, memory.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tidegate_http::Body;

use crate::client::Client;
use crate::server::{PATIENCE, Server};
use crate::upstream::Upstream;

/// The preface of HTTP/2, empty SETTINGS, and an acknowledgement of the server's SETTINGS.
const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

const GET: &[u8] = b"GET /small.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Creates a site with one small file.
fn site() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("small.txt"), "hello").unwrap();
    let root = dir.path().to_str().unwrap().to_owned();
    (dir, root)
}

fn connect(addr: Option<SocketAddr>) -> TcpStream {
    let socket = TcpStream::connect(addr.unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Requests the file over HTTP/1.1, and returns whether it came.
fn is_served(mut socket: &TcpStream) -> bool {
    let mut got = Vec::new();
    let mut room = [0; 4096];
    if socket.write_all(GET).is_err() {
        return false;
    }
    while !got.ends_with(b"hello") {
        match socket.read(&mut room) {
            Ok(0) | Err(_) => return false,
            Ok(count) => got.extend_from_slice(&room[..count]),
        }
    }
    got.starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn idle_connections_make_room_and_leave_descriptors_for_files() {
    let (_dir, root) = site();
    let server = Server::start_limited("-n 128", &["--root", &root, "--workers", "2"]);
    let idle: Vec<TcpStream> = (0..200).map(|_| connect(server.h2c)).collect();
    let served = idle.iter().filter(|socket| is_served(socket));
    // Some may have been closed to make room for others before they asked.
    assert!(served.count() > 20);
    assert_eq!(Client::h2c(server.h2c).get("/small.txt").text(), "hello");
    let open = idle.iter().rev().find(|socket| is_served(socket));
    assert!(open.is_some());
}

#[test]
fn connections_that_say_nothing_make_room() {
    let (_dir, root) = site();
    for words in [&b""[..], PREFACE, b"GET / HT"] {
        let server = Server::start_limited("-n 128", &["--root", &root, "--workers", "2"]);
        let mut early = Client::h2c(server.h2c);
        assert_eq!(early.get("/small.txt").text(), "hello");
        let mut silent = Vec::new();
        for _ in 0..250 {
            let mut socket = connect(server.h2c);
            // The server may have closed it already, to make room for the next.
            let _ = socket.write_all(words);
            silent.push(socket);
        }
        assert_eq!(Client::h2c(server.h2c).get("/small.txt").text(), "hello");
    }
}

/// Returns a GET over HTTP/2.
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path.as_bytes());
    block.extend_from_slice(b"\x01\x01a");
    let mut frame = vec![0, 0, block.len() as u8, 1, 5];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(&block);
    frame
}

/// Reads the next frame, and returns its type, its stream and its payload.
fn frame(mut socket: &TcpStream) -> (u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    socket.read_exact(&mut head).unwrap();
    let [_, a, b, kind, _, stream @ ..] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
    socket.read_exact(&mut payload).unwrap();
    (kind, u32::from_be_bytes(stream), payload)
}

#[test]
fn downloads_that_stand_still_leave_descriptors_for_connections() {
    const FILES: u32 = 90;
    let (dir, root) = site();
    for n in 0..FILES {
        let file = fs::File::create(dir.path().join(format!("{n}.bin"))).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    let server = Server::start_limited("-n 128", &["--root", &root, "--workers", "1"]);
    let greedy = connect(server.h2c);
    // SETTINGS_INITIAL_WINDOW_SIZE is 100: each file is opened, and then waits.
    let mut words = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    words.extend_from_slice(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x64");
    words.extend((0..FILES).flat_map(|n| get_frame(2 * n + 1, &format!("/{n}.bin"))));
    (&greedy).write_all(&words).unwrap();
    let (mut opened, mut refused) = (0, 0);
    while opened + refused < FILES {
        match frame(&greedy) {
            // DATA of a file, or of the text of a 503. A stream that is refused after its head is
            // reset.
            (0, _, data) if data.len() == 100 => opened += 1,
            (0, ..) | (3, ..) => refused += 1,
            _ => {}
        }
    }
    // Of 96 descriptors beside the server's own, a quarter stays free, and the connection holds
    // one.
    assert!((24..=71).contains(&opened), "{opened}");
    let idle: Vec<TcpStream> = (0..20).map(|_| connect(server.h2c)).collect();
    assert!(idle.iter().all(is_served));
    let get = |mut socket: &TcpStream| {
        socket.write_all(b"GET /0.bin HTTP/1.0\r\n\r\n").unwrap();
        let mut line = [0; 12];
        socket.read_exact(&mut line).unwrap();
        line[9..].to_vec()
    };
    // A file that is open already takes no further descriptor.
    assert_eq!(get(&connect(server.h2c)), b"200");
    drop(greedy);
    let last = format!("/{}.bin", FILES - 1);
    let mut client = Client::h2c(server.h2c);
    // The server first has to notice that the other client has gone.
    assert!((0..1000).any(|_| client.get(&last).status() == 200));
}

#[test]
fn one_client_has_no_more_connections_than_allowed() {
    let flags = [
        "--max-connections-per-client",
        "2",
        "--workers",
        "1",
        "--route",
        "/=status",
    ];
    let server = Server::start(&flags);
    let mut first = Client::h2c(server.h2c);
    assert_eq!(first.get("/").status(), 200);
    let mut second = Client::h2c(server.h2c);
    assert_eq!(second.get("/").status(), 200);
    assert_eq!(first.get("/").status(), 200);
    // Both are idle, the second for longer.
    assert_eq!(Client::h2c(server.h2c).get("/").status(), 200);
    assert_eq!(first.get("/").status(), 200);
}

#[cfg(target_os = "linux")]
#[test]
fn the_limit_of_open_files_is_raised() {
    let server = Server::start_limited("-Sn 200 && ulimit -Hn 400", &["--route", "/=status"]);
    let line = server.proc("limits", "Max open files");
    let limits: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(limits, ["400", "400"]);
}

/// Returns the server's resident memory in KiB.
fn resident(server: &Server) -> usize {
    let line = server.proc("status", "VmRSS:");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn one_client_has_no_more_requests_in_progress_than_allowed() {
    let flags = ["--max-requests-per-client", "1", "--workers", "1"];
    let server = Server::start(&flags);
    let mut upload = connect(server.h2c);
    upload
        .write_all(b"POST /upload HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .unwrap();
    let mut invited = [0; 25];
    upload.read_exact(&mut invited).unwrap();
    assert_eq!(&invited, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut other = connect(server.h2c);
    other.write_all(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    upload.write_all(b"hello").unwrap();
    let mut answered = [0; 12];
    upload.read_exact(&mut answered).unwrap();
    assert_eq!(&answered, b"HTTP/1.1 200");
    assert_eq!(Client::h2c(server.h2c).get("/status").status(), 200);
}

/// Begins an upload that stays in progress.
fn begin_upload(addr: Option<SocketAddr>, fields: &str) -> TcpStream {
    let mut upload = connect(addr);
    let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\n{fields}");
    upload.write_all(head.as_bytes()).unwrap();
    upload
        .write_all(b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .unwrap();
    upload
}

/// Returns the status of the next response over HTTP/1.1.
fn status(socket: &mut TcpStream) -> String {
    let mut line = [0; 12];
    socket.read_exact(&mut line).unwrap();
    String::from_utf8_lossy(&line[9..]).into_owned()
}

#[test]
fn all_clients_together_have_no_more_requests_in_progress_than_allowed() {
    let flags = ["--max-requests", "2", "--workers", "1"];
    let flags = [&flags[..], &["--trust-forwarded-from", "127.0.0.0/8"]].concat();
    let server = Server::start(&flags);
    // The last place is reserved for a client that has none.
    let mut uploads = Vec::new();
    for (client, expected) in [(1, "100"), (1, "503"), (2, "100"), (3, "503")] {
        let fields = format!("X-Forwarded-For: 203.0.113.{client}\r\n");
        let mut upload = begin_upload(server.h2c, &fields);
        assert_eq!(status(&mut upload), expected, "client {client}");
        uploads.push(upload);
    }
    let mut proxy = Client::h2c(server.h2c);
    let third = [("x-forwarded-for", "203.0.113.3")];
    let answer = proxy.ask("GET", "/status", &third, Body::Empty);
    assert_eq!((answer.status(), answer.field("retry-after")), (503, "1"));
    uploads[0].write_all(b"hello").unwrap();
    // The answer follows the head of the 100.
    uploads[0].read_exact(&mut [0; 13]).unwrap();
    assert_eq!(status(&mut uploads[0]), "200");
    let answer = proxy.ask("GET", "/status", &third, Body::Empty);
    assert_eq!(answer.status(), 200);
}

#[test]
fn requests_through_a_trusted_proxy_count_for_those_that_it_makes_them_for() {
    let flags = ["--max-requests-per-client", "1", "--workers", "1"];
    let flags = [&flags[..], &["--trust-forwarded-from", "127.0.0.0/8"]].concat();
    let server = Server::start(&flags);
    let mut proxy = Client::h2c(server.h2c);
    let [first, second] = ["203.0.113.1", "203.0.113.2"].map(|ip| [("x-forwarded-for", ip)]);
    let status = |proxy: &mut Client, client: &[(&str, &str)]| {
        let answer = proxy.ask("GET", "/status", client, Body::Empty);
        assert_eq!(
            answer.field("retry-after").is_empty(),
            answer.status() == 200
        );
        answer.status()
    };
    // A response ends a request in progress, and so does a cancellation.
    let upload = proxy.send("POST", "/upload", &first, Body::Stream);
    assert_eq!(status(&mut proxy, &first), 429);
    assert_eq!(status(&mut proxy, &second), 200);
    assert_eq!(status(&mut proxy, &[]), 200, "the proxy's own");
    proxy.write(upload, "hello", true);
    assert_eq!(proxy.response(upload).status(), 200);
    assert_eq!(status(&mut proxy, &first), 200);
    let upload = proxy.send("POST", "/upload", &first, Body::Stream);
    assert_eq!(status(&mut proxy, &first), 429);
    proxy.cancel(upload);
    assert_eq!(status(&mut proxy, &first), 200);
    // Over HTTP/1.1, on another connection.
    let mut other = connect(server.h2c);
    other
        .write_all(b"POST /upload HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .unwrap();
    let mut invited = [0; 25];
    other.read_exact(&mut invited).unwrap();
    assert_eq!(status(&mut proxy, &first), 429);
    other.write_all(b"hello").unwrap();
    other.read_exact(&mut [0; 12]).unwrap();
    assert_eq!(status(&mut proxy, &first), 200);
}

#[test]
fn heads_of_uploads_that_send_nothing_refuse_nobody() {
    let server = Server::start(&["--memory-budget", "64M"]);
    let mut greedy: Vec<Client> = (0..2).map(|_| Client::h2c(server.h2c)).collect();
    for client in &mut greedy {
        for _ in 0..900 {
            client.prepare("POST", "/upload", &[], Body::Stream);
        }
        // This request is answered after all of them.
        assert_eq!(client.get("/status").status(), 200);
    }
    let mut honest = Client::h2c(server.h2c);
    let body = Body::Full(vec![b'x'; 1 << 20].into());
    assert_eq!(honest.ask("POST", "/upload", &[], body).status(), 200);
}

#[test]
fn heads_of_responses_that_nobody_reads_have_an_end() {
    const REQUESTS: usize = 300;
    let answers = Arc::new(Mutex::new(()));
    let not_yet = answers.lock().unwrap();
    let (may_answer, value) = (Arc::clone(&answers), "v".repeat(60_000));
    let upstream = Upstream::new(move |conn| {
        while conn.request().is_some() {
            drop(may_answer.lock().unwrap());
            let head = format!("HTTP/1.1 200 OK\r\nx: {value}\r\nContent-Length: 0\r\n\r\n");
            conn.send(head);
        }
    });
    let flags = ["--workers", "1", "--memory-budget", "2M"];
    let routes = ["--route", &upstream.route("/"), "--route", "/status=status"];
    let server = Server::start(&[flags, routes].concat());
    let mut client = Client::h2c(server.h2c);
    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| client.prepare("GET", "/", &[], Body::Empty))
        .collect();
    // This request is answered after all of them, so none of them waits for the client to read.
    assert_eq!(client.get("/status").status(), 200);
    drop(not_yet);
    // Some requests don't even reach the upstream.
    server.wait_for_lines("\"GET / HTTP/2\" ", REQUESTS);
    let statuses: Vec<u16> = requests
        .into_iter()
        .map(|id| client.response(id).status())
        .collect();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!((1..REQUESTS).contains(&refused), "{statuses:?}");
}

/// Opens a connection on behalf of this client, as a load balancer does.
fn connect_for(server: &Server, client: [u8; 4]) -> TcpStream {
    let mut socket = connect(server.h2c);
    let client = Ipv4Addr::from(client);
    let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n");
    // The server may have refused the connection already. Then the answer is missing, too.
    let _ = socket.write_all(header.as_bytes());
    socket
}

/// Returns a hundred requests for `path`, and a PING after them.
fn hundred_requests(path: &str) -> Vec<u8> {
    // RFC 7541 §6.1 and §6.2.2: GET, http, and literals of `:path` and `:authority`.
    let mut block = vec![0x82, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a']);
    let mut frames = PREFACE.to_vec();
    for id in (1..200u32).step_by(2) {
        // HEADERS with END_STREAM and END_HEADERS.
        frames.extend([0, 0, block.len() as u8, 1, 5]);
        frames.extend(id.to_be_bytes());
        frames.extend(&block);
    }
    frames.extend(b"\0\0\x08\x06\0\0\0\0\0all seen");
    frames
}

/// Requests `path` a hundred times, and reads no more than one window of the responses. Returns
/// when the server has read all requests, or has closed the connection.
fn ask_for_what_is_not_read(server: &Server, client: [u8; 4], path: &str) -> TcpStream {
    const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0all seen";
    let mut socket = connect_for(server, client);
    let (mut got, mut room) = (Vec::new(), [0; 4096]);
    // The server may have closed it already, because the client has its share.
    let _ = socket.write_all(&hundred_requests(path));
    while !got.windows(PONG.len()).any(|seen| seen == PONG) {
        match socket.read(&mut room) {
            Ok(0) | Err(_) => break,
            Ok(count) => got.extend_from_slice(&room[..count]),
        }
    }
    socket
}

#[test]
fn a_newcomer_is_proxied_beside_ten_that_take_nothing_of_what_they_ask_for() {
    let (dir, root) = site();
    let large = fs::File::create(dir.path().join("large.bin")).unwrap();
    large.set_len(4 << 20).unwrap();
    // The responses of one address may take at most half of the budget, so there are several
    // addresses.
    let site = ["--workers", "1", "--root", &root];
    let patient = ["--route", "/upload=upload", "--handshake-timeout", "1h"];
    let site = [&site[..], &patient].concat();
    let upstreams: Vec<Server> = (0..4).map(|_| Server::start(&site)).collect();
    for scheme in ["http", "h2c"] {
        let routes = upstreams.iter().zip(0..).map(|(upstream, number)| {
            let addr = upstream.h2c.unwrap();
            format!("/{number}={scheme}://{addr}/")
        });
        let routes: Vec<String> = routes.collect();
        let flags = [
            "--workers",
            "1",
            "--memory-budget",
            "16M",
            "--proxy-protocol",
        ];
        let routes = routes.iter().flat_map(|route| ["--route", route]);
        let server = Server::start(&flags.into_iter().chain(routes).collect::<Vec<_>>());
        let mut greedy = Vec::new();
        for client in 1..=10 {
            for path in [
                "/0/large.bin",
                "/1/large.bin",
                "/2/large.bin",
                "/3/large.bin",
            ] {
                let client = [203, 0, 113, client];
                greedy.push(ask_for_what_is_not_read(&server, client, path));
            }
        }
        for client in 1..=3 {
            for (method, path, len) in [
                ("GET", "/0/small.txt", 0),
                ("GET", "/3/small.txt", 0),
                ("POST", "/1/upload", 100_000),
            ] {
                let mut socket = connect_for(&server, [198, 51, 100, client]);
                let head = format!(
                    "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n"
                );
                socket.write_all(head.as_bytes()).unwrap();
                // A server that refuses a request needn't read its body.
                let _ = socket.write_all(&vec![b'x'; len]);
                let mut answer = Vec::new();
                let _ = socket.read_to_end(&mut answer);
                let answer = String::from_utf8_lossy(&answer);
                assert!(
                    answer.starts_with("HTTP/1.1 200 "),
                    "{method} {path} by {scheme}: {answer}"
                );
            }
        }
    }
}

#[test]
fn requests_by_head_with_a_body_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("access.log");
    let log = log.to_str().unwrap();
    let flags = ["--workers", "1", "--log", "warn", "--access-log", log];
    let server = Server::start(&flags);
    let mut client = Client::h2c(server.h2c);
    let mut ask = |count: usize| {
        let referer = "r".repeat(3000);
        for _ in 0..count {
            let body = Body::Full("x".into());
            let answer = client.ask("HEAD", "/echo", &[("referer", &referer)], body);
            assert_eq!(answer.status(), 200);
        }
        resident(&server)
    };
    let before = ask(2000);
    let grown = ask(4000).saturating_sub(before);
    assert!(grown < 2 << 10, "{grown} KiB for 4,000 requests");
}
