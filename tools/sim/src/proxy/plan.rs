//! Everything that is decided beforehand: by one seed, or by a test that lists it (`scenario.rs`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use tidegate_http::Config;
use tidegate_ledger::Rule;
use tidegate_net::Protocol;
use tidegate_testkit::rng::Rng;

/// One of this many seeds is a siege.
const SIEGES: usize = 20;

/// The faults in a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing.
    Fair,
    /// Streams are refused and connections end gracefully: every request can still succeed.
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
    /// How many bytes each connection of the proxy takes.
    pub(crate) capacity: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_http2_connections: usize,
    pub(crate) max_idle: usize,
    /// When the proxy's process pauses, as in a migration of its machine, and for how long.
    pub(crate) pause: Option<(Duration, Duration)>,
    /// When the proxy begins its graceful shutdown, if before everything is done.
    pub(crate) shut_down: Option<Duration>,
    /// The limits that clients share, unless these are ample.
    pub(crate) shares: Option<SharesPlan>,
}

/// The limits that a proxy's clients share.
#[derive(Clone, Debug)]
pub(crate) struct SharesPlan {
    pub(crate) workers: usize,
    /// Bytes.
    pub(crate) memory: u64,
    pub(crate) connections: Rule,
    pub(crate) requests: Rule,
    /// How many bytes an upstream's response may be ahead of its client.
    pub(crate) download_window: u32,
}

/// The expected behaviour of a client, and of its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The client makes various requests, which succeed if nothing goes wrong.
    Ordinary,
    /// The client takes all it can get.
    Attacker,
    /// The client makes one small request, which succeeds whatever others do.
    Newcomer,
}

/// A client's connection.
#[derive(Clone, Debug)]
pub(crate) struct ClientPlan {
    pub(crate) protocol: Protocol,
    pub(crate) link: LinkPlan,
    pub(crate) window: u32,
    /// When the client's connection is cut.
    pub(crate) cut: Option<Duration>,
    /// The client's address. Some clients share one.
    pub(crate) addr: IpAddr,
    pub(crate) role: Role,
    /// The worker that accepts the client's connections; `None`: any.
    pub(crate) worker: Option<usize>,
    /// When the client connects; `None`: with its first request.
    pub(crate) joins: Option<Duration>,
    /// Before this time, the client ignores its socket.
    pub(crate) reads_from: Duration,
}

/// An upstream.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamPlan {
    pub(crate) protocol: Protocol,
    /// How many addresses the upstream has.
    pub(crate) addresses: usize,
    pub(crate) link: LinkPlan,
    pub(crate) window: u32,
    pub(crate) max_streams: u32,
    pub(crate) takes_websockets: bool,
    /// How many connections are refused: the first `.0` of every `.1`.
    pub(crate) refused: (usize, usize),
    /// After how many requests a connection ends gracefully: every connection in foul weather, else
    /// the first.
    pub(crate) requests: Option<usize>,
}

/// Both directions of a connection.
#[derive(Clone, Debug)]
pub(crate) struct LinkPlan {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// How many bytes may be in flight in one direction.
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
    /// How long the upstream waits before it answers.
    pub(crate) thinks: Duration,
    /// When the client loses interest.
    pub(crate) cancel: Option<Duration>,
    /// How long either end takes to consume received bytes.
    pub(crate) slowness: Duration,
    /// The time between two bytes of the client's body, if the client drips: an attack, which must
    /// come to an end.
    pub(crate) drip: Option<Duration>,
}

/// One message's body and what follows it.
#[derive(Clone, Debug)]
pub(crate) struct MessagePlan {
    pub(crate) start: usize,
    pub(crate) len: usize,
    /// Whether the body is written in pieces, not with the head.
    pub(crate) streamed: bool,
    /// Whether the length is declared beforehand.
    pub(crate) sized: bool,
    pub(crate) trailers: bool,
}

/// How an upstream answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Answers once it has the whole request.
    Late,
    /// Answers at once, and reads the rest.
    Early,
    /// Answers at once, and ignores the rest.
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
    /// Draws a plan.
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        if rng.one_in(SIEGES) {
            return Self::siege(rng);
        }
        let weather = rng.pick(&[Weather::Fair, Weather::Gentle, Weather::Foul, Weather::Foul]);
        let is_foul = weather == Weather::Foul;
        let clients: Vec<ClientPlan> = (0..rng.between(1, 4))
            .map(|number| ClientPlan {
                protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
                link: LinkPlan::drawn(rng),
                window: rng.pick(&[1, 1000, 65_535, 1 << 20]),
                cut: (is_foul && rng.one_in(5)).then(|| millis(rng.below(3000))),
                addr: Ipv4Addr::new(192, 0, 2, number as u8).into(),
                role: Role::Ordinary,
                worker: None,
                joins: Some(Duration::ZERO),
                reads_from: Duration::ZERO,
            })
            .collect();
        let upstreams: Vec<UpstreamPlan> = (0..rng.between(1, 3))
            .map(|_| UpstreamPlan {
                protocol: rng.pick(&[Protocol::Http2, Protocol::Http1]),
                addresses: rng.between(1, 3),
                link: LinkPlan::drawn(rng),
                window: rng.pick(&[1, 1000, 65_535, 1 << 20]),
                max_streams: rng.pick(&[1, 2, 5, 100]),
                takes_websockets: !rng.one_in(4),
                refused: if is_foul && rng.one_in(3) {
                    (rng.between(1, 2), rng.between(2, 4))
                } else {
                    (0, 1)
                },
                requests: (weather != Weather::Fair && rng.one_in(2)).then(|| rng.between(1, 5)),
            })
            .collect();
        let count = rng.pick(&[1, 3, 10, 40]);
        let capacity = rng.pick(&[1, 100, 5000, 200_000]);
        let exchanges = (0..count)
            .map(|_| {
                let (client, upstream) = (rng.below(clients.len()), rng.below(upstreams.len()));
                let mut plan = ExchangePlan::drawn(rng, client, upstream, weather);
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
                    // A request that fails twice isn't answered, and requests that come before the
                    // upstream's SETTINGS may be too many for it.
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
    fn drawn(rng: &mut Rng) -> Self {
        Self {
            delay: millis(rng.pick(&[0, 1, 20, 100])),
            jitter: millis(rng.pick(&[0, 0, 5])),
            capacity: rng.pick(&[100, 5000, 200_000]),
            piece: rng.pick(&[1, 50, 1400, usize::MAX]),
        }
    }

    /// Returns how many bytes of a body arrive well before either end's patience ends, and ours,
    /// when `count` messages share the link.
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
    fn drawn(rng: &mut Rng, client: usize, upstream: usize, weather: Weather) -> Self {
        let is_foul = weather == Weather::Foul;
        let is_tunnel = rng.one_in(12);
        let method = if is_tunnel {
            "CONNECT"
        } else {
            rng.pick(&["GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH"])
        };
        let has_body = is_tunnel || matches!(method, "POST" | "PUT" | "PATCH");
        let mut request = MessagePlan::drawn(rng, has_body, is_tunnel);
        let status = if is_tunnel {
            200
        } else {
            rng.pick(&[200, 200, 200, 204, 304, 404, 500])
        };
        let has_content = method != "HEAD" && !matches!(status, 204 | 304);
        let mut response = MessagePlan::drawn(rng, has_content, is_tunnel);
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
            // A request longer than what the pool keeps can't be sent again.
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
            informs: if is_tunnel {
                0
            } else {
                rng.pick(&[0, 0, 1, 3])
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
    /// Turns the request into an upload whose body would take days.
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
    fn drawn(rng: &mut Rng, has_body: bool, is_tunnel: bool) -> Self {
        let len = if has_body {
            rng.pick(&[0, 1, 100, 16_384, 70_000, 400_000])
        } else {
            0
        };
        let streamed = is_tunnel || rng.one_in(2);
        let trailers = has_body && streamed && !is_tunnel && rng.one_in(3);
        Self {
            start: rng.below(1 << 20),
            len,
            streamed,
            // In HTTP/1.1, a body of known length has no trailers.
            sized: streamed && !trailers && !is_tunnel && rng.one_in(2),
            trailers,
        }
    }

    /// Returns the body's bytes from `offset` on.
    pub(crate) fn rest(&self, offset: usize) -> Bytes {
        pattern().slice(self.start + offset..self.start + self.len)
    }
}

/// Returns the settings of the clients and upstreams.
pub(crate) fn engine_config(mut config: Config, window: u32) -> Config {
    config.initial_window_size = window;
    config.max_stream_window_size = window.max(65_535);
    // Only the proxy's timeouts count here.
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

/// Returns random bytes without a period, so that a lost, duplicated or moved byte shows.
fn pattern() -> &'static Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut rng = Rng::new(1);
        (0..(2 << 20) / 8)
            .flat_map(|_| rng.number().to_le_bytes())
            .collect()
    })
}
