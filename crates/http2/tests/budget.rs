//! One budget for several connections: the memory held stays under it except for bytes in flight,
//! promises refuse nobody, and every admitted request completes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_http2::{
    Body, Config, ErrorCode, Event, Fields, Flow, MemoryBudget, Misuse, Outbox, RequestHead,
    ResetCause, ResponseHead, Stream, StreamId,
};
use tidegate_ledger::{Client, ClientKey, Ledger, Limits, Resource};
use tidegate_testkit::pair::Pair;

const CONNECTIONS: usize = 4;

#[derive(Clone, Debug)]
enum Act {
    /// An upload of this many bytes begins, with or without content-length.
    Upload(usize, bool),
    /// The owner of an upload consumes some of the waiting bytes.
    Consume(usize),
    Cancel,
    Wait(Duration),
    /// The connection ends, and another one takes its place.
    Reconnect,
}

fn act() -> impl Strategy<Value = Act> {
    let lengths = prop_oneof![Just(0usize), 1..2000usize, Just(65_535), 1..2_000_000usize];
    prop_oneof![
        4 => (lengths, any::<bool>()).prop_map(|(len, told)| Act::Upload(len, told)),
        6 => prop_oneof![1..5000usize, Just(usize::MAX)].prop_map(Act::Consume),
        1 => Just(Act::Cancel),
        2 => (0..8000u64).prop_map(|ms| Act::Wait(Duration::from_millis(ms))),
        1 => Just(Act::Reconnect),
    ]
}

/// A connection, and what its server's owner has of each upload: bytes not consumed, and whether it
/// is complete.
struct Joined {
    pair: Pair,
    uploads: BTreeMap<StreamId, (usize, bool)>,
    refused: u64,
}

impl Joined {
    fn new(budget: &Arc<MemoryBudget>) -> Self {
        let mut server = Config::server();
        server.memory_budget = Some(Arc::clone(budget));
        server.timeouts.body = Duration::ZERO;
        let mut client = Config::client();
        client.timeouts.write = Duration::ZERO;
        Self {
            pair: Pair::connected(client, server),
            uploads: BTreeMap::new(),
            refused: 0,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Upload(len, told) => {
                let mut head = RequestHead::new("POST", "https", "localhost", "/");
                if *told {
                    head.push("content-length", len.to_string());
                }
                let body = Body::Full(Bytes::from(vec![0; *len]));
                if self.pair.client.engine.can_open() {
                    self.pair.client.engine.open(&head, body).unwrap();
                }
            }
            Act::Consume(bytes) => {
                let waits = self.uploads.iter_mut().find(|(_, upload)| upload.0 > 0);
                if let Some((id, (left, _))) = waits {
                    let bytes = (*bytes).min(*left);
                    *left -= bytes;
                    if let Some(mut stream) = self.pair.server.engine.stream(*id) {
                        stream.consume(bytes);
                    }
                }
            }
            Act::Cancel => {
                if let Some((id, _)) = self.uploads.pop_last()
                    && let Some(mut stream) = self.pair.server.engine.stream(id)
                {
                    stream.reset(ErrorCode::CANCEL);
                }
            }
            Act::Wait(time) => self.pair.wait(*time),
            Act::Reconnect => unreachable!("not of one connection"),
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        self.pair.drive();
        self.pair.client.events.clear();
        if self.pair.server.engine.wants_rtt() {
            self.pair
                .server
                .engine
                .observe_rtt(Duration::from_millis(10));
        }
        while let Some(event) = self.pair.server.events.pop_front() {
            match event {
                Event::Request { id, end, .. } => {
                    self.uploads.insert(id, (0, end));
                }
                Event::Data { id, data, end } => {
                    if let Some(upload) = self.uploads.get_mut(&id) {
                        upload.0 += data.len();
                        upload.1 |= end;
                    }
                }
                Event::Reset { id, code, cause } => {
                    // A refused upload is never reported.
                    assert_eq!(cause, ResetCause::OverMemoryBudget);
                    assert_eq!(code, ErrorCode::REFUSED_STREAM);
                    assert!(!self.uploads.contains_key(&id));
                    self.refused += 1;
                }
                _ => {}
            }
        }
    }

    /// Consumes everything that waits and answers the complete uploads. Returns whether there was
    /// anything.
    fn finish(&mut self) -> bool {
        let ids: Vec<StreamId> = self.uploads.keys().copied().collect();
        let mut busy = false;
        for id in ids {
            let (left, whole) = self.uploads[&id];
            let Some(mut stream) = self.pair.server.engine.stream(id) else {
                self.uploads.remove(&id);
                continue;
            };
            busy |= left > 0 || whole;
            stream.consume(left);
            if whole {
                stream
                    .respond(&ResponseHead::new(200), Body::Empty)
                    .unwrap();
                self.uploads.remove(&id);
            } else {
                self.uploads.insert(id, (0, false));
            }
        }
        self.go_on();
        busy
    }
}

/// Finishes all uploads: one may wait for credit that another returns.
fn finish_all(all: &mut [Joined]) {
    for _ in 0..100 {
        for joined in &mut *all {
            while joined.finish() {}
        }
    }
}

/// Checks that the memory held is under the budget, except for the bytes of one round of input, and
/// that the memory lent is under its part of it.
fn check(all: &[Joined], budget: &MemoryBudget) {
    let (mut held, mut lent) = (0, 0);
    for joined in all {
        let engine = &joined.pair.server.engine;
        assert_eq!(engine.audit(), Ok(()));
        held += engine.held_bytes();
        lent += engine.receive_credit().lent;
    }
    assert!(budget.held() <= budget.size().max(held), "{budget:?}");
    assert!(lent <= budget.lent() && budget.lent() <= budget.size() * 7 / 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_connections_together_stay_under_it(
        size in 1_000_000..4_000_000u64,
        acts in prop::collection::vec((0..CONNECTIONS, act()), 1..80),
    ) {
        let budget = MemoryBudget::new(size);
        let mut all: Vec<_> = (0..CONNECTIONS).map(|_| Joined::new(&budget)).collect();
        for (at, act) in &acts {
            match act {
                Act::Reconnect => all[*at] = Joined::new(&budget),
                act => all[*at].act(act),
            }
            check(&all, &budget);
        }
        // Every admitted request completes: each owner that consumes sees its upload's end.
        finish_all(&mut all);
        for joined in &mut all {
            prop_assert!(joined.uploads.is_empty(), "{:?} hang", joined.uploads);
            let refused = joined.pair.server.engine.stats().refused_for_memory;
            prop_assert_eq!(refused, joined.refused);
        }
        check(&all, &budget);
        drop(all);
        prop_assert_eq!((budget.held(), budget.lent()), (0, 0));
    }
}

#[test]
fn heads_of_uploads_that_send_nothing_refuse_nobody() {
    let budget = MemoryBudget::new(16 << 20);
    let mut greedy: Vec<_> = (0..CONNECTIONS).map(|_| Joined::new(&budget)).collect();
    for joined in &mut greedy {
        for _ in 0..100 {
            joined.act(&Act::Upload(0, false));
            let head = RequestHead::new("POST", "https", "localhost", "/");
            joined.pair.client.engine.open(&head, Body::Stream).ok();
        }
        joined.go_on();
    }
    assert_eq!(budget.lent(), 0, "a head lends nothing");
    let mut honest = Joined::new(&budget);
    honest.act(&Act::Upload(1 << 20, true));
    while honest.finish() {}
    assert_eq!(honest.refused, 0);
    assert!(honest.pair.server.engine.stats().windows_grown > 0);
}

#[test]
fn heads_of_requests_in_progress_are_charged() {
    // RFC 7541 §4.1: a field in the dynamic table costs one byte each time it is used.
    let budget = MemoryBudget::new(4 << 20);
    let mut greedy = Joined::new(&budget);
    let mut head = RequestHead::new("GET", "https", "localhost", "/");
    for _ in 0..5 {
        head.push("x-large", "x".repeat(3900));
    }
    for _ in 0..400 {
        // Nobody answers.
        if greedy.pair.client.engine.can_open() {
            greedy.pair.client.engine.open(&head, Body::Empty).unwrap();
        }
        greedy.go_on();
    }
    let stats = *greedy.pair.server.engine.stats();
    let taken = stats.requests - stats.refused_for_memory;
    assert!(
        (50..150).contains(&taken),
        "{taken} requests of 40 KB in 4 MB"
    );
    assert!(budget.held() <= budget.size());
}

#[test]
fn trailers_of_requests_in_progress_are_charged() {
    let budget = MemoryBudget::new(4 << 20);
    let mut greedy = Joined::new(&budget);
    let head = RequestHead::new("POST", "https", "localhost", "/");
    let mut trailers = Fields::new();
    for _ in 0..5 {
        trailers.push("x-large", "x".repeat(3900));
    }
    let client = &mut greedy.pair.client.engine;
    let ids: Vec<StreamId> = (0..100)
        .map(|_| client.open(&head, Body::Stream).unwrap())
        .collect();
    greedy.pair.drive();
    for id in ids {
        let mut stream = greedy.pair.client.engine.stream(id).unwrap();
        stream.trailers(&trailers).unwrap();
    }
    greedy.pair.drive();
    let (mut taken, mut refused) = (0, 0);
    while let Some(event) = greedy.pair.server.events.pop_front() {
        match event {
            Event::Trailers { .. } => taken += 1,
            Event::Reset { code, cause, .. } => {
                assert_eq!(code, ErrorCode::ENHANCE_YOUR_CALM);
                assert_eq!(cause, ResetCause::OverMemoryBudget);
                refused += 1;
            }
            _ => {}
        }
    }
    // Many arrive in one round of input, so it isn't enough to stop reading.
    assert!(refused > 0);
    assert!(
        (50..99).contains(&taken),
        "{taken} trailers of 40 KB in 4 MB"
    );
    assert!(budget.held() <= budget.size());
    drop(greedy);
    assert_eq!(budget.held(), 0);
}

#[test]
fn who_holds_too_much_is_not_read_until_it_is_consumed() {
    let budget = MemoryBudget::new(1 << 20);
    let mut all: Vec<_> = (0..30).map(|_| Joined::new(&budget)).collect();
    for joined in &mut all {
        joined.act(&Act::Upload(60_000, true));
    }
    for joined in &mut all {
        joined.go_on();
    }
    let stuck = all
        .iter()
        .find(|joined| !joined.pair.server.engine.can_receive());
    let engine = &stuck.expect("memory is used up").pair.server.engine;
    assert!(engine.next_timeout().is_some(), "it looks again");
    check(&all, &budget);
    finish_all(&mut all);
    assert!(
        all.iter()
            .all(|joined| joined.pair.server.engine.can_receive())
    );
}

#[test]
fn responses_on_a_connection_that_clients_share_are_billed_to_those_that_asked() {
    let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), 2 << 20));
    let [greedy, other] = [1, 2].map(|last| {
        let ip = IpAddr::from([192, 0, 2, last]);
        ledger.client(ClientKey::from(ip))
    });
    let mut config = Config::client();
    config.memory_budget = Some(MemoryBudget::of(&ledger));
    let mut pair = Pair::connected(config, Config::server());
    let head = RequestHead::new("POST", "https", "localhost", "/");
    let open = |pair: &mut Pair, client| {
        let opened = pair
            .client
            .engine
            .open_for(Some(client), &head, Body::Stream);
        pair.drive();
        pair.client.engine.audit().unwrap();
        opened
    };
    let first = open(&mut pair, &greedy).unwrap();
    let refused = loop {
        if let Err(refused) = open(&mut pair, &greedy) {
            break refused;
        }
    };
    assert_eq!(refused, Misuse::OverMemoryBudget);
    let held = |client: &Arc<Client>| client.held(Resource::Bytes);
    assert!(held(&greedy) > 3 << 19, "{}", held(&greedy));
    let others = open(&mut pair, &other).unwrap();
    assert!((65_535..100_000).contains(&held(&other)));
    assert!(
        ledger.used(Resource::Bytes) - held(&greedy) - held(&other) < 16 << 10,
        "nobody holds the windows"
    );

    // Bytes that wait to be sent or consumed are the client's too.
    let written = &mut Bytes::from(vec![0; 100_000]);
    let mut stream = pair.client.engine.stream(others).unwrap();
    assert_eq!(stream.write(written, false), 65_535);
    assert!(held(&other) >= 2 * 65_535);
    pair.drive();
    assert!(held(&other) < 100_000);
    let short = ResponseHead::new(200).field("content-length", "20000");
    let body = Body::Full(Bytes::from(vec![0; 20_000]));
    let mut stream = pair.server.engine.stream(others).unwrap();
    stream.respond(&short, body).unwrap();
    pair.drive();
    assert!((20_000..65_535).contains(&held(&other)));
    pair.client.engine.audit().unwrap();

    // A stream that is over holds nothing, and then there is room for another one.
    let mut stream = pair.client.engine.stream(first).unwrap();
    stream.reset(ErrorCode::CANCEL);
    open(&mut pair, &greedy).unwrap();
    pair.client.engine.abort(ErrorCode::NO_ERROR, "");
    pair.drive();
    assert_eq!((held(&greedy), held(&other)), (0, 0));
}

/// A connection that is idle after a response isn't touched again, so nothing may be left then.
#[test]
fn what_has_gone_out_is_held_no_longer() {
    let budget = MemoryBudget::new(1 << 20);
    let mut config = Config::server();
    config.memory_budget = Some(Arc::clone(&budget));
    let mut pair = Pair::connected(Config::client(), config);
    let head = RequestHead::new("GET", "https", "localhost", "/");
    let id = pair.client.engine.open(&head, Body::Empty).unwrap();
    pair.drive();
    let server = &mut pair.server.engine;
    let mut stream = server.stream(id).unwrap();
    stream
        .respond(&ResponseHead::new(200), Body::Stream)
        .unwrap();
    stream.write(&mut Bytes::from(vec![0; 60_000]), true);
    let mut out = Outbox::new();
    let flow = server.transmit(&mut out, 1 << 20, pair.now);
    assert!(matches!(flow, Flow::Drained) && out.len() > 60_000);
    assert_eq!((server.held_bytes(), budget.held()), (0, 0));
}
