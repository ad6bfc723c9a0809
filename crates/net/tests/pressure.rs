//! The memory that one connection makes a worker hold, however much it sends and however slowly it
//! reads: counted byte by byte, on sockets in memory.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use tidegate_http::{Body, Config, Event, ResponseHead, Stream};
use tidegate_net::{ConnId, Conns, MemoryLoop, MemorySocket, Options, Service, TlsAcceptorConfig};
use tidegate_testkit::tls::{Certificate, client_config};

/// The bytes that a client sends in total.
const SENT: usize = 64 << 20;

/// The bytes of one request's largest field.
const FIELD: usize = 16_000;

/// The bytes that the sockets hold in each direction, like the system's.
const CAPACITY: usize = 16 << 10;

/// The most bytes that a connection may hold. Heads, small bodies, the outbox and one read are 192
/// KiB; the rest is spare capacity of vectors.
const MOST: usize = 512 << 10;

/// A service that answers every request with a body that counts as small.
struct Small {
    body: Bytes,
    conn: Option<ConnId>,
    answered: usize,
}

impl Service for Small {
    type Message = ();

    fn opened(&mut self, _conns: &mut Conns, conn: ConnId) {
        self.conn = Some(conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        if let Event::Request { id, .. } = event
            && let Some(mut stream) = conns.stream(conn, id)
        {
            let body = Body::Full(self.body.clone());
            stream.respond(&ResponseHead::new(200), body).unwrap();
            self.answered += 1;
        }
    }
}

/// The client's end, in cleartext or with TLS.
enum Client {
    Plain(MemorySocket),
    Tls(Box<ClientConnection>, MemorySocket),
}

/// A reader that takes up to this many bytes at a time.
struct Trickle<'a>(&'a mut MemorySocket);

impl Read for Trickle<'_> {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(room)
    }
}

impl Write for Trickle<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&[IoSlice::new(bytes)])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Client {
    /// Sends as much as is taken. Returns the number of bytes.
    fn send(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Plain(socket) => would_block(socket.write(&[IoSlice::new(bytes)])),
            Self::Tls(tls, socket) => {
                let mut sent = 0;
                // The session's own buffer is kept short.
                if !tls.wants_write() {
                    sent = tls.writer().write(bytes).unwrap();
                }
                while tls.wants_write() && would_block(tls.write_tls(&mut Trickle(socket))) > 0 {}
                sent
            }
        }
    }

    /// Reads a little.
    fn read(&mut self) -> usize {
        let mut room = [0; 2048];
        match self {
            Self::Plain(socket) => would_block(socket.read(&mut room)),
            Self::Tls(tls, socket) => {
                let count = would_block(tls.read_tls(&mut Trickle(socket).take(2048)));
                tls.process_new_packets().unwrap();
                while would_block(tls.reader().read(&mut room)) > 0 {}
                count
            }
        }
    }
}

fn would_block(result: std::io::Result<usize>) -> usize {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        result => result.unwrap(),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    let mut bytes = len.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Returns the first bytes of an HTTP/2 client that opens its windows as far as possible.
fn opening() -> Vec<u8> {
    let window = ((1_u32 << 31) - 1).to_be_bytes();
    let settings = [&[0, 4][..], &window].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &settings),
        frame(8, 0, 0, &((1_u32 << 31) - 1 - 65_535).to_be_bytes()),
        frame(4, 1, 0, &[]),
    ]
    .concat()
}

/// Returns the HEADERS of GET / with one large field, literal and not indexed.
fn headers(stream: u32) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 1, b'a', 0, 1, b'x'];
    // RFC 7541 §5.1: an integer with a prefix of 7 bits.
    block.extend([
        127,
        ((FIELD - 127) & 127) as u8 | 128,
        ((FIELD - 127) >> 7) as u8,
    ]);
    block.extend([b'v'; FIELD]);
    frame(1, 5, stream, &block)
}

fn tls() -> (TlsAcceptorConfig, ClientConnection) {
    let made = Certificate::localhost();
    let acceptor = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
    let config = client_config(Some(&made.certificate()), &[]);
    let name = ServerName::try_from("localhost").unwrap();
    (
        acceptor,
        ClientConnection::new(Arc::new(config), name).unwrap(),
    )
}

/// Sends 64 MiB of requests, and reads the answers only while nothing more can be sent, so that the
/// reader is slower than the server.
fn flood(is_http2: bool, is_tls: bool) {
    let now = Instant::now();
    let service = Small {
        body: vec![b'b'; 4000].into(),
        conn: None,
        answered: 0,
    };
    let options = Options::new(Config::server().build().unwrap());
    let mut memory = MemoryLoop::new(options, service, CAPACITY, now).unwrap();
    let (socket, server) = MemorySocket::pair(CAPACITY);
    let peer = SocketAddr::from(([192, 0, 2, 99], 4711));
    let mut client = if is_tls {
        let (acceptor, session) = tls();
        memory.accept_tls(server, peer, &acceptor, now).unwrap();
        Client::Tls(Box::new(session), socket)
    } else {
        memory.accept(server, peer);
        Client::Plain(socket)
    };
    let mut next = 1;
    let mut request = if is_http2 { opening() } else { Vec::new() };
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "v".repeat(FIELD)
    );
    let (mut sent, mut idle, mut most) = (0, 0, 0);
    while sent < SENT {
        if is_http2 {
            request.extend(headers(next));
        } else {
            request.extend(head.as_bytes());
        }
        next += 2;
        let mut rest = &request[..];
        while !rest.is_empty() {
            let count = client.send(rest);
            rest = &rest[count..];
            sent += count;
            assert!(memory.turn(now));
            if let Some(conn) = memory.service().conn {
                most = most.max(memory.conns().buffered(conn).expect("it is open"));
            }
            // Read only when nothing can be sent.
            if count == 0 && client.read() == 0 {
                idle += 1;
                assert!(idle < 1000, "nothing moves after {sent} bytes");
            } else {
                idle = 0;
            }
        }
        request.clear();
    }
    assert!(memory.service().answered > 4000);
    assert!(most > 32 << 10, "the reader wasn't slower: {most} bytes");
    assert!(most < MOST, "{most} bytes were held for one connection");
}

/// Runs `flood` while the allocator counts the memory of everything. The client's and the sockets'
/// part is known, and small.
fn measured(is_http2: bool, is_tls: bool) {
    let memory = allocation_counter::measure(|| flood(is_http2, is_tls));
    let most = memory.bytes_max as usize;
    let others = 256 << 10;
    assert!(most < MOST + others, "{most} bytes were allocated at once");
}

#[test]
fn pipelined_requests_of_http1_wait_outside() {
    measured(false, false);
}

#[test]
fn pipelined_requests_of_http1_wait_outside_of_tls_too() {
    measured(false, true);
}

#[test]
fn requests_of_http2_wait_outside_while_answers_wait_to_be_read() {
    measured(true, false);
}

#[test]
fn requests_of_http2_wait_outside_of_tls_too() {
    measured(true, true);
}
