//! The work of one turn of the loop, its order, and what is left for the next turn: counted, on
//! sockets in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_http::{Body, CloseReason, Config, Event, ResponseHead, Stream, Violation};
use tidegate_net::{ConnId, Conns, MemorySocket, Protocol};
use tidegate_testkit::wire;

use crate::common::{Told, Watched, dial_plain};
use crate::memory::{CLIENT, GET, Lab, read, write};

/// The most events of one connection in one turn.
const AT_ONCE: usize = 64;

/// The events of one kind of connections in one turn, about.
const OF_A_KIND: usize = 256;

/// The requests of a client that floods.
const MANY: usize = 1000;

/// Returns a lab whose service answers all requests at once.
fn answering() -> Lab {
    let mut lab = Lab::new(64 << 10, |options| options.trace = false);
    lab.with(|watched, _| {
        watched.on_request = Some(Box::new(|conns, conn, id| {
            let mut stream = conns.stream(conn, id).unwrap();
            let head = ResponseHead::new(204);
            stream.respond(&head, Body::Empty).unwrap();
        }));
    });
    lab
}

fn client(lab: &mut Lab) -> MemorySocket {
    let (client, server) = MemorySocket::pair(64 << 10);
    lab.memory.accept(server, CLIENT.into());
    client
}

fn requests(told: &[Told]) -> Vec<ConnId> {
    let requests = told.iter().filter_map(|told| match told {
        Told::Event(conn, Event::Request { .. }) => Some(*conn),
        _ => None,
    });
    requests.collect()
}

/// Returns all of a client's requests, for one read.
fn flood(protocol: Protocol) -> Vec<u8> {
    match protocol {
        Protocol::Http1 => GET.repeat(MANY),
        Protocol::Http2 => {
            let mut bytes = wire::PREFACE.to_vec();
            bytes.extend(wire::settings(&[]).to_bytes());
            for number in 0..MANY as u32 {
                // GET / of "a", all from the static table.
                let block = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
                bytes.extend(wire::headers_block(2 * number + 1, block).end().to_bytes());
            }
            bytes
        }
    }
}

#[test]
fn who_floods_gives_way_to_the_others_in_each_turn() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let mut lab = answering();
        let (mut flooder, mut honest) = (client(&mut lab), client(&mut lab));
        let bytes = flood(protocol);
        assert_eq!(write(&mut flooder, &bytes), bytes.len());
        write(&mut honest, GET);
        assert!(lab.turn());
        let told = requests(&lab.told());
        let (last, others) = told.split_last().unwrap();
        assert!(!others.is_empty() && others.len() <= AT_ONCE, "{told:?}");
        assert!(others.iter().all(|conn| conn != last), "{told:?}");
        assert!(read(&mut honest).starts_with(b"HTTP/1.1 204"));

        // A client that arrives later is served before the rest.
        let mut newcomer = client(&mut lab);
        write(&mut newcomer, GET);
        assert!(lab.turn());
        let told = requests(&lab.told());
        let (first, others) = told.split_first().unwrap();
        assert!(!others.is_empty() && others.len() <= AT_ONCE, "{told:?}");
        assert!(others.iter().all(|conn| conn != first), "{told:?}");
        assert!(read(&mut newcomer).starts_with(b"HTTP/1.1 204"));

        // All requests are served, turn by turn.
        let mut count = 2 * AT_ONCE;
        let mut turns = 0;
        while count < MANY {
            assert!(lab.turn());
            let told = requests(&lab.told()).len();
            assert!((1..=AT_ONCE).contains(&told), "{told} after {count}");
            count += told;
            turns += 1;
            while !read(&mut flooder).is_empty() {}
        }
        assert!(turns >= (MANY - 2 * AT_ONCE) / AT_ONCE);
        lab.run();
        assert!(requests(&lab.told()).len() <= AT_ONCE);
    }
}

/// Connects `count` clients that flood, each with all of its requests.
fn flooders(lab: &mut Lab, count: usize) -> Vec<MemorySocket> {
    let bytes = flood(Protocol::Http1);
    let mut flooders = Vec::new();
    for _ in 0..count {
        let mut flooder = client(lab);
        assert_eq!(write(&mut flooder, &bytes), bytes.len());
        flooders.push(flooder);
    }
    flooders
}

#[test]
fn many_who_flood_cost_others_no_more_than_a_few() {
    let mut lab = answering();
    let mut flooders = flooders(&mut lab, 50);
    let first_turns = flooders.len() * AT_ONCE / OF_A_KIND;
    for turn in 0..2 * first_turns {
        let mut newcomer = client(&mut lab);
        write(&mut newcomer, GET);
        assert!(lab.turn());
        let told = requests(&lab.told());
        assert!(told.len() < 2 * (OF_A_KIND + AT_ONCE), "{}", told.len());
        if turn > first_turns {
            // They have had their first turns. A newcomer comes before whatever they have left.
            let answer = read(&mut newcomer);
            assert!(answer.starts_with(b"HTTP/1.1 204"), "turn {turn}");
        }
        for flooder in &mut flooders {
            while !read(flooder).is_empty() {}
        }
    }
}

#[test]
fn a_service_settles_after_each_call_until_nothing_is_left() {
    let mut lab = Lab::new(64 << 10, |options| options.trace = false);
    let log = Arc::new(Mutex::new(Vec::new()));
    let its_log = Arc::clone(&log);
    lab.with(move |watched, _| {
        let left = Arc::clone(&watched.left);
        watched.on_request = Some(Box::new(move |_, _, id| {
            its_log.lock().unwrap().push(("request", id.get()));
            let (first, second) = (Arc::clone(&its_log), Arc::clone(&its_log));
            left.lock().unwrap().push_back(Box::new(move |watched, _| {
                first.lock().unwrap().push(("settled", id.get()));
                // More is left than there was before.
                let more = move |_: &mut Watched, _: &mut Conns| {
                    second.lock().unwrap().push(("settled more", id.get()));
                };
                watched.left.lock().unwrap().push_back(Box::new(more));
            }));
        }));
    });
    let mut client = client(&mut lab);
    let bytes = &flood(Protocol::Http2);
    write(&mut client, bytes);
    lab.turn();
    let log = log.lock().unwrap();
    let words = ["request", "settled", "settled more"];
    let ids = (0..AT_ONCE as u32).map(|n| 2 * n + 1);
    let expected: Vec<_> = ids.flat_map(|id| words.map(|word| (word, id))).collect();
    assert_eq!(log[..], expected[..log.len()]);
    assert!(
        log.len() > AT_ONCE && log.len().is_multiple_of(3),
        "{log:?}"
    );
}

#[test]
fn dials_take_more_of_a_turn_than_events() {
    let mut lab = Lab::new(64 << 10, |options| options.trace = false);
    lab.with(|watched, _| {
        watched.on_request = Some(Box::new(|conns, _, _| {
            conns
                .dial(dial_plain(CLIENT.into(), Protocol::Http1))
                .unwrap();
        }));
    });
    let mut flooder = client(&mut lab);
    let bytes = flood(Protocol::Http2);
    assert_eq!(write(&mut flooder, &bytes), bytes.len());
    let (mut dials, mut turns) = (0, 0);
    // The requests are never answered, so the last of them are refused.
    while dials < 100 {
        assert!(lab.turn());
        let dialled = lab.memory.dialled().len();
        assert!(dialled <= OF_A_KIND / 32 + 1, "{dialled}");
        dials += dialled;
        turns += 1;
    }
    assert!(turns >= 10, "{turns}");
}

#[test]
fn newcomers_without_end_do_not_starve_who_has_more() {
    let mut lab = answering();
    let mut flooder = flooders(&mut lab, 1).remove(0);
    assert!(lab.turn());
    let flooded = requests(&lab.told())[0];
    for _ in 0..10 {
        let mut newcomers = Vec::new();
        for _ in 0..2 * OF_A_KIND {
            let mut newcomer = client(&mut lab);
            write(&mut newcomer, GET);
            newcomers.push(newcomer);
        }
        assert!(lab.turn());
        let told = requests(&lab.told());
        let its = told.iter().filter(|conn| **conn == flooded).count();
        assert_eq!(its, AT_ONCE);
        while !read(&mut flooder).is_empty() {}
    }
}

#[test]
fn what_waits_for_its_turn_is_read_before_its_time_is_up() {
    let second = Duration::from_secs(1);
    let mut config = Config::server();
    config.timeouts.body = second;
    let engine = config.build().unwrap();
    let mut lab = Lab::new(64 << 10, |options| options.engine = engine);
    let [front, back] = upload(Protocol::Http1);
    let mut clients = Vec::new();
    for _ in 0..4 * OF_A_KIND {
        let mut client = client(&mut lab);
        write(&mut client, &front);
        clients.push(client);
    }
    lab.run();
    lab.told();
    // All at once, and a little late, so more than one turn reads.
    for client in &mut clients {
        write(client, &back);
    }
    lab.now += second + Duration::from_millis(100);
    lab.run();
    let told = lab.told();
    let whole = |told: &&Told| matches!(told, Told::Event(_, Event::Data { end: true, .. }));
    assert_eq!(told.iter().filter(whole).count(), clients.len());
}

#[test]
fn many_whose_time_is_up_end_in_several_turns() {
    let mut lab = Lab::new(64 << 10, |options| options.trace = false);
    let clients: Vec<_> = (0..4 * OF_A_KIND).map(|_| client(&mut lab)).collect();
    lab.run();
    lab.now += Duration::from_secs(10) + Duration::from_millis(100);
    let mut turns = 0;
    loop {
        let ended = |clients: &[MemorySocket]| {
            let ended = clients.iter().filter(|client| client.is_at_end());
            ended.count()
        };
        let before = ended(&clients);
        if before == clients.len() {
            break;
        }
        assert!(lab.turn());
        turns += 1;
        let more = ended(&clients) - before;
        assert!((1..=OF_A_KIND).contains(&more), "{more} in turn {turns}");
    }
    assert!(turns >= 4);
}

#[test]
fn what_an_upstream_says_is_told_before_what_clients_ask() {
    // Whichever came first, and whatever it is: an answer that nobody requested, or the end.
    for (unasked, ends) in [(&b"HTTP/1.1 200 OK\r\n\r\n"[..], false), (b"", true)] {
        let mut lab = answering();
        let mut client = client(&mut lab);
        let (upstream, mut socket) = lab.connect(Protocol::Http1);
        write(&mut client, GET);
        write(&mut socket, unasked);
        if ends {
            socket.shut_down();
        }
        assert!(lab.turn());
        let told = lab.told();
        let closed =
            |told: &Told| matches!(told, Told::Event(conn, Event::Closed(_)) if *conn == upstream);
        let asked = |told: &Told| matches!(told, Told::Event(_, Event::Request { .. }));
        let closed = told.iter().position(closed).expect("it is told");
        let asked = told.iter().position(asked).expect("it is told");
        assert!(closed < asked, "{told:?}");
    }
}

#[test]
fn what_has_come_in_behind_a_response_is_known() {
    let mut lab = Lab::new(1000, |_| {});
    let (conn, mut socket) = lab.connect(Protocol::Http1);
    assert!(!lab.memory.conns().has_unread(conn));
    lab.with(move |watched, conns| {
        watched.on_response = Some(Box::new(|conns, conn| assert!(conns.has_unread(conn))));
        let head = tidegate_http::RequestHead::new("GET", "http", "localhost", "/");
        let engine = conns.engine(conn).unwrap();
        engine.open(&head, Body::Empty).unwrap();
    });
    // The response is whole with the first read, which leaves the end in the socket.
    write(&mut socket, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    socket.shut_down();
    lab.run();
    let told = lab.told();
    let response = |told: &Told| matches!(told, Told::Event(_, Event::Response { .. }));
    assert!(told.iter().any(response), "{told:?}");
    assert!(!lab.memory.conns().has_unread(conn), "it is gone");
}

/// Returns the parts of an upload, the second of which comes late.
fn upload(protocol: Protocol) -> [Vec<u8>; 2] {
    match protocol {
        Protocol::Http1 => [
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789".to_vec(),
            b"0123456789".to_vec(),
        ],
        Protocol::Http2 => {
            let block = [0x83, 0x86, 0x84, 0x41, 1, b'a'];
            let mut bytes = wire::PREFACE.to_vec();
            bytes.extend(wire::settings(&[]).to_bytes());
            bytes.extend(wire::settings_ack().to_bytes());
            bytes.extend(wire::headers_block(1, block).to_bytes());
            bytes.extend(wire::data(1, b"0123456789").to_bytes());
            [bytes, wire::data(1, b"0123456789").end().to_bytes()]
        }
    }
}

#[test]
fn what_came_while_the_process_stood_still_is_read_before_time_is_up() {
    let second = Duration::from_secs(1);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        // A little late, like a busy machine, or by hours.
        for late in [Duration::from_millis(100), 7200 * second] {
            let mut config = Config::server();
            config.timeouts.body = second;
            let engine = config.build().unwrap();
            let mut lab = Lab::new(64 << 10, |options| options.engine = engine);
            let mut client = client(&mut lab);
            let [front, back] = upload(protocol);
            write(&mut client, &front);
            lab.run();
            write(&mut client, &back);
            lab.now += second + late;
            lab.run();
            let told = lab.told();
            let whole = |told: &Told| matches!(told, Told::Event(_, Event::Data { end: true, .. }));
            assert!(told.iter().any(whole), "{protocol:?} {late:?}: {told:?}");
            let over = |told: &Told| {
                matches!(
                    told,
                    Told::Closed(..) | Told::Event(_, Event::Reset { .. } | Event::Closed(_))
                )
            };
            assert!(!told.iter().any(over), "{protocol:?} {late:?}: {told:?}");
        }
    }
}

#[test]
fn who_has_said_nothing_after_a_pause_has_a_second_more() {
    let second = Duration::from_secs(1);
    let mut config = Config::server();
    config.timeouts.body = 10 * second;
    let engine = config.build().unwrap();
    let mut lab = Lab::new(64 << 10, |options| options.engine = engine);
    let mut client = client(&mut lab);
    let [front, _] = upload(Protocol::Http1);
    write(&mut client, &front);
    lab.run();
    // Nothing else is due meanwhile.
    lab.wait(2 * second);
    lab.now += 60 * second;
    lab.run();
    lab.wait(second / 2);
    let closed = |told: &Told| matches!(told, Told::Event(_, Event::Closed(_)));
    assert!(!lab.told().iter().any(closed));
    lab.wait(second);
    let told = lab.told();
    let timed_out = |told: &Told| {
        matches!(
            told,
            Told::Event(
                _,
                Event::Closed(CloseReason::Violation(Violation::BodyTimedOut))
            )
        )
    };
    assert!(told.iter().any(timed_out), "{told:?}");
}

#[test]
fn a_graceful_end_waits_a_moment_for_the_first_request_of_who_just_came() {
    let mut lab = answering();
    let (mut asks, mut silent) = (client(&mut lab), client(&mut lab));
    lab.run();
    lab.memory.shut_down();
    lab.wait(Duration::from_millis(500));
    assert!(!asks.is_at_end() && !silent.is_at_end());
    write(&mut asks, GET);
    lab.run();
    assert!(read(&mut asks).starts_with(b"HTTP/1.1 204"));
    assert!(asks.is_at_end());
    asks.shut_down();
    lab.wait(Duration::from_millis(400));
    assert!(!silent.is_at_end());
    lab.wait(Duration::from_millis(200));
    assert!(silent.is_at_end() && read(&mut silent).is_empty());
}
