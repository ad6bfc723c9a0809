//! Addresses that fail: they are skipped, and tried again.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_http::{Body, ErrorCode};
use tidegate_pool::{Failure, Security, UpstreamId};

use crate::lab::{Key, Lab, Server, addr, ask, get};

fn lab() -> Lab {
    lab_with(100, 350)
}

/// The milliseconds for which an address is skipped at first, and at most.
fn lab_with(backoff: u64, max_backoff: u64) -> Lab {
    Lab::new(|options, _| {
        options.backoff = Duration::from_millis(backoff);
        options.max_backoff = Duration::from_millis(max_backoff);
        options.max_faults = 3;
        options.request_timeout = Duration::from_secs(10);
    })
}

/// Returns the addresses to which connections are being opened.
fn dialled(lab: &Lab) -> Vec<SocketAddr> {
    lab.dialled.iter().map(|dialled| dialled.addr).collect()
}

#[test]
fn a_request_goes_from_address_to_address() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 3);
        let key = lab.ask(get(upstream));
        let mut refused: Vec<SocketAddr> = (0..2).map(|_| lab.refuse()).collect();
        assert_eq!(lab.failure(key), None);
        refused.extend(dialled(&lab));
        refused.sort();
        assert_eq!(refused, [addr(1), addr(2), addr(3)]);
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
        let stats = lab.stats();
        assert_eq!(
            (stats.connected, stats.connect_failures, stats.retried),
            (1, 2, 0)
        );
    }
}

#[test]
fn where_all_addresses_fail_each_request_tries_them_all_at_once() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 2);
        for round in 1..=5 {
            let key = lab.ask(get(upstream));
            let addresses = [lab.refuse(), lab.refuse()];
            assert_ne!(addresses[0], addresses[1]);
            let Some(Failure::Connect(last, _)) = lab.failure(key) else {
                panic!("{:?}", lab.failure(key));
            };
            assert_eq!(last, addresses[1]);
            assert!(lab.dialled.is_empty());
            assert_eq!((lab.stats().open, lab.stats().failed), (0, round));
        }
        // One of them is back: the next request is answered without a pause.
        let key = lab.ask(get(upstream));
        lab.refuse();
        let server = match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_h2(),
        };
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
}

#[test]
fn requests_that_wait_for_an_address_which_failed_share_one_dial() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security, 1);
        lab.ask(get(upstream));
        lab.refuse();
        let keys: Vec<Key> = (0..20).map(|_| lab.ask(get(upstream))).collect();
        assert_eq!(lab.dialled.len(), 1);
        lab.refuse();
        assert!(keys.iter().all(|key| lab.failure(*key).is_some()));
    }
}

#[test]
fn those_that_wait_together_go_on_together() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security, 2);
        let keys: Vec<Key> = (0..20).map(|_| lab.ask(get(upstream))).collect();
        while !lab.dialled.is_empty() {
            lab.refuse();
        }
        for key in keys {
            let failure = lab.failure(key);
            assert!(matches!(failure, Some(Failure::Connect(..))), "{failure:?}");
        }
        assert_eq!(lab.stats().open, 0);
    }
}

#[test]
fn an_address_that_fails_is_skipped_while_there_is_another_and_then_tried_again() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::H2c, 2);
    let key = lab.ask(get(upstream));
    let bad = lab.refuse();
    let server = lab.accept_h2();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    for _ in 0..10 {
        lab.ask(get(upstream));
        lab.respond(server, 200, Body::Empty);
        lab.wait_ms(5);
    }
    assert!(lab.dialled.is_empty());
    // After the pause one request tries it, although the other address does well.
    lab.wait_ms(100);
    let under_way: Vec<Key> = (0..10).map(|_| lab.ask(get(upstream))).collect();
    assert_eq!(dialled(&lab), [bad]);
    assert_eq!(lab.servers[server].open(), 9);
    // Only that request waits for the result. It goes elsewhere if the address fails again.
    lab.refuse();
    assert_eq!(lab.servers[server].open(), 10);
    for _ in 0..10 {
        lab.respond(server, 200, Body::Empty);
    }
    for key in under_way {
        assert_eq!(lab.status(key), Some(200));
    }
    // The pause was 200 ms this time. Then the address is back, and gets its part.
    lab.wait_ms(199);
    lab.ask(get(upstream));
    lab.ask(get(upstream));
    assert!(lab.dialled.is_empty());
    lab.respond(server, 200, Body::Empty);
    lab.respond(server, 200, Body::Empty);
    lab.wait_ms(1);
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    assert_eq!(dialled(&lab), [bad]);
    let back = lab.accept_h2();
    lab.respond(back, 200, Body::Empty);
    lab.respond(server, 200, Body::Empty);
    for _ in 0..10 {
        lab.ask(get(upstream));
    }
    assert_eq!(
        (lab.servers[back].open(), lab.servers[server].open()),
        (5, 5)
    );
}

#[test]
fn the_address_with_the_least_to_do_is_chosen() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::H2c, 3);
    for _ in 0..3 {
        lab.ask(get(upstream));
    }
    let mut addresses = dialled(&lab);
    addresses.sort();
    assert_eq!(addresses, [addr(1), addr(2), addr(3)]);
    for _ in 0..3 {
        lab.accept_h2();
    }
    for _ in 0..6 {
        lab.ask(get(upstream));
    }
    let open = |lab: &Lab| {
        let open: Vec<usize> = lab.servers.iter().map(Server::open).collect();
        open
    };
    assert_eq!(open(&lab), [3, 3, 3]);
    // The quicker address gets more.
    for _ in 0..3 {
        lab.respond(1, 200, Body::Empty);
    }
    for _ in 0..3 {
        lab.ask(get(upstream));
    }
    assert_eq!(open(&lab), [3, 3, 3]);
    assert!(lab.dialled.is_empty());
}

#[test]
fn one_of_two_that_answer_nothing_is_always_there() {
    let mut lab = lab_with(5000, 5000);
    let upstream = lab.upstream(Security::H2c, 2);
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    lab.accept_h2();
    lab.accept_h2();
    lab.respond(0, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    // Both leave as many requests unanswered. The first that reaches the limit is skipped; the
    // other isn't.
    time_out(&mut lab, upstream, 6);
    let keys: Vec<Key> = (0..5).map(|_| lab.ask(get(upstream))).collect();
    let mut open: Vec<usize> = lab.servers.iter().map(Server::open).collect();
    let there = usize::from(open[0] < open[1]);
    open.sort_unstable();
    assert_eq!(open, [0, 5]);
    for (nth, key) in keys.into_iter().enumerate() {
        let id = lab.servers[there].requests[4 + nth].id;
        lab.respond_to(there, id, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
    // The skipped address is tried again and does well. Then both share the requests.
    lab.wait_ms(5000);
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    for server in [0, 1] {
        let id = lab.servers[server].requests.last().expect("it is there").id;
        lab.respond_to(server, id, 200, Body::Empty);
    }
    let before: Vec<usize> = lab
        .servers
        .iter()
        .map(|server| server.requests.len())
        .collect();
    for _ in 0..8 {
        lab.ask(get(upstream));
    }
    let after = lab.servers.iter().map(|server| server.requests.len());
    let more: Vec<usize> = after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect();
    assert_eq!(more, [4, 4]);
    lab.cut(0, true);
    lab.cut(1, true);
    let key = lab.ask(get(upstream));
    lab.refuse();
    lab.refuse();
    assert!(matches!(lab.failure(key), Some(Failure::Connect(..))));
}

#[test]
fn what_is_sent_again_counts_where_it_went() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::H2c, 2);
    let keys: Vec<Key> = (0..6).map(|_| lab.ask(get(upstream))).collect();
    lab.accept_h2();
    lab.accept_h2();
    for _ in 0..3 {
        lab.refuse_stream(0);
    }
    // They go to the other address, or to another connection to the same one.
    while !lab.dialled.is_empty() {
        lab.accept_h2();
    }
    for server in 0..lab.servers.len() {
        while lab.servers[server].open() > 0 {
            lab.respond(server, 200, Body::Empty);
        }
    }
    for key in keys {
        assert_eq!(lab.status(key), Some(200));
    }
    assert_eq!(lab.stats().retried, 3);
    for _ in 0..10 {
        lab.ask(get(upstream));
    }
    let at_the_second = lab.servers[1].open();
    assert_eq!(at_the_second, 5);
}

/// Lets `count` requests, and those in progress, run into their timeout.
fn time_out(lab: &mut Lab, upstream: UpstreamId, count: usize) {
    let keys: Vec<Key> = (0..count).map(|_| lab.ask(get(upstream))).collect();
    lab.wait_ms(11_500);
    for key in keys {
        assert_eq!(lab.failure(key), Some(Failure::TimedOut));
    }
}

/// Returns the newest connection on which a request waits for an answer.
fn asked(lab: &Lab) -> usize {
    let is_asked = |server: &Server| server.socket().is_some() && server.open() > 0;
    lab.servers
        .iter()
        .rposition(is_asked)
        .expect("there is one")
}

/// Makes `count` requests. Returns how many of them go to each of two addresses.
fn shares(lab: &mut Lab, upstream: UpstreamId, count: usize) -> [usize; 2] {
    let open = |lab: &Lab| [lab.servers[0].open(), lab.servers[1].open()];
    let before = open(lab);
    let keys: Vec<Key> = (0..count).map(|_| lab.ask(get(upstream))).collect();
    let after = open(lab);
    for key in keys {
        lab.cancel(key);
    }
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn an_address_that_leaves_most_requests_unanswered_is_skipped_while_there_is_another() {
    let mut lab = lab_with(5000, 5000);
    let upstream = lab.upstream(Security::H2c, 2);
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    lab.accept_h2();
    lab.accept_h2();
    lab.respond(0, 200, Body::Empty);
    lab.respond(1, 200, Body::Empty);
    // One page takes too long at the first address; the second answers everything.
    let keys: Vec<Key> = (0..6).map(|_| lab.ask(get(upstream))).collect();
    for _ in 0..3 {
        lab.respond(1, 200, Body::Empty);
        lab.servers[0].take_request();
    }
    lab.wait_ms(11_500);
    let failures = keys.iter().filter(|key| lab.failure(**key).is_some());
    assert_eq!(failures.count(), 3);
    assert_eq!(shares(&mut lab, upstream, 8), [0, 8]);
    lab.wait_ms(5000);
    // Then one request tries it again.
    assert_eq!(shares(&mut lab, upstream, 8), [1, 7]);
}

#[test]
fn a_bad_page_takes_no_address_from_those_that_ask_for_good_ones() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::Http1, 2);
    let mut first = 0;
    for round in 0..100 {
        // Of five requests four are answered, and one is lost with its connection.
        let key = lab.ask(ask("POST", upstream));
        if !lab.dialled.is_empty() {
            first = lab.accept_h1();
        }
        let server = asked(&lab);
        match round % 5 {
            0 => lab.cut(server, true),
            _ => {
                lab.respond(server, 200, Body::Empty);
                assert_eq!(lab.status(key), Some(200));
            }
        }
    }
    assert!(first > 10);
    // Both addresses get requests.
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    let mut asked: Vec<SocketAddr> = dialled(&lab);
    asked.extend(
        lab.servers
            .iter()
            .filter(|server| server.socket().is_some() && server.open() > 0)
            .map(|server| server.addr),
    );
    asked.sort();
    assert_eq!(asked, [addr(1), addr(2)]);
}

#[test]
fn the_only_address_is_never_taken_away_for_what_its_pages_do() {
    // A page that ends its connection, one that is too slow, one with more fields than we take.
    for security in [Security::Http1, Security::H2c] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let accept = |lab: &mut Lab| {
            if !lab.dialled.is_empty() {
                match security {
                    Security::Http1 => lab.accept_h1(),
                    _ => lab.accept_h2(),
                };
            }
            lab.servers.len() - 1
        };
        for round in 0..30 {
            let key = lab.ask(ask("POST", upstream));
            let server = accept(&mut lab);
            match round % 2 {
                0 => lab.cut(server, true),
                _ => lab.wait_ms(11_500),
            }
            assert!(lab.failure(key).is_some());
            let key = lab.ask(get(upstream));
            let server = accept(&mut lab);
            let id = lab.servers[server].requests.last().expect("it is there").id;
            lab.respond_to(server, id, 200, Body::Empty);
            assert_eq!(lab.status(key), Some(200));
        }
    }
}

#[test]
fn more_than_we_take_is_no_word_about_the_address() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::Http1, 2);
    let mut cuts = 0;
    while cuts < 20 {
        let key = lab.ask(get(upstream));
        let at = lab.dialled[0].addr;
        if at == addr(2) {
            let server = lab.accept_h1();
            lab.respond(server, 200, Body::Empty);
            assert_eq!(lab.status(key), Some(200));
            let now = lab.now;
            lab.servers[server].shut_down(now);
            lab.run();
            continue;
        }
        let server = lab.accept_raw();
        lab.read_raw(server);
        let fields: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
        lab.write_raw(server, format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
        let failure = lab.failure(key);
        assert!(
            matches!(failure, Some(Failure::Violation(_))),
            "{failure:?}"
        );
        cuts += 1;
    }
}

#[test]
fn connections_that_are_cut_before_an_answer_are_faults_too() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::Http1, 2);
    // One address closes each connection; after three times it gets no more requests.
    let mut cuts = 0;
    for _ in 0..20 {
        let key = lab.ask(ask("POST", upstream));
        if lab
            .dialled
            .front()
            .is_some_and(|dialled| dialled.addr == addr(1))
        {
            let server = lab.accept_h1();
            lab.cut(server, true);
            assert!(matches!(lab.failure(key), Some(Failure::Lost(_))));
            cuts += 1;
            continue;
        }
        if !lab.dialled.is_empty() {
            lab.accept_h1();
        }
        let server = asked(&lab);
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
    assert_eq!(cuts, 3);
}

#[test]
fn a_request_whose_connection_is_lost_gets_another_at_once() {
    for max_faults in [1, 2] {
        let mut lab = Lab::new(|options, _| {
            options.max_connections = 1;
            options.max_faults = max_faults;
        });
        let upstream = lab.http1();
        let keys = [(); 3].map(|()| lab.ask(get(upstream)));
        let server = lab.accept_h1();
        lab.cut(server, true);
        assert!(matches!(lab.failure(keys[0]), Some(Failure::Lost(_))));
        let server = lab.accept_h1();
        lab.respond(server, 200, Body::Empty);
        lab.respond(server, 200, Body::Empty);
        assert_eq!(
            (lab.status(keys[1]), lab.status(keys[2])),
            (Some(200), Some(200))
        );
    }
}

#[test]
fn what_this_host_lacks_is_not_held_against_the_address() {
    let mut lab = lab();
    let upstream = lab.http1();
    for kind in [ErrorKind::AddrNotAvailable, ErrorKind::OutOfMemory] {
        for _ in 0..10 {
            let key = lab.ask(get(upstream));
            lab.fail_dial(kind);
            let failure = lab.failure(key).expect("it failed");
            assert!(matches!(failure, Failure::Local(_)), "{failure:?}");
            assert_eq!(failure.status(), 503);
        }
        // The address isn't blamed: a burst opens as many connections as it needs.
        let keys: Vec<Key> = (0..3).map(|_| lab.ask(get(upstream))).collect();
        assert_eq!(lab.dialled.len(), 3);
        let servers = [(); 3].map(|()| lab.accept_h1());
        for server in servers {
            lab.respond(server, 200, Body::Empty);
            lab.cut(server, false);
        }
        for key in keys {
            assert_eq!(lab.status(key), Some(200));
        }
    }
}

#[test]
fn answers_of_all_kinds_are_answers() {
    let mut lab = lab();
    let upstream = lab.h2c();
    for count in 0..20 {
        lab.ask(get(upstream));
        if lab.servers.is_empty() {
            lab.accept_h2();
        }
        match count % 4 {
            0 => {
                lab.respond(0, 503, Body::Empty);
            }
            1 => {
                let id = lab.servers[0].take_request().id;
                lab.reset(0, id, ErrorCode::INTERNAL_ERROR);
            }
            _ => time_out(&mut lab, upstream, 0),
        }
    }
    let key = lab.ask(get(upstream));
    assert_eq!(lab.failure(key), None);
}

#[test]
fn a_second_connection_that_does_not_come_about_takes_nothing_from_the_first() {
    // The server takes one connection, and 10 streams on it.
    let mut lab = lab();
    let upstream = lab.h2c();
    let mut keys = vec![lab.ask(get(upstream))];
    let server = lab.accept_http2(|config| config.max_concurrent_streams = 10);
    keys.extend((0..7).map(|_| lab.ask(get(upstream))));
    lab.refuse();
    // There are places left.
    for open in [9, 10, 10, 10] {
        keys.push(lab.ask(get(upstream)));
        assert_eq!(lab.servers[server].open(), open);
    }
    // A request that waits for one gets it.
    for _ in 0..12 {
        if !lab.dialled.is_empty() {
            lab.refuse();
        }
        lab.respond(server, 200, Body::Empty);
    }
    for key in keys {
        assert_eq!(lab.status(key), Some(200), "{:?}", lab.failure(key));
    }
    // The pool doesn't redial again and again.
    assert!(lab.stats().connect_failures <= 3);
}

#[test]
fn one_that_takes_connections_and_drops_them_is_left_alone() {
    // A WebSocket waits for SETTINGS, which don't come.
    let mut lab = lab();
    let upstream = lab.h2c();
    let head = tidegate_http::RequestHead::extended_connect("websocket", "http", "localhost", "/");
    let key = lab.ask(get(upstream).head(head).body(Body::Stream));
    for _ in 0..50 {
        if lab.dialled.is_empty() {
            break;
        }
        let server = lab.accept_raw();
        lab.cut(server, false);
    }
    assert!(lab.dialled.is_empty() && lab.is_over(key));
    assert!(lab.stats().connected < 10);
}

#[test]
fn one_that_takes_no_connection_is_waited_for_so_long() {
    let mut lab = Lab::new(|options, _| options.connect_timeout = Duration::from_secs(2));
    let upstream = lab.upstream(Security::H2c, 2);
    let key = lab.ask(get(upstream));
    let first = dialled(&lab);
    lab.wait_ms(1990);
    assert_eq!(dialled(&lab), first);
    lab.wait_ms(30);
    let both = dialled(&lab);
    assert_eq!((both.len(), lab.failure(key)), (2, None));
    assert_ne!(both[0], both[1]);
    lab.wait_ms(2050);
    assert_eq!(lab.failure(key), Some(Failure::ConnectTimedOut(both[1])));
    assert_eq!(lab.stats().open, 0);
}

#[test]
fn an_upstream_without_addresses_answers_nothing() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::H2c, 0);
    let key = lab.ask(get(upstream));
    assert_eq!(lab.failure(key), Some(Failure::NoAddress));
}

#[test]
fn a_burst_that_is_refused_counts_once() {
    let mut lab = lab_with(100, 5000);
    let upstream = lab.http1();
    let keys: Vec<Key> = (0..8).map(|_| lab.ask(get(upstream))).collect();
    assert_eq!(lab.dialled.len(), 8);
    while !lab.dialled.is_empty() {
        lab.refuse();
    }
    assert!(keys.iter().all(|key| lab.failure(*key).is_some()));
    // It is skipped for the first, short pause.
    lab.wait_ms(100);
    let key = lab.ask(get(upstream));
    let server = lab.accept_h1();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn a_request_that_waits_for_a_connection_that_ends_goes_elsewhere() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::H2c, 2);
    // Each address has a request that lasts.
    let lasting = [lab.ask(get(upstream)), lab.ask(get(upstream))];
    let [first, second] = [lab.accept_h2(), lab.accept_h2()];
    let now = lab.now;
    lab.servers[first].shut_down(now);
    lab.wait_ms(2000);
    // One of them takes no more requests, on that connection or another one.
    let keys: Vec<Key> = (0..4).map(|_| lab.ask(get(upstream))).collect();
    while !lab.dialled.is_empty() {
        lab.refuse();
    }
    assert_eq!(lab.servers[second].open(), 5);
    while lab.servers[second].open() > 0 {
        lab.respond(second, 200, Body::Empty);
    }
    for key in keys {
        assert_eq!(lab.status(key), Some(200));
    }
    lab.respond(first, 200, Body::Empty);
    for key in lasting {
        assert_eq!(lab.status(key), Some(200));
    }
}
