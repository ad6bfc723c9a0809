use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidegate_http::{Config, ErrorCode, Priority};
use tidegate_testkit::peer::{Peer, Received};
use tidegate_testkit::wire;

use super::*;

fn path_of(head: &RequestHead) -> RequestPath<'_> {
    RequestPath::read(head.path_bytes()).unwrap()
}
use crate::push::learn::{CONTROL, ENOUGH_VIEWS};
use crate::push::{Preload, PushCache};

/// SETTINGS_ENABLE_PUSH, SETTINGS_MAX_CONCURRENT_STREAMS.
const PUSH: u16 = 2;
const STREAMS: u16 = 3;

/// The field that browsers send with the request for a page.
const NAVIGATION: (&str, &str) = ("sec-fetch-mode", "navigate");

/// A worker.
struct Worker {
    pusher: Pusher<u32>,
    now: Instant,
    connections: u32,
}

/// A connection of a client.
struct Client {
    peer: Peer,
    number: u32,
    next: u32,
}

/// A part of what a client received, in order.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Promise(String),
    Hint(Vec<String>),
    Page,
    Push(u32),
}
use Came::{Hint, Page, Promise, Push};

impl Worker {
    fn new(mode: Mode, list: impl IntoIterator<Item = Preload>) -> Self {
        let options = Options {
            list: Arc::new(PushCache::new(list).unwrap()),
            early_hints: true,
            mode,
        };
        let now = Instant::now();
        Self {
            pusher: Pusher::new(options, &Clock::new(SystemTime::now()), now),
            now,
            connections: 0,
        }
    }

    fn connect(&mut self, settings: &[(u16, u32)]) -> Client {
        self.connections += 1;
        Client {
            peer: Peer::client_with(Config::server(), settings),
            number: self.connections,
            next: 1,
        }
    }

    /// Sends a GET and answers it; promised requests are answered if `answer` is set. Returns
    /// what the client received.
    fn ask(
        &mut self,
        client: &mut Client,
        path: &str,
        fields: &[(&str, &str)],
        answer: bool,
    ) -> Vec<Came> {
        let peer = &mut client.peer;
        let id = client.next;
        client.next += 2;
        let pseudo = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
        ];
        peer.send(wire::headers(id, &[&pseudo, fields].concat()).end());
        let (head, _) = peer.expect_request(id);
        let id = StreamId::new(id);
        let number = client.number;
        let prepared = self.pusher.prepare(
            &mut peer.engine,
            number,
            id,
            &head,
            &path_of(&head),
            self.now,
        );
        // Links and hints go together.
        let links = self.pusher.contribution(&prepared).0.links.to_vec();
        let promised = prepared.promised.iter().map(|(promised, _)| *promised);
        let answered: Vec<_> = std::iter::once(id)
            .chain(promised.filter(|_| answer))
            .collect();
        for id in answered {
            peer.respond(id.get(), 200, "x");
        }
        let mut came = Vec::new();
        while let Some(frame) = peer.next_frame() {
            match frame {
                Received::PushPromise { fields, .. } => {
                    let path = fields.into_iter().find(|(name, _)| name == ":path");
                    came.push(Promise(path.unwrap().1));
                }
                Received::Head(head) if head.status() == 103 => {
                    let values = head.fields.into_iter().filter(|(name, _)| name == "link");
                    let values: Vec<_> = values.map(|(_, value)| value).collect();
                    assert_eq!(values, links);
                    came.push(Hint(values));
                }
                Received::Head(head) if head.id == id.get() => came.push(Page),
                Received::Head(head) => came.push(Push(head.id)),
                _ => {}
            }
        }
        came
    }

    /// Sends a GET. Returns the paths promised with it.
    fn promised(&mut self, client: &mut Client, path: &str) -> Vec<String> {
        let came = self.ask(client, path, &[], true);
        let promised = came.into_iter().filter_map(|came| match came {
            Promise(path) => Some(path),
            _ => None,
        });
        promised.collect()
    }

    fn refused(&self, why: Refusal) -> u64 {
        self.pusher.stats.not_pushed.by(why)
    }
}

/// Returns a list in which `/` needs two resources, and `/b` one of these and another.
fn list() -> [Preload; 3] {
    [
        Preload::new("/a.css").page("/").page("/b"),
        Preload::new("/a.js").page("/"),
        Preload::new("/b.js").page("/b"),
    ]
}

fn hint() -> Came {
    Hint(vec![
        "</a.css>; rel=preload; as=style".into(),
        "</a.js>; rel=preload; as=script".into(),
    ])
}

fn promise(path: &str) -> Came {
    Promise(path.into())
}

// RFC 9113 §8.4.1: "The server SHOULD send PUSH_PROMISE … frames prior to sending any frames
// that reference the promised responses": the links of a 103 do, as the page does.
#[test]
fn promises_come_before_the_hint_the_page_and_what_was_promised() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[]);
    let came = worker.ask(&mut client, "/?x=1", &[NAVIGATION], true);
    let [a, b] = [promise("/a.css"), promise("/a.js")];
    assert_eq!(came, [a, b, hint(), Page, Push(2), Push(4)]);
    assert_eq!(
        (worker.pusher.stats.pushed, worker.pusher.stats.hinted),
        (2, 2)
    );
}

#[test]
fn nothing_is_pushed_twice_on_a_connection_nor_what_was_asked_for() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[]);
    assert_eq!(worker.promised(&mut client, "/a.css"), [""; 0]);
    assert_eq!(worker.promised(&mut client, "/"), ["/a.js"]);
    assert_eq!(worker.promised(&mut client, "/b"), ["/b.js"]);
    assert_eq!(worker.promised(&mut client, "/"), [""; 0]);
    assert_eq!(worker.refused(Refusal::Repeated), 4);
    // Another connection is another client.
    let mut other = worker.connect(&[]);
    assert_eq!(worker.promised(&mut other, "/"), ["/a.css", "/a.js"]);
}

#[test]
fn a_client_that_has_the_page_gets_neither_hint_nor_push() {
    for field in [
        ("if-none-match", "\"x\""),
        ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("range", "bytes=0-1"),
    ] {
        let mut worker = Worker::new(Mode::On, list());
        let mut client = worker.connect(&[]);
        let came = worker.ask(&mut client, "/", &[NAVIGATION, field], true);
        assert_eq!(came, [Page], "{field:?}");
        assert_eq!(worker.refused(Refusal::Conditional), 2);
    }
}

// RFC 9113 §6.5.2: "A server MUST NOT send a PUSH_PROMISE frame if it receives this parameter
// set to a value of 0."
#[test]
fn a_client_that_takes_no_pushes_is_hinted_only_and_takes_no_memory() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[(PUSH, 0)]);
    worker.ask(&mut client, "/b.js", &[], true);
    let came = worker.ask(&mut client, "/", &[NAVIGATION], true);
    assert_eq!(came, [hint(), Page]);
    assert_eq!(worker.refused(Refusal::Disabled), 2);
    assert!(worker.pusher.clients.is_empty());
}

#[test]
fn only_views_are_hinted_and_pushed_for() {
    let promises = [promise("/a.css"), promise("/a.js")];
    for (mode, is_view) in [
        (None, true),
        (Some("navigate"), true),
        (Some("no-cors"), false),
        (Some("cors"), false),
    ] {
        let mut worker = Worker::new(Mode::On, list());
        let mut client = worker.connect(&[]);
        let field = mode.map(|mode| ("sec-fetch-mode", mode));
        let came = worker.ask(&mut client, "/", field.as_slice(), false);
        assert_eq!(came.contains(&hint()), is_view, "{mode:?}");
        assert_eq!(came.starts_with(&promises), is_view, "{mode:?}");
    }
}

#[test]
fn early_hints_and_pushes_can_be_had_one_without_the_other() {
    let mut worker = Worker::new(Mode::Off, list());
    let mut client = worker.connect(&[]);
    assert_eq!(
        worker.ask(&mut client, "/", &[NAVIGATION], true),
        [hint(), Page]
    );
    assert!(worker.pusher.clients.is_empty());
    let mut worker = Worker::new(Mode::On, list());
    worker.pusher.options.early_hints = false;
    let mut client = worker.connect(&[]);
    let came = worker.ask(&mut client, "/", &[NAVIGATION], false);
    assert_eq!(came, [promise("/a.css"), promise("/a.js"), Page]);
}

// RFC 9113 §8.4.2: "A client can use the SETTINGS_MAX_CONCURRENT_STREAMS setting to limit the
// number of responses that can be concurrently pushed by a server."
#[test]
fn the_clients_limit_on_streams_is_kept() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[(STREAMS, 1)]);
    assert_eq!(worker.promised(&mut client, "/"), ["/a.css"]);
    assert_eq!(worker.refused(Refusal::StreamLimit), 1);
    // A resource that wasn't pushed because of the limit may be pushed later.
    assert_eq!(worker.promised(&mut client, "/"), ["/a.js"]);
}

#[test]
fn no_more_is_pushed_than_the_cap_for_a_page_and_at_once() {
    let many = (0..MAX_PUSHES + 2).map(|n| Preload::new(format!("/{n}.css")).page("/"));
    let other = (0..MAX_PUSHES).map(|n| Preload::new(format!("/b{n}.css")).page("/b"));
    let mut worker = Worker::new(Mode::On, many.chain(other));
    let mut client = worker.connect(&[]);
    let promises = |came: Vec<Came>| {
        came.iter()
            .filter(|came| matches!(came, Promise(_)))
            .count()
    };
    let came = worker.ask(&mut client, "/", &[], false);
    assert_eq!(promises(came), MAX_PUSHES);
    assert_eq!(worker.refused(Refusal::Cap), 2);
    // First all pushes are open; then two have ended.
    let came = worker.ask(&mut client, "/b", &[], false);
    assert_eq!(promises(came), 0);
    for id in [2, 4] {
        client.peer.respond(id, 200, "x");
    }
    let came = worker.ask(&mut client, "/b", &[], false);
    assert_eq!(promises(came), 2);
}

#[test]
fn once_the_diary_is_full_nothing_is_pushed() {
    let pages = 30;
    let list = (0..pages * 10).map(|n| {
        let page = format!("/{}", n / 10);
        Preload::new(format!("/{n}.css")).page(page)
    });
    let mut worker = Worker::new(Mode::On, list);
    let mut client = worker.connect(&[]);
    let mut pushed = 0;
    for page in 0..pages {
        pushed += worker.promised(&mut client, &format!("/{page}")).len();
    }
    assert_eq!(pushed, 256);
    assert_eq!(worker.refused(Refusal::DiaryFull), 300 - 256);
}

// RFC 9113 §8.4.1: a promised request has the fields "that the server attributes to the
// request"; §8.4: its authority is one "for which the server is authoritative".
#[test]
fn a_promised_request_is_the_pages_without_conditions_and_credentials() {
    let mut worker = Worker::new(Mode::On, [Preload::new("/a.css?v=1").page("/")]);
    let mut client = worker.connect(&[]);
    let mut fields = vec![
        ("accept", "text/html"),
        ("accept-encoding", "br"),
        ("accept-language", "de"),
        ("authorization", "Basic eDp5"),
        ("cache-control", "max-age=0"),
        ("cookie", "a=b"),
        ("referer", "https://other/"),
        ("user-agent", "test"),
    ];
    fields.push(NAVIGATION);
    let pseudo = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost:1"),
        (":path", "/"),
    ];
    let peer = &mut client.peer;
    peer.send(wire::headers(1, &[&pseudo, &fields[..]].concat()).end());
    let (head, _) = peer.expect_request(1);
    let id = StreamId::new(1);
    let prepared =
        worker
            .pusher
            .prepare(&mut peer.engine, 1, id, &head, &path_of(&head), worker.now);
    let [(promised, head)] = &prepared.promised[..] else {
        panic!("one promise");
    };
    assert_eq!(promised.get(), 2);
    let wanted = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "localhost:1"),
        (":path", "/a.css?v=1"),
        ("accept-encoding", "br"),
        ("accept-language", "de"),
        ("cache-control", "max-age=0"),
        ("user-agent", "test"),
    ];
    let has: Vec<_> = head
        .fields()
        .iter()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    assert_eq!(has, wanted.map(|(name, value)| (name.into(), value.into())));
}

#[test]
fn a_push_goes_behind_its_page_unless_the_list_says_otherwise() {
    let first = Priority {
        urgency: 0,
        incremental: true,
    };
    let list = [
        Preload::new("/a.css").page("/"),
        Preload::new("/b.css").page("/").priority(first),
    ];
    for (value, expected) in [("u=2, i", 3), ("u=7", 7)] {
        let mut worker = Worker::new(Mode::On, list.clone());
        let mut client = worker.connect(&[]);
        worker.ask(&mut client, "/", &[("priority", value)], false);
        let engine = &mut client.peer.engine;
        let [a, b] = [2, 4].map(|id| engine.stream(StreamId::new(id)).unwrap().priority());
        assert_eq!((a.urgency, a.incremental), (expected, false));
        assert_eq!(b, first);
    }
}

#[test]
fn cancelled_pushes_are_counted_once_before_and_after_their_response() {
    for answer in [false, true] {
        let mut worker = Worker::new(Mode::On, list());
        let mut client = worker.connect(&[]);
        worker.ask(&mut client, "/", &[], answer);
        let mut told = Vec::new();
        for _ in 0..2 {
            client.peer.send(wire::rst_stream(4, ErrorCode::CANCEL));
            while let Some(event) = client.peer.next_event() {
                let tidegate_http::Event::Reset { id, cause, .. } = event else {
                    continue;
                };
                let cancelled = worker.pusher.reset(client.number, id, cause);
                told.extend(cancelled.map(|(a, b)| (a.to_owned(), b.to_owned())));
            }
        }
        assert_eq!(told, [("/a.js".into(), "/".into())], "{answer}");
        assert_eq!(worker.pusher.stats.cancelled, 1);
    }
}

#[test]
fn an_ending_connection_gets_no_pushes() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[]);
    client.peer.engine.shut_down(worker.now);
    client.peer.pump();
    let came = worker.ask(&mut client, "/", &[], true);
    assert_eq!(came, [hint(), Page]);
    assert_eq!(worker.refused(Refusal::GoingAway), 2);
}

#[test]
fn a_closed_connection_is_forgotten() {
    let mut worker = Worker::new(Mode::On, list());
    let mut client = worker.connect(&[]);
    worker.promised(&mut client, "/");
    assert_eq!(worker.pusher.clients.len(), 1);
    worker.pusher.closed(client.number);
    assert!(worker.pusher.clients.is_empty());
}

#[test]
fn memory_answers_with_the_fields_of_the_list() {
    let resource = Preload::new("/a.css")
        .page("/")
        .content("text/css", "a{}")
        .header("x-a", "b");
    let mut worker = Worker::new(Mode::Off, [resource]);
    let mut client = worker.connect(&[]);
    let peer = &mut client.peer;
    for (id, tag) in [(1, None), (3, Some("*"))] {
        let path = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "a"),
            (":path", "/a.css"),
        ];
        let fields = tag.map(|tag| ("if-none-match", tag));
        peer.send(wire::headers(id, &[&path, fields.as_slice()].concat()).end());
        let (head, _) = peer.expect_request(id);
        let stream = StreamId::new(id);
        let prepared = worker.pusher.prepare(
            &mut peer.engine,
            1,
            stream,
            &head,
            &path_of(&head),
            worker.now,
        );
        let clock = Clock::new(SystemTime::now());
        let (extra, asset) = worker.pusher.contribution(&prepared);
        let stream = peer.engine.stream(stream).unwrap();
        asset.unwrap().answer_any(&mut crate::request::Request {
            terms: &crate::rules::NO_TERMS,
            stream: tidegate_net::StreamMut::Http2(stream),
            head: &head,
            end: true,
            clock: &clock,
            extra,
        });
        peer.pump();
        let head = peer.expect_head(id);
        assert_eq!(head.get("x-a"), Some("b"));
        match tag {
            None => assert_eq!(peer.expect_data(id), ("a{}".into(), true)),
            Some(_) => assert_eq!(head.status(), 304),
        }
    }
}

#[test]
fn what_is_learned_comes_from_views_that_are_left_alone() {
    let mut worker = Worker::new(Mode::Learned, list());
    let views = |worker: &mut Worker| {
        let mut client = worker.connect(&[]);
        let came = worker.ask(&mut client, "/", &[NAVIGATION], true);
        worker.ask(&mut client, "/a.css", &[], true);
        came
    };
    for _ in 0..ENOUGH_VIEWS {
        assert_eq!(views(&mut worker), [Page], "neither hint nor push");
    }
    assert_eq!(
        worker.refused(Refusal::Observed),
        2 * u64::from(ENOUGH_VIEWS)
    );
    let mut observed = 0;
    for _ in 0..CONTROL {
        match &views(&mut worker)[..] {
            [Page] => observed += 1,
            came => assert_eq!(came, [promise("/a.css"), hint(), Page, Push(2)]),
        }
    }
    assert_eq!(observed, 1);
    assert_eq!(worker.refused(Refusal::Unlikely), u64::from(CONTROL) - 1);
}

#[test]
fn a_client_that_views_a_page_again_and_again_is_one_client() {
    let mut worker = Worker::new(Mode::Learned, list());
    let mut client = worker.connect(&[]);
    for _ in 0..100 {
        worker.promised(&mut client, "/");
    }
    let mut other = worker.connect(&[]);
    assert_eq!(worker.ask(&mut other, "/", &[], true), [Page]);
    assert_eq!(worker.pusher.learning.verdict(0, 0), Verdict::Unknown);
}

#[test]
fn clients_that_take_no_pushes_teach_nothing() {
    // These clients get hints, so their requests show only that they follow hints.
    let mut worker = Worker::new(Mode::Learned, list());
    for _ in 0..100 {
        let mut client = worker.connect(&[(PUSH, 0)]);
        let came = worker.ask(&mut client, "/", &[NAVIGATION], true);
        assert_eq!(came, [hint(), Page]);
        worker.ask(&mut client, "/a.css", &[], true);
        worker.now += Duration::from_millis(1);
    }
    assert_eq!(worker.pusher.learning.verdict(0, 0), Verdict::Unknown);
}
