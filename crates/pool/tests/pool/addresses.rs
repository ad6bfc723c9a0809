//! An upstream's addresses, which change, and the names in their certificates.

use rustls::pki_types::ServerName;
use tidegate_http::Body;
use tidegate_net::Protocol;
use tidegate_pool::{Address, Failure, Security};

use crate::lab::{Key, Lab, addr, by_tls, get};

#[test]
fn an_upstream_that_is_nowhere_yet_is_there_once_it_has_an_address() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(Security::Http1, 0);
    let key = lab.ask(get(upstream));
    assert_eq!(lab.failure(key), Some(Failure::NoAddress));
    assert_eq!(Failure::NoAddress.status(), 503);
    lab.set_addresses(upstream, vec![addr(1).into()]);
    let key = lab.ask(get(upstream));
    let server = lab.accept_h1();
    lab.respond(server, 200, Body::Empty);
    assert_eq!(lab.status(key), Some(200));
}

#[test]
fn new_requests_follow_an_upstream_that_moves() {
    for security in [Security::Http1, Security::H2c] {
        let mut lab = Lab::new(|options, _| {
            options.max_connections = 1;
            options.max_http2_connections = 1;
        });
        let upstream = lab.upstream(security.clone(), 1);
        let accept = |lab: &mut Lab| match security {
            Security::Http1 => lab.accept_h1(),
            _ => lab.accept_http2(|config| config.max_concurrent_streams = 1),
        };
        let early = lab.ask(get(upstream));
        let old = accept(&mut lab);
        let waits = lab.ask(get(upstream));
        lab.set_addresses(upstream, vec![addr(2).into()]);
        // A waiting request goes there, and requests that were sent are answered.
        assert_eq!(lab.dialled[0].addr, addr(2));
        let new = accept(&mut lab);
        lab.respond(new, 200, Body::Empty);
        assert_eq!(lab.status(waits), Some(200));
        lab.respond(old, 200, Body::Empty);
        assert_eq!(lab.status(early), Some(200));
        lab.wait_ms(2000);
        assert!(lab.servers[old].is_closed() && !lab.servers[new].is_closed());
        // It moves back again, and then to both.
        lab.set_addresses(upstream, vec![addr(1).into(), addr(2).into()]);
        let keys: Vec<Key> = (0..2).map(|_| lab.ask(get(upstream))).collect();
        assert_eq!(lab.dialled[0].addr, addr(1));
        let back = accept(&mut lab);
        lab.respond(back, 200, Body::Empty);
        lab.respond(new, 200, Body::Empty);
        for key in keys {
            assert_eq!(lab.status(key), Some(200));
        }
    }
}

#[test]
fn addresses_that_come_and_go_leave_nothing_behind() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.http1();
    for number in 2..200 {
        lab.set_addresses(upstream, vec![addr(number).into()]);
        let key = lab.ask(get(upstream));
        let server = lab.accept_h1();
        assert_eq!(lab.servers[server].addr, addr(number));
        lab.respond(server, 200, Body::Empty);
        assert_eq!(lab.status(key), Some(200));
    }
    lab.wait_ms(2000);
    assert_eq!((lab.stats().open, lab.stats().idle), (1, 1));
}

#[test]
fn each_address_has_its_own_name() {
    let mut lab = Lab::new(|_, _| {});
    let upstream = lab.upstream(by_tls(), 1);
    let named = Address {
        addr: addr(2),
        name: Some(ServerName::try_from("b.example").unwrap()),
    };
    lab.set_addresses(upstream, vec![addr(1).into(), named]);
    for _ in 0..2 {
        lab.ask(get(upstream));
    }
    for _ in 0..2 {
        let server = lab.accept_tls(Protocol::Http2, false);
        let expected = if lab.servers[server].addr == addr(1) {
            "localhost"
        } else {
            "b.example"
        };
        assert_eq!(lab.servers[server].asked_name(), Some(expected));
    }
    assert_ne!(lab.servers[0].addr, lab.servers[1].addr);
}
