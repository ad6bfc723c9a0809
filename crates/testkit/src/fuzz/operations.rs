//! Fuzzes a client and a server that follow the rules, joined in memory, with owners that do
//! anything in any order.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_http::Stream as _;
use tidegate_http::{
    Body, CloseReason, Config, ErrorCode, Event, Fields, Flow, MemoryBudget, Outbox, Priorities,
    Priority, Rate, RequestHead, ResetCause, ResponseHead, StreamId, Violation,
};
use tidegate_http2::Connection;
use tidegate_ledger::{ClientKey, Lease, Ledger, Limits, Resource};

use super::Choices;
use crate::rest::rest_and_wake;
use crate::wire;

const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Longer inputs only take more time.
const LONGEST: usize = 512;

/// No input of that length causes so much output.
const MANY_ROUNDS: u32 = 20_000;

/// Byte 0 is the configuration. Operations of a few bytes each follow: actions of owners, and
/// deliveries of bytes in flight.
///
/// - Neither engine ever accuses the other of anything.
/// - Bodies arrive byte for byte and whole, and so do trailers, unless an owner gave the stream up.
/// - The books of both engines add up after every operation, and so does the ledger that the
///   server's client shares with others.
/// - Whatever others hold, and however often the server pauses, everything continues once there is
///   memory again, and neither engine accuses the other.
/// - When the owners have finished everything, no stream is left; after a graceful end, no
///   connection is.
pub fn operations(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let mut choices = Choices::new(input);
    let mut joined = Joined::new(choices.byte());
    while !choices.is_empty() {
        joined.operate(&mut choices);
        joined.transmit();
        for end in &joined.ends {
            if let Err(error) = end.engine.audit() {
                panic!("{error}");
            }
        }
        joined.check_accounts();
    }
    joined.finish();
    joined.shut_down();
    let Some((ledger, others)) = joined.memory.take() else {
        return;
    };
    drop((joined, others));
    for resource in Resource::ALL {
        assert_eq!(ledger.used(resource), 0, "{resource:?} is still held");
    }
    assert_eq!(ledger.clients(), 0, "an account outlives what it is for");
}

/// Bytes that all clients of the server share.
const MEMORY: u64 = 512 << 10;

/// Bytes that a lease may be more than what is held.
const BATCHES: u64 = 8 << 10;

/// The longest that an engine takes no input because there is no memory, or were too many frames.
const PAUSE: Duration = Duration::from_millis(100);

/// A client.
fn key(number: u32) -> ClientKey {
    ClientKey::from(IpAddr::from(Ipv4Addr::from(number)))
}

/// One end: an engine and its transport.
struct End {
    engine: Connection,
    outbox: Outbox,
    /// The bytes in flight to it.
    wire: BytesMut,
    /// The bytes that have arrived.
    input: BytesMut,
    told_closed: bool,
    /// Whether it has asked for its transport's end.
    over: bool,
    /// Whether it knows that the transport has ended.
    eof: bool,
}

/// One direction of a stream: a message from the end `from`.
#[derive(Debug, Default)]
struct Leg {
    /// Whether the head has been sent.
    begun: bool,
    /// Whether the owner gives the body piece by piece.
    streamed: bool,
    /// Whether the engine has asked for more, and the owner has not answered yet.
    asked: bool,
    /// The bytes of the body that the sending engine has taken.
    given: usize,
    /// Whether the sender's owner has ended it, and whether by trailers.
    ended: bool,
    trailers: bool,
    /// The bytes reported to the receiver's owner, and the number of those it has not consumed.
    received: usize,
    unconsumed: usize,
    /// Whether the end was reported to the receiver's owner.
    finished: bool,
    /// Whether the sender's owner knows that no more of it goes out.
    out: bool,
}

#[derive(Debug, Default)]
struct Stream {
    /// The two directions, by the end that sends.
    legs: [Leg; 2],
    pushed: bool,
    /// Per end: whether it knows of the stream, or opened it.
    known: [bool; 2],
    /// Per end: whether its owner knows of a reset, and has not released the stream.
    held: [bool; 2],
    /// Whether an owner gave the stream up, or nobody has processed it.
    gone: bool,
}

struct Joined {
    ends: [End; 2],
    now: Instant,
    streams: BTreeMap<StreamId, Stream>,
    /// An owner has asked for the end.
    shutting: bool,
    /// How long owners have dawdled. Beyond the time limits they would be accused of it.
    waited: Duration,
    /// The ledger of the memory that the server's client shares with others, and their lease.
    memory: Option<(Arc<Ledger>, Lease)>,
}

/// The byte at this place of the body that `from` sends on a stream.
fn byte(id: StreamId, from: usize, place: usize) -> u8 {
    (id.get() as usize * 31 + from * 7 + place * 13) as u8
}

fn body(id: StreamId, from: usize, start: usize, len: usize) -> Bytes {
    // The bytes repeat after 256 places.
    let cycle: [u8; 256] = std::array::from_fn(|place| byte(id, from, start + place));
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&cycle[..cycle.len().min(len - bytes.len())]);
    }
    bytes.into()
}

fn trailer_section() -> Fields {
    let mut fields = Fields::new();
    fields.push("x-checksum", "1");
    fields
}

impl Joined {
    fn new(choice: u8) -> Self {
        let (mut client, mut server) = (Config::client(), Config::server());
        client.enable_push = choice & 1 != 0;
        for (config, bit) in [(&mut client, 2), (&mut server, 4)] {
            if choice & bit != 0 {
                config.initial_window_size = 100;
                config.header_table_size = 0;
            }
            config.report_sent = true;
            // These owners give up far more streams than honest ones.
            config.abuse.resets = Rate::new(100_000, 0);
            config.abuse.priorities = Rate::new(100_000, 0);
            config.abuse.provoked_resets = 100_000;
        }
        if choice & 8 != 0 {
            server.max_concurrent_streams = 2;
            client.max_concurrent_streams = 1;
        }
        if choice & 16 != 0 {
            server.encoder_table_size = 200;
            server.max_frame_size = 20_000;
        }
        if choice & 32 != 0 {
            // A client that keeps to RFC 9218 announces that in its SETTINGS.
            client.priorities = Priorities::Auto;
            server.priorities = Priorities::Auto;
        }
        if choice & 64 != 0 {
            // Windows that don't grow.
            client.max_stream_window_size = client.initial_window_size;
            server.max_stream_window_size = server.initial_window_size;
        }
        let memory = (choice & 128 != 0).then(|| {
            let ledger = Ledger::new(MemoryBudget::limits(Limits::none(), MEMORY));
            let others = Lease::new(ledger.client(key(2)), Resource::Bytes);
            (ledger, others)
        });
        if let Some((ledger, _)) = &memory {
            server.memory_budget = Some(MemoryBudget::of(ledger));
            // Too many of these make it pause, and that may happen often.
            server.abuse.priorities = Rate::new(2, 1);
            server.abuse.pauses = Rate::new(100_000, 0);
        }
        let now = Instant::now();
        let client = client.build().expect("the values are in their ranges");
        let server = server.build().expect("the values are in their ranges");
        let mut engines = [
            Connection::client(client, now),
            Connection::server(server, now),
        ];
        if let Some((ledger, _)) = &memory {
            engines[SERVER].bill(&ledger.client(key(1)));
        }
        Self {
            ends: engines.map(|engine| End {
                engine,
                outbox: Outbox::new(),
                wire: BytesMut::new(),
                input: BytesMut::new(),
                told_closed: false,
                over: false,
                eof: false,
            }),
            now,
            streams: BTreeMap::new(),
            shutting: false,
            waited: Duration::ZERO,
            memory,
        }
    }

    // --- The actions of owners ---

    fn operate(&mut self, choices: &mut Choices<'_>) {
        let operation = choices.byte();
        let side = usize::from(operation >> 7);
        match operation & 15 {
            0 | 1 => self.open(choices.byte()),
            2 | 3 => {
                if let Some(id) = self.pick(choices, answerable) {
                    self.respond(id, choices.byte());
                }
            }
            4 => {
                if let Some(id) = self.pick(choices, |stream| writable(stream, side)) {
                    let len = choices.one_of(&[1, 100, 0, 5000, 40_000]);
                    self.write(id, side, len, false);
                }
            }
            5 => {
                if let Some(id) = self.pick(choices, |stream| writable(stream, side)) {
                    self.end_body(id, side, choices.byte());
                }
            }
            6 => {
                if let Some(id) = self.pick(choices, |stream| stream.legs[1 - side].unconsumed > 0)
                {
                    let len = choices.one_of(&[usize::MAX, 1, 50]);
                    self.consume(id, side, len);
                }
            }
            7 => {
                if let Some(id) = self.pick(choices, |stream| stream.known[side]) {
                    self.reset(id, side);
                }
            }
            8 => {
                if let Some(id) = self.pick(choices, |stream| stream.held[side]) {
                    self.release(id, side);
                }
            }
            9 => {
                if let Some(id) = self.pick(choices, answerable) {
                    self.push(id);
                }
            }
            10 => {
                if let Some(id) = self.pick(choices, answerable)
                    && let Some(mut stream) = self.ends[SERVER].engine.stream(id)
                {
                    stream
                        .inform(&ResponseHead::new(103))
                        .expect("1xx before the response");
                }
            }
            11 => {
                let choice = choices.byte();
                if side == CLIENT {
                    self.signal(choice, choices);
                } else if let Some(id) = self.pick(choices, |stream| stream.known[SERVER])
                    && let Some(mut stream) = self.ends[SERVER].engine.stream(id)
                {
                    let priority = Priority {
                        urgency: choice & 7,
                        incremental: choice & 8 != 0,
                    };
                    if choice & 16 == 0 {
                        stream.prioritize(priority);
                    } else {
                        stream.suggest_priority(priority);
                    }
                }
            }
            12 | 13 => {
                let len = choices.one_of(&[1, 9, 10, 100, 1000, 100_000]);
                self.deliver(side, len);
            }
            14 => {
                let rare = choices.byte();
                if rare == 0 {
                    self.ends[side].engine.shut_down(self.now);
                    self.shutting = true;
                } else if rare >= 0xf0 {
                    let sizes = [0, 1, 100, 5000, 65_535, 100_000, 1 << 20, u32::MAX];
                    let engine = &mut self.ends[side].engine;
                    engine.set_initial_window_size(sizes[usize::from(rare & 7)]);
                    if rare & 8 != 0 {
                        engine.limit_streams(u32::from(rare & 7) + 1);
                    }
                } else if self.waited < Duration::from_secs(4) {
                    let time = Duration::from_millis(u64::from(rare & 15) * 10);
                    self.waited += time;
                    self.time_passes(time);
                }
            }
            _ if side == SERVER && self.memory.is_some() => {
                let amount = choices.one_of(&[0, MEMORY / 8, MEMORY / 2, MEMORY, 2 * MEMORY]);
                self.others_hold(amount);
            }
            _ => self.settle(),
        }
    }

    /// Lets other clients hold this much memory, or as much of it as they may have.
    fn others_hold(&mut self, amount: u64) {
        if let Some((_, others)) = &mut self.memory {
            if amount > MEMORY {
                // The memory is held by the time that it is counted.
                others.force(amount);
            } else {
                // A refusal is fine.
                let _ = others.set(amount);
            }
        }
    }

    /// Checks that all that the server holds is counted, and in its client's account.
    fn check_accounts(&self) {
        let Some((ledger, others)) = &self.memory else {
            return;
        };
        let held = ledger.client(key(1)).held(Resource::Bytes);
        assert_eq!(ledger.used(Resource::Bytes), held + others.amount());
        let end = &self.ends[SERVER];
        if !end.over {
            let need = end.engine.held_bytes();
            assert!((need..=need + BATCHES).contains(&held), "{held} for {need}");
        }
    }

    /// A priority in the client's name, which its engine never sends.
    fn signal(&mut self, choice: u8, choices: &mut Choices<'_>) {
        let server = &mut self.ends[SERVER];
        // It must not get between the frames of a block, or before the preface.
        let between = server.wire.is_empty() && server.input.is_empty();
        if !between || !server.engine.is_established() {
            return;
        }
        let newest = self.next_id();
        let id = |choice: u8| {
            (newest + 2)
                .saturating_sub(2 * u32::from(choice & 7))
                .max(1)
        };
        let (stream, other) = (id(choice), choices.byte());
        let parent = if other & 8 == 0 { id(other) } else { 0 };
        let frame = if choice & 8 == 0 {
            // Idle streams with a priority count among those that may be open (RFC 9218 §7.1), and
            // owners here may open all.
            if stream >= newest {
                return;
            }
            let values = ["u=0", "u=7, i", "", "x"];
            wire::priority_update(stream, values[usize::from(other & 3)])
        } else if stream == parent {
            return;
        } else {
            wire::priority(stream, parent, other & 16 != 0, choice)
        };
        self.ends[SERVER].wire.extend_from_slice(&frame.to_bytes());
    }

    /// Returns one of the streams that `fits` accepts.
    fn pick(&self, choices: &mut Choices<'_>, fits: impl Fn(&Stream) -> bool) -> Option<StreamId> {
        let fitting: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| fits(stream))
            .map(|(id, _)| *id)
            .collect();
        let choice = usize::from(choices.byte());
        (!fitting.is_empty()).then(|| fitting[choice % fitting.len()])
    }

    /// Returns the body for `choice`, and its length unless it is streamed.
    fn choose_body(choice: u8) -> Option<usize> {
        [
            Some(0),
            None,
            Some(5),
            None,
            Some(2000),
            None,
            Some(70_000),
            Some(0),
        ][usize::from(choice & 7)]
    }

    fn open(&mut self, choice: u8) {
        let engine = &mut self.ends[CLIENT].engine;
        if !engine.can_open() {
            return;
        }
        let id = StreamId::new(self.next_id());
        let len = Self::choose_body(choice);
        let engine = &mut self.ends[CLIENT].engine;
        let head =
            RequestHead::new("POST", "https", "localhost", "/").field("x-id", id.to_string());
        let opened = engine
            .open(&head, as_body(id, CLIENT, len))
            .expect("can_open() said so");
        assert_eq!(opened, id);
        let stream = self.streams.entry(id).or_default();
        stream.known[CLIENT] = true;
        stream.legs[CLIENT].begin(len);
    }

    fn next_id(&self) -> u32 {
        let opened = self.streams.keys().filter(|id| id.is_client_initiated());
        opened.max().map_or(1, |id| id.get() + 2)
    }

    fn respond(&mut self, id: StreamId, choice: u8) {
        let Some(mut stream) = self.ends[SERVER].engine.stream(id) else {
            return;
        };
        let len = Self::choose_body(choice);
        let head = ResponseHead::new(200).field("x-id", id.to_string());
        stream
            .respond(&head, as_body(id, SERVER, len))
            .expect("it is the first response");
        let stream = self.stream(id);
        stream.legs[SERVER].begin(len);
    }

    fn write(&mut self, id: StreamId, side: usize, len: usize, end: bool) {
        let given = self.stream(id).legs[side].given;
        let Some(mut stream) = self.ends[side].engine.stream(id) else {
            return;
        };
        let mut bytes = body(id, side, given, len);
        let taken = stream.write(&mut bytes, end);
        assert_eq!(taken + bytes.len(), len, "taken, but still there");
        let leg = &mut self.stream(id).legs[side];
        leg.asked = false;
        leg.given += taken;
        leg.ended = end && taken == len;
    }

    fn end_body(&mut self, id: StreamId, side: usize, choice: u8) {
        match choice & 3 {
            0 => self.write(id, side, 0, true),
            1 => self.write(id, side, 300, true),
            _ => {
                let Some(mut stream) = self.ends[side].engine.stream(id) else {
                    return;
                };
                stream
                    .trailers(&trailer_section())
                    .expect("the body has not ended");
                let leg = &mut self.stream(id).legs[side];
                leg.ended = true;
                leg.trailers = true;
            }
        }
    }

    fn consume(&mut self, id: StreamId, side: usize, len: usize) {
        let leg = &mut self.stream(id).legs[1 - side];
        let len = len.min(leg.unconsumed);
        leg.unconsumed -= len;
        if let Some(mut stream) = self.ends[side].engine.stream(id) {
            stream.consume(len);
        }
    }

    fn reset(&mut self, id: StreamId, side: usize) {
        let Some(mut stream) = self.ends[side].engine.stream(id) else {
            return;
        };
        stream.reset(ErrorCode::CANCEL);
        let stream = self.stream(id);
        stream.gone = true;
        stream.known[side] = false;
        stream.held[side] = false;
    }

    fn release(&mut self, id: StreamId, side: usize) {
        if let Some(mut stream) = self.ends[side].engine.stream(id) {
            stream.release();
        }
        self.stream(id).held[side] = false;
    }

    fn push(&mut self, id: StreamId) {
        let head = RequestHead::new("GET", "https", "localhost", "/pushed");
        let Some(mut stream) = self.ends[SERVER].engine.stream(id) else {
            return;
        };
        // Refused if the client accepts no pushes, no more of them, or the connection is ending.
        let Ok(promised) = stream.push(&head) else {
            return;
        };
        let mut stream = Stream {
            pushed: true,
            ..Stream::default()
        };
        stream.known[SERVER] = true;
        stream.legs[CLIENT].finished = true;
        assert!(
            self.streams.insert(promised, stream).is_none(),
            "{promised} promised twice"
        );
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams
            .get_mut(&id)
            .unwrap_or_else(|| panic!("{id} was never opened"))
    }

    // --- The network between the ends ---

    /// Takes the engines' output.
    fn transmit(&mut self) {
        for side in [CLIENT, SERVER] {
            for round in 0.. {
                assert!(round < MANY_ROUNDS, "it does not come to rest");
                let end = &mut self.ends[side];
                let flow = end.engine.transmit(&mut end.outbox, 30_000, self.now);
                let was_over = end.over;
                let mut bytes = Vec::new();
                while end.outbox.has_remaining() {
                    let len = end.outbox.chunk().len();
                    bytes.extend_from_slice(end.outbox.chunk());
                    end.outbox.advance(len);
                }
                assert!(!was_over || bytes.is_empty(), "sent on a closed connection");
                self.ends[1 - side].wire.extend_from_slice(&bytes);
                match flow {
                    Flow::Event(event) => self.on_event(side, event),
                    Flow::Full => {}
                    Flow::Drained => break,
                    Flow::Closed => {
                        self.ends[side].over = true;
                        break;
                    }
                }
            }
        }
    }

    /// Delivers some of the bytes in flight to this end. Returns whether anything happened.
    fn deliver(&mut self, side: usize, len: usize) -> bool {
        let other_over = self.ends[1 - side].over;
        let end = &mut self.ends[side];
        let len = len.min(end.wire.len());
        let arriving = end.wire.split_to(len);
        end.input.extend_from_slice(&arriving);
        let eof = other_over && end.wire.is_empty() && !end.eof;
        self.receive(side);
        if eof {
            let end = &mut self.ends[side];
            end.eof = true;
            end.engine.receive_eof(self.now);
            self.receive(side);
        }
        len > 0 || eof
    }

    fn receive(&mut self, side: usize) {
        for round in 0.. {
            assert!(round < MANY_ROUNDS, "it does not come to rest");
            let end = &mut self.ends[side];
            let Some(event) = end.engine.receive(&mut end.input, self.now) else {
                return;
            };
            self.on_event(side, event);
        }
    }

    /// Delivers everything until nothing is in flight.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < MANY_ROUNDS, "they do not come to rest");
            self.transmit();
            let client = self.deliver(CLIENT, usize::MAX);
            let server = self.deliver(SERVER, usize::MAX);
            if !client && !server {
                return;
            }
        }
    }

    fn time_passes(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            if end.engine.wants_rtt() {
                end.engine.observe_rtt(time);
            }
            if end.engine.next_timeout().is_some_and(|at| at <= self.now) {
                end.engine.handle_timeout(self.now);
                rest_and_wake(&mut end.engine);
                let next = end.engine.next_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "a timer that does not stop firing"
                );
            }
        }
        self.receive(CLIENT);
        self.receive(SERVER);
    }

    // --- The events of owners ---

    fn on_event(&mut self, side: usize, event: Event) {
        assert!(!self.ends[side].told_closed, "behind the end: {event:?}");
        match event {
            Event::Request { id, head, end } => {
                assert_eq!(side, SERVER);
                assert_eq!(head.get("x-id"), Some(id.to_string().as_bytes()));
                let stream = self.stream(id);
                assert!(!stream.known[SERVER], "{id} is told twice");
                stream.known[SERVER] = true;
                if end {
                    stream.on_end(id, CLIENT, false);
                }
            }
            Event::PushPromise { promised, head, .. } => {
                assert_eq!((side, head.path()), (CLIENT, "/pushed"));
                let stream = self.stream(promised);
                assert!(!stream.known[CLIENT], "{promised} is told twice");
                stream.known[CLIENT] = true;
            }
            Event::Informational { head, .. } => assert_eq!((side, head.status()), (CLIENT, 103)),
            Event::Response { id, head, end } => {
                assert_eq!(side, CLIENT);
                assert_eq!(head.get("x-id"), Some(id.to_string().as_bytes()));
                if end {
                    self.stream(id).on_end(id, SERVER, false);
                }
            }
            Event::Data { id, data, end } => {
                let from = 1 - side;
                let stream = self.stream(id);
                let leg = &mut stream.legs[from];
                let expected = body(id, from, leg.received, data.len());
                assert!(data == expected, "other bytes on {id} at {}", leg.received);
                leg.received += data.len();
                leg.unconsumed += data.len();
                if end {
                    stream.on_end(id, from, false);
                }
            }
            Event::Trailers { id, fields } => {
                assert!(fields.iter().eq(trailer_section().iter()), "{fields:?}");
                self.stream(id).on_end(id, 1 - side, true);
            }
            Event::Writable { id, want } => {
                assert!(want > 0);
                let stream = self.stream(id);
                assert!(writable(stream, side), "{id} has nothing to write");
                let again = std::mem::replace(&mut stream.legs[side].asked, true);
                assert!(!again, "{id} is asked again before its owner has answered");
            }
            Event::Sent {
                id,
                bytes,
                complete,
            } => {
                let leg = &mut self.stream(id).legs[side];
                assert!(leg.begun, "{id} is over before it began");
                if complete {
                    assert!(leg.ended, "{id} is out before its owner ended it");
                    assert_eq!(bytes, leg.given as u64, "{id}");
                }
                assert!(!leg.out, "{id} is over twice");
                leg.out = true;
            }
            Event::Reset { id, code, cause } => self.on_reset(side, id, code, cause),
            Event::GoingAway { code, .. } => assert_eq!(code, ErrorCode::NO_ERROR),
            Event::Closed(reason) => {
                self.ends[side].told_closed = true;
                let fine = matches!(reason, CloseReason::Graceful | CloseReason::Eof);
                assert!(fine && self.is_shutting(), "{side} closed: {reason}");
            }
            _ => {}
        }
    }

    fn on_reset(&mut self, side: usize, id: StreamId, code: ErrorCode, cause: ResetCause) {
        let fine = match cause {
            // An owner's reset, a refusal, or the end of a request that was answered already (RFC
            // 9113 §8.1).
            // There may be no memory for a request's trailers.
            ResetCause::Peer | ResetCause::OverMemoryBudget
                if code == ErrorCode::ENHANCE_YOUR_CALM =>
            {
                self.memory.is_some() && self.streams[&id].legs[CLIENT].trailers
            }
            ResetCause::Peer => {
                matches!(
                    code,
                    ErrorCode::CANCEL | ErrorCode::REFUSED_STREAM | ErrorCode::NO_ERROR
                )
            }
            ResetCause::Unprocessed => self.is_shutting(),
            ResetCause::OverMemoryBudget => code == ErrorCode::REFUSED_STREAM,
            // A client may open too many before it knows the limit, and before the server's owner
            // has released streams.
            ResetCause::Violation(violation) => violation == Violation::TooManyConcurrentStreams,
            _ => false,
        };
        assert!(fine, "{id}: {code}, {cause:?}");
        let stream = self.stream(id);
        if code == ErrorCode::NO_ERROR {
            assert!(stream.legs[SERVER].ended, "{id} was not answered");
        }
        stream.gone = true;
        stream.held[side] = true;
    }

    /// Whether an owner has asked for the end.
    fn is_shutting(&self) -> bool {
        self.shutting
    }

    // --- The end ---

    /// Lets the owners finish everything that they have begun.
    fn finish(&mut self) {
        for round in 0.. {
            assert!(round < MANY_ROUNDS, "bodies do not get through");
            self.others_hold(0);
            self.settle();
            let mut busy = self.wait_for_pauses();
            for id in self.streams.keys().copied().collect::<Vec<_>>() {
                busy |= self.finish_stream(id);
            }
            if !busy {
                break;
            }
        }
        for (id, stream) in &self.streams {
            for from in [CLIENT, SERVER] {
                let leg = &stream.legs[from];
                // The rest of a request that was answered in full is not reported, and a push may
                // not be wanted.
                let answered = from == CLIENT && stream.legs[SERVER].ended;
                let unwanted = stream.pushed && !stream.known[CLIENT];
                assert_eq!(leg.out, leg.begun, "the message of {from} on {id}");
                let told = leg.finished || answered || unwanted;
                assert!(
                    told || stream.gone,
                    "the message of {from} on {id} is unfinished"
                );
            }
        }
        for side in [CLIENT, SERVER] {
            let ids: Vec<StreamId> = self.streams.keys().copied().collect();
            for id in ids {
                let left = self.ends[side].engine.stream(id).is_some();
                assert!(!left, "{side} still has {id}: {:?}", self.streams[&id]);
            }
            assert_eq!(
                self.ends[side].engine.active_streams(),
                0,
                "streams are left"
            );
        }
    }

    /// Waits, if an engine hasn't taken all its input yet. Returns whether that is so.
    fn wait_for_pauses(&mut self) -> bool {
        let mut ends = self.ends.iter();
        let waits = ends.any(|end| !end.input.is_empty() && !end.told_closed);
        if waits {
            self.time_passes(PAUSE);
        }
        waits
    }

    /// Returns whether there was anything to do.
    fn finish_stream(&mut self, id: StreamId) -> bool {
        let mut busy = false;
        for side in [CLIENT, SERVER] {
            if self.ends[side].engine.stream(id).is_none() {
                continue;
            }
            let stream = self.stream(id);
            if stream.held[side] {
                self.release(id, side);
                busy = true;
                continue;
            }
            if side == SERVER && answerable(stream) {
                self.respond(id, 0);
                busy = true;
            } else if writable(stream, side) {
                self.write(id, side, 0, true);
                busy = true;
            }
            if self.stream(id).legs[1 - side].unconsumed > 0 {
                self.consume(id, side, usize::MAX);
                busy = true;
            }
        }
        busy
    }

    fn shut_down(&mut self) {
        self.shutting = true;
        for end in &mut self.ends {
            end.engine.shut_down(self.now);
        }
        for _ in 0..4 {
            self.settle();
            self.time_passes(Duration::from_secs(1));
        }
        for end in &self.ends {
            assert!(
                end.told_closed && end.over,
                "still open after a graceful end"
            );
        }
    }
}

impl Leg {
    fn begin(&mut self, len: Option<usize>) {
        self.begun = true;
        self.streamed = len.is_none();
        self.given = len.unwrap_or(0);
        self.ended = len.is_some();
    }
}

impl Stream {
    /// Handles the end of the message of `from`, as reported to its receiver.
    fn on_end(&mut self, id: StreamId, from: usize, trailers: bool) {
        let leg = &mut self.legs[from];
        assert!(
            leg.ended && !leg.finished,
            "an end on {id} that nobody sent"
        );
        assert_eq!(
            (leg.received, trailers),
            (leg.given, leg.trailers),
            "{id} ended early"
        );
        leg.finished = true;
    }
}

/// Whether the server's owner can give the final response.
fn answerable(stream: &Stream) -> bool {
    stream.known[SERVER] && !stream.held[SERVER] && !stream.legs[SERVER].begun
}

/// Whether this end's owner can give bytes of a body.
fn writable(stream: &Stream, side: usize) -> bool {
    let leg = &stream.legs[side];
    stream.known[side] && !stream.held[side] && leg.begun && leg.streamed && !leg.ended
}

fn as_body(id: StreamId, from: usize, len: Option<usize>) -> Body {
    match len {
        None => Body::Stream,
        Some(0) => Body::Empty,
        Some(len) => Body::Full(body(id, from, 0, len)),
    }
}
