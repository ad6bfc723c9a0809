//! The PROXY protocol: each connection is for one client.

use std::net::SocketAddr;

use tidegate_http::Body;
use tidegate_net::proxy_header;
use tidegate_pool::{OnBehalf, Security, UpstreamId};

use crate::lab::{Ask, Lab, get};

const SERVER: ([u8; 4], u16) = ([198, 51, 100, 9], 443);

fn client(number: u8) -> OnBehalf {
    let client = SocketAddr::from(([203, 0, 113, number], 4711));
    (client, SERVER.into())
}

fn lab() -> Lab {
    Lab::new(|options, _| options.proxy_protocol = Some(2))
}

fn asked(upstream: UpstreamId, on_behalf: Option<OnBehalf>) -> Ask {
    let mut ask = get(upstream);
    ask.options.on_behalf = on_behalf;
    ask
}

#[test]
fn a_connection_says_for_whom_it_is_and_is_for_nobody_else() {
    for version in [1, 2] {
        for security in [Security::H2c, Security::Http1] {
            let mut lab = Lab::new(|options, _| options.proxy_protocol = Some(version));
            let upstream = lab.upstream(security, 1);
            for number in [1, 2] {
                lab.ask(asked(upstream, Some(client(number))));
            }
            lab.ask(asked(upstream, None));
            assert_eq!(lab.dialled.len(), 3);
            for number in [1, 2] {
                let server = lab.accept_raw();
                let got = lab.read_raw(server);
                let (client, target) = client(number);
                let header = proxy_header(version, client, target);
                assert!(got.starts_with(&header), "{}", got.escape_ascii());
            }
            // A request of the owner has no address to pass on.
            let server = lab.accept_raw();
            let got = lab.read_raw(server);
            assert!(got.starts_with(b"PRI * ") || got.starts_with(b"GET / "));
        }
    }
}

#[test]
fn each_client_has_its_connections_again() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        for number in [1, 2] {
            lab.ask(asked(upstream, Some(client(number))));
            let header = proxy_header(2, client(number).0, client(number).1);
            lab.accept_behind(&header, matches!(security, Security::H2c));
        }
        for round in 0..3 {
            for server in [0, 1] {
                assert_eq!(lab.servers[server].open(), 1, "{round}");
                lab.respond(server, 200, Body::Empty);
            }
            for number in [1, 2] {
                lab.ask(asked(upstream, Some(client(number))));
            }
        }
        assert!(lab.dialled.is_empty());
        assert_eq!(lab.stats().reused, 6);
        // The same client at another of our addresses has another connection too.
        let elsewhere = (client(1).0, "198.51.100.10:443".parse().unwrap());
        lab.ask(asked(upstream, Some(elsewhere)));
        assert_eq!(lab.dialled.len(), 1);
    }
}

#[test]
fn without_it_clients_share_connections() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.h2c();
    for number in [1, 2] {
        lab.ask(asked(upstream, Some(client(number))));
    }
    let server = lab.accept_h2();
    assert_eq!(lab.servers[server].open(), 2);
}

#[test]
fn a_client_that_leaves_takes_its_connections_with_it() {
    for security in [Security::H2c, Security::Http1] {
        let mut lab = lab();
        let upstream = lab.upstream(security.clone(), 1);
        let is_http2 = matches!(security, Security::H2c);
        for number in [1, 2] {
            lab.ask(asked(upstream, Some(client(number))));
            let header = proxy_header(2, client(number).0, client(number).1);
            let server = lab.accept_behind(&header, is_http2);
            lab.respond(server, 200, Body::Empty);
        }
        assert_eq!(lab.stats().idle, 2);
        lab.client_left(client(1));
        assert!(lab.servers[0].is_closed() && !lab.servers[1].is_closed());
        assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
        // A connection with a request in progress ends with that.
        let key = lab.ask(asked(upstream, Some(client(2))));
        lab.client_left(client(2));
        assert!(!lab.servers[1].is_closed());
        lab.cancel(key);
        assert!(lab.servers[1].is_closed());
        // The pool waits a moment for the upstream to close too.
        lab.wait_ms(1100);
        assert_eq!(lab.stats().open, 0);
        // A connection that is still being dialled isn't kept either.
        let key = lab.ask(asked(upstream, Some(client(3))));
        lab.cancel(key);
        lab.client_left(client(3));
        let header = proxy_header(2, client(3).0, client(3).1);
        let server = lab.accept_behind(&header, is_http2);
        assert!(lab.servers[server].is_closed());
        assert_eq!((lab.stats().open, lab.stats().idle), (0, 0));
    }
}

#[test]
fn an_address_that_others_cannot_reach_is_left_alone() {
    let mut lab = lab();
    let upstream = lab.upstream(Security::Http1, 2);
    // One client still has a connection there.
    let early = lab.ask(asked(upstream, Some(client(1))));
    let bad = lab.dialled[0].addr;
    let (addr, target) = client(1);
    lab.accept_behind(&proxy_header(2, addr, target), false);
    lab.respond(0, 200, Body::Empty);
    assert_eq!(lab.status(early), Some(200));
    // Other clients find out once that the address takes no more.
    let mut tried = 0;
    for number in 2..10 {
        lab.ask(asked(upstream, Some(client(number))));
        if lab.dialled[0].addr == bad {
            tried += 1;
            lab.refuse();
        }
        let (addr, target) = client(number);
        lab.accept_behind(&proxy_header(2, addr, target), false);
        lab.respond(lab.servers.len() - 1, 200, Body::Empty);
    }
    assert_eq!(tried, 1);
}
