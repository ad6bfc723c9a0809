//! Attacks that hold shared resources, with hardly any traffic.

use tidegate_testkit::wire;

use super::{INITIAL_WINDOW, fields};
use crate::peer::{Attacker, Peer, Reads};

const MANY: usize = 1_100;

const GET: &[u8] = b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n";

pub(super) fn idle(attacker: &mut Attacker) {
    let peers = open(attacker, MANY, |attacker| {
        let mut peer = attacker.connect(attacker.server)?;
        attacker.send(&mut peer, GET);
        Some(peer)
    });
    attacker.hold(peers, Reads::All);
}

pub(super) fn silent(attacker: &mut Attacker) {
    let (plain, tls) = (attacker.server, attacker.tls);
    let mut peers = open(attacker, MANY / 2, |attacker| attacker.connect(plain));
    peers.extend(open(attacker, MANY / 2, |attacker| attacker.connect(tls)));
    attacker.hold(peers, Reads::All);
}

pub(super) fn preface(attacker: &mut Attacker) {
    let peers = open(attacker, MANY, |attacker| {
        let mut peer = attacker.connect(attacker.server)?;
        attacker.send(&mut peer, wire::PREFACE);
        Some(peer)
    });
    attacker.hold(peers, Reads::All);
}

pub(super) fn downloads(attacker: &mut Attacker) {
    streams(attacker, 10, 100, &[(INITIAL_WINDOW, 0)], |id| {
        wire::headers(id, &fields("GET", "/large")).end().to_bytes()
    });
}

pub(super) fn upload_heads(attacker: &mut Attacker) {
    streams(attacker, 10, 1_000, &[], |id| {
        wire::headers(id, &fields("POST", "/upload")).to_bytes()
    });
}

pub(super) fn echoes(attacker: &mut Attacker) {
    let body = vec![b'x'; 16_000];
    let peers = open(attacker, 10, |attacker| {
        let mut peer = attacker.connect_http2(&[(INITIAL_WINDOW, 0)])?;
        for id in (1..200).step_by(2) {
            let mut frames = wire::headers(id, &fields("POST", "/echo")).to_bytes();
            for _ in 0..4 {
                frames.extend_from_slice(&wire::data(id, &body).to_bytes());
            }
            if !attacker.send(&mut peer, &frames) {
                break;
            }
            attacker.pace();
        }
        Some(peer)
    });
    attacker.hold(peers, Reads::All);
}

pub(super) fn large_heads(attacker: &mut Attacker) {
    let peers = open(attacker, 3, |attacker| {
        let mut peer = attacker.connect_http2(&[(INITIAL_WINDOW, 0)])?;
        for id in (1..2_000).step_by(2) {
            let mut block = wire::block(&fields("GET", "/proxied/large"));
            if id == 1 {
                // RFC 7541 §6.2.1: a literal that becomes entry 62, in the dynamic table.
                block.extend_from_slice(&[0x40, 1, b'x', 127, 0xa1, 0x1e]);
                block.extend_from_slice(&[b'v'; 4_000]);
            }
            // RFC 7541 §6.1: seven references to that entry.
            block.extend_from_slice(&[0x80 | 62; 7]);
            attacker.send(&mut peer, &wire::headers_block(id, block).end().to_bytes());
        }
        Some(peer)
    });
    attacker.hold(peers, Reads::All);
}

pub(super) fn unread(attacker: &mut Attacker) {
    let requests = GET.repeat((64 << 10) / GET.len());
    let peers = open(attacker, 100, |attacker| {
        let mut peer = attacker.connect(attacker.server)?;
        attacker.send(&mut peer, &requests);
        Some(peer)
    });
    attacker.hold(peers, Reads::Nothing);
}

pub(super) fn proxied_downloads(attacker: &mut Attacker) {
    streams(attacker, 3, 100, &[(INITIAL_WINDOW, 0)], |id| {
        wire::headers(id, &fields("GET", "/proxied/large"))
            .end()
            .to_bytes()
    });
}

pub(super) fn proxied_uploads(attacker: &mut Attacker) {
    streams(attacker, 3, 100, &[], |id| {
        wire::headers(id, &fields("POST", "/proxied/upload")).to_bytes()
    });
}

/// Opens `count` connections, as far as they are accepted.
fn open(
    attacker: &mut Attacker,
    count: usize,
    mut each: impl FnMut(&mut Attacker) -> Option<Peer>,
) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        if attacker.is_over() {
            break;
        }
        peers.extend(each(attacker));
    }
    peers
}

/// Opens connections with streams on each, and holds them.
fn streams(
    attacker: &mut Attacker,
    connections: usize,
    streams: u32,
    settings: &[(u16, u32)],
    frame: impl Fn(u32) -> Vec<u8>,
) {
    let peers = open(attacker, connections, |attacker| {
        let mut peer = attacker.connect_http2(settings)?;
        let all: Vec<u8> = (0..streams)
            .flat_map(|index| frame(index * 2 + 1))
            .collect();
        attacker.send(&mut peer, &all);
        Some(peer)
    });
    attacker.hold(peers, Reads::All);
}
