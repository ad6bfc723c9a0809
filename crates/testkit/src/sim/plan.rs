//! The plan of a simulation: settings, network, messages, faults. A plan is drawn by a seed, or
//! written: see [`Plan::quiet`].

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use tidegate_http::{Config, MemoryBudget, Priorities, Rate};

use crate::rng::Rng;
use crate::sim::OUT_OF_SIGHT;

/// Everything that is decided in advance. Other choices (how much is written at once, where input
/// is split) are drawn while the simulation runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The client's configuration.
    pub client: Config,
    /// The server's configuration.
    pub server: Config,
    /// The network from the client to the server, and back.
    pub links: [LinkPlan; 2],
    /// The client's requests, in order.
    pub exchanges: Vec<ExchangePlan>,
    /// The bytes that an outbox may hold.
    pub outbox_limit: usize,
    /// Whether the client opens streams before it has seen the server's SETTINGS.
    pub opens_early: bool,
    /// When the network is cut, if it is.
    pub cut: Option<Duration>,
    /// When each side begins a graceful end before everything is done, if it does.
    pub shut_downs: [Option<Duration>; 2],
    /// When a side ends by an error, if it does: `true` is the server.
    pub abort: Option<(Duration, bool)>,
    /// When a side changes its SETTINGS_INITIAL_WINDOW_SIZE, which side, and to what.
    pub window_changes: Vec<(Duration, usize, u32)>,
    /// Whether the server ends the connection once all is done.
    pub server_ends: bool,
    /// How often a third party inserts a frame: once in this many frames; 0 is never.
    pub intrusion: usize,
    /// The priorities that the client signals.
    pub signals: Signals,
}

/// The priorities that a client signals: those of RFC 9218, by fields and by frames, and those of
/// RFC 7540.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    /// Whether requests have `priority` fields.
    pub fields: bool,
    /// Whether a third party sends PRIORITY_UPDATE.
    pub updates: bool,
    /// Whether there are PRIORITY frames, and dependencies in HEADERS.
    pub dependencies: bool,
}

/// One direction of the network.
#[derive(Clone, Debug)]
pub struct LinkPlan {
    /// The time between sending and arrival, plus up to as much again.
    pub delay: Duration,
    /// The bytes that may be in flight.
    pub capacity: usize,
    /// The pieces that arrive.
    pub split: Split,
    /// The intervals during which nothing arrives.
    pub stalls: Vec<(Duration, Duration)>,
}

/// How input is passed to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All that has arrived, at once.
    Whole,
    /// Pieces of random length.
    Random,
    /// Byte by byte.
    EveryByte,
}

/// One request and its response.
#[derive(Clone, Debug)]
pub struct ExchangePlan {
    /// When the client wants to open it.
    pub start: Duration,
    /// The request's method.
    pub method: &'static str,
    /// The request.
    pub request: MessagePlan,
    /// The response.
    pub response: MessagePlan,
    /// The response's status.
    pub status: u16,
    /// The number of 1xx responses that come first.
    pub informs: usize,
    /// When the server responds.
    pub answer: Answer,
    /// The server's pushes with this response.
    pub pushes: Vec<ExchangePlan>,
    /// When the client resets the stream, if it does.
    pub client_reset: Option<ResetPoint>,
    /// When the server resets the stream, if it does.
    pub server_reset: Option<ResetPoint>,
    /// The longest time that either side's owner waits before it consumes, writes, or releases.
    pub dawdle: Duration,
}

/// One direction of an exchange.
#[derive(Clone, Debug, Default)]
pub struct MessagePlan {
    /// The head's fields.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: BodyPlan,
    /// Trailers; only with a streamed body.
    pub trailers: Option<Vec<(String, Vec<u8>)>>,
}

/// A body: a part of a megabyte of random bytes.
#[derive(Clone, Debug, Default)]
pub struct BodyPlan {
    /// Whether the owner writes it in pieces, rather than whole with the head.
    pub streamed: bool,
    /// The offset of its first byte in the megabyte.
    pub start: usize,
    /// The number of its bytes.
    pub len: usize,
}

/// When the server responds.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// Once it has the request's head.
    OnHead,
    /// Once it has the whole request.
    OnEnd,
    /// This long after the head.
    After(Duration),
}

/// When a side gives up.
#[derive(Clone, Copy, Debug)]
pub enum ResetPoint {
    /// With the head: its own (client), or the peer's (server).
    AtOnce,
    /// With the first body bytes from the peer.
    OnData,
    /// This long after the head.
    After(Duration),
}

impl BodyPlan {
    /// Returns the bytes from `offset` on.
    pub(crate) fn rest(&self, offset: usize) -> Bytes {
        pattern().slice(self.start + offset..self.start + self.len)
    }
}

/// Random bytes without a period, so that a lost, doubled or moved byte is detected.
fn pattern() -> &'static Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    PATTERN.get_or_init(|| {
        let mut rng = Rng::new(0);
        let words = (0..PATTERN_LEN / 8).flat_map(|_| rng.number().to_le_bytes());
        words.collect()
    })
}

const PATTERN_LEN: usize = 1 << 20;

impl Plan {
    /// Draws a plan.
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        // A crowd has thousands of small exchanges, a drip few bytes in total because it is fed one
        // at a time.
        let crowd = rng.one_in(40);
        let drip = !crowd && rng.one_in(5);
        let split = if drip {
            Split::EveryByte
        } else {
            rng.pick(&[Split::Whole, Split::Random])
        };
        let plenty = if crowd || drip {
            1
        } else {
            rng.pick(&[1, 1, 2, 3])
        };
        let (fields, updates, dependencies) = rng.pick(&[
            (false, false, false),
            (true, false, false),
            (true, true, false),
            (false, false, true),
            (false, false, true),
            (true, true, true),
        ]);
        let signals = Signals {
            fields,
            updates,
            dependencies,
        };
        let mut scale = Scale {
            priority_fields: signals.fields,
            max_body: if crowd {
                200
            } else if drip {
                1500
            } else {
                [0, 5_000, 100_000, 400_000][plenty]
            },
            // The number of exchanges out of 100 that either side may reset.
            resets: rng.pick(&[0, 0, 10, 50]),
            long_heads: !drip && !crowd && rng.one_in(8),
            dawdle: Duration::from_micros(rng.pick(&[0, 0, 10, 10_000, 1_000_000])),
            spread: Duration::from_micros(rng.pick(&[0, 1_000, 1_000_000])),
        };
        let count = if crowd {
            rng.between(1000, 3000)
        } else if drip {
            rng.between(1, 6)
        } else {
            rng.pick(&[1, 2, 3, 10, 30, 30, 100])
        };
        let mut client = config(rng, Config::client());
        let mut server = config(rng, Config::server());
        client.enable_push = rng.one_in(3);
        for config in [&mut client, &mut server] {
            // Small, but some streams fit in.
            let window = u64::from(config.initial_window_size).max(64 << 10);
            let budget = MemoryBudget::new((window * rng.pick(&[8, 20, 100])).max(1 << 20));
            // A crowd would repeat refused requests too often.
            config.memory_budget = (rng.one_in(4) && !crowd).then_some(budget);
        }
        // A window of a few bytes takes a round trip for each: not for a large body.
        let window = client.initial_window_size.min(server.initial_window_size);
        scale.max_body = scale.max_body.min(1000 + 300 * window as usize);
        if window < 100 {
            scale.dawdle = scale.dawdle.min(Duration::from_millis(10));
        }
        // Some servers try it with clients that accept no pushes.
        let may_push = client.enable_push || rng.one_in(3);
        let exchanges = (0..count)
            .map(|_| ExchangePlan::drawn(rng, &scale, may_push))
            .collect();
        let link = |rng: &mut Rng| LinkPlan {
            delay: Duration::from_micros(rng.pick(&[0, 50, 10_000, 200_000])),
            capacity: if drip {
                rng.pick(&[1, 100, 10_000])
            } else {
                rng.pick(&[1_000, 16_000, 100_000, 1 << 20])
            },
            split,
            stalls: (0..rng.pick(&[0, 0, 1, 3]))
                .map(|_| {
                    let from = Duration::from_micros(rng.below(3_000_000) as u64);
                    let len = Duration::from_micros(rng.below(2_000_000) as u64);
                    (from, from + len)
                })
                .collect(),
        };
        let mut plan = Self {
            links: [link(rng), link(rng)],
            client,
            server,
            exchanges,
            window_changes: Vec::new(),
            outbox_limit: rng.pick(&[1, 1_000, 16_384, 65_536, 1 << 20]),
            opens_early: rng.one_in(3),
            cut: rng
                .one_in(6)
                .then(|| Duration::from_micros(rng.below(2_000_000) as u64)),
            shut_downs: [(); 2].map(|()| {
                let when = Duration::from_micros(rng.below(2_000_000) as u64);
                rng.one_in(8).then_some(when)
            }),
            abort: rng.one_in(20).then(|| {
                let when = Duration::from_micros(rng.below(2_000_000) as u64);
                (when, rng.one_in(2))
            }),
            server_ends: rng.one_in(2),
            intrusion: if crowd { 200 } else { rng.pick(&[0, 3, 20]) },
            signals,
        };
        // By dice of their own: plans without a change stay what they were. A third party that
        // lowers windows, and raises them again, would have to know of the change.
        let mut dice = rng.clone();
        if plan.intrusion == 0 && dice.one_in(2) {
            let change = |_| {
                let when = Duration::from_micros(dice.below(2_000_000) as u64);
                (when, dice.below(2), dice.pick(&[1000, 65_535, 300_000]))
            };
            plan.window_changes = (0..3).map(change).collect();
        }
        plan
    }
}

struct Scale {
    priority_fields: bool,
    max_body: usize,
    resets: usize,
    long_heads: bool,
    dawdle: Duration,
    spread: Duration,
}

fn config(rng: &mut Rng, mut config: Config) -> Config {
    const MAX_WINDOW: u32 = 0x7fff_ffff;
    config.header_table_size = rng.pick(&[0, 64, 4096, 4096, 65_536]);
    config.encoder_table_size = rng.pick(&[0, 100, 4096, 4096, 65_536]);
    config.initial_window_size =
        rng.pick(&[0, 1, 7, 1000, 65_535, 65_535, 65_535, 1 << 20, MAX_WINDOW]);
    config.max_stream_window_size = rng.pick(&[0, 0, 1000, 65_535, 16 << 20, 16 << 20, MAX_WINDOW]);
    config.max_concurrent_streams = rng.pick(&[1, 3, 100, 100, 5000]);
    config.max_frame_size = rng.pick(&[16_384, 16_384, 16_385, 100_000, 0xff_ffff]);
    config.priorities = rng.pick(&[Priorities::Rfc9218, Priorities::Auto]);
    config.outbound_high_water = rng.pick(&[1_000, 16_384, 256 << 10]);
    // Stalls last longer than any sensible timeout; the remaining test is that an armed timer does
    // no harm.
    let timeout = rng.pick(&[Duration::ZERO, OUT_OF_SIGHT]);
    without_limits(config, timeout)
}

/// Sets all timeouts to `timeout`. Lifts the limits on abuse, which have tests of their own: resets
/// by the hundred and a third party's PINGs are wanted here.
pub(crate) fn without_limits(mut config: Config, timeout: Duration) -> Config {
    config.timeouts.handshake = timeout;
    config.timeouts.settings_ack = timeout;
    config.timeouts.header_block = timeout;
    config.timeouts.body = timeout;
    config.timeouts.write = timeout;
    config.timeouts.idle = timeout;
    config.timeouts.shutdown = timeout;
    let abuse = &mut config.abuse;
    abuse.provoked_resets = u32::MAX;
    for rate in [
        &mut abuse.resets,
        &mut abuse.pings,
        &mut abuse.settings,
        &mut abuse.window_updates,
        &mut abuse.small_continuations,
        &mut abuse.empty_data,
        &mut abuse.priorities,
        &mut abuse.goaways,
        &mut abuse.closed_streams,
    ] {
        *rate = Rate::new(1 << 30, 1 << 30);
    }
    config
}

impl ExchangePlan {
    fn drawn(rng: &mut Rng, scale: &Scale, may_push: bool) -> Self {
        let method = rng.pick(&[
            "GET", "GET", "GET", "POST", "POST", "POST", "HEAD", "OPTIONS", "CONNECT",
        ]);
        let is_tunnel = method == "CONNECT";
        let mut request = MessagePlan::drawn(rng, scale, method == "POST" || is_tunnel);
        let mut response = MessagePlan::drawn(rng, scale, true);
        let status = if is_tunnel {
            200
        } else {
            rng.pick(&[200, 200, 200, 200, 404, 204, 304])
        };
        if is_tunnel {
            // RFC 9113 §8.5: only DATA in both directions, until END_STREAM.
            for message in [&mut request, &mut response] {
                message.body.streamed = true;
                message.trailers = None;
            }
        }
        if method == "HEAD" || status == 204 || status == 304 {
            // There is no body: the engine must leave out whatever it is given.
            response.trailers = None;
            response.body.streamed = false;
        }
        for message in [&mut request, &mut response] {
            if status != 204 && !is_tunnel && message.body.len > 0 && rng.one_in(2) {
                let len = message.body.len.to_string().into_bytes();
                message.fields.push(("content-length".into(), len));
            }
        }
        for (message, often) in [(&mut request, 2), (&mut response, 6)] {
            if scale.priority_fields && rng.one_in(often) {
                let value = rng.pick(&["u=0", "u=1, i", "i", "u=5", "u=7, i", "u=9", "u=?0;", ""]);
                message.fields.push(("priority".into(), value.into()));
            }
        }
        let late = Duration::from_micros(rng.below(500_000) as u64);
        let reset = |rng: &mut Rng| {
            (rng.below(100) < scale.resets).then(|| {
                let late = Duration::from_micros(rng.below(300_000) as u64);
                rng.pick(&[
                    ResetPoint::AtOnce,
                    ResetPoint::OnData,
                    ResetPoint::After(late),
                ])
            })
        };
        let start = scale.spread.mul_f64(rng.below(1000) as f64 / 1000.0);
        Self {
            start,
            method,
            informs: rng.pick(&[0, 0, 0, 1, 2]),
            answer: rng.pick(&[Answer::OnHead, Answer::OnEnd, Answer::After(late)]),
            pushes: if may_push && method != "HEAD" && !is_tunnel && rng.one_in(4) {
                (0..rng.between(1, 3))
                    .map(|_| Self {
                        method: "GET",
                        request: MessagePlan {
                            body: BodyPlan::default(),
                            trailers: None,
                            ..MessagePlan::drawn(rng, scale, false)
                        },
                        // An answer that fits any other method fits a GET.
                        ..Self::drawn(rng, scale, false)
                    })
                    .collect()
            } else {
                Vec::new()
            },
            client_reset: reset(rng),
            server_reset: reset(rng),
            dawdle: scale.dawdle,
            request,
            response,
            status,
        }
    }

    /// Returns how many bytes of response body arrive.
    pub(crate) fn response_len(&self) -> usize {
        if self.response_is_without_content() {
            0
        } else {
            self.response.body.len
        }
    }

    /// RFC 9110 §6.4.1: whatever body is given is left out.
    pub(crate) fn response_is_without_content(&self) -> bool {
        self.method == "HEAD" || self.status == 204 || self.status == 304
    }
}

impl MessagePlan {
    fn drawn(rng: &mut Rng, scale: &Scale, may_have_body: bool) -> Self {
        let len = if may_have_body {
            match rng.below(6) {
                0 => 0,
                1 => rng.between(1, 10),
                2 | 3 => rng.below(scale.max_body.min(1000) + 1),
                4 => rng.below(scale.max_body + 1),
                _ => rng
                    .pick(&[16_383, 16_384, 16_385, 65_535, 65_536])
                    .min(scale.max_body),
            }
        } else {
            0
        };
        let streamed = may_have_body && rng.one_in(2);
        Self {
            fields: fields(rng, scale),
            body: BodyPlan {
                streamed,
                start: rng.below(PATTERN_LEN - len),
                len,
            },
            trailers: (streamed && rng.one_in(3)).then(|| {
                let mut fields = fields(rng, scale);
                fields.push(("x-checksum".into(), b"abc".to_vec()));
                fields
            }),
        }
    }
}

fn fields(rng: &mut Rng, scale: &Scale) -> Vec<(String, Vec<u8>)> {
    const NAMES: [&str; 12] = [
        "accept",
        "accept-encoding",
        "authorization",
        "cache-control",
        "cookie",
        "date",
        "etag",
        "user-agent",
        "vary",
        "x-request-id",
        "x-a-name-that-no-table-has",
        "z",
    ];
    let mut fields = Vec::new();
    for _ in 0..rng.below(6) {
        let name = rng.pick(&NAMES);
        let value = match rng.below(4) {
            0 => Vec::new(),
            // A value that repeats, so that the dynamic tables have work.
            1 => format!("value-{}", rng.below(5)).into_bytes(),
            2 => (0..rng.below(40))
                .map(|_| rng.between(0x21, 0x7e) as u8)
                .collect(),
            _ => (0..rng.below(20))
                .map(|_| rng.between(0x80, 0xff) as u8)
                .collect(),
        };
        fields.push((name.to_string(), value));
    }
    if scale.long_heads && rng.one_in(3) {
        // Long enough for CONTINUATION.
        let value = (0..rng.between(4_000, 25_000)).map(|_| rng.pick(b"aZ09#%~"));
        fields.push(("x-long".into(), value.collect()));
    }
    fields
}
