//! The PROXY protocol: connections from a proxy that names its client.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use tidegate_http::{Body, CloseReason, Event, RequestHead, Violation};
use tidegate_net::{Dial, Direction, End, Options, Origin, Protocol, Security, proxy_header};
use tidegate_testkit::tls::client_config;

use crate::common::{
    Client, Identity, Told, Trickle, Watcher, dial_plain, dial_tls, expect, patient, read_head,
};

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
const EMPTY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The signature of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn listed(options: &mut Options) {
    options.proxy_protocol_from = vec!["127.0.0.0/8".parse().unwrap()];
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Returns clients and the addresses that they connected to.
fn pairs() -> [(SocketAddr, SocketAddr); 2] {
    [
        (addr("192.0.2.7:4711"), addr("198.51.100.9:443")),
        (addr("[2001:db8::7]:4711"), addr("[2001:db8::9]:443")),
    ]
}

/// Returns headers of both versions for each of the pairs, with the pair.
fn headers() -> Vec<(Vec<u8>, (SocketAddr, SocketAddr))> {
    let both =
        |pair: (SocketAddr, SocketAddr)| [1, 2].map(|v| (proxy_header(v, pair.0, pair.1), pair));
    pairs().into_iter().flat_map(both).collect()
}

fn connect(watcher: &Watcher) -> TcpStream {
    patient(TcpStream::connect(watcher.addr).unwrap())
}

/// A stream that writes these bytes and the first others at once.
struct Behind<T> {
    front: Vec<u8>,
    io: T,
}

impl<T: Read> Read for Behind<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer)
    }
}

impl<T: Write> Write for Behind<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let front = std::mem::take(&mut self.front);
        self.io.write_all(&[&front[..], bytes].concat())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.io.flush()
    }
}

/// Makes a request of this protocol, and checks the addresses that the service sees.
fn is_served(
    watcher: &Watcher,
    io: impl Read + Write,
    protocol: Protocol,
    ours: SocketAddr,
    (client, server): (SocketAddr, SocketAddr),
) {
    let mut engine = None;
    let mut io = io;
    match protocol {
        Protocol::Http1 => {
            io.write_all(GET).unwrap();
            io.flush().unwrap();
        }
        Protocol::Http2 => {
            let made = engine.insert(Client::new(&mut io));
            made.open("GET", "/hello", Body::Empty);
            made.flush();
        }
    }
    // Both ends must read for TLS.
    if let Some(client) = &mut engine {
        client.read_once();
        client.flush();
    }
    let (conn, spoken, info) = watcher.opened();
    assert_eq!((spoken, info.origin), (protocol, Origin::Accepted));
    assert_eq!((info.peer, info.local), (client, server));
    let via = (client != ours).then_some(ours);
    assert_eq!(info.via, via);
    let (id, head) = watcher.request(conn);
    assert_eq!(head.path(), "/hello");
    watcher.respond(conn, id, 200, Body::Empty);
    match engine {
        None => expect(&mut io, EMPTY),
        Some(mut client) => assert_eq!(client.finish(id).status, 200),
    }
    drop(io);
    watcher.closed_one(conn);
}

#[test]
fn it_says_whose_the_connection_is() {
    let watcher = Watcher::plain(listed);
    for (header, pair) in headers() {
        for protocol in [Protocol::Http2, Protocol::Http1] {
            // The header and the first request in one segment, then byte by byte.
            let socket = connect(&watcher);
            let ours = socket.local_addr().unwrap();
            let front = header.clone();
            is_served(&watcher, Behind { front, io: socket }, protocol, ours, pair);
            let socket = connect(&watcher);
            let ours = socket.local_addr().unwrap();
            let mut trickle = Trickle::new(socket, 1);
            for byte in &header {
                trickle.write_all(&[*byte]).unwrap();
            }
            is_served(&watcher, trickle, protocol, ours, pair);
        }
    }
    let totals = watcher.totals();
    assert_eq!((totals.accepted, totals.handshake_failures), (16, 0));
}

#[test]
fn it_comes_in_front_of_tls() {
    let identity = Identity::self_signed(|_| {});
    let watcher = Watcher::tls(&identity, listed);
    for (header, pair) in headers() {
        for (protocol, alpn) in [(Protocol::Http2, "h2"), (Protocol::Http1, "http/1.1")] {
            let config = Arc::new(client_config(Some(&identity.certificate), &[alpn]));
            let tls = |io| {
                let name = "localhost".try_into().unwrap();
                let session = ClientConnection::new(Arc::clone(&config), name).unwrap();
                StreamOwned::new(session, io)
            };
            let socket = connect(&watcher);
            let ours = socket.local_addr().unwrap();
            let front = header.clone();
            let io = tls(Box::new(Behind { front, io: socket }) as Box<dyn ReadWrite>);
            is_served(&watcher, io, protocol, ours, pair);
            let mut socket = connect(&watcher);
            let ours = socket.local_addr().unwrap();
            socket.set_nodelay(true).unwrap();
            for byte in &header {
                socket.write_all(&[*byte]).unwrap();
            }
            is_served(&watcher, tls(Box::new(socket)), protocol, ours, pair);
        }
    }
}

trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_proxy_that_speaks_for_itself_is_itself() {
    let watcher = Watcher::plain(listed);
    // LOCAL, and PROXY of no known family: both "must … use the real connection endpoints".
    let local = [SIGNATURE, b"\x20\0\0\0"].concat();
    let unspecified = [SIGNATURE, b"\x21\0\0\0"].concat();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local, unspecified] {
        let socket = connect(&watcher);
        let ours = socket.local_addr().unwrap();
        let io = Behind {
            front: header,
            io: socket,
        };
        let pair = (ours, watcher.addr);
        is_served(&watcher, io, Protocol::Http1, ours, pair);
    }
}

#[test]
fn what_a_proxy_adds_to_its_addresses_is_skipped() {
    let watcher = Watcher::plain(listed);
    let pair = pairs()[0];
    let mut header = proxy_header(2, pair.0, pair.1);
    // A TLV of type PP2_TYPE_NOOP, which fills 3 KiB.
    let len = 3072_u16;
    header.extend([&[4][..], &len.to_be_bytes(), &vec![0; usize::from(len)]].concat());
    let all = (header.len() - 16) as u16;
    header[14..16].copy_from_slice(&all.to_be_bytes());
    let socket = connect(&watcher);
    let ours = socket.local_addr().unwrap();
    let io = Behind {
        front: header,
        io: socket,
    };
    is_served(&watcher, io, Protocol::Http1, ours, pair);
}

#[test]
fn every_byte_is_counted() {
    let watcher = Watcher::plain(|options| {
        listed(options);
        options.trace = true;
    });
    let (header, pair) = headers().remove(0);
    let socket = connect(&watcher);
    let ours = socket.local_addr().unwrap();
    let front = header.clone();
    is_served(
        &watcher,
        Behind { front, io: socket },
        Protocol::Http1,
        ours,
        pair,
    );
    let totals = watcher.totals();
    assert_eq!(totals.bytes_received, (header.len() + GET.len()) as u64);
    // The header isn't part of HTTP.
    let traced = watcher.with(|watched, _| std::mem::take(&mut watched.traced));
    assert!(matches!(&traced[..], [(_, Direction::In, bytes), _] if bytes == GET));
}

/// Returns why a connection is closed that sends this and then waits, or with `fin` ends. It must
/// never be opened.
fn refused(watcher: &Watcher, bytes: &[u8], fin: bool) -> End {
    let mut socket = connect(watcher);
    socket.write_all(bytes).unwrap();
    if fin {
        socket.shutdown(Shutdown::Write).unwrap();
    }
    // An end or a reset, and nothing before it.
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", answer.escape_ascii());
    drop(socket);
    let (_, why) = watcher.closed();
    assert_eq!(watcher.told(|told| matches!(told, Told::Opened(..))), 0);
    why
}

#[test]
fn who_must_send_one_and_does_not_is_refused() {
    let identity = Identity::self_signed(|_| {});
    let hello = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";
    for watcher in [Watcher::plain(listed), Watcher::tls(&identity, listed)] {
        let mut refusals = 0;
        for bytes in [
            GET,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            hello,
            b"PROXY TCP4 192.0.2.7 198.51.100.9 4711\r\n",
            b"PROXY TCP5 192.0.2.7 198.51.100.9 4711 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.9 4711 65536\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0",
        ] {
            let why = refused(&watcher, bytes, false);
            assert!(matches!(why, End::ProxyHeaderInvalid), "{why}");
            refusals += 1;
            assert_eq!(watcher.totals().handshake_failures, refusals);
        }
        // A header that never ends.
        let endless = [SIGNATURE, b"\x21\x11\xff\xff", &[0; 5000]].concat();
        let why = refused(&watcher, &endless, false);
        assert!(matches!(why, End::ProxyHeaderInvalid), "{why}");
    }
}

#[test]
fn an_end_in_the_middle_is_told_as_such() {
    let watcher = Watcher::plain(listed);
    for (header, _) in headers() {
        for len in [0, 1, header.len() / 2, header.len() - 1, header.len()] {
            let why = refused(&watcher, &header[..len], true);
            assert!(matches!(why, End::HandshakeEof), "{len}: {why}");
        }
    }
}

#[test]
fn one_that_does_not_come_is_not_waited_for() {
    let timeout = Duration::from_millis(100);
    let watcher = Watcher::plain(|options| {
        listed(options);
        options.handshake_timeout = timeout;
    });
    for (header, _) in headers() {
        for len in [0, 1, header.len() - 1, header.len()] {
            let began = Instant::now();
            let why = refused(&watcher, &header[..len], false);
            assert!(matches!(why, End::HandshakeTimedOut), "{len}: {why}");
            assert!(began.elapsed() >= timeout);
        }
    }
}

#[test]
fn others_are_not_asked_for_one_and_not_believed() {
    let watcher = Watcher::plain(|options| {
        options.proxy_protocol_from = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let socket = connect(&watcher);
    let ours = socket.local_addr().unwrap();
    let pair = (ours, watcher.addr);
    is_served(&watcher, socket, Protocol::Http1, ours, pair);
    for (header, _) in headers() {
        let mut socket = connect(&watcher);
        let ours = socket.local_addr().unwrap();
        socket.write_all(&[&header, GET].concat()).unwrap();
        let (conn, _, info) = watcher.opened();
        assert_eq!((info.peer, info.via), (ours, None));
        let closed = watcher.event(conn, |event| matches!(event, Event::Closed(_)));
        let Event::Closed(CloseReason::Violation(violation)) = closed else {
            panic!("{closed:?}");
        };
        assert_eq!(violation, Violation::PrefaceInvalid);
        let asked = |told: &Told| matches!(told, Told::Event(_, Event::Request { .. }));
        assert_eq!(watcher.told(asked), 0);
    }
}

#[test]
fn an_address_in_another_form_is_the_same_address() {
    let any = addr("[::]:0");
    let Ok(watcher) = Watcher::bind(any, Security::Plain, listed) else {
        // This machine has no IPv6.
        return;
    };
    // The peer's address appears as ::ffff:127.0.0.1.
    let target = SocketAddr::from(([127, 0, 0, 1], watcher.addr.port()));
    let mut socket = patient(TcpStream::connect(target).unwrap());
    let (header, pair) = headers().remove(0);
    socket.write_all(&[&header, GET].concat()).unwrap();
    let (_, _, info) = watcher.opened();
    assert_eq!((info.peer, info.local), pair);
}

#[test]
fn what_we_send_is_understood() {
    let identity = Identity::self_signed(|_| {});
    let dialler = Watcher::dialling();
    for version in [1, 2] {
        for (client, server) in pairs() {
            for (watcher, by_tls) in [
                (Watcher::plain(listed), false),
                (Watcher::tls(&identity, listed), true),
            ] {
                for protocol in [Protocol::Http2, Protocol::Http1] {
                    let dial = if by_tls {
                        dial_tls(watcher.addr, &identity.trusted(), Some(protocol))
                    } else {
                        dial_plain(watcher.addr, protocol)
                    };
                    let (ours, _, dialled) = dialler.connect(Dial {
                        preamble: proxy_header(version, client, server),
                        ..dial
                    });
                    let head = RequestHead::new("GET", "http", "localhost", "/");
                    let request = dialler.open(ours, head, Body::Empty);
                    let (conn, _, info) = watcher.opened();
                    assert_eq!((info.peer, info.local), (client, server));
                    assert_eq!(info.via, Some(dialled.local));
                    let (id, _) = watcher.request(conn);
                    watcher.respond(conn, id, 204, Body::Empty);
                    assert_eq!(dialler.response(ours, request).status, 204);
                }
            }
        }
    }
}

#[test]
fn it_comes_once() {
    let watcher = Watcher::plain(listed);
    let mut socket = connect(&watcher);
    let (header, _) = headers().remove(0);
    socket.write_all(&[&header, GET].concat()).unwrap();
    let (conn, ..) = watcher.opened();
    for _ in 0..2 {
        let (id, _) = watcher.request(conn);
        watcher.respond(conn, id, 200, Body::Empty);
        let head = read_head(&mut socket);
        assert_eq!(head.as_bytes(), EMPTY);
        socket.write_all(GET).unwrap();
    }
    let (id, _) = watcher.request(conn);
    watcher.respond(conn, id, 200, Body::Empty);
    read_head(&mut socket);
    socket.write_all(&[&header[..], b"\r\n"].concat()).unwrap();
    let closed = watcher.event(conn, |event| matches!(event, Event::Closed(_)));
    let reason = format!("{closed:?}");
    assert!(reason.contains("RequestLineInvalid"), "{reason}");
}
