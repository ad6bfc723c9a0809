//! RFC 7540 §5.3: the priorities that RFC 9113 deprecates, for clients that send no others.

use tidegate_http2::{
    Body, Config, Priorities, Priority, Rate, RequestHead, ResponseHead, Stream, Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, Raw, with};

use crate::support::{bytes, bytes_until_end, client_of, frames_in_order, open_windows, order};

/// The bytes of one turn, or a little more.
const TURN: usize = 16_384;

fn auto() -> Config {
    let mut config = Config::server();
    config.priorities = Priorities::Auto;
    config
}

/// A server engine that accepts these signals too, and whose client has no window yet, so that all
/// responses wait.
fn waiting() -> Peer {
    Peer::client_with(auto(), &[(0x4, 0)])
}

/// A request that depends on another stream. Weights are 1 to 256, as in the RFC.
fn get(id: u32, parent: u32, weight: u32, exclusive: bool) -> Raw {
    wire::get(id).depends_on(parent, exclusive, (weight - 1) as u8)
}

fn priority(id: u32, parent: u32, weight: u32, exclusive: bool) -> Raw {
    wire::priority(id, parent, exclusive, (weight - 1) as u8)
}

/// The client asks, and the owner answers with this many bytes.
fn exchange(peer: &mut Peer, request: Raw, id: u32, len: usize) {
    peer.send(request);
    peer.respond(id, 200, bytes(len));
}

#[test]
fn streams_share_by_their_weights() {
    // RFC 7540 §5.3.2: "Streams with the same parent SHOULD be allocated resources proportionally
    // based on their weight."
    for (one, other, len) in [(256, 1, 64 << 20), (3, 1, 3 << 20), (1, 256, 200_000)] {
        let mut peer = waiting();
        exchange(&mut peer, get(1, 0, one, false), 1, len);
        exchange(&mut peer, get(3, 0, other, false), 3, 64 << 20);
        open_windows(&mut peer);
        let sent = bytes_until_end(&peer, 1);
        let ratio = sent[&1] as f64 / sent[&3] as f64;
        let expected = f64::from(one) / f64::from(other);
        assert!(
            (ratio / expected - 1.0).abs() < 0.1,
            "{one}:{other} came out as {ratio}"
        );
    }
}

#[test]
fn a_dependent_stream_waits_for_its_parent() {
    // RFC 7540 §5.3.1: "a dependent stream SHOULD only be allocated resources if either all of the
    // streams that it depends on (the chain of parent streams up to 0x0) are closed or it is not
    // possible to make progress on them."
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 16, false), 1, 60_000);
    exchange(&mut peer, get(3, 1, 256, false), 3, 60_000);
    exchange(&mut peer, get(5, 3, 256, false), 5, 60_000);
    open_windows(&mut peer);
    assert_eq!(order(&peer), [1, 3, 5]);
    // "It is not possible to make progress" while the parent has no window, or nothing to send.
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 16, false), 1, 60_000);
    exchange(&mut peer, get(3, 1, 256, false), 3, 60_000);
    peer.send_all([
        wire::window_update(0, 1 << 20),
        wire::window_update(3, 60_000),
    ]);
    assert_eq!(order(&peer), [3]);
}

#[test]
fn an_exclusive_stream_goes_before_those_that_depended_on_its_parent() {
    // RFC 7540 §5.3.1: "The exclusive flag causes the stream to become the sole dependency of its
    // parent stream, causing other dependencies to become dependent on the exclusive stream."
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 16, false), 1, 40_000);
    exchange(&mut peer, get(3, 0, 16, false), 3, 20_000);
    exchange(&mut peer, get(5, 0, 16, true), 5, 40_000);
    open_windows(&mut peer);
    let frames = frames_in_order(&peer);
    assert_eq!(frames, [5, 5, 5, 1, 3, 1, 3, 1]);
}

#[test]
fn a_priority_frame_moves_a_response_in_progress() {
    // RFC 7540 §5.3.3: "Stream priorities are changed using the PRIORITY frame."
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 16, false), 1, 1 << 20);
    exchange(&mut peer, get(3, 1, 16, false), 3, 1 << 20);
    peer.send(wire::settings(&[(0x4, 1 << 20)]));
    assert_eq!(order(&peer), [1]);
    peer.frames.clear();
    peer.send_all([
        priority(1, 3, 16, false),
        wire::window_update(0, 10 * TURN as u32),
    ]);
    assert_eq!(order(&peer), [3], "from the next frame on");
    peer.frames.clear();
    // HEADERS that end the stream's request may have a signal too (RFC 7540 §6.2), but here the
    // request has ended.
    peer.send_all([priority(3, 0, 1, false), priority(1, 0, 256, false)]);
    peer.send(wire::window_update(0, 10 * TURN as u32));
    assert_eq!(order(&peer)[..1], [1]);
}

#[test]
fn streams_that_are_never_opened_group_others() {
    // RFC 7540 §5.3.4: "streams that are in the "idle" state can be assigned priority or become a
    // parent of other streams. This allows for the creation of a grouping node in the dependency
    // tree". These are Firefox's groups.
    let mut peer = waiting();
    peer.send_all([
        priority(3, 0, 201, false),
        priority(5, 0, 101, false),
        priority(7, 0, 1, false),
        priority(9, 7, 1, false),
        priority(11, 3, 1, false),
    ]);
    exchange(&mut peer, get(15, 9, 32, false), 15, 4 << 20);
    exchange(&mut peer, get(17, 11, 12, false), 17, 24 << 20);
    exchange(&mut peer, get(19, 11, 12, false), 19, 24 << 20);
    open_windows(&mut peer);
    let sent = bytes_until_end(&peer, 17);
    assert!(sent[&19].abs_diff(sent[&17]) <= 2 * TURN, "{sent:?}");
    let share = (sent[&17] + sent[&19]) as f64 / sent[&15] as f64;
    assert!((share / 201.0 - 1.0).abs() < 0.1, "{sent:?}");
}

#[test]
fn a_push_depends_on_the_stream_that_it_was_promised_on() {
    // RFC 7540 §5.3.5: "Pushed streams initially depend on their associated stream."
    let mut peer = waiting();
    peer.send(get(1, 0, 16, false));
    let head = RequestHead::new("GET", "https", "localhost", "/a");
    peer.stream(1, |stream| stream.push(&head)).expect("it may");
    peer.respond(2, 200, bytes(40_000));
    peer.respond(1, 200, bytes(40_000));
    open_windows(&mut peer);
    assert_eq!(order(&peer), [1, 2]);
}

#[test]
fn what_the_owner_says_changes_the_weight() {
    // An urgency of 3 is the default weight of 16; one step down is twice as much.
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 16, false), 1, 4 << 20);
    exchange(&mut peer, get(3, 0, 16, false), 3, 4 << 20);
    peer.stream(1, |stream| stream.prioritize(Priority::parse(b"u=1")));
    // The client has sent signals for both of them.
    peer.stream(3, |stream| stream.suggest_priority(Priority::parse(b"u=0")));
    // It has sent none for this one, and the response overrides the suggestion.
    peer.send(wire::get(5));
    peer.stream(5, |stream| stream.suggest_priority(Priority::parse(b"u=0")));
    let head = ResponseHead::new(200).field("priority", "u=2");
    let body = Body::Full(bytes(4 << 20));
    peer.stream(5, |stream| stream.respond(&head, body))
        .expect("it may");
    open_windows(&mut peer);
    let sent = bytes_until_end(&peer, 1);
    for (stream, part) in [(3, 0.25), (5, 0.5)] {
        let ratio = sent[&stream] as f64 / sent[&1] as f64;
        assert!((ratio / part - 1.0).abs() < 0.1, "{stream}: {sent:?}");
    }
}

#[test]
fn signals_of_rfc_9218_count_from_then_on_for_good() {
    // RFC 9218 §2.1: "A server that receives SETTINGS_NO_RFC7540_PRIORITIES with a value of 1 MUST
    // ignore HTTP/2 priority signals." A client that sends the newer signals sends the older ones
    // only for other servers.
    type Case = (&'static str, (u16, u32), Vec<Raw>, Vec<Raw>);
    let by_field = || wire::headers(1, &with(GET, &[("priority", "u=5")])).end();
    let late_field = || wire::headers(9, &with(GET, &[("priority", "u=5")])).end();
    let none = (0x9, 0);
    let cases: [Case; 5] = [
        ("a field before", none, vec![by_field()], vec![]),
        ("a field after", none, vec![], vec![late_field()]),
        (
            "an update",
            none,
            vec![],
            vec![wire::priority_update(3, "u=3")],
        ),
        (
            "an early update",
            none,
            vec![],
            vec![wire::priority_update(9, "u=0")],
        ),
        ("the setting", (0x9, 1), vec![], vec![]),
    ];
    for (what, setting, before, after) in cases {
        let mut peer = Peer::client_with(auto(), &[(0x4, 0), setting]);
        peer.send_all(before);
        exchange(&mut peer, get(3, 0, 1, false), 3, 40_000);
        exchange(&mut peer, get(5, 0, 256, true), 5, 40_000);
        peer.send_all(after);
        peer.send_all([priority(5, 0, 256, true), priority(3, 5, 1, false)]);
        open_windows(&mut peer);
        assert_eq!(order(&peer), [3, 5], "{what}");
    }
    // Without any of them, the tree decides.
    let mut peer = waiting();
    exchange(&mut peer, get(3, 0, 1, false), 3, 40_000);
    exchange(&mut peer, get(5, 0, 256, true), 5, 40_000);
    open_windows(&mut peer);
    assert_eq!(order(&peer), [5, 3]);
}

#[test]
fn by_default_they_say_nothing() {
    // RFC 9113 §5.3.2: a server that has sent SETTINGS_NO_RFC7540_PRIORITIES of 1 ignores them (RFC
    // 9218 §2.1).
    let mut peer = Peer::client_with(Config::server(), &[(0x4, 0)]);
    exchange(&mut peer, get(1, 0, 1, false), 1, 40_000);
    exchange(&mut peer, get(3, 0, 256, true), 3, 40_000);
    peer.send(priority(1, 3, 1, false));
    peer.stream(3, |stream| stream.suggest_priority(Priority::parse(b"u=2")));
    open_windows(&mut peer);
    assert_eq!(
        order(&peer),
        [3, 1],
        "a suggestion isn't kept out by what says nothing"
    );
}

#[test]
fn nobody_starves_behind_a_parent() {
    // A parent that always has something to send, and children that it would keep waiting for ever.
    let mut peer = waiting();
    exchange(&mut peer, get(1, 0, 256, false), 1, 40 << 20);
    exchange(&mut peer, get(3, 1, 1, false), 3, 40_000);
    open_windows(&mut peer);
    let frames = frames_in_order(&peer);
    let first = frames
        .iter()
        .position(|id| *id == 3)
        .expect("it has a turn");
    assert!(first < 2 * 1024, "its first turn is number {first}");
}

#[test]
fn priority_frames_by_the_hundred_thousand() {
    // The worst shape: all streams that may be open depend on one that moves, so that each frame
    // visits them; and idle streams beyond the number that is kept. The visits have a bound, which
    // is tested with the tree.
    type Flood = fn(u32) -> Raw;
    let floods: [(Flood, u32); 3] = [
        (|n| priority(1, n % 2 * 3, 1 + n % 256, true), 100),
        (|n| priority(1001 + 2 * n, 0, 1 + n % 256, true), 10),
        (|n| priority(1001 + 2 * n, 1, 1 + n % 256, false), 10),
    ];
    for (flood, thousands) in floods {
        let mut config = auto();
        config.abuse.priorities = Rate::new(u32::MAX, u32::MAX);
        let mut peer = Peer::client_with(config, &[(0x4, 0)]);
        for n in 0..100 {
            let id = 1 + 2 * n;
            exchange(&mut peer, get(id, u32::from(n > 2), 1 + n, false), id, 1000);
        }
        peer.send(wire::settings(&[(0x4, 1000)]));
        peer.frames.clear();
        for batch in 0..thousands {
            peer.send_all((0..1000).map(|n| flood(1000 * batch + n)));
        }
        peer.expect_alive();
    }
    let mut peer = client_of(|config| config.priorities = Priorities::Auto);
    for batch in 0..200 {
        peer.send_all((0..100).map(|n| priority(1 + 2 * n, 0, 1 + batch, true)));
        peer.wait_out_pause();
    }
    peer.connection_error(Violation::PriorityFlood);
}

#[test]
fn requests_that_move_many_streams_are_charged_like_priority_frames() {
    // A HEADERS frame doesn't get around the budget of PRIORITY frames.
    let mut config = auto();
    config.max_concurrent_streams = 1000;
    let mut peer = Peer::client_with(config, &[(0x4, 0)]);
    for n in 0..300 {
        exchange(&mut peer, get(1 + 2 * n, 0, 16, false), 1 + 2 * n, 1000);
    }
    let mut opened = 0;
    while !peer.engine.is_closed() {
        assert!(opened < 20_000, "nothing is charged");
        let id = 1001 + 2 * opened;
        // All others now depend on it.
        exchange_if_open(&mut peer, get(id, 0, 16, true), id);
        opened += 1;
        peer.wait_out_pause();
    }
    // 1,000 at once, and some after each of a hundred pauses.
    assert!((1000..=13_000).contains(&opened), "{opened} were let pass");
    peer.connection_error(Violation::PriorityFlood);
}

fn exchange_if_open(peer: &mut Peer, request: Raw, id: u32) {
    peer.send(request);
    if !peer.engine.is_closed() {
        peer.respond(id, 204, "");
    }
}
