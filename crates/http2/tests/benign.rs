//! Honest traffic that looks like an attack to counters: it triggers neither the end of the
//! connection nor a pause. Time is virtual, so frames that a client sends at once really arrive at
//! once.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http2::{
    Body, Config, ErrorCode, Event, RequestHead, ResponseHead, Stream, Violation,
};
use tidegate_testkit::peer::Peer;
use tidegate_testkit::wire::{self, GET, Raw, with};

/// A harmless client, and a server engine that must not object.
struct Honest {
    peer: Peer,
    next: u32,
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The number of streams that servers allow: the engine's default, and that of `tidegate`.
const STREAMS: [u32; 2] = [100, 1000];

impl Honest {
    /// Makes a client with these SETTINGS and a server that allows this many streams.
    fn new(max_concurrent_streams: u32, settings: &[(u16, u32)]) -> Self {
        let mut config = Config::server();
        config.max_concurrent_streams = max_concurrent_streams;
        Self {
            peer: Peer::client_with(config, settings),
            next: 1,
        }
    }

    /// Opens windows like a browser: large from the start.
    fn browser(max_concurrent_streams: u32) -> Self {
        let mut client = Self::new(max_concurrent_streams, &[(0x4, 6 << 20)]);
        client.send([wire::window_update(0, 15_663_105)]);
        client
    }

    #[track_caller]
    fn send(&mut self, frames: impl IntoIterator<Item = Raw>) {
        self.peer.send_all(frames);
        self.check();
    }

    #[track_caller]
    fn wait(&mut self, time: Duration) {
        self.peer.wait(time);
        self.check();
    }

    /// Checks that nothing was triggered so far.
    #[track_caller]
    fn check(&mut self) {
        let engine = &self.peer.engine;
        assert!(!engine.is_ending(), "the end: {:?}", self.peer.events);
        assert!(engine.can_receive(), "a pause");
    }

    /// Returns the identifiers of new streams.
    fn take(&mut self, count: u32) -> Vec<u32> {
        let ids = (0..count).map(|n| self.next + 2 * n).collect();
        self.next += 2 * count;
        ids
    }

    /// Has the owner answer with a body of this many bytes.
    #[track_caller]
    fn respond(&mut self, ids: &[u32], len: usize) {
        for id in ids {
            self.peer.respond(*id, 200, vec![b'x'; len]);
        }
        self.check();
    }

    /// Drops the events, and checks that the connection is as good as before.
    #[track_caller]
    fn finish(mut self) {
        self.peer.frames.clear();
        self.peer.events.clear();
        self.peer.expect_alive();
    }
}

/// Returns the streams whose responses the engine has sent in full.
fn finished(peer: &mut Peer, ids: &[u32]) -> usize {
    ids.iter().filter(|id| peer.take_body(**id).1).count()
}

#[test]
fn a_page_of_600_images() {
    // Like Chromium: a priority with each request, and one or two more once it knows what is in
    // view.
    for streams in STREAMS {
        for rtt in [Duration::ZERO, 50 * MS] {
            let mut client = Honest::browser(streams);
            let page = client.take(1);
            client.send(page.iter().map(|id| wire::get(*id)));
            client.respond(&page, 50_000);
            let mut images = 600;
            while images > 0 {
                let wave = streams.min(images);
                images -= wave;
                let ids = client.take(wave);
                let asked = with(GET, &[("priority", "u=5, i")]);
                client.send(ids.iter().map(|id| wire::headers(*id, &asked).end()));
                client.wait(rtt);
                client.send(ids.iter().map(|id| wire::priority_update(*id, "u=2, i")));
                client.send(ids.iter().map(|id| wire::priority(*id, 0, true, 146)));
                client.wait(rtt);
                client.respond(&ids, 20_000);
                client.send(ids.iter().map(|id| wire::priority_update(*id, "u=3, i")));
                // Each body is read, and its window opened again.
                let read = |id: &u32| [wire::window_update(*id, 20_000)];
                client.send(ids.iter().flat_map(read));
                client.send([wire::window_update(0, 20_000 * wave)]);
                assert_eq!(finished(&mut client.peer, &ids), ids.len());
                client.peer.frames.clear();
            }
            client.finish();
        }
    }
}

#[test]
fn signals_of_250_priorities_at_once() {
    for signal in [
        (|id| wire::priority(id, 0, false, 200)) as fn(u32) -> Raw,
        |id| wire::priority_update(id, "u=2, i"),
    ] {
        for streams in STREAMS {
            let mut client = Honest::browser(streams);
            let ids = client.take(50);
            client.send(ids.iter().map(|id| wire::get(*id)));
            client.send((0..250).map(|n| signal(ids[n % 50])));
            client.respond(&ids, 1000);
            client.finish();
        }
    }
}

#[test]
fn mistakes_among_many_good_requests() {
    // A proxy's connection carries the requests of all its clients, and 150 of 10,000 are
    // malformed.
    for streams in STREAMS {
        let mut client = Honest::browser(streams);
        let mut mistakes = 0;
        for n in 0..10_150 {
            let id = client.take(1)[0];
            if n % 67 == 66 {
                let malformed = with(GET, &[("te", "gzip")]);
                client.send([wire::headers(id, &malformed).end()]);
                client.peer.answered_by_400(id, Violation::TeNotTrailers);
                mistakes += 1;
            } else {
                client.send([wire::get(id)]);
                client.peer.expect_request(id);
                client.respond(&[id], 5);
            }
            client.peer.frames.clear();
        }
        assert!(mistakes > 150);
        client.finish();
    }
    // Occasionally for hours, with few valid requests.
    let mut client = Honest::browser(100);
    for _ in 0..3000 {
        let id = client.take(1)[0];
        client.wait(2 * SECOND);
        client.send([wire::headers(id, &with(GET, &[("te", "gzip")])).end()]);
        let id = client.take(1)[0];
        client.send([wire::get(id)]);
        client.respond(&[id], 5);
        client.peer.frames.clear();
    }
    client.finish();
}

#[test]
fn uploads_with_an_empty_frame_after_each_piece() {
    for pause in [Duration::ZERO, MS, SECOND] {
        let mut client = Honest::browser(100);
        for _ in 0..200 {
            let id = client.take(1)[0];
            client.send([wire::post(id), wire::data(id, "")]);
            for _ in 0..10 {
                client.send([wire::data(id, "a piece"), wire::data(id, "")]);
                client.peer.stream(id, |stream| stream.consume(7));
                client.wait(pause);
            }
            client.send([wire::data(id, "").end()]);
            client.respond(&[id], 2);
            client.peer.frames.clear();
        }
        client.finish();
    }
}

#[test]
fn windows_that_are_opened_byte_by_byte() {
    // All at once, and each after the byte before.
    for at_once in [true, false] {
        let mut client = Honest::new(100, &[(0x4, 0)]);
        client.send([wire::get(1)]);
        client.respond(&[1], 300);
        if at_once {
            client.send((0..300).map(|_| wire::window_update(1, 1)));
        } else {
            for _ in 0..300 {
                client.send([wire::window_update(1, 1)]);
            }
        }
        let (body, is_whole) = client.peer.take_body(1);
        assert_eq!((body.len(), is_whole), (300, true));
        client.finish();
    }
}

#[test]
fn pings_each_second_for_ten_minutes() {
    for under_way in [true, false] {
        let mut client = Honest::browser(100);
        if under_way {
            client.send([wire::get(1)]);
        }
        for _ in 0..599 {
            client.wait(SECOND);
            client.send([wire::ping(b"are you?")]);
            client.peer.frames.retain(|_| false);
        }
        client.finish();
    }
}

#[test]
fn cookies_of_90_and_150_crumbs() {
    for crumbs in [90, 150] {
        let mut client = Honest::browser(100);
        let crumb = ("cookie", "name-of-a-cookie=0123456789abcdef0123456789");
        let fields = with(GET, &vec![crumb; crumbs]);
        for _ in 0..500 {
            let id = client.take(1)[0];
            client.send([wire::headers(id, &fields).end()]);
            client.peer.expect_request(id);
            client.respond(&[id], 5);
        }
        client.finish();
    }
}

/// Has the client cancel these requests, and the owner release them.
fn cancel(client: &mut Honest, ids: &[u32]) {
    let cancelled = ids
        .iter()
        .map(|id| wire::rst_stream(*id, ErrorCode::CANCEL));
    client.send(cancelled.collect::<Vec<_>>());
    client.peer.events.clear();
}

#[test]
fn a_map_that_is_zoomed() {
    // Of 400 tiles, 360 are out of view before they are loaded, in less than a second.
    for streams in STREAMS {
        let mut client = Honest::browser(streams);
        let wave = streams.min(400);
        for _ in 0..400 / wave {
            let ids = client.take(wave);
            client.send(ids.iter().map(|id| wire::get(*id)));
            client.wait(20 * MS);
            let (seen, gone) = ids.split_at(wave as usize / 10);
            cancel(&mut client, gone);
            client.respond(seen, 15_000);
            client.peer.frames.clear();
        }
        client.finish();
    }
}

#[test]
fn a_search_field() {
    // Each keystroke cancels the request of the one before.
    let mut client = Honest::browser(100);
    let mut last = None;
    for _ in 0..5000 {
        let id = client.take(1)[0];
        cancel(&mut client, last.as_slice());
        client.send([wire::get(id)]);
        client.wait(80 * MS);
        last = Some(id);
    }
    client.finish();
}

#[test]
fn a_page_of_256_images_that_is_reloaded_each_second() {
    for streams in STREAMS {
        let mut client = Honest::browser(streams);
        for _ in 0..60 {
            let ids = client.take(256.min(streams));
            client.send(ids.iter().map(|id| wire::get(*id)));
            client.wait(SECOND);
            cancel(&mut client, &ids);
        }
        client.finish();
    }
}

#[test]
fn readers_of_2_kilobytes_a_second() {
    // Three downloads share a bad mobile connection.
    let mut client = Honest::new(100, &[(0x4, 8192)]);
    let ids = client.take(3);
    client.send(ids.iter().map(|id| wire::get(*id)));
    client.respond(&ids, 100_000);
    for second in 0..300 / 3 {
        for id in &ids {
            client.wait(SECOND);
            client.send([wire::window_update(*id, 2048), wire::window_update(0, 2048)]);
            assert!(second > 0 || !client.peer.frames.is_empty());
        }
    }
    assert_eq!(finished(&mut client.peer, &ids), 3);
    client.finish();
}

#[test]
fn downloads_that_are_paused() {
    // Behind a proxy each stream is one viewer. Streams that the server gives up after its own time
    // limit are nobody's offence.
    let mut client = Honest::new(1000, &[(0x4, 1000)]);
    client.send([wire::window_update(0, 1 << 24)]);
    for _ in 0..5 {
        let ids = client.take(110);
        client.send(ids.iter().map(|id| wire::get(*id)));
        client.respond(&ids, 300_000);
        client.wait(90 * SECOND);
        let gave_up = |event: &Event| matches!(event, Event::Reset { .. });
        let count = client
            .peer
            .events
            .iter()
            .filter(|event| gave_up(event))
            .count();
        assert_eq!(count, 110);
        client.peer.events.clear();
        let id = client.take(1)[0];
        client.send([wire::get(id)]);
        client.respond(&[id], 5);
        assert_eq!(finished(&mut client.peer, &[id]), 1);
    }
    client.finish();
}

#[test]
fn calls_of_grpc_with_thousands_of_tiny_messages() {
    // A few bytes of DATA in either direction, WINDOW_UPDATE for each, and PING whenever the last
    // one was answered, to measure the path.
    for pause in [Duration::ZERO, MS] {
        let mut client = Honest::new(100, &[]);
        client.send([wire::post(1)]);
        client.peer.stream(1, |stream| {
            let head = ResponseHead::new(200).field("content-type", "application/grpc");
            stream.respond(&head, Body::Stream).expect("it may");
        });
        for _ in 0..10_000 {
            client.send([wire::data(1, "\0\0\0\0\x05hello")]);
            client.peer.stream(1, |stream| {
                stream.consume(10);
                stream.write(&mut Bytes::from_static(b"\0\0\0\0\x05world"), false);
            });
            client.send([
                wire::window_update(1, 10),
                wire::window_update(0, 10),
                wire::ping(b"bdp-ping"),
            ]);
            client.wait(pause);
            client.peer.frames.clear();
            client.peer.events.clear();
        }
        client.finish();
    }
}

#[test]
fn a_server_that_answers_thousands_of_small_uploads_early() {
    // RFC 9113 §8.1: NO_ERROR asks for no more of a request that was answered in full. Frames that
    // cross it arrive on a closed stream, at either end.
    let mut peer = Peer::server(Config::client());
    let head = RequestHead::new("POST", "https", "localhost", "/");
    for _ in 0..5000 {
        let id = peer.open(&head, Body::Stream);
        peer.stream(id, |stream| {
            stream.write(&mut Bytes::from_static(b"some"), false);
        });
        peer.send_all([
            wire::headers(id, &[(":status", "200")]).end(),
            wire::rst_stream(id, ErrorCode::NO_ERROR),
            wire::window_update(id, 4),
            wire::window_update(0, 4),
        ]);
        peer.events.clear();
        peer.frames.clear();
        assert!(peer.engine.can_receive() && peer.engine.can_open());
    }
}
