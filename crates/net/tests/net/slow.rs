//! Peers that take or send a byte at a time, and slow honest ones: time limits that a drip can't
//! move, in virtual time.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http::{Body, CloseReason, Event, ResponseHead, Stream, StreamId, Violation};
use tidegate_net::{ConnId, End, MemorySocket};

use crate::common::{Told, pattern};
use crate::memory::{CLIENT, Lab, read, write};

const SECOND: Duration = Duration::from_secs(1);

/// Connects an HTTP/1.1 client that has sent these bytes, and returns its request.
fn asked(lab: &mut Lab, bytes: &str) -> (MemorySocket, ConnId, StreamId) {
    let (mut client, server) = MemorySocket::pair(64 << 10);
    lab.memory.accept(server, CLIENT.into());
    assert_eq!(write(&mut client, bytes.as_bytes()), bytes.len());
    lab.run();
    let request = lab.told().into_iter().find_map(|told| match told {
        Told::Event(conn, Event::Request { id, .. }) => Some((conn, id)),
        _ => None,
    });
    let (conn, id) = request.expect("it has come");
    (client, conn, id)
}

fn respond(lab: &mut Lab, conn: ConnId, id: StreamId, status: u16, body: Bytes) {
    lab.with(move |_, conns| {
        let mut stream = conns.stream(conn, id).unwrap();
        stream
            .respond(&ResponseHead::new(status), Body::Full(body))
            .unwrap();
    });
}

/// Connects a client that was answered while most of its large request is still to be sent.
fn answered_early(lab: &mut Lab) -> MemorySocket {
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n";
    let (client, conn, id) = asked(lab, upload);
    respond(lab, conn, id, 413, "too big".into());
    client
}

#[test]
fn who_sends_all_before_it_reads_gets_the_answer() {
    let mut lab = Lab::new(64 << 10, |_| {});
    let mut client = answered_early(&mut lab);
    let piece = pattern(32 << 10);
    let mut left = 30_000_000;
    while left > 0 {
        let sent = write(&mut client, &piece[..piece.len().min(left)]);
        assert!(sent > 0, "{left} bytes are left, and nobody reads them");
        left -= sent;
        // This takes 18 seconds.
        lab.wait(Duration::from_millis(20));
    }
    let answer = read(&mut client);
    assert!(answer.starts_with(b"HTTP/1.1 413 "));
    assert!(answer.ends_with(b"too big"));
    assert!(client.is_at_end());
    client.shut_down();
    lab.run();
    assert!(matches!(
        lab.closed(),
        Some(End::Closed(CloseReason::Graceful))
    ));
}

#[test]
fn a_closed_connection_is_read_for_as_long_as_it_is_worth_it() {
    for (count, every, seconds) in [
        // Nothing, or a drip.
        (0, 1000, 1),
        (1, 300, 1),
        (100, 1000, 1),
        // A slow modem, and a fast flood, which also ends.
        (1400, 700, 30),
        (60_000, 100, 30),
    ] {
        let mut lab = Lab::new(64 << 10, |_| {});
        let mut client = answered_early(&mut lab);
        let began = lab.now;
        let bytes = pattern(count);
        while lab.closed().is_none() {
            write(&mut client, &bytes);
            lab.wait(Duration::from_millis(every));
            assert!(
                lab.now < began + 60 * SECOND,
                "{count} bytes each {every} ms"
            );
        }
        let lasted = (lab.now - began).as_secs();
        assert!(
            (seconds..seconds + 2).contains(&lasted),
            "{count} bytes each {every} ms: {lasted} s"
        );
    }
}

#[test]
fn what_comes_before_the_first_request_may_not_drip_either() {
    // A PROXY header and bytes of either protocol have ten seconds together. The preface of HTTP/2
    // has ten more.
    let addr = "198.51.100.7:1".parse().unwrap();
    let header = tidegate_net::proxy_header(1, addr, addr);
    let unsure = [&header[..], b"PRI * HTTP/2.0"].concat();
    for bytes in [&header, &unsure, &b"PRI * HTTP/2.0"[..]] {
        let mut lab = Lab::new(1, |options| {
            options.proxy_protocol_from = vec!["192.0.2.0/24".parse().unwrap()];
        });
        let (mut client, server) = MemorySocket::pair(1000);
        lab.memory.accept(server, CLIENT.into());
        let began = lab.now;
        // The last bytes drip.
        let (front, back) = bytes.split_at(bytes.len().saturating_sub(11));
        write(&mut client, front);
        lab.run();
        let mut drip = back.iter();
        let end = loop {
            if let Some(end) = lab.closed() {
                break end;
            }
            if let Some(byte) = drip.next() {
                write(&mut client, &[*byte]);
            }
            lab.wait(SECOND);
            assert!(lab.now < began + 20 * SECOND, "it is endured");
        };
        let by_engine = CloseReason::Violation(Violation::HandshakeTimedOut);
        match end {
            End::HandshakeTimedOut => {}
            End::Closed(reason) => assert_eq!(reason, by_engine),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_reader_that_drips_is_let_go_and_a_slow_one_is_not() {
    for (bytes, is_endured) in [(0, false), (1, false), (500, false), (2000, true)] {
        let mut lab = Lab::new(64 << 10, |_| {});
        let (mut client, conn, id) = asked(&mut lab, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        respond(&mut lab, conn, id, 200, pattern(300_000));
        let began = lab.now;
        let mut taken = 0;
        let end = loop {
            if let Some(end) = lab.closed() {
                break Some(end);
            }
            if taken >= 300_000 {
                break None;
            }
            let mut room = vec![0; bytes];
            taken += client.read(&mut room).unwrap_or(0);
            lab.wait(SECOND);
            assert!(lab.now < began + 200 * SECOND, "{bytes} bytes a second");
        };
        if is_endured {
            assert!(end.is_none(), "{bytes} bytes a second: {end:?}");
        } else {
            assert!(matches!(end, Some(End::WriteTimedOut)), "{bytes}: {end:?}");
            assert!(lab.now <= began + 61 * SECOND);
        }
    }
}

#[test]
fn time_that_the_owner_takes_is_none_of_the_clients() {
    // The client has sent all that it may, and the owner takes that minutes later. Only then is it
    // the client's turn again.
    let mut lab = Lab::new(64 << 10, |_| {});
    lab.with(|service, _| service.consumes = false);
    let upload = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000000\r\n\r\n";
    let (mut client, conn, id) = asked(&mut lab, upload);
    // More than a window.
    let bytes = pattern(64 << 10);
    for _ in 0..10 {
        assert!(write(&mut client, &bytes) > 60_000);
        lab.run();
        lab.wait(100 * SECOND);
        lab.with(move |_, conns| {
            let mut stream = conns.stream(conn, id).expect("it is waited for");
            let unconsumed = stream.unconsumed();
            stream.consume(unconsumed);
        });
        lab.wait(20 * SECOND);
        assert!(lab.closed().is_none());
    }
    lab.wait(10 * SECOND);
    assert!(read(&mut client).starts_with(b"HTTP/1.1 408 "));
}
