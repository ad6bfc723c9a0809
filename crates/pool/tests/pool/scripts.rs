//! Random scripts: owners that ask, write and cancel; upstreams that answer, refuse, end, fall
//! silent or cut; dials that fail; and time that passes. After each step the invariants are
//! checked.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_http::{Body, ErrorCode, RequestHead, ResponseHead, StreamId};
use tidegate_pool::{Security, UpstreamId};

use crate::lab::{Ask, Got, Key, Lab, Server, addr, get, pattern};

/// A step of a script. Its numbers choose among the present requests and connections.
#[derive(Clone, Debug)]
enum Step {
    /// The owner makes a request.
    Ask {
        upstream: usize,
        method: usize,
        body: Length,
    },
    /// The owner writes more of a streamed body, or its end.
    Write { which: usize, len: usize, end: bool },
    /// The owner cancels a request.
    Cancel(usize),
    /// The oldest dial succeeds, with room for this number of streams.
    Accept(u32),
    /// The oldest dial fails.
    Refuse,
    /// An upstream answers a request.
    Answer { server: usize, how: Answer },
    /// An upstream goes on with a streamed response, and ends it.
    Finish(usize),
    /// An upstream resets a request.
    Reset { server: usize, refuses: bool },
    /// An upstream announces its end, or ends.
    Leave { server: usize, how: Leaving },
    /// An upstream stops reading, or reads again.
    Deaf { server: usize, is_deaf: bool },
    /// An upstream falls silent for ever.
    Silent(usize),
    /// Time passes.
    Wait(u64),
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
enum Length {
    None,
    Full(usize),
    /// A body that is written piece by piece.
    Stream(usize),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Interim,
    Empty,
    Whole,
    /// The first half of the body.
    Begun,
}

#[derive(Clone, Copy, Debug)]
enum Leaving {
    Gracefully,
    Abort,
    Fin,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let one = 0..usize::MAX;
    let length = prop_oneof![
        3 => Just(Length::None),
        1 => (1..100_000_usize).prop_map(Length::Full),
        2 => (0..100_000_usize).prop_map(Length::Stream),
    ];
    let answer = prop_oneof![
        1 => Just(Answer::Interim),
        2 => Just(Answer::Empty),
        4 => Just(Answer::Whole),
        2 => Just(Answer::Begun),
    ];
    let leaving = prop_oneof![
        Just(Leaving::Gracefully),
        Just(Leaving::Abort),
        Just(Leaving::Fin),
        Just(Leaving::Reset),
    ];
    prop_oneof![
        12 => (0..2_usize, 0..4_usize, length)
            .prop_map(|(upstream, method, body)| Step::Ask { upstream, method, body }),
        8 => (one.clone(), 0..70_000_usize, any::<bool>())
            .prop_map(|(which, len, end)| Step::Write { which, len, end }),
        2 => one.clone().prop_map(Step::Cancel),
        10 => (1..6_u32).prop_map(Step::Accept),
        2 => Just(Step::Refuse),
        16 => (one.clone(), answer).prop_map(|(server, how)| Step::Answer { server, how }),
        4 => one.clone().prop_map(Step::Finish),
        4 => (one.clone(), any::<bool>())
            .prop_map(|(server, refuses)| Step::Reset { server, refuses }),
        3 => (one.clone(), leaving).prop_map(|(server, how)| Step::Leave { server, how }),
        3 => (one.clone(), any::<bool>())
            .prop_map(|(server, is_deaf)| Step::Deaf { server, is_deaf }),
        1 => one.prop_map(Step::Silent),
        6 => (0..3000_u64).prop_map(Step::Wait),
    ]
}

const METHODS: [&str; 4] = ["GET", "POST", "PUT", "HEAD"];
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);
/// The address of the HTTP/1.1 upstream.
const HTTP1: u8 = 9;

/// A request, as the script knows it.
struct Asked {
    method: &'static str,
    body: Length,
    /// The bytes of a streamed body that were written, and whether it was ended.
    written: usize,
    ended: bool,
    /// The length of the response, once there is one.
    answer: Option<usize>,
}

impl Asked {
    /// Returns the whole body, as far as it is known.
    fn whole(&self) -> Bytes {
        match self.body {
            Length::None => Bytes::new(),
            Length::Full(len) => pattern(len),
            Length::Stream(_) if self.ended => pattern(self.written),
            Length::Stream(len) => pattern(len),
        }
    }

    /// Whether it is idempotent (RFC 9110 §9.2.2).
    fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }
}

/// Returns the body of the response to a request.
fn answer_to(key: Key) -> Bytes {
    pattern(key * 7919 % 30_000 + 2)
}

/// Returns the key of a request that an upstream has got.
fn key_of(got: &Got) -> Key {
    got.head.path()[1..]
        .parse()
        .expect("the path is its number")
}

struct Play {
    lab: Lab,
    upstreams: [UpstreamId; 2],
    asked: Vec<Asked>,
    /// Responses that have begun and not ended: their stream, and the rest.
    begun: Vec<(usize, StreamId, Bytes)>,
    /// Whether an upstream has fallen silent.
    has_silent: bool,
}

impl Play {
    fn new() -> Self {
        let mut lab = Lab::with_capacity(50_000, |options, config| {
            options.request_timeout = REQUEST_TIMEOUT;
            options.backoff = Duration::from_millis(50);
            options.max_backoff = Duration::from_millis(400);
            options.max_http2_connections = 2;
            options.max_connections = 3;
            options.limits.max_idle = 3;
            options.replay_limit = 50_000;
            options.connect_timeout = Duration::from_secs(5);
            config.timeouts.probe = Duration::from_secs(10);
            config.timeouts.idle = Duration::ZERO;
        });
        let http2 = lab.upstream(Security::H2c, 2);
        let http1 = lab.upstream_at(Security::Http1, vec![addr(HTTP1)]);
        Self {
            lab,
            upstreams: [http2, http1],
            asked: Vec::new(),
            begun: Vec::new(),
            has_silent: false,
        }
    }

    /// Chooses a server that is neither closed nor silent.
    fn server(&self, number: usize) -> Option<usize> {
        let servers = self.servers();
        (!servers.is_empty()).then(|| servers[number % servers.len()])
    }

    fn servers(&self) -> Vec<usize> {
        let servers = self.lab.servers.iter().enumerate();
        let there = servers.filter(|(_, server)| server.socket().is_some() && !server.is_silent);
        there.map(|(number, _)| number).collect()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Ask {
                upstream,
                method,
                body,
            } => self.ask(upstream, METHODS[method], body),
            Step::Write { which, len, end } => {
                let open = self.unwritten();
                if !open.is_empty() {
                    self.write(open[which % open.len()], len, end);
                }
            }
            Step::Cancel(which) => {
                if !self.asked.is_empty() {
                    self.lab.cancel(which % self.asked.len());
                }
            }
            Step::Accept(streams) => self.accept(streams),
            Step::Refuse => {
                if !self.lab.dialled.is_empty() {
                    self.lab.refuse();
                }
            }
            Step::Finish(which) => {
                if !self.begun.is_empty() {
                    self.finish(which % self.begun.len());
                }
            }
            Step::Wait(millis) => self.lab.wait_ms(millis),
            Step::Answer { server, .. }
            | Step::Reset { server, .. }
            | Step::Leave { server, .. }
            | Step::Deaf { server, .. }
            | Step::Silent(server) => {
                if let Some(server) = self.server(server) {
                    self.act(server, step);
                }
            }
        }
        self.lab.run();
        self.check();
    }

    fn ask(&mut self, upstream: usize, method: &'static str, body: Length) {
        let body = match method {
            "GET" | "HEAD" => Length::None,
            _ => body,
        };
        let key = self.asked.len();
        self.asked.push(Asked {
            method,
            body,
            written: 0,
            ended: false,
            answer: None,
        });
        let asked = self.lab.ask(Ask {
            head: RequestHead::new(method, "http", "localhost", &format!("/{key}")),
            body: match body {
                Length::None => Body::Empty,
                Length::Full(len) => Body::Full(pattern(len)),
                Length::Stream(_) => Body::Stream,
            },
            ..get(self.upstreams[upstream])
        });
        assert_eq!(asked, key);
    }

    /// Returns the requests whose owner has more to write.
    fn unwritten(&self) -> Vec<Key> {
        let is_open = |key: &Key| {
            let asked = &self.asked[*key];
            matches!(asked.body, Length::Stream(_)) && !asked.ended && !self.lab.is_over(*key)
        };
        (0..self.asked.len()).filter(is_open).collect()
    }

    fn write(&mut self, key: Key, count: usize, end: bool) {
        let asked = &mut self.asked[key];
        let Length::Stream(len) = asked.body else {
            return;
        };
        let from = asked.written;
        asked.written = (from + count).min(len);
        asked.ended = end;
        let data = pattern(len).slice(from..asked.written);
        self.lab.write(key, data, end);
    }

    fn accept(&mut self, streams: u32) {
        let Some(dialled) = self.lab.dialled.front() else {
            return;
        };
        if dialled.socket.is_at_end() {
            // The pool has given it up.
            self.lab.dialled.pop_front();
        } else if dialled.addr == addr(HTTP1) {
            self.lab.accept_h1();
        } else {
            self.lab
                .accept_http2(|config| config.max_concurrent_streams = streams);
        }
    }

    /// Has a server act.
    fn act(&mut self, server: usize, step: &Step) {
        let now = self.lab.now;
        let its = &mut self.lab.servers[server];
        match *step {
            Step::Answer { how, .. } => self.answer(server, how),
            Step::Reset { refuses, .. } => {
                if let Some(got) = its.oldest() {
                    got.refused = refuses;
                    let id = its.take_request().id;
                    let code = if refuses {
                        ErrorCode::REFUSED_STREAM
                    } else {
                        ErrorCode::INTERNAL_ERROR
                    };
                    if let Some(mut stream) = its.find(id) {
                        stream.reset(code);
                    }
                }
            }
            Step::Leave { how, .. } => match how {
                Leaving::Gracefully => its.shut_down(now),
                Leaving::Abort => its.abort(ErrorCode::INTERNAL_ERROR),
                Leaving::Fin => self.lab.cut(server, false),
                Leaving::Reset => self.lab.cut(server, true),
            },
            Step::Deaf { is_deaf, .. } => {
                its.is_deaf = is_deaf;
                its.was_deaf |= is_deaf;
            }
            Step::Silent(_) => {
                its.is_silent = true;
                self.has_silent = true;
            }
            _ => {}
        }
    }

    /// Has a server answer its oldest request.
    fn answer(&mut self, number: usize, how: Answer) {
        let server = &mut self.lab.servers[number];
        let Some(got) = server.oldest() else {
            return;
        };
        let (id, key) = (got.id, key_of(got));
        if let Answer::Interim = how {
            let head = ResponseHead::new(103);
            let informed = server.find(id).map(|mut stream| stream.inform(&head));
            server.got(id).begun |= matches!(informed, Some(Ok(())));
            return;
        }
        server.take_request();
        let asked = &mut self.asked[key];
        let has_content = asked.method != "HEAD" && !matches!(how, Answer::Empty);
        let body = match how {
            Answer::Interim | Answer::Empty => Body::Empty,
            Answer::Whole => Body::Full(answer_to(key)),
            Answer::Begun => Body::Stream,
        };
        let head = ResponseHead::new(200);
        let responded = server
            .find(id)
            .map(|mut stream| stream.respond(&head, body));
        if !matches!(responded, Some(Ok(()))) {
            return;
        }
        server.got(id).begun = true;
        asked.answer = Some(usize::from(has_content) * answer_to(key).len());
        if matches!(how, Answer::Begun) && has_content {
            let mut first = answer_to(key);
            let rest = first.split_off(first.len() / 2);
            server.supply(id, first, false);
            self.begun.push((number, id, rest));
        }
    }

    /// Sends the rest of a response.
    fn finish(&mut self, which: usize) {
        let (server, id, rest) = self.begun.swap_remove(which);
        self.lab.servers[server].supply(id, rest, true);
    }

    // --- Invariants ---

    fn check(&self) {
        let stats = self.lab.stats();
        // A server whose engine has ended may still have output.
        assert!(stats.open <= self.lab.memory.conns().len() as u64);
        assert!(stats.idle <= stats.open);
        let mut got = vec![Vec::new(); self.asked.len()];
        for server in &self.lab.servers {
            for request in &server.requests {
                let key = key_of(request);
                got[key].push(self.was_in_vain(server, request));
                // Even if the request was sent again, the body is what was written, from its start.
                let whole = self.asked[key].whole();
                assert!(whole.starts_with(&request.body), "request {key}");
                if request.end {
                    assert!(whole == request.body, "request {key}");
                }
            }
        }
        for (key, in_vain) in got.iter().enumerate() {
            // A request is sent once, and once more if the first time was in vain.
            assert!(in_vain.len() <= 2, "request {key}");
            let counted = in_vain.iter().filter(|in_vain| !**in_vain);
            assert!(counted.count() <= 1, "request {key} was sent twice");
        }
        for key in 0..self.asked.len() {
            let exchange = self.lab.exchange(key);
            if exchange.is_over() && exchange.failure().is_none() {
                let asked = &self.asked[key];
                assert_eq!(exchange.status(), Some(200));
                let len = asked.answer.expect("it was answered");
                assert!(exchange.body() == answer_to(key)[..len], "response {key}");
            }
        }
    }

    /// Whether a request that came to a server may be sent to another one: it was refused, or lost
    /// with its connection where that does no harm, before any response.
    fn was_in_vain(&self, server: &Server, got: &Got) -> bool {
        // A server with unread bytes doesn't see that the pool has closed.
        let is_closed = server.is_closed() || server.is_silent || server.was_deaf;
        let is_lost = is_closed && self.asked[key_of(got)].is_idempotent();
        !got.begun && (got.refused || is_lost)
    }

    /// Lets the owner and all servers that aren't silent finish everything.
    fn end(&mut self) {
        for _ in 0..40 {
            for key in self.unwritten() {
                self.write(key, usize::MAX / 2, true);
            }
            while !self.lab.dialled.is_empty() {
                self.accept(100);
            }
            for server in self.servers() {
                self.lab.servers[server].is_deaf = false;
                self.lab.run();
                while self.lab.servers[server].open() > 0 {
                    self.answer(server, Answer::Whole);
                }
            }
            while !self.begun.is_empty() {
                self.finish(0);
            }
            self.lab.wait_ms(500);
            self.check();
        }
        let is_left = |key: &Key| !self.lab.is_over(*key) && !self.lab.was_cancelled(*key);
        let left: Vec<Key> = (0..self.asked.len()).filter(is_left).collect();
        assert!(left.is_empty() || self.has_silent, "{left:?} hang");
        // Requests at a silent server wait until their timeout, and others wait for their places.
        for _ in 0..10 {
            self.lab.wait(REQUEST_TIMEOUT / 4);
            while !self.lab.dialled.is_empty() {
                self.accept(100);
            }
        }
        for key in left {
            assert!(self.lab.is_over(key), "{key} hangs");
        }
        self.check();
        let stats = self.lab.stats();
        assert_eq!(stats.idle, stats.open);
        assert_eq!(stats.open, self.lab.memory.conns().len() as u64);
        let failed = |key: &Key| self.lab.failure(*key).is_some();
        let failed = (0..self.asked.len()).filter(failed).count();
        assert_eq!(stats.failed, failed as u64);
    }
}

proptest! {
    #[test]
    fn whatever_happens(steps in prop::collection::vec(step(), 1..80)) {
        let mut play = Play::new();
        for step in &steps {
            play.take(step);
        }
        play.end();
    }
}
