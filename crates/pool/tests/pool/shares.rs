//! Shares of clients: places at an upstream, and the queue for them.

use bytes::Bytes;
use tidegate_http::{Body, Fields, RequestHead};
use tidegate_net::proxy_header;
use tidegate_pool::{Failure, Security};

use crate::lab::{Ask, Got, Key, Lab, ask, get, pattern};

/// A client that takes all it can get. The other is `HONEST`.
const GREEDY: u8 = 1;
const HONEST: u8 = 2;

/// Returns a lab whose upstreams have nine places each.
fn nine_places() -> Lab {
    Lab::new(|options, _| options.max_connections = 9)
}

#[test]
fn one_client_never_has_all_connections() {
    let mut lab = nine_places();
    let upstream = lab.http1();
    for _ in 0..30 {
        lab.ask(get(upstream).of(GREEDY));
    }
    while !lab.dialled.is_empty() {
        lab.accept_h1();
    }
    let busy = |lab: &Lab| {
        lab.servers
            .iter()
            .filter(|server| server.open() > 0)
            .count()
    };
    assert_eq!(busy(&lab), 8);
    for _ in 0..5 {
        let key = lab.ask(get(upstream).of(HONEST));
        while !lab.dialled.is_empty() {
            lab.accept_h1();
        }
        let server = lab.servers.len() - 1;
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
    // The pool's owner has no limits.
    lab.ask(get(upstream));
    assert_eq!(busy(&lab), 9);
}

#[test]
fn several_greedy_clients_leave_a_place_for_a_newcomer() {
    let mut lab = Lab::new(|options, _| options.max_connections = 64);
    let upstream = lab.http1();
    for greedy in 10..16 {
        for _ in 0..100 {
            lab.ask(get(upstream).of(greedy));
        }
        while !lab.dialled.is_empty() {
            lab.accept_h1();
        }
    }
    let is_served = |lab: &Lab| {
        let mut requests = lab.servers.iter().flat_map(|server| &server.requests);
        requests.any(|got| got.head.method() == "HEAD")
    };
    lab.ask(ask("HEAD", upstream).of(HONEST));
    while !lab.dialled.is_empty() {
        lab.accept_h1();
    }
    assert!(is_served(&lab));
}

#[test]
fn connections_that_are_dialled_are_for_whoever_is_next() {
    let mut lab = nine_places();
    let upstream = lab.http1();
    for _ in 0..30 {
        lab.ask(get(upstream).of(GREEDY));
    }
    assert_eq!(lab.dialled.len(), 8, "one client's share");
    let key = lab.ask(get(upstream).of(HONEST));
    assert_eq!(lab.dialled.len(), 8, "one of them is for the newcomer");
    // Of the first two that are established, one is the newcomer's.
    lab.accept_h1();
    let second = lab.accept_h1();
    lab.respond(second, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn no_more_is_dialled_than_those_that_wait_may_use() {
    let mut lab = Lab::new(|options, _| options.max_connections = 64);
    let upstream = lab.http1();
    let asks = |lab: &mut Lab, client, count| {
        for _ in 0..count {
            lab.ask(get(upstream).of(client));
        }
    };
    // The last eighth is for clients that hold nothing.
    asks(&mut lab, GREEDY, 100);
    asks(&mut lab, HONEST, 10);
    assert_eq!(lab.dialled.len(), 56);
    while !lab.dialled.is_empty() {
        lab.accept_h1();
    }
    let busy = |lab: &Lab| {
        lab.servers
            .iter()
            .filter(|server| server.open() > 0)
            .count()
    };
    assert_eq!(busy(&lab), 56, "each of them is used");
    asks(&mut lab, GREEDY, 10);
    assert_eq!(lab.dialled.len(), 0);
    for newcomer in 10..13 {
        asks(&mut lab, newcomer, 5);
    }
    assert_eq!(lab.dialled.len(), 3);
    while !lab.dialled.is_empty() {
        lab.accept_h1();
    }
    assert_eq!(busy(&lab), 59);
}

#[test]
fn one_client_never_dials_all_connections_that_are_made_on_its_behalf() {
    for security in [Security::Http1, Security::H2c] {
        let mut lab = Lab::new(|options, _| {
            options.max_connections = 9;
            options.proxy_protocol = Some(2);
        });
        let upstream = lab.upstream(security.clone(), 1);
        let asked = |client: u8, port| {
            let mut ask = get(upstream).of(client);
            let from = ([203, 0, 113, client], port).into();
            ask.options.on_behalf = Some((from, ([198, 51, 100, 9], 443).into()));
            ask
        };
        for _ in 0..30 {
            lab.ask(asked(GREEDY, 4711));
        }
        let its = match security {
            Security::Http1 => 8,
            // One connection takes all requests.
            _ => 1,
        };
        assert_eq!(lab.dialled.len(), its);
        lab.ask(asked(HONEST, 4711));
        assert_eq!(lab.dialled.len(), its + 1);
    }
}

#[test]
fn windows_of_responses_bound_the_streams() {
    let mut lab = Lab::new(|options, _| {
        let window = u64::from(options.engine.max_stream_window_size);
        options.max_response_windows = 27 * window;
    });
    let upstream = lab.h2c();
    for _ in 0..100 {
        lab.ask(get(upstream).of(GREEDY));
        while !lab.dialled.is_empty() {
            lab.accept_http2(|config| config.max_concurrent_streams = 100);
        }
    }
    let open: usize = lab.servers.iter().map(super::lab::Server::open).sum();
    assert_eq!(open, 24, "one client's share of 27");
    let key = lab.ask(get(upstream).of(HONEST));
    let server = lab.servers.len() - 1;
    let id = lab.servers[server].requests.last().unwrap().id;
    lab.respond_to(server, id, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn a_newcomer_has_a_stream_beside_many_that_take_all_that_windows_allow() {
    let mut lab = Lab::new(|options, _| {
        let window = u64::from(options.engine.max_stream_window_size);
        options.max_response_windows = 16 * window;
    });
    let upstream = lab.h2c();
    // Each client has a stream, whatever the others have.
    for client in 100..120 {
        for _ in 0..20 {
            lab.ask(get(upstream).of(client));
            while !lab.dialled.is_empty() {
                lab.accept_http2(|config| config.max_concurrent_streams = 100);
            }
        }
    }
    let open: usize = lab.servers.iter().map(super::lab::Server::open).sum();
    assert!((20..50).contains(&open), "{open}");
    let key = lab.ask(get(upstream).of(HONEST));
    let server = lab.servers.len() - 1;
    let id = lab.servers[server].requests.last().unwrap().id;
    lab.respond_to(server, id, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn one_client_never_has_all_streams() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 3);
    let upstream = lab.h2c();
    let stream = |client| {
        let mut ask = ask("POST", upstream).of(client).body(Body::Stream);
        ask.options.is_conversation = true;
        ask
    };
    for _ in 0..100 {
        lab.ask(stream(GREEDY));
        while !lab.dialled.is_empty() {
            lab.accept_http2(|config| config.max_concurrent_streams = 10);
        }
    }
    let open: usize = lab.servers.iter().map(super::lab::Server::open).sum();
    // The 27th of 30 is within eight times what is free; the 28th would not be.
    assert_eq!((open, lab.servers.len()), (27, 3));
    for _ in 0..5 {
        let key = lab.ask(get(upstream).of(HONEST));
        let is_it = |got: &Got| got.head.method() == "GET" && !got.begun;
        let all = lab.servers.iter().enumerate();
        let mut its = all.flat_map(|(at, server)| server.requests.iter().map(move |got| (at, got)));
        let (server, id) = its
            .rfind(|(_, got)| is_it(got))
            .map(|(at, got)| (at, got.id))
            .expect("it is there");
        lab.respond_to(server, id, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
}

#[test]
fn clients_that_wait_are_served_in_turn() {
    let mut lab = Lab::new(|options, _| options.max_connections = 1);
    let upstream = lab.http1();
    let greedy: Vec<Key> = (0..10).map(|_| lab.ask(get(upstream).of(GREEDY))).collect();
    let honest: Vec<Key> = (0..3).map(|_| lab.ask(get(upstream).of(HONEST))).collect();
    lab.accept_h1();
    let mut order = Vec::new();
    for _ in 0..13 {
        lab.respond(0, 200, Body::Empty);
        let all = greedy.iter().chain(&honest);
        let done: Vec<Key> = all.filter(|key| lab.is_over(**key)).copied().collect();
        let next = done.into_iter().find(|key| !order.contains(key));
        order.extend(next);
    }
    let expected = [&greedy[..1], &honest[..1], &greedy[1..2], &honest[1..2]].concat();
    assert_eq!(order[..4], expected);
    assert_eq!(order.len(), 13);
}

#[test]
fn the_queue_has_a_bound_and_room_for_newcomers() {
    let mut lab = Lab::new(|options, _| {
        options.max_connections = 1;
        options.limits.max_waiting = 9;
    });
    let upstream = lab.http1();
    let keys: Vec<Key> = (0..20).map(|_| lab.ask(get(upstream).of(GREEDY))).collect();
    let refused: Vec<&Key> = keys.iter().filter(|key| lab.is_over(**key)).collect();
    // All requests wait until there is a connection.
    assert_eq!(refused.len(), 12);
    for key in refused {
        let failure = lab.failure(*key).expect("it failed");
        assert_eq!((failure.status(), failure), (503, Failure::QueueFull));
    }
    let newcomer = lab.ask(get(upstream).of(HONEST));
    assert_eq!(lab.failure(newcomer), None);
    // Requests that leave make room.
    lab.cancel(keys[0]);
    lab.cancel(keys[1]);
    let more = lab.ask(get(upstream).of(GREEDY));
    assert_eq!(lab.failure(more), None);
    let server = lab.accept_h1();
    for _ in 0..8 {
        lab.respond(server, 200, Body::Empty);
    }
    assert_eq!(
        (lab.status(newcomer), lab.status(more)),
        (Some(200), Some(200))
    );
    assert_eq!(lab.stats().failed, 12);
}

/// Returns an upload of the greedy client.
fn upload(upstream: tidegate_pool::UpstreamId) -> Ask {
    ask("POST", upstream).of(GREEDY).body(Body::Stream)
}

#[test]
fn an_upload_takes_no_connection_before_its_body_is_there() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    // The body comes piece by piece.
    let key = lab.ask(upload(upstream));
    lab.write(key, pattern(1000), false);
    assert!(lab.dialled.is_empty());
    lab.write(key, pattern(500), true);
    let server = lab.accept_h1();
    let got = lab.servers[server].take_request();
    assert_eq!((got.body.len(), got.end), (1500, true));
    // No more is collected than the limit.
    let key = lab.ask(upload(upstream));
    lab.write(key, pattern(70_000), false);
    let got = lab.servers[lab.servers.len() - 1].requests.len();
    lab.write(key, pattern(10), true);
    let last = lab.accept_h1();
    assert_eq!(got, 1);
    let got = lab.servers[last].take_request();
    let expected = [pattern(70_000), pattern(10)].concat();
    assert_eq!((got.body.len(), got.end), (70_010, true));
    assert!(got.body == expected);
    // The body ends with trailers.
    let key = lab.ask(upload(upstream));
    let mut trailers = Fields::new();
    trailers.push("x-checksum", "12");
    lab.write_with_trailers(key, pattern(10), trailers.clone());
    let last = lab.accept_h1();
    let got = lab.servers[last].take_request();
    assert_eq!((got.body.len(), got.end), (10, true));
    assert_eq!(got.trailers, Some(trailers));
    // The body is empty.
    let key = lab.ask(upload(upstream));
    lab.write(key, Bytes::new(), true);
    let last = lab.accept_h1();
    assert!(lab.servers[last].take_request().end);
}

#[test]
fn an_upload_that_is_slow_goes_on_after_a_while() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let key = lab.ask(upload(upstream));
    lab.write(key, pattern(1000), false);
    lab.wait_ms(4900);
    assert!(lab.dialled.is_empty());
    lab.wait_ms(200);
    let server = lab.accept_h1();
    assert_eq!(lab.servers[server].requests[0].body.len(), 1000);
    lab.write(key, pattern(100), true);
    let got = lab.servers[server].take_request();
    assert_eq!((got.body.len(), got.end), (1100, true));
}

#[test]
fn what_cannot_wait_for_its_body_is_not_collected() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let head = RequestHead::new("POST", "http", "localhost", "/").field("expect", "100-continue");
    lab.ask(upload(upstream).head(head));
    assert_eq!(lab.dialled.len(), 1);
    lab.ask(upload(upstream).head(RequestHead::connect("example.org:22")));
    assert_eq!(lab.dialled.len(), 2);
    // Over HTTP/1.1 there is no conversation, whatever a client says.
    let mut call = upload(upstream);
    call.options.is_conversation = true;
    lab.ask(call);
    assert_eq!(lab.dialled.len(), 2);
    // Over HTTP/2 it takes only a stream.
    let upstream = lab.h2c();
    lab.ask(upload(upstream));
    assert_eq!(lab.dialled.len(), 3);
}

#[test]
fn an_upload_that_is_collected_can_be_cancelled() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    let key = lab.ask(upload(upstream));
    lab.write(key, pattern(1000), false);
    lab.cancel(key);
    lab.wait_ms(10_000);
    assert!(lab.dialled.is_empty());
}

#[test]
fn the_limit_of_connections_holds_over_all_clients_of_a_proxy_header() {
    for security in [Security::Http1, Security::H2c] {
        let mut lab = Lab::new(|options, _| {
            options.max_connections = 2;
            options.proxy_protocol = Some(2);
        });
        let upstream = lab.upstream(security.clone(), 1);
        let client = |number: u8| {
            let addr = ([203, 0, 113, number], 4711).into();
            (addr, ([198, 51, 100, 9], 443).into())
        };
        let asked = |number: u8| {
            let mut ask = get(upstream).of(number);
            ask.options.on_behalf = Some(client(number));
            ask
        };
        // Ten clients, three requests each.
        let mut keys = Vec::new();
        for number in 1..=10 {
            keys.extend((0..3).map(|_| lab.ask(asked(number))));
        }
        assert_eq!(lab.dialled.len(), 2);
        let mut served = Vec::new();
        for _ in 0..1000 {
            let open = lab
                .servers
                .iter()
                .filter(|server| !server.is_closed())
                .count();
            assert!(
                open + lab.dialled.len() <= 2,
                "{open} and {}",
                lab.dialled.len()
            );
            if let Some(server) = lab.servers.iter().position(|server| {
                server.socket().is_some() && !server.is_closed() && server.open() > 0
            }) {
                lab.respond(server, 200, Body::Empty);
            } else if !lab.dialled.is_empty() {
                let at = lab.dialled_for();
                served.push(at);
                let (addr, target) = client(at);
                let header = proxy_header(2, addr, target);
                lab.accept_behind(&header, matches!(security, Security::H2c));
            } else {
                break;
            }
        }
        for key in keys {
            assert_eq!(lab.status(key), Some(200));
        }
        // Each client had a turn before any had its second.
        let mut first = served[..10].to_vec();
        first.sort_unstable();
        assert_eq!(first, (1..=10).collect::<Vec<u8>>());
    }
}

#[test]
fn a_body_that_is_not_read_holds_up_no_other_ones() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    let stuck = lab.ask(upload(upstream));
    let first = lab.accept_frames(&[]);
    // RFC 9113 §6.9.2: the connection's window is 65,535 bytes at first, and the
    // server gives nothing back.
    lab.write(stuck, pattern(65_535), false);
    lab.read_raw(first);
    let key = lab.ask(
        ask("POST", upstream)
            .of(HONEST)
            .body(Body::Full(pattern(1000))),
    );
    // Requests without a body still go there.
    let page = lab.ask(get(upstream).of(HONEST));
    assert_eq!(lab.raw_requests(first).len(), 1);
    let second = lab.accept_h2();
    let got = lab.servers[second].take_request();
    assert_eq!((got.body.len(), got.end), (1000, true));
    let id = got.id;
    lab.respond_to(second, id, 200, Body::Empty);
    lab.respond_raw(first, 3);
    assert_eq!((lab.status(key), lab.status(page)), (Some(200), Some(200)));
    assert_eq!(lab.failure(stuck), None);
}

#[test]
fn what_goes_on_where_a_connection_ends_holds_no_place() {
    let mut lab = Lab::new(|options, _| options.max_http2_connections = 1);
    let upstream = lab.h2c();
    let early = lab.ask(get(upstream).of(GREEDY));
    let old = lab.accept_http2(|config| config.max_concurrent_streams = 1);
    let now = lab.now;
    lab.servers[old].shut_down(now);
    lab.run();
    let key = lab.ask(get(upstream).of(GREEDY));
    let new = lab.accept_http2(|config| config.max_concurrent_streams = 1);
    lab.respond(new, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
    lab.respond(old, 200, Body::Empty);
    assert_eq!(lab.status(early), Some(200));
}
