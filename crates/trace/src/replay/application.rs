//! The engine, and the application's part of the connection.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tidegate_frame::{ErrorCode, SettingId, StreamId};
use tidegate_hpack::Fields;
use tidegate_http::{
    Body, CloseReason, Config, Event as Told, Flow, Outbox, RequestHead, RequestRules, ResetCause,
    ResponseHead, Stream as _,
};
use tidegate_http2::Connection;

use super::script::{Act, Script, value};
use crate::Direction;
use crate::ends::{closed, rule};
use crate::privacy::Values;
use crate::record::{Closed, Event, FrameRecord, Payload, Record, Setting, VantagePoint};
use crate::settings::EngineSettings;
use crate::shadow::Shadow;

/// A round trip with which windows grow as far as they may. The trace doesn't have the real one.
const LONG: Duration = Duration::from_secs(3600);

/// The bytes that are offered at once to a stream with more than its windows take.
const PIECE: usize = 64 << 10;

/// The engine, and the application on top of it.
pub(super) struct Application {
    engine: Connection,
    input: BytesMut,
    outbox: Outbox,
    shadow: Shadow,
    script: Script,
    start: Instant,
    now: Duration,
    streams: HashMap<u32, Stream>,
    /// GOAWAY and SETTINGS frames that were recorded so far, and those that the engine has sent.
    recorded: Counts,
    sent: Counts,
    records: Vec<Record>,
    end: End,
}

#[derive(Default)]
struct Counts {
    goaways: usize,
    settings: usize,
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// All is in the outbox.
    Written,
    /// The engine has reported the end.
    Reported,
}

/// A stream, as the application sees it.
#[derive(Default)]
struct Stream {
    /// Heads that the script has, and heads that the engine has sent.
    scripted_heads: usize,
    sent_heads: usize,
    /// Whether the final response was given.
    has_responded: bool,
    /// Bytes of the body that the engine hasn't taken yet.
    owed: usize,
    /// Whether the body ends with these.
    ends: bool,
    /// The trailers behind these.
    trailers: Option<Fields>,
}

impl Application {
    pub(super) fn new(settings: &EngineSettings, records: &[Record], start: Instant) -> Self {
        let config = settings.config().build();
        let config = config
            .or_else(|_| Config::server().build())
            .expect("the defaults of a server are in range");
        let mut engine = Connection::server(config, start);
        let script = Script::of(records);
        if !script.overran_window {
            engine.observe_rtt(LONG);
        }
        Self {
            engine,
            input: BytesMut::new(),
            outbox: Outbox::new(),
            shadow: Shadow::new(VantagePoint::Server, settings, Values::All),
            script,
            start,
            now: Duration::ZERO,
            streams: HashMap::new(),
            recorded: Counts::default(),
            sent: Counts::default(),
            records: Vec::new(),
            end: End::Open,
        }
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// Lets time pass, timer by timer. A timer that is due less than `late` before the end doesn't
    /// fire.
    pub(super) fn pass(&mut self, to: Duration, late: Duration) {
        // A timer that never stops firing is the engine's fault; this ends anyway.
        for _ in 0..1_000_000 {
            let Some(due) = self.engine.next_timeout() else {
                break;
            };
            let due = due.saturating_duration_since(self.start);
            if due.saturating_add(late) > to {
                break;
            }
            self.now = self.now.max(due);
            let now = self.instant();
            self.engine.handle_timeout(now);
            self.work();
        }
        self.now = self.now.max(to);
    }

    /// Hands the client's bytes to the engine.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        self.work();
    }

    /// Does what the application did when the server sent these frames, unless the engine does it.
    pub(super) fn act(&mut self, batch: &[Record]) {
        self.work();
        for record in batch {
            let Event::Sent(frame) = &record.event else {
                continue;
            };
            match &frame.payload {
                Payload::Goaway {
                    last_stream_id,
                    code,
                    debug,
                    ..
                } => self.go_away(*last_stream_id, *code, debug.as_deref()),
                Payload::Settings {
                    settings: Some(settings),
                } => self.announce(settings),
                _ => self.perform(frame.stream_id),
            }
        }
        self.work();
        // The engine resets streams by itself where it is to; the others the application has reset.
        for record in batch {
            if let Event::Sent(frame) = &record.event
                && let Payload::RstStream { .. } = frame.payload
            {
                self.reset(frame.stream_id);
            }
        }
        self.work();
    }

    /// Ends the connection as it ended, unless the engine has ended it.
    pub(super) fn end(&mut self, recorded: &Closed) {
        self.work();
        if self.end != End::Reported && recorded.reason != "transport" {
            let now = self.instant();
            self.engine.receive_eof(now);
            self.work();
        }
    }

    /// Returns what the engine has sent and reported.
    pub(super) fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// Lets the engine take input and make output until nothing is left to do.
    fn work(&mut self) {
        loop {
            let now = self.instant();
            while let Some(event) = self.engine.receive(&mut self.input, now) {
                self.told(event);
            }
            if !self.transmit() {
                return;
            }
        }
    }

    /// Moves the engine's output into the records. Returns whether there was any.
    fn transmit(&mut self) -> bool {
        let mut wrote = false;
        loop {
            let now = self.instant();
            match self.engine.transmit(&mut self.outbox, usize::MAX, now) {
                Flow::Event(event) => self.told(event),
                Flow::Full if !self.outbox.is_empty() => wrote |= self.drain(),
                Flow::Full | Flow::Drained => break,
                Flow::Closed => {
                    if self.end == End::Open {
                        self.end = End::Written;
                        wrote = true;
                    }
                    break;
                }
            }
        }
        self.drain() || wrote
    }

    fn drain(&mut self) -> bool {
        let mut frames = Vec::new();
        let wrote = self.outbox.has_remaining();
        while self.outbox.has_remaining() {
            let chunk = self.outbox.chunk();
            let len = chunk.len();
            self.shadow
                .read(Direction::Sent, chunk, |frame| frames.push(frame));
            self.outbox.advance(len);
        }
        for frame in frames {
            self.note(&frame);
            self.record(Event::Sent(frame));
        }
        wrote
    }

    fn record(&mut self, event: Event) {
        self.records.push(Record {
            time: self.now,
            group_id: String::new(),
            event,
        });
    }

    fn note(&mut self, frame: &FrameRecord) {
        match &frame.payload {
            Payload::Headers { .. } => {
                self.streams.entry(frame.stream_id).or_default().sent_heads += 1;
            }
            Payload::Goaway { .. } => self.sent.goaways += 1,
            Payload::Settings { settings: Some(_) } => self.sent.settings += 1,
            _ => {}
        }
    }

    /// Handles an event of the engine.
    fn told(&mut self, event: Told) {
        match event {
            Told::Request { id, .. } => {
                let stays = !self.script.is_ruled(id.get());
                self.streams.entry(id.get()).or_default();
                if let Some(mut stream) = self.engine.stream(id)
                    && stays
                {
                    // The application may have let the client wait.
                    stream.lift_body_timeout();
                }
                self.perform(id.get());
                if self.script.is_reset_at_once(id.get(), self.now) {
                    self.reset(id.get());
                }
            }
            Told::Data { id, data, .. } => {
                if let Some(mut stream) = self.engine.stream(id) {
                    stream.consume(data.len());
                }
            }
            Told::Writable { id, .. } => self.write(id.get()),
            Told::Reset { id, cause, .. } => {
                if let ResetCause::Violation(violation) = cause {
                    self.record(Event::Rule(rule(violation, Some(id))));
                }
                if let Some(mut stream) = self.engine.stream(id) {
                    stream.release();
                }
            }
            Told::Closed(reason) => {
                self.end = End::Reported;
                if let CloseReason::Violation(violation) = reason {
                    self.record(Event::Rule(rule(violation, None)));
                }
                self.record(Event::Closed(closed(&reason)));
            }
            _ => {}
        }
    }

    /// Does what the application has done on a stream until now.
    fn perform(&mut self, id: u32) {
        // The application knows the stream: its request was reported, or it was promised.
        if !self.streams.contains_key(&id) {
            return;
        }
        while let Some(acts) = self.script.streams.get_mut(&id)
            && let Some((time, _)) = acts.front()
            && *time <= self.now
            && !matches!(acts.front(), Some((_, Act::Reset { .. })))
            && let Some((_, act)) = acts.pop_front()
        {
            self.act_on(id, act);
        }
    }

    fn act_on(&mut self, id: u32, act: Act) {
        match act {
            Act::Head { fields, end } => self.head(id, fields, end),
            Act::Body { len, end } => {
                if let Some(stream) = self.streams.get_mut(&id)
                    && stream.has_responded
                {
                    stream.owed += len as usize;
                    stream.ends |= end;
                    self.write(id);
                }
            }
            Act::Push { promised, fields } => {
                let rules = RequestRules::default();
                if let Ok(head) = RequestHead::from_fields(fields, rules)
                    && let Some(mut stream) = self.engine.stream(StreamId::new(id))
                    && stream.push(&head).is_ok_and(|id| id.get() == promised)
                {
                    self.streams.entry(promised).or_default();
                }
            }
            // `reset` does that.
            Act::Reset { .. } => {}
        }
    }

    fn reset(&mut self, id: u32) {
        let acts = self.script.streams.get_mut(&id);
        let Some((_, Act::Reset { code })) = acts.as_ref().and_then(|acts| acts.front()) else {
            return;
        };
        let code = *code;
        acts.map(VecDeque::pop_front);
        if self.script.may_reset(id, code)
            && let Some(mut stream) = self.engine.stream(StreamId::new(id))
        {
            stream.reset(ErrorCode(code));
        }
    }

    fn head(&mut self, id: u32, fields: Fields, end: bool) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.scripted_heads += 1;
        if stream.sent_heads >= stream.scripted_heads {
            // The engine has answered by itself, as with 408.
            return;
        }
        let Some(mut handle) = self.engine.stream(StreamId::new(id)) else {
            return;
        };
        if stream.has_responded {
            stream.trailers = Some(fields);
            return self.write(id);
        }
        let Ok(head) = ResponseHead::from_fields(fields) else {
            return;
        };
        if head.is_informational() {
            let _ = handle.inform(&head);
            return;
        }
        let body = match self.script.whole_body(id) {
            _ if end => Body::Empty,
            Some(len) => Body::Full(Bytes::from(vec![0; len])),
            None => Body::Stream,
        };
        stream.has_responded = handle.respond(&head, body).is_ok();
    }

    /// Gives the engine what a stream owes.
    fn write(&mut self, id: u32) {
        let has_more = self.script.has_more_for(id);
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(mut handle) = self.engine.stream(StreamId::new(id)) else {
            return;
        };
        if has_more {
            handle.write(&mut Bytes::from(vec![0; PIECE]), false);
            return;
        }
        if stream.owed > 0 || stream.ends {
            let mut data = Bytes::from(vec![0; stream.owed]);
            handle.write(&mut data, stream.ends);
            stream.owed = data.len();
            if data.is_empty() {
                stream.ends = false;
            }
        }
        if stream.owed == 0
            && let Some(trailers) = stream.trailers.take()
        {
            let _ = handle.trailers(&trailers);
        }
    }

    /// Ends the connection, or begins to, if the application did and not the engine.
    fn go_away(&mut self, last: u32, code: u32, debug: Option<&str>) {
        self.recorded.goaways += 1;
        // What was done on streams may have been the last that the end waited for.
        self.work();
        if self.sent.goaways >= self.recorded.goaways {
            return;
        }
        let now = self.instant();
        if code == ErrorCode::NO_ERROR.0 {
            // The engine sends the others by itself.
            if last == StreamId::MAX.get() {
                self.engine.shut_down(now);
            }
        } else if !self.script.is_ruled {
            self.engine.set_time(now);
            self.engine
                .abort(ErrorCode(code), debug.unwrap_or_default());
        }
        self.transmit();
    }

    /// Announces other settings, if the owner of the engine did.
    fn announce(&mut self, settings: &[Setting]) {
        self.recorded.settings += 1;
        if self.sent.settings >= self.recorded.settings {
            return;
        }
        if let Some(streams) = value(settings, SettingId::MAX_CONCURRENT_STREAMS) {
            self.engine.limit_streams(streams);
        }
        if let Some(bytes) = value(settings, SettingId::INITIAL_WINDOW_SIZE) {
            self.engine.set_initial_window_size(bytes.min(0x7fff_ffff));
        }
    }
}
