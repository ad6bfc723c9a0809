//! Failures that the simulator found with a client and a server engine joined, each in its shortest
//! form.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{
    Body, CloseReason, Config, Connection, ErrorCode, Event, Flow, Outbox, RequestHead,
    ResponseHead, Stream,
};

fn pair(client: Config, server: Config) -> (Connection, Connection, Instant) {
    let now = start();
    let client = Connection::client(client.build().unwrap(), now);
    let server = Connection::server(server.build().unwrap(), now);
    (client, server, now)
}

#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
fn start() -> Instant {
    Instant::now()
}

/// Returns all output of an engine, and the events of that.
fn say(conn: &mut Connection, now: Instant) -> (BytesMut, Vec<Event>) {
    let mut out = Outbox::new();
    let mut events = Vec::new();
    while let Flow::Event(event) = conn.transmit(&mut out, usize::MAX, now) {
        events.push(event);
    }
    let len = out.remaining();
    (BytesMut::from(&out.copy_to_bytes(len)[..]), events)
}

/// Returns all events for this input.
fn hear(conn: &mut Connection, mut input: BytesMut, now: Instant) -> Vec<Event> {
    std::iter::from_fn(|| conn.receive(&mut input, now)).collect()
}

fn request() -> RequestHead {
    RequestHead::new("POST", "https", "localhost", "/")
}

#[test]
fn credit_is_due_by_the_window_that_settings_will_leave() {
    // RFC 9113 §6.9.2: the bytes that the client sends before it has seen SETTINGS use a window of
    // 65,535 bytes, and the smaller window would be negative then. The 17 bytes, a trifle in the
    // old window, are more than the new one.
    let mut config = Config::server();
    config.initial_window_size = 1;
    config.max_stream_window_size = 1;
    let (mut client, mut server, now) = pair(Config::client(), config);
    let body = Bytes::from_static(b"seventeen bytes!!");
    let id = client.open(&request(), Body::Stream).unwrap();
    client.stream(id).unwrap().write(&mut body.clone(), false);
    let (early, _) = say(&mut client, now);
    let told = hear(&mut server, early, now);
    assert!(matches!(told.last(), Some(Event::Data { data, .. }) if data.len() == 17));
    server.stream(id).unwrap().consume(17);

    let (settings, _) = say(&mut server, now);
    hear(&mut client, settings, now);
    let write =
        |client: &mut Connection| client.stream(id).unwrap().write(&mut body.clone(), false);
    assert_eq!(write(&mut client), 1);
    let (ack, _) = say(&mut client, now);
    hear(&mut server, ack, now);
    assert_eq!(server.audit(), Ok(()));
}

#[test]
fn an_error_is_no_graceful_end_though_no_stream_is_open() {
    // RFC 9113 §6.8: GOAWAY "contains an error code […] that contains the reason for closing the
    // connection".
    let (mut client, mut server, now) = pair(Config::client(), Config::server());
    let (preface, _) = say(&mut client, now);
    hear(&mut server, preface, now);
    server.abort(ErrorCode::INTERNAL_ERROR, "");
    let (goaway, _) = say(&mut server, now);
    let told = hear(&mut client, goaway, now);
    let Some(Event::Closed(CloseReason::PeerError { code, .. })) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(*code, ErrorCode::INTERNAL_ERROR);
}

#[test]
fn ends_that_both_have_much_to_say_do_not_wait_for_each_other_to_read() {
    // RFC 9113 §5.2.2: "Failure to read promptly could lead to a deadlock".
    let [mut config, mut of_client] = [Config::server(), Config::client()];
    config.outbound_high_water = 1000;
    of_client.outbound_high_water = 1000;
    let (mut client, mut server, now) = pair(of_client, config);
    let long = "x".repeat(2000);
    let first = client.open(&request(), Body::Empty).unwrap();
    let (early, _) = say(&mut client, now);
    hear(&mut server, early, now);
    let answer = ResponseHead::new(200).field("x-long", &long);
    let mut stream = server.stream(first).unwrap();
    stream.respond(&answer, Body::Empty).unwrap();
    client
        .open(&request().field("x-long", &long), Body::Empty)
        .unwrap();
    assert!(!server.can_receive(), "its answers have to go out first");
    assert!(client.can_receive());
    let (answer, _) = say(&mut server, now);
    let told = hear(&mut client, answer, now);
    assert!(matches!(told.last(), Some(Event::Response { .. })));
    assert!(server.can_receive());
}
