//! The loop on sockets in memory, turn by turn: its calls alone decide what it does. Time, traces,
//! capacities and resets.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tidegate_http::{
    Body, CloseReason, Config, Event, Flow, Outbox, RequestHead, ResponseHead, Stream, StreamId,
    Timeouts,
};
use tidegate_ledger::{Ledger, Limits, Resource};
use tidegate_net::{
    ConnId, Conns, Dial, Dialled, Direction, End, MemoryLoop, MemorySocket, Options, Protocol,
};
use tidegate_testkit::rng::Rng;

use crate::common::{Command, Told, Watched, Watcher, dial_plain, pattern, run_until_rest};

const UPSTREAM: ([u8; 4], u16) = ([192, 0, 2, 1], 80);
pub(crate) const CLIENT: ([u8; 4], u16) = ([192, 0, 2, 99], 4711);
pub(crate) const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The granularity of timers.
const TICK: Duration = Duration::from_millis(16);

/// A loop in memory and its service.
pub(crate) struct Lab {
    pub(crate) memory: MemoryLoop<Watched>,
    desk: Arc<Mutex<VecDeque<Command>>>,
    told: Receiver<Told>,
    pub(crate) now: Instant,
}

impl Lab {
    pub(crate) fn new(capacity: usize, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(Config::server().build().unwrap());
        options.trace = true;
        change(&mut options);
        let (service, told) = Watched::new();
        let desk = service.desk();
        // From here on, the test decides the time.
        let now = Instant::now();
        let memory = MemoryLoop::new(options, service, capacity, now).unwrap();
        Self {
            memory,
            desk,
            told,
            now,
        }
    }

    /// Enters a command for the next turn.
    fn enter(&self, act: impl FnOnce(&mut Watched, &mut Conns) + Send + 'static) {
        self.desk.lock().unwrap().push_back(Box::new(act));
    }

    /// Runs a command, in as many turns as it takes.
    pub(crate) fn with(&mut self, act: impl FnOnce(&mut Watched, &mut Conns) + Send + 'static) {
        self.enter(act);
        self.run();
    }

    pub(crate) fn turn(&mut self) -> bool {
        self.memory.turn(self.now)
    }

    /// Takes turns until there is nothing left to do.
    pub(crate) fn run(&mut self) {
        run_until_rest(&mut self.memory, self.now);
    }

    /// Lets time pass, turn by turn.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.memory.next_turn(self.now).filter(|at| *at <= end) {
            self.now = self.now.max(next);
            self.run();
        }
        self.now = end;
        self.run();
    }

    /// Opens a connection.
    fn dial(&mut self, dial: Dial) -> Dialled {
        self.with(move |_, conns| {
            conns.dial(dial).unwrap();
        });
        self.memory.dialled().pop().expect("it was dialled")
    }

    /// Opens a connection, which is established.
    pub(crate) fn connect(&mut self, protocol: Protocol) -> (ConnId, MemorySocket) {
        let mut dialled = self.dial(dial_plain(UPSTREAM.into(), protocol));
        dialled.socket.connect();
        self.run();
        let conn = self.opened();
        (conn, dialled.socket)
    }

    /// Makes an HTTP/1.1 request.
    fn ask(&mut self, conn: ConnId, body: Body) {
        self.with(move |_, conns| {
            let head = RequestHead::new("POST", "http", "localhost", "/");
            conns.engine(conn).unwrap().open(&head, body).unwrap();
        });
    }

    /// Returns the reports since the last call.
    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.try_iter().collect()
    }

    pub(crate) fn opened(&self) -> ConnId {
        let mut told = self.told.try_iter();
        let opened = told.find_map(|told| match told {
            Told::Opened(conn, ..) => Some(conn),
            _ => None,
        });
        opened.expect("it was opened")
    }

    /// Returns why the last connection was closed.
    pub(crate) fn closed(&self) -> Option<End> {
        let ends = self.told.try_iter().filter_map(|told| match told {
            Told::Closed(_, why) => Some(why),
            _ => None,
        });
        ends.last()
    }
}

pub(crate) fn write(socket: &mut MemorySocket, bytes: &[u8]) -> usize {
    match socket.write(&[IoSlice::new(bytes)]) {
        Ok(count) => count,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn read(socket: &mut MemorySocket) -> Vec<u8> {
    let mut room = [0; 4096];
    match socket.read(&mut room) {
        Ok(count) => room[..count].to_vec(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}

/// An upstream or a client, which the test plays with a real engine.
struct Peer {
    socket: MemorySocket,
    engine: tidegate_http2::Connection,
    input: BytesMut,
    outbox: Outbox,
    events: Vec<Event>,
    /// All bytes read and written.
    bytes: [Vec<u8>; 2],
}

impl Peer {
    fn new(socket: MemorySocket, engine: tidegate_http2::Connection) -> Self {
        Self {
            socket,
            engine,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            events: Vec::new(),
            bytes: [Vec::new(), Vec::new()],
        }
    }

    /// Reads up to `most` bytes, and writes up to `most`.
    fn step(&mut self, most: usize, now: Instant) {
        let mut room = vec![0; most];
        if let Ok(count) = self.socket.read(&mut room) {
            self.input.extend_from_slice(&room[..count]);
            self.bytes[0].extend_from_slice(&room[..count]);
        }
        while let Some(event) = self.engine.receive(&mut self.input, now) {
            self.handle(event);
        }
        while let Flow::Event(event) = self.engine.transmit(&mut self.outbox, 1 << 20, now) {
            self.handle(event);
        }
        let chunk = self.outbox.chunk();
        let count = write(&mut self.socket, &chunk[..chunk.len().min(most)]);
        self.bytes[1].extend_from_slice(&chunk[..count]);
        self.outbox.advance(count);
    }

    fn handle(&mut self, event: Event) {
        if let Event::Data { id, data, .. } = &event
            && let Some(mut stream) = self.engine.stream(*id)
        {
            stream.consume(data.len());
        }
        self.events.push(event);
    }

    fn body(&self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        let mut ended = false;
        for event in &self.events {
            if let Event::Data { data, end, .. } = event {
                body.extend_from_slice(data);
                ended |= end;
            }
        }
        (body, ended)
    }
}

/// Plays a conversation in pieces of random sizes: a client's upload, and a download from an
/// upstream. Returns everything reported and traced, turn by turn.
fn conversation(seed: u64) -> Vec<String> {
    let mut rng = Rng::new(seed);
    let mut lab = Lab::new(rng.between(1, 5000), |_| {});
    let mut log = Vec::new();
    let (client, server) = MemorySocket::pair(rng.between(1, 5000));
    lab.memory.accept(server, CLIENT.into());
    let config = Config::client().build().unwrap();
    let mut client = Peer::new(client, tidegate_http2::Connection::client(config, lab.now));
    let head = RequestHead::new("POST", "http", "localhost", "/up");
    client
        .engine
        .open(&head, Body::Full(pattern(50_000)))
        .unwrap();
    let (conn, socket) = lab.connect(Protocol::Http2);
    let config = Config::server().build().unwrap();
    let mut upstream = Peer::new(socket, tidegate_http2::Connection::server(config, lab.now));
    lab.enter(move |_, conns| {
        let head = RequestHead::new("GET", "http", "localhost", "/down");
        conns
            .engine(conn)
            .unwrap()
            .open(&head, Body::Empty)
            .unwrap();
    });
    let (mut up, mut down) = (0, 0);
    for turn in 0..100_000 {
        for peer in [&mut client, &mut upstream] {
            peer.step(rng.between(1, 3000), lab.now);
        }
        for event in std::mem::take(&mut upstream.events) {
            if let Event::Request { id, .. } = event {
                let mut stream = upstream.engine.stream(id).unwrap();
                let body = Body::Full(pattern(50_000));
                stream.respond(&ResponseHead::new(200), body).unwrap();
            }
        }
        lab.now += Duration::from_micros(rng.between(1, 1000) as u64);
        assert!(lab.turn());
        for told in lab.told() {
            if let Told::Event(its, Event::Data { data, .. }) = &told {
                if *its == conn {
                    down += data.len();
                } else {
                    up += data.len();
                }
            }
            // The test decides times, so they aren't compared.
            log.push(match told {
                Told::Opened(conn, protocol, _) => format!("{turn} {conn:?} {protocol:?}"),
                told => format!("{turn} {told:?}"),
            });
        }
        if (up, down) == (50_000, 50_000) {
            break;
        }
    }
    assert_eq!((up, down), (50_000, 50_000), "seed {seed}");
    let traced = &lab.memory.service().traced;
    log.extend(traced.iter().map(|traced| format!("{traced:?}")));
    log
}

#[test]
fn the_same_calls_give_the_same_turns() {
    for seed in 0..5 {
        assert!(conversation(seed) == conversation(seed), "seed {seed}");
    }
    assert!(conversation(0) != conversation(1));
}

#[test]
fn what_was_dialled_comes_about_or_does_not() {
    let mut lab = Lab::new(1000, |_| {});
    let mut dialled = lab.dial(dial_plain(UPSTREAM.into(), Protocol::Http1));
    assert_eq!(dialled.addr, UPSTREAM.into());
    // The server hasn't accepted it yet.
    assert_eq!((lab.told().len(), lab.memory.conns().len()), (0, 1));
    dialled.socket.connect();
    lab.run();
    assert!(matches!(
        lab.told()[..],
        [Told::Opened(_, Protocol::Http1, _)]
    ));
    for kind in [ErrorKind::ConnectionRefused, ErrorKind::TimedOut] {
        let mut dialled = lab.dial(dial_plain(UPSTREAM.into(), Protocol::Http1));
        dialled.socket.fail(kind);
        lab.run();
        let told = lab.told();
        assert!(
            matches!(&told[..], [Told::Closed(_, End::ConnectFailed(error))] if error.kind() == kind),
            "{told:?}"
        );
    }
    let totals = lab.memory.conns().totals();
    assert_eq!((totals.dialled, totals.dial_failures), (3, 2));
    assert_eq!((totals.dialled_open, totals.bytes_sent), (1, 0));
    // The loop was never told of changes to it, so it takes nothing.
    assert!(lab.memory.dialled().is_empty());
}

#[test]
fn nobody_takes_it_in_time() {
    let timeout = Duration::from_millis(1000);
    let mut lab = Lab::new(1000, |_| {});
    let _dialled = lab.dial(Dial {
        timeout,
        ..dial_plain(UPSTREAM.into(), Protocol::Http2)
    });
    lab.wait(timeout - Duration::from_millis(1));
    assert!(lab.told().is_empty());
    lab.wait(TICK);
    assert!(matches!(lab.closed(), Some(End::ConnectTimedOut)));
    // Without a limit, it has as long as the system allows.
    let mut dialled = lab.dial(Dial {
        timeout: Duration::ZERO,
        ..dial_plain(UPSTREAM.into(), Protocol::Http2)
    });
    lab.wait(Duration::from_secs(86_400));
    assert!(lab.told().is_empty());
    dialled.socket.connect();
    lab.run();
    lab.opened();
}

#[test]
fn the_services_time_comes_when_it_comes() {
    let mut lab = Lab::new(1000, |_| {});
    let at = lab.now + Duration::from_micros(12_345);
    lab.with(move |watched, _| watched.alarm = Some(at));
    assert_eq!(lab.memory.next_turn(lab.now), Some(at));
    lab.now = at - Duration::from_nanos(1);
    lab.run();
    assert!(lab.told().is_empty());
    lab.now = at;
    lab.run();
    let told = lab.told();
    assert!(
        matches!(told[..], [Told::Rang(rang)] if rang == at),
        "{told:?}"
    );
    // It isn't called again.
    lab.wait(Duration::from_secs(10));
    assert!(lab.told().is_empty());
}

#[test]
fn the_services_time_comes_on_a_real_loop_too() {
    let watcher = Watcher::dialling();
    // A message wakes a loop that sleeps without a limit, and later its time does.
    let at = watcher.with(|watched, conns| {
        let at = conns.now() + Duration::from_millis(50);
        watched.alarm = Some(at);
        at
    });
    let told = watcher.wait_for(|told| matches!(told, Told::Rang(_)));
    assert!(matches!(told, Told::Rang(rang) if rang >= at));
}

#[test]
fn an_byte_at_a_time_is_enough() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut lab = Lab::new(1, |_| {});
        let preamble = b"in front of it";
        let mut dialled = lab.dial(Dial {
            preamble: preamble.to_vec(),
            ..dial_plain(UPSTREAM.into(), protocol)
        });
        dialled.socket.connect();
        lab.run();
        let conn = lab.opened();
        lab.ask(conn, Body::Full(pattern(300)));
        let mut got = Vec::new();
        while got.len() < preamble.len() {
            got.extend(read(&mut dialled.socket));
            lab.run();
        }
        assert_eq!(got, preamble);
        let mut body = Vec::new();
        if protocol == Protocol::Http1 {
            let head = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300\r\n\r\n";
            let mut got = Vec::new();
            while got.len() < head.len() + 300 {
                let bytes = read(&mut dialled.socket);
                assert!(bytes.len() <= 1);
                got.extend(bytes);
                lab.run();
            }
            assert!(got == [&head[..], &pattern(300)].concat());
            let mut answer =
                &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"[..];
            while !answer.is_empty() {
                answer = &answer[write(&mut dialled.socket, answer)..];
                lab.run();
            }
        } else {
            let config = Config::server().build().unwrap();
            let engine = tidegate_http2::Connection::server(config, lab.now);
            let mut peer = Peer::new(dialled.socket, engine);
            while !peer.body().1 {
                peer.step(1, lab.now);
                lab.run();
            }
            assert!(peer.body().0 == pattern(300));
            let mut stream = peer.engine.stream(StreamId::new(1)).unwrap();
            let hello = Body::Full("hello".into());
            stream.respond(&ResponseHead::new(200), hello).unwrap();
            for _ in 0..200 {
                peer.step(1, lab.now);
                lab.run();
            }
        }
        for told in lab.told() {
            if let Told::Event(_, Event::Data { data, .. }) = told {
                body.extend_from_slice(&data);
            }
        }
        assert_eq!(body, b"hello", "{protocol:?}");
    }
}

#[test]
fn an_byte_at_a_time_is_enough_for_those_that_come() {
    let mut lab = Lab::new(1, |options| {
        options.proxy_protocol_from = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let (mut client, server) = MemorySocket::pair(1000);
    lab.memory.accept(server, CLIENT.into());
    let (addr, local) = (
        "198.51.100.7:1".parse().unwrap(),
        "198.51.100.9:2".parse().unwrap(),
    );
    let header = tidegate_net::proxy_header(2, addr, local);
    // Each byte has a turn of its own.
    for byte in [&header, GET].concat() {
        assert_eq!(write(&mut client, &[byte]), 1);
        lab.run();
    }
    let told = lab.told();
    let [
        Told::Opened(conn, Protocol::Http1, info),
        Told::Event(_, Event::Request { id, .. }),
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((info.peer, info.local), (addr, local));
    assert_eq!(info.via, Some(SocketAddr::from(CLIENT)));
    let (conn, id) = (*conn, *id);
    lab.with(move |_, conns| {
        let mut stream = conns.stream(conn, id).unwrap();
        stream
            .respond(&ResponseHead::new(204), Body::Empty)
            .unwrap();
    });
    assert_eq!(read(&mut client), b"HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn what_goes_over_the_wire_is_traced_once() {
    for capacity in [7, 1000, 1 << 20] {
        let mut lab = Lab::new(capacity, |_| {});
        let (conn, mut socket) = lab.connect(Protocol::Http1);
        lab.ask(conn, Body::Full(pattern(200_000)));
        let mut went = Vec::new();
        loop {
            let bytes = read(&mut socket);
            if bytes.is_empty() {
                break;
            }
            went.extend(bytes);
            lab.run();
        }
        assert!(went.ends_with(&pattern(200_000)));
        let answer = [
            &b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"[..],
            &pattern(100_000),
        ]
        .concat();
        let mut rest = &answer[..];
        while !rest.is_empty() {
            rest = &rest[write(&mut socket, rest)..];
            lab.run();
        }
        let traced = lab.memory.service();
        assert!(traced.traced(conn, Direction::Out) == went);
        assert!(traced.traced(conn, Direction::In) == answer);
        assert!(traced.traced.iter().all(|(.., bytes)| !bytes.is_empty()));
        let totals = lab.memory.conns().totals();
        assert_eq!(totals.bytes_sent, went.len() as u64);
        assert_eq!(totals.bytes_received, answer.len() as u64);
    }
}

#[test]
fn a_reset_ends_a_connection_wherever_it_is() {
    // Before the protocol is known, while a request is answered, and in a response.
    let mut lab = Lab::new(1000, |_| {});
    for bytes in [&b""[..], b"GET / HT", GET] {
        let (mut client, server) = MemorySocket::pair(1000);
        lab.memory.accept(server, CLIENT.into());
        write(&mut client, bytes);
        lab.run();
        lab.told();
        client.reset();
        lab.run();
        let told = lab.told();
        let Some(Told::Closed(_, End::Io(error))) = told.last() else {
            panic!("{told:?}");
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let in_the_middle = matches!(
            told[0],
            Told::Event(_, Event::Closed(CloseReason::EofInTheMiddle))
        );
        assert_eq!(in_the_middle, bytes == GET);
    }
    let (conn, mut socket) = lab.connect(Protocol::Http1);
    lab.ask(conn, Body::Empty);
    write(
        &mut socket,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhel",
    );
    lab.run();
    // Bytes that were sent and that nobody has read are lost with the connection.
    write(&mut socket, b"lo");
    socket.reset();
    lab.run();
    let told = lab.told();
    assert!(
        matches!(
            &told[..],
            [
                Told::Event(_, Event::Response { .. }),
                Told::Event(_, Event::Data { end: false, .. }),
                Told::Event(_, Event::Closed(CloseReason::EofInTheMiddle)),
                Told::Closed(_, End::Io(_)),
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn a_peer_that_is_gone_is_noticed_by_writing() {
    let mut lab = Lab::new(1000, |_| {});
    let (conn, mut socket) = lab.connect(Protocol::Http1);
    lab.with(move |_, conns| {
        let engine = conns.engine(conn).unwrap();
        let head = RequestHead::connect("example.org:22");
        engine.open(&head, Body::Stream).unwrap();
    });
    read(&mut socket);
    write(&mut socket, b"HTTP/1.1 200 OK\r\n\r\nhello");
    // This could be the end of its side alone.
    drop(socket);
    lab.run();
    let told = lab.told();
    let ended = |told: &Told| matches!(told, Told::Event(_, Event::Data { end: true, .. }));
    assert!(told.iter().any(ended), "{told:?}");
    assert!(!told.iter().any(|told| matches!(told, Told::Closed(..))));
    for _ in 0..2 {
        lab.with(move |_, conns| {
            if let Some(mut stream) = conns.stream(conn, StreamId::new(1)) {
                stream.write(&mut pattern(5000), false);
            }
        });
    }
    assert!(matches!(lab.closed(), Some(End::Io(_))));
}

#[test]
fn a_response_until_the_end_is_whole_if_that_came_before_a_write_failed_and_all_is_taken() {
    // RFC 9112 §8: "considered complete unless an error was indicated".
    for is_taken in [true, false] {
        let mut config = Config::client();
        config.initial_window_size = 10;
        let mut lab = Lab::new(1000, |_| {});
        let mut dialled = lab.dial(Dial {
            engine: config.build().unwrap(),
            ..dial_plain(UPSTREAM.into(), Protocol::Http1)
        });
        dialled.socket.connect();
        lab.run();
        let conn = lab.opened();
        lab.with(move |watched, conns| {
            watched.consumes = false;
            let head = RequestHead::new("POST", "http", "localhost", "/");
            let engine = conns.engine(conn).unwrap();
            engine.open(&head, Body::Stream).unwrap();
        });
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nmore than ten bytes of it";
        write(&mut dialled.socket, answer);
        dialled.socket.shut_down();
        lab.run();
        // Once there is credit for some of the data, the end is read too.
        lab.with(move |_, conns| conns.stream(conn, StreamId::new(1)).unwrap().consume(10));
        // A write finds the connection broken.
        dialled.socket.reset();
        lab.with(move |watched, conns| {
            watched.give(conns, conn, StreamId::new(1), pattern(1000));
        });
        let mut told = lab.told();
        assert!(!told.iter().any(|told| matches!(told, Told::Closed(..))));
        if is_taken {
            lab.with(move |_, conns| conns.stream(conn, StreamId::new(1)).unwrap().consume(10));
        } else {
            // Nobody waits for that forever.
            lab.wait(Timeouts::default().shutdown);
        }
        told.extend(lab.told());
        let whole = |told: &Told| matches!(told, Told::Event(_, Event::Data { end: true, .. }));
        assert_eq!(told.iter().any(whole), is_taken, "{told:?}");
        assert!(
            matches!(told.last(), Some(Told::Closed(_, End::Io(_)))),
            "{told:?}"
        );
    }
}

#[test]
fn a_graceful_end_says_so_to_those_that_were_dialled() {
    let mut lab = Lab::new(1000, |_| {});
    let (_, mut one) = lab.connect(Protocol::Http1);
    let (_, two) = lab.connect(Protocol::Http2);
    let config = Config::server().build().unwrap();
    let mut two = Peer::new(two, tidegate_http2::Connection::server(config, lab.now));
    let (mut client, server) = MemorySocket::pair(1000);
    lab.memory.accept(server, CLIENT.into());
    write(&mut client, GET);
    lab.run();
    lab.memory.shut_down();
    lab.wait(Duration::from_secs(5));
    two.step(1000, lab.now);
    assert!(!one.is_at_end() && !two.socket.is_at_end());
    let told = lab.told();
    let Some(Told::Event(conn, Event::Request { id, .. })) = told
        .iter()
        .find(|told| matches!(told, Told::Event(_, Event::Request { .. })))
    else {
        panic!("{told:?}");
    };
    let (conn, id) = (*conn, *id);
    lab.enter(move |_, conns| {
        let mut stream = conns.stream(conn, id).unwrap();
        stream
            .respond(&ResponseHead::new(200), Body::Empty)
            .unwrap();
    });
    lab.turn();
    let answer = read(&mut client);
    assert!(answer.ends_with(b"connection: close\r\n\r\n"));
    drop(client);
    // This is the last turn.
    assert!((0..3).any(|_| !lab.turn()));
    two.step(1000, lab.now);
    let told = lab.told();
    let closed = |told: &&Told| matches!(told, Told::Closed(..));
    assert_eq!(told.iter().filter(closed).count(), 3);
    assert!(read(&mut one).is_empty() && one.is_at_end());
    assert!(
        two.events
            .iter()
            .any(|event| matches!(event, Event::GoingAway { .. }))
    );
    assert!(two.socket.is_at_end());
}

/// RFC 9112 §9.6: "A server that does not support persistent connections … SHOULD send the "close"
/// connection option in its final response". A connection that is closed without it may lose a
/// request that is in flight.
#[test]
fn a_graceful_end_waits_for_a_request_that_is_in_flight() {
    let answer = |lab: &mut Lab, client: &mut MemorySocket| {
        write(client, GET);
        lab.run();
        let told = lab.told();
        let request = told.iter().find_map(|told| match told {
            Told::Event(conn, Event::Request { id, .. }) => Some((*conn, *id)),
            _ => None,
        });
        let (conn, id) = request.unwrap();
        lab.with(move |_, conns| {
            let mut stream = conns.stream(conn, id).unwrap();
            let head = ResponseHead::new(200);
            stream.respond(&head, Body::Empty).unwrap();
        });
        String::from_utf8(read(client)).unwrap()
    };
    for is_in_flight in [true, false] {
        let mut lab = Lab::new(1000, |_| {});
        let (mut client, server) = MemorySocket::pair(1000);
        lab.memory.accept(server, CLIENT.into());
        assert!(!answer(&mut lab, &mut client).contains("connection: close"));
        lab.memory.shut_down();
        lab.run();
        assert!(read(&mut client).is_empty() && !client.is_at_end());
        if is_in_flight {
            assert!(answer(&mut lab, &mut client).contains("connection: close"));
        } else {
            lab.wait(Duration::from_millis(250));
            assert!(read(&mut client).is_empty() && !client.is_at_end());
            lab.wait(Duration::from_millis(100));
        }
        assert!(read(&mut client).is_empty() && client.is_at_end());
    }
}

#[test]
fn what_is_dialled_is_in_the_ledger() {
    let ledger = Ledger::new(Limits::none());
    let shared = Arc::clone(&ledger);
    let mut lab = Lab::new(4096, |options| options.ledger = shared);
    let used = || [Resource::Dials, Resource::Descriptors].map(|what| ledger.used(what));
    let mut first = lab.dial(dial_plain(UPSTREAM.into(), Protocol::Http1));
    let mut second = lab.dial(dial_plain(UPSTREAM.into(), Protocol::Http2));
    assert_eq!(used(), [2, 2]);
    first.socket.connect();
    lab.run();
    assert_eq!(used(), [1, 2]);
    second.socket.fail(ErrorKind::ConnectionRefused);
    lab.run();
    assert_eq!(used(), [0, 1]);
    first.socket.reset();
    lab.run();
    assert_eq!((used(), ledger.clients()), ([0, 0], 0));
}
