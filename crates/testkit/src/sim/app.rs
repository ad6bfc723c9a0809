//! The owners of both engines: they request, answer, write, consume and give up as the plan says,
//! and compare the bytes that arrive with those sent.

use std::time::Duration;

use bytes::Bytes;
use tidegate_http::{
    Body, CloseReason, ErrorCode, Event, Field, Fields, Misuse, Priority, RequestHead, ResetCause,
    ResponseHead, Stream, StreamId, Violation,
};

use crate::sim::plan::{Answer, ExchangePlan, MessagePlan, ResetPoint};
use crate::sim::{ABORTED, CLIENT, Later, SERVER, Sim, name, trace};

/// The request leg, whose sender is the client, and the response leg.
const REQUEST: usize = 0;
const RESPONSE: usize = 1;

/// How long a client waits before it repeats a refused request.
const RETRY_AFTER: Duration = Duration::from_millis(10);

/// A request and its response, with their progress.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) plan: ExchangePlan,
    id: Option<u32>,
    /// The exchange with which the server pushed it.
    parent: Option<usize>,
    /// Whether the promise was reported to the client's owner.
    promise_received: bool,
    legs: [Leg; 2],
    /// Per side: whether the stream is over before its messages are complete, or the connection is.
    gone: [bool; 2],
    /// Per side: the code of the RST_STREAM that its owner asked for.
    reset_code: [Option<ErrorCode>; 2],
    informs_received: usize,
    /// Whether the server's engine refused the stream: its owner never sees it.
    refused: bool,
    /// Whether the client knows that the server never processed it.
    unprocessed: bool,
    /// Whether the client didn't open it because the connection is ending.
    abandoned: bool,
}

/// One message in flight.
#[derive(Debug, Default)]
struct Leg {
    head_sent: bool,
    /// The bytes that the sending engine has taken.
    given: usize,
    ended_sent: bool,
    /// Whether the engine has asked for bytes, and the owner lets it wait.
    owes: bool,
    head_received: bool,
    received: usize,
    ended: bool,
    unconsumed: usize,
    consume_due: bool,
}

impl Exchange {
    pub(crate) fn new(plan: ExchangePlan) -> Self {
        Self {
            plan,
            id: None,
            parent: None,
            promise_received: false,
            legs: [Leg::default(), Leg::default()],
            gone: [false; 2],
            reset_code: [None; 2],
            informs_received: 0,
            refused: false,
            unprocessed: false,
            abandoned: false,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self.id {
            None => self.abandoned,
            Some(_) => self.is_done_for(CLIENT) && self.is_done_for(SERVER),
        }
    }

    /// Whether this side's owner waits for nothing more.
    fn is_done_for(&self, side: usize) -> bool {
        let (outgoing, incoming) = (&self.legs[side], &self.legs[1 - side]);
        let never_seen = if side == SERVER {
            !self.legs[REQUEST].head_received
        } else {
            self.parent.is_some() && !self.promise_received
        };
        // RFC 9113 §8.1: a server that has answered in full doesn't need the rest of the request.
        let enough = side == SERVER && !self.is_tunnel();
        self.gone[side] || never_seen || outgoing.ended_sent && (incoming.ended || enough)
    }

    /// Whether this is a push that the client's engine refused before its owner saw it.
    fn was_refused_unheard(&self) -> bool {
        self.parent.is_some() && !self.promise_received
    }

    fn is_tunnel(&self) -> bool {
        self.plan.method == "CONNECT"
    }

    fn message(&self, leg: usize) -> &MessagePlan {
        [&self.plan.request, &self.plan.response][leg]
    }

    /// Returns the number of body bytes that arrive on this leg.
    fn len(&self, leg: usize) -> usize {
        if leg == RESPONSE {
            self.plan.response_len()
        } else {
            self.plan.request.body.len
        }
    }

    fn body(&self, leg: usize) -> Body {
        let body = &self.message(leg).body;
        if body.streamed {
            Body::Stream
        } else if body.len == 0 {
            Body::Empty
        } else {
            Body::Full(body.rest(0))
        }
    }
}

/// The actions of owners.
impl Sim {
    /// Opens the client's next streams while the limit allows it. Returns whether it did.
    pub(crate) fn open_waiting(&mut self) -> bool {
        let mut busy = false;
        while let Some(index) = self.waiting.front().copied() {
            let end = &self.ends[CLIENT];
            let over = end.told_closed || end.shutting || end.going_away;
            if over {
                self.exchanges[index].abandoned = true;
                self.waiting.pop_front();
                continue;
            }
            if !end.engine.can_open() || !(end.has_settings || self.plan.opens_early) {
                break;
            }
            if !self.open(index) {
                break;
            }
            self.waiting.pop_front();
            busy = true;
        }
        busy
    }

    /// Opens a stream. Returns whether there was memory for it.
    fn open(&mut self, index: usize) -> bool {
        let exchange = &mut self.exchanges[index];
        let head = request_head(index, &exchange.plan);
        let end = &mut self.ends[CLIENT];
        let id = match end.engine.open(&head, exchange.body(REQUEST)) {
            Ok(id) => id,
            Err(Misuse::GoingAway) => {
                exchange.abandoned = true;
                return true;
            }
            Err(Misuse::OverMemoryBudget) => {
                self.report.refusals_for_memory += 1;
                return false;
            }
            Err(misuse) => panic!("request {index} can't be opened: {misuse}"),
        };
        exchange.id = Some(id.get());
        let leg = &mut exchange.legs[REQUEST];
        leg.head_sent = true;
        if !exchange.plan.request.body.streamed {
            leg.given = exchange.plan.request.body.len;
            leg.ended_sent = true;
        }
        self.report.streams += 1;
        self.report.tunnels += u64::from(exchange.plan.method == "CONNECT");
        assert!(
            end.by_id.insert(id.get(), index).is_none(),
            "{id} opened twice"
        );
        trace!(self, "client opens {index} on stream {id}");
        match self.exchanges[index].plan.client_reset {
            Some(ResetPoint::AtOnce) => self.reset(CLIENT, index),
            Some(ResetPoint::After(time)) => self.at(self.now + time, Later::Reset(CLIENT, index)),
            _ => {}
        }
        // An owner may also write without being asked.
        if self.rng.one_in(4) {
            self.write_body(CLIENT, index, None);
        }
        true
    }

    pub(crate) fn owner_acts(&mut self, what: Later) {
        match what {
            Later::Respond(index) => self.respond(index),
            Later::Write(side, index) => self.write_body(side, index, None),
            Later::Consume(side, index) => self.consume(side, index),
            Later::Reset(side, index) => self.reset(side, index),
            Later::Release(side, index) => {
                let id = self.exchanges[index]
                    .id
                    .expect("only opened ones are reset");
                if let Some(mut stream) = self.ends[side].engine.stream(StreamId::new(id)) {
                    stream.release();
                }
            }
            Later::Open(_)
            | Later::ShutDown(_)
            | Later::Abort(_)
            | Later::ChangeWindow(..)
            | Later::Cut => unreachable!("not the owner's"),
        }
    }

    fn respond(&mut self, index: usize) {
        let exchange = &self.exchanges[index];
        if exchange.gone[SERVER] || self.ends[SERVER].told_closed || exchange.legs[1].head_sent {
            return;
        }
        let id = exchange.id.expect("it has a stream");
        for push in exchange.plan.pushes.clone() {
            self.push(index, id, push);
        }
        let exchange = &mut self.exchanges[index];
        trace!(self, "server answers {index} on stream {id}");
        let mut stream = self.ends[SERVER]
            .engine
            .stream(StreamId::new(id))
            .unwrap_or_else(|| panic!("the server has lost stream {id} before its response"));
        if self.rng.one_in(4) {
            let (urgency, incremental) = (self.rng.below(8) as u8, self.rng.one_in(2));
            let priority = Priority {
                urgency,
                incremental,
            };
            if self.rng.one_in(2) {
                stream.suggest_priority(priority);
            } else {
                stream.prioritize(priority);
            }
        }
        for n in 0..exchange.plan.informs {
            let head = response_head(103 + n as u16, &exchange.plan.response.fields[..0]);
            stream.inform(&head).expect("1xx before the response");
        }
        let head = response_head(exchange.plan.status, &exchange.plan.response.fields);
        stream
            .respond(&head, exchange.body(RESPONSE))
            .unwrap_or_else(|misuse| panic!("response on stream {id}: {misuse}"));
        let leg = &mut exchange.legs[RESPONSE];
        leg.head_sent = true;
        if !exchange.plan.response.body.streamed {
            leg.given = exchange.plan.response.body.len;
            leg.ended_sent = true;
        } else if self.rng.one_in(4) {
            self.write_body(SERVER, index, None);
        }
    }

    fn push(&mut self, parent_index: usize, parent: u32, plan: ExchangePlan) {
        let index = self.exchanges.len();
        let head = request_head(index, &plan);
        let Some(mut stream) = self.ends[SERVER].engine.stream(StreamId::new(parent)) else {
            panic!("the server has lost stream {parent} before its response");
        };
        let promised = match stream.push(&head) {
            Ok(promised) => promised.get(),
            Err(Misuse::PushDisabled) => {
                assert!(!self.plan.client.enable_push);
                self.report.pushes_disabled += 1;
                return;
            }
            Err(Misuse::TooManyStreams | Misuse::GoingAway | Misuse::HeadTooLarge) => return,
            Err(misuse) => panic!("push on stream {parent}: {misuse}"),
        };
        trace!(self, "server promises {index} on stream {promised}");
        let mut exchange = Exchange::new(plan);
        exchange.id = Some(promised);
        exchange.parent = Some(parent_index);
        exchange.legs[REQUEST] = Leg {
            head_sent: true,
            ended_sent: true,
            head_received: true,
            ended: true,
            ..Leg::default()
        };
        self.exchanges.push(exchange);
        self.report.pushes += 1;
        self.ends[SERVER].by_id.insert(promised, index);
        let late = self.dawdle(index);
        self.at(self.now + late, Later::Respond(index));
    }

    /// Writes some of the body, or its end. The engine asked for `want` bytes.
    fn write_body(&mut self, side: usize, index: usize, want: Option<usize>) {
        let exchange = &self.exchanges[index];
        let leg = &exchange.legs[side];
        let message = exchange.message(side);
        if exchange.gone[side]
            || self.ends[side].told_closed
            || leg.ended_sent
            || !leg.head_sent
            || !message.body.streamed
        {
            return;
        }
        let id = exchange.id.expect("it has a stream");
        let rest = message.body.len - leg.given;
        // As much as asked for, more than that, or less.
        let amount = match (want, self.rng.below(3)) {
            (Some(want), 0) => want.min(rest),
            (Some(want), 1) => want.min(rest).div_ceil(2),
            (None, 1) => rest.div_ceil(2),
            _ => rest,
        };
        let offset = leg.given;
        let mut data = message.body.rest(offset).slice(..amount);
        let has_trailers = message.trailers.is_some();
        let end = amount == rest && !has_trailers && (rest == 0 || self.rng.one_in(2));
        let mut stream = self.ends[side]
            .engine
            .stream(StreamId::new(id))
            .unwrap_or_else(|| panic!("{} has lost stream {id} while sending", name(side)));
        let leg = &mut self.exchanges[index].legs[side];
        leg.owes = false;
        if amount > 0 || end {
            let taken = stream.write(&mut data, end);
            trace!(
                self,
                "{} writes {taken} of {amount} on {id}, end {end}",
                name(side)
            );
            assert_eq!(taken + data.len(), amount, "write tells what it took");
            leg.given += taken;
            leg.ended_sent = end && data.is_empty();
        }
        if leg.ended_sent || leg.given < offset + rest {
            return;
        }
        // All bytes are written but not the end: now or later.
        if amount > 0 && self.rng.one_in(2) {
            let late = self.dawdle(index);
            self.at(self.now + late, Later::Write(side, index));
            return;
        }
        match &self.exchanges[index].message(side).trailers {
            Some(trailers) => stream
                .trailers(&list(trailers))
                .unwrap_or_else(|misuse| panic!("trailers on stream {id}: {misuse}")),
            None => {
                stream.write(&mut Bytes::new(), true);
            }
        }
        self.exchanges[index].legs[side].ended_sent = true;
    }

    fn consume(&mut self, side: usize, index: usize) {
        let exchange = &mut self.exchanges[index];
        let leg = &mut exchange.legs[1 - side];
        leg.consume_due = false;
        let amount = if self.rng.one_in(3) {
            leg.unconsumed.div_ceil(2)
        } else {
            leg.unconsumed
        };
        leg.unconsumed -= amount;
        let more = leg.unconsumed > 0;
        let id = StreamId::new(exchange.id.expect("it has a stream"));
        // The credit of a stream that is over returns automatically.
        if let Some(mut stream) = self.ends[side].engine.stream(id) {
            stream.consume(amount);
        }
        if more {
            self.consume_later(side, index);
        }
    }

    fn consume_later(&mut self, side: usize, index: usize) {
        let leg = &mut self.exchanges[index].legs[1 - side];
        if !leg.consume_due {
            leg.consume_due = true;
            let late = self.dawdle(index);
            self.at(self.now + late, Later::Consume(side, index));
        }
    }

    fn reset(&mut self, side: usize, index: usize) {
        let exchange = &mut self.exchanges[index];
        if exchange.gone[side] || self.ends[side].told_closed {
            return;
        }
        let id = exchange.id.expect("it has a stream");
        let Some(mut stream) = self.ends[side].engine.stream(StreamId::new(id)) else {
            let is_over = exchange.is_done_for(side);
            assert!(is_over, "{} has lost stream {id}", name(side));
            return;
        };
        let code = self
            .rng
            .pick(&[ErrorCode::CANCEL, ErrorCode::INTERNAL_ERROR]);
        stream.reset(code);
        exchange.gone[side] = true;
        exchange.reset_code[side] = Some(code);
        trace!(self, "{} resets {id} with {code}", name(side));
        if side == CLIENT {
            self.report.client_resets += 1;
        } else {
            self.report.server_resets += 1;
        }
    }

    fn dawdle(&mut self, index: usize) -> Duration {
        let most = self
            .exchanges
            .get(index)
            .map_or(0, |exchange| exchange.plan.dawdle.as_micros() as usize);
        Duration::from_micros(self.rng.below(most + 1) as u64)
    }

    /// At rest: the client gives up streams whose sender waits for a window that was never open.
    /// Returns whether there was one.
    pub(crate) fn give_up_on_shut_windows(&mut self) -> bool {
        let mut gave_up = false;
        for index in 0..self.exchanges.len() {
            let exchange = &self.exchanges[index];
            let Some(id) = exchange.id else { continue };
            if exchange.is_done() || exchange.gone[CLIENT] || self.ends[CLIENT].told_closed {
                continue;
            }
            let is_shut = [CLIENT, SERVER].into_iter().any(|sender| {
                let receiver = [&self.plan.server, &self.plan.client][sender];
                receiver.initial_window_size == 0
                    && receiver.max_stream_window_size == 0
                    && exchange.legs[sender].head_sent
                    && !exchange.legs[sender].ended
                    && self.ledger.is_shut(sender, id)
            });
            if is_shut {
                trace!(self, "the client gives up on {id}, whose window is shut");
                self.report.given_up += 1;
                self.reset(CLIENT, index);
                gave_up = true;
            }
        }
        gave_up
    }

    /// Checks at rest that everything is finished.
    pub(crate) fn check_all_done(&mut self) {
        for (index, exchange) in self.exchanges.iter().enumerate() {
            assert!(exchange.is_done(), "{index} hangs: {}", self.state());
            if let Some(parent) = exchange.parent
                && !exchange.promise_received
            {
                let refused = exchange.refused || self.exchanges[parent].gone[CLIENT];
                let needless = !refused && !self.ends[CLIENT].shutting;
                assert!(!needless, "the promise of {index} was lost");
            }
        }
        for side in [CLIENT, SERVER] {
            let active = self.ends[side].engine.active_streams();
            assert_eq!(active, 0, "{} holds streams at rest", name(side));
        }
    }
}

/// The events of owners.
impl Sim {
    pub(crate) fn owner_is_told(&mut self, side: usize, event: Event) {
        assert!(!self.ends[side].told_closed, "{event:?} after the end");
        match event {
            Event::PeerSettings => self.ends[side].has_settings = true,
            Event::Request { id, head, end } => self.on_request(side, id.get(), &head, end),
            Event::Informational { id, head } => {
                let exchange = self.live(side, id);
                let leg = &exchange.legs[RESPONSE];
                assert!(!leg.head_received, "1xx after the response");
                let status = 103 + exchange.informs_received as u16;
                exchange.informs_received += 1;
                assert_eq!(head.status(), status);
                assert!(exchange.informs_received <= exchange.plan.informs);
                self.report.informs += 1;
            }
            Event::Response { id, head, end } => {
                let exchange = self.live(side, id);
                assert!(!exchange.legs[RESPONSE].head_received, "a second response");
                assert_eq!(head.status(), exchange.plan.status);
                assert_eq!(exchange.informs_received, exchange.plan.informs);
                check_fields(head.headers(), &exchange.plan.response.fields);
                exchange.legs[RESPONSE].head_received = true;
                let without_content = exchange.plan.response_is_without_content();
                self.report.without_content += u64::from(without_content);
                let exchange = self.live(side, id);
                if end {
                    self.leg_ends(side, id.get(), false);
                } else {
                    let streamed = exchange.plan.response.body.streamed;
                    assert!(exchange.len(RESPONSE) > 0 || streamed, "no END_STREAM");
                }
            }
            Event::Data { id, data, end } => self.on_data(side, id, &data, end),
            Event::Trailers { id, fields } => {
                let exchange = self.live(side, id);
                let trailers = exchange.message(1 - side).trailers.as_ref();
                check_fields(fields.iter(), trailers.expect("there were trailers"));
                self.report.trailers += 1;
                self.leg_ends(side, id.get(), true);
            }
            Event::Writable { id, want } => {
                assert!(want > 0, "Writable without room");
                let index = self.index(side, id.get());
                let exchange = self.live(side, id);
                let leg = &mut exchange.legs[side];
                assert!(leg.head_sent && !leg.ended_sent, "nothing to write on {id}");
                assert!(!leg.owes, "asked again before there was a write on {id}");
                if self.rng.one_in(4) {
                    self.exchanges[index].legs[side].owes = true;
                    let late = self.dawdle(index);
                    self.at(self.now + late, Later::Write(side, index));
                } else {
                    self.write_body(side, index, Some(want));
                }
            }
            Event::PushPromise { id, promised, head } => {
                self.live(side, id);
                assert_eq!(side, CLIENT);
                let index = index_of(&head);
                assert_eq!(self.exchanges[index].id, Some(promised.get()));
                let exchange = &mut self.exchanges[index];
                assert!(exchange.parent.is_some() && !exchange.promise_received);
                exchange.promise_received = true;
                check_request(index, &self.exchanges[index].plan, &head);
                self.ends[CLIENT].by_id.insert(promised.get(), index);
                match self.exchanges[index].plan.client_reset {
                    Some(ResetPoint::AtOnce) => self.reset(CLIENT, index),
                    Some(ResetPoint::After(time)) => {
                        self.at(self.now + time, Later::Reset(CLIENT, index));
                    }
                    _ => {}
                }
            }
            Event::Reset { id, code, cause } => self.on_reset(side, id.get(), code, cause),
            Event::GoingAway { code, .. } => {
                match self.ends[1 - side].aborted {
                    Some(aborted) => assert!(code == aborted || code == ErrorCode::NO_ERROR),
                    None => {
                        assert_eq!(code, ErrorCode::NO_ERROR);
                        assert!(self.ends[1 - side].shutting || self.ends[side].shutting);
                    }
                }
                self.ends[side].going_away = true;
            }
            Event::Closed(reason) => self.on_closed(side, &reason),
            other => panic!("an event that the simulator doesn't know: {other:?}"),
        }
    }

    fn on_closed(&mut self, side: usize, reason: &CloseReason) {
        let [me, other] = [side, 1 - side].map(|side| &self.ends[side]);
        let is_clean = match reason {
            CloseReason::Graceful => {
                assert!(me.shutting || other.shutting, "graceful without need");
                true
            }
            CloseReason::Eof => {
                assert!(me.eof);
                !self.cut && other.aborted.is_none()
            }
            CloseReason::EofInTheMiddle => {
                assert!(
                    self.cut || other.aborted.is_some(),
                    "{} is cut off: {}",
                    name(side),
                    self.state()
                );
                false
            }
            CloseReason::Aborted(code) => {
                assert_eq!(Some(*code), me.aborted);
                false
            }
            CloseReason::PeerError { code, debug_data } => {
                assert_eq!(Some(*code), other.aborted);
                assert_eq!(debug_data, ABORTED);
                false
            }
            other => panic!("{} closes: {other}", name(side)),
        };
        self.ends[side].told_closed = true;
        for index in 0..self.exchanges.len() {
            let exchange = &mut self.exchanges[index];
            // RFC 9113 §6.8: "Activity on streams numbered lower than or equal to the last stream
            // identifier might still complete successfully": a graceful end loses nothing.
            let is_done = exchange.id.is_none() || exchange.is_done_for(side);
            exchange.gone[side] = true;
            assert!(
                is_done || !is_clean,
                "{} has {index} unfinished at a clean end: {}",
                name(side),
                self.state()
            );
        }
    }

    fn on_request(&mut self, side: usize, id: u32, head: &RequestHead, end: bool) {
        assert_eq!(side, SERVER);
        let index = index_of(head);
        let exchange = &mut self.exchanges[index];
        assert_eq!(exchange.id, Some(id));
        assert!(!exchange.legs[REQUEST].head_received, "a second request");
        assert!(!exchange.unprocessed, "told as unprocessed, yet processed");
        check_request(index, &exchange.plan, head);
        exchange.legs[REQUEST].head_received = true;
        self.ends[SERVER].by_id.insert(id, index);
        match self.exchanges[index].plan.server_reset {
            Some(ResetPoint::AtOnce) => {
                if end {
                    self.leg_ends(side, id, false);
                }
                return self.reset(SERVER, index);
            }
            Some(ResetPoint::After(time)) => self.at(self.now + time, Later::Reset(SERVER, index)),
            _ => {}
        }
        match self.exchanges[index].plan.answer {
            Answer::OnHead => self.respond(index),
            Answer::After(time) => self.at(self.now + time, Later::Respond(index)),
            Answer::OnEnd => {}
        }
        if end {
            self.leg_ends(side, id, false);
        } else {
            let exchange = &self.exchanges[index];
            assert!(exchange.len(REQUEST) > 0 || exchange.plan.request.body.streamed);
        }
    }

    fn on_data(&mut self, side: usize, id: StreamId, data: &Bytes, end: bool) {
        let index = self.index(side, id.get());
        let exchange = self.live(side, id);
        let leg = 1 - side;
        let received = exchange.legs[leg].received;
        assert!(exchange.legs[leg].head_received, "body before the head");
        assert!(!data.is_empty() || end, "an empty piece that ends nothing");
        assert!(
            received + data.len() <= exchange.len(leg),
            "bytes from nowhere on {id}"
        );
        let sent = exchange.message(leg).body.rest(received);
        assert!(sent.starts_with(data), "{id}: bytes at {received} differ");
        let leg = &mut exchange.legs[leg];
        leg.received += data.len();
        leg.unconsumed += data.len();
        let is_first = received == 0 && !data.is_empty();
        let resets = [exchange.plan.client_reset, exchange.plan.server_reset][side];
        self.report.body_bytes += data.len() as u64;
        if self.rng.one_in(2) {
            self.consume(side, index);
        } else {
            self.consume_later(side, index);
        }
        if end {
            self.leg_ends(side, id.get(), false);
        }
        if is_first && matches!(resets, Some(ResetPoint::OnData)) {
            self.reset(side, index);
        }
    }

    /// Checks a message that this side has received completely.
    fn leg_ends(&mut self, side: usize, id: u32, by_trailers: bool) {
        let index = self.index(side, id);
        let exchange = &mut self.exchanges[index];
        let incoming = 1 - side;
        assert_eq!(
            exchange.legs[incoming].received,
            exchange.len(incoming),
            "the message on {id} lost bytes at its end"
        );
        assert_eq!(
            by_trailers,
            exchange.message(incoming).trailers.is_some(),
            "trailers on {id}"
        );
        assert!(!exchange.legs[incoming].ended, "{id} ends twice");
        exchange.legs[incoming].ended = true;
        self.report.messages += 1;
        self.report.pushes_taken += u64::from(side == CLIENT && exchange.parent.is_some());
        if side == SERVER && matches!(exchange.plan.answer, Answer::OnEnd) {
            let late = self.dawdle(index);
            if late.is_zero() {
                self.respond(index);
            } else {
                self.at(self.now + late, Later::Respond(index));
            }
        }
    }

    fn on_reset(&mut self, side: usize, id: u32, code: ErrorCode, cause: ResetCause) {
        let index = match self.ends[side].by_id.get(&id) {
            Some(index) => *index,
            // The owner may get an event for a stream that it hasn't seen: one that was refused.
            None => {
                let known = self.exchanges.iter().position(|e| e.id == Some(id));
                known.unwrap_or_else(|| panic!("reset of stream {id}, which nobody opened"))
            }
        };
        let late = self.dawdle(index);
        let too_many = ResetCause::Violation(Violation::TooManyConcurrentStreams);
        let honest_refusal = cause != too_many || self.refusal_is_honest();
        let exchange = &mut self.exchanges[index];
        assert!(!exchange.gone[side], "{} is told of {id} twice", name(side));
        if side == SERVER && exchange.parent.is_some() && cause == ResetCause::Peer {
            self.report.pushes_cancelled += 1;
            let is_late = exchange.legs[RESPONSE].ended_sent;
            self.report.pushes_cancelled_late += u64::from(is_late);
        }
        match cause {
            ResetCause::Peer if exchange.refused && side == CLIENT => {
                assert_eq!(code, ErrorCode::REFUSED_STREAM);
                // Refused means unprocessed: try again, but not at once.
                let plan = exchange.plan.clone();
                let again = self.exchanges.len();
                self.exchanges.push(Exchange::new(plan));
                self.report.retries += 1;
                self.at(self.now + RETRY_AFTER, Later::Open(again));
            }
            // RFC 9113 §8.1: the server's engine stops the rest of the request, "after sending a
            // complete response".
            ResetCause::Peer if side == CLIENT && code == ErrorCode::NO_ERROR => {
                assert!(
                    exchange.legs[RESPONSE].ended,
                    "NO_ERROR before the end of {id}"
                );
                assert!(!exchange.is_tunnel(), "{id} is a tunnel");
                assert!(exchange.parent.is_none(), "{id} is a push");
                self.report.early_answers += 1;
            }
            // The client's engine refuses pushes along with requests that its owner has reset, or
            // after its GOAWAY.
            ResetCause::Peer if side == SERVER && exchange.was_refused_unheard() => {
                let refused = ErrorCode::REFUSED_STREAM;
                assert_eq!(
                    code,
                    if exchange.refused {
                        refused
                    } else {
                        ErrorCode::CANCEL
                    }
                );
            }
            ResetCause::Peer => {
                assert_eq!(exchange.reset_code[1 - side], Some(code), "reset of {id}");
            }
            ResetCause::Violation(Violation::TooManyConcurrentStreams) => {
                assert_eq!(side, SERVER);
                assert!(honest_refusal, "stream {id} is refused without need");
                let seen = exchange.legs[1 - side].head_received;
                assert!(!seen, "{id} was taken, then refused");
                exchange.refused = true;
                exchange.reset_code[side] = Some(code);
                self.report.refusals += 1;
            }
            // A request, or a push.
            ResetCause::OverMemoryBudget => {
                let seen = side == SERVER && exchange.legs[REQUEST].head_received;
                assert!(
                    !seen && !exchange.promise_received,
                    "{id} was taken, then refused"
                );
                exchange.refused = true;
                exchange.reset_code[side] = Some(code);
                self.report.refusals_for_memory += 1;
            }
            ResetCause::Unprocessed => {
                if side == CLIENT {
                    assert!(!exchange.legs[REQUEST].head_received, "{id} was processed");
                } else {
                    assert!(!exchange.promise_received, "{id} was processed");
                    assert!(self.ends[CLIENT].shutting || self.ends[CLIENT].aborted.is_some());
                }
                exchange.unprocessed = true;
                self.report.unprocessed += 1;
            }
            other => panic!("{} accuses the other: {other:?} on {id}", name(side)),
        }
        self.exchanges[index].gone[side] = true;
        if late.is_zero() {
            self.owner_acts(Later::Release(side, index));
        } else {
            self.at(self.now + late, Later::Release(side, index));
        }
    }

    /// Whether a refusal can be honest: streams that the client has reset and the server hasn't
    /// released take slots for longer than the client can know, and before the limit was announced
    /// it knows of none.
    fn refusal_is_honest(&self) -> bool {
        self.plan.opens_early
            || self
                .exchanges
                .iter()
                .any(|exchange| exchange.reset_code[CLIENT].is_some())
    }

    fn index(&self, side: usize, id: u32) -> usize {
        *self.ends[side]
            .by_id
            .get(&id)
            .unwrap_or_else(|| panic!("{} has no stream {id}", name(side)))
    }

    /// Returns the exchange on this stream, if it is not over for this side.
    fn live(&mut self, side: usize, id: StreamId) -> &mut Exchange {
        let index = self.index(side, id.get());
        let exchange = &mut self.exchanges[index];
        assert!(
            !exchange.gone[side],
            "{} is told of {id} after its end",
            name(side)
        );
        exchange
    }
}

fn request_head(index: usize, plan: &ExchangePlan) -> RequestHead {
    let head = if plan.method == "CONNECT" {
        RequestHead::connect("sim.test:443")
    } else {
        RequestHead::new(plan.method, "https", "sim.test", "/a?b=c")
    };
    let mut head = head.field("x-exchange", index.to_string());
    for (name, value) in &plan.request.fields {
        head.push(name, value);
    }
    head
}

fn response_head(status: u16, fields: &[(String, Vec<u8>)]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    for (name, value) in fields {
        head.push(name, value);
    }
    head
}

fn list(fields: &[(String, Vec<u8>)]) -> Fields {
    let mut list = Fields::new();
    for (name, value) in fields {
        list.push(name, value);
    }
    list
}

fn index_of(head: &RequestHead) -> usize {
    let value = head
        .get("x-exchange")
        .expect("every request has its number");
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("a number")
}

fn check_request(index: usize, plan: &ExchangePlan, head: &RequestHead) {
    assert_eq!(head.method(), plan.method);
    if plan.method == "CONNECT" {
        assert_eq!(head.authority(), "sim.test:443");
    } else {
        assert_eq!(head.scheme(), "https");
        assert_eq!(head.authority(), "sim.test");
        assert_eq!(head.path(), "/a?b=c");
    }
    let number = index.to_string();
    let mut headers = head.headers();
    let first = headers.next().expect("the number comes first");
    assert_eq!(
        (first.name, first.value),
        (&b"x-exchange"[..], number.as_bytes())
    );
    check_fields(headers, &plan.request.fields);
}

fn check_fields<'a>(mut arrived: impl Iterator<Item = Field<'a>>, sent: &[(String, Vec<u8>)]) {
    for (name, value) in sent {
        let field = arrived.next().expect("as many fields as were sent");
        assert_eq!(field.name, name.as_bytes());
        assert_eq!(field.value, value, "value of {name}");
    }
    let more = arrived.next();
    assert!(
        more.is_none(),
        "a field from nowhere: {:?}",
        more.map(|f| f.name)
    );
}
