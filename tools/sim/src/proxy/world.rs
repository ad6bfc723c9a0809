//! The clients, the proxy, the upstreams, and the outcome of each request.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_ledger::{ClientKey, Ledger};
use tidegate_net::{Conns, Protocol};
use tidegate_testkit::rng::Rng;

use super::clients::{Asked, Client, Outcome};
use super::gateway::gateway;
use super::plan::{ExchangePlan, Plan, Role, Weather};
use super::report::Report;
use super::shares::limits;
use super::upstreams::{Accepted, Dialling, Served};
use super::workers::Workers;

/// The longest that a seed may last, in virtual time.
const FOREVER: Duration = Duration::from_secs(6 * 3600);

/// The longest that a body may drip: a pause, and the time that the least rate of bodies takes to
/// end it.
const DRIPS_AT_MOST: Duration = Duration::from_secs(400);

/// Something that happens later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Later {
    Begin(usize),
    Cancel(usize),
    ClientConsumes(usize, usize),
    ClientWrites(usize),
    Connect(usize),
    Answer(usize),
    UpstreamConsumes(usize, usize),
    UpstreamWrites(usize),
    CutClient(usize),
    Join(usize),
    Pause,
    Resume,
    ShutDown,
}

/// Whether the proxy's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Runs,
    /// The process pauses: its sockets fill, and its clock continues.
    Paused,
    Ended,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) epoch: Instant,
    pub(super) now: Duration,
    pub(super) proxy: Workers,
    pub(super) ledger: Arc<Ledger>,
    /// The clients' keys. Several clients may share one.
    pub(super) keys: BTreeSet<ClientKey>,
    pub(super) clients: Vec<Client>,
    pub(super) accepted: Vec<Accepted>,
    pub(super) dialling: Vec<Dialling>,
    /// How many connections each address has had.
    pub(super) dialled: HashMap<SocketAddr, usize>,
    pub(super) asked: Vec<Asked>,
    pub(super) served: Vec<Served>,
    pub(super) later: BinaryHeap<Reverse<(Duration, u64, Later)>>,
    pub(super) later_count: u64,
    pub(super) is_shutting_down: bool,
    pub(super) process: Process,
    pub(super) verbose: bool,
    pub(super) report: Report,
}

impl World {
    pub(super) fn new(plan: Plan, rng: Rng, verbose: bool) -> Self {
        let epoch = Instant::now();
        let ledger = Ledger::new(limits(plan.shares.as_ref()));
        let proxy = gateway(&plan, &ledger, epoch);
        let mut world = Self {
            asked: plan.exchanges.iter().map(|_| Asked::default()).collect(),
            rng,
            epoch,
            now: Duration::ZERO,
            proxy,
            ledger,
            keys: plan
                .clients
                .iter()
                .map(|client| client.addr.into())
                .collect(),
            clients: Vec::new(),
            accepted: Vec::new(),
            dialling: Vec::new(),
            dialled: HashMap::new(),
            served: Vec::new(),
            later: BinaryHeap::new(),
            later_count: 0,
            is_shutting_down: false,
            process: Process::Runs,
            verbose,
            report: Report::default(),
            plan,
        };
        for number in 0..world.plan.clients.len() {
            let client = world.client_to_be(number);
            world.clients.push(client);
            match world.plan.clients[number].joins {
                Some(Duration::ZERO) => world.connect_client(number),
                Some(when) => world.at(when, Later::Join(number)),
                None => {}
            }
            if let Some(when) = world.plan.clients[number].cut {
                world.at(when, Later::CutClient(number));
            }
        }
        for number in 0..world.plan.exchanges.len() {
            world.at(world.plan.exchanges[number].start, Later::Begin(number));
        }
        if let Some((when, lasts)) = world.plan.pause {
            world.at(when, Later::Pause);
            world.at(when + lasts, Later::Resume);
        }
        if let Some(when) = world.plan.shut_down {
            world.at(when, Later::ShutDown);
        }
        world
    }

    pub(super) fn at(&mut self, when: Duration, what: Later) {
        self.later_count += 1;
        let when = when.max(self.now);
        self.later.push(Reverse((when, self.later_count, what)));
    }

    /// Schedules the next write of the client of `exchange`.
    pub(super) fn client_writes_soon(&mut self, exchange: usize) {
        match self.plan.exchanges[exchange].drip {
            Some(gap) => self.at(self.now + gap, Later::ClientWrites(exchange)),
            None => self.soon(exchange, Later::ClientWrites(exchange)),
        }
    }

    pub(super) fn soon(&mut self, exchange: usize, what: Later) {
        let slowness = self.plan.exchanges[exchange].slowness;
        let late = slowness.mul_f64(self.rng.below(100) as f64 / 50.0);
        self.at(self.now + late, what);
    }

    pub(super) fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    pub(super) fn run(mut self) -> Report {
        loop {
            self.settle();
            self.end_if_done();
            let Some(next) = self.next() else { break };
            assert!(next < FOREVER, "it goes on for ever: {}", self.state());
            self.now = self.now.max(next);
            while let Some(Reverse((when, _, _))) = self.later.peek() {
                if *when > self.now {
                    break;
                }
                if let Some(Reverse((_, _, what))) = self.later.pop() {
                    self.act(what);
                }
            }
        }
        self.check_end();
        self.report
    }

    /// Returns when something happens next.
    fn next(&self) -> Option<Duration> {
        let later = self.later.peek().map(|Reverse((when, _, _))| *when);
        let clients = self.clients.iter().map(|client| &client.peer);
        let accepted = self.accepted.iter().map(|accepted| &accepted.peer);
        let peers = clients
            .chain(accepted)
            .filter_map(|peer| peer.next(self.epoch));
        // A loop without connections ticks without effect.
        let proxy = self.next_turn().filter(|_| !self.proxy.are_idle());
        peers.chain(later).chain(proxy).min()
    }

    /// Returns when the proxy's next turn is due.
    fn next_turn(&self) -> Option<Duration> {
        let next = self.proxy.next_turn(self.instant());
        next.filter(|_| self.process == Process::Runs)
            .map(|at| at.saturating_duration_since(self.epoch))
    }

    /// Lets everybody do all that can be done now.
    fn settle(&mut self) {
        let mut steps = 0_u64;
        loop {
            steps += 1;
            assert!(
                steps < 200_000,
                "it goes round in circles: {}",
                self.state()
            );
            if self.process == Process::Runs {
                if !self.proxy.turn(self.epoch + self.now) {
                    self.process = Process::Ended;
                }
                self.report.turns += 1;
            }
            let mut busy = self.take_dialled();
            for number in 0..self.clients.len() {
                busy |= self.step_client(number);
            }
            for number in 0..self.accepted.len() {
                busy |= self.step_upstream(number);
            }
            let has_work = self.next_turn().is_some_and(|due| due <= self.now);
            if !busy && !has_work {
                break;
            }
        }
        self.audit();
    }

    fn audit(&mut self) {
        self.proxy.audit();
        for client in &self.clients {
            client.peer.engine.audit();
        }
        self.audit_shares();
    }

    fn act(&mut self, what: Later) {
        match what {
            Later::Begin(exchange) => {
                let client = self.plan.exchanges[exchange].client;
                self.clients[client].waiting.push(exchange);
            }
            Later::Cancel(exchange) => self.cancel(exchange),
            Later::ClientConsumes(exchange, bytes) => {
                if let Some((client, id)) = self.client_stream(exchange)
                    && let Some(mut stream) = self.clients[client].peer.engine.stream(id)
                {
                    stream.consume(bytes);
                }
            }
            Later::ClientWrites(exchange) => self.client_writes(exchange),
            Later::Connect(number) => self.connect(number),
            Later::Answer(served) => self.answer(served),
            Later::UpstreamConsumes(served, bytes) => {
                let Served { peer, id, .. } = self.served[served];
                if let Some(mut stream) = self.accepted[peer].peer.engine.stream(id) {
                    stream.consume(bytes);
                }
            }
            Later::UpstreamWrites(served) => self.upstream_writes(served),
            Later::CutClient(number) => {
                trace!(self, "client {number} is cut off");
                self.report.faults += 1;
                let at = self.instant();
                self.clients[number].peer.cut(at);
            }
            Later::Join(number) => self.connect_client(number),
            Later::Pause if self.process == Process::Runs => {
                trace!(self, "the proxy stands still");
                self.process = Process::Paused;
                self.report.pauses += 1;
            }
            Later::Resume if self.process == Process::Paused => {
                trace!(self, "the proxy goes on");
                self.process = Process::Runs;
            }
            Later::Pause | Later::Resume => {}
            Later::ShutDown => {
                trace!(self, "the proxy shuts down");
                self.is_shutting_down = true;
                self.proxy.shut_down();
            }
        }
    }

    /// Lets the clients leave when all requests are over.
    fn end_if_done(&mut self) {
        let is_over = |asked: &Asked| asked.over.is_some();
        if !self.later.is_empty() || !self.asked.iter().all(is_over) {
            return;
        }
        let at = self.instant();
        for client in &mut self.clients {
            if !std::mem::replace(&mut client.is_over, true) {
                client.peer.engine.shut_down(at);
            }
        }
        self.settle();
    }
}

/// The checks at the end.
impl World {
    fn check_end(&mut self) {
        let weather = self.plan.weather;
        for (exchange, (asked, plan)) in self.asked.iter().zip(&self.plan.exchanges).enumerate() {
            let outcome = asked.over.unwrap_or_else(|| {
                panic!("{exchange} never ends: {asked:?}, {}", self.state());
            });
            if let Some(gap) = plan.drip {
                let dripped = gap * asked.sent.given as u32;
                assert!(
                    dripped < DRIPS_AT_MOST,
                    "{exchange} drips for {dripped:?}: {asked:?}"
                );
            }
            // An upstream may accept so few requests at once that drips hold all its places until
            // they are ended.
            let is_crowded =
                |other: &ExchangePlan| other.drip.is_some() && other.upstream == plan.upstream;
            if self.plan.shares.is_some()
                || weather == Weather::Foul
                || self.plan.exchanges.iter().any(is_crowded)
            {
                continue;
            }
            // A missing ability of this upstream isn't the weather's fault.
            let upstream = &self.plan.upstreams[plan.upstream];
            if plan.is_tunnel && !upstream.takes_websockets {
                continue;
            }
            // An upstream that ends its connection ends its tunnels too, and over HTTP/1.1 answers
            // only requests that it has begun to read.
            let leaves = upstream.requests.is_some();
            if leaves && (plan.is_tunnel || upstream.protocol == Protocol::Http1) {
                continue;
            }
            assert!(
                outcome == Outcome::Whole && !asked.is_gateways,
                "{exchange} was not answered, though nothing went wrong: {asked:?}"
            );
        }
        for exchange in 0..self.plan.exchanges.len() {
            if self.plan.clients[self.plan.exchanges[exchange].client].role == Role::Newcomer {
                self.check_newcomer(exchange);
            }
        }
        assert!(self.proxy.all().all(Conns::is_empty), "{}", self.state());
        self.check_accounts_are_empty();
    }

    /// Returns what is not over, for messages.
    fn state(&self) -> String {
        let open = self.asked.iter().enumerate();
        let open = open.filter(|(_, asked)| asked.over.is_none());
        let open: Vec<String> = open
            .map(|(number, asked)| format!("{number}: {asked:?}"))
            .collect();
        let served = self
            .served
            .iter()
            .filter(|served| !served.whole || !served.sent.ended);
        let served: Vec<String> = served.map(|served| format!("{served:?}")).collect();
        let clients = self.clients.iter().map(|client| client.peer.state());
        let clients: Vec<String> = clients.collect();
        format!(
            "at {:?}, open {open:#?}, served {served:#?}, clients {clients:#?}, {:?}",
            self.now,
            self.proxy.all().map(Conns::totals).collect::<Vec<_>>()
        )
    }
}
