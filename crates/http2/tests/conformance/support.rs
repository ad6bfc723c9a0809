//! Shorthands of the tests: the role that the test plays, and its changes to the config.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tidegate_frame::Frame;
use tidegate_http2::{Body, Config, Priority, ResponseHead, Stream};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire;

/// The test is the client; the engine is a server with its defaults.
pub(crate) fn client() -> Peer {
    Peer::client(Config::server())
}

/// The test is the client; the engine is a server whose config was changed.
pub(crate) fn client_of(change: impl FnOnce(&mut Config)) -> Peer {
    let mut config = Config::server();
    change(&mut config);
    Peer::client(config)
}

/// The test is the client; the engine is a server whose streams always have this window.
pub(crate) fn client_of_window(bytes: u32) -> Peer {
    client_of(|config| fix_window(config, bytes))
}

/// Fixes the streams' receive windows at this size.
pub(crate) fn fix_window(config: &mut Config, bytes: u32) {
    config.initial_window_size = bytes;
    config.max_stream_window_size = bytes;
}

/// The test is the server; the engine is a client with its defaults.
pub(crate) fn server() -> Peer {
    Peer::server(Config::client())
}

/// The test is the server; the engine is a client whose config was changed.
pub(crate) fn server_of(change: impl FnOnce(&mut Config)) -> Peer {
    let mut config = Config::client();
    change(&mut config);
    Peer::server(config)
}

/// The test is the server; the engine is a client that accepts pushes.
pub(crate) fn pushing_server() -> Peer {
    server_of(|config| config.enable_push = true)
}

/// Seconds.
pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Returns `count` bytes.
pub(crate) fn bytes(count: usize) -> Bytes {
    Bytes::from(vec![b'x'; count])
}

/// Has the owner answer with a body that it will be asked for.
pub(crate) fn respond_streaming(peer: &mut Peer, id: u32) {
    peer.stream(id, |stream| {
        stream
            .respond(&ResponseHead::new(200), Body::Stream)
            .expect("the engine takes the response");
    });
}

/// Takes the engine's GOAWAY frames: their last streams and codes. Other frames stay.
pub(crate) fn goaways(peer: &Peer) -> Vec<(u32, u32)> {
    let frames = peer.frames.iter().filter_map(|frame| match frame {
        Received::Other(Frame::GoAway(frame)) => Some((frame.last_stream_id.get(), frame.code.0)),
        _ => None,
    });
    frames.collect()
}

/// Returns how many RST_STREAM frames the engine has sent so far; they stay.
pub(crate) fn resets(peer: &Peer) -> usize {
    let is_reset = |frame: &&Received| matches!(frame, Received::Other(Frame::RstStream(_)));
    peer.frames.iter().filter(is_reset).count()
}

/// Has the owner release a stream that was reset.
pub(crate) fn release(peer: &mut Peer, id: u32) {
    peer.stream(id, |stream| {
        stream.release();
    });
}

/// Returns the bytes reported to the owner of a stream and not consumed.
pub(crate) fn unconsumed(peer: &mut Peer, id: u32) -> usize {
    peer.stream(id, |stream| -> usize { stream.unconsumed() })
}

/// Returns a stream's priority among those that want to send.
pub(crate) fn priority(peer: &mut Peer, id: u32) -> Priority {
    peer.stream(id, |stream| -> Priority { stream.priority() })
}

/// Has the client open all windows wide.
pub(crate) fn open_windows(peer: &mut Peer) {
    peer.send_all([
        wire::window_update(0, 1 << 30),
        wire::settings(&[(0x4, 1 << 30)]),
    ]);
}

/// Takes the DATA frames so far: their streams and bytes.
fn data(peer: &Peer) -> impl Iterator<Item = (u32, usize, bool)> {
    peer.frames.iter().filter_map(|frame| match frame {
        Received::Data { id, payload, end } => Some((*id, payload.len(), *end)),
        _ => None,
    })
}

/// Returns the streams of the DATA frames so far, in order.
pub(crate) fn frames_in_order(peer: &Peer) -> Vec<u32> {
    data(peer).map(|(id, ..)| id).collect()
}

/// Like `frames_in_order`, with each run of one stream once.
pub(crate) fn order(peer: &Peer) -> Vec<u32> {
    let mut ids = frames_in_order(peer);
    ids.dedup();
    ids
}

/// Returns what each stream had sent when the first of them had sent all.
pub(crate) fn bytes_until_end(peer: &Peer, first: u32) -> HashMap<u32, usize> {
    let mut sent = HashMap::new();
    for (id, len, end) in data(peer) {
        *sent.entry(id).or_default() += len;
        if end {
            assert_eq!(id, first, "{sent:?}");
            return sent;
        }
    }
    panic!("none has sent all: {sent:?}");
}
