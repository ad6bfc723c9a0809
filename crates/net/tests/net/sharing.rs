//! Resources that clients share, on sockets in memory: admission, and which connection makes room.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidegate_http::engine::REST_AFTER;
use tidegate_http::{Body, Config, Event, MemoryBudget, ResponseHead, Stream, StreamId};
use tidegate_ledger::{ClientKey, Lease, Ledger, Limits, Mode, Resource, Rule};
use tidegate_net::{
    ConnId, Conns, Engine, MemoryLoop, MemorySocket, Options, Service, TlsAcceptorConfig, Totals,
    proxy_header,
};
use tidegate_testkit::tls::Certificate;

use crate::common::run_until_rest;

/// The preface of HTTP/2 and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A service that answers everything but `/hold`.
#[derive(Default)]
struct Holder {
    held: Vec<(ConnId, StreamId)>,
}

impl Service for Holder {
    type Message = ();

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: Event) {
        match event {
            Event::Request { id, head, .. } if head.path() == "/hold" => self.held.push((conn, id)),
            Event::Request { id, .. } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    let body = Body::Full(Bytes::from_static(b"hello"));
                    stream.respond(&ResponseHead::new(200), body).unwrap();
                }
            }
            // Data that is sent to `/hold` isn't consumed.
            Event::Data { id, .. } if self.held.contains(&(conn, id)) => {}
            Event::Data { id, data, .. } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.consume(data.len());
                }
            }
            Event::Reset { id, .. } => {
                if let Some(mut stream) = conns.stream(conn, id) {
                    stream.release();
                }
            }
            _ => {}
        }
    }
}

struct Lab {
    memory: MemoryLoop<Holder>,
    ledger: Arc<Ledger>,
    now: Instant,
}

impl Lab {
    fn new(limits: Limits, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(Config::server().build().unwrap());
        options.ledger = Ledger::new(limits);
        change(&mut options);
        let ledger = Arc::clone(&options.ledger);
        let now = Instant::now();
        let memory = MemoryLoop::new(options, Holder::default(), 1 << 16, now).unwrap();
        Self {
            memory,
            ledger,
            now,
        }
    }

    fn with_connections(most: u64) -> Self {
        Self::new(limits(most), |_| {})
    }

    fn run(&mut self) {
        self.now += Duration::from_millis(1);
        run_until_rest(&mut self.memory, self.now);
    }

    /// Connects from 10.0.0.`client` and sends these bytes.
    fn connect(&mut self, client: u8, words: &[u8]) -> Peer {
        let (ours, theirs) = MemorySocket::pair(1 << 16);
        let addr = SocketAddr::from((Ipv4Addr::new(10, 0, 0, client), 4711));
        self.memory.accept(theirs, addr);
        let mut peer = Peer(ours);
        if !peer.is_closed() {
            peer.say(words);
        }
        self.run();
        peer
    }

    fn totals(&self) -> Totals {
        self.memory.conns().totals()
    }

    fn used(&self) -> u64 {
        self.ledger.used(Resource::Connections)
    }
}

fn limits(most: u64) -> Limits {
    Limits::none().with(Resource::Connections, Rule::new(most))
}

struct Peer(MemorySocket);

impl Peer {
    fn say(&mut self, words: &[u8]) {
        assert_eq!(self.0.write(&[IoSlice::new(words)]).unwrap(), words.len());
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut room = [0; 1 << 16];
        let count = self.0.read(&mut room).unwrap_or(0);
        room[..count].to_vec()
    }

    /// Returns the SETTINGS and GOAWAY frames that have arrived since.
    fn told(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut frames = frames(&self.hear());
        frames.retain(|(kind, _)| matches!(*kind, SETTINGS | GOAWAY));
        frames
    }

    fn is_answered(&mut self) -> bool {
        self.hear().starts_with(b"HTTP/1.1 200 ")
    }

    fn is_closed(&self) -> bool {
        self.0.is_at_end()
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

#[test]
fn alone_a_client_has_nearly_all_and_a_newcomer_finds_room() {
    let mut lab = Lab::with_connections(90);
    let mut held: Vec<Peer> = (0..100).map(|_| lab.connect(1, &get("/hold"))).collect();
    let open = held.iter().filter(|peer| !peer.is_closed()).count();
    assert_eq!(
        (open, lab.totals().refused),
        (80, 20),
        "busy ones never make room"
    );
    assert!(lab.connect(2, &get("/")).is_answered());
    for peer in &mut held {
        peer.0.reset();
    }
    lab.run();
    assert_eq!((lab.used(), lab.ledger.clients()), (0, 0));
}

#[test]
fn the_connection_idle_longest_of_who_has_most_makes_room() {
    let mut lab = Lab::with_connections(7);
    let mut lone = lab.connect(2, &get("/"));
    let mut many: Vec<Peer> = (0..5).map(|_| lab.connect(1, &get("/"))).collect();
    // Another request makes the second connection the one idle longest.
    many[0].say(&get("/"));
    lab.run();
    // One place is kept for clients that hold nothing.
    let mut held: Vec<Peer> = (3..5)
        .map(|client| lab.connect(client, &get("/")))
        .collect();
    assert!(held.iter_mut().all(Peer::is_answered));
    let closed: Vec<_> = many
        .iter_mut()
        .map(|peer| {
            peer.hear();
            peer.is_closed()
        })
        .collect();
    assert_eq!(closed, [false, true, false, false, false]);
    assert!(lone.is_answered() && !lone.is_closed());
    assert_eq!(
        (lab.totals().made_room, lab.totals().refused, lab.used()),
        (1, 0, 7)
    );
}

#[test]
fn who_has_many_at_another_worker_takes_no_newcomers_connection_here() {
    let mut there = Lab::with_connections(8);
    let ledger = Arc::clone(&there.ledger);
    let mut here = Lab::new(limits(8), |options| options.ledger = ledger);
    let greedy: Vec<Peer> = (0..7).map(|_| there.connect(1, &get("/hold"))).collect();
    assert!(greedy.iter().all(|peer| !peer.is_closed()));
    // The newcomer's request is still in flight.
    let mut newcomer = here.connect(2, b"");
    let one_more = here.connect(1, b"");
    // The newcomer waits this long for the other worker to make room.
    for _ in 0..600 {
        here.run();
    }
    assert!(one_more.is_closed() && !newcomer.is_closed());
    newcomer.say(&get("/"));
    here.run();
    assert!(newcomer.is_answered());
    assert_eq!((here.totals().made_room, here.totals().refused), (0, 1));
}

#[test]
fn who_never_asked_for_anything_makes_room_before_who_did() {
    let mut lab = Lab::with_connections(4);
    let mut asked = lab.connect(1, &get("/"));
    let mut greeted = lab.connect(1, PREFACE);
    let silent = lab.connect(1, b"");
    let begun = lab.connect(1, b"GET / HT");
    for (number, expected) in [(2, [true, false, false]), (3, [true, true, false])] {
        assert!(lab.connect(number, &get("/hold")).hear().is_empty());
        greeted.hear();
        let closed = [greeted.is_closed(), silent.is_closed(), begun.is_closed()];
        assert_eq!(closed, expected);
    }
    asked.hear();
    assert!(!asked.is_closed());
}

#[test]
fn its_own_idle_connection_makes_room_for_a_client_that_has_its_share() {
    let limits = Limits::none().with(Resource::Connections, Rule::new(0).per_client(2));
    let mut lab = Lab::new(limits, |_| {});
    let mut first = lab.connect(1, &get("/"));
    let mut second = lab.connect(1, &get("/hold"));
    let mut other = lab.connect(2, &get("/"));
    assert!(lab.connect(1, &get("/hold")).hear().is_empty());
    assert!(first.is_answered() && first.is_closed());
    assert!(other.is_answered() && !other.is_closed());
    assert!(lab.connect(1, &get("/")).is_closed(), "both are busy");
    assert!(second.hear().is_empty() && !second.is_closed());
}

#[test]
fn a_last_word_tells_a_client_of_http2_that_nothing_was_lost() {
    let mut lab = Lab::with_connections(1);
    let mut first = lab.connect(1, PREFACE);
    first.hear();
    assert!(lab.connect(1, &get("/")).is_answered());
    // GOAWAY with NO_ERROR, before any stream, and the reason as debug data.
    let reason = b"idle, and its place is needed";
    let mut goaway = vec![0, 0, 8 + reason.len() as u8, 7, 0, 0, 0, 0, 0];
    goaway.extend([0; 8]);
    goaway.extend(reason);
    assert_eq!(first.hear(), goaway);
    assert!(first.is_closed());
}

#[test]
fn connections_make_room_where_files_and_upstreams_have_the_descriptors() {
    let limits = Limits::none().with(Resource::Descriptors, Rule::new(8).reserve(0, 1));
    let mut lab = Lab::new(limits, |_| {});
    let nobody = lab.ledger.nobody();
    nobody.force(Resource::Descriptors, 5);
    let mut held: Vec<Peer> = [1, 1, 2].map(|n| lab.connect(n, &get("/"))).into();
    assert!(held.iter_mut().all(Peer::is_answered));
    assert_eq!(lab.ledger.used(Resource::Descriptors), 8);
    let mut newcomer = lab.connect(3, &get("/"));
    assert!(newcomer.is_answered());
    let closed: Vec<bool> = held.iter().map(Peer::is_closed).collect();
    assert_eq!(closed, [true, false, false]);
    assert_eq!(
        (
            lab.totals().made_room,
            lab.ledger.used(Resource::Descriptors)
        ),
        (1, 8)
    );
    // A client that has as much as the others gets no more while its connections are busy.
    held[1].say(&get("/hold"));
    lab.run();
    assert!(lab.connect(1, &get("/")).is_closed());
    nobody.give(Resource::Descriptors, 5);
    assert!(lab.connect(1, &get("/")).is_answered());
}

#[test]
fn a_client_has_no_more_requests_in_progress_than_allowed() {
    let limits = Limits::none().with(Resource::Requests, Rule::new(0).per_client(2));
    let mut lab = Lab::new(limits, |_| {});
    let mut first = lab.connect(1, &get("/hold"));
    let mut second = lab.connect(1, &get("/hold"));
    // The client is refused on another connection of its own too.
    let refused = lab.connect(1, &get("/hold")).hear();
    let refused = String::from_utf8_lossy(&refused);
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(lab.connect(2, &get("/hold")).hear().is_empty());
    assert_eq!(lab.ledger.used(Resource::Requests), 3);
    let mut http2 = lab.connect(1, &[PREFACE, &hold_http2(1)].concat());
    assert_eq!(refused_streams(&http2.hear()), 1);
    assert_eq!(lab.totals().requests_refused, 2);
    // However a request ends, its place is free.
    first.0.reset();
    lab.run();
    assert!(lab.connect(1, &get("/")).is_answered());
    second.0.reset();
    lab.run();
    assert_eq!(lab.ledger.used(Resource::Requests), 1);
}

/// HEADERS of `GET /hold` over HTTP/2.
fn hold_http2(stream: u8) -> Vec<u8> {
    let block = b"\x82\x86\x04\x05/hold\x01\x01a";
    let mut words = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream];
    words.extend_from_slice(block);
    words
}

/// Returns the number of streams that were reset with REFUSED_STREAM.
fn refused_streams(heard: &[u8]) -> usize {
    let frame = |window: &&[u8]| {
        window.starts_with(&[0, 0, 4, 3, 0]) && window.ends_with(&[0, 0, 0, REFUSED_STREAM])
    };
    heard.windows(13).filter(frame).count()
}

#[test]
fn of_all_requests_in_progress_who_has_most_is_refused_first() {
    let limits = Limits::none().with(Resource::Requests, Rule::new(64));
    let mut lab = Lab::new(limits, |_| {});
    // With 57 held, 7 are free. Another one would be more than 8 times as many.
    let all: Vec<u8> = (0..60).flat_map(|n| hold_http2(2 * n + 1)).collect();
    let mut greedy = lab.connect(1, &[PREFACE, &all].concat());
    assert_eq!(lab.ledger.used(Resource::Requests), 57);
    assert_eq!(refused_streams(&greedy.hear()), 3);
    let status = |peer: &mut Peer| String::from_utf8_lossy(&peer.hear()).into_owned();
    let refused = status(&mut lab.connect(1, &get("/hold")));
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    // Newcomers find room. One of them gets the last place, which is only for clients that have
    // none.
    let mut others: Vec<Peer> = (2..8).map(|n| lab.connect(n, &get("/hold"))).collect();
    let refused = status(&mut lab.connect(2, &get("/hold")));
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    others.push(lab.connect(9, &get("/hold")));
    assert!(others.iter_mut().all(|peer| peer.hear().is_empty()));
    assert_eq!(lab.ledger.used(Resource::Requests), 64);
    let refused = status(&mut lab.connect(10, &get("/hold")));
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    // However requests end, their places are free.
    greedy.0.reset();
    for peer in &mut others {
        peer.0.reset();
    }
    lab.run();
    assert_eq!(lab.ledger.used(Resource::Requests), 0);
    assert!(lab.connect(10, &get("/")).is_answered());
}

#[test]
fn places_for_requests_are_taken_in_batches_only_while_there_are_plenty() {
    let limits = Limits::none().with(Resource::Requests, Rule::new(6400));
    let mut lab = Lab::new(limits, |_| {});
    let mut first = lab.connect(1, &[PREFACE, &hold_http2(1)].concat());
    let ahead = lab.ledger.used(Resource::Requests);
    assert!((2..=10).contains(&ahead), "{ahead}");
    first.say(&hold_http2(3));
    lab.run();
    assert_eq!(lab.ledger.used(Resource::Requests), ahead);
    // A client without requests keeps nothing.
    for stream in [1, 3] {
        first.say(&[0, 0, 4, 3, 0, 0, 0, 0, stream, 0, 0, 0, 8]);
    }
    lab.run();
    assert_eq!(lab.ledger.used(Resource::Requests), 0);
}

#[test]
fn who_holds_too_much_memory_is_not_read_until_some_is_free() {
    let mut lab = Lab::with_memory(Mode::Enforce);
    let post = b"POST /hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65535\r\n\r\n";
    let body = vec![b'x'; 60_000];
    let mut held: Vec<Peer> = (0..40).map(|_| lab.connect(1, post)).collect();
    for peer in &mut held {
        peer.say(&body);
        lab.run();
    }
    let used = lab.ledger.used(Resource::Bytes);
    assert!(used <= 1 << 20, "{used}");
    let unread = held.iter().filter(|peer| peer.0.room() < 1 << 15).count();
    assert!(unread > 10, "{unread} wait");
    // Another client is served all the same.
    assert!(lab.connect(2, &get("/")).is_answered());
    // Connections that wait look again, and are read as others give back what they hold.
    for _ in 0..10 {
        for peer in held.iter_mut().filter(|peer| peer.0.room() == 1 << 16) {
            peer.0.reset();
        }
        for _ in 0..10 {
            lab.now += Duration::from_millis(20);
            lab.run();
        }
    }
    assert!(held.iter().all(|peer| peer.0.is_failed()));
    assert_eq!(lab.ledger.used(Resource::Bytes), 0);
}

/// Returns the beginning of a ClientHello of 60,000 bytes.
fn endless_hello() -> Vec<u8> {
    let mut hello = vec![1];
    hello.extend(&60_000_u32.to_be_bytes()[1..]);
    hello.resize(48_000, 0);
    let records = hello.chunks(16_000).map(|part| {
        let [len_high, len_low] = (part.len() as u16).to_be_bytes();
        [&[22, 3, 1, len_high, len_low][..], part].concat()
    });
    records.flatten().collect()
}

#[test]
fn what_comes_before_a_handshake_is_done_counts_too() {
    let made = Certificate::localhost();
    let config = TlsAcceptorConfig::from_pem(made.pem.as_bytes(), made.key.as_bytes()).unwrap();
    // The beginning of a request line may be of either protocol, or of TLS.
    for (is_tls, words) in [(true, endless_hello()), (false, vec![b'A'; 8000])] {
        let mut lab = Lab::with_memory(Mode::Enforce);
        let addr = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 4711));
        let mut held = Vec::new();
        for _ in 0..200 {
            let (ours, theirs) = MemorySocket::pair(1 << 16);
            if is_tls {
                let accepted = lab.memory.accept_tls(theirs, addr, &config, lab.now);
                accepted.unwrap();
            } else {
                lab.memory.accept(theirs, addr);
            }
            let mut peer = Peer(ours);
            peer.say(&words);
            lab.run();
            held.push(peer);
            let open = held.iter().filter(|peer| !peer.is_closed()).count();
            let used = lab.ledger.used(Resource::Bytes) as usize;
            assert!(
                open * words.len() <= used && used <= 1 << 20,
                "{open}, {used}"
            );
        }
        // The first connections made room for the last ones, and another client finds some.
        assert!(held[0].is_closed() && !held[199].is_closed());
        assert!(lab.connect(2, &get("/")).is_answered());
        for peer in &mut held {
            peer.0.reset();
        }
        lab.run();
        assert_eq!(lab.ledger.used(Resource::Bytes), 0);
    }
}

/// Returns the HEADERS of `POST /hold` over HTTP/2, and this much of its body.
fn post_http2(stream: u8, body: usize) -> Vec<u8> {
    let block = b"\x83\x86\x04\x05/hold\x01\x01a";
    let mut words = vec![0, 0, block.len() as u8, 1, 4, 0, 0, 0, stream];
    words.extend_from_slice(block);
    let mut left = body;
    while left > 0 {
        let count = left.min(16_384);
        let [.., a, b, c] = (count as u32).to_be_bytes();
        words.extend([a, b, c, 0, 0, 0, 0, 0, stream]);
        words.resize(words.len() + count, b'x');
        left -= count;
    }
    words
}

/// Returns the types and payloads of frames.
fn frames(mut words: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = words {
        let (payload, behind) = rest.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
        frames.push((*kind, payload.to_vec()));
        words = behind;
    }
    frames
}

/// Returns SETTINGS with this many streams.
fn streams(most: u8) -> (u8, Vec<u8>) {
    (4, vec![0, 3, 0, 0, 0, most])
}

const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const REFUSED_STREAM: u8 = 7;
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

impl Lab {
    /// Returns a lab whose memory budget is 1 MiB.
    fn with_memory(mode: Mode) -> Self {
        let limits = MemoryBudget::limits(Limits::none().mode(mode), 1 << 20);
        let mut lab = Self::new(limits, |_| {});
        let mut options = Options::new(Config::server().build().unwrap());
        let mut config = Config::server();
        config.memory_budget = Some(MemoryBudget::of(&lab.ledger));
        options.engine = config.build().unwrap();
        options.ledger = Arc::clone(&lab.ledger);
        lab.memory = MemoryLoop::new(options, Holder::default(), 1 << 16, lab.now).unwrap();
        lab
    }

    /// Lets time pass until `is_true`.
    fn until(&mut self, mut is_true: impl FnMut(&Self) -> bool) {
        for _ in 0..500 {
            if is_true(self) {
                return;
            }
            self.now += Duration::from_millis(20);
            self.run();
        }
        panic!("it never is true");
    }

    /// Opens connections of this client, each of which holds about as many bytes as the one before,
    /// until memory is tight.
    fn fill(&mut self, client: u8) -> Vec<Peer> {
        let mut held = Vec::new();
        while !self.ledger.is_tight(Resource::Bytes) {
            let mut peer = self.connect(client, &[PREFACE, SETTINGS_ACK].concat());
            peer.hear();
            peer.say(&post_http2(1, 60_000));
            self.run();
            peer.hear();
            held.push(peer);
            assert!(held.len() < 100, "memory is never tight");
        }
        held
    }
}

#[test]
fn who_holds_most_memory_has_fewer_streams_and_then_fewer_connections() {
    let mut lab = Lab::with_memory(Mode::Enforce);
    let mut other = lab.connect(2, &get("/hold"));
    let mut held = lab.fill(1);
    let mut told = Vec::new();
    lab.until(|_| {
        told = held.iter_mut().flat_map(Peer::told).collect();
        !told.is_empty()
    });
    assert_eq!(told, vec![streams(13); held.len()]);
    assert_eq!(lab.totals().drained_for_memory, 0);
    // One connection a second is drained, of those that are still open; requests in progress there
    // go on.
    lab.until(|lab| lab.totals().drained_for_memory == 2);
    let ended: Vec<usize> = (0..held.len())
        .filter(|index| {
            let told = held[*index].told();
            told.iter().any(|(kind, _)| *kind == GOAWAY)
        })
        .collect();
    assert_eq!(ended.len(), 2);
    assert!(held.iter().all(|peer| !peer.is_closed()));
    assert!(!other.is_closed() && other.hear().is_empty());
    // With memory again, connections that are left have as many streams as ever.
    let mut left: Vec<Peer> = Vec::new();
    for (index, mut peer) in held.into_iter().enumerate() {
        if ended.contains(&index) || left.len() >= 3 {
            peer.0.reset();
        } else {
            peer.say(SETTINGS_ACK);
            left.push(peer);
        }
    }
    lab.until(|_| {
        told = left.iter_mut().flat_map(Peer::told).collect();
        !told.is_empty()
    });
    assert_eq!(told, vec![streams(100); left.len()]);
}

#[test]
fn a_request_to_a_connection_at_rest_waits_until_there_is_memory() {
    let mut lab = Lab::with_memory(Mode::Enforce);
    let mut peer = lab.connect(2, &[PREFACE, SETTINGS_ACK].concat());
    peer.hear();
    lab.now += 2 * REST_AFTER;
    lab.run();
    let is_resting = |lab: &Lab| {
        let conns = lab.memory.conns();
        let conn = conns.iter().next().expect("it is open");
        matches!(conns.engine_ref(conn), Some(Engine::Resting(_)))
    };
    assert!(is_resting(&lab));
    // Another client's connections, at another worker, hold all that there is.
    let key = ClientKey::from(IpAddr::from(Ipv4Addr::new(10, 0, 0, 1)));
    let mut all = Lease::new(lab.ledger.client(key), Resource::Bytes);
    all.force(2 << 20);
    let get = b"\0\0\x0e\x01\x05\0\0\0\x01\x82\x86\x84\x01\x09localhost";
    peer.say(get);
    let end = lab.now + 4 * REST_AFTER;
    lab.until(|lab| lab.now >= end);
    assert_eq!((frames(&peer.hear()), is_resting(&lab)), (vec![], false));
    drop(all);
    let mut answer = Vec::new();
    lab.until(|_| {
        answer.extend(peer.hear());
        answer.ends_with(b"hello")
    });
    lab.now += 2 * REST_AFTER;
    lab.run();
    assert!(is_resting(&lab));
}

#[test]
fn a_client_that_is_alone_is_left_in_peace_and_so_is_one_whose_shares_are_off() {
    for (mode, others) in [(Mode::Enforce, 0), (Mode::Log, 1), (Mode::Off, 1)] {
        let mut lab = Lab::with_memory(mode);
        let _others: Vec<Peer> = (0..others).map(|_| lab.connect(2, &get("/hold"))).collect();
        let mut held = lab.fill(1);
        let end = lab.now + Duration::from_secs(5);
        lab.until(|lab| lab.now >= end);
        for peer in &mut held {
            assert_eq!(peer.told(), [], "{mode:?}");
        }
    }
}

#[test]
fn a_connection_through_a_proxy_is_its_clients() {
    let limits = Limits::none().with(Resource::Connections, Rule::new(0).per_client(1));
    let mut lab = Lab::new(limits, |options| {
        options.proxy_protocol_from = vec!["10.0.0.9/32".parse().unwrap()];
    });
    let words = |client: u8, path: &str| {
        let [from, to] = [(client, 4711), (200, 443)]
            .map(|(last, port)| SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), port)));
        [proxy_header(2, from, to), get(path)].concat()
    };
    assert!(lab.connect(9, &words(1, "/hold")).hear().is_empty());
    let mut idle = lab.connect(9, &words(2, "/"));
    assert!(idle.is_answered());
    assert!(lab.connect(9, &words(2, "/")).is_answered());
    assert!(idle.is_closed());
    assert_eq!(lab.ledger.clients(), 2);
    let mut refused = lab.connect(9, &words(1, "/"));
    assert!(!refused.is_answered() && refused.is_closed());
}

#[test]
fn requests_that_a_peer_makes_for_others_are_for_the_service_to_count() {
    let limits = Limits::none().with(Resource::Requests, Rule::new(0).per_client(1));
    let mut lab = Lab::new(limits, |options| {
        options.makes_requests_for_others = vec!["10.0.0.8/31".parse().unwrap()];
        options.proxy_protocol_from = vec!["10.0.0.9/32".parse().unwrap()];
    });
    let mut held: Vec<Peer> = (0..3).map(|_| lab.connect(8, &get("/hold"))).collect();
    assert!(held.iter_mut().all(|peer| peer.hear().is_empty()));
    assert_eq!(lab.ledger.used(Resource::Requests), 0);
    // The peer is the client that a PROXY header names.
    let words = |client: [u8; 4]| {
        let from = SocketAddr::from((client, 4711));
        [
            proxy_header(2, from, ([10, 0, 0, 200], 443).into()),
            get("/hold"),
        ]
        .concat()
    };
    let mut stranger = [
        lab.connect(9, &words([192, 0, 2, 1])),
        lab.connect(9, &words([192, 0, 2, 1])),
    ];
    let refused: Vec<bool> = stranger
        .iter_mut()
        .map(|peer| peer.hear().starts_with(b"HTTP/1.1 429 "))
        .collect();
    assert_eq!(refused, [false, true]);
    for client in [[10, 0, 0, 8], [10, 0, 0, 9]] {
        for _ in 0..2 {
            assert!(lab.connect(9, &words(client)).hear().is_empty());
        }
    }
    assert_eq!(lab.ledger.used(Resource::Requests), 1);
}
