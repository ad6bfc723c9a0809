//! Connections that become something else: HTTP/2 by `Upgrade: h2c` (RFC 7540 §3.2), and tunnels,
//! whose two sides end independently. Also HTTP/1.1 clients that leave, or end their side, while
//! their request is being answered.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};
use socket2::SockRef;
use tidegate_http::{Body, CloseReason, Event, RequestHead, Stream as _, StreamId};
use tidegate_net::{ConnId, Direction, End, Protocol};
use tidegate_testkit::tls::client_config;
use tidegate_testkit::wire;

use crate::common::{
    Identity, Told, Watcher, Worker, dial_plain, dial_tls, expect, patient, pattern, read_head,
};

const UPGRADE: &str = "Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
    HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Reads the next frame of HTTP/2. Returns its type, flags, stream and payload.
fn frame(io: &mut impl Read) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    io.read_exact(&mut head).unwrap();
    let [a, b, c, kind, flags, rest @ ..] = head;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    let mut payload = vec![0; len];
    io.read_exact(&mut payload).unwrap();
    let stream = u32::from_be_bytes(rest);
    (kind, flags, stream, payload)
}

/// Reads frames until the response on this stream is whole, and fails on any other. Returns the
/// body.
fn response(io: &mut impl Read, stream: u32) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let (kind, flags, on, payload) = frame(io);
        match (kind, on) {
            (1, _) => {
                assert_eq!(on, stream);
                // RFC 7541 Appendix A: ":status: 200" is number 8 of the static table.
                assert!(payload.contains(&0x88), "{payload:?}");
            }
            (0, _) => {
                assert_eq!(on, stream);
                body.extend(payload);
            }
            (4 | 8, 0) => {}
            other => panic!("{other:?}"),
        }
        if kind < 2 && flags & wire::flag::END_STREAM != 0 {
            return body;
        }
    }
}

/// Returns another request, for this path.
fn request(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost"),
        (":path", path),
    ];
    wire::headers(stream, &fields).end().to_bytes()
}

#[test]
fn h2c_from_the_first_request_on() {
    let worker = Worker::start(false, |options| options.h2c_upgrade = true);
    let preface = [wire::PREFACE, &wire::settings(&[]).to_bytes()].concat();
    for byte_by_byte in [false, true] {
        let mut socket = worker.connect();
        socket.set_nodelay(true).unwrap();
        // An ordinary request comes first.
        socket.write_all(get("/hello").as_bytes()).unwrap();
        expect(&mut socket, HELLO);
        let first = format!("GET /big/100000 HTTP/1.1\r\n{UPGRADE}");
        socket.write_all(first.as_bytes()).unwrap();
        expect(&mut socket, SWITCHING);
        let next = [&preface[..], &request(3, "/hello")].concat();
        for piece in next.chunks(if byte_by_byte { 1 } else { next.len() }) {
            socket.write_all(piece).unwrap();
        }
        // RFC 7540 §3.2: "The first HTTP/2 frame sent by the server MUST be a server connection
        // preface … consisting of a SETTINGS frame".
        let (kind, flags, on, _) = frame(&mut socket);
        assert_eq!((kind, flags, on), (4, 0, 0));
        // "The HTTP/1.1 request that is sent prior to upgrade is assigned a stream identifier of
        // 1". Its window is that of the settings in its head, 65,535, so the other one overtakes
        // it.
        let mut bodies = [Vec::new(), Vec::new()];
        let mut ended = 0;
        while ended < 2 {
            let (kind, flags, on, payload) = frame(&mut socket);
            if kind == 0 {
                bodies[on as usize / 2].extend(payload);
                if bodies[0].len() == 65_535 && flags & wire::flag::END_STREAM == 0 && on == 1 {
                    for stream in [0, 1] {
                        let update = wire::window_update(stream, 100_000);
                        socket.write_all(&update.to_bytes()).unwrap();
                    }
                }
            }
            ended += usize::from(kind < 2 && flags & wire::flag::END_STREAM != 0);
        }
        assert!(bodies[0] == pattern(100_000) && bodies[1] == b"hello");
        socket.write_all(&request(5, "/hello")).unwrap();
        assert_eq!(response(&mut socket, 5), b"hello");
    }
    // The work of both engines counts, and the first request of HTTP/2 counts once.
    let totals = worker.totals();
    assert_eq!((totals.engines.requests, totals.http1), (8, 2));
    assert_eq!(totals.engines.bytes_in, totals.bytes_received);
    assert_eq!(totals.engines.bytes_out, totals.bytes_sent);
}

#[test]
fn h2c_with_all_that_comes_behind_it_in_one_segment() {
    let worker = Worker::start(false, |options| options.h2c_upgrade = true);
    let mut socket = worker.connect();
    let all = [
        format!("GET /hello HTTP/1.1\r\n{UPGRADE}").as_bytes(),
        wire::PREFACE,
        &wire::settings(&[]).to_bytes(),
        &request(3, "/big/7"),
    ]
    .concat();
    socket.write_all(&all).unwrap();
    expect(&mut socket, SWITCHING);
    assert_eq!(response(&mut socket, 1), b"hello");
    assert_eq!(response(&mut socket, 3), pattern(7));
}

#[test]
fn h2c_is_traced_and_answered_later() {
    let watcher = Watcher::plain(|options| {
        options.h2c_upgrade = true;
        options.trace = true;
    });
    let mut socket = patient(TcpStream::connect(watcher.addr).unwrap());
    let mut sent = format!("GET /later HTTP/1.1\r\n{UPGRADE}").into_bytes();
    socket.write_all(&sent).unwrap();
    let mut got = vec![0; SWITCHING.len()];
    socket.read_exact(&mut got).unwrap();
    let preface = [wire::PREFACE, &wire::settings(&[]).to_bytes()].concat();
    socket.write_all(&preface).unwrap();
    sent.extend(preface);
    // The connection was opened as HTTP/1.1.
    let (conn, protocol, _) = watcher.opened();
    assert_eq!(protocol, Protocol::Http1);
    let (id, head) = watcher.request(conn);
    assert_eq!((id, head.path()), (StreamId::new(1), "/later"));
    watcher.event(conn, |event| matches!(event, Event::PeerSettings));
    let protocol = watcher.with(move |_, conns| conns.engine(conn).unwrap().protocol());
    assert_eq!(protocol, Protocol::Http2);
    watcher.respond(conn, id, 200, Body::Full(pattern(5000)));
    // HTTP/2 has no half-closed connections.
    socket.shutdown(Shutdown::Write).unwrap();
    socket.read_to_end(&mut got).unwrap();
    watcher.closed_one(conn);
    let [traced_in, traced_out] = watcher.with(move |watched, _| {
        [Direction::In, Direction::Out].map(|way| watched.traced(conn, way))
    });
    assert!(traced_in == sent && traced_out == got);
    assert_eq!(watcher.told(|told| matches!(told, Told::HalfClosed(_))), 0);
}

#[test]
fn h2c_is_not_offered_unless_it_is_on_and_never_by_tls() {
    let first = format!("GET /hello HTTP/1.1\r\n{UPGRADE}");
    let worker = Worker::plain();
    let mut socket = worker.connect();
    for _ in 0..2 {
        // RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field".
        socket.write_all(first.as_bytes()).unwrap();
        expect(&mut socket, HELLO);
    }
    // RFC 7540 §3.2: "A server MUST ignore an "h2" token in an Upgrade header field", and h2c is
    // for cleartext alone.
    let worker = Worker::start(true, |options| options.h2c_upgrade = true);
    let config = Arc::new(worker.client_config(&["http/1.1"]));
    let mut tls = worker.connect_tls(&config);
    for _ in 0..2 {
        tls.write_all(first.as_bytes()).unwrap();
        expect(&mut tls, HELLO);
    }
}

// --- Clients that leave while they wait ---

/// The way in which a client's side ends.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// The client ends its side, and reads on.
    Side,
    /// The client closes the socket.
    All,
}

/// Returns a worker, a client's socket, and the client's request that the worker has.
fn waiting(requests: &str) -> (Watcher, TcpStream, ConnId, StreamId) {
    let watcher = Watcher::plain(|_| {});
    let mut socket = patient(TcpStream::connect(watcher.addr).unwrap());
    socket.set_nodelay(true).unwrap();
    socket.write_all(requests.as_bytes()).unwrap();
    let (conn, ..) = watcher.opened();
    let (id, _) = watcher.request(conn);
    (watcher, socket, conn, id)
}

fn is_half_closed(told: &Told) -> bool {
    matches!(told, Told::HalfClosed(_))
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\0\x01\x02\x03\x04";

#[test]
fn a_client_that_ends_its_side_is_told_once_and_answered() {
    for leaving in [Leaving::Side, Leaving::All] {
        let (watcher, socket, conn, id) = waiting(&get("/"));
        assert_eq!(watcher.told(is_half_closed), 0);
        socket.shutdown(Shutdown::Write).unwrap();
        let mut socket = match leaving {
            Leaving::Side => Some(socket),
            Leaving::All => {
                drop(socket);
                None
            }
        };
        let told = watcher.wait_for(is_half_closed);
        assert!(matches!(told, Told::HalfClosed(its) if its == conn));
        // Informing the client makes the socket writable again, and that event reports the end
        // again.
        watcher.respond(conn, id, 200, Body::Full(pattern(5)));
        if let Some(socket) = &mut socket {
            let mut answer = String::new();
            socket.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, ANSWER);
            let why = watcher.closed_one(conn);
            assert!(matches!(why, End::Closed(CloseReason::Eof)), "{why}");
        } else {
            watcher.closed_one(conn);
        }
        assert_eq!(watcher.told(is_half_closed), 0);
    }
}

#[test]
fn an_end_that_comes_with_the_request_is_told_too() {
    // The result must not depend on whether the two come in one turn of the loop or in two.
    for _ in 0..20 {
        let watcher = Watcher::plain(|_| {});
        let mut socket = patient(TcpStream::connect(watcher.addr).unwrap());
        socket.write_all(get("/").as_bytes()).unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let (conn, ..) = watcher.opened();
        let (id, _) = watcher.request(conn);
        watcher.wait_for(is_half_closed);
        watcher.respond(conn, id, 200, Body::Full(pattern(5)));
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, ANSWER);
        watcher.closed_one(conn);
        assert_eq!(watcher.told(is_half_closed), 0);
    }
}

#[test]
fn an_end_behind_large_answers_is_told_once() {
    let (watcher, mut socket, conn, id) = waiting(&get("/"));
    socket.shutdown(Shutdown::Write).unwrap();
    watcher.wait_for(is_half_closed);
    // The socket is full and free again many times, and each event reports the end too.
    watcher.respond(conn, id, 200, Body::Full(pattern(5_000_000)));
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&pattern(5_000_000)));
    watcher.closed_one(conn);
    assert_eq!(watcher.told(is_half_closed), 0);
}

#[test]
fn an_end_behind_other_requests_is_told_with_the_last_of_them() {
    // The other requests are in the worker already, or still in the socket.
    for at_once in [true, false] {
        let first = if at_once {
            get("/").repeat(3)
        } else {
            get("/")
        };
        let (watcher, mut socket, conn, mut id) = waiting(&first);
        if !at_once {
            socket.write_all(get("/").repeat(2).as_bytes()).unwrap();
        }
        socket.shutdown(Shutdown::Write).unwrap();
        for _ in 0..2 {
            assert_eq!(watcher.told(is_half_closed), 0);
            watcher.respond(conn, id, 200, Body::Full(pattern(5)));
            expect(&mut socket, ANSWER);
            (id, _) = watcher.request(conn);
        }
        watcher.wait_for(is_half_closed);
        watcher.respond(conn, id, 200, Body::Full(pattern(5)));
        expect(&mut socket, ANSWER);
        watcher.closed_one(conn);
        assert_eq!(watcher.told(is_half_closed), 0);
    }
}

#[test]
fn a_request_without_its_end_is_told_by_the_engine() {
    let upload = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello";
    let (watcher, socket, conn, _) = waiting(upload);
    socket.shutdown(Shutdown::Write).unwrap();
    let why = watcher.closed_one(conn);
    assert!(
        matches!(why, End::Closed(CloseReason::EofInTheMiddle)),
        "{why}"
    );
    assert_eq!(watcher.told(is_half_closed), 0);
}

#[test]
fn a_client_that_resets_is_gone_at_once() {
    let reset = |socket: TcpStream| {
        let linger = Some(Duration::ZERO);
        SockRef::from(&socket).set_linger(linger).unwrap();
    };
    let is_reset = |watcher: &Watcher, conn| {
        let event = watcher.event(conn, |event| matches!(event, Event::Closed(_)));
        assert!(matches!(event, Event::Closed(CloseReason::EofInTheMiddle)));
        let why = watcher.closed_one(conn);
        // Linux reports another error after the client's end.
        assert!(
            matches!(&why, End::Io(error)
                if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
            "{why}"
        );
    };
    let (watcher, socket, conn, _) = waiting(&get("/"));
    reset(socket);
    is_reset(&watcher, conn);
    // After the client has ended its side.
    let (watcher, socket, conn, _) = waiting(&get("/"));
    socket.shutdown(Shutdown::Write).unwrap();
    watcher.wait_for(is_half_closed);
    reset(socket);
    is_reset(&watcher, conn);
    // With another request in the worker, and with one still in the socket.
    let (watcher, socket, conn, _) = waiting(&get("/").repeat(2));
    reset(socket);
    is_reset(&watcher, conn);
    let (watcher, mut socket, conn, _) = waiting(&get("/"));
    socket.write_all(get("/").as_bytes()).unwrap();
    reset(socket);
    is_reset(&watcher, conn);
}

type TlsClient = StreamOwned<ClientConnection, TcpStream>;

fn tls_client(watcher: &Watcher, identity: &Identity) -> TlsClient {
    let config = Arc::new(client_config(Some(&identity.certificate), &["http/1.1"]));
    let name = "localhost".try_into().unwrap();
    let session = ClientConnection::new(config, name).unwrap();
    let socket = patient(TcpStream::connect(watcher.addr).unwrap());
    StreamOwned::new(session, socket)
}

#[test]
fn an_end_by_tls_behind_an_upload_that_is_not_read_is_told_after_it() {
    const WINDOW: usize = 65_535;
    let identity = Identity::self_signed(|_| {});
    let watcher = Watcher::tls(&identity, |_| {});
    watcher.with(|watched, _| watched.consumes = false);
    let mut client = tls_client(&watcher, &identity);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        WINDOW + 5
    );
    client.write_all(head.as_bytes()).unwrap();
    let (conn, ..) = watcher.opened();
    let (id, _) = watcher.request(conn);
    client.write_all(&pattern(WINDOW)).unwrap();
    let mut received = 0;
    while received < WINDOW {
        let event = watcher.event(conn, |event| matches!(event, Event::Data { .. }));
        if let Event::Data { data, .. } = event {
            received += data.len();
        }
    }
    client.write_all(b"hello").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    // When another client has its answer, the worker knows of the end.
    let mut other = tls_client(&watcher, &identity);
    other.write_all(get("/").as_bytes()).unwrap();
    let (other_conn, ..) = watcher.opened();
    watcher.request(other_conn);
    assert_eq!(watcher.told(is_half_closed), 0);

    watcher.with(move |_, conns| {
        if let Some(mut stream) = conns.stream(conn, id) {
            stream.consume(WINDOW);
        }
    });
    watcher.event(conn, |event| matches!(event, Event::Data { end: true, .. }));
    watcher.wait_for(is_half_closed);
}

#[test]
fn an_end_by_tls_is_told_too() {
    let identity = Identity::self_signed(|_| {});
    let watcher = Watcher::tls(&identity, |_| {});
    for with_close_notify in [true, false] {
        for with_request in [true, false] {
            let mut client = tls_client(&watcher, &identity);
            client.write_all(get("/").as_bytes()).unwrap();
            let end = |client: &mut TlsClient| {
                if with_close_notify {
                    client.conn.send_close_notify();
                    client.flush().unwrap();
                }
                client.sock.shutdown(Shutdown::Write).unwrap();
            };
            if with_request {
                end(&mut client);
            }
            let (conn, ..) = watcher.opened();
            let (id, _) = watcher.request(conn);
            if !with_request {
                assert_eq!(watcher.told(is_half_closed), 0);
                end(&mut client);
            }
            watcher.wait_for(is_half_closed);
            watcher.respond(conn, id, 200, Body::Full(pattern(5)));
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, ANSWER);
            watcher.closed_one(conn);
            assert_eq!(watcher.told(is_half_closed), 0);
        }
    }
    assert_eq!(watcher.totals().truncated, 2);
    // TLS's own end may come with the request, and TCP's not at all.
    let mut client = tls_client(&watcher, &identity);
    client.conn.complete_io(&mut client.sock).unwrap();
    client.conn.writer().write_all(get("/").as_bytes()).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let (conn, ..) = watcher.opened();
    let (id, _) = watcher.request(conn);
    watcher.wait_for(is_half_closed);
    watcher.respond(conn, id, 200, Body::Full(pattern(5)));
    expect(&mut client, ANSWER);
    // A client that resets.
    let mut client = tls_client(&watcher, &identity);
    client.write_all(get("/").as_bytes()).unwrap();
    let (conn, ..) = watcher.opened();
    watcher.request(conn);
    let linger = Some(Duration::ZERO);
    SockRef::from(&client.sock).set_linger(linger).unwrap();
    drop(client);
    let why = watcher.closed_one(conn);
    assert!(matches!(why, End::Io(_)), "{why}");
}

// --- Tunnels ---

const WEBSOCKET: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A client's end of a tunnel.
trait ClientEnd: Read + Write {
    /// Ends this side.
    fn end(&mut self);
}

impl ClientEnd for TcpStream {
    fn end(&mut self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

impl ClientEnd for TlsClient {
    fn end(&mut self) {
        self.conn.send_close_notify();
        self.flush().unwrap();
        self.sock.shutdown(Shutdown::Write).unwrap();
    }
}

/// Returns a WebSocket in cleartext and one with TLS, granted, with their watchers and ids.
fn websockets() -> Vec<(Watcher, Box<dyn ClientEnd>, ConnId, StreamId)> {
    let identity = Identity::self_signed(|_| {});
    let plain = Watcher::plain(|_| {});
    let socket = patient(TcpStream::connect(plain.addr).unwrap());
    let by_tls = Watcher::tls(&identity, |_| {});
    let tls = tls_client(&by_tls, &identity);
    let clients: [(Watcher, Box<dyn ClientEnd>); 2] =
        [(plain, Box::new(socket)), (by_tls, Box::new(tls))];
    clients
        .into_iter()
        .map(|(watcher, mut client)| {
            client.write_all(WEBSOCKET.as_bytes()).unwrap();
            client.flush().unwrap();
            let (conn, ..) = watcher.opened();
            let (id, head) = watcher.request(conn);
            // RFC 8441 §5: the same as an extended CONNECT.
            assert_eq!(
                (head.method(), head.protocol()),
                ("CONNECT", Some("websocket"))
            );
            watcher.respond(conn, id, 200, Body::Stream);
            let head = read_head(&mut client);
            assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
            (watcher, client, conn, id)
        })
        .collect()
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::Data { end: true, .. })
}

/// Returns everything that arrives through a tunnel until its end.
fn came_whole(watcher: &Watcher, conn: ConnId) -> Vec<u8> {
    let mut got = Vec::new();
    loop {
        match watcher.event(conn, |event| matches!(event, Event::Data { .. })) {
            Event::Data { data, end, .. } => {
                got.extend_from_slice(&data);
                if end {
                    return got;
                }
            }
            _ => unreachable!(),
        }
    }
}

/// Returns what arrives through a tunnel until it is `len` bytes.
fn came(watcher: &Watcher, conn: ConnId, len: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < len {
        match watcher.event(conn, |event| matches!(event, Event::Data { .. })) {
            Event::Data { data, .. } => got.extend_from_slice(&data),
            _ => unreachable!(),
        }
    }
    got
}

/// Expects that both sides of a tunnel have ended cleanly.
fn expect_both_ended(watcher: &Watcher, conn: ConnId) {
    let why = watcher.closed_one(conn);
    assert!(matches!(why, End::Closed(CloseReason::Graceful)), "{why}");
    // The end of a tunnel's side isn't that of the client.
    assert_eq!(watcher.told(is_half_closed), 0);
    assert_eq!(watcher.totals().truncated, 0);
}

#[test]
fn a_tunnel_whose_client_ends_first_goes_on_the_other_way() {
    for (watcher, mut client, conn, id) in websockets() {
        client.write_all(b"hello").unwrap();
        client.flush().unwrap();
        assert_eq!(came(&watcher, conn, 5), b"hello");
        client.write_all(b"bye").unwrap();
        client.end();
        assert_eq!(came_whole(&watcher, conn), b"bye");
        // More than the sockets take at once, so that events of the socket come, each of which
        // reports its end.
        watcher.with(move |watched, conns| watched.give(conns, conn, id, pattern(5_000_000)));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest == pattern(5_000_000), "{} bytes", rest.len());
        drop(client);
        expect_both_ended(&watcher, conn);
    }
}

#[test]
fn a_tunnel_that_we_end_first_goes_on_the_other_way() {
    for (watcher, mut client, conn, id) in websockets() {
        watcher.write(conn, id, b"bye", true);
        let mut rest = Vec::new();
        // Over TLS this fails unless close_notify comes before FIN (RFC 8446 §6.1).
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
        let body = pattern(1_000_000);
        client.write_all(&body).unwrap();
        client.flush().unwrap();
        client.end();
        assert!(came_whole(&watcher, conn) == body);
        drop(client);
        expect_both_ended(&watcher, conn);
    }
}

#[test]
fn a_tunnel_that_is_cut_off_was_not_ended() {
    for (watcher, client, conn, _) in websockets() {
        // Over TLS, this is an end without close_notify. In cleartext, unread bytes make it a
        // reset.
        drop(client);
        let last = watcher.event(conn, |event| {
            is_end(event) || matches!(event, Event::Closed(_))
        });
        let by_tls = watcher.totals().truncated > 0;
        if by_tls {
            // RFC 9112 §9.8: "an incomplete close".
            let is_incomplete = matches!(last, Event::Closed(CloseReason::EofInTheMiddle));
            assert!(is_incomplete, "{last:?}");
        } else {
            assert!(is_end(&last));
        }
    }
}

#[test]
fn a_tunnel_that_we_asked_for_ends_each_way_by_itself() {
    let identity = Identity::self_signed(|_| {});
    let dialler = Watcher::dialling();
    for by_tls in [false, true] {
        let server = if by_tls {
            Watcher::tls(&identity, |_| {})
        } else {
            Watcher::plain(|_| {})
        };
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for server_first in [true, false] {
                let dial = if by_tls {
                    dial_tls(server.addr, &identity.trusted(), Some(protocol))
                } else {
                    dial_plain(server.addr, protocol)
                };
                let (ours, ..) = dialler.connect(dial);
                if protocol == Protocol::Http2 {
                    // RFC 8441 §3: not before its SETTINGS allow it.
                    dialler.event(ours, |event| matches!(event, Event::PeerSettings));
                }
                let head = RequestHead::extended_connect("websocket", "http", "localhost", "/chat");
                let head = match protocol {
                    Protocol::Http1 => head.field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                    Protocol::Http2 => head,
                };
                let our_id = dialler.open(ours, head, Body::Stream);
                let (theirs, ..) = server.opened();
                let (their_id, _) = server.request(theirs);
                server.respond(theirs, their_id, 200, Body::Stream);
                let response = dialler.event(ours, |event| matches!(event, Event::Response { .. }));
                let Event::Response { head, end, .. } = response else {
                    unreachable!()
                };
                assert_eq!((head.status(), end), (200, false));
                let ends = [(&server, theirs, their_id), (&dialler, ours, our_id)];
                let [first, second] = if server_first {
                    ends
                } else {
                    [ends[1], ends[0]]
                };
                let send = |from: (&Watcher, ConnId, StreamId),
                            to: (&Watcher, ConnId, StreamId)| {
                    let (watcher, conn, id) = from;
                    watcher.with(move |watched, conns| {
                        watched.give(conns, conn, id, pattern(1_000_000));
                    });
                    assert!(came_whole(to.0, to.1) == pattern(1_000_000));
                };
                send(first, second);
                send(second, first);
                if protocol == Protocol::Http1 {
                    for (watcher, conn, _) in ends {
                        let why = watcher.closed_one(conn);
                        assert!(matches!(why, End::Closed(CloseReason::Graceful)), "{why}");
                    }
                }
                for (watcher, ..) in ends {
                    assert_eq!(watcher.told(is_half_closed), 0);
                    assert_eq!(watcher.totals().truncated, 0);
                }
            }
        }
    }
}
