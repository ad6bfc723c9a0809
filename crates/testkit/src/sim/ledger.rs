//! An accountant on the wire. It knows no engine, only the frames that pass, and checks that they
//! obey RFC 9113.

use std::collections::{HashMap, VecDeque};

use crate::sim::report::Report;

/// The content of a frame, as far as the ledger needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Data { id: u32, len: u32, end: bool },
    Headers { id: u32, end: bool },
    Continuation { id: u32 },
    RstStream { id: u32, code: u32 },
    Settings(Announced),
    SettingsAck,
    PushPromise { id: u32, promised: u32 },
    Ping { ack: bool, payload: [u8; 8] },
    GoAway { last: u32, code: u32 },
    WindowUpdate { id: u32, increment: u32 },
    Other,
}

/// The settings of one frame that the ledger follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) enable_push: Option<u32>,
    pub(crate) initial_window_size: Option<u32>,
    pub(crate) max_frame_size: Option<u32>,
    pub(crate) max_concurrent_streams: Option<u32>,
}

impl Note {
    /// Reads one complete frame. Returns also whether END_HEADERS is set.
    pub(crate) fn of(bytes: &[u8]) -> (Self, bool) {
        let (head, payload) = bytes.split_at(9);
        let flags = head[4];
        let number = |bytes: &[u8]| bytes.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte));
        let id = number(&head[5..9]) & 0x7fff_ffff;
        let end = flags & 1 != 0;
        let note = match head[3] {
            0 => Self::Data {
                id,
                len: payload.len() as u32,
                end,
            },
            1 => Self::Headers { id, end },
            3 => Self::RstStream {
                id,
                code: number(payload),
            },
            4 if end => Self::SettingsAck,
            4 => {
                let mut announced = Announced::default();
                for entry in payload.chunks(6) {
                    let value = Some(number(&entry[2..]));
                    match number(&entry[..2]) {
                        2 => announced.enable_push = value,
                        3 => announced.max_concurrent_streams = value,
                        4 => announced.initial_window_size = value,
                        5 => announced.max_frame_size = value,
                        _ => {}
                    }
                }
                Self::Settings(announced)
            }
            5 => Self::PushPromise {
                id,
                promised: number(&payload[..4]),
            },
            6 => Self::Ping {
                ack: end,
                payload: payload.try_into().expect("PING has 8 bytes"),
            },
            7 => Self::GoAway {
                last: number(&payload[..4]),
                code: number(&payload[4..8]),
            },
            8 => Self::WindowUpdate {
                id,
                increment: number(payload),
            },
            9 => Self::Continuation { id },
            _ => Self::Other,
        };
        (note, flags & 4 != 0)
    }
}

/// The accounts of one connection. Sides are 0 for the client and 1 for the server.
#[derive(Debug)]
pub(crate) struct Ledger {
    sides: [Side; 2],
    streams: HashMap<u32, Stream>,
    /// Streams that each side has opened and, as far as it can know, not seen the end of.
    pub(crate) open: [i64; 2],
}

/// The limits of one side, by the frames that have reached it and those it has acknowledged.
#[derive(Debug)]
struct Side {
    /// The connection window that it sends into.
    window: i64,
    /// The window that it has granted to the other side, minus the bytes that have arrived.
    granted: i64,
    initial_window_size: i64,
    max_frame_size: u32,
    max_concurrent_streams: u32,
    enable_push: bool,
    /// Settings that reached it and that it hasn't acknowledged.
    unacknowledged: VecDeque<Announced>,
    last_opened: u32,
    last_goaway: u32,
}

#[derive(Debug, Default)]
struct Stream {
    /// For each side: the window granted to it beyond its initial window, minus the bytes it has
    /// sent.
    balance: [i64; 2],
    /// For each side: the window it granted beyond the initial window, minus the bytes that have
    /// arrived.
    granted: [i64; 2],
    /// Per side: whether it has sent END_STREAM.
    ended: [bool; 2],
    /// Per side: whether it has seen the other's END_STREAM.
    saw_end: [bool; 2],
    /// Per side: whether it has sent RST_STREAM.
    reset: [bool; 2],
    /// Per side: whether it knows that the stream is over.
    over: [bool; 2],
    /// Whether the side that opened it has sent HEADERS.
    active: bool,
    /// Whether a PUSH_PROMISE named it.
    promised: bool,
}

const MAX_WINDOW: i64 = 0x7fff_ffff;

impl Ledger {
    pub(crate) fn new() -> Self {
        let side = || Side {
            window: 65_535,
            granted: 65_535,
            initial_window_size: 65_535,
            max_frame_size: 16_384,
            max_concurrent_streams: u32::MAX,
            // RFC 9113 §6.5.2: "The initial value of SETTINGS_ENABLE_PUSH is 1."
            enable_push: true,
            unacknowledged: VecDeque::new(),
            last_opened: 0,
            last_goaway: u32::MAX,
        };
        Self {
            sides: [side(), side()],
            streams: HashMap::new(),
            open: [0, 0],
        }
    }

    /// Returns the last stream that this side has opened; 0 is none.
    pub(crate) fn last_opened(&self, side: usize) -> u32 {
        self.sides[side].last_opened
    }

    /// Returns the connection window that this side has granted and the other hasn't used.
    pub(crate) fn granted(&self, side: usize) -> i64 {
        self.sides[side].granted
    }

    /// Whether this side's send window of the stream is closed, by all frames that have reached it.
    pub(crate) fn is_shut(&self, side: usize, id: u32) -> bool {
        let stream = self.streams.get(&id).map_or(0, |s| s.balance[side]);
        self.sides[side].initial_window_size + stream <= 0
    }

    /// Checks a frame that this side sent, with a payload of `len` bytes.
    pub(crate) fn sent(&mut self, side: usize, note: Note, len: usize, report: &mut Report) {
        let me = &mut self.sides[side];
        // RFC 9113 §4.2: "An endpoint MUST NOT send a frame that exceeds the size defined in
        // SETTINGS_MAX_FRAME_SIZE".
        assert!(
            len <= me.max_frame_size as usize,
            "side {side} sent {len} bytes in {note:?}, allowed are {}",
            me.max_frame_size
        );
        match note {
            Note::SettingsAck => {
                let announced = me
                    .unacknowledged
                    .pop_front()
                    .expect("SETTINGS ACK answers SETTINGS");
                if let Some(value) = announced.initial_window_size {
                    me.initial_window_size = i64::from(value);
                    let windows = self.streams.values().filter(|stream| !stream.over[side]);
                    let windows = windows.map(|stream| i64::from(value) + stream.balance[side]);
                    report.negative_windows += windows.filter(|window| *window < 0).count() as u64;
                }
                me.max_frame_size = announced.max_frame_size.unwrap_or(me.max_frame_size);
                me.max_concurrent_streams = announced
                    .max_concurrent_streams
                    .unwrap_or(me.max_concurrent_streams);
                me.enable_push = announced
                    .enable_push
                    .map_or(me.enable_push, |value| value == 1);
            }
            Note::Data { id, len, end } => {
                let stream = self.streams.get_mut(&id).expect("DATA on an idle stream");
                assert!(
                    !stream.ended[side] && !stream.reset[side],
                    "side {side} sent DATA on stream {id} after its end"
                );
                let len = i64::from(len);
                me.window -= len;
                stream.balance[side] -= len;
                // RFC 9113 §6.9.1: "A sender MUST NOT send a flow-controlled frame with a length
                // that exceeds the space available in either of the flow-control windows".
                if len > 0 {
                    assert!(
                        me.window >= 0,
                        "side {side} went over the connection window"
                    );
                    assert!(
                        me.initial_window_size + stream.balance[side] >= 0,
                        "side {side} went over the window of stream {id}"
                    );
                    let left = me.initial_window_size + stream.balance[side];
                    report.stream_windows_used_up += u64::from(left == 0);
                    report.connection_windows_used_up += u64::from(me.window == 0);
                }
                stream.ended[side] |= end;
                self.check_over(id, side);
            }
            Note::Headers { id, end } => {
                let opener = usize::from(id.is_multiple_of(2));
                let stream = self.streams.entry(id).or_default();
                if opener == side && !stream.active {
                    stream.active = true;
                    // RFC 9113 §8.4.2: a server answers on the stream that it promised.
                    assert_eq!(side == 1, stream.promised, "stream {id} was not promised");
                    if side == 0 {
                        // RFC 9113 §5.1.1: "The identifier of a newly established stream MUST be
                        // numerically greater".
                        assert!(id > me.last_opened, "stream {id} after {}", me.last_opened);
                        me.last_opened = id;
                    }
                    // Frames in the outbox when the other side's RST_STREAM arrived are still sent,
                    // but open nothing.
                    self.open[side] += i64::from(!stream.over[side]);
                    // RFC 9113 §5.1.2: "An endpoint MUST NOT exceed the limit set by its peer."
                    assert!(
                        self.open[side] <= i64::from(me.max_concurrent_streams),
                        "side {side} has {} streams open",
                        self.open[side]
                    );
                }
                assert!(
                    !stream.ended[side] && !stream.reset[side],
                    "side {side} sent HEADERS on stream {id} after its end"
                );
                stream.ended[side] |= end;
                self.check_over(id, side);
            }
            Note::RstStream { id, .. } => {
                let stream = self
                    .streams
                    .get_mut(&id)
                    .expect("RST_STREAM on an idle one");
                assert!(!stream.reset[side], "side {side} reset stream {id} twice");
                stream.reset[side] = true;
                self.check_over(id, side);
            }
            Note::PushPromise { id, promised } => {
                // RFC 9113 §8.4: "A client cannot push."
                assert_eq!(side, 1, "only a server pushes");
                // §6.5.2: "A server MUST NOT send a PUSH_PROMISE frame if it receives this
                // parameter set to a value of 0."
                assert!(me.enable_push, "the client takes no pushes");
                // §6.6: "PUSH_PROMISE frames MUST only be sent on a peer-initiated stream that is
                // in either the "open" or "half-closed (remote)" state."
                assert_eq!(id % 2, 1, "a promise on a push");
                let stream = self.streams.get(&id).expect("a promise rides on a stream");
                assert!(stream.active && !stream.ended[side] && !stream.reset[side]);
                // §5.1.1: the promised identifier is the next one of the server's.
                assert!(promised > me.last_opened && promised % 2 == 0);
                me.last_opened = promised;
                let stream = self.streams.entry(promised).or_default();
                stream.promised = true;
                // §8.4.1: the promised request is complete, so the client sends nothing on it.
                stream.ended[0] = true;
                stream.saw_end[1] = true;
            }
            Note::WindowUpdate { id, increment } => {
                let increment = i64::from(increment);
                assert!(increment > 0, "side {side} sent WINDOW_UPDATE of 0");
                if id == 0 {
                    me.granted += increment;
                    assert!(me.granted <= MAX_WINDOW, "side {side} granted too much");
                } else {
                    let stream = self
                        .streams
                        .get_mut(&id)
                        .expect("credit for an idle stream");
                    assert!(
                        !stream.reset[side],
                        "credit for stream {id} after RST_STREAM"
                    );
                    stream.granted[side] += increment;
                    let granted = self.sides[1 - side].initial_window_size + stream.granted[side];
                    assert!(
                        granted <= MAX_WINDOW,
                        "side {side} granted too much on {id}"
                    );
                }
            }
            Note::GoAway { last, .. } => {
                // RFC 9113 §6.8: "Endpoints MUST NOT increase the value they send in the last
                // stream identifier".
                assert!(
                    last <= me.last_goaway,
                    "GOAWAY of {last} after {}",
                    me.last_goaway
                );
                me.last_goaway = last;
            }
            Note::Continuation { .. } => report.continuations += 1,
            Note::Settings(_) | Note::Ping { .. } | Note::Other => {}
        }
    }

    /// Notes that a frame has reached this side.
    pub(crate) fn delivered(&mut self, side: usize, note: Note, report: &mut Report) {
        let me = &mut self.sides[side];
        match note {
            Note::Settings(announced) => me.unacknowledged.push_back(announced),
            Note::Data { id, len, end } => {
                me.granted -= i64::from(len);
                let stream = self.streams.entry(id).or_default();
                stream.granted[side] -= i64::from(len);
                stream.saw_end[side] |= end;
                self.check_over(id, side);
            }
            Note::Headers { id, end } => {
                self.streams.entry(id).or_default().saw_end[side] |= end;
                self.check_over(id, side);
            }
            Note::RstStream { id, .. } => {
                let stream = self.streams.entry(id).or_default();
                if stream.over[side] {
                    report.late_resets += 1;
                } else {
                    stream.over[side] = true;
                    self.count_over(id, side);
                }
            }
            Note::WindowUpdate { id: 0, increment } => me.window += i64::from(increment),
            Note::WindowUpdate { id, increment } => {
                self.streams.entry(id).or_default().balance[side] += i64::from(increment);
            }
            _ => {}
        }
    }

    fn check_over(&mut self, id: u32, side: usize) {
        let stream = self.streams.entry(id).or_default();
        let over = stream.reset[side] || stream.ended[side] && stream.saw_end[side];
        if over && !stream.over[side] {
            stream.over[side] = true;
            self.count_over(id, side);
        }
    }

    fn count_over(&mut self, id: u32, side: usize) {
        let opener = usize::from(id.is_multiple_of(2));
        if opener == side && self.streams.get(&id).is_some_and(|s| s.active) {
            self.open[side] -= 1;
        }
    }
}
