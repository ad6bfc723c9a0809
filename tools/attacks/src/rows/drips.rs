//! Attacks that make a little progress now and then, so that nothing ever ends.

use std::time::{Duration, Instant};

use tidegate_testkit::wire;

use super::{INITIAL_WINDOW, fields};
use crate::peer::{Attacker, Peer};

const MANY: usize = 100;

/// The time between two drops.
const DROP: Duration = Duration::from_millis(300);

pub(super) fn connection_window(attacker: &mut Attacker) {
    let open = |attacker: &mut Attacker| downloads(attacker, 1 << 20);
    drip(attacker, 1, open, || wire::window_update(0, 1).to_bytes());
}

pub(super) fn stream_windows(attacker: &mut Attacker) {
    let open = |attacker: &mut Attacker| downloads(attacker, 0);
    drip(attacker, 1, open, || {
        let ids = (1..200).step_by(2);
        ids.flat_map(|id| wire::window_update(id, 1).to_bytes())
            .collect()
    });
}

pub(super) fn body(attacker: &mut Attacker) {
    let head = b"POST /upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";
    drip(
        attacker,
        MANY,
        |attacker| begin(attacker, head),
        || vec![b'x'],
    );
}

pub(super) fn empty_data(attacker: &mut Attacker) {
    let open = |attacker: &mut Attacker| {
        let mut peer = attacker.connect_http2(&[])?;
        for id in (1..200).step_by(2) {
            attacker.send(
                &mut peer,
                &wire::headers(id, &fields("POST", "/upload")).to_bytes(),
            );
        }
        Some(peer)
    };
    drip(attacker, 1, open, || {
        let ids = (1..200).step_by(2);
        ids.flat_map(|id| wire::data(id, b"").to_bytes()).collect()
    });
}

pub(super) fn head(attacker: &mut Attacker) {
    let head = b"GET /small HTTP/1.1\r\nhost: localhost\r\nx: ";
    drip(
        attacker,
        MANY,
        |attacker| begin(attacker, head),
        || vec![b'x'],
    );
}

pub(super) fn discarded(attacker: &mut Attacker) {
    let head = b"POST /small HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";
    drip(
        attacker,
        MANY,
        |attacker| begin(attacker, head),
        || vec![b'x'],
    );
}

pub(super) fn reader(attacker: &mut Attacker) {
    let head = b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut peers: Vec<_> = (0..MANY).filter_map(|_| begin(attacker, head)).collect();
    while !attacker.is_over() && !peers.is_empty() {
        for peer in &mut peers {
            peer.sip(1);
        }
        std::thread::sleep(DROP);
    }
    // `close_all` reads the rest, to find out which connections have ended.
    attacker.close_all(peers);
}

/// Opens a connection with downloads whose stream windows have this size. The connection's window
/// is used up.
fn downloads(attacker: &mut Attacker, window: u32) -> Option<Peer> {
    let mut peer = attacker.connect_http2(&[(INITIAL_WINDOW, window)])?;
    for id in (1..200).step_by(2) {
        let head = wire::headers(id, &fields("GET", "/large")).end();
        attacker.send(&mut peer, &head.to_bytes());
    }
    Some(peer)
}

fn begin(attacker: &mut Attacker, head: &[u8]) -> Option<Peer> {
    let mut peer = attacker.connect(attacker.server)?;
    attacker.send(&mut peer, head);
    Some(peer)
}

/// Opens connections and sends a drop on each, again and again. A connection that ends is counted,
/// and not replaced.
fn drip(
    attacker: &mut Attacker,
    connections: usize,
    mut open: impl FnMut(&mut Attacker) -> Option<Peer>,
    drop: impl Fn() -> Vec<u8>,
) {
    let mut peers: Vec<Peer> = (0..connections).filter_map(|_| open(attacker)).collect();
    while !attacker.is_over() && !peers.is_empty() {
        let began = Instant::now();
        for peer in &mut peers {
            attacker.send(peer, &drop());
        }
        attacker.close_ended(&mut peers);
        std::thread::sleep(DROP.saturating_sub(began.elapsed()));
    }
    attacker.close_all(peers);
}
