//! One budget for several connections: what their peers may make us hold stays under it at every step, and whoever was let in
//! gets on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tidegate_proto::{
    Body, Config, ErrorCode, Event, MemoryBudget, RequestHead, ResetCause, ResponseHead, StreamId,
};
use tidegate_testkit::pair::Pair;

const CONNECTIONS: usize = 4;

#[derive(Clone, Debug)]
enum Act {
    /// An upload of so many octets begins, with its length told or not.
    Upload(usize, bool),
    /// The owner of an upload consumes some of what waits.
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

/// A connection, and what its server's owner has of each upload: octets not consumed, and whether it is whole.
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
            Act::Consume(octets) => {
                let waits = self.uploads.iter_mut().find(|(_, upload)| upload.0 > 0);
                if let Some((id, (left, _))) = waits {
                    let octets = (*octets).min(*left);
                    *left -= octets;
                    if let Some(mut stream) = self.pair.server.engine.stream(*id) {
                        stream.consume(octets);
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
                    // Refused is never heard of.
                    assert_eq!(cause, ResetCause::OverMemoryBudget);
                    assert_eq!(code, ErrorCode::REFUSED_STREAM);
                    assert!(!self.uploads.contains_key(&id));
                    self.refused += 1;
                }
                _ => {}
            }
        }
    }

    /// Everything that waits is consumed, and what is whole is answered. Whether there was anything.
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

/// The sum over all connections is under the budget, those apart where no body is coming in.
fn check(all: &[Joined], budget: &MemoryBudget) {
    let (mut held, mut reserved) = (0, 0);
    for joined in all {
        let engine = &joined.pair.server.engine;
        assert_eq!(engine.audit(), Ok(()));
        if engine.is_closed() {
            continue;
        }
        let credit = engine.receive_credit();
        let reserves = credit.reserved.unwrap();
        reserved += reserves;
        if reserves == 0 {
            assert!(credit.available <= 65_535 && credit.unconsumed == 0);
        } else {
            held += credit.available + credit.unconsumed;
        }
    }
    assert_eq!(reserved, budget.reserved());
    assert!(held <= budget.size() && reserved <= budget.size());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn all_connections_together_stay_under_it(
        size in 65_536..4_000_000u64,
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
        // Whoever was let in gets on: every owner that consumes sees its upload's end.
        for joined in &mut all {
            while joined.finish() {}
            prop_assert!(joined.uploads.is_empty(), "{:?} hang", joined.uploads);
            let refused = joined.pair.server.engine.stats().refused_for_memory;
            prop_assert_eq!(refused, joined.refused);
        }
        check(&all, &budget);
        drop(all);
        prop_assert_eq!(budget.reserved(), 0);
    }
}

#[test]
fn an_idle_connection_that_holds_credit_goes_when_memory_is_tight() {
    // RFC 9113 §6.8: GOAWAY with NO_ERROR: the client opens another connection.
    let budget = MemoryBudget::new(640 << 10);
    let mut idle = Joined::new(&budget);
    idle.act(&Act::Upload(100_000, false));
    while idle.finish() {}
    let lent = idle.pair.server.engine.receive_credit();
    assert!(lent.available > 65_535, "{lent:?}");
    idle.act(&Act::Wait(Duration::from_secs(60)));
    assert!(!idle.pair.server.engine.is_closed(), "memory is not tight");
    assert!(budget.reserved() >= lent.available);
    let mut others: Vec<_> = (0..8).map(|_| Joined::new(&budget)).collect();
    for other in &mut others {
        other.act(&Act::Upload(1 << 20, false));
    }
    assert!(others.iter().any(|other| other.refused > 0));
    idle.act(&Act::Wait(Duration::from_secs(10)));
    let stats = *idle.pair.server.engine.stats();
    assert!(idle.pair.server.engine.is_closed() && stats.shut_down_for_memory == 1);
    // There is room for those again.
    let mut late = Joined::new(&budget);
    late.act(&Act::Upload(1000, true));
    assert_eq!(late.refused, 0);
}
