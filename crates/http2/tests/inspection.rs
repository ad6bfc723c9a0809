//! The picture of a connection that [`Connection::inspect`](tidegate_http2::Connection::inspect)
//! gives.

use std::time::Duration;

use tidegate_frame::Kind;
use tidegate_http2::{Config, Direction, Inspection, InspectionScope, Stream, StreamId, WaitsFor};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, POST, with};

const SCOPE: InspectionScope = InspectionScope::new(10, 10);

fn inspect(peer: &Peer) -> Inspection {
    peer.engine.inspect(SCOPE, peer.now)
}

fn waits(peer: &Peer, id: u32) -> WaitsFor {
    let inspection = inspect(peer);
    let stream = inspection.streams.iter();
    let mut stream = stream.filter(|stream| stream.id == StreamId::new(id));
    stream.next().expect("the stream is open").waits_for
}

#[test]
fn a_stream_says_what_it_waits_for() {
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 10)]);
    peer.send(wire::headers(1, GET).end());
    assert_eq!(waits(&peer, 1), WaitsFor::Owner);
    peer.respond(1, 200, vec![0; 200]);
    assert_eq!(waits(&peer, 1), WaitsFor::StreamWindow);
    let stream = &inspect(&peer).streams[0];
    assert_eq!(
        (stream.queued, stream.sent, stream.send_window),
        (190, 10, 0)
    );
    assert_eq!(stream.state, "half-closed (remote)");
    peer.wait(Duration::from_secs(2));
    assert_eq!(
        inspect(&peer).streams[0].stalled,
        Some(Duration::from_secs(2))
    );

    peer.send(wire::headers(3, &with(POST, &[("priority", "u=1, i")])));
    assert_eq!(waits(&peer, 3), WaitsFor::Peer);
    peer.send(wire::data(3, b"abc"));
    assert_eq!(waits(&peer, 3), WaitsFor::Owner);
    let stream = &inspect(&peer).streams[1];
    assert_eq!((stream.state, stream.unconsumed), ("open", 3));
    assert_eq!(
        (stream.priority.urgency, stream.priority.incremental),
        (1, true)
    );
    let mut stream = peer.engine.stream(StreamId::new(3)).unwrap();
    stream.consume(3);
    assert_eq!(waits(&peer, 3), WaitsFor::Peer);
}

#[test]
fn settings_guards_tables_and_frames_are_those_of_the_connection() {
    let mut peer = Peer::client_with(Config::server(), &[(0x3, 7)]);
    for _ in 0..3 {
        peer.send(wire::ping(&[0; 8]));
    }
    peer.send(wire::headers(1, GET).end());
    peer.respond(1, 200, "");
    let inspection = inspect(&peer);
    let setting = |name| {
        let mut settings = inspection.settings.iter();
        settings.find(|row| row.name == name).copied().unwrap()
    };
    assert_eq!(setting("MAX_CONCURRENT_STREAMS").ours, Some(100));
    assert_eq!(setting("MAX_CONCURRENT_STREAMS").peers, Some(7));
    assert_eq!(setting("ENABLE_PUSH").ours, None);
    let spent = |name| {
        let mut guards = inspection.guards.iter();
        guards.find(|guard| guard.name == name).unwrap().spent
    };
    assert_eq!((spent("pings"), spent("resets")), (3, 0));
    let last = inspection.last_frames.last().unwrap();
    assert_eq!(
        (last.direction, last.head.kind),
        (Direction::Sent, Kind::HEADERS)
    );
    let pings = inspection.last_frames.iter();
    let pings = pings.filter(|frame| frame.head.kind == Kind::PING);
    assert_eq!(pings.count(), 6);
    assert!(inspection.decoder.len <= inspection.decoder.entries.len());
    peer.wait(Duration::from_secs(1));
    let guards = inspect(&peer).guards;
    assert!(
        guards
            .iter()
            .all(|guard| guard.name != "pings" || guard.spent == 0)
    );
}
