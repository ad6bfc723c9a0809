//! Uploads over a simulated path: TCP's slow start, a round-trip time and a link of limited rate,
//! by a virtual clock. They are compared with the same path without HTTP/2.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http2::{
    Body, Config, Connection, Event, Flow, Outbox, RequestHead, Stream, StreamId,
};

const SEGMENT: usize = 1448;

/// The bytes that the sender's socket takes beyond those in flight.
const SOCKET_BUFFER: usize = 128 << 10;

/// The link's rate in bytes per second.
const LINK: f64 = 125e6;

const MEGABYTE: usize = 1_000_000;

/// The protocol that a path carries.
trait Ends {
    /// Appends the bytes that can be sent now to those that wait.
    fn fill(&mut self, now: Duration, waiting: &mut VecDeque<u8>);
    /// Delivers bytes to the receiver. Returns its answer.
    fn arrive(&mut self, now: Duration, bytes: &[u8]) -> Vec<u8>;
    /// Delivers an answer to the sender.
    fn answer(&mut self, now: Duration, bytes: &[u8]);
    fn is_done(&self) -> bool;
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Arrival(Vec<u8>),
    Acknowledged(usize),
    Answer(Vec<u8>),
}

/// Runs until all bytes have arrived. Returns when that was.
fn run(rtt: Duration, ends: &mut dyn Ends) -> Duration {
    let mut waiting = VecDeque::new();
    let mut to_come = BinaryHeap::new();
    let mut count = 0u64;
    // RFC 6928: ten segments at first; then slow start, without a loss.
    let (mut congestion_window, mut in_flight) = (10 * SEGMENT, 0);
    let (mut now, mut link_is_free) = (Duration::ZERO, Duration::ZERO);
    loop {
        let mut happens = |at: Duration, what| {
            count += 1;
            to_come.push(Reverse((at, count, what)));
        };
        if waiting.len() < SOCKET_BUFFER {
            ends.fill(now, &mut waiting);
        }
        while !waiting.is_empty() && in_flight < congestion_window {
            let len = waiting.len().min(SEGMENT);
            let segment: Vec<u8> = waiting.drain(..len).collect();
            link_is_free = link_is_free.max(now) + Duration::from_secs_f64(len as f64 / LINK);
            in_flight += len;
            happens(link_is_free + rtt / 2, Happens::Arrival(segment));
            happens(link_is_free + rtt, Happens::Acknowledged(len));
            if waiting.len() < SOCKET_BUFFER {
                ends.fill(now, &mut waiting);
            }
        }
        let Some(Reverse((at, _, what))) = to_come.pop() else {
            panic!("it hangs at {now:?}");
        };
        now = at;
        match what {
            Happens::Acknowledged(len) => {
                in_flight -= len;
                congestion_window += len;
            }
            Happens::Arrival(segment) => {
                let answer = ends.arrive(now, &segment);
                if ends.is_done() {
                    return now;
                }
                if !answer.is_empty() {
                    count += 1;
                    to_come.push(Reverse((now + rtt / 2, count, Happens::Answer(answer))));
                }
            }
            Happens::Answer(bytes) => ends.answer(now, &bytes),
        }
    }
}

/// Plain bytes, without a protocol.
struct Copy {
    to_send: usize,
    to_come: usize,
}

impl Ends for Copy {
    fn fill(&mut self, _: Duration, waiting: &mut VecDeque<u8>) {
        let len = self.to_send.min(SOCKET_BUFFER);
        self.to_send -= len;
        waiting.extend(std::iter::repeat_n(0, len));
    }

    fn arrive(&mut self, _: Duration, bytes: &[u8]) -> Vec<u8> {
        self.to_come -= bytes.len();
        Vec::new()
    }

    fn answer(&mut self, _: Duration, _: &[u8]) {}

    fn is_done(&self) -> bool {
        self.to_come == 0
    }
}

#[expect(clippy::disallowed_methods, reason = "tests need some start of time")]
fn start() -> Instant {
    Instant::now()
}

/// A client that uploads on some streams, and a server that reads them all, perhaps except the
/// first.
struct Uploads {
    client: Connection,
    server: Connection,
    epoch: Instant,
    rtt: Duration,
    input: [BytesMut; 2],
    left: BTreeMap<StreamId, usize>,
    stalled: Option<StreamId>,
    arriving: usize,
}

impl Uploads {
    fn new(config: Config, rtt: Duration, streams: usize, len: usize, stall: bool) -> Self {
        let epoch = start();
        let mut client = Connection::client(Config::client().build().unwrap(), epoch);
        let server = Connection::server(config.build().unwrap(), epoch);
        let head = RequestHead::new("POST", "https", "localhost", "/");
        let open = |_| (client.open(&head, Body::Stream).unwrap(), len);
        let left: BTreeMap<_, _> = (0..streams + usize::from(stall)).map(open).collect();
        Self {
            stalled: left.keys().next().copied().filter(|_| stall),
            client,
            server,
            epoch,
            rtt,
            input: Default::default(),
            left,
            arriving: streams,
        }
    }
}

impl Ends for Uploads {
    fn fill(&mut self, now: Duration, waiting: &mut VecDeque<u8>) {
        let mut outbox = Outbox::new();
        loop {
            let flow = self
                .client
                .transmit(&mut outbox, 64 << 10, self.epoch + now);
            let Flow::Event(Event::Writable { id, want }) = flow else {
                break;
            };
            let left = self.left.get_mut(&id).unwrap();
            let mut bytes = Bytes::from(vec![0; want.min(*left)]);
            *left -= bytes.len();
            let end = *left == 0;
            self.client.stream(id).unwrap().write(&mut bytes, end);
            assert!(bytes.is_empty());
        }
        take(&mut outbox, |bytes| waiting.extend(bytes));
    }

    fn arrive(&mut self, now: Duration, bytes: &[u8]) -> Vec<u8> {
        let now = self.epoch + now;
        self.input[0].extend_from_slice(bytes);
        while let Some(event) = self.server.receive(&mut self.input[0], now) {
            if let Event::Data { id, data, end } = event
                && self.stalled != Some(id)
            {
                if let Some(mut stream) = self.server.stream(id) {
                    stream.consume(data.len());
                }
                self.arriving -= usize::from(end);
            }
        }
        if self.server.wants_rtt() {
            self.server.observe_rtt(self.rtt);
        }
        let mut outbox = Outbox::new();
        assert!(matches!(
            self.server.transmit(&mut outbox, usize::MAX, now),
            Flow::Drained
        ));
        assert_eq!(self.server.audit(), Ok(()));
        let mut answer = Vec::new();
        take(&mut outbox, |bytes| answer.extend_from_slice(bytes));
        answer
    }

    fn answer(&mut self, now: Duration, bytes: &[u8]) {
        self.input[1].extend_from_slice(bytes);
        while self
            .client
            .receive(&mut self.input[1], self.epoch + now)
            .is_some()
        {}
    }

    fn is_done(&self) -> bool {
        self.arriving == 0
    }
}

fn take(outbox: &mut Outbox, mut to: impl FnMut(&[u8])) {
    while outbox.has_remaining() {
        let len = outbox.chunk().len();
        to(outbox.chunk());
        outbox.advance(len);
    }
}

fn copy(rtt: Duration, bytes: usize) -> Duration {
    let mut ends = Copy {
        to_send: bytes,
        to_come: bytes,
    };
    run(rtt, &mut ends)
}

#[test]
fn an_upload_is_as_fast_as_the_path() {
    // RFC 9113 §5.2.2: "Failure to do so could lead to […] a suboptimal use of available network
    // resources given the bandwidth * delay product".
    for ms in [20, 100, 200] {
        let rtt = Duration::from_millis(ms);
        let ideal = copy(rtt, 20 * MEGABYTE);
        let mut upload = Uploads::new(Config::server(), rtt, 1, 20 * MEGABYTE, false);
        let time = run(rtt, &mut upload);
        let ratio = time.as_secs_f64() / ideal.as_secs_f64();
        let updates = upload.server.stats().window_updates_out;
        println!("{ms} ms: {time:?}, a copy {ideal:?}, ratio {ratio:.3}, {updates} WINDOW_UPDATE");
        assert!(ratio < 1.06, "{ms} ms: {time:?}, a copy {ideal:?}");
        // One at half a window or as it grows, and one more for the connection.
        assert!(updates <= 30, "{ms} ms: {updates} WINDOW_UPDATE frames");
    }
}

#[test]
fn a_fixed_window_is_what_makes_uploads_slow() {
    // A counterexample: so that the test above could fail.
    let rtt = Duration::from_millis(100);
    let mut config = Config::server();
    config.max_stream_window_size = 65_535;
    let mut upload = Uploads::new(config, rtt, 1, 2 * MEGABYTE, false);
    let time = run(rtt, &mut upload);
    assert!(time > 2 * copy(rtt, 2 * MEGABYTE), "{time:?}");
}

#[test]
fn a_stalled_stream_costs_the_others_nothing() {
    let rtt = Duration::from_millis(50);
    let time = |stall| {
        run(
            rtt,
            &mut Uploads::new(Config::server(), rtt, 50, MEGABYTE / 2, stall),
        )
    };
    let (alone, beside) = (time(false), time(true));
    println!("50 streams take {alone:?}, and {beside:?} beside a stalled one");
    // The first bytes of the stalled stream are on the same link.
    assert!(beside.as_secs_f64() < 1.05 * alone.as_secs_f64());
}
