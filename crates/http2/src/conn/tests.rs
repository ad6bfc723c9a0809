//! Tests of what several parts of a connection do together.

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::engine::REST_AFTER;
use tidegate_http::{Body, Event, Flow, Misuse, Outbox, RequestHead, ResponseHead, Stream};

use super::*;

/// Two engines, and the events that each has reported.
struct Both {
    client: Connection,
    server: Connection,
    now: Instant,
}

impl Both {
    fn new(streams: u32) -> Self {
        let now = crate::testing::some_start();
        let mut config = Config::server();
        config.max_concurrent_streams = streams;
        let client = Connection::client(Config::client().build().unwrap(), now);
        let server = Connection::server(config.build().unwrap(), now);
        let mut both = Self {
            client,
            server,
            now,
        };
        both.run();
        both
    }

    /// Carries bytes both ways until none are left. Returns the body bytes that the client got.
    fn run(&mut self) -> usize {
        let mut got = 0;
        for _ in 0..100 {
            let mut wire = transmitted(&mut self.client, self.now);
            while self.server.receive(&mut wire, self.now).is_some() {}
            let mut wire = transmitted(&mut self.server, self.now);
            while let Some(event) = self.client.receive(&mut wire, self.now) {
                if let Event::Data { id, data, .. } = event {
                    got += data.len();
                    if let Some(mut stream) = self.client.stream(id) {
                        stream.consume(data.len());
                    }
                }
            }
            self.server.audit().unwrap();
        }
        got
    }
}

fn transmitted(conn: &mut Connection, now: Instant) -> BytesMut {
    let (mut out, mut wire) = (Outbox::new(), BytesMut::new());
    while let Flow::Event(_) = conn.transmit(&mut out, usize::MAX, now) {}
    while out.has_remaining() {
        let len = out.chunk().len();
        wire.extend_from_slice(out.chunk());
        out.advance(len);
    }
    wire
}

#[test]
fn a_client_opens_100_streams_before_it_knows_how_many_the_server_allows() {
    let now = crate::testing::some_start();
    let mut config = Config::server();
    config.max_concurrent_streams = 1000;
    let mut both = Both {
        client: Connection::client(Config::client().build().unwrap(), now),
        server: Connection::server(config.build().unwrap(), now),
        now,
    };
    let head = RequestHead::new("GET", "https", "localhost", "/");
    for _ in 0..100 {
        assert!(both.client.can_open());
        both.client.open(&head, Body::Empty).unwrap();
    }
    assert!(!both.client.can_open());
    let result = both.client.open(&head, Body::Empty);
    assert_eq!(result, Err(Misuse::TooManyStreams));

    both.run();
    assert!(both.client.can_open());
    both.client.open(&head, Body::Empty).unwrap();
}

#[test]
fn few_streams_that_are_left_of_many_keep_little_memory() {
    keep_little_memory(60, Shrinks::AfterARest);
    keep_little_memory(1000, Shrinks::AtOnce);
}

#[derive(Clone, Copy, PartialEq)]
enum Shrinks {
    AtOnce,
    AfterARest,
}

/// Ends all but three of `number` streams. The three stay, whatever their slots, and whether
/// they wait for their turn or not.
fn keep_little_memory(number: usize, shrinks: Shrinks) {
    let mut both = Both::new(u32::try_from(number).unwrap());
    let head = RequestHead::new("GET", "https", "localhost", "/");
    let open = |_| both.client.open(&head, Body::Empty).unwrap();
    let ids: Vec<StreamId> = (0..number).map(open).collect();
    both.run();
    let left = [0, number / 2, number - 1].map(|at| ids[at]);
    let head = ResponseHead::new(200);
    for id in &ids {
        let body = if left.contains(id) {
            Body::Full(Bytes::from(vec![b'x'; 40_000]))
        } else {
            Body::Empty
        };
        let mut stream = both.server.stream(*id).unwrap();
        stream.respond(&head, body).unwrap();
    }
    // The connection's window can't take all of it.
    both.server.send_window = SendWindow::new(30_000);
    let first = transmitted(&mut both.server, both.now);
    assert_eq!(both.server.sched.check().unwrap().len(), 3);
    assert_eq!(both.server.active_streams(), 3);
    if shrinks == Shrinks::AfterARest {
        assert!(both.server.streams.is_sparse());
        let due = both.server.next_timeout().unwrap();
        assert_eq!(due, both.now + REST_AFTER);
        both.now = due;
        both.server.handle_timeout(due);
    }
    assert_eq!(both.server.sched.check().unwrap(), [0, 1, 2]);
    assert!(!both.server.streams.is_sparse());
    both.server.audit().unwrap();
    // The exchanges go on.
    both.server.send_window = SendWindow::new(1 << 20);
    let mut wire = first;
    let mut got = 0;
    while let Some(event) = both.client.receive(&mut wire, both.now) {
        if let Event::Data { id, data, .. } = event {
            got += data.len();
            if let Some(mut stream) = both.client.stream(id) {
                stream.consume(data.len());
            }
        }
    }
    got += both.run();
    assert_eq!(got, 120_000);
    assert_eq!(both.server.active_streams(), 0);
}
