//! Every misuse by the caller: the call returns it, and nothing goes out.

use bytes::Bytes;
use tidegate_http2::{
    Body, Config, ErrorCode, Fields, MemoryBudget, Misuse, RequestHead, ResponseHead, Stream,
    StreamId, StreamMut,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET};

use crate::support::{bytes, client, pushing_server, respond_streaming, server, server_of};

/// The result of a call that must fail.
type Scenario = fn() -> (Peer, Misuse);

/// A server engine with a GET on stream 1, whose owner makes a call.
fn on_get(
    mut peer: Peer,
    act: impl FnOnce(&mut StreamMut<'_>) -> Result<(), Misuse>,
) -> (Peer, Misuse) {
    peer.send(wire::get(1));
    peer.frames.clear();
    let misuse = peer.stream(1, act).expect_err("the call is wrong");
    (peer, misuse)
}

/// A client engine that tries to open a stream.
fn open(mut peer: Peer, head: &RequestHead) -> (Peer, Misuse) {
    peer.frames.clear();
    let misuse = peer
        .engine
        .open(head, Body::Empty)
        .expect_err("the call is wrong");
    peer.pump();
    (peer, misuse)
}

fn get() -> RequestHead {
    RequestHead::new("GET", "https", "localhost", "/")
}

fn ok() -> ResponseHead {
    ResponseHead::new(200)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let bytes = list
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    bytes.collect()
}

const SCENARIOS: &[(Misuse, Scenario)] = &[
    // The peer reset it; the owner has not released it.
    (Misuse::StreamClosed, || {
        let mut peer = client();
        peer.hold_resets();
        peer.send_all([wire::get(1), wire::rst_stream(1, ErrorCode::CANCEL)]);
        let misuse = peer.stream(1, |stream| stream.respond(&ok(), Body::Empty));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::StreamClosed, || {
        let mut peer = client();
        peer.hold_resets();
        peer.send_all([wire::get(1), wire::rst_stream(1, ErrorCode::CANCEL)]);
        let misuse = peer.stream(1, |stream| stream.inform(&ResponseHead::new(103)));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::StreamClosed, || {
        let mut peer = client();
        peer.hold_resets();
        peer.send(wire::get(1));
        respond_streaming(&mut peer, 1);
        peer.send(wire::rst_stream(1, ErrorCode::CANCEL));
        peer.frames.clear();
        let misuse = peer.stream(1, |stream| stream.trailers(&fields(&[("a", "b")])));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    // RFC 9113 §6.6: pushes belong to a request of the client, never to another push.
    (Misuse::StreamClosed, || {
        let (mut peer, promised) = promise();
        let misuse = peer.stream(promised.get(), |stream| stream.push(&get()));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    // RFC 9113 §8.1: one final response.
    (Misuse::AlreadyResponded, || {
        on_get(client(), |stream| {
            stream.respond(&ok(), Body::Stream)?;
            stream.respond(&ok(), Body::Empty)
        })
    }),
    (Misuse::AlreadyResponded, || {
        on_get(client(), |stream| {
            stream.respond(&ok(), Body::Stream)?;
            stream.inform(&ResponseHead::new(103))
        })
    }),
    // RFC 9113 §8.1: head, body, trailers.
    (Misuse::OutOfOrder, || {
        on_get(client(), |stream| stream.trailers(&fields(&[("a", "b")])))
    }),
    (Misuse::WrongRole, || {
        let mut peer = client();
        let misuse = peer.engine.open(&get(), Body::Empty);
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::WrongRole, || {
        let mut peer = server();
        peer.open_get();
        peer.frames.clear();
        let misuse = peer.stream(1, |stream| stream.respond(&ok(), Body::Empty));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::WrongRole, || {
        let mut peer = server();
        peer.open_get();
        peer.frames.clear();
        let misuse = peer.stream(1, |stream| stream.inform(&ResponseHead::new(103)));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::WrongRole, || {
        let mut peer = server();
        peer.open_get();
        peer.frames.clear();
        let misuse = peer.stream(1, |stream| stream.push(&get()));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::StatusOutOfRange, || {
        on_get(client(), |stream| {
            stream.respond(&ResponseHead::new(103), Body::Empty)
        })
    }),
    (Misuse::StatusOutOfRange, || {
        on_get(client(), |stream| {
            stream.respond(&ResponseHead::new(1000), Body::Empty)
        })
    }),
    (Misuse::StatusOutOfRange, || {
        on_get(client(), |stream| stream.inform(&ok()))
    }),
    // RFC 9113 §8.6: there is no 101.
    (Misuse::StatusOutOfRange, || {
        on_get(client(), |stream| stream.inform(&ResponseHead::new(101)))
    }),
    (Misuse::InvalidField, || {
        on_get(client(), |stream| {
            stream.respond(&ok().field("connection", "close"), Body::Empty)
        })
    }),
    (Misuse::InvalidField, || {
        on_get(client(), |stream| {
            stream.respond(&ok().field("x", "line\r\nbreak: 1"), Body::Empty)
        })
    }),
    (Misuse::InvalidField, || {
        on_get(client(), |stream| {
            stream.inform(&ResponseHead::new(103).field("Link", "</a>"))
        })
    }),
    (Misuse::InvalidField, || {
        let mut peer = client();
        peer.send(wire::get(1));
        respond_streaming(&mut peer, 1);
        peer.frames.clear();
        let misuse = peer.stream(1, |stream| stream.trailers(&fields(&[(":status", "200")])));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::InvalidField, || {
        open(server(), &get().field("te", "gzip"))
    }),
    (Misuse::InvalidField, || {
        open(server(), &RequestHead::new("GET", "https", "localhost", ""))
    }),
    (Misuse::InvalidField, || {
        on_get(client(), |stream| {
            stream.push(&get().field("upgrade", "x")).map(|_| ())
        })
    }),
    // RFC 9113 §5.1.2: "Endpoints MUST NOT exceed the limit set by their peer."
    (Misuse::TooManyStreams, || {
        let mut peer = Peer::server_with(Config::client(), &[(0x3, 1)]);
        peer.open_get();
        open(peer, &get())
    }),
    (Misuse::TooManyStreams, || {
        let peer = Peer::client_with(Config::server(), &[(0x3, 0)]);
        on_get(peer, |stream| stream.push(&get()).map(|_| ()))
    }),
    (Misuse::GoingAway, || {
        let mut peer = server();
        peer.open_get();
        peer.send(wire::goaway(1, ErrorCode::NO_ERROR));
        open(peer, &get())
    }),
    (Misuse::GoingAway, || {
        let mut peer = server();
        peer.open_get();
        let now = peer.now;
        peer.engine.shut_down(now);
        peer.pump();
        open(peer, &get())
    }),
    (Misuse::GoingAway, || {
        let mut peer = client();
        peer.send_all([wire::get(1), wire::goaway(0, ErrorCode::NO_ERROR)]);
        let misuse = peer.stream(1, |stream| stream.push(&get()));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    // RFC 9113 §8.4: "A client can request that server push be disabled".
    (Misuse::PushDisabled, || {
        let peer = Peer::client_with(Config::server(), &[(0x2, 0)]);
        on_get(peer, |stream| stream.push(&get()).map(|_| ()))
    }),
    (Misuse::UnsafePush, || {
        let post = RequestHead::new("POST", "https", "localhost", "/");
        on_get(client(), move |stream| stream.push(&post).map(|_| ()))
    }),
    (Misuse::UnsafePush, || {
        on_get(client(), |stream| {
            stream.push(&get().field("content-length", "1")).map(|_| ())
        })
    }),
    (Misuse::HeadTooLarge, || {
        let peer = Peer::client_with(Config::server(), &[(0x6, 100)]);
        on_get(peer, |stream| {
            stream.respond(&ok().field("x", bytes(100)), Body::Empty)
        })
    }),
    (Misuse::HeadTooLarge, || {
        let peer = Peer::client_with(Config::server(), &[(0x6, 100)]);
        on_get(peer, |stream| {
            stream.inform(&ResponseHead::new(103).field("x", bytes(100)))
        })
    }),
    (Misuse::HeadTooLarge, || {
        let peer = Peer::client_with(Config::server(), &[(0x6, 100)]);
        on_get(peer, |stream| stream.push(&get()).map(|_| ()))
    }),
    (Misuse::HeadTooLarge, || {
        let mut peer = Peer::client_with(Config::server(), &[(0x6, 100)]);
        peer.send(wire::get(1));
        respond_streaming(&mut peer, 1);
        peer.frames.clear();
        let long = "x".repeat(100);
        let misuse = peer.stream(1, |stream| stream.trailers(&fields(&[("a", &long)])));
        (peer, misuse.expect_err("the call is wrong"))
    }),
    (Misuse::HeadTooLarge, || {
        open(Peer::server_with(Config::client(), &[(0x6, 100)]), &get())
    }),
    // RFC 8441 §3: a client may use extended CONNECT once the server has announced it.
    (Misuse::ConnectProtocolDisabled, || {
        let head = RequestHead::extended_connect("websocket", "https", "localhost", "/");
        open(server(), &head)
    }),
    // RFC 9113 §8.7: nothing was sent, so the request can be sent again.
    (Misuse::OverMemoryBudget, || {
        let none = |config: &mut Config| config.memory_budget = Some(MemoryBudget::new(32 << 10));
        open(server_of(none), &get())
    }),
];

/// A server engine that has promised a stream.
fn promise() -> (Peer, StreamId) {
    let mut peer = client();
    peer.send(wire::get(1));
    let promised = peer.stream(1, |stream| stream.push(&get()));
    peer.frames.clear();
    (peer, promised.expect("the engine promises"))
}

/// A call that is wrong is reported to the caller and never reaches the peer; what began correctly
/// goes on.
#[test]
fn every_misuse_is_returned_to_the_caller_and_to_nobody_else() {
    for (place, (misuse, scenario)) in SCENARIOS.iter().enumerate() {
        let (mut peer, told) = scenario();
        assert_eq!(told, *misuse, "scenario {place}");
        // Only the valid calls in the scenario of AlreadyResponded sent anything.
        if *misuse == Misuse::AlreadyResponded {
            peer.frames.clear();
        }
        peer.expect_alive();
    }
    for misuse in Misuse::ALL {
        assert!(
            SCENARIOS.iter().any(|(shown, _)| shown == misuse),
            "{misuse:?} has no scenario"
        );
    }
}

#[test]
fn a_handle_whose_stream_has_ended_says_so() {
    // RFC 9113 §5.1: the response closes the stream, but the handle still exists.
    let mut peer = client();
    peer.send(wire::get(1));
    peer.stream(1, |stream| {
        assert_eq!(stream.respond(&ok(), Body::Empty), Ok(()));
        assert_eq!(stream.id().get(), 1);
        assert_eq!(
            stream.respond(&ok(), Body::Empty),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(
            stream.inform(&ResponseHead::new(103)),
            Err(Misuse::StreamClosed)
        );
        assert_eq!(stream.trailers(&fields(&[])), Err(Misuse::StreamClosed));
        assert_eq!(stream.push(&get()), Err(Misuse::StreamClosed));
        assert_eq!(stream.write(&mut bytes(1), true), 0);
        assert_eq!(stream.unconsumed(), 0);
        stream.consume(1);
        let priority = stream.priority();
        stream.prioritize(priority);
        stream.release();
        stream.reset(ErrorCode::CANCEL);
        stream.reset(ErrorCode::CANCEL);
    });
    assert!(peer.expect_head(1).end);
    peer.expect_alive();
}

#[test]
fn a_stream_that_takes_no_body_takes_none() {
    // RFC 9113 §8.1: a message begins with its head; an earlier body is not sent.
    let mut peer = client();
    peer.send(wire::get(1));
    let mut body = Bytes::from_static(b"early");
    assert_eq!(peer.stream(1, |stream| stream.write(&mut body, true)), 0);
    assert_eq!(body, "early");
    peer.expect_alive();
    // Nor is one after a body that was given at once.
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 1)]);
    peer.send(wire::get(1));
    peer.respond(1, 200, "whole");
    assert_eq!(peer.stream(1, |stream| stream.write(&mut body, true)), 0);
}

#[test]
fn a_push_that_was_reset_is_gone() {
    let mut peer = pushing_server();
    peer.open_get();
    peer.send(wire::push_promise(1, 2, GET));
    peer.stream(2, |stream| stream.reset(ErrorCode::CANCEL));
    assert!(peer.engine.stream(StreamId::new(2)).is_none());
}
