//! Plans that are written, so that a seed that failed becomes a test that can be read.

use std::net::Ipv4Addr;
use std::time::Duration;

use tidegate_ledger::Rule;
use tidegate_net::Protocol;
use tidegate_testkit::rng::Rng;

use super::plan::{
    Answer, ClientPlan, ExchangePlan, LinkPlan, MessagePlan, Plan, Role, SharesPlan, UpstreamPlan,
    Weather,
};
use super::report::Report;
use super::world::World;

const WINDOW: u32 = 65_535;

/// The clients, the upstreams, and what goes wrong.
impl Plan {
    /// Returns a plan in which nothing happens, and nothing goes wrong.
    pub(super) fn quiet() -> Self {
        Self {
            weather: Weather::Fair,
            clients: Vec::new(),
            upstreams: Vec::new(),
            exchanges: Vec::new(),
            capacity: 200_000,
            max_connections: 100,
            max_http2_connections: 8,
            max_idle: 100,
            pause: None,
            shut_down: None,
            shares: None,
        }
    }

    /// Lets requests fail: only newcomers must be answered.
    pub(super) fn foul(mut self) -> Self {
        self.weather = Weather::Foul;
        self
    }

    /// Adds an upstream.
    pub(super) fn upstream(mut self, upstream: UpstreamPlan) -> Self {
        self.upstreams.push(upstream);
        self
    }

    /// Adds a client with its requests.
    pub(super) fn client(
        mut self,
        client: ClientPlan,
        requests: impl IntoIterator<Item = ExchangePlan>,
    ) -> Self {
        let number = self.clients.len();
        self.clients.push(client);
        self.exchanges
            .extend(requests.into_iter().map(|mut request| {
                request.client = number;
                request
            }));
        self
    }

    /// Limits what clients share.
    pub(super) fn shares(mut self, shares: SharesPlan) -> Self {
        self.shares = Some(shares);
        self
    }

    /// Runs the plan once for each seed. A seed draws what the plan leaves open: how much is
    /// written at once, where input is split.
    pub(super) fn run(&self, seeds: impl IntoIterator<Item = u64>) -> Vec<Report> {
        let run = |seed| {
            println!("with what seed {seed} draws");
            World::new(self.clone(), Rng::new(seed), false).run()
        };
        seeds.into_iter().map(run).collect()
    }
}

impl UpstreamPlan {
    /// Returns an upstream with one address, close by.
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            addresses: 1,
            link: LinkPlan::with_delay(Duration::ZERO),
            window: WINDOW,
            max_streams: 100,
            takes_websockets: true,
            refused: (0, 1),
            requests: None,
        }
    }
}

impl ClientPlan {
    /// Returns a client at 192.0.2.`host`, close by, that connects for its first request.
    pub(super) fn new(protocol: Protocol, host: u8, role: Role) -> Self {
        Self {
            protocol,
            link: LinkPlan::with_delay(Duration::ZERO),
            window: WINDOW,
            cut: None,
            addr: Ipv4Addr::new(192, 0, 2, host).into(),
            role,
            worker: None,
            joins: None,
            reads_from: Duration::ZERO,
        }
    }

    /// Sets the worker that accepts the client's connections.
    pub(super) fn at_worker(mut self, worker: usize) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Lets the client connect at this time, with a request or without.
    pub(super) fn joins_at(mut self, when: Duration) -> Self {
        self.joins = Some(when);
        self
    }

    /// Puts the client so far away that data takes this long.
    pub(super) fn far_away(mut self, delay: Duration) -> Self {
        self.link = LinkPlan::with_delay(delay);
        self
    }
}

impl LinkPlan {
    fn with_delay(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            capacity: 200_000,
            piece: usize::MAX,
        }
    }
}

impl ExchangePlan {
    /// Returns a GET of an upstream, at once, that is answered with 200 without a body.
    pub(super) fn get(upstream: usize) -> Self {
        let message = MessagePlan {
            start: 0,
            len: 0,
            streamed: false,
            sized: false,
            trailers: false,
        };
        Self {
            client: 0,
            upstream,
            start: Duration::ZERO,
            method: "GET",
            is_tunnel: false,
            request: message.clone(),
            response: message,
            status: 200,
            informs: 0,
            answer: Answer::Late,
            thinks: Duration::ZERO,
            cancel: None,
            slowness: Duration::ZERO,
            drip: None,
        }
    }

    /// Returns a POST with a body of `len` bytes.
    pub(super) fn post(upstream: usize, len: usize) -> Self {
        let mut post = Self::get(upstream);
        post.turn_into_upload(len);
        post
    }

    /// Lets the client make the request at this time.
    pub(super) fn starts_at(mut self, when: Duration) -> Self {
        self.start = when;
        self
    }

    /// Lets the upstream answer so.
    pub(super) fn answered(mut self, answer: Answer) -> Self {
        self.answer = answer;
        self
    }
}

impl SharesPlan {
    /// Returns ample limits for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers,
            memory: 64 << 20,
            connections: Rule::new(200),
            requests: Rule::new(0),
            download_window: 128 << 10,
        }
    }
}
