//! A siege: clients that take all they can of a proxy with few resources, others that request much,
//! and newcomers that request little and must get it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tidegate_ledger::Rule;
use tidegate_net::Protocol;
use tidegate_testkit::rng::Rng;

use super::plan::{
    Answer, ClientPlan, ExchangePlan, LinkPlan, MessagePlan, Plan, Role, SharesPlan, UpstreamPlan,
    Weather, millis,
};

/// The time from one newcomer to the next. By then the former has its answer.
const APART: Duration = Duration::from_secs(10);

/// How long deaf clients read nothing.
const DEAF_FOR: Duration = Duration::from_secs(200);

/// How many clients take all they can, at most, each with an address of its own.
const MOST_ATTACKERS: usize = 4;

/// An attacker's use of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attack {
    /// Opens connections and requests nothing.
    Idle,
    /// Requests much that takes long.
    Streams,
    /// Requests much, and reads nothing of it.
    Unread,
    /// Requests much, and opens the windows late.
    SlowReading,
    /// Sends much that the upstream doesn't read.
    Uploads,
    /// Sends bodies byte by byte.
    Drips,
}

impl Plan {
    /// Plans a siege.
    pub(super) fn siege(rng: &mut Rng) -> Self {
        let upstreams: Vec<UpstreamPlan> = (0..rng.between(1, 2))
            .map(|_| UpstreamPlan {
                protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
                addresses: 1,
                link: good_link(rng),
                window: rng.pick(&[16_384, 65_535, 1 << 20]),
                max_streams: rng.pick(&[20, 100]),
                takes_websockets: true,
                refused: (0, 1),
                requests: None,
            })
            .collect();
        let mut plan = Self {
            weather: Weather::Fair,
            clients: Vec::new(),
            upstreams,
            exchanges: Vec::new(),
            capacity: rng.pick(&[5000, 200_000]),
            max_connections: rng.pick(&[48, 100]),
            max_http2_connections: rng.pick(&[4, 8]),
            max_idle: rng.pick(&[0, 1, 100]),
            pause: rng
                .one_in(4)
                .then(|| (millis(rng.below(20_000)), millis(5_000))),
            shut_down: None,
            shares: Some(SharesPlan::drawn(rng)),
        };
        let count = rng.between(1, MOST_ATTACKERS);
        for number in 0..count {
            plan.attacker(rng, number as u8);
        }
        for _ in 0..rng.below(4) {
            // Some of them have an attacker's address.
            let number = rng.below(count + 2);
            plan.ordinary(rng, number as u8);
        }
        for number in 0..rng.between(1, 4) {
            let begins = APART * number as u32 + millis(rng.below(5000));
            plan.newcomer(rng, 100 + number as u8, begins);
        }
        plan
    }

    fn attacker(&mut self, rng: &mut Rng, address: u8) {
        let attack = rng.pick(&[
            Attack::Idle,
            Attack::Streams,
            Attack::Unread,
            Attack::SlowReading,
            Attack::Uploads,
            Attack::Drips,
        ]);
        let connections = match attack {
            Attack::Idle => rng.pick(&[5, 20, 40]),
            _ => rng.pick(&[1, 3, 12]),
        };
        let requests = match attack {
            Attack::Idle => 0,
            _ => rng.pick(&[5, 20, 40]),
        };
        let first = self.clients.len();
        for _ in 0..connections {
            let mut client = ClientPlan::drawn(rng, address, Role::Attacker);
            client.joins = (attack == Attack::Idle).then(|| millis(rng.below(20_000)));
            if attack == Attack::Unread {
                client.reads_from = DEAF_FOR;
            }
            self.clients.push(client);
        }
        for _ in 0..requests {
            let client = first + rng.below(connections);
            let mut exchange = self.exchange(rng, client);
            exchange.start = millis(rng.below(20_000));
            match attack {
                Attack::Idle => {}
                Attack::Streams => exchange.answer = Answer::Silent,
                Attack::Unread => exchange.response.len = 200_000,
                Attack::SlowReading => {
                    exchange.response.len = 200_000;
                    exchange.slowness = DEAF_FOR / 2;
                }
                Attack::Uploads => {
                    exchange.turn_into_upload(200_000);
                    exchange.answer = rng.pick(&[Answer::Deaf, Answer::EarlyAndDeaf]);
                }
                Attack::Drips => exchange.turn_into_drip(rng),
            }
            self.exchanges.push(exchange);
        }
    }

    fn ordinary(&mut self, rng: &mut Rng, address: u8) {
        self.clients
            .push(ClientPlan::drawn(rng, address, Role::Ordinary));
        for _ in 0..rng.between(1, 20) {
            let mut exchange = self.exchange(rng, self.clients.len() - 1);
            exchange.start = millis(rng.below(20_000));
            exchange.response.len = rng.pick(&[0, 1000, 70_000]);
            if rng.one_in(3) {
                exchange.turn_into_upload(rng.pick(&[100, 70_000]));
            }
            self.exchanges.push(exchange);
        }
    }

    fn newcomer(&mut self, rng: &mut Rng, address: u8, begins: Duration) {
        self.clients
            .push(ClientPlan::drawn(rng, address, Role::Newcomer));
        let mut exchange = self.exchange(rng, self.clients.len() - 1);
        exchange.start = begins;
        exchange.response.len = rng.pick(&[0, 1000, 30_000]);
        if rng.one_in(2) {
            exchange.turn_into_upload(rng.pick(&[1, 1000, 30_000]));
        }
        self.exchanges.push(exchange);
    }

    /// Plans a GET that is answered.
    fn exchange(&self, rng: &mut Rng, client: usize) -> ExchangePlan {
        let message = |rng: &mut Rng| MessagePlan {
            start: rng.below(1 << 20),
            len: 0,
            streamed: rng.one_in(2),
            sized: rng.one_in(2),
            trailers: false,
        };
        ExchangePlan {
            client,
            upstream: rng.below(self.upstreams.len()),
            start: Duration::ZERO,
            method: "GET",
            is_tunnel: false,
            request: MessagePlan {
                streamed: false,
                sized: false,
                ..message(rng)
            },
            response: message(rng),
            status: 200,
            informs: 0,
            answer: Answer::Late,
            thinks: millis(rng.pick(&[0, 3, 300])),
            cancel: None,
            slowness: Duration::ZERO,
            drip: None,
        }
    }
}

impl ClientPlan {
    fn drawn(rng: &mut Rng, address: u8, role: Role) -> Self {
        Self {
            protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
            link: good_link(rng),
            window: rng.pick(&[65_535, 1 << 20]),
            cut: None,
            addr: address_of(rng, address),
            role,
            worker: None,
            joins: None,
            reads_from: Duration::ZERO,
        }
    }
}

impl ExchangePlan {
    pub(super) fn turn_into_upload(&mut self, len: usize) {
        self.method = "POST";
        self.request.len = len;
        self.request.streamed = true;
    }
}

impl SharesPlan {
    fn drawn(rng: &mut Rng) -> Self {
        // This many small holders find room at once: all of the plan's.
        let small = (MOST_ATTACKERS + 4) as u64;
        let connections = rng.pick(&[24, 64, 200]);
        Self {
            workers: rng.pick(&[1, 1, 2, 3]),
            memory: rng.pick(&[2, 4, 8]) << 20,
            connections: Rule::new(connections)
                .reserve(small.max(connections / 16), 1)
                .per_client(rng.pick(&[0, 0, 10])),
            requests: match rng.pick(&[0, 0, 40, 100]) {
                0 => Rule::new(0),
                most => Rule::new(most).reserve(small, 1),
            }
            .per_client(rng.pick(&[0, 0, 3, 20])),
            download_window: rng.pick(&[32, 128]) << 10,
        }
    }
}

/// Returns an address of this client: 192.0.2.N, or one of a /64.
fn address_of(rng: &mut Rng, number: u8) -> IpAddr {
    match number % 2 {
        0 => Ipv4Addr::new(192, 0, 2, number).into(),
        _ => {
            let host = rng.below(1 << 16) as u16;
            Ipv6Addr::new(0x2001, 0xdb8, 0, number.into(), 0, 0, 0, host).into()
        }
    }
}

fn good_link(rng: &mut Rng) -> LinkPlan {
    LinkPlan {
        delay: millis(rng.pick(&[0, 1, 20])),
        jitter: millis(rng.pick(&[0, 5])),
        capacity: 200_000,
        piece: rng.pick(&[1400, usize::MAX]),
    }
}
