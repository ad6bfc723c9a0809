//! What one seed decides beforehand.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use tidegate_ledger::Rule;
use tidegate_net::Protocol;
use tidegate_proto::Config;
use tidegate_testkit::rng::Rng;

/// One of so many seeds is a siege.
const SIEGES: usize = 20;

/// What goes wrong in a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Fair,
    /// Streams are refused and connections end gracefully: every request can be mended.
    Gentle,
    /// Everything.
    Foul,
}

/// Everything.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) weather: Weather,
    pub(crate) clients: Vec<ClientPlan>,
    pub(crate) upstreams: Vec<UpstreamPlan>,
    pub(crate) exchanges: Vec<ExchangePlan>,
    /// Octets that each connection of the proxy's takes.
    pub(crate) capacity: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_http2_connections: usize,
    pub(crate) max_idle: usize,
    /// When the proxy's process stands still, as in a migration of its machine, and for how long.
    pub(crate) pause: Option<(Duration, Duration)>,
    /// When the proxy begins its graceful end, if before everything is done.
    pub(crate) shut_down: Option<Duration>,
    /// What clients share, where that isn't plenty.
    pub(crate) shares: Option<SharesPlan>,
}

/// What a proxy's clients share.
#[derive(Clone, Debug)]
pub(crate) struct SharesPlan {
    pub(crate) workers: usize,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) connections: Rule,
    pub(crate) requests: Rule,
    /// Bytes that an upstream's response may be ahead of its client.
    pub(crate) download_window: u32,
}

/// What is expected of a client, and of what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It asks for this and that, and gets it if nothing goes wrong.
    Ordinary,
    /// It takes all it can get.
    Attacker,
    /// It asks once, for little, and gets that whatever others do.
    Newcomer,
}

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) protocol: Protocol,
    pub(crate) link: LinkPlan,
    pub(crate) window: u32,
    /// When its connection is cut.
    pub(crate) cut: Option<Duration>,
    /// Some have the same.
    pub(crate) addr: IpAddr,
    pub(crate) role: Role,
    /// When it connects; `None`: with its first request.
    pub(crate) joins: Option<Duration>,
    /// Until then it doesn't look at its socket.
    pub(crate) reads_from: Duration,
}

/// An upstream.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) protocol: Protocol,
    /// How many addresses it has.
    pub(crate) addresses: usize,
    pub(crate) link: LinkPlan,
    pub(crate) window: u32,
    pub(crate) max_streams: u32,
    pub(crate) takes_websockets: bool,
    /// Every so many connections: the first `.0` of each `.1` are refused.
    pub(crate) refused: (usize, usize),
    /// A connection ends gracefully after so many requests; each in foul weather, else the first.
    pub(crate) requests: Option<usize>,
}

/// Both directions of a connection.
#[derive(Clone, Debug)]
pub(crate) struct LinkPlan {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// Octets on the way in one direction.
    pub(crate) capacity: usize,
    /// The largest piece that arrives.
    pub(crate) piece: usize,
}

/// A request and its response.
#[derive(Clone, Debug)]
pub(crate) struct ExchangePlan {
    pub(crate) client: usize,
    pub(crate) upstream: usize,
    pub(crate) start: Duration,
    pub(crate) method: &'static str,
    pub(crate) is_tunnel: bool,
    pub(crate) request: MessagePlan,
    pub(crate) response: MessagePlan,
    pub(crate) status: u16,
    pub(crate) informs: usize,
    pub(crate) answer: Answer,
    /// How long the upstream thinks.
    pub(crate) thinks: Duration,
    /// When the client loses interest.
    pub(crate) cancel: Option<Duration>,
    /// How long whoever got octets takes to deal with them.
    pub(crate) slowness: Duration,
    /// The client sends its body byte by byte, with this time between two: an attack, which must come to an end.
    pub(crate) drip: Option<Duration>,
}

/// One message's body and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct MessagePlan {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Given whole with the head, else piece by piece.
    pub(crate) streamed: bool,
    /// Its length is told beforehand.
    pub(crate) sized: bool,
    pub(crate) trailers: bool,
}

/// What an upstream does about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Answers once it has all of it.
    Late,
    /// Answers at once, and reads the rest.
    Early,
    /// Answers at once, and doesn't care for the rest.
    EarlyAndDeaf,
    /// Refuses it the first time.
    Refuse,
    /// Resets it in the middle of the response.
    Reset,
    /// Cuts its connection before or in the middle of the response.
    Cut,
    /// Never answers.
    Silent,
    /// Never answers, and reads no body.
    Deaf,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        if rng.one_in(SIEGES) {
            return Self::siege(rng);
        }
        let weather = rng.pick(&[Weather::Fair, Weather::Gentle, Weather::Foul, Weather::Foul]);
        let is_foul = weather == Weather::Foul;
        let clients: Vec<ClientPlan> = (0..rng.between(1, 4))
            .map(|number| ClientPlan {
                protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
                link: LinkPlan::new(rng),
                window: rng.pick(&[1, 1000, 65_535, 1 << 20]),
                cut: (is_foul && rng.one_in(5)).then(|| millis(rng.below(3000))),
                addr: Ipv4Addr::new(192, 0, 2, number as u8).into(),
                role: Role::Ordinary,
                joins: Some(Duration::ZERO),
                reads_from: Duration::ZERO,
            })
            .collect();
        let upstreams: Vec<UpstreamPlan> = (0..rng.between(1, 3))
            .map(|_| UpstreamPlan {
                protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
                addresses: rng.between(1, 3),
                link: LinkPlan::new(rng),
                window: rng.pick(&[1, 1000, 65_535, 1 << 20]),
                max_streams: rng.pick(&[1, 2, 5, 100]),
                takes_websockets: !rng.one_in(4),
                refused: match is_foul && rng.one_in(3) {
                    true => (rng.between(1, 2), rng.between(2, 4)),
                    false => (0, 1),
                },
                requests: (weather != Weather::Fair && rng.one_in(2)).then(|| rng.between(1, 5)),
            })
            .collect();
        let count = rng.pick(&[1, 3, 10, 40]);
        let capacity = rng.pick(&[1, 100, 5000, 200_000]);
        let exchanges = (0..count)
            .map(|_| {
                let (client, upstream) = (rng.below(clients.len()), rng.below(upstreams.len()));
                let mut plan = ExchangePlan::new(rng, client, upstream, weather);
                let (client, upstream) = (&clients[client], &upstreams[upstream]);
                let most = client
                    .link
                    .bearable(client.window, count, plan.slowness)
                    .min(
                        upstream
                            .link
                            .bearable(upstream.window, count, plan.slowness),
                    )
                    .min(capacity * 3000);
                if weather == Weather::Gentle
                    && plan.answer == Answer::Refuse
                    && (upstream.requests.is_some() || upstream.max_streams < 100)
                {
                    // Who has bad luck twice isn't answered; and those that come before its SETTINGS may be too many for it.
                    plan.answer = Answer::Late;
                }
                plan.request.len = plan.request.len.min(most);
                plan.response.len = plan.response.len.min(most);
                if rng.one_in(30) {
                    plan.turn_into_drip(rng);
                }
                plan
            })
            .collect();
        Self {
            weather,
            clients,
            upstreams,
            exchanges,
            capacity,
            max_connections: rng.pick(&[1, 3, 256]),
            max_http2_connections: rng.pick(&[1, 2, 8]),
            max_idle: rng.pick(&[0, 1, 100]),
            pause: rng.one_in(4).then(|| {
                (
                    millis(rng.below(1000)),
                    millis(rng.pick(&[5_000, 40_000, 200_000])),
                )
            }),
            shut_down: (is_foul && rng.one_in(6)).then(|| millis(rng.below(3000))),
            shares: None,
        }
    }
}

impl LinkPlan {
    fn new(rng: &mut Rng) -> Self {
        Self {
            delay: millis(rng.pick(&[0, 1, 20, 100])),
            jitter: millis(rng.pick(&[0, 0, 5])),
            capacity: rng.pick(&[100, 5000, 200_000]),
            piece: rng.pick(&[1, 50, 1400, usize::MAX]),
        }
    }

    /// Octets of a body that get through well before somebody's patience ends, when `count` messages share the link; and before ours
    /// does.
    fn bearable(&self, window: u32, count: usize, slowness: Duration) -> usize {
        const PATIENCE: f64 = 10.0;
        let round = 2.0 * (self.delay + self.jitter).as_secs_f64() + 1e-3;
        let link = self.capacity as f64 / round * PATIENCE / count as f64;
        let stream = f64::from(window) / (round + 2.0 * slowness.as_secs_f64()) * PATIENCE;
        let steps = self.piece.min(window as usize).saturating_mul(3000);
        steps.min(link as usize).min(stream as usize)
    }
}

impl ExchangePlan {
    fn new(rng: &mut Rng, client: usize, upstream: usize, weather: Weather) -> Self {
        let is_foul = weather == Weather::Foul;
        let is_tunnel = rng.one_in(12);
        let method = match is_tunnel {
            true => "CONNECT",
            false => rng.pick(&["GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH"]),
        };
        let has_body = is_tunnel || matches!(method, "POST" | "PUT" | "PATCH");
        let mut request = MessagePlan::new(rng, has_body, is_tunnel);
        let status = match is_tunnel {
            true => 200,
            false => rng.pick(&[200, 200, 200, 204, 304, 404, 500]),
        };
        let has_content = method != "HEAD" && !matches!(status, 204 | 304);
        let mut response = MessagePlan::new(rng, has_content, is_tunnel);
        if rng.one_in(3) {
            request.len = request.len.min(1000);
            response.len = response.len.min(1000);
        }
        let answer = match weather {
            _ if is_tunnel => Answer::Early,
            Weather::Fair => rng.pick(&[Answer::Late, Answer::Early]),
            Weather::Gentle => rng.pick(&[Answer::Late, Answer::Early, Answer::Refuse]),
            Weather::Foul => rng.pick(&[
                Answer::Late,
                Answer::Late,
                Answer::Early,
                Answer::EarlyAndDeaf,
                Answer::Refuse,
                Answer::Reset,
                Answer::Cut,
                Answer::Silent,
            ]),
        };
        if weather == Weather::Gentle {
            // What is longer than what the pool keeps can't be sent again.
            request.len = request.len.min(60_000);
        }
        Self {
            client,
            upstream,
            start: millis(rng.below(rng_span(is_foul))),
            method,
            is_tunnel,
            request,
            response,
            status,
            informs: match is_tunnel {
                true => 0,
                false => rng.pick(&[0, 0, 1, 3]),
            },
            answer,
            thinks: millis(rng.pick(&[0, 0, 3, 300])),
            cancel: (is_foul && rng.one_in(6)).then(|| millis(rng.below(2000))),
            slowness: millis(rng.pick(&[0, 0, 0, 1, 30])),
            drip: None,
        }
    }
}

impl ExchangePlan {
    /// An upload whose body would take days.
    pub(super) fn turn_into_drip(&mut self, rng: &mut Rng) {
        self.method = "POST";
        self.is_tunnel = false;
        self.informs = 0;
        self.cancel = None;
        self.request.len = 100_000;
        self.request.streamed = true;
        self.request.trailers = false;
        self.drip = Some(millis(rng.pick(&[300, 5_000, 20_000])));
    }
}

fn rng_span(is_foul: bool) -> usize {
    if is_foul { 2000 } else { 500 }
}

impl MessagePlan {
    fn new(rng: &mut Rng, has_body: bool, is_tunnel: bool) -> Self {
        let len = match has_body {
            true => rng.pick(&[0, 1, 100, 16_384, 70_000, 400_000]),
            false => 0,
        };
        let streamed = is_tunnel || rng.one_in(2);
        let trailers = has_body && streamed && !is_tunnel && rng.one_in(3);
        Self {
            start: rng.below(1 << 20),
            len,
            streamed,
            // HTTP/1.1 has no place for trailers behind a body of known length.
            sized: streamed && !trailers && !is_tunnel && rng.one_in(2),
            trailers,
        }
    }

    /// The body's octets from `offset` on.
    pub(crate) fn rest(&self, offset: usize) -> Bytes {
        pattern().slice(self.start + offset..self.start + self.len)
    }
}

/// Settings of either end of a connection that isn't the proxy's.
pub(crate) fn engine_config(mut config: Config, window: u32) -> Config {
    config.initial_window_size = window;
    config.max_stream_window_size = window.max(65_535);
    // Those of the proxy are what counts here.
    config.timeouts.body = Duration::ZERO;
    config.timeouts.discard = Duration::ZERO;
    config.timeouts.write = Duration::ZERO;
    config.timeouts.idle = Duration::ZERO;
    config.timeouts.handshake = Duration::ZERO;
    config.timeouts.settings_ack = Duration::ZERO;
    config.timeouts.header_block = Duration::ZERO;
    config
}

pub(crate) fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

/// Random octets without a period, so that a lost, doubled or moved octet shows.
fn pattern() -> &'static Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut rng = Rng::new(1);
        (0..(2 << 20) / 8)
            .flat_map(|_| rng.number().to_le_bytes())
            .collect()
    })
}
